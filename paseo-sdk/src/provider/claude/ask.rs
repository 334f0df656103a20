//! What the program asks permission for, and how it is answered.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Value, json};

use super::tool::title;
use super::{mode_of, own_mode};
use crate::model::{Behavior, Decision, Mode, PermissionKind, PermissionOption, RequestId};
use crate::provider::value::{self, clip, clipped, text};
use crate::provider::{self, Unsupported};

/// A question that is not answered.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// The program's id of it.
    pub(super) id: String,
    /// The tool call that waits for it.
    pub(super) call: String,
    /// What it would do, for whoever reads that it was cut off.
    pub(super) title: String,
    kind: PermissionKind,
    /// What the program would have us allow for good.
    pub(super) rules: BTreeSet<Rule>,
    /// The questions, which an answer repeats.
    questions: Value,
}

/// Allow it, and whatever has the same rule from now on.
const ALWAYS: &str = "always";

/// Allow it, and edit without asking from now on.
const AUTO: &str = "auto";

/// What tells that an answer is for good; the program has the same word for it.
const FOR_GOOD: &str = "user_permanent";

/// Something that the program need not ask for. It alone judges what falls under one: a command may have parts that no
/// rule speaks of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rule {
    tool: String,
    /// What the tool may do; empty for anything.
    content: String,
}

impl fmt::Display for Rule {
    /// Writes it as the program reads it in its arguments: `Bash(npm test)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tool)?;
        if self.content.is_empty() {
            return Ok(());
        }
        let content = self.content.replace('\\', "\\\\").replace('(', "\\(").replace(')', "\\)");
        write!(f, "({content})")
    }
}

impl Ask {
    /// Reads a `can_use_tool`; returns what is remembered of it, and what people see.
    pub(super) fn read(line: &Value) -> (Ask, provider::Ask) {
        let (request, id) = (&line["request"], value::id(line, "request_id"));
        let tool = text(request, "tool_name");
        let input = &request["input"];
        let kind = match tool {
            "AskUserQuestion" => PermissionKind::Question,
            "ExitPlanMode" => PermissionKind::Plan,
            _ => PermissionKind::Tool,
        };
        let suggestions = request["permission_suggestions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let rules = rules(suggestions);
        let title = match kind {
            PermissionKind::Question => title(tool, input),
            PermissionKind::Plan => "carry out this plan".to_owned(),
            _ => format!("{}: {}", clip(text(request, "display_name"), 100), title(tool, input)),
        };
        let mut options = Vec::new();
        let mut offer = |option: &str, label: String, mode| {
            options.push(PermissionOption { option_id: option.to_owned(), label, mode });
        };
        if kind == PermissionKind::Tool && !rules.is_empty() {
            let shown: Vec<_> = rules.iter().map(Rule::to_string).collect();
            offer(ALWAYS, format!("always allow {}", clip(&shown.join(", "), 300)), None);
        }
        let edits = suggestions.iter().any(|suggestion| text(suggestion, "mode") == own_mode(&Mode::Auto));
        if kind == PermissionKind::Plan || edits && matches!(tool, "Write" | "Edit" | "MultiEdit" | "NotebookEdit") {
            offer(AUTO, "allow, and edit files without asking from now on".to_owned(), Some(Mode::Auto));
        }
        let reason = Some(text(request, "decision_reason")).filter(|reason| !reason.is_empty());
        let about =
            Some(text(request, "description")).filter(|about| !about.is_empty() && input["description"] == **about);
        let seen = provider::Ask {
            request_id: RequestId(id.clone()),
            kind,
            title: title.clone(),
            description: reason.or(about).map(|text| clip(text, 2_000)),
            input: clipped(input, LONGEST_INPUT, MOST_INPUT),
            options,
        };
        let ask = Ask {
            id,
            call: value::id(request, "tool_use_id"),
            title,
            kind,
            rules,
            questions: match kind {
                PermissionKind::Question => clipped(&seen.input["questions"], LONGEST_INPUT, MOST_QUESTIONS),
                _ => Value::Null,
            },
        };
        (ask, seen)
    }
}

/// Returns what answers a question as somebody decided; `ask` is what is remembered of it.
pub(super) fn response(ask: Option<&Ask>, decision: &Decision) -> Result<Value, Unsupported> {
    if decision.behavior == Behavior::Deny {
        let message = decision.message.as_deref().filter(|message| !message.trim().is_empty());
        let message = message.unwrap_or("The user does not want this.");
        return Ok(json!({ "behavior": "deny", "message": message, "interrupt": decision.interrupt }));
    }
    let mut response = json!({ "behavior": "allow", "updatedInput": updated_input(ask, decision)? });
    match decision.option_id.as_deref() {
        Some(ALWAYS) => {
            // For this process alone: elsewhere it would write into the repository. The next ones are launched with it.
            let rules: Vec<_> = ask.into_iter().flat_map(|ask| &ask.rules).map(suggested).collect();
            let add = json!({ "type": "addRules", "rules": rules, "behavior": "allow", "destination": "session" });
            response["updatedPermissions"] = json!([add]);
            response["decisionClassification"] = json!(FOR_GOOD);
        }
        Some(AUTO) => {
            let mode = json!({ "type": "setMode", "mode": own_mode(&Mode::Auto), "destination": "session" });
            response["updatedPermissions"] = json!([mode]);
        }
        _ => {}
    }
    Ok(response)
}

/// Returns whether an answer that was told allows for good.
pub(super) fn is_for_good(response: &Value) -> bool {
    text(response, "decisionClassification") == FOR_GOOD
}

/// An object replaces the input; an empty one leaves it as it is.
fn updated_input(ask: Option<&Ask>, decision: &Decision) -> Result<Value, Unsupported> {
    let given = match &decision.updated_input {
        None => json!({}),
        Some(Value::Object(fields)) => Value::Object(fields.clone()),
        Some(_) => {
            return Err(Unsupported { provider: "claude", what: "take an `updatedInput` that is not an object" });
        }
    };
    let Some(ask) = ask.filter(|ask| ask.kind == PermissionKind::Question) else { return Ok(given) };
    let mut answered = given;
    if answered["answers"].is_null()
        && let Some(message) = decision.message.as_deref().filter(|message| !message.trim().is_empty())
    {
        // Words without a question answer whatever was asked.
        let questions = ask.questions.as_array().into_iter().flatten();
        let answers = questions.filter_map(|question| question["question"].as_str());
        answered["answers"] =
            answers.map(|question| (question.to_owned(), json!(message))).collect::<serde_json::Map<_, _>>().into();
    }
    if answered["questions"].is_null() {
        answered["questions"] = ask.questions.clone();
    }
    Ok(answered)
}

/// Returns a rule as the program suggested it.
fn suggested(rule: &Rule) -> Value {
    match rule.content.as_str() {
        "" => json!({ "toolName": rule.tool }),
        content => json!({ "toolName": rule.tool, "ruleContent": content }),
    }
}

/// Returns the rules that the program suggests to add.
fn rules(suggestions: &[Value]) -> BTreeSet<Rule> {
    let adds = |suggestion: &&Value| text(suggestion, "type") == "addRules" && text(suggestion, "behavior") == "allow";
    let rules = suggestions.iter().filter(adds).filter_map(|suggestion| suggestion["rules"].as_array()).flatten();
    let rule =
        |rule: &Value| Rule { tool: text(rule, "toolName").to_owned(), content: text(rule, "ruleContent").to_owned() };
    // One that is too long to be kept whole would allow more than was meant.
    let all: Vec<_> = rules.take(MOST_RULES + 1).map(rule).collect();
    let length = |rule: &Rule| rule.tool.len() + rule.content.len();
    // One that begins with a dash would be taken for another argument.
    let is_name = |rule: &Rule| rule.tool.starts_with(|c: char| c.is_ascii_alphabetic());
    let whole = all.iter().all(|rule| is_name(rule) && length(rule) <= LONGEST_RULE);
    let length: usize = all.iter().map(length).sum();
    match whole && all.len() <= MOST_RULES && length <= LONGEST_RULES {
        true => all.into_iter().collect(),
        false => BTreeSet::new(),
    }
}

/// Returns the mode that a status line tells of.
pub(super) fn mode(line: &Value) -> Option<Mode> {
    line["permissionMode"].as_str().map(mode_of)
}

/// How long each text of an input may be that is shown to people.
const LONGEST_INPUT: usize = 16 * 1024;

/// What the whole input may weigh that is shown to people.
const MOST_INPUT: usize = 256 * 1024;

/// What the questions may weigh that are kept for an answer.
const MOST_QUESTIONS: usize = 64 * 1024;

const MOST_RULES: usize = 32;
const LONGEST_RULE: usize = 4 * 1024;
const LONGEST_RULES: usize = 16 * 1024;
