//! The shim as the daemon uses it: the helper's real processes, driven over the link.

mod bridge;
mod faults;
mod journal;
mod large;
mod tree;
mod words;

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use paseo_daemon::shim::link::{self, Heard, News, Words};
use paseo_daemon::shim::{Launching, Limits, Ready, journal as records, place, tree as processes};
use paseo_sdk::provider::{Exit, Line, Record, TellId, What};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

const HELPER: &str = env!("CARGO_BIN_EXE_paseo-under-test");

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// A directory that is removed at the end, with every process of the runs in it.
struct Scratch {
    path: PathBuf,
    runs: AtomicU32,
}

impl Scratch {
    fn new() -> Result<Scratch> {
        let path = std::env::temp_dir().join(format!("paseo-shim-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir(&path)?;
        Ok(Scratch { path, runs: AtomicU32::new(0) })
    }

    /// Prepares a run of a script.
    fn script(&self, script: &str) -> Result<Launching> {
        let run = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
        Ok(Launching {
            agent_id: "a1".to_owned(),
            marker: place::marker(&self.path, "a1", run.into()),
            program: "sh".to_owned(),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: vec![("PATH".to_owned(), path), ("SECRET".to_owned(), "only-in-memory".to_owned())],
            setup: None,
            cwd: self.path.clone(),
            run_dir: self.path.join("runs").join(run.to_string()),
            socket: place::socket(&self.path, "a1", run.into())?,
            keep: Vec::new(),
            limits: Limits::default(),
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for run in 1..=self.runs.load(Ordering::Relaxed) {
            let served = records::processes(&self.path.join("runs").join(run.to_string()));
            if let Ok(Some(ready)) = served
                && !processes::is_gone(ready.shim_pid, ready.shim_start_time)
            {
                kill(ready.shim_pid, Signal::KILL);
            }
            let _ = processes::sweep_orphans(&place::marker(&self.path, "a1", run.into()), &[]);
        }
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A run, and the link to its shim for as long as that is there: one that is over has left a journal.
struct Run {
    launching: Launching,
    ready: Ready,
    link: Option<(Words, Heard)>,
    /// The last record that was heard.
    last: i64,
    /// What the shim had no time to say.
    unsaid: Option<VecDeque<Record>>,
}

impl Run {
    async fn start(launching: Launching) -> Result<Run> {
        Run::start_by(Path::new(HELPER), launching).await
    }

    async fn start_by(helper: &Path, launching: Launching) -> Result<Run> {
        let ready = link::spawn(helper, &launching).await?;
        // A program that is done at once may be gone by now.
        let link = link::attach(&launching.socket, 0).await.ok();
        Ok(Run { launching, ready, link, last: 0, unsaid: None })
    }

    async fn attach(&mut self, after: i64) -> Result {
        self.link = Some(link::attach(&self.launching.socket, after).await?);
        self.last = after;
        Ok(())
    }

    fn words(&self) -> io::Result<&Words> {
        self.link.as_ref().map(|(words, _)| words).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Returns what the shim says next, then what it had no time to say and its journal holds; none after the end.
    async fn next(&mut self) -> Result<Option<News>> {
        if let Some((_, heard)) = &mut self.link {
            if let Some(news) = heard.next().await {
                if let News::Record(record) = &news {
                    self.last = record.seq;
                }
                return Ok(Some(news));
            }
            self.link = None;
        }
        if self.unsaid.is_none() {
            ended(self.ready.shim_pid).await?;
            let unsaid = records::read_after(&self.launching.run_dir, self.last)?;
            self.unsaid = Some(unsaid.collect::<io::Result<_>>()?);
        }
        Ok(self.unsaid.as_mut().and_then(VecDeque::pop_front).map(News::Record))
    }

    async fn write(&self, id: &str, line: &str) -> io::Result<()> {
        self.words()?.write(TellId(id.to_owned()), line.to_owned()).await
    }

    /// Returns the next news that `fits`, which must come before the end.
    async fn until<T>(&mut self, mut fits: impl FnMut(&News) -> Option<T>) -> Result<T> {
        while let Some(news) = self.next().await? {
            if let Some(found) = fits(&news) {
                return Ok(found);
            }
        }
        Err("the link was lost".into())
    }

    /// Returns the next line that the agent says.
    async fn line(&mut self) -> Result<String> {
        self.until(|news| match news {
            News::Record(Record { what: What::Said(Line::Text(text)), .. }) => Some(text.clone()),
            _ => None,
        })
        .await
    }

    /// Returns the pid that the agent says next.
    async fn pid(&mut self) -> Result<i64> {
        Ok(self.line().await?.trim().parse()?)
    }

    /// Hears all records; the last one must be the end.
    async fn rest(&mut self) -> Result<(Vec<Record>, Exit)> {
        let mut records = Vec::new();
        while let Some(news) = self.next().await? {
            if let News::Record(record) = news {
                records.push(record);
            }
        }
        match records.last().map(|record| record.what.clone()) {
            Some(What::Exited(exit)) => Ok((records, exit)),
            last => Err(format!("the journal ended with {last:?}").into()),
        }
    }

    async fn exit(&mut self) -> Result<Exit> {
        Ok(self.rest().await?.1)
    }
}

fn code(code: i64) -> Exit {
    Exit { code: Some(code), ..Exit::default() }
}

fn said(text: &str) -> What {
    What::Said(Line::Text(text.to_owned()))
}

fn kill(pid: i64, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may be gone already.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

pub(crate) fn is_alive(pid: i64) -> bool {
    processes::start_time(pid).is_some_and(|start| !processes::is_gone(pid, start))
}

/// Waits until a process has ended.
pub(crate) async fn ended(pid: i64) -> Result {
    tokio::task::spawn_blocking(move || {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
        if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) {
            let patience = Timespec { tv_sec: 30, tv_nsec: 0 };
            let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&patience));
        }
    })
    .await?;
    match is_alive(pid) {
        true => Err(format!("process {pid} does not end").into()),
        false => Ok(()),
    }
}
