//! The courier: carries reports from the agents that make them to those that they are for.
//!
//! A report leaves the file of the one when it is in the file of the other, so that none is lost; and both know its key,
//! so that none arrives twice, whichever instant the daemon dies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use paseo_sdk::catalogue::AgentOutcome;
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::agent::{Input, as_it_is, keys};
use paseo_sdk::model::AgentId;
use paseo_sdk::operation::Caller;
use tokio::time::Instant;

use super::registry::{Owned, Registry};
use crate::Core;
use crate::fault::{Point, reached};
use crate::live::Watchers;

/// Carries reports until the daemon ends.
pub(crate) async fn run(agents: Arc<Registry>, watchers: Arc<Watchers>) {
    let watcher = watchers.join();
    let mut due: BTreeSet<AgentId> = agents.all().iter().map(|owned| owned.live.id.clone()).collect();
    // Those whose reports could not be carried, and when they are tried again.
    let mut later: BTreeMap<AgentId, Instant> = BTreeMap::new();
    loop {
        for id in due {
            // What changes of an agent meanwhile makes no room where its reports go.
            let waits = later.get(&id).is_some_and(|again| *again > Instant::now());
            let Some(owned) = agents.get(&id).filter(|_| !waits) else { continue };
            match deliver(&agents, &owned).await {
                Ok(()) => drop(later.remove(&id)),
                Err(error) => {
                    if later.insert(id.clone(), Instant::now() + RETRY).is_none() {
                        tracing::warn!(agent = %id, %error, "a report is carried later");
                    }
                }
            }
        }
        later.retain(|id, _| agents.get(id).is_some());
        let rang = match later.values().min() {
            None => Ok(watcher.rang().await),
            Some(next) => tokio::time::timeout_at(*next, watcher.rang()).await,
        };
        due = rang.unwrap_or_default().into_iter().chain(later.keys().cloned()).collect();
    }
}

/// Brings the reports of an agent to where they go, and lets it forget those that have arrived.
async fn deliver(agents: &Registry, owned: &Owned) -> Result<(), ApiError> {
    let (arrived, carried) = carry(agents, owned).await;
    if !arrived.is_empty() {
        reached(Point::ReportArrived);
    }
    for (to, keys) in arrived {
        owned.tell(Input::Reported(to, keys)).await?;
    }
    carried
}

/// Brings the reports of an agent to where they go; returns the keys of those that have arrived, by where, and why not all
/// have.
pub(super) async fn carry(agents: &Registry, owned: &Owned) -> (BTreeMap<AgentId, Vec<String>>, Result<(), ApiError>) {
    let outgoing = owned.live.view().reports.outgoing.clone();
    let (mut arrived, mut carried) = (BTreeMap::<_, Vec<_>>::new(), Ok(()));
    for outgoing in outgoing {
        let (to, key) = (outgoing.to.clone(), outgoing.report.key.clone());
        match agents.get(&to) {
            Some(to) => match to.tell(Input::Report(outgoing.report)).await {
                // Whoever was deleted meanwhile is told nothing.
                Err(error) if error.code == Code::NotFound => {}
                // Others may take theirs all the same.
                Err(error) => {
                    carried = Err(error);
                    continue;
                }
                Ok(()) => {}
            },
            None => tracing::debug!(agent = %to, "a report comes too late"),
        }
        arrived.entry(to).or_default().push(key);
    }
    (arrived, carried)
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
    pub(crate) async fn witness_state(&self, caller: &Caller, owned: &Owned) -> Result<(), ApiError> {
        let answer = as_it_is(&owned.live.view().agent, None);
        self.witness(caller, owned, &answer).await
    }
}

/// How long until a report that could not be carried is tried again.
const RETRY: Duration = Duration::from_secs(1);
