//! The task that owns the worktrees of one repository, and the way to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::Machine as _;
use paseo_sdk::machine::worktree::{self, Answer, Fact, Input, Output, Repository, Ticket};
use paseo_sdk::operation::Reporter;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::disk;
use super::site::Site;
use crate::fault::{Point, reached};
use crate::owner::now;

/// The owners of all repositories, each started at its first use.
#[derive(Debug)]
pub(super) struct Owners {
    since: SystemTime,
    tickets: AtomicI64,
    /// One per repository, by the git directory that its worktrees share.
    owners: Mutex<BTreeMap<PathBuf, mpsc::Sender<Message>>>,
}

impl Owners {
    pub(super) fn new() -> Owners {
        Owners { since: SystemTime::now(), tickets: AtomicI64::new(1), owners: Mutex::default() }
    }

    /// Asks the owner of a repository, and takes the request back when this future is dropped before the answer.
    pub(super) async fn ask(
        &self,
        site: &Site,
        reporter: &Reporter,
        input: impl FnOnce(Ticket) -> Input,
    ) -> Result<Answer, ApiError> {
        let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed));
        let owner = self.owner(site);
        let busy = |_| ApiError::from(worktree::Refusal::Full);
        // The place for taking it back is taken with the request, so that a drop never has to wait for one.
        let withdrawal = owner.clone().try_reserve_owned().map_err(busy)?;
        let place = owner.try_reserve().map_err(|_| ApiError::from(worktree::Refusal::Full))?;
        let (reply, answer) = oneshot::channel();
        let asker = Asker { ticket, reply, reporter: reporter.clone() };
        place.send(Message { input: input(ticket), asker: Some(asker) });
        let mut waiting = Waiting { ticket, withdrawal: Some(withdrawal) };
        let answer = answer.await;
        waiting.withdrawal = None;
        match answer {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(ApiError::new(Code::Unavailable, "paseo is shutting down")),
        }
    }

    /// Returns the way to the owner of a repository; starts it at its first use.
    fn owner(&self, site: &Site) -> mpsc::Sender<Message> {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = owners.get(&site.common_dir).filter(|owner| !owner.is_closed()) {
            return owner.clone();
        }
        let (sender, receiver) = mpsc::channel(MOST_MESSAGES);
        let owner = Owner {
            site: site.clone(),
            since: self.since,
            machine: Repository::new(),
            askers: Vec::new(),
            receiver,
            running: None,
        };
        // It ends when the last clone of `Worktrees` is gone and what it had begun is done or undone.
        tokio::spawn(owner.run());
        owners.insert(site.common_dir.clone(), sender.clone());
        sender
    }
}

/// Someone who waits for an answer; dropped before it came, the request is taken back.
struct Waiting {
    ticket: Ticket,
    withdrawal: Option<mpsc::OwnedPermit<Message>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(withdrawal) = self.withdrawal.take() {
            withdrawal.send(Message { input: Input::Cancel { ticket: self.ticket }, asker: None });
        }
    }
}

/// The way back to someone who waits.
#[derive(Debug)]
struct Asker {
    ticket: Ticket,
    reply: oneshot::Sender<Result<Answer, worktree::Refusal>>,
    reporter: Reporter,
}

#[derive(Debug)]
struct Message {
    input: Input,
    asker: Option<Asker>,
}

/// The task that owns one repository's machine.
struct Owner {
    site: Site,
    since: SystemTime,
    machine: Repository,
    /// Those who wait, in the order in which they came. The machine takes them in that order.
    askers: Vec<Asker>,
    receiver: mpsc::Receiver<Message>,
    running: Option<Running>,
}

/// A step that is being carried out.
struct Running {
    task: JoinHandle<Fact>,
    stop: Arc<AtomicBool>,
}

impl Owner {
    async fn run(mut self) {
        let mut open = true;
        loop {
            while let Some(output) = self.machine.poll() {
                self.put_out(output);
            }
            if !open && self.machine.idle() {
                return;
            }
            let task = self.running.as_mut().map(|running| &mut running.task);
            tokio::select! {
                fact = async { task.expect("polled only while a step runs").await }, if task.is_some() => {
                    self.running = None;
                    let fact = fact.unwrap_or_else(|error| {
                        Fact::Failed(ApiError::new(Code::Internal, format!("a step broke off: {error}")))
                    });
                    if let Fact::Failed(error) = &fact {
                        tracing::info!("a step in {} failed: {error}", self.site.main.display());
                    }
                    self.tell(Input::Fact(fact), None);
                }
                message = self.receiver.recv(), if open => match message {
                    Some(Message { input, asker }) => self.tell(input, asker),
                    None => open = false,
                },
            }
        }
    }

    fn put_out(&mut self, output: Output) {
        match output {
            Output::Do(step) => {
                let stop = Arc::new(AtomicBool::new(false));
                let (site, since, seen) = (self.site.clone(), self.since, stop.clone());
                // Whoever waits longest is the one for whom it is done.
                let reporter = self.askers.first().map(|asker| asker.reporter.clone()).unwrap_or_default();
                let task = tokio::task::spawn_blocking(move || {
                    reached(Point::WorktreeStep);
                    let fact = disk::carry_out(&site, since, &step, &seen, &reporter);
                    reached(Point::WorktreeStepDone);
                    fact
                });
                self.running = Some(Running { task, stop });
            }
            Output::Stop => {
                if let Some(running) = &self.running {
                    running.stop.store(true, Ordering::Relaxed);
                }
            }
            Output::Answer { ticket, answer } => {
                if let Some(asker) = self.take_asker(ticket) {
                    // Who has gone has sent a withdrawal, or is about to.
                    let _ = asker.reply.send(Ok(answer));
                }
            }
        }
    }

    fn take_asker(&mut self, ticket: Ticket) -> Option<Asker> {
        let at = self.askers.iter().position(|asker| asker.ticket == ticket)?;
        Some(self.askers.remove(at))
    }

    fn tell(&mut self, input: Input, asker: Option<Asker>) {
        if let Input::Cancel { ticket } = &input {
            self.take_asker(*ticket);
        }
        match (self.machine.handle(now(), input), asker) {
            (Ok(()), Some(asker)) => self.askers.push(asker),
            (Err(refusal), Some(asker)) => drop(asker.reply.send(Err(refusal))),
            (Ok(()), None) => {}
            // The request was over by itself.
            (Err(worktree::Refusal::Unknown), None) => {}
            (Err(refusal), None) => tracing::error!("the worktree machine refused a fact: {refusal}"),
        }
    }
}

/// How many messages may be on their way to an owner. Each request holds one place until it is answered.
const MOST_MESSAGES: usize = 512;
