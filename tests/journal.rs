//! Journals as tests: each file of a folder is read through session, agent and timeline, and comes to what it did.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use paseo_sdk::item::Entry;
use paseo_sdk::machine::Machine;
use paseo_sdk::machine::agent::{Agent, Fact, Heard, Input, Memory, Output, Progress};
use paseo_sdk::machine::outbox;
use paseo_sdk::machine::timeline::{self, Timeline};
use paseo_sdk::provider::{Line, Provider, Record, Step, TellId, What};
use serde_json::Value;

use crate::agent::world::about;
use crate::lab::Lab;

/// Returns the journals of a folder of `transcripts/`, each with its name.
pub(crate) fn folder(name: &str) -> Vec<(String, Vec<Record>)> {
    let mut paths: Vec<_> = std::fs::read_dir(transcripts(name))
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

fn transcripts(provider: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts").join(provider)
}

/// Writes the first journal of each agent down, where that is asked for: without what its program lists of itself, and
/// without the paths of whoever runs it.
pub(crate) fn record(lab: &Lab) {
    let thread = std::thread::current();
    let test = thread.name().and_then(|name| name.split_once("::real::"));
    let Some((provider, name)) = test.filter(|_| std::env::var_os("PASEO_RECORD").is_some()) else { return };
    let directory = transcripts(provider);
    std::fs::create_dir_all(&directory).expect("a folder");
    let agents = std::fs::read_dir(lab.home().join("agents")).expect("it has agents");
    let agents = agents.map(|agent| agent.expect("it can be read").path().join("runs/1/journal-000001.ndjson"));
    for (number, journal) in agents.filter(|journal| journal.exists()).enumerate() {
        let text = std::fs::read_to_string(journal).expect("it can be read");
        if text.contains("appendSystemPrompt") {
            // What a session says then does not follow from its journal alone.
            continue;
        }
        let text = text.replace(&lab.path("").display().to_string(), "/lab/");
        let lines: Vec<_> = text.lines().filter_map(scrubbed).collect();
        let file = directory.join(format!("{name}_{number}.ndjson"));
        std::fs::write(file, lines.join("\n") + "\n").expect("it can be written");
    }
}

/// Leaves out of a record what only says how the program is set up.
fn scrubbed(line: &str) -> Option<String> {
    let mut record: Record = serde_json::from_str(line).ok()?;
    if let What::Said(Line::Text(text)) = &mut record.what
        && let Ok(mut said) = serde_json::from_str::<Value>(text)
    {
        prune(&mut said);
        *text = said.to_string();
    }
    serde_json::to_string(&record).ok()
}

fn prune(value: &mut Value) {
    const LISTS: [&str; 15] = [
        "commands",
        "models",
        "agents",
        "available_output_styles",
        "output_style",
        "tools",
        "slash_commands",
        "skills",
        "plugins",
        "memory_paths",
        "cache_creation",
        "server_tool_use",
        "iterations",
        "context_management",
        "gitInfo",
    ];
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !LISTS.contains(&name.as_str()));
            fields.values_mut().for_each(prune);
        }
        Value::Array(values) => values.iter_mut().for_each(prune),
        _ => {}
    }
}
