//! What is left to say of a process that has ended: what it was in the middle of, and what it muttered last.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::value::clip;

/// What a process was in the middle of.
pub(super) struct Unfinished<'a> {
    /// What it waited for permission to do.
    pub(super) asked: Vec<&'a str>,
    /// What it ran.
    pub(super) ran: Vec<String>,
    /// How many things went on in the background.
    pub(super) background: usize,
    /// Whether it worked on a prompt, or was told one.
    pub(super) busy: bool,
}

impl Unfinished<'_> {
    /// Says so to the model, which will not know by itself: programs forget a call that has no result. None when nothing
    /// was cut off.
    pub(super) fn told(&self) -> Option<String> {
        let mut lines = Vec::new();
        for title in self.asked.iter().take(SHOWN) {
            lines.push(format!("- it waited for permission and did not get it: {title}"));
        }
        for title in self.ran.iter().take(SHOWN) {
            lines.push(format!("- it ran, and may or may not have done its work: {title}"));
        }
        if self.background > 0 {
            lines.push(format!("- {} background tasks ran and were ended", self.background));
        }
        if lines.is_empty() && !self.busy {
            return None;
        }
        lines.insert(0, "Your process was ended before the previous prompt was done with.".to_owned());
        lines.push("Look at how things stand before you go on.".to_owned());
        Some(lines.join("\n"))
    }
}

/// The last lines of standard error.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Muttered(VecDeque<String>);

impl Muttered {
    /// Takes the next line.
    pub(super) fn push(&mut self, line: &str) {
        if !line.trim().is_empty() {
            self.0.push_back(clip(line.trim(), 500));
        }
        if self.0.len() > MUTTERED {
            self.0.pop_front();
        }
    }

    /// Returns them, and forgets them; none when there were none.
    pub(super) fn take(&mut self) -> Option<String> {
        let lines: Vec<_> = self.0.drain(..).collect();
        Some(lines.join("\n")).filter(|text| !text.is_empty())
    }
}

/// How many lines of standard error are kept.
const MUTTERED: usize = 10;

/// How many calls are spoken of when a process was cut off.
const SHOWN: usize = 10;
