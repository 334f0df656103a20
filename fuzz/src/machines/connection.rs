//! A conversation, decided by bytes.

use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::frame;
use paseo_sdk::machine::connection::{Connection, Fault, Input, Limits, Side, Token};
use paseo_sdk::model::{Progress, Timestamp};
use serde_json::{Value, json};

use crate::bytes::Bytes;
use crate::{Broken, laws};

pub(crate) fn check(mut bytes: Bytes<'_>) -> Result<(), Broken> {
    let side = bytes.pick(&[Side::Client, Side::Server]);
    let limits = Limits { calls: 3, malformed: 4, message: 200, ping: 1_000, idle: 10_000, progress: 500 };
    let limits = bytes.pick(&[limits, Limits { ping: 20_000, ..limits }, Limits::default()]);
    let connection = Connection::new(side, limits, Timestamp(1_700_000_000_000));
    laws(connection, bytes.script(input))
}

fn input(bytes: &mut Bytes<'_>) -> Input {
    match bytes.below(20) {
        0..=5 => Input::Text(text(bytes)),
        6 => Input::Ping(bytes.word().into_bytes()),
        7 => Input::Pong,
        8..=10 => {
            Input::Call { token: token(bytes), method: "list_agents".to_owned(), params: json!({ "x": bytes.text() }) }
        }
        11..=13 => Input::Reply { token: token(bytes), result: result(bytes) },
        14 => bytes.pick(&[Input::Gone, Input::Close { code: 1000, reason: "enough" }]),
        15..=18 => Input::Progress { token: token(bytes), progress: Progress::new(bytes.word()) },
        _ => Input::Unreadable(bytes.pick(&[Fault::Binary, Fault::NotUtf8, Fault::TooLarge, Fault::Protocol])),
    }
}

fn text(bytes: &mut Bytes<'_>) -> String {
    let id = bytes.pick(&[json!(1), json!(2), json!("x"), json!(null)]);
    match bytes.below(8) {
        0 | 1 => {
            let method = bytes.pick(&["list_agents", "fly"]);
            json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": {} }).to_string()
        }
        2 => json!({ "jsonrpc": "2.0", "id": id, "result": bytes.word() }).to_string(),
        3 => json!({ "jsonrpc": "2.0", "id": id, "error": bytes.word() }).to_string(),
        4 => json!({ "jsonrpc": "2.0", "method": "agent_removed", "params": bytes.word() }).to_string(),
        5 => frame::progress(&id, &Progress::new(bytes.word())),
        6 => {
            json!({ "jsonrpc": "2.0", "method": "progress", "params": { "id": id, "step": bytes.text() } }).to_string()
        }
        _ => bytes.word(),
    }
}

fn token(bytes: &mut Bytes<'_>) -> Token {
    Token(bytes.number(5))
}

fn result(bytes: &mut Bytes<'_>) -> Result<Value, ApiError> {
    match bytes.flag() {
        true => Ok(json!({})),
        false => Err(ApiError::new(Code::NotFound, bytes.word())),
    }
}
