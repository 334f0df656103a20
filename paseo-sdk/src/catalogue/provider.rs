//! Operations on providers.

use serde::{Deserialize, Serialize};

use crate::model::ProviderInfo;

/// Lists the kinds of agents that this daemon can run, and which of them are ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListProviders {}

/// The kinds of agents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Providers {
    /// The providers.
    pub providers: Vec<ProviderInfo>,
}
