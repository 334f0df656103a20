//! All tests of paseo, in one binary: one link, and none forgotten.
//!
//! A module for each topic, named by it: `laws` and `agent` hold what is true of machines whatever happens; `cadence` is
//! when schedules are due; `shell`,
//! `claude` and `codex` fold journals into timelines, and the latter two drive the real programs; `conformance` is the
//! table of what every provider does alike; `activity` is what a model reads of an agent; `connection`, `client` and
//! `server` are the two ends of the wire, each alone; `shim`, `hook`, `store` and `worktrees` drive the hands; `daemon` is
//! the whole, in a `lab`, and `variants` are providers under other names; `cli` is what a person types and sees, `mcp` what
//! a model calls and reads; `messages_api` stands in for the model behind the real Claude Code and `responses_api` for the
//! one behind the real Codex, both made of `model_api`. Snapshots lie in a folder `snapshots` beside the module. Nothing
//! here sleeps in order to wait, and nothing asserts how long it took.

mod activity;
mod agent;
mod cadence;
mod claude;
mod cli;
mod client;
mod codex;
mod conformance;
mod connection;
mod daemon;
mod hook;
mod journal;
mod lab;
mod laws;
mod mcp;
mod messages_api;
mod model;
mod model_api;
mod readme;
mod replica;
mod responses_api;
mod schedule;
mod schema;
mod server;
mod shell;
mod shim;
mod store;
mod torture;
mod variants;
mod walk;
mod worktrees;
