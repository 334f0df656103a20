//! A script that runs: its processes, and its output on the way.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, WaitStatus};

use super::words::{self, Exit, Out, Reply, Script, Stream};
use crate::shim::child::{self, sentence};
use crate::shim::{signals, tree};

/// A script, from its start until nothing more comes from it.
pub(super) struct Run {
    id: String,
    pid: Pid,
    file: PathBuf,
    exit: Option<WaitStatus>,
    /// When its output is given up, when something else holds it open.
    drained: Option<Instant>,
    /// It was interrupted, and is ended by force then.
    force: Option<Instant>,
    forced: bool,
    /// What could not be ended.
    left: Vec<String>,
    pipes: [Option<OwnedFd>; 2],
    /// Output that may still grow before it is said, of one stream at a time.
    piece: Vec<u8>,
    stream: Stream,
    due: Option<Instant>,
    /// Bytes at the end of a stream's piece that are the beginning of a character.
    tails: [Vec<u8>; 2],
    /// How much more is read when it is late.
    rest: usize,
    keep: Vec<String>,
}

impl Run {
    /// Starts a script in the user's shell.
    pub(super) fn start(script: &Script, number: u64) -> Result<Run, String> {
        let directory = std::env::var_os(RUN_DIR).map_or_else(std::env::temp_dir, PathBuf::from);
        let file = directory.join(format!("script-{}-{number}", std::process::id()));
        let said = |error: io::Error| format!("cannot write {}: {}", file.display(), sentence(&error));
        let mut text = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file).map_err(said)?;
        let result = text.write_all(script.script.as_bytes()).map_err(said).and_then(|()| {
            let null = File::open("/dev/null").map_err(|error| format!("/dev/null: {}", sentence(&error)))?;
            let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
            let shell = shell.unwrap_or_else(|| OsString::from("/bin/sh"));
            child::spawn(&shell, &[file.clone().into_os_string()], null.into(), |command| {
                command.env_remove(RUN_DIR).env_remove(KEEP);
            })
        });
        let running = result.inspect_err(|_| drop(fs::remove_file(&file)))?;
        let keep = std::env::var(KEEP).unwrap_or_default();
        Ok(Run {
            id: script.id.clone(),
            pid: running.pid,
            file,
            exit: None,
            drained: None,
            force: None,
            forced: false,
            left: Vec::new(),
            pipes: [Some(running.stdout.into()), Some(running.stderr.into())],
            piece: Vec::new(),
            stream: Stream::Stdout,
            due: None,
            tails: [Vec::new(), Vec::new()],
            rest: PIPE,
            keep: keep.split(':').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        })
    }

    pub(super) fn pid(&self) -> i64 {
        i64::from(self.pid.as_raw_pid())
    }

    pub(super) fn outputs(&self) -> impl Iterator<Item = (Stream, BorrowedFd<'_>)> {
        let streams = [Stream::Stdout, Stream::Stderr].into_iter().zip(&self.pipes);
        streams.filter_map(|(stream, pipe)| Some((stream, pipe.as_ref()?.as_fd())))
    }

    /// Returns when it wants to be looked at without anything having happened. Without room for its output, the end of
    /// that is not waited for.
    pub(super) fn deadline(&self, room: bool) -> Option<Instant> {
        let drained = self.drained.filter(|_| room);
        let force = self.force.filter(|_| !self.forced);
        [drained, force, self.due].into_iter().flatten().min()
    }

    /// Asks it to end, with everything that it started.
    pub(super) fn interrupt(&mut self) {
        if self.force.is_none() {
            self.force = Some(Instant::now() + GRACE);
            tree::signal(&self.tree().found, Signal::TERM);
        }
    }

    /// Takes the exit of a child.
    pub(super) fn ended(&mut self, pid: Pid, status: WaitStatus) {
        if pid == self.pid {
            self.exit = Some(status);
            self.drained = Some(Instant::now() + DRAIN);
        }
    }

    /// Reads a piece of output, and says what has come together.
    pub(super) fn listen_to(&mut self, stream: Stream, out: &mut VecDeque<u8>) {
        if self.stream != stream {
            // So that what was printed first is said first.
            self.say_piece(out);
            self.stream = stream;
        }
        let Some(pipe) = &self.pipes[stream as usize] else { return };
        let mut chunk = [0; PIECE];
        let room = PIECE - self.piece.len();
        match rustix::io::read(pipe, &mut chunk[..room]) {
            Ok(count) if count > 0 => {
                if self.piece.is_empty() {
                    self.due = Some(Instant::now() + TOGETHER);
                    self.piece.append(&mut self.tails[stream as usize]);
                }
                self.piece.extend_from_slice(&chunk[..count]);
                if self.is_late() {
                    self.rest = self.rest.saturating_sub(count);
                }
                if self.piece.len() >= PIECE {
                    self.say_piece(out);
                }
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Ok(_) | Err(_) => {
                self.say_piece(out);
                self.say_tail(stream, out);
                self.pipes[stream as usize] = None;
            }
        }
    }

    /// Does what is due at `now`, and returns how the script ended when there is nothing more to come.
    pub(super) fn expire(&mut self, now: Instant, room: bool, out: &mut VecDeque<u8>) -> Option<Exit> {
        if self.due.is_some_and(|due| due <= now) {
            self.say_piece(out);
        }
        if !self.forced && self.force.is_some_and(|force| force <= now) {
            self.forced = true;
            self.left = self.end_tree();
        }
        let Some(exit) = self.exit else {
            // Not even force ends it; the reason says so.
            return self.forced.then(|| self.result(None));
        };
        // Where it was interrupted, the others of its tree have the rest of their grace.
        if self.force.is_some() && !self.forced {
            match self.tree().found.is_empty() {
                true => self.forced = true,
                false => return None,
            }
        }
        let silent = self.pipes.iter().all(Option::is_none);
        // When it is late, what is in the pipe is read, and no more.
        if !silent && !(room && self.is_late() && (self.rest == 0 || self.is_quiet())) {
            return None;
        }
        self.say_piece(out);
        self.say_tail(Stream::Stdout, out);
        self.say_tail(Stream::Stderr, out);
        Some(self.result(Some(exit)))
    }

    fn result(&self, exit: Option<WaitStatus>) -> Exit {
        Exit {
            code: exit.and_then(WaitStatus::exit_status).map(i64::from),
            signal: exit.and_then(WaitStatus::terminating_signal).map(signals::name),
            interrupted: self.force.is_some(),
            reason: Some(self.left.join(", ")).filter(|reason| !reason.is_empty()),
            ..Exit::of(self.id.clone())
        }
    }

    fn is_late(&self) -> bool {
        self.drained.is_some_and(|drained| drained <= Instant::now())
    }

    /// Whether nothing is in the pipes.
    fn is_quiet(&self) -> bool {
        !self.outputs().any(|(_, pipe)| rustix::io::ioctl_fionread(pipe).is_ok_and(|count| count > 0))
    }

    fn say_piece(&mut self, out: &mut VecDeque<u8>) {
        self.due = None;
        let mut piece = std::mem::take(&mut self.piece);
        if let Err(error) = std::str::from_utf8(&piece)
            && error.error_len().is_none()
        {
            self.tails[self.stream as usize] = piece.split_off(error.valid_up_to());
        }
        self.say(self.stream, piece, out);
    }

    /// Says what was taken for the beginning of a character, and was not.
    fn say_tail(&mut self, stream: Stream, out: &mut VecDeque<u8>) {
        let tail = std::mem::take(&mut self.tails[stream as usize]);
        self.say(stream, tail, out);
    }

    fn say(&self, stream: Stream, piece: Vec<u8>, out: &mut VecDeque<u8>) {
        if piece.is_empty() {
            return;
        }
        let (text, base64) = match String::from_utf8(piece) {
            Ok(text) => (Some(text), None),
            Err(error) => (None, Some(STANDARD.encode(error.as_bytes()))),
        };
        words::say(&Reply::Out(Out { id: self.id.clone(), stream, text, base64 }), out);
    }

    fn tree(&self) -> tree::Look {
        tree::descendants(&self.keep, self.exit.is_none().then_some(self.pid))
    }

    fn end_tree(&mut self) -> Vec<String> {
        tree::end(&mut || {
            while let Some((pid, status)) = tree::reap() {
                self.ended(pid, status);
            }
            self.tree()
        })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // It may have removed itself.
        let _ = fs::remove_file(&self.file);
    }
}

/// The variable that says where the files of this run are.
const RUN_DIR: &str = "PASEO_RUN_DIR";

/// The variable with the names of programs that an interrupt spares, with colons between them.
const KEEP: &str = "PASEO_KEEP";

/// How much output is said at once at most.
const PIECE: usize = 8 << 10;

/// How long the beginning of a piece waits for its rest.
const TOGETHER: Duration = Duration::from_millis(20);

/// How long after its end the output of a script is waited for, when something else holds it open.
const DRAIN: Duration = Duration::from_secs(1);

/// How long an interrupted script has until it is ended by force.
const GRACE: Duration = Duration::from_secs(2);

/// How much a pipe holds.
const PIPE: usize = 64 << 10;
