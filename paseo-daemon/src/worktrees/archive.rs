//! Archiving a worktree: moved out of sight, put away in the repository, and only then removed.
//!
//! What it holds is kept by one reference as a commit on top of the one that was checked out, as `git add --all` and
//! `git commit` would have made it, so that git alone can bring back any file. Its second parent has what a commit cannot
//! say: the index as it was, the files of the worktree's own git directory, files whose exact bytes git would not check
//! out again, and what paseo knew. Its parents are the commits that only those files speak of, and an older archive of the
//! same name.

mod capture;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use gix::ObjectId;
use gix::refs::transaction::{Change, LogChange, PreviousValue, RefEdit};
use gix::refs::{FullName, Target};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::worktree::{Archived, Fact, Note, Removal};
use serde::{Deserialize, Serialize};

use self::capture::Capture;
use super::branch;
use super::files::{failed, names, remove_by_force, remove_file};
use super::inspect::find_ours;
use super::note::{Mark, NOTE, read_note};
use super::site::{REMAINS_PREFIX, Site, find_reference, internal, options};
use super::tree::{Registered, registered, remove_registration, remove_stubs};
use crate::fault::{Point, reached};

/// What an archive says of itself, beside the files.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kept {
    pub(super) note: Note,
    pub(super) head_branch: Option<String>,
    pub(super) head_commit: String,
    /// Where the branch was that was made for it, if that is removed.
    pub(super) branch_tip: Option<String>,
    /// What was set for that branch in the repository's configuration.
    #[serde(default)]
    pub(super) settings: Vec<(String, String)>,
    pub(super) kept_commits: i64,
    pub(super) kept_files: i64,
    /// The archive of this name before this one.
    #[serde(default)]
    pub(super) previous: Option<String>,
}

/// An archive, as it is found.
pub(super) struct Found {
    /// The commit with the files.
    pub(super) commit: ObjectId,
    /// The tree with everything else.
    pub(super) beside: ObjectId,
    pub(super) kept: Kept,
}

/// Moves a tree out of sight, where nobody works in it.
pub(super) fn take_away(site: &Site, removal: &Removal) -> Result<(), ApiError> {
    let slug = &removal.note.slug;
    let (tree, note) = find_ours(site, slug)?;
    if note.created_at != removal.note.created_at {
        return Err(
            ApiError::new(Code::Conflict, format!("worktree `{slug}` is another one by now")).hint("look again")
        );
    }
    // While the tree is away, `git worktree prune` would forget it.
    let lock = tree.git_dir.join("locked");
    let mut locked =
        OpenOptions::new().write(true).create_new(true).open(&lock).map_err(|error| failed("write", &lock, &error))?;
    let written = locked.write_all(LOCKED.as_bytes()).map_err(|error| failed("write", &lock, &error));
    let away = || std::fs::rename(&tree.path, site.departure(slug));
    written.and_then(|()| away().map_err(|error| failed("move away", &tree.path, &error))).inspect_err(|_| {
        let _ = remove_file(&lock);
    })
}

/// Moves a tree back to its place.
pub(super) fn bring_back(site: &Site, removal: &Removal) -> Result<(), ApiError> {
    let slug = &removal.note.slug;
    let (path, departure) = (site.tree(slug), site.departure(slug));
    if departure.exists() {
        if path.symlink_metadata().is_ok() {
            return Err(ApiError::new(Code::Conflict, format!("{} is there by now", path.display())));
        }
        std::fs::rename(&departure, &path).map_err(|error| failed("move back", &departure, &error))?;
    }
    if let Some(tree) = registration(site, &removal.note)? {
        unlock(&tree.git_dir)?;
    }
    Ok(())
}

/// Keeps what a tree holds, out of sight as it is.
pub(super) fn put_away(site: &Site, removal: &Removal) -> Result<Archived, ApiError> {
    let note = &removal.note;
    let repository = site.open()?;
    let departure = site.departure(&note.slug);
    let path = site.tree(&note.slug);
    if !departure.is_dir() && path.symlink_metadata().is_ok() {
        return Err(ApiError::new(Code::Conflict, format!("somebody moved {} back to its place", path.display())));
    }
    if let Some(tree) = registration(site, note)?.filter(|_| departure.is_dir()) {
        let cannot = |error| internal(&format!("cannot put away worktree `{}`", note.slug), &error);
        let capture = Capture { site, removal, tree: &tree, repository: open(&tree, &departure)? };
        capture.keep(find(&repository, &note.slug)?).map_err(cannot)?;
        reached(Point::WorktreeKept);
    }
    let found = find(&repository, &note.slug)?.filter(|found| found.kept.note.created_at == note.created_at);
    Mark::going(removal, true).write(site)?;
    Ok(match found {
        Some(Found { commit, kept, .. }) => Archived {
            reference: reference(&note.slug),
            commit: commit.to_string(),
            kept_commits: kept.kept_commits,
            kept_files: kept.kept_files,
            branch_removed: kept.branch_tip.is_some(),
            note: kept.note,
            problem: None,
        },
        // Somebody removed by hand what was out of sight.
        None => Archived {
            reference: reference(&note.slug),
            commit: note.start().to_owned(),
            kept_commits: 0,
            kept_files: 0,
            branch_removed: false,
            note: note.clone(),
            problem: Some("it was gone before it could be put away".to_owned()),
        },
    })
}

/// Removes the registration and the tree of a worktree that is put away.
///
/// What cannot be deleted there is in nobody's way: it has another name by then, and is tried again later.
pub(super) fn clear(site: &Site, removal: &Removal) -> Result<Fact, ApiError> {
    let note = &removal.note;
    let path = site.tree(&note.slug);
    if path.symlink_metadata().is_err() {
        // The note may have gone already, when this was cut short; nobody else has a tree where none is.
        let ours = |tree: &Registered| {
            let found = read_note(&tree.git_dir).ok().flatten();
            tree.path == path && found.is_none_or(|found| found.created_at == note.created_at)
        };
        for tree in registered(&site.open()?)?.into_iter().filter(ours) {
            remove_registration(&tree.git_dir)?;
        }
        remove_stubs(&site.common_dir.join("worktrees"), &note.slug);
    }
    reached(Point::WorktreeForgotten);
    let (departure, remains) = (site.departure(&note.slug), site.remains(note));
    match std::fs::rename(&departure, &remains) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        renamed => renamed.map_err(|error| failed("move away", &departure, &error))?,
    }
    match remove_by_force(&remains) {
        Ok(()) => Ok(Fact::Done),
        Err(error) => {
            tracing::warn!("what is left of worktree `{}` stays for now: {error}", note.slug);
            Ok(Fact::Kept("some of its files could not be deleted, and wait beside the worktrees"))
        }
    }
}

/// Deletes what could not be deleted of worktrees that were put away, where that is possible by now.
pub(super) fn clear_remains(site: &Site) -> Result<(), ApiError> {
    for name in names(&site.directory)?.iter().filter(|name| name.starts_with(REMAINS_PREFIX)) {
        if let Err(error) = remove_by_force(&site.directory.join(name)) {
            tracing::debug!("{error}");
        }
    }
    Ok(())
}

/// Removes the branch of a worktree that is put away, as far as the archive has it, unless it is in use.
pub(super) fn drop_branch(site: &Site, removal: &Removal) -> Result<Fact, ApiError> {
    let note = &removal.note;
    let repository = site.open()?;
    let found = find(&repository, &note.slug)?.filter(|found| found.kept.note.created_at == note.created_at);
    let tip = found.and_then(|found| found.kept.branch_tip);
    let (Some(branch), Some(tip)) = (&note.branch, tip) else { return Ok(Fact::Done) };
    if !branch::remove_at(site, &repository, branch, &tip)? {
        return Ok(Fact::Kept("the branch is in use, or has moved"));
    }
    reached(Point::WorktreeBranchGone);
    branch::forget_settings(site, &repository, branch).map(|()| Fact::Done)
}

/// Finds the newest archive of this name.
pub(super) fn find(repository: &gix::Repository, slug: &str) -> Result<Option<Found>, ApiError> {
    let unreadable = |error| internal(&format!("cannot read the archive `{slug}`"), &error);
    let read = |mut reference: gix::Reference<'_>| -> gix::Result<Option<Found>> {
        let commit = reference.peel_to_commit()?;
        let Some(beside) = commit.parent_ids().last() else { return Ok(None) };
        let tree = repository.find_commit(beside.detach())?.tree()?;
        let Some(entry) = tree.find_entry(NOTE) else { return Ok(None) };
        let kept = serde_json::from_slice(&entry.object()?.data).map_err(gix::Error::from_error)?;
        Ok(Some(Found { commit: commit.id, beside: tree.id, kept }))
    };
    match find_reference(repository, &reference(slug)).map_err(unreadable)? {
        Some(reference) => read(reference).map_err(unreadable),
        None => Ok(None),
    }
}

/// Makes the reference keep `commit`, in place of `previous`.
pub(super) fn point(
    repository: &gix::Repository,
    slug: &str,
    commit: Option<ObjectId>,
    previous: Option<ObjectId>,
) -> gix::Result<()> {
    let name = FullName::try_from(reference(slug)).map_err(gix::Error::from_error)?;
    let expected =
        previous.map_or(PreviousValue::MustNotExist, |id| PreviousValue::MustExistAndMatch(Target::Object(id)));
    let edit = match commit {
        Some(commit) => RefEdit {
            change: Change::Update { log: LogChange::default(), expected, new: Target::Object(commit) },
            name,
            deref: false,
        },
        None => RefEdit::delete(name, expected),
    };
    repository.edit_reference(edit).map(drop)
}

/// Opens a worktree whose files are in `directory`.
pub(super) fn open(tree: &Registered, directory: &Path) -> Result<gix::Repository, ApiError> {
    let open = || -> gix::Result<gix::Repository> {
        // What git would not add for its line ends is kept byte for byte.
        let options = options().cli_overrides(["core.safecrlf=false"]).open_path_as_is(true);
        let mut repository = options.open(&tree.git_dir)?.to_thread_local();
        repository.set_workdir(directory.to_owned())?;
        Ok(repository)
    };
    open().map_err(|error| internal(&format!("cannot open the worktree {}", tree.path.display()), &error))
}

fn registration(site: &Site, note: &Note) -> Result<Option<Registered>, ApiError> {
    let path = site.tree(&note.slug);
    let ours = |tree: &Registered| {
        tree.path == path && matches!(read_note(&tree.git_dir), Ok(Some(found)) if found.created_at == note.created_at)
    };
    Ok(registered(&site.open()?)?.into_iter().find(ours))
}

fn unlock(git_dir: &Path) -> Result<(), ApiError> {
    let lock = git_dir.join("locked");
    match std::fs::read_to_string(&lock) {
        Ok(reason) if reason == LOCKED => remove_file(&lock),
        _ => Ok(()),
    }
}

/// Returns the reference that keeps what was archived under this name.
pub(super) fn reference(slug: &str) -> String {
    format!("{PREFIX}{slug}")
}

/// Where archives are kept.
pub(super) const PREFIX: &str = "refs/paseo/archive/";

/// The reason for which git leaves a worktree alone while paseo archives it.
const LOCKED: &str = "paseo is archiving it";
