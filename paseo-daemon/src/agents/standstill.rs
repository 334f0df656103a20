//! The waits that turns of agents are in the middle of. One that would never end, because those that it is for wait for the
//! one who waits, is refused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::standstill::{Wait, chain};
use paseo_sdk::model::{Agent, AgentId, TurnId};
use serde_json::json;

use super::registry::Owned;
use super::wait::Awaited;

/// Who waits for whom.
#[derive(Default)]
pub(crate) struct Standstill {
    waits: Mutex<Waits>,
}

#[derive(Default)]
struct Waits {
    next: u64,
    open: BTreeMap<u64, Waiting>,
}

/// A wait of an agent's turn.
struct Waiting {
    waiter: Arc<Owned>,
    turn: TurnId,
    awaited: Arc<Awaited>,
}

/// The place of a wait among the others, until it is dropped.
pub(super) struct Ticket<'a> {
    standstill: &'a Standstill,
    number: u64,
}

impl Standstill {
    /// Enters a wait of `waiter`, or refuses one that would never end. A wait outside of a turn holds up nobody, and one
    /// that has its answer already is never refused.
    pub(super) fn enter(
        &self,
        waiter: Option<&Arc<Owned>>,
        awaited: &Arc<Awaited>,
    ) -> Result<Option<Ticket<'_>>, ApiError> {
        let Some(waiter) = waiter else { return Ok(None) };
        let view = waiter.live.view();
        let Some(turn) = view.agent.turn.as_ref().filter(|_| !view.stopping) else { return Ok(None) };
        let new = Waiting { waiter: waiter.clone(), turn: turn.turn_id.clone(), awaited: awaited.clone() };
        let mut waits = self.waits();
        if awaited.answer().is_none() {
            let open: Vec<Wait> = waits.open.values().filter(|wait| wait.holds()).map(Waiting::plain).collect();
            if let Some(chain) = chain(&open, &new.plain()) {
                let all = waits.open.values().flat_map(|wait| wait.awaited.agents()).chain(awaited.agents());
                let titles: BTreeMap<_, _> =
                    all.map(|owned| (owned.live.id.clone(), owned.live.view().agent.title.clone())).collect();
                let titled = |id: AgentId| {
                    let title = titles.get(&id).cloned().unwrap_or_default();
                    (id, title)
                };
                let chain: Vec<_> = chain.into_iter().map(titled).collect();
                return Err(refusal(&view.agent, &chain));
            }
        }
        let number = waits.next;
        waits.next += 1;
        waits.open.insert(number, new);
        Ok(Some(Ticket { standstill: self, number }))
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.standstill.waits().open.remove(&self.number);
    }
}

impl Waiting {
    /// Whether it still holds its turn up. The call itself may end a little later than the turn or what is waited for.
    fn holds(&self) -> bool {
        let view = self.waiter.live.view();
        let in_turn = view.agent.turn.as_ref().is_some_and(|turn| turn.turn_id == self.turn);
        in_turn && !view.stopping && self.awaited.answer().is_none()
    }

    fn plain(&self) -> Wait {
        Wait {
            waiter: self.waiter.live.id.clone(),
            targets: self.awaited.agents().iter().map(|owned| owned.live.id.clone()).collect(),
            mode: self.awaited.mode(),
        }
    }
}

/// Says what would never end, and why: `chain` leads from one who is waited for to the agent that is met again.
fn refusal(waiter: &Agent, chain: &[(AgentId, String)]) -> ApiError {
    let name = |(id, title): &(AgentId, String)| match *id == waiter.agent_id {
        true => "this agent".to_owned(),
        false => format!("agent {id} “{}”", title.chars().take(SHOWN_TITLE).collect::<String>()),
    };
    let message = match chain {
        [_] | [] => "an agent's own work ends after its wait for it, so this wait would never end".to_owned(),
        [first, rest @ ..] => {
            let rest: Vec<_> = rest.iter().map(name).collect();
            let rest = rest.join(", which waits for ");
            format!("{} waits for {rest}, so this wait would never end", name(first))
        }
    };
    let chain: Vec<_> = chain.iter().map(|(id, title)| json!({ "agentId": id, "title": title })).collect();
    ApiError::new(Code::Conflict, message)
        .hint("end your turn, and let `notifyOnFinish` tell you when the work is done; or wait with a `timeout`")
        .details(json!({ "chain": chain }))
}

/// How much of a title a refusal shows, in characters.
const SHOWN_TITLE: usize = 80;
