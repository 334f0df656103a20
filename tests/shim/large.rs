//! Long lines and much input: what they cost the shim, and that it gives that back.

use std::fs;

use paseo_daemon::shim::link::News;
use paseo_sdk::provider::{Line, Record, What, Whom};

use super::{Result, Run, Scratch, code};

/// Says lines of as many bytes as it is told.
const PRINTER: &str = "while read -r count; do head -c $count /dev/zero | tr '\\0' a; echo; done";

#[tokio::test]
async fn a_line_of_32_mebibytes_is_whole_and_costs_no_more_than_itself() -> Result {
    let scratch = Scratch::new()?;
    let mut run = Run::start(scratch.script(PRINTER)?).await?;
    run.write("t0", "1").await?;
    run.line().await?;
    let before = Memory::of(&run)?;
    // The lengths in between are those from which a C library learns to keep what is freed.
    for (number, length) in [1 << 20, 5 << 20, 16 << 20, 16 << 20, LONGEST, LONGEST + 1].into_iter().enumerate() {
        run.write(&format!("t1.{number}"), &length.to_string()).await?;
        let line = run.until(|news| match news {
            News::Record(Record { what: What::Said(line), .. }) => Some(line.clone()),
            _ => None,
        });
        match line.await? {
            Line::Text(text) => assert_eq!(text.len(), length),
            Line::Odd { text: Some(text), base64: None, cut: true } => {
                assert_eq!((text.len(), length), (LONGEST, LONGEST + 1));
            }
            other => return Err(format!("{other:?} of {length}").into()),
        }
    }
    let after = Memory::of(&run)?;
    assert!(after.peak < before.now + (48 << 10), "{before:?}, {after:?}");
    assert!(after.now < before.now + (2 << 10), "{before:?}, {after:?}");
    run.words()?.close().await?;
    assert_eq!(run.exit().await?, code(0));
    Ok(())
}

#[tokio::test]
async fn what_waits_for_an_agent_that_does_not_read_is_bounded_and_outlives_the_link() -> Result {
    let scratch = Scratch::new()?;
    let go = scratch.path.join("go");
    rustix::fs::mknodat(rustix::fs::CWD, &go, rustix::fs::FileType::Fifo, 0o600.into(), 0)?;
    let mut run = Run::start(scratch.script("echo in; read -r go <go; exec wc -c")?).await?;
    run.line().await?;
    let before = Memory::of(&run)?;
    let line = "x".repeat(4 << 20);
    let mut refused = Vec::new();
    // The second daemon does not know what the first one was told, and says all of it again.
    for daemon in 1..=2 {
        if daemon == 2 {
            run.attach(0).await?;
        }
        for number in 0..20 {
            run.write(&format!("t{number}"), &line).await?;
        }
        run.words()?.signal("WHAT", Whom::Child).await?;
        let mut told = 0;
        let end = run.until(|news| match news {
            News::Record(Record { what: What::Told { .. }, .. }) => {
                told += 1;
                None
            }
            News::Refused { id, reason, leaving } => {
                assert!(reason.contains("the agent does not read") && !leaving, "{reason}");
                refused.push(id.0.clone());
                None
            }
            News::Trouble(_) => Some(()),
            _ => None,
        });
        end.await?;
        assert_eq!(told, 16);
    }
    assert_eq!(refused, ["t16", "t17", "t18", "t19", "t16", "t17", "t18", "t19"]);
    let full = Memory::of(&run)?;
    assert!(full.peak < before.now + (64 << 10) + (32 << 10), "{before:?}, {full:?}");
    tokio::task::spawn_blocking(move || fs::write(go, "go\n")).await??;
    run.words()?.close().await?;
    assert_eq!(run.line().await?, (16 * (line.len() + 1)).to_string());
    assert_eq!(run.exit().await?, code(0));
    Ok(())
}

/// What a shim takes, in KiB.
#[derive(Debug)]
struct Memory {
    now: i64,
    peak: i64,
}

impl Memory {
    fn of(run: &Run) -> Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", run.ready.shim_pid))?;
        let figure = |name: &str| -> Result<i64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no memory is shown")?;
            Ok(line.trim().trim_end_matches(" kB").parse()?)
        };
        Ok(Memory { now: figure("VmRSS:")?, peak: figure("VmHWM:")? })
    }
}

const LONGEST: usize = 32 << 20;
