//! Deciding what a request is answered.

use serde_json::{Map, Value, json};

use super::reply::{Call, Part, Reply};
use super::request::{Block, Message, Request, Role, texts};
use super::script::{Act, Script, Step, reminders, without_reminders};
use crate::model_api::{Answer, Refusal, SHORT, shortened};

/// What the program's own requests are told: whoever asks for a title finds one.
pub(super) const SIDE_TEXT: &str = r#"{"title":"A title"}"#;

/// Decides. `earlier` says how many requests there were with the same messages.
pub(super) fn answer(request: &Request, earlier: usize) -> Answer<Reply> {
    if request.tools.is_empty() {
        return Answer::Reply(Reply { parts: vec![Part::Text(SIDE_TEXT.to_owned())], usage: usual_usage() });
    }
    let script = match Script::find(&request.messages) {
        Ok(script) => script,
        Err(why) => return Answer::Refusal(Refusal { status: 400, message: format!("not a script: {why}") }),
    };
    let Some(Script { steps, next, since }) = script else {
        let prompt = newest_prompt(&request.messages).unwrap_or_default();
        return Answer::Reply(Reply {
            parts: vec![Part::Text(format!("ok: {}", shortened(&prompt)))],
            usage: usual_usage(),
        });
    };
    match steps.into_iter().nth(next) {
        Some(step) => take(step, request, earlier),
        None => {
            let done = last_result(since).map_or("done".to_owned(), |result| format!("done: {}", shortened(&result)));
            Answer::Reply(Reply { parts: vec![Part::Text(done)], usage: usual_usage() })
        }
    }
}

fn take(step: Step, request: &Request, earlier: usize) -> Answer<Reply> {
    let Step { lead: mut parts, usage, act } = step;
    let usage = usual_usage().into_iter().chain(usage).collect();
    let recovered = || Part::Text("recovered".to_owned());
    let offered = |tool: &str| request.tools.iter().any(|offered| offered == tool);
    match act {
        Act::Text(text) => parts.push(Part::Text(text)),
        Act::Use(calls) => parts.extend(calls.into_iter().map(Part::Use)),
        Act::Todo(items) => parts.extend(todo(&items, offered("TodoWrite"))),
        Act::Agent(prompt) => {
            let name = if offered("Agent") { "Agent" } else { "Task" }.to_owned();
            let input =
                json!({ "description": "A scripted subagent", "subagent_type": "general-purpose", "prompt": prompt });
            parts.push(Part::Use(Call { name, input }));
        }
        Act::Echo => parts.push(Part::Text(echo(request).to_string())),
        Act::Hold(name) => parts.push(Part::Held(name)),
        Act::Hang(name) => {
            parts.push(Part::Text(format!("{name} was hanging")));
            return Answer::Later(name, Reply { parts, usage });
        }
        Act::Error { status, times } if earlier < times => {
            return Answer::Refusal(Refusal { status, message: "a scripted error".to_owned() });
        }
        Act::Drop { times } if earlier < times => parts.push(Part::Cut),
        Act::Error { .. } | Act::Drop { .. } => parts.push(recovered()),
        Act::StreamError(kind) => parts.push(Part::Broken(kind)),
    }
    Answer::Reply(Reply { parts, usage })
}

fn todo(items: &[String], in_one: bool) -> Vec<Part> {
    let use_of = |name: &str, input| Part::Use(Call { name: name.to_owned(), input });
    if in_one {
        let todos: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let status = if index == 0 { "in_progress" } else { "pending" };
                json!({ "content": item, "status": status, "activeForm": format!("Doing {item}") })
            })
            .collect();
        return vec![use_of("TodoWrite", json!({ "todos": todos }))];
    }
    let create = |item: &String| {
        let input = json!({ "subject": item, "description": item, "activeForm": format!("Doing {item}") });
        use_of("TaskCreate", input)
    };
    items.iter().map(create).collect()
}

/// Says what a request was, its messages since the last answer above all.
fn echo(request: &Request) -> Value {
    let answered = request.messages.iter().rposition(|message| message.role == Role::Assistant);
    let (mut prompts, mut notes) = (Vec::new(), Vec::new());
    for message in &request.messages[answered.map_or(0, |index| index + 1)..] {
        for text in message.texts() {
            if message.role == Role::User {
                prompts.push(without_reminders(text));
                notes.extend(reminders(text).map(shortened));
            } else {
                notes.push(shortened(text));
            }
        }
    }
    prompts.retain(|prompt| !prompt.is_empty());
    let tail = request.system.chars().count().saturating_sub(SHORT);
    json!({
        "model": request.model,
        "images": request.messages.iter().map(Message::images).sum::<usize>(),
        "prompts": prompts,
        "notes": notes,
        "system_tail": request.system.chars().skip(tail).collect::<String>(),
        "tools": request.tools,
    })
}

fn newest_prompt(messages: &[Message]) -> Option<String> {
    let users = messages.iter().rev().filter(|message| message.role == Role::User);
    users.flat_map(|message| message.texts().rev()).map(without_reminders).find(|text| !text.is_empty())
}

fn last_result(messages: &[Message]) -> Option<String> {
    let blocks = messages.iter().rev().flat_map(|message| message.content.iter().rev());
    blocks
        .filter_map(|block| match block {
            Block::ToolResult { content, is_error } => {
                let text = texts(content).collect::<Vec<_>>().join(" ");
                Some(if *is_error { format!("error: {text}") } else { text })
            }
            _ => None,
        })
        .next()
}

/// Every response costs the same unless the script says otherwise, so that sums are easily checked.
fn usual_usage() -> Map<String, Value> {
    let usage = json!({
        "input_tokens": 100,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 10,
    });
    usage.as_object().cloned().expect("it is an object")
}
