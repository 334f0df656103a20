//! The orders in which steps follow each other.

use super::choice::Note;
use super::removal::{Recalled, Removal};
use super::words::Step;

/// The steps of a creation, and of a return, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Make {
    Mark,
    Branch,
    Tree,
    /// In place of `Tree`, where it comes back.
    Refill,
    Note,
    Unmark,
}

impl Make {
    pub(super) fn step(self, note: &Note, from: Option<&Recalled>) -> Step {
        let note = note.clone();
        match (self, from) {
            (Make::Mark, _) => Step::Mark(note),
            (Make::Branch, _) => Step::MakeBranch(note),
            (Make::Refill, Some(from)) => Step::Refill(note, Box::new(from.clone())),
            (Make::Tree | Make::Refill, _) => Step::MakeTree(note),
            (Make::Note, _) => Step::WriteNote(note),
            (Make::Unmark, _) => Step::Unmark(note),
        }
    }

    pub(super) fn next(self, comes_back: bool) -> Option<Make> {
        match self {
            Make::Mark => Some(Make::Branch),
            Make::Branch if comes_back => Some(Make::Refill),
            Make::Branch => Some(Make::Tree),
            Make::Tree | Make::Refill => Some(Make::Note),
            Make::Note => Some(Make::Unmark),
            Make::Unmark => None,
        }
    }

    /// Whether it is there for good once this step is done. One that came back is, once its note is written: what it came
    /// from may be forgotten then.
    pub(super) fn is_final(self, comes_back: bool) -> bool {
        comes_back && matches!(self, Make::Note | Make::Unmark)
    }

    /// Returns with what undoing begins once this step was begun.
    pub(super) fn undo(self) -> Course {
        Course::Undo(match self {
            Make::Mark => Undo::Unmark,
            Make::Branch => Undo::Branch,
            Make::Tree | Make::Refill | Make::Note => Undo::Tree,
            // The mark may be gone, and without one a daemon that dies now would leave half a worktree.
            Make::Unmark => Undo::Mark,
        })
    }
}

/// How something that was begun is brought to its end, and the step that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// A worktree that was made, as a whole or in part, goes without a trace.
    Undo(Undo),
    /// A worktree that was moved out of sight goes.
    Leave(Removal, Leave),
    /// A worktree that was to go stays.
    Bring(Removal, Bring),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undo {
    Mark,
    Tree,
    Branch,
    Unmark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    PutAway,
    Clear,
    Branch,
    Unmark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bring {
    Back,
    Unmark,
}

impl Course {
    pub(super) fn step(&self, note: &Note) -> Step {
        match self {
            Course::Undo(Undo::Mark) => Step::Mark(note.clone()),
            Course::Undo(Undo::Tree) => Step::RemoveTree(note.clone()),
            Course::Undo(Undo::Branch) => Step::RemoveBranch(note.clone()),
            Course::Leave(removal, Leave::PutAway) => Step::PutAway(removal.clone()),
            Course::Leave(removal, Leave::Clear) => Step::Clear(removal.clone()),
            Course::Leave(removal, Leave::Branch) => Step::DropBranch(removal.clone()),
            Course::Bring(removal, Bring::Back) => Step::BringBack(removal.clone()),
            Course::Undo(Undo::Unmark) | Course::Leave(_, Leave::Unmark) | Course::Bring(_, Bring::Unmark) => {
                Step::Unmark(note.clone())
            }
        }
    }

    pub(super) fn next(self) -> Option<Course> {
        Some(match self {
            Course::Undo(undo) => Course::Undo(match undo {
                Undo::Mark => Undo::Tree,
                Undo::Tree => Undo::Branch,
                Undo::Branch => Undo::Unmark,
                Undo::Unmark => return None,
            }),
            Course::Leave(removal, leave) => {
                let next = match leave {
                    Leave::PutAway => Leave::Clear,
                    Leave::Clear => Leave::Branch,
                    Leave::Branch => Leave::Unmark,
                    Leave::Unmark => return None,
                };
                Course::Leave(removal, next)
            }
            Course::Bring(removal, Bring::Back) => Course::Bring(removal, Bring::Unmark),
            Course::Bring(_, Bring::Unmark) => return None,
        })
    }

    /// Whether only the mark is left to be removed.
    pub(super) fn is_unmark(&self) -> bool {
        matches!(self, Course::Undo(Undo::Unmark) | Course::Leave(_, Leave::Unmark) | Course::Bring(_, Bring::Unmark))
    }

    /// Returns the course of a worktree that turned out to be somebody's: only its mark goes.
    pub(super) fn only_unmark(&self) -> Option<Course> {
        matches!(self, Course::Undo(_)).then_some(Course::Undo(Undo::Unmark))
    }
}
