//! Bringing back a worktree that was archived, exactly as it was.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gix::bstr::{BString, ByteSlice as _};
use gix::objs::tree::EntryKind;
use gix::worktree::add::Head;
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::worktree::{Note, Recalled};
use paseo_sdk::operation::Reporter;

use super::archive::{self, Found, PREFIX};
use super::branch::{self, look_for_branch, parse};
use super::files::failed;
use super::site::{Site, internal};
use super::tree;

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
    let found = archive::find(&site.open()?, &note.slug)?.filter(|found| found.commit.to_string() == recalled.commit);
    let Some(found) = found else {
        return Err(ApiError::new(Code::Conflict, format!("the archive `{}` is another one by now", note.slug)));
    };
    let path = site.tree(&note.slug);
    let repository = tree::add(site, note, Head::Detached(parse(&recalled.commit)?), stop, reporter)?;
    let cannot = |error| internal(&format!("cannot fill {}", path.display()), &error);
    if let Some(branch) = note.branch.as_ref().filter(|_| note.branch_made) {
        branch::write_settings(site, &repository, branch, &found.kept.settings)?;
    }
    let beside = repository.find_tree(found.beside).map_err(cannot)?;
    for (name, kind, bytes) in files_below(&repository, &beside, "exact").map_err(cannot)? {
        if let Some(file) = repository.workdir_path(name.as_bstr()) {
            write(&file, kind, &bytes).map_err(|error| failed("write", &file, &error))?;
        }
    }
    let own = files_below(&repository, &beside, "git").map_err(cannot)?;
    for (name, kind, bytes) in own {
        // Without one, what was checked out is what is committed.
        if name == "index" {
            write_index(&repository, &bytes).map_err(cannot)?;
            continue;
        }
        let file = repository.git_dir().join(name.to_string());
        write(&file, kind, &bytes).map_err(|error| failed("write", &file, &error))?;
    }
    Ok(())
}

/// Writes a file that may be there, with the bytes and the kind that it had.
fn write(file: &Path, kind: EntryKind, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory)?;
    }
    if kind == EntryKind::Link {
        let _ = std::fs::remove_file(file);
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

/// Forgets an archive that is back; the one before it under the same name is the newest then.
pub(super) fn forget(site: &Site, recalled: &Recalled) -> Result<(), ApiError> {
    let repository = site.open()?;
    let slug = &recalled.note.slug;
    let found = archive::find(&repository, slug)?.filter(|found| found.commit.to_string() == recalled.commit);
    let Some(found) = found else { return Ok(()) };
    let previous = found.kept.previous.as_deref().map(parse).transpose()?;
    archive::point(&repository, slug, previous, Some(found.commit))
        .map_err(|error| internal(&format!("cannot forget the archive `{slug}`"), &error))
}

/// Writes the index as it was, with what the new files look like on disk: else each would have to be read again.
fn write_index(repository: &gix::Repository, kept: &[u8]) -> gix::Result<()> {
    let fresh = repository.open_index()?;
    std::fs::write(repository.index_path(), kept).map_err(gix::Error::from_error)?;
    let mut index = repository.open_index()?;
    let known: std::collections::HashMap<_, _> = fresh
        .entries()
        .iter()
        .map(|entry| (entry.path(&fresh).to_owned(), (entry.id, entry.mode, entry.stat)))
        .collect();
    for (entry, path) in index.entries_mut_with_paths() {
        entry.stat = match known.get(path) {
            Some((id, mode, stat)) if *id == entry.id && *mode == entry.mode => *stat,
            _ => Default::default(),
        };
    }
    index.write(gix::index::write::Options::default())
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
