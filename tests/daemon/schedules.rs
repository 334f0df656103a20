//! Schedules with the real daemon: heartbeats, new agents, what was missed, and daemons that die in between.

mod ends;
mod rights;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use paseo_daemon::fault::Point;
use paseo_sdk::Client;
use paseo_sdk::catalogue::{
    CreateSchedule, DeleteSchedule, InspectSchedule, InspectedSchedule, ListAgents, ListSchedules, PauseSchedule,
    ResumeSchedule, RunSchedule, UpdateSchedule, WaitForAgent,
};
use paseo_sdk::model::{
    AgentId, Duration, Mode, Overlap, Run, RunStatus, ScheduleId, ScheduleStatus, Status, WaitOutcome, WhenMissed,
};
use rustix::fs::inotify;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::worktrees::inside;
use crate::conformance::stage::{notices, status};
use crate::lab::{Lab, PASEO, calls, timeline};
use crate::torture::keeper::{Doom, Keeper};

pub(super) const SECOND: Duration = Duration { milliseconds: 1_000 };
const HOUR: Duration = Duration { milliseconds: 3_600_000 };

/// A script for a new agent each time.
pub(super) fn scripted(lab: &Lab, every: Duration, script: &str) -> CreateSchedule {
    CreateSchedule {
        provider: Some("shell".to_owned()),
        mode: Some(Mode::FullAccess),
        cwd: Some(lab.work().display().to_string()),
        ..CreateSchedule::every(every, script)
    }
}

/// An agent whose turn goes on until there is a file `go`.
pub(super) async fn busy(lab: &Lab, client: &Client) -> AgentId {
    let script = "until test -e go; do sleep 0.03; done";
    client.create_agent(lab.script(script).in_background()).await.expect("it runs").agent_id
}

/// Returns a schedule with its runs, once it is so.
pub(super) async fn until(
    lab: &Lab,
    client: &Client,
    id: &ScheduleId,
    so: impl Fn(&InspectedSchedule) -> bool,
) -> InspectedSchedule {
    let watch = Arc::new(inotify::init(inotify::CreateFlags::CLOEXEC).expect("files can be watched"));
    let changes = inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::DELETE;
    inotify::add_watch(&*watch, lab.home().join("schedules"), changes).expect("it is there");
    loop {
        let found = inspect(client, id).await;
        if so(&found) {
            return found;
        }
        let watch: Arc<OwnedFd> = watch.clone();
        let change = tokio::task::spawn_blocking(move || rustix::io::read(&*watch, &mut [0; 4096][..]));
        change.await.expect("no panic").expect("it changes");
    }
}

pub(super) async fn inspect(client: &Client, id: &ScheduleId) -> InspectedSchedule {
    let request = InspectSchedule { schedule_id: id.into(), limit: Some(200), before: None };
    client.inspect_schedule(request).await.expect("it is there")
}

/// What became of the runs, the oldest first.
pub(super) fn fates(found: &InspectedSchedule) -> Vec<RunStatus> {
    found.runs.iter().rev().map(|run| run.status).collect()
}

fn happened(found: &InspectedSchedule) -> Vec<&Run> {
    found.runs.iter().rev().filter(|run| run.status.has_happened()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_runs_are_seen_and_recorded_and_then_it_is_completed() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let request = CreateSchedule { max_runs: Some(3), ..scripted(&lab, SECOND, "echo beat >> beats; echo pong") };
    let made = client.create_schedule(request).await.expect("it is made");
    assert_eq!((made.status, made.name.as_str()), (ScheduleStatus::Active, "echo beat >> beats; echo pong"));
    let next: Vec<_> = made.next.iter().map(|next| next.0 - made.created_at.0).collect();
    assert_eq!(next, [1_000, 2_000, 3_000]);
    let found = until(&lab, &client, &made.schedule_id, |found| found.schedule.status != ScheduleStatus::Active).await;
    assert_eq!((found.schedule.status, found.schedule.runs), (ScheduleStatus::Completed, 3));
    assert_eq!(found.schedule.next, []);
    let ran = happened(&found);
    assert_eq!(ran.len(), 3);
    for run in ran {
        assert_eq!((run.status, run.last_message.as_deref()), (RunStatus::Succeeded, Some("pong")));
        assert!(run.started_at >= Some(run.slot) && run.ended_at >= run.started_at, "{run:?}");
        // The process ends with the run; the history stays.
        let agent = status(&client, run.agent_id.as_ref().expect("it has one")).await;
        assert_eq!(
            (agent.status, agent.pid, agent.labels["schedule"].as_str()),
            (Status::Archived, None, made.schedule_id.as_str())
        );
        let entries = timeline(&client, &agent.agent_id).await;
        assert_eq!(notices(&entries), [format!("schedule “{}” ({}) says:", made.name, made.schedule_id)]);
    }
    assert_eq!(std::fs::read_to_string(lab.work().join("beats")).expect("it ran"), "beat\n".repeat(3));
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beats_to_a_busy_agent_are_one_prompt_when_its_turn_settles() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let agent = busy(&lab, &client).await;
    let inside = inside(&lab, &agent);
    let heartbeat = CreateSchedule { name: Some("look".to_owned()), ..CreateSchedule::every(SECOND, "echo >> beats") };
    let made = inside.create_schedule(heartbeat).await.expect("an agent may look at itself");
    assert_eq!((&made.task.agent_id, &made.created_by), (&Some(agent.clone()), &Some(agent.clone())));
    let id = made.schedule_id;
    let slots = |found: &InspectedSchedule| found.runs.iter().filter_map(|run| run.slots).sum::<i64>();
    let found = until(&lab, &client, &id, |found| slots(found) >= 3).await;
    let (waits, coalesced) = found.runs.split_last().expect("there are some");
    assert_eq!((waits.number, waits.status, waits.slots), (1, RunStatus::Claimed, Some(1)));
    assert!(coalesced.iter().all(|run| (run.status, run.into) == (RunStatus::Coalesced, Some(1))), "{coalesced:#?}");
    assert_eq!(status(&client, &agent).await.queued.len(), 1);
    client.pause_schedule(PauseSchedule { schedule_id: (&id).into() }).await.expect("it may");
    std::fs::write(lab.work().join("go"), "").expect("go");
    let found = until(&lab, &client, &id, |found| found.schedule.open.is_empty()).await;
    assert_eq!(fates(&found)[0], RunStatus::Succeeded);
    assert_eq!(found.schedule.runs, 1);
    assert_eq!(std::fs::read_to_string(lab.work().join("beats")).expect("it ran"), "\n");
    let entries = timeline(&client, &agent).await;
    assert_eq!(notices(&entries), [format!("schedule “look” ({id}) of agent {agent} says:")]);
    assert_eq!(calls(&entries).len(), 2, "one turn of its own, and one beat");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_command_line_of_an_agent_a_schedule_is_a_heartbeat() {
    let lab = Lab::new();
    let _daemon = lab.process();
    let client = lab.client();
    let script = format!("'{PASEO}' schedule create --every 5m 'ping main build'");
    let done = client.create_agent(lab.script(&script)).await.expect("it runs");
    let said = done.last_message.expect("it says what it made");
    assert!(said.starts_with("made ") && said.contains("(ping main build): in "), "{said}");
    let schedules = client.list_schedules(ListSchedules::default()).await.expect("a list").schedules;
    let [made] = schedules.as_slice() else { panic!("one schedule: {schedules:?}") };
    assert_eq!((&made.task.agent_id, &made.created_by), (&Some(done.agent_id.clone()), &Some(done.agent_id)));
    assert_eq!((made.task.cwd.as_ref(), made.task.provider.as_ref()), (None, None));
    lab.end(&client).await;
}

/// Moves a schedule's file back in time, as if the daemon had been away for so long.
fn away(lab: &Lab, id: &ScheduleId, milliseconds: i64) {
    let path = lab.home().join("schedules").join(format!("{id}.json"));
    let mut memory: Value = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
    for field in ["anchor", "decided"] {
        let time: paseo_sdk::model::Timestamp = serde_json::from_value(memory[field].clone()).expect("a time");
        memory[field] = json!(time.plus(-milliseconds));
    }
    std::fs::write(path, memory.to_string()).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_over_which_the_daemon_was_down_are_made_up_for_once_or_skipped() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let once = scripted(&lab, HOUR, "echo once >> ran");
    let skip = CreateSchedule { when_missed: WhenMissed::Skip, ..scripted(&lab, HOUR, "echo skip >> ran") };
    let once = client.create_schedule(once).await.expect("it is made").schedule_id;
    let skip = client.create_schedule(skip).await.expect("it is made").schedule_id;
    daemon.shutdown().await;
    for id in [&once, &skip] {
        away(&lab, id, HOUR.milliseconds * 7 / 2);
    }
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let found = until(&lab, &client, &once, |found| found.schedule.runs == 1).await;
    assert_eq!(fates(&found), [RunStatus::Coalesced, RunStatus::Succeeded]);
    assert_eq!((found.runs[1].slots, found.runs[1].into), (Some(2), Some(2)));
    let found = until(&lab, &client, &skip, |found| !found.runs.is_empty()).await;
    assert_eq!((fates(&found), found.runs[0].slots), (vec![RunStatus::Skipped], Some(3)));
    assert!(found.runs[0].reason.as_ref().is_some_and(|why| why.contains("daemon was not running")));
    assert_eq!(found.schedule.runs, 0);
    assert_eq!(std::fs::read_to_string(lab.work().join("ran")).expect("it ran"), "once\n");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_between_any_two_effects_runs_each_slot_once() {
    // How often each is passed at least, once the schedules are made and the next daemon runs.
    let points = [
        (Point::FileWritten, 8),
        (Point::FileRenamed, 8),
        (Point::ScheduleKept, 8),
        (Point::AgentFurnished, 2),
        (Point::AgentMade, 2),
        (Point::OutboxSynced, 3),
        (Point::RunAccepted, 4),
        (Point::Launched, 2),
        (Point::Told, 3),
        (Point::RecordHeard, 3),
        (Point::RunEnded, 4),
    ];
    let mut stories = JoinSet::new();
    let mut failed = Vec::new();
    for (point, nth) in points.into_iter().flat_map(|(point, most)| (1..=most).map(move |nth| (point, nth))) {
        if stories.len() == 4 {
            failed.extend(stories.join_next().await.and_then(|told| told.expect("what fails is caught within")));
        }
        stories.spawn(async move {
            let told = tokio::spawn(killed_at(point, nth)).await;
            told.err().map(|panic| format!("{}, passage {nth}: {panic}", point.name()))
        });
    }
    while let Some(told) = stories.join_next().await {
        failed.extend(told.expect("what fails is caught within"));
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Two runs of new agents and a heartbeat, while the daemon is killed when it passes a point for the nth time.
async fn killed_at(point: Point, nth: u32) {
    let lab = Lab::new();
    let first = lab.process();
    let client = lab.client();
    let fresh = CreateSchedule { max_runs: Some(2), ..scripted(&lab, SECOND, "echo fresh >> ran") };
    let fresh = client.create_schedule(fresh).await.expect("it is made").schedule_id;
    let agent = client.create_agent(lab.script("true")).await.expect("it runs").agent_id;
    let beat = CreateSchedule {
        target: Some(agent.to_string()),
        max_runs: Some(2),
        when_busy: Overlap::Queue,
        ..CreateSchedule::every(SECOND, "echo beat >> ran")
    };
    let beat = client.create_schedule(beat).await.expect("it is made").schedule_id;
    first.kill();
    let keeper = Keeper::start(&lab, vec![Doom::At(Some(point), nth), Doom::Never]);
    for (id, word) in [(&fresh, "fresh"), (&beat, "beat")] {
        let found = until(&lab, &client, id, |found| found.schedule.status == ScheduleStatus::Completed).await;
        assert_eq!((found.schedule.runs, happened(&found).len()), (2, 2), "{found:#?}");
        assert!(happened(&found).iter().all(|run| run.status == RunStatus::Succeeded), "{found:#?}");
        let ran = std::fs::read_to_string(lab.work().join("ran")).expect("it ran");
        assert_eq!(ran.lines().filter(|line| *line == word).count(), 2, "{word}: {ran}");
        // Each second from the first to the last is in one record.
        let mut slots: Vec<i64> = found.runs.iter().filter_map(|run| run.slots).collect();
        let (first, last) = (found.runs.last().expect("a run"), &found.runs[0]);
        let seconds = (last.last_slot.unwrap_or(last.slot).0 - first.slot.0) / 1_000 + 1;
        slots.sort_unstable();
        assert_eq!(slots.iter().sum::<i64>(), seconds, "{found:#?}");
    }
    let deaths = keeper.kill().await;
    assert_eq!(deaths, 1, "the point was never reached");
    let _daemon = lab.process();
    let agents = client.list_agents(ListAgents { include_archived: true, ..ListAgents::default() }).await;
    assert_eq!(agents.expect("a list").agents.len(), 3, "two of the runs, and the one that is told");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_stopped_again_and_again_pauses_nothing() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let agent = client.create_agent(lab.script("true")).await.expect("it runs").agent_id;
    let beat = CreateSchedule {
        target: Some(agent.to_string()),
        max_runs: Some(3),
        ..CreateSchedule::every(SECOND, "echo beat >> ran")
    };
    let id = client.create_schedule(beat).await.expect("it is made").schedule_id;
    daemon.shutdown().await;
    let mut status = ScheduleStatus::Active;
    while status == ScheduleStatus::Active {
        let daemon = lab.daemon().await;
        status = inspect(&daemon.client(), &id).await.schedule.status;
        daemon.shutdown().await;
    }
    assert_eq!(status, ScheduleStatus::Completed);
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let found = inspect(&client, &id).await;
    assert_eq!(happened(&found).iter().filter(|run| run.status == RunStatus::Succeeded).count(), 3, "{found:#?}");
    assert_eq!(std::fs::read_to_string(lab.work().join("ran")).expect("it ran"), "beat\n".repeat(3));
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_schedule_is_set_aside_while_the_others_run() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let one = client.create_schedule(scripted(&lab, HOUR, "true")).await.expect("it is made").schedule_id;
    let other = CreateSchedule { max_runs: Some(1), ..scripted(&lab, HOUR, "true") };
    let other = client.create_schedule(other).await.expect("it is made").schedule_id;
    daemon.shutdown().await;
    let path = lab.home().join("schedules").join(format!("{one}.json"));
    std::fs::write(&path, "{\"scheduleId\": ").expect("damaged");
    away(&lab, &other, HOUR.milliseconds);
    let daemon = lab.daemon().await;
    let client = daemon.client();
    until(&lab, &client, &other, |found| found.schedule.status == ScheduleStatus::Completed).await;
    let warnings = client.get_daemon(Default::default()).await.expect("it answers").warnings;
    assert!(
        warnings.iter().any(|warning| warning.contains(one.as_str()) && warning.contains("does not run")),
        "{warnings:?}"
    );
    assert!(!path.exists(), "it is set aside");
    let ids: Vec<_> = client.list_schedules(ListSchedules::default()).await.expect("a list").schedules;
    assert_eq!(ids.len(), 1);
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_call_again_makes_nothing_twice() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let request = CreateSchedule {
        schedule_id: Some("nightly".parse().expect("an id")),
        name: Some("the night".to_owned()),
        ..scripted(&lab, HOUR, "echo ran >> ran")
    };
    let made = client.create_schedule(request.clone()).await.expect("it is made");
    assert_eq!(client.create_schedule(request.clone()).await.expect("it is there"), made);
    let other = CreateSchedule { prompt: "something else".to_owned(), ..request };
    let error = client.create_schedule(other).await.expect_err("another one");
    assert_eq!(error.code, paseo_sdk::Code::Conflict);
    let run = RunSchedule { schedule_id: "the night".into(), prompt_id: Some("now".parse().expect("an id")) };
    client.run_schedule(run.clone()).await.expect("it runs");
    client.run_schedule(run).await.expect("it runs already, or has");
    let id = made.schedule_id;
    let found = until(&lab, &client, &id, |found| found.schedule.open.is_empty()).await;
    let [run] = found.runs.as_slice() else { panic!("one run: {:?}", found.runs) };
    assert_eq!((run.slots, run.prompt_id.as_ref().map(|prompt| prompt.as_str())), (Some(0), Some("now")));
    assert_eq!(std::fs::read_to_string(lab.work().join("ran")).expect("it ran"), "ran\n");
    // It has not moved the next time.
    assert_eq!(found.schedule.next, made.next);

    let reference = || (&id).into();
    let paused = client.pause_schedule(PauseSchedule { schedule_id: reference() }).await.expect("it may");
    assert_eq!((paused.status, paused.next.len()), (ScheduleStatus::Paused, 0));
    let update = UpdateSchedule {
        cron: Some("0 3 * * *".to_owned()),
        timezone: Some("Asia/Tokyo".to_owned()),
        ..UpdateSchedule::new(&id)
    };
    let updated = client.update_schedule(update).await.expect("it may");
    assert_eq!((updated.rhythm.every, updated.rhythm.timezone.as_deref()), (None, Some("Asia/Tokyo")));
    let resumed = client.resume_schedule(ResumeSchedule { schedule_id: reference() }).await.expect("it may");
    assert!(resumed.next[0].to_string().ends_with("T18:00:00.000Z"), "{:?}", resumed.next);
    daemon.shutdown().await;
    let daemon = lab.daemon().await;
    let client = daemon.client();
    assert_eq!(inspect(&client, &id).await.schedule, resumed);
    let deleted = client.delete_schedule(DeleteSchedule { schedule_id: reference() }).await.expect("it may");
    assert_eq!(deleted.schedule_id, id);
    assert_eq!(client.list_schedules(ListSchedules::default()).await.expect("a list").schedules, []);
    assert_eq!(std::fs::read_dir(lab.home().join("schedules")).expect("a directory").count(), 0);
    lab.end(&client).await;
}

/// Waits for the work of an agent that somebody else has woken.
pub(super) async fn at_rest(client: &Client, agent: &AgentId) -> Option<WaitOutcome> {
    client.wait_for_agent(WaitForAgent::one(agent)).await.expect("it ends").outcome
}
