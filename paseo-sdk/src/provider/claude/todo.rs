//! The to-do list: the program has no event for it, it follows from the results of the tools that change it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::item::{TodoEntry, TodoStatus};
use crate::provider::value::{clip, text};

/// The list as it is now.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Todo {
    /// Each entry with the program's own id for it.
    entries: Vec<(String, TodoEntry)>,
}

/// Returns whether a tool is there for the list alone: what it did is shown as the list.
pub(super) fn is_about_it(tool: &str) -> bool {
    matches!(tool, "TaskCreate" | "TaskUpdate" | "TaskList" | "TaskGet" | "TodoWrite")
}

/// Returns as much of what such a tool is given as its result needs.
pub(super) fn remembered(input: &Value) -> Value {
    ["taskId", "status", "subject"]
        .iter()
        .filter_map(|&field| Some((field.to_owned(), clip(input[field].as_str()?, LONGEST).into())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

impl Todo {
    /// Takes the result of a tool; returns the list when that has changed.
    pub(super) fn take(&mut self, tool: &str, input: &Value, result: &Value) -> Option<Vec<TodoEntry>> {
        let before = self.entries.clone();
        match tool {
            "TaskCreate" => {
                let task = &result["task"];
                let entry = TodoEntry { text: clip(text(task, "subject"), LONGEST), status: TodoStatus::Pending };
                if !task.is_null() && self.entries.len() < MOST {
                    self.entries.push((clip(text(task, "id"), 64), entry));
                }
            }
            "TaskUpdate" if result["success"].as_bool() == Some(true) => {
                let id = text(input, "taskId");
                match text(input, "status") {
                    "deleted" => self.entries.retain(|(other, _)| other != id),
                    wanted => {
                        if let Some((_, entry)) = self.entries.iter_mut().find(|(other, _)| other == id) {
                            entry.status = status(wanted).unwrap_or(entry.status);
                            if let Some(subject) = input["subject"].as_str() {
                                entry.text = clip(subject, LONGEST);
                            }
                        }
                    }
                }
            }
            "TaskList" => {
                let tasks = result["tasks"].as_array()?;
                self.entries =
                    tasks.iter().take(MOST).map(|task| (clip(text(task, "id"), 64), entry(task, "subject"))).collect();
            }
            "TodoWrite" => {
                let todos = result["newTodos"].as_array()?;
                self.entries = todos.iter().take(MOST).map(|todo| (String::new(), entry(todo, "content"))).collect();
            }
            _ => {}
        }
        let now = |entries: &[(String, TodoEntry)]| entries.iter().map(|(_, entry)| entry.clone()).collect::<Vec<_>>();
        (now(&before) != now(&self.entries)).then(|| now(&self.entries))
    }
}

fn entry(task: &Value, field: &str) -> TodoEntry {
    TodoEntry {
        text: clip(text(task, field), LONGEST),
        status: status(text(task, "status")).unwrap_or(TodoStatus::Pending),
    }
}

fn status(word: &str) -> Option<TodoStatus> {
    match word {
        "pending" => Some(TodoStatus::Pending),
        "in_progress" => Some(TodoStatus::InProgress),
        "completed" => Some(TodoStatus::Completed),
        _ => None,
    }
}

/// How many entries are kept, and how long each may be.
const MOST: usize = 200;
pub(super) const LONGEST: usize = 500;
