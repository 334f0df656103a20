//! The worktrees of every repository: made, set up, listed, archived and brought back.
//!
//! Everything that changes a repository is a step of the machine of that repository, which one task owns. What takes long
//! and changes nothing there, fetching and hooks, goes on beside it.

mod archive;
mod branch;
mod counting;
mod create;
mod disk;
mod fetch;
mod files;
mod hooks;
mod inspect;
mod list;
mod note;
mod operations;
mod owner;
mod partial;
mod restore;
mod site;
mod source;
mod survey;
mod tree;
mod trust;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::worktree::{self, Answer, Archived, Input, Inspection, Note, Ticket};
use paseo_sdk::model::{ListedWorktree, Progress, Setup, SetupStatus, Worktree};
use paseo_sdk::operation::Reporter;

pub(crate) use self::hooks::Surroundings;
use self::hooks::{Hook, Port, Ports, Prepared};
use self::list::{Around, Layout};
use self::owner::Owners;
use self::partial::{Lack, Need};
use self::site::Site;
pub(crate) use self::site::real;
use crate::launch::Helper;

/// Makes, lists and takes back the worktrees of every repository. Clones share their owners.
#[derive(Clone, Debug)]
pub struct Worktrees {
    shared: Arc<Shared>,
    reporter: Reporter,
    trusting: Trusting,
}

/// What may be trusted, of what is made, without a word from a person.
#[derive(Clone, Debug, Default)]
enum Trusting {
    /// What comes from nothing that is not trusted.
    #[default]
    Everything,
    /// Of that, what acts as it does on the main branch, or in this commit.
    Known(Option<String>),
    Nothing,
}

#[derive(Debug)]
struct Shared {
    home: PathBuf,
    surroundings: Surroundings,
    owners: Owners,
    ports: Arc<Ports>,
    /// One fetch at a time in each repository: two of the same branch get in each other's way.
    fetching: Mutex<BTreeMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>,
    /// The trees that are being archived: no agent starts there.
    leaving: Mutex<BTreeSet<PathBuf>>,
}

/// A worktree that an operation is about, found and held against nothing yet.
#[derive(Clone, Debug)]
pub struct Place {
    site: Site,
    /// The name of its directory.
    pub slug: String,
    /// Where it is, or was.
    pub path: PathBuf,
}

/// What there is to know about a worktree before a process starts in it.
#[derive(Debug, Default)]
pub(crate) struct Ground {
    /// Whether the settings, hooks and servers of the directory may act.
    pub(crate) trusted: bool,
    /// What an agent is to know that begins here.
    pub(crate) note: Option<String>,
    /// What hooks are told of their worktree.
    pub(crate) variables: BTreeMap<String, String>,
    /// The repository around it.
    pub(crate) layout: Layout,
}

/// A tree that is being archived, until this is dropped.
#[derive(Debug)]
pub(crate) struct Leaving {
    shared: Arc<Shared>,
    path: PathBuf,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.shared.leaving.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
    }
}

impl Worktrees {
    /// Makes the hands that keep worktrees below `home`, an absolute path, with hooks that start from the environment of
    /// this process. `helper` plays the hidden roles, as `Config::helper` does.
    #[must_use]
    pub fn new(home: PathBuf, helper: Option<&Path>) -> Worktrees {
        Worktrees::with_env(home, helper, crate::launch::environment(std::env::vars_os(), &BTreeMap::new()))
    }

    /// Makes the same with hooks, `git` and `gh` that start from another environment.
    #[must_use]
    pub fn with_env(home: PathBuf, helper: Option<&Path>, env: BTreeMap<String, String>) -> Worktrees {
        Worktrees::with(home, Surroundings { helper: Helper::find(helper), env, keep: Vec::new() })
    }

    pub(crate) fn with(home: PathBuf, surroundings: Surroundings) -> Worktrees {
        let shared = Shared {
            home,
            surroundings,
            owners: Owners::new(),
            ports: Arc::default(),
            fetching: Mutex::default(),
            leaving: Mutex::default(),
        };
        Worktrees { shared: Arc::new(shared), reporter: Reporter::default(), trusting: Trusting::default() }
    }

    /// Returns the same hands, which tell `reporter` how far they are with what they make.
    #[must_use]
    pub fn with_progress(&self, reporter: Reporter) -> Worktrees {
        Worktrees { reporter, ..self.clone() }
    }

    /// Returns the same hands for an agent that works in `directory`. Nothing that it makes is trusted where it is not
    /// itself; and where it is not free, what it commits does not run because it makes a worktree of it.
    pub(crate) async fn for_agent(self, directory: &Path, free: bool) -> Result<Worktrees, ApiError> {
        let (shared, directory) = (self.shared.clone(), directory.to_owned());
        let around = blocking(move || Ok(list::around(&shared.home, &directory))).await?;
        let trusting = match around {
            around if !around.is_trusted() => Trusting::Nothing,
            _ if free => Trusting::Everything,
            Around::Ours(_, note) => Trusting::Known(Some(note.start().to_owned())),
            _ => Trusting::Known(None),
        };
        Ok(Worktrees { trusting, ..self })
    }

    async fn ask(&self, site: &Site, input: impl FnOnce(Ticket) -> Input) -> Result<Answer, ApiError> {
        self.shared.owners.ask(site, &self.reporter, input).await
    }

    fn report(&self, step: &str, message: String) {
        self.reporter.report(Progress::new(step).message(message));
    }

    /// Fetches what a partial clone lacks of what is needed.
    async fn complete(&self, site: &Site, needs: Vec<Need>) -> Result<(), ApiError> {
        let look = {
            let site = site.clone();
            move || Lack::of(&site, &needs)
        };
        if blocking(look.clone()).await?.is_none() {
            return Ok(());
        }
        let alone = self.fetching(site).await;
        // Somebody else may have fetched it meanwhile.
        let mut lack = blocking(look.clone()).await?;
        // Which files a directory has is known once that is there.
        while let Some(lacking) = lack {
            self.report("fetch", format!("fetching {} objects", lacking.objects.len()));
            lacking.fetch(site, &self.shared.surroundings.env, &alone).await?;
            lack = blocking(look.clone()).await?;
            if let Some(left) = lack.as_ref().filter(|left| lacking.objects.is_subset(&left.objects)) {
                return Err(left.stays("git fetched none of it"));
            }
        }
        Ok(())
    }

    async fn fetching(&self, site: &Site) -> fetch::Alone {
        let turn = {
            let mut fetching = self.shared.fetching.lock().unwrap_or_else(PoisonError::into_inner);
            fetching.entry(site.common_dir.clone()).or_default().clone()
        };
        Arc::new(turn.lock_owned().await)
    }

    async fn site(&self, cwd: &Path) -> Result<Site, ApiError> {
        let (home, cwd) = (self.shared.home.clone(), cwd.to_owned());
        blocking(move || Ok(Site::find(&home, &cwd)?.1)).await
    }

    async fn port(&self, wanted: Option<i64>) -> Result<Option<Port>, ApiError> {
        let (ports, home) = (self.shared.ports.clone(), self.shared.home.clone());
        blocking(move || Ok(ports.free(&home, wanted))).await
    }

    /// Starts the setup of a worktree if it is due, and says how it is; once it has ended, when that is waited for.
    async fn set_up(&self, place: &Place, note: &Note, wait: bool) -> Result<Setup, ApiError> {
        let Some(git_dir) = tree::git_dir_of(&place.path) else { return Ok(note.setup.clone()) };
        let known = {
            let (git_dir, note) = (git_dir.clone(), note.clone());
            blocking(move || Ok(hooks::setup(&git_dir, &note))).await?
        };
        let setup = match known.status {
            SetupStatus::Pending => match self.prepare(place, &git_dir, note, Hook::Setup).await? {
                Prepared::Run(run) => run.start(&self.shared.surroundings.helper).await,
                Prepared::Nothing => Setup::default(),
                Prepared::Unreadable(why) => Setup { status: SetupStatus::Failed, message: Some(why), log: None },
            },
            _ => known,
        };
        match setup.status {
            SetupStatus::Running if wait => {
                self.report("setup", format!("setting up {}", note.slug));
                Ok(hooks::ended(&git_dir, Hook::Setup).await)
            }
            _ => Ok(setup),
        }
    }

    async fn prepare(&self, place: &Place, git_dir: &Path, note: &Note, hook: Hook) -> Result<Prepared, ApiError> {
        let (shared, place, git_dir, note) = (self.shared.clone(), place.clone(), git_dir.to_owned(), note.clone());
        blocking(move || hooks::prepare(&place.site, &shared.surroundings, &place.path, &git_dir, &note, hook)).await
    }

    /// Brings to its end what an earlier daemon had begun in any repository, and starts setups that it could not.
    pub(crate) async fn resume(&self) {
        let home = self.shared.home.clone();
        let sites = match blocking(move || list::everywhere(&home)).await {
            Ok((sites, _)) => sites,
            Err(error) => return tracing::warn!("the worktrees of an earlier daemon cannot be found: {error}"),
        };
        for site in sites {
            if let Err(error) = self.tidy(&site).await {
                tracing::warn!("what is left in {} cannot be removed: {error}", site.main.display());
            }
            let found = site.clone();
            for (slug, note) in blocking(move || list::ours(&found)).await.unwrap_or_default() {
                if note.setup.status == SetupStatus::Pending
                    && let Err(error) = self.set_up(&Place::of(site.clone(), slug), &note, false).await
                {
                    tracing::warn!("the setup of {} cannot be started: {error}", note.slug);
                }
            }
        }
    }

    async fn tidy(&self, site: &Site) -> Result<(), ApiError> {
        let marked = site.clone();
        if blocking(move || disk::has_remains(&marked)).await? {
            self.ask(site, |ticket| Input::Tidy { ticket }).await?;
        }
        Ok(())
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
            self.tidy(&site).await?;
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

    /// Finds the worktree that an operation names, by its path or by its name in the repository of `cwd`; without that, in
    /// the only repository that has one of this name.
    ///
    /// # Errors
    ///
    /// `invalid_argument` unless one of them is given, `not_found`, and `refused` for what is no worktree of paseo's.
    pub async fn find(&self, path: Option<&str>, slug: Option<&str>, cwd: Option<&Path>) -> Result<Place, ApiError> {
        let home = self.shared.home.clone();
        let (path, slug) = (path.map(PathBuf::from), slug.map(str::to_owned));
        let cwd = cwd.map(Path::to_owned);
        blocking(move || match (path, slug) {
            (Some(path), None) => place_at(&home, &path),
            (None, Some(slug)) => {
                worktree::check_slug(&slug)?;
                let site = match cwd {
                    Some(cwd) => Site::find(&home, &cwd)?.1,
                    None => list::only_site_with(&home, &slug)?,
                };
                Ok(Place::of(site, slug))
            }
            _ => Err(ApiError::invalid("worktreeSlug", "is needed, or `worktreePath`: one of them")
                .hint("`paseo worktree ls` lists both")),
        })
        .await
    }

    /// Finds out what archiving a worktree would take with it.
    ///
    /// # Errors
    ///
    /// `refused` with what is in the way even of force.
    pub async fn inspect(&self, place: &Place) -> Result<Inspection, ApiError> {
        self.complete(&place.site, vec![Need::Comparison(place.path.clone())]).await?;
        let slug = place.slug.clone();
        match self.ask(&place.site, |ticket| Input::Inspect { ticket, slug }).await? {
            Answer::Inspected(inspection) => Ok(*inspection),
            Answer::Failed(error) => Err(error),
            other => Err(unexpected(&other)),
        }
    }

    /// Puts away what a worktree holds, and removes it. `force` puts away uncommitted and untracked files too; without, they
    /// are in its way.
    ///
    /// # Errors
    ///
    /// What is in its way, or what failed; it is as it was then.
    pub async fn archive(&self, place: &Place, force: bool, keep_branch: bool) -> Result<Archived, ApiError> {
        self.complete(&place.site, vec![Need::Comparison(place.path.clone())]).await?;
        let slug = place.slug.clone();
        let archive = |ticket| Input::Archive { ticket, slug, force, keep_branch };
        match self.ask(&place.site, archive).await? {
            Answer::Archived(archived) => Ok(*archived),
            Answer::Failed(error) => Err(error),
            other => Err(unexpected(&other)),
        }
    }

    /// Runs the teardown of a worktree, and says how it went.
    ///
    /// # Errors
    ///
    /// When what is to be run cannot be read.
    pub(crate) async fn tear_down(&self, place: &Place, note: &Note) -> Result<Setup, ApiError> {
        let Some(git_dir) = tree::git_dir_of(&place.path) else { return Ok(Setup::default()) };
        let run = match self.prepare(place, &git_dir, note, Hook::Teardown).await? {
            Prepared::Run(run) => run,
            Prepared::Nothing => return Ok(Setup::default()),
            // Nobody knows whether there is one: that is said, and stops nothing.
            Prepared::Unreadable(why) => {
                return Ok(Setup { status: SetupStatus::Skipped, message: Some(why), log: None });
            }
        };
        let started = run.start(&self.shared.surroundings.helper).await;
        let teardown = match started.status {
            SetupStatus::Running => hooks::ended(&git_dir, Hook::Teardown).await,
            _ => started,
        };
        match teardown.status {
            SetupStatus::Done => Ok(teardown),
            _ => Err(hooks::teardown_failed(&place.slug, &teardown)),
        }
    }

    /// Says whether the setup of a worktree runs.
    pub(crate) async fn setup_runs(&self, place: &Place) -> bool {
        let Some(git_dir) = tree::git_dir_of(&place.path) else { return false };
        let look = move || Ok(hooks::how_it_is(&git_dir, Hook::Setup).status == SetupStatus::Running);
        blocking(look).await.unwrap_or(false)
    }

    /// Ends the setup of a worktree, if it runs.
    pub(crate) async fn stop_setup(&self, place: &Place) {
        let Some(git_dir) = tree::git_dir_of(&place.path) else { return };
        if let Err(error) = crate::hook::stop(&Hook::Setup.state(&git_dir)).await {
            tracing::warn!("the setup of {} cannot be stopped: {error}", place.slug);
        }
    }

    /// Brings back a worktree that was archived, in the repository of `cwd`.
    ///
    /// # Errors
    ///
    /// `not_found`, and `conflict` for what is in its place by now.
    pub async fn restore(&self, slug: &str, cwd: &Path, wait_for_setup: bool) -> Result<Worktree, ApiError> {
        worktree::check_slug(slug)?;
        let place = Place::of(self.site(cwd).await?, slug.to_owned());
        self.complete(&place.site, vec![Need::Archive(slug.to_owned())]).await?;
        let (site, name) = (place.site.clone(), slug.to_owned());
        let had = blocking(move || Ok(archive::find(&site.open()?, &name)?.and_then(|found| found.kept.note.port)));
        let port = self.port(had.await?).await?;
        let number = port.as_ref().map(|port| port.number);
        let slug = slug.to_owned();
        let restore = |ticket| Input::Restore { ticket, slug, port: number };
        let note = match self.ask(&place.site, restore).await? {
            Answer::Restored(note) => note,
            Answer::Failed(error) => return Err(error),
            other => return Err(unexpected(&other)),
        };
        drop(port);
        let place = Place::of(place.site, note.slug.clone());
        let setup = self.set_up(&place, &note, wait_for_setup).await?;
        Ok(answer(&place, note, true, setup))
    }

    /// Trusts a worktree: its setup runs, and what starts there from now on may use the project's own settings.
    ///
    /// # Errors
    ///
    /// When it is none that paseo made.
    pub async fn trust(&self, place: &Place, wait_for_setup: bool) -> Result<Worktree, ApiError> {
        let note = self.make_trusted(place).await?;
        let setup = self.set_up(place, &note, wait_for_setup).await?;
        Ok(answer(place, note, false, setup))
    }

    async fn make_trusted(&self, place: &Place) -> Result<Note, ApiError> {
        let slug = place.slug.clone();
        match self.ask(&place.site, |ticket| Input::Trust { ticket, slug }).await? {
            Answer::Trusted(note) => Ok(note),
            Answer::Failed(error) => Err(error),
            other => Err(unexpected(&other)),
        }
    }

    /// Says that a worktree is being archived, so that no agent starts in it.
    ///
    /// # Errors
    ///
    /// `conflict` when somebody else archives it.
    pub(crate) fn leave(&self, place: &Place) -> Result<Leaving, ApiError> {
        let mut leaving = self.shared.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        match leaving.insert(place.path.clone()) {
            true => Ok(Leaving { shared: self.shared.clone(), path: place.path.clone() }),
            false => Err(ApiError::new(Code::Conflict, format!("{} is being archived already", place.path.display()))
                .hint("wait for that")),
        }
    }

    /// Returns whether the settings, hooks and servers of a directory may act.
    pub(crate) async fn is_trusted(&self, directory: &Path) -> Result<bool, ApiError> {
        let (shared, directory) = (self.shared.clone(), directory.to_owned());
        blocking(move || Ok(list::around(&shared.home, &directory).is_trusted())).await
    }

    /// Returns what there is to know before a process starts in a directory, once its setup has run.
    ///
    /// # Errors
    ///
    /// When the worktree is being archived.
    pub(crate) async fn ground(&self, directory: &Path) -> Result<Ground, ApiError> {
        let (shared, directory) = (self.shared.clone(), directory.to_owned());
        let look = move || Ok((list::layout(&directory), list::around(&shared.home, &directory)));
        let (layout, found) = blocking(look).await?;
        let (place, note) = match found {
            Around::Ours(place, note) => (*place, *note),
            Around::Nothing => return Ok(Ground { trusted: true, layout, ..Ground::default() }),
            Around::Unclear(why) => {
                tracing::warn!("not trusted: {why}");
                let note = format!(
                    "paseo cannot tell whether this directory is trusted, and takes it as not trusted, so that its own \
                     settings, hooks and servers are off: {why}."
                );
                return Ok(Ground { note: Some(note), layout, ..Ground::default() });
            }
        };
        let leaving = self.shared.leaving.lock().unwrap_or_else(PoisonError::into_inner).contains(&place.path);
        if leaving {
            return Err(ApiError::new(
                Code::Conflict,
                format!("the worktree {} is being archived", place.path.display()),
            )
            .hint("`paseo worktree restore` brings it back"));
        }
        let setup = self.set_up(&place, &note, true).await?;
        let variables = hooks::variables(&place.site, &note, &place.path);
        Ok(Ground { trusted: note.trusted, note: hooks::failed(&setup), variables, layout })
    }

    /// Returns whether a worktree that paseo made is elsewhere by now than it began: somebody has committed.
    pub(crate) async fn has_moved(&self, tree: &str) -> Result<bool, ApiError> {
        let (shared, tree) = (self.shared.clone(), PathBuf::from(tree));
        blocking(move || Ok(trust::has_moved(&shared.home, &tree))).await
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
}

impl Place {
    fn of(site: Site, slug: String) -> Place {
        Place { path: site.tree(&slug), site, slug }
    }
}

/// Finds the worktree at a path, which must be one that paseo made.
fn place_at(home: &Path, path: &Path) -> Result<Place, ApiError> {
    if !path.is_absolute() {
        return Err(ApiError::invalid("worktreePath", format!("`{}` is not an absolute path", path.display())));
    }
    if !path.is_dir() {
        return Err(ApiError::new(Code::NotFound, format!("worktreePath: there is no directory {}", path.display()))
            .hint("`paseo worktree ls -g` lists those that are there"));
    }
    let site = Site::find(home, path)
        .map_err(|error| ApiError { message: error.message.replace("cwd:", "worktreePath:"), ..error })?;
    let (site, real) = (site.1, site::real(path));
    let refused = |why: String| {
        Err(ApiError::new(Code::Refused, format!("worktreePath: {why}"))
            .hint("paseo takes away only what it made: `git worktree remove` removes others")
            .details(serde_json::json!({ "field": "worktreePath" })))
    };
    if real == site.main {
        return refused(format!("{} is the main checkout", path.display()));
    }
    let name = real.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    match name.filter(|name| site.tree(name) == real) {
        Some(slug) => Ok(Place::of(site, slug)),
        None => refused(format!("{} is not a worktree that paseo made", path.display())),
    }
}

fn answer(place: &Place, note: Note, created: bool, setup: Setup) -> Worktree {
    Worktree {
        branch_name: note.branch,
        worktree_path: place.path.to_string_lossy().into_owned(),
        worktree_slug: note.slug,
        base_branch: Some(note.base),
        base_commit: Some(note.base_commit),
        pull_request: note.pull_request,
        created,
        setup,
        trusted: note.trusted,
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
