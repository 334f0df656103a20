//! The operations on worktrees, and the agents that have a part in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use paseo_sdk::catalogue::{
    self, ArchiveWorktree, ArchivedWorktree, CreateWorktree, ListWorktrees, RestoreWorktree, TrustWorktree,
};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::worktree::Note;
use paseo_sdk::model::{Agent, AgentId, Setup, Status, Worktree};
use paseo_sdk::operation::{Caller, Handle};

use super::{Leaving, Place, Worktrees};

use crate::Core;
use crate::agents::{Owned, Whereabouts, belongs};
use crate::config::Scope;
use crate::daemon::works;

impl Handle<CreateWorktree> for Core {
    async fn handle(&self, caller: Caller, request: CreateWorktree) -> Result<Worktree, ApiError> {
        request.source()?;
        self.may_trust(&caller, request.trust)?;
        let directory = self.directory(&caller, request.cwd.as_deref())?;
        self.in_reach(&caller, &directory).await?;
        self.hands(&caller).await?.create(&request, &directory).await
    }
}

impl Handle<ListWorktrees> for Core {
    async fn handle(&self, caller: Caller, request: ListWorktrees) -> Result<catalogue::Worktrees, ApiError> {
        let directory = match (request.all, &request.cwd) {
            (true, None) => None,
            _ => Some(self.directory(&caller, request.cwd.as_deref())?),
        };
        let mut worktrees = self.worktrees.list(directory.as_deref(), request.all).await?;
        let views: Vec<_> = self.agents.all().iter().map(|owned| owned.live.view()).collect();
        let there = views.iter().map(|view| &view.agent).filter(|agent| agent.status != Status::Archived);
        let there: Vec<_> = there.map(|agent| (&agent.agent_id, Whereabouts::of(agent))).collect();
        for worktree in &mut worktrees {
            let here = there.iter().filter(|(_, places)| places.are_within(Path::new(&worktree.worktree_path)));
            worktree.agents = here.map(|(id, _)| (*id).clone()).collect();
        }
        Ok(catalogue::Worktrees { worktrees })
    }
}

impl Handle<ArchiveWorktree> for Core {
    async fn handle(&self, caller: Caller, request: ArchiveWorktree) -> Result<ArchivedWorktree, ApiError> {
        if request.force {
            self.only_people(&caller, "archive a worktree by force")?;
        }
        let place = self.named(
            &caller,
            request.worktree_path.as_deref(),
            request.worktree_slug.as_deref(),
            request.cwd.as_deref(),
        );
        let place = place.await?;
        self.within_reach(&caller, &place).await?;
        // From here on no agent starts there, unless this fails.
        let leaving = self.worktrees.leave(&place)?;
        let inspection = self.worktrees.inspect(&place).await?;
        let here = self.agents_in(&place);
        let busy = here.iter().map(|owned| owned.live.view().agent.clone()).filter(is_busy);
        let mut at_work: Vec<_> =
            busy.map(|agent| format!("agent {} ({}) works there", agent.agent_id, agent.title)).collect();
        if self.worktrees.setup_runs(&place).await {
            at_work.push("its setup runs".to_owned());
        }
        if let Some(objection) = inspection.objection(request.force, &at_work) {
            return Err(objection);
        }
        let worktrees = self.worktrees.with_progress(caller.reporter.clone());
        let archiving = Archiving { worktrees, place, here: here.clone(), note: inspection.note, request, leaving };
        // It comes to its end also when whoever asked for it has gone: half of it would be of use to nobody.
        let archived = match tokio::spawn(archiving.run()).await {
            Ok(archived) => archived?,
            Err(error) => return Err(ApiError::new(Code::Internal, format!("archiving broke off: {error}"))),
        };
        for owned in &here {
            self.sign(&caller, owned, "archived it with its worktree").await?;
            self.witness_state(&caller, owned).await?;
        }
        Ok(archived)
    }
}

/// A worktree that is being archived, once nothing is in the way of that.
struct Archiving {
    worktrees: Worktrees,
    place: Place,
    /// The agents that work there.
    here: Vec<Arc<Owned>>,
    note: Note,
    request: ArchiveWorktree,
    /// No agent starts there until it is dropped.
    leaving: Leaving,
}

impl Archiving {
    async fn run(self) -> Result<ArchivedWorktree, ApiError> {
        let Archiving { worktrees, place, here, note, request, leaving: _leaving } = self;
        worktrees.stop_setup(&place).await;
        let mut agents = Vec::new();
        for owned in &here {
            owned.archive().await?;
            agents.push(owned.live.id.clone());
        }
        let teardown = match request.skip_teardown {
            true => Setup::default(),
            false => worktrees.tear_down(&place, &note).await?,
        };
        let archived = worktrees.archive(&place, request.force, request.keep_branch).await?;
        Ok(ArchivedWorktree {
            worktree_path: place.path.display().to_string(),
            worktree_slug: place.slug.clone(),
            branch_name: archived.note.branch,
            branch_removed: archived.branch_removed,
            archive_ref: archived.reference,
            kept_commits: archived.kept_commits,
            kept_files: archived.kept_files,
            agents,
            teardown,
            problem: archived.problem,
        })
    }
}

impl Handle<RestoreWorktree> for Core {
    async fn handle(&self, caller: Caller, request: RestoreWorktree) -> Result<Worktree, ApiError> {
        let directory = self.directory(&caller, request.cwd.as_deref())?;
        self.in_reach(&caller, &directory).await?;
        let worktrees = self.worktrees.with_progress(caller.reporter);
        worktrees.restore(&request.worktree_slug, &directory, request.wait_for_setup.unwrap_or(true)).await
    }
}

impl Handle<TrustWorktree> for Core {
    async fn handle(&self, caller: Caller, request: TrustWorktree) -> Result<Worktree, ApiError> {
        self.may_trust(&caller, true)?;
        let place = self.named(
            &caller,
            request.worktree_path.as_deref(),
            request.worktree_slug.as_deref(),
            request.cwd.as_deref(),
        );
        let place = place.await?;
        let worktrees = self.worktrees.with_progress(caller.reporter);
        worktrees.trust(&place, request.wait_for_setup.unwrap_or(true)).await
    }
}

/// Whether an agent works, or is about to.
fn is_busy(agent: &Agent) -> bool {
    works(agent.status) || !agent.queued.is_empty()
}

impl Core {
    /// Refuses an agent that would trust what it was not trusted with.
    pub(crate) fn may_trust(&self, caller: &Caller, trust: bool) -> Result<(), ApiError> {
        match trust {
            true => self.only_people(caller, "trust a pull request"),
            false => Ok(()),
        }
    }

    /// Finds the worktree that a call names.
    async fn named(
        &self,
        caller: &Caller,
        path: Option<&str>,
        slug: Option<&str>,
        cwd: Option<&str>,
    ) -> Result<Place, ApiError> {
        let directory = match cwd.is_some() || self.calling(caller)?.is_some() {
            true => Some(self.directory(caller, cwd)?),
            false => None,
        };
        self.worktrees.find(path, slug, directory.as_deref()).await
    }

    /// Refuses a worktree that is not the calling agent's to archive.
    async fn within_reach(&self, caller: &Caller, place: &Place) -> Result<(), ApiError> {
        let Some(calling) = self.acting(caller)? else { return Ok(()) };
        let own = &calling.live.id;
        let within = match self.scope {
            Scope::All => true,
            Scope::Repository => {
                let directory = PathBuf::from(&calling.live.view().agent.cwd);
                self.worktrees.same_repository(&directory, &place.path).await
            }
            // Those in which only its own descendants have worked.
            Scope::Own => {
                let worked: Vec<AgentId> = self
                    .agents
                    .all()
                    .iter()
                    .filter(|owned| belongs(&owned.live.view().agent, &place.path))
                    .map(|owned| owned.live.id.clone())
                    .collect();
                !worked.is_empty() && worked.iter().all(|agent| agent == own || self.descends(agent, own))
            }
        };
        match within {
            true => Ok(()),
            false => Err(ApiError::new(
                Code::Forbidden,
                format!("{} is beyond what this agent may act on", place.path.display()),
            )
            .hint("ask your user, who may widen `scope` in config.json")),
        }
    }

    /// The agents that work in a worktree, archived ones left out.
    fn agents_in(&self, place: &Place) -> Vec<Arc<Owned>> {
        let here = |owned: &Arc<Owned>| {
            let view = owned.live.view();
            view.agent.status != Status::Archived && belongs(&view.agent, &place.path)
        };
        self.agents.all().into_iter().filter(here).collect()
    }
}
