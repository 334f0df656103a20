//! The life of an agent, decided by bytes.

use std::collections::BTreeMap;

use paseo_sdk::catalogue::WhenBusy;
use paseo_sdk::machine::agent::{
    About, Agent, Changes, Fact, Heard, Input, Memory, Position, Progress, Report, Reports, prompt_tell,
};
use paseo_sdk::machine::outbox::{Fate, Line};
use paseo_sdk::model::{
    Behavior, Decision, Image, Mode, Permission, PermissionKind, PermissionOption, Prompt, RequestId, Timestamp,
};
use paseo_sdk::provider::{Ask, Ending, Event, Exit, Tell, TellId, Traits};
use serde_json::Value;

use super::item;
use crate::bytes::Bytes;
use crate::{Broken, laws};

pub(crate) fn check(mut bytes: Bytes<'_>) -> Result<(), Broken> {
    let traits = bytes.pick(&[&PLAIN, &RICH]);
    let progress = match bytes.flag() {
        true => Progress { run: 1, applied: Position { run: 1, record: 3 }, ..Progress::default() },
        false => Progress::default(),
    };
    let agent = Agent::restore(traits, Memory { about: about(), progress }, bytes.some(4, outbox_line));
    let mut record = 0;
    laws(agent, bytes.script(|bytes| input(bytes, &mut record)))
}

fn about() -> About {
    About {
        agent_id: "a1".parse().expect("this is an id"),
        title: "agent".to_owned(),
        provider: "shell".to_owned(),
        model: None,
        mode: Mode::Default,
        changes: Changes::default(),
        thinking: None,
        system_prompt: None,
        inject_tools: None,
        cwd: "/".to_owned(),
        trusted: false,
        worktree: None,
        labels: BTreeMap::new(),
        parent: None,
        request: String::new(),
        reports: Reports::default(),
        wishes: Vec::new(),
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        archived_at: None,
    }
}

/// Decides what an agent is told; `record` is the last record of its journal, which mostly goes on by one.
fn input(bytes: &mut Bytes<'_>, record: &mut i64) -> Input {
    match bytes.below(24) {
        0..=3 => Input::Prompt { id: bytes.prompt_id(), prompt: prompt(bytes), when_busy: when_busy(bytes) },
        4 | 5 => Input::Answer { request_id: request_id(bytes), decision: decision(bytes) },
        6 => match bytes.below(4) {
            0 => Input::SetMode(mode(bytes)),
            1 => Input::StopPrompt(bytes.prompt_id()),
            _ => Input::Cancel,
        },
        7 => bytes.pick(&[Input::Archive, Input::Dismiss]),
        8 => Input::Update {
            title: bytes.maybe(Bytes::word),
            labels: bytes.some(2, |bytes| (bytes.word(), bytes.word())).into_iter().collect(),
            model: bytes.maybe(Bytes::word),
        },
        9 | 10 => Input::Attached { run: bytes.number(3) },
        11 => Input::Restored,
        12 => Input::NotLaunched { run: bytes.number(3), reason: bytes.word() },
        13 => Input::Unsayable { id: tell_id(bytes), reason: bytes.word() },
        14 => Input::Trouble(bytes.word()),
        15 => match bytes.below(5) {
            4 => Input::ReportNoMore,
            0 => Input::ReportTo("b1".parse().expect("this is an id")),
            1 => Input::Report(Report { key: bytes.word(), text: bytes.word() }),
            2 => Input::Reported("b1".parse().expect("this is an id"), bytes.some(2, Bytes::word)),
            _ => Input::Witnessed(bytes.some(2, Bytes::word)),
        },
        16 => match bytes.flag() {
            true => Input::Wish(Box::new(permission(bytes))),
            false => Input::WishEnded(request_id(bytes)),
        },
        _ => {
            *record = if bytes.below(8) == 0 { bytes.number(6) } else { *record + 1 };
            Input::Heard(Heard {
                run: bytes.pick(&[1, 1, 1, 2]),
                record: *record,
                at: Timestamp(1_700_000_000_000 + bytes.number(200) * 1_000),
                fact: fact(bytes),
                events: bytes.some(3, event),
            })
        }
    }
}

fn permission(bytes: &mut Bytes<'_>) -> Permission {
    Permission {
        request_id: request_id(bytes),
        agent_id: "a1".parse().expect("this is an id"),
        kind: PermissionKind::Other,
        title: bytes.word(),
        description: None,
        input: Value::Null,
        options: Vec::new(),
        asked_at: Timestamp(bytes.number(9)),
    }
}

fn fact(bytes: &mut Bytes<'_>) -> Option<Fact> {
    match bytes.below(8) {
        0 | 1 => Some(Fact::Launched { pid: 7 }),
        2 | 3 => Some(Fact::Told(tell_id(bytes))),
        4 => Some(Fact::Exited(Exit {
            code: bytes.maybe(|bytes| bytes.number(3)),
            signal: bytes.maybe(Bytes::word),
            reason: bytes.maybe(Bytes::word),
        })),
        _ => None,
    }
}

fn event(bytes: &mut Bytes<'_>) -> Event {
    match bytes.below(21) {
        12 => Event::Forgotten(bytes.maybe(tell_id)),
        13 => Event::Joined(tell_id(bytes)),
        14 => Event::Dropped(tell_id(bytes)),
        15 => Event::ModeChanged(mode(bytes)),
        16 => Event::Remembered(bytes.word()),
        17 => Event::Background(bytes.flag()),
        18 => Event::Expecting(bytes.flag()),
        19 => Event::CutOff(bytes.word()),
        20 => Event::Unusable(bytes.word()),
        0 => Event::Resumable(bytes.word()),
        1 => Event::Delivered(tell_id(bytes)),
        2 => Event::TurnStarted(bytes.maybe(tell_id)),
        3 => Event::Opened(item::item(bytes)),
        4 => Event::Wrote { item_id: item::item_id(bytes), text: bytes.text() },
        5 => Event::Closed(item::item(bytes)),
        6 | 7 => Event::Asked(Ask {
            request_id: request_id(bytes),
            kind: PermissionKind::Tool,
            title: bytes.word(),
            description: bytes.maybe(Bytes::word),
            input: Value::Null,
            options: bytes.some(1, |bytes| PermissionOption {
                option_id: bytes.word(),
                label: String::new(),
                mode: None,
            }),
        }),
        8 => Event::Withdrawn(request_id(bytes)),
        9 => Event::Notice(bytes.word()),
        10 => Event::Failed(bytes.word()),
        _ => Event::TurnEnded(Ending {
            outcome: item::outcome(bytes),
            reason: bytes.maybe(Bytes::word),
            message: bytes.maybe(Bytes::text),
            usage: item::usage(bytes),
        }),
    }
}

pub(crate) fn outbox_line(bytes: &mut Bytes<'_>) -> Line {
    let id = tell_id(bytes);
    match bytes.below(3) {
        0 | 1 => {
            let (at, first, steer, run) = (bytes.number(9), bytes.flag(), bytes.flag(), bytes.number(3));
            Line::Accepted { id, at, first, steer, run, tell: tell(bytes) }
        }
        _ => Line::Settled {
            id,
            at: bytes.number(9),
            origin: bytes.maybe(item::origin),
            fate: bytes.pick(&[Fate::Delivered, Fate::Interrupted, Fate::Withdrawn, Fate::Failed("why".to_owned())]),
        },
    }
}

pub(crate) fn tell(bytes: &mut Bytes<'_>) -> Tell {
    match bytes.below(6) {
        0 | 1 => Tell::Prompt(prompt(bytes)),
        2 => Tell::Answer { request_id: request_id(bytes), decision: decision(bytes) },
        3 => Tell::Mode(mode(bytes)),
        4 => Tell::Model(bytes.word()),
        _ => Tell::Interrupt {},
    }
}

pub(crate) fn tell_id(bytes: &mut Bytes<'_>) -> TellId {
    match bytes.below(5) {
        0 | 1 => prompt_tell(&bytes.prompt_id()),
        2 => TellId(bytes.pick(&["mode.1", "mode.2", "model.1"]).to_owned()),
        3 => TellId(bytes.pick(&["interrupt.p1", "interrupt.p2"]).to_owned()),
        _ => TellId(bytes.pick(&["answer.1.q1", "answer.1.q2", "r3.0"]).to_owned()),
    }
}

fn prompt(bytes: &mut Bytes<'_>) -> Prompt {
    let image = || Image { media_type: "image/png".to_owned(), data: String::new() };
    let images = if bytes.below(8) == 0 { vec![image()] } else { Vec::new() };
    Prompt { text: bytes.word(), images, raw: bytes.flag(), ..Prompt::default() }
}

fn when_busy(bytes: &mut Bytes<'_>) -> WhenBusy {
    bytes.pick(&[WhenBusy::Queue, WhenBusy::Interrupt, WhenBusy::Queue, WhenBusy::Steer])
}

fn request_id(bytes: &mut Bytes<'_>) -> RequestId {
    RequestId::from(bytes.pick(&["q1", "q2"]))
}

fn decision(bytes: &mut Bytes<'_>) -> Decision {
    Decision {
        behavior: bytes.pick(&[Behavior::Allow, Behavior::Deny]),
        option_id: if bytes.below(4) == 0 { Some(bytes.word()) } else { None },
        message: bytes.maybe(Bytes::word),
        updated_input: None,
        interrupt: bytes.below(4) == 0,
    }
}

fn mode(bytes: &mut Bytes<'_>) -> Mode {
    bytes.pick(&[Mode::Plan, Mode::Default, Mode::FullAccess])
}

const PLAIN: Traits = Traits {
    description: "",
    modes: &[Mode::Default],
    native_modes: &[],
    program: None,
    resumes: true,
    images: false,
    steers: false,
    converses: false,
    linger: 0,
    stall: None,
};

const RICH: Traits =
    Traits { images: true, steers: true, converses: true, linger: 60_000, stall: Some(30_000), ..PLAIN };
