//! What is said about the kinds of agents.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use paseo_sdk::catalogue::{ListModels, ListProviders, Models, Providers};
use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::model::{ListedModel, Model, ModelSource, ProviderInfo};
use paseo_sdk::operation::{Caller, Handle};
use paseo_sdk::provider::{self, Provider};
use tokio::time::Instant;

use crate::cache::{Asking, Cache, Known};
use crate::owner::now;
use crate::variant::{Kind, native};
use crate::{Core, probe};

impl Handle<ListProviders> for Core {
    async fn handle(&self, caller: Caller, _: ListProviders) -> Result<Providers, ApiError> {
        self.calling(&caller)?;
        let deadline = Instant::now() + PATIENCE;
        // All are asked before any is waited for.
        let asked: Vec<_> = self.launcher.kinds.all().map(|kind| (kind, self.ask_about(kind))).collect();
        let mut providers = Vec::new();
        for (kind, found) in asked {
            providers.push(info(kind, self.found(kind, found, deadline).await));
        }
        Ok(Providers { providers })
    }
}

impl Handle<ListModels> for Core {
    async fn handle(&self, caller: Caller, request: ListModels) -> Result<Models, ApiError> {
        self.calling(&caller)?;
        match &request.provider {
            Some(provider) => {
                let kind = self.kind(provider.split('/').next().unwrap_or_default())?;
                let question = self.question(kind).ok_or_else(|| {
                    ApiError::new(Code::Unsupported, format!("provider: {} has no models to choose from", kind.name))
                })?;
                let known = match self.recall(kind, &question) {
                    Some(known) => known,
                    None => self.said.models.ask(kind.name, || question.ask()).answer().await?,
                };
                Ok(listed([(kind, Ok(known))]))
            }
            None => {
                let deadline = Instant::now() + PATIENCE;
                let kinds = self.launcher.kinds.all();
                let asked: Vec<_> = kinds
                    .filter_map(|kind| Some((kind, self.question(kind)?)))
                    .map(|(kind, question)| match self.recall(kind, &question) {
                        Some(known) => (kind, Ok(known)),
                        None => (kind, Err(self.said.models.ask(kind.name, || question.ask()))),
                    })
                    .collect();
                let mut answers = Vec::new();
                for (kind, asked) in asked {
                    let answer = match asked {
                        Ok(known) => Ok(known),
                        Err(asking) => within(deadline, asking).await.unwrap_or_else(|| Err(silent(kind))),
                    };
                    answers.push((kind, answer));
                }
                Ok(listed(answers))
            }
        }
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

    /// Returns how to ask for the models of a kind; none when it has none.
    fn question(&self, kind: Kind<'_>) -> Option<Question> {
        let asked = kind.provider.model_question()?;
        Some(Question {
            name: kind.name.to_owned(),
            provider: kind.provider,
            program: kind.program()?.to_owned(),
            missing: kind.missing(),
            asked,
            env: kind.env(&self.launcher.env),
        })
    }

    fn recall(&self, kind: Kind<'_>, question: &Question) -> Option<Known<Vec<Model>>> {
        self.said.models.recall(kind.name, FRESH, || question.clone().ask())
    }

    fn ask_about(&self, kind: Kind<'_>) -> Found {
        let env = kind.env(&self.launcher.env);
        let found = kind.program().map(|program| probe::find(program, kind.native(), &env));
        match (self.launcher.helper(), found) {
            (Err(reason), _) => Found::Nothing(reason),
            (Ok(_), None) => Found::Ours,
            (Ok(_), Some(None)) => Found::Nothing(in_a_line(&kind.missing())),
            (Ok(_), Some(Some(program))) => {
                let provider = kind.provider;
                Found::Program(self.said.installed.ask(kind.name, || installed(provider, program, env)))
            }
        }
    }

    /// Waits for what a program says about itself. One that takes long is taken to be as it was.
    async fn found(&self, kind: Kind<'_>, found: Found, deadline: Instant) -> Result<Installed, String> {
        match found {
            Found::Nothing(reason) => Err(reason),
            Found::Ours => Ok(Installed { version: Some(env!("CARGO_PKG_VERSION").to_owned()), logged_in: None }),
            Found::Program(asking) => match within(deadline, asking).await {
                Some(said) => said.map(|known| known.value).map_err(|error| in_a_line(&error)),
                None => {
                    let known = self.said.installed.known(kind.name);
                    known.map(|known| known.value).ok_or_else(|| in_a_line(&silent(kind)))
                }
            },
        }
    }
}

/// What the programs of all kinds have said.
pub(crate) struct Said {
    pub(crate) models: Cache<Vec<Model>>,
    installed: Cache<Installed>,
}

impl Default for Said {
    fn default() -> Said {
        Said { models: Cache::new(now), installed: Cache::new(now) }
    }
}

/// What a program says about itself.
#[derive(Clone)]
struct Installed {
    version: Option<String>,
    logged_in: Option<bool>,
}

/// Whom to ask about a kind.
enum Found {
    /// Nobody, for this reason.
    Nothing(String),
    /// Nobody: it is paseo's own.
    Ours,
    /// Its program, which is being asked.
    Program(Asking<Installed>),
}

/// How a program is asked for its models.
#[derive(Clone)]
struct Question {
    name: String,
    provider: &'static dyn Provider,
    program: String,
    /// The refusal when that is not installed.
    missing: ApiError,
    asked: provider::Question,
    env: BTreeMap<String, String>,
}

impl Question {
    async fn ask(self) -> Result<Vec<Model>, ApiError> {
        let found = probe::find(&self.program, native(self.provider), &self.env).ok_or(self.missing)?;
        let models = probe::ask(&found, &self.asked, &self.env, |said| self.provider.models(said)).await;
        models.map_err(|reason| {
            ApiError::new(Code::Unavailable, format!("{} does not say its models: {reason}", self.name))
                .hint(format!("make sure that `{}` works when you start it by hand", self.program))
        })
    }
}

async fn installed(
    provider: &'static dyn Provider,
    program: PathBuf,
    env: BTreeMap<String, String>,
) -> Result<Installed, ApiError> {
    let (version, logged_in) = tokio::join!(probe::version(&program, &env), probe::logged_in(provider, &program, &env));
    match version {
        Some(_) => Ok(Installed { version, logged_in }),
        None => {
            let message = format!("`{} --version` does not say a version", program.display());
            Err(ApiError::new(Code::Unavailable, message).hint("make sure that it works when you start it by hand"))
        }
    }
}

fn info(kind: Kind<'_>, found: Result<Installed, String>) -> ProviderInfo {
    let traits = kind.provider.traits();
    let (version, logged_in, reason) = match found {
        Ok(Installed { version, logged_in }) => {
            let reason = (logged_in == Some(false)).then(|| format!("not logged in: {}", kind.login()));
            (version, logged_in, reason)
        }
        Err(reason) => (None, None, Some(reason)),
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

fn listed<'a>(answers: impl IntoIterator<Item = (Kind<'a>, Result<Known<Vec<Model>>, ApiError>)>) -> Models {
    let mut list = Models::default();
    for (kind, answer) in answers {
        let (fetched_at, failed) = match answer {
            Ok(known) => {
                // The model that the settings name may be one that only its endpoint knows.
                let usual = kind.variant.and_then(|variant| variant.model.as_deref());
                let usual = usual.filter(|usual| !known.value.iter().any(|model| model.model == *usual));
                let usual = usual.map(|usual| Model {
                    model: usual.to_owned(),
                    name: usual.to_owned(),
                    description: Some("the default, by config.json".to_owned()),
                    thinking: Vec::new(),
                });
                let models = usual.into_iter().chain(known.value);
                list.models.extend(models.map(|model| ListedModel::of(kind.name, model)));
                (Some(known.at), known.failed)
            }
            Err(error) => (None, Some(error)),
        };
        let reason = failed.as_ref().map(in_a_line);
        list.providers.push(ModelSource { provider: kind.name.to_owned(), fetched_at, reason });
    }
    list
}

async fn within<T: Clone>(deadline: Instant, asking: Asking<T>) -> Option<Result<Known<T>, ApiError>> {
    tokio::time::timeout_at(deadline, asking.answer()).await.ok()
}

/// The refusal when a program takes long to answer; it goes on being asked.
fn silent(kind: Kind<'_>) -> ApiError {
    let program = kind.program().unwrap_or_default();
    ApiError::new(Code::Unavailable, format!("`{program}` has not answered for {} s", PATIENCE.as_secs()))
        .hint("ask again in a moment, or make sure that it works when you start it by hand")
}

fn in_a_line(error: &ApiError) -> String {
    match &error.hint {
        Some(hint) => format!("{}: {hint}", error.message),
        None => error.message.clone(),
    }
}

/// How long a list of several waits for those that do not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// For how long models are taken to be the same, in milliseconds.
const FRESH: i64 = 5 * 60_000;
