//! One task owns one agent: it tells the machine what happened, and does what the machine asks for.

mod inbox;
mod recover;

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::item::Happening;
use paseo_sdk::machine::Machine;
use paseo_sdk::machine::agent::{Agent, Fact, Heard, Input, Output, Refusal};
use paseo_sdk::machine::{outbox, timeline};
use paseo_sdk::model::{Prompt, Timestamp};
use paseo_sdk::provider::{Event, Provider, Record, Session, Step, Tell, TellId, Unsaid, What};
use serde_json::json;
use tokio::runtime::RuntimeFlavor;
use tokio::sync::oneshot;

use self::inbox::persist;
pub(crate) use self::inbox::{Inbox, Order};
use self::recover::Carried;
use crate::fault::{Point, reached};
use crate::launch::{Launcher, Running};
use crate::live::Live;
use crate::shim::link::News;
use crate::store::{self, Log};
use crate::warning::Warnings;

/// Returns what time it is. Nothing else in the daemon asks; the journal of a shim, which is another process, has a clock
/// of its own.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The files of one agent.
pub(crate) struct Files {
    pub(crate) memory: PathBuf,
    pub(crate) directory: PathBuf,
}

impl Files {
    pub(crate) fn of(agents: &Path, id: &str) -> Files {
        Files { memory: agents.join(format!("{id}.json")), directory: agents.join(id) }
    }

    pub(crate) fn outbox(&self) -> PathBuf {
        self.directory.join("outbox.ndjson")
    }

    pub(crate) fn timeline(&self) -> PathBuf {
        self.directory.join("timeline.ndjson")
    }

    pub(crate) fn env(&self) -> PathBuf {
        self.directory.join("env")
    }

    /// MCP servers for it, as its program reads them.
    pub(crate) fn mcp_config(&self) -> PathBuf {
        self.directory.join("mcp.json")
    }

    /// The built-in provider of an agent that was made as a variant: what it says can be read without that variant.
    pub(crate) fn extends(&self) -> PathBuf {
        self.directory.join("extends")
    }

    pub(crate) fn runs(&self) -> PathBuf {
        self.directory.join("runs")
    }
}

/// The hands of one agent.
pub(crate) struct Owner {
    pub(crate) machine: Agent,
    pub(crate) provider: &'static dyn Provider,
    pub(crate) files: Files,
    pub(crate) outbox: Log,
    pub(crate) timeline: Log,
    pub(crate) live: Arc<Live>,
    pub(crate) launcher: Arc<Launcher>,
    pub(crate) inbox: Inbox,
    pub(crate) warnings: Arc<Warnings>,
    pub(crate) process: Option<Process>,
    /// A process that is being started.
    pub(crate) launching: Option<(i64, oneshot::Receiver<Result<Running, String>>)>,
}

/// A process that runs, or whose journal is being read.
pub(crate) struct Process {
    run: i64,
    session: Box<dyn Session>,
    /// What the session said by itself and the journal does not know as told.
    due: BTreeMap<TellId, String>,
    running: Option<Running>,
    /// The last record that was there when the daemon attached: beyond it, what is heard is new.
    known: i64,
    attached: bool,
    last: i64,
    /// Whether its shim was told to begin a new segment and has not: until then, what the segment before the last one
    /// holds may not be read.
    carrying: bool,
    /// Whether its input is to be closed, and why it is to be ended, if it is: a lost link may have lost these words too.
    closing: bool,
    stopping: Option<String>,
    /// When to look for its shim again, after one that lives did not answer.
    relink: Option<Timestamp>,
    /// What was said about its journal's damage: a later reading may find more.
    damage: Option<String>,
}

impl Process {
    /// Listens until the shim has left, so that it does not stay as a zombie. The task ends with the shim.
    fn let_leave(self) {
        if let Some(mut running) = self.running {
            tokio::spawn(async move { while running.heard.next().await.is_some() {} });
        }
    }
}

impl Owner {
    /// Reads what happened in earlier lives, attaches to the process that still runs, and goes on until there are no
    /// more orders. Agents then go on without it, under their shims.
    pub(crate) async fn run(mut self) {
        self.restore().await;
        loop {
            let relink = self.process.as_ref().and_then(|process| process.relink);
            let deadline = [self.machine.deadline(), self.live.deadline(), relink].into_iter().flatten().min();
            tokio::select! {
                order = self.inbox.next() => match order {
                    Some(Order::Tell(input, done)) => self.obey(input, done).await,
                    Some(Order::Note(text, done)) => self.note(text, done).await,
                    Some(Order::Ready(done)) => {
                        let _ = done.send(());
                    }
                    Some(Order::Retire(done)) => {
                        let retires = self.machine.is_archived() && !self.machine.has_process();
                        let _ = done.send(retires);
                        if retires {
                            return;
                        }
                    }
                    None => return,
                },
                heard = hear(&mut self.process) => self.heard(heard).await,
                launched = launched(&mut self.launching) => self.launched(launched).await,
                () = sleep_until(deadline) => {
                    let now = now();
                    self.live.expire(now);
                    self.machine.expire(now);
                    self.carry_out(&mut None).await;
                    if relink.is_some_and(|due| due <= now) {
                        self.lost().await;
                    }
                }
            }
        }
    }

    async fn obey(&mut self, input: Input, done: oneshot::Sender<Result<(), ApiError>>) {
        if let Some(reason) = self.no_answer(&input) {
            let error = ApiError::new(Code::Unsupported, reason).hint("allow it as it is, or deny it with a message");
            let _ = done.send(Err(error));
            return;
        }
        match self.machine.handle(now(), input) {
            Ok(()) => {
                let mut waiting = Some(done);
                self.carry_out(&mut waiting).await;
                reached(Point::Obeyed);
                if let Some(done) = waiting {
                    let _ = done.send(Ok(()));
                }
            }
            Err(refusal) => {
                let _ = done.send(Err(explain(&refusal)));
            }
        }
    }

    /// Writes down something that a person should know.
    async fn note(&mut self, text: String, done: oneshot::Sender<Result<(), ApiError>>) {
        let (at, what) = (now(), Happening::Notice { text });
        let mut waiting = Some(done);
        self.write(at, timeline::Input::Append { at, turn_id: None, origin: None, what }, &mut waiting).await;
        self.publish();
        if let Some(done) = waiting {
            let _ = done.send(Ok(()));
        }
    }

    fn begin(&mut self, run: i64, running: Option<Running>) {
        let session = self.provider.session(&self.machine.spec(run));
        let known = running.as_ref().map_or(0, |running| running.known);
        let due = BTreeMap::new();
        self.process = Some(Process {
            run,
            session,
            due,
            running,
            known,
            attached: false,
            last: 0,
            carrying: false,
            closing: false,
            stopping: None,
            relink: None,
            damage: None,
        });
    }

    async fn launched(&mut self, launched: (i64, Result<Running, String>)) {
        self.launching = None;
        match launched {
            (run, Ok(running)) => {
                self.begin(run, Some(running));
                self.attach_if_known().await;
            }
            (run, Err(reason)) => self.tell(Input::NotLaunched { run, reason }).await,
        }
    }

    async fn heard(&mut self, heard: Option<News>) {
        match heard {
            Some(News::Record(record)) => {
                self.read(&record).await;
                self.attach_if_known().await;
            }
            // It was not told, and its process is about to end: the next one is told.
            Some(News::Refused { id, leaving: true, .. }) => tracing::debug!(agent = %self.live.id, %id, "too late"),
            Some(News::Refused { id, reason, leaving: false }) => self.tell(Input::Unsayable { id, reason }).await,
            Some(News::Trouble(text)) => {
                tracing::warn!(agent = %self.live.id, text, "a shim is in trouble");
                if let Some(process) = &mut self.process {
                    // It may be the new segment that could not be written.
                    process.carrying = false;
                }
                if self.machine.handle(now(), Input::Trouble(text)).is_ok() {
                    // The timeline may be on the disk that is full; whoever looks sees it all the same.
                    self.publish();
                    self.carry_out(&mut None).await;
                }
            }
            Some(News::Unknown { seq }) => {
                tracing::warn!(agent = %self.live.id, seq, "a record that means nothing here is passed over");
                if let Some(process) = &mut self.process {
                    process.last = process.last.max(seq);
                }
                self.attach_if_known().await;
            }
            Some(News::Hello(_)) => {}
            None => self.lost().await,
        }
    }

    /// Reads one record: the session says what it means, the machine what follows.
    async fn read(&mut self, record: &Record) {
        let Some(process) = &mut self.process else { return };
        if record.seq <= process.last {
            return;
        }
        process.last = record.seq;
        if let What::Carried(_) = record.what {
            // It says what the records before it have said already.
            process.carrying = false;
            return;
        }
        let mut events = Vec::new();
        let mut sayings = 0..;
        for step in process.session.read(record) {
            match step {
                Step::Event(event) => events.push(event),
                Step::Say(line) => {
                    let number = sayings.next().unwrap_or(0);
                    let id = TellId(format!("r{}.{number}", record.seq));
                    match &process.running {
                        Some(running) if process.attached => linked(running.words.write(id, line).await),
                        Some(_) | None => {
                            process.due.insert(id, line);
                        }
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
            What::Said(_) | What::Muttered(_) | What::Signalled { .. } | What::Closed {} | What::Carried(_) => None,
        };
        // The shim brings to the disk what the agent was told; what it asks and which turn it has, only its session knows.
        let weighty = events.iter().any(Event::is_weighty);
        if let Some(running) = process.running.as_ref().filter(|_| weighty)
            && let Err(error) = blocking(|| running.sync_journal())
        {
            tracing::warn!(agent = %self.live.id, %error, "a journal cannot be brought to the disk");
        }
        let exited = matches!(fact, Some(Fact::Exited(_)));
        let heard = Heard { run: process.run, record: record.seq, at: record.time(), fact, events };
        if exited && let Some(process) = self.process.take() {
            process.let_leave();
        }
        reached(Point::RecordRead);
        // A record is told with its own time, so that a replay comes to the same.
        if self.machine.handle(record.time(), Input::Heard(heard)).is_ok() {
            self.carry_out(&mut None).await;
        }
        reached(Point::RecordHeard);
    }

    /// Once everything that was there at the attach is read, the process can be told things.
    async fn attach_if_known(&mut self) {
        let Some(process) = &mut self.process else { return };
        // The first record says that there is a process, also where its shim had no room for it when it answered.
        let known = process.last >= process.known.max(1);
        let Some(running) = process.running.as_ref().filter(|_| !process.attached && known) else { return };
        process.attached = true;
        // A lost link may have lost that word.
        process.carrying = false;
        reached(Point::Linked);
        for (id, line) in std::mem::take(&mut process.due) {
            linked(running.words.write(id, line).await);
        }
        if process.closing {
            linked(running.words.close().await);
        }
        if let Some(reason) = &process.stopping {
            linked(running.words.stop(reason).await);
        }
        let run = process.run;
        self.tell(Input::Attached { run }).await;
    }

    /// Returns why the program has no words for an answer that it waits for: nothing would come of one that was accepted.
    fn no_answer(&self, input: &Input) -> Option<String> {
        let Input::Answer { request_id, decision } = input else { return None };
        let view = self.live.view();
        view.agent.permissions.iter().find(|asked| asked.request_id == *request_id)?;
        if view.wishes.iter().any(|wish| wish.permission.request_id == *request_id) {
            return None;
        }
        let tell = Tell::Answer { request_id: request_id.clone(), decision: decision.clone() };
        match self.process.as_ref()?.session.phrase(&TellId::default(), &tell) {
            Err(Unsaid::Never(reason)) => Some(reason),
            Ok(_) | Err(Unsaid::NotYet) => None,
        }
    }

    async fn tell(&mut self, input: Input) {
        if let Err(refusal) = self.machine.handle(now(), input) {
            tracing::warn!(agent = %self.live.id, %refusal, "a fact was refused");
        }
        self.carry_out(&mut None).await;
    }

    /// Does what the machine asks for, in order. `waiting` is answered early when a disk does not take what it must.
    async fn carry_out(&mut self, waiting: &mut Option<oneshot::Sender<Result<(), ApiError>>>) {
        let mut changed = false;
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Keep(line) => {
                    let line = json!(line).to_string();
                    let outbox = &mut self.outbox;
                    let mut appended = false;
                    let keep = || {
                        if !appended {
                            outbox.append(line.as_bytes())?;
                            appended = true;
                            reached(Point::OutboxAppended);
                        }
                        outbox.sync()
                    };
                    persist(&self.live, &mut self.inbox, "the outbox", keep, waiting).await;
                    reached(Point::OutboxSynced);
                }
                Output::Happened { at, turn_id, origin, what } => {
                    self.write(at, timeline::Input::Append { at, turn_id, origin, what }, waiting).await;
                }
                Output::Wrote { item_id, text } => {
                    self.write(now(), timeline::Input::Wrote { item_id, text }, waiting).await;
                }
                Output::Launch { run, resume } => {
                    let (about, spec) = (self.machine.about(), self.machine.spec(run));
                    let launch = self.launcher.clone().launch(self.provider, about, spec, run, resume);
                    self.launching = Some((run, launch));
                }
                Output::Tell(id, tell) => self.say(id, tell).await,
                Output::Close => {
                    if let Some(process) = &mut self.process {
                        process.closing = true;
                    }
                    if let Some(running) = self.running() {
                        linked(running.words.close().await);
                    }
                }
                Output::Stop { reason } => {
                    if let Some(running) = self.running() {
                        linked(running.words.stop(&reason).await);
                    }
                    if let Some(process) = &mut self.process {
                        process.stopping = Some(reason);
                    }
                }
                Output::Save(memory) => {
                    // What the memory has behind it is not read again, so that the timeline must have it before.
                    let timeline = &self.timeline;
                    persist(&self.live, &mut self.inbox, "the timeline", || timeline.sync(), waiting).await;
                    reached(Point::TimelineSynced);
                    let path = &self.files.memory;
                    persist(&self.live, &mut self.inbox, "the agent", || store::replace(path, &memory), waiting).await;
                    reached(Point::MemorySaved);
                }
                Output::Rewrite(lines) => {
                    let lines: Vec<_> =
                        lines.iter().map(|line: &outbox::Line| json!(line).to_string().into_bytes()).collect();
                    let outbox = &mut self.outbox;
                    persist(&self.live, &mut self.inbox, "the outbox", || outbox.rewrite(&lines), waiting).await;
                    reached(Point::OutboxRewritten);
                    self.carry_over().await;
                }
                Output::Changed => changed = true,
            }
        }
        if changed {
            self.publish();
        }
    }

    fn publish(&self) {
        self.live.state(self.machine.view(self.live.last_seq()));
    }

    fn running(&self) -> Option<&Running> {
        self.process.as_ref()?.running.as_ref()
    }

    async fn say(&mut self, id: TellId, tell: Tell) {
        let Some(process) = &mut self.process else { return };
        let note = process.running.as_ref().and_then(|running| running.note.as_deref());
        let phrased = match (note, &tell) {
            (Some(note), Tell::Prompt(prompt)) => {
                let note = prompt.note.as_ref().map_or_else(|| note.to_owned(), |other| format!("{note}\n{other}"));
                process.session.phrase(&id, &Tell::Prompt(Prompt { note: Some(note), ..prompt.clone() }))
            }
            _ => process.session.phrase(&id, &tell),
        };
        reached(Point::Telling);
        match (phrased, &mut process.running) {
            (Ok(line), Some(running)) => {
                if matches!(tell, Tell::Prompt(_)) {
                    running.note = None;
                }
                linked(running.words.write(id, line).await);
                reached(Point::Told);
            }
            (Ok(_), None) => {}
            (Err(unsaid), _) => {
                let input = match unsaid {
                    Unsaid::NotYet => Input::Unready(id),
                    Unsaid::Never(reason) => Input::Unsayable { id, reason },
                };
                // What follows is done by the loop that called this.
                let _ = self.machine.handle(now(), input);
            }
        }
    }

    async fn write(
        &mut self,
        at: Timestamp,
        input: timeline::Input,
        waiting: &mut Option<oneshot::Sender<Result<(), ApiError>>>,
    ) {
        for output in self.live.timeline(at, input) {
            if let timeline::Output::Write(entry) = output {
                let line = match serde_json::to_string(&entry) {
                    Ok(line) => line,
                    Err(error) => {
                        tracing::error!(agent = %self.live.id, %error, "an entry cannot be written as JSON");
                        continue;
                    }
                };
                let timeline = &mut self.timeline;
                persist(&self.live, &mut self.inbox, "the timeline", || timeline.append(line.as_bytes()), waiting)
                    .await;
                reached(Point::EntryWritten);
                self.live.entry(entry.seq, &line);
            }
        }
    }

    /// At a quiet moment, lets the shim begin a new segment when the journal has grown large.
    async fn carry_over(&mut self) {
        let Some(process) = &mut self.process else { return };
        let Some(running) = process.running.as_ref().filter(|_| process.attached && !process.carrying) else { return };
        if running.journal_bytes() > CARRY_BEYOND {
            let pid = self.machine.view(0).agent.pid.unwrap_or_default();
            let carried = Carried { after: process.last, pid, summary: process.session.summary() };
            let said = running.words.carry(json!(carried).to_string()).await;
            // One that is too long for a shim is tried again when it is another.
            process.carrying = said.is_ok();
            linked(said);
            reached(Point::Carried);
        }
    }
}

/// A word that a lost link did not take is said again, by its id, when the link is mended; else its process is gone.
fn linked(said: io::Result<()>) {
    if let Err(error) = said {
        tracing::debug!(%error, "a shim did not take a word");
    }
}

async fn hear(process: &mut Option<Process>) -> Option<News> {
    match process.as_mut().and_then(|process| process.running.as_mut()) {
        Some(running) => running.heard.next().await,
        None => pending().await,
    }
}

async fn launched(
    launching: &mut Option<(i64, oneshot::Receiver<Result<Running, String>>)>,
) -> (i64, Result<Running, String>) {
    match launching {
        Some((run, launched)) => (*run, launched.await.unwrap_or_else(|_| Err("starting it was given up".to_owned()))),
        None => pending().await,
    }
}

async fn sleep_until(deadline: Option<Timestamp>) {
    match deadline {
        Some(deadline) => {
            let left = u64::try_from(deadline.0.saturating_sub(now().0)).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(left)).await;
        }
        None => pending().await,
    }
}

/// Lets other tasks go on elsewhere while the disk works, where there is an elsewhere.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Says a refusal in the words of the API.
fn explain(refusal: &Refusal) -> ApiError {
    let message = refusal.to_string();
    match refusal {
        Refusal::Conflict(_) => {
            ApiError::new(Code::Conflict, message).hint("give each prompt an id of its own, or none")
        }
        Refusal::TooManyReports => {
            ApiError::new(Code::Unavailable, message).hint("they are told when the agent has no turn")
        }
        Refusal::TooManyWishes => {
            ApiError::new(Code::Unavailable, message).hint("`paseo permit ls` shows them; wait for the answers")
        }
        Refusal::Full => ApiError::new(Code::Unavailable, message).hint("wait for the agent, or stop it"),
        Refusal::Unsupported(_) => ApiError::new(Code::Unsupported, message),
        Refusal::NoSuchRequest(_) => {
            ApiError::new(Code::NotFound, message).hint("`paseo permit ls` lists what is waited for")
        }
        Refusal::AlreadyAnswered(_) => ApiError::new(Code::Conflict, message).hint("the first answer counts"),
        Refusal::NoSuchOption { .. } => ApiError::invalid("optionId", message),
    }
}

/// How much journal is carried over to the next segment, in bytes, at a quiet moment.
const CARRY_BEYOND: u64 = 8 * 1024 * 1024;
