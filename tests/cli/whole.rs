//! Whole commands: the program, a daemon that it starts itself, the shell.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::cli::scratch::Scratch;

#[test]
fn a_script_prints_what_it_prints_and_its_exit_is_ours() {
    let place = Place::new();
    let done = place.run(&["run", "--provider", "shell", "--mode", "full-access", "printf 'one\\ntwo'"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "one\ntwo"), "{done:?}");
    assert!(done.stderr.starts_with("agent ") && done.stderr.contains("completed (exit 0) · "), "{done:?}");
    let failed = place.run(&["run", "--provider", "shell", "--mode", "full-access", "echo begun; exit 7"]);
    assert_eq!((failed.code, failed.stdout.as_str()), (3, "begun\n"), "{failed:?}");
    assert!(failed.stderr.contains("failed (exit 7)"), "{failed:?}");
}

#[test]
fn a_worktree_is_made_and_the_work_is_there() {
    let place = Place::new();
    let script = "git branch --show-current; echo done > result";
    let done = place.run(&[
        "run",
        "--provider",
        "shell",
        "--mode",
        "full-access",
        "--worktree",
        "feat/x",
        "--title",
        "x",
        script,
    ]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "feat/x\n"), "{done:?}");
    let path = place.run(&["worktree", "ls", "-q"]).stdout;
    assert!(done.stderr.contains(path.trim()) && done.stderr.contains("(branch feat/x)"), "{done:?}");
    assert!(PathBuf::from(path.trim()).join("result").is_file());
    // The agent's directory is not below the repository's, and it is this repository's agent all the same.
    assert!(place.run(&["ls"]).stdout.contains("feat/x"));
    assert_eq!(place.command(&["ls"]).current_dir("/usr").output().map(|output| output.stdout.len()).ok(), Some(0));
    assert!(place.run(&["ls", "-g"]).stdout.contains("feat/x"));
}

#[test]
fn a_terminal_is_shown_how_far_a_worktree_is_and_in_the_end_only_where() {
    if Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_err() {
        assert!(std::env::var_os("CI").is_none(), "there is no python3, which makes the terminal");
        eprintln!("skipped: there is no python3, which makes the terminal");
        return;
    }
    let place = Place::new();
    let gate = place.0.path().join("gate");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, &gate, kind, mode, 0).expect("a pipe");
    for name in ["a", "b.gated"] {
        std::fs::write(place.repository().join(name), "content").expect("it can be written");
    }
    std::fs::write(place.repository().join(".gitattributes"), "*.gated filter=gate").expect("it can be written");
    // The checkout waits until something is written to the pipe.
    let smudge = format!("cat {} > /dev/null; cat", gate.display());
    for args in [&["add", "."] as &[&str], &COMMIT, &["config", "filter.gate.smudge", &smudge]] {
        place.git(args);
    }
    let terminal = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    let create = place.command(&["worktree", "create", "fix/foo"]);
    let mut command = Command::new("python3");
    command.args(["-c", terminal]).arg(create.get_program()).args(create.get_args());
    command.current_dir(place.repository()).stdin(Stdio::null()).stdout(Stdio::piped()).env("TERM", "xterm");
    for (name, value) in create.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut child = command.spawn().expect("python3");
    let mut screen = child.stdout.take().expect("it is piped");
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("checking out fix/foo  2/3 files  ") {
        let mut piece = [0; 256];
        let length = screen.read(&mut piece).expect("it can be read");
        assert!(length > 0, "{:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&piece[..length]);
    }
    let mut pipe = std::fs::OpenOptions::new().write(true).open(gate).expect("the checkout waits at the other end");
    pipe.write_all(b"go on").expect("it is read");
    drop(pipe);
    screen.read_to_end(&mut seen).expect("it can be read");
    assert!(child.wait().expect("it ends").success());
    // What is written later stands on what was there before.
    let mut line = Vec::new();
    let text = String::from_utf8(seen).expect("it is text");
    for part in text.trim_end().split('\r') {
        let length = line.len().max(part.len());
        line.resize(length, b' ');
        line[..part.len()].copy_from_slice(part.as_bytes());
    }
    let path = place.run(&["worktree", "ls", "-q"]).stdout;
    assert_eq!(String::from_utf8(line).expect("it is text").trim_end(), path.trim_end(), "{text:?}");
}

#[test]
fn a_worktree_is_archived_and_comes_back() {
    let place = Place::new();
    let made = place.run(&["worktree", "create", "fix/it"]);
    let path = PathBuf::from(made.stdout.trim());
    std::fs::write(path.join("new"), "work").expect("a file");
    let unsaid = place.run(&["worktree", "archive", "fix-it"]);
    assert_eq!((unsaid.code, unsaid.stdout.as_str()), (2, ""), "{unsaid:?}");
    assert!(unsaid.stderr.contains("hint: add --yes"), "{unsaid:?}");
    let refused = place.run(&["worktree", "archive", "fix-it", "--yes"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("?? new") && refused.stderr.contains("--force"), "{refused:?}");
    let archived = place.run(&["worktree", "archive", "fix-it", "--yes", "--force"]);
    assert_eq!(
        (archived.code, archived.stdout.as_str()),
        (
            0,
            "archived fix-it, with branch fix/it; 1 uncommitted file kept\n`paseo worktree restore fix-it` brings it back\n"
        ),
        "{archived:?}"
    );
    assert!(!path.exists() && place.run(&["worktree", "ls", "-q"]).stdout.is_empty());
    let unknown = place.run(&["worktree", "restore", "fix-at"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("hint: there are: fix-it"), "{unknown:?}");
    let back = place.run(&["worktree", "restore", "fix-it"]);
    assert_eq!((back.code, back.stdout.trim()), (0, path.to_str().expect("text")), "{back:?}");
    assert_eq!(std::fs::read_to_string(path.join("new")).expect("it is back"), "work");
    // By its path, and in words for programs.
    let path = path.to_str().expect("text");
    let kept = place.run(&["worktree", "archive", path, "-y", "--force", "--keep-branch", "--json"]);
    let kept: serde_json::Value = serde_json::from_str(&kept.stdout).expect("JSON");
    assert_eq!((&kept["branchRemoved"], &kept["keptFiles"]), (&false.into(), &1.into()));
}

#[test]
fn a_worktree_is_found_by_its_name_outside_of_its_repository_and_by_its_branch() {
    let place = Place::new();
    let archive = ["worktree", "archive", "fix-it", "--yes", "--keep-branch"];
    assert_eq!(place.run(&["worktree", "create", "fix/it"]).code, 0);
    let outside = |args: &[&str]| Done::of(&place.command(args).current_dir(place.0.path()).output().expect("it runs"));
    let done = outside(&archive);
    assert!(done.code == 0 && done.stdout.starts_with("archived fix-it"), "{done:?}");
    let unknown = outside(&archive);
    assert!(unknown.code == 1 && unknown.stderr.contains("there is no worktree `fix-it`"), "{unknown:?}");
    for run in [&outside as &dyn Fn(&[&str]) -> Done, &|args| place.run(args)] {
        assert_eq!(place.run(&["worktree", "create", "--checkout", "fix/it"]).code, 0);
        let done = run(&["worktree", "archive", "fix/it", "--yes", "--keep-branch"]);
        assert!(done.code == 0 && done.stdout.starts_with("archived fix-it"), "{done:?}");
    }
    let unknown = place.run(&["worktree", "archive", "fix/it", "--yes"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("fix/it"), "{unknown:?}");
}

#[test]
fn a_setup_that_fails_is_said_where_the_worktree_is_made() {
    let place = Place::new();
    std::fs::write(place.repository().join("paseo.json"), r#"{"worktree": {"setup": "echo broken; exit 3"}}"#)
        .expect("settings");
    for args in [&["add", "--all"][..], &["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "settings"]] {
        let git = Command::new("git").args(args).current_dir(place.repository()).status().expect("git");
        assert!(git.success());
    }
    let made = place.run(&["worktree", "create", "fix/it"]);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(made.stderr.contains("the setup failed: `echo broken; exit 3` failed with exit code 3"), "{made:?}");
    assert!(made.stderr.contains("its output: "), "{made:?}");
    assert!(place.run(&["worktree", "ls"]).stdout.contains("setup failed"));
    let run = place.run(&["run", "--provider", "shell", "--mode", "full-access", "--worktree", "fix/2", "echo on"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "on\n"), "{run:?}");
    assert!(run.stderr.contains("setup of the worktree failed"), "{run:?}");
}

#[test]
fn a_variant_of_a_provider_is_asked_for_by_its_name() {
    let place = Place::new();
    let program = place.0.path().join("agent");
    crate::lab::program(&program, include_bytes!("../variants/program.sh"));
    std::fs::create_dir(place.0.home()).expect("a home");
    let settings = serde_json::json!({ "providers": {
        "zai": { "extends": "claude", "label": "Z.AI", "program": program, "model": "glm", "env": { "ENDPOINT": "zai" } },
        "shell": { "extends": "claude", "env": { "KEY": "a secret" } },
    } });
    std::fs::write(place.0.home().join("config.json"), settings.to_string()).expect("settings");
    let run = place.run(&["run", "--provider", "zai", "hello"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "glm default zai \n"), "{run:?}");
    let run = place.run(&["run", "--provider", "zai/other", "--mode", "plan", "--env", "ENDPOINT=own", "hello"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "other plan own \n"), "{run:?}");
    let unknown = place.run(&["run", "--provider", "glm", "hello"]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(unknown.stderr.contains("hint: there is: claude, codex, shell, zai"), "{unknown:?}");
    let listed = place.run(&["provider", "ls"]).stdout;
    assert!(listed.lines().any(|line| line.starts_with("zai ") && line.contains("Z.AI, as claude")), "{listed}");
    let models = place.run(&["provider", "models", "zai"]).stdout;
    assert!(models.starts_with("MODEL ") && models.contains("\nglm "), "{models}");
    assert_eq!(place.run(&["provider", "models", "zai", "-q"]).stdout, "glm\nflat\nwide[1m]\n");
    let all = place.run(&["provider", "models", "-q"]);
    assert!(all.stdout.ends_with("zai/glm\nzai/flat\nzai/wide[1m]\n"), "{all:?}");
    let all = place.run(&["provider", "models"]).stdout;
    assert!(all.lines().any(|line| line.split_whitespace().take(3).eq(["zai", "glm", "GLM"])), "{all}");
    let odd = place.run(&["run", "--provider", "zai/other", "hello"]);
    assert_eq!((odd.code, odd.stdout.as_str()), (0, "other default zai \n"), "{odd:?}");
    assert!(odd.stderr.contains("note: zai does not list the model `other`"), "{odd:?}");
    let odd = place.run(&["run", "-d", "--provider", "zai/other", "hello"]);
    assert!(odd.stderr.contains("note: zai does not list the model `other`"), "{odd:?}");
    let status = place.run(&["daemon", "status"]).stdout;
    assert!(status.contains("`providers.shell` is passed over: a provider of this name is built in"), "{status}");
    assert!(!status.contains("a secret"), "{status}");
}

#[test]
fn a_permission_is_exit_code_4_and_is_answered_by_another_command() {
    let place = Place::new();
    let asks = place.run(&["run", "--provider", "shell", "--title", "asker", "echo secret plan"]);
    assert_eq!((asks.code, asks.stdout.as_str()), (4, ""), "{asks:?}");
    assert!(asks.stderr.contains("    echo secret plan\n") && asks.stderr.contains("paseo permit allow "), "{asks:?}");
    let listed = place.run(&["permit", "ls"]).stdout;
    assert!(listed.contains("echo secret plan"), "{listed}");
    assert_eq!(place.run(&["wait", "asker"]).code, 4);
    assert_eq!(place.run(&["permit", "allow", "asker"]).code, 0);
    let done = place.run(&["wait", "asker"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "secret plan\n"), "{done:?}");
    let again = place.run(&["permit", "allow", "asker"]);
    assert_eq!(again.code, 1);
    assert_eq!(
        again.stderr,
        "error: asker waits for no permission\nhint: `paseo permit ls` lists what agents wait for\n"
    );
}

#[test]
fn what_is_denied_does_not_run_and_says_so() {
    let place = Place::new();
    let asks = place.run(&["run", "-d", "--provider", "shell", "--title", "asker", "touch done"]);
    assert_eq!(asks.code, 0, "{asks:?}");
    assert_eq!(place.run(&["wait", "asker"]).code, 4);
    assert_eq!(place.run(&["permit", "deny", "asker", "--message", "not today"]).code, 0);
    let denied = place.run(&["wait", "asker"]);
    assert_eq!(denied.code, 6, "{denied:?}");
    assert!(denied.stderr.contains("not today"), "{denied:?}");
    assert!(!place.repository().join("done").exists());
    assert!(place.run(&["logs", "asker"]).stdout.contains("(not allowed)"));
}

#[test]
fn an_agent_in_the_background_is_found_followed_stopped_and_put_away() {
    let place = Place::new();
    let begun = place.run(&[
        "run",
        "-d",
        "--provider",
        "shell",
        "--mode",
        "full-access",
        "--title",
        "long",
        "--label",
        "a=b",
        "echo begun; tail -f /dev/null",
    ]);
    let id = begun.stdout.trim();
    assert_eq!(begun.code, 0, "{begun:?}");
    assert_eq!(place.run(&["ls", "-q"]).stdout.trim(), id);
    assert_eq!(place.run(&["ls", "-q", "--label", "a=c"]).stdout, "");
    assert_eq!(place.run(&["wait", &id[..6], "--timeout", "50ms"]).code, 5);
    assert_eq!(place.run(&["stop", "long"]).stdout, format!("stopped {} (long)\n", &id[..8]));
    assert_eq!(place.run(&["wait", "long"]).code, 6);
    let logs = place.run(&["logs", "long", "--filter", "tool_call"]).stdout;
    assert!(logs.contains("(interrupted"), "{logs}");
    assert!(place.run(&["inspect", "long"]).stdout.contains("a=b"));
    assert_eq!(place.run(&["archive", "long"]).code, 0);
    assert_eq!(place.run(&["ls", "-q"]).stdout, "");
    assert_eq!(place.run(&["ls", "-a", "-q"]).stdout.trim(), id);
    assert_eq!(place.run(&["delete", "long"]).code, 2);
    assert_eq!(place.run(&["delete", "long", "--yes"]).code, 0);
    let gone = place.run(&["inspect", "long", "--json"]);
    assert_eq!((gone.code, gone.stdout.as_str()), (1, ""), "{gone:?}");
    assert!(gone.stderr.starts_with("{\"code\":\"not_found\""), "{gone:?}");
}

#[test]
fn a_follow_up_shows_its_own_turn_only() {
    let place = Place::new();
    place.run(&["run", "--provider", "shell", "--mode", "full-access", "--title", "talk", "echo first"]);
    let second = place.run(&["send", "talk", "echo second"]);
    assert_eq!((second.code, second.stdout.as_str()), (0, "second\n"), "{second:?}");
    let json = place.run(&["send", "talk", "--json", "echo third"]);
    let outcome: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON and nothing else");
    assert_eq!((outcome["outcome"].as_str(), outcome["lastMessage"].as_str()), (Some("completed"), Some("third")));
    let entries = place.run(&["logs", "talk", "--json", "--filter", "turn_ended"]).stdout;
    assert_eq!(entries.lines().count(), 3, "{entries}");
    let last = place.run(&["logs", "talk", "--tail", "2"]).stdout;
    assert!(last.contains("third") && !last.contains("second"), "{last}");
}

#[test]
fn a_prompt_is_read_from_the_input_and_variables_from_the_shell() {
    let place = Place::new();
    let mut command =
        place.command(&["run", "--provider", "shell", "--mode", "full-access", "--env", "ONE", "--env", "TWO=2", "-"]);
    let mut child = command.env("ONE", "1").stdin(Stdio::piped()).spawn().expect("it runs");
    child.stdin.take().expect("it is piped").write_all(b"echo $ONE $TWO").expect("it is read");
    let done = Done::of(&child.wait_with_output().expect("it ends"));
    assert_eq!((done.code, done.stdout.as_str()), (0, "1 2\n"), "{done:?}");
}

#[test]
fn a_daemon_is_started_once_however_many_need_it_and_can_be_restarted_and_stopped() {
    let place = Place::new();
    let mut commands: Vec<_> = (0..4).map(|_| place.command(&["ls"]).spawn().expect("it runs")).collect();
    for command in &mut commands {
        assert!(command.wait().expect("it ends").success());
    }
    let before = place.run(&["daemon", "status", "--json"]);
    assert_eq!(before.code, 0, "{before:?}");
    let again = place.run(&["daemon", "start"]);
    assert!(again.code == 0 && again.stderr.contains("the daemon runs already"), "{again:?}");
    place.run(&["run", "-d", "--provider", "shell", "--mode", "full-access", "--title", "long", "tail -f /dev/null"]);
    for _ in 0..2 {
        let restarted = place.run(&["daemon", "restart"]);
        assert_eq!(restarted.code, 0, "{restarted:?}");
        assert!(restarted.stderr.contains("1 running agent goes on"), "{restarted:?}");
    }
    let pid = |status: &str| serde_json::from_str::<serde_json::Value>(status).expect("JSON")["pid"].clone();
    assert_eq!(pid(&place.run(&["daemon", "status", "--json"]).stdout), pid(&before.stdout));
    let stopped = place.run(&["daemon", "stop"]);
    assert_eq!(stopped.stdout, "the daemon has stopped; 1 running agent goes on\n", "{stopped:?}");
    assert_eq!(place.run(&["daemon", "status"]).code, 7);
    assert_eq!(place.run(&["ls"]).code, 0);
    assert!(place.run(&["ls"]).stdout.contains("running"));
    assert!(place.run(&["daemon", "logs", "--tail", "5"]).stdout.contains("started"));
    assert!(place.run(&["daemon", "token"]).stdout.trim().len() >= 16);
}

#[test]
fn a_daemon_that_cannot_start_says_why() {
    let place = Place::new();
    let failed = Done::of(&place.command(&["ls"]).env("PASEO_LISTEN", "nowhere at all").output().expect("it runs"));
    assert_eq!(failed.code, 7, "{failed:?}");
    assert!(failed.stderr.starts_with("error: the daemon did not start: ") && failed.stderr.contains("PASEO_LISTEN"));
}

/// A home without a daemon and a repository with one commit; nothing of it is left when the test ends.
struct Place(Scratch);

impl Place {
    fn new() -> Place {
        let place = Place(Scratch::new());
        std::fs::create_dir(place.repository()).expect("it can be made");
        place.git(&["init", "--quiet", "--initial-branch", "main"]);
        place.git(&COMMIT);
        place
    }

    fn git(&self, args: &[&str]) {
        let status = Command::new("git").args(args).current_dir(self.repository()).status().expect("git is there");
        assert!(status.success());
    }

    fn repository(&self) -> PathBuf {
        self.0.path().join("app")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.0.paseo(args);
        command.current_dir(self.repository()).env("PASEO_LISTEN", "127.0.0.1:0");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Done {
        Done::of(&self.command(args).output().expect("it runs"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Agents outlive their daemon, so one has to be there to end them.
        let ended = self
            .command(&["ls"])
            .status()
            .and_then(|_| self.command(&["daemon", "stop", "--with-agents", "--yes"]).status());
        if !ended.is_ok_and(|status| status.success()) && !std::thread::panicking() {
            panic!("the daemon and its agents did not end");
        }
    }
}

/// Commits whatever is added.
const COMMIT: [&str; 9] =
    ["-c", "user.name=ann", "-c", "user.email=ann@example.com", "commit", "--quiet", "--allow-empty", "-m", "more"];

/// What a command did.
#[derive(Debug)]
struct Done {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Done {
    fn of(output: &Output) -> Done {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Done { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}
