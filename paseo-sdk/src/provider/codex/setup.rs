//! With what a process is set up: what its session says to it before the first prompt.
//!
//! The journal holds it, so that a session knows it from there and from nowhere else, and so it holds no secret: those
//! are in the environment of the process, under names that this gives them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::mode_of;
use crate::model::Mode;
use crate::provider::{LaunchSpec, Objection, TOOL_TIMEOUT, TOOLS, ToolServer};

/// With what a process is set up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Setup {
    cwd: String,
    pub(super) model: Option<String>,
    /// The mode, as people name it.
    mode: String,
    pub(super) effort: Option<String>,
    instructions: Option<String>,
    /// The thread that it goes on with.
    pub(super) resume: Option<String>,
    /// What commits are written to: the program's sandbox keeps it from each unless that is named.
    git_dirs: Vec<String>,
    /// What is not trusted: where it works, and the working trees that the program takes that for a part of.
    untrusted: Vec<String>,
    mcp_servers: Map<String, Value>,
    /// Variables of the process that are not for what it runs.
    hidden: Vec<String>,
    /// What need not be asked for.
    pub(super) rules: Vec<String>,
}

impl Setup {
    /// Returns it for a launch, with the variables that the process needs for it.
    pub(super) fn new(spec: &LaunchSpec, resume: Option<&str>) -> (Setup, Vec<(String, String)>) {
        let mut secrets = Secrets::default();
        let servers = spec.mcp_servers.iter();
        // What cannot be a server was refused when the agent was made.
        let servers = servers.filter_map(|(name, given)| Some((name.clone(), server(given, &mut secrets).ok()?)));
        let tools = spec.tools.iter().map(|tools| (TOOLS.to_owned(), own_server(tools)));
        let servers = servers.collect::<Vec<_>>().into_iter().chain(tools);
        let told = spec.tools.iter().map(|_| ABOUT_TOOLS).chain(spec.system_prompt.as_deref());
        let setup = Setup {
            cwd: spec.cwd.clone(),
            model: spec.model.clone(),
            mode: spec.mode.to_string(),
            effort: spec.thinking.clone(),
            instructions: told.map(str::to_owned).reduce(|one, other| format!("{one}\n\n{other}")),
            resume: resume.map(str::to_owned),
            // Who is not trusted writes nothing that somebody else's git believes.
            git_dirs: if spec.trusted { spec.git_dirs.clone() } else { Vec::new() },
            untrusted: match spec.trusted {
                true => Vec::new(),
                false => [&spec.cwd].into_iter().chain(&spec.trees).cloned().collect(),
            },
            mcp_servers: servers.collect(),
            hidden: KEYS
                .into_iter()
                .chain(secrets.0.iter().map(|(name, _)| name.as_str()))
                .map(str::to_owned)
                .collect(),
            rules: spec.rules.clone(),
        };
        (setup, secrets.0)
    }

    pub(super) fn from_text(text: &str) -> Setup {
        serde_json::from_str(text).unwrap_or_default()
    }

    pub(super) fn to_text(&self) -> String {
        json!(self).to_string()
    }

    pub(super) fn mode(&self) -> Mode {
        mode_of(&self.mode)
    }

    pub(super) fn directory(&self) -> &str {
        &self.cwd
    }

    /// Leaves the tools of paseo out; returns whether they were there.
    pub(super) fn leave_out_tools(&mut self) -> bool {
        // A server of that name that somebody gave has no such mode.
        let ours = self.mcp_servers.get(TOOLS).is_some_and(|server| !server[APPROVAL].is_null());
        if ours {
            self.mcp_servers.remove(TOOLS);
            let told = self.instructions.take();
            let rest = told.as_deref().map(|told| told.strip_prefix(ABOUT_TOOLS).unwrap_or(told).trim_start());
            self.instructions = rest.filter(|rest| !rest.is_empty()).map(str::to_owned);
        }
        ours
    }

    /// Returns how the thread is asked for: with the method that begins it, or goes on with it. Where servers are required
    /// it does not begin before they are there, and not without them.
    pub(super) fn thread(&self, sandboxed: bool, required: bool) -> (&'static str, Value) {
        let mode = self.mode();
        let policy = Policy::of(&mode, sandboxed);
        let trust = match self.untrusted.is_empty() {
            true => [(self.cwd.clone(), json!({ "trust_level": "trusted" }))].into_iter().collect::<Map<_, _>>(),
            false => self.untrusted.iter().map(|tree| (tree.clone(), json!({ "trust_level": "untrusted" }))).collect(),
        };
        let servers = self.mcp_servers.iter().map(|(name, server)| {
            let mut server = server.clone();
            // Else a turn may run before the server's tools are there.
            server["required"] = json!(required);
            (name.clone(), server)
        });
        let mut config = json!({
            // Said for the thread, so that the program does not write it into its user's settings.
            "projects": trust,
            "model_reasoning_summary": "auto",
            "mcp_servers": servers.collect::<Map<_, _>>(),
            // A variable that is set to nothing, where taking one away would take the place of what the user took away.
            "shell_environment_policy": { "set": self.hidden.iter().map(|name| (name.clone(), json!(""))).collect::<Map<_, _>>() },
        });
        if mode.rank() <= Mode::Default.rank() {
            // What is typed into a program that runs is asked about nowhere.
            config["features"] = json!({ "unified_exec_tty": false });
        }
        if let Some(effort) = &self.effort {
            config["model_reasoning_effort"] = json!(effort);
        }
        let mut params = json!({
            "cwd": self.cwd,
            "approvalPolicy": policy.approval,
            // For its answer, which says what the user allows in the sandbox; what counts is said before the first turn.
            "sandbox": if sandboxed { WORKSPACE_WRITE } else { policy.sandbox.name() },
            "config": config,
        });
        if let Some(model) = &self.model {
            params["model"] = json!(model);
        }
        if let Some(text) = &self.instructions {
            params["developerInstructions"] = json!(text);
        }
        match &self.resume {
            None => ("thread/start", params),
            Some(thread) => {
                params["threadId"] = json!(thread);
                params["excludeTurns"] = json!(true);
                ("thread/resume", params)
            }
        }
    }

    /// Returns what a thread needs to be told of what may be done in a mode; `roots` is where its user lets it write beside
    /// its directory.
    pub(super) fn settings(&self, mode: &Mode, sandboxed: bool, roots: &Roots) -> Value {
        let policy = Policy::of(mode, sandboxed);
        json!({
            "approvalPolicy": policy.approval,
            "sandboxPolicy": policy.sandbox.policy(roots, &self.git_dirs),
        })
    }
}

/// What the user's own settings allow a thread in its sandbox.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Roots {
    writable: Vec<String>,
    network: bool,
    no_tmpdir: bool,
    no_slash_tmp: bool,
}

impl Roots {
    /// Reads them from the policy of a thread; one with another kind of policy does not tell.
    pub(super) fn read(policy: &Value) -> Roots {
        let texts = policy["writableRoots"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Roots {
            // The beginning of a path would be another one.
            writable: texts.filter(|text| text.len() <= LONGEST_ROOT).take(MOST_ROOTS).map(str::to_owned).collect(),
            network: policy["networkAccess"] == true,
            no_tmpdir: policy["excludeTmpdirEnvVar"] == true,
            no_slash_tmp: policy["excludeSlashTmp"] == true,
        }
    }
}

/// What may be done without asking, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Policy {
    approval: &'static str,
    sandbox: Sandbox,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sandbox {
    ReadOnly,
    Workspace,
    /// What is allowed is allowed everywhere.
    None,
}

impl Policy {
    /// Where there is no sandbox, whatever would be done in one is asked for.
    fn of(mode: &Mode, sandboxed: bool) -> Policy {
        let (approval, sandbox) = match mode {
            Mode::Plan => ("on-request", Sandbox::ReadOnly),
            Mode::Auto => ("on-request", Sandbox::Workspace),
            Mode::FullAccess => ("never", Sandbox::None),
            Mode::Native { name, .. } if name == READ_ONLY => ("on-request", Sandbox::ReadOnly),
            Mode::Native { name, .. } if name == WORKSPACE_WRITE => ("never", Sandbox::Workspace),
            // A person is the sandbox.
            Mode::Default | Mode::Native { .. } => ("untrusted", Sandbox::None),
        };
        match sandbox {
            Sandbox::ReadOnly | Sandbox::Workspace if !sandboxed => {
                Policy { approval: "untrusted", sandbox: Sandbox::None }
            }
            _ => Policy { approval, sandbox },
        }
    }
}

/// Returns whether a mode needs a sandbox.
pub(super) fn needs_sandbox(mode: &Mode) -> bool {
    Policy::of(mode, true).sandbox != Sandbox::None
}

impl Sandbox {
    /// Returns its name where a thread begins.
    fn name(self) -> &'static str {
        match self {
            Sandbox::ReadOnly => READ_ONLY,
            Sandbox::Workspace => WORKSPACE_WRITE,
            Sandbox::None => "danger-full-access",
        }
    }

    fn policy(self, roots: &Roots, git_dirs: &[String]) -> Value {
        match self {
            Sandbox::ReadOnly => json!({ "type": "readOnly", "networkAccess": false }),
            Sandbox::None => json!({ "type": "dangerFullAccess" }),
            Sandbox::Workspace => {
                let more = git_dirs.iter().filter(|own| !roots.writable.contains(own));
                let writable: Vec<_> = roots.writable.iter().chain(more).collect();
                json!({
                    "type": "workspaceWrite",
                    "writableRoots": writable,
                    "networkAccess": roots.network,
                    "excludeTmpdirEnvVar": roots.no_tmpdir,
                    "excludeSlashTmp": roots.no_slash_tmp,
                })
            }
        }
    }
}

/// Modes that only this program has: it asks for whatever is more than reading; and it asks for nothing, in its sandbox.
pub(super) const NATIVE_MODES: [&str; 2] = [READ_ONLY, WORKSPACE_WRITE];
const READ_ONLY: &str = "read-only";
const WORKSPACE_WRITE: &str = "workspace-write";

/// Refuses servers that the program cannot have.
pub(super) fn check_servers(spec: &LaunchSpec) -> Result<(), Objection> {
    for (name, given) in &spec.mcp_servers {
        let is_key = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        let named = match is_key(name) && !name.is_empty() {
            true => server(given, &mut Secrets::default()).map(drop),
            false => Err("its name may have letters, digits, `_` and `-`".to_owned()),
        };
        named.map_err(|why| Objection {
            field: "mcpServers",
            message: format!("codex cannot use the server `{}`: {why}", name.escape_debug()),
            hint: "give `command` with `args` and `env`, or `url` with `headers`".to_owned(),
        })?;
    }
    Ok(())
}

/// Variables for what must not be in a journal.
#[derive(Default)]
struct Secrets(Vec<(String, String)>);

impl Secrets {
    /// Returns the variable that holds a value.
    fn keep(&mut self, value: &str) -> String {
        let name = format!("PASEO_MCP_{}", self.0.len());
        self.0.push((name.clone(), value.to_owned()));
        name
    }
}

/// Returns a server as the program's settings have it.
fn server(given: &Value, secrets: &mut Secrets) -> Result<Value, String> {
    let pairs = |field: &str| match &given[field] {
        Value::Null => Ok(BTreeMap::new()),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect::<Option<BTreeMap<_, _>>>()
            .ok_or_else(|| format!("`{field}` is not an object of texts")),
        _ => Err(format!("`{field}` is not an object of texts")),
    };
    match (given["command"].as_str(), given["url"].as_str(), given["type"].as_str()) {
        (_, _, Some("sse")) => Err("it has no words for `sse`".to_owned()),
        (Some(command), None, _) => {
            let args = match &given["args"] {
                Value::Null => Vec::new(),
                Value::Array(args) => args
                    .iter()
                    .map(|arg| arg.as_str().map(str::to_owned))
                    .collect::<Option<_>>()
                    .ok_or("`args` is not a list of texts")?,
                _ => return Err("`args` is not a list of texts".to_owned()),
            };
            local(command, args, &pairs("env")?, secrets)
        }
        (None, Some(url), _) => {
            let headers = pairs("headers")?;
            let headers: Map<_, _> =
                headers.into_iter().map(|(name, value)| (name, json!(secrets.keep(&value)))).collect();
            Ok(json!({ "url": url, "env_http_headers": headers }))
        }
        _ => Err("it has neither a `command` nor a `url`".to_owned()),
    }
}

/// Returns a server that is a program. Its variables are its own, so they have other names in the process that starts it.
fn local(
    command: &str,
    args: Vec<String>,
    env: &BTreeMap<String, String>,
    secrets: &mut Secrets,
) -> Result<Value, String> {
    if env.is_empty() {
        return Ok(json!({ "command": command, "args": args, "env_vars": OURS }));
    }
    let mut script = String::new();
    let mut names = OURS.map(str::to_owned).to_vec();
    for (name, value) in env {
        let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if !first || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!("`{}` in its `env` is not the name of a variable", name.escape_debug()));
        }
        let secret = secrets.keep(value);
        script.push_str(&format!("export {name}=\"${secret}\"; unset {secret}; "));
        names.push(secret);
    }
    script.push_str("exec \"$@\"");
    let args: Vec<_> = ["-c".to_owned(), script, "sh".to_owned(), command.to_owned()].into_iter().chain(args).collect();
    Ok(json!({ "command": "/bin/sh", "args": args, "env_vars": names }))
}

/// Returns the server with the tools of paseo. Its calls are not asked for: what a call may do, the daemon decides.
fn own_server(tools: &ToolServer) -> Value {
    json!({
        "command": tools.program,
        "args": tools.args,
        "env_vars": OURS,
        // Whatever its user has said of a server of that name.
        "enabled": true,
        APPROVAL: "approve",
        "startup_timeout_sec": 30,
        "tool_timeout_sec": TOOL_TIMEOUT / 1000,
    })
}

/// The setting of a server that says when its tools are asked for.
const APPROVAL: &str = "default_tools_approval_mode";

/// What a model is told of these tools, which it sees only when it searches for them.
const ABOUT_TOOLS: &str = "The tools of the MCP server `paseo` make git worktrees, start other agents in them, prompt \
    them, wait for them and read what they did: search your tools for `paseo` to see them. `create_agent`, \
    `send_agent_prompt` and `wait_for_agent` block until there is something to do for you, however long that takes.";

/// What the program logs in with, where a variable holds it.
const KEYS: [&str; 2] = ["OPENAI_API_KEY", "CODEX_API_KEY"];

/// What makes the `paseo` of a server that of its agent.
const OURS: [&str; 3] = ["PASEO_HOME", "PASEO_AGENT_ID", "PASEO_AGENT_TOKEN"];

/// How many places to write to are read.
const MOST_ROOTS: usize = 64;
const LONGEST_ROOT: usize = 4 * 1024;
