//! Files that a loss of power, a bad disk or a person has damaged: set aside, reported, and everything else works.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use paseo_daemon::Daemon;
use paseo_sdk::Client;
use paseo_sdk::catalogue::{
    CancelAgent, CreateAgent, DeleteAgent, GetAgentTimeline, GetDaemon, SendAgentPrompt, WaitForAgent,
};
use paseo_sdk::item::{Entry, Happening};
use paseo_sdk::model::{AgentId, WaitOutcome};

use super::watching::until_text;
use crate::lab::{Lab, timeline};

/// A home with an agent that has worked, and no daemon.
struct Left {
    lab: Lab,
    agent: AgentId,
    entries: Vec<Entry>,
}

impl Left {
    async fn new() -> Left {
        let lab = Lab::new();
        let daemon = lab.daemon().await;
        let client = daemon.client();
        let agent = client.create_agent(lab.script("echo one")).await.expect("it runs").agent_id;
        client.send_agent_prompt(SendAgentPrompt::new(&agent, "echo two")).await.expect("it runs");
        let entries = timeline(&client, &agent).await;
        daemon.shutdown().await;
        Left { lab, agent, entries }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.lab.home().join("agents").join(self.agent.as_str()).join(name)
    }

    fn append(&self, name: &str, bytes: &[u8]) {
        let file = fs::OpenOptions::new().append(true).open(self.file(name));
        file.and_then(|mut file| file.write_all(bytes)).expect("it can be written to");
    }

    /// Starts a daemon, checks that it tells of the damage and where that is now, and returns what is there.
    async fn told(&self, about: &str) -> (Daemon, Vec<u8>) {
        let daemon = self.lab.daemon().await;
        let warnings = warnings(&daemon.client()).await;
        let warning = warnings.iter().find(|warning| warning.contains(about) && warning.contains(self.agent.as_str()));
        let warning = warning.unwrap_or_else(|| panic!("nothing about {about} in {warnings:?}"));
        let aside = warning.split(' ').find(|word| word.contains(".damaged-")).expect("it says where that is");
        let aside = aside.trim_end_matches([';', ':']);
        (daemon, fs::read(aside).expect("it is there"))
    }

    /// Checks that the agent goes on, with its history as it was.
    async fn goes_on(self, daemon: Daemon) {
        let client = daemon.client();
        assert_eq!(timeline(&client, &self.agent).await, self.entries);
        let again = client.send_agent_prompt(SendAgentPrompt::new(&self.agent, "echo again")).await;
        assert_eq!(again.expect("it goes on").last_message.as_deref(), Some("again"));
        timeline(&client, &self.agent).await;
        self.lab.end(&client).await;
    }
}

/// Leaves an agent that has said `on` and waits at the pipe `fifo`, and no daemon.
async fn left_at_work(lab: &Lab) -> (Client, AgentId) {
    let daemon = lab.process();
    let client = lab.client();
    lab.fifo("fifo");
    let script = lab.script("echo on; cat fifo; echo over");
    let agent = client.create_agent(script.in_background()).await.expect("it starts").agent_id;
    until_text(&client, &agent, "on").await;
    daemon.kill();
    (client, agent)
}

async fn warnings(client: &Client) -> Vec<String> {
    client.get_daemon(GetDaemon {}).await.expect("the daemon").warnings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_line_at_the_end_of_a_timeline_is_set_aside() {
    let left = Left::new().await;
    left.append("timeline.ndjson", b"{\"seq\":99,\"at\":\"20");
    let (daemon, aside) = left.told("timeline.ndjson").await;
    assert_eq!(aside, b"{\"seq\":99,\"at\":\"20");
    left.goes_on(daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_lines_of_garbage_at_the_end_of_a_timeline_are_set_aside() {
    let left = Left::new().await;
    let garbage = [b"not JSON\n\n".as_slice(), &[0; 5000], b"\n{\"seq\":\"x\"}\n"].concat();
    left.append("timeline.ndjson", &garbage);
    let (daemon, aside) = left.told("timeline.ndjson").await;
    assert_eq!(aside, garbage);
    left.goes_on(daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_within_a_timeline_hides_nothing_beside_it() {
    let left = Left::new().await;
    let text = fs::read_to_string(left.file("timeline.ndjson")).expect("a timeline");
    for damaged in 1..left.entries.len() - 1 {
        let mut lines: Vec<_> = text.lines().collect();
        lines[damaged] = "\u{0}\u{0} nothing that could be read";
        fs::write(left.file("timeline.ndjson"), lines.join("\n") + "\n").expect("damage");
        let daemon = left.lab.daemon().await;
        let client = daemon.client();
        let wanted: Vec<_> =
            left.entries.iter().enumerate().filter(|(at, _)| *at != damaged).map(|(_, it)| it).collect();
        for after in 0..=left.entries.len() as i64 {
            let page = GetAgentTimeline::after(&left.agent, after);
            let page = client.get_agent_timeline(page).await.expect("a page").entries;
            let expected = wanted.iter().filter(|entry| entry.seq > after);
            assert!(page.iter().eq(expected.copied()), "after {after}, with line {damaged} damaged: {page:#?}");
            let page = GetAgentTimeline { before: Some(after), ..GetAgentTimeline::newest(&left.agent) };
            let page = client.get_agent_timeline(page).await.expect("a page").entries;
            let expected = wanted.iter().filter(|entry| entry.seq < after);
            assert!(page.iter().eq(expected.copied()), "before {after}, with line {damaged} damaged: {page:#?}");
        }
        daemon.shutdown().await;
    }
    let daemon = left.lab.daemon().await;
    left.lab.end(&daemon.client()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_outbox_is_set_aside_and_what_can_be_read_of_it_counts() {
    let lab = Lab::new();
    let daemon = lab.process();
    let client = lab.client();
    let agent =
        client.create_agent(lab.script("echo on; cat fifo; echo over").in_background()).await.expect("it starts");
    let agent = agent.agent_id;
    lab.fifo("fifo");
    until_text(&client, &agent, "on").await;
    let queued = SendAgentPrompt::new(&agent, "echo queued").in_background();
    let queued = client.send_agent_prompt(queued).await.expect("it is queued").prompt_id;
    daemon.kill();
    let outbox = lab.home().join(format!("agents/{agent}/outbox.ndjson"));
    let text = fs::read_to_string(&outbox).expect("an outbox");
    fs::write(&outbox, format!("garbage\n{text}more garb")).expect("damage");
    let _daemon = lab.process();
    let told = warnings(&client).await;
    assert_eq!(told.iter().filter(|warning| warning.contains("outbox.ndjson.damaged-")).count(), 2, "{told:?}");
    fs::write(lab.work().join("fifo"), "").expect("it is read");
    let wait = WaitForAgent { prompt_id: queued, ..WaitForAgent::one(&agent) };
    let done = client.wait_for_agent(wait).await.expect("it ends");
    assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("queued")));
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_passed_over_and_reported() {
    let lab = Lab::new();
    let (client, agent) = left_at_work(&lab).await;
    let journal = lab.home().join(format!("agents/{agent}/runs/1/journal-000001.ndjson"));
    let text = fs::read_to_string(&journal).expect("a journal");
    let damaged: Vec<_> = text
        .lines()
        .map(|line| if line.contains("on\\\\n") { "x".repeat(line.len()) } else { line.to_owned() })
        .collect();
    assert_ne!(damaged.join("\n") + "\n", text, "there is something to damage in {text}");
    // In place, as its shim goes on writing behind it.
    let file = fs::OpenOptions::new().write(true).open(&journal);
    file.and_then(|mut file| file.write_all((damaged.join("\n") + "\n").as_bytes())).expect("damage");
    let _daemon = lab.process();
    let told = warnings(&client).await;
    assert!(
        told.iter().any(|warning| warning.contains(agent.as_str()) && warning.contains("not a record")),
        "{told:?}"
    );
    fs::write(lab.work().join("fifo"), "").expect("it is read");
    let done = client.wait_for_agent(WaitForAgent::one(&agent)).await.expect("it ends");
    assert_eq!((done.outcome, done.last_message.as_deref()), (Some(WaitOutcome::Completed), Some("over")));
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_last_record_is_damaged_can_still_be_told_things() {
    let lab = Lab::new();
    let (client, agent) = left_at_work(&lab).await;
    let journal = lab.home().join(format!("agents/{agent}/runs/1/journal-000001.ndjson"));
    let text = fs::read_to_string(&journal).expect("a journal");
    let last = text.trim_end().rfind('\n').expect("several lines") + 1;
    let damaged = format!("{}{}\n", &text[..last], "x".repeat(text.len() - last - 1));
    let file = fs::OpenOptions::new().write(true).open(&journal);
    file.and_then(|mut file| file.write_all(damaged.as_bytes())).expect("damage");
    let _daemon = lab.process();
    let stopped = client.cancel_agent(CancelAgent { agent_id: (&agent).into() }).await.expect("it stops");
    assert_eq!(stopped.status, paseo_sdk::model::Status::Interrupted);
    lab.stop(&client).await;
    let journal = fs::read_to_string(&journal).expect("a journal");
    assert!(!journal.contains("did not stop"), "it was ended, as it could not be told to stop: {journal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_which_nothing_can_be_read_any_more_stops_nothing() {
    let lab = Lab::new();
    let daemon = lab.process();
    let client = lab.client();
    let script = lab.script("echo on; test -e go || sleep 1000");
    let agent = client.create_agent(script.in_background()).await.expect("it starts").agent_id;
    until_text(&client, &agent, "on").await;
    let before = timeline(&client, &agent).await;
    daemon.kill();
    kill_all(&lab).await;
    let run = lab.home().join(format!("agents/{agent}/runs/1"));
    // The shim works nowhere, and writes the end of the journal once its agent is gone.
    let shim = paseo_daemon::shim::journal::processes(&run).expect("it can be read").expect("its processes");
    crate::lab::ended(shim.shim_pid).await;
    let journal = run.join("journal-000001.ndjson");
    let length = fs::metadata(&journal).expect("a journal").len();
    fs::write(&journal, "garbage\n".repeat(usize::try_from(length).expect("a size") / 8)).expect("damage");
    fs::write(lab.work().join("go"), "").expect("a file");
    let _daemon = lab.process();
    let finished = WaitForAgent { until: paseo_sdk::catalogue::WaitUntil::Finished, ..WaitForAgent::one(&agent) };
    client.wait_for_agent(finished).await.expect("it is known");
    let told = warnings(&client).await;
    assert!(matches!(&told[..], [one] if one.contains("lines of its journal")), "{told:?}");
    let after = timeline(&client, &agent).await;
    assert_eq!(after[..before.len()], before);
    let again = client.send_agent_prompt(SendAgentPrompt::new(&agent, "echo again")).await.expect("it goes on");
    assert_eq!(again.last_message.as_deref(), Some("again"));
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_agent_whose_memory_is_damaged_the_process_is_named() {
    let lab = Lab::new();
    let (client, agent) = left_at_work(&lab).await;
    fs::write(lab.home().join(format!("agents/{agent}.json")), [0; 300]).expect("damage");
    let _daemon = lab.process();
    let told = warnings(&client).await;
    let [warning] = &told[..] else { panic!("one warning: {told:?}") };
    let shim = warning.split_once("`kill ").and_then(|(_, after)| after.strip_suffix('`')?.parse().ok());
    let shim = shim.and_then(rustix::process::Pid::from_raw);
    let shim = shim.unwrap_or_else(|| panic!("how to end it: {warning}"));
    rustix::process::kill_process(shim, rustix::process::Signal::TERM).expect("it runs");
    crate::lab::gone(&lab.work(), |_| true).await;
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_belongs_to_somebody_else_is_set_aside() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a file away");
        return;
    }
    let left = Left::new().await;
    let file = left.lab.home().join(format!("agents/{}.json", left.agent));
    std::os::unix::fs::chown(&file, Some(12_345), None).expect("it is given away");
    let (daemon, aside) = left.told("it belongs to user 12345").await;
    assert!(!file.exists());
    daemon.shutdown().await;
    // Whoever gets it back has the agent again.
    fs::write(&file, aside).expect("it is written back");
    let daemon = left.lab.daemon().await;
    left.goes_on(daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_files_that_are_garbage_stop_no_daemon() {
    let left = Left::new().await;
    for name in ["paseo.pid", "config.json"] {
        fs::write(left.lab.home().join(name), [0xff; 100]).expect("damage");
    }
    let stray = left.lab.home().join("agents").join("notes.txt");
    fs::write(&stray, "not an agent").expect("a stray file");
    let daemon = left.lab.daemon().await;
    assert_eq!(fs::read_to_string(stray).expect("it is not ours"), "not an agent");
    left.goes_on(daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_deletion_has_left_goes_at_the_next_start() {
    let left = Left::new().await;
    let agents = left.lab.home().join("agents");
    let [memory, marked] = ["json", "deleted"].map(|end| agents.join(format!("{}.{end}", left.agent)));
    fs::rename(memory, &marked).expect("it is being deleted");
    let daemon = left.lab.daemon().await;
    assert!(!marked.exists() && fs::read_dir(&agents).expect("a directory").next().is_none());
    assert_eq!(warnings(&daemon.client()).await, Vec::<String>::new());
    left.lab.end(&daemon.client()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_deletion_has_left_does_not_take_the_next_agent_of_that_id() {
    let left = Left::new().await;
    let agents = left.lab.home().join("agents");
    let daemon = left.lab.daemon().await;
    let delete = DeleteAgent { agent_id: (&left.agent).into() };
    daemon.client().delete_agent(delete).await.expect("it is deleted");
    // As where a file of it could not be removed.
    fs::write(agents.join(format!("{}.deleted", left.agent)), "{}").expect("a mark");
    let again = CreateAgent { agent_id: Some(left.agent.clone()), ..left.lab.script("echo another") };
    daemon.client().create_agent(again).await.expect("it runs");
    daemon.shutdown().await;
    let daemon = left.lab.daemon().await;
    let done = daemon.client().wait_for_agent(WaitForAgent::one(&left.agent)).await.expect("it is there");
    assert_eq!(done.last_message.as_deref(), Some("another"));
    left.lab.end(&daemon.client()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_a_loss_of_power_has_cut_is_interrupted_and_an_idle_agent_is_idle() {
    let left = Left::new().await;
    let (client, busy) = left_at_work(&left.lab).await;
    kill_all(&left.lab).await;
    tear(&left.lab.home().join(format!("agents/{busy}/runs/1/journal-000001.ndjson")));
    let _daemon = left.lab.process();
    let cut = client.wait_for_agent(WaitForAgent::one(&busy)).await.expect("it is known");
    assert_eq!(cut.outcome, Some(WaitOutcome::Interrupted), "{cut:?}");
    assert!(cut.reason.is_some_and(|reason| reason.contains("lost")));
    let idle = crate::conformance::stage::status(&client, &left.agent).await;
    assert_eq!((idle.status, idle.pid), (paseo_sdk::model::Status::Idle, None));
    assert_eq!(timeline(&client, &left.agent).await, left.entries);
    let ends = timeline(&client, &busy).await;
    let ends = ends.iter().filter(|entry| matches!(entry.what, Happening::TurnEnded { .. }));
    assert_eq!(ends.count(), 1);
    left.lab.end(&client).await;
}

/// Kills everything that agents started, and what keeps them, also what is being started meanwhile.
async fn kill_all(lab: &Lab) {
    let all = lab.work().parent().expect("the lab").to_owned();
    loop {
        let processes = crate::lab::processes_in(&all);
        let Some(first) = processes.first() else { return };
        for process in &processes {
            let pid =
                process.split(' ').next().and_then(|pid| pid.parse().ok()).and_then(rustix::process::Pid::from_raw);
            let _ = rustix::process::kill_process(pid.expect("a number"), rustix::process::Signal::KILL);
        }
        crate::lab::gone(&all, |process| process == first).await;
    }
}

/// Cuts off the end of a file, in the middle of its last line.
fn tear(file: &Path) {
    let length = fs::metadata(file).expect("it is there").len();
    fs::OpenOptions::new().write(true).open(file).and_then(|file| file.set_len(length - 10)).expect("it is torn");
}
