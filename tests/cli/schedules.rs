//! What people read about schedules.

use paseo_cli::render::View;
use paseo_cli::schedules;
use paseo_sdk::model::{Run, Schedule, Timestamp};
use serde_json::{Value, json};

fn view() -> View {
    // 2023-11-14 22:13:20
    View { now: Timestamp(1_700_000_000_000), width: None, color: false, home: None }
}

fn schedule(changes: Value) -> Schedule {
    let mut schedule = json!({
        "scheduleId": "39209cdc-adb6-435d-86f6-bf1e3fab4125",
        "name": "ping main build",
        "every": "5m",
        "prompt": "ping main build\nand say how it is",
        "provider": "claude/sonnet",
        "mode": "default",
        "cwd": "/work/shop",
        "runTimeout": "1d",
        "whenMissed": "once",
        "whenBusy": "coalesce",
        "status": "active",
        "next": ["2023-11-14T22:17:32Z", "2023-11-14T22:22:32Z"],
        "runs": 12,
        "createdAt": "2023-11-14T20:12:32Z",
        "updatedAt": "2023-11-14T20:12:32Z",
    });
    for (field, value) in changes.as_object().expect("an object") {
        match value.is_null() {
            true => drop(schedule.as_object_mut().expect("an object").remove(field)),
            false => schedule[field] = value.clone(),
        }
    }
    serde_json::from_value(schedule).expect("a schedule")
}

fn runs() -> Vec<Run> {
    let runs = json!([
        { "number": 1, "slot": "2023-11-14T20:17:32Z", "slots": 1, "status": "succeeded", "agentId": "a1",
          "lastMessage": "the build\nis green", "startedAt": "2023-11-14T20:17:33Z", "endedAt": "2023-11-14T20:19:03Z" },
        { "number": 2, "slot": "2023-11-14T20:22:32Z", "slots": 5, "lastSlot": "2023-11-14T20:42:32Z", "status": "skipped",
          "reason": "the daemon was not running, or the machine slept" },
        { "number": 3, "slot": "2023-11-14T20:47:32Z", "slots": 1, "status": "failed", "agentId": "a2",
          "reason": "exit code 3", "startedAt": "2023-11-14T20:47:33Z", "endedAt": "2023-11-14T20:47:34Z" },
        { "number": 4, "slot": "2023-11-14T21:00:00Z", "slots": 0, "status": "waiting", "agentId": "a3",
          "reason": "permission 7 is asked for: Bash \u{1b}[8m", "startedAt": "2023-11-14T21:00:01Z" },
        { "number": 5, "slot": "2023-11-14T21:02:32Z", "slots": 1, "status": "pending" },
        { "number": 6, "slot": "2023-11-14T21:07:32Z", "lastSlot": "2023-11-14T22:12:32Z", "status": "coalesced", "into": 5 },
    ]);
    serde_json::from_value(runs).expect("runs")
}

#[test]
fn schedules_are_a_table_that_says_when_they_are_due() {
    let cron = json!({ "every": null, "cron": "0 3 * * mon-fri", "timezone": "Europe/Berlin", "scheduleId": "nightly",
        "name": "nightly", "maxRuns": 30, "next": ["2023-11-15T02:00:00Z"] });
    let own = json!({ "createdBy": "9c01", "agentId": "9c01", "provider": null, "mode": null, "cwd": null });
    let waiting = json!({ "open": [runs()[3]], "agentId": "77c1", "next": [] });
    let paused = json!({ "status": "paused", "next": [], "reason": "agent 9c01 is archived" });
    let expired = json!({ "status": "expired", "next": [], "expiresAt": "2023-11-14T21:13:20Z" });
    let completed = json!({ "status": "completed", "next": [], "maxRuns": 12 });
    let now = json!({ "next": ["2023-11-14T22:13:20Z"] });
    let last = json!({ "next": [], "maxRuns": 13 });
    let all = [json!({}), now, cron, own, waiting, last, paused, completed, expired].map(schedule);
    insta::assert_snapshot!("schedules", schedules::list(&view(), &all));
    insta::assert_snapshot!("schedules_narrow", schedules::list(&View { width: Some(80), ..view() }, &all));
}

#[test]
fn a_schedule_is_shown_with_everything_about_it() {
    let full = json!({ "createdBy": "9c01", "notifyOnFinish": true, "maxRuns": 30, "whenMissed": "skip", "whenBusy": "queue",
        "expiresAt": "2023-11-15T21:13:20Z",
        "worktree": { "action": "branch-off", "branchName": "nightly" } });
    let text = [schedules::whole(&view(), &schedule(json!({})), &[]), {
        let mut newest = runs();
        newest.reverse();
        schedules::whole(&view(), &schedule(full), &newest)
    }];
    insta::assert_snapshot!("schedule", text.join("\n----\n"));
}
