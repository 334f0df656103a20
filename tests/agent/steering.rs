//! Prompts that are said into a running turn, and prompts that a process gives back.

use paseo_sdk::catalogue::WhenBusy;
use paseo_sdk::machine::agent::{Input, LEAVE_GRACE};
use paseo_sdk::machine::turn::INTERRUPT_GRACE;
use paseo_sdk::model::{Mode, Status, WaitOutcome};

use super::world::World;
use super::{accept, give, pass, running, says, settle, status, talking, tell, told, waited};

fn steer(world: &mut World, id: &str, text: &str) {
    assert_eq!(tell(world, give(id, text, WhenBusy::Steer)), Ok(()));
    settle(world);
}

fn restart(world: &mut World) {
    world.die();
    world.start().expect("nothing kills it");
    settle(world);
}

/// An agent whose first process has had a turn and left, and whose second one is to go on with its session and has been
/// told `p2`.
fn resumed() -> World {
    let mut world = running();
    says(&mut world, &["session s1", "end"]);
    assert_eq!(tell(&mut world, Input::Dismiss), Ok(()));
    world.act(|_| super::Act::Exit(0));
    settle(&mut world);
    accept(&mut world, "p2", "two");
    settle(&mut world);
    assert_eq!(world.runs[&2].resume.as_deref(), Some("s1"));
    assert_eq!(told(&world), ["prompt.p1", "prompt.p2"]);
    world
}

fn ended(world: &World, id: &str) -> Option<WaitOutcome> {
    waited(world, id).map(|(outcome, _)| outcome)
}

fn times(world: &World, line: &str) -> usize {
    world.story().iter().filter(|told| *told == line).count()
}

#[test]
fn a_prompt_that_is_said_into_a_turn_is_told_at_once_joins_it_and_ends_with_it() {
    let mut world = running();
    accept(&mut world, "p2", "two");
    steer(&mut world, "p3", "three");
    assert_eq!(told(&world), ["prompt.p1", "prompt.p3"], "the one that waits is not told");
    says(&mut world, &["ack prompt.p3", "join prompt.p3"]);
    assert_eq!(waited(&world, "p3"), None);
    for again in [false, true] {
        if again {
            restart(&mut world);
        }
        assert_eq!(waited(&world, "p3"), None);
    }
    says(&mut world, &["end"]);
    assert_eq!(waited(&world, "p1"), Some((WaitOutcome::Completed, None)));
    assert_eq!(waited(&world, "p3"), Some((WaitOutcome::Completed, None)));
    let view = world.view();
    assert_eq!(view.finished.iter().map(|end| end.turn_id.as_str()).collect::<Vec<_>>(), ["p1", "p1"]);
    settle(&mut world);
    assert_eq!(told(&world), ["prompt.p1", "prompt.p3", "prompt.p2"]);
    let story = world.story();
    assert_eq!(story[..4], ["p1: started", "p1: user: one", "p1: user: three", "p1: ended completed"]);
}

#[test]
fn a_prompt_that_joined_ends_with_its_process() {
    let mut world = running();
    steer(&mut world, "p2", "two");
    says(&mut world, &["join prompt.p2"]);
    world.lose_shim();
    settle(&mut world);
    let lost = Some((WaitOutcome::Interrupted, Some("its process was lost".to_owned())));
    assert_eq!((waited(&world, "p1"), waited(&world, "p2")), (lost.clone(), lost));
    assert_eq!(told(&world), ["prompt.p1", "prompt.p2"]);
}

#[test]
fn an_agent_is_saved_when_a_turn_has_ended_whose_joined_prompt_nobody_acknowledged() {
    let mut world = running();
    steer(&mut world, "p2", "two");
    says(&mut world, &["join prompt.p2", "end"]);
    assert_eq!(world.disk.memory.progress.finished.len(), 2);
    assert_eq!(world.disk.outbox[..], []);
}

#[test]
fn a_prompt_that_did_not_join_has_a_turn_of_its_own() {
    let mut world = running();
    steer(&mut world, "p2", "two");
    says(&mut world, &["end"]);
    assert_eq!(ended(&world, "p1"), Some(WaitOutcome::Completed));
    assert_eq!(waited(&world, "p2"), None);
    assert_eq!(status(&world), Status::Running);
    says(&mut world, &["start prompt.p2", "end"]);
    assert_eq!(ended(&world, "p2"), Some(WaitOutcome::Completed));
    assert_eq!(
        world.story(),
        ["p1: started", "p1: user: one", "p1: user: two", "p1: ended completed", "p2: started", "p2: ended completed",]
    );
}

#[test]
fn a_prompt_that_was_told_before_a_turn_nobody_asked_for_and_joins_that_goes_on_in_its_own() {
    let mut world = talking();
    accept(&mut world, "p1", "one");
    settle(&mut world);
    says(&mut world, &["start", "join prompt.p1", "end"]);
    assert_eq!(ended(&world, "p1"), Some(WaitOutcome::Completed));
    assert_eq!(status(&world), Status::Idle);
    assert_eq!(times(&world, "p1: started"), 1);
    assert_eq!(times(&world, "p1: ended completed"), 1);
}

#[test]
fn a_prompt_that_was_dropped_is_finished_as_interrupted() {
    let mut world = running();
    steer(&mut world, "p2", "two");
    assert_eq!(tell(&mut world, Input::Cancel), Ok(()));
    settle(&mut world);
    says(&mut world, &["drop prompt.p2", "end interrupted"]);
    let reason = "it was taken back before the agent read it".to_owned();
    assert_eq!(waited(&world, "p2"), Some((WaitOutcome::Interrupted, Some(reason))));
    assert_eq!(ended(&world, "p1"), Some(WaitOutcome::Interrupted));
    assert_eq!(status(&world), Status::Interrupted);
    assert_eq!(world.disk.outbox[..], []);
    restart(&mut world);
    assert_eq!(ended(&world, "p2"), Some(WaitOutcome::Interrupted));
    assert_eq!(told(&world), ["prompt.p1", "prompt.p2", "interrupt.p1", "interrupt.p2"]);
}

#[test]
fn a_cancel_stops_the_turn_of_a_prompt_that_was_told_and_did_not_join_too() {
    let mut world = running();
    steer(&mut world, "p2", "two");
    assert_eq!(tell(&mut world, Input::Cancel), Ok(()));
    settle(&mut world);
    world.now = world.now.plus(INTERRUPT_GRACE - 1);
    says(&mut world, &["end interrupted", "start prompt.p2"]);
    restart(&mut world);
    pass(&mut world, INTERRUPT_GRACE - 1);
    assert_eq!(waited(&world, "p2"), None, "it has as long as any other");
    pass(&mut world, 1);
    settle(&mut world);
    assert_eq!(ended(&world, "p2"), Some(WaitOutcome::Interrupted));
    assert_eq!(told(&world), ["prompt.p1", "prompt.p2", "interrupt.p1", "interrupt.p2"]);
}

#[test]
fn a_prompt_that_is_dropped_when_its_turn_has_begun_ends_that() {
    let mut world = running();
    steer(&mut world, "p2", "two");
    assert_eq!(tell(&mut world, Input::Cancel), Ok(()));
    settle(&mut world);
    says(&mut world, &["end interrupted"]);
    says(&mut world, &["drop prompt.p2"]);
    assert_eq!(ended(&world, "p2"), Some(WaitOutcome::Interrupted));
    assert_eq!(status(&world), Status::Interrupted);
    let ends = world.story().iter().filter(|line| line.starts_with("p2: ended interrupted")).count();
    assert_eq!((times(&world, "p2: started"), ends), (1, 1));
}

#[test]
fn a_prompt_that_is_dropped_while_the_turn_that_came_first_runs_ends_and_that_goes_on() {
    let mut world = talking();
    accept(&mut world, "p1", "one");
    settle(&mut world);
    says(&mut world, &["start", "drop prompt.p1"]);
    assert_eq!(ended(&world, "p1"), Some(WaitOutcome::Interrupted));
    assert_eq!(status(&world), Status::Running);
    says(&mut world, &["end"]);
    assert_eq!(status(&world), Status::Idle);
}

#[test]
fn a_prompt_that_could_be_said_into_a_turn_is_one_like_any_other_when_none_runs() {
    let mut world = talking();
    steer(&mut world, "p1", "one");
    says(&mut world, &["start prompt.p1", "end"]);
    steer(&mut world, "p2", "two");
    says(&mut world, &["start prompt.p2", "end"]);
    assert_eq!(
        (ended(&world, "p1"), ended(&world, "p2")),
        (Some(WaitOutcome::Completed), Some(WaitOutcome::Completed))
    );
    assert_eq!(world.asked, ["launch 1", "tell prompt.p1", "tell prompt.p2"]);
}

#[test]
fn prompts_that_are_said_into_a_turn_are_told_once_whenever_the_daemon_dies() {
    for fuse in 0..6 {
        for luck in 0..3 {
            let mut world = running();
            world.luck = luck;
            world.fuse = Some(fuse);
            for id in ["p2", "p3"] {
                if world.daemon.is_none() || world.tell(give(id, id, WhenBusy::Steer)).is_err() {
                    world.start().expect("nothing kills it");
                    assert_eq!(tell(&mut world, give(id, id, WhenBusy::Steer)), Ok(()));
                }
            }
            world.fuse = None;
            settle(&mut world);
            assert_eq!(told(&world), ["prompt.p1", "prompt.p2", "prompt.p3"], "after {fuse} outputs");
        }
    }
}

#[test]
fn prompts_that_were_stopped_on_their_way_into_a_turn_are_not_told_after_a_restart() {
    let mut world = running();
    for id in ["p2", "p3"] {
        assert_eq!(tell(&mut world, give(id, id, WhenBusy::Steer)), Ok(()));
    }
    assert_eq!(tell(&mut world, Input::Cancel), Ok(()));
    // Nothing of what was written to the shim got there.
    world.luck = 0;
    restart(&mut world);
    assert_eq!(told(&world), ["prompt.p1", "interrupt.p1", "interrupt.p2"]);
    let ends = (ended(&world, "p2"), ended(&world, "p3"));
    assert_eq!(ends, (Some(WaitOutcome::Interrupted), Some(WaitOutcome::Interrupted)));
}

#[test]
fn a_session_that_was_forgotten_is_not_resumed_and_its_prompt_is_told_once_more() {
    let mut world = resumed();
    says(&mut world, &["forget prompt.p2"]);
    assert_eq!(waited(&world, "p2"), None);
    assert_eq!(world.asked.last().map(String::as_str), Some("close"), "nobody waits until it leaves by itself");
    world.act(|_| super::Act::Exit(1));
    settle(&mut world);
    assert_eq!(world.runs[&3].resume, None);
    assert_eq!(told(&world), ["prompt.p1", "prompt.p2", "prompt.p2"]);
    restart(&mut world);
    says(&mut world, &["start prompt.p2", "end"]);
    assert_eq!(ended(&world, "p2"), Some(WaitOutcome::Completed));
    assert_eq!((times(&world, "p2: started"), times(&world, "p2: user: two")), (1, 1));
    assert_eq!(times(&world, "p2: ended completed"), 1);
}

#[test]
fn a_process_that_has_forgotten_and_does_not_leave_is_ended() {
    let mut world = resumed();
    says(&mut world, &["forget prompt.p2"]);
    pass(&mut world, LEAVE_GRACE);
    let stop = "stop: it did not leave when its input was closed";
    assert!(world.asked.contains(&stop.to_owned()));
    settle(&mut world);
    assert_eq!(told(&world), ["prompt.p1", "prompt.p2", "prompt.p2"]);
}

#[test]
fn a_process_that_has_forgotten_is_told_to_leave_after_a_restart_too() {
    let mut world = resumed();
    world.act(|_| super::Act::Say(vec!["forget prompt.p2".to_owned()]));
    world.fuse = Some(0);
    assert!(world.hear().is_err());
    world.start().expect("nothing kills it");
    settle(&mut world);
    assert_eq!(world.asked.last().map(String::as_str), Some("close"));
    world.act(|_| super::Act::Exit(1));
    settle(&mut world);
    assert_eq!(told(&world), ["prompt.p1", "prompt.p2", "prompt.p2"]);
}

#[test]
fn nothing_waits_after_a_cancel_when_a_session_was_forgotten() {
    for input in [Input::Cancel, Input::Archive] {
        for before in [true, false] {
            let mut world = resumed();
            if before {
                assert_eq!(tell(&mut world, input.clone()), Ok(()));
            }
            says(&mut world, &["forget prompt.p2"]);
            if !before {
                assert_eq!(tell(&mut world, input.clone()), Ok(()));
            }
            world.act(|_| super::Act::Exit(1));
            settle(&mut world);
            restart(&mut world);
            assert_eq!(ended(&world, "p2"), Some(WaitOutcome::Interrupted));
            assert_eq!(world.runs.len(), 2, "nothing is started for it");
            assert_eq!(world.view().agent.queued, []);
            assert_eq!((times(&world, "p2: started"), times(&world, "p2: user: two")), (1, 1));
            let ends = world.story().iter().filter(|line| line.starts_with("p2: ended")).count();
            assert_eq!(ends, 1, "{:#?}", world.story());
        }
    }
}

#[test]
fn every_prompt_that_was_told_to_a_process_that_has_forgotten_is_told_to_the_next_one() {
    let mut world = resumed();
    steer(&mut world, "p3", "three");
    says(&mut world, &["forget prompt.p2", "forget prompt.p3"]);
    world.act(|_| super::Act::Exit(1));
    settle(&mut world);
    assert_eq!(told(&world), ["prompt.p1", "prompt.p2", "prompt.p3", "prompt.p2"]);
    says(&mut world, &["start prompt.p2", "end"]);
    assert_eq!(told(&world).len(), 5);
    says(&mut world, &["start prompt.p3", "end"]);
    for (id, text) in [("p2", "two"), ("p3", "three")] {
        assert_eq!(ended(&world, id), Some(WaitOutcome::Completed));
        assert_eq!(times(&world, &format!("{id}: started")), 1);
        assert_eq!(times(&world, &format!("{id}: ended completed")), 1);
        let said = world.story().iter().filter(|line| line.ends_with(&format!("user: {text}"))).count();
        assert_eq!(said, 1);
    }
}

#[test]
fn a_prompt_that_a_process_was_told_after_it_has_forgotten_ends_with_it() {
    let mut world = resumed();
    steer(&mut world, "p3", "three");
    says(&mut world, &["forget prompt.p2"]);
    world.act(|_| super::Act::Exit(1));
    settle(&mut world);
    assert_eq!(ended(&world, "p3"), Some(WaitOutcome::Error));
    says(&mut world, &["start prompt.p2", "end"]);
    assert_eq!(ended(&world, "p2"), Some(WaitOutcome::Completed));
    assert_eq!(status(&world), Status::Idle);
}

#[test]
fn what_a_process_is_to_be_told_is_not_lost_when_the_end_of_the_one_before_is_read_again() {
    let mut world = resumed();
    says(&mut world, &["forget prompt.p2"]);
    world.act(|_| super::Act::Exit(1));
    settle(&mut world);
    says(&mut world, &["start prompt.p2", "ask q1"]);
    assert_eq!(tell(&mut world, super::allow("q1")), Ok(()));
    assert_eq!(tell(&mut world, Input::SetMode(Mode::Plan)), Ok(()));
    assert_eq!(tell(&mut world, Input::Cancel), Ok(()));
    // Nothing of what was written to the shim got there.
    world.luck = 0;
    restart(&mut world);
    assert_eq!(told(&world)[3..], ["answer.3.q1", "mode.1", "interrupt.p2"]);
}

#[test]
fn nothing_is_told_to_a_process_that_has_forgotten() {
    let mut world = resumed();
    says(&mut world, &["forget prompt.p2"]);
    steer(&mut world, "p3", "three");
    accept(&mut world, "p4", "four");
    settle(&mut world);
    assert_eq!(told(&world), ["prompt.p1", "prompt.p2"]);
    world.act(|_| super::Act::Exit(1));
    settle(&mut world);
    assert_eq!(told(&world)[2..], ["prompt.p2"]);
}
