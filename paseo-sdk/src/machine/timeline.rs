//! The timeline of one agent: numbers what happens, writes it once, and keeps the text of what is still open.

use std::collections::{BTreeMap, VecDeque};

use super::Machine;
use crate::item::{Entry, Happening, Origin};
use crate::model::{Delta, ItemId, Timestamp, TurnId};

/// The end of an agent's timeline: the next number, and what is still open.
#[derive(Clone, Debug)]
pub struct Timeline {
    last_seq: i64,
    /// The newest origin that is written; what a replay brings up to here is known already.
    written: Option<Origin>,
    open: BTreeMap<ItemId, Text>,
    /// When the text that was added is to be shown.
    show: Option<Timestamp>,
    outputs: VecDeque<Output>,
}

/// How long text is collected before it is shown, in milliseconds.
pub const COALESCE: i64 = 25;

/// How much text of an open item is kept for watchers, in bytes; older text is in the journal, and at the end in the item.
pub const KEPT_TEXT: usize = 1024 * 1024;

/// The newest text of an open item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// Where `text` begins in the whole, in bytes.
    pub offset: usize,
    /// The text from there on.
    pub text: String,
}

impl Text {
    fn push(&mut self, more: &str) {
        self.text.push_str(more);
        // Cutting only when twice the size is reached makes the cost of cutting constant per byte.
        if self.text.len() > 2 * KEPT_TEXT {
            let mut cut = self.text.len() - KEPT_TEXT;
            while !self.text.is_char_boundary(cut) {
                cut += 1;
            }
            self.text.drain(..cut);
            self.offset += cut;
        }
    }

    /// Returns what follows `offset`, as far as it is kept.
    #[must_use]
    pub fn after(&self, item_id: &ItemId, offset: usize) -> Option<Delta> {
        let start = offset.max(self.offset);
        let text = self.text.get(start - self.offset..).filter(|text| !text.is_empty())?;
        let offset = i64::try_from(start).unwrap_or(i64::MAX);
        Some(Delta { item_id: item_id.clone(), offset, text: text.to_owned() })
    }
}

/// What a timeline is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Something happened.
    Append {
        /// When.
        at: Timestamp,
        /// The turn it belongs to.
        turn_id: Option<TurnId>,
        /// Where in the journal it comes from; none for what paseo says itself.
        origin: Option<Origin>,
        /// What.
        what: Happening,
    },
    /// The text of an open item grew.
    Wrote {
        /// The item.
        item_id: ItemId,
        /// What was added.
        text: String,
    },
}

/// What a timeline asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Append this entry to the log, and show it.
    Write(Box<Entry>),
    /// Show the text that was added to open items.
    Show,
}

/// A timeline takes everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {}

impl Timeline {
    /// Goes on after the entry numbered `last_seq`; `written` is the newest origin in the log.
    #[must_use]
    pub fn new(last_seq: i64, written: Option<Origin>) -> Timeline {
        Timeline { last_seq, written, open: BTreeMap::new(), show: None, outputs: VecDeque::new() }
    }

    /// Returns the number of the newest entry; 0 when there is none.
    #[must_use]
    pub fn last_seq(&self) -> i64 {
        self.last_seq
    }

    /// Returns the newest text of the items that are open.
    #[must_use]
    pub fn open(&self) -> &BTreeMap<ItemId, Text> {
        &self.open
    }
}

impl Machine for Timeline {
    type Input = Input;
    type Output = Output;
    type Refusal = Refusal;

    fn handle(&mut self, now: Timestamp, input: Input) -> Result<(), Refusal> {
        match input {
            Input::Append { at, turn_id, origin, what } => {
                match &what {
                    Happening::ItemOpened { item } => {
                        self.open.insert(item.item_id.clone(), Text::default());
                    }
                    Happening::ItemClosed { item } => {
                        self.open.remove(&item.item_id);
                    }
                    Happening::TurnStarted { .. }
                    | Happening::Notice { .. }
                    | Happening::Error { .. }
                    | Happening::TurnEnded { .. } => {}
                }
                if let Some(origin) = origin {
                    if self.written.is_some_and(|written| origin <= written) {
                        return Ok(());
                    }
                    self.written = Some(origin);
                }
                self.last_seq += 1;
                self.outputs.push_back(Output::Write(Box::new(Entry {
                    seq: self.last_seq,
                    at,
                    turn_id,
                    origin,
                    what,
                })));
            }
            Input::Wrote { item_id, text } => {
                if let Some(open) = self.open.get_mut(&item_id) {
                    open.push(&text);
                    self.show.get_or_insert(now.plus(COALESCE));
                }
            }
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.show
    }

    fn expire(&mut self, now: Timestamp) {
        if self.show.is_some_and(|due| due <= now) {
            self.show = None;
            self.outputs.push_back(Output::Show);
        }
    }
}
