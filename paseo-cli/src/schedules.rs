//! `paseo schedule`.

use paseo_sdk::Client;
use paseo_sdk::catalogue::{
    self, CreateWorktree, DeleteSchedule, InspectSchedule, ListSchedules, PauseSchedule, ResumeSchedule, RunSchedule,
    WorktreeAction,
};
use paseo_sdk::model::{
    AgentId, Overlap, Run, RunStatus, Schedule, ScheduleId, ScheduleRef, ScheduleStatus, Timestamp, WhenMissed,
};

use crate::command::{CreateSchedule, ScheduleCommand, UpdateSchedule};
use crate::exit::{Exit, Failure};
use crate::prompt;
use crate::render::{self, Color, Facts, View, ago, one_line, short, span, time};
use crate::screen::Screen;
use crate::start::{self, Daemon};
use crate::table::{Cell, Table, clean};
use crate::worktrees::directory;

pub(crate) async fn schedule(
    command: ScheduleCommand,
    daemon: &Daemon,
    mut screen: Screen,
    json: bool,
) -> Result<Exit, Failure> {
    let now = screen.out.now;
    let (word, schedule) = match command {
        ScheduleCommand::Create(create) => {
            let request = request(*create)?;
            ("made", daemon.client().await?.create_schedule(request).await?)
        }
        ScheduleCommand::Update(update) => ("changed", daemon.client().await?.update_schedule(changes(*update)).await?),
        ScheduleCommand::Pause(one) => {
            let request = PauseSchedule { schedule_id: one.schedule };
            ("paused", daemon.client().await?.pause_schedule(request).await?)
        }
        ScheduleCommand::Resume(one) => {
            let request = ResumeSchedule { schedule_id: one.schedule };
            ("resumed", daemon.client().await?.resume_schedule(request).await?)
        }
        ScheduleCommand::Run(one) => {
            let request = RunSchedule { schedule_id: one.schedule, prompt_id: None };
            ("running", daemon.client().await?.run_schedule(request).await?)
        }
        ScheduleCommand::Delete { schedule, yes } => return delete(schedule.schedule, yes, daemon, screen, json).await,
        ScheduleCommand::Ls { statuses, quiet } => {
            let schedules = daemon.client().await?.list_schedules(ListSchedules { statuses }).await?.schedules;
            if json {
                screen.json(&schedules)?;
            } else if quiet {
                screen.raw(&schedules.iter().map(|one| format!("{}\n", one.schedule_id)).collect::<String>())?;
            } else if schedules.is_empty() {
                screen.note("no schedules; `paseo schedule create --every 5m \"<prompt>\"` makes one")?;
            } else {
                screen.raw(&list(&screen.out, &schedules))?;
            }
            return Ok(Exit::Done);
        }
        ScheduleCommand::Inspect(one) => {
            let client = daemon.client().await?;
            let found = client.inspect_schedule(inspect(one.schedule, 5)).await?;
            match json {
                true => screen.json(&found)?,
                false => screen.raw(&whole(&screen.out, &found.schedule, &found.runs))?,
            }
            return Ok(Exit::Done);
        }
        ScheduleCommand::Logs { schedule, tail } => {
            let mut found = daemon.client().await?.inspect_schedule(inspect(schedule.schedule, tail)).await?;
            found.runs.reverse();
            match json {
                true => screen.json(&found.runs)?,
                false if found.runs.is_empty() => screen.note("it has not been due yet")?,
                false => screen.raw(&runs(&screen.out, &found.runs))?,
            }
            return Ok(Exit::Done);
        }
    };
    match json {
        true => screen.json(&schedule)?,
        false => {
            let (id, next) = (short_id(&schedule.schedule_id), due(&schedule, now));
            screen.raw(&format!("{word} {id} ({}): {next}\n", clean(&schedule.name)))?;
        }
    }
    Ok(Exit::Done)
}

async fn delete(
    schedule: ScheduleRef,
    yes: bool,
    daemon: &Daemon,
    mut screen: Screen,
    json: bool,
) -> Result<Exit, Failure> {
    if !yes && !screen.interactive {
        return Err(Failure::usage("to delete a schedule needs a yes", "add --yes"));
    }
    let client: Client = daemon.client().await?;
    let found = client.inspect_schedule(inspect(schedule, 1)).await?.schedule;
    let (id, name) = (short_id(&found.schedule_id), clean(&found.name));
    if !yes {
        prompt::confirm(&mut screen, &format!("delete schedule {id} ({name}) with the records of its runs?"))?;
    }
    let answer = client.delete_schedule(DeleteSchedule { schedule_id: (&found.schedule_id).into() }).await?;
    match json {
        true => screen.json(&answer)?,
        false => screen.raw(&format!("deleted {id} ({name})\n"))?,
    }
    Ok(Exit::Done)
}

fn inspect(schedule: ScheduleRef, limit: i64) -> InspectSchedule {
    InspectSchedule { schedule_id: schedule, limit: Some(limit), before: None }
}

fn request(create: CreateSchedule) -> Result<catalogue::CreateSchedule, Failure> {
    // An agent's schedule is about the agent itself, wherever it is.
    let makes = match create.target.as_deref() {
        None => !start::inside_agent(),
        Some(target) => target == "new-agent",
    };
    let cwd = match makes || create.cwd.is_some() {
        true => Some(directory(create.cwd.as_deref())?),
        false => None,
    };
    let worktree = create.worktree.map(|branch| CreateWorktree {
        action: Some(WorktreeAction::BranchOff),
        branch_name: Some(branch),
        base_branch: create.base,
        ..CreateWorktree::default()
    });
    Ok(catalogue::CreateSchedule {
        prompt: prompt::text(create.prompt)?,
        cron: create.cron,
        every: create.every,
        timezone: create.timezone,
        schedule_id: None,
        name: create.name,
        target: create.target,
        provider: create.provider,
        cwd,
        mode: create.mode,
        worktree,
        max_runs: create.max_runs,
        expires_in: create.expires_in,
        when_missed: create.when_missed,
        when_busy: create.when_busy,
        run_timeout: create.run_timeout,
        notify_on_finish: create.notify,
    })
}

fn changes(update: UpdateSchedule) -> catalogue::UpdateSchedule {
    catalogue::UpdateSchedule {
        schedule_id: update.schedule,
        prompt: update.prompt,
        cron: update.cron,
        every: update.every,
        timezone: update.timezone,
        name: update.name,
        provider: update.provider,
        mode: update.mode,
        max_runs: update.max_runs,
        expires_in: update.expires_in,
        when_missed: update.when_missed,
        when_busy: update.when_busy,
        run_timeout: update.run_timeout,
    }
}

/// Writes schedules as a table.
#[must_use]
pub fn list(view: &View, schedules: &[Schedule]) -> String {
    let mut table = Table::new(&["SCHEDULE", "STATUS", "NAME", "WHEN", "TARGET", "RUNS", "NEXT"]);
    for schedule in schedules {
        let (status, color) = status(schedule.status);
        let runs = match schedule.max_runs {
            Some(most) => format!("{} of {most}", schedule.runs),
            None => schedule.runs.to_string(),
        };
        table.row(vec![
            Cell::plain(short_id(&schedule.schedule_id)),
            Cell::painted(status, color),
            Cell::plain(clean(&schedule.name)),
            Cell::plain(when(schedule)),
            Cell::plain(target(schedule)),
            Cell::plain(runs),
            Cell::plain(due(schedule, view.now)),
        ]);
    }
    table.render(view)
}

/// Writes everything about a schedule.
#[must_use]
pub fn whole(view: &View, schedule: &Schedule, newest: &[Run]) -> String {
    let mut facts = Facts::default();
    facts.add("schedule", schedule.schedule_id.as_str());
    facts.add("name", clean(&schedule.name));
    let (word, _) = status(schedule.status);
    let reason = schedule.reason.as_ref().map(|reason| format!(": {}", clean(reason))).unwrap_or_default();
    facts.add("status", format!("{word}{reason}"));
    facts.add("when", when(schedule));
    for (at, next) in schedule.next.iter().enumerate() {
        let left = span(next.0 - view.now.0);
        facts.add(if at == 0 { "next" } else { "" }, format!("{}, in {left}", time(*next)));
    }
    facts.add("target", target(schedule));
    let task = &schedule.task;
    if let Some(mode) = &task.mode {
        facts.add("mode", mode.to_string());
    }
    if let Some(cwd) = &task.cwd {
        facts.add("in", clean(cwd));
    }
    if let Some(branch) = task.worktree.as_ref().and_then(|worktree| worktree.branch_name.as_ref()) {
        facts.add("worktree", format!("{}-<number>-<digits>, one for each run", clean(branch)));
    }
    facts.add(
        "runs",
        match schedule.max_runs {
            Some(most) => format!("{} of {most}", schedule.runs),
            None => schedule.runs.to_string(),
        },
    );
    if let Some(end) = schedule.expires_at {
        facts.add("expires", time(end));
    }
    facts.add(
        "missed",
        match schedule.when_missed {
            WhenMissed::Once => "run once for all of them",
            WhenMissed::Skip => "skip",
        },
    );
    facts.add(
        "busy",
        match schedule.when_busy {
            Overlap::Coalesce => "run once when it is free",
            Overlap::Skip => "skip",
            Overlap::Queue => "run each when it is free",
        },
    );
    facts.add("timeout", task.run_timeout.to_string());
    if let Some(agent) = &schedule.created_by {
        let told = if task.notify_on_finish { ", which is told how runs end" } else { "" };
        facts.add("made by", format!("agent {}{told}", short(agent)));
    }
    facts.add("made", time(schedule.created_at));
    let prompt = render::indented(&task.prompt);
    let newest: Vec<_> = newest.iter().rev().cloned().collect();
    let log = if newest.is_empty() { String::new() } else { format!("\n{}", runs(view, &newest)) };
    format!("{}\n{prompt}\n{log}", facts.render(view))
}

/// Writes what became of runs as a table.
#[must_use]
pub fn runs(view: &View, runs: &[Run]) -> String {
    let mut table = Table::new(&["RUN", "DUE", "STATUS", "TOOK", "AGENT", "WHAT CAME OF IT"]);
    for run in runs {
        let due = match (run.slots, run.last_slot) {
            (Some(0), _) => format!("{} (asked)", time(run.slot)),
            (_, None) => time(run.slot),
            (slots, Some(last)) => {
                let slots = slots.map_or_else(|| "many".to_owned(), |slots| slots.to_string());
                format!("{} to {} ({slots})", time(run.slot), time(last))
            }
        };
        let (status, color) = run_status(run);
        let took = match (run.started_at, run.ended_at) {
            (Some(start), end) => span(end.unwrap_or(view.now).0 - start.0),
            (None, _) => String::new(),
        };
        table.row(vec![
            Cell::plain(run.number.to_string()),
            Cell::plain(due),
            Cell::painted(status, color),
            Cell::plain(took),
            Cell::plain(run.agent_id.as_ref().map(short).unwrap_or_default()),
            Cell::plain(came(run)),
        ]);
    }
    table.render(view)
}

fn came(run: &Run) -> String {
    let mut said = Vec::new();
    said.extend(run.into.map(|into| format!("made up for by run {into}")));
    said.extend(run.reason.clone());
    said.extend(run.worktree.as_ref().map(|left| format!("left {}", left.worktree_path)));
    said.extend(run.last_message.clone());
    clean(&one_line(&said.join("; ")))
}

/// Says when a schedule is due next, or why it is not.
fn due(schedule: &Schedule, now: Timestamp) -> String {
    match (schedule.next.first(), schedule.open.first(), schedule.status) {
        (_, Some(run), _) if run.status == RunStatus::Waiting => "waits for a permission".to_owned(),
        (Some(next), ..) => match next.0 - now.0 {
            ..1_000 => "now".to_owned(),
            left => format!("in {}", span(left)),
        },
        (None, _, ScheduleStatus::Active) => "after this run".to_owned(),
        (None, _, ScheduleStatus::Paused) => match &schedule.reason {
            Some(reason) => format!("paused: {}", clean(reason)),
            None => "paused".to_owned(),
        },
        (None, _, ScheduleStatus::Completed) => "completed".to_owned(),
        (None, _, ScheduleStatus::Expired) => {
            format!("expired {}", schedule.expires_at.map(|end| ago(now, end)).unwrap_or_default())
        }
    }
}

fn when(schedule: &Schedule) -> String {
    let rhythm = &schedule.rhythm;
    match (&rhythm.cron, rhythm.every) {
        (Some(cron), _) => format!("{} {}", clean(cron), clean(rhythm.timezone.as_deref().unwrap_or_default())),
        (None, Some(every)) => format!("every {every}"),
        (None, None) => String::new(),
    }
}

fn target(schedule: &Schedule) -> String {
    let own = |agent: &AgentId| schedule.created_by.as_ref() == Some(agent);
    match &schedule.task.agent_id {
        Some(agent) if own(agent) => format!("itself ({})", short(agent)),
        Some(agent) => short(agent),
        None => format!("new {}", clean(schedule.task.provider.as_deref().unwrap_or("agent"))),
    }
}

fn status(status: ScheduleStatus) -> (&'static str, Color) {
    match status {
        ScheduleStatus::Active => ("active", Color::Green),
        ScheduleStatus::Paused => ("paused", Color::Yellow),
        ScheduleStatus::Completed => ("completed", Color::Dim),
        ScheduleStatus::Expired => ("expired", Color::Dim),
    }
}

fn run_status(run: &Run) -> (&'static str, Color) {
    match run.status {
        RunStatus::Pending => ("pending", Color::Dim),
        // Its agent is busy with something else.
        RunStatus::Claimed if run.agent_id.is_some() => ("queued", Color::Dim),
        RunStatus::Claimed => ("starting", Color::Dim),
        RunStatus::Running => ("running", Color::Cyan),
        RunStatus::Waiting => ("waiting", Color::Yellow),
        RunStatus::Succeeded => ("succeeded", Color::Green),
        RunStatus::Failed => ("failed", Color::Red),
        RunStatus::Interrupted => ("interrupted", Color::Yellow),
        RunStatus::Skipped => ("skipped", Color::Dim),
        RunStatus::Coalesced => ("coalesced", Color::Dim),
    }
}

/// Returns the beginning of an id that paseo made; other ids whole.
fn short_id(id: &ScheduleId) -> String {
    match id.as_str().parse() {
        Ok(same) => short(&same),
        Err(_) => id.to_string(),
    }
}
