//! The benchmark: what things cost, each beside the bare thing, measured in turns in the same run.
//!
//! ```sh
//! cargo run --release -p paseo-tests --bin paseo-bench
//! ```
//!
//! It takes about five minutes and 2.5 GB of disk, in homes of its own that are gone at the end, and asserts nothing. With
//! `-- worktrees` it measures only those, with `-- worktrees 30 5000` in repositories of these sizes only; without the 50
//! trees, and so within a minute and 400 MB, is all the rest: `-- rest`. The link of a release takes minutes, too:
//! `CARGO_PROFILE_RELEASE_LTO=off` before the command saves them, and changes little of what is measured. A line
//! says what was measured, its median with the least and the most of so many runs, the same of the bare thing, and how
//! many times the bare thing that is. Only the last means something on another machine, or on this one tomorrow.
//!
//! - **start**: from the spawn of `paseo daemon run` until `GET /api/health` is answered over its unix socket, in a new
//!   home and in one of a hundred agents. Beside it the spawn of a process that does nothing, until it has ended.
//! - **daemon**: the daemon's memory when nothing happens. PSS shares what several processes map among them; RSS counts
//!   it in full, and so includes all of the program file that was ever touched.
//! - **shim**, **bridge**: PSS of each while ten agents of provider `shell` run a `sleep`: the shim keeps the agent, the
//!   bridge is the agent's own program. Beside them a `sh` that waits for a program, ten of which run too.
//! - **paseo mcp**: PSS of each of ten that have listed their tools and in which a call waits for an agent.
//! - **call**: a request through the SDK's client until its answer is there, a hundred in a row, per call. Beside it a
//!   WebSocket server that does nothing but answer, its client on the same runtime, with messages of the same sizes over
//!   the same kind of socket.
//! - **paseo ls**: the command as a whole process, with ten agents to show.
//! - **output**: an agent prints twenty megabytes, from `create_agent` until it has completed; all of it is in its journal
//!   by then. Beside it the same script under `sh`, into a pipe.
//! - **round trip**: a line is told through a shim to `cat`, until the record of its answer is heard. Beside it pipes to
//!   `cat` and back, and the same when the line is appended to a file and brought to the disk before, as a shim does.
//! - **re-attach**: a hundred agents run, and their daemon was killed. From the spawn of the next one until it is healthy,
//!   by when it has read their journals and found their shims, and until `list_agents` names a hundred that run. Beside
//!   it the start in a home of a hundred agents that do not run.
//! - **schedules**: with a thousand of them of which none is due, how often a thread of the daemon is woken, its memory,
//!   and its start.
//! - **entries**: pages of 50 of a timeline of a million entries, 330 MB, through the client. Beside them the reading of as
//!   many bytes of the same file in this process; beside a kind that no entry has, a `grep` that finds nothing; beside
//!   `paseo logs --tail 50` as a whole process, `tail -n 50`. The daemon's memory is that with a hundred agents of ten
//!   thousand entries each: just started, when pages were read, and when all was looked through for such a kind.
//! - **agent**: from `create_agent` with the script `true` until the answer that it has completed: two processes of paseo,
//!   a shell, a journal, and a timeline on the disk. Beside it `sh -c true`.
//! - **worktrees**: from the request for a worktree with a new branch until it is there, in repositories of 30, 5,000 and
//!   50,000 files, packed and with a history; through the library, in the small one also through a daemon. Beside it
//!   `git worktree add -b` in the same repository. And fifty listed, with branch, base, ahead and behind, and whether they
//!   are dirty. Beside it `git worktree list` and a `git status --porcelain` in each, which says no more than the last. What
//!   was written is on the disk before either begins, and they take turns at coming first.
//!
//! The program that is measured is `paseo-under-test` beside this one: the command line as it ships.

mod echo;
mod history;
mod lines;
mod memory;
mod schedules;
mod stage;
mod table;
mod trip;
mod worktrees;

use std::error::Error;
use std::process::ExitCode;

use crate::stage::Stage;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures line after line. Whatever was started ends with the stage, also when a line fails.
fn measure() -> Result<()> {
    let part = Part::of(std::env::args().skip(1))?;
    let program = stage::program()?;
    if cfg!(debug_assertions) {
        eprintln!(
            "this is a debug build; only `cargo run --release -p paseo-tests --bin paseo-bench` says what counts"
        );
    }
    let mut stage = Stage::open(program)?;
    // As the smallest client has it: one thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    table::head();
    runtime.block_on(async {
        if let Part::Worktrees(sizes) = &part {
            return worktrees::all(&stage, sizes).await;
        }
        if let Part::Schedules = &part {
            return schedules::a_thousand(&mut stage).await;
        }
        lines::first_start(&stage)?;
        let daemon = stage.daemon()?;
        memory::of_the_daemon(&daemon, "no agents")?;
        memory::of_ten_running(&stage).await?;
        trip::round_trip(&stage).await?;
        lines::calls(&stage).await?;
        lines::list(&stage)?;
        lines::agent(&stage).await?;
        lines::output(&stage).await?;
        stage.agents(100).await?;
        memory::of_the_daemon(&daemon, "after all that, 100 idle agents")?;
        daemon.stop()?;
        lines::next_start(&stage, "start, in a home of 100 agents")?;
        let daemon = stage.daemon()?;
        memory::of_the_daemon(&daemon, "just started, 100 idle agents")?;
        daemon.stop()?;
        schedules::a_thousand(&mut stage).await?;
        lines::reattach(&mut stage).await?;
        history::pages(&stage).await?;
        history::memory(&stage).await?;
        match part {
            Part::All => worktrees::all(&stage, &worktrees::SIZES).await,
            _ => Ok(()),
        }
    })
}

/// What of it is measured.
enum Part {
    All,
    /// Only worktrees, in repositories of so many files.
    Worktrees(Vec<usize>),
    /// Only schedules.
    Schedules,
    /// All but worktrees.
    Rest,
}

impl Part {
    fn of(mut args: impl Iterator<Item = String>) -> Result<Part> {
        match args.next().as_deref() {
            None => Ok(Part::All),
            Some("rest") => Ok(Part::Rest),
            Some("schedules") => Ok(Part::Schedules),
            Some("worktrees") => {
                let sizes = args.map(|size| size.parse()).collect::<std::result::Result<Vec<_>, _>>()?;
                Ok(Part::Worktrees(if sizes.is_empty() { worktrees::SIZES.to_vec() } else { sizes }))
            }
            Some(other) => {
                Err(format!("`{other}` is no part of it: give `worktrees`, `schedules` or `rest`, or nothing").into())
            }
        }
    }
}
