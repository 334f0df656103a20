//! The kinds of agents as people name them: the providers that are built in, and variants of them from `config.json`.

use std::collections::BTreeMap;
use std::fmt;

use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::model::Mode;
use paseo_sdk::provider::{self, Provider};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;

/// A provider under another name: with another program, another environment, other defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// The built-in provider whose program it runs, such as `claude`.
    pub extends: String,
    /// What people call it.
    #[serde(default)]
    pub label: Option<String>,
    /// Its program: an absolute path, or a name on the `PATH`. None for that of the provider.
    #[serde(default)]
    pub program: Option<String>,
    /// Variables for its agents: over those of all agents, under an agent's own.
    #[serde(default)]
    pub env: Variables,
    /// The model where none is asked for.
    #[serde(default)]
    pub model: Option<String>,
    /// The mode where none is asked for.
    #[serde(default)]
    pub mode: Option<Mode>,
}

impl Variant {
    /// Returns the provider that it extends.
    ///
    /// # Errors
    ///
    /// When it cannot be a variant called `name`, with the field that is wrong.
    pub(crate) fn check(&self, name: &str) -> Result<&'static dyn Provider, String> {
        if provider::find(name).is_some() {
            return Err("a provider of this name is built in: choose another name".to_owned());
        }
        let odd = |letter: char| letter.is_whitespace() || letter.is_control() || matches!(letter, '/' | ':');
        if name.is_empty() || name.starts_with('-') || name.contains(odd) {
            return Err("a name has no `/`, `:` or blanks, and does not begin with `-`".to_owned());
        }
        let extensible = |provider: &&'static dyn Provider| provider.traits().program.is_some();
        let extended = provider::find(&self.extends).filter(extensible).ok_or_else(|| {
            let names: Vec<_> = provider::all().iter().copied().filter(extensible).map(Provider::name).collect();
            let shown = self.extends.escape_debug();
            format!("`extends`: there is no `{shown}` that can be extended; there is: {}", names.join(", "))
        })?;
        if let Some(mode) = self.mode.as_ref().filter(|mode| !has_mode(extended, mode)) {
            let modes = modes(extended).join(", ");
            return Err(format!("`mode`: {} has no mode `{mode}`; it has: {modes}", extended.name()));
        }
        if self.model.as_deref().is_some_and(|model| !is_model(model)) {
            return Err("`model` is not the name of a model".to_owned());
        }
        if self.program.as_deref().is_some_and(|program| {
            program.is_empty() || program.contains('\0') || program.contains('/') && !program.starts_with('/')
        }) {
            return Err("`program` is neither an absolute path nor a name on the PATH".to_owned());
        }
        if self.label.as_deref().is_some_and(|label| label.trim().is_empty() || label.contains(char::is_control)) {
            return Err("`label` is not one line of text".to_owned());
        }
        match self.env.0.iter().find(|(name, value)| !is_variable(name, value)) {
            Some((name, _)) => Err(format!("`env`: `{}` is not a variable that can be set", name.escape_debug())),
            None => Ok(extended),
        }
    }
}

/// Environment variables. Their values may be secrets: nothing that shows them shows these, nor what is wrong with them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(pub BTreeMap<String, String>);

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<'de> Deserialize<'de> for Variables {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Variables, D::Error> {
        let Value::Object(variables) = Value::deserialize(input)? else {
            return Err(D::Error::custom("`env` is not an object of names and texts"));
        };
        let text = |(name, value): (String, Value)| match value {
            Value::String(value) => Ok((name, value)),
            _ => Err(D::Error::custom(format!("`env`: what `{}` is set to is not a text", name.escape_debug()))),
        };
        variables.into_iter().map(text).collect::<Result<_, _>>().map(Variables)
    }
}

/// All kinds of agents of a daemon.
pub(crate) struct Kinds(BTreeMap<String, (Variant, &'static dyn Provider)>);

impl Kinds {
    pub(crate) fn new(variants: BTreeMap<String, Variant>) -> Result<Kinds, ApiError> {
        let checked = variants.into_iter().map(|(name, variant)| {
            let provider =
                variant.check(&name).map_err(|error| ApiError::invalid(&format!("providers.{name}"), error))?;
            Ok((name, (variant, provider)))
        });
        checked.collect::<Result<_, _>>().map(Kinds)
    }

    /// Returns them in the order in which people see them.
    pub(crate) fn all(&self) -> impl Iterator<Item = Kind<'_>> {
        let built_in =
            provider::all().iter().map(|provider| Kind { name: provider.name(), provider: *provider, variant: None });
        let variants =
            self.0.iter().map(|(name, (variant, provider))| Kind { name, provider: *provider, variant: Some(variant) });
        built_in.chain(variants)
    }

    pub(crate) fn find(&self, name: &str) -> Option<Kind<'_>> {
        self.all().find(|kind| kind.name == name)
    }

    /// Finds the kind that an agent of `provider` was made as.
    ///
    /// # Errors
    ///
    /// When it is gone, or another one by now: in words for whoever prompts the agent.
    pub(crate) fn of_agent(&self, name: &str, provider: &dyn Provider) -> Result<Kind<'_>, String> {
        match self.find(name) {
            Some(kind) if kind.provider.name() == provider.name() => Ok(kind),
            Some(kind) => Err(format!(
                "provider {name} runs {} now, and this agent's conversation is one of {}: give the new variant another \
                 name in config.json, put the old one back, and restart the daemon",
                kind.provider.name(),
                provider.name(),
            )),
            None => Err(format!(
                "there is no provider {name} any more: put it back under `providers` in config.json, and restart the \
                 daemon; `paseo daemon status` says what is wrong with the settings",
            )),
        }
    }
}

/// A kind of agent: a provider, or a variant of one.
#[derive(Clone, Copy)]
pub(crate) struct Kind<'a> {
    /// What people name it by.
    pub(crate) name: &'a str,
    pub(crate) provider: &'static dyn Provider,
    pub(crate) variant: Option<&'a Variant>,
}

impl Kind<'_> {
    /// Returns the program that has to be installed; none when paseo brings it.
    pub(crate) fn program(&self) -> Option<&str> {
        let installed = self.provider.traits().program?;
        Some(self.own_program().unwrap_or(installed.name))
    }

    /// Returns the program that stands in the place of the provider's.
    pub(crate) fn own_program(&self) -> Option<&str> {
        self.variant?.program.as_deref()
    }

    /// Returns where the program may be that its program only starts.
    pub(crate) fn native(&self) -> &'static [&'static str] {
        native(self.provider)
    }

    /// Returns the environment of its agents, given that of all agents.
    pub(crate) fn env(&self, all: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let own = self.variant.iter().flat_map(|variant| &variant.env.0);
        all.iter().chain(own).map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The refusal when its program is not installed.
    pub(crate) fn missing(&self) -> ApiError {
        let program = self.program().unwrap_or_default();
        let hint = match (self.own_program(), self.provider.traits().program) {
            (None, Some(installed)) => {
                format!("install it with `{}`, and restart the daemon if the PATH has changed", installed.install)
            }
            _ => format!("put it there, or correct `providers.{}.program` in config.json", self.name),
        };
        ApiError::new(Code::Unavailable, format!("provider {} needs the program `{program}`", self.name)).hint(hint)
    }

    /// Says how to log in.
    pub(crate) fn login(&self) -> String {
        let login = self.provider.traits().program.map_or("", |installed| installed.login);
        match self.variant {
            None => login.to_owned(),
            Some(_) => {
                format!("put what it logs in with into `providers.{}.env` in config.json, or {login}", self.name)
            }
        }
    }
}

/// Returns where the program of a provider may be, beside a script that starts it.
pub(crate) fn native(provider: &dyn Provider) -> &'static [&'static str] {
    provider.traits().program.map_or(&[], |installed| installed.native)
}

/// Returns whether a provider has a mode.
pub(crate) fn has_mode(provider: &dyn Provider, mode: &Mode) -> bool {
    let traits = provider.traits();
    match mode {
        Mode::Native { provider: of, name } => of == provider.name() && traits.native_modes.contains(&name.as_str()),
        mode => traits.modes.contains(mode),
    }
}

/// Returns the names of a provider's modes.
pub(crate) fn modes(provider: &dyn Provider) -> Vec<String> {
    let native = provider.traits().native_modes.iter().map(|own| format!("{}:{own}", provider.name()));
    provider.traits().modes.iter().map(Mode::to_string).chain(native).collect()
}

/// Returns whether something can be the name of a model. Which there are, only the provider's own service knows.
pub(crate) fn is_model(name: &str) -> bool {
    !name.is_empty() && name.len() <= 200 && !name.starts_with('-') && !name.contains(char::is_control)
}

/// Returns whether an environment can hold a variable.
pub(crate) fn is_variable(name: &str, value: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
}
