//! How far calls are, as a client hears it.

use paseo_sdk::catalogue::{CreateAgent, CreateWorktree};
use paseo_sdk::client::Client;
use paseo_sdk::frame;
use paseo_sdk::model::Progress;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::stage::{all, outcome, stage};

/// Returns a client whose calls say there how far they are.
fn listening(client: &Client) -> (Client, mpsc::UnboundedReceiver<i64>) {
    let (tells, heard) = mpsc::unbounded_channel();
    let client = client.with_progress(move |progress| {
        let _ = tells.send(progress.done.expect("it is counted"));
    });
    (client, heard)
}

fn far(id: &Value, done: i64) -> String {
    frame::progress(id, &Progress { done: Some(done), ..Progress::new("checkout") })
}

fn worktree() -> Value {
    json!({"worktreePath": "/w", "worktreeSlug": "w"})
}

#[tokio::test(start_paused = true)]
async fn a_client_that_listens_hears_how_far_its_calls_are_and_no_others() {
    let (client, mut daemon) = stage();
    let (listening, mut heard) = listening(&client);
    let making = tokio::spawn(async move { listening.create_worktree(CreateWorktree::branch_off("a", "main")).await });
    let mut peer = daemon.accept().await;
    let make = peer.call().await;
    // The clients share a connection.
    let other = tokio::spawn(async move { client.create_worktree(CreateWorktree::branch_off("b", "main")).await });
    let deaf = peer.call().await;
    for done in 1..4 {
        peer.say(&far(&deaf.id, done * 10)).await;
        peer.say(&far(&json!(99), done * 100)).await;
        peer.say(&far(&make.id, done)).await;
        assert_eq!(heard.recv().await, Some(done));
    }
    peer.answer(&deaf, worktree()).await;
    peer.answer(&make, worktree()).await;
    other.await.expect("calls do not panic").expect("it is made");
    making.await.expect("calls do not panic").expect("it is made");
    assert_eq!(heard.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn what_comes_just_before_an_answer_is_heard_before_it() {
    let (client, mut daemon) = stage();
    let (listening, mut heard) = listening(&client);
    let mut making = Box::pin(listening.create_worktree(CreateWorktree::branch_off("a", "main")));
    // Polled until it is sent, and then not before its answer is there.
    let mut peer = tokio::select! {
        _ = making.as_mut() => panic!("nobody has answered"),
        peer = daemon.accept() => peer,
    };
    let make = peer.call().await;
    peer.say(&far(&make.id, 1)).await;
    peer.say(&far(&make.id, 2)).await;
    peer.answer(&make, worktree()).await;
    let answer = async {
        let list = peer.call().await;
        peer.answer(&list, json!({"agents": []})).await;
    };
    let (listed, ()) = tokio::join!(client.list_agents(all()), answer);
    listed.expect("it is answered, and what came before it has arrived");
    making.await.expect("it is made");
    assert_eq!((heard.try_recv(), heard.try_recv().is_err()), (Ok(2), true));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_repeated_after_a_cut_goes_on_saying_how_far_it_is() {
    let (client, mut daemon) = stage();
    let (listening, mut heard) = listening(&client);
    let making = tokio::spawn(async move { listening.create_worktree(CreateWorktree::branch_off("a", "main")).await });
    for done in 1..4 {
        let mut peer = daemon.accept().await;
        let make = peer.call().await;
        peer.say(&far(&make.id, done)).await;
        assert_eq!(heard.recv().await, Some(done));
        if done == 3 {
            peer.answer(&make, worktree()).await;
        }
    }
    making.await.expect("calls do not panic").expect("it is made");
}

#[tokio::test(start_paused = true)]
async fn a_blocking_call_says_how_far_both_its_parts_are() {
    let (client, mut daemon) = stage();
    let (listening, mut heard) = listening(&client);
    let creating = tokio::spawn(async move { listening.create_agent(CreateAgent::new("t", "shell", "true")).await });
    let mut peer = daemon.accept().await;
    let create = peer.call().await;
    peer.say(&far(&create.id, 1)).await;
    assert_eq!(heard.recv().await, Some(1));
    peer.answer(&create, outcome(&create.params["agentId"], Value::Null)).await;
    let wait = peer.call().await;
    assert_eq!(wait.method, "wait_for_agent");
    peer.say(&far(&wait.id, 2)).await;
    assert_eq!(heard.recv().await, Some(2));
    peer.answer(&wait, outcome(&create.params["agentId"], json!("completed"))).await;
    creating.await.expect("calls do not panic").expect("the agent completes");
}

#[tokio::test(start_paused = true)]
async fn settings_of_a_client_leave_its_listener() {
    let (client, mut daemon) = stage();
    let (listening, mut heard) = listening(&client);
    let listening = listening.token("t0ken").patience(std::time::Duration::from_secs(1));
    let making = tokio::spawn(async move { listening.call("create_worktree", json!({})).await });
    let mut peer = daemon.accept().await;
    let make = peer.call().await;
    peer.say(&far(&make.id, 1)).await;
    assert_eq!(heard.recv().await, Some(1));
    peer.answer(&make, worktree()).await;
    assert_eq!(making.await.expect("calls do not panic"), Ok(worktree()));
}
