//! The runner itself: one thread around one `poll`, which runs one command after the other.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitStatus, getpid};

use super::log::{Log, Tail};
use super::{Answer, Ended, Failure, Order, Runner, State, words};
use crate::owner::now;
use crate::shim::child::{self, sentence};
use crate::shim::signals::{self, Bell};
use crate::shim::{MARKER, helper, journal, tree};
use crate::store;

/// Plays the runner until its hook has ended, and returns the exit code.
pub(crate) fn main() -> i32 {
    let hook = match Hook::start() {
        Ok(hook) => hook,
        Err(answer) => {
            helper::answer(&answer);
            return 1;
        }
    };
    helper::answer(&Answer::Running {});
    hook.serve()
}

/// A hook that runs.
struct Hook {
    order: Order,
    runner: Runner,
    log: Log,
    children: Bell,
    terminated: Bell,
    /// It was told to end, and waits for nothing but what it has begun.
    stopped: bool,
    /// When the commands have taken too long; never, where that is beyond what can be counted.
    late: Option<Instant>,
    /// What could not be ended.
    left: Vec<String>,
    /// Held for life: it says that this state file has a runner.
    _lock: File,
}

/// A command that runs, with all that it started.
struct Command {
    pid: Pid,
    exit: Option<WaitStatus>,
    /// None after its end.
    output: Option<OwnedFd>,
    /// What it printed last.
    last: Tail,
    phase: Phase,
}

#[derive(Clone, Copy)]
enum Phase {
    Running,
    /// It was asked to end, and will be forced to.
    Stopping {
        why: Why,
        force: Instant,
    },
    /// It has ended by itself. Its output is read to the end, unless something else holds it open.
    Draining {
        until: Instant,
    },
}

/// Why a hook does not come to its end by itself.
#[derive(Clone, Copy)]
enum Why {
    Late,
    Stopped,
}

impl Hook {
    /// Comes so far that the state file says that the hook runs.
    fn start() -> Result<Hook, Answer> {
        let failed = |message: String| Answer::Failed { message };
        let said = |error: io::Error| failed(sentence(&error));
        helper::detach().map_err(said)?;
        let order: Order = helper::order().map_err(failed)?;
        for path in [&order.cwd, &order.log, &order.state] {
            if !path.is_absolute() {
                return Err(failed(format!("{} is not an absolute path", path.display())));
            }
        }
        if !order.cwd.is_dir() {
            return Err(failed(format!("{}: no such directory", order.cwd.display())));
        }
        let children = Bell::on(&[Signal::CHILD]).map_err(said)?;
        let terminated = Bell::on(&[Signal::TERM]).map_err(said)?;
        // Beside the terminal's signals: a limit on the size of files is an error like a full disk.
        let deaf = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::XFSZ];
        signals::deafen(&deaf).map_err(said)?;
        let at_state = |error: io::Error| failed(format!("{}: {}", order.state.display(), sentence(&error)));
        let lock = order.state.with_extension("lock");
        let lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(lock);
        let lock = lock.map_err(at_state)?;
        if !journal::locked(&lock).map_err(at_state)? {
            return Err(Answer::Busy {});
        }
        let pid = i64::from(getpid().as_raw_pid());
        let runner = Runner {
            pid,
            start_time: tree::start_time(pid).unwrap_or_default(),
            started_at: now(),
            marker: order.marker.clone(),
            keep: order.keep.clone(),
        };
        store::replace(&order.state, &State::Running(runner.clone())).map_err(at_state)?;
        // The directory that the daemon was in may be unmounted.
        let _ = std::env::set_current_dir("/");
        let timeout = u64::try_from(order.timeout.milliseconds).unwrap_or_default();
        Ok(Hook {
            log: Log::create(&order.log),
            order,
            runner,
            children,
            terminated,
            stopped: false,
            late: Instant::now().checked_add(Duration::from_millis(timeout)),
            left: Vec::new(),
            _lock: lock,
        })
    }

    /// Runs the commands, writes how that went, and returns the exit code.
    fn serve(mut self) -> i32 {
        let commands = std::mem::take(&mut self.order.commands);
        let failure = commands.iter().find_map(|command| self.run(command).err());
        let trouble = self.log.finish().map(|error| format!("its log could not be written: {error}"));
        let trouble: Vec<String> = trouble.into_iter().chain(self.left.drain(..)).collect();
        let ended = Ended {
            started_at: self.runner.started_at,
            ended_at: now(),
            failure,
            trouble: Some(trouble.join("; ")).filter(|trouble| !trouble.is_empty()),
        };
        match self.write(&State::Ended(ended)) {
            true => 0,
            false => 1,
        }
    }

    /// Writes the state when the disk has room for it; false when it has none for too long, or nobody shall wait for it.
    fn write(&mut self, state: &State) -> bool {
        let give_up = Instant::now() + FULL;
        while store::replace(&self.order.state, state).is_err() {
            let now = Instant::now();
            if now >= give_up || self.is_stopped() {
                return false;
            }
            let retry = Timespec::try_from(RETRY.min(give_up - now)).unwrap_or_default();
            // A signal that interrupts it makes the next attempt come earlier.
            let _ = poll(&mut [PollFd::new(&self.terminated, PollFlags::IN)], Some(&retry));
        }
        true
    }

    /// Runs a command until nothing is left of it.
    fn run(&mut self, line: &str) -> Result<(), Failure> {
        let failure = |message| Failure { message, command: Some(line.to_owned()), exit_code: None, signal: None };
        let name = words::called(line);
        if self.is_stopped() {
            return Err(failure(self.ended_by(Why::Stopped, &format!("before {name} ran"))));
        }
        if self.is_late() {
            return Err(failure(self.ended_by(Why::Late, &format!("before {name} ran"))));
        }
        self.log.begin(line);
        let mut command = match self.start_command(line) {
            Ok(command) => command,
            Err(reason) => return Err(failure(format!("{name} could not be run: {reason}"))),
        };
        while !self.is_over(&command) {
            self.wait(&command);
            self.attend(&mut command);
        }
        self.finish(&mut command);
        let (_, last) = command.last.take();
        let code = command.exit.and_then(WaitStatus::exit_status);
        let signal = command.exit.and_then(WaitStatus::terminating_signal).map(signals::name);
        let sentence = match (command.phase, code, &signal) {
            (Phase::Stopping { why, .. }, ..) => self.ended_by(why, &format!("while {name} ran")),
            (_, Some(0), _) => return Ok(()),
            (_, Some(code), _) => format!("{name} failed with exit code {code}"),
            (_, None, Some(signal)) => format!("{name} was ended by SIG{signal}"),
            (_, None, None) => format!("nobody knows how {name} ended"),
        };
        let message = words::with_last_lines(sentence, &last);
        Err(Failure { exit_code: code.map(i64::from), signal, ..failure(message) })
    }

    fn ended_by(&self, why: Why, when: &str) -> String {
        match why {
            Why::Stopped => format!("it was stopped {when}"),
            Why::Late => format!("it took longer than {} and was stopped {when}", self.order.timeout),
        }
    }

    fn is_stopped(&mut self) -> bool {
        self.stopped |= self.terminated.rang();
        self.stopped
    }

    fn is_late(&self) -> bool {
        self.late.is_some_and(|late| late <= Instant::now())
    }

    fn start_command(&self, line: &str) -> Result<Command, String> {
        let null = File::open("/dev/null").map_err(|error| format!("/dev/null: {}", sentence(&error)))?;
        let shell = self.order.env.get("SHELL").filter(|shell| !shell.is_empty());
        let shell = shell.map_or("/bin/sh", String::as_str);
        let args = [OsString::from("-c"), OsString::from(line)];
        let (pid, output) = child::spawn_merged(OsStr::new(shell), &args, null.into(), |command| {
            command.env_clear().envs(&self.order.env);
            command.env(MARKER, &self.order.marker).current_dir(&self.order.cwd);
        })?;
        Ok(Command { pid, exit: None, output: Some(output), last: Tail::new(LAST), phase: Phase::Running })
    }

    /// Waits until something can be done, or a deadline passes.
    fn wait(&self, command: &Command) {
        let mut polled = vec![PollFd::new(&self.children, PollFlags::IN), PollFd::new(&self.terminated, PollFlags::IN)];
        polled.extend(command.output.as_ref().map(|output| PollFd::new(output, PollFlags::IN)));
        let deadline = match command.phase {
            Phase::Running => self.late,
            Phase::Stopping { force: deadline, .. } | Phase::Draining { until: deadline } => Some(deadline),
        };
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        // Interrupted by a signal: its bell says so at the next look.
        let _ = poll(&mut polled, left.as_ref());
    }

    /// Takes what has come, be it nothing.
    fn attend(&mut self, command: &mut Command) {
        command.read(&mut self.log);
        if self.children.rang() {
            command.reap();
        }
        if self.is_stopped() {
            self.stop(command, Why::Stopped);
        }
        match command.phase {
            Phase::Running if command.exit.is_some() => {
                command.phase = Phase::Draining { until: Instant::now() + DRAIN };
            }
            Phase::Running if self.is_late() => self.stop(command, Why::Late),
            _ => {}
        }
    }

    /// Asks a command to end, with everything that it started.
    fn stop(&self, command: &mut Command, why: Why) {
        if !matches!(command.phase, Phase::Stopping { .. }) {
            command.phase = Phase::Stopping { why, force: Instant::now() + GRACE };
            tree::signal(&command.tree(&self.order.keep).found, Signal::TERM);
        }
    }

    fn is_over(&self, command: &Command) -> bool {
        match command.phase {
            Phase::Running => false,
            Phase::Stopping { force, .. } => {
                let ended = command.exit.is_some() && command.tree(&self.order.keep).found.is_empty();
                ended || Instant::now() >= force
            }
            // It was not asked, so the rest of its tree has nothing to wait for.
            Phase::Draining { until } => command.output.is_none() || Instant::now() >= until,
        }
    }

    /// Ends what is left of a command.
    fn finish(&mut self, command: &mut Command) {
        let left = tree::end(&mut || {
            command.reap();
            command.tree(&self.order.keep)
        });
        self.left.extend(left);
        // What the dead have printed is in the pipe, no more than that; a program that is kept may go on printing.
        let _ = (0..MOST_READ).take_while(|_| command.read(&mut self.log)).count();
    }
}

impl Command {
    /// Reads a piece of output; false when there is none now.
    fn read(&mut self, log: &mut Log) -> bool {
        let Some(output) = &self.output else { return false };
        let mut chunk = [0; 16 << 10];
        match rustix::io::read(output.as_fd(), &mut chunk) {
            Ok(count) if count > 0 => {
                log.push(&chunk[..count]);
                self.last.push(&chunk[..count]);
                true
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => false,
            Ok(_) | Err(_) => {
                self.output = None;
                false
            }
        }
    }

    fn reap(&mut self) {
        while let Some((pid, status)) = tree::reap() {
            if pid == self.pid {
                self.exit = Some(status);
            }
        }
    }

    fn tree(&self, keep: &[String]) -> tree::Look {
        tree::descendants(keep, self.exit.is_none().then_some(self.pid))
    }
}

/// How long after its end the output of a command is waited for, when something else holds it open.
const DRAIN: Duration = Duration::from_secs(1);

/// How long a command that was asked to end has until it is ended by force.
const GRACE: Duration = Duration::from_secs(2);

/// How many pieces are read of a command that is over.
const MOST_READ: usize = 256;

/// How much of the end of a command's output is looked at for its last lines, in bytes.
const LAST: usize = 4 << 10;

/// How long the disk may have no room for the state of a hook that has ended.
const FULL: Duration = Duration::from_secs(60);

/// How often a disk that takes nothing is tried again.
const RETRY: Duration = Duration::from_secs(1);
