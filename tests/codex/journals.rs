//! Journals that our own shim wrote of the real program: `PASEO_RECORD=1` with the tests in `real` writes them again.

use paseo_sdk::machine::outbox;
use paseo_sdk::model::{Behavior, Decision, Mode, Prompt};
use paseo_sdk::provider::codex::Codex;
use paseo_sdk::provider::{Record, Tell, What};
use serde_json::Value;

use crate::journal;

#[test]
fn every_journal_of_the_real_program_comes_to_what_it_did() {
    for (name, records) in journal::folder("codex") {
        let entries = journal::fold(&Codex, &records, accepted(&records));
        insta::assert_json_snapshot!(format!("journal_{name}"), entries);
    }
}

/// The outbox that led to a journal, as far as it shows.
pub(crate) fn accepted(records: &[Record]) -> Vec<outbox::Line> {
    let mut lines = Vec::new();
    for record in records {
        let What::Told { id, line } = &record.what else { continue };
        let told: Value = serde_json::from_str(line).expect("a line of JSON");
        let steer = told["method"] == "turn/steer";
        let tell = match id.0.split('.').collect::<Vec<_>>()[..] {
            ["prompt", ..] => {
                let text = told["params"]["input"][0]["text"].as_str().expect("a text comes first");
                Tell::Prompt(Prompt { text: text.to_owned(), ..Prompt::default() })
            }
            ["answer", _, ref request @ ..] => {
                let own = &told["paseo"];
                Tell::Answer {
                    request_id: request.join(".").as_str().into(),
                    decision: Decision {
                        behavior: if own["denied"] == true { Behavior::Deny } else { Behavior::Allow },
                        option_id: None,
                        message: own["message"].as_str().map(str::to_owned),
                        updated_input: None,
                        interrupt: false,
                    },
                }
            }
            ["interrupt", ..] => Tell::Interrupt {},
            ["mode", ..] => Tell::Mode(Mode::Auto),
            ["model", ..] => Tell::Model(told["paseo"]["model"].as_str().expect("a model").to_owned()),
            // What the session says by itself is in no outbox.
            _ => continue,
        };
        lines.push(outbox::Line::Accepted { id: id.clone(), at: record.at, first: false, steer, run: 0, tell });
    }
    lines
}
