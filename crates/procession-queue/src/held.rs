//! What this process got of queues whose getters say when an item is done, and has not said of.

use std::collections::{HashMap, VecDeque};

use procession_core::Result;
use procession_sys::wipe::PerProcess;

use crate::raw::stamp::Position;

/// By the number of what this process has of the queue, oldest first. A fork begins with none.
static HELD: PerProcess<HashMap<u64, VecDeque<Position>>> = PerProcess::new();

/// An item was got.
pub(crate) fn push(queue: u64, position: Position) -> Result<()> {
    HELD.lock()?.entry(queue).or_default().push_back(position);
    Ok(())
}

/// The oldest that was got.
pub(crate) fn pop(queue: u64) -> Result<Option<Position>> {
    Ok(HELD.lock()?.get_mut(&queue).and_then(VecDeque::pop_front))
}

/// This process has the queue no more; what it got.
pub(crate) fn forget(queue: u64) -> Result<VecDeque<Position>> {
    Ok(HELD.lock()?.remove(&queue).unwrap_or_default())
}
