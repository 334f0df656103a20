//! Deciding what a request is answered.

use serde_json::{Map, Value, json};

use super::reply::{Part, Reply};
use super::request::{Item, Request, Role};
use super::script::{Act, SUMMARY, Script, Step, is_added};
use crate::model_api::{Answer, Refusal, shortened};

/// Decides. `earlier` says how many such requests there were.
pub(super) fn answer(request: &Request, earlier: usize) -> Answer<Reply> {
    let says = |text: String| Answer::Reply(Reply { parts: vec![Part::Text(text)], usage: usual_usage() });
    let script = match Script::find(&request.input) {
        Ok(script) => script,
        Err(why) => return Answer::Refusal(Refusal { status: 400, message: format!("not a script: {why}") }),
    };
    if request.tools.is_empty() {
        return says(format!("{SUMMARY}{}", script.map_or(0, |script| script.next)));
    }
    let Some(Script { steps, next, since }) = script else {
        let prompt = request.texts(Role::User).rfind(|text| !is_added(text)).unwrap_or_default();
        return says(format!("ok: {}", shortened(prompt)));
    };
    match steps.into_iter().nth(next) {
        Some(step) => take(step, request, earlier),
        None => says(last_output(since).map_or("done".to_owned(), |output| format!("done: {}", shortened(&output)))),
    }
}

fn take(step: Step, request: &Request, earlier: usize) -> Answer<Reply> {
    let Step { lead: mut parts, usage, act } = step;
    let usage = usual_usage().into_iter().chain(usage).collect();
    match act {
        Act::Text(text) => parts.push(Part::Text(text)),
        Act::Call(calls) => parts.extend(calls.into_iter().map(Part::Call)),
        Act::Patch(patch) => parts.push(Part::Patch(patch)),
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
        Act::Error { .. } | Act::Drop { .. } => parts.push(Part::Text("recovered".to_owned())),
        Act::Fail { code, message } => parts.push(Part::Failed { code, message }),
    }
    Answer::Reply(Reply { parts, usage })
}

/// Says what a request was, its messages since the last answer above all.
fn echo(request: &Request) -> Value {
    let answered = request.input.iter().rposition(Item::ends_response);
    let (mut prompts, mut notes) = (Vec::new(), Vec::new());
    for message in request.input[answered.map_or(0, |index| index + 1)..].iter().filter_map(Item::message) {
        for text in message.texts() {
            if message.role == Role::User && !is_added(text) {
                prompts.push(text);
            } else {
                notes.push(shortened(text));
            }
        }
    }
    json!({
        "model": request.model,
        "effort": request.effort,
        "images": request.input.iter().map(Item::images).sum::<usize>(),
        "prompts": prompts,
        "notes": notes,
        "tools": request.tools,
    })
}

/// Returns what the last tool said, without the lines before it that say nothing, or are different each time.
fn last_output(items: &[Item]) -> Option<String> {
    let output = items.iter().rev().find_map(Item::output)?.texts().collect::<Vec<_>>().join(" ");
    let Some((head, said)) = output.split_once("Output:\n") else { return Some(output) };
    let kept = head.lines().filter(|line| !UNSAID.iter().any(|beginning| line.starts_with(beginning)));
    Some(kept.chain([said]).collect::<Vec<_>>().join("\n"))
}

/// How the lines of an output's head begin that are left out.
const UNSAID: [&str; 5] =
    ["Chunk ID: ", "Wall time: ", "Original token count: ", "Process exited with code 0", "Exit code: 0"];

/// Every response costs the same unless the script says otherwise, so that sums are easily checked.
fn usual_usage() -> Map<String, Value> {
    let usage = json!({
        "input_tokens": 100,
        "input_tokens_details": { "cached_tokens": 0 },
        "output_tokens": 10,
        "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": 110,
    });
    usage.as_object().cloned().expect("it is an object")
}
