//! Records of Codex that leave something behind.

use paseo_sdk::model::Prompt;
use paseo_sdk::provider::{Line, Session, Tell, TellId, What};
use serde_json::{Value, json};

use super::notification;

/// Returns the record of this number, in which every id is new.
pub(in super::super) fn what(session: &dyn Session, seq: i64, text: &str) -> What {
    let new = |kind: &str| format!("{kind}{seq}");
    match seq % 20 {
        0 | 1 => {
            let id = TellId(new("prompt.p"));
            let prompt = Tell::Prompt(Prompt { text: text.to_owned(), ..Prompt::default() });
            match session.phrase(&id, &prompt) {
                Ok(line) => What::Told { id, line },
                // It has no room for another one.
                Err(_) => What::Muttered(Line::Text(text.to_owned())),
            }
        }
        // One of the two comes too late for the turn.
        2 => said(&json!({ "id": format!("prompt.p{}", seq - 1), "error": { "message": text } })),
        3 => asked(&json!(new("q")), "item/commandExecution/requestApproval", &json!({ "command": new("ls ") })),
        // Every second question is answered for good.
        4 if seq % 40 == 4 => {
            let line = json!({ "id": format!("q{}", seq - 1), "result": {}, "paseo": { "always": true } });
            What::Told { id: TellId(new("answer.")), line: line.to_string() }
        }
        4 => {
            let questions = vec![json!({ "id": text, "question": text, "header": text }); 40];
            asked(&json!([seq, text]), "item/tool/requestUserInput", &json!({ "questions": questions }))
        }
        5 => item("started", &json!({ "type": "commandExecution", "id": new("i"), "command": text, "cwd": text })),
        6 => delta(&format!("i{}", seq - 1), text),
        7 => {
            let change = json!({ "path": text, "kind": { "type": "update", "move_path": text }, "diff": text });
            item("started", &json!({ "type": "fileChange", "id": new("i"), "changes": vec![change; 20] }))
        }
        8 => asked(&json!(seq), "item/fileChange/requestApproval", &json!({ "itemId": format!("i{}", seq - 1) })),
        9 => {
            let arguments = json!(vec![json!(vec![json!([]); 50]); text.len() / 10]);
            item("started", &json!({ "type": "mcpToolCall", "id": new("i"), "server": text, "arguments": arguments }))
        }
        10 => item("started", &json!({ "type": "agentMessage", "id": new("i"), "text": text })),
        11 => delta(&format!("i{}", seq - 1), &text.repeat(50)),
        12 => item("completed", &json!({ "type": "plan", "id": new("i"), "text": text.repeat(50) })),
        13 => said(&notification("warning", &json!({ "message": new(text) }))),
        14 => {
            let line = json!({ "id": new("model."), "method": "thread/settings/update", "paseo": { "model": text } });
            What::Told { id: TellId(new("model.")), line: line.to_string() }
        }
        15 => item("started", &json!({ "type": "reasoning", "id": new("i"), "summary": vec![text; 20] })),
        16 => delta(&format!("i{}", seq - 1), text),
        17 => said(&notification(
            "thread/tokenUsage/updated",
            &json!({ "tokenUsage": { "total": {
            "inputTokens": i64::MAX * (seq % 40 / 20), "outputTokens": seq,
        } } }),
        )),
        18 => What::Muttered(Line::Text(text.to_owned())),
        _ => asked(
            &json!(new(text)),
            "mcpServer/elicitation/request",
            &json!({
                "serverName": text, "message": text, "requestedSchema": { "title": text },
            }),
        ),
    }
}

fn said(line: &Value) -> What {
    What::Said(Line::Text(line.to_string()))
}

fn item(how: &str, item: &Value) -> What {
    said(&notification(&format!("item/{how}"), &json!({ "item": item, "turnId": "T1" })))
}

fn delta(id: &str, text: &str) -> What {
    said(&notification("item/agentMessage/delta", &json!({ "itemId": id, "turnId": "T1", "delta": text })))
}

fn asked(id: &Value, method: &str, params: &Value) -> What {
    said(&json!({ "id": id, "method": method, "params": params }))
}
