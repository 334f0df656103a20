//! What a watcher is told, decided by bytes.

use std::collections::BTreeMap;

use paseo_sdk::catalogue::{TimelinePage, WatchAgents, WatchFrom, Watched, Watching};
use paseo_sdk::machine::replica::{Input, Replica};
use paseo_sdk::model::{Agent, AgentId, Delta, Event, Mode, Status, Timestamp, Usage};

use super::item;
use crate::bytes::Bytes;
use crate::{Broken, laws};

pub(crate) fn check(mut bytes: Bytes<'_>) -> Result<(), Broken> {
    let from = |bytes: &mut Bytes<'_>| WatchFrom { agent_id: bytes.agent_id().into(), after: bytes.number(4) };
    let agents = bytes.maybe(|bytes| bytes.some(2, from));
    laws(Replica::new(WatchAgents { agents }), bytes.script(input))
}

fn input(bytes: &mut Bytes<'_>) -> Input {
    match bytes.below(14) {
        0 | 1 => Input::Watching(Watching {
            agents: bytes.some(2, |bytes| {
                let agent_id = bytes.agent_id();
                let agent = agent(bytes, agent_id);
                Watched { agent, entries: bytes.some(4, item::entry), text: bytes.some(2, delta) }
            }),
        }),
        2..=9 => {
            let agent_id = bytes.agent_id();
            Input::Event(match bytes.below(8) {
                0 => Event::AgentChanged(Box::new(agent(bytes, agent_id))),
                1 => Event::AgentRemoved { agent_id },
                2 | 3 => Event::AgentText { agent_id, delta: delta(bytes) },
                _ => Event::AgentEntry { agent_id, entry: Box::new(item::entry(bytes)) },
            })
        }
        10 | 11 => Input::Page {
            agent: bytes.agent_id(),
            page: TimelinePage { entries: bytes.some(4, item::entry), more: bytes.flag(), last_seq: bytes.number(12) },
        },
        12 => Input::Unanswered { agent: bytes.agent_id() },
        _ => Input::Cut,
    }
}

fn delta(bytes: &mut Bytes<'_>) -> Delta {
    Delta { item_id: item::item_id(bytes), offset: bytes.pick(&[0, 0, 1, 2, 14, -1, i64::MAX]), text: bytes.text() }
}

fn agent(bytes: &mut Bytes<'_>, agent_id: AgentId) -> Agent {
    Agent {
        agent_id,
        title: bytes.word(),
        provider: "shell".to_owned(),
        mode: Mode::Default,
        cwd: "/".to_owned(),
        worktree: None,
        labels: BTreeMap::new(),
        parent: None,
        status: bytes.pick(&[Status::Idle, Status::Running, Status::Archived]),
        reason: None,
        turn: None,
        last_turn: None,
        last_message: None,
        queued: Vec::new(),
        permissions: Vec::new(),
        usage: Usage::default(),
        pid: None,
        last_seq: bytes.number(12),
        created_at: Timestamp(0),
        updated_at: Timestamp(bytes.number(9)),
        archived_at: None,
    }
}
