//! What goes on, as the steps of a session tell it, and in which order that makes sense.

use std::collections::BTreeSet;

use paseo_sdk::item::{Content, Item};
use paseo_sdk::model::{ItemId, RequestId};
use paseo_sdk::provider::{Event, Record, Step, TellId, What};

use super::tell::is_own;

/// What goes on in one life of a process.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Items that are open.
    open: BTreeSet<Key>,
    /// Items that were open.
    closed: BTreeSet<Key>,
    asks: BTreeSet<RequestId>,
    /// Whether a turn runs, or a question that came outside one has opened one.
    turn: bool,
    /// The prompts that end with the turn that runs.
    prompts: BTreeSet<TellId>,
    told: BTreeSet<TellId>,
    /// What was told and is not taken.
    untaken: BTreeSet<TellId>,
    /// Prompts that were told, and that no turn has ended with.
    unended: BTreeSet<TellId>,
}

/// An item. Programs give their own calls any ids, also such as a session gives.
type Key = (ItemId, &'static str);

impl Order {
    /// Returns whether nothing goes on: no turn, no question, nothing told that is not taken and ended.
    pub(super) fn is_quiet(&self) -> bool {
        !self.turn && self.asks.is_empty() && self.untaken.is_empty() && self.unended.is_empty()
    }

    /// Returns whether an item is open.
    pub(super) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Takes what the session of `name` has made of the next record.
    pub(super) fn take(&mut self, name: &str, record: &Record, steps: &[Step]) {
        if let What::Told { id, .. } = &record.what {
            assert!(self.told.insert(id.clone()), "a shim takes an id once: {id}");
            if !is_own(id) {
                self.untaken.insert(id.clone());
            }
            if id.0.starts_with("prompt.") {
                self.unended.insert(id.clone());
            }
        }
        for step in steps {
            if let Step::Event(event) = step
                && let Err(why) = self.event(event)
            {
                panic!("{name}: {why}: {event:?}\namong {steps:?}\nafter {record:?}");
            }
        }
        if let What::Exited(_) = record.what {
            assert_eq!(self.open, BTreeSet::new(), "{name} leaves items open when its process has ended");
            assert_eq!(self.asks, BTreeSet::new(), "{name} leaves questions open when its process has ended");
        }
    }

    fn event(&mut self, event: &Event) -> Result<(), &'static str> {
        match event {
            Event::Opened(item) => {
                self.closed.remove(&key(item));
                check(self.open.insert(key(item)), "an open item is opened")?;
            }
            Event::Wrote { item_id, .. } => {
                check(self.open.iter().any(|(open, _)| open == item_id), "an item that is not open is written to")?;
            }
            Event::Closed(item) => {
                if self.open.remove(&key(item)) {
                    self.closed.insert(key(item));
                } else {
                    check(!self.closed.contains(&key(item)), "a closed item is closed")?;
                }
            }
            Event::Asked(ask) => {
                self.asks.insert(ask.request_id.clone());
                self.turn = true;
            }
            Event::Withdrawn(request) => {
                self.asks.remove(request);
            }
            Event::TurnStarted(id) => {
                self.turn = true;
                // It was presumed to answer another prompt.
                self.prompts = BTreeSet::new();
                self.prompts.extend(id.clone());
                check(id.as_ref().is_none_or(|id| self.told.contains(id)), "a turn answers what was not told")?;
            }
            Event::Joined(id) => {
                check(
                    self.turn && self.told.contains(id),
                    "a prompt that was not told joins a turn, or there is none",
                )?;
                self.prompts.insert(id.clone());
            }
            Event::TurnEnded(_) => {
                check(std::mem::take(&mut self.turn), "a turn ends that did not begin")?;
                for id in std::mem::take(&mut self.prompts) {
                    self.unended.remove(&id);
                }
            }
            Event::Delivered(id) => {
                self.untaken.remove(id);
                check(self.told.contains(id), "something is taken that was not told")?;
            }
            Event::Dropped(id) | Event::Forgotten(Some(id)) => {
                check(self.untaken.remove(id), "a prompt is given back that was not told, or is taken")?;
                self.unended.remove(id);
            }
            Event::Resumable(_)
            | Event::Forgotten(None)
            | Event::Unusable(_)
            | Event::ModeChanged(_)
            | Event::Remembered(_)
            | Event::Background(_)
            | Event::Expecting(_)
            | Event::CutOff(_)
            | Event::Notice(_)
            | Event::Failed(_) => {}
        }
        Ok(())
    }
}

fn check(holds: bool, otherwise: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn key(item: &Item) -> Key {
    let kind = match item.content {
        Content::UserMessage { .. } => "user message",
        Content::AssistantMessage { .. } => "message",
        Content::Reasoning { .. } => "reasoning",
        Content::ToolCall(_) => "call",
        Content::Todo { .. } => "list",
        Content::Compaction { .. } => "compaction",
    };
    (item.item_id.clone(), kind)
}
