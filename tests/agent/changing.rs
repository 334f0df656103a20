//! What changes in the middle of an agent's life: its mode and model, its rules; and what is known of it beside its
//! turns: what was cut off, what goes on in the background, and a model that says nothing.

use std::collections::BTreeMap;

use paseo_sdk::machine::agent::{Input, LEAVE_GRACE};
use paseo_sdk::model::{Mode, Status, WaitOutcome};

use super::program::{Act, LINGER, NOTED, SILENCE};
use super::world::World;
use super::{accept, pass, running, says, settle, status, talking, tell, told, waited};

fn set(world: &mut World, mode: Mode) {
    assert_eq!(tell(world, Input::SetMode(mode)), Ok(()));
    settle(world);
}

fn set_model(world: &mut World, model: &str) {
    let update = Input::Update { title: None, labels: BTreeMap::new(), model: Some(model.to_owned()) };
    assert_eq!(tell(world, update), Ok(()));
    settle(world);
}

fn mode(world: &World) -> Mode {
    world.view().agent.mode
}

fn restart(world: &mut World) {
    world.die();
    world.start().expect("nothing kills it");
    settle(world);
}

fn exits(world: &mut World) {
    world.act(|_| Act::Exit(0));
    settle(world);
}

/// The same agent after a prompt, in the middle of its turn.
fn again(world: &mut World, id: &str) {
    accept(world, id, id);
    settle(world);
    says(world, &[&format!("start prompt.{id}")]);
}

fn last_asked(world: &World) -> Option<&str> {
    world.asked.last().map(String::as_str)
}

fn notices(world: &World) -> Vec<String> {
    world.story().into_iter().filter(|line| line.contains("notice: ")).collect()
}

#[test]
fn a_mode_that_is_set_while_nothing_runs_is_that_of_the_next_process() {
    let mut world = talking();
    set(&mut world, Mode::Plan);
    assert_eq!(mode(&world), Mode::Plan);
    restart(&mut world);
    accept(&mut world, "p1", "one");
    settle(&mut world);
    assert_eq!(world.runs[&1].spec.mode, Mode::Plan);
    assert_eq!(told(&world), ["prompt.p1"]);
}

#[test]
fn a_mode_that_is_set_while_a_turn_runs_is_told_once() {
    let mut world = running();
    set(&mut world, Mode::Plan);
    set(&mut world, Mode::Plan);
    assert_eq!(told(&world), ["prompt.p1", "mode.1"]);
    assert_eq!(mode(&world), Mode::Plan);
    restart(&mut world);
    set(&mut world, Mode::Plan);
    assert_eq!(told(&world), ["prompt.p1", "mode.1"]);
    says(&mut world, &["end"]);
    exits(&mut world);
    again(&mut world, "p2");
    assert_eq!(world.runs[&2].spec.mode, Mode::Plan);
    assert_eq!(told(&world), ["prompt.p1", "mode.1", "prompt.p2"]);
}

#[test]
fn a_mode_that_is_set_while_its_process_is_started_is_told_to_that_one_alone() {
    let mut world = talking();
    accept(&mut world, "p1", "one");
    assert_eq!(tell(&mut world, Input::SetMode(Mode::Auto)), Ok(()));
    assert_eq!(tell(&mut world, Input::SetMode(Mode::Plan)), Ok(()));
    world.launched(false, Some("no room")).expect("the daemon lives");
    set(&mut world, Mode::Auto);
    accept(&mut world, "p2", "two");
    settle(&mut world);
    assert_eq!(world.runs[&2].spec.mode, Mode::Auto);
    assert_eq!(told(&world), ["prompt.p2"]);
}

#[test]
fn a_mode_for_a_process_that_never_came_to_be_is_not_for_the_next_one() {
    let mut world = talking();
    accept(&mut world, "p1", "one");
    assert_eq!(tell(&mut world, Input::SetMode(Mode::Plan)), Ok(()));
    world.die_launching(false);
    world.start().expect("nothing kills it");
    settle(&mut world);
    assert_eq!(world.runs[&1].spec.mode, Mode::Plan);
    says(&mut world, &["start prompt.p1", "mode auto"]);
    assert_eq!(mode(&world), Mode::Auto);
}

#[test]
fn a_process_that_cannot_take_a_mode_up_leaves_when_its_turn_has_ended() {
    let mut world = running();
    accept(&mut world, "p2", "two");
    set(&mut world, Mode::FullAccess);
    assert_eq!(mode(&world), Mode::FullAccess);
    assert_eq!(notices(&world), ["p1: notice: from the next turn on it acts in mode `full-access`"]);
    assert_eq!(status(&world), Status::Running);
    restart(&mut world);
    says(&mut world, &["end"]);
    assert_eq!(last_asked(&world), Some("close"));
    assert_eq!(told(&world), ["prompt.p1"], "the prompt that waits is not for this process");
    exits(&mut world);
    assert_eq!(world.runs[&2].spec.mode, Mode::FullAccess);
    assert_eq!(told(&world), ["prompt.p1", "prompt.p2"]);
}

#[test]
fn a_process_that_cannot_take_a_mode_up_has_the_turn_of_a_prompt_that_is_on_its_way() {
    let mut world = running();
    says(&mut world, &["end"]);
    accept(&mut world, "p2", "two");
    assert_eq!(tell(&mut world, Input::SetMode(Mode::FullAccess)), Ok(()));
    settle(&mut world);
    assert_eq!(told(&world), ["prompt.p1", "prompt.p2"]);
    says(&mut world, &["start prompt.p2"]);
    assert_eq!(last_asked(&world), Some("tell mode.1"), "it is not told to leave in the middle of it");
    says(&mut world, &["end"]);
    assert_eq!(waited(&world, "p2").map(|(outcome, _)| outcome), Some(WaitOutcome::Completed));
    assert_eq!(last_asked(&world), Some("close"));
}

#[test]
fn an_idle_process_that_cannot_take_a_mode_up_leaves_at_once() {
    let mut world = running();
    says(&mut world, &["end"]);
    set(&mut world, Mode::FullAccess);
    assert_eq!(last_asked(&world), Some("close"));
    exits(&mut world);
    again(&mut world, "p2");
    assert_eq!(world.runs[&2].spec.mode, Mode::FullAccess);
}

#[test]
fn what_a_process_says_of_its_mode_before_it_was_told_another_does_not_count() {
    let mut world = running();
    assert_eq!(tell(&mut world, Input::SetMode(Mode::Plan)), Ok(()));
    // It says how it was launched, and dies before it is told.
    world.act(|_| Act::Say(vec!["mode default".to_owned()]));
    world.luck = 0;
    world.lose_shim();
    restart(&mut world);
    assert_eq!(mode(&world), Mode::Plan);
}

#[test]
fn what_a_process_says_of_its_mode_that_could_not_take_another_up_does_not_count() {
    let mut world = running();
    set(&mut world, Mode::Plan);
    set(&mut world, Mode::FullAccess);
    says(&mut world, &["mode default", "end"]);
    for _ in 0..2 {
        assert_eq!(mode(&world), Mode::FullAccess);
        restart(&mut world);
    }
    exits(&mut world);
    again(&mut world, "p2");
    assert_eq!(world.runs[&2].spec.mode, Mode::FullAccess);
    says(&mut world, &["mode auto"]);
    assert_eq!(mode(&world), Mode::Auto, "the next one can say");
}

#[test]
fn a_mode_that_a_program_changes_by_itself_counts_and_survives_a_restart() {
    let mut world = running();
    set(&mut world, Mode::Plan);
    says(&mut world, &["mode auto"]);
    for end in [false, true] {
        if end {
            says(&mut world, &["end"]);
        }
        assert_eq!(mode(&world), Mode::Auto);
        restart(&mut world);
        assert_eq!(mode(&world), Mode::Auto);
    }
    exits(&mut world);
    again(&mut world, "p2");
    assert_eq!(world.runs[&2].spec.mode, Mode::Auto);
    set(&mut world, Mode::Plan);
    assert_eq!(mode(&world), Mode::Plan);
    assert_eq!(told(&world), ["prompt.p1", "mode.1", "prompt.p2", "mode.2"]);
}

#[test]
fn a_mode_that_a_program_changes_by_itself_counts_although_the_daemon_died_while_it_saved_what_was_told() {
    for fuse in 0..8 {
        let mut world = running();
        says(&mut world, &["end"]);
        assert_eq!(tell(&mut world, Input::SetMode(Mode::Plan)), Ok(()));
        assert!(world.take(1));
        world.fuse = Some(fuse);
        while world.daemon.is_some() && world.hear().is_ok_and(|heard| heard) {}
        world.fuse = None;
        world.die();
        world.start().expect("nothing kills it");
        says(&mut world, &["mode auto"]);
        assert_eq!(mode(&world), Mode::Auto, "after {fuse} outputs");
    }
}

#[test]
fn a_mode_that_was_asked_for_is_told_whenever_the_daemon_dies() {
    for fuse in 0..6 {
        for luck in 0..3 {
            for other in [Mode::Plan, Mode::Auto] {
                let mut world = running();
                world.luck = luck;
                world.fuse = Some(fuse);
                let died = world.tell(Input::SetMode(Mode::Plan)).is_err();
                world.fuse = None;
                if died {
                    world.start().expect("nothing kills it");
                }
                // Who was not answered asks again, or thinks better of it.
                set(&mut world, other.clone());
                assert_eq!(mode(&world), other);
                assert_eq!(world.runs[&1].program.mode(), Some(&other), "after {fuse} outputs");
                says(&mut world, &["end"]);
                restart(&mut world);
                assert_eq!(mode(&world), other);
            }
        }
    }
}

#[test]
fn a_model_that_is_set_while_a_turn_runs_is_told_and_is_that_of_the_next_process() {
    let mut world = running();
    set_model(&mut world, "m2");
    set_model(&mut world, "m2");
    assert_eq!(told(&world), ["prompt.p1", "model.1"]);
    assert_eq!(world.view().agent.provider, "shell/m2");
    says(&mut world, &["end"]);
    exits(&mut world);
    restart(&mut world);
    again(&mut world, "p2");
    assert_eq!(world.runs[&2].spec.model.as_deref(), Some("m2"));
}

#[test]
fn rules_are_known_to_the_processes_that_are_launched_after_they_were_made() {
    let mut world = running();
    says(&mut world, &["rule r1"]);
    let rules = |world: &World, run| world.daemon.as_ref().expect("it lives").agent.spec(run).rules;
    for end in [false, true] {
        if end {
            says(&mut world, &["end"]);
        }
        assert_eq!(rules(&world, 1), [""; 0], "this one knows from its journal");
        restart(&mut world);
        assert_eq!(rules(&world, 1), [""; 0]);
        assert_eq!(rules(&world, 2), ["r1"]);
    }
    exits(&mut world);
    again(&mut world, "p2");
    assert_eq!(world.runs[&2].spec.rules, ["r1"]);
    says(&mut world, &["rule r1", "rule r2"]);
    restart(&mut world);
    assert_eq!((rules(&world, 1), rules(&world, 2)), (Vec::new(), vec!["r1".to_owned()]));
    assert_eq!(rules(&world, 3), ["r1", "r2"]);
}

#[test]
fn what_was_cut_off_is_told_with_the_next_prompt_alone() {
    let mut world = running();
    world.lose_shim();
    settle(&mut world);
    restart(&mut world);
    accept(&mut world, "p2", "two");
    world.launched(false, None).expect("the daemon lives");
    // What is written to the shim does not get there, so it is written again.
    while world.under_way().is_empty() {
        assert!(world.hear().expect("the daemon lives"));
    }
    world.luck = 0;
    restart(&mut world);
    accept(&mut world, "p3", "three");
    settle(&mut world);
    says(&mut world, &["start prompt.p2", "end", "start prompt.p3", "end"]);
    let lines: Vec<_> = world.told_lines().into_iter().skip(1).collect();
    assert_eq!(
        lines,
        [format!("prompt prompt.p2 {NOTED} it was in the middle of something"), "prompt prompt.p3".into()]
    );
    assert_eq!(notices(&world), ["-: notice: the agent is told: it was in the middle of something"]);
}

#[test]
fn what_was_cut_off_is_told_once_although_several_prompts_wait_for_a_turn() {
    let mut world = running();
    world.lose_shim();
    settle(&mut world);
    accept(&mut world, "p2", "two");
    world.launched(false, None).expect("the daemon lives");
    world.act(|_| Act::Say(vec!["start".to_owned()]));
    while world.view().agent.turn.is_none() {
        assert!(world.hear().expect("the daemon lives"));
    }
    for id in ["p3", "p4"] {
        assert_eq!(tell(&mut world, super::give(id, id, super::WhenBusy::Steer)), Ok(()));
    }
    settle(&mut world);
    let noted = world.told_lines().iter().filter(|line| line.contains(NOTED)).count();
    assert_eq!((told(&world).len(), noted), (4, 1), "{:?}", world.told_lines());
    assert_eq!(notices(&world).len(), 1);
}

#[test]
fn a_process_that_works_in_the_background_stays_when_its_turn_has_ended() {
    let mut world = running();
    says(&mut world, &["background on", "end"]);
    restart(&mut world);
    pass(&mut world, 10 * LINGER);
    assert_eq!(world.asked, ["launch 1", "tell prompt.p1"]);
    says(&mut world, &["background off"]);
    pass(&mut world, LINGER - 1);
    assert_eq!(world.asked, ["launch 1", "tell prompt.p1"]);
    pass(&mut world, 1);
    assert_eq!(last_asked(&world), Some("close"));
}

#[test]
fn a_process_that_works_in_the_background_leaves_when_it_is_told_to() {
    for input in [Input::Dismiss, Input::Archive] {
        let mut world = running();
        says(&mut world, &["background on", "end"]);
        assert_eq!(tell(&mut world, input), Ok(()));
        assert_eq!(last_asked(&world), Some("close"));
        pass(&mut world, LEAVE_GRACE);
        settle(&mut world);
        assert_eq!(world.view().agent.pid, None);
        again(&mut world, "p2");
        says(&mut world, &["end"]);
        pass(&mut world, LINGER);
        assert_eq!(last_asked(&world), Some("close"), "what went on in the background is no more");
    }
}

#[test]
fn a_model_that_says_nothing_when_it_should_is_stopped_once() {
    let mut world = running();
    says(&mut world, &["expect on"]);
    pass(&mut world, SILENCE / 2);
    says(&mut world, &["item i1"]);
    pass(&mut world, SILENCE - 1);
    assert_eq!(last_asked(&world), Some("tell prompt.p1"));
    restart(&mut world);
    pass(&mut world, 0);
    assert_eq!(last_asked(&world), Some("tell prompt.p1"));
    pass(&mut world, 1);
    assert_eq!(last_asked(&world), Some("tell interrupt.p1"));
    let stalled = ["p1: notice: its model has said nothing for 4 minutes: the turn is stopped"];
    assert_eq!(notices(&world), stalled);
    restart(&mut world);
    pass(&mut world, 0);
    settle(&mut world);
    says(&mut world, &["end interrupted"]);
    pass(&mut world, SILENCE);
    assert_eq!(notices(&world), stalled);
    assert_eq!(told(&world), ["prompt.p1", "interrupt.p1"]);
}

#[test]
fn a_model_that_need_not_say_anything_is_left_alone() {
    let mut world = running();
    says(&mut world, &["expect on", "expect off"]);
    pass(&mut world, 10 * SILENCE);
    says(&mut world, &["expect on", "ask q1"]);
    pass(&mut world, 10 * SILENCE);
    assert_eq!(told(&world), ["prompt.p1"], "it waits for somebody's answer");
    assert_eq!(tell(&mut world, super::allow("q1")), Ok(()));
    settle(&mut world);
    says(&mut world, &["ack answer.1.q1", "withdraw q1"]);
    pass(&mut world, SILENCE - 1);
    assert_eq!(told(&world), ["prompt.p1", "answer.1.q1"]);
    pass(&mut world, 1);
    assert_eq!(last_asked(&world), Some("tell interrupt.p1"));
}
