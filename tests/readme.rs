//! What the README says works as it is written there.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::lab::{Lab, PASEO};

const README: &str = include_str!("../README.md");

/// Returns the fenced block of a language that contains a text.
fn block(language: &str, containing: &str) -> String {
    let fence = format!("```{language}\n");
    let blocks = README.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(str::to_owned).find(|block| block.contains(containing)).expect("the README has such a block")
}

/// A lab whose home is `~/.paseo` for what runs with this environment, with `paseo` on the path.
fn environment(lab: &Lab) -> Vec<(&'static str, String)> {
    let bin = lab.work().join("bin");
    std::fs::create_dir(&bin).expect("a directory");
    std::os::unix::fs::symlink(PASEO, bin.join("paseo")).expect("a link");
    std::os::unix::fs::symlink(lab.home(), lab.work().join(".paseo")).expect("a link");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("a path"));
    vec![("HOME", lab.work().display().to_string()), ("PASEO_HOME", lab.home().display().to_string()), ("PATH", path)]
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_lines_of_python_list_agents_and_follow_one() {
    let has_websockets = Command::new("python3").args(["-c", "import websockets"]).stderr(Stdio::null()).status();
    if !has_websockets.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "python3 has no package `websockets`");
        eprintln!("skipped: python3 has no package `websockets`");
        return;
    }
    let lab = Lab::new();
    let _daemon = lab.process();
    let client = lab.client();
    let agent = client.create_agent(lab.script("echo hello from the agent")).await.expect("it runs").agent_id;
    let python = block("python", "watch_agents");
    assert!(python.lines().filter(|line| !line.trim().is_empty()).count() <= 13, "about ten lines");
    let mut program = Command::new("python3")
        .args(["-u", "-c", &python])
        .envs(environment(&lab))
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let said = BufReader::new(program.stdout.take().expect("it is piped")).lines();
    let mut seen = String::new();
    for line in said {
        seen.push_str(&line.expect("text"));
        if seen.contains("turn_ended") {
            break;
        }
    }
    program.kill().expect("it runs until it is ended");
    program.wait().expect("it has ended");
    assert!(seen.contains(agent.as_str()) && seen.contains("hello from the agent"), "{seen}");
    lab.end(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_calls_operations() {
    let lab = Lab::new();
    let _daemon = lab.process();
    let client = lab.client();
    let agent = client.create_agent(lab.script("echo hello")).await.expect("it runs").agent_id;
    let listen = client.get_daemon(paseo_sdk::catalogue::GetDaemon {}).await.expect("the daemon").listen;
    let tcp = listen.iter().find(|listen| !listen.starts_with("unix:")).expect("it listens on TCP");
    let environment = environment(&lab);
    let script = block("sh", "curl").replace("localhost:6767", tcp).replace("3f2a", agent.as_str());
    let commands: Vec<_> = script.lines().filter(|line| line.starts_with("curl")).collect();
    assert_eq!(commands.len(), 4, "{script}");
    for (command, wanted) in commands.iter().zip([agent.as_str(), agent.as_str(), "openapi", "\"ok\""]) {
        let output = run(command, lab.work().as_path(), &environment);
        assert!(output.contains(wanted), "{command}\n{output}");
    }
    lab.end(&client).await;
}

fn run(command: &str, directory: &Path, environment: &[(&'static str, String)]) -> String {
    let silent = command.replace("curl ", "curl --silent --show-error ");
    let output = Command::new("bash")
        .args(["-c", &silent])
        .current_dir(directory)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("bash");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
