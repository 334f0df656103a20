//! A request for a response, as far as scripts and tests look at it.

use serde::Deserialize;

/// What the program sent to `/v1/responses`.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Sent")]
pub(crate) struct Request {
    pub(crate) model: String,
    /// What the model is told apart from the conversation. Newer models hear it as the first developer message instead.
    pub(crate) instructions: String,
    pub(crate) input: Vec<Item>,
    /// The names of the tools that are offered; those of a namespace as `namespace/name`.
    pub(crate) tools: Vec<String>,
    /// How much the model is to reason.
    pub(crate) effort: Option<String>,
    /// Which conversation it says it is.
    pub(super) conversation: Option<String>,
}

/// Something that was said or done in the conversation.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Item {
    Message(Message),
    FunctionCall {},
    CustomToolCall {},
    FunctionCallOutput {
        output: Output,
    },
    CustomToolCallOutput {
        output: Output,
    },
    /// Where newer models find their tools.
    AdditionalTools {
        #[serde(default)]
        tools: Vec<Tool>,
    },
    /// Reasoning, and whatever else there is.
    #[serde(other)]
    Other,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(crate) struct Message {
    pub(crate) role: Role,
    content: Output,
    phase: Option<String>,
}

/// Who speaks. The program itself speaks as the developer, and now and then as the user.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    User,
    Assistant,
    Developer,
    System,
}

/// One text, or parts.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub(crate) enum Output {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Part {
    InputText {
        text: String,
    },
    OutputText {
        text: String,
    },
    InputImage {},
    #[serde(other)]
    Other,
}

/// A tool, or several of a namespace.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(crate) struct Tool {
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
    #[serde(default)]
    tools: Vec<Tool>,
}

impl Request {
    /// Returns every text that one of them said, in order.
    pub(crate) fn texts(&self, role: Role) -> impl DoubleEndedIterator<Item = &str> {
        let messages = self.input.iter().filter_map(Item::message).filter(move |message| message.role == role);
        messages.flat_map(Message::texts)
    }
}

impl Item {
    pub(crate) fn message(&self) -> Option<&Message> {
        match self {
            Item::Message(message) => Some(message),
            _ => None,
        }
    }

    /// Returns what a tool came to.
    pub(super) fn output(&self) -> Option<&Output> {
        match self {
            Item::FunctionCallOutput { output } | Item::CustomToolCallOutput { output } => Some(output),
            _ => None,
        }
    }

    /// Says whether a response of the model ends with it. What it says on the way does not.
    pub(super) fn ends_response(&self) -> bool {
        match self {
            Item::FunctionCall {} | Item::CustomToolCall {} => true,
            Item::Message(Message { role: Role::Assistant, phase, .. }) => phase.as_deref() != Some(COMMENTARY),
            _ => false,
        }
    }

    /// Returns how many images it holds.
    pub(super) fn images(&self) -> usize {
        match self.output().or(self.message().map(|message| &message.content)) {
            Some(Output::Parts(parts)) => parts.iter().filter(|part| matches!(part, Part::InputImage {})).count(),
            _ => 0,
        }
    }
}

impl Message {
    pub(crate) fn texts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.content.texts()
    }
}

impl Output {
    pub(super) fn texts(&self) -> impl DoubleEndedIterator<Item = &str> {
        let (text, parts) = match self {
            Output::Text(text) => (Some(text.as_str()), [].as_slice()),
            Output::Parts(parts) => (None, parts.as_slice()),
        };
        text.into_iter().chain(parts.iter().filter_map(|part| match part {
            Part::InputText { text } | Part::OutputText { text } => Some(text.as_str()),
            Part::InputImage {} | Part::Other => None,
        }))
    }
}

impl Tool {
    fn names(&self) -> Vec<String> {
        let name = self.name.as_ref().unwrap_or(&self.kind);
        if self.kind == "namespace" {
            self.tools.iter().flat_map(Tool::names).map(|tool| format!("{name}/{tool}")).collect()
        } else {
            vec![name.clone()]
        }
    }
}

/// A request as it is on the wire.
#[derive(Deserialize)]
struct Sent {
    model: String,
    #[serde(default)]
    instructions: Option<String>,
    input: Vec<Item>,
    #[serde(default)]
    tools: Vec<Tool>,
    reasoning: Option<Reasoning>,
    prompt_cache_key: Option<String>,
}

#[derive(Deserialize)]
struct Reasoning {
    effort: Option<String>,
}

impl From<Sent> for Request {
    fn from(sent: Sent) -> Request {
        let Sent { model, instructions, input, tools, reasoning, prompt_cache_key } = sent;
        let additional = input.iter().flat_map(|item| match item {
            Item::AdditionalTools { tools } => tools.as_slice(),
            _ => &[],
        });
        Request {
            tools: tools.iter().chain(additional).flat_map(Tool::names).collect(),
            model,
            instructions: instructions.unwrap_or_default(),
            input,
            effort: reasoning.and_then(|reasoning| reasoning.effort),
            conversation: prompt_cache_key,
        }
    }
}

/// The phase of what is said on the way.
pub(super) const COMMENTARY: &str = "commentary";
