//! The worktree machine against a model of the disk: whatever fails, goes away or dies, nothing half made stays, and what
//! somebody did in a worktree is in it or in an archive at every instant.

use std::collections::{BTreeMap, BTreeSet};

use paseo_sdk::machine::Machine as _;
use paseo_sdk::machine::worktree::{
    Answer, Archived, Base, Branch, Condition, Fact, Head, Input, Inspection, Kind, Leftover, Note, Output, Recalled,
    Removal, Repository, Sight, Stage, Step, Ticket, Tree, Want,
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
    Archive {
        which: usize,
        force: bool,
        keep_branch: bool,
    },
    Restore {
        slug: usize,
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
        2 => (0..4usize, any::<bool>(), any::<bool>())
            .prop_map(|(which, force, keep_branch)| Event::Archive { which, force, keep_branch }),
        2 => (0..SLUGS.len()).prop_map(|slug| Event::Restore { slug }),
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
const SLUGS: [&str; 4] = ["fix-foo", "fix-foo-2", "mine", "other"];

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
    /// Worktrees that were whole when their daemon died, or that somebody would archive: they may stay.
    excused: BTreeSet<Timestamp>,
    /// What was done last in each worktree.
    done: BTreeMap<Timestamp, i64>,
}

#[derive(Default)]
struct Disk {
    marks: BTreeMap<String, Mark>,
    /// Each with the time of the note for which it was made; none for one made by hand.
    branches: BTreeMap<String, Option<Timestamp>>,
    trees: BTreeMap<String, OnDisk>,
    /// Trees out of sight that are being archived.
    departures: BTreeMap<String, OnDisk>,
    /// What was archived under each name, the newest last.
    archives: BTreeMap<String, Vec<Kept>>,
    /// How many archives were made.
    count: i64,
}

#[derive(Debug)]
struct Mark {
    note: Note,
    /// Whether it goes, and what it holds is put away.
    going: Option<(Removal, bool)>,
}

#[derive(Clone, Debug)]
struct OnDisk {
    made_for: Note,
    whole: bool,
    noted: bool,
    /// What was done in it; 0 for nothing.
    work: i64,
    /// Whether it is registered.
    registered: bool,
}

#[derive(Clone, Debug)]
struct Kept {
    commit: String,
    note: Note,
    work: i64,
    branch_removed: bool,
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
                let head = Head::New { branch: BRANCHES[branch].to_owned() };
                let want = Want { head, asked: Some(name), base: Ok(base), slug, trusted: true, port: None };
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
            Event::Archive { which, force, keep_branch } => {
                let Some((slug, tree)) = self.disk.trees.iter().nth(which) else { return Ok(()) };
                // Somebody knows it, and should that fail, it stays.
                self.excused.insert(tree.made_for.created_at);
                let (ticket, slug) = (Ticket(self.next + 1), slug.clone());
                self.next += 1;
                self.tell(Input::Archive { ticket, slug, force, keep_branch })?;
            }
            Event::Restore { slug } => {
                let (ticket, slug) = (self.ticket(), SLUGS[slug].to_owned());
                self.tell(Input::Restore { ticket, slug, port: None })?;
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
                    tree.work = self.now;
                    self.done.insert(tree.made_for.created_at, self.now);
                }
            }
            Event::Branch { branch } => {
                self.disk.branches.entry(BRANCHES[branch].to_owned()).or_insert(None);
            }
        }
        self.nothing_is_lost()
    }

    /// Checks that what was done in any worktree is in it, or on its way into an archive, or there.
    fn nothing_is_lost(&self) -> Result<(), TestCaseError> {
        for (made_at, work) in &self.done {
            let is_it = |note: &Note, found: i64| note.created_at == *made_at && found == *work;
            let mut trees = self.disk.trees.values().chain(self.disk.departures.values());
            let mut archives = self.disk.archives.values().flatten();
            prop_assert!(
                trees.any(|tree| is_it(&tree.made_for, tree.work)) || archives.any(|kept| is_it(&kept.note, kept.work)),
                "what was done at {work} in the worktree of {made_at} is nowhere"
            );
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
                Output::Stop => {
                    let stoppable = matches!(self.step, Some(Step::MakeTree(_) | Step::Refill(..)));
                    assert!(stoppable, "there is something to stop");
                }
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
        prop_assert!(self.disk.departures.is_empty(), "nothing is left out of sight: {:?}", self.disk.departures);
        let mut given = BTreeSet::new();
        let mut created = BTreeMap::new();
        let mut rolled_back = 0;
        for (ticket, answer) in &self.answers {
            match answer {
                Answer::Created(note) => drop(created.insert(note.created_at, *ticket)),
                Answer::Found(note) => drop(given.insert(note.created_at)),
                Answer::Restored(note) => drop(given.insert(note.created_at)),
                Answer::RolledBack => rolled_back += 1,
                _ => {}
            }
        }
        for tree in self.disk.trees.values() {
            let made_at = tree.made_for.created_at;
            prop_assert!(tree.whole && tree.noted && tree.registered, "no tree is half made: {tree:?}");
            let branch = tree.made_for.branch.as_ref().expect("all have one");
            prop_assert!(self.disk.branches.contains_key(branch), "it has its branch");
            let taken_back = created.get(&made_at).is_some_and(|ticket| self.cancelled.contains(ticket));
            let known = created.contains_key(&made_at) && !taken_back || given.contains(&made_at);
            prop_assert!(
                known || tree.work > 0 || self.excused.contains(&made_at),
                "somebody was given it: {tree:?} {:?}",
                self.answers
            );
        }
        let archived: BTreeSet<_> = self.disk.archives.values().flatten().map(|kept| kept.note.created_at).collect();
        for (name, made_for) in &self.disk.branches {
            let Some(made_at) = made_for else { continue };
            let has_tree = self.disk.trees.values().any(|tree| tree.made_for.created_at == *made_at);
            prop_assert!(has_tree || archived.contains(made_at), "branch {name} has its tree, or was kept");
        }
        let there: BTreeSet<_> =
            self.disk.trees.values().map(|tree| tree.made_for.created_at).chain(archived).collect();
        let gone =
            created.iter().filter(|(at, ticket)| !there.contains(at) && !self.cancelled.contains(ticket)).count();
        prop_assert!(gone <= rolled_back + self.late_roll_backs(), "whoever was given one has it, or it is archived");
        prop_assert!(given.iter().all(|at| there.contains(at)), "whoever was given one that was there has it");
        for tree in self.disk.trees.values() {
            let twice = self.disk.archives.get(&tree.made_for.slug).into_iter().flatten();
            let twice = twice.filter(|kept| kept.note.created_at == tree.made_for.created_at).count();
            prop_assert_eq!(twice, 0, "one that is there is not archived: {:?}", tree);
        }
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
            Step::Leftovers => Fact::Leftovers(self.marks.values().map(|mark| self.leftover(mark)).collect()),
            Step::Look(branch) => Fact::Seen(self.look(branch.as_deref())),
            Step::Mark(note) => {
                if all {
                    self.marks.insert(note.slug.clone(), Mark { note: note.clone(), going: None });
                }
                Fact::Done
            }
            Step::MakeBranch(note) => {
                let branch = note.branch.clone().expect("all have one");
                if !note.branch_made {
                    return Fact::Done;
                }
                if self.branches.contains_key(&branch) {
                    return Fact::Failed(ApiError::new(Code::Conflict, "it is there"));
                }
                if all {
                    self.branches.insert(branch, Some(note.created_at));
                }
                Fact::Done
            }
            Step::MakeTree(note) => {
                assert!(!self.trees.contains_key(&note.slug), "the place is free");
                if extent != Extent::Nothing {
                    let made_for = note.clone();
                    let tree = OnDisk { made_for, whole: all, noted: false, work: 0, registered: true };
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
                if all && note.branch_made {
                    self.remove_branch(note);
                }
                Fact::Done
            }
            Step::Inspect(slug) => match self.trees.get(slug).filter(|tree| tree.noted && tree.whole) {
                None => Fact::Failed(ApiError::new(Code::NotFound, "there is none")),
                Some(tree) => Fact::Inspected(Box::new(Inspection {
                    note: tree.made_for.clone(),
                    path: format!("/home/{slug}"),
                    changes: Vec::new(),
                    changed: i64::from(tree.work > 0),
                    operation: None,
                    repositories: Vec::new(),
                    locked: None,
                })),
            },
            Step::MarkRemoval(removal) => {
                if all {
                    let mark = Mark { note: removal.note.clone(), going: Some((removal.clone(), false)) };
                    self.marks.insert(removal.note.slug.clone(), mark);
                }
                Fact::Done
            }
            Step::TakeAway(removal) => {
                let slug = &removal.note.slug;
                if self.trees.get(slug).is_none_or(|tree| tree.made_for.created_at != removal.note.created_at) {
                    return Fact::Failed(ApiError::new(Code::NotFound, "it is gone"));
                }
                if all && let Some(tree) = self.trees.remove(slug) {
                    self.departures.insert(slug.clone(), tree);
                }
                Fact::Done
            }
            Step::PutAway(removal) => self.put_away(removal, extent),
            Step::BringBack(removal) => {
                let slug = &removal.note.slug;
                if all && let Some(tree) = self.departures.remove(slug) {
                    let before = self.trees.insert(slug.clone(), tree);
                    assert!(before.is_none(), "its place is free");
                }
                Fact::Done
            }
            Step::Clear(removal) => {
                let slug = &removal.note.slug;
                if let Some(tree) = self.departures.get_mut(slug) {
                    let kept = self.archives.get(slug).and_then(|all| all.last()).expect("it is put away");
                    assert_eq!((kept.note.created_at, kept.work), (tree.made_for.created_at, tree.work), "as it is");
                    match extent {
                        Extent::Nothing => {}
                        Extent::Half => tree.registered = false,
                        Extent::All => drop(self.departures.remove(slug)),
                    }
                }
                Fact::Done
            }
            Step::DropBranch(removal) => {
                let kept = self.archives.get(&removal.note.slug).and_then(|all| all.last());
                if all && kept.is_some_and(|kept| kept.branch_removed) && !self.remove_branch(&removal.note) {
                    return Fact::Kept("it is in use");
                }
                Fact::Done
            }
            Step::Recall(slug) => match self.archives.get(slug).and_then(|all| all.last()) {
                None => Fact::Failed(ApiError::new(Code::NotFound, "there is none")),
                Some(kept) => {
                    let branch = kept.note.branch.clone().expect("all have one");
                    let there = self.branches.contains_key(&branch);
                    let there = if there { Branch::There("tip".to_owned()) } else { Branch::Free };
                    let recalled = Recalled {
                        note: kept.note.clone(),
                        commit: kept.commit.clone(),
                        head_branch: Some(branch.clone()),
                        head_commit: "tip".to_owned(),
                        branch_tip: kept.branch_removed.then(|| "tip".to_owned()),
                        branches: vec![(branch, there)],
                    };
                    Fact::Recalled(Box::new(recalled), self.look(None))
                }
            },
            Step::Refill(note, recalled) => {
                assert!(!self.trees.contains_key(&note.slug), "the place is free");
                let kept = self.archives.get(&recalled.note.slug).and_then(|all| all.last()).expect("it was recalled");
                assert_eq!(kept.commit, recalled.commit, "the one that was recalled");
                if extent != Extent::Nothing {
                    let work = if all { kept.work } else { 0 };
                    let made_for = note.clone();
                    let tree = OnDisk { made_for, whole: all, noted: false, work, registered: true };
                    self.trees.insert(note.slug.clone(), tree);
                }
                Fact::Done
            }
            Step::Trust(_) => unreachable!("nobody asks for it"),
            Step::Unmark(note) => {
                let tree = self.trees.get(&note.slug).filter(|tree| tree.made_for.created_at == note.created_at);
                if extent != Extent::Nothing && tree.is_some_and(|tree| tree.noted) {
                    // It may have come back under another name.
                    for kept in self.archives.values_mut() {
                        kept.pop_if(|kept| kept.note.created_at == note.created_at);
                    }
                }
                if all {
                    self.marks.remove(&note.slug);
                }
                Fact::Done
            }
        }
    }

    fn leftover(&self, mark: &Mark) -> Leftover {
        let note = mark.note.clone();
        let tree = self.trees.get(&note.slug).filter(|tree| tree.made_for.created_at == note.created_at);
        let in_place = tree.is_some_and(|tree| tree.noted);
        let stage = match &mark.going {
            Some((removal, true)) => Stage::Gone(removal.clone()),
            Some((removal, false)) if !in_place || self.departures.contains_key(&note.slug) => {
                Stage::Going(removal.clone())
            }
            Some((removal, false)) => Stage::Staying(removal.clone()),
            None if in_place => Stage::Finished,
            None => Stage::Begun,
        };
        Leftover { note, stage }
    }

    fn put_away(&mut self, removal: &Removal, extent: Extent) -> Fact {
        let slug = &removal.note.slug;
        if let Some(tree) = self.departures.get(slug).filter(|tree| tree.registered)
            && extent != Extent::Nothing
        {
            self.count += 1;
            let kept = Kept {
                commit: format!("archive {}", self.count),
                note: removal.note.clone(),
                work: tree.work,
                branch_removed: removal.note.branch_made && !removal.keep_branch,
            };
            let all = self.archives.entry(slug.clone()).or_default();
            all.pop_if(|last| last.note.created_at == kept.note.created_at);
            all.push(kept);
        }
        if extent == Extent::All {
            let mark = Mark { note: removal.note.clone(), going: Some((removal.clone(), true)) };
            self.marks.insert(slug.clone(), mark);
        }
        Fact::PutAway(Box::new(Archived {
            note: removal.note.clone(),
            reference: format!("refs/paseo/archive/{slug}"),
            commit: "any".to_owned(),
            kept_commits: 0,
            kept_files: 0,
            branch_removed: !removal.keep_branch,
            problem: None,
        }))
    }

    fn remove_branch(&mut self, note: &Note) -> bool {
        let branch = note.branch.as_ref().expect("all have one");
        let used = self.trees.values().any(|tree| tree.made_for.branch == note.branch);
        if !used && self.branches.get(branch) == Some(&Some(note.created_at)) {
            self.branches.remove(branch);
        }
        !self.branches.contains_key(branch)
    }

    fn look(&self, branch: Option<&str>) -> Sight {
        let tree = |tree: &OnDisk| Tree {
            path: format!("/home/{}", tree.made_for.slug),
            branch: tree.made_for.branch.clone(),
            kind: if tree.noted { Kind::Ours(tree.made_for.clone()) } else { Kind::Foreign },
        };
        Sight {
            trees: self.trees.values().map(tree).collect(),
            taken: self.trees.keys().chain(self.marks.keys()).cloned().collect(),
            branch: match branch.is_some_and(|branch| self.branches.contains_key(branch)) {
                true => Branch::There("tip".to_owned()),
                false => Branch::Free,
            },
        }
    }

    fn remove_tree(&mut self, note: &Note, extent: Extent) -> Fact {
        let made_at = note.created_at;
        let Some(tree) = self.trees.get_mut(&note.slug).filter(|tree| tree.made_for.created_at == made_at) else {
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
            branch: self.made_for.branch.clone(),
            head: Some(self.made_for.start().to_owned()),
            clean: self.work == 0,
            locked: false,
        }
    }
}
