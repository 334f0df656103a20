//! A schedule, decided by bytes.

use paseo_sdk::machine::schedule::{Definition, Ending, Fact, Input, Memory, Schedule};
use paseo_sdk::model::{Duration, Overlap, Rhythm, RunStatus, Task, Timestamp, Usage, WhenMissed};

use crate::bytes::Bytes;
use crate::{Broken, laws};

pub(crate) fn check(mut bytes: Bytes<'_>) -> Result<(), Broken> {
    let id = "s".parse().expect("this is an id");
    let memory = Memory::new(id, definition(&mut bytes), None, String::new(), Timestamp(1_700_000_000_000));
    // A schedule that would never be due is refused before there is one.
    let Ok(schedule) = Schedule::new(memory) else { return Ok(()) };
    laws(schedule, bytes.script(input))
}

fn definition(bytes: &mut Bytes<'_>) -> Definition {
    let every = Duration { milliseconds: bytes.number(5) * 1_000 };
    let rhythm = match bytes.below(3) {
        0 => Rhythm {
            cron: Some(bytes.pick(&["*/5 * * * *", "0 3 * * 1", "@daily", "* *"]).to_owned()),
            ..Rhythm::default()
        },
        _ => Rhythm { every: Some(every), ..Rhythm::default() },
    };
    Definition {
        name: bytes.maybe(Bytes::word),
        rhythm,
        task: Task {
            prompt: bytes.word(),
            agent_id: bytes.maybe(Bytes::agent_id),
            provider: None,
            mode: None,
            cwd: None,
            worktree: None,
            run_timeout: Duration { milliseconds: bytes.number(100) * 1_000 },
            notify_on_finish: false,
        },
        allowed: None,
        max_runs: bytes.maybe(|bytes| bytes.number(4)),
        expires_at: bytes.maybe(|bytes| Timestamp(1_700_000_000_000 + bytes.number(200) * 1_000)),
        when_missed: bytes.pick(&[WhenMissed::Once, WhenMissed::Skip]),
        when_busy: bytes.pick(&[Overlap::Coalesce, Overlap::Skip, Overlap::Queue]),
    }
}

fn input(bytes: &mut Bytes<'_>) -> Input {
    match bytes.below(11) {
        5 => Input::Shift(bytes.number(100) * 1_000 - 50_000),
        0 => Input::Update(Box::new(definition(bytes))),
        1 => Input::Pause,
        2 => Input::Resume,
        3 => Input::Run(bytes.prompt_id()),
        4 if bytes.below(4) == 0 => Input::Delete,
        _ => Input::Fact(bytes.number(12), fact(bytes)),
    }
}

fn fact(bytes: &mut Bytes<'_>) -> Fact {
    match bytes.below(8) {
        0 => Fact::Accepted(bytes.agent_id(), bytes.prompt_id()),
        1 => Fact::Working,
        2 => Fact::Waiting(bytes.word()),
        3 => bytes.pick(&[Fact::Busy, Fact::Withdrawn]),
        4 => Fact::Refused(bytes.word()),
        5 => Fact::Gone(bytes.word()),
        _ => Fact::Ended(Box::new(Ending {
            status: bytes.pick(&[RunStatus::Succeeded, RunStatus::Failed, RunStatus::Interrupted]),
            reason: bytes.maybe(Bytes::word),
            last_message: bytes.maybe(Bytes::word),
            usage: Usage::default(),
            worktree: None,
        })),
    }
}
