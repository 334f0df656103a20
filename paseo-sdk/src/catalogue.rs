//! The table of all operations. Every surface reads it: the Rust client, the socket, HTTP, tools and the command line.

mod agent;
mod daemon;
mod permission;
mod provider;
mod schedule;
mod worktree;

pub use agent::*;
pub use daemon::*;
pub use permission::*;
pub use provider::*;
pub use schedule::*;
use serde_json::Value;
pub use worktree::*;

#[cfg(feature = "client")]
use crate::client::Prepare as _;
use crate::error::{ApiError, Code};
use crate::model::{Agent, Schedule, Worktree};
use crate::operation::{Caller, Effect, Handle, Operation, parse};

/// Writes, from the rows: `Operation` for each request, the `Service` that handles all of them, `dispatch`, the list of
/// names, `tool()`, and the client's methods.
macro_rules! catalogue {
    ($($effect:ident $name:ident: $request:ident -> $answer:ident;)*) => {
        $(impl Operation for $request {
            const NAME: &'static str = stringify!($name);
            const EFFECT: Effect = Effect::$effect;
            type Answer = $answer;
        })*

        /// Everything that handles every operation. A forgotten handler is a compile error that names it.
        pub trait Service: $(Handle<$request> +)* Send + Sync + 'static {}

        impl<S> Service for S where S: $(Handle<$request> +)* Send + Sync + 'static {}

        /// The name and the effect of every operation, in reading order.
        pub const OPERATIONS: &[(&str, Effect)] = &[$((stringify!($name), Effect::$effect)),*];

        /// Carries out the operation called `method`.
        ///
        /// # Errors
        ///
        /// Those of the operation; `unsupported` when there is none of that name.
        pub async fn dispatch<S: Service>(service: &S, caller: Caller, method: &str, params: Value) -> Result<Value, ApiError> {
            match method {
                $(stringify!($name) => carry_out::<$request, S>(service, caller, params).await,)*
                _ => Err(unknown(method)),
            }
        }

        /// Describes the operation called `name`; none when there is none of that name.
        #[cfg(feature = "schema")]
        #[must_use]
        pub fn tool(name: &str) -> Option<crate::operation::Tool> {
            match name {
                $(stringify!($name) => Some(crate::operation::Tool::of::<$request>()),)*
                _ => None,
            }
        }

        #[cfg(feature = "client")]
        #[expect(missing_docs, reason = "each method is the operation of its request, which is documented")]
        impl crate::client::Client {
            $(pub async fn $name(&self, mut request: $request) -> Result<$answer, ApiError> {
                // An inherent `prepare` of the request, where it has one, goes before the trait's, which does nothing.
                let wait = request.prepare();
                self.perform(request, wait).await
            })*
        }
    };
}

catalogue! {
    // effect  name on every wire          request                    answer
    Write   create_worktree:            CreateWorktree          -> Worktree;
    Read    list_worktrees:             ListWorktrees           -> Worktrees;
    Destroy archive_worktree:           ArchiveWorktree         -> ArchivedWorktree;
    Write   restore_worktree:           RestoreWorktree         -> Worktree;
    Write   trust_worktree:             TrustWorktree           -> Worktree;
    Write   create_agent:               CreateAgent             -> AgentOutcome;
    Write   send_agent_prompt:          SendAgentPrompt         -> AgentOutcome;
    Read    wait_for_agent:             WaitForAgent            -> AgentOutcome;
    Read    list_agents:                ListAgents              -> Agents;
    Read    get_agent_status:           GetAgentStatus          -> Agent;
    Read    get_agent_timeline:         GetAgentTimeline        -> TimelinePage;
    Read    get_agent_activity:         GetAgentActivity        -> Activity;
    Read    watch_agents:               WatchAgents             -> Watching;
    Write   update_agent:               UpdateAgent             -> Agent;
    Write   set_agent_mode:             SetAgentMode            -> Agent;
    Write   cancel_agent:               CancelAgent             -> Agent;
    Write   archive_agent:              ArchiveAgent            -> Agent;
    Destroy delete_agent:               DeleteAgent             -> DeletedAgent;
    Read    list_pending_permissions:   ListPendingPermissions  -> Permissions;
    Write   respond_to_permission:      RespondToPermission     -> Agent;
    Write   create_schedule:            CreateSchedule          -> Schedule;
    Read    list_schedules:             ListSchedules           -> Schedules;
    Read    inspect_schedule:           InspectSchedule         -> InspectedSchedule;
    Write   update_schedule:            UpdateSchedule          -> Schedule;
    Write   pause_schedule:             PauseSchedule           -> Schedule;
    Write   resume_schedule:            ResumeSchedule          -> Schedule;
    Write   run_schedule:               RunSchedule             -> Schedule;
    Destroy delete_schedule:            DeleteSchedule          -> DeletedSchedule;
    Read    list_providers:             ListProviders           -> Providers;
    Read    list_models:                ListModels              -> Models;
    Read    get_daemon:                 GetDaemon               -> DaemonInfo;
    Destroy shutdown_daemon:            ShutdownDaemon          -> ShuttingDown;
}

/// Describes every operation, in reading order.
#[cfg(feature = "schema")]
#[must_use]
pub fn tools() -> Vec<crate::operation::Tool> {
    OPERATIONS.iter().filter_map(|(name, _)| tool(name)).collect()
}

async fn carry_out<Op: Operation, S: Handle<Op>>(
    service: &S,
    caller: Caller,
    params: Value,
) -> Result<Value, ApiError> {
    let answer = service.handle(caller, parse::<Op>(params)?).await?;
    serde_json::to_value(answer)
        .map_err(|error| ApiError::new(Code::Internal, format!("the answer cannot be written as JSON: {error}")))
}

/// The refusal for a name that is not in the table.
fn unknown(method: &str) -> ApiError {
    let names: Vec<_> = OPERATIONS.iter().map(|(name, _)| *name).collect();
    let shown: String = method.chars().take(80).collect();
    ApiError::new(Code::Unsupported, format!("no operation `{}`", shown.escape_debug()))
        .hint("`details.operations` lists them")
        .details(serde_json::json!({ "operations": names }))
}
