//! The writing side: what the shim appends, and where a daemon's reading stands.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use paseo_sdk::provider::{Record, TellId, What};

use super::{file_name, now};

/// A journal that is being written. What the disk does not take waits, in order.
pub(crate) struct Journal {
    run_dir: PathBuf,
    file: File,
    current: Segment,
    previous: Option<Segment>,
    /// The number of the newest record in the files.
    last: i64,
    /// Records that are not in the files yet; their numbers are given when they are.
    waiting: Vec<Record>,
    buffer: Vec<u8>,
}

/// One file of the journal.
struct Segment {
    number: u32,
    /// The number of its first record.
    first: i64,
    /// Its length, up to the end of its last record.
    length: u64,
    /// Some records, and where they begin: so that a place is found without reading all of the file.
    marks: Vec<(i64, u64)>,
    /// What the agent was told in it.
    told: BTreeSet<TellId>,
}

impl Segment {
    fn new(number: u32, first: i64) -> Segment {
        Segment { number, first, length: 0, marks: vec![(first, 0)], told: BTreeSet::new() }
    }
}

impl Journal {
    /// Begins the journal of a run that has none.
    pub(crate) fn create(run_dir: &Path) -> io::Result<Journal> {
        let file = create(&run_dir.join(file_name(1)))?;
        File::open(run_dir)?.sync_all()?;
        let current = Segment::new(1, 1);
        Ok(Journal {
            run_dir: run_dir.to_owned(),
            file,
            current,
            previous: None,
            last: 0,
            waiting: Vec::new(),
            buffer: Vec::new(),
        })
    }

    /// Notes what happened. It is in the files after the next flush, or now where much has come together.
    pub(crate) fn note(&mut self, what: What) -> io::Result<()> {
        self.waiting.push(Record { seq: 0, at: now(), what });
        match self.waiting.len() < MOST_TOGETHER {
            true => Ok(()),
            false => self.flush(),
        }
    }

    /// Writes what waits. After an error the files are as before, and all of it still waits.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut out = Appender { file: &self.file, at: self.current.length, buffer: &mut self.buffer };
        out.buffer.clear();
        let mut seq = self.last;
        let marks = self.current.marks.len();
        let mut write = || -> io::Result<u64> {
            for record in &mut self.waiting {
                seq += 1;
                record.seq = seq;
                let start = out.at + out.buffer.len() as u64;
                if self.current.marks.last().is_none_or(|(_, mark)| start - mark >= BETWEEN_MARKS) {
                    self.current.marks.push((seq, start));
                }
                serde_json::to_writer(&mut out, record)?;
                out.write_all(b"\n")?;
            }
            out.flush()?;
            Ok(out.at)
        };
        match write() {
            Ok(length) => {
                self.current.length = length;
                self.last = seq;
                self.waiting.clear();
                self.waiting.shrink_to(MOST_TOGETHER);
                Ok(())
            }
            Err(error) => {
                self.current.marks.truncate(marks);
                // A part of a record may be there. When even this fails, the next attempt writes over it.
                let _ = self.file.set_len(self.current.length);
                Err(error)
            }
        }
    }

    /// Notes that the agent is told a line, so that it stays noted whatever happens. After an error it is not noted.
    pub(crate) fn tell(&mut self, id: &TellId, line: String) -> io::Result<()> {
        self.flush()?;
        self.waiting.push(Record { seq: 0, at: now(), what: What::Told { id: id.clone(), line } });
        if let Err(error) = self.flush() {
            self.waiting.clear();
            return Err(error);
        }
        self.current.told.insert(id.clone());
        self.file.sync_data()
    }

    /// Returns whether the files say that the agent was told this.
    pub(crate) fn holds(&self, id: &TellId) -> bool {
        self.current.told.contains(id) || self.previous.as_ref().is_some_and(|segment| segment.told.contains(id))
    }

    /// Begins a new segment with a session's summary, and removes the one before the last. After an error nothing has
    /// changed.
    pub(crate) fn carry(&mut self, text: String) -> io::Result<()> {
        self.flush()?;
        let mut next = Segment::new(self.current.number + 1, self.last + 1);
        let record = Record { seq: next.first, at: now(), what: What::Carried(text) };
        let path = self.run_dir.join(file_name(next.number));
        // It gets its name when its first record is whole: a reader begins with the newest segment.
        let unfinished = path.with_extension("new");
        let write = || -> io::Result<(File, u64)> {
            // Nobody brings this segment to the disk once there is another.
            self.file.sync_data()?;
            let _ = fs::remove_file(&unfinished);
            let file = create(&unfinished)?;
            let mut buffer = Vec::new();
            let mut out = Appender { file: &file, at: 0, buffer: &mut buffer };
            serde_json::to_writer(&mut out, &record)?;
            out.write_all(b"\n")?;
            out.flush()?;
            let length = out.at;
            file.sync_data()?;
            fs::rename(&unfinished, &path)?;
            Ok((file, length))
        };
        let (file, length) = write().inspect_err(|_| {
            let _ = fs::remove_file(&unfinished);
        })?;
        // What is written from now on must be found under that name.
        let _ = File::open(&self.run_dir).and_then(|directory| directory.sync_all());
        next.length = length;
        self.file = file;
        self.last = next.first;
        let old = self.previous.replace(std::mem::replace(&mut self.current, next));
        if let Some(old) = old {
            // One file too many does no harm.
            let _ = fs::remove_file(self.run_dir.join(file_name(old.number)));
        }
        Ok(())
    }

    /// Makes sure that what is written survives a loss of power.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Returns whether something waits for the disk.
    pub(crate) fn is_stuck(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns how many records wait for the disk.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns the number of the oldest record in the files.
    pub(crate) fn first(&self) -> i64 {
        self.previous.as_ref().map_or(self.current.first, |segment| segment.first)
    }

    /// Returns the number of the newest record in the files.
    pub(crate) fn last(&self) -> i64 {
        self.last
    }

    /// Finds the first record after `after` that the files still hold.
    pub(crate) fn seek(&self, after: i64) -> io::Result<Cursor> {
        let segments = [self.previous.as_ref(), Some(&self.current)];
        let fitting = segments.into_iter().flatten().rfind(|segment| segment.first <= after + 1);
        let segment = fitting.or(self.previous.as_ref()).unwrap_or(&self.current);
        let file = File::open(self.run_dir.join(file_name(segment.number)))?;
        let nearest = segment.marks.partition_point(|(seq, _)| *seq <= after + 1);
        let (mut seq, mut offset) = segment.marks[nearest.saturating_sub(1)];
        let mut chunk = [0; 4096];
        while seq <= after && offset < segment.length {
            let count = file.read_at(&mut chunk, offset)?;
            if count == 0 {
                break;
            }
            for piece in chunk[..count].split_inclusive(|byte| *byte == b'\n') {
                if seq > after {
                    break;
                }
                seq += i64::from(piece.last() == Some(&b'\n'));
                offset += piece.len() as u64;
            }
        }
        Ok(Cursor { number: segment.number, file, offset })
    }
}

/// Where a daemon's reading of the journal stands. It costs an open file and no memory, however far behind it is.
pub(crate) struct Cursor {
    number: u32,
    file: File,
    offset: u64,
}

impl Cursor {
    /// Appends the next bytes to `out`: whole lines where there is an end of line in reach, else a piece of one.
    pub(crate) fn read(&mut self, journal: &Journal, out: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let behind = self.number < journal.current.number;
            let left = journal.current.length.saturating_sub(self.offset);
            let want = if behind { CHUNK } else { CHUNK.min(usize::try_from(left).unwrap_or(CHUNK)) };
            let start = out.len();
            out.resize(start + want, 0);
            let result = self.file.read_at(&mut out[start..], self.offset);
            out.truncate(start + result.as_ref().map_or(0, |count| *count));
            match result? {
                0 if behind => {
                    self.number += 1;
                    self.offset = 0;
                    self.file = File::open(journal.run_dir.join(file_name(self.number)))?;
                }
                0 => return Ok(()),
                _ => {
                    if let Some(end) = out[start..].iter().rposition(|byte| *byte == b'\n') {
                        out.truncate(start + end + 1);
                    }
                    self.offset += (out.len() - start) as u64;
                    return Ok(());
                }
            }
        }
    }

    /// Returns whether the journal holds more than was read.
    pub(crate) fn is_behind(&self, journal: &Journal) -> bool {
        self.number < journal.current.number || self.offset < journal.current.length
    }
}

/// Writes at a place of a file, in pieces of a size that does not count.
struct Appender<'a> {
    file: &'a File,
    at: u64,
    buffer: &'a mut Vec<u8>,
}

impl Write for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > CHUNK {
            self.flush()?;
        }
        if bytes.len() > CHUNK {
            self.file.write_all_at(bytes, self.at)?;
            self.at += bytes.len() as u64;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Makes a file that was not there.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// How many bytes are moved at once.
const CHUNK: usize = 16 << 10;

/// How many records are written at once at most.
const MOST_TOGETHER: usize = 64;

/// How many bytes of a segment are read at most, beside one record, to find a place in it.
const BETWEEN_MARKS: u64 = 1 << 20;
