//! `paseo install-cli` and `paseo completions`: this program where shells find it, and what they know of it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::cli::scratch::Scratch;

#[test]
fn it_is_shown_then_done_when_told_and_the_second_time_there_is_nothing_to_do() {
    let user = User::new();
    user.write(".bashrc", "alias ll='ls -l'");
    let mut text = user.sees(&["install-cli"]);
    assert!(!user.home().join(".local").exists(), "nobody said so");
    text += &user.sees(&["install-cli", "--yes"]);
    text += &user.sees(&["install-cli", "--yes"]);
    text += &user.file(".bashrc");
    insta::assert_snapshot!(text);
    assert!(user.home().join(".local/bin/paseo").canonicalize().is_ok_and(|path| path == program()));
}

#[test]
fn every_shell_that_is_used_gets_its_line_unless_it_has_one() {
    let user = User::new();
    user.write(".zshrc", "# ~/.local/bin is not on the PATH\n");
    user.write(".bashrc", "PATH=~/.local/bin:$PATH\n");
    user.write(".config/fish/config.fish", "");
    let mut text = user.sees(&["install-cli", "-y"]) + &user.sees(&["install-cli", "-y"]);
    for name in [".bashrc", ".zshrc", ".config/fish/conf.d/paseo.fish"] {
        text += &user.file(name);
    }
    insta::assert_snapshot!(text);
}

#[test]
fn where_no_shell_is_known_somebody_is_told() {
    let user = User::new();
    insta::assert_snapshot!(user.shown(user.command(&["install-cli", "--yes"]).env("SHELL", "/bin/nu")));
}

#[test]
fn what_is_on_the_path_needs_no_line_and_what_comes_before_it_is_named() {
    let user = User::new();
    let (first, second) = (user.home().join("bin"), user.home().join(".local/bin"));
    let path = std::env::join_paths([&first, &second]).expect("they can be joined");
    let mut text = user.shown(user.command(&["install-cli", "--yes"]).env("PATH", &path));
    user.write("bin/paseo", "#!/bin/sh\n");
    text += &user.shown(user.command(&["install-cli"]).env("PATH", &path));
    insta::assert_snapshot!(text);
}

#[test]
fn another_paseo_is_left_alone_unless_forced_and_kept_even_then() {
    let user = User::new();
    user.write(".local/bin/paseo", "another program");
    let mut text = user.sees(&["install-cli", "--yes"]);
    text += &user.file(".local/bin/paseo");
    text += &user.sees(&["install-cli", "--yes", "--force"]);
    text += &user.file(".local/bin/paseo.old");
    let link = user.home().join(".local/bin/paseo");
    assert!(link.canonicalize().is_ok_and(|path| path == program()));
    fs::remove_file(&link).expect("it is there");
    symlink("/opt/paseo/bin/paseo", &link).expect("it can be linked");
    text += &user.sees(&["install-cli", "--yes"]);
    text += &user.sees(&["install-cli", "--yes", "--force"]);
    text += &user.file(".local/bin/paseo.old");
    fs::remove_file(user.home().join(".local/bin/paseo.old")).expect("it is there");
    text += &user.sees(&["install-cli", "--yes", "--force"]);
    let kept = fs::read_link(user.home().join(".local/bin/paseo.old"));
    assert_eq!(kept.ok(), Some(PathBuf::from("/opt/paseo/bin/paseo")));
    insta::assert_snapshot!(text);
}

#[test]
fn programs_are_told_the_steps() {
    let user = User::new();
    user.write(".bashrc", "");
    let text = user.sees(&["install-cli", "--json"]) + &user.sees(&["install-cli", "--json", "--yes"]);
    insta::assert_snapshot!(text);
}

#[test]
fn what_cannot_be_written_is_named() {
    let user = User::new();
    fs::create_dir(user.home().join(".bashrc")).expect("it can be made");
    let text = user.sees(&["install-cli", "--yes"]);
    insta::assert_snapshot!(text);
}

#[test]
fn in_a_terminal_a_person_is_asked() {
    if Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_err() {
        assert!(std::env::var_os("CI").is_none(), "there is no python3, which makes the terminal");
        eprintln!("skipped: there is no python3, which makes the terminal");
        return;
    }
    let user = User::new();
    let link = user.home().join(".local/bin/paseo");
    for (answer, code, linked) in [("n", 1, false), ("y", 0, true)] {
        let terminal = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
        let install = user.command(&["install-cli"]);
        let mut command = Command::new("python3");
        command.args(["-c", terminal]).arg(install.get_program()).args(install.get_args());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        for (name, value) in install.get_envs() {
            match value {
                // The path has to lead to `python3` too.
                Some(value) if name != "PATH" => command.env(name, value),
                Some(_) => &mut command,
                None => command.env_remove(name),
            };
        }
        let mut child = command.spawn().expect("python3");
        let mut input = child.stdin.take().expect("it is piped");
        input.write_all(format!("{answer}\n").as_bytes()).expect("it is read");
        let output = child.wait_with_output().expect("it ends");
        drop(input);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("link ~/.local/bin/paseo to ") && text.contains("change these files? [y/N]"), "{text}");
        assert_eq!((output.status.code(), link.exists()), (Some(code), linked), "{text}");
    }
}

#[test]
fn every_shell_gets_a_script_that_it_can_read_and_that_knows_the_commands() {
    let user = User::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = user.command(&["completions", shell]).output().expect("it runs");
        let script = String::from_utf8(output.stdout).expect("it is text");
        assert!(output.status.success() && output.stderr.is_empty());
        for word in ["worktree", "install-cli", "--provider"] {
            assert!(script.contains(word.trim_start_matches('-')), "{shell}: {word}");
        }
        assert!(!script.contains("__shim"), "{shell}");
        let Ok(mut reader) = Command::new(shell).arg("-n").stdin(Stdio::piped()).spawn() else { continue };
        reader.stdin.take().expect("it is piped").write_all(script.as_bytes()).expect("it is read");
        assert!(reader.wait().expect("it ends").success(), "{shell} cannot read it");
    }
    insta::assert_snapshot!(user.sees(&["completions", "tcsh"]));
}

#[test]
fn bash_completes_a_command_and_its_options() {
    let user = User::new();
    let complete = |words: &str| {
        let script = format!(
            "source <($0 completions bash); COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _paseo paseo \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").args(["--norc", "-c", &script]).arg(program()).output();
        String::from_utf8_lossy(&output.expect("there is a bash").stdout).trim().to_owned()
    };
    assert_eq!(complete("paseo work"), "worktree");
    assert_eq!(complete("paseo worktree ar"), "archive");
    assert_eq!(complete("paseo worktree archive --kee"), "--keep-branch");
    assert_eq!(user.home().read_dir().map(Iterator::count).ok(), Some(0), "nothing was made");
}

/// Somebody with a home directory, who uses bash.
struct User(Scratch);

impl User {
    fn new() -> User {
        let user = User(Scratch::new());
        fs::create_dir(user.home()).expect("it can be made");
        user
    }

    fn home(&self) -> PathBuf {
        self.0.path().join("me")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.0.paseo(args);
        command.env("HOME", self.home()).env("SHELL", "/bin/bash").env("PATH", "/usr/bin:/bin");
        command.env_remove("ZDOTDIR").env_remove("XDG_CONFIG_HOME");
        command
    }

    fn sees(&self, args: &[&str]) -> String {
        self.shown(&mut self.command(args))
    }

    fn shown(&self, command: &mut Command) -> String {
        let output = command.output().expect("it runs");
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
        let text = format!(
            "$ paseo {}\n{}{}[exit {}]\n\n",
            args.join(" "),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            output.status.code().unwrap_or(-1),
        );
        let program = program().display().to_string();
        text.replace(&program, "[PROGRAM]").replace(&self.home().display().to_string(), "[HOME]")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.home().join(name);
        fs::create_dir_all(path.parent().expect("it is in a directory")).expect("it can be made");
        fs::write(path, text).expect("it can be written");
    }

    fn file(&self, name: &str) -> String {
        format!("$ cat {name}\n{}\n", fs::read_to_string(self.home().join(name)).expect("it is there"))
    }
}

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_paseo-under-test")).canonicalize().expect("it was built")
}
