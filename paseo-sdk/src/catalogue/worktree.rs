//! Operations on worktrees.

use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::model::{AgentId, ListedWorktree, Setup};

/// Makes a worktree of a repository: a new branch from a base (`branch-off`), an existing ref (`checkout`), or a pull
/// request. Asked again for what is there, it returns that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateWorktree {
    /// `branch-off` or `checkout`; left out for a pull request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<WorktreeAction>,
    /// With `branch-off`: the name of the new branch, used as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch_name: Option<String>,
    /// With `branch-off`: what to start from. Default: the repository's main branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_branch: Option<String>,
    /// With `checkout`: a branch, a remote branch, a tag or a commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ref_name: Option<String>,
    /// The number of a pull request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub github_pr_number: Option<i64>,
    /// A directory of the repository, an absolute path. Default: that of the calling agent; without one it is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The name of the worktree's directory. Default: made from the branch's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree_slug: Option<String>,
    /// Fetch first: the base, or what is to be checked out.
    #[serde(default)]
    pub fetch: bool,
    /// Answer only when the repository's setup has run; default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for_setup: Option<bool>,
    /// Trust a pull request, or what comes from one that is not trusted: run its hooks and settings.
    #[serde(default)]
    pub trust: bool,
}

impl CreateWorktree {
    /// Asks for a new branch that starts from `base`.
    #[must_use]
    pub fn branch_off(branch: impl Into<String>, base: impl Into<String>) -> CreateWorktree {
        CreateWorktree {
            action: Some(WorktreeAction::BranchOff),
            branch_name: Some(branch.into()),
            base_branch: Some(base.into()),
            ..CreateWorktree::default()
        }
    }

    /// Sets a directory of the repository, an absolute path.
    #[must_use]
    pub fn cwd(self, cwd: impl Into<String>) -> CreateWorktree {
        CreateWorktree { cwd: Some(cwd.into()), ..self }
    }

    /// Reads which of the three ways is asked for.
    ///
    /// # Errors
    ///
    /// `invalid_argument` when it is none or more than one of them.
    pub fn source(&self) -> Result<WorktreeSource, ApiError> {
        let only = |field: &'static str, present: bool, with: &str| match present {
            true => Err(ApiError::invalid(field, format!("goes only with {with}"))),
            false => Ok(()),
        };
        let needed = |field: &'static str, value: &Option<String>, with: &str| {
            value
                .clone()
                .filter(|text| !text.is_empty())
                .ok_or_else(|| ApiError::invalid(field, format!("is needed with {with}")))
        };
        match (self.action, self.github_pr_number) {
            (Some(WorktreeAction::BranchOff), None) => {
                only("refName", self.ref_name.is_some(), "`\"action\": \"checkout\"`")?;
                let branch = needed("branchName", &self.branch_name, "`\"action\": \"branch-off\"`")?;
                Ok(WorktreeSource::BranchOff { branch, base: self.base_branch.clone() })
            }
            (Some(WorktreeAction::Checkout), None) => {
                only("branchName", self.branch_name.is_some(), "`\"action\": \"branch-off\"`")?;
                only("baseBranch", self.base_branch.is_some(), "`\"action\": \"branch-off\"`")?;
                let ref_name = needed("refName", &self.ref_name, "`\"action\": \"checkout\"`")?;
                Ok(WorktreeSource::Checkout { ref_name })
            }
            (None, Some(number)) => {
                only("branchName", self.branch_name.is_some(), "`\"action\": \"branch-off\"`")?;
                only("baseBranch", self.base_branch.is_some(), "`\"action\": \"branch-off\"`")?;
                only("refName", self.ref_name.is_some(), "`\"action\": \"checkout\"`")?;
                match number {
                    1.. => Ok(WorktreeSource::PullRequest { number }),
                    _ => Err(ApiError::invalid("githubPrNumber", "must be 1 or more")),
                }
            }
            (Some(_), Some(_)) => Err(ApiError::invalid("action", "goes without `githubPrNumber`: give one of them")),
            (None, None) => Err(ApiError::invalid("action", "is needed, or `githubPrNumber`")
                .hint("give {\"action\": \"branch-off\", \"branchName\": \"fix/foo\"}")),
        }
    }
}

/// The two ways to make a worktree that are not a pull request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum WorktreeAction {
    /// A new branch from a base.
    BranchOff,
    /// An existing ref.
    Checkout,
}

/// What a worktree is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorktreeSource {
    /// A new branch.
    BranchOff {
        /// Its name.
        branch: String,
        /// What it starts from; none for the repository's main branch.
        base: Option<String>,
    },
    /// An existing ref.
    Checkout {
        /// A branch, a remote branch, a tag or a commit.
        ref_name: String,
    },
    /// A pull request.
    PullRequest {
        /// Its number.
        number: i64,
    },
}

/// Lists the worktrees of a repository, as they are on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListWorktrees {
    /// A directory of the repository, an absolute path. Default: that of the calling agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Every repository in which paseo made a worktree.
    #[serde(default)]
    pub all: bool,
}

/// Worktrees, by repository and path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Worktrees {
    /// The worktrees, the main checkout left out.
    pub worktrees: Vec<ListedWorktree>,
}

/// Archives a worktree: archives the agents in it, runs the repository's teardown, and removes the worktree and the
/// branch that was made for it. What no other branch or remote has is kept, and `restore_worktree` brings all of it back;
/// ignored files are not kept. Refuses while an agent works in it or there are uncommitted or untracked files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArchiveWorktree {
    /// Where it is. This or `worktreeSlug`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree_path: Option<String>,
    /// The name of its directory, in the repository of `cwd`. This or `worktreePath`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree_slug: Option<String>,
    /// With `worktreeSlug`: a directory of the repository, an absolute path. Default: that of the calling agent; without
    /// one, the only repository with a worktree of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Keep uncommitted and untracked files with it, and end the agents that work in it. Not for agents.
    #[serde(default)]
    pub force: bool,
    /// Leave its branch where it is.
    #[serde(default)]
    pub keep_branch: bool,
    /// Do not run the repository's teardown, for one that fails.
    #[serde(default)]
    pub skip_teardown: bool,
}

/// What was archived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ArchivedWorktree {
    /// Where it was.
    pub worktree_path: String,
    /// The name of its directory, by which it is restored.
    pub worktree_slug: String,
    /// The branch that it was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch_name: Option<String>,
    /// Whether that branch was removed too. One that was there before the worktree stays.
    pub branch_removed: bool,
    /// The reference that keeps it in the repository, `refs/paseo/archive/<slug>`.
    pub archive_ref: String,
    /// Commits that only this reference keeps: no other branch, tag or remote has them.
    pub kept_commits: i64,
    /// Uncommitted and untracked files that it keeps.
    pub kept_files: i64,
    /// The agents that were archived with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<AgentId>,
    /// How the teardown went.
    #[serde(default)]
    pub teardown: Setup,
    /// What could not be removed yet; it is tried again at the next use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Brings back a worktree that was archived, with its branch, its commits and the files that were kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestoreWorktree {
    /// The name of its directory. Of several that were archived under one name, the newest comes back.
    pub worktree_slug: String,
    /// A directory of the repository, an absolute path. Default: that of the calling agent; without one it is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Answer only when the repository's setup has run; default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for_setup: Option<bool>,
}

/// Trusts the worktree of a pull request: its setup runs, and agents that start there from now on use the project's own
/// settings, hooks and servers. Not for agents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustWorktree {
    /// Where it is. This or `worktreeSlug`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree_path: Option<String>,
    /// The name of its directory, in the repository of `cwd`. This or `worktreePath`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree_slug: Option<String>,
    /// With `worktreeSlug`: a directory of the repository, an absolute path. Without one, the only repository with a
    /// worktree of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Answer only when the repository's setup has run; default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for_setup: Option<bool>,
}
