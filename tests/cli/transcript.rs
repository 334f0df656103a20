//! Transcripts: what is printed while an agent works, whatever arrives of what it says.

use paseo_cli::entry::Texts;
use paseo_cli::table::clean;
use paseo_cli::transcript::{Piece, Style, Transcript, Voice};
use paseo_sdk::item::{Entry, Happening, Item, ToolCall};
use paseo_sdk::model::{Delta, Event};
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn deltas_are_printed_as_they_come_and_the_closed_item_adds_the_rest() {
    let mut play = Play::script();
    play.start().open("i1", "make").text("i1", 0, "one\n").text("i1", 4, "tw").close("i1", "one\ntwo\nthree", 0);
    assert_eq!(play.stdout, "one\ntwo\nthree");
    assert_eq!(play.pieces, ["one\n", "tw", "o\nthree"]);
    assert_eq!(play.transcript.seen().exit_code, Some(0));
}

#[test]
fn a_hole_in_a_short_text_is_filled_by_the_closed_item() {
    let mut play = Play::script();
    play.start().open("i1", "make").text("i1", 0, "one\n").text("i1", 8, "three\n").close("i1", "one\ntwo\nthree\n", 0);
    assert_eq!(play.stdout, "one\ntwo\nthree\n");
}

#[test]
fn a_hole_in_a_long_text_is_said_and_what_follows_goes_on() {
    let (one, two) = ("1".repeat(60_000), "2".repeat(60_000));
    let mut play = Play::script();
    play.start().open("i1", "make").text("i1", 0, &one).text("i1", 90_000, &two).text("i1", 150_000, "end\n");
    assert_eq!(play.stdout, format!("{one}\n… 30000 bytes left out …\n{two}end\n"));
    let closed = ToolCall::shortened(&"1".repeat(32_768), 150_004 - 65_536, &(two[..32_764].to_owned() + "end\n"));
    play.close("i1", &closed, 150_004 - 65_536);
    assert!(play.stdout.ends_with("2end\n") && play.stdout.len() == 120_004 + "\n… 30000 bytes left out …\n".len());
}

#[test]
fn an_item_that_comes_whole_is_printed_whole() {
    let mut play = Play::script();
    play.start().close("i1", "all of it\n", 0);
    assert_eq!(play.stdout, "all of it\n");
}

#[test]
fn what_is_told_again_after_a_cut_is_printed_once() {
    let mut play = Play::script();
    play.start().open("i1", "make").text("i1", 0, "one\ntwo\n");
    let again = play.seq;
    play.text("i1", 0, "one\ntwo\n").text("i1", 4, "two\nthr").text("i1", 0, "one\ntwo\nthree\n");
    play.seq = again - 1;
    play.open("i1", "make").text("i1", 8, "three\n").close("i1", "one\ntwo\nthree\nfour\n", 0);
    play.seq -= 1;
    play.close("i1", "one\ntwo\nthree\nfour\n", 0);
    assert_eq!(play.stdout, "one\ntwo\nthree\nfour\n");
}

#[test]
fn output_that_is_no_text_or_paints_goes_to_a_file_as_it_is() {
    let odd = "\x1b[31mred\x1b[0m \u{fffd}\u{fffd} \0\r50%\r100%";
    let mut play = Play::script();
    play.start().open("i1", "make").text("i1", 0, "\x1b[31mre").close("i1", odd, 0);
    assert_eq!(play.stdout, odd);
}

#[test]
fn of_a_shortened_output_the_part_that_was_not_printed_is_printed() {
    // The text is a0…a9 b0…b9 c0…c9; of it 10 bytes in the middle are left out.
    let whole = "a123456789b123456789c123456789";
    let closed = ToolCall::shortened(&whole[..10], 10, &whole[20..]);
    let check = |printed: usize, expected: &str| {
        let mut play = Play::script();
        play.start().open("i1", "make").text("i1", 0, &whole[..printed]).close("i1", &closed, 10);
        assert_eq!(play.stdout, expected, "{printed} bytes were printed");
    };
    check(0, "a123456789\n… 10 bytes left out …\nc123456789");
    check(4, "a123456789\n… 10 bytes left out …\nc123456789");
    check(10, "a123456789\n… 10 bytes left out …\nc123456789");
    check(13, "a123456789b12\n… 7 bytes left out …\nc123456789");
    check(20, whole);
    check(25, whole);
    check(30, whole);
}

#[test]
fn only_the_turn_that_was_asked_for_is_shown() {
    let mut play = Play::new(Style::Plain, Voice::Messages, Some("p2"));
    play.turn = "t1".to_owned();
    play.entry(json!({ "type": "turn_started", "promptId": "p1" }))
        .say("m1", "an older turn")
        .entry(json!({ "type": "turn_ended", "outcome": "completed" }));
    assert!(!play.transcript.turn_ended());
    play.turn = "t2".to_owned();
    play.entry(json!({ "type": "turn_started", "promptId": "p2" })).say("m2", "this one");
    play.turn = "t1".to_owned();
    play.say("m3", "a late echo of the older turn");
    play.turn = "t2".to_owned();
    play.entry(json!({ "type": "turn_ended", "outcome": "completed" }));
    assert_eq!((play.stdout.as_str(), play.transcript.turn_ended()), ("this one\n", true));
}

#[test]
fn a_program_gets_only_the_agents_words_and_a_person_sees_its_work() {
    let work = |style| {
        let mut play = Play::new(style, Voice::Messages, None);
        play.start()
            .entry(json!({ "type": "item_closed", "item": { "itemId": "u1", "kind": "user_message", "text": "fix it" } }))
            .entry(json!({ "type": "item_opened", "item": { "itemId": "r1", "kind": "reasoning", "text": "" } }))
            .text("r1", 0, "Hmm, let me")
            .entry(json!({ "type": "item_closed", "item": { "itemId": "r1", "kind": "reasoning", "text": "Hmm, let me see." } }))
            .open("i1", "cargo test")
            .text("i1", 0, "running")
            .fail("i1", "cargo test", "running 1 test\nfailed")
            .entry(json!({ "type": "item_closed", "item": { "itemId": "x", "parentId": "i1", "kind": "assistant_message", "text": "for the agent only" } }))
            .entry(json!({ "type": "item_closed", "item": { "itemId": "l1", "kind": "todo", "entries": [
                { "text": "find it", "status": "completed" },
                { "text": "fix it", "status": "in_progress" },
                { "text": "test it", "status": "pending" },
            ] } }))
            .say("m1", "It is\nfixed.")
            .entry(json!({ "type": "notice", "text": "the model is not listed" }))
            .entry(json!({ "type": "turn_ended", "outcome": "limit", "reason": "100 turns" }));
        format!("{}---- on stderr\n{}", play.stdout, play.stderr)
    };
    insta::assert_snapshot!("plain", work(Style::Plain));
    insta::assert_snapshot!("rich", work(Style::Rich));
}

#[test]
fn the_turn_of_a_coding_agent_is_told_as_it_happens() {
    let mut play = coding(Style::Rich);
    insta::assert_snapshot!("coding", play.told());
    assert_eq!(play.transcript.seen().took(), Some((play.seq - 1) * 1500));
    assert_eq!(play.transcript.seen().usage.and_then(|usage| usage.cost_usd), Some(0.0123));
    play.turn = "t2".to_owned();
    play.start();
    assert_eq!(play.transcript.seen().took(), None, "the next turn has not ended");
}

#[test]
fn a_program_gets_nothing_of_tools_lists_and_diffs() {
    assert_eq!(coding(Style::Plain).told(), "I look first.\nDone.\n");
}

#[test]
fn results_that_come_late_say_again_whose_they_are() {
    let mut play = Play::new(Style::Rich, Voice::Messages, Some("p1"));
    play.start()
        .call("a", json!({ "name": "Bash", "title": "make a" }))
        .call("b", json!({ "name": "Bash", "title": "make b" }));
    play.done("a", json!({ "name": "Bash", "title": "make a", "output": "1\n2\n" }));
    play.done("b", json!({ "name": "Bash", "title": "make b", "status": "interrupted" }));
    insta::assert_snapshot!("late", play.told());
}

#[test]
fn a_to_do_list_is_told_whole_once_and_then_what_changes() {
    let mut play = Play::new(Style::Rich, Voice::Messages, Some("p1"));
    let list = |words: [&str; 3]| -> Vec<Value> {
        ["find", "fix", "test"]
            .iter()
            .zip(words)
            .map(|(text, status)| json!({ "text": text, "status": status }))
            .collect()
    };
    play.start().todo("l1", list(["in_progress", "pending", "pending"]));
    play.todo("l2", list(["in_progress", "pending", "pending"]));
    play.todo("l3", list(["completed", "in_progress", "pending"]));
    play.todo("l3", Vec::new());
    insta::assert_snapshot!("todo", play.told());
}

#[test]
fn logs_show_changes_and_lists() {
    let mut text = String::new();
    let mut texts = Texts::default();
    for event in &coding(Style::Rich).events {
        if let Event::AgentEntry { entry, .. } = event
            && let Some(Piece::Text(piece)) = texts.entry(entry)
        {
            text += &piece;
        }
    }
    insta::assert_snapshot!("logs_coding", text);
}

#[test]
fn logs_show_each_entry_with_its_time_and_grow_while_it_works() {
    let entries = |live: bool| {
        let mut texts = Texts::default();
        let mut text = String::new();
        let mut play = Play::script();
        let add = |pieces: Vec<Piece>| {
            pieces.into_iter().map(|piece| match piece {
                Piece::Text(text) | Piece::Aside(text) | Piece::Note(_, text) => text,
            })
        };
        if live {
            text.extend(add(texts.go_live()));
        }
        play.start().open("i1", "make").text("i1", 0, "one\ntw");
        play.open("i2", "make other").text("i2", 0, "other\n").text("i1", 6, "o\n");
        play.fail("i1", "make", "one\ntwo\nthree").close("i2", "other\nlast\n", 0).say("m1", "Done.");
        play.entry(json!({ "type": "error", "text": "it went\nwrong" }));
        play.entry(json!({ "type": "turn_ended", "outcome": "error", "reason": "exit 2", "usage": { "inputTokens": 12000, "outputTokens": 7, "costUsd": 0.1 } }));
        for event in &play.events {
            let piece = match event {
                Event::AgentEntry { entry, .. } => texts.entry(entry),
                Event::AgentText { delta, .. } if live => texts.delta(delta),
                _ => None,
            };
            text.extend(add(piece.into_iter().collect()));
        }
        text
    };
    insta::assert_snapshot!("logs", entries(false));
    insta::assert_snapshot!("logs_follow", entries(true));
}

proptest! {
    /// Whatever arrives of a text, early, twice or not at all: a short one is printed whole and once.
    #[test]
    fn a_short_text_is_printed_whole_and_once(
        text in "[a-zé\n]{0,60}",
        cuts in proptest::collection::vec((0usize..80, 0usize..80), 0..12),
    ) {
        let boundary = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        let mut play = Play::script();
        play.start().open("i1", "make");
        for (from, length) in cuts {
            let (from, to) = (boundary(from), boundary(from.saturating_add(length)));
            if from < to {
                play.text("i1", from, &text[from..to]);
            }
        }
        play.close("i1", &text, 0);
        prop_assert_eq!(&play.stdout, &text);
    }
}

/// A turn with everything that a coding agent does.
fn coding(style: Style) -> Play {
    let mut play = Play::new(style, Voice::Messages, Some("p1"));
    let diff = "--- a/src/a.rs\n+++ b/src/a.rs\n@@ -9,4 +9,5 @@ fn main() {\n \tlet a = 1;\n-\told(\u{1b}[2J);\n+\tnew();\n+\tmore();\n \n }\n";
    let long: String = (1..=50).map(|line| format!("+line {line}\n")).collect();
    let edit = |more: Value| merged(json!({ "tool": "edit", "name": "Edit", "title": "src/a.rs" }), more);
    play.start()
        .entry(json!({ "type": "item_opened", "item": { "itemId": "m1", "kind": "assistant_message", "text": "" } }))
        .text("m1", 0, "I look ")
        .text("m1", 7, "first.")
        .say("m1", "I look first.")
        .call("r1", json!({ "tool": "read", "name": "Read", "title": "src/a.rs" }))
        .done("r1", json!({ "tool": "read", "name": "Read", "title": "src/a.rs", "output": "fn main() {}" }))
        .todo("l1", vec![json!({ "text": "fix\nit", "status": "in_progress" })])
        .call("e1", edit(json!({})))
        .done("e1", edit(json!({ "diff": diff, "output": "The file was updated." })))
        .done("w1", json!({ "tool": "write", "name": "Write", "title": "b.txt", "diff": format!("@@ -0,0 +1,50 @@\n{long}") }))
        .call("b1", json!({ "name": "Bash", "title": "npm test &&\n\u{1b}[31mnpm run" }))
        .done("b1", json!({ "name": "Bash", "title": "npm test &&\nnpm run", "output": "one\ntwo\n", "exitCode": 0 }))
        .call("b2", json!({ "name": "Bash", "title": "npm run lint" }))
        .done("b2", json!({ "name": "Bash", "title": "npm run lint", "status": "failed", "output": "1\n2\n3\n4\n5\nbad\n", "exitCode": 2 }))
        .call("b3", json!({ "name": "Bash", "title": "git push" }))
        .done("b3", json!({ "name": "Bash", "title": "git push", "status": "denied", "output": "not today" }))
        .call("s1", json!({ "tool": "sub_agent", "name": "Task", "title": "look for callers" }))
        .call("s2", json!({ "tool": "search", "name": "Grep", "title": "old\\(", "parentId": "s1" }))
        .done("s2", json!({ "tool": "search", "name": "Grep", "title": "old\\(", "parentId": "s1", "output": "none" }))
        .entry(json!({ "type": "item_closed", "item": { "itemId": "s3", "parentId": "s1", "kind": "assistant_message", "text": "for the agent only" } }))
        .todo("l2", vec![json!({ "text": "fix\nit", "status": "in_progress" })]);
    play.seq += 20;
    play.done("s1", json!({ "tool": "sub_agent", "name": "Task", "title": "look for callers", "output": "none" }))
        .todo("l3", vec![json!({ "text": "fix\nit", "status": "completed" })])
        .say("m2", "Done.")
        .entry(
            json!({ "type": "turn_ended", "outcome": "completed", "usage": { "outputTokens": 7, "costUsd": 0.0123 } }),
        );
    play
}

/// Plays events to a transcript, and keeps what it prints.
struct Play {
    transcript: Transcript,
    events: Vec<Event>,
    turn: String,
    seq: i64,
    pieces: Vec<String>,
    /// Everything, as it looks where both outputs are one terminal.
    terminal: String,
    stdout: String,
    stderr: String,
}

impl Play {
    fn new(style: Style, voice: Voice, only: Option<&str>) -> Play {
        Play {
            transcript: Transcript::new(style, voice, only.map(|only| only.parse().expect("an id"))),
            events: Vec::new(),
            turn: "t1".to_owned(),
            seq: 0,
            pieces: Vec::new(),
            terminal: String::new(),
            stdout: String::new(),
            stderr: String::new(),
        }
    }

    fn script() -> Play {
        Play::new(Style::Plain, Voice::Script, Some("p1"))
    }

    fn start(&mut self) -> &mut Play {
        self.entry(json!({ "type": "turn_started", "promptId": "p1" }))
    }

    fn open(&mut self, id: &str, title: &str) -> &mut Play {
        self.entry(json!({ "type": "item_opened", "item": call(id, title, "running", None, 0, None) }))
    }

    fn close(&mut self, id: &str, output: &str, omitted: i64) -> &mut Play {
        let item = call(id, "make", "completed", Some(output), omitted, Some(0));
        self.entry(json!({ "type": "item_closed", "item": item }))
    }

    fn fail(&mut self, id: &str, title: &str, output: &str) -> &mut Play {
        self.entry(json!({ "type": "item_closed", "item": call(id, title, "failed", Some(output), 0, Some(2)) }))
    }

    fn call(&mut self, id: &str, more: Value) -> &mut Play {
        self.entry(
            json!({ "type": "item_opened", "item": merged(json!(call(id, "", "running", None, 0, None)), more) }),
        )
    }

    fn done(&mut self, id: &str, more: Value) -> &mut Play {
        self.entry(
            json!({ "type": "item_closed", "item": merged(json!(call(id, "", "completed", None, 0, None)), more) }),
        )
    }

    fn todo(&mut self, id: &str, entries: Vec<Value>) -> &mut Play {
        self.entry(json!({ "type": "item_closed", "item": { "itemId": id, "kind": "todo", "entries": entries } }))
    }

    /// Returns what there was to see, with the color of each note before it.
    fn told(&self) -> &str {
        &self.terminal
    }

    fn say(&mut self, id: &str, text: &str) -> &mut Play {
        let item = json!({ "itemId": id, "kind": "assistant_message", "text": text });
        self.entry(json!({ "type": "item_closed", "item": item }))
    }

    fn entry(&mut self, what: Value) -> &mut Play {
        self.seq += 1;
        let what: Happening = serde_json::from_value(what).expect("an entry");
        let at = paseo_sdk::model::Timestamp(1_700_000_000_000 + self.seq * 1500);
        let entry = Entry { seq: self.seq, at, turn_id: Some(self.turn.as_str().into()), origin: None, what };
        self.feed(Event::AgentEntry { agent_id: "a1".parse().expect("an id"), entry: Box::new(entry) })
    }

    fn text(&mut self, id: &str, offset: usize, text: &str) -> &mut Play {
        let offset = i64::try_from(offset).expect("small");
        let delta = Delta { item_id: id.into(), offset, text: text.to_owned() };
        self.feed(Event::AgentText { agent_id: "a1".parse().expect("an id"), delta })
    }

    fn feed(&mut self, event: Event) -> &mut Play {
        for piece in self.transcript.feed(&event) {
            match piece {
                Piece::Text(text) | Piece::Aside(text) => {
                    self.terminal += &text;
                    self.stdout += &text;
                    self.pieces.push(text);
                }
                Piece::Note(color, line) => {
                    let mark = format!("{color:?}");
                    line.lines().for_each(|line| self.terminal += &format!("{mark:8}{}\n", clean(line)));
                    self.stderr += &format!("{line}\n");
                }
            }
        }
        self.events.push(event);
        self
    }
}

fn merged(mut value: Value, more: Value) -> Value {
    let fields = value.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    value
}

fn call(id: &str, title: &str, status: &str, output: Option<&str>, omitted: i64, code: Option<i64>) -> Item {
    let item = json!({
        "itemId": id, "kind": "tool_call", "tool": "shell", "name": "shell", "title": title,
        "status": status, "output": output, "omittedBytes": omitted, "exitCode": code,
    });
    serde_json::from_value(item).expect("an item")
}
