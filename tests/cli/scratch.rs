//! A directory of its own for each test, and the program under test in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A directory that goes away with the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        // Short, since sockets below it have short names only.
        let name = format!("paseo-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("the temporary directory can be written");
        Scratch(path.canonicalize().expect("it is there"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Paseo's home, which is not there before something makes it.
    pub(crate) fn home(&self) -> PathBuf {
        self.0.join("home")
    }

    /// The program under test with nothing of this process's environment that could change what it does.
    pub(crate) fn paseo(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_paseo-under-test"));
        command.args(args).current_dir(&self.0).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PASEO_") {
                command.env_remove(name);
            }
        }
        command.env("PASEO_HOME", self.home()).env("SHELL", "/bin/sh").env_remove("COLUMNS").env_remove("NO_COLOR");
        command
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
