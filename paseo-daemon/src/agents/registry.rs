//! All agents: taking them up, finding them, and the way to their owners.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::item::Origin;
use paseo_sdk::machine::agent::{Agent as Machine, Input, Memory, View};
use paseo_sdk::machine::outbox;
use paseo_sdk::machine::timeline::Timeline;
use paseo_sdk::model::{Agent, AgentId, AgentRef, Status};
use paseo_sdk::provider::{self, Provider};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::shown;
use crate::fault::{Point, reached};
use crate::launch::Launcher;
use crate::live::{Live, Watchers};
use crate::owner::{Files, Inbox, Order, Owner, now};
use crate::shim::journal;
use crate::store::{self, Log, Numbered};
use crate::warning::Warnings;

/// An agent and its owner.
pub(crate) struct Owned {
    pub(crate) live: Arc<Live>,
    pub(super) provider: &'static dyn Provider,
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

    /// Writes notices into the agent's timeline, and returns when they are there.
    pub(super) async fn note(&self, notices: Vec<String>) -> Result<(), ApiError> {
        for text in notices {
            let (done, result) = oneshot::channel();
            self.orders.send(Order::Note(text, done)).await.map_err(|_| self.gone())?;
            result.await.map_err(|_| self.gone())??;
        }
        Ok(())
    }

    /// Returns what its provider goes by: the name of a built-in one, or of a variant.
    pub(super) fn kind_name(&self) -> String {
        self.live.view().agent.provider.split('/').next().unwrap_or_default().to_owned()
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
    pub(crate) async fn archive(&self) -> Result<Agent, ApiError> {
        self.tell(Input::Archive).await?;
        Ok(self.until(|view| view.agent.archived_at.is_none() || has_left(view)).await)
    }

    /// Stops the agent for good: archives it, and returns when nothing of it runs and its owner has ended.
    pub(super) async fn retire(&self) -> Result<(), ApiError> {
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

    pub(super) fn insert(&self, id: AgentId, owned: Owned) -> Arc<Owned> {
        let owned = Arc::new(owned);
        self.agents.write().unwrap_or_else(PoisonError::into_inner).insert(id, owned.clone());
        owned
    }

    pub(super) fn remove(&self, id: &AgentId) -> Option<Arc<Owned>> {
        self.agents.write().unwrap_or_else(PoisonError::into_inner).remove(id)
    }

    /// Returns when every agent that was taken up has read its journals and found its process, or when one takes so long
    /// that the others shall not wait for it.
    pub(crate) async fn ready(&self) {
        let all = async {
            for owned in self.all() {
                let (done, read) = oneshot::channel();
                if owned.orders.send(Order::Ready(done)).await.is_ok() {
                    let _ = read.await;
                }
            }
        };
        if tokio::time::timeout(READY, all).await.is_err() {
            tracing::warn!("some agents are still being taken up");
        }
    }

    /// Lets every owner end. Their agents go on under their shims.
    pub(crate) async fn leave(&self) {
        let agents = std::mem::take(&mut *self.agents.write().unwrap_or_else(PoisonError::into_inner));
        for owned in agents.values() {
            owned.leave().await;
        }
    }

    pub(super) async fn alone(&self, id: &AgentId) -> tokio::sync::OwnedMutexGuard<()> {
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
        let mut found: Vec<_> = agents.values().filter(|owned| fits(owned)).collect();
        // A task that is done over again has the title that it had.
        let current = |owned: &Arc<Owned>| {
            let view = owned.live.view();
            view.agent.title == text && view.agent.status != Status::Archived
        };
        if found.iter().filter(|owned| current(owned)).count() == 1
            && found.iter().all(|owned| owned.live.view().agent.title == text)
        {
            found.retain(|owned| current(owned));
        }
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
    warnings: &Arc<Warnings>,
) -> io::Result<()> {
    for file in fs::read_dir(directory)? {
        let path = file?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if let Some(id) = name.strip_suffix(DELETED) {
            if let Err(error) = delete(directory, id) {
                warnings.add(format!("agent {id}: what is left of it cannot be deleted: {error}"));
            }
            continue;
        }
        if let Some((id, _)) = name.split_once(".json.damaged-") {
            let left = still_running(&Files::of(directory, id).runs());
            if !left.is_empty() {
                warnings.add(format!("agent {id} could not be read earlier; its file is {}{left}", path.display()));
            }
            continue;
        }
        let Some(id) = name.strip_suffix(".json") else { continue };
        match take_up(directory, id, launcher, watchers, warnings) {
            Ok((id, owned)) => {
                registry.insert(id, owned);
            }
            Err(error) => {
                let damaged = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
                let aside = damaged.then(|| store::set_aside(&path, now()).ok()).flatten();
                let place = aside.unwrap_or(path.clone()).display().to_string();
                let left = still_running(&Files::of(directory, id).runs());
                warnings.add(format!(
                    "agent {id} cannot be read ({error}); its file is {place}: make it {id}.json again when it is mended, \
                     and restart the daemon{left}"
                ));
            }
        }
    }
    Ok(())
}

/// Says which process of an agent goes on while nobody minds it.
fn still_running(runs: &Path) -> String {
    let Ok(entries) = fs::read_dir(runs) else { return String::new() };
    let served = entries.flatten().map(|entry| entry.path()).find(|run| journal::is_served(run).unwrap_or(false));
    match served.and_then(|run| journal::processes(&run).ok().flatten()) {
        Some(ready) => format!("; it still runs, as process {}, and is ended by `kill {}`", ready.pid, ready.shim_pid),
        None => String::new(),
    }
}

pub(super) fn take_up(
    directory: &Path,
    id: &str,
    launcher: &Arc<Launcher>,
    watchers: &Arc<Watchers>,
    warnings: &Arc<Warnings>,
) -> io::Result<(AgentId, Owned)> {
    let files = Files::of(directory, id);
    store::check_owner(&files.memory)?;
    let memory: Memory = store::read(&files.memory)?.ok_or_else(|| io::Error::other("it is gone"))?;
    if memory.about.agent_id.as_str() != id {
        let message = format!("it says that it is agent {}", memory.about.agent_id);
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let provider = provider_of(&memory, &files, launcher)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&files.directory)?;
    let (outbox, lines) = open_outbox(&files.outbox(), id, warnings)?;
    let timeline_log = open_log::<Place>(&files.timeline(), id, warnings)?;
    let (last_seq, written) = end_of_timeline(&files.timeline())?;
    let timeline = Timeline::new(last_seq, written);
    let machine = Machine::restore(provider.traits(), memory, lines);
    let view = machine.view(last_seq);
    let agent_id = view.agent.agent_id.clone();
    let live = Arc::new(Live::new(files.timeline(), timeline, view, watchers.clone()));
    let (orders, inbox) = mpsc::channel(ORDERS);
    let owner = Owner {
        machine,
        provider,
        files,
        outbox,
        timeline: timeline_log,
        live: live.clone(),
        launcher: launcher.clone(),
        inbox: Inbox::new(inbox),
        warnings: warnings.clone(),
        process: None,
        launching: None,
    };
    let task = tokio::sync::Mutex::new(Some(tokio::spawn(owner.run())));
    Ok((agent_id, Owned { live, provider, orders, task }))
}

/// Returns the provider that reads and starts an agent, whatever the settings say of the variant that it was made as.
fn provider_of(memory: &Memory, files: &Files, launcher: &Launcher) -> io::Result<&'static dyn Provider> {
    let name = memory.about.provider_name();
    // A damaged file here is no reason to set the agent aside.
    let extends: Option<String> = store::read(&files.extends())
        .map_err(|error| io::Error::other(format!("{}: {error}", files.extends().display())))?;
    let provider = match &extends {
        Some(extends) => provider::find(extends),
        None => launcher.kinds.find(name).map(|kind| kind.provider),
    };
    provider.ok_or_else(|| io::Error::other(format!("no provider {}", extends.as_deref().unwrap_or(name))))
}

/// Opens a log whose lines are `T`. Damage at its end is set aside and reported.
fn open_log<T: DeserializeOwned>(path: &Path, id: &str, warnings: &Warnings) -> io::Result<Log> {
    let (log, damage) = Log::open(path, now(), |line| serde_json::from_str::<T>(line).is_ok())?;
    if let Some(aside) = damage {
        warnings.add(format!("agent {id}: the end of {} was damaged; it is in {}", path.display(), aside.display()));
    }
    Ok(log)
}

/// Opens an outbox and reads it. Damage is set aside and reported, wherever it is.
fn open_outbox(path: &Path, id: &str, warnings: &Warnings) -> io::Result<(Log, Vec<outbox::Line>)> {
    let mut log = open_log::<outbox::Line>(path, id, warnings)?;
    let (lines, unread) = store::read_lines(path)?;
    if unread > 0 {
        let aside = log.copy_aside(now())?;
        log.rewrite(&lines.iter().map(serde_json::to_vec).collect::<Result<Vec<_>, _>>()?)?;
        let place = aside.display();
        warnings.add(format!("agent {id}: {unread} lines of {} were damaged; they are in {place}", path.display()));
    }
    Ok((log, lines))
}

/// What must be known of an entry to go on after it. The rest may be of a newer version.
#[derive(Deserialize)]
struct Place {
    seq: i64,
    origin: Option<Origin>,
}

/// Returns the number of the last entry, and the newest origin that an entry has.
fn end_of_timeline(path: &Path) -> io::Result<(i64, Option<Origin>)> {
    let Some(log) = Numbered::open(path)? else { return Ok((0, None)) };
    let parse = |line: &String| serde_json::from_str::<Place>(line).ok();
    let last = log.before(i64::MAX, 1, |_| true)?.lines.iter().find_map(parse);
    let with_origin = log.before(i64::MAX, 1, |line| line.contains(r#""origin":{"#))?.lines.iter().find_map(parse);
    Ok((last.map_or(0, |place| place.seq), with_origin.and_then(|place| place.origin)))
}

/// Removes the files of an agent. From the first step on it does not exist any more; what a death on the way leaves is
/// removed at the next start.
pub(super) fn delete(directory: &Path, id: &str) -> io::Result<()> {
    let files = Files::of(directory, id);
    let marked = directory.join(format!("{id}{DELETED}"));
    let gone = |done: io::Result<()>| match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    };
    gone(fs::rename(&files.memory, &marked))?;
    reached(Point::Deleting);
    gone(fs::remove_dir_all(&files.directory))?;
    gone(fs::remove_file(&marked))
}

/// Finishes the deletion of an agent that was begun and not finished, before another one has its id.
pub(super) fn finish_deletion(directory: &Path, id: &str) -> io::Result<()> {
    match directory.join(format!("{id}{DELETED}")).exists() {
        true => delete(directory, id),
        false => Ok(()),
    }
}

/// What the name of an agent's file ends in while the agent is being deleted.
const DELETED: &str = ".deleted";

/// How many orders may wait for the owner of one agent; whoever gives one more waits.
const ORDERS: usize = 32;

/// How long the doors stay closed at most while agents are taken up.
const READY: std::time::Duration = std::time::Duration::from_secs(10);
