//! What a request makes of a schedule: checked as a whole, before anything is changed.

use paseo_sdk::cadence::Refusal;
use paseo_sdk::catalogue::{CreateSchedule, UpdateSchedule};
use paseo_sdk::error::ApiError;
use paseo_sdk::machine::schedule::{Definition, Memory};
use paseo_sdk::model::{AgentId, AgentRef, Duration, Mode, Rhythm, Task, Timestamp};
use paseo_sdk::operation::Caller;

use crate::Core;
use crate::agents::{check_prompt, check_title};

/// Who a new schedule says its prompt to.
enum Target {
    Own(AgentId),
    New,
    Other(AgentId),
}

impl Core {
    /// Reads what a new schedule is to be, and how free what it does is; none for a heartbeat, which gives nothing.
    pub(super) async fn define(
        &self,
        caller: &Caller,
        request: &CreateSchedule,
        now: Timestamp,
    ) -> Result<(Definition, Option<Mode>), ApiError> {
        check_prompt("prompt", &request.prompt)?;
        request
            .name
            .as_deref()
            .map_or(Ok(()), |name| check_title(name).map_err(|error| renamed(error, "title", "name")))?;
        let target = self.target(caller, request.target.as_deref()).await?;
        let mut task = Task {
            prompt: request.prompt.clone(),
            agent_id: None,
            provider: None,
            mode: None,
            cwd: None,
            worktree: None,
            run_timeout: run_timeout(request.run_timeout)?,
            notify_on_finish: request.notify_on_finish,
        };
        let needed = match target {
            Target::New => {
                self.new_agent(caller, request, &mut task).await?;
                task.mode.clone()
            }
            Target::Own(agent) | Target::Other(agent) => {
                for (field, given) in [
                    ("provider", request.provider.is_some()),
                    ("cwd", request.cwd.is_some()),
                    ("mode", request.mode.is_some()),
                    ("worktree", request.worktree.is_some()),
                ] {
                    if given {
                        return Err(ApiError::invalid(field, "goes only with a new agent for each run")
                            .hint("leave it out, or give `target: \"new-agent\"`"));
                    }
                }
                let own = self.calling(caller)?.is_some_and(|calling| calling.live.id == agent);
                if own && request.notify_on_finish {
                    return Err(ApiError::invalid("notifyOnFinish", "goes not with `self`").hint("leave it out"));
                }
                let mode = self.agents.get(&agent).map(|owned| owned.live.view().agent.mode.clone());
                task.agent_id = Some(agent);
                mode.filter(|_| !own)
            }
        };
        if request.notify_on_finish {
            self.notified(caller)?;
        }
        let by_agent = self.calling(caller)?.is_some();
        let definition = Definition {
            allowed: needed.clone().filter(|_| by_agent && task.agent_id.is_some()),
            name: request.name.clone(),
            rhythm: rhythm(request.cron.clone(), request.every, request.timezone.clone())?,
            task,
            max_runs: request.max_runs.map(at_least_one).transpose()?,
            expires_at: request.expires_in.map(|length| expiry(length, now)).transpose()?,
            when_missed: request.when_missed,
            when_busy: request.when_busy,
        };
        check(&definition, now)?;
        Ok((definition, needed))
    }

    async fn target(&self, caller: &Caller, target: Option<&str>) -> Result<Target, ApiError> {
        let calling = self.calling(caller)?;
        match (target, &calling) {
            (None, None) | (Some("new-agent"), _) => Ok(Target::New),
            (None | Some("self"), Some(calling)) => Ok(Target::Own(calling.live.id.clone())),
            (Some("self"), None) => {
                Err(ApiError::invalid("target", "`self` means the agent that calls, and none does")
                    .hint("name the agent, or give `new-agent`"))
            }
            (Some(other), _) => {
                let found = self.acted_on(caller, &AgentRef::from(other)).await;
                let id = found.map_err(|error| renamed(error, "agentId", "target"))?.live.id.clone();
                match calling.is_some_and(|calling| calling.live.id == id) {
                    true => Ok(Target::Own(id)),
                    false => Ok(Target::Other(id)),
                }
            }
        }
    }

    /// Reads what the agents of the runs are to be like.
    async fn new_agent(&self, caller: &Caller, request: &CreateSchedule, task: &mut Task) -> Result<(), ApiError> {
        let own = self.calling(caller)?.map(|calling| calling.live.view().agent.provider.clone());
        let provider = request.provider.clone().or(own).unwrap_or_else(|| USUAL_PROVIDER.to_owned());
        let mode = self.mode_of_new(caller, &provider, request.mode.as_ref())?;
        let directory = self.directory(caller, request.cwd.as_deref())?;
        // What it is called may be something else by the next run.
        let directory = directory.canonicalize().unwrap_or(directory);
        self.in_reach(caller, &directory).await?;
        if let Some(worktree) = &request.worktree {
            worktree.source()?;
            self.may_trust(caller, worktree.trust)?;
            if worktree.cwd.is_some() {
                return Err(ApiError::invalid("worktree.cwd", "is the schedule's own").hint("give `cwd` instead"));
            }
        }
        task.provider = Some(provider);
        task.mode = Some(mode);
        task.cwd = Some(directory.display().to_string());
        task.worktree = request.worktree.clone();
        Ok(())
    }

    /// Reads what a schedule is to be from now on.
    pub(super) fn redefine(
        &self,
        caller: &Caller,
        memory: &Memory,
        request: &UpdateSchedule,
        now: Timestamp,
    ) -> Result<Definition, ApiError> {
        let mut changed = memory.definition.clone();
        if let Some(prompt) = &request.prompt {
            check_prompt("prompt", prompt)?;
            changed.task.prompt = prompt.clone();
        }
        if let Some(name) = &request.name {
            check_title(name).map_err(|error| renamed(error, "title", "name"))?;
            changed.name = Some(name.clone());
        }
        if request.cron.is_some() || request.every.is_some() || request.timezone.is_some() {
            let cron = request.cron.clone().or(changed.rhythm.cron.filter(|_| request.every.is_none()));
            let zone = request.timezone.clone().or(changed.rhythm.timezone.filter(|_| cron.is_some()));
            changed.rhythm = rhythm(cron, request.every, zone)?;
        }
        if request.provider.is_some() || request.mode.is_some() {
            let field = if request.provider.is_some() { "provider" } else { "mode" };
            if changed.task.agent_id.is_some() {
                return Err(ApiError::invalid(field, "goes only with a new agent for each run").hint("leave it out"));
            }
            let provider = request.provider.clone().or(changed.task.provider).unwrap_or_default();
            let mode = request.mode.clone().or(changed.task.mode);
            changed.task.mode = Some(self.mode_of_new(caller, &provider, mode.as_ref())?);
            changed.task.provider = Some(provider);
        }
        match request.max_runs {
            None => {}
            Some(0) => changed.max_runs = None,
            Some(most) => changed.max_runs = Some(at_least_one(most)?),
        }
        match request.expires_in {
            None => {}
            Some(Duration { milliseconds: 0 }) => changed.expires_at = None,
            Some(length) => changed.expires_at = Some(expiry(length, now)?),
        }
        changed.when_missed = request.when_missed.unwrap_or(changed.when_missed);
        changed.when_busy = request.when_busy.unwrap_or(changed.when_busy);
        if request.run_timeout.is_some() {
            changed.task.run_timeout = run_timeout(request.run_timeout)?;
        }
        if request.expires_in.is_some() || changed.rhythm != memory.definition.rhythm {
            check(&changed, now)?;
        }
        Ok(changed)
    }
}

/// Reads when a schedule is due: exactly one of two.
fn rhythm(cron: Option<String>, every: Option<Duration>, timezone: Option<String>) -> Result<Rhythm, ApiError> {
    let which =
        "give exactly one of `cron` and `every`, such as `\"cron\": \"0 9 * * mon-fri\"` or `\"every\": \"5m\"`";
    match (cron, every) {
        (None, None) => Err(ApiError::invalid("every", "is needed, or `cron`").hint(which)),
        (Some(_), Some(_)) => Err(ApiError::invalid("every", "goes without `cron`").hint(which)),
        (None, every) => match timezone {
            None => Ok(Rhythm { every, ..Rhythm::default() }),
            Some(_) => Err(ApiError::invalid("timezone", "goes only with `cron`").hint("leave it out")),
        },
        (cron, None) => Ok(Rhythm { cron, timezone: Some(timezone.unwrap_or_else(own_zone)), every: None }),
    }
}

/// Returns the time zone of this machine, by its IANA name.
fn own_zone() -> String {
    iana_time_zone::get_timezone().unwrap_or_else(|error| {
        tracing::warn!(%error, "the time zone of this machine is not known, and is taken as UTC");
        "UTC".to_owned()
    })
}

/// Checks that a schedule would ever be due.
fn check(definition: &Definition, now: Timestamp) -> Result<(), ApiError> {
    let cadence = definition.cadence(now).map_err(|refusal| explain(&refusal))?;
    match (cadence.after(now), definition.expires_at) {
        (Some(first), Some(end)) if first >= end => Err(ApiError::invalid(
            "expiresIn",
            format!("it would expire before it is due for the first time, at {first}"),
        )
        .hint("give a longer time, or none")),
        _ => Ok(()),
    }
}

/// Says in the words of the API why something is no cadence.
pub(super) fn explain(refusal: &Refusal) -> ApiError {
    let field = match refusal {
        Refusal::Every(_) => "every",
        Refusal::Cron(_) => "cron",
        Refusal::Zone(_) => "timezone",
    };
    ApiError::invalid(field, refusal)
}

/// Names the field in an error as this request names it.
fn renamed(error: ApiError, from: &str, to: &str) -> ApiError {
    let message = error.message.replacen(&format!("{from}:"), &format!("{to}:"), 1);
    let details = error.details.map(|mut details| {
        if details["field"] == from {
            details["field"] = to.into();
        }
        details
    });
    ApiError { message, details, ..error }
}

fn at_least_one(most: i64) -> Result<i64, ApiError> {
    match most {
        1.. => Ok(most),
        _ => Err(ApiError::invalid("maxRuns", "must be 1 or more").hint("leave it out for no end")),
    }
}

fn expiry(length: Duration, now: Timestamp) -> Result<Timestamp, ApiError> {
    match length.milliseconds {
        1.. => Ok(now.plus(length.milliseconds)),
        _ => Err(ApiError::invalid("expiresIn", "is over already").hint("give a longer time, or none")),
    }
}

fn run_timeout(length: Option<Duration>) -> Result<Duration, ApiError> {
    match length.unwrap_or(USUAL_TIMEOUT) {
        length @ Duration { milliseconds: 1_000.. } => Ok(length),
        length => Err(ApiError::invalid("runTimeout", format!("`{length}` is less than a second"))
            .hint("give how long a run may take, such as `30m`")),
    }
}

/// Who does what no provider is named for.
const USUAL_PROVIDER: &str = "claude/sonnet";

/// How long a run may take where nobody says it.
const USUAL_TIMEOUT: Duration = Duration { milliseconds: 24 * 60 * 60 * 1000 };
