//! What agents may do with schedules, and what is refused of anybody.

use paseo_sdk::Code;
use paseo_sdk::catalogue::{CreateSchedule, DeleteSchedule, PauseSchedule, RunSchedule, UpdateSchedule};
use paseo_sdk::model::{Behavior, Duration, Mode, PermissionKind};
use serde_json::{Value, json};

use super::{HOUR, SECOND, inspect, scripted, until};
use crate::conformance::stage::{Kind, Stage, answer, status};
use crate::daemon::reports::{reports, told};
use crate::daemon::watching;
use crate::daemon::worktrees::inside;
use crate::lab::Lab;
use crate::messages_api::program::claude_program;

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_above_the_mode_of_the_agent_that_makes_it_is_a_persons_to_allow() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let agent = client.create_agent(lab.asking("true")).await.expect("it asks").agent_id;
    let inside = inside(&lab, &agent);
    // What it may do itself it may do again and again.
    let own = CreateSchedule {
        mode: Some(Mode::Default),
        target: Some("new-agent".to_owned()),
        ..scripted(&lab, HOUR, "true")
    };
    let made = inside.create_schedule(own).await.expect("it may");
    let free = CreateSchedule { target: Some("new-agent".to_owned()), ..scripted(&lab, HOUR, "touch free") };
    let call = (inside.clone(), free);
    let call = tokio::spawn(async move { call.0.create_schedule(call.1).await });
    let is_wish = |permission: &&paseo_sdk::model::Permission| permission.kind == PermissionKind::Other;
    watching::until(&client, &agent, |agent| agent.permissions.iter().any(|permission| is_wish(&permission))).await;
    let wish = status(&client, &agent).await.permissions.iter().find(is_wish).expect("it is asked").clone();
    assert_eq!(wish.title, "say again and again to a new agent of shell in mode full-access: touch free");
    client.respond_to_permission(answer(&agent, &wish, Behavior::Deny)).await.expect("an answer");
    assert_eq!(call.await.expect("no panic").expect_err("it is denied").code, Code::Forbidden);
    // A person's schedule is out of its reach, as it is about another directory.
    let theirs = client.create_schedule(scripted(&lab, HOUR, "true")).await.expect("it is made").schedule_id;
    let pause = |id| PauseSchedule { schedule_id: id };
    let error = inside.pause_schedule(pause((&theirs).into())).await.expect_err("it is out of reach");
    assert_eq!(error.code, Code::Forbidden);
    assert!(error.message.contains("out of reach"), "{error}");
    inside.pause_schedule(pause((&made.schedule_id).into())).await.expect("its own");
    inside.delete_schedule(DeleteSchedule { schedule_id: (&made.schedule_id).into() }).await.expect("its own");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_made_a_schedule_is_told_how_its_runs_end() {
    let Some(program) = claude_program() else { return };
    let mut stage = Stage::new(Kind::Claude { program }).await;
    let client = stage.start();
    let parent = client.create_agent(stage.free("hello")).await.expect("it runs").agent_id;
    let request = CreateSchedule {
        target: Some("new-agent".to_owned()),
        notify_on_finish: true,
        ..scripted(&stage.lab, HOUR, "echo all is well")
    };
    let made = inside(&stage.lab, &parent).create_schedule(request).await.expect("it may");
    client
        .run_schedule(RunSchedule { schedule_id: (&made.schedule_id).into(), prompt_id: None })
        .await
        .expect("it runs");
    let found = until(&stage.lab, &client, &made.schedule_id, |found| found.schedule.runs == 1).await;
    let agent = found.runs[0].agent_id.clone().expect("it has one");
    let entries = told(&client, &parent, 1).await;
    let said: Vec<_> = reports(&entries).into_iter().map(|(_, text)| text).collect();
    // That its agent was archived, as those of runs are, is not told.
    let name = format!("agent “echo all is well” ({agent})");
    assert_eq!(said, [format!("{name} has finished. It said last:\n> all is well")]);
    stage.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_schedules_are_refused_by_name_and_change_nothing() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let work = lab.work().display().to_string();
    let good = json!({ "prompt": "true", "provider": "shell", "cwd": work, "every": "1h" });
    let with = |changes: Value| {
        let mut request = good.clone();
        for (field, value) in changes.as_object().expect("an object") {
            match value.is_null() {
                true => drop(request.as_object_mut().expect("an object").remove(field)),
                false => request[field] = value.clone(),
            }
        }
        request
    };
    let cron = |cron: &str| with(json!({ "every": null, "cron": cron, "timezone": "UTC" }));
    let mut refusals = Vec::new();
    for request in [
        with(json!({ "every": "0s" })),
        with(json!({ "every": "500ms" })),
        with(json!({ "every": "5x" })),
        with(json!({ "every": null })),
        with(json!({ "cron": "@daily" })),
        with(json!({ "timezone": "UTC" })),
        cron("* * * *"),
        cron("61 * * * *"),
        cron("0 0 30 2 *"),
        with(json!({ "every": null, "cron": "@daily", "timezone": "Europe/Berln" })),
        with(json!({ "expiresIn": "0s" })),
        with(json!({ "expiresIn": "10m" })),
        with(json!({ "maxRuns": 0 })),
        with(json!({ "runTimeout": "1ms" })),
        with(json!({ "prompt": " " })),
        with(json!({ "name": "" })),
        with(json!({ "scheduleId": "../escape" })),
        with(json!({ "target": "self" })),
        with(json!({ "target": "nobody" })),
        with(json!({ "provider": "nobody" })),
        with(json!({ "mode": "plan" })),
        with(json!({ "cwd": null })),
        with(json!({ "cwd": "/does/not/exist" })),
        with(json!({ "worktree": {} })),
        with(json!({ "notifyOnFinish": true })),
        with(json!({ "whenMissed": "never" })),
        with(json!({ "colour": "blue" })),
    ] {
        let shown: Vec<_> = ["every", "cron", "target"].into_iter().filter_map(|field| request.get(field)).collect();
        let shown = format!("{shown:?}");
        let error = client.call("create_schedule", request).await.expect_err(&shown);
        let shown = serde_json::to_string_pretty(&error).expect("it is data").replace(&work, "<work>");
        // The time of the first slot is another one each time.
        let shown = match shown.split_once(", at 2") {
            Some((before, after)) => format!("{before}, at <time>\"{}", after.split_once('"').expect("it ends").1),
            None => shown,
        };
        refusals.push(shown);
    }
    insta::assert_snapshot!(refusals.join("\n"));
    assert_eq!(std::fs::read_dir(lab.home().join("schedules")).expect("a directory").count(), 0);
    for (every, milliseconds) in [("1.5h", 5_400_000), ("1d2h", 93_600_000), ("1s", 1_000)] {
        let made =
            client.call("create_schedule", with(json!({ "every": every, "maxRuns": 1, "expiresIn": "30d" }))).await;
        let made: paseo_sdk::model::Schedule = serde_json::from_value(made.expect("it is made")).expect("a schedule");
        assert_eq!(made.rhythm.every, Some(Duration { milliseconds }));
        assert_eq!(made.next.len(), 1);
        client.delete_schedule(DeleteSchedule { schedule_id: (&made.schedule_id).into() }).await.expect("it may");
    }
    let made = client.create_schedule(scripted(&lab, HOUR, "true")).await.expect("it is made");
    let update = UpdateSchedule {
        every: Some(SECOND),
        cron: Some("@daily".to_owned()),
        ..UpdateSchedule::new(&made.schedule_id)
    };
    assert_eq!(client.update_schedule(update).await.expect_err("both").code, Code::InvalidArgument);
    assert_eq!(inspect(&client, &made.schedule_id).await.schedule, made);
    lab.end(&client).await;
}
