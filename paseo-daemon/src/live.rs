//! What watchers see of an agent: its state, the newest entries, and the text of what is still open.
//!
//! A watcher is a cursor. It is told that something changed, and looks here for what it has not shown yet; what is no
//! longer here it reads from the log. So it costs the same however slow it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use futures_core::Stream;
use paseo_sdk::frame;
use paseo_sdk::item::Entry;
use paseo_sdk::machine::Machine;
use paseo_sdk::machine::agent::View;
use paseo_sdk::machine::timeline::{self, Timeline};
use paseo_sdk::model::{AgentId, Delta, Event, ItemId, Timestamp};
use tokio::sync::{Notify, mpsc, watch};

use crate::store::{self, Numbered};

/// How many bytes of the newest entries are kept for watchers of one agent.
const KEPT: usize = 64 * 1024;

/// How many entries a watcher reads from the log at a time.
const PAGE: usize = 64;

/// One agent as watchers see it.
pub(crate) struct Live {
    pub(crate) id: AgentId,
    log: PathBuf,
    scene: Mutex<Scene>,
    view: watch::Sender<Arc<View>>,
    watchers: Arc<Watchers>,
}

struct Scene {
    timeline: Timeline,
    /// The newest entry that is in the log.
    written: i64,
    newest: VecDeque<(i64, Arc<str>)>,
    newest_bytes: usize,
    /// The agent's state as a frame, with a number that grows with each change.
    state: (u64, Arc<str>),
    removed: bool,
}

impl Live {
    pub(crate) fn new(log: PathBuf, timeline: Timeline, view: View, watchers: Arc<Watchers>) -> Live {
        let scene = Scene {
            written: timeline.last_seq(),
            timeline,
            newest: VecDeque::new(),
            newest_bytes: 0,
            state: (0, state_frame(&view)),
            removed: false,
        };
        let id = view.agent.agent_id.clone();
        Live { id, log, scene: Mutex::new(scene), view: watch::Sender::new(Arc::new(view)), watchers }
    }

    /// Returns the agent as it is now.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// Returns the agent as it is now, and every later state; the newest one counts.
    pub(crate) fn views(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Returns the number of the newest entry that is in the log.
    pub(crate) fn last_seq(&self) -> i64 {
        self.scene().written
    }

    /// Tells the timeline something, and returns what it asks for.
    pub(crate) fn timeline(&self, now: Timestamp, input: timeline::Input) -> Vec<timeline::Output> {
        let mut scene = self.scene();
        let Ok(()) = scene.timeline.handle(now, input);
        std::iter::from_fn(|| scene.timeline.poll()).collect()
    }

    /// Returns when text that was added is to be shown.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.scene().timeline.deadline()
    }

    /// Takes the fact that it is `now`: text that was added is shown.
    pub(crate) fn expire(&self, now: Timestamp) {
        let show = {
            let mut scene = self.scene();
            scene.timeline.expire(now);
            std::iter::from_fn(|| scene.timeline.poll()).count() > 0
        };
        if show {
            self.watchers.changed(&self.id);
        }
    }

    /// Shows an entry that is in the log now, as the line that it is there.
    pub(crate) fn entry(&self, seq: i64, line: &str) {
        {
            let mut scene = self.scene();
            let frame = entry_frame(&self.id, line);
            scene.written = seq;
            scene.newest_bytes += frame.len();
            scene.newest.push_back((seq, frame));
            while scene.newest_bytes > KEPT {
                let Some((_, oldest)) = scene.newest.pop_front() else { break };
                scene.newest_bytes -= oldest.len();
            }
        }
        self.watchers.changed(&self.id);
    }

    /// Shows the agent's new state.
    pub(crate) fn state(&self, view: View) {
        {
            let mut scene = self.scene();
            let frame = state_frame(&view);
            if frame != scene.state.1 {
                scene.state = (scene.state.0 + 1, frame);
            }
            if view.agent.turn.is_none() {
                // Nobody follows an agent that rests; whoever comes later reads the log.
                scene.newest.clear();
                scene.newest_bytes = 0;
            }
        }
        self.view.send_replace(Arc::new(view));
        self.watchers.changed(&self.id);
    }

    /// Returns whether the agent was deleted.
    pub(crate) fn is_removed(&self) -> bool {
        self.scene().removed
    }

    /// Shows that the agent was deleted.
    pub(crate) fn remove(&self) {
        self.scene().removed = true;
        self.watchers.changed(&self.id);
    }

    /// Reads entries after `after`, as they are in the log.
    pub(crate) fn entries(&self, after: i64, limit: usize) -> io::Result<Vec<Entry>> {
        let Some(log) = Numbered::open(&self.log)? else { return Ok(Vec::new()) };
        let page = log.after(after, limit, |_| true)?;
        Ok(page.lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    pub(crate) fn log(&self) -> &PathBuf {
        &self.log
    }

    /// Returns the text of open items, when `cursor` stands at the end of the log and nothing is being written.
    pub(crate) fn text(&self, cursor: &mut Cursor) -> Vec<Delta> {
        cursor.text(&self.scene())
    }

    /// Returns the newest text of the items that are open, at most `most` bytes of each.
    pub(crate) fn open_text(&self, most: usize) -> BTreeMap<ItemId, String> {
        let scene = self.scene();
        let newest = |text: &str| {
            let mut from = text.len().saturating_sub(most);
            while !text.is_char_boundary(from) {
                from += 1;
            }
            text[from..].to_owned()
        };
        scene.timeline.open().iter().map(|(item, text)| (item.clone(), newest(&text.text))).collect()
    }

    fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a watcher is with one agent.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    /// The last entry that was shown; none when the watcher does not follow the timeline.
    pub(crate) after: Option<i64>,
    /// The last state that was shown.
    pub(crate) state: Option<u64>,
    /// How much of each open item's text was shown.
    text: BTreeMap<ItemId, usize>,
}

/// What a watcher has not shown yet.
enum Next {
    Frames(Vec<Arc<str>>),
    /// It is no longer kept: read the log.
    Log(i64),
    Nothing,
}

impl Cursor {
    pub(crate) fn following(after: i64) -> Cursor {
        Cursor { after: Some(after), ..Cursor::default() }
    }

    fn next(&mut self, id: &AgentId, scene: &Scene) -> Next {
        if self.state != Some(scene.state.0) && self.after.is_none_or(|after| after >= scene.written) {
            // A state goes after the entries that led to it, so that it never tells of an end before they do.
            self.state = Some(scene.state.0);
            return Next::Frames(vec![scene.state.1.clone()]);
        }
        let Some(after) = self.after else { return Next::Nothing };
        if after < scene.written {
            return match scene.newest.front() {
                Some((oldest, _)) if *oldest <= after + 1 => {
                    let frames = scene.newest.iter().filter(|(seq, _)| *seq > after).take(PAGE);
                    let frames: Vec<_> = frames.map(|(seq, frame)| (*seq, frame.clone())).collect();
                    self.after = frames.last().map(|(seq, _)| *seq);
                    Next::Frames(frames.into_iter().map(|(_, frame)| frame).collect())
                }
                Some(_) | None => Next::Log(after),
            };
        }
        let deltas = self.text(scene);
        match deltas.is_empty() {
            true => Next::Nothing,
            false => Next::Frames(deltas.into_iter().map(|delta| text_frame(id, delta)).collect()),
        }
    }

    fn text(&mut self, scene: &Scene) -> Vec<Delta> {
        // An item whose entry is not in the log yet would be text of something unknown.
        if self.after != Some(scene.timeline.last_seq()) || scene.written != scene.timeline.last_seq() {
            return Vec::new();
        }
        let open = scene.timeline.open();
        self.text.retain(|item, _| open.contains_key(item));
        let mut deltas = Vec::new();
        for (item, text) in open {
            let shown = self.text.entry(item.clone()).or_default();
            if let Some(delta) = text.after(item, *shown) {
                *shown = text.offset + text.text.len();
                deltas.push(delta);
            }
        }
        deltas
    }
}

/// Everybody who watches.
#[derive(Default)]
pub(crate) struct Watchers(Mutex<Vec<Weak<Watcher>>>);

/// One who watches: which agents have changed since it looked.
#[derive(Default)]
pub(crate) struct Watcher {
    changed: Mutex<BTreeSet<AgentId>>,
    bell: Notify,
}

impl Watchers {
    pub(crate) fn changed(&self, id: &AgentId) {
        let mut watchers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|watcher| match watcher.upgrade() {
            Some(watcher) => {
                watcher.changed.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
                watcher.bell.notify_one();
                true
            }
            None => false,
        });
    }

    /// Returns what rings whenever any agent changes.
    pub(crate) fn join(&self) -> Arc<Watcher> {
        let watcher = Arc::new(Watcher::default());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&watcher));
        watcher
    }
}

impl Watcher {
    /// Returns when an agent has changed since the last time.
    pub(crate) async fn rang(&self) -> BTreeSet<AgentId> {
        self.bell.notified().await;
        std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Finds an agent by its id.
pub(crate) type Find = Box<dyn Fn(&AgentId) -> Option<Arc<Live>> + Send>;

/// Which agents a watch is about.
pub(crate) struct Watched {
    /// The agents, and how far each is shown.
    pub(crate) agents: BTreeMap<AgentId, (Arc<Live>, Cursor)>,
    /// Where agents that appear later are found; none when the watch is about these only.
    pub(crate) others: Option<Find>,
}

impl Watched {
    /// Turns it into a stream of frames, whenever `watcher` rings. Its task ends when the stream is dropped.
    pub(crate) fn frames(self, watcher: Arc<Watcher>) -> Pin<Box<dyn Stream<Item = Arc<str>> + Send>> {
        let (frames, stream) = mpsc::channel(1);
        tokio::spawn(self.run(watcher, frames));
        Box::pin(Frames(stream))
    }

    async fn run(mut self, watcher: Arc<Watcher>, frames: mpsc::Sender<Arc<str>>) {
        let mut changed: BTreeSet<AgentId> = self.agents.keys().cloned().collect();
        loop {
            for id in std::mem::take(&mut changed) {
                if self.show(&id, &frames).await.is_none() {
                    return;
                }
            }
            tokio::select! {
                these = watcher.rang() => changed = these,
                () = frames.closed() => return,
            }
        }
    }

    /// Shows all that is new of one agent; none when nobody listens any more.
    async fn show(&mut self, id: &AgentId, frames: &mpsc::Sender<Arc<str>>) -> Option<()> {
        if !self.agents.contains_key(id)
            && let Some(live) = self.others.as_ref().and_then(|find| find(id))
        {
            self.agents.insert(id.clone(), (live, Cursor::default()));
        }
        let Some((live, cursor)) = self.agents.get_mut(id) else { return Some(()) };
        loop {
            let (next, removed) = {
                let scene = live.scene();
                (cursor.next(id, &scene), scene.removed)
            };
            let next = match next {
                Next::Frames(next) => next,
                Next::Log(after) => {
                    let (last, page) = read_page(live.clone(), after).await;
                    let Some(last) = last else { return Some(()) };
                    cursor.after = Some(last);
                    page
                }
                Next::Nothing if removed => {
                    self.agents.remove(id);
                    return frames.send(event_frame(&Event::AgentRemoved { agent_id: id.clone() })).await.ok();
                }
                Next::Nothing => return Some(()),
            };
            for frame in next {
                frames.send(frame).await.ok()?;
            }
        }
    }
}

/// Reads a page of the log, and up to which number it goes: an entry of a newer version is in it and cannot be shown.
async fn read_page(live: Arc<Live>, after: i64) -> (Option<i64>, Vec<Arc<str>>) {
    let read = tokio::task::spawn_blocking(move || {
        let log = Numbered::open(&live.log)?;
        let page = log.map(|log| log.after(after, PAGE, |_| true)).transpose()?.unwrap_or_default();
        let last = page.lines.last().and_then(|line| store::number(line.as_bytes()));
        let known = page.lines.iter().filter(|line| serde_json::from_str::<Entry>(line).is_ok());
        io::Result::Ok((last, known.map(|line| entry_frame(&live.id, line)).collect()))
    });
    match read.await {
        Ok(Ok(page)) => page,
        Ok(Err(error)) => {
            tracing::warn!(%error, "a timeline cannot be read");
            (None, Vec::new())
        }
        Err(_) => (None, Vec::new()),
    }
}

struct Frames(mpsc::Receiver<Arc<str>>);

impl Stream for Frames {
    type Item = Arc<str>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Arc<str>>> {
        self.0.poll_recv(context)
    }
}

fn entry_frame(id: &AgentId, line: &str) -> Arc<str> {
    frame::notification("agent_entry", &format!(r#"{{"agentId":"{id}","entry":{line}}}"#)).into()
}

fn state_frame(view: &View) -> Arc<str> {
    event_frame(&Event::AgentChanged(Box::new(view.agent.clone())))
}

fn text_frame(id: &AgentId, delta: Delta) -> Arc<str> {
    event_frame(&Event::AgentText { agent_id: id.clone(), delta })
}

fn event_frame(event: &Event) -> Arc<str> {
    frame::event(event).into()
}
