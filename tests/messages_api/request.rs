//! A request for a message, as far as scripts and tests look at it.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// What the program sent to `/v1/messages`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Request {
    pub(crate) model: String,
    pub(crate) messages: Vec<Message>,
    /// The system prompt, its blocks joined by empty lines.
    #[serde(default, deserialize_with = "joined")]
    pub(crate) system: String,
    /// The names of the tools that are offered.
    #[serde(default, deserialize_with = "names")]
    pub(crate) tools: Vec<String>,
    #[serde(default)]
    pub(super) stream: bool,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(crate) struct Message {
    pub(crate) role: Role,
    #[serde(deserialize_with = "blocks")]
    pub(crate) content: Vec<Block>,
}

/// Who speaks. The program itself speaks as the system within a conversation.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    User,
    Assistant,
    System,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Block {
    Text {
        text: String,
    },
    Image {},
    ToolResult {
        #[serde(default, deserialize_with = "blocks")]
        content: Vec<Block>,
        #[serde(default)]
        is_error: bool,
    },
    /// Thinking, a tool's use, and whatever else there is.
    #[serde(other)]
    Other,
}

impl Message {
    pub(crate) fn texts(&self) -> impl DoubleEndedIterator<Item = &str> {
        texts(&self.content)
    }

    /// Returns how many images it holds, those in tool results too.
    pub(super) fn images(&self) -> usize {
        images(&self.content)
    }
}

pub(super) fn texts(blocks: &[Block]) -> impl DoubleEndedIterator<Item = &str> {
    blocks.iter().filter_map(|block| match block {
        Block::Text { text } => Some(text.as_str()),
        _ => None,
    })
}

fn images(blocks: &[Block]) -> usize {
    let count = |block: &Block| match block {
        Block::Image {} => 1,
        Block::ToolResult { content, .. } => images(content),
        _ => 0,
    };
    blocks.iter().map(count).sum()
}

/// Content is a string or blocks.
fn blocks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Block>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(vec![Block::Text { text }]),
        blocks => serde_json::from_value(blocks).map_err(serde::de::Error::custom),
    }
}

fn joined<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let blocks = blocks(from)?;
    Ok(texts(&blocks).collect::<Vec<_>>().join("\n\n"))
}

fn names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    struct Tool {
        name: String,
    }
    let tools = Vec::<Tool>::deserialize(from)?;
    Ok(tools.into_iter().map(|tool| tool.name).collect())
}
