//! Points that a response passes when the test says so.

use std::collections::BTreeSet;

use tokio::sync::watch;

/// Gates by name. Each is closed until it is opened, and then stays open.
#[derive(Default)]
pub(crate) struct Gates(watch::Sender<State>);

#[derive(Default)]
struct State {
    reached: BTreeSet<String>,
    open: BTreeSet<String>,
}

impl Gates {
    pub(crate) fn open(&self, name: &str) {
        self.0.send_modify(|state| {
            state.open.insert(name.to_owned());
        });
    }

    /// Returns when something has come to a gate.
    pub(crate) async fn reached(&self, name: &str) {
        let mut state = self.0.subscribe();
        state.wait_for(|state| state.reached.contains(name)).await.expect("the gates are here");
    }

    /// Comes to a gate, and returns when it is open.
    pub(crate) async fn pass(&self, name: &str) {
        self.0.send_modify(|state| {
            state.reached.insert(name.to_owned());
        });
        let mut state = self.0.subscribe();
        state.wait_for(|state| state.open.contains(name)).await.expect("the gates are here");
    }
}
