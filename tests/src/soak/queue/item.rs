//! What goes through the queues of this family, and the queues.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use procession::{Error, Handle, Result};
use procession_queue::{JoinableQueue, Queue, QueueBuilder};
use procession_sys::Deadline;
use procession_sys::poll;
use serde::{Deserialize, Serialize};

use crate::Random;

/// An item: who put it, which of his it is, and what follows from that.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) putter: u64,
    pub(super) number: u64,
    /// Text is copied as a whole, also without optimizations.
    content: String,
    handle: Option<Handle<OwnedFd>>,
}

/// Who gets it, ends.
const LAST: u64 = u64::MAX;

impl Item {
    pub(super) fn new(putter: usize, number: usize, len: usize) -> Self {
        let (putter, number) = (putter as u64, number as u64);
        Self { putter, number, content: text(putter, number, len), handle: None }
    }

    pub(super) fn with(self, handle: Option<OwnedFd>) -> Self {
        Self { handle: handle.map(Handle), ..self }
    }

    pub(super) fn last() -> Self {
        Self { putter: LAST, ..Self::new(0, 0, 0) }
    }

    pub(super) fn is_last(&self) -> bool {
        self.putter == LAST
    }

    /// It is whole.
    pub(super) fn check(&self, len: usize, has_handle: bool) {
        let Self { putter, number, content, handle } = self;
        assert!(*content == text(*putter, *number, len), "item {number} of {putter} is not whole");
        assert_eq!(handle.is_some(), has_handle, "item {number} of {putter}");
        if let Some(Handle(handle)) = handle {
            // The writing end of a pipe that nobody writes to or closes.
            let is_closed = poll::wait_readable(handle.as_fd(), Deadline::PAST);
            assert!(!is_closed.expect("a poll"), "item {number} of {putter} has another's handle");
        }
    }
}

fn text(putter: u64, number: u64, len: usize) -> String {
    let letter = b'a' + u8::try_from((putter * 31 + number) % 26).unwrap_or(0);
    char::from(letter).to_string().repeat(len)
}

/// What a getter does with what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavour {
    /// It is got.
    Plain,
    /// It is got, and called done afterwards.
    Tasks,
    /// It is leased.
    Leases,
}

/// A queue of this family.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Line {
    Plain(Queue<Item>),
    Tasks(JoinableQueue<Item>),
    Leases(JoinableQueue<Item>),
}

/// How a queue is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) flavour: Flavour,
    pub(super) items: Option<usize>,
    pub(super) bytes: Option<u64>,
    pub(super) attempts: Option<u16>,
}

impl Shape {
    pub(super) fn make(self) -> Line {
        let mut builder = QueueBuilder::default();
        if let Some(items) = self.items {
            builder = builder.items(items);
        }
        if let Some(bytes) = self.bytes {
            builder = builder.bytes(bytes);
        }
        if let Some(attempts) = self.attempts {
            builder = builder.attempts(attempts);
        }
        match self.flavour {
            Flavour::Plain => Line::Plain(builder.build().expect("a queue")),
            Flavour::Tasks => Line::Tasks(builder.build_joinable().expect("a queue")),
            Flavour::Leases => Line::Leases(builder.build_joinable().expect("a queue")),
        }
    }
}

/// Does the same with either kind.
macro_rules! either {
    ($line:expr, $queue:ident => $do:expr) => {
        match $line {
            Line::Plain($queue) => $do,
            Line::Tasks($queue) | Line::Leases($queue) => $do,
        }
    };
}

impl Line {
    pub(super) fn put(&self, item: Item) -> Result<()> {
        either!(self, queue => queue.put(item).map_err(Error::from))
    }

    /// Puts an item; tells whether there was room.
    pub(super) fn try_put(&self, item: Item) -> bool {
        let put = either!(self, queue => queue.try_put(item));
        match put {
            Ok(()) => true,
            Err(procession_queue::TryPutError::Full(_)) => false,
            Err(other) => panic!("{other}"),
        }
    }

    /// Gets an item that is there soon, and says that it is done.
    pub(super) fn take(&self, patience: Duration) -> Result<Item> {
        match self {
            Self::Plain(queue) => queue.get_timeout(patience).map_err(Error::from),
            Self::Tasks(queue) => {
                let item = queue.get_timeout(patience)?;
                queue.task_done()?;
                Ok(item)
            }
            Self::Leases(queue) => queue.lease_timeout(patience)?.into_done(),
        }
    }

    pub(super) fn close(&self) {
        either!(self, queue => queue.close()).expect("it can be closed");
    }

    pub(super) fn len(&self) -> usize {
        either!(self, queue => queue.len()).expect("a look")
    }

    pub(super) fn lost(&self) -> usize {
        super::ledger::small(either!(self, queue => queue.lost()).expect("a look"))
    }

    pub(super) fn memory(&self) -> u64 {
        either!(self, queue => queue.memory_bytes()).expect("a look")
    }

    pub(super) fn joinable(&self) -> Option<&JoinableQueue<Item>> {
        match self {
            Self::Plain(_) => None,
            Self::Tasks(queue) | Self::Leases(queue) => Some(queue),
        }
    }

    /// How many items were tried in vain as often as they may be.
    pub(super) fn exhausted(&self) -> usize {
        let exhausted = self.joinable().map_or(0, |queue| queue.exhausted().expect("a look"));
        super::ledger::small(exhausted)
    }
}

/// The lengths of items, and how many each putter puts at most: inline, in a span, in a large part of one, in an extent.
const SIZES: [(usize, usize); 4] = [(4, 30_000), (300, 15_000), (9_000, 3_000), (70_000, 600)];

/// A length, and how many of it there are.
pub(super) fn size(random: &mut Random) -> (usize, usize) {
    SIZES[random.below(SIZES.len())]
}
