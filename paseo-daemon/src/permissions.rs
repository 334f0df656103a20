//! What agents wait for permission to do.

use paseo_sdk::catalogue::{ListPendingPermissions, Permissions, RespondToPermission};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::agent::Input;
use paseo_sdk::model::{Agent, Decision};
use paseo_sdk::operation::{Caller, Handle, Principal};

use crate::Core;

impl Handle<ListPendingPermissions> for Core {
    async fn handle(&self, caller: Caller, request: ListPendingPermissions) -> Result<Permissions, ApiError> {
        self.calling(&caller)?;
        let agents = match &request.agent_id {
            Some(agent) => vec![self.agents.find(agent)?],
            None => self.agents.all(),
        };
        let mut permissions: Vec<_> =
            agents.iter().flat_map(|owned| owned.live.view().agent.permissions.clone()).collect();
        permissions.sort_by_key(|permission| permission.asked_at);
        Ok(Permissions { permissions })
    }
}

impl Handle<RespondToPermission> for Core {
    async fn handle(&self, caller: Caller, request: RespondToPermission) -> Result<Agent, ApiError> {
        self.calling(&caller)?;
        let RespondToPermission { agent_id, request_id, behavior, option_id, message, updated_input, interrupt } =
            request;
        let owned = self.acted_on(&caller, &agent_id).await?;
        if let Principal::Agent(id) = &caller.who
            && (*id == owned.live.id || self.descends(id, &owned.live.id))
        {
            let message = "an agent may not answer its own permissions, nor those of an agent that created it";
            return Err(ApiError::new(Code::Forbidden, message).hint("ask your user to answer"));
        }
        let decision = Decision { behavior, option_id, message, updated_input, interrupt };
        owned.tell(Input::Answer { request_id, decision }).await?;
        Ok(owned.live.view().agent.clone())
    }
}
