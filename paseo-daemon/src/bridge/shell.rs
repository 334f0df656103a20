//! `paseo __bridge shell`: runs scripts in the user's shell, one after the other, and asks before where it is told to.
//!
//! ```text
//! in:  {"run":{"id":"1","script":"make","ask":true}}   {"answer":{"id":"1","allow":true}}   {"interrupt":{}}
//! out: {"ask":{"id":"1","script":"make"}}   {"started":{"id":"1","pid":7}}
//!      {"out":{"id":"1","stream":"stdout","text":"…"}}   {"exit":{"id":"1","code":0,"denied":false,"interrupted":false}}
//! ```
//!
//! What it cannot understand it says on its standard error. At the end of its input it finishes what it was given, and
//! ends. As a shim does, it is one thread around one `poll`; what it has to say waits, and the script with it, when
//! nobody reads.

mod run;
mod words;

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use rustix::stdio::{stdin, stdout};

use self::run::Run;
use self::words::{Answer, Ask, Exit, Order, Reply, Script, Stream};
use crate::shim::child::{nonblocking, sentence};
use crate::shim::lines::Splitter;
use crate::shim::signals::{self, Bell};
use crate::shim::tree;

/// Plays the bridge, and returns the exit code.
pub(crate) fn main() -> i32 {
    match Bridge::start().and_then(|mut bridge| bridge.serve()) {
        Ok(()) => 0,
        Err(error) => {
            complain(&sentence(&error));
            1
        }
    }
}

struct Bridge {
    orders: Splitter,
    /// Nothing more will be ordered.
    ended: bool,
    /// Scripts that wait for their turn.
    queue: VecDeque<Script>,
    state: State,
    /// What waits to be read by whoever reads our output.
    out: VecDeque<u8>,
    children: Bell,
    interrupted: Bell,
    stopped: Bell,
    /// How many scripts were begun.
    count: u64,
}

enum State {
    Idle,
    /// A script waits for an answer.
    Asking(Script),
    Running(Box<Run>),
}

#[derive(Clone, Copy)]
enum Source {
    Orders,
    Replies,
    Children,
    Interrupted,
    Stopped,
    Output(Stream),
}

impl Bridge {
    fn start() -> io::Result<Bridge> {
        #[cfg(target_os = "linux")]
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let children = Bell::on(&[Signal::CHILD])?;
        let interrupted = Bell::on(&[Signal::INT])?;
        let stopped = Bell::on(&[Signal::TERM])?;
        signals::deafen(&[Signal::HUP, Signal::QUIT])?;
        nonblocking(stdout())?;
        Ok(Bridge {
            orders: Splitter::new(LONGEST_ORDER),
            ended: false,
            queue: VecDeque::new(),
            state: State::Idle,
            out: VecDeque::new(),
            children,
            interrupted,
            stopped,
            count: 0,
        })
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            for source in self.wait()? {
                self.attend(source)?;
            }
            self.go_on();
            if self.ended && matches!(self.state, State::Idle) && self.queue.is_empty() && self.out.is_empty() {
                return Ok(());
            }
        }
    }

    fn wait(&self) -> io::Result<Vec<Source>> {
        let mut sources: Vec<(Source, BorrowedFd<'_>, PollFlags)> = vec![
            (Source::Children, self.children.as_fd(), PollFlags::IN),
            (Source::Interrupted, self.interrupted.as_fd(), PollFlags::IN),
            (Source::Stopped, self.stopped.as_fd(), PollFlags::IN),
        ];
        if !self.ended && self.queue.len() < MOST_QUEUED {
            sources.push((Source::Orders, stdin(), PollFlags::IN));
        }
        if !self.out.is_empty() {
            sources.push((Source::Replies, stdout(), PollFlags::OUT));
        }
        let mut deadline = None;
        if let State::Running(run) = &self.state {
            let room = self.out.len() < MOST_UNREAD;
            deadline = run.deadline(room);
            if room {
                let outputs = run.outputs().map(|(stream, pipe)| (Source::Output(stream), pipe, PollFlags::IN));
                sources.extend(outputs);
            }
        }
        let mut polled: Vec<PollFd<'_>> =
            sources.iter().map(|(_, file, flags)| PollFd::from_borrowed_fd(*file, *flags)).collect();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut polled, left.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let found = sources.iter().zip(&polled).filter(|(_, polled)| !polled.revents().is_empty());
        Ok(found.map(|((source, ..), _)| *source).collect())
    }

    fn attend(&mut self, source: Source) -> io::Result<()> {
        match source {
            Source::Orders => self.listen()?,
            Source::Replies => self.speak()?,
            Source::Children => {
                self.children.rang();
                while let Some((pid, status)) = tree::reap() {
                    if let State::Running(run) = &mut self.state {
                        run.ended(pid, status);
                    }
                }
            }
            Source::Interrupted => {
                self.interrupted.rang();
                self.interrupt();
            }
            Source::Stopped => {
                self.stopped.rang();
                self.ended = true;
                self.queue.clear();
                self.interrupt();
            }
            Source::Output(stream) => {
                if let State::Running(run) = &mut self.state {
                    run.listen_to(stream, &mut self.out);
                }
            }
        }
        Ok(())
    }

    fn listen(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 << 10];
        let mut lines = Vec::new();
        match rustix::io::read(stdin(), &mut chunk) {
            Ok(0) => {
                self.ended = true;
                self.orders.finish(&mut |line, cut| lines.push((line, cut)));
            }
            Ok(count) => self.orders.push(&chunk[..count], &mut |line, cut| lines.push((line, cut))),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for (line, cut) in lines {
            match serde_json::from_slice(&line) {
                Ok(order) if !cut => self.obey(order),
                Ok(_) => complain("an order was too long"),
                Err(error) => complain(&format!("an order was not understood: {error}")),
            }
        }
        Ok(())
    }

    fn speak(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match rustix::io::write(stdout(), self.out.as_slices().0) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                // Nobody will ever read it; what runs is ended by the shim, whose child this is.
                Err(error) => return Err(error.into()),
            }
        }
        self.out.shrink_to(MOST_UNREAD);
        Ok(())
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Run(script) => self.queue.push_back(script),
            Order::Answer(answer) => self.take(answer),
            Order::Interrupt {} => self.interrupt(),
        }
    }

    fn take(&mut self, answer: Answer) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Asking(script) if script.id == answer.id => match answer.allow {
                true => self.run(Script { script: answer.script.unwrap_or(script.script), ..script }),
                false => {
                    let exit = Exit { denied: true, message: answer.message, ..Exit::of(script.id) };
                    words::say(&Reply::Exit(exit), &mut self.out);
                }
            },
            // An answer that comes twice, or too late.
            state => self.state = state,
        }
    }

    fn interrupt(&mut self) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => {}
            State::Asking(script) => {
                let exit = Exit { interrupted: true, ..Exit::of(script.id) };
                words::say(&Reply::Exit(exit), &mut self.out);
            }
            State::Running(mut run) => {
                run.interrupt();
                self.state = State::Running(run);
            }
        }
    }

    fn run(&mut self, script: Script) {
        self.count += 1;
        match Run::start(&script, self.count) {
            Ok(run) => {
                words::say(&Reply::Started { id: script.id, pid: run.pid() }, &mut self.out);
                self.state = State::Running(Box::new(run));
            }
            Err(reason) => {
                let exit = Exit { reason: Some(reason), ..Exit::of(script.id) };
                words::say(&Reply::Exit(exit), &mut self.out);
            }
        }
    }

    /// Does what is due: the end of a script, the beginning of the next.
    fn go_on(&mut self) {
        let room = self.out.len() < MOST_UNREAD;
        if let State::Running(run) = &mut self.state
            && let Some(exit) = run.expire(Instant::now(), room, &mut self.out)
        {
            words::say(&Reply::Exit(exit), &mut self.out);
            self.state = State::Idle;
        }
        if let State::Asking(_) = self.state
            && self.ended
        {
            let state = std::mem::replace(&mut self.state, State::Idle);
            if let State::Asking(script) = state {
                let reason = Some("nobody is there to answer any more".to_owned());
                let exit = Exit { denied: true, reason, ..Exit::of(script.id) };
                words::say(&Reply::Exit(exit), &mut self.out);
            }
        }
        while let State::Idle = self.state
            && let Some(script) = self.queue.pop_front()
        {
            if script.ask {
                let ask = Ask { id: script.id.clone(), script: script.script.clone() };
                words::say(&Reply::Ask(ask), &mut self.out);
                self.state = State::Asking(script);
            } else {
                self.run(script);
            }
        }
    }
}

fn complain(text: &str) {
    // Nobody reads it, then.
    let _ = writeln!(io::stderr(), "error: {text}");
}

/// The longest order that is understood, as JSON.
const LONGEST_ORDER: usize = 128 << 20;

/// How much output may wait for its reader before the script waits too.
const MOST_UNREAD: usize = 64 << 10;

/// How many scripts may wait for their turn before no more orders are read.
const MOST_QUEUED: usize = 256;
