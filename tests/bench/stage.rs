//! A home for a daemon, of which nothing is left at the end, whatever happens.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use paseo_sdk::Client;
use paseo_sdk::catalogue::{CreateAgent, GetDaemon, WatchAgents, WatchFrom};
use paseo_sdk::client::Address;
use paseo_sdk::item::Happening;
use paseo_sdk::model::{AgentId, Event, Mode, WaitOutcome};
use tempfile::TempDir;

use crate::Result;

/// Homes, one of which is in use, a directory to work in, and the program under test.
pub(crate) struct Stage {
    directory: TempDir,
    home: &'static str,
    program: PathBuf,
}

/// Finds the program to measure. `cargo run` builds only what it runs, so it is built here, lest it be an old one.
pub(crate) fn program() -> Result<PathBuf> {
    let build: &[&str] = match cfg!(debug_assertions) {
        true => &["build", "-p", "paseo-tests"],
        false => &["build", "--release", "-p", "paseo-tests"],
    };
    if let Some(cargo) = std::env::var_os("CARGO") {
        let built = Command::new(cargo).args(build).arg("--quiet").status()?;
        if !built.success() {
            return Err("the program to measure cannot be built".into());
        }
    }
    let program = std::env::current_exe()?.with_file_name("paseo-under-test");
    match program.is_file() {
        true => Ok(program),
        false => Err(format!("there is no {}: `cargo {}` builds it", program.display(), build.join(" ")).into()),
    }
}

impl Stage {
    pub(crate) fn open(program: PathBuf) -> Result<Stage> {
        // Short, since sockets below it have short names only.
        let stage = Stage { directory: TempDir::with_prefix("paseo-bench-")?, home: "home", program };
        std::fs::create_dir(stage.work())?;
        stage.end_on_interrupt()?;
        Ok(stage)
    }

    /// Goes to another home, and returns the name of the one before. What runs there goes on.
    pub(crate) fn enter(&mut self, home: &'static str) -> &'static str {
        std::mem::replace(&mut self.home, home)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.directory.path().join(self.home)
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// The file of an agent's timeline.
    pub(crate) fn timeline(&self, agent: &AgentId) -> PathBuf {
        self.home().join("agents").join(agent.as_str()).join("timeline.ndjson")
    }

    /// The directory that agents work in.
    pub(crate) fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// Takes the home away, so that the next daemon makes a new one.
    pub(crate) fn clear(&self) -> Result<()> {
        match std::fs::remove_dir_all(self.home()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// A command of the program under test, with nothing of this process's environment that could change what it does.
    pub(crate) fn paseo(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(self.work()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PASEO_") {
                command.env_remove(name);
            }
        }
        command.env("PASEO_HOME", self.home()).env("PASEO_LISTEN", "127.0.0.1:0").env("SHELL", "/bin/sh");
        command
    }

    /// Starts a daemon, and returns when it has answered.
    pub(crate) fn daemon(&self) -> Result<Daemon> {
        let mut command = self.paseo(&["daemon", "run"]);
        let mut daemon = Daemon(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
        let stdout = daemon.0.stdout.take().ok_or("it is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if !line.contains("listens on") {
            let log = std::fs::read_to_string(self.home().join("daemon.log")).unwrap_or_default();
            return Err(format!("the daemon did not start: {line}\n{log}").into());
        }
        let mut socket = UnixStream::connect(self.socket())?;
        socket.write_all(b"GET /api/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        match answer.starts_with("HTTP/1.1 200") {
            true => Ok(daemon),
            false => Err(format!("the daemon is not well: {answer}").into()),
        }
    }

    fn socket(&self) -> PathBuf {
        self.home().join("paseo.sock")
    }

    /// A client over the unix socket.
    pub(crate) fn client(&self) -> Client {
        Client::new(Address::Unix(self.socket()))
    }

    /// A client over TCP.
    pub(crate) async fn client_over_tcp(&self) -> Result<Client> {
        let listen = self.client().get_daemon(GetDaemon {}).await?.listen;
        let authority = listen.into_iter().find(|address| !address.starts_with("unix:")).ok_or("it listens on TCP")?;
        let token = std::fs::read_to_string(self.home().join("token"))?.trim().to_owned();
        Ok(Client::new(Address::Tcp { authority, token: Some(token) }))
    }

    /// A script for an agent that runs without asking.
    pub(crate) fn script(&self, script: &str) -> CreateAgent {
        CreateAgent::new("a bench", "shell", script).cwd(self.work().display().to_string()).mode(Mode::FullAccess)
    }

    /// Runs an agent to its end.
    pub(crate) async fn run(&self, client: &Client, script: &str) -> Result<AgentId> {
        let outcome = client.create_agent(self.script(script)).await?;
        match outcome.outcome {
            Some(WaitOutcome::Completed) => Ok(outcome.agent_id),
            _ => Err(format!("an agent did not complete: {:?}", outcome.reason).into()),
        }
    }

    /// Starts agents that sleep until they are ended, and returns when each of them does.
    pub(crate) async fn sleepers(&self, client: &Client, count: usize) -> Result<Vec<AgentId>> {
        let mut agents = Vec::new();
        for _ in 0..count {
            agents
                .push(client.create_agent(self.script("echo ready; exec sleep 1000").in_background()).await?.agent_id);
        }
        for agent in &agents {
            until_ready(client, agent).await?;
        }
        Ok(agents)
    }

    /// Makes agents that have nothing to do any more, until there are so many.
    pub(crate) async fn agents(&self, count: i64) -> Result<()> {
        let client = self.client();
        while client.get_daemon(GetDaemon {}).await?.agents < count {
            self.run(&client, "echo done").await?;
        }
        Ok(())
    }

    /// Ends every agent of this home, and the daemon, when there is one.
    pub(crate) fn end(&self) -> Result<()> {
        let mut stop = self.paseo(&["daemon", "stop", "--with-agents", "--yes"]);
        stop.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        Ok(())
    }

    /// Ends everything when the user presses Ctrl-C, which agents do not hear.
    fn end_on_interrupt(&self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let directory = self.directory.path().to_owned();
        std::thread::spawn(move || {
            if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
                sweep(&directory);
                let _ = std::fs::remove_dir_all(&directory);
                std::process::exit(130);
            }
        });
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A daemon that is still there after a failure.
        let _ = self.end();
        sweep(self.directory.path());
    }
}

/// A daemon in a process of its own. Dropping it kills it.
pub(crate) struct Daemon(Child);

impl Daemon {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends it as a crash does, and waits until it has.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw).ok_or("it has a pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns when an agent's script has said `ready`.
async fn until_ready(client: &Client, agent: &AgentId) -> Result<()> {
    let mut watch = client.watch(WatchAgents { agents: Some(vec![WatchFrom { agent_id: agent.into(), after: 0 }]) });
    while let Some(event) = watch.next().await {
        match event? {
            Event::AgentText { delta, .. } if delta.text.contains("ready") => return Ok(()),
            Event::AgentEntry { entry, .. } => {
                if let Happening::TurnEnded { reason, .. } = &entry.what {
                    return Err(format!("an agent's turn has ended: {reason:?}").into());
                }
            }
            _ => {}
        }
    }
    Err("the daemon told nothing more".into())
}

/// Kills whatever works in a directory or below, until there is nothing. Without `/proc` only what the daemon ends ends.
fn sweep(directory: &Path) {
    loop {
        let left = processes_in(directory);
        for pid in &left {
            let _ = rustix::process::kill_process(*pid, rustix::process::Signal::KILL);
        }
        if left.is_empty() {
            return;
        }
    }
}

fn processes_in(directory: &Path) -> Vec<rustix::process::Pid> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        // A process that has ended has no directory any more, though its parent has not asked for its end yet.
        if std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(directory)) {
            let pid = entry.file_name().to_str().and_then(|pid| pid.parse().ok());
            found.extend(pid.and_then(rustix::process::Pid::from_raw));
        }
    }
    found
}
