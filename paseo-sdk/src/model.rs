//! The nouns of paseo as plain data: ids, times, agents, worktrees, permissions, providers.

mod id;
mod mode;
mod schedule;
mod text;
mod time;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::id::{AgentId, AgentRef, ItemId, PromptId, RequestId, ScheduleId, ScheduleRef, TurnId};
pub use self::mode::Mode;
pub use self::schedule::{Overlap, Rhythm, Run, RunStatus, Schedule, ScheduleStatus, Task, WhenMissed};
pub use self::time::{Duration, Timestamp};
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
    /// What would be done, as the provider gives it. For a plan `{"plan": "…"}`, in Markdown. For a question
    /// `{"questions": [{"question": "Which color?", "header": "Color", "options": [{"label": "Blue", "description":
    /// "…"}], "multiSelect": false}]}`.
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
    /// The mode that the agent is in afterwards, where choosing this changes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
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
    /// Whether the program may take its text for more than text: a command, or a file to read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raw: bool,
    /// What paseo adds about what happened in between; no caller gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The agent or the schedule that says it; none for the user and for paseo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Speaker>,
    /// The keys of the reports that it is made of, where paseo says it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<String>,
}

impl Prompt {
    /// Returns whether both say the same, whoever says it.
    #[must_use]
    pub fn says_the_same(&self, other: &Prompt) -> bool {
        self.text == other.text && self.images == other.images && self.raw == other.raw
    }
}

/// Who says something to an agent, when it is not the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Speaker {
    /// Another agent.
    Agent {
        /// The agent.
        agent_id: AgentId,
        /// What it was called when it said so.
        title: String,
    },
    /// A schedule.
    Schedule {
        /// The schedule.
        schedule_id: ScheduleId,
        /// What it was called when it said so.
        name: String,
        /// The agent that made it; none when a person did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        made_by: Option<AgentId>,
    },
}

impl fmt::Display for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Speaker::Agent { agent_id, title } => write!(f, "agent “{}” ({agent_id})", in_one_line(title, usize::MAX)),
            Speaker::Schedule { schedule_id, name, made_by } => {
                write!(f, "schedule “{}” ({schedule_id})", in_one_line(name, usize::MAX))?;
                made_by.as_ref().map_or(Ok(()), |agent| write!(f, " of agent {agent}"))
            }
        }
    }
}

/// Makes one line, of at most `most` bytes, of a text that somebody else wrote, so that it cannot be taken for more than it
/// is.
///
/// ```
/// use paseo_sdk::model::in_one_line;
///
/// assert_eq!(in_one_line("fix\nthe  tests", 80), "fix the tests");
/// assert_eq!(in_one_line("fix the tests", 10), "fix the…");
/// ```
#[must_use]
pub fn in_one_line(text: &str, most: usize) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > most {
            let mut cut = most.saturating_sub('…'.len_utf8());
            while !line.is_char_boundary(cut) {
                cut -= 1;
            }
            line.truncate(cut);
            line.push('…');
            break;
        }
    }
    line
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
    /// The commit that its branch started at; for a pull request the one of its base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_commit: Option<String>,
    /// The pull request that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequest>,
    /// Whether this call made it; false when it was there already.
    #[serde(default)]
    pub created: bool,
    /// How its setup went.
    #[serde(default)]
    pub setup: Setup,
    /// Whether its own hooks, settings and servers may run.
    #[serde(default = "yes")]
    pub trusted: bool,
}

fn yes() -> bool {
    true
}

/// A pull request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PullRequest {
    /// Its number.
    pub number: i64,
    /// What it is called; none where nobody could be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
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
    /// The file with its output; none before it has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
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
    /// The pull request that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequest>,
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
    /// One line for a person: what it is, or the label that the settings give a variant.
    pub description: String,
    /// The built-in provider that this is a variant of; none for a built-in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<String>,
    /// Whether an agent could be started now.
    pub available: bool,
    /// Why not, and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The installed version of its program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether its program is logged in; none where there is nothing to log in to, or it cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logged_in: Option<bool>,
    /// The modes it has, the least free first.
    pub modes: Vec<Mode>,
}

/// A model as `list_models` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ListedModel {
    /// Whose it is.
    pub provider: String,
    /// What to give as `model`, or after the slash of `provider`.
    pub model: String,
    /// What people call it.
    pub name: String,
    /// One line about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How much it can be told to think, in the provider's words, the least first; none when that cannot be chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thinking: Vec<String>,
}

impl ListedModel {
    /// Shows a model of `provider`.
    #[must_use]
    pub fn of(provider: &str, model: Model) -> ListedModel {
        let Model { model, name, description, thinking } = model;
        ListedModel { provider: provider.to_owned(), model, name, description, thinking }
    }
}

/// Where the models of a provider are from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ModelSource {
    /// The provider.
    pub provider: String,
    /// When its program said them; none when it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched_at: Option<Timestamp>,
    /// Why it has not, or has not again, and what to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A model of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// What to give as `model`, or after the slash of `provider`.
    pub model: String,
    /// What people call it.
    pub name: String,
    /// One line about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How much it can be told to think, in the provider's words, the least first; none when that cannot be chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thinking: Vec<String>,
}

/// How far a call is that is under way.
///
/// On the wire it is a JSON-RPC notification `progress`, whose parameters are these fields and the call's `id`. Only calls
/// that take a while say it, and whoever reads slowly gets the newest only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What is being done, in one word: `checkout`, for example.
    pub step: String,
    /// The same in a few words for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How much of the step is done; none when that is not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<i64>,
    /// How much there is to do; none as long as that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
    /// What `done` and `total` count: `files`, for example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The bytes that were moved so far, beside what `done` counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
}

impl Progress {
    /// Says that a step is being done, and no numbers.
    #[must_use]
    pub fn new(step: impl Into<String>) -> Progress {
        Progress { step: step.into(), ..Progress::default() }
    }

    /// Sets what a person reads.
    #[must_use]
    pub fn message(self, message: impl Into<String>) -> Progress {
        Progress { message: Some(message.into()), ..self }
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
