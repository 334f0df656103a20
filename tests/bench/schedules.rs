//! Lines on a thousand schedules of which none is due.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use paseo_sdk::catalogue::CreateSchedule;

use crate::Result;
use crate::lines::next_start;
use crate::memory;
use crate::stage::Stage;
use crate::table::{self, Figures, Unit};

/// What they cost a daemon, and its start.
pub(crate) async fn a_thousand(stage: &mut Stage) -> Result<()> {
    let before = stage.enter("scheduled");
    let daemon = stage.daemon()?;
    let client = stage.client();
    let day = paseo_sdk::model::Duration { milliseconds: 24 * 60 * 60 * 1000 };
    let schedule = CreateSchedule {
        provider: Some("shell".to_owned()),
        cwd: Some(stage.work().display().to_string()),
        ..CreateSchedule::every(day, "true")
    };
    let none = wakes(daemon.pid()).await?;
    for _ in 0..COUNT {
        client.create_schedule(schedule.clone()).await?;
    }
    let all = wakes(daemon.pid()).await?;
    if let (Some(all), Some(none)) = (all, none) {
        let figures = |count| Figures::new(Unit::Count, vec![count]);
        let what = "threads woken in ten seconds, 1,000 schedules";
        table::beside(what, &figures(all), "no schedule", &figures(none));
    }
    memory::of_the_daemon(&daemon, "1,000 schedules")?;
    daemon.stop()?;
    next_start(stage, "start, in a home of 1,000 schedules")?;
    stage.enter(before);
    Ok(())
}

/// Returns how often a thread of a process is woken in ten seconds; none where the system does not say.
async fn wakes(pid: u32) -> Result<Option<f64>> {
    if !cfg!(target_os = "linux") {
        return Ok(None);
    }
    let before = switches(pid)?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    // Threads that have ended meanwhile were woken for that alone.
    let woken =
        switches(pid)?.into_iter().map(|(thread, count)| count - before.get(&thread).copied().unwrap_or_default());
    Ok(Some(woken.sum::<i64>() as f64))
}

/// Returns how often each thread of a process has gone to sleep of itself.
fn switches(pid: u32) -> Result<BTreeMap<OsString, i64>> {
    let mut threads = BTreeMap::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?;
        // It may end any time.
        let Ok(status) = std::fs::read_to_string(thread.path().join("status")) else { continue };
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        threads.insert(thread.file_name(), line.ok_or("it is there")?.trim().parse()?);
    }
    Ok(threads)
}

const COUNT: usize = 1_000;
