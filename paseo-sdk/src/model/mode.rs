//! How freely an agent may act.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::text_on_the_wire;

/// How freely an agent may act; ordered from the least free to the most.
///
/// On the wire a word: `plan`, `default`, `auto`, `full-access`, or a provider's own as `provider:name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Mode {
    /// Reads and plans; changes nothing.
    Plan,
    /// Asks before it acts.
    #[default]
    Default,
    /// Acts within its sandbox or directory, asks beyond.
    Auto,
    /// Acts.
    FullAccess,
    /// A provider's own mode; counts as free as `full-access`.
    Native {
        /// The provider.
        provider: String,
        /// Its name for the mode.
        name: String,
    },
}

impl Mode {
    /// Returns how free the mode is at most.
    #[must_use]
    pub fn rank(&self) -> u8 {
        match self {
            Mode::Plan => 0,
            Mode::Default => 1,
            Mode::Auto => 2,
            Mode::FullAccess | Mode::Native { .. } => 3,
        }
    }

    /// Returns whether an agent in this mode may give another one `mode` without asking. A provider's own mode may be
    /// as free as any, and as tied as `default`: it gives itself, and no more than that.
    #[must_use]
    pub fn may_give(&self, mode: &Mode) -> bool {
        let least = match self {
            Mode::Native { .. } => Mode::Default.rank(),
            mode => mode.rank(),
        };
        self == mode || mode.rank() <= least
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mode::Plan => f.write_str("plan"),
            Mode::Default => f.write_str("default"),
            Mode::Auto => f.write_str("auto"),
            Mode::FullAccess => f.write_str("full-access"),
            Mode::Native { provider, name } => write!(f, "{provider}:{name}"),
        }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "plan" => Ok(Mode::Plan),
            "default" => Ok(Mode::Default),
            "auto" => Ok(Mode::Auto),
            "full-access" => Ok(Mode::FullAccess),
            _ => match text.split_once(':') {
                Some((provider, name)) if !provider.is_empty() && !name.is_empty() => {
                    Ok(Mode::Native { provider: provider.to_owned(), name: name.to_owned() })
                }
                _ => Err(format!(
                    "unknown mode `{text}`: give `plan`, `default`, `auto`, `full-access`, or a provider's own as `provider:name`"
                )),
            },
        }
    }
}

text_on_the_wire! {
    Mode: "`plan`, `default`, `auto`, `full-access`, or a provider's own as `provider:name`",
}
