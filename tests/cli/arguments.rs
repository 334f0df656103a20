//! Arguments: what is refused before anything happens, with which exit code and which words.

use std::process::{Command, Output, Stdio};

use crate::cli::scratch::Scratch;

#[test]
fn arguments_that_make_no_sense_are_usage_errors() {
    insta::assert_snapshot!(transcript(&[
        &["bogus"],
        &["bogus", "--json"],
        &["run", "--mode", "careful", "x"],
        &["run", "--worktree", "a", "--pr", "1", "x"],
        &["run", "--base", "main", "x"],
        &["run", "--timeout", "5", "x"],
        &["run", "--label", "nothing", "x"],
        &["run", "--env", "PASEO_TEST_IS_NOT_SET", "x"],
        &["run", "--image", "missing.png", "x"],
        &["run", "--image", "notes.txt", "x"],
        &["run", ""],
        &["run"],
        &["send", ""],
        &["send", "a1"],
        &["wait"],
        &["ls", "--status", "busy"],
        &["logs", "a1", "--filter", "everything"],
        &["permit", "allow", "a1", "r1", "--all"],
        &["worktree", "create"],
        &["worktree", "create", "a", "--pr", "1"],
        &["agent", "update", "a1"],
        &["delete", "a1"],
        &["daemon", "logs", "--host", "unix:/tmp/somewhere"],
    ]));
}

#[test]
fn an_address_that_is_none_is_a_usage_error() {
    let scratch = Scratch::new();
    for host in ["localhost", "unix:", ":", "[::1]", "localhost:99999"] {
        let output = scratch.paseo(&["ls", "--host", host]).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{host}: {said}");
        assert!(said.starts_with("error: --host: ") && said.contains("\nhint: "), "{host}: {said}");
    }
}

#[test]
fn a_daemon_that_is_not_there_is_exit_code_7() {
    insta::assert_snapshot!(transcript(&[
        &["ls", "--no-start"],
        &["ls", "--no-start", "--json"],
        &["run", "--no-start", "--provider", "shell", "true"],
        &["daemon", "status"],
        &["ls", "--host", "unix:[HERE]/elsewhere.sock"],
    ]));
}

#[test]
fn stopping_what_does_not_run_is_done() {
    insta::assert_snapshot!(transcript(&[&["daemon", "stop"], &["daemon", "logs"], &["daemon", "token"]]));
}

#[test]
fn inside_an_agent_no_daemon_is_started_stopped_or_restarted() {
    let scratch = Scratch::new();
    let mut text = String::new();
    for args in [
        &["ls"] as &[&str],
        &["run", "--provider", "shell", "true"],
        &["daemon", "start"],
        &["daemon", "stop"],
        &["daemon", "restart"],
        &["daemon", "run"],
        &["daemon", "token"],
    ] {
        let output = scratch.paseo(args).env("PASEO_AGENT_ID", "a1").output().expect("it runs");
        text += &shown(&scratch, args, &output);
    }
    assert!(!scratch.home().exists(), "nothing was made");
    insta::assert_snapshot!(text);
}

#[test]
fn a_prompt_that_is_not_text_is_refused() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path().join("prompt"), b"caf\xe9").expect("it can be written");
    let prompt = std::fs::File::open(scratch.path().join("prompt")).expect("it is there");
    let output = scratch.paseo(&["run", "-", "--no-start"]).stdin(prompt).output().expect("it runs");
    insta::assert_snapshot!(shown(&scratch, &["run", "-"], &output));
}

#[test]
fn the_overview_and_help_and_the_version_are_no_errors() {
    let scratch = Scratch::new();
    let alone = scratch.paseo(&[]).output().expect("it runs");
    let asked = scratch.paseo(&["--help"]).output().expect("it runs");
    assert_eq!((alone.status.code(), asked.status.code()), (Some(0), Some(0)));
    assert_eq!(String::from_utf8_lossy(&alone.stdout), String::from_utf8_lossy(&asked.stdout));
    let version = scratch.paseo(&["--version"]).output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&version.stdout), format!("paseo {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn output_that_nobody_reads_is_no_error() {
    let scratch = Scratch::new();
    let mut child: std::process::Child = scratch.paseo(&["--help"]).stdout(Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").code().is_some());
}

/// Runs commands in an empty home, and returns what a person would see.
fn transcript(commands: &[&[&str]]) -> String {
    let scratch = Scratch::new();
    let mut text = String::new();
    for args in commands {
        let here = scratch.path().display().to_string();
        let filled: Vec<_> = args.iter().map(|arg| arg.replace("[HERE]", &here)).collect();
        let filled: Vec<_> = filled.iter().map(String::as_str).collect();
        let command: &mut Command = &mut scratch.paseo(&filled);
        text += &shown(&scratch, args, &command.output().expect("it runs"));
    }
    text
}

fn shown(scratch: &Scratch, args: &[&str], output: &Output) -> String {
    let args: Vec<_> = args.iter().map(|arg| if arg.is_empty() { "''" } else { arg }).collect();
    let text = format!(
        "$ paseo {}\n{}{}[exit {}]\n\n",
        args.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        output.status.code().unwrap_or(-1),
    );
    text.replace(&scratch.path().display().to_string(), "[HERE]")
}
