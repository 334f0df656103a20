//! The home: the one directory that holds everything paseo keeps, private and checked before anything is done in it.

use std::fs::{DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use paseo_sdk::error::{ApiError, Code};

/// A home that is ours and private.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// Makes the directory if there is none, and checks that it is ours. Nothing else is touched: the lock comes first.
    ///
    /// # Errors
    ///
    /// `refused` when it, or what it links to, belongs to somebody else or is no directory; `unavailable` when it cannot
    /// be made.
    pub fn open(path: &Path) -> Result<Home, ApiError> {
        let path = std::path::absolute(path).map_err(|error| cannot("find", path, &error))?;
        if let Err(error) = path.symlink_metadata() {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(cannot("look at", &path, &error));
            }
            make_private(&path).map_err(|error| cannot("make", &path, &error))?;
        }
        check(&path)?;
        Ok(Home { path })
    }

    /// Makes the directories inside that everything else relies on. Call it once the lock is held.
    ///
    /// # Errors
    ///
    /// `unavailable` when one cannot be made.
    pub fn furnish(&self) -> Result<(), ApiError> {
        for directory in [self.agents(), self.schedules(), self.worktrees(), self.run()] {
            make_private(&directory).map_err(|error| cannot("make", &directory, &error))?;
        }
        Ok(())
    }

    /// Returns the directory itself, an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns where schedules are kept.
    #[must_use]
    pub fn schedules(&self) -> PathBuf {
        self.path.join("schedules")
    }

    /// Returns where agents are kept.
    #[must_use]
    pub fn agents(&self) -> PathBuf {
        self.path.join("agents")
    }

    /// Returns where worktrees are made.
    #[must_use]
    pub fn worktrees(&self) -> PathBuf {
        self.path.join("worktrees")
    }

    /// Returns where the sockets of shims are.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.path.join("run")
    }

    /// Returns the socket of the daemon.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path.join("paseo.sock")
    }

    /// Returns the file whose lock says that a daemon runs.
    #[must_use]
    pub fn pid_file(&self) -> PathBuf {
        self.path.join("paseo.pid")
    }

    /// Returns the daemon's log.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.path.join("daemon.log")
    }

    /// Returns the settings.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.path.join("config.json")
    }

    /// Returns the file with the user's token.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.path.join("token")
    }

    /// Returns the file with the secret that the agents' tokens are made from.
    #[must_use]
    pub fn secret_file(&self) -> PathBuf {
        self.path.join("secret")
    }
}

fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn check(path: &Path) -> Result<(), ApiError> {
    let link = path.symlink_metadata().map_err(|error| cannot("look at", path, &error))?;
    let target = path.metadata().map_err(|error| cannot("follow", path, &error))?;
    let us = rustix::process::geteuid().as_raw();
    let shown = path.display();
    // A link that root made, as on systems where /home is one, leads where root wants it to.
    if link.is_symlink() && link.uid() != us && link.uid() != 0 {
        return Err(foreign(format!("the home {shown} is a link that belongs to {}", owner(&link)), us));
    }
    if target.uid() != us {
        let what = if link.is_symlink() { "is a link to a directory that belongs" } else { "belongs" };
        return Err(foreign(format!("the home {shown} {what} to {}", owner(&target)), us));
    }
    if !target.is_dir() {
        return Err(ApiError::new(Code::Refused, format!("the home {shown} is not a directory"))
            .hint("choose another: PASEO_HOME=/path/to/directory, or `--home`"));
    }
    if target.mode() & 0o077 != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(|error| cannot("make private", path, &error))?;
    }
    Ok(())
}

fn owner(metadata: &Metadata) -> String {
    match metadata.uid() {
        0 => "root".to_owned(),
        uid => format!("another user (uid {uid})"),
    }
}

fn foreign(message: String, us: u32) -> ApiError {
    ApiError::new(Code::Refused, message).hint(match us {
        0 => "run it without sudo, or give root a home of its own: PASEO_HOME=/root/.paseo",
        _ => "choose one of your own: PASEO_HOME=/path/to/directory, or `--home`",
    })
}

fn cannot(verb: &str, path: &Path, error: &io::Error) -> ApiError {
    ApiError::new(Code::Unavailable, format!("cannot {verb} {}: {error}", path.display()))
        .hint("choose another home: PASEO_HOME=/path/to/directory, or `--home`")
}
