//! An agent in a world of its own: a disk, a shim with a program, a clock, and a daemon that may die between any two
//! things it does. It does what the daemon's owner of an agent does, without a file or a process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use paseo_sdk::item::{Content, Entry, Happening};
use paseo_sdk::machine::Machine;
use paseo_sdk::machine::agent::{About, Agent, Changes, Fact, Heard, Input, Memory, Output, Progress, Refusal, View};
use paseo_sdk::machine::outbox;
use paseo_sdk::machine::timeline::{self, Timeline};
use paseo_sdk::model::{Mode, Prompt, Timestamp};
use paseo_sdk::provider::{Exit, LaunchSpec, Line, Record, Session, Step, TellId, What};

use super::program::{Act, Kind, Program};

pub(crate) struct World {
    kind: Kind,
    pub(crate) now: Timestamp,
    pub(crate) disk: Disk,
    pub(crate) runs: BTreeMap<i64, Run>,
    pub(crate) daemon: Option<Daemon>,
    /// After how many more outputs the daemon dies.
    pub(crate) fuse: Option<u8>,
    /// How much of what is under way to a shim gets there when the daemon dies.
    pub(crate) luck: u8,
    /// What the machine asked for, in short.
    pub(crate) asked: Vec<String>,
}

/// What a death does not touch.
pub(crate) struct Disk {
    pub(crate) memory: Memory,
    pub(crate) outbox: Vec<outbox::Line>,
    pub(crate) log: Vec<Entry>,
    /// Every line that the outbox ever had.
    pub(crate) history: Vec<outbox::Line>,
}

/// A process and its shim.
pub(crate) struct Run {
    /// With what it was launched.
    pub(crate) spec: LaunchSpec,
    /// The session that it was to go on with.
    pub(crate) resume: Option<String>,
    pub(crate) journal: Vec<Record>,
    pub(crate) program: Program,
    pub(crate) alive: bool,
    /// What is under way to the shim.
    pub(crate) pipe: VecDeque<Word>,
}

pub(crate) enum Word {
    Write(TellId, String),
    Close,
    Stop(String),
}

pub(crate) struct Daemon {
    pub(crate) agent: Agent,
    timeline: Timeline,
    process: Option<Process>,
    launching: Option<Launching>,
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
    known: usize,
    attached: bool,
    last: i64,
}

/// The daemon is no more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Died;

type Lives<T = ()> = Result<T, Died>;

impl World {
    pub(crate) fn new(kind: Kind, mode: Mode) -> World {
        let memory = Memory { about: about(mode), progress: Progress::default() };
        let disk = Disk { memory, outbox: Vec::new(), log: Vec::new(), history: Vec::new() };
        let now = Timestamp(1_700_000_000_000);
        let runs = BTreeMap::new();
        let mut world = World { kind, now, disk, runs, daemon: None, fuse: None, luck: 0, asked: Vec::new() };
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
        let (memory, lines) = (self.disk.memory.clone(), self.disk.outbox.clone());
        let agent = Agent::restore(self.kind.traits(), memory, lines);
        let written = self.disk.log.iter().rev().find_map(|entry| entry.origin);
        let timeline = Timeline::new(self.disk.log.last().map_or(0, |entry| entry.seq), written);
        let first = agent.first_unread_run();
        self.daemon = Some(Daemon { agent, timeline, process: None, launching: None });
        let runs: Vec<_> = self.runs.range(first..).map(|(run, _)| *run).collect();
        for run in runs {
            self.restore_run(run)?;
        }
        self.tell(Input::Restored)?.expect("this is never refused");
        self.attach_if_known()
    }

    fn restore_run(&mut self, run: i64) -> Lives {
        let (records, known) = self.recover(run);
        self.begin(run, known);
        for record in records {
            self.read(&record)?;
        }
        Ok(())
    }

    /// Reads a journal, and attaches to its shim; a journal without a shim is given its end.
    fn recover(&mut self, run: i64) -> (Vec<Record>, usize) {
        let now = self.now;
        let it = self.runs.get_mut(&run).expect("the run is there");
        if !it.alive && !it.ended() {
            it.record(now, What::Exited(Exit { reason: Some("its process was lost".to_owned()), ..Exit::default() }));
        }
        let records = it.journal.clone();
        // A shim reads one connection to its end before it answers the next.
        while self.take(run) {}
        (records, self.runs[&run].journal.len())
    }

    fn begin(&mut self, run: i64, known: usize) {
        let spec = self.daemon().agent.spec(run);
        assert_eq!(
            spec.rules, self.runs[&run].spec.rules,
            "a session that is made again knows the rules of its launch"
        );
        let session = self.kind.session(&spec);
        let process = Process { run, session, due: BTreeMap::new(), known, attached: false, last: 0 };
        self.daemon().process = Some(process);
    }

    fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("the daemon lives")
    }

    /// Kills the daemon.
    pub(crate) fn die(&mut self) -> Died {
        self.fuse = None;
        self.daemon = None;
        for run in self.runs.values_mut() {
            let arrives = usize::from(self.luck) % (run.pipe.len() + 1);
            run.pipe.truncate(arrives);
        }
        Died
    }

    /// Tells the machine something, and does what follows.
    pub(crate) fn tell(&mut self, input: Input) -> Lives<Result<(), Refusal>> {
        let now = self.now;
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
        self.daemon().agent.expire(now);
        self.carry_out()
    }

    fn carry_out(&mut self) -> Lives {
        while let Some(output) = self.daemon().agent.poll() {
            match self.fuse {
                Some(0) => return Err(self.die()),
                Some(left) => self.fuse = Some(left - 1),
                None => {}
            }
            self.carry_out_one(output);
        }
        Ok(())
    }

    fn carry_out_one(&mut self, output: Output) {
        let now = self.now;
        match output {
            Output::Keep(line) => {
                self.disk.history.push(line.clone());
                self.disk.outbox.push(line);
            }
            Output::Happened { at, turn_id, origin, what } => {
                self.write(timeline::Input::Append { at, turn_id, origin, what });
            }
            Output::Wrote { item_id, text } => self.write(timeline::Input::Wrote { item_id, text }),
            Output::Launch { run, resume } => {
                self.asked.push(format!("launch {run}"));
                let spec = self.daemon().agent.spec(run);
                let launching = Launching { run, spec, resume };
                assert!(self.daemon().launching.replace(launching).is_none(), "one launch at a time");
            }
            Output::Tell(id, tell) => {
                self.asked.push(format!("tell {id}"));
                let Some(process) = &self.daemon().process else { return };
                let run = process.run;
                match process.session.phrase(&id, &tell) {
                    Ok(line) => self.send(run, Word::Write(id, line)),
                    Err(unsupported) => {
                        let input = Input::Unsayable { id, reason: unsupported.to_string() };
                        self.daemon().agent.handle(now, input).expect("this is never refused");
                    }
                }
            }
            Output::Close => {
                self.asked.push("close".to_owned());
                self.send_now(Word::Close);
            }
            Output::Stop { reason } => {
                self.asked.push(format!("stop: {reason}"));
                self.send_now(Word::Stop(reason));
            }
            Output::Save(memory) => self.disk.memory = *memory,
            Output::Rewrite(lines) => self.disk.outbox = lines,
            Output::Changed => {}
        }
    }

    fn write(&mut self, input: timeline::Input) {
        let now = self.now;
        let Daemon { timeline, .. } = self.daemon();
        let Ok(()) = timeline.handle(now, input);
        while let Some(output) = self.daemon().timeline.poll() {
            if let timeline::Output::Write(entry) = output {
                self.disk.log.push(*entry);
            }
        }
    }

    fn send_now(&mut self, word: Word) {
        if let Some(run) = self.daemon().process.as_ref().map(|process| process.run) {
            self.send(run, word);
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
        self.attach_if_known()
    }

    /// Starts a shim whether or not anybody is there to hear of it.
    fn spawn(&mut self, launching: Launching, deaf: bool) {
        let Launching { run, spec, resume } = launching;
        let program = self.kind.program(deaf, &spec, resume.as_deref());
        let (journal, pipe) = (Vec::new(), VecDeque::new());
        let mut it = Run { spec, resume, journal, program, alive: true, pipe };
        it.record(self.now, What::Launched { pid: 100 + run, start_time: 0 });
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
        let Some(process) = &self.daemon().process else { return Ok(false) };
        let (run, last) = (process.run, process.last);
        let it = &self.runs[&run];
        let next = it.journal.get(usize::try_from(last).expect("a place in a journal")).cloned();
        match next {
            Some(record) => self.read(&record)?,
            None if !it.alive && !it.ended() => {
                // The link is gone.
                let (records, _) = self.recover(run);
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
        let run = process.run;
        let mut events = Vec::new();
        let mut says = Vec::new();
        for (number, step) in process.session.read(record).into_iter().enumerate() {
            match step {
                Step::Event(event) => events.push(event),
                Step::Say(line) => {
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
        if matches!(fact, Some(Fact::Exited(_))) {
            self.daemon().process = None;
        }
        self.runs.get_mut(&run).expect("the run is there").pipe.extend(says);
        let heard = Heard { run, record: record.seq, at: record.time(), fact, events };
        self.daemon().agent.handle(record.time(), Input::Heard(heard)).expect("a record is never refused");
        self.carry_out()
    }

    fn attach_if_known(&mut self) -> Lives {
        let Some(process) = &mut self.daemon().process else { return Ok(()) };
        if process.attached || usize::try_from(process.last).is_ok_and(|last| last < process.known) {
            return Ok(());
        }
        process.attached = true;
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
        match word {
            Word::Write(id, line) => {
                let told = |record: &Record| matches!(&record.what, What::Told { id: told, .. } if *told == id);
                if !it.journal.iter().any(told) {
                    it.record(now, What::Told { id, line: line.clone() });
                    let says = it.program.told(&line);
                    it.say(now, says);
                }
            }
            Word::Close => {
                it.record(now, What::Closed {});
                it.program.close();
            }
            Word::Stop(reason) => it.exit(now, Exit { reason: Some(reason), ..Exit::default() }),
        }
        true
    }

    /// Lets the newest program do something.
    pub(crate) fn act(&mut self, choose: impl FnOnce(&mut Program) -> Act) {
        let now = self.now;
        let Some((_, it)) = self.runs.iter_mut().next_back().filter(|(_, run)| run.alive) else { return };
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
        let records = self.runs.values().flat_map(|run| &run.journal);
        records
            .filter_map(|record| match &record.what {
                What::Told { id, .. } => Some(id.clone()),
                _ => None,
            })
            .collect()
    }

    /// The same as lines.
    pub(crate) fn told_lines(&self) -> Vec<String> {
        let records = self.runs.values().flat_map(|run| &run.journal);
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
                Word::Close | Word::Stop(_) => None,
            })
            .collect()
    }

    /// The timeline, a line for each entry.
    pub(crate) fn story(&self) -> Vec<String> {
        self.disk.log.iter().map(tale).collect()
    }
}

impl Run {
    fn record(&mut self, now: Timestamp, what: What) {
        let seq = i64::try_from(self.journal.len()).expect("a short journal") + 1;
        self.journal.push(Record { seq, at: now.0, what });
    }

    pub(crate) fn say(&mut self, now: Timestamp, lines: Vec<String>) {
        for line in lines {
            self.record(now, What::Said(Line::Text(line)));
        }
    }

    pub(crate) fn exit(&mut self, now: Timestamp, exit: Exit) {
        self.record(now, What::Exited(exit));
        self.alive = false;
    }

    fn ended(&self) -> bool {
        self.journal.last().is_some_and(|record| matches!(record.what, What::Exited(_)))
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
        cwd: "/".to_owned(),
        trusted: false,
        worktree: None,
        labels: BTreeMap::new(),
        parent: None,
        request: String::new(),
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        archived_at: None,
    }
}
