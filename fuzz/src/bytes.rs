//! Reads decisions out of bytes: whatever the bytes are, each decision is one of a few, so that things meet.

use paseo_sdk::model::{AgentId, PromptId};

use crate::Step;

/// What is left of the bytes. When nothing is left, every decision is the first of its kind.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl Bytes<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                *byte
            }
            None => 0,
        }
    }

    /// Decides for a number below `count`.
    pub(crate) fn below(&mut self, count: u8) -> u8 {
        self.byte() % count
    }

    pub(crate) fn number(&mut self, count: u8) -> i64 {
        i64::from(self.below(count))
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()].clone()
    }

    pub(crate) fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.flag() { Some(value(self)) } else { None }
    }

    /// Decides for up to `most` values.
    pub(crate) fn some<T>(&mut self, most: u8, mut value: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| value(self)).collect()
    }

    pub(crate) fn word(&mut self) -> String {
        self.pick(&["", "a", "b", "…", "two\nlines", "grüße 👋"]).to_owned()
    }

    /// Decides for a word, now and then for one that is longer than anything that is shown.
    pub(crate) fn text(&mut self) -> String {
        match self.below(16) {
            0 => "long ‽ ".repeat(2_000),
            _ => self.word(),
        }
    }

    pub(crate) fn prompt_id(&mut self) -> PromptId {
        self.pick(&["p1", "p2", "p3", "p4"]).parse().expect("these are ids")
    }

    pub(crate) fn agent_id(&mut self) -> AgentId {
        self.pick(&["a1", "a2"]).parse().expect("these are ids")
    }

    /// Decides for everything that happens to a machine, until the bytes end.
    pub(crate) fn script<I>(mut self, mut input: impl FnMut(&mut Self) -> I) -> Vec<(i64, Step<I>)> {
        let mut script = Vec::new();
        while !self.is_empty() && script.len() < LONGEST_SCRIPT {
            let later = self.pick(&[0, 0, 0, 1, 25, 1_000, 11_000, 121_000, -500]);
            let step = match self.below(8) {
                0 => Step::Expire,
                1 | 2 => Step::Poll,
                _ => Step::Tell(input(&mut self)),
            };
            script.push((later, step));
        }
        script
    }
}

const LONGEST_SCRIPT: usize = 400;
