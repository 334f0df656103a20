//! Programs that take nothing at first: what is meant for them waits, can be withdrawn, and does not wait for ever.

use paseo_sdk::catalogue::WhenBusy;
use paseo_sdk::machine::agent::{Input, LEAVE_GRACE, READY_GRACE};
use paseo_sdk::model::{Mode, Status, WaitOutcome};

use super::program::{Act, Kind};
use super::world::World;
use super::{accept, give, pass, says, settle, status, tell, told, waited};

/// An agent that was given `p1`, and whose program takes nothing yet.
fn shy() -> World {
    let mut world = World::new(Kind::Shy, Mode::Default);
    accept(&mut world, "p1", "one");
    settle(&mut world);
    assert_eq!(told(&world), Vec::<String>::new());
    world
}

fn exits(world: &mut World, code: i64) {
    world.act(|_| Act::Exit(code));
    settle(world);
}

fn waits(world: &World) {
    assert_eq!((waited(world, "p1"), told(world)), (None, Vec::new()));
}

#[test]
fn what_is_meant_for_it_is_told_in_order_when_it_is_ready() {
    let mut world = shy();
    accept(&mut world, "p2", "two");
    assert_eq!(tell(&mut world, Input::SetMode(Mode::Auto)), Ok(()));
    settle(&mut world);
    says(&mut world, &["note on_the_way"]);
    waits(&world);
    says(&mut world, &["ready"]);
    assert_eq!(told(&world), ["mode.1", "prompt.p1"], "it is in that mode when it begins");
    says(&mut world, &["start prompt.p1", "end"]);
    assert_eq!(told(&world), ["mode.1", "prompt.p1", "prompt.p2"]);
}

#[test]
fn what_is_stopped_meanwhile_is_never_told() {
    let mut world = shy();
    assert_eq!(tell(&mut world, Input::Cancel), Ok(()));
    settle(&mut world);
    says(&mut world, &["ready"]);
    assert_eq!(told(&world), Vec::<String>::new());
    assert_eq!(waited(&world, "p1").map(|(outcome, _)| outcome), Some(WaitOutcome::Interrupted));
    assert_eq!(tell(&mut world, give("p2", "two", WhenBusy::Queue)), Ok(()));
    settle(&mut world);
    assert_eq!(told(&world), ["prompt.p2"], "and nothing stops what comes after it");
}

#[test]
fn one_that_is_archived_leaves_though_it_never_was_ready() {
    let mut world = shy();
    assert_eq!(tell(&mut world, Input::Archive), Ok(()));
    pass(&mut world, LEAVE_GRACE + 1);
    settle(&mut world);
    assert_eq!((status(&world), world.view().has_process), (Status::Archived, false));
}

#[test]
fn one_that_ends_before_fails_the_prompt_and_the_next_prompt_gets_another() {
    let mut world = shy();
    accept(&mut world, "p2", "two");
    exits(&mut world, 7);
    let reason = "its process ended by itself with exit code 7, before it could be told anything".to_owned();
    assert_eq!(waited(&world, "p1"), Some((WaitOutcome::Error, Some(reason))));
    settle(&mut world);
    says(&mut world, &["ready"]);
    assert_eq!(told(&world), ["prompt.p2"]);
}

#[test]
fn one_that_never_will_be_is_ended() {
    let mut world = shy();
    pass(&mut world, READY_GRACE + 1);
    settle(&mut world);
    let (outcome, reason) = waited(&world, "p1").expect("it is over");
    assert_eq!(outcome, WaitOutcome::Error);
    assert!(reason.is_some_and(|reason| reason.contains("it could be told nothing for 5 minutes")));
    assert!(!world.view().has_process, "and no other one is started for it");
}

#[test]
fn one_that_has_lost_the_conversation_leaves_and_the_next_one_is_told() {
    let mut world = shy();
    says(&mut world, &["ready", "start prompt.p1", "session s1", "end"]);
    exits(&mut world, 0);
    accept(&mut world, "p2", "two");
    settle(&mut world);
    says(&mut world, &["forget"]);
    exits(&mut world, 0);
    settle(&mut world);
    says(&mut world, &["ready"]);
    assert_eq!(told(&world).last().map(String::as_str), Some("prompt.p2"));
    assert!(world.story().iter().any(|line| line.contains("it starts anew")), "{:#?}", world.story());
}

#[test]
fn one_that_is_of_no_use_fails_what_it_was_given_and_leaves() {
    let mut world = shy();
    says(&mut world, &["useless"]);
    assert_eq!(waited(&world, "p1"), Some((WaitOutcome::Error, Some("talk is of no use".to_owned()))));
    accept(&mut world, "p2", "two");
    settle(&mut world);
    assert_eq!(told(&world), Vec::<String>::new(), "that is for the next one");
    exits(&mut world, 0);
    settle(&mut world);
    says(&mut world, &["ready"]);
    assert_eq!(told(&world), ["prompt.p2"]);
}
