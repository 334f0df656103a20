//! What the program asks for, and how it is answered.

use serde_json::{Map, Value, json};

use super::item::script;
use super::wire::{self, OWN};
use crate::item::{Content, Item};
use crate::model::{Behavior, Decision, Mode, PermissionKind, PermissionOption, RequestId};
use crate::provider::value::{self, clip, clipped, text};
use crate::provider::{self, Unsupported};

/// A question that is not answered.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// The program's id of it.
    pub(super) id: Value,
    /// The item that waits for it.
    pub(super) item: String,
    /// What it would do, for whoever reads that it was cut off.
    pub(super) title: String,
    /// What need not be asked for again when this is allowed for good.
    pub(super) rule: Option<String>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// To run a command, or to change files.
    Approval,
    /// To use a tool of a server.
    Tool,
    /// What a server itself asks.
    Form,
    /// Questions of the model: their ids, and what they ask.
    Questions(Vec<(String, String)>),
}

/// Allow it, and the same thing from now on.
const ALWAYS: &str = "always";

/// Allow it, and act without asking in the sandbox from now on.
const AUTO: &str = "auto";
const FREELY: &str = "allow, and from the next turn on act without asking in the sandbox";

/// What is asked about a plan.
pub(super) const CARRY_OUT: &str = "carry out this plan";

/// What a session tells itself of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Aside {
    /// Whether it is for good.
    pub(super) always: bool,
    /// The mode from now on.
    pub(super) mode: Option<Mode>,
    /// What the model is told beside; the answer itself has no place for it.
    pub(super) message: Option<String>,
    /// Whether this refuses.
    pub(super) denied: bool,
}

impl Aside {
    /// Reads it from the line of an answer.
    pub(super) fn read(line: &Value) -> Aside {
        let own = &line[OWN];
        Aside {
            always: own["always"] == true,
            mode: own["mode"].as_str().map(super::mode_of),
            message: own["message"].as_str().map(str::to_owned),
            denied: own["denied"] == true,
        }
    }
}

/// Asks whether a plan is to be carried out: the program ends its turn with the plan, and does not ask.
pub(super) fn plan(request_id: RequestId, plan: &str) -> provider::Ask {
    provider::Ask {
        request_id,
        kind: PermissionKind::Plan,
        title: CARRY_OUT.to_owned(),
        description: None,
        input: json!({ "plan": plan }),
        options: vec![PermissionOption {
            option_id: AUTO.to_owned(),
            label: FREELY.to_owned(),
            mode: Some(Mode::Auto),
        }],
    }
}

/// Returns what the model is told about its plan, if anything, and in which mode it goes on, if in another one.
pub(super) fn about_plan(decision: &Decision) -> (Option<String>, Option<Mode>) {
    let message = decision.message.clone().filter(|message| !message.trim().is_empty());
    match decision.behavior {
        Behavior::Deny => (message, None),
        Behavior::Allow => {
            let mode = if decision.option_id.as_deref() == Some(AUTO) { Mode::Auto } else { Mode::Default };
            let go = "Carry out the plan.";
            (Some(message.map_or_else(|| go.to_owned(), |message| format!("{go} {message}"))), Some(mode))
        }
    }
}

/// Returns the name that a question goes by.
pub(super) fn name(id: &Value) -> String {
    match id {
        Value::String(text) => clip(text, LONGEST_NAME),
        id => clip(&id.to_string(), LONGEST_NAME),
    }
}

/// Returns whether a value can name a question; its name has room for it.
fn is_id(id: &Value) -> bool {
    match id {
        Value::Number(_) => true,
        Value::String(text) => text.len() <= LONGEST_NAME,
        _ => false,
    }
}

impl Ask {
    /// Reads a request of the program; returns what is remembered of it, and what people see. `about` is the item that it is
    /// about, `directory` where the agent works. None when paseo has no answer to it, or it has an id that is none.
    pub(super) fn read(request: &Value, about: Option<&Item>, directory: &str) -> Option<(Ask, provider::Ask)> {
        let params = &request["params"];
        let id = Some(&request["id"]).filter(|id| is_id(id))?;
        let reason = params["reason"].as_str().filter(|reason| !reason.is_empty());
        let mut asked = match text(request, "method") {
            "item/commandExecution/requestApproval" => Asked::command(params, directory),
            "item/fileChange/requestApproval" => Asked::patch(about),
            "mcpServer/elicitation/request" => Asked::server(params)?,
            "item/tool/requestUserInput" => Asked::questions(params),
            _ => return None,
        };
        let mut options = Vec::new();
        let mut offer = |option: &str, label: String, mode| {
            options.push(PermissionOption { option_id: option.to_owned(), label, mode });
        };
        if let Some(rule) = asked.rule.as_deref().filter(|rule| rule.len() <= LONGEST_RULE) {
            let shown = rule.split_once(' ').map_or(rule, |(_, what)| what);
            offer(ALWAYS, format!("always allow `{}`", value::title(shown).unwrap_or_default()), None);
        } else {
            // One that cannot be kept whole would allow more than was meant.
            asked.rule = None;
        }
        if asked.changes {
            offer(AUTO, FREELY.to_owned(), Some(Mode::Auto));
        }
        let seen = provider::Ask {
            request_id: RequestId(name(id)),
            kind: asked.permission,
            title: asked.title.clone(),
            description: reason.map(|reason| clip(reason, 2_000)),
            input: asked.input,
            options,
        };
        let ask = Ask {
            id: id.clone(),
            item: value::id(params, "itemId"),
            title: asked.title,
            rule: asked.rule,
            kind: asked.kind,
        };
        Some((ask, seen))
    }

    /// Returns the line that answers it as somebody decided.
    pub(super) fn answer(&self, decision: &Decision) -> Result<String, Unsupported> {
        let allowed = decision.behavior == Behavior::Allow;
        let message = decision.message.as_deref().filter(|message| !message.trim().is_empty());
        let mut own = Map::new();
        let result = match &self.kind {
            Kind::Approval | Kind::Tool if allowed && decision.updated_input.is_some() => {
                return Err(Unsupported { provider: "codex", what: "run anything else than what it asks for" });
            }
            Kind::Approval => json!({ "decision": if allowed { "accept" } else { "decline" } }),
            Kind::Tool | Kind::Form => {
                let content = decision.updated_input.clone().filter(|_| allowed).unwrap_or(Value::Null);
                json!({ "action": if allowed { "accept" } else { "decline" }, "content": content, "_meta": null })
            }
            Kind::Questions(questions) => json!({ "answers": answers(questions, decision) }),
        };
        match decision.option_id.as_deref() {
            Some(ALWAYS) if allowed => own.extend([("always".to_owned(), json!(true))]),
            Some(AUTO) if allowed => own.extend([("mode".to_owned(), json!(Mode::Auto.to_string()))]),
            _ => {}
        }
        if !allowed {
            own.extend([("denied".to_owned(), json!(true))]);
        }
        if let Some(message) = message.filter(|_| !matches!(self.kind, Kind::Questions(_))) {
            own.extend([("message".to_owned(), json!(message))]);
        }
        let own = if own.is_empty() { Value::Null } else { Value::Object(own) };
        Ok(wire::response(&self.id, &result, &own))
    }

    /// Returns whether it is about what the program itself does.
    pub(super) fn is_approval(&self) -> bool {
        matches!(self.kind, Kind::Approval | Kind::Tool)
    }

    /// Returns the line that allows it, as somebody has done so for good.
    pub(super) fn allow(&self) -> String {
        let result = match self.kind {
            Kind::Tool | Kind::Form => json!({ "action": "accept", "content": null, "_meta": null }),
            Kind::Approval | Kind::Questions(_) => json!({ "decision": "accept" }),
        };
        wire::response(&self.id, &result, &Value::Null)
    }
}

/// What a request asks for.
struct Asked {
    kind: Kind,
    permission: PermissionKind,
    title: String,
    input: Value,
    rule: Option<String>,
    /// Whether it changes files, so that somebody may wish not to be asked for that.
    changes: bool,
}

impl Asked {
    fn command(params: &Value, directory: &str) -> Asked {
        let script = script(text(params, "command"));
        Asked {
            kind: Kind::Approval,
            permission: PermissionKind::Tool,
            title: format!("run: {}", value::title(&script).unwrap_or_default()),
            input: json!({ "command": clip(&script, LONGEST_INPUT), "cwd": clip(text(params, "cwd"), LONGEST_PATH) }),
            // Beyond the command, it may ask to reach the network: for that there is no rule, nor for other directories, where
            // the same words do something else.
            rule: Some(format!("{COMMAND} {script}")).filter(|_| {
                !script.is_empty() && params["networkApprovalContext"].is_null() && params["cwd"] == *directory
            }),
            changes: false,
        }
    }

    /// The request says nothing of the patch: that is in its item.
    fn patch(about: Option<&Item>) -> Asked {
        let call = about.and_then(|item| match &item.content {
            Content::ToolCall(call) => Some(call),
            _ => None,
        });
        let mut input = call.map_or(Value::Null, |call| call.input.clone());
        if let Some(diff) = call.and_then(|call| call.diff.as_deref()) {
            input["diff"] = json!(diff);
        }
        Asked {
            kind: Kind::Approval,
            permission: PermissionKind::Tool,
            title: call.map_or_else(|| "change files".to_owned(), |call| format!("change {}", call.title)),
            input,
            rule: None,
            changes: true,
        }
    }

    fn server(params: &Value) -> Option<Asked> {
        let (meta, server) = (&params["_meta"], clip(text(params, "serverName"), 100));
        if text(meta, "codex_approval_kind") == "mcp_tool_call" {
            let tool = clip(text(meta, "tool_name"), 200);
            return Some(Asked {
                kind: Kind::Tool,
                permission: PermissionKind::Tool,
                title: format!("{server}: {tool}"),
                input: clipped(&meta["tool_params"], LONGEST_INPUT, MOST_INPUT),
                rule: Some(format!("{TOOL} {server}/{tool}")).filter(|_| !tool.is_empty()),
                changes: false,
            });
        }
        let said = value::title(text(params, "message")).or_else(|| value::title(text(params, "title")))?;
        let asked = ["requestedSchema", "url"].iter().find(|field| !params[**field].is_null())?;
        Some(Asked {
            kind: Kind::Form,
            permission: PermissionKind::Question,
            title: format!("{server}: {said}"),
            input: json!({ *asked: clipped(&params[*asked], LONGEST_INPUT, MOST_INPUT) }),
            rule: None,
            changes: false,
        })
    }

    fn questions(params: &Value) -> Asked {
        let given = params["questions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let given = || given.iter().take(MOST_QUESTIONS);
        let known = |question: &Value| (value::id(question, "id"), clip(text(question, "question"), LONGEST_QUESTION));
        let shown = |question: &Value| {
            let options = question["options"].as_array().into_iter().flatten().take(MOST_QUESTIONS);
            let option = |option: &Value| {
                json!({ "label": clip(text(option, "label"), LONGEST_QUESTION),
                        "description": clip(text(option, "description"), LONGEST_QUESTION) })
            };
            json!({
                "question": known(question).1,
                "header": clip(text(question, "header"), LONGEST_QUESTION),
                "options": options.map(option).collect::<Vec<_>>(),
                "multiSelect": false,
            })
        };
        let title = given().next().and_then(|first| value::title(text(first, "question")));
        Asked {
            kind: Kind::Questions(given().map(known).collect()),
            permission: PermissionKind::Question,
            title: title.unwrap_or_else(|| "a question".to_owned()),
            input: json!({ "questions": given().map(shown).collect::<Vec<_>>() }),
            rule: None,
            changes: false,
        }
    }
}

/// Returns an answer to each question: what somebody has answered to it, or the words that answer whatever was asked.
fn answers(questions: &[(String, String)], decision: &Decision) -> Value {
    let given =
        decision.updated_input.as_ref().map(|input| &input["answers"]).filter(|_| decision.behavior == Behavior::Allow);
    let message = decision.message.as_deref().filter(|message| !message.trim().is_empty());
    let refused = (decision.behavior == Behavior::Deny).then_some("The user does not want to answer this.");
    let answer = |(id, question): &(String, String)| {
        let texts = match given.map(|answers| &answers[question]) {
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(texts)) => texts.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => message.or(refused).into_iter().map(str::to_owned).collect(),
        };
        (id.clone(), json!({ "answers": texts }))
    };
    questions.iter().map(answer).collect::<Map<_, _>>().into()
}

/// What rules begin with: those for a command, which is the whole of it, and those for a tool of a server.
const COMMAND: &str = "command";
const TOOL: &str = "tool";

/// How long each text of an input may be that is shown to people.
const LONGEST_INPUT: usize = 16 * 1024;

/// What the whole input may weigh that is shown to people.
const MOST_INPUT: usize = 256 * 1024;

const LONGEST_NAME: usize = 128;
const LONGEST_PATH: usize = 4 * 1024;
const LONGEST_RULE: usize = 4 * 1024;
const LONGEST_QUESTION: usize = 2 * 1024;
const MOST_QUESTIONS: usize = 32;
