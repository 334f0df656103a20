//! One task keeps all schedules: it tells their machines the time and what became of runs, and does what they ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::Machine as _;
use paseo_sdk::machine::schedule::{Fact, Input, Memory, Output, Refusal, Schedule};
use paseo_sdk::model::{ScheduleId, ScheduleStatus, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::run;
use crate::Core;
use crate::alarm::Alarm;
use crate::fault::{Point, reached};
use crate::owner::{blocking, now};
use crate::store;
use crate::warning::Warnings;

/// The schedules of this daemon, as everybody may read them; only their keeper changes them.
#[derive(Debug)]
pub(crate) struct Schedules {
    shelf: Mutex<BTreeMap<ScheduleId, Schedule>>,
    directory: PathBuf,
    orders: mpsc::Sender<Order>,
    /// Whether runs wait for the next daemon.
    resting: watch::Sender<bool>,
}

/// Lets no run begin until it is dropped.
pub(crate) struct Rest<'a>(&'a watch::Sender<bool>);

impl Rest<'_> {
    /// Lets none begin at all.
    pub(crate) fn stay(self) {
        std::mem::forget(self);
    }
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

/// Where the keeper reads what it is asked to do.
pub(crate) struct Orders(mpsc::Receiver<Order>);

/// What the keeper is asked to do. It answers when that is on the disk.
pub(super) struct Order {
    pub(super) id: ScheduleId,
    pub(super) what: What,
    pub(super) done: oneshot::Sender<Result<(), ApiError>>,
}

/// What is asked of it.
pub(super) enum What {
    Make(Box<Schedule>),
    Tell(Input),
}

impl Schedules {
    /// Reads every schedule of a home. A file that cannot be understood is set aside and reported; the others run.
    pub(crate) fn load(directory: PathBuf, warnings: &Warnings) -> io::Result<(Schedules, Orders)> {
        let mut shelf = BTreeMap::new();
        for file in fs::read_dir(&directory)? {
            let path = file?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(id) = name.and_then(|name| name.strip_suffix(".json")) else { continue };
            match read(&path, id) {
                Ok(schedule) => drop(shelf.insert(schedule.memory().schedule_id.clone(), schedule)),
                Err(error) => {
                    let damaged = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
                    let aside = damaged.then(|| store::set_aside(&path, now()).ok()).flatten();
                    let place = aside.unwrap_or(path.clone()).display().to_string();
                    warnings.add(format!(
                        "schedule {id} cannot be read ({error}) and does not run; its file is {place}: make it {id}.json \
                         again when it is mended, and restart the daemon"
                    ));
                }
            }
        }
        let (orders, inbox) = mpsc::channel(ORDERS);
        Ok((
            Schedules { shelf: Mutex::new(shelf), directory, orders, resting: watch::Sender::new(false) },
            Orders(inbox),
        ))
    }

    fn file(&self, id: &ScheduleId) -> PathBuf {
        self.directory.join(format!("{id}.json"))
    }

    /// How many are active.
    pub(crate) fn active(&self) -> i64 {
        let is_active = |one: &&Schedule| !one.memory().deleted && one.memory().status == ScheduleStatus::Active;
        self.look(|shelf| i64::try_from(shelf.values().filter(is_active).count()).unwrap_or(i64::MAX))
    }

    /// Lets no run begin for a while.
    pub(crate) fn rest(&self) -> Rest<'_> {
        self.resting.send_replace(true);
        Rest(&self.resting)
    }

    /// Returns when runs may begin.
    pub(super) async fn awake(&self) {
        // Nobody is left who could let them.
        let _ = self.resting.subscribe().wait_for(|resting| !resting).await;
    }

    /// Looks at the schedules.
    pub(super) fn look<T>(&self, look: impl FnOnce(&mut BTreeMap<ScheduleId, Schedule>) -> T) -> T {
        look(&mut self.shelf.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks the keeper for something, and returns when it is done.
    pub(super) async fn ask(&self, id: ScheduleId, what: What) -> Result<(), ApiError> {
        let stopping = || ApiError::new(Code::Unavailable, "the daemon is stopping").hint("ask again when it is back");
        let (done, answer) = oneshot::channel();
        self.orders.send(Order { id, what, done }).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }
}

fn read(path: &Path, id: &str) -> io::Result<Schedule> {
    store::check_owner(path)?;
    let memory: Memory = store::read(path)?.ok_or_else(|| io::Error::other("it is gone"))?;
    let damaged = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
    if memory.schedule_id.as_str() != id {
        return Err(damaged(format!("it says that it is schedule {}", memory.schedule_id)));
    }
    Schedule::load(memory).map_err(|error| damaged(error.to_string()))
}

/// The hands of all schedules.
pub(crate) struct Keeper {
    core: Arc<Core>,
    inbox: mpsc::Receiver<Order>,
    /// When each schedule wants to be told the time.
    due: BTreeMap<ScheduleId, Timestamp>,
    order: BTreeSet<(Timestamp, ScheduleId)>,
    /// The time that was told last.
    told: (Timestamp, Instant),
    /// The runs that go on, and how each is stopped.
    runs: JoinSet<()>,
    stops: BTreeMap<(ScheduleId, i64), watch::Sender<bool>>,
    facts: mpsc::Receiver<(ScheduleId, i64, Fact)>,
    tells: mpsc::Sender<(ScheduleId, i64, Fact)>,
    /// Schedules whose files cannot be written, when that is tried again, and what is said of it.
    stuck: BTreeMap<ScheduleId, (Instant, String)>,
}

impl Keeper {
    pub(crate) fn new(core: Arc<Core>, Orders(inbox): Orders) -> Keeper {
        let (tells, facts) = mpsc::channel(FACTS);
        Keeper {
            core,
            inbox,
            due: BTreeMap::new(),
            order: BTreeSet::new(),
            told: (now(), Instant::now()),
            runs: JoinSet::new(),
            stops: BTreeMap::new(),
            facts,
            tells,
            stuck: BTreeMap::new(),
        }
    }

    /// Keeps the schedules until the daemon ends.
    pub(crate) async fn run(mut self) {
        let alarm = Alarm::new();
        for id in self.core.schedules.look(|shelf| shelf.keys().cloned().collect::<Vec<_>>()) {
            // What cannot be written is tried again.
            let _ = self.drive(&id);
        }
        loop {
            let next = self.order.first().map(|(time, _)| *time);
            let retry = self.stuck.values().map(|(retry, _)| *retry).min();
            tokio::select! {
                order = self.inbox.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
                Some((id, number, fact)) = self.facts.recv() => self.learn(&id, number, fact),
                Some(_) = self.runs.join_next() => {}
                () = alarm.until(next) => self.expire(),
                () = async { sleep_until(retry.unwrap_or_else(Instant::now)).await }, if retry.is_some() => {
                    for id in self.stuck.keys().cloned().collect::<Vec<_>>() {
                        let _ = self.drive(&id);
                    }
                }
            }
        }
    }

    fn obey(&mut self, Order { id, what, done }: Order) {
        let mut fresh = false;
        let told = self.core.schedules.look(|shelf| match what {
            What::Make(made) => match shelf.get(&id) {
                // The same call has come twice.
                Some(there) if there.memory().request == made.memory().request => Ok(()),
                Some(_) => Err(ApiError::new(Code::Conflict, format!("scheduleId: schedule {id} exists"))
                    .hint("give each schedule an id of its own, or none")),
                None => {
                    shelf.insert(id.clone(), *made);
                    fresh = true;
                    Ok(())
                }
            },
            What::Tell(input) => match shelf.get_mut(&id) {
                Some(schedule) => schedule.handle(now(), input).map_err(|refusal| explain(&id, &refusal)),
                None => Err(ApiError::new(Code::NotFound, format!("schedule {id} was deleted meanwhile"))),
            },
        });
        let answer = told.and_then(|()| self.drive(&id));
        if fresh && answer.is_err() {
            // Whoever asked is told that it was not made.
            self.core.schedules.look(|shelf| shelf.remove(&id));
            let _ = self.drive(&id);
            let _ = blocking(|| store::remove(&self.core.schedules.file(&id)));
        }
        // Whoever asked may have gone.
        let _ = done.send(answer);
    }

    fn learn(&mut self, id: &ScheduleId, number: i64, fact: Fact) {
        if matches!(fact, Fact::Ended(_) | Fact::Refused(_) | Fact::Busy | Fact::Gone(_)) {
            reached(Point::RunEnded);
            self.stops.remove(&(id.clone(), number));
        }
        let told = self
            .core
            .schedules
            .look(|shelf| shelf.get_mut(id).map(|schedule| schedule.handle(now(), Input::Fact(number, fact))));
        if let Some(Err(refusal)) = told {
            tracing::warn!("schedule {id} does not take what became of run {number}: {refusal}");
        }
        let _ = self.drive(id);
    }

    /// Tells the time to those that want to know it, and to all when the clock has gone back.
    fn expire(&mut self) {
        let (time, instant) = (now(), Instant::now());
        let (before, then) = std::mem::replace(&mut self.told, (time, instant));
        // The one clock stands still while the machine sleeps, and nobody sets it.
        let passed = i64::try_from(instant.duration_since(then).as_millis()).unwrap_or(i64::MAX);
        let jump = time.0 - before.0 - passed;
        if jump.abs() > JUMP {
            let all = self.core.schedules.look(|shelf| shelf.keys().cloned().collect::<Vec<_>>());
            for id in all {
                let shift = |schedule: &mut Schedule| schedule.handle(time, Input::Shift(jump));
                let _ = self.core.schedules.look(|shelf| shelf.get_mut(&id).map(shift));
                let _ = self.drive(&id);
            }
        }
        let wanted = |due: Timestamp| due <= time || time < before;
        let due: Vec<_> = self.order.iter().take_while(|(due, _)| wanted(*due)).map(|(_, id)| id.clone()).collect();
        for id in due {
            self.core.schedules.look(|shelf| shelf.get_mut(&id).map(|schedule| schedule.expire(time)));
            let _ = self.drive(&id);
        }
    }

    /// Does what a schedule asks for.
    fn drive(&mut self, id: &ScheduleId) -> Result<(), ApiError> {
        let file = self.core.schedules.file(id);
        let mut written = Ok(());
        loop {
            let stuck = self.stuck.remove(id);
            let next = self.core.schedules.look(|shelf| {
                let schedule = shelf.get_mut(id)?;
                let output = if stuck.is_some() { Output::Keep } else { schedule.poll()? };
                Some((output, (output == Output::Keep).then(|| schedule.memory().clone())))
            });
            match next {
                None => break,
                Some((Output::Start(number), _)) => self.start(id, number),
                Some((Output::Stop(number), _)) => {
                    if let Some(stop) = self.stops.get(&(id.clone(), number)) {
                        stop.send_replace(true);
                    }
                }
                Some((Output::Forget, _)) => {
                    if let Err(error) = blocking(|| store::remove(&file)) {
                        self.core.warnings.add(format!("the file of schedule {id} is still there: {error}"));
                    }
                    self.core.schedules.look(|shelf| shelf.remove(id));
                }
                Some((Output::Keep, memory)) => {
                    let Some(memory) = memory else { continue };
                    if let Some((_, warning)) = &stuck {
                        self.core.warnings.remove(warning);
                    }
                    if let Err(error) = blocking(|| store::replace(&file, &memory)) {
                        let warning = format!("schedule {id} cannot be written down: {error}");
                        self.core.warnings.add(warning.clone());
                        let hint = format!("make sure that {} can be written to", file.display());
                        written = Err(ApiError::new(Code::Unavailable, warning.clone()).hint(hint));
                        self.stuck.insert(id.clone(), (Instant::now() + RETRY, warning));
                        break;
                    }
                    reached(Point::ScheduleKept);
                }
            }
        }
        let due = self.core.schedules.look(|shelf| shelf.get(id).and_then(|schedule| schedule.deadline()));
        let due = due.filter(|_| !self.stuck.contains_key(id));
        if let Some(before) = self.due.remove(id) {
            self.order.remove(&(before, id.clone()));
        }
        if let Some(due) = due {
            self.due.insert(id.clone(), due);
            self.order.insert((due, id.clone()));
        }
        written
    }

    fn start(&mut self, id: &ScheduleId, number: i64) {
        let found = self.core.schedules.look(|shelf| {
            let schedule = shelf.get(id)?;
            Some((schedule.memory().clone(), schedule.run(number)?.clone()))
        });
        let Some((memory, open)) = found else { return };
        let (stop, stopped) = watch::channel(false);
        self.stops.insert((id.clone(), number), stop);
        let run = run::Run::of(&memory, open, self.core.clone(), stopped, self.tells.clone());
        self.runs.spawn(run.carry_out());
    }
}

/// Says a refusal in the words of the API.
fn explain(id: &ScheduleId, refusal: &Refusal) -> ApiError {
    let message = format!("schedule {id}: {refusal}");
    match refusal {
        Refusal::Cadence(refusal) => super::define::explain(refusal),
        Refusal::Over(_) => ApiError::new(Code::Conflict, message)
            .hint("`paseo schedule update` with more runs or a later end lets it go on"),
        Refusal::Full(_) => ApiError::new(Code::Unavailable, message).hint("wait until some have ended"),
        Refusal::Deleted => ApiError::new(Code::NotFound, message),
        Refusal::NoRun(_) => ApiError::new(Code::Internal, message),
    }
}

/// How many orders may wait; whoever gives one more waits.
const ORDERS: usize = 32;

/// How many facts about runs may wait; a run that has one more waits.
const FACTS: usize = 64;

/// By how many milliseconds two clocks may differ and count as going on alike.
const JUMP: i64 = 5_000;

/// How long until a file that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);
