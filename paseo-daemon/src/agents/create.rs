//! Making an agent: checked as a whole before anything is changed, and all or nothing.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use paseo_sdk::catalogue::{AgentOutcome, CreateAgent, WhenBusy};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::agent::{About, Changes, Input, Memory, Progress, Reports};
use paseo_sdk::model::{AgentId, Mode, Prompt, Speaker, Worktree, in_one_line};
use paseo_sdk::operation::{Caller, Handle, Operation as _, Principal};
use paseo_sdk::provider::{LaunchSpec, TOOLS};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::registry::{Owned, finish_deletion, take_up};
use super::standstill::Ticket;
use super::wait::Awaited;
use super::wish::Wish;
use super::{FREER, TITLE, check_mode, check_model, check_prompt, check_title, fresh_id, internal, shown, whole};
use crate::Core;
use crate::fault::{Point, reached};
use crate::owner::{Files, blocking, now};
use crate::store;
use crate::variant::{Kind, is_variable};
use crate::worktrees::Worktrees;

impl Handle<CreateAgent> for Core {
    async fn handle(&self, caller: Caller, request: CreateAgent) -> Result<AgentOutcome, ApiError> {
        let (awaited, _ticket) = self.create(&caller, &request).await?;
        Ok(match request.background {
            true => awaited.as_it_is(),
            false => self.wait_for(&caller, &awaited).await?,
        })
    }
}

impl Core {
    /// Makes the agent, or finds it, and tells it its prompt; returns what the call is to wait for.
    async fn create(
        &self,
        caller: &Caller,
        request: &CreateAgent,
    ) -> Result<(Arc<Awaited>, Option<Ticket<'_>>), ApiError> {
        let plan = self.plan(caller, request)?;
        self.in_reach(caller, &plan.directory).await?;
        let calling = self.calling(caller)?;
        let id = request.agent_id.clone().map_or_else(fresh_id, Ok)?;
        let prompt_id = request.prompt_id.clone().map_or_else(|| "initial".parse().map_err(internal), Ok)?;
        let _alone = self.agents.alone(&id).await;
        let owned = match self.made_before(&id, &plan)? {
            Some(owned) => owned,
            None => {
                self.allowed(caller, request, &plan).await?;
                self.make(caller, request, plan, &id, &self.hands(caller).await?).await?
            }
        };
        let prompt = initial_prompt(request, self.speaker(caller)?);
        let awaited = Arc::new(Awaited::prompt(&owned, &prompt_id));
        // Before the agent can wait for its parent.
        let ticket = match request.background {
            true => None,
            false => self.standstill.enter(calling.as_ref(), &awaited)?,
        };
        owned.tell(Input::Prompt { id: prompt_id, prompt, when_busy: WhenBusy::Queue }).await?;
        Ok((awaited, ticket))
    }

    /// Makes the agent of a schedule's run, or finds it, and tells it its prompt. Whoever made the schedule was asked then
    /// what only a person may allow.
    pub(crate) async fn create_for(&self, errand: Errand, request: &CreateAgent) -> Result<Arc<Owned>, ApiError> {
        let caller = Caller::user();
        let reports_to = errand.made_by.clone().filter(|_| errand.reports);
        let plan = Plan { parent: errand.made_by.clone(), reports_to, ..self.plan(&caller, request)? };
        let hands = match errand.made_by {
            None => self.worktrees.clone(),
            Some(maker) => {
                let maker = Caller { who: Principal::Agent(maker), ..Caller::user() };
                // What was below its directory may be a link to somewhere else by now.
                self.reaches(&maker, &plan.directory).await?;
                self.hands(&maker).await?
            }
        };
        let id = request.agent_id.clone().map_or_else(fresh_id, Ok)?;
        let prompt_id = request.prompt_id.clone().map_or_else(fresh_id, Ok)?;
        let _alone = self.agents.alone(&id).await;
        let owned = match self.made_before(&id, &plan)? {
            Some(owned) => owned,
            None => self.make(&caller, request, plan, &id, &hands).await?,
        };
        let prompt = initial_prompt(request, Some(errand.from));
        owned.tell(Input::Prompt { id: prompt_id, prompt, when_busy: WhenBusy::Queue }).await?;
        Ok(owned)
    }

    /// Returns the agent that the same call has made before, perhaps before a cut: it goes on where it was.
    fn made_before(&self, id: &AgentId, plan: &Plan<'_>) -> Result<Option<Arc<Owned>>, ApiError> {
        let Some(owned) = self.agents.get(id) else { return Ok(None) };
        let memory = Files::of(&self.home.agents(), id.as_str()).memory;
        let known: Option<Memory> = blocking(|| store::read(&memory)).map_err(|error| internal(error.to_string()))?;
        match known.is_some_and(|known| known.about.request == plan.digest) {
            true => Ok(Some(owned)),
            false => Err(ApiError::new(Code::Conflict, format!("agentId: agent {id} exists, from another request"))
                .hint("give each agent an id of its own, or none")
                .details(serde_json::json!({ "field": "agentId" }))),
        }
    }

    /// Checks a request as a whole, before anything is changed.
    fn plan(&self, caller: &Caller, request: &CreateAgent) -> Result<Plan<'_>, ApiError> {
        check_title(&request.title)?;
        check_prompt("initialPrompt", &request.initial_prompt)?;
        let (name, model) = match request.provider.split_once('/') {
            Some((name, model)) => (name, Some(model.to_owned())),
            None => (request.provider.as_str(), None),
        };
        let kind = self.kind(name)?;
        let provider = kind.provider;
        let parent = self.calling(caller)?;
        let mode = self.mode_of_new(caller, name, request.mode.as_ref())?;
        if request.images.iter().any(|image| image.data.is_empty()) {
            return Err(ApiError::invalid("images", "an image is empty"));
        }
        if !request.images.is_empty() && !provider.traits().images {
            return Err(ApiError::new(Code::Unsupported, format!("images: {name} cannot take pictures")));
        }
        for (field, present) in [
            ("systemPrompt", request.system_prompt.is_some()),
            ("thinking", request.thinking.is_some()),
            ("mcpServers", !request.mcp_servers.is_empty()),
            ("injectTools", request.inject_tools == Some(true)),
            ("raw", request.raw),
        ] {
            if present && provider.name() == "shell" {
                return Err(
                    ApiError::new(Code::Unsupported, format!("{field}: means nothing to {name}")).hint("leave it out")
                );
            }
        }
        if request.mcp_servers.contains_key(TOOLS) && request.inject_tools.unwrap_or(self.launcher.inject) {
            let message = format!("the name `{TOOLS}` is that of the tools which the agent gets anyway");
            return Err(
                ApiError::invalid("mcpServers", message).hint("call it something else, or set `injectTools: false`")
            );
        }
        let reports_to = request.notify_on_finish.then(|| self.notified(caller)).transpose()?;
        if let Some((key, _)) = request.env.iter().find(|(key, value)| !is_variable(key, value)) {
            return Err(ApiError::invalid("env", format!("{} is not a variable that can be set", shown(key))));
        }
        if let Some(worktree) = &request.worktree {
            worktree.source()?;
            self.may_trust(caller, worktree.trust)?;
        }
        let directory = self.directory(caller, request.cwd.as_deref())?;
        let usual = || kind.variant.and_then(|variant| variant.model.clone());
        let model = request.model.clone().or(model).or_else(usual);
        if let Some(model) = &model {
            check_model(provider, name, model)?;
        }
        Ok(Plan {
            kind,
            mode,
            model,
            directory,
            trusted: true,
            parent: parent.map(|parent| parent.live.id.clone()),
            reports_to,
            digest: digest(request),
        })
    }

    /// Returns the mode of a new agent of a provider, which may be given with its model.
    pub(crate) fn mode_of_new(&self, caller: &Caller, provider: &str, mode: Option<&Mode>) -> Result<Mode, ApiError> {
        let kind = self.kind(provider.split('/').next().unwrap_or_default())?;
        let inherited = self.calling(caller)?.map(|parent| parent.live.view().agent.mode.clone());
        let mode = mode.cloned().unwrap_or_else(|| usual_mode(kind, inherited.as_ref()));
        check_mode(kind.provider, &mode)?;
        Ok(mode)
    }

    /// Asks a person where an agent would start one that may do more than itself.
    async fn allowed(&self, caller: &Caller, request: &CreateAgent, plan: &Plan<'_>) -> Result<(), ApiError> {
        // Servers, and programs that variables name, run without being asked for.
        let (needed, reason) = match request.mcp_servers.is_empty() && request.env.is_empty() {
            true => (plan.mode.clone(), FREER),
            false => (Mode::FullAccess, "It would run what only full-access may run without asking."),
        };
        let wish = || Wish {
            operation: CreateAgent::NAME,
            title: format!(
                "start an agent of {} in mode {}: {}",
                request.provider,
                plan.mode,
                in_one_line(&request.title, TITLE)
            ),
            reason: reason.to_owned(),
            input: shown_to_people(request, plan),
            whole: whole(request),
        };
        self.raise(caller, &needed, wish).await
    }

    async fn make(
        &self,
        caller: &Caller,
        request: &CreateAgent,
        mut plan: Plan<'_>,
        id: &AgentId,
        hands: &Worktrees,
    ) -> Result<Arc<Owned>, ApiError> {
        let doubts = self.doubts(plan.kind.name, plan.model.as_deref(), request.thinking.as_deref());
        plan.trusted = match &request.worktree {
            // As it comes out, it is known only then.
            Some(wanted) => wanted.github_pr_number.is_none() || wanted.trust,
            None => self.worktrees.is_trusted(&plan.directory).await?,
        };
        self.launcher.ready(plan.kind, &spec_of(request, &plan, id), &request.env).await?;
        let worktree = match &request.worktree {
            Some(wanted) => {
                let directory = match &wanted.cwd {
                    Some(cwd) => {
                        let directory = self.directory(caller, Some(cwd))?;
                        self.in_reach(caller, &directory).await?;
                        directory
                    }
                    None => plan.directory.clone(),
                };
                Some(hands.create(wanted, &directory).await?)
            }
            None => None,
        };
        if let Some(worktree) = &worktree {
            plan.trusted = worktree.trusted;
        }
        let made = blocking(|| self.write_down(request, plan, id, worktree.clone()));
        match (made, worktree) {
            (Ok(owned), _) => {
                owned.note(doubts).await?;
                Ok(owned)
            }
            (Err(mut error), worktree) => {
                if let Some(worktree) = worktree.filter(|worktree| worktree.created)
                    && let Err(kept) = self.worktrees.roll_back(&worktree).await
                {
                    error.message = format!("{}; and {}", error.message, kept.message);
                }
                Err(error)
            }
        }
    }

    fn write_down(
        &self,
        request: &CreateAgent,
        plan: Plan<'_>,
        id: &AgentId,
        worktree: Option<Worktree>,
    ) -> Result<Arc<Owned>, ApiError> {
        let time = now();
        let cwd =
            worktree.as_ref().map_or_else(|| plan.directory.display().to_string(), |made| made.worktree_path.clone());
        let about = About {
            agent_id: id.clone(),
            title: request.title.clone(),
            provider: request.provider.clone(),
            model: plan.model,
            mode: plan.mode,
            changes: Changes::default(),
            thinking: request.thinking.clone(),
            system_prompt: request.system_prompt.clone(),
            inject_tools: request.inject_tools,
            cwd,
            trusted: plan.trusted,
            worktree,
            labels: request.labels.clone(),
            parent: plan.parent,
            request: plan.digest,
            reports: Reports { to: plan.reports_to.into_iter().collect(), ..Reports::default() },
            wishes: Vec::new(),
            created_at: time,
            updated_at: time,
            archived_at: None,
        };
        let directory = self.home.agents();
        let files = Files::of(&directory, id.as_str());
        let write = || {
            finish_deletion(&directory, id.as_str())?;
            if files.directory.exists() {
                // Of an agent whose file was set aside: none of it is the new one's.
                store::set_aside(&files.directory, time)?;
            }
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&files.directory)?;
            if plan.kind.variant.is_some() {
                store::replace(&files.extends(), &plan.kind.provider.name())?;
            }
            if !request.env.is_empty() {
                store::replace(&files.env(), &request.env)?;
            }
            if !request.mcp_servers.is_empty() {
                store::replace(&files.mcp_config(), &serde_json::json!({ "mcpServers": request.mcp_servers }))?;
            }
            reached(Point::AgentFurnished);
            // From here on the agent exists.
            store::replace(&files.memory, &Memory { about, progress: Progress::default() })?;
            reached(Point::AgentMade);
            take_up(&directory, id.as_str(), &self.launcher, &self.watchers, &self.warnings)
        };
        match write() {
            Ok((id, owned)) => {
                let owned = self.agents.insert(id.clone(), owned);
                self.watchers.changed(&id);
                Ok(owned)
            }
            Err(error) => {
                let _ = fs::remove_file(&files.memory);
                let _ = fs::remove_dir_all(&files.directory);
                Err(ApiError::new(Code::Unavailable, format!("the agent cannot be written down: {error}"))
                    .hint(format!("make sure that {} can be written to", directory.display())))
            }
        }
    }
}

/// Who an agent is made for that no call makes.
pub(crate) struct Errand {
    /// Who says its prompt.
    pub(crate) from: Speaker,
    /// The agent that has asked for it, and counts as the one that created it.
    pub(crate) made_by: Option<AgentId>,
    /// Whether that agent is told when this one finishes.
    pub(crate) reports: bool,
}

/// Returns what an agent is told first.
fn initial_prompt(request: &CreateAgent, from: Option<Speaker>) -> Prompt {
    let (text, images) = (request.initial_prompt.clone(), request.images.clone());
    Prompt { text, images, raw: request.raw, from, ..Prompt::default() }
}

/// Returns what people see of a request before they allow it.
fn shown_to_people(request: &CreateAgent, plan: &Plan<'_>) -> Value {
    let mut shown = json!(request);
    shown["mode"] = json!(plan.mode);
    shown["cwd"] = json!(plan.directory);
    // Their values may be secrets.
    shown["env"] = json!(request.env.keys().collect::<Vec<_>>());
    shown["images"] = json!(request.images.len());
    shown
}

/// What a request comes to.
struct Plan<'a> {
    kind: Kind<'a>,
    mode: Mode,
    model: Option<String>,
    directory: PathBuf,
    /// Whether the settings of that directory may act.
    trusted: bool,
    parent: Option<AgentId>,
    reports_to: Option<AgentId>,
    digest: String,
}

/// Returns the mode where none is asked for: the variant's own or the caller's, and where there are both, the one that is
/// less free.
fn usual_mode(kind: Kind<'_>, inherited: Option<&Mode>) -> Mode {
    let own = kind.variant.and_then(|variant| variant.mode.as_ref());
    own.into_iter().chain(inherited).min_by_key(|mode| mode.rank()).cloned().unwrap_or_default()
}

/// Returns with what an agent would be launched.
fn spec_of(request: &CreateAgent, plan: &Plan<'_>, id: &AgentId) -> LaunchSpec {
    LaunchSpec {
        agent_id: id.clone(),
        cwd: plan.directory.display().to_string(),
        model: plan.model.clone(),
        mode: plan.mode.clone(),
        thinking: request.thinking.clone(),
        system_prompt: request.system_prompt.clone(),
        trusted: plan.trusted,
        mcp_config: None,
        mcp_servers: request.mcp_servers.clone(),
        tools: None,
        git_dirs: Vec::new(),
        trees: Vec::new(),
        rules: Vec::new(),
    }
}

/// Returns a digest of what a request asks for, whatever ids it gives and whether it waits.
fn digest(request: &CreateAgent) -> String {
    let request = CreateAgent { agent_id: None, prompt_id: None, background: false, ..request.clone() };
    let text = serde_json::to_string(&request).unwrap_or_default();
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
