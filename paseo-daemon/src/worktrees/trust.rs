//! Whether what a new worktree would have checked out makes trust: nothing does that comes from a worktree which is not
//! trusted, as that of a pull request is, under whatever name it comes.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use gix::ObjectId;
use paseo_sdk::error::ApiError;
use paseo_sdk::machine::worktree::{Base, Head, Note};

use super::hooks::COMMANDS;
use super::note::read_note;
use super::site::{Site, find_reference, internal};
use super::tree::{git_dir_of, head_branch, registered};
use super::{Trusting, archive, restore, source};

/// Says whether a worktree with this head and base is trusted without a word from a person. What cannot be read is not.
pub(super) fn comes_trusted(site: &Site, head: &Head, base: Option<&Base>, trusting: &Trusting) -> bool {
    let wanted = Wanted { head, base };
    let known = match trusting {
        Trusting::Everything => Ok(true),
        Trusting::Known(commit) => wanted.acts_as_known(site, commit.as_deref()),
        Trusting::Nothing => Ok(false),
    };
    known.and_then(|known| Ok(known && !wanted.is_suspect(site)?)).unwrap_or_else(|error| {
        tracing::warn!("not trusted, as it cannot be read where it comes from: {error}");
        false
    })
}

/// What a new worktree would come from.
struct Wanted<'a> {
    head: &'a Head,
    base: Option<&'a Base>,
}

impl Wanted<'_> {
    fn is_suspect(&self, site: &Site) -> Result<bool, ApiError> {
        if matches!(self.head, Head::PullRequest { .. }) {
            return Ok(true);
        }
        let repository = site.open()?;
        let known = Known::read(&repository)?;
        if known.suspects.is_empty() {
            return Ok(false);
        }
        if self.references().any(|name| known.names.contains(&name)) {
            return Ok(true);
        }
        let Some(commit) = source::start(self.head, self.base) else { return Ok(false) };
        let cannot = |error| internal("cannot read where a worktree would come from", &error);
        known.has_part_in(&repository, commit).map_err(cannot)
    }

    /// Whether all that acts in it is what acts on the main branch, or in another commit.
    fn acts_as_known(&self, site: &Site, commit: Option<&str>) -> Result<bool, ApiError> {
        let repository = site.open()?;
        let cannot = |error| internal("cannot read what acts in a worktree", &error);
        let main = main_branches(&repository).into_iter().filter_map(|name| commit_of(&repository, &name));
        let known = commit.and_then(id).into_iter().chain(main);
        let known: Vec<_> = known.filter(|commit| repository.has_object(*commit)).collect();
        let known = known.into_iter().map(|commit| acting(&repository, commit)).collect::<gix::Result<Vec<_>>>();
        let known = known.map_err(cannot)?;
        let base = self.base.and_then(|base| id(&base.commit));
        for commit in source::start(self.head, self.base).into_iter().chain(base) {
            let acting = acting(&repository, commit).map_err(cannot)?;
            if !acting.iter().all(Option::is_none) && !known.contains(&acting) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The references that it would come from, in full.
    fn references(&self) -> impl Iterator<Item = String> {
        let head = match self.head {
            Head::Branch { branch, .. } => Some(format!("refs/heads/{branch}")),
            _ => None,
        };
        head.into_iter().chain(self.base.and_then(|base| base.reference.clone()))
    }
}

/// What is not trusted in a repository, and what is.
#[derive(Default)]
struct Known {
    suspects: Vec<Suspect>,
    /// References of which nobody knows what they hold next.
    names: BTreeSet<String>,
    /// Commits that are trusted with all that is before them: those of the main branch, whoever wrote them first, and those
    /// with which trusted worktrees began.
    fine: Vec<ObjectId>,
}

/// A worktree that is not trusted.
struct Suspect {
    /// The commits that it has, or had.
    tips: Vec<ObjectId>,
    /// What a pull request is to be merged into, which was there before it.
    base: Vec<ObjectId>,
}

impl Known {
    fn read(repository: &gix::Repository) -> Result<Known, ApiError> {
        let mut known = Known::default();
        let mut trusted_names = BTreeSet::new();
        let mut add = |note: &Note, tips: Vec<ObjectId>| match note.trusted {
            true => known.fine.extend(id(note.start())),
            false => {
                known.names.extend(names(note));
                let base = note.pull_request.as_ref().and(note.base_ref.as_deref());
                let now = base.and_then(|name| commit_of(repository, name));
                let then = note.pull_request.as_ref().and_then(|_| id(&note.base_commit));
                known.suspects.push(Suspect { tips, base: now.into_iter().chain(then).collect() });
            }
        };
        let mut unreadable = Vec::new();
        for tree in registered(repository)? {
            match read_note(&tree.git_dir) {
                // What a trusted one has by now is not asked, as that takes longer than all else.
                Ok(Some(note)) if note.trusted => {
                    add(&note, Vec::new());
                    trusted_names.extend(names(&note));
                }
                Ok(Some(note)) => {
                    let tips = head_of(repository, &tree.git_dir).into_iter().chain(id(note.start()));
                    add(&note, tips.collect());
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!("{error}");
                    let tips = head_of(repository, &tree.git_dir).into_iter().collect();
                    unreadable.push(Suspect { tips, base: Vec::new() });
                }
            }
        }
        for slug in restore::archived(repository) {
            let Ok(Some(found)) = archive::find(repository, &slug) else { continue };
            let tips = [Some(found.kept.head_commit.as_str()), found.kept.branch_tip.as_deref()];
            let tips = tips.into_iter().flatten().chain([found.kept.note.start()]).filter_map(id);
            add(&found.kept.note, tips.collect());
        }
        known.suspects.extend(unreadable);
        if known.suspects.is_empty() {
            return Ok(known);
        }
        let main = main_branches(repository);
        known.fine.extend(main.iter().filter_map(|name| commit_of(repository, name)));
        known.names.retain(|name| !trusted_names.contains(name) && !main.contains(name));
        Ok(known)
    }

    /// Whether one of the commits of this one's history is that of a worktree which is not trusted.
    fn has_part_in(&self, repository: &gix::Repository, commit: ObjectId) -> gix::Result<bool> {
        let own = commits(repository, &[commit], self.fine.clone())?;
        if own.is_empty() {
            return Ok(false);
        }
        for suspect in &self.suspects {
            let hidden = self.fine.iter().chain(&suspect.base).copied().collect();
            if commits(repository, &suspect.tips, hidden)?.iter().any(|commit| own.contains(commit)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a worktree has another commit than it began with. Of what cannot be read, that is not known, and is taken so.
pub(super) fn has_moved(home: &Path, tree: &Path) -> bool {
    let look = || {
        let git_dir = git_dir_of(tree)?;
        let note = read_note(&git_dir).ok().flatten()?;
        let (_, site) = Site::find(home, tree).ok()?;
        Some(head_of(&site.open().ok()?, &git_dir) != id(note.start()))
    };
    look().unwrap_or(true)
}

/// The references that may be the main branch, in full.
fn main_branches(repository: &gix::Repository) -> Vec<String> {
    let mut main = source::main_branches(repository);
    // A repository that was not cloned does not say what its remote calls the main branch.
    main.extend(["refs/remotes/origin/main".to_owned(), "refs/remotes/origin/master".to_owned()]);
    main
}

/// Returns what a commit has of what acts by itself: what paseo runs, and what agent programs read as settings.
fn acting(repository: &gix::Repository, commit: ObjectId) -> gix::Result<Vec<Option<ObjectId>>> {
    let tree = repository.find_commit(commit)?.tree()?;
    let entry = |name: &&str| Ok(tree.lookup_entry_by_path(name)?.map(|entry| entry.object_id()));
    ACTING.iter().map(entry).collect()
}

/// What acts by itself at the top of a checkout: the hooks of paseo, and the settings, hooks and servers of agent programs.
const ACTING: [&str; 7] = [COMMANDS, ".claude", ".mcp.json", ".codex", "opencode.json", "opencode.jsonc", ".opencode"];

/// Finds the commits of a history that another one has not. What is not there any more has none.
fn commits(repository: &gix::Repository, tips: &[ObjectId], hidden: Vec<ObjectId>) -> gix::Result<HashSet<ObjectId>> {
    let is_there = |id: &ObjectId| repository.has_object(*id);
    let tips: Vec<_> = tips.iter().copied().filter(is_there).collect();
    let hidden: Vec<_> = hidden.into_iter().filter(is_there).collect();
    repository.rev_walk(tips).with_hidden(hidden).all()?.map(|commit| Ok(commit?.id)).collect()
}

/// The references by which a worktree's branch is known, in full.
fn names(note: &Note) -> Vec<String> {
    let own = note.branch.as_ref().map(|branch| format!("refs/heads/{branch}"));
    let upstream = note.upstream.as_ref().and_then(|upstream| {
        let branch = upstream.reference.strip_prefix("refs/heads/")?;
        Some(format!("refs/remotes/{}/{branch}", upstream.remote))
    });
    own.into_iter().chain(upstream).collect()
}

fn head_of(repository: &gix::Repository, git_dir: &Path) -> Option<ObjectId> {
    match head_branch(git_dir) {
        Some(branch) => commit_of(repository, &format!("refs/heads/{branch}")),
        None => id(std::fs::read_to_string(git_dir.join("HEAD")).ok()?.trim_end()),
    }
}

fn commit_of(repository: &gix::Repository, name: &str) -> Option<ObjectId> {
    let mut reference = find_reference(repository, name).ok().flatten()?;
    reference.peel_to_commit().ok().map(|commit| commit.id)
}

fn id(commit: &str) -> Option<ObjectId> {
    ObjectId::from_hex(commit.as_bytes()).ok()
}
