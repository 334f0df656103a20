//! A home for a daemon, in this process or in one of its own, of which nothing is left at the end.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use paseo_daemon::Daemon;
use paseo_daemon::config::Config;
use paseo_sdk::Client;
use paseo_sdk::catalogue::{CreateAgent, GetAgentTimeline, ShutdownDaemon};
use paseo_sdk::client::Address;
use paseo_sdk::item::{Content, Entry, Happening, ToolCall};
use paseo_sdk::model::{AgentId, Mode};
use tempfile::TempDir;

/// The program that plays the hidden roles, and the command line.
pub(crate) const PASEO: &str = env!("CARGO_BIN_EXE_paseo-under-test");

/// A home, and a directory to work in.
pub(crate) struct Lab {
    directory: TempDir,
    /// What agents find in their environment.
    env: BTreeMap<String, String>,
    /// The program that plays the hidden roles.
    helper: PathBuf,
}

impl Lab {
    pub(crate) fn new() -> Lab {
        let directory = TempDir::with_prefix("paseo-lab-").expect("a temporary directory");
        std::fs::create_dir(directory.path().join("work")).expect("a directory to work in");
        // Whoever runs the tests may have any shell, or none; their scripts are for this one.
        Lab { directory, env: [("SHELL".to_owned(), "/bin/sh".to_owned())].into(), helper: PASEO.into() }
    }

    /// Adds to what agents find in their environment.
    pub(crate) fn set_env(&mut self, env: impl IntoIterator<Item = (String, String)>) {
        self.env.extend(env);
    }

    /// Lets a program of the test's own serve the tools of paseo to agents: everything else goes on to the real one.
    pub(crate) fn serve_tools_by(&mut self, server: &str) {
        let (helper, file) = (self.path("helper"), self.path("tools.py"));
        std::fs::write(&file, server).expect("it is written");
        let script = format!(
            "#!/bin/sh\ncase \"$1 $2\" in '__bridge mcp') exec python3 '{}' ;; esac\nexec '{PASEO}' \"$@\"\n",
            file.display()
        );
        program(&helper, script.as_bytes());
        self.helper = helper;
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// A path beside home and work.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The directory that agents work in.
    pub(crate) fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    pub(crate) fn config(&self) -> Config {
        Config { helper: Some(self.helper.clone()), listen: None, env: self.env.clone(), ..Config::at(self.home()) }
    }

    /// Starts a daemon in this process.
    pub(crate) async fn daemon(&self) -> Daemon {
        Daemon::start(self.config()).await.expect("a daemon")
    }

    /// Starts a daemon in a process of its own, and returns when it answers.
    pub(crate) fn process(&self) -> Process {
        self.process_of(Path::new(PASEO))
    }

    /// The same with another file of the program.
    pub(crate) fn process_of(&self, program: &Path) -> Process {
        self.process_by(self.command(program))
    }

    /// The same by another command.
    pub(crate) fn process_by(&self, mut command: Command) -> Process {
        let mut daemon = command
            .env("PASEO_HOME", self.home())
            .env("PASEO_LISTEN", "127.0.0.1:0")
            .envs(&self.env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut said = BufReader::new(daemon.stdout.take().expect("it is piped"));
        let mut line = String::new();
        // A terminal shows the log too.
        while !line.contains("listens on") {
            line.clear();
            assert_ne!(said.read_line(&mut line).expect("it says that it listens"), 0, "it has ended");
        }
        Process { daemon, _said: said }
    }

    /// Makes a pipe with a name in the directory that agents work in.
    pub(crate) fn fifo(&self, name: &str) {
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, self.work().join(name), kind, mode, 0).expect("a pipe");
    }

    /// The command that is a daemon on this home.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.args(["daemon", "run"]).env("PASEO_HOME", self.home()).env("PASEO_LISTEN", "127.0.0.1:0");
        command.envs(&self.env).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// A client of the daemon of this home, wherever it runs.
    pub(crate) fn client(&self) -> Client {
        Client::new(Address::Unix(self.home().join("paseo.sock")))
    }

    /// A script for the shell agent that runs without asking.
    pub(crate) fn script(&self, script: &str) -> CreateAgent {
        self.asking(script).mode(Mode::FullAccess)
    }

    /// A script for the shell agent that asks first.
    pub(crate) fn asking(&self, script: &str) -> CreateAgent {
        CreateAgent::new("a test", "shell", script).cwd(self.work().display().to_string())
    }

    /// Ends the agents and checks that nothing of them is left.
    pub(crate) async fn end(self, client: &Client) {
        self.stop(client).await;
    }

    /// The same, while what they left on the disk is still there.
    pub(crate) async fn stop(&self, client: &Client) {
        client.shutdown_daemon(ShutdownDaemon { with_agents: true, restart: false }).await.expect("it stops");
        assert_eq!(processes_in(self.directory.path()), Vec::<String>::new(), "processes are left");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // After a failure: whatever the test left behind goes with it.
        for process in processes_in(self.directory.path()) {
            let pid =
                process.split(' ').next().and_then(|pid| pid.parse().ok()).and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

/// A daemon in a process of its own.
pub(crate) struct Process {
    daemon: Child,
    /// Held open, as a terminal is.
    _said: BufReader<ChildStdout>,
}

impl Process {
    /// Kills it as a crash would.
    pub(crate) fn kill(mut self) {
        self.daemon.kill().expect("it can be killed");
        self.daemon.wait().expect("it has ended");
    }

    pub(crate) fn pid(&self) -> i64 {
        i64::from(self.daemon.id())
    }

    /// Returns its exit code, once it has ended.
    pub(crate) fn ended(mut self) -> Option<i32> {
        self.daemon.wait().expect("it has ended").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Makes a program of a test. Another process writes it: a child that is started meanwhile by another test would still
/// hold open for writing what this process writes, and a program that is held so cannot be started.
pub(crate) fn program(path: &Path, content: &[u8]) {
    let mut writer = Command::new("/bin/sh")
        .args(["-c", r#"cat > "$0" && chmod 700 "$0""#])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell");
    writer.stdin.take().expect("it is piped").write_all(content).expect("it is written");
    assert!(writer.wait().expect("the shell ends").success(), "{} can be written", path.display());
}

/// Makes a copy of a program, as `program` does.
pub(crate) fn copy_of_program(original: impl AsRef<Path>, path: &Path) {
    program(path, &std::fs::read(original).expect("a program"));
}

/// Returns pid and name of every process that works in a directory or below, zombies left out.
pub(crate) fn processes_in(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("there is /proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let here = std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(directory));
        if here {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.push(format!("{pid} {}", name.trim()));
        }
    }
    found
}

/// Returns when no process in `directory` is one of these.
pub(crate) async fn gone(directory: &Path, these: impl Fn(&String) -> bool) {
    while let Some(process) = processes_in(directory).into_iter().find(&these) {
        ended(process.split(' ').next().and_then(|pid| pid.parse().ok()).expect("its number")).await;
    }
}

/// Returns when a process has ended.
pub(crate) async fn ended(pid: i64) {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    // A look now and then, so that nobody who stops waiting leaves a thread that waits for ever.
    let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    let handle = std::sync::Arc::new(handle);
    loop {
        let handle = handle.clone();
        let look = move || poll(&mut [PollFd::new(&*handle, PollFlags::IN)], Some(&pause));
        match tokio::task::spawn_blocking(look).await.expect("no panic") {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return,
            Err(error) => panic!("it can be waited for: {error}"),
        }
    }
}

/// Reads an agent's whole timeline and checks that its numbers have no gap.
pub(crate) async fn timeline(client: &Client, agent: &AgentId) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries.last().map_or(0, |entry| entry.seq);
        let page = client.get_agent_timeline(GetAgentTimeline::after(agent, after)).await.expect("a page");
        entries.extend(page.entries);
        if !page.more {
            break;
        }
    }
    let numbers: Vec<i64> = entries.iter().map(|entry| entry.seq).collect();
    assert_eq!(numbers, (1..=numbers.len() as i64).collect::<Vec<_>>(), "numbers have no gap");
    let mut origins: Vec<_> = entries.iter().filter_map(|entry| entry.origin).collect();
    let count = origins.len();
    origins.dedup();
    assert_eq!(origins.len(), count, "nothing is there twice");
    entries
}

/// Returns the tool calls that are closed, in order.
pub(crate) fn calls(entries: &[Entry]) -> Vec<&ToolCall> {
    entries
        .iter()
        .filter_map(|entry| match &entry.what {
            Happening::ItemClosed { item } => match &item.content {
                Content::ToolCall(call) => Some(call.as_ref()),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

/// A server of tools that says which agent calls them, and how.
pub(crate) const TOOLS: &str = r#"
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    whose = "{PASEO_AGENT_ID} of {PASEO_HOME}".format(**os.environ)
    said = f"{asked.get('params', {}).get('name')} for {whose}, token of {len(os.environ['PASEO_AGENT_TOKEN'])}"
    tool = lambda name, reads: {"name": name, "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": reads, "destructiveHint": not reads}}
    results = {
        "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "paseo", "version": "1"}},
        "tools/list": {"tools": [tool("list_agents", True), tool("archive_agent", False)]},
        "tools/call": {"content": [{"type": "text", "text": said}]},
    }
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": results.get(asked["method"], {})}), flush=True)
"#;
