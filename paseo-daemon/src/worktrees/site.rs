//! Where a repository and its worktrees are, and how it is opened.

use std::error::Error;
use std::path::{Path, PathBuf};

use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::worktree::Note;
use sha2::{Digest as _, Sha256};

use super::files::{code_of, mend};

/// A repository, and the directory in which its worktrees are made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Site {
    /// The git directory that all worktrees share: the repository's identity.
    pub(super) common_dir: PathBuf,
    /// The main checkout; the git directory of a repository that is bare.
    pub(super) main: PathBuf,
    /// Whether it has no main checkout, so that nothing is checked out there.
    pub(super) bare: bool,
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
                format!("cwd: the repository of {} cannot be opened: {}", cwd.display(), said(&error)),
            )
            .hint("`git status` there may say more")
            .details(serde_json::json!({ "field": "cwd" })),
            Err(_) => ApiError::invalid("cwd", format!("{} is not in a git repository", cwd.display()))
                .hint("give a directory of a repository, or make one: `git init`"),
        })?;
        let storage = here.config_snapshot().string("extensions.refStorage");
        if storage.is_some_and(|storage| storage == "reftable") {
            return Err(ApiError::new(
                Code::Unsupported,
                format!("cwd: the repository of {} keeps its references in a reftable", cwd.display()),
            )
            .hint("`git refs migrate --ref-format=files` makes files of them")
            .details(serde_json::json!({ "field": "cwd" })));
        }
        // As git does: its configuration and hooks are somebody else's, and would run as this user.
        if here.git_dir_trust() != gix::sec::Trust::Full {
            let place = here.workdir().unwrap_or(here.git_dir()).display().to_string();
            return Err(ApiError::new(
                Code::Refused,
                format!("cwd: the repository at {place} belongs to another user"),
            )
            .hint(format!("if you trust them: `git config --global --add safe.directory {place}`"))
            .details(serde_json::json!({ "field": "cwd" })));
        }
        let site = Site::of(home, &here)?;
        Ok((here, site))
    }

    /// Says where the worktrees of a repository are made.
    pub(super) fn of(home: &Path, here: &gix::Repository) -> Result<Site, ApiError> {
        let main = here.main_repo().map_err(|error| internal("cannot open the repository's main checkout", &error))?;
        let checkout = main.workdir().filter(|_| !main.is_bare());
        let canonical = |path: &Path| {
            path.canonicalize().map_err(|error| internal(&format!("cannot find {}", path.display()), &error))
        };
        let bare = checkout.is_none();
        let common_dir = canonical(main.common_dir())?;
        let main = checkout.map_or(Ok(common_dir.clone()), canonical)?;
        let home = real(home);
        if home.to_str().is_none() {
            return Err(ApiError::new(
                Code::Unsupported,
                format!("paseo's home is not valid UTF-8: {}", home.display()),
            )
            .hint("set PASEO_HOME to another directory"));
        }
        let directory = home.join("worktrees").join(directory_name(&main));
        Ok(Site { common_dir, main, bare, directory })
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

    /// Returns where a tree is out of sight that is being archived. It is deleted only once what it holds is put away.
    pub(super) fn departure(&self, slug: &str) -> PathBuf {
        self.directory.join(format!(".archiving-{slug}"))
    }

    /// Returns where what is left of a tree is deleted that is put away. The name is this tree's alone.
    pub(super) fn remains(&self, note: &Note) -> PathBuf {
        self.directory.join(format!("{REMAINS_PREFIX}{}-{}", note.slug, note.created_at.0))
    }

    /// Returns where a tree is put out of sight while it is being deleted.
    pub(super) fn trash(&self, slug: &str) -> PathBuf {
        self.directory.join(format!(".removing-{slug}"))
    }
}

/// Returns the real path of a directory that may not exist yet: git registers worktrees by that.
pub(crate) fn real(directory: &Path) -> PathBuf {
    let found = directory.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    match found.and_then(|(above, real)| Some(real.join(directory.strip_prefix(above).ok()?))) {
        // Joining nothing would leave a slash at the end.
        Some(real) => real.components().collect(),
        None => directory.to_owned(),
    }
}

/// With what the files begin that mark a worktree as half made, or half removed. A slug has no dot.
pub(super) const MARK_PREFIX: &str = ".making-";

/// With what the names of directories begin that are left of worktrees which are put away.
pub(super) const REMAINS_PREFIX: &str = ".archived-";

/// Opens the repository of a directory.
pub(super) fn discover(directory: &Path) -> gix::Result<gix::Repository> {
    let trust = gix::sec::trust::Mapping { full: options(), reduced: options() };
    gix::ThreadSafeRepository::discover_opts(directory, Default::default(), trust)
        .map(|repository| repository.to_thread_local())
}

/// How repositories are opened. A reflog needs a name: git makes one up where the user has set none, gix does not.
///
/// Times of files are compared to the nanosecond. To the second, every file of a tree that was just checked out could have
/// changed since, and would be read again at each look until some `git status` writes a newer index. A file whose time
/// differs only there is read too, so this can hide no change.
pub(super) fn options() -> gix::open::Options {
    gix::open::Options::default().config_overrides([
        "gitoxide.committer.nameFallback=paseo",
        "gitoxide.committer.emailFallback=paseo@localhost",
        "gitoxide.core.useNsec=true",
    ])
}

/// Returns the name of the directory for a repository's worktrees: readable, and of this checkout only.
fn directory_name(checkout: &Path) -> String {
    let names = checkout.ancestors().filter_map(Path::file_name).map(|name| name.to_string_lossy());
    // A bare repository is often in `.git` or `.bare` of a directory that has the project's name.
    let name = names.take(2).find(|name| !name.starts_with('.')).unwrap_or_default();
    let name: String = name
        .chars()
        .take(50)
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' })
        .collect();
    let hash = Sha256::digest(checkout.as_os_str().as_encoded_bytes());
    let hash: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{name}-{hash}")
}

/// Finds a reference by its full name and no other: gix looks for `refs/tags/refs/heads/main` as well.
pub(super) fn find_reference<'a>(
    repository: &'a gix::Repository,
    full: &str,
) -> gix::Result<Option<gix::Reference<'a>>> {
    Ok(repository.try_find_reference(full)?.filter(|found| found.name().as_bstr() == full))
}

/// Puts something that should not have gone wrong into the words of an answer.
pub(super) fn internal(what: &str, error: &(dyn Error + 'static)) -> ApiError {
    tracing::info!("{what}: {error:?}");
    let message = format!("{what}: {}", said(error));
    match io_error(error).map(std::io::Error::kind) {
        Some(kind) if !matches!(code_of(kind), Code::Internal) => mend(ApiError::new(code_of(kind), message), kind),
        _ => ApiError::new(Code::Internal, message),
    }
}

/// Says what went wrong in one line, the cause last.
pub(super) fn said(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for error in causes(error) {
        let part = error.to_string();
        // Some say their cause themselves.
        if !part.is_empty() && !parts.iter().any(|said| said.contains(&part)) {
            parts.push(part);
        }
    }
    parts.join(": ")
}

/// Finds what the system said, if it was the cause.
pub(super) fn io_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a std::io::Error> {
    causes(error).into_iter().find_map(|error| error.downcast_ref())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> Vec<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<gix::Error>() {
        Some(error) => error.iter_errors().collect(),
        None => {
            let mut causes = vec![error];
            let mut next = error.source();
            while let Some(error) = next {
                causes.push(error);
                next = error.source();
            }
            causes
        }
    }
}
