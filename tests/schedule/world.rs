//! Random lives: whatever happens, each slot is in exactly one record, and no run is started as two.

use std::collections::{BTreeMap, BTreeSet};

use paseo_sdk::cadence::Cadence;
use paseo_sdk::machine::Machine as _;
use paseo_sdk::machine::schedule::{Definition, Fact, Input, Memory, Output, SETBACK, Schedule};
use paseo_sdk::model::{Overlap, Rhythm, RunStatus, ScheduleStatus, Timestamp, WhenMissed};
use proptest::prelude::*;

use super::{BEGINNING, ended, every};

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_slot_has_exactly_one_record(
        definition in definition(),
        events in proptest::collection::vec(event(), 0..60),
    ) {
        let Some(mut world) = World::new(definition) else { return Ok(()) };
        for event in events {
            world.happen(event)?;
            world.check()?;
        }
        world.check()?;
    }
}

fn definition() -> impl Strategy<Value = Definition> {
    let rhythm = prop_oneof![
        (1i64..300).prop_map(|seconds| every(seconds).rhythm),
        prop_oneof![Just("* * * * *"), Just("*/7 * * * *"), Just("0 */2 * * *")]
            .prop_map(|cron| Rhythm { cron: Some(cron.to_owned()), ..Rhythm::default() }),
    ];
    let missed = prop_oneof![Just(WhenMissed::Once), Just(WhenMissed::Skip)];
    let busy = prop_oneof![Just(Overlap::Coalesce), Just(Overlap::Skip), Just(Overlap::Queue)];
    (rhythm, missed, busy, proptest::option::of(1i64..6), proptest::option::of(1i64..4_000)).prop_map(
        |(rhythm, when_missed, when_busy, max_runs, expires)| Definition {
            rhythm,
            when_missed,
            when_busy,
            max_runs,
            expires_at: expires.map(|seconds| BEGINNING.plus(seconds * 1_000)),
            ..every(60)
        },
    )
}

#[derive(Clone, Debug)]
enum Event {
    /// The daemon sleeps until something is due, and a little longer.
    Due(i64),
    /// So many seconds pass while nobody looks, as when the machine sleeps; or the clock is set back.
    Jump(i64),
    /// What was asked for is done, so many steps of it.
    Act(usize),
    /// The run that goes on comes further.
    Progress(u8),
    /// The daemon dies, and another one starts.
    Die,
    Pause,
    Resume,
    /// Somebody changes it, but for when it is due.
    Change(u8),
    /// Somebody asks for a run; the same number is the same call.
    Ask(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0i64..20_000).prop_map(Event::Due),
        2 => (-4_000i64..20_000).prop_map(Event::Jump),
        6 => (0usize..5).prop_map(Event::Act),
        6 => any::<u8>().prop_map(Event::Progress),
        2 => Just(Event::Die),
        1 => Just(Event::Pause),
        1 => Just(Event::Resume),
        1 => (0u8..4).prop_map(Event::Ask),
        1 => any::<u8>().prop_map(Event::Change),
    ]
}

struct World {
    now: Timestamp,
    machine: Schedule,
    cadence: Cadence,
    /// What is in the file.
    disk: Option<Memory>,
    /// What was asked for and is not done.
    due: Vec<Output>,
    /// The runs that were started, and whether the daemon that lives has started them.
    started: BTreeMap<i64, bool>,
    /// Runs that have ended: none of them is started again.
    over: BTreeSet<i64>,
    /// From when to when it was not active.
    rests: Vec<(Timestamp, Option<Timestamp>)>,
    /// After how many runs it completes, as long as nobody has changed that.
    most: Option<i64>,
}

impl World {
    fn new(definition: Definition) -> Option<World> {
        let cadence = definition.cadence(BEGINNING).ok()?;
        let most = definition.max_runs;
        let memory = Memory::new("s".parse().ok()?, definition, None, String::new(), BEGINNING);
        let mut world = World {
            now: BEGINNING,
            machine: Schedule::new(memory).ok()?,
            cadence,
            disk: None,
            due: Vec::new(),
            started: BTreeMap::new(),
            over: BTreeSet::new(),
            rests: Vec::new(),
            most,
        };
        // Whoever made it is answered when it is on the disk.
        world.act(1);
        Some(world)
    }

    fn happen(&mut self, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::Due(late) => {
                if let Some(due) = self.machine.deadline() {
                    self.now = self.now.max(due).plus(late);
                    self.machine.expire(self.now);
                    let again = self.machine.deadline();
                    prop_assert!(again.is_none_or(|again| again > self.now), "due at {again:?} again");
                }
            }
            Event::Jump(seconds) => self.now = self.now.plus(seconds * 1_000),
            Event::Act(steps) => self.act(steps),
            Event::Progress(how) => self.progress(how),
            Event::Die => {
                // What was not written down has not happened, but for what was done already.
                self.machine = Schedule::load(self.disk.clone().expect("it was made")).expect("it is due");
                self.due.clear();
                self.started.values_mut().for_each(|lives| *lives = false);
            }
            Event::Pause => {
                let was = self.machine.memory().status;
                self.machine.handle(self.now, Input::Pause).expect("it may");
                // Whoever asked is answered when it is on the disk.
                self.act(usize::MAX);
                if was == ScheduleStatus::Active {
                    self.rests.push((self.machine.memory().decided, None));
                }
            }
            Event::Resume => {
                let was = self.machine.memory().status;
                let resumed = self.machine.handle(self.now, Input::Resume);
                self.act(usize::MAX);
                if was == ScheduleStatus::Paused && resumed.is_ok() {
                    self.wake(self.machine.memory().decided);
                }
            }
            Event::Change(how) => {
                let was = self.machine.memory().status;
                let definition = Definition {
                    max_runs: (how % 4 > 0).then_some(i64::from(how % 7) + 1),
                    when_busy: [Overlap::Coalesce, Overlap::Skip, Overlap::Queue][usize::from(how % 3)],
                    ..self.machine.memory().definition.clone()
                };
                self.machine.handle(self.now, Input::Update(Box::new(definition))).expect("it may");
                self.act(usize::MAX);
                self.most = None;
                let memory = self.machine.memory();
                match (was, memory.status) {
                    (before, after) if before == after => {}
                    (_, ScheduleStatus::Active) => self.wake(memory.decided),
                    _ => self.rests.push((memory.decided, None)),
                }
            }
            Event::Ask(id) => {
                // Too many may wait.
                let _ = self.machine.handle(self.now, Input::Run(format!("p{id}").parse().expect("an id")));
                self.act(usize::MAX);
            }
        }
        Ok(())
    }

    /// It is active from here on.
    fn wake(&mut self, at: Timestamp) {
        match self.rests.last_mut().filter(|rest| rest.1.is_none()) {
            Some(rest) => rest.1 = Some(at),
            // It had completed or expired by itself, some time after what was decided last.
            None => self.rests.push((BEGINNING, Some(at))),
        }
    }

    fn act(&mut self, steps: usize) {
        self.due.extend(std::iter::from_fn(|| self.machine.poll()));
        let steps = steps.min(self.due.len());
        for output in self.due.drain(..steps) {
            match output {
                Output::Keep => self.disk = Some(self.machine.memory().clone()),
                Output::Start(number) => {
                    assert!(!self.over.contains(&number), "run {number} is started after it has ended");
                    let kept = self.disk.as_ref().expect("it was made");
                    assert!(
                        kept.open.iter().any(|open| open.run.number == number && open.run.status != RunStatus::Pending),
                        "run {number} is started, and not claimed on the disk"
                    );
                    self.started.insert(number, true);
                }
                Output::Stop(_) => {}
                Output::Forget => unreachable!("nobody deletes it"),
            }
        }
    }

    fn progress(&mut self, how: u8) {
        let lives = self.started.iter().find(|(number, lives)| **lives && self.machine.run(**number).is_some());
        let Some(number) = lives.map(|(number, _)| *number) else { return };
        let fact = match how % 9 {
            8 => Fact::Withdrawn,
            0 => Fact::Working,
            1 => Fact::Waiting("x".to_owned()),
            2 => Fact::Busy,
            3 => Fact::Refused("no".to_owned()),
            4 => ended(RunStatus::Failed),
            5 => ended(RunStatus::Interrupted),
            6 => ended(RunStatus::Succeeded),
            _ => Fact::Accepted("a".parse().expect("an id"), "p".parse().expect("an id")),
        };
        let ends = !matches!(fact, Fact::Working | Fact::Waiting(_) | Fact::Accepted(..));
        let works = matches!(fact, Fact::Working | Fact::Waiting(_));
        self.machine.handle(self.now, Input::Fact(number, fact)).expect("it goes on");
        if works {
            let open = self.machine.run(number).expect("it goes on");
            assert!(open.deadline.is_some() && open.run.started_at.is_some(), "it never times out: {open:?}");
        }
        if ends {
            // Its end is on the disk before it is forgotten; a crash before that is a crash while it ran.
            self.act(1);
            if self.disk.as_ref().is_some_and(|disk| disk.open.iter().all(|open| open.run.number != number)) {
                self.over.insert(number);
            }
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let memory = self.machine.memory();
        let (runs, more) = memory.page(None, 10_000);
        if more || memory.history.len() >= 200 {
            return Ok(());
        }
        let mut numbers = BTreeSet::new();
        let mut covered = BTreeSet::new();
        for run in &runs {
            prop_assert!(numbers.insert(run.number), "two records have number {}", run.number);
            if run.slots == Some(0) {
                continue;
            }
            let last = run.last_slot.unwrap_or(run.slot);
            let mut at = run.slot.plus(-1);
            let mut count = 0;
            while let Some(slot) = self.cadence.after(at).filter(|slot| *slot <= last) {
                prop_assert!(covered.insert(slot), "slot {slot} is in two records: {runs:#?}");
                (at, count) = (slot, count + 1);
            }
            prop_assert_eq!(at, last, "the record ends at no slot");
            if let Some(slots) = run.slots {
                prop_assert_eq!(count, slots, "the record is about as many slots as it says");
            }
            if let Some(into) = run.into {
                prop_assert!(runs.iter().any(|other| other.number == into), "run {into} is not there: {runs:#?}");
            }
        }
        let mut at = BEGINNING;
        while let Some(slot) = self.cadence.after(at).filter(|slot| *slot <= memory.decided) {
            let rests = self.rests.iter().any(|(from, to)| slot > *from && to.is_none_or(|to| slot <= to));
            prop_assert!(covered.contains(&slot) || rests, "slot {slot} is in no record: {runs:#?} {:?}", self.rests);
            at = slot;
        }
        if let Some(most) = self.most {
            let by_cadence = runs.iter().filter(|run| run.slots != Some(0) && run.status.has_happened()).count();
            prop_assert!(i64::try_from(by_cadence).unwrap_or(i64::MAX) <= most, "too many runs: {runs:#?}");
        }
        prop_assert_eq!(
            memory.happened,
            i64::try_from(runs.iter().filter(|run| run.status.has_happened()).count()).unwrap_or(-1)
        );
        let going = memory.open.iter().filter(|open| !open.is_pending()).count();
        prop_assert!(going <= 1 && (going == 1 || memory.open.is_empty()), "{:#?}", memory.open);
        Ok(())
    }
}

const _: () = assert!(SETBACK > 4_000 * 1_000, "no jump of this world is a setback");
