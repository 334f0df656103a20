//! Watches: across cuts, with slow readers, and how they end.

use paseo_sdk::catalogue::{WatchAgents, WatchFrom};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::model::Event;
use serde_json::json;

use super::stage::{Plan, Watching, agent, all, entries, follow, stage, watched, watching};

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_after_a_cut_without_gap_or_duplicate() {
    let (client, mut daemon) = stage();
    let mut watch = Watching::begin(client.watch(follow("a title")));
    let mut peer = daemon.accept().await;
    let call = peer.call().await;
    assert_eq!(call.params, json!({"agents": [{"agentId": "a title", "after": 0}]}));
    // An event may overtake the answer.
    peer.entry(3).await;
    peer.answer(&call, watching(1..=2, 3)).await;
    assert_eq!(watch.seqs(3).await, [1, 2, 3]);
    drop(peer);
    let mut peer = daemon.accept().await;
    let call = peer.call().await;
    assert_eq!(call.params, json!({"agents": [{"agentId": "a1", "after": 3}]}));
    peer.answer(&call, watching(3..=4, 7)).await;
    peer.entry(4).await;
    peer.entry(7).await;
    let ask = peer.call().await;
    assert_eq!(
        (ask.method.as_str(), &ask.params["agentId"], &ask.params["after"]),
        ("get_agent_timeline", &json!("a1"), &json!(4))
    );
    drop(peer);
    let mut peer = daemon.accept().await;
    let call = peer.call().await;
    assert_eq!(call.params["agents"][0]["after"], 4);
    peer.answer(&call, watching(5..=5, 9)).await;
    peer.entry(9).await;
    let ask = peer.call().await;
    peer.answer(&ask, json!({"entries": entries(6..=8), "more": true, "lastSeq": 9})).await;
    assert_eq!(watch.seqs(6).await, [4, 5, 6, 7, 8, 9]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_a_watch_misses_nothing_and_holds_up_no_calls() {
    let (client, mut daemon) = stage();
    let mut watch = client.watch(follow("a1"));
    let first = tokio::spawn(async move {
        let event = watch.next().await;
        (watch, event)
    });
    let mut peer = daemon.accept().await;
    let call = peer.call().await;
    peer.answer(&call, watching(1..=1, 1)).await;
    let (watch, event) = first.await.expect("the watch does not panic");
    assert!(matches!(event, Some(Ok(Event::AgentEntry { .. }))), "{event:?}");
    let flood = tokio::spawn(async move {
        for seq in 2..=2000 {
            peer.entry(seq).await;
        }
        peer
    });
    let listing = tokio::spawn(async move { client.list_agents(all()).await });
    let mut other = daemon.accept().await;
    let call = other.call().await;
    other.answer(&call, json!({"agents": []})).await;
    assert!(listing.await.expect("calls do not panic").is_ok());
    let mut watch = Watching::begin(watch);
    assert_eq!(watch.seqs(1999).await, (2..=2000).collect::<Vec<_>>());
    flood.await.expect("everything is taken");
}

#[tokio::test(start_paused = true)]
async fn an_agent_deleted_during_a_cut_does_not_end_the_watch_of_the_others() {
    let (client, mut daemon) = stage();
    let names = ["a1", "a2"].map(|name| WatchFrom { agent_id: name.into(), after: 0 });
    let mut watch = Watching::begin(client.watch(WatchAgents { agents: Some(names.to_vec()) }));
    let mut peer = daemon.accept().await;
    let call = peer.call().await;
    peer.answer(&call, json!({"agents": [watched("a1", 1..=1, 1), watched("a2", 1..=1, 1)]})).await;
    assert_eq!(watch.seqs(2).await, [1, 1]);
    drop(peer);
    let mut peer = daemon.accept().await;
    let call = peer.call().await;
    peer.refuse(&call, ApiError::new(Code::NotFound, "no agent a1")).await;
    for _ in 0..2 {
        let status = peer.call().await;
        assert_eq!(status.method, "get_agent_status");
        match status.params["agentId"] == "a1" {
            true => peer.refuse(&status, ApiError::new(Code::NotFound, "no agent a1")).await,
            false => peer.answer(&status, agent("a2", 1)).await,
        }
    }
    let call = peer.call().await;
    assert_eq!(call.params, json!({"agents": [{"agentId": "a2", "after": 1}]}));
    assert_eq!(watch.removed().await, "a1");
    peer.answer(&call, json!({"agents": [watched("a2", 2..=2, 2)]})).await;
    assert_eq!(watch.seqs(1).await, [2]);
    peer.event(json!({"method": "agent_removed", "params": {"agentId": "a2"}})).await;
    assert_eq!(watch.removed().await, "a2");
    assert!(watch.events.recv().await.is_none(), "there is nothing left to follow");
}

#[tokio::test(start_paused = true)]
async fn an_error_ends_a_watch() {
    let (client, mut daemon) = stage();
    let mut watch = client.watch(follow("nobody"));
    let watching = tokio::spawn(async move { (watch.next().await, watch.next().await) });
    let mut peer = daemon.accept().await;
    let call = peer.call().await;
    peer.refuse(&call, ApiError::new(Code::NotFound, "no agent nobody")).await;
    let (first, second) = watching.await.expect("the watch does not panic");
    assert_eq!(first, Some(Err(ApiError::new(Code::NotFound, "no agent nobody"))));
    assert_eq!(second, None);

    daemon.plan(&[Plan::Fail]);
    let error = client.watch(follow("a1")).next().await.expect("it says why").expect_err("nobody is there");
    assert_eq!(error.code, Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_understood_ends_a_watch_and_says_so() {
    let (client, mut daemon) = stage();
    let mut watch = client.watch(follow("a1"));
    let watching = tokio::spawn(async move { watch.next().await });
    let mut peer = daemon.accept().await;
    let call = peer.call().await;
    peer.answer(&call, json!({"agents": 7})).await;
    let error = watching.await.expect("the watch does not panic").expect("it says why").expect_err("it makes no sense");
    insta::assert_snapshot!(error.message, @r"the daemon's answer to `watch_agents` is not understood: invalid type: integer `7`, expected a sequence");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_watch_ends_its_connection() {
    let (client, mut daemon) = stage();
    let mut watch = client.watch(follow("a1"));
    let reading = tokio::spawn(async move {
        watch.next().await;
        watch
    });
    let mut peer = daemon.accept().await;
    let call = peer.call().await;
    peer.answer(&call, watching(1..=1, 1)).await;
    drop(reading.await.expect("the watch does not panic"));
    assert!(peer.closed().await.is_none(), "the connection just ends");
}
