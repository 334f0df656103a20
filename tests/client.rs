//! The client, against a daemon that each test plays itself, over pipes that it cuts where it likes.

mod progress;
mod stage;
mod watch;

use std::time::Duration;

use fastwebsockets::{Frame, OpCode};
use paseo_sdk::catalogue::{CreateAgent, DeleteAgent, SendAgentPrompt, WaitForAgent};
use paseo_sdk::client::{Address, Client};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::frame;
use paseo_sdk::model::WaitOutcome;
use serde_json::{Value, json};

use self::stage::{Plan, all, follow, open, outcome, stage};

#[tokio::test(start_paused = true)]
async fn calls_share_a_connection_and_get_their_own_answers() {
    let (client, mut daemon) = stage();
    let calls = [client.clone(), client].map(|client| tokio::spawn(async move { client.list_agents(all()).await }));
    let mut peer = daemon.accept().await;
    let (first, second) = (peer.call().await, peer.call().await);
    assert_eq!((first.method.as_str(), second.method.as_str()), ("list_agents", "list_agents"));
    peer.answer(&second, json!({"agents": [], "nextCursor": "2"})).await;
    peer.refuse(&first, ApiError::new(Code::Forbidden, "not yours")).await;
    let mut ends = Vec::new();
    for call in calls {
        ends.push(match call.await.expect("calls do not panic") {
            Ok(agents) => agents.next_cursor.unwrap_or_default(),
            Err(error) => error.message,
        });
    }
    ends.sort();
    assert_eq!(ends, ["2", "not yours"]);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_was_never_there_is_unavailable_at_once() {
    let (client, daemon) = stage();
    daemon.plan(&[Plan::Fail]);
    let error = client.list_agents(all()).await.expect_err("nobody is there");
    assert_eq!(error.code, Code::Unavailable);
    assert_eq!(error.message, "cannot reach the daemon: nobody listens");
    assert_eq!(error.hint.as_deref(), Some("`paseo daemon start` starts it"));
    assert_eq!(daemon.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_is_expected_is_waited_for() {
    let (client, mut daemon) = stage();
    daemon.plan(&[Plan::Fail, Plan::Fail]);
    let client = client.expected();
    let listing = tokio::spawn(async move { client.list_agents(all()).await });
    let mut peer = daemon.accept().await;
    let call = peer.call().await;
    peer.answer(&call, json!({"agents": []})).await;
    listing.await.expect("calls do not panic").expect("it is there by then");
    assert_eq!(daemon.attempts(), 3);
}

#[tokio::test]
async fn the_error_names_the_address() {
    let client = Client::new(Address::Unix("/nowhere/paseo.sock".into()));
    let error = client.list_agents(all()).await.expect_err("nobody is there");
    assert!(error.message.starts_with("cannot reach the daemon at unix:/nowhere/paseo.sock: "), "{}", error.message);
    assert_eq!(format!("{client:?}"), "Client(unix:/nowhere/paseo.sock)");
}

#[tokio::test(start_paused = true)]
async fn a_write_is_repeated_after_a_cut_with_the_same_ids() {
    let (client, mut daemon) = stage();
    let task = CreateAgent::new("t", "shell", "true").in_background();
    let creating = tokio::spawn(async move { client.create_agent(task).await });
    let first = daemon.accept().await.call().await;
    assert!(first.params["agentId"].is_string() && first.params["promptId"].is_string());
    let mut peer = daemon.accept().await;
    let second = peer.call().await;
    assert_eq!((&second.method, &second.params), (&first.method, &first.params));
    peer.answer(&second, outcome(&second.params["agentId"], Value::Null)).await;
    let outcome = creating.await.expect("calls do not panic").expect("the agent is created");
    assert_eq!(outcome.agent_id.as_str(), second.params["agentId"]);
}

#[tokio::test(start_paused = true)]
async fn a_blocking_call_is_a_start_and_a_wait_that_goes_on_after_a_cut() {
    let (client, mut daemon) = stage();
    let creating = tokio::spawn(async move { client.create_agent(CreateAgent::new("t", "shell", "true")).await });
    let mut peer = daemon.accept().await;
    let create = peer.call().await;
    assert_eq!(create.params["background"], true);
    peer.answer(&create, outcome(&create.params["agentId"], Value::Null)).await;
    let wait = peer.call().await;
    assert_eq!(wait.method, "wait_for_agent");
    assert_eq!(wait.params["agentId"], create.params["agentId"]);
    assert_eq!(wait.params["promptId"], create.params["promptId"]);
    drop(peer);
    let mut peer = daemon.accept().await;
    let again = peer.call().await;
    assert_eq!((&again.method, &again.params), (&wait.method, &wait.params));
    peer.answer(&again, outcome(&create.params["agentId"], json!("completed"))).await;
    let outcome = creating.await.expect("calls do not panic").expect("the agent completes");
    assert_eq!(outcome.outcome, Some(WaitOutcome::Completed));
}

#[tokio::test(start_paused = true)]
async fn a_prompt_waits_for_the_agent_by_its_id_and_not_by_its_title() {
    let (client, mut daemon) = stage();
    let sending =
        tokio::spawn(async move { client.send_agent_prompt(SendAgentPrompt::new("the title", "go on")).await });
    let mut peer = daemon.accept().await;
    let send = peer.call().await;
    assert_eq!((&send.params["agentId"], &send.params["background"]), (&json!("the title"), &json!(true)));
    peer.answer(&send, outcome(&json!("a1"), Value::Null)).await;
    let wait = peer.call().await;
    assert_eq!((&wait.params["agentId"], &wait.params["promptId"]), (&json!("a1"), &send.params["promptId"]));
    peer.answer(&wait, outcome(&json!("a1"), json!("permission"))).await;
    let outcome = sending.await.expect("calls do not panic").expect("the wait is over");
    assert_eq!(outcome.outcome, Some(WaitOutcome::Permission));
}

#[tokio::test(start_paused = true)]
async fn an_untyped_call_is_made_as_a_typed_one() {
    let (client, mut daemon) = stage();
    let params = json!({"title": "t", "provider": "shell", "initialPrompt": "true", "agentId": "mine"});
    let creating = tokio::spawn(async move { client.call("create_agent", params).await });
    let mut peer = daemon.accept().await;
    let create = peer.call().await;
    assert_eq!((&create.params["agentId"], &create.params["background"]), (&json!("mine"), &json!(true)));
    assert!(create.params["promptId"].is_string());
    peer.answer(&create, outcome(&json!("mine"), Value::Null)).await;
    let wait = peer.call().await;
    assert_eq!((wait.method.as_str(), &wait.params["promptId"]), ("wait_for_agent", &create.params["promptId"]));
    peer.answer(&wait, json!({"whatever": 1})).await;
    assert_eq!(creating.await.expect("calls do not panic"), Ok(json!({"whatever": 1})));
}

#[tokio::test(start_paused = true)]
async fn arguments_of_a_wrong_type_are_left_to_the_daemon() {
    let (client, mut daemon) = stage();
    let creating =
        tokio::spawn(async move { client.call("create_agent", json!({"agentId": 7, "background": "no"})).await });
    let mut peer = daemon.accept().await;
    let create = peer.call().await;
    assert_eq!((&create.params["agentId"], &create.params["background"]), (&json!(7), &json!("no")));
    peer.refuse(&create, ApiError::invalid("agentId", "is a number")).await;
    let error = creating.await.expect("calls do not panic").expect_err("it is refused");
    assert_eq!(error, ApiError::invalid("agentId", "is a number"));
}

#[tokio::test(start_paused = true)]
async fn the_time_given_to_a_wait_counts_from_its_beginning() {
    let (client, mut daemon) = stage();
    let timeout = "1m".parse().expect("it is a duration");
    let wait = WaitForAgent { timeout: Some(timeout), ..WaitForAgent::one("a1") };
    let waiting = tokio::spawn(async move { client.wait_for_agent(wait).await });
    let mut peer = daemon.accept().await;
    assert_eq!(peer.call().await.params["timeout"], "1m");
    tokio::time::advance(Duration::from_secs(40)).await;
    drop(peer);
    let mut peer = daemon.accept().await;
    let again = peer.call().await;
    assert_eq!(again.params["timeout"], "20s");
    peer.answer(&again, outcome(&json!("a1"), json!("timed_out"))).await;
    let outcome = waiting.await.expect("calls do not panic").expect("the wait is over");
    assert_eq!(outcome.outcome, Some(WaitOutcome::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn what_takes_something_away_is_not_repeated_once_it_was_sent() {
    let (client, mut daemon) = stage();
    let reading = client.clone();
    let deleting = tokio::spawn(async move { client.delete_agent(DeleteAgent { agent_id: "a1".into() }).await });
    let mut peer = daemon.accept().await;
    assert_eq!(peer.call().await.method, "delete_agent");
    drop(peer);
    let error = deleting.await.expect("calls do not panic").expect_err("nobody knows");
    assert_eq!(error.code, Code::Unavailable);
    insta::assert_snapshot!(error.message, @"the connection was cut before `delete_agent` was answered; it may have happened");

    // One that was not sent yet is.
    daemon.plan(&[Plan::Fail, Plan::Fail]);
    let deleting = tokio::spawn(async move { reading.delete_agent(DeleteAgent { agent_id: "a1".into() }).await });
    let mut peer = daemon.accept().await;
    let delete = peer.call().await;
    peer.answer(&delete, json!({"agentId": "a1"})).await;
    assert!(deleting.await.expect("calls do not panic").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_comes_back_is_waited_for() {
    let (client, mut daemon) = stage();
    let listing = tokio::spawn(async move { client.list_agents(all()).await });
    let mut peer = daemon.accept().await;
    peer.call().await;
    let busy = ApiError::new(Code::Unavailable, "starting");
    daemon.plan(&[Plan::Fail, Plan::Fail, Plan::Refuse(503, json!(busy).to_string()), Plan::Fail]);
    drop(peer);
    let mut peer = daemon.accept().await;
    let again = peer.call().await;
    peer.answer(&again, json!({"agents": []})).await;
    assert!(listing.await.expect("calls do not panic").is_ok());
    assert_eq!(daemon.attempts(), 6);
}

#[tokio::test(start_paused = true)]
async fn patience_has_an_end_and_after_it_calls_fail_at_once() {
    let (client, mut daemon) = stage();
    let client = client.patience(Duration::from_secs(5));
    let listing = tokio::spawn({
        let client = client.clone();
        async move { client.list_agents(all()).await }
    });
    let mut peer = daemon.accept().await;
    peer.call().await;
    daemon.plan(&vec![Plan::Fail; 100]);
    drop(peer);
    let error = listing.await.expect("calls do not panic").expect_err("nobody is there");
    assert_eq!(error.message, "cannot reach the daemon: nobody listens");
    let tried = daemon.attempts();
    client.list_agents(all()).await.expect_err("nobody is there");
    assert_eq!(daemon.attempts(), tried + 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_cuts_every_connection_is_given_up() {
    let (client, mut daemon) = stage();
    let mut listing = tokio::spawn(async move { client.list_agents(all()).await });
    let error = loop {
        tokio::select! {
            mut peer = daemon.accept() => drop(peer.call().await),
            end = &mut listing => break end.expect("calls do not panic").expect_err("it is never answered"),
        }
    };
    assert_eq!(error.code, Code::Unavailable);
    assert_eq!(error.message, "cannot reach the daemon: the connection is cut as soon as it is made");
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_says_nothing_any_more_is_left_for_a_new_connection() {
    let (client, mut daemon) = stage();
    let listing = tokio::spawn(async move { client.list_agents(all()).await });
    let mut silent = daemon.accept().await;
    silent.call().await;
    // Nobody reads the first connection now, so no ping is answered.
    let mut peer = daemon.accept().await;
    let again = peer.call().await;
    peer.answer(&again, json!({"agents": []})).await;
    assert!(listing.await.expect("calls do not panic").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_refused_upgrade_says_why_in_the_daemons_words() {
    let mut shown = Vec::new();
    let own = ApiError::new(Code::Unauthorized, "the token is wrong").hint("`paseo daemon token` shows it");
    for plan in [
        Plan::Refuse(401, json!(own).to_string()),
        Plan::Refuse(403, json!(ApiError::new(Code::Forbidden, "this origin is not allowed")).to_string()),
        Plan::Refuse(401, "who are you?".to_owned()),
        Plan::Refuse(403, "x".repeat(1 << 20)),
        Plan::Refuse(404, "not here".to_owned()),
        Plan::Refuse(200, "<html>".to_owned()),
    ] {
        let (client, daemon) = stage();
        daemon.plan(&[plan]);
        let error = client.list_agents(all()).await.expect_err("it is refused");
        shown.push(format!("{:?}: {error} ({})", error.code, error.hint.as_deref().unwrap_or_default()));
        assert_eq!(daemon.attempts(), 1);
    }
    insta::assert_snapshot!(shown.join("\n"), @r"
    Unauthorized: the token is wrong (`paseo daemon token` shows it)
    Forbidden: this origin is not allowed ()
    Unauthorized: the daemon refuses to talk: HTTP 401 Unauthorized (is there a paseo daemon at this address?)
    Forbidden: the daemon refuses to talk: HTTP 403 Forbidden (is there a paseo daemon at this address?)
    Unavailable: the daemon refuses to talk: HTTP 404 Not Found (is there a paseo daemon at this address?)
    Unavailable: the daemon refuses to talk: HTTP 200 OK (is there a paseo daemon at this address?)
    ");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_ends_patience_too() {
    let (client, mut daemon) = stage();
    let listing = tokio::spawn(async move { client.token("t0ken").list_agents(all()).await });
    let mut peer = daemon.accept().await;
    peer.call().await;
    assert_eq!(daemon.bearer().as_deref(), Some("Bearer t0ken"));
    daemon.plan(&[Plan::Refuse(401, json!(ApiError::new(Code::Unauthorized, "the token is wrong")).to_string())]);
    drop(peer);
    let error = listing.await.expect("calls do not panic").expect_err("it is refused");
    assert_eq!(error.code, Code::Unauthorized);
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_come_in_fragments_with_pings_between() {
    let (client, mut daemon) = stage();
    let listing = tokio::spawn(async move { client.list_agents(all()).await });
    let mut peer = daemon.accept().await;
    let call = peer.call().await;
    let text = frame::reply(&call.id, &Ok(json!({"agents": [], "nextCursor": "äöü"})));
    let middle = text.find('ö').expect("it is there") + 1;
    let (head, tail) = text.as_bytes().split_at(middle);
    peer.write(Frame::new(false, OpCode::Text, None, head.to_vec().into())).await;
    peer.write(Frame::new(true, OpCode::Ping, None, b"here?".to_vec().into())).await;
    let pong = peer.frame().await.expect("the connection is open");
    assert_eq!((pong.opcode, &pong.payload[..]), (OpCode::Pong, &b"here?"[..]));
    peer.write(Frame::new(false, OpCode::Continuation, None, Vec::new().into())).await;
    peer.write(Frame::new(true, OpCode::Continuation, None, tail.to_vec().into())).await;
    let agents = listing.await.expect("calls do not panic").expect("it is answered");
    assert_eq!(agents.next_cursor.as_deref(), Some("äöü"));
}

#[tokio::test(start_paused = true)]
async fn fragments_beyond_the_limit_close_the_connection_and_the_call_is_repeated() {
    let (client, mut daemon) = stage();
    let listing = tokio::spawn(async move { client.list_agents(all()).await });
    let mut peer = daemon.accept().await;
    peer.call().await;
    let piece = vec![b'x'; 1 << 20];
    peer.write(Frame::new(false, OpCode::Text, None, piece.clone().into())).await;
    for _ in 0..32 {
        peer.write(Frame::new(false, OpCode::Continuation, None, piece.clone().into())).await;
    }
    assert_eq!(peer.closed().await, Some((1009, "the message is too large".to_owned())));
    let mut peer = daemon.accept().await;
    let again = peer.call().await;
    peer.answer(&again, json!({"agents": []})).await;
    assert!(listing.await.expect("calls do not panic").is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_message_closes_the_connection_with_the_fitting_code() {
    let frames: [(Vec<Frame<'static>>, u16); 5] = [
        (vec![Frame::binary(b"x".to_vec().into())], 1003),
        (vec![Frame::new(true, OpCode::Continuation, None, Vec::new().into())], 1002),
        (vec![open(b"a"), open(b"b")], 1002),
        (vec![Frame::text(b"\xff".to_vec().into())], 1007),
        (vec![open(b"\xc3"), Frame::new(true, OpCode::Continuation, None, b"x".to_vec().into())], 1007),
    ];
    for (frames, code) in frames {
        let (client, mut daemon) = stage();
        let listing = tokio::spawn(async move { client.list_agents(all()).await });
        let mut peer = daemon.accept().await;
        peer.call().await;
        for frame in frames {
            peer.write(frame).await;
        }
        assert_eq!(peer.closed().await.map(|(code, _)| code), Some(code));
        listing.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_between_answers_does_no_harm() {
    let (client, mut daemon) = stage();
    let listing = tokio::spawn(async move { client.list_agents(all()).await });
    let mut peer = daemon.accept().await;
    let call = peer.call().await;
    for text in ["", "{", "[]", r#"{"jsonrpc":"2.0","id":99,"result":{}}"#, r#"{"jsonrpc":"2.0","method":"news"}"#] {
        peer.say(text).await;
    }
    peer.answer(&call, json!({"agents": []})).await;
    assert!(listing.await.expect("calls do not panic").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_too_large_is_refused_before_it_is_sent() {
    let (client, mut daemon) = stage();
    let prompt = SendAgentPrompt::new("a1", "x".repeat(33 << 20)).in_background();
    let sending = tokio::spawn(async move { client.send_agent_prompt(prompt).await });
    let _peer = daemon.accept().await;
    let error = sending.await.expect("calls do not panic").expect_err("it is too large");
    assert_eq!(error.code, Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn the_last_client_that_goes_takes_the_connection_with_it() {
    let (client, mut daemon) = stage();
    let other = client.clone();
    let listing = tokio::spawn(async move { client.list_agents(all()).await });
    let mut peer = daemon.accept().await;
    let call = peer.call().await;
    peer.answer(&call, json!({"agents": []})).await;
    listing.await.expect("calls do not panic").expect("it is answered");
    drop(other);
    assert_eq!(peer.closed().await.map(|(code, _)| code), Some(1000));
}

#[test]
fn a_client_may_move_from_one_runtime_to_the_next() {
    let (client, mut daemon) = stage();
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        runtime.block_on(async {
            let client = client.clone();
            let listing = tokio::spawn(async move { client.list_agents(all()).await });
            let mut peer = daemon.accept().await;
            let call = peer.call().await;
            peer.answer(&call, json!({"agents": []})).await;
            assert!(listing.await.expect("calls do not panic").is_ok());
        });
    }
}

#[tokio::test]
async fn sockets_reach_the_daemon() {
    let folder = std::env::temp_dir().join(format!("paseo-client-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).expect("a directory is made");
    let path = folder.join("s");
    let unix = tokio::net::UnixListener::bind(&path).expect("the socket is new");
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let authority = tcp.local_addr().expect("it is bound").to_string();
    let addresses = [Address::Unix(path), Address::Tcp { authority, token: Some("s3cret".to_owned()) }];
    let mut bearers = Vec::new();
    for address in addresses {
        let (_, mut daemon) = stage();
        let client = Client::new(address);
        let listing = tokio::spawn(async move { client.list_agents(all()).await });
        let mut peer = tokio::select! {
            stream = unix.accept() => daemon.host(stream.expect("a client comes").0).await,
            stream = tcp.accept() => daemon.host(stream.expect("a client comes").0).await,
        };
        let call = peer.call().await;
        peer.answer(&call, json!({"agents": []})).await;
        assert!(listing.await.expect("calls do not panic").is_ok());
        bearers.push(daemon.bearer());
    }
    assert_eq!(bearers, [None, Some("Bearer s3cret".to_owned())]);
    std::fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn futures_of_the_client_may_go_to_any_task() {
    fn goes<T: Send + 'static>(_: T) {}
    let (client, _daemon) = stage();
    let listing = client.clone();
    goes(async move { listing.list_agents(all()).await });
    goes(client.watch(follow("a1")));
    goes(client);
}
