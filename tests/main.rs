//! All tests of paseo, in one binary.

mod agent;
mod cli;
mod client;
mod connection;
mod daemon;
mod lab;
mod laws;
mod model;
mod readme;
mod replica;
mod schema;
mod server;
mod shell;
mod shim;
mod worktrees;
