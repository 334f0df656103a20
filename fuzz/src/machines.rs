//! The laws of every machine, for any bytes.

mod agent;
mod connection;
mod item;
mod replica;
mod schedule;
mod worktree;

use paseo_sdk::machine::outbox::{self, Outbox};
use paseo_sdk::machine::timeline::{self, Timeline};
use paseo_sdk::machine::turn::{self, Turn};
use paseo_sdk::model::{Timestamp, TurnId};

use crate::bytes::Bytes;
use crate::{Broken, laws};

/// Lets the first byte choose a machine and the rest tell it things.
///
/// # Panics
///
/// When the machine breaks a law.
pub fn machines(data: &[u8]) {
    let Some((which, rest)) = data.split_first() else { return };
    let bytes = Bytes(rest);
    let outcome = match which % 9 {
        // The one with the most states gets the most scripts.
        0 | 1 => agent::check(bytes),
        2 => turn(bytes),
        3 => outbox(bytes),
        4 => timeline(bytes),
        5 => worktree::check(bytes),
        6 => connection::check(bytes),
        7 => schedule::check(bytes),
        _ => replica::check(bytes),
    };
    if let Err(broken) = outcome {
        panic!("a law is broken: {broken}");
    }
}

fn turn(mut bytes: Bytes<'_>) -> Result<(), Broken> {
    let turn = Turn::new(TurnId::from("t"), bytes.maybe(Bytes::prompt_id), Timestamp(0));
    laws(turn, bytes.script(|bytes| bytes.pick(&[turn::Input::Interrupt, turn::Input::Ended])))
}

fn outbox(mut bytes: Bytes<'_>) -> Result<(), Broken> {
    let outbox = Outbox::restore(bytes.some(6, agent::outbox_line));
    let script = bytes.script(|bytes| match bytes.below(12) {
        0..=3 => outbox::Input::Accept {
            id: agent::tell_id(bytes),
            tell: agent::tell(bytes),
            first: bytes.flag(),
            steer: bytes.flag(),
            run: bytes.number(3),
        },
        4 => outbox::Input::Attached,
        5 => outbox::Input::Room,
        6 => bytes.pick(&[outbox::Input::Room, outbox::Input::Turn]),
        7 => outbox::Input::Told(agent::tell_id(bytes)),
        8 => outbox::Input::Delivered(agent::tell_id(bytes)),
        9 => outbox::Input::Withdraw(agent::tell_id(bytes)),
        10 => outbox::Input::Fail(agent::tell_id(bytes), bytes.word()),
        _ => match bytes.below(3) {
            0 => outbox::Input::Lost(bytes.number(3)),
            1 => outbox::Input::Unlaunched,
            _ => outbox::Input::Returned(agent::tell_id(bytes)),
        },
    });
    laws(outbox, script)
}

fn timeline(mut bytes: Bytes<'_>) -> Result<(), Broken> {
    let timeline = Timeline::new(bytes.number(5), bytes.maybe(item::origin));
    let script = bytes.script(|bytes| match bytes.flag() {
        true => timeline::Input::Append {
            at: Timestamp(bytes.number(50)),
            turn_id: bytes.maybe(item::turn_id),
            origin: bytes.maybe(item::origin),
            what: item::happening(bytes),
        },
        false => timeline::Input::Wrote { item_id: item::item_id(bytes), text: bytes.text() },
    });
    laws(timeline, script)
}
