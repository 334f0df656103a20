//! The tools as models have them, over `/mcp` and from `paseo mcp`, and what the public suites say of them.

mod answers;
mod bound;
mod bridge;
mod messages;
mod proxy;
mod suites;
mod text;
mod wire;
