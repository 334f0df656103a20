//! The replica: whatever arrives, in whatever order, the timeline comes out.

use std::collections::BTreeMap;

use paseo_sdk::catalogue::{TimelinePage, WatchAgents, WatchFrom, Watched, Watching};
use paseo_sdk::item::{Content, Entry, Happening, Item};
use paseo_sdk::machine::Machine;
use paseo_sdk::machine::replica::{Input, Output, Replica};
use paseo_sdk::model::{Agent, AgentId, Delta, Event, Mode, Outcome, Status, Timestamp, Usage};
use proptest::prelude::*;

#[test]
fn what_arrives_in_order_goes_straight_through() {
    let world = World::new(2);
    let mut seen = Seen::following(&["a"]);
    seen.tell(world.watching(&seen.replica.request(), 3));
    seen.tell(world.text(0, 3));
    seen.tell(world.entry(4));
    seen.tell(world.entry(5));
    seen.tell(world.entry(6));
    insta::assert_snapshot!(seen.take(), @r"
    a 1: TurnStarted
    a 2: i0 opened
    a 3: i0 closed
    a 4: i1 opened
    a 5: i1 closed
    a 6: TurnEnded
    a is Running, 6 entries
    ");
}

#[test]
fn what_comes_before_the_answer_waits_for_it() {
    let world = World::new(1);
    let mut seen = Seen::following(&["a"]);
    seen.tell(world.entry(3));
    seen.tell(world.text(0, 5));
    assert_eq!(seen.take(), "");
    seen.tell(world.watching(&seen.replica.request(), 2));
    seen.tell(world.entry(4));
    insta::assert_snapshot!(seen.take(), @r"
    a 1: TurnStarted
    a 2: i0 opened
    a 3: i0 closed
    a 4: TurnEnded
    a is Running, 4 entries
    ");
}

#[test]
fn a_gap_is_asked_for_once_and_closed_by_the_page() {
    let world = World::new(3);
    let mut seen = Seen::following(&["a"]);
    seen.tell(world.watching(&seen.replica.request(), 1));
    seen.tell(world.entry(4));
    seen.tell(world.entry(6));
    seen.tell(world.entry(4));
    insta::assert_snapshot!(seen.take(), @r"
    a 1: TurnStarted
    ask a after 1
    ");
    seen.tell(world.page(1, 2));
    insta::assert_snapshot!(seen.take(), @r"
    a 2: i0 opened
    a 3: i0 closed
    a 4: i1 opened
    ask a after 4
    ");
    seen.tell(world.page(4, 100));
    insta::assert_snapshot!(seen.take(), @r"
    a 5: i1 closed
    a 6: i2 opened
    a 7: i2 closed
    a 8: TurnEnded
    a is Running, 8 entries
    ");
}

#[test]
fn what_the_log_has_lost_is_passed_over() {
    let world = World::new(3);
    let mut seen = Seen::following(&["a"]);
    seen.tell(world.watching(&seen.replica.request(), 1));
    seen.tell(world.entry(7));
    seen.take();
    let Input::Page { agent, mut page } = world.page(1, 100) else { panic!("a page") };
    page.entries.retain(|entry| entry.seq != 2 && entry.seq != 5 && entry.seq != 8);
    seen.tell(Input::Page { agent, page });
    insta::assert_snapshot!(seen.take(), @r"
    a 3: i0 closed
    a 4: i1 opened
    a 6: i2 opened
    a 7: i2 closed
    ask a after 7
    ");
    let Input::Page { agent, page } = world.page(7, 100) else { panic!("a page") };
    seen.tell(Input::Page { agent, page: TimelinePage { entries: Vec::new(), ..page } });
    assert_eq!(seen.take(), "a is Running, 8 entries");
}

#[test]
fn entries_that_only_the_agents_state_speaks_of_are_asked_for_after_a_while() {
    let world = World::new(1);
    let mut seen = Seen::following(&["a"]);
    seen.tell(world.watching(&seen.replica.request(), 3));
    insta::assert_snapshot!(seen.take(), @r"
    a 1: TurnStarted
    a 2: i0 opened
    a 3: i0 closed
    ");
    let due = seen.replica.deadline().expect("patience has an end");
    seen.replica.expire(due);
    assert_eq!(seen.take(), "ask a after 3");
    seen.tell(Input::Unanswered { agent: id("a") });
    assert_eq!(seen.take(), "");
    let due = seen.replica.deadline().expect("it is asked again later");
    seen.replica.expire(due);
    assert_eq!(seen.take(), "ask a after 3");
}

#[test]
fn a_new_connection_goes_on_after_the_last_entry() {
    let world = World::new(2);
    let mut seen = Seen::following(&["the title"]);
    seen.tell(world.watching(&seen.replica.request(), 2));
    seen.tell(world.text(0, 4));
    seen.tell(world.entry(4));
    seen.tell(Input::Cut);
    let request = seen.replica.request();
    assert_eq!(request, WatchAgents { agents: Some(vec![WatchFrom { agent_id: "a".into(), after: 2 }]) });
    seen.take();
    seen.tell(world.watching(&request, 1));
    insta::assert_snapshot!(seen.take(), @r"a 3: i0 closed");
}

#[test]
fn a_missing_piece_of_text_shows_by_the_offset_of_the_next() {
    let world = World::new(1);
    let mut seen = Seen::following(&["a"]);
    seen.tell(world.watching(&seen.replica.request(), 2));
    seen.take();
    for (from, to) in [(0, 2), (1, 3), (5, 7), (3, 5), (6, 9)] {
        seen.tell(world.text(from, to));
    }
    insta::assert_snapshot!(seen.take(), @r"
    a i0 at 0: 01
    a i0 at 2: 2
    a i0 at 5: 56
    a i0 at 7: 78
    ");
}

#[test]
fn a_piece_that_starts_within_a_known_character_goes_on_with_the_next() {
    let mut seen = Seen::following(&["a"]);
    let world = World::of("aäöü");
    seen.tell(world.watching(&seen.replica.request(), 2));
    seen.take();
    seen.tell(world.text(0, 3));
    seen.tell(Input::Event(Event::AgentText { agent_id: id("a"), delta: delta(1, "äö") }));
    insta::assert_snapshot!(seen.take(), @r"
    a i0 at 0: aä
    a i0 at 3: ö
    ");
}

#[test]
fn text_of_a_closed_item_is_late() {
    let world = World::new(1);
    let mut seen = Seen::following(&["a"]);
    seen.tell(world.watching(&seen.replica.request(), 100));
    seen.take();
    seen.tell(world.text(0, 4));
    assert_eq!(seen.take(), "");
}

#[test]
fn an_older_state_of_an_agent_is_left_out() {
    let world = World::new(1);
    let mut seen = Seen::following(&["a"]);
    seen.tell(world.watching(&seen.replica.request(), 100));
    seen.take();
    let state = |seq, status| Input::Event(Event::AgentChanged(Box::new(Agent { status, last_seq: seq, ..agent() })));
    seen.tell(state(3, Status::Waiting));
    seen.tell(state(4, Status::Idle));
    seen.tell(state(4, Status::Idle));
    assert_eq!(seen.take(), "a is Idle, 4 entries");
}

#[test]
fn without_agents_every_state_is_followed_and_no_timeline() {
    let world = World::new(1);
    let mut seen = Seen { replica: Replica::new(WatchAgents::default()), entries: vec![], texts: vec![] };
    seen.tell(Input::Watching(Watching { agents: vec![] }));
    seen.tell(Input::Event(Event::AgentChanged(Box::new(agent()))));
    seen.tell(world.entry(3));
    assert_eq!(seen.take(), "a is Running, 0 entries");
    assert_eq!(seen.replica.deadline(), None);
    seen.tell(Input::Cut);
    assert_eq!(seen.replica.request(), WatchAgents::default());
    seen.tell(Input::Watching(Watching { agents: vec![] }));
    assert_eq!(seen.take(), "a is removed");
}

#[test]
fn a_watch_is_over_when_all_it_follows_is_deleted() {
    let world = World::new(1);
    let mut seen = Seen::following(&["a"]);
    assert!(!seen.replica.is_over());
    seen.tell(world.watching(&seen.replica.request(), 100));
    assert!(!seen.replica.is_over());
    seen.take();
    seen.tell(Input::Event(Event::AgentRemoved { agent_id: id("a") }));
    seen.tell(Input::Event(Event::AgentRemoved { agent_id: id("a") }));
    assert_eq!(seen.take(), "a is removed");
    assert!(seen.replica.is_over());
}

proptest! {
    #[test]
    fn the_timeline_comes_out_whatever_arrives(items in 1..20usize, steps in prop::collection::vec(step(), 0..80)) {
        let world = World::new(items);
        let mut seen = Seen::following(&["a"]);
        let mut asked: Vec<i64> = Vec::new();
        let mut now = NOW;
        for step in steps {
            let input = match step {
                Step::Entry(which) => world.entry(1 + (which as i64) % world.newest()),
                Step::Text(item, from, length) => world.text_of(item % items, from, from + length),
                Step::State(seq) => world.state(seq as i64 % (world.newest() + 1)),
                Step::Watching(first) => world.watching(&seen.replica.request(), first),
                Step::Page(limit) => match asked.pop() {
                    Some(after) => world.page(after, limit),
                    None => continue,
                },
                Step::Unanswered => match asked.pop() {
                    Some(_) => Input::Unanswered { agent: id("a") },
                    None => continue,
                },
                Step::Cut => {
                    asked.clear();
                    Input::Cut
                }
                Step::Wait(milliseconds) => {
                    now = now.plus(milliseconds);
                    seen.replica.expire(now);
                    prop_assert!(seen.replica.deadline().is_none_or(|due| due > now));
                    asked.extend(seen.drain());
                    continue;
                }
            };
            let Ok(()) = seen.replica.handle(now, input);
            asked.extend(seen.drain());
            prop_assert!(asked.len() <= 1, "asked again before there was an answer: {asked:?}");
        }
        // However it went so far: a connection, and patience.
        let Ok(()) = seen.replica.handle(now, world.watching(&seen.replica.request(), 3));
        loop {
            asked.extend(seen.drain());
            if let Some(after) = asked.pop() {
                let Ok(()) = seen.replica.handle(now, world.page(after, 2));
            } else if let Some(due) = seen.replica.deadline() {
                now = due;
                seen.replica.expire(now);
            } else {
                break;
            }
        }
        prop_assert_eq!(&seen.entries, &world.entries);
        world.check_texts(&seen.texts)?;
    }

    #[test]
    fn in_order_no_text_is_left_out(cuts in prop::collection::vec(1..4usize, 1..8)) {
        let world = World::new(1);
        let mut seen = Seen::following(&["a"]);
        seen.tell(world.watching(&seen.replica.request(), 2));
        let mut from = 0;
        for length in cuts {
            seen.tell(world.text(from, from + length));
            from += length;
        }
        seen.drain();
        let whole: String = seen.texts.iter().map(|delta| delta.text.as_str()).collect();
        prop_assert_eq!(whole, &TEXT[..from.min(TEXT.len())]);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Entry(usize),
    Text(usize, usize, usize),
    State(usize),
    Watching(usize),
    Page(usize),
    Unanswered,
    Cut,
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..1000usize).prop_map(Step::Entry),
        4 => (0..1000usize, 0..10usize, 0..6usize).prop_map(|(item, from, length)| Step::Text(item, from, length)),
        2 => (0..1000usize).prop_map(Step::State),
        2 => (0..5usize).prop_map(Step::Watching),
        3 => (1..5usize).prop_map(Step::Page),
        1 => Just(Step::Unanswered),
        1 => Just(Step::Cut),
        1 => (0..5_000i64).prop_map(Step::Wait),
    ]
}

/// What really happened: turn started, then of every item its opening and its end, then the end of the turn.
struct World {
    text: String,
    entries: Vec<Entry>,
}

impl World {
    fn new(items: usize) -> World {
        World::with(items, TEXT)
    }

    fn of(text: &str) -> World {
        World::with(1, text)
    }

    fn with(items: usize, text: &str) -> World {
        let mut happenings = vec![Happening::TurnStarted { prompt_id: None }];
        for item in 0..items {
            let message = |text: &str| Item {
                item_id: format!("i{item}").into(),
                parent_id: None,
                content: Content::AssistantMessage { text: text.to_owned() },
            };
            happenings.push(Happening::ItemOpened { item: message("") });
            happenings.push(Happening::ItemClosed { item: message(text) });
        }
        happenings.push(Happening::TurnEnded { outcome: Outcome::Completed, reason: None, usage: Usage::default() });
        let entry = |(what, seq)| Entry { seq, at: NOW, turn_id: None, origin: None, what };
        World { text: text.to_owned(), entries: happenings.into_iter().zip(1..).map(entry).collect() }
    }

    fn newest(&self) -> i64 {
        self.entries.len() as i64
    }

    fn after(&self, after: i64, limit: usize) -> Vec<Entry> {
        self.entries.iter().filter(|entry| entry.seq > after).take(limit).cloned().collect()
    }

    fn agent(&self) -> Agent {
        Agent { last_seq: self.newest(), ..agent() }
    }

    fn watching(&self, request: &WatchAgents, first: usize) -> Input {
        let after = request.agents.as_ref().map_or(0, |agents| agents[0].after);
        Input::Watching(Watching {
            agents: vec![Watched { agent: self.agent(), entries: self.after(after, first), text: vec![] }],
        })
    }

    fn page(&self, after: i64, limit: usize) -> Input {
        let entries = self.after(after, limit);
        let more = entries.len() == limit;
        Input::Page { agent: id("a"), page: TimelinePage { entries, more, last_seq: self.newest() } }
    }

    fn entry(&self, seq: i64) -> Input {
        let entry = self.entries[seq as usize - 1].clone();
        Input::Event(Event::AgentEntry { agent_id: id("a"), entry: Box::new(entry) })
    }

    fn state(&self, last_seq: i64) -> Input {
        Input::Event(Event::AgentChanged(Box::new(Agent { last_seq, ..agent() })))
    }

    fn text(&self, from: usize, to: usize) -> Input {
        self.text_of(0, from, to)
    }

    fn text_of(&self, item: usize, from: usize, to: usize) -> Input {
        let piece = &self.text[from.min(self.text.len())..to.min(self.text.len())];
        let delta = Delta { item_id: format!("i{item}").into(), ..delta(from as i64, piece) };
        Input::Event(Event::AgentText { agent_id: id("a"), delta })
    }

    /// Checks that pieces of each item are true, in order, and without overlap.
    fn check_texts(&self, texts: &[Delta]) -> Result<(), TestCaseError> {
        let mut ends: BTreeMap<_, usize> = BTreeMap::new();
        for delta in texts {
            let from = delta.offset as usize;
            let end = ends.entry(&delta.item_id).or_default();
            prop_assert!(from >= *end, "{delta:?} after {end}");
            prop_assert_eq!(self.text.get(from..from + delta.text.len()), Some(delta.text.as_str()));
            *end = from + delta.text.len();
        }
        Ok(())
    }
}

/// What a watcher sees.
struct Seen {
    replica: Replica,
    entries: Vec<Entry>,
    texts: Vec<Delta>,
}

impl Seen {
    fn following(names: &[&str]) -> Seen {
        let from = |name: &&str| WatchFrom { agent_id: (*name).into(), after: 0 };
        let request = WatchAgents { agents: Some(names.iter().map(from).collect()) };
        Seen { replica: Replica::new(request), entries: vec![], texts: vec![] }
    }

    fn tell(&mut self, input: Input) {
        let Ok(()) = self.replica.handle(NOW, input);
    }

    /// Takes what comes out, and returns after which entries is asked.
    fn drain(&mut self) -> Vec<i64> {
        let mut asked = Vec::new();
        while let Some(output) = self.replica.poll() {
            match output {
                Output::Event(Event::AgentEntry { entry, .. }) => self.entries.push(*entry),
                Output::Event(Event::AgentText { delta, .. }) => self.texts.push(delta),
                Output::Event(_) => {}
                Output::Ask { after, .. } => asked.push(after),
            }
        }
        asked
    }

    /// Takes what comes out as text.
    fn take(&mut self) -> String {
        let line = |output| match output {
            Output::Event(Event::AgentChanged(agent)) => {
                format!("{} is {:?}, {} entries", agent.agent_id, agent.status, agent.last_seq)
            }
            Output::Event(Event::AgentEntry { agent_id, entry }) => {
                let what = match entry.what {
                    Happening::ItemOpened { item } => format!("{} opened", item.item_id),
                    Happening::ItemClosed { item } => format!("{} closed", item.item_id),
                    other => format!("{:?}", other.kind()),
                };
                format!("{agent_id} {}: {what}", entry.seq)
            }
            Output::Event(Event::AgentText { agent_id, delta }) => {
                format!("{agent_id} {} at {}: {}", delta.item_id, delta.offset, delta.text)
            }
            Output::Event(Event::AgentRemoved { agent_id }) => format!("{agent_id} is removed"),
            Output::Ask { agent, after } => format!("ask {agent} after {after}"),
        };
        std::iter::from_fn(|| self.replica.poll()).map(line).collect::<Vec<_>>().join("\n")
    }
}

fn agent() -> Agent {
    Agent {
        agent_id: id("a"),
        title: "the title".to_owned(),
        provider: "shell".to_owned(),
        mode: Mode::Default,
        cwd: "/".to_owned(),
        worktree: None,
        labels: BTreeMap::new(),
        parent: None,
        status: Status::Running,
        reason: None,
        turn: None,
        last_turn: None,
        last_message: None,
        queued: vec![],
        permissions: vec![],
        usage: Usage::default(),
        pid: None,
        last_seq: 0,
        created_at: NOW,
        updated_at: NOW,
        archived_at: None,
    }
}

fn delta(offset: i64, text: &str) -> Delta {
    Delta { item_id: "i0".into(), offset, text: text.to_owned() }
}

fn id(text: &str) -> AgentId {
    text.parse().expect("it is an id")
}

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const TEXT: &str = "0123456789";
