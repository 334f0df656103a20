//! What commands find, and how they end.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use paseo_daemon::hook;
use paseo_sdk::model::Duration;

use super::{PASEO, Result, STUBBORN, Site, failed};
use crate::shim::is_alive;

#[tokio::test]
async fn commands_run_one_after_the_other_in_their_directory_and_environment() -> Result {
    let site = Site::new()?;
    let order = site.order(&["pwd; echo one >>ran", "echo \"$SECRET $PASEO_RUN\"; echo two >>ran", "read -r line"]);
    let ended = site.run(&order).await?;
    // The last one has read nothing, as nobody says anything to it.
    assert_eq!(failed(&ended)?, "`read -r line` failed with exit code 1");
    assert_eq!(fs::read_to_string(site.work("ran"))?, "one\ntwo\n");
    let cwd = fs::canonicalize(site.work(""))?;
    let expected = format!(
        "$ pwd; echo one >>ran\n{}\n$ echo \"$SECRET $PASEO_RUN\"; echo two >>ran\nonly-in-memory {}\n$ read -r line\n",
        cwd.display(),
        site.marker()
    );
    assert_eq!(site.log()?, expected);
    Ok(())
}

#[tokio::test]
async fn a_hook_whose_commands_succeed_has_nothing_to_say_and_its_environment_is_in_no_file() -> Result {
    let site = Site::new()?;
    let ended = site.run(&site.order(&["true", "exit 0"])).await?;
    assert_eq!((&ended.failure, &ended.trouble, ended.message()), (&None, &None, None));
    assert!(ended.started_at <= ended.ended_at);
    let mut names = Vec::new();
    for entry in fs::read_dir(site.directory.path())? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.push(entry.file_name().into_string().map_err(|_| "no text")?);
            assert_eq!(entry.metadata()?.permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
            assert!(!fs::read_to_string(entry.path())?.contains("only-in-memory"), "{:?}", entry.path());
        }
    }
    names.sort();
    assert_eq!(names, ["setup.json", "setup.lock", "setup.log"]);
    // What is over can be done again.
    assert_eq!(site.run(&site.order(&["echo again"])).await?.message(), None);
    assert_eq!(site.log()?, "$ echo again\nagain\n");
    assert_eq!(site.run(&site.order(&[])).await?.message(), None);
    Ok(())
}

#[tokio::test]
async fn a_command_that_fails_is_the_last_one_and_its_last_lines_are_said() -> Result {
    let site = Site::new()?;
    let script =
        r"seq 1 1000 >&2; printf '\033[31mr\033]0;title\033\\ed\033[0m\tand\a\n\n 10%%\r 90%%\rdone\r\n'; exit 7";
    let ended = site.run(&site.order(&["echo no word of this", script, "echo never"])).await?;
    let message = failed(&ended)?;
    let (first, last) = message.split_once(": ").ok_or("it has last lines")?;
    let called: String = script.chars().take(80).collect();
    assert_eq!(first, format!("`{called}…` failed with exit code 7"));
    let mut expected: Vec<String> = (1..=1000).map(|number| number.to_string()).collect();
    expected.extend(["red and".to_owned(), "done".to_owned()]);
    assert!(expected.join("\n").ends_with(&format!("\n{last}")), "{last}");
    assert!((490..=500).contains(&last.len()), "{last}");
    let failure = ended.failure.ok_or("it failed")?;
    assert_eq!((failure.command.as_deref(), failure.exit_code, failure.signal), (Some(script), Some(7), None));
    assert!(!site.log()?.contains("never"));
    Ok(())
}

#[tokio::test]
async fn how_a_command_ended_is_one_sentence() -> Result {
    let long = format!("printf %0600d 7; exit 1 # {}", "é".repeat(100));
    let called: String = long.chars().take(80).collect();
    let cases = [
        ("kill -SEGV $$", "`kill -SEGV $$` was ended by SIGSEGV".to_owned(), (None, Some("SEGV"))),
        ("printf half; exit 2", "`printf half; exit 2` failed with exit code 2: half".to_owned(), (Some(2), None)),
        ("exit 3\ntrue", "`exit 3…` failed with exit code 3".to_owned(), (Some(3), None)),
        (&long, format!("`{called}…` failed with exit code 1: {}7", "0".repeat(499)), (Some(1), None)),
    ];
    for (command, message, (code, signal)) in cases {
        let site = Site::new()?;
        let ended = site.run(&site.order(&[command])).await?;
        assert_eq!(failed(&ended)?, message);
        let failure = ended.failure.ok_or("it failed")?;
        assert_eq!((failure.exit_code, failure.signal.as_deref()), (code, signal), "{command}");
    }
    Ok(())
}

#[tokio::test]
async fn the_shell_is_the_users_and_one_that_is_not_there_is_a_failure() -> Result {
    let site = Site::new()?;
    let shell = site.directory.path().join("shell");
    fs::write(&shell, "#!/bin/sh\necho \"mine: $1 $2\"\n")?;
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o700))?;
    let mut order = site.order(&["a command"]);
    order.env.insert("SHELL".to_owned(), shell.display().to_string());
    assert_eq!(site.run(&order).await?.message(), None);
    assert_eq!(site.log()?, "$ a command\nmine: -c a command\n");
    order.env.insert("SHELL".to_owned(), "/no/such/shell".to_owned());
    let message = failed(&site.run(&order).await?)?;
    assert_eq!(message, "`a command` could not be run: /no/such/shell: no such file");
    Ok(())
}

#[tokio::test]
async fn a_hook_that_takes_too_long_is_ended_with_all_that_it_started() -> Result {
    let site = Site::new()?;
    let script = format!("{STUBBORN} echo on it; sleep 1004; sleep 1005");
    let mut order = site.order(&["true", &script, "echo never"]);
    order.timeout = Duration { milliseconds: 1_500 };
    let message = failed(&site.run(&order).await?)?;
    assert_eq!(message, "it took longer than 1s500ms and was stopped while `trap '' TERM HUP INT…` ran: on it");
    assert_eq!(site.processes(), Vec::<String>::new());
    assert!(!site.log()?.contains("never"));

    order.timeout = Duration { milliseconds: 0 };
    let message = failed(&site.run(&order).await?)?;
    assert_eq!(message, "it took longer than 0s and was stopped before `true` ran");
    assert_eq!(site.log()?, "");
    Ok(())
}

#[tokio::test]
async fn what_a_command_leaves_in_the_background_is_ended_before_the_next_one() -> Result {
    let site = Site::new()?;
    let script = format!("{STUBBORN} sleep 1004 & echo $! >server; exit 0");
    // The second one sees whether anything of the first is left.
    let next = "kill -0 \"$(cat server)\" && exit 9; echo alone";
    assert_eq!(site.run(&site.order(&[&script, next])).await?.message(), None);
    assert!(site.log()?.ends_with("\nalone\n"), "{}", site.log()?);
    assert_eq!(site.processes(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn what_the_background_still_prints_is_in_the_log() -> Result {
    let site = Site::new()?;
    // The one in the background has something to do when the shell has ended, and then speaks.
    let script = "(while kill -0 $$; do :; done 2>/dev/null; seq 1 50000 | sort -R | wc -l; echo late) & exit 0";
    assert_eq!(site.run(&site.order(&[script])).await?.message(), None);
    assert_eq!(site.log()?, format!("$ {script}\n50000\nlate\n"));
    Ok(())
}

#[tokio::test]
async fn programs_that_are_kept_outlive_the_hook() -> Result {
    let site = Site::new()?;
    fs::copy("/bin/sleep", site.work("keeper"))?;
    let mut order = site.order(&["./keeper 1000 & echo $! >kept; sleep 1001 & echo $! >ended", "kill -0 $(cat kept)"]);
    order.keep = vec!["keeper".to_owned()];
    assert_eq!(site.run(&order).await?.message(), None);
    let pid = |name: &str| -> Result<i64> { Ok(fs::read_to_string(site.work(name))?.trim().parse()?) };
    assert!(is_alive(pid("kept")?));
    assert!(!is_alive(pid("ended")?));
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_started_is_a_sentence_and_leaves_no_state() -> Result {
    let site = Site::new()?;
    let start = async |order| {
        let error = hook::start(Path::new(PASEO), &order).await.err();
        error.map(|error| error.to_string())
    };
    let mut order = site.order(&["echo never >ran"]);
    order.cwd = site.work("nowhere");
    assert_eq!(start(order).await, Some(format!("{}: no such directory", site.work("nowhere").display())));
    let mut order = site.order(&["echo never >ran"]);
    order.log = "setup.log".into();
    assert_eq!(start(order).await, Some("setup.log is not an absolute path".to_owned()));
    assert_eq!(hook::state(&site.state())?, None);
    assert_eq!(hook::ended(&site.state()).await.map_err(|error| error.kind()), Err(ErrorKind::NotFound));
    let mut order = site.order(&["echo never >ran"]);
    order.state = site.work("nowhere/setup.json");
    let message = format!("{}: no such file", site.work("nowhere/setup.json").display());
    assert_eq!(start(order).await, Some(message));
    let error = hook::start(Path::new("/bin/true"), &site.order(&["true"])).await.expect_err("it is no helper");
    assert!(error.to_string().starts_with("cannot start /bin/true: "), "{error}");
    assert!(!site.work("ran").exists());
    Ok(())
}
