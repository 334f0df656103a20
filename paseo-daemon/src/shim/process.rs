//! The shim itself: one thread around one `poll`, which never waits for anybody else.

mod input;
mod obey;
mod start;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use paseo_sdk::provider::{Exit, Line, What, Whom};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitStatus};

use self::input::{Fed, Input};
use super::child::sentence;
use super::connection::Connection;
use super::helper;
use super::journal::Journal;
use super::lines::{Splitter, line};
use super::signals::{self, Bell};
use super::tree;
use super::{Launched, Limits, Ready, Report};

/// Plays the shim until its agent has ended, and returns the exit code.
pub(crate) fn main() -> i32 {
    let started = Shim::start();
    let (answer, shim) = match started {
        Ok((ready, shim)) => (Launched::Ready(ready), Some(shim)),
        Err(message) => (Launched::Failed { message }, None),
    };
    helper::answer(&answer);
    let Some(mut shim) = shim else { return 1 };
    shim.serve();
    0
}

/// An agent's program, its journal, and the daemon's connection if there is one.
struct Shim {
    ready: Ready,
    limits: Limits,
    keep: Vec<String>,
    journal: Journal,
    agent: Pid,
    exit: Option<WaitStatus>,
    input: Input,
    outputs: [Output; 2],
    listener: UnixListener,
    connection: Option<Connection>,
    children: Bell,
    terminated: Bell,
    phase: Phase,
    /// Why the agent was ended, if it was.
    reason: Option<String>,
    /// The disk takes nothing.
    full: Option<Full>,
    /// Held for life: it says that this run is served.
    _lock: File,
}

/// How far the end is.
enum Phase {
    /// The agent runs.
    Running,
    /// It was asked to end, and will be forced to.
    Stopping { force: Instant },
    /// It has ended. Its output is read to the end, unless something else holds it open; where it was asked to end, the
    /// others of its tree have the rest of their grace.
    Draining { until: Instant, asked: bool },
    /// The journal has its end, as soon as the disk takes it; then the daemon may hear it.
    Leaving { until: Instant },
    /// Nobody shall wait any more.
    Left,
}

struct Full {
    since: Instant,
    retry: Instant,
    error: String,
}

/// One of the agent's two outputs; none after its end.
struct Output {
    pipe: Option<OwnedFd>,
    lines: Splitter,
    means: fn(Line) -> What,
}

#[derive(Clone, Copy)]
enum Source {
    Children,
    Terminated,
    Listener,
    Connection,
    Input,
    Output(usize),
}

impl Shim {
    /// Serves until the agent has ended, the journal says so, and the daemon has heard it or does not listen.
    fn serve(&mut self) {
        while !self.is_done() {
            for (source, flags) in self.wait() {
                self.attend(source, flags);
            }
            self.expire(Instant::now());
            self.settle();
        }
        let _ = fs::remove_file(&self.ready.socket);
    }

    /// Waits until something can be done, or a deadline passes.
    fn wait(&self) -> Vec<(Source, PollFlags)> {
        let mut sources = Vec::with_capacity(7);
        sources.push((Source::Children, self.children.as_fd(), PollFlags::IN));
        sources.push((Source::Terminated, self.terminated.as_fd(), PollFlags::IN));
        match &self.connection {
            Some(connection) => {
                sources.push((Source::Connection, connection.as_fd(), connection.interest(&self.journal)));
            }
            // The next one is answered when this one is read to its end.
            None => sources.push((Source::Listener, self.listener.as_fd(), PollFlags::IN)),
        }
        if let Some(pipe) = self.input.unwritten() {
            sources.push((Source::Input, pipe, PollFlags::OUT));
        }
        // What cannot be written down is not read: the agent waits for the disk.
        if self.full.is_none() {
            let outputs = self.outputs.iter().enumerate();
            sources.extend(
                outputs.filter_map(|(index, output)| Some((Source::Output(index), output.as_fd()?, PollFlags::IN))),
            );
        }
        let mut polled: Vec<PollFd<'_>> =
            sources.iter().map(|(_, file, flags)| PollFd::from_borrowed_fd(*file, *flags)).collect();
        let left = self.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        if poll(&mut polled, left.as_ref()).is_err() {
            // Interrupted by a signal: its bell says so at the next look.
            return Vec::new();
        }
        let found = sources.iter().zip(&polled).map(|((source, ..), polled)| (*source, polled.revents()));
        found.filter(|(_, flags)| !flags.is_empty()).collect()
    }

    fn attend(&mut self, source: Source, flags: PollFlags) {
        match source {
            Source::Children => {
                self.children.rang();
                self.reap();
            }
            Source::Terminated => {
                self.terminated.rang();
                match self.phase {
                    // The disk may never take it.
                    Phase::Leaving { .. } => self.phase = Phase::Left,
                    _ => self.stop("its shim was told to end (SIGTERM)".to_owned()),
                }
            }
            Source::Listener => self.accept(),
            Source::Connection => self.converse(flags),
            Source::Input => {
                let fed = self.input.feed();
                self.fed(fed);
            }
            Source::Output(index) => {
                self.listen_to(index);
            }
        }
    }

    /// Answers the next daemon, if there is one.
    pub(super) fn accept(&mut self) {
        // One that is gone again is nobody's loss.
        let accepted = self.listener.accept().and_then(|(stream, _)| Connection::new(stream));
        self.connection = accepted.ok();
    }

    /// Writes down what happened, and goes on to the next phase where it is time.
    fn settle(&mut self) {
        self.write_down();
        if matches!(self.phase, Phase::Running | Phase::Stopping { .. }) && self.exit.is_some() {
            self.input.end();
            let drained = Instant::now() + Duration::from_millis(self.limits.drain);
            self.phase = match self.phase {
                Phase::Stopping { force } => Phase::Draining { until: force.max(drained), asked: true },
                _ => Phase::Draining { until: drained, asked: false },
            };
        }
        if let Phase::Draining { until, asked } = self.phase {
            let silent = self.outputs.iter().all(|output| output.pipe.is_none());
            let late = Instant::now() >= until;
            // Where it was not asked, the rest of the tree has nothing to wait for.
            if !self.waits_for_disk() && (late || silent && (!asked || self.tree().found.is_empty())) {
                self.finish();
            }
        }
        if self.connection.is_none() && matches!(self.phase, Phase::Leaving { .. }) {
            // One that came in the last moment hears the end too.
            self.accept();
        }
    }

    fn is_done(&self) -> bool {
        let until = match self.phase {
            Phase::Leaving { until } => until,
            Phase::Left => return true,
            Phase::Running | Phase::Stopping { .. } | Phase::Draining { .. } => return false,
        };
        let heard = match &self.connection {
            Some(connection) => connection.is_attached() && !connection.has_news(&self.journal),
            None => true,
        };
        // Without its end the journal would say that this process was lost, and not why the agent has ended.
        !self.journal.is_stuck() && (heard || Instant::now() >= until)
    }

    fn deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Running | Phase::Left => None,
            Phase::Stopping { force } => Some(force),
            // What it has printed last is read when there is room for it.
            Phase::Draining { .. } if self.waits_for_disk() => None,
            Phase::Leaving { .. } if self.journal.is_stuck() => None,
            Phase::Draining { until, .. } | Phase::Leaving { until } => Some(until),
        };
        phase.into_iter().chain(self.full.as_ref().map(|full| full.retry)).min()
    }

    fn expire(&mut self, now: Instant) {
        if let Phase::Stopping { force } = self.phase
            && now >= force
        {
            self.note(What::Signalled { signal: "KILL".to_owned(), whom: Whom::Tree });
            let left = self.end_tree();
            if self.exit.is_none() {
                // The agent itself cannot be ended, and nothing but the record of that is left to do.
                self.give_reason(left.join(", "));
                self.finish();
            }
        }
        let Some(full) = &mut self.full else { return };
        if now < full.retry {
            return;
        }
        match self.journal.flush() {
            Ok(()) => {
                self.full = None;
                self.report(&Report::Trouble { text: "the journal can be written again".to_owned() });
                if let Phase::Leaving { until } = &mut self.phase {
                    *until = now + LAST_WORDS;
                    // What cannot be made to survive a loss of power is in the files all the same.
                    let _ = self.journal.sync();
                }
            }
            Err(error) => {
                full.retry = now + RETRY;
                full.error = sentence(&error);
                let reason = format!("its journal could not be written: {}", full.error);
                if !self.waits_for_disk() {
                    self.stop(reason);
                }
            }
        }
    }

    /// Whether the disk takes nothing, and there is still patience with it.
    fn waits_for_disk(&self) -> bool {
        self.full.as_ref().is_some_and(|full| full.since.elapsed() < Duration::from_millis(self.limits.full))
    }

    /// Reads a piece of output; false when there is none now.
    fn listen_to(&mut self, index: usize) -> bool {
        let mut chunk = [0; 16 << 10];
        let output = &mut self.outputs[index];
        let Some(pipe) = &output.pipe else { return false };
        let (journal, means) = (&mut self.journal, output.means);
        let mut result = Ok(());
        let mut take = |bytes: Vec<u8>, cut: bool| {
            if let Err(error) = journal.note(means(line(bytes, cut))) {
                result = Err(error);
            }
        };
        let went_on = match rustix::io::read(pipe, &mut chunk) {
            Ok(count) if count > 0 => {
                output.lines.push(&chunk[..count], &mut take);
                true
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => false,
            Ok(_) | Err(_) => {
                output.lines.finish(&mut take);
                output.pipe = None;
                false
            }
        };
        if let Err(error) = result {
            self.stuck(&error);
        }
        went_on
    }

    /// Asks the agent and its tree to end.
    fn stop(&mut self, reason: String) {
        match self.phase {
            Phase::Running => {
                self.give_reason(reason);
                self.note(What::Signalled { signal: "TERM".to_owned(), whom: Whom::Tree });
                tree::signal(&self.tree().found, Signal::TERM);
                self.phase = Phase::Stopping { force: Instant::now() + Duration::from_millis(self.limits.grace) };
            }
            // It has ended by itself, and only others hold its output.
            Phase::Draining { asked: false, .. } => {
                self.phase = Phase::Draining { until: Instant::now(), asked: false };
            }
            Phase::Stopping { .. } | Phase::Draining { .. } | Phase::Leaving { .. } | Phase::Left => {}
        }
    }

    fn give_reason(&mut self, reason: String) {
        if !reason.is_empty() {
            self.reason = Some(self.reason.take().map_or(reason.clone(), |before| format!("{before}; {reason}")));
        }
    }

    /// Ends what is left of the tree, and writes the journal's end.
    fn finish(&mut self) {
        let left = self.end_tree();
        self.give_reason(left.join(", "));
        for index in 0..self.outputs.len() {
            // What the dead have written is in the pipe, no more than that; a program that is kept may go on writing.
            let most = 256;
            let _ = (0..most).take_while(|_| self.full.is_none() && self.listen_to(index)).count();
            if let Some(output) = self.outputs[index].close() {
                self.note(output);
            }
        }
        let status = self.exit;
        self.note(What::Exited(Exit {
            code: status.and_then(WaitStatus::exit_status).map(i64::from),
            signal: status.and_then(WaitStatus::terminating_signal).map(signals::name),
            reason: self.reason.clone(),
        }));
        self.write_down();
        let _ = self.journal.sync();
        self.phase = Phase::Leaving { until: Instant::now() + LAST_WORDS };
        if let Some(text) = self.trouble() {
            self.report(&Report::Trouble { text });
        }
    }

    fn tree(&self) -> tree::Look {
        tree::descendants(&self.keep, self.exit.is_none().then_some(self.agent))
    }

    fn end_tree(&mut self) -> Vec<String> {
        tree::end(&mut || {
            self.reap();
            self.tree()
        })
    }

    fn reap(&mut self) {
        while let Some((pid, status)) = tree::reap() {
            if pid == self.agent {
                self.exit = Some(status);
            }
        }
    }

    fn fed(&mut self, fed: Fed) {
        match fed {
            Fed::Open => {}
            Fed::Closed => self.note(What::Closed {}),
            Fed::Broken { lines } => {
                self.note(What::Closed {});
                if lines > 0 {
                    let text = format!("the agent closed its standard input before it had read all ({lines} lines)");
                    self.report(&Report::Trouble { text });
                }
            }
        }
    }

    fn note(&mut self, what: What) {
        if let Err(error) = self.journal.note(what) {
            self.stuck(&error);
        }
    }

    /// Notes a signal. While the disk takes nothing, those that the daemon sends do not pile up.
    fn note_signal(&mut self, signal: String, whom: Whom) {
        if self.full.is_none() || self.journal.waiting() < MOST_WAITING {
            self.note(What::Signalled { signal, whom });
        }
    }

    fn write_down(&mut self) {
        if self.full.is_none()
            && let Err(error) = self.journal.flush()
        {
            self.stuck(&error);
        }
    }

    fn stuck(&mut self, error: &io::Error) {
        if self.full.is_none() {
            let now = Instant::now();
            self.full = Some(Full { since: now, retry: now + RETRY, error: sentence(error) });
            if let Some(text) = self.trouble() {
                self.report(&Report::Trouble { text });
            }
        }
    }

    /// Says what is wrong with the disk, if anything is.
    fn trouble(&self) -> Option<String> {
        let Full { error, .. } = self.full.as_ref()?;
        let follows = match self.phase {
            Phase::Running => "the agent waits, and is ended when this lasts",
            Phase::Stopping { .. } | Phase::Draining { .. } => "the agent is being ended",
            Phase::Leaving { .. } | Phase::Left => "the agent has ended, which is written when there is room",
        };
        Some(format!("the journal cannot be written: {error}; {follows}"))
    }

    fn report(&mut self, report: &Report) {
        if let Some(connection) = &mut self.connection {
            connection.report(report);
        }
    }
}

impl Output {
    fn new(pipe: OwnedFd, longest: usize, means: fn(Line) -> What) -> Output {
        Output { pipe: Some(pipe), lines: Splitter::new(longest), means }
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads no more, and returns the line that was under way.
    fn close(&mut self) -> Option<What> {
        self.pipe = None;
        let mut last = None;
        self.lines.finish(&mut |bytes, cut| last = Some((self.means)(line(bytes, cut))));
        last
    }
}

/// How long the daemon has to hear the journal's end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often a disk that takes nothing is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How many records may wait for a disk that takes nothing, before signals are not noted any more.
const MOST_WAITING: usize = 1024;
