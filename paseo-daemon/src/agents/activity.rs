//! What an agent did, in text short enough for a model to read.

use std::io;

use paseo_sdk::catalogue::{Activity, GetAgentActivity};
use paseo_sdk::error::ApiError;
use paseo_sdk::item::{Content, Entry, Happening};
use paseo_sdk::model::Agent;
use paseo_sdk::operation::{Caller, Handle};

use super::internal;
use crate::Core;
use crate::store::Numbered;

impl Handle<GetAgentActivity> for Core {
    async fn handle(&self, caller: Caller, request: GetAgentActivity) -> Result<Activity, ApiError> {
        self.calling(&caller)?;
        let owned = self.agents.find(&request.agent_id)?;
        let live = owned.live.clone();
        let read = move || -> io::Result<Vec<Entry>> {
            let Some(log) = Numbered::open(live.log())? else { return Ok(Vec::new()) };
            let page = log.before(i64::MAX, 200, |line| !line.contains(r#""type":"item_opened""#))?;
            Ok(page.lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect())
        };
        let read = tokio::task::spawn_blocking(read).await.map_err(|error| internal(error.to_string()))?;
        let entries = read.map_err(|error| internal(format!("the timeline cannot be read: {error}")))?;
        let agent = owned.live.view().agent.clone();
        let summary = summarise(&agent, &entries);
        let Agent { agent_id, title, status, updated_at, .. } = agent;
        Ok(Activity { agent_id, title, status, summary, updated_at })
    }
}

/// Says in at most 16 KiB what an agent did, the newest last.
fn summarise(agent: &Agent, entries: &[Entry]) -> String {
    const WHOLE: usize = 16 * 1024;
    const EACH: usize = 2 * 1024;
    let mut lines = Vec::new();
    for permission in &agent.permissions {
        lines.push(format!("[waits for permission {}] {}", permission.request_id, permission.title));
    }
    let mut length: usize = lines.iter().map(String::len).sum();
    for entry in entries.iter().rev() {
        let Some(line) = line_of(&entry.what) else { continue };
        let line = match line.char_indices().nth(EACH) {
            Some((cut, _)) => format!("{}…", &line[..cut]),
            None => line,
        };
        length += line.len() + 1;
        if length > WHOLE {
            lines.push("[earlier activity is left out]".to_owned());
            break;
        }
        lines.push(line);
    }
    lines.reverse();
    lines.join("\n")
}

fn line_of(what: &Happening) -> Option<String> {
    let because = |reason: &Option<String>| reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    Some(match what {
        Happening::ItemClosed { item } => match &item.content {
            Content::UserMessage { text, .. } => format!("[prompt] {text}"),
            Content::AssistantMessage { text } => format!("[said] {text}"),
            Content::Reasoning { .. } => return None,
            Content::ToolCall(call) => {
                let output =
                    call.output.as_deref().map_or_else(String::new, |output| format!("\n{}", output.trim_end()));
                let status = serde_json::to_value(call.status).unwrap_or_default();
                let status = status.as_str().unwrap_or_default();
                format!("[{} {status}] {}{output}", call.name, call.title)
            }
            Content::Todo { entries } => {
                let entries: Vec<_> = entries.iter().map(|entry| format!("- {}", entry.text)).collect();
                format!("[to do]\n{}", entries.join("\n"))
            }
            Content::Compaction { text } => format!("[compaction] {text}"),
        },
        Happening::Notice { text } => format!("[notice] {text}"),
        Happening::Error { text } => format!("[error] {text}"),
        Happening::TurnEnded { outcome, reason, .. } => {
            let outcome = serde_json::to_value(outcome).unwrap_or_default();
            format!("[turn {}]{}", outcome.as_str().unwrap_or_default(), because(reason))
        }
        Happening::TurnStarted { .. } | Happening::ItemOpened { .. } => return None,
    })
}
