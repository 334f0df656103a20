//! HTTP and the gate.

use hyper::{Method, StatusCode};
use paseo_daemon::config::Listen;
use paseo_daemon::server::Limits;
use paseo_sdk::model::{AgentId, Progress};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::caller::{House, Reply, TOKEN, messages_of, raw, request};

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

/// Checks the status, the error's code, and that there is a hint.
fn check_refusal(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status.as_u16(), &reply.body["code"]), (status, &json!(code)), "{reply:?}");
    assert!(reply.body["message"].is_string(), "{reply:?}");
}

#[tokio::test]
async fn health_needs_no_credentials() {
    let house = House::open().await;
    let reply = request(house.tcp().await, Method::GET, "/api/health", &[], "").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.body, json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }));
}

#[tokio::test]
async fn a_call_needs_the_right_token_over_tcp() {
    let house = House::open().await;
    for (headers, path) in [
        (vec![], "/api/get_daemon"),
        (vec![], "/api/openapi.json"),
        (vec![], "/ws"),
        (vec![], "/anything"),
        (vec![bearer("wrong")], "/api/get_daemon"),
        (vec![bearer("")], "/api/get_daemon"),
        (vec![bearer("pa1.a.00")], "/api/get_daemon"),
        (vec![("authorization", format!("Basic {TOKEN}"))], "/api/get_daemon"),
        (vec![bearer(TOKEN), bearer("wrong")], "/api/get_daemon"),
        (vec![("sec-websocket-protocol", "bearer.wrong".to_owned())], "/ws"),
    ] {
        let reply = request(house.tcp().await, Method::POST, path, &headers, "").await;
        check_refusal(&reply, 401, "unauthorized");
        assert_eq!(reply.headers["www-authenticate"], "Bearer");
        assert!(!reply.body.to_string().contains(TOKEN));
    }
    assert_eq!(house.call("get_daemon", "").await.body["warnings"], json!(["user"]));
}

#[tokio::test]
async fn the_unix_socket_needs_no_token_and_refuses_a_wrong_one() {
    let house = House::open().await;
    let who = async |headers: &[(&str, String)]| {
        request(house.unix().await, Method::POST, "/api/get_daemon", headers, "").await
    };
    assert_eq!(who(&[]).await.body["warnings"], json!(["user"]));
    check_refusal(&who(&[bearer("wrong")]).await, 401, "unauthorized");
    let mode = std::os::unix::fs::MetadataExt::mode(&house.socket().metadata().expect("the socket is there"));
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn an_agents_token_makes_the_caller_that_agent_at_every_door() -> Result<(), String> {
    let house = House::open().await;
    for id in ["a", "with-dashes-and-more_1"] {
        let id: AgentId = id.parse()?;
        let token = house.tokens.agent_token(&id);
        let expected = json!([format!("agent {id}")]);
        let over_tcp = request(house.tcp().await, Method::POST, "/api/get_daemon", &[bearer(&token)], "").await;
        assert_eq!(over_tcp.body["warnings"], expected);
        let over_unix = request(house.unix().await, Method::POST, "/api/get_daemon", &[bearer(&token)], "").await;
        assert_eq!(over_unix.body["warnings"], expected);
        // Another agent's id with this signature is nobody's token.
        let forged = token.replacen(&format!("pa1.{id}"), "pa1.other", 1);
        let reply = request(house.tcp().await, Method::POST, "/api/get_daemon", &[bearer(&forged)], "").await;
        check_refusal(&reply, 401, "unauthorized");
    }
    Ok(())
}

#[tokio::test]
async fn foreign_host_names_and_origins_are_refused() {
    let house = House::open().await;
    let address = house.address().to_owned();
    let check = async |host: &str, origin: Option<&str>, status: u16| {
        let mut headers = vec![bearer(TOKEN), ("host", host.to_owned())];
        headers.extend(origin.map(|origin| ("origin", origin.to_owned())));
        for path in ["/api/get_daemon", "/api/health"] {
            let method = if path.ends_with("health") { Method::GET } else { Method::POST };
            let reply = request(house.tcp().await, method, path, &headers, "").await;
            assert_eq!(reply.status.as_u16(), status, "{host} {origin:?} {path}");
            if status == 403 {
                check_refusal(&reply, 403, "forbidden");
                assert!(reply.body["hint"].is_string());
            }
        }
    };
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1", &address, "[::1]:6767", "paseo.example", "paseo.example:80"] {
        check(host, None, 200).await;
    }
    for host in ["evil.example", "localhost.evil.example", "evil.example:6767", "paseo.example.evil"] {
        check(host, None, 403).await;
    }
    check(&address, Some(&format!("http://{address}")), 200).await;
    check(&address, Some("https://app.example"), 200).await;
    for origin in ["https://evil.example", "null", "http://localhost:1", "https://app.example.evil", ""] {
        check(&address, Some(origin), 403).await;
    }
}

#[tokio::test]
async fn a_request_without_a_host_or_with_two_is_refused() {
    let house = House::open().await;
    for hosts in ["", "host: localhost\r\nhost: localhost\r\n", "host: \r\n"] {
        let text = format!("GET /api/health HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        let answer = raw(house.tcp().await, text.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{hosts:?}: {answer}");
    }
    let text = "GET http://evil.example/api/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = raw(house.tcp().await, text.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[tokio::test]
async fn wrong_arguments_are_named() {
    let house = House::open().await;
    for (operation, body, status, code, said) in [
        ("list_agents", r#"{"bogus": 1}"#, 400, "invalid_argument", "bogus"),
        ("list_agents", r#"{"limit": "many"}"#, 400, "invalid_argument", "limit"),
        ("get_agent_status", "", 400, "invalid_argument", "agentId"),
        ("list_agents", "[]", 400, "invalid_argument", "object"),
        ("list_agents", "7", 400, "invalid_argument", "object"),
        ("list_agents", "{", 400, "invalid_argument", "not JSON"),
        ("list_agents", "\u{0}", 400, "invalid_argument", "not JSON"),
        ("list_elephants", "{}", 501, "unsupported", "list_elephants"),
        ("delete_agent", r#"{"agentId": "a"}"#, 422, "refused", "lose"),
        ("watch_agents", "{}", 501, "unsupported", "no feed"),
        ("list_providers", "{}", 500, "internal", "inside the daemon"),
    ] {
        let reply = house.call(operation, body).await;
        check_refusal(&reply, status, code);
        let message = reply.body["message"].as_str().unwrap_or_default();
        assert!(message.contains(said), "{operation} {body}: {message}");
    }
    for body in ["", " \n", "{}", "null"] {
        assert_eq!(house.call("list_agents", body).await.body, json!({ "agents": [] }), "{body:?}");
    }
}

#[tokio::test]
async fn wrong_paths_and_methods_say_what_to_do() {
    let house = House::open().await;
    let check = async |method: Method, path: &str, status: u16| {
        let reply = request(house.tcp().await, method, path, &[bearer(TOKEN)], "").await;
        assert_eq!(reply.status.as_u16(), status, "{path}: {reply:?}");
        assert!(reply.body["hint"].is_string(), "{path}: {reply:?}");
        reply
    };
    for path in ["/", "/api", "/api/", "/api/a/b", "/ws/", "/favicon.ico"] {
        check(Method::GET, path, 404).await;
    }
    assert_eq!(check(Method::GET, "/api/list_agents", 405).await.headers["allow"], "POST");
    assert_eq!(check(Method::POST, "/api/health", 405).await.headers["allow"], "GET, HEAD");
    check(Method::PUT, "/ws", 405).await;
    assert_eq!(check(Method::GET, "/ws", 426).await.headers["upgrade"], "websocket");
    let document = request(house.tcp().await, Method::GET, "/api/openapi.json", &[bearer(TOKEN)], "").await;
    assert_eq!(document.body["openapi"], "3.1.0");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_announced_or_not() {
    let house = House::with(messages_of(1000), |_| {}).await;
    let fits = format!(r#"{{"cwd": "{}"}}"#, "x".repeat(900));
    assert_eq!(house.call("list_agents", &fits).await.status, StatusCode::OK);
    check_refusal(&house.call("list_agents", &"x".repeat(1001)).await, 413, "invalid_argument");
    let head = format!("POST /api/list_agents HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n");
    let announced = raw(house.tcp().await, format!("{head}content-length: 99999999999\r\n\r\n").as_bytes()).await;
    assert!(announced.starts_with("HTTP/1.1 413"), "{announced}");
    let chunks =
        format!("{head}transfer-encoding: chunked\r\n\r\n{}", format!("1f4\r\n{}\r\n", "x".repeat(500)).repeat(5));
    let endless = raw(house.tcp().await, chunks.as_bytes()).await;
    assert!(endless.starts_with("HTTP/1.1 413"), "{endless}");
}

#[tokio::test]
async fn a_caller_that_writes_too_much_before_it_reads_learns_why() {
    let house = House::with(messages_of(4 << 20), |_| {}).await;
    let body = "x".repeat(7 << 20);
    let text = format!(
        "POST /api/list_agents HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = raw(house.tcp().await, text.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_peer_that_does_not_go_on_is_cut() {
    let soon = std::time::Duration::from_millis(20);
    let house = House::with(Limits { head: soon, stall: soon, ..Limits::default() }, |_| {}).await;
    assert_eq!(raw(house.tcp().await, b"GET /api/hea").await, "");
    assert_eq!(raw(house.tcp().await, b"").await, "");
    let text = format!(
        "POST /api/list_agents HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 10\r\n\r\n{{"
    );
    let answer = raw(house.tcp().await, text.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn what_is_not_http_is_cut_and_others_are_served() {
    let house = House::open().await;
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"{\"jsonrpc\":\"2.0\"}\r\n\r\n", &[0xff; 4096]]
    {
        let answer = raw(house.tcp().await, bytes).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    let endless = format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(1 << 20));
    let mut io = house.tcp().await;
    // It may have been cut before it was all written.
    let _ = io.write_all(endless.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = io.read_to_end(&mut answer).await;
    assert_eq!(house.call("list_agents", "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so() {
    let house = House::with(Limits { connections: 1, ..Limits::default() }, |_| {}).await;
    let mut first = house.tcp().await;
    first.write_all(b"GET /api/health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("it reads");
    first.read_u8().await.expect("it answers");
    let reply = request(house.tcp().await, Method::GET, "/api/health", &[], "").await;
    check_refusal(&reply, 503, "unavailable");
    // Each door has its own limit: strangers at one do not lock the user out at the other.
    let reply = request(house.unix().await, Method::GET, "/api/health", &[], "").await;
    assert_eq!(reply.status, StatusCode::OK);
}

#[tokio::test]
async fn a_call_ends_when_its_caller_has_gone() {
    let house = House::open().await;
    let (held, gone) = oneshot::channel();
    *house.service.wait.lock().expect("no panic") = Some(held);
    let mut io = house.unix().await;
    let text = "POST /api/wait_for_agent HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";
    io.write_all(text.as_bytes()).await.expect("it reads");
    house.service.waiting.notified().await;
    drop(io);
    assert!(gone.await.is_err(), "the call was dropped");
}

#[tokio::test]
async fn a_pipe_within_the_process_is_trusted_unless_it_is_guarded() {
    let house = House::open().await;
    for (guarded, status) in [(false, 200), (true, 401)] {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        house.server.serve_stream(theirs, guarded);
        let reply = request(ours, Method::POST, "/api/get_daemon", &[], "").await;
        assert_eq!(reply.status.as_u16(), status, "{reply:?}");
    }
}

#[tokio::test]
async fn a_busy_port_is_a_warning_and_the_unix_socket_serves() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = other.local_addr().expect("an address").port();
    let house = House::with(Limits::default(), |doors| {
        doors.listen = Some(Listen::Tcp { host: "127.0.0.1".to_owned(), port });
    })
    .await;
    let [warning] = house.server.warnings.as_slice() else { panic!("{:?}", house.server.warnings) };
    assert!(warning.contains(&format!("127.0.0.1:{port}: another program listens there")), "{warning}");
    assert_eq!(house.server.listen, [format!("unix:{}", house.socket().display())]);
    let reply = request(house.unix().await, Method::GET, "/api/health", &[], "").await;
    assert_eq!(reply.status, StatusCode::OK);
}

#[tokio::test]
async fn a_socket_of_a_daemon_that_died_is_replaced_and_any_other_file_is_not() {
    let house = House::with(Limits::default(), |doors| {
        drop(std::os::unix::net::UnixListener::bind(&doors.socket).expect("a stale socket"));
    })
    .await;
    assert_eq!(request(house.unix().await, Method::GET, "/api/health", &[], "").await.status, StatusCode::OK);

    // Another daemon's socket that is alive, and a file: warnings, and both stay.
    let taken = house.socket();
    let second = House::with(Limits::default(), |doors| doors.listen = Some(Listen::Unix(taken.clone()))).await;
    assert!(second.server.warnings[0].contains("another program listens there"), "{:?}", second.server.warnings);
    let file = second.directory.path().join("notes");
    std::fs::write(&file, "mine").expect("a file");
    let third = House::with(Limits::default(), |doors| doors.listen = Some(Listen::Unix(file.clone()))).await;
    assert!(third.server.warnings[0].contains("no socket"), "{:?}", third.server.warnings);
    assert_eq!(std::fs::read_to_string(&file).ok().as_deref(), Some("mine"));
    assert_eq!(request(house.unix().await, Method::GET, "/api/health", &[], "").await.status, StatusCode::OK);

    house.server.shutdown().await;
    assert!(!taken.exists(), "a server that stops takes its socket with it");
}

#[tokio::test]
async fn a_socket_path_that_is_too_long_is_explained() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let deep = directory.path().join("x".repeat(120));
    std::fs::create_dir(&deep).expect("a directory");
    let doors = paseo_daemon::server::Doors {
        listen: None,
        socket: deep.join("paseo.sock"),
        tokens: paseo_daemon::token::Tokens::new(TOKEN, "a secret"),
        hosts: Vec::new(),
        origins: Vec::new(),
        limits: Limits::default(),
    };
    let service = std::sync::Arc::new(super::canned::Canned::default());
    let error = paseo_daemon::server::Server::start(service, doors).await.err().expect("it is too long");
    assert!(error.to_string().contains("choose a shorter home"), "{error}");
}

#[tokio::test]
async fn the_openapi_document_lists_every_operation() {
    let house = House::open().await;
    let document = request(house.unix().await, Method::GET, "/api/openapi.json", &[], "").await.body;
    for (name, _) in paseo_sdk::catalogue::OPERATIONS {
        assert!(document["paths"][format!("/api/{name}")]["post"].is_object(), "{name}");
    }
    assert!(matches!(document["paths"]["/api/health"]["get"], Value::Object(_)));
}

#[tokio::test]
async fn how_far_a_call_is_is_said_to_nobody_over_http() {
    let house = House::open().await;
    let mut makings = house.service.makings();
    let make = async {
        let making = makings.recv().await.expect("the call arrives");
        assert!(!making.reporter.is_heard());
        making.reporter.report(Progress::new("checkout"));
    };
    let (reply, ()) = tokio::join!(house.call("create_worktree", "{}"), make);
    check_refusal(&reply, 409, "conflict");
}
