//! The runner of hooks as the daemon uses it: real processes, and the files that they leave.

mod commands;
mod lives;
mod log;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use paseo_daemon::hook::{self, Ended, Order, Runner, State};
use paseo_daemon::shim::{place, tree};
use paseo_sdk::model::Duration;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::lab::{PASEO, processes_in};

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// A worktree and the files of its hook, of which nothing is left at the end.
struct Site {
    directory: TempDir,
}

impl Site {
    fn new() -> Result<Site> {
        let directory = TempDir::with_prefix("paseo-hook-")?;
        fs::create_dir(directory.path().join("work"))?;
        Ok(Site { directory })
    }

    /// A path in the directory that commands start in.
    fn work(&self, name: &str) -> PathBuf {
        self.directory.path().join("work").join(name)
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("setup.json")
    }

    fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.path().join("setup.log"))?)
    }

    fn marker(&self) -> String {
        place::marker(self.directory.path(), "setup", 1)
    }

    fn order(&self, commands: &[&str]) -> Order {
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
        let env = [("PATH", path.as_str()), ("SECRET", "only-in-memory")];
        Order {
            name: "a test".to_owned(),
            marker: self.marker(),
            commands: commands.iter().map(|command| (*command).to_owned()).collect(),
            cwd: self.work(""),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect::<BTreeMap<_, _>>(),
            timeout: Duration { milliseconds: 600_000 },
            log: self.directory.path().join("setup.log"),
            state: self.state(),
            keep: Vec::new(),
        }
    }

    async fn start(&self, order: &Order) -> Result {
        Ok(hook::start(Path::new(PASEO), order).await?)
    }

    /// Starts a hook by another process, as a daemon that is killed later does, and returns when it runs.
    fn start_by_another(&self, order: &Order) -> Result<Child> {
        fs::write(self.work("order"), serde_json::to_vec(order)?)?;
        // The shell stays, and the hook begins in its process group.
        let mut starter = Command::new("sh");
        starter.args(["-c", "\"$0\" __hook a-test <order; echo gone", PASEO]).current_dir(self.work(""));
        let mut starter = starter.process_group(0).stdout(Stdio::piped()).spawn()?;
        let mut answer = String::new();
        BufReader::new(starter.stdout.as_mut().ok_or("it is piped")?).read_line(&mut answer)?;
        assert_eq!(answer, "{\"running\":{}}\n");
        fs::remove_file(self.work("order"))?;
        Ok(starter)
    }

    async fn ended(&self) -> Result<Ended> {
        Ok(hook::ended(&self.state()).await?)
    }

    /// Runs a hook to its end.
    async fn run(&self, order: &Order) -> Result<Ended> {
        self.start(order).await?;
        self.ended().await
    }

    fn runner(&self) -> Result<Runner> {
        match hook::state(&self.state())? {
            Some(State::Running(runner)) => Ok(runner),
            other => Err(format!("it does not run: {other:?}").into()),
        }
    }

    /// Makes pipes with names in the directory that commands start in.
    fn pipes(&self, names: &[&str]) -> Result {
        for name in names {
            mknodat(CWD, self.work(name), FileType::Fifo, Mode::RWXU, 0)?;
        }
        Ok(())
    }

    /// Returns what a command writes into a pipe next.
    async fn hear(&self, pipe: &str) -> Result<String> {
        let path = self.work(pipe);
        Ok(tokio::task::spawn_blocking(move || fs::read_to_string(path)).await??)
    }

    /// Writes into a pipe that a command reads.
    async fn tell(&self, pipe: &str, text: &str) -> Result {
        let (path, text) = (self.work(pipe), text.to_owned());
        Ok(tokio::task::spawn_blocking(move || fs::write(path, text)).await??)
    }

    /// Returns what works in the worktree.
    fn processes(&self) -> Vec<String> {
        processes_in(&self.work(""))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // After a failure: whatever the test left behind goes with it.
        if let Ok(Some(State::Running(runner))) = hook::state(&self.state()) {
            let _ = tree::signal_one(runner.pid, runner.start_time, Signal::KILL);
        }
        let _ = tree::sweep_orphans(&self.marker(), &[]);
    }
}

/// Returns why a hook failed, all that it says.
fn failed(ended: &Ended) -> Result<String> {
    ended.failure.as_ref().ok_or("it succeeded")?;
    Ok(ended.message().ok_or("it says nothing")?)
}

/// Four stubborn processes, one of them detached twice.
const STUBBORN: &str = "
    trap '' TERM HUP INT
    sleep 1001 &
    setsid sleep 1002 &
    (setsid sh -c '(sleep 1003 &) ; exit' &)
";
