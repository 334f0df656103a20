//! What holds for any bytes: functions that panic when it does not.
//!
//! The test suite gives them random bytes, a fuzzer gives them better ones, and a failure of either is a few bytes that
//! both can repeat.

mod bytes;
mod cadence;
mod laws;
mod machines;
mod session;
mod wire;

pub use cadence::cadence;
pub use laws::{Broken, MOST_OUTPUTS, Step, laws};
pub use machines::machines;
pub use session::{long_journals, session};
pub use wire::{frames, params};
