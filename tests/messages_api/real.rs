//! The stub with the real program, which takes it for the real API.

use serde_json::{Value, json};

use super::MessagesApi;
use super::program::{Conversation, claude_program};

/// What the program says of a finished turn.
fn said(turn: &[Value]) -> &str {
    let result = turn.last().expect("a turn has a result");
    result["result"].as_str().unwrap_or_else(|| panic!("no text: {result}"))
}

/// The tools that it asked about.
fn asked(turn: &[Value]) -> Vec<&str> {
    turn.iter().filter_map(|line| line["request"]["tool_name"].as_str()).collect()
}

/// Tells a script and checks which tools are asked about, and how the last answer begins.
fn check(claude: &mut Conversation, script: &str, tools: &[&str], beginning: &str) {
    claude.prompt(script);
    let turn = claude.turn();
    assert_eq!(asked(&turn), tools, "{script}");
    assert!(said(&turn).starts_with(beginning), "{script}: {}", said(&turn));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_and_a_command_that_is_allowed() {
    let Some(program) = claude_program() else { return };
    let api = MessagesApi::start().await;
    let mut claude = Conversation::start(&program, &api);
    claude.prompt("[[text: hello from the model]]");
    let turn = claude.turn();
    assert_eq!(said(&turn), "hello from the model");
    let deltas = turn.iter().filter_map(|line| line["event"]["delta"]["text"].as_str());
    assert_eq!(deltas.collect::<Vec<_>>(), ["hello ", "from ", "the ", "model"]);

    check(&mut claude, "[[bash: touch made]]", &["Bash"], "done: (Bash completed with no output)");
    assert!(claude.work().join("made").exists());
    let models: Vec<_> = api.requests().into_iter().map(|request| request.model).collect();
    assert_eq!(models, ["claude-opus-4-8"; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_word_of_the_language_is_understood() {
    let Some(program) = claude_program() else { return };
    let api = MessagesApi::start().await;
    let mut claude = Conversation::start(&program, &api);
    let file = claude.work().join("file").display().to_string();
    let edit = format!("[[edit: {file}|one|three]] [[bash: cat {file}]]");
    let read = format!(r#"[[tool: Read {{"file_path":"{file}","limit":1}}]]"#);
    let tools =
        r#"[[tools: [{"name":"Bash","input":{"command":"touch a"}},{"name":"Bash","input":{"command":"echo b"}}]]]"#;
    let usage = r#"[[usage: {"output_tokens":7}]] [[text: cheap]]"#;
    for (script, tools, beginning) in [
        (format!("[[write: {file} one two]]").as_str(), ["Write"].as_slice(), "done: File created"),
        (&format!("[[read: {file}]]"), &[], "done: 1\tone two"),
        (&edit, &["Edit"], "done: three two"),
        (&read, &[], "done: 1\tthree two"),
        (tools, &["Bash"], "done: b"),
        ("[[bash: exit 3]]", &["Bash"], "done: error: Exit code 3"),
        ("[[ask: Which?|Red|Blue]]", &["AskUserQuestion"], "done: The user did not answer"),
        ("[[todo: one|two]]", &[], "done: Task #2 created"),
        ("[[agent: ((bash: touch by-a-subagent))]]", &["Bash"], "done: done: (Bash completed"),
        ("[[think: hm]] [[say: so]] [[text: end]]", &[], "end"),
        (usage, &[], "cheap"),
        ("[[error: 529 1]]", &[], "recovered"),
        ("[[drop: 1]]", &[], "recovered"),
        ("[[sserror]]", &[], "a message in one piece"),
        ("[[echo]]", &[], r#"{"model":"claude-opus-4-8","images":0,"prompts":["[[echo]]"]"#),
        ("[[error: 403]]", &[], "Failed to authenticate. API Error: 403 a scripted error"),
        ("[[drop]]", &[], "API Error: Connection to the API was lost"),
        ("[[nonsense]]", &[], "API Error: 400 not a script: there is no `[[nonsense]]`"),
    ] {
        check(&mut claude, script, tools, beginning);
    }
    claude.control(&json!({ "subtype": "set_permission_mode", "mode": "plan" }));
    check(&mut claude, "[[plan: do it]]", &["ExitPlanMode"], "done: User has approved your plan");
    api.forget_model("claude-opus-4-8");
    check(&mut claude, "[[text: a]]", &[], "There's an issue with the selected model (claude-opus-4-8).");
    api.require_key("another key");
    check(&mut claude, "[[text: a]]", &[], "Invalid API key");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_seen_in_part_and_can_be_interrupted() {
    let Some(program) = claude_program() else { return };
    let api = MessagesApi::start().await;
    let mut claude = Conversation::start(&program, &api);
    claude.prompt("[[hold: tea]]");
    api.held("tea").await;
    claude.until(|line| line["event"]["delta"]["text"] == "held ");
    api.release("tea");
    assert_eq!(said(&claude.turn()), "tea is held and released");

    for script in ["[[hold: coffee]]", "[[hang: milk]]"] {
        claude.prompt(script);
        api.held(&script[8..script.len() - 2]).await;
        claude.control(&json!({ "subtype": "interrupt" }));
        let turn = claude.turn();
        assert_eq!(turn.last().expect("a result")["subtype"], "error_during_execution", "{script}");
    }
    check(&mut claude, "[[text: and on]]", &[], "and on");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_amid_a_turn_is_a_note_and_no_script() {
    let Some(program) = claude_program() else { return };
    let api = MessagesApi::start().await;
    let mut claude = Conversation::start(&program, &api);
    claude.prompt("[[bash: touch made]] [[echo]]");
    let ask = claude.until(|line| line["request"]["subtype"] == "can_use_tool");
    claude.prompt("faster [[text: please]]");
    claude.allow(&ask);
    let turn = claude.turn();
    let echo: Value = serde_json::from_str(said(&turn)).expect("it is an echo");
    let notes = echo["notes"].to_string();
    assert!(notes.contains("faster [[text: please]]"), "{notes}");
    assert!(echo["system_tail"].as_str().expect("a text").ends_with("\n\nappended"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_is_resumed_elsewhere_is_where_it_was() {
    let Some(program) = claude_program() else { return };
    let api = MessagesApi::start().await;
    let mut claude = Conversation::start(&program, &api);
    claude.prompt("[[text: one]] [[text: two]]");
    let turn = claude.turn();
    assert_eq!(said(&turn), "one");
    let session = turn.last().expect("a result")["session_id"].as_str().expect("an id").to_owned();
    drop(api);
    let elsewhere = MessagesApi::start().await;
    claude.resume(&program, &elsewhere, &session);
    check(&mut claude, "go on", &[], "two");
}
