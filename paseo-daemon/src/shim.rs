//! The shim: a small process that owns an agent's program, journals every line in both directions, and outlives the
//! daemon. Here are the words that daemon and shim say to each other.
//!
//! ```text
//! daemon ──spawns──► paseo __shim ──spawns──► paseo __exec, which becomes claude | codex | paseo __bridge … | …
//!    ▲                    │ own session, subreaper, journal-*.ndjson in the run's directory
//!    └─── unix socket ────┘ lines of JSON: `Word`s in, records and `Report`s out
//! ```
//!
//! What may not change: a record is in the journal before the daemon hears of it; a line is in the journal before the
//! agent is told; one connection is read to its end before the next is answered; and the journal's last record is
//! `Exited`, written when nothing of the agent's tree is left.

pub mod journal;
pub mod link;
pub mod place;
pub mod tree;

pub(crate) mod child;
mod connection;
pub(crate) mod helper;
pub(crate) mod lines;
mod process;
pub(crate) mod signals;

use std::path::PathBuf;

use paseo_sdk::provider::{TellId, Whom};
use serde::{Deserialize, Serialize};

pub(crate) use process::main;

/// The version of these words. Words are only ever added; each side passes over what it does not know.
pub const VERSION: i64 = 1;

/// The variable that marks everything an agent starts, by which [`tree::sweep_orphans`] finds it.
pub const MARKER: &str = "PASEO_RUN";

/// The file in a run's directory that says which process its shim is; locked for as long as that process lives.
pub const SHIM_FILE: &str = "shim.json";

/// What a shim is told on its standard input, once. It holds the agent's environment and is stored nowhere.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Launching {
    /// The agent, for people who look at a list of processes.
    pub agent_id: String,
    /// The value of `PASEO_RUN` for everything that the agent starts: see [`place::marker`].
    pub marker: String,
    /// The program: a path, or a name on the `PATH` of `env`.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// The directory that it starts in.
    pub cwd: PathBuf,
    /// What the record of its start says of how it was set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<String>,
    /// The run's directory, absolute; the shim makes it, and there must be no journal in it.
    pub run_dir: PathBuf,
    /// Where the shim listens: see [`place::socket`].
    pub socket: PathBuf,
    /// Names of programs that may outlive the agent, with what descends from them.
    #[serde(default)]
    pub keep: Vec<String>,
    /// Sizes and times at which the shim stops being patient.
    #[serde(default)]
    pub limits: Limits,
}

/// Sizes in bytes and times in milliseconds at which a shim stops being patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// The longest line of output; what is longer is cut.
    pub line: usize,
    /// The most that may wait for an agent that does not read its standard input.
    pub input: usize,
    /// From the request to end until the end by force.
    pub grace: u64,
    /// From the program's end until its output is given up, when something else holds it open.
    pub drain: u64,
    /// From the first journal line that the disk did not take until the agent is ended.
    pub full: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { line: 32 << 20, input: 64 << 20, grace: 2_000, drain: 1_000, full: 60_000 }
    }
}

/// The one line that a shim answers on its standard output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Launched {
    /// The program runs, the journal says so, and the socket is there.
    Ready(Ready),
    /// It does not, and nothing is left.
    Failed {
        /// One sentence, such as `claude: no such file`.
        message: String,
    },
}

/// Which processes run an agent. Also what [`SHIM_FILE`] holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// The shim's process id.
    pub shim_pid: i64,
    /// When the shim started, as the system tells it.
    pub shim_start_time: i64,
    /// The agent's process id.
    pub pid: i64,
    /// When the agent started.
    pub start_time: i64,
    /// Where the shim listens.
    pub socket: PathBuf,
}

/// What a daemon says to a shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Word {
    /// Send what the journal holds after this record, and what follows for as long as the connection lives.
    Attach {
        /// The last record that the daemon knows; 0 for none.
        after: i64,
    },
    /// Tell the agent this line, unless the journal says that it was told this id.
    Write {
        /// Which tell it is.
        id: TellId,
        /// The line, without its end.
        line: String,
    },
    /// Close the agent's standard input, when everything before is written.
    Close {},
    /// Send a signal.
    Signal {
        /// Which, by name: `INT`.
        signal: String,
        /// To whom.
        whom: Whom,
    },
    /// Begin a new segment of the journal with this text, and put away the segment before the present one.
    Carry {
        /// What a session needs in order to go on without the records before.
        text: String,
    },
    /// End the agent and its whole tree: asked first, forced after the grace.
    Stop {
        /// Why, for the record of its end.
        reason: String,
    },
}

/// What a shim says to a daemon beside the lines of its journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Report {
    /// The answer to an attach; records follow.
    Hello(Hello),
    /// A line was not told, and is not in the journal.
    Refused {
        /// Which.
        id: TellId,
        /// Why.
        reason: String,
        /// Whether the agent leaves, so that the line may be told to its next process.
        #[serde(default)]
        leaving: bool,
    },
    /// Something is wrong that a person should know.
    Trouble {
        /// One sentence.
        text: String,
    },
}

/// What a shim says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The version of the words that it speaks.
    pub version: i64,
    /// The oldest record that its journal still holds.
    pub first: i64,
    /// The newest one.
    pub last: i64,
    /// The agent's process id.
    pub pid: i64,
    /// When the agent started, as the system tells it.
    pub start_time: i64,
    /// The shim's own process id.
    pub shim_pid: i64,
}
