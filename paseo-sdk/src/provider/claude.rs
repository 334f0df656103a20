//! Provider `claude`: Claude Code, driven over `stream-json` with its control protocol.
//!
//! Facts about the program were found by driving version 2.1.197. What a line means is in `transcript`, what may be done
//! in `ask`, how a tool call looks in `tool`, what the program reads in `wire`.

mod ask;
mod spend;
mod todo;
mod tool;
mod transcript;
mod wire;

use self::transcript::Transcript;
use super::{
    Installed, Launch, LaunchSpec, Login, Objection, Program, Provider, Question, Session, Surroundings, TOOL_TIMEOUT,
    TOOLS, ToolServer, Traits, value,
};
use serde_json::{Value, json};

use crate::model::{Mode, Model};

/// Claude Code.
pub struct Claude;

impl Provider for Claude {
    fn name(&self) -> &'static str {
        "claude"
    }

    fn traits(&self) -> &'static Traits {
        &Traits {
            description: "Claude Code by Anthropic",
            modes: &[Mode::Plan, Mode::Default, Mode::Auto, Mode::FullAccess],
            native_modes: &["dontAsk", "auto"],
            program: Some(Installed {
                name: "claude",
                install: "npm install -g @anthropic-ai/claude-code",
                login: "run `claude` and type /login, or set ANTHROPIC_API_KEY",
                native: &[],
            }),
            resumes: true,
            images: true,
            steers: true,
            converses: true,
            // It takes 200 MB and a second to start: it stays for those who go on talking.
            linger: 5 * 60_000,
            // Its own request timeout is ten minutes, after which it tries again.
            stall: Some(15 * 60_000),
        }
    }

    fn launch(&self, spec: &LaunchSpec, resume: Option<&str>) -> Launch {
        let mut args: Vec<String> = BASE.iter().map(|&arg| arg.to_owned()).collect();
        // What a call may do, the daemon decides.
        let tools = spec.tools.as_ref().map(|_| format!("mcp__{TOOLS}"));
        let allowed: Vec<_> = tools.iter().chain(&spec.rules).cloned().collect();
        many(&mut args, "--allowedTools", allowed);
        let servers: Vec<_> = spec.mcp_config.clone().into_iter().chain(spec.tools.as_ref().map(server)).collect();
        many(&mut args, "--mcp-config", servers);
        let mut option = |name: &str, value: &str| args.extend([name.to_owned(), value.to_owned()]);
        option("--permission-mode", own_mode(&spec.mode));
        option("--model", spec.model.as_deref().unwrap_or("default"));
        if let Some(effort) = &spec.thinking {
            option("--effort", effort);
        }
        if let Some(session) = resume {
            option("--resume", session);
        }
        if !spec.trusted {
            // Without these a repository's own hooks run and its servers are started, with no question asked.
            option("--setting-sources", "user");
            args.push("--strict-mcp-config".to_owned());
        }
        Launch {
            program: Program::Named("claude".to_owned()),
            args,
            env: ENVIRONMENT.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
            setup: None,
        }
    }

    fn session(&self, spec: &LaunchSpec) -> Box<dyn Session> {
        Box::new(Transcript::new(spec))
    }

    fn check(&self, spec: &LaunchSpec, surroundings: &Surroundings<'_>) -> Result<(), Objection> {
        if let Some(effort) = spec.thinking.as_deref().filter(|effort| !EFFORTS.contains(effort)) {
            return Err(Objection {
                field: "thinking",
                message: format!("claude has no effort `{}`", effort.escape_debug()),
                hint: format!("it has: {}", EFFORTS.join(", ")),
            });
        }
        // No other value counts for the program.
        let sandbox = surroundings.env.get("IS_SANDBOX").is_some_and(|value| value == "1");
        if surroundings.root && spec.mode == Mode::FullAccess && !sandbox {
            return Err(Objection {
                field: "mode",
                message: "as root, claude refuses `full-access`".to_owned(),
                hint:
                    "run paseo as another user, take `auto`, or set IS_SANDBOX=1 in `env` if this machine is a sandbox"
                        .to_owned(),
            });
        }
        Ok(())
    }

    fn login_question(&self) -> Option<Question> {
        Some(Question { args: vec!["auth".to_owned(), "status".to_owned()], lines: Vec::new() })
    }

    fn login(&self, said: &str) -> Option<Login> {
        let status: Value = serde_json::from_str(said).ok()?;
        // Of the clouds of others it knows nothing.
        let known = (status["apiProvider"] == "firstParty").then(|| status["loggedIn"].as_bool()).flatten();
        Some(known.map_or(Login::Unknown, |logged_in| if logged_in { Login::In } else { Login::Out }))
    }

    fn model_question(&self) -> Option<Question> {
        Some(Question { args: BASE.iter().map(|&arg| arg.to_owned()).collect(), lines: vec![wire::greeting(None)] })
    }

    fn models(&self, said: &str) -> Option<Vec<Model>> {
        let line: Value = serde_json::from_str(said).ok()?;
        let models = line["response"]["response"]["models"].as_array()?;
        let one = |model: &Value| Model {
            model: value::text(model, "value").to_owned(),
            name: value::text(model, "displayName").to_owned(),
            description: model["description"].as_str().map(str::to_owned),
            thinking: model["supportedEffortLevels"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|level| level.as_str().map(str::to_owned))
                .collect(),
        };
        Some(models.iter().map(one).collect())
    }
}

/// Adds an option that takes as many values as there are up to the next one.
fn many(args: &mut Vec<String>, name: &str, values: Vec<String>) {
    if !values.is_empty() {
        args.push(name.to_owned());
        args.extend(values);
    }
}

/// Returns the configuration of the server with the tools of paseo. It finds its token in the environment, which the
/// program passes on, so that nothing here is secret.
fn server(tools: &ToolServer) -> String {
    let server = json!({
        "type": "stdio",
        "command": tools.program,
        "args": tools.args,
        "timeout": TOOL_TIMEOUT,
    });
    json!({ "mcpServers": { TOOLS: server } }).to_string()
}

/// Returns the program's own word for a mode.
fn own_mode(mode: &Mode) -> &str {
    match mode {
        Mode::Plan => "plan",
        Mode::Default => "default",
        Mode::Auto => "acceptEdits",
        Mode::FullAccess => "bypassPermissions",
        Mode::Native { name, .. } => name,
    }
}

/// Returns the mode that the program calls so.
fn mode_of(own: &str) -> Mode {
    match own {
        "plan" => Mode::Plan,
        "default" => Mode::Default,
        "acceptEdits" => Mode::Auto,
        "bypassPermissions" => Mode::FullAccess,
        name => Mode::Native { provider: "claude".to_owned(), name: value::clip(name, 64) },
    }
}

const BASE: [&str; 10] = [
    "-p",
    "--input-format",
    "stream-json",
    "--output-format",
    "stream-json",
    "--verbose",
    "--include-partial-messages",
    "--replay-user-messages",
    "--permission-prompt-tool",
    "stdio",
];

const ENVIRONMENT: [(&str, &str); 7] = [
    // Without it a session is not on the disk when its turn has ended.
    ("CLAUDE_CODE_EAGER_FLUSH", "1"),
    ("CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS", "1"),
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    // Without it the first turn begins before the servers have started, and knows none of their tools.
    ("MCP_CONNECTION_NONBLOCKING", "0"),
    // What runs is what was installed: an agent's program does not change in the middle of its work.
    ("DISABLE_AUTOUPDATER", "1"),
    ("DISABLE_TELEMETRY", "1"),
    ("DISABLE_ERROR_REPORTING", "1"),
];

const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];
