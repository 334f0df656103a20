//! Signals: those that a helper hears, those that it passes over, and their names.

use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::Signal;

/// Becomes readable when one of its signals arrives.
pub(crate) struct Bell(UnixStream);

impl Bell {
    pub(crate) fn on(signals: &[Signal]) -> io::Result<Bell> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        for signal in signals {
            signal_hook::low_level::pipe::register(signal.as_raw(), theirs.try_clone()?)?;
        }
        Ok(Bell(ours))
    }

    /// Returns whether it rang since it was last asked.
    pub(crate) fn rang(&mut self) -> bool {
        let mut rang = false;
        while matches!(self.0.read(&mut [0; 64]), Ok(count) if count > 0) {
            rang = true;
        }
        rang
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Passes over `signals`. They are caught, not ignored: programs inherit what is ignored.
pub(crate) fn deafen(signals: &[Signal]) -> io::Result<()> {
    let unread = Arc::new(AtomicBool::new(false));
    for signal in signals {
        signal_hook::flag::register(signal.as_raw(), Arc::clone(&unread))?;
    }
    Ok(())
}

/// Reads a signal's name, with or without `SIG`.
pub(crate) fn parse(name: &str) -> Option<Signal> {
    let name = name.strip_prefix("SIG").unwrap_or(name);
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, signal)| *signal)
}

/// Returns the name of the signal of this number.
pub(crate) fn name(number: i32) -> String {
    let known = NAMES.iter().find(|(_, signal)| signal.as_raw() == number);
    known.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

const NAMES: &[(&str, Signal)] = &[
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ILL", Signal::ILL),
    ("TRAP", Signal::TRAP),
    ("ABRT", Signal::ABORT),
    ("BUS", Signal::BUS),
    ("FPE", Signal::FPE),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("SEGV", Signal::SEGV),
    ("USR2", Signal::USR2),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("WINCH", Signal::WINCH),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
    ("SYS", Signal::SYS),
];
