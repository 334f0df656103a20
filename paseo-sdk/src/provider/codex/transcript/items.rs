//! Items from their beginning to their end, which may come after that of their turn, or never.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{MOST, Transcript};
use crate::item::{Content, Item, TodoEntry, TodoStatus, ToolStatus};
use crate::provider::codex::item;
use crate::provider::output::Output;
use crate::provider::value::{self, clip, tail, text};
use crate::provider::{Event, Step};

/// An item that is not final.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) item: Item,
    /// Whether its beginning was told; what is said is told once there is something to tell.
    told: bool,
    /// About how many bytes the item takes up in memory.
    weight: usize,
    /// What was streamed of it, for the case that nothing else comes.
    streamed: Output,
    /// Whether its turn is over.
    pub(super) behind: bool,
}

impl Transcript {
    /// Says when it changes whether something goes on behind the turns.
    pub(super) fn look_behind(&mut self, out: &mut Vec<Step>) {
        let background = self.turn.is_none() && self.items.values().any(|open| is_command(&open.item));
        if std::mem::replace(&mut self.background, background) != background {
            out.push(Step::Event(Event::Background(background)));
        }
    }

    pub(super) fn item_started(&mut self, begun: &Value, out: &mut Vec<Step>) {
        let Some(item) = item::read(begun, false) else { return };
        let id = item.item_id.0.clone();
        let full = self.items.len() >= MOST || id.is_empty();
        // Late words of what was cut off are no beginning.
        if full || self.turn.is_none() || self.items.contains_key(&id) {
            return;
        }
        let told = item::is_call(&item);
        if told {
            out.push(Step::Event(Event::Opened(item.clone())));
        }
        let room = self.room();
        self.items.insert(id, Open::new(item, told, room));
    }

    /// Returns how many bytes more may be held of what is open.
    pub(super) fn room(&self) -> usize {
        let held: usize = self.items.values().map(|open| open.weight + open.streamed.weight()).sum();
        MOST_HELD.saturating_sub(held)
    }

    pub(super) fn streamed(&mut self, id: &str, piece: &str, out: &mut Vec<Step>) {
        let room = self.room();
        let Some(open) = self.items.get_mut(id).filter(|_| !piece.is_empty()) else { return };
        if !std::mem::replace(&mut open.told, true) {
            out.push(Step::Event(Event::Opened(open.item.clone())));
        }
        if room > 0 {
            open.streamed.push(piece);
        }
        out.push(Step::Event(Event::Wrote { item_id: open.item.item_id.clone(), text: piece.to_owned() }));
    }

    /// The model has typed something into a command that runs: there is no item for that.
    pub(super) fn typed(&self, id: &str, typed: &str, out: &mut Vec<Step>) {
        let Some(Content::ToolCall(call)) = self.items.get(id).map(|open| &open.item.content) else { return };
        if !typed.trim().is_empty() {
            let said = format!("typed into `{}`: {}", call.title, clip(typed.trim(), 500));
            out.push(Step::Event(Event::Notice(said)));
        }
    }

    pub(super) fn item_completed(&mut self, ended: &Value, out: &mut Vec<Step>) {
        let Some(mut item) = item::read(ended, true) else { return };
        // Whatever ends has begun; of one that was cut off, this comes late.
        let Some(open) = self.items.remove(&item.item_id.0) else { return };
        if std::mem::discriminant(&open.item.content) != std::mem::discriminant(&item.content) {
            self.items.insert(item.item_id.0, open);
            return;
        }
        let stopped = self.turn.as_ref().is_some_and(|turn| turn.stopped);
        match &mut item.content {
            Content::AssistantMessage { text: said } | Content::Reasoning { text: said } if said.is_empty() => {
                if !open.told {
                    return;
                }
                *said = open.streamed.bounded().0;
            }
            Content::AssistantMessage { text: said } => {
                if let Some(turn) = &mut self.turn {
                    turn.said = Some(tail(said));
                    if text(ended, "type") == "plan" {
                        turn.plan = Some(clip(said, LONGEST_PLAN));
                    }
                }
            }
            Content::ToolCall(call) if stopped && call.status == ToolStatus::Failed && call.exit_code.is_none() => {
                call.status = ToolStatus::Interrupted;
            }
            _ => {}
        }
        out.push(Step::Event(Event::Closed(item)));
        self.look_behind(out);
    }

    /// Closes what came to no end.
    pub(super) fn close(&mut self, which: impl Fn(&Item) -> bool, out: &mut Vec<Step>) {
        let (cut, kept): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.items).into_iter().partition(|(_, open)| which(&open.item));
        self.items = kept;
        for open in cut.into_values().filter(|open| open.told) {
            out.push(Step::Event(Event::Closed(open.cut())));
        }
    }
}

impl Open {
    /// Holds an item that has begun, and of what it was given no more than there is room for.
    fn new(mut item: Item, told: bool, room: usize) -> Open {
        let mut weight = 0;
        match &mut item.content {
            // What is said in it comes as it is streamed, and once more at its end.
            Content::AssistantMessage { text } | Content::Reasoning { text } => *text = String::new(),
            Content::ToolCall(call) => {
                weight = value::weight(&call.input) + call.diff.as_ref().map_or(0, String::len);
                if weight > room {
                    weight = 0;
                    call.input = Value::Null;
                    call.diff = None;
                }
            }
            _ => {}
        }
        Open { item, told, weight, streamed: Output::default(), behind: false }
    }

    /// Returns the item as it is left.
    fn cut(&self) -> Item {
        let mut item = self.item.clone();
        let (streamed, omitted) = self.streamed.bounded();
        match &mut item.content {
            Content::AssistantMessage { text } | Content::Reasoning { text } => *text = streamed,
            Content::ToolCall(call) => {
                call.status = ToolStatus::Interrupted;
                call.output = Some(streamed).filter(|text| !text.is_empty());
                call.omitted_bytes = omitted;
                call.diff = None;
            }
            _ => {}
        }
        item
    }
}

pub(super) fn is_command(item: &Item) -> bool {
    matches!(&item.content, Content::ToolCall(call) if call.name == "exec_command")
}

/// Reads an entry of the to-do list.
pub(super) fn entry(step: &Value) -> TodoEntry {
    let status = match text(step, "status") {
        "inProgress" => TodoStatus::InProgress,
        "completed" => TodoStatus::Completed,
        _ => TodoStatus::Pending,
    };
    TodoEntry { text: clip(text(step, "step"), 500), status }
}

/// What all open items may weigh together, with what was streamed of them.
const MOST_HELD: usize = 4 * 1024 * 1024;

const LONGEST_PLAN: usize = 64 * 1024;
