//! The overview: every command on one page, and how to begin.

use std::fmt::Write as _;

use clap::Command;

/// Writes the overview of a tree of commands.
pub(crate) fn render(tree: &Command) -> String {
    let mut text =
        String::from("Hands work to AI coding agents, watches them, waits for them.\n\nUsage: paseo <command>\n");
    let (groups, leaves): (Vec<_>, Vec<_>) = visible(tree).partition(|command| command.has_subcommands());
    // The group `agent` has the commands of the top again; one line says so.
    let (agent, groups): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| group.get_name() == "agent");
    let mut rows: Vec<Vec<(String, String)>> = Vec::new();
    rows.push(leaves.iter().map(|leaf| row("", leaf)).collect());
    for group in groups {
        rows.push(visible(group).map(|leaf| row(&format!("{} ", group.get_name()), leaf)).collect());
    }
    if let Some(agent) = agent.first() {
        let update = visible(agent).filter(|leaf| leaf.get_name() == "update").map(|leaf| row("agent ", leaf));
        let same = ("agent run|ls|…".to_owned(), "The agent commands above, as a group".to_owned());
        rows.push(std::iter::once(same).chain(update).collect());
    }
    let width = rows.iter().flatten().map(|(left, _)| left.chars().count()).max().unwrap_or_default();
    for rows in &rows {
        text.push('\n');
        for (left, right) in rows {
            let _ = writeln!(text, "  {left}{}  {right}", " ".repeat(width - left.chars().count()));
        }
    }
    text.push_str(OPTIONS);
    text.push_str(EXAMPLES);
    text
}

const OPTIONS: &str = "
With every command:
  --host ADDRESS   Where the daemon is: `host:port` or `unix:/path` (PASEO_HOST)
  --home DIR       Paseo's home directory, ~/.paseo by default (PASEO_HOME)
  --no-start       Do not start a daemon when none runs
  --json           Print JSON for programs, errors too
  --help           Show what a command does, with an example

Exit codes:
  0 done   1 error   2 usage   3 agent failed or reached a limit   4 waiting for permission
  5 timed out   6 interrupted   7 daemon not reachable
";

const EXAMPLES: &str = "
Examples:
  paseo run --provider shell --worktree feat/x \"make test\"      a script, in a worktree of its own
  paseo run --mode auto \"fix the failing test\"                  a task for Claude, here
  paseo run -d \"write the changelog\"                            in the background
  paseo ls                                                      what runs here
";

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set())
}

fn row(group: &str, leaf: &Command) -> (String, String) {
    let mut left = format!("{group}{}", leaf.get_name());
    for argument in leaf.get_positionals() {
        let name = argument.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
        let dots = if argument.get_num_args().is_some_and(|range| range.max_values() > 1) { "…" } else { "" };
        let _ = match argument.is_required_set() {
            true => write!(left, " <{}>{dots}", name.to_lowercase()),
            false => write!(left, " [{}]{dots}", name.to_lowercase()),
        };
    }
    (left, leaf.get_about().map(ToString::to_string).unwrap_or_default())
}
