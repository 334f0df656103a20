//! Whether a wait between agents could ever end: agents that wait for each other stand still.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::catalogue::WaitMode;
use crate::model::AgentId;

/// A wait that an agent's turn is in the middle of: the turn goes on when the wait has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Who waits.
    pub waiter: AgentId,
    /// For whose work.
    pub targets: Vec<AgentId>,
    /// Whether for all of them, or for any one.
    pub mode: WaitMode,
}

/// Returns why `new` would never end beside the waits that there are; none when it can end.
///
/// It would not when all whom it needs stand still. An agent stands still when one of its waits does: one for all when one
/// of its targets does, one for any when all of them do. What is returned leads from a target of `new` over those that each
/// one waits for, as short as possible, and ends with `new`'s own waiter. Where the others stand still already without it,
/// it ends with the agent that is met again.
#[must_use]
pub fn chain(waits: &[Wait], new: &Wait) -> Option<Vec<AgentId>> {
    let waits: Vec<&Wait> = waits.iter().chain([new]).collect();
    let still = standing_still(&waits);
    if !never_ends(new, &still) {
        return None;
    }
    let stuck: Vec<&Wait> = waits.into_iter().filter(|wait| never_ends(wait, &still)).collect();
    let next = |agent: &AgentId| -> Vec<AgentId> {
        let waits = stuck.iter().filter(|wait| wait.waiter == *agent);
        waits.flat_map(|wait| &wait.targets).filter(|target| still.contains(*target)).cloned().collect()
    };
    let begin: Vec<AgentId> = new.targets.iter().filter(|target| still.contains(*target)).cloned().collect();
    Some(shortest(&begin, &new.waiter, next).unwrap_or_else(|| walk(&begin, next)))
}

/// Returns the agents that stand still: everybody who waits, without those of whom a wait can end, until there are no more
/// of these.
fn standing_still(waits: &[&Wait]) -> BTreeSet<AgentId> {
    let mut still: BTreeSet<AgentId> = waits.iter().map(|wait| wait.waiter.clone()).collect();
    loop {
        let waiting = waits.iter().filter(|wait| never_ends(wait, &still));
        let left: BTreeSet<AgentId> = waiting.map(|wait| wait.waiter.clone()).collect();
        if left.len() == still.len() {
            return still;
        }
        still = left;
    }
}

fn never_ends(wait: &Wait, still: &BTreeSet<AgentId>) -> bool {
    let mut targets = wait.targets.iter();
    match wait.mode {
        WaitMode::All => targets.any(|target| still.contains(target)),
        WaitMode::Any => targets.all(|target| still.contains(target)),
    }
}

/// Returns the shortest way from one of `begin` to `end`, both included.
fn shortest(begin: &[AgentId], end: &AgentId, next: impl Fn(&AgentId) -> Vec<AgentId>) -> Option<Vec<AgentId>> {
    let mut from: BTreeMap<AgentId, Option<AgentId>> = begin.iter().map(|agent| (agent.clone(), None)).collect();
    let mut ahead: VecDeque<AgentId> = begin.iter().cloned().collect();
    while let Some(agent) = ahead.pop_front() {
        if agent == *end {
            let mut way = vec![agent];
            while let Some(Some(before)) = way.last().and_then(|last| from.get(last)) {
                way.push(before.clone());
            }
            way.reverse();
            return Some(way);
        }
        for target in next(&agent) {
            if !from.contains_key(&target) {
                from.insert(target.clone(), Some(agent.clone()));
                ahead.push_back(target);
            }
        }
    }
    None
}

/// Follows the first of each until one is met again.
fn walk(begin: &[AgentId], next: impl Fn(&AgentId) -> Vec<AgentId>) -> Vec<AgentId> {
    let mut way: Vec<AgentId> = Vec::new();
    let mut ahead = begin.first().cloned();
    while let Some(agent) = ahead {
        let met = way.contains(&agent);
        way.push(agent.clone());
        ahead = next(&agent).into_iter().next().filter(|_| !met);
    }
    way
}
