//! Timeline entries as blocks of text, each with its time; items that are still open grow at the end.

use std::collections::BTreeMap;

use paseo_sdk::item::{Content, Entry, Happening, Item, ToolCall, ToolStatus};
use paseo_sdk::model::{Delta, ItemId, Usage};

use crate::diff::Diff;
use crate::progress::Progress;
use crate::render::{View, one_line, outcome_word, time, usage};
use crate::todo;
use crate::transcript::Piece;

/// Turns entries into blocks.
#[derive(Debug, Default)]
pub struct Texts {
    view: View,
    /// Whether items are shown as soon as they are opened.
    live: bool,
    open: BTreeMap<ItemId, Open>,
    /// The item whose text is the last thing that was printed.
    last: Option<ItemId>,
    /// Whether the last line is not finished.
    unfinished: bool,
}

impl Texts {
    /// Begins a text for somebody who looks at it in this way.
    #[must_use]
    pub fn new(view: View) -> Texts {
        Texts { view, ..Texts::default() }
    }

    /// Returns the block of an entry; nothing for one that only begins something, before this is live.
    pub fn entry(&mut self, entry: &Entry) -> Option<Piece> {
        let at = time(entry.at);
        let block = match &entry.what {
            Happening::ItemOpened { item } => {
                let heading = format!("{at}  {}", heading(item));
                self.open
                    .insert(item.item_id.clone(), Open { heading: heading.clone(), progress: Progress::default() });
                if !self.live {
                    return None;
                }
                self.last = Some(item.item_id.clone());
                return Some(Piece::Text(self.fresh_line() + &heading + "\n"));
            }
            Happening::ItemClosed { item } => return Some(Piece::Text(self.closed(item, &at))),
            Happening::TurnStarted { prompt_id: Some(_) } => format!("{at}  turn started"),
            Happening::TurnStarted { prompt_id: None } => format!("{at}  turn started by the agent itself"),
            Happening::Notice { text } => format!("{at}  note  {}", one_line(text)),
            Happening::Error { text } => format!("{at}  error  {}", one_line(text)),
            Happening::TurnEnded { outcome, reason, usage: used } => {
                let reason = reason.as_ref().map(|reason| format!(": {}", one_line(reason))).unwrap_or_default();
                let used = if *used == Usage::default() { String::new() } else { format!(" ({})", usage(used)) };
                format!("{at}  turn {}{reason}{used}", outcome_word(*outcome))
            }
        };
        self.last = None;
        Some(Piece::Text(self.fresh_line() + &block + "\n"))
    }

    /// Returns what to print of a piece of text.
    pub fn delta(&mut self, delta: &Delta) -> Option<Piece> {
        let text = self.open.get_mut(&delta.item_id)?.progress.delta(delta.offset, &delta.text);
        let text = self.under(&delta.item_id, &text);
        (!text.is_empty()).then_some(Piece::Text(text))
    }

    /// Shows from now on what is being written; returns the headings of what is.
    pub fn go_live(&mut self) -> Vec<Piece> {
        self.live = true;
        self.last = self.open.keys().next_back().cloned();
        self.open.values().map(|open| Piece::Text(format!("{}\n", open.heading))).collect()
    }

    /// Ends the line that is being printed, if one is.
    pub fn end_line(&mut self) -> Option<Piece> {
        let end = self.fresh_line();
        (!end.is_empty()).then_some(Piece::Text(end))
    }

    fn closed(&mut self, item: &Item, at: &str) -> String {
        let shown = self.live && self.open.contains_key(&item.item_id);
        let mut text = String::new();
        if !shown {
            let heading = format!("{at}  {}", heading(item));
            text = self.fresh_line() + &heading + "\n";
            self.open.insert(item.item_id.clone(), Open { heading, progress: Progress::default() });
            self.last = Some(item.item_id.clone());
        }
        let rest = self.open.get(&item.item_id).map(|open| open.progress.rest(&item.content)).unwrap_or_default();
        text += &self.under(&item.item_id, &rest);
        let foot = foot(&self.view, item);
        if !foot.is_empty() {
            text += &self.under(&item.item_id, "");
            text += &self.fresh_line();
            foot.iter().for_each(|line| text += &format!("    {line}\n"));
        }
        text += &self.fresh_line();
        self.open.remove(&item.item_id);
        text
    }

    /// Indents a piece of an item's text, below its heading.
    fn under(&mut self, id: &ItemId, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let mut out = String::new();
        if self.last.as_ref() != Some(id) {
            out += &self.fresh_line();
            if let Some(open) = self.open.get(id) {
                out += &format!("{}\n", open.heading);
            }
            self.last = Some(id.clone());
        }
        for line in text.split_inclusive('\n') {
            if !self.unfinished && line != "\n" {
                out += "    ";
            }
            out += line;
            self.unfinished = !line.ends_with('\n');
        }
        out
    }

    fn fresh_line(&mut self) -> String {
        if std::mem::take(&mut self.unfinished) { "\n".to_owned() } else { String::new() }
    }
}

#[derive(Debug)]
struct Open {
    heading: String,
    progress: Progress,
}

fn heading(item: &Item) -> String {
    match &item.content {
        Content::UserMessage { images: 0, .. } => "user".to_owned(),
        Content::UserMessage { images, .. } => format!("user, with {images} pictures"),
        Content::AssistantMessage { .. } => "assistant".to_owned(),
        Content::Reasoning { .. } => "reasoning".to_owned(),
        Content::ToolCall(call) => format!("{}  {}", one_line(&call.name), one_line(&call.title)),
        Content::Todo { .. } => "to do".to_owned(),
        Content::Compaction { .. } => "the agent shortened its memory".to_owned(),
    }
}

/// What is said below an item's text.
fn foot(view: &View, item: &Item) -> Vec<String> {
    match &item.content {
        Content::ToolCall(call) => result(call).into_iter().chain(changes(view, call)).collect(),
        Content::Todo { entries } => entries.iter().map(todo::line).collect(),
        _ => Vec::new(),
    }
}

fn result(call: &ToolCall) -> Option<String> {
    let word = match call.status {
        ToolStatus::Running => "running",
        ToolStatus::Completed => return call.exit_code.filter(|code| *code != 0).map(|code| format!("(exit {code})")),
        ToolStatus::Failed => "failed",
        ToolStatus::Denied => "not allowed",
        ToolStatus::Interrupted => "interrupted",
    };
    Some(call.exit_code.map_or_else(|| format!("({word})"), |code| format!("({word}, exit {code})")))
}

/// Shows what a tool call changed in files, all of it.
fn changes(view: &View, call: &ToolCall) -> Vec<String> {
    let Some(diff) = call.diff.as_deref().filter(|diff| !diff.is_empty()).map(Diff::parse) else { return Vec::new() };
    let lines = diff.shown(usize::MAX, usize::MAX);
    std::iter::once(format!("({})", diff.count()))
        .chain(lines.iter().map(|(color, line)| view.paint(*color, line)))
        .collect()
}
