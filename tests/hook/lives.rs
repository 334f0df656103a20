//! A hook outlives whoever started it, and one that is lost is found.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use paseo_daemon::hook::{self, State};
use paseo_daemon::shim::tree;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process_group};

use super::{PASEO, Result, STUBBORN, Site, failed};
use crate::shim::ended as gone;

#[tokio::test]
async fn a_hook_goes_on_when_whoever_started_it_is_killed_with_its_group() -> Result {
    let site = Site::new()?;
    site.pipes(&["up", "go"])?;
    let order = site.order(&["echo >up; read -r line <go; echo \"$line\" >said", "echo over >>said"]);
    let mut starter = site.start_by_another(&order)?;
    site.hear("up").await?;
    kill_process_group(Pid::from_child(&starter), Signal::KILL)?;
    starter.wait()?;
    let runner = site.runner()?;
    // What a terminal sends that is closed, and one at which a person types.
    for signal in [Signal::HUP, Signal::INT, Signal::QUIT] {
        tree::signal_one(runner.pid, runner.start_time, signal)?;
    }
    site.tell("go", "on\n").await?;
    assert_eq!(site.ended().await?.message(), None);
    assert_eq!(fs::read_to_string(site.work("said"))?, "on\nover\n");
    Ok(())
}

#[tokio::test]
async fn a_hook_has_a_session_of_its_own() -> Result {
    let site = Site::new()?;
    site.pipes(&["up"])?;
    site.start(&site.order(&["echo >up; sleep 1000"])).await?;
    site.hear("up").await?;
    let pid = i32::try_from(site.runner()?.pid)?;
    assert_eq!(rustix::process::getsid(Pid::from_raw(pid))?.as_raw_pid(), pid);
    hook::stop(&site.state()).await?;
    Ok(())
}

#[tokio::test]
async fn the_runner_of_a_hook_that_is_over_is_no_zombie() -> Result {
    let site = Site::new()?;
    site.pipes(&["up", "go"])?;
    site.start(&site.order(&["echo >up; read -r line <go"])).await?;
    site.hear("up").await?;
    let runner = site.runner()?;
    site.tell("go", "on\n").await?;
    gone(runner.pid).await?;
    // Nobody asks how it ended, and its exit status is taken all the same.
    while tree::start_time(runner.pid) == Some(runner.start_time) {
        tokio::task::yield_now().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_hook_whose_runner_is_killed_is_lost_and_nothing_is_left_of_it() -> Result {
    let site = Site::new()?;
    site.pipes(&["up"])?;
    let script = format!("{STUBBORN} echo >up; sleep 1004; sleep 1005");
    site.start(&site.order(&[&script])).await?;
    site.hear("up").await?;
    let runner = site.runner()?;
    tree::signal_one(runner.pid, runner.start_time, Signal::KILL)?;
    assert_eq!(failed(&site.ended().await?)?, "its process was lost");
    assert_eq!(site.processes(), Vec::<String>::new());
    // It is found once.
    let written: State = serde_json::from_slice(&fs::read(site.state())?)?;
    assert!(matches!(written, State::Ended(_)), "{written:?}");
    assert_eq!(hook::state(&site.state())?, Some(written));
    Ok(())
}

#[tokio::test]
async fn what_a_lost_hook_left_is_ended_before_the_next_one_begins() -> Result {
    let site = Site::new()?;
    site.pipes(&["up"])?;
    site.start(&site.order(&["setsid sleep 1001 & echo $! >server; echo >up; sleep 1002"])).await?;
    site.hear("up").await?;
    let runner = site.runner()?;
    tree::signal_one(runner.pid, runner.start_time, Signal::KILL)?;
    gone(runner.pid).await?;
    // A zombie works nowhere.
    let mut order = site.order(&["test -d \"/proc/$(cat server)/cwd\" && exit 9; echo alone"]);
    order.marker.push_str("-again");
    assert_eq!(site.run(&order).await?.message(), None);
    Ok(())
}

#[tokio::test]
async fn a_lost_hook_spares_the_programs_that_are_kept() -> Result {
    let site = Site::new()?;
    site.pipes(&["up"])?;
    fs::copy("/bin/sleep", site.work("keeper"))?;
    let mut order = site.order(&["(./keeper 1000 &); setsid sleep 1001 & echo >up; sleep 1002"]);
    order.keep = vec!["keeper".to_owned()];
    site.start(&order).await?;
    site.hear("up").await?;
    let runner = site.runner()?;
    tree::signal_one(runner.pid, runner.start_time, Signal::KILL)?;
    assert_eq!(failed(&site.ended().await?)?, "its process was lost");
    let names: Vec<String> = site.processes().iter().filter_map(|one| Some(one.split_once(' ')?.1.into())).collect();
    assert_eq!(names, ["keeper"]);
    Ok(())
}

#[tokio::test]
async fn a_process_that_has_the_pid_of_a_runner_is_not_taken_for_it() -> Result {
    let site = Site::new()?;
    site.pipes(&["up"])?;
    site.start(&site.order(&["echo >up; sleep 1000"])).await?;
    site.hear("up").await?;
    let mut other = site.runner()?;
    hook::stop(&site.state()).await?;
    other.pid = i64::from(std::process::id());
    other.start_time = tree::start_time(other.pid).ok_or("it lives")? - 1;
    fs::write(site.state(), serde_json::to_vec(&State::Running(other))?)?;
    assert_eq!(failed(&site.ended().await?)?, "its process was lost");
    Ok(())
}

#[tokio::test]
async fn a_hook_that_is_stopped_ends_with_all_that_it_started() -> Result {
    let site = Site::new()?;
    site.pipes(&["up"])?;
    let script = format!("{STUBBORN} echo >up; sleep 1004; sleep 1005");
    site.start(&site.order(&[&script, "echo never"])).await?;
    site.hear("up").await?;
    let runner = site.runner()?;
    hook::stop(&site.state()).await?;
    assert!(tree::is_gone(runner.pid, runner.start_time));
    assert_eq!(site.processes(), Vec::<String>::new());
    assert_eq!(failed(&site.ended().await?)?, "it was stopped while `trap '' TERM HUP INT…` ran");
    assert!(!site.log()?.contains("never"));
    // There is nothing to stop any more, and this is no error.
    hook::stop(&site.state()).await?;
    fs::remove_file(site.state())?;
    hook::stop(&site.state()).await?;
    Ok(())
}

#[tokio::test]
async fn a_command_that_ends_when_it_is_asked_says_its_last_words() -> Result {
    let site = Site::new()?;
    site.pipes(&["up"])?;
    let script = "trap 'echo bye; exit 5' TERM; echo >up; while :; do :; done";
    // Whoever stops it need not have started it.
    let mut starter = site.start_by_another(&site.order(&[script]))?;
    site.hear("up").await?;
    hook::stop(&site.state()).await?;
    starter.wait()?;
    let ended = site.ended().await?;
    assert!(failed(&ended)?.ends_with("ran: bye"), "{ended:?}");
    assert_eq!(ended.failure.and_then(|failure| failure.exit_code), Some(5));
    assert_eq!(site.log()?, format!("$ {script}\nbye\n"));
    Ok(())
}

#[tokio::test]
async fn a_state_file_has_one_runner() -> Result {
    let site = Site::new()?;
    site.pipes(&["up", "go"])?;
    let order = site.order(&["echo >up; read -r line <go"]);
    site.start(&order).await?;
    site.hear("up").await?;
    let second = site.order(&["echo never >ran"]);
    let refused = async || hook::start(Path::new(PASEO), &second).await.err().map(|error| error.kind());
    assert_eq!(refused().await, Some(ErrorKind::AlreadyExists));
    // One that a daemon started in its last moment may not have written its state yet, and is the one all the same.
    let state = fs::read(site.state())?;
    fs::remove_file(site.state())?;
    assert_eq!(refused().await, Some(ErrorKind::AlreadyExists));
    fs::write(site.state(), state)?;
    site.tell("go", "on\n").await?;
    assert_eq!(site.ended().await?.message(), None);
    assert!(!site.work("ran").exists());
    Ok(())
}

#[tokio::test]
async fn a_state_that_cannot_be_understood_is_moved_aside_by_the_next_start() -> Result {
    for damage in ["", "{\"running\"", "[]"] {
        let site = Site::new()?;
        fs::write(site.state(), damage)?;
        assert!(hook::state(&site.state()).is_err());
        assert_eq!(site.run(&site.order(&["true"])).await?.message(), None);
        let mut aside = Vec::new();
        for entry in fs::read_dir(site.directory.path())? {
            let path = entry?.path();
            aside.extend(path.to_string_lossy().contains("setup.json.damaged-").then_some(path));
        }
        assert_eq!(aside.len(), 1);
        assert_eq!(fs::read_to_string(&aside[0])?, damage);
    }
    Ok(())
}

#[tokio::test]
async fn an_end_that_the_disk_does_not_take_is_written_later() -> Result {
    let site = Site::new()?;
    site.pipes(&["up", "go"])?;
    site.start(&site.order(&["echo >up; read -r line <go"])).await?;
    site.hear("up").await?;
    // A pipe cannot be brought to the disk, so the first attempt, which opens it, fails.
    let temporary = site.state().with_extension("new");
    mknodat(CWD, &temporary, FileType::Fifo, Mode::RWXU, 0)?;
    site.tell("go", "on\n").await?;
    let first = tokio::task::spawn_blocking(move || fs::read_to_string(temporary)).await??;
    assert!(first.contains("ended"), "{first}");
    assert_eq!(site.ended().await?.message(), None);
    Ok(())
}

#[tokio::test]
async fn a_hook_that_is_stopped_does_not_wait_for_the_disk() -> Result {
    let site = Site::new()?;
    site.pipes(&["up"])?;
    site.start(&site.order(&["echo >up; sleep 1000"])).await?;
    site.hear("up").await?;
    let runner = site.runner()?;
    // For as long as this is there, nothing can be written in its place.
    let full = site.state().with_extension("new");
    fs::create_dir(&full)?;
    tree::signal_one(runner.pid, runner.start_time, Signal::TERM)?;
    gone(runner.pid).await?;
    assert_eq!(failed(&site.ended().await?)?, "its process was lost");
    // It is found again and again, until that can be written.
    let written: State = serde_json::from_slice(&fs::read(site.state())?)?;
    assert_eq!(written, State::Running(runner));
    fs::remove_dir(full)?;
    assert_eq!(failed(&site.ended().await?)?, "its process was lost");
    let written: State = serde_json::from_slice(&fs::read(site.state())?)?;
    assert!(matches!(written, State::Ended(_)), "{written:?}");
    Ok(())
}
