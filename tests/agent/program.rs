//! Programs under a simulated shim: `bridge shell` as it speaks, and one that says whatever a provider could.

use std::collections::{BTreeSet, VecDeque};

use paseo_sdk::model::{Mode, Outcome, PermissionKind, Prompt, RequestId, Usage};
use paseo_sdk::provider::shell::{Exit, Saying, Shell, Word};
use paseo_sdk::provider::{
    Ask, Ending, Event, LaunchSpec, Line, Provider, Record, Session, Step, Tell, TellId, Traits, Unsaid, Unsupported,
    What,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Which program an agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `bridge shell`.
    Shell,
    /// One that acknowledges late, starts turns by itself, asks outside of turns, takes prompts into turns or back, and
    /// forgets what it was to resume.
    Talk,
    /// The same, but that it takes nothing at first, and sometimes never will: it says so, or it ends.
    Shy,
}

impl Kind {
    pub(crate) fn traits(self) -> &'static Traits {
        match self {
            Kind::Shell => Shell.traits(),
            Kind::Talk | Kind::Shy => &Traits {
                description: "talks",
                modes: &[Mode::Plan, Mode::Default, Mode::Auto, Mode::FullAccess],
                native_modes: &[],
                program: None,
                resumes: true,
                images: false,
                steers: true,
                converses: true,
                linger: LINGER,
                stall: Some(SILENCE),
            },
        }
    }

    pub(crate) fn session(self, spec: &LaunchSpec) -> Box<dyn Session> {
        match self {
            Kind::Shell => Shell.session(spec),
            Kind::Talk => Box::new(Talk::default()),
            Kind::Shy => Box::new(Talk { unready: true, ..Talk::default() }),
        }
    }

    pub(crate) fn program(self, deaf: bool, spec: &LaunchSpec, resume: Option<&str>) -> Program {
        match self {
            Kind::Shell => Program::Shell(Bridge { script: None, deaf, closed: false }),
            Kind::Talk | Kind::Shy => {
                let (mode, resumed, unready) = (spec.mode.clone(), resume.is_some(), self == Kind::Shy);
                Program::Talk(Talker { deaf, mode, resumed, unready, ..Talker::default() })
            }
        }
    }
}

/// How long a process of `Kind::Talk` lingers.
pub(crate) const LINGER: i64 = 60_000;

/// How long the model of `Kind::Talk` may say nothing.
pub(crate) const SILENCE: i64 = 240_000;

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

    /// How freely it acts, where it has a say in that and can be told of it.
    pub(crate) fn mode(&self) -> Option<&Mode> {
        match self {
            Program::Shell(_) => None,
            Program::Talk(talker) => Some(&talker.mode).filter(|_| !talker.unready && !talker.forgetful),
        }
    }

    /// How often it has changed that by itself.
    pub(crate) fn whims(&self) -> u32 {
        match self {
            Program::Shell(_) => 0,
            Program::Talk(talker) => talker.whims,
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
    mode: Mode,
    /// How often it has changed its mode by itself.
    whims: u32,
    background: bool,
    /// Whether it was to go on with a session, and has not begun to.
    resumed: bool,
    /// Whether it knows nothing of that session, and leaves.
    forgetful: bool,
    /// Whether it takes nothing for now.
    unready: bool,
    count: u32,
    deaf: bool,
    closed: bool,
}

impl Talker {
    fn told(&mut self, line: &str) -> Vec<String> {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["prompt", id, ..] if self.forgetful => vec![format!("forget {id}")],
            ["prompt", id, ..] => {
                self.prompts.push_back(id.to_owned());
                self.unacknowledged.insert(id.to_owned());
                Vec::new()
            }
            ["answer", id] => match self.asks.remove(id) {
                true => vec![format!("withdraw {id}")],
                false => Vec::new(),
            },
            ["interrupt"] if !self.deaf && self.turn.is_some() => self.stop(),
            ["interrupt"] | ["pong"] => Vec::new(),
            ["mode", mode] => {
                self.mode = mode.parse().expect("this is a mode");
                vec![format!("mode {mode}")]
            }
            ["model", _] => Vec::new(),
            _ => panic!("not a word: {line}"),
        }
    }

    /// Stops the turn. What waits is taken back before or after that, or stays.
    fn stop(&mut self) -> Vec<String> {
        self.turn = None;
        let end = "end interrupted".to_owned();
        if self.count.is_multiple_of(3) {
            return vec![end];
        }
        let mut says: Vec<_> = self.prompts.drain(..).map(|id| format!("drop {id}")).collect();
        let place = if self.count % 3 == 1 { says.len() } else { 0 };
        says.insert(place, end);
        says
    }

    fn start(&mut self) -> String {
        let id = self.prompts.pop_front().expect("there is a prompt");
        self.turn = Some(Some(id.clone()));
        self.resumed = false;
        format!("start {id}")
    }

    fn act(&mut self, whim: u8) -> Act {
        self.count += 1;
        if whim == 64 {
            return Act::Exit(9);
        }
        if self.unready {
            return self.get_ready(whim);
        }
        if self.forgetful {
            return if whim.is_multiple_of(4) { Act::Exit(1) } else { Act::Say(Vec::new()) };
        }
        let says = match (&self.turn, whim % 20) {
            // What is acknowledged is not forgotten.
            (_, 0) if self.resumed => return Act::Say(Vec::new()),
            (_, 0) => match self.unacknowledged.pop_first() {
                Some(id) => format!("ack {id}"),
                None => return Act::Say(Vec::new()),
            },
            (None | Some(None), 1 | 2 | 18) if !self.prompts.is_empty() => self.start(),
            (Some(_), 1 | 2) => {
                self.turn = None;
                "end".to_owned()
            }
            (None, 3) => {
                self.turn = Some(None);
                self.resumed = false;
                "start".to_owned()
            }
            (_, 4) => {
                let id = format!("q{}", self.count);
                self.asks.insert(id.clone());
                let begins = self.turn.is_none() && !self.prompts.is_empty();
                self.turn.get_or_insert(None);
                self.resumed = false;
                let start = begins.then(|| "start".to_owned());
                return Act::Say(start.into_iter().chain([format!("ask {id}")]).collect());
            }
            (_, 5) => match self.asks.pop_first() {
                Some(id) => format!("withdraw {id}"),
                None => return Act::Say(Vec::new()),
            },
            (_, 6) => "ping".to_owned(),
            (_, 7) => format!("note {}", self.count),
            (Some(_), 10 | 11) if !self.prompts.is_empty() => {
                let id = self.prompts.pop_front().expect("there is a prompt");
                // From now on the turn answers somebody, and no other prompt's turn takes its place.
                self.turn = self.turn.take().map(|turn| turn.or_else(|| Some(id.clone())));
                format!("join {id}")
            }
            (None, 10..=12) if self.resumed && !self.prompts.is_empty() => return self.forget(),
            (_, 13) => {
                self.mode = [Mode::Plan, Mode::Default, Mode::Auto][usize::from(whim) % 3].clone();
                self.whims += 1;
                format!("mode {}", self.mode)
            }
            (_, 14) => format!("rule r{}", whim / 20),
            (_, 15) => {
                self.background = !self.background;
                format!("background {}", if self.background { "on" } else { "off" })
            }
            (Some(_), 16) => format!("expect {}", if whim.is_multiple_of(3) { "off" } else { "on" }),
            (_, 17) => format!("session s{}", self.count),
            (None, _) if self.closed && self.prompts.is_empty() => return Act::Exit(0),
            _ => format!("item {}", self.count),
        };
        Act::Say(vec![says])
    }

    /// Becomes ready, or says why it never will.
    fn get_ready(&mut self, whim: u8) -> Act {
        let says = match whim % 8 {
            0..=2 => "ready",
            3 if self.resumed => {
                self.forgetful = true;
                "forget"
            }
            4 => "useless",
            5 => return Act::Exit(i64::from(whim % 2)),
            _ if self.closed => return Act::Exit(0),
            _ => return Act::Say(Vec::new()),
        };
        self.unready = false;
        Act::Say(vec![says.to_owned()])
    }

    /// Says of everything that it was told that it was told in vain.
    fn forget(&mut self) -> Act {
        self.forgetful = true;
        self.unacknowledged.clear();
        Act::Say(self.prompts.drain(..).map(|id| format!("forget {id}")).collect())
    }

    fn finish(&mut self) -> Act {
        if self.forgetful {
            return Act::Exit(1);
        }
        if std::mem::take(&mut self.unready) {
            return Act::Say(vec!["ready".to_owned()]);
        }
        if std::mem::take(&mut self.background) {
            return Act::Say(vec!["background off".to_owned()]);
        }
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
#[derive(Default, Serialize, Deserialize)]
struct Talk {
    /// Whether a turn runs, so that a process that ends is cut off.
    busy: bool,
    expecting: bool,
    unready: bool,
    useless: bool,
    /// How many turns have ended, as if they had cost so much: a session that forgets shows it.
    turns: i64,
}

impl Session for Talk {
    fn read(&mut self, record: &Record) -> Vec<Step> {
        let events = match &record.what {
            What::Said(Line::Text(line)) if line == "ping" => return vec![Step::Say("pong".to_owned())],
            What::Said(Line::Text(line)) => self.said(line),
            // Such a tell is taken when it is told.
            What::Told { id, line } if line.starts_with("mode") => vec![Event::Delivered(id.clone())],
            What::Carried(summary) => {
                *self = serde_json::from_str(summary).expect("it is its own");
                Vec::new()
            }
            What::Exited(_) if self.busy => vec![Event::CutOff("it was in the middle of something".to_owned())],
            _ => Vec::new(),
        };
        events.into_iter().map(Step::Event).collect()
    }

    fn phrase(&self, id: &TellId, tell: &Tell) -> Result<String, Unsaid> {
        match tell {
            Tell::Prompt(_) if self.useless => Err(Unsaid::Never("talk is of no use".to_owned())),
            _ if self.unready => Err(Unsaid::NotYet),
            Tell::Prompt(prompt) if prompt.text == "unspeakable" => {
                Err(Unsupported { provider: "talk", what: "say that" }.into())
            }
            Tell::Prompt(Prompt { note: None, .. }) => Ok(format!("prompt {id}")),
            Tell::Prompt(Prompt { note: Some(note), .. }) => Ok(format!("prompt {id} {NOTED} {note}")),
            Tell::Answer { request_id, .. } => Ok(format!("answer {request_id}")),
            Tell::Interrupt {} => Ok("interrupt".to_owned()),
            Tell::Mode(Mode::FullAccess) => Err(Unsupported { provider: "talk", what: "change to that" }.into()),
            Tell::Mode(mode) => Ok(format!("mode {mode}")),
            Tell::Model(model) => Ok(format!("model {model}")),
        }
    }

    fn summary(&self) -> String {
        json!(self).to_string()
    }
}

/// What stands before the note of a prompt.
pub(crate) const NOTED: &str = "with";

impl Talk {
    fn said(&mut self, line: &str) -> Vec<Event> {
        let item = |id: &str| paseo_sdk::item::Item {
            item_id: id.into(),
            parent_id: None,
            content: paseo_sdk::item::Content::AssistantMessage { text: format!("said {id}") },
        };
        let tell = |id: &str| TellId(id.to_owned());
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["ack", id] => vec![Event::Delivered(tell(id))],
            ["start"] => {
                self.busy = true;
                vec![Event::TurnStarted(None)]
            }
            ["start", id] => {
                self.busy = true;
                vec![Event::TurnStarted(Some(tell(id)))]
            }
            ["end"] => self.end(Outcome::Completed),
            ["end", "interrupted"] => self.end(Outcome::Interrupted),
            ["join", id] => vec![Event::Joined(tell(id))],
            ["drop", id] => vec![Event::Dropped(tell(id))],
            ["ready"] => {
                self.unready = false;
                Vec::new()
            }
            ["useless"] => {
                self.useless = true;
                self.unready = false;
                vec![Event::Unusable("talk is of no use".to_owned())]
            }
            ["forget"] => vec![Event::Forgotten(None)],
            ["forget", id] => vec![Event::Forgotten(Some(tell(id)))],
            ["session", id] => vec![Event::Resumable(id.to_owned())],
            ["mode", mode] => vec![Event::ModeChanged(mode.parse().expect("this is a mode"))],
            ["rule", rule] => vec![Event::Remembered(rule.to_owned())],
            ["background", state] => vec![Event::Background(state == "on")],
            ["expect", state] => {
                self.expecting = state == "on";
                vec![Event::Expecting(self.expecting)]
            }
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
            _ => panic!("not a word: {line}"),
        }
    }

    fn end(&mut self, outcome: Outcome) -> Vec<Event> {
        self.busy = false;
        self.turns += 1;
        let usage = Usage { output_tokens: self.turns, ..Usage::default() };
        let (reason, message) = (None, Some("done".to_owned()));
        let ended = Event::TurnEnded(Ending { outcome, reason, message, usage });
        let silent = std::mem::take(&mut self.expecting).then_some(Event::Expecting(false));
        [ended].into_iter().chain(silent).collect()
    }
}
