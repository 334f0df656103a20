//! Operations on the daemon itself.

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// Shows the daemon: its version, where it listens, how much it does, and what it has to complain about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetDaemon {}

/// The daemon as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DaemonInfo {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: i64,
    /// Its home directory.
    pub home: String,
    /// Where it listens: `host:port` and `unix:/path`.
    pub listen: Vec<String>,
    /// When it started.
    pub started_at: Timestamp,
    /// Agents that are not archived.
    pub agents: i64,
    /// Agents whose turn runs or waits for a permission.
    pub running: i64,
    /// Permissions that are waited for.
    pub pending_permissions: i64,
    /// Schedules that are active.
    #[serde(default)]
    pub schedules: i64,
    /// What went wrong and was worked around: a busy port, a damaged file set aside, an unknown setting.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Stops the daemon. Agents go on without it, and a daemon started later finds them again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShutdownDaemon {
    /// Interrupt the agents and end their processes first.
    #[serde(default)]
    pub with_agents: bool,
    /// Start again in place, with the program file that is there now: same process id, agents go on. `refused` when that
    /// program does not run.
    #[serde(default)]
    pub restart: bool,
}

/// The daemon stops once this answer is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ShuttingDown {
    /// Agents whose turn goes on without the daemon.
    pub running: i64,
}
