//! How runs end, and what is left of them.

use std::path::Path;

use paseo_sdk::catalogue::{
    ArchiveAgent, CancelAgent, CreateSchedule, CreateWorktree, GetAgentStatus, ListWorktrees, RunSchedule,
    SendAgentPrompt,
};
use paseo_sdk::model::{Mode, Overlap, RunStatus, ScheduleStatus, Status};

use super::{SECOND, at_rest, busy, fates, inspect, scripted, until};
use crate::conformance::stage::status;
use crate::daemon::watching;
use crate::daemon::worktrees::{git, repository};
use crate::lab::Lab;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_for_a_permission_shows_so_and_ends_in_time() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let request = CreateSchedule {
        mode: Some(Mode::Default),
        max_runs: Some(1),
        run_timeout: Some(SECOND),
        ..scripted(&lab, SECOND, "touch made")
    };
    let id = client.create_schedule(request).await.expect("it is made").schedule_id;
    let found = until(&lab, &client, &id, |found| found.runs.iter().any(|run| run.status == RunStatus::Waiting)).await;
    let reason = found.runs[0].reason.clone().expect("it says for what");
    assert!(reason.starts_with("permission ") && reason.contains("touch made"), "{reason}");
    let found = until(&lab, &client, &id, |found| found.schedule.open.is_empty()).await;
    let run = &found.runs[0];
    assert_eq!((run.status, run.reason.as_deref()), (RunStatus::Interrupted, Some("it took longer than 1s")));
    let agent = status(&client, run.agent_id.as_ref().expect("it has one")).await;
    assert_eq!((agent.status, agent.pid, agent.permissions), (Status::Archived, None, Vec::new()));
    assert!(!lab.work().join("made").exists());
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_or_cannot_start_is_a_run_that_failed() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let request = CreateSchedule { max_runs: Some(1), ..scripted(&lab, SECOND, "echo no >&2; exit 3") };
    let fails = client.create_schedule(request).await.expect("it is made").schedule_id;
    let gone = lab.path("gone");
    std::fs::create_dir(&gone).expect("a directory");
    let cwd = Some(gone.display().to_string());
    let request = CreateSchedule { max_runs: Some(1), cwd, ..scripted(&lab, SECOND, "true") };
    let starts_not = client.create_schedule(request).await.expect("it is made").schedule_id;
    std::fs::remove_dir(&gone).expect("gone");
    for (id, why) in [(fails, "exit code 3"), (starts_not, "there is no such directory")] {
        let found = until(&lab, &client, &id, |found| found.schedule.status == ScheduleStatus::Completed).await;
        let run = found.schedule.last.expect("a run");
        assert_eq!(run.status, RunStatus::Failed);
        assert!(run.reason.as_ref().is_some_and(|reason| reason.contains(why)), "{run:?}");
    }
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_has_a_worktree_that_goes_when_nothing_is_in_it() {
    let lab = repository(&serde_json::json!({}));
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let made = |branch: &str, script: &str| CreateSchedule {
        worktree: Some(CreateWorktree { base_branch: None, ..CreateWorktree::branch_off(branch, "") }),
        max_runs: Some(1),
        ..scripted(&lab, SECOND, script)
    };
    let commit = "git -c user.name=T -c user.email=t@localhost commit --quiet --allow-empty -m work";
    let clean = client.create_schedule(made("clean", "pwd")).await.expect("it is made").schedule_id;
    let dirty = client.create_schedule(made("dirty", "touch new")).await.expect("it is made").schedule_id;
    let commits = client.create_schedule(made("commits", commit)).await.expect("it is made").schedule_id;
    let mut left = Vec::new();
    for id in [clean, dirty, commits] {
        let found = until(&lab, &client, &id, |found| found.schedule.status == ScheduleStatus::Completed).await;
        let run = found.schedule.last.expect("a run");
        assert_eq!(run.status, RunStatus::Succeeded, "{run:?}");
        assert_eq!(status(&client, run.agent_id.as_ref().expect("it has one")).await.status, Status::Archived);
        left.push(run.worktree);
    }
    let [None, Some(kept), None] = left.as_slice() else { panic!("the dirty one stays: {left:?}") };
    let branch = kept.branch_name.clone().expect("it has one");
    assert!(branch.starts_with("dirty-1-"), "{branch}");
    assert!(Path::new(&kept.worktree_path).join("new").exists());
    let list = ListWorktrees { cwd: Some(lab.work().display().to_string()), all: false };
    let listed = client.list_worktrees(list).await.expect("a list").worktrees;
    let paths: Vec<_> =
        listed.iter().map(|tree| &tree.worktree_path).filter(|path| path.contains("worktrees")).collect();
    assert_eq!(paths, [&kept.worktree_path]);
    // What was committed is on its branch.
    let branches = git(&lab.work(), &["branch", "--format=%(refname:short)"]);
    let [committed, dirty, "main"] = branches.lines().collect::<Vec<_>>()[..] else { panic!("{branches}") };
    assert!(committed.starts_with("commits-1-") && dirty == branch, "{branches}");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_target_is_skipped_where_that_is_wanted() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let agent = busy(&lab, &client).await;
    let beat = CreateSchedule {
        target: Some(agent.to_string()),
        when_busy: Overlap::Skip,
        max_runs: Some(1),
        ..CreateSchedule::every(SECOND, "echo beat")
    };
    let id = client.create_schedule(beat).await.expect("it is made").schedule_id;
    let found = until(&lab, &client, &id, |found| found.runs.iter().any(|run| run.slots > Some(1))).await;
    assert!(fates(&found).iter().all(|fate| *fate == RunStatus::Skipped), "{found:?}");
    assert_eq!(found.runs[0].reason.as_deref(), Some("the agent was busy"));
    assert_eq!(status(&client, &agent).await.queued, []);
    std::fs::write(lab.work().join("go"), "").expect("go");
    let found = until(&lab, &client, &id, |found| found.schedule.status == ScheduleStatus::Completed).await;
    assert_eq!(found.schedule.last.expect("a run").last_message.as_deref(), Some("beat"));
    at_rest(&client, &agent).await;
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_whose_agent_is_archived_pauses_and_says_why() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let agent = client.create_agent(lab.script("true")).await.expect("it runs").agent_id;
    let beat = CreateSchedule { target: Some(agent.to_string()), ..CreateSchedule::every(SECOND, "echo beat") };
    client.archive_agent(ArchiveAgent { agent_id: (&agent).into() }).await.expect("it may");
    let id = client.create_schedule(beat).await.expect("it is made").schedule_id;
    let found = until(&lab, &client, &id, |found| found.schedule.status == ScheduleStatus::Paused).await;
    assert_eq!(found.schedule.reason, Some(format!("agent {agent} is archived")));
    assert_eq!(fates(&inspect(&client, &id).await), [RunStatus::Skipped]);
    let now = client.get_agent_status(GetAgentStatus { agent_id: (&agent).into() }).await.expect("it is there");
    assert_eq!(now.status, Status::Archived, "it is not woken");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beat_that_is_taken_back_before_the_agent_begins_is_no_run() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let agent = busy(&lab, &client).await;
    let beat = CreateSchedule { target: Some(agent.to_string()), ..CreateSchedule::every(super::HOUR, "echo beat") };
    let id = client.create_schedule(beat).await.expect("it is made").schedule_id;
    client.run_schedule(RunSchedule { schedule_id: (&id).into(), prompt_id: None }).await.expect("it may");
    watching::until(&client, &agent, |agent| !agent.queued.is_empty()).await;
    client.cancel_agent(CancelAgent { agent_id: (&agent).into() }).await.expect("it stops");
    let found = until(&lab, &client, &id, |found| found.schedule.open.is_empty()).await;
    assert_eq!((fates(&found), found.schedule.runs), (vec![RunStatus::Skipped], 0));
    assert!(found.runs[0].reason.as_ref().is_some_and(|reason| reason.contains("taken back")), "{found:?}");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_takes_too_long_costs_nobody_elses_prompt() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let agent = client.create_agent(lab.script("true")).await.expect("it runs").agent_id;
    let beat = CreateSchedule {
        target: Some(agent.to_string()),
        run_timeout: Some(SECOND),
        max_runs: Some(1),
        ..CreateSchedule::every(SECOND, "echo begun; sleep 1000")
    };
    let id = client.create_schedule(beat).await.expect("it is made").schedule_id;
    until(&lab, &client, &id, |found| found.runs.iter().any(|run| run.status == RunStatus::Running)).await;
    let other = client.send_agent_prompt(SendAgentPrompt::new(&agent, "echo mine")).await.expect("it runs");
    assert_eq!(other.last_message.as_deref(), Some("mine"));
    let found = until(&lab, &client, &id, |found| found.schedule.open.is_empty()).await;
    assert_eq!(found.runs[0].reason.as_deref(), Some("it took longer than 1s"));
    lab.end(&client).await;
}
