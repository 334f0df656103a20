//! What clients want of an agent.

use std::collections::BTreeMap;

use super::{Agent, Process, Refusal, interrupt_tell, memory, prompt_tell, told_prompt, turn_of};
use crate::catalogue::WhenBusy;
use crate::machine::{Machine, outbox, turn};
use crate::model::{Decision, Prompt, PromptId, RequestId, Timestamp, TurnId};
use crate::provider::{Tell, TellId};

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
        let tell_id = prompt_tell(&id);
        // Where nothing runs that it could be said into, it is a prompt like any other.
        let steer = when_busy == WhenBusy::Steer && self.turn.is_some();
        let (id_of_tell, run) = (tell_id.clone(), self.newest_run());
        let accept = outbox::Input::Accept { id: id_of_tell, tell: Tell::Prompt(prompt), first, steer, run };
        self.outbox.handle(now, accept).map_err(|refusal| match refusal {
            outbox::Refusal::Conflict(_) | outbox::Refusal::Unknown(_) => Refusal::Conflict(id),
            outbox::Refusal::Full => Refusal::Full,
        })?;
        if !self.outbox.waiting().any(|waiting| *waiting == tell_id) {
            return Ok(());
        }
        // So it is too when the daemon died in the middle of this, and the prompt is given again.
        self.dismissed = false;
        self.about.reports.held = false;
        if self.about.archived_at.take().is_some() {
            self.touch(now);
            self.save();
        }
        let next = self.outbox.on_its_way().is_some_and(|next| *next != tell_id);
        if first && (self.turn.is_some() || next) {
            self.interrupt(now);
        }
        Ok(())
    }

    pub(super) fn answer(&mut self, now: Timestamp, request_id: RequestId, decision: Decision) -> Result<(), Refusal> {
        if let Some(decided) = self.decide(now, &request_id, &decision) {
            return decided;
        }
        let id = self.answer_tell(&request_id);
        let tell = Tell::Answer { request_id: request_id.clone(), decision: decision.clone() };
        match (self.outbox.tell(&id), self.asks.get(&request_id)) {
            (Some(told), _) if *told == tell => return Ok(()),
            (Some(_), _) => return Err(Refusal::AlreadyAnswered(request_id)),
            (None, None) => {
                let answered = memory::Answered::new(&request_id, &decision);
                return match self.progress.answered.iter().find(|other| other.request_id == request_id) {
                    Some(other) if *other == answered => Ok(()),
                    Some(_) => Err(Refusal::AlreadyAnswered(request_id)),
                    None => Err(Refusal::NoSuchRequest(request_id)),
                };
            }
            (None, Some(ask)) => {
                if let Some(option) = decision.option_id
                    && !ask.options.iter().any(|offered| offered.option_id == option)
                {
                    return Err(Refusal::NoSuchOption { request: request_id, option });
                }
            }
        }
        let accepted = self.accept(now, id, tell);
        accepted.expect("an answer is not in the outbox, and is no prompt that could be one too many");
        if decision.interrupt {
            self.interrupt(now);
        }
        Ok(())
    }

    /// Takes up what the process is told as soon as it can be told anything.
    pub(super) fn accept(&mut self, now: Timestamp, id: TellId, tell: Tell) -> Result<(), outbox::Refusal> {
        let run = self.newest_run();
        self.outbox.handle(now, outbox::Input::Accept { id, tell, first: false, steer: false, run })
    }

    pub(super) fn newest_run(&self) -> i64 {
        match self.process {
            Process::Starting { run } | Process::Live { run, .. } | Process::Leaving { run, .. } => run,
            Process::Gone => self.progress.run,
        }
    }

    /// Tells the turn that runs, or the prompt that is on its way, to stop.
    pub(super) fn interrupt(&mut self, now: Timestamp) {
        let turn = match &mut self.turn {
            Some(turn) => {
                // A turn that is held here has not ended, so it takes this.
                let _ = turn.handle(now, turn::Input::Interrupt);
                Some(turn.id().clone())
            }
            None => self.outbox.on_its_way().and_then(told_prompt).map(|prompt| turn_of(&prompt)),
        };
        if let Some(turn) = turn {
            self.tell_to_stop(now, &turn);
        }
    }

    fn tell_to_stop(&mut self, now: Timestamp, turn: &TurnId) {
        let (id, tell) = (interrupt_tell(turn), Tell::Interrupt {});
        // An interrupt is the same each time, so this is refused only when the file of the outbox was tampered with.
        let _ = self.accept(now, id, tell);
    }

    pub(super) fn cancel(&mut self, now: Timestamp) {
        self.hold_reports();
        self.interrupt(now);
        // What it was told already would have its turn next.
        let displaced = self.displaced.as_ref().map(|turn| turn.id().clone());
        let next: Vec<_> = displaced.into_iter().chain(self.behind.iter().map(turn_of)).collect();
        for turn in next {
            self.tell_to_stop(now, &turn);
        }
        // What the process may have been told is withdrawn when it is known that it was not.
        let on_its_way = self.outbox.on_its_way().and_then(told_prompt);
        let waiting: Vec<_> = self.outbox.waiting().filter_map(told_prompt).collect();
        for prompt in waiting {
            match self.knows_what_was_told() && on_its_way.as_ref() != Some(&prompt) {
                true => self.withdraw(now, &prompt),
                false => self.tell_to_stop(now, &turn_of(&prompt)),
            }
        }
    }

    /// Stops the turn that runs if it is this prompt's.
    pub(super) fn stop_prompt(&mut self, now: Timestamp, prompt: &PromptId) {
        if self.turn.as_ref().is_some_and(|turn| turn.prompt() == Some(prompt)) {
            self.interrupt(now);
        }
    }

    fn withdraw(&mut self, now: Timestamp, prompt: &PromptId) {
        self.outbox.handle(now, outbox::Input::Withdraw(prompt_tell(prompt))).expect("a prompt that waits is known");
    }

    /// Withdraws the prompts that somebody stopped before any process was told of them.
    pub(super) fn withdraw_stopped(&mut self, now: Timestamp) {
        let stopped = |prompt: &PromptId| self.outbox.tell(&interrupt_tell(&turn_of(prompt))).is_some();
        let stopped: Vec<_> = self.outbox.waiting().filter_map(told_prompt).filter(stopped).collect();
        for prompt in stopped {
            self.withdraw(now, &prompt);
        }
    }

    pub(super) fn archive(&mut self, now: Timestamp) {
        if self.about.archived_at.is_none() {
            self.cancel(now);
            // An archived agent starts nothing, so that nothing may wait once this is saved.
            self.pass_on(now);
            self.about.archived_at = Some(now);
            self.touch(now);
            self.save();
        }
    }

    pub(super) fn update(
        &mut self,
        now: Timestamp,
        title: Option<String>,
        labels: BTreeMap<String, String>,
        model: Option<String>,
    ) {
        if let Some(model) = model {
            self.set_model(now, model);
        }
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
