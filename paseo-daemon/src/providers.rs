//! What is said about the kinds of agents.

use paseo_sdk::catalogue::{ListModels, ListProviders, Models, Providers};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::model::ProviderInfo;
use paseo_sdk::operation::{Caller, Handle};

use crate::variant::Kind;
use crate::{Core, probe};

impl Handle<ListProviders> for Core {
    async fn handle(&self, caller: Caller, _: ListProviders) -> Result<Providers, ApiError> {
        self.calling(&caller)?;
        let mut providers = Vec::new();
        for kind in self.launcher.kinds.all() {
            providers.push(self.provider_info(kind).await);
        }
        Ok(Providers { providers })
    }
}

impl Handle<ListModels> for Core {
    async fn handle(&self, caller: Caller, request: ListModels) -> Result<Models, ApiError> {
        self.calling(&caller)?;
        let kind = self.kind(request.provider.split('/').next().unwrap_or_default())?;
        let (Some(program), Some((args, line))) = (kind.program(), kind.provider.model_question()) else {
            let message = format!("provider: {} has no models to choose from", kind.name);
            return Err(ApiError::new(Code::Unsupported, message));
        };
        let env = kind.env(&self.launcher.env);
        let found = probe::find(program, &env).ok_or_else(|| kind.missing())?;
        let models = probe::ask(&found, &args, &env, &line, |said| kind.provider.models(said)).await;
        let models = models.map_err(|reason| {
            ApiError::new(Code::Unavailable, format!("{} does not say its models: {reason}", kind.name))
                .hint(format!("make sure that `{program}` works when you start it by hand"))
        })?;
        Ok(Models { models })
    }
}

impl Core {
    /// Finds a kind of agent by its name.
    pub(crate) fn kind(&self, name: &str) -> Result<Kind<'_>, ApiError> {
        self.launcher.kinds.find(name).ok_or_else(|| {
            let names: Vec<_> = self.launcher.kinds.all().map(|kind| kind.name).collect();
            let shown: String = name.chars().take(80).collect();
            ApiError::invalid("provider", format!("no provider `{}`", shown.escape_debug()))
                .hint(format!("there is: {}", names.join(", ")))
                .details(serde_json::json!({ "field": "provider", "providers": names }))
        })
    }

    async fn provider_info(&self, kind: Kind<'_>) -> ProviderInfo {
        let traits = kind.provider.traits();
        let env = kind.env(&self.launcher.env);
        let found = kind.program().map(|program| probe::find(program, &env));
        let (version, logged_in, reason) = match (self.launcher.helper(), found) {
            (Err(reason), _) => (None, None, Some(reason)),
            (Ok(_), None) => (Some(env!("CARGO_PKG_VERSION").to_owned()), None, None),
            (Ok(_), Some(None)) => {
                let error = kind.missing();
                (None, None, Some(format!("{}: {}", error.message, error.hint.unwrap_or_default())))
            }
            (Ok(_), Some(Some(program))) => {
                let (version, logged_in) =
                    tokio::join!(probe::version(&program, &env), probe::logged_in(kind.provider, &program, &env));
                let reason = (logged_in == Some(false)).then(|| format!("not logged in: {}", kind.login()));
                (version, logged_in, reason)
            }
        };
        let label = kind.variant.and_then(|variant| variant.label.as_deref());
        ProviderInfo {
            name: kind.name.to_owned(),
            description: label.unwrap_or(traits.description).to_owned(),
            extends: kind.variant.map(|_| kind.provider.name().to_owned()),
            available: reason.is_none(),
            reason,
            version,
            logged_in,
            modes: traits.modes.to_vec(),
        }
    }
}
