//! The WebSocket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastwebsockets::OpCode;
use paseo_daemon::server::Limits;
use paseo_sdk::machine::connection;
use paseo_sdk::model::Progress;
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;

use super::caller::{Got, House, Socket, TOKEN, messages_of};
use super::canned::Numbers;

async fn socket(house: &House) -> Socket<UnixStream> {
    Socket::open(house.unix().await, "").await.expect("a WebSocket")
}

/// A WebSocket over a pipe that holds only a little.
async fn narrow(house: &House) -> Socket<DuplexStream> {
    let (ours, theirs) = tokio::io::duplex(1024);
    house.server.serve_stream(theirs, false);
    Socket::open(ours, "").await.expect("a WebSocket")
}

fn follow(house: &House, numbers: Numbers) {
    house.service.streams.lock().expect("no panic").push_back(numbers);
}

/// A house that does not make calls wait until they may say again how far they are.
async fn talkative() -> House {
    let connection = connection::Limits { progress: 0, ..connection::Limits::default() };
    House::with(Limits { connection, ..Limits::default() }, |_| {}).await
}

fn far(done: i64) -> Progress {
    Progress { done: Some(done), ..Progress::new("checkout") }
}

fn said(id: impl Into<Value>, done: i64) -> Value {
    json!({ "jsonrpc": "2.0", "method": "progress", "params": { "id": id.into(), "step": "checkout", "done": done } })
}

/// Sends a text and checks the number and the words of the error that comes back.
async fn check_error(socket: &mut Socket<UnixStream>, text: &str, id: Value, number: i64, said: &str) {
    socket.send(text).await;
    let reply = socket.json().await;
    assert_eq!((&reply["id"], &reply["error"]["code"]), (&id, &json!(number)), "{text}: {reply}");
    assert!(
        reply["error"]["data"]["message"].as_str().is_some_and(|message| message.contains(said)),
        "{text}: {reply}"
    );
}

#[tokio::test]
async fn a_browser_brings_its_token_as_a_subprotocol_and_gets_it_back() {
    let house = House::open().await;
    let open = async |headers: String| -> Socket<TcpStream> {
        Socket::open(house.tcp().await, &headers).await.expect("an answer")
    };
    let mut socket = open(format!("sec-websocket-protocol: other, bearer.{TOKEN}\r\n")).await;
    assert!(socket.head.starts_with("HTTP/1.1 101"), "{}", socket.head);
    assert!(socket.head.contains(&format!("sec-websocket-protocol: bearer.{TOKEN}\r\n")), "{}", socket.head);
    socket.call(1, "get_daemon", json!({})).await;
    assert_eq!(socket.json().await["result"]["warnings"], json!(["user"]));

    let agent = house.tokens.agent_token(&"a-b".parse().expect("an id"));
    let mut socket = open(format!("authorization: bearer {agent}\r\n")).await;
    assert!(!socket.head.contains("sec-websocket-protocol"), "{}", socket.head);
    socket.call(1, "get_daemon", json!({})).await;
    assert_eq!(socket.json().await["result"]["warnings"], json!(["agent a-b"]));

    for (headers, status) in [
        (String::new(), "401"),
        ("sec-websocket-protocol: bearer.wrong\r\n".to_owned(), "401"),
        (format!("sec-websocket-protocol: bearer.{TOKEN}\r\norigin: https://evil.example\r\n"), "403"),
    ] {
        let socket = open(headers.clone()).await;
        assert!(socket.head.starts_with(&format!("HTTP/1.1 {status}")), "{headers}: {}", socket.head);
    }
}

#[tokio::test]
async fn calls_are_answered_and_what_is_no_call_is_explained() {
    let house = House::open().await;
    let mut socket = socket(&house).await;
    socket.send(r#"{"jsonrpc":"2.0","id":"a","method":"list_agents"}"#).await;
    assert_eq!(socket.json().await, json!({ "jsonrpc": "2.0", "id": "a", "result": { "agents": [] } }));

    let socket = &mut socket;
    check_error(socket, "{", Value::Null, -32700, "not JSON").await;
    check_error(socket, "", Value::Null, -32700, "not JSON").await;
    check_error(socket, "7", Value::Null, -32600, "object").await;
    check_error(socket, r#"[{"jsonrpc":"2.0","id":1,"method":"list_agents"}]"#, Value::Null, -32600, "batches").await;
    check_error(socket, r#"{"id":1,"method":"list_agents"}"#, json!(1), -32600, "jsonrpc").await;
    check_error(socket, r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#, Value::Null, -32600, "`id`").await;
    check_error(socket, r#"{"jsonrpc":"2.0","id":1}"#, Value::Null, -32600, "neither").await;
    check_error(socket, r#"{"jsonrpc":"2.0","id":1,"method":"no_such"}"#, json!(1), -32601, "no_such").await;
    let call =
        |method: &str, params: Value| json!({"jsonrpc":"2.0","id":1,"method":method,"params":params}).to_string();
    check_error(socket, &call("list_agents", json!([])), json!(1), -32602, "object").await;
    check_error(socket, &call("list_agents", json!({"bogus": 1})), json!(1), -32602, "bogus").await;
    check_error(socket, &call("list_agents", json!({"limit": "x"})), json!(1), -32602, "limit").await;
    check_error(socket, &call("get_agent_status", json!({})), json!(1), -32602, "agentId").await;
    check_error(socket, &call("delete_agent", json!({"agentId": "a"})), json!(1), -32000, "lose").await;
    check_error(socket, &call("list_providers", json!({})), json!(1), -32000, "inside the daemon").await;
    check_error(socket, r#"{"jsonrpc":"2.0","method":"list_agents"}"#, Value::Null, -32600, "`id` is missing").await;
    check_error(socket, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, Value::Null, -32600, "makes no calls").await;
    socket.call(2, "list_agents", json!({})).await;
    assert_eq!(socket.json().await["id"], 2);
}

#[tokio::test]
async fn a_message_may_come_in_fragments_with_pings_between_them() {
    let house = House::open().await;
    let mut socket = socket(&house).await;
    let text = r#"{"jsonrpc":"2.0","id":"ü","method":"list_agents"}"#.as_bytes();
    let middle = text.iter().position(|byte| *byte > 127).expect("a letter of two bytes") + 1;
    socket.frame(false, OpCode::Text, &text[..middle]).await;
    socket.frame(true, OpCode::Ping, b"there?").await;
    socket.frame(false, OpCode::Continuation, b"").await;
    socket.frame(true, OpCode::Continuation, &text[middle..]).await;
    assert_eq!(socket.next().await, Got::Pong(b"there?".to_vec()));
    assert_eq!(socket.json().await["id"], "ü");
}

#[tokio::test]
async fn what_cannot_be_understood_closes_the_connection_with_the_reason() {
    let house = House::with(messages_of(4096), |_| {}).await;
    let large = vec![b' '; 5000];
    let half = vec![b' '; 3000];
    type Frames<'a> = &'a [(bool, OpCode, &'a [u8])];
    let cases: [(&str, u16, Frames<'_>); 9] = [
        ("binary", 1003, &[(true, OpCode::Binary, b"{}")]),
        ("too large", 1009, &[(true, OpCode::Text, &large)]),
        ("too large in fragments", 1009, &[(false, OpCode::Text, &half), (false, OpCode::Continuation, &half)]),
        ("not UTF-8", 1007, &[(true, OpCode::Text, b"\xff\xfe")]),
        ("not UTF-8 in fragments", 1007, &[(false, OpCode::Text, b"\xc3"), (true, OpCode::Continuation, b"x")]),
        ("a continuation of nothing", 1002, &[(true, OpCode::Continuation, b"x")]),
        ("a message within a message", 1002, &[(false, OpCode::Text, b"x"), (true, OpCode::Text, b"x")]),
        ("a large ping", 1002, &[(true, OpCode::Ping, &half)]),
        ("goodbye", 1000, &[(true, OpCode::Close, &[0x03, 0xe8])]),
    ];
    for (name, code, frames) in cases {
        let mut socket = socket(&house).await;
        for (fin, opcode, payload) in frames {
            socket.frame(*fin, *opcode, payload).await;
        }
        assert_eq!(socket.next().await, Got::Close(code), "{name}");
    }
    let mut garbage = Socket::open(house.unix().await, "").await.expect("a WebSocket");
    garbage.ws = {
        let mut io = garbage.ws.into_inner();
        io.write_all(&[0xff; 64]).await.expect("it takes the bytes");
        fastwebsockets::WebSocket::after_handshake(io, fastwebsockets::Role::Client)
    };
    assert_eq!(garbage.next().await, Got::Close(1002));
}

#[tokio::test]
async fn a_message_in_endless_empty_fragments_ends() {
    let house = House::open().await;
    let mut socket = Socket::open(house.unix().await, "").await.expect("a WebSocket").ws.into_inner();
    // An empty text without an end, then empty continuations, all with a mask of zeros.
    let mut bytes = vec![0x01, 0x80, 0, 0, 0, 0];
    bytes.extend([0x00, 0x80, 0, 0, 0, 0].repeat(1 << 16));
    socket.write_all(&bytes).await.expect("it takes the bytes");
    let ws = fastwebsockets::WebSocket::after_handshake(socket, fastwebsockets::Role::Client);
    assert_eq!(Socket { ws, head: String::new() }.next().await, Got::Close(1009));
}

#[tokio::test]
async fn a_reply_comes_before_the_events_that_follow_it() {
    let house = House::open().await;
    follow(&house, Numbers::new("event", 3));
    let mut socket = socket(&house).await;
    socket.call(1, "watch_agents", json!({})).await;
    assert_eq!(socket.json().await["id"], 1);
    for number in 0..3 {
        assert_eq!(socket.next().await, Got::Text(format!("event {number}")));
    }
    // Calls are answered while events are awaited.
    socket.call(2, "list_agents", json!({})).await;
    assert_eq!(socket.json().await["id"], 2);
}

#[tokio::test]
async fn a_call_says_how_far_it_is_in_order_and_nothing_after_its_reply() {
    let house = talkative().await;
    let mut makings = house.service.makings();
    let mut socket = socket(&house).await;
    socket.call(1, "create_worktree", json!({})).await;
    let first = makings.recv().await.expect("the call arrives");
    socket.send(r#"{"jsonrpc":"2.0","id":"b","method":"create_worktree"}"#).await;
    let second = makings.recv().await.expect("the call arrives");
    for done in 1..4 {
        first.reporter.report(far(done));
        assert_eq!(socket.json().await, said(1, done));
        // Handlers work on threads that may block, too.
        let reporter = second.reporter.clone();
        std::thread::spawn(move || reporter.report(far(done * 10))).join().expect("it does not wait");
        assert_eq!(socket.json().await, said("b", done * 10));
    }
    let late = first.reporter.clone();
    late.report(far(4));
    drop(first);
    loop {
        let frame = socket.json().await;
        if frame["id"] == 1 {
            break;
        }
        assert_eq!(frame, said(1, 4));
    }
    late.report(far(5));
    second.reporter.report(far(40));
    assert_eq!(socket.json().await, said("b", 40));
    drop(second);
    assert_eq!(socket.json().await["id"], "b");
    late.report(far(6));
    socket.call(3, "list_agents", json!({})).await;
    assert_eq!(socket.json().await["id"], 3);
}

#[tokio::test]
async fn of_what_a_call_says_a_slow_client_gets_the_newest() {
    let house = talkative().await;
    let mut makings = house.service.makings();
    let mut slow = narrow(&house).await;
    slow.call(1, "create_worktree", json!({})).await;
    let making = makings.recv().await.expect("the call arrives");
    for done in 0..1000 {
        making.reporter.report(far(done).message("x".repeat(60_000)));
        // On this one thread, the owner of the connection has begun to write the first by then.
        tokio::task::yield_now().await;
    }
    let mut got = Vec::new();
    for _ in 0..2 {
        got.push(slow.json().await["params"]["done"].clone());
    }
    assert_eq!(got, [json!(0), json!(999)]);
    drop(making);
    assert_eq!(slow.json().await["id"], 1);
}

#[tokio::test]
async fn a_call_that_says_too_much_is_held_back_and_others_are_not() {
    let connection = connection::Limits { progress: i64::MAX, ..connection::Limits::default() };
    let house = House::with(Limits { connection, ..Limits::default() }, |_| {}).await;
    let mut makings = house.service.makings();
    let mut socket = socket(&house).await;
    socket.call(1, "create_worktree", json!({})).await;
    let first = makings.recv().await.expect("the call arrives");
    socket.call(2, "create_worktree", json!({})).await;
    let second = makings.recv().await.expect("the call arrives");
    first.reporter.report(far(1));
    assert_eq!(socket.json().await, said(1, 1));
    first.reporter.report(far(2));
    second.reporter.report(far(10));
    assert_eq!(socket.json().await, said(2, 10));
    drop(first);
    assert_eq!(socket.json().await["id"], 1);
}

#[tokio::test]
async fn a_second_watch_replaces_the_first() {
    let house = House::open().await;
    let (held, gone) = oneshot::channel();
    follow(&house, Numbers { dropped: Some(held), ..Numbers::new("first", 1) });
    follow(&house, Numbers::new("second", 2));
    let mut socket = socket(&house).await;
    socket.call(1, "watch_agents", json!({})).await;
    assert_eq!(socket.json().await["id"], 1);
    assert_eq!(socket.next().await, Got::Text("first 0".to_owned()));
    socket.call(2, "watch_agents", json!({})).await;
    assert_eq!(socket.json().await["id"], 2);
    assert!(gone.await.is_err(), "the first stream was dropped");
    assert_eq!(socket.next().await, Got::Text("second 0".to_owned()));
    assert_eq!(socket.next().await, Got::Text("second 1".to_owned()));
}

#[tokio::test]
async fn a_refused_watch_leaves_the_one_before_as_it_is() {
    let house = House::open().await;
    follow(&house, Numbers::new("first", 2));
    let mut socket = socket(&house).await;
    socket.call(1, "watch_agents", json!({})).await;
    socket.json().await;
    socket.call(2, "watch_agents", json!({ "bogus": 1 })).await;
    let mut texts = Vec::new();
    for _ in 0..3 {
        let Got::Text(text) = socket.next().await else { panic!("the connection ended") };
        texts.push(text);
    }
    texts.retain(|text| text.starts_with("first"));
    assert_eq!(texts, ["first 0", "first 1"]);
}

#[tokio::test]
async fn a_client_that_never_reads_costs_a_cursor_and_no_memory() {
    let house = House::open().await;
    let asked = Arc::new(AtomicUsize::new(0));
    follow(&house, Numbers { asked: asked.clone(), size: 60_000, ..Numbers::new("event", usize::MAX) });
    let mut slow = narrow(&house).await;
    slow.call(1, "watch_agents", json!({})).await;
    assert_eq!(slow.json().await["id"], 1);
    // On this one thread, everything that can run has run long before the last of these.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1, "only the event that is being written was asked for");
    // Others are served meanwhile.
    let mut other = socket(&house).await;
    other.call(1, "list_agents", json!({})).await;
    assert_eq!(other.json().await["id"], 1);
    // And it has missed nothing when it reads after all.
    for number in 0..3 {
        let Got::Text(text) = slow.next().await else { panic!("the connection ended") };
        assert_eq!(text.trim_end(), format!("event {number}"));
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_for_too_long_is_cut() {
    let house = House::with(Limits { stall: Duration::from_millis(20), ..Limits::default() }, |_| {}).await;
    let (held, gone) = oneshot::channel();
    follow(&house, Numbers { dropped: Some(held), size: 60_000, ..Numbers::new("event", usize::MAX) });
    let mut slow = narrow(&house).await;
    slow.call(1, "watch_agents", json!({})).await;
    assert_eq!(slow.json().await["id"], 1);
    assert!(gone.await.is_err(), "its stream was dropped");
}

#[tokio::test]
async fn a_silent_client_is_asked_for_a_sign_of_life_and_then_left() {
    let connection = connection::Limits { ping: 20, idle: 30, ..connection::Limits::default() };
    let house = House::with(Limits { connection, ..Limits::default() }, |_| {}).await;
    let mut socket = socket(&house).await;
    assert_eq!(socket.next().await, Got::Ping);
    assert_eq!(socket.next().await, Got::Close(1011));
}

#[tokio::test]
async fn calls_beyond_the_limit_are_refused_until_others_have_ended() {
    let connection = connection::Limits { calls: 1, ..connection::Limits::default() };
    let house = House::with(Limits { connection, ..Limits::default() }, |_| {}).await;
    let mut socket = socket(&house).await;
    socket.call(1, "archive_agent", json!({ "agentId": "a" })).await;
    house.service.archiving.notified().await;
    socket.call(2, "list_agents", json!({})).await;
    let refused = socket.json().await;
    assert_eq!((&refused["id"], &refused["error"]["data"]["code"]), (&json!(2), &json!("unavailable")));
    house.service.archive.notify_one();
    assert_eq!(socket.json().await["id"], 1);
    socket.call(3, "list_agents", json!({})).await;
    assert_eq!(socket.json().await["result"], json!({ "agents": [] }));
}

#[tokio::test]
async fn a_call_ends_with_its_connection() {
    let house = House::open().await;
    let (held, gone) = oneshot::channel();
    *house.service.wait.lock().expect("no panic") = Some(held);
    let mut socket = socket(&house).await;
    socket.call(1, "wait_for_agent", json!({ "agentId": "a" })).await;
    house.service.waiting.notified().await;
    drop(socket);
    assert!(gone.await.is_err(), "the call was dropped");
}

#[tokio::test]
async fn a_shutdown_answers_what_changes_something_cuts_waits_and_says_goodbye() {
    let house = House::open().await;
    let mut socket = socket(&house).await;
    socket.call(1, "wait_for_agent", json!({ "agentId": "a" })).await;
    socket.call(2, "archive_agent", json!({ "agentId": "a" })).await;
    house.service.waiting.notified().await;
    house.service.archiving.notified().await;
    let client = async {
        // The shutdown has begun by the time this runs, because it is polled first.
        house.service.archive.notify_one();
        assert_eq!(socket.json().await["error"]["data"]["code"], "conflict");
        assert_eq!(socket.next().await, Got::Close(1001));
        drop(socket);
    };
    tokio::join!(house.server.shutdown(), client);
    assert!(tokio::net::UnixStream::connect(house.socket()).await.is_err(), "nobody listens any more");
    assert!(TcpStream::connect(house.address()).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_client_that_does_not_read() {
    let house = House::with(Limits { grace: Duration::from_millis(20), ..Limits::default() }, |_| {}).await;
    follow(&house, Numbers { size: 60_000, ..Numbers::new("event", usize::MAX) });
    let mut slow = narrow(&house).await;
    slow.call(1, "watch_agents", json!({})).await;
    assert_eq!(slow.json().await["id"], 1);
    house.server.shutdown().await;
}
