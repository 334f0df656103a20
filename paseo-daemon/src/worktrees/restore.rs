//! Bringing back a worktree that was archived, exactly as it was.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gix::bstr::{BString, ByteSlice as _};
use gix::index::entry::{Flags, Stat};
use gix::objs::tree::EntryKind;
use gix::progress::NestedProgress as _;
use gix::worktree::add::Head;
use gix::worktree::stack::state::attributes::Source;
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::worktree::{Note, Recalled};
use paseo_sdk::operation::Reporter;

use super::archive::{self, Found, PREFIX};
use super::branch::{self, look_for_branch, parse};
use super::counting::report_checkout;
use super::files::{failed, remove_file};
use super::site::{Site, internal};
use super::survey::is_left_out;
use super::tree::Registered;
use crate::fault::{Point, reached};

/// Finds what was archived under this name.
pub(super) fn recall(site: &Site, slug: &str) -> Result<Recalled, ApiError> {
    let repository = site.open()?;
    let Some(Found { commit, kept, .. }) = archive::find(&repository, slug)? else {
        let slugs = archived(&repository);
        return Err(ApiError::new(
            Code::NotFound,
            format!("no worktree `{slug}` of {} was archived", site.main.display()),
        )
        .hint(match slugs.is_empty() {
            true => "`paseo worktree ls` lists those that are there".to_owned(),
            false => format!("there are: {}", slugs.join(", ")),
        })
        .details(serde_json::json!({ "field": "worktreeSlug", "archived": slugs })));
    };
    let names = [&kept.note.branch, &kept.head_branch].into_iter().flatten();
    let branches = names.map(|name| look_for_branch(&repository, name).map(|there| (name.clone(), there)));
    let branches = branches.collect::<Result<_, _>>()?;
    Ok(Recalled {
        note: kept.note,
        commit: commit.to_string(),
        head_branch: kept.head_branch,
        head_commit: kept.head_commit,
        branch_tip: kept.branch_tip,
        branches,
    })
}

/// Returns the names under which worktrees of a repository were archived.
pub(super) fn archived(repository: &gix::Repository) -> Vec<String> {
    let Ok(references) = repository.references() else { return Vec::new() };
    let Ok(archives) = references.prefixed(PREFIX) else { return Vec::new() };
    let names = archives.flatten().map(|reference| reference.name().as_bstr().to_string());
    names.filter_map(|name| Some(name.strip_prefix(PREFIX)?.to_owned())).collect()
}

/// Registers the tree, and fills it with what was put away.
pub(super) fn refill(
    site: &Site,
    note: &Note,
    recalled: &Recalled,
    stop: &AtomicBool,
    reporter: &Reporter,
) -> Result<(), ApiError> {
    let repository = site.open()?;
    let commit = parse(&recalled.commit)?;
    let found = archive::find(&repository, &recalled.note.slug)?.filter(|found| found.commit == commit);
    let Some(found) = found else {
        return Err(ApiError::new(
            Code::Conflict,
            format!("the archive `{}` is another one by now", recalled.note.slug),
        ));
    };
    let path = site.tree(&note.slug);
    let cannot = |error| internal(&format!("cannot bring back {}", path.display()), &error);
    let beside = repository.find_tree(found.beside).map_err(cannot)?;
    let mut own = files_below(&repository, &beside, "git").map_err(cannot)?;
    let index = own.iter().position(|(name, ..)| name == "index").map(|at| own.remove(at).2);
    let prepared = repository.prepare_add_worktree(&path, Head::Detached(found.commit), stop).map_err(cannot)?;
    let git_dir = prepared.repo().git_dir().to_owned();
    // What the main checkout has set for itself was copied.
    for name in ["config.worktree", "info/sparse-checkout"] {
        remove_file(&git_dir.join(name))?;
    }
    for (name, kind, bytes) in own {
        let file = git_dir.join(name.to_string());
        write(&file, kind, &bytes).map_err(|error| failed("write", &file, &error))?;
    }
    if let Some(branch) = note.branch.as_ref().filter(|_| note.branch_made) {
        branch::write_settings(site, &repository, branch, &found.kept.settings)?;
    }
    prepared.persist().map_err(cannot)?;
    reached(Point::WorktreeRegistered);
    // As it is set up itself.
    let tree = Registered { git_dir, path: path.clone() };
    let repository = archive::open(&tree, &path)?;
    fill(&repository, &found, index.as_deref(), stop, reporter).map_err(|error| match interrupted(stop) {
        Some(error) => error,
        None => cannot(error),
    })
}

fn interrupted(stop: &AtomicBool) -> Option<ApiError> {
    let stopped = stop.load(std::sync::atomic::Ordering::Relaxed);
    stopped.then(|| ApiError::new(Code::Unavailable, "bringing it back was interrupted"))
}

/// Writes the files of a worktree, and the index as it was.
fn fill(
    repository: &gix::Repository,
    found: &Found,
    kept: Option<&[u8]>,
    stop: &AtomicBool,
    reporter: &Reporter,
) -> gix::Result<()> {
    let tree = repository.find_commit(found.commit)?.tree_id()?.detach();
    let kept = match kept {
        Some(bytes) => {
            std::fs::write(repository.index_path(), bytes).map_err(gix::Error::from_error)?;
            Some(repository.open_index()?)
        }
        None => None,
    };
    let mut filled = repository.index_from_tree(&tree)?;
    if let Some(kept) = &kept {
        for (entry, path) in filled.entries_mut_with_paths() {
            entry.flags.set(Flags::SKIP_WORKTREE, is_left_out(kept, path));
        }
    }
    check_out(repository, &mut filled, stop, &format!("checking out {}", found.kept.note.slug), reporter)?;
    let beside = repository.find_tree(found.beside)?;
    for (path, kind, bytes) in files_below(repository, &beside, "exact")? {
        if let Some(file) = repository.workdir_path(path.as_bstr()) {
            write(&file, kind, &bytes).map_err(gix::Error::from_error)?;
        }
    }
    reached(Point::WorktreeFilled);
    let Some(mut index) = kept else { return filled.write(gix::index::write::Options::default()) };
    let fresh: HashMap<_, _> =
        filled.entries().iter().map(|entry| (entry.path(&filled).to_owned(), (entry.id, entry.mode))).collect();
    for (entry, path) in index.entries_mut_with_paths() {
        // What the files look like on the disk by now; else each would have to be read again, by every `git status`.
        let unchanged = fresh.get(path) == Some(&(entry.id, entry.mode));
        entry.stat = repository
            .workdir_path(path)
            .filter(|_| unchanged)
            .and_then(|file| as_old_as(&file, entry.stat).ok())
            .unwrap_or_default();
    }
    index.write(gix::index::write::Options::default())
}

/// Gives a file that is unchanged the age that it had, and returns what it looks like on the disk then.
///
/// git reads files again that are as new as its index. Of one that it would not write as it is, since what is said of its
/// line ends has changed, it would then find that it is changed, which it did not say before.
fn as_old_as(file: &Path, stat: Stat) -> std::io::Result<Stat> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};
    if stat.mtime.secs != 0 {
        let last_modification = Timespec { tv_sec: stat.mtime.secs.into(), tv_nsec: stat.mtime.nsecs.into() };
        let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        utimensat(CWD, file, &Timestamps { last_access, last_modification }, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    let metadata = gix::index::fs::Metadata::from_path_no_follow(file)?;
    Stat::from_fs(&metadata).map_err(std::io::Error::other)
}

/// Checks out an index where nothing is yet, but for what it leaves out.
fn check_out(
    repository: &gix::Repository,
    index: &mut gix::index::File,
    stop: &AtomicBool,
    message: &str,
    reporter: &Reporter,
) -> gix::Result<()> {
    let mut options = repository.checkout_options(Source::IdMapping)?;
    options.destination_is_initially_empty = true;
    let objects = repository.objects.clone().into_arc().map_err(gix::Error::from_error)?;
    let directory = repository.workdir().unwrap_or(repository.git_dir()).to_owned();
    let outcome = report_checkout(reporter, message, |mut counting| {
        let (files, bytes) = (counting.add_child("checkout"), counting.add_child("writing"));
        gix::worktree::state::checkout(index, directory, objects, &files, &bytes, stop, options)
    })?;
    match outcome.errors.into_iter().next() {
        Some(first) => Err(gix::Error::from_error(NotCheckedOut(first.path, first.error.to_string()))),
        None => Ok(()),
    }
}

/// A file that cannot be checked out.
#[derive(Debug, thiserror::Error)]
#[error("cannot check out `{0}`: {1}")]
struct NotCheckedOut(BString, String);

/// Writes a file in place of one that may be there, with the bytes and the kind that it had.
fn write(file: &Path, kind: EntryKind, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory)?;
    }
    if file.symlink_metadata().is_ok() {
        std::fs::remove_file(file)?;
    }
    if kind == EntryKind::Link {
        return std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(bytes), file);
    }
    std::fs::write(file, bytes)?;
    if kind == EntryKind::BlobExecutable {
        let mode = std::fs::metadata(file)?.permissions().mode();
        // Whoever may read it may run it, as git does it.
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode | (mode & 0o444) >> 2))?;
    }
    Ok(())
}

/// Forgets what was archived of a worktree that is there; what was archived before under the same name is the newest then.
pub(super) fn forget(site: &Site, note: &Note) -> Result<(), ApiError> {
    let repository = site.open()?;
    let numbered = note.slug.rsplit_once('-').filter(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()));
    let mut slugs = vec![note.slug.clone()];
    if let Some((stem, _)) = numbered {
        // It may have come back under another name than it went by.
        slugs.extend(archived(&repository).into_iter().filter(|slug| *slug != note.slug && slug.starts_with(stem)));
    }
    for slug in slugs {
        let found = archive::find(&repository, &slug)?.filter(|found| found.kept.note.created_at == note.created_at);
        let Some(found) = found else { continue };
        let previous = found.kept.previous.as_deref().map(parse).transpose()?;
        archive::point(&repository, &slug, previous, Some(found.commit))
            .map_err(|error| internal(&format!("cannot forget the archive `{slug}`"), &error))?;
    }
    Ok(())
}

/// Reads the files below a directory of a tree, with their names from there.
fn files_below(
    repository: &gix::Repository,
    tree: &gix::Tree<'_>,
    directory: &str,
) -> gix::Result<Vec<(BString, EntryKind, Vec<u8>)>> {
    let Some(entry) = tree.find_entry(directory) else { return Ok(Vec::new()) };
    let files = repository.find_tree(entry.object_id())?.traverse().breadthfirst.files()?;
    let files = files.into_iter().filter(|file| !file.mode.is_tree());
    files.map(|file| Ok((file.filepath, file.mode.kind(), repository.find_blob(file.oid)?.take_data()))).collect()
}
