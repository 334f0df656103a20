//! Tables and pages: what people read about agents, permissions, worktrees, providers and the daemon.

use paseo_cli::exit::{Exit, Failure};
use paseo_cli::permission;
use paseo_cli::render::{self, View};
use paseo_cli::transcript::Seen;
use paseo_sdk::catalogue::AgentOutcome;
use paseo_sdk::model::{Agent, ListedWorktree, Permission, ProviderInfo, Timestamp, Usage};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

#[test]
fn agents_are_a_table_that_fits() {
    let agents = agents();
    let check = |name: &str, view: &View| insta::assert_snapshot!(name, render::agents(view, &agents));
    check("agents", &view());
    check("agents_narrow", &View { width: Some(72), ..view() });
    check("agents_very_narrow", &View { width: Some(20), ..view() });
    check("agents_color", &View { width: Some(90), color: true, ..view() });
}

#[test]
fn lists_without_rows_are_nothing() {
    let view = view();
    let nothing = render::agents(&view, &[]) + &permission::list(&view, &[]) + &render::worktrees(&view, &[]);
    assert_eq!(nothing + &render::providers(&view, &[]), "");
}

#[test]
fn an_agent_is_shown_with_everything_about_it() {
    let text: Vec<_> = agents().iter().map(|agent| render::agent(&view(), agent)).collect();
    insta::assert_snapshot!("agent", text.join("\n----\n"));
}

#[test]
fn a_permission_shows_all_that_would_be_done() {
    let permissions = [
        script_permission("script", json!({ "script": "#!/bin/sh\nrm -rf build\n\techo \u{1b}[8mhidden\u{1b}[0m" })),
        script_permission("tool", json!({ "path": "/etc/hosts", "text": "127.0.0.1 \u{202e}example" })),
        script_permission("nothing", Value::Null),
    ];
    let text: Vec<_> = permissions.iter().map(|permission| permission::whole(&view(), permission)).collect();
    insta::assert_snapshot!("permission", text.join("\n") + "\n" + &permission::how_to_answer(&permissions[0]));
    insta::assert_snapshot!("permissions", permission::list(&view(), &permissions));
}

#[test]
fn what_a_coding_agent_asks_for_is_shown_so_that_a_person_can_decide() {
    let text: Vec<_> = asked().iter().map(|asked| permission::whole(&view(), asked)).collect();
    insta::assert_snapshot!("asked", text.join("\n"));
    let color = View { color: true, ..view() };
    insta::assert_snapshot!("asked_color", permission::whole(&color, &asked()[1]));
    insta::assert_snapshot!("asked_list", permission::list(&view(), &asked()));
    let how: Vec<_> = asked().iter().map(permission::how_to_answer).collect();
    insta::assert_snapshot!("asked_how", how.join("\n"));
}

#[test]
fn questions_are_answered_by_a_command_one_by_one() {
    let [.., one, two] = &asked()[..] else { panic!("there are some") };
    let check = |asked: &Permission, answers: &[&str]| {
        let answers: Vec<_> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        match permission::allowed(asked, None, None, &answers) {
            Ok(decision) => format!("{}\n", json!(decision)),
            Err(Failure::Refused { exit, error }) => {
                format!("error: {}\nhint: {}\n[exit {}]\n", error.message, error.hint.unwrap_or_default(), exit as u8)
            }
            Err(Failure::Unread) => "unread\n".to_owned(),
        }
    };
    let text = [
        check(one, &["blue"]),
        check(one, &["2"]),
        check(one, &["none of \u{1b}[31mthem"]),
        check(two, &["\"8080\"", "1,3"]),
        check(one, &[]),
        check(one, &["7"]),
        check(two, &["1"]),
        check(two, &["1", "2", "3"]),
        check(&asked()[0], &["Blue"]),
        check(&asked()[0], &[]),
    ];
    insta::assert_snapshot!("answered", text.join("\n"));
}

#[test]
fn worktrees_are_a_table() {
    let worktrees: Vec<ListedWorktree> = read(json!([
        {
            "worktreePath": "/home/ann/.paseo/worktrees/app-1a2b/feat-x", "worktreeSlug": "feat-x",
            "repository": "/home/ann/app", "branchName": "feat/x", "headCommit": "0123456789abcdef", "baseBranch": "main",
            "dirty": true, "ahead": 2, "behind": 1, "setup": { "status": "failed" }, "trusted": true,
            "agents": ["0b8ee9b4-3c26-4b1d-9f3c-1c0c7ff3d6a1", "reviewer"],
        },
        {
            "worktreePath": "/srv/other", "worktreeSlug": "other", "repository": "/srv/app",
            "headCommit": "0123456789abcdef", "dirty": false, "trusted": false,
        },
        {
            "worktreePath": "/srv/broken", "worktreeSlug": "broken", "repository": "/srv/app",
            "dirty": false, "trusted": true, "problem": "its directory is gone",
        },
    ]));
    insta::assert_snapshot!("worktrees", render::worktrees(&view(), &worktrees));
}

#[test]
fn providers_that_are_not_ready_say_why() {
    let providers: Vec<ProviderInfo> = read(json!([
        { "name": "shell", "description": "scripts for your shell", "available": true, "modes": ["default", "full-access"] },
        {
            "name": "claude", "description": "Claude Code", "available": false, "version": "2.1.0",
            "reason": "not logged in: run `claude /login`", "modes": ["plan", "default", "auto", "full-access", "claude:dontAsk"],
        },
    ]));
    insta::assert_snapshot!("providers", render::providers(&view(), &providers));
}

#[test]
fn the_daemon_is_shown_with_its_warnings() {
    let daemon = read(json!({
        "version": "0.1.0", "pid": 4711, "home": "/home/ann/.paseo", "listen": ["127.0.0.1:6767", "unix:/home/ann/.paseo/paseo.sock"],
        "startedAt": Timestamp(NOW.0 - 93_784_000), "agents": 5, "running": 2, "pendingPermissions": 1,
        "warnings": ["unknown setting `lisen` in config.json"],
    }));
    insta::assert_snapshot!("daemon", render::daemon(&view(), &daemon));
}

#[test]
fn every_outcome_has_a_line_and_an_exit_code() {
    let agents = agents();
    let mut text = String::new();
    let seen = Seen { exit_code: Some(2), usage: None, started_at: Some(NOW), ended_at: Some(NOW.plus(83_000)) };
    for outcome in ["completed", "error", "interrupted", "limit", "permission", "timed_out"] {
        let outcome: AgentOutcome = read(json!({
            "agentId": agents[0].agent_id, "status": "idle", "outcome": outcome, "reason": "because\nof it",
        }));
        let exit = Exit::of(&outcome);
        let line = render::summary(&view(), &outcome, &seen, Some(&agents[0]));
        text += &format!("{line}\n  exit {}, {exit:?}\n", exit as u8);
    }
    let plain: AgentOutcome = read(json!({
        "agentId": "reviewer", "status": "running", "usage": { "inputTokens": 999, "cachedTokens": 45_000, "outputTokens": 2_345_678, "costUsd": 1.256 },
    }));
    text += &render::summary(&view(), &plain, &Seen::default(), Some(&agents[1]));
    let turn = Seen { usage: Some(Usage { output_tokens: 7, cost_usd: Some(0.0123), ..Usage::default() }), ..seen };
    text += &format!("\n{}", render::summary(&view(), &plain, &turn, None));
    let quick = Seen { started_at: Some(NOW), ended_at: Some(NOW.plus(1_260)), ..Seen::default() };
    text += &format!("\n{}", render::summary(&view(), &plain, &quick, None));
    let unfinished = Seen { started_at: Some(NOW), ..Seen::default() };
    assert_eq!(unfinished.took(), None, "the clock here says nothing about a turn there");
    insta::assert_snapshot!("summary", text);
}

const NOW: Timestamp = Timestamp(1_760_000_000_000);

fn view() -> View {
    View { now: NOW, width: None, color: false, home: Some("/home/ann".to_owned()) }
}

fn agents() -> Vec<Agent> {
    read(json!([
        {
            "agentId": "0b8ee9b4-3c26-4b1d-9f3c-1c0c7ff3d6a1", "title": "make the login form work again on small screens",
            "provider": "claude/sonnet", "mode": "default", "cwd": "/home/ann/.paseo/worktrees/app-1a2b/feat-login",
            "worktree": {
                "branchName": "feat/login", "worktreePath": "/home/ann/.paseo/worktrees/app-1a2b/feat-login",
                "worktreeSlug": "feat-login", "baseBranch": "main",
            },
            "labels": { "sprint": "12", "who": "ann" }, "parent": "reviewer", "status": "waiting",
            "turn": { "turnId": "t1", "promptId": "p1", "startedAt": Timestamp(NOW.0 - 200_000) },
            "queued": ["p2"], "permissions": [script_permission("script", json!({ "command": "npm test" }))],
            "usage": { "inputTokens": 12_345, "cachedTokens": 1, "outputTokens": 678, "costUsd": 0.0512 },
            "pid": 4712, "lastSeq": 42, "createdAt": Timestamp(NOW.0 - 7_200_000), "updatedAt": Timestamp(NOW.0 - 61_000),
        },
        {
            "agentId": "reviewer", "title": "审查\u{1b}[31m 🚀\nnext", "provider": "shell", "mode": "full-access", "cwd": "/home/ann/app",
            "status": "error", "reason": "exit 2",
            "lastTurn": { "turnId": "t1", "promptId": "p1", "outcome": "error", "reason": "exit 2", "endedAt": Timestamp(NOW.0 - 90_000_000) },
            "lastMessage": "one\ntwo\n\u{7}bell\n", "lastSeq": 7,
            "createdAt": Timestamp(NOW.0 - 90_100_000), "updatedAt": Timestamp(NOW.0 - 90_000_000),
        },
        {
            "agentId": "old", "title": "", "provider": "shell", "mode": "default", "cwd": "/srv", "status": "archived", "lastSeq": 0,
            "createdAt": Timestamp(NOW.0), "updatedAt": Timestamp(NOW.0), "archivedAt": Timestamp(NOW.0),
        },
    ]))
}

fn script_permission(id: &str, input: Value) -> Permission {
    let options =
        if id == "tool" { json!([{ "optionId": "always", "label": "yes, and for the rest" }]) } else { json!([]) };
    read(json!({
        "requestId": id, "agentId": "0b8ee9b4-3c26-4b1d-9f3c-1c0c7ff3d6a1", "kind": "tool", "title": "run a script\u{7}",
        "description": (id == "tool").then_some("It wants\nto write"), "input": input, "options": options,
        "askedAt": Timestamp(NOW.0 - 61_000),
    }))
}

/// What Claude Code asks for.
pub(crate) fn asked() -> Vec<Permission> {
    let ask = |id: &str, kind: &str, title: &str, input: Value, options: Value| {
        read(json!({
            "requestId": id, "agentId": "0b8ee9b4-3c26-4b1d-9f3c-1c0c7ff3d6a1", "kind": kind, "title": title,
            "input": input, "options": options, "askedAt": Timestamp(NOW.0 - 61_000),
        }))
    };
    let always = |what: &str| json!([{ "optionId": "always", "label": format!("always allow `{what}`") }]);
    let long: String = (1..=60).map(|line| format!("line {line}\n")).collect();
    vec![
        ask(
            "bash",
            "tool",
            "Bash npm test",
            json!({ "command": "npm test &&\n  rm -rf /tmp/\u{1b}[8mx", "description": "Runs the tests", "timeout": 5000 }),
            always("npm test"),
        ),
        ask(
            "edit",
            "tool",
            "Edit src/a.rs",
            json!({
                "file_path": "/home/ann/app/src/a.rs", "replace_all": false,
                "old_string": "fn main() {\n    let a = 1;\n\tprint(a);\n    end();\n}\n",
                "new_string": "fn main() {\n    let a = 2;\n    let b = \u{202e}3;\n\tprint(a);\n    end();\n}\n",
            }),
            json!([]),
        ),
        ask("write", "tool", "Write notes.md", json!({ "file_path": "/srv/notes.md", "content": long }), json!([])),
        ask("mcp", "tool", "mcp__db__query", json!({ "sql": "DROP TABLE users", "database": "live" }), json!([])),
        ask(
            "plan",
            "plan",
            "carry out this plan",
            json!({ "plan": "# Plan\n\n1. Read `a.rs`\n2. \u{1b}]0;title\u{7}Fix it\n", "allowedPrompts": [{ "tool": "Bash", "prompt": "run tests" }] }),
            json!([{ "optionId": "auto", "label": "carry it out, editing without asking" }]),
        ),
        ask(
            "question",
            "question",
            "a question",
            json!({ "questions": [{
                "question": "Which color?", "header": "Color", "multiSelect": false,
                "options": [{ "label": "Blue", "description": "as the \u{1b}[2Jsky" }, { "label": "Dark red", "description": "" }],
            }] }),
            json!([]),
        ),
        ask(
            "questions",
            "question",
            "2 questions",
            json!({ "questions": [
                { "question": "Which port?", "header": "Port", "options": [{ "label": "3000", "description": "usual" }, { "label": "any" }] },
                {
                    "question": "Which parts?", "header": "Parts", "multiSelect": true,
                    "options": [{ "label": "Client" }, { "label": "Server" }, { "label": "Documents" }],
                },
            ] }),
            json!([]),
        ),
    ]
}

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("it is one")
}
