//! The text of items that are still open, put in order.

use std::collections::{BTreeMap, VecDeque};

use crate::item::{Content, Entry, Happening};
use crate::model::{Delta, ItemId};

/// The text of one agent's open items: each byte comes out at most once, and pieces only while their item is open.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    /// Where the text that came out ends, of each item that is open.
    open: BTreeMap<ItemId, i64>,
    /// Pieces of items that are not open, because their entry is still to come.
    early: VecDeque<Delta>,
    early_bytes: usize,
    /// Items that were closed lately, the newest last: what comes of them now is late.
    closed: VecDeque<ItemId>,
}

impl Texts {
    /// Takes notice of an entry that comes out, and returns the pieces that waited for it.
    pub(super) fn entry(&mut self, entry: &Entry) -> Vec<Delta> {
        match &entry.what {
            Happening::ItemOpened { item } => {
                self.open.insert(item.item_id.clone(), written(&item.content));
                if self.open.len() > OPEN {
                    self.open.pop_first();
                }
                let mut waited = self.take_early(&item.item_id);
                waited.sort_by_key(|delta| delta.offset);
                waited.into_iter().filter_map(|delta| self.delta(delta)).collect()
            }
            Happening::ItemClosed { item } => {
                self.open.remove(&item.item_id);
                self.take_early(&item.item_id);
                self.closed.push_back(item.item_id.clone());
                if self.closed.len() > CLOSED {
                    self.closed.pop_front();
                }
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Takes a piece, and returns what of it is new. One that is too early waits for its item.
    pub(super) fn delta(&mut self, delta: Delta) -> Option<Delta> {
        let length = i64::try_from(delta.text.len()).ok()?;
        let after = delta.offset.checked_add(length)?;
        let Some(end) = self.open.get_mut(&delta.item_id) else {
            if !self.closed.contains(&delta.item_id) {
                self.wait(delta);
            }
            return None;
        };
        if after <= *end {
            return None;
        }
        let known = usize::try_from(end.saturating_sub(delta.offset)).unwrap_or(0);
        *end = after;
        // The part before the first whole character is known, or belongs to one that cannot be told any more.
        let from = (known..=delta.text.len()).find(|at| delta.text.is_char_boundary(*at))?;
        let text = delta.text.get(from..)?.to_owned();
        let offset = delta.offset + i64::try_from(from).ok()?;
        (!text.is_empty()).then_some(Delta { offset, text, ..delta })
    }

    fn wait(&mut self, delta: Delta) {
        self.early_bytes += delta.text.len();
        self.early.push_back(delta);
        while self.early_bytes > EARLY_BYTES || self.early.len() > EARLY {
            let Some(dropped) = self.early.pop_front() else { break };
            self.early_bytes -= dropped.text.len();
        }
    }

    fn take_early(&mut self, item: &ItemId) -> Vec<Delta> {
        let (waited, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.early).into_iter().partition(|delta| delta.item_id == *item);
        self.early = rest.into();
        self.early_bytes = self.early.iter().map(|delta| delta.text.len()).sum();
        waited
    }
}

/// Returns how much of its text an item has when it is opened.
fn written(content: &Content) -> i64 {
    let text = match content {
        Content::UserMessage { text, .. }
        | Content::AssistantMessage { text }
        | Content::Reasoning { text }
        | Content::Compaction { text } => text.len(),
        Content::ToolCall(call) => call.output.as_ref().map_or(0, String::len),
        Content::Todo { .. } => 0,
    };
    i64::try_from(text).unwrap_or(i64::MAX)
}

/// How many items may be open.
const OPEN: usize = 1024;
/// How many pieces may wait for their items, and how many bytes they may have together.
const EARLY: usize = 1024;
const EARLY_BYTES: usize = 1 << 20;
/// How many closed items are remembered.
const CLOSED: usize = 256;
