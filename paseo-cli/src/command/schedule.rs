//! The group `schedule`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use paseo_sdk::model::{Duration, Mode, Overlap, ScheduleRef, ScheduleStatus, WhenMissed};

/// The group `schedule`.
#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Make a schedule: a prompt that is said whenever it is due
    #[command(
        after_help = "Example:\n  paseo schedule create --every 5m \"ping main build\"\n  paseo schedule create --cron \"0 3 * * mon-fri\" --timezone Europe/Berlin --provider codex \\\n    --mode full-access --worktree nightly \"update the dependencies\"\n  paseo schedule create --every 1h --target 3f2a --max-runs 8 \"how far are you?\""
    )]
    Create(Box<CreateSchedule>),
    /// List schedules, the one that is due next first
    #[command(visible_alias = "list", after_help = "Example:\n  paseo schedule ls --status active")]
    Ls {
        /// Only schedules with this status; may be repeated
        #[arg(long = "status", value_name = "STATUS")]
        statuses: Vec<ScheduleStatus>,
        /// Print ids only
        #[arg(short, long)]
        quiet: bool,
    },
    /// Show everything about a schedule
    #[command(after_help = "Example:\n  paseo schedule inspect nightly")]
    Inspect(OneSchedule),
    /// Show what became of a schedule's runs, the newest last
    #[command(after_help = "Example:\n  paseo schedule logs nightly --tail 50")]
    Logs {
        /// Which.
        #[command(flatten)]
        schedule: OneSchedule,
        /// Only the newest so many, at most 200
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=200))]
        tail: i64,
    },
    /// Change a schedule; what is not given stays
    #[command(after_help = "Example:\n  paseo schedule update nightly --cron \"30 2 * * *\" --max-runs 0")]
    Update(Box<UpdateSchedule>),
    /// Let a schedule run no more until it is resumed
    #[command(after_help = "Example:\n  paseo schedule pause nightly")]
    Pause(OneSchedule),
    /// Let a paused schedule go on, from its next time
    #[command(after_help = "Example:\n  paseo schedule resume nightly")]
    Resume(OneSchedule),
    /// Run a schedule now, besides when it is due
    #[command(after_help = "Example:\n  paseo schedule run nightly")]
    Run(OneSchedule),
    /// Delete a schedule with the records of its runs; its agents stay
    #[command(after_help = "Example:\n  paseo schedule delete nightly --yes")]
    Delete {
        /// Which.
        #[command(flatten)]
        schedule: OneSchedule,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// A command on one schedule.
#[derive(Args, Debug)]
pub struct OneSchedule {
    /// The schedule: its id, the beginning of its id, or its name
    #[arg(value_name = "SCHEDULE", value_parser = schedule_ref)]
    pub schedule: ScheduleRef,
}

/// `paseo schedule create`.
#[derive(Args, Debug)]
pub struct CreateSchedule {
    /// What is said each time; for `shell` a script. `-`, or nothing when input is piped in, reads it from there
    pub prompt: Option<String>,
    /// How often: 30s, 5m, 1h30m; at least 1s
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, required_unless_present = "cron")]
    pub every: Option<Duration>,
    /// When, as in crontab: minute, hour, day, month, weekday; or @hourly, @daily, @weekly, @monthly, @yearly
    #[arg(long, value_name = "FIELDS", conflicts_with = "every")]
    pub cron: Option<String>,
    /// The time zone of --cron, such as Europe/Berlin. Default: this machine's
    #[arg(long, value_name = "ZONE", requires = "cron")]
    pub timezone: Option<String>,
    /// What to call it. Default: the beginning of the prompt
    #[arg(long)]
    pub name: Option<String>,
    /// Who it is said to: self, new-agent, or an agent. Default: self inside an agent, else new-agent
    #[arg(long, value_name = "AGENT")]
    pub target: Option<String>,
    /// Of new agents: `provider` or `provider/model`. Default: that of the calling agent, else claude/sonnet
    #[arg(long, value_name = "P/M")]
    pub provider: Option<String>,
    /// Of new agents: plan, default, auto, full-access, or a provider's own as `provider:name`. Default: that of the
    /// calling agent, else default, in which they wait for permission
    #[arg(long)]
    pub mode: Option<Mode>,
    /// Of new agents: where they work. Default: this directory
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Of new agents: make a worktree for each run, with a new branch of this name, the run's number and some digits
    #[arg(long, value_name = "BRANCH")]
    pub worktree: Option<String>,
    /// What the branch starts from. Default: the repository's main branch
    #[arg(long, value_name = "BRANCH", requires = "worktree")]
    pub base: Option<String>,
    /// Complete after so many runs. Default: no end
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub max_runs: Option<i64>,
    /// Expire after this time, such as 8h. Default: never
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub expires_in: Option<Duration>,
    /// What becomes of times that were missed, as the daemon was down or the machine slept
    #[arg(long, value_enum, default_value = "once")]
    pub when_missed: WhenMissed,
    /// What becomes of a time at which the target is busy
    #[arg(long, value_enum, default_value = "coalesce")]
    pub when_busy: Overlap,
    /// How long a run may take before it is stopped. Default: 24h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub run_timeout: Option<Duration>,
    /// Inside an agent: tell it how each run ends
    #[arg(long)]
    pub notify: bool,
}

/// `paseo schedule update`.
#[derive(Args, Debug)]
pub struct UpdateSchedule {
    /// The schedule: its id, the beginning of its id, or its name
    #[arg(value_name = "SCHEDULE", value_parser = schedule_ref)]
    pub schedule: ScheduleRef,
    /// What is said each time
    #[arg(long)]
    pub prompt: Option<String>,
    /// How often, counted from now
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub every: Option<Duration>,
    /// When, as in crontab
    #[arg(long, value_name = "FIELDS", conflicts_with = "every")]
    pub cron: Option<String>,
    /// The time zone of the crontab
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,
    /// What to call it
    #[arg(long)]
    pub name: Option<String>,
    /// Of new agents: `provider` or `provider/model`
    #[arg(long, value_name = "P/M")]
    pub provider: Option<String>,
    /// Of new agents: how freely they may act
    #[arg(long)]
    pub mode: Option<Mode>,
    /// Complete after so many runs, those that have happened included; 0 for no end
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub max_runs: Option<i64>,
    /// Expire after this time from now; 0s for never
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub expires_in: Option<Duration>,
    /// What becomes of times that were missed
    #[arg(long, value_enum)]
    pub when_missed: Option<WhenMissed>,
    /// What becomes of a time at which the target is busy
    #[arg(long, value_enum)]
    pub when_busy: Option<Overlap>,
    /// How long a run may take before it is stopped
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub run_timeout: Option<Duration>,
}

fn schedule_ref(text: &str) -> Result<ScheduleRef, String> {
    match text.trim().is_empty() {
        true => Err("it is empty: `paseo schedule ls` lists schedules".to_owned()),
        false => Ok(ScheduleRef(text.to_owned())),
    }
}
