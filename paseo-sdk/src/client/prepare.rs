//! Ids made by the client, and blocking calls turned into a start and a wait: what makes calls safe to repeat.

use std::str::FromStr;

use serde_json::Value;

use crate::catalogue::{CreateAgent, CreateSchedule, RunSchedule, SendAgentPrompt, WaitForAgent};
use crate::model::{AgentRef, PromptId};
use crate::operation::Operation;

/// What a request needs before it is sent: ids, so that it may be repeated. Requests that need something have a method
/// of this name of their own, which goes before this one.
pub(crate) trait Prepare {
    /// Fills in what is missing, and says what to wait for afterwards.
    fn prepare(&mut self) -> Option<WaitForAgent> {
        None
    }
}

impl<Op: Operation> Prepare for Op {}

impl CreateAgent {
    pub(crate) fn prepare(&mut self) -> Option<WaitForAgent> {
        let agent = AgentRef::from(&*self.agent_id.get_or_insert_with(fresh));
        let prompt = self.prompt_id.get_or_insert_with(fresh);
        let blocks = !std::mem::replace(&mut self.background, true);
        blocks.then(|| wait(agent, prompt))
    }
}

impl SendAgentPrompt {
    pub(crate) fn prepare(&mut self) -> Option<WaitForAgent> {
        let prompt = self.prompt_id.get_or_insert_with(fresh);
        let blocks = !std::mem::replace(&mut self.background, true);
        blocks.then(|| wait(self.agent_id.clone(), prompt))
    }
}

impl CreateSchedule {
    pub(crate) fn prepare(&mut self) -> Option<WaitForAgent> {
        self.schedule_id.get_or_insert_with(fresh);
        None
    }
}

impl RunSchedule {
    pub(crate) fn prepare(&mut self) -> Option<WaitForAgent> {
        self.prompt_id.get_or_insert_with(fresh);
        None
    }
}

/// Does the same to arguments that have no type.
pub(crate) fn prepare(method: &str, params: &mut Value) -> Option<WaitForAgent> {
    let ids: &[&str] = match method {
        CreateAgent::NAME => &["agentId", "promptId"],
        SendAgentPrompt::NAME | RunSchedule::NAME => &["promptId"],
        CreateSchedule::NAME => &["scheduleId"],
        _ => return None,
    };
    let params = params.as_object_mut()?;
    for id in ids {
        let id = params.entry(*id).or_insert(Value::Null);
        if id.is_null() {
            *id = Value::String(uuid::Uuid::new_v4().to_string());
        }
    }
    if ![CreateAgent::NAME, SendAgentPrompt::NAME].contains(&method) {
        return None;
    }
    // What is of a wrong type, the daemon complains about.
    let agent = AgentRef::from(params.get("agentId")?.as_str()?);
    let prompt: PromptId = params.get("promptId")?.as_str()?.parse().ok()?;
    let background = params.entry("background").or_insert(Value::Bool(false));
    if *background != Value::Bool(false) {
        return None;
    }
    *background = Value::Bool(true);
    Some(wait(agent, &prompt))
}

fn wait(agent: AgentRef, prompt: &PromptId) -> WaitForAgent {
    WaitForAgent { prompt_id: Some(prompt.clone()), ..WaitForAgent::one(agent) }
}

fn fresh<Id: FromStr<Err = String>>() -> Id {
    uuid::Uuid::new_v4().to_string().parse().expect("a uuid is 36 hexadecimal digits and dashes")
}
