//! The settings: flag, else environment, else `config.json`, else default.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use paseo_sdk::error::{ApiError, Code};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::log;
pub use crate::variant::{Variables, Variant};

/// How a daemon is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The directory for everything it keeps.
    pub home: PathBuf,
    /// Where it listens beside the socket of its home; none for that socket alone.
    pub listen: Option<Listen>,
    /// The program that plays the hidden roles; without one, this program or `paseo`.
    pub helper: Option<PathBuf>,
    /// The program file that a restart in place becomes. Without one, whoever embeds the daemon restarts it.
    pub program: Option<PathBuf>,
    /// What is logged, and where.
    pub log: log::Settings,
    /// The user's token, in place of the one in the home.
    pub auth: Option<String>,
    /// Names beside `localhost` and addresses by which TCP clients may call it.
    pub hosts: Vec<String>,
    /// Origins whose web pages may call it, such as `https://example.com`.
    pub origins: Vec<String>,
    /// Programs that stay when an agent's process tree is ended.
    pub keep: Vec<String>,
    /// Environment variables for all agents and hooks.
    pub env: BTreeMap<String, String>,
    /// Variants of the built-in providers, by name.
    pub providers: BTreeMap<String, Variant>,
    /// What an agent may act on beside itself and its descendants.
    pub scope: Scope,
    /// The tools of paseo.
    pub mcp: Mcp,
    /// What was wrong with the settings and passed over.
    pub warnings: Vec<String>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            home: std::env::home_dir().unwrap_or_default().join(".paseo"),
            listen: Some(Listen::default()),
            helper: None,
            program: None,
            log: log::Settings::default(),
            auth: None,
            hosts: Vec::new(),
            origins: Vec::new(),
            keep: KEEP.iter().map(|&name| name.to_owned()).collect(),
            env: BTreeMap::new(),
            providers: BTreeMap::new(),
            scope: Scope::default(),
            mcp: Mcp::default(),
            warnings: Vec::new(),
        }
    }
}

/// Settings from the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--home`
    pub home: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
    /// Whether the daemon runs in a terminal, and its log is to be seen there.
    pub foreground: bool,
}

impl Config {
    /// Makes the settings of a daemon whose home is `home`, without looking at anything else.
    #[must_use]
    pub fn at(home: impl Into<PathBuf>) -> Config {
        Config { home: home.into(), ..Config::default() }
    }

    /// Listens there as well.
    #[must_use]
    pub fn listen(self, listen: Listen) -> Config {
        Config { listen: Some(listen), ..self }
    }

    /// Reads the settings of a daemon. It changes nothing: the home may not even be there.
    ///
    /// # Errors
    ///
    /// `invalid_argument` for a flag or a variable that is not understood. What is wrong with `config.json` is a warning.
    pub fn load(flags: Flags, environment: impl Fn(&str) -> Option<OsString>) -> Result<Config, ApiError> {
        // A variable that is set to nothing counts as not set, as everywhere in a shell.
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        let text = |name: &str| match variable(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => Err(ApiError::invalid(name, "is not UTF-8")),
        };
        let mut config = Config::default();
        match flags.home.or_else(|| variable("PASEO_HOME").map(PathBuf::from)) {
            Some(home) => config.home = home,
            None if std::env::home_dir().is_none_or(|home| home.as_os_str().is_empty()) => {
                return Err(ApiError::new(Code::InvalidArgument, "there is no home directory")
                    .hint("set PASEO_HOME=/path/to/directory, or give `--home`"));
            }
            None => {}
        }
        config.home = std::path::absolute(&config.home)
            .map_err(|error| ApiError::invalid("home", format!("{}: {error}", config.home.display())))?;
        config.read(&config.home.join("config.json"));
        if let Some(listen) = text("PASEO_LISTEN")? {
            config.listen = Some(listen.parse().map_err(|error| ApiError::invalid("PASEO_LISTEN", error))?);
        }
        if let Some(listen) = flags.listen {
            config.listen = Some(listen.parse().map_err(|error| ApiError::invalid("--listen", error))?);
        }
        if let Some(token) = text("PASEO_TOKEN")? {
            config.auth = Some(usable_token(token).map_err(|error| ApiError::invalid("PASEO_TOKEN", error))?);
        }
        if let Some(level) = text("PASEO_LOG")? {
            config.log.level = Some(level);
        }
        config.log.foreground = flags.foreground;
        Ok(config)
    }

    /// Takes what `config.json` sets. What it gets wrong is passed over with a warning that names it.
    fn read(&mut self, path: &Path) {
        let shown = path.display();
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.warnings.push(format!("{shown} cannot be read: {error}")),
        };
        let settings = match serde_json::from_slice::<Value>(&bytes) {
            Ok(Value::Object(settings)) => settings,
            Ok(_) => return self.warnings.push(format!("{shown} is not a JSON object: all settings are the defaults")),
            Err(error) => {
                return self.warnings.push(format!("{shown} is not JSON ({error}): all settings are the defaults"));
            }
        };
        for (key, value) in settings {
            let outcome = match key.as_str() {
                "listen" => set(&mut self.listen, value, |text: String| text.parse().map(Some)),
                "log" => set(&mut self.log, value, |log: LogSetting| Ok(log.into())),
                "auth" => set(&mut self.auth, value, |token: String| usable_token(token).map(Some)),
                "hosts" => set(&mut self.hosts, value, Ok),
                "origins" => set(&mut self.origins, value, Ok),
                "keep" => set(&mut self.keep, value, Ok),
                "env" => set(&mut self.env, value, |variables: Variables| Ok(variables.0)),
                "providers" => self.read_providers(value, path),
                "scope" => set(&mut self.scope, value, Ok),
                "mcp" => set(&mut self.mcp, value, Ok),
                _ => Err(format!("there is no such setting; there are {KEYS}")),
            };
            if let Err(error) = outcome {
                self.warnings.push(format!("{shown}: `{key}` is passed over: {error}"));
            }
        }
    }

    /// Takes the variants that can be ones; each of the others costs a warning, and nothing else.
    fn read_providers(&mut self, value: Value, path: &Path) -> Result<(), String> {
        let Value::Object(providers) = value else {
            return Err("it is not an object of names and variants".to_owned());
        };
        for (name, value) in providers {
            let variant = serde_json::from_value::<Variant>(value).map_err(|error| error.to_string());
            match variant.and_then(|variant| variant.check(&name).map(|_| variant)) {
                Ok(variant) => _ = self.providers.insert(name, variant),
                Err(error) => self.warnings.push(format!(
                    "{}: `providers.{}` is passed over: {error}",
                    path.display(),
                    name.escape_debug()
                )),
            }
        }
        Ok(())
    }
}

/// A place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// TCP.
    Tcp {
        /// A name or an address; an IPv6 address without its brackets.
        host: String,
        /// The port; 0 for any that is free.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl Default for Listen {
    fn default() -> Listen {
        Listen::Tcp { host: "127.0.0.1".to_owned(), port: 6767 }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Listen::Tcp { host, port } => write!(f, "{host}:{port}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        let refusal = |why: &str| {
            format!("`{text}` {why}; give `host:port`, `[v6]:port`, a port, `:0` for any free port, or `unix:/path`")
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.starts_with('/') {
                true => Ok(Listen::Unix(path.into())),
                false => Err(refusal("does not name an absolute path")),
            };
        }
        let (host, port) = match text.rsplit_once(':') {
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => ("", text),
            None => return Err(refusal("has no port")),
            Some((host, port)) => (host, port),
        };
        let port = port.parse().map_err(|_| refusal("has a port that is not a number from 0 to 65535"))?;
        let host = match host.strip_prefix('[') {
            Some(address) => match address.strip_suffix(']') {
                Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => address,
                _ => return Err(refusal("has brackets around something that is not an IPv6 address")),
            },
            None if host.contains(':') => return Err(refusal("has an IPv6 address without brackets")),
            None if host.is_empty() => "127.0.0.1",
            None => host,
        };
        if host.contains(|letter: char| letter.is_whitespace() || matches!(letter, '/' | '@' | '?' | '#')) {
            return Err(refusal("has a host that is not a name or an address"));
        }
        Ok(Listen::Tcp { host: host.to_owned(), port })
    }
}

/// What an agent may act on beside itself and its descendants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Nothing.
    Own,
    /// The agents and worktrees of its repository.
    #[default]
    Repository,
    /// Everything.
    All,
}

/// The tools of paseo, as the MCP server of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mcp {
    /// Whether agents get them, where nobody says it for an agent.
    pub inject: bool,
}

impl Default for Mcp {
    fn default() -> Mcp {
        Mcp { inject: true }
    }
}

/// `log` in `config.json`: the file, or more.
#[derive(Deserialize)]
#[serde(untagged)]
enum LogSetting {
    File(PathBuf),
    More(LogSettings),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogSettings {
    file: Option<PathBuf>,
    level: Option<String>,
}

impl From<LogSetting> for log::Settings {
    fn from(setting: LogSetting) -> log::Settings {
        match setting {
            LogSetting::File(file) => log::Settings { file: Some(file), ..log::Settings::default() },
            LogSetting::More(LogSettings { file, level }) => log::Settings { file, level, foreground: false },
        }
    }
}

/// Reads a setting; on failure it stays as it is.
fn set<Raw: DeserializeOwned, T>(
    setting: &mut T,
    value: Value,
    check: impl Fn(Raw) -> Result<T, String>,
) -> Result<(), String> {
    let raw = serde_json::from_value(value).map_err(|error| error.to_string())?;
    *setting = check(raw)?;
    Ok(())
}

fn usable_token(token: String) -> Result<String, String> {
    match !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(token),
        false => Err("a token is one word of printable ASCII characters".to_owned()),
    }
}

/// Programs that people start in a terminal and expect to live on.
const KEEP: &[&str] = &["tmux", "screen", "zellij", "ssh-agent", "gpg-agent", "dbus-daemon"];

/// The settings of `config.json`.
const KEYS: &str = "`listen`, `log`, `auth`, `hosts`, `origins`, `keep`, `env`, `providers`, `scope`, `mcp`";
