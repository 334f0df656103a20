//! What a request means in its repository: what is to be checked out, and what that comes from.

use gix::bstr::{BStr, ByteSlice as _};
use gix::remote::Direction;
use paseo_sdk::error::ApiError;
use paseo_sdk::machine::worktree::{Base, Head, Upstream};

use super::branch::parse;
use super::site::{find_reference, internal};
use super::{fetch, hooks};

/// Checks a branch's name by git's own rules.
pub(super) fn check_branch(name: &str) -> Result<(), ApiError> {
    let full = format!("refs/heads/{name}");
    let why = match gix::validate::reference::branch_name(full.as_str().into()) {
        // git takes such a reference but no such branch: it could not be told from an option.
        Ok(_) if name.starts_with('-') => "it begins with `-`".to_owned(),
        Ok(_) if name == "@" => "`@` means the current head".to_owned(),
        Ok(_) if name.split('/').any(|part| part.len() > LONGEST_PART) || name.len() > LONGEST_NAME => {
            return Err(branch_too_long(name));
        }
        Ok(_) => return Ok(()),
        Err(error) => {
            let why = error.to_string();
            why.strip_prefix("Reference name ").map_or_else(|| why.clone(), |rest| format!("it {rest}"))
        }
    };
    let shown: String = name.chars().take(80).collect();
    Err(ApiError::invalid("branchName", format!("`{}` is not a branch name: {why}", shown.escape_debug()))
        .hint("`git help check-ref-format` has the rules; `fix/foo` is fine"))
}

/// Refuses a name for which there is no file.
pub(super) fn branch_too_long(name: &str) -> ApiError {
    let shown: String = name.chars().take(80).collect();
    ApiError::invalid("branchName", format!("`{}…` is too long to be a branch's name", shown.escape_debug()))
        .hint(format!("give one with at most {LONGEST_PART} bytes between slashes"))
}

/// Finds what a new branch shall start from. `here` is the checkout of the caller, in which `HEAD` has its meaning.
pub(super) fn find_base(here: &gix::Repository, asked: Option<&str>) -> Result<Base, ApiError> {
    let (name, reference, commit) = match asked {
        Some(asked) => named_base(here, asked)?,
        None => default_base(here)?,
    };
    Ok(base(name, reference, &commit))
}

/// Returns the same base with what its commit asks for, where not everything was there to be read before.
pub(super) fn read_again(here: &gix::Repository, found: Base) -> Result<Base, ApiError> {
    let commit = parse(&found.commit)?;
    let commit = here.find_commit(commit).map_err(|error| internal(&format!("cannot read {}", found.name), &error))?;
    Ok(base(found.name, found.reference, &commit))
}

fn base(name: String, reference: Option<String>, commit: &gix::Commit<'_>) -> Base {
    Base { name, reference, commit: commit.id.to_string(), setup: hooks::asked_for(commit) }
}

/// Finds what shall be checked out as it is: a local branch, one of a remote, a tag or a commit, and what to compare it
/// with.
pub(super) fn find_head(here: &gix::Repository, ref_name: &str) -> Result<(Head, Base), ApiError> {
    let branch = ref_name.strip_prefix("refs/heads/").unwrap_or(ref_name);
    if let Some((branch, _, commit)) = reference(here, &format!("refs/heads/{branch}"), "refName")? {
        let (name, reference) = match upstream_of(here, &branch) {
            Some(upstream) => upstream,
            None => default_base(here).map(|(name, reference, _)| (name, reference)).unwrap_or((branch.clone(), None)),
        };
        let head = Head::Branch { branch, commit: commit.id.to_string() };
        return Ok((head, base(name, reference, &commit)));
    }
    if let Some((name, full, commit)) = remote_branch(here, ref_name)? {
        let (remote, branch) = split_remote(here, &name).ok_or_else(|| not_a_ref(here, ref_name))?;
        let upstream = Upstream { remote, reference: format!("refs/heads/{branch}") };
        let head = Head::Remote { branch, commit: commit.id.to_string(), upstream };
        return Ok((head, base(name, full, &commit)));
    }
    let tag = ref_name.strip_prefix("refs/tags/").unwrap_or(ref_name);
    let (name, full, commit) = match reference(here, &format!("refs/tags/{tag}"), "refName")? {
        Some(found) => found,
        None => match find_commit(here, ref_name) {
            Ok(commit) => (commit.id.to_string(), None, commit),
            Err(error) => {
                tracing::debug!("nothing called `{ref_name}`: {error:#}");
                return Err(not_a_ref(here, ref_name));
            }
        },
    };
    Ok((Head::Detached { commit: commit.id.to_string() }, base(name, full, &commit)))
}

fn not_a_ref(here: &gix::Repository, ref_name: &str) -> ApiError {
    if is_empty(here) {
        return empty(here);
    }
    let shown: String = ref_name.chars().take(80).collect();
    ApiError::invalid("refName", format!("there is no branch, tag or commit `{}`", shown.escape_debug()))
        .hint("`git branch -a` lists branches; one that is new on a remote needs `fetch`")
}

/// Finds a branch of a remote: by its whole name, or by its own where only one remote has such.
fn remote_branch<'a>(here: &'a gix::Repository, name: &str) -> Result<Option<Found<'a>>, ApiError> {
    let name = name.strip_prefix("refs/remotes/").unwrap_or(name);
    let mut full = format!("refs/remotes/{name}");
    // `origin/HEAD` means the branch that it points to.
    if let Ok(Some(found)) = find_reference(here, &full)
        && let Some(target) = found.target().try_name()
    {
        full = target.as_bstr().to_string();
    }
    if let Some(found) = reference(here, &full, "refName")? {
        return Ok(Some(found));
    }
    // What a remote calls its head is not a branch, and neither is what git calls it here.
    if matches!(name, "HEAD" | "@") {
        return Ok(None);
    }
    let mut found = Vec::new();
    for remote in here.remote_names() {
        found.extend(reference(here, &format!("refs/remotes/{remote}/{name}"), "refName")?);
    }
    if found.len() > 1 {
        let names: Vec<_> = found.iter().map(|(name, ..)| name.as_str()).collect();
        return Err(ApiError::invalid(
            "refName",
            format!("several remotes have a branch `{name}`: {}", names.join(", ")),
        )
        .hint("give one of these"));
    }
    Ok(found.pop())
}

/// Returns the commit that a worktree with this head and base begins with.
pub(super) fn start(head: &Head, base: Option<&Base>) -> Option<gix::ObjectId> {
    let commit = match head {
        Head::New { .. } => &base?.commit,
        Head::Branch { commit, .. }
        | Head::Remote { commit, .. }
        | Head::PullRequest { commit, .. }
        | Head::Detached { commit } => commit,
    };
    gix::ObjectId::from_hex(commit.as_bytes()).ok()
}

/// Splits `origin/feat/x` into the remote and its branch.
pub(super) fn split_remote(here: &gix::Repository, name: &str) -> Option<(String, String)> {
    let names = here.remote_names();
    let remote = names
        .iter()
        .map(|remote| remote.to_string())
        .filter(|remote| name.strip_prefix(remote.as_str()).is_some_and(|rest| rest.starts_with('/')))
        .max_by_key(String::len)?;
    let branch = name[remote.len() + 1..].to_owned();
    // `origin/main~1` comes from there too, but there is nothing of that name to be fetched.
    check_branch(&branch).is_ok().then_some((remote, branch))
}

/// Whether there is a reference of this full name.
pub(super) fn is_there(here: &gix::Repository, full: &str) -> bool {
    matches!(find_reference(here, full), Ok(Some(_)))
}

/// Returns what a branch is said to come from, as people call it and in full, if that is there.
fn upstream_of(here: &gix::Repository, branch: &str) -> Option<(String, Option<String>)> {
    let name = gix::refs::FullName::try_from(format!("refs/heads/{branch}")).ok()?;
    // A branch may follow another one of the same repository, which git writes as the remote `.`.
    if here.config_snapshot().string(format!("branch.{branch}.remote").as_str()).is_some_and(|remote| remote == ".") {
        let followed = here.branch_remote_ref_name(name.as_ref(), Direction::Fetch)?.ok()?;
        let full = followed.as_bstr().to_string();
        find_reference(here, &full).ok()??;
        return Some((followed.shorten().to_string(), Some(full)));
    }
    let tracking = here.branch_remote_tracking_ref_name(name.as_ref(), Direction::Fetch)?.ok()?;
    let full = tracking.as_bstr().to_string();
    find_reference(here, &full).ok()??;
    Some((tracking.shorten().to_string(), Some(full)))
}

/// Returns the remote and the branch there that a base comes from, where it comes from one: what fetching it means.
pub(super) fn comes_from(here: &gix::Repository, base: &Base) -> Option<(String, String)> {
    let full = base.reference.as_deref()?;
    match full.strip_prefix("refs/heads/") {
        Some(branch) => {
            let (name, _) = upstream_of(here, branch)?;
            split_remote(here, &name)
        }
        None => split_remote(here, full.strip_prefix("refs/remotes/")?),
    }
}

/// Returns the base as its remote has it, for a local branch that has nothing which that has not.
pub(super) fn newest(here: &gix::Repository, found: Base) -> Base {
    let newer = || -> Option<Base> {
        let branch = found.reference.as_deref()?.strip_prefix("refs/heads/")?;
        let full = match upstream_of(here, branch) {
            Some((_, full)) => full?,
            // Nothing was said, so it is the one of the same name.
            None => format!("refs/remotes/{}/{branch}", fetch::main_remote(here).ok()?),
        };
        let mut reference = find_reference(here, &full).ok()??;
        let commit = reference.peel_to_commit().ok()?;
        let local = gix::ObjectId::from_hex(found.commit.as_bytes()).ok()?;
        let own = here.rev_walk([local]).with_hidden([commit.id]).all().ok()?.next();
        own.is_none().then(|| base(found.name.clone(), Some(full), &commit))
    };
    newer().unwrap_or(found)
}

type Found<'a> = (String, Option<String>, gix::Commit<'a>);

fn named_base<'a>(here: &'a gix::Repository, asked: &str) -> Result<Found<'a>, ApiError> {
    // What is asked for is a base *branch*, so a branch goes before a tag of the same name, unlike for `git rev-parse`.
    for prefix in ["refs/heads/", "refs/remotes/", "refs/tags/", ""] {
        if prefix.is_empty() && !asked.starts_with("refs/") {
            continue;
        }
        if let Some(found) = reference(here, &format!("{prefix}{asked}"), "baseBranch")? {
            return Ok(found);
        }
    }
    if matches!(asked, "HEAD" | "@")
        && let Ok(Some(name)) = here.head_name()
        && let Some(found) = reference(here, &name.as_bstr().to_str_lossy(), "baseBranch")?
    {
        return Ok(found);
    }
    match find_commit(here, asked) {
        Ok(commit) => Ok((commit.id.to_string(), None, commit)),
        Err(error) => {
            tracing::debug!("no base `{asked}`: {error:#}");
            Err(match is_empty(here) {
                true => empty(here),
                false => {
                    let shown: String = asked.chars().take(80).collect();
                    ApiError::invalid("baseBranch", format!("there is no `{}` to start from", shown.escape_debug()))
                        .hint(
                            "give a branch, a remote branch (`origin/main`), a tag or a commit; `git branch -a` lists \
                             branches, and one that is new on a remote needs `fetch`",
                        )
                }
            })
        }
    }
}

fn find_commit<'a>(here: &'a gix::Repository, text: &str) -> gix::Result<gix::Commit<'a>> {
    here.rev_parse_single(BStr::new(text))
        .and_then(|id| id.object())
        .and_then(|object| object.peel_to_kind(gix::objs::Kind::Commit))
        .map(|object| object.into_commit())
}

/// Finds the repository's main branch: that of `origin/HEAD`, else `main`, `master`, else the current one.
fn default_base(here: &gix::Repository) -> Result<Found<'_>, ApiError> {
    let mut candidates = main_branches(here);
    let main = here.main_repo().map_err(|error| internal("cannot open the repository's main checkout", &error))?;
    if let Ok(Some(name)) = main.head_name() {
        candidates.push(name.as_bstr().to_string());
    }
    for candidate in candidates {
        if let Some(found) = reference(here, &candidate, "baseBranch")? {
            return Ok(found);
        }
    }
    let head = main.head_id().ok().and_then(|id| here.find_commit(id.detach()).ok());
    match head {
        Some(commit) => Ok((commit.id.to_string(), None, commit)),
        None if is_empty(here) => Err(empty(here)),
        None => Err(ApiError::invalid("baseBranch", "this repository has no main branch to start from")
            .hint("name one: {\"baseBranch\": \"…\"}; `git branch -a` lists branches")),
    }
}

/// Returns what may be the repository's main branch by its name alone, in full.
pub(super) fn main_branches(here: &gix::Repository) -> Vec<String> {
    let mut candidates = Vec::new();
    let remote_head = here.try_find_reference("refs/remotes/origin/HEAD").ok().flatten();
    if let Some(Some(target)) = remote_head.map(|head| head.target().try_name().map(|name| name.as_bstr().to_string()))
    {
        if let Some(branch) = target.strip_prefix("refs/remotes/origin/") {
            candidates.push(format!("refs/heads/{branch}"));
        }
        candidates.push(target);
    }
    candidates.extend(["refs/heads/main".to_owned(), "refs/heads/master".to_owned()]);
    candidates
}

/// Finds a reference by its full name, and its commit.
fn reference<'a>(here: &'a gix::Repository, full: &str, field: &str) -> Result<Option<Found<'a>>, ApiError> {
    // A name that cannot be one is not there; the caller says so in its own words.
    let Ok(Some(mut reference)) = find_reference(here, full) else { return Ok(None) };
    let name = reference.name().shorten().to_string();
    let full = reference.name().as_bstr().to_string();
    match reference.peel_to_commit() {
        Ok(commit) => Ok(Some((name, Some(full), commit))),
        Err(error) => {
            tracing::debug!("{full} is no commit: {error:#}");
            Err(ApiError::invalid(field, format!("`{name}` is not a commit that can be read"))
                .hint("give a branch, a remote branch, a tag of a commit, or a commit"))
        }
    }
}

fn is_empty(here: &gix::Repository) -> bool {
    let references = here.references();
    let none = references.as_ref().ok().and_then(|all| all.all().ok()).is_none_or(|mut all| all.next().is_none());
    none && here.head_id().is_err()
}

fn empty(here: &gix::Repository) -> ApiError {
    let place = here.workdir().unwrap_or(here.git_dir());
    ApiError::invalid(
        "cwd",
        format!("the repository at {} has no commit yet, so there is nothing to start from", place.display()),
    )
    .hint("make the first one: `git commit --allow-empty -m start`")
}

/// The longest name of a file, less what stands behind it while git writes it: `.lock`.
const LONGEST_PART: usize = 250;

/// The longest name of a branch; its path is longer by that of the repository.
const LONGEST_NAME: usize = 2048;
