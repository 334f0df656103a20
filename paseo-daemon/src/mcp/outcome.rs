//! What a model reads of an answer: first what happened, in words, where the answer is about that.

use paseo_sdk::catalogue::{AgentOutcome, CreateAgent, SendAgentPrompt, WaitForAgent};
use paseo_sdk::model::WaitOutcome;
use paseo_sdk::operation::Operation;
use serde::Deserialize as _;
use serde_json::Value;

use super::text::render;

/// Writes an operation's answer as text.
pub(super) fn say(operation: &str, answer: &Value) -> String {
    let waits = [CreateAgent::NAME, SendAgentPrompt::NAME, WaitForAgent::NAME].contains(&operation);
    match (waits, AgentOutcome::deserialize(answer)) {
        (true, Ok(outcome)) => happened(&outcome, answer),
        _ => render(answer),
    }
}

fn happened(outcome: &AgentOutcome, answer: &Value) -> String {
    let id = &outcome.agent_id;
    let titled = outcome.agents.iter().find(|agent| agent.agent_id == *id);
    let agent = match titled {
        Some(agent) => format!("agent {id} ({})", agent.title),
        None => format!("agent {id}"),
    };
    let mut said = match outcome.outcome {
        None => format!("{agent} has the task; `wait_for_agent` waits for it"),
        Some(WaitOutcome::Completed) => format!("{agent} has finished"),
        Some(WaitOutcome::Error) => format!("{agent} failed"),
        Some(WaitOutcome::Interrupted) => format!("{agent} was interrupted"),
        Some(WaitOutcome::Limit) => format!("{agent} has reached a limit"),
        Some(WaitOutcome::Permission) => {
            let answer = "answer with `respond_to_permission`, then wait again";
            format!("{agent} waits for a permission: {answer}, or wait with `until: finished` for your user to answer")
        }
        Some(WaitOutcome::TimedOut) => format!("the time given to the wait ran out; {agent} goes on"),
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
