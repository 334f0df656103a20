//! What agents wait for permission to do.

use paseo_sdk::catalogue::{ListPendingPermissions, Permissions, RespondToPermission};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::machine::agent::Input;
use paseo_sdk::model::{Agent, Behavior, Decision, Mode, PermissionKind, RequestId};
use paseo_sdk::operation::{Caller, Handle, Principal};

use crate::Core;
use crate::agents::Owned;

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
        match behavior {
            Behavior::Allow => self.may_allow(&caller, &owned, &request_id, option_id.as_deref())?,
            Behavior::Deny if message.is_some() => self.may_say(&caller, &owned)?,
            Behavior::Deny => {}
        }
        let verdict = match behavior {
            Behavior::Allow => "allowed",
            Behavior::Deny => "denied",
        };
        let decision = Decision { behavior, option_id, message, updated_input, interrupt };
        owned.tell(Input::Answer { request_id, decision }).await?;
        self.sign(&caller, &owned, &format!("{verdict} what it asked for")).await?;
        Ok(owned.live.view().agent.clone())
    }
}

impl Core {
    /// Refuses an agent that would allow another one what it may not do itself without asking.
    fn may_allow(
        &self,
        caller: &Caller,
        owned: &Owned,
        request_id: &RequestId,
        option_id: Option<&str>,
    ) -> Result<(), ApiError> {
        let Some(calling) = self.calling(caller)? else { return Ok(()) };
        let (own, view) = (calling.live.view().agent.mode.clone(), owned.live.view());
        // What is not there any more, its machine has words for.
        let Some(asked) = view.agent.permissions.iter().find(|asked| asked.request_id == *request_id) else {
            return Ok(());
        };
        if view.wishes.iter().any(|wish| wish.permission.request_id == *request_id) {
            return Err(ApiError::new(Code::Forbidden, "only a person may allow this").hint("ask your user to answer"));
        }
        let option = asked.options.iter().find(|option| Some(option.option_id.as_str()) == option_id);
        let needed = match (asked.kind, option.and_then(|option| option.mode.clone())) {
            (PermissionKind::Question, _) => return self.may_say(caller, owned),
            (PermissionKind::Plan, mode) => mode.unwrap_or(Mode::Default),
            (PermissionKind::Tool | PermissionKind::Other, _) => Mode::FullAccess,
        };
        match own.may_give(&needed) {
            true => Ok(()),
            false => {
                let message = format!("an agent in mode `{own}` may not allow what it would have to ask for itself");
                Err(ApiError::new(Code::Forbidden, message)
                    .hint("deny it, or ask your user: `paseo permit ls` shows what is asked for"))
            }
        }
    }

    /// Refuses an agent that would say something to a freer one, which acts on it: of a prompt a person would be asked.
    fn may_say(&self, caller: &Caller, owned: &Owned) -> Result<(), ApiError> {
        let Some(calling) = self.calling(caller)? else { return Ok(()) };
        let (own, mode) = (calling.live.view().agent.mode.clone(), owned.live.view().agent.mode.clone());
        match own.may_give(&mode) {
            true => Ok(()),
            false => {
                let message =
                    format!("an agent in mode `{own}` may not say anything to one in mode `{mode}` by an answer");
                Err(ApiError::new(Code::Forbidden, message).hint("deny it without a message, or ask your user"))
            }
        }
    }
}
