//! What programs have said about themselves: asked once for all who want to know it, and again when it is old.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use paseo_sdk::error::{ApiError, Code};
use paseo_sdk::model::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What is known, by the name of whom it is about. Whoever is being asked when this is dropped is asked no more.
pub struct Cache<T> {
    clock: fn() -> Timestamp,
    slots: Arc<Mutex<BTreeMap<String, Slot<T>>>>,
    asking: Mutex<JoinSet<()>>,
}

/// Something that was said, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Known<T> {
    /// What was said.
    pub value: T,
    /// When.
    pub at: Timestamp,
    /// Why asking again has given nothing since.
    pub failed: Option<ApiError>,
}

/// An answer that is on its way.
pub struct Asking<T>(watch::Receiver<Option<Answer<T>>>);

type Answer<T> = Result<Known<T>, ApiError>;

struct Slot<T> {
    known: Option<Known<T>>,
    /// When somebody was asked last.
    asked_at: Timestamp,
    answer: watch::Receiver<Option<Answer<T>>>,
}

impl<T: Clone + Send + Sync + 'static> Cache<T> {
    /// Makes one in which nothing is known.
    #[must_use]
    pub fn new(clock: fn() -> Timestamp) -> Cache<T> {
        Cache { clock, slots: Arc::default(), asking: Mutex::default() }
    }

    /// Returns what is known, without asking.
    #[must_use]
    pub fn known(&self, name: &str) -> Option<Known<T>> {
        lock(&self.slots).get(name)?.known.clone()
    }

    /// Returns what is known. Where the last asking was `age` milliseconds ago or longer, it asks again beside.
    pub fn recall<F>(&self, name: &str, age: i64, ask: impl FnOnce() -> F) -> Option<Known<T>>
    where
        F: Future<Output = Result<T, ApiError>> + Send + 'static,
    {
        let (known, asked_at) = {
            let slots = lock(&self.slots);
            let slot = slots.get(name)?;
            (slot.known.clone()?, slot.asked_at)
        };
        if asked_at.plus(age) <= (self.clock)() {
            let _ = self.ask(name, ask);
        }
        Some(known)
    }

    /// Asks, or waits with those who have asked and have no answer yet. It goes on when nobody waits any more.
    pub fn ask<F>(&self, name: &str, ask: impl FnOnce() -> F) -> Asking<T>
    where
        F: Future<Output = Result<T, ApiError>> + Send + 'static,
    {
        let mut slots = lock(&self.slots);
        let known = match slots.get(name) {
            // One that has panicked has neither answered nor holds the other end.
            Some(slot) if slot.answer.borrow().is_none() && slot.answer.has_changed().is_ok() => {
                return Asking(slot.answer.clone());
            }
            Some(slot) => slot.known.clone(),
            None => None,
        };
        let (done, answer) = watch::channel(None);
        let slot = Slot { known, asked_at: (self.clock)(), answer: answer.clone() };
        slots.insert(name.to_owned(), slot);
        let (question, clock, name, all) = (ask(), self.clock, name.to_owned(), self.slots.clone());
        let mut asking = lock(&self.asking);
        while asking.try_join_next().is_some() {}
        asking.spawn(async move {
            let said = question.await.map(|value| Known { value, at: clock(), failed: None });
            if let Some(slot) = lock(&all).get_mut(&name) {
                match (&said, &mut slot.known) {
                    (Ok(known), _) => slot.known = Some(known.clone()),
                    (Err(error), Some(known)) => known.failed = Some(error.clone()),
                    (Err(_), None) => {}
                }
            }
            done.send_replace(Some(said));
        });
        Asking(answer)
    }
}

impl<T: Clone> Asking<T> {
    /// Returns the answer, once it is there.
    ///
    /// # Errors
    ///
    /// When there is none, and why.
    pub async fn answer(mut self) -> Result<Known<T>, ApiError> {
        match self.0.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone()) {
            Some(answer) => answer,
            None => Err(ApiError::new(Code::Unavailable, "the daemon asks no more").hint("ask again when it is back")),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
