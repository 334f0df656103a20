//! What paseo writes down about a worktree: the note in the worktree's own git directory, and the mark of one that is being
//! made or removed, beside the worktrees.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use paseo_sdk::error::ApiError;
use paseo_sdk::machine::worktree::{Note, Removal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::files::{failed, names, remove_file};
use super::site::{MARK_PREFIX, Site, internal};
use crate::store;

/// A mark: the worktree, and how far it is on its way out.
#[derive(Serialize, Deserialize)]
pub(super) struct Mark {
    #[serde(flatten)]
    pub(super) note: Note,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) going: Option<Going>,
    /// The git directory of the repository, by which a daemon that starts finds what another one has left.
    #[serde(default)]
    pub(super) repository: Option<PathBuf>,
}

/// How a worktree goes that is archived.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Going {
    pub(super) keep_branch: bool,
    /// Whether what it holds is put away.
    pub(super) put_away: bool,
}

impl Mark {
    pub(super) fn of(note: &Note) -> Mark {
        Mark { note: note.clone(), going: None, repository: None }
    }

    pub(super) fn going(removal: &Removal, put_away: bool) -> Mark {
        let going = Going { keep_branch: removal.keep_branch, put_away };
        Mark { note: removal.note.clone(), going: Some(going), repository: None }
    }

    pub(super) fn write(self, site: &Site) -> Result<(), ApiError> {
        let mark = Mark { repository: Some(site.common_dir.clone()), ..self };
        write(&site.mark(&mark.note.slug), &mark)
    }
}

/// Reads what paseo knows of the worktree with this git directory; none when paseo did not make it.
pub(super) fn read_note(git_dir: &Path) -> Result<Option<Note>, ApiError> {
    read(&git_dir.join(NOTE))
}

/// Writes what paseo knows of the worktree with this git directory.
pub(super) fn write_note(git_dir: &Path, note: &Note) -> Result<(), ApiError> {
    write(&git_dir.join(NOTE), note)
}

/// Removes the note of the worktree with this git directory.
pub(super) fn remove_note(git_dir: &Path) -> Result<(), ApiError> {
    remove_file(&git_dir.join(NOTE))
}

/// Reads the marks of worktrees that were begun and are not finished, or are on their way out.
pub(super) fn read_marks(directory: &Path) -> Result<Vec<Mark>, ApiError> {
    let mut marks = Vec::new();
    for name in names(directory)? {
        let Some(slug) = name.strip_prefix(MARK_PREFIX).and_then(|rest| rest.strip_suffix(".json")) else { continue };
        match read::<Mark>(&directory.join(&name)) {
            // A mark that was moved here from elsewhere speaks of nothing that is here.
            Ok(Some(mark)) if mark.note.slug == slug => marks.push(mark),
            Ok(_) => tracing::warn!("{name} in {} is not the mark of a worktree", directory.display()),
            Err(error) => tracing::warn!("{error}"),
        }
    }
    Ok(marks)
}

/// Removes marks that were cut short while they were written: they speak of nothing yet.
pub(super) fn remove_torn_marks(site: &Site) -> Result<(), ApiError> {
    for name in names(&site.directory)?.iter().filter(|name| name.starts_with(MARK_PREFIX) && name.ends_with(".new")) {
        remove_file(&site.directory.join(name))?;
        let _ = std::fs::remove_dir(&site.directory);
    }
    Ok(())
}

/// Removes the mark of a worktree, and the directory when that held nothing else.
pub(super) fn unmark(site: &Site, note: &Note) -> Result<(), ApiError> {
    remove_file(&site.mark(&note.slug))?;
    let _ = std::fs::remove_dir(&site.directory);
    Ok(())
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ApiError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| internal(&format!("cannot understand {}", path.display()), &error)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path, &error)),
    }
}

/// Writes a file so that it is there as a whole or not at all.
fn write(path: &Path, content: &impl Serialize) -> Result<(), ApiError> {
    let write = || -> std::io::Result<()> {
        let directory = path.parent().ok_or(ErrorKind::InvalidInput)?;
        std::fs::create_dir_all(directory)?;
        store::replace(path, content)
    };
    write().map_err(|error| failed("write", path, &error))
}

/// The file with what paseo knows, in the worktree's own git directory.
pub(super) const NOTE: &str = "paseo.json";
