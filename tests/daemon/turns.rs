//! What turns do: run, ask, queue, stop, fail.

use paseo_sdk::Code;
use paseo_sdk::catalogue::{
    ArchiveAgent, CancelAgent, CreateAgent, CreateWorktree, DeleteAgent, GetAgentStatus, ListAgents,
    ListPendingPermissions, RespondToPermission, SendAgentPrompt, UpdateAgent, WaitForAgent, WaitMode, WhenBusy,
};
use paseo_sdk::item::{Happening, ToolStatus};
use paseo_sdk::model::{Behavior, Outcome, Status, WaitOutcome};

use crate::lab::{Lab, calls, processes_in, timeline};

fn respond(agent: &paseo_sdk::model::AgentId, request: &str, behavior: Behavior) -> RespondToPermission {
    RespondToPermission {
        agent_id: agent.into(),
        request_id: request.into(),
        behavior,
        option_id: None,
        message: None,
        updated_input: None,
        interrupt: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_runs_and_its_exit_code_is_the_outcome() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let good = client.create_agent(lab.script("echo out; pwd")).await.expect("it runs");
    assert_eq!((good.outcome, good.status), (Some(WaitOutcome::Completed), Status::Idle));
    assert_eq!(good.last_message, Some(format!("out\n{}", lab.work().display())));
    let bad = client.create_agent(lab.script("echo before; exit 3")).await.expect("it runs");
    assert_eq!((bad.outcome, bad.status), (Some(WaitOutcome::Error), Status::Error));
    assert_eq!(bad.reason.as_deref(), Some("exit code 3"));
    let entries = timeline(&client, &bad.agent_id).await;
    let call = calls(&entries)[0];
    assert_eq!((call.status, call.exit_code, call.output.as_deref()), (ToolStatus::Failed, Some(3), Some("before\n")));
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mode_default_the_agent_asks_and_does_what_it_is_told() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let asking = client.create_agent(lab.asking("touch ran; echo yes")).await.expect("it asks");
    assert_eq!((asking.outcome, asking.status), (Some(WaitOutcome::Permission), Status::Waiting));
    let pending = client.list_pending_permissions(ListPendingPermissions::default()).await.expect("a list").permissions;
    assert_eq!(pending, asking.permissions);
    assert_eq!(pending[0].input["command"], "touch ran; echo yes");
    assert!(!lab.work().join("ran").exists(), "it has not run yet");
    let request = pending[0].request_id.as_str();

    client.respond_to_permission(respond(&asking.agent_id, request, Behavior::Allow)).await.expect("the first answer");
    client
        .respond_to_permission(respond(&asking.agent_id, request, Behavior::Allow))
        .await
        .expect("the same answer again");
    let late = client.respond_to_permission(respond(&asking.agent_id, request, Behavior::Deny)).await;
    assert_eq!(late.expect_err("the second answer").code, Code::Conflict);
    let done = client.wait_for_agent(WaitForAgent::one(&asking.agent_id)).await.expect("it ends");
    assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("yes")));
    assert!(lab.work().join("ran").exists());

    let denied = client.create_agent(lab.asking("touch never")).await.expect("it asks");
    let deny = respond(&denied.agent_id, denied.permissions[0].request_id.as_str(), Behavior::Deny);
    client
        .respond_to_permission(RespondToPermission { message: Some("not today".into()), ..deny })
        .await
        .expect("an answer");
    let done = client.wait_for_agent(WaitForAgent::one(&denied.agent_id)).await.expect("it ends");
    assert_eq!(done.outcome, Some(WaitOutcome::Interrupted));
    assert_eq!(done.reason.as_deref(), Some("the script was not allowed to run: not today"));
    assert!(!lab.work().join("never").exists());

    let edited = client.create_agent(lab.asking("echo original")).await.expect("it asks");
    let allow = respond(&edited.agent_id, edited.permissions[0].request_id.as_str(), Behavior::Allow);
    let updated_input = Some(serde_json::json!({ "command": "echo edited" }));
    client.respond_to_permission(RespondToPermission { updated_input, ..allow }).await.expect("an answer");
    let done = client.wait_for_agent(WaitForAgent::one(&edited.agent_id)).await.expect("it ends");
    assert_eq!(done.last_message.as_deref(), Some("edited"));
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_wait_for_the_turn_that_runs() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let first = client
        .create_agent(lab.script("echo first; until test -e go; do sleep 0.03; done").in_background())
        .await
        .expect("it starts");
    let agent = &first.agent_id;
    let second =
        client.send_agent_prompt(SendAgentPrompt::new(agent, "echo second").in_background()).await.expect("queued");
    let third =
        client.send_agent_prompt(SendAgentPrompt::new(agent, "echo third").in_background()).await.expect("queued");
    let now = client.get_agent_status(GetAgentStatus { agent_id: agent.into() }).await.expect("a status");
    let queued: Vec<_> = now.queued.iter().cloned().map(Some).collect();
    assert!(queued.ends_with(&[second.prompt_id.clone(), third.prompt_id.clone()]), "{queued:?}");
    std::fs::write(lab.work().join("go"), "").expect("go");
    let wait = WaitForAgent { prompt_id: second.prompt_id.clone(), ..WaitForAgent::one(agent) };
    assert_eq!(client.wait_for_agent(wait).await.expect("it ends").last_message.as_deref(), Some("second"));
    let done = client.wait_for_agent(WaitForAgent::one(agent)).await.expect("all ends");
    assert_eq!(done.last_message.as_deref(), Some("third"));
    let outputs: Vec<_> = calls(&timeline(&client, agent).await).iter().map(|call| call.output.clone()).collect();
    assert_eq!(outputs, ["first\n", "second\n", "third\n"].map(|text| Some(text.to_owned())));
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_can_interrupt_the_turn_that_runs() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let agent = client
        .create_agent(lab.script("echo long; exec sleep 1000").in_background())
        .await
        .expect("it starts")
        .agent_id;
    super::watching::until_text(&client, &agent, "long").await;
    let queued =
        client.send_agent_prompt(SendAgentPrompt::new(&agent, "echo queued").in_background()).await.expect("queued");
    let urgent = SendAgentPrompt { when_busy: WhenBusy::Interrupt, ..SendAgentPrompt::new(&agent, "echo urgent") };
    let urgent = client.send_agent_prompt(urgent).await.expect("it runs");
    assert_eq!((urgent.outcome, urgent.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("urgent")));
    let wait = WaitForAgent { prompt_id: queued.prompt_id, ..WaitForAgent::one(&agent) };
    assert_eq!(client.wait_for_agent(wait).await.expect("it runs after").last_message.as_deref(), Some("queued"));
    let outcomes: Vec<_> = timeline(&client, &agent)
        .await
        .iter()
        .filter_map(|entry| match entry.what {
            Happening::TurnEnded { outcome, .. } => Some(outcome),
            _ => None,
        })
        .collect();
    assert_eq!(outcomes, [Outcome::Interrupted, Outcome::Completed, Outcome::Completed]);
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_script_leaves_nothing_whatever_it_did_to_stay() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let stubborn = "trap '' TERM INT HUP
        (setsid sh -c 'trap \"\" TERM; while :; do sleep 1000; done' >/dev/null 2>&1 &)
        (sh -c 'trap \"\" TERM; sleep 1001 & sleep 1002' &)
        echo ready
        while :; do sleep 1003; done";
    let agent = client.create_agent(lab.script(stubborn).in_background()).await.expect("it starts").agent_id;
    let queued =
        client.send_agent_prompt(SendAgentPrompt::new(&agent, "touch never").in_background()).await.expect("queued");
    super::watching::until_text(&client, &agent, "ready").await;
    assert!(processes_in(&lab.work()).len() >= 5, "it runs");
    let stopped = client.cancel_agent(CancelAgent { agent_id: (&agent).into() }).await.expect("it stops");
    assert_eq!((stopped.status, stopped.turn, stopped.queued), (Status::Interrupted, None, Vec::new()));
    let wait = WaitForAgent { prompt_id: queued.prompt_id, ..WaitForAgent::one(&agent) };
    let withdrawn = client.wait_for_agent(wait).await.expect("it was withdrawn");
    assert_eq!(withdrawn.outcome, Some(WaitOutcome::Interrupted));
    let archived = client.archive_agent(ArchiveAgent { agent_id: (&agent).into() }).await.expect("it goes");
    assert_eq!((archived.status, archived.pid), (Status::Archived, None));
    assert_eq!(processes_in(&lab.work()), Vec::<String>::new());
    assert!(!lab.work().join("never").exists());
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_ids_do_the_same_thing_once() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let request = || CreateAgent {
        agent_id: Some("mine".parse().expect("an id")),
        prompt_id: Some("first".parse().expect("an id")),
        ..lab.script("echo once >> count")
    };
    let one = client.create_agent(request()).await.expect("it runs");
    let two = client.create_agent(request()).await.expect("the same answer");
    assert_eq!(one, two);
    let other = client.create_agent(CreateAgent { title: "another".into(), ..request() }).await;
    assert_eq!(other.expect_err("another request").code, Code::Conflict);
    let prompt = || SendAgentPrompt {
        prompt_id: Some("p".parse().expect("an id")),
        ..SendAgentPrompt::new("mine", "echo twice >> count")
    };
    client.send_agent_prompt(prompt()).await.expect("it runs");
    client.send_agent_prompt(prompt()).await.expect("the same answer");
    let other = client.send_agent_prompt(SendAgentPrompt { prompt: "echo x".into(), ..prompt() }).await;
    assert_eq!(other.expect_err("another prompt").code, Code::Conflict);
    assert_eq!(std::fs::read_to_string(lab.work().join("count")).expect("it ran"), "once\ntwice\n");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_are_for_one_any_or_all() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let slow = client.create_agent(lab.script("exec sleep 1000").in_background()).await.expect("it starts").agent_id;
    let quick = client.create_agent(lab.script("echo quick").in_background()).await.expect("it starts").agent_id;
    let both =
        |mode| WaitForAgent { agent_ids: vec![(&slow).into(), (&quick).into()], mode, ..WaitForAgent::default() };
    let any = client.wait_for_agent(both(WaitMode::Any)).await.expect("one is there");
    assert_eq!((&any.agent_id, any.outcome, any.agents.len()), (&quick, Some(WaitOutcome::Completed), 2));
    let short = WaitForAgent { timeout: Some("20ms".parse().expect("a duration")), ..both(WaitMode::All) };
    assert_eq!(client.wait_for_agent(short).await.expect("an answer").outcome, Some(WaitOutcome::TimedOut));
    let asking = client.create_agent(lab.asking("echo ask").in_background()).await.expect("it starts").agent_id;
    let all = WaitForAgent { agent_ids: vec![(&slow).into(), (&asking).into()], ..WaitForAgent::default() };
    let all = client.wait_for_agent(all).await.expect("it asks");
    assert_eq!((&all.agent_id, all.outcome), (&asking, Some(WaitOutcome::Permission)));
    let unknown = WaitForAgent { prompt_id: Some("nobody".parse().expect("an id")), ..WaitForAgent::one(&slow) };
    assert_eq!(client.wait_for_agent(unknown).await.expect_err("it would never end").code, Code::NotFound);
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_end_when_an_agent_is_deleted() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let sleeping = || async {
        let task = lab.script("echo asleep; exec sleep 1000").in_background();
        let agent = client.create_agent(task).await.expect("it starts");
        super::watching::until_text(&client, &agent.agent_id, "asleep").await;
        agent
    };
    let (gone, other) = (sleeping().await, sleeping().await);
    let several = |mode| {
        let agent_ids = vec![(&gone.agent_id).into(), (&other.agent_id).into()];
        client.wait_for_agent(WaitForAgent { agent_ids, mode, ..WaitForAgent::default() })
    };
    let prompt = WaitForAgent { prompt_id: gone.prompt_id.clone(), ..WaitForAgent::one(&gone.agent_id) };
    let all = several(WaitMode::All);
    let (one, prompt, any, deleted) = tokio::join!(
        client.wait_for_agent(WaitForAgent::one(&gone.agent_id)),
        client.wait_for_agent(prompt),
        several(WaitMode::Any),
        client.delete_agent(DeleteAgent { agent_id: (&gone.agent_id).into() }),
    );
    deleted.expect("it is deleted");
    for answer in [one, prompt, any] {
        // Whoever asked too late is told that there is no such agent.
        match answer {
            Ok(answer) => {
                assert_eq!((answer.agent_id, answer.outcome), (gone.agent_id.clone(), Some(WaitOutcome::Interrupted)));
            }
            Err(error) => assert_eq!(error.code, Code::NotFound),
        }
    }
    client.delete_agent(DeleteAgent { agent_id: (&other.agent_id).into() }).await.expect("it is deleted");
    assert_eq!(all.await.expect_err("neither is there").code, Code::NotFound);
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_deleted_while_it_starts_leaves_nothing() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    for _ in 0..5 {
        let agent = client.create_agent(lab.script("exec sleep 1000").in_background()).await.expect("it starts");
        let agent_id = &agent.agent_id;
        let (_, deleted) = tokio::join!(
            client.send_agent_prompt(SendAgentPrompt::new(agent_id, "exec sleep 1001").in_background()),
            client.delete_agent(DeleteAgent { agent_id: agent_id.into() }),
        );
        deleted.expect("it is deleted");
        assert_eq!(processes_in(&lab.work()), Vec::<String>::new(), "nothing runs");
        assert!(!lab.home().join(format!("agents/{agent_id}")).exists(), "no file is left");
    }
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_listed_renamed_archived_brought_back_and_deleted() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let one = client.create_agent(lab.script("echo one")).await.expect("it runs").agent_id;
    let two = client.create_agent(lab.script("echo two")).await.expect("it runs").agent_id;
    let ids = |agents: paseo_sdk::catalogue::Agents| {
        agents.agents.into_iter().map(|agent| agent.agent_id).collect::<Vec<_>>()
    };
    let listed = client.list_agents(ListAgents::default()).await.expect("a list");
    assert_eq!(ids(listed), [two.clone(), one.clone()], "the newest first");
    let first = client.list_agents(ListAgents { limit: Some(1), ..ListAgents::default() }).await.expect("a page");
    let rest = ListAgents { cursor: first.next_cursor.clone(), ..ListAgents::default() };
    assert_eq!(
        (ids(first), ids(client.list_agents(rest).await.expect("a page"))),
        (vec![two.clone()], vec![one.clone()])
    );

    let labels = [("team".to_owned(), "blue".to_owned())].into();
    let update = UpdateAgent { agent_id: (&one).into(), title: Some("renamed".into()), labels, model: None };
    assert_eq!(client.update_agent(update).await.expect("it is changed").title, "renamed");
    let by_title =
        client.get_agent_status(GetAgentStatus { agent_id: "renamed".into() }).await.expect("found by its title");
    assert_eq!(by_title.agent_id, one);
    let short: String = one.as_str().chars().take(12).collect();
    let by_prefix =
        client.get_agent_status(GetAgentStatus { agent_id: short.into() }).await.expect("found by a prefix");
    assert_eq!(by_prefix.agent_id, one);
    let labelled = ListAgents { labels: [("team".to_owned(), "blue".to_owned())].into(), ..ListAgents::default() };
    assert_eq!(ids(client.list_agents(labelled).await.expect("a list")), std::slice::from_ref(&one));

    client.archive_agent(ArchiveAgent { agent_id: (&one).into() }).await.expect("it goes");
    assert_eq!(ids(client.list_agents(ListAgents::default()).await.expect("a list")), std::slice::from_ref(&two));
    assert!(!timeline(&client, &one).await.is_empty(), "its history stays");
    let back = client.send_agent_prompt(SendAgentPrompt::new(&one, "echo back")).await.expect("it comes back");
    assert_eq!((back.status, back.last_message.as_deref()), (Status::Idle, Some("back")));

    client.delete_agent(DeleteAgent { agent_id: (&two).into() }).await.expect("it is deleted");
    let gone = client.get_agent_status(GetAgentStatus { agent_id: (&two).into() }).await;
    assert_eq!(gone.expect_err("it is gone").code, Code::NotFound);
    assert!(!lab.home().join(format!("agents/{two}")).exists());
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_works_in_a_worktree_of_its_own() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let git = "git init -q -b main && git -c user.name=t -c user.email=t@t commit -q --allow-empty -m first";
    client.create_agent(lab.script(git)).await.expect("a repository");
    let task = lab
        .script("pwd; git branch --show-current; echo work > file")
        .worktree(CreateWorktree::branch_off("fix/it", "main"));
    let done = client.create_agent(task).await.expect("it runs");
    let agent = client.get_agent_status(GetAgentStatus { agent_id: (&done.agent_id).into() }).await.expect("a status");
    let worktree = agent.worktree.expect("a worktree");
    assert!(worktree.worktree_path.starts_with(&lab.home().display().to_string()), "{worktree:?}");
    assert_eq!(done.last_message, Some(format!("{}\nfix/it", worktree.worktree_path)));
    assert!(std::path::Path::new(&worktree.worktree_path).join("file").exists());
    let list = paseo_sdk::catalogue::ListWorktrees { cwd: Some(lab.work().display().to_string()), all: false };
    let listed = client.list_worktrees(list).await.expect("a list").worktrees;
    assert_eq!((listed.len(), &listed[0].agents, listed[0].dirty), (1, &vec![done.agent_id.clone()], true));

    // The main checkout stands for the whole repository, a directory in it and a worktree for themselves.
    let beside = lab.script("pwd").cwd(worktree.worktree_path.clone());
    let beside = client.create_agent(beside).await.expect("it runs").agent_id;
    std::fs::create_dir(lab.work().join("below")).expect("a directory");
    let at = async |cwd: String| {
        let list = ListAgents { cwd: Some(cwd), ..ListAgents::default() };
        let agents = client.list_agents(list).await.expect("a list").agents;
        agents.into_iter().map(|agent| agent.agent_id).collect::<Vec<_>>()
    };
    assert_eq!(at(lab.work().display().to_string()).await.len(), 3);
    assert_eq!(at(worktree.worktree_path.clone()).await, [beside.clone(), done.agent_id.clone()]);
    assert!(at(lab.work().join("below").display().to_string()).await.is_empty());
    let list = paseo_sdk::catalogue::ListWorktrees { cwd: Some(lab.work().display().to_string()), all: false };
    let listed = client.list_worktrees(list).await.expect("a list").worktrees;
    assert!(listed[0].agents.contains(&beside), "whoever works there is there");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_knows_who_it_is_and_gets_its_own_environment() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let mut task = lab.script(
        r#"test "$GREETING" = "a secret greeting" && test -n "$PASEO_AGENT_TOKEN" && test -z "$PASEO_RUN_DIR" && echo "$PASEO_AGENT_ID""#,
    );
    task.env.insert("GREETING".to_owned(), "a secret greeting".to_owned());
    let done = client.create_agent(task).await.expect("it runs");
    assert_eq!(done.outcome, Some(WaitOutcome::Completed));
    assert_eq!(done.last_message, Some(done.agent_id.to_string()));
    let record = std::fs::read_to_string(lab.home().join(format!("agents/{}.json", done.agent_id))).expect("a record");
    assert!(!record.contains("secret greeting"), "values are not in the record");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_title_means_the_agent_that_is_not_archived() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let status = async || client.get_agent_status(GetAgentStatus { agent_id: "a test".into() }).await;
    let old = client.create_agent(lab.script("true")).await.expect("it runs").agent_id;
    client.archive_agent(ArchiveAgent { agent_id: (&old).into() }).await.expect("it goes");
    assert_eq!(status().await.expect("there is one").agent_id, old);
    let new = client.create_agent(lab.script("true")).await.expect("it runs").agent_id;
    assert_eq!(status().await.expect("there is one at work").agent_id, new);
    let other = client.create_agent(lab.script("true")).await.expect("it runs").agent_id;
    let ambiguous = status().await.expect_err("there are two at work");
    assert_eq!(ambiguous.message, "agentId: 3 agents are called `a test`");
    for agent in [&new, &other] {
        client.archive_agent(ArchiveAgent { agent_id: agent.into() }).await.expect("it goes");
    }
    status().await.expect_err("none of the three is more current than the others");
    lab.end(&client).await;
}
