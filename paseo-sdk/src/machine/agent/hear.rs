//! What the journal of an agent says about it.

use super::{
    Agent, Fact, Heard, Output, Position, Process, Rule, SHOWN_MESSAGE, interrupt_tell, prompt_tell, told_prompt,
    turn_of,
};
use crate::item::{Content, Happening, Item, Origin};
use crate::machine::turn::{self, Turn};
use crate::machine::{Machine, outbox};
use crate::model::{Behavior, Decision, ItemId, Outcome, Permission, PromptId, Timestamp, TurnEnd, TurnId, Usage};
use crate::provider::{Ask, Ending, Event, Exit, Tell, TellId};

impl Agent {
    pub(super) fn hear(&mut self, heard: Heard) {
        let record = match heard.fact {
            Some(Fact::Exited(_)) => END,
            _ => heard.record,
        };
        let position = Position { run: heard.run, record };
        if let Some(Fact::Launched { pid }) = heard.fact {
            self.process = Process::Live { run: heard.run, pid, attached: false, idle_until: None };
            self.outputs.push_back(Output::Changed);
        }
        if position <= self.progress.applied {
            match heard.fact {
                // Known already, but for the process: that is not remembered, it is there or it is not.
                Some(Fact::Exited(_)) => self.process = Process::Gone,
                // Nor is what was told, where a daemon died before it had forgotten what was settled.
                Some(Fact::Told(id)) => drop(self.outbox.handle(heard.at, outbox::Input::Told(id))),
                Some(Fact::Launched { .. }) | None => {}
            }
            return;
        }
        // It could be written.
        if self.trouble.take().is_some() {
            self.outputs.push_back(Output::Changed);
        }
        if self.restoring {
            // Of records that were lost with the power, some may have been here when it happened.
            self.remember_unheard(Position { record: record.saturating_sub(1), ..position });
        }
        self.progress.run = heard.run;
        let mut scene = Scene { run: heard.run, record, part: 0, at: heard.at };
        if let Some(Fact::Told(id)) = &heard.fact {
            if told_prompt(id).is_some() {
                self.ready_by = None;
            }
            self.told(&mut scene, id);
        }
        let mut complaint = None;
        for event in heard.events {
            if let Event::Failed(text) = &event {
                complaint = Some(text.clone());
            }
            self.take(&mut scene, event);
        }
        if let Some(Fact::Exited(exit)) = heard.fact {
            self.exited(&mut scene, exit, complaint);
        }
        self.stalls = match self.traits.stall {
            Some(stall) if self.progress.expecting && self.turn.is_some() => Some(heard.at.plus(stall)),
            _ => None,
        };
        self.progress.applied = position;
        self.progress.over = self.process == Process::Gone;
        self.progress.updated_at = self.progress.updated_at.max(heard.at);
        if self.restoring {
            self.remember_unheard(position);
        }
        self.outbox.handle(heard.at, outbox::Input::Ready).expect("going on is never refused");
    }

    /// Something is wrong that no journal tells of.
    pub(super) fn in_trouble(&mut self, now: Timestamp, text: String) {
        // Whoever comes to a shim is told of it again.
        if self.trouble.as_ref() == Some(&text) {
            return;
        }
        self.trouble = Some(text.clone());
        let turn_id = self.turn.as_ref().map(|turn| turn.id().clone());
        let what = Happening::Notice { text };
        self.outputs.push_back(Output::Happened { at: now, turn_id, origin: None, what });
        self.outputs.push_back(Output::Changed);
    }

    fn told(&mut self, scene: &mut Scene, id: &TellId) {
        if self.outbox.handle(scene.at, outbox::Input::Told(id.clone())).is_err() {
            // A session's own saying, which no outbox holds.
            return;
        }
        match self.outbox.tell(id) {
            Some(Tell::Prompt(prompt)) => {
                let from = prompt.from.clone();
                let (text, images) = (prompt.text.clone(), i64::try_from(prompt.images.len()).unwrap_or(i64::MAX));
                let Some(prompt_id) = told_prompt(id) else { return };
                // What was told to a process that had given up already went without.
                if self.progress.given_up != scene.run
                    && let Some(note) = self.progress.cut_off.take()
                {
                    self.happen(scene, Happening::Notice { text: format!("the agent is told: {note}") });
                }
                if let Some(turn) = self.take_returned(&prompt_id) {
                    // It is known already that this was said.
                    match self.turn {
                        Some(_) => self.displaced = Some(turn),
                        None => self.turn = Some(turn),
                    }
                    return;
                }
                match &self.turn {
                    None => self.start_turn(scene, turn_of(&prompt_id), Some(prompt_id.clone())),
                    Some(turn) if turn.prompt() == Some(&prompt_id) => {}
                    Some(_) => self.behind.push_back(prompt_id.clone()),
                }
                if let Some(speaker) = from {
                    self.happen(scene, Happening::Notice { text: format!("{speaker} says:") });
                }
                let item_id = ItemId(format!("prompt.{prompt_id}"));
                let item = Item { item_id, parent_id: None, content: Content::UserMessage { text, images } };
                self.happen(scene, Happening::ItemClosed { item });
            }
            Some(Tell::Interrupt {}) => self.resume_interrupt(Timestamp(0)),
            Some(Tell::Answer { request_id, decision }) => {
                if let Some(ask) = self.asks.get(request_id) {
                    let text = answered(&ask.title, decision);
                    self.happen(scene, Happening::Notice { text });
                }
            }
            Some(Tell::Mode(_) | Tell::Model(_)) | None => {}
        }
    }

    /// A turn that was told to stop in an earlier life has as long as it had then; one that was told so before its time
    /// came, as long as any other from then on.
    pub(super) fn resume_interrupt(&mut self, its_time: Timestamp) {
        if let Some(turn) = &mut self.turn
            && let Some(at) = self.outbox.accepted_at(&interrupt_tell(turn.id()))
        {
            let _ = turn.handle(at.max(its_time), turn::Input::Interrupt);
        }
    }

    fn take(&mut self, scene: &mut Scene, event: Event) {
        match event {
            Event::Resumable(session) => self.progress.resume = Some(session),
            Event::Delivered(id) => {
                // An acknowledgement of something that is no longer remembered says nothing new.
                let _ = self.outbox.handle(scene.at, outbox::Input::Delivered(id));
            }
            Event::TurnStarted(tell) => self.turn_started(scene, tell.as_ref().and_then(told_prompt)),
            Event::Forgotten(id) => self.forgotten(scene, id.as_ref()),
            Event::Unusable(reason) => {
                self.about.changes.outdated_run = scene.run;
                if let Some(id) = self.outbox.unready_prompt().cloned() {
                    self.fail(scene.at, id, reason);
                }
            }
            Event::Joined(id) => self.joined(scene, &id),
            Event::Dropped(id) => self.dropped(scene, &id),
            // It says how it was, and is told otherwise.
            Event::ModeChanged(_) if self.outbox.has_untold_mode(scene.run) => {}
            Event::ModeChanged(mode) => {
                let position = Position { run: scene.run, record: scene.record };
                self.progress.mode = Some((position, mode));
                self.outputs.push_back(Output::Changed);
            }
            Event::Remembered(rule) => {
                let known = self.progress.rules.iter().any(|known| known.rule == rule);
                if !known && self.progress.rules.len() < REMEMBERED_RULES {
                    self.progress.rules.push(Rule { run: scene.run, rule });
                }
            }
            Event::Background(goes_on) => self.progress.background = goes_on,
            Event::Expecting(expecting) => self.progress.expecting = expecting,
            Event::CutOff(text) => self.progress.cut_off = Some(text),
            Event::Opened(item) => self.happen(scene, Happening::ItemOpened { item }),
            Event::Wrote { item_id, text } => self.outputs.push_back(Output::Wrote { item_id, text }),
            Event::Closed(item) => self.happen(scene, Happening::ItemClosed { item }),
            Event::Asked(ask) => self.asked(scene, ask),
            Event::Withdrawn(request) => {
                self.asks.remove(&request);
                self.outputs.push_back(Output::Changed);
            }
            Event::Notice(text) => self.happen(scene, Happening::Notice { text }),
            Event::Failed(text) => self.happen(scene, Happening::Error { text }),
            Event::TurnEnded(ending) => {
                self.taken(scene);
                self.end_turn(scene, ending);
            }
        }
    }

    fn turn_started(&mut self, scene: &mut Scene, prompt: Option<PromptId>) {
        let running = self.turn.as_ref().map(|turn| turn.prompt().cloned());
        match (running, prompt) {
            (None, prompt) => {
                let turn = prompt.as_ref().map_or_else(|| scene.unsolicited_turn(), turn_of);
                self.start_turn(scene, turn, prompt);
                self.begun = true;
            }
            (Some(Some(running)), Some(prompt)) if running == prompt => self.begun = true,
            // It waits with the others until the one that runs has ended.
            (Some(Some(_)), Some(_)) | (Some(None), None) => {}
            // It was told its prompt, but before that it does something else.
            (Some(Some(_)), None) if !self.begun => {
                self.displaced = self.turn.take();
                self.start_turn(scene, scene.unsolicited_turn(), None);
            }
            (Some(Some(_)), None) => {}
            // There is one turn at a time, so the one that nobody asked for is over.
            (Some(None), Some(prompt)) => {
                if self.displaced.as_ref().is_none_or(|turn| turn.prompt() != Some(&prompt)) {
                    self.behind.retain(|behind| *behind != prompt);
                    self.behind.push_front(prompt);
                }
                let outcome = Outcome::Completed;
                self.end_turn(scene, Ending { outcome, reason: None, message: None, usage: Usage::default() });
                self.begun = true;
            }
        }
    }

    /// A prompt was taken into the turn that runs.
    fn joined(&mut self, scene: &mut Scene, id: &TellId) {
        let Some(prompt) = told_prompt(id) else { return };
        self.behind.retain(|behind| *behind != prompt);
        let its_own = |turn: &Turn| turn.prompt() == Some(&prompt);
        match &self.turn {
            Some(turn) if its_own(turn) => self.begun = true,
            Some(_) if self.joined.contains(&prompt) => {}
            // It has a turn already, and so that is the one that goes on.
            Some(_) if self.displaced.as_ref().is_some_and(its_own) => self.turn_started(scene, Some(prompt)),
            Some(_) => self.joined.push(prompt),
            None => self.turn_started(scene, Some(prompt)),
        }
    }

    /// The session that was to be resumed is not there any more; what was told is told to a new one.
    fn forgotten(&mut self, scene: &mut Scene, id: Option<&TellId>) {
        self.progress.resume = None;
        if self.progress.given_up != scene.run {
            self.progress.given_up = scene.run;
            self.progress.cut_off = Some(FORGOTTEN.to_owned());
            let text =
                "its earlier conversation cannot be found any more: it starts anew, and knows nothing of it".to_owned();
            self.happen(scene, Happening::Notice { text });
        }
        let Some(id) = id else { return };
        if self.outbox.handle(scene.at, outbox::Input::Returned(id.clone())).is_err() {
            return;
        }
        let Some(prompt) = told_prompt(id) else { return };
        let its_own = |turn: &mut Turn| turn.prompt() == Some(&prompt);
        if let Some(turn) = self.turn.take_if(its_own) {
            self.returned.push(turn);
            self.next_turn(scene);
        } else if let Some(turn) = self.displaced.take_if(its_own) {
            self.returned.push(turn);
        }
        self.behind.retain(|behind| *behind != prompt);
    }

    /// A prompt was taken back after it was told.
    fn dropped(&mut self, scene: &mut Scene, id: &TellId) {
        let _ = self.outbox.handle(scene.at, outbox::Input::Delivered(id.clone()));
        let Some(prompt) = told_prompt(id) else { return };
        self.behind.retain(|behind| *behind != prompt);
        let reason = "it was taken back before the agent read it";
        let (outcome, usage) = (Outcome::Interrupted, Usage::default());
        let its_own = |turn: &mut Turn| turn.prompt() == Some(&prompt);
        let ending = Ending { outcome, reason: Some(reason.to_owned()), message: None, usage };
        if self.turn.as_mut().is_some_and(its_own) {
            self.taken(scene);
            self.end_turn(scene, ending);
            return;
        }
        if let Some(turn) = self.displaced.take_if(its_own) {
            // The turn that runs goes on when the other one has ended.
            let (begun, joined) = (self.begun, std::mem::take(&mut self.joined));
            self.displaced = self.turn.replace(turn);
            self.taken(scene);
            self.end_turn(scene, ending);
            (self.begun, self.joined) = (begun, joined);
            return;
        }
        self.happen(scene, Happening::Notice { text: format!("prompt {prompt}: {reason}") });
        self.delivered(scene, &prompt);
        let last_turn = self.progress.last_turn.take();
        self.finish(TurnEnd {
            turn_id: turn_of(&prompt),
            prompt_id: Some(prompt),
            outcome,
            reason: Some(reason.to_owned()),
            message: None,
            usage,
            ended_at: scene.at,
        });
        self.progress.last_turn = last_turn;
        self.outputs.push_back(Output::Changed);
    }

    /// A turn that has ended was taken, and so was what told it to stop, whether or not the provider said so.
    fn taken(&mut self, scene: &Scene) {
        let Some(turn) = &self.turn else { return };
        let stop = interrupt_tell(turn.id());
        let _ = self.outbox.handle(scene.at, outbox::Input::Delivered(stop));
        for prompt in turn.prompt().cloned().into_iter().chain(self.joined.clone()) {
            self.delivered(scene, &prompt);
        }
    }

    /// A prompt was taken, and so was what told it to stop.
    fn delivered(&mut self, scene: &Scene, prompt: &PromptId) {
        for id in [prompt_tell(prompt), interrupt_tell(&turn_of(prompt))] {
            let _ = self.outbox.handle(scene.at, outbox::Input::Delivered(id));
        }
    }

    /// Takes up a turn whose prompt its process gave back.
    pub(super) fn take_returned(&mut self, prompt: &PromptId) -> Option<Turn> {
        let at = self.returned.iter().position(|turn| turn.prompt() == Some(prompt))?;
        Some(self.returned.remove(at))
    }

    fn asked(&mut self, scene: &mut Scene, ask: Ask) {
        if self.turn.is_none() {
            let turn = scene.unsolicited_turn();
            self.start_turn(scene, turn, None);
        }
        let Ask { request_id, kind, title, description, input, options } = ask;
        let permission = Permission {
            request_id: request_id.clone(),
            agent_id: self.about.agent_id.clone(),
            kind,
            title,
            description,
            input,
            options,
            asked_at: scene.at,
        };
        self.asks.insert(request_id, permission);
        self.outputs.push_back(Output::Changed);
    }

    fn start_turn(&mut self, scene: &mut Scene, id: TurnId, prompt: Option<PromptId>) {
        self.turn = Some(Turn::new(id, prompt.clone(), scene.at));
        self.begun = false;
        self.happen(scene, Happening::TurnStarted { prompt_id: prompt });
        self.outputs.push_back(Output::Changed);
    }

    fn end_turn(&mut self, scene: &mut Scene, ending: Ending) {
        let Some(turn) = &mut self.turn else { return };
        let _ = turn.handle(scene.at, turn::Input::Ended);
        let Ending { outcome, reason, message, usage } = ending;
        let end = TurnEnd {
            turn_id: turn.id().clone(),
            prompt_id: turn.prompt().cloned(),
            outcome,
            reason: reason.clone(),
            message: message.map(shortened),
            usage,
            ended_at: scene.at,
        };
        self.happen(scene, Happening::TurnEnded { outcome, reason, usage });
        self.progress.usage += usage;
        if end.message.is_some() {
            self.progress.last_message.clone_from(&end.message);
        }
        for prompt in std::mem::take(&mut self.joined) {
            self.finish(TurnEnd { prompt_id: Some(prompt), usage: Usage::default(), ..end.clone() });
        }
        self.finish(end);
        self.outputs.push_back(Output::Changed);
        self.next_turn(scene);
    }

    /// Goes on with the turn of a prompt that was told already.
    fn next_turn(&mut self, scene: &mut Scene) {
        self.begun = false;
        self.turn = self.displaced.take();
        if self.turn.is_none()
            && let Some(prompt) = self.behind.pop_front()
        {
            self.start_turn(scene, turn_of(&prompt), Some(prompt));
        }
        self.resume_interrupt(scene.at);
    }

    fn exited(&mut self, scene: &mut Scene, exit: Exit, complaint: Option<String>) {
        // The next process would end as this one did, and the one after it.
        if self.progress.given_up != scene.run
            && let Some(id) = self.outbox.unready_prompt().cloned()
        {
            let reason = format!("{}, before it could be told anything", describe(&exit));
            let reason = complaint.map_or_else(|| reason.clone(), |complaint| format!("{reason}: {complaint}"));
            self.fail(scene.at, id, reason);
        }
        while let Some(turn) = &self.turn {
            // Not whether it is stopping: a stop that was accepted and never told would be forgotten by a restart.
            let stopped = self.outbox.tell(&interrupt_tell(turn.id())).is_some();
            let outcome = match (stopped, &exit) {
                (false, Exit { code: Some(_), reason: None, .. }) => Outcome::Error,
                _ => Outcome::Interrupted,
            };
            let reason = Some(describe(&exit));
            self.end_turn(scene, Ending { outcome, reason, message: None, usage: Usage::default() });
        }
        self.asks.clear();
        self.forget_wishes_of(scene.run);
        self.ready_by = None;
        self.progress.expecting = false;
        self.progress.background = false;
        self.outbox.handle(scene.at, outbox::Input::Lost(scene.run)).expect("a loss is never refused");
        self.process = Process::Gone;
        self.outputs.push_back(Output::Changed);
    }

    fn happen(&mut self, scene: &mut Scene, what: Happening) {
        let origin = Some(Origin { run: scene.run, record: scene.record, part: scene.part });
        scene.part += 1;
        let turn_id = self.turn.as_ref().map(|turn| turn.id().clone());
        self.outputs.push_back(Output::Happened { at: scene.at, turn_id, origin, what });
    }
}

/// The number under which the end of a run is known; no journal has as many records.
///
/// It comes after all else, also where a loss of power has taken the last records from the journal and not from the
/// timeline: then the end that the journal is given has a number there that was another one's.
const END: i64 = 1_000_000_000_000;

/// How many rules are remembered.
const REMEMBERED_RULES: usize = 100;

/// What an agent is told that has lost its conversation.
const FORGOTTEN: &str = "You had an earlier conversation about this task, which cannot be found any more. \
Look at how things stand before you go on.";

/// The record that is being heard.
struct Scene {
    run: i64,
    record: i64,
    part: i64,
    at: Timestamp,
}

impl Scene {
    fn unsolicited_turn(&self) -> TurnId {
        TurnId(format!("u{}.{}", self.run, self.record))
    }
}

/// Says how a process ended in the middle of a turn.
fn describe(exit: &Exit) -> String {
    match (&exit.reason, &exit.signal, exit.code) {
        (Some(reason), _, _) => reason.clone(),
        (None, Some(signal), _) => format!("its process was ended by signal {signal}"),
        (None, None, Some(code)) => format!("its process ended by itself with exit code {code}"),
        (None, None, None) => "its process is gone".to_owned(),
    }
}

/// Keeps the last 4 KiB.
fn shortened(mut text: String) -> String {
    if text.len() > SHOWN_MESSAGE {
        let mut cut = text.len() - SHOWN_MESSAGE;
        while !text.is_char_boundary(cut) {
            cut += 1;
        }
        text.drain(..cut);
    }
    text
}

/// Says how a question was answered, for those who read the timeline later.
pub(super) fn answered(title: &str, decision: &Decision) -> String {
    let answers = decision.updated_input.as_ref().and_then(|input| input["answers"].as_object());
    if let Some(answers) = answers.filter(|_| decision.behavior == Behavior::Allow) {
        let said = |(question, answer): (&String, &serde_json::Value)| {
            format!("{question} {}", answer.as_str().map_or_else(|| answer.to_string(), str::to_owned))
        };
        return format!("answered: {}", answers.iter().map(said).collect::<Vec<_>>().join("; "));
    }
    let verdict = match decision.behavior {
        Behavior::Allow => "allowed",
        Behavior::Deny => "denied",
    };
    match decision.message.as_deref().filter(|message| !message.is_empty()) {
        Some(message) => format!("{verdict}: {title} ({message})"),
        None => format!("{verdict}: {title}"),
    }
}
