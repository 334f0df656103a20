//! What a repository asks for when a worktree comes and goes: the setup and teardown of its `paseo.json`, read from the
//! base commit and run by a process that outlives the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::worktree::Note;
use paseo_sdk::model::{Duration, Setup, SetupStatus};
use serde::Deserialize;

use super::files::names;
use super::note::read_note;
use super::site::{Site, real};
use super::tree::git_dir_of;
use crate::hook::{self, Order, State};
use crate::launch::Helper;

/// What hooks start from.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) helper: Helper,
    /// The environment of agents and hooks.
    pub(crate) env: BTreeMap<String, String>,
    /// Names of programs that may outlive what started them.
    pub(crate) keep: Vec<String>,
}

/// A hook of a worktree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Setup,
    Teardown,
}

impl Hook {
    pub(super) fn name(self) -> &'static str {
        match self {
            Hook::Setup => "setup",
            Hook::Teardown => "teardown",
        }
    }

    /// Returns where its state is, in the worktree's own git directory.
    pub(super) fn state(self, git_dir: &Path) -> PathBuf {
        git_dir.join(format!("paseo-{}.json", self.name()))
    }

    /// Returns where its output goes.
    pub(super) fn log(self, git_dir: &Path) -> PathBuf {
        git_dir.join(format!("paseo-{}.log", self.name()))
    }
}

/// `paseo.json`, as far as it is about worktrees. What else is in it is somebody else's.
#[derive(Default, Deserialize)]
struct Settings {
    #[serde(default)]
    worktree: Option<Commands>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Commands {
    #[serde(default)]
    setup: Option<OneOrMany>,
    #[serde(default)]
    teardown: Option<OneOrMany>,
    #[serde(default)]
    setup_timeout: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Commands {
    fn of(&self, hook: Hook) -> Vec<String> {
        let commands = match hook {
            Hook::Setup => &self.setup,
            Hook::Teardown => &self.teardown,
        };
        let commands = match commands {
            None => Vec::new(),
            Some(OneOrMany::One(command)) => vec![command.clone()],
            Some(OneOrMany::Many(commands)) => commands.clone(),
        };
        commands.into_iter().filter(|command| !command.trim().is_empty()).collect()
    }
}

/// Says what a commit's `paseo.json` asks for: nothing, a setup, or something that cannot be understood.
pub(super) fn asked_for(commit: &gix::Commit<'_>) -> Setup {
    match read(commit) {
        Err(why) => Setup { status: SetupStatus::Skipped, message: Some(why), log: None },
        Ok(commands) if commands.of(Hook::Setup).is_empty() => Setup::default(),
        Ok(_) => Setup { status: SetupStatus::Pending, ..Setup::default() },
    }
}

fn read(commit: &gix::Commit<'_>) -> Result<Commands, String> {
    let file = commit.tree().and_then(|tree| tree.lookup_entry_by_path(COMMANDS));
    let Ok(Some(file)) = file else { return Ok(Commands::default()) };
    let blob = file.object().map_err(|_| "`paseo.json` of the base commit cannot be read".to_owned())?;
    let value: serde_json::Value = serde_json::from_slice(&blob.data)
        .map_err(|error| format!("`paseo.json` of the base commit is not JSON: {error}"))?;
    if !value.is_object() {
        return Err("`paseo.json` of the base commit is not an object".to_owned());
    }
    let settings: Settings = serde_path_to_error::deserialize(value)
        .map_err(|error| format!("`paseo.json` of the base commit: {}: {}", error.path(), error.inner()))?;
    Ok(settings.worktree.unwrap_or_default())
}

/// Reads what the base of a worktree asks for.
fn commands(repository: &gix::Repository, note: &Note) -> Result<Commands, String> {
    let id = gix::ObjectId::from_hex(note.base_commit.as_bytes()).map_err(|error| error.to_string())?;
    let commit = repository.find_commit(id).map_err(|_| "the base commit is not there any more".to_owned())?;
    read(&commit)
}

/// Says how the setup of a worktree is.
pub(super) fn setup(git_dir: &Path, note: &Note) -> Setup {
    if note.setup.status != SetupStatus::Pending {
        return note.setup.clone();
    }
    if !note.trusted {
        let what = match note.pull_request {
            Some(_) => "this pull request is not trusted",
            None => {
                "it comes from where nothing is trusted, or an agent made it of settings that the main branch has not"
            }
        };
        let message = format!("{what}; `paseo worktree trust {}` runs it", note.slug);
        return Setup { status: SetupStatus::Skipped, message: Some(message), log: None };
    }
    how_it_is(git_dir, Hook::Setup)
}

/// Says how a hook is that is to run.
pub(super) fn how_it_is(git_dir: &Path, hook: Hook) -> Setup {
    let log = Some(hook.log(git_dir).display().to_string());
    match hook::state(&hook.state(git_dir)) {
        Ok(None) => Setup { status: SetupStatus::Pending, ..Setup::default() },
        Ok(Some(State::Running(_))) => Setup { status: SetupStatus::Running, message: None, log },
        Ok(Some(State::Ended(ended))) => {
            let status = if ended.failure.is_some() { SetupStatus::Failed } else { SetupStatus::Done };
            Setup { status, message: ended.message(), log }
        }
        Err(error) => {
            let message = format!("how it went cannot be read: {error}");
            Setup { status: SetupStatus::Failed, message: Some(message), log }
        }
    }
}

/// What is to be run, and where.
pub(super) struct Run {
    pub(super) order: Order,
    pub(super) hook: Hook,
    pub(super) git_dir: PathBuf,
}

/// What a hook of a worktree comes to.
pub(super) enum Prepared {
    /// Its base asks for nothing, or it is not trusted.
    Nothing,
    /// This is to be run.
    Run(Box<Run>),
    /// What its base asks for cannot be read.
    Unreadable(String),
}

/// Reads what a hook of a worktree would run.
pub(super) fn prepare(
    site: &Site,
    surroundings: &Surroundings,
    tree: &Path,
    git_dir: &Path,
    note: &Note,
    hook: Hook,
) -> Result<Prepared, ApiError> {
    if !note.trusted {
        return Ok(Prepared::Nothing);
    }
    let commands = match commands(&site.open()?, note) {
        Ok(commands) => commands,
        Err(why) => {
            tracing::warn!("no {} for {}: {why}", hook.name(), note.slug);
            return Ok(Prepared::Unreadable(format!("the {} cannot be read: {why}", hook.name())));
        }
    };
    let timeout = commands.setup_timeout.unwrap_or(TIMEOUT);
    let commands = commands.of(hook);
    if commands.is_empty() {
        return Ok(Prepared::Nothing);
    }
    let mut env = surroundings.env.clone();
    env.extend(variables(site, note, tree));
    let order = Order {
        name: format!("{} {}", hook.name(), note.slug),
        marker: format!("{}-{}-{}", hook.name(), note.slug, uuid::Uuid::new_v4()),
        commands,
        cwd: tree.to_owned(),
        env,
        timeout,
        log: hook.log(git_dir),
        state: hook.state(git_dir),
        keep: surroundings.keep.clone(),
    };
    Ok(Prepared::Run(Box::new(Run { order, hook, git_dir: git_dir.to_owned() })))
}

/// What hooks are told of their worktree.
pub(super) fn variables(site: &Site, note: &Note, tree: &Path) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::from([
        ("PASEO_SOURCE_CHECKOUT_PATH".to_owned(), site.main.display().to_string()),
        ("PASEO_WORKTREE_PATH".to_owned(), tree.display().to_string()),
        ("PASEO_BRANCH_NAME".to_owned(), note.branch.clone().unwrap_or_default()),
    ]);
    variables.extend(note.port.map(|port| ("PASEO_WORKTREE_PORT".to_owned(), port.to_string())));
    variables
}

/// Says to an agent what its worktree lacks.
pub(super) fn failed(setup: &Setup) -> Option<String> {
    let why = setup.message.as_deref().unwrap_or_default();
    let log = setup.log.as_deref().map(|log| format!(" Its output is in {log}.")).unwrap_or_default();
    (setup.status == SetupStatus::Failed).then(|| format!("The setup of this worktree failed: {why}.{log}"))
}

impl Run {
    /// Starts it; returns how it is then.
    pub(super) async fn start(&self, helper: &Helper) -> Setup {
        let started = match helper.program() {
            Ok(program) => hook::start(&program, &self.order).await,
            Err(reason) => Err(std::io::Error::other(reason)),
        };
        match started {
            Ok(()) => Setup {
                status: SetupStatus::Running,
                message: None,
                log: Some(self.hook.log(&self.git_dir).display().to_string()),
            },
            // It runs, for somebody else who asked.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => how_it_is(&self.git_dir, self.hook),
            Err(error) => {
                tracing::warn!("the {} cannot be started: {error}", self.order.name);
                Setup { status: SetupStatus::Failed, message: Some(error.to_string()), log: None }
            }
        }
    }
}

/// Waits until a hook has ended, if it runs.
pub(super) async fn ended(git_dir: &Path, hook: Hook) -> Setup {
    let state = hook.state(git_dir);
    if let Err(error) = hook::ended(&state).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!("how a {} went cannot be read: {error}", hook.name());
    }
    how_it_is(git_dir, hook)
}

/// Ports that are given to worktrees before their notes say so.
#[derive(Debug, Default)]
pub(super) struct Ports(Mutex<BTreeSet<i64>>);

/// A port that is kept until its worktree's note says so.
#[derive(Debug)]
pub(super) struct Port {
    ports: Arc<Ports>,
    pub(super) number: i64,
}

impl Ports {
    /// Finds a port that nobody listens on and no worktree has, this one if it can be; none when all are taken.
    pub(super) fn free(self: Arc<Self>, home: &Path, wanted: Option<i64>) -> Option<Port> {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known_ports(home);
        let listens = |port: i64| {
            let Ok(port) = u16::try_from(port) else { return true };
            std::net::TcpListener::bind(("127.0.0.1", port)).is_err()
        };
        let number = wanted
            .into_iter()
            .chain(PORTS)
            .find(|port| !given.contains(port) && !known.contains(port) && !listens(*port))?;
        given.insert(number);
        drop(given);
        Some(Port { ports: self, number })
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.ports.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

/// Reads which ports the worktrees have that paseo made.
fn known_ports(home: &Path) -> BTreeSet<i64> {
    let root = real(home).join("worktrees");
    let mut ports = BTreeSet::new();
    for repository in names(&root).unwrap_or_default() {
        let directory = root.join(repository);
        for slug in names(&directory).unwrap_or_default() {
            let note = git_dir_of(&directory.join(slug)).and_then(|git_dir| read_note(&git_dir).ok().flatten());
            ports.extend(note.and_then(|note| note.port));
        }
    }
    ports
}

/// Refuses a hook that failed.
pub(super) fn teardown_failed(slug: &str, teardown: &Setup) -> ApiError {
    let why = teardown.message.as_deref().unwrap_or("its teardown failed");
    ApiError::new(Code::Refused, format!("worktree `{slug}` stays, as its teardown failed: {why}"))
        .hint("mend it and try again, or give `skipTeardown` (`--skip-teardown`)")
        .details(serde_json::json!({ "teardown": teardown }))
}

/// The file in which a repository says what it asks for.
pub(super) const COMMANDS: &str = "paseo.json";

/// The ports that worktrees get: below those that systems give to outgoing connections.
const PORTS: std::ops::Range<i64> = 21_000..31_000;

/// How long a hook may take where `setupTimeout` says nothing.
const TIMEOUT: Duration = Duration { milliseconds: 15 * 60 * 1000 };
