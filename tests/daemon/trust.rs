//! The ground on which agents start: whether it is trusted, and what they are told of it. A script plays `claude`.

use std::path::{Path, PathBuf};

use paseo_sdk::catalogue::{CreateAgent, CreateWorktree, ListAgents, TrustWorktree};
use paseo_sdk::model::{Mode, Setup, SetupStatus, WaitOutcome, Worktree};
use paseo_sdk::{Client, Code};
use serde_json::json;

use super::worktrees::{archive, branch_off, git, inside, listed, repository, with_pull_request};
use crate::lab::Lab;

/// Writes down how it was started and what it was told, and answers each prompt.
const PROGRAM: &str = r#"#!/bin/sh
case "$*" in *stream-json*) ;; *) echo '{}'; exit ;; esac
echo "$*" >> "$PASEO_HOME/args"
while IFS= read -r line; do
    case $line in *'"type":"user"'*) ;; *) continue ;; esac
    printf '%s\n' "$line" >> "$PASEO_HOME/told"
    uuid=${line##*'"uuid":"'}
    echo '{"type":"system","subtype":"init","session_id":"one"}'
    echo '{"type":"user","isReplay":true,"uuid":"'"${uuid%%'"'*}"'"}'
    echo '{"type":"assistant","message":{"content":[{"type":"text","text":"done"}]}}'
    echo '{"type":"result","subtype":"success","is_error":false,"result":"done"}'
done
"#;

pub(super) fn with_claude(lab: &mut Lab) {
    let programs = lab.path("programs");
    std::fs::create_dir(&programs).expect("a directory");
    crate::lab::program(&programs.join("claude"), PROGRAM.as_bytes());
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").expect("a path"));
    lab.set_env([("PATH".to_owned(), path)]);
}

/// Starts an agent and returns how it was started and what it was told.
async fn started(lab: &Lab, client: &Client, task: CreateAgent) -> (String, String) {
    let task = CreateAgent { provider: "claude".to_owned(), mode: Some(Mode::Default), ..task };
    let done = client.create_agent(task).await.expect("it runs");
    assert_eq!(done.last_message.as_deref(), Some("done"), "{done:?}");
    let last = |name: &str| {
        let text = std::fs::read_to_string(lab.home().join(name)).expect("it was started");
        text.lines().last().expect("a line").to_owned()
    };
    (last("args"), last("told"))
}

fn is_trusted(args: &str) -> bool {
    !args.contains("--setting-sources user")
}

async fn pull_request(lab: &Lab, client: &Client) -> Worktree {
    let cwd = Some(lab.work().display().to_string());
    let request = CreateWorktree { github_pr_number: Some(7), cwd, ..CreateWorktree::default() };
    client.create_worktree(request).await.expect("it is made")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_request_is_not_trusted_wherever_it_lies_and_whatever_cannot_be_read() {
    let mut lab = repository(&json!({}));
    with_claude(&mut lab);
    with_pull_request(&lab);
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let made = pull_request(&lab, &client).await;
    let at = |path: &Path| lab.script("hello").cwd(path.display().to_string());
    let (args, told) = started(&lab, &client, at(&lab.work())).await;
    assert!(is_trusted(&args) && !told.contains("paseo"), "a repository is: {args} {told}");
    std::fs::create_dir(lab.path("plain")).expect("a directory");
    assert!(is_trusted(&started(&lab, &client, at(&lab.path("plain"))).await.0), "a directory is");

    let moved = lab.path("moved");
    git(&lab.work(), &["worktree", "move", &made.worktree_path, &moved.display().to_string()]);
    let below = moved.join("below");
    std::fs::create_dir(&below).expect("a directory");
    for place in [&moved, &below] {
        let (args, told) = started(&lab, &client, at(place)).await;
        assert!(!is_trusted(&args) && !told.contains("cannot tell"), "{args} {told}");
    }
    // A repository of its own within it.
    git(&below, &["init", "--quiet"]);
    assert!(!is_trusted(&started(&lab, &client, at(&below)).await.0));

    let unclear = async |why: &str| {
        let (args, told) = started(&lab, &client, at(&moved)).await;
        assert!(!is_trusted(&args), "{why}: {args}");
        assert!(told.contains("cannot tell whether this directory is trusted"), "{why}: {told}");
    };
    let note = lab.work().join(".git/worktrees/pr-7/paseo.json");
    let text = std::fs::read(&note).expect("it is there");
    std::fs::write(&note, "{").expect("written");
    unclear("its note").await;
    std::fs::write(&note, text).expect("written");
    let config = lab.work().join(".git/config");
    let text = std::fs::read(&config).expect("it is there");
    std::fs::write(&config, "[core").expect("written");
    unclear("its repository").await;
    std::fs::write(&config, text).expect("written");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submodule_is_trusted_as_the_worktree_around_it() {
    let mut lab = repository(&json!({ "worktree": { "setup": "echo ready > ready.log" } }));
    with_claude(&mut lab);
    let library = lab.path("library");
    git(&lab.path(""), &["init", "--quiet", &library.display().to_string()]);
    git(&library, &["commit", "--quiet", "--allow-empty", "--message", "first"]);
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../library", "library"];
    git(&lab.work(), &["remote", "add", "origin", &lab.work().display().to_string()]);
    git(&lab.work(), &add);
    git(&lab.work(), &["commit", "--quiet", "--message", "with a library"]);
    git(&lab.work(), &["remote", "remove", "origin"]);
    with_pull_request(&lab);
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let update = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init"];
    let made = [
        client.create_worktree(branch_off(&lab, "fix/it")).await.expect("it is made"),
        pull_request(&lab, &client).await,
    ];
    for made in &made {
        let tree = PathBuf::from(&made.worktree_path);
        git(&lab.work(), &["config", "submodule.library.url", &library.display().to_string()]);
        git(&tree, &update);
        let library = tree.join("library");
        assert!(library.join(".git").is_file());
        let (args, told) = started(&lab, &client, lab.script("hello").cwd(library.display().to_string())).await;
        assert_eq!(is_trusted(&args), made.trusted, "{args}");
        assert!(!told.contains("cannot tell"), "{told}");
    }
    // Worktrees are those of the library there.
    let library = Path::new(&made[1].worktree_path).join("library").display().to_string();
    let inner = CreateWorktree { base_branch: None, ..CreateWorktree::branch_off("inner", "") }.cwd(library);
    let inner = client.create_worktree(inner).await.expect("it is made");
    let main = git(Path::new(&inner.worktree_path), &["rev-parse", "--path-format=absolute", "--git-common-dir"]);
    assert!(main.contains("modules/library"), "{main}");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_on_ground_that_is_not_trusted_makes_no_trust() {
    let lab = repository(&json!({ "worktree": { "setup": "touch ours.log" } }));
    with_pull_request(&lab);
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let made = pull_request(&lab, &client).await;
    let agent = client.create_agent(lab.script("true").cwd(made.worktree_path.clone())).await.expect("it runs");
    let inside = inside(&lab, &agent.agent_id);
    let from = |branch: &str, base: &str| CreateWorktree::branch_off(branch, base).cwd(made.worktree_path.clone());
    for (branch, base) in [("evil", "HEAD"), ("fix/it", "main")] {
        let made = inside.create_worktree(from(branch, base)).await.expect("it is made");
        assert_eq!((made.trusted, made.setup.status), (false, SetupStatus::Skipped), "{branch}");
        assert!(!Path::new(&made.worktree_path).join("ours.log").exists());
        assert!(!Path::new(&made.worktree_path).join("theirs.log").exists());
    }
    let child = lab.script("true").worktree(from("fix/other", "main"));
    inside.create_agent(child).await.expect("it runs");
    let all = listed(&client, &lab).await;
    assert_eq!(all.iter().filter(|tree| !tree.trusted).count(), 4, "{all:?}");
    // One that is trusted makes it as ever, of what is.
    let agent = client.create_agent(lab.script("true")).await.expect("it runs");
    let inside = super::worktrees::inside(&lab, &agent.agent_id);
    assert!(inside.create_worktree(branch_off(&lab, "fix/own")).await.expect("it is made").trusted);
    assert!(!inside.create_worktree(from("fix/theirs", "HEAD")).await.expect("it is made").trusted);
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_told_once_of_a_setup_that_failed_however_it_came_there() {
    let mut lab = repository(&json!({ "worktree": { "setup": "sleep 0.2; echo it is broken >&2; exit 3" } }));
    with_claude(&mut lab);
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let failed = |told: &str| told.matches("The setup of this worktree failed").count();
    let waiting = |wait| CreateWorktree { wait_for_setup: wait, ..branch_off(&lab, "fix/it") };
    for (wait, branch) in [(Some(false), "fix/early"), (Some(true), "fix/late")] {
        let request = CreateWorktree { branch_name: Some(branch.to_owned()), ..waiting(wait) };
        let (_, told) = started(&lab, &client, lab.script("hello").worktree(request)).await;
        assert_eq!(failed(&told), 1, "{branch}: {told}");
        assert!(told.contains("exit code 3") && told.contains("hello"), "{told}");
    }
    let made = client.create_worktree(waiting(None)).await.expect("it is there");
    let task = CreateAgent {
        provider: "claude".to_owned(),
        mode: Some(Mode::Default),
        ..lab.script("hello").cwd(made.worktree_path.clone())
    };
    let agent = client.create_agent(task).await.expect("it runs").agent_id;
    client.send_agent_prompt(paseo_sdk::catalogue::SendAgentPrompt::new(&agent, "again")).await.expect("it runs");
    let told = std::fs::read_to_string(lab.home().join("told")).expect("it was told");
    let told: Vec<_> = told.lines().collect();
    assert_eq!(told[told.len() - 2..].iter().map(|told| failed(told)).collect::<Vec<_>>(), [1, 0], "{told:?}");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_seen_in_a_worktree_to_which_it_came_through_a_link() {
    let lab = repository(&json!({}));
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let made = client.create_worktree(branch_off(&lab, "fix/it")).await.expect("it is made");
    let link = lab.path("link");
    std::os::unix::fs::symlink(&made.worktree_path, &link).expect("a link");
    let task = lab.script("echo on; sleep 1000").cwd(link.display().to_string());
    let agent = client.create_agent(task.in_background()).await.expect("it starts").agent_id;
    super::watching::until_text(&client, &agent, "on").await;
    assert_eq!(listed(&client, &lab).await[0].agents, std::slice::from_ref(&agent));
    let there = ListAgents { cwd: Some(made.worktree_path.clone()), ..ListAgents::default() };
    assert_eq!(client.list_agents(there).await.expect("a list").agents.len(), 1);
    let refused = client.archive_worktree(archive(&made)).await.expect_err("somebody works there");
    assert_eq!(refused.code, Code::Refused);
    assert!(refused.message.contains(agent.as_str()), "{refused}");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_commit_that_is_gone_is_said_where_its_hooks_would_run() {
    let lab = repository(&json!({ "worktree": { "setup": "touch ours.log", "teardown": "touch down.log" } }));
    with_pull_request(&lab);
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let made = pull_request(&lab, &client).await;
    let note = lab.work().join(".git/worktrees/pr-7/paseo.json");
    let text = std::fs::read_to_string(&note).expect("it is there");
    let base = made.base_commit.clone().expect("one");
    std::fs::write(&note, text.replace(&base, "0123456789012345678901234567890123456789")).expect("written");
    let trust = TrustWorktree { worktree_path: Some(made.worktree_path.clone()), ..TrustWorktree::default() };
    let trusted = client.trust_worktree(trust).await.expect("it is trusted");
    let says = |setup: &Setup, hook: &str| {
        let why = format!("the {hook} cannot be read: the base commit is not there any more");
        assert_eq!(setup.message.as_ref(), Some(&why), "{setup:?}");
    };
    assert_eq!(trusted.setup.status, SetupStatus::Failed);
    says(&trusted.setup, "setup");
    let archived = client.archive_worktree(archive(&made)).await.expect("it goes all the same");
    assert_eq!(archived.teardown.status, SetupStatus::Skipped);
    says(&archived.teardown, "teardown");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worktree_stays_with_its_agent_whose_process_cannot_start() {
    let mut lab = repository(&json!({ "worktree": { "setup": "rm $PROGRAMS/claude" } }));
    with_claude(&mut lab);
    let programs = lab.path("programs").display().to_string();
    lab.set_env([("PATH".to_owned(), format!("{programs}:/usr/bin:/bin")), ("PROGRAMS".to_owned(), programs)]);
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let task = CreateAgent { provider: "claude".to_owned(), mode: Some(Mode::Default), ..lab.script("hello") };
    let done = client.create_agent(task.worktree(branch_off(&lab, "fix/it"))).await.expect("it is there");
    assert_eq!(done.outcome, Some(WaitOutcome::Error), "{done:?}");
    assert!(done.reason.as_ref().is_some_and(|why| why.contains("claude")), "{done:?}");
    // It can be prompted again, once its program is there.
    let found = listed(&client, &lab).await;
    assert_eq!((found.len(), found[0].agents.as_slice()), (1, [done.agent_id.clone()].as_slice()));
    crate::lab::program(&lab.path("programs/claude"), PROGRAM.as_bytes());
    let again = paseo_sdk::catalogue::SendAgentPrompt::new(&done.agent_id, "again");
    let again = client.send_agent_prompt(again).await.expect("it runs");
    assert_eq!(again.last_message.as_deref(), Some("done"), "{again:?}");
    lab.end(&client).await;
}
