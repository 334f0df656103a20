//! What a person or a program reads while an agent works: events in, text out, no byte twice.

use std::collections::BTreeMap;

use paseo_sdk::item::{Content, Entry, Happening, Item, TodoEntry, Tool};
use paseo_sdk::model::{Delta, Event, ItemId, PromptId, Timestamp, TurnId, Usage};

use crate::progress::Progress;
use crate::render::{Color, outcome_word};
use crate::{todo, tool};

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
    /// The tool call that the last lines were about.
    subject: Option<ItemId>,
    /// The to-do lists as they were last printed, each agent's and sub-agent's.
    todos: BTreeMap<Option<ItemId>, Vec<TodoEntry>>,
    seen: Seen,
}

/// What was seen of the newest turn.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// The exit code of the last script that ended.
    pub exit_code: Option<i64>,
    /// Tokens and money, once it has ended.
    pub usage: Option<Usage>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Seen {
    /// Returns how many milliseconds the turn took; none when it was not seen from its beginning to its end.
    #[must_use]
    pub fn took(&self) -> Option<i64> {
        Some(self.ended_at?.0.saturating_sub(self.started_at?.0))
    }
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
    /// A whole line about the agent, and what its color says.
    Note(Color, String),
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
            subject: None,
            todos: BTreeMap::new(),
            seen: Seen::default(),
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

    /// Returns what was seen of the newest turn.
    #[must_use]
    pub fn seen(&self) -> &Seen {
        &self.seen
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
                self.note(Color::Dim, format!("note: {text}"), out)
            }
            Happening::Error { text } if !foreign || entry.turn_id.is_none() => {
                self.note(Color::Red, format!("error: {text}"), out)
            }
            _ if foreign => {}
            Happening::Notice { .. } | Happening::Error { .. } => {}
            Happening::TurnStarted { .. } => self.seen = Seen { started_at: Some(entry.at), ..Seen::default() },
            Happening::ItemOpened { item } => self.opened(item, entry.at, out),
            Happening::ItemClosed { item } => self.closed(item, entry.at, out),
            Happening::TurnEnded { outcome, reason, usage } => {
                self.seen = Seen { usage: Some(*usage), ended_at: Some(entry.at), ..self.seen };
                self.turn_ended = self.only.is_some();
                if self.only.is_none() {
                    let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                    self.note(Color::Dim, format!("turn {}{reason}", outcome_word(*outcome)), out);
                }
            }
        }
    }

    fn opened(&mut self, item: &Item, at: Timestamp, out: &mut Vec<Piece>) {
        let Some(manner) = self.manner(item) else { return };
        self.open.entry(item.item_id.clone()).or_insert(Open { manner, at, progress: Progress::default() });
        match &item.content {
            Content::UserMessage { text, .. } => {
                self.note(Color::Dim, format!("> {}", text.trim_end().replace('\n', "\n> ")), out);
            }
            Content::Compaction { text } => {
                self.note(Color::Dim, format!("note: the agent shortened its memory: {text}"), out);
            }
            Content::Todo { entries } => self.todo(item, entries, out),
            Content::ToolCall(_) if manner == Manner::Lines => self.tool(item, Vec::new(), out),
            Content::ToolCall(_) | Content::AssistantMessage { .. } | Content::Reasoning { .. } => {}
        }
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

    fn closed(&mut self, item: &Item, at: Timestamp, out: &mut Vec<Piece>) {
        if !self.open.contains_key(&item.item_id) {
            self.opened(item, at, out);
        }
        let Some(Open { manner, at: opened_at, progress }) = self.open.get(&item.item_id).cloned() else { return };
        if manner != Manner::Lines {
            let rest = progress.rest(&item.content);
            self.print(&item.item_id, manner, rest, out);
            if self.unfinished.as_ref() == Some(&item.item_id) {
                out.extend(self.end_line());
            }
        }
        self.open.remove(&item.item_id);
        match &item.content {
            Content::ToolCall(call) if manner == Manner::Text => self.seen.exit_code = call.exit_code,
            Content::ToolCall(call) => {
                let result = tool::result(call, at.0.saturating_sub(opened_at.0));
                if !result.is_empty() {
                    self.tool(item, result, out);
                }
            }
            Content::Todo { entries } => self.todo(item, entries, out),
            _ => {}
        }
    }

    /// Prints lines about a tool call, below the line that says which it is.
    fn tool(&mut self, item: &Item, lines: Vec<(Color, String)>, out: &mut Vec<Piece>) {
        let Content::ToolCall(call) = &item.content else { return };
        let heading = (self.subject.as_ref() != Some(&item.item_id)).then(|| (Color::Bold, tool::heading(call)));
        self.lines(item, heading.into_iter().chain(lines), out);
        self.subject = Some(item.item_id.clone());
    }

    fn todo(&mut self, item: &Item, entries: &[TodoEntry], out: &mut Vec<Piece>) {
        let before = self.todos.insert(item.parent_id.clone(), entries.to_vec()).unwrap_or_default();
        self.lines(item, todo::news(&before, entries), out);
    }

    /// Prints lines about an item, those of a sub-agent further to the right.
    fn lines(&mut self, item: &Item, lines: impl IntoIterator<Item = (Color, String)>, out: &mut Vec<Piece>) {
        let indent = if item.parent_id.is_some() { "  " } else { "" };
        lines.into_iter().for_each(|(color, line)| self.note(color, format!("{indent}{line}"), out));
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

    fn print(&mut self, id: &ItemId, manner: Manner, text: String, out: &mut Vec<Piece>) {
        if text.is_empty() {
            return;
        }
        if self.unfinished.as_ref().is_some_and(|other| other != id) {
            out.extend(self.end_line());
        }
        self.unfinished = (!text.ends_with('\n')).then(|| id.clone());
        self.subject = None;
        out.push(if manner == Manner::Aside { Piece::Aside(text) } else { Piece::Text(text) });
    }

    fn note(&mut self, color: Color, line: String, out: &mut Vec<Piece>) {
        // Where output and notes go different ways, a note does not end the output's line.
        if self.style == Style::Rich {
            out.extend(self.end_line());
        }
        self.subject = None;
        out.push(Piece::Note(color, line));
    }
}

#[derive(Clone, Debug)]
struct Open {
    manner: Manner,
    at: Timestamp,
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
