//! Journals as tests: each file of a folder is read through session, agent and timeline, and comes to what it did.

use std::collections::BTreeMap;
use std::path::Path;

use paseo_sdk::item::Entry;
use paseo_sdk::machine::Machine;
use paseo_sdk::machine::agent::{Agent, Fact, Heard, Input, Memory, Output, Progress};
use paseo_sdk::machine::outbox;
use paseo_sdk::machine::timeline::{self, Timeline};
use paseo_sdk::provider::{Provider, Record, Step, TellId, What};

use crate::agent::world::about;

/// Returns the journals of a folder of `transcripts/`, each with its name.
pub(crate) fn folder(name: &str) -> Vec<(String, Vec<Record>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(&directory)
        .expect("there is a folder of transcripts")
        .map(|file| file.expect("it can be read").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).expect("it can be read");
        let records = text.lines().map(|line| serde_json::from_str(line).expect("each line is a record")).collect();
        (path.file_stem().expect("it has a name").to_string_lossy().into_owned(), records)
    };
    paths.iter().map(read).collect()
}

/// Folds a journal, and the outbox that led to it, into a timeline. What the session says by itself must be in the journal.
pub(crate) fn fold(provider: &dyn Provider, records: &[Record], outbox: Vec<outbox::Line>) -> Vec<Entry> {
    let memory = Memory { about: about(Default::default()), progress: Progress::default() };
    let mut session = provider.session(&memory.about.spec());
    let mut agent = Agent::restore(provider.traits(), memory, outbox);
    let mut timeline = Timeline::new(0, None);
    let mut entries = Vec::new();
    let mut due = BTreeMap::new();
    for record in records {
        let mut events = Vec::new();
        let mut sayings = 0..;
        for step in session.read(record) {
            match step {
                Step::Event(event) => events.push(event),
                Step::Say(line) => {
                    let number: i64 = sayings.next().expect("they do not end");
                    due.insert(TellId(format!("r{}.{number}", record.seq)), line);
                }
            }
        }
        let fact = match &record.what {
            What::Launched { pid, .. } => Some(Fact::Launched { pid: *pid }),
            What::Told { id, line } => {
                if let Some(said) = due.remove(id) {
                    assert_eq!(*line, said, "it would say something else today");
                }
                Some(Fact::Told(id.clone()))
            }
            What::Exited(exit) => Some(Fact::Exited(exit.clone())),
            _ => None,
        };
        let at = record.time();
        let heard = Heard { run: 1, record: record.seq, at, fact, events };
        agent.handle(at, Input::Heard(heard)).expect("a record is never refused");
        while let Some(output) = agent.poll() {
            let input = match output {
                Output::Happened { at, turn_id, origin, what } => timeline::Input::Append { at, turn_id, origin, what },
                Output::Wrote { item_id, text } => timeline::Input::Wrote { item_id, text },
                _ => continue,
            };
            let Ok(()) = timeline.handle(at, input);
            while let Some(output) = timeline.poll() {
                if let timeline::Output::Write(entry) = output {
                    entries.push(*entry);
                }
            }
        }
    }
    assert_eq!(due, BTreeMap::new(), "it says what it did not say then");
    assert_eq!(timeline.open(), &BTreeMap::new(), "an item is open for ever");
    entries
}
