//! How a shim starts: its agent runs and the journal says so, or nothing is left.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;

use paseo_sdk::provider::What;
use rustix::fs::Mode;
use rustix::process::{Signal, getpid, umask};

use super::input::Input;
use super::{Output, Phase, Shim};
use crate::shim::child::{self, Running, nonblocking, sentence};
use crate::shim::helper;
use crate::shim::journal::{self, Journal};
use crate::shim::signals::{self, Bell};
use crate::shim::{Launching, MARKER, Ready, SHIM_FILE, tree};

impl Shim {
    /// Starts the agent; leaves nothing behind when it cannot.
    pub(super) fn start() -> Result<(Ready, Shim), String> {
        helper::detach().map_err(|error| sentence(&error))?;
        let launching: Launching = helper::order()?;
        for path in [&launching.run_dir, &launching.socket, &launching.cwd] {
            if !path.is_absolute() {
                return Err(format!("{} is not an absolute path", path.display()));
            }
        }
        if !launching.cwd.is_dir() {
            return Err(format!("{}: no such directory", launching.cwd.display()));
        }
        let made = !launching.run_dir.exists();
        let made_dir = DirBuilder::new().recursive(true).mode(0o700).create(&launching.run_dir);
        made_dir.map_err(|error| format!("{}: {}", launching.run_dir.display(), sentence(&error)))?;
        Shim::start_in(&launching).inspect_err(|_| {
            if made {
                let _ = fs::remove_dir(&launching.run_dir);
            }
        })
    }

    fn start_in(launching: &Launching) -> Result<(Ready, Shim), String> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| format!("{}: {}", path.display(), sentence(&error))
        };
        let said = |error: io::Error| sentence(&error);
        let shim_file = launching.run_dir.join(SHIM_FILE);
        let lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&shim_file);
        let mut lock = lock.map_err(failed(&shim_file))?;
        if !journal::locked(&lock).map_err(failed(&shim_file))? {
            return Err(format!("{} has a shim already", launching.run_dir.display()));
        }
        let mut journal = Journal::create(&launching.run_dir).map_err(failed(&launching.run_dir))?;
        let attempt = || {
            let children = Bell::on(&[Signal::CHILD]).map_err(said)?;
            let terminated = Bell::on(&[Signal::TERM]).map_err(said)?;
            // Beside the terminal's signals: a limit on the size of files is an error like a full disk.
            let deaf = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::XFSZ];
            signals::deafen(&deaf).map_err(said)?;
            let listener = listen(&launching.socket).map_err(failed(&launching.socket))?;
            let (read_end, write_end) = io::pipe().map_err(said)?;
            nonblocking(&write_end).map_err(said)?;
            let args: Vec<OsString> = launching.args.iter().map(OsString::from).collect();
            let running = child::spawn(OsStr::new(&launching.program), &args, read_end.into(), |command| {
                command.env_clear().envs(launching.env.iter().map(|(name, value)| (name, value)));
                command.env(MARKER, &launching.marker).current_dir(&launching.cwd);
            });
            Ok((children, terminated, listener, write_end, running?))
        };
        let (children, terminated, listener, write_end, running) = attempt().inspect_err(|_: &String| {
            for path in [&launching.socket, &shim_file, &launching.run_dir.join(journal::FIRST_FILE)] {
                let _ = fs::remove_file(path);
            }
        })?;
        // The directory that the daemon was in may be unmounted.
        let _ = std::env::set_current_dir("/");
        let Running { pid, stdout, stderr } = running;
        let started = |pid: i64| tree::start_time(pid).unwrap_or_default();
        let (agent, own) = (i64::from(pid.as_raw_pid()), i64::from(getpid().as_raw_pid()));
        let ready = Ready {
            shim_pid: own,
            shim_start_time: started(own),
            pid: agent,
            start_time: started(agent),
            socket: launching.socket.clone(),
        };
        // What cannot be written here is written again when the disk has room.
        let noted = journal
            .note(What::Launched { pid: ready.pid, start_time: ready.start_time, setup: launching.setup.clone() })
            .and_then(|()| journal.flush());
        let _ = lock.write_all(&serde_json::to_vec(&ready).unwrap_or_default());
        let limit = launching.limits.line;
        let mut shim = Shim {
            ready: ready.clone(),
            limits: launching.limits,
            keep: launching.keep.clone(),
            journal,
            agent: pid,
            exit: None,
            input: Input::new(write_end),
            outputs: [Output::new(stdout.into(), limit, What::Said), Output::new(stderr.into(), limit, What::Muttered)],
            listener,
            connection: None,
            children,
            terminated,
            phase: Phase::Running,
            reason: None,
            full: None,
            _lock: lock,
        };
        if let Err(error) = noted {
            shim.stuck(&error);
        }
        Ok((ready, shim))
    }
}

/// Listens at a path that only its owner can use, from the first moment on.
fn listen(path: &Path) -> io::Result<UnixListener> {
    // A run has one shim, so a socket that is there already is nobody's.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mask = umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    umask(mask);
    let listener = listener?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
