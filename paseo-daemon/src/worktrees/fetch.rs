//! What only a remote knows: fetched by the user's own `git`, for its credentials and proxies, and asked of `gh` where
//! that is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use gix::ObjectId;
use gix::bstr::ByteSlice as _;
use gix::remote::Direction;
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::worktree::Upstream;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::{OwnedMutexGuard, oneshot};

use super::site::Site;
use super::source::check_branch;

/// The head of a pull request, fetched.
pub(super) struct PullRequest {
    /// Its commit.
    pub(super) commit: String,
    /// The local branch for it.
    pub(super) branch: String,
    /// Where it comes from, and what is pushed goes.
    pub(super) upstream: Upstream,
    /// The reference that it is to be merged into, where that is known.
    pub(super) base: Option<String>,
    /// What it is called, where that is known.
    pub(super) title: Option<String>,
}

/// A remote, as far as it matters here.
struct Remote {
    name: String,
    address: gix::Url,
}

/// Fetches one branch of a remote, or all that is fetched from there by default.
pub(super) async fn fetch(
    site: &Site,
    env: &BTreeMap<String, String>,
    alone: &Alone,
    remote: &str,
    branch: Option<&str>,
) -> Result<(), ApiError> {
    let refspec = branch.map(|branch| format!("+refs/heads/{branch}:refs/remotes/{remote}/{branch}"));
    run_git(site, env, alone, &site.common_dir, remote, refspec.as_slice()).await.map_err(|why| {
        let what = branch.map_or_else(|| remote.to_owned(), |branch| format!("`{branch}` of {remote}"));
        ApiError::new(Code::Unavailable, format!("fetch: {what} cannot be fetched: {why}"))
            .hint("`git fetch` there may say more; without `fetch`, what was fetched before is used")
            .details(serde_json::json!({ "field": "fetch", "remote": remote }))
    })
}

/// Fetches objects of a partial clone by their ids, as git does where it lacks them; a directory with all that is below it
/// but files.
pub(super) async fn objects(
    site: &Site,
    env: &BTreeMap<String, String>,
    alone: &Alone,
    remote: &str,
    objects: &BTreeSet<ObjectId>,
) -> Result<(), String> {
    let ids: String = objects.iter().map(|id| format!("{id}\n")).collect();
    let git = || {
        let mut git = git(site, env, &site.common_dir);
        // What is here is not told: it would be taken as whole.
        git.args(["-c", "fetch.negotiationAlgorithm=noop", "fetch", "--quiet", "--no-recurse-submodules"]);
        git.args(["--no-write-fetch-head", "--no-tags", "--filter=blob:none", "--stdin", "--", remote]);
        git
    };
    persist(git, ids.as_bytes(), alone).await
}

/// Returns the remote that is meant when none is named.
pub(super) fn main_remote(repository: &gix::Repository) -> Result<String, ApiError> {
    let mut remotes = remotes(repository);
    remotes.sort_by_key(|remote| remote.name != "origin");
    remotes.into_iter().next().map(|remote| remote.name).ok_or_else(|| {
        ApiError::invalid("fetch", "this repository has no remote to fetch from")
            .hint("leave it out, or add one: `git remote add origin …`")
    })
}

/// Fetches the head of a pull request from whichever remote has it.
pub(super) async fn pull_request(
    site: &Site,
    env: &BTreeMap<String, String>,
    alone: &Alone,
    number: i64,
) -> Result<PullRequest, ApiError> {
    let place = site.clone();
    let remotes = blocking(move || Ok(remotes(&place.open()?))).await?;
    let mut said = Vec::new();
    for remote in &remotes {
        let known = ask_gh(site, env, alone, remote, number).await;
        let base = known.as_ref().map(|known| format!("refs/remotes/{}/{}", remote.name, known.base_ref_name));
        let mut refspecs = vec![format!("refs/pull/{number}/head")];
        if let Some(known) = &known {
            let own = Some(&known.head_ref_name).filter(|_| !known.is_cross_repository);
            let branches = [Some(&known.base_ref_name), own].into_iter().flatten();
            refspecs.extend(branches.map(|name| format!("+refs/heads/{name}:refs/remotes/{}/{name}", remote.name)));
        }
        let mut fetched = fetch_aside(site, env, alone, &remote.name, &refspecs).await;
        // A branch that was merged is often deleted, and its base may be; the pull request has its commits still.
        while refspecs.len() > 1 && fetched.as_ref().is_err_and(|why| why.contains(&format!("{NOT_THERE} refs/heads/")))
        {
            refspecs.pop();
            fetched = fetch_aside(site, env, alone, &remote.name, &refspecs).await;
        }
        let commit = match fetched {
            Ok(commit) => commit,
            Err(why) => {
                said.push((remote.name.clone(), why));
                continue;
            }
        };
        let upstream = match &known {
            Some(known) => known.upstream(remote, &remotes),
            None => Upstream { remote: remote.name.clone(), reference: format!("refs/pull/{number}/head") },
        };
        let branch = known.as_ref().map_or_else(|| format!("pr-{number}"), Known::branch);
        return Ok(PullRequest { commit, branch, upstream, base, title: known.map(|known| known.title) });
    }
    let field = |error: ApiError| {
        let asked: Vec<_> = said.iter().map(|(name, _)| name).collect();
        error.details(serde_json::json!({ "field": "githubPrNumber", "remotes": asked }))
    };
    // git says so of a reference that is not there; anything else is a remote that could not be asked.
    match said.iter().find(|(_, why)| !why.contains(NOT_THERE)) {
        _ if remotes.is_empty() => Err(field(
            ApiError::invalid("githubPrNumber", "this repository has no remote that could have pull requests")
                .hint("add one: `git remote add origin …`"),
        )),
        Some((name, why)) => Err(field(
            ApiError::new(Code::Unavailable, format!("pull request {number} cannot be fetched from {name}: {why}"))
                .hint("`git fetch` there may say more"),
        )),
        None => {
            let names: Vec<_> = said.iter().map(|(name, _)| name.as_str()).collect();
            Err(field(
                ApiError::new(Code::NotFound, format!("there is no pull request {number} on {}", names.join(" or ")))
                    .hint("a remote has one as `refs/pull/<number>/head`"),
            ))
        }
    }
}

/// Fetches a commit that no reference shall point to yet, and what else the references say. git writes down which one it
/// was in a git directory that is made for this alone, so nothing of it is ever left in the repository.
async fn fetch_aside(
    site: &Site,
    env: &BTreeMap<String, String>,
    alone: &Alone,
    remote: &str,
    refspecs: &[String],
) -> Result<String, String> {
    let aside = Aside::new(&site.common_dir).map_err(|error| format!("no place to fetch to: {error}"))?;
    run_git(site, env, alone, &aside.0, remote, refspecs).await?;
    let text = std::fs::read_to_string(aside.0.join("FETCH_HEAD"));
    let text = text.map_err(|error| format!("what was fetched cannot be read: {error}"))?;
    let commit = text.lines().find(|line| line.contains("refs/pull/")).and_then(|line| line.split('\t').next());
    commit.map(str::to_owned).ok_or_else(|| "git does not say what it fetched".to_owned())
}

/// A git directory that shares everything with that of a repository, and is gone when this is dropped.
struct Aside(PathBuf);

impl Aside {
    fn new(common_dir: &Path) -> std::io::Result<Aside> {
        use std::os::unix::ffi::OsStrExt as _;
        use std::os::unix::fs::DirBuilderExt as _;
        let path = std::env::temp_dir().join(format!("paseo-fetch-{}", uuid::Uuid::new_v4()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        let aside = Aside(path);
        std::fs::write(aside.0.join("HEAD"), "ref: refs/heads/main\n")?;
        std::fs::write(aside.0.join("commondir"), [common_dir.as_os_str().as_bytes(), b"\n"].concat())?;
        Ok(aside)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The remotes of a repository: first the one that `gh` was told to use, then by the names that people give to the
/// repository in which pull requests are made.
fn remotes(repository: &gix::Repository) -> Vec<Remote> {
    let config = repository.config_snapshot();
    let mut found: Vec<_> = repository
        .remote_names()
        .into_iter()
        .filter_map(|name| {
            // The address as it is written: what stands in its place for git alone says nothing about whose it is.
            let remote = repository.try_find_remote_without_url_rewrite(name.as_bstr())?.ok()?;
            let address = remote.url(Direction::Fetch)?.clone();
            Some(Remote { name: name.to_string(), address })
        })
        .collect();
    found.sort_by_key(|remote| {
        let chosen = config.string(format!("remote.{}.gh-resolved", remote.name).as_str());
        let rank = ["upstream", "github", "origin"].iter().position(|name| *name == remote.name);
        (chosen.is_none_or(|how| how != "base"), rank.unwrap_or(usize::MAX), remote.name.clone())
    });
    found
}

/// What `gh` knows of a pull request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Known {
    title: String,
    head_ref_name: String,
    base_ref_name: String,
    is_cross_repository: bool,
    #[serde(default)]
    head_repository: Option<Named>,
    #[serde(default)]
    head_repository_owner: Option<Owner>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Owner {
    login: String,
}

impl Known {
    fn branch(&self) -> String {
        match &self.head_repository_owner {
            Some(owner) if self.is_cross_repository => format!("{}/{}", owner.login, self.head_ref_name),
            _ => self.head_ref_name.clone(),
        }
    }

    fn upstream(&self, remote: &Remote, remotes: &[Remote]) -> Upstream {
        let reference = format!("refs/heads/{}", self.head_ref_name);
        let fork = self.head_repository.as_ref().zip(self.head_repository_owner.as_ref());
        let Some((repository, owner)) = fork.filter(|_| self.is_cross_repository) else {
            return Upstream { remote: remote.name.clone(), reference };
        };
        let path = format!("{}/{}", owner.login, repository.name);
        let is_fork = |other: &&Remote| slug(&other.address).is_some_and(|(_, slug)| slug.eq_ignore_ascii_case(&path));
        if let Some(own) = remotes.iter().find(is_fork) {
            return Upstream { remote: own.name.clone(), reference };
        }
        // As the remote is reached, so is the fork beside it.
        let address = remote.address.to_bstring().to_string();
        let known = slug(&remote.address).map(|(_, slug)| slug).unwrap_or_default();
        let address = match address.rfind(&known) {
            Some(at) => format!("{}{path}{}", &address[..at], &address[at + known.len()..]),
            None => address,
        };
        Upstream { remote: address, reference }
    }
}

/// Reads `owner/name` and the host from an address as GitHub has them.
fn slug(address: &gix::Url) -> Option<(String, String)> {
    let host = address.host()?.to_owned();
    let path = address.path.to_str().ok()?.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let mut parts = path.split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(owner), Some(name), None) if !owner.is_empty() && !name.is_empty() => {
            Some((host, format!("{owner}/{name}")))
        }
        _ => None,
    }
}

/// Asks `gh` about a pull request; none where it is not there, not logged in, or does not know.
async fn ask_gh(
    site: &Site,
    env: &BTreeMap<String, String>,
    alone: &Alone,
    remote: &Remote,
    number: i64,
) -> Option<Known> {
    let (host, slug) = slug(&remote.address)?;
    let fields = "title,headRefName,baseRefName,isCrossRepository,headRepository,headRepositoryOwner";
    let number = number.to_string();
    let repository = format!("{host}/{slug}");
    let args = ["pr", "view", &number, "--repo", &repository, "--json", fields];
    let mut command = command("gh", env, &site.main);
    command.args(args).env("GH_PROMPT_DISABLED", "1").env("GH_NO_UPDATE_NOTIFIER", "1");
    let answer = run(command, b"", alone, PATIENCE_WITH_GH).await;
    let answer =
        answer.inspect_err(|why| tracing::info!("gh does not know pull request {number} of {repository}: {why}"));
    let known: Known = serde_json::from_slice(&answer.ok()?)
        .inspect_err(|error| tracing::info!("gh answers something else: {error}"))
        .ok()?;
    // They become names of branches here, and references to fetch.
    let names = [&known.base_ref_name, &known.head_ref_name, &known.branch()].map(|name| check_branch(name));
    names.into_iter().all(|checked| checked.is_ok()).then_some(known)
}

/// Fetches with the user's own git, in the shared repository as `git_dir` sees it.
async fn run_git(
    site: &Site,
    env: &BTreeMap<String, String>,
    alone: &Alone,
    git_dir: &Path,
    remote: &str,
    refspecs: &[String],
) -> Result<(), String> {
    let git = || {
        let mut git = git(site, env, git_dir);
        git.args(["fetch", "--quiet", "--no-recurse-submodules"]);
        // What git writes down of a fetch is the user's, and so are the tags where only one thing is fetched.
        if git_dir == site.common_dir {
            git.arg("--no-write-fetch-head");
        }
        if !refspecs.is_empty() {
            git.arg("--no-tags");
        }
        git.args(["--", remote]).args(refspecs);
        git
    };
    persist(git, b"", alone).await
}

/// Runs git, again where a worktree that was being made was in its way.
async fn persist(git: impl Fn() -> Command, input: &[u8], alone: &Alone) -> Result<(), String> {
    let mut attempts = 1..=ATTEMPTS;
    loop {
        let result = run(git(), input, alone, PATIENCE_WITH_GIT).await.map(drop);
        // git cannot read the registration of a worktree that is being made at this instant, and gives up for that.
        let meanwhile =
            |why: &String| why.contains("worktrees/") && (why.contains("bad object") || why.contains("failed to read"));
        match result {
            Err(why) if meanwhile(&why) && attempts.next().is_some_and(|attempt| attempt < ATTEMPTS) => {
                tracing::debug!("git met a worktree that was being made: {why}");
                tokio::time::sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Says how git is run in a repository as `git_dir` sees it.
fn git(site: &Site, env: &BTreeMap<String, String>, git_dir: &Path) -> Command {
    // An address may be relative to the main checkout.
    let mut command = command("git", env, &site.main);
    // Nobody is there to be asked, and what git does for itself afterwards would go on behind our back.
    command.env("GIT_TERMINAL_PROMPT", "0").env("SSH_ASKPASS_REQUIRE", "force").env("GIT_DIR", git_dir);
    if !env.contains_key("SSH_ASKPASS") {
        command.env("SSH_ASKPASS", "false");
    }
    command.args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"]);
    command
}

fn command(program: &str, env: &BTreeMap<String, String>, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(env).env("LC_ALL", "C").current_dir(directory);
    // Which repository is meant is said, and not what was meant where the daemon was started.
    for name in
        ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_OBJECT_DIRECTORY"]
    {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    command
}

/// Runs a program that reads `input`, and returns what it printed; an error is what it complained of. Dropped, or when
/// patience is over, it ends the program with all that this started, and nobody else fetches before that is over.
async fn run(mut command: Command, input: &[u8], alone: &Alone, patience: Duration) -> Result<Vec<u8>, String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("`{name}` is not installed, or not on the PATH"),
        _ => format!("`{name}` cannot be started: {error}"),
    })?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let (wanted, unwanted) = oneshot::channel::<()>();
    let (alone, input) = (alone.clone(), input.to_vec());
    let run = tokio::spawn(async move {
        let _alone = alone;
        if let Some(mut pipe) = child.stdin.take() {
            // One that ends before it has read everything says why itself.
            tokio::spawn(async move { pipe.write_all(&input).await });
        }
        // Read meanwhile: a full pipe would keep it from ending.
        let output = tokio::spawn(read(child.stdout.take()));
        let complaints = tokio::spawn(read(child.stderr.take()));
        let ended = tokio::select! {
            ended = child.wait() => ended.map_err(|error| format!("`{name}`: {error}"))?,
            _ = tokio::time::timeout(patience, unwanted) => {
                // It is asked first, so that it takes its locks and half a pack with it.
                for signal in [Signal::TERM, Signal::KILL] {
                    if let Some(group) = group {
                        let _ = kill_process_group(group, signal);
                    }
                    if tokio::time::timeout(GRACE, child.wait()).await.is_ok() {
                        break;
                    }
                }
                return Err(format!("`{name}` has not ended after {} seconds", patience.as_secs()));
            }
        };
        // What it left running, as ssh does to use a connection again, may hold the pipes for longer than it.
        let said = tokio::time::timeout(GRACE, async { tokio::join!(output, complaints) }).await;
        let (output, complaints) = match said {
            Ok((output, complaints)) => (output.unwrap_or_default(), complaints.unwrap_or_default()),
            Err(_) => (Vec::new(), Vec::new()),
        };
        match ended.success() {
            true => Ok(output),
            false => Err(complaint(&complaints).unwrap_or_else(|| format!("`{name}` ended with {ended}"))),
        }
    });
    let result = run.await.unwrap_or_else(|error| Err(error.to_string()));
    drop(wanted);
    result
}

async fn read(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut text = Vec::new();
    if let Some(mut pipe) = pipe
        && let Err(error) = pipe.read_to_end(&mut text).await
    {
        tracing::debug!("what a program says cannot be read: {error}");
    }
    text
}

/// Finds in what a program complained of why it failed.
fn complaint(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    // The first is the cause; git ends with advice.
    let why = lines.clone().find(|line| line.starts_with("fatal:")).or_else(|| lines.clone().next())?;
    Some(why.strip_prefix("fatal: ").unwrap_or(why).chars().filter(|c| !c.is_control()).take(300).collect())
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    super::blocking(read).await
}

/// That nobody else fetches in a repository, for as long as somebody holds it.
pub(super) type Alone = Arc<OwnedMutexGuard<()>>;

/// How git says that a remote does not have a reference.
const NOT_THERE: &str = "couldn't find remote ref";

/// How long a fetch may take: as much as a large repository over a slow line needs.
const PATIENCE_WITH_GIT: Duration = Duration::from_secs(30 * 60);

/// How long `gh` may take until its answer is done without.
const PATIENCE_WITH_GH: Duration = Duration::from_secs(15);

/// How long a program may take to end when it is told to.
const GRACE: Duration = Duration::from_secs(5);

/// How often git is tried that met a worktree which was being made, and how long between.
const ATTEMPTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);
