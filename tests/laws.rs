//! The laws of machines, and what else holds for any bytes: the very functions that a fuzzer runs.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use paseo_fuzz::{Broken, Step, laws};
use paseo_sdk::machine::Machine;
use paseo_sdk::model::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;

/// Gives `check` this many times up to `longest` random bytes. A failure prints the bytes.
fn for_any_bytes(cases: u32, longest: usize, check: impl Fn(&[u8])) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(data in vec(any::<u8>(), 0..longest).prop_map(Data))| check(&data.0));
}

/// Bytes, shown on one line as they are written in Rust.
struct Data(Vec<u8>);

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

#[test]
fn every_machine_keeps_the_laws() {
    for_any_bytes(3_000, 600, paseo_fuzz::machines);
}

#[test]
fn every_session_makes_one_bounded_thing_of_any_journal() {
    for_any_bytes(1_000, 1_500, paseo_fuzz::session);
}

#[test]
fn a_session_holds_no_more_of_a_long_journal_than_of_a_short_one() {
    paseo_fuzz::long_journals();
}

#[test]
fn the_slots_of_a_cadence_are_the_same_forwards_backwards_and_counted() {
    for_any_bytes(2_000, 40, paseo_fuzz::cadence);
}

#[test]
fn any_text_is_a_message_or_is_refused_with_a_reply() {
    for_any_bytes(1_000, 60, paseo_fuzz::frames);
    let messages = [
        r#"{"jsonrpc":"2.0","id":1,"method":"list_agents"}"#,
        r#"{"jsonrpc":"2.0","id":"x","method":"list_agents","params":[1,{"a":null}]}"#,
        r#"{"jsonrpc":"2.0","method":"agent_changed","params":{}}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"list_agents"}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":null}"#,
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32000,"message":"no","data":{"code":"new_one","message":"no"}}}"#,
        r#"{"jsonrpc":"2.0","id":7,"error":"no"}"#,
        r#"[{"jsonrpc":"2.0","id":1,"method":"list_agents"}]"#,
    ];
    // Every one of them cut short anywhere, and with any one character replaced.
    for message in messages {
        paseo_fuzz::frames(message.as_bytes());
        for at in 0..message.len() {
            paseo_fuzz::frames(&message.as_bytes()[..at]);
            for other in [b'0', b'"', b'{', b']', b' ', 0xff] {
                let mut message = message.as_bytes().to_vec();
                message[at] = other;
                paseo_fuzz::frames(&message);
            }
        }
    }
}

#[test]
fn any_arguments_are_read_or_refused_with_a_sentence() {
    for_any_bytes(2_000, 80, paseo_fuzz::params);
}

/// A machine that breaks one law, if it is told to.
#[derive(Clone, Debug, Default)]
struct Outlaw {
    breaks: Option<Law>,
    told: u32,
    due: Option<Timestamp>,
    wants: bool,
    /// Clones share it, as they would share a clock or a random number.
    shared: Rc<Cell<u32>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Law {
    RefusedChangesNothing,
    NothingIsDueAfterwards,
    SameInputsSameOutputs,
    PollEnds,
}

impl Machine for Outlaw {
    type Input = bool;
    type Output = u32;
    type Refusal = &'static str;

    fn handle(&mut self, now: Timestamp, welcome: bool) -> Result<(), &'static str> {
        if welcome || self.breaks == Some(Law::RefusedChangesNothing) {
            self.told += 1;
        }
        if !welcome {
            return Err("not welcome");
        }
        self.due = Some(now.plus(10));
        self.wants = true;
        Ok(())
    }

    fn poll(&mut self) -> Option<u32> {
        let wanted = self.wants;
        self.wants = wanted && self.breaks == Some(Law::PollEnds);
        match self.breaks {
            Some(Law::SameInputsSameOutputs) if wanted => {
                self.shared.set(self.shared.get() + 1);
                Some(self.shared.get())
            }
            _ => wanted.then_some(self.told),
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.due
    }

    fn expire(&mut self, now: Timestamp) {
        if self.due.is_some_and(|due| due <= now) && self.breaks != Some(Law::NothingIsDueAfterwards) {
            self.due = None;
        }
    }
}

fn try_outlaw(breaks: Option<Law>) -> Result<(), Broken> {
    let script = vec![(0, Step::Tell(true)), (1, Step::Poll), (0, Step::Tell(false)), (9, Step::Expire)];
    laws(Outlaw { breaks, ..Outlaw::default() }, script)
}

#[test]
fn a_machine_that_keeps_the_laws_is_left_alone() {
    assert_eq!(try_outlaw(None), Ok(()));
}

#[test]
fn a_machine_that_changes_when_it_refuses_is_found_out() {
    assert!(matches!(try_outlaw(Some(Law::RefusedChangesNothing)), Err(Broken::RefusedAndChanged { .. })));
}

#[test]
fn a_machine_with_something_due_after_it_was_told_the_time_is_found_out() {
    assert!(matches!(try_outlaw(Some(Law::NothingIsDueAfterwards)), Err(Broken::StillDue { .. })));
}

#[test]
fn a_machine_that_does_two_things_after_the_same_inputs_is_found_out() {
    assert!(matches!(try_outlaw(Some(Law::SameInputsSameOutputs)), Err(Broken::Undecided { .. })));
}

#[test]
fn a_machine_that_never_comes_to_an_end_is_found_out() {
    assert!(matches!(try_outlaw(Some(Law::PollEnds)), Err(Broken::Endless { .. })));
}
