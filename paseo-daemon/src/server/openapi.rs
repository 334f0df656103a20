//! The API's description for programs that are not written in Rust: OpenAPI 3.1, made from the catalogue.

use paseo_sdk::catalogue::tools;
use paseo_sdk::operation::{Effect, Tool};
use serde_json::{Map, Value, json};

/// Describes everything that can be called over HTTP.
#[must_use]
pub fn openapi() -> Value {
    let mut paths = Map::new();
    paths.insert(
        "/api/health".to_owned(),
        json!({ "get": {
            "operationId": "health",
            "summary": "Says that the daemon answers, and its version.",
            "security": [],
            "responses": { "200": { "description": "It answers.", "content": { "application/json": { "schema": {
                "type": "object",
                "properties": {
                    "status": { "type": "string", "const": "ok", "description": "Always `ok`." },
                    "version": { "type": "string", "description": "The daemon's version." },
                },
                "required": ["status", "version"],
            } } } } },
        } }),
    );
    for tool in tools() {
        paths.insert(format!("/api/{}", tool.name), json!({ "post": operation(tool) }));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "paseo",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Supervises AI coding agents. The same operations are JSON-RPC 2.0 methods on the WebSocket `/ws`.",
        },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "What `paseo daemon token` prints. Not needed on the unix socket.",
            } },
            "responses": { "Refusal": {
                "description": "It was not carried out.",
                "content": { "application/json": { "schema": {
                    "type": "object",
                    "properties": {
                        "code": {
                            "type": "string",
                            "description": "What kind of refusal it is: `invalid_argument`, `not_found`, `conflict`, \
                                `refused`, `forbidden`, `unsupported`, `unavailable`, `unauthorized`, `internal`.",
                        },
                        "message": { "type": "string", "description": "One sentence." },
                        "hint": { "type": "string", "description": "What to do, or what to type." },
                        "details": { "description": "What a program may want to know beside." },
                    },
                    "required": ["code", "message"],
                } } },
            } },
        },
    })
}

fn operation(tool: Tool) -> Value {
    // An operation's arguments may be left out when none of them is needed.
    let needed = tool.input_schema.get("required").and_then(Value::as_array).is_some_and(|fields| !fields.is_empty());
    let description = tool.description.replace('\n', " ");
    let summary = description.split_once(". ").map_or(description.as_str(), |(first, _)| first);
    json!({
        "operationId": tool.name,
        "summary": summary.trim_end_matches('.'),
        "description": description,
        "x-paseo-effect": match tool.effect {
            Effect::Read => "read",
            Effect::Write => "write",
            Effect::Destroy => "destroy",
        },
        "requestBody": { "required": needed, "content": { "application/json": { "schema": tool.input_schema } } },
        "responses": {
            "200": { "description": "Done.", "content": { "application/json": { "schema": tool.output_schema } } },
            "default": { "$ref": "#/components/responses/Refusal" },
        },
    })
}
