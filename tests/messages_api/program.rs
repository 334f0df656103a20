//! The real Claude Code, in an environment of its own, and a conversation with it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::MessagesApi;

/// Returns the real program. Where there is none it says so, and the test is to return; where everything must be tried, it
/// fails instead.
pub(crate) fn claude_program() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("PASEO_TEST_CLAUDE") {
        return Some(program.into());
    }
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/agents/node_modules/.bin/claude");
    if program.exists() {
        return Some(program);
    }
    assert!(std::env::var_os("CI").is_none(), "there is no {}: `.ci/run` installs it", program.display());
    eprintln!("skipped: there is no {}", program.display());
    None
}

/// Returns everything that the program is to find in its environment: it works within a home, and knows no API but this.
pub(crate) fn claude_environment(home: &Path, api: &MessagesApi) -> BTreeMap<String, String> {
    let path = std::env::var("PATH").expect("a path");
    let home = home.display();
    let mut environment: BTreeMap<String, String> = [
        ("PATH", path),
        ("HOME", home.to_string()),
        ("CLAUDE_CONFIG_DIR", format!("{home}/.claude")),
        ("CLAUDE_CODE_TMPDIR", home.to_string()),
        ("ANTHROPIC_BASE_URL", api.base_url()),
        ("ANTHROPIC_API_KEY", "sk-ant-of-a-test".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let switches = [
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
        "CLAUDE_CODE_EAGER_FLUSH",
        "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS",
        // Without it a lasting failure takes three minutes.
        "CLAUDE_CODE_MAX_RETRIES",
        "DISABLE_AUTOUPDATER",
        "DISABLE_ERROR_REPORTING",
        "DISABLE_TELEMETRY",
    ];
    environment.extend(switches.map(|switch| (switch.to_owned(), "1".to_owned())));
    environment
}

/// The program without a daemon, spoken to as a daemon would.
pub(super) struct Conversation {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    home: TempDir,
}

impl Conversation {
    pub(super) fn start(program: &Path, api: &MessagesApi) -> Conversation {
        let home = TempDir::with_prefix("paseo-claude-").expect("a temporary directory");
        std::fs::create_dir(home.path().join("work")).expect("a directory to work in");
        let (child, stdin, stdout) = spawn(program, api, home.path(), &[]);
        Conversation { child, stdin, stdout, home }
    }

    /// Kills the program and goes on with a new one, which may have another model.
    pub(super) fn resume(&mut self, program: &Path, api: &MessagesApi, session: &str) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it has ended");
        (self.child, self.stdin, self.stdout) = spawn(program, api, self.home.path(), &["--resume", session]);
    }

    /// The directory that it works in.
    pub(super) fn work(&self) -> PathBuf {
        self.home.path().join("work")
    }

    pub(super) fn prompt(&mut self, text: &str) {
        self.tell(&json!({ "type": "user", "message": { "role": "user", "content": text } }));
    }

    pub(super) fn control(&mut self, request: &Value) {
        self.tell(&json!({ "type": "control_request", "request_id": "of the test", "request": request }));
    }

    /// Allows what it asked for.
    pub(super) fn allow(&mut self, ask: &Value) {
        let response = json!({ "behavior": "allow", "updatedInput": {} });
        let response = json!({ "subtype": "success", "request_id": ask["request_id"], "response": response });
        self.tell(&json!({ "type": "control_response", "response": response }));
    }

    fn tell(&mut self, line: &Value) {
        writeln!(self.stdin, "{line}").expect("it reads");
    }

    /// Returns the next line that is as it should be.
    pub(super) fn until(&mut self, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.next();
            if is(&line) {
                return line;
            }
        }
    }

    /// Allows whatever it asks for until the turn ends, and returns what it said meanwhile, the result last.
    pub(super) fn turn(&mut self) -> Vec<Value> {
        let mut lines = Vec::new();
        loop {
            let line = self.next();
            if line["request"]["subtype"] == "can_use_tool" {
                self.allow(&line);
            }
            let ended = line["type"] == "result";
            lines.push(line);
            if ended {
                return lines;
            }
        }
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("text");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(
    program: &Path,
    api: &MessagesApi,
    home: &Path,
    arguments: &[&str],
) -> (Child, ChildStdin, BufReader<ChildStdout>) {
    let flags = "-p --input-format stream-json --output-format stream-json --verbose --include-partial-messages \
                 --replay-user-messages --permission-prompt-tool stdio --strict-mcp-config --setting-sources user \
                 --model opus --append-system-prompt appended";
    let mut child = Command::new(program)
        .args(flags.split_whitespace())
        .args(arguments)
        .current_dir(home.join("work"))
        .env_clear()
        .envs(claude_environment(home, api))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let stdin = child.stdin.take().expect("it is piped");
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    (child, stdin, stdout)
}
