//! `paseo daemon`: start, stop, restart, status, run, logs, token.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use paseo_daemon::lock;
use paseo_sdk::catalogue::{DaemonInfo, GetDaemon, ShutdownDaemon};
use paseo_sdk::client::Client;
use paseo_sdk::{ApiError, Code};
use tokio::sync::oneshot;

use crate::command::DaemonCommand;
use crate::exit::{Exit, Failure};
use crate::prompt;
use crate::render::{self, plural};
use crate::screen::Screen;
use crate::start::{Daemon, INSIDE_AGENT, inside_agent};

/// Carries out a command of the group.
pub(crate) async fn daemon(
    command: DaemonCommand,
    daemon: &Daemon,
    screen: Screen,
    json: bool,
) -> Result<Exit, Failure> {
    match command {
        DaemonCommand::Start { listen } => start(listen, daemon, screen, json).await,
        DaemonCommand::Stop { with_agents, yes } => stop(with_agents, yes, daemon, screen, json).await,
        DaemonCommand::Restart => restart(daemon, screen, json).await,
        DaemonCommand::Status => {
            let info = daemon.running().await?.get_daemon(GetDaemon {}).await?;
            show(&info, &screen, json)?;
            Ok(Exit::Done)
        }
        DaemonCommand::Run { listen, detached } => run(daemon, listen, detached),
        DaemonCommand::Logs { follow, tail } => logs(daemon, &screen, follow, tail).await,
        DaemonCommand::Token => token(daemon, &screen, json),
    }
}

/// Is the daemon, until it is told to stop.
pub(crate) fn run(daemon: &Daemon, listen: Option<String>, detached: bool) -> Result<Exit, Failure> {
    not_from_inside()?;
    if detached {
        // The terminal may go, and Ctrl-C in it is not meant for the daemon.
        match rustix::process::setsid() {
            // One that has been restarted in place leads its session already.
            Ok(_) | Err(rustix::io::Errno::PERM) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
    let code = paseo_daemon::run(Some(daemon.home.clone()), listen);
    match code == std::process::ExitCode::SUCCESS {
        true => Ok(Exit::Done),
        // It has said why.
        false => Ok(Exit::Error),
    }
}

async fn start(listen: Option<String>, daemon: &Daemon, mut screen: Screen, json: bool) -> Result<Exit, Failure> {
    not_from_inside()?;
    here_only(daemon)?;
    let there = daemon.answers().await;
    if !there {
        daemon.start(listen.as_deref()).await?;
    }
    let info = daemon.running().await?.get_daemon(GetDaemon {}).await?;
    if there {
        screen.note("the daemon runs already")?;
    }
    show(&info, &screen, json)?;
    Ok(Exit::Done)
}

async fn stop(with_agents: bool, yes: bool, daemon: &Daemon, mut screen: Screen, json: bool) -> Result<Exit, Failure> {
    not_from_inside()?;
    if !daemon.elsewhere() && !daemon.answers().await {
        screen.note("no daemon runs")?;
        return Ok(Exit::Done);
    }
    let client = daemon.running().await?;
    let info = client.get_daemon(GetDaemon {}).await?;
    if with_agents && info.running > 0 && !yes {
        let what = format!("interrupt {}?", running_agents(info.running));
        prompt::confirm(&mut screen, &what)?;
    }
    let answer = client.shutdown_daemon(ShutdownDaemon { with_agents, restart: false }).await?;
    if !daemon.elsewhere() {
        gone(daemon).await?;
    }
    if json {
        screen.json(&answer)?;
        return Ok(Exit::Done);
    }
    let agents = match answer.running {
        0 => String::new(),
        running => format!("; {}", go_on(running)),
    };
    screen.raw(&format!("the daemon has stopped{agents}\n"))?;
    Ok(Exit::Done)
}

async fn restart(daemon: &Daemon, mut screen: Screen, json: bool) -> Result<Exit, Failure> {
    not_from_inside()?;
    if !daemon.elsewhere() && !daemon.answers().await {
        return start(None, daemon, screen, json).await;
    }
    let client = daemon.running().await?;
    let before = client.get_daemon(GetDaemon {}).await?;
    let answer = client.shutdown_daemon(ShutdownDaemon { with_agents: false, restart: true }).await?;
    let info = restarted(daemon, &before).await?;
    screen.note(&format!("the daemon has restarted; {}", go_on(answer.running)))?;
    show(&info, &screen, json)?;
    Ok(Exit::Done)
}

/// Waits until the daemon that answers is not the one from before.
async fn restarted(daemon: &Daemon, before: &DaemonInfo) -> Result<DaemonInfo, Failure> {
    let again = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            if daemon.answers().await
                && let Ok(info) = fresh(daemon).await
                && (info.pid, info.started_at) != (before.pid, before.started_at)
            {
                return info;
            }
        }
    };
    tokio::time::timeout(STOP_LIMIT, again)
        .await
        .map_err(|_| Failure::unreachable("the daemon did not come back", "`paseo daemon logs --tail 20` may say why"))
}

async fn fresh(daemon: &Daemon) -> Result<DaemonInfo, Failure> {
    let client: Client = daemon.running().await?;
    Ok(client.get_daemon(GetDaemon {}).await?)
}

/// Waits until a daemon lets go of its lock, which it does when it has ended.
async fn gone(daemon: &Daemon) -> Result<(), Failure> {
    let (tell, told) = oneshot::channel();
    let home = daemon.home.clone();
    // Waiting for a lock blocks, and this process ends before a thread that still does.
    std::thread::spawn(move || {
        let _ = tell.send(lock::wait_until_free(&home));
    });
    match tokio::time::timeout(STOP_LIMIT, told).await {
        Ok(_) => Ok(()),
        Err(_) => Err(ApiError::new(Code::Unavailable, "the daemon was told to stop and has not stopped yet")
            .hint("`paseo daemon logs --tail 20` may say why")
            .into()),
    }
}

async fn logs(daemon: &Daemon, screen: &Screen, follow: bool, tail: Option<usize>) -> Result<Exit, Failure> {
    here_only(daemon)?;
    let path = daemon.home.join("daemon.log");
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let message = format!("no log at {}", path.display());
            return Err(ApiError::new(Code::NotFound, message).hint("`paseo daemon start` begins one").into());
        }
        file => file?,
    };
    if let Some(lines) = tail {
        seek_to_last(&mut file, lines)?;
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    loop {
        copy(&mut file, screen)?;
        if !follow {
            return Ok(Exit::Done);
        }
        tokio::select! {
            _ = ticks.tick() => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
        }
        if let Some(next) = rotated(&path, &file)? {
            copy(&mut file, screen)?;
            file = next;
        }
    }
}

fn copy(file: &mut File, screen: &Screen) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut held = Vec::new();
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return screen.raw(&String::from_utf8_lossy(&held));
        }
        held.extend_from_slice(&buffer[..read]);
        // Only whole lines, so that no character is torn; a log has no endless ones.
        if let Some(end) = held.iter().rposition(|byte| *byte == b'\n') {
            screen.raw(&String::from_utf8_lossy(&held[..=end]))?;
            held.drain(..=end);
        }
    }
}

/// Moves to where the last `lines` lines begin.
fn seek_to_last(file: &mut File, lines: usize) -> io::Result<()> {
    const BLOCK: u64 = 64 * 1024;
    let length = file.seek(SeekFrom::End(0))?;
    let (mut at, mut missing) = (length, lines);
    while at > 0 {
        let start = at.saturating_sub(BLOCK);
        let mut block = vec![0; usize::try_from(at - start).unwrap_or_default()];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        for (offset, byte) in block.iter().enumerate().rev() {
            let next = start + offset as u64 + 1;
            // The end of the last line begins no other.
            if *byte == b'\n' && next < length {
                missing = missing.saturating_sub(1);
            }
            if missing == 0 {
                file.seek(SeekFrom::Start(if lines == 0 { length } else { next }))?;
                return Ok(());
            }
        }
        at = start;
    }
    file.seek(SeekFrom::Start(0)).map(drop)
}

/// Returns the file that has taken the place of the one that is open.
fn rotated(path: &Path, open: &File) -> io::Result<Option<File>> {
    let Ok(next) = File::open(path) else { return Ok(None) };
    let (old, new) = (open.metadata()?, next.metadata()?);
    Ok(((old.dev(), old.ino()) != (new.dev(), new.ino())).then_some(next))
}

fn token(daemon: &Daemon, screen: &Screen, json: bool) -> Result<Exit, Failure> {
    if inside_agent() {
        let error = ApiError::new(Code::Forbidden, "the token is not for agents");
        return Err(error.hint("you have your own in PASEO_AGENT_TOKEN").into());
    }
    here_only(daemon)?;
    let path = daemon.home.join("token");
    let token = std::fs::read_to_string(&path).map_err(|error| {
        ApiError::new(Code::NotFound, format!("no token at {}: {error}", path.display()))
            .hint("`paseo daemon start` makes one")
    })?;
    match json {
        true => screen.json(&serde_json::json!({ "token": token.trim() }))?,
        false => screen.raw(&format!("{}\n", token.trim()))?,
    }
    Ok(Exit::Done)
}

fn show(info: &DaemonInfo, screen: &Screen, json: bool) -> io::Result<()> {
    match json {
        true => screen.json(info),
        false => screen.raw(&render::daemon(&screen.out, info)),
    }
}

fn not_from_inside() -> Result<(), Failure> {
    match inside_agent() {
        true => Err(Failure::unreachable("an agent does not start, stop or restart the daemon", INSIDE_AGENT)),
        false => Ok(()),
    }
}

/// Refuses what needs the daemon's files when an address was given.
fn here_only(daemon: &Daemon) -> Result<(), Failure> {
    match daemon.elsewhere() {
        true => Err(Failure::usage("this works on the daemon of a home directory", "give --home in place of --host")),
        false => Ok(()),
    }
}

fn running_agents(running: i64) -> String {
    format!("{running} running {}", plural(usize::try_from(running).unwrap_or_default(), "agent"))
}

fn go_on(running: i64) -> String {
    match running {
        0 => "no agent was running".to_owned(),
        1 => "1 running agent goes on".to_owned(),
        running => format!("{running} running agents go on"),
    }
}

/// How long a daemon may take to stop, or to come back.
const STOP_LIMIT: Duration = Duration::from_secs(30);
