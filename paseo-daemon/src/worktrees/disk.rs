//! The steps of making and removing a worktree, as the machine asks for them. Each may be done twice.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use gix::bstr::ByteSlice as _;
use gix::refs::transaction::{Change, LogChange, PreviousValue, RefEdit, RefLog};
use gix::refs::{FullName, Target};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::worktree::{Branch, Condition, Fact, Kind, Leftover, Note, Sight, Step, Tree};
use paseo_sdk::operation::Reporter;

use super::counting::report_checkout;
use super::list::is_dirty;
use super::site::{MARK_PREFIX, Site, discover, find_reference, internal};
use crate::store;

/// Carries out a step, for a daemon that runs `since` then, and tells `reporter` how far it is if that takes a while.
pub(super) fn carry_out(site: &Site, since: SystemTime, step: &Step, stop: &AtomicBool, reporter: &Reporter) -> Fact {
    let done = match step {
        Step::Leftovers => return leftovers(site).map_or_else(Fact::Failed, Fact::Leftovers),
        Step::Look(branch) => return look(site, branch).map_or_else(Fact::Failed, Fact::Seen),
        Step::Mark(note) => write_note(&site.mark(&note.slug), note),
        Step::MakeBranch(note) => make_branch(site, note),
        Step::MakeTree(note) => make_tree(site, note, stop, reporter),
        Step::WriteNote(note) => find_note_file(site, note).and_then(|file| write_note(&file, note)),
        Step::RemoveTree(note) => return remove_tree(site, note).unwrap_or_else(Fact::Failed),
        Step::RemoveBranch(note) => remove_stale_lock(site, since, note).and_then(|()| remove_branch(site, note)),
        Step::Unmark(note) => unmark(site, note),
    };
    done.map_or_else(Fact::Failed, |()| Fact::Done)
}

/// Reads what paseo knows of the worktree with this git directory; none when paseo did not make it.
pub(super) fn read_note(git_dir: &Path) -> Result<Option<Note>, ApiError> {
    read_note_file(&git_dir.join(NOTE))
}

/// Reads the marks of worktrees that were begun and are not finished.
pub(super) fn read_marks(site: &Site) -> Result<Vec<Note>, ApiError> {
    let mut marks = Vec::new();
    for name in names(&site.directory)? {
        let Some(slug) = name.strip_prefix(MARK_PREFIX).and_then(|rest| rest.strip_suffix(".json")) else { continue };
        match read_note_file(&site.directory.join(&name)) {
            // A mark that was moved here from elsewhere speaks of nothing that is here.
            Ok(Some(note)) if note.slug == slug => marks.push(note),
            Ok(_) => tracing::warn!("{name} in {} is not the mark of a worktree", site.directory.display()),
            Err(error) => tracing::warn!("{error}"),
        }
    }
    Ok(marks)
}

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

/// Reads which branch a git directory has checked out; none when its head is detached or unreadable.
pub(super) fn head_branch(git_dir: &Path) -> Option<String> {
    let head = std::fs::read_to_string(git_dir.join("HEAD")).ok()?;
    Some(head.trim_end().strip_prefix("ref: refs/heads/")?.to_owned())
}

/// Whether anything may be there that a request or a daemon left behind.
pub(super) fn has_remains(site: &Site) -> Result<bool, ApiError> {
    Ok(names(&site.directory)?.iter().any(|name| name.starts_with('.')))
}

fn leftovers(site: &Site) -> Result<Vec<Leftover>, ApiError> {
    // Marks that were cut short while they were written speak of nothing yet.
    for name in names(&site.directory)?.iter().filter(|name| name.starts_with(MARK_PREFIX) && name.ends_with(".new")) {
        remove_file(&site.directory.join(name))?;
        let _ = std::fs::remove_dir(&site.directory);
    }
    let marks = read_marks(site)?;
    if marks.is_empty() {
        return Ok(Vec::new());
    }
    let registered = registered(&site.open()?)?;
    Ok(marks
        .into_iter()
        .map(|note| {
            let finished = registered
                .iter()
                .filter(|tree| tree.path == site.tree(&note.slug))
                .any(|tree| matches!(read_note(&tree.git_dir), Ok(Some(found)) if found.created_at == note.created_at));
            Leftover { note, finished }
        })
        .collect())
}

fn look(site: &Site, branch: &str) -> Result<Sight, ApiError> {
    let repository = site.open()?;
    let main = Tree {
        path: site.main.to_string_lossy().into_owned(),
        branch: head_branch(&site.common_dir),
        kind: Kind::Main,
    };
    let mut trees = vec![main];
    let mut taken: std::collections::BTreeSet<_> = names(&site.directory)?
        .into_iter()
        .map(|name| match name.strip_prefix(MARK_PREFIX).and_then(|rest| rest.strip_suffix(".json")) {
            Some(slug) => slug.to_owned(),
            None => name,
        })
        .collect();
    for tree in registered(&repository)? {
        if tree.path.parent() == Some(&site.directory) {
            taken.extend(tree.path.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
        let kind = match read_note(&tree.git_dir) {
            _ if !tree.path.is_dir() => Kind::Missing,
            Ok(Some(note)) => Kind::Ours(note),
            Ok(None) | Err(_) => Kind::Foreign,
        };
        trees.push(Tree { path: tree.path.to_string_lossy().into_owned(), branch: head_branch(&tree.git_dir), kind });
    }
    Ok(Sight { trees, taken, branch: look_for_branch(&repository, branch)? })
}

fn look_for_branch(repository: &gix::Repository, branch: &str) -> Result<Branch, ApiError> {
    let there = |name: &str| {
        find_reference(repository, &format!("refs/heads/{name}"))
            .map(|reference| reference.is_some())
            .map_err(|error| internal(&format!("cannot read the branch `{name}`"), &error))
    };
    if there(branch)? {
        return Ok(Branch::There);
    }
    for (at, _) in branch.match_indices('/') {
        if there(&branch[..at])? {
            return Ok(Branch::Blocked(branch[..at].to_owned()));
        }
    }
    let all = repository.references().map_err(|error| internal("cannot read the branches", &error))?;
    let below = format!("refs/heads/{branch}/");
    let mut below = all.prefixed(below.as_str()).map_err(|error| internal("cannot read the branches", &error))?;
    Ok(match below.next() {
        Some(Ok(reference)) => Branch::Blocked(reference.name().shorten().to_string()),
        Some(Err(error)) => return Err(internal("cannot read the branches", &error)),
        None => Branch::Free,
    })
}

/// Reads how a finished worktree is.
fn condition(tree: &Registered) -> Result<Condition, ApiError> {
    let unreadable = |error| internal(&format!("cannot read the worktree {}", tree.path.display()), &error);
    let repository = discover(&tree.path).map_err(unreadable)?;
    Ok(Condition {
        branch: head_branch(&tree.git_dir),
        head: repository.head_id().ok().map(|id| id.to_string()),
        clean: !is_dirty(&repository).map_err(unreadable)?,
        locked: tree.git_dir.join("locked").exists(),
    })
}

fn make_branch(site: &Site, note: &Note) -> Result<(), ApiError> {
    let name = full_name(&note.branch)?;
    let repository = site.open()?;
    let commit = parse(&note.base_commit)?;
    // The message is forced into the reflog: by it the branch is known as the one made for this note.
    let log = LogChange { mode: RefLog::AndReference, force_create_reflog: true, message: token(note).into() };
    let edit = RefEdit {
        change: Change::Update { log, expected: PreviousValue::MustNotExist, new: Target::Object(commit) },
        name,
        deref: false,
    };
    repository.edit_reference(edit).map(drop).map_err(|error| {
        ApiError::new(Code::Conflict, format!("branch `{}` cannot be made: {error:#}", note.branch))
            .hint("another program may be changing branches of this repository: try again")
    })
}

fn make_tree(site: &Site, note: &Note, stop: &AtomicBool, reporter: &Reporter) -> Result<(), ApiError> {
    let path = site.tree(&note.slug);
    let failed =
        |error: gix::Error| internal(&format!("cannot check out `{}` at {}", note.branch, path.display()), &error);
    let repository = site.open()?;
    let prepared = repository
        .prepare_add_worktree(&path, gix::worktree::add::Head::Attached(full_name(&note.branch)?), stop)
        .map_err(failed)?;
    let message = format!("checking out {}", note.branch);
    let (_, outcome) =
        report_checkout(reporter, &message, |counting| prepared.checkout(counting, stop)).map_err(failed)?;
    match outcome.errors.first() {
        Some(first) => Err(ApiError::new(
            Code::Internal,
            format!("cannot check out `{}` of `{}`: {}", first.path, note.branch, first.error),
        )),
        None => Ok(()),
    }
}

fn remove_tree(site: &Site, note: &Note) -> Result<Fact, ApiError> {
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
                remove_file(&tree.git_dir.join(NOTE))?;
            }
            Some(_) => remove_file(&tree.git_dir.join(NOTE))?,
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
enum Owner {
    Nobody,
    Ours,
    Foreign,
}

fn owner_of(path: &Path, found: Option<&Registered>, repository: &gix::Repository) -> Owner {
    match std::fs::symlink_metadata(path) {
        Err(_) => return Owner::Nobody,
        Ok(metadata) if !metadata.is_dir() => return Owner::Foreign,
        Ok(_) => {}
    }
    let link = std::fs::read_to_string(path.join(".git")).unwrap_or_default();
    let entries = names(path).unwrap_or_default();
    let linked = link.trim_end().strip_prefix("gitdir: ").map(|target| path.join(target));
    match (linked, found) {
        (Some(target), Some(tree)) if same(&target, &tree.git_dir) => Owner::Ours,
        // The registration went first.
        (Some(target), None) if !target.exists() && same_parent(&target, repository) => Owner::Ours,
        // Begun and cut short before a single file was there.
        (None, _) if entries.iter().all(|name| name == ".git") && link.is_empty() => Owner::Ours,
        _ => Owner::Foreign,
    }
}

fn same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn same_parent(target: &Path, repository: &gix::Repository) -> bool {
    target.parent().and_then(Path::parent).is_some_and(|parent| same(parent, repository.common_dir()))
}

/// Removes a registration. The file by which it is found goes last.
fn remove_registration(git_dir: &Path) -> Result<(), ApiError> {
    for name in names(git_dir)?.iter().filter(|name| *name != "gitdir") {
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
fn remove_stubs(all: &Path, slug: &str) {
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

fn remove_branch(site: &Site, note: &Note) -> Result<(), ApiError> {
    let repository = site.open()?;
    let name = full_name(&note.branch)?;
    let unreadable = |error| internal(&format!("cannot read the branch `{}`", note.branch), &error);
    // Its last entry is the creation for this note: it has not been touched since. Without a reflog the commit must do.
    let log = site.common_dir.join("logs").join(format!("refs/heads/{}", note.branch));
    let ours = std::fs::read(&log).map(|text| text.trim_end().ends_with(format!("\t{}", token(note)).as_bytes()));
    let reference = find_reference(&repository, &name.as_bstr().to_string()).map_err(unreadable)?;
    let Some(reference) = reference else {
        // git writes the entry first and the branch then.
        return if matches!(ours, Ok(true)) { remove_file(&log) } else { Ok(()) };
    };
    let ours = ours.unwrap_or(true);
    let commit = parse(&note.base_commit)?;
    let used = head_branch(&site.common_dir).as_ref() == Some(&note.branch)
        || registered(&repository)?.iter().any(|tree| head_branch(&tree.git_dir).as_ref() == Some(&note.branch));
    if used || !ours || reference.try_id().map(|id| id.detach()) != Some(commit) {
        tracing::warn!("branch `{}` is not as it was made; it stays", note.branch);
        return Ok(());
    }
    let edit = RefEdit::delete(name, PreviousValue::MustExistAndMatch(Target::Object(commit)));
    repository
        .edit_reference(edit)
        .map(drop)
        .map_err(|error| internal(&format!("cannot remove the branch `{}`", note.branch), &error))
}

/// Removes the lock of a branch that a daemon was making when it died. One that is older than this daemon is not this
/// one's, and no other program holds the lock of such a branch for longer than a moment.
fn remove_stale_lock(site: &Site, since: SystemTime, note: &Note) -> Result<(), ApiError> {
    let heads = site.common_dir.join("refs/heads");
    let lock = heads.join(format!("{}.lock", note.branch));
    let made = std::fs::symlink_metadata(&lock).and_then(|metadata| metadata.modified());
    if !site.mark(&note.slug).exists() || !made.is_ok_and(|made| made < since) {
        return Ok(());
    }
    tracing::info!("removing {}, left by a daemon that died", lock.display());
    remove_file(&lock)?;
    let between = lock.ancestors().skip(1).take_while(|above| **above != *heads);
    // Only those that are empty go.
    between.map_while(|above| std::fs::remove_dir(above).ok()).for_each(drop);
    Ok(())
}

fn unmark(site: &Site, note: &Note) -> Result<(), ApiError> {
    remove_file(&site.mark(&note.slug))?;
    // Gone when it held nothing else.
    let _ = std::fs::remove_dir(&site.directory);
    Ok(())
}

fn find_note_file(site: &Site, note: &Note) -> Result<PathBuf, ApiError> {
    let path = site.tree(&note.slug);
    let found = registered(&site.open()?)?.into_iter().find(|tree| tree.path == path);
    let missing = || ApiError::new(Code::Internal, format!("{} is not registered", path.display()));
    found.map(|tree| tree.git_dir.join(NOTE)).ok_or_else(missing)
}

fn read_note_file(path: &Path) -> Result<Option<Note>, ApiError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| internal(&format!("cannot understand {}", path.display()), &error)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path, &error)),
    }
}

/// Writes a note so that it is there as a whole or not at all.
fn write_note(path: &Path, note: &Note) -> Result<(), ApiError> {
    let write = || -> std::io::Result<()> {
        let directory = path.parent().ok_or(ErrorKind::InvalidInput)?;
        std::fs::create_dir_all(directory)?;
        store::replace(path, note)
    };
    write().map_err(|error| failed("write", path, &error))
}

/// Returns the names in a directory, in order; none when there is no such directory.
pub(super) fn names(directory: &Path) -> Result<Vec<String>, ApiError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read", directory, &error)),
    };
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed("read", directory, &error))?;
    names.sort();
    Ok(names)
}

fn remove_file(path: &Path) -> Result<(), ApiError> {
    gone(std::fs::remove_file(path)).map_err(|error| failed("remove", path, &error))
}

fn remove_dir(path: &Path) -> Result<(), ApiError> {
    gone(std::fs::remove_dir(path)).map_err(|error| failed("remove", path, &error))
}

fn remove_dir_all(path: &Path) -> Result<(), ApiError> {
    gone(std::fs::remove_dir_all(path)).map_err(|error| failed("remove", path, &error))
}

fn gone(result: std::io::Result<()>) -> std::io::Result<()> {
    result.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Says that a file could not be dealt with. A disk that is full or may not be written is the user's to mend.
fn failed(what: &str, path: &Path, error: &std::io::Error) -> ApiError {
    let message = format!("cannot {what} {}: {error}", path.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            ApiError::new(Code::Unavailable, message).hint("make room on the disk, then try again")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            ApiError::new(Code::Unavailable, message).hint("let your user write there, then try again")
        }
        _ => ApiError::new(Code::Internal, message),
    }
}

fn full_name(branch: &str) -> Result<FullName, ApiError> {
    FullName::try_from(format!("refs/heads/{branch}"))
        .map_err(|error| ApiError::invalid("branchName", format!("`{branch}` is not a branch name: {error}")))
}

fn parse(commit: &str) -> Result<gix::ObjectId, ApiError> {
    gix::ObjectId::from_hex(commit.as_bytes()).map_err(|error| internal(&format!("`{commit}` is not a commit"), &error))
}

/// The reflog's message by which a branch is known as the one made for a note.
fn token(note: &Note) -> String {
    format!("paseo: worktree {} from {} at {}", note.slug, note.base, note.created_at)
}

/// The file with what paseo knows, in the worktree's own git directory.
const NOTE: &str = "paseo.json";
