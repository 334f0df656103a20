//! Files that lose nothing: one JSON file per thing, replaced as a whole, and logs that are only appended to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use paseo_sdk::model::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fault::{Point, reached};

/// Replaces a file by `value` as JSON: after a crash it is the old one or the new one, never half of one.
///
/// # Errors
///
/// When the directory cannot be written to; the old file is as it was.
pub fn replace(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    replace_bytes(path, &bytes)
}

/// Replaces a file by `bytes`, readable by its owner only.
///
/// # Errors
///
/// When the directory cannot be written to; the old file is as it was.
pub fn replace_bytes(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().ok_or_else(|| io::Error::other("a file has a directory"))?;
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| {
        reached(Point::FileWritten);
        fs::rename(&temporary, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    reached(Point::FileRenamed);
    File::open(parent)?.sync_all()
}

/// Removes a file; that it is not there is no error.
///
/// # Errors
///
/// When it cannot be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed?,
    }
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Reads a JSON file; none when it is not there.
///
/// # Errors
///
/// When it cannot be read, or is not what it should be.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Moves a file that cannot be understood out of the way, as `<name>.damaged-<time>`, and returns where it is now.
///
/// # Errors
///
/// When it cannot be renamed.
pub fn set_aside(path: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let aside = damaged(path, now);
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// Refuses a file that belongs to somebody else: what stands in it is not what this user's daemon wrote.
///
/// # Errors
///
/// `InvalidData` when it does, or when the file cannot be looked at.
pub fn check_owner(path: &Path) -> io::Result<()> {
    let owner = match fs::symlink_metadata(path) {
        Ok(found) => found.uid(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    match owner == rustix::process::geteuid().as_raw() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, format!("it belongs to user {owner}"))),
    }
}

/// Where a file or a part of it goes that cannot be understood: nothing is there yet.
fn damaged(path: &Path, now: Timestamp) -> PathBuf {
    let name = |number: i64| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{}", now.0.saturating_add(number)));
        PathBuf::from(name)
    };
    (0..).map(name).find(|name| !name.exists()).unwrap_or_else(|| name(0))
}

/// A log: lines of JSON, appended and never changed.
pub struct Log {
    path: PathBuf,
    file: File,
    /// Where the next line begins.
    end: u64,
    /// Whether a failed write may have left something behind it, which is cut off before the next attempt.
    torn: bool,
}

impl Log {
    /// Opens a log, and makes it when it is not there. What follows the last line that `is_whole` accepts, such as the
    /// line without an end or the zeros that a loss of power may leave, is moved to `<name>.damaged-<time>`, which is
    /// returned too.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or mended.
    pub fn open(path: &Path, now: Timestamp, is_whole: impl Fn(&str) -> bool) -> io::Result<(Log, Option<PathBuf>)> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        let mut end = length;
        let mut lines = Backwards::new(&file, length);
        while let Some(line) = lines.next()? {
            let whole = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok());
            if whole.is_some_and(&is_whole) {
                break;
            }
            end -= line.len() as u64;
        }
        let mut aside = None;
        if end < length {
            let path = damaged(path, now);
            // A daemon that died before it could cut off what it had copied copies it again.
            let mut copy = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            let mut reader = &file;
            reader.seek(SeekFrom::Start(end))?;
            io::copy(&mut reader.take(length - end), &mut copy)?;
            copy.sync_all()?;
            reached(Point::DamageCopied);
            file.set_len(end)?;
            aside = Some(path);
        }
        Ok((Log { path: path.to_owned(), file, end, torn: false }, aside))
    }

    /// Appends one line.
    ///
    /// # Errors
    ///
    /// When it cannot be written; it may be tried again, and is then written once.
    pub fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let mut whole = Vec::with_capacity(line.len() + 1);
        whole.extend_from_slice(line);
        whole.push(b'\n');
        if self.torn {
            self.file.set_len(self.end)?;
        }
        self.torn = true;
        self.file.write_all(&whole)?;
        self.torn = false;
        self.end += whole.len() as u64;
        Ok(())
    }

    /// Returns when everything that was appended is on the disk.
    ///
    /// # Errors
    ///
    /// When the disk says so.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Copies the whole log to `<name>.damaged-<time>`, which is returned.
    ///
    /// # Errors
    ///
    /// When that cannot be written.
    pub fn copy_aside(&self, now: Timestamp) -> io::Result<PathBuf> {
        let aside = damaged(&self.path, now);
        fs::copy(&self.path, &aside)?;
        File::open(&aside)?.sync_all()?;
        Ok(aside)
    }

    /// Replaces the whole log by `lines`.
    ///
    /// # Errors
    ///
    /// When that cannot be written; the log is then as it was.
    pub fn rewrite(&mut self, lines: &[Vec<u8>]) -> io::Result<()> {
        let mut bytes = lines.join(&b'\n');
        if !bytes.is_empty() {
            bytes.push(b'\n');
        }
        replace_bytes(&self.path, &bytes)?;
        self.file = OpenOptions::new().read(true).append(true).open(&self.path)?;
        self.end = bytes.len() as u64;
        self.torn = false;
        Ok(())
    }
}

/// Reads every line of a log, and how many could not be read as what they should be.
///
/// # Errors
///
/// When the file cannot be read.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> io::Result<(Vec<T>, usize)> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(error) => return Err(error),
    };
    let (mut lines, mut unread) = (Vec::new(), 0);
    for line in BufReader::new(file).split(b'\n') {
        match serde_json::from_slice(&line?) {
            Ok(line) => lines.push(line),
            Err(_) => unread += 1,
        }
    }
    Ok((lines, unread))
}

/// A page of a numbered log: its lines as they are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The lines, in order.
    pub lines: Vec<String>,
    /// Whether there are more in the direction that was read.
    pub more: bool,
}

/// A log whose lines carry a `seq` that grows, read by number without an index: the place is found by bisection. Lines
/// without one are damage, and passed over.
pub struct Numbered {
    file: File,
    /// The end of the last whole line.
    end: u64,
}

impl Numbered {
    /// Opens a log for reading, as it is now; none when it is not there.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn open(path: &Path) -> io::Result<Option<Numbered>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        let end = line_start(&file, length)?;
        Ok(Some(Numbered { file, end }))
    }

    /// Reads lines whose number is greater than `after`, at most `limit` of those that `keep` wants.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn after(&self, after: i64, limit: usize, keep: impl Fn(&str) -> bool) -> io::Result<Page> {
        let start = self.first_above(after)?;
        let mut file = &self.file;
        file.seek(SeekFrom::Start(start))?;
        let mut lines = BufReader::with_capacity(LARGEST_PIECE, file.take(self.end - start));
        let mut filling = Filling { page: Page::default(), bytes: 0, limit };
        let mut line = Vec::new();
        loop {
            line.clear();
            if lines.read_until(b'\n', &mut line)? == 0 || !filling.take(&line, &keep) {
                return Ok(filling.page);
            }
        }
    }

    /// Reads the last lines whose number is smaller than `before`, at most `limit` of those that `keep` wants.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn before(&self, before: i64, limit: usize, keep: impl Fn(&str) -> bool) -> io::Result<Page> {
        let end = match before {
            i64::MAX => self.end,
            _ => self.first_above(before.saturating_sub(1))?,
        };
        let mut lines = Backwards::new(&self.file, end);
        let mut filling = Filling { page: Page::default(), bytes: 0, limit };
        while let Some(line) = lines.next()? {
            if !filling.take(line, &keep) {
                break;
            }
        }
        filling.page.lines.reverse();
        Ok(filling.page)
    }

    /// Returns where the first line begins whose number is greater than `number`.
    fn first_above(&self, number: i64) -> io::Result<u64> {
        let (mut low, mut high) = (0, self.end);
        while low < high {
            let middle = line_start(&self.file, low + (high - low) / 2)?;
            match self.numbered(middle, high)? {
                Some((found, end)) if found <= number => low = end,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// Returns the number of the first line from `start` on that has one, and where it ends. Damage has none.
    fn numbered(&self, mut start: u64, end: u64) -> io::Result<Option<(i64, u64)>> {
        while start < end {
            let next = self.next_line(start)?;
            if let Some(number) = self.number(start, next)? {
                return Ok(Some((number, next)));
            }
            start = next;
        }
        Ok(None)
    }

    fn next_line(&self, start: u64) -> io::Result<u64> {
        let mut at = start;
        let mut chunk = [0; 4096];
        while at < self.end {
            let read = self.file.read_at(&mut chunk, at)?;
            if read == 0 {
                break;
            }
            if let Some(found) = chunk[..read].iter().position(|byte| *byte == b'\n') {
                return Ok(at + found as u64 + 1);
            }
            at += read as u64;
        }
        Ok(self.end)
    }

    /// Reads the number at the beginning of a line.
    fn number(&self, start: u64, end: u64) -> io::Result<Option<i64>> {
        let mut head = [0; 40];
        let wanted = head.len().min(usize::try_from(end - start).unwrap_or(usize::MAX));
        self.file.read_exact_at(&mut head[..wanted], start)?;
        Ok(number(&head[..wanted]))
    }
}

/// Reads the number that a line begins with: our entries are written with `seq` first.
pub(crate) fn number(line: &[u8]) -> Option<i64> {
    let digits = line.strip_prefix(br#"{"seq":"#)?;
    let length = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..length]).ok()?.parse().ok()
}

/// A page to which lines are added as they are read.
struct Filling {
    page: Page,
    bytes: usize,
    limit: usize,
}

impl Filling {
    /// Takes a line when `keep` wants it; false when the page is full, and there is one more.
    fn take(&mut self, line: &[u8], keep: impl Fn(&str) -> bool) -> bool {
        let line = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line));
        if number(line.as_bytes()).is_none() || !keep(&line) {
            return true;
        }
        if self.page.lines.len() >= self.limit || self.bytes > PAGE_BYTES {
            self.page.more = true;
            return false;
        }
        self.bytes += line.len();
        self.page.lines.push(line.into_owned());
        true
    }
}

/// The lines of a file, the last one first.
struct Backwards<'a> {
    file: &'a File,
    /// Where `piece` begins in the file.
    start: u64,
    piece: Vec<u8>,
    /// How much of `piece` was not returned yet.
    left: usize,
    /// How much is read next: little where a line is wanted, much where a log is looked through.
    next: usize,
}

impl Backwards<'_> {
    /// Begins with the line that ends at `end`.
    fn new(file: &File, end: u64) -> Backwards<'_> {
        Backwards { file, start: end, piece: Vec::new(), left: 0, next: SMALLEST_PIECE }
    }

    /// Returns the line before the one that was returned last, with its end.
    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let begin = loop {
            // The last byte is the end of the line that is looked for.
            let before = &self.piece[..self.left.saturating_sub(1)];
            match before.iter().rposition(|byte| *byte == b'\n') {
                Some(found) => break found + 1,
                None if self.start == 0 => break 0,
                None => self.read()?,
            }
        };
        let end = std::mem::replace(&mut self.left, begin);
        Ok((begin < end).then(|| &self.piece[begin..end]))
    }

    /// Puts the piece of the file that is before this one before what is left of it.
    fn read(&mut self) -> io::Result<()> {
        // At least as much as there is already, so that a long line is not copied over and over.
        let wanted = self.next.max(self.left);
        let length = usize::try_from(self.start).unwrap_or(usize::MAX).min(wanted);
        let old = self.left;
        self.piece.resize(self.piece.len().max(length + old), 0);
        self.piece.copy_within(..old, length);
        self.start -= length as u64;
        self.file.read_exact_at(&mut self.piece[..length], self.start)?;
        self.left = length + old;
        self.next = (self.next * 2).min(LARGEST_PIECE);
        Ok(())
    }
}

/// Returns where the line begins that the byte at `at` belongs to: after the last line end before `at`.
fn line_start(file: &File, at: u64) -> io::Result<u64> {
    let mut end = at;
    let mut chunk = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let length = usize::try_from(end - start).unwrap_or(chunk.len());
        file.read_exact_at(&mut chunk[..length], start)?;
        if let Some(found) = chunk[..length].iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + found as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// How large a page may be before it ends, in bytes.
const PAGE_BYTES: usize = 1024 * 1024;

/// How much of a log is read at once, in bytes.
const SMALLEST_PIECE: usize = 4 * 1024;
const LARGEST_PIECE: usize = 64 * 1024;
