//! What to do about one wish for a worktree, given what is there: make it, return it, or say what is in the way.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::error::{ApiError, Code};
use crate::model::{PullRequest, Setup, Timestamp};

/// A worktree as somebody wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Want {
    /// What it shall have checked out.
    pub head: Head,
    /// The base as it was asked for; none for the repository's main branch.
    pub asked: Option<String>,
    /// The base as it was found.
    pub base: Result<Base, ApiError>,
    /// The directory's name, where the caller chose one.
    pub slug: Option<String>,
    /// Whether its own hooks, settings and servers may run.
    pub trusted: bool,
    /// A port that nobody uses, to be kept for it.
    pub port: Option<i64>,
}

/// What a worktree shall have checked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// A new branch that starts from the base.
    New {
        /// The branch, by the name that it shall have.
        branch: String,
    },
    /// A branch that is there.
    Branch {
        /// The branch.
        branch: String,
        /// The commit that it is now.
        commit: String,
    },
    /// A branch of a remote: a local one of the same name is made, unless it is there and the same.
    Remote {
        /// The local branch.
        branch: String,
        /// The commit of the remote's branch.
        commit: String,
        /// Where the branch comes from.
        upstream: Upstream,
    },
    /// The head of a pull request.
    PullRequest {
        /// The pull request.
        pull_request: PullRequest,
        /// The local branch that is made for it.
        branch: String,
        /// The commit that it has now.
        commit: String,
        /// Where it comes from, and what is pushed goes.
        upstream: Upstream,
    },
    /// A tag or a commit, without a branch.
    Detached {
        /// The commit.
        commit: String,
    },
}

impl Head {
    /// Returns the branch that it is on.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        match self {
            Head::New { branch }
            | Head::Branch { branch, .. }
            | Head::Remote { branch, .. }
            | Head::PullRequest { branch, .. } => Some(branch),
            Head::Detached { .. } => None,
        }
    }

    /// Returns the field of a request that names it.
    fn field(&self) -> &'static str {
        match self {
            Head::New { .. } => "branchName",
            Head::Branch { .. } | Head::Remote { .. } | Head::Detached { .. } => "refName",
            Head::PullRequest { .. } => "githubPrNumber",
        }
    }

    fn commit(&self) -> Option<&str> {
        match self {
            Head::New { .. } => None,
            Head::Branch { commit, .. }
            | Head::Remote { commit, .. }
            | Head::PullRequest { commit, .. }
            | Head::Detached { commit } => Some(commit),
        }
    }
}

/// Where a branch comes from, and what is pushed from it goes: what git calls its upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// The remote: its name, or an address.
    pub remote: String,
    /// The reference there, in full.
    pub reference: String,
}

/// What a branch starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// What people call it: `main`, `origin/main`, `v1.0`, or a commit.
    pub name: String,
    /// The reference in full; none for a commit.
    pub reference: Option<String>,
    /// The commit that it is now.
    pub commit: String,
    /// What that commit's `paseo.json` asks for: no setup, one that waits, or one that cannot be read.
    pub setup: Setup,
}

/// What paseo knows of a worktree that it made; kept in the worktree's own git directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// The name of its directory.
    pub slug: String,
    /// The branch that it was made with; none when its head was detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Whether that branch was made for it, and goes with it.
    #[serde(default = "yes")]
    pub branch_made: bool,
    /// What the branch came from, as people call it.
    pub base: String,
    /// The base's reference in full; none for a commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_ref: Option<String>,
    /// The commit of the base then: its `paseo.json` says which hooks there are.
    pub base_commit: String,
    /// Whether the caller named the base; otherwise it was the repository's main branch.
    #[serde(default)]
    pub base_asked: bool,
    /// The commit that was checked out first, where it was not the base's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_commit: Option<String>,
    /// The pull request that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequest>,
    /// Where the branch comes from, if it was made with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream>,
    /// When it was asked for. With the slug it tells this worktree from every other that had the same name.
    pub created_at: Timestamp,
    /// Whether its own hooks, settings and servers may run.
    pub trusted: bool,
    /// A port that is kept for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i64>,
    /// What the base's `paseo.json` asked for.
    #[serde(default)]
    pub setup: Setup,
}

impl Note {
    /// Returns the commit that was checked out first.
    #[must_use]
    pub fn start(&self) -> &str {
        self.head_commit.as_deref().unwrap_or(&self.base_commit)
    }
}

fn yes() -> bool {
    true
}

/// What is there, as far as it matters to a wish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// Every worktree of the repository, the main checkout among them.
    pub trees: Vec<Tree>,
    /// Directory names that are in use.
    pub taken: BTreeSet<String>,
    /// What is there under the branch's name.
    pub branch: Branch,
}

/// One worktree that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Where it is.
    pub path: String,
    /// The branch checked out in it.
    pub branch: Option<String>,
    /// Which kind it is.
    pub kind: Kind,
}

/// Which kind of worktree it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one for each worktree, and most are the large one")]
pub enum Kind {
    /// The main checkout.
    Main,
    /// One that somebody else made.
    Foreign,
    /// One that paseo made.
    Ours(Note),
    /// One whose directory is gone.
    Missing,
}

/// What is there under a branch's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Branch {
    /// Nothing.
    #[default]
    Free,
    /// A branch, at this commit.
    There(String),
    /// A branch with a name that leaves no room for this one, as `fix` does for `fix/foo`.
    Blocked(String),
}

/// What to do about a wish.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// Make this one.
    Make(Note),
    /// It is there already.
    Return(Note),
    /// It cannot be had.
    Refuse(ApiError),
}

/// Chooses what to do about a wish.
#[must_use]
pub fn choose(now: Timestamp, want: Want, sight: &Sight) -> Choice {
    if let Some(found) = there_already(&want, sight) {
        return found;
    }
    let branch_made = match make_branch(&want.head, sight) {
        Ok(made) => made,
        Err(conflict) => return Choice::Refuse(conflict.into()),
    };
    let slug = match (&want.slug, &want.base) {
        (Some(slug), _) if sight.taken.contains(slug) => return Choice::Refuse(Conflict::Slug { slug }.into()),
        (Some(slug), _) => slug.clone(),
        (None, base) => {
            let name = want.head.branch().or(base.as_ref().ok().map(|base| base.name.as_str())).unwrap_or_default();
            // A commit is known by its beginning.
            let name = if want.head.branch().is_none() && Some(name) == want.head.commit() {
                name.get(..12).unwrap_or(name)
            } else {
                name
            };
            free_slug(&slug_of(name), &sight.taken)
        }
    };
    let base = match want.base {
        Ok(base) => base,
        Err(error) => return Choice::Refuse(error),
    };
    let (pull_request, upstream) = match &want.head {
        Head::PullRequest { pull_request, upstream, .. } => (Some(pull_request.clone()), Some(upstream.clone())),
        Head::Remote { upstream, .. } => (None, Some(upstream.clone())),
        _ => (None, None),
    };
    Choice::Make(Note {
        slug,
        branch: want.head.branch().map(str::to_owned),
        branch_made,
        base: base.name,
        base_ref: base.reference,
        base_asked: want.asked.is_some(),
        head_commit: want.head.commit().filter(|commit| *commit != base.commit).map(str::to_owned),
        base_commit: base.commit,
        pull_request,
        upstream,
        created_at: now,
        trusted: want.trusted,
        port: want.port,
        setup: base.setup,
    })
}

/// Returns what to do when the branch, or the commit without one, is checked out in a worktree already.
fn there_already(want: &Want, sight: &Sight) -> Option<Choice> {
    let Some(branch) = want.head.branch() else {
        let same = |note: &Note| {
            note.branch.is_none()
                && Some(note.start()) == want.head.commit()
                && want.slug.as_ref().is_none_or(|slug| *slug == note.slug)
        };
        let found = sight.trees.iter().find_map(|tree| match &tree.kind {
            Kind::Ours(note) if tree.branch.is_none() && same(note) => Some(note.clone()),
            _ => None,
        });
        return found.map(Choice::Return);
    };
    if let Head::PullRequest { pull_request, .. } = &want.head {
        // Whatever its branch was called: that depends on whether anybody knew the name of its head then.
        let found = sight.trees.iter().find_map(|tree| match &tree.kind {
            Kind::Ours(note) if tree.branch == note.branch => {
                Some(note).filter(|note| note.pull_request.as_ref().is_some_and(|of| of.number == pull_request.number))
            }
            _ => None,
        });
        if let Some(note) = found {
            return Some(Choice::Return(note.clone()));
        }
    }
    let tree = sight.trees.iter().find(|tree| tree.branch.as_deref() == Some(branch))?;
    let note = match &tree.kind {
        Kind::Ours(note) if note.branch.as_deref() == Some(branch) => note,
        _ => return Some(Choice::Refuse(Conflict::CheckedOut { head: &want.head, branch, tree }.into())),
    };
    Some(match &want.head {
        Head::New { .. } if agrees(want, note) => Choice::Return(note.clone()),
        Head::New { .. } => {
            let found = want.base.as_ref().ok().map(|base| base.name.clone());
            let asked = want.asked.clone().or(found).unwrap_or_default();
            Choice::Refuse(Conflict::OtherBase { path: &tree.path, note, asked }.into())
        }
        Head::PullRequest { pull_request, .. }
            if note.pull_request.as_ref().map(|known| known.number) != Some(pull_request.number) =>
        {
            Choice::Refuse(Conflict::CheckedOut { head: &want.head, branch, tree }.into())
        }
        _ => Choice::Return(note.clone()),
    })
}

/// Says whether the branch is to be made; if not, it is there.
fn make_branch<'a>(head: &'a Head, sight: &'a Sight) -> Result<bool, Conflict<'a>> {
    let Some(branch) = head.branch() else { return Ok(false) };
    match (&sight.branch, head) {
        (Branch::Free, _) => Ok(true),
        (Branch::Blocked(by), _) => Err(Conflict::Blocked { head, branch, by }),
        (Branch::There(_), Head::New { .. }) => {
            let ours = |tree: &&Tree| matches!(&tree.kind, Kind::Ours(note) if note.branch.as_deref() == Some(branch));
            Err(Conflict::Branch { branch, left: sight.trees.iter().find(ours) })
        }
        (Branch::There(_), Head::Branch { .. } | Head::Detached { .. }) => Ok(false),
        (Branch::There(there), Head::Remote { commit, .. } | Head::PullRequest { commit, .. }) => {
            if there == commit {
                Ok(false)
            } else {
                Err(Conflict::Differs { branch, head })
            }
        }
    }
}

/// Whether a wish means the base that a worktree came from.
fn agrees(want: &Want, note: &Note) -> bool {
    let found = want.base.as_ref().is_ok_and(|base| base.name == note.base);
    match &want.asked {
        Some(asked) => found || *asked == note.base,
        // Who leaves it to paseo twice means the same twice, even when the main branch has another name by now.
        None => found || !note.base_asked,
    }
}

/// What is in the way of a new branch with a worktree.
enum Conflict<'a> {
    OtherBase { path: &'a str, note: &'a Note, asked: String },
    CheckedOut { head: &'a Head, branch: &'a str, tree: &'a Tree },
    Branch { branch: &'a str, left: Option<&'a Tree> },
    Differs { branch: &'a str, head: &'a Head },
    Blocked { head: &'a Head, branch: &'a str, by: &'a str },
    Slug { slug: &'a str },
}

impl From<Conflict<'_>> for ApiError {
    fn from(conflict: Conflict<'_>) -> ApiError {
        let error = |message: String, details| ApiError::new(Code::Conflict, message).details(details);
        match conflict {
            Conflict::OtherBase { path, note, asked } => error(
                format!(
                    "branch `{}` has a worktree at {path} that came from `{}`, not `{asked}`",
                    note.branch.as_deref().unwrap_or_default(),
                    note.base
                ),
                serde_json::json!({
                    "field": "baseBranch", "worktreePath": path, "worktreeSlug": note.slug, "baseBranch": note.base
                }),
            )
            .hint(format!("give `\"baseBranch\": \"{}\"` to have that one, or another `branchName`", note.base)),
            Conflict::CheckedOut { head, branch, tree } => {
                let details = serde_json::json!({ "field": head.field(), "worktreePath": tree.path });
                let instead = match head {
                    Head::New { .. } => "give another `branchName`".to_owned(),
                    _ => format!("have a new branch from it: `\"action\": \"branch-off\", \"baseBranch\": \"{branch}\"`"),
                };
                match tree.kind {
                    Kind::Main => error(
                        format!("branch `{branch}` is checked out in the main checkout, {}", tree.path),
                        details,
                    )
                    .hint(format!("{instead}, or switch the main checkout to another branch")),
                    Kind::Missing => error(
                        format!("branch `{branch}` belongs to a worktree whose directory is gone, {}", tree.path),
                        details,
                    )
                    .hint("`git worktree prune` forgets it; the branch stays"),
                    Kind::Foreign | Kind::Ours(_) => error(
                        format!("branch `{branch}` is checked out in another worktree, {}", tree.path),
                        details,
                    )
                    .hint(format!("work there, or {instead}")),
                }
            }
            Conflict::Branch { branch, left } => {
                let (what, at) = match left {
                    Some(tree) => {
                        let now = tree.branch.as_deref().unwrap_or("a detached head");
                        (format!("; the worktree made for it, {}, has {now} checked out", tree.path), Some(&tree.path))
                    }
                    None => (", without a worktree".to_owned(), None),
                };
                error(
                    format!("branch `{branch}` exists already{what}"),
                    serde_json::json!({ "field": "branchName", "worktreePath": at }),
                )
                .hint(format!("give another `branchName`; `git log {branch}` shows what that one holds"))
            }
            Conflict::Differs { branch, head } => {
                let what = match head {
                    Head::PullRequest { pull_request, .. } => {
                        format!("the head of pull request {}", pull_request.number)
                    }
                    Head::Remote { upstream, .. } => format!("that of `{}`", upstream.remote),
                    _ => "what was asked for".to_owned(),
                };
                error(
                    format!("branch `{branch}` exists already and is not {what}"),
                    serde_json::json!({ "field": head.field(), "branch": branch }),
                )
                .hint(match head {
                    // Whatever is on a branch of that name, it is not what was asked for.
                    Head::PullRequest { .. } => format!("rename that one: `git branch -m {branch} …`"),
                    _ => format!(
                        "{{\"action\": \"checkout\", \"refName\": \"{branch}\"}} gives the one that is there; or rename it: `git branch -m {branch} …`"
                    ),
                })
            }
            Conflict::Blocked { head, branch, by } => error(
                format!("branch `{by}` leaves no room for `{branch}`: git keeps one as a file where the other needs a directory"),
                serde_json::json!({ "field": head.field(), "branch": by }),
            )
            .hint(match head {
                Head::New { .. } => "give another `branchName`".to_owned(),
                _ => format!("rename that one: `git branch -m {by} …`"),
            }),
            Conflict::Slug { slug } => error(
                format!("worktreeSlug: `{slug}` is taken"),
                serde_json::json!({ "field": "worktreeSlug" }),
            )
            .hint("give another one, or leave it out to have one made from the branch's name"),
        }
    }
}

/// Returns the directory name that a branch's name becomes: lower case, letters, digits and `-`, at most 50.
#[must_use]
pub fn slug_of(branch: &str) -> String {
    let mut slug = String::new();
    for c in branch.chars() {
        if slug.len() == LONGEST_SLUG {
            break;
        }
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => slug.push(c),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    let slug = slug.trim_end_matches('-');
    // A name without a single letter or digit of ASCII.
    if slug.is_empty() { "worktree".to_owned() } else { slug.to_owned() }
}

/// Checks a directory name that a caller chose.
///
/// # Errors
///
/// `invalid_argument` unless it is what `slug_of` makes.
pub fn check_slug(slug: &str) -> Result<(), ApiError> {
    let fits = slug_of(slug);
    match fits == slug {
        true => Ok(()),
        false => Err(ApiError::invalid(
            "worktreeSlug",
            format!(
                "`{}` is not a directory name for a worktree",
                slug.chars().take(80).collect::<String>().escape_debug()
            ),
        )
        .hint(format!("give lower case letters, digits and single `-`, at most {LONGEST_SLUG}, for example `{fits}`"))),
    }
}

/// Returns the slug, with a number behind it when it is taken.
pub(super) fn free_slug(slug: &str, taken: &BTreeSet<String>) -> String {
    if !taken.contains(slug) {
        return slug.to_owned();
    }
    (2u64..)
        .map(|number| {
            let suffix = format!("-{number}");
            let room = slug.len().min(LONGEST_SLUG - suffix.len());
            format!("{}{suffix}", slug[..room].trim_end_matches('-'))
        })
        .find(|candidate| !taken.contains(candidate))
        .expect("there are more numbers than directories")
}

const LONGEST_SLUG: usize = 50;
