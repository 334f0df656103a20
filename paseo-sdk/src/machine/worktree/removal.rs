//! What it takes to archive a worktree and to bring it back: what is in the way, what is kept, what comes back as what.

use serde::{Deserialize, Serialize};

use super::choice::{Branch, Note, Sight, free_slug};
use crate::error::{ApiError, Code};

/// A worktree that is to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removal {
    /// The worktree.
    pub note: Note,
    /// Whether its branch stays.
    #[serde(default)]
    pub keep_branch: bool,
}

/// How a worktree is that somebody wants to archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The worktree.
    pub note: Note,
    /// Where it is.
    pub path: String,
    /// Uncommitted and untracked files, in the words of `git status --short`; not more than some.
    pub changes: Vec<String>,
    /// How many there are.
    pub changed: i64,
    /// What is under way in it: a rebase, a merge.
    pub operation: Option<String>,
    /// Repositories within it that hold what cannot be put away: one sentence each.
    pub repositories: Vec<String>,
    /// Why somebody locked it, if somebody did.
    pub locked: Option<String>,
}

impl Inspection {
    /// Returns why the worktree cannot go now. `at_work` says what runs there, a few words each: only force ends that.
    #[must_use]
    pub fn objection(&self, force: bool, at_work: &[String]) -> Option<ApiError> {
        let refused = |why: String, hint: String, mut details: serde_json::Value| {
            details["worktreePath"] = self.path.clone().into();
            Some(
                ApiError::new(Code::Refused, format!("the worktree {} stays: {why}", self.path))
                    .hint(hint)
                    .details(details),
            )
        };
        if let Some(reason) = &self.locked {
            let said = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
            let hint = format!("`git worktree unlock {}`, then again", self.path);
            return refused(format!("somebody locked it{said}"), hint, serde_json::json!({}));
        }
        if !self.repositories.is_empty() {
            let why =
                format!("what other repositories in it hold cannot be put away: {}", self.repositories.join("; "));
            let hint = "push from there or move them elsewhere, then again".to_owned();
            return refused(why, hint, serde_json::json!({ "repositories": self.repositories }));
        }
        if force {
            return None;
        }
        let mut reasons = at_work.to_vec();
        reasons.extend(self.operation.iter().map(|operation| format!("{operation} is under way")));
        if self.changed > 0 {
            let shown: Vec<_> = self.changes.iter().take(SHOWN).map(String::as_str).collect();
            let more = self.changed - i64::try_from(shown.len()).unwrap_or(i64::MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            reasons.push(format!("it has uncommitted or untracked files: {}{more}", shown.join(", ")));
        }
        let hint = match (self.changed > 0 || self.operation.is_some(), at_work.is_empty()) {
            (false, true) => return None,
            (true, true) => {
                "commit them, or give `force` (`--force`): files are put away then, and restoring brings them back"
            }
            (true, false) => {
                "wait and commit, or give `force` (`--force`): what runs is ended then, and files are put away"
            }
            (false, false) => "wait for that, or give `force` (`--force`) to end it",
        };
        let details = serde_json::json!({
            "files": self.changes, "count": self.changed, "operation": self.operation, "atWork": at_work
        });
        refused(reasons.join("; "), hint.to_owned(), details)
    }
}

/// What was put away of a worktree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    /// The worktree.
    pub note: Note,
    /// The reference that keeps it.
    pub reference: String,
    /// The commit that it keeps.
    pub commit: String,
    /// Commits of it that no other branch, tag or remote has.
    pub kept_commits: i64,
    /// Uncommitted and untracked files that are kept.
    pub kept_files: i64,
    /// Whether its branch went too.
    pub branch_removed: bool,
    /// What could not be removed and is tried again at the next use.
    pub problem: Option<String>,
}

/// A worktree that was put away, as it comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recalled {
    /// The worktree, as its note was.
    pub note: Note,
    /// The commit that keeps it.
    pub commit: String,
    /// The branch that it had checked out; none when its head was detached.
    pub head_branch: Option<String>,
    /// The commit that it had checked out.
    pub head_commit: String,
    /// Where the branch was that was made for it, if that went with it.
    pub branch_tip: Option<String>,
    /// Where the branches are now.
    pub branches: Vec<(String, Branch)>,
}

impl Recalled {
    /// Returns the note with which the worktree comes back, unless something is in the way.
    ///
    /// # Errors
    ///
    /// `conflict` when its place or a branch of it is somebody else's by now.
    pub fn comes_back(&self, sight: &Sight, port: Option<i64>) -> Result<Note, ApiError> {
        let slug = &self.note.slug;
        let conflict = |message: String, hint: String, details: serde_json::Value| {
            Err(ApiError::new(Code::Conflict, format!("worktree `{slug}` cannot come back: {message}"))
                .hint(hint)
                .details(details))
        };
        let own = self.note.branch.as_ref().zip(self.branch_tip.as_ref());
        let had = self.head_branch.as_ref().map(|branch| (branch, &self.head_commit));
        for (branch, tip) in own.into_iter().chain(had) {
            let elsewhere = sight.trees.iter().find(|tree| tree.branch.as_ref() == Some(branch));
            if let Some(tree) = elsewhere.filter(|_| self.head_branch.as_ref() == Some(branch)) {
                return conflict(
                    format!("branch `{branch}` is checked out in {}", tree.path),
                    "switch that to another branch, then again".to_owned(),
                    serde_json::json!({ "branch": branch, "worktreePath": tree.path }),
                );
            }
            match self.branches.iter().find(|(name, _)| name == branch).map(|(_, there)| there) {
                Some(Branch::There(at)) if at != tip => {
                    return conflict(
                        format!("branch `{branch}` is there and at another commit"),
                        format!("rename that one: `git branch -m {branch} …`, then again"),
                        serde_json::json!({ "branch": branch, "commit": at }),
                    );
                }
                Some(Branch::Free) | None if self.note.branch.as_ref() != Some(branch) => {
                    return conflict(
                        format!("branch `{branch}`, which it had checked out, is gone"),
                        format!("bring that back: `git branch {branch} {tip}`, then again"),
                        serde_json::json!({ "branch": branch, "commit": tip }),
                    );
                }
                Some(Branch::Blocked(by)) => {
                    return conflict(
                        format!("branch `{by}` leaves no room for `{branch}`"),
                        format!("rename that one: `git branch -m {by} …`, then again"),
                        serde_json::json!({ "branch": by }),
                    );
                }
                _ => {}
            }
        }
        let is_there = |branch: &String| {
            self.branches.iter().any(|(name, there)| name == branch && matches!(there, Branch::There(_)))
        };
        let gone = |branch: &String| {
            (self.branch_tip.is_some() || self.head_branch.as_ref() == Some(branch)) && !is_there(branch)
        };
        Ok(Note {
            // Its name may be another one's by now.
            slug: free_slug(slug, &sight.taken),
            // One that is there is somebody's by now, and stays when the worktree goes again.
            branch_made: self.note.branch.as_ref().is_some_and(gone),
            head_commit: Some(self.branch_tip.as_ref().unwrap_or(&self.head_commit).clone()),
            port: port.or(self.note.port),
            ..self.note.clone()
        })
    }
}

/// How many files a refusal names; its details have more.
const SHOWN: usize = 5;
