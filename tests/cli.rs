//! The command line: what it prints, how it ends, and what it understands.

mod arguments;
mod asking;
mod bar;
mod diff;
mod help;
mod install;
mod render;
mod schedules;
mod scratch;
mod terminal;
mod transcript;
mod whole;
