//! What is said about the kinds of agents.

use paseo_sdk::catalogue::{ListModels, ListProviders, Models, Providers};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::model::ProviderInfo;
use paseo_sdk::operation::{Caller, Handle};
use paseo_sdk::provider::{self, Provider};

use crate::{Core, probe};

impl Handle<ListProviders> for Core {
    async fn handle(&self, caller: Caller, _: ListProviders) -> Result<Providers, ApiError> {
        self.calling(&caller)?;
        let mut providers = Vec::new();
        for provider in provider::all() {
            providers.push(self.provider_info(*provider).await);
        }
        Ok(Providers { providers })
    }
}

impl Handle<ListModels> for Core {
    async fn handle(&self, caller: Caller, request: ListModels) -> Result<Models, ApiError> {
        self.calling(&caller)?;
        let name = request.provider.split('/').next().unwrap_or_default();
        let provider = find(name)?;
        let (Some(installed), Some((args, line))) = (provider.traits().program, provider.model_question()) else {
            return Err(ApiError::new(Code::Unsupported, format!("provider: {name} has no models to choose from")));
        };
        let env = &self.launcher.env;
        let program = probe::find(installed.name, env).ok_or_else(|| probe::missing(name, &installed))?;
        let models = probe::ask(&program, &args, env, &line, |said| provider.models(said)).await;
        let models = models.map_err(|reason| {
            ApiError::new(Code::Unavailable, format!("{name} does not say its models: {reason}"))
                .hint(format!("make sure that `{}` works when you start it by hand", installed.name))
        })?;
        Ok(Models { models })
    }
}

/// Finds a provider by its name.
pub(crate) fn find(name: &str) -> Result<&'static dyn Provider, ApiError> {
    provider::find(name).ok_or_else(|| {
        let names: Vec<_> = provider::all().iter().map(|provider| provider.name()).collect();
        let shown: String = name.chars().take(80).collect();
        ApiError::invalid("provider", format!("no provider `{}`", shown.escape_debug()))
            .hint(format!("there is: {}", names.join(", ")))
            .details(serde_json::json!({ "field": "provider", "providers": names }))
    })
}

impl Core {
    async fn provider_info(&self, provider: &dyn Provider) -> ProviderInfo {
        let traits = provider.traits();
        let env = &self.launcher.env;
        let found = traits.program.map(|installed| (installed, probe::find(installed.name, env)));
        let (version, logged_in, reason) = match (self.launcher.helper(), found) {
            (Err(reason), _) => (None, None, Some(reason)),
            (Ok(_), None) => (Some(env!("CARGO_PKG_VERSION").to_owned()), None, None),
            (Ok(_), Some((installed, None))) => {
                let error = probe::missing(provider.name(), &installed);
                (None, None, Some(format!("{}: {}", error.message, error.hint.unwrap_or_default())))
            }
            (Ok(_), Some((installed, Some(program)))) => {
                let (version, logged_in) =
                    tokio::join!(probe::version(&program, env), probe::logged_in(provider, &program, env));
                let reason = (logged_in == Some(false)).then(|| format!("not logged in: {}", installed.login));
                (version, logged_in, reason)
            }
        };
        ProviderInfo {
            name: provider.name().to_owned(),
            description: traits.description.to_owned(),
            available: reason.is_none(),
            reason,
            version,
            logged_in,
            modes: traits.modes.to_vec(),
        }
    }
}
