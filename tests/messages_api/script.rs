//! The language of scripts: what the model is to answer, step by step.

use serde::de::IgnoredAny;
use serde_json::{Deserializer, Map, Value, json};

use super::reply::{Call, Part};
use super::request::{Message, Role};

/// A script in a conversation, and how far it is.
pub(super) struct Script<'a> {
    pub(super) steps: Vec<Step>,
    /// The number of the step that is next.
    pub(super) next: usize,
    /// What was said since.
    pub(super) since: &'a [Message],
}

/// One response of the model.
#[derive(Debug, PartialEq)]
pub(super) struct Step {
    /// What comes before the act.
    pub(super) lead: Vec<Part>,
    /// What it is said to have cost, where that differs from the usual.
    pub(super) usage: Map<String, Value>,
    pub(super) act: Act,
}

#[derive(Debug, PartialEq)]
pub(super) enum Act {
    Text(String),
    Use(Vec<Call>),
    Todo(Vec<String>),
    Agent(String),
    Echo,
    Hold(String),
    Hang(String),
    /// The first so many requests for this step get an HTTP error.
    Error {
        status: u16,
        times: usize,
    },
    /// The first so many requests for this step are cut off.
    Drop {
        times: usize,
    },
    /// The stream ends with an error of this type.
    StreamError(String),
}

impl Script<'_> {
    /// Finds the script of a conversation. Reminders and tool results may hold anything and are none.
    pub(super) fn find(messages: &[Message]) -> Result<Option<Script<'_>>, String> {
        for (index, message) in messages.iter().enumerate().rev() {
            if message.role != Role::User {
                continue;
            }
            // Prompts that were merged, or one after an interrupted one, are blocks of one message: the last one counts.
            for text in message.texts().rev() {
                let steps = parse(&without_reminders(text))?;
                if !steps.is_empty() {
                    let since = &messages[index + 1..];
                    let next = since.iter().filter(|message| message.role == Role::Assistant).count();
                    return Ok(Some(Script { steps, next, since }));
                }
            }
        }
        Ok(None)
    }
}

/// Reads the steps of a text; a text without any is no script.
pub(super) fn parse(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let (mut lead, mut usage) = (Vec::new(), Map::new());
    for directive in Directives(text) {
        let (name, argument) = directive?;
        match name {
            "think" => lead.push(Part::Thinking(argument.to_owned())),
            "say" => lead.push(Part::Text(argument.to_owned())),
            "usage" => usage = json_of(name, argument)?,
            _ => {
                let act = Act::parse(name, argument)?;
                steps.push(Step { lead: std::mem::take(&mut lead), usage: std::mem::take(&mut usage), act });
            }
        }
    }
    if lead.is_empty() && usage.is_empty() { Ok(steps) } else { Err("a modifier has no step after it".to_owned()) }
}

impl Act {
    fn parse(name: &str, argument: &str) -> Result<Act, String> {
        let call = |tool: &str, input: Value| Ok(Act::Use(vec![Call { name: tool.to_owned(), input }]));
        let list = || argument.split('|').map(str::to_owned);
        match name {
            "text" => Ok(Act::Text(argument.to_owned())),
            "bash" => call("Bash", json!({ "command": argument, "description": "Run a scripted command" })),
            "write" => {
                let (path, content) = argument.split_once(' ').unwrap_or((argument, ""));
                call("Write", json!({ "file_path": path, "content": content }))
            }
            "read" => call("Read", json!({ "file_path": argument })),
            "edit" => match argument.split('|').collect::<Vec<_>>()[..] {
                [path, old, new] => call("Edit", json!({ "file_path": path, "old_string": old, "new_string": new })),
                _ => Err(format!("`[[edit: {argument}]]` is not PATH|OLD|NEW")),
            },
            "tool" => match argument.split_once(' ') {
                Some((tool, input)) => call(tool, json_of(name, input)?),
                None => call(argument, json!({})),
            },
            "tools" => Ok(Act::Use(json_of(name, argument)?)),
            "ask" => {
                let mut parts = list();
                let question = parts.next().filter(|question| !question.is_empty()).ok_or("`[[ask]]` asks nothing")?;
                let options: Vec<_> =
                    parts.map(|label| json!({ "description": format!("Choose {label}"), "label": label })).collect();
                let question =
                    json!({ "question": question, "header": "Choice", "multiSelect": false, "options": options });
                call("AskUserQuestion", json!({ "questions": [question] }))
            }
            "todo" => Ok(Act::Todo(list().collect())),
            "plan" => call("ExitPlanMode", if argument.is_empty() { json!({}) } else { json!({ "plan": argument }) }),
            "agent" => Ok(Act::Agent(argument.replace("((", "[[").replace("))", "]]"))),
            "echo" => Ok(Act::Echo),
            "hold" => Ok(Act::Hold(argument.to_owned())),
            "hang" => Ok(Act::Hang(argument.to_owned())),
            "error" => {
                let (status, times) = argument.split_once(' ').unwrap_or((argument, ""));
                let status = status.parse().ok().filter(|status| (400..600).contains(status));
                Ok(Act::Error { status: status.ok_or(format!("`{argument}` is no error"))?, times: times_of(times)? })
            }
            "drop" => Ok(Act::Drop { times: times_of(argument)? }),
            "sserror" if argument.is_empty() => Ok(Act::StreamError("overloaded_error".to_owned())),
            "sserror" => Ok(Act::StreamError(argument.to_owned())),
            _ => Err(format!("there is no `[[{name}]]`")),
        }
    }
}

/// Reads how many times; nothing said is always.
fn times_of(argument: &str) -> Result<usize, String> {
    match argument.trim() {
        "" => Ok(usize::MAX),
        number => number.parse().map_err(|error| format!("`{number}` is no number of times: {error}")),
    }
}

fn json_of<T: serde::de::DeserializeOwned>(name: &str, argument: &str) -> Result<T, String> {
    serde_json::from_str(argument).map_err(|error| format!("the JSON of `[[{name}]]`: {error}"))
}

/// What stands in double brackets, as name and argument. Brackets that hold no word are other text.
struct Directives<'a>(&'a str);

impl<'a> Iterator for Directives<'a> {
    type Item = Result<(&'a str, &'a str), String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (_, inside) = self.0.split_once("[[")?;
            self.0 = inside;
            let length = inside.bytes().take_while(u8::is_ascii_lowercase).count();
            let (name, rest) = inside.split_at(length);
            if name.is_empty() {
                continue;
            }
            if let Some(rest) = rest.strip_prefix("]]") {
                self.0 = rest;
                return Some(Ok((name, "")));
            }
            let Some(argument) = rest.strip_prefix(':') else { continue };
            let json = json_length(name, argument);
            let Some(end) = argument[json..].find("]]") else {
                self.0 = "";
                return Some(Err(format!("`[[{name}:` has no end")));
            };
            let (argument, rest) = argument.split_at(json + end);
            self.0 = &rest["]]".len()..];
            return Some(Ok((name, argument.trim())));
        }
    }
}

/// Returns where the JSON of an argument ends, or 0: within it, `]]` is not the argument's end.
fn json_length(name: &str, argument: &str) -> usize {
    let start = match name {
        "tool" => argument.find('{'),
        "tools" | "usage" => Some(0),
        _ => None,
    };
    let Some(start) = start else { return 0 };
    let mut values = Deserializer::from_str(&argument[start..]).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => start + values.byte_offset(),
        _ => 0,
    }
}

/// Leaves out what the program added to a text.
pub(super) fn without_reminders(text: &str) -> String {
    let mut parts = text.split(REMINDER);
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept.push_str(part.split_once(REMINDER_END).map_or("", |(_, rest)| rest));
    }
    kept.trim().to_owned()
}

/// Returns what the program added to a text.
pub(super) fn reminders(text: &str) -> impl Iterator<Item = &str> {
    text.split(REMINDER).skip(1).map(|part| part.split(REMINDER_END).next().unwrap_or_default().trim())
}

const REMINDER: &str = "<system-reminder>";
const REMINDER_END: &str = "</system-reminder>";
