//! The journal of a run, as files: `journal-000001.ndjson` and so on, one record a line, numbered from 1 without gaps.
//!
//! Only the shim of the run writes it. A line without its end was being written when the shim was killed; nobody has
//! heard of it, and readers pass over it.

mod write;

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use paseo_sdk::provider::{Exit, Record, What};
use rustix::fs::{FlockOperation, flock};

use super::{Ready, SHIM_FILE};

pub(crate) use write::{Cursor, Journal};

/// Reads a run's journal from the first record of its newest segment: what a session needs to know all of it.
///
/// # Errors
///
/// When there is no journal, or it cannot be read.
pub fn read(run_dir: &Path) -> io::Result<Records> {
    let segments = segments(run_dir)?;
    let newest = segments.last().copied().ok_or_else(|| no_journal(run_dir))?;
    Records::open(run_dir, newest, segments)
}

/// Reads a run's journal from the first record after `after` that it still holds.
///
/// # Errors
///
/// When there is no journal, or it cannot be read.
pub fn read_after(run_dir: &Path, after: i64) -> io::Result<Records> {
    let segments = segments(run_dir)?;
    let mut start = *segments.first().ok_or_else(|| no_journal(run_dir))?;
    for number in &segments {
        let first = Records::open(run_dir, *number, Vec::new())?.next();
        if matches!(first, Some(Ok(record)) if record.seq <= after + 1) {
            start = *number;
        }
    }
    Ok(Records { after, ..Records::open(run_dir, start, segments)? })
}

/// Opens the newest segment of a run's journal, to look at it and to bring it to the disk.
///
/// # Errors
///
/// When there is no journal.
pub fn newest_segment(run_dir: &Path) -> io::Result<File> {
    let newest = segments(run_dir)?.last().copied().ok_or_else(|| no_journal(run_dir))?;
    File::open(run_dir.join(file_name(newest)))
}

/// Returns whether the shim of this run lives, by the lock that it holds, whatever became of its pid or its socket.
///
/// # Errors
///
/// When that cannot be found out.
pub fn is_served(run_dir: &Path) -> io::Result<bool> {
    match OpenOptions::new().read(true).open(run_dir.join(SHIM_FILE)) {
        Ok(file) => Ok(!locked(&file)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads which processes a run was started with; none when its shim never came so far.
///
/// # Errors
///
/// When that cannot be read.
pub fn processes(run_dir: &Path) -> io::Result<Option<Ready>> {
    match std::fs::read(run_dir.join(SHIM_FILE)) {
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the end of a journal whose shim was killed, and returns it; the end that is there already, where there is one.
///
/// What the shim had begun to write and could not finish is taken away.
///
/// # Errors
///
/// When the shim lives, or the journal cannot be written.
pub fn finish_lost(run_dir: &Path, reason: &str) -> io::Result<Record> {
    let path = run_dir.join(SHIM_FILE);
    let lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if !locked(&lock)? {
        let text = format!("the shim of {} is still running", run_dir.display());
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
    }
    let (mut number, mut length, mut last) = (1, 0, 0);
    // All of it, as the newest segment may hold nothing that can be read.
    match read_after(run_dir, 0) {
        Ok(mut records) => {
            loop {
                let piece = records.piece(PIECE)?;
                if piece.is_empty() {
                    break;
                }
                for record in piece {
                    match record {
                        Ok(record @ Record { what: What::Exited(_), .. }) => return Ok(record),
                        Ok(record) => last = last.max(record.seq),
                        // A line that is whole and no record is damage that is not ours to mend. It was one once.
                        Err(_) => last = last.saturating_add(1),
                    }
                }
            }
            (number, length) = (records.number, records.read);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let exit = Exit { code: None, signal: None, reason: Some(reason.to_owned()) };
    let record = Record { seq: last + 1, at: now(), what: What::Exited(exit) };
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(run_dir.join(file_name(number)))?;
    file.set_len(length)?;
    let mut line = serde_json::to_vec(&record)?;
    line.push(b'\n');
    file.write_all(&line)?;
    file.sync_all()?;
    Ok(record)
}

/// The records of a journal, in order. A line that is no record is an error, and reading goes on behind it.
pub struct Records {
    run_dir: PathBuf,
    file: BufReader<File>,
    number: u32,
    /// The segments of the journal, those already read included.
    segments: Vec<u32>,
    /// Records up to this one are passed over.
    after: i64,
    /// Bytes of whole lines read from this segment.
    read: u64,
    line: Vec<u8>,
}

impl Records {
    fn open(run_dir: &Path, number: u32, segments: Vec<u32>) -> io::Result<Records> {
        let file = BufReader::new(File::open(run_dir.join(file_name(number)))?);
        Ok(Records { run_dir: run_dir.to_owned(), file, number, segments, after: 0, read: 0, line: Vec::new() })
    }

    /// Reads records of about so many bytes together, none at the end. A line that is no record is a sentence that says
    /// where it is.
    ///
    /// # Errors
    ///
    /// When the files cannot be read.
    pub fn piece(&mut self, bytes: u64) -> io::Result<Vec<Result<Record, String>>> {
        let (mut piece, mut left) = (Vec::new(), bytes);
        while left > 0
            && let Some(record) = self.next()
        {
            piece.push(match record {
                Ok(record) => Ok(record),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(error.to_string()),
                Err(error) => return Err(error),
            });
            left = left.saturating_sub(self.line.len() as u64);
        }
        Ok(piece)
    }
}

impl Iterator for Records {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<io::Result<Record>> {
        loop {
            self.line.clear();
            if let Err(error) = self.file.read_until(b'\n', &mut self.line) {
                return Some(Err(error));
            }
            if self.line.last() == Some(&b'\n') {
                self.read += self.line.len() as u64;
                match serde_json::from_slice::<Record>(&self.line) {
                    Ok(record) if record.seq <= self.after => continue,
                    Ok(record) => return Some(Ok(record)),
                    Err(error) => {
                        let start = self.read - self.line.len() as u64;
                        let text = format!("{}, byte {start}: not a record: {error}", file_name(self.number));
                        return Some(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                    }
                }
            }
            let next = *self.segments.iter().find(|number| **number > self.number)?;
            let segments = std::mem::take(&mut self.segments);
            match Records::open(&self.run_dir, next, segments) {
                Ok(records) => *self = Records { after: self.after, ..records },
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Returns the numbers of the segments that are there, in order.
fn segments(run_dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(run_dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("journal-")?.strip_suffix(".ndjson"));
        numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn file_name(number: u32) -> String {
    format!("journal-{number:06}.ndjson")
}

/// The segment with which a run begins.
pub(crate) const FIRST_FILE: &str = "journal-000001.ndjson";

fn no_journal(run_dir: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no journal in {}", run_dir.display()))
}

/// Takes the lock that a shim holds for as long as it lives; false when somebody has it.
pub(crate) fn locked(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// How much of a journal is held at once, in bytes, beside one record.
pub(crate) const PIECE: u64 = 256 * 1024;
