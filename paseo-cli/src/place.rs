//! Which directories are this repository: its main checkout and all its worktrees.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the directories that belong together with `directory`: of a repository all its checkouts, else only itself.
pub(crate) fn together(directory: &Path) -> Vec<PathBuf> {
    let found = directory.ancestors().find_map(|root| git_directory(root).map(|git| (root.to_owned(), git)));
    let Some((root, git)) = found else { return vec![directory.to_owned()] };
    // A worktree's own git directory names the one that all of them share.
    let common = fs::read_to_string(git.join("commondir")).ok().map(|path| git.join(path.trim_end()));
    let common = common.and_then(|path| path.canonicalize().ok()).unwrap_or(git);
    let mut roots = vec![root];
    if common.file_name().is_some_and(|name| name == ".git") {
        roots.extend(common.parent().map(Path::to_owned));
    }
    for entry in fs::read_dir(common.join("worktrees")).into_iter().flatten().flatten() {
        let link = fs::read_to_string(entry.path().join("gitdir")).unwrap_or_default();
        roots.extend(Path::new(link.trim_end()).parent().filter(|path| path.is_absolute()).map(Path::to_owned));
    }
    roots.sort();
    roots.dedup();
    roots
}

/// Returns whether a path is one of the directories or below one.
pub(crate) fn is_within(path: &str, roots: &[PathBuf]) -> bool {
    roots.iter().any(|root| Path::new(path).starts_with(root))
}

fn git_directory(root: &Path) -> Option<PathBuf> {
    let git = root.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let text = fs::read_to_string(&git).ok()?;
    Some(root.join(text.strip_prefix("gitdir:")?.trim()))
}
