//! The laws of answers that are too long for a model.

use std::collections::BTreeSet;

use paseo_daemon::mcp::bound::{LONGEST, bound};
use paseo_sdk::catalogue::{OPERATIONS, tool};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn length(answer: &Value) -> usize {
    answer.to_string().len()
}

fn arguments(arguments: Value) -> Map<String, Value> {
    arguments.as_object().cloned().expect("an object")
}

fn usage() -> Value {
    json!({ "inputTokens": 1, "cachedTokens": 2, "outputTokens": 3 })
}

/// An entry in which a command has printed so much.
fn entry(seq: i64, printed: usize) -> Value {
    let call = json!({ "itemId": format!("i{seq}"), "kind": "tool_call", "tool": "shell", "name": "Bash", "title": "make",
        "status": "completed", "input": { "command": "make" }, "output": format!("{}\n", "ü".repeat(49)).repeat(printed / 99) });
    json!({ "seq": seq, "at": "2026-01-01T00:00:00Z", "type": "item_closed", "item": call })
}

/// What the daemon answers of a timeline with these entries.
fn page(entries: &[Value], asked: &Map<String, Value>) -> Value {
    let at = |name: &str| asked.get(name).and_then(Value::as_i64);
    let limit = usize::try_from(at("limit").unwrap_or(100)).expect("a number");
    let seq = |entry: &Value| entry["seq"].as_i64().expect("a number");
    let last = entries.last().map_or(0, seq);
    let (after, before) = (at("after"), at("before").unwrap_or(i64::MAX));
    let fits: Vec<_> = entries.iter().filter(|entry| seq(entry) > after.unwrap_or(0) && seq(entry) < before).collect();
    let more = fits.len() > limit;
    let from = if after.is_some() { 0 } else { fits.len().saturating_sub(limit) };
    let shown: Vec<_> = fits.into_iter().skip(from).take(limit).collect();
    json!({ "entries": shown, "more": more, "lastSeq": last })
}

/// Reads a whole timeline by what the tool answers, in one direction.
fn read_all(entries: &[Value], forwards: bool) -> Vec<i64> {
    let mut asked = arguments(if forwards { json!({ "after": 0 }) } else { json!({}) });
    let mut seen = Vec::new();
    loop {
        let answer = bound("get_agent_timeline", &asked, page(entries, &asked));
        assert!(length(&answer) <= LONGEST, "{}", length(&answer));
        let numbers: Vec<_> =
            answer["entries"].as_array().into_iter().flatten().filter_map(|entry| entry["seq"].as_i64()).collect();
        assert!(numbers.is_sorted());
        seen.extend(&numbers);
        if answer["more"] == false {
            return seen;
        }
        match forwards {
            true => asked.insert("after".to_owned(), json!(numbers.last().expect("a page has an entry"))),
            false => asked.insert("before".to_owned(), json!(numbers.first().expect("a page has an entry"))),
        };
    }
}

#[test]
fn paging_through_a_timeline_yields_every_entry_once_whatever_its_size() {
    let config = ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() };
    let sizes =
        prop::collection::vec(prop_oneof![4 => 0..400_usize, 2 => 400..9_000_usize, 1 => 9_000..100_000_usize], 0..40);
    proptest!(config, |(sizes in sizes)| {
        let entries: Vec<_> = (1..).zip(&sizes).map(|(seq, printed)| entry(seq, *printed)).collect();
        let all: BTreeSet<i64> = (1..).take(sizes.len()).collect();
        for forwards in [true, false] {
            let seen = read_all(&entries, forwards);
            prop_assert_eq!(seen.len(), all.len());
            prop_assert_eq!(&seen.into_iter().collect::<BTreeSet<_>>(), &all);
        }
    });
}

#[test]
fn a_short_answer_is_not_touched() {
    let entries: Vec<_> = (1..40).map(|seq| entry(seq, 800)).collect();
    let whole = page(&entries, &Map::new());
    assert!(length(&whole) < LONGEST);
    assert_eq!(bound("get_agent_timeline", &Map::new(), whole.clone()), whole);
}

#[test]
fn a_long_entry_keeps_its_ends_beside_others_and_more_of_it_is_shown_alone() {
    let entries: Vec<_> = (1..4).map(|seq| entry(seq, 60_000)).collect();
    let several = bound("get_agent_timeline", &Map::new(), page(&entries, &Map::new()));
    assert_eq!(several["entries"].as_array().map(Vec::len), Some(3));
    let output = several["entries"][1]["item"]["output"].as_str().expect("a text");
    assert!(output.starts_with("üü") && output.ends_with("üü\n") && output.len() < 8 << 10, "{output}");
    let omitted = several["entries"][1]["item"]["omittedBytes"].as_i64().expect("a number");
    assert!(output.contains(&format!("\n… {omitted} bytes left out …\n")), "{output}");
    assert_eq!(
        several["advice"],
        "where bytes are left out, more is shown of an entry by `limit: 1` and, as `after`, the number before its own"
    );
    let asked = arguments(json!({ "after": 1, "limit": 1 }));
    let alone = bound("get_agent_timeline", &asked, page(&entries, &asked));
    let output = alone["entries"][0]["item"]["output"].as_str().expect("a text");
    assert!(output.len() > 16_000, "{}", output.len());
    assert_eq!(
        alone["advice"],
        "this entry is longer than an answer may be; in a shell, `paseo logs --json` has all of it"
    );
}

#[test]
fn what_does_not_fit_on_a_page_is_said_with_where_to_go_on() {
    let entries: Vec<_> = (1..=20).map(|seq| entry(seq, 7_000)).collect();
    let newest = bound("get_agent_timeline", &Map::new(), page(&entries, &Map::new()));
    let first = newest["entries"][0]["seq"].as_i64().expect("a number");
    let count = newest["entries"].as_array().expect("entries").len();
    assert_eq!(newest["advice"], format!("only {count} entries fit; `before: {first}` has those before them"));
    assert_eq!((&newest["more"], &newest["lastSeq"]), (&json!(true), &json!(20)));
}

fn agent(number: usize, said: usize) -> Value {
    json!({ "agentId": format!("{number:08}-0000-4000-8000-000000000000"), "title": "a task", "provider": "claude/sonnet",
        "mode": "default", "cwd": "/home/me/project", "status": "idle", "lastMessage": "word ".repeat(said / 5),
        "lastTurn": { "turnId": "t", "outcome": "completed", "message": "word ".repeat(said / 5), "usage": usage(),
            "endedAt": "2026-01-01T00:00:00Z" },
        "usage": usage(), "lastSeq": 7, "createdAt": format!("2026-01-01T00:00:{:02}.123Z", 59 - number % 60),
        "updatedAt": "2026-01-01T00:00:00Z" })
}

#[test]
fn the_next_page_of_agents_begins_after_the_last_that_fits() {
    let agents: Vec<_> = (0..40).map(|number| agent(number, 4_000)).collect();
    let answer = bound("list_agents", &Map::new(), json!({ "agents": agents, "nextCursor": "further on" }));
    assert!(length(&answer) <= LONGEST);
    let shown = answer["agents"].as_array().expect("agents");
    assert!(shown.len() > 15 && shown.len() < 60, "{}", shown.len());
    let last = shown.last().expect("one");
    let at = 1_767_225_600_123 + (59 - (i64::try_from(shown.len()).expect("few") - 1)) * 1000;
    assert_eq!(answer["nextCursor"], format!("{at}.{}", last["agentId"].as_str().expect("an id")));
    // All of them fit when they say less.
    let agents: Vec<_> = (0..40).map(|number| agent(number, 100)).collect();
    let whole = json!({ "agents": agents, "nextCursor": "further on" });
    assert_eq!(bound("list_agents", &Map::new(), whole.clone()), whole);
}

#[test]
fn what_an_agent_said_last_stays_whole_beside_many_others() {
    let said = "the end ".repeat(4_000);
    let agents: Vec<_> = (0..300).map(|number| agent(number, 4_000)).collect();
    let answer = json!({ "agentId": "a", "status": "idle", "outcome": "completed", "lastMessage": said, "usage": usage(),
        "agents": agents });
    let answer = bound("wait_for_agent", &Map::new(), answer);
    assert!(length(&answer) <= LONGEST);
    assert_eq!(answer["lastMessage"], said);
    let left = 300 - answer["agents"].as_array().expect("agents").len();
    assert_eq!(
        answer["advice"],
        format!("this was too long, and {left} of 300 `agents` are left out; `get_agent_status` shows each agent")
    );
}

#[test]
fn every_answer_is_bounded_and_still_what_its_schema_says() {
    let words = json!("some words ".repeat(6_000));
    let many: Vec<_> = (0..200).map(|number| json!({ "number": number, "text": "x".repeat(40) })).collect();
    let permission = json!({ "requestId": "r", "agentId": "a", "kind": "tool", "title": words, "description": words,
        "input": { "plan": words, "many": many }, "options": [], "askedAt": "2026-01-01T00:00:00Z" });
    let mut large = agent(1, 200_000);
    large["permissions"] = vec![permission.clone(); 8].into();
    large["labels"] =
        (0..2_000).map(|number| (format!("label {number}"), json!("value"))).collect::<Map<_, _>>().into();
    large["queued"] = vec!["a prompt"; 3_000].into();
    let mut waited = json!({ "agentId": "a", "status": "idle", "usage": usage(), "lastMessage": words });
    waited["agents"] = vec![large.clone(); 6].into();
    waited["permissions"] = vec![permission.clone(); 20].into();
    for (operation, answer) in [
        ("get_agent_status", large.clone()),
        ("list_agents", json!({ "agents": vec![large.clone(); 6] })),
        ("list_pending_permissions", json!({ "permissions": vec![permission; 40] })),
        ("wait_for_agent", waited),
        (
            "get_agent_timeline",
            json!({ "entries": [{ "seq": 1, "at": "2026-01-01T00:00:00Z", "type": "notice", "text": words }], "more": false, "lastSeq": 1 }),
        ),
    ] {
        let bounded = bound(operation, &Map::new(), answer);
        assert!(length(&bounded) <= LONGEST, "{operation}: {}", length(&bounded));
        assert!(bounded["advice"].is_string(), "{operation}");
        let schema =
            jsonschema::validator_for(&tool(operation).expect("an operation").output_schema).expect("a schema");
        let faults: Vec<_> = schema.iter_errors(&bounded).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{operation}: {faults:#?}");
    }
}

#[test]
fn what_is_no_answer_of_an_operation_is_bounded_too() {
    for (operation, _) in OPERATIONS {
        for odd in [
            json!("text ".repeat(50_000)),
            json!(vec!["text"; 50_000]),
            json!({ "entries": 5, "agents": "x".repeat(99_999) }),
        ] {
            assert!(length(&bound(operation, &Map::new(), odd)) <= LONGEST, "{operation}");
        }
    }
}
