//! Where output goes: a terminal that obeys nothing but colors, or a file that gets every byte.

use std::io::{self, IsTerminal as _, Write as _};

use crate::render::{Color, View};
use crate::table::clean;
use crate::transcript::{Piece, Style};

/// The two outputs of a command.
#[derive(Debug)]
pub struct Screen {
    /// How standard output is looked at.
    pub out: View,
    /// How standard error is looked at.
    pub notes: View,
    /// How agents are shown.
    pub style: Style,
    /// Whether there is a person who can be asked.
    pub interactive: bool,
    filter: Filter,
}

impl Screen {
    /// Looks at the outputs of this process.
    #[must_use]
    pub fn open() -> Screen {
        let colors = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let home = std::env::home_dir().map(|home| home.display().to_string());
        let (stdout, stderr) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok().filter(|size| stdout && size.ws_col > 0);
        let view = |terminal: bool| View {
            now: now(),
            width: size.map(|size| usize::from(size.ws_col)),
            color: terminal && colors,
            home: home.clone(),
        };
        Screen {
            out: view(stdout),
            notes: view(stderr),
            style: if stdout { Style::Rich } else { Style::Plain },
            interactive: stdout && stderr && io::stdin().is_terminal(),
            filter: Filter::new(stdout && colors),
        }
    }

    /// Prints pieces of a transcript.
    ///
    /// # Errors
    ///
    /// When an output is closed or full.
    pub fn pieces(&mut self, pieces: impl IntoIterator<Item = Piece>) -> io::Result<()> {
        for piece in pieces {
            match piece {
                Piece::Text(text) if self.style == Style::Plain => self.raw(&text)?,
                Piece::Text(text) => {
                    let text = self.filter.pass(&text);
                    self.raw(&text)?;
                }
                Piece::Aside(text) => {
                    let text = Filter::new(false).pass(&text);
                    self.raw(&self.out.paint(Color::Dim, &text))?;
                }
                Piece::Note(color, line) => self.lines(color, &line)?,
            }
        }
        Ok(())
    }

    /// Prints text of paseo's own on standard output.
    ///
    /// # Errors
    ///
    /// When the output is closed or full.
    pub fn raw(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// Prints a value as JSON on standard output.
    ///
    /// # Errors
    ///
    /// When the output is closed or full.
    pub fn json(&self, value: &impl serde::Serialize) -> io::Result<()> {
        self.raw(&(serde_json::to_string_pretty(value)? + "\n"))
    }

    /// Prints lines of paseo's own on standard error.
    ///
    /// # Errors
    ///
    /// When the output is closed or full.
    pub fn note(&mut self, lines: &str) -> io::Result<()> {
        self.lines(Color::Dim, lines)
    }

    fn lines(&mut self, color: Color, lines: &str) -> io::Result<()> {
        let reset = self.filter.reset();
        if self.style == Style::Rich && !reset.is_empty() {
            self.raw(reset)?;
        }
        let mut stderr = io::stderr().lock();
        for line in lines.lines() {
            writeln!(stderr, "{}", self.notes.paint(color, &clean(line)))?;
        }
        Ok(())
    }

    /// Prints text that is rendered for standard error already.
    ///
    /// # Errors
    ///
    /// When the output is closed or full.
    pub fn aside(&mut self, text: &str) -> io::Result<()> {
        let mut stderr = io::stderr().lock();
        write!(stderr, "{}{text}", self.filter.reset())?;
        stderr.flush()
    }
}

/// Lets text and colors through to a terminal, and nothing that moves the cursor, sets the title or the clipboard.
///
/// Sequences may be spread over several pieces.
#[derive(Debug)]
pub struct Filter {
    colors: bool,
    painted: bool,
    state: State,
}

impl Filter {
    /// Makes a filter that lets colors through, or not.
    #[must_use]
    pub fn new(colors: bool) -> Filter {
        Filter { colors, painted: false, state: State::Text }
    }

    /// Returns what may be printed of the next piece.
    pub fn pass(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            let state = std::mem::replace(&mut self.state, State::Text);
            self.state = match (state, c) {
                (State::Text, '\n' | '\t' | '\r') => {
                    out.push(c);
                    State::Text
                }
                (State::Command { .. }, '\x1b') => State::Command { closing: true, length: 0 },
                (_, '\x1b') => State::Escape,
                (State::Text, '\u{9b}') => State::Control(String::new()),
                (State::Text, c) => {
                    if !c.is_control() {
                        out.push(c);
                    }
                    State::Text
                }
                (State::Escape, '[') => State::Control(String::new()),
                (State::Escape, ']' | 'P' | 'X' | '^' | '_') => State::Command { closing: false, length: 0 },
                (State::Escape, ' '..='/') => State::Escape,
                (State::Escape, _) => State::Text,
                (State::Control(mut parameters), ' '..='?') if parameters.len() < State::LONGEST_CONTROL => {
                    parameters.push(c);
                    State::Control(parameters)
                }
                (State::Control(parameters), 'm') if self.colors && is_color(&parameters) => {
                    out.push_str(&format!("\x1b[{parameters}m"));
                    self.painted = !matches!(parameters.as_str(), "" | "0");
                    State::Text
                }
                (State::Control(_), _) => State::Text,
                (State::Command { .. }, '\x07' | '\u{9c}') => State::Text,
                (State::Command { closing: true, .. }, '\\') => State::Text,
                (State::Command { length, .. }, _) if length < State::LONGEST_COMMAND => {
                    State::Command { closing: false, length: length + 1 }
                }
                (State::Command { .. }, _) => State::Text,
            };
        }
        out
    }

    /// Returns what takes the colors back that are still on.
    pub fn reset(&mut self) -> &'static str {
        if std::mem::take(&mut self.painted) { "\x1b[0m" } else { "" }
    }
}

/// Returns the time by this machine's clock.
#[must_use]
pub fn now() -> paseo_sdk::model::Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    paseo_sdk::model::Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[derive(Debug)]
enum State {
    Text,
    /// After an escape.
    Escape,
    /// In a control sequence, with its parameters so far.
    Control(String),
    /// In a string that is meant for the terminal; `closing` after an escape.
    Command {
        closing: bool,
        length: usize,
    },
}

impl State {
    const LONGEST_CONTROL: usize = 64;
    /// A command without an end does not swallow the rest of the output.
    const LONGEST_COMMAND: usize = 4096;
}

fn is_color(parameters: &str) -> bool {
    parameters.chars().all(|c| c.is_ascii_digit() || matches!(c, ';' | ':'))
}
