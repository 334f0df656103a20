//! What the first versions of daemon and shim said to each other, recorded in `words-1.txt`: today's two sides understand
//! it, alone and among words and fields of a version to come.
//!
//! Each line is who says it, and what: `launching` is what a shim reads first, `launched` its answer, `file` what stands in
//! its file then; `daemon` and `shim` talk over the socket.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use paseo_daemon::shim::link::{self, Heard, News, Words};
use paseo_daemon::shim::{Ready, SHIM_FILE, Word, journal};
use serde_json::Value;

use super::{HELPER, Result, Scratch};

const RECORDING: &str = include_str!("words-1.txt");

/// What is said beside what was recorded.
#[derive(Clone, Copy, PartialEq)]
enum Beside {
    Nothing,
    /// Words, records and fields that nobody knows.
    Unknown,
}

fn recorded() -> impl Iterator<Item = (&'static str, &'static str)> {
    RECORDING.lines().map(|line| line.split_once(' ').expect("each line says whose it is"))
}

fn first(who: &str) -> &'static str {
    recorded().find(|(whose, _)| *whose == who).expect("it is recorded").1
}

#[tokio::test]
async fn a_shim_of_the_first_version_is_understood() -> Result {
    let plain = hear_the_old_shim(Beside::Nothing).await?;
    insta::assert_debug_snapshot!(plain);
    assert_eq!(hear_the_old_shim(Beside::Unknown).await?, plain);
    Ok(())
}

/// Has today's daemon talk with the shim that was recorded, and returns what it heard.
async fn hear_the_old_shim(beside: Beside) -> Result<Vec<News>> {
    let scratch = Scratch::new()?;
    let socket = scratch.path.join("socket");
    let listener = UnixListener::bind(&socket)?;
    let shim = std::thread::spawn(move || play_the_old_shim(&listener, beside));
    let (words, mut heard) = link::attach(&socket, 0).await?;
    let mut news = Vec::new();
    for (who, text) in recorded() {
        match who {
            "daemon" => say(&words, text).await?,
            "shim" => news.push(known(&mut heard).await.ok_or("it was cut off")?),
            _ => {}
        }
    }
    assert_eq!(known(&mut heard).await, None);
    shim.join().expect("it does not panic");
    Ok(news)
}

/// Returns the next thing that is understood.
async fn known(heard: &mut Heard) -> Option<News> {
    loop {
        match heard.next().await {
            Some(News::Unknown { seq }) => assert_eq!(seq, 99),
            news => return news,
        }
    }
}

fn play_the_old_shim(listener: &UnixListener, beside: Beside) {
    let (mut stream, _) = listener.accept().expect("a daemon comes");
    let mut incoming = BufReader::new(stream.try_clone().expect("two ends")).lines();
    for (who, text) in recorded() {
        if who == "daemon" {
            let said = incoming.next().expect("it says more").expect("it is text");
            assert!(has_grown_from(&json(text), &json(&said)), "{said}\nwas {text}");
        } else if who == "shim" {
            let text = match beside {
                Beside::Nothing => format!("{text}\n"),
                Beside::Unknown => format!(
                    "{{\"dance\":{{\"how\":\"well\"}}}}\n{{\"seq\":99,\"at\":1,\"dreamt\":{{}}}}\n{}\n",
                    with_another_field(text)
                ),
            };
            stream.write_all(text.as_bytes()).expect("it listens");
        }
    }
}

/// Says a word as today's daemon says it.
async fn say(words: &Words, text: &str) -> Result {
    match serde_json::from_str(text)? {
        // Said by the link itself.
        Word::Attach { after } => assert_eq!(after, 0),
        Word::Write { id, line } => words.write(id, line).await?,
        Word::Close {} => words.close().await?,
        Word::Signal { signal, whom } => words.signal(&signal, whom).await?,
        Word::Carry { text } => words.carry(text).await?,
        Word::Stop { reason } => words.stop(&reason).await?,
    }
    Ok(())
}

#[tokio::test]
async fn a_shim_of_the_first_version_is_started_and_found() -> Result {
    let scratch = Scratch::new()?;
    let helper = scratch.path.join("helper");
    fs::write(scratch.path.join("launched"), first("launched").to_owned() + "\n")?;
    let text = format!("#!/bin/sh\ncd {0}; cat > launching; cat launched\n", scratch.path.display());
    crate::lab::program(&helper, text.as_bytes());
    let launching = serde_json::from_str(first("launching"))?;
    // A script starts in the environment that a shim is given, and that is nearly none.
    let ready = link::spawn(&helper, &launching).await?;
    let said = fs::read_to_string(scratch.path.join("launching"))?;
    assert!(has_grown_from(&json(first("launching")), &json(&said)), "{said}");
    fs::write(scratch.path.join(SHIM_FILE), first("file"))?;
    assert_eq!(journal::processes(&scratch.path)?.as_ref(), Some(&ready));
    let socket = "$DIR/socket".into();
    assert_eq!(ready, Ready { shim_pid: 11601, shim_start_time: 2_158_032, pid: 11602, start_time: 2_158_033, socket });
    Ok(())
}

#[test]
fn a_daemon_of_the_first_version_is_understood() -> Result {
    talk_as_the_old_daemon(Beside::Nothing)?;
    talk_as_the_old_daemon(Beside::Unknown)
}

/// Has today's shim talk with the daemon that was recorded.
fn talk_as_the_old_daemon(beside: Beside) -> Result {
    let scratch = Scratch::new()?;
    let path = std::env::var("PATH")?;
    let here = |text: &str| text.replace("$DIR", &scratch.path.display().to_string()).replace("$PATH", &path);
    let mut shim = Command::new(HELPER);
    shim.arg0("paseo").args(["__shim", "a1"]).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shim = shim.spawn()?;
    let launching = match beside {
        Beside::Nothing => here(first("launching")),
        Beside::Unknown => with_another_field(&here(first("launching"))),
    };
    shim.stdin.take().ok_or("it has an input")?.write_all(launching.as_bytes())?;
    let mut launched = String::new();
    BufReader::new(shim.stdout.take().ok_or("it has an output")?).read_line(&mut launched)?;
    assert!(has_grown_from(&json(&here(first("launched"))), &json(&launched)), "{launched}");
    let file = fs::read_to_string(scratch.path.join("runs/1").join(SHIM_FILE))?;
    assert!(has_grown_from(&json(&here(first("file"))), &json(&file)), "{file}");

    let mut stream = UnixStream::connect(scratch.path.join("socket"))?;
    // Only so that a shim which says too little fails the test rather than hold it up.
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut incoming = BufReader::new(stream.try_clone()?);
    for (who, text) in recorded() {
        if who == "daemon" {
            let text = match beside {
                Beside::Nothing => format!("{text}\n"),
                Beside::Unknown => format!("{{\"dance\":{{}}}}\n{}\n", with_another_field(text)),
            };
            stream.write_all(text.as_bytes())?;
        } else if who == "shim" {
            let mut said = String::new();
            while said.is_empty() || beside == Beside::Unknown && said.contains("does not understand") {
                said.clear();
                incoming.read_line(&mut said)?;
            }
            assert!(has_grown_from(&json(text), &json(&said)), "{said}was {text}");
            assert_eq!(said.starts_with("{\"seq\""), text.starts_with("{\"seq\""), "records are told apart by that");
        }
    }
    let mut rest = String::new();
    incoming.read_to_string(&mut rest)?;
    assert!(rest.is_empty(), "{rest}");
    assert!(shim.wait()?.success());
    Ok(())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

/// Adds a field that nobody knows: to the record, or to what the word is about.
fn with_another_field(text: &str) -> String {
    let end = if text.ends_with("}}") && !text.starts_with("{\"seq\"") { text.len() - 2 } else { text.len() - 1 };
    let comma = if text[..end].ends_with('{') { "" } else { "," };
    format!("{}{comma}\"colour\":\"blue\"{}", &text[..end], &text[end..])
}

/// Whether something says all that it said once, numbers of processes and times apart.
fn has_grown_from(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => old.iter().all(|(name, old)| {
            new.get(name).is_some_and(|new| match name.as_str() {
                "at" | "pid" | "startTime" | "shimPid" | "shimStartTime" => old.is_i64() && new.is_i64(),
                _ => has_grown_from(old, new),
            })
        }),
        (Value::Array(old), Value::Array(new)) => {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| has_grown_from(old, new))
        }
        (old, new) => old == new,
    }
}
