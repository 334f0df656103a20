//! The language of scripts, as far as it does not depend on what a model can do.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Deserializer, Map, Value, json};

/// One response of the model.
#[derive(Debug, PartialEq)]
pub(crate) struct Step<A, P> {
    /// What comes before the act.
    pub(crate) lead: Vec<P>,
    /// What it is said to have cost, where that differs from the usual.
    pub(crate) usage: Map<String, Value>,
    pub(crate) act: A,
}

/// What a model answers in a step.
pub(crate) trait Act: Sized {
    fn parse(name: &str, argument: &str) -> Result<Self, String>;
}

/// What may come before an act.
pub(crate) trait Lead {
    fn thinking(text: &str) -> Self;
    fn saying(text: &str) -> Self;
}

/// Reads the steps of a text; a text without any is no script.
pub(crate) fn parse<A: Act, P: Lead>(text: &str) -> Result<Vec<Step<A, P>>, String> {
    let mut steps = Vec::new();
    let (mut lead, mut usage) = (Vec::new(), Map::new());
    for directive in Directives(text) {
        let (name, argument) = directive?;
        match name {
            "think" => lead.push(P::thinking(argument)),
            "say" => lead.push(P::saying(argument)),
            "usage" => usage = json_of(name, argument)?,
            _ => {
                let act = A::parse(name, argument)?;
                steps.push(Step { lead: std::mem::take(&mut lead), usage: std::mem::take(&mut usage), act });
            }
        }
    }
    if lead.is_empty() && usage.is_empty() { Ok(steps) } else { Err("a modifier has no step after it".to_owned()) }
}

/// Reads which error, and how many times.
pub(crate) fn error_of(argument: &str) -> Result<(u16, usize), String> {
    let (status, times) = argument.split_once(' ').unwrap_or((argument, ""));
    let status = status.parse().ok().filter(|status| (400..600).contains(status));
    Ok((status.ok_or(format!("`{argument}` is no error"))?, times_of(times)?))
}

/// Reads how many times; nothing said is always.
pub(crate) fn times_of(argument: &str) -> Result<usize, String> {
    match argument.trim() {
        "" => Ok(usize::MAX),
        number => number.parse().map_err(|error| format!("`{number}` is no number of times: {error}")),
    }
}

/// Reads the name of a tool, and its input.
pub(crate) fn tool_of(argument: &str) -> Result<(&str, Value), String> {
    match argument.split_once(' ') {
        Some((tool, input)) => Ok((tool, json_of("tool", input)?)),
        None => Ok((argument, json!({}))),
    }
}

/// Reads a question, and what can be chosen.
pub(crate) fn question_of(argument: &str) -> Result<(&str, Vec<Value>), String> {
    let mut parts = argument.split('|');
    let question = parts.next().filter(|question| !question.is_empty()).ok_or("`[[ask]]` asks nothing")?;
    let options = parts.map(|label| json!({ "description": format!("Choose {label}"), "label": label })).collect();
    Ok((question, options))
}

/// Reads a file, what stands in it, and what is to stand there.
pub(crate) fn change_of<'a>(name: &str, argument: &'a str) -> Result<[&'a str; 3], String> {
    argument
        .split('|')
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| format!("`[[{name}: {argument}]]` is not PATH|OLD|NEW"))
}

pub(crate) fn json_of<T: DeserializeOwned>(name: &str, argument: &str) -> Result<T, String> {
    serde_json::from_str(argument).map_err(|error| format!("the JSON of `[[{name}]]`: {error}"))
}

/// What stands in double brackets, as name and argument. Brackets that hold no word are other text.
struct Directives<'a>(&'a str);

impl<'a> Iterator for Directives<'a> {
    type Item = Result<(&'a str, &'a str), String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (_, inside) = self.0.split_once("[[")?;
            self.0 = inside;
            let word = inside.bytes().take_while(u8::is_ascii_lowercase).count();
            if word == 0 {
                continue;
            }
            let (name, rest) = inside.split_at(word + usize::from(inside[word..].starts_with('!')));
            if let Some(rest) = rest.strip_prefix("]]") {
                self.0 = rest;
                return Some(Ok((name, "")));
            }
            let Some(argument) = rest.strip_prefix(':') else { continue };
            let json = json_length(name, argument);
            let Some(end) = argument[json..].find("]]") else {
                self.0 = "";
                return Some(Err(format!("`[[{name}:` has no end")));
            };
            let (argument, rest) = argument.split_at(json + end);
            self.0 = &rest["]]".len()..];
            return Some(Ok((name, argument.trim())));
        }
    }
}

/// Returns where the JSON of an argument ends, or 0: within it, `]]` is not the argument's end.
fn json_length(name: &str, argument: &str) -> usize {
    let start = match name {
        "tool" => argument.find('{'),
        "tools" | "usage" => Some(0),
        _ => None,
    };
    let Some(start) = start else { return 0 };
    let mut values = Deserializer::from_str(&argument[start..]).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => start + values.byte_offset(),
        _ => 0,
    }
}
