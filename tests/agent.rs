//! The life of an agent: what its clients may rely on, whatever it does and whenever the daemon dies.

mod changing;
mod disk;
mod histories;
mod program;
mod ready;
mod restart;
mod standstill;
mod steering;
mod watcher;
pub(crate) mod world;

use std::collections::BTreeMap;

use paseo_sdk::catalogue::{WaitUntil, WhenBusy};
use paseo_sdk::machine::agent::{Input, LEAVE_GRACE, Refusal, over};
use paseo_sdk::machine::outbox::STALL;
use paseo_sdk::machine::turn::INTERRUPT_GRACE;
use paseo_sdk::model::{Behavior, Mode, PromptId, Status, WaitOutcome};
use paseo_sdk::provider::Exit;

use self::program::{Act, Kind, LINGER};
use self::restart::decision;
use self::world::{World, prompt};

/// An agent whose program says what the test says.
fn talking() -> World {
    World::new(Kind::Talk, Mode::Default)
}

/// The same, in the middle of the turn of `p1`.
fn running() -> World {
    let mut world = talking();
    accept(&mut world, "p1", "one");
    settle(&mut world);
    says(&mut world, &["ack prompt.p1", "start prompt.p1"]);
    world
}

fn tell(world: &mut World, input: Input) -> Result<(), Refusal> {
    world.tell(input).expect("the daemon lives")
}

fn give(id: &str, text: &str, when_busy: WhenBusy) -> Input {
    Input::Prompt { id: id.parse().expect("this is an id"), prompt: prompt(text), when_busy }
}

fn accept(world: &mut World, id: &str, text: &str) {
    assert_eq!(tell(world, give(id, text, WhenBusy::Queue)), Ok(()));
}

fn settle(world: &mut World) {
    world.settle().expect("the daemon lives");
}

fn says(world: &mut World, lines: &[&str]) {
    world.act(|_| Act::Say(lines.iter().map(|line| (*line).to_owned()).collect()));
    settle(world);
}

fn pass(world: &mut World, milliseconds: i64) {
    world.pass(milliseconds).expect("the daemon lives");
}

fn told(world: &World) -> Vec<String> {
    world.told().iter().map(ToString::to_string).collect()
}

fn status(world: &World) -> Status {
    world.view().agent.status
}

/// How a wait for a prompt ends: its outcome and the reason.
fn waited(world: &World, id: &str) -> Option<(WaitOutcome, Option<String>)> {
    let id: PromptId = id.parse().expect("this is an id");
    let answer = over(&world.view(), Some(&id), WaitUntil::Finished)?;
    Some((answer.outcome?, answer.reason))
}

fn allow(request: &str) -> Input {
    Input::Answer { request_id: request.into(), decision: decision(Behavior::Allow, false) }
}

#[test]
fn a_turn_goes_from_its_prompt_to_its_end() {
    let mut world = running();
    assert_eq!(status(&world), Status::Running);
    assert_eq!(waited(&world, "p1"), None);
    says(&mut world, &["item i1", "end"]);
    assert_eq!(waited(&world, "p1"), Some((WaitOutcome::Completed, None)));
    assert_eq!(status(&world), Status::Idle);
    assert_eq!(
        world.story(),
        ["p1: started", "p1: user: one", "p1: i1 opened", "p1: agent: said i1", "p1: ended completed",]
    );
}

#[test]
fn a_prompt_that_is_given_again_is_told_once() {
    let mut world = talking();
    for _ in 0..3 {
        accept(&mut world, "p1", "one");
        settle(&mut world);
    }
    says(&mut world, &["start prompt.p1", "end"]);
    accept(&mut world, "p1", "one");
    settle(&mut world);
    assert_eq!(told(&world), ["prompt.p1"]);
}

#[test]
fn the_id_of_a_prompt_stands_for_one_prompt() {
    let mut world = running();
    let other = || give("p1", "another", WhenBusy::Queue);
    let conflict = Err(Refusal::Conflict("p1".parse().expect("this is an id")));
    assert_eq!(tell(&mut world, other()), conflict);
    says(&mut world, &["end"]);
    assert_eq!(tell(&mut world, other()), conflict);
    world.die();
    world.start().expect("nothing kills it");
    assert_eq!(tell(&mut world, other()), conflict);
}

#[test]
fn the_first_answer_counts_and_the_second_is_told_so() {
    let mut world = running();
    world.act(|program| program.act(4));
    settle(&mut world);
    assert_eq!(status(&world), Status::Waiting);
    let request = world.view().agent.permissions[0].request_id.clone();
    assert_eq!(tell(&mut world, allow(request.as_str())), Ok(()));
    assert_eq!(status(&world), Status::Running, "nothing is asked any more");
    assert_eq!(tell(&mut world, allow(request.as_str())), Ok(()), "the same answer");
    let deny = Input::Answer { request_id: request.clone(), decision: decision(Behavior::Deny, false) };
    assert_eq!(tell(&mut world, deny), Err(Refusal::AlreadyAnswered(request.clone())));
    assert_eq!(tell(&mut world, allow("q99")), Err(Refusal::NoSuchRequest("q99".into())));
    settle(&mut world);
    assert_eq!(told(&world), ["prompt.p1".to_owned(), format!("answer.1.{request}")]);
}

#[test]
fn an_answer_may_be_given_again_when_its_turn_is_long_over() {
    let mut world = running();
    says(&mut world, &["ask q1"]);
    assert_eq!(tell(&mut world, allow("q1")), Ok(()));
    settle(&mut world);
    says(&mut world, &["end"]);
    assert!(world.view().agent.turn.is_none());
    let deny = || Input::Answer { request_id: "q1".into(), decision: decision(Behavior::Deny, false) };
    for restart in [false, true] {
        if restart {
            world.die();
            world.start().expect("nothing kills it");
        }
        assert_eq!(tell(&mut world, allow("q1")), Ok(()), "the same answer");
        assert_eq!(tell(&mut world, deny()), Err(Refusal::AlreadyAnswered("q1".into())));
        assert_eq!(tell(&mut world, allow("q2")), Err(Refusal::NoSuchRequest("q2".into())));
    }
    assert_eq!(told(&world), ["prompt.p1", "answer.1.q1"]);
}

#[test]
fn a_permission_that_is_asked_for_is_asked_for_after_a_restart() {
    let mut world = running();
    says(&mut world, &["ask q1"]);
    let before = world.view();
    world.die();
    world.start().expect("nothing kills it");
    assert_eq!(world.view(), before);
    assert_eq!(tell(&mut world, allow("q1")), Ok(()));
}

#[test]
fn a_cancel_stops_the_turn_and_withdraws_what_is_queued() {
    let mut world = running();
    accept(&mut world, "p2", "two");
    accept(&mut world, "p3", "three");
    assert_eq!(tell(&mut world, Input::Cancel), Ok(()));
    let withdrawn = Some((WaitOutcome::Interrupted, Some("it was withdrawn before the agent was told".to_owned())));
    assert_eq!(waited(&world, "p2"), withdrawn);
    assert_eq!(waited(&world, "p3"), withdrawn);
    assert_eq!(waited(&world, "p1"), None, "it has not ended yet");
    settle(&mut world);
    says(&mut world, &["end interrupted"]);
    assert_eq!(waited(&world, "p1"), Some((WaitOutcome::Interrupted, None)));
    assert_eq!(status(&world), Status::Interrupted);
    assert_eq!(told(&world), ["prompt.p1", "interrupt.p1"]);
}

#[test]
fn a_cancel_that_comes_before_the_process_withdraws_what_it_was_started_for() {
    let mut world = talking();
    accept(&mut world, "p1", "one");
    assert_eq!(status(&world), Status::Starting);
    assert_eq!(tell(&mut world, Input::Cancel), Ok(()));
    settle(&mut world);
    assert_eq!(told(&world), [""; 0]);
    assert_eq!(status(&world), Status::Interrupted);
}

#[test]
fn a_prompt_that_was_stopped_on_its_way_is_not_told_after_a_restart() {
    let mut world = talking();
    accept(&mut world, "p1", "one");
    world.launched(false, None).expect("the daemon lives");
    while world.under_way().is_empty() {
        assert!(world.hear().expect("the daemon lives"));
    }
    assert_eq!(tell(&mut world, Input::Cancel), Ok(()));
    // Nothing of what was written to the shim got there.
    world.luck = 0;
    world.die();
    world.start().expect("nothing kills it");
    settle(&mut world);
    assert_eq!(waited(&world, "p1").map(|(outcome, _)| outcome), Some(WaitOutcome::Interrupted));
    assert!(!told(&world).contains(&"prompt.p1".to_owned()));
}

#[test]
fn a_prompt_that_interrupts_goes_before_those_that_wait() {
    let mut world = running();
    accept(&mut world, "p2", "two");
    assert_eq!(tell(&mut world, give("p3", "three", WhenBusy::Interrupt)), Ok(()));
    settle(&mut world);
    says(&mut world, &["end interrupted"]);
    says(&mut world, &["start prompt.p3", "end"]);
    assert_eq!(told(&world), ["prompt.p1", "interrupt.p1", "prompt.p3", "prompt.p2"]);
}

#[test]
fn a_prompt_fails_with_the_reason_why_there_is_no_process_and_the_next_one_is_tried() {
    let mut world = talking();
    accept(&mut world, "p1", "one");
    accept(&mut world, "p2", "two");
    world.launched(false, Some("no such program")).expect("the daemon lives");
    assert_eq!(waited(&world, "p1"), Some((WaitOutcome::Error, Some("no such program".to_owned()))));
    settle(&mut world);
    assert_eq!(world.asked, ["launch 1", "launch 2", "tell prompt.p2"]);
    assert_eq!(told(&world), ["prompt.p2"]);
}

#[test]
fn a_prompt_that_its_program_has_no_words_for_fails() {
    let mut world = talking();
    accept(&mut world, "p1", "unspeakable");
    settle(&mut world);
    assert_eq!(waited(&world, "p1"), Some((WaitOutcome::Error, Some("talk cannot say that".to_owned()))));
    assert_eq!(told(&world), [""; 0]);
}

#[test]
fn a_process_that_ends_in_the_middle_of_a_turn_ends_it_with_the_reason() {
    let end = |exit: Exit| {
        let mut world = running();
        let now = world.now;
        world.runs.get_mut(&1).expect("there is a run").exit(now, exit);
        settle(&mut world);
        waited(&world, "p1").expect("it has ended")
    };
    let by_itself = Exit { code: Some(3), ..Exit::default() };
    let by_signal = Exit { signal: Some("KILL".to_owned()), ..Exit::default() };
    let by_paseo = Exit { code: Some(0), reason: Some("the disk is full".to_owned()), ..Exit::default() };
    let sentence = |text: &str| Some(text.to_owned());
    assert_eq!(end(by_itself), (WaitOutcome::Error, sentence("its process ended by itself with exit code 3")));
    assert_eq!(end(by_signal), (WaitOutcome::Interrupted, sentence("its process was ended by signal KILL")));
    assert_eq!(end(by_paseo), (WaitOutcome::Interrupted, sentence("the disk is full")));
}

#[test]
fn a_process_that_is_lost_interrupts_its_turn_and_the_next_prompt_starts_another() {
    let mut world = running();
    accept(&mut world, "p2", "two");
    world.lose_shim();
    settle(&mut world);
    assert_eq!(waited(&world, "p1"), Some((WaitOutcome::Interrupted, Some("its process was lost".to_owned()))));
    assert_eq!(told(&world), ["prompt.p1", "prompt.p2"]);
    assert_eq!(world.runs.len(), 2);
}

#[test]
fn a_turn_that_nobody_asked_for_is_a_turn() {
    let mut world = running();
    says(&mut world, &["end", "start"]);
    assert_eq!(status(&world), Status::Running);
    accept(&mut world, "p2", "two");
    settle(&mut world);
    assert_eq!(told(&world), ["prompt.p1"], "it waits for that turn");
    says(&mut world, &["end"]);
    assert_eq!(told(&world), ["prompt.p1", "prompt.p2"]);
    let unsolicited: Vec<_> = world.story().into_iter().filter(|line| line.starts_with('u')).collect();
    assert_eq!(unsolicited, ["u1.6: started", "u1.6: ended completed"]);
}

#[test]
fn a_question_outside_of_turns_opens_one() {
    let mut world = running();
    says(&mut world, &["end", "ask q1"]);
    assert_eq!(status(&world), Status::Waiting);
    assert_eq!(world.view().agent.turn.map(|turn| turn.prompt_id), Some(None));
}

#[test]
fn a_prompt_that_was_told_during_a_turn_nobody_asked_for_has_its_own_turn_after_it() {
    let mut world = running();
    says(&mut world, &["end"]);
    accept(&mut world, "p2", "two");
    // The process has started something before it takes the prompt.
    world.act(|_| Act::Say(vec!["start".to_owned()]));
    settle(&mut world);
    assert_eq!(waited(&world, "p2"), None);
    says(&mut world, &["end"]);
    assert_eq!(waited(&world, "p2"), None, "that was not its end");
    says(&mut world, &["start prompt.p2", "end"]);
    assert_eq!(waited(&world, "p2"), Some((WaitOutcome::Completed, None)));
}

#[test]
fn a_prompt_whose_process_does_something_else_first_ends_with_its_own_turn() {
    let mut world = talking();
    accept(&mut world, "p1", "one");
    settle(&mut world);
    says(&mut world, &["start", "end"]);
    assert_eq!(waited(&world, "p1"), None, "that was not its end");
    says(&mut world, &["start prompt.p1", "end"]);
    assert_eq!(waited(&world, "p1"), Some((WaitOutcome::Completed, None)));
    assert_eq!(
        world.story(),
        ["p1: started", "p1: user: one", "u1.3: started", "u1.3: ended completed", "p1: ended completed",]
    );
}

#[test]
fn a_prompt_that_was_told_and_not_begun_ends_with_its_process() {
    let mut world = running();
    says(&mut world, &["end"]);
    accept(&mut world, "p2", "two");
    world.act(|_| Act::Say(vec!["start".to_owned()]));
    settle(&mut world);
    world.act(|_| Act::Exit(1));
    settle(&mut world);
    let reason = "its process ended by itself with exit code 1".to_owned();
    assert_eq!(waited(&world, "p2"), Some((WaitOutcome::Error, Some(reason))));
    assert_eq!(told(&world), ["prompt.p1", "prompt.p2"], "it is not told again");
}

#[test]
fn a_turn_that_does_not_stop_when_it_is_interrupted_loses_its_process() {
    let mut world = running();
    assert_eq!(tell(&mut world, Input::Cancel), Ok(()));
    pass(&mut world, INTERRUPT_GRACE - 1);
    assert_eq!(world.asked.last().map(String::as_str), Some("tell interrupt.p1"));
    pass(&mut world, 1);
    assert_eq!(world.asked.last().map(String::as_str), Some("stop: it did not stop when it was interrupted"));
    settle(&mut world);
    assert_eq!(waited(&world, "p1").map(|(outcome, _)| outcome), Some(WaitOutcome::Interrupted));
}

#[test]
fn the_time_that_an_interrupted_turn_has_goes_on_while_there_is_no_daemon() {
    let mut world = talking();
    accept(&mut world, "p1", "one");
    world.launched(true, None).expect("the daemon lives");
    settle(&mut world);
    assert_eq!(tell(&mut world, Input::Cancel), Ok(()));
    world.luck = 1;
    world.die();
    world.now = world.now.plus(INTERRUPT_GRACE);
    world.start().expect("nothing kills it");
    settle(&mut world);
    pass(&mut world, 0);
    assert_eq!(world.asked.last().map(String::as_str), Some("stop: it did not stop when it was interrupted"));
}

#[test]
fn an_idle_process_lingers_then_leaves_and_is_ended_if_it_does_not() {
    let mut world = running();
    says(&mut world, &["end"]);
    pass(&mut world, LINGER - 1);
    assert_eq!(world.asked, ["launch 1", "tell prompt.p1"]);
    pass(&mut world, 1);
    assert_eq!(world.asked.last().map(String::as_str), Some("close"));
    pass(&mut world, LEAVE_GRACE);
    assert_eq!(world.asked.last().map(String::as_str), Some("stop: it did not leave when its input was closed"));
    settle(&mut world);
    assert_eq!(status(&world), Status::Idle);
    assert_eq!(world.view().agent.pid, None);
}

#[test]
fn an_archived_agent_is_stopped_and_its_process_leaves_at_once() {
    let mut world = running();
    accept(&mut world, "p2", "two");
    assert_eq!(tell(&mut world, Input::Archive), Ok(()));
    settle(&mut world);
    says(&mut world, &["end interrupted"]);
    assert_eq!(status(&world), Status::Archived);
    assert_eq!(world.asked, ["launch 1", "tell prompt.p1", "tell interrupt.p1", "close"]);
    assert_eq!(waited(&world, "p2").map(|(outcome, _)| outcome), Some(WaitOutcome::Interrupted));
}

#[test]
fn a_prompt_brings_an_archived_agent_back() {
    let mut world = talking();
    assert_eq!(tell(&mut world, Input::Archive), Ok(()));
    assert_eq!(world.disk.memory.about.archived_at, Some(world.now));
    accept(&mut world, "p1", "one");
    assert_eq!(world.disk.memory.about.archived_at, None);
    settle(&mut world);
    assert_eq!(told(&world), ["prompt.p1"]);
}

#[test]
fn an_archived_agent_comes_back_although_the_daemon_died_while_it_took_the_prompt() {
    for fuse in 0..6 {
        let mut world = talking();
        assert_eq!(tell(&mut world, Input::Archive), Ok(()));
        world.fuse = Some(fuse);
        let died = world.tell(give("p1", "one", WhenBusy::Queue)).is_err();
        world.fuse = None;
        if died {
            world.start().expect("nothing kills it");
            accept(&mut world, "p1", "one");
        }
        settle(&mut world);
        assert_eq!(told(&world), ["prompt.p1"], "after {fuse} outputs");
    }
}

#[test]
fn the_end_of_a_withdrawn_prompt_is_written_once_whenever_the_daemon_dies() {
    for fuse in 0..12 {
        let mut world = running();
        accept(&mut world, "p2", "two");
        world.fuse = Some(fuse);
        let died = world.tell(Input::Cancel).is_err();
        world.fuse = None;
        if died {
            world.start().expect("nothing kills it");
            assert_eq!(tell(&mut world, Input::Cancel), Ok(()));
        }
        let of_p2: Vec<_> = world.story().into_iter().filter(|line| line.starts_with("p2")).collect();
        let ended = "p2: ended interrupted: it was withdrawn before the agent was told";
        assert_eq!(of_p2, ["p2: started", "p2: user: two", ended], "after {fuse} outputs");
    }
}

#[test]
fn what_is_told_and_not_taken_is_reported() {
    let mut world = talking();
    accept(&mut world, "p1", "one");
    settle(&mut world);
    pass(&mut world, STALL);
    let notice = "p1: notice: the agent has not taken prompt.p1 for 120 seconds";
    assert_eq!(world.story().last().map(String::as_str), Some(notice));
    assert_eq!(status(&world), Status::Running);
}

#[test]
fn what_was_told_and_not_taken_is_not_told_again_after_a_restart() {
    let mut world = running();
    world.act(|program| program.act(4));
    settle(&mut world);
    let request = world.view().agent.permissions[0].request_id.clone();
    assert_eq!(tell(&mut world, allow(request.as_str())), Ok(()));
    settle(&mut world);
    says(&mut world, &["end"]);
    world.die();
    world.start().expect("nothing kills it");
    settle(&mut world);
    assert_eq!(world.asked, ["launch 1".to_owned(), "tell prompt.p1".to_owned(), format!("tell answer.1.{request}")]);
}

#[test]
fn a_title_and_labels_are_saved_at_once_and_an_empty_label_goes() {
    let mut world = running();
    let label = |value: &str| BTreeMap::from([("team".to_owned(), value.to_owned())]);
    let update = |title: Option<&str>, labels| Input::Update { title: title.map(str::to_owned), labels, model: None };
    assert_eq!(tell(&mut world, update(Some("new"), label("blue"))), Ok(()));
    world.die();
    world.start().expect("nothing kills it");
    let agent = world.view().agent;
    assert_eq!((agent.title.as_str(), agent.labels), ("new", label("blue")));
    assert_eq!(agent.status, Status::Running, "the turn goes on");
    assert_eq!(tell(&mut world, update(None, label(""))), Ok(()));
    assert_eq!(world.view().agent.labels, BTreeMap::new());
}
