//! Programs under a simulated shim: `bridge shell` as it speaks, and one that says whatever a provider could.

use std::collections::{BTreeSet, VecDeque};

use paseo_sdk::model::{Mode, Outcome, PermissionKind, RequestId, Usage};
use paseo_sdk::provider::shell::{Exit, Saying, Shell, Word};
use paseo_sdk::provider::{
    Ask, Ending, Event, LaunchSpec, Line, Provider, Record, Session, Step, Tell, TellId, Traits, Unsupported, What,
};
use serde_json::{Value, json};

/// Which program an agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `bridge shell`.
    Shell,
    /// One that acknowledges late, starts turns by itself and asks outside of turns.
    Talk,
}

impl Kind {
    pub(crate) fn traits(self) -> &'static Traits {
        match self {
            Kind::Shell => Shell.traits(),
            Kind::Talk => &Traits {
                description: "talks",
                modes: &[Mode::Default],
                native_modes: &[],
                program: None,
                resumes: true,
                images: false,
                steers: false,
                linger: LINGER,
                stall: None,
            },
        }
    }

    pub(crate) fn session(self, spec: &LaunchSpec) -> Box<dyn Session> {
        match self {
            Kind::Shell => Shell.session(spec),
            Kind::Talk => Box::new(Talk),
        }
    }

    pub(crate) fn program(self, deaf: bool) -> Program {
        match self {
            Kind::Shell => Program::Shell(Bridge { script: None, deaf, closed: false }),
            Kind::Talk => Program::Talk(Talker { deaf, ..Talker::default() }),
        }
    }
}

/// How long a process of `Kind::Talk` lingers.
pub(crate) const LINGER: i64 = 60_000;

/// A process under a shim.
pub(crate) enum Program {
    Shell(Bridge),
    Talk(Talker),
}

/// What a program does next.
pub(crate) enum Act {
    Say(Vec<String>),
    Exit(i64),
}

impl Program {
    /// Gives it a line; returns what it says at once.
    pub(crate) fn told(&mut self, line: &str) -> Vec<String> {
        match self {
            Program::Shell(bridge) => bridge.told(line),
            Program::Talk(talker) => talker.told(line),
        }
    }

    pub(crate) fn close(&mut self) {
        match self {
            Program::Shell(bridge) => bridge.closed = true,
            Program::Talk(talker) => talker.closed = true,
        }
    }

    /// Lets it go on in one of the ways that it could.
    pub(crate) fn act(&mut self, whim: u8) -> Act {
        match self {
            Program::Shell(bridge) => bridge.act(whim),
            Program::Talk(talker) => talker.act(whim),
        }
    }

    /// Lets it come to the end of what it has to do.
    pub(crate) fn finish(&mut self) -> Act {
        match self {
            Program::Shell(bridge) => bridge.act(1),
            Program::Talk(talker) => talker.finish(),
        }
    }

    /// The questions that it waits with.
    pub(crate) fn asking(&self) -> BTreeSet<String> {
        match self {
            Program::Shell(bridge) => {
                bridge.script.iter().filter(|script| !script.started).map(|script| script.id.to_string()).collect()
            }
            Program::Talk(talker) => talker.asks.clone(),
        }
    }
}

pub(crate) struct Bridge {
    script: Option<Script>,
    deaf: bool,
    closed: bool,
}

struct Script {
    id: TellId,
    started: bool,
}

impl Bridge {
    fn told(&mut self, line: &str) -> Vec<String> {
        let says = match serde_json::from_str(line).expect("the bridge is told its words") {
            Word::Run { id, script, ask } => {
                assert!(self.script.is_none(), "one script at a time");
                self.script = Some(Script { id: id.clone(), started: !ask });
                match ask {
                    true => vec![Saying::Ask { id, script }],
                    false => vec![Saying::Started { id, pid: Some(8) }],
                }
            }
            Word::Answer { id, allow, message, .. } => match &mut self.script {
                Some(current) if current.id == id && !current.started && allow => {
                    current.started = true;
                    vec![Saying::Started { id, pid: Some(8) }]
                }
                Some(current) if current.id == id && !current.started => {
                    self.script = None;
                    vec![Saying::Exit(Exit { id, denied: true, message, ..Exit::default() })]
                }
                _ => Vec::new(),
            },
            Word::Interrupt {} => match self.script.take_if(|_| !self.deaf) {
                Some(Script { id, .. }) => vec![Saying::Exit(Exit { id, interrupted: true, ..Exit::default() })],
                None => Vec::new(),
            },
        };
        says.iter().map(|saying| json!(saying).to_string()).collect()
    }

    fn act(&mut self, whim: u8) -> Act {
        let saying = match (&self.script, whim % 4) {
            (None, _) if self.closed => return Act::Exit(0),
            _ if whim == 64 => return Act::Exit(9),
            (None | Some(Script { started: false, .. }), _) => return Act::Say(Vec::new()),
            (Some(Script { id, .. }), 0 | 3) => {
                Saying::Out { id: id.clone(), stream: "stdout".to_owned(), text: Some("x".to_owned()), base64: None }
            }
            (Some(Script { id, .. }), code) => {
                let exit = Exit { id: id.clone(), code: Some(i64::from(code) - 1), ..Exit::default() };
                self.script = None;
                Saying::Exit(exit)
            }
        };
        Act::Say(vec![json!(saying).to_string()])
    }
}

#[derive(Default)]
pub(crate) struct Talker {
    prompts: VecDeque<String>,
    unacknowledged: BTreeSet<String>,
    /// The turn that runs, and its prompt.
    turn: Option<Option<String>>,
    asks: BTreeSet<String>,
    count: u32,
    deaf: bool,
    closed: bool,
}

impl Talker {
    fn told(&mut self, line: &str) -> Vec<String> {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["prompt", id] => {
                self.prompts.push_back(id.to_owned());
                self.unacknowledged.insert(id.to_owned());
                Vec::new()
            }
            ["answer", id] => match self.asks.remove(id) {
                true => vec![format!("withdraw {id}")],
                false => Vec::new(),
            },
            ["interrupt"] if !self.deaf && self.turn.take().is_some() => vec!["end interrupted".to_owned()],
            ["interrupt"] | ["pong"] => Vec::new(),
            _ => panic!("not a word: {line}"),
        }
    }

    fn start(&mut self) -> String {
        let id = self.prompts.pop_front().expect("there is a prompt");
        self.turn = Some(Some(id.clone()));
        format!("start {id}")
    }

    fn act(&mut self, whim: u8) -> Act {
        self.count += 1;
        let says = match (&self.turn, whim % 10) {
            _ if whim == 64 => return Act::Exit(9),
            (_, 0) => match self.unacknowledged.pop_first() {
                Some(id) => format!("ack {id}"),
                None => return Act::Say(Vec::new()),
            },
            (None | Some(None), 1 | 2) if !self.prompts.is_empty() => self.start(),
            (Some(_), 1 | 2) => {
                self.turn = None;
                "end".to_owned()
            }
            (None, 3) => {
                self.turn = Some(None);
                "start".to_owned()
            }
            (_, 4) => {
                let id = format!("q{}", self.count);
                self.asks.insert(id.clone());
                let begins = self.turn.is_none() && !self.prompts.is_empty();
                self.turn.get_or_insert(None);
                let start = begins.then(|| "start".to_owned());
                return Act::Say(start.into_iter().chain([format!("ask {id}")]).collect());
            }
            (_, 5) => match self.asks.pop_first() {
                Some(id) => format!("withdraw {id}"),
                None => return Act::Say(Vec::new()),
            },
            (_, 6) => "ping".to_owned(),
            (_, 7) => format!("note {}", self.count),
            (None, _) if self.closed && self.prompts.is_empty() => return Act::Exit(0),
            _ => format!("item {}", self.count),
        };
        Act::Say(vec![says])
    }

    fn finish(&mut self) -> Act {
        if self.turn.take().is_some() {
            return Act::Say(vec!["end".to_owned()]);
        }
        if !self.prompts.is_empty() {
            return Act::Say(vec![self.start()]);
        }
        if self.closed { Act::Exit(0) } else { Act::Say(Vec::new()) }
    }
}

/// The meaning of what a [`Talker`] says: each line is an event.
struct Talk;

impl Session for Talk {
    fn read(&mut self, record: &Record) -> Vec<Step> {
        let What::Said(Line::Text(line)) = &record.what else { return Vec::new() };
        let item = |id: &str| paseo_sdk::item::Item {
            item_id: id.into(),
            parent_id: None,
            content: paseo_sdk::item::Content::AssistantMessage { text: format!("said {id}") },
        };
        let ending = |outcome| {
            Event::TurnEnded(Ending {
                outcome,
                reason: None,
                message: Some("done".to_owned()),
                usage: Usage::default(),
            })
        };
        let events = match line.split(' ').collect::<Vec<_>>()[..] {
            ["ack", id] => vec![Event::Delivered(TellId(id.to_owned()))],
            ["start"] => vec![Event::TurnStarted(None)],
            ["start", id] => vec![Event::TurnStarted(Some(TellId(id.to_owned())))],
            ["end"] => vec![ending(Outcome::Completed)],
            ["end", "interrupted"] => vec![ending(Outcome::Interrupted)],
            ["ask", id] => vec![Event::Asked(Ask {
                request_id: RequestId::from(id),
                kind: PermissionKind::Tool,
                title: format!("may I {id}"),
                description: None,
                input: Value::Null,
                options: Vec::new(),
            })],
            ["withdraw", id] => vec![Event::Withdrawn(RequestId::from(id))],
            ["item", id] => vec![
                Event::Opened(item(id)),
                Event::Wrote { item_id: id.into(), text: "said".to_owned() },
                Event::Closed(item(id)),
            ],
            ["note", text] => vec![Event::Notice(text.to_owned())],
            ["ping"] => return vec![Step::Say("pong".to_owned())],
            _ => panic!("not a word: {line}"),
        };
        events.into_iter().map(Step::Event).collect()
    }

    fn phrase(&self, id: &TellId, tell: &Tell) -> Result<String, Unsupported> {
        match tell {
            Tell::Prompt(prompt) if prompt.text == "unspeakable" => {
                Err(Unsupported { provider: "talk", what: "say that" })
            }
            Tell::Prompt(_) => Ok(format!("prompt {id}")),
            Tell::Answer { request_id, .. } => Ok(format!("answer {request_id}")),
            Tell::Interrupt {} => Ok("interrupt".to_owned()),
            Tell::Mode(Mode::FullAccess) => Err(Unsupported { provider: "talk", what: "change to that" }),
            Tell::Mode(mode) => Ok(format!("mode {mode}")),
            Tell::Model(model) => Ok(format!("model {model}")),
        }
    }

    fn summary(&self) -> String {
        String::new()
    }
}
