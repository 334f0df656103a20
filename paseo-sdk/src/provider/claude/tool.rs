//! Tool calls of the program in the words that all providers share.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::item::{Content, Item, Tool, ToolCall, ToolStatus};
use crate::model::ItemId;
use crate::provider::output::Output;
use crate::provider::value::{self, clip, clipped, push_line, text};

/// A tool call that has not ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Call {
    /// The program's id of it.
    pub(super) id: String,
    /// The call of the sub-agent that made it.
    pub(super) parent: Option<String>,
    /// The program's name for the tool.
    pub(super) name: String,
    /// What it was given.
    pub(super) input: Value,
    /// Whether somebody has refused it.
    pub(super) denied: bool,
    /// About how many bytes its input takes up in memory.
    pub(super) weight: usize,
}

impl Call {
    /// Reads a `tool_use`; `room` is what its input may weigh.
    pub(super) fn new(block: &Value, parent: Option<String>, room: usize) -> Call {
        let input = clipped(&block["input"], LONGEST_INPUT, room.min(MOST_INPUT));
        let (id, name, weight) = (value::id(block, "id"), clip(text(block, "name"), 200), value::weight(&input));
        Call { id, parent, name, input, denied: false, weight }
    }

    /// Returns the item as it is when it begins.
    pub(super) fn opened(&self) -> Item {
        self.item(ToolStatus::Running, None)
    }

    /// Returns the item of a call that came to no end.
    pub(super) fn interrupted(&self) -> Item {
        self.item(ToolStatus::Interrupted, None)
    }

    /// Returns the item as its result leaves it. `details` is what the program says of the result beside.
    pub(super) fn closed(&self, block: &Value, details: &Value, interrupted: bool) -> Item {
        let printed = printed(&block["content"]);
        let failed = block["is_error"].as_bool() == Some(true);
        let cut = details["interrupted"].as_bool() == Some(true) || failed && interrupted;
        let status = match failed {
            _ if self.denied => ToolStatus::Denied,
            _ if cut => ToolStatus::Interrupted,
            true => ToolStatus::Failed,
            false => ToolStatus::Completed,
        };
        let mut output = Output::default();
        output.push(&printed);
        let exit_code = match (self.tool(), status) {
            (Tool::Shell, ToolStatus::Failed) => exit_code(&printed),
            (Tool::Shell, ToolStatus::Completed) if details["backgroundTaskId"].is_null() => Some(0),
            _ => None,
        };
        let mut item = self.item(status, exit_code);
        if let Content::ToolCall(call) = &mut item.content {
            let (text, omitted_bytes) = output.bounded();
            call.output = Some(text);
            call.omitted_bytes = omitted_bytes;
            call.diff = Some(diff(details)).filter(|diff| !diff.is_empty() && status == ToolStatus::Completed);
        }
        item
    }

    fn item(&self, status: ToolStatus, exit_code: Option<i64>) -> Item {
        let call = ToolCall {
            tool: self.tool(),
            name: self.name.clone(),
            title: title(&self.name, &self.input),
            status,
            input: self.input.clone(),
            output: None,
            omitted_bytes: 0,
            exit_code,
            diff: None,
        };
        Item {
            item_id: ItemId(self.id.clone()),
            parent_id: self.parent.clone().map(ItemId),
            content: Content::ToolCall(Box::new(call)),
        }
    }

    fn tool(&self) -> Tool {
        match self.name.as_str() {
            "Bash" | "BashOutput" | "KillShell" | "TaskOutput" | "TaskStop" => Tool::Shell,
            "Read" | "NotebookRead" | "ReadMcpResource" => Tool::Read,
            "Edit" | "MultiEdit" | "NotebookEdit" => Tool::Edit,
            "Write" => Tool::Write,
            "Grep" | "Glob" | "LS" | "WebSearch" | "ToolSearch" => Tool::Search,
            "WebFetch" => Tool::Fetch,
            "Agent" | "Task" => Tool::SubAgent,
            "ExitPlanMode" | "EnterPlanMode" => Tool::Plan,
            _ => Tool::Other,
        }
    }
}

/// Says in one line what a tool call does.
pub(super) fn title(name: &str, input: &Value) -> String {
    let question = input["questions"][0]["question"].as_str();
    let plan = input["plan"].as_str();
    let said = ["command", "file_path", "notebook_path", "pattern", "query", "url", "description", "path", "skill"]
        .iter()
        .find_map(|field| input[*field].as_str())
        .or(question)
        .or(plan)
        .unwrap_or(name);
    value::title(said).unwrap_or_else(|| name.to_owned())
}

/// Returns what a tool printed, as the model reads it.
fn printed(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            let mut out = String::new();
            for block in blocks.iter().take(64) {
                if !out.is_empty() {
                    out.push('\n');
                }
                match text(block, "type") {
                    "text" => out.push_str(text(block, "text")),
                    other => {
                        let _ = write!(out, "[{}]", clip(other, 64));
                    }
                }
            }
            out
        }
        _ => String::new(),
    }
}

/// Returns the code that a command failed with, which is the first thing that its result says.
fn exit_code(printed: &str) -> Option<i64> {
    printed.strip_prefix("Exit code ")?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Returns what changed in a file, as a unified diff.
fn diff(details: &Value) -> String {
    let path = &clip(text(details, "filePath"), LONGEST_PATH);
    let mut out = String::new();
    let hunks = details["structuredPatch"].as_array().map(Vec::as_slice).unwrap_or_default();
    let created = details["content"].as_str().filter(|_| text(details, "type") == "create");
    if path.is_empty() || hunks.is_empty() && created.is_none() {
        return out;
    }
    let from = if created.is_some() { "/dev/null" } else { path };
    let _ = writeln!(out, "--- {from}\n+++ {path}");
    if let Some(content) = created {
        let _ = writeln!(out, "@@ -0,0 +1,{} @@", content.lines().count());
        for line in content.lines() {
            if !push_line(&mut out, &format!("+{line}")) {
                return out;
            }
        }
    }
    for hunk in hunks {
        let number = |field: &str| hunk[field].as_i64().unwrap_or(0);
        let (old, new) = (number("oldStart"), number("newStart"));
        let heading = format!("@@ -{old},{} +{new},{} @@", number("oldLines"), number("newLines"));
        let lines = hunk["lines"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for line in std::iter::once(heading.as_str()).chain(lines) {
            if !push_line(&mut out, line) {
                return out;
            }
        }
    }
    out
}

/// How long each text of an input may be that is kept with the call; the journal has it whole.
const LONGEST_INPUT: usize = 32 * 1024;

/// What the whole input may weigh that is kept.
const MOST_INPUT: usize = 256 * 1024;

const LONGEST_PATH: usize = 4 * 1024;
