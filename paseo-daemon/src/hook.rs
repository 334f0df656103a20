//! Hooks: the commands of a worktree's setup or teardown, run by a small process that outlives the daemon. Here is the
//! daemon's end, and the words between the two.
//!
//! ```text
//! daemon ──spawns──► paseo __hook ──spawns, one after the other──► paseo __exec, which becomes $SHELL -c <command>
//!    ▲                    │ own session, subreaper; the commands' output goes to the log
//!    └──── state file ────┘ running, then ended
//! ```
//!
//! What may not change: the state file says that the hook runs before its first command is started, and that it has ended
//! when nothing is left of what its commands started; and the environment of the commands stands in no file.
//!
//! A command takes with it all that it started: a server that it leaves in the background is ended before the next
//! command begins. Only programs that the order keeps, such as `tmux`, are spared with what descends from them.

mod log;
mod run;
mod words;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use paseo_sdk::model::{Duration, Timestamp};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::owner::now;
use crate::shim::child::sentence;
use crate::shim::{helper, link, tree};
use crate::store;

pub(crate) use run::main;

/// What a runner is told on its standard input, once. It holds the environment of the commands and is stored nowhere.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// What it is, for people who look at a list of processes: `setup fix-foo`.
    pub name: String,
    /// The value of `PASEO_RUN` for everything that the commands start; no other run of any hook or agent has it.
    pub marker: String,
    /// The commands, each for the shell.
    pub commands: Vec<String>,
    /// The directory that each starts in, absolute.
    pub cwd: PathBuf,
    /// Their whole environment. `SHELL` in it is the shell that runs them, `/bin/sh` when there is none.
    pub env: BTreeMap<String, String>,
    /// How long all of them together may take.
    pub timeout: Duration,
    /// Where their output goes, absolute. What was there before is replaced; of much output the middle is left out.
    pub log: PathBuf,
    /// The state file, absolute, in a directory that is there. The file beside it with the extension `lock` is locked for
    /// as long as the runner lives.
    pub state: PathBuf,
    /// Names of programs that may outlive the command that started them, with what descends from them.
    #[serde(default)]
    pub keep: Vec<String>,
}

/// How a hook is: what its state file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Its runner is at it.
    Running(Runner),
    /// It is over.
    Ended(Ended),
}

/// Which process runs a hook, and how what it starts is found should it be lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Runner {
    /// The runner's process id.
    pub pid: i64,
    /// When the runner started, as the system tells it.
    pub start_time: i64,
    /// When it began.
    pub started_at: Timestamp,
    /// The order's marker.
    pub marker: String,
    /// The programs that the order keeps.
    #[serde(default)]
    pub keep: Vec<String>,
}

/// How a hook has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended, or was found to have.
    pub ended_at: Timestamp,
    /// Why it did not come to its end; none when every command succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What else a person should know, such as that its log could not be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Why a hook did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// One sentence, and after a colon the last lines that the command printed: `` `make` failed with exit code 2: … ``.
    pub message: String,
    /// The command that failed or was ended, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Its exit code, where it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// The signal that ended it, where one did: `KILL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
}

impl Ended {
    /// Returns all that there is to say: why it failed, and what else is wrong.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        let failure = self.failure.as_ref().map(|failure| failure.message.as_str());
        let said: Vec<&str> = failure.into_iter().chain(self.trouble.as_deref()).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }
}

/// The one line that a runner answers on its standard output.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Answer {
    /// The state file says that it runs.
    Running {},
    /// Another runner has the state file.
    Busy {},
    /// It does not run, for this reason.
    Failed { message: String },
}

/// Starts a hook, and returns when its state file says that it runs. `helper` is the program that plays the hidden roles.
///
/// The runner outlives this process. While this process lives, its exit status is taken when it ends.
///
/// # Errors
///
/// `AlreadyExists` when a runner has this state file, which then says how that one is. Otherwise a sentence that says why
/// no command was started.
pub async fn start(helper: &Path, order: &Order) -> io::Result<()> {
    let (helper, order) = (helper.to_owned(), order.clone());
    blocking(move || start_one(&helper, &order)).await
}

/// Reads how a hook is; none when there is no state file. It may block, for as long as it takes to end what a runner left
/// behind that was itself killed: such a hook has failed.
///
/// # Errors
///
/// When the state file cannot be read, or is none.
pub fn state(path: &Path) -> io::Result<Option<State>> {
    match store::read(path)? {
        Some(State::Running(runner)) if runner.is_gone() => bury(path),
        found => Ok(found),
    }
}

/// Returns how a hook has ended, as soon as it has, whichever daemon started it.
///
/// # Errors
///
/// `NotFound` when there is no state file, and those of [`state`].
pub async fn ended(path: &Path) -> io::Result<Ended> {
    loop {
        match look(path).await? {
            Some(State::Ended(ended)) => return Ok(ended),
            Some(State::Running(runner)) => runner.gone().await,
            None => return Err(io::Error::new(io::ErrorKind::NotFound, "it was never started")),
        }
    }
}

/// Ends a hook if it runs, with all that its commands started, and returns when its runner is gone.
///
/// # Errors
///
/// Those of [`state`].
pub async fn stop(path: &Path) -> io::Result<()> {
    let Some(State::Running(runner)) = look(path).await? else { return Ok(()) };
    // One that has just ended by itself needs no signal.
    let _ = tree::signal_one(runner.pid, runner.start_time, Signal::TERM);
    if tokio::time::timeout(FAREWELL, runner.gone()).await.is_err() {
        let _ = tree::signal_one(runner.pid, runner.start_time, Signal::KILL);
        runner.gone().await;
    }
    // Should it have been killed, what it left behind is ended by this.
    look(path).await.map(drop)
}

impl Runner {
    fn is_gone(&self) -> bool {
        tree::is_gone(self.pid, self.start_time)
    }

    /// Waits until it has ended.
    async fn gone(&self) {
        // A child of this process, such as one from before a restart in place, is announced by the system, and is a zombie
        // until its exit status is taken. For one that an earlier daemon started this returns at once.
        if tree::start_time(self.pid) == Some(self.start_time) {
            link::reap(self.pid).await;
        }
        while !self.is_gone() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn start_one(program: &Path, order: &Order) -> io::Result<()> {
    // What an earlier runner left behind, should it have been lost, is ended by this.
    match state(&order.state) {
        Ok(Some(State::Running(_))) => return Err(busy()),
        Ok(_) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            let aside = store::set_aside(&order.state, now())?;
            tracing::warn!(aside = %aside.display(), "the state of a hook could not be understood");
        }
        Err(error) => return Err(error),
    }
    let failed =
        |error: io::Error| io::Error::other(format!("cannot start {}: {}", program.display(), sentence(&error)));
    let text = serde_json::to_vec(order)?;
    let (mut runner, answer) = helper::start(program, "__hook", &order.name, &text).map_err(failed)?;
    let error = match answer {
        Answer::Running {} => {
            let pid = i64::from(runner.id());
            Handle::current().spawn(async move { link::reap(pid).await });
            return Ok(());
        }
        Answer::Busy {} => busy(),
        Answer::Failed { message } => io::Error::other(message),
    };
    let _ = runner.wait();
    Err(error)
}

fn busy() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "it is running already")
}

/// Ends what a runner that was killed left behind, and says so in its state file.
fn bury(path: &Path) -> io::Result<Option<State>> {
    // One at a time, so that nobody who comes late writes an end over what a later runner has written.
    static BURYING: Mutex<()> = Mutex::new(());
    let _burying = BURYING.lock().unwrap_or_else(PoisonError::into_inner);
    let runner = match store::read(path)? {
        Some(State::Running(runner)) if runner.is_gone() => runner,
        // It wrote how it ended, and then it was gone.
        found => return Ok(found),
    };
    let left = tree::sweep_orphans(&runner.marker, &runner.keep);
    tracing::warn!(state = %path.display(), ?left, "the runner of a hook was lost");
    let lost = State::Ended(Ended {
        started_at: runner.started_at,
        ended_at: now(),
        failure: Some(Failure {
            message: "its process was lost".to_owned(),
            command: None,
            exit_code: None,
            signal: None,
        }),
        trouble: Some(left.join(", ")).filter(|left| !left.is_empty()),
    });
    if let Err(error) = store::replace(path, &lost) {
        tracing::warn!(state = %path.display(), %error, "the end of a hook cannot be written, and is found again");
    }
    Ok(Some(lost))
}

async fn look(path: &Path) -> io::Result<Option<State>> {
    let path = path.to_owned();
    blocking(move || state(&path)).await
}

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(act).await.map_err(io::Error::other)?
}

/// How often a runner is looked at that an earlier daemon started.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(250);

/// How long a runner that was told to end may take until it is killed: longer than it is patient with its commands.
const FAREWELL: std::time::Duration = std::time::Duration::from_secs(30);
