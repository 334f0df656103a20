//! The worktree machine against a model of the disk: whatever fails, goes away or dies, nothing half made stays.

use std::collections::{BTreeMap, BTreeSet};

use paseo_sdk::machine::Machine as _;
use paseo_sdk::machine::worktree::{
    Answer, Base, Branch, Condition, Fact, Input, Kind, Leftover, Note, Output, Repository, Sight, Step, Ticket, Tree,
    Want,
};
use paseo_sdk::model::{Setup, Timestamp};
use paseo_sdk::{ApiError, Code};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_disk_has_the_worktrees_that_were_answered_and_nothing_half(
        events in proptest::collection::vec(event(), 0..60)
    ) {
        let mut world = World::default();
        for event in events {
            world.happen(event)?;
        }
        world.settle()?;
        world.compare()?;
    }
}

/// Something that happens to the machine or to the disk.
#[derive(Clone, Debug)]
enum Event {
    Create {
        branch: usize,
        base: usize,
        slug: Option<usize>,
    },
    RollBack {
        which: usize,
    },
    Tidy,
    Cancel {
        which: usize,
    },
    /// The step ends well.
    Succeed,
    /// The step fails, and has done what it was to do or not.
    Fail {
        done: Extent,
    },
    /// The daemon dies in the middle of a step, and another one starts.
    Die {
        done: Extent,
    },
    /// Somebody works in a worktree.
    Work {
        which: usize,
    },
    /// Somebody makes a branch by hand.
    Branch {
        branch: usize,
    },
}

/// How far a step that failed has come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Extent {
    Nothing,
    Half,
    All,
}

fn event() -> impl Strategy<Value = Event> {
    let extent = || prop_oneof![Just(Extent::Nothing), Just(Extent::Half), Just(Extent::All)];
    prop_oneof![
        3 => (0..BRANCHES.len(), 0..2usize, proptest::option::weighted(0.2, 0..2usize))
            .prop_map(|(branch, base, slug)| Event::Create { branch, base, slug }),
        1 => (0..8usize).prop_map(|which| Event::RollBack { which }),
        1 => Just(Event::Tidy),
        2 => (0..8usize).prop_map(|which| Event::Cancel { which }),
        14 => Just(Event::Succeed),
        3 => extent().prop_map(|done| Event::Fail { done }),
        1 => extent().prop_map(|done| Event::Die { done }),
        1 => (0..8usize).prop_map(|which| Event::Work { which }),
        1 => (0..BRANCHES.len()).prop_map(|branch| Event::Branch { branch }),
    ]
}

const BRANCHES: [&str; 4] = ["fix/foo", "fix-foo", "FIX/foo", "other"];

#[derive(Default)]
struct World {
    machine: Repository,
    disk: Disk,
    step: Option<Step>,
    now: i64,
    next: i64,
    /// What was answered, to the requests that are still waited for.
    answers: BTreeMap<Ticket, Answer>,
    cancelled: BTreeSet<Ticket>,
    roll_backs: BTreeSet<Ticket>,
    /// Worktrees that were whole when their daemon died: nobody was told of them, and they stay.
    excused: BTreeSet<Timestamp>,
}

#[derive(Default)]
struct Disk {
    marks: BTreeMap<String, Note>,
    /// Each with the time of the note for which it was made; none for one made by hand.
    branches: BTreeMap<String, Option<Timestamp>>,
    trees: BTreeMap<String, OnDisk>,
}

#[derive(Debug)]
struct OnDisk {
    made_for: Note,
    whole: bool,
    noted: bool,
    worked_in: bool,
}

impl World {
    fn happen(&mut self, event: Event) -> Result<(), TestCaseError> {
        self.now += 1;
        match event {
            Event::Create { branch, base, slug } => {
                let name = ["main", "develop"][base].to_owned();
                let setup = Setup::default();
                let base = Base { name: name.clone(), reference: None, commit: format!("{name}-commit"), setup };
                let slug = slug.map(|which| ["mine", "fix-foo"][which].to_owned());
                let want = Want { branch: BRANCHES[branch].to_owned(), asked: Some(name), base: Ok(base), slug };
                let ticket = self.ticket();
                self.tell(Input::Create { ticket, want })?;
            }
            Event::RollBack { which } => {
                let made: Vec<_> = self.disk.trees.keys().cloned().collect();
                let Some(slug) = made.get(which).cloned() else { return Ok(()) };
                let ticket = self.ticket();
                self.roll_backs.insert(ticket);
                self.tell(Input::RollBack { ticket, slug })?;
            }
            Event::Tidy => {
                let ticket = self.ticket();
                self.tell(Input::Tidy { ticket })?;
            }
            Event::Cancel { which } => {
                let ticket = Ticket(self.next - which as i64);
                if self.machine.handle(Timestamp(self.now), Input::Cancel { ticket }).is_ok() {
                    self.cancelled.insert(ticket);
                }
                self.take();
            }
            Event::Succeed => {
                let Some(step) = self.step.take() else { return Ok(()) };
                let fact = self.disk.carry_out(&step, Extent::All);
                self.tell(Input::Fact(fact))?;
            }
            Event::Fail { done } => {
                let Some(step) = self.step.take() else { return Ok(()) };
                self.disk.carry_out(&step, done);
                self.tell(Input::Fact(Fact::Failed(ApiError::new(Code::Internal, "it failed"))))?;
            }
            Event::Die { done } => {
                if let Some(step) = self.step.take() {
                    self.disk.carry_out(&step, done);
                }
                self.machine = Repository::new();
                self.excused.extend(self.disk.trees.values().map(|tree| tree.made_for.created_at));
            }
            Event::Work { which } => {
                if let Some(tree) = self.disk.trees.values_mut().nth(which).filter(|tree| tree.noted && tree.whole) {
                    tree.worked_in = true;
                }
            }
            Event::Branch { branch } => {
                self.disk.branches.entry(BRANCHES[branch].to_owned()).or_insert(None);
            }
        }
        Ok(())
    }

    fn ticket(&mut self) -> Ticket {
        self.next += 1;
        Ticket(self.next)
    }

    fn tell(&mut self, input: Input) -> Result<(), TestCaseError> {
        let told = self.machine.handle(Timestamp(self.now), input.clone());
        prop_assert!(told.is_ok(), "{told:?} to {input:?}");
        self.take();
        Ok(())
    }

    fn take(&mut self) {
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Do(step) => {
                    assert!(self.step.is_none(), "one step at a time");
                    self.step = Some(step);
                }
                Output::Stop => assert!(matches!(self.step, Some(Step::MakeTree(_))), "there is something to stop"),
                Output::Answer { ticket, answer } => {
                    let before = self.answers.insert(ticket, answer);
                    assert!(before.is_none() || self.cancelled.contains(&ticket), "each is answered once");
                }
            }
        }
    }

    /// Lets everything come to its end, with nothing failing any more, and tidies up.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..2 {
            for _ in 0..10_000 {
                if self.step.is_none() {
                    break;
                }
                self.happen(Event::Succeed)?;
            }
            prop_assert!(self.machine.idle(), "it comes to rest");
            self.happen(Event::Tidy)?;
        }
        while self.step.is_some() {
            self.happen(Event::Succeed)?;
        }
        Ok(())
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        prop_assert!(self.disk.marks.is_empty(), "no mark is left: {:?}", self.disk.marks);
        let mut given = BTreeSet::new();
        let mut created = BTreeMap::new();
        let mut rolled_back = 0;
        for (ticket, answer) in &self.answers {
            match answer {
                Answer::Created(note) => drop(created.insert(note.created_at, *ticket)),
                Answer::Found(note) => drop(given.insert(note.created_at)),
                Answer::RolledBack => rolled_back += 1,
                _ => {}
            }
        }
        for tree in self.disk.trees.values() {
            let made_at = tree.made_for.created_at;
            prop_assert!(tree.whole && tree.noted, "no tree is half made: {tree:?}");
            prop_assert_eq!(self.disk.branches.get(&tree.made_for.branch), Some(&Some(made_at)), "it has its branch");
            let taken_back = created.get(&made_at).is_some_and(|ticket| self.cancelled.contains(ticket));
            let known = created.contains_key(&made_at) && !taken_back || given.contains(&made_at);
            prop_assert!(
                known || tree.worked_in || self.excused.contains(&made_at),
                "somebody was given it: {tree:?} {:?}",
                self.answers
            );
        }
        for (name, made_for) in &self.disk.branches {
            let Some(made_at) = made_for else { continue };
            let has_tree = self.disk.trees.values().any(|tree| tree.made_for.created_at == *made_at);
            prop_assert!(has_tree, "branch {name} has its tree");
        }
        let there: BTreeSet<_> = self.disk.trees.values().map(|tree| tree.made_for.created_at).collect();
        let gone =
            created.iter().filter(|(at, ticket)| !there.contains(at) && !self.cancelled.contains(ticket)).count();
        prop_assert!(gone <= rolled_back + self.late_roll_backs(), "whoever was given one has it");
        prop_assert!(given.iter().all(|at| there.contains(at)), "whoever was given one that was there has it");
        Ok(())
    }

    /// Roll-backs that failed and came to pass later, or that went on while the daemon died and nobody was answered.
    fn late_roll_backs(&self) -> usize {
        let late = |ticket| matches!(self.answers.get(ticket), None | Some(Answer::Failed(_)));
        self.roll_backs.iter().filter(|ticket| late(ticket)).count()
    }
}

impl Disk {
    /// Does a step, as far as it comes, and says what came of it when it came to its end.
    fn carry_out(&mut self, step: &Step, extent: Extent) -> Fact {
        let all = extent == Extent::All;
        match step {
            Step::Leftovers => Fact::Leftovers(
                self.marks
                    .values()
                    .map(|note| {
                        let tree = self.trees.get(&note.slug).filter(|tree| tree.made_for == *note);
                        Leftover { note: note.clone(), finished: tree.is_some_and(|tree| tree.noted) }
                    })
                    .collect(),
            ),
            Step::Look(branch) => Fact::Seen(self.look(branch)),
            Step::Mark(note) => {
                if all {
                    self.marks.insert(note.slug.clone(), note.clone());
                }
                Fact::Done
            }
            Step::MakeBranch(note) => {
                if self.branches.contains_key(&note.branch) {
                    return Fact::Failed(ApiError::new(Code::Conflict, "it is there"));
                }
                if all {
                    self.branches.insert(note.branch.clone(), Some(note.created_at));
                }
                Fact::Done
            }
            Step::MakeTree(note) => {
                assert!(!self.trees.contains_key(&note.slug), "the place is free");
                if extent != Extent::Nothing {
                    let made_for = note.clone();
                    let tree = OnDisk { made_for, whole: all, noted: false, worked_in: false };
                    self.trees.insert(note.slug.clone(), tree);
                }
                Fact::Done
            }
            Step::WriteNote(note) => {
                let tree = self.trees.get_mut(&note.slug).expect("a tree before its note");
                assert!(tree.whole, "the note is written last");
                tree.noted |= all;
                Fact::Done
            }
            Step::RemoveTree(note) => self.remove_tree(note, extent),
            Step::RemoveBranch(note) => {
                let used = self.trees.values().any(|tree| tree.made_for.branch == note.branch);
                if all && !used && self.branches.get(&note.branch) == Some(&Some(note.created_at)) {
                    self.branches.remove(&note.branch);
                }
                Fact::Done
            }
            Step::Unmark(note) => {
                if all {
                    self.marks.remove(&note.slug);
                }
                Fact::Done
            }
        }
    }

    fn look(&self, branch: &str) -> Sight {
        let tree = |tree: &OnDisk| Tree {
            path: format!("/home/{}", tree.made_for.slug),
            branch: Some(tree.made_for.branch.clone()),
            kind: if tree.noted { Kind::Ours(tree.made_for.clone()) } else { Kind::Foreign },
        };
        Sight {
            trees: self.trees.values().map(tree).collect(),
            taken: self.trees.keys().chain(self.marks.keys()).cloned().collect(),
            branch: if self.branches.contains_key(branch) { Branch::There } else { Branch::Free },
        }
    }

    fn remove_tree(&mut self, note: &Note, extent: Extent) -> Fact {
        let Some(tree) = self.trees.get_mut(&note.slug).filter(|tree| tree.made_for == *note) else {
            return Fact::Done;
        };
        if let Some(why) = tree.condition().changed_since(note).filter(|_| tree.noted) {
            return Fact::Kept(why);
        }
        match extent {
            Extent::Nothing => {}
            Extent::Half => (tree.noted, tree.whole) = (false, false),
            Extent::All => drop(self.trees.remove(&note.slug)),
        }
        Fact::Done
    }
}

impl OnDisk {
    fn condition(&self) -> Condition {
        Condition {
            branch: Some(self.made_for.branch.clone()),
            head: Some(self.made_for.base_commit.clone()),
            clean: !self.worked_in,
            locked: false,
        }
    }
}
