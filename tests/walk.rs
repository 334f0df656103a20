//! The commands that people type first, exactly as they are written down, with the defaults of an account: its home, its
//! log, and the usual port.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::lab::PASEO;
use crate::responses_api::ResponsesApi;
use crate::responses_api::program::{codex_environment, codex_program};

/// What is typed, with what stands for a prompt or an agent, and what is seen.
const WALK: [(&str, &str); 8] = [
    (r#"paseo run --provider codex/gpt-5.4 --mode full-access --worktree feat/x "<prompt>""#, "as you like it"),
    (r#"paseo send <agent-id> "<follow-up>""#, "and so on"),
    ("paseo ls", "codex/gpt-5.4"),
    ("paseo worktree ls", "feat/x"),
    (r#"paseo schedule create --every 5m "ping main build""#, "(ping main build): in "),
    ("paseo daemon status", "127.0.0.1:6767"),
    ("tail -n 200 ~/.paseo/daemon.log", "create_schedule by the user: done"),
    ("curl -s localhost:6767/api/health", r#""status":"ok""#),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_first_commands_work_as_they_are_written() {
    let Some(codex) = codex_program() else { return };
    if let Err(error) = std::net::TcpListener::bind("127.0.0.1:6767") {
        assert!(std::env::var_os("CI").is_none(), "the usual port is taken: {error}");
        eprintln!("skipped: the usual port is taken: {error}");
        return;
    }
    let home = TempDir::with_prefix("paseo-walk-").expect("a temporary directory");
    let api = ResponsesApi::start().await;
    let (project, bin) = (home.path().join("project"), home.path().join("bin"));
    for directory in [&project, &bin] {
        std::fs::create_dir(directory).expect("a directory");
    }
    std::os::unix::fs::symlink(PASEO, bin.join("paseo")).expect("a link");
    std::os::unix::fs::symlink(codex.canonicalize().expect("it is there"), bin.join("codex")).expect("a link");
    let mut environment = codex_environment(home.path(), &api);
    let path = format!("{}:{}", bin.display(), environment["PATH"]);
    environment.insert("PATH".to_owned(), path);
    environment.insert("SHELL".to_owned(), "/bin/sh".to_owned());
    let typed = |line: &str, directory: &Path| {
        let output = Command::new("bash")
            .args(["-c", line])
            .current_dir(directory)
            .env_clear()
            .envs(&environment)
            .output()
            .expect("bash");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    };
    let git = "git init --quiet --initial-branch=main && git -c user.name=T -c user.email=t@localhost commit --quiet \
               --allow-empty -m first";
    assert_eq!(typed(git, &project), (true, String::new()));
    let walked = WALK.map(|(line, seen)| {
        let line = line.replace("<prompt>", "[[text: as you like it]]").replace("<follow-up>", "[[text: and so on]]");
        let line = line.replace("<agent-id>", "$(paseo ls -q)");
        let (success, said) = typed(&line, &project);
        (line, success && said.contains(seen), said)
    });
    let (stopped, said) = typed("paseo daemon stop --with-agents --yes", &project);
    for (line, worked, said) in walked {
        assert!(worked, "{line}\n{said}");
    }
    assert!(stopped, "{said}");
}
