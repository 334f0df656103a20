//! The worktrees of one repository: requests are carried out one after another, each as steps that can be undone.
//!
//! A creation writes a mark, then makes the branch, the tree and the note, and takes the mark away. The note is the
//! moment from which the worktree exists. A mark without a note is a worktree that somebody began and never finished:
//! it is undone in reverse, whether a step failed, its caller went away, or the daemon died.
//!
//! Archiving writes a mark too, moves the tree out of sight, puts away what it holds, and only then removes it. The move
//! is the moment from which the worktree is gone: before it nothing has happened, and after it whatever was cut short is
//! brought to its end.

mod choice;
mod course;
mod removal;
mod words;

use std::collections::{BTreeMap, VecDeque};

pub use choice::{Base, Branch, Choice, Head, Kind, Note, Sight, Tree, Upstream, Want, check_slug, choose, slug_of};
pub use removal::{Archived, Inspection, Recalled, Removal};
pub use words::{Answer, Condition, Fact, Input, Leftover, Output, Refusal, Stage, Step, Ticket};

use self::course::{Bring, Course, Leave, Make, Undo};
use super::Machine;
use crate::error::ApiError;
use crate::model::Timestamp;

/// The worktrees of one repository.
#[derive(Clone, Debug, Default)]
pub struct Repository {
    queue: VecDeque<Errand>,
    work: Option<Work>,
    /// Worktrees that a request made and that nobody else was given: these may be rolled back.
    fresh: BTreeMap<Ticket, Note>,
    /// Worktrees that were to go and could not be removed: tried again at the next use.
    stuck: VecDeque<Note>,
    out: VecDeque<Output>,
}

impl Repository {
    /// Makes the machine of a repository of which nothing is known yet.
    #[must_use]
    pub fn new() -> Repository {
        Repository::default()
    }

    /// Whether there is nothing to do and nobody waits.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.work.is_none() && self.out.is_empty()
    }
}

impl Machine for Repository {
    type Input = Input;
    type Output = Output;
    type Refusal = Refusal;

    fn handle(&mut self, now: Timestamp, input: Input) -> Result<(), Refusal> {
        match input {
            Input::Create { ticket, want } => self.queue(Errand { ticket, what: What::Create(want) }),
            Input::RollBack { ticket, slug } => self.queue(Errand { ticket, what: What::RollBack(slug) }),
            Input::Inspect { ticket, slug } => self.queue(Errand { ticket, what: What::Inspect(slug) }),
            Input::Archive { ticket, slug, force, keep_branch } => {
                self.queue(Errand { ticket, what: What::Archive { slug, force, keep_branch } })
            }
            Input::Restore { ticket, slug, port } => self.queue(Errand { ticket, what: What::Restore { slug, port } }),
            Input::Trust { ticket, slug } => self.queue(Errand { ticket, what: What::Trust(slug) }),
            Input::Tidy { ticket } => self.queue(Errand { ticket, what: What::Tidy }),
            Input::Cancel { ticket } => self.cancel(ticket),
            Input::Fact(fact) => self.learn(now, fact),
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    fn deadline(&self) -> Option<Timestamp> {
        None
    }

    fn expire(&mut self, _now: Timestamp) {}
}

/// A request that waits.
#[derive(Clone, Debug)]
struct Errand {
    ticket: Ticket,
    what: What,
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "at most some hundreds wait, and most are the large one")]
enum What {
    Create(Want),
    RollBack(String),
    Inspect(String),
    Archive { slug: String, force: bool, keep_branch: bool },
    Restore { slug: String, port: Option<i64> },
    Trust(String),
    Tidy,
}

/// The request that is being carried out.
#[derive(Clone, Debug)]
struct Work {
    ticket: Ticket,
    cancelled: bool,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// Marks are being looked for; after that comes the wish, unless it is only about tidying.
    Listing(Option<What>),
    /// What was left half done is being brought to its end.
    Sweeping {
        note: Note,
        course: Course,
        rest: VecDeque<(Note, Course)>,
        then: Option<What>,
    },
    Looking(Want),
    Making {
        note: Note,
        make: Make,
        /// What it is filled with, where it comes back.
        from: Option<Box<Recalled>>,
    },
    /// Something that was begun is brought to its end, or is undone.
    Ending {
        note: Note,
        course: Course,
        then: Answer,
    },
    /// With nothing to do about it, it is only looked at.
    Inspecting(Option<Wish>),
    Removing {
        removal: Removal,
        remove: Remove,
    },
    Recalling {
        port: Option<i64>,
    },
    Trusting,
}

/// How a worktree shall be archived.
#[derive(Clone, Copy, Debug)]
struct Wish {
    force: bool,
    keep_branch: bool,
}

/// The steps of archiving until nothing can be undone any more, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remove {
    Mark,
    TakeAway,
    PutAway,
}

impl Repository {
    fn queue(&mut self, errand: Errand) -> Result<(), Refusal> {
        if self.knows(errand.ticket) {
            return Err(Refusal::Known);
        }
        // Answers that nobody has fetched count as well, or they could pile up.
        if self.queue.len() + self.out.len() >= LONGEST_QUEUE {
            return Err(Refusal::Full);
        }
        match errand.what {
            // What is half made right now is being made; what was half made before goes before the next creation.
            What::Tidy if self.work.is_some() => self.answer(errand.ticket, Answer::Tidied),
            _ => {
                self.queue.push_back(errand);
                self.next();
            }
        }
        Ok(())
    }

    fn knows(&self, ticket: Ticket) -> bool {
        self.queue.iter().any(|errand| errand.ticket == ticket)
            || self.work.as_ref().is_some_and(|work| work.ticket == ticket)
            || self.fresh.contains_key(&ticket)
    }

    fn cancel(&mut self, ticket: Ticket) -> Result<(), Refusal> {
        if let Some(work) = self.work.as_mut().filter(|work| work.ticket == ticket) {
            if matches!(work.state, State::Making { make: Make::Tree | Make::Refill, .. }) && !work.cancelled {
                self.out.push_back(Output::Stop);
            }
            work.cancelled = true;
            return Ok(());
        }
        if let Some(at) = self.queue.iter().position(|errand| errand.ticket == ticket) {
            // Who asked for a worktree to be rolled back may leave; it goes all the same.
            if !matches!(self.queue[at].what, What::RollBack(_)) {
                self.queue.remove(at);
            }
            return Ok(());
        }
        let Some(note) = self.fresh.get(&ticket) else { return Err(Refusal::Unknown) };
        let what = What::RollBack(note.slug.clone());
        self.queue.push_back(Errand { ticket, what });
        self.next();
        Ok(())
    }

    fn learn(&mut self, now: Timestamp, fact: Fact) -> Result<(), Refusal> {
        let asked = !self.out.iter().any(|output| matches!(output, Output::Do(_)));
        let Some(work) = self.work.take_if(|work| asked && work.state.expects(&fact)) else {
            return Err(Refusal::Unasked);
        };
        let Work { ticket, cancelled, state } = work;
        match (state, fact) {
            (State::Listing(then), Fact::Leftovers(found)) => {
                let due = self.due(found);
                self.sweep(ticket, cancelled, due, then);
            }
            // What is left over stands in nobody's way.
            (State::Listing(then), _) => self.sweep(ticket, cancelled, VecDeque::new(), then),
            (State::Sweeping { note, course: course @ Course::Undo(_), rest, then }, Fact::Kept(_)) => {
                // Somebody works in it by now, so it is theirs.
                self.stuck.retain(|stuck| *stuck != note);
                match course.only_unmark() {
                    Some(course) => self.sweep_on(ticket, cancelled, note, course, rest, then),
                    None => self.sweep(ticket, cancelled, rest, then),
                }
            }
            // Out of sight it would be of use to nobody.
            (State::Sweeping { note, course: Course::Leave(removal, Leave::PutAway), rest, then }, Fact::Failed(_)) => {
                self.sweep_on(ticket, cancelled, note, Course::Bring(removal, Bring::Back), rest, then);
            }
            // Its mark stays, so it is tried again at the next use.
            (State::Sweeping { rest, then, .. }, Fact::Failed(_)) => self.sweep(ticket, cancelled, rest, then),
            (State::Sweeping { note, course, rest, then }, _) => match course.next() {
                Some(course) => self.sweep_on(ticket, cancelled, note, course, rest, then),
                None => {
                    self.stuck.retain(|stuck| *stuck != note);
                    self.sweep(ticket, cancelled, rest, then);
                }
            },
            (State::Looking(_), _) if cancelled => self.finish(None),
            (State::Looking(want), Fact::Seen(sight)) => match choose(now, want, &sight) {
                Choice::Make(note) => self.make(ticket, cancelled, note, Make::Mark, None),
                Choice::Return(note) => {
                    self.fresh.retain(|_, fresh| fresh.slug != note.slug);
                    self.stuck.retain(|stuck| stuck.slug != note.slug);
                    self.finish(Some((ticket, Answer::Found(note))));
                }
                Choice::Refuse(error) => self.finish(Some((ticket, Answer::Failed(error)))),
            },
            (State::Making { note, make, from }, Fact::Done) if cancelled && !make.is_final(from.is_some()) => {
                self.end(ticket, cancelled, note, make.undo(), Answer::RolledBack);
            }
            (State::Making { note, make, from }, Fact::Done) => match make.next(from.is_some()) {
                Some(make) => self.make(ticket, cancelled, note, make, from),
                None => self.made(ticket, note, from.is_some()),
            },
            // The worktree is there, and its mark says so too: it goes at the next use.
            (State::Making { note, make: make @ Make::Unmark, from }, Fact::Failed(_))
                if !cancelled || make.is_final(from.is_some()) =>
            {
                self.made(ticket, note, from.is_some());
            }
            (State::Making { note, make, .. }, Fact::Failed(error)) => {
                self.end(ticket, cancelled, note, make.undo(), Answer::Failed(error));
            }
            (State::Ending { note, course: course @ Course::Leave(..), then }, Fact::Kept(why)) => {
                let then = match (then, &course) {
                    (Answer::Archived(archived), Course::Leave(_, Leave::Branch)) => {
                        Answer::Archived(Box::new(Archived { branch_removed: false, ..*archived }))
                    }
                    (Answer::Archived(archived), _) => {
                        Answer::Archived(Box::new(Archived { problem: Some(why.to_owned()), ..*archived }))
                    }
                    (then, _) => then,
                };
                match course.next() {
                    Some(course) => self.end(ticket, cancelled, note, course, then),
                    None => self.finish(Some((ticket, then))),
                }
            }
            (State::Ending { note, course, then }, Fact::Kept(why)) => {
                let then = if then == Answer::RolledBack { Answer::Kept(why) } else { then };
                match course.only_unmark() {
                    Some(course) => self.end(ticket, cancelled, note, course, then),
                    None => self.finish(Some((ticket, then))),
                }
            }
            // Everything is gone but the mark, which will find nothing at the next use.
            (State::Ending { course, then, .. }, Fact::Failed(_)) if course.is_unmark() => {
                self.finish(Some((ticket, then)));
            }
            // The worktree is gone for whoever asked; the rest is tried again at the next use.
            (State::Ending { course, then: Answer::Archived(archived), .. }, Fact::Failed(error)) => {
                let branch_removed = archived.branch_removed && course.is_unmark();
                let archived = Archived { branch_removed, problem: Some(error.message), ..*archived };
                self.finish(Some((ticket, Answer::Archived(Box::new(archived)))));
            }
            (State::Ending { note, course, then }, Fact::Failed(error)) => {
                let error = stuck(&course, then, error);
                if let Course::Undo(_) = course {
                    if self.stuck.len() >= MOST_STUCK {
                        self.stuck.pop_front();
                    }
                    self.stuck.push_back(note);
                }
                self.finish(Some((ticket, Answer::Failed(error))));
            }
            (State::Ending { note, course, then }, _) => match course.next() {
                Some(course) => self.end(ticket, cancelled, note, course, then),
                None => self.finish(Some((ticket, then))),
            },
            (State::Inspecting(_) | State::Recalling { .. }, _) if cancelled => self.finish(None),
            (State::Inspecting(wish), Fact::Inspected(inspection)) => {
                // Who only asks is told how it is; what is not in the way of force is theirs to weigh.
                let objection = inspection.objection(wish.is_none_or(|wish| wish.force), &[]);
                match (objection, wish) {
                    (Some(objection), _) => self.finish(Some((ticket, Answer::Failed(objection)))),
                    (None, None) => self.finish(Some((ticket, Answer::Inspected(inspection)))),
                    (None, Some(Wish { keep_branch, .. })) => {
                        let removal = Removal { note: inspection.note, keep_branch };
                        // Whoever has been given it has it no more.
                        self.fresh.retain(|_, fresh| fresh.slug != removal.note.slug);
                        self.remove(ticket, cancelled, removal, Remove::Mark);
                    }
                }
            }
            (State::Removing { removal, remove: Remove::Mark }, Fact::Done) => {
                self.remove(ticket, cancelled, removal, Remove::TakeAway);
            }
            (State::Removing { removal, remove: Remove::TakeAway }, Fact::Done) => {
                self.remove(ticket, cancelled, removal, Remove::PutAway);
            }
            (State::Removing { removal, .. }, Fact::PutAway(archived)) => {
                let course = Course::Leave(removal.clone(), Leave::Clear);
                self.end(ticket, cancelled, removal.note, course, Answer::Archived(archived));
            }
            (State::Removing { removal, remove }, Fact::Failed(error)) => {
                // A step that failed may have come to its end all the same.
                let bring = if remove == Remove::Mark { Bring::Unmark } else { Bring::Back };
                let course = Course::Bring(removal.clone(), bring);
                self.end(ticket, cancelled, removal.note, course, Answer::Failed(error));
            }
            (State::Recalling { port }, Fact::Recalled(recalled, sight)) => match recalled.comes_back(&sight, port) {
                Ok(note) => self.make(ticket, cancelled, note, Make::Mark, Some(recalled)),
                Err(error) => self.finish(Some((ticket, Answer::Failed(error)))),
            },
            (State::Trusting, Fact::Trusted(note)) => {
                for known in self.fresh.values_mut().filter(|known| known.created_at == note.created_at) {
                    *known = (*note).clone();
                }
                self.finish(Some((ticket, Answer::Trusted(*note))));
            }
            (
                State::Looking(_) | State::Inspecting(_) | State::Recalling { .. } | State::Trusting,
                Fact::Failed(error),
            ) => self.finish(Some((ticket, Answer::Failed(error)))),
            (state, fact) => unreachable!("{state:?} does not expect {fact:?}"),
        }
        Ok(())
    }

    /// Returns what shall be brought to its end before anything else is made, and with what that begins.
    fn due(&self, found: Vec<Leftover>) -> VecDeque<(Note, Course)> {
        let unmarked = self.stuck.iter().filter(|stuck| !found.iter().any(|leftover| leftover.note == **stuck));
        let mut due: VecDeque<_> = unmarked.map(|note| (note.clone(), Course::Undo(Undo::Mark))).collect();
        due.extend(found.into_iter().map(|Leftover { note, stage }| {
            let course = match stage {
                Stage::Finished if !self.stuck.contains(&note) => Course::Undo(Undo::Unmark),
                Stage::Finished | Stage::Begun => Course::Undo(Undo::Tree),
                Stage::Staying(removal) => Course::Bring(removal, Bring::Back),
                Stage::Going(removal) => Course::Leave(removal, Leave::PutAway),
                Stage::Gone(removal) => Course::Leave(removal, Leave::Clear),
            };
            (note, course)
        }));
        due
    }

    fn sweep(&mut self, ticket: Ticket, cancelled: bool, mut rest: VecDeque<(Note, Course)>, then: Option<What>) {
        match (rest.pop_front(), then) {
            (Some((note, course)), then) => self.sweep_on(ticket, cancelled, note, course, rest, then),
            (None, None) => self.finish(Some((ticket, Answer::Tidied))),
            (None, Some(_)) if cancelled => self.finish(None),
            (None, Some(what)) => self.begin(ticket, what),
        }
    }

    fn sweep_on(
        &mut self,
        ticket: Ticket,
        cancelled: bool,
        note: Note,
        course: Course,
        rest: VecDeque<(Note, Course)>,
        then: Option<What>,
    ) {
        let step = course.step(&note);
        self.go_on(ticket, cancelled, State::Sweeping { note, course, rest, then }, step);
    }

    fn make(&mut self, ticket: Ticket, cancelled: bool, note: Note, make: Make, from: Option<Box<Recalled>>) {
        let step = make.step(&note, from.as_deref());
        self.go_on(ticket, cancelled, State::Making { note, make, from }, step);
    }

    fn remove(&mut self, ticket: Ticket, cancelled: bool, removal: Removal, remove: Remove) {
        let step = match remove {
            Remove::Mark => Step::MarkRemoval(removal.clone()),
            Remove::TakeAway => Step::TakeAway(removal.clone()),
            Remove::PutAway => Step::PutAway(removal.clone()),
        };
        self.go_on(ticket, cancelled, State::Removing { removal, remove }, step);
    }

    fn end(&mut self, ticket: Ticket, cancelled: bool, note: Note, course: Course, then: Answer) {
        let step = course.step(&note);
        self.go_on(ticket, cancelled, State::Ending { note, course, then }, step);
    }

    fn made(&mut self, ticket: Ticket, note: Note, came_back: bool) {
        if came_back {
            self.finish(Some((ticket, Answer::Restored(note))));
            return;
        }
        if self.fresh.len() >= MOST_FRESH {
            self.fresh.pop_first();
        }
        self.fresh.insert(ticket, note.clone());
        self.finish(Some((ticket, Answer::Created(note))));
    }

    fn go_on(&mut self, ticket: Ticket, cancelled: bool, state: State, step: Step) {
        self.work = Some(Work { ticket, cancelled, state });
        self.out.push_back(Output::Do(step));
    }

    fn finish(&mut self, answer: Option<(Ticket, Answer)>) {
        if let Some((ticket, answer)) = answer {
            self.answer(ticket, answer);
        }
        self.next();
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.out.push_back(Output::Answer { ticket, answer });
    }

    /// Begins with the next request.
    fn next(&mut self) {
        while self.work.is_none() {
            let Some(Errand { ticket, what }) = self.queue.pop_front() else { return };
            match what {
                What::Tidy => self.go_on(ticket, false, State::Listing(None), Step::Leftovers),
                What::RollBack(slug) => match self.fresh.values().find(|note| note.slug == slug).cloned() {
                    Some(note) => {
                        self.fresh.retain(|_, fresh| *fresh != note);
                        self.end(ticket, false, note, Course::Undo(Undo::Mark), Answer::RolledBack);
                    }
                    None => self.answer(ticket, Answer::Kept("it was not made by this call alone")),
                },
                what => self.go_on(ticket, false, State::Listing(Some(what)), Step::Leftovers),
            }
        }
    }

    /// Begins with a request before which everything is in order.
    fn begin(&mut self, ticket: Ticket, what: What) {
        let (state, step) = match what {
            What::Create(want) => {
                let step = Step::Look(want.head.branch().map(str::to_owned));
                (State::Looking(want), step)
            }
            What::Inspect(slug) => (State::Inspecting(None), Step::Inspect(slug)),
            What::Archive { slug, force, keep_branch } => {
                (State::Inspecting(Some(Wish { force, keep_branch })), Step::Inspect(slug))
            }
            What::Restore { slug, port } => (State::Recalling { port }, Step::Recall(slug)),
            What::Trust(slug) => (State::Trusting, Step::Trust(slug)),
            What::RollBack(_) | What::Tidy => unreachable!("these are not begun after looking for marks"),
        };
        self.go_on(ticket, false, state, step);
    }
}

impl State {
    fn expects(&self, fact: &Fact) -> bool {
        match fact {
            Fact::Leftovers(_) => matches!(self, State::Listing(_)),
            Fact::Seen(_) => matches!(self, State::Looking(_)),
            Fact::Inspected(_) => matches!(self, State::Inspecting(_)),
            Fact::Recalled(..) => matches!(self, State::Recalling { .. }),
            Fact::Trusted(_) => matches!(self, State::Trusting),
            Fact::PutAway(_) => match self {
                State::Removing { remove, .. } => *remove == Remove::PutAway,
                State::Sweeping { course, .. } => matches!(course, Course::Leave(_, Leave::PutAway)),
                _ => false,
            },
            Fact::Kept(_) => match self {
                State::Sweeping { course, .. } | State::Ending { course, .. } => {
                    matches!(course, Course::Undo(Undo::Tree) | Course::Leave(_, Leave::Clear | Leave::Branch))
                }
                _ => false,
            },
            Fact::Done => match self {
                State::Sweeping { course, .. } => !matches!(course, Course::Leave(_, Leave::PutAway)),
                State::Removing { remove, .. } => *remove != Remove::PutAway,
                State::Making { .. } | State::Ending { .. } => true,
                _ => false,
            },
            Fact::Failed(_) => true,
        }
    }
}

/// Says that undoing failed too.
fn stuck(course: &Course, then: Answer, error: ApiError) -> ApiError {
    match then {
        Answer::Failed(first) if matches!(course, Course::Bring(..)) => ApiError {
            message: format!("{}; and the worktree could not be moved back: {}", first.message, error.message),
            hint: Some("nothing of it is lost: paseo goes on with archiving it at the next use".to_owned()),
            ..first
        },
        Answer::Failed(first) => ApiError {
            message: format!("{}; and what had been begun could not be removed: {}", first.message, error.message),
            hint: first.hint.or_else(|| Some("paseo tries again to remove it at the next use".to_owned())),
            ..first
        },
        _ => error,
    }
}

/// How many requests may wait for one repository.
const LONGEST_QUEUE: usize = 256;

/// How many new worktrees are remembered as ones that may be rolled back.
const MOST_FRESH: usize = 256;

/// How many worktrees that could not be removed are remembered; marks on disk know the others.
const MOST_STUCK: usize = 64;
