//! What agents are told.

use std::collections::VecDeque;

use paseo_sdk::model::{Behavior, Decision, Image, Mode, Prompt, RequestId};
use paseo_sdk::provider::{Event, Session, Step, Tell, TellId, What};
use serde_json::{Value, json};

use super::codex::Program;
use super::odd::strange;
use crate::bytes::Bytes;

/// Tells a program what its session has words for, each under an id of its own.
#[derive(Default)]
pub(super) struct Teller {
    count: u32,
    /// What is on its way to the program, in order: what the session says by itself, and some of what it was asked to say.
    due: VecDeque<(TellId, String)>,
    /// The uuids of the prompts that were told last.
    pub(super) uuids: VecDeque<String>,
    /// What was asked last.
    asked: Option<RequestId>,
    /// What Codex knows.
    pub(super) codex: Program,
}

impl Teller {
    /// Returns the next id of this kind. Some end in a uuid, as those of people who chose it themselves.
    pub(super) fn id(&mut self, kind: &str) -> TellId {
        self.count += 1;
        match self.count % 3 {
            0 => TellId(format!("{kind}.{:08x}-0000-4000-8000-000000000000", self.count)),
            _ => TellId(format!("{kind}.p{}", self.count)),
        }
    }

    /// Returns whether something of what the session was asked to say is on its way.
    pub(super) fn is_telling(&self) -> bool {
        self.due.iter().any(|(id, _)| !is_own(id))
    }

    /// Remembers what the session said by itself after a record.
    pub(super) fn heard(&mut self, seq: i64, steps: &[Step]) {
        for step in steps {
            if let Step::Event(Event::Asked(ask)) = step {
                self.asked = Some(ask.request_id.clone());
            }
        }
        let lines = steps.iter().filter_map(|step| match step {
            Step::Say(line) => Some(line.clone()),
            Step::Event(_) => None,
        });
        self.due.extend(lines.enumerate().map(|(number, line)| (TellId(format!("r{seq}.{number}")), line)));
    }

    /// Decides for something to tell; none when the session has no words for it, or there is no room for a prompt.
    pub(super) fn told(&mut self, bytes: &mut Bytes<'_>, session: &dyn Session, room: bool) -> Option<What> {
        if bytes.flag()
            && let Some((id, line)) = self.due.pop_front()
        {
            return Some(self.arrived(id, line));
        }
        let tell = self.tell(bytes);
        let kind = match tell {
            Tell::Prompt(_) if !room => return None,
            Tell::Prompt(_) => "prompt",
            Tell::Answer { .. } => "answer",
            Tell::Interrupt {} => "interrupt",
            Tell::Mode(_) => "mode",
            Tell::Model(_) => "model",
        };
        let id = self.id(kind);
        let line = session.phrase(&id, &tell).ok()?;
        if let Tell::Prompt(_) = tell {
            let words: Value = serde_json::from_str(&line).unwrap_or_default();
            self.uuids.extend(words["uuid"].as_str().map(str::to_owned));
            if self.uuids.len() > REMEMBERED {
                self.uuids.pop_front();
            }
        }
        if bytes.below(8) == 0 {
            // Until it arrives, other things happen.
            self.due.push_back((id, line));
            return None;
        }
        Some(self.arrived(id, line))
    }

    fn arrived(&mut self, id: TellId, line: String) -> What {
        self.codex.told(&line);
        What::Told { id, line }
    }

    /// Decides for something to tell. An answer is mostly one to what was asked last.
    fn tell(&self, bytes: &mut Bytes<'_>) -> Tell {
        match (tell(bytes), &self.asked) {
            (Tell::Answer { decision, .. }, Some(asked)) if bytes.below(4) != 0 => {
                Tell::Answer { request_id: asked.clone(), decision }
            }
            (tell, _) => tell,
        }
    }
}

/// Whether a session said it by itself; that is in no outbox.
pub(super) fn is_own(id: &TellId) -> bool {
    id.0.starts_with('r')
}

/// Decides for something that an agent is told.
pub(super) fn tell(bytes: &mut Bytes<'_>) -> Tell {
    match bytes.below(8) {
        0..=2 => Tell::Prompt(Prompt {
            text: bytes.text(),
            images: bytes.some(1, |bytes| Image { media_type: "image/png".to_owned(), data: bytes.word() }),
            raw: bytes.flag(),
            note: bytes.maybe(Bytes::word),
            ..Prompt::default()
        }),
        3 | 4 => Tell::Answer { request_id: request_id(bytes).as_str().into(), decision: decision(bytes) },
        5 => Tell::Mode(bytes.pick(&[
            Mode::Plan,
            Mode::Auto,
            Mode::FullAccess,
            Mode::Native { provider: "claude".to_owned(), name: "dontAsk".to_owned() },
            Mode::Native { provider: "codex".to_owned(), name: "read-only".to_owned() },
        ])),
        6 => Tell::Model(bytes.word()),
        _ => Tell::Interrupt {},
    }
}

/// Decides for a question: few, so that an answer meets it.
pub(super) fn request_id(bytes: &mut Bytes<'_>) -> String {
    match bytes.below(12) {
        0..=4 => "q1".to_owned(),
        5..=7 => "q2".to_owned(),
        8 => "q3".to_owned(),
        9 => String::new(),
        10 => "prompt.p1".to_owned(),
        _ => "q".repeat(300),
    }
}

fn decision(bytes: &mut Bytes<'_>) -> Decision {
    Decision {
        behavior: bytes.pick(&[Behavior::Allow, Behavior::Deny]),
        option_id: bytes.pick(&[None, Some("always"), Some("auto"), Some("other")]).map(str::to_owned),
        message: bytes.maybe(Bytes::word),
        updated_input: bytes.maybe(|bytes| match bytes.below(4) {
            0 => json!({ "command": bytes.word() }),
            1 => json!({ "answers": { "a": bytes.word() } }),
            2 => json!({}),
            _ => strange(bytes),
        }),
        interrupt: bytes.flag(),
    }
}

/// How many prompts a program still speaks of.
const REMEMBERED: usize = 4;
