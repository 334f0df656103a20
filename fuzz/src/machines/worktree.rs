//! The worktrees of a repository, decided by bytes.

use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::worktree::{
    Archived, Base, Branch, Fact, Head, Input, Inspection, Kind, Leftover, Note, Recalled, Removal, Repository, Sight,
    Stage, Ticket, Tree, Upstream, Want,
};
use paseo_sdk::model::{PullRequest, Setup, Timestamp};

use crate::bytes::Bytes;
use crate::{Broken, laws};

pub(crate) fn check(bytes: Bytes<'_>) -> Result<(), Broken> {
    laws(Repository::new(), bytes.script(input))
}

fn input(bytes: &mut Bytes<'_>) -> Input {
    let ticket = Ticket(bytes.number(12));
    match bytes.below(20) {
        0 | 1 => Input::Create { ticket, want: want(bytes) },
        2 => Input::RollBack { ticket, slug: branch(bytes) },
        3 => Input::Tidy { ticket },
        4 => Input::Cancel { ticket },
        5 | 6 => {
            Input::Fact(Fact::Leftovers(bytes.some(2, |bytes| Leftover { note: note(bytes), stage: stage(bytes) })))
        }
        7 => Input::Fact(Fact::Seen(sight(bytes))),
        8 => Input::Fact(Fact::Kept(bytes.pick(&["somebody locked it", "it has changed"]))),
        9 => Input::Fact(Fact::Failed(error(bytes))),
        10 => Input::Inspect { ticket, slug: branch(bytes) },
        11 => Input::Archive { ticket, slug: branch(bytes), force: bytes.flag(), keep_branch: bytes.flag() },
        12 => Input::Restore { ticket, slug: branch(bytes), port: bytes.maybe(|bytes| bytes.number(9)) },
        13 => Input::Trust { ticket, slug: branch(bytes) },
        14 => Input::Fact(Fact::Inspected(Box::new(inspection(bytes)))),
        15 => Input::Fact(Fact::PutAway(Box::new(archived(bytes)))),
        16 => Input::Fact(Fact::Recalled(Box::new(recalled(bytes)), sight(bytes))),
        17 => Input::Fact(Fact::Trusted(Box::new(note(bytes)))),
        _ => Input::Fact(Fact::Done),
    }
}

fn stage(bytes: &mut Bytes<'_>) -> Stage {
    let removal = Removal { note: note(bytes), keep_branch: bytes.flag() };
    match bytes.below(5) {
        0 => Stage::Begun,
        1 => Stage::Finished,
        2 => Stage::Staying(removal),
        3 => Stage::Going(removal),
        _ => Stage::Gone(removal),
    }
}

fn inspection(bytes: &mut Bytes<'_>) -> Inspection {
    let changes = bytes.some(8, |bytes| format!(" M {}", branch(bytes)));
    Inspection {
        note: note(bytes),
        path: "/w".to_owned(),
        changed: i64::try_from(changes.len()).unwrap_or_default(),
        changes,
        operation: bytes.maybe(|_| "a rebase".to_owned()),
        repositories: bytes.some(1, branch),
        locked: bytes.maybe(branch),
    }
}

fn archived(bytes: &mut Bytes<'_>) -> Archived {
    Archived {
        note: note(bytes),
        reference: "refs/paseo/archive/x".to_owned(),
        commit: "2222".to_owned(),
        kept_commits: bytes.number(3),
        kept_files: bytes.number(3),
        branch_removed: bytes.flag(),
        problem: None,
    }
}

fn recalled(bytes: &mut Bytes<'_>) -> Recalled {
    Recalled {
        note: note(bytes),
        commit: "2222".to_owned(),
        head_branch: bytes.maybe(branch),
        head_commit: "1111".to_owned(),
        branch_tip: bytes.maybe(|bytes| bytes.pick(&["1111", "3333"]).to_owned()),
        branches: bytes.some(2, |bytes| (branch(bytes), there(bytes))),
    }
}

fn want(bytes: &mut Bytes<'_>) -> Want {
    let base = Base { name: "main".to_owned(), reference: None, commit: "1111".to_owned(), setup: Setup::default() };
    Want {
        head: head(bytes),
        asked: bytes.maybe(|bytes| bytes.pick(&["main", "other"]).to_owned()),
        base: if bytes.below(6) == 0 { Err(error(bytes)) } else { Ok(base) },
        slug: bytes.maybe(branch),
        trusted: bytes.flag(),
        port: bytes.maybe(|bytes| bytes.number(9)),
    }
}

fn head(bytes: &mut Bytes<'_>) -> Head {
    let (branch, commit) = (branch(bytes), bytes.pick(&["1111", "2222"]).to_owned());
    let upstream = Upstream { remote: "origin".to_owned(), reference: format!("refs/heads/{branch}") };
    match bytes.below(5) {
        0 | 1 => Head::New { branch },
        2 => Head::Branch { branch, commit },
        3 => match bytes.flag() {
            true => Head::Remote { branch, commit, upstream },
            false => {
                let pull_request = PullRequest { number: bytes.number(2), title: None };
                Head::PullRequest { pull_request, branch, commit, upstream }
            }
        },
        _ => Head::Detached { commit },
    }
}

fn there(bytes: &mut Bytes<'_>) -> Branch {
    match bytes.below(6) {
        0 => Branch::There(bytes.pick(&["1111", "2222"]).to_owned()),
        1 => Branch::Blocked("fix".to_owned()),
        _ => Branch::Free,
    }
}

fn sight(bytes: &mut Bytes<'_>) -> Sight {
    let tree = |bytes: &mut Bytes<'_>| Tree {
        path: "/w".to_owned(),
        branch: bytes.maybe(branch),
        kind: match bytes.below(4) {
            0 => Kind::Main,
            1 => Kind::Foreign,
            2 => Kind::Missing,
            _ => Kind::Ours(note(bytes)),
        },
    };
    Sight { trees: bytes.some(2, tree), taken: bytes.some(2, branch).into_iter().collect(), branch: there(bytes) }
}

fn note(bytes: &mut Bytes<'_>) -> Note {
    Note {
        slug: branch(bytes),
        branch: bytes.maybe(branch),
        branch_made: bytes.flag(),
        base: "main".to_owned(),
        base_ref: None,
        base_commit: "1111".to_owned(),
        base_asked: bytes.flag(),
        head_commit: bytes.maybe(|_| "2222".to_owned()),
        pull_request: None,
        upstream: None,
        created_at: Timestamp(bytes.number(9)),
        trusted: true,
        port: None,
        setup: Setup::default(),
    }
}

fn branch(bytes: &mut Bytes<'_>) -> String {
    bytes.pick(&["x", "y", "fix-z"]).to_owned()
}

fn error(bytes: &mut Bytes<'_>) -> ApiError {
    ApiError::new(Code::Internal, bytes.word())
}
