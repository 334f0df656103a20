//! Files that lose nothing: one JSON file per thing, replaced as a whole, and logs that are only appended to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use paseo_sdk::model::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

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
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    File::open(parent)?.sync_all()
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
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".damaged-{}", now.0));
    let aside = PathBuf::from(name);
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// A log: lines of JSON, appended and never changed.
pub struct Log {
    path: PathBuf,
    file: File,
    /// Where the next line begins; whatever a failed write left behind it is cut off before the next attempt.
    end: u64,
}

impl Log {
    /// Opens a log, and makes it when it is not there. A last line without an end, which a loss of power may leave, is
    /// copied to `<name>.damaged-<time>` and cut off.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or mended.
    pub fn open(path: &Path, now: Timestamp) -> io::Result<Log> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        let end = line_start(&file, length)?;
        if end < length {
            let mut torn = vec![0; usize::try_from(length - end).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut torn, end)?;
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".damaged-{}", now.0));
            replace_bytes(Path::new(&name), &torn)?;
            file.set_len(end)?;
            tracing::warn!(path = %path.display(), bytes = torn.len(), "a line without an end was set aside");
        }
        Ok(Log { path: path.to_owned(), file, end })
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
        if let Err(error) = self.file.write_all(&whole) {
            let _ = self.file.set_len(self.end);
            return Err(error);
        }
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

/// How large a page may be before it ends.
const PAGE_BYTES: usize = 1024 * 1024;

/// A log whose lines carry a `seq` that grows, read by number without an index: the place is found by bisection.
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
        let mut page = Page::default();
        let mut bytes = 0;
        for line in BufReader::new(file.take(self.end - start)).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            if !keep(&line) {
                continue;
            }
            if page.lines.len() >= limit || bytes > PAGE_BYTES {
                page.more = true;
                break;
            }
            bytes += line.len();
            page.lines.push(line);
        }
        Ok(page)
    }

    /// Reads the last lines whose number is smaller than `before`, at most `limit` of those that `keep` wants.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn before(&self, before: i64, limit: usize, keep: impl Fn(&str) -> bool) -> io::Result<Page> {
        let mut end = match before {
            i64::MAX => self.end,
            _ => self.first_above(before.saturating_sub(1))?,
        };
        let mut page = Page::default();
        let mut bytes = 0;
        while end > 0 {
            let start = line_start(&self.file, end - 1)?;
            let line = self.text(start, end)?;
            end = start;
            if !keep(&line) {
                continue;
            }
            if page.lines.len() >= limit || bytes > PAGE_BYTES {
                page.more = true;
                break;
            }
            bytes += line.len();
            page.lines.push(line);
        }
        page.lines.reverse();
        Ok(page)
    }

    /// Returns where the first line begins whose number is greater than `number`.
    fn first_above(&self, number: i64) -> io::Result<u64> {
        let (mut low, mut high) = (0, self.end);
        while low < high {
            let middle = line_start(&self.file, low + (high - low) / 2)?;
            let next = self.next_line(middle)?;
            match self.number(middle, next)? {
                Some(found) if found > number => high = middle,
                _ => low = next,
            }
        }
        Ok(low)
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

    /// Reads the number at the beginning of a line: our entries are written with `seq` first.
    fn number(&self, start: u64, end: u64) -> io::Result<Option<i64>> {
        const PREFIX: &[u8] = br#"{"seq":"#;
        let mut head = [0; 40];
        let wanted = head.len().min(usize::try_from(end - start).unwrap_or(usize::MAX));
        self.file.read_exact_at(&mut head[..wanted], start)?;
        let digits = head[..wanted].strip_prefix(PREFIX).unwrap_or_default();
        let length = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
        Ok(std::str::from_utf8(&digits[..length]).ok().and_then(|digits| digits.parse().ok()))
    }

    fn text(&self, start: u64, end: u64) -> io::Result<String> {
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, start)?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
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
