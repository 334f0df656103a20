//! Reports: how whoever started an agent is told what became of it.
//!
//! The agent makes a report when it comes to rest or asks for permission, and it keeps that until the one whom it is for
//! has it. That one keeps it until no turn of its own runs, and then tells all of them to its program as one prompt. Both
//! know the keys of the newest reports, so that none is made or told twice, whichever instant a daemon dies.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::memory::fnv;
use super::{Agent, Output, prompt_tell};
use crate::catalogue::AgentOutcome;
use crate::item::Happening;
use crate::machine::{Machine, outbox};
use crate::model::{
    self, AgentId, Outcome, Permission, Prompt, Speaker, Timestamp, TurnEnd, TurnId, WaitOutcome, in_one_line,
};
use crate::provider::Tell;

/// The reports that an agent makes and gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reports {
    /// The agents that are told how this one fares, until it has finished.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<AgentId>,
    /// What is on its way to others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outgoing: Vec<Outgoing>,
    /// What this agent is still to be told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub incoming: Vec<Report>,
    /// Whether that waits because somebody has stopped the agent: for a prompt, or for another report unless the agent was
    /// dismissed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// The keys of the newest ones that it has made or got.
    #[serde(skip_serializing_if = "VecDeque::is_empty")]
    pub known: VecDeque<String>,
}

/// Something that became of an agent, for the one who started it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The same for the same event, and for no other one.
    pub key: String,
    /// What the agent is told.
    pub text: String,
}

/// A report on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// Whom it is for.
    pub to: AgentId,
    /// What it is.
    pub report: Report,
}

/// How many reports may be on their way, and how many may wait to be told. One that finds no room is not made before there
/// is some, and if by then it is not so any more, not at all.
pub const MOST_REPORTS: usize = 100;

/// How many reports are told in one prompt.
pub const MOST_TOGETHER: usize = 20;

/// How many keys are known.
const MOST_KEYS: usize = 512;

impl Reports {
    /// Returns whether there is nothing to be remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Reports::default()
    }

    /// Takes up a key; returns whether it is new.
    fn learn(&mut self, key: &str) -> bool {
        if self.known.iter().any(|known| known == key) {
            return false;
        }
        self.known.push_back(key.to_owned());
        while self.known.len() > MOST_KEYS {
            self.known.pop_front();
        }
        true
    }
}

/// Returns the keys of what a wait has answered, or would be reported of an agent as it is.
#[must_use]
pub fn keys(agent: &model::Agent, answer: &AgentOutcome) -> Vec<String> {
    let asked = answer.permissions.iter().map(key_of_ask);
    let archived = agent.archived_at.map(|at| key_of_archive(&agent.agent_id, at));
    let ended = agent.last_turn.as_ref().filter(|end| match &answer.prompt_id {
        Some(prompt) => end.prompt_id.as_ref() == Some(prompt),
        None => true,
    });
    let ended = ended.map(|end| key_of_end(&agent.agent_id, &end.turn_id));
    match answer.outcome {
        Some(WaitOutcome::Permission) => asked.collect(),
        Some(WaitOutcome::TimedOut) => Vec::new(),
        _ => asked.chain(archived).chain(ended).collect(),
    }
}

fn key_of_ask(ask: &Permission) -> String {
    format!("{}:ask:{}:{}", ask.agent_id, ask.request_id, ask.asked_at.0)
}

fn key_of_end(agent: &AgentId, turn: &TurnId) -> String {
    format!("{agent}:end:{turn}")
}

fn key_of_archive(agent: &AgentId, at: Timestamp) -> String {
    format!("{agent}:archived:{}", at.0)
}

impl Agent {
    /// Begins to report to an agent. What has become of it before is not told.
    pub(super) fn report_to(&mut self, now: Timestamp, to: AgentId) {
        if let Some(end) = self.progress.last_turn.as_ref().filter(|_| self.about.reports.to.is_empty()) {
            let key = key_of_end(&self.about.agent_id, &end.turn_id);
            self.about.reports.learn(&key);
        }
        if !self.about.reports.to.contains(&to) {
            self.about.reports.to.push(to);
        }
        self.touch(now);
        self.save();
    }

    /// Reports to nobody from now on. What is on its way arrives.
    pub(super) fn report_no_more(&mut self, now: Timestamp) {
        self.about.reports.to.clear();
        self.touch(now);
        self.save();
    }

    /// Forgets what has arrived there.
    pub(super) fn reported(&mut self, to: &AgentId, keys: &[String]) {
        let arrived = |outgoing: &Outgoing| outgoing.to == *to && keys.contains(&outgoing.report.key);
        self.about.reports.outgoing.retain(|outgoing| !arrived(outgoing));
        self.outputs.push_back(Output::Changed);
        self.save();
    }

    /// Takes a report that is for this agent, unless it knows it.
    pub(super) fn take_report(&mut self, report: Report) -> Result<(), super::Refusal> {
        let reports = &mut self.about.reports;
        if reports.known.contains(&report.key) {
            return Ok(());
        }
        if reports.incoming.len() >= MOST_REPORTS {
            return Err(super::Refusal::TooManyReports);
        }
        reports.learn(&report.key);
        reports.incoming.push(report);
        reports.held = self.dismissed;
        self.outputs.push_back(Output::Changed);
        self.save();
        Ok(())
    }

    /// Takes note that this agent was told otherwise, by the answer of a call.
    pub(super) fn witnessed(&mut self, keys: Vec<String>) {
        let reports = &mut self.about.reports;
        reports.incoming.retain(|report| !keys.contains(&report.key));
        for key in keys {
            reports.learn(&key);
        }
        self.outputs.push_back(Output::Changed);
        self.save();
    }

    /// Keeps what an agent is still to be told until it is wanted again: whoever stops it wants it to stop.
    pub(super) fn hold_reports(&mut self) {
        let reports = &mut self.about.reports;
        if !reports.incoming.is_empty() && !reports.held {
            reports.held = true;
            self.save();
        }
    }

    /// Makes the reports that are due.
    pub(super) fn report(&mut self) {
        if self.about.reports.to.is_empty() {
            return;
        }
        let mut due: Vec<_> = self.open_asks().map(|ask| (key_of_ask(ask), self.about_ask(ask))).collect();
        let mut finished = None;
        if self.is_at_rest() {
            match (self.about.archived_at, &self.progress.last_turn) {
                (Some(at), _) => due.push((key_of_archive(&self.about.agent_id, at), self.about_archive())),
                (None, Some(end)) => {
                    let key = key_of_end(&self.about.agent_id, &end.turn_id);
                    finished = (end.outcome == Outcome::Completed).then(|| key.clone());
                    due.push((key, self.about_end(end)));
                }
                (None, None) => {}
            }
        }
        let mut made = false;
        for (key, text) in due {
            let reports = &mut self.about.reports;
            if reports.outgoing.len() < MOST_REPORTS && reports.learn(&key) {
                let to = match finished.as_ref() == Some(&key) {
                    true => std::mem::take(&mut reports.to),
                    false => reports.to.clone(),
                };
                let report = Report { key, text };
                reports.outgoing.extend(to.into_iter().map(|to| Outgoing { to, report: report.clone() }));
                made = true;
            }
        }
        if made {
            self.outputs.push_back(Output::Changed);
            self.save();
        }
    }

    /// Tells the reports that this agent has got, when it has no turn.
    pub(super) fn tell_reports(&mut self, now: Timestamp) {
        let busy = self.turn.is_some() || self.has_turns_to_come() || self.outbox.on_its_way().is_some();
        let nothing = self.about.reports.held || self.about.reports.incoming.is_empty();
        if busy || nothing || self.is_archived() || self.waiting_reports().next().is_some() {
            return;
        }
        let count = self.about.reports.incoming.len().min(MOST_TOGETHER);
        let reports = &self.about.reports.incoming[..count];
        let texts: Vec<_> = reports.iter().map(|report| report.text.as_str()).collect();
        let text = texts.join("\n\n");
        if self.traits.converses {
            let keys: Vec<_> = reports.iter().map(|report| report.key.clone()).collect();
            let id = format!("reports-{:016x}", fnv(keys.iter().map(String::as_bytes)));
            let id = id.parse().expect("letters, digits and a dash are an id");
            let prompt = Prompt { text: format!("[paseo] {text}"), reports: keys, ..Prompt::default() };
            let (id, tell, run) = (prompt_tell(&id), Tell::Prompt(prompt), self.newest_run());
            let accept = outbox::Input::Accept { id, tell, first: true, steer: false, run };
            if self.outbox.handle(now, accept).is_err() {
                // Too many prompts wait; the next one that is told makes room.
                return;
            }
        } else {
            // What it is told it would carry out.
            let what = Happening::Notice { text };
            self.outputs.push_back(Output::Happened { at: now, turn_id: None, origin: None, what });
        }
        self.pass_on(now);
        self.about.reports.incoming.drain(..count);
        self.outputs.push_back(Output::Changed);
        self.save();
    }

    /// Forgets what is in the outbox as a prompt: a daemon died before it had saved that.
    pub(super) fn drop_told_reports(&mut self) {
        let prompts = self.outbox.ids().filter_map(|id| match self.outbox.tell(id) {
            Some(Tell::Prompt(prompt)) => Some(&prompt.reports),
            _ => None,
        });
        let told: Vec<_> = prompts.flatten().cloned().collect();
        self.about.reports.incoming.retain(|report| !told.contains(&report.key));
    }

    /// Whether it does nothing, and nothing is to be done.
    fn is_at_rest(&self) -> bool {
        self.turn.is_none() && !self.has_turns_to_come() && self.outbox.waiting().next().is_none()
    }

    fn has_turns_to_come(&self) -> bool {
        !self.returned.is_empty() || !self.behind.is_empty() || self.displaced.is_some()
    }

    /// Returns the prompts made of reports that are not told.
    fn waiting_reports(&self) -> impl Iterator<Item = &Prompt> {
        self.outbox.waiting().filter_map(|id| match self.outbox.tell(id) {
            Some(Tell::Prompt(prompt)) if !prompt.reports.is_empty() => Some(prompt),
            _ => None,
        })
    }

    fn name(&self) -> Speaker {
        Speaker::Agent { agent_id: self.about.agent_id.clone(), title: self.about.title.clone() }
    }

    fn about_ask(&self, ask: &Permission) -> String {
        let (name, title, request) = (self.name(), in_one_line(&ask.title, usize::MAX), &ask.request_id);
        format!(
            "{name} waits for permission. It asks: {title}\nThe request's id is {request}; respond_to_permission answers it."
        )
    }

    fn about_archive(&self) -> String {
        format!("{} was archived.", self.name())
    }

    fn about_end(&self, end: &TurnEnd) -> String {
        let became = match end.outcome {
            Outcome::Completed => "has finished",
            Outcome::Error => "has failed",
            Outcome::Interrupted => "was interrupted",
            Outcome::Limit => "has reached a limit",
        };
        let because =
            end.reason.as_ref().map_or_else(String::new, |reason| format!(": {}", in_one_line(reason, usize::MAX)));
        // Marked line by line, so that nothing of it passes for what paseo says.
        let quoted = |said: &String| said.lines().map(|line| format!("\n> {line}")).collect::<String>();
        let said = end.message.as_ref().map_or_else(String::new, |said| format!(" It said last:{}", quoted(said)));
        format!("{} {became}{because}.{said}", self.name())
    }
}
