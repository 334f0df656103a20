//! What programs print, kept within bounds.

use serde::{Deserialize, Serialize};

use crate::item::ToolCall;

/// The head and the tail of an output.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Output {
    head: String,
    tail: String,
    omitted: usize,
}

impl Output {
    /// Adds what was printed.
    pub(super) fn push(&mut self, text: &str) {
        let room = KEPT_OUTPUT.saturating_sub(self.head.len());
        let (head, tail) = text.split_at(floor(text, if self.tail.is_empty() { room } else { 0 }));
        self.head.push_str(head);
        self.tail.push_str(tail);
        if self.tail.len() > 2 * KEPT_OUTPUT {
            self.cut_tail();
        }
    }

    fn cut_tail(&mut self) {
        let cut = floor(&self.tail, self.tail.len().saturating_sub(KEPT_OUTPUT));
        // A new text, as draining would keep the room that the longest piece has taken.
        self.tail = self.tail[cut..].to_owned();
        self.omitted += cut;
    }

    /// Returns about how many bytes it takes up in memory.
    pub(super) fn weight(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Returns what is kept, and how many bytes are not.
    pub(super) fn bounded(&self) -> (String, i64) {
        if self.omitted == 0 && self.head.len() + self.tail.len() <= 2 * KEPT_OUTPUT {
            return (format!("{}{}", self.head, self.tail), 0);
        }
        let cut = floor(&self.tail, self.tail.len().saturating_sub(KEPT_OUTPUT));
        let (omitted, tail) = (self.omitted + cut, &self.tail[cut..]);
        let omitted = i64::try_from(omitted).unwrap_or(i64::MAX);
        (ToolCall::shortened(&self.head, omitted, tail), omitted)
    }

    /// Returns the end of it, as the last thing that an agent said.
    pub(super) fn last_message(&self) -> Option<String> {
        let whole = match self.tail.len() < MESSAGE && self.omitted == 0 {
            true => format!("{}{}", self.head, self.tail),
            false => self.tail.clone(),
        };
        let whole = whole.trim_end();
        let from = whole.len() - floor(whole, MESSAGE.min(whole.len()));
        let from = (from..=whole.len()).find(|at| whole.is_char_boundary(*at)).unwrap_or(whole.len());
        Some(whole[from..].to_owned()).filter(|text| !text.is_empty())
    }
}

/// Returns the last character boundary at or before `at`.
pub(super) fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// How much of an output is kept at its head, and as much at its tail, in bytes.
const KEPT_OUTPUT: usize = 32 * 1024;

/// How much of an output is the agent's last message, in bytes.
const MESSAGE: usize = 4 * 1024;
