//! How an operation looks to those who read schemas: models, their clients, and API documents.
//!
//! Clients pass schemas on to the APIs of models unread, so they are as plain as they can be: no references, no nulls, no
//! formats of numbers, and a list of words in place of alternatives that are a word each.

use schemars::transform::transform_subschemas;
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Effect, Operation};

/// One operation as a tool or an API document shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tool {
    /// The operation's name.
    pub name: &'static str,
    /// What it does, for people and for models that choose a tool.
    pub description: String,
    /// What carrying it out does.
    #[serde(skip)]
    pub effect: Effect,
    /// JSON schema of its arguments, without references.
    pub input_schema: Value,
    /// JSON schema of its answer, without references.
    pub output_schema: Value,
}

impl Tool {
    /// Describes `Op`.
    #[must_use]
    pub fn of<Op: Operation + JsonSchema>() -> Tool
    where
        Op::Answer: JsonSchema,
    {
        let settings = schemars::generate::SchemaSettings::draft2020_12().with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
            settings.transforms.push(Box::new(simplify));
        });
        let mut input_schema = settings.clone().into_generator().into_root_schema_for::<Op>().to_value();
        let mut output_schema =
            settings.for_serialize().into_generator().into_root_schema_for::<Op::Answer>().to_value();
        let mut description = String::new();
        if let Some(input) = input_schema.as_object_mut() {
            if let Some(Value::String(text)) = input.remove("description") {
                description = text;
            }
            input.remove("title");
        }
        if let Some(output) = output_schema.as_object_mut() {
            output.remove("title");
        }
        Tool { name: Op::NAME, description, effect: Op::EFFECT, input_schema, output_schema }
    }
}

/// Says the same in fewer words, here and in everything within.
fn simplify(schema: &mut Schema) {
    if let Some(object) = schema.as_object_mut() {
        forget_null(object);
        list_words(object);
        // Which numbers fit, the field's description says.
        if matches!(object.get("type").and_then(Value::as_str), Some("integer" | "number")) {
            object.remove("format");
        }
    }
    transform_subschemas(&mut simplify, schema);
}

/// Leaves out that a field may be null: whoever has no value leaves out the field, and nothing is answered as null.
fn forget_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(kinds)) = object.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_mut_slice() {
            let only = only.take();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(words)) = object.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").and_then(Value::as_str) != Some("null"));
        if let [Value::Object(only)] = choices.as_mut_slice() {
            let only = std::mem::take(only);
            object.remove("anyOf");
            for (key, value) in only {
                // What is said of the field goes before what is said of its type.
                object.entry(key).or_insert(value);
            }
        }
    }
}

/// Makes one list out of alternatives that are a word each, and says in the description what the words mean.
fn list_words(object: &mut Map<String, Value>) {
    let Some(choices) = object.get("oneOf").and_then(Value::as_array) else { return };
    let mut words = Vec::new();
    let mut meanings = Vec::new();
    for choice in choices {
        match (choice.get("const"), choice.get("enum")) {
            (Some(Value::String(word)), _) => {
                if let Some(meaning) = choice.get("description").and_then(Value::as_str) {
                    meanings.push(format!("- `{word}`: {}", meaning.replace('\n', " ")));
                }
                words.push(Value::String(word.clone()));
            }
            (None, Some(Value::Array(more))) => words.extend(more.iter().cloned()),
            _ => return,
        }
    }
    object.remove("oneOf");
    object.insert("type".to_owned(), "string".into());
    object.insert("enum".to_owned(), Value::Array(words));
    if !meanings.is_empty() {
        let field = object.get("description").and_then(Value::as_str).map(|text| format!("{text}\n\n"));
        object.insert("description".to_owned(), format!("{}{}", field.unwrap_or_default(), meanings.join("\n")).into());
    }
}
