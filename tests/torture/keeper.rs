//! Keeps a daemon running on a home: when one has died, the next one is started.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use paseo_daemon::fault::Point;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::lab::{Lab, PASEO};

/// How a daemon is to die.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Doom {
    /// When it passes this point, or any, for the nth time.
    At(Option<Point>, u32),
    /// So long after its start.
    After(Duration),
    /// When the keeper ends.
    Never,
}

/// Runs one daemon after the other.
pub(crate) struct Keeper {
    stop: oneshot::Sender<()>,
    deaths: JoinHandle<usize>,
    last: watch::Receiver<bool>,
}

impl Keeper {
    /// Starts the first daemon. Each has its doom; the last one should have none.
    pub(crate) fn start(lab: &Lab, dooms: Vec<Doom>) -> Keeper {
        let (stop, stopped) = oneshot::channel();
        let (at_the_last, last) = watch::channel(false);
        let commands = dooms.iter().map(|doom| (*doom, command(lab, *doom))).collect();
        Keeper { stop, deaths: tokio::spawn(keep(commands, at_the_last, stopped)), last }
    }

    /// Whether every daemon but the last has died.
    pub(crate) fn is_at_the_last(&mut self) -> bool {
        assert!(!self.deaths.is_finished(), "the last daemon has ended");
        *self.last.borrow()
    }

    /// Kills the daemon that runs, and returns how many had died before.
    pub(crate) async fn kill(self) -> usize {
        let _ = self.stop.send(());
        self.deaths.await.expect("a daemon that was told to die by a signal died otherwise")
    }
}

async fn keep(
    commands: Vec<(Doom, Command)>,
    at_the_last: watch::Sender<bool>,
    mut stopped: oneshot::Receiver<()>,
) -> usize {
    let last = commands.len() - 1;
    for (number, (doom, mut command)) in commands.into_iter().enumerate() {
        at_the_last.send_replace(number == last);
        let mut daemon = command.spawn().expect("the program starts");
        let pid = Pid::from_child(&daemon);
        let mut ended = tokio::task::spawn_blocking(move || daemon.wait());
        let stop = tokio::select! {
            status = &mut ended => {
                killed(status.expect("no panic").expect("it can be waited for"));
                continue;
            }
            () = until(doom) => false,
            _ = &mut stopped => true,
        };
        let _ = kill_process(pid, Signal::KILL);
        killed(ended.await.expect("no panic").expect("it can be waited for"));
        if stop {
            return number;
        }
    }
    panic!("the last daemon has died");
}

fn killed(status: ExitStatus) {
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "a daemon ended by itself: {status}");
}

async fn until(doom: Doom) {
    match doom {
        Doom::After(time) => tokio::time::sleep(time).await,
        Doom::At(..) | Doom::Never => std::future::pending().await,
    }
}

fn command(lab: &Lab, doom: Doom) -> Command {
    let mut command = lab.command(Path::new(PASEO));
    if let Doom::At(point, nth) = doom {
        command.env("PASEO_TEST_FAULT", format!("{}:{nth}", point.map_or("any", Point::name)));
    }
    command
}
