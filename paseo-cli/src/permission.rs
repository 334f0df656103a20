//! Permission requests: what people see of them, and how the answer of a command is made.

use std::fmt::Write as _;

use paseo_sdk::catalogue::RespondToPermission;
use paseo_sdk::model::{AgentRef, Behavior, Decision, Permission, PermissionKind};
use serde_json::Value;

use crate::diff::Diff;
use crate::exit::Failure;
use crate::question::{Question, answered, questions};
use crate::render::{Color, View, ago, indented, plural, short};
use crate::table::{Cell, Table, clean};

/// Lists what agents wait for.
#[must_use]
pub fn list(view: &View, permissions: &[Permission]) -> String {
    if permissions.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["AGENT", "REQUEST", "WANTS", "ASKED"]);
    for permission in permissions {
        let wants = match questions(permission).as_slice() {
            [] => clean(&permission.title),
            questions => brief(questions),
        };
        table.row(vec![
            Cell::plain(short(&permission.agent_id)),
            Cell::plain(clean(permission.request_id.as_str())),
            Cell::plain(wants),
            Cell::plain(ago(view.now, permission.asked_at)),
        ]);
    }
    table.render(view)
}

/// Shows one permission request with the options that a command may choose.
#[must_use]
pub fn whole(view: &View, permission: &Permission) -> String {
    let mut text = body(view, permission);
    for option in &permission.options {
        let _ = writeln!(text, "    --option {}: {}", clean(&option.option_id), clean(&option.label));
    }
    text
}

/// Says how to answer a permission request that cannot be answered in place.
#[must_use]
pub fn how_to_answer(permission: &Permission) -> String {
    let (agent, request) = (short(&permission.agent_id), clean(permission.request_id.as_str()));
    match questions(permission).len() {
        0 => format!("allow: paseo permit allow {agent} {request}\ndeny:  paseo permit deny {agent} {request}"),
        count => {
            let answers = " --answer \"…\"".repeat(count);
            format!(
                "answer:  paseo permit allow {agent} {request}{answers}\ndecline: paseo permit deny {agent} {request}"
            )
        }
    }
}

/// Returns the decision of `paseo permit allow`.
///
/// # Errors
///
/// When the answers do not fit the questions that are asked.
pub fn allowed(
    permission: &Permission,
    option_id: Option<String>,
    message: Option<String>,
    answers: &[String],
) -> Result<Decision, Failure> {
    let decision = Decision { option_id, message, ..plain(Behavior::Allow) };
    let questions = questions(permission);
    if questions.is_empty() && answers.is_empty() {
        return Ok(decision);
    }
    if questions.is_empty() {
        let message = format!("{} is no question", clean(permission.request_id.as_str()));
        return Err(Failure::usage(message, "leave --answer away; `paseo permit ls` lists what agents wait for"));
    }
    let hint = format!("give --answer for each of: {}", brief(&questions));
    if questions.len() != answers.len() {
        let (wanted, given) = (questions.len(), answers.len());
        let message = format!("{wanted} {} asked, {given} answered", plural(wanted, "question"));
        return Err(Failure::usage(message, hint));
    }
    let read = questions.iter().zip(answers).map(|(question, answer)| {
        question.read(answer).map_err(|problem| Failure::usage(format!("--answer {answer:?}: {problem}"), &hint))
    });
    let answers = read.collect::<Result<Vec<_>, _>>()?;
    Ok(Decision { updated_input: Some(answered(&questions, &answers)), ..decision })
}

/// Returns a decision without more words.
pub(crate) fn plain(behavior: Behavior) -> Decision {
    Decision { behavior, option_id: None, message: None, updated_input: None, interrupt: false }
}

/// Returns the request that gives a permission request its decision.
pub(crate) fn respond(permission: &Permission, decision: Decision) -> RespondToPermission {
    let Decision { behavior, option_id, message, updated_input, interrupt } = decision;
    RespondToPermission {
        agent_id: AgentRef::from(&permission.agent_id),
        request_id: permission.request_id.clone(),
        behavior,
        option_id,
        message,
        updated_input,
        interrupt,
    }
}

/// Shows what a permission request is about: nobody should allow what they cannot see.
pub(crate) fn body(view: &View, permission: &Permission) -> String {
    let questions = questions(permission);
    if !questions.is_empty() {
        let about = description(permission);
        let rows = questions.iter().enumerate().map(|(at, question)| question.render(view, at, questions.len()));
        return about + &rows.collect::<String>();
    }
    let word = if permission.kind == PermissionKind::Plan { "plan" } else { "permission" };
    let mut text = view.paint(Color::Yellow, &format!("{word}: {}", clean(&permission.title)));
    text.push('\n');
    text += &description(permission);
    text += &input(view, permission);
    text
}

/// Shows what more there is to say about a permission request.
pub(crate) fn description(permission: &Permission) -> String {
    permission.description.as_ref().map(|text| indented(text.trim_end()) + "\n").unwrap_or_default()
}

/// Shows what would be done: a plan or a command as it is, a change as a diff, whatever else there is as JSON.
fn input(view: &View, permission: &Permission) -> String {
    let fields = match &permission.input {
        Value::Null => return String::new(),
        Value::String(text) => return indented(text) + "\n",
        Value::Object(fields) => fields,
        other => return pretty(other),
    };
    let (mut text, mut shown) = (String::new(), Vec::new());
    let word = |name: &str| fields.get(name).and_then(Value::as_str);
    if let Some(path) = word("file_path") {
        let change = match (word("old_string"), word("new_string"), word("content")) {
            (Some(old), Some(new), None) => {
                let diff = Diff::between(old, new);
                Some((diff.count(), diff))
            }
            (None, None, Some(content)) => {
                let lines = content.lines().count();
                // What is there already is not known here, so this is no addition.
                Some((format!("the whole file, {lines} {}", plural(lines, "line")), Diff::between("", content)))
            }
            _ => None,
        };
        if let Some((what, diff)) = change {
            let _ = writeln!(text, "    {}  {what}", view.path(path));
            let lines = diff.shown(MOST_LINES, usize::MAX);
            for (color, line) in &lines {
                let _ = writeln!(text, "    {}", view.paint(*color, line));
            }
            if lines.len() > MOST_LINES {
                let _ = writeln!(text, "    (`paseo permit ls --json` shows all of it)");
            }
            shown.extend(["file_path", "old_string", "new_string", "content"]);
        }
    }
    let plan = permission.kind == PermissionKind::Plan;
    for name in if plan { &["plan"] as &[&str] } else { &["command", "script"] } {
        if let Some(whole) = word(name) {
            let _ = writeln!(text, "{}", indented(whole.trim_end()));
            shown.push(name);
        }
    }
    if text.is_empty() {
        return pretty(&permission.input);
    }
    for (name, value) in fields {
        let said = name == "description" && word(name) == permission.description.as_deref();
        let usual = name == "replace_all" && *value == Value::Bool(false);
        if !said && !usual && !shown.contains(&name.as_str()) {
            let _ = writeln!(text, "    {}: {}", clean(name), clean(&value.to_string()));
        }
    }
    text
}

/// How many lines of a change are shown to somebody who has to decide about it.
const MOST_LINES: usize = 40;

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).map(|text| indented(&text) + "\n").unwrap_or_default()
}

fn brief(questions: &[Question]) -> String {
    questions.iter().map(Question::brief).collect::<Vec<_>>().join("; ")
}
