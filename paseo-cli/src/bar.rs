//! One line on a terminal that says how far a call is: rewritten in place, and gone before anything else is printed.

use std::future::Future;
use std::io::{self, IsTerminal as _, Stderr, Write};
use std::pin::pin;
use std::time::Duration;

use paseo_sdk::Client;
use paseo_sdk::model::Progress;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::table::{clean, fit, width};

/// Carries out `call`, and shows how far it is where there is a terminal and a person reads it.
pub(crate) async fn show<T>(client: &Client, json: bool, call: impl AsyncFnOnce(&Client) -> T) -> T {
    let Some(bar) = Bar::open().filter(|_| !json) else { return call(client).await };
    let (tells, news) = watch::channel(Progress::default());
    let client = client.with_progress(move |progress| drop(tells.send_replace(progress)));
    follow(bar, news, call(&client)).await
}

/// Carries out `call`, and draws what `news` says of it once it has taken a while.
pub async fn follow<T, W: Write>(
    mut bar: Bar<W>,
    mut news: watch::Receiver<Progress>,
    call: impl Future<Output = T>,
) -> T {
    let mut call = pin!(call);
    if let Ok(done) = timeout(PATIENCE, call.as_mut()).await {
        return done;
    }
    loop {
        tokio::select! {
            biased;
            done = call.as_mut() => {
                bar.clear();
                return done;
            }
            Ok(()) = news.changed() => bar.draw(&news.borrow()),
        }
    }
}

/// The line, as far as it is drawn.
#[derive(Debug)]
pub struct Bar<W> {
    out: W,
    columns: usize,
    /// How many columns it takes now.
    drawn: usize,
}

impl Bar<Stderr> {
    /// Opens the line on standard error; none when that is no terminal, or one that cannot go back in a line.
    fn open() -> Option<Bar<Stderr>> {
        let stderr = io::stderr();
        let able = stderr.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let size = rustix::termios::tcgetwinsize(&stderr).ok().filter(|size| size.ws_col > 0);
        able.then(|| Bar::new(stderr, size.map_or(COLUMNS, |size| size.ws_col.into())))
    }
}

impl<W: Write> Bar<W> {
    /// Makes a line on an output with so many columns.
    pub fn new(out: W, columns: usize) -> Bar<W> {
        // In the last column some terminals go on to the next line.
        Bar { out, columns: columns.saturating_sub(1), drawn: 0 }
    }

    fn draw(&mut self, progress: &Progress) {
        let line = line(progress, self.columns);
        let taken = width(&line);
        self.write(&format!("\r{line}{}", " ".repeat(self.drawn.saturating_sub(taken))));
        self.drawn = taken;
    }

    fn clear(&mut self) {
        if self.drawn > 0 {
            self.write(&format!("\r{}\r", " ".repeat(self.drawn)));
            self.drawn = 0;
        }
    }

    fn write(&mut self, text: &str) {
        // Nobody needs this line: an output that is closed shows at the next thing that is said.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// Returns the line that says how far a call is, in so many columns. Where they are too few, its words are shortened first.
#[must_use]
pub fn line(progress: &Progress, columns: usize) -> String {
    let words = clean(progress.message.as_deref().unwrap_or(&progress.step));
    let unit = progress.unit.as_ref().map(|unit| format!(" {}", clean(unit))).unwrap_or_default();
    let count = match (progress.done, progress.total) {
        (Some(done), Some(total)) => format!("  {done}/{total}{unit}"),
        (Some(done), None) => format!("  {done}{unit}"),
        (None, _) => String::new(),
    };
    let bytes = progress.bytes.map(|bytes| format!("  {}", size(bytes))).unwrap_or_default();
    let numbers = count + &bytes;
    let room = columns.saturating_sub(width(&numbers)).max(FEWEST_WORDS);
    fit(&(fit(&words, room) + &numbers), columns)
}

/// Writes a number of bytes as people read it.
#[must_use]
pub fn size(bytes: i64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be written as 1024 is 1.0 of the next unit.
    while size >= 1023.5 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    match size < 9.95 {
        true => format!("{size:.1} {}", UNITS[unit]),
        false => format!("{size:.0} {}", UNITS[unit]),
    }
}

/// How long a call may take before it is worth a line.
const PATIENCE: Duration = Duration::from_millis(300);
/// The columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;
/// Words are not made shorter than this for the sake of numbers.
const FEWEST_WORDS: usize = 8;
