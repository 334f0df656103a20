//! Wishes: what an agent wants of paseo that only a person may allow.
//!
//! A wish is a permission like those that its program asks for, but no process waits for the answer: a call does, and
//! that is made again after a cut. So wishes are remembered, with what a person decided, until a call has taken them up.

use serde::{Deserialize, Serialize};

use super::hear::answered;
use super::{Agent, Output, Refusal};
use crate::item::Happening;
use crate::model::{Decision, Permission, RequestId, Timestamp};

/// Something that an agent wants of paseo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wish {
    /// What people are asked.
    pub permission: Permission,
    /// The newest run when it was made: with that process, nobody is left who waits for it.
    pub run: i64,
    /// What a person decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// How many wishes there may be.
pub const MOST_WISHES: usize = 32;

impl Agent {
    pub(super) fn wish(&mut self, now: Timestamp, permission: Permission) -> Result<(), Refusal> {
        let wishes = &mut self.about.wishes;
        if wishes.iter().any(|wish| wish.permission.request_id == permission.request_id) {
            return Ok(());
        }
        if wishes.len() >= MOST_WISHES {
            return Err(Refusal::TooManyWishes);
        }
        let run = self.newest_run();
        self.about.wishes.push(Wish { permission, run, decision: None });
        self.touch(now);
        self.save();
        Ok(())
    }

    /// Forgets a wish that was taken up, or that nobody has any more. Of several calls that have the same one, one takes it
    /// up.
    pub(super) fn forget_wish(&mut self, now: Timestamp, request_id: RequestId) -> Result<(), Refusal> {
        let before = self.about.wishes.len();
        self.about.wishes.retain(|wish| wish.permission.request_id != request_id);
        if self.about.wishes.len() == before {
            return Err(Refusal::NoSuchRequest(request_id));
        }
        self.touch(now);
        self.save();
        Ok(())
    }

    /// Forgets the wishes of a process that has ended.
    pub(super) fn forget_wishes_of(&mut self, run: i64) {
        let before = self.about.wishes.len();
        self.about.wishes.retain(|wish| wish.run > run);
        if self.about.wishes.len() != before {
            self.save();
        }
    }

    /// Decides a wish; none when there is no such wish.
    pub(super) fn decide(
        &mut self,
        now: Timestamp,
        request_id: &RequestId,
        decision: &Decision,
    ) -> Option<Result<(), Refusal>> {
        let wish = self.about.wishes.iter_mut().find(|wish| wish.permission.request_id == *request_id)?;
        match &wish.decision {
            Some(decided) if decided == decision => return Some(Ok(())),
            Some(_) => return Some(Err(Refusal::AlreadyAnswered(request_id.clone()))),
            None => {}
        }
        if let Some(option) = &decision.option_id
            && !wish.permission.options.iter().any(|offered| offered.option_id == *option)
        {
            return Some(Err(Refusal::NoSuchOption { request: request_id.clone(), option: option.clone() }));
        }
        wish.decision = Some(decision.clone());
        let text = answered(&wish.permission.title, decision);
        let turn_id = self.turn.as_ref().map(|turn| turn.id().clone());
        let what = Happening::Notice { text };
        self.outputs.push_back(Output::Happened { at: now, turn_id, origin: None, what });
        self.touch(now);
        self.save();
        if decision.interrupt {
            self.interrupt(now);
        }
        Some(Ok(()))
    }
}
