//! What a session holds in memory: what is given back when it is dropped, counted by the allocator.

use paseo_sdk::provider::Session;

/// Returns how many bytes a session holds.
pub(crate) fn held(session: Box<dyn Session>) -> usize {
    let freed = allocation_counter::measure(|| drop(session)).bytes_current;
    usize::try_from(-freed).unwrap_or(0)
}
