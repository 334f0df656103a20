//! Worktrees and the agents in them, through the daemon: hooks, trust, archiving, and what a killed daemon leaves.

use std::path::{Path, PathBuf};
use std::process::Command;

use paseo_sdk::catalogue::{
    ArchiveWorktree, CreateAgent, CreateWorktree, GetAgentStatus, ListWorktrees, RestoreWorktree, TrustWorktree,
    WaitForAgent,
};
use paseo_sdk::item::Happening;
use paseo_sdk::model::{AgentId, ListedWorktree, Mode, SetupStatus, Status, WaitOutcome, Worktree};
use paseo_sdk::{ApiError, Client, Code};
use serde_json::json;

use super::watching::until_text;
use crate::lab::{Lab, timeline};

/// A lab whose directory is a repository with this `paseo.json`.
pub(crate) fn repository(settings: &serde_json::Value) -> Lab {
    let lab = Lab::new();
    git(&lab.work(), &["init", "--quiet", "--initial-branch=main"]);
    std::fs::write(lab.work().join("paseo.json"), settings.to_string()).expect("settings");
    std::fs::write(lab.work().join(".gitignore"), "*.log\ngate\n").expect("a file");
    git(&lab.work(), &["add", "--all"]);
    git(&lab.work(), &["commit", "--quiet", "--message", "first"]);
    lab
}

/// Runs git as nobody in particular, and returns what it printed.
pub(crate) fn git(directory: &Path, args: &[&str]) -> String {
    let who = ["-c", "user.name=Test", "-c", "user.email=test@localhost"];
    let output = Command::new("git").arg("-C").arg(directory).args(who).args(args).output().expect("git");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

pub(crate) fn branch_off(lab: &Lab, branch: &str) -> CreateWorktree {
    CreateWorktree { base_branch: None, ..CreateWorktree::branch_off(branch, "") }.cwd(lab.work().display().to_string())
}

pub(super) fn archive(made: &Worktree) -> ArchiveWorktree {
    ArchiveWorktree { worktree_path: Some(made.worktree_path.clone()), ..ArchiveWorktree::default() }
}

pub(super) async fn listed(client: &Client, lab: &Lab) -> Vec<ListedWorktree> {
    let list = ListWorktrees { cwd: Some(lab.work().display().to_string()), all: false };
    client.list_worktrees(list).await.expect("a list").worktrees
}

/// Lets a hook go on that reads from the pipe `gate`: returns once it has come so far.
fn open_gate(lab: &Lab) {
    std::fs::write(lab.work().join("gate"), "go\n").expect("somebody reads");
}

/// What a hook does to wait at the gate.
const AT_THE_GATE: &str = r#"read word < "$PASEO_SOURCE_CHECKOUT_PATH/gate""#;

pub(crate) fn inside(lab: &Lab, agent: &AgentId) -> Client {
    let secret = std::fs::read_to_string(lab.home().join("secret")).expect("a secret");
    lab.client().token(paseo_daemon::token::Tokens::new("", secret.trim()).agent_token(agent))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_runs_in_order_with_its_environment_and_its_log() {
    let told = r#"echo "$PASEO_SOURCE_CHECKOUT_PATH|$PASEO_WORKTREE_PATH|$PASEO_BRANCH_NAME|$PWD" > told.log"#;
    let port = r#"cat told.log; echo "port $PASEO_WORKTREE_PORT""#;
    let lab = repository(&json!({ "worktree": { "setup": [told, port] } }));
    // What counts is the base commit, not what lies around.
    std::fs::write(lab.work().join("paseo.json"), r#"{"worktree": {"setup": "exit 9"}}"#).expect("a file");
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let made = client.create_worktree(branch_off(&lab, "fix/it")).await.expect("it is made");
    assert_eq!((made.setup.status, made.setup.message.as_deref()), (SetupStatus::Done, None));
    let tree = &made.worktree_path;
    let expected = format!("{}|{tree}|fix/it|{tree}\n", lab.work().display());
    assert_eq!(std::fs::read_to_string(Path::new(tree).join("told.log")).expect("it ran there"), expected);
    let log = std::fs::read_to_string(made.setup.log.as_ref().expect("a log")).expect("it is there");
    assert!(log.contains(&expected) && log.contains(&format!("$ {port}\n")), "{log}");
    let port: u16 = log.rsplit_once("port ").expect("it was told").1.trim().parse().expect("a port");
    let other = client.create_worktree(branch_off(&lab, "fix/other")).await.expect("it is made");
    let log = std::fs::read_to_string(other.setup.log.expect("a log")).expect("it is there");
    assert!(!log.contains(&format!("port {port}\n")), "each has its own: {log}");
    let found = listed(&client, &lab).await;
    assert_eq!(found[0].setup.log, made.setup.log);
    assert_eq!(found.iter().map(|tree| tree.setup.status).collect::<Vec<_>>(), [SetupStatus::Done; 2]);
    assert_eq!(git(Path::new(tree), &["status", "--porcelain"]), "", "nothing of it is in the way");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_wait_for_the_setup_wherever_they_come_from() {
    let lab = repository(&json!({ "worktree": { "setup": [AT_THE_GATE, "echo ready > ready.log"] } }));
    lab.fifo("gate");
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let request = CreateWorktree { wait_for_setup: Some(false), ..branch_off(&lab, "fix/it") };
    let made = client.create_worktree(request.clone()).await.expect("it is made");
    assert_eq!(made.setup.status, SetupStatus::Running);
    assert_eq!(listed(&client, &lab).await[0].setup.status, SetupStatus::Running);
    let again = client.create_worktree(request).await.expect("it is there");
    assert_eq!((again.created, again.setup.status), (false, SetupStatus::Running));
    let task = lab.script("cat ready.log").cwd(made.worktree_path.clone()).in_background();
    let early = client.create_agent(task).await.expect("it is taken").agent_id;
    let waiting = {
        let client = client.clone();
        let again = CreateWorktree { wait_for_setup: None, ..branch_off(&lab, "fix/it") };
        tokio::spawn(async move { client.create_worktree(again).await })
    };
    let status = client.get_agent_status(GetAgentStatus { agent_id: (&early).into() }).await.expect("a status");
    assert_eq!(status.status, Status::Starting, "it waits");
    open_gate(&lab);
    assert_eq!(waiting.await.expect("no panic").expect("it is there").setup.status, SetupStatus::Done);
    let done = client.wait_for_agent(WaitForAgent::one(&early)).await.expect("it ends");
    assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("ready")));
    // In one call, foreground.
    let task = lab.script("cat ready.log").worktree(branch_off(&lab, "fix/other"));
    let calling = {
        let client = client.clone();
        tokio::spawn(async move { client.create_agent(task).await })
    };
    open_gate(&lab);
    let done = calling.await.expect("no panic").expect("it runs");
    assert_eq!(done.last_message.as_deref(), Some("ready"));
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_stopped_while_it_waits_for_a_setup_starts_nothing() {
    let lab = repository(&json!({ "worktree": { "setup": AT_THE_GATE } }));
    lab.fifo("gate");
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let request = CreateWorktree { wait_for_setup: Some(false), ..branch_off(&lab, "fix/it") };
    let made = client.create_worktree(request).await.expect("it is made");
    let task = lab.script("touch ran").cwd(made.worktree_path.clone()).in_background();
    let agent = client.create_agent(task).await.expect("it is taken").agent_id;
    let stop = paseo_sdk::catalogue::CancelAgent { agent_id: (&agent).into() };
    client.cancel_agent(stop).await.expect("it stops");
    open_gate(&lab);
    let again = client.create_worktree(branch_off(&lab, "fix/it")).await.expect("it is there");
    assert_eq!(again.setup.status, SetupStatus::Done);
    lab.stop(&client).await;
    assert!(!Path::new(&made.worktree_path).join("ran").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_that_fails_is_told_and_the_worktree_stays() {
    let setup = ["echo about to fail; echo it is broken >&2; exit 3", "touch never.log"];
    let lab = repository(&json!({ "worktree": { "setup": setup } }));
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let done =
        client.create_agent(lab.script("echo here").worktree(branch_off(&lab, "fix/it"))).await.expect("it runs");
    assert_eq!(done.last_message.as_deref(), Some("here"), "it goes on all the same");
    let agent = client.get_agent_status(GetAgentStatus { agent_id: (&done.agent_id).into() }).await.expect("a status");
    let worktree = agent.worktree.expect("a worktree");
    assert_eq!(worktree.setup.status, SetupStatus::Failed);
    let message = worktree.setup.message.expect("why");
    assert!(message.contains("exit code 3") && message.contains("it is broken"), "{message}");
    let found = &listed(&client, &lab).await[0];
    assert_eq!((found.setup.status, found.setup.message.as_deref()), (SetupStatus::Failed, Some(message.as_str())));
    assert!(!Path::new(&worktree.worktree_path).join("never.log").exists());
    let again = client.create_worktree(branch_off(&lab, "fix/it")).await.expect("it is there");
    assert_eq!((again.created, again.setup.status), (false, SetupStatus::Failed));
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_be_understood_run_nothing_and_are_said() {
    for (settings, words) in [
        (json!({ "worktree": { "setup": 7 } }), "worktree.setup"),
        (json!({ "worktree": { "setup": "touch ran.log", "setupTimeout": "soon" } }), "setupTimeout"),
        (json!([]), "paseo.json"),
    ] {
        let lab = repository(&settings);
        let daemon = lab.daemon().await;
        let client = daemon.client();
        let made = client.create_worktree(branch_off(&lab, "fix/it")).await.expect("it is made");
        let message = made.setup.message.expect("why");
        assert_eq!(made.setup.status, SetupStatus::Skipped);
        assert!(message.contains(words), "{message}");
        assert!(!Path::new(&made.worktree_path).join("ran.log").exists());
        lab.end(&client).await;
    }
    let lab = repository(&json!({ "other": { "setup": 7 }, "worktree": { "else": true } }));
    let daemon = lab.daemon().await;
    let made = daemon.client().create_worktree(branch_off(&lab, "fix/it")).await.expect("it is made");
    assert_eq!(made.setup.status, SetupStatus::None);
    lab.end(&daemon.client()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_outlives_the_daemon_and_agents_wait_for_it_still() {
    let lab = repository(&json!({ "worktree": { "setup": [AT_THE_GATE, "echo ready > ready.log"] } }));
    lab.fifo("gate");
    let daemon = lab.process();
    let client = lab.client();
    let request = CreateWorktree { wait_for_setup: Some(false), ..branch_off(&lab, "fix/it") };
    let made = client.create_worktree(request).await.expect("it is made");
    let task = lab.script("cat ready.log").cwd(made.worktree_path.clone()).in_background();
    let agent = client.create_agent(task).await.expect("it is taken").agent_id;
    daemon.kill();
    let _daemon = lab.process();
    assert_eq!(listed(&client, &lab).await[0].setup.status, SetupStatus::Running);
    open_gate(&lab);
    let done = client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it ends");
    assert_eq!(done.last_message.as_deref(), Some("ready"));
    assert_eq!(listed(&client, &lab).await[0].setup.status, SetupStatus::Done);
    lab.end(&client).await;
}

/// A repository with a pull request 7 whose `paseo.json` would leave a trace, and a remote that has it.
pub(super) fn with_pull_request(lab: &Lab) {
    let bare = lab.path("remote.git");
    git(&lab.work(), &["init", "--quiet", "--bare", &bare.display().to_string()]);
    git(&lab.work(), &["remote", "add", "origin", &bare.display().to_string()]);
    git(&lab.work(), &["checkout", "--quiet", "-b", "theirs"]);
    std::fs::write(lab.work().join("paseo.json"), r#"{"worktree": {"setup": "touch theirs.log"}}"#).expect("a file");
    git(&lab.work(), &["commit", "--quiet", "--all", "--message", "theirs"]);
    git(&lab.work(), &["push", "--quiet", "origin", "main", "HEAD:refs/pull/7/head"]);
    git(&lab.work(), &["checkout", "--quiet", "main"]);
    git(&lab.work(), &["branch", "--quiet", "-D", "theirs"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_runs_nothing_until_a_person_trusts_it() {
    let mut lab =
        repository(&json!({ "worktree": { "setup": "touch ours.log", "teardown": "touch $PASEO_HOME/down" } }));
    with_pull_request(&lab);
    let programs = lab.path("programs");
    std::fs::create_dir(&programs).expect("a directory");
    // Says how it was started, and ends.
    crate::lab::program(&programs.join("claude"), b"#!/bin/sh\necho \"$*\" >> args.log\n");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").expect("a path"));
    lab.set_env([("PATH".to_owned(), path)]);
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let request = CreateWorktree {
        github_pr_number: Some(7),
        cwd: Some(lab.work().display().to_string()),
        ..CreateWorktree::default()
    };
    let made = client.create_worktree(request.clone()).await.expect("it is made");
    assert_eq!((made.branch_name.as_deref(), made.trusted), (Some("pr-7"), false));
    assert_eq!(made.setup.status, SetupStatus::Skipped);
    assert!(made.setup.message.as_ref().is_some_and(|why| why.contains("paseo worktree trust pr-7")), "{made:?}");
    let tree = PathBuf::from(&made.worktree_path);
    assert!(!tree.join("ours.log").exists() && !tree.join("theirs.log").exists());
    let found = &listed(&client, &lab).await[0];
    assert_eq!((found.trusted, found.setup.status), (false, SetupStatus::Skipped));

    let started = async |count: usize| {
        let task = CreateAgent { provider: "claude".to_owned(), mode: Some(Mode::Default), ..lab.script("hello") };
        let _ = client.create_agent(task.cwd(made.worktree_path.clone())).await;
        let args = std::fs::read_to_string(tree.join("args.log")).expect("it was started");
        let all: Vec<_> = args.lines().filter(|line| line.contains("--")).map(str::to_owned).collect();
        assert!(all.len() >= count, "{args}");
        all.last().cloned().expect("a line")
    };
    let args = started(1).await;
    assert!(args.contains("--setting-sources user") && args.contains("--strict-mcp-config"), "{args}");

    // An agent cannot.
    let shell = client.create_agent(lab.script("true")).await.expect("it runs").agent_id;
    let inside = inside(&lab, &shell);
    let trust = TrustWorktree { worktree_path: Some(made.worktree_path.clone()), ..TrustWorktree::default() };
    let forbidden =
        |result: Result<Worktree, ApiError>| assert_eq!(result.expect_err("not for it").code, Code::Forbidden);
    forbidden(inside.trust_worktree(trust.clone()).await);
    forbidden(inside.create_worktree(CreateWorktree { trust: true, ..request.clone() }).await);
    let child = lab.script("true").worktree(CreateWorktree { trust: true, ..request.clone() });
    assert_eq!(inside.create_agent(child).await.expect_err("not for it").code, Code::Forbidden);
    assert!(!listed(&client, &lab).await[0].trusted);

    let trusted = client.trust_worktree(trust).await.expect("a person can");
    assert_eq!((trusted.trusted, trusted.setup.status), (true, SetupStatus::Done));
    assert!(tree.join("ours.log").exists() && !tree.join("theirs.log").exists(), "the base's hook, not the head's");
    let args = started(2).await;
    assert!(!args.contains("--setting-sources user"), "{args}");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_about_worktrees_name_the_field_and_change_nothing() {
    let lab = repository(&json!({}));
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let work = lab.work().display().to_string();
    let made = client.create_worktree(branch_off(&lab, "fix/it")).await.expect("it is made");
    let foreign = lab.path("foreign").display().to_string();
    git(&lab.work(), &["worktree", "add", "--quiet", "-b", "foreign", &foreign]);
    let below = Path::new(&made.worktree_path).join("below");
    std::fs::create_dir(&below).expect("a directory");
    let mut refusals = Vec::new();
    for (operation, request) in [
        ("create_worktree", json!({ "cwd": work })),
        ("create_worktree", json!({ "cwd": work, "action": "branch-off" })),
        ("create_worktree", json!({ "cwd": work, "action": "branch-off", "branchName": "a b" })),
        ("create_worktree", json!({ "cwd": work, "action": "branch-off", "branchName": "x", "refName": "y" })),
        ("create_worktree", json!({ "cwd": work, "action": "branch-off", "branchName": "x", "baseBranch": "none" })),
        ("create_worktree", json!({ "cwd": work, "action": "branch-off", "branchName": "x", "fetch": true })),
        ("create_worktree", json!({ "cwd": work, "action": "checkout" })),
        ("create_worktree", json!({ "cwd": work, "action": "checkout", "refName": "none" })),
        ("create_worktree", json!({ "cwd": work, "action": "checkout", "refName": "main" })),
        ("create_worktree", json!({ "cwd": work, "githubPrNumber": 0 })),
        ("create_worktree", json!({ "cwd": work, "githubPrNumber": 7 })),
        ("create_worktree", json!({ "cwd": work, "githubPrNumber": 7, "branchName": "x" })),
        ("create_worktree", json!({ "action": "branch-off", "branchName": "x" })),
        ("archive_worktree", json!({})),
        ("archive_worktree", json!({ "worktreeSlug": "fix-it", "worktreePath": made.worktree_path })),
        ("archive_worktree", json!({ "worktreeSlug": "Fix It", "cwd": work })),
        ("archive_worktree", json!({ "worktreeSlug": "none", "cwd": work })),
        ("archive_worktree", json!({ "worktreeSlug": "none" })),
        ("archive_worktree", json!({ "worktreePath": "relative" })),
        ("archive_worktree", json!({ "worktreePath": "/does/not/exist" })),
        ("archive_worktree", json!({ "worktreePath": work })),
        ("archive_worktree", json!({ "worktreePath": foreign })),
        ("archive_worktree", json!({ "worktreePath": below })),
        ("restore_worktree", json!({ "cwd": work })),
        ("restore_worktree", json!({ "worktreeSlug": "none", "cwd": work })),
        ("restore_worktree", json!({ "worktreeSlug": "fix-it" })),
        ("trust_worktree", json!({ "worktreeSlug": "none", "cwd": work })),
        ("trust_worktree", json!({ "worktreePath": foreign })),
    ] {
        let error = client.call(operation, request.clone()).await.expect_err("it is refused");
        let error = serde_json::to_string_pretty(&error).expect("it is data");
        let shown = format!("{operation} {request}\n{error}");
        let root = lab.path("").display().to_string();
        let shown = shown.replace(&root, "<lab>/");
        refusals.push(shown);
    }
    let tree = Path::new(&made.worktree_path).parent().and_then(Path::file_name).expect("a name");
    insta::assert_snapshot!(refusals.join("\n").replace(tree.to_str().expect("text"), "<repository>"));
    assert_eq!(git(&lab.work(), &["worktree", "list"]).lines().count(), 3);
    assert_eq!(git(&lab.work(), &["branch", "--list"]).lines().count(), 3);
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worktree_goes_again_when_its_agent_cannot_be_made() {
    let lab = repository(&json!({ "worktree": { "setup": "touch ready.log" } }));
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let id: AgentId = "11111111-1111-4111-8111-111111111111".parse().expect("an id");
    let in_its_place = lab.home().join(format!("agents/{id}.json"));
    std::fs::create_dir_all(in_its_place.join("x")).expect("a directory");
    let before = git(&lab.work(), &["for-each-ref"]);
    let task = lab.script("true").worktree(branch_off(&lab, "fix/it"));
    let task = CreateAgent { agent_id: Some(id), ..task };
    let error = client.create_agent(task.clone()).await.expect_err("its file cannot be written");
    assert_eq!(error.code, Code::Unavailable, "{error}");
    assert!(listed(&client, &lab).await.is_empty());
    assert_eq!(git(&lab.work(), &["for-each-ref"]), before);
    assert_eq!(git(&lab.work(), &["worktree", "list"]).lines().count(), 1);
    // One that was there before stays.
    let made = client.create_worktree(branch_off(&lab, "fix/it")).await.expect("it is made");
    client.create_agent(task).await.expect_err("its file cannot be written");
    assert_eq!(listed(&client, &lab).await[0].worktree_path, made.worktree_path);
    std::fs::remove_dir_all(in_its_place).expect("it was there");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archiving_refuses_while_somebody_works_there_and_archives_agents_that_are_idle() {
    let lab = repository(&json!({}));
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let task = lab.script("echo on; sleep 1000").worktree(branch_off(&lab, "fix/it"));
    let busy = client.create_agent(task.in_background()).await.expect("it starts").agent_id;
    until_text(&client, &busy, "on").await;
    let made = client.create_worktree(branch_off(&lab, "fix/it")).await.expect("it is there");
    let idle = lab.script("true").cwd(made.worktree_path.clone());
    let idle = client.create_agent(idle).await.expect("it runs").agent_id;
    std::fs::write(Path::new(&made.worktree_path).join("new"), "work").expect("a file");
    let refused = client.archive_worktree(archive(&made)).await.expect_err("somebody works there");
    assert_eq!(refused.code, Code::Refused);
    assert!(refused.message.contains(busy.as_str()) && refused.message.contains("?? new"), "{refused}");
    let details = refused.details.expect("details");
    let works = format!("agent {busy} (a test) works there");
    assert_eq!((&details["atWork"], &details["files"]), (&json!([works]), &json!(["?? new"])));
    let status = async |agent: &AgentId| {
        client.get_agent_status(GetAgentStatus { agent_id: agent.into() }).await.expect("a status").status
    };
    assert_eq!((status(&busy).await, status(&idle).await), (Status::Running, Status::Idle));

    // Force is not for agents.
    let own = inside(&lab, &idle);
    let force = ArchiveWorktree { force: true, ..archive(&made) };
    assert_eq!(own.archive_worktree(force.clone()).await.expect_err("not for it").code, Code::Forbidden);
    let archived = client.archive_worktree(force).await.expect("it goes");
    let mut agents = archived.agents.clone();
    agents.sort();
    let mut both = [busy.clone(), idle.clone()];
    both.sort();
    assert_eq!(agents, both);
    assert_eq!((archived.kept_files, archived.kept_commits, archived.branch_removed), (1, 0, true));
    assert_eq!((status(&busy).await, status(&idle).await), (Status::Archived, Status::Archived));
    assert!(!Path::new(&made.worktree_path).exists() && listed(&client, &lab).await.is_empty());

    let restore = RestoreWorktree {
        worktree_slug: "fix-it".to_owned(),
        cwd: Some(lab.work().display().to_string()),
        ..RestoreWorktree::default()
    };
    let back = client.restore_worktree(restore).await.expect("it comes back");
    assert_eq!(back.worktree_path, made.worktree_path);
    assert_eq!(std::fs::read_to_string(Path::new(&back.worktree_path).join("new")).expect("it is back"), "work");
    // What an agent did there is still known.
    let entries = timeline(&client, &busy).await;
    assert!(entries.iter().any(|entry| matches!(entry.what, Happening::TurnEnded { .. })));
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archiving_waits_for_a_setup_or_ends_it() {
    let lab = repository(&json!({ "worktree": { "setup": [AT_THE_GATE] } }));
    lab.fifo("gate");
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let request = CreateWorktree { wait_for_setup: Some(false), ..branch_off(&lab, "fix/it") };
    let made = client.create_worktree(request).await.expect("it is made");
    let refused = client.archive_worktree(archive(&made)).await.expect_err("its setup runs");
    assert_eq!(
        (refused.code, &refused.details.expect("details")["atWork"]),
        (Code::Refused, &json!(["its setup runs"]))
    );
    let force = ArchiveWorktree { force: true, ..archive(&made) };
    client.archive_worktree(force).await.expect("it goes");
    assert!(!Path::new(&made.worktree_path).exists());
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_teardown_that_fails_stops_the_archiving() {
    let teardown = r#"echo "down $PASEO_BRANCH_NAME"; test -e "$PASEO_SOURCE_CHECKOUT_PATH/may.log""#;
    let lab = repository(&json!({ "worktree": { "teardown": teardown } }));
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let made = client.create_worktree(branch_off(&lab, "fix/it")).await.expect("it is made");
    let refused = client.archive_worktree(archive(&made)).await.expect_err("its teardown fails");
    assert_eq!(refused.code, Code::Refused);
    assert!(refused.message.contains("exit code 1"), "{refused}");
    assert!(Path::new(&made.worktree_path).join("paseo.json").exists());
    let log = refused.details.expect("details")["teardown"]["log"].as_str().expect("a log").to_owned();
    assert!(std::fs::read_to_string(log).expect("it is there").contains("down fix/it"));
    std::fs::write(lab.work().join("may.log"), "").expect("a file");
    let archived = client.archive_worktree(archive(&made)).await.expect("it goes now");
    assert_eq!(archived.teardown.status, SetupStatus::Done);

    std::fs::remove_file(lab.work().join("may.log")).expect("it was there");
    let made = client.create_worktree(branch_off(&lab, "fix/other")).await.expect("it is made");
    let skipped = ArchiveWorktree { skip_teardown: true, ..archive(&made) };
    let archived = client.archive_worktree(skipped).await.expect("it goes");
    assert_eq!(archived.teardown.status, SetupStatus::None);
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archiving_comes_to_its_end_when_whoever_asked_for_it_has_gone() {
    let teardown = r#"cat "$PASEO_SOURCE_CHECKOUT_PATH/gate" > "$PASEO_SOURCE_CHECKOUT_PATH/said.log""#;
    let lab = repository(&json!({ "worktree": { "teardown": teardown } }));
    lab.fifo("gate");
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let made = client.create_worktree(branch_off(&lab, "fix/it")).await.expect("it is made");
    let asking = tokio::spawn({
        let (other, archive) = (lab.client(), archive(&made));
        async move { other.archive_worktree(archive).await }
    });
    let gate = lab.work().join("gate");
    // It opens once the teardown reads it.
    let open = move || std::fs::File::options().write(true).open(gate).expect("a pipe");
    let gate = tokio::task::spawn_blocking(open).await.expect("no panic");
    asking.abort();
    assert!(asking.await.expect_err("it has gone").is_cancelled());
    let again = client.archive_worktree(archive(&made)).await.expect_err("it is under way");
    assert_eq!(again.code, Code::Conflict, "{again}");
    drop(gate);
    let named = ArchiveWorktree {
        worktree_slug: Some(made.worktree_slug.clone()),
        cwd: Some(lab.work().display().to_string()),
        ..ArchiveWorktree::default()
    };
    while client.archive_worktree(named.clone()).await.expect_err("it goes").code == Code::Conflict {}
    assert!(!Path::new(&made.worktree_path).exists());
    assert_eq!(git(&lab.work(), &["branch", "--list", "fix/it"]), "");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_succeed_and_a_kill_among_them_leaves_no_half_tree() {
    let lab = repository(&json!({}));
    for number in 0..300 {
        std::fs::write(lab.work().join(format!("file-{number}")), "content\n".repeat(100)).expect("a file");
    }
    git(&lab.work(), &["add", "--all"]);
    git(&lab.work(), &["commit", "--quiet", "--message", "files"]);
    let daemon = lab.process();
    let client = lab.client();
    let asked: Vec<_> = (0..50)
        .map(|number| {
            let (client, request) = (client.clone(), branch_off(&lab, &format!("fix/{number}")));
            tokio::spawn(async move { client.create_worktree(request).await })
        })
        .collect();
    // In the middle of it.
    let registered = || std::fs::read_dir(lab.work().join(".git/worktrees")).map_or(0, Iterator::count);
    while registered() < 10 {
        tokio::task::yield_now().await;
    }
    daemon.kill();
    let _daemon = lab.process();
    // Clients that wait ask again by themselves.
    let mut paths = std::collections::BTreeSet::new();
    for asked in asked {
        paths.insert(asked.await.expect("no panic").expect("it is made").worktree_path);
    }
    assert_eq!(paths.len(), 50);
    let found = listed(&client, &lab).await;
    assert_eq!(found.len(), 50);
    for tree in &found {
        assert!(!tree.dirty && tree.problem.is_none(), "{tree:?}");
        assert_eq!(git(Path::new(&tree.worktree_path), &["status", "--porcelain"]), "");
    }
    assert_eq!(git(&lab.work(), &["worktree", "list"]).lines().count(), 51);
    assert_eq!(git(&lab.work(), &["branch", "--list"]).lines().count(), 51);
    let beside = Path::new(&found[0].worktree_path).parent().expect("the directory");
    assert_eq!(std::fs::read_dir(beside).expect("it is there").count(), 50, "no mark is left");
    lab.end(&client).await;
}
