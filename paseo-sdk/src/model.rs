//! The nouns of paseo as plain data: ids, times, agents, worktrees, permissions, providers.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::item::Entry;

/// One supervised agent, as it is now. Every list, status and snapshot shows this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// The agent's id.
    pub agent_id: AgentId,
    /// What people call it.
    pub title: String,
    /// `provider` or `provider/model`, as it was asked for.
    pub provider: String,
    /// How freely it may act.
    pub mode: Mode,
    /// The directory it works in.
    pub cwd: String,
    /// The worktree it works in, if paseo made one for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree: Option<Worktree>,
    /// Free-form labels for finding it again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The agent that created this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<AgentId>,
    /// What it is doing.
    pub status: Status,
    /// Why the status is what it is, where that needs a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The turn that runs now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
    /// How the last turn ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_turn: Option<TurnEnd>,
    /// The last thing it said, shortened to its last 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message: Option<String>,
    /// Prompts accepted and not yet told, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queued: Vec<PromptId>,
    /// Permissions it is waiting for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<Permission>,
    /// Tokens and money of all its turns.
    #[serde(default)]
    pub usage: Usage,
    /// The process that runs it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i64>,
    /// The number of the newest timeline entry; 0 when there is none.
    pub last_seq: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When anything of this record last changed.
    pub updated_at: Timestamp,
    /// When it was archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_at: Option<Timestamp>,
}

/// What an agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Its process is being started.
    Starting,
    /// Nothing runs and nothing is queued.
    Idle,
    /// A turn runs.
    Running,
    /// A turn runs and waits for a permission.
    Waiting,
    /// Its last turn was interrupted.
    Interrupted,
    /// Its last turn failed, or it could not be started.
    Error,
    /// It is archived: its history stays, its process is gone.
    Archived,
}

/// A turn that runs: everything from one prompt to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Turn {
    /// The turn's id: that of its prompt, or one derived from the record that opened an unsolicited turn.
    pub turn_id: TurnId,
    /// The prompt that it answers; none when the agent started by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_id: Option<PromptId>,
    /// When it started.
    pub started_at: Timestamp,
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TurnEnd {
    /// The turn's id.
    pub turn_id: TurnId,
    /// The prompt that it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_id: Option<PromptId>,
    /// What came of it.
    pub outcome: Outcome,
    /// Why, where the outcome alone does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last thing the agent said in it, shortened to its last 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Tokens and money of this turn.
    #[serde(default)]
    pub usage: Usage,
    /// When it ended.
    pub ended_at: Timestamp,
}

/// What came of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The agent finished.
    Completed,
    /// The agent, or its program, failed.
    Error,
    /// Somebody stopped it, or its process went away.
    Interrupted,
    /// It reached a limit on turns, time or money.
    Limit,
}

/// What came of a wait: the outcome of the turn, or why the wait is over before there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WaitOutcome {
    /// The agent finished.
    Completed,
    /// The agent, or its program, failed.
    Error,
    /// Somebody stopped it, or its process went away.
    Interrupted,
    /// It reached a limit on turns, time or money.
    Limit,
    /// It waits for a permission: answer it, then wait again.
    Permission,
    /// The time given to the wait ran out; the agent goes on.
    TimedOut,
}

impl From<Outcome> for WaitOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed => WaitOutcome::Completed,
            Outcome::Error => WaitOutcome::Error,
            Outcome::Interrupted => WaitOutcome::Interrupted,
            Outcome::Limit => WaitOutcome::Limit,
        }
    }
}

/// Something an agent may not do before somebody says so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Permission {
    /// The request's id, unique within its agent.
    pub request_id: RequestId,
    /// The agent that asks.
    pub agent_id: AgentId,
    /// What it asks for.
    pub kind: PermissionKind,
    /// One line for a person.
    pub title: String,
    /// More, where there is more to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What would be done, as the provider gives it.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub input: serde_json::Value,
    /// Answers it offers beside a plain allow or deny.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<PermissionOption>,
    /// When it was asked.
    pub asked_at: Timestamp,
}

/// What a permission is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PermissionKind {
    /// To use a tool.
    Tool,
    /// An answer to a question.
    Question,
    /// To carry out a plan.
    Plan,
    /// Anything else.
    #[serde(other)]
    Other,
}

/// One answer that a permission request offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PermissionOption {
    /// What to give as `optionId`.
    pub option_id: String,
    /// What a person reads.
    pub label: String,
}

/// How a permission is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Whether the agent may.
    pub behavior: Behavior,
    /// One of the request's options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option_id: Option<String>,
    /// What the agent is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What to do instead of `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_input: Option<serde_json::Value>,
    /// Whether to end the turn as well.
    #[serde(default)]
    pub interrupt: bool,
}

/// Allow or deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum Behavior {
    /// The agent may.
    Allow,
    /// The agent may not.
    Deny,
}

/// What is said to an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Prompt {
    /// The text.
    pub text: String,
    /// Pictures, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
}

/// A picture in a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// For example `image/png`.
    pub media_type: String,
    /// The bytes, in base64.
    pub data: String,
}

/// Tokens and money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: i64,
    /// Tokens read from the provider's cache, not counted in `inputTokens`.
    pub cached_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// US dollars, where the provider reports them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cost_usd = match (self.cost_usd, other.cost_usd) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0.0) + b.unwrap_or(0.0)),
        };
    }
}

/// A worktree of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Worktree {
    /// The branch checked out in it; none when its head is detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch_name: Option<String>,
    /// Where it is.
    pub worktree_path: String,
    /// The name of its directory, by which operations find it.
    pub worktree_slug: String,
    /// What its branch came from; none when that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_branch: Option<String>,
    /// The commit that its branch started at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_commit: Option<String>,
    /// Whether this call made it; false when it was there already.
    #[serde(default)]
    pub created: bool,
    /// How its setup went.
    #[serde(default)]
    pub setup: Setup,
}

/// How the setup of a worktree went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Setup {
    /// Where it stands.
    pub status: SetupStatus,
    /// What there is to know about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Where the setup of a worktree stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SetupStatus {
    /// The repository asks for none.
    #[default]
    None,
    /// The repository asks for one that was not run; the message says why.
    Skipped,
    /// Not started yet.
    Pending,
    /// Running.
    Running,
    /// Done.
    Done,
    /// Failed; the worktree is there all the same.
    Failed,
}

/// A worktree as `list_worktrees` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ListedWorktree {
    /// Where it is.
    pub worktree_path: String,
    /// The name of its directory.
    pub worktree_slug: String,
    /// The repository's main checkout.
    pub repository: String,
    /// The branch checked out in it; none when its head is detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch_name: Option<String>,
    /// The commit checked out in it; none before the first commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_commit: Option<String>,
    /// What its branch came from; none for worktrees that paseo did not make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_branch: Option<String>,
    /// When paseo made it; none for worktrees that it did not make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// Whether it has uncommitted or untracked files.
    pub dirty: bool,
    /// Commits that its base does not have; none without a known base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<i64>,
    /// Commits of its base that it does not have; none without a known base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<i64>,
    /// How its setup went.
    #[serde(default)]
    pub setup: Setup,
    /// Whether its own hooks, settings and servers may run.
    pub trusted: bool,
    /// The agents that work in it, archived ones left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<AgentId>,
    /// Why some of this could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A kind of agent that paseo can run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProviderInfo {
    /// The name to give as `provider`.
    pub name: String,
    /// One line for a person.
    pub description: String,
    /// Whether an agent could be started now.
    pub available: bool,
    /// Why not, and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The installed version of its program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The modes it has, the least free first.
    pub modes: Vec<Mode>,
}

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
    /// Returns how free the mode is: a caller may give no more than it has.
    #[must_use]
    pub fn rank(&self) -> u8 {
        match self {
            Mode::Plan => 0,
            Mode::Default => 1,
            Mode::Auto => 2,
            Mode::FullAccess | Mode::Native { .. } => 3,
        }
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

/// Milliseconds since the Unix epoch; RFC 3339 in UTC on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Returns the time `milliseconds` later; negative for earlier.
    #[must_use]
    pub fn plus(self, milliseconds: i64) -> Timestamp {
        Timestamp(self.0.saturating_add(milliseconds))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = chrono::DateTime::from_timestamp_millis(self.0);
        match time.filter(|time| (0..=9999).contains(&chrono::Datelike::year(time))) {
            Some(time) => f.write_str(&time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
            // Beyond the years that RFC 3339 can say: a damaged number, shown as it is.
            None => write!(f, "@{}", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(number) = text.strip_prefix('@') {
            return number.parse().map(Timestamp).map_err(|error| format!("not a time: `{text}`: {error}"));
        }
        chrono::DateTime::parse_from_rfc3339(text)
            .map(|time| Timestamp(time.timestamp_millis()))
            .map_err(|error| format!("not an RFC 3339 time: `{text}`: {error}"))
    }
}

/// Text that serde reads and writes through `FromStr` and `Display`, with a plain string for its schema.
macro_rules! text_on_the_wire {
    ($($name:ident: $description:literal),* $(,)?) => {$(
        impl TryFrom<String> for $name {
            type Error = <$name as FromStr>::Err;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "description": $description })
            }
        }
    )*};
}

text_on_the_wire! {
    Mode: "`plan`, `default`, `auto`, `full-access`, or a provider's own as `provider:name`",
    Timestamp: "RFC 3339, UTC",
    Duration: "a duration such as `90s`, `5m`, `1h30m` or `1.5h`",
    AgentId: "1 to 64 of letters, digits, `-`, `_` and `.`, starting with a letter or digit",
    PromptId: "1 to 64 of letters, digits, `-`, `_` and `.`, starting with a letter or digit",
}

/// A length of time; on the wire text such as `90s`, `5m`, `1h30m` or `1.5h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration {
    /// Milliseconds; never negative.
    pub milliseconds: i64,
}

impl Duration {
    const UNITS: [(&'static str, i64); 5] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.milliseconds == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.milliseconds;
        for (unit, size) in Duration::UNITS {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refusal =
            |why: &str| format!("not a duration: `{text}`: {why}; write for example `90s`, `5m`, `1h30m` or `1.5h`");
        let mut rest = text;
        let mut total = 0i64;
        // Each part must have a smaller unit than the one before, so `5m5m` and `1s1h` are refused as slips.
        let mut smallest = i64::MAX;
        if rest.is_empty() {
            return Err(refusal("it is empty"));
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, after) = rest.split_at(digits);
            let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (unit, after) = after.split_at(letters);
            let Some((_, size)) = Duration::UNITS.into_iter().find(|(name, _)| *name == unit) else {
                return Err(refusal("every number needs one of the units d, h, m, s, ms"));
            };
            if size >= smallest {
                return Err(refusal("units go from large to small, each once"));
            }
            smallest = size;
            let amount = parse_decimal(number, size).ok_or_else(|| refusal("a number is malformed or too large"))?;
            total = total.checked_add(amount).ok_or_else(|| refusal("it is too long"))?;
            rest = after;
        }
        Ok(Duration { milliseconds: total })
    }
}

/// Multiplies a decimal such as `1.5` by `size`, exactly; fractions of a millisecond are cut off.
fn parse_decimal(number: &str, size: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 || fraction.contains('.') {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let scale = 10i64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction: i64 = fraction.parse().ok()?;
    whole
        .checked_mul(size)?
        .checked_add(i64::try_from(i128::from(fraction) * i128::from(size) / i128::from(scale)).ok()?)
}

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

/// A piece of an item's text that is still being written.
///
/// It has no sequence number and may be left out for a slow watcher: the closed item says it all again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Delta {
    /// The item it belongs to.
    pub item_id: ItemId,
    /// Where in the item's text it stands, in bytes of UTF-8.
    pub offset: i64,
    /// The piece.
    pub text: String,
}

/// What a watcher is told; a JSON-RPC notification whose method is the variant's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", content = "params", rename_all = "snake_case")]
pub enum Event {
    /// An agent as it is now; the latest one counts.
    AgentChanged(Box<Agent>),
    /// A new entry of a watched timeline.
    AgentEntry {
        /// The agent.
        #[serde(rename = "agentId")]
        agent_id: AgentId,
        /// The entry.
        entry: Box<Entry>,
    },
    /// A piece of text of an item that is still open.
    AgentText {
        /// The agent.
        #[serde(rename = "agentId")]
        agent_id: AgentId,
        /// The piece.
        #[serde(flatten)]
        delta: Delta,
    },
    /// An agent was deleted.
    AgentRemoved {
        /// The agent.
        #[serde(rename = "agentId")]
        agent_id: AgentId,
    },
}
