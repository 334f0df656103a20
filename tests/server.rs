//! The daemon's doors: who may come in, what malformed callers are told, and what slow ones cost.

mod caller;
mod canned;
mod http;
mod settings;
mod socket;
