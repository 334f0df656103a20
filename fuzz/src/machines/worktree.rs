//! The worktrees of a repository, decided by bytes.

use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::worktree::{
    Base, Branch, Fact, Input, Kind, Leftover, Note, Repository, Sight, Ticket, Tree, Want,
};
use paseo_sdk::model::{Setup, Timestamp};

use crate::bytes::Bytes;
use crate::{Broken, laws};

pub(crate) fn check(bytes: Bytes<'_>) -> Result<(), Broken> {
    laws(Repository::new(), bytes.script(input))
}

fn input(bytes: &mut Bytes<'_>) -> Input {
    let ticket = Ticket(bytes.number(12));
    match bytes.below(12) {
        0 | 1 => Input::Create { ticket, want: want(bytes) },
        2 => Input::RollBack { ticket, slug: branch(bytes) },
        3 => Input::Tidy { ticket },
        4 => Input::Cancel { ticket },
        5 | 6 => {
            Input::Fact(Fact::Leftovers(bytes.some(2, |bytes| Leftover { note: note(bytes), finished: bytes.flag() })))
        }
        7 => Input::Fact(Fact::Seen(sight(bytes))),
        8 => Input::Fact(Fact::Kept(bytes.pick(&["somebody locked it", "it has changed"]))),
        9 => Input::Fact(Fact::Failed(error(bytes))),
        _ => Input::Fact(Fact::Done),
    }
}

fn want(bytes: &mut Bytes<'_>) -> Want {
    let base = Base { name: "main".to_owned(), reference: None, commit: "1111".to_owned(), setup: Setup::default() };
    Want {
        branch: branch(bytes),
        asked: bytes.maybe(|bytes| bytes.pick(&["main", "other"]).to_owned()),
        base: if bytes.below(6) == 0 { Err(error(bytes)) } else { Ok(base) },
        slug: bytes.maybe(branch),
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
    Sight {
        trees: bytes.some(2, tree),
        taken: bytes.some(2, branch).into_iter().collect(),
        branch: match bytes.below(6) {
            0 => Branch::There,
            1 => Branch::Blocked("fix".to_owned()),
            _ => Branch::Free,
        },
    }
}

fn note(bytes: &mut Bytes<'_>) -> Note {
    Note {
        slug: branch(bytes),
        branch: branch(bytes),
        base: "main".to_owned(),
        base_ref: None,
        base_commit: "1111".to_owned(),
        base_asked: bytes.flag(),
        created_at: Timestamp(bytes.number(9)),
        trusted: true,
        setup: Setup::default(),
    }
}

fn branch(bytes: &mut Bytes<'_>) -> String {
    bytes.pick(&["x", "y", "fix-z"]).to_owned()
}

fn error(bytes: &mut Bytes<'_>) -> ApiError {
    ApiError::new(Code::Internal, bytes.word())
}
