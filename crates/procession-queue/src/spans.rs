//! The spans of this process: for each queue the extent that it puts items of middling length into.
//!
//! An item's place is given out under the lock of this process, and filled without it. A span is closed, which says for good how many
//! items it has, when it is full and everybody who was given a place has put its item, or given the place back.

use std::collections::HashMap;

use procession_core::Result;
use procession_sys::wipe::PerProcess;

use crate::memory::Extent;

/// By the number of what this process has of the queue. A fork begins with none.
static SPANS: PerProcess<HashMap<u64, Spans>> = PerProcess::new();

/// Items begin at multiples of this.
const ALIGN: u32 = 64;

#[derive(Debug, Default)]
struct Spans {
    current: Option<Span>,
    /// Those that are full, and not closed.
    full: Vec<Span>,
}

#[derive(Debug)]
struct Span {
    extent: Extent,
    filled: u32,
    items: u32,
    /// How many places were given out whose items are not there yet.
    pending: u32,
}

/// A span that is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closing {
    pub(crate) extent: Extent,
    pub(crate) items: u32,
}

/// A place for an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) extent: Extent,
    pub(crate) at: u32,
}

impl Spans {
    /// Those that nobody fills any more.
    fn closing(&mut self) -> Vec<Closing> {
        let closing = |span: &mut Span| Closing { extent: span.extent, items: span.items };
        self.full
            .extract_if(.., |span| span.pending == 0)
            .map(|mut span| closing(&mut span))
            .collect()
    }
}

/// A place for `len` bytes; nothing when there is no span with so much room.
pub(crate) fn reserve(queue: u64, len: u32) -> Result<Option<Room>> {
    let mut all = SPANS.lock()?;
    let Some(Spans { current: Some(span), .. }) = all.get_mut(&queue) else { return Ok(None) };
    let at = span.filled;
    if u64::from(at) + u64::from(len) > Extent::size(span.extent.class) {
        return Ok(None);
    }
    span.filled = (at + len).next_multiple_of(ALIGN);
    span.items += 1;
    span.pending += 1;
    Ok(Some(Room { extent: span.extent, at }))
}

/// Puts a new span in the place of the one there is; tells which are to be closed now.
pub(crate) fn renew(queue: u64, extent: Extent) -> Result<Vec<Closing>> {
    let mut all = SPANS.lock()?;
    let spans = all.entry(queue).or_default();
    let old = spans.current.replace(Span { extent, filled: 0, items: 0, pending: 0 });
    spans.full.extend(old);
    Ok(spans.closing())
}

/// The item in a place was put, or was not; tells which spans are to be closed now.
pub(crate) fn settle(queue: u64, extent: Extent, was_put: bool) -> Result<Vec<Closing>> {
    let mut all = SPANS.lock()?;
    let Some(spans) = all.get_mut(&queue) else { return Ok(Vec::new()) };
    let mut those = spans.current.iter_mut().chain(&mut spans.full);
    if let Some(span) = those.find(|span| span.extent == extent) {
        span.pending -= 1;
        span.items -= u32::from(!was_put);
    }
    match spans.full.is_empty() {
        true => Ok(Vec::new()),
        false => Ok(spans.closing()),
    }
}

/// This process has the queue no more; the spans to be closed.
pub(crate) fn forget(queue: u64) -> Result<Vec<Closing>> {
    let spans = SPANS.lock()?.remove(&queue).unwrap_or_default();
    let all = spans.current.into_iter().chain(spans.full);
    Ok(all.map(|Span { extent, items, .. }| Closing { extent, items }).collect())
}
