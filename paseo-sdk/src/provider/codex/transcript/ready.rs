//! Getting ready: the program is greeted, asked who is logged in and whether its sandbox works here, and given its thread.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Transcript;
use crate::model::Mode;
use crate::provider::codex::setup::{self, Roots};
use crate::provider::codex::wire;
use crate::provider::value::{self, clip, text};
use crate::provider::{Event, Step, TOOLS};

/// How far the program has come in getting ready.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Stage {
    /// It was greeted.
    #[default]
    Greeting,
    /// It is asked who is logged in, and whether its sandbox works.
    Learning {
        /// Whether the one is known.
        account: bool,
        /// Whether the other is.
        sandbox: bool,
    },
    /// Its thread is on the way.
    Opening,
    Ready,
    /// It takes nothing, for this reason.
    Unusable(String),
}

impl Transcript {
    pub(super) fn greeted(&mut self, answer: Result<&Value, String>, out: &mut Vec<Step>) {
        if !matches!(self.stage, Stage::Greeting) {
            return;
        }
        if let Err(error) = answer {
            self.give_up(format!("codex cannot start: {error}"), out);
            return;
        }
        self.stage = Stage::Learning { account: false, sandbox: false };
        let probe = json!({
            "command": ["true"],
            "cwd": "/",
            "timeoutMs": 5_000,
            "sandboxPolicy": { "type": "readOnly", "networkAccess": false },
        });
        out.push(Step::Say(wire::initialized()));
        out.push(Step::Say(wire::request(wire::ACCOUNT, "account/read", &json!({}))));
        out.push(Step::Say(wire::request(wire::SANDBOX, "command/exec", &probe)));
    }

    /// Where the sandbox does not work the program does not say so: whatever it runs fails.
    pub(super) fn probed(&mut self, answer: Result<&Value, String>, out: &mut Vec<Step>) {
        let why = match answer {
            Ok(result) if result["exitCode"] == 0 => {
                self.sandboxed = true;
                return;
            }
            Ok(result) => clip(text(result, "stderr").trim(), 300),
            Err(error) => error,
        };
        if setup::needs_sandbox(&self.mode) {
            let text = format!("codex cannot use its sandbox here, and asks before whatever it does: {why}");
            out.push(Step::Event(Event::Notice(text)));
        }
    }

    /// Begins the thread when everything is known that it needs.
    pub(super) fn learned(&mut self, what: impl FnOnce(&mut bool, &mut bool), out: &mut Vec<Step>) {
        let Stage::Learning { account, sandbox } = &mut self.stage else { return };
        what(account, sandbox);
        if *account && *sandbox {
            self.stage = Stage::Opening;
            self.open(out);
        }
    }

    pub(super) fn open(&self, out: &mut Vec<Step>) {
        let (method, params) = self.setup.thread(self.sandboxed, !self.lenient);
        out.push(Step::Say(wire::request(wire::THREAD, method, &params)));
    }

    pub(super) fn opened(&mut self, answer: Result<&Value, String>, out: &mut Vec<Step>) {
        if !matches!(self.stage, Stage::Opening) || !self.thread.is_empty() {
            return;
        }
        match answer {
            Ok(result) => {
                self.thread = value::id(&result["thread"], "id");
                self.model = clip(text(result, "model"), 200);
                self.effort = result["reasoningEffort"].as_str().map(|effort| clip(effort, 64));
                self.roots = Roots::read(&result["sandbox"]);
                let mut params = self.settings_for(&self.mode);
                if self.mode != Mode::Plan && self.setup.resume.is_none() {
                    // It acts from the beginning.
                    params.as_object_mut().map(|params| params.remove("collaborationMode"));
                }
                out.push(Step::Say(wire::request(wire::SETTINGS, "thread/settings/update", &params)));
            }
            // It is told nothing more, and the next process begins anew.
            Err(error) if self.setup.resume.is_some() && error.starts_with("no rollout found") => {
                out.push(Step::Event(Event::Forgotten(None)));
            }
            Err(error) if error.contains("MCP servers failed to initialize") && !self.lenient => {
                self.lenient = true;
                let said = format!("codex does without servers of this agent: {}", clip(&error, 500));
                out.push(Step::Event(Event::Notice(said)));
                self.open(out);
            }
            // What its user has under that name is merged into it, and need not fit.
            Err(error) if error.contains(&format!("mcp_servers.{TOOLS}")) && self.setup.leave_out_tools() => {
                let said = format!(
                    "this agent has no tools of paseo: the settings of codex have another server called `{TOOLS}`"
                );
                out.push(Step::Event(Event::Notice(said)));
                self.open(out);
            }
            Err(error) if self.setup.resume.is_some() && error.contains("is archived") && !self.unarchived => {
                self.unarchived = true;
                let params = json!({ "threadId": self.setup.resume });
                out.push(Step::Say(wire::request(wire::UNARCHIVE, "thread/unarchive", &params)));
            }
            Err(error) => self.give_up(format!("codex cannot begin: {error}"), out),
        }
    }

    pub(super) fn give_up(&mut self, reason: String, out: &mut Vec<Step>) {
        if !matches!(self.stage, Stage::Unusable(_)) {
            self.stage = Stage::Unusable(reason.clone());
            out.push(Step::Event(Event::Unusable(reason)));
        }
    }
}
