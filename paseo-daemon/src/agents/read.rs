//! Reading what an agent did, and following what it does.

use std::collections::BTreeMap;
use std::io;

use paseo_sdk::catalogue::{
    GetAgentStatus, GetAgentTimeline, TimelinePage, WatchAgents, Watched as Standing, Watching,
};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::item::Entry;
use paseo_sdk::model::{Agent, AgentId};
use paseo_sdk::operation::{Caller, Handle};
use serde_json::json;

use super::{internal, limit};
use crate::Core;
use crate::live::{Cursor, Find, Watched};
use crate::store::Numbered;

impl Handle<GetAgentStatus> for Core {
    async fn handle(&self, caller: Caller, request: GetAgentStatus) -> Result<Agent, ApiError> {
        self.calling(&caller)?;
        Ok(self.agents.find(&request.agent_id)?.live.view().agent.clone())
    }
}

impl Handle<GetAgentTimeline> for Core {
    async fn handle(&self, caller: Caller, request: GetAgentTimeline) -> Result<TimelinePage, ApiError> {
        self.calling(&caller)?;
        let limit = limit(request.limit)?;
        if request.after.is_some() && request.before.is_some() {
            return Err(ApiError::invalid("before", "goes without `after`: give one of them"));
        }
        let owned = self.agents.find(&request.agent_id)?;
        let (path, last_seq) = (owned.live.log().clone(), owned.live.last_seq());
        let read = move || {
            let Some(log) = Numbered::open(&path)? else { return io::Result::Ok((Vec::new(), false)) };
            let parse = |line: &str| serde_json::from_str::<Entry>(line).ok();
            // An entry is written with the word for its kind, so that most others are passed over without a closer look.
            let words: Vec<_> = request.kinds.iter().map(|kind| json!(kind).to_string()).collect();
            let wanted = |line: &str| {
                let kinds = &request.kinds;
                (words.is_empty() || words.iter().any(|word| line.contains(word)))
                    && parse(line).is_some_and(|entry| kinds.is_empty() || kinds.contains(&entry.what.kind()))
            };
            let page = match (request.after, request.before) {
                (Some(after), _) => log.after(after, limit, wanted)?,
                (None, before) => log.before(before.unwrap_or(i64::MAX), limit, wanted)?,
            };
            Ok((page.lines.iter().filter_map(|line| parse(line)).collect(), page.more))
        };
        let read = tokio::task::spawn_blocking(read).await.map_err(|error| internal(error.to_string()))?;
        let (entries, more) = read.map_err(|error| internal(format!("the timeline cannot be read: {error}")))?;
        Ok(TimelinePage { entries, more, last_seq })
    }
}

impl Handle<WatchAgents> for Core {
    async fn handle(&self, caller: Caller, request: WatchAgents) -> Result<Watching, ApiError> {
        self.calling(&caller)?;
        let feed = caller.feed.ok_or_else(|| {
            ApiError::new(Code::Unsupported, "a single request cannot carry events")
                .hint("connect to /ws and watch there")
        })?;
        // From here on nothing is missed, whatever changes while the answer is put together.
        let watcher = self.watchers.join();
        let for_all = request.agents.is_none();
        let mut standing = Vec::new();
        let mut agents = BTreeMap::new();
        match request.agents {
            Some(wanted) => {
                for from in wanted {
                    let live = self.agents.find(&from.agent_id)?.live.clone();
                    let read = {
                        let live = live.clone();
                        move || live.entries(from.after, FIRST_PAGE)
                    };
                    let read = tokio::task::spawn_blocking(read).await.map_err(|error| internal(error.to_string()))?;
                    let entries = read.map_err(|error| internal(format!("the timeline cannot be read: {error}")))?;
                    let after = entries.last().map_or(from.after, |entry| entry.seq);
                    let mut cursor = Cursor::following(after);
                    let text = live.text(&mut cursor);
                    standing.push(Standing { agent: live.view().agent.clone(), entries, text });
                    agents.insert(live.id.clone(), (live, cursor));
                }
            }
            None => {
                for owned in self.agents.all() {
                    let live = owned.live.clone();
                    standing.push(Standing { agent: live.view().agent.clone(), entries: Vec::new(), text: Vec::new() });
                    agents.insert(live.id.clone(), (live, Cursor::default()));
                }
            }
        }
        let others = for_all.then(|| {
            let registry = self.agents.clone();
            let find = move |id: &AgentId| registry.get(id).map(|owned| owned.live.clone());
            Box::new(find) as Find
        });
        feed.follow(Watched { agents, others }.frames(watcher));
        Ok(Watching { agents: standing })
    }
}

/// How much of a timeline the answer of a watch holds, in entries; the rest follows as events.
const FIRST_PAGE: usize = 100;
