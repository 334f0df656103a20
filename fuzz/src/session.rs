//! What every provider makes of any journal.

mod claude;
mod codex;
mod held;
mod journal;
mod long;
mod odd;
mod order;
mod shell;
mod tell;

use paseo_sdk::model::{Mode, Usage};
use paseo_sdk::provider::{self, Ending, Event, Exit, LaunchSpec, Provider, Record, Session, Step, What};
use serde_json::json;

use self::held::held;
use self::order::Order;
use self::tell::Teller;
use crate::bytes::Bytes;

pub use self::long::long_journals;

/// Lets the first byte choose a provider and the rest write a journal, which its session reads.
///
/// Most journals are such as shims write: told is only what the session has put into words, each id once, and the end is
/// `Exited`. The others hold anything in any order.
///
/// # Panics
///
/// When a session panics, makes two things of the same records, or says, sums up or holds much more than it was told.
/// Of a journal such as shims write, also when things happen in an order that makes no sense, or when a session that
/// began with the summary of a quiet moment goes on in another way.
pub fn session(data: &[u8]) {
    let Some((which, rest)) = data.split_first() else { return };
    let all = provider::all();
    let mut bytes = Bytes(rest);
    let mut reading = Reading::new(all[usize::from(*which) % all.len()], &mut bytes);
    while !bytes.is_empty() && !reading.is_over() {
        reading.go_on(&mut bytes);
    }
    reading.end();
}

/// A journal that is read while it is written.
struct Reading {
    provider: &'static dyn Provider,
    spec: LaunchSpec,
    one: Box<dyn Session>,
    /// Reads the same.
    other: Option<Box<dyn Session>>,
    /// Reads the same, and was begun with the summary of a quiet moment.
    heir: Option<Box<dyn Session>>,
    order: Order,
    teller: Teller,
    /// Whether anything comes in any order.
    wild: bool,
    exited: bool,
    seq: i64,
    /// The bytes of the journal so far.
    length: usize,
}

impl Reading {
    fn new(provider: &'static dyn Provider, bytes: &mut Bytes<'_>) -> Reading {
        let spec = spec(bytes.pick(&[Mode::Default, Mode::FullAccess, Mode::Plan]));
        Reading {
            provider,
            one: provider.session(&spec),
            other: Some(provider.session(&spec)),
            heir: None,
            spec,
            order: Order::default(),
            teller: Teller::default(),
            wild: bytes.below(8) == 7,
            exited: false,
            seq: 0,
            length: 0,
        }
    }

    fn is_over(&self) -> bool {
        self.exited && !self.wild || self.seq >= LONGEST_JOURNAL
    }

    fn go_on(&mut self, bytes: &mut Bytes<'_>) {
        let name = self.provider.name();
        let what = match self.wild {
            true => journal::anything(bytes, self.provider, &self.spec, &*self.one),
            false if self.seq == 0 => journal::beginning(bytes, self.provider, &self.spec),
            false => {
                let room = self.provider.traits().steers || self.is_quiet();
                journal::record(bytes, name, &*self.one, &mut self.teller, room)
            }
        };
        self.read(what);
        let (id, tell) = (self.teller.id("any"), tell::tell(bytes));
        let words = self.one.phrase(&id, &tell);
        for twin in self.other.iter().chain(&self.heir) {
            assert_eq!(words, twin.phrase(&id, &tell), "{name} has two words for {tell:?}");
        }
        if !self.wild && self.is_quiet() && bytes.flag() {
            self.begin_anew();
        }
    }

    fn is_quiet(&self) -> bool {
        // What Claude Code does behind its turns is not in a summary.
        let open = self.order.has_open() && self.provider.name() == "claude";
        self.order.is_quiet() && !open && !self.teller.is_telling()
    }

    /// Begins a session with the summary of this moment.
    fn begin_anew(&mut self) {
        let mut heir = self.provider.session(&self.spec);
        let steps = heir.read(&record(self.seq, What::Carried(self.one.summary())));
        assert_eq!(steps, [], "{} takes up a summary, and nothing has happened", self.provider.name());
        self.heir = Some(heir);
    }

    fn read(&mut self, what: What) {
        let name = self.provider.name();
        self.seq += 1;
        self.exited |= matches!(what, What::Exited(_));
        let record = record(self.seq, what);
        self.length += json!(record).to_string().len();
        let steps = self.one.read(&record);
        if let Some(other) = &mut self.other {
            assert_eq!(steps, other.read(&record), "{name} made two things of {record:?}");
        }
        assert!(steps.len() <= MOST_STEPS, "{name} took {} steps after {record:?}", steps.len());
        // Nothing that is said is longer than what was told at some time, and a bounded output beside it.
        let (said, most) = (steps.iter().map(size).sum::<usize>(), SHORT + COPIES * self.length);
        assert!(said <= most, "{name} said {said} bytes after {record:?}");
        let summary = self.one.summary().len();
        assert!(summary <= LONGEST_SUMMARY.min(most), "{name} sums up {} bytes in {summary}", self.length);
        if self.wild {
            return;
        }
        self.teller.heard(self.seq, &steps);
        self.order.take(name, &record, &steps);
        if let Some(heir) = &mut self.heir {
            let after = heir.read(&record);
            let same = steps.len() == after.len() && steps.iter().zip(&after).all(|(one, heir)| is_same(one, heir));
            assert!(same, "{name} went on otherwise after its summary: {record:?}\nfrom {steps:?}\nto   {after:?}");
        }
    }

    fn end(mut self) {
        let held = self.other.take().map_or(0, held);
        let most = LONGEST_MEMORY.min(SHORT + COPIES * self.length);
        assert!(held <= most, "{} holds {held} bytes of a journal of {}", self.provider.name(), self.length);
        if !self.exited && !self.wild {
            self.read(What::Exited(Exit { code: Some(1), signal: None, reason: None }));
        }
    }
}

fn spec(mode: Mode) -> LaunchSpec {
    LaunchSpec {
        agent_id: "a1".parse().expect("this is an id"),
        cwd: "/".to_owned(),
        model: None,
        mode,
        thinking: None,
        system_prompt: None,
        trusted: false,
        mcp_config: None,
        mcp_servers: std::collections::BTreeMap::new(),
        tools: None,
        git_dirs: Vec::new(),
        trees: Vec::new(),
        rules: vec!["Bash(ls)".to_owned(), "command ls".to_owned()],
    }
}

fn record(seq: i64, what: What) -> Record {
    Record { seq, at: 1_700_000_000_000 + seq, what }
}

fn size(step: &Step) -> usize {
    match step {
        Step::Say(line) => line.len(),
        Step::Event(Event::Opened(item) | Event::Closed(item)) => json!(item).to_string().len(),
        Step::Event(Event::Wrote { text, .. } | Event::Notice(text) | Event::Failed(text)) => text.len(),
        Step::Event(event) => format!("{event:?}").len(),
    }
}

/// Whether two steps are the same; money that went through text may differ in its last digit.
fn is_same(one: &Step, other: &Step) -> bool {
    let (Step::Event(Event::TurnEnded(one)), Step::Event(Event::TurnEnded(other))) = (one, other) else {
        return one == other;
    };
    let cents = |ending: &Ending| ending.usage.cost_usd.unwrap_or(-1.0);
    let rest = |ending: &Ending| Ending { usage: Usage { cost_usd: None, ..ending.usage }, ..ending.clone() };
    rest(one) == rest(other) && (cents(one) - cents(other)).abs() < 1e-6
}

/// What is short: so much may be said, summed up or held of any journal, as a few outputs and texts are kept.
const SHORT: usize = 1024 * 1024;

/// How often a session may repeat what it was told.
const COPIES: usize = 4;

/// How much a session may sum up at all.
const LONGEST_SUMMARY: usize = 16 * 1024 * 1024;

/// How much a session may hold at all.
const LONGEST_MEMORY: usize = 64 * 1024 * 1024;

/// As many blocks as a message has, and as many calls and questions as are remembered.
const MOST_STEPS: usize = 1_200;

const LONGEST_JOURNAL: i64 = 1_000;
