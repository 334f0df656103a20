//! What a journal of the program means.
//!
//! A session first makes the program ready: it greets it, learns who is logged in and whether its sandbox works here, and
//! begins the thread or goes on with it. Only then can prompts be told. A turn begins with our `turn/start` and ends with
//! `turn/completed`; two things hold its end back: what still runs is ended when somebody has stopped it, and a plan waits
//! for a person.

mod items;
mod ready;
mod turn;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::items::{Open, entry};
use self::ready::Stage;
use self::turn::Turn;
use super::ask::{self, Aside, Ask};
use super::setup::{self, Roots, Setup};
use super::spend::Spent;
use super::wire::{self, OWN};
use super::{item, mode_of};
use crate::item::{Content, Item};
use crate::model::{Decision, ItemId, Mode, Outcome, RequestId};
use crate::provider::last_words::{Muttered, Unfinished};
use crate::provider::value::{self, clip, text};
use crate::provider::{Event, Record, Session, Step, Tell, TellId, Unsaid, Unsupported, What};

/// The meaning of one journal.
#[derive(Default)]
pub(super) struct Transcript {
    setup: Setup,
    stage: Stage,
    thread: String,
    /// The model, as the program calls it.
    model: String,
    /// How much it reasons, where the program has said so.
    effort: Option<String>,
    mode: Mode,
    /// Whether the program can lock what it runs into its sandbox.
    sandboxed: bool,
    roots: Roots,
    /// Whether it was said that the thread can be gone on with.
    resumable: bool,
    turn: Option<Turn>,
    /// Prompts that were told into a turn, and of which the program has not said that it took them; none of one for which
    /// there was no room.
    steers: BTreeMap<String, Option<Value>>,
    /// Those that came too late for it, in order: each begins a turn of its own.
    late: VecDeque<(String, Value)>,
    /// Changes that were told, by the id of the request.
    changes: BTreeMap<String, Change>,
    /// Whether changes were on their way at the same time: each was put into words as if the others were not.
    crossed: bool,
    /// Whether servers that do not start are done without.
    lenient: bool,
    /// Whether the thread was taken back from where its user had put it away.
    unarchived: bool,
    items: BTreeMap<String, Open>,
    asks: BTreeMap<String, Ask>,
    rules: BTreeSet<String>,
    spent: Spent,
    background: bool,
    expecting: bool,
    warned: BTreeSet<String>,
    muttered: Muttered,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Change {
    Mode(Mode),
    Model(String),
}

/// What is needed to go on without the records before, at a moment when no turn runs.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Summary {
    setup: Setup,
    thread: String,
    model: String,
    effort: Option<String>,
    mode: String,
    sandboxed: bool,
    roots: Roots,
    resumable: bool,
    stage: Stage,
    crossed: bool,
    /// A change that an answer has brought is one that nobody waits for.
    changes: BTreeMap<String, Change>,
    rules: BTreeSet<String>,
    spent: Spent,
    /// What goes on in the background.
    items: BTreeMap<String, Open>,
    warned: BTreeSet<String>,
    muttered: Muttered,
}

impl Transcript {
    fn launched(&mut self, setup: Option<&str>, out: &mut Vec<Step>) {
        self.setup = setup.map(Setup::from_text).unwrap_or_default();
        self.mode = self.setup.mode();
        self.rules = self.setup.rules.iter().cloned().collect();
        out.push(Step::Say(wire::initialize()));
    }

    /// The program was told something; what a session says by itself has an id that begins otherwise.
    fn told(&mut self, id: &TellId, line: &str, out: &mut Vec<Step>) {
        let Ok(line) = serde_json::from_str::<Value>(line) else { return };
        let params = &line["params"];
        let request = value::id(&line, "id");
        match text(&line, "method") {
            "turn/start" if request == id.0 => match line[OWN]["plan"].as_str() {
                Some(plan) => self.plan_answered(id, plan, &line[OWN], out),
                None if self.turn.is_none() => self.turn = Some(Turn::of(id.clone())),
                // Another one has begun meanwhile, so that the program takes it into that.
                None => self.steers(request, &params["input"]),
            },
            "turn/steer" if request == id.0 => self.steers(request, &params["input"]),
            "turn/interrupt" => {
                self.told_to_stop(&value::id(params, "turnId"), out);
                out.push(Step::Event(Event::Delivered(id.clone())));
            }
            "thread/settings/update" if request == id.0 => match &line[OWN] {
                own if own["plan"].is_string() => self.plan_answered(id, text(own, "plan"), own, out),
                own => self.changes(request, own),
            },
            "" if !line["id"].is_null() => {
                self.answered(&line, out);
                out.push(Step::Event(Event::Delivered(id.clone())));
            }
            _ => {}
        }
    }

    fn steers(&mut self, request: String, input: &Value) {
        if self.steers.len() < MOST {
            let kept = self.has_room(input).then(|| input.clone());
            self.steers.insert(request, kept);
        }
    }

    /// Returns whether one more prompt can be kept for the case that it comes too late for its turn.
    fn has_room(&self, input: &Value) -> bool {
        let late = self.late.iter().map(|(_, input)| input);
        let kept = self.steers.values().flatten().chain(late);
        let (count, weight) = kept.fold((0, 0), |(count, weight), input| (count + 1, weight + value::weight(input)));
        count < MOST && weight + value::weight(input) <= MOST_TOLD
    }

    fn changes(&mut self, request: String, own: &Value) {
        let mode = own["mode"].as_str().map(|mode| Change::Mode(mode_of(&clip(mode, 200))));
        let model = own["model"].as_str().map(|model| Change::Model(clip(model, 200)));
        if let Some(change) = mode.or(model)
            && self.changes.len() < MOST
        {
            self.crossed |= !self.changes.is_empty();
            self.changes.insert(request, change);
        }
    }

    /// The program was told to stop a turn, which may be over, and another one may run.
    fn told_to_stop(&mut self, id: &str, out: &mut Vec<Step>) {
        let Some(turn) = self.turn.as_mut().filter(|turn| turn.id == id) else { return };
        turn.stopped = true;
        if turn.asks.is_some() {
            // The program has nothing to stop: for it the turn is over.
            turn.ending = Some((Outcome::Interrupted, Some(STOPPED.to_owned())));
            self.finish(out);
        }
    }

    /// Somebody's answer was told.
    fn answered(&mut self, line: &Value, out: &mut Vec<Step>) {
        let Some(ask) = self.asks.remove(&ask::name(&line["id"])) else { return };
        let aside = Aside::read(line);
        out.push(Step::Event(Event::Withdrawn(RequestId(ask::name(&ask.id)))));
        if let Some(rule) = ask.rule.filter(|_| aside.always)
            && self.rules.len() < MOST
            && self.rules.insert(rule.clone())
        {
            out.push(Step::Event(Event::Remembered(rule)));
        }
        if let Some(mode) = aside.mode {
            out.push(Step::Say(self.settings(wire::MODE, &mode)));
            self.crossed |= !self.changes.is_empty();
            self.changes.insert(wire::MODE.to_owned(), Change::Mode(mode));
        }
        if let (Some(message), Some(turn)) = (aside.message, self.turn.as_ref().filter(|turn| turn.begun)) {
            let said = match aside.denied {
                true => format!("About what was just not allowed: {message}"),
                false => message,
            };
            let input = json!([{ "type": "text", "text": said }]);
            out.push(Step::Say(self.steer(wire::MESSAGE, &turn.id, &input)));
        }
    }

    fn said(&mut self, seq: i64, line: &str, out: &mut Vec<Step>) {
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            if !line.trim().is_empty() {
                out.push(Step::Event(Event::Notice(format!("codex printed: {}", clip(line.trim(), 500)))));
            }
            return;
        };
        match (text(&line, "method"), line["id"].is_null()) {
            ("", _) => self.responded(&line, out),
            (_, false) => self.asked(&line, out),
            (method, true) => {
                // Threads of sub-agents are shown by the calls that began them.
                let thread = line["params"]["threadId"].as_str();
                // They ask too, and their questions are shown.
                if thread.is_none_or(|thread| thread == self.thread) || method == "serverRequest/resolved" {
                    self.notified(seq, method, &line["params"], out);
                }
            }
        }
        self.expect(out);
    }

    /// The program has answered a request of ours.
    fn responded(&mut self, line: &Value, out: &mut Vec<Step>) {
        let id = value::id(line, "id");
        let error = line["error"].as_object().map(|_| clip(text(&line["error"], "message"), 2_000));
        let answer = match error {
            None => Ok(&line["result"]),
            Some(error) => Err(error),
        };
        match id.as_str() {
            wire::GREETING => self.greeted(answer, out),
            wire::ACCOUNT => {
                if answer.as_ref().is_ok_and(|account| wire::is_logged_in(account) == Some(false)) {
                    self.give_up("codex is not logged in: run `codex login`".to_owned(), out);
                }
                self.learned(|account, _| *account = true, out);
            }
            wire::SANDBOX => {
                self.probed(answer, out);
                self.learned(|_, sandbox| *sandbox = true, out);
            }
            wire::THREAD => self.opened(answer, out),
            wire::UNARCHIVE => self.open(out),
            wire::SETTINGS => match answer {
                Ok(_) if matches!(self.stage, Stage::Opening) => self.stage = Stage::Ready,
                Ok(_) => {}
                Err(error) => self.give_up(format!("codex cannot be set up: {error}"), out),
            },
            wire::CLEAN => self.finish(out),
            _ if self.changes.contains_key(&id) => self.changed(&id, answer.map(drop), out),
            _ if self.steers.contains_key(&id) => self.steered(&id, answer.ok(), out),
            _ => self.started(&id, answer, out),
        }
    }

    fn changed(&mut self, id: &str, answer: Result<(), String>, out: &mut Vec<Step>) {
        match (self.changes.remove(id), answer) {
            (Some(Change::Mode(mode)), Ok(())) => self.acts_as(mode, out),
            (Some(Change::Model(model)), Ok(())) => self.model = model,
            (Some(Change::Mode(_)), Err(error)) => {
                out.push(Step::Event(Event::Failed(error)));
                out.push(Step::Event(Event::ModeChanged(self.mode.clone())));
            }
            (_, Err(error)) => out.push(Step::Event(Event::Failed(error))),
            (None, Ok(())) => {}
        }
        if self.changes.is_empty() && std::mem::take(&mut self.crossed) {
            // Each has undone something of the others.
            let params = self.settings_for(&self.mode);
            out.push(Step::Say(wire::request(wire::SETTINGS, "thread/settings/update", &params)));
        }
        if id != wire::MODE {
            out.push(Step::Event(Event::Delivered(TellId(id.to_owned()))));
        }
    }

    fn acts_as(&mut self, mode: Mode, out: &mut Vec<Step>) {
        if !self.sandboxed && setup::needs_sandbox(&mode) {
            let text = "codex cannot use its sandbox here, and asks before whatever it does".to_owned();
            out.push(Step::Event(Event::Notice(text)));
        }
        if self.turn.is_some() && mode.rank() < self.mode.rank() {
            let text = format!("the turn that runs goes on as it began; from the next one on it acts in mode `{mode}`");
            out.push(Step::Event(Event::Notice(text)));
        }
        self.mode = mode.clone();
        out.push(Step::Event(Event::ModeChanged(mode)));
    }

    /// Returns whether the mode allows this, though the turn that runs began in one that does not. What it is to do in its
    /// sandbox the program alone can judge.
    fn is_free(&self, asked: &Ask) -> bool {
        self.mode == Mode::FullAccess && asked.is_approval()
    }

    fn notified(&mut self, seq: i64, method: &str, params: &Value, out: &mut Vec<Step>) {
        match method {
            "turn/started" => self.began(value::id(&params["turn"], "id"), out),
            "turn/completed" => self.completed(&params["turn"], out),
            "item/started" => self.item_started(&params["item"], out),
            "item/agentMessage/delta"
            | "item/plan/delta"
            | "item/reasoning/summaryTextDelta"
            | "item/reasoning/textDelta"
            | "item/commandExecution/outputDelta" => {
                self.streamed(&value::id(params, "itemId"), text(params, "delta"), out);
            }
            "item/reasoning/summaryPartAdded" if params["summaryIndex"].as_i64() > Some(0) => {
                self.streamed(&value::id(params, "itemId"), "\n\n", out);
            }
            "item/commandExecution/terminalInteraction" => {
                self.typed(&value::id(params, "itemId"), text(params, "stdin"), out)
            }
            "item/completed" => self.item_completed(&params["item"], out),
            "turn/plan/updated" => {
                let entries = params["plan"].as_array().into_iter().flatten().take(MOST_ENTRIES).map(entry).collect();
                let item_id = ItemId(format!("todo-{}-{seq}", value::id(params, "turnId")));
                let item = Item { item_id, parent_id: None, content: Content::Todo { entries } };
                out.push(Step::Event(Event::Closed(item)));
            }
            "thread/tokenUsage/updated" => {
                let usage = self.spent.grow(&params["tokenUsage"]);
                if let Some(turn) = &mut self.turn {
                    turn.usage += usage;
                }
            }
            "serverRequest/resolved" => self.withdraw(&ask::name(&params["requestId"]), out),
            "error" if params["willRetry"] == true => {
                let error = &params["error"];
                let details = error["additionalDetails"].as_str().map(|details| format!(" ({})", clip(details, 500)));
                let (message, details) = (clip(text(error, "message"), 300), details.unwrap_or_default());
                let said = format!("the API failed, and is asked again: {message}{details}");
                out.push(Step::Event(Event::Notice(said)));
                // It is said again, under another name.
                self.close(|item| matches!(item.content, Content::AssistantMessage { .. }), out);
            }
            "warning" => self.warn(text(params, "message"), out),
            // The rest of those is about how the program was installed.
            "configWarning" => {
                // What runs has read them before.
                if !matches!(self.stage, Stage::Ready)
                    && let Some(wrong) = wire::broken_settings(method, params)
                {
                    self.give_up(format!("codex cannot read its settings: {wrong}"), out);
                }
            }
            _ => {}
        }
    }

    /// Says a warning once in the life of a process: some come with every turn.
    fn warn(&mut self, said: &str, out: &mut Vec<Step>) {
        let said = clip(said, 1_000);
        if self.warned.len() < MOST_WARNINGS && self.warned.insert(said.clone()) {
            out.push(Step::Event(Event::Notice(format!("codex: {said}"))));
        }
    }

    fn asked(&mut self, request: &Value, out: &mut Vec<Step>) {
        let item = self.items.get(&value::id(&request["params"], "itemId")).map(|open| &open.item);
        let name = ask::name(&request["id"]);
        let read = Ask::read(request, item, self.setup.directory())
            .filter(|_| self.asks.len() < MOST_ASKS && self.turn.is_some());
        let Some((ask, seen)) = read else {
            // An answer keeps it from waiting for ever.
            out.push(Step::Say(wire::refusal(&request["id"])));
            return;
        };
        if ask.rule.as_ref().is_some_and(|rule| self.rules.contains(rule)) || self.is_free(&ask) {
            out.push(Step::Say(ask.allow()));
            return;
        }
        if self.asks.insert(name, ask).is_none() {
            out.push(Step::Event(Event::Asked(seen)));
        }
    }

    fn withdraw(&mut self, name: &str, out: &mut Vec<Step>) {
        if self.asks.remove(name).is_some() {
            out.push(Step::Event(Event::Withdrawn(RequestId(name.to_owned()))));
        }
    }

    fn exited(&mut self, failed: bool, out: &mut Vec<Step>) {
        if let Some(text) = self.cut_off() {
            out.push(Step::Event(Event::CutOff(text)));
        }
        self.close(|_| true, out);
        let asks = std::mem::take(&mut self.asks).into_keys().map(RequestId);
        let plan = self.turn.take().and_then(|turn| turn.asks);
        out.extend(asks.chain(plan).map(|request| Step::Event(Event::Withdrawn(request))));
        if let Some(last) = self.muttered.take().filter(|_| failed) {
            out.push(Step::Event(Event::Failed(format!("codex: {last}"))));
        }
        self.steers.clear();
        self.late.clear();
        self.changes.clear();
    }

    fn cut_off(&self) -> Option<String> {
        let plan = self.turn.as_ref().and_then(|turn| turn.asks.as_ref()).map(|_| ask::CARRY_OUT);
        let waits = |open: &&Open| !self.asks.values().any(|ask| ask.item == open.item.item_id.0);
        let ran = |open: &Open| match &open.item.content {
            Content::ToolCall(call) => Some(format!("{}: {}", call.name, call.title)),
            _ => None,
        };
        let unfinished = Unfinished {
            asked: self.asks.values().map(|ask| ask.title.as_str()).chain(plan).collect(),
            ran: self.items.values().filter(waits).filter_map(ran).collect(),
            background: 0,
            busy: self.turn.is_some() || !self.steers.is_empty() || !self.late.is_empty(),
        };
        unfinished.told()
    }

    /// Says when it changes whether the model is to be heard from.
    fn expect(&mut self, out: &mut Vec<Step>) {
        let waits = |open: &Open| item::is_call(&open.item) && !open.behind;
        let works = self.asks.is_empty() && !self.items.values().any(waits);
        let expecting = self.turn.as_ref().is_some_and(|turn| turn.begun) && works;
        if std::mem::replace(&mut self.expecting, expecting) != expecting {
            out.push(Step::Event(Event::Expecting(expecting)));
        }
    }

    fn start(&self, id: &str, input: &Value) -> String {
        let params = json!({ "threadId": self.thread, "clientUserMessageId": id, "input": input });
        wire::request(id, "turn/start", &params)
    }

    fn steer(&self, id: &str, turn: &str, input: &Value) -> String {
        let params = json!({
            "threadId": self.thread,
            "expectedTurnId": turn,
            "clientUserMessageId": id,
            "input": input,
        });
        wire::request(id, "turn/steer", &params)
    }

    fn settings(&self, id: &str, mode: &Mode) -> String {
        let (params, own) = (self.settings_for(mode), json!({ "mode": mode.to_string() }));
        json!({ "id": id, "method": "thread/settings/update", "params": params, OWN: own }).to_string()
    }

    /// Returns what the thread needs to be told to act in a mode.
    fn settings_for(&self, mode: &Mode) -> Value {
        let mut params = self.setup.settings(mode, self.sandboxed, &self.roots);
        params["collaborationMode"] = self.collaboration(mode, &self.model);
        params["threadId"] = json!(self.thread);
        params
    }

    /// Returns whether the thread plans or acts, in the program's words.
    fn collaboration(&self, mode: &Mode, model: &str) -> Value {
        let plans = if *mode == Mode::Plan { "plan" } else { "default" };
        // Its settings stand above those of the thread, so that they repeat them.
        let effort = self.effort.as_ref().or(self.setup.effort.as_ref());
        let settings = json!({ "model": model, "reasoning_effort": effort, "developer_instructions": null });
        json!({ "mode": plans, "settings": settings })
    }

    /// Returns the line that answers a plan: it is carried out, or made anew, or left.
    fn answer_plan(&self, id: &TellId, request: &RequestId, decision: &Decision) -> String {
        let (said, mode) = ask::about_plan(decision);
        let mut params = match &mode {
            Some(mode) => self.settings_for(mode),
            None => json!({ "threadId": self.thread }),
        };
        let mut own = json!({ "plan": request });
        let method = match said {
            Some(said) => {
                params["input"] = json!([{ "type": "text", "text": said }]);
                own["mode"] = json!(mode.map(|mode| mode.to_string()));
                "turn/start"
            }
            // It changes nothing.
            None => {
                own["over"] = json!(true);
                "thread/settings/update"
            }
        };
        json!({ "id": id, "method": method, "params": params, OWN: own }).to_string()
    }

    fn take_up(&mut self, text: &str) {
        let Ok(summary) = serde_json::from_str::<Summary>(text) else { return };
        self.setup = summary.setup;
        self.thread = summary.thread;
        self.model = summary.model;
        self.effort = summary.effort;
        self.crossed = summary.crossed;
        self.mode = mode_of(&summary.mode);
        self.sandboxed = summary.sandboxed;
        self.roots = summary.roots;
        self.resumable = summary.resumable;
        self.changes = summary.changes;
        self.rules = summary.rules;
        self.spent = summary.spent;
        self.items = summary.items;
        self.background = !self.items.is_empty();
        self.warned = summary.warned;
        self.muttered = summary.muttered;
        self.stage = summary.stage;
    }
}

impl Session for Transcript {
    fn read(&mut self, record: &Record) -> Vec<Step> {
        let mut out = Vec::new();
        match &record.what {
            What::Launched { setup, .. } => self.launched(setup.as_deref(), &mut out),
            What::Told { id, line } => {
                self.told(id, line, &mut out);
                self.expect(&mut out);
            }
            What::Said(line) => match line.text() {
                Some(line) => self.said(record.seq, line, &mut out),
                None => out.push(Step::Event(Event::Failed("codex said something that cannot be read".to_owned()))),
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
        match &self.stage {
            Stage::Ready => {}
            Stage::Unusable(reason) => return Err(Unsaid::Never(reason.clone())),
            Stage::Greeting | Stage::Learning { .. } | Stage::Opening => return Err(Unsaid::NotYet),
        }
        match (tell, &self.turn) {
            (Tell::Prompt(prompt), None) => Ok(self.start(&id.0, &wire::input(prompt))),
            (Tell::Prompt(prompt), Some(turn)) if turn.begun => match wire::input(prompt) {
                input if self.has_room(&input) => Ok(self.steer(&id.0, &turn.id, &input)),
                _ => Err(Unsaid::NotYet),
            },
            // Said before that, the one would be taken for the other, and the other would do nothing.
            (Tell::Prompt(_), Some(_)) => Err(Unsaid::NotYet),
            (Tell::Interrupt {}, Some(turn)) if turn.is_meant(id) && (turn.begun || turn.asks.is_some()) => {
                let params = json!({ "threadId": self.thread, "turnId": turn.id });
                Ok(wire::request(&id.0, "turn/interrupt", &params))
            }
            (Tell::Interrupt {}, _) => Err(Unsaid::NotYet),
            (Tell::Answer { request_id, decision }, Some(turn)) if turn.asks.as_ref() == Some(request_id) => {
                Ok(self.answer_plan(id, request_id, decision))
            }
            (Tell::Answer { request_id, decision }, _) => match self.asks.get(&request_id.0) {
                Some(ask) => Ok(ask.answer(decision)?),
                None => Err(Unsupported { provider: "codex", what: "be told what it no longer asks" }.into()),
            },
            (Tell::Mode(mode), _) => Ok(self.settings(&id.0, mode)),
            (Tell::Model(model), _) => {
                let collaboration = self.collaboration(&self.mode, model);
                let params = json!({
                    "threadId": self.thread,
                    "model": model,
                    "collaborationMode": collaboration,
                });
                let own = json!({ "model": model });
                Ok(json!({ "id": id, "method": "thread/settings/update", "params": params, OWN: own }).to_string())
            }
        }
    }

    fn summary(&self) -> String {
        let summary = Summary {
            setup: self.setup.clone(),
            thread: self.thread.clone(),
            model: self.model.clone(),
            effort: self.effort.clone(),
            crossed: self.crossed,
            mode: self.mode.to_string(),
            sandboxed: self.sandboxed,
            roots: self.roots.clone(),
            resumable: self.resumable,
            stage: self.stage.clone(),
            changes: self.changes.clone(),
            rules: self.rules.clone(),
            spent: self.spent,
            // Only what goes on in the background is open between turns.
            items: self.items.clone(),
            warned: self.warned.clone(),
            muttered: self.muttered.clone(),
        };
        json!(summary).to_string()
    }
}

const STOPPED: &str = "it was interrupted";

/// How many of anything are kept; more is nonsense.
const MOST: usize = 500;

/// What prompts may weigh together that the program has not taken into its turn.
const MOST_TOLD: usize = 8 * 1024 * 1024;

/// How many questions may be open at once.
const MOST_ASKS: usize = 100;

const MOST_WARNINGS: usize = 32;
const MOST_ENTRIES: usize = 200;
