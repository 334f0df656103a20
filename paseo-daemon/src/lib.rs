//! The daemon of paseo: what is left when everything that decides is pure.
//!
//! [`Daemon::start`] is all of it: programs embed it, `paseo daemon run` and `paseo-daemon` wait for its end.
//!
//! ```no_run
//! # async fn example() -> Result<(), paseo_sdk::ApiError> {
//! use paseo_daemon::{Daemon, config::Config};
//! use paseo_sdk::catalogue::ListAgents;
//!
//! let daemon = Daemon::start(Config::at("/tmp/my-agents")).await?;
//! let agents = daemon.client().list_agents(ListAgents::default()).await?;
//! println!("{} agents", agents.agents.len());
//! daemon.shutdown().await;
//! # Ok(())
//! # }
//! ```

pub mod bridge;
#[doc(hidden)]
pub mod cache;
pub mod config;
#[doc(hidden)]
pub mod fault;
pub mod home;
pub mod hook;
pub mod lock;
pub mod log;
pub mod mcp;
pub mod server;
pub mod shim;
pub mod store;
#[doc(hidden)]
pub mod summary;
pub mod token;
pub mod worktrees;

mod agents;
mod alarm;
mod daemon;
mod doubt;
mod launch;
mod live;
mod owner;
mod permissions;
mod probe;
mod providers;
mod schedules;
mod variant;
mod warning;

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write as _};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Command, ExitCode};
use std::sync::{Arc, OnceLock};

use paseo_sdk::Client;
use paseo_sdk::client::{Connect, Stream};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::model::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::{Config, Flags, Scope};
use crate::home::Home;
use crate::lock::Lock;
use crate::server::{Doors, Server};
use crate::token::Tokens;
use crate::variant::Kinds;
use crate::warning::Warnings;
use crate::worktrees::{Surroundings, Worktrees};

/// Plays a hidden role when the arguments ask for one, and ends the process; returns otherwise.
///
/// Programs that embed the daemon and name themselves as its helper call this first in `main`, before anything else:
/// many of these processes run at once, and each is as small as what it touches.
pub fn helper_main() {
    let mut arguments = std::env::args_os().skip(1);
    let role = arguments.next();
    let code = match role.as_deref().and_then(OsStr::to_str) {
        Some("__shim") => shim::main(),
        Some("__exec") => shim::child::exec(),
        Some("__hook") => hook::main(),
        Some("__bridge") => bridge::main(arguments.next().as_deref().unwrap_or_default()),
        _ => return,
    };
    std::process::exit(code);
}

/// A daemon that runs in this process.
///
/// Dropping it ends it as a crash would: agents go on under their shims, and the next daemon on the same home finds them.
pub struct Daemon {
    core: Arc<Core>,
    server: Arc<Server>,
    lock: Lock,
    tokens: Tokens,
    /// What goes on beside, until the daemon ends.
    beside: JoinSet<()>,
}

/// What all handlers share.
pub(crate) struct Core {
    home: Home,
    agents: Arc<agents::Registry>,
    standstill: agents::Standstill,
    schedules: schedules::Schedules,
    watchers: Arc<live::Watchers>,
    launcher: Arc<launch::Launcher>,
    worktrees: Worktrees,
    said: providers::Said,
    scope: Scope,
    /// The program file that a restart in place becomes.
    program: Option<PathBuf>,
    started_at: Timestamp,
    listen: OnceLock<Vec<String>>,
    warnings: Arc<Warnings>,
    closing: watch::Sender<Option<Closing>>,
}

/// How a daemon is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It stops.
    Stop,
    /// It starts again in place, with the program file that is there now.
    Restart,
}

impl Daemon {
    /// Starts a daemon: takes the home's lock, takes up its agents, opens the doors.
    ///
    /// # Errors
    ///
    /// When another daemon runs on the home, when the home is somebody else's, or when it cannot be written to.
    pub async fn start(config: Config) -> Result<Daemon, ApiError> {
        let home = Home::open(&config.home)?;
        let lock = Lock::take(&home)?;
        home.furnish()?;
        let tokens = Tokens::load(&home, config.auth.as_deref())?;
        let helper = launch::Helper::find(config.helper.as_deref());
        let kinds = Kinds::new(config.providers.clone())?;
        let env = launch::environment(std::env::vars_os(), &config.env);
        let surroundings = Surroundings { helper: helper.clone(), env: env.clone(), keep: config.keep.clone() };
        let worktrees = Worktrees::with(home.path().to_owned(), surroundings);
        let launcher = Arc::new(launch::Launcher {
            helper,
            home: home.path().to_owned(),
            agents: home.agents(),
            tokens: tokens.clone(),
            keep: config.keep.clone(),
            env,
            kinds,
            inject: config.mcp.inject,
            worktrees: worktrees.clone(),
        });
        let watchers = Arc::new(live::Watchers::default());
        let registry = Arc::new(agents::Registry::default());
        let warnings = Arc::new(Warnings::default());
        config.warnings.iter().cloned().for_each(|warning| warnings.add(warning));
        let cannot = |error: io::Error| {
            ApiError::new(Code::Unavailable, format!("{} cannot be read: {error}", home.agents().display()))
        };
        agents::load(&registry, &home.agents(), &launcher, &watchers, &warnings).map_err(cannot)?;
        let (schedules, orders) = schedules::Schedules::load(home.schedules(), &warnings).map_err(|error| {
            ApiError::new(Code::Unavailable, format!("{} cannot be read: {error}", home.schedules().display()))
        })?;
        let core = Arc::new(Core {
            worktrees,
            home,
            agents: registry,
            standstill: agents::Standstill::default(),
            schedules,
            watchers,
            launcher,
            said: providers::Said::default(),
            scope: config.scope,
            program: config.program.clone(),
            started_at: owner::now(),
            listen: OnceLock::new(),
            warnings,
            closing: watch::Sender::new(None),
        });
        core.agents.ready().await;
        let doors = Doors::of(&core.home, &config, tokens.clone());
        let server = Server::start(core.clone(), doors)
            .await
            .map_err(|error| ApiError::new(Code::Unavailable, format!("cannot listen: {error}")))?;
        let _ = core.listen.set(server.listen.clone());
        server.warnings.iter().cloned().for_each(|warning| core.warnings.add(warning));
        if let Err(error) = lock.announce(&server.listen) {
            tracing::warn!(%error, "the pid file cannot be written");
        }
        let mut beside = JoinSet::new();
        let worktrees = core.worktrees.clone();
        beside.spawn(async move { worktrees.resume().await });
        beside.spawn(agents::courier::run(core.agents.clone(), core.watchers.clone()));
        beside.spawn(schedules::Keeper::new(core.clone(), orders).run());
        Ok(Daemon { core, server: Arc::new(server), lock, tokens, beside })
    }

    /// Returns a client of this daemon, over a pipe within this process.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::over(Pipe { server: self.server.clone() })
    }

    /// Returns where it listens: `host:port` and `unix:/path`.
    #[must_use]
    pub fn listen(&self) -> &[String] {
        &self.server.listen
    }

    /// Returns the token that TCP clients of its user must show.
    #[must_use]
    pub fn token(&self) -> &str {
        self.tokens.user_token()
    }

    /// Returns once somebody has asked the daemon to end, and how.
    pub async fn closing(&self) -> Closing {
        let mut closing = self.core.closing.subscribe();
        match closing.wait_for(Option::is_some).await {
            Ok(closing) => closing.unwrap_or(Closing::Stop),
            Err(_) => Closing::Stop,
        }
    }

    /// Closes the doors and ends. Agents go on under their shims.
    pub async fn shutdown(self) {
        self.close().await;
    }

    async fn close(mut self) -> Lock {
        // What calls hold, their next ones take up again.
        self.core.closing.send_if_modified(|closing| closing.is_none() && closing.replace(Closing::Stop).is_none());
        self.server.shutdown().await;
        // Before the agents leave: whoever looks for one then would take it for gone.
        self.beside.shutdown().await;
        self.core.agents.leave().await;
        tracing::info!("stopped");
        self.lock
    }
}

/// Connections within this process.
struct Pipe {
    server: Arc<Server>,
}

/// How much a pipe within this process holds, in bytes.
const PIPE: usize = 64 * 1024;

impl Connect for Pipe {
    fn connect(&self) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + '_>> {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        self.server.serve_stream(theirs, false);
        Box::pin(async move { Ok(Box::new(ours) as Box<dyn Stream>) })
    }
}

/// Runs a daemon in the foreground until it is asked to end. The program calls [`helper_main`] before, and so plays the
/// hidden roles itself.
#[must_use]
pub fn run(home: Option<PathBuf>, listen: Option<String>) -> ExitCode {
    let foreground = io::stderr().is_terminal();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(serve(Flags { home, listen, foreground })),
        Err(error) => Err(ApiError::new(Code::Unavailable, format!("cannot start threads: {error}"))),
    };
    match ended {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(lock)) => restart(&lock),
        Err(error) => {
            tracing::error!(%error, "the daemon cannot run");
            eprintln!("error: {error}");
            if let Some(hint) = error.hint {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Runs a daemon until it is asked to end; returns the lock when it shall start again.
async fn serve(flags: Flags) -> Result<Option<Lock>, ApiError> {
    let mut config = Config::load(flags, |name| std::env::var_os(name))?;
    // Whoever runs this has called `helper_main` first.
    config.helper = config.helper.or_else(|| std::env::current_exe().ok());
    config.program = launch::own_program(std::env::args_os().next()).ok();
    let home = Home::open(&config.home)?;
    config.warnings.extend(log::start(&config.log, &home.log_file()));
    let daemon = Daemon::start(config).await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), home = %home.path().display(), "started");
    // Whoever started it reads here that it answers; where nobody reads, it does not matter.
    let _ = writeln!(io::stdout(), "paseo {} listens on {}", env!("CARGO_PKG_VERSION"), daemon.listen().join(" and "));
    let cannot = |error: io::Error| ApiError::new(Code::Unavailable, format!("cannot listen for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let closing = tokio::select! {
        closing = daemon.closing() => closing,
        _ = terminate.recv() => Closing::Stop,
        _ = interrupt.recv() => Closing::Stop,
    };
    let lock = daemon.close().await;
    Ok(Some(lock).filter(|_| closing == Closing::Restart))
}

/// Becomes the program file that is there now, with the same process id, arguments and lock; where that cannot be run, the
/// one that this process was started from, so that there is a daemon in any case.
fn restart(lock: &Lock) -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next();
    let arguments: Vec<_> = arguments.collect();
    let become_it = |program: PathBuf| -> io::Result<io::Error> {
        let mut command = Command::new(&program);
        command.arg0(name.as_deref().unwrap_or(program.as_os_str())).args(&arguments);
        Ok(command.stdin(lock.as_stdin()?).exec())
    };
    fault::reached(fault::Point::Restarting);
    // By its name rather than through /proc: an upgrade has put another file there.
    for program in [launch::own_program(name.clone()), Ok(PathBuf::from("/proc/self/exe"))] {
        let error = program.and_then(&become_it).unwrap_or_else(|error| error);
        tracing::error!(%error, "the daemon cannot start again");
        eprintln!("error: the daemon cannot start again: {error}");
    }
    ExitCode::FAILURE
}
