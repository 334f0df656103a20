//! Tool calls as they are told while an agent works: a line when one begins, its result when it ends.

use paseo_sdk::item::{Tool, ToolCall, ToolStatus};

use crate::diff::Diff;
use crate::render::{Color, one_line, plural, span};
use crate::table::fit;

/// Returns the line that says what a tool call does.
pub(crate) fn heading(call: &ToolCall) -> String {
    let line = format!("* {}  {}", one_line(&call.name), one_line(&call.title));
    fit(line.trim_end(), WIDEST)
}

/// Says how a tool call went, where that is worth a line: of a failed one the end of what it printed too, of a change
/// the diff.
pub(crate) fn result(call: &ToolCall, took: i64) -> Vec<(Color, String)> {
    let (color, word) = match call.status {
        ToolStatus::Running | ToolStatus::Completed => (Color::Dim, None),
        ToolStatus::Failed => (Color::Red, Some("failed")),
        ToolStatus::Denied => (Color::Yellow, Some("not allowed")),
        ToolStatus::Interrupted => (Color::Yellow, Some("interrupted")),
    };
    let diff = call.diff.as_deref().filter(|diff| !diff.is_empty()).map(Diff::parse);
    let said = match word {
        Some(word) => Some(word.to_owned() + &call.exit_code.map(|code| format!(" (exit {code})")).unwrap_or_default()),
        None => diff.as_ref().map(Diff::count).or_else(|| printed(call)),
    };
    // How long other tools take is mostly how long somebody thinks about a permission.
    let long = took >= WORTH_SAYING && matches!(call.tool, Tool::Shell | Tool::SubAgent);
    let said = match (said, long) {
        (said, true) => Some(format!("{} after {}", said.as_deref().unwrap_or("done"), span(took))),
        (said, false) => said,
    };
    let mut lines: Vec<_> = said.into_iter().map(|said| (color, format!("  {said}"))).collect();
    if word.is_some() {
        lines.extend(end(call).into_iter().map(|line| (Color::Dim, line)));
    }
    let changes = diff.map(|diff| diff.shown(MOST_LINES, WIDEST)).unwrap_or_default();
    lines.extend(changes.into_iter().map(|(color, line)| (color, format!("    {line}"))));
    lines
}

/// No line is wider than this: what tools print is not made for people.
const WIDEST: usize = 160;

/// How many lines of a diff are shown.
const MOST_LINES: usize = 40;

/// In milliseconds, how long a tool call takes before that is worth saying.
const WORTH_SAYING: i64 = 10_000;

/// Says how much a command printed.
fn printed(call: &ToolCall) -> Option<String> {
    let output = call.output.as_deref().filter(|output| call.tool == Tool::Shell && !output.trim().is_empty())?;
    if call.omitted_bytes > 0 {
        let bytes = i64::try_from(output.len()).unwrap_or(i64::MAX).saturating_add(call.omitted_bytes);
        return Some(format!("{} KiB", bytes / 1024));
    }
    let lines = output.trim_end().lines().count();
    Some(format!("{lines} {}", plural(lines, "line")))
}

/// Returns the end of what a tool call printed.
fn end(call: &ToolCall) -> Vec<String> {
    const SHOWN: usize = 5;
    let output: Vec<_> = call.output.as_deref().unwrap_or("").trim_end().lines().collect();
    let shown = &output[output.len().saturating_sub(SHOWN)..];
    shown.iter().map(|line| fit(&format!("  | {line}"), WIDEST)).collect()
}
