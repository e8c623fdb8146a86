//! Calls that are under way: items go in as there is room, results come out.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use procession_core::{Error, Message, Result};
use procession_process::trampoline::FunctionRef;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TaskError;
use crate::dispatch::Shared;
use crate::job::{Job, Outcome, Task};
use crate::options::Options;
use crate::pool::decode;

/// How many items per worker are under way when nobody says how many.
const WINDOW: usize = 4;

/// How many bytes of arguments may wait for a worker before no further item is taken.
const MOST_WAITING_BYTES: usize = 16 << 20;

/// How long taking items may hold up a result that is there.
const SLOW_INPUT: Duration = Duration::from_micros(200);

/// The common part: gives each result with the place of its item, as they come.
pub(crate) struct Stream<'pool, R, I> {
    shared: &'pool Shared,
    /// What is called, or why nothing is: then the first item's result says so.
    function: Result<FunctionRef, Option<Error>>,
    options: Options,
    /// From the first item on.
    job: Option<Arc<Job>>,
    items: Option<I>,
    /// The place of the next item.
    next: usize,
    /// How many items have been put in and their results not been taken out.
    under_way: usize,
    workers: usize,
    /// How many may be, unless somebody has said so.
    default_window: Option<usize>,
    returns: PhantomData<fn() -> R>,
}

impl<'pool, R, I> Stream<'pool, R, I> {
    pub(crate) fn new(
        shared: &'pool Shared,
        workers: usize,
        function: Result<FunctionRef>,
        options: Options,
        items: I,
    ) -> Self {
        Self {
            shared,
            function: function.map_err(Some),
            options,
            job: None,
            items: Some(items),
            next: 0,
            under_way: 0,
            workers,
            default_window: None,
            returns: PhantomData,
        }
    }

    fn set_chunk(&mut self, chunk: NonZeroUsize) {
        self.options.chunk = Some(chunk);
        if let Some(job) = &self.job {
            job.set_chunk(chunk);
        }
    }

    /// The window, unless somebody has said which.
    pub(crate) fn set_default_window(&mut self, window: usize) {
        self.default_window = Some(window);
    }

    fn window(&self) -> usize {
        let Options { chunk, window, .. } = self.options;
        let for_chunks = chunk.map_or(0, |chunk| chunk.get().saturating_mul(2 * self.workers));
        let default = || self.default_window.unwrap_or((WINDOW * self.workers).max(for_chunks));
        window.map_or_else(default, NonZeroUsize::get)
    }

    /// The job, which begins with the first item.
    fn job(&mut self) -> Result<Arc<Job>, Option<Error>> {
        if let Some(job) = &self.job {
            return Ok(Arc::clone(job));
        }
        let function = match &mut self.function {
            Ok(function) => *function,
            Err(error) => return Err(error.take()),
        };
        let job = Arc::new(Job::new(Some(function), self.options));
        self.shared.begin(Arc::clone(&job));
        self.job = Some(Arc::clone(&job));
        Ok(job)
    }

    /// Puts items in while there is room; returns the result of an item that cannot be.
    ///
    /// `kept` results have been taken out and count as under way all the same.
    fn feed<T>(&mut self, job: &Arc<Job>, kept: usize) -> Option<(usize, TaskError)>
    where
        T: Serialize,
        I: Iterator<Item = T>,
    {
        let window = self.window();
        let room = |this: &Self| window.saturating_sub(this.under_way + kept);
        // Many at a time: a quarter of the window is let run empty first.
        if room(self) < (window / 4).max(1) {
            return None;
        }
        let start = Instant::now();
        while room(self) > 0 && (self.under_way == 0 || job.waiting_bytes() < MOST_WAITING_BYTES) {
            let item = self.items.as_mut()?.next();
            let Some(item) = item else {
                self.items = None;
                job.seal();
                return None;
            };
            let encoded = Message::encode(&(item,));
            let index = self.next;
            self.next += 1;
            match encoded {
                Ok(argument) => {
                    job.submit(Task::new(index, argument));
                    self.under_way += 1;
                    self.shared.ring();
                }
                Err(error) => return Some((index, TaskError::NotCalled { index, error })),
            }
            // An input that is slow does not hold up what has been done.
            if start.elapsed() > SLOW_INPUT && job.has_outcome() {
                return None;
            }
        }
        None
    }

    fn advance<T>(&mut self, kept: usize) -> Option<(usize, Result<R, TaskError>)>
    where
        T: Serialize,
        R: DeserializeOwned,
        I: Iterator<Item = T>,
    {
        let job = match self.job() {
            Ok(job) => job,
            Err(error) => {
                return error.map(|error| (0, Err(TaskError::NotCalled { index: 0, error })));
            }
        };
        if let Some((index, error)) = self.feed(&job, kept) {
            return Some((index, Err(error)));
        }
        if self.under_way == 0 {
            return None;
        }
        let outcome: Outcome = job.next_outcome();
        self.under_way -= 1;
        Some((outcome.index, decode(outcome)))
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
        self.advance(0)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, most) = self.items.as_ref().map_or((0, Some(0)), Iterator::size_hint);
        let add = |count: usize| count.checked_add(self.under_way);
        (least.saturating_add(self.under_way), most.and_then(add))
    }
}

impl<R, I> Drop for Stream<'_, R, I> {
    fn drop(&mut self) {
        if let Some(job) = &self.job {
            self.shared.abandon(job);
        }
    }
}

/// What both kinds of iterators offer before they are used.
macro_rules! options {
    () => {
        /// How many items may be under way at most: waiting for a worker, running, or done and not fetched. Without this,
        /// four for each worker, or two chunks. An input that waits for earlier results needs a window that it can fill:
        /// with a window of one, each item is taken when the result before it has been fetched.
        pub fn window(mut self, items: NonZeroUsize) -> Self {
            self.stream.options.window = Some(items);
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
            let (index, result) = self.stream.advance(self.early.len())?;
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
        let Self { next, under_way, .. } = self;
        f.debug_struct("Stream")
            .field("taken", next)
            .field("under_way", under_way)
            .field("window", &self.window())
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
