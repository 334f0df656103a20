//! An agent's to-do list: whole when it is new, then what has changed of it.

use paseo_sdk::item::{TodoEntry, TodoStatus};

use crate::render::{Color, one_line};

/// Shows what a list says that it did not say `before`; nothing when that is nothing.
pub(crate) fn news(before: &[TodoEntry], now: &[TodoEntry]) -> Vec<(Color, String)> {
    if before == now {
        return Vec::new();
    }
    let done = now.iter().filter(|entry| entry.status == TodoStatus::Completed).count();
    let heading = match now.len() {
        0 => "to do: nothing".to_owned(),
        all => format!("to do ({done} of {all} done)"),
    };
    let rows = now.iter().filter(|entry| !before.contains(entry)).map(|entry| {
        let color = if entry.status == TodoStatus::InProgress { Color::Cyan } else { Color::Dim };
        (color, format!("  {}", line(entry)))
    });
    std::iter::once((Color::Dim, heading)).chain(rows).collect()
}

/// Shows one line of a list.
pub(crate) fn line(entry: &TodoEntry) -> String {
    let mark = match entry.status {
        TodoStatus::Pending => ' ',
        TodoStatus::InProgress => '>',
        TodoStatus::Completed => 'x',
    };
    format!("[{mark}] {}", one_line(&entry.text))
}
