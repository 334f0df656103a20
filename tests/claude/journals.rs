//! Journals that our own shim wrote of the real program: `PASEO_RECORD=1` with the tests in `real` writes them again.
//!
//! What the program lists of itself at its start is left out, and so are the paths of whoever ran it.

use std::path::Path;

use paseo_sdk::machine::outbox;
use paseo_sdk::model::{Behavior, Decision, Mode, Prompt};
use paseo_sdk::provider::claude::Claude;
use paseo_sdk::provider::{Line, Record, Tell, What};
use serde_json::Value;

use crate::journal;
use crate::lab::Lab;

#[test]
fn every_journal_of_the_real_program_comes_to_what_it_did() {
    for (name, records) in journal::folder("claude") {
        let entries = journal::fold(&Claude, &records, accepted(&records));
        insta::assert_json_snapshot!(format!("journal_{name}"), entries);
    }
}

/// The outbox that led to a journal, as far as it shows.
fn accepted(records: &[Record]) -> Vec<outbox::Line> {
    let mut lines = Vec::new();
    for record in records {
        let What::Told { id, line } = &record.what else { continue };
        let told: Value = serde_json::from_str(line).expect("a line of JSON");
        let tell = match id.0.split('.').next().unwrap_or_default() {
            "prompt" => {
                let text = told["message"]["content"][0]["text"].as_str().expect("a text comes first");
                Tell::Prompt(Prompt { text: text.to_owned(), ..Prompt::default() })
            }
            "answer" => {
                let response = &told["response"]["response"];
                let allows = response["behavior"] == "allow";
                Tell::Answer {
                    request_id: told["response"]["request_id"].as_str().expect("an id").into(),
                    decision: Decision {
                        behavior: if allows { Behavior::Allow } else { Behavior::Deny },
                        option_id: None,
                        message: response["message"].as_str().map(str::to_owned),
                        updated_input: None,
                        interrupt: false,
                    },
                }
            }
            "interrupt" => Tell::Interrupt {},
            "mode" => Tell::Mode(Mode::Auto),
            "model" => Tell::Model(told["request"]["model"].as_str().expect("a model").to_owned()),
            // What the session says by itself is in no outbox.
            _ => continue,
        };
        lines.push(outbox::Line::Accepted { id: id.clone(), at: record.at, first: false, steer: false, run: 0, tell });
    }
    lines
}

/// Writes the first journal of each agent down, where that is asked for.
pub(crate) fn record(lab: &Lab) {
    let thread = std::thread::current();
    let Some(name) = thread.name().and_then(|name| name.strip_prefix("claude::real::")) else { return };
    if std::env::var_os("PASEO_RECORD").is_none() {
        return;
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts/claude");
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
    const LISTS: [&str; 14] = [
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
