//! What a model reads of an agent: what matters first, and never more than it is allowed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use paseo_daemon::summary::{WHOLE, summarise};
use paseo_sdk::catalogue::{ArchiveAgent, GetAgentActivity, GetAgentStatus};
use paseo_sdk::item::{Content, Entry, Happening, Item, TodoEntry, TodoStatus, Tool, ToolCall, ToolStatus};
use paseo_sdk::machine::agent::{Agent as Machine, Memory, Progress};
use paseo_sdk::model::{
    Agent, ItemId, Mode, Outcome, Permission, PermissionKind, PromptId, Status, Timestamp, Turn, TurnEnd, TurnId, Usage,
};
use paseo_sdk::provider::Provider;
use paseo_sdk::provider::claude::Claude;
use paseo_sdk::provider::codex::Codex;
use paseo_sdk::provider::shell::Shell;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::agent::world::about;
use crate::lab::{Lab, processes_in};
use crate::{claude, codex, journal, shell};

fn agent() -> Agent {
    let memory = Memory { about: about(Mode::Default), progress: Progress::default() };
    Machine::restore(Shell.traits(), memory, []).view(0).agent
}

/// An agent whose turn has run for five minutes.
fn running() -> Agent {
    let turn = Turn { turn_id: TurnId::from("p1"), prompt_id: None, started_at: NOW.plus(-300_000) };
    Agent { status: Status::Running, turn: Some(turn), ..agent() }
}

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn entry(seq: i64, what: Happening) -> Entry {
    Entry { seq, at: NOW.plus(-60_000), turn_id: None, origin: None, what }
}

fn item(id: &str, parent: Option<&str>, content: Content) -> Item {
    Item { item_id: ItemId::from(id), parent_id: parent.map(ItemId::from), content }
}

fn closed(seq: i64, content: Content) -> Entry {
    entry(seq, Happening::ItemClosed { item: item(&format!("i{seq}"), None, content) })
}

fn call(title: &str, status: ToolStatus, output: &str) -> Content {
    Content::ToolCall(Box::new(ToolCall {
        tool: Tool::Shell,
        name: "Bash".to_owned(),
        title: title.to_owned(),
        status,
        input: serde_json::Value::Null,
        output: Some(output.to_owned()).filter(|output| !output.is_empty()),
        omitted_bytes: 0,
        exit_code: (status == ToolStatus::Failed).then_some(101),
        diff: None,
    }))
}

fn said(text: impl Into<String>) -> Content {
    Content::AssistantMessage { text: text.into() }
}

fn told(text: impl Into<String>) -> Content {
    Content::UserMessage { text: text.into(), images: 0 }
}

fn permission(id: &str, title: &str) -> Permission {
    Permission {
        request_id: id.into(),
        agent_id: "a1".parse().expect("an id"),
        kind: PermissionKind::Tool,
        title: title.to_owned(),
        description: Some("removes what was built".to_owned()),
        input: serde_json::Value::Null,
        options: Vec::new(),
        asked_at: NOW.plus(-20_000),
    }
}

#[test]
fn every_journal_is_summarised() {
    let one = |provider: &dyn Provider, entries: &[Entry]| {
        let last = entries.last().map_or(NOW, |entry| entry.at);
        let ended = entries.last().and_then(|entry| match &entry.what {
            Happening::TurnEnded { outcome, reason, .. } => Some((*outcome, reason.clone())),
            _ => None,
        });
        let last_turn = ended.map(|(outcome, reason)| TurnEnd {
            turn_id: TurnId::from("p1"),
            prompt_id: None,
            outcome,
            reason,
            message: None,
            usage: Usage::default(),
            ended_at: last,
        });
        let agent = Agent { last_turn, provider: provider.name().to_owned(), ..agent() };
        summarise(&agent, entries, &BTreeMap::new(), last.plus(90_500))
    };
    let all = |provider: &dyn Provider, accepted: fn(&[paseo_sdk::provider::Record]) -> Vec<_>| {
        let mut all = String::new();
        for (name, records) in journal::folder(provider.name()) {
            let entries = journal::fold(provider, &records, accepted(&records));
            writeln!(all, "### {name}\n{}\n", one(provider, &entries)).expect("a string takes everything");
        }
        all
    };
    insta::assert_snapshot!("journals_of_claude", all(&Claude, claude::journals::accepted));
    insta::assert_snapshot!("journals_of_codex", all(&Codex, codex::journals::accepted));
    insta::assert_snapshot!("journals_of_shell", all(&Shell, shell::accepted));
}

#[test]
fn what_matters_to_whoever_supervises_comes_first() {
    let todo = |text: &str, status| TodoEntry { text: text.to_owned(), status };
    let list = vec![
        todo("read the tests", TodoStatus::Completed),
        todo("mend the flaky one", TodoStatus::InProgress),
        todo("run them all", TodoStatus::Pending),
    ];
    let failed = "running 7 tests\ntest a ... ok\ntest b ... FAILED\nassertion failed: left == right";
    let entries = [
        closed(1, told("Mend the flaky test.\nThen run all of them.")),
        closed(2, said("I look at the tests first.")),
        closed(3, call("rg -n flaky", ToolStatus::Completed, "tests/a.rs:7: flaky")),
        closed(4, call("cargo test", ToolStatus::Failed, failed)),
        closed(5, Content::Todo { entries: list }),
        entry(6, Happening::ItemClosed { item: item("x", Some("i8"), call("ls", ToolStatus::Completed, "a b c")) }),
        closed(8, call("look around", ToolStatus::Completed, "nothing odd")),
        entry(9, Happening::Notice { text: "the model says nothing".to_owned() }),
        entry(10, Happening::ItemOpened { item: item("i10", None, call("cargo test b", ToolStatus::Running, "")) }),
    ];
    let open = [(ItemId::from("i10"), "compiling\ntest b ...".to_owned())].into();
    let agent = Agent {
        status: Status::Waiting,
        permissions: vec![permission("r1", "rm -rf target")],
        queued: vec!["p2".parse::<PromptId>().expect("an id")],
        ..running()
    };
    insta::assert_snapshot!(summarise(&agent, &entries, &open, NOW));
}

#[test]
fn the_newest_message_is_shown_in_full_and_older_things_shrink_first() {
    let long = |word: &str, bytes: usize| word.repeat(bytes / word.len());
    let mut entries = vec![closed(1, told("begin")), closed(2, said(format!("the very first {}", long("a ", 3000))))];
    for seq in 3..40 {
        entries.push(closed(seq, call(&format!("step {seq}"), ToolStatus::Completed, &long("noise ", 2000))));
    }
    let newest = format!("here it is: {}", long("é", 6000));
    entries.push(closed(40, said(newest.clone())));
    let text = summarise(&running(), &entries, &BTreeMap::new(), NOW);
    assert!(text.len() <= WHOLE && text.contains(&newest), "{text}");
    assert!(text.contains("Bash: step 3") && text.contains("the very first"), "{text}");
    assert!(!text.contains(&long("a ", 2900)), "{text}");

    // A giant leaves the others their place.
    entries.push(closed(41, said(long("ß", 1_000_000))));
    let text = summarise(&running(), &entries, &BTreeMap::new(), NOW);
    assert!(text.contains("here it is") && text.contains("bytes left out"), "{text}");
}

fn any_text() -> impl Strategy<Value = String> {
    let piece =
        prop_oneof!["[a-z ]{0,12}", Just("é\n".to_owned()), Just("🦀".to_owned()), Just("\u{1b}[0m\t".to_owned())];
    (piece, prop_oneof![0..4usize, 0..4usize, Just(9000)]).prop_map(|(piece, times)| piece.repeat(times))
}

fn any_entry() -> impl Strategy<Value = Happening> {
    let statuses = [ToolStatus::Completed, ToolStatus::Failed, ToolStatus::Denied, ToolStatus::Running];
    (0..8u8, any_text(), any_text(), 0..4usize, any::<bool>()).prop_map(move |(kind, one, other, status, below)| {
        let parent = below.then_some("i1");
        let close = |content| Happening::ItemClosed { item: item("i1", parent, content) };
        match kind {
            0 => close(told(one)),
            1 => close(said(one)),
            2 => close(call(&one, statuses[status], &other)),
            3 => Happening::Notice { text: one },
            4 => Happening::Error { text: one },
            5 => Happening::ItemOpened { item: item("i2", parent, call(&one, ToolStatus::Running, "")) },
            6 => close(Content::Todo {
                entries: vec![TodoEntry { text: one, status: TodoStatus::Pending }; 10 * status],
            }),
            _ => Happening::TurnEnded { outcome: Outcome::Error, reason: Some(one), usage: Usage::default() },
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_summary_is_longer_than_it_may_be_and_each_says_what_is_waited_for(
        happened in vec(any_entry(), 0..60),
        asked in vec((any_text(), any_text()), 0..40),
        (open, reason, place) in (any_text(), any_text(), any_text()),
    ) {
        let entries: Vec<_> = happened.into_iter().zip(1..).map(|(what, seq)| entry(seq, what)).collect();
        let mut permissions = vec![permission("the-first", "asks")];
        permissions.extend(asked.iter().map(|(id, title)| permission(id, title)));
        let agent = Agent { permissions, reason: Some(reason), cwd: place.clone(), provider: place, ..running() };
        let open = [(ItemId::from("i2"), open)].into();
        let text = summarise(&agent, &entries, &open, NOW);
        prop_assert!(text.len() <= WHOLE, "{} bytes", text.len());
        prop_assert!(text.starts_with("running, its turn for 5m now") && text.contains("permission the-first "));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_summarised_while_they_run_and_when_they_are_archived_and_are_not_woken_by_it() {
    let lab = Lab::new();
    let daemon = lab.daemon().await;
    let client = daemon.client();
    lab.fifo("gate");
    let script = "echo ready; read word < gate; for n in $(seq 4000); do echo \"line $n\"; done; echo the end; exit 3";
    let agent = client.create_agent(lab.script(script).in_background()).await.expect("it starts").agent_id;
    crate::daemon::watching::until_text(&client, &agent, "ready").await;
    let activity = async || {
        client.get_agent_activity(GetAgentActivity { agent_id: (&agent).into() }).await.expect("a summary").summary
    };
    let summary = activity().await;
    assert!(summary.starts_with("running, its turn for ") && summary.contains("\nnow, for "), "{summary}");
    assert!(summary.contains("ready") && summary.contains("task: echo ready; read word"), "{summary}");

    std::fs::write(lab.work().join("gate"), "go\n").expect("it reads");
    client.archive_agent(ArchiveAgent { agent_id: (&agent).into() }).await.expect("it goes");
    let summary = activity().await;
    assert!(summary.starts_with("archived ") && summary.len() <= WHOLE, "{summary}");
    let archived = client.get_agent_status(GetAgentStatus { agent_id: (&agent).into() }).await.expect("a status");
    assert_eq!((archived.status, archived.pid), (Status::Archived, None));
    assert_eq!(processes_in(&lab.work()), Vec::<String>::new());
    lab.end(&client).await;
}
