//! Agents that wait for each other: the wait that would never end is refused, and no other.

use paseo_daemon::Daemon;
use paseo_daemon::config::{Config, Scope};
use paseo_sdk::catalogue::{AgentOutcome, GetAgentStatus, SendAgentPrompt, WaitForAgent, WaitMode, WhenBusy};
use paseo_sdk::model::{AgentId, Status, WaitOutcome};
use paseo_sdk::{ApiError, Client, Code};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::watching::until_text;
use super::worktrees::inside;
use crate::lab::Lab;

/// Starts an agent whose turn goes on until [`let_go`].
async fn busy(lab: &Lab, client: &Client, name: &str) -> AgentId {
    lab.fifo(name);
    let mut task = lab.script(&format!("echo ready; read word < {name}")).in_background();
    task.title = format!("task {name}");
    let agent = client.create_agent(task).await.expect("it starts").agent_id;
    until_text(client, &agent, "ready").await;
    agent
}

fn let_go(lab: &Lab, name: &str) {
    std::fs::write(lab.work().join(name), "go\n").expect("somebody reads");
}

/// All these waits at once.
struct Waits(JoinSet<Result<AgentOutcome, ApiError>>);

impl Waits {
    fn begin(lab: &Lab, waits: impl IntoIterator<Item = (AgentId, WaitForAgent)>) -> Waits {
        let mut all = JoinSet::new();
        for (waiter, wait) in waits {
            let client = inside(lab, &waiter);
            all.spawn(async move { client.wait_for_agent(wait).await });
        }
        Waits(all)
    }

    async fn next(&mut self) -> Result<AgentOutcome, ApiError> {
        self.0.join_next().await.expect("one is left").expect("no panic")
    }

    async fn refused(&mut self) -> ApiError {
        let refused = self.next().await.expect_err("one would never end");
        assert_eq!(refused.code, Code::Conflict, "{refused}");
        assert!(refused.hint.as_deref().is_some_and(|hint| hint.contains("timeout")), "{refused:?}");
        refused
    }
}

/// Who is named by a refusal, in order.
fn chain(refused: &ApiError) -> Vec<Value> {
    let details = refused.details.as_ref().expect("details");
    details["chain"].as_array().expect("a chain").iter().map(|agent| agent["agentId"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_agents_that_wait_for_each_other_in_a_ring_one_is_refused_and_the_others_go_on() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let (a, b, c) = (busy(&lab, &client, "a").await, busy(&lab, &client, "b").await, busy(&lab, &client, "c").await);
    let one = |waiter: &AgentId, target: &AgentId| (waiter.clone(), WaitForAgent::one(target));

    let mut two = Waits::begin(&lab, [one(&a, &b), one(&b, &a)]);
    let refused = two.refused().await;
    let (other, title, waiter) = match refused.message.contains("task a") {
        true => (&a, "task a", &b),
        false => (&b, "task b", &a),
    };
    let expected = format!("agent {other} “{title}” waits for this agent, so this wait would never end");
    assert_eq!(refused.message, expected);
    assert_eq!(chain(&refused), [json!(other), json!(waiter)]);
    drop(two);

    let (d, e, f) = (busy(&lab, &client, "d").await, busy(&lab, &client, "e").await, busy(&lab, &client, "f").await);
    let mut ring = Waits::begin(&lab, [one(&d, &e), one(&e, &f), one(&f, &d)]);
    let refused = ring.refused().await;
    assert_eq!(chain(&refused).len(), 3, "{refused:?}");
    assert!(refused.message.contains(", which waits for this agent, so"), "{refused}");
    for name in ["a", "b", "c", "d", "e", "f"] {
        let_go(&lab, name);
    }
    for _ in 0..2 {
        assert_eq!(ring.next().await.expect("it goes on").outcome, Some(WaitOutcome::Completed));
    }
    client.wait_for_agent(WaitForAgent::one(&c)).await.expect("it has ended");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_any_is_refused_only_when_none_of_them_can_end() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let (a, b, c) = (busy(&lab, &client, "a").await, busy(&lab, &client, "b").await, busy(&lab, &client, "c").await);
    let several = |mode, targets: [&AgentId; 2]| WaitForAgent {
        agent_ids: targets.into_iter().map(Into::into).collect(),
        mode,
        ..WaitForAgent::default()
    };
    // Two of these can be entered, in whatever order, and the third one closes both ways.
    let any = (a.clone(), several(WaitMode::Any, [&b, &c]));
    let mut waits = Waits::begin(&lab, [any, (b.clone(), WaitForAgent::one(&a)), (c.clone(), WaitForAgent::one(&a))]);
    waits.refused().await;
    // Of all of them, one that waits back is enough, and oneself is.
    let all = inside(&lab, &a).wait_for_agent(several(WaitMode::All, [&a, &b])).await;
    assert_eq!(all.expect_err("itself").code, Code::Conflict);
    for name in ["b", "c", "a"] {
        let_go(&lab, name);
    }
    for _ in 0..2 {
        assert_eq!(waits.next().await.expect("it goes on").outcome, Some(WaitOutcome::Completed));
    }
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_cannot_wait_for_itself_and_is_told_what_became_of_its_prompt() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let a = busy(&lab, &client, "a").await;
    let own = inside(&lab, &a);
    let status = async || client.get_agent_status(GetAgentStatus { agent_id: (&a).into() }).await.expect("a status");
    let running = status().await.turn.expect("a turn").prompt_id;
    for prompt_id in [None, running] {
        let refused = own.wait_for_agent(WaitForAgent { prompt_id, ..WaitForAgent::one(&a) }).await;
        let refused = refused.expect_err("it would never end");
        assert_eq!((&refused.code, chain(&refused)), (&Code::Conflict, vec![json!(a)]), "{refused}");
        assert!(!refused.message.contains("accepted"), "{refused}");
    }
    // One call of the daemon accepts nothing that it would refuse to wait for.
    let refused =
        post(&lab, &own_token(&lab, &a), "send_agent_prompt", &json!({ "agentId": a, "prompt": "true" })).await;
    assert!(refused.starts_with("HTTP/1.1 409") && !refused.contains("accepted"), "{refused}");
    assert!(status().await.queued.is_empty());
    // The client makes two of it.
    let refused = own.send_agent_prompt(SendAgentPrompt::new(&a, "echo later")).await.expect_err("it would never end");
    let queued = status().await.queued;
    assert!(refused.message.ends_with(&format!("; prompt {} is accepted and stays queued", queued[0])), "{refused}");
    // Somebody who is no agent waits for whatever they like, and so does an agent that says for how long.
    let short = WaitForAgent { timeout: Some("20ms".parse().expect("a duration")), ..WaitForAgent::one(&a) };
    assert_eq!(own.wait_for_agent(short).await.expect("an answer").outcome, Some(WaitOutcome::TimedOut));
    let_go(&lab, "a");
    let done = client.wait_for_agent(WaitForAgent::one(&a)).await.expect("an answer");
    assert_eq!(done.last_message.as_deref(), Some("later"));
    // Outside of a turn nobody is held up, and what is over is over.
    assert_eq!(
        own.wait_for_agent(WaitForAgent::one(&a)).await.expect("an answer").outcome,
        Some(WaitOutcome::Completed)
    );
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_cannot_wait_for_the_parent_that_waits_for_it() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let parent = busy(&lab, &client, "parent").await;
    lab.fifo("child");
    let task = json!({
        "title": "child", "provider": "shell", "agentId": "child",
        "initialPrompt": "echo ready; read word < child; echo done",
    });
    let token = own_token(&lab, &parent);
    let answer = post(&lab, &token, "create_agent", &task);
    let child = async {
        let mut agents = client.watch(paseo_sdk::catalogue::WatchAgents::default());
        while client.get_agent_status(GetAgentStatus { agent_id: "child".into() }).await.is_err() {
            agents.next().await.expect("an event").expect("an event");
        }
        let child: AgentId = "child".parse().expect("an id");
        until_text(&client, &child, "ready").await;
        let refused =
            inside(&lab, &child).wait_for_agent(WaitForAgent::one(&parent)).await.expect_err("its parent waits");
        assert_eq!(chain(&refused), [json!(parent), json!(child)]);
        assert!(
            refused.message.starts_with(&format!("agent {parent} “task parent” waits for this agent")),
            "{refused}"
        );
        let_go(&lab, "child");
    };
    let (answer, ()) = tokio::join!(answer, child);
    assert!(answer.contains(r#""outcome":"completed""#), "{answer}");
    let_go(&lab, "parent");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_was_given_up_or_whose_turn_is_stopped_holds_nobody_up() {
    let lab = Lab::new();
    let config = Config { scope: Scope::All, ..lab.config() };
    let daemon = Daemon::start(config).await.expect("a daemon");
    let client = daemon.client();
    let (a, b) = (busy(&lab, &client, "a").await, busy(&lab, &client, "b").await);
    // Whichever comes second is refused, so the first is there; and then it is given up.
    let pair = [(a.clone(), WaitForAgent::one(&b)), (b.clone(), WaitForAgent::one(&a))];
    let mut both = Waits::begin(&lab, pair);
    both.refused().await;
    drop(both);
    let own = inside(&lab, &a);
    loop {
        let mut wait = std::pin::pin!(own.wait_for_agent(WaitForAgent::one(&b)));
        let meanwhile = async {
            for _ in 0..5 {
                let seen = client.get_agent_status(GetAgentStatus { agent_id: (&b).into() }).await;
                assert_eq!(seen.expect("a status").status, Status::Running);
            }
        };
        tokio::select! {
            refused = &mut wait => assert_eq!(refused.expect_err("it is still there").code, Code::Conflict),
            () = meanwhile => {
                // Now it waits. Its turn is ended by the very one that it waits for, who is not refused.
                let interrupt = SendAgentPrompt { when_busy: WhenBusy::Interrupt, ..SendAgentPrompt::new(&a, "echo anew") };
                let done = inside(&lab, &b).send_agent_prompt(interrupt).await.expect("it is not refused");
                assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("anew")));
                let_go(&lab, "b");
                assert_eq!(wait.await.expect("an answer").outcome, Some(WaitOutcome::Completed));
                break;
            }
        }
    }
    lab.end(&client).await;
}

fn own_token(lab: &Lab, agent: &AgentId) -> String {
    let secret = std::fs::read_to_string(lab.home().join("secret")).expect("a secret");
    paseo_daemon::token::Tokens::new("", secret.trim()).agent_token(agent)
}

/// Makes one request by hand, as programs do that have no client; returns the whole reply.
async fn post(lab: &Lab, token: &str, operation: &str, params: &Value) -> String {
    let mut stream = tokio::net::UnixStream::connect(lab.home().join("paseo.sock")).await.expect("a connection");
    let body = params.to_string();
    let request = format!(
        "POST /api/{operation} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.expect("a reply");
    reply
}
