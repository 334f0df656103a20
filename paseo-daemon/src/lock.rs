//! The lock of a home: one daemon at a time. The lock decides; the text in the file only informs.
//!
//! A flock belongs to the open file, not to the process, so it outlives an exec as long as a descriptor of the file does.
//! A daemon that restarts in place passes it on as standard input ([`Lock::as_stdin`]) and its successor, finding the pid
//! file there, takes it from there: no moment without the lock, and nothing unsafe.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use paseo_sdk::client::Address;
use paseo_sdk::error::{ApiError, Code};
use rustix::fs::FlockOperation;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::home::Home;
use crate::server::LONGEST_SOCKET;

/// A home's lock, held until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// What the pid file says about the daemon that holds the lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: i64,
    /// Where it listens; empty until it does.
    #[serde(default)]
    pub listen: Vec<String>,
}

impl Lock {
    /// Takes the lock, or the one that a predecessor in this process passed on, and notes this process in the file.
    ///
    /// # Errors
    ///
    /// `conflict`, naming the process, when a daemon runs on this home; `unavailable` when the file cannot be used.
    pub fn take(home: &Home) -> Result<Lock, ApiError> {
        let path = home.pid_file();
        let cannot = |error: io::Error| {
            ApiError::new(Code::Unavailable, format!("cannot lock {}: {error}", path.display()))
                .hint("the home must be on a local disk that can be written")
        };
        let mut patience = PATIENCE;
        loop {
            let file = match inherited(&path) {
                Some(file) => file,
                None => OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .mode(0o600)
                    .open(&path)
                    .map_err(cannot)?,
            };
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                // A process that a daemon was starting when it was killed has its files for another moment.
                Err(rustix::io::Errno::WOULDBLOCK) if patience > 0 && is_dead(holder(home.path())) => {
                    patience -= 1;
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(held(home)),
                Err(errno) => return Err(cannot(errno.into())),
            }
            // A daemon that ended between our opening and our locking took the file with it: lock the one that is there.
            if same_file(&file, &path) {
                let lock = Lock { file, path };
                lock.announce(&[]).map_err(|error| {
                    ApiError::new(Code::Unavailable, format!("cannot write {}: {error}", lock.path.display()))
                })?;
                return Ok(lock);
            }
        }
    }

    /// Notes where this daemon really listens.
    ///
    /// # Errors
    ///
    /// Those of writing; the lock holds all the same.
    pub fn announce(&self, listen: &[String]) -> io::Result<()> {
        let holder = Holder { pid: i64::from(std::process::id()), listen: listen.to_vec() };
        let text = serde_json::to_string(&holder)?;
        // In place, because another file of this name would not be locked; padded, so that no reader finds two texts.
        let old = usize::try_from(self.file.metadata()?.len()).unwrap_or(0).saturating_sub(1);
        self.file.write_all_at(format!("{text:<old$}\n").as_bytes(), 0)
    }

    /// Returns the lock as the standard input of the program that this process is about to become.
    ///
    /// # Errors
    ///
    /// When there is no descriptor left.
    pub fn as_stdin(&self) -> io::Result<Stdio> {
        self.file.try_clone().map(Stdio::from)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While the lock is still held, so that a successor's file is never the one removed.
        if same_file(&self.file, &self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether the process that the file names is no more.
fn is_dead(holder: Option<Holder>) -> bool {
    let pid = holder.and_then(|holder| Pid::from_raw(i32::try_from(holder.pid).ok()?));
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

/// Reads what the last daemon of a home wrote about itself. It may have died since: only an answer shows that it lives.
#[must_use]
pub fn holder(home: &Path) -> Option<Holder> {
    let text = std::fs::read(home.join("paseo.pid")).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Returns where the daemon of a home listens: at its socket, or where it says when that path is too long for one.
#[must_use]
pub fn address(home: &Path) -> Address {
    let socket = home.join("paseo.sock");
    if socket.as_os_str().len() <= LONGEST_SOCKET {
        return Address::Unix(socket);
    }
    let listen = holder(home).map(|holder| holder.listen).unwrap_or_default();
    listen.iter().find_map(|address| address.parse().ok()).unwrap_or(Address::Unix(socket))
}

/// Blocks until no daemon holds the lock of a home.
///
/// # Errors
///
/// When the file is there and cannot be locked.
pub fn wait_until_free(home: &Path) -> io::Result<()> {
    match File::open(home.join("paseo.pid")) {
        Ok(file) => Ok(rustix::fs::flock(&file, FlockOperation::LockShared)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns the pid file that stands at standard input, and puts nothing in its place.
fn inherited(path: &Path) -> Option<File> {
    let file = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
    if !same_file(&file, path) {
        return None;
    }
    rustix::stdio::dup2_stdin(File::open("/dev/null").ok()?).ok()?;
    Some(file)
}

fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

fn held(home: &Home) -> ApiError {
    let shown = home.path().display();
    match holder(home.path()) {
        Some(Holder { pid, listen }) => {
            ApiError::new(Code::Conflict, format!("a daemon runs on {shown} already: process {pid}"))
                .details(serde_json::json!({ "pid": pid, "listen": listen }))
        }
        None => ApiError::new(Code::Conflict, format!("a daemon runs on {shown} already")),
    }
    .hint("`paseo daemon status` shows it, `paseo daemon stop` stops it; or choose another home with `--home`")
}

/// How often a lock is tried that a dead process is said to hold, and how long between.
const PATIENCE: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);
