//! The real Codex, in an environment of its own, and a conversation with it.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::ResponsesApi;

/// Returns the real program. Where there is none it says so, and the test is to return; where everything must be tried, it
/// fails instead.
pub(crate) fn codex_program() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("PASEO_TEST_CODEX") {
        return Some(program.into());
    }
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/agents/node_modules/.bin/codex");
    if program.exists() {
        return Some(program);
    }
    assert!(std::env::var_os("CI").is_none(), "there is no {}: `.ci/run` installs it", program.display());
    eprintln!("skipped: there is no {}", program.display());
    None
}

/// Returns everything that the program is to find in its environment: it works within a home, and knows no API but this.
pub(crate) fn codex_environment(home: &Path, api: &ResponsesApi) -> BTreeMap<String, String> {
    let provider = format!(
        r#"
model_provider = "fake"
[model_providers.fake]
name = "fake"
base_url = "{}"
wire_api = "responses"
env_key = "FAKE_OPENAI_KEY"
request_max_retries = 0
stream_max_retries = 1
"#,
        api.base_url()
    );
    let mut environment = environment(home, &provider);
    environment.insert("FAKE_OPENAI_KEY".to_owned(), KEY.to_owned());
    environment
}

/// Returns the environment of somebody who uses the program's own provider, and has not logged in.
pub(crate) fn codex_environment_without_login(home: &Path, api: &ResponsesApi) -> BTreeMap<String, String> {
    environment(home, &format!("openai_base_url = \"{}\"\n", api.base_url()))
}

/// Writes a configuration below a home, and returns what leads there.
fn environment(home: &Path, provider: &str) -> BTreeMap<String, String> {
    let (directory, temporary) = (home.join(".codex"), home.join("tmp"));
    for directory in [&directory, &temporary] {
        std::fs::create_dir_all(directory).expect("a directory in the home");
    }
    std::fs::write(directory.join("config.toml"), format!("{SETTINGS}{provider}")).expect("a configuration");
    [
        ("PATH", std::env::var("PATH").expect("a path")),
        ("HOME", home.display().to_string()),
        ("CODEX_HOME", directory.display().to_string()),
        // The program makes no helpers in a home that is below it.
        ("TMPDIR", temporary.display().to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// It asks nobody but the API, and gives up when there is none.
const SETTINGS: &str = r#"model = "gpt-5.5"
check_for_update_on_startup = false
analytics.enabled = false
features.plugins = false
features.unbounded_connection_retries = false
features.default_mode_request_user_input = true
tools.update_plan.enabled = true
"#;

/// The key that the program shows.
const KEY: &str = "sk-of-a-test";

/// The program without a daemon, spoken to as a daemon would.
pub(super) struct Conversation {
    server: Server,
    thread: Value,
    home: TempDir,
}

impl Conversation {
    /// Starts one in which every command and every patch is asked about.
    pub(super) fn start(program: &Path, api: &ResponsesApi) -> Conversation {
        Conversation::within(program, |home| codex_environment(home, api))
    }

    /// Starts one of somebody who has not logged in.
    pub(super) fn without_login(program: &Path, api: &ResponsesApi) -> Conversation {
        Conversation::within(program, |home| codex_environment_without_login(home, api))
    }

    fn within(program: &Path, environment: impl FnOnce(&Path) -> BTreeMap<String, String>) -> Conversation {
        let home = TempDir::with_prefix("paseo-codex-").expect("a temporary directory");
        let mut server = Server::start(program, home.path(), environment(home.path()));
        let work = work(home.path());
        let thread = json!({
            "cwd": work,
            "approvalPolicy": "untrusted",
            "sandbox": "danger-full-access",
            "config": { "projects": { work.display().to_string(): { "trust_level": "trusted" } } },
        });
        let thread = server.call("thread/start", &thread)["thread"]["id"].clone();
        Conversation { server, thread, home }
    }

    /// Kills the program and goes on with a new one, which may have another model.
    pub(super) fn resume(&mut self, program: &Path, api: &ResponsesApi) {
        self.server.end();
        self.server = Server::start(program, self.home.path(), codex_environment(self.home.path(), api));
        self.server.call("thread/resume", &json!({ "threadId": self.thread, "excludeTurns": true }));
    }

    /// The directory that it works in.
    pub(super) fn work(&self) -> PathBuf {
        work(self.home.path())
    }

    /// Starts a turn and returns its id.
    pub(super) fn prompt(&mut self, text: &str) -> Value {
        let input = json!([{ "type": "text", "text": text }]);
        let started = self.server.call("turn/start", &json!({ "threadId": self.thread, "input": input }));
        started["turn"]["id"].clone()
    }

    /// Interrupts a turn that has begun.
    pub(super) fn interrupt(&mut self, turn: &Value) {
        self.server.call("turn/interrupt", &json!({ "threadId": self.thread, "turnId": turn }));
    }

    /// Returns the next message that is as it should be.
    pub(super) fn until(&mut self, is: impl Fn(&Value) -> bool) -> Value {
        self.server.until(is)
    }

    /// Allows whatever it asks for until the turn ends, and returns what it said meanwhile, the end last.
    pub(super) fn turn(&mut self) -> Vec<Value> {
        let mut messages = Vec::new();
        loop {
            let message = self.server.next();
            if is_request(&message) {
                self.allow(&message);
            }
            let ended = message["method"] == "turn/completed";
            messages.push(message);
            if ended {
                return messages;
            }
        }
    }

    /// Allows what it asked for, or chooses what is offered first.
    pub(super) fn allow(&mut self, ask: &Value) {
        let answer = match ask["params"]["questions"].as_array() {
            Some(questions) => {
                let choose = |question: &Value| {
                    let id = question["id"].as_str().expect("an id").to_owned();
                    (id, json!({ "answers": [question["options"][0]["label"]] }))
                };
                json!({ "answers": questions.iter().map(choose).collect::<Map<_, _>>() })
            }
            None => json!({ "decision": "accept" }),
        };
        self.server.tell(&json!({ "id": ask["id"], "result": answer }));
    }

    /// Calls a method and returns what it comes to.
    pub(super) fn call(&mut self, method: &str, params: &Value) -> Value {
        self.server.call(method, params)
    }

    /// Returns which one it is, as the program names it.
    pub(super) fn thread(&self) -> &Value {
        &self.thread
    }
}

/// Says whether the program wants an answer.
pub(super) fn is_request(message: &Value) -> bool {
    message.get("method").is_some() && message.get("id").is_some()
}

/// The program as it serves an app, and what it said that nobody has looked at.
struct Server {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    unseen: VecDeque<Value>,
    calls: u64,
}

impl Server {
    fn start(program: &Path, home: &Path, environment: BTreeMap<String, String>) -> Server {
        std::fs::create_dir_all(work(home)).expect("a directory to work in");
        let mut child = Command::new(program)
            .arg("app-server")
            .current_dir(work(home))
            .env_clear()
            .envs(environment)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut server = Server { child, stdin, stdout, unseen: VecDeque::new(), calls: 0 };
        let client = json!({ "name": "paseo", "version": "0" });
        server.call("initialize", &json!({ "clientInfo": client, "capabilities": { "experimentalApi": true } }));
        server.tell(&json!({ "method": "initialized" }));
        server
    }

    /// Calls a method and returns what it comes to. What is said meanwhile is seen later.
    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        self.tell(&json!({ "id": id, "method": method, "params": params }));
        loop {
            let mut message = self.read();
            if message["id"] == id && !is_request(&message) {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].take();
            }
            self.unseen.push_back(message);
        }
    }

    fn until(&mut self, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.next();
            if is(&message) {
                return message;
            }
        }
    }

    fn next(&mut self) -> Value {
        self.unseen.pop_front().unwrap_or_else(|| self.read())
    }

    fn tell(&mut self, message: &Value) {
        writeln!(self.stdin, "{message}").expect("it reads");
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("text");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Kills the program, and not only the script that npm puts before it.
    fn end(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        // Whoever goes on with its thread must not find it there.
        let _ = std::io::copy(&mut self.stdout, &mut std::io::sink());
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn work(home: &Path) -> PathBuf {
    home.join("work")
}
