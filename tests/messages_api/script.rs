//! The language of scripts: what the model is to answer, step by step.

use serde_json::{Value, json};

use super::reply::{Call, Part};
use super::request::{Message, Role};
use crate::model_api::script::{self, change_of, error_of, json_of, question_of, times_of, tool_of};

/// A script in a conversation, and how far it is.
pub(super) struct Script<'a> {
    pub(super) steps: Vec<Step>,
    /// The number of the step that is next.
    pub(super) next: usize,
    /// What was said since.
    pub(super) since: &'a [Message],
}

/// One response of the model.
pub(super) type Step = script::Step<Act, Part>;

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
    script::parse(text)
}

impl script::Act for Act {
    fn parse(name: &str, argument: &str) -> Result<Act, String> {
        let call = |tool: &str, input: Value| Ok(Act::Use(vec![Call { name: tool.to_owned(), input }]));
        match name {
            "text" => Ok(Act::Text(argument.to_owned())),
            "bash" => call("Bash", json!({ "command": argument, "description": "Run a scripted command" })),
            "write" => {
                let (path, content) = argument.split_once(' ').unwrap_or((argument, ""));
                call("Write", json!({ "file_path": path, "content": content }))
            }
            "read" => call("Read", json!({ "file_path": argument })),
            "edit" => {
                let [path, old, new] = change_of(name, argument)?;
                call("Edit", json!({ "file_path": path, "old_string": old, "new_string": new }))
            }
            "tool" => tool_of(argument).and_then(|(tool, input)| call(tool, input)),
            "tools" => Ok(Act::Use(json_of(name, argument)?)),
            "ask" => {
                let (question, options) = question_of(argument)?;
                let question =
                    json!({ "question": question, "header": "Choice", "multiSelect": false, "options": options });
                call("AskUserQuestion", json!({ "questions": [question] }))
            }
            "todo" => Ok(Act::Todo(argument.split('|').map(str::to_owned).collect())),
            "plan" => call("ExitPlanMode", if argument.is_empty() { json!({}) } else { json!({ "plan": argument }) }),
            "agent" => Ok(Act::Agent(argument.replace("((", "[[").replace("))", "]]"))),
            "echo" => Ok(Act::Echo),
            "hold" => Ok(Act::Hold(argument.to_owned())),
            "hang" => Ok(Act::Hang(argument.to_owned())),
            "error" => {
                let (status, times) = error_of(argument)?;
                Ok(Act::Error { status, times })
            }
            "drop" => Ok(Act::Drop { times: times_of(argument)? }),
            "sserror" if argument.is_empty() => Ok(Act::StreamError("overloaded_error".to_owned())),
            "sserror" => Ok(Act::StreamError(argument.to_owned())),
            _ => Err(format!("there is no `[[{name}]]`")),
        }
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
