//! The lines that Codex says.

mod item;
mod long;
mod request;

use std::collections::VecDeque;

use paseo_sdk::provider::{LaunchSpec, Line, Provider, Session, TellId, What};
use serde_json::{Value, json};

use self::item::Items;
use super::odd::odd;
use super::record;
use crate::bytes::Bytes;

pub(super) use self::long::what;

/// What the program knows of what goes on, so that most of what it says makes sense.
#[derive(Default)]
pub(super) struct Program {
    /// Requests that it was told and has not answered, the oldest first.
    asked: VecDeque<Value>,
    /// Its own requests that were answered.
    answered: VecDeque<Value>,
    items: Items,
    /// How many turns there were.
    turns: u32,
    /// Whether the last of them runs.
    runs: bool,
    /// Whether it was told to stop that.
    stopped: bool,
}

impl Program {
    /// Takes a line that it is told.
    pub(super) fn told(&mut self, line: &str) {
        let Ok(line) = serde_json::from_str::<Value>(line) else { return };
        let (list, kept) = match (line["id"].is_null(), line["method"].is_string()) {
            (false, true) => (&mut self.asked, line),
            (false, false) => (&mut self.answered, line["id"].clone()),
            (true, _) => return,
        };
        list.push_back(kept);
        if list.len() > REMEMBERED {
            list.pop_front();
        }
    }

    /// Decides for a line.
    pub(super) fn said(&mut self, bytes: &mut Bytes<'_>) -> String {
        let turn = self.turn_of(bytes);
        let mut line = match bytes.below(32) {
            0..=5 => self.answer(bytes),
            6..=20 if !self.runs => self.answer(bytes),
            6 => self.started(bytes),
            7..=9 => self.completed(bytes, turn),
            10..=22 => self.items.line(bytes, &turn),
            23..=26 => request::line(bytes, &turn, &self.items),
            27 => {
                let id = self.answered.pop_front().unwrap_or_else(|| request::id(bytes));
                notification("serverRequest/resolved", &json!({ "requestId": id }))
            }
            _ => other(bytes, &turn),
        };
        if !line["params"].is_null() {
            line["params"]["threadId"] = json!(thread(bytes));
        }
        if bytes.below(8) == 0 {
            odd(bytes, &mut line);
        }
        let mut text = line.to_string();
        if bytes.below(64) == 63 {
            let mut at = usize::from(bytes.byte()).min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            text.truncate(at);
        }
        text
    }

    /// Answers what it was asked first; now and then what it was asked last, or what it never was asked.
    fn answer(&mut self, bytes: &mut Bytes<'_>) -> Value {
        let asked = match bytes.below(16) {
            0 => None,
            1 => self.asked.pop_back(),
            // It answers twice.
            2 => self.asked.front().cloned(),
            _ => self.asked.pop_front(),
        };
        let asked = asked.unwrap_or_else(|| {
            let (id, method) = bytes.pick(&UNASKED);
            json!({ "id": id, "method": method })
        });
        match self.result(bytes, asked["method"].as_str().unwrap_or_default()) {
            Ok(result) => json!({ "id": asked["id"], "result": result }),
            Err(error) => json!({ "id": asked["id"], "error": { "code": -32600, "message": error } }),
        }
    }

    fn result(&mut self, bytes: &mut Bytes<'_>, method: &str) -> Result<Value, String> {
        let refused = bytes.below(16) == 0;
        match method {
            "thread/resume" if refused => Err("no rollout found for thread id h1".to_owned()),
            _ if refused => Err(text(bytes)),
            "initialize" => Ok(json!({ "userAgent": "paseo/0.169.0", "codexHome": "/" })),
            "account/read" => Ok(json!({
                "account": bytes.maybe(|_| json!({ "type": "apiKey" })),
                "requiresOpenaiAuth": bytes.below(8) == 0,
            })),
            "command/exec" => Ok(json!({ "exitCode": bytes.pick(&[0, 0, 0, 1]), "stdout": "", "stderr": text(bytes) })),
            "thread/start" | "thread/resume" => Ok(opened(bytes)),
            "turn/start" => Ok(json!({ "turn": { "id": self.turn(bytes), "status": "inProgress", "items": [] } })),
            "turn/steer" if self.runs => Ok(json!({ "turnId": self.turn(bytes) })),
            "turn/steer" => Err("no active turn to steer".to_owned()),
            "turn/interrupt" if self.runs => {
                self.stopped = true;
                Ok(json!({}))
            }
            "turn/interrupt" => Err("no active turn to interrupt".to_owned()),
            _ => Ok(json!({})),
        }
    }

    /// Returns the turn that runs, or begins one; now and then one that nobody knows.
    fn turn(&mut self, bytes: &mut Bytes<'_>) -> String {
        if !std::mem::replace(&mut self.runs, true) {
            self.turns += 1;
            self.stopped = false;
        }
        match bytes.below(32) {
            0 => String::new(),
            1 => "t".repeat(300),
            _ => turn(self.turns),
        }
    }

    /// Decides for the turn that something is about, mostly the last one.
    fn turn_of(&self, bytes: &mut Bytes<'_>) -> String {
        match bytes.below(8) {
            0 => turn(self.turns.saturating_sub(1)),
            _ => turn(self.turns),
        }
    }

    fn started(&mut self, bytes: &mut Bytes<'_>) -> Value {
        let turn = json!({ "id": self.turn(bytes), "status": "inProgress", "items": [] });
        notification("turn/started", &json!({ "turn": turn }))
    }

    fn completed(&mut self, bytes: &mut Bytes<'_>, id: String) -> Value {
        self.runs &= id != turn(self.turns);
        let status = match std::mem::take(&mut self.stopped) {
            true => "interrupted",
            false => bytes.pick(&["completed", "completed", "completed", "interrupted", "failed", "new", ""]),
        };
        let error = json!({ "message": text(bytes), "codexErrorInfo": info(bytes), "additionalDetails": null });
        let error = if status == "failed" { error } else { Value::Null };
        let turn = json!({ "id": id, "status": status, "items": [], "error": error, "durationMs": 149 });
        notification("turn/completed", &json!({ "turn": turn }))
    }
}

/// Returns a session whose program is ready.
pub(super) fn ready(provider: &dyn Provider, spec: &LaunchSpec) -> Box<dyn Session> {
    let mut session = provider.session(spec);
    let setup = provider.launch(spec, None).setup;
    session.read(&record(1, What::Launched { pid: 7, start_time: 9, setup }));
    let answers = [
        ("paseo.initialize", json!({})),
        ("paseo.account", json!({ "account": null, "requiresOpenaiAuth": false })),
        ("paseo.sandbox", json!({ "exitCode": 0 })),
        ("paseo.thread", json!({ "thread": { "id": THREAD }, "model": "m" })),
        ("paseo.settings", json!({})),
    ];
    for (seq, (id, result)) in (2..).zip(answers) {
        let line = json!({ "id": id, "result": result }).to_string();
        session.read(&record(seq, What::Said(Line::Text(line))));
    }
    session
}

/// Decides for a line that it might be told, and that no session says so.
pub(super) fn told(bytes: &mut Bytes<'_>, id: &TellId) -> String {
    let method = bytes.pick(&["turn/start", "turn/steer", "turn/interrupt", "thread/settings/update", ""]);
    let own = match bytes.below(4) {
        0 => json!({ "plan": "plan.T1", "over": bytes.flag(), "mode": "auto" }),
        1 => json!({ "mode": bytes.pick(&["plan", "auto", "never"]) }),
        2 => json!({ "model": text(bytes) }),
        _ => json!({ "always": true, "message": text(bytes), "mode": bytes.maybe(Bytes::word) }),
    };
    let input = json!([{ "type": "text", "text": text(bytes) }]);
    let params = json!({ "threadId": THREAD, "turnId": "T1", "input": input });
    let mut line = json!({ "id": id, "method": method, "params": params, "paseo": own });
    if bytes.below(4) == 0 {
        odd(bytes, &mut line);
    }
    line.to_string()
}

/// Decides for a line about a turn, or about the program itself.
fn other(bytes: &mut Bytes<'_>, turn: &str) -> Value {
    match bytes.below(10) {
        0 | 1 => {
            let error = json!({
                "message": "Reconnecting... 1/2",
                "codexErrorInfo": info(bytes),
                "additionalDetails": bytes.maybe(text),
            });
            let params = json!({ "error": error, "willRetry": bytes.below(4) != 0, "turnId": turn });
            notification("error", &params)
        }
        2 | 3 => {
            let usage = json!({ "total": tokens(bytes), "last": tokens(bytes), "modelContextWindow": 258_400 });
            notification("thread/tokenUsage/updated", &json!({ "turnId": turn, "tokenUsage": usage }))
        }
        4 | 5 => {
            let plan = bytes.some(4, |bytes| {
                json!({
                    "step": text(bytes),
                    "status": bytes.pick(&["pending", "inProgress", "completed", "new"]),
                })
            });
            let params = json!({ "turnId": turn, "explanation": bytes.maybe(text), "plan": plan });
            notification("turn/plan/updated", &params)
        }
        6 => notification("warning", &json!({ "message": text(bytes) })),
        7 => {
            let summary = bytes.pick(&["Invalid configuration; using defaults.", "no bubblewrap"]);
            notification("configWarning", &json!({ "summary": summary, "details": bytes.maybe(text) }))
        }
        8 => {
            let status = bytes.pick(&["idle", "active", "systemError"]);
            notification("thread/status/changed", &json!({ "status": { "type": status } }))
        }
        _ => {
            let method = bytes.pick(&["thread/started", "turn/diff/updated", "mcpServer/startupStatus/updated", ""]);
            notification(method, &json!({ "diff": text(bytes) }))
        }
    }
}

fn opened(bytes: &mut Bytes<'_>) -> Value {
    json!({
        "thread": { "id": thread(bytes), "status": { "type": "idle" }, "turns": [] },
        "model": text(bytes),
        "sandbox": {
            "type": "workspaceWrite",
            "writableRoots": bytes.some(3, text),
            "networkAccess": bytes.flag(),
            "excludeTmpdirEnvVar": bytes.flag(),
        },
    })
}

fn info(bytes: &mut Bytes<'_>) -> Value {
    match bytes.below(4) {
        0 => json!({ "httpConnectionFailed": { "httpStatusCode": bytes.pick(&[json!(503), Value::Null]) } }),
        1 => json!("usageLimitExceeded"),
        _ => json!(bytes.word()),
    }
}

fn tokens(bytes: &mut Bytes<'_>) -> Value {
    json!({
        "inputTokens": bytes.number(200),
        "cachedInputTokens": bytes.number(200),
        "outputTokens": bytes.pick(&[0, 7, -1, i64::MAX]),
    })
}

/// Decides for a thread: a sub-agent has another one.
fn thread(bytes: &mut Bytes<'_>) -> &'static str {
    if bytes.below(16) == 0 { "h2" } else { THREAD }
}

/// Decides for a text, now and then for one that is longer than what is kept or shown of it.
fn text(bytes: &mut Bytes<'_>) -> String {
    match bytes.below(32) {
        0 => "…".repeat(bytes.pick(&[40, 700, 11_000, 23_000])),
        1 => "line\n".repeat(bytes.pick(&[10, 15_000])),
        2 => "\u{0}\u{7}\r\u{1b}[0m".to_owned(),
        3 => " \n\t ".to_owned(),
        4 => "/bin/bash -lc 'ls'".to_owned(),
        _ => bytes.word(),
    }
}

fn turn(number: u32) -> String {
    format!("T{number}")
}

fn notification(method: &str, params: &Value) -> Value {
    json!({ "method": method, "params": params, "emittedAtMs": 1 })
}

const THREAD: &str = "h1";

/// What it answers though it was not asked.
const UNASKED: [(&str, &str); 10] = [
    ("paseo.initialize", "initialize"),
    ("paseo.account", "account/read"),
    ("paseo.thread", "thread/start"),
    ("paseo.settings", ""),
    ("paseo.clean", ""),
    ("paseo.mode", ""),
    ("prompt.p1", "turn/start"),
    ("answer.p2", "turn/start"),
    ("interrupt.p2", ""),
    ("mode.p4", ""),
];

/// How much of what it was told it speaks of.
const REMEMBERED: usize = 16;
