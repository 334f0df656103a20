//! The words of the worktree machine: what it is told, what it asks for, what it answers.

use super::choice::{Note, Sight, Want};
use crate::error::{ApiError, Code};

/// The number of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub i64);

/// What the machine is told.
#[derive(Clone, Debug, PartialEq)]
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
    /// A finished worktree is not as it was made any more, in answer to `Step::RemoveTree`: it was left alone, and why.
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
    /// Whether the note was written, so that only the mark is left over.
    pub finished: bool,
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
        } else if self.branch.as_ref() != Some(&note.branch) {
            Some("it has another branch checked out")
        } else if self.head.as_ref() != Some(&note.base_commit) {
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
    /// Find what is there under this branch's name, and around it.
    Look(String),
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
    /// Remove the mark.
    Unmark(Note),
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// This worktree was made.
    Created(Note),
    /// This worktree was there already.
    Found(Note),
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
