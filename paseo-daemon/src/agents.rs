//! The agents of this daemon, and what is done with them.

mod activity;
mod create;
mod list;
mod read;
mod registry;
mod standstill;
mod wait;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use paseo_sdk::catalogue::{
    AgentOutcome, ArchiveAgent, CancelAgent, DeleteAgent, DeletedAgent, SendAgentPrompt, SetAgentMode, UpdateAgent,
    WhenBusy,
};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::agent::{Input, View};
use paseo_sdk::model::{Agent, AgentId, AgentRef, Mode, Prompt};
use paseo_sdk::operation::{Caller, Handle, Principal};
use paseo_sdk::provider::Provider;

pub(crate) use self::list::{Whereabouts, belongs};
pub(crate) use self::registry::{Owned, Registry, has_left, load};
pub(crate) use self::standstill::Standstill;
use self::wait::Awaited;
use crate::Core;
use crate::config::Scope;
use crate::owner::blocking;
use crate::variant::{has_mode, is_model, modes};
use crate::worktrees::Worktrees;

impl Handle<SendAgentPrompt> for Core {
    async fn handle(&self, caller: Caller, request: SendAgentPrompt) -> Result<AgentOutcome, ApiError> {
        check_prompt("prompt", &request.prompt)?;
        let owned = self.acted_on(&caller, &request.agent_id).await?;
        let mode = owned.live.view().agent.mode.clone();
        let calling = self.calling(&caller)?;
        if calling.as_ref().is_some_and(|calling| calling.live.view().agent.mode.rank() < mode.rank()) {
            let message = format!("an agent may not prompt one in mode `{mode}`, which it does not have itself");
            return Err(ApiError::new(Code::Forbidden, message).hint("ask your user to do it"));
        }
        let prompt_id = request.prompt_id.map_or_else(fresh_id, Ok)?;
        let prompt = Prompt { text: request.prompt, images: request.images, raw: request.raw, note: None };
        let awaited = Arc::new(Awaited::prompt(&owned, &prompt_id));
        let enter = || self.standstill.enter(calling.as_ref(), &awaited);
        // What the agent's turn waits for does not matter where the prompt ends that turn.
        let ends = request.when_busy == WhenBusy::Interrupt;
        let ticket = (!request.background && !ends).then(enter).transpose()?;
        owned.tell(Input::Prompt { id: prompt_id, prompt, when_busy: request.when_busy }).await?;
        if request.background {
            return Ok(awaited.as_it_is());
        }
        let _ticket = ticket.map_or_else(enter, Ok)?;
        Ok(self.wait(&awaited).await)
    }
}

impl Handle<UpdateAgent> for Core {
    async fn handle(&self, caller: Caller, request: UpdateAgent) -> Result<Agent, ApiError> {
        if let Some(title) = &request.title {
            check_title(title)?;
        }
        let owned = self.acted_on(&caller, &request.agent_id).await?;
        if let Some(model) = &request.model {
            check_model(owned.provider, &owned.kind_name(), model)?;
            owned.note(self.doubts(&owned.kind_name(), Some(model), None)).await?;
        }
        owned.tell(Input::Update { title: request.title, labels: request.labels, model: request.model }).await?;
        Ok(owned.live.view().agent.clone())
    }
}

impl Handle<SetAgentMode> for Core {
    async fn handle(&self, caller: Caller, request: SetAgentMode) -> Result<Agent, ApiError> {
        let owned = self.acted_on(&caller, &request.agent_id).await?;
        if let Some(calling) = self.calling(&caller)?
            && request.mode.rank() > calling.live.view().agent.mode.rank()
        {
            let message = format!("mode: an agent may not give the mode `{}`, which it does not have", request.mode);
            return Err(ApiError::new(Code::Forbidden, message).hint("ask your user to do it"));
        }
        check_mode(owned.provider, &request.mode)?;
        self.launcher.check_mode(owned.provider, &owned.kind_name(), &owned.live.id, &request.mode)?;
        owned.tell(Input::SetMode(request.mode)).await?;
        Ok(owned.live.view().agent.clone())
    }
}

impl Handle<CancelAgent> for Core {
    async fn handle(&self, caller: Caller, request: CancelAgent) -> Result<Agent, ApiError> {
        let owned = self.acted_on(&caller, &request.agent_id).await?;
        owned.tell(Input::Cancel).await?;
        let stopped = owned.live.view();
        let (turn, queued) = (stopped.agent.turn.as_ref(), &stopped.agent.queued);
        // Only what was there: whatever is sent to it from now on is not waited for.
        let goes_on = |view: &View| {
            let running = view.agent.turn.as_ref();
            running.is_some_and(|now| {
                turn.is_some_and(|turn| turn.turn_id == now.turn_id)
                    || now.prompt_id.as_ref().is_some_and(|prompt| queued.contains(prompt))
            }) || view.agent.queued.iter().any(|prompt| queued.contains(prompt))
        };
        Ok(owned.until(|view| !goes_on(view)).await)
    }
}

impl Handle<ArchiveAgent> for Core {
    async fn handle(&self, caller: Caller, request: ArchiveAgent) -> Result<Agent, ApiError> {
        self.acted_on(&caller, &request.agent_id).await?.archive().await
    }
}

impl Handle<DeleteAgent> for Core {
    async fn handle(&self, caller: Caller, request: DeleteAgent) -> Result<DeletedAgent, ApiError> {
        self.only_people(&caller, "delete agents")?;
        let agent_id = self.agents.find(&request.agent_id)?.live.id.clone();
        let _alone = self.agents.alone(&agent_id).await;
        let owned = self.agents.find(&request.agent_id)?;
        owned.retire().await?;
        // From here to the end there is no await: a client that goes away leaves no agent half deleted.
        self.agents.remove(&agent_id);
        owned.live.remove();
        let removed = blocking(|| registry::delete(&self.home.agents(), agent_id.as_str()));
        removed.map_err(|error| internal(format!("some files of agent {agent_id} are still there: {error}")))?;
        Ok(DeletedAgent { agent_id })
    }
}

/// Refuses a mode that the provider lacks.
fn check_mode(provider: &dyn Provider, mode: &Mode) -> Result<(), ApiError> {
    if has_mode(provider, mode) {
        return Ok(());
    }
    let names = modes(provider);
    Err(ApiError::new(Code::Unsupported, format!("mode: {} has no mode `{mode}`", provider.name()))
        .hint(format!("it has: {}", names.join(", ")))
        .details(serde_json::json!({ "field": "mode", "modes": names })))
}

/// Refuses a model that cannot be one. `name` is what its provider goes by.
fn check_model(provider: &dyn Provider, name: &str, model: &str) -> Result<(), ApiError> {
    if provider.name() == "shell" {
        return Err(ApiError::new(Code::Unsupported, "model: means nothing to shell").hint("leave it out"));
    }
    match is_model(model) {
        true => Ok(()),
        false => Err(ApiError::invalid("model", format!("{} is not the name of a model", shown(model)))
            .hint(format!("`paseo provider models {name}` lists them"))),
    }
}

fn check_title(title: &str) -> Result<(), ApiError> {
    match title.trim().is_empty() {
        true => Err(ApiError::invalid("title", "is empty").hint("give a few words about the task")),
        false if title.len() > LONGEST_TITLE => Err(ApiError::invalid("title", "is longer than 1 KiB")),
        false => Ok(()),
    }
}

fn check_prompt(field: &str, prompt: &str) -> Result<(), ApiError> {
    match prompt.trim().is_empty() {
        true => Err(ApiError::invalid(field, "is empty").hint("say what is to be done")),
        false if prompt.len() > LONGEST_PROMPT => {
            Err(ApiError::invalid(field, "is longer than 4 MiB").hint("write it to a file and name the file"))
        }
        false => Ok(()),
    }
}

impl Core {
    /// Returns the agent that calls, if one does.
    pub(crate) fn calling(&self, caller: &Caller) -> Result<Option<Arc<Owned>>, ApiError> {
        match &caller.who {
            Principal::User => Ok(None),
            Principal::Agent(id) => match self.agents.get(id) {
                Some(owned) => Ok(Some(owned)),
                None => Err(ApiError::new(Code::Unauthorized, format!("agent {id} is not there any more"))),
            },
        }
    }

    /// Returns the hands that make worktrees for a caller. Nothing that an agent makes is trusted where it is not itself.
    pub(crate) async fn hands(&self, caller: &Caller) -> Result<Worktrees, ApiError> {
        let hands = self.worktrees.with_progress(caller.reporter.clone());
        let Some(calling) = self.calling(caller)? else { return Ok(hands) };
        let ground = PathBuf::from(&calling.live.view().agent.cwd);
        Ok(match self.worktrees.is_trusted(&ground).await? {
            true => hands,
            false => hands.distrusting(),
        })
    }

    /// Refuses what is for people only.
    pub(crate) fn only_people(&self, caller: &Caller, what: &str) -> Result<(), ApiError> {
        match &caller.who {
            Principal::User => Ok(()),
            Principal::Agent(_) => {
                Err(ApiError::new(Code::Forbidden, format!("an agent may not {what}")).hint("ask your user to do it"))
            }
        }
    }

    /// Finds the agent that a caller wants to act on, and refuses what is not the calling agent's to do.
    pub(crate) async fn acted_on(&self, caller: &Caller, reference: &AgentRef) -> Result<Arc<Owned>, ApiError> {
        let owned = self.agents.find(reference)?;
        let Some(calling) = self.calling(caller)? else { return Ok(owned) };
        let (own, other) = (&calling.live.id, &owned.live.id);
        let directory = |owned: &Owned| PathBuf::from(&owned.live.view().agent.cwd);
        let within = own == other
            || self.descends(other, own)
            || match self.scope {
                Scope::Own => false,
                Scope::Repository => self.worktrees.same_repository(&directory(&calling), &directory(&owned)).await,
                Scope::All => true,
            };
        match within {
            true => Ok(owned),
            false => Err(ApiError::new(Code::Forbidden, format!("agent {other} is beyond what this agent may act on"))
                .hint("ask your user, who may widen `scope` in config.json")),
        }
    }

    /// Returns whether `ancestor` created `agent`, or one of those that did.
    pub(crate) fn descends(&self, agent: &AgentId, ancestor: &AgentId) -> bool {
        let mut seen = std::collections::BTreeSet::new();
        let mut next = self.agents.get(agent).and_then(|owned| owned.live.view().agent.parent.clone());
        while let Some(parent) = next {
            if parent == *ancestor {
                return true;
            }
            if !seen.insert(parent.clone()) {
                return false;
            }
            next = self.agents.get(&parent).and_then(|owned| owned.live.view().agent.parent.clone());
        }
        false
    }

    /// Returns the directory that a call is about: the one it names, else that of the calling agent.
    pub(crate) fn directory(&self, caller: &Caller, cwd: Option<&str>) -> Result<PathBuf, ApiError> {
        let hint = "give an absolute path of a directory that exists";
        let path = match (cwd, self.calling(caller)?) {
            (Some(cwd), _) => PathBuf::from(cwd),
            (None, Some(agent)) => PathBuf::from(&agent.live.view().agent.cwd),
            (None, None) => return Err(ApiError::invalid("cwd", "is needed unless an agent calls").hint(hint)),
        };
        if !path.is_absolute() {
            return Err(ApiError::invalid("cwd", format!("`{}` is not an absolute path", path.display())).hint(hint));
        }
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => Ok(path),
            Ok(_) => Err(ApiError::invalid("cwd", format!("`{}` is not a directory", path.display())).hint(hint)),
            Err(error) => Err(ApiError::invalid("cwd", format!("`{}`: {}", path.display(), reason(&error))).hint(hint)),
        }
    }
}

/// Reads a `limit`.
fn limit(limit: Option<i64>) -> Result<usize, ApiError> {
    match limit.unwrap_or(100) {
        limit @ 1..=1000 => Ok(usize::try_from(limit).unwrap_or(1000)),
        _ => Err(ApiError::invalid("limit", "must be from 1 to 1000")),
    }
}

/// The longest prompt, in bytes.
const LONGEST_PROMPT: usize = 4 * 1024 * 1024;

/// The longest title, in bytes.
const LONGEST_TITLE: usize = 1024;

fn fresh_id<Id: std::str::FromStr<Err = String>>() -> Result<Id, ApiError> {
    uuid::Uuid::new_v4().to_string().parse().map_err(internal)
}

pub(crate) fn internal(message: impl Into<String>) -> ApiError {
    let message = message.into();
    tracing::error!(message, "an operation failed");
    ApiError::new(Code::Internal, message).hint("`paseo daemon logs` says more")
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such directory".to_owned(),
        _ => error.to_string(),
    }
}

/// Quotes what somebody gave, shortened.
fn shown(text: &str) -> String {
    format!("`{}`", text.chars().take(80).collect::<String>().escape_debug())
}
