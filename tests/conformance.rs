//! What every provider does alike: one table, a row for each thing that people rely on, a column for each provider.
//!
//! A cell is passed, or declared out with the reason; there is no third. The tables are printed by
//! `cargo test --package paseo-tests --test all conformance -- --nocapture --test-threads 1`.

mod ends;
pub(crate) mod stage;
mod tools;
mod trouble;
mod turns;

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::stage::{Kind, Stage};
use crate::messages_api::program::claude_program;
use crate::responses_api::program::codex_program;

/// What came of a case, when it did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Passed,
    /// The provider cannot, for this reason, and says so where somebody asks for it.
    Out(&'static str),
}

type Case = (&'static str, fn(Stage) -> Pin<Box<dyn Future<Output = Cell> + Send>>);

/// Lists cases by their names.
macro_rules! cases {
    ($($name:ident: $case:path,)*) => {
        const CASES: &[Case] = &[$((stringify!($name), |stage| Box::pin($case(stage)))),*];
    };
}

cases! {
    text: turns::text,
    tool_allowed: turns::tool_allowed,
    tool_denied: turns::tool_denied,
    follow_up: turns::follow_up,
    busy_queue: turns::busy_queue,
    busy_interrupt: turns::busy_interrupt,
    busy_steer: turns::busy_steer,
    images: turns::images,
    usage: turns::usage,
    own_tools_are_not_asked_for: tools::own_tools_are_not_asked_for,
    tools_that_start_slowly: tools::tools_that_start_slowly,
    child_in_a_new_worktree: tools::child_in_a_new_worktree,
    child_that_reports: tools::child_that_reports,
    child_that_takes_long: tools::child_that_takes_long,
    daemon_killed_while_it_starts_a_child: tools::daemon_killed_while_it_starts_a_child,
    daemon_killed_while_it_waits_for_a_child: tools::daemon_killed_while_it_waits_for_a_child,
    interrupt_while_it_waits_for_a_child: tools::interrupt_while_it_waits_for_a_child,
    interrupt_while_it_waits_for_a_person: tools::interrupt_while_it_waits_for_a_person,
    interrupt_while_it_streams: ends::interrupt_while_it_streams,
    interrupt_while_a_tool_runs: ends::interrupt_while_a_tool_runs,
    interrupt_while_it_asks: ends::interrupt_while_it_asks,
    agent_killed_while_a_tool_runs: ends::agent_killed_while_a_tool_runs,
    agent_killed_while_it_asks: ends::agent_killed_while_it_asks,
    daemon_killed_while_it_streams: ends::daemon_killed_while_it_streams,
    daemon_killed_while_a_tool_runs: ends::daemon_killed_while_a_tool_runs,
    daemon_killed_while_it_asks: ends::daemon_killed_while_it_asks,
    model_error: trouble::model_error,
    overloaded: trouble::overloaded,
    unknown_model: trouble::unknown_model,
    missing_program: trouble::missing_program,
    missing_credentials: trouble::missing_credentials,
}

/// The case that takes longest. Its program only waits, so it begins at once and takes no room from others.
const LONGEST: &str = "child_that_takes_long";

#[tokio::test(flavor = "multi_thread")]
async fn shell() {
    every_cell(Kind::Shell).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claude() {
    if let Some(program) = claude_program() {
        every_cell(Kind::Claude { program }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codex() {
    if let Some(program) = codex_program() {
        every_cell(Kind::Codex { program }).await;
    }
}

/// Runs every case, prints the column, and fails when a cell did.
async fn every_cell(kind: Kind) {
    // Programs of 200 MB each: a few at a time.
    let room = Arc::new(Semaphore::new(3));
    let wanted = std::env::var("PASEO_CONFORMANCE").ok();
    let mut running = JoinSet::new();
    for (row, (name, case)) in CASES.iter().enumerate() {
        if wanted.as_ref().is_some_and(|wanted| !name.contains(wanted.as_str())) {
            continue;
        }
        let (kind, room) = (kind.clone(), room.clone());
        running.spawn(async move {
            let _room = match *name == LONGEST {
                true => None,
                false => Some(room.acquire_owned().await.expect("nobody closes it")),
            };
            let stage = Stage::new(kind).await;
            // In a task of its own, so that a failed case leaves the others alone.
            let cell = tokio::spawn(case(stage)).await;
            (row, cell.map_err(|panic| panic.to_string()))
        });
    }
    let mut column = Vec::new();
    while let Some(cell) = running.join_next().await {
        column.push(cell.expect("what fails is caught within"));
    }
    column.sort_by_key(|(row, _)| *row);
    let mut failed = Vec::new();
    for (row, cell) in column {
        let name = CASES[row].0;
        let said = match cell {
            Ok(Cell::Passed) => "passed".to_owned(),
            Ok(Cell::Out(reason)) => format!("out: {reason}"),
            Err(panic) => {
                failed.push(name);
                format!("FAILED: {panic}")
            }
        };
        println!("{:<8} {:<34} {said}", kind.name(), name.replace('_', " "));
    }
    assert!(failed.is_empty(), "{}: {failed:?}", kind.name());
}
