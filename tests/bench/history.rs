//! Lines on long timelines: what it costs to keep them, and to read a page.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use paseo_sdk::Client;
use paseo_sdk::catalogue::{GetAgentTimeline, ListAgents};
use paseo_sdk::item::{Content, Entry, Happening, Item, Kind, Origin, Tool, ToolCall, ToolStatus};
use paseo_sdk::model::{AgentId, ItemId, Outcome, Timestamp, TurnId, Usage};
use serde_json::json;

use crate::Result;
use crate::lines::{beside, command, next_start};
use crate::memory;
use crate::stage::Stage;

/// Pages of one agent with a million entries. The home is one of idle agents, without a daemon.
pub(crate) async fn pages(stage: &Stage) -> Result<()> {
    let daemon = stage.daemon()?;
    let agent = idle(&stage.client()).await?.swap_remove(0);
    daemon.stop()?;
    let file = stage.timeline(&agent);
    write(&file, MANY)?;
    let daemon = stage.daemon()?;
    let client = stage.client();
    let newest = GetAgentTimeline { limit: Some(PAGE), ..GetAgentTimeline::newest(&agent) };
    page(&client, "the newest page of a million entries", &newest, &file).await?;
    let middle = GetAgentTimeline { before: Some(MANY / 2), ..newest.clone() };
    page(&client, "a page before the middle", &middle, &file).await?;
    let middle = GetAgentTimeline { after: Some(MANY / 2), ..newest.clone() };
    page(&client, "a page after the middle", &middle, &file).await?;
    commands(stage, &agent, &file)?;
    nothing(&client, &GetAgentTimeline { kinds: vec![ABSENT], ..newest }, &file).await?;
    daemon.stop()
}

/// The start and the memory of a daemon whose hundred agents have a million entries together.
pub(crate) async fn memory(stage: &Stage) -> Result<()> {
    let daemon = stage.daemon()?;
    let agents = idle(&stage.client()).await?;
    daemon.stop()?;
    for agent in &agents {
        write(&stage.timeline(agent), MANY / 100)?;
    }
    next_start(stage, "start, 100 agents with a million entries")?;
    let daemon = stage.daemon()?;
    memory::of_the_daemon(&daemon, "just started, a million entries")?;
    let client = stage.client();
    for agent in &agents {
        let newest = GetAgentTimeline { limit: Some(PAGE), ..GetAgentTimeline::newest(agent) };
        let middle = GetAgentTimeline { before: Some(MANY / 200), ..newest.clone() };
        for request in [newest, middle] {
            client.get_agent_timeline(request).await?;
        }
    }
    memory::of_the_daemon(&daemon, "two pages of each were read")?;
    for agent in &agents {
        let absent = GetAgentTimeline { kinds: vec![ABSENT], ..GetAgentTimeline::newest(agent) };
        client.get_agent_timeline(absent).await?;
    }
    memory::of_the_daemon(&daemon, "all of each was looked through")?;
    daemon.stop()
}

async fn idle(client: &Client) -> Result<Vec<AgentId>> {
    let agents = client.list_agents(ListAgents::default()).await?.agents;
    match agents.len() {
        100 => Ok(agents.into_iter().map(|agent| agent.agent_id).collect()),
        other => Err(format!("a home of a hundred agents has {other}").into()),
    }
}

/// A page through the client, beside reading as many bytes at the same place in this process.
async fn page(client: &Client, what: &str, request: &GetAgentTimeline, file: &Path) -> Result<()> {
    let answer = client.get_agent_timeline(request.clone()).await?;
    let length = answer.entries.iter().map(|entry| json!(entry).to_string().len() + 1).sum();
    let file = File::open(file)?;
    let end = file.metadata()?.len();
    // Where exactly does not matter to a file that was written just now.
    let at = match (request.after, request.before) {
        (None, None) => end - length as u64,
        _ => end / 2,
    };
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..PAGES {
        let begun = Instant::now();
        let answer = client.get_agent_timeline(request.clone()).await?;
        ours.push(begun.elapsed().as_secs_f64());
        if i64::try_from(answer.entries.len()) != Ok(PAGE) {
            return Err("a page is not full".into());
        }
        let begun = Instant::now();
        file.read_exact_at(&mut vec![0; length], at)?;
        bare.push(begun.elapsed().as_secs_f64());
    }
    beside(what, ours, "read its bytes", bare);
    Ok(())
}

/// `paseo logs --tail`, as a whole process.
fn commands(stage: &Stage, agent: &AgentId, file: &Path) -> Result<()> {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let count = PAGE.to_string();
    for _ in 0..COMMANDS {
        ours.push(command(&mut stage.paseo(&["logs", agent.as_str(), "--tail", &count]))?);
        bare.push(command(Command::new("tail").args(["-n", &count]).arg(file))?);
    }
    beside("paseo logs --tail 50, of a million entries", ours, "tail -n 50", bare);
    Ok(())
}

/// A page of a kind that there is none of, so that all is looked through.
async fn nothing(client: &Client, request: &GetAgentTimeline, file: &Path) -> Result<()> {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..WHOLE {
        let begun = Instant::now();
        let answer = client.get_agent_timeline(request.clone()).await?;
        ours.push(begun.elapsed().as_secs_f64());
        if !answer.entries.is_empty() {
            return Err("there is an entry of a kind that was not written".into());
        }
        // It is not found, so that all of the file is read; the end is `true` all the same.
        let mut grep = Command::new("/bin/sh");
        grep.args(["-c", r#"! grep -q '"kind":"compaction"' "$0""#]).arg(file);
        bare.push(command(&mut grep)?);
    }
    beside("a kind that none of a million entries has", ours, "grep", bare);
    Ok(())
}

/// Writes a timeline as the daemon does: an entry a line, from 1 on.
fn write(path: &Path, count: i64) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for seq in 1..=count {
        serde_json::to_writer(&mut file, &entry(seq))?;
        file.write_all(b"\n")?;
    }
    Ok(file.flush()?)
}

/// Returns an entry of a conversation whose every turn has ten: a prompt, a thought, two tool calls and an answer.
fn entry(seq: i64) -> Entry {
    let (turn, part) = ((seq - 1) / 10, (seq - 1) % 10);
    let item =
        |number: i64, content: Content| Item { item_id: ItemId(format!("{turn}-{number}")), parent_id: None, content };
    let call = |status: ToolStatus| {
        Content::ToolCall(Box::new(ToolCall {
            tool: Tool::Shell,
            name: "Bash".to_owned(),
            title: "cargo test --workspace".to_owned(),
            status,
            input: json!({ "command": "cargo test --workspace" }),
            output: (status == ToolStatus::Completed).then(|| SAID.repeat(2)),
            omitted_bytes: 0,
            exit_code: (status == ToolStatus::Completed).then_some(0),
            diff: None,
        }))
    };
    let text = |times: usize| SAID.repeat(times);
    let what = match part {
        0 => Happening::TurnStarted { prompt_id: None },
        1 => Happening::ItemClosed { item: item(1, Content::UserMessage { text: text(1), images: 0 }) },
        2 => Happening::ItemClosed { item: item(2, Content::Reasoning { text: text(2) }) },
        3 => Happening::ItemOpened { item: item(3, call(ToolStatus::Running)) },
        4 => Happening::ItemClosed { item: item(3, call(ToolStatus::Completed)) },
        5 => Happening::ItemOpened { item: item(4, call(ToolStatus::Running)) },
        6 => Happening::ItemClosed { item: item(4, call(ToolStatus::Completed)) },
        7 => Happening::ItemOpened { item: item(5, Content::AssistantMessage { text: String::new() }) },
        8 => Happening::ItemClosed { item: item(5, Content::AssistantMessage { text: text(3) }) },
        _ => Happening::TurnEnded { outcome: Outcome::Completed, reason: None, usage: Usage::default() },
    };
    Entry {
        seq,
        at: Timestamp(1_700_000_000_000 + seq),
        turn_id: Some(TurnId(format!("turn-{turn}"))),
        origin: Some(Origin { run: 1, record: seq, part: 0 }),
        what,
    }
}

/// The kind that no entry here has.
const ABSENT: Kind = Kind::Compaction;
/// A line of what is said and printed here.
const SAID: &str = "All forty-two tests pass, and the one that failed yesterday does too.\n";

const MANY: i64 = 1_000_000;
const PAGE: i64 = 50;
const PAGES: usize = 50;
const COMMANDS: usize = 30;
const WHOLE: usize = 3;
