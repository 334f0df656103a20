//! The daemon's doors: who may come in, what malformed callers are told, and what slow ones cost.

pub(crate) mod caller;
mod canned;
mod http;
mod mcp;
mod settings;
mod socket;
