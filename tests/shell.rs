//! Journals of `bridge shell`, and what they come to. Drop one into `transcripts/shell/` and it is a test.

use paseo_sdk::item::{Content, ToolCall};
use paseo_sdk::machine::outbox;
use paseo_sdk::model::{Behavior, Decision, Mode, Prompt, RequestId};
use paseo_sdk::provider::shell::{Exit, Saying, Shell, Word};
use paseo_sdk::provider::{Event, Line, Provider, Record, Step, Tell, TellId, What};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use crate::agent::world::about;
use crate::journal;

#[test]
fn every_transcript_comes_to_what_it_did() {
    for (name, records) in journal::folder("shell") {
        insta::assert_json_snapshot!(format!("transcript_{name}"), journal::fold(&Shell, &records, accepted(&records)));
    }
}

/// The outbox that led to a journal.
pub(crate) fn accepted(records: &[Record]) -> Vec<outbox::Line> {
    let told = records.iter().filter_map(|record| match &record.what {
        What::Told { id, line } => Some((record.at, id, line)),
        _ => None,
    });
    told.map(|(at, id, line)| {
        let tell = match serde_json::from_str(line).expect("the bridge is told its words") {
            Word::Run { script, .. } => Tell::Prompt(Prompt { text: script, ..Prompt::default() }),
            Word::Answer { id, allow, message, .. } => Tell::Answer {
                request_id: RequestId(id.0),
                decision: Decision {
                    behavior: if allow { Behavior::Allow } else { Behavior::Deny },
                    option_id: None,
                    message,
                    updated_input: None,
                    interrupt: false,
                },
            },
            Word::Interrupt {} => Tell::Interrupt {},
        };
        outbox::Line::Accepted { id: id.clone(), at, first: false, steer: false, run: 0, tell }
    })
    .collect()
}

#[test]
fn an_edited_script_is_shown_as_it_runs() {
    let mut session = Shell.session(&about(Mode::Default).spec());
    let decision = Decision {
        behavior: Behavior::Allow,
        option_id: None,
        message: None,
        updated_input: Some(json!({ "command": "echo two" })),
        interrupt: false,
    };
    let answer = Tell::Answer { request_id: RequestId::from("prompt.p1"), decision };
    let prompt = Tell::Prompt(Prompt { text: "echo one".to_owned(), ..Prompt::default() });
    let mut steps = Vec::new();
    for (id, tell) in [("prompt.p1", prompt), ("answer.1.prompt.p1", answer)] {
        let id = TellId(id.to_owned());
        let line = session.phrase(&id, &tell).expect("it has words for it");
        steps.extend(session.read(&record(What::Told { id, line })));
    }
    steps.extend(session.read(&said(&Saying::Started { id: script(), pid: Some(8) })));
    let opened = steps.into_iter().find_map(|step| match step {
        Step::Event(Event::Opened(item)) => Some(item),
        _ => None,
    });
    let Some(Content::ToolCall(call)) = opened.map(|item| item.content) else { panic!("no tool call is opened") };
    assert_eq!((call.title.as_str(), call.input), ("echo two", json!({ "command": "echo two" })));
}

#[test]
fn an_output_is_whole_up_to_64_kib_and_beyond_that_its_head_and_tail() {
    let piece = proptest::string::string_regex("[a-zäß€👋\n]{1,40}").expect("a pattern");
    let config = ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() };
    // Sizes around the limit, and pieces of any size.
    proptest!(config, |(piece in piece, size in 60_000_usize..200_000, cuts in vec(1_usize..9_000, 1..20))| {
        check_output(&fill(&piece, size), &cuts);
    });
    for size in 2 * KEPT - 5..2 * KEPT + 5 {
        for piece in ["x", "ß", "€", "x€", "👋"] {
            check_output(&fill(piece, size), &[4_096]);
        }
    }
}

const KEPT: usize = 32 * 1024;

/// Repeats `piece` until there are `size` bytes; the last ones are plain.
fn fill(piece: &str, size: usize) -> String {
    let mut text = piece.repeat(size / piece.len());
    text.push_str(&"x".repeat(size - text.len()));
    text
}

/// Lets a script write `whole` in pieces of about these sizes, and looks at what is kept of it.
fn check_output(whole: &str, cuts: &[usize]) {
    let mut session = Shell.session(&about(Mode::Default).spec());
    let line = json!(Word::Run { id: script(), script: "yes".to_owned(), ask: false }).to_string();
    session.read(&record(What::Told { id: script(), line }));
    session.read(&said(&Saying::Started { id: script(), pid: None }));
    let mut written = String::new();
    let mut cuts = cuts.iter().cycle();
    while written.len() < whole.len() {
        let rest = &whole[written.len()..];
        let most = *cuts.next().expect("it goes round");
        let cut = (most..rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let text = Some(rest[..cut].to_owned());
        let saying = Saying::Out { id: script(), stream: "stdout".to_owned(), text, base64: None };
        for step in session.read(&said(&saying)) {
            match step {
                Step::Event(Event::Wrote { text, .. }) => written.push_str(&text),
                step => panic!("an output only writes: {step:?}"),
            }
        }
    }
    assert_eq!(written, whole, "what watchers see is whole");
    let call = closed(session.read(&said(&Saying::Exit(Exit { id: script(), code: Some(0), ..Exit::default() }))));
    let output = call.output.expect("it wrote something");
    if whole.len() <= 2 * KEPT {
        assert_eq!((output.as_str(), call.omitted_bytes), (whole, 0));
        return;
    }
    let note = format!("\n… {} bytes left out …\n", call.omitted_bytes);
    let (head, tail) = output.split_once(&note).expect("a line says what is left out");
    assert!(whole.starts_with(head) && whole.ends_with(tail));
    assert!((KEPT - 3..=KEPT).contains(&head.len()), "a head of {}", head.len());
    assert!((KEPT..=KEPT + 3).contains(&tail.len()), "a tail of {}", tail.len());
    assert_eq!(i64::try_from(whole.len() - head.len() - tail.len()), Ok(call.omitted_bytes));
}

fn closed(steps: Vec<Step>) -> ToolCall {
    let item = steps.into_iter().find_map(|step| match step {
        Step::Event(Event::Closed(item)) => Some(item),
        _ => None,
    });
    match item.map(|item| item.content) {
        Some(Content::ToolCall(call)) => *call,
        other => panic!("a script is a tool call: {other:?}"),
    }
}

fn script() -> TellId {
    TellId("prompt.p1".to_owned())
}

fn said(saying: &Saying) -> Record {
    record(What::Said(Line::Text(json!(saying).to_string())))
}

fn record(what: What) -> Record {
    Record { seq: 1, at: 0, what }
}
