//! What an agent may do only once a person has allowed it: its call waits meanwhile.

use std::sync::Arc;

use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::item::omission;
use paseo_sdk::machine::agent::Input;
use paseo_sdk::model::{Behavior, Decision, Mode, Permission, PermissionKind, RequestId};
use paseo_sdk::operation::Caller;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::registry::Owned;
use crate::Core;
use crate::owner::now;

/// Something that an agent asks of paseo.
pub(crate) struct Wish<'a> {
    /// The operation that it calls.
    pub(crate) operation: &'a str,
    /// What a person reads: `start an agent in mode full-access: fix the tests`.
    pub(crate) title: String,
    /// Why a person is asked.
    pub(crate) reason: String,
    /// What it is about, as people see it.
    pub(crate) input: Value,
    /// Everything that the call gives, also what is not shown.
    pub(crate) whole: String,
}

impl Wish<'_> {
    /// The same call, made again after a cut, takes up the same wish. One that differs in anything is another wish: what a
    /// person allows is what was asked.
    fn id(&self) -> RequestId {
        let digest = Sha256::digest(format!("{} {}", self.operation, self.whole));
        let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        RequestId(format!("paseo-{digest}"))
    }
}

impl Core {
    /// Lets the user through, and an agent that is free enough itself; of another one a person is asked.
    pub(crate) async fn raise(
        &self,
        caller: &Caller,
        mode: &Mode,
        wish: impl FnOnce() -> Wish<'static>,
    ) -> Result<(), ApiError> {
        let Some(calling) = self.calling(caller)? else { return Ok(()) };
        let own = calling.live.view().agent.mode.clone();
        match own.may_give(mode) {
            true => Ok(()),
            false => self.permit(&calling, wish()).await,
        }
    }

    /// Returns once a person has allowed what an agent wishes.
    ///
    /// # Errors
    ///
    /// `forbidden` when a person has not allowed it, or when the agent's process has ended before that.
    async fn permit(&self, calling: &Arc<Owned>, wish: Wish<'_>) -> Result<(), ApiError> {
        let request_id = wish.id();
        let held = Held { core: self, calling, request_id: &request_id };
        loop {
            let permission = Permission {
                request_id: request_id.clone(),
                agent_id: calling.live.id.clone(),
                kind: PermissionKind::Other,
                title: wish.title.clone(),
                description: Some(wish.reason.clone()),
                input: clipped(&wish.input),
                options: Vec::new(),
                asked_at: now(),
            };
            calling.tell(Input::Wish(Box::new(permission))).await?;
            let decision = held.decision().await;
            let taken = match decision {
                Some(_) => calling.tell(Input::WishEnded(request_id.clone())).await,
                None => Ok(()),
            };
            return match decision {
                // Another call has taken up what a person has decided, and this one asks again.
                Some(_) if matches!(&taken, Err(error) if error.code == Code::NotFound) => continue,
                Some(_) if taken.is_err() => taken,
                Some(Decision { behavior: Behavior::Allow, .. }) => Ok(()),
                Some(Decision { message, .. }) => {
                    let said = message.filter(|message| !message.trim().is_empty());
                    let because = said.map_or_else(String::new, |message| format!(": {message}"));
                    Err(ApiError::new(Code::Forbidden, format!("a person has not allowed it{because}"))
                        .hint("go on without it")
                        .details(json!({ "requestId": request_id })))
                }
                // Another connection of the same call has gone, and has taken it along.
                None if calling.live.view().has_process => continue,
                None => Err(ApiError::new(Code::Forbidden, "the agent has ended before a person has answered")
                    .hint("ask again when it runs")),
            };
        }
    }
}

/// Shortens the texts of what people are shown, which is kept in the agent's file and sent with every snapshot.
fn clipped(value: &Value) -> Value {
    match value {
        Value::String(text) if text.len() > LONGEST_TEXT => {
            let cut = (0..=LONGEST_TEXT).rev().find(|cut| text.is_char_boundary(*cut)).unwrap_or_default();
            let omitted = i64::try_from(text.len() - cut).unwrap_or(i64::MAX);
            format!("{}\n{}", &text[..cut], omission(omitted)).into()
        }
        Value::Array(values) => values.iter().map(clipped).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), clipped(value))).collect(),
        plain => plain.clone(),
    }
}

/// How long each text may be that people are shown, in bytes.
const LONGEST_TEXT: usize = 16 * 1024;

/// A wish for as long as somebody waits for it.
struct Held<'a> {
    core: &'a Core,
    calling: &'a Arc<Owned>,
    request_id: &'a RequestId,
}

impl Held<'_> {
    /// Returns what a person has decided; none when the wish is gone.
    async fn decision(&self) -> Option<Decision> {
        let mut views = self.calling.live.views();
        let decided = views.wait_for(|view| {
            let wish = view.wishes.iter().find(|wish| wish.permission.request_id == *self.request_id);
            wish.is_none_or(|wish| wish.decision.is_some())
        });
        let Ok(view) = decided.await else {
            // The daemon stops, and the call is made again when it is back.
            return std::future::pending().await;
        };
        view.wishes.iter().find(|wish| wish.permission.request_id == *self.request_id)?.decision.clone()
    }
}

impl Drop for Held<'_> {
    /// Whoever has asked is gone. A daemon that stops keeps the wish: the call is made again when it is back.
    fn drop(&mut self) {
        let is_this = |wish: &paseo_sdk::machine::agent::Wish| wish.permission.request_id == *self.request_id;
        let view = self.calling.live.view();
        if self.core.closing.borrow().is_none() && view.wishes.iter().any(is_this) {
            let (calling, request_id) = (self.calling.clone(), self.request_id.clone());
            // It ends as soon as the agent's owner has heard it, or has ended.
            tokio::spawn(async move { calling.tell(Input::WishEnded(request_id)).await });
        }
    }
}
