//! Long journals, in which every id is new and nothing comes to an end.

use paseo_sdk::model::{Mode, Prompt};
use paseo_sdk::provider::{self, Line, Provider, Session, Tell, TellId, What};
use serde_json::{Value, json};

use super::{LONGEST_MEMORY, codex, held::held, record, spec};

/// Lets every session read long journals, and weighs what it holds then.
///
/// # Panics
///
/// When that is more than any journal should come to.
pub fn long_journals() {
    for provider in provider::all() {
        let first = match provider.name() {
            "codex" => json!({ "method": "turn/started", "params": { "turn": { "id": "T1" } } }),
            _ => json!({ "type": "system", "subtype": "init" }),
        };
        // In a turn and outside of one; many more ids than are kept, and much more text.
        for first in [&first, &Value::Null] {
            weigh(*provider, first, 50_000, "…");
            weigh(*provider, first, 4_000, &"long ‽ ".repeat(2_000));
        }
    }
}

/// Returns a record of a long journal: its session, its number, and a text.
type Records = fn(&dyn Session, i64, &str) -> What;

fn weigh(provider: &dyn Provider, first: &Value, length: i64, text: &str) {
    let spec = spec(Mode::Default);
    let (mut session, what): (_, Records) = match provider.name() {
        "codex" => (codex::ready(provider, &spec), codex::what),
        _ => (provider.session(&spec), what),
    };
    session.read(&record(1, said(first)));
    for seq in 2..=length {
        let what = what(&*session, seq, text);
        session.read(&record(seq, what));
    }
    let held = held(session);
    assert!(held <= LONGEST_MEMORY, "{} holds {held} bytes of {length} records with {text:.20}", provider.name());
}

/// Returns a record that leaves something behind.
fn what(session: &dyn Session, seq: i64, text: &str) -> What {
    let new = |kind: &str| format!("{kind}{seq}");
    match seq % 20 {
        0 | 1 => {
            let id = TellId(new("prompt.p"));
            let prompt = Tell::Prompt(Prompt { text: text.to_owned(), ..Prompt::default() });
            let line = session.phrase(&id, &prompt).expect("every program can be told a prompt");
            What::Told { id, line }
        }
        // One of the two is taken, and no turn begins.
        2 => {
            let id = TellId(format!("prompt.p{}", seq - 1));
            let line = session.phrase(&id, &Tell::Prompt(Prompt::default())).expect("so could the one before");
            let uuid = serde_json::from_str::<Value>(&line).unwrap_or_default()["uuid"].clone();
            said(&json!({ "type": "user", "isReplay": true, "uuid": uuid }))
        }
        3 => said(&json!({ "type": "control_request", "request_id": new("q"), "request": question(seq, text) })),
        // Every second question is answered for good.
        4 if seq % 40 == 4 => {
            let answer = json!({ "behavior": "allow", "decisionClassification": "user_permanent" });
            let answer = json!({ "request_id": format!("q{}", seq - 1), "response": answer });
            let line = json!({ "type": "control_response", "response": answer }).to_string();
            What::Told { id: TellId(new("answer.")), line }
        }
        4 => What::Muttered(Line::Text(text.to_owned())),
        5 => said(&call(seq, "Bash", &json!({ "command": text }))),
        6 => said(&call(seq, text, &json!({ text: text }))),
        7 => said(&call(seq, "Edit", &json!({ "edits": vec![json!({ "old": text, "new": text }); 20] }))),
        8 => said(&call(seq, "Look", &json!(vec![json!(vec![json!([]); 50]); text.len() / 10]))),
        9 => said(&call(seq, "TaskUpdate", &json!({ "taskId": text, "status": text, "subject": text }))),
        10 => said(&call(seq, "TaskCreate", &json!({ "subject": text }))),
        11 => {
            let block = json!({ "type": "tool_result", "tool_use_id": format!("t{}", seq - 1) });
            let details = json!({ "task": { "id": new(text), "subject": text } });
            said(&json!({ "type": "user", "message": { "content": [block] }, "tool_use_result": details }))
        }
        12 => said(&system("task_started", &json!({ "task_id": new("k"), "tool_use_id": new(text) }))),
        13 => said(&system("status", &json!({ "permissionMode": new(text) }))),
        14 => said(&streamed("text", new("p"), text)),
        15 => said(&streamed("thinking", text.to_owned(), text)),
        16 => said(&json!({ "type": "assistant", "message": { "content": text }, "session_id": new("c") })),
        17 => said(&json!({ "type": "assistant", "error": text })),
        18 => said(&json!({ "started": { "id": "prompt.p20" } })),
        _ => said(&json!({ "out": { "id": "prompt.p20", "stream": "stdout", "text": text.repeat(50) } })),
    }
}

fn said(line: &Value) -> What {
    What::Said(Line::Text(line.to_string()))
}

fn system(subtype: &str, fields: &Value) -> Value {
    let mut line = json!({ "type": "system", "subtype": subtype });
    for (name, value) in fields.as_object().into_iter().flatten() {
        line[name] = value.clone();
    }
    line
}

fn call(seq: i64, name: &str, input: &Value) -> Value {
    let block = json!({ "type": "tool_use", "id": format!("t{seq}"), "name": name, "input": input });
    let parent = format!("parent{seq}");
    json!({ "type": "assistant", "message": { "content": [block] }, "parent_tool_use_id": parent })
}

fn streamed(kind: &str, parent: String, text: &str) -> Value {
    let delta = json!({ "type": format!("{kind}_delta"), kind: text });
    let event = json!({ "type": "content_block_delta", "index": 0, "delta": delta });
    json!({ "type": "stream_event", "event": event, "parent_tool_use_id": parent })
}

fn question(seq: i64, text: &str) -> Value {
    let rules = vec![json!({ "toolName": "Bash", "ruleContent": format!("{seq} {text:.1000}") }); 4];
    json!({
        "subtype": "can_use_tool",
        "tool_name": if seq % 40 == 3 { "Bash" } else { "AskUserQuestion" },
        "display_name": text,
        "input": { "questions": vec![json!({ "question": text }); 20] },
        "tool_use_id": text,
        "permission_suggestions": [{ "type": "addRules", "behavior": "allow", "rules": rules }],
    })
}
