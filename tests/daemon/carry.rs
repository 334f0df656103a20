//! Journals that have grown large begin anew at a turn's end.

use std::path::Path;

use paseo_sdk::catalogue::{GetAgentStatus, SendAgentPrompt, WaitForAgent};
use paseo_sdk::model::{Status, WaitOutcome};
use rustix::fs::inotify;

use super::lines;
use super::watching::until_text;
use crate::lab::{Lab, calls, timeline};

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_has_grown_large_begins_anew_and_the_next_daemon_knows_all() {
    let lab = Lab::new();
    let daemon = lab.process();
    let client = lab.client();
    // More than 8 MiB, and then one prompt more for the same process.
    let flood = "echo begun; read -r go < go1; yes 0123456789abcde | head -c 12000000; echo end of it";
    lab.fifo("go1");
    lab.fifo("go2");
    let agent = client.create_agent(lab.script(flood).in_background()).await.expect("it starts").agent_id;
    until_text(&client, &agent, "begun").await;
    let next = SendAgentPrompt::new(&agent, "echo next; read -r go < go2; echo over").in_background();
    let next = client.send_agent_prompt(next).await.expect("it is queued").prompt_id;
    // A daemon that comes in the middle of it reads all that there is.
    daemon.kill();
    let daemon = lab.process();
    go(&lab, "go1").await;
    let run = lab.home().join(format!("agents/{agent}/runs/1"));
    assert_eq!(segments(&run, 2).await, ["journal-000001.ndjson", "journal-000002.ndjson"]);
    go(&lab, "go2").await;
    let wait = WaitForAgent { prompt_id: next, ..WaitForAgent::one(&agent) };
    let done = client.wait_for_agent(wait).await.expect("it ends");
    assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("next\nover")));

    let before = timeline(&client, &agent).await;
    let outputs: Vec<_> = calls(&before).iter().map(|call| call.output.clone().unwrap_or_default()).collect();
    assert!(outputs[0].starts_with("begun\n0123") && outputs[0].ends_with("abcde\nend of it\n"));
    assert!(calls(&before)[0].omitted_bytes > 11_000_000);
    assert_eq!(outputs[1], "next\nover\n");
    daemon.kill();
    let _daemon = lab.process();
    assert_eq!(timeline(&client, &agent).await, before, "nothing is lost and nothing twice");
    let last = client.send_agent_prompt(SendAgentPrompt::new(&agent, "echo last")).await.expect("it runs");
    assert_eq!(last.last_message.as_deref(), Some("last"));
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_journal_was_carried_over_is_found_again() {
    let lab = lines::lab();
    let mut daemon = lab.process();
    let client = lab.client();
    let done = client.create_agent(lines::task(&lab, "print 9000001 ")).await.expect("it runs");
    assert_eq!(done.outcome, Some(WaitOutcome::Completed));
    let agent = done.agent_id;
    let run = lab.home().join(format!("agents/{agent}/runs/1"));
    assert_eq!(segments(&run, 2).await.len(), 2);
    let status =
        || async { client.get_agent_status(GetAgentStatus { agent_id: (&agent).into() }).await.expect("it is there") };
    let before = status().await;
    assert!(before.pid.is_some());
    for turn in 2..=4 {
        daemon.kill();
        daemon = lab.process();
        let after = status().await;
        assert_eq!((after.pid, after.status), (before.pid, Status::Idle), "the same process");
        let prompt = SendAgentPrompt::new(&agent, format!("print 900000{turn} "));
        let done = client.send_agent_prompt(prompt).await.expect("it runs");
        assert_eq!(done.last_message.as_deref(), Some("done"), "{done:?}");
        // The next daemon is killed at once, whether its shim has heard of the new segment or not.
    }
    let entries = timeline(&client, &agent).await;
    let ids: Vec<_> = calls(&entries).iter().map(|call| call.input.clone()).collect();
    assert_eq!(ids.len(), 4, "each turn once");
    let runs = std::fs::read_dir(run.parent().expect("runs")).expect("runs").count();
    assert_eq!(runs, 1, "no other process was started");
    lab.end(&client).await;
    daemon.ended();
}

async fn go(lab: &Lab, fifo: &str) {
    let fifo = lab.work().join(fifo);
    tokio::task::spawn_blocking(move || std::fs::write(fifo, "go\n")).await.expect("no panic").expect("it is read");
}

/// Returns the segments of a journal, once the one with this number is there.
async fn segments(run: &Path, number: usize) -> Vec<String> {
    let run = run.to_owned();
    let newest = format!("journal-{number:06}.ndjson");
    let seen = move || {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC).expect("files can be watched");
        inotify::add_watch(&watch, &run, inotify::WatchFlags::MOVED_TO).expect("it is there");
        while !run.join(&newest).exists() {
            rustix::io::read(&watch, &mut [0; 4096][..]).expect("it is written to");
        }
        let names = std::fs::read_dir(&run).expect("a run").map(|entry| entry.expect("a file").file_name());
        let names = names.filter_map(|name| name.into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(".ndjson")).collect();
        names.sort();
        names
    };
    tokio::task::spawn_blocking(seen).await.expect("no panic")
}
