//! A hook's log: the beginning and the end of what its commands print, each of a size that has a bound.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::shim::child::sentence;

/// A log that is written: its beginning at once, its end when everything else is over.
///
/// When it cannot be written, what was to be written is passed over, and the trouble remembered.
pub(super) struct Log {
    file: Option<File>,
    /// How much more of the beginning is written.
    room: usize,
    tail: Tail,
    /// Whether the next byte begins a line, in all that was said and in the file.
    fresh: bool,
    fresh_in_file: bool,
    trouble: Option<String>,
}

impl Log {
    /// Replaces the log at `path`.
    pub(super) fn create(path: &Path) -> Log {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        let trouble = file.as_ref().err().map(sentence);
        let room = if file.is_ok() { HEAD } else { 0 };
        Log { file: file.ok(), room, tail: Tail::new(TAIL), fresh: true, fresh_in_file: true, trouble }
    }

    /// Says which command is next, on a line of its own.
    pub(super) fn begin(&mut self, command: &str) {
        let line_end = if self.fresh { "" } else { "\n" };
        self.push(format!("{line_end}$ {command}\n").as_bytes());
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let written = self.write(&bytes[..bytes.len().min(self.room)]);
        self.room -= written;
        self.tail.push(&bytes[written..]);
        if self.trouble.is_some() {
            // What comes later would hide that something is missing before it.
            self.room = 0;
        }
        self.fresh = bytes.last().map_or(self.fresh, |last| *last == b'\n');
    }

    /// Writes the end, and returns what was wrong, if anything was.
    pub(super) fn finish(&mut self) -> Option<String> {
        let (left_out, tail) = self.tail.take();
        if left_out > 0 {
            let line_end = if self.fresh_in_file { "" } else { "\n" };
            self.write(format!("{line_end}[{left_out} bytes are left out here]\n").as_bytes());
        }
        self.write(&tail);
        self.trouble.take()
    }

    /// Writes what the disk takes, and returns how much that was.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let Some(file) = &mut self.file else { return 0 };
        let mut written = 0;
        while written < bytes.len() {
            let error = match file.write(&bytes[written..]) {
                Ok(count) if count > 0 => {
                    written += count;
                    continue;
                }
                Ok(_) => io::ErrorKind::WriteZero.into(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            self.trouble.get_or_insert_with(|| sentence(&error));
            break;
        }
        self.fresh_in_file = written.checked_sub(1).map_or(self.fresh_in_file, |last| bytes[last] == b'\n');
        written
    }
}

/// The last bytes of many.
pub(super) struct Tail {
    bytes: VecDeque<u8>,
    most: usize,
    left_out: u64,
}

impl Tail {
    pub(super) fn new(most: usize) -> Tail {
        Tail { bytes: VecDeque::new(), most, left_out: 0 }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let over = self.bytes.len().saturating_sub(self.most);
        self.bytes.drain(..over);
        self.left_out += over as u64;
    }

    /// Returns how many came before, and the last ones.
    pub(super) fn take(&mut self) -> (u64, Vec<u8>) {
        (std::mem::take(&mut self.left_out), std::mem::take(&mut self.bytes).into())
    }
}

/// How much of the beginning is kept, in bytes.
const HEAD: usize = 1 << 20;

/// How much of the end is kept, in bytes.
const TAIL: usize = 64 << 10;
