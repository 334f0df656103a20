//! The words of the shell's bridge.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// What it is told to do.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Order {
    Run(Script),
    Answer(Answer),
    Interrupt {},
}

#[derive(Deserialize)]
pub(super) struct Script {
    pub(super) id: String,
    pub(super) script: String,
    /// Whether somebody has to allow it first.
    #[serde(default)]
    pub(super) ask: bool,
}

#[derive(Deserialize)]
pub(super) struct Answer {
    pub(super) id: String,
    pub(super) allow: bool,
    /// Said with a denial.
    #[serde(default)]
    pub(super) message: Option<String>,
    /// Run this one instead.
    #[serde(default)]
    pub(super) script: Option<String>,
}

/// What it says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Reply {
    Ask(Ask),
    Started { id: String, pid: i64 },
    Out(Out),
    Exit(Exit),
}

#[derive(Serialize)]
pub(super) struct Ask {
    pub(super) id: String,
    pub(super) script: String,
}

/// A piece of output, as text where it is UTF-8.
#[derive(Serialize)]
pub(super) struct Out {
    pub(super) id: String,
    pub(super) stream: Stream,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) base64: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// How a script ended, or why it never began.
#[derive(Default, Serialize)]
pub(super) struct Exit {
    pub(super) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signal: Option<String>,
    /// Somebody did not allow it.
    pub(super) denied: bool,
    /// It was interrupted, however it ended then.
    pub(super) interrupted: bool,
    /// Why it could not be run, or what of it could not be ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// What was said with the denial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
}

impl Exit {
    pub(super) fn of(id: String) -> Exit {
        Exit { id, ..Exit::default() }
    }
}

/// Says it, after what waits already.
pub(super) fn say(reply: &Reply, out: &mut VecDeque<u8>) {
    if let Ok(line) = serde_json::to_vec(reply) {
        out.extend(line);
        out.push_back(b'\n');
    }
}
