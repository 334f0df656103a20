//! What clients want of an agent.

use std::collections::BTreeMap;

use super::{Agent, Process, Refusal, interrupt_tell, memory, prompt_tell, told_prompt, turn_of};
use crate::catalogue::WhenBusy;
use crate::machine::{Machine, outbox, turn};
use crate::model::{Decision, Prompt, PromptId, RequestId, Timestamp};
use crate::provider::Tell;

impl Agent {
    pub(super) fn prompt(
        &mut self,
        now: Timestamp,
        id: PromptId,
        prompt: Prompt,
        when_busy: WhenBusy,
    ) -> Result<(), Refusal> {
        if let Some(finished) =
            self.progress.finished.iter().find(|finished| finished.end.prompt_id.as_ref() == Some(&id))
        {
            return match finished.digest == memory::digest(&prompt) {
                true => Ok(()),
                false => Err(Refusal::Conflict(id)),
            };
        }
        if !prompt.images.is_empty() && !self.traits.images {
            return Err(Refusal::Unsupported("take pictures"));
        }
        if when_busy == WhenBusy::Steer && !self.traits.steers {
            return Err(Refusal::Unsupported("take a prompt into a running turn"));
        }
        let first = when_busy == WhenBusy::Interrupt;
        let known = self.outbox.tell(&prompt_tell(&id)).is_some();
        let accept = outbox::Input::Accept { id: prompt_tell(&id), tell: Tell::Prompt(prompt), first };
        self.outbox.handle(now, accept).map_err(|refusal| match refusal {
            outbox::Refusal::Conflict(_) | outbox::Refusal::Unknown(_) => Refusal::Conflict(id),
            outbox::Refusal::Full => Refusal::Full,
        })?;
        if known {
            return Ok(());
        }
        self.dismissed = false;
        if self.about.archived_at.take().is_some() {
            self.touch(now);
            self.save();
        }
        if first && self.turn.is_some() {
            self.interrupt(now);
        }
        Ok(())
    }

    pub(super) fn answer(&mut self, now: Timestamp, request_id: RequestId, decision: Decision) -> Result<(), Refusal> {
        let id = self.answer_tell(&request_id);
        let tell = Tell::Answer { request_id: request_id.clone(), decision: decision.clone() };
        match (self.outbox.tell(&id), self.asks.get(&request_id)) {
            (Some(told), _) if *told == tell => return Ok(()),
            (Some(_), _) => return Err(Refusal::AlreadyAnswered(request_id)),
            (None, None) => return Err(Refusal::NoSuchRequest(request_id)),
            (None, Some(ask)) => {
                if let Some(option) = decision.option_id
                    && !ask.options.iter().any(|offered| offered.option_id == option)
                {
                    return Err(Refusal::NoSuchOption { request: request_id, option });
                }
            }
        }
        let accepted = self.outbox.handle(now, outbox::Input::Accept { id, tell, first: false });
        accepted.expect("an answer is not in the outbox, and is no prompt that could be one too many");
        if decision.interrupt {
            self.interrupt(now);
        }
        Ok(())
    }

    /// Tells the turn that runs, or the prompt that is on its way, to stop.
    fn interrupt(&mut self, now: Timestamp) {
        let turn = match &mut self.turn {
            Some(turn) => {
                // A turn that is held here has not ended, so it takes this.
                let _ = turn.handle(now, turn::Input::Interrupt);
                Some(turn.id().clone())
            }
            None => self.outbox.waiting().find_map(told_prompt).map(|prompt| turn_of(&prompt)),
        };
        if let Some(turn) = turn {
            let accept = outbox::Input::Accept { id: interrupt_tell(&turn), tell: Tell::Interrupt {}, first: false };
            // An interrupt is the same each time, so this is refused only when the file of the outbox was tampered with.
            let _ = self.outbox.handle(now, accept);
        }
    }

    pub(super) fn cancel(&mut self, now: Timestamp) {
        self.outbox.handle(now, outbox::Input::Withdraw).expect("withdrawing is never refused");
        if self.turn.is_some() || matches!(self.process, Process::Live { .. }) && self.outbox.waiting().next().is_some()
        {
            self.interrupt(now);
        }
    }

    pub(super) fn archive(&mut self, now: Timestamp) {
        if self.about.archived_at.is_none() {
            self.cancel(now);
            self.about.archived_at = Some(now);
            self.touch(now);
            self.save();
        }
    }

    pub(super) fn update(&mut self, now: Timestamp, title: Option<String>, labels: BTreeMap<String, String>) {
        if let Some(title) = title {
            self.about.title = title;
        }
        for (label, value) in labels {
            match value.is_empty() {
                true => self.about.labels.remove(&label),
                false => self.about.labels.insert(label, value),
            };
        }
        self.touch(now);
        self.save();
    }
}
