//! The daemon's log: one file that keeps its name and is moved aside when it is large. It never stops the daemon.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What is logged, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The file; without one, `daemon.log` in the home.
    pub file: Option<PathBuf>,
    /// How much: `error`, `warn`, `info` (default), `debug`, `trace`, or per module as `paseo_daemon::server=debug`.
    pub level: Option<String>,
    /// On standard error as well.
    pub foreground: bool,
}

/// Starts logging for the whole process and returns what is to complain about. A program that embeds the daemon and has
/// a subscriber of its own keeps it.
pub fn start(settings: &Settings, default_file: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let path = settings.file.as_deref().unwrap_or(default_file);
    let file = match Rotating::open(path, SIZE, KEPT) {
        Ok(file) => Some(file),
        Err(error) => {
            warnings.push(format!("cannot write the log {}: {error}", path.display()));
            None
        }
    };
    let level = settings.level.as_deref().unwrap_or("info");
    let filter = EnvFilter::try_new(level).unwrap_or_else(|error| {
        warnings.push(format!("log level `{level}` is not understood ({error}): using `info`"));
        EnvFilter::new("info")
    });
    // It would write down whole requests, with the secrets in them.
    let filter = filter.add_directive("rmcp=off".parse().expect("a directive"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Sinks { file: file.map(|file| Arc::new(Mutex::new(file))), foreground: settings.foreground })
        // Its complaints would go to standard error, which panics when that is closed.
        .log_internal_errors(false)
        .finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
    warnings
}

/// A file that is moved aside, to `name.1`, `name.2` and so on, when the next line would make it too large.
#[derive(Debug)]
pub struct Rotating {
    path: PathBuf,
    file: File,
    length: u64,
    size: u64,
    kept: usize,
}

impl Rotating {
    /// Opens `path` for appending. It grows to `size` bytes, and `kept` older files stay beside it.
    ///
    /// # Errors
    ///
    /// Those of opening it.
    pub fn open(path: &Path, size: u64, kept: usize) -> io::Result<Rotating> {
        let file = append(path)?;
        let length = file.metadata()?.len();
        Ok(Rotating { path: path.to_owned(), file, length, size, kept })
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.kept).rev() {
            let _ = std::fs::rename(self.numbered(number), self.numbered(number + 1));
        }
        match self.kept {
            0 => std::fs::remove_file(&self.path)?,
            _ => std::fs::rename(&self.path, self.numbered(1))?,
        }
        self.file = append(&self.path)?;
        self.length = 0;
        Ok(())
    }

    fn numbered(&self, number: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Write for Rotating {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.length > 0 && self.length.saturating_add(line.len() as u64) > self.size {
            // Where it cannot be moved aside, a log that is too large is better than none.
            let _ = self.rotate();
        }
        self.file.write_all(line)?;
        self.length = self.length.saturating_add(line.len() as u64);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where lines go. A line that cannot be written is lost; the next one is tried again.
struct Sinks {
    file: Option<Arc<Mutex<Rotating>>>,
    foreground: bool,
}

struct Line {
    file: Option<Arc<Mutex<Rotating>>>,
    foreground: bool,
}

impl<'a> MakeWriter<'a> for Sinks {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { file: self.file.clone(), foreground: self.foreground }
    }
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(file) = &self.file {
            let _ = file.lock().unwrap_or_else(PoisonError::into_inner).write(line);
        }
        if self.foreground {
            let _ = io::stderr().write_all(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// How large the log grows before it is moved aside.
const SIZE: u64 = 10 << 20;
/// How many older logs stay.
const KEPT: usize = 3;
