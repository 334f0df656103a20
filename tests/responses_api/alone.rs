//! The stub by itself: no program is needed to know what it answers.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::ResponsesApi;
use super::reply::{Call, Part};
use super::request::Role;
use super::script::{Act, parse};

/// A caller with one connection.
struct Caller {
    sender: http1::SendRequest<Full<Bytes>>,
    #[expect(dead_code, reason = "it ends the connection by being dropped")]
    connection: JoinSet<()>,
}

impl Caller {
    async fn of(api: &ResponsesApi) -> Caller {
        let url = api.base_url();
        let address = url.trim_start_matches("http://").trim_end_matches("/v1");
        let stream = TcpStream::connect(address).await.expect("it accepts");
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.expect("a connection");
        let mut connection = JoinSet::new();
        connection.spawn(async move {
            let _ = driver.await;
        });
        Caller { sender, connection }
    }

    async fn call(&mut self, method: Method, path: &str, headers: &[(&str, &str)], body: &Value) -> Response<Incoming> {
        let mut request = hyper::Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.to_string().into())).expect("a request");
        self.sender.ready().await.expect("the connection is open");
        self.sender.send_request(request).await.expect("a response")
    }

    async fn ask(&mut self, body: &Value) -> Response<Incoming> {
        self.call(Method::POST, "/v1/responses", &[("authorization", "Bearer a-key")], body).await
    }

    /// Returns the output of the response that comes, or the error.
    async fn output(&mut self, body: &Value) -> Value {
        let events = text(self.ask(body).await).await.expect("the body ends");
        let last = events.trim_end().rsplit("data: ").next().expect("data");
        let mut last: Value = serde_json::from_str(last).expect("JSON");
        for error in [&["error"][..], &["response", "error"]] {
            let error = error.iter().try_fold(&last, |value, key| value.get(key));
            if let Some(error) = error.filter(|error| !error.is_null()) {
                return error.clone();
            }
        }
        last["response"]["output"].take()
    }

    /// Returns the text that comes, or the error.
    async fn says(&mut self, body: &Value) -> String {
        let output = self.output(body).await;
        output[0]["content"][0]["text"].as_str().or(output["message"].as_str()).expect("a text").to_owned()
    }
}

async fn text(response: Response<Incoming>) -> Result<String, hyper::Error> {
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(body.into()).expect("UTF-8"))
}

/// A request as the program makes them, with what followed the prompt.
fn request(prompt: &str, since: &[Value]) -> Value {
    let mut input = vec![
        message("developer", "brackets that are no script: [[text: no]]"),
        message("user", "<environment_context>\n  <cwd>[[text: no]]</cwd>\n</environment_context>"),
        message("user", prompt),
    ];
    input.extend_from_slice(since);
    json!({
        "model": "gpt-test",
        "stream": true,
        "prompt_cache_key": "a conversation",
        "reasoning": { "effort": "low" },
        "tools": [
            { "type": "function", "name": "exec_command" },
            { "type": "custom", "name": "apply_patch" },
            { "type": "web_search" },
            { "type": "namespace", "name": "mcp__lab", "tools": [{ "type": "function", "name": "echo" }] },
        ],
        "input": input,
    })
}

fn message(role: &str, text: &str) -> Value {
    json!({ "type": "message", "role": role, "content": [{ "type": "input_text", "text": text }] })
}

fn said(phase: &str, text: &str) -> Value {
    let content = json!([{ "type": "output_text", "text": text }]);
    json!({ "type": "message", "role": "assistant", "phase": phase, "content": content })
}

fn call() -> Value {
    json!({ "type": "function_call", "name": "exec_command", "arguments": "{}", "call_id": "call_1" })
}

fn output(text: &str) -> Value {
    json!({ "type": "function_call_output", "call_id": "call_1", "output": text })
}

#[test]
fn a_script_is_read_step_by_step() -> Result<(), String> {
    let steps = parse(
        "Please [[think: hm]] [[say: so]] [[bash: [ -e a ] && echo \"a|b\"]] and then
         [[usage: {\"output_tokens\": 7}]] [[bash!: id]] [[background: 250 cat]] [[tool: mcp__lab/echo {\"e\":[[2]]}]]
         [[patch: a b\nc]] [[update: a|b|]] [[delete: a]] [[error: 503 2]] [[drop]] [[fail: a b c]]
         if [[ -f a ]] and list[[0]] then it is bash, and no script [[echo]]",
    )?;
    let acts: Vec<_> = steps.iter().map(|step| &step.act).collect();
    let call = |name: &str, input| Act::Call(vec![Call { name: name.to_owned(), input }]);
    let patch = |change: &str| Act::Patch(format!("*** Begin Patch\n{change}\n*** End Patch\n"));
    let bash = json!({ "cmd": "[ -e a ] && echo \"a|b\"", "yield_time_ms": 30000 });
    let escalated =
        json!({ "cmd": "id", "sandbox_permissions": "require_escalated", "justification": "a scripted escalation" });
    assert_eq!(
        acts,
        [
            &call("exec_command", bash),
            &call("exec_command", escalated),
            &call("exec_command", json!({ "cmd": "cat", "yield_time_ms": 250 })),
            &call("mcp__lab/echo", json!({ "e": [[2]] })),
            &patch("*** Add File: a\n+b\n+c"),
            &patch("*** Update File: a\n@@\n-b"),
            &patch("*** Delete File: a"),
            &Act::Error { status: 503, times: 2 },
            &Act::Drop { times: usize::MAX },
            &Act::Fail { code: "a".to_owned(), message: "b c".to_owned() },
            &Act::Echo,
        ]
    );
    assert_eq!(steps[0].lead, [Part::Thinking("hm".to_owned()), Part::Comment("so".to_owned())]);
    assert_eq!(steps[1].usage["output_tokens"], 7);
    Ok(())
}

#[test]
fn what_is_no_script_says_why() {
    let why = |text: &str| parse(text).expect_err("it is no script");
    assert_eq!(why("[[txet: a]]"), "there is no `[[txet]]`");
    assert_eq!(why("[[echo!]]"), "there is no `[[echo!]]`");
    assert_eq!(why("[[say: b]]"), "a modifier has no step after it");
    assert_eq!(why("[[update: a|b]]"), "`[[update: a|b]]` is not PATH|OLD|NEW");
    assert!(why("[[background: cat]]").starts_with("`cat` is no time"));
}

#[tokio::test]
async fn a_stream_has_the_events_of_the_real_one() {
    let api = ResponsesApi::start().await;
    let mut caller = Caller::of(&api).await;
    let tools = r#"[[tools: [{"name":"mcp__lab/echo","input":{"a":1}}]]]"#;
    let script =
        format!(r#"[[think: hm so]] [[say: I will look.]] [[usage: {{"output_tokens": 7}}]] {tools} [[delete: a]]"#);
    let mut events = String::new();
    for since in [&[][..], &[said("commentary", "I will look."), call(), output("")]] {
        let response = caller.ask(&request(&script, since)).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        events += &text(response).await.expect("the body ends");
    }
    insta::with_settings!({ filters => vec![("[0-9a-f]{32}", "<id>")] }, {
        insta::assert_snapshot!("stream", events);
    });
}

#[tokio::test]
async fn the_number_of_answers_is_the_step() {
    let api = ResponsesApi::start().await;
    let mut caller = Caller::of(&api).await;
    let script = "[[text: one]] [[text: two]]";
    let head =
        "Chunk ID: 15bb3b\nWall time: 0.1 seconds\nProcess exited with code 0\nOriginal token count: 0\nOutput:\n";
    let failed = head.replace("code 0", "code 3");
    let one = || said("final_answer", "one");
    let aborted = message("user", "<turn_aborted>\n[[text: no]]");
    let conversations = [
        (request(script, &[]), "one"),
        (request(script, &[said("commentary", "hm")]), "one"),
        (request(script, &[said("commentary", "hm"), call(), call(), output("[[text: no]]"), output("b")]), "two"),
        (request(script, &[one(), aborted, message("user", "no brackets")]), "two"),
        (request(script, &[one(), message("user", "[[text: other]]")]), "other"),
        (request(script, &[one(), message("user", "go on"), said("final_answer", "two")]), "done"),
        (request(script, &[call(), output("a"), call(), output(&format!("{head}b\n"))]), "done: b\n"),
        (request(script, &[call(), output("a"), call(), output(&failed)]), "done: Process exited with code 3\n"),
        (request(script, &[message("user", "It was:\nA summary of responses: 1")]), "two"),
        (request("no brackets", &[]), "ok: no brackets"),
    ];
    for (request, expected) in conversations {
        assert_eq!(caller.says(&request).await, expected);
    }
}

#[tokio::test]
async fn what_it_refuses_has_the_shape_of_the_real_errors() {
    let api = ResponsesApi::start().await;
    let mut caller = Caller::of(&api).await;
    let mut check = async |request: &Value, status: u16, code: Value, message: &str| {
        let response = caller.ask(request).await;
        assert_eq!(response.status(), status);
        let body: Value = serde_json::from_str(&text(response).await.expect("the body ends")).expect("JSON");
        assert_eq!((&body["error"]["code"], &body["error"]["message"]), (&code, &json!(message)));
    };
    check(&request("[[error: 429]]", &[]), 429, json!("rate_limit_exceeded"), "a scripted error").await;
    check(&request("[[nothing]]", &[]), 400, Value::Null, "not a script: there is no `[[nothing]]`").await;
    api.forget_model("gpt-test");
    check(&request("", &[]), 404, json!("model_not_found"), "the model `gpt-test` does not exist").await;
    api.require_key("another-key");
    check(&request("", &[]), 401, json!("invalid_api_key"), "incorrect API key provided").await;
    let upgrade = [("connection", "Upgrade"), ("upgrade", "websocket")];
    assert_eq!(caller.call(Method::GET, "/v1/responses", &upgrade, &Value::Null).await.status(), 426);
    assert_eq!(Caller::of(&api).await.call(Method::GET, "/v1/models", &[], &Value::Null).await.status(), 404);
}

#[tokio::test]
async fn an_error_can_be_over_after_some_requests_of_a_conversation() {
    let api = ResponsesApi::start().await;
    let mut caller = Caller::of(&api).await;
    let mut other = request("[[error: 500 2]]", &[]);
    other["prompt_cache_key"] = json!("another");
    caller.says(&other).await;
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(caller.says(&request("[[error: 500 2]]", &[])).await);
    }
    assert_eq!(answers, ["a scripted error", "a scripted error", "recovered"]);
    let failed = caller.says(&request("[[fail: server_is_overloaded too much]]", &[])).await;
    assert_eq!(failed, "too much");
}

#[tokio::test]
async fn a_connection_is_cut_amid_a_message() {
    let api = ResponsesApi::start().await;
    let body = request("[[drop: 1]]", &[]);
    let mut response = Caller::of(&api).await.ask(&body).await;
    let mut seen = Vec::new();
    while let Ok(frame) = response.frame().await.expect("the body has no end") {
        seen.extend(frame.into_data().expect("data"));
    }
    assert!(String::from_utf8(seen).expect("UTF-8").contains("response.created"), "its beginning arrives");
    assert_eq!(Caller::of(&api).await.says(&body).await, "recovered");
}

#[tokio::test]
async fn what_is_held_goes_on_when_it_is_released() {
    let api = ResponsesApi::start().await;
    let mut caller = Caller::of(&api).await;
    let mut response = caller.ask(&request("[[hold: tea]]", &[])).await;
    let mut seen = String::new();
    while !seen.contains("held ") {
        let frame = response.frame().await.expect("it has no end yet").expect("it is not cut");
        seen.push_str(std::str::from_utf8(&frame.into_data().expect("data")).expect("UTF-8"));
    }
    api.held("tea").await;
    assert!(!seen.contains("released"));
    api.release("tea");
    assert!(text(response).await.expect("the body ends").contains("tea is held and released"));
    // A gate stays open.
    assert_eq!(caller.says(&request("[[hang: tea]]", &[])).await, "tea was hanging");
}

#[tokio::test]
async fn echo_says_what_the_request_was_and_requests_are_kept() {
    let api = ResponsesApi::start().await;
    let mut caller = Caller::of(&api).await;
    let mut side = request("[[error: 500]]", &[said("final_answer", "a")]);
    side["tools"] = json!([]);
    assert_eq!(caller.says(&side).await, "A summary of responses: 1");
    let newest = json!([
        { "type": "input_text", "text": "first" },
        { "type": "input_image", "image_url": "data:" },
        { "type": "input_text", "text": "[[echo]]" },
    ]);
    let newest = json!({ "type": "message", "role": "user", "content": newest });
    let more = json!({ "type": "additional_tools", "tools": [{ "type": "custom", "name": "exec" }] });
    let since = [said("final_answer", "ok"), message("developer", "a note"), more, newest];
    let echo = caller.says(&request("an older one", &since)).await;
    let tools = ["exec_command", "apply_patch", "web_search", "mcp__lab/echo", "exec"];
    assert_eq!(
        serde_json::from_str::<Value>(&echo).expect("JSON"),
        json!({
            "model": "gpt-test",
            "effort": "low",
            "images": 1,
            "prompts": ["first", "[[echo]]"],
            "notes": ["a note"],
            "tools": tools,
        })
    );
    let requests = api.requests();
    let [side, echo] = &requests[..] else { panic!("two requests: {requests:?}") };
    assert!(side.tools.is_empty());
    assert_eq!(
        (echo.model.as_str(), echo.instructions.as_str(), echo.effort.as_deref()),
        ("gpt-test", "", Some("low"))
    );
    assert_eq!(echo.tools, tools);
    assert_eq!(echo.texts(Role::User).last(), Some("[[echo]]"));
}
