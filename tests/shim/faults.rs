//! Programs and disks that misbehave.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use paseo_daemon::shim::link::{self, News};
use paseo_daemon::shim::{Launching, journal};
use paseo_sdk::provider::{Line, Record, What, Whom};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::{HELPER, Result, Run, Scratch, code};

#[tokio::test]
async fn a_program_that_cannot_be_started_is_a_sentence_and_leaves_nothing() -> Result {
    let scratch = Scratch::new()?;
    let script = |name: &str, text: &str, mode: u32| -> Result<String> {
        let path = scratch.path.join(name);
        crate::lab::program(&path, text.as_bytes());
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(path.display().to_string())
    };
    let locked = script("locked", "#!/bin/sh\n", 0o600)?;
    let stray = script("stray", "#!/no/such/interpreter\n", 0o700)?;
    for (program, message) in [
        ("no-such-program", "no-such-program: no such file".to_owned()),
        (&locked, format!("{locked}: permission denied")),
        (&stray, format!("{stray}: the interpreter that its first line names is not there")),
    ] {
        let mut launching = scratch.script("")?;
        launching.program = program.to_owned();
        assert_eq!(link::spawn(Path::new(HELPER), &launching).await, Err(message));
        assert!(!launching.run_dir.exists() && !launching.socket.exists());
    }
    let mut launching = scratch.script("")?;
    launching.cwd = scratch.path.join("nowhere");
    let message = format!("{}: no such directory", launching.cwd.display());
    assert_eq!(link::spawn(Path::new(HELPER), &launching).await, Err(message));
    let error = link::spawn(Path::new("/bin/true"), &launching).await.expect_err("it is no helper");
    assert!(error.contains("/bin/true"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_run_has_one_shim() -> Result {
    let scratch = Scratch::new()?;
    let mut run = Run::start(scratch.script("exec cat")?).await?;
    let error = link::spawn(Path::new(HELPER), &run.launching).await.expect_err("there is one already");
    assert!(error.contains("has a shim already"), "{error}");
    run.words()?.close().await?;
    assert_eq!(run.exit().await?, code(0));
    let error = link::spawn(Path::new(HELPER), &run.launching).await.expect_err("it is over");
    assert!(error.contains("exists"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_program_that_closes_its_output_still_runs() -> Result {
    let scratch = Scratch::new()?;
    let mut run = Run::start(scratch.script("echo first; exec >&- 2>&-; read -r line; exit 3")?).await?;
    assert_eq!(run.line().await?, "first");
    run.write("t1", "go on").await?;
    assert_eq!(run.exit().await?, code(3));
    Ok(())
}

#[tokio::test]
async fn a_program_that_does_not_read_holds_nothing_up() -> Result {
    let scratch = Scratch::new()?;
    let mut launching = scratch.script("echo in; exec sleep 1000")?;
    launching.limits.input = 1 << 20;
    let mut run = Run::start(launching).await?;
    run.line().await?;
    let line = "x".repeat(500_000);
    for id in ["t1", "t2", "t3"] {
        run.write(id, &line).await?;
    }
    let refused = |news: &News| match news {
        News::Refused { id, reason, .. } => Some((id.0.clone(), reason.contains("does not read"))),
        _ => None,
    };
    // The pipe has taken a part of the first one.
    assert_eq!(run.until(refused).await?, ("t3".to_owned(), true));
    run.words()?.signal("KILL", Whom::Child).await?;
    assert_eq!(run.exit().await?.signal.as_deref(), Some("KILL"));
    let told = journal::read(&run.launching.run_dir)?
        .filter(|record| matches!(record, Ok(Record { what: What::Told { .. }, .. })))
        .count();
    assert_eq!(told, 2);
    Ok(())
}

#[tokio::test]
async fn a_program_that_closes_its_input_is_told_no_more() -> Result {
    let scratch = Scratch::new()?;
    let mut run = Run::start(scratch.script("exec <&-; echo closed; exec sleep 1000")?).await?;
    run.line().await?;
    run.write("t1", "into the void").await?;
    run.until(|news| matches!(news, News::Record(Record { what: What::Closed {}, .. })).then_some(())).await?;
    run.write("t2", "nor this").await?;
    let refused = |news: &News| match news {
        News::Refused { reason, leaving, .. } => Some((reason.clone(), *leaving)),
        _ => None,
    };
    assert_eq!(run.until(refused).await?, ("the agent's standard input is closed".to_owned(), false));
    run.words()?.stop("enough").await?;
    run.exit().await?;
    Ok(())
}

#[tokio::test]
async fn a_line_that_comes_when_its_agent_leaves_is_for_the_next_process() -> Result {
    let scratch = Scratch::new()?;
    let mut run =
        Run::start(scratch.script("echo in; while read -r line; do :; done; read -r go <go; exit 3")?).await?;
    rustix::fs::mknodat(rustix::fs::CWD, scratch.path.join("go"), rustix::fs::FileType::Fifo, 0o600.into(), 0)?;
    run.line().await?;
    run.words()?.close().await?;
    run.write("t1", "one more").await?;
    let refused = |news: &News| match news {
        News::Refused { id, leaving, .. } => Some((id.0.clone(), *leaving)),
        _ => None,
    };
    assert_eq!(run.until(refused).await?, ("t1".to_owned(), true));
    std::fs::write(scratch.path.join("go"), "go\n")?;
    assert_eq!(run.exit().await?, code(3));
    Ok(())
}

/// Makes a helper whose disk is full after some kilobytes.
fn full_soon(scratch: &Scratch) -> Result<std::path::PathBuf> {
    let helper = scratch.path.join("helper");
    crate::lab::program(&helper, format!("#!/bin/sh\nulimit -S -f 64\nexec {HELPER} \"$@\"\n").as_bytes());
    Ok(helper)
}

#[tokio::test]
async fn a_full_disk_makes_the_agent_wait_and_loses_nothing() -> Result {
    let scratch = Scratch::new()?;
    check_full(&scratch, scratch.script("read -r line; seq 1 20000; read -r line")?, 20_000).await
}

#[tokio::test]
async fn what_an_agent_said_last_waits_for_the_disk_too() -> Result {
    let scratch = Scratch::new()?;
    let mut launching = scratch.script("read -r line; seq 1 6000; exec seq 6001 12000")?;
    launching.limits.drain = 1;
    check_full(&scratch, launching, 12_000).await
}

/// Runs an agent that prints numbers when it is told, on a disk that is full before it has printed all.
async fn check_full(scratch: &Scratch, launching: Launching, count: i64) -> Result {
    let mut run = Run::start_by(&full_soon(scratch)?, launching).await?;
    run.write("t1", "go").await?;
    let trouble = |news: &News| match news {
        News::Trouble(text) => Some(text.clone()),
        _ => None,
    };
    let text = run.until(trouble).await?;
    assert!(text.contains("cannot be written: file too large"), "{text}");
    run.write("t2", "not now").await?;
    run.until(|news| matches!(news, News::Refused { .. }).then_some(())).await?;
    // A daemon that comes now hears of it too.
    run.attach(0).await?;
    assert!(run.until(trouble).await?.contains("cannot be written"));

    let unlimited = Rlimit { current: None, maximum: None };
    let shim = Pid::from_raw(i32::try_from(run.ready.shim_pid)?);
    prlimit(shim, Resource::Fsize, unlimited)?;
    assert_eq!(run.until(trouble).await?, "the journal can be written again");
    // One of them has ended meanwhile, and is told nothing.
    run.write("t2", "now").await?;
    assert_eq!(run.exit().await?, code(0));
    let records: Vec<Record> = journal::read(&run.launching.run_dir)?.collect::<Result<_, _>>()?;
    let numbers: Vec<i64> = records.iter().map(|record| record.seq).collect();
    assert_eq!(numbers, (1..=i64::try_from(records.len())?).collect::<Vec<i64>>());
    let lines = records.iter().filter_map(|record| match &record.what {
        What::Said(Line::Text(text)) => text.parse::<i64>().ok(),
        _ => None,
    });
    assert_eq!(lines.collect::<Vec<i64>>(), (1..=count).collect::<Vec<i64>>());
    Ok(())
}

/// Starts an agent whose disk stays full until it is ended, and returns when it is.
async fn ended_for_want_of_room(scratch: &Scratch) -> Result<Run> {
    let mut launching = scratch.script("read -r line; setsid sleep 1000 & exec seq 1 20000")?;
    launching.limits.full = 1;
    let mut run = Run::start_by(&full_soon(scratch)?, launching).await?;
    run.write("t1", "go").await?;
    let over = |news: &News| match news {
        News::Trouble(text) => text.contains("the agent has ended, which is written when there is room").then_some(()),
        _ => None,
    };
    run.until(over).await?;
    assert!(!super::is_alive(run.ready.pid));
    Ok(run)
}

#[tokio::test]
async fn a_disk_that_stays_full_ends_the_agent_and_the_journal_says_so_when_there_is_room() -> Result {
    let scratch = Scratch::new()?;
    let mut run = ended_for_want_of_room(&scratch).await?;
    // However late somebody comes, the shim is there, and says what is the matter.
    run.attach(0).await?;
    let trouble = |news: &News| matches!(news, News::Trouble(text) if text.contains("has ended")).then_some(());
    run.until(trouble).await?;
    let unlimited = Rlimit { current: None, maximum: None };
    prlimit(Pid::from_raw(i32::try_from(run.ready.shim_pid)?), Resource::Fsize, unlimited)?;
    let exit = run.exit().await?;
    let reason = "its journal could not be written: file too large".to_owned();
    assert_eq!((exit.signal.as_deref(), exit.reason), (Some("TERM"), Some(reason)));
    Ok(())
}

#[tokio::test]
async fn a_shim_that_is_told_to_end_does_not_wait_for_the_disk() -> Result {
    let scratch = Scratch::new()?;
    let mut run = ended_for_want_of_room(&scratch).await?;
    super::kill(run.ready.shim_pid, rustix::process::Signal::TERM);
    assert!(run.exit().await.is_err());
    let record = journal::finish_lost(&run.launching.run_dir, "the disk was full")?;
    assert_eq!(journal::read(&run.launching.run_dir)?.count(), usize::try_from(record.seq)?);
    Ok(())
}
