//! Following agents without gap or duplicate, across reconnects.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::conversation::{Clock, Conversation, Happened};
use super::dial::{Dialer, Link};
use super::{not_understood, to_value};
use crate::catalogue::{GetAgentStatus, GetAgentTimeline, WatchAgents};
use crate::error::{ApiError, Code};
use crate::machine::Machine;
use crate::machine::connection::Token;
use crate::machine::replica::{Input, Output, Replica};
use crate::model::{AgentId, Event};
use crate::operation::Operation;

/// A stream of what happens to the watched agents.
///
/// Entries of one agent come in order, each once, without gaps, whatever happens to the connection in between. Text of an
/// item that is open comes between its entries; a piece may be left out, which its offset shows. Of the agents themselves
/// the latest state comes. The stream ends after an error, and when all of the agents that were asked for are deleted.
///
/// It has a connection of its own, made when it is first asked for something, so it may be read as slowly as one likes.
/// Dropping it ends the connection.
///
/// ```no_run
/// use paseo_sdk::Client;
/// use paseo_sdk::catalogue::{WatchAgents, WatchFrom};
/// use paseo_sdk::model::Event;
///
/// # async fn run(client: Client) -> Result<(), paseo_sdk::ApiError> {
/// let from_the_start = WatchFrom { agent_id: "fix the tests".into(), after: 0 };
/// let mut watch = client.watch(WatchAgents { agents: Some(vec![from_the_start]) });
/// while let Some(event) = watch.next().await {
///     if let Event::AgentEntry { entry, .. } = event? {
///         println!("{}: {:?}", entry.seq, entry.what);
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Watch {
    state: State,
}

enum State {
    Unused(Arc<Link>, WatchAgents),
    Following {
        events: mpsc::Receiver<Result<Event, ApiError>>,
        /// The task that follows; it ends with this.
        _task: JoinSet<()>,
    },
    Over,
}

impl Watch {
    pub(crate) fn new(link: Arc<Link>, request: WatchAgents) -> Watch {
        Watch { state: State::Unused(link, request) }
    }

    /// Returns what happens next; an error ends the watch. May be cancelled: nothing is lost.
    pub async fn next(&mut self) -> Option<Result<Event, ApiError>> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for Watch {
    type Item = Result<Event, ApiError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let State::Unused(link, request) = &self.state {
            let (tells, events) = mpsc::channel(EVENTS);
            let mut task = JoinSet::new();
            task.spawn(follow(link.clone(), request.clone(), tells));
            self.state = State::Following { events, _task: task };
        }
        let State::Following { events, .. } = &mut self.state else { return Poll::Ready(None) };
        let next = events.poll_recv(context);
        if let Poll::Ready(None | Some(Err(_))) = next {
            self.state = State::Over;
        }
        next
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Unused(..) => "unused",
            State::Following { .. } => "following",
            State::Over => "over",
        };
        write!(f, "Watch({state})")
    }
}

/// Tells `events` what happens, until it is over or nobody listens.
async fn follow(link: Arc<Link>, request: WatchAgents, events: mpsc::Sender<Result<Event, ApiError>>) {
    let mut follower = Follower { replica: Replica::new(request), clock: Clock::start(), events };
    let mut dialer = Dialer::new(link);
    loop {
        let end = match dialer.dial().await {
            Ok(mut conversation) => {
                let end = follower.attend(&mut conversation, &mut dialer).await;
                conversation.finish().await;
                end
            }
            Err(error) => End::Failed(error),
        };
        match end {
            End::Cut => {
                dialer.cut();
                follower.tell(Input::Cut);
            }
            End::Failed(error) => {
                // Whether anybody listens makes no difference any more.
                let _ = follower.events.send(Err(error)).await;
                return;
            }
            End::Over => return,
        }
    }
}

struct Follower {
    replica: Replica,
    clock: Clock,
    events: mpsc::Sender<Result<Event, ApiError>>,
}

/// Why a connection is not attended to any more.
enum End {
    /// It was cut, or the daemon is too busy.
    Cut,
    /// Going on makes no sense.
    Failed(ApiError),
    /// There is nothing left to follow, or nobody listens.
    Over,
}

/// What was asked on a connection.
enum Asked {
    Watching,
    Page(AgentId),
    /// Whether an agent is still there, since the daemon does not know one of those to follow.
    Status(AgentId),
}

/// What is asked on one connection, and what is still to be answered.
struct Questions<'a> {
    conversation: &'a mut Conversation,
    open: BTreeMap<Token, Asked>,
    next: i64,
    /// Whether an agent was found to be gone.
    missing: bool,
}

impl Questions<'_> {
    fn ask<Op: Operation>(&mut self, asked: Asked, request: &Op) -> Result<(), ApiError> {
        let token = Token(self.next);
        self.next += 1;
        self.conversation.call(token, Op::NAME, to_value(request)?)?;
        self.open.insert(token, asked);
        Ok(())
    }

    /// Returns whether it is still being found out which agents are there.
    fn probing(&self) -> bool {
        self.open.values().any(|asked| matches!(asked, Asked::Status(_)))
    }
}

impl Follower {
    /// Follows over one connection, to its end.
    async fn attend(&mut self, conversation: &mut Conversation, dialer: &mut Dialer) -> End {
        let mut questions = Questions { conversation, open: BTreeMap::new(), next: 1, missing: false };
        match self.attempt(&mut questions, dialer).await {
            Ok(end) => end,
            Err(error) => End::Failed(error),
        }
    }

    async fn attempt(&mut self, questions: &mut Questions<'_>, dialer: &mut Dialer) -> Result<End, ApiError> {
        questions.ask(Asked::Watching, &self.replica.request())?;
        loop {
            while let Some(output) = self.replica.poll() {
                match output {
                    Output::Event(event) => {
                        if self.events.send(Ok(event)).await.is_err() {
                            return Ok(End::Over);
                        }
                    }
                    Output::Ask { agent, after } => {
                        let page = GetAgentTimeline { limit: Some(PAGE), ..GetAgentTimeline::after(&agent, after) };
                        questions.ask(Asked::Page(agent), &page)?;
                    }
                }
            }
            if self.replica.is_over() {
                return Ok(End::Over);
            }
            let due = self.replica.deadline().map(|due| self.clock.instant(due));
            tokio::select! {
                biased;
                happened = questions.conversation.next() => match happened {
                    Some(Happened::Answer { token, result }) => {
                        let Some(asked) = questions.open.remove(&token) else { continue };
                        if let Some(end) = self.answered(asked, result, questions, dialer)? {
                            return Ok(end);
                        }
                    }
                    Some(Happened::Event { method, params }) => {
                        // What an event of a newer daemon says is not for this client.
                        if let Ok(event) = serde_json::from_value(json!({ "method": method, "params": params })) {
                            self.tell(Input::Event(event));
                        }
                    }
                    Some(Happened::Cut { .. } | Happened::Progress { .. }) => {}
                    None => return Ok(End::Cut),
                },
                () = async { match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                } } => self.replica.expire(self.clock.now()),
            }
        }
    }

    /// Takes an answer; says how it ends, if it ends with it.
    fn answered(
        &mut self,
        asked: Asked,
        result: Result<Value, ApiError>,
        questions: &mut Questions<'_>,
        dialer: &mut Dialer,
    ) -> Result<Option<End>, ApiError> {
        match (asked, result) {
            (Asked::Watching, Ok(answer)) => {
                dialer.answered();
                self.tell(Input::Watching(read::<WatchAgents>(answer)?));
            }
            // The daemon has too much to do; it is asked again, more and more seldom.
            (Asked::Watching, Err(error)) if error.code == Code::Unavailable => return Ok(Some(End::Cut)),
            (Asked::Watching, Err(error)) => {
                let known: Vec<_> = self.replica.agents().cloned().collect();
                if error.code != Code::NotFound || known.is_empty() {
                    return Err(error);
                }
                // One of several was deleted meanwhile: the others are still to be followed.
                for agent in known {
                    let status = GetAgentStatus { agent_id: (&agent).into() };
                    questions.ask(Asked::Status(agent), &status)?;
                }
            }
            (Asked::Status(agent), result) => {
                match result {
                    Err(error) if error.code == Code::NotFound => {
                        questions.missing = true;
                        self.tell(Input::Missing { agent });
                    }
                    Err(error) => return Err(error),
                    Ok(_) => {}
                }
                if !questions.probing() {
                    // Nothing is missing after all: as good as a cut, to be tried again a little later.
                    if !std::mem::take(&mut questions.missing) {
                        return Ok(Some(End::Cut));
                    }
                    questions.ask(Asked::Watching, &self.replica.request())?;
                }
            }
            (Asked::Page(agent), Ok(answer)) => {
                dialer.answered();
                let page = read::<GetAgentTimeline>(answer)?;
                self.tell(Input::Page { agent, page });
            }
            (Asked::Page(agent), Err(_)) => self.tell(Input::Unanswered { agent }),
        }
        Ok(None)
    }

    fn tell(&mut self, input: Input) {
        match self.replica.handle(self.clock.now(), input) {
            Ok(()) => {}
            Err(never) => match never {},
        }
    }
}

fn read<Op: Operation>(answer: Value) -> Result<Op::Answer, ApiError> {
    serde_json::from_value(answer).map_err(|error| not_understood(Op::NAME, &error))
}

/// Events that may wait to be read.
const EVENTS: usize = 64;
/// Entries to ask for at a time.
const PAGE: i64 = 1000;
