//! What a shim does when its daemon says a word.

use paseo_sdk::provider::Whom;
use rustix::event::PollFlags;
use rustix::process::Signal;

use super::Shim;
use crate::shim::child::sentence;
use crate::shim::connection::Heard;
use crate::shim::{Hello, Report, VERSION, Word, signals, tree};

impl Shim {
    pub(super) fn converse(&mut self, flags: PollFlags) {
        let Some(connection) = &mut self.connection else { return };
        let mut heard = Vec::new();
        let open = !flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
            || connection.receive(&mut |word| heard.push(word));
        for word in heard {
            match word {
                Heard::Word(word) => self.obey(word),
                Heard::Unknown(text) => self.report(&Report::Trouble { text }),
            }
        }
        if !open {
            self.connection = None;
            return;
        }
        // The record of a word is written before the daemon hears of it.
        self.write_down();
        if let Some(connection) = &mut self.connection {
            connection.send(&self.journal);
        }
    }

    fn obey(&mut self, word: Word) {
        match word {
            Word::Attach { after } => self.attach(after),
            Word::Write { id, line } => {
                if self.journal.holds(&id) {
                    return;
                }
                let refusal = match (&self.exit, &self.full) {
                    (Some(_), _) => Some("the agent has ended".to_owned()),
                    (None, Some(full)) => Some(format!("the journal cannot be written: {}", full.error)),
                    (None, None) => self.input.refuses(&line, self.limits.input),
                };
                if let Some(reason) = refusal {
                    let leaving = self.exit.is_some() || self.input.is_closing();
                    return self.report(&Report::Refused { id, reason, leaving });
                }
                let bytes = format!("{line}\n").into_bytes();
                if let Err(error) = self.journal.tell(&id, line) {
                    let reason = format!("the journal cannot be written: {}", sentence(&error));
                    if !self.journal.holds(&id) {
                        self.report(&Report::Refused { id, reason, leaving: false });
                        return self.stuck(&error);
                    }
                    self.report(&Report::Trouble { text: reason });
                }
                self.input.push(bytes);
                let fed = self.input.feed();
                self.fed(fed);
            }
            Word::Close {} => {
                let fed = self.input.close();
                self.fed(fed);
            }
            Word::Signal { signal, whom } => match signals::parse(&signal) {
                Some(number) if self.exit.is_none() => {
                    self.note_signal(signals::name(number.as_raw()), whom);
                    self.signal(number, whom);
                }
                Some(_) => self.report(&Report::Trouble { text: "the agent has ended".to_owned() }),
                None => self.report(&Report::Trouble { text: format!("no signal is called `{signal}`") }),
            },
            Word::Carry { text } => {
                if let Err(error) = self.journal.carry(text) {
                    self.report(&Report::Trouble { text: format!("cannot begin a segment: {}", sentence(&error)) });
                }
            }
            Word::Stop { reason } => self.stop(reason),
        }
    }

    fn attach(&mut self, after: i64) {
        let Some(connection) = &mut self.connection else { return };
        if connection.is_attached() {
            return self.report(&Report::Trouble { text: "this connection is attached already".to_owned() });
        }
        match self.journal.seek(after) {
            Ok(cursor) => {
                connection.report(&Report::Hello(Hello {
                    version: VERSION,
                    first: self.journal.first(),
                    last: self.journal.last(),
                    pid: self.ready.pid,
                    start_time: self.ready.start_time,
                    shim_pid: self.ready.shim_pid,
                }));
                connection.follow(cursor);
            }
            Err(error) => {
                let text = format!("the journal cannot be read: {}", sentence(&error));
                connection.report(&Report::Trouble { text });
            }
        }
        if let Some(text) = self.trouble() {
            self.report(&Report::Trouble { text });
        }
    }

    /// Sends a signal to the agent, which has not ended: its pid is its own until its exit is taken.
    fn signal(&mut self, signal: Signal, whom: Whom) {
        // Whoever has ended meanwhile needs no signal.
        match whom {
            Whom::Child => drop(rustix::process::kill_process(self.agent, signal)),
            Whom::Group => drop(rustix::process::kill_process_group(self.agent, signal)),
            Whom::Tree if signal == Signal::KILL => drop(self.end_tree()),
            Whom::Tree => tree::signal(&self.tree().found, signal),
        }
    }
}
