//! The courier: carries reports from the agents that make them to those that they are for.
//!
//! A report leaves the file of the one when it is in the file of the other, so that none is lost; and both know its key,
//! so that none arrives twice, whichever instant the daemon dies.

use std::sync::Arc;
use std::time::Duration;

use paseo_sdk::catalogue::AgentOutcome;
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::agent::{Input, as_it_is, keys};
use paseo_sdk::model::AgentId;
use paseo_sdk::operation::Caller;

use super::registry::{Owned, Registry};
use crate::Core;
use crate::fault::{Point, reached};
use crate::live::Watchers;

/// Carries reports until the daemon ends.
pub(crate) async fn run(agents: Arc<Registry>, watchers: Arc<Watchers>) {
    let watcher = watchers.join();
    let mut due: Vec<AgentId> = agents.all().iter().map(|owned| owned.live.id.clone()).collect();
    loop {
        let mut later = Vec::new();
        for id in due {
            let Some(owned) = agents.get(&id) else { continue };
            if let Err(error) = deliver(&agents, &owned).await {
                tracing::warn!(agent = %id, %error, "a report is carried later");
                later.push(id);
            }
        }
        let rang = match later.is_empty() {
            true => Ok(watcher.rang().await),
            false => tokio::time::timeout(RETRY, watcher.rang()).await,
        };
        due = rang.unwrap_or_default().into_iter().chain(later).collect();
    }
}

/// Brings the reports of an agent to where they go.
pub(super) async fn deliver(agents: &Registry, owned: &Owned) -> Result<(), ApiError> {
    let outgoing = owned.live.view().reports.outgoing.clone();
    let mut arrived = Vec::new();
    for outgoing in outgoing {
        let key = outgoing.report.key.clone();
        match agents.get(&outgoing.to) {
            Some(to) => match to.tell(Input::Report(outgoing.report)).await {
                // Whoever was deleted meanwhile is told nothing.
                Err(error) if error.code == Code::NotFound => {}
                told => told?,
            },
            None => tracing::debug!(agent = %outgoing.to, "a report comes too late"),
        }
        arrived.push(key);
    }
    if arrived.is_empty() {
        return Ok(());
    }
    reached(Point::ReportArrived);
    owned.tell(Input::Reported(arrived)).await
}

impl Core {
    /// Takes note that an agent learns by the answer of its call what would be reported to it.
    pub(super) async fn witness(&self, caller: &Caller, owned: &Owned, answer: &AgentOutcome) -> Result<(), ApiError> {
        let Some(calling) = self.calling(caller)? else { return Ok(()) };
        // In this order: a report is at the one of them until it is at the other.
        let made = owned.live.view();
        let got = calling.live.view();
        let on_its_way = made.reports.outgoing.iter().filter(|outgoing| outgoing.to == calling.live.id);
        let due = |key: &String| {
            on_its_way
                .clone()
                .map(|outgoing| &outgoing.report)
                .chain(&got.reports.incoming)
                .any(|report| report.key == *key)
        };
        let keys: Vec<_> = keys(&made.agent, answer).into_iter().filter(due).collect();
        match keys.is_empty() {
            true => Ok(()),
            false => calling.tell(Input::Witnessed(keys)).await,
        }
    }

    /// The same for a call that answers how the agent is.
    pub(super) async fn witness_state(&self, caller: &Caller, owned: &Owned) -> Result<(), ApiError> {
        let answer = as_it_is(&owned.live.view().agent, None);
        self.witness(caller, owned, &answer).await
    }
}

/// How long until a report that could not be carried is tried again.
const RETRY: Duration = Duration::from_secs(1);
