//! Fault points: the instants between two effects at which a test kills the daemon.
//!
//! Nothing arms them but the program that the tests build, so that in every other one a point costs the look at a number.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Declares the points, in the order in which a life of an agent meets them.
macro_rules! points {
    ($($(#[$doc:meta])* $point:ident $name:literal,)*) => {
        /// An instant between two effects.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point {
            $($(#[$doc])* $point,)*
        }

        impl Point {
            /// Every point.
            pub const ALL: &[Point] = &[$(Point::$point),*];

            /// Returns the name by which it is chosen.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Point::$point => $name,)*
                }
            }
        }
    };
}

points! {
    /// The new text of a file is on the disk, and the old one is still in its place.
    FileWritten "file-written",
    /// The new file is in its place, which the disk may not know yet.
    FileRenamed "file-renamed",
    /// An agent has its directory and no memory: it does not exist yet.
    AgentFurnished "agent-furnished",
    /// An agent exists, and nobody was told.
    AgentMade "agent-made",
    /// A line is in the outbox, and perhaps not on the disk.
    OutboxAppended "outbox-appended",
    /// A line is on the disk, and nothing follows from it yet.
    OutboxSynced "outbox-synced",
    /// All that follows from a request is done, and whoever asked is not answered.
    Obeyed "obeyed",
    /// A process is to be started.
    Launching "launching",
    /// A process runs, and nobody listens to it.
    Launched "launched",
    /// The daemon listens to a process, and its agent does not know.
    Linked "linked",
    /// A line is to be told.
    Telling "telling",
    /// A line is on its way to the agent.
    Told "told",
    /// A record was read, and its agent does not know what follows.
    RecordRead "record-read",
    /// An entry is in the timeline, and no watcher knows.
    EntryWritten "entry-written",
    /// All that follows from a record is done.
    RecordHeard "record-heard",
    /// The timeline is on the disk, and the memory does not know.
    TimelineSynced "timeline-synced",
    /// The memory is on the disk, and the outbox still has what it knows.
    MemorySaved "memory-saved",
    /// The outbox is emptied of what the memory knows.
    OutboxRewritten "outbox-rewritten",
    /// A report is in the file of the agent that it is for, and the one that made it does not know.
    ReportArrived "report-arrived",
    /// What is decided about a schedule is in its file, and nothing follows from it yet.
    ScheduleKept "schedule-kept",
    /// An agent has the prompt of a run, and its schedule does not know.
    RunAccepted "run-accepted",
    /// A run has ended, and its schedule does not know.
    RunEnded "run-ended",
    /// A shim was asked to carry its journal over.
    Carried "carried",
    /// What an earlier life left of an agent is read, and its process is not found yet.
    JournalRead "journal-read",
    /// The processes of a shim that was killed are ended, and its journal is not.
    OrphansEnded "orphans-ended",
    /// The journal of a shim that was killed is ended, and its agent does not know.
    JournalEnded "journal-ended",
    /// All journals of an agent are read, and it does nothing yet.
    Restored "restored",
    /// A step on a worktree is to be carried out.
    WorktreeStep "worktree-step",
    /// A step on a worktree is carried out, and nothing follows from it yet.
    WorktreeStepDone "worktree-step-done",
    /// What a worktree holds is in the repository, and no reference keeps it.
    WorktreeWritten "worktree-written",
    /// What a worktree holds is kept, and its mark does not know.
    WorktreeKept "worktree-kept",
    /// A file of a worktree's registration is to be removed.
    WorktreeForgetting "worktree-forgetting",
    /// A worktree is registered no more, and its files are there.
    WorktreeForgotten "worktree-forgotten",
    /// The branch of a worktree is removed, and what is set for it is not.
    WorktreeBranchGone "worktree-branch-gone",
    /// A worktree that comes back is registered, and has no files.
    WorktreeRegistered "worktree-registered",
    /// A worktree that comes back has its files, and its index does not know them.
    WorktreeFilled "worktree-filled",
    /// A damaged part of a log is copied, and still in its place.
    DamageCopied "damage-copied",
    /// An agent is deleted, and its files are there.
    Deleting "deleting",
    /// A daemon has let go of everything, and has not become the next one.
    Restarting "restarting",
}

/// Lets the process be killed when it passes `point`, or any point when there is none, for the `nth` time.
#[doc(hidden)]
pub fn arm(point: Option<Point>, nth: u32) {
    LEFT.store(nth, Ordering::Relaxed);
    ARMED.store(point.map_or(ANY, |point| point as usize), Ordering::Release);
}

/// Is killed here when this is the passage that was chosen.
pub(crate) fn reached(point: Point) {
    let armed = ARMED.load(Ordering::Acquire);
    if (armed == point as usize || armed == ANY) && LEFT.fetch_sub(1, Ordering::Relaxed) == 1 {
        // As a crash or a person would: nothing is cleaned up.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

static ARMED: AtomicUsize = AtomicUsize::new(NONE);
static LEFT: AtomicU32 = AtomicU32::new(0);

const NONE: usize = usize::MAX;
const ANY: usize = usize::MAX - 1;
