//! What a model reads of an answer.

use paseo_daemon::mcp::text::render;
use serde_json::json;

#[test]
fn answers_are_keys_and_values_and_texts_of_several_lines_are_blocks() {
    let answer = json!({
        "title": "login form",
        "count": 3,
        "dirty": false,
        "nothing": null,
        "labels": {},
        "agents": [],
        "usage": { "inputTokens": 12, "costUsd": 0.5 },
        "message": "first\n\n  indented\nlast\n",
        "words": ["a", "b c", "d\ne"],
        "entries": [
            { "seq": 1, "item": { "kind": "tool_call", "output": "x\ny" } },
            { "seq": 2, "left": null },
            {},
            [1, [2, 3]],
        ],
    });
    let text = "\
title: login form
count: 3
dirty: false
labels: none
agents: none
usage:
  inputTokens: 12
  costUsd: 0.5
message: |
  first

    indented
  last
words:
  - a
  - b c
  - |
    d
    e
entries:
  - seq: 1
    item:
      kind: tool_call
      output: |
        x
        y
  - seq: 2
  - none
  - - 1
    - - 2
      - 3
";
    assert_eq!(render(&answer), text);
}

#[test]
fn what_is_no_object_is_text_too() {
    assert_eq!(render(&json!("hello")), "hello\n");
    assert_eq!(render(&json!([])), "");
    assert_eq!(render(&json!({})), "");
}
