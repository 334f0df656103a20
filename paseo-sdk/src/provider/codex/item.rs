//! What the program does, in the words that all providers share.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::item::{Content, Item, Tool, ToolCall, ToolStatus};
use crate::model::ItemId;
use crate::provider::output::Output;
use crate::provider::value::{self, clip, clipped, push_line, text};

/// Reads an item, as it begins or as it is in the end; none of a kind that is not shown.
pub(super) fn read(item: &Value, over: bool) -> Option<Item> {
    let mut read = shown(item)?;
    if let Content::ToolCall(call) = &mut read.content
        && item["status"].is_null()
        && !over
    {
        // Some say nothing of how they fare.
        call.status = ToolStatus::Running;
    }
    Some(read)
}

fn shown(item: &Value) -> Option<Item> {
    let content = match text(item, "type") {
        "agentMessage" | "plan" => Content::AssistantMessage { text: text(item, "text").to_owned() },
        "reasoning" => Content::Reasoning { text: reasoning(item) },
        "commandExecution" => command(item),
        "fileChange" => patch(item),
        "mcpToolCall" => {
            let (server, tool) = (clip(text(item, "server"), 100), clip(text(item, "tool"), 100));
            let mut call = call(Tool::Other, &format!("mcp__{server}__{tool}"), format!("{server}: {tool}"), item);
            call.input = clipped(&item["arguments"], LONGEST_INPUT, MOST_INPUT);
            print(&mut call, &said(item));
            Content::ToolCall(Box::new(call))
        }
        "dynamicToolCall" | "collabAgentToolCall" => {
            let name = clip(text(item, "tool"), 100);
            let agents = text(item, "type") == "collabAgentToolCall";
            let tool = if agents { Tool::SubAgent } else { Tool::Other };
            let title = item["prompt"].as_str().and_then(value::title).unwrap_or_else(|| name.clone());
            let mut call = call(tool, &name, title, item);
            call.input = match agents {
                true => json!({ "prompt": clip(text(item, "prompt"), LONGEST_INPUT) }),
                false => clipped(&item["arguments"], LONGEST_INPUT, MOST_INPUT),
            };
            Content::ToolCall(Box::new(call))
        }
        "webSearch" => one_field(Tool::Search, item, "query"),
        "imageView" => one_field(Tool::Read, item, "path"),
        "contextCompaction" => Content::Compaction { text: "the conversation was made shorter".to_owned() },
        _ => return None,
    };
    Some(Item { item_id: ItemId(value::id(item, "id")), parent_id: None, content })
}

/// Returns whether an item of this kind is work that its model waits for.
pub(super) fn is_call(item: &Item) -> bool {
    matches!(item.content, Content::ToolCall(_))
}

/// Returns the script of a command: the program shows it within the words that start a shell.
pub(super) fn script(command: &str) -> String {
    match shlex::split(command).as_deref() {
        Some([shell, flags, script]) if is_shell(shell) && matches!(flags.as_str(), "-lc" | "-c") => script.clone(),
        _ => command.to_owned(),
    }
}

fn is_shell(program: &str) -> bool {
    matches!(program.rsplit('/').next(), Some("bash" | "zsh" | "sh"))
}

fn reasoning(item: &Value) -> String {
    let parts = |field: &str| {
        let parts = item[field].as_array().into_iter().flatten().take(MOST_PARTS);
        parts.filter_map(Value::as_str).collect::<Vec<_>>().join("\n\n")
    };
    Some(parts("summary")).filter(|text| !text.is_empty()).unwrap_or_else(|| parts("content"))
}

fn command(item: &Value) -> Content {
    let script = script(text(item, "command"));
    let actions = item["commandActions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let all =
        |kinds: &[&str]| !actions.is_empty() && actions.iter().all(|action| kinds.contains(&text(action, "type")));
    let tool = match (all(&["read"]), all(&["search", "listFiles"])) {
        (true, _) => Tool::Read,
        (_, true) => Tool::Search,
        _ => Tool::Shell,
    };
    let title = value::title(&script).unwrap_or_default();
    let mut call = call(tool, "exec_command", title, item);
    call.input = json!({ "command": clip(&script, LONGEST_INPUT), "cwd": clip(text(item, "cwd"), LONGEST_PATH) });
    if call.status != ToolStatus::Running {
        // What was streamed of it has holes; this is whole, but for a middle that is too long.
        print(&mut call, text(item, "aggregatedOutput"));
        call.exit_code = item["exitCode"].as_i64().filter(|code| *code >= 0);
    }
    Content::ToolCall(Box::new(call))
}

fn patch(item: &Value) -> Content {
    let changes = item["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let names: Vec<_> = changes.iter().take(MOST_NAMES).map(|change| name(text(change, "path"))).collect();
    let adds = !changes.is_empty() && changes.iter().all(|change| text(&change["kind"], "type") == "add");
    let tool = if adds { Tool::Write } else { Tool::Edit };
    let title = value::title(&names.join(", ")).unwrap_or_else(|| "change files".to_owned());
    let mut call = call(tool, "apply_patch", title, item);
    let paths = changes.iter().take(MOST_CHANGES).map(|change| {
        let (path, kind) = (clip(text(change, "path"), LONGEST_PATH), clip(text(&change["kind"], "type"), 20));
        match change["kind"]["move_path"].as_str() {
            Some(to) => json!({ "path": path, "kind": kind, "movePath": clip(to, LONGEST_PATH) }),
            None => json!({ "path": path, "kind": kind }),
        }
    });
    call.input = clipped(&json!({ "changes": paths.collect::<Vec<_>>() }), LONGEST_PATH, MOST_INPUT);
    if matches!(call.status, ToolStatus::Running | ToolStatus::Completed) {
        call.diff = Some(diff(changes)).filter(|diff| !diff.is_empty());
    }
    Content::ToolCall(Box::new(call))
}

/// Returns what changes in files, as a unified diff.
fn diff(changes: &[Value]) -> String {
    let mut out = String::new();
    for change in changes.iter().take(MOST_CHANGES) {
        let (path, said) = (clip(text(change, "path"), LONGEST_PATH), text(change, "diff"));
        let (from, to, sign) = match text(&change["kind"], "type") {
            "add" => ("/dev/null", path.as_str(), "+"),
            "delete" => (path.as_str(), "/dev/null", "-"),
            _ => (path.as_str(), path.as_str(), ""),
        };
        let _ = writeln!(out, "--- {from}\n+++ {to}");
        let lines = said.lines().count();
        match sign {
            // Of a whole file it says the text alone.
            "+" => drop(writeln!(out, "@@ -0,0 +1,{lines} @@")),
            "-" => drop(writeln!(out, "@@ -1,{lines} +0,0 @@")),
            _ => {}
        }
        for line in said.lines() {
            if !push_line(&mut out, &format!("{sign}{line}")) {
                return out;
            }
        }
    }
    out
}

fn one_field(tool: Tool, item: &Value, field: &str) -> Content {
    let said = clip(text(item, field), LONGEST_INPUT);
    let name = clip(text(item, "type"), 64);
    let mut call = call(tool, &name, value::title(&said).unwrap_or_else(|| name.clone()), item);
    call.input = json!({ field: said });
    Content::ToolCall(Box::new(call))
}

fn call(tool: Tool, name: &str, title: String, item: &Value) -> ToolCall {
    let status = match text(item, "status") {
        "inProgress" => ToolStatus::Running,
        "failed" => ToolStatus::Failed,
        "declined" => ToolStatus::Denied,
        _ => ToolStatus::Completed,
    };
    let (name, input) = (name.to_owned(), Value::Null);
    ToolCall { tool, name, title, status, input, output: None, omitted_bytes: 0, exit_code: None, diff: None }
}

/// Returns what a tool of a server has said.
fn said(item: &Value) -> String {
    if let Some(error) = item["error"]["message"].as_str() {
        return error.to_owned();
    }
    let parts = item["result"]["content"].as_array().into_iter().flatten().take(MOST_PARTS);
    let shown = |part: &Value| match text(part, "type") {
        "text" => text(part, "text").to_owned(),
        other => format!("[{}]", clip(other, 64)),
    };
    parts.map(shown).collect::<Vec<_>>().join("\n")
}

/// Gives a call its output, within bounds.
fn print(call: &mut ToolCall, printed: &str) {
    if call.status != ToolStatus::Running {
        let mut output = Output::default();
        output.push(printed);
        let (text, omitted_bytes) = output.bounded();
        call.output = Some(text);
        call.omitted_bytes = omitted_bytes;
    }
}

/// How long each text of an input may be that is kept with a call; the journal has it whole.
const LONGEST_INPUT: usize = 32 * 1024;

/// What the whole input may weigh that is kept.
const MOST_INPUT: usize = 256 * 1024;

const LONGEST_PATH: usize = 4 * 1024;

/// How many files of one patch are named in its title, and how many are kept.
const MOST_NAMES: usize = 8;
const MOST_CHANGES: usize = 256;

/// How many parts of one text are read.
const MOST_PARTS: usize = 256;
