//! The first words between a helper that outlives the daemon and whoever starts it: it is told what to do on its standard
//! input, answers with one line on its standard output, and lets go of both.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::child::sentence;

/// Starts `paseo <role> <name>`, tells it `order`, and returns it with its answer; when there is none, nothing is left.
///
/// The name is for people who look at a list of processes. What nobody should read there is in the order.
pub(crate) fn start<A: DeserializeOwned>(
    program: &Path,
    role: &str,
    name: &str,
    order: &[u8],
) -> io::Result<(Child, A)> {
    let mut command = Command::new(program);
    command.arg0("paseo").arg(role).arg(name).env_clear();
    // Else the C library learns from one long line to keep as much memory for the next, and there are many helpers.
    command.env("MALLOC_MMAP_THRESHOLD_", "131072").env("MALLOC_TRIM_THRESHOLD_", "131072");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut helper = command.spawn()?;
    match converse(&mut helper, order) {
        Ok(answer) => Ok((helper, answer)),
        Err(error) => {
            // Where it has ended by itself, there is nobody to kill.
            let _ = helper.kill();
            let _ = helper.wait();
            Err(error)
        }
    }
}

/// Leaves the session of whoever started this, and adopts what loses its parent below.
pub(crate) fn detach() -> io::Result<()> {
    // It fails only for a leader of a group, which a daemon's child is not.
    let _ = rustix::process::setsid();
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

/// Reads what this helper is told.
pub(crate) fn order<O: DeserializeOwned>() -> Result<O, String> {
    let mut text = Vec::new();
    io::stdin().read_to_end(&mut text).map_err(|error| sentence(&error))?;
    serde_json::from_slice(&text).map_err(|error| format!("this helper was not told what to start: {error}"))
}

/// Answers whoever started this, and lets go of the pipes.
pub(crate) fn answer(answer: &impl Serialize) {
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    // Whoever started this may have gone; what was ordered is done all the same.
    let _ = io::stdout().write_all(&line).and_then(|()| io::stdout().flush());
    if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        // Without it the pipes stay open, and whoever started this has read its line already.
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

fn converse<A: DeserializeOwned>(helper: &mut Child, order: &[u8]) -> io::Result<A> {
    let give_up = Instant::now() + START;
    let (Some(mut stdin), Some(mut stdout)) = (helper.stdin.take(), helper.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    // It reads all of it before it does anything else.
    stdin.write_all(order)?;
    drop(stdin);
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n") {
        let left = Timespec::try_from(give_up.saturating_duration_since(Instant::now())).unwrap_or_default();
        match poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer")),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let mut chunk = [0; 4096];
        match stdout.read(&mut chunk)? {
            0 => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is not a helper of paseo, or it crashed"));
            }
            count => answer.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(serde_json::from_slice(&answer)?)
}

/// How long a helper may take to answer.
const START: Duration = Duration::from_secs(30);
