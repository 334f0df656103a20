//! JSON as text that people and models read: `key: value`, indented, and texts of several lines as blocks.

use serde_json::{Map, Value};

/// Writes a value as text. Each line ends with a line feed.
///
/// ```
/// use paseo_daemon::mcp::text::render;
/// use serde_json::json;
///
/// let agents = json!({ "agents": [{ "title": "login form", "labels": {} }], "said": "one\ntwo" });
/// assert_eq!(render(&agents), "agents:\n  - title: login form\n    labels: none\nsaid: |\n  one\n  two\n");
/// ```
#[must_use]
pub fn render(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(object) => fields(&mut out, 0, object),
        Value::Array(values) => items(&mut out, 0, values),
        _ => {
            out.push_str(&word(value));
            out.push('\n');
        }
    }
    out
}

fn fields(out: &mut String, indent: usize, object: &Map<String, Value>) {
    for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        pad(out, indent);
        out.push_str(key);
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                fields(out, indent + STEP, inner);
            }
            Value::Array(inner) if !inner.is_empty() => {
                out.push('\n');
                items(out, indent + STEP, inner);
            }
            _ => plain(out, indent, value),
        }
    }
}

fn items(out: &mut String, indent: usize, values: &[Value]) {
    for value in values {
        let start = out.len();
        match value {
            Value::Object(inner) if inner.values().any(|value| !value.is_null()) => {
                fields(out, indent + STEP, inner);
            }
            Value::Array(inner) if !inner.is_empty() => items(out, indent + STEP, inner),
            _ => {
                pad(out, indent);
                out.push('-');
                plain(out, indent, value);
                continue;
            }
        }
        // The dash stands in the indentation of what it begins.
        out.replace_range(start + indent..start + indent + STEP, "- ");
    }
}

/// Writes what fits behind a key or a dash, or as a block below it.
fn plain(out: &mut String, indent: usize, value: &Value) {
    match value {
        Value::String(text) if text.contains('\n') => {
            out.push_str(" |\n");
            for line in text.lines() {
                if !line.is_empty() {
                    pad(out, indent + STEP);
                    out.push_str(line);
                }
                out.push('\n');
            }
        }
        _ => {
            out.push(' ');
            out.push_str(&word(value));
            out.push('\n');
        }
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Object(_) | Value::Array(_) => "none".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

const STEP: usize = 2;
