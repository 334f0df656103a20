//! The life of one agent: its process, its turns, what it is told and what it asks.
//!
//! The agent's memory is saved only when it is quiet: no turn, no question, nothing told that is not taken. What
//! happened since then is a function of the outbox and of the journal, so a daemon that restarts reads both again and
//! stands where the last one stood.

mod memory;
mod wait;

use std::collections::{BTreeMap, VecDeque};

pub use memory::{About, Memory, Position, Progress};
pub use wait::{View, as_it_is, over};

use super::Machine;
use super::outbox::{self, Outbox};
use super::turn::{self, Turn};
use crate::catalogue::WhenBusy;
use crate::item::{Content, Happening, Item, Origin};
use crate::model::{
    self, Decision, ItemId, Outcome, Permission, Prompt, PromptId, RequestId, Status, Timestamp, TurnEnd, TurnId, Usage,
};
use crate::provider::{Ask, Ending, Event, Exit, Tell, TellId, Traits};

/// The lifecycle of one agent.
#[derive(Clone, Debug)]
pub struct Agent {
    traits: &'static Traits,
    about: About,
    progress: Progress,
    /// The progress at the last quiet moment: what is saved.
    checkpoint: Progress,
    process: Process,
    turn: Option<Turn>,
    asks: BTreeMap<RequestId, Permission>,
    outbox: Outbox,
    /// Whether the journals of an earlier life are being read: nothing is started or stopped meanwhile.
    restoring: bool,
    /// Whether an idle process shall leave at once.
    dismissed: bool,
    outputs: VecDeque<Output>,
}

/// How long a process that was asked to leave may take, in milliseconds.
pub const LEAVE_GRACE: i64 = 5_000;

/// How much of a message a snapshot shows, in bytes.
pub const SHOWN_MESSAGE: usize = 4 * 1024;

/// How many finished prompts are remembered.
pub const REMEMBERED_PROMPTS: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Process {
    /// There is none.
    Gone,
    /// One is being started.
    Starting { run: i64 },
    /// One lives; it can be told things once its journal is known to its end.
    Live { run: i64, pid: i64, attached: bool, idle_until: Option<Timestamp> },
    /// It was asked to leave.
    Leaving { run: i64, pid: i64, until: Option<Timestamp> },
}

/// What an agent is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Somebody says something to it.
    Prompt {
        /// The prompt's id.
        id: PromptId,
        /// What is said.
        prompt: Prompt,
        /// What to do when a turn runs.
        when_busy: WhenBusy,
    },
    /// Somebody answers a permission request.
    Answer {
        /// Which.
        request_id: RequestId,
        /// How.
        decision: Decision,
    },
    /// Somebody stops it.
    Cancel,
    /// Somebody takes it off the list.
    Archive,
    /// Somebody stops it, and its process is not to linger.
    Dismiss,
    /// Somebody changes what it is called.
    Update {
        /// A new title.
        title: Option<String>,
        /// Labels to set; an empty value removes one.
        labels: BTreeMap<String, String>,
    },
    /// A record of its journal was read.
    Heard(Heard),
    /// The journal of this run is known to its end, and its process can be told things.
    Attached {
        /// Which run.
        run: i64,
    },
    /// The journals of an earlier life are read.
    Restored,
    /// No process could be started, for this reason.
    NotLaunched {
        /// Which run it would have been.
        run: i64,
        /// Why not, and what to do.
        reason: String,
    },
    /// The provider has no words for this tell.
    Unsayable {
        /// Which.
        id: TellId,
        /// Why.
        reason: String,
    },
}

/// One record of a journal, and what the provider's session made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Which process life.
    pub run: i64,
    /// The record's number.
    pub record: i64,
    /// When it was written.
    pub at: Timestamp,
    /// What it says about the process itself.
    pub fact: Option<Fact>,
    /// What it means.
    pub events: Vec<Event>,
}

/// What a record says about the process itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// It was started.
    Launched {
        /// Its process id.
        pid: i64,
    },
    /// It was told something.
    Told(TellId),
    /// It ended.
    Exited(Exit),
}

/// What an agent asks for. Each is carried out before the next one.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Append this line to the outbox, durably.
    Keep(outbox::Line),
    /// This belongs into the timeline.
    Happened {
        /// When it happened.
        at: Timestamp,
        /// The turn it belongs to.
        turn_id: Option<TurnId>,
        /// Where in the journal it comes from.
        origin: Option<Origin>,
        /// What happened.
        what: Happening,
    },
    /// The text of an open item grew.
    Wrote {
        /// The item.
        item_id: ItemId,
        /// What was added.
        text: String,
    },
    /// Start a process.
    Launch {
        /// Which run it is.
        run: i64,
        /// What the provider needs to go on with its session.
        resume: Option<String>,
    },
    /// Tell the process.
    Tell(TellId, Tell),
    /// Close the standard input of the process, so that it leaves.
    Close,
    /// End the process and everything that descends from it.
    Stop {
        /// Why, for people.
        reason: String,
    },
    /// Save the memory.
    Save(Box<Memory>),
    /// The memory is saved: replace the outbox by these lines.
    Rewrite(Vec<outbox::Line>),
    /// What watchers see has changed.
    Changed,
}

/// Why an agent did not take something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The prompt's id stands for another prompt.
    #[error("prompt `{0}` was something else")]
    Conflict(PromptId),
    /// Too many prompts wait.
    #[error("{} prompts are waiting already", outbox::MOST_PROMPTS)]
    Full,
    /// The provider cannot, as a verb: `take pictures`.
    #[error("this agent cannot {0}")]
    Unsupported(&'static str),
    /// No such permission is waited for.
    #[error("no permission `{0}` is waited for")]
    NoSuchRequest(RequestId),
    /// Somebody else answered first.
    #[error("permission `{0}` is answered already")]
    AlreadyAnswered(RequestId),
    /// The request offers no such option.
    #[error("permission `{request}` has no option `{option}`")]
    NoSuchOption {
        /// The request.
        request: RequestId,
        /// The option.
        option: String,
    },
}

/// Returns the id under which a prompt is told.
#[must_use]
pub fn prompt_tell(id: &PromptId) -> TellId {
    TellId(format!("prompt.{id}"))
}

/// Returns the prompt that is told under an id.
#[must_use]
pub fn told_prompt(id: &TellId) -> Option<PromptId> {
    id.0.strip_prefix("prompt.")?.parse().ok()
}

fn interrupt_tell(turn: &TurnId) -> TellId {
    TellId(format!("interrupt.{turn}"))
}

impl Agent {
    /// Makes an agent from what is remembered of it and the lines of its outbox. It does nothing before `Restored`.
    #[must_use]
    pub fn restore(traits: &'static Traits, memory: Memory, outbox: impl IntoIterator<Item = outbox::Line>) -> Agent {
        let outbox = Outbox::restore(outbox);
        let Memory { about, progress } = memory;
        let mut agent = Agent {
            traits,
            about,
            checkpoint: progress.clone(),
            progress,
            process: Process::Gone,
            turn: None,
            asks: BTreeMap::new(),
            outbox,
            restoring: true,
            dismissed: false,
            outputs: VecDeque::new(),
        };
        agent.remember_unheard_prompts();
        agent
    }

    /// Returns what is known about the agent beside its work.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Returns the newest record that is part of the saved memory: reading goes on after it.
    #[must_use]
    pub fn applied(&self) -> Position {
        self.checkpoint.applied
    }

    /// Returns whether nothing goes on: no turn, no question, nothing told that is not taken.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.turn.is_none() && self.asks.is_empty()
    }

    /// Returns whether there is a process.
    #[must_use]
    pub fn has_process(&self) -> bool {
        self.process != Process::Gone
    }

    /// Returns what watchers see.
    #[must_use]
    pub fn view(&self, last_seq: i64) -> View {
        let about = &self.about;
        let status = self.status();
        let last_turn = self.progress.last_turn.clone();
        let reason = match status {
            Status::Error | Status::Interrupted => last_turn.as_ref().and_then(|end| end.reason.clone()),
            Status::Starting | Status::Idle | Status::Running | Status::Waiting | Status::Archived => None,
        };
        let agent = model::Agent {
            agent_id: about.agent_id.clone(),
            title: about.title.clone(),
            provider: about.provider.clone(),
            mode: about.mode.clone(),
            cwd: about.cwd.clone(),
            worktree: about.worktree.clone(),
            labels: about.labels.clone(),
            parent: about.parent.clone(),
            status,
            reason,
            turn: self.turn.as_ref().map(|turn| model::Turn {
                turn_id: turn.id().clone(),
                prompt_id: turn.prompt().cloned(),
                started_at: turn.started_at(),
            }),
            last_turn,
            last_message: self.progress.last_message.clone(),
            queued: self.outbox.waiting().filter_map(told_prompt).collect(),
            permissions: self.open_asks().cloned().collect(),
            usage: self.progress.usage,
            pid: match self.process {
                Process::Live { pid, .. } | Process::Leaving { pid, .. } => Some(pid),
                Process::Gone | Process::Starting { .. } => None,
            },
            last_seq,
            created_at: about.created_at,
            updated_at: self.progress.updated_at.max(about.updated_at),
            archived_at: about.archived_at,
        };
        View { agent, finished: self.progress.finished.iter().map(|finished| finished.end.clone()).collect() }
    }

    fn status(&self) -> Status {
        let queued = self.outbox.waiting().next().is_some();
        if self.about.archived_at.is_some() {
            Status::Archived
        } else if self.open_asks().next().is_some() {
            Status::Waiting
        } else if self.turn.is_some() || queued && matches!(self.process, Process::Live { .. }) {
            Status::Running
        } else if queued || matches!(self.process, Process::Starting { .. }) {
            Status::Starting
        } else {
            match self.progress.last_turn.as_ref().map(|end| end.outcome) {
                Some(Outcome::Interrupted) => Status::Interrupted,
                Some(Outcome::Error) => Status::Error,
                Some(Outcome::Completed | Outcome::Limit) | None => Status::Idle,
            }
        }
    }

    /// Returns the questions that nobody has answered.
    fn open_asks(&self) -> impl Iterator<Item = &Permission> {
        self.asks.values().filter(|ask| self.outbox.tell(&self.answer_tell(&ask.request_id)).is_none())
    }

    /// A provider's request ids are unique within one process only.
    fn answer_tell(&self, request: &RequestId) -> TellId {
        TellId(format!("answer.{}.{request}", self.progress.run))
    }

    fn prompt(&mut self, now: Timestamp, id: PromptId, prompt: Prompt, when_busy: WhenBusy) -> Result<(), Refusal> {
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

    fn answer(&mut self, now: Timestamp, request_id: RequestId, decision: Decision) -> Result<(), Refusal> {
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
            self.outbox.handle(now, accept).expect("an interrupt is the same each time");
        }
    }

    fn cancel(&mut self, now: Timestamp) {
        self.outbox.handle(now, outbox::Input::Withdraw).expect("withdrawing is never refused");
        if self.turn.is_some() || matches!(self.process, Process::Live { .. }) && self.outbox.waiting().next().is_some()
        {
            self.interrupt(now);
        }
    }

    fn archive(&mut self, now: Timestamp) {
        if self.about.archived_at.is_none() {
            self.cancel(now);
            self.about.archived_at = Some(now);
            self.touch(now);
            self.save();
        }
    }

    fn update(&mut self, now: Timestamp, title: Option<String>, labels: BTreeMap<String, String>) {
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

    fn touch(&mut self, now: Timestamp) {
        self.about.updated_at = now;
        self.outputs.push_back(Output::Changed);
    }

    fn save(&mut self) {
        let memory = Memory { about: self.about.clone(), progress: self.checkpoint.clone() };
        self.outputs.push_back(Output::Save(Box::new(memory)));
    }

    fn hear(&mut self, heard: Heard) {
        let position = Position { run: heard.run, record: heard.record };
        if let Some(Fact::Launched { pid }) = heard.fact {
            self.process = Process::Live { run: heard.run, pid, attached: false, idle_until: None };
            self.outputs.push_back(Output::Changed);
        }
        if position <= self.progress.applied {
            // Known already, but for the process: that is not remembered, it is there or it is not.
            if let Some(Fact::Exited(_)) = heard.fact {
                self.process = Process::Gone;
            }
            return;
        }
        self.progress.run = heard.run;
        let mut scene = Scene { run: heard.run, record: heard.record, part: 0, at: heard.at };
        if let Some(Fact::Told(id)) = &heard.fact {
            self.told(&mut scene, id);
        }
        for event in heard.events {
            self.take(&mut scene, event);
        }
        if let Some(Fact::Exited(exit)) = heard.fact {
            self.exited(&mut scene, exit);
        }
        self.progress.applied = position;
        self.progress.updated_at = self.progress.updated_at.max(heard.at);
    }

    fn told(&mut self, scene: &mut Scene, id: &TellId) {
        if self.outbox.handle(scene.at, outbox::Input::Told(id.clone())).is_err() {
            // A session's own saying, which no outbox holds.
            return;
        }
        match self.outbox.tell(id) {
            Some(Tell::Prompt(prompt)) => {
                let (text, images) = (prompt.text.clone(), i64::try_from(prompt.images.len()).unwrap_or(i64::MAX));
                let Some(prompt_id) = told_prompt(id) else { return };
                if self.turn.is_none() {
                    self.start_turn(scene, turn_of(&prompt_id), Some(prompt_id.clone()));
                }
                let item_id = ItemId(format!("prompt.{prompt_id}"));
                let item = Item { item_id, parent_id: None, content: Content::UserMessage { text, images } };
                self.happen(scene, Happening::ItemClosed { item });
            }
            Some(Tell::Interrupt {}) => {
                if let Some(turn) = self.turn.as_mut().filter(|turn| interrupt_tell(turn.id()) == *id) {
                    let _ = turn.handle(scene.at, turn::Input::Interrupt);
                }
            }
            Some(Tell::Answer { .. }) | None => {}
        }
    }

    fn take(&mut self, scene: &mut Scene, event: Event) {
        match event {
            Event::Resumable(session) => self.progress.resume = Some(session),
            Event::Delivered(id) => {
                // An acknowledgement of something that is no longer remembered says nothing new.
                let _ = self.outbox.handle(scene.at, outbox::Input::Delivered(id));
            }
            Event::TurnStarted(tell) => {
                if self.turn.is_none() {
                    let prompt = tell.as_ref().and_then(told_prompt);
                    let turn = prompt.as_ref().map_or_else(|| scene.unsolicited_turn(), turn_of);
                    self.start_turn(scene, turn, prompt);
                }
            }
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
            Event::TurnEnded(ending) => self.end_turn(scene, ending),
        }
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
        self.turn = None;
        self.progress.usage += usage;
        if end.message.is_some() {
            self.progress.last_message.clone_from(&end.message);
        }
        self.finish(end);
        self.outputs.push_back(Output::Changed);
    }

    /// Remembers how a turn ended.
    fn finish(&mut self, end: TurnEnd) {
        self.progress.last_turn = Some(end.clone());
        let Some(prompt) = &end.prompt_id else { return };
        let digest = match self.outbox.tell(&prompt_tell(prompt)) {
            Some(Tell::Prompt(prompt)) => memory::digest(prompt),
            Some(Tell::Answer { .. } | Tell::Interrupt {}) | None => 0,
        };
        self.progress.finished.push_back(memory::Finished { digest, end });
        while self.progress.finished.len() > REMEMBERED_PROMPTS {
            self.progress.finished.pop_front();
        }
    }

    fn exited(&mut self, scene: &mut Scene, exit: Exit) {
        if let Some(turn) = &self.turn {
            let outcome = match (turn.is_stopping(), &exit) {
                (false, Exit { code: Some(_), reason: None, .. }) => Outcome::Error,
                _ => Outcome::Interrupted,
            };
            let reason = Some(describe(&exit));
            self.end_turn(scene, Ending { outcome, reason, message: None, usage: Usage::default() });
        }
        self.asks.clear();
        self.outbox.handle(scene.at, outbox::Input::Lost).expect("a loss is never refused");
        self.process = Process::Gone;
        self.outputs.push_back(Output::Changed);
    }

    fn not_launched(&mut self, now: Timestamp, run: i64, reason: String) {
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

    fn fail(&mut self, now: Timestamp, id: TellId, reason: String) {
        // A tell that is not in the outbox any more has come to its end in between.
        let _ = self.outbox.handle(now, outbox::Input::Fail(id, reason));
    }

    /// Writes into the timeline what came of a prompt that no process ever heard.
    fn unheard(&mut self, now: Timestamp, id: &TellId, fate: &outbox::Fate) {
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
    fn remember_unheard_prompts(&mut self) {
        let settled: Vec<_> = self.outbox.settled().map(|(id, _, fate)| (id.clone(), fate.clone())).collect();
        for (id, fate) in settled {
            let Some(prompt) = told_prompt(&id) else { continue };
            let known = self.progress.finished.iter().any(|finished| finished.end.prompt_id.as_ref() == Some(&prompt));
            if let Some(end) = unheard_end(&prompt, &fate, self.progress.updated_at).filter(|_| !known) {
                self.finish(end);
            }
        }
    }

    fn happen(&mut self, scene: &mut Scene, what: Happening) {
        let origin = Some(Origin { run: scene.run, record: scene.record, part: scene.part });
        scene.part += 1;
        let turn_id = self.turn.as_ref().map(|turn| turn.id().clone());
        self.outputs.push_back(Output::Happened { at: scene.at, turn_id, origin, what });
    }

    /// Passes on what the outbox and the turn ask for.
    fn pass_on(&mut self, now: Timestamp) {
        while let Some(output) = self.outbox.poll() {
            match output {
                outbox::Output::Keep(line) => {
                    let unheard = match &line {
                        outbox::Line::Settled { id, fate } => Some((id.clone(), fate.clone())),
                        outbox::Line::Accepted { .. } => None,
                    };
                    self.outputs.push_back(Output::Keep(line));
                    self.outputs.push_back(Output::Changed);
                    if let Some((id, fate)) = unheard {
                        self.unheard(now, &id, &fate);
                    }
                }
                outbox::Output::Tell(id, tell) => self.outputs.push_back(Output::Tell(id, tell)),
                outbox::Output::Stalled(id) => {
                    let text = format!("the agent has not taken {id} for {} seconds", outbox::STALL / 1000);
                    let turn_id = self.turn.as_ref().map(|turn| turn.id().clone());
                    self.outputs.push_back(Output::Happened {
                        at: now,
                        turn_id,
                        origin: None,
                        what: Happening::Notice { text },
                    });
                }
            }
        }
        while let Some(turn::Output::Overdue) = self.turn.as_mut().and_then(Turn::poll) {
            self.outputs.push_back(Output::Stop { reason: "it did not stop when it was interrupted".to_owned() });
        }
    }

    /// Does what follows from where the agent stands.
    fn advance(&mut self, now: Timestamp) {
        self.pass_on(now);
        if self.restoring {
            return;
        }
        let waiting = self.outbox.waiting().next().is_some();
        let archived = self.about.archived_at.is_some();
        if self.turn.is_none() && waiting && !archived {
            match &mut self.process {
                Process::Gone => {
                    let run = self.progress.run + 1;
                    self.process = Process::Starting { run };
                    self.outputs.push_back(Output::Launch { run, resume: self.progress.resume.clone() });
                    self.outputs.push_back(Output::Changed);
                }
                Process::Live { attached: true, idle_until, .. } => {
                    *idle_until = None;
                    self.outbox.handle(now, outbox::Input::Room).expect("room is never refused");
                    self.pass_on(now);
                }
                Process::Live { attached: false, .. } | Process::Starting { .. } | Process::Leaving { .. } => {}
            }
        }
        self.checkpoint();
        self.let_go(now);
    }

    /// Saves where the agent stands, at a quiet moment.
    fn checkpoint(&mut self) {
        let taken = self.outbox.settled().next().is_some();
        let quiet = self.is_quiet() && !matches!(self.process, Process::Live { attached: false, .. });
        if quiet && (self.checkpoint.applied != self.progress.applied || taken) {
            self.checkpoint = self.progress.clone();
            self.save();
            let lines = self.outbox.compact();
            self.outputs.push_back(Output::Rewrite(lines));
        }
    }

    /// Lets an idle process go when its time has come.
    fn let_go(&mut self, now: Timestamp) {
        let idle = self.is_quiet() && self.outbox.waiting().next().is_none();
        let leave = self.dismissed || self.about.archived_at.is_some();
        let Process::Live { run, pid, attached: true, idle_until } = &mut self.process else { return };
        if !idle {
            *idle_until = None;
            return;
        }
        let until = *idle_until.get_or_insert(now.plus(self.traits.linger));
        if leave || until <= now {
            self.process = Process::Leaving { run: *run, pid: *pid, until: Some(now.plus(LEAVE_GRACE)) };
            self.outputs.push_back(Output::Close);
        }
    }
}

impl Machine for Agent {
    type Input = Input;
    type Output = Output;
    type Refusal = Refusal;

    fn handle(&mut self, now: Timestamp, input: Input) -> Result<(), Refusal> {
        match input {
            Input::Prompt { id, prompt, when_busy } => self.prompt(now, id, prompt, when_busy)?,
            Input::Answer { request_id, decision } => self.answer(now, request_id, decision)?,
            Input::Cancel => self.cancel(now),
            Input::Archive => self.archive(now),
            Input::Dismiss => {
                self.cancel(now);
                self.dismissed = true;
            }
            Input::Update { title, labels } => self.update(now, title, labels),
            Input::Heard(heard) => self.hear(heard),
            Input::Attached { run } => {
                if let Process::Live { run: live, attached, .. } = &mut self.process
                    && *live == run
                {
                    *attached = true;
                    self.outbox.handle(now, outbox::Input::Attached).expect("attaching is never refused");
                    self.resume_interrupt();
                }
            }
            Input::Restored => {
                self.restoring = false;
                self.outputs.push_back(Output::Changed);
            }
            Input::NotLaunched { run, reason } => self.not_launched(now, run, reason),
            Input::Unsayable { id, reason } => self.fail(now, id, reason),
        }
        self.advance(now);
        Ok(())
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Timestamp> {
        let process = match self.process {
            Process::Live { idle_until, .. } => idle_until,
            Process::Leaving { until, .. } => until,
            Process::Gone | Process::Starting { .. } => None,
        };
        [process, self.turn.as_ref().and_then(Turn::deadline), self.outbox.deadline()].into_iter().flatten().min()
    }

    fn expire(&mut self, now: Timestamp) {
        self.outbox.expire(now);
        if let Some(turn) = &mut self.turn {
            turn.expire(now);
        }
        if let Process::Leaving { until, .. } = &mut self.process
            && until.is_some_and(|due| due <= now)
        {
            *until = None;
            self.outputs.push_back(Output::Stop { reason: "it did not leave when its input was closed".to_owned() });
        }
        self.advance(now);
    }
}

impl Agent {
    /// An interrupt that was accepted before a restart goes on counting from when it was accepted.
    fn resume_interrupt(&mut self) {
        if let Some(turn) = &mut self.turn
            && let Some(at) = self.outbox.accepted_at(&interrupt_tell(turn.id()))
        {
            let _ = turn.handle(at, turn::Input::Interrupt);
        }
    }
}

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

fn turn_of(prompt: &PromptId) -> TurnId {
    TurnId(prompt.as_str().to_owned())
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
