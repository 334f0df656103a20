//! Following an agent until its work is finished, with a person who can answer it or without.

use std::future::{Future, pending};
use std::pin::Pin;

use paseo_sdk::ApiError;
use paseo_sdk::catalogue::{
    AgentOutcome, CancelAgent, GetAgentStatus, WaitForAgent, WaitUntil, WatchAgents, WatchFrom,
};
use paseo_sdk::client::Client;
use paseo_sdk::model::{
    Agent, AgentId, AgentRef, Decision, Duration, Event, Permission, PromptId, SetupStatus, WaitOutcome,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::asking::{Asking, Typed};
use crate::exit::{Exit, Failure};
use crate::permission;
use crate::prompt::Lines;
use crate::render::{self, short};
use crate::run::deleted;
use crate::screen::Screen;
use crate::transcript::{Transcript, Voice};

/// What is followed.
#[derive(Clone, Debug)]
pub(crate) struct Follow {
    pub(crate) client: Client,
    pub(crate) agent: AgentId,
    /// Only this prompt's turn; else until nothing is queued and nothing runs.
    pub(crate) prompt: Option<PromptId>,
    /// The last entry that is not shown.
    pub(crate) after: i64,
    /// How long at most.
    pub(crate) deadline: Option<Instant>,
    pub(crate) voice: Voice,
}

impl Follow {
    /// Waits without showing anything.
    pub(crate) async fn wait(&self, until: WaitUntil) -> Result<AgentOutcome, ApiError> {
        let left = |deadline: Instant| {
            let left = deadline.saturating_duration_since(Instant::now()).as_millis();
            Duration { milliseconds: i64::try_from(left).unwrap_or(i64::MAX) }
        };
        let request = WaitForAgent {
            prompt_id: self.prompt.clone(),
            until,
            timeout: self.deadline.map(left),
            ..WaitForAgent::one(&self.agent)
        };
        self.client.wait_for_agent(request).await
    }

    /// Shows what happens until it is over.
    pub(crate) async fn show(self, screen: Screen) -> Result<Exit, Failure> {
        let transcript = Transcript::new(screen.style, self.voice, self.prompt.clone());
        let showing = Showing {
            screen,
            transcript,
            lines: Lines::default(),
            question: None,
            agent: None,
            setup: SetupStatus::None,
            follow: self,
        };
        showing.run().await
    }
}

/// An agent that is being shown.
struct Showing {
    follow: Follow,
    screen: Screen,
    transcript: Transcript,
    lines: Lines,
    question: Option<Asked>,
    /// The agent as it was last seen.
    agent: Option<Agent>,
    setup: SetupStatus,
}

/// What a person is being asked.
enum Asked {
    /// Whether the agent may, or what it asks.
    Permission(Asking),
    /// Whether to detach, to interrupt, or to go on with the question from before.
    Leave(Option<Asking>),
}

/// The outcome of a wait, and the number of the last entry that belongs to it.
type Arrived = (AgentOutcome, i64);

type Pending<T> = Pin<Box<dyn Future<Output = Result<T, ApiError>> + Send>>;

impl Showing {
    async fn run(mut self) -> Result<Exit, Failure> {
        let from = WatchFrom { agent_id: AgentRef::from(&self.follow.agent), after: self.follow.after };
        let mut watch = self.follow.client.watch(WatchAgents { agents: Some(vec![from]) });
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut wait = Some(self.wait(WaitUntil::Attention));
        let mut cancel: Option<Pending<Agent>> = None;
        let mut arrived: Option<Arrived> = None;
        self.screen.note(&format!("agent {}", self.follow.agent))?;
        loop {
            if let Some((outcome, _)) = arrived.take_if(|(outcome, last)| self.has_shown(outcome, *last)) {
                let asks = outcome.outcome == Some(WaitOutcome::Permission) && self.screen.interactive;
                match outcome.permissions.first() {
                    Some(permission) if asks => self.ask(Asking::new(permission.clone()))?,
                    _ => return self.end(&outcome),
                }
            }
            let leaving = matches!(self.question, Some(Asked::Leave(_)));
            tokio::select! {
                answer = ready(&mut wait) => {
                    wait = None;
                    arrived = Some(self.arrive(answer?).await?);
                    if leaving {
                        // There is nothing left to leave.
                        self.question = None;
                        self.screen.aside("\n")?;
                    }
                }
                // While somebody decides whether to leave, the output stands still; the watch keeps its place.
                event = watch.next(), if !leaving => match event {
                    Some(event) => {
                        if self.event(&event?)? {
                            wait = Some(self.wait(WaitUntil::Attention));
                        }
                    }
                    None => return Err(ApiError::new(paseo_sdk::Code::Unavailable, "the watch has ended").into()),
                },
                line = self.lines.next(), if self.question.is_some() => match self.typed(line).await? {
                    Next::Nothing => {}
                    Next::Wait => wait = Some(self.wait(WaitUntil::Attention)),
                    Next::Interrupt => (wait, cancel) = (Some(self.wait(WaitUntil::Finished)), Some(self.cancel())),
                    Next::Exit(exit) => return Ok(exit),
                },
                _ = interrupts.recv() => {
                    if cancel.is_some() || !self.screen.interactive {
                        return self.detach(Exit::Interrupted);
                    }
                    if leaving {
                        self.question = None;
                        (wait, cancel) = (Some(self.wait(WaitUntil::Finished)), Some(self.cancel()));
                        self.screen.aside("\n")?;
                    } else {
                        self.offer_to_leave()?;
                    }
                }
                answer = ready(&mut cancel) => {
                    cancel = None;
                    answer?;
                }
                () = expired(self.follow.deadline), if self.question.is_some() => {
                    self.screen.aside("\n")?;
                    let status = self.follow.client.get_agent_status(self.whom()).await?;
                    return self.end(&timed_out(status, self.follow.prompt.clone()));
                }
            }
        }
    }

    /// Returns whether everything that belongs to an outcome has been printed.
    fn has_shown(&self, outcome: &AgentOutcome, last: i64) -> bool {
        match outcome.outcome {
            Some(WaitOutcome::TimedOut) => true,
            Some(WaitOutcome::Permission) => self.transcript.seq() >= last,
            _ => self.transcript.turn_ended() || self.transcript.seq() >= last,
        }
    }

    async fn arrive(&mut self, outcome: AgentOutcome) -> Result<Arrived, Failure> {
        let agent = self.follow.client.get_agent_status(self.whom()).await?;
        let last = agent.last_seq;
        self.agent = Some(agent);
        // What came before `after` is not told again, so it is not waited for.
        Ok((outcome, if last <= self.follow.after { 0 } else { last }))
    }

    /// Shows an event; returns whether the wait has to be taken up again.
    fn event(&mut self, event: &Event) -> Result<bool, Failure> {
        let pieces = self.transcript.feed(event);
        self.screen.pieces(pieces)?;
        match event {
            Event::AgentRemoved { agent_id } if *agent_id == self.follow.agent => Err(deleted(agent_id)),
            Event::AgentChanged(agent) if agent.agent_id == self.follow.agent => self.changed(agent),
            _ => Ok(false),
        }
    }

    fn changed(&mut self, agent: &Agent) -> Result<bool, Failure> {
        if let Some(worktree) = &agent.worktree {
            if self.agent.as_ref().is_none_or(|before| before.worktree.is_none()) {
                let branch = worktree.branch_name.as_deref().unwrap_or("no branch");
                self.screen.note(&format!("worktree {} (branch {branch})", worktree.worktree_path))?;
            }
            if worktree.setup.status != self.setup {
                self.setup = worktree.setup.status;
                let message = worktree.setup.message.as_deref().unwrap_or("see the worktree's setup");
                match self.setup {
                    SetupStatus::Running => self.screen.note("setup of the worktree runs")?,
                    SetupStatus::Failed => self.screen.note(&format!("setup of the worktree failed: {message}"))?,
                    _ => {}
                }
            }
        }
        self.agent = Some(agent.clone());
        let answered = match &self.question {
            Some(Asked::Permission(asking)) => {
                let asked = asking.permission();
                // A state from before the question says nothing about it.
                agent.updated_at >= asked.asked_at
                    && agent.permissions.iter().all(|permission| permission.request_id != asked.request_id)
            }
            _ => false,
        };
        if answered {
            self.question = None;
            self.screen.aside("\n")?;
            self.screen.note("somebody else has answered")?;
        }
        Ok(answered)
    }

    fn ask(&mut self, asking: Asking) -> Result<(), Failure> {
        let line = self.transcript.end_line();
        self.screen.pieces(line)?;
        self.lines.discard();
        self.screen.aside(&asking.render(&self.screen.notes))?;
        self.question = Some(Asked::Permission(asking));
        Ok(())
    }

    fn offer_to_leave(&mut self) -> Result<(), Failure> {
        let line = self.transcript.end_line();
        self.screen.pieces(line)?;
        self.lines.discard();
        self.screen.aside("\n[d]etach, [i]nterrupt, or Enter to go on (Ctrl-C again interrupts): ")?;
        let before = match self.question.take() {
            Some(Asked::Permission(asking)) => Some(asking),
            Some(Asked::Leave(before)) => before,
            None => None,
        };
        self.question = Some(Asked::Leave(before));
        Ok(())
    }

    /// Takes what a person typed; none at the end of the input.
    async fn typed(&mut self, line: Option<String>) -> Result<Next, Failure> {
        let word = line.as_deref().map(|line| line.trim().to_lowercase());
        match (self.question.take(), line) {
            (Some(Asked::Leave(before)), _) => match (word.as_deref(), before) {
                (Some("d" | "detach"), _) => self.detach(Exit::Done).map(Next::Exit),
                (Some("i" | "interrupt"), _) => Ok(Next::Interrupt),
                (_, Some(asking)) => self.ask(asking).map(|()| Next::Nothing),
                (_, None) => Ok(Next::Nothing),
            },
            (None, _) => Ok(Next::Nothing),
            (Some(Asked::Permission(asking)), None) => {
                self.screen.aside("\n")?;
                self.screen.note(&permission::how_to_answer(asking.permission()))?;
                Ok(Next::Exit(Exit::Permission))
            }
            (Some(Asked::Permission(asking)), Some(line)) => match asking.typed(&self.screen.notes, &line) {
                Typed::Again(asking, text) => {
                    self.screen.aside(&text)?;
                    self.question = Some(Asked::Permission(asking));
                    Ok(Next::Nothing)
                }
                Typed::Decided(permission, decision) => self.respond(&permission, decision).await,
            },
        }
    }

    async fn respond(&mut self, permission: &Permission, decision: Decision) -> Result<Next, Failure> {
        match self.follow.client.respond_to_permission(permission::respond(permission, decision)).await {
            Ok(agent) => self.agent = Some(agent),
            // Somebody else was faster, or the agent asks no more.
            Err(error) if matches!(error.code, paseo_sdk::Code::Conflict | paseo_sdk::Code::NotFound) => {
                self.screen.note(&error.message)?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Next::Wait)
    }

    fn detach(&mut self, exit: Exit) -> Result<Exit, Failure> {
        let line = self.transcript.end_line();
        self.screen.pieces(line)?;
        let id = short(&self.follow.agent);
        self.screen.note(&format!("the agent goes on\nwatch: paseo attach {id}\nstop:  paseo stop {id}"))?;
        Ok(exit)
    }

    fn end(&mut self, outcome: &AgentOutcome) -> Result<Exit, Failure> {
        let line = self.transcript.end_line();
        self.screen.pieces(line)?;
        let line = render::summary(&self.screen.notes, outcome, self.transcript.seen(), self.agent.as_ref());
        if outcome.outcome == Some(WaitOutcome::Permission) {
            for permission in &outcome.permissions {
                let text = permission::whole(&self.screen.notes, permission);
                self.screen.aside(&text)?;
                self.screen.note(&permission::how_to_answer(permission))?;
            }
        }
        self.screen.aside(&(line + "\n"))?;
        Ok(Exit::of(outcome))
    }

    fn wait(&self, until: WaitUntil) -> Pending<AgentOutcome> {
        let follow = self.follow.clone();
        Box::pin(async move { follow.wait(until).await })
    }

    fn cancel(&self) -> Pending<Agent> {
        let (client, agent) = (self.follow.client.clone(), AgentRef::from(&self.follow.agent));
        Box::pin(async move { client.cancel_agent(CancelAgent { agent_id: agent }).await })
    }

    fn whom(&self) -> GetAgentStatus {
        GetAgentStatus { agent_id: AgentRef::from(&self.follow.agent) }
    }
}

/// What follows from what was typed.
enum Next {
    Nothing,
    Wait,
    Interrupt,
    Exit(Exit),
}

/// Waits for what is pending; for ever when nothing is.
async fn ready<T>(waiting: &mut Option<Pending<T>>) -> Result<T, ApiError> {
    match waiting {
        Some(waiting) => waiting.await,
        None => pending().await,
    }
}

async fn expired(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => pending().await,
    }
}

fn timed_out(agent: Agent, prompt_id: Option<PromptId>) -> AgentOutcome {
    AgentOutcome {
        agent_id: agent.agent_id,
        prompt_id,
        status: agent.status,
        outcome: Some(WaitOutcome::TimedOut),
        reason: None,
        last_message: agent.last_message,
        permissions: agent.permissions,
        usage: agent.usage,
        agents: Vec::new(),
    }
}
