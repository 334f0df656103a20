//! The records of a journal.

use paseo_sdk::provider::{Exit, LaunchSpec, Line, Provider, Session, TellId, What, Whom};
use serde_json::Value;

use super::odd::{odd, strange};
use super::tell::{Teller, tell};
use super::{claude, codex, shell};
use crate::bytes::Bytes;

/// Decides for the record that a journal begins with.
pub(super) fn beginning(bytes: &mut Bytes<'_>, provider: &dyn Provider, spec: &LaunchSpec) -> What {
    match (bytes.below(4), provider.name()) {
        // It takes many records until it is ready.
        (0, "codex") => What::Carried(carried(bytes, &*codex::ready(provider, spec))),
        (1 | 2, "codex") => What::Carried(codex::ready(provider, spec).summary()),
        (0, _) => What::Carried(carried(bytes, &*provider.session(spec))),
        _ => launched(provider, spec),
    }
}

/// Decides for a record such as shims write.
pub(super) fn record(
    bytes: &mut Bytes<'_>,
    provider: &str,
    session: &dyn Session,
    teller: &mut Teller,
    room: bool,
) -> What {
    match bytes.below(40) {
        0..=9 => match teller.told(bytes, session, room) {
            Some(told) => told,
            None => said(bytes, provider, teller),
        },
        36 => What::Muttered(line(bytes, Bytes::text)),
        37 => What::Signalled { signal: "TERM".to_owned(), whom: Whom::Tree },
        38 => What::Closed {},
        39 => exited(bytes),
        _ => said(bytes, provider, teller),
    }
}

/// Decides for any record.
pub(super) fn anything(
    bytes: &mut Bytes<'_>,
    provider: &dyn Provider,
    spec: &LaunchSpec,
    session: &dyn Session,
) -> What {
    let id = TellId(bytes.pick(&["prompt.p1", "prompt.p2", "interrupt.p1", "r1.0", "mode.p1"]).to_owned());
    match bytes.below(24) {
        0 => launched(provider, spec),
        1..=4 => match session.phrase(&id, &tell(bytes)) {
            Ok(line) => What::Told { id, line },
            Err(_) => What::Closed {},
        },
        5 => {
            let line = match provider.name() {
                "codex" => codex::told(bytes, &id),
                _ => shell::told(bytes, &id),
            };
            What::Told { id, line }
        }
        6 => What::Told { id, line: noise(bytes) },
        7 => What::Carried(carried(bytes, session)),
        8 => exited(bytes),
        _ => record(bytes, provider.name(), session, &mut Teller::default(), true),
    }
}

fn launched(provider: &dyn Provider, spec: &LaunchSpec) -> What {
    What::Launched { pid: 7, start_time: 9, setup: provider.launch(spec, None).setup }
}

fn exited(bytes: &mut Bytes<'_>) -> What {
    What::Exited(Exit { code: bytes.maybe(|bytes| bytes.number(3)), signal: None, reason: None })
}

/// Decides for a summary: one of a session, one that was tampered with, or something else.
fn carried(bytes: &mut Bytes<'_>, session: &dyn Session) -> String {
    let mut summary = serde_json::from_str::<Value>(&session.summary()).unwrap_or_default();
    match bytes.below(4) {
        0 => noise(bytes),
        1 => strange(bytes).to_string(),
        2 => summary.to_string(),
        _ => {
            odd(bytes, &mut summary);
            summary.to_string()
        }
    }
}

/// Decides for a line that the program says, or for anything.
fn said(bytes: &mut Bytes<'_>, provider: &str, teller: &mut Teller) -> What {
    What::Said(line(bytes, |bytes| match (bytes.below(24), provider) {
        (0, _) => noise(bytes),
        (1, _) | (_, "shell") => shell::said(bytes),
        (_, "codex") => teller.codex.said(bytes),
        _ => claude::said(bytes, &teller.uuids),
    }))
}

fn line<'a>(bytes: &mut Bytes<'a>, text: impl FnOnce(&mut Bytes<'a>) -> String) -> Line {
    match bytes.below(64) {
        63 => Line::Odd { text: None, base64: Some(bytes.pick(&["/w==", "?", ""]).to_owned()), cut: false },
        62 => Line::Odd { text: Some(text(bytes)), base64: None, cut: true },
        _ => Line::Text(text(bytes)),
    }
}

/// Takes the next bytes as they are.
fn noise(bytes: &mut Bytes<'_>) -> String {
    let length = usize::from(bytes.byte()).min(bytes.0.len());
    let (text, rest) = bytes.0.split_at(length);
    bytes.0 = rest;
    String::from_utf8_lossy(text).into_owned()
}
