//! The conversation machine: two of them over a transport that delays, garbles and cuts, in virtual time.

use std::collections::{BTreeMap, VecDeque};

use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::frame;
use paseo_sdk::machine::Machine;
use paseo_sdk::machine::connection::{Connection, Fault, Input, Limits, Output, Refusal, Side, Token};
use paseo_sdk::model::{Progress, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn a_call_is_served_and_answered() {
    let mut pair = Pair::new(Limits::default());
    pair.call(7, "list_agents");
    pair.settle();
    let served = pair.serving.pop_front().expect("the call arrives");
    pair.reply(served, Ok(json!({"agents": []})));
    pair.settle();
    assert_eq!(pair.ends[&Token(7)], [End::Answer(Ok(json!({"agents": []})))]);
}

#[test]
fn answers_may_come_in_any_order() {
    let mut pair = Pair::new(Limits::default());
    pair.call(1, "wait_for_agent");
    pair.call(2, "list_agents");
    pair.settle();
    let (first, second) = (pair.serving[0], pair.serving[1]);
    pair.reply(second, Ok(json!(2)));
    pair.settle();
    assert_eq!(pair.ends[&Token(1)], []);
    pair.reply(first, Ok(json!(1)));
    pair.settle();
    assert_eq!(pair.ends[&Token(1)], [End::Answer(Ok(json!(1)))]);
    assert_eq!(pair.ends[&Token(2)], [End::Answer(Ok(json!(2)))]);
}

#[test]
fn one_call_too_many_is_unavailable_and_the_others_go_on() {
    let mut server = Connection::new(Side::Server, Limits { calls: 1, ..Limits::default() }, NOW);
    say(&mut server, r#"{"jsonrpc":"2.0","id":"a","method":"list_agents"}"#);
    say(&mut server, r#"{"jsonrpc":"2.0","id":"b","method":"list_agents"}"#);
    insta::assert_snapshot!(show(&mut server), @r#"
    serve 1: list_agents null
    send {"jsonrpc":"2.0","id":"b","error":{"code":-32000,"message":"1 calls are in progress on this connection","data":{"code":"unavailable","message":"1 calls are in progress on this connection","hint":"wait for answers before calling more, or open another connection"}}}
    "#);
    tell(&mut server, Input::Reply { token: Token(1), result: Ok(Value::Null) })
        .expect("the first call is in progress");
    say(&mut server, r#"{"jsonrpc":"2.0","id":"c","method":"list_agents"}"#);
    insta::assert_snapshot!(show(&mut server), @r#"
    send {"jsonrpc":"2.0","id":"a","result":null}
    serve 2: list_agents null
    "#);
}

#[test]
fn an_operation_that_does_not_exist_has_a_number_of_its_own() {
    let mut server = Connection::new(Side::Server, Limits::default(), NOW);
    say(&mut server, r#"{"jsonrpc":"2.0","id":1,"method":"fly"}"#);
    let error = ApiError::new(Code::Unsupported, "no operation `fly`");
    tell(&mut server, Input::Reply { token: Token(1), result: Err(error) }).expect("the call is in progress");
    insta::assert_snapshot!(show(&mut server), @r#"
    serve 1: fly null
    send {"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no operation `fly`","data":{"code":"unsupported","message":"no operation `fly`"}}}
    "#);
}

#[test]
fn a_server_says_what_is_wrong_with_a_message_and_goes_on() {
    let mut server = Connection::new(Side::Server, Limits::default(), NOW);
    say(&mut server, r#"{"jsonrpc":"2.0","method":"list_agents"}"#);
    say(&mut server, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    say(&mut server, "hello");
    say(&mut server, r#"{"jsonrpc":"2.0","id":1,"method":"list_agents"}"#);
    insta::assert_snapshot!(show(&mut server), @r#"
    send {"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"`id` is missing","data":{"code":"invalid_argument","message":"`id` is missing","hint":"send {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"list_agents\",\"params\":{}}"}}}
    send {"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"an answer to nothing: this side makes no calls","data":{"code":"invalid_argument","message":"an answer to nothing: this side makes no calls","hint":"send {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"list_agents\",\"params\":{}}"}}}
    send {"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"not JSON: expected value at line 1 column 1","data":{"code":"invalid_argument","message":"not JSON: expected value at line 1 column 1","hint":"send {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"list_agents\",\"params\":{}}"}}}
    serve 1: list_agents null
    "#);
}

#[test]
fn too_many_malformed_messages_in_a_row_close_the_connection() {
    let mut server = Connection::new(Side::Server, Limits { malformed: 3, ..Limits::default() }, NOW);
    for text in ["1", "2", r#"{"jsonrpc":"2.0","id":1,"method":"list_agents"}"#, "3", "4"] {
        say(&mut server, text);
    }
    assert!(!server.is_closed());
    show(&mut server);
    say(&mut server, "5");
    insta::assert_snapshot!(show(&mut server), @r#"
    send {"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"a message must be an object","data":{"code":"invalid_argument","message":"a message must be an object","hint":"send {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"list_agents\",\"params\":{}}"}}}
    close 1008 too many malformed messages
    "#);
    assert_eq!(tell(&mut server, Input::Pong), Err(Refusal::Closed));
}

#[test]
fn what_is_no_text_closes_the_connection_with_the_fitting_code() {
    let faults = [Fault::Binary, Fault::NotUtf8, Fault::TooLarge, Fault::Protocol];
    let shown = faults.map(|fault| {
        let mut server = Connection::new(Side::Server, Limits::default(), NOW);
        tell(&mut server, Input::Unreadable(fault)).expect("the connection is open");
        show(&mut server)
    });
    insta::assert_snapshot!(shown.join("\n"), @r"
    close 1003 send JSON-RPC as text
    close 1007 not UTF-8
    close 1009 the message is too large
    close 1002 not a WebSocket frame
    ");
}

#[test]
fn silence_is_broken_by_pings_and_ended_after_a_minute() {
    let mut client = Connection::new(Side::Client, Limits::default(), NOW);
    call(&mut client, 1, "wait_for_agent").expect("there is room");
    show(&mut client);
    let mut seen = String::new();
    while let Some(due) = client.deadline() {
        client.expire(due);
        seen += &format!("{} s: {}\n", (due.0 - NOW.0) / 1000, show(&mut client));
    }
    insta::assert_snapshot!(seen, @r"
    20 s: ping
    40 s: ping
    60 s: cut 1 (sent)
    close 1011 no sign of life
    ");
}

#[test]
fn anything_heard_is_a_sign_of_life() {
    let mut client = Connection::new(Side::Client, Limits::default(), NOW);
    client.expire(NOW.plus(20_000));
    client.handle(NOW.plus(21_000), Input::Pong).expect("the connection is open");
    assert_eq!(client.deadline(), Some(NOW.plus(41_000)));
}

#[test]
fn the_latest_ping_is_answered() {
    let mut server = Connection::new(Side::Server, Limits::default(), NOW);
    for payload in [b"a", b"b", b"c"] {
        tell(&mut server, Input::Ping(payload.to_vec())).expect("the connection is open");
    }
    assert_eq!(show(&mut server), "pong c");
}

#[test]
fn a_call_whose_frame_was_not_given_out_is_cut_unsent() {
    let mut client = Connection::new(Side::Client, Limits::default(), NOW);
    call(&mut client, 1, "delete_agent").expect("there is room");
    show(&mut client);
    call(&mut client, 2, "delete_agent").expect("there is room");
    tell(&mut client, Input::Gone).expect("the connection is open");
    assert_eq!(show(&mut client), "cut 1 (sent)\ncut 2 (unsent)");
}

#[test]
fn an_answer_to_nobody_is_ignored() {
    let mut client = Connection::new(Side::Client, Limits::default(), NOW);
    call(&mut client, 1, "list_agents").expect("there is room");
    show(&mut client);
    for id in ["2", "null", "\"1\"", "1.5"] {
        say(&mut client, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
    }
    assert_eq!((show(&mut client).as_str(), client.calls()), ("", 1));
}

#[test]
fn a_call_that_cannot_be_made_is_refused() {
    let mut client = Connection::new(Side::Client, Limits { calls: 1, message: 100, ..Limits::default() }, NOW);
    let long = Input::Call { token: Token(1), method: "list_agents".to_owned(), params: json!("x".repeat(100)) };
    assert!(matches!(tell(&mut client, long), Err(Refusal::TooLarge { limit: 100, .. })));
    call(&mut client, 1, "list_agents").expect("there is room");
    assert_eq!(call(&mut client, 1, "list_agents"), Err(Refusal::InUse(Token(1))));
    assert_eq!(call(&mut client, 2, "list_agents"), Err(Refusal::Busy(1)));
    let reply = Input::Reply { token: Token(1), result: Ok(Value::Null) };
    assert_eq!(tell(&mut client, reply), Err(Refusal::WrongSide));
}

#[test]
fn how_far_a_call_is_is_said_with_the_callers_id() {
    let mut server = Connection::new(Side::Server, Limits::default(), NOW);
    say(&mut server, r#"{"jsonrpc":"2.0","id":"a","method":"create_worktree"}"#);
    show(&mut server);
    let numbers = Progress { done: Some(7), total: Some(20), unit: Some("files".to_owned()), ..far(0) };
    let progress = Progress { bytes: Some(4096), ..numbers.message("checking out fix/foo") };
    tell(&mut server, Input::Progress { token: Token(1), progress }).expect("the call is in progress");
    insta::assert_snapshot!(show(&mut server), @r#"send {"jsonrpc":"2.0","method":"progress","params":{"id":"a","step":"checkout","message":"checking out fix/foo","done":7,"total":20,"unit":"files","bytes":4096}}"#);
}

#[test]
fn how_far_a_call_is_is_said_ten_times_a_second_and_the_newest_counts() {
    let mut server = Connection::new(Side::Server, Limits::default(), NOW);
    say(&mut server, r#"{"jsonrpc":"2.0","id":1,"method":"create_worktree"}"#);
    say(&mut server, r#"{"jsonrpc":"2.0","id":2,"method":"create_worktree"}"#);
    show(&mut server);
    let mut seen = String::new();
    let mut at = |server: &mut Connection, millisecond: i64, token: i64, done: i64| {
        let now = NOW.plus(millisecond);
        while let Some(due) = server.deadline().filter(|due| *due <= now) {
            server.expire(due);
            seen += &format!("{} ms: {}\n", due.0 - NOW.0, show(server));
        }
        let input = Input::Progress { token: Token(token), progress: far(done) };
        server.handle(now, input).expect("the call is in progress");
        let said = show(server);
        seen += &if said.is_empty() { String::new() } else { format!("{millisecond} ms: {said}\n") };
    };
    at(&mut server, 0, 1, 1);
    at(&mut server, 10, 1, 2);
    at(&mut server, 20, 2, 10);
    at(&mut server, 30, 1, 3);
    at(&mut server, 120, 1, 4);
    at(&mut server, 250, 1, 5);
    at(&mut server, 450, 1, 6);
    insta::assert_snapshot!(seen, @r#"
    0 ms: send {"jsonrpc":"2.0","method":"progress","params":{"id":1,"step":"checkout","done":1}}
    20 ms: send {"jsonrpc":"2.0","method":"progress","params":{"id":2,"step":"checkout","done":10}}
    100 ms: send {"jsonrpc":"2.0","method":"progress","params":{"id":1,"step":"checkout","done":3}}
    200 ms: send {"jsonrpc":"2.0","method":"progress","params":{"id":1,"step":"checkout","done":4}}
    300 ms: send {"jsonrpc":"2.0","method":"progress","params":{"id":1,"step":"checkout","done":5}}
    450 ms: send {"jsonrpc":"2.0","method":"progress","params":{"id":1,"step":"checkout","done":6}}
    "#);
    assert_eq!(server.deadline(), Some(NOW.plus(Limits::default().ping)), "nothing is held any more");
}

#[test]
fn a_slow_reader_gets_the_newest_of_each_call() {
    let mut server = Connection::new(Side::Server, Limits { progress: 0, ..Limits::default() }, NOW);
    say(&mut server, r#"{"jsonrpc":"2.0","id":1,"method":"create_worktree"}"#);
    say(&mut server, r#"{"jsonrpc":"2.0","id":2,"method":"create_worktree"}"#);
    show(&mut server);
    for done in 0..1000 {
        let token = Token(1 + done % 2);
        tell(&mut server, Input::Progress { token, progress: far(done) }).expect("the call is in progress");
    }
    insta::assert_snapshot!(show(&mut server), @r#"
    send {"jsonrpc":"2.0","method":"progress","params":{"id":1,"step":"checkout","done":998}}
    send {"jsonrpc":"2.0","method":"progress","params":{"id":2,"step":"checkout","done":999}}
    "#);
}

#[test]
fn after_its_answer_nothing_is_said_of_a_call() {
    let mut server = Connection::new(Side::Server, Limits::default(), NOW);
    say(&mut server, r#"{"jsonrpc":"2.0","id":1,"method":"create_worktree"}"#);
    say(&mut server, r#"{"jsonrpc":"2.0","id":2,"method":"create_worktree"}"#);
    show(&mut server);
    for done in 1..3 {
        // The first is due, the second is held.
        tell(&mut server, Input::Progress { token: Token(1), progress: far(done) }).expect("the call is in progress");
        if done == 1 {
            show(&mut server);
        }
    }
    tell(&mut server, Input::Progress { token: Token(2), progress: far(9) }).expect("the call is in progress");
    for token in [Token(1), Token(2)] {
        tell(&mut server, Input::Reply { token, result: Ok(Value::Null) }).expect("the call is in progress");
        let late = Input::Progress { token, progress: far(10) };
        assert_eq!(tell(&mut server, late), Err(Refusal::NoSuchCall(token)));
    }
    insta::assert_snapshot!(show(&mut server), @r#"
    send {"jsonrpc":"2.0","id":1,"result":null}
    send {"jsonrpc":"2.0","id":2,"result":null}
    "#);
    assert_eq!(server.deadline(), Some(NOW.plus(Limits::default().ping)));
}

#[test]
fn a_closed_connection_says_nothing_of_its_calls() {
    let mut server = Connection::new(Side::Server, Limits::default(), NOW);
    say(&mut server, r#"{"jsonrpc":"2.0","id":1,"method":"create_worktree"}"#);
    show(&mut server);
    let progress = || Input::Progress { token: Token(1), progress: far(1) };
    tell(&mut server, progress()).expect("the call is in progress");
    tell(&mut server, Input::Gone).expect("the connection is open");
    assert_eq!(tell(&mut server, progress()), Err(Refusal::Closed));
    assert_eq!((show(&mut server).as_str(), server.deadline()), ("", None));
}

#[test]
fn a_client_hears_how_far_its_own_calls_are_and_ignores_the_rest() {
    let mut client = Connection::new(Side::Client, Limits { malformed: 1, ..Limits::default() }, NOW);
    call(&mut client, 1, "create_worktree").expect("there is room");
    call(&mut client, 2, "create_worktree").expect("there is room");
    show(&mut client);
    say(&mut client, &frame::progress(&json!(2), &far(1)));
    // A newer server may say more.
    say(&mut client, r#"{"jsonrpc":"2.0","method":"progress","params":{"id":1,"step":"fly","height":7}}"#);
    let strange = [
        r#""id":3,"step":"fly""#,
        r#""id":"1","step":"fly""#,
        r#""id":1.5,"step":"fly""#,
        r#""id":1"#,
        r#""id":1,"step":7"#,
        r#""step":"fly""#,
    ];
    for params in strange {
        say(&mut client, &format!(r#"{{"jsonrpc":"2.0","method":"progress","params":{{{params}}}}}"#));
    }
    say(&mut client, r#"{"jsonrpc":"2.0","method":"progress"}"#);
    say(&mut client, r#"{"jsonrpc":"2.0","id":2,"result":{}}"#);
    say(&mut client, &frame::progress(&json!(2), &far(2)));
    insta::assert_snapshot!(show(&mut client), @"
    progress 2: checkout 1
    progress 1: fly
    answer 2: Ok(Object {})
    ");
    let progress = Input::Progress { token: Token(1), progress: far(1) };
    assert_eq!(tell(&mut client, progress), Err(Refusal::WrongSide));
}

proptest! {
    #[test]
    fn every_call_ends_once_whatever_the_transport_does(steps in steps(), cut in any::<bool>()) {
        let limits = Limits { calls: 4, malformed: 5, ..Limits::default() };
        let mut pair = Pair::new(limits);
        let mut made = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            let number = number as i64;
            match step {
                Step::Call => if pair.call(number, "list_agents") { made.push(Token(number)) },
                Step::Reply(which) => {
                    if !pair.serving.is_empty() {
                        let served = pair.serving.remove(which % pair.serving.len()).expect("it is within the queue");
                        pair.reply(served, Ok(json!(served.0)));
                    }
                }
                Step::Progress(which) => {
                    if !pair.serving.is_empty() {
                        pair.report(pair.serving[which % pair.serving.len()], number);
                    }
                }
                Step::Deliver => pair.deliver(),
                Step::Garbage(side, text) => pair.garbage(side, text),
                Step::Wait(milliseconds) => pair.wait(milliseconds),
            }
        }
        if !cut {
            pair.settle();
            while let Some(served) = pair.serving.pop_front() {
                pair.reply(served, Ok(Value::Null));
                pair.settle();
            }
        }
        let open = !pair.client.is_closed() && !pair.server.is_closed();
        if !cut && open {
            for token in &made {
                prop_assert!(matches!(pair.ends[token][..], [End::Answer(_)]), "{token:?}: {:?}", pair.ends[token]);
            }
        }
        pair.cut();
        for token in &made {
            prop_assert_eq!(pair.ends[token].len(), 1, "{:?}: {:?}", token, &pair.ends[token]);
        }
        prop_assert_eq!(pair.client.calls() + pair.server.calls(), 0);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Call,
    Reply(usize),
    Progress(usize),
    Deliver,
    Garbage(Side, String),
    Wait(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let garbage = prop_oneof![
        ".{0,20}",
        Just("[]".to_owned()),
        Just(r#"{"jsonrpc":"2.0","method":"agent_changed"}"#.to_owned()),
        Just(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#.to_owned()),
        Just(r#"{"jsonrpc":"2.0","id":"x","method":"list_agents"}"#.to_owned()),
        Just(r#"{"jsonrpc":"2.0","method":"progress","params":{"id":-1,"step":"x"}}"#.to_owned()),
    ];
    let side = prop_oneof![Just(Side::Client), Just(Side::Server)];
    let step = prop_oneof![
        4 => Just(Step::Call),
        4 => any::<usize>().prop_map(Step::Reply),
        6 => any::<usize>().prop_map(Step::Progress),
        6 => Just(Step::Deliver),
        1 => (side, garbage).prop_map(|(side, text)| Step::Garbage(side, text)),
        2 => prop_oneof![0..300i64, 0..30_000i64].prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..60)
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq)]
enum End {
    Answer(Result<Value, ApiError>),
    Cut,
}

/// A client and a server, and the frames under way between them.
struct Pair {
    now: Timestamp,
    client: Connection,
    server: Connection,
    to_client: VecDeque<Input>,
    to_server: VecDeque<Input>,
    /// Calls that the service has not answered.
    serving: VecDeque<Token>,
    /// What became of every call that was made.
    ends: BTreeMap<Token, Vec<End>>,
    /// How far every call is that was made, as its caller last heard.
    heard: BTreeMap<Token, i64>,
}

impl Pair {
    fn new(limits: Limits) -> Pair {
        Pair {
            now: NOW,
            client: Connection::new(Side::Client, limits, NOW),
            server: Connection::new(Side::Server, limits, NOW),
            to_client: VecDeque::new(),
            to_server: VecDeque::new(),
            serving: VecDeque::new(),
            ends: BTreeMap::new(),
            heard: BTreeMap::new(),
        }
    }

    /// Makes a call; returns whether it was taken.
    fn call(&mut self, number: i64, method: &str) -> bool {
        let taken = call_at(&mut self.client, self.now, number, method).is_ok();
        if taken {
            self.ends.insert(Token(number), Vec::new());
        }
        self.collect();
        taken
    }

    fn reply(&mut self, token: Token, result: Result<Value, ApiError>) {
        // The connection may be over.
        let _ = self.server.handle(self.now, Input::Reply { token, result });
        self.collect();
    }

    fn report(&mut self, token: Token, done: i64) {
        // The connection may be over.
        let _ = self.server.handle(self.now, Input::Progress { token, progress: far(done) });
        self.collect();
    }

    fn garbage(&mut self, side: Side, text: String) {
        match side {
            Side::Client => self.to_client.push_back(Input::Text(text)),
            Side::Server => self.to_server.push_back(Input::Text(text)),
        }
    }

    /// Hands over the oldest frame in each direction.
    fn deliver(&mut self) {
        if let Some(input) = self.to_server.pop_front() {
            let _ = self.server.handle(self.now, input);
        }
        if let Some(input) = self.to_client.pop_front() {
            let _ = self.client.handle(self.now, input);
        }
        self.collect();
    }

    /// Hands over everything that is under way.
    fn settle(&mut self) {
        while !self.to_client.is_empty() || !self.to_server.is_empty() {
            self.deliver();
        }
    }

    fn wait(&mut self, milliseconds: i64) {
        self.now = self.now.plus(milliseconds);
        self.client.expire(self.now);
        self.server.expire(self.now);
        for machine in [&self.client, &self.server] {
            assert!(machine.deadline().is_none_or(|due| due > self.now), "nothing is due after `expire`");
        }
        self.collect();
    }

    /// Cuts the transport: what is under way is lost.
    fn cut(&mut self) {
        self.to_client.clear();
        self.to_server.clear();
        let _ = self.client.handle(self.now, Input::Gone);
        let _ = self.server.handle(self.now, Input::Gone);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(output) = self.client.poll() {
            match output {
                Output::Send { text, .. } => self.to_server.push_back(Input::Text(text)),
                Output::Ping => self.to_server.push_back(Input::Ping(Vec::new())),
                Output::Pong(_) => self.to_server.push_back(Input::Pong),
                Output::Close { .. } => self.to_server.push_back(Input::Gone),
                Output::Answer { token, result } => self.end(token, End::Answer(result)),
                Output::Cut { token, .. } => self.end(token, End::Cut),
                Output::Progress { token, progress } => {
                    assert_eq!(self.ends[&token], [], "nothing is said of a call that has ended");
                    let before = self.heard.insert(token, progress.done.expect("it is counted"));
                    assert!(before < progress.done, "what is said is new");
                }
                Output::Event { .. } => {}
                Output::Serve { .. } => panic!("a client serves nothing"),
            }
        }
        while let Some(output) = self.server.poll() {
            match output {
                Output::Send { text, .. } => self.to_client.push_back(Input::Text(text)),
                Output::Ping => self.to_client.push_back(Input::Ping(Vec::new())),
                Output::Pong(_) => self.to_client.push_back(Input::Pong),
                Output::Close { .. } => self.to_client.push_back(Input::Gone),
                Output::Serve { token, .. } => self.serving.push_back(token),
                other => panic!("a server asks for {other:?}"),
            }
        }
    }

    fn end(&mut self, token: Token, end: End) {
        self.ends.get_mut(&token).expect("only calls that were made end").push(end);
    }
}

fn tell(machine: &mut Connection, input: Input) -> Result<(), Refusal> {
    machine.handle(NOW, input)
}

fn say(machine: &mut Connection, text: &str) {
    tell(machine, Input::Text(text.to_owned())).expect("the connection is open");
}

fn call(machine: &mut Connection, number: i64, method: &str) -> Result<(), Refusal> {
    call_at(machine, NOW, number, method)
}

fn call_at(machine: &mut Connection, now: Timestamp, number: i64, method: &str) -> Result<(), Refusal> {
    machine.handle(now, Input::Call { token: Token(number), method: method.to_owned(), params: json!({}) })
}

fn far(done: i64) -> Progress {
    Progress { done: Some(done), ..Progress::new("checkout") }
}

/// Writes everything that the machine asks for.
fn show(machine: &mut Connection) -> String {
    let line = |output| match output {
        Output::Send { text, .. } => format!("send {text}"),
        Output::Ping => "ping".to_owned(),
        Output::Pong(payload) => format!("pong {}", String::from_utf8_lossy(&payload)),
        Output::Close { code, reason } => format!("close {code} {reason}"),
        Output::Serve { token, method, params } => format!("serve {}: {method} {params}", token.0),
        Output::Answer { token, result } => format!("answer {}: {result:?}", token.0),
        Output::Progress { token, progress } => {
            let Progress { step, done, .. } = progress;
            format!("progress {}: {step}{}", token.0, done.map(|done| format!(" {done}")).unwrap_or_default())
        }
        Output::Cut { token, sent } => format!("cut {} ({})", token.0, if sent { "sent" } else { "unsent" }),
        Output::Event { method, params } => format!("event {method} {params}"),
    };
    std::iter::from_fn(|| machine.poll()).map(line).collect::<Vec<_>>().join("\n")
}

const NOW: Timestamp = Timestamp(1_700_000_000_000);
