//! The stub with the real program, which takes it for the real API.

use serde_json::{Value, json};

use super::ResponsesApi;
use super::program::{Conversation, codex_program, is_request};
use super::request::Role;

/// The items of a finished turn that are of this type.
fn items<'a>(turn: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let completed = turn.iter().filter(|message| message["method"] == "item/completed");
    completed.map(|message| &message["params"]["item"]).filter(|item| item["type"] == kind).collect()
}

/// What the program says at the end of a turn.
fn said(turn: &[Value]) -> &str {
    items(turn, "agentMessage").last().and_then(|item| item["text"].as_str()).unwrap_or_default()
}

/// What it asked about.
fn asked(turn: &[Value]) -> Vec<&str> {
    let asks = turn.iter().filter(|message| is_request(message));
    asks.filter_map(|message| message["method"].as_str()).collect()
}

/// How the turn ended, with the error if there was one.
fn end(turn: &[Value]) -> (&str, &Value) {
    let turn = &turn.last().expect("a turn has an end")["params"]["turn"];
    (turn["status"].as_str().expect("a status"), &turn["error"]["codexErrorInfo"])
}

/// Tells a script and checks what is asked about, and how the last answer begins.
fn check(codex: &mut Conversation, script: &str, asks: &[&str], beginning: &str) {
    codex.prompt(script);
    let turn = codex.turn();
    assert_eq!((asked(&turn).as_slice(), end(&turn)), (asks, ("completed", &Value::Null)), "{script}");
    assert!(said(&turn).starts_with(beginning), "{script}: {}", said(&turn));
}

/// Tells a script and checks how it fails.
fn check_failing(codex: &mut Conversation, script: &str, error: &Value) {
    codex.prompt(script);
    assert_eq!(end(&codex.turn()), ("failed", error), "{script}");
}

const COMMAND: &str = "item/commandExecution/requestApproval";
const PATCH: &str = "item/fileChange/requestApproval";
const QUESTION: &str = "item/tool/requestUserInput";

#[tokio::test(flavor = "multi_thread")]
async fn a_text_and_a_command_that_is_allowed() {
    let Some(program) = codex_program() else { return };
    let api = ResponsesApi::start().await;
    let mut codex = Conversation::start(&program, &api);
    codex.prompt("[[think: hm]] [[say: so]] [[text: hello from the model]]");
    let turn = codex.turn();
    assert_eq!(items(&turn, "reasoning")[0]["summary"], json!(["hm"]));
    let messages: Vec<_> =
        items(&turn, "agentMessage").into_iter().map(|item| (&item["phase"], &item["text"])).collect();
    let (comment, answer) = (json!("commentary"), json!("final_answer"));
    assert_eq!(messages, [(&comment, &json!("so")), (&answer, &json!("hello from the model"))]);
    let deltas = turn.iter().filter(|message| message["method"] == "item/agentMessage/delta");
    let deltas: Vec<_> = deltas.filter_map(|message| message["params"]["delta"].as_str()).collect();
    assert_eq!(deltas, ["so", "hello ", "from ", "the ", "model"]);

    codex.prompt("[[bash: touch made; echo it is]]");
    let turn = codex.turn();
    assert_eq!((asked(&turn), said(&turn)), (vec![COMMAND], "done: it is\n"));
    assert!(codex.work().join("made").exists());
    let models: Vec<_> = api.requests().into_iter().map(|request| request.model).collect();
    assert_eq!(models, ["gpt-5.5"; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_word_of_the_language_is_understood() {
    let Some(program) = codex_program() else { return };
    let api = ResponsesApi::start().await;
    let mut codex = Conversation::start(&program, &api);
    let tools = r#"[[tools: [{"name":"exec_command","input":{"cmd":"touch a"}},
                             {"name":"exec_command","input":{"cmd":"echo b"}}]]]"#;
    for (script, asks, beginning) in [
        ("[[patch: file one\ntwo]]", [PATCH].as_slice(), "done: Success. Updated the following files:\nA file\n"),
        ("[[update: file|one|three]] [[bash: cat file]]", &[PATCH, COMMAND], "done: three\ntwo\n"),
        ("[[delete: file]]", &[PATCH], "done: Success. Updated the following files:\nD file\n"),
        (tools, &[COMMAND, COMMAND], "done: b"),
        ("[[bash: exit 3]]", &[COMMAND], "done: Process exited with code 3\n"),
        ("[[bash!: echo escalated]]", &[COMMAND], "done: escalated\n"),
        ("[[background: 250 mkfifo go && read go <go]]", &[COMMAND], "done: Process running with session ID"),
        ("[[bash: echo on >go]]", &[COMMAND], "done: "),
        ("[[ask: Which?|Red|Blue]]", &[QUESTION], r#"done: {"answers":{"choice":{"answers":["Red"]}}}"#),
        ("[[todo: one|two]]", &[], "done: Plan updated"),
        (r#"[[tool: update_plan {"plan":[]}]]"#, &[], "done: Plan updated"),
        ("[[tool: mcp__none/echo]]", &[], "done: unsupported call: mcp__none"),
        ("[[error: 500 1]]", &[], "recovered"),
        ("[[drop: 1]]", &[], "recovered"),
        ("[[echo]]", &[], r#"{"model":"gpt-5.5","effort":"medium","images":0,"prompts":["[[echo]]"]"#),
        ("no script", &[], "done"),
    ] {
        check(&mut codex, script, asks, beginning);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_fails_as_it_would_for_the_real_api() {
    let Some(program) = codex_program() else { return };
    let api = ResponsesApi::start().await;
    let mut codex = Conversation::start(&program, &api);
    check_failing(&mut codex, "[[error: 500]]", &json!("internalServerError"));
    check_failing(&mut codex, "[[drop]]", &json!("other"));
    check_failing(&mut codex, "[[fail: context_length_exceeded too long]]", &json!("contextWindowExceeded"));
    check_failing(&mut codex, "[[nonsense]]", &json!("other"));
    check(&mut codex, "[[text: and on]]", &[], "and on");
    let requests = api.requests();
    let asked: Vec<_> =
        requests
            .iter()
            .map(|request| {
                if request.tools.is_empty() { "a summary" } else { request.texts(Role::User).last().expect("a prompt") }
            })
            .collect();
    // It tries again what may be mended by that, and shortens what was too long when it is told something more.
    assert_eq!(
        asked,
        [
            "[[error: 500]]",
            "[[error: 500]]",
            "[[drop]]",
            "[[drop]]",
            "[[fail: context_length_exceeded too long]]",
            "a summary",
            "[[nonsense]]",
            "[[text: and on]]",
        ]
    );
    api.forget_model("gpt-5.5");
    check_failing(&mut codex, "[[text: a]]", &json!("modelNotFound"));
    api.require_key("another key");
    check_failing(&mut codex, "[[text: a]]", &json!({ "httpConnectionFailed": { "httpStatusCode": 401 } }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_response_costs_is_added_up() {
    let Some(program) = codex_program() else { return };
    let api = ResponsesApi::start().await;
    let mut codex = Conversation::start(&program, &api);
    let usage = r#"[[usage: {"input_tokens":1000,"input_tokens_details":{"cached_tokens":200},"output_tokens":50,"total_tokens":1050}]]"#;
    codex.prompt(&format!("[[bash: true]] {usage} [[text: dear]]"));
    let turn = codex.turn();
    let told: Vec<_> = turn.iter().filter(|message| message["method"] == "thread/tokenUsage/updated").collect();
    let usage = &told.last().expect("it is told")["params"]["tokenUsage"];
    assert_eq!((&usage["last"]["cachedInputTokens"], &usage["last"]["totalTokens"]), (&json!(200), &json!(1050)));
    assert_eq!((&usage["total"]["inputTokens"], &usage["total"]["outputTokens"]), (&json!(1100), &json!(60)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_seen_in_part_and_can_be_interrupted() {
    let Some(program) = codex_program() else { return };
    let api = ResponsesApi::start().await;
    let mut codex = Conversation::start(&program, &api);
    codex.prompt("[[hold: tea]]");
    api.held("tea").await;
    codex.until(|message| message["params"]["delta"] == "held ");
    api.release("tea");
    assert_eq!(said(&codex.turn()), "tea is held and released");

    for script in ["[[hold: coffee]]", "[[hang: milk]]"] {
        let turn = codex.prompt(script);
        api.held(&script[8..script.len() - 2]).await;
        codex.interrupt(&turn);
        assert_eq!(end(&codex.turn()).0, "interrupted", "{script}");
    }
    check(&mut codex, "[[text: and on]]", &[], "and on");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_amid_a_turn_is_heard_in_it() {
    let Some(program) = codex_program() else { return };
    let api = ResponsesApi::start().await;
    let mut codex = Conversation::start(&program, &api);
    let turn = codex.prompt("[[bash: touch made]] [[echo]]");
    let ask = codex.until(is_request);
    assert_eq!(codex.prompt("faster"), turn);
    codex.allow(&ask);
    let echo: Value = serde_json::from_str(said(&codex.turn())).expect("it is an echo");
    assert_eq!(echo["prompts"], json!(["faster"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_is_resumed_elsewhere_is_where_it_was() {
    let Some(program) = codex_program() else { return };
    let api = ResponsesApi::start().await;
    let mut codex = Conversation::start(&program, &api);
    check(&mut codex, "[[say: so]] [[text: one]] [[bash: touch made]] [[text: three]]", &[], "one");
    drop(api);
    let elsewhere = ResponsesApi::start().await;
    codex.resume(&program, &elsewhere);
    check(&mut codex, "go on", &[COMMAND], "three");
    let last = elsewhere.requests().pop().expect("it asked");
    assert_eq!(last.texts(Role::User).last(), Some("go on"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_by_a_death_is_said_again() {
    let Some(program) = codex_program() else { return };
    let api = ResponsesApi::start().await;
    let mut codex = Conversation::start(&program, &api);
    codex.prompt("[[bash: touch made]] [[say: so]] [[hold: tea]] [[text: end]]");
    let ask = codex.until(is_request);
    codex.allow(&ask);
    api.held("tea").await;
    codex.until(|message| message["params"]["delta"] == "held ");
    codex.resume(&program, &api);
    api.release("tea");
    check(&mut codex, "go on", &[], "tea is held and released");
    check(&mut codex, "go on", &[], "end");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_not_logged_in_shows_no_key_and_needs_one() {
    let Some(program) = codex_program() else { return };
    let api = ResponsesApi::start().await;
    let mut codex = Conversation::without_login(&program, &api);
    let account = codex.call("account/read", &json!({}));
    assert_eq!((&account["account"], &account["requiresOpenaiAuth"]), (&Value::Null, &json!(true)));
    check(&mut codex, "[[text: free]]", &[], "free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_moves_no_script_on() {
    let Some(program) = codex_program() else { return };
    let api = ResponsesApi::start().await;
    let mut codex = Conversation::start(&program, &api);
    check(&mut codex, "[[text: one]] [[text: two]]", &[], "one");
    let thread = codex.thread().clone();
    codex.call("thread/compact/start", &json!({ "threadId": thread }));
    codex.turn();
    assert_eq!(api.requests().last().map(|request| request.tools.len()), Some(0));
    check(&mut codex, "go on", &[], "two");
}
