//! The line on the way through a shim: to an agent that answers with what it is told, and back.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use paseo_daemon::shim::link::{self, Heard, News, Words};
use paseo_daemon::shim::{Launching, Limits, place};
use paseo_sdk::provider::{Line, TellId, What};

use crate::Result;
use crate::lines::beside;
use crate::stage::Stage;

/// A line to `cat` and back, through a shim, through pipes, and through pipes when it is on the disk.
pub(crate) async fn round_trip(stage: &Stage) -> Result<()> {
    let mut shim = Shim::start(stage).await?;
    let mut pipes = Pipes::start()?;
    let mut disk = OpenOptions::new().append(true).create_new(true).open(stage.work().join("lines"))?;
    let (mut ours, mut bare, mut synced) = (Vec::new(), Vec::new(), Vec::new());
    // The first ones, to processes that have just started, do not count.
    for round in 0..=ROUNDS {
        let begun = Instant::now();
        for _ in 0..TRIPS {
            shim.trip().await?;
        }
        let one = begun.elapsed().as_secs_f64() / f64::from(TRIPS);
        let begun = Instant::now();
        for _ in 0..TRIPS {
            pipes.trip()?;
        }
        let other = begun.elapsed().as_secs_f64() / f64::from(TRIPS);
        let begun = Instant::now();
        for _ in 0..TRIPS {
            keep(&mut disk)?;
            pipes.trip()?;
        }
        let third = begun.elapsed().as_secs_f64() / f64::from(TRIPS);
        if round > 0 {
            ours.push(one);
            bare.push(other);
            synced.push(third);
        }
    }
    shim.end().await?;
    beside("round trip through a shim to `cat`", ours.clone(), "pipes", bare);
    beside("round trip through a shim to `cat`", ours, "fdatasync, pipes", synced);
    Ok(())
}

/// `cat` under a shim, as the daemon has it.
struct Shim {
    words: Words,
    heard: Heard,
    told: u64,
}

impl Shim {
    async fn start(stage: &Stage) -> Result<Shim> {
        let home = stage.home();
        let launching = Launching {
            agent_id: "echo".to_owned(),
            marker: place::marker(&home, "echo", 1),
            program: "cat".to_owned(),
            args: Vec::new(),
            env: vec![("PATH".to_owned(), std::env::var("PATH")?)],
            setup: None,
            cwd: stage.work(),
            run_dir: stage.work().join("echo"),
            socket: place::socket(&home, "echo", 1)?,
            keep: Vec::new(),
            limits: Limits::default(),
        };
        link::spawn(stage.program(), &launching).await?;
        let (words, heard) = link::attach(&launching.socket, 0).await?;
        Ok(Shim { words, heard, told: 0 })
    }

    /// Tells the line, and returns when the record of the answer is heard.
    async fn trip(&mut self) -> Result<()> {
        self.told += 1;
        self.words.write(TellId(format!("line-{}", self.told)), LINE.to_owned()).await?;
        while let Some(news) = self.heard.next().await {
            if let News::Record(record) = news
                && let What::Said(Line::Text(line)) = record.what
            {
                return match line == LINE {
                    true => Ok(()),
                    false => Err("another line came back".into()),
                };
            }
        }
        Err("the shim has left".into())
    }

    async fn end(mut self) -> Result<()> {
        self.words.close().await?;
        while self.heard.next().await.is_some() {}
        Ok(())
    }
}

/// `cat` between two pipes. It ends with this.
struct Pipes {
    cat: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Pipes {
    fn start() -> Result<Pipes> {
        let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = BufReader::new(cat.stdout.take().ok_or("it is piped")?);
        Ok(Pipes { stdin: cat.stdin.take(), stdout, cat })
    }

    fn trip(&mut self) -> Result<()> {
        let stdin = self.stdin.as_mut().ok_or("it is piped")?;
        stdin.write_all(format!("{LINE}\n").as_bytes())?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        match line.trim_end() == LINE {
            true => Ok(()),
            false => Err("another line came back".into()),
        }
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.cat.wait();
    }
}

/// Appends the line, and returns when it is on the disk.
fn keep(file: &mut File) -> Result<()> {
    file.write_all(format!("{LINE}\n").as_bytes())?;
    Ok(file.sync_data()?)
}

/// A prompt as a provider's program reads it.
const LINE: &str =
    r#"{"type":"user","message":{"role":"user","content":[{"type":"text","text":"Fix the test that fails."}]}}"#;

const ROUNDS: usize = 20;
const TRIPS: u32 = 25;
