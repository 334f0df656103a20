//! When agents that wait for each other stand still.

use std::collections::BTreeSet;

use paseo_sdk::catalogue::WaitMode;
use paseo_sdk::machine::standstill::{Wait, chain};
use paseo_sdk::model::AgentId;
use proptest::collection::vec;
use proptest::prelude::*;

fn agent(number: u8) -> AgentId {
    format!("a{number}").parse().expect("an id")
}

fn wait((waiter, targets, any): (u8, Vec<u8>, bool)) -> Wait {
    let mode = if any { WaitMode::Any } else { WaitMode::All };
    Wait { waiter: agent(waiter), targets: targets.into_iter().map(agent).collect(), mode }
}

/// Lets agents finish, one after the other, and returns whether all of them do at last: each one does whose waits can end.
fn all_finish(waits: &[Wait]) -> bool {
    let mut finished: BTreeSet<AgentId> = BTreeSet::new();
    let everybody: BTreeSet<AgentId> = (0..6).map(agent).collect();
    loop {
        let over = |wait: &&Wait| match wait.mode {
            WaitMode::All => wait.targets.iter().all(|target| finished.contains(target)),
            WaitMode::Any => wait.targets.iter().any(|target| finished.contains(target)),
        };
        let held_up: BTreeSet<_> = waits.iter().filter(|wait| !over(wait)).map(|wait| wait.waiter.clone()).collect();
        let now: BTreeSet<_> = everybody.difference(&held_up).cloned().collect();
        if now.len() == finished.len() {
            return now.len() == everybody.len();
        }
        finished = now;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_waits_that_would_never_end_are_refused(
        wanted in vec((0..6u8, vec(0..6u8, 1..4), any::<bool>()).prop_map(wait), 0..14)
    ) {
        let mut entered: Vec<Wait> = Vec::new();
        for new in wanted {
            let with_it: Vec<Wait> = entered.iter().chain([&new]).cloned().collect();
            match chain(&entered, &new) {
                None => {
                    prop_assert!(all_finish(&with_it), "{new:?} would never end beside {entered:?}");
                    entered = with_it;
                }
                Some(chain) => {
                    prop_assert!(!all_finish(&with_it), "{new:?} ends beside {entered:?}");
                    // It can be followed: from the new wait, over waits that are there, back to whoever would wait.
                    prop_assert!(new.targets.contains(&chain[0]));
                    prop_assert_eq!(chain.last(), Some(&new.waiter));
                    for pair in chain.windows(2) {
                        let waits = |wait: &Wait| wait.waiter == pair[0] && wait.targets.contains(&pair[1]);
                        prop_assert!(with_it.iter().any(waits), "{:?} in {:?}", pair, with_it);
                    }
                }
            }
        }
    }
}

#[test]
fn whoever_joins_a_standstill_is_told_where_it_is() {
    let ring = [wait((1, vec![2], false)), wait((2, vec![1], false))];
    assert_eq!(chain(&ring, &wait((0, vec![1], false))), Some(vec![agent(1), agent(2), agent(1)]));
    assert_eq!(chain(&ring, &wait((0, vec![3, 1], true))), None);
}
