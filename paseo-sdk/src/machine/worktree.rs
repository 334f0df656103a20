//! The worktrees of one repository: requests are carried out one after another, each as steps that can be undone.
//!
//! A creation writes a mark, then makes the branch, the tree and the note, and takes the mark away. The note is the
//! moment from which the worktree exists. A mark without a note is a worktree that somebody began and never finished:
//! it is undone in reverse, whether a step failed, its caller went away, or the daemon died.

mod choice;
mod words;

use std::collections::{BTreeMap, VecDeque};

pub use choice::{Base, Branch, Choice, Kind, Note, Sight, Tree, Want, check_slug, choose, slug_of};
pub use words::{Answer, Condition, Fact, Input, Leftover, Output, Refusal, Step, Ticket};

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
enum What {
    Create(Want),
    RollBack(String),
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
    Listing(Option<Want>),
    /// What was left half made is being removed.
    Sweeping {
        note: Note,
        undo: Undo,
        rest: VecDeque<(Note, Undo)>,
        then: Option<Want>,
    },
    Looking(Want),
    Making {
        note: Note,
        make: Make,
    },
    Undoing {
        note: Note,
        undo: Undo,
        then: Answer,
    },
}

/// The steps of a creation, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Make {
    Mark,
    Branch,
    Tree,
    Note,
    Unmark,
}

impl Make {
    fn step(self, note: Note) -> Step {
        match self {
            Make::Mark => Step::Mark(note),
            Make::Branch => Step::MakeBranch(note),
            Make::Tree => Step::MakeTree(note),
            Make::Note => Step::WriteNote(note),
            Make::Unmark => Step::Unmark(note),
        }
    }

    fn next(self) -> Option<Make> {
        match self {
            Make::Mark => Some(Make::Branch),
            Make::Branch => Some(Make::Tree),
            Make::Tree => Some(Make::Note),
            Make::Note => Some(Make::Unmark),
            Make::Unmark => None,
        }
    }

    /// Returns with what undoing begins once this step was begun.
    fn undo(self) -> Undo {
        match self {
            Make::Mark => Undo::Unmark,
            Make::Branch => Undo::Branch,
            Make::Tree | Make::Note => Undo::Tree,
            // The mark may be gone, and without one a daemon that dies now would leave half a worktree.
            Make::Unmark => Undo::Mark,
        }
    }
}

/// The steps of undoing, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undo {
    Mark,
    Tree,
    Branch,
    Unmark,
}

impl Undo {
    fn step(self, note: Note) -> Step {
        match self {
            Undo::Mark => Step::Mark(note),
            Undo::Tree => Step::RemoveTree(note),
            Undo::Branch => Step::RemoveBranch(note),
            Undo::Unmark => Step::Unmark(note),
        }
    }

    fn next(self) -> Option<Undo> {
        match self {
            Undo::Mark => Some(Undo::Tree),
            Undo::Tree => Some(Undo::Branch),
            Undo::Branch => Some(Undo::Unmark),
            Undo::Unmark => None,
        }
    }
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
            if matches!(work.state, State::Making { make: Make::Tree, .. }) && !work.cancelled {
                self.out.push_back(Output::Stop);
            }
            work.cancelled = true;
            return Ok(());
        }
        if let Some(at) = self.queue.iter().position(|errand| errand.ticket == ticket) {
            // Who asked for a worktree to go may leave; it goes all the same.
            if matches!(self.queue[at].what, What::Create(_)) {
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
            (State::Sweeping { note, undo, rest, then }, Fact::Done) => match undo.next() {
                Some(undo) => {
                    let step = undo.step(note.clone());
                    self.go_on(ticket, cancelled, State::Sweeping { note, undo, rest, then }, step);
                }
                None => {
                    self.stuck.retain(|stuck| *stuck != note);
                    self.sweep(ticket, cancelled, rest, then);
                }
            },
            // Somebody works in it by now, so it is theirs.
            (State::Sweeping { note, rest, then, .. }, Fact::Kept(_)) => {
                self.stuck.retain(|stuck| *stuck != note);
                let step = Step::Unmark(note.clone());
                self.go_on(ticket, cancelled, State::Sweeping { note, undo: Undo::Unmark, rest, then }, step);
            }
            // Its mark stays, so it is tried again at the next use.
            (State::Sweeping { rest, then, .. }, _) => self.sweep(ticket, cancelled, rest, then),
            (State::Looking(_), _) if cancelled => self.finish(None),
            (State::Looking(want), Fact::Seen(sight)) => match choose(now, want, &sight) {
                Choice::Make(note) => self.make(ticket, cancelled, note, Make::Mark),
                Choice::Return(note) => {
                    self.fresh.retain(|_, fresh| fresh.slug != note.slug);
                    self.stuck.retain(|stuck| stuck.slug != note.slug);
                    self.finish(Some((ticket, Answer::Found(note))));
                }
                Choice::Refuse(error) => self.finish(Some((ticket, Answer::Failed(error)))),
            },
            (State::Making { note, make }, Fact::Done) if cancelled => {
                self.undo(ticket, cancelled, note, make.undo(), Answer::RolledBack);
            }
            (State::Making { note, make }, Fact::Done) => match make.next() {
                Some(make) => self.make(ticket, cancelled, note, make),
                None => self.created(ticket, note),
            },
            // The worktree is there, and its mark says so too: it goes at the next use.
            (State::Making { note, make: Make::Unmark }, _) if !cancelled => self.created(ticket, note),
            (State::Making { note, make }, Fact::Failed(error)) => {
                self.undo(ticket, cancelled, note, make.undo(), Answer::Failed(error));
            }
            (State::Undoing { note, undo, then }, Fact::Done) => match undo.next() {
                Some(undo) => self.undo(ticket, cancelled, note, undo, then),
                None => self.finish(Some((ticket, then))),
            },
            (State::Undoing { note, then, .. }, Fact::Kept(why)) => {
                let then = if then == Answer::RolledBack { Answer::Kept(why) } else { then };
                self.undo(ticket, cancelled, note, Undo::Unmark, then);
            }
            // Everything is gone but the mark, which will find nothing at the next use.
            (State::Undoing { undo: Undo::Unmark, then, .. }, _) => self.finish(Some((ticket, then))),
            (State::Undoing { note, then, .. }, Fact::Failed(error)) => {
                if self.stuck.len() >= MOST_STUCK {
                    self.stuck.pop_front();
                }
                self.stuck.push_back(note);
                self.finish(Some((ticket, Answer::Failed(stuck(then, error)))));
            }
            (State::Looking(_), Fact::Failed(error)) => self.finish(Some((ticket, Answer::Failed(error)))),
            (state, fact) => unreachable!("{state:?} does not expect {fact:?}"),
        }
        Ok(())
    }

    /// Returns what shall go before anything else is made, and with what that begins.
    fn due(&self, found: Vec<Leftover>) -> VecDeque<(Note, Undo)> {
        let unmarked = self.stuck.iter().filter(|stuck| !found.iter().any(|leftover| leftover.note == **stuck));
        let mut due: VecDeque<_> = unmarked.map(|note| (note.clone(), Undo::Mark)).collect();
        due.extend(found.into_iter().map(|Leftover { note, finished }| {
            let stays = finished && !self.stuck.contains(&note);
            (note, if stays { Undo::Unmark } else { Undo::Tree })
        }));
        due
    }

    fn sweep(&mut self, ticket: Ticket, cancelled: bool, mut rest: VecDeque<(Note, Undo)>, then: Option<Want>) {
        match (rest.pop_front(), then) {
            (Some((note, undo)), then) => {
                let step = undo.step(note.clone());
                self.go_on(ticket, cancelled, State::Sweeping { note, undo, rest, then }, step);
            }
            (None, None) => self.finish(Some((ticket, Answer::Tidied))),
            (None, Some(_)) if cancelled => self.finish(None),
            (None, Some(want)) => {
                let step = Step::Look(want.branch.clone());
                self.go_on(ticket, cancelled, State::Looking(want), step);
            }
        }
    }

    fn make(&mut self, ticket: Ticket, cancelled: bool, note: Note, make: Make) {
        let step = make.step(note.clone());
        self.go_on(ticket, cancelled, State::Making { note, make }, step);
    }

    fn undo(&mut self, ticket: Ticket, cancelled: bool, note: Note, undo: Undo, then: Answer) {
        let step = undo.step(note.clone());
        self.go_on(ticket, cancelled, State::Undoing { note, undo, then }, step);
    }

    fn created(&mut self, ticket: Ticket, note: Note) {
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
                What::Create(want) => self.go_on(ticket, false, State::Listing(Some(want)), Step::Leftovers),
                What::Tidy => self.go_on(ticket, false, State::Listing(None), Step::Leftovers),
                What::RollBack(slug) => match self.fresh.values().find(|note| note.slug == slug).cloned() {
                    Some(note) => {
                        self.fresh.retain(|_, fresh| *fresh != note);
                        self.undo(ticket, false, note, Undo::Mark, Answer::RolledBack);
                    }
                    None => self.answer(ticket, Answer::Kept("it was not made by this call alone")),
                },
            }
        }
    }
}

impl State {
    fn expects(&self, fact: &Fact) -> bool {
        match fact {
            Fact::Leftovers(_) => matches!(self, State::Listing(_)),
            Fact::Seen(_) => matches!(self, State::Looking(_)),
            Fact::Kept(_) => {
                matches!(self, State::Sweeping { undo: Undo::Tree, .. } | State::Undoing { undo: Undo::Tree, .. })
            }
            Fact::Done => matches!(self, State::Sweeping { .. } | State::Making { .. } | State::Undoing { .. }),
            Fact::Failed(_) => true,
        }
    }
}

/// Says that undoing failed too.
fn stuck(then: Answer, error: ApiError) -> ApiError {
    match then {
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
