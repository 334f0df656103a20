//! Operations on permissions.

use serde::{Deserialize, Serialize};

use crate::model::{AgentRef, Behavior, Permission, RequestId};

/// Lists what agents wait for permission to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListPendingPermissions {
    /// Only those of this agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentRef>,
}

/// Permissions that are waited for, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Permissions {
    /// The permissions.
    pub permissions: Vec<Permission>,
}

/// Answers a permission request. The first answer counts; a later one is told so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RespondToPermission {
    /// The agent that asks: its id, an unambiguous prefix of it, or its exact title.
    pub agent_id: AgentRef,
    /// Which of its requests.
    pub request_id: RequestId,
    /// Whether it may.
    pub behavior: Behavior,
    /// One of the request's options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option_id: Option<String>,
    /// What to tell the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What to do in place of the request's `input`. A question is allowed with `{"answers": {"Which color?": "Blue"}}`:
    /// for each question one of its options' labels, several of them joined with ", ", or other words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_input: Option<serde_json::Value>,
    /// End the turn as well.
    #[serde(default)]
    pub interrupt: bool,
}
