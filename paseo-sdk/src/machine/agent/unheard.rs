//! Prompts that came to an end without any process having heard them.

use super::{Agent, Output, Process, told_prompt, turn_of};
use crate::item::{Content, Happening, Item};
use crate::machine::{Machine, outbox};
use crate::model::{ItemId, Outcome, PromptId, Timestamp, TurnEnd, Usage};
use crate::provider::{Tell, TellId};

impl Agent {
    pub(super) fn not_launched(&mut self, now: Timestamp, run: i64, reason: String) {
        if self.process != (Process::Starting { run }) {
            return;
        }
        self.process = Process::Gone;
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

    /// Writes into the timeline what came of a prompt that no process ever heard.
    pub(super) fn unheard(&mut self, now: Timestamp, id: &TellId, fate: &outbox::Fate) {
        let (Some(Tell::Prompt(prompt)), Some(prompt_id)) = (self.outbox.tell(id), told_prompt(id)) else { return };
        let content = Content::UserMessage { text: prompt.text.clone(), images: 0 };
        let Some(end) = unheard_end(&prompt_id, fate, now) else { return };
        let turn_id = Some(end.turn_id.clone());
        let item = Item { item_id: ItemId(id.0.clone()), parent_id: None, content };
        let (outcome, reason) = (end.outcome, end.reason.clone());
        for what in [
            Happening::TurnStarted { prompt_id: Some(prompt_id) },
            Happening::ItemClosed { item },
            Happening::TurnEnded { outcome, reason, usage: Usage::default() },
        ] {
            self.outputs.push_back(Output::Happened { at: now, turn_id: turn_id.clone(), origin: None, what });
        }
        let current = self.progress.last_turn.take();
        self.finish(end);
        if self.turn.is_some() {
            self.progress.last_turn = current;
        }
        self.progress.updated_at = self.progress.updated_at.max(now);
        self.outputs.push_back(Output::Changed);
    }

    /// Takes up what came of prompts that no process heard, after a restart that found it in the outbox only.
    pub(super) fn remember_unheard_prompts(&mut self) {
        let settled: Vec<_> = self.outbox.settled().map(|(id, _, fate)| (id.clone(), fate.clone())).collect();
        for (id, fate) in settled {
            let Some(prompt) = told_prompt(&id) else { continue };
            let known = self.progress.finished.iter().any(|finished| finished.end.prompt_id.as_ref() == Some(&prompt));
            if let Some(end) = unheard_end(&prompt, &fate, self.progress.updated_at).filter(|_| !known) {
                self.finish(end);
            }
        }
    }
}

/// Returns the end of a prompt that no process heard.
fn unheard_end(prompt: &PromptId, fate: &outbox::Fate, at: Timestamp) -> Option<TurnEnd> {
    let (outcome, reason) = match fate {
        outbox::Fate::Withdrawn => (Outcome::Interrupted, "it was withdrawn before the agent was told".to_owned()),
        outbox::Fate::Failed(reason) => (Outcome::Error, reason.clone()),
        outbox::Fate::Delivered | outbox::Fate::Interrupted => return None,
    };
    Some(TurnEnd {
        turn_id: turn_of(prompt),
        prompt_id: Some(prompt.clone()),
        outcome,
        reason: Some(reason),
        message: None,
        usage: Usage::default(),
        ended_at: at,
    })
}
