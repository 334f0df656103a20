//! Schedules: what is said to agents again and again, and the records of that.

mod define;
mod keeper;
mod run;

use std::path::Path;

use paseo_sdk::catalogue::{
    CreateSchedule, DeleteSchedule, DeletedSchedule, InspectSchedule, InspectedSchedule, ListSchedules, PauseSchedule,
    ResumeSchedule, RunSchedule, Schedules as Listed, UpdateSchedule,
};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::schedule::{Input, MOST_RECORDS, Memory, Schedule};
use paseo_sdk::model::{self, AgentId, Mode, ScheduleId, ScheduleRef, Task, in_one_line};
use paseo_sdk::operation::{Caller, Handle, Operation as _, Principal};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use self::keeper::What;
pub(crate) use self::keeper::{Keeper, Schedules};
use crate::Core;
use crate::agents::{FREER, TITLE, Wish, fresh_id, shown, whole};
use crate::config::Scope;
use crate::owner::now;

impl Handle<CreateSchedule> for Core {
    async fn handle(&self, caller: Caller, request: CreateSchedule) -> Result<model::Schedule, ApiError> {
        let time = now();
        let digest = digest(&caller, &request);
        if let Some(known) = request.schedule_id.as_ref().and_then(|id| self.memory(id)) {
            // The same call again, perhaps after a cut.
            return match known.request == digest && !known.deleted {
                true => self.shown(&known.schedule_id),
                false => Err(ApiError::new(
                    Code::Conflict,
                    format!("scheduleId: schedule {} exists, from another request", known.schedule_id),
                )
                .hint("give each schedule an id of its own, or none")
                .details(json!({ "field": "scheduleId" }))),
            };
        }
        let (definition, needed) = self.define(&caller, &request, time).await?;
        if let Some(mode) = needed {
            let wish = || Wish {
                operation: CreateSchedule::NAME,
                title: title("say again and again", &definition.task),
                reason: FREER.to_owned(),
                input: json!(definition),
                whole: whole(&request),
            };
            self.raise(&caller, &mode, wish).await?;
        }
        if self.schedules.look(|shelf| shelf.len()) >= MOST_SCHEDULES {
            return Err(ApiError::new(Code::Unavailable, format!("there are {MOST_SCHEDULES} schedules already"))
                .hint("delete some"));
        }
        let created_by = match &caller.who {
            Principal::Agent(agent) => Some(agent.clone()),
            Principal::User => None,
        };
        let id = request.schedule_id.clone().map_or_else(fresh_id, Ok)?;
        let memory = Memory::new(id.clone(), definition, created_by, digest, time);
        let made = Schedule::new(memory).map_err(|refusal| define::explain(&refusal))?;
        self.schedules.ask(id.clone(), What::Make(Box::new(made))).await?;
        self.shown(&id)
    }
}

impl Handle<ListSchedules> for Core {
    async fn handle(&self, caller: Caller, request: ListSchedules) -> Result<Listed, ApiError> {
        self.calling(&caller)?;
        let wanted = |status| request.statuses.is_empty() || request.statuses.contains(&status);
        let mut schedules: Vec<_> = self.schedules.look(|shelf| {
            let there = shelf.values().filter(|schedule| !schedule.memory().deleted);
            there.filter(|schedule| wanted(schedule.memory().status)).map(Schedule::shown).collect()
        });
        schedules.sort_by_cached_key(|schedule| {
            let next = schedule.next.first().copied();
            (next.is_none(), next, schedule.name.clone(), schedule.schedule_id.clone())
        });
        Ok(Listed { schedules })
    }
}

impl Handle<InspectSchedule> for Core {
    async fn handle(&self, caller: Caller, request: InspectSchedule) -> Result<InspectedSchedule, ApiError> {
        self.calling(&caller)?;
        let most = i64::try_from(MOST_RECORDS).unwrap_or(i64::MAX);
        let limit = match request.limit.unwrap_or(20) {
            limit if (1..=most).contains(&limit) => usize::try_from(limit).unwrap_or(MOST_RECORDS),
            _ => return Err(ApiError::invalid("limit", format!("must be from 1 to {most}"))),
        };
        let memory = self.find(&request.schedule_id)?;
        let (runs, more) = memory.page(request.before, limit);
        let next_before = runs.last().filter(|_| more).map(|run| run.number);
        Ok(InspectedSchedule { schedule: self.shown(&memory.schedule_id)?, runs, next_before })
    }
}

impl Handle<UpdateSchedule> for Core {
    async fn handle(&self, caller: Caller, request: UpdateSchedule) -> Result<model::Schedule, ApiError> {
        let memory = self.changed(&caller, &request.schedule_id).await?;
        let definition = self.redefine(&caller, &memory, &request, now())?;
        let wish = || Wish {
            operation: UpdateSchedule::NAME,
            title: title("change what is said again and again", &definition.task),
            reason: FREER.to_owned(),
            input: json!(definition),
            whole: whole(&definition),
        };
        self.raise_task(&caller, &memory, &definition.task, wish).await?;
        // A person may have been asked for a while.
        if self.memory(&memory.schedule_id).is_some_and(|now| now.updated_at != memory.updated_at) {
            return Err(ApiError::new(
                Code::Conflict,
                format!("schedule {} was changed meanwhile", memory.schedule_id),
            )
            .hint("look at it, and ask again"));
        }
        self.tell(&memory.schedule_id, Input::Update(Box::new(definition))).await
    }
}

impl Handle<PauseSchedule> for Core {
    async fn handle(&self, caller: Caller, request: PauseSchedule) -> Result<model::Schedule, ApiError> {
        let memory = self.changed(&caller, &request.schedule_id).await?;
        self.tell(&memory.schedule_id, Input::Pause).await
    }
}

impl Handle<ResumeSchedule> for Core {
    async fn handle(&self, caller: Caller, request: ResumeSchedule) -> Result<model::Schedule, ApiError> {
        let memory = self.changed(&caller, &request.schedule_id).await?;
        let wish = || again(ResumeSchedule::NAME, "say again and again", &memory);
        self.raise_task(&caller, &memory, &memory.definition.task, wish).await?;
        self.tell(&memory.schedule_id, Input::Resume).await
    }
}

impl Handle<RunSchedule> for Core {
    async fn handle(&self, caller: Caller, request: RunSchedule) -> Result<model::Schedule, ApiError> {
        let memory = self.changed(&caller, &request.schedule_id).await?;
        let wish = || again(RunSchedule::NAME, "say now", &memory);
        self.raise_task(&caller, &memory, &memory.definition.task, wish).await?;
        let prompt = request.prompt_id.clone().map_or_else(fresh_id, Ok)?;
        self.tell(&memory.schedule_id, Input::Run(prompt)).await
    }
}

impl Handle<DeleteSchedule> for Core {
    async fn handle(&self, caller: Caller, request: DeleteSchedule) -> Result<DeletedSchedule, ApiError> {
        let schedule_id = self.changed(&caller, &request.schedule_id).await?.schedule_id;
        self.schedules.ask(schedule_id.clone(), What::Tell(Input::Delete)).await?;
        Ok(DeletedSchedule { schedule_id })
    }
}

impl Core {
    fn memory(&self, id: &ScheduleId) -> Option<Memory> {
        self.schedules.look(|shelf| shelf.get(id).map(|schedule| schedule.memory().clone()))
    }

    fn shown(&self, id: &ScheduleId) -> Result<model::Schedule, ApiError> {
        let found = self.schedules.look(|shelf| shelf.get(id).map(Schedule::shown));
        found.ok_or_else(|| ApiError::new(Code::NotFound, format!("schedule {id} was deleted meanwhile")))
    }

    async fn tell(&self, id: &ScheduleId, input: Input) -> Result<model::Schedule, ApiError> {
        self.schedules.ask(id.clone(), What::Tell(input)).await?;
        self.shown(id)
    }

    /// Finds a schedule by its id, an unambiguous prefix of it, or its exact name.
    fn find(&self, reference: &ScheduleRef) -> Result<Memory, ApiError> {
        let text = reference.as_str();
        let found: Vec<Memory> = self.schedules.look(|shelf| {
            let there = || shelf.values().map(Schedule::memory).filter(|memory| !memory.deleted);
            if let Some(exact) = there().find(|memory| memory.schedule_id.as_str() == text) {
                return vec![exact.clone()];
            }
            let fits = |memory: &&Memory| {
                memory.name() == text || !text.is_empty() && memory.schedule_id.as_str().starts_with(text)
            };
            there().filter(fits).cloned().collect()
        });
        match <[Memory; 1]>::try_from(found) {
            Ok([only]) => Ok(only),
            Err(none) if none.is_empty() => Err(ApiError::new(Code::NotFound, format!("no schedule {}", shown(text)))
                .hint("`paseo schedule ls` lists schedules")
                .details(json!({ "field": "scheduleId" }))),
            Err(several) => {
                let count = several.len();
                let one = |memory: Memory| json!({ "scheduleId": memory.schedule_id, "name": memory.name() });
                let candidates: Vec<_> = several.into_iter().map(one).collect();
                Err(ApiError::new(
                    Code::InvalidArgument,
                    format!("scheduleId: {count} schedules are called {}", shown(text)),
                )
                .hint("give more of the id; `details.candidates` lists them")
                .details(json!({ "field": "scheduleId", "candidates": candidates })))
            }
        }
    }

    /// Finds the schedule that a caller wants to change, and refuses what is not the calling agent's to change: what it
    /// or those that it created have made is, and what else its scope allows.
    async fn changed(&self, caller: &Caller, reference: &ScheduleRef) -> Result<Memory, ApiError> {
        let memory = self.find(reference)?;
        let Some(calling) = self.acting(caller)? else { return Ok(memory) };
        let within = self.has_made(&calling.live.id, &memory)
            || match self.scope {
                Scope::Own => false,
                Scope::All => true,
                Scope::Repository => {
                    let task = &memory.definition.task;
                    let target = task.agent_id.as_ref().and_then(|agent| self.agents.get(agent));
                    let place = target.map(|owned| owned.live.view().agent.cwd.clone()).or(task.cwd.clone());
                    let here = calling.live.view().agent.cwd.clone();
                    match place {
                        Some(place) => self.worktrees.same_repository(Path::new(&here), Path::new(&place)).await,
                        None => false,
                    }
                }
            };
        match within {
            true => Ok(memory),
            false => {
                let id = &memory.schedule_id;
                let why = "this agent did not make it, and it is about another repository or agent";
                Err(ApiError::new(Code::Forbidden, format!("schedule {id} is out of reach: {why}"))
                    .hint("ask your user, who may widen `scope` in config.json"))
            }
        }
    }

    /// Whether an agent, or one that it created, has made a schedule.
    fn has_made(&self, agent: &AgentId, memory: &Memory) -> bool {
        memory.created_by.as_ref().is_some_and(|maker| maker == agent || self.descends(maker, agent))
    }

    /// Asks a person where an agent would have something done that it may not do itself.
    async fn raise_task(
        &self,
        caller: &Caller,
        memory: &Memory,
        task: &Task,
        wish: impl FnOnce() -> Wish<'static>,
    ) -> Result<(), ApiError> {
        let Principal::Agent(own) = &caller.who else { return Ok(()) };
        if task.agent_id.as_ref() == Some(own) {
            return Ok(());
        }
        let target = task.agent_id.as_ref().and_then(|agent| self.agents.get(agent));
        let mode = match self.has_made(own, memory) {
            true => target.map(|owned| owned.live.view().agent.mode.clone()).or(task.mode.clone()),
            // It runs with the rights of whoever made it, whatever mode its agents have.
            false => None,
        };
        self.raise(caller, &mode.unwrap_or(Mode::FullAccess), wish).await
    }
}

/// What a person is asked when an agent would run what is there.
fn again(operation: &'static str, what: &str, memory: &Memory) -> Wish<'static> {
    let task = &memory.definition.task;
    // What a person allows is what it was then.
    let whole = format!("{} {}", memory.schedule_id, whole(&memory.definition));
    let (title, input) =
        (title(what, task), json!({ "scheduleId": memory.schedule_id, "name": memory.name(), "task": task }));
    Wish { operation, title, reason: FREER.to_owned(), input, whole }
}

fn title(what: &str, task: &Task) -> String {
    let whom = match (&task.agent_id, &task.provider, &task.mode) {
        (Some(agent), ..) => format!("to agent {agent}"),
        (None, Some(provider), Some(mode)) => format!("to a new agent of {provider} in mode {mode}"),
        _ => "to a new agent".to_owned(),
    };
    format!("{what} {whom}: {}", in_one_line(&task.prompt, TITLE))
}

/// Returns a digest of what a request asks for, whatever id it gives.
fn digest(caller: &Caller, request: &CreateSchedule) -> String {
    let request = CreateSchedule { schedule_id: None, ..request.clone() };
    let digest = Sha256::digest(format!("{:?} {}", caller.who, whole(&request)));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How many schedules there may be.
const MOST_SCHEDULES: usize = 10_000;
