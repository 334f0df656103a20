//! What is remembered of an agent across restarts: the file `agents/<id>.json`.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::report::Reports;
use super::wish::Wish;
use crate::model::{AgentId, Decision, Mode, Prompt, RequestId, Timestamp, TurnEnd, Usage, Worktree};
use crate::provider::LaunchSpec;

/// What is remembered of an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// What is known about it beside its work.
    pub about: About,
    /// How far its work was at the last quiet moment.
    #[serde(default)]
    pub progress: Progress,
}

/// What is known about an agent beside its work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// Its id.
    pub agent_id: AgentId,
    /// What people call it.
    pub title: String,
    /// `provider` or `provider/model`, as it was asked for.
    pub provider: String,
    /// The model; none for the provider's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How freely it may act, as somebody last said.
    pub mode: Mode,
    /// How that, and the model, were changed since the agent was made.
    #[serde(default)]
    pub changes: Changes,
    /// How much to think.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
    /// Text added to the provider's own system prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// Whether it gets the tools of paseo; none for what the settings say at each launch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inject_tools: Option<bool>,
    /// The directory it works in.
    pub cwd: String,
    /// Whether that directory's own settings, hooks and servers may run.
    pub trusted: bool,
    /// The worktree it works in, if paseo made one for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree: Option<Worktree>,
    /// Free-form labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The agent that created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<AgentId>,
    /// A digest of the request that created it: the same id with another request is a conflict.
    #[serde(default)]
    pub request: String,
    /// What it reports, and is told of others.
    #[serde(default, skip_serializing_if = "Reports::is_empty")]
    pub reports: Reports,
    /// What it wants of paseo and may not without a person's word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wishes: Vec<Wish>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When any of this last changed.
    pub updated_at: Timestamp,
    /// When it was archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_at: Option<Timestamp>,
}

impl About {
    /// Returns the provider's name: what stands before the first slash.
    #[must_use]
    pub fn provider_name(&self) -> &str {
        self.provider.split('/').next().unwrap_or_default()
    }

    /// Returns with what its first process is launched.
    #[must_use]
    pub fn spec(&self) -> LaunchSpec {
        LaunchSpec {
            agent_id: self.agent_id.clone(),
            cwd: self.cwd.clone(),
            model: self.model.clone(),
            mode: self.mode.clone(),
            thinking: self.thinking.clone(),
            system_prompt: self.system_prompt.clone(),
            trusted: self.trusted,
            mcp_config: None,
            mcp_servers: BTreeMap::new(),
            tools: None,
            git_dirs: Vec::new(),
            trees: Vec::new(),
            rules: Vec::new(),
        }
    }
}

/// How mode and model of an agent were changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Changes {
    /// How often.
    pub count: i64,
    /// The newest record when somebody last said the mode: of a change after it, the program speaks itself.
    pub mode_since: Position,
    /// The run whose process cannot take a change up: it leaves when its turn has ended.
    pub outdated_run: i64,
}

/// How far an agent's work is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// How many processes it has had.
    pub run: i64,
    /// The newest record that is part of this.
    pub applied: Position,
    /// Whether that record is the last one of its run.
    pub over: bool,
    /// What the provider needs to go on with its session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
    /// How the last turn ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_turn: Option<TurnEnd>,
    /// The last thing it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_message: Option<String>,
    /// How freely the program says that it acts, and since which record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<(Position, Mode)>,
    /// What it need not ask for again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// What its last process was in the middle of: the next prompt says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_off: Option<String>,
    /// Whether its process works on something in the background.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub background: bool,
    /// Whether the program's model is to say something now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub expecting: bool,
    /// The newest run whose process has given up, because it knows nothing of its session: it is told nothing more.
    pub given_up: i64,
    /// Tokens and money of all its turns.
    pub usage: Usage,
    /// The newest prompts that came to an end.
    pub finished: VecDeque<Finished>,
    /// The newest answers to its questions.
    pub answered: VecDeque<Answered>,
    /// How many prompts came to an end that no process heard.
    pub unheard: i64,
    /// When the newest record was written.
    pub updated_at: Timestamp,
}

/// Something that somebody has allowed for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The run in which that was said: its own session knows from its journal.
    pub run: i64,
    /// What, in the provider's words.
    pub rule: String,
}

/// A place in the journals of an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Which process life, from 1; 0 before the first.
    pub run: i64,
    /// Which record of its journal, from 1.
    pub record: i64,
}

/// A prompt that came to an end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finished {
    /// A digest of the prompt: the same id with another prompt is a conflict.
    pub digest: u64,
    /// How its turn ended.
    pub end: TurnEnd,
}

/// A question that somebody answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answered {
    /// The question.
    pub request_id: RequestId,
    /// A digest of the answer: the same one may be given again, another one comes too late.
    pub digest: u64,
}

impl Answered {
    pub(super) fn new(request_id: &RequestId, decision: &Decision) -> Answered {
        let text = serde_json::to_string(decision).expect("a decision is plain data");
        Answered { request_id: request_id.clone(), digest: fnv([text.as_bytes()]) }
    }
}

/// Returns a number that is the same for the same prompt, in every version.
pub(super) fn digest(prompt: &Prompt) -> u64 {
    let images = prompt.images.iter().flat_map(|image| [image.media_type.as_bytes(), image.data.as_bytes()]);
    let raw = prompt.raw.then_some(&b"raw"[..]);
    fnv([prompt.text.as_bytes()].into_iter().chain(images).chain(raw))
}

/// 64-bit FNV-1a of texts.
pub(super) fn fnv<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        // A byte that UTF-8 never contains keeps the parts apart.
        for byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}
