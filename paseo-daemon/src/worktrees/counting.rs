//! Counting what gix checks out, and telling it while that goes on.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use gix::progress::{Count, Id, MessageLevel, NestedProgress, Step, StepShared, UNKNOWN, Unit};
use paseo_sdk::model::Progress;
use paseo_sdk::operation::Reporter;

/// Carries out a checkout that counts, and tells `reporter` meanwhile how far it is, at last where it ended.
pub(super) fn report_checkout<T>(reporter: &Reporter, message: &str, checkout: impl FnOnce(Counting) -> T) -> T {
    let counting = Counting::default();
    if !reporter.is_heard() {
        return checkout(counting);
    }
    let counted = counting.clone();
    let (working, over) = channel::<()>();
    let watch = move || {
        let mut told = None;
        loop {
            let ended = over.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout);
            let progress = counted.progress(message);
            if told.as_ref() != Some(&progress) {
                reporter.report(progress.clone());
                told = Some(progress);
            }
            if ended {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        // gix counts and tells nobody, so somebody has to look.
        if let Err(error) = std::thread::Builder::new().spawn_scoped(scope, watch) {
            tracing::debug!("nobody is told how far a checkout is: {error}");
        }
        // Dropped at the end, also in a panic, it ends the watching.
        let _working = working;
        checkout(counting)
    })
}

/// What gix counts during a checkout: files below `checkout`, bytes below `writing`. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Counting {
    files: Counter,
    bytes: Counter,
    /// What this part of it counts.
    own: Counter,
}

#[derive(Clone, Debug, Default)]
struct Counter {
    step: StepShared,
    /// 0 as long as it is not known.
    total: StepShared,
}

impl Counting {
    fn progress(&self, message: &str) -> Progress {
        let number = |step: &StepShared| i64::try_from(step.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        Progress {
            done: Some(number(&self.files.step)),
            total: Some(number(&self.files.total)).filter(|total| *total > 0),
            unit: Some("files".to_owned()),
            bytes: Some(number(&self.bytes.step)),
            ..Progress::new("checkout").message(message)
        }
    }
}

impl NestedProgress for Counting {
    type SubProgress = Counting;

    fn add_child(&mut self, name: impl Into<String>) -> Counting {
        let own = match name.into().as_str() {
            "checkout" => self.files.clone(),
            "writing" => self.bytes.clone(),
            _ => Counter::default(),
        };
        Counting { own, ..self.clone() }
    }

    fn add_child_with_id(&mut self, name: impl Into<String>, _id: Id) -> Counting {
        self.add_child(name)
    }
}

impl gix::progress::Progress for Counting {
    fn init(&mut self, max: Option<Step>, _unit: Option<Unit>) {
        self.own.total.store(max.unwrap_or(0), Ordering::Relaxed);
    }

    fn set_name(&mut self, _name: String) {}

    fn name(&self) -> Option<String> {
        None
    }

    fn id(&self) -> Id {
        UNKNOWN
    }

    fn message(&self, _level: MessageLevel, _message: String) {}
}

impl Count for Counting {
    fn set(&self, step: Step) {
        self.own.step.store(step, Ordering::Relaxed);
    }

    fn step(&self) -> Step {
        self.own.step.load(Ordering::Relaxed)
    }

    fn inc_by(&self, step: Step) {
        self.own.step.fetch_add(step, Ordering::Relaxed);
    }

    fn counter(&self) -> StepShared {
        self.own.step.clone()
    }
}

/// How long it counts before that is told.
const PAUSE: Duration = Duration::from_millis(100);
