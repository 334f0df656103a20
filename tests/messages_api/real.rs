//! The stub with the real program, which takes it for the real API.

use serde_json::Value;

use super::MessagesApi;
use super::program::{Conversation, claude_program};

/// What the program says about a finished turn.
fn result_of(turn: &[Value]) -> &str {
    let result = turn.last().expect("a turn has a result");
    result["result"].as_str().unwrap_or_else(|| panic!("no text: {result}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_and_a_command_that_is_allowed() {
    let Some(program) = claude_program() else { return };
    let api = MessagesApi::start().await;
    let mut claude = Conversation::start(&program, &api);
    claude.prompt("[[text: hello from the model]]");
    let turn = claude.turn();
    assert_eq!(result_of(&turn), "hello from the model");
    let deltas = turn.iter().filter_map(|line| line["event"]["delta"]["text"].as_str());
    assert_eq!(deltas.collect::<String>(), "hello from the model");

    claude.prompt("[[bash: touch made]]");
    let turn = claude.turn();
    let asked: Vec<_> = turn.iter().filter(|line| line["request"]["subtype"] == "can_use_tool").collect();
    assert_eq!(asked.len(), 1, "{turn:?}");
    assert_eq!(asked[0]["request"]["input"]["command"], "touch made");
    assert!(result_of(&turn).starts_with("done: "), "{turn:?}");
    assert!(claude.work().join("made").exists());
    assert_eq!(api.requests().last().expect("requests").model, "claude-opus-4-8");
}
