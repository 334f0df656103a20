//! What every provider makes of any journal.

use paseo_sdk::model::{Behavior, Decision, Mode, Prompt, RequestId};
use paseo_sdk::provider::{self, Event, Exit, LaunchSpec, Line, Provider, Record, Step, Tell, TellId, What, Whom};
use serde_json::json;

use crate::bytes::Bytes;

/// Reads any records through every provider's session, twice.
///
/// # Panics
///
/// When a session panics, makes two things of the same records, or says much more than it was told.
pub fn session(data: &[u8]) {
    for provider in provider::all() {
        read(*provider, Bytes(data));
    }
}

fn read(provider: &dyn Provider, mut bytes: Bytes<'_>) {
    let spec = LaunchSpec {
        agent_id: "a1".parse().expect("this is an id"),
        cwd: "/".to_owned(),
        model: None,
        mode: bytes.pick(&[Mode::Default, Mode::FullAccess]),
        thinking: None,
        system_prompt: None,
        trusted: false,
        mcp_config: None,
        rules: vec!["Bash(ls)".to_owned()],
    };
    let (mut one, mut other) = (provider.session(&spec), provider.session(&spec));
    // Nothing that is said is longer than what was told at some time, and a bounded output beside it.
    let mut most = FIXED;
    let mut seq = 0;
    while !bytes.is_empty() && seq < LONGEST_JOURNAL {
        seq += 1;
        let record = Record { seq, at: 1_700_000_000_000 + seq, what: what(&mut bytes) };
        most += COPIES * json!(record).to_string().len();
        let steps = one.read(&record);
        assert_eq!(steps, other.read(&record), "{} made two things of {record:?}", provider.name());
        assert!(steps.len() <= MOST_STEPS, "{} took {} steps after {record:?}", provider.name(), steps.len());
        let said: usize = steps.iter().map(size).sum();
        assert!(said <= most, "{} said {said} bytes after {record:?}", provider.name());
        assert!(one.summary().len() <= FIXED, "{} sums up in {} bytes", provider.name(), one.summary().len());
        let (id, tell) = (tell_id(&mut bytes), tell(&mut bytes));
        assert_eq!(one.phrase(&id, &tell), other.phrase(&id, &tell), "{} has two words for {tell:?}", provider.name());
    }
}

fn size(step: &Step) -> usize {
    match step {
        Step::Say(line) => line.len(),
        Step::Event(Event::Opened(item) | Event::Closed(item)) => json!(item).to_string().len(),
        Step::Event(Event::Wrote { text, .. } | Event::Notice(text) | Event::Failed(text)) => text.len(),
        Step::Event(event) => format!("{event:?}").len(),
    }
}

fn what(bytes: &mut Bytes<'_>) -> What {
    match bytes.below(20) {
        0 => What::Launched { pid: 7, start_time: 9 },
        1..=5 => What::Told { id: tell_id(bytes), line: told(bytes) },
        6..=14 => What::Said(line(bytes, said)),
        15 => What::Muttered(line(bytes, Bytes::text)),
        16 => What::Signalled { signal: "TERM".to_owned(), whom: Whom::Tree },
        17 => What::Closed {},
        18 => What::Carried(bytes.word()),
        _ => What::Exited(Exit { code: bytes.maybe(|bytes| bytes.number(3)), signal: None, reason: None }),
    }
}

fn line<'a>(bytes: &mut Bytes<'a>, text: impl Fn(&mut Bytes<'a>) -> String) -> Line {
    match bytes.below(12) {
        0 => Line::Odd { text: None, base64: Some(bytes.pick(&["/w==", "?", ""]).to_owned()), cut: false },
        1 => Line::Odd { text: Some(text(bytes)), base64: None, cut: true },
        _ => Line::Text(text(bytes)),
    }
}

/// Decides for a line that a program of some provider might be told, or for anything.
fn told(bytes: &mut Bytes<'_>) -> String {
    let id = tell_id(bytes);
    match bytes.below(5) {
        0 | 1 => json!({ "run": { "id": id, "script": bytes.text(), "ask": bytes.flag() } }).to_string(),
        2 => json!({ "answer": { "id": id, "allow": bytes.flag(), "script": bytes.maybe(Bytes::text) } }).to_string(),
        3 => json!({ "interrupt": {} }).to_string(),
        _ => anything(bytes),
    }
}

/// Decides for a line that a program of some provider might say, or for anything.
fn said(bytes: &mut Bytes<'_>) -> String {
    let id = tell_id(bytes);
    match bytes.below(9) {
        0 => json!({ "ask": { "id": id, "script": bytes.text() } }).to_string(),
        1 => json!({ "started": { "id": id, "pid": 8 } }).to_string(),
        2..=4 => json!({ "out": { "id": id, "stream": "stdout", "text": bytes.text() } }).to_string(),
        5 => {
            json!({ "out": { "id": id, "stream": "stderr", "base64": bytes.pick(&["/w==", "4oKs", "?"]) } }).to_string()
        }
        6 | 7 => json!({ "exit": {
            "id": id,
            "code": bytes.maybe(|bytes| bytes.number(3)),
            "signal": bytes.maybe(Bytes::word),
            "denied": bytes.below(4) == 0,
            "interrupted": bytes.below(4) == 0,
            "reason": bytes.maybe(Bytes::word),
            "message": bytes.maybe(Bytes::word),
        } })
        .to_string(),
        _ => anything(bytes),
    }
}

/// Takes the next bytes as they are.
fn anything(bytes: &mut Bytes<'_>) -> String {
    let length = usize::from(bytes.byte()).min(bytes.0.len());
    let (text, rest) = bytes.0.split_at(length);
    bytes.0 = rest;
    String::from_utf8_lossy(text).into_owned()
}

fn tell_id(bytes: &mut Bytes<'_>) -> TellId {
    TellId(bytes.pick(&["prompt.p1", "prompt.p2", "interrupt.p1", "r1.0"]).to_owned())
}

fn tell(bytes: &mut Bytes<'_>) -> Tell {
    match bytes.below(5) {
        3 => Tell::Mode(bytes.pick(&[Mode::Plan, Mode::FullAccess])),
        4 => Tell::Model(bytes.word()),
        0 => Tell::Prompt(Prompt {
            text: bytes.word(),
            images: Vec::new(),
            raw: bytes.flag(),
            note: bytes.maybe(Bytes::word),
        }),
        1 => Tell::Answer {
            request_id: RequestId::from("prompt.p1"),
            decision: Decision {
                behavior: bytes.pick(&[Behavior::Allow, Behavior::Deny]),
                option_id: None,
                message: bytes.maybe(Bytes::word),
                updated_input: bytes.maybe(|bytes| json!({ "command": bytes.word() })),
                interrupt: false,
            },
        },
        _ => Tell::Interrupt {},
    }
}

/// What a session may say at any time: a bounded output, which grows where it is written as JSON.
const FIXED: usize = 512 * 1024;

/// How often a session may repeat what it was told.
const COPIES: usize = 4;

const MOST_STEPS: usize = 16;

const LONGEST_JOURNAL: i64 = 1_000;
