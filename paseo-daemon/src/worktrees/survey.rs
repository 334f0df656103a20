//! What is uncommitted or untracked in a worktree, file by file.

use std::collections::BTreeMap;

use gix::bstr::{BStr, BString, ByteSlice as _};
use gix::index::entry::{Flags, Mode};
use gix::index::{Entry, State};
use gix::status::index_worktree::iter::Summary;
use gix::status::plumbing::index_as_worktree::EntryStatus;
use gix::status::{Item, Submodule, UntrackedFiles, index_worktree, tree_index::TrackRenames};
use gix::submodule::config::Ignore;

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

impl Letters {
    const UNTRACKED: Letters = Letters { staged: '?', unstaged: '?' };
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
            // Whatever is set to be passed over there would be lost.
            .index_worktree_submodules(Submodule::Given { ignore: Ignore::None, check_dirty: true })
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
                _ => drop(self.changes.insert(entry.rela_path, Letters::UNTRACKED)),
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

    /// Adds what nobody looks at: files that the index is told to take as unchanged, and what is in the place of one.
    fn add_hidden(&mut self, repository: &gix::Repository) -> gix::Result<()> {
        let index = repository.index_or_empty()?;
        let hidden = |entry: &&Entry| entry.flags.intersects(Flags::ASSUME_VALID | Flags::SKIP_WORKTREE);
        if !index.entries().iter().any(|entry| hidden(&entry)) {
            return Ok(());
        }
        let (mut pipeline, index) = repository.filter_pipeline(None)?;
        let keeps_modes = keeps_modes(repository);
        let is_same =
            |kind, mode: Mode| !keeps_modes || mode.to_tree_entry_mode().is_some_and(|mode| mode.kind() == kind);
        for entry in index.entries().iter().filter(hidden) {
            let path = entry.path(&index);
            let is_there = match Place::of(repository, path) {
                Place::Free => false,
                Place::Behind(above) => {
                    self.add_untracked(&index, above);
                    false
                }
                Place::Directory if entry.mode != Mode::COMMIT => {
                    for file in self.walk(repository, path)? {
                        self.add_untracked(&index, file);
                    }
                    false
                }
                Place::Directory | Place::File => true,
            };
            let letter = match is_there {
                false if entry.flags.contains(Flags::SKIP_WORKTREE) => continue,
                false => 'D',
                true => match pipeline.worktree_file_to_object(path, &index)? {
                    Some((found, kind, _)) if found == entry.id && is_same(kind, entry.mode) => continue,
                    _ => 'M',
                },
            };
            self.changes.entry(path.to_owned()).or_default().unstaged = letter;
        }
        Ok(())
    }

    fn add_untracked(&mut self, index: &State, path: BString) {
        if index.entry_by_path(path.as_bstr()).is_none() {
            self.changes.insert(path, Letters::UNTRACKED);
        }
    }

    /// Returns the files and links below a directory, but for those of repositories there, which are added.
    fn walk(&mut self, repository: &gix::Repository, path: &BStr) -> gix::Result<Vec<BString>> {
        let mut files = Vec::new();
        let mut directories = vec![path.to_owned()];
        while let Some(above) = directories.pop() {
            let Some(directory) = repository.workdir_path(above.as_bstr()) else { continue };
            if directory.join(".git").symlink_metadata().is_ok() {
                if !self.repositories.contains(&above) {
                    self.repositories.push(above);
                }
                continue;
            }
            for entry in std::fs::read_dir(directory).map_err(gix::Error::from_error)? {
                let entry = entry.map_err(gix::Error::from_error)?;
                let kind = entry.file_type().map_err(gix::Error::from_error)?;
                let name = gix::path::os_string_into_bstring(entry.file_name()).map_err(gix::Error::from_error)?;
                let path = BString::from([above.as_slice(), b"/", name.as_slice()].concat());
                if kind.is_dir() {
                    directories.push(path);
                } else if kind.is_file() || kind.is_symlink() {
                    files.push(path);
                }
            }
        }
        Ok(files)
    }
}

/// Whether an index leaves a file out of the worktree.
pub(super) fn is_left_out(index: &State, path: &BStr) -> bool {
    index.entry_by_path(path).is_some_and(|entry| entry.flags.contains(Flags::SKIP_WORKTREE))
}

/// Whether a difference in the executable bit is one.
pub(super) fn keeps_modes(repository: &gix::Repository) -> bool {
    repository.config_snapshot().boolean("core.fileMode").unwrap_or(true)
}

/// What is on disk where a file should be.
enum Place {
    Free,
    /// A file, a link, or what is neither that nor a directory.
    File,
    Directory,
    /// This, which should be a directory, is none.
    Behind(BString),
}

impl Place {
    fn of(repository: &gix::Repository, path: &BStr) -> Place {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let part = path[..end].as_bstr();
            let found = repository.workdir_path(part).and_then(|file| file.symlink_metadata().ok());
            match found {
                None => return Place::Free,
                Some(found) if found.is_dir() => {}
                Some(_) if end == path.len() => return Place::File,
                Some(_) => return Place::Behind(part.to_owned()),
            }
        }
        Place::Directory
    }
}

/// Looks at a file of a worktree; what lies behind a link is none.
pub(super) fn on_disk(repository: &gix::Repository, path: &BStr) -> Option<std::fs::Metadata> {
    match Place::of(repository, path) {
        Place::File | Place::Directory => repository.workdir_path(path)?.symlink_metadata().ok(),
        Place::Free | Place::Behind(_) => None,
    }
}
