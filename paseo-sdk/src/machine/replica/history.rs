//! The entries of one agent, put in order.

use std::collections::BTreeMap;

use crate::item::Entry;
use crate::model::Timestamp;

/// The entries of one agent, put in order: which one is next, and whether one is missing.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// The number of the last entry that was given out.
    last: i64,
    /// Entries that came before their turn.
    ahead: BTreeMap<i64, Entry>,
    /// The greatest number that an entry or a page has proved to be there.
    seen: i64,
    /// The greatest number that the agent's state speaks of; its entry may be under way.
    told: i64,
    gap: Gap,
}

/// What is being done about missing entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    /// Nothing is missing.
    None,
    /// The agent's state speaks of them: they are given time to come by themselves.
    Expected { until: Timestamp },
    /// They are asked for.
    Asked,
    /// They were asked for in vain: that is given time before they are asked for again.
    Unanswered { until: Timestamp },
}

impl History {
    /// Begins after entry `last`.
    pub(super) fn after(last: i64) -> History {
        History { last, ahead: BTreeMap::new(), seen: last, told: last, gap: Gap::None }
    }

    /// Returns the number of the last entry that was given out.
    pub(super) fn last(&self) -> i64 {
        self.last
    }

    /// Takes an entry, whether its turn has come, is over, or is still to come.
    pub(super) fn take(&mut self, entry: Entry) {
        if entry.seq <= self.last {
            return;
        }
        self.seen = self.seen.max(entry.seq);
        self.ahead.entry(entry.seq).or_insert(entry);
        if self.ahead.len() > AHEAD {
            // The nearest ones are kept: a page is asked for, and brings this one again.
            self.ahead.pop_last();
        }
    }

    /// Takes notice that the log goes on with this entry: what is missing before it cannot be read any more.
    pub(super) fn reach(&mut self, seq: i64) {
        if !self.ahead.contains_key(&self.last.saturating_add(1)) {
            self.last = self.last.max(seq.saturating_sub(1));
        }
    }

    /// Takes notice of the answer to what was asked, which says that there are entries up to `newest`.
    pub(super) fn answered(&mut self, newest: i64) {
        self.gap = Gap::None;
        self.seen = self.seen.max(newest);
    }

    /// Gives missing entries time before they are asked for again.
    pub(super) fn unanswered(&mut self, now: Timestamp) {
        self.gap = Gap::Unanswered { until: now.plus(PATIENCE) };
    }

    /// Takes notice of how far the agent says it is.
    pub(super) fn hear_of(&mut self, seq: i64) {
        self.told = self.told.max(seq);
    }

    /// Returns the next entry if it is there.
    pub(super) fn next(&mut self) -> Option<Entry> {
        let next = self.last.checked_add(1)?;
        let entry = self.ahead.remove(&next)?;
        self.last = next;
        // Something comes, so what is expected is given time anew.
        if let Gap::Expected { .. } | Gap::Unanswered { .. } = self.gap {
            self.gap = Gap::None;
        }
        Some(entry)
    }

    /// Returns after which entry to ask, when it is time to ask.
    pub(super) fn look(&mut self, now: Timestamp) -> Option<i64> {
        if self.last >= self.seen.max(self.told) {
            self.gap = Gap::None;
            return None;
        }
        match self.gap {
            Gap::None | Gap::Expected { .. } if self.seen > self.last => self.ask(),
            Gap::None => {
                self.gap = Gap::Expected { until: now.plus(PATIENCE) };
                None
            }
            Gap::Expected { .. } | Gap::Asked | Gap::Unanswered { .. } => None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        match self.gap {
            Gap::Expected { until } | Gap::Unanswered { until } => Some(until),
            Gap::None | Gap::Asked => None,
        }
    }

    /// Returns after which entry to ask, when patience is over.
    pub(super) fn expire(&mut self, now: Timestamp) -> Option<i64> {
        match self.gap {
            Gap::Expected { until } | Gap::Unanswered { until } if until <= now => self.ask(),
            Gap::Expected { .. } | Gap::Unanswered { .. } | Gap::None | Gap::Asked => None,
        }
    }

    /// Forgets everything but what was given out.
    pub(super) fn start_again(&mut self) {
        *self = History::after(self.last);
    }

    fn ask(&mut self) -> Option<i64> {
        self.gap = Gap::Asked;
        Some(self.last)
    }
}

/// How many entries may wait for their turn.
const AHEAD: usize = 256;
/// Milliseconds that an entry which the agent's state speaks of is given to come by itself.
const PATIENCE: i64 = 2_000;
