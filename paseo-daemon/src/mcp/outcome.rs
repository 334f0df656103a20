//! What a model reads of an answer: first what happened, in words, where the answer is about that; and what to do then.

use paseo_sdk::catalogue::{AgentOutcome, CreateAgent, SendAgentPrompt, WaitForAgent};
use paseo_sdk::model::WaitOutcome;
use paseo_sdk::operation::Operation;
use serde::Deserialize as _;
use serde_json::Value;

use super::text::render;

/// Says beside an answer what to do now, or how to read more. Some clients show their models this and no text.
pub(super) fn advise(answer: &mut Value, what: &str) {
    if let Value::Object(answer) = answer {
        let said = match answer.get(ADVICE).and_then(Value::as_str) {
            Some(said) => format!("{said}; {what}"),
            None => what.to_owned(),
        };
        answer.insert(ADVICE.to_owned(), said.into());
    }
}

/// The field that advice is in.
pub(super) const ADVICE: &str = "advice";

/// Says what to do after this answer, where there is anything to do.
pub(super) fn next(operation: &str, answer: &Value) -> Option<&'static str> {
    match read(operation, answer)?.outcome {
        None => Some("`wait_for_agent` waits for it"),
        Some(WaitOutcome::Permission) => Some(
            "answer with `respond_to_permission`, then wait again, or wait with `until: finished` for your user to answer",
        ),
        Some(WaitOutcome::TimedOut) => Some("the agent goes on; wait again when you need what comes of it"),
        Some(WaitOutcome::Completed | WaitOutcome::Error | WaitOutcome::Interrupted | WaitOutcome::Limit) => None,
    }
}

/// Writes an operation's answer as text.
pub(super) fn say(operation: &str, answer: &Value) -> String {
    match read(operation, answer) {
        Some(outcome) => happened(&outcome, answer),
        None => render(answer),
    }
}

/// Reads an answer that says where an agent stands.
fn read(operation: &str, answer: &Value) -> Option<AgentOutcome> {
    let waits = [CreateAgent::NAME, SendAgentPrompt::NAME, WaitForAgent::NAME].contains(&operation);
    waits.then(|| AgentOutcome::deserialize(answer).ok()).flatten()
}

fn happened(outcome: &AgentOutcome, answer: &Value) -> String {
    let id = &outcome.agent_id;
    let titled = outcome.agents.iter().find(|agent| agent.agent_id == *id);
    let agent = match titled {
        Some(agent) => format!("agent {id} ({})", agent.title),
        None => format!("agent {id}"),
    };
    let mut said = match outcome.outcome {
        None => format!("{agent} has the task"),
        Some(WaitOutcome::Completed) => format!("{agent} has finished"),
        Some(WaitOutcome::Error) => format!("{agent} failed"),
        Some(WaitOutcome::Interrupted) => format!("{agent} was interrupted"),
        Some(WaitOutcome::Limit) => format!("{agent} has reached a limit"),
        Some(WaitOutcome::Permission) => format!("{agent} waits for a permission"),
        Some(WaitOutcome::TimedOut) => format!("the time given to the wait for {agent} ran out"),
    };
    if let Some(reason) = &outcome.reason {
        said.push_str(": ");
        said.push_str(reason);
    }
    // Before the task has begun, the last message is about something else.
    let message = outcome.last_message.as_deref().filter(|_| outcome.outcome.is_some()).map(str::trim_end);
    match message.filter(|message| !message.is_empty()) {
        None => said.push('\n'),
        Some(message) => {
            said.push_str(if message.contains('\n') { "; it said:\n" } else { "; it said: " });
            said.push_str(message);
            said.push_str("\n\n");
        }
    }
    let mut rest = answer.clone();
    if let Value::Object(rest) = &mut rest {
        for told in ["reason", "lastMessage"] {
            rest.remove(told);
        }
    }
    said + &render(&rest)
}
