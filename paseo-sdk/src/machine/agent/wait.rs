//! When a wait for an agent is over.

use super::View;
use crate::catalogue::{AgentOutcome, WaitUntil};
use crate::model::{Agent, Outcome, PromptId, Status, WaitOutcome};

/// Returns the answer of a wait for `prompt`, or for all work when there is none; nothing while it goes on.
#[must_use]
pub fn over(view: &View, prompt: Option<&PromptId>, until: WaitUntil) -> Option<AgentOutcome> {
    let agent = &view.agent;
    let end = match prompt {
        Some(prompt) => view.finished.iter().rev().find(|end| end.prompt_id.as_ref() == Some(prompt)),
        None if agent.turn.is_none() && agent.queued.is_empty() && agent.status != Status::Starting => {
            agent.last_turn.as_ref()
        }
        None => None,
    };
    let at_rest =
        prompt.is_none() && agent.turn.is_none() && agent.queued.is_empty() && agent.status != Status::Starting;
    let outcome = match end {
        Some(end) => end.outcome.into(),
        None if until == WaitUntil::Attention && !agent.permissions.is_empty() => WaitOutcome::Permission,
        None if at_rest || agent.status == Status::Archived && agent.turn.is_none() => Outcome::Interrupted.into(),
        None => return None,
    };
    Some(AgentOutcome {
        outcome: Some(outcome),
        reason: end.and_then(|end| end.reason.clone()),
        // Of a turn that ended without a word, an earlier one's would be taken for its own.
        last_message: match end {
            Some(end) => end.message.clone(),
            None => agent.last_message.clone(),
        },
        usage: match (prompt, end) {
            (Some(_), Some(end)) => end.usage,
            _ => agent.usage,
        },
        ..as_it_is(agent, prompt)
    })
}

/// Returns where an agent stands, without the outcome of a wait.
#[must_use]
pub fn as_it_is(agent: &Agent, prompt: Option<&PromptId>) -> AgentOutcome {
    AgentOutcome {
        agent_id: agent.agent_id.clone(),
        prompt_id: prompt.cloned(),
        status: agent.status,
        outcome: None,
        reason: agent.reason.clone(),
        last_message: agent.last_message.clone(),
        permissions: agent.permissions.clone(),
        usage: agent.usage,
        agents: Vec::new(),
    }
}
