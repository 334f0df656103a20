//! A disk as it is: what is written can be read at once, and survives a loss of power once it is synced.

use std::ops::Deref;

use paseo_sdk::item::Entry;
use paseo_sdk::machine::agent::Memory;
use paseo_sdk::machine::outbox;
use paseo_sdk::model::Timestamp;
use paseo_sdk::provider::{Record, What};

/// What the death of a daemon does not touch.
pub(crate) struct Disk {
    /// Replaced as a whole, and synced before it gets its name.
    pub(crate) memory: Memory,
    pub(crate) outbox: File<outbox::Line>,
    pub(crate) log: File<Entry>,
    /// Every line that the outbox ever had.
    pub(crate) history: Vec<outbox::Line>,
    /// How many entries there were when the memory was saved: what it has behind it is in the log.
    pub(crate) remembered: usize,
    /// How many entries were left after each loss of power.
    pub(crate) survived: Vec<usize>,
}

impl Disk {
    pub(crate) fn new(memory: Memory) -> Disk {
        let (outbox, log) = (File::default(), File::default());
        Disk { memory, outbox, log, history: Vec::new(), remembered: 0, survived: Vec::new() }
    }

    pub(crate) fn lose_power(&mut self, luck: &mut Luck) {
        let lost = self.outbox.lose_power(luck);
        self.history.truncate(self.history.len() - lost.len());
        self.log.lose_power(luck);
        let (left, remembered) = (self.log.len(), self.remembered);
        assert!(left >= remembered, "the memory has {remembered} entries behind it, and the timeline {left}");
        self.survived.push(left);
    }
}

/// A file that lines are appended to.
///
/// A line that was torn is cut off by whoever opens the file, so that it is as good as never written.
#[derive(Debug)]
pub(crate) struct File<T> {
    lines: Vec<T>,
    synced: usize,
}

impl<T> File<T> {
    pub(crate) fn append(&mut self, line: T) {
        self.lines.push(line);
    }

    pub(crate) fn sync(&mut self) {
        self.synced = self.lines.len();
    }

    /// Puts another file in its place, which has its name when it is synced.
    pub(crate) fn replace(&mut self, lines: Vec<T>) {
        *self = File { synced: lines.len(), lines };
    }

    /// Keeps some of what is not synced, and returns the rest.
    pub(crate) fn lose_power(&mut self, luck: &mut Luck) -> Vec<T> {
        let unsynced = self.lines.len() - self.synced;
        let lost = self.lines.split_off(self.synced + luck.up_to(unsynced));
        self.sync();
        lost
    }
}

impl<T> Default for File<T> {
    fn default() -> File<T> {
        File { lines: Vec::new(), synced: 0 }
    }
}

impl<T> Deref for File<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.lines
    }
}

/// The journal of a run, as its shim writes it.
pub(crate) struct Journal {
    /// What was in segments that are put away, for judges alone.
    gone: Vec<Record>,
    previous: Option<File<Record>>,
    current: File<Record>,
    /// The numbers of records that a loss of power took.
    pub(crate) lost: Vec<i64>,
}

impl Journal {
    pub(crate) fn new() -> Journal {
        Journal { gone: Vec::new(), previous: None, current: File::default(), lost: Vec::new() }
    }

    /// Returns every record that was written and not lost.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.gone.iter().chain(self.held())
    }

    /// Returns what a reader of the files finds.
    pub(crate) fn held(&self) -> impl Iterator<Item = &Record> {
        self.previous.iter().flat_map(|segment| segment.iter()).chain(self.current.iter())
    }

    /// Returns the number of the newest record.
    pub(crate) fn last(&self) -> i64 {
        self.current.last().map_or(0, |record| record.seq)
    }

    /// Returns the record that follows. Whoever reads on holds the files open, though they are put away.
    pub(crate) fn next(&self, after: i64) -> Option<&Record> {
        self.iter().find(|record| record.seq > after)
    }

    /// Returns how large the newest segment is, in records.
    pub(crate) fn size(&self) -> usize {
        self.current.len()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.current.last().is_some_and(|record| matches!(record.what, What::Exited(_)))
    }

    pub(crate) fn note(&mut self, now: Timestamp, what: What) {
        let seq = self.last() + 1;
        self.current.append(Record { seq, at: now.0, what });
    }

    pub(crate) fn sync(&mut self) {
        self.current.sync();
    }

    /// Begins a new segment, and puts the one before the last away.
    pub(crate) fn carry(&mut self, now: Timestamp, text: String) {
        self.sync();
        let mut next = File::default();
        next.append(Record { seq: self.last() + 1, at: now.0, what: What::Carried(text) });
        next.sync();
        let previous = self.previous.replace(std::mem::replace(&mut self.current, next));
        self.gone.extend(previous.map_or_else(Vec::new, |mut segment| std::mem::take(&mut segment.lines)));
    }

    pub(crate) fn lose_power(&mut self, luck: &mut Luck) {
        for segment in self.previous.iter_mut().chain([&mut self.current]) {
            self.lost.extend(segment.lose_power(luck).iter().map(|record| record.seq));
        }
    }
}

/// What is left to chance.
pub(crate) struct Luck(u32);

impl Luck {
    pub(crate) fn of(how: u8) -> Luck {
        Luck(u32::from(how).wrapping_mul(0x9e37_79b9))
    }

    pub(crate) fn up_to(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(self.0 >> 16).expect("a small number") % (most + 1)
    }
}
