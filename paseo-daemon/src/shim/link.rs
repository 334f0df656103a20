//! The daemon's end: starting a shim, and the link to one that runs.

use std::io;
use std::path::Path;
use std::time::Duration;

use paseo_sdk::provider::{Record, TellId, Whom};
use rustix::process::{WaitOptions, waitpid};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::child::sentence;
use super::connection::LONGEST_WORD;
use super::helper;
use super::lines::Splitter;
use super::tree;
use super::{Hello, Launched, Launching, Ready, Report, Word};

/// Starts a shim, and returns when its agent runs.
///
/// `helper` is the program that plays the hidden roles. The shim outlives this process; whoever starts one attaches to
/// it, and the link takes its exit status when it has ended.
///
/// # Errors
///
/// One sentence, such as `claude: no such file`; then nothing is left.
pub async fn spawn(helper: &Path, launching: &Launching) -> Result<Ready, String> {
    let text = serde_json::to_vec(launching).map_err(|error| format!("cannot be said to a shim: {error}"))?;
    let (helper, agent) = (helper.to_owned(), launching.agent_id.clone());
    let started = tokio::task::spawn_blocking(move || start(&helper, &agent, &text));
    started.await.map_err(|error| format!("the start of a shim was lost: {error}"))?
}

/// Connects to the shim that listens at `socket`, and asks for the records after `after`.
///
/// # Errors
///
/// When no shim listens there.
pub async fn attach(socket: &Path, after: i64) -> io::Result<(Words, Heard)> {
    let (reader, writer) = UnixStream::connect(socket).await?.into_split();
    let (sender, receiver) = mpsc::channel(MOST_WORDS);
    tokio::spawn(say(writer, receiver));
    let words = Words(sender);
    words.send(&Word::Attach { after }).await?;
    let lines = Splitter::new(usize::MAX);
    Ok((words, Heard { reader, lines, arrived: Vec::new().into_iter(), last: after, shim: None }))
}

/// Takes the exit status of a shim that has ended or is about to, if it is a child of this process.
///
/// [`Heard`] does this at its end; it is for a shim that nobody attached to.
pub async fn reap(shim_pid: i64) {
    let Some(pid) = tree::pid_of(shim_pid) else { return };
    // It is listened to before the first look, so that no end falls between the two.
    let Ok(mut children) = signal(SignalKind::child()) else { return };
    while let Ok(None) = waitpid(Some(pid), WaitOptions::NOHANG) {
        if children.recv().await.is_none() {
            return;
        }
    }
}

/// Says words to a shim: cheap to clone. The link ends when all clones are gone.
#[derive(Clone, Debug)]
pub struct Words(mpsc::Sender<Vec<u8>>);

impl Words {
    /// Tells the agent a line, unless its journal says that it was told this id.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` when the link is lost, `InvalidInput` when the line is too long for any shim.
    pub async fn write(&self, id: TellId, line: String) -> io::Result<()> {
        self.send(&Word::Write { id, line }).await
    }

    /// Closes the agent's standard input, when everything before is written.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` when the link is lost.
    pub async fn close(&self) -> io::Result<()> {
        self.send(&Word::Close {}).await
    }

    /// Sends the signal called `name`, such as `INT`.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` when the link is lost.
    pub async fn signal(&self, name: &str, whom: Whom) -> io::Result<()> {
        self.send(&Word::Signal { signal: name.to_owned(), whom }).await
    }

    /// Begins a new segment of the journal with a session's summary.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` when the link is lost, `InvalidInput` when the text is too long.
    pub async fn carry(&self, text: String) -> io::Result<()> {
        self.send(&Word::Carry { text }).await
    }

    /// Ends the agent and its whole tree: asked first, forced after two seconds. `Exited` says the reason.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` when the link is lost.
    pub async fn stop(&self, reason: &str) -> io::Result<()> {
        self.send(&Word::Stop { reason: reason.to_owned() }).await
    }

    async fn send(&self, word: &Word) -> io::Result<()> {
        let mut line = serde_json::to_vec(word)?;
        if line.len() > LONGEST_WORD {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is too long for a shim"));
        }
        line.push(b'\n');
        self.0.send(line).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// What a shim says.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// The answer to the attach; records follow.
    Hello(Hello),
    /// The next record of the journal.
    Record(Record),
    /// A record of a newer shim that means nothing here, or one that the disk has damaged.
    Unknown {
        /// Its number.
        seq: i64,
    },
    /// A line was not told, and is not in the journal.
    Refused {
        /// Which.
        id: TellId,
        /// Why.
        reason: String,
        /// Whether the agent leaves, so that the line may be told to its next process.
        leaving: bool,
    },
    /// Something is wrong that a person should know.
    Trouble(String),
}

/// Hears a shim. It reads only when it is asked, so whoever is slow to ask costs no memory.
pub struct Heard {
    reader: OwnedReadHalf,
    lines: Splitter,
    arrived: std::vec::IntoIter<Vec<u8>>,
    /// The number of the last record.
    last: i64,
    shim: Option<i64>,
}

impl Heard {
    /// Returns what the shim says next; none when the link is lost, and by then a shim that was started by this process
    /// and has ended is no zombie any more. A call may be given up at any time, and nothing is lost.
    ///
    /// Whether the run is over, its journal says: a lost link without an `Exited` is looked at with
    /// [`journal::read_after`](super::journal::read_after) and [`journal::is_served`](super::journal::is_served).
    pub async fn next(&mut self) -> Option<News> {
        loop {
            if let Some(line) = self.arrived.next() {
                // A newer shim may say what this daemon does not know.
                let Some(news) = understand(&line, self.last) else { continue };
                match &news {
                    News::Hello(hello) => self.shim = Some(hello.shim_pid),
                    News::Record(Record { seq, .. }) | News::Unknown { seq } => self.last = *seq,
                    News::Refused { .. } | News::Trouble(_) => {}
                }
                return Some(news);
            }
            let mut chunk = [0; 16 << 10];
            let count = match self.reader.read(&mut chunk).await {
                Ok(count) if count > 0 => count,
                Ok(_) | Err(_) => {
                    if let Some(shim) = self.shim {
                        // It is ending, or the link was let go of and it goes on.
                        let _ = tokio::time::timeout(FAREWELL, reap(shim)).await;
                    }
                    return None;
                }
            };
            let mut lines = Vec::new();
            self.lines.push(&chunk[..count], &mut |line, _| lines.push(line));
            self.arrived = lines.into_iter();
        }
    }
}

/// Reads a line that comes after the record `last`.
fn understand(line: &[u8], last: i64) -> Option<News> {
    // A shim writes the number first.
    if line.starts_with(b"{\"seq\"")
        && let Ok(record) = serde_json::from_slice(line)
    {
        return Some(News::Record(record));
    }
    match serde_json::from_slice(line) {
        Ok(Report::Hello(hello)) => Some(News::Hello(hello)),
        Ok(Report::Refused { id, reason, leaving }) => Some(News::Refused { id, reason, leaving }),
        Ok(Report::Trouble { text }) => Some(News::Trouble(text)),
        Err(_) => match serde_json::from_slice(line) {
            Ok(Numbered { seq: Some(seq) }) => Some(News::Unknown { seq }),
            Ok(Numbered { seq: None }) => None,
            // What a shim says by itself is JSON.
            Err(_) => Some(News::Unknown { seq: last.saturating_add(1) }),
        },
    }
}

/// What every record has.
#[derive(Deserialize)]
struct Numbered {
    seq: Option<i64>,
}

/// Sends what comes in, until nobody can say anything any more or the link is lost.
async fn say(mut writer: OwnedWriteHalf, mut words: mpsc::Receiver<Vec<u8>>) {
    while let Some(line) = words.recv().await {
        if writer.write_all(&line).await.is_err() {
            return;
        }
    }
}

/// Starts a shim and waits for its one line.
fn start(program: &Path, agent: &str, text: &[u8]) -> Result<Ready, String> {
    let failed = |error: io::Error| format!("cannot start {}: {}", program.display(), sentence(&error));
    match helper::start(program, "__shim", agent, text).map_err(failed)? {
        (_, Launched::Ready(ready)) => Ok(ready),
        (mut shim, Launched::Failed { message }) => {
            let _ = shim.wait();
            Err(message)
        }
    }
}

/// How many words may wait for a shim.
const MOST_WORDS: usize = 16;

/// How long a shim may take to end after its last word.
const FAREWELL: Duration = Duration::from_secs(2);
