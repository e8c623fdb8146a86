//! Processors that no worker has, for pools within pools.
//!
//! A pool leaves as many tokens as this process may use processors beyond its workers. A pool that is made in one of those workers, without a number of
//! workers of its own, takes what it can get. Who has how many stands in the words of the workers' seats, so that those of a worker that dies are free
//! again. Two that take some at the same time may both get less than there is.

use std::num::NonZeroUsize;

use crate::board::Board;
use crate::worker::here;

/// Tokens of the pool that this process is a worker of, which are given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Tokens {
    board: &'static Board,
    seat: usize,
    taken: u64,
}

impl Tokens {
    /// For a pool of at most so many workers; nothing in a process that is no worker.
    pub(crate) fn take(processors: NonZeroUsize) -> Option<Self> {
        let (board, seat) = here()?;
        let taken = board.take_tokens(seat, processors.get() as u64 - 1);
        Some(Self { board, seat, taken })
    }

    /// How many workers the pool may have: one more, since the worker that it is in waits for it.
    pub(crate) fn count(&self) -> NonZeroUsize {
        let taken = usize::try_from(self.taken).unwrap_or_default();
        NonZeroUsize::MIN.saturating_add(taken)
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        // A forked child is no worker.
        if here().is_some() {
            self.board.give_tokens_back(self.seat, self.taken);
        }
    }
}

/// How many tokens a pool of so many workers leaves.
pub(crate) fn left(processors: NonZeroUsize, workers: NonZeroUsize) -> u64 {
    // A pool within a pool has none: what it got it has.
    match here() {
        Some(_) => 0,
        None => processors.get().saturating_sub(workers.get()) as u64,
    }
}
