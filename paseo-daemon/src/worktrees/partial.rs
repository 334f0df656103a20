//! Partial clones: which objects that only a remote has are needed, and the fetching of those.
//!
//! git fetches them one after the other where it meets them. gix does not, so they are fetched before it starts.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use gix::ObjectId;
use gix::bstr::ByteSlice as _;
use gix::index::entry::{Flags, Mode};
use gix::index::{Entry, State};
use gix::objs::tree::EntryKind;
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::worktree::{Base, Branch, Head};

use super::branch::{is_in_use, look_for_branch, parse};
use super::fetch::{self, Alone};
use super::hooks::COMMANDS;
use super::site::{Site, discover, internal};
use super::survey::is_left_out;
use super::{archive, source};

/// Something that is done next, and needs objects for that.
#[derive(Clone, Debug)]
pub(super) enum Need {
    /// To check out this commit in a new worktree.
    Checkout(ObjectId),
    /// To read what the commit's `paseo.json` asks for.
    Commands(ObjectId),
    /// To compare the worktree here with its head.
    Comparison(PathBuf),
    /// To bring back what was archived under this name.
    Archive(String),
}

/// What a partial clone does not have.
#[derive(Clone, Debug)]
pub(super) struct Lack {
    /// The remotes that promised to have it, in the order in which they are asked.
    remotes: Vec<String>,
    pub(super) objects: BTreeSet<ObjectId>,
}

impl Lack {
    /// Finds what a partial clone does not have of what is needed; nothing in any other repository.
    pub(super) fn of(site: &Site, needs: &[Need]) -> Result<Option<Lack>, ApiError> {
        let mut repository = site.open()?;
        let remotes = promisors(&repository);
        if remotes.is_empty() {
            return Ok(None);
        }
        // Each object that is not there would have all packs looked for again.
        repository.objects.refresh_never();
        let mut objects = BTreeSet::new();
        for need in needs {
            let found = need.lacks(site, &repository);
            objects.extend(found.map_err(|error| internal("cannot find out what this partial clone lacks", &error))?);
        }
        Ok((!objects.is_empty()).then_some(Lack { remotes, objects }))
    }

    /// Fetches it from the first remote that gives it.
    pub(super) async fn fetch(
        &self,
        site: &Site,
        env: &BTreeMap<String, String>,
        alone: &Alone,
    ) -> Result<(), ApiError> {
        let mut said = Vec::new();
        for remote in &self.remotes {
            match fetch::objects(site, env, alone, remote, &self.objects).await {
                Ok(()) => return Ok(()),
                Err(why) => said.push(why),
            }
        }
        Err(self.stays(&said.join("; ")))
    }

    /// Says that it could not be had.
    pub(super) fn stays(&self, why: &str) -> ApiError {
        let from = self.remotes.join(" or ");
        let what = match self.objects.len() {
            1 => "an object that is".to_owned(),
            number => format!("{number} objects that are"),
        };
        ApiError::new(Code::Unavailable, format!("cwd: this partial clone lacks {what} to be had from {from}: {why}"))
            .hint("`git fetch` there may say more; try again once the remote can be reached")
            .details(serde_json::json!({ "field": "cwd", "remotes": self.remotes, "objects": self.objects.len() }))
    }
}

impl Need {
    /// Says what is needed to make a worktree with this head and base in a partial clone; nothing in any other repository,
    /// nor where there is one or something in its way.
    pub(super) fn of_new(site: &Site, head: &Head, base: Option<&Base>) -> Result<Vec<Need>, ApiError> {
        let repository = site.open()?;
        if !is_one(&repository) {
            return Ok(Vec::new());
        }
        let there = match head {
            Head::New { branch } => look_for_branch(&repository, branch)? != Branch::Free,
            _ => head.branch().map_or(Ok(false), |branch| is_in_use(site, &repository, branch, None))?,
        };
        let Some(commit) = source::start(head, base).filter(|_| !there) else { return Ok(Vec::new()) };
        let base = base.map(|base| parse(&base.commit)).transpose()?;
        Ok([Need::Checkout(commit)].into_iter().chain(base.map(Need::Commands)).collect())
    }

    fn lacks(&self, site: &Site, repository: &gix::Repository) -> gix::Result<BTreeSet<ObjectId>> {
        match self {
            Need::Checkout(commit) => {
                let tree = repository.find_commit(*commit)?.tree_id()?.detach();
                lacking(repository, tree, |index| leave_out(repository, index))
            }
            Need::Commands(commit) => {
                let tree = repository.find_commit(*commit)?.tree_id()?.detach();
                if !repository.has_object(tree) {
                    return Ok(BTreeSet::from([tree]));
                }
                let file = repository.find_tree(tree)?.find_entry(COMMANDS).map(|entry| entry.object_id());
                Ok(file.into_iter().filter(|id| !repository.has_object(*id)).collect())
            }
            Need::Comparison(path) => {
                let mut lacking = BTreeSet::new();
                // What cannot be read is said by whoever compares them.
                let Ok(there) = discover(path) else { return Ok(lacking) };
                if let Ok(index) = there.index_or_empty() {
                    lacking.extend(lacking_files(repository, &index));
                }
                if let Ok(head) = there.head_commit() {
                    lacking.extend(lacking_trees(repository, head.tree_id()?.detach())?);
                }
                Ok(lacking)
            }
            Need::Archive(slug) => {
                let Ok(Some(found)) = archive::find(&site.open().map_err(gix::Error::from_error)?, slug) else {
                    return Ok(BTreeSet::new());
                };
                let tree = repository.find_commit(found.commit)?.tree_id()?.detach();
                let kept = kept_index(repository, found.beside)?;
                lacking(repository, tree, |index| {
                    for (entry, path) in index.entries_mut_with_paths() {
                        let left_out = kept.as_ref().is_some_and(|kept| is_left_out(kept, path));
                        entry.flags.set(Flags::SKIP_WORKTREE, left_out);
                    }
                    Ok(())
                })
            }
        }
    }
}

/// Whether a repository may lack objects that a remote has promised.
pub(super) fn is_one(repository: &gix::Repository) -> bool {
    !promisors(repository).is_empty()
}

/// Returns the remotes of a partial clone, as git asks them; none where it is not one.
fn promisors(repository: &gix::Repository) -> Vec<String> {
    let config = repository.config_snapshot();
    let names = repository.remote_names().into_iter().map(|name| name.to_string());
    let promised = |name: &String| config.boolean(format!("remote.{name}.promisor").as_str()) == Some(true);
    let mut found: Vec<_> = names.filter(promised).collect();
    let extension = config.string("extensions.partialClone").map(|name| name.to_string());
    found.extend(extension.filter(|name| !found.contains(name)));
    found
}

/// Finds what lacks for a checkout of a tree: its directories, and once those are there its files.
fn lacking(
    repository: &gix::Repository,
    tree: ObjectId,
    leave_out: impl FnOnce(&mut State) -> gix::Result<()>,
) -> gix::Result<BTreeSet<ObjectId>> {
    let trees = lacking_trees(repository, tree)?;
    if !trees.is_empty() {
        return Ok(trees);
    }
    let mut index = repository.index_from_tree(&tree)?;
    leave_out(&mut index)?;
    Ok(lacking_files(repository, &index))
}

/// Finds the files of an index that are not there.
fn lacking_files(repository: &gix::Repository, index: &State) -> BTreeSet<ObjectId> {
    let is_needed = |entry: &&Entry| {
        let path = entry.path(index);
        let name = path.rsplit_once_str("/").map_or(path.as_bytes(), |(_, name)| name);
        let is_file = entry.mode != Mode::COMMIT;
        is_file && (!entry.flags.contains(Flags::SKIP_WORKTREE) || READ_FROM_THE_INDEX.contains(&name))
    };
    let needed = index.entries().iter().filter(is_needed).map(|entry| entry.id);
    needed.filter(|id| !repository.has_object(*id)).collect()
}

/// Finds the directories of a tree that are not there, as far as those are known that are.
fn lacking_trees(repository: &gix::Repository, root: ObjectId) -> gix::Result<BTreeSet<ObjectId>> {
    let (mut lacking, mut seen, mut next) = (BTreeSet::new(), HashSet::from([root]), vec![root]);
    while let Some(id) = next.pop() {
        if !repository.has_object(id) {
            lacking.insert(id);
            continue;
        }
        for entry in repository.find_tree(id)?.iter() {
            let entry = entry?;
            if entry.mode().kind() == EntryKind::Tree && seen.insert(entry.object_id()) {
                next.push(entry.object_id());
            }
        }
    }
    Ok(lacking)
}

/// Reads the index that was put away with a worktree.
fn kept_index(repository: &gix::Repository, beside: ObjectId) -> gix::Result<Option<State>> {
    let Some(file) = repository.find_tree(beside)?.lookup_entry_by_path("git/index")? else { return Ok(None) };
    let hash = repository.object_hash();
    // It is not compared with files.
    let time = State::new(hash).timestamp();
    Ok(Some(State::from_bytes(&file.object()?.data, time, hash, Default::default())?.0))
}

/// Marks what a new worktree leaves out, where the main checkout is a sparse one.
fn leave_out(repository: &gix::Repository, index: &mut State) -> gix::Result<()> {
    use gix::worktree::sparse::{apply_patterns, read_patterns};
    let config = repository.config_snapshot();
    if config.boolean("core.sparseCheckout") != Some(true) {
        return Ok(());
    }
    let Some(patterns) = read_patterns(repository.git_dir()).map_err(gix::Error::from_error)? else { return Ok(()) };
    let cone = config.boolean("core.sparseCheckoutCone").unwrap_or_default();
    let case = match config.boolean("core.ignoreCase").unwrap_or_default() {
        true => gix::glob::pattern::Case::Fold,
        false => gix::glob::pattern::Case::Sensitive,
    };
    apply_patterns(index, &patterns, &repository.git_dir().join("info/sparse-checkout"), cone, case)
}

/// Files that git and gix read from the index where they are not on the disk.
const READ_FROM_THE_INDEX: [&[u8]; 3] = [b".gitattributes", b".gitignore", b".gitmodules"];
