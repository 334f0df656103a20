//! The hands of the worktree machine: one task per repository carries out its steps, on threads that may block.

mod counting;
mod disk;
mod list;
mod site;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use paseo_sdk::catalogue::{CreateWorktree, WorktreeSource};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::Machine as _;
use paseo_sdk::machine::worktree::{self, Answer, Fact, Input, Note, Output, Repository, Ticket, Want};
use paseo_sdk::model::{ListedWorktree, Worktree};
use paseo_sdk::operation::Reporter;
use site::Site;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::owner::now;

/// Makes, lists and takes back the worktrees of every repository. Clones share their owners.
#[derive(Clone, Debug)]
pub struct Worktrees {
    shared: Arc<Shared>,
    reporter: Reporter,
}

#[derive(Debug)]
struct Shared {
    home: PathBuf,
    since: SystemTime,
    tickets: AtomicI64,
    /// One owner per repository, by the git directory that its worktrees share.
    owners: Mutex<BTreeMap<PathBuf, mpsc::Sender<Message>>>,
}

impl Worktrees {
    /// Makes the hands that keep worktrees below `home`, an absolute path.
    #[must_use]
    pub fn new(home: PathBuf) -> Worktrees {
        let shared = Shared { home, since: SystemTime::now(), tickets: AtomicI64::new(1), owners: Mutex::default() };
        Worktrees { shared: Arc::new(shared), reporter: Reporter::default() }
    }

    /// Returns the same hands, which tell `reporter` how far they are with what they make.
    #[must_use]
    pub fn with_progress(&self, reporter: Reporter) -> Worktrees {
        Worktrees { shared: self.shared.clone(), reporter }
    }

    /// Makes a worktree of the repository of `cwd`, or returns the one that is there. Whoever drops the future before
    /// its end leaves nothing behind.
    ///
    /// # Errors
    ///
    /// What is wrong with the request, what is in its way, or what failed; nothing of it is left then.
    pub async fn create(&self, request: &CreateWorktree, cwd: &Path) -> Result<Worktree, ApiError> {
        let (branch, asked) = branch_off(request)?;
        let slug = request.worktree_slug.clone();
        slug.as_deref().map_or(Ok(()), worktree::check_slug)?;
        site::check_branch(&branch)?;
        let home = self.shared.home.clone();
        let cwd = cwd.to_owned();
        let (site, want) = blocking(move || {
            let (here, site) = Site::find(&home, &cwd)?;
            let base = site::find_base(&here, asked.as_deref());
            Ok((site, Want { branch, asked, base, slug }))
        })
        .await?;
        match self.ask(&site, |ticket| Input::Create { ticket, want }).await? {
            Answer::Created(note) => Ok(answer(&site, note, true)),
            Answer::Found(note) => Ok(answer(&site, note, false)),
            Answer::Failed(error) => Err(error),
            other => Err(unexpected(&other)),
        }
    }

    /// Lists the worktrees of the repository of `cwd`, or with `all` of every repository in which paseo made one; the
    /// agents in them are left to the caller.
    ///
    /// # Errors
    ///
    /// When there is no such repository, or it cannot be read at all.
    pub async fn list(&self, cwd: Option<&Path>, all: bool) -> Result<Vec<ListedWorktree>, ApiError> {
        let home = self.shared.home.clone();
        let cwd = cwd.map(Path::to_owned);
        let (sites, mut listed) = blocking(move || match (all, cwd) {
            (true, _) => list::everywhere(&home),
            (false, Some(cwd)) => Ok((vec![Site::find(&home, &cwd)?.1], Vec::new())),
            (false, None) => Err(ApiError::invalid("cwd", "is needed, or `all`")
                .hint("give an absolute path in the repository, or {\"all\": true}")),
        })
        .await?;
        for site in sites {
            let marked = site.clone();
            if blocking(move || disk::has_remains(&marked)).await? {
                self.ask(&site, |ticket| Input::Tidy { ticket }).await?;
            }
            match blocking(move || list::list(&site)).await {
                Ok(mut found) => listed.append(&mut found),
                // With `all`, one repository that cannot be read hides no other.
                Err(error) if all => tracing::warn!("cannot list worktrees: {error}"),
                Err(error) => return Err(error),
            }
        }
        listed.sort_by(|a, b| (&a.repository, &a.worktree_path).cmp(&(&b.repository, &b.worktree_path)));
        Ok(listed)
    }

    /// Returns the directories that a directory stands for: itself, and when it is the main checkout of a repository all
    /// the worktrees of that.
    ///
    /// # Errors
    ///
    /// When the reading broke off.
    pub async fn places(&self, directory: &Path) -> Result<Vec<PathBuf>, ApiError> {
        let (home, directory) = (self.shared.home.clone(), directory.to_owned());
        blocking(move || Ok(list::places(&home, directory))).await
    }

    /// Returns whether two directories are in the same repository, in whichever of its worktrees.
    pub async fn same_repository(&self, one: &Path, other: &Path) -> bool {
        let (home, one, other) = (self.shared.home.clone(), one.to_owned(), other.to_owned());
        let repository = move |directory: &Path| Some(Site::find(&home, directory).ok()?.1.common_dir);
        let compare = move || repository(&one).is_some_and(|found| Some(found) == repository(&other));
        blocking(move || Ok(compare())).await.unwrap_or(false)
    }

    /// Takes back a worktree that `create` has just made, with its branch.
    ///
    /// # Errors
    ///
    /// `refused` when it was there before, when somebody else was given it too, or when it has changed: it stays then.
    pub async fn roll_back(&self, worktree: &Worktree) -> Result<(), ApiError> {
        let kept = |why: &str| {
            ApiError::new(Code::Refused, format!("the worktree {} stays: {why}", worktree.worktree_path))
                .hint("`paseo worktree ls` shows it")
                .details(serde_json::json!({ "worktreePath": worktree.worktree_path }))
        };
        if !worktree.created {
            return Err(kept("it was there before"));
        }
        let home = self.shared.home.clone();
        let path = PathBuf::from(&worktree.worktree_path);
        if !path.is_dir() {
            return Err(kept("its directory is gone"));
        }
        let site = blocking(move || Ok(Site::find(&home, &path)?.1)).await?;
        if site.tree(&worktree.worktree_slug) != Path::new(&worktree.worktree_path) {
            return Err(kept("it is not where paseo makes them"));
        }
        let slug = worktree.worktree_slug.clone();
        match self.ask(&site, |ticket| Input::RollBack { ticket, slug }).await? {
            Answer::RolledBack => Ok(()),
            Answer::Kept(why) => Err(kept(why)),
            Answer::Failed(error) => Err(error),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks the owner of a repository, and takes the request back when this future is dropped before the answer.
    async fn ask(&self, site: &Site, input: impl FnOnce(Ticket) -> Input) -> Result<Answer, ApiError> {
        let ticket = Ticket(self.shared.tickets.fetch_add(1, Ordering::Relaxed));
        let owner = self.owner(site);
        let busy = |_| ApiError::from(worktree::Refusal::Full);
        // The place for taking it back is taken with the request, so that a drop never has to wait for one.
        let withdrawal = owner.clone().try_reserve_owned().map_err(busy)?;
        let place = owner.try_reserve().map_err(|_| ApiError::from(worktree::Refusal::Full))?;
        let (reply, answer) = oneshot::channel();
        let asker = Asker { ticket, reply, reporter: self.reporter.clone() };
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
        let mut owners = self.shared.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = owners.get(&site.common_dir).filter(|owner| !owner.is_closed()) {
            return owner.clone();
        }
        let (sender, receiver) = mpsc::channel(MOST_MESSAGES);
        let owner = Owner {
            site: site.clone(),
            since: self.shared.since,
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
                let task = tokio::task::spawn_blocking(move || disk::carry_out(&site, since, &step, &seen, &reporter));
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

/// Reads what a request wants, as far as this version can do it.
fn branch_off(request: &CreateWorktree) -> Result<(String, Option<String>), ApiError> {
    let unsupported = |field: &str, what: &str, hint: &str| {
        ApiError::new(Code::Unsupported, format!("{field}: {what}"))
            .hint(hint)
            .details(serde_json::json!({ "field": field }))
    };
    let branch_off = "give {\"action\": \"branch-off\", \"branchName\": \"fix/foo\", \"baseBranch\": \"…\"}";
    match request.source()? {
        WorktreeSource::Checkout { .. } => {
            Err(unsupported("action", "`checkout` is not in this version of paseo yet", branch_off))
        }
        WorktreeSource::PullRequest { .. } => {
            Err(unsupported("githubPrNumber", "pull requests are not in this version of paseo yet", branch_off))
        }
        WorktreeSource::BranchOff { .. } if request.fetch => {
            let hint = "leave it out, and fetch before: `git fetch`";
            Err(unsupported("fetch", "fetching is not in this version of paseo yet", hint))
        }
        WorktreeSource::BranchOff { branch, base } => Ok((branch, base)),
    }
}

fn answer(site: &Site, note: Note, created: bool) -> Worktree {
    Worktree {
        branch_name: Some(note.branch),
        worktree_path: site.tree(&note.slug).to_string_lossy().into_owned(),
        worktree_slug: note.slug,
        base_branch: Some(note.base),
        base_commit: Some(note.base_commit),
        created,
        setup: note.setup,
    }
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|error| Err(ApiError::new(Code::Internal, format!("reading git broke off: {error}"))))
}

fn unexpected(answer: &Answer) -> ApiError {
    ApiError::new(Code::Internal, format!("the worktree machine answered something else: {answer:?}"))
}

/// How many messages may be on their way to an owner. Each request holds one place until it is answered.
const MOST_MESSAGES: usize = 512;
