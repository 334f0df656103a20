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
        let calling = self.calling(&caller)?;
        let awaited = Arc::new(self.awaited(&request)?);
        let Some(timeout) = request.timeout else {
            let _ticket = self.standstill.enter(calling.as_ref(), &awaited).map_err(|error| awaited.explain(error))?;
            return self.wait_for(&caller, &awaited).await;
        };
        // Whatever it is for, it ends.
        let timeout = std::time::Duration::from_millis(timeout.milliseconds.unsigned_abs());
        match tokio::time::timeout(timeout, self.wait(&awaited)).await {
            Ok(answer) => self.answered(&caller, &awaited, answer).await,
            Err(_) => Ok(AgentOutcome { outcome: Some(WaitOutcome::TimedOut), ..awaited.as_it_is() }),
        }
    }
}

/// What a wait is for.
pub(super) struct Awaited {
    who: Who,
    until: WaitUntil,
}

enum Who {
    /// One agent, or only a prompt of it.
    One(Arc<Owned>, Option<PromptId>),
    /// Several agents: all of them, or any one.
    Several(Vec<Arc<Owned>>, WaitMode),
}

impl Awaited {
    /// The end of a prompt, or that it needs somebody.
    pub(super) fn prompt(owned: &Arc<Owned>, prompt: &PromptId) -> Awaited {
        Awaited { who: Who::One(owned.clone(), Some(prompt.clone())), until: WaitUntil::Attention }
    }

    /// Returns the answer; nothing while the wait goes on.
    pub(super) fn answer(&self) -> Option<AgentOutcome> {
        let (agents, mode) = match &self.who {
            Who::One(owned, prompt) => return over(&owned.live.view(), prompt.as_ref(), self.until),
            Who::Several(agents, mode) => (agents, mode),
        };
        let answers: Vec<_> = agents.iter().map(|owned| over(&owned.live.view(), None, self.until)).collect();
        let decided = match mode {
            WaitMode::Any => answers.iter().flatten().next(),
            WaitMode::All => {
                let asking = answers.iter().flatten().find(|answer| answer.outcome == Some(WaitOutcome::Permission));
                let all = answers.iter().all(Option::is_some);
                let bad = || answers.iter().flatten().find(|answer| answer.outcome != Some(WaitOutcome::Completed));
                asking.or_else(|| bad().or_else(|| answers.iter().flatten().next()).filter(|_| all))
            }
        };
        let agents = || agents.iter().map(|owned| owned.live.view().agent.clone()).collect();
        decided.map(|decided| AgentOutcome { agents: agents(), ..decided.clone() })
    }

    /// Returns where those who are waited for stand.
    pub(super) fn as_it_is(&self) -> AgentOutcome {
        match &self.who {
            Who::One(owned, prompt) => as_it_is(&owned.live.view().agent, prompt.as_ref()),
            Who::Several(agents, _) => {
                let agents: Vec<_> = agents.iter().map(|owned| owned.live.view().agent.clone()).collect();
                AgentOutcome { agents: agents.clone(), ..as_it_is(&agents[0], None) }
            }
        }
    }

    pub(super) fn agents(&self) -> &[Arc<Owned>] {
        match &self.who {
            Who::One(owned, _) => std::slice::from_ref(owned),
            Who::Several(agents, _) => agents,
        }
    }

    pub(super) fn mode(&self) -> WaitMode {
        match &self.who {
            Who::One(..) => WaitMode::All,
            Who::Several(_, mode) => *mode,
        }
    }

    /// Adds to a refusal that the prompt which would be waited for is there all the same.
    fn explain(&self, error: ApiError) -> ApiError {
        let Who::One(owned, Some(prompt)) = &self.who else { return error };
        let view = owned.live.view();
        match view.agent.queued.contains(prompt) || view.told.contains(prompt) {
            true => {
                let message = format!("{}; prompt {prompt} is accepted and stays queued", error.message);
                ApiError { message, ..error }
            }
            false => error,
        }
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
    /// Finds what a request wants to wait for.
    fn awaited(&self, request: &WaitForAgent) -> Result<Awaited, ApiError> {
        let who = match (&request.agent_id, request.agent_ids.as_slice()) {
            (Some(agent), []) => {
                let owned = self.agents.find(agent)?;
                if let Some(prompt) = &request.prompt_id {
                    known_prompt(&owned.live, prompt)?;
                }
                Who::One(owned, request.prompt_id.clone())
            }
            (None, agents @ [_, ..]) => {
                if request.prompt_id.is_some() {
                    return Err(ApiError::invalid("promptId", "goes with `agentId`, not with `agentIds`"));
                }
                let agents = agents.iter().map(|agent| self.agents.find(agent)).collect::<Result<Vec<_>, _>>()?;
                Who::Several(agents, request.mode)
            }
            (Some(_), _) => return Err(ApiError::invalid("agentIds", "goes without `agentId`: give one of them")),
            (None, []) => return Err(ApiError::invalid("agentId", "is needed, or `agentIds`")),
        };
        Ok(Awaited { who, until: request.until })
    }

    /// Waits until there is an answer, which a caller then knows.
    pub(super) async fn wait_for(&self, caller: &Caller, awaited: &Awaited) -> Result<AgentOutcome, ApiError> {
        let answer = self.wait(awaited).await;
        self.answered(caller, awaited, answer).await
    }

    /// Whoever is told by the answer of a wait is not told by a report.
    async fn answered(
        &self,
        caller: &Caller,
        awaited: &Awaited,
        answer: AgentOutcome,
    ) -> Result<AgentOutcome, ApiError> {
        match &awaited.who {
            Who::One(owned, _) => self.witness(caller, owned, &answer).await?,
            Who::Several(agents, _) => {
                for owned in agents {
                    self.witness_state(caller, owned).await?;
                }
            }
        }
        Ok(answer)
    }

    /// Waits until there is an answer.
    async fn wait(&self, awaited: &Awaited) -> AgentOutcome {
        if let Who::One(owned, _) = &awaited.who {
            let mut views = owned.live.views();
            loop {
                views.mark_unchanged();
                if let Some(answer) = awaited.answer() {
                    return answer;
                }
                if views.changed().await.is_err() {
                    // The agent's owner has left: the daemon stops, and whoever waits asks again when it is back.
                    return std::future::pending().await;
                }
            }
        }
        let watcher = self.watchers.join();
        loop {
            if let Some(answer) = awaited.answer() {
                return answer;
            }
            watcher.rang().await;
        }
    }
}
