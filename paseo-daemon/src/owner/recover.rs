//! What an earlier life has left of an agent: its journals are read, and the process that still runs is found.

use std::io;
use std::path::{Path, PathBuf};

use paseo_sdk::machine::agent::{Fact, Heard, Input};
use paseo_sdk::model::Timestamp;
use paseo_sdk::provider::{Record, What};
use serde::{Deserialize, Serialize};

use super::{Owner, blocking, now};
use crate::fault::{Point, reached};
use crate::launch::ATTEMPTS;
use crate::shim::journal;

impl Owner {
    /// Reads what happened in earlier lives, and attaches to the process that still runs.
    pub(super) async fn restore(&mut self) {
        let first = self.machine.first_unread_run();
        let runs = self.launcher.runs(&self.files.runs()).unwrap_or_else(|error| {
            self.warnings.add(format!("agent {}: its runs cannot be listed: {error}", self.live.id));
            Vec::new()
        });
        for run in runs.into_iter().filter(|run| *run >= first) {
            self.restore_run(run).await;
        }
        self.tell(Input::Restored).await;
        reached(Point::Restored);
        self.publish();
        self.attach_if_known().await;
    }

    /// Reads the journal of one run, and attaches to its process if it still runs.
    async fn restore_run(&mut self, run: i64) {
        self.begin(run, None);
        self.start_from_summary(run).await;
        if let Err(error) = self.catch_up().await {
            self.look_again(&error);
        }
    }

    /// The link is gone. When the shim has left, the journal ends in `Exited`, or is given that end.
    pub(super) async fn lost(&mut self) {
        let Some(process) = &mut self.process else { return };
        process.running = None;
        process.relink = None;
        let run = process.run;
        let missing = self.missing(run);
        match self.catch_up().await {
            Ok(()) => {
                self.warnings.remove(&missing);
                self.attach_if_known().await;
            }
            Err(error) => self.look_again(&error),
        }
    }

    /// A process that cannot be found may work on what it was told: starting another one beside it would do that twice. So
    /// it is looked for until it is found, or its end.
    fn look_again(&mut self, error: &io::Error) {
        let Some(process) = &mut self.process else { return };
        process.relink = Some(now().plus(RELINK));
        let run = process.run;
        tracing::warn!(agent = %self.live.id, run, %error, "a shim cannot be found");
        self.warnings.add(self.missing(run));
    }

    /// Says that a process is looked for, and where the reason is.
    fn missing(&self, run: i64) -> String {
        let agent = &self.live.id;
        format!("agent {agent}, run {run}: its process does not answer, and is looked for: see `paseo daemon logs`")
    }

    /// Lets the session of a run whose journal was carried over start from the summary that its newest segment begins
    /// with.
    async fn start_from_summary(&mut self, run: i64) {
        let directory = self.run_directory(run);
        let first = blocking(|| journal::read(&directory).ok()?.next()?.ok());
        let Some(Record { seq, at, what: What::Carried(text) }) = first else { return };
        let Ok(Carried { after, pid, summary }) = serde_json::from_str(&text) else { return };
        let Some(process) = &mut self.process else { return };
        process.session.read(&Record { seq, at, what: What::Carried(summary) });
        process.last = after;
        // The record of its start may have been put away, and a process is not remembered: it is there or it is not.
        let fact = Some(Fact::Launched { pid });
        let heard = Heard { run, record: after, at: Timestamp(at), fact, events: Vec::new() };
        self.tell(Input::Heard(heard)).await;
    }

    /// Reads the journal of the process to its end, and attaches to its shim if that lives.
    async fn catch_up(&mut self) -> io::Result<()> {
        for _ in 0..ATTEMPTS {
            let Some(process) = &self.process else { return Ok(()) };
            let run = process.run;
            let directory = self.run_directory(run);
            self.read_journal(&directory).await?;
            reached(Point::JournalRead);
            // Where its end was read, there is none any more.
            let Some(process) = &mut self.process else { return Ok(()) };
            if let Some(running) = self.launcher.find(&self.live.id, run, &directory, process.last).await? {
                process.known = running.known;
                process.attached = false;
                process.running = Some(running);
                return Ok(());
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "its shim lives and does not answer"))
    }

    /// Reads what the journal says after the last record that is known, a piece at a time, however long it is.
    async fn read_journal(&mut self, directory: &Path) -> io::Result<()> {
        let Some(process) = &self.process else { return Ok(()) };
        let (run, last) = (process.run, process.last);
        // What follows from what is read is written down, and must not be there alone after a loss of power.
        if let Err(error) = blocking(|| journal::newest_segment(directory).and_then(|segment| segment.sync_data()))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(agent = %self.live.id, %error, "a journal cannot be brought to the disk");
        }
        let mut records = match blocking(|| journal::read_after(directory, last)) {
            Ok(records) => records,
            // Its shim never came so far as to say anything.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let (mut first, mut damaged) = (None, 0_u64);
        loop {
            let piece = blocking(|| records.piece(journal::PIECE))?;
            if piece.is_empty() {
                break;
            }
            for record in piece {
                match record {
                    Ok(record) => self.read(&record).await,
                    Err(damage) => {
                        damaged += 1;
                        first.get_or_insert(damage);
                    }
                }
            }
        }
        if let Some(first) = first {
            let agent = &self.live.id;
            let damage = format!("agent {agent}, run {run}: {damaged} lines of its journal are damaged: {first}");
            if let Some(process) = &mut self.process
                && let Some(before) = process.damage.replace(damage.clone())
            {
                self.warnings.remove(&before);
            }
            self.warnings.add(damage);
        }
        Ok(())
    }

    fn run_directory(&self, run: i64) -> PathBuf {
        self.files.runs().join(run.to_string())
    }
}

/// What a new segment of a journal begins with.
#[derive(Serialize, Deserialize)]
pub(super) struct Carried {
    /// The record up to which the summary reaches; later ones are in the segment before.
    pub(super) after: i64,
    /// The process, whose start the segments may not tell any more.
    #[serde(default)]
    pub(super) pid: i64,
    pub(super) summary: String,
}

/// How long until a shim that lives and does not answer is looked for again, in milliseconds.
const RELINK: i64 = 5_000;
