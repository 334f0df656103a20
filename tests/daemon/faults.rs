//! Bad input and bad luck: each is a clear error, changes nothing, and the rest goes on.

use std::os::unix::fs::PermissionsExt as _;

use paseo_daemon::Daemon;
use paseo_daemon::config::Config;
use paseo_sdk::Code;
use paseo_sdk::catalogue::{
    CancelAgent, CreateAgent, CreateWorktree, GetDaemon, ListAgents, SendAgentPrompt, WaitForAgent, WhenBusy,
};
use paseo_sdk::model::{Image, WaitOutcome};
use rustix::fs::inotify;
use serde_json::json;

use crate::lab::{Lab, PASEO, calls, timeline};

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_name_the_field_and_change_nothing() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let work = lab.work().display().to_string();
    let good = json!({ "title": "t", "provider": "shell", "initialPrompt": "true", "cwd": work, "background": true });
    let with = |field: &str, value: serde_json::Value| {
        let mut request = good.clone();
        request[field] = value;
        request
    };
    let without = |field: &str| {
        let mut request = good.clone();
        request.as_object_mut().expect("an object").remove(field);
        request
    };
    let mut refusals = Vec::new();
    for request in [
        without("title"),
        without("provider"),
        without("cwd"),
        with("title", json!("  ")),
        with("title", json!(7)),
        with("colour", json!("blue")),
        with("initialPrompt", json!("")),
        with("provider", json!("nobody/model")),
        with("provider", json!("shell/bash")),
        with("mode", json!("plan")),
        with("mode", json!("sudo")),
        with("cwd", json!("relative")),
        with("cwd", json!("/does/not/exist")),
        with("cwd", json!("/etc/hostname")),
        with("agentId", json!("../escape")),
        with("env", json!({ "A=B": "c" })),
        with("images", json!([{ "mediaType": "image/png", "data": "aGk=" }])),
        with("worktree", json!({})),
        with("worktree", json!({ "action": "branch-off", "branchName": "x" })),
        with("worktree", json!({ "action": "checkout", "refName": "main" })),
        with("worktree", json!({ "githubPrNumber": 5 })),
        with("worktree", json!({ "githubPrNumber": 5, "action": "checkout" })),
    ] {
        let error = client.call("create_agent", request).await.expect_err("it is refused");
        let shown = serde_json::to_string_pretty(&error).expect("it is data").replace(&work, "<work>");
        refusals.push(shown);
    }
    insta::assert_snapshot!(refusals.join("\n"));
    assert_eq!(client.list_agents(ListAgents::default()).await.expect("a list").agents, []);
    assert_eq!(std::fs::read_dir(lab.home().join("agents")).expect("a directory").count(), 0, "nothing was written");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_agent_refuses_what_it_cannot() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let agent = client.create_agent(lab.script("true")).await.expect("it runs").agent_id;
    let steer = SendAgentPrompt { when_busy: WhenBusy::Steer, ..SendAgentPrompt::new(&agent, "true") };
    assert_eq!(client.send_agent_prompt(steer).await.expect_err("refused").code, Code::Unsupported);
    let image = Image { media_type: "image/png".into(), data: "aGk=".into() };
    let picture = SendAgentPrompt { images: vec![image], ..SendAgentPrompt::new(&agent, "true") };
    assert_eq!(client.send_agent_prompt(picture).await.expect_err("refused").code, Code::Unsupported);
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_of_a_mebibyte_arrives_whole() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let script = format!("wc -c < \"$0\"\n# {}\n", "x".repeat(1 << 20));
    let done = client.create_agent(lab.script(&script)).await.expect("it runs");
    assert_eq!(done.last_message, Some(script.len().to_string()));
    let huge = CreateAgent { initial_prompt: "x".repeat(5 << 20), ..lab.script("") };
    assert_eq!(client.create_agent(huge).await.expect_err("refused").code, Code::InvalidArgument);
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_of_any_kind_is_shown_and_bounded() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let odd = client
        .create_agent(lab.script(r"printf 'a\377b\0c\n'; printf 'caf\303'; printf '\251\n'; printf 'no end'"))
        .await
        .expect("it runs");
    let entries = timeline(&client, &odd.agent_id).await;
    assert_eq!(calls(&entries)[0].output.as_deref(), Some("a\u{fffd}b\0c\ncafé\nno end"));

    let flood = client
        .create_agent(lab.script("yes 0123456789 | head -c 20000000; echo; echo the end"))
        .await
        .expect("it runs");
    assert_eq!(flood.outcome, Some(WaitOutcome::Completed));
    let entries = timeline(&client, &flood.agent_id).await;
    let call = calls(&entries)[0];
    let output = call.output.as_deref().expect("an output");
    assert!(output.len() < 70 * 1024 && output.ends_with("the end\n"), "{} bytes", output.len());
    assert!(call.omitted_bytes > 19_900_000, "{}", call.omitted_bytes);

    let closed =
        client.create_agent(lab.script("exec >&- 2>&-; test -e work || touch still-ran")).await.expect("it runs");
    assert_eq!(closed.outcome, Some(WaitOutcome::Completed));
    assert!(lab.work().join("still-ran").exists());
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_daemon_at_a_time_has_a_home() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let second = Daemon::start(lab.config()).await.map(drop).expect_err("there is one");
    assert_eq!(second.code, Code::Conflict);
    assert!(second.message.contains(&std::process::id().to_string()), "{second}");
    daemon.client().get_daemon(GetDaemon {}).await.expect("the first goes on");
    daemon.shutdown().await;
    lab.daemon().await.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_waits_for_what_another_was_starting_when_it_was_killed() {
    let lab = Lab::new();
    lab.daemon().await.shutdown().await;
    // Such a process has the lock for a moment, and the file names the one that is dead.
    let mut dead = std::process::Command::new("true").spawn().expect("a process");
    dead.wait().expect("it ends");
    let path = lab.home().join("paseo.pid");
    std::fs::write(&path, format!(r#"{{"pid":{}}}"#, dead.id())).expect("a file");
    let lock = std::fs::File::open(&path).expect("a file");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("a lock");
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).expect("files can be watched");
    inotify::add_watch(&watch, &path, inotify::WatchFlags::CLOSE_WRITE).expect("it is there");
    let tried = tokio::task::spawn_blocking(move || {
        // Whoever cannot have the lock closes the file.
        rustix::io::read(&watch, &mut [0; 4096][..]).expect("it is tried");
        drop(lock);
    });
    let daemon = lab.daemon().await;
    tried.await.expect("no panic");
    lab.end(&daemon.client()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_port_is_a_warning() {
    let lab = Lab::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = taken.local_addr().expect("its address").to_string();
    let config = Config { listen: Some(listen.parse().expect("an address")), ..lab.config() };
    let daemon = Daemon::start(config).await.expect("it starts all the same");
    let info = daemon.client().get_daemon(GetDaemon {}).await.expect("it answers");
    assert!(info.warnings.iter().any(|warning| warning.contains(&listen)), "{:?}", info.warnings);
    daemon.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_agent_is_set_aside_and_the_others_go_on() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let good = daemon.client().create_agent(lab.script("echo good")).await.expect("it runs").agent_id;
    let bad = daemon.client().create_agent(lab.script("echo bad")).await.expect("it runs").agent_id;
    daemon.shutdown().await;
    let file = lab.home().join(format!("agents/{bad}.json"));
    std::fs::write(&file, "{ \"about\": ").expect("damage");
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let listed = client.list_agents(ListAgents::default()).await.expect("a list").agents;
    assert_eq!(listed.iter().map(|agent| &agent.agent_id).collect::<Vec<_>>(), [&good]);
    let warnings = client.get_daemon(GetDaemon {}).await.expect("the daemon").warnings;
    assert!(
        warnings.iter().any(|warning| warning.contains(bad.as_str()) && warning.contains(".damaged-")),
        "{warnings:?}"
    );
    assert!(!file.exists() && lab.home().join(format!("agents/{bad}")).exists(), "nothing is lost");
    let again = client.send_agent_prompt(SendAgentPrompt::new(&good, "echo again")).await.expect("it goes on");
    assert_eq!(again.last_message.as_deref(), Some("again"));
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_cannot_be_taken_up_now_is_there_when_it_can() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let agent = daemon.client().create_agent(lab.script("echo here")).await.expect("it runs").agent_id;
    daemon.shutdown().await;
    let directory = lab.home().join(format!("agents/{agent}"));
    let away = lab.home().join("away");
    std::fs::rename(&directory, &away).expect("it is moved away");
    std::fs::write(&directory, "").expect("something is in its place");
    let daemon = lab.daemon().await;
    let warnings = daemon.client().get_daemon(GetDaemon {}).await.expect("the daemon").warnings;
    assert!(warnings.iter().any(|warning| warning.contains(agent.as_str())), "{warnings:?}");
    daemon.shutdown().await;
    std::fs::remove_file(&directory).expect("it is as before");
    std::fs::rename(&away, &directory).expect("it is as before");
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let again = client.send_agent_prompt(SendAgentPrompt::new(&agent, "echo again")).await.expect("it goes on");
    assert_eq!(again.last_message.as_deref(), Some("again"), "{again:?}");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_agents_that_flood_do_not_starve_each_other() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let mut agents = Vec::new();
    for number in 0..20 {
        let script =
            format!("until test -e go; do sleep 0.03; done; yes flood | head -c 1000000; echo; echo end {number}");
        agents.push(client.create_agent(lab.script(&script).in_background()).await.expect("it starts").agent_id);
    }
    let mut endless = lab.script("exec yes");
    endless.title = "endless".into();
    client.create_agent(endless.in_background()).await.expect("it starts");
    std::fs::write(lab.work().join("go"), "").expect("go");
    for (number, agent) in agents.iter().enumerate() {
        let done = client.wait_for_agent(WaitForAgent::one(agent)).await.expect("it ends");
        assert_eq!(done.outcome, Some(WaitOutcome::Completed));
        assert!(done.last_message.is_some_and(|text| text.ends_with(&format!("end {number}"))));
    }
    client.cancel_agent(CancelAgent { agent_id: "endless".into() }).await.expect("it stops");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helper_that_is_missing_is_said_before_anything_is_made() {
    let lab = Lab::new();
    let config = Config { helper: Some("/no/such/paseo".into()), ..lab.config() };
    let daemon = Daemon::start(config).await.expect("it starts");
    let client = daemon.client();
    let git = std::process::Command::new("git").args(["init", "-q"]).arg(lab.work()).status().expect("git");
    assert!(git.success());
    let task = lab.script("true").worktree(CreateWorktree::branch_off("x", "main"));
    let refused = client.create_agent(task).await.expect_err("it cannot start");
    assert_eq!(refused.code, Code::Unavailable);
    assert!(refused.message.contains("/no/such/paseo"), "{refused}");
    assert!(client.list_agents(ListAgents::default()).await.expect("a list").agents.is_empty());
    daemon.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_went_away_fails_the_prompt_and_says_so() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let gone = lab.work().join("gone");
    std::fs::create_dir(&gone).expect("a directory");
    let agent = client.create_agent(lab.script("pwd").cwd(gone.display().to_string())).await.expect("it runs").agent_id;
    std::fs::remove_dir(&gone).expect("it goes away");
    let failed = client.send_agent_prompt(SendAgentPrompt::new(&agent, "pwd")).await.expect("an answer");
    assert_eq!(failed.outcome, Some(WaitOutcome::Error));
    assert!(failed.reason.as_deref().is_some_and(|reason| reason.contains("gone")), "{failed:?}");
    std::fs::create_dir(&gone).expect("it comes back");
    let again = client.send_agent_prompt(SendAgentPrompt::new(&agent, "pwd")).await.expect("an answer");
    assert_eq!(again.outcome, Some(WaitOutcome::Completed));
    lab.end(&client).await;
}

#[test]
fn a_disk_that_is_full_is_said_and_nothing_is_lost() {
    // A small file system of our own, in a mount namespace of our own; where that is not allowed the test says so.
    let lab = Lab::new();
    let script = lab.work().join("full.sh");
    let text = r#"
        set -eu
        mount -t tmpfs -o size=4m tmpfs "$PASEO_HOME"
        paseo() { "$PASEO" "$@"; }
        paseo daemon start >/dev/null
        agent=$(paseo run -d --provider shell --mode full-access --title full 'echo one')
        paseo wait "$agent" >/dev/null 2>&1
        dd if=/dev/zero of="$PASEO_HOME/ballast" bs=64k 2>/dev/null || true
        dd if=/dev/zero of="$PASEO_HOME/ballast2" bs=1k 2>/dev/null || true
        if paseo send "$agent" "$(head -c 100000 /dev/zero | tr '\0' ' ')echo two" --background 2>refused; then echo accepted; fi
        cat refused
        paseo daemon status
        rm "$PASEO_HOME/ballast" "$PASEO_HOME/ballast2"
        paseo send "$agent" 'echo three' 2>/dev/null
        paseo daemon stop --with-agents --yes 2>/dev/null
    "#;
    std::fs::write(&script, text).expect("a script");
    std::fs::create_dir(lab.home()).expect("a home");
    std::fs::set_permissions(lab.home(), std::fs::Permissions::from_mode(0o700)).expect("private");
    let run = std::process::Command::new("unshare")
        .args(["--mount", "--map-root-user", "bash"])
        .arg(&script)
        .env("PASEO_HOME", lab.home())
        .env("PASEO_LISTEN", "127.0.0.1:0")
        .env("PASEO", PASEO)
        .env("SHELL", "/bin/sh")
        .current_dir(lab.work())
        .output();
    let run = match run {
        Ok(run) if !String::from_utf8_lossy(&run.stderr).contains("unshare") => run,
        _ if std::env::var_os("CI").is_none() => {
            eprintln!("skipped: no mount namespaces here");
            return;
        }
        other => panic!("no mount namespaces: {other:?}"),
    };
    let (said, errors) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{said}\n{errors}");
    assert!(said.contains("cannot be written") && said.contains("make room on the disk"), "{said}\n{errors}");
    let warned = |line: &str| line.starts_with("warning: agent ") && line.contains("cannot be written");
    assert!(said.lines().any(warned), "{said}\n{errors}");
    assert!(said.contains("three"), "{said}\n{errors}");
}
