//! Prompts that came to an end without any process having heard them.
//!
//! No journal tells of them, so their place in the timeline is kept with their end in the outbox: a daemon that died
//! before it wrote that down writes it when it is back, and one that had written it does not write it twice.

use super::{Agent, Output, Position, Process, interrupt_tell, prompt_tell, told_prompt, turn_of};
use crate::item::{Content, Happening, Item, Origin};
use crate::machine::Machine;
use crate::machine::outbox::{self, Fate, Settled};
use crate::model::{ItemId, Outcome, PromptId, Timestamp, TurnEnd, Usage};
use crate::provider::{Tell, TellId};

/// The first part of a record that is no part of it, but what paseo says after it. No record has as many parts.
const PARTS: i64 = 1_000_000;

impl Agent {
    pub(super) fn not_launched(&mut self, now: Timestamp, run: i64, reason: String) {
        if self.process != (Process::Starting { run }) {
            return;
        }
        self.process = Process::Gone;
        self.forget_wishes_of(run);
        // A part of it may be there, so that the next one gets another number.
        self.progress.run = run;
        // A daemon that dies before this is saved gives the number away again.
        self.outbox.handle(now, outbox::Input::Unlaunched).expect("a loss is never refused");
        let next = self.outbox.waiting().next().cloned();
        match next {
            Some(id) => self.fail(now, id, reason),
            None => self.outputs.push_back(Output::Changed),
        }
    }

    pub(super) fn fail(&mut self, now: Timestamp, id: TellId, reason: String) {
        // A tell that is not in the outbox any more has come to its end in between.
        let _ = self.outbox.handle(now, outbox::Input::Fail(id, reason));
    }

    /// Passes on a line of the outbox, and what it means for a prompt.
    pub(super) fn keep(&mut self, line: outbox::Line) {
        let outbox::Line::Settled { id, at, fate, .. } = line else {
            self.outputs.push_back(Output::Keep(line));
            self.outputs.push_back(Output::Changed);
            return;
        };
        let prompt = told_prompt(&id).filter(|_| is_unheard(&fate));
        let applied = self.progress.applied;
        let part = PARTS.saturating_add(self.progress.unheard.saturating_mul(3));
        let origin = prompt.as_ref().map(|_| Origin { run: applied.run, record: applied.record, part });
        self.outputs.push_back(Output::Keep(outbox::Line::Settled { id, at, fate: fate.clone(), origin }));
        self.outputs.push_back(Output::Changed);
        if let (Some(prompt), Some(origin)) = (prompt, origin) {
            self.unheard(&prompt, fate, Timestamp(at), origin);
        }
    }

    /// Takes up what came of prompts that no process heard, as far as it came before what follows this record.
    pub(super) fn remember_unheard(&mut self, until: Position) {
        let due = |(id, settled): (&TellId, &Settled)| {
            let origin = settled.origin?;
            let reached = Position { run: origin.run, record: origin.record } <= until;
            let prompt = told_prompt(id).filter(|prompt| reached && !self.has_finished(prompt))?;
            Some((prompt, settled.fate.clone(), settled.at, origin))
        };
        let mut due: Vec<_> = self.outbox.settled().filter_map(due).collect();
        due.sort_by_key(|(.., origin)| *origin);
        for (prompt, fate, at, origin) in due {
            self.unheard(&prompt, fate, at, origin);
        }
    }

    /// Writes into the timeline what came of a prompt that no process ever heard, and remembers it.
    fn unheard(&mut self, prompt_id: &PromptId, fate: Fate, at: Timestamp, origin: Origin) {
        let Some(Tell::Prompt(prompt)) = self.outbox.tell(&prompt_tell(prompt_id)) else { return };
        let images = i64::try_from(prompt.images.len()).unwrap_or(i64::MAX);
        let content = Content::UserMessage { text: prompt.text.clone(), images };
        let item = Item { item_id: ItemId(format!("prompt.{prompt_id}")), parent_id: None, content };
        let (outcome, reason) = match fate {
            Fate::Failed(reason) => (Outcome::Error, reason),
            _ => (Outcome::Interrupted, "it was withdrawn before the agent was told".to_owned()),
        };
        let (turn_id, reason) = (turn_of(prompt_id), Some(reason));
        let usage = Usage::default();
        let happenings = [
            Happening::TurnStarted { prompt_id: Some(prompt_id.clone()) },
            Happening::ItemClosed { item },
            Happening::TurnEnded { outcome, reason: reason.clone(), usage },
        ];
        // Of one that was told to a process which gave it back, the timeline knows the rest.
        let known = if self.take_returned(prompt_id).is_some() { 2 } else { 0 };
        for (number, what) in (0..).zip(happenings).skip(known) {
            let origin = Some(Origin { part: origin.part.saturating_add(number), ..origin });
            self.outputs.push_back(Output::Happened { at, turn_id: Some(turn_id.clone()), origin, what });
        }
        // What was to stop it would else stop the turn of another one.
        let _ = self.outbox.handle(at, outbox::Input::Delivered(interrupt_tell(&turn_of(prompt_id))));
        let last_turn = self.progress.last_turn.take();
        let prompt_id = Some(prompt_id.clone());
        self.finish(TurnEnd { turn_id, prompt_id, outcome, reason, message: None, usage, ended_at: at });
        if self.turn.is_some() {
            self.progress.last_turn = last_turn;
        }
        self.progress.unheard = self.progress.unheard.max(origin.part.saturating_sub(PARTS) / 3).saturating_add(1);
        self.progress.updated_at = self.progress.updated_at.max(at);
        self.outputs.push_back(Output::Changed);
    }

    fn has_finished(&self, prompt: &PromptId) -> bool {
        self.progress.finished.iter().any(|finished| finished.end.prompt_id.as_ref() == Some(prompt))
    }
}

/// Whether a prompt with this fate ends without a journal that says so.
fn is_unheard(fate: &Fate) -> bool {
    match fate {
        Fate::Withdrawn | Fate::Failed(_) => true,
        Fate::Delivered | Fate::Interrupted => false,
    }
}
