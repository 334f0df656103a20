//! What is Claude Code's alone: driven for real where the program is there, and read from journals everywhere.

pub(crate) mod journals;
mod launch;
mod real;
mod tools;
