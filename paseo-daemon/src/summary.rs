//! What an agent does and did, in text that is short enough for a model to read: the newest in full, older things shorter.

use std::borrow::Cow;
use std::collections::BTreeMap;

use paseo_sdk::item::{Content, Entry, Happening, Item, TodoStatus, ToolCall, ToolStatus, omission};
use paseo_sdk::model::{Agent, Duration, ItemId, Permission, Status, Timestamp, in_one_line as line};
use serde::Serialize;

/// How long a summary is at most, in bytes.
pub const WHOLE: usize = 16 * 1024;

/// Says in at most [`WHOLE`] bytes how an agent stands at `now` and what it did.
///
/// `entries` are in order: the newest of its timeline, and of older ones those that matter still, such as its task. `open` is
/// the newest text of the items that are not closed yet.
#[must_use]
pub fn summarise(agent: &Agent, entries: &[Entry], open: &BTreeMap<ItemId, String>, now: Timestamp) -> String {
    let mut lines = vec![standing(agent, entries, now)];
    lines.extend(waits(agent, now));
    lines.extend(doing(entries, open, now));
    if !agent.queued.is_empty() {
        lines.push(format!("prompts that wait for their turn: {}", agent.queued.len()));
    }
    let task = task(entries);
    lines.extend(task.map(|(_, text)| format!("task: {}", both_ends(&indented(text), 1000))));
    lines.extend(to_do(entries));
    let head = lines.join("\n");
    let head = start(&head, HEAD);
    let did = history(entries, task.map(|(seq, _)| seq), WHOLE - head.len() - BETWEEN.len());
    match did.is_empty() {
        true => head.to_owned(),
        false => format!("{head}{BETWEEN}{did}"),
    }
}

/// How much of a summary says how the agent stands, in bytes; the rest is for what it did.
const HEAD: usize = 8 * 1024;

/// What stands between the two.
const BETWEEN: &str = "\n\nwhat it did, the newest last:\n";

/// How many permissions and open items are shown, and how many lines of a to-do list.
const PERMISSIONS: usize = 8;
const OPEN: usize = 4;
const TODOS: usize = 24;

fn standing(agent: &Agent, entries: &[Entry], now: Timestamp) -> String {
    let mut text = word(&agent.status);
    let last = agent.last_turn.as_ref();
    match (&agent.turn, agent.status) {
        (Some(turn), _) => text += &format!(", its turn for {} now", since(turn.started_at, now)),
        (None, Status::Archived) => {
            text += &agent.archived_at.map(|at| format!(" {} ago", since(at, now))).unwrap_or_default();
        }
        (None, _) => {}
    }
    if let Some(end) = last.filter(|_| agent.turn.is_none()) {
        text += &format!("; its last turn ended {} ago: {}", since(end.ended_at, now), word(&end.outcome));
        let reason = end.reason.as_deref().filter(|_| agent.reason.is_none());
        text += &reason.map(|reason| format!(": {}", line(reason, 300))).unwrap_or_default();
    }
    if let Some(reason) = &agent.reason {
        text += &format!(": {}", line(reason, 300));
    }
    if let Some(newest) = entries.last().filter(|_| agent.turn.is_some()) {
        text += &format!("; last heard of {} ago", since(newest.at, now));
    }
    let place = agent.worktree.as_ref().and_then(|worktree| worktree.branch_name.as_deref());
    let place = place.map(|branch| format!(", on branch {}", line(branch, 200))).unwrap_or_default();
    let (provider, cwd) = (line(&agent.provider, 100), line(&agent.cwd, 400));
    format!("{text}\n{provider} in mode {}, in {cwd}{place}", line(&agent.mode.to_string(), 50))
}

fn waits(agent: &Agent, now: Timestamp) -> impl Iterator<Item = String> {
    let shown = |permission: &Permission| {
        let (id, kind) = (line(permission.request_id.as_str(), 100), word(&permission.kind));
        let more = permission.description.as_deref().unwrap_or_default();
        let more = if more.is_empty() { String::new() } else { format!(" ({})", line(more, 160)) };
        let title = line(&permission.title, 240);
        format!("waits for permission {id} ({kind}, for {}): {title}{more}", since(permission.asked_at, now))
    };
    let more = agent.permissions.len().saturating_sub(PERMISSIONS);
    let more = (more > 0).then(|| format!("and for {more} permissions more"));
    agent.permissions.iter().take(PERMISSIONS).map(shown).chain(more).collect::<Vec<_>>().into_iter()
}

/// Says what is not closed yet: the commands that run, and what is being written.
fn doing(entries: &[Entry], open: &BTreeMap<ItemId, String>, now: Timestamp) -> Vec<String> {
    let opened = entries.iter().filter_map(|entry| match &entry.what {
        Happening::ItemOpened { item } => Some((entry.at, item, open.get(&item.item_id)?)),
        _ => None,
    });
    let shown = opened.map(|(at, item, text)| {
        let what = match &item.content {
            Content::ToolCall(call) => call_line(call),
            Content::Reasoning { .. } => "thinks".to_owned(),
            _ => "writes".to_owned(),
        };
        let text = match item.content {
            Content::Reasoning { .. } => Cow::default(),
            _ => end(text.trim_end(), 600),
        };
        let text = if text.is_empty() { String::new() } else { format!("\n  {}", indented(&text)) };
        let whose = if item.parent_id.is_some() { " (its sub-agent)" } else { "" };
        format!("now, for {}{whose}: {what}{text}", since(at, now))
    });
    let mut shown: Vec<_> = shown.collect();
    shown.split_off(shown.len().saturating_sub(OPEN))
}

/// Returns what the agent was told last, and the number of that entry.
fn task(entries: &[Entry]) -> Option<(i64, &str)> {
    entries.iter().rev().find_map(|entry| match closed(entry)? {
        Item { parent_id: None, content: Content::UserMessage { text, .. }, .. } => Some((entry.seq, text.trim())),
        _ => None,
    })
}

fn to_do(entries: &[Entry]) -> Option<String> {
    let list = entries.iter().rev().find_map(|entry| match closed(entry)? {
        Item { parent_id: None, content: Content::Todo { entries }, .. } => Some(entries),
        _ => None,
    })?;
    let of = |status| list.iter().filter(|entry| entry.status == status).count();
    let shown = list.iter().map(|entry| {
        let mark = match entry.status {
            TodoStatus::Pending => ' ',
            TodoStatus::InProgress => '>',
            TodoStatus::Completed => 'x',
        };
        format!("\n  [{mark}] {}", line(&entry.text, 120))
    });
    // What is being done is shown, however long the list is.
    let current = list.iter().position(|entry| entry.status != TodoStatus::Completed).unwrap_or(0);
    let first = current.saturating_sub(TODOS / 3).min(list.len().saturating_sub(TODOS));
    let lines: String = shown.skip(first).take(TODOS).collect();
    Some(format!("to do, {} of {} done:{lines}", of(TodoStatus::Completed), list.len()))
}

/// Tells what happened, from the newest on backwards for as long as there is room. The less room is left, the shorter each
/// entry is.
fn history(entries: &[Entry], task: Option<i64>, room: usize) -> String {
    const LEFT_OUT: &str = "[what came before is left out; get_agent_timeline has it]";
    let mut steps: BTreeMap<&ItemId, usize> = BTreeMap::new();
    for parent in entries.iter().filter_map(|entry| closed(entry)?.parent_id.as_ref()) {
        *steps.entry(parent).or_default() += 1;
    }
    let mut room = room.saturating_sub(LEFT_OUT.len() + 1);
    let mut lines = Vec::new();
    for entry in entries.iter().rev() {
        let text = match task == Some(entry.seq) {
            true => Some("[prompt] the task above".to_owned()),
            false => told(entry, room, &steps),
        };
        let Some(text) = text else { continue };
        if text.len() + 1 > room {
            lines.push(LEFT_OUT.to_owned());
            break;
        }
        room -= text.len() + 1;
        lines.push(text);
    }
    lines.reverse();
    lines.join("\n")
}

/// Says one thing that happened; none where it says nothing to somebody else.
fn told(entry: &Entry, room: usize, steps: &BTreeMap<&ItemId, usize>) -> Option<String> {
    Some(match &entry.what {
        Happening::ItemClosed { item } if item.parent_id.is_none() => match &item.content {
            Content::UserMessage { text, .. } => {
                format!("[prompt] {}", both_ends(&indented(text.trim()), (room / 8).clamp(100, 600)))
            }
            Content::AssistantMessage { text } => {
                format!("[said] {}", both_ends(&indented(text.trim()), (room / 2).max(200)))
            }
            Content::ToolCall(call) => {
                let steps = steps.get(&item.item_id).map(|steps| format!(" (steps of its sub-agent: {steps})"));
                format!("[{}] {}{}{}", ended(call), call_line(call), steps.unwrap_or_default(), output(call, room))
            }
            Content::Compaction { .. } => "[its memory was shortened]".to_owned(),
            Content::Reasoning { .. } | Content::Todo { .. } => return None,
        },
        Happening::Notice { text } => format!("[notice] {}", line(text, 300)),
        Happening::Error { text } => format!("[error] {}", line(text, 600)),
        Happening::TurnEnded { outcome, reason, .. } => {
            let reason = reason.as_deref().map(|reason| format!(": {}", line(reason, 300)));
            format!("[turn {}{}]", word(outcome), reason.unwrap_or_default())
        }
        Happening::TurnStarted { .. } | Happening::ItemOpened { .. } | Happening::ItemClosed { .. } => return None,
    })
}

fn closed(entry: &Entry) -> Option<&Item> {
    match &entry.what {
        Happening::ItemClosed { item } => Some(item),
        _ => None,
    }
}

fn call_line(call: &ToolCall) -> String {
    format!("{}: {}", line(&call.name, 80), line(&call.title, 240))
}

fn ended(call: &ToolCall) -> String {
    match (call.status, call.exit_code) {
        (ToolStatus::Failed, Some(code)) => format!("failed, exit {code}"),
        (status, _) => word(&status),
    }
}

/// Shows the end of what a call printed: of one that failed more, of one that lies back less.
fn output(call: &ToolCall, room: usize) -> String {
    let most = match call.status {
        ToolStatus::Failed | ToolStatus::Denied => (room / 6).min(1500),
        _ => (room / 32).min(240),
    };
    let text = call.output.as_deref().unwrap_or_default().trim();
    match most < SHORTEST || text.is_empty() {
        true => String::new(),
        false => format!("\n  {}", end(&indented(text), most)),
    }
}

/// Less of an output than this says nothing, in bytes.
const SHORTEST: usize = 48;

fn word(what: &impl Serialize) -> String {
    serde_json::to_value(what).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

fn since(then: Timestamp, now: Timestamp) -> Duration {
    let milliseconds = now.0.saturating_sub(then.0).max(0);
    // Whoever waits for hours does not care for seconds.
    let exactness = if milliseconds < 3_600_000 { 1000 } else { 60_000 };
    Duration { milliseconds: milliseconds / exactness * exactness }
}

fn indented(text: &str) -> Cow<'_, str> {
    match text.contains('\n') {
        true => text.replace('\n', "\n  ").into(),
        false => text.into(),
    }
}

/// Returns the start of a text, at most `most` bytes of it.
pub(crate) fn start(text: &str, most: usize) -> &str {
    let mut cut = most.min(text.len());
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    &text[..cut]
}

/// Returns the end of a text, at most `most` bytes of it, and says so where it is not the whole.
fn end(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return text.into();
    }
    let mut cut = text.len() - most.saturating_sub('…'.len_utf8()).min(text.len());
    while !text.is_char_boundary(cut) {
        cut += 1;
    }
    format!("…{}", &text[cut..]).into()
}

/// Returns a text in at most `most` bytes: of a longer one a third from its start and the rest from its end.
fn both_ends(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return text.into();
    }
    // As long as the longest one.
    let room = most.saturating_sub(omission(i64::MAX).len() + 2 * "\n  ".len());
    let head = start(text, room / 3);
    let mut from = text.len() - (room - head.len());
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let omitted = i64::try_from(from - head.len()).unwrap_or(i64::MAX);
    format!("{head}\n  {}\n  {}", omission(omitted), &text[from..]).into()
}
