//! Timeline entries: what happened to an agent, in the order in which it happened.

use serde::{Deserialize, Serialize};

use crate::model::{ItemId, Outcome, PromptId, Timestamp, TurnId, Usage};

/// One entry of an agent's timeline. It never changes once it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its number: from 1, without gaps, the same for ever.
    pub seq: i64,
    /// When it happened.
    pub at: Timestamp,
    /// The turn it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_id: Option<TurnId>,
    /// The journal record it came from, or after which paseo said it; none for what may be said twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// What happened.
    #[serde(flatten)]
    pub what: Happening,
}

/// Where in the journals of an agent an entry comes from. Replaying a journal writes no entry twice because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Origin {
    /// Which process life, from 1.
    pub run: i64,
    /// Which record of its journal; a number beyond all others for the end of the run.
    pub record: i64,
    /// Which of the entries that this record caused, from 0; from a million on for what paseo said after it.
    pub part: i64,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Happening {
    /// A turn started.
    TurnStarted {
        /// The prompt that it answers; none when the agent started by itself.
        #[serde(rename = "promptId", default, skip_serializing_if = "Option::is_none")]
        prompt_id: Option<PromptId>,
    },
    /// An item began: its text follows as deltas, its final form when it is closed.
    ItemOpened {
        /// The item as far as it is known.
        item: Item,
    },
    /// An item is final. An item that was never opened may be closed: it came whole.
    ItemClosed {
        /// The item.
        item: Item,
    },
    /// Something worth knowing that the agent did not say.
    Notice {
        /// One sentence.
        text: String,
    },
    /// Something failed.
    Error {
        /// One sentence.
        text: String,
    },
    /// A turn ended.
    TurnEnded {
        /// What came of it.
        outcome: Outcome,
        /// Why, where the outcome alone does not say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Tokens and money of the turn.
        #[serde(default)]
        usage: Usage,
    },
}

impl Happening {
    /// Returns the word by which `kinds` selects this entry.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Happening::TurnStarted { .. } => Kind::TurnStarted,
            Happening::ItemOpened { item } | Happening::ItemClosed { item } => match item.content {
                Content::UserMessage { .. } => Kind::UserMessage,
                Content::AssistantMessage { .. } => Kind::AssistantMessage,
                Content::Reasoning { .. } => Kind::Reasoning,
                Content::ToolCall(_) => Kind::ToolCall,
                Content::Todo { .. } => Kind::Todo,
                Content::Compaction { .. } => Kind::Compaction,
            },
            Happening::Notice { .. } => Kind::Notice,
            Happening::Error { .. } => Kind::Error,
            Happening::TurnEnded { .. } => Kind::TurnEnded,
        }
    }
}

/// Kinds of timeline entries, for filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[cfg_attr(feature = "clap", value(rename_all = "snake_case"))]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the entry or item of the same name")]
pub enum Kind {
    UserMessage,
    AssistantMessage,
    Reasoning,
    ToolCall,
    Todo,
    Compaction,
    Notice,
    Error,
    TurnStarted,
    TurnEnded,
}

/// A thing said or done in a turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// Its id within the agent.
    pub item_id: ItemId,
    /// The tool call of the sub-agent that said or did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<ItemId>,
    /// What it is.
    #[serde(flatten)]
    pub content: Content,
}

/// What an item is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// What the agent was told.
    UserMessage {
        /// The text.
        text: String,
        /// How many pictures came with it.
        #[serde(default)]
        images: i64,
    },
    /// What the agent said.
    AssistantMessage {
        /// The text.
        text: String,
    },
    /// What the agent thought.
    Reasoning {
        /// The text.
        text: String,
    },
    /// What the agent did.
    ToolCall(Box<ToolCall>),
    /// The agent's list of what is to be done.
    Todo {
        /// The list, in order.
        entries: Vec<TodoEntry>,
    },
    /// The agent shortened its memory.
    Compaction {
        /// What is known about it.
        text: String,
    },
}

/// A tool call, in one shape for all providers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ToolCall {
    /// What kind of thing it does.
    pub tool: Tool,
    /// The provider's own name for the tool.
    pub name: String,
    /// One line for a person: the command, the path, the query.
    pub title: String,
    /// How far it is.
    pub status: ToolStatus,
    /// What it was given.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub input: serde_json::Value,
    /// What it printed. Beyond 64 KiB the head and the tail, with a line between them that says how much is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Bytes left out of `output`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_bytes: i64,
    /// The exit code of a command that ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// What it changed in files, as a unified diff; beyond 64 KiB its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

impl ToolCall {
    /// Writes an output of which only the ends are kept: `head`, a line that says how much is left out, `tail`.
    #[must_use]
    pub fn shortened(head: &str, omitted_bytes: i64, tail: &str) -> String {
        format!("{head}\n{}\n{tail}", omission(omitted_bytes))
    }

    /// Returns the head and the tail of an output that was shortened; none when nothing was left out.
    #[must_use]
    pub fn ends(&self) -> Option<(&str, &str)> {
        match self.omitted_bytes {
            0 => None,
            bytes => self.output.as_deref()?.split_once(&format!("\n{}\n", omission(bytes))),
        }
    }
}

/// Returns the line that stands for text that is not shown.
#[must_use]
pub fn omission(bytes: i64) -> String {
    format!("… {bytes} bytes left out …")
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// What kind of thing a tool does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words say it")]
pub enum Tool {
    Shell,
    Read,
    Edit,
    Write,
    Search,
    Fetch,
    SubAgent,
    Plan,
    #[serde(other)]
    Other,
}

/// How far a tool call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ToolStatus {
    /// It has not ended.
    Running,
    /// It did what it should.
    Completed,
    /// It failed.
    Failed,
    /// It was not allowed.
    Denied,
    /// It was cut short.
    Interrupted,
}

/// One line of a to-do list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TodoEntry {
    /// What is to be done.
    pub text: String,
    /// How far it is.
    pub status: TodoStatus,
}

/// How far a line of a to-do list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TodoStatus {
    /// Not begun.
    Pending,
    /// Being done.
    InProgress,
    /// Done.
    Completed,
}
