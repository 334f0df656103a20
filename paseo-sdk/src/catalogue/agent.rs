//! Operations on agents.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::CreateWorktree;
use crate::item::{Entry, Kind};
use crate::model::{
    Agent, AgentId, AgentRef, Delta, Duration, Image, Mode, Permission, PromptId, Status, Timestamp, Usage, WaitOutcome,
};

/// Starts an agent on a task, and by default waits until it has finished or asks for permission.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateAgent {
    /// What people call the agent: a few words about the task.
    pub title: String,
    /// Which agent: `provider` or `provider/model`, such as `claude/sonnet` or `shell`.
    pub provider: String,
    /// The task. For `shell`, a script.
    pub initial_prompt: String,
    /// The directory to work in, an absolute path. Default: that of the calling agent; without one it is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Answer as soon as the task is accepted instead of when it has ended.
    #[serde(default)]
    pub background: bool,
    /// Tell the calling agent, by a prompt, when this one finishes, fails or needs permission.
    #[serde(default)]
    pub notify_on_finish: bool,
    /// The id to give the agent. The same id with the same arguments gets the same agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// The id to give the initial prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_id: Option<PromptId>,
    /// How freely it may act: `plan`, `default`, `auto` or `full-access`, the least free first, or a provider's own, such
    /// as `claude:dontAsk`. Default: the calling agent's mode, else `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The model, in place of the one in `provider`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How much to think, in the provider's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
    /// Free-form labels for finding it again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Pictures that go with the prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
    /// Let the agent's program take the prompt for more than text: a leading `/` for a command, `@path` for a file to read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raw: bool,
    /// Text added to the provider's own system prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// MCP servers for the agent, by name, as the provider's own configuration writes them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mcp_servers: BTreeMap<String, serde_json::Value>,
    /// Whether the agent gets the tools of paseo itself, as the MCP server `paseo`. Default: as the daemon's settings say,
    /// which is yes; never for `shell`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inject_tools: Option<bool>,
    /// Environment variables added to the daemon's. Kept in a private file, never shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Make this worktree first, and work in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree: Option<CreateWorktree>,
}

impl CreateAgent {
    /// Makes a request with what is always needed.
    #[must_use]
    pub fn new(
        title: impl Into<String>,
        provider: impl Into<String>,
        initial_prompt: impl Into<String>,
    ) -> CreateAgent {
        CreateAgent {
            title: title.into(),
            provider: provider.into(),
            initial_prompt: initial_prompt.into(),
            ..CreateAgent::default()
        }
    }

    /// Sets the directory to work in, an absolute path.
    #[must_use]
    pub fn cwd(self, cwd: impl Into<String>) -> CreateAgent {
        CreateAgent { cwd: Some(cwd.into()), ..self }
    }

    /// Sets how freely it may act.
    #[must_use]
    pub fn mode(self, mode: Mode) -> CreateAgent {
        CreateAgent { mode: Some(mode), ..self }
    }

    /// Answers as soon as the task is accepted.
    #[must_use]
    pub fn in_background(self) -> CreateAgent {
        CreateAgent { background: true, ..self }
    }

    /// Makes this worktree first, and works in it.
    #[must_use]
    pub fn worktree(self, worktree: CreateWorktree) -> CreateAgent {
        CreateAgent { worktree: Some(worktree), ..self }
    }
}

/// Says something to an agent, and by default waits until it has answered. Wakes it if its process has gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SendAgentPrompt {
    /// The agent: its id, an unambiguous prefix of it, or its exact title.
    pub agent_id: AgentRef,
    /// What to say. For `shell`, a script.
    pub prompt: String,
    /// The id to give the prompt. The same id with the same arguments is said once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_id: Option<PromptId>,
    /// Answer as soon as the prompt is accepted.
    #[serde(default)]
    pub background: bool,
    /// Pictures that go with the prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
    /// Let the agent's program take the prompt for more than text: a leading `/` for a command, `@path` for a file to read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raw: bool,
    /// What to do when a turn runs already.
    #[serde(default)]
    pub when_busy: WhenBusy,
    /// Tell the calling agent, by a prompt, when this one finishes, fails or needs permission.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub notify_on_finish: bool,
}

impl SendAgentPrompt {
    /// Makes a request with what is always needed.
    #[must_use]
    pub fn new(agent: impl Into<AgentRef>, prompt: impl Into<String>) -> SendAgentPrompt {
        SendAgentPrompt {
            agent_id: agent.into(),
            prompt: prompt.into(),
            prompt_id: None,
            background: false,
            images: Vec::new(),
            raw: false,
            when_busy: WhenBusy::default(),
            notify_on_finish: false,
        }
    }

    /// Answers as soon as the prompt is accepted.
    #[must_use]
    pub fn in_background(self) -> SendAgentPrompt {
        SendAgentPrompt { background: true, ..self }
    }
}

/// What a prompt does when a turn runs already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum WhenBusy {
    /// It waits for the turn to end.
    #[default]
    Queue,
    /// It ends the turn and goes before what is queued.
    Interrupt,
    /// It is said into the running turn, where the provider can.
    Steer,
}

/// Waits until agents have finished or need attention. Without `promptId`: until nothing is queued and nothing runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WaitForAgent {
    /// The agent to wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentRef>,
    /// Or several agents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agent_ids: Vec<AgentRef>,
    /// Only until this prompt's turn has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_id: Option<PromptId>,
    /// With several agents: until all of them, or any one, is there.
    #[serde(default)]
    pub mode: WaitMode,
    /// Whether a permission request ends the wait too.
    #[serde(default)]
    pub until: WaitUntil,
    /// How long at most, such as `90s` or `1h`. Default: until it is there, however long that takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

impl WaitForAgent {
    /// Waits for one agent.
    #[must_use]
    pub fn one(agent: impl Into<AgentRef>) -> WaitForAgent {
        WaitForAgent { agent_id: Some(agent.into()), ..WaitForAgent::default() }
    }
}

/// How many of several agents a wait is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WaitMode {
    /// All of them; the first permission request ends the wait.
    #[default]
    All,
    /// The first of them.
    Any,
}

/// What ends a wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WaitUntil {
    /// The end of the work, or a permission request.
    #[default]
    Attention,
    /// The end of the work only.
    Finished,
}

/// Where an agent stands when a call that started or awaited it returns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AgentOutcome {
    /// The agent.
    pub agent_id: AgentId,
    /// The prompt that was waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_id: Option<PromptId>,
    /// What the agent is doing.
    pub status: Status,
    /// What came of the wait; none when there was no wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<WaitOutcome>,
    /// Why, where the outcome alone does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last thing the agent said in the turn that has ended, else at all, shortened to its last 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message: Option<String>,
    /// Permissions it is waiting for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<Permission>,
    /// Tokens and money: of the turn that was waited for, else of all turns.
    #[serde(default)]
    pub usage: Usage,
    /// With several agents: all of them, as they are now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<Agent>,
}

/// Lists agents, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListAgents {
    /// Only those that work in this directory or below, an absolute path. The main checkout of a repository stands for
    /// its worktrees too, wherever they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Only those with one of these statuses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<Status>,
    /// Only those that changed within this many hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_hours: Option<i64>,
    /// Archived ones too.
    #[serde(default)]
    pub include_archived: bool,
    /// Only those with all of these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Only those that this agent created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<AgentRef>,
    /// At most so many, from 1 to 1000; default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Where to go on: `nextCursor` of the answer before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A page of agents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Agents {
    /// The agents, the newest first.
    pub agents: Vec<Agent>,
    /// Give it as `cursor` for the next page; none when this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Shows one agent as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetAgentStatus {
    /// The agent: its id, an unambiguous prefix of it, or its exact title.
    pub agent_id: AgentRef,
}

/// Reads entries of an agent's timeline, in order: the first ones after `after`, or the last ones before `before`.
/// With neither, the newest ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetAgentTimeline {
    /// The agent: its id, an unambiguous prefix of it, or its exact title.
    pub agent_id: AgentRef,
    /// Only entries with a greater number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// Only entries with a smaller number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<i64>,
    /// At most so many, from 1 to 1000; default 100. A page may hold fewer, when its entries are large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Only entries of these kinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<Kind>,
}

impl GetAgentTimeline {
    /// Reads the newest entries.
    #[must_use]
    pub fn newest(agent: impl Into<AgentRef>) -> GetAgentTimeline {
        GetAgentTimeline { agent_id: agent.into(), after: None, before: None, limit: None, kinds: Vec::new() }
    }

    /// Reads the first entries after a number.
    #[must_use]
    pub fn after(agent: impl Into<AgentRef>, after: i64) -> GetAgentTimeline {
        GetAgentTimeline { after: Some(after), ..GetAgentTimeline::newest(agent) }
    }
}

/// A page of a timeline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TimelinePage {
    /// The entries, in order.
    pub entries: Vec<Entry>,
    /// Whether there are more in the direction that was read.
    pub more: bool,
    /// The number of the newest entry there is; 0 when there is none.
    pub last_seq: i64,
}

/// Summarises what an agent did and is doing, in text short enough for a model to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetAgentActivity {
    /// The agent: its id, an unambiguous prefix of it, or its exact title.
    pub agent_id: AgentRef,
}

/// What an agent did and is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// The agent.
    pub agent_id: AgentId,
    /// What people call it.
    pub title: String,
    /// What it is doing.
    pub status: Status,
    /// How it stands and what it waits for, then what it did, the newest last: plain text, at most 16 KiB.
    pub summary: String,
    /// When anything of the agent last changed.
    pub updated_at: Timestamp,
}

/// Follows agents: the answer is where they stand, and events on this connection say what changes from there. A second
/// call on the same connection replaces the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WatchAgents {
    /// The agents whose timelines to follow. Without this: every agent's state, and no timelines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents: Option<Vec<WatchFrom>>,
}

/// From where on to follow an agent's timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WatchFrom {
    /// The agent: its id, an unambiguous prefix of it, or its exact title.
    pub agent_id: AgentRef,
    /// The number of the last entry already known; default 0, the whole timeline.
    #[serde(default)]
    pub after: i64,
}

/// Where the watched agents stand. What comes after it follows as events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Watching {
    /// The watched agents.
    pub agents: Vec<Watched>,
}

/// Where one watched agent stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Watched {
    /// The agent.
    pub agent: Agent,
    /// The first entries after `after`; the rest follow as events.
    #[serde(default)]
    pub entries: Vec<Entry>,
    /// The text so far of items that are still open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub text: Vec<Delta>,
}

/// Changes what people call an agent, its labels, or its model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateAgent {
    /// The agent: its id, an unambiguous prefix of it, or its exact title.
    pub agent_id: AgentRef,
    /// A new title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Labels to set; an empty value removes a label.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// A new model, as `list_models` names them; used from the next thing that the model says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// Changes how freely an agent may act. It holds at once where the agent's program can change it while it works, else
/// from the next turn on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetAgentMode {
    /// The agent: its id, an unambiguous prefix of it, or its exact title.
    pub agent_id: AgentRef,
    /// How freely it may act from now on: `plan`, `default`, `auto` or `full-access`, the least free first, or a provider's
    /// own, such as `claude:dontAsk`.
    pub mode: Mode,
}

/// Ends the turn that runs and everything it started, and drops the prompts that wait. Answers when it has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CancelAgent {
    /// The agent: its id, an unambiguous prefix of it, or its exact title.
    pub agent_id: AgentRef,
}

/// Takes an agent off the list: interrupts it if it runs and ends its processes. Its history stays readable, and a new
/// prompt brings it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArchiveAgent {
    /// The agent: its id, an unambiguous prefix of it, or its exact title.
    pub agent_id: AgentRef,
}

/// Deletes an agent with its history. Its worktree stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteAgent {
    /// The agent: its id, an unambiguous prefix of it, or its exact title.
    pub agent_id: AgentRef,
}

/// Which agent was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DeletedAgent {
    /// The agent.
    pub agent_id: AgentId,
}
