//! An agent in a world of its own: a disk, a shim with a program, a clock, and a daemon that may die between any two
//! things it does. It does what the daemon's owner of an agent does, without a file or a process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::iter::Sum;

use paseo_sdk::item::{Content, Entry, Happening};
use paseo_sdk::machine::Machine;
use paseo_sdk::machine::agent::{
    About, Agent, Changes, Fact, Heard, Input, Memory, Output, Progress, Refusal, Reports, View,
};
use paseo_sdk::machine::timeline::{self, Timeline};
use paseo_sdk::model::{self, Mode, Prompt, Timestamp};
use paseo_sdk::provider::{Event, Exit, LaunchSpec, Line, Record, Session, Step, Tell, TellId, Unsaid, What};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::disk::{Disk, Journal, Luck};
use super::program::{Act, Kind, Program};

pub(crate) struct World {
    kind: Kind,
    pub(crate) now: Timestamp,
    pub(crate) disk: Disk,
    pub(crate) runs: BTreeMap<i64, Run>,
    pub(crate) daemon: Option<Daemon>,
    /// After how many more outputs the daemon dies.
    pub(crate) fuse: Option<u8>,
    /// After how many more operations of the daemon on its disk the power goes.
    pub(crate) outage: Option<u8>,
    /// That the disk takes nothing the next time that the daemon writes, and how that goes on.
    pub(crate) full: Option<u8>,
    /// Whether whoever waited for the daemon was told that what he asked for is not written yet.
    pub(crate) put_off: bool,
    /// How much of what is under way to a shim gets there when the daemon dies, and of what is not synced to the disk
    /// when the power goes.
    pub(crate) luck: u8,
    /// How many records a segment of a journal has before another is begun.
    pub(crate) carry_beyond: usize,
    pub(crate) tally: Tally,
    /// What the machine asked for, in short.
    pub(crate) asked: Vec<String>,
}

/// How much has happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// What machines, shims, programs and disks were told.
    pub(crate) events: u64,
    pub(crate) deaths: u64,
    pub(crate) outages: u64,
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Tally>>(tallies: I) -> Tally {
        tallies.fold(Tally::default(), |sum, tally| Tally {
            events: sum.events + tally.events,
            deaths: sum.deaths + tally.deaths,
            outages: sum.outages + tally.outages,
        })
    }
}

/// A process and its shim.
pub(crate) struct Run {
    /// With what it was launched.
    pub(crate) spec: LaunchSpec,
    /// The session that it was to go on with.
    pub(crate) resume: Option<String>,
    pub(crate) journal: Journal,
    pub(crate) program: Program,
    pub(crate) alive: bool,
    /// What the program was told, whatever became of the journal.
    pub(crate) told: Vec<TellId>,
    /// What is under way to the shim.
    pub(crate) pipe: VecDeque<Word>,
}

pub(crate) enum Word {
    Write(TellId, String),
    Close,
    Stop(String),
    Carry(String),
}

pub(crate) struct Daemon {
    pub(crate) agent: Agent,
    timeline: Timeline,
    process: Option<Process>,
    launching: Option<Launching>,
    /// What watchers are shown of the agent, with a number that grows with each change.
    state: (u64, model::Agent),
}

/// A launch that has not come to its end.
struct Launching {
    run: i64,
    spec: LaunchSpec,
    resume: Option<String>,
}

struct Process {
    run: i64,
    session: Box<dyn Session>,
    due: BTreeMap<TellId, String>,
    known: i64,
    attached: bool,
    last: i64,
    carrying: bool,
    /// Up to which record its shim has sent its journal; none while that is read without it.
    sent: Option<i64>,
}

/// What a new segment of a journal begins with.
#[derive(Serialize, Deserialize)]
struct Carried {
    after: i64,
    pid: i64,
    summary: String,
}

/// The daemon is no more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Died;

type Lives<T = ()> = Result<T, Died>;

impl World {
    pub(crate) fn new(kind: Kind, mode: Mode) -> World {
        let memory = Memory { about: about(mode), progress: Progress::default() };
        let mut world = World {
            kind,
            now: Timestamp(1_700_000_000_000),
            disk: Disk::new(memory),
            runs: BTreeMap::new(),
            daemon: None,
            fuse: None,
            outage: None,
            full: None,
            put_off: false,
            luck: 0,
            carry_beyond: usize::MAX,
            tally: Tally::default(),
            asked: Vec::new(),
        };
        world.start().expect("nothing kills it");
        world
    }

    pub(crate) fn view(&self) -> View {
        let daemon = self.daemon.as_ref().expect("the daemon lives");
        daemon.agent.view(daemon.timeline.last_seq())
    }

    /// Starts a daemon on what the last one left.
    pub(crate) fn start(&mut self) -> Lives {
        assert!(self.daemon.is_none(), "one daemon at a time");
        let (memory, lines) = (self.disk.memory.clone(), self.disk.outbox.to_vec());
        let agent = Agent::restore(self.kind.traits(), memory, lines);
        let written = self.disk.log.iter().rev().find_map(|entry| entry.origin);
        let timeline = Timeline::new(self.disk.log.last().map_or(0, |entry| entry.seq), written);
        let first = agent.first_unread_run();
        let state = (0, agent.view(timeline.last_seq()).agent);
        self.daemon = Some(Daemon { agent, timeline, process: None, launching: None, state });
        let runs: Vec<_> = self.runs.range(first..).map(|(run, _)| *run).collect();
        for run in runs {
            self.restore_run(run)?;
        }
        self.tell(Input::Restored)?.expect("this is never refused");
        self.publish();
        self.attach_if_known()
    }

    /// Which daemon lives, by the number of those before it.
    pub(crate) fn number(&self) -> Option<u64> {
        self.daemon.as_ref().map(|_| self.tally.deaths + self.tally.outages)
    }

    /// What watchers are shown of the agent.
    pub(crate) fn state(&self) -> Option<(u64, &model::Agent)> {
        self.daemon.as_ref().map(|daemon| (daemon.state.0, &daemon.state.1))
    }

    fn publish(&mut self) {
        let agent = self.view().agent;
        let state = &mut self.daemon().state;
        if state.1 != agent {
            *state = (state.0 + 1, agent);
        }
    }

    fn restore_run(&mut self, run: i64) -> Lives {
        let (records, known) = self.recover(run);
        self.begin(run, known);
        self.sync_journal(run)?;
        let carried = records.iter().rfind(|record| matches!(record.what, What::Carried(_)));
        let after = carried.map_or(0, |record| self.take_up(run, record));
        for record in records.iter().filter(|record| record.seq > after) {
            self.read(record)?;
        }
        if let Some(process) = &mut self.daemon().process {
            process.sent = records.last().map(|record| record.seq);
        }
        Ok(())
    }

    /// Starts the session from the summary that a segment begins with.
    fn take_up(&mut self, run: i64, record: &Record) -> i64 {
        let What::Carried(text) = &record.what else { panic!("this is no summary") };
        let Carried { after, pid, summary } = serde_json::from_str(text).expect("a daemon has written it");
        let process = self.daemon().process.as_mut().expect("its journal is being read");
        process.session.read(&Record { what: What::Carried(summary), ..record.clone() });
        process.last = after;
        let fact = Some(Fact::Launched { pid });
        let heard = Heard { run, record: after, at: record.time(), fact, events: Vec::new() };
        self.daemon().agent.handle(record.time(), Input::Heard(heard)).expect("a record is never refused");
        after
    }

    /// Reads a journal, and attaches to its shim; a journal without a shim is given its end.
    fn recover(&mut self, run: i64) -> (Vec<Record>, i64) {
        let now = self.now;
        let it = self.runs.get_mut(&run).expect("the run is there");
        if !it.alive && !it.journal.has_ended() {
            it.exit(now, Exit { reason: Some("its process was lost".to_owned()), ..Exit::default() });
        }
        let records = it.journal.held().cloned().collect();
        // A shim reads one connection to its end before it answers the next.
        while self.take(run) {}
        (records, self.runs[&run].journal.last())
    }

    fn begin(&mut self, run: i64, known: i64) {
        let spec = self.daemon().agent.spec(run);
        assert_eq!(
            spec.rules, self.runs[&run].spec.rules,
            "a session that is made again knows the rules of its launch"
        );
        let session = self.kind.session(&spec);
        let (due, attached, last, carrying, sent) = (BTreeMap::new(), false, 0, false, None);
        let process = Process { run, session, due, known, attached, last, carrying, sent };
        self.daemon().process = Some(process);
    }

    fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("the daemon lives")
    }

    /// Kills the daemon.
    pub(crate) fn die(&mut self) -> Died {
        (self.fuse, self.outage, self.full) = (None, None, None);
        self.daemon = None;
        self.tally.deaths += 1;
        for run in self.runs.values_mut() {
            let arrives = usize::from(self.luck) % (run.pipe.len() + 1);
            run.pipe.truncate(arrives);
        }
        Died
    }

    /// Ends everything, and takes some of what no disk was asked to keep.
    pub(crate) fn lose_power(&mut self) -> Died {
        let now = self.now;
        let mut luck = Luck::of(self.luck);
        let launching = self.daemon.take().and_then(|daemon| daemon.launching);
        if let Some(launching) = launching.filter(|_| luck.up_to(1) > 0) {
            self.spawn(launching, false);
        }
        (self.fuse, self.outage, self.full) = (None, None, None);
        self.tally.outages += 1;
        self.disk.lose_power(&mut luck);
        for run in self.runs.values_mut() {
            if let Some(Word::Write(id, line)) = run.pipe.pop_front().filter(|_| run.alive && luck.up_to(1) > 0) {
                // The shim was about to tell it.
                run.write_down(now, &id, &line);
            }
            run.pipe.clear();
            run.alive = false;
            run.journal.lose_power(&mut luck);
        }
        Died
    }

    /// Lets the daemon do something to its files, unless the power goes before that.
    fn on_disk<T>(&mut self, work: impl FnOnce(&mut World) -> T) -> Lives<T> {
        if let Some(how) = self.full.take() {
            self.wait_for_room(how)?;
        }
        match self.outage {
            Some(0) => return Err(self.lose_power()),
            Some(left) => self.outage = Some(left - 1),
            None => {}
        }
        self.tally.events += 1;
        Ok(work(self))
    }

    /// Waits until the disk takes something, or does not live to see it. Meanwhile shims and programs go on, and whoever
    /// asks for something is refused.
    fn wait_for_room(&mut self, how: u8) -> Lives {
        self.put_off = true;
        let mut luck = Luck::of(how);
        let run = self.runs.last_key_value().map_or(0, |(run, _)| *run);
        for _ in 0..luck.up_to(6) {
            self.now = self.now.plus(1_000);
            match luck.up_to(2) {
                0 => drop(self.take(run)),
                1 => self.act(|program| program.act(how)),
                _ => {}
            }
        }
        match how % 5 {
            0 => Err(self.die()),
            1 if self.outage.is_some() => Err(self.lose_power()),
            _ => Ok(()),
        }
    }

    fn sync_journal(&mut self, run: i64) -> Lives {
        self.on_disk(|world| world.runs.get_mut(&run).expect("the run is there").journal.sync())
    }

    /// Tells the machine something, and does what follows.
    pub(crate) fn tell(&mut self, input: Input) -> Lives<Result<(), Refusal>> {
        let now = self.now;
        self.tally.events += 1;
        let answer = self.daemon().agent.handle(now, input);
        self.carry_out()?;
        Ok(answer)
    }

    /// Lets time pass until something is due, but no longer than this.
    pub(crate) fn pass(&mut self, most: i64) -> Lives {
        let due = self.daemon.as_ref().and_then(|daemon| daemon.agent.deadline());
        let later = self.now.plus(most);
        self.now = due.map_or(later, |due| due.clamp(self.now, later));
        let now = self.now;
        self.tally.events += 1;
        self.daemon().agent.expire(now);
        self.carry_out()
    }

    fn carry_out(&mut self) -> Lives {
        let mut changed = false;
        while let Some(output) = self.daemon().agent.poll() {
            match self.fuse {
                Some(0) => return Err(self.die()),
                Some(left) => self.fuse = Some(left - 1),
                None => {}
            }
            changed |= output == Output::Changed;
            self.carry_out_one(output)?;
        }
        if changed {
            self.publish();
        }
        Ok(())
    }

    fn carry_out_one(&mut self, output: Output) -> Lives {
        match output {
            Output::Keep(line) => {
                self.on_disk(|world| {
                    world.disk.history.push(line.clone());
                    world.disk.outbox.append(line);
                })?;
                self.on_disk(|world| world.disk.outbox.sync())?;
            }
            Output::Happened { at, turn_id, origin, what } => {
                self.write(timeline::Input::Append { at, turn_id, origin, what })?;
            }
            Output::Wrote { item_id, text } => self.write(timeline::Input::Wrote { item_id, text })?,
            Output::Launch { run, resume } => {
                self.asked.push(format!("launch {run}"));
                let spec = self.daemon().agent.spec(run);
                let launching = Launching { run, spec, resume };
                assert!(self.daemon().launching.replace(launching).is_none(), "one launch at a time");
            }
            Output::Tell(id, tell) => {
                self.asked.push(format!("tell {id}"));
                self.say(id, tell);
            }
            Output::Close => {
                self.asked.push("close".to_owned());
                self.send_now(Word::Close);
            }
            Output::Stop { reason } => {
                self.asked.push(format!("stop: {reason}"));
                self.send_now(Word::Stop(reason));
            }
            Output::Save(memory) => {
                self.on_disk(|world| world.disk.log.sync())?;
                self.on_disk(|world| {
                    world.disk.memory = *memory;
                    world.disk.remembered = world.disk.log.len();
                })?;
            }
            Output::Rewrite(lines) => {
                self.on_disk(|world| world.disk.outbox.replace(lines))?;
                self.carry_over();
            }
            Output::Changed => {}
        }
        Ok(())
    }

    /// At a quiet moment, lets the shim begin a new segment when the journal has grown large.
    fn carry_over(&mut self) {
        let pid = self.view().agent.pid;
        let Some(process) = self.daemon().process.as_mut().filter(|process| process.attached && !process.carrying)
        else {
            return;
        };
        let (run, after, summary) = (process.run, process.last, process.session.summary());
        if self.runs[&run].journal.size() > self.carry_beyond {
            let carried = Carried { after, pid: pid.expect("a process that is attached"), summary };
            self.send(run, Word::Carry(json!(carried).to_string()));
            self.daemon().process.as_mut().expect("it is there").carrying = true;
        }
    }

    fn write(&mut self, input: timeline::Input) -> Lives {
        let now = self.now;
        let Daemon { timeline, .. } = self.daemon();
        let Ok(()) = timeline.handle(now, input);
        while let Some(output) = self.daemon().timeline.poll() {
            if let timeline::Output::Write(entry) = output {
                self.on_disk(|world| world.disk.log.append(*entry))?;
            }
        }
        Ok(())
    }

    fn send_now(&mut self, word: Word) {
        if let Some(run) = self.daemon().process.as_ref().map(|process| process.run) {
            self.send(run, word);
        }
    }

    fn say(&mut self, id: TellId, tell: Tell) {
        let now = self.now;
        let Some(process) = &mut self.daemon().process else { return };
        let run = process.run;
        match process.session.phrase(&id, &tell) {
            Ok(line) => self.send(run, Word::Write(id, line)),
            Err(unsaid) => {
                let input = match unsaid {
                    Unsaid::NotYet => Input::Unready(id),
                    Unsaid::Never(reason) => Input::Unsayable { id, reason },
                };
                self.daemon().agent.handle(now, input).expect("this is never refused");
            }
        }
    }

    fn send(&mut self, run: i64, word: Word) {
        self.runs.get_mut(&run).expect("the run is there").pipe.push_back(word);
    }

    /// Whether the daemon waits for a process to be there.
    pub(crate) fn launching(&self) -> bool {
        self.daemon.as_ref().is_some_and(|daemon| daemon.launching.is_some())
    }

    /// Lets a launch come to its end: with a process, or with the reason why there is none.
    pub(crate) fn launched(&mut self, deaf: bool, failure: Option<&str>) -> Lives {
        let Some(launching) = self.daemon().launching.take() else { return Ok(()) };
        let run = launching.run;
        if let Some(reason) = failure {
            self.tell(Input::NotLaunched { run, reason: reason.to_owned() })?.expect("this is never refused");
            return Ok(());
        }
        self.spawn(launching, deaf);
        self.begin(run, 1);
        self.daemon().process.as_mut().expect("it has begun").sent = Some(0);
        self.attach_if_known()
    }

    /// Starts a shim whether or not anybody is there to hear of it.
    fn spawn(&mut self, launching: Launching, deaf: bool) {
        let Launching { run, spec, resume } = launching;
        let program = self.kind.program(deaf, &spec, resume.as_deref());
        let (journal, pipe, told) = (Journal::new(), VecDeque::new(), Vec::new());
        let mut it = Run { spec, resume, journal, program, alive: true, told, pipe };
        it.journal.note(self.now, What::Launched { pid: 100 + run, start_time: 0, setup: None });
        assert!(self.runs.insert(run, it).is_none(), "run {run} is there already");
    }

    /// Kills the daemon while a launch is under way; the shim may be there all the same.
    pub(crate) fn die_launching(&mut self, spawned: bool) {
        let launching = self.daemon.as_mut().and_then(|daemon| daemon.launching.take());
        self.die();
        if let Some(launching) = launching.filter(|_| spawned) {
            self.spawn(launching, false);
        }
    }

    /// Lets the daemon read the next record; returns whether there was one.
    pub(crate) fn hear(&mut self) -> Lives<bool> {
        let Some((run, sent)) = self.daemon().process.as_ref().map(|process| (process.run, process.sent)) else {
            return Ok(false);
        };
        let it = &self.runs[&run];
        let next = it.journal.next(sent.expect("it is restored")).cloned();
        match next {
            Some(record) => {
                self.daemon().process.as_mut().expect("it is there").sent = Some(record.seq);
                self.read(&record)?;
            }
            None if !it.alive && !it.journal.has_ended() => {
                // The link is gone.
                let (records, _) = self.recover(run);
                self.sync_journal(run)?;
                self.read(records.last().expect("a journal with an end"))?;
            }
            None => return Ok(false),
        }
        self.attach_if_known()?;
        Ok(true)
    }

    fn read(&mut self, record: &Record) -> Lives {
        let Some(process) = &mut self.daemon().process else { return Ok(()) };
        if record.seq <= process.last {
            return Ok(());
        }
        process.last = record.seq;
        let (run, linked) = (process.run, process.sent.is_some());
        let mut events = Vec::new();
        let mut says = Vec::new();
        let mut sayings = 0..;
        let steps = match record.what {
            // The session knows what it has said itself.
            What::Carried(_) => {
                process.carrying = false;
                Vec::new()
            }
            _ => process.session.read(record),
        };
        for step in steps {
            match step {
                Step::Event(event) => events.push(event),
                Step::Say(line) => {
                    let number: i64 = sayings.next().expect("a few");
                    let id = TellId(format!("r{}.{number}", record.seq));
                    match process.attached {
                        true => says.push(Word::Write(id, line)),
                        false => drop(process.due.insert(id, line)),
                    }
                }
            }
        }
        let fact = match &record.what {
            What::Launched { pid, .. } => Some(Fact::Launched { pid: *pid }),
            What::Told { id, .. } => {
                process.due.remove(id);
                Some(Fact::Told(id.clone()))
            }
            What::Exited(exit) => Some(Fact::Exited(exit.clone())),
            _ => None,
        };
        self.runs.get_mut(&run).expect("the run is there").pipe.extend(says);
        if linked && events.iter().any(Event::is_weighty) {
            self.sync_journal(run)?;
        }
        if matches!(fact, Some(Fact::Exited(_))) {
            self.daemon().process = None;
        }
        self.tally.events += 1;
        let heard = Heard { run, record: record.seq, at: record.time(), fact, events };
        self.daemon().agent.handle(record.time(), Input::Heard(heard)).expect("a record is never refused");
        self.carry_out()
    }

    fn attach_if_known(&mut self) -> Lives {
        let Some(process) = &mut self.daemon().process else { return Ok(()) };
        if process.attached || process.last < process.known {
            return Ok(());
        }
        process.attached = true;
        process.carrying = false;
        let run = process.run;
        let due = std::mem::take(&mut process.due);
        if !self.runs[&run].alive {
            // It ends before anything reaches it.
            return Ok(());
        }
        self.runs
            .get_mut(&run)
            .expect("the run is there")
            .pipe
            .extend(due.into_iter().map(|(id, line)| Word::Write(id, line)));
        self.tell(Input::Attached { run })?.expect("this is never refused");
        Ok(())
    }

    /// Lets a shim take the next word; returns whether there was one.
    pub(crate) fn take(&mut self, run: i64) -> bool {
        let now = self.now;
        let Some(it) = self.runs.get_mut(&run) else { return false };
        let Some(word) = it.pipe.pop_front() else { return false };
        if !it.alive {
            return true;
        }
        self.tally.events += 1;
        match word {
            Word::Write(id, line) => {
                if it.write_down(now, &id, &line) {
                    it.journal.sync();
                    let says = it.program.told(&line);
                    it.told.push(id);
                    it.say(now, says);
                }
            }
            Word::Close => {
                it.journal.note(now, What::Closed {});
                it.program.close();
            }
            Word::Carry(text) => it.journal.carry(now, text),
            Word::Stop(reason) => it.exit(now, Exit { reason: Some(reason), ..Exit::default() }),
        }
        true
    }

    /// Lets the newest program do something.
    pub(crate) fn act(&mut self, choose: impl FnOnce(&mut Program) -> Act) {
        let now = self.now;
        let Some((_, it)) = self.runs.iter_mut().next_back().filter(|(_, run)| run.alive) else { return };
        self.tally.events += 1;
        match choose(&mut it.program) {
            Act::Say(lines) => it.say(now, lines),
            Act::Exit(code) => it.exit(now, Exit { code: Some(code), ..Exit::default() }),
        }
    }

    /// Kills the newest shim: its journal has no end.
    pub(crate) fn lose_shim(&mut self) {
        if let Some((_, it)) = self.runs.iter_mut().next_back() {
            it.alive = false;
        }
    }

    /// Lets everything that is under way arrive, whoever it is for.
    pub(crate) fn settle(&mut self) -> Lives {
        loop {
            let taken = self.runs.last_key_value().map(|(run, _)| *run).is_some_and(|run| self.take(run));
            let launched = self.launching();
            if launched {
                self.launched(false, None)?;
            }
            if !self.hear()? && !taken && !launched {
                return Ok(());
            }
        }
    }

    /// What was told, in the order in which it was, over all runs.
    pub(crate) fn told(&self) -> Vec<TellId> {
        let records = self.runs.values().flat_map(|run| run.journal.iter());
        records
            .filter_map(|record| match &record.what {
                What::Told { id, .. } => Some(id.clone()),
                _ => None,
            })
            .collect()
    }

    /// The same as lines.
    pub(crate) fn told_lines(&self) -> Vec<String> {
        let records = self.runs.values().flat_map(|run| run.journal.iter());
        records
            .filter_map(|record| match &record.what {
                What::Told { line, .. } => Some(line.clone()),
                _ => None,
            })
            .collect()
    }

    /// What is under way to a shim.
    pub(crate) fn under_way(&self) -> BTreeSet<TellId> {
        let words = self.runs.values().flat_map(|run| &run.pipe);
        words
            .filter_map(|word| match word {
                Word::Write(id, _) => Some(id.clone()),
                Word::Close | Word::Stop(_) | Word::Carry(_) => None,
            })
            .collect()
    }

    /// The timeline, a line for each entry.
    pub(crate) fn story(&self) -> Vec<String> {
        self.disk.log.iter().map(tale).collect()
    }
}

impl Run {
    /// Notes that the program is told something; false where it was told so before.
    fn write_down(&mut self, now: Timestamp, id: &TellId, line: &str) -> bool {
        // Only what is still there can be known.
        let known = self.journal.held().any(|record| matches!(&record.what, What::Told { id: told, .. } if told == id));
        if !known {
            self.journal.note(now, What::Told { id: id.clone(), line: line.to_owned() });
        }
        !known
    }

    pub(crate) fn say(&mut self, now: Timestamp, lines: Vec<String>) {
        for line in lines {
            self.journal.note(now, What::Said(Line::Text(line)));
        }
    }

    /// Notes the end, which is on the disk before anybody hears of it.
    pub(crate) fn exit(&mut self, now: Timestamp, exit: Exit) {
        self.journal.note(now, What::Exited(exit));
        self.journal.sync();
        self.alive = false;
    }
}

fn tale(entry: &Entry) -> String {
    let turn = entry.turn_id.as_ref().map_or("-", |turn| turn.as_str());
    match &entry.what {
        Happening::TurnStarted { .. } => format!("{turn}: started"),
        Happening::ItemOpened { item } => format!("{turn}: {} opened", item.item_id),
        Happening::ItemClosed { item } => match &item.content {
            Content::UserMessage { text, .. } => format!("{turn}: user: {text}"),
            Content::AssistantMessage { text } => format!("{turn}: agent: {text}"),
            _ => format!("{turn}: {} closed", item.item_id),
        },
        Happening::Notice { text } => format!("{turn}: notice: {text}"),
        Happening::Error { text } => format!("{turn}: error: {text}"),
        Happening::TurnEnded { outcome, reason, .. } => {
            let reason = reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            format!("{turn}: ended {outcome:?}{reason}").to_lowercase()
        }
    }
}

pub(crate) fn prompt(text: &str) -> Prompt {
    Prompt { text: text.to_owned(), ..Prompt::default() }
}

pub(crate) fn about(mode: Mode) -> About {
    About {
        agent_id: "a1".parse().expect("this is an id"),
        title: "agent".to_owned(),
        provider: "shell".to_owned(),
        model: None,
        mode,
        changes: Changes::default(),
        thinking: None,
        system_prompt: None,
        inject_tools: None,
        cwd: "/".to_owned(),
        trusted: false,
        worktree: None,
        labels: BTreeMap::new(),
        parent: None,
        request: String::new(),
        reports: Reports::default(),
        wishes: Vec::new(),
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        archived_at: None,
    }
}
