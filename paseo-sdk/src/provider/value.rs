//! Reading what programs say: as far as it is understood, and no further.

use serde_json::{Value, json};

use super::output::floor;

/// Returns the text at a field; empty where there is none.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Returns the beginning of a text, at most so many bytes.
pub(super) fn clip(text: &str, most: usize) -> String {
    text[..floor(text, most)].to_owned()
}

/// Returns the beginning of an id of the program. Whoever looks for it looks for that.
pub(super) fn id(value: &Value, field: &str) -> String {
    clip(text(value, field), LONGEST_ID)
}

/// Returns a value whose texts are at most so long, and which weighs about `most` at most. It says what is left out of
/// its texts.
pub(super) fn clipped(value: &Value, longest: usize, most: usize) -> Value {
    within(value, longest, &mut { most })
}

fn within(value: &Value, longest: usize, room: &mut usize) -> Value {
    *room = room.saturating_sub(PART);
    match value {
        Value::String(text) => {
            let head = clip(text, longest.min(*room));
            *room -= head.len();
            match i64::try_from(text.len() - head.len()).unwrap_or(i64::MAX) {
                0 => json!(head),
                left => json!(format!("{head}\n{}", crate::item::omission(left))),
            }
        }
        Value::Array(values) => {
            values.iter().map_while(|value| (*room > 0).then(|| within(value, longest, room))).collect()
        }
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                let name = clip(name, LONGEST_NAME.min(*room));
                *room -= name.len();
                (*room > 0).then(|| (name, within(value, longest, room)))
            };
            fields.iter().map_while(field).collect::<serde_json::Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// Returns about how many bytes a value takes up in memory.
pub(super) fn weight(value: &Value) -> usize {
    PART + match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(weight).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + weight(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Returns the end of a text, as much as is shown of a last message.
pub(super) fn tail(text: &str) -> String {
    let from = text.len().saturating_sub(LONGEST_MESSAGE);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    text[from..].to_owned()
}

/// Returns the first line of a text that says something, shortened for one line of a list.
pub(super) fn title(text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(match line.char_indices().nth(LONGEST_TITLE) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line.to_owned(),
    })
}

/// Adds a line to a diff, or says that the rest is left out.
pub(super) fn push_line(diff: &mut String, line: &str) -> bool {
    if diff.len() + line.len() > LONGEST_DIFF {
        diff.push_str("… the rest is left out …\n");
        return false;
    }
    diff.push_str(line);
    diff.push('\n');
    true
}

const LONGEST_ID: usize = 128;

const LONGEST_NAME: usize = 256;

/// How many bytes every value in a value takes up, beside its text.
const PART: usize = 128;

const LONGEST_TITLE: usize = 120;

const LONGEST_MESSAGE: usize = 4 * 1024;

const LONGEST_DIFF: usize = 64 * 1024;
