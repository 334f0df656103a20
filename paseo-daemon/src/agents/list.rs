//! Listing agents, page by page.

use std::path::{Path, PathBuf};

use paseo_sdk::catalogue::{Agents, ListAgents};
use paseo_sdk::error::ApiError;
use paseo_sdk::model::{Agent, AgentId, Status, Timestamp};
use paseo_sdk::operation::{Caller, Handle};

use super::limit;
use crate::Core;
use crate::owner::now;
use crate::worktrees::real;

impl Handle<ListAgents> for Core {
    async fn handle(&self, caller: Caller, request: ListAgents) -> Result<Agents, ApiError> {
        self.calling(&caller)?;
        let limit = limit(request.limit)?;
        let parent = request.parent.as_ref().map(|parent| self.agents.find(parent)).transpose()?;
        let parent = parent.map(|parent| parent.live.id.clone());
        let places = match request.cwd.as_ref().map(Path::new) {
            Some(cwd) if !cwd.is_absolute() => return Err(ApiError::invalid("cwd", "is not an absolute path")),
            Some(cwd) => Some(self.worktrees.places(cwd).await?),
            None => None,
        };
        let since = request.since_hours.map(|hours| now().plus(hours.saturating_mul(-3_600_000)));
        let after = request.cursor.as_deref().map(read_cursor).transpose()?;
        let wanted = |agent: &Agent| {
            let archived = agent.status == Status::Archived;
            (!archived || request.include_archived || request.statuses.contains(&Status::Archived))
                && places.as_ref().is_none_or(|places| {
                    let whereabouts = Whereabouts::of(agent);
                    places.iter().any(|place| whereabouts.are_within(place))
                })
                && (request.statuses.is_empty() || request.statuses.contains(&agent.status))
                && since.is_none_or(|since| agent.updated_at >= since)
                && request.labels.iter().all(|(label, value)| agent.labels.get(label) == Some(value))
                && parent.as_ref().is_none_or(|parent| agent.parent.as_ref() == Some(parent))
                && after.as_ref().is_none_or(|after| place(agent) < *after)
        };
        let mut agents: Vec<_> =
            self.agents.all().iter().map(|owned| owned.live.view().agent.clone()).filter(wanted).collect();
        agents.sort_by_key(|agent| std::cmp::Reverse(place(agent)));
        let more = agents.len() > limit;
        agents.truncate(limit);
        let next_cursor = agents.last().filter(|_| more).map(cursor);
        Ok(Agents { agents, next_cursor })
    }
}

/// Where an agent stands in a list: by the time it was created.
fn place(agent: &Agent) -> (Timestamp, AgentId) {
    (agent.created_at, agent.agent_id.clone())
}

/// Says where the page after this agent begins.
pub(crate) fn cursor(last: &Agent) -> String {
    format!("{}.{}", last.created_at.0, last.agent_id)
}

fn read_cursor(cursor: &str) -> Result<(Timestamp, AgentId), ApiError> {
    let refuse = || ApiError::invalid("cursor", "is not one of ours").hint("give `nextCursor` of the answer before");
    let (time, id) = cursor.split_once('.').ok_or_else(refuse)?;
    Ok((Timestamp(time.parse().map_err(|_| refuse())?), id.parse().map_err(|_| refuse())?))
}

/// The directories that an agent works in: as they were given, and where those really are.
pub(crate) struct Whereabouts(Vec<PathBuf>);

impl Whereabouts {
    pub(crate) fn of(agent: &Agent) -> Whereabouts {
        let worktree = agent.worktree.as_ref().map(|worktree| &worktree.worktree_path);
        let given = std::iter::once(&agent.cwd).chain(worktree).map(PathBuf::from);
        Whereabouts(given.flat_map(|path| [real(&path), path]).collect())
    }

    /// Returns whether one of them is a directory or below it; `directory` is a real path, or one that is gone.
    pub(crate) fn are_within(&self, directory: &Path) -> bool {
        self.0.iter().any(|path| path.starts_with(directory))
    }
}

/// Returns whether an agent works in a directory or below, or in a worktree there, through whatever link.
pub(crate) fn belongs(agent: &Agent, directory: &Path) -> bool {
    let whereabouts = Whereabouts::of(agent);
    whereabouts.are_within(directory) || whereabouts.are_within(&real(directory))
}
