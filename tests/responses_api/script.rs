//! The language of scripts: what the model is to answer, step by step.

use serde_json::{Value, json};

use super::reply::{Call, Part};
use super::request::{Item, Message, Role};
use crate::model_api::script::{self, change_of, error_of, json_of, question_of, times_of, tool_of};

/// A script in a conversation, and how far it is.
pub(super) struct Script<'a> {
    pub(super) steps: Vec<Step>,
    /// The number of the step that is next.
    pub(super) next: usize,
    /// What was said since.
    pub(super) since: &'a [Item],
}

/// One response of the model.
pub(super) type Step = script::Step<Act, Part>;

#[derive(Debug, PartialEq)]
pub(super) enum Act {
    Text(String),
    Call(Vec<Call>),
    /// Changes files; this is the patch.
    Patch(String),
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
    /// The stream says that the response failed.
    Fail {
        code: String,
        message: String,
    },
}

impl Script<'_> {
    /// Finds the script of a conversation.
    pub(super) fn find(input: &[Item]) -> Result<Option<Script<'_>>, String> {
        for (index, item) in input.iter().enumerate().rev() {
            let Some(message) = item.message().filter(|message| message.role == Role::User) else { continue };
            // What was told at a time is one message: the last text counts.
            for text in message.texts().rev().filter(|text| !is_added(text)) {
                let steps = parse(text)?;
                if !steps.is_empty() {
                    let since = &input[index + 1..];
                    return Ok(Some(Script { steps, next: responses(since), since }));
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

/// Says whether a text in the user's name is the program's.
pub(super) fn is_added(text: &str) -> bool {
    ADDED.iter().any(|beginning| text.starts_with(beginning))
}

/// Counts the responses that ended, with those of which only a summary is left. Several calls in a row are of one.
fn responses(items: &[Item]) -> usize {
    let mut before = false;
    let mut count = 0;
    for item in items {
        count += item.message().into_iter().flat_map(Message::texts).filter_map(summarized).sum::<usize>();
        let ends = item.ends_response();
        count += usize::from(ends && !before);
        before = ends;
    }
    count
}

/// Returns how many responses a text says that it stands for.
fn summarized(text: &str) -> Option<usize> {
    text.split_once(SUMMARY)?.1.trim().parse().ok()
}

impl script::Act for Act {
    fn parse(name: &str, argument: &str) -> Result<Act, String> {
        let call = |tool: &str, input: Value| Ok(Act::Call(vec![Call { name: tool.to_owned(), input }]));
        let patch = |change: String| Ok(Act::Patch(format!("*** Begin Patch\n{change}*** End Patch\n")));
        match name {
            "text" => Ok(Act::Text(argument.to_owned())),
            "bash" => call("exec_command", json!({ "cmd": argument, "yield_time_ms": LONGEST_YIELD })),
            "bash!" => {
                let (permissions, why) = ("require_escalated", "a scripted escalation");
                call(
                    "exec_command",
                    json!({ "cmd": argument, "sandbox_permissions": permissions, "justification": why }),
                )
            }
            "background" => {
                let (time, command) = argument.split_once(' ').unwrap_or((argument, ""));
                let time: u32 = time.parse().map_err(|error| format!("`{time}` is no time: {error}"))?;
                call("exec_command", json!({ "cmd": command, "yield_time_ms": time }))
            }
            "patch" => {
                let (file, text) = argument.split_once(' ').unwrap_or((argument, ""));
                patch(format!("*** Add File: {file}\n{}", lines('+', text)))
            }
            "update" => {
                let [file, old, new] = change_of(name, argument)?;
                patch(format!("*** Update File: {file}\n@@\n{}{}", lines('-', old), lines('+', new)))
            }
            "delete" => patch(format!("*** Delete File: {argument}\n")),
            "todo" => {
                let step = |(index, step)| json!({ "step": step, "status": if index == 0 { "in_progress" } else { "pending" } });
                let plan: Vec<_> = argument.split('|').enumerate().map(step).collect();
                call("update_plan", json!({ "plan": plan }))
            }
            "ask" => {
                let (question, options) = question_of(argument)?;
                let question = json!({ "id": "choice", "header": "Choice", "question": question, "options": options });
                call("request_user_input", json!({ "questions": [question] }))
            }
            "tool" => tool_of(argument).and_then(|(tool, input)| call(tool, input)),
            "tools" => Ok(Act::Call(json_of(name, argument)?)),
            "echo" => Ok(Act::Echo),
            "hold" => Ok(Act::Hold(argument.to_owned())),
            "hang" => Ok(Act::Hang(argument.to_owned())),
            "error" => {
                let (status, times) = error_of(argument)?;
                Ok(Act::Error { status, times })
            }
            "drop" => Ok(Act::Drop { times: times_of(argument)? }),
            "fail" => {
                let (code, message) = argument.split_once(' ').unwrap_or((argument, "a scripted failure"));
                Ok(Act::Fail { code: code.to_owned(), message: message.to_owned() })
            }
            _ => Err(format!("there is no `[[{name}]]`")),
        }
    }
}

/// Returns the lines of a text as a patch has them.
fn lines(sign: char, text: &str) -> String {
    text.lines().map(|line| format!("{sign}{line}\n")).collect()
}

/// What the program is told when it wants a summary, before the number of responses so far: it puts that in their place.
pub(super) const SUMMARY: &str = "A summary of responses: ";

/// How the texts begin that the program adds in the user's name.
const ADDED: [&str; 6] = [
    "<environment_context>",
    "<turn_aborted>",
    "<user_shell_command>",
    "<subagent_notification>",
    "<skill>",
    "# AGENTS.md instructions",
];

/// As long as the program waits for a command at all before it tells the model to go on: a script does so when it says so.
const LONGEST_YIELD: u32 = 30_000;
