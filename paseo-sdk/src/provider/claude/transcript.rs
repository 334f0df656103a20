//! What a journal of the program means.
//!
//! A turn is what lies between `init` and `result`. Prompts and turns are not one to one: several that wait become one
//! turn, one that is said while a tool runs joins the turn that runs, and what ends in the background starts a turn by
//! itself. So a prompt is known by the uuid that the program repeats when it takes it.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ask::{self, Ask};
use super::spend::Spent;
use super::todo::{self, Todo};
use super::tool::Call;
use super::wire::{self, blocks};
use super::{mode_of, own_mode};
use crate::item::{Content, Item};
use crate::model::{ItemId, Mode, Outcome, Usage};
use crate::provider::last_words::{Muttered, Unfinished};
use crate::provider::value::{self, clip, tail, text};
use crate::provider::{Ending, Event, LaunchSpec, Record, Session, Step, Tell, TellId, Unsaid, Unsupported, What};

/// The meaning of one journal.
pub(super) struct Transcript {
    system_prompt: Option<String>,
    session_id: Option<String>,
    /// Prompts that were told and that the program has not taken, by uuid, in order.
    told: Vec<(String, TellId)>,
    /// Prompts that were taken between two turns: they belong to the next one.
    early: VecDeque<TellId>,
    turn: Option<Turn>,
    /// What is being streamed.
    blocks: Vec<Block>,
    calls: BTreeMap<String, Call>,
    /// Calls of tools whose result is shown as the to-do list.
    listing: BTreeMap<String, Call>,
    asks: BTreeMap<String, Ask>,
    /// Whether a question came outside a turn, which opens one that no `result` ends.
    asked_between: bool,
    todo: Todo,
    spent: Spent,
    /// What goes on in the background: the program's id of it, and the call that began it.
    tasks: BTreeMap<String, String>,
    /// Whether something has ended in the background, so that the next turn is about that.
    notified: bool,
    mode: Option<Mode>,
    expecting: bool,
    /// Whether it was told to stop before the turn that is meant had begun.
    stop_at_once: bool,
    logged_out: bool,
    muttered: Muttered,
}

/// The turn that runs.
struct Turn {
    /// The prompt that it is taken to answer; none when the program began by itself.
    prompt: Option<TellId>,
    /// Whether the program has said so.
    taken: bool,
    /// The last thing that was said in it.
    said: Option<String>,
    /// What kind of failure the program spoke of.
    failure: Option<String>,
    stopped: bool,
}

/// A block of a message that is being streamed.
struct Block {
    parent: Option<String>,
    index: i64,
    item_id: ItemId,
    thinking: bool,
    /// Whether its item was opened.
    open: bool,
    /// What was streamed, for the case that nothing else comes of it.
    text: String,
}

/// What is needed to go on without the records before, at a moment when no turn runs.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Summary {
    session_id: Option<String>,
    spent: Usage,
    tasks: BTreeMap<String, String>,
    notified: bool,
    mode: Option<String>,
    logged_out: bool,
    todo: Todo,
    /// A sub-agent in the background may change the list at any time.
    listing: BTreeMap<String, Call>,
    muttered: Muttered,
}

impl Transcript {
    pub(super) fn new(spec: &LaunchSpec) -> Transcript {
        Transcript {
            system_prompt: spec.system_prompt.clone(),
            session_id: None,
            told: Vec::new(),
            early: VecDeque::new(),
            turn: None,
            blocks: Vec::new(),
            calls: BTreeMap::new(),
            listing: BTreeMap::new(),
            asks: BTreeMap::new(),
            asked_between: false,
            todo: Todo::default(),
            spent: Spent::default(),
            tasks: BTreeMap::new(),
            notified: false,
            mode: None,
            expecting: false,
            stop_at_once: false,
            logged_out: false,
            muttered: Muttered::default(),
        }
    }

    fn told(&mut self, id: &TellId, line: &str, out: &mut Vec<Step>) {
        let Ok(line) = serde_json::from_str::<Value>(line) else { return };
        match text(&line, "type") {
            "user" => {
                if self.told.len() < MOST {
                    self.told.push((clip(text(&line, "uuid"), 64), id.clone()));
                }
                // It is taken when the program says so, and not before.
                return;
            }
            "control_response" => self.answered(&line["response"], out),
            "control_request" => match text(&line["request"], "subtype") {
                "interrupt" => self.stopped(),
                "cancel_async_message" if id.0.starts_with(INTERRUPT) => {
                    // The interrupt follows what was taken back before it.
                    let first = text(&line["request"], "message_uuid");
                    out.extend(self.waiting().filter(|uuid| *uuid != first).map(|uuid| Step::Say(wire::cancel(uuid))));
                    out.push(interrupt());
                    self.stopped();
                }
                _ => {}
            },
            _ => {}
        }
        out.push(Step::Event(Event::Delivered(id.clone())));
    }

    /// The program was told to stop what it does.
    fn stopped(&mut self) {
        match &mut self.turn {
            Some(turn) => turn.stopped = true,
            None => self.stop_at_once = !self.told.is_empty(),
        }
    }

    /// Returns the uuids of prompts that wait in the program while a turn runs, and would run when that has ended.
    fn waiting(&self) -> impl Iterator<Item = &str> {
        let running = self.turn.as_ref().map(|turn| turn.prompt.as_ref());
        let waits = move |id: &TellId| running.is_some_and(|running| running != Some(id));
        self.told.iter().filter(move |(_, id)| waits(id)).map(|(uuid, _)| uuid.as_str())
    }

    /// Somebody's answer was told.
    fn answered(&mut self, response: &Value, out: &mut Vec<Step>) {
        let Some(ask) = self.asks.remove(&value::id(response, "request_id")) else { return };
        let answer = &response["response"];
        if ask::is_for_good(answer) {
            out.extend(ask.rules.iter().map(|rule| Step::Event(Event::Remembered(rule.to_string()))));
        }
        if text(answer, "behavior") == "deny"
            && let Some(call) = self.calls.get_mut(&ask.call)
        {
            call.denied = true;
        }
        out.push(Step::Event(Event::Withdrawn(ask.id.as_str().into())));
        self.expect(out);
    }

    fn said(&mut self, seq: i64, line: &str, out: &mut Vec<Step>) {
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            // What hooks and libraries print goes astray to where the words of the program belong.
            if !line.trim().is_empty() {
                out.push(Step::Event(Event::Notice(format!("claude printed: {}", clip(line.trim(), 500)))));
            }
            return;
        };
        if let Some(id) = line["session_id"].as_str().filter(|id| !id.is_empty() && id.len() <= 64)
            && self.session_id.as_deref() != Some(id)
            && text(&line, "type") != "result"
        {
            self.session_id = Some(id.to_owned());
            out.push(Step::Event(Event::Resumable(id.to_owned())));
        }
        match text(&line, "type") {
            "system" => self.system(seq, &line, out),
            "stream_event" => self.streamed(seq, &line, out),
            "assistant" => self.assistant(seq, &line, out),
            "user" => self.user(&line, out),
            "result" => self.result(&line, out),
            "control_request" => self.asked(&line, out),
            "control_cancel_request" => self.withdrawn(&value::id(&line, "request_id"), out),
            "control_response" => self.responded(&line["response"], out),
            "rate_limit_event" => {
                let info = &line["rate_limit_info"];
                if text(info, "status") != "allowed" {
                    out.push(Step::Event(Event::Notice(format!("rate limit: {}", clip(&info.to_string(), 300)))));
                }
            }
            _ => {}
        }
        self.expect(out);
    }

    fn system(&mut self, seq: i64, line: &Value, out: &mut Vec<Step>) {
        let notice = |text: String| Step::Event(Event::Notice(text));
        match text(line, "subtype") {
            "init" => {
                self.changed_mode(line, out);
                self.begin(out);
            }
            "status" => self.changed_mode(line, out),
            "session_state_changed" if text(line, "state") == "idle" => self.idle(out),
            "api_retry" => {
                let number = |field: &str| line[field].as_f64().unwrap_or(0.0);
                let status = line["error_status"].as_i64().map(|status| format!(" {status}")).unwrap_or_default();
                out.push(notice(format!(
                    "the API failed ({}{status}); trying again in {:.0} s, {} of {}",
                    clip(text(line, "error"), 100),
                    (number("retry_delay_ms") / 1000.0).max(1.0),
                    number("attempt"),
                    number("max_retries"),
                )));
            }
            "task_started" if self.tasks.len() < MOST => {
                if self.tasks.is_empty() {
                    out.push(Step::Event(Event::Background(true)));
                }
                self.tasks.insert(value::id(line, "task_id"), value::id(line, "tool_use_id"));
            }
            "task_notification" => {
                if self.turn.is_none() {
                    self.notified = true;
                    out.push(notice(clip(text(line, "summary"), 500)));
                }
                self.task_ended(&value::id(line, "task_id"), out);
            }
            "task_updated"
                if matches!(text(&line["patch"], "status"), "completed" | "failed" | "stopped" | "killed") =>
            {
                self.task_ended(&value::id(line, "task_id"), out);
            }
            "permission_denied" => {
                if let Some(call) = self.calls.get_mut(&value::id(line, "tool_use_id")) {
                    call.denied = true;
                }
            }
            "compact_boundary" => {
                let about = &line["compact_metadata"];
                let tokens = |field: &str| about[field].as_i64().unwrap_or(0);
                let said = format!(
                    "{}, from {} tokens to {}",
                    clip(text(about, "trigger"), 50),
                    tokens("pre_tokens"),
                    tokens("post_tokens")
                );
                let content = Content::Compaction { text: said };
                let item = Item { item_id: own_id(line, seq, 0), parent_id: None, content };
                out.push(Step::Event(Event::Closed(item)));
            }
            "model_fallback" => out.push(notice(clip(text(line, "content"), 500))),
            "model_refusal_no_fallback" => {
                out.push(Step::Event(Event::Failed("the model refused to answer".to_owned())));
            }
            _ => {}
        }
    }

    /// Nothing runs. The turn that a question between turns has opened ends here, as no `result` will end it.
    fn idle(&mut self, out: &mut Vec<Step>) {
        if self.asked_between && self.turn.is_none() && self.asks.is_empty() {
            self.asked_between = false;
            out.push(ended(Outcome::Completed, None, None, Usage::default()));
        }
    }

    /// A turn begins. Which prompt it answers is said later; until then it is the first one that was told.
    fn begin(&mut self, out: &mut Vec<Step>) {
        if self.turn.is_some() {
            return;
        }
        self.asked_between = false;
        let taken = self.early.pop_front();
        let about_a_task = std::mem::take(&mut self.notified) && taken.is_none();
        let presumed = if about_a_task { None } else { self.told.first().map(|(_, id)| id.clone()) };
        let stopped = std::mem::take(&mut self.stop_at_once);
        if stopped {
            // Where nothing runs an interrupt does nothing, so it is said again now that something does.
            out.push(interrupt());
        }
        let turn = Turn { taken: taken.is_some(), prompt: taken.or(presumed), said: None, failure: None, stopped };
        out.push(Step::Event(Event::TurnStarted(turn.prompt.clone())));
        self.turn = Some(turn);
        for id in std::mem::take(&mut self.early) {
            out.push(Step::Event(Event::Joined(id)));
        }
    }

    /// A prompt that was told is not taken, and never will be.
    fn given_back(&mut self, at: usize) -> TellId {
        let (_, id) = self.told.remove(at);
        // Where nothing is left to begin, nothing is left to be stopped.
        self.stop_at_once &= !self.told.is_empty() || !self.early.is_empty();
        id
    }

    /// The program has taken a prompt.
    fn took(&mut self, uuid: &str, out: &mut Vec<Step>) {
        let Some(at) = self.told.iter().position(|(known, _)| known == uuid) else { return };
        let (_, id) = self.told.remove(at);
        out.push(Step::Event(Event::Delivered(id.clone())));
        match &mut self.turn {
            None if self.early.len() < MOST => self.early.push_back(id),
            None => {}
            Some(turn) if !turn.taken => {
                turn.taken = true;
                if turn.prompt.as_ref() != Some(&id) {
                    turn.prompt = Some(id.clone());
                    out.push(Step::Event(Event::TurnStarted(Some(id))));
                }
            }
            Some(turn) if turn.prompt.as_ref() == Some(&id) => {}
            Some(_) => out.push(Step::Event(Event::Joined(id))),
        }
    }

    fn streamed(&mut self, seq: i64, line: &Value, out: &mut Vec<Step>) {
        let event = &line["event"];
        let parent = parent(line);
        let index = event["index"].as_i64().unwrap_or(0);
        if text(event, "type") != "content_block_delta" {
            return;
        }
        let delta = &event["delta"];
        let (thinking, piece) = match text(delta, "type") {
            "text_delta" => (false, text(delta, "text")),
            "thinking_delta" => (true, text(delta, "thinking")),
            _ => return,
        };
        if piece.is_empty() {
            return;
        }
        let same = |block: &Block| block.parent == parent && block.index == index && block.thinking == thinking;
        let at = match self.blocks.iter().position(same) {
            Some(at) => at,
            None => {
                if self.blocks.len() >= MOST_BLOCKS {
                    return;
                }
                let item_id = own_id(line, seq, 0);
                self.blocks.push(Block { parent, index, item_id, thinking, open: false, text: String::new() });
                self.blocks.len() - 1
            }
        };
        let block = &mut self.blocks[at];
        if !std::mem::replace(&mut block.open, true) {
            out.push(Step::Event(Event::Opened(block.item(String::new()))));
        }
        block.text.push_str(&clip(piece, LONGEST_STREAM - block.text.len()));
        out.push(Step::Event(Event::Wrote { item_id: block.item_id.clone(), text: piece.to_owned() }));
    }

    fn assistant(&mut self, seq: i64, line: &Value, out: &mut Vec<Step>) {
        let parent = parent(line);
        if let (Some(failure), Some(turn)) = (line["error"].as_str(), &mut self.turn) {
            // What it says is what the `result` says, and is no word of the model.
            turn.failure = Some(clip(failure, 100));
            return;
        }
        for (number, block) in blocks(&line["message"]).iter().enumerate() {
            match text(block, "type") {
                "text" => self.wrote(own_id(line, seq, number), &parent, false, text(block, "text"), out),
                "thinking" => self.wrote(own_id(line, seq, number), &parent, true, text(block, "thinking"), out),
                "tool_use" => self.called(block, parent.clone(), out),
                _ => {}
            }
        }
    }

    /// A text is whole. What was streamed of it was provisional, and may have been another one.
    fn wrote(&mut self, item_id: ItemId, parent: &Option<String>, thinking: bool, whole: &str, out: &mut Vec<Step>) {
        let streamed = self.blocks.iter().position(|block| block.parent == *parent && block.thinking == thinking);
        let block = match streamed {
            Some(at) => self.blocks.remove(at),
            None if whole.is_empty() => return,
            None => Block { parent: parent.clone(), index: 0, item_id, thinking, open: false, text: String::new() },
        };
        if !thinking
            && parent.is_none()
            && let Some(turn) = &mut self.turn
        {
            turn.said = Some(tail(whole));
        }
        out.push(Step::Event(Event::Closed(block.item(whole.to_owned()))));
    }

    fn called(&mut self, block: &Value, parent: Option<String>, out: &mut Vec<Step>) {
        let id = value::id(block, "id");
        let known = self.calls.contains_key(&id) || self.listing.contains_key(&id);
        if id.is_empty() || known || self.calls.len() + self.listing.len() >= MOST {
            return;
        }
        let held: usize = self.calls.values().map(|call| call.weight).sum();
        let mut call = Call::new(block, parent, MOST_HELD.saturating_sub(held));
        if todo::is_about_it(&call.name) {
            call.input = todo::remembered(&call.input);
            self.listing.insert(id, call);
        } else {
            out.push(Step::Event(Event::Opened(call.opened())));
            self.calls.insert(id, call);
        }
    }

    fn user(&mut self, line: &Value, out: &mut Vec<Step>) {
        if line["isReplay"].as_bool() == Some(true) {
            self.took(text(line, "uuid"), out);
            return;
        }
        let details = &line["tool_use_result"];
        for block in blocks(&line["message"]) {
            if text(&block, "type") != "tool_result" {
                continue;
            }
            let id = value::id(&block, "tool_use_id");
            if let Some(call) = self.listing.remove(&id) {
                if let Some(entries) = self.todo.take(&call.name, &call.input, details) {
                    let content = Content::Todo { entries };
                    let item = Item { item_id: ItemId(call.id), parent_id: call.parent.map(ItemId), content };
                    out.push(Step::Event(Event::Closed(item)));
                }
            } else if let Some(call) = self.calls.remove(&id) {
                let stopped = self.turn.as_ref().is_some_and(|turn| turn.stopped);
                out.push(Step::Event(Event::Closed(call.closed(&block, details, stopped))));
            }
        }
    }

    fn asked(&mut self, line: &Value, out: &mut Vec<Step>) {
        let request = &line["request"];
        let id = text(line, "request_id");
        if text(request, "subtype") != "can_use_tool" {
            // Nothing else is asked for, as nothing else was offered; an answer keeps it from waiting for ever.
            let error = json!({ "subtype": "error", "request_id": id, "error": "paseo does not answer this" });
            out.push(Step::Say(json!({ "type": "control_response", "response": error }).to_string()));
            return;
        }
        let (ask, seen) = Ask::read(line);
        if self.asks.len() < MOST_ASKS {
            self.asked_between |= self.turn.is_none();
            self.asks.insert(ask.id.clone(), ask);
            out.push(Step::Event(Event::Asked(seen)));
        }
    }

    fn withdrawn(&mut self, id: &str, out: &mut Vec<Step>) {
        if let Some(ask) = self.asks.remove(id) {
            out.push(Step::Event(Event::Withdrawn(ask.id.as_str().into())));
        }
    }

    /// The program has answered a request of ours, or repeats an answer that it was given.
    fn responded(&mut self, response: &Value, out: &mut Vec<Step>) {
        let id = text(response, "request_id");
        let error = (text(response, "subtype") == "error").then(|| clip(text(response, "error"), 500));
        if id == wire::GREETING {
            let account = &response["response"]["account"];
            let none = text(account, "tokenSource") == "none" && account["apiKeySource"].is_null();
            self.logged_out = none && text(account, "apiProvider") == "firstParty";
            if self.logged_out {
                out.push(Step::Event(Event::Failed(LOGGED_OUT.to_owned())));
            }
        } else if let Some(uuid) = id.strip_prefix(wire::CANCEL) {
            let at = self.told.iter().position(|(known, _)| known == uuid);
            if let Some(at) = at.filter(|_| response["response"]["cancelled"].as_bool() == Some(true)) {
                let id = self.given_back(at);
                out.push(Step::Event(Event::Dropped(id)));
            }
        } else if let Some(error) = error.filter(|_| id.starts_with("mode.") || id.starts_with("model.")) {
            out.push(Step::Event(Event::Failed(error)));
        }
    }

    fn changed_mode(&mut self, line: &Value, out: &mut Vec<Step>) {
        if let Some(mode) = ask::mode(line)
            && self.mode.as_ref() != Some(&mode)
        {
            self.mode = Some(mode.clone());
            out.push(Step::Event(Event::ModeChanged(mode)));
        }
    }

    fn task_ended(&mut self, task: &str, out: &mut Vec<Step>) {
        if self.tasks.remove(task).is_some() && self.tasks.is_empty() {
            out.push(Step::Event(Event::Background(false)));
        }
    }

    fn result(&mut self, line: &Value, out: &mut Vec<Step>) {
        let forgotten = line["errors"][0].as_str().is_some_and(|error| error.starts_with("No conversation found"));
        if self.turn.is_none() && forgotten {
            // It exits now, and has taken nothing of what it was told.
            out.extend(self.told.drain(..).map(|(_, id)| Step::Event(Event::Forgotten(Some(id)))));
            self.stop_at_once = false;
            return;
        }
        let usage = self.spent.turn(line);
        let Some(turn) = self.turn.take() else { return };
        if text(&line["origin"], "kind") == "task-notification" && turn.prompt.is_some() && !turn.taken {
            // This was about something that ended in the background, and the prompt is still to come.
            self.turn = Some(turn);
            return;
        }
        self.close_leftovers(out);
        for (_, id) in self.told.iter().filter(|(_, id)| turn.prompt.as_ref() == Some(id)) {
            out.push(Step::Event(Event::Delivered(id.clone())));
        }
        self.told.retain(|(_, id)| turn.prompt.as_ref() != Some(id));
        let (outcome, reason) = outcome(line, &turn, self.logged_out);
        out.push(ended(outcome, reason, turn.said, usage));
    }

    /// What a turn has begun and not ended was cut short, but for what goes on in the background.
    fn close_leftovers(&mut self, out: &mut Vec<Step>) {
        for block in self.blocks.drain(..).filter(|block| block.open) {
            let text = block.text.clone();
            out.push(Step::Event(Event::Closed(block.item(text))));
        }
        let goes_on =
            |call: &Call| call.parent.as_ref().is_some_and(|parent| self.tasks.values().any(|task| task == parent));
        let (kept, cut): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.calls).into_iter().partition(|(_, call)| goes_on(call));
        self.calls = kept;
        out.extend(cut.into_values().map(|call| Step::Event(Event::Closed(call.interrupted()))));
        self.listing.clear();
    }

    fn exited(&mut self, failed: bool, out: &mut Vec<Step>) {
        if let Some(text) = self.cut_off() {
            out.push(Step::Event(Event::CutOff(text)));
        }
        self.tasks.clear();
        self.close_leftovers(out);
        for ask in std::mem::take(&mut self.asks).into_values() {
            out.push(Step::Event(Event::Withdrawn(ask.id.as_str().into())));
        }
        if let Some(last) = self.muttered.take().filter(|_| failed) {
            out.push(Step::Event(Event::Failed(format!("claude: {last}"))));
        }
        self.turn = None;
    }

    /// Says what the process was in the middle of.
    fn cut_off(&self) -> Option<String> {
        let waits = |call: &&Call| !self.asks.values().any(|ask| ask.call == call.id);
        let ran = |call: &Call| format!("{}: {}", call.name, super::tool::title(&call.name, &call.input));
        let unfinished = Unfinished {
            asked: self.asks.values().map(|ask| ask.title.as_str()).collect(),
            ran: self.calls.values().filter(waits).map(ran).collect(),
            background: self.tasks.len(),
            busy: self.turn.is_some() || !self.told.is_empty(),
        };
        unfinished.told()
    }

    /// Says when it changes whether the model is to be heard from.
    fn expect(&mut self, out: &mut Vec<Step>) {
        let expecting = self.turn.is_some() && self.calls.is_empty() && self.asks.is_empty();
        if std::mem::replace(&mut self.expecting, expecting) != expecting {
            out.push(Step::Event(Event::Expecting(expecting)));
        }
    }

    fn take_up(&mut self, text: &str) {
        let Ok(summary) = serde_json::from_str::<Summary>(text) else { return };
        self.session_id = summary.session_id;
        self.spent = Spent(summary.spent);
        self.tasks = summary.tasks;
        self.notified = summary.notified;
        self.mode = summary.mode.as_deref().map(mode_of);
        self.logged_out = summary.logged_out;
        self.todo = summary.todo;
        self.listing = summary.listing;
        self.muttered = summary.muttered;
    }
}

impl Session for Transcript {
    fn read(&mut self, record: &Record) -> Vec<Step> {
        let mut out = Vec::new();
        match &record.what {
            What::Launched { .. } => out.push(Step::Say(wire::greeting(self.system_prompt.as_deref()))),
            What::Told { id, line } => self.told(id, line, &mut out),
            What::Said(line) => match line.text() {
                Some(line) => self.said(record.seq, line, &mut out),
                None => out.push(Step::Event(Event::Failed("claude said something that cannot be read".to_owned()))),
            },
            What::Muttered(line) => {
                if let Some(line) = line.text() {
                    self.muttered.push(line);
                }
            }
            What::Exited(exit) => self.exited(exit.code.is_some_and(|code| code != 0), &mut out),
            What::Carried(text) => self.take_up(text),
            What::Signalled { .. } | What::Closed {} => {}
        }
        out
    }

    fn phrase(&self, id: &TellId, tell: &Tell) -> Result<String, Unsaid> {
        Ok(match tell {
            Tell::Prompt(prompt) => wire::prompt(id, prompt),
            Tell::Answer { request_id, decision } => {
                wire::answer(&request_id.0, ask::response(self.asks.get(&request_id.0), decision)?)
            }
            // What waits would run next, so it is taken back first.
            Tell::Interrupt {} => match self.waiting().next() {
                Some(uuid) => wire::cancel(uuid),
                None => wire::control(&id.0, json!({ "subtype": "interrupt" })),
            },
            Tell::Mode(Mode::FullAccess) => {
                // The program refuses it in a process that was not started so.
                return Err(
                    Unsupported { provider: "claude", what: "take up `full-access` in a process that runs" }.into()
                );
            }
            Tell::Mode(mode) => {
                wire::control(&id.0, json!({ "subtype": "set_permission_mode", "mode": own_mode(mode) }))
            }
            Tell::Model(model) => wire::control(&id.0, json!({ "subtype": "set_model", "model": model })),
        })
    }

    fn summary(&self) -> String {
        let summary = Summary {
            session_id: self.session_id.clone(),
            spent: self.spent.0,
            tasks: self.tasks.clone(),
            notified: self.notified,
            mode: self.mode.as_ref().map(|mode| own_mode(mode).to_owned()),
            logged_out: self.logged_out,
            todo: self.todo.clone(),
            listing: self.listing.clone(),
            muttered: self.muttered.clone(),
        };
        json!(summary).to_string()
    }
}

impl Block {
    fn item(&self, text: String) -> Item {
        let content = match self.thinking {
            true => Content::Reasoning { text },
            false => Content::AssistantMessage { text },
        };
        Item { item_id: self.item_id.clone(), parent_id: self.parent.clone().map(ItemId), content }
    }
}

/// Returns the call of the sub-agent that a line comes from.
fn parent(line: &Value) -> Option<String> {
    line["parent_tool_use_id"].as_str().map(|_| value::id(line, "parent_tool_use_id"))
}

fn interrupt() -> Step {
    Step::Say(wire::control("paseo.interrupt", json!({ "subtype": "interrupt" })))
}

fn ended(outcome: Outcome, reason: Option<String>, message: Option<String>, usage: Usage) -> Step {
    Step::Event(Event::TurnEnded(Ending { outcome, reason, message, usage }))
}

/// Returns an id for what a line begins, from the line's own, which no other process of this agent has.
fn own_id(line: &Value, seq: i64, number: usize) -> ItemId {
    let uuid = line["uuid"].as_str().filter(|uuid| !uuid.is_empty());
    let own = uuid.map_or_else(|| format!("line-{seq}"), |uuid| clip(uuid, 64));
    ItemId(if number == 0 { own } else { format!("{own}.{number}") })
}

/// Says what came of a turn. `success` is said of every failure of the API too.
fn outcome(result: &Value, turn: &Turn, logged_out: bool) -> (Outcome, Option<String>) {
    let reason = |text: &str| Some(clip(text, 2_000)).filter(|text| !text.is_empty());
    if result["is_error"].as_bool() != Some(true) {
        return (Outcome::Completed, None);
    }
    match text(result, "subtype") {
        "error_max_turns" => (Outcome::Limit, reason("it reached its limit of turns")),
        "error_max_budget_usd" => (Outcome::Limit, reason("it reached its limit of money")),
        "error_during_execution" if turn.stopped || text(result, "terminal_reason").starts_with("aborted") => {
            (Outcome::Interrupted, reason("it was interrupted"))
        }
        "success" => {
            let said = text(result, "result");
            let unauthorised = turn.failure.as_deref() == Some("authentication_failed");
            match (unauthorised && logged_out, said.is_empty()) {
                (true, _) => (Outcome::Error, reason(LOGGED_OUT)),
                (false, false) => (Outcome::Error, reason(said)),
                (false, true) => (Outcome::Error, turn.failure.clone().or_else(|| reason("the API failed"))),
            }
        }
        other => {
            let said = result["errors"][0].as_str().unwrap_or(other);
            (Outcome::Error, reason(said).or_else(|| reason("claude failed")))
        }
    }
}

/// What the ids of interrupts begin with.
const INTERRUPT: &str = "interrupt.";

const LOGGED_OUT: &str = "claude is not logged in: run `claude` and type /login, or set ANTHROPIC_API_KEY";

/// How many of anything are kept; more is nonsense.
const MOST: usize = 500;

/// How many questions may be open at once.
const MOST_ASKS: usize = 100;

/// What the inputs of all open calls may weigh together.
const MOST_HELD: usize = 8 * 1024 * 1024;

/// How many blocks may be streamed at once.
const MOST_BLOCKS: usize = 32;

/// How much of what is streamed is kept.
const LONGEST_STREAM: usize = 64 * 1024;
