//! How the state of a worktree becomes commits: the files, and beside them what a commit cannot say.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice as _};
use gix::index::entry::{Flags, Mode, Stage};
use gix::objs::tree::EntryKind;
use gix::worktree::stack::state::attributes::Source;
use paseo_sdk::machine::worktree::Removal;

use super::{Found, Kept, point, reference};
use crate::fault::{Point, reached};
use crate::worktrees::note::NOTE;
use crate::worktrees::site::{Site, find_reference};
use crate::worktrees::survey::{Survey, is_left_out, keeps_modes, on_disk};
use crate::worktrees::tree::Registered;
use crate::worktrees::{branch, partial};

/// The putting away of one worktree.
pub(super) struct Capture<'a> {
    pub(super) site: &'a Site,
    pub(super) removal: &'a Removal,
    pub(super) tree: &'a Registered,
    /// The worktree, as it is out of sight.
    pub(super) repository: gix::Repository,
}

impl Capture<'_> {
    /// Has the reference keep what the worktree holds, and also what it kept `before`.
    pub(super) fn keep(&self, before: Option<Found>) -> gix::Result<()> {
        let repository = &self.repository;
        let note = &self.removal.note;
        let head = repository.head_commit()?;
        let survey = Survey::of(repository)?;
        let index = repository.index_or_empty()?;
        let (exact, converted) = self.exact(&survey, &index)?;
        // Then the index says nothing that the commit does not.
        let plain = survey.is_clean() && !converted && !self.is_sparse() && !index.entries().iter().any(is_special);
        let mut beside = repository.empty_tree().edit()?;
        let tree = match plain {
            true => head.tree_id()?.detach(),
            false => self.files(&survey, &index, &mut beside)?,
        };
        for (path, kind, bytes) in exact {
            let id = repository.write_blob(bytes)?;
            beside.upsert(below("exact", path.as_bstr()).as_bstr(), kind, id)?;
        }
        let mut mentioned = BTreeSet::new();
        for (name, bytes) in own_files(&self.tree.git_dir, plain)? {
            for (id, kind) in mentions(repository, &name, &bytes) {
                match kind {
                    gix::objs::Kind::Commit => drop(mentioned.insert(id)),
                    gix::objs::Kind::Tree => drop(beside.upsert(format!("objects/{id}"), EntryKind::Tree, id)?),
                    gix::objs::Kind::Blob => drop(beside.upsert(format!("objects/{id}"), EntryKind::Blob, id)?),
                    gix::objs::Kind::Tag => {}
                }
            }
            let id = repository.write_blob(bytes)?;
            beside.upsert(format!("git/{name}"), EntryKind::Blob, id)?;
        }
        let tip = self.branch_tip()?;
        // What was archived before under this name, unless that is this one, cut short.
        let again = before.as_ref().is_some_and(|found| found.kept.note.created_at == note.created_at);
        let replaced = before.as_ref().map(|found| found.commit);
        let previous = match &before {
            Some(found) if again => found.kept.previous.clone(),
            found => found.as_ref().map(|found| found.commit.to_string()),
        };
        let kept = Kept {
            note: note.clone(),
            head_branch: repository.head_name()?.map(|name| name.shorten().to_string()),
            head_commit: head.id.to_string(),
            settings: match (&tip, &note.branch) {
                (Some(_), Some(branch)) => branch::settings(repository, branch),
                _ => Vec::new(),
            },
            kept_commits: self.count_unmerged(&head, tip)?,
            branch_tip: tip.map(|id| id.to_string()),
            kept_files: i64::try_from(survey.changes.len()).unwrap_or(i64::MAX),
            previous: previous.clone(),
        };
        let text = serde_json::to_vec_pretty(&kept).map_err(gix::Error::from_error)?;
        beside.upsert(NOTE, EntryKind::Blob, repository.write_blob(text)?)?;
        let beside = write_tree(repository, beside)?;
        let mut parents = self.unreachable(&head, tip, mentioned)?;
        parents.extend(previous.map(|id| ObjectId::from_hex(id.as_bytes())).transpose()?);
        let what = format!("paseo: what belongs to the archive of worktree {}", note.slug);
        let beside = self.commit(what, beside, parents)?;
        let what = match kept.kept_files {
            0 => format!("paseo: archive of worktree {}", note.slug),
            files => format!("paseo: archive of worktree {}, with {files} files that were not committed", note.slug),
        };
        let commit = self.commit(what, tree, vec![head.id, beside])?;
        // Before anything that it keeps is removed elsewhere.
        self.sync()?;
        reached(Point::WorktreeWritten);
        point(repository, &note.slug, Some(commit), replaced)?;
        match File::open(self.site.common_dir.join(reference(&note.slug))) {
            Ok(reference) => reference.sync_all().map_err(gix::Error::from_error),
            // References may be kept elsewhere than in files of their own.
            Err(_) => Ok(()),
        }
    }

    fn commit(&self, message: String, tree: ObjectId, parents: Vec<ObjectId>) -> gix::Result<ObjectId> {
        let paseo = self.repository.committer().ok_or_else(|| gix::Error::from_error(Nobody))??;
        Ok(self.repository.new_commit_as(paseo, paseo, message, tree, parents)?.id)
    }

    fn is_sparse(&self) -> bool {
        self.repository.config_snapshot().boolean("core.sparseCheckout").unwrap_or_default()
    }

    /// Writes the files as a tree, and beside it what the index has.
    fn files(
        &self,
        survey: &Survey,
        index: &gix::index::State,
        beside: &mut gix::object::tree::Editor<'_>,
    ) -> gix::Result<ObjectId> {
        let repository = &self.repository;
        let mut staged = repository.empty_tree().edit()?;
        for entry in index.entries() {
            let path = entry.path(index);
            let Some(kind) = entry.mode.to_tree_entry_mode().map(|mode| mode.kind()) else { continue };
            if entry.flags.contains(Flags::INTENT_TO_ADD) {
                continue;
            }
            match entry.stage() {
                Stage::Unconflicted => drop(staged.upsert(path, kind, entry.id)?),
                stage => {
                    let path = below(&format!("stage-{}", stage as u8), path);
                    beside.upsert(path.as_bstr(), kind, entry.id)?;
                }
            }
        }
        beside.upsert("index", EntryKind::Tree, write_tree(repository, staged.clone())?)?;
        let mut files = staged;
        let (mut pipeline, index) = repository.filter_pipeline(None)?;
        let mut found = Vec::new();
        for (path, letters) in &survey.changes {
            let object = match letters.unstaged {
                // What only the index has changed is on disk as it is in the index.
                ' ' => continue,
                'D' => None,
                _ => pipeline.worktree_file_to_object(path.as_bstr(), &index)?,
            };
            match object {
                Some((id, kind, _)) => found.push((path, kind, id)),
                None => drop(files.remove(path.as_bstr())?),
            }
        }
        // A file may have become a directory, or the other way round.
        for (path, kind, id) in found {
            check_name(path.as_bstr())?;
            files.upsert(path.as_bstr(), kind, id)?;
        }
        write_tree(repository, files)
    }

    /// Finds the files that git would not check out again byte for byte, or not at all; and says whether any is changed as it
    /// is checked out.
    fn exact(&self, survey: &Survey, index: &gix::index::State) -> gix::Result<(Vec<Exact>, bool)> {
        let repository = &self.repository;
        let mut found = Vec::new();
        let mut any_converted = false;
        let keeps_modes = keeps_modes(repository);
        let mut conversions = Conversions::of(repository, index)?;
        let (mut pipeline, _) = repository.filter_pipeline(None)?;
        let changed = survey.changes.iter().filter(|(_, letters)| !matches!(letters.unstaged, ' ' | 'D'));
        let mut candidates: Vec<_> = changed.map(|(path, _)| (path.clone(), None)).collect();
        for entry in index.entries().iter().filter(|entry| entry.stage() == Stage::Unconflicted) {
            let path = entry.path(index);
            let seen = survey.changes.get(path).is_some_and(|letters| letters.unstaged != ' ');
            if !seen && matches!(entry.mode, Mode::FILE | Mode::FILE_EXECUTABLE | Mode::SYMLINK) {
                candidates.push((path.to_owned(), Some(entry)));
            }
        }
        for (path, entry) in candidates {
            // Of these the tree has no word, or may have no place on the disk.
            let left_out = is_left_out(index, path.as_bstr());
            let converted = conversions.apply_to(path.as_bstr())?;
            any_converted |= converted;
            if !left_out && !converted && keeps_modes {
                continue;
            }
            let Some(metadata) = on_disk(repository, path.as_bstr()) else { continue };
            let Some(file) = repository.workdir_path(path.as_bstr()) else { continue };
            let kind = match metadata.is_file() {
                true if metadata.permissions().mode() & 0o100 != 0 => EntryKind::BlobExecutable,
                true => EntryKind::Blob,
                false if metadata.is_symlink() && left_out => {
                    let target = std::fs::read_link(&file).map_err(gix::Error::from_error)?;
                    found.push((path, EntryKind::Link, target.into_os_string().into_encoded_bytes()));
                    continue;
                }
                false => continue,
            };
            // Where git does not look at modes, it sets none either.
            let same_kind = keeps_modes || kind == EntryKind::Blob;
            if !left_out && !converted && same_kind {
                continue;
            }
            let bytes = std::fs::read(&file).map_err(gix::Error::from_error)?;
            if left_out || !same_kind {
                found.push((path, kind, bytes));
                continue;
            }
            let id = match entry {
                Some(entry) => entry.id,
                None => match pipeline.worktree_file_to_object(path.as_bstr(), index)? {
                    Some((id, ..)) => id,
                    None => continue,
                },
            };
            let stored = repository.find_blob(id)?;
            if checked_out(&mut pipeline, &stored.data, path.as_bstr())? != bytes {
                found.push((path, kind, bytes));
            }
        }
        Ok((found, any_converted))
    }

    /// Returns where the branch is that goes with the worktree.
    fn branch_tip(&self) -> gix::Result<Option<ObjectId>> {
        let note = &self.removal.note;
        let goes = note.branch.as_ref().filter(|_| note.branch_made && !self.removal.keep_branch);
        let Some(branch) = goes else { return Ok(None) };
        if branch::is_in_use(self.site, &self.repository, branch, Some(self.tree)).map_err(gix::Error::from_error)? {
            return Ok(None);
        }
        let reference = find_reference(&self.repository, &format!("refs/heads/{branch}"))?;
        Ok(reference.and_then(|reference| reference.try_id().map(|id| id.detach())))
    }

    /// Counts the commits that no other branch, tag or remote has.
    fn count_unmerged(&self, head: &gix::Commit<'_>, tip: Option<ObjectId>) -> gix::Result<i64> {
        let going = tip.and(self.removal.note.branch.as_ref()).map(|branch| format!("refs/heads/{branch}"));
        let mut others = Vec::new();
        for reference in self.repository.references()?.all()? {
            let Ok(mut reference) = reference else { continue };
            let name = reference.name().as_bstr().to_string();
            let counts = ["refs/heads/", "refs/remotes/", "refs/tags/"].iter().any(|prefix| name.starts_with(prefix));
            if counts && Some(&name) != going.as_ref() {
                others.extend(reference.peel_to_commit().ok().map(|commit| commit.id));
            }
        }
        let own = [Some(head.id), tip].into_iter().flatten();
        let mut count = 0;
        for commit in self.repository.rev_walk(own).with_hidden(others).all()? {
            commit?;
            count += 1;
        }
        Ok(count)
    }

    /// Of the commits that its own files speak of, returns those that would not be kept otherwise.
    fn unreachable(
        &self,
        head: &gix::Commit<'_>,
        tip: Option<ObjectId>,
        mentioned: BTreeSet<ObjectId>,
    ) -> gix::Result<Vec<ObjectId>> {
        let all: BTreeSet<_> = tip.into_iter().chain(mentioned).collect();
        let walk = |from: &BTreeSet<ObjectId>| -> gix::Result<(BTreeSet<ObjectId>, BTreeSet<ObjectId>)> {
            let (mut commits, mut parents) = (BTreeSet::new(), BTreeSet::new());
            for commit in self.repository.rev_walk(from.iter().copied()).with_hidden([head.id]).all()? {
                let commit = commit?;
                parents.extend(commit.parent_ids.iter().copied());
                commits.insert(commit.id);
            }
            Ok((commits, parents))
        };
        let (commits, parents) = match walk(&all) {
            Ok(found) => found,
            // Of what a reflog speaks of, git may have pruned a part; a reference to such a commit would be a broken one.
            Err(_) => walk(&all.iter().copied().filter(|id| walk(&BTreeSet::from([*id])).is_ok()).collect())?,
        };
        Ok(all.into_iter().filter(|id| commits.contains(id) && !parents.contains(id)).collect())
    }

    /// Returns once everything that was written is on the disk.
    fn sync(&self) -> gix::Result<()> {
        let objects = File::open(self.site.common_dir.join("objects")).map_err(gix::Error::from_error)?;
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(&objects).map_err(gix::Error::from_error)?;
        #[cfg(not(target_os = "linux"))]
        {
            drop(objects);
            rustix::fs::sync();
        }
        Ok(())
    }
}

/// A file byte for byte: where it is, what it is, and its bytes.
type Exact = (BString, EntryKind, Vec<u8>);

/// Returns what git would check out at a path for these bytes.
fn checked_out(pipeline: &mut gix::filter::Pipeline<'_>, stored: &[u8], path: &BStr) -> gix::Result<Vec<u8>> {
    use std::io::Read as _;
    let options = gix::filter::plumbing::pipeline::convert::to_worktree::Options {
        can_delay: gix::filter::plumbing::driver::apply::Delay::Forbid,
        ..Default::default()
    };
    let mut outcome = pipeline.convert_to_worktree(stored, path, options)?;
    let mut bytes = Vec::new();
    outcome.read_to_end(&mut bytes).map_err(gix::Error::from_error)?;
    Ok(bytes)
}

fn below(directory: &str, path: &BStr) -> BString {
    let mut joined = BString::from(directory);
    joined.push(b'/');
    joined.extend_from_slice(path);
    joined
}

/// Whether the index says more of a file than a tree can.
fn is_special(entry: &gix::index::Entry) -> bool {
    entry.flags.intersects(Flags::ASSUME_VALID | Flags::SKIP_WORKTREE | Flags::INTENT_TO_ADD)
        || entry.stage() != Stage::Unconflicted
}

/// Reads the files of a worktree's own git directory that belong to what somebody does in it.
fn own_files(git_dir: &Path, without_index: bool) -> gix::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(git_dir.join(&directory)).map_err(gix::Error::from_error)? {
            let entry = entry.map_err(gix::Error::from_error)?;
            let name = directory.join(entry.file_name());
            let Some(text) = name.to_str() else { continue };
            let kind = entry.file_type().map_err(gix::Error::from_error)?;
            // The registration itself, what paseo keeps there, and the repositories of submodules, which are cloned anew.
            let not_kept = ["gitdir", "commondir", "locked", "modules"].contains(&text)
                || text.starts_with("paseo")
                || text.ends_with(".lock")
                || (text == "index" && without_index);
            if not_kept {
                continue;
            }
            if kind.is_dir() {
                directories.push(name);
            } else if kind.is_file() {
                files.push((text.to_owned(), std::fs::read(entry.path()).map_err(gix::Error::from_error)?));
            }
        }
    }
    Ok(files)
}

/// Finds the objects that a file of a worktree's own git directory names by their ids.
fn mentions(repository: &gix::Repository, name: &str, bytes: &[u8]) -> BTreeSet<(ObjectId, gix::objs::Kind)> {
    let length = repository.object_hash().len_in_hex();
    let Ok(text) = std::str::from_utf8(bytes) else { return BTreeSet::new() };
    // What is still to be picked is named by a short id.
    let shortest = if name.starts_with("sequencer/") || name.starts_with("rebase-") { SHORTEST_ID } else { length };
    let words: BTreeSet<_> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let ids = words.into_iter().filter(|word| (shortest..=length).contains(&word.len())).filter_map(|word| {
        let prefix = gix::hash::Prefix::from_hex(word).ok()?;
        repository.objects.lookup_prefix(prefix, None).ok()??.ok()
    });
    ids.filter_map(|id| Some((id, repository.try_find_header(id).ok()??.kind()))).collect()
}

/// Writes a tree, of which a partial clone may lack files that its index has: its remote has those.
fn write_tree(repository: &gix::Repository, mut editor: gix::object::tree::Editor<'_>) -> gix::Result<ObjectId> {
    if !partial::is_one(repository) {
        return Ok(editor.write()?.detach());
    }
    editor.detach().write(|tree| {
        tree.entries.iter().try_for_each(|entry| check_name(entry.filename.as_bstr()))?;
        Ok(repository.write_object(tree)?.detach())
    })
}

/// Checks that git would check out a file of this name.
fn check_name(path: &BStr) -> gix::Result<()> {
    let options =
        gix::validate::path::component::Options { protect_windows: false, protect_hfs: false, protect_ntfs: true };
    let mut components = path.split_str("/");
    match components.all(|component| gix::validate::path::component(component.as_bstr(), None, options).is_ok()) {
        true => Ok(()),
        false => Err(gix::Error::from_error(Unkeepable(path.to_owned()))),
    }
}

/// A file whose name git takes for something else.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} has a name that git does not take")]
struct Unkeepable(BString);

/// There is always somebody: a name is made up where the user has none.
#[derive(Debug, thiserror::Error)]
#[error("a commit needs a name")]
struct Nobody;

/// What is changed about files as they are checked out.
struct Conversions<'a> {
    /// Whether line ends are, whatever attributes say.
    always: bool,
    attributes: gix::AttributeStack<'a>,
    outcome: gix::attrs::search::Outcome,
}

impl<'a> Conversions<'a> {
    fn of(repository: &'a gix::Repository, index: &gix::index::State) -> gix::Result<Conversions<'a>> {
        let attributes = repository.attributes_only(index, Source::WorktreeThenIdMapping)?;
        let outcome =
            attributes.selected_attribute_matches(["crlf", "ident", "filter", "eol", "text", "working-tree-encoding"]);
        let config = repository.config_snapshot();
        // `input` is a third value.
        let always = config.string("core.autocrlf").is_some() && config.boolean("core.autocrlf") != Some(false);
        Ok(Conversions { always, attributes, outcome })
    }

    fn apply_to(&mut self, path: &BStr) -> gix::Result<bool> {
        if self.always {
            return Ok(true);
        }
        let found = self.attributes.at_entry(path, None).map_err(gix::Error::from_error)?;
        self.outcome.reset();
        Ok(found.matching_attributes(&mut self.outcome)
            && self
                .outcome
                .iter_selected()
                .any(|found| !matches!(found.assignment.state, gix::attrs::StateRef::Unspecified)))
    }
}

/// The shortest ids that git writes.
const SHORTEST_ID: usize = 7;
