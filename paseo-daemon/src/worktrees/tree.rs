//! Trees and their registrations: made, taken back, and told from what is somebody else's.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use gix::bstr::ByteSlice as _;
use gix::refs::transaction::{Change, LogChange, PreviousValue, RefEdit, RefLog};
use gix::refs::{FullName, Target};
use gix::worktree::add::{Head, PrepareCheckout};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::worktree::{Condition, Fact, Note};
use paseo_sdk::operation::Reporter;

use super::branch::{full_name, parse};
use super::counting::report_checkout;
use super::files::{failed, names, remove_dir, remove_dir_all, remove_file};
use super::list::is_dirty;
use super::note::{read_note, remove_note};
use super::site::{Site, discover, internal};
use crate::fault::{Point, reached};

/// A worktree as it is registered in the repository.
pub(super) struct Registered {
    /// Its own git directory.
    pub(super) git_dir: PathBuf,
    /// Where it is said to be.
    pub(super) path: PathBuf,
}

/// Reads the worktrees that are registered, the main checkout left out.
pub(super) fn registered(repository: &gix::Repository) -> Result<Vec<Registered>, ApiError> {
    let proxies = repository.worktrees().map_err(|error| internal("cannot list the worktrees", &error))?;
    Ok(proxies
        .iter()
        .filter_map(|proxy| Some(Registered { path: proxy.base().ok()?, git_dir: proxy.git_dir().to_owned() }))
        .collect())
}

/// Reads where the git directory of a worktree is.
pub(super) fn git_dir_of(tree: &Path) -> Option<PathBuf> {
    let link = std::fs::read_to_string(tree.join(".git")).ok()?;
    Some(tree.join(link.trim_end().strip_prefix("gitdir: ")?))
}

/// Reads which branch a git directory has checked out; none when its head is detached or unreadable.
pub(super) fn head_branch(git_dir: &Path) -> Option<String> {
    let head = std::fs::read_to_string(git_dir.join("HEAD")).ok()?;
    Some(head.trim_end().strip_prefix("ref: refs/heads/")?.to_owned())
}

/// Reads which branch nobody else may check out: the one that is checked out, or that a rebase or a bisection goes back to.
pub(super) fn reserved_branch(git_dir: &Path) -> Option<String> {
    head_branch(git_dir).or_else(|| {
        let said = ["rebase-merge/head-name", "rebase-apply/head-name", "BISECT_START"];
        said.iter().find_map(|name| {
            let text = std::fs::read_to_string(git_dir.join(name)).ok()?;
            let name = text.trim_end();
            match name.strip_prefix("refs/heads/") {
                Some(branch) => Some(branch.to_owned()),
                // A bisection writes its branch as people call it.
                None => (git_dir.join("BISECT_LOG").exists() && !name.is_empty()).then(|| name.to_owned()),
            }
        })
    })
}

/// Reads how a finished worktree is.
pub(super) fn condition(tree: &Registered) -> Result<Condition, ApiError> {
    let unreadable = |error| internal(&format!("cannot read the worktree {}", tree.path.display()), &error);
    let repository = discover(&tree.path).map_err(unreadable)?;
    Ok(Condition {
        branch: head_branch(&tree.git_dir),
        head: repository.head_id().ok().map(|id| id.to_string()),
        clean: !is_dirty(&repository).map_err(unreadable)?,
        locked: tree.git_dir.join("locked").exists(),
    })
}

/// Registers the tree of a worktree and fills it with its first commit.
///
/// The hooks of git do not run, `post-checkout` either: `core.hooksPath` may well be a directory of the tree itself, and
/// that of a pull request is somebody else's. What a worktree needs is said in `paseo.json`, where trust is asked for.
pub(super) fn make(site: &Site, note: &Note, stop: &AtomicBool, reporter: &Reporter) -> Result<(), ApiError> {
    let head = match &note.branch {
        Some(branch) => Head::Attached(full_name(branch)?),
        None => Head::Detached(parse(note.start())?),
    };
    add(site, note, head, stop, reporter).map(drop)
}

/// Registers a tree and fills it with what `head` is.
pub(super) fn add(
    site: &Site,
    note: &Note,
    head: Head,
    stop: &AtomicBool,
    reporter: &Reporter,
) -> Result<gix::Repository, ApiError> {
    let path = site.tree(&note.slug);
    let what = note.branch.as_deref().unwrap_or(&note.base);
    let failed = |error: gix::Error| internal(&format!("cannot check out `{what}` at {}", path.display()), &error);
    let repository = site.open()?;
    let prepared = match head {
        Head::Attached(branch) if note.branch_made && !is_configured_for(&repository, &branch) => {
            prepare_on_new_branch(&repository, &path, branch, stop)
        }
        head => repository.prepare_add_worktree(&path, head, stop),
    };
    let prepared = prepared.map_err(failed)?;
    let message = format!("checking out {what}");
    let checkout = |counting| prepared.checkout(counting, stop);
    let (tree, outcome) = report_checkout(reporter, &message, checkout).map_err(failed)?;
    match outcome.errors.first() {
        Some(first) => Err(internal(&format!("cannot check out `{}` of `{what}`", first.path), &first.error)),
        None => Ok(tree),
    }
}

/// Registers a tree on a branch that was made for it just now.
///
/// To see that no other has the branch checked out, gix opens every worktree of the repository: with fifty of them, that
/// takes longer than a checkout of a few files. What was made a moment ago is checked out nowhere.
fn prepare_on_new_branch(
    repository: &gix::Repository,
    path: &Path,
    branch: FullName,
    stop: &AtomicBool,
) -> gix::Result<PrepareCheckout> {
    let commit = repository.find_reference(branch.as_ref())?.peel_to_commit()?.id;
    let prepared = repository.prepare_add_worktree(path, Head::Detached(commit), stop)?;
    // The log of its head begins with the commit, which was written already.
    let log = LogChange { mode: RefLog::AndReference, force_create_reflog: false, message: Default::default() };
    let change = Change::Update { log, expected: PreviousValue::Any, new: Target::Symbolic(branch) };
    let name = FullName::try_from("HEAD").expect("`HEAD` is the name of a reference");
    prepared.repo().edit_reference(RefEdit { change, name, deref: false })?;
    Ok(prepared)
}

/// Whether the configuration may have something that counts only on this branch. How files are checked out could be among
/// it, and is read before the head is attached.
fn is_configured_for(repository: &gix::Repository, branch: &FullName) -> bool {
    let config = repository.config_snapshot();
    let mut conditions = config.plumbing().sections_by_name("includeIf").into_iter().flatten().filter_map(|section| {
        section.header().subsection_name()?.to_str().ok()?.strip_prefix("onbranch:").map(str::to_owned)
    });
    let name = branch.shorten().to_string();
    conditions.any(|pattern| pattern == name || pattern.ends_with('/') || pattern.contains(['*', '?', '[', '\\']))
}

/// Removes the tree of a worktree that is taken back, unless somebody works in it.
pub(super) fn remove(site: &Site, note: &Note) -> Result<Fact, ApiError> {
    let path = site.tree(&note.slug);
    let repository = site.open()?;
    let found = registered(&repository)?.into_iter().find(|tree| tree.path == path);
    if let Some(tree) = &found {
        match read_note(&tree.git_dir)? {
            Some(other) if other.created_at != note.created_at => {
                tracing::warn!("{} is another worktree by now; it stays", path.display());
                return Ok(Fact::Done);
            }
            // It was finished, so somebody may have worked in it.
            Some(_) if tree.path.is_dir() => {
                if let Some(why) = condition(tree)?.changed_since(note) {
                    return Ok(Fact::Kept(why));
                }
                remove_note(&tree.git_dir)?;
            }
            Some(_) => remove_note(&tree.git_dir)?,
            None => {}
        }
    }
    let trash = site.trash(&note.slug);
    remove_dir_all(&trash)?;
    match owner_of(&path, found.as_ref(), &repository) {
        Owner::Nobody => {}
        // Moved out of sight first, so that what a deletion leaves when it is cut short is known by its name.
        Owner::Ours => std::fs::rename(&path, &trash).map_err(|error| failed("move away", &path, &error))?,
        Owner::Foreign => return Err(ApiError::new(Code::Refused, format!("{} is not paseo's", path.display()))),
    }
    if let Some(tree) = found {
        remove_registration(&tree.git_dir)?;
    }
    remove_stubs(&repository.common_dir().join("worktrees"), &note.slug);
    remove_dir_all(&trash)?;
    Ok(Fact::Done)
}

/// Whose a directory is.
pub(super) enum Owner {
    Nobody,
    Ours,
    Foreign,
}

/// Finds out whose the directory is in which a worktree is said to be.
pub(super) fn owner_of(path: &Path, found: Option<&Registered>, repository: &gix::Repository) -> Owner {
    match std::fs::symlink_metadata(path) {
        Err(_) => return Owner::Nobody,
        Ok(metadata) if !metadata.is_dir() => return Owner::Foreign,
        Ok(_) => {}
    }
    let entries = names(path).unwrap_or_default();
    let is_empty = || std::fs::metadata(path.join(".git")).map_or(true, |link| link.is_file() && link.len() == 0);
    match (git_dir_of(path), found) {
        (Some(target), Some(tree)) if same(&target, &tree.git_dir) => Owner::Ours,
        // The registration went first.
        (Some(target), None) if !target.exists() && same_parent(&target, repository) => Owner::Ours,
        // Begun and cut short before a single file was there.
        (None, _) if entries.iter().all(|name| name == ".git") && is_empty() => Owner::Ours,
        _ => Owner::Foreign,
    }
}

pub(super) fn same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn same_parent(target: &Path, repository: &gix::Repository) -> bool {
    target.parent().and_then(Path::parent).is_some_and(|parent| same(parent, repository.common_dir()))
}

/// Removes a registration. The file by which it is found goes last.
pub(super) fn remove_registration(git_dir: &Path) -> Result<(), ApiError> {
    for name in names(git_dir)?.iter().filter(|name| *name != "gitdir") {
        reached(Point::WorktreeForgetting);
        let path = git_dir.join(name);
        match path.is_dir() && !path.is_symlink() {
            true => remove_dir_all(&path)?,
            false => remove_file(&path)?,
        }
    }
    remove_file(&git_dir.join("gitdir"))?;
    remove_dir(git_dir)?;
    // As git does: gone when the last one is.
    git_dir.parent().map_or(Ok(()), |all| std::fs::remove_dir(all).or(Ok(())))
}

/// Removes registrations that were cut short before they said where their tree is.
pub(super) fn remove_stubs(all: &Path, slug: &str) {
    for name in names(all).unwrap_or_default() {
        let numbered = name.strip_prefix(slug).is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()));
        let stub = all.join(&name);
        let said = std::fs::read(stub.join("gitdir")).is_ok_and(|text| !text.is_empty());
        let entries = names(&stub).unwrap_or_default();
        if numbered && !said && entries.iter().all(|name| matches!(name.as_str(), "locked" | "gitdir")) {
            let removed = entries.iter().try_for_each(|name| remove_file(&stub.join(name)));
            if let Err(error) = removed.and_then(|()| remove_dir(&stub)) {
                tracing::warn!("{error}");
            }
        }
    }
    let _ = std::fs::remove_dir(all);
}
