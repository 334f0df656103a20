//! Trees of processes: who descends from whom, and how to end all of them.
//!
//! On Linux a helper is the subreaper of what it starts, so whatever an agent starts, however it detaches itself, stays
//! a descendant. Elsewhere there is neither that nor `/proc`: there, only process groups are ended.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, waitid};

pub use system::start_time;

/// Returns whether the process that had this pid and start time has ended.
#[must_use]
pub fn is_gone(pid: i64, start_time: i64) -> bool {
    match pid_of(pid) {
        Some(pid) => system::is_gone(pid, start_time),
        None => true,
    }
}

/// Sends a signal to the process that has this pid and start time: never to one that got its pid since.
///
/// # Errors
///
/// When it has ended, or may not be told.
pub fn signal_one(pid: i64, start_time: i64, signal: Signal) -> io::Result<()> {
    let pid = pid_of(pid).ok_or(io::ErrorKind::NotFound)?;
    let process = Process { pid, start: start_time, parent: 0, group: None, name: String::new() };
    Ok(system::signal(&process, signal)?)
}

/// Reads a number as a process id: what stands in a file may be anything, and 0 and -1 mean something else to the system.
pub(crate) fn pid_of(number: i64) -> Option<Pid> {
    i32::try_from(number).ok().filter(|number| *number > 0).and_then(Pid::from_raw)
}

/// Ends what an agent left behind whose shim was itself killed: every process of this user that has exactly this
/// marker in its environment. Programs of `keep` are spared, with what descends from them. It blocks until all is done.
///
/// This finds what can be found: a process that was started with another environment, or that nobody may look into, goes
/// on. The system shows the environment with which a program was started; what it changes of that later does not count.
///
/// Returns what could not be ended, one sentence each.
#[must_use]
pub fn sweep_orphans(marker: &str, keep: &[String]) -> Vec<String> {
    let marker = format!("{}={marker}", super::MARKER);
    let mut find = || Look { found: system::marked(&marker, keep), spared: false };
    // They are not our children, so there is nobody to ask whether there are more.
    let mut looks = 0;
    end_until(&mut find, &mut || {
        looks += 1;
        looks >= MOST_LOOKS
    })
}

/// A process as it was when it was looked at.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    start: i64,
    parent: i32,
    /// Its process group, where that holds nobody who is spared.
    group: Option<Pid>,
    name: String,
}

/// What is seen of a tree.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// Those that live and are not spared.
    pub(crate) found: Vec<Process>,
    /// Whether others are spared.
    spared: bool,
}

/// What this process started, and what that started, and so on; without the programs of `keep` and what descends from
/// those. `never_kept` is the agent itself, whatever it is called. Dead ones are not counted.
pub(crate) fn descendants(keep: &[String], never_kept: Option<Pid>) -> Look {
    system::descendants(keep, never_kept)
}

/// Sends a signal to each of `processes` that still is who it was.
pub(crate) fn signal(processes: &[Process], signal: Signal) {
    for process in processes {
        // Whoever is gone needs no signal, and whoever may not be signalled is reported when the tree is ended.
        let _ = system::signal(process, signal);
    }
}

/// Takes the exit of one child that has ended, if any has.
pub(crate) fn reap() -> Option<(Pid, WaitStatus)> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.ok().flatten(),
        }
    }
}

/// Ends all that `find` finds of what descends from this process, and returns what could not be ended, one sentence each.
pub(crate) fn end(find: &mut dyn FnMut() -> Look) -> Vec<String> {
    end_until(find, &mut childless)
}

/// Whether this process has no children, dead ones included: for a subreaper, whether nothing descends from it.
fn childless() -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::All, look), Err(rustix::io::Errno::CHILD))
}

/// Ends all that `find` finds. All are stopped before any is killed, so that none can start another one meanwhile.
///
/// A look may miss a process that is started while it goes on: that nothing is found is believed once it is `certain`,
/// or, beside programs that are spared and so are children for good, many times in a row.
fn end_until(find: &mut dyn FnMut() -> Look, certain: &mut dyn FnMut() -> bool) -> Vec<String> {
    let give_up = Instant::now() + PATIENCE;
    let mut forbidden = BTreeSet::new();
    let mut nothing = 0;
    loop {
        let (stopped, spared) = freeze(find, give_up, &mut forbidden);
        nothing = if stopped.is_empty() { nothing + 1 } else { 0 };
        if nothing > 0 && (certain() || spared && nothing >= MOST_LOOKS) {
            return forbidden.into_iter().collect();
        }
        signal(&stopped, Signal::KILL);
        for process in &stopped {
            system::await_end(process, give_up);
        }
        if Instant::now() > give_up {
            forbidden.extend(find().found.iter().map(|process| format!("{process} does not end")));
            return forbidden.into_iter().collect();
        }
    }
}

/// Stops all that `find` finds until two looks in a row find nothing new, and returns them, and whether others are spared.
fn freeze(find: &mut dyn FnMut() -> Look, give_up: Instant, forbidden: &mut BTreeSet<String>) -> (Vec<Process>, bool) {
    let mut stopped: BTreeMap<(i32, i64), Process> = BTreeMap::new();
    let mut refused = BTreeSet::new();
    let mut quiet = 0;
    let mut spared = false;
    // One look may miss a process whose parent ended while it was being looked at.
    while quiet < 2 && Instant::now() < give_up {
        quiet += 1;
        let mut groups = BTreeSet::new();
        let look = find();
        spared |= look.spared || !refused.is_empty();
        for process in look.found {
            let identity = (process.pid.as_raw_pid(), process.start);
            if stopped.contains_key(&identity) || refused.contains(&identity) {
                continue;
            }
            quiet = 0;
            match system::signal(&process, Signal::STOP) {
                Ok(()) => {
                    groups.extend(process.group.map(|group| group.as_raw_nonzero()));
                    stopped.insert(identity, process);
                }
                Err(rustix::io::Errno::PERM) => {
                    refused.insert(identity);
                    forbidden.insert(format!("{process} may not be ended"));
                }
                // It has ended by itself.
                Err(_) => {}
            }
        }
        // Children of children that live only for a moment would outrun a look at each.
        for group in groups.into_iter().filter_map(|group| Pid::from_raw(group.get())) {
            let _ = rustix::process::kill_process_group(group, Signal::STOP);
        }
    }
    (stopped.into_values().collect(), spared)
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::collections::{BTreeMap, BTreeSet};
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::MetadataExt as _;
    use std::time::Instant;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags, Signal, getpgrp, getpid, pidfd_open, pidfd_send_signal};

    use super::{Look, Process, pid_of};

    /// Returns when a process started, in ticks since the system did: with its pid, its identity.
    #[must_use]
    pub fn start_time(pid: i64) -> Option<i64> {
        let (process, _) = look(pid_of(pid)?)?;
        Some(process.start)
    }

    pub(super) fn is_gone(pid: Pid, start_time: i64) -> bool {
        !matches!(look(pid), Some((process, alive)) if alive && process.start == start_time)
    }

    pub(super) fn descendants(keep: &[String], never_kept: Option<Pid>) -> Look {
        let mut children: BTreeMap<i32, Vec<(Process, bool)>> = BTreeMap::new();
        for (process, alive) in everything() {
            children.entry(process.parent).or_default().push((process, alive));
        }
        let mut look = Look::default();
        let mut spared = BTreeSet::from([getpgrp().as_raw_pid()]);
        let mut parents = vec![(getpid().as_raw_pid(), false)];
        while let Some((parent, spare)) = parents.pop() {
            for (process, alive) in children.remove(&parent).unwrap_or_default() {
                let spare = spare || Some(process.pid) != never_kept && kept(&process, keep);
                parents.push((process.pid.as_raw_pid(), spare));
                if spare {
                    look.spared = true;
                    spared.extend(process.group.map(Pid::as_raw_pid));
                } else if alive {
                    look.found.push(process);
                }
            }
        }
        for process in &mut look.found {
            process.group = process.group.filter(|group| !spared.contains(&group.as_raw_pid()));
        }
        look
    }

    pub(super) fn marked(marker: &str, keep: &[String]) -> Vec<Process> {
        let all: BTreeMap<i32, (Process, bool)> =
            everything().map(|(process, alive)| (process.pid.as_raw_pid(), (process, alive))).collect();
        let lineage = |pid: i32| {
            std::iter::successors(all.get(&pid), |(process, _)| all.get(&process.parent)).map(|(process, _)| process)
        };
        let ours: Vec<Pid> = lineage(getpid().as_raw_pid()).map(|process| process.pid).collect();
        let user = rustix::process::geteuid().as_raw();
        let matches = |process: &Process| {
            let directory = format!("/proc/{}", process.pid);
            fs::metadata(&directory).is_ok_and(|found| found.uid() == user)
                && fs::read(format!("{directory}/environ"))
                    .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|one| one == marker.as_bytes()))
        };
        all.values()
            .filter(|(process, alive)| *alive && !ours.contains(&process.pid) && matches(process))
            .filter(|(process, _)| !lineage(process.pid.as_raw_pid()).any(|elder| kept(elder, keep)))
            .map(|(process, _)| Process { group: None, ..process.clone() })
            .collect()
    }

    /// Sends a signal to exactly this process: not to one that got its pid since.
    pub(super) fn signal(process: &Process, signal: Signal) -> Result<(), Errno> {
        let handle = match pidfd_open(process.pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            // A system call filter that does not know it, or a kernel before 5.3.
            Err(Errno::NOSYS | Errno::PERM) => {
                return match is_gone(process.pid, process.start) {
                    true => Err(Errno::SRCH),
                    false => rustix::process::kill_process(process.pid, signal),
                };
            }
            Err(error) => return Err(error),
        };
        match is_gone(process.pid, process.start) {
            true => Err(Errno::SRCH),
            false => pidfd_send_signal(handle, signal),
        }
    }

    pub(super) fn await_end(process: &Process, give_up: Instant) {
        let Ok(handle) = pidfd_open(process.pid, PidfdFlags::empty()) else { return };
        if is_gone(process.pid, process.start) {
            return;
        }
        let left = give_up.saturating_duration_since(Instant::now());
        if let Ok(left) = Timespec::try_from(left) {
            let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&left));
        }
    }

    fn everything() -> impl Iterator<Item = (Process, bool)> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| look(pid_of(entry.file_name().to_str()?.parse().ok()?)?))
    }

    /// Looks at a process, and whether it is alive.
    fn look(pid: Pid) -> Option<(Process, bool)> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold any character, these too.
        let open = stat.iter().position(|byte| *byte == b'(')?;
        let close = stat.iter().rposition(|byte| *byte == b')')?;
        let name = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
        let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<i64>().ok();
        let narrow = |index: usize| i32::try_from(number(index)?).ok();
        // The group of one that is about to be gone is -1.
        let group = number(2).and_then(pid_of);
        let process = Process { pid, parent: narrow(1)?, group, start: number(19)?, name };
        Some((process, !matches!(fields.first(), Some(&("Z" | "X")))))
    }

    /// Whether a process is one of `keep`, by the name of its program or of its script.
    fn kept(process: &Process, keep: &[String]) -> bool {
        if keep.is_empty() {
            return false;
        }
        let file = fs::read_link(format!("/proc/{}/exe", process.pid)).unwrap_or_default();
        let file = file.file_name().map(OsStr::as_bytes).unwrap_or_default();
        let file = file.strip_suffix(b" (deleted)").unwrap_or(file);
        // A server may have a suffix to its name: `tmux: server`. The system shortens names to 15 bytes.
        let name = process.name.split(':').next().unwrap_or_default();
        keep.iter().any(|keep| {
            let short = keep.as_bytes().get(..15).unwrap_or(keep.as_bytes());
            !keep.is_empty() && (file == keep.as_bytes() || name.as_bytes() == short)
        })
    }
}

/// Without `/proc`: no tree can be seen, only a group be told.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::time::Instant;

    use rustix::io::Errno;
    use rustix::process::{Pid, Signal, kill_process, test_kill_process};

    use super::{Look, Process, pid_of};

    /// Returns when a process started; here that is not known, and 0.
    #[must_use]
    pub fn start_time(pid: i64) -> Option<i64> {
        let pid = pid_of(pid)?;
        (!is_gone(pid, 0)).then_some(0)
    }

    pub(super) fn is_gone(pid: Pid, _: i64) -> bool {
        test_kill_process(pid) == Err(Errno::SRCH)
    }

    pub(super) fn descendants(_: &[String], agent: Option<Pid>) -> Look {
        let group = |agent| Process { pid: agent, start: 0, parent: 0, group: Some(agent), name: "agent".to_owned() };
        let alive = |agent: &Pid| rustix::process::test_kill_process_group(*agent).is_ok();
        // What has left the group cannot be seen, and so may be there.
        Look { found: agent.filter(alive).map(group).into_iter().collect(), spared: true }
    }

    pub(super) fn marked(_: &str, _: &[String]) -> Vec<Process> {
        Vec::new()
    }

    pub(super) fn signal(process: &Process, signal: Signal) -> Result<(), Errno> {
        match process.group {
            Some(group) => rustix::process::kill_process_group(group, signal),
            None => kill_process(process.pid, signal),
        }
    }

    pub(super) fn await_end(_: &Process, _: Instant) {}
}

/// How often nothing has to be found until it is believed without certainty.
const MOST_LOOKS: usize = 10;

/// How long processes that do not end are waited for: those in the middle of a system call that cannot be interrupted.
const PATIENCE: Duration = Duration::from_secs(10);
