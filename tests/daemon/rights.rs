//! What an agent may do, and what only a person may allow it.

use std::collections::BTreeMap;
use std::path::Path;

use paseo_sdk::catalogue::{
    ArchiveAgent, ArchiveWorktree, CancelAgent, CreateAgent, CreateWorktree, DeleteAgent, ListPendingPermissions,
    SendAgentPrompt, SetAgentMode, ShutdownDaemon, TrustWorktree, UpdateAgent, WaitForAgent, WhenBusy,
};
use paseo_sdk::model::{AgentId, Behavior, Mode, Permission, PermissionKind, SetupStatus, WaitOutcome};
use paseo_sdk::{ApiError, Client, Code};
use serde_json::json;

use super::watching::until;
use super::worktrees::{git, inside, repository};
use crate::conformance::stage::{answer, ended, status};
use crate::lab::Lab;

/// An agent in mode `default` that waits for permission, and its own client.
async fn timid(lab: &Lab, client: &Client) -> (AgentId, Client) {
    let agent = client.create_agent(lab.asking("true")).await.expect("it asks").agent_id;
    let inside = inside(lab, &agent);
    (agent, inside)
}

/// Returns what a person is asked because of a call, once it is.
async fn wished(client: &Client, agent: &AgentId) -> Permission {
    let is_wish = |permission: &&Permission| permission.kind == PermissionKind::Other;
    until(client, agent, |agent| agent.permissions.iter().any(|permission| is_wish(&permission))).await;
    status(client, agent).await.permissions.iter().find(is_wish).expect("it is asked").clone()
}

fn code<T: std::fmt::Debug>(result: Result<T, ApiError>) -> Code {
    result.expect_err("it is refused").code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_above_its_parents_mode_is_a_persons_to_allow() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let (parent, inside) = timid(&lab, &client).await;
    let child = CreateAgent::new("bold", "shell", "touch made").mode(Mode::FullAccess);
    let calls = (inside.clone(), child.clone());
    let call = tokio::spawn(async move { calls.0.create_agent(calls.1).await });
    let permission = wished(&client, &parent).await;
    assert_eq!(permission.title, "start an agent of shell in mode full-access: bold");
    assert_eq!(permission.input["initialPrompt"], "touch made");
    let mut deny = answer(&parent, &permission, Behavior::Deny);
    deny.message = Some("not on a Friday".to_owned());
    client.respond_to_permission(deny).await.expect("an answer");
    let error = call.await.expect("no panic").expect_err("it is denied");
    assert_eq!((error.code, error.message.as_str()), (Code::Forbidden, "a person has not allowed it: not on a Friday"));
    assert!(!lab.work().join("made").exists());

    let call = tokio::spawn(async move { inside.create_agent(child).await });
    let permission = wished(&client, &parent).await;
    client.respond_to_permission(answer(&parent, &permission, Behavior::Allow)).await.expect("an answer");
    let made = call.await.expect("no panic").expect("it is allowed");
    assert_eq!(made.outcome, Some(WaitOutcome::Completed));
    assert!(lab.work().join("made").exists());
    let child = status(&client, &made.agent_id).await;
    assert_eq!((child.parent, child.mode), (Some(parent.clone()), Mode::FullAccess));
    // What was allowed once is asked for again.
    let again = inside_prompt(&lab, &parent, &made.agent_id);
    let permission = wished(&client, &parent).await;
    assert!(permission.title.contains("which is in mode full-access: echo more"), "{permission:?}");
    client.respond_to_permission(answer(&parent, &permission, Behavior::Allow)).await.expect("an answer");
    assert_eq!(again.await.expect("no panic").expect("it is sent").last_message.as_deref(), Some("more"));
    lab.end(&client).await;
}

fn inside_prompt(
    lab: &Lab,
    agent: &AgentId,
    to: &AgentId,
) -> tokio::task::JoinHandle<Result<paseo_sdk::catalogue::AgentOutcome, ApiError>> {
    let (inside, prompt) = (inside(lab, agent), SendAgentPrompt::new(to, "echo more"));
    tokio::spawn(async move { inside.send_agent_prompt(prompt).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_and_variables_of_a_child_are_a_persons_to_allow_where_its_parent_must_ask() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let (parent, inside) = timid(&lab, &client).await;
    let env: BTreeMap<_, _> = [("BASH_ENV".to_owned(), "/tmp/evil".to_owned())].into();
    let child = CreateAgent { env, ..CreateAgent::new("sly", "shell", "true") };
    let call = tokio::spawn(async move { inside.create_agent(child).await });
    let permission = wished(&client, &parent).await;
    assert_eq!(permission.input["env"], json!(["BASH_ENV"]), "values may be secrets");
    client.respond_to_permission(answer(&parent, &permission, Behavior::Deny)).await.expect("an answer");
    assert_eq!(code(call.await.expect("no panic")), Code::Forbidden);
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_all_that_a_call_gives_and_is_asked_once() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let (parent, within) = timid(&lab, &client).await;
    let env: BTreeMap<_, _> = [("SAID".to_owned(), "secret".to_owned())].into();
    let labels: BTreeMap<_, _> = [("for".to_owned(), "a test".to_owned())].into();
    let child = CreateAgent { env, labels, ..CreateAgent::new("bold", "shell", "true").mode(Mode::FullAccess) };
    let call = tokio::spawn(async move { within.create_agent(child).await });
    let permission = wished(&client, &parent).await;
    assert_eq!(
        (&permission.input["labels"], &permission.input["env"]),
        (&json!({ "for": "a test" }), &json!(["SAID"]))
    );
    client.respond_to_permission(answer(&parent, &permission, Behavior::Allow)).await.expect("an answer");
    let free = call.await.expect("no panic").expect("one answer is enough").agent_id;

    // The same words to the same agent, but they would end its turn.
    let prompt =
        SendAgentPrompt { prompt_id: Some("one".parse().expect("an id")), ..SendAgentPrompt::new(&free, "true") };
    let calls: Vec<_> = [WhenBusy::Queue, WhenBusy::Interrupt]
        .map(|when_busy| {
            let (within, prompt) = (inside(&lab, &parent), SendAgentPrompt { when_busy, ..prompt.clone() });
            tokio::spawn(async move { within.send_agent_prompt(prompt).await })
        })
        .into();
    let asked = |agent: &paseo_sdk::model::Agent| -> Vec<Permission> {
        agent.permissions.iter().filter(|asked| asked.kind == PermissionKind::Other).cloned().collect()
    };
    until(&client, &parent, |agent| asked(agent).len() == 2).await;
    for permission in asked(&status(&client, &parent).await) {
        client.respond_to_permission(answer(&parent, &permission, Behavior::Deny)).await.expect("an answer");
    }
    for call in calls {
        assert_eq!(code(call.await.expect("no panic")), Code::Forbidden);
    }
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_above_its_own_is_a_persons_to_allow() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let (agent, inside) = timid(&lab, &client).await;
    let raise = SetAgentMode { agent_id: (&agent).into(), mode: Mode::FullAccess };
    let call = tokio::spawn(async move { inside.set_agent_mode(raise).await });
    let permission = wished(&client, &agent).await;
    assert_eq!(permission.title, format!("change the mode of agent “a test” ({agent}) from default to full-access"));
    assert_eq!(status(&client, &agent).await.mode, Mode::Default);
    client.respond_to_permission(answer(&agent, &permission, Behavior::Allow)).await.expect("an answer");
    assert_eq!(call.await.expect("no panic").expect("it is allowed").mode, Mode::FullAccess);
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_person_answers_an_agents_own_permissions_those_above_it_and_wishes() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let (parent, within) = timid(&lab, &client).await;
    let own = status(&client, &parent).await.permissions[0].clone();
    let error = within.respond_to_permission(answer(&parent, &own, Behavior::Allow)).await.expect_err("its own");
    assert_eq!(error.code, Code::Forbidden);
    assert!(error.message.contains("its own permissions"), "{error}");
    let child = within.create_agent(CreateAgent::new("child", "shell", "true")).await.expect("it asks");
    let child_id = &child.agent_id;
    let below = inside(&lab, child_id);
    assert_eq!(code(below.respond_to_permission(answer(&parent, &own, Behavior::Deny)).await), Code::Forbidden);
    // What it would have to ask for itself, it may not allow others; but it may deny it.
    let asked = &child.permissions[0];
    let error = within.respond_to_permission(answer(child_id, asked, Behavior::Allow)).await.expect_err("as free");
    assert_eq!(error.code, Code::Forbidden);
    assert!(error.message.contains("mode `default`"), "{error}");

    let raise = SetAgentMode { agent_id: child_id.into(), mode: Mode::FullAccess };
    let call = tokio::spawn(async move { below.set_agent_mode(raise).await });
    let wish = wished(&client, child_id).await;
    let free = client.create_agent(lab.script("true")).await.expect("it runs").agent_id;
    let free = inside(&lab, &free);
    // They share a directory that is in no repository, so that only `scope: all` would let it near.
    assert_eq!(code(free.respond_to_permission(answer(child_id, &wish, Behavior::Allow)).await), Code::Forbidden);
    assert_eq!(code(within.respond_to_permission(answer(child_id, &wish, Behavior::Allow)).await), Code::Forbidden);
    within.respond_to_permission(answer(child_id, asked, Behavior::Deny)).await.expect("it may deny");
    client.respond_to_permission(answer(child_id, &wish, Behavior::Deny)).await.expect("a person may");
    assert_eq!(code(call.await.expect("no panic")), Code::Forbidden);
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_may_do_everything_may_allow_its_child_everything() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let parent = client.create_agent(lab.script("true")).await.expect("it runs").agent_id;
    let within = inside(&lab, &parent);
    let child = CreateAgent::new("child", "shell", "touch made").mode(Mode::Default);
    let child = within.create_agent(child).await.expect("it asks");
    assert_eq!(child.outcome, Some(WaitOutcome::Permission), "the wait returns at once");
    let allow = answer(&child.agent_id, &child.permissions[0], Behavior::Allow);
    within.respond_to_permission(allow).await.expect("it may");
    // And it is waited for again.
    let done = within.wait_for_agent(WaitForAgent::one(&child.agent_id)).await.expect("it ends");
    assert_eq!(done.outcome, Some(WaitOutcome::Completed));
    assert!(lab.work().join("made").exists());
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_nothing_to_a_freer_agent() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let git = "git init -q -b main";
    client.create_agent(lab.script(git)).await.expect("a repository");
    let (free, _) = timid(&lab, &client).await;
    let asked = status(&client, &free).await.permissions[0].clone();
    client.set_agent_mode(SetAgentMode { agent_id: (&free).into(), mode: Mode::FullAccess }).await.expect("it is free");
    let (_, within) = timid(&lab, &client).await;
    let mut deny = answer(&free, &asked, Behavior::Deny);
    deny.message = Some("run this instead".to_owned());
    let error = within.respond_to_permission(deny.clone()).await.expect_err("it would act on that");
    assert_eq!(
        error.message,
        "an agent in mode `default` may not say anything to one in mode `full-access` by an answer"
    );
    deny.message = None;
    within.respond_to_permission(deny).await.expect("it may deny");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_for_agents_is_forbidden_however_free_they_are() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let agent = client.create_agent(lab.script("true")).await.expect("it runs").agent_id;
    let within = inside(&lab, &agent);
    assert_eq!(code(within.shutdown_daemon(ShutdownDaemon::default()).await), Code::Forbidden);
    assert_eq!(code(within.delete_agent(DeleteAgent { agent_id: (&agent).into() }).await), Code::Forbidden);
    let force = ArchiveWorktree { worktree_slug: Some("x".to_owned()), force: true, ..ArchiveWorktree::default() };
    assert_eq!(code(within.archive_worktree(force).await), Code::Forbidden);
    let trust = TrustWorktree { worktree_slug: Some("x".to_owned()), ..TrustWorktree::default() };
    assert_eq!(code(within.trust_worktree(trust).await), Code::Forbidden);
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_is_there_after_a_restart_and_its_call_goes_on() {
    let lab = Lab::new();
    let daemon = lab.process();
    let client = lab.client();
    let (parent, inside) = timid(&lab, &client).await;
    let child = CreateAgent::new("bold", "shell", "echo once >> made").mode(Mode::FullAccess);
    let call = tokio::spawn(async move { inside.create_agent(child).await });
    let before = wished(&client, &parent).await;
    daemon.kill();
    let daemon = lab.process();
    let after = wished(&client, &parent).await;
    assert_eq!(before, after, "the same, as old as it was");
    client.respond_to_permission(answer(&parent, &after, Behavior::Allow)).await.expect("an answer");
    assert_eq!(call.await.expect("no panic").expect("it is allowed").outcome, Some(WaitOutcome::Completed));
    assert_eq!(std::fs::read_to_string(lab.work().join("made")).expect("it was made"), "once\n");
    lab.end(&client).await;
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_goes_with_whoever_has_it() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let (agent, inside) = timid(&lab, &client).await;
    let raise = SetAgentMode { agent_id: (&agent).into(), mode: Mode::FullAccess };
    let call = tokio::spawn(async move { inside.set_agent_mode(raise).await });
    let wish = wished(&client, &agent).await;
    call.abort();
    until(&client, &agent, |agent| agent.permissions.len() == 1).await;
    let late = client.respond_to_permission(answer(&agent, &wish, Behavior::Allow)).await;
    assert_eq!(code(late), Code::NotFound);
    let left = client.list_pending_permissions(ListPendingPermissions::default()).await.expect("a list").permissions;
    assert_eq!(left.len(), 1, "its own: {left:?}");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_acts_on_what_its_scope_allows_and_is_told_why_not() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let git = "git init -q -b main && git -c user.name=t -c user.email=t@t commit -q --allow-empty -m first";
    let same = client.create_agent(lab.script(git)).await.expect("a repository").agent_id;
    let away = tempfile::TempDir::with_prefix("paseo-away-").expect("a directory");
    let beyond = lab.script("true").cwd(away.path().display().to_string());
    let beyond = client.create_agent(beyond).await.expect("it runs").agent_id;
    let (timid, _) = timid(&lab, &client).await;
    let rename = |agent: &AgentId| UpdateAgent {
        agent_id: agent.into(),
        title: Some("renamed".into()),
        labels: BTreeMap::new(),
        model: None,
    };
    let free = inside(&lab, &same);
    let refused = free.update_agent(rename(&beyond)).await.expect_err("another repository");
    let why = "this agent did not start it, and it works in another repository";
    assert_eq!((refused.code, refused.message), (Code::Forbidden, format!("agent {beyond} is out of reach: {why}")));
    assert!(refused.hint.is_some_and(|hint| hint.contains("scope")));
    free.update_agent(rename(&timid)).await.expect("the same repository");
    ended(&client, &same).await;
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_works_below_its_parent_or_in_its_repository() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let parent = client.create_agent(lab.script("mkdir below")).await.expect("it runs").agent_id;
    let within = inside(&lab, &parent);
    let child = |cwd: &std::path::Path| CreateAgent::new("child", "shell", "true").cwd(cwd.display().to_string());
    within.create_agent(child(&lab.work().join("below"))).await.expect("it may");
    std::os::unix::fs::symlink(lab.path(""), lab.work().join("out")).expect("a link");
    for beyond in [lab.path(""), lab.work().join("out")] {
        let refused = within.create_agent(child(&beyond)).await.expect_err("beyond its own");
        assert_eq!(refused.code, Code::Forbidden);
        assert!(refused.message.contains("neither below this agent's directory nor in its repository"), "{refused}");
    }
    let elsewhere = CreateWorktree::branch_off("x", "main").cwd(lab.path("").display().to_string());
    assert_eq!(code(within.create_worktree(elsewhere).await), Code::Forbidden);
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_neither_stops_nor_archives_who_created_it() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let parent = client.create_agent(lab.script("true")).await.expect("it runs").agent_id;
    let child = inside(&lab, &parent).create_agent(CreateAgent::new("child", "shell", "true")).await;
    let below = inside(&lab, &child.expect("it runs").agent_id);
    assert_eq!(code(below.cancel_agent(CancelAgent { agent_id: (&parent).into() }).await), Code::Forbidden);
    assert_eq!(code(below.archive_agent(ArchiveAgent { agent_id: (&parent).into() }).await), Code::Forbidden);
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_calls_that_are_the_same_a_person_allows_one() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let (agent, within) = timid(&lab, &client).await;
    let child = within.create_agent(CreateAgent::new("child", "shell", "true")).await.expect("it asks").agent_id;
    let raise = SetAgentMode { agent_id: child.into(), mode: Mode::FullAccess };
    let mut calls = tokio::task::JoinSet::new();
    for inside in [within, inside(&lab, &agent)] {
        let raise = raise.clone();
        calls.spawn(async move { inside.set_agent_mode(raise).await });
    }
    let first = wished(&client, &agent).await;
    client.respond_to_permission(answer(&agent, &first, Behavior::Allow)).await.expect("an answer");
    calls.join_next().await.expect("a call").expect("no panic").expect("it is allowed");
    let second = wished(&client, &agent).await;
    client.respond_to_permission(answer(&agent, &second, Behavior::Deny)).await.expect("another answer");
    assert_eq!(code(calls.join_next().await.expect("a call").expect("no panic")), Code::Forbidden);
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_has_its_parents_mode_and_directory() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let (parent, within) = timid(&lab, &client).await;
    let child = within.create_agent(CreateAgent::new("child", "shell", "true")).await.expect("it asks").agent_id;
    let child = status(&client, &child).await;
    let cwd = lab.work().display().to_string();
    assert_eq!((child.parent, child.mode, child.cwd), (Some(parent), Mode::Default, cwd));
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_commits_does_not_run_because_it_makes_a_worktree_of_it() {
    let lab = repository(&json!({ "worktree": { "setup": "touch ours.log" } }));
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let from =
        |branch: &str, base: &str| CreateWorktree::branch_off(branch, base).cwd(lab.work().display().to_string());
    // As long as it asks for the same, all runs.
    git(&lab.work(), &["checkout", "--quiet", "-b", "theirs"]);
    let (agent, careful) = timid(&lab, &client).await;
    let made = careful.create_worktree(from("same", "theirs")).await.expect("it is made");
    assert_eq!((made.trusted, made.setup.status), (true, SetupStatus::Done));
    // What it changes of it does not, nor what an agent's program would read as settings.
    for (branch, file, text) in [
        ("hooks", "paseo.json", r#"{"worktree": {"setup": "touch theirs.log"}}"#),
        ("settings", ".claude/settings.json", "{}"),
    ] {
        git(&lab.work(), &["checkout", "--quiet", "-B", "theirs", "main"]);
        let path = lab.work().join(file);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        std::fs::write(path, text).expect("written");
        git(&lab.work(), &["add", "."]);
        git(&lab.work(), &["commit", "--quiet", "-m", branch]);
        let made = careful.create_worktree(from(branch, "theirs")).await.expect("it is made");
        assert_eq!((made.trusted, made.setup.status), (false, SetupStatus::Skipped), "{branch}");
        assert!(!Path::new(&made.worktree_path).join("theirs.log").exists());
        let message = made.setup.message.expect("it says why");
        assert!(message.contains("main branch") && message.contains("paseo worktree trust"), "{message}");
        // A person may have it so, and an agent that may do everything anyway.
        let trusted = client.trust_worktree(TrustWorktree {
            worktree_slug: Some(made.worktree_slug),
            cwd: from("", "").cwd,
            ..TrustWorktree::default()
        });
        assert!(trusted.await.expect("a person's to do").trusted);
        client
            .set_agent_mode(SetAgentMode { agent_id: (&agent).into(), mode: Mode::FullAccess })
            .await
            .expect("a person's to do");
        let free = careful.create_worktree(from(&format!("{branch}-free"), "theirs")).await.expect("it is made");
        assert_eq!((free.trusted, free.setup.status), (true, SetupStatus::Done), "{branch}");
        client
            .set_agent_mode(SetAgentMode { agent_id: (&agent).into(), mode: Mode::Default })
            .await
            .expect("a person's to do");
    }
    git(&lab.work(), &["checkout", "--quiet", "main"]);
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archived_agent_acts_no_more_whoever_has_its_token() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let (agent, inside) = timid(&lab, &client).await;
    client.archive_agent(ArchiveAgent { agent_id: (&agent).into() }).await.expect("it is archived");
    let child = CreateAgent::new("late", "shell", "true");
    let error = inside.create_agent(child).await.expect_err("it is refused");
    assert_eq!(error.code, Code::Forbidden);
    assert!(error.message.contains("is archived, and acts no more"), "{error}");
    assert_eq!(
        code(inside.set_agent_mode(SetAgentMode { agent_id: (&agent).into(), mode: Mode::Plan }).await),
        Code::Forbidden
    );
    lab.end(&client).await;
}
