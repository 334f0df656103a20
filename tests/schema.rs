//! The wire, checked in: a changed operation is a changed file.

use paseo_daemon::server::openapi;
use paseo_sdk::catalogue::{ListAgents, OPERATIONS, tools};
use paseo_sdk::operation::parse;
use serde_json::{Value, json};

#[test]
fn every_operation_is_a_tool_and_looks_as_it_did() {
    let tools = tools();
    let names: Vec<_> = tools.iter().map(|tool| tool.name).collect();
    let rows: Vec<_> = OPERATIONS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, rows);
    insta::assert_json_snapshot!("tools", json!(tools));
}

#[test]
fn the_openapi_document_looks_as_it_did() {
    let mut document = openapi();
    document["info"]["version"] = json!("[version]");
    insta::assert_json_snapshot!("openapi", document);
}

#[test]
fn tools_have_no_references_no_nulls_no_formats_of_numbers_and_a_description_for_everything() {
    let mut faults = Vec::new();
    for tool in tools() {
        if tool.description.is_empty() {
            faults.push(format!("{}: no description", tool.name));
        }
        inspect(&format!("{} <", tool.name), &tool.input_schema, &mut faults);
        inspect(&format!("{} >", tool.name), &tool.output_schema, &mut faults);
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn requests_take_no_fields_that_they_do_not_name() {
    for tool in tools() {
        assert_eq!(tool.input_schema["type"], "object", "{}", tool.name);
        // The APIs of models refuse tools whose arguments are alternatives.
        for key in ["anyOf", "oneOf", "allOf", "enum", "not"] {
            assert_eq!(tool.input_schema.get(key), None, "{}", tool.name);
        }
        assert_eq!(tool.input_schema["additionalProperties"], false, "{}", tool.name);
    }
}

#[test]
fn a_field_that_is_null_is_a_field_that_is_left_out() {
    let list = json!({ "cwd": null, "limit": null, "parent": null });
    assert_eq!(parse::<ListAgents>(list).expect("nulls are no values"), ListAgents::default());
}

#[test]
fn references_of_the_openapi_document_lead_somewhere() {
    fn walk(value: &Value, document: &Value) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    let pointer = reference.strip_prefix('#').expect("a reference into the document");
                    assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
                }
                object.values().for_each(|value| walk(value, document));
            }
            Value::Array(values) => values.iter().for_each(|value| walk(value, document)),
            _ => {}
        }
    }
    let document = openapi();
    walk(&document, &document);
}

fn inspect(place: &str, schema: &Value, faults: &mut Vec<String>) {
    let Value::Object(object) = schema else { return };
    if object.contains_key("$ref") || object.contains_key("$defs") {
        faults.push(format!("{place}: a reference"));
    }
    if object.contains_key("format") && matches!(object.get("type").and_then(Value::as_str), Some("integer" | "number"))
    {
        faults.push(format!("{place}: a format of a number"));
    }
    let kinds = match object.get("type") {
        Some(Value::Array(kinds)) => kinds.clone(),
        kind => kind.cloned().into_iter().collect(),
    };
    let words = object.get("enum").and_then(Value::as_array).into_iter().flatten();
    if kinds.contains(&json!("null")) || words.chain(object.get("default")).any(Value::is_null) {
        faults.push(format!("{place}: a null"));
    }
    for choices in ["oneOf", "anyOf"].iter().filter_map(|key| object.get(*key)?.as_array()) {
        if choices.len() == 1 || choices.iter().all(|choice| choice.get("const").is_some()) {
            faults.push(format!("{place}: alternatives that are words"));
        }
    }
    if let Some(properties) = object.get("properties").and_then(Value::as_object) {
        for (name, property) in properties {
            let place = format!("{place}.{name}");
            // The tag of a variant has one value, which the variant describes.
            if property.get("description").is_none() && property.get("const").is_none() {
                faults.push(format!("{place}: no description"));
            }
            inspect(&place, property, faults);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get(key) {
            inspect(&format!("{place}.{key}"), inner, faults);
        }
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        for (number, inner) in object.get(key).and_then(Value::as_array).into_iter().flatten().enumerate() {
            inspect(&format!("{place}.{key}{number}"), inner, faults);
        }
    }
}
