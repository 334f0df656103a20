//! Waiting for a time of the wall clock, which may be set, and which goes on while the machine sleeps.

use std::time::Duration;

use paseo_sdk::model::Timestamp;

use crate::owner::now;

/// What waits.
#[derive(Debug)]
pub(crate) struct Alarm {
    #[cfg(target_os = "linux")]
    timer: Option<linux::Timer>,
}

impl Alarm {
    pub(crate) fn new() -> Alarm {
        Alarm {
            #[cfg(target_os = "linux")]
            timer: linux::Timer::new()
                .inspect_err(|error| tracing::warn!(%error, "there is no timer, and the clock is looked at instead"))
                .ok(),
        }
    }

    /// Returns when the clock shows `due`, at once when that is over, or when the clock was set; never when there is none.
    /// It may return too early.
    pub(crate) async fn until(&self, due: Option<Timestamp>) {
        let Some(due) = due else { return std::future::pending().await };
        #[cfg(target_os = "linux")]
        if let Some(timer) = &self.timer {
            match timer.until(due).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "the timer fails, and the clock is looked at instead"),
            }
        }
        // The clock of `sleep` may stand still while the machine sleeps, and knows nothing of a clock that is set.
        let left = Duration::from_millis(u64::try_from(due.0.saturating_sub(now().0)).unwrap_or_default());
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

/// How often the clock is looked at where the system cannot say that it was set.
const LOOK: Duration = Duration::from_secs(20);

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::OwnedFd;

    use paseo_sdk::model::Timestamp;
    use rustix::io::Errno;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// A timer of the wall clock.
    #[derive(Debug)]
    pub(super) struct Timer(AsyncFd<OwnedFd>);

    impl Timer {
        pub(super) fn new() -> io::Result<Timer> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
            #[expect(
                deprecated,
                reason = "the other way in is unsafe, for what does not own its descriptor; this does"
            )]
            let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
            Ok(Timer(timer))
        }

        pub(super) async fn until(&self, due: Timestamp) -> io::Result<()> {
            // A time of nothing at all would turn the timer off.
            let due = due.0.max(1);
            let value = Timespec { tv_sec: due.div_euclid(1000), tv_nsec: due.rem_euclid(1000) * 1_000_000 };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
            let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
            if let Err(error) = timerfd_settime(&self.0, flags, &once) {
                // Where the clock was set before anybody waited, the timer is on all the same.
                return if error == Errno::CANCELED { Ok(()) } else { Err(error.into()) };
            }
            loop {
                let mut ready = self.0.readable().await?;
                let read = ready.try_io(|timer| match rustix::io::read(timer, &mut [0; 8]) {
                    // The clock was set.
                    Err(Errno::CANCELED) => Ok(0),
                    read => Ok(read?),
                });
                if let Ok(read) = read {
                    return read.map(drop);
                }
            }
        }
    }
}
