//! The life of an agent: what its clients may rely on, whatever it does and whenever the daemon dies.

mod program;
mod restart;
mod world;
