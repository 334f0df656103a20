//! Text that becomes a type at the edge: frames, arguments, durations, modes, times, ids, addresses.

use std::fmt::Debug;
use std::str::FromStr;

use paseo_sdk::catalogue::{CreateAgent, ListAgents, SendAgentPrompt, WaitForAgent};
use paseo_sdk::client::Address;
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::frame::{self, Frame};
use paseo_sdk::item::{Content, Entry, Happening, Item, Tool, ToolCall, ToolStatus};
use paseo_sdk::model::{AgentId, Duration, Event, ItemId, Mode, Outcome, Timestamp, Usage};
use paseo_sdk::operation::{Operation, parse};
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn frames_that_are_no_messages_are_answered_with_what_is_wrong() {
    let texts = [
        "",
        "hello",
        "{",
        "7",
        "[]",
        r#"[{"jsonrpc":"2.0","id":1,"method":"list_agents"}]"#,
        "{}",
        r#"{"id":1,"method":"list_agents"}"#,
        r#"{"jsonrpc":"1.0","id":"a","method":"list_agents"}"#,
        r#"{"jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"list_agents"}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"list_agents"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{"code":1,"message":"x"}}"#,
    ];
    let shown = texts.map(|text| match Frame::parse(text) {
        Ok(frame) => format!("{text}\n  is {frame:?}"),
        Err(malformed) => {
            let hint = malformed.error.hint.unwrap_or_default();
            format!("{text}\n  {} to {}: {} ({hint})", malformed.number, malformed.id, malformed.error.message)
        }
    });
    insta::assert_snapshot!(shown.join("\n"), @r#"

      -32700 to null: not JSON: EOF while parsing a value at line 1 column 0 (send {"jsonrpc":"2.0","id":1,"method":"list_agents","params":{}})
    hello
      -32700 to null: not JSON: expected value at line 1 column 1 (send {"jsonrpc":"2.0","id":1,"method":"list_agents","params":{}})
    {
      -32700 to null: not JSON: EOF while parsing an object at line 1 column 1 (send {"jsonrpc":"2.0","id":1,"method":"list_agents","params":{}})
    7
      -32600 to null: a message must be an object (send {"jsonrpc":"2.0","id":1,"method":"list_agents","params":{}})
    []
      -32600 to null: batches are not supported (send one call per message)
    [{"jsonrpc":"2.0","id":1,"method":"list_agents"}]
      -32600 to null: batches are not supported (send one call per message)
    {}
      -32600 to null: `jsonrpc` must be "2.0" (send {"jsonrpc":"2.0","id":1,"method":"list_agents","params":{}})
    {"id":1,"method":"list_agents"}
      -32600 to 1: `jsonrpc` must be "2.0" (send {"jsonrpc":"2.0","id":1,"method":"list_agents","params":{}})
    {"jsonrpc":"1.0","id":"a","method":"list_agents"}
      -32600 to "a": `jsonrpc` must be "2.0" (send {"jsonrpc":"2.0","id":1,"method":"list_agents","params":{}})
    {"jsonrpc":"2.0"}
      -32600 to null: `method` is missing (send {"jsonrpc":"2.0","id":1,"method":"list_agents","params":{}})
    {"jsonrpc":"2.0","id":1}
      -32600 to null: neither `method`, `result` nor `error` (send {"jsonrpc":"2.0","id":1,"method":"list_agents","params":{}})
    {"jsonrpc":"2.0","id":1,"method":7}
      -32600 to 1: `method` must be a string (send {"jsonrpc":"2.0","id":1,"method":"list_agents","params":{}})
    {"jsonrpc":"2.0","id":null,"method":"list_agents"}
      -32600 to null: `id` must be a string or a number (send {"jsonrpc":"2.0","id":1,"method":"list_agents","params":{}})
    {"jsonrpc":"2.0","id":{},"method":"list_agents"}
      -32600 to null: `id` must be a string or a number (send {"jsonrpc":"2.0","id":1,"method":"list_agents","params":{}})
    {"jsonrpc":"2.0","id":1,"result":1,"error":{"code":1,"message":"x"}}
      -32600 to null: neither `method`, `result` nor `error` (send {"jsonrpc":"2.0","id":1,"method":"list_agents","params":{}})
    "#);
}

/// Readers of a timeline pass over what does not hold the word.
#[test]
fn an_entry_is_written_with_the_word_for_its_kind() {
    let item = |content: Content| Item { item_id: ItemId::from("i"), parent_id: None, content };
    let closed = |content: Content| Happening::ItemClosed { item: item(content) };
    let text = String::new;
    let tool = ToolCall {
        tool: Tool::Other,
        name: text(),
        title: text(),
        status: ToolStatus::Running,
        input: Value::Null,
        output: None,
        omitted_bytes: 0,
        exit_code: None,
        diff: None,
    };
    let whats = [
        closed(Content::UserMessage { text: text(), images: 0 }),
        closed(Content::AssistantMessage { text: text() }),
        closed(Content::Reasoning { text: text() }),
        closed(Content::ToolCall(Box::new(tool.clone()))),
        Happening::ItemOpened { item: item(Content::ToolCall(Box::new(tool))) },
        closed(Content::Todo { entries: Vec::new() }),
        closed(Content::Compaction { text: text() }),
        Happening::Notice { text: text() },
        Happening::Error { text: text() },
        Happening::TurnStarted { prompt_id: None },
        Happening::TurnEnded { outcome: Outcome::Completed, reason: None, usage: Usage::default() },
    ];
    for what in whats {
        let word = json!(what.kind()).to_string();
        let line = json!(Entry { seq: 1, at: Timestamp(0), turn_id: None, origin: None, what }).to_string();
        assert!(line.contains(&word), "{word} is not in {line}");
    }
}

#[test]
fn deeply_nested_json_is_refused_and_harms_nobody() {
    let malformed = Frame::parse(&"[".repeat(1 << 20)).expect_err("it is not JSON");
    assert_eq!(malformed.number, -32700);
}

#[test]
fn a_call_is_read_as_it_was_written() {
    let text = frame::call(3, "list_agents", &json!({"limit": 1}));
    let call = Frame::Call { id: json!(3), method: "list_agents".to_owned(), params: json!({"limit": 1}) };
    assert_eq!(Frame::parse(&text), Ok(call));
}

#[test]
fn an_error_is_read_as_it_was_written() {
    let error = ApiError::invalid("title", "is empty").hint("give a few words");
    let text = frame::reply(&json!("x"), &Err(error.clone()));
    assert_eq!(Frame::parse(&text), Ok(Frame::Reply { id: json!("x"), result: Err(error) }));
}

#[test]
fn an_error_that_is_not_ours_is_an_error_all_the_same() {
    let read = |text: &str| match Frame::parse(text) {
        Ok(Frame::Reply { result: Err(error), .. }) => error,
        other => panic!("not an error: {other:?}"),
    };
    let foreign = read(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}"#);
    assert_eq!(foreign, ApiError::new(Code::Internal, "Method not found"));
    let newer =
        read(r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"","data":{"code":"tired","message":"m"}}}"#);
    assert_eq!(newer, ApiError::new(Code::Other("tired".to_owned()), "m"));
    let nonsense = read(r#"{"jsonrpc":"2.0","id":1,"error":7}"#);
    assert_eq!(nonsense.code, Code::Internal);
}

#[test]
fn an_event_is_a_notification() {
    let event = Event::AgentRemoved { agent_id: "a1".parse().expect("it is an id") };
    let value = serde_json::to_value(&event).expect("an event is JSON");
    assert_eq!(value, json!({"method": "agent_removed", "params": {"agentId": "a1"}}));
    let text = frame::notification("agent_removed", &value["params"].to_string());
    let Ok(Frame::Notification { method, params }) = Frame::parse(&text) else { panic!("not a notification: {text}") };
    assert_eq!(serde_json::from_value::<Event>(json!({"method": method, "params": params})).ok(), Some(event));
}

#[test]
fn wrong_arguments_are_named() {
    let good = json!({"title": "t", "provider": "shell", "initialPrompt": "true"});
    let with = |field: &str, value: Value| {
        let mut params = good.clone();
        params[field] = value;
        params
    };
    assert!(parse::<CreateAgent>(good.clone()).is_ok());
    let shown = [
        refusal::<CreateAgent>(json!([1])),
        refusal::<CreateAgent>(json!("title")),
        refusal::<CreateAgent>(Value::Null),
        refusal::<CreateAgent>(with("cvd", json!("/tmp"))),
        refusal::<CreateAgent>(with("title", json!(7))),
        refusal::<CreateAgent>(with("mode", json!("yolo"))),
        refusal::<CreateAgent>(with("agentId", json!("../../etc"))),
        refusal::<CreateAgent>(with("labels", json!({"a": 1}))),
        refusal::<CreateAgent>(with("images", json!([{"mediaType": "image/png"}]))),
        refusal::<CreateAgent>(with("images", json!([{"mediaType": "image/png", "data": "", "alt": ""}]))),
        refusal::<CreateAgent>(with("worktree", json!({"action": "fork"}))),
        refusal::<SendAgentPrompt>(json!({"agentId": "a", "prompt": "p", "whenBusy": "later"})),
        refusal::<WaitForAgent>(json!({"agentId": "a", "timeout": "5"})),
        refusal::<WaitForAgent>(json!({"agentId": "a", "timeout": 5})),
        refusal::<ListAgents>(json!({"statuses": ["busy"]})),
        refusal::<ListAgents>(json!({"limit": 1.5})),
    ];
    insta::assert_snapshot!(shown.join("\n"), @r#"
    params must be an object
    params must be an object
    missing field `title` {"field":"title"}
    unknown field `cvd`, expected one of `title`, `provider`, `initialPrompt`, `cwd`, `background`, `notifyOnFinish`, `agentId`, `promptId`, `mode`, `model`, `thinking`, `labels`, `images`, `raw`, `systemPrompt`, `mcpServers`, `injectTools`, `env`, `worktree` {"field":"cvd"}
    title: invalid type: integer `7`, expected a string {"field":"title"}
    mode: unknown mode `yolo`: give `plan`, `default`, `auto`, `full-access`, or a provider's own as `provider:name` {"field":"mode"}
    agentId: `../../etc` is not an id: give 1 to 64 letters, digits, `-` or `_`, a letter or digit first {"field":"agentId"}
    labels.a: invalid type: integer `1`, expected a string {"field":"labels.a"}
    missing field `data` {"field":"images[0]"}
    unknown field `alt`, expected `mediaType` or `data` {"field":"alt"}
    worktree.action: unknown variant `fork`, expected `branch-off` or `checkout` {"field":"worktree.action"}
    whenBusy: unknown variant `later`, expected one of `queue`, `interrupt`, `steer` {"field":"whenBusy"}
    timeout: not a duration: `5`: at character 2: every number needs one of the units d, h, m, s, ms; write for example `90s`, `5m`, `1h30m` or `1.5h` {"field":"timeout"}
    timeout: invalid type: integer `5`, expected a string {"field":"timeout"}
    statuses[0]: unknown variant `busy`, expected one of `starting`, `idle`, `running`, `waiting`, `interrupted`, `error`, `archived` {"field":"statuses[0]"}
    limit: invalid type: floating point `1.5`, expected i64 {"field":"limit"}
    "#);
}

#[test]
fn durations() {
    let good = ["0s", "90s", "5m", "1h30m", "1.5h", "2d", "250ms", "0.001s", "1h0m1s"];
    insta::assert_snapshot!(all::<Duration>(&good), @r"
    0s -> 0s
    90s -> 1m30s
    5m -> 5m
    1h30m -> 1h30m
    1.5h -> 1h30m
    2d -> 2d
    250ms -> 250ms
    0.001s -> 1ms
    1h0m1s -> 1h1s
    ");
    let bad = [
        "",
        "5",
        "m",
        "5 m",
        "-5m",
        "1.h",
        ".5h",
        "1..5h",
        "5m5m",
        "1s1h",
        "5x",
        "99999999999999999999s",
        "5mm",
        "1,5h",
        "٥m",
    ];
    insta::assert_snapshot!(all::<Duration>(&bad), @r"
    not a duration: ``: it is empty; write for example `90s`, `5m`, `1h30m` or `1.5h`
    not a duration: `5`: at character 2: every number needs one of the units d, h, m, s, ms; write for example `90s`, `5m`, `1h30m` or `1.5h`
    not a duration: `m`: at character 1: a number is malformed or too large; write for example `90s`, `5m`, `1h30m` or `1.5h`
    not a duration: `5 m`: at character 2: every number needs one of the units d, h, m, s, ms; write for example `90s`, `5m`, `1h30m` or `1.5h`
    not a duration: `-5m`: at character 1: every number needs one of the units d, h, m, s, ms; write for example `90s`, `5m`, `1h30m` or `1.5h`
    not a duration: `1.h`: at character 1: a number is malformed or too large; write for example `90s`, `5m`, `1h30m` or `1.5h`
    not a duration: `.5h`: at character 1: a number is malformed or too large; write for example `90s`, `5m`, `1h30m` or `1.5h`
    not a duration: `1..5h`: at character 1: a number is malformed or too large; write for example `90s`, `5m`, `1h30m` or `1.5h`
    not a duration: `5m5m`: at character 4: units go from large to small, each once; write for example `90s`, `5m`, `1h30m` or `1.5h`
    not a duration: `1s1h`: at character 4: units go from large to small, each once; write for example `90s`, `5m`, `1h30m` or `1.5h`
    not a duration: `5x`: at character 2: every number needs one of the units d, h, m, s, ms; write for example `90s`, `5m`, `1h30m` or `1.5h`
    not a duration: `99999999999999999999s`: at character 1: a number is malformed or too large; write for example `90s`, `5m`, `1h30m` or `1.5h`
    not a duration: `5mm`: at character 2: every number needs one of the units d, h, m, s, ms; write for example `90s`, `5m`, `1h30m` or `1.5h`
    not a duration: `1,5h`: at character 2: every number needs one of the units d, h, m, s, ms; write for example `90s`, `5m`, `1h30m` or `1.5h`
    not a duration: `٥m`: at character 1: every number needs one of the units d, h, m, s, ms; write for example `90s`, `5m`, `1h30m` or `1.5h`
    ");
}

#[test]
fn modes() {
    insta::assert_snapshot!(all::<Mode>(&["plan", "default", "auto", "full-access", "claude:dontAsk", "a:b:c"]), @r"
    plan -> plan
    default -> default
    auto -> auto
    full-access -> full-access
    claude:dontAsk -> claude:dontAsk
    a:b:c -> a:b:c
    ");
    insta::assert_snapshot!(all::<Mode>(&["", "Plan", "full_access", ":x", "x:", "yolo"]), @r"
    unknown mode ``: give `plan`, `default`, `auto`, `full-access`, or a provider's own as `provider:name`
    unknown mode `Plan`: give `plan`, `default`, `auto`, `full-access`, or a provider's own as `provider:name`
    unknown mode `full_access`: give `plan`, `default`, `auto`, `full-access`, or a provider's own as `provider:name`
    unknown mode `:x`: give `plan`, `default`, `auto`, `full-access`, or a provider's own as `provider:name`
    unknown mode `x:`: give `plan`, `default`, `auto`, `full-access`, or a provider's own as `provider:name`
    unknown mode `yolo`: give `plan`, `default`, `auto`, `full-access`, or a provider's own as `provider:name`
    ");
    let ranks = ["plan", "default", "auto", "full-access", "claude:plan"]
        .map(|mode| mode.parse::<Mode>().map(|mode| mode.rank()).expect("it is a mode"));
    assert_eq!(ranks, [0, 1, 2, 3, 3]);
}

#[test]
fn a_providers_own_mode_gives_itself_and_what_asks() {
    let mode = |mode: &str| mode.parse::<Mode>().expect("it is a mode");
    let all = ["plan", "default", "auto", "full-access", "codex:read-only", "claude:dontAsk"].map(mode);
    let given = |from: &Mode| all.iter().filter(|mode| from.may_give(mode)).map(Mode::to_string).collect::<Vec<_>>();
    assert_eq!(given(&mode("codex:read-only")), ["plan", "default", "codex:read-only"]);
    assert_eq!(given(&mode("auto")), ["plan", "default", "auto"]);
    assert_eq!(given(&mode("full-access")).len(), all.len());
}

#[test]
fn times() {
    let texts = [
        "1970-01-01T00:00:00Z",
        "2024-02-29T23:59:59.999Z",
        "2024-01-01T00:00:00+02:00",
        "@9223372036854775807",
        "2024-02-30T00:00:00Z",
        "yesterday",
        "@x",
        "",
    ];
    insta::assert_snapshot!(all::<Timestamp>(&texts), @r"
    1970-01-01T00:00:00Z -> 1970-01-01T00:00:00.000Z
    2024-02-29T23:59:59.999Z -> 2024-02-29T23:59:59.999Z
    2024-01-01T00:00:00+02:00 -> 2023-12-31T22:00:00.000Z
    @9223372036854775807 -> @9223372036854775807
    not an RFC 3339 time: `2024-02-30T00:00:00Z`: input is out of range
    not an RFC 3339 time: `yesterday`: premature end of input
    not a time: `@x`: invalid digit found in string
    not an RFC 3339 time: ``: premature end of input
    ");
}

#[test]
fn ids() {
    let long = "x".repeat(65);
    let texts = ["a", "0196-Ab_cd", "", "a.json", "-a", "a/b", "a b", "ä", "a\u{0}", &long];
    insta::assert_snapshot!(all::<AgentId>(&texts), @r"
    a -> a
    0196-Ab_cd -> 0196-Ab_cd
    `` is not an id: give 1 to 64 letters, digits, `-` or `_`, a letter or digit first
    `a.json` is not an id: give 1 to 64 letters, digits, `-` or `_`, a letter or digit first
    `-a` is not an id: give 1 to 64 letters, digits, `-` or `_`, a letter or digit first
    `a/b` is not an id: give 1 to 64 letters, digits, `-` or `_`, a letter or digit first
    `a b` is not an id: give 1 to 64 letters, digits, `-` or `_`, a letter or digit first
    `ä` is not an id: give 1 to 64 letters, digits, `-` or `_`, a letter or digit first
    `a\0` is not an id: give 1 to 64 letters, digits, `-` or `_`, a letter or digit first
    `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx` is not an id: give 1 to 64 letters, digits, `-` or `_`, a letter or digit first
    ");
}

#[test]
fn addresses() {
    let good = [
        "localhost:6767",
        "6767",
        ":6767",
        "[::1]:80",
        "unix:/run/x.sock",
        "unix:///run/x.sock",
        "ws://h:1",
        "ws://h:1/ws",
        "http://h:1/",
    ];
    insta::assert_snapshot!(all::<Address>(&good), @r"
    localhost:6767 -> localhost:6767
    6767 -> 127.0.0.1:6767
    :6767 -> 127.0.0.1:6767
    [::1]:80 -> [::1]:80
    unix:/run/x.sock -> unix:/run/x.sock
    unix:///run/x.sock -> unix:/run/x.sock
    ws://h:1 -> h:1
    ws://h:1/ws -> h:1
    http://h:1/ -> h:1
    ");
    let bad = [
        "",
        "localhost",
        "::1",
        "::1:80",
        "[x]:80",
        "h:",
        "h:70000",
        "h:-1",
        "h:x",
        "unix:",
        "/run/x.sock",
        "wss://h:1",
        "a b:1",
        "h:1/api",
    ];
    insta::assert_snapshot!(all::<Address>(&bad), @r"
    not an address: ``: the port is missing; write `host:port`, `[v6]:port`, a port, or `unix:/path`
    not an address: `localhost`: the port is missing; write `host:port`, `[v6]:port`, a port, or `unix:/path`
    not an address: `::1`: an IPv6 address stands in brackets; write `host:port`, `[v6]:port`, a port, or `unix:/path`
    not an address: `::1:80`: an IPv6 address stands in brackets; write `host:port`, `[v6]:port`, a port, or `unix:/path`
    not an address: `[x]:80`: what stands in brackets is no IPv6 address; write `host:port`, `[v6]:port`, a port, or `unix:/path`
    not an address: `h:`: a port is a number from 0 to 65535; write `host:port`, `[v6]:port`, a port, or `unix:/path`
    not an address: `h:70000`: a port is a number from 0 to 65535; write `host:port`, `[v6]:port`, a port, or `unix:/path`
    not an address: `h:-1`: a port is a number from 0 to 65535; write `host:port`, `[v6]:port`, a port, or `unix:/path`
    not an address: `h:x`: a port is a number from 0 to 65535; write `host:port`, `[v6]:port`, a port, or `unix:/path`
    not an address: `unix:`: the path is missing; write `host:port`, `[v6]:port`, a port, or `unix:/path`
    not an address: `/run/x.sock`: it is a path; write `host:port`, `[v6]:port`, a port, or `unix:/path`
    not an address: `wss://h:1`: TLS is not supported; write `host:port`, `[v6]:port`, a port, or `unix:/path`
    not an address: `a b:1`: that is no name of a host; write `host:port`, `[v6]:port`, a port, or `unix:/path`
    not an address: `h:1/api`: it is a path; write `host:port`, `[v6]:port`, a port, or `unix:/path`
    ");
}

#[test]
fn an_address_never_shows_its_token() {
    let address = Address::Tcp { authority: "h:1".to_owned(), token: Some("secret".to_owned()) };
    assert_eq!((format!("{address:?}"), address.to_string()), ("Address(h:1)".to_owned(), "h:1".to_owned()));
}

proptest! {
    #[test]
    fn any_text_is_a_frame_or_an_answer(text in ".{0,200}") {
        if let Err(malformed) = Frame::parse(&text) {
            let is_reply = matches!(Frame::parse(&malformed.reply()), Ok(Frame::Reply { result: Err(_), .. }));
            prop_assert!(is_reply);
        }
    }

    #[test]
    fn durations_are_read_as_they_were_written(milliseconds in 0..i64::MAX) {
        let duration = Duration { milliseconds };
        prop_assert_eq!(duration.to_string().parse(), Ok(duration));
    }

    #[test]
    fn times_are_read_as_they_were_written(milliseconds in prop_oneof![
        any::<i64>(),
        // Around the first and the last year of RFC 3339.
        -62_167_219_200_010_i64..-62_167_219_199_990,
        253_402_300_799_990_i64..253_402_300_800_010,
    ]) {
        let time = Timestamp(milliseconds);
        prop_assert_eq!(time.to_string().parse(), Ok(time));
    }

    #[test]
    fn any_text_is_a_duration_or_a_refusal(text in "[0-9.dhms]{0,12}|.{0,12}") {
        if let Ok(duration) = text.parse::<Duration>() {
            prop_assert!(duration.milliseconds >= 0);
        }
    }
}

/// Writes why arguments are refused.
fn refusal<Op: Operation>(params: Value) -> String {
    match parse::<Op>(params) {
        Ok(_) => "taken".to_owned(),
        Err(error) => {
            let details = error.details.map(|details| details.to_string()).unwrap_or_default();
            format!("{} {details}", error.message).trim_end().to_owned()
        }
    }
}

/// Writes what each text is read as.
fn all<T: FromStr<Err = String> + ToString + Debug>(texts: &[&str]) -> String {
    let line = |text: &&str| match text.parse::<T>() {
        Ok(value) => format!("{text} -> {}", value.to_string()),
        Err(message) => message,
    };
    texts.iter().map(line).collect::<Vec<_>>().join("\n")
}
