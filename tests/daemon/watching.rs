//! What watchers see.

use paseo_sdk::Client;
use paseo_sdk::catalogue::{WatchAgents, WatchFrom};
use paseo_sdk::item::{Content, Happening};
use paseo_sdk::model::{Agent, AgentId, Event, Status};

use crate::lab::{Lab, calls, timeline};

pub(crate) fn follow(agent: &AgentId, after: i64) -> WatchAgents {
    WatchAgents { agents: Some(vec![WatchFrom { agent_id: agent.into(), after }]) }
}

/// Returns when the agent is so.
pub(crate) async fn until(client: &Client, agent: &AgentId, so: impl Fn(&Agent) -> bool) {
    let mut watch = client.watch(follow(agent, 0));
    while let Some(event) = watch.next().await {
        if let Event::AgentChanged(agent) = event.expect("the watch goes on")
            && so(&agent)
        {
            return;
        }
    }
    panic!("the watch ended");
}

/// Returns when the agent uses a tool.
pub(crate) async fn until_call(client: &Client, agent: &AgentId) {
    until_call_of(client, agent, "").await;
}

/// Returns when the agent uses a tool whose name ends so.
pub(crate) async fn until_call_of(client: &Client, agent: &AgentId, tool: &str) {
    let mut watch = client.watch(follow(agent, 0));
    while let Some(event) = watch.next().await {
        if let Event::AgentEntry { entry, .. } = event.expect("an event")
            && let Happening::ItemOpened { item } = &entry.what
            && let Content::ToolCall(call) = &item.content
            && call.name.ends_with(tool)
        {
            return;
        }
    }
    panic!("the watch ended");
}

/// Returns when the agent has written `text`.
pub(crate) async fn until_text(client: &Client, agent: &AgentId, text: &str) {
    let mut watch = client.watch(follow(agent, 0));
    let mut seen = String::new();
    while let Some(event) = watch.next().await {
        match event.expect("an event") {
            Event::AgentText { delta, .. } => seen.push_str(&delta.text),
            Event::AgentEntry { entry, .. } => {
                if let Happening::TurnEnded { reason, .. } = &entry.what {
                    panic!("the turn ended without `{text}`: {reason:?}, after {seen}");
                }
            }
            _ => {}
        }
        if seen.contains(text) {
            return;
        }
    }
    panic!("the watch ended without `{text}`");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_text_as_it_comes_and_then_the_whole() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let script = "for i in 1 2 3 4 5; do echo line $i; sleep 0.03; done; true";
    let agent = client.create_agent(lab.script(script).in_background()).await.expect("it starts").agent_id;
    let mut watch = client.watch(follow(&agent, 0));
    let (mut text, mut entries) = (String::new(), Vec::new());
    while let Some(event) = watch.next().await {
        match event.expect("an event") {
            Event::AgentText { delta, .. } => {
                assert_eq!(delta.offset, text.len() as i64, "text follows on text");
                text.push_str(&delta.text);
            }
            Event::AgentEntry { entry, .. } => entries.push(*entry),
            Event::AgentChanged(agent) if agent.last_turn.is_some() => {
                assert_eq!(agent.status, Status::Idle);
                break;
            }
            Event::AgentChanged(_) | Event::AgentRemoved { .. } => {}
        }
    }
    assert_eq!(entries, timeline(&client, &agent).await);
    let whole = calls(&entries)[0].output.clone().expect("an output");
    assert_eq!(whole, "line 1\nline 2\nline 3\nline 4\nline 5\n");
    assert!(whole.starts_with(&text), "{text}");
    // A late watcher sees the same entries, from where it asks.
    let mut late = client.watch(follow(&agent, 2));
    let mut rest = Vec::new();
    while rest.len() < entries.len() - 2 {
        if let Some(Event::AgentEntry { entry, .. }) = late.next().await.transpose().expect("an event") {
            rest.push(*entry);
        }
    }
    assert_eq!(rest, entries[2..]);
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_of_all_sees_new_agents_and_their_end() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let mut watch = client.watch(WatchAgents::default());
    let agent = client.create_agent(lab.script("echo hello")).await.expect("it runs").agent_id;
    loop {
        match watch.next().await.expect("the watch goes on").expect("an event") {
            Event::AgentChanged(seen)
                if seen.agent_id == agent && seen.status == Status::Idle && seen.pid.is_none() =>
            {
                break;
            }
            _ => {}
        }
    }
    client.delete_agent(paseo_sdk::catalogue::DeleteAgent { agent_id: (&agent).into() }).await.expect("it is deleted");
    loop {
        if let Event::AgentRemoved { agent_id } = watch.next().await.expect("the watch goes on").expect("an event") {
            assert_eq!(agent_id, agent);
            break;
        }
    }
    lab.end(&client).await;
}
