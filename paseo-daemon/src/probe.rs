//! Asks the installed programs of providers about themselves: their version, who is logged in, which models there are.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use paseo_sdk::provider::{Login, Provider, Question};
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

/// How long a program may take to answer. Some need seconds to start when much else goes on.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much of an answer is read, in bytes.
const LONGEST: u64 = 4 * 1024 * 1024;

/// Finds a program: a path, or a name on the `PATH` of an environment. Where that is a script that only starts another
/// program, it is that one; `native` are the places where such a program may be.
pub(crate) fn find(name: &str, native: &[&str], env: &BTreeMap<String, String>) -> Option<PathBuf> {
    let found = match name.contains('/') {
        true => Some(PathBuf::from(name)).filter(|file| is_program(file)),
        false => {
            let directories = std::env::split_paths(OsStr::new(env.get("PATH")?));
            directories.map(|directory| directory.join(name)).find(|file| is_program(file))
        }
    }?;
    Some(started_by(&found, native).unwrap_or(found))
}

/// Returns the program that a script starts, where it is in one of these places beside that.
fn started_by(script: &Path, places: &[&str]) -> Option<PathBuf> {
    let script = script.canonicalize().ok()?;
    let directory = script.parent()?;
    places.iter().map(|place| directory.join(place)).find(|file| is_program(file))?.canonicalize().ok()
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Returns the version that a program says it is.
pub(crate) async fn version(program: &Path, env: &BTreeMap<String, String>) -> Option<String> {
    let said = said(program, &["--version"], env).await?;
    let version = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    Some(version.chars().take(40).collect())
}

/// Returns whether somebody is logged in, as far as the program says so.
pub(crate) async fn logged_in(provider: &dyn Provider, program: &Path, env: &BTreeMap<String, String>) -> Option<bool> {
    let question = provider.login_question()?;
    let login = if question.lines.is_empty() {
        let args: Vec<_> = question.args.iter().map(String::as_str).collect();
        provider.login(&said(program, &args, env).await?)
    } else {
        ask(program, &question, env, |line| provider.login(line)).await.ok()
    };
    match login? {
        Login::In => Some(true),
        Login::Out => Some(false),
        Login::Unknown => None,
    }
}

/// Runs a program and returns what it prints.
async fn said(program: &Path, args: &[&str], env: &BTreeMap<String, String>) -> Option<String> {
    let mut probe = Probe::start(program, args, env).ok()?;
    let stdout = probe.child.stdout.take()?;
    let read = async {
        let mut text = String::new();
        stdout.take(LONGEST).read_to_string(&mut text).await.ok()?;
        Some(text)
    };
    tokio::time::timeout(PATIENCE, read).await.ok()?
}

/// Asks a program something, and returns what is made of the first line that means something.
pub(crate) async fn ask<T>(
    program: &Path,
    question: &Question,
    env: &BTreeMap<String, String>,
    answer: impl Fn(&str) -> Option<T>,
) -> Result<T, String> {
    let mut probe = Probe::start(program, &question.args, env).map_err(|error| error.to_string())?;
    let (Some(mut stdin), Some(stdout)) = (probe.child.stdin.take(), probe.child.stdout.take()) else {
        return Err("it has no input or no output".to_owned());
    };
    let conversation = async {
        stdin
            .write_all(format!("{}\n", question.lines.join("\n")).as_bytes())
            .await
            .map_err(|error| error.to_string())?;
        let mut lines = BufReader::new(stdout.take(LONGEST)).lines();
        while let Some(said) = lines.next_line().await.map_err(|error| error.to_string())? {
            if let Some(answer) = answer(&said) {
                return Ok(answer);
            }
        }
        Err("it ended without a word about it".to_owned())
    };
    match tokio::time::timeout(PATIENCE, conversation).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("it took longer than {} s", PATIENCE.as_secs())),
    }
}

/// A program that is asked something. When it is dropped, it and its process group are ended.
struct Probe {
    child: Child,
}

impl Probe {
    fn start<A: AsRef<OsStr>>(program: &Path, args: &[A], env: &BTreeMap<String, String>) -> std::io::Result<Probe> {
        let child = Command::new(program)
            .args(args)
            .env_clear()
            .envs(env)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Probe { child })
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let group = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            // It may have ended by itself; the runtime reaps it either way.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}
