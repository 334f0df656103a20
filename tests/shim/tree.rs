//! Of an agent that has ended, nothing is left.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use paseo_daemon::shim::{journal, place, tree};
use paseo_sdk::provider::{Exit, What};
use rustix::process::Signal;

use super::{Result, Run, Scratch, code, ended, is_alive, kill};

/// Starts four stubborn processes, one of them detached twice, and says their pids.
const STUBBORN: &str = r#"
    trap '' TERM HUP INT
    echo $$
    sleep 1001 & echo $!
    setsid sh -c 'echo $$; exec sleep 1002' &
    (setsid sh -c '(echo $$; sh -c "echo \$\$; exec sleep 1003" &) ; exit' &)
"#;

async fn pids(run: &mut Run, count: usize) -> Result<Vec<i64>> {
    let mut pids = Vec::new();
    for _ in 0..count {
        pids.push(run.pid().await?);
    }
    Ok(pids)
}

#[tokio::test]
async fn an_agent_that_is_stopped_takes_all_with_it_that_it_started() -> Result {
    let scratch = Scratch::new()?;
    let mut run = Run::start(scratch.script(&format!("{STUBBORN} wait; sleep 1004"))?).await?;
    let pids = pids(&mut run, 5).await?;
    run.words()?.stop("a test wants it").await?;
    let exit = run.exit().await?;
    assert_eq!(exit, Exit { code: None, signal: Some("KILL".into()), reason: Some("a test wants it".into()) });
    assert_eq!(pids.into_iter().filter(|pid| is_alive(*pid)).count(), 0);
    Ok(())
}

#[tokio::test]
async fn an_agent_that_ends_by_itself_takes_all_with_it_too() -> Result {
    let scratch = Scratch::new()?;
    let mut run = Run::start(scratch.script(&format!("{STUBBORN} read -r line; exit 7"))?).await?;
    let pids = pids(&mut run, 5).await?;
    run.write("t1", "end").await?;
    assert_eq!(run.exit().await?, code(7));
    assert_eq!(pids.into_iter().filter(|pid| is_alive(*pid)).count(), 0);
    Ok(())
}

#[tokio::test]
async fn an_agent_that_ends_when_it_is_asked_says_its_last_words() -> Result {
    let scratch = Scratch::new()?;
    let script = "trap 'echo bye; exit 5' TERM; echo in; while :; do sleep 0.01; done";
    let mut run = Run::start(scratch.script(script)?).await?;
    run.line().await?;
    kill(run.ready.shim_pid, Signal::TERM);
    assert_eq!(run.line().await?, "bye");
    let exit = run.exit().await?;
    assert_eq!((exit.code, exit.reason.is_some_and(|reason| reason.contains("SIGTERM"))), (Some(5), true));
    Ok(())
}

#[tokio::test]
async fn a_chain_of_children_that_live_for_a_moment_is_ended() -> Result {
    let scratch = Scratch::new()?;
    fs::write(scratch.path.join("chain"), "sh chain & exit")?;
    fs::write(scratch.path.join("bomb"), "[ $1 -gt 0 ] || exec sleep 1000; sh bomb $(($1 - 1)) & sh bomb $(($1 - 1))")?;
    let script = "sh chain & setsid sh chain & sh bomb 5 & echo in; read -r line";
    let launching = scratch.script(script)?;
    let marker = format!("PASEO_RUN={}", launching.marker);
    let mut run = Run::start(launching).await?;
    run.line().await?;
    run.words()?.close().await?;
    assert_eq!(run.exit().await?.code, Some(1));
    let mut left = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let environment = fs::read(path.join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|one| one == marker.as_bytes()) {
            left.push(path);
        }
    }
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

#[tokio::test]
async fn programs_that_are_kept_are_spared_with_what_they_started() -> Result {
    let scratch = Scratch::new()?;
    crate::lab::copy_of_program("/bin/sleep", &scratch.path.join("keeper"));
    crate::lab::copy_of_program("/bin/sh", &scratch.path.join("a-very-long-name-of-a-server"));
    let script = "./keeper 1000 >/dev/null & echo $!
        ./a-very-long-name-of-a-server -c 'sleep 1001 & echo $!; echo $$; exec >/dev/null; wait' &
        sleep 1002 & echo $!
        read -r line";
    let mut launching = scratch.script(script)?;
    launching.keep = vec!["keeper".to_owned(), "a-very-long-name-of-a-server".to_owned(), String::new()];
    let marker = launching.marker.clone();
    let keep = launching.keep.clone();
    let mut run = Run::start(launching).await?;
    let pids = pids(&mut run, 4).await?;
    run.words()?.close().await?;
    run.exit().await?;
    let alive = pids.iter().filter(|pid| is_alive(**pid)).count();
    assert_eq!(alive, 3, "{pids:?}");
    assert_eq!(tree::sweep_orphans(&marker, &keep), Vec::<String>::new());
    assert_eq!(pids.iter().filter(|pid| is_alive(**pid)).count(), 3);
    assert_eq!(tree::sweep_orphans(&marker, &[]), Vec::<String>::new());
    assert_eq!(pids.iter().filter(|pid| is_alive(**pid)).count(), 0);
    Ok(())
}

#[tokio::test]
async fn of_a_shim_that_was_killed_the_agent_dies_and_the_rest_is_found() -> Result {
    let scratch = Scratch::new()?;
    let mut run = Run::start(scratch.script("setsid sleep 1000 & echo $!; wait")?).await?;
    let orphan = run.pid().await?;
    let run_dir = run.launching.run_dir.clone();
    assert!(journal::is_served(&run_dir)?);
    let refusal = journal::finish_lost(&run_dir, "too early").expect_err("its shim lives");
    assert!(refusal.to_string().contains("still running"), "{refusal}");
    let recorded = journal::processes(&run_dir)?;
    assert_eq!(recorded.as_ref(), Some(&run.ready));

    kill(run.ready.shim_pid, Signal::KILL);
    assert!(run.exit().await.is_err());
    ended(run.ready.pid).await?;
    assert!(tree::is_gone(run.ready.shim_pid, run.ready.shim_start_time));
    assert!(!journal::is_served(&run_dir)?);

    // A run of the same agent whose name begins the same way is another one.
    let other = place::marker(&scratch.path, "a1", 10);
    assert_eq!(tree::sweep_orphans(&other, &[]), Vec::<String>::new());
    assert!(is_alive(orphan));
    assert_eq!(tree::sweep_orphans(&run.launching.marker, &[]), Vec::<String>::new());
    assert!(!is_alive(orphan));

    let torn = run_dir.join("journal-000001.ndjson");
    let mut text = fs::read_to_string(&torn)?;
    text += r#"{"seq":3,"at":17"#;
    fs::write(&torn, &text)?;
    assert_eq!(journal::read(&run_dir)?.count(), 2);
    let record = journal::finish_lost(&run_dir, "its shim was killed")?;
    assert_eq!(record.seq, 3);
    let reason = Some("its shim was killed".to_owned());
    assert_eq!(record.what, What::Exited(Exit { reason, ..Exit::default() }));
    assert_eq!(journal::finish_lost(&run_dir, "said once")?, record);
    assert_eq!(journal::read(&run_dir)?.last().transpose()?, Some(record));
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn only_the_exact_marker_in_the_environment_makes_an_orphan() -> Result {
    let scratch = Scratch::new()?;
    let marker = place::marker(&scratch.path, "a1", 1);
    let elsewhere = place::marker(Path::new("/another/home"), "a1", 1);
    let shorter = &marker[..marker.len() - 1];
    let sleeper = |env: &[(&str, &str)], program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).env_remove("PASEO_RUN").envs(env.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn()
    };
    // `cat` ends with the pipe that this test holds, whatever becomes of the test.
    let of = |name: &str, value: &str| sleeper(&[(name, value)], "cat", &[]);
    let exact = [
        of("PASEO_RUN", &marker)?,
        // A program may have become another one, and changed its group and session.
        sleeper(&[("PASEO_RUN", &marker)], "sh", &["-c", "exec setsid cat"])?,
    ];
    let mut zombie = sleeper(&[("PASEO_RUN", &marker)], "true", &[])?;
    let mut strangers = vec![
        of("PASEO_RUN", &format!("{marker}0"))?,
        of("PASEO_RUN", shorter)?,
        of("PASEO_RUN", &elsewhere)?,
        of("PASEO_RUN", &place::marker(&scratch.path, "a1", 2))?,
        of("PASEO_RUN", "")?,
        of("MY_PASEO_RUN", &marker)?,
        of("OTHER", &format!("PASEO_RUN={marker}"))?,
        // It is only spoken of.
        sleeper(&[], "sh", &["-c", "cat; true", &format!("PASEO_RUN={marker}")])?,
        // What clears its environment cannot be found.
        sleeper(&[("PASEO_RUN", &marker)], "env", &["-i", "/bin/cat"])?,
    ];
    if rustix::process::geteuid().is_root() {
        let args = ["--reuid=65534", "--clear-groups", "sh", "-c", "echo there; cat"];
        let mut other = sleeper(&[("PASEO_RUN", &marker)], "setpriv", &args)?;
        // It is somebody else by then.
        other.stdout.as_mut().ok_or("it is piped")?.read_exact(&mut [0; 6])?;
        strangers.push(other);
    }
    // The one that clears its environment has done so when it answers.
    let cleared = &mut strangers[8];
    cleared.stdin.as_mut().ok_or("it is piped")?.write_all(b"x")?;
    cleared.stdout.as_mut().ok_or("it is piped")?.read_exact(&mut [0; 1])?;

    assert_eq!(tree::sweep_orphans(&marker, &[]), Vec::<String>::new());
    for mut orphan in exact {
        assert_eq!(orphan.wait()?.signal(), Some(9));
    }
    for (number, stranger) in strangers.iter_mut().enumerate() {
        assert_eq!(stranger.try_wait()?, None, "stranger {number}");
        drop(stranger.stdin.take());
        assert!(stranger.wait()?.success(), "stranger {number}");
    }
    assert!(zombie.wait()?.success());
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_has_the_pid_of_another_one_is_not_hit() -> Result {
    let mut stranger = Command::new("cat").stdin(Stdio::piped()).spawn()?;
    let pid = i64::from(stranger.id());
    let start = tree::start_time(pid).ok_or("it runs")?;
    // Whoever had this pid before started earlier.
    assert!(tree::is_gone(pid, start - 1) && !tree::is_gone(pid, start));
    let missed = tree::signal_one(pid, start - 1, Signal::KILL).expect_err("it is another one");
    assert_eq!(missed.raw_os_error(), Some(rustix::io::Errno::SRCH.raw_os_error()));
    for nobody in [0, -1, i64::MAX, i64::MIN] {
        assert!(tree::signal_one(nobody, start, Signal::KILL).is_err());
    }
    assert_eq!(stranger.try_wait()?, None);
    tree::signal_one(pid, start, Signal::KILL)?;
    assert_eq!(stranger.wait()?.signal(), Some(9));
    Ok(())
}

#[tokio::test]
async fn a_journal_that_was_never_begun_can_be_ended() -> Result {
    let scratch = Scratch::new()?;
    let record = journal::finish_lost(Path::new(&scratch.path), "its shim never started")?;
    assert_eq!(record.seq, 1);
    assert_eq!(journal::read(&scratch.path)?.count(), 1);
    Ok(())
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_agent_inherits_no_signal_dispositions_and_no_files() -> Result {
    let scratch = Scratch::new()?;
    let mut launching = scratch.script("")?;
    launching.program = "grep".to_owned();
    launching.args = ["-E", "^Sig(Blk|Ign)", "/proc/self/status"].map(str::to_owned).to_vec();
    let mut run = Run::start(launching).await?;
    assert_eq!(run.line().await?, "SigBlk:\t0000000000000000");
    // The two beyond 31 are the C library's own.
    let line = run.line().await?;
    let ignored = u64::from_str_radix(line.trim_start_matches("SigIgn:").trim(), 16)?;
    assert_eq!(ignored & 0x7fff_ffff, 0, "{line}");
    assert_eq!(run.exit().await?, code(0));

    let mut launching = scratch.script("")?;
    launching.program = "ls".to_owned();
    launching.args = vec!["/proc/self/fd".to_owned()];
    let (records, _) = Run::start(launching).await?.rest().await?;
    let lines = records.iter().filter_map(|record| match &record.what {
        What::Said(line) => line.text(),
        _ => None,
    });
    // What this process has from its own parent goes on to every child.
    let here = std::process::Command::new("ls").arg("/proc/self/fd").output()?;
    assert_eq!(lines.collect::<Vec<_>>(), std::str::from_utf8(&here.stdout)?.lines().collect::<Vec<_>>());
    Ok(())
}
