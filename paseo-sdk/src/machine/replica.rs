//! What a watcher knows: turns whatever arrives about agents (early, late, twice, with gaps) into their timelines.

mod history;
mod text;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;

use self::history::History;
use self::text::Texts;
use crate::catalogue::{TimelinePage, WatchAgents, WatchFrom, Watched, Watching};
use crate::item::Entry;
use crate::machine::Machine;
use crate::model::{Agent, AgentId, Delta, Event, Status, Timestamp};

/// What one watch knows about the agents it follows.
///
/// Entries of one agent come out in order, each once, without gaps. Text of an open item comes out in order, each byte at
/// most once; where a piece was left out, the next one has its true offset, and the closed item says it all again. Of the
/// agents themselves the latest state comes out.
#[derive(Clone, Debug)]
pub struct Replica {
    request: WatchAgents,
    phase: Phase,
    known: BTreeMap<AgentId, Known>,
    outputs: VecDeque<Output>,
}

/// What a replica is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The answer to `watch_agents`.
    Watching(Watching),
    /// An event, in whatever order.
    Event(Event),
    /// The answer to an [`Output::Ask`].
    Page {
        /// The agent that was asked about.
        agent: AgentId,
        /// The answer.
        page: TimelinePage,
    },
    /// An [`Output::Ask`] failed.
    Unanswered {
        /// The agent that was asked about.
        agent: AgentId,
    },
    /// An agent is no longer there, as asking for it has shown.
    Missing {
        /// The agent.
        agent: AgentId,
    },
    /// The connection is gone: nothing more comes of what was asked on it.
    Cut,
}

/// What a replica asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Tell the watcher.
    Event(Event),
    /// Read the timeline of an agent, and give it as [`Input::Page`].
    Ask {
        /// The agent.
        agent: AgentId,
        /// The number of the last entry that is known.
        after: i64,
    },
}

impl Replica {
    /// Begins to know what `request` asks for.
    #[must_use]
    pub fn new(request: WatchAgents) -> Replica {
        let phase = Phase::First(VecDeque::new());
        Replica { request, phase, known: BTreeMap::new(), outputs: VecDeque::new() }
    }

    /// Returns what to ask for on a new connection, so that everything goes on where it is.
    #[must_use]
    pub fn request(&self) -> WatchAgents {
        match (&self.phase, &self.request.agents) {
            (Phase::First(_), _) | (_, None) => self.request.clone(),
            (_, Some(_)) => {
                let from = |(id, known): (&AgentId, &Known)| {
                    let after = known.timeline.as_ref().map_or(0, |timeline| timeline.history.last());
                    WatchFrom { agent_id: id.into(), after }
                };
                WatchAgents { agents: Some(self.known.iter().map(from).collect()) }
            }
        }
    }

    /// Returns the agents that are known.
    pub fn agents(&self) -> impl Iterator<Item = &AgentId> {
        self.known.keys()
    }

    /// Returns whether there is nothing left to follow: every agent that was asked for was deleted.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.request.agents.is_some() && self.known.is_empty() && !matches!(self.phase, Phase::First(_))
    }

    fn watching(&mut self, now: Timestamp, watching: Watching) {
        let early = match std::mem::replace(&mut self.phase, Phase::Joined) {
            Phase::First(early) => early,
            Phase::Again(early) => {
                self.remove_absent(&watching);
                early
            }
            Phase::Joined => VecDeque::new(),
        };
        for watched in watching.agents {
            self.watched(now, watched);
        }
        for event in early {
            self.event(now, event);
        }
    }

    /// Says goodbye to agents that were deleted while there was no connection. Archived ones are perhaps only left out.
    fn remove_absent(&mut self, watching: &Watching) {
        let present: BTreeSet<_> = watching.agents.iter().map(|watched| &watched.agent.agent_id).collect();
        let is_gone = |id: &AgentId, known: &Known| {
            let archived = known.agent.as_ref().is_some_and(|agent| agent.status == Status::Archived);
            !present.contains(id) && !archived
        };
        let gone: Vec<_> =
            self.known.iter().filter(|(id, known)| is_gone(id, known)).map(|(id, _)| id.clone()).collect();
        for agent in gone {
            self.removed(agent);
        }
    }

    fn watched(&mut self, now: Timestamp, watched: Watched) {
        let Watched { agent, entries, text } = watched;
        let id = agent.agent_id.clone();
        let request = &self.request;
        let known = self
            .known
            .entry(id.clone())
            .or_insert_with(|| Known { timeline: from(request, &agent), ..Known::default() });
        known.snapshot(Box::new(agent));
        if let Some(timeline) = &mut known.timeline {
            for entry in entries {
                timeline.entry(&id, entry, &mut self.outputs);
            }
            for delta in text {
                timeline.delta(&id, delta, &mut self.outputs);
            }
            timeline.look(now, &id, &mut self.outputs);
        }
        known.show(&mut self.outputs);
    }

    fn event(&mut self, now: Timestamp, event: Event) {
        if let Phase::First(early) | Phase::Again(early) = &mut self.phase {
            // Where the agents stand is still to come. What is dropped here shows as a gap then.
            if early.len() == EARLY_EVENTS {
                early.pop_front();
            }
            early.push_back(event);
            return;
        }
        let outputs = &mut self.outputs;
        match event {
            Event::AgentChanged(agent) => {
                let id = agent.agent_id.clone();
                let known = match self.request.agents {
                    // An agent that was created since.
                    None => Some(self.known.entry(id.clone()).or_default()),
                    Some(_) => self.known.get_mut(&id),
                };
                if let Some(known) = known {
                    known.snapshot(agent);
                    if let Some(timeline) = &mut known.timeline {
                        timeline.look(now, &id, outputs);
                    }
                    known.show(outputs);
                }
            }
            Event::AgentEntry { agent_id, entry } => {
                if let Some(known) = self.known.get_mut(&agent_id)
                    && let Some(timeline) = &mut known.timeline
                {
                    timeline.entry(&agent_id, *entry, outputs);
                    timeline.look(now, &agent_id, outputs);
                    known.show(outputs);
                }
            }
            Event::AgentText { agent_id, delta } => {
                if let Some(timeline) = timeline(&mut self.known, &agent_id) {
                    timeline.delta(&agent_id, delta, outputs);
                }
            }
            Event::AgentRemoved { agent_id } => self.removed(agent_id),
        }
    }

    fn removed(&mut self, agent_id: AgentId) {
        if self.known.remove(&agent_id).is_some() {
            self.outputs.push_back(Output::Event(Event::AgentRemoved { agent_id }));
        }
    }

    fn cut(&mut self) {
        self.phase = match self.phase {
            Phase::First(_) => Phase::First(VecDeque::new()),
            Phase::Again(_) | Phase::Joined => Phase::Again(VecDeque::new()),
        };
        // Everything after the last entry comes again on the next connection.
        self.outputs.retain(|output| matches!(output, Output::Event(_)));
        for known in self.known.values_mut() {
            known.heard = false;
            if let Some(timeline) = &mut known.timeline {
                timeline.history.start_again();
            }
        }
    }
}

impl Machine for Replica {
    type Input = Input;
    type Output = Output;
    type Refusal = Infallible;

    fn handle(&mut self, now: Timestamp, input: Input) -> Result<(), Infallible> {
        match input {
            Input::Watching(watching) => self.watching(now, watching),
            Input::Event(event) => self.event(now, event),
            Input::Page { agent, page } => {
                if let Some(known) = self.known.get_mut(&agent)
                    && let Some(timeline) = &mut known.timeline
                {
                    match timeline.page(now, &agent, page, &mut self.outputs) {
                        true => known.show(&mut self.outputs),
                        // What the state counts is not there to be had, and the state is not kept back for it.
                        false => known.show_at_once(&mut self.outputs),
                    }
                }
            }
            Input::Unanswered { agent } => {
                if let Some(timeline) = timeline(&mut self.known, &agent) {
                    timeline.history.unanswered(now);
                }
            }
            Input::Missing { agent } => self.removed(agent),
            Input::Cut => self.cut(),
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.known.values().filter_map(|known| known.timeline.as_ref()?.history.deadline()).min()
    }

    fn expire(&mut self, now: Timestamp) {
        for (id, known) in &mut self.known {
            if let Some(after) = known.timeline.as_mut().and_then(|timeline| timeline.history.expire(now)) {
                self.outputs.push_back(Output::Ask { agent: id.clone(), after });
            }
        }
    }
}

/// How far the watch has come; what arrives before the answer to `watch_agents` waits for it.
#[derive(Clone, Debug)]
enum Phase {
    First(VecDeque<Event>),
    Joined,
    /// After a cut.
    Again(VecDeque<Event>),
}

/// What is known of one agent.
#[derive(Clone, Debug, Default)]
struct Known {
    agent: Option<Box<Agent>>,
    /// Whether the watcher does not know its state yet: it is told after the entries that the state counts, so that it
    /// never tells of an end before they do.
    unshown: bool,
    /// Whether its state came on this connection.
    heard: bool,
    /// Its timeline, if that is followed.
    timeline: Option<Timeline>,
}

impl Known {
    /// Takes the agent's state. An older one is recognised by its number of entries: the clock may be set back, and on
    /// one connection states come in order. After a cut the first one counts, whatever it says.
    fn snapshot(&mut self, agent: Box<Agent>) {
        if self.heard && self.agent.as_ref().is_some_and(|known| agent.last_seq < known.last_seq) {
            return;
        }
        self.heard = true;
        if let Some(timeline) = &mut self.timeline {
            timeline.history.hear_of(agent.last_seq);
        }
        if self.agent.as_ref() != Some(&agent) {
            self.agent = Some(agent);
            self.unshown = true;
        }
    }

    /// Tells the watcher the agent's state, once all that it counts is told.
    fn show(&mut self, outputs: &mut VecDeque<Output>) {
        let told = self.timeline.as_ref().map_or(i64::MAX, |timeline| timeline.history.last());
        if self.agent.as_ref().is_some_and(|agent| told >= agent.last_seq) {
            self.show_at_once(outputs);
        }
    }

    fn show_at_once(&mut self, outputs: &mut VecDeque<Output>) {
        if std::mem::take(&mut self.unshown)
            && let Some(agent) = &self.agent
        {
            outputs.push_back(Output::Event(Event::AgentChanged(agent.clone())));
        }
    }
}

/// One agent's timeline as it comes in.
#[derive(Clone, Debug)]
struct Timeline {
    history: History,
    texts: Texts,
}

impl Timeline {
    /// Takes an entry, and tells the watcher every one whose turn it is.
    fn entry(&mut self, agent: &AgentId, entry: Entry, outputs: &mut VecDeque<Output>) {
        self.history.take(entry);
        while let Some(entry) = self.history.next() {
            let early = self.texts.entry(&entry);
            outputs.push_back(entry_event(agent, entry));
            outputs.extend(early.into_iter().map(|delta| text_event(agent, delta)));
        }
    }

    fn delta(&mut self, agent: &AgentId, delta: Delta, outputs: &mut VecDeque<Output>) {
        outputs.extend(self.texts.delta(delta).map(|delta| text_event(agent, delta)));
    }

    /// Takes a page of the log; returns whether it helped.
    fn page(&mut self, now: Timestamp, agent: &AgentId, page: TimelinePage, outputs: &mut VecDeque<Output>) -> bool {
        let before = self.history.last();
        self.history.answered(page.last_seq);
        for entry in page.entries {
            self.history.reach(entry.seq);
            self.entry(agent, entry, outputs);
        }
        let helped = self.history.last() != before;
        if !helped {
            // Asking again at once would go round in circles.
            self.history.unanswered(now);
        }
        self.look(now, agent, outputs);
        helped
    }

    /// Asks for what is missing.
    fn look(&mut self, now: Timestamp, agent: &AgentId, outputs: &mut VecDeque<Output>) {
        if let Some(after) = self.history.look(now) {
            outputs.push_back(Output::Ask { agent: agent.clone(), after });
        }
    }
}

fn timeline<'a>(known: &'a mut BTreeMap<AgentId, Known>, agent: &AgentId) -> Option<&'a mut Timeline> {
    known.get_mut(agent)?.timeline.as_mut()
}

/// Begins the timeline of an agent where the request says, by whichever name it calls the agent; none when the request
/// is for no timelines.
fn from(request: &WatchAgents, agent: &Agent) -> Option<Timeline> {
    let names = request.agents.as_ref()?.iter();
    let id = agent.agent_id.as_str();
    let is_named = |name: &str| id.starts_with(name) || agent.title == name;
    let after = names.filter(|from| is_named(from.agent_id.as_str())).map(|from| from.after).min().unwrap_or(0);
    Some(Timeline { history: History::after(after), texts: Texts::default() })
}

fn entry_event(agent: &AgentId, entry: Entry) -> Output {
    Output::Event(Event::AgentEntry { agent_id: agent.clone(), entry: Box::new(entry) })
}

fn text_event(agent: &AgentId, delta: Delta) -> Output {
    Output::Event(Event::AgentText { agent_id: agent.clone(), delta })
}

/// How many events may come before the answer to `watch_agents`.
const EARLY_EVENTS: usize = 1024;
