//! The wire, checked in: a changed operation is a changed file.

use paseo_daemon::server::openapi;
use paseo_sdk::catalogue::{OPERATIONS, tools};
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
fn tools_have_no_references_no_unsigned_numbers_and_a_description_for_everything() {
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
        assert_eq!(tool.input_schema["additionalProperties"], false, "{}", tool.name);
    }
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
    if let Some(format) = object.get("format").and_then(Value::as_str)
        && format.starts_with("uint")
    {
        faults.push(format!("{place}: format {format}"));
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
