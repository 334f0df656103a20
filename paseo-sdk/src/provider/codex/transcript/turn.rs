//! Turns: they begin with a prompt, or by themselves, and end when the program says so and what they left is put in order.

use serde_json::{Value, json};

use super::items::is_command;
use super::{STOPPED, Transcript};
use crate::model::{Mode, Outcome, RequestId, Usage};
use crate::provider::codex::{ask, mode_of, wire};
use crate::provider::value::{self, clip, text};
use crate::provider::{Ending, Event, Step, TellId};

/// The turn that runs.
#[derive(Default)]
pub(super) struct Turn {
    /// The program's id of it; empty until that is known.
    pub(super) id: String,
    /// The prompt that it answers; none when the program began by itself.
    pub(super) prompt: Option<TellId>,
    /// What it was told and has not taken: the prompt, or the answer to a plan.
    pub(super) awaited: Option<TellId>,
    /// Whether it runs, so that it can be stopped and spoken into.
    pub(super) begun: bool,
    /// The last thing that was said in it.
    pub(super) said: Option<String>,
    /// The plan that it came to.
    pub(super) plan: Option<String>,
    /// The request to carry that out, while it waits for an answer.
    pub(super) asks: Option<RequestId>,
    /// The mode in which it is carried out.
    pub(super) next_mode: Option<Mode>,
    pub(super) usage: Usage,
    pub(super) stopped: bool,
    /// How it has ended, while what it left is put in order.
    pub(super) ending: Option<(Outcome, Option<String>)>,
}

impl Transcript {
    /// The program has taken a prompt into the turn that runs, or there was none any more.
    pub(super) fn steered(&mut self, id: &str, taken: Option<&Value>, out: &mut Vec<Step>) {
        let Some(input) = self.steers.remove(id) else { return };
        let began = taken.map(|result| value::id(&result["turn"], "id")).filter(|turn| !turn.is_empty());
        match (&mut self.turn, taken, began) {
            (Some(turn), Some(_), began) => {
                if turn.id.is_empty() {
                    turn.id = began.unwrap_or_default();
                }
                // A turn runs, so that the prompt which was told before this one is in it as well.
                self.taken(out);
                let id = TellId(id.to_owned());
                out.push(Step::Event(Event::Delivered(id.clone())));
                out.push(Step::Event(Event::Joined(id)));
            }
            // The turn which ran when it was told is over, and it has one of its own.
            (None, Some(_), Some(began)) => {
                self.turn = Some(Turn { id: began, ..Turn::of(TellId(id.to_owned())) });
                self.taken(out);
            }
            _ => match input {
                Some(input) => {
                    self.late.push_back((id.to_owned(), input));
                    self.start_late(out);
                }
                None => out.push(Step::Event(Event::Dropped(TellId(id.to_owned())))),
            },
        }
    }

    /// Begins the turn of a prompt that came too late for another one.
    pub(super) fn start_late(&mut self, out: &mut Vec<Step>) {
        if self.turn.is_none()
            && let Some((id, input)) = self.late.pop_front()
        {
            out.push(Step::Say(self.start(&id, &input)));
            self.turn = Some(Turn::of(TellId(id)));
        }
    }

    /// The program has taken a prompt, or the answer to a plan, or has not.
    pub(super) fn started(&mut self, id: &str, answer: Result<&Value, String>, out: &mut Vec<Step>) {
        let awaited = |turn: &&mut Turn| turn.awaited.as_ref().is_some_and(|awaited| awaited.0 == id);
        let Some(turn) = self.turn.as_mut().filter(awaited) else { return };
        match answer {
            Ok(result) => {
                turn.id = value::id(&result["turn"], "id");
                self.taken(out);
            }
            Err(error) => {
                turn.ending = Some((Outcome::Error, Some(error)));
                turn.next_mode = None;
                self.taken(out);
                self.finish(out);
            }
        }
    }

    /// The program has taken what the turn was waiting for.
    pub(super) fn taken(&mut self, out: &mut Vec<Step>) {
        let Some(turn) = &mut self.turn else { return };
        let Some(id) = turn.awaited.take() else { return };
        out.push(Step::Event(Event::Delivered(id.clone())));
        if turn.prompt.as_ref() == Some(&id) {
            out.push(Step::Event(Event::TurnStarted(Some(id))));
        }
        if let Some(mode) = turn.next_mode.take() {
            self.acts_as(mode, out);
        }
    }

    pub(super) fn began(&mut self, id: String, out: &mut Vec<Step>) {
        match &mut self.turn {
            Some(turn) if turn.ending.is_none() => {
                turn.id = id;
                turn.begun = true;
                self.taken(out);
            }
            Some(_) => {}
            None => {
                self.turn = Some(Turn { id, begun: true, ..Turn::default() });
                out.push(Step::Event(Event::TurnStarted(None)));
            }
        }
        // A thread is on the disk from its first turn on.
        if !std::mem::replace(&mut self.resumable, true) {
            out.push(Step::Event(Event::Resumable(self.thread.clone())));
        }
    }

    pub(super) fn completed(&mut self, ended: &Value, out: &mut Vec<Step>) {
        let plans = self.mode == Mode::Plan;
        let Some(turn) = &mut self.turn else { return };
        if turn.id != value::id(ended, "id") || turn.awaited.is_some() {
            return;
        }
        turn.begun = false;
        if turn.asks.is_some() || turn.ending.is_some() {
            return;
        }
        let (outcome, reason) = outcome(ended);
        let done = outcome == Outcome::Completed && !turn.stopped;
        if let Some(plan) = turn.plan.take().filter(|_| done && plans) {
            let request = RequestId(format!("{PLAN}{}", turn.id));
            turn.asks = Some(request.clone());
            out.push(Step::Event(Event::Asked(ask::plan(request, &plan))));
            return;
        }
        turn.ending = Some((outcome, reason));
        if turn.stopped || outcome == Outcome::Interrupted {
            turn.stopped = true;
            // Its commands run on otherwise.
            let params = json!({ "threadId": self.thread });
            out.push(Step::Say(wire::request(wire::CLEAN, "thread/backgroundTerminals/clean", &params)));
        } else {
            self.finish(out);
        }
    }

    /// Somebody has answered a plan: the turn goes on, or is over.
    pub(super) fn plan_answered(&mut self, id: &TellId, request: &str, own: &Value, out: &mut Vec<Step>) {
        let asked = |turn: &&mut Turn| turn.asks.as_ref().is_some_and(|asks| asks.0 == request);
        let Some(turn) = self.turn.as_mut().filter(asked) else {
            // Nothing waits for it any more.
            out.push(Step::Event(Event::Delivered(id.clone())));
            return;
        };
        out.extend(turn.asks.take().map(|request| Step::Event(Event::Withdrawn(request))));
        if own["over"] == true {
            turn.ending = Some((Outcome::Completed, None));
            self.finish(out);
            out.push(Step::Event(Event::Delivered(id.clone())));
        } else {
            turn.id = String::new();
            turn.awaited = Some(id.clone());
            turn.next_mode = own["mode"].as_str().map(mode_of);
        }
    }

    /// The turn is over, and what it left is put in order.
    pub(super) fn finish(&mut self, out: &mut Vec<Step>) {
        let Some(turn) = self.turn.take_if(|turn| turn.ending.is_some()) else { return };
        let Some((outcome, reason)) = turn.ending else { return };
        // A command may go on behind the turns, unless those were ended.
        self.close(|item| !is_command(item) || turn.stopped, out);
        for open in self.items.values_mut() {
            open.behind = true;
        }
        let asks = std::mem::take(&mut self.asks).into_keys().map(RequestId).chain(turn.asks);
        out.extend(asks.map(|request| Step::Event(Event::Withdrawn(request))));
        self.look_behind(out);
        let ending = Ending { outcome, reason, message: turn.said, usage: turn.usage };
        out.push(Step::Event(Event::TurnEnded(ending)));
        self.start_late(out);
    }
}

impl Turn {
    /// The turn of a prompt that was told.
    pub(super) fn of(prompt: TellId) -> Turn {
        Turn { awaited: Some(prompt.clone()), prompt: Some(prompt), ..Turn::default() }
    }

    /// Returns whether it is this one that is to be stopped, and not that of a prompt which was told into it.
    pub(super) fn is_meant(&self, interrupt: &TellId) -> bool {
        let named = interrupt.0.strip_prefix(INTERRUPT);
        let own = self.prompt.as_ref().map(|prompt| prompt.0.strip_prefix(PROMPT).unwrap_or(&prompt.0));
        own.is_none_or(|own| named.is_none_or(|named| named == own))
    }
}

/// Says what came of a turn.
fn outcome(ended: &Value) -> (Outcome, Option<String>) {
    let error = &ended["error"];
    let info = &error["codexErrorInfo"];
    match text(ended, "status") {
        "completed" => (Outcome::Completed, None),
        "interrupted" => (Outcome::Interrupted, Some(STOPPED.to_owned())),
        _ => {
            let status = info.as_object().and_then(|info| info.values().next()?["httpStatusCode"].as_i64());
            let message = Some(clip(text(error, "message"), 2_000)).filter(|message| !message.is_empty());
            let message = message.unwrap_or_else(|| "codex failed".to_owned());
            let reason = match status.map(|status| status.to_string()) {
                Some(status) if !message.contains(&status) => format!("{message} (status {status})"),
                _ => message,
            };
            let outcome = if info == "usageLimitExceeded" { Outcome::Limit } else { Outcome::Error };
            (outcome, Some(reason))
        }
    }
}

/// What the ids of prompts begin with, and those of what stops their turns.
const PROMPT: &str = "prompt.";
const INTERRUPT: &str = "interrupt.";

/// What the requests to carry out a plan begin with, which are ours.
const PLAN: &str = "plan.";
