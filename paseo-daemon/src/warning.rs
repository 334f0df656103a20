//! What a person should know about a daemon that works all the same: `get_daemon` tells it.

use std::sync::{Mutex, PoisonError};

/// The warnings of a daemon, the oldest first, each once.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    /// Adds one, in the log too.
    pub(crate) fn add(&self, warning: String) {
        tracing::warn!("{warning}");
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.contains(&warning) {
            return;
        }
        match all.len() {
            MOST => all.push("there are more warnings: see `paseo daemon logs`".to_owned()),
            count if count < MOST => all.push(warning),
            _ => {}
        }
    }

    /// Takes one back that is not so any more.
    pub(crate) fn remove(&self, warning: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|known| known != warning);
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How many are kept at most.
const MOST: usize = 100;
