//! The steps that the machine asks for, carried out. Each may be done twice.

use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::worktree::{Branch, Fact, Kind, Leftover, Note, Removal, Sight, Stage, Step, Tree};

use super::files::names;
use paseo_sdk::operation::Reporter;

use super::branch::look_for_branch;
use super::note::{self, Going, Mark, read_marks, read_note, write_note};
use super::site::{MARK_PREFIX, Site};
use super::tree::{Registered, registered, reserved_branch};
use super::{archive, branch, inspect, restore, tree};

/// Carries out a step, for a daemon that runs `since` then, and tells `reporter` how far it is if that takes a while.
pub(super) fn carry_out(site: &Site, since: SystemTime, step: &Step, stop: &AtomicBool, reporter: &Reporter) -> Fact {
    let done = match step {
        Step::Leftovers => leftovers(site).map(Fact::Leftovers),
        Step::Look(branch) => look(site, branch.as_deref()).map(Fact::Seen),
        Step::Mark(note) => Mark::of(note).write(site).map(|()| Fact::Done),
        Step::MakeBranch(note) => branch::make(site, note).map(|()| Fact::Done),
        Step::MakeTree(note) => tree::make(site, note, stop, reporter).map(|()| Fact::Done),
        Step::WriteNote(note) => find(site, note).and_then(|tree| write_note(&tree.git_dir, note)).map(|()| Fact::Done),
        Step::RemoveTree(note) => tree::remove(site, note),
        Step::RemoveBranch(note) => branch::remove(site, note, since).map(|()| Fact::Done),
        Step::Inspect(slug) => inspect::inspect(site, slug).map(|found| Fact::Inspected(Box::new(found))),
        Step::MarkRemoval(removal) => Mark::going(removal, false).write(site).map(|()| Fact::Done),
        Step::TakeAway(removal) => archive::take_away(site, removal).map(|()| Fact::Done),
        Step::PutAway(removal) => archive::put_away(site, removal).map(|archived| Fact::PutAway(Box::new(archived))),
        Step::BringBack(removal) => archive::bring_back(site, removal).map(|()| Fact::Done),
        Step::Clear(removal) => archive::clear(site, removal),
        Step::DropBranch(removal) => archive::drop_branch(site, removal),
        Step::Recall(slug) => recall(site, slug),
        Step::Refill(note, recalled) => restore::refill(site, note, recalled, stop, reporter).map(|()| Fact::Done),
        Step::Trust(slug) => trust(site, slug).map(|note| Fact::Trusted(Box::new(note))),
        Step::Unmark(note) => unmark(site, note).map(|()| Fact::Done),
    };
    done.unwrap_or_else(Fact::Failed)
}

/// Finds the registration of a worktree.
fn find(site: &Site, note: &Note) -> Result<Registered, ApiError> {
    let path = site.tree(&note.slug);
    let found = registered(&site.open()?)?.into_iter().find(|tree| tree.path == path);
    found.ok_or_else(|| ApiError::new(Code::Internal, format!("{} is not registered", path.display())))
}

fn recall(site: &Site, slug: &str) -> Result<Fact, ApiError> {
    Ok(Fact::Recalled(Box::new(restore::recall(site, slug)?), look(site, None)?))
}

fn trust(site: &Site, slug: &str) -> Result<Note, ApiError> {
    let (tree, note) = inspect::find_ours(site, slug)?;
    let note = Note { trusted: true, ..note };
    write_note(&tree.git_dir, &note)?;
    Ok(note)
}

fn unmark(site: &Site, note: &Note) -> Result<(), ApiError> {
    if is_in_place(site, &registered(&site.open()?)?, note) {
        restore::forget(site, note)?;
    }
    note::unmark(site, note)
}

/// Whether a worktree is there as a whole.
fn is_in_place(site: &Site, registered: &[Registered], note: &Note) -> bool {
    let there = registered.iter().filter(|tree| tree.path == site.tree(&note.slug) && tree.path.exists());
    there
        .map(|tree| read_note(&tree.git_dir))
        .any(|found| matches!(found, Ok(Some(found)) if found.created_at == note.created_at))
}

/// Whether anything may be there that a request or a daemon left behind.
pub(super) fn has_remains(site: &Site) -> Result<bool, ApiError> {
    Ok(names(&site.directory)?.iter().any(|name| name.starts_with('.')))
}

fn leftovers(site: &Site) -> Result<Vec<Leftover>, ApiError> {
    note::remove_torn_marks(site)?;
    archive::clear_remains(site)?;
    let marks = read_marks(&site.directory)?;
    if marks.is_empty() {
        return Ok(Vec::new());
    }
    let registered = registered(&site.open()?)?;
    Ok(marks
        .into_iter()
        .map(|Mark { note, going, .. }| {
            let in_place = is_in_place(site, &registered, &note);
            let removal = |going: &Going| Removal { note: note.clone(), keep_branch: going.keep_branch };
            let stage = match &going {
                Some(going) if going.put_away => Stage::Gone(removal(going)),
                Some(going) if !in_place || site.departure(&note.slug).exists() => Stage::Going(removal(going)),
                Some(going) => Stage::Staying(removal(going)),
                None if in_place => Stage::Finished,
                None => Stage::Begun,
            };
            Leftover { note, stage }
        })
        .collect())
}

fn look(site: &Site, branch: Option<&str>) -> Result<Sight, ApiError> {
    let repository = site.open()?;
    let mut trees = Vec::new();
    // The head of a bare repository is checked out nowhere.
    if !site.bare {
        let path = site.main.to_string_lossy().into_owned();
        trees.push(Tree { path, branch: reserved_branch(&site.common_dir), kind: Kind::Main });
    }
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
        trees.push(Tree {
            path: tree.path.to_string_lossy().into_owned(),
            branch: reserved_branch(&tree.git_dir),
            kind,
        });
    }
    let branch = branch.map_or(Ok(Branch::Free), |branch| look_for_branch(&repository, branch))?;
    Ok(Sight { trees, taken, branch })
}
