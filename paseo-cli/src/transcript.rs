//! What a person or a program reads while an agent works: events in, text out, no byte twice.

use std::collections::BTreeMap;

use paseo_sdk::item::{Content, Entry, Happening, Item, TodoEntry, TodoStatus, Tool, ToolCall, ToolStatus};
use paseo_sdk::model::{Delta, Event, ItemId, PromptId, TurnId};

use crate::progress::Progress;
use crate::render::{one_line, outcome_word};

/// Turns what a watcher is told into what is printed.
///
/// Text that is still being written is printed as it comes. Where a piece was left out, what follows waits for the
/// closed item, which says it all again, as long as that is short enough to be kept whole.
#[derive(Debug)]
pub struct Transcript {
    style: Style,
    voice: Voice,
    /// Only what belongs to this prompt's turn.
    only: Option<PromptId>,
    /// The turn of `only`, once it has started.
    turn: Option<TurnId>,
    turn_ended: bool,
    seq: i64,
    open: BTreeMap<ItemId, Open>,
    /// The item whose text was printed last, when it did not end its line.
    unfinished: Option<ItemId>,
    exit_code: Option<i64>,
}

/// For whom it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// For a file or a program: only the agent's own text, and what paseo has to say about it.
    Plain,
    /// For a person: what the agent thinks and does as well.
    Rich,
}

/// Which of an agent's items are its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// What it says.
    Messages,
    /// What its script prints.
    Script,
}

impl Voice {
    /// Returns the voice of a provider's agents.
    #[must_use]
    pub fn of(provider: &str) -> Voice {
        match provider.split('/').next() {
            Some("shell") => Voice::Script,
            _ => Voice::Messages,
        }
    }
}

/// Something to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A piece of the agent's output.
    Text(String),
    /// A piece of what the agent thinks or does beside; only in rich style.
    Aside(String),
    /// A whole line about the agent.
    Note(String),
}

impl Transcript {
    /// Begins a transcript. With `only`, it is about this prompt's turn and nothing else.
    #[must_use]
    pub fn new(style: Style, voice: Voice, only: Option<PromptId>) -> Transcript {
        Transcript {
            style,
            voice,
            only,
            turn: None,
            turn_ended: false,
            seq: 0,
            open: BTreeMap::new(),
            unfinished: None,
            exit_code: None,
        }
    }

    /// Returns the number of the newest entry that was fed.
    #[must_use]
    pub fn seq(&self) -> i64 {
        self.seq
    }

    /// Returns whether the turn of the one prompt that this is about has ended.
    #[must_use]
    pub fn turn_ended(&self) -> bool {
        self.turn_ended
    }

    /// Returns the exit code of the last script that ended.
    #[must_use]
    pub fn exit_code(&self) -> Option<i64> {
        self.exit_code
    }

    /// Takes what the watcher was told, and returns what to print.
    pub fn feed(&mut self, event: &Event) -> Vec<Piece> {
        let mut out = Vec::new();
        match event {
            Event::AgentEntry { entry, .. } if entry.seq > self.seq => {
                self.seq = entry.seq;
                self.entry(entry, &mut out);
            }
            Event::AgentText { delta, .. } => self.delta(delta, &mut out),
            Event::AgentEntry { .. } | Event::AgentChanged(_) | Event::AgentRemoved { .. } => {}
        }
        out
    }

    /// Ends the line that is being printed, if one is, so that something else can follow.
    pub fn end_line(&mut self) -> Option<Piece> {
        let id = self.unfinished.take()?;
        let text = self.open.get(&id).is_none_or(|open| open.manner == Manner::Text);
        // A file gets what the script printed and nothing more.
        let exact = self.style == Style::Plain && self.voice == Voice::Script;
        (!exact).then(|| if text { Piece::Text("\n".to_owned()) } else { Piece::Aside("\n".to_owned()) })
    }

    fn entry(&mut self, entry: &Entry, out: &mut Vec<Piece>) {
        if let (Happening::TurnStarted { prompt_id: Some(prompt) }, Some(only)) = (&entry.what, &self.only)
            && prompt == only
        {
            self.turn.clone_from(&entry.turn_id);
        }
        let foreign = self.only.is_some() && (self.turn.is_none() || entry.turn_id != self.turn);
        match &entry.what {
            Happening::Notice { text } if !foreign || entry.turn_id.is_none() => {
                self.note(format!("note: {text}"), out)
            }
            Happening::Error { text } if !foreign || entry.turn_id.is_none() => {
                self.note(format!("error: {text}"), out)
            }
            _ if foreign => {}
            Happening::TurnStarted { .. } | Happening::Notice { .. } | Happening::Error { .. } => {}
            Happening::ItemOpened { item } => self.opened(item, out),
            Happening::ItemClosed { item } => self.closed(item, out),
            Happening::TurnEnded { outcome, reason, .. } => {
                self.turn_ended = self.only.is_some();
                if self.only.is_none() {
                    let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                    self.note(format!("turn {}{reason}", outcome_word(*outcome)), out);
                }
            }
        }
    }

    fn opened(&mut self, item: &Item, out: &mut Vec<Piece>) {
        let Some(manner) = self.manner(item) else { return };
        if let Some(heading) = self.heading(item) {
            self.note(heading, out);
        }
        self.open.entry(item.item_id.clone()).or_insert(Open { manner, progress: Progress::default() });
    }

    fn delta(&mut self, delta: &Delta, out: &mut Vec<Piece>) {
        // An item that was not opened here is another turn's, or one that is not shown.
        let Some(open) = self.open.get_mut(&delta.item_id) else { return };
        if open.manner == Manner::Lines {
            return;
        }
        let (manner, text) = (open.manner, open.progress.delta(delta.offset, &delta.text));
        self.print(&delta.item_id, manner, text, out);
    }

    fn closed(&mut self, item: &Item, out: &mut Vec<Piece>) {
        let opened = self.open.contains_key(&item.item_id);
        if !opened {
            self.opened(item, out);
        }
        let Some(Open { manner, progress }) = self.open.get(&item.item_id).cloned() else { return };
        if manner != Manner::Lines {
            let rest = progress.rest(&item.content);
            self.print(&item.item_id, manner, rest, out);
            if self.unfinished.as_ref() == Some(&item.item_id) {
                out.extend(self.end_line());
            }
        }
        self.open.remove(&item.item_id);
        if let Content::ToolCall(call) = &item.content {
            match manner {
                Manner::Text => self.exit_code = call.exit_code,
                _ => result(call).into_iter().for_each(|line| self.note(line, out)),
            }
        }
    }

    /// How an item is shown; none when it is not.
    fn manner(&self, item: &Item) -> Option<Manner> {
        let rich = self.style == Style::Rich;
        match &item.content {
            // What a sub-agent says is for the agent that asked it.
            Content::AssistantMessage { .. } => item.parent_id.is_none().then_some(Manner::Text),
            Content::ToolCall(call) if self.voice == Voice::Script && call.tool == Tool::Shell => Some(Manner::Text),
            Content::Reasoning { .. } => (rich && item.parent_id.is_none()).then_some(Manner::Aside),
            Content::UserMessage { .. } => (rich && self.only.is_none()).then_some(Manner::Lines),
            Content::ToolCall(_) | Content::Todo { .. } | Content::Compaction { .. } => rich.then_some(Manner::Lines),
        }
    }

    fn heading(&self, item: &Item) -> Option<String> {
        let indent = if item.parent_id.is_some() { "  " } else { "" };
        match &item.content {
            Content::UserMessage { text, .. } => Some(format!("> {}", text.trim_end().replace('\n', "\n> "))),
            Content::ToolCall(call) if self.manner(item) == Some(Manner::Lines) => {
                Some(format!("{indent}* {}", one_line(&call.title)))
            }
            Content::Todo { entries } => Some(entries.iter().map(todo_line).collect::<Vec<_>>().join("\n")),
            Content::Compaction { text } => Some(format!("note: the agent shortened its memory: {text}")),
            _ => None,
        }
    }

    fn print(&mut self, id: &ItemId, manner: Manner, text: String, out: &mut Vec<Piece>) {
        if text.is_empty() {
            return;
        }
        if self.unfinished.as_ref().is_some_and(|other| other != id) {
            out.extend(self.end_line());
        }
        self.unfinished = (!text.ends_with('\n')).then(|| id.clone());
        out.push(if manner == Manner::Aside { Piece::Aside(text) } else { Piece::Text(text) });
    }

    fn note(&mut self, line: String, out: &mut Vec<Piece>) {
        // Where output and notes go different ways, a note does not end the output's line.
        if self.style == Style::Rich {
            out.extend(self.end_line());
        }
        out.push(Piece::Note(line));
    }
}

#[derive(Clone, Debug)]
struct Open {
    manner: Manner,
    progress: Progress,
}

/// How an item is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Its text, as output.
    Text,
    /// Its text, beside the output.
    Aside,
    /// A few lines about it.
    Lines,
}

/// Says how a tool call went, where that is worth a line; of a failed one also the end of what it printed.
fn result(call: &ToolCall) -> Vec<String> {
    const SHOWN: usize = 5;
    let word = match call.status {
        ToolStatus::Running | ToolStatus::Completed => return Vec::new(),
        ToolStatus::Failed => "failed",
        ToolStatus::Denied => "not allowed",
        ToolStatus::Interrupted => "interrupted",
    };
    let code = call.exit_code.map(|code| format!(" (exit {code})")).unwrap_or_default();
    let output: Vec<_> = call.output.as_deref().unwrap_or("").trim_end().lines().collect();
    let shown = &output[output.len().saturating_sub(SHOWN)..];
    std::iter::once(format!("  {word}{code}")).chain(shown.iter().map(|line| format!("  | {line}"))).collect()
}

/// Shows one line of a to-do list.
pub(crate) fn todo_line(entry: &TodoEntry) -> String {
    let mark = match entry.status {
        TodoStatus::Pending => ' ',
        TodoStatus::InProgress => '>',
        TodoStatus::Completed => 'x',
    };
    format!("[{mark}] {}", one_line(&entry.text))
}
