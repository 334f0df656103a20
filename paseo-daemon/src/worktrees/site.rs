//! Where a repository and its worktrees are, and what a base is: what is read before a request is queued.

use std::path::{Path, PathBuf};

use gix::bstr::ByteSlice as _;
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::worktree::Base;
use paseo_sdk::model::{Setup, SetupStatus};
use sha2::{Digest as _, Sha256};

/// A repository, and the directory in which its worktrees are made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Site {
    /// The git directory that all worktrees share: the repository's identity.
    pub(super) common_dir: PathBuf,
    /// The main checkout.
    pub(super) main: PathBuf,
    /// Where paseo makes the worktrees.
    pub(super) directory: PathBuf,
}

impl Site {
    /// Finds the repository of a directory, from whichever checkout of it; returns it as that checkout sees it.
    pub(super) fn find(home: &Path, cwd: &Path) -> Result<(gix::Repository, Site), ApiError> {
        if !cwd.is_absolute() {
            return Err(ApiError::invalid("cwd", format!("`{}` is not an absolute path", cwd.display())));
        }
        if !cwd.is_dir() {
            return Err(ApiError::invalid("cwd", format!("{} is not a directory", cwd.display()))
                .hint("give a directory that exists, in a git repository"));
        }
        let here = discover(cwd).map_err(|error| match gix::discover::upwards(cwd) {
            Ok(_) => ApiError::new(
                Code::Unsupported,
                format!("cwd: the repository of {} cannot be opened: {error:#}", cwd.display()),
            )
            .hint("`git status` there may say more; paseo cannot read SHA-256 repositories yet")
            .details(serde_json::json!({ "field": "cwd" })),
            Err(_) => ApiError::invalid("cwd", format!("{} is not in a git repository", cwd.display()))
                .hint("give a directory of a repository, or make one: `git init`"),
        })?;
        let site = Site::of(home, &here)?;
        Ok((here, site))
    }

    /// Says where the worktrees of a repository are made.
    pub(super) fn of(home: &Path, here: &gix::Repository) -> Result<Site, ApiError> {
        let main = here.main_repo().map_err(|error| internal("cannot open the repository's main checkout", &error))?;
        let Some(checkout) = main.workdir().filter(|_| !main.is_bare()) else {
            return Err(ApiError::new(
                Code::Unsupported,
                format!("cwd: {} is a bare repository, without a main checkout", main.git_dir().display()),
            )
            .hint("give a directory of a clone that has one")
            .details(serde_json::json!({ "field": "cwd" })));
        };
        let canonical = |path: &Path| {
            path.canonicalize().map_err(|error| internal(&format!("cannot find {}", path.display()), &error))
        };
        let checkout = canonical(checkout)?;
        let common_dir = canonical(main.common_dir())?;
        let home = real(home);
        if home.to_str().is_none() {
            return Err(ApiError::new(
                Code::Unsupported,
                format!("paseo's home is not valid UTF-8: {}", home.display()),
            )
            .hint("set PASEO_HOME to another directory"));
        }
        let directory = home.join("worktrees").join(directory_name(&checkout));
        Ok(Site { common_dir, main: checkout, directory })
    }

    /// Opens the repository as its main checkout sees it.
    pub(super) fn open(&self) -> Result<gix::Repository, ApiError> {
        options()
            .open_path_as_is(true)
            .open(&self.common_dir)
            .map(|repository| repository.to_thread_local())
            .map_err(|error| internal(&format!("cannot open {}", self.common_dir.display()), &error))
    }

    /// Returns where the worktree of this slug is.
    pub(super) fn tree(&self, slug: &str) -> PathBuf {
        self.directory.join(slug)
    }

    /// Returns where the mark of a worktree that is being made or removed is.
    pub(super) fn mark(&self, slug: &str) -> PathBuf {
        self.directory.join(format!("{MARK_PREFIX}{slug}.json"))
    }

    /// Returns where a tree is put out of sight while it is being deleted.
    pub(super) fn trash(&self, slug: &str) -> PathBuf {
        self.directory.join(format!(".removing-{slug}"))
    }
}

/// Returns the real path of a directory that may not exist yet: git registers worktrees by that.
pub(super) fn real(directory: &Path) -> PathBuf {
    let found = directory.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    match found.and_then(|(above, real)| Some(real.join(directory.strip_prefix(above).ok()?))) {
        // Joining nothing would leave a slash at the end.
        Some(real) => real.components().collect(),
        None => directory.to_owned(),
    }
}

/// With what the files begin that mark a worktree as half made. A slug has no dot.
pub(super) const MARK_PREFIX: &str = ".making-";

/// Opens the repository of a directory.
pub(super) fn discover(directory: &Path) -> gix::Result<gix::Repository> {
    let trust = gix::sec::trust::Mapping { full: options(), reduced: options() };
    gix::ThreadSafeRepository::discover_opts(directory, Default::default(), trust)
        .map(|repository| repository.to_thread_local())
}

/// How repositories are opened. A reflog needs a name: git makes one up where the user has set none, gix does not.
fn options() -> gix::open::Options {
    gix::open::Options::default()
        .config_overrides(["gitoxide.committer.nameFallback=paseo", "gitoxide.committer.emailFallback=paseo@localhost"])
}

/// Returns the name of the directory for a repository's worktrees: readable, and of this checkout only.
fn directory_name(checkout: &Path) -> String {
    let name = checkout.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let name: String = name
        .chars()
        .take(50)
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' })
        .collect();
    let hash = Sha256::digest(checkout.as_os_str().as_encoded_bytes());
    let hash: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{hash}", name.trim_start_matches('.'))
}

/// Checks a branch's name by git's own rules.
pub(super) fn check_branch(name: &str) -> Result<(), ApiError> {
    let full = format!("refs/heads/{name}");
    let why = match gix::validate::reference::branch_name(full.as_str().into()) {
        // git takes such a reference but no such branch: it could not be told from an option.
        Ok(_) if name.starts_with('-') => "it begins with `-`".to_owned(),
        Ok(_) if name == "@" => "`@` means the current head".to_owned(),
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

/// Finds what a new branch shall start from. `here` is the checkout of the caller, in which `HEAD` has its meaning.
pub(super) fn find_base(here: &gix::Repository, asked: Option<&str>) -> Result<Base, ApiError> {
    let (name, reference, commit) = match asked {
        Some(asked) => named_base(here, asked)?,
        None => default_base(here)?,
    };
    let setup = setup(&commit);
    Ok(Base { name, reference, commit: commit.id.to_string(), setup })
}

type Found<'a> = (String, Option<String>, gix::Commit<'a>);

fn named_base<'a>(here: &'a gix::Repository, asked: &str) -> Result<Found<'a>, ApiError> {
    // What is asked for is a base *branch*, so a branch goes before a tag of the same name, unlike for `git rev-parse`.
    for prefix in ["refs/heads/", "refs/remotes/", "refs/tags/", ""] {
        if prefix.is_empty() && !asked.starts_with("refs/") {
            continue;
        }
        if let Some(found) = reference(here, &format!("{prefix}{asked}"))? {
            return Ok(found);
        }
    }
    if matches!(asked, "HEAD" | "@")
        && let Ok(Some(name)) = here.head_name()
        && let Some(found) = reference(here, &name.as_bstr().to_str_lossy())?
    {
        return Ok(found);
    }
    let commit = here
        .rev_parse_single(asked)
        .and_then(|id| id.object())
        .and_then(|object| object.peel_to_kind(gix::objs::Kind::Commit))
        .map(|object| object.into_commit());
    match commit {
        Ok(commit) => Ok((commit.id.to_string(), None, commit)),
        Err(error) => {
            tracing::debug!("no base `{asked}`: {error:#}");
            Err(match is_empty(here) {
                true => empty(here),
                false => {
                    let shown: String = asked.chars().take(80).collect();
                    ApiError::invalid("baseBranch", format!("there is no `{}` to start from", shown.escape_debug()))
                        .hint("give a branch, a remote branch (`origin/main`), a tag or a commit; `git branch -a` lists branches")
                }
            })
        }
    }
}

/// Finds the repository's main branch: that of `origin/HEAD`, else `main`, `master`, else the current one.
fn default_base(here: &gix::Repository) -> Result<Found<'_>, ApiError> {
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
    let main = here.main_repo().map_err(|error| internal("cannot open the repository's main checkout", &error))?;
    if let Ok(Some(name)) = main.head_name() {
        candidates.push(name.as_bstr().to_string());
    }
    for candidate in candidates {
        if let Some(found) = reference(here, &candidate)? {
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

/// Finds a reference by its full name, and its commit.
fn reference<'a>(here: &'a gix::Repository, full: &str) -> Result<Option<Found<'a>>, ApiError> {
    // A name that cannot be one is not there; the caller says so in its own words.
    let Ok(Some(mut reference)) = find_reference(here, full) else { return Ok(None) };
    let name = reference.name().shorten().to_string();
    let full = reference.name().as_bstr().to_string();
    match reference.peel_to_commit() {
        Ok(commit) => Ok(Some((name, Some(full), commit))),
        Err(error) => {
            tracing::debug!("{full} is no commit: {error:#}");
            Err(ApiError::invalid("baseBranch", format!("`{name}` is not a commit that can be read"))
                .hint("give a branch, a remote branch, a tag of a commit, or a commit"))
        }
    }
}

/// Finds a reference by its full name and no other: gix looks for `refs/tags/refs/heads/main` as well.
pub(super) fn find_reference<'a>(
    repository: &'a gix::Repository,
    full: &str,
) -> gix::Result<Option<gix::Reference<'a>>> {
    Ok(repository.try_find_reference(full)?.filter(|found| found.name().as_bstr() == full))
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

/// Reads what the commit's `paseo.json` asks for.
fn setup(commit: &gix::Commit<'_>) -> Setup {
    let skipped = |message: &str| Setup { status: SetupStatus::Skipped, message: Some(message.to_owned()) };
    let file = commit.tree().and_then(|tree| tree.lookup_entry_by_path("paseo.json"));
    let Ok(Some(file)) = file else { return Setup::default() };
    let Ok(blob) = file.object() else { return skipped("`paseo.json` of the base commit cannot be read") };
    match serde_json::from_slice::<serde_json::Value>(&blob.data) {
        Err(error) => skipped(&format!("`paseo.json` of the base commit is not JSON: {error}")),
        Ok(config) => match config.pointer("/worktree/setup") {
            None | Some(serde_json::Value::Null) => Setup::default(),
            Some(_) => skipped("`paseo.json` asks for a setup; this version of paseo does not run one yet"),
        },
    }
}

/// Puts something that should not have gone wrong into the words of an answer.
pub(super) fn internal(what: &str, error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(Code::Internal, format!("{what}: {error:#}"))
}
