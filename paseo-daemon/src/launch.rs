//! Starting the processes of agents, and finding those that an earlier daemon started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::agent::About;
use paseo_sdk::model::{AgentId, Mode};
use paseo_sdk::provider::{LaunchSpec, Program, Provider, Surroundings, TOOLS, ToolServer};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::fault::{Point, reached};
use crate::owner::Files;
use crate::probe;
use crate::shim::link::{self, Heard, News, Words};
use crate::shim::{Launching, MARKER, journal, place, tree};
use crate::store;
use crate::token::Tokens;
use crate::variant::{Kind, Kinds};
use crate::worktrees::{Ground, Worktrees};

/// Starts processes, and finds them again.
pub(crate) struct Launcher {
    pub(crate) helper: Helper,
    pub(crate) home: PathBuf,
    pub(crate) agents: PathBuf,
    pub(crate) tokens: Tokens,
    pub(crate) keep: Vec<String>,
    /// The daemon's own environment without what is not for agents, then what the settings add.
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) kinds: Kinds,
    /// Whether agents get the tools of paseo, where nobody has said it for them.
    pub(crate) inject: bool,
    pub(crate) worktrees: Worktrees,
}

/// The daemon's end of a process that runs.
pub(crate) struct Running {
    pub(crate) words: Words,
    pub(crate) heard: Heard,
    /// The last record that was in the journal when the shim answered.
    pub(crate) known: i64,
    /// What an agent that begins here is to know of its ground, with its first prompt.
    pub(crate) note: Option<String>,
    directory: PathBuf,
}

impl Running {
    /// Returns how large the newest segment of the journal is, in bytes.
    pub(crate) fn journal_bytes(&self) -> u64 {
        journal::newest_segment(&self.directory).and_then(|segment| segment.metadata()).map_or(0, |found| found.len())
    }

    /// Returns when what the journal holds is on the disk.
    pub(crate) fn sync_journal(&self) -> io::Result<()> {
        journal::newest_segment(&self.directory)?.sync_data()
    }
}

/// Variables that are this daemon's own, or secret, or those of an agent in whose tools it was started: agents get their
/// own, or none.
const NOT_FOR_AGENTS: [&str; 8] = [
    "PASEO_TOKEN",
    "PASEO_LISTEN",
    "PASEO_LOG",
    "CLAUDECODE",
    "CLAUDE_CODE_SESSION_ID",
    "CLAUDE_CODE_ENTRYPOINT",
    "AI_AGENT",
    MARKER,
];

/// Returns the environment that agents start from.
pub(crate) fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
    settings: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let own = |name: &str| NOT_FOR_AGENTS.contains(&name) || name.starts_with("PASEO_AGENT_");
    let text = variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut env: BTreeMap<_, _> = text.filter(|(name, _)| !own(name)).collect();
    env.extend(settings.clone());
    env
}

/// The program that plays the hidden roles.
#[derive(Clone, Debug)]
pub(crate) enum Helper {
    /// The program that this process runs.
    Own(PathBuf),
    /// Another one.
    Other(PathBuf),
    /// There is none, for this reason.
    Missing(String),
}

impl Helper {
    /// Finds it: the one that is given, this one if it is `paseo`, `paseo` beside it, or `paseo` on the `PATH`.
    pub(crate) fn find(given: Option<&Path>) -> Helper {
        let own = match std::env::current_exe() {
            Ok(own) => own,
            Err(error) => return Helper::Missing(format!("this program cannot be found: {error}")),
        };
        if let Some(given) = given {
            return match given.is_file() {
                true if given == own => Helper::Own(own),
                true => Helper::Other(given.to_owned()),
                false => Helper::Missing(format!("{} is not a program", given.display())),
            };
        }
        let is_ours = |path: &PathBuf| {
            path.file_stem().is_some_and(|name| name == "paseo" || name == "paseo-daemon") && path.is_file()
        };
        if is_ours(&own) {
            return Helper::Own(own);
        }
        let beside = own.parent().map(|directory| directory.join("paseo"));
        let on_path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&on_path).map(|directory| directory.join("paseo"));
        beside.into_iter().chain(on_path).find(is_ours).map_or_else(
            || {
                Helper::Missing(format!(
                    "no `paseo` beside {} nor on the PATH: install it, or set `Config.helper` to a program that calls \
                     `paseo_daemon::helper_main()` first",
                    own.display()
                ))
            },
            Helper::Other,
        )
    }

    /// Returns the program as it can be started now.
    pub(crate) fn program(&self) -> Result<PathBuf, String> {
        match self {
            // The file may have been replaced by a newer version, which speaks to newer daemons: what runs is still there.
            Helper::Own(own) if cfg!(target_os = "linux") && std::env::current_exe().ok().as_ref() != Some(own) => {
                Ok("/proc/self/exe".into())
            }
            Helper::Own(path) | Helper::Other(path) => Ok(path.clone()),
            Helper::Missing(reason) => Err(reason.clone()),
        }
    }

    /// Returns its file as any process can start it, now and later: a newer version that has taken its place will do. Where
    /// nothing has, what this process runs is still there for as long as it lives.
    fn file(&self) -> Option<PathBuf> {
        let (Helper::Own(path) | Helper::Other(path)) = self else { return None };
        let named = without_mark(path);
        let running = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
        match self {
            Helper::Own(_) if !named.is_file() && running.exists() => Some(running),
            _ => Some(named),
        }
    }
}

/// Returns the path of a program without what Linux adds to it once the file is gone or was replaced.
fn without_mark(path: &Path) -> PathBuf {
    path.to_str().and_then(|text| text.strip_suffix(" (deleted)")).map_or_else(|| path.to_owned(), PathBuf::from)
}

/// Returns the file that this program was started from: what stands there now is what a restart becomes.
pub(crate) fn own_program(name: Option<OsString>) -> io::Result<PathBuf> {
    match name.map(PathBuf::from).filter(|name| name.components().count() > 1) {
        Some(path) => std::path::absolute(path),
        None => Ok(without_mark(&std::env::current_exe()?)),
    }
}

impl Launcher {
    /// Refuses when an agent could not be started so; `own` are the variables that it brings itself.
    pub(crate) async fn ready(
        &self,
        kind: Kind<'_>,
        spec: &LaunchSpec,
        own: &BTreeMap<String, String>,
    ) -> Result<(), ApiError> {
        let mut env = kind.env(&self.env);
        env.extend(own.clone());
        self.objection(kind.provider, spec, &env)?;
        self.helper().map_err(|reason| ApiError::new(Code::Unavailable, reason))?;
        let Some(program) = kind.program() else { return Ok(()) };
        let program = probe::find(program, kind.native(), &env).ok_or_else(|| kind.missing())?;
        if probe::logged_in(kind.provider, &program, &env).await == Some(false) {
            let message = format!("{} is not logged in", kind.name);
            return Err(ApiError::new(Code::Unavailable, message).hint(kind.login()));
        }
        Ok(())
    }

    /// Returns the program that plays the hidden roles.
    pub(crate) fn helper(&self) -> Result<PathBuf, String> {
        self.helper.program()
    }

    /// Returns what serves the tools of paseo to agents.
    fn tools(&self) -> Option<ToolServer> {
        let program = self.helper.file()?.display().to_string();
        Some(ToolServer { program, args: ["__bridge", "mcp"].map(str::to_owned).to_vec() })
    }

    /// Refuses a mode in which an agent that is there could not be started again. `name` is what its provider goes by.
    pub(crate) fn check_mode(
        &self,
        provider: &dyn Provider,
        name: &str,
        id: &AgentId,
        mode: &Mode,
    ) -> Result<(), ApiError> {
        let mut env = self.kinds.find(name).map_or_else(|| self.env.clone(), |kind| kind.env(&self.env));
        let own: Option<BTreeMap<String, String>> = store::read(&Files::of(&self.agents, id.as_str()).env())
            .map_err(|error| ApiError::new(Code::Unavailable, format!("its environment cannot be read: {error}")))?;
        env.extend(own.unwrap_or_default());
        let spec = LaunchSpec {
            agent_id: id.clone(),
            cwd: String::new(),
            model: None,
            mode: mode.clone(),
            thinking: None,
            system_prompt: None,
            trusted: true,
            mcp_config: None,
            mcp_servers: BTreeMap::new(),
            tools: None,
            git_dirs: Vec::new(),
            trees: Vec::new(),
            rules: Vec::new(),
        };
        self.objection(provider, &spec, &env)
    }

    fn objection(
        &self,
        provider: &dyn Provider,
        spec: &LaunchSpec,
        env: &BTreeMap<String, String>,
    ) -> Result<(), ApiError> {
        let surroundings = Surroundings { root: rustix::process::geteuid().is_root(), env };
        provider
            .check(spec, &surroundings)
            .map_err(|objection| ApiError::invalid(objection.field, objection.message).hint(objection.hint))
    }

    /// Returns the numbers of an agent's runs, the oldest first.
    pub(crate) fn runs(&self, directory: &Path) -> io::Result<Vec<i64>> {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut runs = Vec::new();
        for entry in entries {
            runs.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i64>().ok()));
        }
        runs.sort_unstable();
        Ok(runs)
    }

    /// Starts a process. It is given up when the receiver is dropped; a shim that is there by then is found by its
    /// directory when the daemon starts again.
    pub(crate) fn launch(
        self: Arc<Self>,
        provider: &'static dyn Provider,
        about: &About,
        spec: LaunchSpec,
        run: i64,
        resume: Option<String>,
    ) -> oneshot::Receiver<Result<Running, String>> {
        let (mut done, result) = oneshot::channel();
        let name = about.provider_name().to_owned();
        let inject = about.inject_tools.unwrap_or(self.inject);
        tokio::spawn(async move {
            // What is set up there is waited for, unless nobody waits for the process any more.
            let ground = tokio::select! {
                ground = self.worktrees.ground(Path::new(&spec.cwd)) => ground,
                () = done.closed() => return,
            };
            let started = match ground {
                Ok(ground) => match self.kinds.of_agent(&name, provider) {
                    Ok(kind) => self.start(kind, spec, inject, ground, run, resume.as_deref()).await,
                    Err(reason) => Err(reason),
                },
                Err(error) => Err(error.message),
            };
            let _ = done.send(started);
        });
        result
    }

    async fn start(
        &self,
        kind: Kind<'_>,
        mut spec: LaunchSpec,
        inject: bool,
        ground: Ground,
        run: i64,
        resume: Option<&str>,
    ) -> Result<Running, String> {
        // A conversation that goes on knows already.
        let note = ground.note.filter(|_| resume.is_none());
        let helper = self.helper()?;
        let files = Files::of(&self.agents, spec.agent_id.as_str());
        spec.mcp_config = Some(files.mcp_config()).filter(|file| file.exists()).map(|file| file.display().to_string());
        spec.mcp_servers = mcp_servers(&files.mcp_config())?;
        // Settings that have changed since may want what its own server is called.
        spec.tools = self.tools().filter(|_| inject && !spec.mcp_servers.contains_key(TOOLS));
        // A worktree may have been trusted since.
        spec.trusted = ground.trusted;
        let shown = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect();
        spec.git_dirs = shown(&ground.layout.git_dirs);
        spec.trees = shown(&ground.layout.trees);
        let launch = kind.provider.launch(&spec, resume);
        let run_dir = files.runs().join(run.to_string());
        let socket = self.socket(&spec.agent_id, run).map_err(|error| format!("no place for a socket: {error}"))?;
        let own: Option<BTreeMap<String, String>> =
            store::read(&files.env()).map_err(|error| format!("{}: {error}", files.env().display()))?;
        let mut env = self.env.clone();
        env.extend(ground.variables);
        let mut env = kind.env(&env);
        env.extend(own.unwrap_or_default());
        env.extend(launch.env);
        env.insert("PASEO_AGENT_ID".to_owned(), spec.agent_id.to_string());
        env.insert("PASEO_AGENT_TOKEN".to_owned(), self.tokens.agent_token(&spec.agent_id));
        env.insert("PASEO_HOME".to_owned(), self.home.display().to_string());
        if launch.program == Program::Helper {
            // For the bridge alone: it keeps them from what it runs.
            env.insert("PASEO_RUN_DIR".to_owned(), run_dir.display().to_string());
            env.insert("PASEO_KEEP".to_owned(), self.keep.join(":"));
        }
        let program = match launch.program {
            Program::Helper => helper.display().to_string(),
            Program::Named(name) => {
                let name = kind.own_program().map_or(name, str::to_owned);
                let native = probe::find(&name, kind.native(), &env);
                native.filter(|_| !kind.native().is_empty()).map_or(name, |path| path.display().to_string())
            }
        };
        let launching = Launching {
            agent_id: spec.agent_id.to_string(),
            marker: place::marker(&self.home, spec.agent_id.as_str(), run),
            program,
            args: launch.args,
            env: env.into_iter().collect(),
            cwd: spec.cwd.into(),
            setup: launch.setup,
            run_dir: run_dir.clone(),
            socket: socket.clone(),
            keep: self.keep.clone(),
            limits: crate::shim::Limits::default(),
        };
        reached(Point::Launching);
        let ready = match link::spawn(&helper, &launching).await {
            Ok(ready) => ready,
            Err(reason) => {
                let running = started_before(&socket, run_dir).await.ok_or(reason)?;
                return Ok(Running { note, ..running });
            }
        };
        reached(Point::Launched);
        match attach(&socket, 0, run_dir).await {
            Ok(running) => Ok(Running { note, ..running }),
            Err(error) => {
                // It must not live on beside the next run. It ends its agent first, and whoever comes later reads so.
                let _ = tree::signal_one(ready.shim_pid, ready.shim_start_time, rustix::process::Signal::TERM);
                // One that is stuck must not keep the agent starting for ever.
                let _ = tokio::time::timeout(FAREWELL, link::reap(ready.shim_pid)).await;
                Err(format!("its shim does not answer: {error}"))
            }
        }
    }

    fn socket(&self, id: &AgentId, run: i64) -> io::Result<PathBuf> {
        place::socket(&self.home, id.as_str(), run)
    }

    /// Attaches to the shim of a run whose journal is read up to `after`. None when the journal says more by now: one whose
    /// shim is gone is given its end, and whatever is left of the agent's processes is ended.
    pub(crate) async fn find(
        &self,
        id: &AgentId,
        run: i64,
        directory: &Path,
        after: i64,
    ) -> io::Result<Option<Running>> {
        let socket = listens_at(directory)?.map_or_else(|| self.socket(id, run), Ok)?;
        match attach(&socket, after, directory.to_owned()).await {
            Ok(running) => return Ok(Some(running)),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error),
            Err(_) => {}
        }
        match journal::is_served(directory)? {
            // It lives and does not answer: it is about to write the end.
            true => tokio::time::sleep(PATIENCE).await,
            false => self.bury(id, run, directory).await?,
        }
        Ok(None)
    }

    /// Ends what a shim that was killed has left behind, and its journal.
    async fn bury(&self, id: &AgentId, run: i64, directory: &Path) -> io::Result<()> {
        let marker = place::marker(&self.home, id.as_str(), run);
        let (keep, run_dir) = (self.keep.clone(), directory.to_owned());
        let bury = move || {
            let ended = tree::sweep_orphans(&marker, &keep);
            tracing::warn!(run_dir = %run_dir.display(), ?ended, "a shim was lost");
            reached(Point::OrphansEnded);
            journal::finish_lost(&run_dir, "its process was lost: the shim that kept it is gone")
        };
        tokio::task::spawn_blocking(bury).await.map_err(io::Error::other)??;
        reached(Point::JournalEnded);
        Ok(())
    }
}

/// Attaches to the shim of a run that could not be started because it has been: a daemon that died while it started it
/// was not there any more when it came.
async fn started_before(socket: &Path, directory: PathBuf) -> Option<Running> {
    for _ in 0..ATTEMPTS {
        if !journal::is_served(&directory).unwrap_or(false) {
            return None;
        }
        let socket = listens_at(&directory).ok().flatten().unwrap_or_else(|| socket.to_owned());
        if let Ok(running) = attach(&socket, 0, directory.clone()).await {
            return Some(running);
        }
        tokio::time::sleep(PATIENCE).await;
    }
    None
}

/// Returns where the shim of a run listens, once it says so. The daemon that started it chose the place, perhaps in another
/// environment than this one's.
fn listens_at(directory: &Path) -> io::Result<Option<PathBuf>> {
    Ok(journal::processes(directory)?.map(|ready| ready.socket))
}

async fn attach(socket: &Path, after: i64, directory: PathBuf) -> io::Result<Running> {
    let (words, mut heard) = link::attach(socket, after).await?;
    match tokio::time::timeout(HELLO, heard.next()).await {
        Ok(Some(News::Hello(hello))) => Ok(Running { words, heard, known: hello.last, note: None, directory }),
        Ok(_) => Err(io::ErrorKind::ConnectionReset.into()),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "its shim lives and does not answer")),
    }
}

/// Reads the servers that an agent was given.
fn mcp_servers(file: &Path) -> Result<BTreeMap<String, Value>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct McpConfig {
        mcp_servers: BTreeMap<String, Value>,
    }
    let config: Option<McpConfig> = store::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(config.map(|config| config.mcp_servers).unwrap_or_default())
}

/// How often a shim that lives and cannot be connected to is tried, and how long between.
pub(crate) const ATTEMPTS: usize = 30;
const PATIENCE: Duration = Duration::from_millis(100);

/// How long a shim has to answer.
const HELLO: Duration = Duration::from_secs(3);

/// How long a shim that does not answer may take to end.
const FAREWELL: Duration = Duration::from_secs(10);
