//! What a model reads of an answer.

use paseo_daemon::mcp::hint::for_models;
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

#[test]
fn a_hint_names_tools_in_place_of_commands_where_there_are_tools() {
    for (hint, told) in [
        ("`paseo ls -a -g` lists agents", "`list_agents` with `includeArchived` lists agents"),
        ("`paseo permit ls` lists what is waited for", "`list_pending_permissions` lists what is waited for"),
        ("`paseo worktree ls -g` lists all", "`list_worktrees` with `all` lists all"),
        ("`paseo worktree restore` brings it back", "`restore_worktree` brings it back"),
        ("`paseo provider models zai` lists them", "`list_models` with `provider: zai` lists them"),
        ("`paseo daemon start` starts it", "your user's `paseo daemon start` starts it"),
        (
            "give `cwd`, or `git init`; `paseo daemon logs` says more",
            "give `cwd`, or `git init`; `paseo daemon logs` says more",
        ),
        ("no code, or `half of it", "no code, or `half of it"),
    ] {
        assert_eq!(for_models(hint), told);
    }
}
