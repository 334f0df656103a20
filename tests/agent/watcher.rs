//! Those who watch an agent: each with a replica, on a connection that is cut again and again. Their end of the daemon
//! does what the daemon's watch does.

use std::collections::VecDeque;

use paseo_sdk::catalogue::{TimelinePage, WatchAgents, WatchFrom, Watched, Watching};
use paseo_sdk::item::Entry;
use paseo_sdk::machine::Machine;
use paseo_sdk::machine::replica::{Input, Output, Replica};
use paseo_sdk::model::{Agent, AgentId, Event};

use super::world::World;

pub(crate) struct Watcher {
    replica: Replica,
    link: Option<Link>,
    seen: Vec<Entry>,
    state: Option<Agent>,
    /// How many losses of power it has taken notice of, and how many entries survived all of them.
    outages: usize,
    survived: usize,
}

/// A connection to one daemon.
struct Link {
    daemon: u64,
    /// The last entry and state that are on their way.
    after: i64,
    state: Option<u64>,
    frames: VecDeque<Event>,
    /// After which entry is asked for a page.
    asked: Option<i64>,
}

impl Watcher {
    pub(crate) fn new() -> Watcher {
        let from = WatchFrom { agent_id: "a1".into(), after: 0 };
        let replica = Replica::new(WatchAgents { agents: Some(vec![from]) });
        Watcher { replica, link: None, seen: Vec::new(), state: None, outages: 0, survived: usize::MAX }
    }

    /// Lets one thing happen to it.
    pub(crate) fn go_on(&mut self, world: &World, how: u8) {
        self.survive(world);
        match how % 12 {
            0 => self.cut(),
            1 | 2 => drop(self.connect(world)),
            3..=5 => drop(self.show(world)),
            6..=9 => drop(self.listen(world)),
            10 => drop(self.answer(world)),
            _ => {
                self.replica.expire(world.now);
                self.take();
            }
        }
    }

    /// Lets everything come to it that is on its way, and looks at what it knows then.
    pub(crate) fn judge(mut self, world: &World) {
        self.survive(world);
        let mut now = world.now;
        loop {
            if self.connect(world) || self.show(world) || self.listen(world) || self.answer(world) {
                continue;
            }
            let Some(due) = self.replica.deadline() else { break };
            now = now.max(due);
            self.replica.expire(now);
            self.take();
        }
        // What was shown and did not survive may have come to something else.
        let same = self.survived.min(world.disk.log.len().max(self.seen.len()));
        let known = |entries: &[Entry]| entries.iter().take(same).cloned().collect::<Vec<_>>();
        assert_eq!(known(&self.seen), known(&world.disk.log), "what a watcher has seen");
        assert!(self.seen.len() >= world.disk.log.len(), "a watcher waits for more");
        assert_eq!(self.state, Some(world.view().agent), "the state that a watcher has seen last");
    }

    fn survive(&mut self, world: &World) {
        let seen = i64::try_from(self.seen.len()).expect("a short timeline");
        let shown = self.link.as_ref().map_or(seen, |link| link.after.max(seen));
        for left in &world.disk.survived[self.outages..] {
            self.outages += 1;
            if i64::try_from(*left).is_ok_and(|left| left < shown) {
                self.survived = self.survived.min(*left);
            }
        }
    }

    fn connect(&mut self, world: &World) -> bool {
        if self.link.as_ref().is_some_and(|link| Some(link.daemon) != world.number()) {
            self.cut();
        }
        let (None, Some(daemon), Some((_, agent))) = (&self.link, world.number(), world.state()) else { return false };
        let after = self.replica.request().agents.expect("it follows one")[0].after;
        let entries = page(world, after, FIRST_PAGE);
        let last = entries.last().map_or(after, |entry| entry.seq);
        self.link = Some(Link { daemon, after: last, state: None, frames: VecDeque::new(), asked: None });
        let standing = Watched { agent: agent.clone(), entries, text: Vec::new() };
        self.tell(world, Input::Watching(Watching { agents: vec![standing] }));
        true
    }

    fn cut(&mut self) {
        if self.link.take().is_some() {
            let Ok(()) = self.replica.handle(paseo_sdk::model::Timestamp(0), Input::Cut);
            self.take();
        }
    }

    /// Lets the daemon send what it has not shown yet; returns whether there was something.
    fn show(&mut self, world: &World) -> bool {
        let Some(link) = self.link.as_mut().filter(|link| Some(link.daemon) == world.number()) else { return false };
        let Some((number, agent)) = world.state() else { return false };
        let written = world.disk.log.last().map_or(0, |entry| entry.seq);
        if link.state != Some(number) && link.after >= written {
            link.state = Some(number);
            link.frames.push_back(Event::AgentChanged(Box::new(agent.clone())));
            return true;
        }
        let page = page(world, link.after, PAGE);
        let Some(last) = page.last() else { return false };
        link.after = last.seq;
        let frame = |entry| Event::AgentEntry { agent_id: id(), entry: Box::new(entry) };
        link.frames.extend(page.into_iter().map(frame));
        true
    }

    /// Takes the next thing that has arrived, whether or not the daemon still lives; returns whether there was one.
    fn listen(&mut self, world: &World) -> bool {
        let Some(event) = self.link.as_mut().and_then(|link| link.frames.pop_front()) else { return false };
        self.tell(world, Input::Event(event));
        true
    }

    /// Lets the daemon answer what was asked; returns whether there was something.
    fn answer(&mut self, world: &World) -> bool {
        let link = self.link.as_mut().filter(|link| Some(link.daemon) == world.number());
        let Some(after) = link.and_then(|link| link.asked.take()) else { return false };
        let entries = page(world, after, PAGE);
        let last_seq = world.disk.log.last().map_or(0, |entry| entry.seq);
        let more = entries.last().is_some_and(|entry| entry.seq < last_seq);
        let page = TimelinePage { entries, more, last_seq };
        self.tell(world, Input::Page { agent: id(), page });
        true
    }

    fn tell(&mut self, world: &World, input: Input) {
        let Ok(()) = self.replica.handle(world.now, input);
        self.take();
    }

    /// Takes what the replica knows now: each entry once, in order.
    fn take(&mut self) {
        while let Some(output) = self.replica.poll() {
            match output {
                Output::Event(Event::AgentEntry { entry, .. }) => {
                    assert_eq!(Ok(entry.seq), i64::try_from(self.seen.len() + 1), "the next entry");
                    self.seen.push(*entry);
                }
                Output::Event(Event::AgentChanged(agent)) => self.state = Some(*agent),
                Output::Event(_) => {}
                Output::Ask { after, .. } => {
                    let link = self.link.as_mut().expect("it asks on a connection");
                    assert_eq!(link.asked.replace(after), None, "it asks for one page at a time");
                }
            }
        }
    }
}

fn page(world: &World, after: i64, limit: usize) -> Vec<Entry> {
    world.disk.log.iter().filter(|entry| entry.seq > after).take(limit).cloned().collect()
}

fn id() -> AgentId {
    "a1".parse().expect("this is an id")
}

/// How many entries come with the answer of a watch, and at a time after that; so few that there is always more.
const FIRST_PAGE: usize = 4;
const PAGE: usize = 3;
