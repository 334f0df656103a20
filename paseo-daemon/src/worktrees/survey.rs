//! What is uncommitted or untracked in a worktree, file by file.

use std::collections::BTreeMap;

use gix::bstr::{BStr, BString, ByteSlice as _};
use gix::index::entry::Flags;
use gix::status::index_worktree::iter::Summary;
use gix::status::plumbing::index_as_worktree::EntryStatus;
use gix::status::{Item, Submodule, UntrackedFiles, index_worktree, tree_index::TrackRenames};

/// What is uncommitted or untracked.
pub(super) struct Survey {
    /// Each file, with its two letters of `git status --short`.
    pub(super) changes: BTreeMap<BString, Letters>,
    /// Directories with a repository of their own that is not a submodule.
    pub(super) repositories: Vec<BString>,
    /// Submodules with changes of their own.
    pub(super) submodules: Vec<BString>,
}

/// How a file differs: in the index from the commit, and on disk from the index.
#[derive(Clone, Copy)]
pub(super) struct Letters {
    pub(super) staged: char,
    pub(super) unstaged: char,
}

impl Default for Letters {
    fn default() -> Letters {
        Letters { staged: ' ', unstaged: ' ' }
    }
}

impl Survey {
    /// Looks at every file.
    pub(super) fn of(repository: &gix::Repository) -> gix::Result<Survey> {
        let mut survey = Survey { changes: BTreeMap::new(), repositories: Vec::new(), submodules: Vec::new() };
        // `status.showUntrackedFiles = no` is about what a person sees, not about what would be lost.
        let walk = repository.dirwalk_options()?;
        let items = repository
            .status(gix::progress::Discard)?
            .index_worktree_options_mut(|options| options.dirwalk_options = Some(walk))
            .untracked_files(UntrackedFiles::Files)
            .index_worktree_rewrites(None)
            .tree_index_track_renames(TrackRenames::Disabled)
            .index_worktree_submodules(Submodule::AsConfigured { check_dirty: true })
            .into_iter(None)?;
        for item in items {
            survey.add(item?);
        }
        survey.add_hidden(repository)?;
        Ok(survey)
    }

    /// Whether there is nothing that a commit does not have.
    pub(super) fn is_clean(&self) -> bool {
        self.changes.is_empty() && self.repositories.is_empty() && self.submodules.is_empty()
    }

    /// The files in the words of `git status --short`.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        self.changes.iter().map(|(path, letters)| {
            // As git does: a name that would break the line is quoted.
            let plain = path.to_str().is_ok_and(|path| !path.contains(|c: char| c.is_control() || c == '"'));
            let path = if plain { path.to_string() } else { format!("{path:?}") };
            format!("{}{} {path}", letters.staged, letters.unstaged)
        })
    }

    fn add(&mut self, item: Item) {
        match item {
            Item::TreeIndex(change) => {
                use gix::diff::index::ChangeRef;
                let letter = match &change {
                    ChangeRef::Addition { .. } => 'A',
                    ChangeRef::Deletion { .. } => 'D',
                    ChangeRef::Modification { .. } | ChangeRef::Rewrite { .. } => 'M',
                };
                self.changes.entry(change.location().to_owned()).or_default().staged = letter;
            }
            Item::IndexWorktree(index_worktree::Item::DirectoryContents { entry, .. }) => match entry.disk_kind {
                Some(gix::dir::entry::Kind::Repository) => self.repositories.push(entry.rela_path),
                // Pipes and sockets hold nothing that could be kept.
                Some(gix::dir::entry::Kind::Untrackable) => {}
                _ => drop(self.changes.insert(entry.rela_path, Letters { staged: '?', unstaged: '?' })),
            },
            Item::IndexWorktree(item) => {
                let letter = match item.summary() {
                    // Only its time in the index is out of date.
                    None => return,
                    Some(Summary::Removed) => 'D',
                    Some(Summary::Added | Summary::IntentToAdd) => 'A',
                    Some(Summary::TypeChange) => 'T',
                    Some(Summary::Conflict) => 'U',
                    Some(Summary::Modified | Summary::Renamed | Summary::Copied) => 'M',
                };
                let path = item.rela_path().to_owned();
                if let index_worktree::Item::Modification {
                    status:
                        EntryStatus::Change(gix::status::plumbing::index_as_worktree::Change::SubmoduleModification(_)),
                    ..
                } = &item
                {
                    self.submodules.push(path.clone());
                }
                let letters = self.changes.entry(path).or_default();
                letters.unstaged = letter;
                if letter == 'U' {
                    letters.staged = 'U';
                }
            }
        }
    }

    /// Adds changes of files that the index is told not to look at.
    fn add_hidden(&mut self, repository: &gix::Repository) -> gix::Result<()> {
        let index = repository.index_or_empty()?;
        let hidden: Vec<_> = index
            .entries()
            .iter()
            .filter(|entry| entry.flags.intersects(Flags::ASSUME_VALID | Flags::SKIP_WORKTREE))
            .map(|entry| (entry.path(&index).to_owned(), entry.id, entry.flags.contains(Flags::SKIP_WORKTREE)))
            .collect();
        if hidden.is_empty() {
            return Ok(());
        }
        let (mut pipeline, index) = repository.filter_pipeline(None)?;
        for (path, id, skipped) in hidden {
            let there = on_disk(repository, path.as_bstr()).is_some();
            let letter = match there {
                false if skipped => continue,
                false => 'D',
                true => match pipeline.worktree_file_to_object(path.as_bstr(), &index)? {
                    Some((found, ..)) if found == id => continue,
                    _ => 'M',
                },
            };
            self.changes.entry(path).or_default().unstaged = letter;
        }
        Ok(())
    }
}

/// Looks at a file of a worktree; what lies behind a link is none.
pub(super) fn on_disk(repository: &gix::Repository, path: &BStr) -> Option<std::fs::Metadata> {
    let file = repository.workdir_path(path)?;
    let metadata = file.symlink_metadata().ok()?;
    let above = file.ancestors().skip(1).take_while(|above| Some(*above) != repository.workdir());
    above.map(|above| above.symlink_metadata()).all(|above| above.is_ok_and(|above| above.is_dir())).then_some(metadata)
}
