//! Branches that are made for worktrees, and go with them.

use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use gix::bstr::ByteSlice as _;
use gix::refs::transaction::{Change, LogChange, PreviousValue, RefEdit, RefLog};
use gix::refs::{FullName, Target};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::worktree::{Branch, Note};

use super::files::remove_file;
use super::site::{Site, find_reference, internal, io_error, said};
use super::source::branch_too_long;
use super::tree::{Registered, registered, reserved_branch};

/// Finds what is there under a branch's name.
pub(super) fn look_for_branch(repository: &gix::Repository, branch: &str) -> Result<Branch, ApiError> {
    let there = |name: &str| {
        find_reference(repository, &format!("refs/heads/{name}"))
            .map_err(|error| internal(&format!("cannot read the branch `{name}`"), &error))
    };
    if let Some(reference) = there(branch)? {
        return Ok(Branch::There(reference.try_id().map(|id| id.to_string()).unwrap_or_default()));
    }
    for (at, _) in branch.match_indices('/') {
        if there(&branch[..at])?.is_some() {
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

/// Makes the branch of a worktree, unless it is there already, and says where it comes from and is pushed to.
pub(super) fn make(site: &Site, note: &Note) -> Result<(), ApiError> {
    let Some(branch) = note.branch.as_ref().filter(|_| note.branch_made) else { return Ok(()) };
    let name = full_name(branch)?;
    let repository = site.open()?;
    let commit = parse(note.start())?;
    // The message is forced into the reflog: by it the branch is known as the one made for this note.
    let log = LogChange { mode: RefLog::AndReference, force_create_reflog: true, message: token(note).into() };
    let edit = RefEdit {
        change: Change::Update { log, expected: PreviousValue::MustNotExist, new: Target::Object(commit) },
        name,
        deref: false,
    };
    repository.edit_reference(edit).map_err(|error| {
        let what = format!("branch `{branch}` cannot be made");
        match io_error(&error).map(std::io::Error::kind) {
            None | Some(ErrorKind::AlreadyExists) => ApiError::new(Code::Conflict, format!("{what}: {}", said(&error)))
                .hint("another program may be changing branches of this repository: try again"),
            Some(ErrorKind::InvalidFilename) => branch_too_long(branch),
            Some(_) => internal(&what, &error),
        }
    })?;
    write_settings(site, &repository, branch, &own_settings(note))
}

/// Returns what is set for a branch that is made for this note.
fn own_settings(note: &Note) -> Vec<(String, String)> {
    let Some(upstream) = &note.upstream else { return Vec::new() };
    let mut own = vec![("merge", &upstream.reference), ("remote", &upstream.remote)];
    // Wherever the user's own branches are pushed to, a pull request goes back to where it comes from.
    if note.pull_request.is_some() {
        own.insert(1, ("pushRemote", &upstream.remote));
    }
    own.into_iter().map(|(key, value)| (key.to_owned(), value.clone())).collect()
}

/// Writes what is set for a branch in the repository's configuration: where it comes from, and is pushed to.
///
/// git pushes to a branch of another name only when it is told to, so that is said for this branch alone, in a file that
/// the configuration includes while the branch is checked out.
pub(super) fn write_settings(
    site: &Site,
    repository: &gix::Repository,
    branch: &str,
    settings: &[(String, String)],
) -> Result<(), ApiError> {
    if settings.is_empty() {
        return Ok(());
    }
    let elsewhere = settings.iter().any(|(key, value)| key == "merge" && *value != format!("refs/heads/{branch}"));
    let write = || -> gix::Result<()> {
        let mut config = repository.config_file_mut(site.common_dir.join("config"))?;
        while config.remove_section("branch", branch.as_bytes().as_bstr()).is_some() {}
        let mut section = config.new_section("branch", branch.as_bytes().as_bstr())?;
        for (key, value) in settings {
            section.push(key.as_str(), value.as_str())?;
        }
        if elsewhere {
            remove_include(&mut config, branch);
            let mut section = config.new_section("includeIf", format!("onbranch:{branch}").as_bytes().as_bstr())?;
            section.push("path", PUSH_SETTINGS)?;
            let (path, content) = (site.common_dir.join(PUSH_SETTINGS), "[push]\n\tdefault = upstream\n");
            // Never written again while git may be reading it.
            if std::fs::read(&path).ok().as_deref() != Some(content.as_bytes()) {
                std::fs::write(&path, content).map_err(gix::Error::from_error)?;
            }
        }
        config.commit()
    };
    write().map_err(|error| internal("cannot write the repository's configuration", &error))
}

/// Reads what is set for a branch in the repository's configuration.
pub(super) fn settings(repository: &gix::Repository, branch: &str) -> Vec<(String, String)> {
    let config = repository.config_snapshot();
    let sections = config.plumbing().sections_by_name("branch").into_iter().flatten();
    let own = sections.filter(|section| {
        section.header().subsection_name().is_some_and(|name| name == branch.as_bytes().as_bstr())
            && section.meta().source == gix::config::Source::Local
    });
    own.flat_map(|section| {
        let mut values = std::collections::BTreeMap::new();
        let names: Vec<_> = section.value_names().map(|name| name.to_string()).collect();
        // In their order, in which a name may come again.
        let next = |name: String| {
            let left = values.entry(name.clone()).or_insert_with(|| section.values(&name).into_iter());
            Some((name, left.next()?.to_str_lossy().into_owned()))
        };
        names.into_iter().filter_map(next).collect::<Vec<_>>()
    })
    .collect()
}

/// Removes what is set for a branch, as it goes.
pub(super) fn forget_settings(site: &Site, repository: &gix::Repository, branch: &str) -> Result<(), ApiError> {
    if settings(repository, branch).is_empty() {
        return Ok(());
    }
    let forget = || -> gix::Result<()> {
        let mut config = repository.config_file_mut(site.common_dir.join("config"))?;
        while config.remove_section("branch", branch.as_bytes().as_bstr()).is_some() {}
        remove_include(&mut config, branch);
        let included = config.sections_by_name("includeIf").into_iter().flatten();
        let needed = included.flat_map(|section| section.values("path")).any(|path| *path == PUSH_SETTINGS.as_bytes());
        config.commit()?;
        if !needed {
            // It is read by nobody any more, so it does no harm where it cannot be removed.
            let _ = std::fs::remove_file(site.common_dir.join(PUSH_SETTINGS));
        }
        Ok(())
    };
    forget().map_err(|error| internal("cannot write the repository's configuration", &error))
}

fn remove_include(config: &mut gix::config::File, branch: &str) {
    let name = format!("onbranch:{branch}");
    while config.remove_section_filter("includeIf", name.as_bytes().as_bstr(), |_| true).is_some() {}
}

/// Removes a branch that was made for a worktree which is taken back, if nothing has been done with it since.
pub(super) fn remove(site: &Site, note: &Note, since: SystemTime) -> Result<(), ApiError> {
    let Some(branch) = note.branch.as_ref().filter(|_| note.branch_made) else { return Ok(()) };
    remove_stale_lock(site, since, note, branch)?;
    // Its last entry is the creation for this note: it has not been touched since. Without a reflog the commit must do.
    let log = site.common_dir.join("logs").join(format!("refs/heads/{branch}"));
    let entries = std::fs::read(&log);
    let ours = entries.as_ref().map(|entries| entries.trim_end().ends_with(format!("\t{}", token(note)).as_bytes()));
    let repository = site.open()?;
    let there = find_reference(&repository, &format!("refs/heads/{branch}"));
    match there.map_err(|error| internal(&format!("cannot read the branch `{branch}`"), &error))? {
        // git writes the entry first and the branch then.
        None if matches!(ours, Ok(true)) => remove_file(&log)?,
        // There was no room for the entry, and nothing was set yet.
        None if matches!(&entries, Ok(entries) if entries.is_empty()) => return remove_file(&log),
        // Unless only that was left of it, what is set for its name is somebody else's.
        None if settings(&repository, branch) != own_settings(note) => return Ok(()),
        None => {}
        Some(_) if !ours.unwrap_or(true) => {
            tracing::warn!("branch `{branch}` is not as it was made; it stays");
            return Ok(());
        }
        Some(_) => {
            let gone = remove_at(site, &repository, branch, note.start())?;
            if !gone {
                return Ok(());
            }
        }
    }
    forget_settings(site, &repository, branch)
}

/// Removes a branch that is at this commit and checked out nowhere, with its reflog; returns whether it is gone.
pub(super) fn remove_at(
    site: &Site,
    repository: &gix::Repository,
    branch: &str,
    commit: &str,
) -> Result<bool, ApiError> {
    let commit = parse(commit)?;
    let name = full_name(branch)?;
    let unreadable = |error| internal(&format!("cannot read the branch `{branch}`"), &error);
    let there = find_reference(repository, &format!("refs/heads/{branch}")).map_err(unreadable)?;
    let Some(there) = there else { return Ok(true) };
    if is_in_use(site, repository, branch, None)? || there.try_id().map(|id| id.detach()) != Some(commit) {
        tracing::warn!("branch `{branch}` is in use or has moved; it stays");
        return Ok(false);
    }
    let edit = RefEdit::delete(name, PreviousValue::MustExistAndMatch(Target::Object(commit)));
    repository
        .edit_reference(edit)
        .map(|_| true)
        .map_err(|error| internal(&format!("cannot remove the branch `{branch}`"), &error))
}

/// Whether a branch is checked out, or to be again when a rebase or a bisection has ended, in another tree than `except`.
pub(super) fn is_in_use(
    site: &Site,
    repository: &gix::Repository,
    branch: &str,
    except: Option<&Registered>,
) -> Result<bool, ApiError> {
    let on_it = |git_dir: &Path| reserved_branch(git_dir).as_deref() == Some(branch);
    let name = |tree: &Registered| tree.git_dir.file_name().map(ToOwned::to_owned);
    let other = |tree: &Registered| except.is_none_or(|own| name(own) != name(tree));
    let mut others = registered(repository)?.into_iter().filter(other);
    // The head of a bare repository is checked out nowhere.
    Ok((!site.bare && on_it(&site.common_dir)) || others.any(|tree| on_it(&tree.git_dir)))
}

/// Removes the lock of a branch that a daemon was making when it died. One that is older than this daemon is not this
/// one's, and no other program holds the lock of such a branch for longer than a moment.
fn remove_stale_lock(site: &Site, since: SystemTime, note: &Note, branch: &str) -> Result<(), ApiError> {
    let heads = site.common_dir.join("refs/heads");
    let lock = heads.join(format!("{branch}.lock"));
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

pub(super) fn full_name(branch: &str) -> Result<FullName, ApiError> {
    FullName::try_from(format!("refs/heads/{branch}"))
        .map_err(|error| ApiError::invalid("branchName", format!("`{branch}` is not a branch name: {error}")))
}

pub(super) fn parse(commit: &str) -> Result<gix::ObjectId, ApiError> {
    gix::ObjectId::from_hex(commit.as_bytes()).map_err(|error| internal(&format!("`{commit}` is not a commit"), &error))
}

/// The reflog's message by which a branch is known as the one made for a note.
fn token(note: &Note) -> String {
    format!("paseo: worktree {} from {} at {}", note.slug, note.base, note.created_at)
}

/// The file in the git directory that says, of branches whose name is another one where they are pushed to, that they are.
const PUSH_SETTINGS: &str = "paseo-push.config";
