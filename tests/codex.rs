//! What is Codex's alone.

mod session;
