//! Changes in the middle of an agent's life: of its mode and model, and what follows from a model that says nothing.

use super::{Agent, Output, Position, Process};
use crate::item::Happening;
use crate::model::{Mode, Timestamp};
use crate::provider::{LaunchSpec, Tell, TellId};

impl Agent {
    /// Returns with what the process of a run is launched.
    #[must_use]
    pub fn spec(&self, run: i64) -> LaunchSpec {
        // What is said within a run, its session learns from the journal: so it is the same when that is read again.
        let rules = self.progress.rules.iter().filter(|rule| rule.run < run).map(|rule| rule.rule.clone()).collect();
        LaunchSpec { mode: self.mode().clone(), rules, ..self.about.spec() }
    }

    /// Returns how freely it acts: what somebody said last, or what the program has made of it since.
    pub(super) fn mode(&self) -> &Mode {
        match &self.progress.mode {
            Some((at, mode)) if *at > self.about.changes.mode_since => mode,
            _ => &self.about.mode,
        }
    }

    pub(super) fn set_mode(&mut self, now: Timestamp, mode: Mode) {
        if *self.mode() == mode {
            return;
        }
        self.about.mode = mode.clone();
        self.about.changes.mode_since = self.progress.applied;
        self.change(now, "mode", Tell::Mode(mode));
    }

    pub(super) fn set_model(&mut self, now: Timestamp, model: String) {
        if self.about.model.as_ref() == Some(&model) {
            return;
        }
        self.about.provider = format!("{}/{model}", self.about.provider_name());
        self.about.model = Some(model.clone());
        self.change(now, "model", Tell::Model(model));
    }

    /// Tells a change to the process that runs, and saves it; the next one is launched with it.
    ///
    /// In this order: whoever asks again, because the daemon died in between, would else be taken to have it already.
    fn change(&mut self, now: Timestamp, what: &str, tell: Tell) {
        self.about.changes.count = self.about.changes.count.saturating_add(1);
        if self.process != Process::Gone {
            let id = TellId(format!("{what}.{}", self.about.changes.count));
            // An id is used once, so this is refused only when the file of the outbox was tampered with.
            let _ = self.accept(now, id, tell);
            self.pass_on(now);
        }
        self.touch(now);
        self.save();
    }

    /// Counts the changes that were kept by a daemon which died before it had saved them: an id is used once.
    pub(super) fn count_changes(&mut self) {
        let number = |id: &TellId| id.0.strip_prefix("mode.").or(id.0.strip_prefix("model."))?.parse::<i64>().ok();
        let newest = self.outbox.ids().filter_map(number).max();
        self.about.changes.count = self.about.changes.count.max(newest.unwrap_or(0));
    }

    pub(super) fn unsayable(&mut self, now: Timestamp, id: TellId, reason: String) {
        let tell = self.outbox.tell(&id).cloned();
        self.fail(now, id, reason);
        let text = match tell {
            Some(Tell::Mode(mode)) => {
                if mode == self.about.mode {
                    // Whatever this process says of its mode is not what was asked for.
                    self.about.changes.mode_since = Position { run: self.progress.run, record: i64::MAX };
                }
                format!("from the next turn on it acts in mode `{mode}`")
            }
            Some(Tell::Model(model)) => format!("from the next turn on it uses the model `{model}`"),
            _ => return,
        };
        // A new process can what this one cannot.
        self.about.changes.outdated_run = self.progress.run;
        self.save();
        if self.turn.is_some() {
            self.note(now, text);
        }
    }

    /// Returns when the model has stalled, as far as anything can be done about it.
    pub(super) fn stalls(&self) -> Option<Timestamp> {
        let stopping = self.turn.as_ref().is_none_or(super::Turn::is_stopping);
        match self.process {
            // Whoever asks waits for an answer, however long that takes.
            Process::Live { attached: true, .. } if !self.restoring && !stopping && self.asks.is_empty() => self.stalls,
            _ => None,
        }
    }

    /// Stops a turn whose model has said nothing for too long.
    pub(super) fn stalled(&mut self, now: Timestamp) {
        self.stalls = None;
        let minutes = self.traits.stall.unwrap_or_default() / 60_000;
        self.note(now, format!("its model has said nothing for {minutes} minutes: the turn is stopped"));
        self.interrupt(now);
    }

    fn note(&mut self, now: Timestamp, text: String) {
        let turn_id = self.turn.as_ref().map(|turn| turn.id().clone());
        let what = Happening::Notice { text };
        self.outputs.push_back(Output::Happened { at: now, turn_id, origin: None, what });
    }
}
