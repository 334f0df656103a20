//! `paseo mcp`: the tools over standard input and output, for programs that start their servers themselves.
//!
//! A call that may block holds a connection of its own to the daemon, so that a call that is cancelled ends there too, and
//! waits again after the daemon has restarted. Standard output carries nothing but the protocol.

mod pipe;

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use paseo_sdk::Client;
use paseo_sdk::catalogue::{
    ArchiveWorktree, CreateAgent, CreateSchedule, CreateWorktree, RestoreWorktree, ResumeSchedule, RunSchedule,
    SendAgentPrompt, SetAgentMode, TrustWorktree, UpdateSchedule, WaitForAgent,
};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::model::Progress;
use paseo_sdk::operation::Operation;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ErrorData, ListToolsResult, PaginatedRequestParams,
    ProgressNotificationParam, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, interval_at};

use self::pipe::Pipe;
use crate::lock;
use crate::mcp::{Call, Tools, Way};

/// Plays the bridge of an agent, to the daemon of `PASEO_HOME`, and returns the exit code.
pub(crate) fn main() -> i32 {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = variable("PASEO_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".paseo")));
    let Some(home) = home else {
        eprintln!("error: your home directory is not known");
        eprintln!("hint: set PASEO_HOME");
        return 2;
    };
    let mut daemon = Client::new(lock::address(&home));
    if let Some(token) = variable("PASEO_AGENT_TOKEN").and_then(|token| token.into_string().ok()) {
        daemon = daemon.token(token);
    }
    if variable("PASEO_AGENT_ID").is_some() {
        daemon = daemon.expected();
    }
    serve(daemon)
}

/// Serves the tools of a daemon until standard input ends, and returns the exit code.
#[must_use]
pub fn serve(daemon: Client) -> i32 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return 1;
        }
    };
    runtime.block_on(talk(tokio::io::stdin(), tokio::io::stdout(), daemon, BEAT));
    // A thread may still read from a terminal that says nothing.
    runtime.shutdown_background();
    0
}

/// Serves the tools of a daemon to whoever writes `input` and reads `output`, until the input ends. A call that goes on
/// says so every `beat`, when its caller wants to hear it.
pub async fn talk<I, O>(input: I, output: O, daemon: Client, beat: Duration)
where
    I: AsyncRead + Send + Unpin + 'static,
    O: AsyncWrite + Send + Unpin + 'static,
{
    let (ends, ended) = watch::channel(false);
    let tools = Unlisted(Tools::over(Outside { daemon, beat, ended }));
    // Input that ends before the greeting is no mistake.
    if let Ok(served) = rmcp::serve_server(tools, Pipe::new(input, output, ends)).await {
        let _ = served.waiting().await;
    }
}

/// Calls to a daemon in another process.
struct Outside {
    daemon: Client,
    beat: Duration,
    ended: watch::Receiver<bool>,
}

impl Way for Outside {
    async fn call(&self, call: Call) -> Result<Value, ApiError> {
        let Call { operation, arguments, context, .. } = call;
        let begun = Instant::now();
        let blocks = BLOCKING.contains(&operation);
        let daemon = match blocks {
            true => self.daemon.clone().patience(PATIENCE),
            false => self.daemon.clone(),
        };
        let (tell, mut told) = watch::channel(Progress::default());
        let daemon = daemon.with_progress(move |progress| drop(tell.send_replace(progress)));
        let mut answer = pin!(daemon.call(operation, Value::Object(arguments)));
        let mut ended = self.ended.clone();
        let token = context.meta.get_progress_token();
        let mut beats = interval_at(begun + self.beat, self.beat);
        let mut count = 0.0;
        loop {
            let news = tokio::select! {
                biased;
                answer = answer.as_mut() => return answer,
                // Nobody is left who waits, and the daemon need not either. Short calls are answered all the same.
                _ = ended.wait_for(|ended| *ended), if blocks => {
                    return Err(ApiError::new(Code::Unavailable, "the input has ended"));
                }
                Ok(()) = told.changed(), if token.is_some() => in_words(&told.borrow_and_update()),
                _ = beats.tick(), if token.is_some() => {
                    format!("{operation} has gone on for {} s", begun.elapsed().as_secs())
                }
            };
            if let Some(token) = &token {
                count += 1.0;
                let progress = ProgressNotificationParam::new(token.clone(), count).with_message(news);
                // Whoever does not hear it hears no answer either.
                let _ = context.peer.notify_progress(progress).await;
            }
        }
    }
}

/// Says how far a call is, for a person.
fn in_words(progress: &Progress) -> String {
    let what = progress.message.as_deref().unwrap_or(&progress.step);
    match (progress.done, progress.total) {
        (Some(done), Some(total)) => {
            let unit = progress.unit.as_deref().map(|unit| format!(" {unit}")).unwrap_or_default();
            format!("{what}: {done} of {total}{unit}")
        }
        _ => what.to_owned(),
    }
}

/// Lists no tools itself: the pipe does.
struct Unlisted(Tools<Outside>);

impl ServerHandler for Unlisted {
    fn get_info(&self) -> ServerConfig {
        self.0.get_info()
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(Vec::new()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.0.call_tool(request, context).await
    }
}

/// The operations that may take long: they wait for agents, for what a worktree runs, or for a person.
const BLOCKING: [&str; 12] = [
    CreateWorktree::NAME,
    ArchiveWorktree::NAME,
    RestoreWorktree::NAME,
    TrustWorktree::NAME,
    CreateAgent::NAME,
    SendAgentPrompt::NAME,
    WaitForAgent::NAME,
    SetAgentMode::NAME,
    CreateSchedule::NAME,
    UpdateSchedule::NAME,
    ResumeSchedule::NAME,
    RunSchedule::NAME,
];
/// How long they wait for a daemon that is away.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a call that goes on says so: clients give up on servers that say nothing, most of them after a minute.
const BEAT: Duration = Duration::from_secs(10);
