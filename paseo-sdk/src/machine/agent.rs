//! The life of one agent: its process, its turns, what it is told and what it asks.
//!
//! The agent's memory is saved only when it is quiet: no turn, no question, nothing told that is not taken. What
//! happened since then is a function of the outbox and of the journal, so a daemon that restarts reads both again and
//! stands where the last one stood.

mod change;
mod client;
mod hear;
mod memory;
mod report;
mod unheard;
mod view;
mod wait;
mod wish;

use std::collections::{BTreeMap, VecDeque};

pub use memory::{About, Answered, Changes, Memory, Position, Progress, Rule};
pub use report::{MOST_REPORTS, MOST_TOGETHER, Outgoing, Report, Reports, keys};
pub use view::View;
pub use wait::{as_it_is, over};
pub use wish::{MOST_WISHES, Wish};

use super::Machine;
use super::outbox::{self, Outbox};
use super::turn::{self, Turn};
use crate::catalogue::WhenBusy;
use crate::item::{Happening, Origin};
use crate::model::{
    AgentId, Decision, ItemId, Mode, Permission, Prompt, PromptId, RequestId, Timestamp, TurnEnd, TurnId,
};
use crate::provider::{Event, Exit, Tell, TellId, Traits};

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
    /// Whether the provider has said that the turn began; before that it is only told its prompt.
    begun: bool,
    /// A turn that was told its prompt, while the one that runs came first.
    displaced: Option<Turn>,
    /// Prompts that were told while another turn ran: theirs begin when that one has ended.
    behind: VecDeque<PromptId>,
    /// Prompts that were taken into the turn that runs, and end with it.
    joined: Vec<PromptId>,
    /// Turns whose prompts are told again, because their program has not taken them.
    returned: Vec<Turn>,
    /// When it has stalled, if nothing is heard until then.
    stalls: Option<Timestamp>,
    /// Until when its process must have become able to take a prompt.
    ready_by: Option<Timestamp>,
    asks: BTreeMap<RequestId, Permission>,
    outbox: Outbox,
    /// Whether the journals of an earlier life are being read: nothing is started or stopped meanwhile.
    restoring: bool,
    /// Whether an idle process shall leave at once.
    dismissed: bool,
    /// What its shim said last that is wrong; the next record says that it is over.
    trouble: Option<String>,
    outputs: VecDeque<Output>,
}

/// How long a process that was asked to leave may take, in milliseconds.
pub const LEAVE_GRACE: i64 = 5_000;

/// How long a process may take until it can be told its first prompt, in milliseconds.
pub const READY_GRACE: i64 = 5 * 60_000;

/// How much of a message a snapshot shows, in bytes.
pub const SHOWN_MESSAGE: usize = 4 * 1024;

/// How many answers are remembered.
pub const REMEMBERED_ANSWERS: usize = 64;

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
    /// This prompt has taken too long: the turn that it has is stopped, and nothing else.
    StopPrompt(PromptId),
    /// Somebody changes what it is called, or which model it uses.
    Update {
        /// A new title.
        title: Option<String>,
        /// Labels to set; an empty value removes one.
        labels: BTreeMap<String, String>,
        /// A new model.
        model: Option<String>,
    },
    /// Somebody changes how freely it may act.
    SetMode(Mode),
    /// From now on it reports to this agent too, until it has finished.
    ReportTo(AgentId),
    /// It is to report to nobody from now on.
    ReportNoMore,
    /// The reports with these keys have arrived at this agent.
    Reported(AgentId, Vec<String>),
    /// It is to be told this of another agent.
    Report(Report),
    /// It was told what the reports with these keys say by the answer of a call.
    Witnessed(Vec<String>),
    /// It wants of paseo what a person has to allow.
    Wish(Box<Permission>),
    /// A wish was taken up, or nobody waits for it any more.
    WishEnded(RequestId),
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
    /// Something is wrong with its process, or with the disk below it, that a person should know.
    Trouble(String),
    /// The program cannot take this yet, and was not told: it is tried again after the next record.
    Unready(TellId),
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
    /// Too many reports wait.
    #[error("{MOST_REPORTS} reports are waiting already")]
    TooManyReports,
    /// Too many wishes wait.
    #[error("{MOST_WISHES} requests of this agent wait for a person already")]
    TooManyWishes,
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
            begun: false,
            displaced: None,
            behind: VecDeque::new(),
            joined: Vec::new(),
            returned: Vec::new(),
            stalls: None,
            ready_by: None,
            asks: BTreeMap::new(),
            outbox,
            restoring: true,
            dismissed: false,
            trouble: None,
            outputs: VecDeque::new(),
        };
        agent.count_changes();
        agent.drop_told_reports();
        agent.remember_unheard(agent.progress.applied);
        agent
    }

    /// Returns what is known about the agent beside its work.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Returns the first run whose journal says something that the saved memory does not hold.
    #[must_use]
    pub fn first_unread_run(&self) -> i64 {
        self.checkpoint.applied.run + i64::from(self.checkpoint.over)
    }

    /// Returns whether nothing goes on: no turn, no question, nothing told that is not taken.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.is_idle() && !self.outbox.has_untaken()
    }

    fn is_idle(&self) -> bool {
        self.turn.is_none() && self.returned.is_empty() && self.asks.is_empty()
    }

    /// Whether the journal is known to its end, so that what it does not know as told was not told.
    fn knows_what_was_told(&self) -> bool {
        !self.restoring && !matches!(self.process, Process::Live { attached: false, .. })
    }

    /// Returns whether it is off the list, and starts nothing.
    #[must_use]
    pub fn is_archived(&self) -> bool {
        self.about.archived_at.is_some()
    }

    /// Returns whether there is a process, or one is being started.
    #[must_use]
    pub fn has_process(&self) -> bool {
        self.process != Process::Gone
    }

    /// A provider's request ids are unique within one process only.
    fn answer_tell(&self, request: &RequestId) -> TellId {
        TellId(format!("answer.{}.{request}", self.progress.run))
    }

    fn touch(&mut self, now: Timestamp) {
        self.about.updated_at = now;
        self.outputs.push_back(Output::Changed);
    }

    fn save(&mut self) {
        let memory = Memory { about: self.about.clone(), progress: self.checkpoint.clone() };
        self.outputs.push_back(Output::Save(Box::new(memory)));
    }

    /// Remembers how a turn ended.
    fn finish(&mut self, end: TurnEnd) {
        self.progress.last_turn = Some(end.clone());
        let Some(prompt) = &end.prompt_id else { return };
        let digest = match self.outbox.tell(&prompt_tell(prompt)) {
            Some(Tell::Prompt(prompt)) => memory::digest(prompt),
            _ => 0,
        };
        self.progress.finished.push_back(memory::Finished { digest, end });
        while self.progress.finished.len() > REMEMBERED_PROMPTS {
            self.progress.finished.pop_front();
        }
    }

    /// Passes on what the outbox and the turn ask for.
    fn pass_on(&mut self, now: Timestamp) {
        while let Some(output) = self.outbox.poll() {
            match output {
                outbox::Output::Keep(line) => self.keep(line),
                outbox::Output::Tell(id, mut tell) => {
                    // The first prompt that is told says so, and the next one waits until that is known.
                    if let Tell::Prompt(prompt) = &mut tell {
                        let notes = prompt.note.iter().chain(&self.progress.cut_off);
                        prompt.note = notes.cloned().reduce(|one, other| format!("{one}\n{other}"));
                    }
                    self.outputs.push_back(Output::Tell(id, tell));
                }
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
        if self.knows_what_was_told() {
            self.withdraw_stopped(now);
            self.pass_on(now);
        }
        if self.process == Process::Gone {
            // The next process is launched with whatever this one was still to be told, and is told none of it.
            self.outbox.handle(now, outbox::Input::Lost(self.progress.run)).expect("a loss is never refused");
            self.outbox.handle(now, outbox::Input::Unlaunched).expect("a loss is never refused");
            self.pass_on(now);
        }
        self.report();
        self.tell_reports(now);
        if self.outbox.waiting().next().is_some() && !self.is_archived() {
            self.tell_next(now);
        }
        if self.outbox.waiting().next().is_none() {
            self.ready_by = None;
        }
        self.checkpoint();
        self.let_go(now);
    }

    /// Tells the process the prompt that is next, or starts one for it.
    fn tell_next(&mut self, now: Timestamp) {
        let outdated = self.about.changes.outdated_run;
        let next = match &self.process {
            Process::Gone if self.turn.is_none() => {
                let run = self.progress.run + 1;
                self.process = Process::Starting { run };
                self.outputs.push_back(Output::Launch { run, resume: self.progress.resume.clone() });
                self.outputs.push_back(Output::Changed);
                return;
            }
            Process::Live { attached: true, run, .. } if self.progress.given_up != *run => match self.turn {
                Some(_) => outbox::Input::Turn,
                // It leaves first, and the next process is told.
                None if outdated == *run => return,
                None => outbox::Input::Room,
            },
            Process::Live { .. } | Process::Gone | Process::Starting { .. } | Process::Leaving { .. } => return,
        };
        self.outbox.handle(now, next).expect("a prompt's turn is never refused");
        self.pass_on(now);
    }

    /// Saves where the agent stands, at a quiet moment.
    fn checkpoint(&mut self) {
        let taken = self.outbox.settled().next().is_some();
        let quiet = self.is_quiet() && !matches!(self.process, Process::Live { attached: false, .. });
        if quiet && (self.checkpoint.applied != self.progress.applied || taken) {
            self.remember_answers();
            self.checkpoint = self.progress.clone();
            self.save();
            let lines = self.outbox.compact();
            self.outputs.push_back(Output::Rewrite(lines));
        }
    }

    /// Remembers the answers that the outbox is about to forget: whoever was cut off gives the same one again.
    fn remember_answers(&mut self) {
        let answered = self.outbox.settled().filter_map(|(id, _)| match self.outbox.tell(id) {
            Some(Tell::Answer { request_id, decision }) => Some(memory::Answered::new(request_id, decision)),
            _ => None,
        });
        for answered in answered.collect::<Vec<_>>() {
            self.progress.answered.retain(|other| other.request_id != answered.request_id);
            self.progress.answered.push_back(answered);
        }
        while self.progress.answered.len() > REMEMBERED_ANSWERS {
            self.progress.answered.pop_front();
        }
    }

    /// Lets an idle process go when its time has come.
    fn let_go(&mut self, now: Timestamp) {
        let idle = self.is_idle() && self.outbox.waiting().next().is_none();
        let dismissed = self.dismissed || self.about.archived_at.is_some();
        let changed = self.turn.is_none() && self.asks.is_empty() && self.outbox.on_its_way().is_none();
        let Process::Live { run, pid, attached: true, idle_until } = &mut self.process else { return };
        let given_up = self.progress.given_up == *run;
        let outdated = changed && self.about.changes.outdated_run == *run;
        let leave = given_up || outdated || dismissed && idle;
        // What goes on in the background ends with the process.
        if !leave && (!idle || self.progress.background) {
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
            Input::StopPrompt(prompt) => self.stop_prompt(now, &prompt),
            Input::Archive => self.archive(now),
            Input::Dismiss => {
                self.cancel(now);
                self.dismissed = true;
            }
            Input::Update { title, labels, model } => self.update(now, title, labels, model),
            Input::SetMode(mode) => self.set_mode(now, mode),
            Input::ReportTo(agent) => self.report_to(now, agent),
            Input::ReportNoMore => self.report_no_more(now),
            Input::Reported(to, keys) => self.reported(&to, &keys),
            Input::Report(report) => self.take_report(report)?,
            Input::Witnessed(keys) => self.witnessed(keys),
            Input::Wish(permission) => self.wish(now, *permission)?,
            Input::WishEnded(request) => self.forget_wish(now, request)?,
            Input::Heard(heard) => self.hear(heard),
            Input::Attached { run } => {
                if let Process::Live { run: live, attached, .. } = &mut self.process
                    && *live == run
                {
                    *attached = true;
                    self.outbox.handle(now, outbox::Input::Attached).expect("attaching is never refused");
                    self.resume_interrupt(Timestamp(0));
                }
            }
            Input::Restored => {
                // What comes after the journals that could be read comes now.
                self.remember_unheard(Position { run: i64::MAX, record: i64::MAX });
                self.restoring = false;
                self.outputs.push_back(Output::Changed);
            }
            Input::NotLaunched { run, reason } => self.not_launched(now, run, reason),
            Input::Unready(id) => {
                // A tell that is not in the outbox any more has come to its end in between.
                let _ = self.outbox.handle(now, outbox::Input::Unready(id));
                if self.ready_by.is_none() && self.turn.is_none() && self.outbox.unready_prompt().is_some() {
                    self.ready_by = Some(now.plus(READY_GRACE));
                }
            }
            Input::Unsayable { id, reason } => self.unsayable(now, id, reason),
            Input::Trouble(text) => self.in_trouble(now, text),
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
        let turn = self.turn.as_ref().and_then(Turn::deadline);
        [process, turn, self.stalls(), self.ready_by, self.outbox.deadline()].into_iter().flatten().min()
    }

    fn expire(&mut self, now: Timestamp) {
        self.outbox.expire(now);
        if let Some(turn) = &mut self.turn {
            turn.expire(now);
        }
        if self.stalls().is_some_and(|due| due <= now) {
            self.stalled(now);
        }
        if self.ready_by.take_if(|due| *due <= now).is_some() && matches!(self.process, Process::Live { .. }) {
            let reason = format!("it could be told nothing for {} minutes", READY_GRACE / 60_000);
            self.outputs.push_back(Output::Stop { reason });
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

fn turn_of(prompt: &PromptId) -> TurnId {
    TurnId(prompt.as_str().to_owned())
}
