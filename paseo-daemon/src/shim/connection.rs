//! The shim's end of the connection to a daemon.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::PollFlags;

use super::journal::{Cursor, Journal};
use super::lines::Splitter;
use super::{Report, Word};

/// One connection. Records are read from the journal's files when there is room for them, so a daemon that does not
/// listen costs nothing.
pub(crate) struct Connection {
    stream: UnixStream,
    incoming: Splitter,
    /// What is said between records.
    reports: VecDeque<Vec<u8>>,
    cursor: Option<Cursor>,
    /// Bytes on their way, and how many of them are sent.
    out: Vec<u8>,
    sent: usize,
    /// The daemon no longer listens; what it said before is still read.
    deaf: bool,
}

/// What a daemon said.
pub(crate) enum Heard {
    /// A word.
    Word(Word),
    /// Something else, with what is wrong with it.
    Unknown(String),
}

impl Connection {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        let incoming = Splitter::new(LONGEST_WORD);
        let (reports, out) = (VecDeque::new(), Vec::new());
        Ok(Connection { stream, incoming, reports, cursor: None, out, sent: 0, deaf: false })
    }

    /// Says something as soon as the record under way is out.
    pub(crate) fn report(&mut self, report: &Report) {
        if let Ok(mut line) = serde_json::to_vec(report)
            && !self.deaf
        {
            line.push(b'\n');
            self.reports.push_back(line);
        }
    }

    /// Sends records from this place on.
    pub(crate) fn follow(&mut self, cursor: Cursor) {
        self.cursor = Some(cursor);
    }

    /// Returns what to wait for.
    pub(crate) fn interest(&self, journal: &Journal) -> PollFlags {
        let mut flags = PollFlags::empty();
        // Whoever does not listen to answers is not asked for more words.
        flags.set(PollFlags::IN, self.reports.len() < MOST_REPORTS);
        flags.set(PollFlags::OUT, self.has_news(journal));
        flags
    }

    /// Returns whether there is something left to send.
    pub(crate) fn has_news(&self, journal: &Journal) -> bool {
        let behind = self.cursor.as_ref().is_some_and(|cursor| cursor.is_behind(journal));
        !self.deaf && (self.sent < self.out.len() || !self.reports.is_empty() || behind)
    }

    /// Returns whether the daemon has asked for records.
    pub(crate) fn is_attached(&self) -> bool {
        self.cursor.is_some()
    }

    /// Reads what has arrived; false at the end of the connection. A word that was cut short by it is passed over.
    pub(crate) fn receive(&mut self, take: &mut dyn FnMut(Heard)) -> bool {
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(count) => {
                self.incoming.push(&chunk[..count], &mut |line, cut| take(understand(&line, cut)));
                true
            }
            Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }

    /// Sends what there is, as far as there is room.
    pub(crate) fn send(&mut self, journal: &Journal) {
        for _ in 0..MOST_AT_ONCE {
            if self.sent == self.out.len() && !self.refill(journal) {
                return;
            }
            match self.stream.write(&self.out[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return,
                Err(_) => return self.give_up(),
            }
        }
    }

    fn refill(&mut self, journal: &Journal) -> bool {
        let between = self.out.last().is_none_or(|byte| *byte == b'\n');
        if between && let Some(report) = self.reports.pop_front() {
            self.out = report;
            self.sent = 0;
            return true;
        }
        if let Some(cursor) = &mut self.cursor {
            let mut next = std::mem::take(&mut self.out);
            let last = next.last().copied();
            next.clear();
            if cursor.read(journal, &mut next).is_err() {
                // The place is gone: so far behind that the segment was put away. The daemon attaches again.
                self.give_up();
                return false;
            }
            if next.is_empty() {
                // The end of what was sent last still counts.
                next.extend(last);
                self.sent = next.len();
                self.out = next;
                return false;
            }
            self.out = next;
            self.sent = 0;
            return true;
        }
        false
    }

    fn give_up(&mut self) {
        self.deaf = true;
        self.cursor = None;
        self.reports.clear();
        self.out = Vec::new();
        self.sent = 0;
        // So that the daemon sees the end, and what it has said is still read.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn understand(line: &[u8], cut: bool) -> Heard {
    if cut {
        return Heard::Unknown("a word was too long and was passed over".to_owned());
    }
    match serde_json::from_slice(line) {
        Ok(word) => Heard::Word(word),
        Err(error) => {
            let shown: String = String::from_utf8_lossy(line).chars().take(80).collect();
            Heard::Unknown(format!("this shim does not understand `{shown}`: {error}"))
        }
    }
}

/// The longest word, as JSON: twice the most that may wait for an agent, for what is escaped.
pub(crate) const LONGEST_WORD: usize = 128 << 20;

/// How many reports may wait before no more words are read.
const MOST_REPORTS: usize = 1024;

/// How many pieces are sent before others have their turn.
const MOST_AT_ONCE: usize = 4;
