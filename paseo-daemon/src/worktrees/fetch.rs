//! What only a remote knows: fetched by the user's own `git`, for its credentials and proxies, and asked of `gh` where
//! that is there.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use gix::bstr::ByteSlice as _;
use gix::remote::Direction;
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::worktree::Upstream;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use tokio::process::Command;

use super::site::{Site, find_reference, internal};

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
    remote: &str,
    branch: Option<&str>,
) -> Result<(), ApiError> {
    let refspec = branch.map(|branch| format!("+refs/heads/{branch}:refs/remotes/{remote}/{branch}"));
    run_git(site, env, remote, refspec.as_slice()).await.map_err(|why| {
        let what = branch.map_or_else(|| remote.to_owned(), |branch| format!("`{branch}` of {remote}"));
        ApiError::new(Code::Unavailable, format!("fetch: {what} cannot be fetched: {why}"))
            .hint("`git fetch` there may say more; without `fetch`, what was fetched before is used")
            .details(serde_json::json!({ "field": "fetch", "remote": remote }))
    })
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
    number: i64,
) -> Result<PullRequest, ApiError> {
    let place = site.clone();
    let remotes = blocking(move || Ok(remotes(&place.open()?))).await?;
    let mut said = Vec::new();
    for remote in &remotes {
        let known = ask_gh(site, env, remote, number).await;
        // A reference for as long as it takes to read it. Its name is this request's alone, so that many can fetch at once.
        let aside = format!("refs/paseo/fetched/{}", uuid::Uuid::new_v4());
        let base = known.as_ref().map(|known| format!("refs/remotes/{}/{}", remote.name, known.base_ref_name));
        let mut refspecs = vec![format!("+refs/pull/{number}/head:{aside}")];
        if let (Some(known), Some(base)) = (&known, &base) {
            refspecs.push(format!("+refs/heads/{}:{base}", known.base_ref_name));
        }
        if let Err(why) = run_git(site, env, &remote.name, &refspecs).await {
            said.push((remote.name.clone(), why));
            continue;
        }
        let place = site.clone();
        let commit = blocking(move || take(&place, &aside)).await?;
        let upstream = match &known {
            Some(known) => known.upstream(remote, &remotes),
            None => Upstream { remote: remote.name.clone(), reference: format!("refs/pull/{number}/head") },
        };
        let branch = known.as_ref().map_or_else(|| format!("pr-{number}"), Known::branch);
        return Ok(PullRequest { commit, branch, upstream, base, title: known.map(|known| known.title) });
    }
    let field = |error: ApiError| {
        error.details(serde_json::json!({ "field": "githubPrNumber", "remotes": said.iter().map(|(name, _)| name).collect::<Vec<_>>() }))
    };
    // git says so of a reference that is not there; anything else is a remote that could not be asked.
    match said.iter().find(|(_, why)| !why.contains("couldn't find remote ref")) {
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

/// Reads what was fetched under a name that is not kept, and removes the name.
fn take(site: &Site, name: &str) -> Result<String, ApiError> {
    let repository = site.open()?;
    let take = || -> gix::Result<Option<String>> {
        let Some(mut reference) = find_reference(&repository, name)? else { return Ok(None) };
        let commit = reference.peel_to_commit().map(|commit| commit.id.to_string());
        reference.delete()?;
        commit.map(Some)
    };
    let unreadable = |error| internal("what was fetched cannot be read", &error);
    take().map_err(unreadable)?.ok_or_else(|| internal("what was fetched is not there", &name))
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
async fn ask_gh(site: &Site, env: &BTreeMap<String, String>, remote: &Remote, number: i64) -> Option<Known> {
    let (host, slug) = slug(&remote.address)?;
    let fields = "title,headRefName,baseRefName,isCrossRepository,headRepository,headRepositoryOwner";
    let number = number.to_string();
    let repository = format!("{host}/{slug}");
    let args = ["pr", "view", &number, "--repo", &repository, "--json", fields];
    let mut command = command("gh", env, &site.main);
    command.args(args).env("GH_PROMPT_DISABLED", "1").env("GH_NO_UPDATE_NOTIFIER", "1");
    let answer = match tokio::time::timeout(PATIENCE_WITH_GH, run(command)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => {
            tracing::info!("gh does not know pull request {number} of {repository}: {why}");
            return None;
        }
        Err(_) => {
            tracing::info!("gh does not answer");
            return None;
        }
    };
    serde_json::from_slice(&answer).inspect_err(|error| tracing::info!("gh answers something else: {error}")).ok()
}

async fn run_git(site: &Site, env: &BTreeMap<String, String>, remote: &str, refspecs: &[String]) -> Result<(), String> {
    let mut command = command("git", env, &site.common_dir);
    // Nobody is there to be asked, and what git does for itself afterwards would go on behind our back.
    command.env("GIT_TERMINAL_PROMPT", "0").env("SSH_ASKPASS_REQUIRE", "force").env("GIT_DIR", &site.common_dir);
    if !env.contains_key("SSH_ASKPASS") {
        command.env("SSH_ASKPASS", "false");
    }
    command.args(["-c", "gc.auto=0", "-c", "maintenance.auto=false", "fetch", "--quiet", "--no-tags"]);
    command.args(["--no-write-fetch-head", "--", remote]).args(refspecs);
    match tokio::time::timeout(PATIENCE_WITH_GIT, run(command)).await {
        Ok(result) => result.map(drop),
        Err(_) => Err(format!("git has not ended after {} minutes", PATIENCE_WITH_GIT.as_secs() / 60)),
    }
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
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    command
}

/// Runs a program to its end and returns what it printed; an error is the last thing that it complained of. Dropped, it
/// ends the program with all that this started.
async fn run(mut command: Command) -> Result<Vec<u8>, String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("`{name}` is not installed, or not on the PATH"),
        _ => format!("`{name}` cannot be started: {error}"),
    })?;
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let output = child.wait_with_output().await.map_err(|error| format!("`{name}`: {error}"))?;
    group.0 = None;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let complaints = String::from_utf8_lossy(&output.stderr);
    let lines = complaints.lines().map(str::trim).filter(|line| !line.is_empty());
    // The first is the cause; git ends with advice.
    let why = lines.clone().find(|line| line.starts_with("fatal:")).or_else(|| lines.clone().next());
    let why = why.map_or_else(|| format!("`{name}` ended with {}", output.status), str::to_owned);
    Err(why.strip_prefix("fatal: ").unwrap_or(&why).chars().filter(|c| !c.is_control()).take(300).collect())
}

/// A process group that ends when nobody waits for it any more.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::TERM);
        }
    }
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    super::blocking(read).await
}

/// How long a fetch may take: as much as a large repository over a slow line needs.
const PATIENCE_WITH_GIT: Duration = Duration::from_secs(30 * 60);

/// How long `gh` may take until its answer is done without.
const PATIENCE_WITH_GH: Duration = Duration::from_secs(15);
