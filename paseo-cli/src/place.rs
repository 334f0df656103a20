//! Which directory stands for all of a repository: its main checkout.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the main checkout of the repository around `directory`, or the repository itself when it is bare; outside of
/// repositories, `directory`.
pub(crate) fn whole(directory: &Path) -> PathBuf {
    let Some((root, git)) = directory.ancestors().find_map(|root| Some((root, git_directory(root)?))) else {
        return directory.to_owned();
    };
    // Only a worktree's own git directory names the one that all of them share.
    let Ok(common) = fs::read_to_string(git.join("commondir")) else { return root.to_owned() };
    match git.join(common.trim_end()).canonicalize() {
        Ok(common) if common.file_name().is_some_and(|name| name == ".git") => {
            common.parent().unwrap_or(root).to_owned()
        }
        Ok(common) => common,
        Err(_) => root.to_owned(),
    }
}

fn git_directory(root: &Path) -> Option<PathBuf> {
    let git = root.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let text = fs::read_to_string(&git).ok()?;
    Some(root.join(text.strip_prefix("gitdir:")?.trim()))
}
