//! What is said about and done to the daemon itself.

use paseo_sdk::catalogue::{DaemonInfo, GetDaemon, ShutdownDaemon, ShuttingDown};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::agent::Input;
use paseo_sdk::model::Status;
use paseo_sdk::operation::{Caller, Handle};

use crate::agents::has_left;
use crate::{Closing, Core, probe};

impl Handle<GetDaemon> for Core {
    async fn handle(&self, caller: Caller, _: GetDaemon) -> Result<DaemonInfo, ApiError> {
        self.calling(&caller)?;
        let agents: Vec<_> = self.agents.all().iter().map(|owned| owned.live.view()).collect();
        let mut warnings = self.warnings.all();
        warnings.extend(agents.iter().filter_map(|view| {
            let trouble = view.trouble.as_ref()?;
            Some(format!("agent {} ({}): {trouble}", view.agent.agent_id, view.agent.title))
        }));
        let count = |wanted: &dyn Fn(Status) -> bool| {
            i64::try_from(agents.iter().filter(|view| wanted(view.agent.status)).count()).unwrap_or(i64::MAX)
        };
        Ok(DaemonInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: i64::from(std::process::id()),
            home: self.home.path().display().to_string(),
            listen: self.listen.get().cloned().unwrap_or_default(),
            started_at: self.started_at,
            agents: count(&|status| status != Status::Archived),
            running: count(&|status| works(status)),
            pending_permissions: agents
                .iter()
                .map(|view| i64::try_from(view.agent.permissions.len()).unwrap_or(0))
                .sum(),
            schedules: self.schedules.active(),
            warnings,
        })
    }
}

impl Handle<ShutdownDaemon> for Core {
    async fn handle(&self, caller: Caller, request: ShutdownDaemon) -> Result<ShuttingDown, ApiError> {
        self.only_people(&caller, "stop the daemon")?;
        if request.restart
            && let Some(program) = &self.program
            && probe::version(program, &self.launcher.env).await.is_none()
        {
            let message = format!("{} does not run: the daemon would not come back", program.display());
            return Err(ApiError::new(Code::Refused, message).hint("install paseo again; this daemon goes on"));
        }
        if request.with_agents {
            // What is due from here on is the next daemon's to start.
            let rest = self.schedules.rest();
            // A run that had begun already may have made another agent meanwhile.
            for _ in 0..2 {
                let agents = self.agents.all();
                for owned in &agents {
                    owned.tell(Input::Dismiss).await?;
                }
                for owned in &agents {
                    owned.until(has_left).await;
                }
            }
            rest.stay();
        }
        let agents = self.agents.all();
        let running = agents.iter().filter(|owned| works(owned.live.view().agent.status)).count();
        let closing = if request.restart { Closing::Restart } else { Closing::Stop };
        self.closing.send_replace(Some(closing));
        Ok(ShuttingDown { running: i64::try_from(running).unwrap_or(i64::MAX) })
    }
}

/// Whether an agent works, or waits within its turn.
pub(crate) fn works(status: Status) -> bool {
    matches!(status, Status::Starting | Status::Running | Status::Waiting)
}
