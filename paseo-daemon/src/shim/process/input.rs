//! The agent's standard input, and what waits to be written to it.

use std::collections::VecDeque;
use std::io::{self, PipeWriter, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};

/// Lines that go to the agent as fast as it reads them.
pub(super) struct Input {
    pipe: Option<PipeWriter>,
    lines: VecDeque<Vec<u8>>,
    /// How much of the first line is written.
    written: usize,
    /// How many bytes wait.
    waiting: usize,
    /// It is closed when everything is written.
    closing: bool,
}

/// What came of writing.
pub(super) enum Fed {
    /// It is as it was.
    Open,
    /// It is closed now, as it should be.
    Closed,
    /// The agent closed it, and these lines it will not read.
    Broken { lines: usize },
}

impl Input {
    pub(super) fn new(pipe: PipeWriter) -> Input {
        Input { pipe: Some(pipe), lines: VecDeque::new(), written: 0, waiting: 0, closing: false }
    }

    /// Returns why a line cannot be told, if it cannot.
    pub(super) fn refuses(&self, line: &str, limit: usize) -> Option<String> {
        if self.pipe.is_none() || self.closing {
            return Some("the agent's standard input is closed".to_owned());
        }
        if line.contains('\n') {
            return Some("it is more than one line".to_owned());
        }
        (self.waiting + line.len() > limit).then(|| {
            format!("the agent does not read: {} bytes wait for it already, at most {limit} may", self.waiting)
        })
    }

    /// Returns whether somebody has asked for it to be closed.
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    pub(super) fn push(&mut self, line: Vec<u8>) {
        self.waiting += line.len();
        self.lines.push_back(line);
    }

    /// Writes what the agent takes.
    pub(super) fn feed(&mut self) -> Fed {
        let Some(pipe) = &mut self.pipe else { return Fed::Open };
        while let Some(line) = self.lines.front() {
            match pipe.write(&line[self.written..]) {
                Ok(count) => {
                    self.written += count;
                    self.waiting -= count;
                    if self.written == line.len() {
                        self.lines.pop_front();
                        self.written = 0;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Fed::Open,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    let lines = self.lines.len();
                    self.end();
                    return Fed::Broken { lines };
                }
            }
        }
        match self.closing {
            true => {
                self.end();
                Fed::Closed
            }
            false => Fed::Open,
        }
    }

    /// Closes it when everything is written.
    pub(super) fn close(&mut self) -> Fed {
        self.closing = true;
        self.feed()
    }

    /// Closes it now, and forgets what waits.
    pub(super) fn end(&mut self) {
        self.pipe = None;
        self.lines = VecDeque::new();
        self.written = 0;
        self.waiting = 0;
    }

    /// Returns the pipe when something waits to be written to it.
    pub(super) fn unwritten(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().filter(|_| !self.lines.is_empty()).map(|pipe| pipe.as_fd())
    }
}
