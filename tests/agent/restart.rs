//! A restart costs nothing: whatever happens to an agent, and whenever the daemon dies, everything comes to the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use paseo_sdk::catalogue::WhenBusy;
use paseo_sdk::item::{Content, Happening, Origin};
use paseo_sdk::machine::Machine;
use paseo_sdk::machine::agent::{Agent, Fact, Heard, Input, Memory, Output, Progress, Report, prompt_tell};
use paseo_sdk::machine::outbox;
use paseo_sdk::model::{
    AgentId, Behavior, Decision, Mode, Outcome, Permission, PermissionKind, PromptId, RequestId, Status,
};
use paseo_sdk::provider::{Line, Step, What};
use proptest::collection::vec;
use proptest::prelude::*;

use super::program::{Kind, NOTED};
use super::watcher::Watcher;
use super::world::{Died, Tally, World, about, prompt};

/// One thing that happens, as two numbers: what, and how.
type Moment = (u8, u8);

/// How many kinds of moments there are.
const KINDS: u8 = 32;

/// What people ask for.
const MODES: [Mode; 4] = [Mode::Plan, Mode::Default, Mode::Auto, Mode::FullAccess];

#[test]
fn a_restart_costs_an_agent_of_the_shell_nothing() {
    check(Kind::Shell, false, 600);
}

#[test]
fn a_restart_costs_an_agent_that_does_what_it_likes_nothing() {
    check(Kind::Talk, false, 1_200);
}

#[test]
fn a_restart_costs_an_agent_that_is_not_ready_at_first_nothing() {
    check(Kind::Shy, false, 600);
}

#[test]
fn a_loss_of_power_costs_an_agent_of_the_shell_its_turn_at_most() {
    check(Kind::Shell, true, 600);
}

#[test]
fn a_loss_of_power_costs_an_agent_that_does_what_it_likes_its_turn_at_most() {
    check(Kind::Talk, true, 1_200);
}

#[test]
fn a_loss_of_power_costs_an_agent_that_is_not_ready_at_first_its_turn_at_most() {
    check(Kind::Shy, true, 600);
}

fn check(kind: Kind, power_fails: bool, cases: u32) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(luck in any::<u8>(), moments in moments())| {
        live(kind, power_fails, luck, &moments.0);
    });
}

pub(super) fn moments() -> impl Strategy<Value = Moments> {
    vec(any::<Moment>(), 0..150).prop_map(Moments)
}

/// Moments, shown on one line.
pub(super) struct Moments(pub(super) Vec<Moment>);

impl fmt::Debug for Moments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "&{:?}", self.0.iter().map(|(what, how)| (what % KINDS, how)).collect::<Vec<_>>())
    }
}

pub(super) fn live(kind: Kind, power_fails: bool, luck: u8, moments: &[Moment]) -> Tally {
    let mode = if luck.is_multiple_of(3) { Mode::FullAccess } else { Mode::Default };
    let mut life = Life::new(kind, mode, power_fails);
    if luck.is_multiple_of(2) {
        // Where there is no room for more than the summary, there would be one after the other.
        life.world.carry_beyond = 1 + usize::from(luck) % 11;
    }
    for moment in moments {
        life.go_on(*moment);
        life.look();
    }
    life.come_to_rest();
    life.judge();
    let Life { watchers, world, .. } = life;
    watchers.into_iter().chain([Watcher::new()]).for_each(|watcher| watcher.judge(&world));
    world.tally
}

/// A life of an agent, and what its clients were promised.
struct Life {
    kind: Kind,
    mode: Mode,
    world: World,
    power_fails: bool,
    watchers: [Watcher; 3],
    /// Prompts whose acceptance was answered, with their text.
    accepted: BTreeMap<PromptId, String>,
    /// Prompts that may not be told any more, and how often they were.
    withdrawn: BTreeMap<PromptId, usize>,
    /// The mode that somebody asked for, and how often programs had changed theirs by themselves by then.
    mode_asked: Option<(Mode, u32)>,
    /// How many reports it was to be told, and the keys of those that it was told otherwise.
    reports: u8,
    witnessed: BTreeSet<String>,
    /// The keys of its own reports of which it knows that they have arrived, and of what it was to keep for itself.
    arrived: BTreeSet<(AgentId, String)>,
    unreported: BTreeSet<String>,
    /// What a client asked for when the daemon died: it asks again.
    unanswered: Option<Input>,
}

impl Life {
    fn new(kind: Kind, mode: Mode, power_fails: bool) -> Life {
        let world = World::new(kind, mode.clone());
        let (accepted, withdrawn) = (BTreeMap::new(), BTreeMap::new());
        let watchers = std::array::from_fn(|_| Watcher::new());
        Life {
            kind,
            mode,
            world,
            power_fails,
            watchers,
            accepted,
            withdrawn,
            mode_asked: None,
            reports: 0,
            witnessed: BTreeSet::new(),
            arrived: BTreeSet::new(),
            unreported: BTreeSet::new(),
            unanswered: None,
        }
    }

    /// Lets one thing happen. A daemon that dies of it is started again later.
    fn go_on(&mut self, (what, how): Moment) {
        self.world.now = self.world.now.plus(7);
        self.world.luck = how;
        let what = what % KINDS;
        if !(14..30).contains(&what) && (self.wake().is_err() || self.unanswered.is_some()) {
            return;
        }
        let run = self.world.runs.last_key_value().map_or(0, |(run, _)| *run);
        let _: Result<(), Died> = match what {
            0..=2 => self.ask(self.some_prompt(how)),
            3 => self.ask_about_permission(how),
            4 => match how % 12 {
                0..=2 => self.ask(Input::Cancel),
                3 => self.ask(Input::Archive),
                4 => self.ask(Input::Dismiss),
                5..=8 => self.ask(Input::SetMode(MODES[usize::from(how / 12) % MODES.len()].clone())),
                9 => {
                    let model = Some(format!("m{}", how / 12 % 3));
                    self.ask(Input::Update { title: None, labels: BTreeMap::new(), model })
                }
                _ => self.ask(Input::Update { title: Some(format!("t{how}")), labels: BTreeMap::new(), model: None }),
            },
            5..=10 => match self.world.launching() {
                true => self.world.launched(how.is_multiple_of(4), Some("no room").filter(|_| how.is_multiple_of(5))),
                false => self.world.hear().map(drop),
            },
            11 | 12 => self.world.pass(i64::from(how) * 500),
            13 => {
                self.world.fuse = Some(how % 12);
                Ok(())
            }
            14..=16 => {
                self.world.take(run);
                Ok(())
            }
            17..=21 => {
                self.world.act(|program| program.act(how));
                Ok(())
            }
            24 if self.power_fails && how.is_multiple_of(3) => {
                self.world.lose_power();
                Ok(())
            }
            25 if self.power_fails && how.is_multiple_of(2) => {
                self.world.outage = Some(how % 16);
                Ok(())
            }
            27..=29 => {
                self.watchers[usize::from(what - 27)].go_on(&self.world, how);
                Ok(())
            }
            30 | 31 => self.news(how),
            26 => {
                self.world.full = Some(how);
                Ok(())
            }
            22 if self.world.daemon.is_some() => {
                self.world.die_launching(how.is_multiple_of(2));
                Ok(())
            }
            _ => {
                if how.is_multiple_of(4) {
                    self.world.lose_shim();
                }
                Ok(())
            }
        };
    }

    fn wake(&mut self) -> Result<(), Died> {
        if self.world.daemon.is_none() {
            self.world.start()?;
        }
        match self.unanswered.clone() {
            Some(input) => self.ask(input),
            None => Ok(()),
        }
    }

    fn some_prompt(&self, how: u8) -> Input {
        let when_busy = match how % 4 {
            0 => WhenBusy::Interrupt,
            1 if self.kind != Kind::Shell => WhenBusy::Steer,
            _ => WhenBusy::Queue,
        };
        // Now and then one that is known already.
        let number = if how.is_multiple_of(5) { usize::from(how % 3) } else { self.accepted.len() };
        let text =
            if self.kind != Kind::Shell && number % 7 == 5 { "unspeakable".to_owned() } else { format!("t{number}") };
        Input::Prompt { id: format!("p{number}").parse().expect("this is an id"), prompt: prompt(&text), when_busy }
    }

    /// Lets something happen between this agent and others: one that it reports to, and those that report to it.
    fn news(&mut self, how: u8) -> Result<(), Died> {
        let view = self.world.view();
        match how % 8 {
            0 => self.ask(Input::ReportTo(format!("b{}", how / 8 % 2).parse().expect("this is an id"))),
            1..=3 if self.kind != Kind::Shell => {
                // Now and then one that is known already, as after a daemon that died in between.
                let number = if how.is_multiple_of(3) { self.reports / 2 } else { self.reports };
                self.ask(Input::Report(Report { key: format!("r{number}"), text: format!("news r{number};") }))
            }
            4 | 5 => self.carry_reports(),
            6 => match view.reports.incoming.last() {
                Some(report) => self.ask(Input::Witnessed(vec![report.key.clone()])),
                None => Ok(()),
            },
            _ => match view.wishes.first() {
                Some(wish) => self.ask(Input::WishEnded(wish.permission.request_id.clone())),
                None if view.agent.pid.is_some() => self.ask(Input::Wish(Box::new(wish(how)))),
                None => Ok(()),
            },
        }
    }

    /// Carries what it reports to where that goes.
    fn carry_reports(&mut self) -> Result<(), Died> {
        let outgoing = self.world.view().reports.outgoing;
        let Some(to) = outgoing.first().map(|outgoing| outgoing.to.clone()) else { return Ok(()) };
        let there = outgoing.into_iter().filter(|outgoing| outgoing.to == to);
        self.ask(Input::Reported(to.clone(), there.map(|outgoing| outgoing.report.key).collect()))
    }

    fn ask_about_permission(&mut self, how: u8) -> Result<(), Died> {
        let Some(permission) = self.world.view().agent.permissions.first().cloned() else { return Ok(()) };
        let decision =
            decision(if how.is_multiple_of(3) { Behavior::Deny } else { Behavior::Allow }, how.is_multiple_of(7));
        self.ask(Input::Answer { request_id: permission.request_id, decision })
    }

    /// Asks for something, and notes what was promised.
    fn ask(&mut self, input: Input) -> Result<(), Died> {
        self.unanswered = Some(input.clone());
        let (mode, whims) = (self.world.view().agent.mode, self.whims());
        match &input {
            // Where the daemon dies of it, it may be the one or the other.
            Input::Witnessed(keys) => self.witnessed.extend(keys.clone()),
            Input::ReportTo(_) => {
                let ended = self.world.view().agent.last_turn;
                let first = self.world.view().reports.to.is_empty();
                self.unreported.extend(ended.filter(|_| first).map(|end| end.turn_id.to_string()));
            }
            _ => {}
        }
        self.world.put_off = false;
        let answer = self.world.tell(input.clone())?;
        if answer.is_ok() && self.world.put_off {
            // Asked for with the same id again, it is carried out once.
            return Ok(());
        }
        self.unanswered = None;
        match (input, answer) {
            (Input::Prompt { id, prompt, .. }, Ok(())) => {
                let known = self.accepted.insert(id, prompt.text.clone());
                assert!(known.is_none_or(|known| known == prompt.text));
            }
            (Input::Cancel | Input::Archive | Input::Dismiss, Ok(())) => {
                let under_way = self.world.under_way();
                let withdrawn = self.accepted.keys().filter(|id| !under_way.contains(&prompt_tell(id)));
                let withdrawn: Vec<_> = withdrawn.map(|id| (id.clone(), self.times_told(id))).collect();
                for (id, times) in withdrawn {
                    self.withdrawn.entry(id).or_insert(times);
                }
            }
            (Input::Report(report), Ok(())) if report.key == format!("r{}", self.reports) => self.reports += 1,
            (Input::Reported(to, keys), Ok(())) => self.arrived.extend(keys.into_iter().map(|key| (to.clone(), key))),
            (Input::SetMode(asked), Ok(())) if asked != mode => self.mode_asked = Some((asked, whims)),
            // Where it acts so already, nothing is changed, unless a daemon did that which died before it answered.
            (Input::SetMode(asked), Ok(())) => {
                self.mode_asked = self.mode_asked.take().filter(|(mode, _)| *mode == asked)
            }
            _ => {}
        }
        Ok(())
    }

    fn times_told(&self, id: &PromptId) -> usize {
        self.world.told().iter().filter(|told| **told == prompt_tell(id)).count()
    }

    /// How often programs have changed their mode by themselves.
    fn whims(&self) -> u32 {
        self.world.runs.values().map(|run| run.program.whims()).sum()
    }

    /// What must be so at any time.
    fn look(&self) {
        let Some(daemon) = &self.world.daemon else { return };
        let view = self.world.view();
        let status = view.agent.status;
        let mut outgoing =
            view.reports.outgoing.iter().map(|outgoing| (outgoing.to.clone(), outgoing.report.key.clone()));
        let again = outgoing.find(|outgoing| self.arrived.contains(outgoing));
        assert_eq!(again, None, "what has arrived is reported again");
        // A wish may outlive the process of the one who has it for as long as its journal is not read.
        if status == Status::Running || status == Status::Waiting && view.wishes.is_empty() {
            assert!(view.agent.pid.is_some(), "{status:?} without a process");
        }
        if status == Status::Starting {
            assert!(daemon.agent.has_process(), "starting nothing");
        }
    }

    /// Lets everything come to its end: every question is allowed, every turn ends, every process leaves.
    fn come_to_rest(&mut self) {
        (self.world.fuse, self.world.outage, self.world.full) = (None, None, None);
        self.wake().expect("nothing kills it");
        self.world.settle().expect("nothing kills it");
        self.look_at_permissions();
        for _ in 0..2_000 {
            self.world.settle().expect("nothing kills it");
            self.look();
            if let Some(permission) = self.world.view().agent.permissions.first().cloned() {
                let decision = decision(Behavior::Allow, false);
                self.ask(Input::Answer { request_id: permission.request_id, decision }).expect("nothing kills it");
                continue;
            }
            self.look_at_mode();
            let before = self.world.runs.values().map(|run| run.journal.last()).sum::<i64>();
            self.world.act(super::program::Program::finish);
            self.world.settle().expect("nothing kills it");
            let after = self.world.runs.values().map(|run| run.journal.last()).sum::<i64>();
            if before == after {
                let agent = &self.world.daemon.as_ref().expect("it lives").agent;
                if agent.deadline().is_none() && !agent.has_process() {
                    if self.world.view().reports.incoming.is_empty() {
                        return;
                    }
                    // Somebody has stopped or archived it before it was told; it is told with the next prompt.
                    let id = "last".parse().expect("this is an id");
                    let last = Input::Prompt { id, prompt: prompt("last"), when_busy: WhenBusy::Queue };
                    self.ask(last).expect("nothing kills it");
                }
                self.world.pass(1_000_000).expect("nothing kills it");
            }
        }
        panic!("it never comes to rest: {:?} {:#?}", self.world.asked, self.world.view());
    }

    /// A program that asks is heard, unless its question is answered already.
    fn look_at_permissions(&self) {
        let Some((number, run)) = self.world.runs.last_key_value().filter(|(_, run)| run.alive) else { return };
        let view = self.world.view();
        let shown: BTreeSet<_> = view.agent.permissions.iter().map(|ask| ask.request_id.to_string()).collect();
        for asked in run.program.asking() {
            let answer = format!("answer.{number}.{asked}");
            let answered = self.world.disk.history.iter().any(|line| match line {
                outbox::Line::Accepted { id, .. } => id.0 == answer,
                outbox::Line::Settled { .. } => false,
            });
            assert!(answered || shown.contains(&asked), "{asked} is lost, only {shown:?} are shown");
        }
    }

    /// Once everything has arrived, a program acts as freely as people are told, or leaves.
    fn look_at_mode(&self) {
        let mode = &self.world.view().agent.mode;
        let changes = self.world.daemon.as_ref().expect("it lives").agent.about().changes;
        if let Some((run, it)) = self.world.runs.last_key_value().filter(|(_, it)| it.alive)
            && let Some(acts) = it.program.mode().filter(|_| changes.outdated_run != *run)
        {
            assert_eq!(acts, mode, "how run {run} acts\n{}", self.story());
        }
        if let Some((asked, whims)) = &self.mode_asked
            && *whims == self.whims()
        {
            assert_eq!(mode, asked, "the mode that somebody asked for");
        }
    }

    /// A prompt is told once, and once more for each process that had forgotten its session.
    fn judge_tellings(&self, id: &PromptId) {
        let mut given_back = true;
        for (run, it) in &self.world.runs {
            let times = it.told.iter().filter(|told| **told == prompt_tell(id)).count();
            assert!(times <= usize::from(given_back), "run {run} was told {id} {times} times\n{}", self.story());
            if times > 0 {
                let forgotten = What::Said(Line::Text(format!("forget {}", prompt_tell(id))));
                given_back = it.journal.iter().any(|record| record.what == forgotten);
            }
        }
    }

    /// What was cut off is told with a prompt when the timeline says so, and only then.
    fn judge_notes(&self) {
        for (run, it) in &self.world.runs {
            for record in it.journal.iter() {
                let What::Told { line, .. } = &record.what else { continue };
                let noted = line.split(' ').nth(2) == Some(NOTED);
                let here = |origin: Origin| (origin.run, origin.record) == (*run, record.seq);
                let shown = self.world.disk.log.iter().filter(|entry| {
                    let tells = |text: &str| text.starts_with("the agent is told: ");
                    matches!(&entry.what, Happening::Notice { text } if tells(text)) && entry.origin.is_some_and(here)
                });
                assert_eq!(shown.count(), usize::from(noted), "{line} in run {run}\n{}", self.story());
            }
        }
    }

    /// What it was to be told of others is in its timeline once, and so is what it reports.
    fn judge_reports(&self) {
        let view = self.world.view();
        assert_eq!(view.reports.incoming, [], "something is left to be told\n{}", self.story());
        let said = |key: &str| {
            let news = format!("news {key};");
            let says = |entry: &&paseo_sdk::item::Entry| match &entry.what {
                Happening::ItemClosed { item } => {
                    matches!(&item.content, Content::UserMessage { text, .. } if text.contains(&news))
                }
                _ => false,
            };
            self.world.disk.log.iter().filter(says).count()
        };
        for key in (0..self.reports).map(|number| format!("r{number}")) {
            let (times, least) = (said(&key), usize::from(!self.witnessed.contains(&key)));
            assert!((least..=1).contains(&times), "{key} is told {times} times\n{}", self.story());
        }
        if let ([_, ..], Some(end), None) = (&view.reports.to[..], &view.agent.last_turn, view.agent.archived_at)
            && !self.unreported.contains(end.turn_id.as_str())
        {
            let key = format!("a1:end:{}", end.turn_id);
            let made = view.reports.outgoing.iter().any(|outgoing| outgoing.report.key == key);
            let arrived = self.arrived.iter().any(|(_, arrived)| *arrived == key);
            assert!(made || arrived, "{key} is not reported\n{}", self.story());
            assert_ne!(end.outcome, Outcome::Completed, "it reports for ever");
        }
    }

    fn story(&self) -> String {
        let journals =
            self.world.runs.iter().map(|(run, it)| (run, it.journal.iter().collect::<Vec<_>>())).collect::<Vec<_>>();
        format!("{:#?}\n{:?}\n{journals:?}\n{:?}", self.world.story(), self.world.disk.history, self.world.asked)
    }

    fn judge(&self) {
        let log = &self.world.disk.log;
        for (entry, seq) in log.iter().zip(1..) {
            assert_eq!(entry.seq, seq, "a gap in the timeline");
        }
        let origins: Vec<_> = log.iter().filter_map(|entry| entry.origin).collect();
        assert!(origins.is_sorted_by(|one, next| one < next), "an entry is there twice: {origins:?}");
        let finished = self.world.view().finished;
        for id in self.accepted.keys() {
            self.judge_tellings(id);
            let times = self.times_told(id);
            let allowed = self.withdrawn.get(id).is_none_or(|most| times <= *most);
            assert!(allowed, "{id} was withdrawn and told\n{}", self.story());
            let mut ends = finished.iter().filter(|end| end.prompt_id.as_ref() == Some(id));
            let (end, more) = (ends.next(), ends.count());
            assert!(end.is_some() && more == 0, "{id} has one end that is remembered, not {end:?}\n{}", self.story());
            let of_turn =
                log.iter().filter(|entry| entry.turn_id.as_ref().is_some_and(|turn| turn.as_str() == id.as_str()));
            let counts = of_turn.fold((0, 0), |(starts, ends), entry| match entry.what {
                Happening::TurnStarted { .. } => (starts + 1, ends),
                Happening::TurnEnded { .. } => (starts, ends + 1),
                _ => (starts, ends),
            });
            // One that joined has its end with another turn, and one that was dropped may have had none.
            let joined = end.is_some_and(|end| end.turn_id.as_str() != id.as_str());
            let dropped = format!("prompt {id}: it was taken back before the agent read it");
            let dropped = log.iter().any(|entry| matches!(&entry.what, Happening::Notice { text } if *text == dropped));
            let expected = if joined || dropped { (0, 0) } else { (1, 1) };
            assert_eq!(counts, expected, "starts and ends of {id} in the timeline\n{}", self.story());
            let item = format!("prompt.{id}");
            let said = log.iter().filter(
                |entry| matches!(&entry.what, Happening::ItemClosed { item: said } if said.item_id.as_str() == item),
            );
            assert_eq!(said.count(), 1, "what {id} says is in the timeline\n{}", self.story());
        }
        self.judge_notes();
        self.judge_reports();
        // The journal may have lost what the timeline has not.
        let lost = |origin: &Origin| {
            self.world.runs.get(&origin.run).is_some_and(|run| run.journal.lost.contains(&origin.record))
        };
        let shown = log.iter().filter_map(|entry| Some((entry.origin?, entry.what.clone())));
        let shown: Vec<_> = shown.filter(|(origin, _)| !lost(origin)).collect();
        let expected = self.without_deaths();
        let expected: Vec<_> = expected.into_iter().filter(|(origin, _)| !lost(origin)).collect();
        assert_eq!(shown, expected, "another timeline than without deaths\n{}", self.story());
        assert_eq!(self.world.disk.outbox[..], [], "something is left in the outbox");
    }

    /// The entries that the same journals and the same outbox give when they are read once.
    fn without_deaths(&self) -> Vec<(Origin, Happening)> {
        let memory = Memory { about: about(self.mode.clone()), progress: Progress::default() };
        let spec = memory.about.spec();
        let mut agent = Agent::restore(self.kind.traits(), memory, self.world.disk.history.clone());
        let mut entries = Vec::new();
        let mut collect = |agent: &mut Agent| {
            while let Some(output) = agent.poll() {
                if let Output::Happened { origin: Some(origin), what, .. } = output {
                    entries.push((origin, what));
                }
            }
        };
        collect(&mut agent);
        for (run, it) in &self.world.runs {
            let mut session = self.kind.session(&spec);
            for record in it.journal.iter() {
                if matches!(record.what, What::Carried(_)) {
                    continue;
                }
                let events = session.read(record).into_iter().filter_map(|step| match step {
                    Step::Event(event) => Some(event),
                    Step::Say(_) => None,
                });
                let fact = match &record.what {
                    What::Launched { pid, .. } => Some(Fact::Launched { pid: *pid }),
                    What::Told { id, .. } => Some(Fact::Told(id.clone())),
                    What::Exited(exit) => Some(Fact::Exited(exit.clone())),
                    _ => None,
                };
                let (at, record) = (record.time(), record.seq);
                let heard = Heard { run: *run, record, at, fact, events: events.collect() };
                agent.handle(at, Input::Heard(heard)).expect("a record is never refused");
                collect(&mut agent);
            }
        }
        entries
    }
}

/// What it wants of paseo.
fn wish(how: u8) -> Permission {
    Permission {
        request_id: RequestId(format!("w{}", how % 3)),
        agent_id: "a1".parse().expect("this is an id"),
        kind: PermissionKind::Other,
        title: "act more freely".to_owned(),
        description: None,
        input: serde_json::Value::Null,
        options: Vec::new(),
        asked_at: paseo_sdk::model::Timestamp(0),
    }
}

pub(crate) fn decision(behavior: Behavior, interrupt: bool) -> Decision {
    Decision { behavior, option_id: None, message: None, updated_input: None, interrupt }
}
