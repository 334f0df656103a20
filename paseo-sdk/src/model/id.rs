//! Ids: those that callers choose, and those that paseo or a provider makes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::text_on_the_wire;

/// Ids that callers may choose, and that name files: checked when they are parsed, trusted afterwards.
macro_rules! chosen_id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the id's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let fits = (1..=64).contains(&text.len())
                    && text.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
                if !fits {
                    return Err(format!(
                        "`{}` is not an id: give 1 to 64 letters, digits, `-` or `_`, a letter or digit first",
                        text.chars().take(80).collect::<String>().escape_debug()
                    ));
                }
                Ok($name(text.to_owned()))
            }
        }
    )*};
}

chosen_id! {
    /// The id of an agent.
    AgentId,
    /// The id of a prompt.
    PromptId,
    /// The id of a schedule.
    ScheduleId,
}

/// Ids that paseo or a provider makes; any text.
macro_rules! given_id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// Returns the id's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> $name {
                $name(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> $name {
                $name(text)
            }
        }
    )*};
}

given_id! {
    /// The id of a turn within its agent.
    TurnId,
    /// The id of a timeline item within its agent.
    ItemId,
    /// The id of a permission request within its agent.
    RequestId,
    /// An agent as people and programs name it: its id, an unambiguous prefix of that, or its exact title.
    AgentRef,
    /// A schedule as people and programs name it: its id, an unambiguous prefix of that, or its exact name.
    ScheduleRef,
}

impl From<AgentId> for AgentRef {
    fn from(id: AgentId) -> AgentRef {
        AgentRef(id.0)
    }
}

impl From<&AgentId> for AgentRef {
    fn from(id: &AgentId) -> AgentRef {
        AgentRef(id.0.clone())
    }
}

impl From<&ScheduleId> for ScheduleRef {
    fn from(id: &ScheduleId) -> ScheduleRef {
        ScheduleRef(id.0.clone())
    }
}

text_on_the_wire! {
    AgentId: "1 to 64 of letters, digits, `-` and `_`, starting with a letter or digit",
    ScheduleId: "1 to 64 of letters, digits, `-` and `_`, starting with a letter or digit",
    PromptId: "1 to 64 of letters, digits, `-` and `_`, starting with a letter or digit",
}
