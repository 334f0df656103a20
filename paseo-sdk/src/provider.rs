//! Providers: how each agent program is started, and what the lines it says mean. Pure, as machines are.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod claude;
pub mod codex;
pub mod shell;

mod last_words;
mod output;
mod value;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::item::Item;
use crate::model::{
    AgentId, Decision, ItemId, Mode, Model, Outcome, PermissionKind, PermissionOption, Prompt, RequestId, Timestamp,
    Usage,
};

/// A kind of agent program.
pub trait Provider: Send + Sync {
    /// The word by which it is asked for.
    fn name(&self) -> &'static str;

    /// What it is and what it can do.
    fn traits(&self) -> &'static Traits;

    /// Says how to start its program; `resume` is what an earlier session gave as `Event::Resumable`.
    fn launch(&self, spec: &LaunchSpec, resume: Option<&str>) -> Launch;

    /// Begins to read a journal. `spec` is that of the launch, but for what may be changed since: a session asks it only
    /// for what stays.
    fn session(&self, spec: &LaunchSpec) -> Box<dyn Session>;

    /// Says what is wrong with a way to be launched, before anything is made.
    ///
    /// # Errors
    ///
    /// When its program would refuse, with the field to change.
    fn check(&self, _spec: &LaunchSpec, _surroundings: &Surroundings<'_>) -> Result<(), Objection> {
        Ok(())
    }

    /// Says how to ask its program who is logged in.
    fn login_question(&self) -> Option<Question> {
        None
    }

    /// Reads what its program says of whoever is logged in; none when it is about something else.
    fn login(&self, _said: &str) -> Option<Login> {
        None
    }

    /// Says how to ask its program for its models.
    fn model_question(&self) -> Option<Question> {
        None
    }

    /// Reads the models from a line that the program says; none when it is about something else.
    fn models(&self, _said: &str) -> Option<Vec<Model>> {
        None
    }
}

/// How to ask a program something: started for that alone, and ended when it has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its arguments.
    pub args: Vec<String>,
    /// What it is told; when that is nothing, all that it prints is one answer, and else each line is.
    pub lines: Vec<String>,
}

/// Whether somebody is logged in to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// Somebody is, or nobody need be.
    In,
    /// Nobody is.
    Out,
    /// Its program does not tell.
    Unknown,
}

/// What is known of the place where a program would be launched.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Whether it would run as root.
    pub root: bool,
    /// The environment that it would get.
    pub env: &'a BTreeMap<String, String>,
}

/// Why a program would refuse to be launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// The field to change.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// The meaning of one journal: what it knows, it knows from `read`.
pub trait Session: Send {
    /// Takes the next record. Reading the same records always gives the same steps.
    fn read(&mut self, record: &Record) -> Vec<Step>;

    /// Puts what an agent shall be told into the line that its program understands.
    ///
    /// # Errors
    ///
    /// When the program has no words for it, or cannot take it yet: then it is asked again after the records to come.
    fn phrase(&self, id: &TellId, tell: &Tell) -> Result<String, Unsaid>;

    /// Returns what a session of the same version needs in order to go on without the records before, as text for
    /// `What::Carried`.
    fn summary(&self) -> String;
}

/// Returns the provider called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Provider> {
    all().iter().copied().find(|provider| provider.name() == name)
}

/// Returns every provider, in the order in which people see them.
#[must_use]
pub fn all() -> &'static [&'static dyn Provider] {
    &[&claude::Claude, &codex::Codex, &shell::Shell]
}

/// What a provider is and can do.
#[derive(Clone, Copy, Debug)]
pub struct Traits {
    /// One line for a person.
    pub description: &'static str,
    /// Its modes, the least free first.
    pub modes: &'static [Mode],
    /// Names of modes that only it has, given as `provider:name`.
    pub native_modes: &'static [&'static str],
    /// The program that has to be installed; none when paseo brings it.
    pub program: Option<Installed>,
    /// Whether its sessions can be resumed by a new process.
    pub resumes: bool,
    /// Whether prompts may hold pictures.
    pub images: bool,
    /// Whether a prompt can be said into a running turn.
    pub steers: bool,
    /// Whether it understands words. One that does not carries out whatever it is told, and is told nothing that nobody
    /// has written for it.
    pub converses: bool,
    /// How long an idle process is kept, in milliseconds; 0 to let it end with its turn.
    pub linger: i64,
    /// How long its model may say nothing before the turn is stopped, in milliseconds; none for as long as it likes.
    pub stall: Option<i64>,
}

/// A program that people install and log in to.
#[derive(Clone, Copy, Debug)]
pub struct Installed {
    /// Its name on the `PATH`.
    pub name: &'static str,
    /// What to type to install it.
    pub install: &'static str,
    /// What to do to log in.
    pub login: &'static str,
    /// Where the program itself may be, from the directory of a script that only starts it.
    pub native: &'static [&'static str],
}

/// With what an agent is launched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaunchSpec {
    /// The agent.
    pub agent_id: AgentId,
    /// The directory that it works in.
    pub cwd: String,
    /// The model; none for the provider's default.
    #[serde(default)]
    pub model: Option<String>,
    /// How freely it may act.
    pub mode: Mode,
    /// How much to think.
    #[serde(default)]
    pub thinking: Option<String>,
    /// Text added to the provider's own system prompt.
    #[serde(default)]
    pub system_prompt: Option<String>,
    /// Whether the directory's own settings, hooks and servers may run.
    pub trusted: bool,
    /// A private file with MCP servers for it.
    #[serde(default)]
    pub mcp_config: Option<String>,
    /// The servers of that file, by name.
    #[serde(default)]
    pub mcp_servers: BTreeMap<String, serde_json::Value>,
    /// What serves the tools of paseo to it, as the MCP server [`TOOLS`]; none when it gets none.
    #[serde(default)]
    pub tools: Option<ToolServer>,
    /// The git directories that commits in its worktree are written to, without those that say what git runs.
    #[serde(default)]
    pub git_dirs: Vec<String>,
    /// The working trees that its directory is in: the worktree, and the main checkout of the repository.
    #[serde(default)]
    pub trees: Vec<String>,
    /// What it need not ask for, because somebody has allowed it for good before this launch; in the program's words.
    #[serde(default)]
    pub rules: Vec<String>,
}

/// The name of the MCP server with the tools of paseo.
pub const TOOLS: &str = "paseo";

/// How long a call of one of these tools may take, in milliseconds. It waits for agents, and a day is too short for that;
/// this is the longest time that every program can tell.
pub const TOOL_TIMEOUT: i64 = i32::MAX as i64;

/// A program that speaks MCP over its standard input and output, and finds who it is for in its environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolServer {
    /// The program file.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
}

/// How a program is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// What to run.
    pub program: Program,
    /// Its arguments; never a prompt, never a secret.
    pub args: Vec<String>,
    /// Variables added to the agent's environment.
    pub env: Vec<(String, String)>,
    /// What its session is to know of how it was set up, which the journal keeps; never a secret.
    pub setup: Option<String>,
}

/// A program to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// This one, in one of its hidden roles.
    Helper,
    /// One on the agent's `PATH`.
    Named(String),
}

/// One record of a journal: something that happened to an agent's process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number: from 1 in each run, without gaps.
    pub seq: i64,
    /// When, by the clock of the shim, in milliseconds since the epoch.
    pub at: i64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

impl Record {
    /// Returns when it happened.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        Timestamp(self.at)
    }
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The process was started.
    Launched {
        /// Its process id.
        pid: i64,
        /// When it started, as the system tells it: with the pid, its identity.
        #[serde(rename = "startTime")]
        start_time: i64,
        /// What `Launch::setup` was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        setup: Option<String>,
    },
    /// It wrote a line to its standard output.
    Said(Line),
    /// It was given a line on its standard input.
    Told {
        /// Which tell it was; a shim takes each id once.
        id: TellId,
        /// The line, without its end.
        line: String,
    },
    /// It wrote a line to its standard error.
    Muttered(Line),
    /// It was sent a signal.
    Signalled {
        /// Which, by name: `INT`, `TERM`, `KILL`.
        signal: String,
        /// To whom.
        whom: Whom,
    },
    /// Its standard input was closed.
    Closed {},
    /// The records before this one were put away; this is the session's summary of them.
    Carried(String),
    /// It ended, and nothing of its tree is left.
    Exited(Exit),
}

/// Whom a signal goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whom {
    /// The process itself.
    Child,
    /// Its process group.
    Group,
    /// It and everything that descends from it.
    Tree,
}

/// A line of output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// Valid UTF-8, without the line's end.
    Text(String),
    /// Anything else, or a line that was cut.
    Odd {
        /// The text, where it is valid UTF-8.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// The bytes, where it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base64: Option<String>,
        /// Whether the line was longer than 32 MiB, and this is its beginning.
        #[serde(default)]
        cut: bool,
    },
}

impl Line {
    /// Returns the text, where the line is whole and valid UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Line::Text(text) => Some(text),
            Line::Odd { .. } => None,
        }
    }
}

/// How a process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code, when it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// The signal that ended it, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Why paseo ended it, or why it could not be started, or how it was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The id of something that an agent is told, made from the caller's id; what a session says by itself has the id
/// `r<seq>.<n>` of the record that caused it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TellId(pub String);

impl std::fmt::Display for TellId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that an agent is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tell {
    /// A prompt.
    Prompt(Prompt),
    /// The answer to a permission request.
    Answer {
        /// The request.
        #[serde(rename = "requestId")]
        request_id: RequestId,
        /// The answer.
        decision: Decision,
    },
    /// To stop the turn that runs.
    Interrupt {},
    /// How freely it may act from now on.
    Mode(Mode),
    /// Which model it shall use from now on.
    Model(String),
}

impl Tell {
    /// Returns whether both tell the same, whoever says it.
    #[must_use]
    pub fn is_the_same(&self, other: &Tell) -> bool {
        match (self, other) {
            (Tell::Prompt(one), Tell::Prompt(other)) => one.says_the_same(other),
            _ => self == other,
        }
    }
}

/// What a record made a session do or say.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Write this line to the program. Its id follows from the record, so it is written once.
    Say(String),
    /// This happened.
    Event(Event),
}

/// What happened, in the same words for every provider.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// What a new process needs to go on with this session.
    Resumable(String),
    /// The program has taken a tell; a provider without acknowledgements says so when it was told.
    Delivered(TellId),
    /// The program knows nothing of the session that it was to resume, and has not taken this prompt where it was told one
    /// already: the process is given up, and a new one without a session is told what there is to tell.
    Forgotten(Option<TellId>),
    /// The program can be told nothing, for this reason: what it could not take yet fails, it leaves, and what comes then is
    /// told to a new one.
    Unusable(String),
    /// A turn began: for this prompt, or by itself.
    TurnStarted(Option<TellId>),
    /// This prompt was taken into the turn that runs, and ends with it.
    Joined(TellId),
    /// This prompt was told and taken back before the program read it.
    Dropped(TellId),
    /// An item began.
    Opened(Item),
    /// An open item's text grew.
    Wrote {
        /// The item.
        item_id: ItemId,
        /// What was added.
        text: String,
    },
    /// An item is final; it may be one that never was opened.
    Closed(Item),
    /// The program asks for permission.
    Asked(Ask),
    /// It no longer asks.
    Withdrawn(RequestId),
    /// It acts as freely as this from now on.
    ModeChanged(Mode),
    /// It need not ask for this again, in the provider's words; launches from now on are given it.
    Remembered(String),
    /// Whether it works on something in the background, which ends with its process.
    Background(bool),
    /// Whether its model is to say something now: when nothing is heard for long, it has stalled.
    Expecting(bool),
    /// The process ended in the middle of this, which its session does not know: the next prompt says so.
    CutOff(String),
    /// Something worth knowing.
    Notice(String),
    /// Something failed, and the turn may go on.
    Failed(String),
    /// The turn ended.
    TurnEnded(Ending),
}

impl Event {
    /// Returns whether it begins or ends a turn, or asks for something. The journal is brought to the disk before anything
    /// that follows from such an event is written down, so that a loss of power never leaves the one without the other.
    #[must_use]
    pub fn is_weighty(&self) -> bool {
        match self {
            Event::Asked(_)
            | Event::TurnStarted(_)
            | Event::TurnEnded(_)
            | Event::Joined(_)
            | Event::Dropped(_)
            | Event::Forgotten(_) => true,
            Event::Resumable(_)
            | Event::Unusable(_)
            | Event::Delivered(_)
            | Event::Opened(_)
            | Event::Wrote { .. }
            | Event::Closed(_)
            | Event::Withdrawn(_)
            | Event::ModeChanged(_)
            | Event::Remembered(_)
            | Event::Background(_)
            | Event::Expecting(_)
            | Event::CutOff(_)
            | Event::Notice(_)
            | Event::Failed(_) => false,
        }
    }
}

/// A question of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The provider's id for it.
    pub request_id: RequestId,
    /// What it asks for.
    pub kind: PermissionKind,
    /// One line for a person.
    pub title: String,
    /// More, where there is more to say.
    pub description: Option<String>,
    /// What would be done.
    pub input: serde_json::Value,
    /// Answers it offers beside a plain allow or deny.
    pub options: Vec<PermissionOption>,
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// What came of it.
    pub outcome: Outcome,
    /// Why, where the outcome alone does not say it.
    pub reason: Option<String>,
    /// The last thing the agent said.
    pub message: Option<String>,
    /// Tokens and money of the turn.
    pub usage: Usage,
}

/// Why something is not said to a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsaid {
    /// It cannot take it yet.
    #[error("it cannot take it yet")]
    NotYet,
    /// It cannot be said, for this reason.
    #[error("{0}")]
    Never(String),
}

impl From<Unsupported> for Unsaid {
    fn from(unsupported: Unsupported) -> Unsaid {
        Unsaid::Never(unsupported.to_string())
    }
}

/// What a provider has no words for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{provider} cannot {what}")]
pub struct Unsupported {
    /// The provider.
    pub provider: &'static str,
    /// What it cannot do, as a verb: `take pictures`.
    pub what: &'static str,
}
