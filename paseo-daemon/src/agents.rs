//! The agents of this daemon, and what is done with them.

mod activity;
pub(crate) mod courier;
mod create;
mod list;
mod read;
mod registry;
mod standstill;
mod wait;
mod wish;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use paseo_sdk::catalogue::{
    AgentOutcome, ArchiveAgent, CancelAgent, DeleteAgent, DeletedAgent, SendAgentPrompt, SetAgentMode, UpdateAgent,
    WhenBusy,
};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::agent::{Input, View};
use paseo_sdk::model::{Agent, AgentId, AgentRef, Mode, Prompt, Speaker, Status, in_one_line};
use paseo_sdk::operation::{Caller, Handle, Operation as _, Principal};
use paseo_sdk::provider::Provider;
use serde::Serialize;

pub(crate) use self::create::Errand;
pub(crate) use self::list::{Whereabouts, belongs, cursor};
pub(crate) use self::registry::{Owned, Registry, has_left, load};
pub(crate) use self::standstill::Standstill;
use self::wait::Awaited;
pub(crate) use self::wish::Wish;
use crate::Core;
use crate::config::Scope;
use crate::owner::blocking;
use crate::variant::{has_mode, is_model, modes};
use crate::worktrees::Worktrees;

impl Handle<SendAgentPrompt> for Core {
    async fn handle(&self, caller: Caller, request: SendAgentPrompt) -> Result<AgentOutcome, ApiError> {
        check_prompt("prompt", &request.prompt)?;
        let owned = self.acted_on(&caller, &request.agent_id).await?;
        let prompt_id = request.prompt_id.clone().map_or_else(fresh_id, Ok)?;
        if request.notify_on_finish {
            self.notified(&caller)?;
        }
        let awaited = Arc::new(Awaited::prompt(&owned, &prompt_id));
        let calling = self.calling(&caller)?;
        let enter = || self.standstill.enter(calling.as_ref(), &awaited);
        // What the agent's turn waits for does not matter where the prompt ends that turn.
        let ends = request.when_busy == WhenBusy::Interrupt;
        let ticket = (!request.background && !ends).then(enter).transpose()?;
        if !owned.live.view().knows(&prompt_id) {
            let mode = owned.live.view().agent.mode.clone();
            self.raise(&caller, &mode, || prompt_wish(&owned, &mode, &request)).await?;
            self.report_back(&caller, &owned, request.notify_on_finish).await?;
        }
        let from = self.speaker(&caller)?;
        let prompt =
            Prompt { text: request.prompt, images: request.images, raw: request.raw, from, ..Prompt::default() };
        owned.tell(Input::Prompt { id: prompt_id, prompt, when_busy: request.when_busy }).await?;
        if request.background {
            return Ok(awaited.as_it_is());
        }
        let _ticket = ticket.map_or_else(enter, Ok)?;
        self.wait_for(&caller, &awaited).await
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
        self.sign(&caller, &owned, "changed what it is called, or its model").await?;
        Ok(owned.live.view().agent.clone())
    }
}

impl Handle<SetAgentMode> for Core {
    async fn handle(&self, caller: Caller, request: SetAgentMode) -> Result<Agent, ApiError> {
        let owned = self.acted_on(&caller, &request.agent_id).await?;
        check_mode(owned.provider, &request.mode)?;
        self.launcher.check_mode(owned.provider, &owned.kind_name(), &owned.live.id, &request.mode)?;
        self.raise(&caller, &request.mode, || mode_wish(&owned, &request)).await?;
        owned.tell(Input::SetMode(request.mode.clone())).await?;
        self.sign(&caller, &owned, &format!("changed its mode to {}", request.mode)).await?;
        Ok(owned.live.view().agent.clone())
    }
}

impl Handle<CancelAgent> for Core {
    async fn handle(&self, caller: Caller, request: CancelAgent) -> Result<Agent, ApiError> {
        let owned = self.acted_on(&caller, &request.agent_id).await?;
        self.not_above(&caller, &owned, "stop")?;
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
        let agent = owned.until(|view| !goes_on(view)).await;
        self.sign(&caller, &owned, "stopped it").await?;
        self.witness_state(&caller, &owned).await?;
        Ok(agent)
    }
}

impl Handle<ArchiveAgent> for Core {
    async fn handle(&self, caller: Caller, request: ArchiveAgent) -> Result<Agent, ApiError> {
        let owned = self.acted_on(&caller, &request.agent_id).await?;
        self.not_above(&caller, &owned, "archive")?;
        let agent = owned.archive().await?;
        self.sign(&caller, &owned, "archived it").await?;
        self.witness_state(&caller, &owned).await?;
        Ok(agent)
    }
}

impl Handle<DeleteAgent> for Core {
    async fn handle(&self, caller: Caller, request: DeleteAgent) -> Result<DeletedAgent, ApiError> {
        self.only_people(&caller, "delete agents")?;
        let agent_id = self.agents.find(&request.agent_id)?.live.id.clone();
        let _alone = self.agents.alone(&agent_id).await;
        let owned = self.agents.find(&request.agent_id)?;
        owned.retire().await?;
        // Its owner has ended: what cannot be carried now never is, and a deletion does not stop half-way for that.
        if let (_, Err(error)) = courier::carry(&self.agents, &owned).await {
            tracing::warn!(agent = %agent_id, %error, "a deleted agent has left a report that nobody was told");
        }
        // From here to the end there is no await: a client that goes away leaves no agent half deleted.
        self.agents.remove(&agent_id);
        owned.live.remove();
        let removed = blocking(|| registry::delete(&self.home.agents(), agent_id.as_str()));
        removed.map_err(|error| internal(format!("some files of agent {agent_id} are still there: {error}")))?;
        Ok(DeletedAgent { agent_id })
    }
}

/// What a person is asked when an agent says something to a freer one.
fn prompt_wish(owned: &Owned, mode: &Mode, request: &SendAgentPrompt) -> Wish<'static> {
    let Agent { agent_id, title, .. } = owned.live.view().agent.clone();
    let agent = Speaker::Agent { agent_id: agent_id.clone(), title };
    Wish {
        operation: SendAgentPrompt::NAME,
        title: format!("say this to {agent}, which is in mode {mode}: {}", in_one_line(&request.prompt, TITLE)),
        reason: FREER.to_owned(),
        input: serde_json::json!({
            "agentId": agent_id,
            "promptId": request.prompt_id,
            "prompt": request.prompt,
            "images": request.images.len(),
            "raw": request.raw,
            "whenBusy": request.when_busy,
        }),
        whole: whole(request),
    }
}

/// What a person is asked when an agent gives a mode that it does not have.
fn mode_wish(owned: &Owned, request: &SetAgentMode) -> Wish<'static> {
    let mode = &request.mode;
    let Agent { agent_id, title, mode: now, .. } = owned.live.view().agent.clone();
    let agent = Speaker::Agent { agent_id: agent_id.clone(), title };
    Wish {
        operation: SetAgentMode::NAME,
        title: format!("change the mode of {agent} from {now} to {mode}"),
        reason: FREER.to_owned(),
        input: serde_json::json!({ "agentId": agent_id, "mode": mode }),
        whole: whole(request),
    }
}

/// Returns all that a call gives, as text.
pub(crate) fn whole(request: &impl Serialize) -> String {
    serde_json::to_string(request).unwrap_or_default()
}

/// Why a person is asked.
pub(crate) const FREER: &str = "It is freer than the mode of the agent that asks.";

/// How much of what somebody is asked about stands in the title of the question, in bytes.
pub(crate) const TITLE: usize = 300;

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

pub(crate) fn check_title(title: &str) -> Result<(), ApiError> {
    match title.trim().is_empty() {
        true => Err(ApiError::invalid("title", "is empty").hint("give a few words about the task")),
        false if title.len() > LONGEST_TITLE => Err(ApiError::invalid("title", "is longer than 1 KiB")),
        false => Ok(()),
    }
}

pub(crate) fn check_prompt(field: &str, prompt: &str) -> Result<(), ApiError> {
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

    /// Returns the agent that acts, if one does. An archived one does nothing more, whoever still has its token.
    pub(crate) fn acting(&self, caller: &Caller) -> Result<Option<Arc<Owned>>, ApiError> {
        match self.calling(caller)? {
            Some(calling) if calling.live.view().agent.status == Status::Archived => {
                Err(ApiError::new(Code::Forbidden, format!("agent {} is archived, and acts no more", calling.live.id))
                    .hint("ask your user, who may prompt it again"))
            }
            calling => Ok(calling),
        }
    }

    /// Returns the hands that make worktrees for a caller.
    pub(crate) async fn hands(&self, caller: &Caller) -> Result<Worktrees, ApiError> {
        let hands = self.worktrees.with_progress(caller.reporter.clone());
        let Some(calling) = self.calling(caller)? else { return Ok(hands) };
        let Agent { cwd, mode, .. } = calling.live.view().agent.clone();
        hands.for_agent(Path::new(&cwd), mode.may_give(&Mode::FullAccess)).await
    }

    /// Returns who speaks when a caller says something; none for the user.
    pub(crate) fn speaker(&self, caller: &Caller) -> Result<Option<Speaker>, ApiError> {
        Ok(self.calling(caller)?.map(|calling| {
            let Agent { agent_id, title, .. } = calling.live.view().agent.clone();
            Speaker::Agent { agent_id, title }
        }))
    }

    /// Writes into an agent's timeline what another one has done with it.
    pub(crate) async fn sign(&self, caller: &Caller, owned: &Owned, what: &str) -> Result<(), ApiError> {
        match self.speaker(caller)? {
            Some(speaker) if !matches!(&caller.who, Principal::Agent(own) if *own == owned.live.id) => {
                owned.note(vec![format!("{speaker} {what}")]).await
            }
            _ => Ok(()),
        }
    }

    /// Returns the agent that is told when another one finishes: the one that calls.
    pub(crate) fn notified(&self, caller: &Caller) -> Result<AgentId, ApiError> {
        let refused = |code, message: &str| {
            Err(ApiError::new(code, format!("notifyOnFinish: {message}"))
                .hint("leave it out, and use `wait_for_agent`")
                .details(serde_json::json!({ "field": "notifyOnFinish" })))
        };
        match self.calling(caller)? {
            Some(calling) if calling.provider.traits().converses => Ok(calling.live.id.clone()),
            Some(calling) => refused(
                Code::Unsupported,
                &format!("an agent of `{}` would carry out whatever it is told", calling.provider.name()),
            ),
            None => refused(Code::InvalidArgument, "only an agent that calls can be told"),
        }
    }

    /// Lets an agent report to the one that calls, where that is asked for.
    async fn report_back(&self, caller: &Caller, owned: &Owned, wanted: bool) -> Result<(), ApiError> {
        match wanted {
            true => owned.tell(Input::ReportTo(self.notified(caller)?)).await,
            false => Ok(()),
        }
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

    /// Refuses an agent that would do this to one that created it.
    fn not_above(&self, caller: &Caller, owned: &Owned, what: &str) -> Result<(), ApiError> {
        match &caller.who {
            Principal::Agent(id) if self.descends(id, &owned.live.id) => {
                Err(ApiError::new(Code::Forbidden, format!("an agent may not {what} one that created it"))
                    .hint("ask your user to do it"))
            }
            _ => Ok(()),
        }
    }

    /// Finds the agent that a caller wants to act on, and refuses what is not the calling agent's to do.
    pub(crate) async fn acted_on(&self, caller: &Caller, reference: &AgentRef) -> Result<Arc<Owned>, ApiError> {
        let owned = self.agents.find(reference)?;
        let Some(calling) = self.acting(caller)? else { return Ok(owned) };
        let (own, other) = (&calling.live.id, &owned.live.id);
        let directory = |owned: &Owned| PathBuf::from(&owned.live.view().agent.cwd);
        let within = own == other
            || self.descends(other, own)
            || match self.scope {
                Scope::Own => false,
                Scope::Repository => self.worktrees.same_repository(&directory(&calling), &directory(&owned)).await,
                Scope::All => true,
            };
        if within {
            return Ok(owned);
        }
        let why = match self.scope {
            Scope::Own => "this agent did not start it, and may act on no other one",
            Scope::Repository | Scope::All => "this agent did not start it, and it works in another repository",
        };
        Err(ApiError::new(Code::Forbidden, format!("agent {other} is out of reach: {why}"))
            .hint("ask your user, who may widen `scope` in config.json"))
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

    /// Refuses a directory that is not the calling agent's to work in, or to let others work in: what is below its own, and
    /// what is of the same repository, is.
    pub(crate) async fn in_reach(&self, caller: &Caller, directory: &Path) -> Result<(), ApiError> {
        self.acting(caller)?;
        self.reaches(caller, directory).await
    }

    /// The same for what an agent asked for that may be archived by now.
    async fn reaches(&self, caller: &Caller, directory: &Path) -> Result<(), ApiError> {
        let Some(calling) = self.calling(caller)? else { return Ok(()) };
        let own = PathBuf::from(&calling.live.view().agent.cwd);
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let within = self.scope == Scope::All
            || real(directory).starts_with(real(&own))
            || self.worktrees.same_repository(&own, directory).await;
        match within {
            true => Ok(()),
            false => Err(ApiError::new(
                Code::Forbidden,
                format!("cwd: {} is neither below this agent's directory nor in its repository", directory.display()),
            )
            .hint("ask your user, who may widen `scope` in config.json")
            .details(serde_json::json!({ "field": "cwd" }))),
        }
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

pub(crate) fn fresh_id<Id: std::str::FromStr<Err = String>>() -> Result<Id, ApiError> {
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
pub(crate) fn shown(text: &str) -> String {
    format!("`{}`", text.chars().take(80).collect::<String>().escape_debug())
}
