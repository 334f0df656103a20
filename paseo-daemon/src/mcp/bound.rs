//! What of an answer a model gets: models' clients cut long answers, and not where it does no harm.
//!
//! An answer that is short enough is not touched. Of a page, the entries that fit are given, and the next page begins after
//! them; of other lists the first ones. Long texts keep their ends.

use paseo_sdk::catalogue::{
    GetAgentTimeline, ListAgents, ListModels, ListPendingPermissions, ListWorktrees, WaitForAgent,
};
use paseo_sdk::item::{ToolCall, omission};
use paseo_sdk::model::Agent;
use paseo_sdk::operation::Operation;
use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::outcome::advise;
use crate::agents::cursor;
use crate::summary::start;

/// How long an answer is at most, in bytes of JSON.
pub const LONGEST: usize = 48 << 10;

/// Makes an answer to these arguments short enough, and says in `advice` how to read what is left out.
#[must_use]
pub fn bound(operation: &str, arguments: &Map<String, Value>, answer: Value) -> Value {
    if length(&answer) <= LONGEST {
        return answer;
    }
    match operation {
        GetAgentTimeline::NAME => timeline(answer, arguments),
        ListAgents::NAME => agents(answer),
        _ => other(operation, answer),
    }
}

/// Makes what is said of an error short enough.
pub(super) fn error(error: Value) -> Value {
    if length(&error) <= LONGEST { error } else { shortened(&error, ROOM) }
}

/// Makes a text short enough that says what the answer does.
pub(super) fn text(text: String) -> String {
    if text.len() <= LONGEST { text } else { clip(&text, ROOM).0 }
}

/// Takes the newest entries, or with `after` the first ones.
fn timeline(mut answer: Value, arguments: &Map<String, Value>) -> Value {
    let forwards = arguments.get("after").is_some_and(|after| !after.is_null());
    let Some(entries) = answer.get_mut("entries").and_then(Value::as_array_mut).map(std::mem::take) else {
        return shortened(&answer, ROOM);
    };
    let count = entries.len();
    let numbers: Vec<_> = entries.iter().map(|entry| entry["seq"].as_i64().unwrap_or_default()).collect();
    let mut taken = match forwards {
        true => take(entries.into_iter(), ENTRY),
        false => take(entries.into_iter().rev(), ENTRY),
    };
    let fit = taken.items.len();
    if !forwards {
        taken.items.reverse();
    }
    answer["entries"] = Value::Array(taken.items);
    if fit < count {
        answer["more"] = true.into();
        let said = match forwards {
            true => format!("only {fit} entries fit; `after: {}` has those after them", numbers[fit - 1]),
            false => format!("only {fit} entries fit; `before: {}` has those before them", numbers[count - fit]),
        };
        advise(&mut answer, &said);
    }
    if taken.shortened && count == 1 {
        advise(
            &mut answer,
            "this entry is longer than an answer may be; in a shell, `paseo logs --json` has all of it",
        );
    } else if taken.shortened {
        advise(
            &mut answer,
            "where bytes are left out, more is shown of an entry by `limit: 1` and, as `after`, the number before its own",
        );
    }
    answer
}

/// Takes the first agents; where the next page begins follows from the last one.
fn agents(mut answer: Value) -> Value {
    let Some(agents) = answer.get_mut("agents").and_then(Value::as_array_mut).map(std::mem::take) else {
        return shortened(&answer, ROOM);
    };
    let whole = agents.clone();
    let taken = take(agents.into_iter(), AGENT);
    let fit = taken.items.len();
    let last = whole.get(fit - 1).and_then(|last| Agent::deserialize(last).ok()).filter(|_| fit < whole.len());
    answer["agents"] = Value::Array(taken.items);
    if let Some(last) = last {
        answer["nextCursor"] = cursor(&last).into();
        advise(&mut answer, &format!("only {fit} agents fit; `cursor`, with `nextCursor`, has the next ones"));
    }
    if taken.shortened {
        advise(&mut answer, "`get_agent_status` shows an agent in which bytes are left out");
    }
    answer
}

/// Shortens the longest texts and lists; what an agent said last is not among them.
fn other(operation: &str, mut answer: Value) -> Value {
    let last = answer.as_object_mut().and_then(|answer| answer.remove("lastMessage"));
    let last = last.map(|last| if length(&last) <= MESSAGE { last } else { shortened(&last, MESSAGE) });
    let mut short = shortened(&answer, ROOM - last.as_ref().map_or(0, length));
    let mut left: Vec<String> = Vec::new();
    for (key, value) in answer.as_object().into_iter().flatten() {
        let now = |value: &Value| value.as_array().map(Vec::len);
        if let Some((had, has)) = now(value).zip(now(&short[key])).filter(|(had, has)| had > has) {
            left.push(format!("{} of {had} `{key}`", had - has));
        }
    }
    if let (Some(short), Some(last)) = (short.as_object_mut(), last) {
        short.insert("lastMessage".to_owned(), last);
    }
    let what = if left.is_empty() { "parts of texts".to_owned() } else { left.join(" and ") };
    let how = match operation {
        ListWorktrees::NAME => "; one repository at a time, by `cwd`, shows more",
        ListPendingPermissions::NAME => "; one agent at a time, by `agentId`, shows more",
        ListModels::NAME => "; one provider at a time, by `provider`, shows more",
        WaitForAgent::NAME => "; `get_agent_status` shows each agent",
        _ => "",
    };
    advise(&mut short, &format!("this was too long, and {what} are left out{how}"));
    short
}

/// What fits of a list.
struct Taken {
    items: Vec<Value>,
    /// Whether any of them is shorter than it was.
    shortened: bool,
}

/// Takes items for as long as there is room, at least one. One alone may fill all the room; several have `most` each.
fn take(items: impl ExactSizeIterator<Item = Value>, most: usize) -> Taken {
    let most = if items.len() == 1 { ROOM } else { most };
    let mut taken = Taken { items: Vec::new(), shortened: false };
    let mut room = ROOM;
    for item in items {
        let long = length(&item) > most;
        let item = if long { shortened(&item, most) } else { item };
        let needs = length(&item) + 1;
        if needs > room && !taken.items.is_empty() {
            break;
        }
        room = room.saturating_sub(needs);
        taken.shortened |= long;
        taken.items.push(item);
    }
    taken
}

/// Returns a value with texts and lists so short that it has at most `most` bytes, or as short as they may be.
fn shortened(value: &Value, most: usize) -> Value {
    let texts = [32 << 10, 16 << 10, 8 << 10, 4 << 10, 2 << 10, 1 << 10].map(|text| Limits { text, list: usize::MAX });
    let lists = [usize::MAX, 256, 128, 64, 32, 16, 8, 4, 2, LEAST.list].map(|list| Limits { list, ..LEAST });
    let tries = texts.into_iter().chain(lists).map(|limits| limits.keep(None, value));
    let mut shortest = Value::Null;
    for tried in tries {
        if length(&tried) <= most {
            return tried;
        }
        shortest = tried;
    }
    shortest
}

/// How long parts of a value may be.
#[derive(Clone, Copy)]
struct Limits {
    /// A text, in bytes.
    text: usize,
    /// A list.
    list: usize,
}

/// How short parts become at most.
const LEAST: Limits = Limits { text: 512, list: 1 };

impl Limits {
    fn keep(self, key: Option<&str>, value: &Value) -> Value {
        match value {
            Value::String(text) => clip(text, if key.is_some_and(is_name) { NAME } else { self.text }).0.into(),
            // It has any form and so any size.
            Value::Object(_) | Value::Array(_) if key == Some("input") => match self.keep(None, value) {
                kept if length(&kept) <= 4 * self.text => kept,
                _ => omission(i64::try_from(length(value)).unwrap_or(i64::MAX)).into(),
            },
            Value::Array(items) => items.iter().take(self.list).map(|item| self.keep(key, item)).collect(),
            Value::Object(fields) if key == Some("labels") => fields
                .iter()
                .take(self.list)
                .map(|(key, value)| (clip(key, self.text).0, self.keep(None, value)))
                .collect(),
            Value::Object(fields) => {
                let mut kept: Map<String, Value> =
                    fields.iter().map(|(key, value)| (key.clone(), self.keep(Some(key), value))).collect();
                // What a call printed says itself how much of it is missing.
                if let Some(Value::String(output)) = fields.get("output") {
                    let missing = clip(output, self.text).1;
                    if missing > 0 {
                        let already = fields.get("omittedBytes").and_then(Value::as_i64).unwrap_or_default();
                        let missing = i64::try_from(missing).unwrap_or(i64::MAX);
                        kept.insert("omittedBytes".to_owned(), already.saturating_add(missing).into());
                    }
                }
                kept.into()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }
}

/// Returns whether a field names something, and is of no use when it is shortened.
fn is_name(key: &str) -> bool {
    key == "cwd" || ["Id", "Path", "Slug", "Cursor"].iter().any(|end| key.ends_with(end))
}

/// Returns at most `most` bytes of a text, a third from its start and the rest from its end, and how many are left out.
fn clip(text: &str, most: usize) -> (String, usize) {
    if text.len() <= most {
        return (text.to_owned(), 0);
    }
    let room = most.saturating_sub(ToolCall::shortened("", i64::MAX, "").len());
    let head = start(text, room / 3);
    let mut tail = text.len() - (room - head.len());
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    let omitted = tail - head.len();
    let shown = ToolCall::shortened(head, i64::try_from(omitted).unwrap_or(i64::MAX), &text[tail..]);
    (shown, omitted)
}

/// Returns how many bytes a value has as JSON.
fn length(value: &Value) -> usize {
    /// Counts what is written.
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).map_or(usize::MAX, |()| count.0)
}

/// What of it is for the answer itself; the rest is for what is said of it.
const ROOM: usize = LONGEST - (2 << 10);
/// What an entry of a timeline may take when there are several, and an agent in a list.
const ENTRY: usize = 8 << 10;
const AGENT: usize = 2 << 10;
/// What an agent said last is whole up to this.
const MESSAGE: usize = 32 << 10;
/// How long an id or a path may be.
const NAME: usize = 4 << 10;
