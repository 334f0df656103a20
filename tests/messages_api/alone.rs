//! The stub by itself: no program is needed to know what it answers.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::reply::{Call, Part};
use super::script::{Act, parse};
use super::{MessagesApi, SIDE_TEXT};

/// A caller with one connection.
struct Caller {
    sender: http1::SendRequest<Full<Bytes>>,
    #[expect(dead_code, reason = "it ends the connection by being dropped")]
    connection: JoinSet<()>,
}

impl Caller {
    async fn of(api: &MessagesApi) -> Caller {
        let stream = TcpStream::connect(api.base_url().trim_start_matches("http://")).await.expect("it accepts");
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.expect("a connection");
        let mut connection = JoinSet::new();
        connection.spawn(async move {
            let _ = driver.await;
        });
        Caller { sender, connection }
    }

    async fn call(&mut self, method: Method, path: &str, body: &Value) -> Response<Incoming> {
        self.with_key("a-key", method, path, body).await
    }

    async fn with_key(&mut self, key: &str, method: Method, path: &str, body: &Value) -> Response<Incoming> {
        let request = Request::builder().method(method).uri(path).header("host", "localhost").header("x-api-key", key);
        let request = request.body(Full::new(body.to_string().into())).expect("a request");
        self.sender.ready().await.expect("the connection is open");
        self.sender.send_request(request).await.expect("a response")
    }

    /// Returns the status and the body of a request for a message.
    async fn message(&mut self, body: &Value) -> (u16, String) {
        let response = self.call(Method::POST, "/v1/messages?beta=true", body).await;
        (response.status().as_u16(), text(response).await.expect("the body ends"))
    }

    /// Returns the text of the message that comes to a prompt, or the error.
    async fn says(&mut self, prompt: &str) -> String {
        let (_, message) = self.message(&request(prompt, &[])).await;
        let message: Value = serde_json::from_str(&message).expect("JSON");
        message["content"][0]["text"].as_str().or(message["error"]["message"].as_str()).expect("a text").to_owned()
    }
}

async fn text(response: Response<Incoming>) -> Result<String, hyper::Error> {
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(body.into()).expect("UTF-8"))
}

/// A request as the program makes them, with what followed the prompt.
fn request(prompt: &str, since: &[Value]) -> Value {
    let reminder = "<system-reminder>\nbrackets in a reminder: [[text: no]]\n</system-reminder>";
    let content = json!([{ "type": "text", "text": reminder }, { "type": "text", "text": prompt }]);
    let mut messages = vec![json!({ "role": "user", "content": content })];
    messages.extend_from_slice(since);
    json!({
        "model": "claude-test",
        "max_tokens": 1000,
        "system": [{ "type": "text", "text": "You are a test." }, { "type": "text", "text": "Be brief." }],
        "tools": [{ "name": "Bash", "input_schema": {} }, { "name": "TaskCreate", "input_schema": {} }],
        "messages": messages,
    })
}

fn streamed(mut request: Value) -> Value {
    request["stream"] = json!(true);
    request
}

fn said(text: &str) -> Value {
    json!({ "role": "assistant", "content": [{ "type": "text", "text": text }] })
}

fn result(text: &str, is_error: bool) -> Value {
    let result = json!({ "type": "tool_result", "tool_use_id": "toolu_1", "content": text, "is_error": is_error });
    json!({ "role": "user", "content": [result] })
}

#[test]
fn a_script_is_read_step_by_step() -> Result<(), String> {
    let steps = parse(
        "Please [[think: hm]] [[say: so]] [[bash: [ -e a ] && echo \"a|b\"]] and then
         [[usage: {\"output_tokens\": 7}]] [[tools: [{\"name\":\"A\",\"input\":{\"b\":[[1]]}},{\"name\":\"C\"}]]]
         [[tool: D {\"e\":[[2]]}]] [[edit: a|b|]] [[error: 529 2]] [[drop]] [[todo: a|b]] [[agent: do ((echo))]]
         if [[ -f a ]] and list[[0]] then it is bash, and no script [[echo]]",
    )?;
    let acts: Vec<_> = steps.iter().map(|step| &step.act).collect();
    let call = |name: &str, input| Act::Use(vec![Call { name: name.to_owned(), input }]);
    let bash = json!({ "command": "[ -e a ] && echo \"a|b\"", "description": "Run a scripted command" });
    let tools = vec![
        Call { name: "A".to_owned(), input: json!({ "b": [[1]] }) },
        Call { name: "C".to_owned(), input: Value::Null },
    ];
    assert_eq!(
        acts,
        [
            &call("Bash", bash),
            &Act::Use(tools),
            &call("D", json!({ "e": [[2]] })),
            &call("Edit", json!({ "file_path": "a", "old_string": "b", "new_string": "" })),
            &Act::Error { status: 529, times: 2 },
            &Act::Drop { times: usize::MAX },
            &Act::Todo(vec!["a".to_owned(), "b".to_owned()]),
            &Act::Agent("do [[echo]]".to_owned()),
            &Act::Echo,
        ]
    );
    assert_eq!(steps[0].lead, [Part::Thinking("hm".to_owned()), Part::Text("so".to_owned())]);
    assert_eq!(steps[1].usage["output_tokens"], 7);
    Ok(())
}

#[test]
fn what_is_no_script_says_why() {
    let why = |text: &str| parse(text).expect_err("it is no script");
    assert_eq!(why("[[txet: a]]"), "there is no `[[txet]]`");
    assert_eq!(why("[[text: a"), "`[[text:` has no end");
    assert_eq!(why("[[text: a]] [[say: b]]"), "a modifier has no step after it");
    assert_eq!(why("[[edit: a|b]]"), "`[[edit: a|b]]` is not PATH|OLD|NEW");
    assert_eq!(why("[[error: 200]]"), "`200` is no error");
    assert!(why("[[drop: a]]").starts_with("`a` is no number of times"));
    assert!(why("[[tool: A {]]").starts_with("the JSON of `[[tool]]`"));
}

#[tokio::test]
async fn a_stream_has_the_events_of_the_real_one() {
    let api = MessagesApi::start().await;
    let mut caller = Caller::of(&api).await;
    let script = r#"[[think: hm]] [[say: I will look.]] [[usage: {"output_tokens": 7}]] [[bash: ls]]"#;
    let response = caller.call(Method::POST, "/v1/messages?beta=true", &streamed(request(script, &[]))).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    let events = text(response).await.expect("the body ends");
    insta::with_settings!({ filters => vec![("[0-9a-f]{32}", "<id>")] }, {
        insta::assert_snapshot!("stream", events);
    });
}

#[tokio::test]
async fn a_message_in_one_piece_has_what_a_stream_has() {
    let api = MessagesApi::start().await;
    let script = "[[think: hm]] [[say: I will look.]] [[todo: one|two]]";
    let (status, message) = Caller::of(&api).await.message(&request(script, &[])).await;
    assert_eq!(status, 200);
    let message: Value = serde_json::from_str(&message).expect("JSON");
    insta::with_settings!({ filters => vec![("[0-9a-f]{32}", "<id>")] }, {
        insta::assert_json_snapshot!("whole", message);
    });
}

#[tokio::test]
async fn plans_and_subagents_use_the_tools_that_are_offered() {
    let api = MessagesApi::start().await;
    let mut caller = Caller::of(&api).await;
    for (offered, script, used) in [
        (["TaskCreate", "Agent"], "[[todo: a]]", "TaskCreate"),
        (["TodoWrite", "Agent"], "[[todo: a]]", "TodoWrite"),
        (["TaskCreate", "Agent"], "[[agent: a]]", "Agent"),
        (["TaskCreate", "Task"], "[[agent: a]]", "Task"),
    ] {
        let mut request = request(script, &[]);
        request["tools"] = offered.map(|name| json!({ "name": name })).into();
        let (_, message) = caller.message(&request).await;
        let message: Value = serde_json::from_str(&message).expect("JSON");
        assert_eq!(message["content"][0]["name"], used, "{script}");
    }
}

#[tokio::test]
async fn the_number_of_answers_is_the_step() {
    let api = MessagesApi::start().await;
    let mut caller = Caller::of(&api).await;
    let script = "[[text: one]] [[text: two]]";
    let injected = json!({ "role": "system", "content": "The user sent a new message: [[text: injected]]" });
    let conversations = [
        (request(script, &[]), "one"),
        (request(script, &[said("one"), result("[[text: a file]]", false), injected.clone()]), "two"),
        (request(script, &[said("one"), said("two")]), "done"),
        (request(script, &[said("one"), said("two"), result("a", false), result("b", true)]), "done: error: b"),
        (request(script, &[said("one"), json!({ "role": "user", "content": "no brackets" })]), "two"),
        (request(script, &[said("one"), json!({ "role": "user", "content": "[[text: other]]" })]), "other"),
        (request("no brackets", &[]), "ok: no brackets"),
    ];
    for (request, expected) in conversations {
        let (_, message) = caller.message(&request).await;
        let message: Value = serde_json::from_str(&message).expect("JSON");
        assert_eq!(message["content"][0]["text"], expected);
    }
}

#[tokio::test]
async fn what_it_refuses_has_the_shape_of_the_real_errors() {
    let api = MessagesApi::start().await;
    let mut caller = Caller::of(&api).await;
    let mut check = async |request: &Value, status: u16, kind: &str, message: &str| {
        let (code, body) = caller.message(request).await;
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((code, &body["type"]), (status, &json!("error")));
        assert_eq!(body["error"], json!({ "type": kind, "message": message }));
    };
    check(&request("[[error: 529]]", &[]), 529, "overloaded_error", "a scripted error").await;
    check(&request("[[nothing]]", &[]), 400, "invalid_request_error", "not a script: there is no `[[nothing]]`").await;
    api.forget_model("claude-test");
    check(&request("[[text: a]]", &[]), 404, "not_found_error", "model: claude-test").await;
    api.require_key("another-key");
    check(&request("[[text: a]]", &[]), 401, "authentication_error", "invalid x-api-key").await;
    let mut known = request("[[text: a]]", &[]);
    known["model"] = json!("another-model");
    let answer = caller.with_key("another-key", Method::POST, "/v1/messages", &known).await;
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn an_error_can_be_over_after_some_requests() {
    let api = MessagesApi::start().await;
    let mut caller = Caller::of(&api).await;
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(caller.says("[[error: 529 2]]").await);
    }
    assert_eq!(answers, ["a scripted error", "a scripted error", "recovered"]);
}

#[tokio::test]
async fn a_connection_is_cut_amid_a_message() {
    let api = MessagesApi::start().await;
    for body in [streamed(request("[[drop: 2]]", &[])), request("[[drop: 2]]", &[])] {
        let mut caller = Caller::of(&api).await;
        let mut response = caller.call(Method::POST, "/v1/messages", &body).await;
        let mut seen = Vec::new();
        while let Ok(frame) = response.frame().await.expect("the body has no end") {
            seen.extend(frame.into_data().expect("data"));
        }
        assert!(String::from_utf8(seen).expect("UTF-8").contains(r#""role":"assistant""#), "its beginning arrives");
    }
    assert_eq!(Caller::of(&api).await.says("[[drop: 2]]").await, "recovered");
}

#[tokio::test]
async fn an_error_ends_a_stream_and_not_a_message_in_one_piece() {
    let api = MessagesApi::start().await;
    let mut caller = Caller::of(&api).await;
    let (status, events) = caller.message(&streamed(request("[[sserror: api_error]]", &[]))).await;
    assert_eq!(status, 200);
    let last = events.trim_end().rsplit("\n\n").next().expect("an event");
    assert!(last.starts_with("event: error\n") && last.contains("api_error"), "{events}");
    assert_eq!(caller.says("[[sserror: api_error]]").await, "a message in one piece");
}

#[tokio::test]
async fn a_held_stream_goes_on_when_it_is_released() {
    let api = MessagesApi::start().await;
    let mut caller = Caller::of(&api).await;
    let mut response = caller.call(Method::POST, "/v1/messages", &streamed(request("[[hold: tea]]", &[]))).await;
    let mut seen = String::new();
    while !seen.contains("held ") {
        let frame = response.frame().await.expect("it has no end yet").expect("it is not cut");
        seen.push_str(std::str::from_utf8(&frame.into_data().expect("data")).expect("UTF-8"));
    }
    api.held("tea").await;
    assert!(!seen.contains("released"));
    api.release("tea");
    assert!(
        text(response)
            .await
            .expect("the body ends")
            .ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
    );
    // A gate stays open.
    assert_eq!(caller.says("[[hold: tea]]").await, "tea is held and released");
}

#[tokio::test]
async fn one_that_hangs_begins_when_it_is_released() {
    let api = MessagesApi::start().await;
    let mut caller = Caller::of(&api).await;
    let test = async {
        api.held("tea").await;
        api.release("tea");
    };
    let (said, ()) = tokio::join!(caller.says("[[hang: tea]]"), test);
    assert_eq!(said, "tea was hanging");
}

#[tokio::test]
async fn what_is_held_ends_with_the_stub() {
    let api = MessagesApi::start().await;
    let mut caller = Caller::of(&api).await;
    let response = caller.call(Method::POST, "/v1/messages", &streamed(request("[[hold: tea]]", &[]))).await;
    api.held("tea").await;
    drop(api);
    text(response).await.expect_err("it is cut");
}

#[tokio::test]
async fn echo_says_what_the_request_was() {
    let api = MessagesApi::start().await;
    let image = json!({ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "" } });
    let mut request = request("an older one", &[said("ok")]);
    let newest = json!([
        image,
        { "type": "text", "text": "<system-reminder>a note</system-reminder> first" },
        { "type": "text", "text": "[[echo]]" },
    ]);
    let messages = request["messages"].as_array_mut().expect("messages");
    messages.push(json!({ "role": "user", "content": newest }));
    messages.push(json!({ "role": "system", "content": "an aside" }));
    let (_, message) = Caller::of(&api).await.message(&request).await;
    let message: Value = serde_json::from_str(&message).expect("JSON");
    let echo: Value = serde_json::from_str(message["content"][0]["text"].as_str().expect("a text")).expect("JSON");
    assert_eq!(
        echo,
        json!({
            "model": "claude-test",
            "images": 1,
            "prompts": ["first", "[[echo]]"],
            "notes": ["a note", "an aside"],
            "system_tail": "You are a test.\n\nBe brief.",
            "tools": ["Bash", "TaskCreate"],
        })
    );
}

#[tokio::test]
async fn side_calls_move_no_script_on_and_requests_are_kept() {
    let api = MessagesApi::start().await;
    let mut caller = Caller::of(&api).await;
    assert_eq!(caller.call(Method::HEAD, "/", &Value::Null).await.status(), 200);
    assert_eq!(caller.call(Method::GET, "/other", &Value::Null).await.status(), 404);
    let count = caller.call(Method::POST, "/v1/messages/count_tokens", &request("a", &[])).await;
    assert!(text(count).await.expect("the body ends").starts_with("{\"input_tokens\":"));
    let mut side = request("[[error: 500 1]]", &[]);
    side["tools"] = json!([]);
    let (_, message) = caller.message(&side).await;
    let message: Value = serde_json::from_str(&message).expect("JSON");
    assert_eq!(message["content"][0]["text"], SIDE_TEXT);
    assert_eq!(caller.says("[[text: a]]").await, "a");
    let requests = api.requests();
    let tools: Vec<_> = requests.iter().map(|request| request.tools.len()).collect();
    assert_eq!(tools, [0, 2]);
    assert_eq!(
        (requests[1].model.as_str(), requests[1].system.as_str()),
        ("claude-test", "You are a test.\n\nBe brief.")
    );
    assert_eq!(requests[1].messages[0].texts().last(), Some("[[text: a]]"));
}
