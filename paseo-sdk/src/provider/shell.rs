//! Provider `shell`: the prompt is a script for the user's shell. It needs no account.
//!
//! The program is `bridge shell`, a small role of paseo that speaks lines; its words are the enums at the end.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::output::Output;
use super::{
    Ask, Ending, Event, Launch, LaunchSpec, Program, Provider, Record, Session, Step, Tell, TellId, Traits, Unsaid,
    Unsupported, What,
};
use crate::item::{Content, Item, Tool, ToolCall, ToolStatus};
use crate::model::{Behavior, ItemId, Mode, Outcome, PermissionKind, RequestId, Usage};

/// Scripts for the user's shell.
pub struct Shell;

impl Provider for Shell {
    fn name(&self) -> &'static str {
        "shell"
    }

    fn traits(&self) -> &'static Traits {
        &Traits {
            description: "runs scripts in your shell; needs no account",
            modes: &[Mode::Default, Mode::FullAccess],
            native_modes: &[],
            program: None,
            resumes: true,
            images: false,
            steers: false,
            converses: false,
            linger: 0,
            stall: None,
        }
    }

    fn launch(&self, _: &LaunchSpec, _: Option<&str>) -> Launch {
        Launch {
            program: Program::Helper,
            args: vec!["__bridge".to_owned(), "shell".to_owned()],
            env: Vec::new(),
            setup: None,
        }
    }

    fn session(&self, spec: &LaunchSpec) -> Box<dyn Session> {
        Box::new(Transcript { asks: spec.mode.rank() < Mode::FullAccess.rank(), script: None })
    }
}

/// What a journal of `bridge shell` means.
struct Transcript {
    /// Whether a script runs only after somebody has allowed it.
    asks: bool,
    script: Option<Script>,
}

/// The script of the turn that runs.
struct Script {
    id: TellId,
    text: String,
    started: bool,
    output: Output,
}

impl Script {
    fn item(&self, status: ToolStatus, exit_code: Option<i64>) -> Item {
        let (output, omitted_bytes) = self.output.bounded();
        let call = ToolCall {
            tool: Tool::Shell,
            name: "shell".to_owned(),
            title: title(&self.text),
            status,
            input: json!({ "command": self.text }),
            output: Some(output).filter(|_| status != ToolStatus::Running && self.started),
            omitted_bytes,
            exit_code,
            diff: None,
        };
        Item { item_id: self.item_id(), parent_id: None, content: Content::ToolCall(Box::new(call)) }
    }

    fn item_id(&self) -> ItemId {
        ItemId(format!("script.{}", self.id))
    }

    fn request_id(&self) -> RequestId {
        RequestId(self.id.0.clone())
    }

    fn end(self, status: ToolStatus, exit_code: Option<i64>, outcome: Outcome, reason: Option<String>) -> Vec<Event> {
        let message = self.output.last_message();
        vec![
            Event::Withdrawn(self.request_id()),
            Event::Closed(self.item(status, exit_code)),
            Event::TurnEnded(Ending { outcome, reason, message, usage: Usage::default() }),
        ]
    }
}

impl Transcript {
    fn told(&mut self, id: &TellId, line: &str) -> Vec<Event> {
        match serde_json::from_str(line) {
            Ok(Word::Run { id: run, script, .. }) => {
                self.script = Some(Script { id: run, text: script, started: false, output: Output::default() });
                vec![Event::Delivered(id.clone()), Event::TurnStarted(Some(id.clone()))]
            }
            Ok(Word::Answer { id: run, script: Some(changed), .. }) => {
                if let Some(script) = self.script.as_mut().filter(|script| script.id == run && !script.started) {
                    // What is shown is what runs, not what was asked for.
                    script.text = changed;
                }
                vec![Event::Delivered(id.clone())]
            }
            Ok(Word::Answer { .. } | Word::Interrupt {}) | Err(_) => vec![Event::Delivered(id.clone())],
        }
    }

    fn said(&mut self, line: &str) -> Vec<Event> {
        let Ok(saying) = serde_json::from_str(line) else {
            return vec![Event::Failed("the shell bridge said something that cannot be read".to_owned())];
        };
        let Some(script) = &mut self.script else { return Vec::new() };
        match saying {
            Saying::Ask { script: text, .. } => vec![Event::Asked(Ask {
                request_id: script.request_id(),
                kind: PermissionKind::Tool,
                title: format!("run `{}`", title(&text)),
                description: None,
                input: json!({ "command": text }),
                options: Vec::new(),
            })],
            // It runs once, and nothing is heard of it before.
            Saying::Started { .. } if script.started => Vec::new(),
            Saying::Out { .. } if !script.started => Vec::new(),
            Saying::Started { .. } => {
                script.started = true;
                vec![Event::Withdrawn(script.request_id()), Event::Opened(script.item(ToolStatus::Running, None))]
            }
            Saying::Out { text, base64, .. } => {
                let text = text.unwrap_or_else(|| decoded(&base64.unwrap_or_default()));
                script.output.push(&text);
                vec![Event::Wrote { item_id: script.item_id(), text }]
            }
            Saying::Exit(exit) => match self.script.take() {
                Some(script) => ended(script, exit),
                None => Vec::new(),
            },
        }
    }
}

impl Session for Transcript {
    fn read(&mut self, record: &Record) -> Vec<Step> {
        let events = match &record.what {
            What::Told { id, line } => self.told(id, line),
            What::Said(line) => self.said(line.text().unwrap_or_default()),
            What::Exited(_) => match self.script.take() {
                Some(script) => {
                    vec![
                        Event::Withdrawn(script.request_id()),
                        Event::Closed(script.item(ToolStatus::Interrupted, None)),
                    ]
                }
                None => Vec::new(),
            },
            What::Muttered(line) => match line.text() {
                Some(text) => vec![Event::Notice(text.to_owned())],
                None => Vec::new(),
            },
            What::Launched { .. } | What::Signalled { .. } | What::Closed {} | What::Carried(_) => Vec::new(),
        };
        events.into_iter().map(Step::Event).collect()
    }

    fn phrase(&self, id: &TellId, tell: &Tell) -> Result<String, Unsaid> {
        let word = match tell {
            Tell::Prompt(prompt) if !prompt.images.is_empty() => {
                return Err(Unsupported { provider: "shell", what: "take pictures" }.into());
            }
            Tell::Prompt(prompt) => Word::Run { id: id.clone(), script: prompt.text.clone(), ask: self.asks },
            Tell::Answer { request_id, decision } => Word::Answer {
                id: TellId(request_id.0.clone()),
                allow: decision.behavior == Behavior::Allow,
                message: decision.message.clone(),
                script: decision.updated_input.as_ref().and_then(|input| input["command"].as_str()).map(str::to_owned),
            },
            Tell::Interrupt {} => Word::Interrupt {},
            Tell::Mode(_) => {
                return Err(Unsupported { provider: "shell", what: "change its mode while it runs" }.into());
            }
            Tell::Model(_) => return Err(Unsupported { provider: "shell", what: "use a model" }.into()),
        };
        Ok(json!(word).to_string())
    }

    fn summary(&self) -> String {
        // Between turns nothing is known that the next turn needs.
        String::new()
    }
}

fn ended(script: Script, exit: Exit) -> Vec<Event> {
    let Exit { id: _, code, signal, denied, interrupted, reason, message } = exit;
    if denied {
        let because = message.or(reason).filter(|because| !because.is_empty());
        let reason = sentence("the script was not allowed to run", because);
        return script.end(ToolStatus::Denied, None, Outcome::Interrupted, Some(reason));
    }
    if interrupted {
        let reason = sentence("it was interrupted", reason);
        return script.end(ToolStatus::Interrupted, code, Outcome::Interrupted, Some(reason));
    }
    match (code, signal) {
        (Some(0), _) => script.end(ToolStatus::Completed, code, Outcome::Completed, None),
        (Some(code), _) => {
            script.end(ToolStatus::Failed, Some(code), Outcome::Error, Some(format!("exit code {code}")))
        }
        (None, Some(signal)) => {
            script.end(ToolStatus::Failed, None, Outcome::Error, Some(format!("ended by signal {signal}")))
        }
        (None, None) => {
            let reason = reason.unwrap_or_else(|| "the script could not be run".to_owned());
            script.end(ToolStatus::Failed, None, Outcome::Error, Some(reason))
        }
    }
}

fn sentence(text: &str, because: Option<String>) -> String {
    because.map_or_else(|| text.to_owned(), |because| format!("{text}: {because}"))
}

/// Returns the first line that says something, shortened for one line of a list.
fn title(script: &str) -> String {
    let line = script.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("#!")).unwrap_or("");
    match line.char_indices().nth(100) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line.to_owned(),
    }
}

/// Output that is not UTF-8, for people: what cannot be shown becomes U+FFFD. The journal keeps the bytes.
fn decoded(base64: &str) -> String {
    String::from_utf8_lossy(&STANDARD.decode(base64).unwrap_or_default()).into_owned()
}

/// What `bridge shell` is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Run a script.
    Run {
        /// The id that everything about it repeats.
        id: TellId,
        /// The script.
        script: String,
        /// Whether to ask first.
        #[serde(default)]
        ask: bool,
    },
    /// The answer to its question.
    Answer {
        /// The script's id.
        id: TellId,
        /// Whether it may run.
        allow: bool,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// What to run in its place.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        script: Option<String>,
    },
    /// End the script that runs, and everything that it started.
    Interrupt {},
}

/// What `bridge shell` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Saying {
    /// May this run?
    Ask {
        /// The script's id.
        id: TellId,
        /// The script.
        script: String,
    },
    /// It runs.
    Started {
        /// The script's id.
        id: TellId,
        /// Its process.
        #[serde(default)]
        pid: Option<i64>,
    },
    /// It wrote something.
    Out {
        /// The script's id.
        id: TellId,
        /// `stdout` or `stderr`.
        stream: String,
        /// What, where it is UTF-8.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// What, where it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base64: Option<String>,
    },
    /// It ended.
    Exit(Exit),
}

/// How a script ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Exit {
    /// The script's id.
    pub id: TellId,
    /// Its exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Whether it was not allowed to run.
    pub denied: bool,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// Why it could not be run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the person who did not allow it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
