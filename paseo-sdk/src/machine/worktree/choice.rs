//! What to do about one wish for a worktree, given what is there: make it, return it, or say what is in the way.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::error::{ApiError, Code};
use crate::model::{Setup, Timestamp};

/// A new branch with a worktree of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Want {
    /// The branch, by the name that it shall have.
    pub branch: String,
    /// The base as it was asked for; none for the repository's main branch.
    pub asked: Option<String>,
    /// The base as it was found.
    pub base: Result<Base, ApiError>,
    /// The directory's name, where the caller chose one.
    pub slug: Option<String>,
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
    /// What that commit's `paseo.json` asks for.
    pub setup: Setup,
}

/// What paseo knows of a worktree that it made; kept in the worktree's own git directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// The name of its directory.
    pub slug: String,
    /// The branch that was made for it.
    pub branch: String,
    /// What the branch came from, as people call it.
    pub base: String,
    /// The base's reference in full; none for a commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_ref: Option<String>,
    /// The commit that the branch started at.
    pub base_commit: String,
    /// Whether the caller named the base; otherwise it was the repository's main branch.
    #[serde(default)]
    pub base_asked: bool,
    /// When it was asked for. With the slug it tells this worktree from every other that had the same name.
    pub created_at: Timestamp,
    /// Whether its own hooks, settings and servers may run.
    pub trusted: bool,
    /// How its setup went.
    #[serde(default)]
    pub setup: Setup,
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
    /// A branch.
    There,
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
    if let Some(tree) = sight.trees.iter().find(|tree| tree.branch.as_ref() == Some(&want.branch)) {
        return match &tree.kind {
            Kind::Ours(note) if note.branch == want.branch && agrees(&want, note) => Choice::Return(note.clone()),
            Kind::Ours(note) if note.branch == want.branch => {
                let asked = want.asked.or(want.base.ok().map(|base| base.name)).unwrap_or_default();
                Choice::Refuse(Conflict::OtherBase { path: &tree.path, note, asked }.into())
            }
            _ => Choice::Refuse(Conflict::CheckedOut { branch: &want.branch, tree }.into()),
        };
    }
    let conflict = match &sight.branch {
        Branch::There => {
            let left = sight.trees.iter().find(|tree| matches!(&tree.kind, Kind::Ours(n) if n.branch == want.branch));
            Some(Conflict::Branch { branch: &want.branch, left })
        }
        Branch::Blocked(by) => Some(Conflict::Blocked { branch: &want.branch, by }),
        Branch::Free => None,
    };
    if let Some(conflict) = conflict {
        return Choice::Refuse(conflict.into());
    }
    let slug = match want.slug {
        Some(slug) if sight.taken.contains(&slug) => return Choice::Refuse(Conflict::Slug { slug: &slug }.into()),
        Some(slug) => slug,
        None => free_slug(&slug_of(&want.branch), &sight.taken),
    };
    match want.base {
        Err(error) => Choice::Refuse(error),
        Ok(base) => Choice::Make(Note {
            slug,
            branch: want.branch,
            base: base.name,
            base_ref: base.reference,
            base_commit: base.commit,
            base_asked: want.asked.is_some(),
            created_at: now,
            trusted: true,
            setup: base.setup,
        }),
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
    CheckedOut { branch: &'a str, tree: &'a Tree },
    Branch { branch: &'a str, left: Option<&'a Tree> },
    Blocked { branch: &'a str, by: &'a str },
    Slug { slug: &'a str },
}

impl From<Conflict<'_>> for ApiError {
    fn from(conflict: Conflict<'_>) -> ApiError {
        let error = |message: String, details| ApiError::new(Code::Conflict, message).details(details);
        match conflict {
            Conflict::OtherBase { path, note, asked } => error(
                format!("branch `{}` has a worktree at {path} that came from `{}`, not `{asked}`", note.branch, note.base),
                serde_json::json!({
                    "field": "baseBranch", "worktreePath": path, "worktreeSlug": note.slug, "baseBranch": note.base
                }),
            )
            .hint(format!("give `\"baseBranch\": \"{}\"` to have that one, or another `branchName`", note.base)),
            Conflict::CheckedOut { branch, tree } => {
                let details = serde_json::json!({ "field": "branchName", "worktreePath": tree.path });
                match tree.kind {
                    Kind::Main => error(
                        format!("branch `{branch}` is checked out in the main checkout, {}", tree.path),
                        details,
                    )
                    .hint("give another `branchName`, or switch the main checkout to another branch"),
                    Kind::Missing => error(
                        format!("branch `{branch}` belongs to a worktree whose directory is gone, {}", tree.path),
                        details,
                    )
                    .hint("`git worktree prune` forgets it; the branch stays"),
                    Kind::Foreign | Kind::Ours(_) => error(
                        format!("branch `{branch}` is checked out in another worktree, {}", tree.path),
                        details,
                    )
                    .hint("work there, or give another `branchName`"),
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
            Conflict::Blocked { branch, by } => error(
                format!("branch `{by}` leaves no room for `{branch}`: git keeps one as a file where the other needs a directory"),
                serde_json::json!({ "field": "branchName", "branch": by }),
            )
            .hint("give another `branchName`"),
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
fn free_slug(slug: &str, taken: &BTreeSet<String>) -> String {
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
