//! Calls that are under way: items go in as there is room, results come out.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::sync::Arc;

use procession_core::{Error, Message, Result};
use procession_process::trampoline::FunctionRef;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TaskError;
use crate::dispatch::Shared;
use crate::job::{Job, Outcome, Task};
use crate::pool::decode;

/// How many items per worker are under way when nobody says how many.
const WINDOW: usize = 4;

/// The common part: gives each result with the place of its item, as they come.
pub(crate) struct Stream<'pool, R, I> {
    shared: &'pool Shared,
    /// The job, or why there is none: then the first item's result says so.
    job: Result<Arc<Job>, Option<Error>>,
    begun: bool,
    items: Option<I>,
    /// The place of the next item.
    next: usize,
    /// How many items have been put in and their results not been taken out.
    under_way: usize,
    window: usize,
    returns: PhantomData<fn() -> R>,
}

impl<'pool, R, I> Stream<'pool, R, I> {
    pub(crate) fn new(
        shared: &'pool Shared,
        workers: usize,
        function: Result<FunctionRef>,
        items: I,
    ) -> Self {
        Self {
            shared,
            job: function.map(|function| Arc::new(Job::new(function, None))).map_err(Some),
            begun: false,
            items: Some(items),
            next: 0,
            under_way: 0,
            window: WINDOW * workers,
            returns: PhantomData,
        }
    }

    pub(crate) fn set_window(&mut self, window: usize) {
        self.window = window;
    }

    fn set_chunk(&mut self, chunk: NonZeroUsize) {
        debug_assert!(!self.begun, "options are set before the first result is asked for");
        if let Ok(job) = &self.job {
            self.job = Ok(Arc::new(Job::new(job.function, Some(chunk))));
            self.window = self.window.max(chunk.get().saturating_mul(2));
        }
    }

    /// Puts items in while there is room; returns the result of an item that cannot be.
    fn feed<T>(&mut self, job: &Arc<Job>) -> Option<(usize, TaskError)>
    where
        T: Serialize,
        I: Iterator<Item = T>,
    {
        // Many at a time: a quarter of the window is let run empty first.
        if self.under_way > self.window - self.window / 4 {
            return None;
        }
        let mut refused = None;
        let before = self.next;
        while self.under_way < self.window
            && let Some(items) = &mut self.items
        {
            let Some(item) = items.next() else {
                self.items = None;
                break;
            };
            let index = self.next;
            self.next += 1;
            match Message::encode(&(item,)) {
                Ok(argument) => {
                    job.submit(Task { index, argument });
                    self.under_way += 1;
                }
                Err(error) => {
                    refused = Some((index, TaskError::NotCalled { index, error }));
                    break;
                }
            }
        }
        if !self.begun {
            self.begun = true;
            self.shared.begin(Arc::clone(job));
        }
        if self.next > before {
            self.shared.ring();
        }
        refused
    }
}

impl<T, R, I> Iterator for Stream<'_, R, I>
where
    T: Serialize,
    R: DeserializeOwned,
    I: Iterator<Item = T>,
{
    type Item = (usize, Result<R, TaskError>);

    fn next(&mut self) -> Option<Self::Item> {
        let job = match &mut self.job {
            Ok(job) => Arc::clone(job),
            Err(error) => {
                let error = error.take()?;
                return Some((0, Err(TaskError::NotCalled { index: 0, error })));
            }
        };
        if let Some((index, error)) = self.feed(&job) {
            return Some((index, Err(error)));
        }
        if self.under_way == 0 {
            return None;
        }
        let outcome: Outcome = job.next_outcome();
        self.under_way -= 1;
        Some((outcome.index, decode(outcome)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, most) = self.items.as_ref().map_or((0, Some(0)), Iterator::size_hint);
        let add = |count: usize| count.checked_add(self.under_way);
        (least.saturating_add(self.under_way), most.and_then(add))
    }
}

impl<R, I> Drop for Stream<'_, R, I> {
    fn drop(&mut self) {
        if let Ok(job) = &self.job {
            job.abandon();
        }
    }
}

/// What both kinds of iterators offer before they are used.
macro_rules! options {
    () => {
        /// How many items may be under way at most: waiting for a worker, running, or done and not fetched. Without this,
        /// four for each worker.
        pub fn window(mut self, items: NonZeroUsize) -> Self {
            self.stream.set_window(items.get());
            self
        }

        /// How many items a worker gets at once. Without this, as many as give the workers equal shares of what waits.
        #[doc(alias = "chunksize")]
        pub fn chunk(mut self, items: NonZeroUsize) -> Self {
            self.stream.set_chunk(items);
            self
        }
    };
}

/// The results of [`Pool::imap`](crate::Pool::imap), in the order of the items.
#[must_use = "nothing is called until results are asked for"]
pub struct Imap<'pool, R, I> {
    stream: Stream<'pool, R, I>,
    /// The place of the result that is due.
    due: usize,
    early: BTreeMap<usize, Result<R, TaskError>>,
}

impl<'pool, R, I> Imap<'pool, R, I> {
    pub(crate) fn new(stream: Stream<'pool, R, I>) -> Self {
        Self { stream, due: 0, early: BTreeMap::new() }
    }

    options!();
}

impl<T, R, I> Iterator for Imap<'_, R, I>
where
    T: Serialize,
    R: DeserializeOwned,
    I: Iterator<Item = T>,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(result) = self.early.remove(&self.due) {
                self.due += 1;
                return Some(result);
            }
            // What came early counts as under way: one slow task must not make the others pile up behind it.
            self.stream.under_way += self.early.len();
            let came = self.stream.next();
            self.stream.under_way -= self.early.len();
            let (index, result) = came?;
            self.early.insert(index, result);
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, most) = self.stream.size_hint();
        let early = self.early.len();
        (least.saturating_add(early), most.and_then(|most| most.checked_add(early)))
    }
}

/// The results of [`Pool::imap_unordered`](crate::Pool::imap_unordered), as they come.
#[must_use = "nothing is called until results are asked for"]
pub struct ImapUnordered<'pool, R, I> {
    stream: Stream<'pool, R, I>,
}

impl<'pool, R, I> ImapUnordered<'pool, R, I> {
    pub(crate) fn new(stream: Stream<'pool, R, I>) -> Self {
        Self { stream }
    }

    options!();
}

impl<T, R, I> Iterator for ImapUnordered<'_, R, I>
where
    T: Serialize,
    R: DeserializeOwned,
    I: Iterator<Item = T>,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.stream.next().map(|(_index, result)| result)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

impl<R, I> fmt::Debug for Stream<'_, R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { next, under_way, window, .. } = self;
        f.debug_struct("Stream")
            .field("taken", next)
            .field("under_way", under_way)
            .field("window", window)
            .finish_non_exhaustive()
    }
}

impl<R, I> fmt::Debug for Imap<'_, R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl<R, I> fmt::Debug for ImapUnordered<'_, R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImapUnordered").field("stream", &self.stream).finish()
    }
}
