//! Waiting for agents: asked again whenever one of them has changed.

use std::sync::Arc;

use paseo_sdk::catalogue::{AgentOutcome, WaitForAgent, WaitMode, WaitUntil};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::agent::{as_it_is, over};
use paseo_sdk::model::{PromptId, WaitOutcome};
use paseo_sdk::operation::{Caller, Handle};

use super::registry::Owned;
use crate::Core;
use crate::live::Live;

impl Handle<WaitForAgent> for Core {
    async fn handle(&self, caller: Caller, request: WaitForAgent) -> Result<AgentOutcome, ApiError> {
        self.calling(&caller)?;
        let caller = &caller;
        let timeout =
            request.timeout.map(|timeout| std::time::Duration::from_millis(timeout.milliseconds.unsigned_abs()));
        let wait = async {
            match (&request.agent_id, request.agent_ids.as_slice()) {
                (Some(agent), []) => {
                    let owned = self.agents.find(agent)?;
                    if let Some(prompt) = &request.prompt_id {
                        known_prompt(&owned.live, prompt)?;
                    }
                    let wait = self.wait(&owned, request.prompt_id.as_ref(), request.until);
                    let timed_out = || as_it_is(&owned.live.view().agent, request.prompt_id.as_ref());
                    let answer = within(timeout, wait, timed_out).await;
                    self.witness(caller, &owned, &answer).await?;
                    Ok(answer)
                }
                (None, agents @ [_, ..]) => {
                    if request.prompt_id.is_some() {
                        return Err(ApiError::invalid("promptId", "goes with `agentId`, not with `agentIds`"));
                    }
                    let agents = agents.iter().map(|agent| self.agents.find(agent)).collect::<Result<Vec<_>, _>>()?;
                    let timed_out = || {
                        let agents: Vec<_> = agents.iter().map(|owned| owned.live.view().agent.clone()).collect();
                        AgentOutcome { agents: agents.clone(), ..as_it_is(&agents[0], None) }
                    };
                    let answer = within(timeout, self.wait_for_several(&agents, &request), timed_out).await;
                    for owned in &agents {
                        self.witness_state(caller, owned).await?;
                    }
                    Ok(answer)
                }
                (Some(_), _) => Err(ApiError::invalid("agentIds", "goes without `agentId`: give one of them")),
                (None, []) => Err(ApiError::invalid("agentId", "is needed, or `agentIds`")),
            }
        };
        wait.await
    }
}

/// Waits for at most `timeout`.
async fn within(
    timeout: Option<std::time::Duration>,
    wait: impl Future<Output = AgentOutcome>,
    timed_out: impl Fn() -> AgentOutcome,
) -> AgentOutcome {
    match timeout {
        None => wait.await,
        Some(timeout) => match tokio::time::timeout(timeout, wait).await {
            Ok(answer) => answer,
            Err(_) => AgentOutcome { outcome: Some(WaitOutcome::TimedOut), ..timed_out() },
        },
    }
}

/// Refuses to wait for a prompt that nobody knows: that would take for ever.
fn known_prompt(live: &Live, prompt: &PromptId) -> Result<(), ApiError> {
    match live.view().knows(prompt) {
        true => Ok(()),
        false => Err(ApiError::new(Code::NotFound, format!("promptId: the agent knows no prompt {prompt}"))
            .hint("leave `promptId` out to wait for all of its work")
            .details(serde_json::json!({ "field": "promptId" }))),
    }
}

impl Core {
    /// Waits for one agent.
    pub(super) async fn wait(&self, owned: &Owned, prompt: Option<&PromptId>, until: WaitUntil) -> AgentOutcome {
        let mut views = owned.live.views();
        loop {
            let answer = over(&views.borrow_and_update(), prompt, until);
            if let Some(answer) = answer {
                return answer;
            }
            if views.changed().await.is_err() {
                // The agent's owner has left: the daemon stops, and whoever waits asks again when it is back.
                return std::future::pending().await;
            }
        }
    }

    /// Waits for several agents: until all are there, or any one, or one asks for permission.
    async fn wait_for_several(&self, agents: &[Arc<Owned>], request: &WaitForAgent) -> AgentOutcome {
        let watcher = self.watchers.join();
        loop {
            let answers: Vec<_> = agents.iter().map(|owned| over(&owned.live.view(), None, request.until)).collect();
            let decided = match request.mode {
                WaitMode::Any => answers.iter().flatten().next(),
                WaitMode::All => {
                    let asking =
                        answers.iter().flatten().find(|answer| answer.outcome == Some(WaitOutcome::Permission));
                    let all = answers.iter().all(Option::is_some);
                    let bad = || answers.iter().flatten().find(|answer| answer.outcome != Some(WaitOutcome::Completed));
                    asking.or_else(|| bad().or_else(|| answers.iter().flatten().next()).filter(|_| all))
                }
            };
            if let Some(decided) = decided {
                let agents = agents.iter().map(|owned| owned.live.view().agent.clone()).collect();
                return AgentOutcome { agents, ..decided.clone() };
            }
            watcher.rang().await;
        }
    }
}
