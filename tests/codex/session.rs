//! What a session makes of what the program says at an awkward moment.

use paseo_sdk::item::{Content, Item};
use paseo_sdk::model::{Behavior, Decision, Mode, Outcome, Prompt, RequestId};
use paseo_sdk::provider::codex::Codex;
use paseo_sdk::provider::{Event, Exit, Line, Provider, Record, Session, Step, Tell, TellId, Unsaid, What};
use serde_json::{Value, json};

use crate::agent::world::about;

/// A session and its program, which is ready.
struct Talk {
    session: Box<dyn Session>,
    seq: i64,
}

impl Talk {
    fn new(mode: Mode) -> Talk {
        let spec = about(mode).spec();
        let mut talk = Talk { session: Codex.session(&spec), seq: 0 };
        talk.read(What::Launched { pid: 1, start_time: 1, setup: Codex.launch(&spec, None).setup });
        talk.answers("paseo.initialize", &json!({}));
        talk.answers("paseo.account", &json!({}));
        talk.answers("paseo.sandbox", &json!({ "exitCode": 0 }));
        talk.answers("paseo.thread", &json!({ "thread": { "id": "h1" }, "model": "m" }));
        talk.answers("paseo.settings", &json!({}));
        talk
    }

    /// One in which a turn runs for the prompt `prompt.p1`.
    fn busy(mode: Mode) -> Talk {
        let mut talk = Talk::new(mode);
        talk.tell("prompt.p1", &prompt("go"));
        talk.answers("prompt.p1", &json!({ "turn": { "id": "T1" } }));
        talk.notifies("turn/started", &json!({ "turn": { "id": "T1" } }));
        talk
    }

    /// Goes on with the summary of this moment.
    fn carried(self) -> Talk {
        let mut heir = Talk { session: Codex.session(&about(Mode::Default).spec()), seq: self.seq };
        assert_eq!(heir.read(What::Carried(self.session.summary())), []);
        heir
    }

    fn read(&mut self, what: What) -> Vec<Step> {
        self.seq += 1;
        self.session.read(&Record { seq: self.seq, at: 0, what })
    }

    fn phrase(&self, id: &str, tell: &Tell) -> String {
        self.session.phrase(&TellId(id.to_owned()), tell).expect("it has words for it")
    }

    fn tell(&mut self, id: &str, tell: &Tell) -> Vec<Event> {
        let line = self.phrase(id, tell);
        self.arrives(id, line)
    }

    /// The program is told a line.
    fn arrives(&mut self, id: &str, line: String) -> Vec<Event> {
        events(self.read(What::Told { id: TellId(id.to_owned()), line }))
    }

    fn says(&mut self, line: &Value) -> Vec<Event> {
        events(self.read(What::Said(Line::Text(line.to_string()))))
    }

    /// Returns what the session says by itself after the program says a line, and what happened.
    fn draws(&mut self, line: &Value) -> (Vec<Value>, Vec<Event>) {
        let steps = self.read(What::Said(Line::Text(line.to_string())));
        let said = steps.iter().filter_map(|step| match step {
            Step::Say(line) => Some(serde_json::from_str(line).expect("a line of JSON")),
            Step::Event(_) => None,
        });
        (said.collect(), events(steps))
    }

    fn answers(&mut self, id: &str, result: &Value) -> Vec<Event> {
        self.says(&json!({ "id": id, "result": result }))
    }

    fn refuses(&mut self, id: &str, message: &str) -> Vec<Event> {
        self.says(&json!({ "id": id, "error": { "code": -32600, "message": message } }))
    }

    fn notifies(&mut self, method: &str, params: &Value) -> Vec<Event> {
        self.says(&json!({ "method": method, "params": params }))
    }

    fn completes(&mut self, turn: &str, status: &str) -> Vec<Event> {
        self.notifies("turn/completed", &json!({ "turn": { "id": turn, "status": status } }))
    }
}

/// Returns what happened, but for whether the model is to be heard from.
fn events(steps: Vec<Step>) -> Vec<Event> {
    let event = |step| match step {
        Step::Event(Event::Expecting(_)) | Step::Say(_) => None,
        Step::Event(event) => Some(event),
    };
    steps.into_iter().filter_map(event).collect()
}

fn prompt(text: &str) -> Tell {
    Tell::Prompt(Prompt { text: text.to_owned(), ..Prompt::default() })
}

fn tell_id(id: &str) -> TellId {
    TellId(id.to_owned())
}

fn is_end(event: &Event, outcome: Outcome) -> bool {
    matches!(event, Event::TurnEnded(ending) if ending.outcome == outcome)
}

#[test]
fn nothing_is_taken_or_ended_that_was_not_told() {
    let mut talk = Talk::new(Mode::Default);
    assert_eq!(talk.answers("interrupt.p1", &json!({})), []);
    talk.tell("prompt.p1", &prompt("go"));
    assert_eq!(talk.answers("prompt.p9", &json!({ "turn": { "id": "T9" } })), []);
    assert_eq!(talk.says(&json!({ "method": "turn/completed" })), []);
    let taken = talk.answers("prompt.p1", &json!({ "turn": { "id": "T1" } }));
    assert_eq!(taken, [Event::Delivered(tell_id("prompt.p1")), Event::TurnStarted(Some(tell_id("prompt.p1")))]);
}

#[test]
fn a_turn_that_begins_before_its_prompt_is_answered_is_that_of_the_prompt() {
    let mut talk = Talk::new(Mode::Default);
    talk.tell("prompt.p1", &prompt("go"));
    let begun = talk.notifies("turn/started", &json!({ "turn": { "id": "T1" } }));
    let p1 = || tell_id("prompt.p1");
    assert_eq!(begun[..2], [Event::Delivered(p1()), Event::TurnStarted(Some(p1()))]);
    assert_eq!(talk.answers("prompt.p1", &json!({ "turn": { "id": "T1" } })), []);
    assert!(is_end(&talk.completes("T1", "completed")[0], Outcome::Completed));
}

#[test]
fn a_prompt_that_arrives_after_a_turn_has_begun_by_itself_joins_that() {
    let mut talk = Talk::new(Mode::Default);
    let line = talk.phrase("prompt.p1", &prompt("go"));
    talk.notifies("turn/started", &json!({ "turn": { "id": "T1" } }));
    talk.arrives("prompt.p1", line);
    let taken = talk.answers("prompt.p1", &json!({ "turn": { "id": "T1" } }));
    assert_eq!(taken, [Event::Delivered(tell_id("prompt.p1")), Event::Joined(tell_id("prompt.p1"))]);
}

#[test]
fn a_prompt_that_arrives_in_a_turn_and_is_read_behind_it_has_its_own() {
    let mut talk = Talk::new(Mode::Default);
    let line = talk.phrase("prompt.p1", &prompt("go"));
    talk.notifies("turn/started", &json!({ "turn": { "id": "T1" } }));
    talk.arrives("prompt.p1", line);
    talk.completes("T1", "completed");
    let taken = talk.answers("prompt.p1", &json!({ "turn": { "id": "T2" } }));
    assert_eq!(taken, [Event::Delivered(tell_id("prompt.p1")), Event::TurnStarted(Some(tell_id("prompt.p1")))]);
    talk.notifies("turn/started", &json!({ "turn": { "id": "T2" } }));
    assert!(is_end(&talk.completes("T2", "completed")[0], Outcome::Completed));
}

#[test]
fn a_stop_that_arrives_after_its_turn_does_not_stop_the_next_one() {
    let mut talk = Talk::busy(Mode::Default);
    let line = talk.phrase("interrupt.p1", &Tell::Interrupt {});
    talk.completes("T1", "completed");
    talk.tell("prompt.p2", &prompt("more"));
    talk.answers("prompt.p2", &json!({ "turn": { "id": "T2" } }));
    talk.notifies("turn/started", &json!({ "turn": { "id": "T2" } }));
    assert_eq!(talk.arrives("interrupt.p1", line), [Event::Delivered(tell_id("interrupt.p1"))]);
    assert_eq!(talk.refuses("interrupt.p1", "expected active turn id"), []);
    assert!(is_end(&talk.completes("T2", "completed")[0], Outcome::Completed));
}

#[test]
fn an_item_ends_once() {
    let mut talk = Talk::busy(Mode::Default);
    let message = json!({ "type": "agentMessage", "id": "i1", "text": "hello" });
    let ended = json!({ "turnId": "T1", "item": message });
    assert_eq!(talk.notifies("item/completed", &ended), []);
    talk.notifies("item/started", &ended);
    assert!(matches!(talk.notifies("item/completed", &ended)[..], [Event::Closed(_)]));
    assert_eq!(talk.notifies("item/completed", &ended), []);
}

#[test]
fn what_was_streamed_is_not_taken_back_by_an_end_that_says_nothing() {
    let mut talk = Talk::busy(Mode::Default);
    let item = json!({ "turnId": "T1", "item": { "type": "reasoning", "id": "i1", "summary": [], "content": [] } });
    talk.notifies("item/started", &item);
    talk.notifies("item/reasoning/textDelta", &json!({ "turnId": "T1", "itemId": "i1", "delta": "well" }));
    let ended = talk.notifies("item/completed", &item);
    let [Event::Closed(item)] = &ended[..] else { panic!("it ended: {ended:?}") };
    assert_eq!(item.content, Content::Reasoning { text: "well".to_owned() });
}

/// Ends a turn with a plan, which waits for a person.
fn planned() -> Talk {
    let mut talk = Talk::busy(Mode::Plan);
    let plan = json!({ "turnId": "T1", "item": { "type": "plan", "id": "i1", "text": "first this, then that" } });
    talk.notifies("item/started", &plan);
    talk.notifies("item/completed", &plan);
    assert!(matches!(talk.completes("T1", "completed")[..], [Event::Asked(_)]));
    talk
}

#[test]
fn a_plan_is_asked_about_no_more_when_the_process_has_ended() {
    let mut talk = planned();
    let ended = events(talk.read(What::Exited(Exit::default())));
    assert!(ended.contains(&Event::Withdrawn(RequestId::from("plan.T1"))), "{ended:?}");
}

#[test]
fn an_answer_to_a_plan_that_nothing_waits_for_any_more_is_taken() {
    let mut talk = planned();
    let decision =
        Decision { behavior: Behavior::Allow, option_id: None, message: None, updated_input: None, interrupt: false };
    let answer = talk.phrase("answer.1", &Tell::Answer { request_id: RequestId::from("plan.T1"), decision });
    talk.tell("interrupt.p1", &Tell::Interrupt {});
    assert_eq!(talk.arrives("answer.1", answer), [Event::Delivered(tell_id("answer.1"))]);
}

#[test]
fn what_a_sub_agent_no_longer_asks_is_withdrawn() {
    let mut talk = Talk::busy(Mode::Default);
    let params = json!({ "threadId": "h2", "turnId": "T7", "itemId": "i1", "command": "ls" });
    let method = "item/commandExecution/requestApproval";
    assert!(matches!(talk.says(&json!({ "id": 4, "method": method, "params": params }))[..], [Event::Asked(_)]));
    let resolved = talk.notifies("serverRequest/resolved", &json!({ "threadId": "h2", "requestId": 4 }));
    assert_eq!(resolved, [Event::Withdrawn(RequestId::from("4"))]);
}

#[test]
fn a_change_that_an_answer_brought_is_known_after_a_summary() {
    let mut talk = Talk::busy(Mode::Default);
    let patch = json!({ "type": "fileChange", "id": "i1", "changes": [], "status": "inProgress" });
    talk.notifies("item/started", &json!({ "turnId": "T1", "item": patch }));
    let params = json!({ "turnId": "T1", "itemId": "i1" });
    talk.says(&json!({ "id": 0, "method": "item/fileChange/requestApproval", "params": params }));
    let decision = Decision {
        behavior: Behavior::Allow,
        option_id: Some("auto".to_owned()),
        message: None,
        updated_input: None,
        interrupt: false,
    };
    talk.tell("answer.1", &Tell::Answer { request_id: RequestId::from("0"), decision });
    talk.completes("T1", "completed");
    let mut heir = talk.carried();
    assert_eq!(heir.answers("paseo.mode", &json!({})), [Event::ModeChanged(Mode::Auto)]);
}

#[test]
fn what_a_command_in_the_background_has_printed_is_known_after_a_summary() {
    let mut talk = Talk::busy(Mode::Default);
    let command = json!({ "type": "commandExecution", "id": "i1", "command": "sleep 9", "status": "inProgress" });
    talk.notifies("item/started", &json!({ "turnId": "T1", "item": command }));
    let delta = json!({ "turnId": "T1", "itemId": "i1", "delta": "one" });
    talk.notifies("item/commandExecution/outputDelta", &delta);
    talk.completes("T1", "completed");
    let mut heir = talk.carried();
    let ended = events(heir.read(What::Exited(Exit::default())));
    let outputs = ended.iter().filter_map(|event| match event {
        Event::Closed(Item { content: Content::ToolCall(call), .. }) => call.output.clone(),
        _ => None,
    });
    assert_eq!(outputs.collect::<Vec<_>>(), ["one"]);
}

#[test]
fn what_many_open_items_were_given_is_not_held_for_ever() {
    let mut talk = Talk::busy(Mode::Default);
    for number in 0..400 {
        let arguments = json!({ "text": "x".repeat(30_000) });
        let item = json!({ "type": "mcpToolCall", "id": format!("i{number}"), "arguments": arguments });
        talk.notifies("item/started", &json!({ "turnId": "T1", "item": item }));
        let delta = json!({ "itemId": format!("i{number}"), "delta": "y".repeat(30_000) });
        talk.notifies("item/commandExecution/outputDelta", &delta);
    }
    assert!(talk.session.summary().len() < 5 * 1024 * 1024);
    let ended = talk.completes("T1", "completed");
    assert_eq!(ended.iter().filter(|event| matches!(event, Event::Closed(_))).count(), 400);
}

#[test]
fn a_question_whose_id_could_not_be_kept_is_refused() {
    let mut talk = Talk::busy(Mode::Default);
    let params = json!({ "turnId": "T1", "itemId": "i1", "command": "ls" });
    for id in [json!("q".repeat(129)), json!([1]), json!({})] {
        let line = json!({ "id": id, "method": "item/commandExecution/requestApproval", "params": params });
        let steps = talk.read(What::Said(Line::Text(line.to_string())));
        let [Step::Say(said)] = &steps[..] else { panic!("it is refused: {steps:?}") };
        assert!(said.contains("paseo does not answer this"));
    }
}

#[test]
fn a_prompt_that_could_not_be_told_again_waits_for_the_end_of_the_turn() {
    let mut talk = Talk::busy(Mode::Default);
    let heavy = prompt(&"x".repeat(5 * 1024 * 1024));
    let second = talk.phrase("prompt.p3", &heavy);
    talk.tell("prompt.p2", &heavy);
    assert_eq!(talk.session.phrase(&tell_id("prompt.p3"), &heavy), Err(Unsaid::NotYet));
    // One that was on its way is given back where the turn did not take it.
    talk.arrives("prompt.p3", second);
    assert_eq!(talk.refuses("prompt.p3", "no active turn to steer"), [Event::Dropped(tell_id("prompt.p3"))]);
    talk.completes("T1", "completed");
    assert_eq!(talk.refuses("prompt.p2", "no active turn to steer"), []);
    let taken = talk.answers("prompt.p2", &json!({ "turn": { "id": "T2" } }));
    assert_eq!(taken, [Event::Delivered(tell_id("prompt.p2")), Event::TurnStarted(Some(tell_id("prompt.p2")))]);
}

#[test]
fn a_mode_that_is_refused_is_not_shown_as_taken() {
    let mut talk = Talk::new(Mode::Default);
    talk.tell("mode.1", &Tell::Mode(Mode::FullAccess));
    let events = talk.refuses("mode.1", "not now");
    assert!(events.contains(&Event::ModeChanged(Mode::Default)), "{events:?}");
    assert!(events.contains(&Event::Delivered(tell_id("mode.1"))), "{events:?}");
}

#[test]
fn changes_that_cross_each_other_all_count_in_the_end() {
    let mut talk = Talk::new(Mode::Default);
    // Both are put into words before either is told.
    let (mode, model) = (Tell::Mode(Mode::Plan), Tell::Model("m2".to_owned()));
    let lines = [talk.phrase("mode.1", &mode), talk.phrase("model.2", &model)];
    for (id, line) in ["mode.1", "model.2"].into_iter().zip(lines) {
        talk.arrives(id, line);
    }
    talk.answers("mode.1", &json!({}));
    let (said, _) = talk.draws(&json!({ "id": "model.2", "result": {} }));
    let [line] = &said[..] else { panic!("one line: {said:?}") };
    let settings = &line["params"]["collaborationMode"];
    assert_eq!((&settings["mode"], &settings["settings"]["model"]), (&json!("plan"), &json!("m2")), "{line}");
    talk.tell("mode.3", &Tell::Mode(Mode::Default));
    let (said, _) = talk.draws(&json!({ "id": "mode.3", "result": {} }));
    assert_eq!(said, Vec::<Value>::new(), "one alone needs no mending");
}

#[test]
fn a_turn_that_runs_goes_on_as_it_began_unless_nothing_is_to_be_asked_any_more() {
    let ask = |id: i64| {
        let params = json!({ "itemId": "i1", "command": "/bin/bash -lc 'make all'", "cwd": "/" });
        json!({ "id": id, "method": "item/commandExecution/requestApproval", "params": params })
    };
    let mut talk = Talk::busy(Mode::Default);
    talk.tell("mode.1", &Tell::Mode(Mode::Auto));
    talk.answers("mode.1", &json!({}));
    let (said, events) = talk.draws(&ask(1));
    assert!(said.is_empty() && matches!(&events[..], [Event::Asked(_)]), "{said:?} {events:?}");
    talk.tell("mode.2", &Tell::Mode(Mode::FullAccess));
    talk.answers("mode.2", &json!({}));
    let (said, events) = talk.draws(&ask(2));
    assert_eq!((said, events), (vec![json!({ "id": 2, "result": { "decision": "accept" } })], Vec::new()));
    talk.tell("mode.3", &Tell::Mode(Mode::Default));
    let events = talk.answers("mode.3", &json!({}));
    let told = events.iter().any(|event| matches!(event, Event::Notice(text) if text.contains("goes on as it began")));
    assert!(told, "{events:?}");
}

#[test]
fn always_is_for_the_same_command_in_the_same_directory() {
    let mut talk = Talk::busy(Mode::Default);
    let mut options = |cwd: &str| {
        let params = json!({ "itemId": "i1", "command": "make", "cwd": cwd });
        let line = json!({ "id": cwd, "method": "item/commandExecution/requestApproval", "params": params });
        match &talk.says(&line)[..] {
            [Event::Asked(ask)] => ask.options.len(),
            other => panic!("a question: {other:?}"),
        }
    };
    assert_eq!((options("/"), options("/elsewhere")), (1, 0));
}

#[test]
fn what_stops_a_prompt_waits_until_that_runs() {
    let mut talk = Talk::busy(Mode::Default);
    talk.tell("prompt.p2", &prompt("and this"));
    let stop = |talk: &Talk, id: &str| talk.session.phrase(&tell_id(id), &Tell::Interrupt {});
    assert_eq!(stop(&talk, "interrupt.p2"), Err(Unsaid::NotYet), "it would stop another one");
    assert!(stop(&talk, "interrupt.p1").is_ok());
    talk.completes("T1", "completed");
    talk.refuses("prompt.p2", "no active turn to steer");
    talk.answers("prompt.p2", &json!({ "turn": { "id": "T2" } }));
    talk.notifies("turn/started", &json!({ "turn": { "id": "T2" } }));
    assert!(stop(&talk, "interrupt.p2").is_ok_and(|line| line.contains("T2")));
}

#[test]
fn settings_that_break_while_it_runs_do_no_harm() {
    let mut talk = Talk::new(Mode::Default);
    let warning = json!({ "summary": "Invalid configuration; using defaults.", "details": "config.toml:1:1" });
    assert_eq!(talk.notifies("configWarning", &warning), []);
    assert!(talk.session.phrase(&tell_id("prompt.p1"), &prompt("go")).is_ok());
}

#[test]
fn what_is_typed_into_a_program_that_runs_is_shown() {
    let mut talk = Talk::busy(Mode::FullAccess);
    let begun = json!({ "type": "commandExecution", "id": "i1", "command": "python3 -i", "status": "inProgress" });
    talk.notifies("item/started", &json!({ "item": begun }));
    let typed = json!({ "itemId": "i1", "stdin": "print(1)\n" });
    let events = talk.notifies("item/commandExecution/terminalInteraction", &typed);
    assert_eq!(events, [Event::Notice("typed into `python3 -i`: print(1)".to_owned())]);
}
