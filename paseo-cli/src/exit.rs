//! How a command ends: the exit code that programs read, and the error that people read.

use std::process::ExitCode;

use paseo_sdk::catalogue::AgentOutcome;
use paseo_sdk::model::WaitOutcome;
use paseo_sdk::{ApiError, Code};

/// What the exit code of a command says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It is done.
    Done = 0,
    /// It could not be done.
    Error = 1,
    /// The arguments are wrong.
    Usage = 2,
    /// The agent failed or reached a limit.
    AgentFailed = 3,
    /// The agent waits for a permission.
    Permission = 4,
    /// The time given to the wait ran out.
    TimedOut = 5,
    /// The agent, or the command, was interrupted.
    Interrupted = 6,
    /// The daemon is not reachable.
    Unreachable = 7,
}

impl Exit {
    /// Returns the exit code for what came of a wait; an accepted prompt that nobody waited for is done.
    #[must_use]
    pub fn of(outcome: &AgentOutcome) -> Exit {
        match outcome.outcome {
            None | Some(WaitOutcome::Completed) => Exit::Done,
            Some(WaitOutcome::Error | WaitOutcome::Limit) => Exit::AgentFailed,
            Some(WaitOutcome::Permission) => Exit::Permission,
            Some(WaitOutcome::TimedOut) => Exit::TimedOut,
            Some(WaitOutcome::Interrupted) => Exit::Interrupted,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command was not carried out.
#[derive(Debug)]
pub enum Failure {
    /// It was refused, by the daemon or here.
    Refused {
        /// The exit code.
        exit: Exit,
        /// What a person, or with `--json` a program, is told.
        error: ApiError,
    },
    /// Nobody reads the output any more; there is nobody to tell either.
    Unread,
}

impl Failure {
    /// The arguments are wrong.
    #[must_use]
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::Refused { exit: Exit::Usage, error: ApiError::new(Code::InvalidArgument, message).hint(hint) }
    }

    /// The daemon cannot be reached.
    #[must_use]
    pub fn unreachable(message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::Refused { exit: Exit::Unreachable, error: ApiError::new(Code::Unavailable, message).hint(hint) }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Failure {
        Failure::Refused { exit: Exit::Error, error }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::Unread,
            _ => ApiError::new(Code::Internal, error.to_string()).into(),
        }
    }
}
