//! Journals that our own shim wrote of the real program: `PASEO_RECORD=1` with the tests in `real` writes them again.

use paseo_sdk::machine::outbox;
use paseo_sdk::model::{Behavior, Decision, Mode, Prompt};
use paseo_sdk::provider::claude::Claude;
use paseo_sdk::provider::{Record, Tell, What};
use serde_json::Value;

use crate::journal;

#[test]
fn every_journal_of_the_real_program_comes_to_what_it_did() {
    for (name, records) in journal::folder("claude") {
        let entries = journal::fold(&Claude, &records, accepted(&records));
        insta::assert_json_snapshot!(format!("journal_{name}"), entries);
    }
}

/// The outbox that led to a journal, as far as it shows.
pub(crate) fn accepted(records: &[Record]) -> Vec<outbox::Line> {
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
