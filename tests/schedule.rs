//! The schedule machine against a world in which time passes, clocks jump, daemons die and agents are busy.

mod world;

use paseo_sdk::machine::Machine as _;
use paseo_sdk::machine::schedule::{Definition, Ending, Fact, Input, MOST_OPEN, Memory, Output, Refusal, Schedule};
use paseo_sdk::model::{Duration, Overlap, Rhythm, Run, RunStatus, ScheduleStatus, Task, Timestamp, Usage, WhenMissed};

const BEGINNING: Timestamp = Timestamp(1_700_000_000_000);

fn after(seconds: i64) -> Timestamp {
    BEGINNING.plus(seconds * 1_000)
}

fn every(seconds: i64) -> Definition {
    Definition {
        name: None,
        rhythm: Rhythm { every: Some(Duration { milliseconds: seconds * 1_000 }), ..Rhythm::default() },
        task: Task {
            prompt: "ping".to_owned(),
            agent_id: Some("a".parse().expect("an id")),
            provider: None,
            mode: None,
            cwd: None,
            worktree: None,
            run_timeout: Duration { milliseconds: 3_600_000 },
            notify_on_finish: false,
        },
        allowed: None,
        max_runs: None,
        expires_at: None,
        when_missed: WhenMissed::Once,
        when_busy: Overlap::Coalesce,
    }
}

fn made(definition: Definition) -> Schedule {
    let id = "s".parse().expect("an id");
    let mut made = Schedule::new(Memory::new(id, definition, None, String::new(), BEGINNING)).expect("it is due");
    assert_eq!(outputs(&mut made), [Output::Keep]);
    made
}

fn outputs(schedule: &mut Schedule) -> Vec<Output> {
    std::iter::from_fn(|| schedule.poll()).collect()
}

fn ended(status: RunStatus) -> Fact {
    let (reason, last_message, worktree) = (None, Some("pong".to_owned()), None);
    Fact::Ended(Box::new(Ending { status, reason, last_message, usage: Usage::default(), worktree }))
}

fn learn(schedule: &mut Schedule, now: Timestamp, number: i64, fact: Fact) {
    schedule.handle(now, Input::Fact(number, fact)).expect("there is such a run");
}

/// The records, the oldest first: number, slots, status, and what they say.
fn log(schedule: &Schedule) -> Vec<String> {
    let (mut runs, _) = schedule.memory().page(None, 1_000);
    runs.reverse();
    let second = |at: Timestamp| (at.0 - BEGINNING.0) / 1_000;
    let line = |run: Run| {
        let status = serde_json::to_value(run.status).expect("a word");
        let slots = match (run.slots, run.last_slot) {
            (Some(0), _) => "asked".to_owned(),
            (_, None) => second(run.slot).to_string(),
            (slots, Some(last)) => format!("{}..{} ({})", second(run.slot), second(last), slots.unwrap_or(-1)),
        };
        let into = run.into.map(|into| format!(" into {into}")).unwrap_or_default();
        let why = run.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("{} {slots} {}{into}{why}", run.number, status.as_str().unwrap_or_default())
    };
    runs.into_iter().map(line).collect()
}

#[test]
fn a_slot_is_claimed_on_the_disk_before_it_is_started() {
    let mut schedule = made(every(60));
    assert_eq!(schedule.deadline(), Some(after(60)));
    schedule.expire(after(59));
    assert_eq!(outputs(&mut schedule), []);
    schedule.expire(after(60));
    assert_eq!(outputs(&mut schedule), [Output::Keep, Output::Start(1)]);
    assert_eq!(schedule.deadline(), Some(after(120)));
    learn(&mut schedule, after(61), 1, Fact::Accepted("a".parse().expect("an id"), "p".parse().expect("an id")));
    learn(&mut schedule, after(61), 1, Fact::Working);
    learn(&mut schedule, after(65), 1, ended(RunStatus::Succeeded));
    let run = schedule.memory().history[0].clone();
    assert_eq!((run.status, run.started_at, run.ended_at), (RunStatus::Succeeded, Some(after(61)), Some(after(65))));
    assert_eq!(run.last_message.as_deref(), Some("pong"));
    assert_eq!(schedule.shown().runs, 1);
}

#[test]
fn what_was_missed_is_made_up_for_once_or_skipped() {
    let mut once = made(every(60));
    once.expire(after(60 * 3 + 45));
    assert_eq!(log(&once), ["1 60..120 (2) coalesced into 2", "2 180 claimed"]);
    let mut skip = made(Definition { when_missed: WhenMissed::Skip, ..every(60) });
    skip.expire(after(60 * 3 + 45));
    let why = "the daemon was not running, the machine slept, or was too busy";
    assert_eq!(log(&skip), [format!("1 60..180 (3) skipped: {why}")]);
    assert_eq!(skip.deadline(), Some(after(240)));
    // A slot for which the daemon is a little late is not missed.
    skip.expire(after(60 * 4 + 20));
    assert_eq!(log(&skip)[1], "2 240 claimed");
    // After a long time there is still one record, which says how many they are as far as they can be counted.
    let mut long = made(Definition { when_missed: WhenMissed::Skip, ..every(1) });
    long.expire(after(1_000_000));
    assert_eq!(log(&long).len(), 2, "{:?}", log(&long));
    assert!(log(&long)[0].starts_with("1 1..999999 (-1) skipped"), "{:?}", log(&long));
}

#[test]
fn what_comes_while_it_is_busy_is_coalesced_skipped_or_queued() {
    let with = |when_busy| made(Definition { when_busy, ..every(60) });
    let [mut coalesce, mut skip, mut queue] = [Overlap::Coalesce, Overlap::Skip, Overlap::Queue].map(with);
    for schedule in [&mut coalesce, &mut skip, &mut queue] {
        for minute in 1..=5 {
            schedule.expire(after(60 * minute));
            if minute == 1 {
                learn(schedule, after(61), 1, Fact::Working);
            }
        }
    }
    assert_eq!(log(&coalesce), ["1 60 running", "2 120 pending", "3 180..300 (3) coalesced into 2"]);
    assert_eq!(log(&skip), ["1 60 running", "2 120..300 (4) skipped: the run before had not ended"]);
    assert_eq!(log(&queue), ["1 60 running", "2 120 pending", "3 180 pending", "4 240 pending", "5 300 pending"]);
    outputs(&mut coalesce);
    learn(&mut coalesce, after(310), 1, ended(RunStatus::Failed));
    assert_eq!(outputs(&mut coalesce), [Output::Keep, Output::Start(2)]);
    for minute in 6..=200 {
        queue.expire(after(60 * minute));
    }
    assert_eq!(queue.memory().open.len(), MOST_OPEN);
    assert!(log(&queue).last().is_some_and(|last| last.ends_with("skipped: too many runs waited")));
    let refused = queue.handle(after(20_000), Input::Run("now".parse().expect("an id")));
    assert_eq!(refused, Err(Refusal::Full(MOST_OPEN)));
}

#[test]
fn an_agent_that_is_busy_with_something_else_is_left_alone_where_that_is_wanted() {
    let mut skip = made(Definition { when_busy: Overlap::Skip, max_runs: Some(1), ..every(60) });
    skip.expire(after(60));
    assert!(skip.run(1).expect("it is claimed").unless_busy);
    learn(&mut skip, after(60), 1, Fact::Busy);
    assert_eq!(log(&skip), ["1 60 skipped: the agent was busy"]);
    // It does not count.
    assert_eq!((skip.shown().runs, skip.deadline()), (0, Some(after(120))));
    // What somebody asks for is not skipped.
    skip.handle(after(70), Input::Run("now".parse().expect("an id"))).expect("it runs");
    assert!(!skip.run(2).expect("it is claimed").unless_busy);
}

#[test]
fn it_completes_expires_pauses_and_goes_on() {
    let mut twice = made(Definition { max_runs: Some(2), ..every(60) });
    assert_eq!(twice.shown().next, [after(60), after(120)]);
    for number in 1..=2 {
        twice.expire(after(60 * number));
        assert_eq!(twice.shown().next.len(), usize::try_from(2 - number).expect("small"));
        learn(&mut twice, after(60 * number + 1), number, ended(RunStatus::Succeeded));
    }
    assert_eq!((twice.memory().status, twice.deadline()), (ScheduleStatus::Completed, None));
    assert_eq!(twice.handle(after(200), Input::Resume), Err(Refusal::Over("completed")));
    let more = Definition { max_runs: Some(3), ..twice.memory().definition.clone() };
    twice.handle(after(200), Input::Update(Box::new(more))).expect("it goes on");
    assert_eq!((twice.memory().status, twice.deadline()), (ScheduleStatus::Active, Some(after(240))));

    let mut short = made(Definition { expires_at: Some(after(120)), ..every(60) });
    assert_eq!(short.shown().next, [after(60)]);
    short.expire(after(500));
    assert_eq!(log(&short), ["1 60 claimed"]);
    assert_eq!((short.memory().status, short.deadline()), (ScheduleStatus::Expired, None));

    let mut paused = made(every(60));
    paused.expire(after(60));
    learn(&mut paused, after(61), 1, Fact::Working);
    paused.expire(after(120));
    paused.handle(after(130), Input::Pause).expect("it may");
    assert_eq!(log(&paused), ["1 60 running", "2 120 skipped: the schedule was paused"]);
    // What runs is still stopped in time.
    assert_eq!(paused.deadline(), Some(after(61 + 3_600)));
    paused.expire(after(600));
    paused.handle(after(610), Input::Resume).expect("it may");
    assert_eq!(paused.shown().next[0], after(660));
}

#[test]
fn a_run_is_stopped_once_when_it_takes_too_long() {
    let timeout = Duration { milliseconds: 90_000 };
    let mut definition = Definition { max_runs: Some(1), ..every(60) };
    definition.task.run_timeout = timeout;
    let mut schedule = made(definition);
    schedule.expire(after(60));
    outputs(&mut schedule);
    // A prompt that waits in the queue of a busy agent takes no time yet.
    assert_eq!(schedule.deadline(), None);
    learn(&mut schedule, after(100), 1, Fact::Working);
    learn(&mut schedule, after(110), 1, Fact::Waiting("permission 1".to_owned()));
    assert_eq!(log(&schedule), ["1 60 waiting: permission 1"]);
    assert_eq!(schedule.deadline(), Some(after(190)));
    outputs(&mut schedule);
    schedule.expire(after(190));
    assert_eq!(outputs(&mut schedule), [Output::Keep, Output::Stop(1)]);
    schedule.expire(after(200));
    assert_eq!(outputs(&mut schedule), []);
    learn(&mut schedule, after(201), 1, ended(RunStatus::Interrupted));
    assert_eq!(log(&schedule), ["1 60 interrupted: it took longer than 1m30s"]);
}

#[test]
fn the_time_of_a_new_agent_begins_when_it_is_asked_for_and_none_passes_while_the_machine_sleeps() {
    let mut definition = every(60);
    definition.task.agent_id = None;
    let mut schedule = made(Definition { max_runs: Some(1), ..definition });
    schedule.expire(after(60));
    assert_eq!(schedule.deadline(), Some(after(60 + 3_600)));
    schedule.handle(after(10_000), Input::Shift(9_000_000)).expect("it may");
    assert_eq!(schedule.deadline(), Some(after(60 + 3_600 + 9_000)));
    schedule.handle(after(1_000), Input::Shift(-9_000_000)).expect("it may");
    assert_eq!(schedule.deadline(), Some(after(60 + 3_600)));
}

#[test]
fn it_pauses_when_its_agent_is_gone() {
    let mut schedule = made(every(60));
    schedule.expire(after(60));
    learn(&mut schedule, after(60), 1, Fact::Gone("agent a is archived".to_owned()));
    let shown = schedule.shown();
    assert_eq!((shown.status, shown.reason.as_deref()), (ScheduleStatus::Paused, Some("agent a is archived")));
    assert_eq!(log(&schedule), ["1 60 skipped: agent a is archived"]);
}

#[test]
fn it_is_forgotten_when_the_run_that_goes_on_has_ended() {
    let mut schedule = made(every(60));
    schedule.expire(after(60));
    outputs(&mut schedule);
    schedule.handle(after(61), Input::Delete).expect("it may");
    assert_eq!(outputs(&mut schedule), [Output::Keep]);
    assert_eq!((schedule.deadline(), schedule.handle(after(62), Input::Pause)), (None, Err(Refusal::Deleted)));
    learn(&mut schedule, after(70), 1, ended(RunStatus::Succeeded));
    assert_eq!(outputs(&mut schedule), [Output::Keep, Output::Forget]);
}

#[test]
fn a_clock_that_was_far_ahead_does_not_stop_it() {
    let mut schedule = made(every(3_600));
    let wrong = after(400 * 24 * 3_600);
    schedule.expire(wrong);
    let number = schedule.memory().open[0].run.number;
    learn(&mut schedule, wrong, number, ended(RunStatus::Succeeded));
    // A little back, nothing is due twice.
    schedule.expire(wrong.plus(-7_200_000));
    assert!(schedule.deadline().is_some_and(|due| due > wrong));
    schedule.expire(after(60));
    assert_eq!(schedule.deadline(), Some(after(3_600)));
}
