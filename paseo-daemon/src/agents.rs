//! The agents of this daemon: finding them, making them, and what is done with them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use paseo_sdk::catalogue::{
    Activity, AgentOutcome, Agents, ArchiveAgent, CancelAgent, CreateAgent, DeleteAgent, DeletedAgent,
    GetAgentActivity, GetAgentStatus, GetAgentTimeline, ListAgents, SendAgentPrompt, TimelinePage, UpdateAgent,
    WaitForAgent, WaitMode, WaitUntil, WatchAgents, Watched as Standing, Watching, WhenBusy,
};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::item::{Content, Entry, Happening};
use paseo_sdk::machine::agent::{About, Agent as Machine, Input, Memory, Progress, View, as_it_is, over};
use paseo_sdk::machine::timeline::Timeline;
use paseo_sdk::model::{Agent, AgentId, AgentRef, Mode, Prompt, PromptId, Status, Timestamp, WaitOutcome, Worktree};
use paseo_sdk::operation::{Caller, Handle, Principal};
use paseo_sdk::provider::{self, Provider};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::Core;
use crate::launch::Launcher;
use crate::live::{Cursor, Find, Live, Watched, Watchers};
use crate::owner::{Files, Inbox, Order, Owner, blocking, now};
use crate::store::{self, Log, Numbered};

/// How many orders may wait for the owner of one agent; whoever gives one more waits.
const ORDERS: usize = 32;

/// The longest prompt, in bytes.
const LONGEST_PROMPT: usize = 4 * 1024 * 1024;

/// The longest title, in bytes.
const LONGEST_TITLE: usize = 1024;

/// How much of a timeline the answer of a watch holds, in entries; the rest follows as events.
const FIRST_PAGE: usize = 100;

/// An agent and its owner.
pub(crate) struct Owned {
    pub(crate) live: Arc<Live>,
    orders: mpsc::Sender<Order>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Owned {
    /// Tells the agent's machine something, and returns when what follows from it is done.
    pub(crate) async fn tell(&self, input: Input) -> Result<(), ApiError> {
        let (done, result) = oneshot::channel();
        self.orders.send(Order::Tell(input, done)).await.map_err(|_| self.gone())?;
        result.await.map_err(|_| self.gone())?
    }

    /// Says why there is no owner any more.
    fn gone(&self) -> ApiError {
        match self.live.is_removed() {
            true => ApiError::new(Code::NotFound, format!("agent {} was deleted meanwhile", self.live.id))
                .hint("`paseo ls -a -g` lists agents"),
            false => ApiError::new(Code::Unavailable, "the daemon is stopping").hint("ask again when it is back"),
        }
    }

    /// Archives the agent, and returns when nothing of it runs. A prompt that comes meanwhile brings it back, and is not
    /// waited for.
    async fn archive(&self) -> Result<Agent, ApiError> {
        self.tell(Input::Archive).await?;
        Ok(self.until(|view| view.agent.archived_at.is_none() || has_left(view)).await)
    }

    /// Stops the agent for good: archives it, and returns when nothing of it runs and its owner has ended.
    async fn retire(&self) -> Result<(), ApiError> {
        loop {
            self.archive().await?;
            let (done, retired) = oneshot::channel();
            self.orders.send(Order::Retire(done)).await.map_err(|_| self.gone())?;
            if retired.await.map_err(|_| self.gone())? {
                return Ok(());
            }
            // A prompt came in between and brought it back.
        }
    }

    /// Ends the owner, and returns when it touches nothing any more.
    async fn leave(&self) {
        if let Some(task) = self.task.lock().await.take() {
            task.abort();
            // It was cancelled, or had ended.
            let _ = task.await;
        }
    }

    /// Returns when the agent is as `is_so` wants it.
    pub(crate) async fn until(&self, is_so: impl Fn(&View) -> bool) -> Agent {
        let mut views = self.live.views();
        match views.wait_for(|view| is_so(view)).await {
            Ok(view) => view.agent.clone(),
            Err(_) => self.live.view().agent.clone(),
        }
    }
}

/// Whether an agent does nothing, and nothing of it is left: its process has ended, and none is being started.
pub(crate) fn has_left(view: &View) -> bool {
    view.agent.turn.is_none() && !view.has_process
}

/// All agents.
#[derive(Default)]
pub(crate) struct Registry {
    agents: RwLock<BTreeMap<AgentId, Arc<Owned>>>,
    /// Agents that are being created or deleted: one call at a time for each id.
    busy: tokio::sync::Mutex<BTreeMap<AgentId, Arc<tokio::sync::Mutex<()>>>>,
}

impl Registry {
    pub(crate) fn all(&self) -> Vec<Arc<Owned>> {
        self.agents.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn get(&self, id: &AgentId) -> Option<Arc<Owned>> {
        self.agents.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn insert(&self, id: AgentId, owned: Owned) -> Arc<Owned> {
        let owned = Arc::new(owned);
        self.agents.write().unwrap_or_else(PoisonError::into_inner).insert(id, owned.clone());
        owned
    }

    fn remove(&self, id: &AgentId) -> Option<Arc<Owned>> {
        self.agents.write().unwrap_or_else(PoisonError::into_inner).remove(id)
    }

    /// Returns when every agent that was taken up has read its journals and found its process.
    pub(crate) async fn ready(&self) {
        for owned in self.all() {
            let (done, read) = oneshot::channel();
            if owned.orders.send(Order::Ready(done)).await.is_ok() {
                let _ = read.await;
            }
        }
    }

    /// Lets every owner end. Their agents go on under their shims.
    pub(crate) async fn leave(&self) {
        let agents = std::mem::take(&mut *self.agents.write().unwrap_or_else(PoisonError::into_inner));
        for owned in agents.values() {
            owned.leave().await;
        }
    }

    async fn alone(&self, id: &AgentId) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut busy = self.busy.lock().await;
            busy.retain(|_, lock| Arc::strong_count(lock) > 1);
            busy.entry(id.clone()).or_default().clone()
        };
        lock.lock_owned().await
    }

    /// Finds an agent by its id, an unambiguous prefix of it, or its exact title.
    pub(crate) fn find(&self, reference: &AgentRef) -> Result<Arc<Owned>, ApiError> {
        let agents = self.agents.read().unwrap_or_else(PoisonError::into_inner);
        let text = reference.as_str();
        if let Some((_, owned)) = agents.iter().find(|(id, _)| id.as_str() == text) {
            return Ok(owned.clone());
        }
        let fits = |owned: &Arc<Owned>| {
            let view = owned.live.view();
            view.agent.title == text || !text.is_empty() && view.agent.agent_id.as_str().starts_with(text)
        };
        let found: Vec<_> = agents.values().filter(|owned| fits(owned)).collect();
        match found.as_slice() {
            [only] => Ok(Arc::clone(only)),
            [] => Err(ApiError::new(Code::NotFound, format!("no agent {}", shown(text)))
                .hint("`paseo ls -a -g` lists agents")
                .details(serde_json::json!({ "field": "agentId" }))),
            several => {
                let candidates: Vec<_> = several
                    .iter()
                    .map(|owned| {
                        let view = owned.live.view();
                        serde_json::json!({ "agentId": view.agent.agent_id, "title": view.agent.title })
                    })
                    .collect();
                Err(ApiError::new(
                    Code::InvalidArgument,
                    format!("agentId: {} agents are called {}", several.len(), shown(text)),
                )
                .hint("give more of the id; `details.candidates` lists them")
                .details(serde_json::json!({ "field": "agentId", "candidates": candidates })))
            }
        }
    }
}

/// Takes up every agent that the home holds. A file that cannot be understood is set aside and reported; one that only
/// cannot be taken up now is reported and stays.
pub(crate) fn load(
    registry: &Registry,
    directory: &Path,
    launcher: &Arc<Launcher>,
    watchers: &Arc<Watchers>,
) -> io::Result<Vec<String>> {
    let mut warnings = Vec::new();
    for file in fs::read_dir(directory)? {
        let path = file?.path();
        let Some(id) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"))
        else {
            continue;
        };
        match take_up(directory, id, launcher, watchers) {
            Ok((id, owned)) => {
                registry.insert(id, owned);
            }
            Err(error) => {
                let damaged = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
                let aside = damaged.then(|| store::set_aside(&path, now()).ok()).flatten();
                let place = aside.unwrap_or(path.clone()).display().to_string();
                tracing::error!(%error, place, "an agent cannot be taken up");
                warnings.push(format!("agent {id} cannot be read ({error}); its file is {place}"));
            }
        }
    }
    Ok(warnings)
}

fn take_up(
    directory: &Path,
    id: &str,
    launcher: &Arc<Launcher>,
    watchers: &Arc<Watchers>,
) -> io::Result<(AgentId, Owned)> {
    let files = Files::of(directory, id);
    let memory: Memory = store::read(&files.memory)?.ok_or_else(|| io::Error::other("it is gone"))?;
    if memory.about.agent_id.as_str() != id {
        let message = format!("it says that it is agent {}", memory.about.agent_id);
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let provider = provider::find(memory.about.provider_name())
        .ok_or_else(|| io::Error::other(format!("no provider {}", memory.about.provider_name())))?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&files.directory)?;
    let time = now();
    let outbox = Log::open(&files.outbox(), time)?;
    let (lines, unread) = store::read_lines(&files.outbox())?;
    if unread > 0 {
        tracing::error!(agent = id, unread, "lines of an outbox cannot be read and are passed over");
    }
    let timeline_log = Log::open(&files.timeline(), time)?;
    let (last_seq, written) = end_of_timeline(&files.timeline())?;
    let timeline = Timeline::new(last_seq, written);
    let machine = Machine::restore(provider.traits(), memory, lines);
    let view = machine.view(last_seq);
    let agent_id = view.agent.agent_id.clone();
    let live = Arc::new(Live::new(files.timeline(), timeline, view, watchers.clone()));
    let (orders, inbox) = mpsc::channel(ORDERS);
    let owner = Owner {
        machine,
        files,
        outbox,
        timeline: timeline_log,
        live: live.clone(),
        launcher: launcher.clone(),
        inbox: Inbox::new(inbox),
        process: None,
        launching: None,
    };
    let task = tokio::sync::Mutex::new(Some(tokio::spawn(owner.run())));
    Ok((agent_id, Owned { live, orders, task }))
}

/// Returns the number of the last entry, and the newest origin that an entry has.
fn end_of_timeline(path: &Path) -> io::Result<(i64, Option<paseo_sdk::item::Origin>)> {
    let Some(log) = Numbered::open(path)? else { return Ok((0, None)) };
    let parse = |line: &String| serde_json::from_str::<Entry>(line).ok();
    let last = log.before(i64::MAX, 1, |_| true)?.lines.iter().find_map(parse);
    let with_origin = log.before(i64::MAX, 1, |line| line.contains(r#""origin":{"#))?.lines.iter().find_map(parse);
    Ok((last.map_or(0, |entry| entry.seq), with_origin.and_then(|entry| entry.origin)))
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

    /// Refuses what is for people only.
    pub(crate) fn only_people(&self, caller: &Caller, what: &str) -> Result<(), ApiError> {
        match &caller.who {
            Principal::User => Ok(()),
            Principal::Agent(_) => {
                Err(ApiError::new(Code::Forbidden, format!("an agent may not {what}")).hint("ask your user to do it"))
            }
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

    async fn create(&self, caller: &Caller, request: &CreateAgent) -> Result<(Arc<Owned>, PromptId), ApiError> {
        let plan = self.plan(caller, request)?;
        let id = request.agent_id.clone().map_or_else(fresh_id, Ok)?;
        let prompt_id = request.prompt_id.clone().map_or_else(|| "initial".parse().map_err(internal), Ok)?;
        let _alone = self.agents.alone(&id).await;
        let owned = match self.agents.get(&id) {
            Some(owned) => {
                // The same call again, perhaps after a cut: it goes on where it was.
                let memory = Files::of(&self.home.agents(), id.as_str()).memory;
                let known: Option<Memory> =
                    blocking(|| store::read(&memory)).map_err(|error| internal(error.to_string()))?;
                if known.is_none_or(|known| known.about.request != plan.digest) {
                    return Err(ApiError::new(
                        Code::Conflict,
                        format!("agentId: agent {id} exists, from another request"),
                    )
                    .hint("give each agent an id of its own, or none")
                    .details(serde_json::json!({ "field": "agentId" })));
                }
                owned
            }
            None => self.make(caller, request, plan, &id).await?,
        };
        let prompt = Prompt { text: request.initial_prompt.clone(), images: request.images.clone() };
        owned.tell(Input::Prompt { id: prompt_id.clone(), prompt, when_busy: WhenBusy::Queue }).await?;
        Ok((owned, prompt_id))
    }

    /// Checks a request as a whole, before anything is changed.
    fn plan(&self, caller: &Caller, request: &CreateAgent) -> Result<Plan, ApiError> {
        check_title(&request.title)?;
        check_prompt("initialPrompt", &request.initial_prompt)?;
        let (name, model) = match request.provider.split_once('/') {
            Some((name, model)) => (name, Some(model.to_owned())),
            None => (request.provider.as_str(), None),
        };
        let provider = provider::find(name).ok_or_else(|| {
            let names: Vec<_> = provider::all().iter().map(|provider| provider.name()).collect();
            ApiError::invalid("provider", format!("no provider {}", shown(name)))
                .hint(format!("there is: {}", names.join(", ")))
                .details(serde_json::json!({ "field": "provider", "providers": names }))
        })?;
        let parent = self.calling(caller)?;
        let inherited = parent.as_ref().map(|parent| parent.live.view().agent.mode.clone());
        let mode = request.mode.clone().or_else(|| inherited.clone()).unwrap_or_default();
        let modes = provider.traits().modes;
        if !modes.contains(&mode) {
            let names: Vec<_> = modes.iter().map(Mode::to_string).collect();
            return Err(ApiError::new(Code::Unsupported, format!("mode: {name} has no mode `{mode}`"))
                .hint(format!("it has: {}", names.join(", ")))
                .details(serde_json::json!({ "field": "mode", "modes": names })));
        }
        if inherited.is_some_and(|inherited| mode.rank() > inherited.rank()) {
            return Err(ApiError::new(
                Code::Forbidden,
                format!("mode: an agent may not give a child the mode `{mode}`, which it does not have"),
            )
            .hint("leave `mode` out, or ask your user"));
        }
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
            ("model", model.is_some() || request.model.is_some()),
        ] {
            if present && name == "shell" {
                return Err(
                    ApiError::new(Code::Unsupported, format!("{field}: means nothing to {name}")).hint("leave it out")
                );
            }
        }
        if request.notify_on_finish {
            return Err(ApiError::new(Code::Unsupported, "notifyOnFinish: notices are not there yet")
                .hint("leave it out, and use `wait_for_agent`"));
        }
        if let Some(key) = request.env.iter().find_map(|(key, value)| {
            (key.is_empty() || key.contains(['=', '\0']) || value.contains('\0')).then_some(key)
        }) {
            return Err(ApiError::invalid("env", format!("{} is not a variable that can be set", shown(key))));
        }
        if let Some(worktree) = &request.worktree {
            worktree.source()?;
        }
        let directory = self.directory(caller, request.cwd.as_deref())?;
        let model = request.model.clone().or(model);
        Ok(Plan {
            provider,
            mode,
            model,
            directory,
            parent: parent.map(|parent| parent.live.id.clone()),
            digest: digest(request),
        })
    }

    async fn make(
        &self,
        caller: &Caller,
        request: &CreateAgent,
        plan: Plan,
        id: &AgentId,
    ) -> Result<Arc<Owned>, ApiError> {
        self.launcher.check(plan.provider)?;
        let worktree = match &request.worktree {
            Some(wanted) => {
                let directory = match &wanted.cwd {
                    Some(cwd) => self.directory(caller, Some(cwd))?,
                    None => plan.directory.clone(),
                };
                Some(self.worktrees.create(wanted, &directory).await?)
            }
            None => None,
        };
        let made = blocking(|| self.write_down(request, plan, id, worktree.clone()));
        match (made, worktree) {
            (Ok(owned), _) => Ok(owned),
            (Err(error), worktree) => {
                if let Some(worktree) = worktree.filter(|worktree| worktree.created) {
                    self.worktrees.roll_back(&worktree).await?;
                }
                Err(error)
            }
        }
    }

    fn write_down(
        &self,
        request: &CreateAgent,
        plan: Plan,
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
            thinking: request.thinking.clone(),
            system_prompt: request.system_prompt.clone(),
            cwd,
            trusted: true,
            worktree,
            labels: request.labels.clone(),
            parent: plan.parent,
            request: plan.digest,
            created_at: time,
            updated_at: time,
            archived_at: None,
        };
        let directory = self.home.agents();
        let files = Files::of(&directory, id.as_str());
        let write = || {
            if files.directory.exists() {
                // Of an agent whose file was set aside, or that was not deleted to the end: none of it is the new one's.
                store::set_aside(&files.directory, time)?;
            }
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&files.directory)?;
            if !request.env.is_empty() {
                store::replace(&files.env(), &request.env)?;
            }
            // From here on the agent exists.
            store::replace(&files.memory, &Memory { about, progress: Progress::default() })?;
            take_up(&directory, id.as_str(), &self.launcher, &self.watchers)
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

    /// Waits for one agent.
    async fn wait(&self, owned: &Owned, prompt: Option<&PromptId>, until: WaitUntil) -> AgentOutcome {
        let mut views = owned.live.views();
        loop {
            let answer = over(&views.borrow_and_update(), prompt, until);
            if let Some(answer) = answer {
                return answer;
            }
            if views.changed().await.is_err() {
                // The agent's owner has left: the daemon stops, and whoever waits asks again when it is back.
                return std::future::pending().await;
            }
        }
    }

    /// Waits for several agents: until all are there, or any one, or one asks for permission.
    async fn wait_for_several(&self, agents: &[Arc<Owned>], request: &WaitForAgent) -> AgentOutcome {
        let watcher = self.watchers.join();
        loop {
            let answers: Vec<_> = agents.iter().map(|owned| over(&owned.live.view(), None, request.until)).collect();
            let decided = match request.mode {
                WaitMode::Any => answers.iter().flatten().next(),
                WaitMode::All => {
                    let asking =
                        answers.iter().flatten().find(|answer| answer.outcome == Some(WaitOutcome::Permission));
                    let all = answers.iter().all(Option::is_some);
                    let bad = || answers.iter().flatten().find(|answer| answer.outcome != Some(WaitOutcome::Completed));
                    asking.or_else(|| bad().or_else(|| answers.iter().flatten().next()).filter(|_| all))
                }
            };
            if let Some(decided) = decided {
                let agents = agents.iter().map(|owned| owned.live.view().agent.clone()).collect();
                return AgentOutcome { agents, ..decided.clone() };
            }
            watcher.rang().await;
        }
    }
}

/// What a request comes to.
struct Plan {
    provider: &'static dyn Provider,
    mode: Mode,
    model: Option<String>,
    directory: PathBuf,
    parent: Option<AgentId>,
    digest: String,
}

impl Handle<CreateAgent> for Core {
    async fn handle(&self, caller: Caller, request: CreateAgent) -> Result<AgentOutcome, ApiError> {
        let (owned, prompt) = self.create(&caller, &request).await?;
        Ok(match request.background {
            true => as_it_is(&owned.live.view().agent, Some(&prompt)),
            false => self.wait(&owned, Some(&prompt), WaitUntil::Attention).await,
        })
    }
}

impl Handle<SendAgentPrompt> for Core {
    async fn handle(&self, caller: Caller, request: SendAgentPrompt) -> Result<AgentOutcome, ApiError> {
        self.calling(&caller)?;
        check_prompt("prompt", &request.prompt)?;
        let owned = self.agents.find(&request.agent_id)?;
        let prompt_id = request.prompt_id.map_or_else(fresh_id, Ok)?;
        let prompt = Prompt { text: request.prompt, images: request.images };
        owned.tell(Input::Prompt { id: prompt_id.clone(), prompt, when_busy: request.when_busy }).await?;
        Ok(match request.background {
            true => as_it_is(&owned.live.view().agent, Some(&prompt_id)),
            false => self.wait(&owned, Some(&prompt_id), WaitUntil::Attention).await,
        })
    }
}

impl Handle<WaitForAgent> for Core {
    async fn handle(&self, caller: Caller, request: WaitForAgent) -> Result<AgentOutcome, ApiError> {
        self.calling(&caller)?;
        let timeout =
            request.timeout.map(|timeout| std::time::Duration::from_millis(timeout.milliseconds.unsigned_abs()));
        let wait = async {
            match (&request.agent_id, request.agent_ids.as_slice()) {
                (Some(agent), []) => {
                    let owned = self.agents.find(agent)?;
                    if let Some(prompt) = &request.prompt_id {
                        known_prompt(&owned.live, prompt)?;
                    }
                    let wait = self.wait(&owned, request.prompt_id.as_ref(), request.until);
                    let timed_out = || as_it_is(&owned.live.view().agent, request.prompt_id.as_ref());
                    Ok(within(timeout, wait, timed_out).await)
                }
                (None, agents @ [_, ..]) => {
                    if request.prompt_id.is_some() {
                        return Err(ApiError::invalid("promptId", "goes with `agentId`, not with `agentIds`"));
                    }
                    let agents = agents.iter().map(|agent| self.agents.find(agent)).collect::<Result<Vec<_>, _>>()?;
                    let timed_out = || {
                        let agents: Vec<_> = agents.iter().map(|owned| owned.live.view().agent.clone()).collect();
                        AgentOutcome { agents: agents.clone(), ..as_it_is(&agents[0], None) }
                    };
                    Ok(within(timeout, self.wait_for_several(&agents, &request), timed_out).await)
                }
                (Some(_), _) => Err(ApiError::invalid("agentIds", "goes without `agentId`: give one of them")),
                (None, []) => Err(ApiError::invalid("agentId", "is needed, or `agentIds`")),
            }
        };
        wait.await
    }
}

/// Waits for at most `timeout`.
async fn within(
    timeout: Option<std::time::Duration>,
    wait: impl Future<Output = AgentOutcome>,
    timed_out: impl Fn() -> AgentOutcome,
) -> AgentOutcome {
    match timeout {
        None => wait.await,
        Some(timeout) => match tokio::time::timeout(timeout, wait).await {
            Ok(answer) => answer,
            Err(_) => AgentOutcome { outcome: Some(WaitOutcome::TimedOut), ..timed_out() },
        },
    }
}

/// Refuses to wait for a prompt that nobody knows: that would take for ever.
fn known_prompt(live: &Live, prompt: &PromptId) -> Result<(), ApiError> {
    let view = live.view();
    let known = view.agent.queued.contains(prompt)
        || view.agent.turn.as_ref().is_some_and(|turn| turn.prompt_id.as_ref() == Some(prompt))
        || view.finished.iter().any(|end| end.prompt_id.as_ref() == Some(prompt));
    match known {
        true => Ok(()),
        false => Err(ApiError::new(Code::NotFound, format!("promptId: the agent knows no prompt {prompt}"))
            .hint("leave `promptId` out to wait for all of its work")
            .details(serde_json::json!({ "field": "promptId" }))),
    }
}

impl Handle<ListAgents> for Core {
    async fn handle(&self, caller: Caller, request: ListAgents) -> Result<Agents, ApiError> {
        self.calling(&caller)?;
        let limit = limit(request.limit)?;
        let parent = request.parent.as_ref().map(|parent| self.agents.find(parent)).transpose()?;
        let parent = parent.map(|parent| parent.live.id.clone());
        let places = match request.cwd.as_ref().map(Path::new) {
            Some(cwd) if !cwd.is_absolute() => return Err(ApiError::invalid("cwd", "is not an absolute path")),
            Some(cwd) => Some(self.worktrees.places(cwd).await?),
            None => None,
        };
        let since = request.since_hours.map(|hours| now().plus(hours.saturating_mul(-3_600_000)));
        let after = request.cursor.as_deref().map(read_cursor).transpose()?;
        let wanted = |agent: &Agent| {
            let archived = agent.status == Status::Archived;
            (!archived || request.include_archived || request.statuses.contains(&Status::Archived))
                && places.as_ref().is_none_or(|places| places.iter().any(|place| belongs(agent, place)))
                && (request.statuses.is_empty() || request.statuses.contains(&agent.status))
                && since.is_none_or(|since| agent.updated_at >= since)
                && request.labels.iter().all(|(label, value)| agent.labels.get(label) == Some(value))
                && parent.as_ref().is_none_or(|parent| agent.parent.as_ref() == Some(parent))
                && after.as_ref().is_none_or(|after| place(agent) < *after)
        };
        let mut agents: Vec<_> =
            self.agents.all().iter().map(|owned| owned.live.view().agent.clone()).filter(wanted).collect();
        agents.sort_by_key(|agent| std::cmp::Reverse(place(agent)));
        let more = agents.len() > limit;
        agents.truncate(limit);
        let next_cursor = agents.last().filter(|_| more).map(|last| format!("{}.{}", last.created_at.0, last.agent_id));
        Ok(Agents { agents, next_cursor })
    }
}

/// Where an agent stands in a list: by the time it was created.
fn place(agent: &Agent) -> (Timestamp, AgentId) {
    (agent.created_at, agent.agent_id.clone())
}

fn read_cursor(cursor: &str) -> Result<(Timestamp, AgentId), ApiError> {
    let refuse = || ApiError::invalid("cursor", "is not one of ours").hint("give `nextCursor` of the answer before");
    let (time, id) = cursor.split_once('.').ok_or_else(refuse)?;
    Ok((Timestamp(time.parse().map_err(|_| refuse())?), id.parse().map_err(|_| refuse())?))
}

/// Returns whether an agent works in a directory or below, or in a worktree there.
pub(crate) fn belongs(agent: &Agent, directory: &Path) -> bool {
    let worktree = agent.worktree.as_ref().map(|worktree| &worktree.worktree_path);
    std::iter::once(&agent.cwd).chain(worktree).any(|path| Path::new(path).starts_with(directory))
}

impl Handle<GetAgentStatus> for Core {
    async fn handle(&self, caller: Caller, request: GetAgentStatus) -> Result<Agent, ApiError> {
        self.calling(&caller)?;
        Ok(self.agents.find(&request.agent_id)?.live.view().agent.clone())
    }
}

impl Handle<GetAgentTimeline> for Core {
    async fn handle(&self, caller: Caller, request: GetAgentTimeline) -> Result<TimelinePage, ApiError> {
        self.calling(&caller)?;
        let limit = limit(request.limit)?;
        if request.after.is_some() && request.before.is_some() {
            return Err(ApiError::invalid("before", "goes without `after`: give one of them"));
        }
        let owned = self.agents.find(&request.agent_id)?;
        let (path, last_seq) = (owned.live.log().clone(), owned.live.last_seq());
        let read = move || {
            let Some(log) = Numbered::open(&path)? else { return io::Result::Ok((Vec::new(), false)) };
            let parse = |line: &str| serde_json::from_str::<Entry>(line).ok();
            let wanted = |line: &str| {
                parse(line).is_some_and(|entry| request.kinds.is_empty() || request.kinds.contains(&entry.what.kind()))
            };
            let page = match (request.after, request.before) {
                (Some(after), _) => log.after(after, limit, wanted)?,
                (None, before) => log.before(before.unwrap_or(i64::MAX), limit, wanted)?,
            };
            Ok((page.lines.iter().filter_map(|line| parse(line)).collect(), page.more))
        };
        let read = tokio::task::spawn_blocking(read).await.map_err(|error| internal(error.to_string()))?;
        let (entries, more) = read.map_err(|error| internal(format!("the timeline cannot be read: {error}")))?;
        Ok(TimelinePage { entries, more, last_seq })
    }
}

impl Handle<GetAgentActivity> for Core {
    async fn handle(&self, caller: Caller, request: GetAgentActivity) -> Result<Activity, ApiError> {
        self.calling(&caller)?;
        let owned = self.agents.find(&request.agent_id)?;
        let live = owned.live.clone();
        let read = move || -> io::Result<Vec<Entry>> {
            let Some(log) = Numbered::open(live.log())? else { return Ok(Vec::new()) };
            let page = log.before(i64::MAX, 200, |line| !line.contains(r#""type":"item_opened""#))?;
            Ok(page.lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect())
        };
        let read = tokio::task::spawn_blocking(read).await.map_err(|error| internal(error.to_string()))?;
        let entries = read.map_err(|error| internal(format!("the timeline cannot be read: {error}")))?;
        let agent = owned.live.view().agent.clone();
        let summary = summarise(&agent, &entries);
        let Agent { agent_id, title, status, updated_at, .. } = agent;
        Ok(Activity { agent_id, title, status, summary, updated_at })
    }
}

/// Says in at most 16 KiB what an agent did, the newest last.
fn summarise(agent: &Agent, entries: &[Entry]) -> String {
    const WHOLE: usize = 16 * 1024;
    const EACH: usize = 2 * 1024;
    let mut lines = Vec::new();
    for permission in &agent.permissions {
        lines.push(format!("[waits for permission {}] {}", permission.request_id, permission.title));
    }
    let mut length: usize = lines.iter().map(String::len).sum();
    for entry in entries.iter().rev() {
        let Some(line) = line_of(&entry.what) else { continue };
        let line = match line.char_indices().nth(EACH) {
            Some((cut, _)) => format!("{}…", &line[..cut]),
            None => line,
        };
        length += line.len() + 1;
        if length > WHOLE {
            lines.push("[earlier activity is left out]".to_owned());
            break;
        }
        lines.push(line);
    }
    lines.reverse();
    lines.join("\n")
}

fn line_of(what: &Happening) -> Option<String> {
    let because = |reason: &Option<String>| reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    Some(match what {
        Happening::ItemClosed { item } => match &item.content {
            Content::UserMessage { text, .. } => format!("[prompt] {text}"),
            Content::AssistantMessage { text } => format!("[said] {text}"),
            Content::Reasoning { .. } => return None,
            Content::ToolCall(call) => {
                let output =
                    call.output.as_deref().map_or_else(String::new, |output| format!("\n{}", output.trim_end()));
                let status = serde_json::to_value(call.status).unwrap_or_default();
                let status = status.as_str().unwrap_or_default();
                format!("[{} {status}] {}{output}", call.name, call.title)
            }
            Content::Todo { entries } => {
                let entries: Vec<_> = entries.iter().map(|entry| format!("- {}", entry.text)).collect();
                format!("[to do]\n{}", entries.join("\n"))
            }
            Content::Compaction { text } => format!("[compaction] {text}"),
        },
        Happening::Notice { text } => format!("[notice] {text}"),
        Happening::Error { text } => format!("[error] {text}"),
        Happening::TurnEnded { outcome, reason, .. } => {
            let outcome = serde_json::to_value(outcome).unwrap_or_default();
            format!("[turn {}]{}", outcome.as_str().unwrap_or_default(), because(reason))
        }
        Happening::TurnStarted { .. } | Happening::ItemOpened { .. } => return None,
    })
}

impl Handle<WatchAgents> for Core {
    async fn handle(&self, caller: Caller, request: WatchAgents) -> Result<Watching, ApiError> {
        self.calling(&caller)?;
        let feed = caller.feed.ok_or_else(|| {
            ApiError::new(Code::Unsupported, "a single request cannot carry events")
                .hint("connect to /ws and watch there")
        })?;
        // From here on nothing is missed, whatever changes while the answer is put together.
        let watcher = self.watchers.join();
        let for_all = request.agents.is_none();
        let mut standing = Vec::new();
        let mut agents = BTreeMap::new();
        match request.agents {
            Some(wanted) => {
                for from in wanted {
                    let live = self.agents.find(&from.agent_id)?.live.clone();
                    let read = {
                        let live = live.clone();
                        move || live.entries(from.after, FIRST_PAGE)
                    };
                    let read = tokio::task::spawn_blocking(read).await.map_err(|error| internal(error.to_string()))?;
                    let entries = read.map_err(|error| internal(format!("the timeline cannot be read: {error}")))?;
                    let after = entries.last().map_or(from.after, |entry| entry.seq);
                    let mut cursor = Cursor::following(after);
                    let text = live.text(&mut cursor);
                    standing.push(Standing { agent: live.view().agent.clone(), entries, text });
                    agents.insert(live.id.clone(), (live, cursor));
                }
            }
            None => {
                for owned in self.agents.all() {
                    let live = owned.live.clone();
                    standing.push(Standing { agent: live.view().agent.clone(), entries: Vec::new(), text: Vec::new() });
                    agents.insert(live.id.clone(), (live, Cursor::default()));
                }
            }
        }
        let others = for_all.then(|| {
            let registry = self.agents.clone();
            let find = move |id: &AgentId| registry.get(id).map(|owned| owned.live.clone());
            Box::new(find) as Find
        });
        feed.follow(Watched { agents, others }.frames(watcher));
        Ok(Watching { agents: standing })
    }
}

impl Handle<UpdateAgent> for Core {
    async fn handle(&self, caller: Caller, request: UpdateAgent) -> Result<Agent, ApiError> {
        self.calling(&caller)?;
        if let Some(title) = &request.title {
            check_title(title)?;
        }
        let owned = self.agents.find(&request.agent_id)?;
        owned.tell(Input::Update { title: request.title, labels: request.labels }).await?;
        Ok(owned.live.view().agent.clone())
    }
}

impl Handle<CancelAgent> for Core {
    async fn handle(&self, caller: Caller, request: CancelAgent) -> Result<Agent, ApiError> {
        self.calling(&caller)?;
        let owned = self.agents.find(&request.agent_id)?;
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
        self.calling(&caller)?;
        self.agents.find(&request.agent_id)?.archive().await
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
        let files = Files::of(&self.home.agents(), agent_id.as_str());
        let removed = blocking(|| fs::remove_file(&files.memory).and_then(|()| fs::remove_dir_all(&files.directory)));
        removed.map_err(|error| internal(format!("some files of agent {agent_id} are still there: {error}")))?;
        Ok(DeletedAgent { agent_id })
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

/// Reads a `limit`.
fn limit(limit: Option<i64>) -> Result<usize, ApiError> {
    match limit.unwrap_or(100) {
        limit @ 1..=1000 => Ok(usize::try_from(limit).unwrap_or(1000)),
        _ => Err(ApiError::invalid("limit", "must be from 1 to 1000")),
    }
}

/// Returns a digest of what a request asks for, whatever ids it gives and whether it waits.
fn digest(request: &CreateAgent) -> String {
    let request = CreateAgent { agent_id: None, prompt_id: None, background: false, ..request.clone() };
    let text = serde_json::to_string(&request).unwrap_or_default();
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

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
