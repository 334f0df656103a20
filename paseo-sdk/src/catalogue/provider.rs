//! Operations on providers.

use serde::{Deserialize, Serialize};

use crate::model::{ListedModel, ModelSource, ProviderInfo};

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

/// Lists the models of a provider, or of all that have models, as their programs name them.
///
/// The programs are asked once: what they said is answered at once from then on, and asked for again beside when it is some
/// minutes old.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListModels {
    /// The provider, such as `claude` or a variant from the settings; none for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

impl ListModels {
    /// Asks for the models of one provider.
    #[must_use]
    pub fn of(provider: impl Into<String>) -> ListModels {
        ListModels { provider: Some(provider.into()) }
    }
}

/// The models of providers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Models {
    /// The models: provider by provider, in the order of its program.
    pub models: Vec<ListedModel>,
    /// The providers that were asked.
    pub providers: Vec<ModelSource>,
}
