//! How a worktree is that somebody wants to archive or to trust, and whether it is one that paseo made at all.

use std::path::{Path, PathBuf};

use gix::bstr::ByteSlice as _;
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::worktree::{Inspection, Note};

use super::archive;
use super::files::names;
use super::note::read_note;
use super::site::{Site, internal, options};
use super::survey::Survey;
use super::tree::{Owner, Registered, owner_of, registered};

/// Finds the worktree of this name, if paseo made it and it is where it was made.
pub(super) fn find_ours(site: &Site, slug: &str) -> Result<(Registered, Note), ApiError> {
    let path = site.tree(slug);
    let repository = site.open()?;
    let all = registered(&repository)?;
    let known: Vec<_> = all.iter().filter_map(|tree| Some((tree, read_note(&tree.git_dir).ok().flatten()?))).collect();
    let details = serde_json::json!({ "field": "worktreeSlug", "worktreePath": path.display().to_string() });
    let refused = |why: String, hint: &str| {
        ApiError::new(Code::Refused, format!("worktree `{slug}` stays: {why}")).hint(hint).details(details.clone())
    };
    let Some((_, note)) = known.iter().find(|(tree, _)| tree.path == path) else {
        if let Some((tree, _)) = known.iter().find(|(_, note)| note.slug == slug) {
            let why = format!("it was moved to {}", tree.path.display());
            return Err(refused(why, "`git worktree move` it back, or `git worktree remove` it"));
        }
        if let Some(tree) = all.iter().find(|tree| tree.path == path) {
            // What paseo knows of it may only be unreadable.
            read_note(&tree.git_dir).map_err(|error| match error.code {
                Code::Internal => refused(error.message, "mend that file, or `git worktree remove` the worktree"),
                _ => error,
            })?;
            return Err(refused(format!("paseo did not make {}", path.display()), "`git worktree remove` removes it"));
        }
        let slugs: Vec<_> = known.iter().map(|(_, note)| note.slug.as_str()).collect();
        return Err(ApiError::new(Code::NotFound, format!("there is no worktree `{slug}` of {}", site.main.display()))
            .hint(match slugs.is_empty() {
                true => "`paseo worktree ls -g` lists those of all repositories".to_owned(),
                false => format!("there are: {}", slugs.join(", ")),
            })
            .details(serde_json::json!({ "field": "worktreeSlug", "worktrees": slugs })));
    };
    let note = note.clone();
    let tree = all
        .into_iter()
        .find(|tree| tree.path == path)
        .ok_or_else(|| ApiError::new(Code::Internal, format!("worktree `{slug}` is gone")))?;
    match owner_of(&path, Some(&tree), &repository) {
        Owner::Ours => Ok((tree, note)),
        Owner::Nobody => Err(refused(
            format!("its directory {} is gone", path.display()),
            "`git worktree prune` forgets it; its branch stays",
        )),
        Owner::Foreign => Err(refused(
            format!("{} is not the directory that paseo made", path.display()),
            "move what is there away and bring the worktree's own directory back",
        )),
    }
}

/// Looks at a worktree that is to go.
pub(super) fn inspect(site: &Site, slug: &str) -> Result<Inspection, ApiError> {
    let (tree, note) = find_ours(site, slug)?;
    // Looking writes nothing.
    let repository = archive::open(&tree, &tree.path)?.with_object_memory();
    if repository.head_id().is_err() {
        let message = format!("the worktree {} stays: its branch has no commit yet", tree.path.display());
        return Err(ApiError::new(Code::Refused, message).hint("commit something there, or switch to another branch"));
    }
    if repository.index_or_empty().is_ok_and(|index| index.is_sparse()) {
        let message = format!("the worktree {} stays: paseo cannot read its sparse index", tree.path.display());
        return Err(ApiError::new(Code::Refused, message)
            .hint("`git sparse-checkout reapply --no-sparse-index` there, then again"));
    }
    let survey = Survey::of(&repository).map_err(|error| unreadable(&tree, &error))?;
    Ok(Inspection {
        path: tree.path.display().to_string(),
        changes: survey.lines().take(MOST_CHANGES).collect(),
        changed: i64::try_from(survey.changes.len()).unwrap_or(i64::MAX),
        operation: repository.state().map(operation),
        repositories: repositories(site, &tree, &survey)?,
        locked: locked(&tree.git_dir),
        note,
    })
}

/// Says of the repositories within a worktree what cannot be put away with it.
fn repositories(site: &Site, tree: &Registered, survey: &Survey) -> Result<Vec<String>, ApiError> {
    let mut found: Vec<_> =
        survey.repositories.iter().map(|path| format!("{path} is a repository of its own")).collect();
    // Git does not look for them where files are ignored, and they are somebody's all the same.
    let below = |other: &Registered| Some(other.path.strip_prefix(&tree.path).ok()?.display().to_string());
    let others = registered(&site.open()?)?.into_iter().filter(|other| other.path != tree.path && other.path.is_dir());
    found.extend(others.filter_map(|other| Some(format!("{} is a worktree of its own", below(&other)?))));
    for (name, git_dir) in modules(&tree.git_dir)? {
        found.extend(own_work(&git_dir).map(|what| format!("submodule {name} has {what}")));
    }
    for path in &survey.submodules {
        // One that git has not taken into its own directory keeps its repository in the tree.
        let directory = tree.path.join(gix::path::from_bstr(path.as_bstr()).map_err(|error| unreadable(tree, &error))?);
        let inside = directory.join(".git");
        if inside.is_dir() {
            found.extend(own_work(&inside).map(|what| format!("submodule {path} has {what}")));
        }
    }
    Ok(found)
}

/// Finds the repositories of submodules that a worktree has or had, those of their submodules too, with their names.
fn modules(git_dir: &Path) -> Result<Vec<(String, PathBuf)>, ApiError> {
    let root = git_dir.join("modules");
    let mut found = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for name in names(&directory)? {
            let path = directory.join(&name);
            if path.join("HEAD").is_file() && path.join("objects").is_dir() {
                let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
                directories.push(path.join("modules"));
                found.push((name.replace("/modules/", "/"), path));
            } else if path.is_dir() {
                directories.push(path);
            }
        }
    }
    Ok(found)
}

/// Says what a repository has that would be lost with it.
fn own_work(git_dir: &Path) -> Option<&'static str> {
    let look = || -> gix::Result<Option<&'static str>> {
        let own = options().open_path_as_is(true).open(git_dir)?.to_thread_local();
        if own.workdir().is_some_and(Path::is_dir) && !Survey::of(&own)?.is_clean() {
            return Ok(Some("changes"));
        }
        Ok(has_own_commits(&own)?.then_some("commits that are on no remote of it"))
    };
    look().unwrap_or(Some("something that cannot be read"))
}

/// Whether a repository has commits that none of its remotes has.
fn has_own_commits(repository: &gix::Repository) -> gix::Result<bool> {
    let (mut own, mut remote) = (Vec::new(), Vec::new());
    own.extend(repository.head_id().ok().map(|id| id.detach()));
    for reference in repository.references()?.all()? {
        let Ok(mut reference) = reference else { continue };
        let is_remote = reference.name().as_bstr().starts_with(b"refs/remotes/");
        let is_own =
            reference.name().as_bstr().starts_with(b"refs/heads/") || reference.name().as_bstr() == "refs/stash";
        let Ok(commit) = reference.peel_to_commit() else { continue };
        match is_remote {
            true => remote.push(commit.id),
            false if is_own => own.push(commit.id),
            false => {}
        }
    }
    // A submodule is checked out at what its own repository is known to have.
    Ok(repository.rev_walk(own).with_hidden(remote).all()?.next().is_some())
}

fn unreadable(tree: &Registered, error: &(dyn std::error::Error + 'static)) -> ApiError {
    internal(&format!("cannot read the worktree {}", tree.path.display()), error)
}

fn locked(git_dir: &Path) -> Option<String> {
    std::fs::read_to_string(git_dir.join("locked")).ok().map(|reason| reason.trim().to_owned())
}

fn operation(state: gix::state::InProgress) -> String {
    use gix::state::InProgress;
    match state {
        InProgress::ApplyMailbox | InProgress::ApplyMailboxRebase => "`git am`",
        InProgress::Bisect => "a bisect",
        InProgress::CherryPick | InProgress::CherryPickSequence => "a cherry-pick",
        InProgress::Merge => "a merge",
        InProgress::Rebase | InProgress::RebaseInteractive => "a rebase",
        InProgress::Revert | InProgress::RevertSequence => "a revert",
    }
    .to_owned()
}

/// How many changes are named in details.
const MOST_CHANGES: usize = 100;
