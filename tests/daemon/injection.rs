//! The tools of paseo, which agents get by themselves: who gets them, and from which program.

use std::process::Command;

use paseo_daemon::Daemon;
use paseo_daemon::config::{Config, Mcp};
use paseo_sdk::catalogue::{CreateAgent, SendAgentPrompt};
use paseo_sdk::{Client, Code};
use serde_json::{Value, json};

use super::trust::with_claude;
use crate::lab::{Lab, PASEO, copy_of_program};

fn task(lab: &Lab, inject_tools: Option<bool>) -> CreateAgent {
    let task = CreateAgent::new("a test", "claude", "hello").cwd(lab.work().display().to_string());
    CreateAgent { inject_tools, ..task }
}

/// Returns the arguments of the last process.
fn arguments(lab: &Lab) -> String {
    let text = std::fs::read_to_string(lab.home().join("args")).expect("it was started");
    text.lines().last().expect("a line").to_owned()
}

/// Returns the program that serves the tools, if one does.
fn server(arguments: &str) -> Option<String> {
    let (_, config) = arguments.split_once(r#"{"mcpServers":{"paseo":"#)?;
    let config: Value = serde_json::Deserializer::from_str(config).into_iter().next()?.expect("it is JSON");
    assert_eq!((&config["args"], &config["timeout"]), (&json!(["__bridge", "mcp"]), &json!(i32::MAX)));
    assert!(arguments.contains("--allowedTools mcp__paseo "), "{arguments}");
    Some(config["command"].as_str().expect("a program").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_agent_gets_the_tools_of_paseo_unless_it_or_the_settings_go_without() {
    let mut lab = Lab::new();
    with_claude(&mut lab);
    let started = async |client: &Client, inject: Option<bool>| {
        let agent = client.create_agent(task(&lab, inject)).await.expect("it runs").agent_id;
        (server(&arguments(&lab)), agent)
    };
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let (usual, plain) = started(&client, None).await;
    assert_eq!(usual.as_deref(), Some(PASEO));
    let argument = arguments(&lab);
    assert!(!argument.contains("TOKEN") && !argument.contains("env"), "nothing in it is secret: {argument}");
    let (without, refusing) = started(&client, Some(false)).await;
    assert_eq!(without, None);
    let (_, wanting) = started(&client, Some(true)).await;
    daemon.shutdown().await;

    // What was said for an agent stays; where nothing was, the settings of the day count.
    let config = Config { mcp: Mcp { inject: false }, ..lab.config() };
    let daemon = Daemon::start(config).await.expect("a daemon");
    let client = daemon.client();
    assert_eq!(started(&client, None).await.0, None);
    for (agent, gets) in [(&plain, false), (&refusing, false), (&wanting, true)] {
        crate::conformance::stage::kill_agent(&client, agent).await;
        client.send_agent_prompt(SendAgentPrompt::new(agent, "hello again")).await.expect("it answers");
        assert_eq!(server(&arguments(&lab)).is_some(), gets);
    }
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_the_tools_is_taken_and_shell_has_none() {
    let mut lab = Lab::new();
    with_claude(&mut lab);
    let daemon = lab.daemon().await;
    let client = daemon.client();
    let own = |inject| CreateAgent {
        mcp_servers: [("paseo".to_owned(), json!({ "command": "/bin/false" }))].into(),
        ..task(&lab, inject)
    };
    let refused = client.create_agent(own(None)).await.expect_err("there would be two");
    assert_eq!(refused.code, Code::InvalidArgument);
    assert!(refused.message.starts_with("mcpServers: the name `paseo`"), "{refused}");
    assert!(refused.hint.as_deref().is_some_and(|hint| hint.contains("`injectTools: false`")), "{refused:?}");
    client.create_agent(own(Some(false))).await.expect("it is the only one");
    assert_eq!(server(&arguments(&lab)), None);

    let shell = CreateAgent { inject_tools: Some(true), ..lab.script("true") };
    let refused = client.create_agent(shell).await.expect_err("a script calls no tools");
    assert_eq!((&refused.code, &*refused.message), (&Code::Unsupported, "injectTools: means nothing to shell"));
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_that_serves_the_tools_can_be_started_after_it_was_replaced_or_deleted() {
    let mut lab = Lab::new();
    with_claude(&mut lab);
    let program = lab.path("paseo");
    copy_of_program(PASEO, &program);
    let daemon = lab.process_of(&program);
    let client = lab.client();
    let served_by = async || {
        client.create_agent(task(&lab, None)).await.expect("it runs");
        server(&arguments(&lab)).expect("it has the tools")
    };
    assert_eq!(served_by().await, program.display().to_string());

    // As `cargo install` does it: another file has the name.
    copy_of_program(PASEO, &lab.path("newer"));
    std::fs::rename(lab.path("newer"), &program).expect("it is replaced");
    assert_eq!(served_by().await, program.display().to_string());

    std::fs::remove_file(&program).expect("it is deleted");
    let server = served_by().await;
    let version = Command::new(&server).arg("--version").output().expect("it can be started");
    assert!(version.status.success(), "{server}: {version:?}");
    assert_eq!(server, format!("/proc/{}/exe", daemon.pid()));
    lab.end(&client).await;
}
