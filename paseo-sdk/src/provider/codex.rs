//! Provider `codex`: OpenAI's Codex, driven over JSON-RPC with `codex app-server`.
//!
//! Facts about the program were found by driving version 0.169.0. With what it is set up is in `setup`, what a line means
//! in `transcript`, how what it does looks in `item`, what may be done in `ask`, what the program reads in `wire`.

mod ask;
mod item;
mod setup;
mod spend;
mod transcript;
mod wire;

use serde_json::Value;

use self::setup::Setup;
use self::transcript::Transcript;
use super::value::{clip, text};
use super::{
    Installed, Launch, LaunchSpec, Login, Objection, Program, Provider, Question, Session, Surroundings, Traits,
};
use crate::model::{Mode, Model};

/// Codex.
pub struct Codex;

impl Provider for Codex {
    fn name(&self) -> &'static str {
        "codex"
    }

    fn traits(&self) -> &'static Traits {
        &Traits {
            description: "Codex by OpenAI",
            modes: &[Mode::Plan, Mode::Default, Mode::Auto, Mode::FullAccess],
            native_modes: &setup::NATIVE_MODES,
            program: Some(Installed {
                name: "codex",
                install: "npm install -g @openai/codex",
                login: "run `codex login`",
                native: &NATIVE,
            }),
            resumes: true,
            images: true,
            steers: true,
            converses: true,
            // It takes a tenth of a second to start, and MCP servers take what they take: it stays for those who go on.
            linger: 5 * 60_000,
            // It tries again by itself when nothing comes for five minutes.
            stall: Some(15 * 60_000),
        }
    }

    fn launch(&self, spec: &LaunchSpec, resume: Option<&str>) -> Launch {
        let (setup, env) = Setup::new(spec, resume);
        Launch { program: Program::Named("codex".to_owned()), args: arguments(), env, setup: Some(setup.to_text()) }
    }

    fn session(&self, _: &LaunchSpec) -> Box<dyn Session> {
        Box::new(Transcript::default())
    }

    fn check(&self, spec: &LaunchSpec, _: &Surroundings<'_>) -> Result<(), Objection> {
        if let Some(effort) = spec.thinking.as_deref().filter(|effort| !EFFORTS.contains(effort)) {
            return Err(Objection {
                field: "thinking",
                message: format!("codex has no effort `{}`", effort.escape_debug()),
                hint: format!("it has: {}", EFFORTS.join(", ")),
            });
        }
        setup::check_servers(spec)
    }

    fn login_question(&self) -> Option<Question> {
        Some(question("account/read"))
    }

    fn login(&self, said: &str) -> Option<Login> {
        let line: Value = serde_json::from_str(said).ok()?;
        match wire::broken_settings(text(&line, "method"), &line["params"]) {
            // What it says then is said of other settings than its user's.
            Some(_) => Some(Login::Unknown),
            None => wire::is_logged_in(&line["result"]).map(|is| if is { Login::In } else { Login::Out }),
        }
    }

    fn model_question(&self) -> Option<Question> {
        Some(question("model/list"))
    }

    fn models(&self, said: &str) -> Option<Vec<Model>> {
        let line: Value = serde_json::from_str(said).ok()?;
        let models = line["result"]["data"].as_array()?;
        let one = |model: &Value| Model {
            model: text(model, "model").to_owned(),
            name: text(model, "displayName").to_owned(),
            description: model["description"].as_str().map(str::to_owned),
            thinking: model["supportedReasoningEfforts"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|effort| text(effort, "reasoningEffort").to_owned())
                .collect(),
        };
        Some(models.iter().filter(|model| model["hidden"] != true).map(one).collect())
    }
}

/// Asks the program one thing, with no thread.
fn question(method: &str) -> Question {
    let lines =
        vec![wire::initialize(), wire::initialized(), wire::request("paseo.question", method, &serde_json::json!({}))];
    Question { args: arguments(), lines }
}

fn arguments() -> Vec<String> {
    let settings = SETTINGS.iter().flat_map(|setting| ["-c", setting]);
    std::iter::once("app-server").chain(settings).map(str::to_owned).collect()
}

/// Returns the mode of this name.
fn mode_of(name: &str) -> Mode {
    name.parse().unwrap_or_else(|_| {
        // As people write it, also where there is no name.
        let name = name.strip_prefix("codex:").unwrap_or(name);
        Mode::Native { provider: "codex".to_owned(), name: clip(name, 64) }
    })
}

const SETTINGS: [&str; 6] = [
    // Else it asks two services of its maker for plugins whenever it starts.
    "features.plugins=false",
    // Else it tries for ever to reach a service that refuses.
    "features.unbounded_connection_retries=false",
    // What runs is what was installed: an agent's program does not change in the middle of its work.
    "check_for_update_on_startup=false",
    // Else it begins turns by itself, without end.
    "features.goals=false",
    // Else it writes the environment of what it runs where others can read it.
    "features.shell_snapshot=false",
    // Its to-do list is off by default.
    "tools.update_plan.enabled=true",
];

const EFFORTS: [&str; 8] = ["none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"];

/// Where the program itself is, from the directory of the script that npm installs: the script starts it and stays as its
/// parent, which costs time, and when it is killed the program lives on.
const NATIVE: [&str; 8] = [
    "../../codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex",
    "../../codex-linux-arm64/vendor/aarch64-unknown-linux-musl/bin/codex",
    "../../codex-darwin-x64/vendor/x86_64-apple-darwin/bin/codex",
    "../../codex-darwin-arm64/vendor/aarch64-apple-darwin/bin/codex",
    "../node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex",
    "../node_modules/@openai/codex-linux-arm64/vendor/aarch64-unknown-linux-musl/bin/codex",
    "../node_modules/@openai/codex-darwin-x64/vendor/x86_64-apple-darwin/bin/codex",
    "../node_modules/@openai/codex-darwin-arm64/vendor/aarch64-apple-darwin/bin/codex",
];
