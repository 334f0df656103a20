//! The words of the worktree machine: what it is told, what it asks for, what it answers.

use super::choice::{Note, Sight, Want};
use super::removal::{Archived, Inspection, Recalled, Removal};
use crate::error::{ApiError, Code};

/// The number of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub i64);

/// What the machine is told.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "each is told once and kept nowhere")]
pub enum Input {
    /// Somebody wants a worktree.
    Create {
        /// The request.
        ticket: Ticket,
        /// What is wanted.
        want: Want,
    },
    /// The caller that a worktree was made for cannot use it.
    RollBack {
        /// The request.
        ticket: Ticket,
        /// The worktree's directory name.
        slug: String,
    },
    /// Somebody wants to know whether a worktree could go, and what that would take with it.
    Inspect {
        /// The request.
        ticket: Ticket,
        /// The worktree's directory name.
        slug: String,
    },
    /// A worktree shall go, in a way that brings it back.
    Archive {
        /// The request.
        ticket: Ticket,
        /// The worktree's directory name.
        slug: String,
        /// Whether uncommitted and untracked files shall be put away with it, and not be in its way.
        force: bool,
        /// Whether its branch stays.
        keep_branch: bool,
    },
    /// A worktree that was archived shall come back.
    Restore {
        /// The request.
        ticket: Ticket,
        /// The worktree's directory name.
        slug: String,
        /// A port that nobody uses: the one that it had, where that is free.
        port: Option<i64>,
    },
    /// A worktree's own hooks, settings and servers may run from now on.
    Trust {
        /// The request.
        ticket: Ticket,
        /// The worktree's directory name.
        slug: String,
    },
    /// What was left half made shall go, unless something is being made right now.
    Tidy {
        /// The request.
        ticket: Ticket,
    },
    /// Nobody waits for this request any more. A worktree that it made, and that nobody else was given, goes.
    Cancel {
        /// The request.
        ticket: Ticket,
    },
    /// What came of the step that was asked for.
    Fact(Fact),
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// What was left half made, in answer to `Step::Leftovers`.
    Leftovers(Vec<Leftover>),
    /// What is there, in answer to `Step::Look`.
    Seen(Sight),
    /// How a worktree is, in answer to `Step::Inspect`.
    Inspected(Box<Inspection>),
    /// What was put away, in answer to `Step::PutAway`.
    PutAway(Box<Archived>),
    /// What comes back, and what is there, in answer to `Step::Recall`.
    Recalled(Box<Recalled>, Sight),
    /// The note as it is now, in answer to `Step::Trust`.
    Trusted(Box<Note>),
    /// A finished worktree is not as it was made any more, in answer to `Step::RemoveTree`: it was left alone, and why. Or
    /// a branch is in use, in answer to `Step::DropBranch`: it stays.
    Kept(&'static str),
    /// Any other step is done.
    Done,
    /// The step failed, and what it had begun may be there in part.
    Failed(ApiError),
}

/// A worktree whose mark is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// What the mark says.
    pub note: Note,
    /// How far it has come.
    pub stage: Stage,
}

/// How far something that was begun has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The worktree is not there, or in part.
    Begun,
    /// It is there as a whole: only the mark is left over.
    Finished,
    /// It was to go, and is in its place.
    Staying(Removal),
    /// It was to go, and was moved out of sight.
    Going(Removal),
    /// What it holds is put away too, and it is not gone.
    Gone(Removal),
}

/// How a finished worktree is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The branch checked out in it.
    pub branch: Option<String>,
    /// The commit checked out in it.
    pub head: Option<String>,
    /// Whether it has neither uncommitted nor untracked files.
    pub clean: bool,
    /// Whether somebody locked it.
    pub locked: bool,
}

impl Condition {
    /// Returns why a worktree is not as it was made any more, if it is not.
    #[must_use]
    pub fn changed_since(&self, note: &Note) -> Option<&'static str> {
        if self.locked {
            Some("somebody locked it")
        } else if !self.clean {
            Some("it has uncommitted or untracked files")
        } else if self.branch != note.branch {
            Some("it has another branch checked out")
        } else if self.head.as_deref() != Some(note.start()) {
            Some("it has new commits")
        } else {
            None
        }
    }
}

/// What the machine asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// To carry out a step and say what came of it. There is one at a time.
    Do(Step),
    /// To end the step that is being carried out as soon as it can be.
    Stop,
    /// To answer a request.
    Answer {
        /// The request.
        ticket: Ticket,
        /// The answer.
        answer: Answer,
    },
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Find the worktrees whose mark is still there.
    Leftovers,
    /// Find what is there under this branch's name, and around it; without one, only what is around.
    Look(Option<String>),
    /// Write the mark.
    Mark(Note),
    /// Make the branch.
    MakeBranch(Note),
    /// Register the tree and fill it.
    MakeTree(Note),
    /// Write the note.
    WriteNote(Note),
    /// Remove note, tree and registration, as far as they are there and this note's. A finished worktree goes only while
    /// its condition has not `changed_since`.
    RemoveTree(Note),
    /// Remove the branch, if it is there, this note's, and has not moved.
    RemoveBranch(Note),
    /// Find how the worktree of this name is.
    Inspect(String),
    /// Write the mark that says that this worktree is to go.
    MarkRemoval(Removal),
    /// Move the tree out of sight, where nobody works in it. It is still registered.
    TakeAway(Removal),
    /// Keep what the tree holds, out of sight as it is, where it can be brought back from.
    PutAway(Removal),
    /// Move the tree back to its place.
    BringBack(Removal),
    /// Remove tree and registration of what was put away.
    Clear(Removal),
    /// Remove its branch, as far as it was made for it, is where it was, and is not to stay.
    DropBranch(Removal),
    /// Find what was put away under this name, and what is there in its place.
    Recall(String),
    /// Register the tree, and fill it with what was put away.
    Refill(Note, Box<Recalled>),
    /// Write in the note of the worktree of this name that it is trusted.
    Trust(String),
    /// Remove the mark. Where the worktree is there as a whole, what was put away of it is forgotten first: it is back, or
    /// has never gone.
    Unmark(Note),
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// This worktree was made.
    Created(Note),
    /// This worktree was there already.
    Found(Note),
    /// How it is, and nothing is in the way of archiving it by force.
    Inspected(Box<Inspection>),
    /// The worktree is gone, and what it held is put away.
    Archived(Box<Archived>),
    /// The worktree is back.
    Restored(Note),
    /// The worktree is trusted.
    Trusted(Note),
    /// The worktree is gone, as if it had never been.
    RolledBack,
    /// The worktree stays, and why.
    Kept(&'static str),
    /// Nothing half made is left that can be removed.
    Tidied,
    /// It cannot be, or did not work; what had been begun is undone.
    Failed(ApiError),
}

/// Why an input was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too many requests wait already.
    #[error("too many worktrees of this repository are asked for at once")]
    Full,
    /// Another request has this number.
    #[error("this request is known already")]
    Known,
    /// No request has this number.
    #[error("there is no such request")]
    Unknown,
    /// No step was asked for that this would come of.
    #[error("nothing was asked that this would answer")]
    Unasked,
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        match refusal {
            Refusal::Full => ApiError::new(Code::Unavailable, refusal.to_string()).hint("try again in a moment"),
            _ => ApiError::new(Code::Internal, refusal.to_string()),
        }
    }
}
