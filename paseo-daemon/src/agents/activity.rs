//! What an agent did, in text short enough for a model to read.

use std::io;

use paseo_sdk::catalogue::{Activity, GetAgentActivity};
use paseo_sdk::error::ApiError;
use paseo_sdk::item::Entry;
use paseo_sdk::model::Agent;
use paseo_sdk::operation::{Caller, Handle};

use super::internal;
use crate::Core;
use crate::live::Live;
use crate::owner::now;
use crate::store::Numbered;
use crate::summary::{WHOLE, summarise};

impl Handle<GetAgentActivity> for Core {
    async fn handle(&self, caller: Caller, request: GetAgentActivity) -> Result<Activity, ApiError> {
        self.calling(&caller)?;
        let owned = self.agents.find(&request.agent_id)?;
        let live = owned.live.clone();
        let summary = move || {
            let open = live.open_text(WHOLE);
            let entries = newest(&live, open.keys().map(|item| item.0.as_str()))?;
            let agent = live.view().agent.clone();
            io::Result::Ok((summarise(&agent, &entries, &open, now()), agent))
        };
        let summary = tokio::task::spawn_blocking(summary).await.map_err(|error| internal(error.to_string()))?;
        let (summary, agent) = summary.map_err(|error| internal(format!("the timeline cannot be read: {error}")))?;
        let Agent { agent_id, title, status, updated_at, .. } = agent;
        Ok(Activity { agent_id, title, status, summary, updated_at })
    }
}

/// Reads the newest entries, and of the older ones the last prompt, the last to-do list, and how what is open began.
fn newest<'a>(live: &Live, open: impl Iterator<Item = &'a str> + Clone) -> io::Result<Vec<Entry>> {
    let Some(log) = Numbered::open(live.log())? else { return Ok(Vec::new()) };
    let begins = |line: &str| line.contains(r#""type":"item_opened""#);
    let is_open = |line: &str| begins(line) && open.clone().any(|item| line.contains(item));
    let of_kind = |line: &str, kind: &str| !begins(line) && line.contains(kind) && !line.contains(r#""parentId""#);
    let mut lines = log.before(i64::MAX, ENTRIES, |line| !begins(line))?.lines;
    for kind in [r#""kind":"user_message""#, r#""kind":"todo""#] {
        lines.extend(log.before(i64::MAX, 1, |line| of_kind(line, kind))?.lines);
    }
    let count = open.clone().count();
    if count > 0 {
        lines.extend(log.before(i64::MAX, count, is_open)?.lines);
    }
    let mut entries: Vec<Entry> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    entries.sort_by_key(|entry| entry.seq);
    entries.dedup_by_key(|entry| entry.seq);
    Ok(entries)
}

/// How many of the newest entries a summary is made of, those left out that only say that something began.
const ENTRIES: usize = 400;
