//! What people read about agents, permissions, worktrees, providers and the daemon: data in, text out.

use std::fmt::Write as _;

use paseo_sdk::catalogue::{AgentOutcome, ArchivedWorktree, DaemonInfo};
use paseo_sdk::model::{
    Agent, AgentId, ListedModel, ListedWorktree, Outcome, ProviderInfo, Setup, SetupStatus, Status, Timestamp, TurnEnd,
    Usage, WaitOutcome,
};

use crate::permission;
use crate::table::{Cell, Table, clean};
use crate::transcript::Seen;

/// From where, when and on what a person looks.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The time it is.
    pub now: Timestamp,
    /// How many columns there are; none for as many as it takes.
    pub width: Option<usize>,
    /// Whether to paint.
    pub color: bool,
    /// The user's home directory, which is shown as `~`.
    pub home: Option<String>,
}

impl View {
    /// Paints text, where this view has colors.
    #[must_use]
    pub fn paint(&self, color: Color, text: &str) -> String {
        match self.color {
            true => format!("\x1b[{}m{text}\x1b[0m", color as u8),
            false => text.to_owned(),
        }
    }

    /// Shortens a path below the user's home directory.
    #[must_use]
    pub fn path(&self, path: &str) -> String {
        let home = self.home.as_deref().filter(|home| home.len() > 1);
        match home.and_then(|home| path.strip_prefix(home)) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("~{}", clean(rest)),
            _ => clean(path),
        }
    }
}

/// What color says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// This is a heading.
    Bold = 1,
    /// This is beside the point.
    Dim = 2,
    /// This went wrong.
    Red = 31,
    /// This is good.
    Green = 32,
    /// This waits for you.
    Yellow = 33,
    /// This moves.
    Cyan = 36,
}

/// Lists agents; below, what is wrong with those that are at work.
#[must_use]
pub fn agents(view: &View, agents: &[Agent]) -> String {
    if agents.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["AGENT", "STATUS", "TITLE", "PROVIDER", "WHERE", "CHANGED"]);
    for agent in agents {
        table.row(vec![
            Cell::plain(short(&agent.agent_id)),
            Cell::painted(status(agent.status), status_color(agent.status)),
            Cell::plain(clean(&agent.title)),
            Cell::plain(clean(&agent.provider)),
            Cell::plain(place(view, agent)),
            Cell::plain(ago(view.now, agent.updated_at)),
        ]);
    }
    let mut text = table.render(view);
    // Why a turn has ended as it did is told by whoever shows that agent.
    let ended = |agent: &&Agent| matches!(agent.status, Status::Error | Status::Interrupted);
    for agent in agents.iter().filter(|agent| !ended(agent)) {
        if let Some(reason) = &agent.reason {
            let _ = write!(text, "\n{}: {}", short(&agent.agent_id), clean(reason));
        }
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Shows everything about one agent.
#[must_use]
pub fn agent(view: &View, agent: &Agent) -> String {
    let mut facts = Facts::default();
    let reason = agent.reason.as_ref().map(|reason| format!(": {}", clean(reason))).unwrap_or_default();
    facts.add("agent", agent.agent_id.as_str());
    facts.add("title", clean(&agent.title));
    facts.add("status", view.paint(status_color(agent.status), status(agent.status)) + &reason);
    facts.add("provider", clean(&agent.provider));
    facts.add("mode", agent.mode.to_string());
    facts.add("directory", view.path(&agent.cwd));
    if let Some(worktree) = &agent.worktree {
        let branch = worktree.branch_name.as_deref().map_or_else(|| "no branch".to_owned(), clean);
        let base = worktree.base_branch.as_deref().map(|base| format!(" from {}", clean(base))).unwrap_or_default();
        facts.add("worktree", format!("{} ({branch}{base})", view.path(&worktree.worktree_path)));
    }
    if !agent.labels.is_empty() {
        let labels: Vec<_> = agent.labels.iter().map(|(key, value)| clean(&format!("{key}={value}"))).collect();
        facts.add("labels", labels.join(" "));
    }
    if let Some(parent) = &agent.parent {
        facts.add("parent", parent.as_str());
    }
    if let Some(pid) = agent.pid {
        facts.add("process", pid.to_string());
    }
    if let Some(turn) = &agent.turn {
        facts.add("turn", format!("since {}", ago(view.now, turn.started_at)));
    }
    if let Some(turn) = &agent.last_turn {
        facts.add("last turn", turn_end(view, turn));
    }
    if !agent.queued.is_empty() {
        facts.add("queued", format!("{} {}", agent.queued.len(), plural(agent.queued.len(), "prompt")));
    }
    if agent.usage != Usage::default() {
        facts.add("usage", usage(&agent.usage));
    }
    facts.add("entries", agent.last_seq.to_string());
    facts.add("created", ago(view.now, agent.created_at));
    facts.add("changed", ago(view.now, agent.updated_at));
    if let Some(at) = agent.archived_at {
        facts.add("archived", ago(view.now, at));
    }
    let mut text = facts.render(view);
    for permission in &agent.permissions {
        let _ = write!(text, "\n{}", permission::whole(view, permission));
    }
    if let Some(message) = agent.last_message.as_ref().filter(|message| !message.trim().is_empty()) {
        let _ = write!(text, "\n{}\n{}\n", view.paint(Color::Bold, "last message"), indented(message.trim_end()));
    }
    text
}

/// Lists worktrees.
#[must_use]
pub fn worktrees(view: &View, worktrees: &[ListedWorktree]) -> String {
    if worktrees.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["BRANCH", "STATE", "BASE", "AGENTS", "PATH"]);
    for worktree in worktrees {
        let agents = match worktree.agents.as_slice() {
            [] => "-".to_owned(),
            agents => agents.iter().map(short).collect::<Vec<_>>().join(" "),
        };
        let branch = worktree.branch_name.as_deref().map(clean);
        let detached =
            || worktree.head_commit.as_deref().map_or_else(|| "-".to_owned(), |id| clean(id.get(..9).unwrap_or(id)));
        let state = worktree_state(worktree);
        let color = if worktree.dirty || worktree.problem.is_some() { Some(Color::Yellow) } else { None };
        table.row(vec![
            Cell::plain(branch.unwrap_or_else(detached)),
            Cell { text: state, color },
            Cell::plain(worktree.base_branch.as_deref().map_or_else(|| "-".to_owned(), clean)),
            Cell::plain(agents),
            Cell::plain(view.path(&worktree.worktree_path)),
        ]);
    }
    table.render(view)
}

/// Says what was archived, and what of it is kept.
#[must_use]
pub fn archived(archived: &ArchivedWorktree) -> String {
    let mut text = format!("archived {}", clean(&archived.worktree_slug));
    if let Some(branch) = archived.branch_name.as_deref().map(clean) {
        let _ = match archived.branch_removed {
            true => write!(text, ", with branch {branch}"),
            false => write!(text, "; branch {branch} stays"),
        };
    }
    let kept = |count: i64, what: &str| {
        let number = usize::try_from(count).unwrap_or_default();
        (count > 0).then(|| format!("{count} {}", plural(number, what)))
    };
    let parts = [kept(archived.kept_commits, "commit"), kept(archived.kept_files, "uncommitted file")];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if !parts.is_empty() {
        let _ = write!(text, "; {} kept", parts.join(" and "));
    }
    if !archived.agents.is_empty() {
        let agents: Vec<_> = archived.agents.iter().map(short).collect();
        let _ = write!(text, "; archived agents: {}", agents.join(" "));
    }
    let _ = write!(text, "\n`paseo worktree restore {}` brings it back\n", clean(&archived.worktree_slug));
    text
}

/// Says of a setup what a person should know.
#[must_use]
pub fn setup(setup: &Setup) -> Option<String> {
    let why = setup.message.as_deref().map(|why| format!(": {}", clean(why))).unwrap_or_default();
    let log = setup.log.as_deref().map(|log| format!("\nits output: {}", clean(log))).unwrap_or_default();
    match setup.status {
        SetupStatus::Failed => Some(format!("the setup failed{why}{log}")),
        SetupStatus::Skipped => Some(format!("the setup was skipped{why}")),
        SetupStatus::None | SetupStatus::Pending | SetupStatus::Running | SetupStatus::Done => None,
    }
}

/// Lists providers; below, why those that are not ready are not.
#[must_use]
pub fn providers(view: &View, providers: &[ProviderInfo]) -> String {
    if providers.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["PROVIDER", "READY", "VERSION", "MODES", "WHAT"]);
    for provider in providers {
        let (ready, color) = if provider.available { ("yes", Color::Green) } else { ("no", Color::Red) };
        let extends = provider.extends.as_deref().map(|base| format!(", as {}", clean(base))).unwrap_or_default();
        table.row(vec![
            Cell::plain(clean(&provider.name)),
            Cell::painted(ready, color),
            Cell::plain(provider.version.as_deref().map_or_else(|| "-".to_owned(), clean)),
            Cell::plain(provider.modes.iter().map(|mode| clean(&mode.to_string())).collect::<Vec<_>>().join(" ")),
            Cell::plain(clean(&provider.description) + &extends),
        ]);
    }
    let mut text = table.render(view);
    for provider in providers.iter().filter(|provider| !provider.available) {
        if let Some(reason) = &provider.reason {
            let _ = write!(text, "\n{}: {}", clean(&provider.name), clean(reason));
        }
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Lists the models of a provider.
#[must_use]
pub fn models(view: &View, models: &[ListedModel]) -> String {
    if models.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["MODEL", "NAME", "THINKING", "WHAT"]);
    models.iter().for_each(|model| table.row(about(model)));
    table.render(view)
}

/// Lists the models of several providers.
#[must_use]
pub fn all_models(view: &View, models: &[ListedModel]) -> String {
    if models.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["PROVIDER", "MODEL", "NAME", "THINKING", "WHAT"]);
    for model in models {
        table.row([Cell::plain(clean(&model.provider))].into_iter().chain(about(model)).collect());
    }
    table.render(view)
}

fn about(model: &ListedModel) -> Vec<Cell> {
    vec![
        Cell::plain(clean(&model.model)),
        Cell::plain(clean(&model.name)),
        Cell::plain(model.thinking.iter().map(|level| clean(level)).collect::<Vec<_>>().join(" ")),
        Cell::plain(model.description.as_deref().map_or_else(String::new, clean)),
    ]
}

/// Shows the daemon.
#[must_use]
pub fn daemon(view: &View, daemon: &DaemonInfo) -> String {
    let mut facts = Facts::default();
    let age = span(view.now.0.saturating_sub(daemon.started_at.0));
    facts.add("daemon", format!("{} {}", view.paint(Color::Green, "running"), clean(&daemon.version)));
    facts.add("process", format!("{}, up {age}", daemon.pid));
    facts.add("home", view.path(&daemon.home));
    for address in &daemon.listen {
        facts.add("listens on", clean(address));
    }
    facts.add("agents", format!("{}, {} running", daemon.agents, daemon.running));
    facts.add("permissions", format!("{} waited for", daemon.pending_permissions));
    facts.add("schedules", format!("{} active", daemon.schedules));
    let mut text = facts.render(view);
    for warning in &daemon.warnings {
        let _ = writeln!(text, "{} {}", view.paint(Color::Yellow, "warning:"), clean(warning));
    }
    text
}

/// Says in one line what came of a wait, how long the turn took, what it cost, where the work is, and whose it is.
#[must_use]
pub fn summary(view: &View, outcome: &AgentOutcome, seen: &Seen, agent: Option<&Agent>) -> String {
    let (word, color) = match outcome.outcome {
        Some(WaitOutcome::Completed) => ("completed", Color::Green),
        Some(WaitOutcome::Error) => ("failed", Color::Red),
        Some(WaitOutcome::Interrupted) => ("interrupted", Color::Yellow),
        Some(WaitOutcome::Limit) => ("reached a limit", Color::Red),
        Some(WaitOutcome::Permission) => ("waits for permission", Color::Yellow),
        Some(WaitOutcome::TimedOut) => ("goes on: the time to wait ran out", Color::Yellow),
        None => (status(outcome.status), status_color(outcome.status)),
    };
    let mut text = view.paint(color, word);
    if let Some(code) = seen.exit_code {
        let _ = write!(text, " (exit {code})");
    }
    if let Some(reason) = &outcome.reason {
        let _ = write!(text, ": {}", clean(reason));
    }
    if let Some(took) = seen.took() {
        let _ = write!(text, " · {}", lasted(took));
    }
    // What was seen is of the turn that was watched; a wait that was for no prompt tells of all of them.
    let used = seen.usage.unwrap_or(outcome.usage);
    if used != Usage::default() {
        let _ = write!(text, " · {}", usage(&used));
    }
    if let Some(agent) = agent {
        let _ = match &agent.worktree {
            Some(worktree) => {
                let branch = worktree.branch_name.as_deref().map_or_else(|| "no branch".to_owned(), clean);
                write!(text, " · {} (branch {branch})", view.path(&worktree.worktree_path))
            }
            None => write!(text, " · {}", view.path(&agent.cwd)),
        };
    }
    let _ = write!(text, " · agent {}", short(&outcome.agent_id));
    text
}

/// Returns the beginning of an id that paseo made, which is enough to name the agent; other ids whole.
#[must_use]
pub fn short(id: &AgentId) -> String {
    let text = id.as_str();
    let made =
        text.len() == 36 && text.bytes().enumerate().all(|(at, byte)| (byte == b'-') == matches!(at, 8 | 13 | 18 | 23));
    match made {
        true => text[..8].to_owned(),
        false => text.to_owned(),
    }
}

/// Says how long ago something was.
#[must_use]
pub fn ago(now: Timestamp, then: Timestamp) -> String {
    match now.0.saturating_sub(then.0) {
        // A clock that was set back, or another machine's.
        ..5_000 => "just now".to_owned(),
        age => format!("{} ago", coarse(age)),
    }
}

/// Says how long something takes, in its two largest units.
#[must_use]
pub fn span(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) / 1000;
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86400, seconds / 3600 % 24),
    }
}

/// Returns a time as people read it, in UTC.
#[must_use]
pub fn time(at: Timestamp) -> String {
    let text = at.to_string();
    match text.split_once('T') {
        Some((day, time)) => format!("{day} {}Z", time.split('.').next().unwrap_or(time)),
        None => text,
    }
}

/// Indents every line by four, and shows what would not be seen.
#[must_use]
pub fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {}", clean(&line.replace('\t', "    ")))).collect::<Vec<_>>().join("\n")
}

/// Returns the word for a status.
#[must_use]
pub fn status(status: Status) -> &'static str {
    match status {
        Status::Starting => "starting",
        Status::Idle => "idle",
        Status::Running => "running",
        Status::Waiting => "waiting",
        Status::Interrupted => "interrupted",
        Status::Error => "error",
        Status::Archived => "archived",
    }
}

/// Returns the word that says how a turn ended.
#[must_use]
pub fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::Error => "failed",
        Outcome::Interrupted => "interrupted",
        Outcome::Limit => "reached a limit",
    }
}

/// Puts text on one line.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns `1 prompt`'s word: `prompt`, or `prompts` for any other number.
#[must_use]
pub fn plural(number: usize, word: &str) -> String {
    if number == 1 { word.to_owned() } else { format!("{word}s") }
}

/// Aligned pairs of a name and a value.
#[derive(Default)]
pub(crate) struct Facts(Vec<(&'static str, String)>);

impl Facts {
    pub(crate) fn add(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.push((name, value.into()));
    }

    pub(crate) fn render(&self, view: &View) -> String {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        self.0
            .iter()
            .map(|(name, value)| format!("{}  {value}\n", view.paint(Color::Dim, &format!("{name:width$}"))))
            .collect()
    }
}

fn status_color(status: Status) -> Color {
    match status {
        Status::Starting | Status::Running => Color::Cyan,
        Status::Idle => Color::Green,
        Status::Waiting | Status::Interrupted => Color::Yellow,
        Status::Error => Color::Red,
        Status::Archived => Color::Dim,
    }
}

fn place(view: &View, agent: &Agent) -> String {
    match agent.worktree.as_ref().and_then(|worktree| worktree.branch_name.as_deref()) {
        Some(branch) => clean(branch),
        None => view.path(&agent.cwd),
    }
}

fn turn_end(view: &View, turn: &TurnEnd) -> String {
    let reason = turn.reason.as_ref().map(|reason| format!(": {}", clean(reason))).unwrap_or_default();
    format!("{} {}{reason}", outcome_word(turn.outcome), ago(view.now, turn.ended_at))
}

pub(crate) fn usage(usage: &Usage) -> String {
    let tokens = format!(
        "{} in, {} cached, {} out",
        thousands(usage.input_tokens),
        thousands(usage.cached_tokens),
        thousands(usage.output_tokens)
    );
    match usage.cost_usd {
        // Most turns cost cents.
        Some(cost) if cost < 1.0 => format!("{tokens}, ${cost:.4}"),
        Some(cost) => format!("{tokens}, ${cost:.2}"),
        None => tokens,
    }
}

fn thousands(number: i64) -> String {
    match number {
        ..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{}k", number / 1000),
        _ => format!("{:.1}M", number as f64 / 1_000_000.0),
    }
}

fn worktree_state(worktree: &ListedWorktree) -> String {
    if let Some(problem) = &worktree.problem {
        return format!("unreadable: {}", clean(problem));
    }
    let mut words = vec![if worktree.dirty { "changed" } else { "clean" }.to_owned()];
    words.extend(worktree.ahead.filter(|ahead| *ahead > 0).map(|ahead| format!("+{ahead}")));
    words.extend(worktree.behind.filter(|behind| *behind > 0).map(|behind| format!("-{behind}")));
    words.extend(match worktree.setup.status {
        SetupStatus::None | SetupStatus::Done => None,
        SetupStatus::Skipped => Some("setup skipped".to_owned()),
        SetupStatus::Pending => Some("setup waits".to_owned()),
        SetupStatus::Running => Some("setup runs".to_owned()),
        SetupStatus::Failed => Some("setup failed".to_owned()),
    });
    words.extend((!worktree.trusted).then(|| "untrusted".to_owned()));
    words.join(" ")
}

fn lasted(milliseconds: i64) -> String {
    match milliseconds {
        ..10_000 => format!("{:.1}s", milliseconds.max(0) as f64 / 1000.0),
        _ => span(milliseconds),
    }
}

fn coarse(milliseconds: i64) -> String {
    match milliseconds / 1000 {
        seconds @ ..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86400),
    }
}
