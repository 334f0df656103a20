//! Where a run's socket is, and how a run's processes are marked.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Returns where the shim of this run listens, in a directory that only its owner can enter.
///
/// That is `$PASEO_HOME/run/<short id>`, or, where a socket's address has no room for that,
/// `${XDG_RUNTIME_DIR:-/tmp}/paseo-<uid>-<hash of home>/<short id>`.
///
/// # Errors
///
/// When the directory cannot be made, or is not one that only its owner can enter.
pub fn socket(home: &Path, agent_id: &str, run: i64) -> io::Result<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    socket_below(home, agent_id, run, runtime.as_deref().unwrap_or(Path::new("/tmp")))
}

/// Does the same with `runtime` in place of `XDG_RUNTIME_DIR`.
///
/// # Errors
///
/// Those of [`socket`].
pub fn socket_below(home: &Path, agent_id: &str, run: i64, runtime: &Path) -> io::Result<PathBuf> {
    let short = hash(&[agent_id.as_bytes(), run.to_string().as_bytes()], 12);
    let user = rustix::process::geteuid().as_raw();
    let other = format!("paseo-{user}-{}", hash(&[home.as_os_str().as_bytes()], 8));
    let fits = |directory: &PathBuf| directory.as_os_str().len() + 1 + short.len() <= LONGEST;
    let directory = [home.join("run"), runtime.join(&other), Path::new("/tmp").join(&other)].into_iter().find(fits);
    // The last candidate always fits.
    let directory = directory.unwrap_or_else(|| Path::new("/tmp").join(&other));
    own(&directory)?;
    Ok(directory.join(short))
}

/// Returns the value of `PASEO_RUN` for this run: no other run of any home has it.
#[must_use]
pub fn marker(home: &Path, agent_id: &str, run: i64) -> String {
    format!("{}/{agent_id}/{run}", hash(&[home.as_os_str().as_bytes()], 16))
}

/// Makes a directory that only we can enter, or checks that it is one.
fn own(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(io::Error::new(error.kind(), format!("cannot make {}: {error}", directory.display())));
        }
    }
    let found = fs::symlink_metadata(directory)?;
    let problem = if !found.is_dir() {
        "is a link or a file, not a directory"
    } else if found.uid() != rustix::process::geteuid().as_raw() {
        "belongs to somebody else"
    } else if found.mode() & 0o077 != 0 {
        "can be entered by others: `chmod 700` it"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{} {problem}", directory.display())))
}

fn hash(parts: &[&[u8]], digits: usize) -> String {
    let mut sum = Sha256::new();
    for part in parts {
        sum.update(part);
        sum.update([0]);
    }
    let mut text: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(digits);
    text
}

/// The longest address of a socket that every system takes, with some room.
const LONGEST: usize = 100;
