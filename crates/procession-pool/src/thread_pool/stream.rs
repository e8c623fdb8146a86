//! Results that are fetched while their tasks run in threads.
//!
//! Whoever fetches results takes items from the input, as many as may be under way, and gives them to the workers; so the input is read by the thread
//! that asked, and no further than needed.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use procession_core::{Deadline, Error, ErrorKind, Result};

use crate::TaskError;

use super::ThreadPool;
use super::crew::Crew;
use super::job::{Job, Parcel, Parts, Wait, most_items};
use super::tasks::Options;

/// Items are under way that keep each worker busy for so long.
const AHEAD: Duration = Duration::from_millis(1);

/// At least so many for each worker.
const LEAST_AHEAD: usize = 4;

/// Results that workers have in so long are fetched together.
const TOGETHER: Duration = Duration::from_micros(50);

/// An input that takes longer than that since items were handed over has what it gave handed over.
const SLOW: Duration = Duration::from_micros(100);

/// An input that takes less than that for some items is looked after half as often.
const FAST: Duration = Duration::from_micros(10);
const MOST_STRIDE: u32 = 64;

/// The results of a call, in the order in which they come.
pub(crate) struct Stream<'pool, R, I: Iterator> {
    crew: Arc<Crew>,
    job: Arc<Job<I::Item, R>>,
    /// Absent at its end.
    items: Option<I>,
    /// What the input panicked with.
    panic: Option<Box<dyn std::any::Any + Send>>,
    window: Option<NonZeroUsize>,
    /// Items that were taken, and whose results were not fetched.
    under_way: usize,
    buffer: Vec<I::Item>,
    pool: PhantomData<&'pool ThreadPool>,
}

/// What comes next, by a deadline.
enum Next<T> {
    There(T),
    End,
    Late,
}

impl<R, I> Stream<'_, R, I>
where
    I: Iterator<Item: Send + 'static>,
    R: Send + 'static,
{
    pub(crate) fn new<F>(crew: &Arc<Crew>, options: Options, function: F, items: I) -> Self
    where
        F: Fn(I::Item) -> R + Send + Sync + 'static,
    {
        let job = Arc::new(Job::new(Arc::clone(crew), function, options.chunk));
        // Said by each of its results.
        job.begin();
        Self {
            crew: Arc::clone(crew),
            job,
            items: Some(items),
            panic: None,
            window: options.window,
            under_way: 0,
            buffer: Vec::new(),
            pool: PhantomData,
        }
    }

    /// In a forked child nothing comes, which is said once.
    fn lost(&mut self, index: usize) -> Option<TaskError> {
        let error = self.crew.check_owner().err()?;
        let had_more = self.items.take().is_some() || self.under_way > 0;
        self.under_way = 0;
        had_more.then_some(TaskError::NotCalled { index, error })
    }

    /// The results that come next; of so many that were fetched nobody has seen anything.
    fn next_parcels(&mut self, kept: usize, deadline: Deadline) -> Next<Vec<Parcel<R>>> {
        self.fill(kept);
        let is_short = self.job.items_in(TOGETHER) > 1;
        let wanted = match is_short {
            true => (self.under_way / 2).min(self.job.items_in(TOGETHER) * self.crew.workers()),
            false => 1,
        };
        match self.job.wait(wanted, deadline) {
            Wait::Here(parcels) => {
                self.under_way -= parcels.iter().map(Parcel::len).sum::<usize>();
                Next::There(parcels)
            }
            Wait::Late => Next::Late,
            Wait::Nothing => match self.panic.take() {
                Some(panic) => resume_unwind(panic),
                None => Next::End,
            },
        }
    }

    /// Takes items from the input, as many as may be under way beside those that were fetched, and are kept.
    fn fill(&mut self, kept: usize) {
        let most = self.most_under_way();
        // Not one by one.
        if self.window.is_none() && self.under_way + kept > most / 2 {
            return;
        }
        let Some(mut items) = self.items.take() else { return };
        let batch = self.batch();
        let mut haste = Haste::new();
        while self.under_way + kept < most {
            match catch_unwind(AssertUnwindSafe(|| items.next())) {
                Ok(Some(item)) => self.buffer.push(item),
                ended => {
                    self.panic = ended.err();
                    self.job.add(&mut self.buffer);
                    self.job.seal();
                    return;
                }
            }
            self.under_way += 1;
            if self.buffer.len() >= batch || haste.is_late() {
                self.job.add(&mut self.buffer);
            }
        }
        self.job.add(&mut self.buffer);
        self.items = Some(items);
    }

    fn most_under_way(&self) -> usize {
        match self.window {
            Some(window) => window.get(),
            None => {
                let workers = self.crew.workers();
                let ahead = self.job.items_in(AHEAD).min(LEAST_AHEAD * most_items::<I::Item>());
                workers * ahead.max(LEAST_AHEAD)
            }
        }
    }

    /// How many items are handed over at once.
    fn batch(&self) -> usize {
        (self.job.items_in(AHEAD) / LEAST_AHEAD).clamp(1, most_items::<I::Item>())
    }

    /// Appends all values to `out`, in the order of the items; the first error ends it.
    pub(crate) fn append_to(mut self, out: &mut Vec<R>) -> Result<(), TaskError> {
        let start = out.len();
        out.reserve(self.size_hint().0.min(MOST_RESERVED / size_of::<R>().max(1)));
        let mut early = BTreeMap::new();
        while let Next::There(parcels) = self.next_parcels(0, Deadline::NEVER) {
            for parcel in parcels {
                if parcel.is_failure() {
                    return parcel.append_to(out);
                }
                if parcel.first() != out.len() - start {
                    early.insert(parcel.first(), parcel);
                    continue;
                }
                parcel.append_to(out)?;
                while let Some(entry) = early.first_entry()
                    && *entry.key() == out.len() - start
                {
                    entry.remove().append_to(out)?;
                }
            }
        }
        Ok(())
    }

    /// What became of each item, in the order of the items.
    pub(crate) fn collect_each(mut self) -> Vec<Result<R, TaskError>> {
        let mut parcels = Vec::new();
        while let Next::There(more) = self.next_parcels(0, Deadline::NEVER) {
            parcels.extend(more);
        }
        parcels.sort_unstable_by_key(Parcel::first);
        parcels.into_iter().flatten().collect()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, most) = self.items.as_ref().map_or((0, Some(0)), Iterator::size_hint);
        let here = self.under_way;
        (least.saturating_add(here), most.and_then(|most| most.checked_add(here)))
    }
}

/// How many bytes are reserved for results at most before there is any.
const MOST_RESERVED: usize = 256 << 20;

impl<R, I: Iterator> Drop for Stream<'_, R, I> {
    fn drop(&mut self) {
        // In a forked child, it is its parent's.
        if self.crew.is_here() {
            self.job.abandon();
        }
    }
}

/// Whether an input is slow, without looking at the clock for each item of a fast one.
struct Haste {
    last: Instant,
    stride: u32,
    left: u32,
}

impl Haste {
    fn new() -> Self {
        Self { last: Instant::now(), stride: 1, left: 1 }
    }

    #[inline(always)]
    fn is_late(&mut self) -> bool {
        self.left -= 1;
        self.left == 0 && self.look()
    }

    fn look(&mut self) -> bool {
        let now = Instant::now();
        let took = now.duration_since(self.last);
        if took < FAST {
            self.stride = (self.stride * 2).min(MOST_STRIDE);
        }
        let is_late = took > SLOW;
        if is_late {
            self.stride = 1;
        }
        self.last = now;
        self.left = self.stride;
        is_late
    }
}

impl<T> Next<T> {
    /// Of somebody who waits for ever.
    fn or_end(self) -> Option<T> {
        match self {
            Self::There(next) => Some(next),
            Self::End | Self::Late => None,
        }
    }

    fn or_late(self) -> Result<Option<T>> {
        match self {
            Self::There(next) => Ok(Some(next)),
            Self::End => Ok(None),
            Self::Late => Err(Error::new(ErrorKind::TimedOut, "no result came in time")),
        }
    }
}

/// What both kinds of iterators offer before they are used.
macro_rules! options {
    () => {
        /// How many items may be under way at most: waiting for a worker, running, or done and not fetched. Without this, as many as keep
        /// the workers busy for a millisecond, four for each of them at least. An input that waits for earlier results needs a window that it
        /// can fill: with a window of one, each item is taken when the result before it has been fetched.
        pub fn window(mut self, items: NonZeroUsize) -> Self {
            self.stream.window = Some(items);
            self
        }
    };
}

macro_rules! next_timeout {
    () => {
        /// The next result, if it comes in time; nothing when there is none any more. `timeout` is on the monotonic clock, and does not count how
        /// long the input takes.
        ///
        /// # Errors
        ///
        /// [`TimedOut`](procession_core::ErrorKind::TimedOut): ask again.
        pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Result<R, TaskError>>> {
            self.next_until(Deadline::after(timeout)).or_late()
        }
    };
}

/// The results of [`ThreadPool::imap`], in the order of the items.
#[must_use = "nothing is called until results are asked for"]
pub struct ThreadImap<'pool, R, I: Iterator> {
    stream: Stream<'pool, R, I>,
    /// The results that come next.
    due: Option<Parts<R>>,
    /// The place of the result behind these.
    next: usize,
    early: BTreeMap<usize, Parcel<R>>,
    /// How many results are early.
    kept: usize,
}

impl<'pool, R, I: Iterator> ThreadImap<'pool, R, I> {
    pub(crate) fn new(stream: Stream<'pool, R, I>) -> Self {
        Self { stream, due: None, next: 0, early: BTreeMap::new(), kept: 0 }
    }

    options!();
}

impl<R, I> ThreadImap<'_, R, I>
where
    I: Iterator<Item: Send + 'static>,
    R: Send + 'static,
{
    fn next_until(&mut self, deadline: Deadline) -> Next<Result<R, TaskError>> {
        loop {
            if let Some(due) = &mut self.due {
                if let Some(result) = due.next() {
                    return Next::There(result);
                }
                self.due = None;
            }
            if let Some(parcel) = self.early.remove(&self.next) {
                self.next += parcel.len();
                self.kept -= parcel.len();
                self.due = Some(parcel.into_iter());
                continue;
            }
            if !self.stream.crew.is_here() {
                let lost = self.stream.lost(self.next);
                return lost.map_or(Next::End, |error| Next::There(Err(error)));
            }
            // What came early counts as under way: one slow task must not make the others pile up behind it.
            match self.stream.next_parcels(self.kept, deadline) {
                Next::There(parcels) => {
                    for parcel in parcels {
                        self.kept += parcel.len();
                        self.early.insert(parcel.first(), parcel);
                    }
                }
                Next::End => return Next::End,
                Next::Late => return Next::Late,
            }
        }
    }

    next_timeout!();
}

impl<R, I> Iterator for ThreadImap<'_, R, I>
where
    I: Iterator<Item: Send + 'static>,
    R: Send + 'static,
{
    type Item = Result<R, TaskError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.next_until(Deadline::NEVER).or_end()
    }
}

/// The results of [`ThreadPool::imap_unordered`], as they come.
#[must_use = "nothing is called until results are asked for"]
pub struct ThreadImapUnordered<'pool, R, I: Iterator> {
    stream: Stream<'pool, R, I>,
    /// The results that come next.
    due: Option<Parts<R>>,
    parcels: std::vec::IntoIter<Parcel<R>>,
}

impl<'pool, R, I: Iterator> ThreadImapUnordered<'pool, R, I> {
    pub(crate) fn new(stream: Stream<'pool, R, I>) -> Self {
        Self { stream, due: None, parcels: Vec::new().into_iter() }
    }

    options!();
}

impl<R, I> ThreadImapUnordered<'_, R, I>
where
    I: Iterator<Item: Send + 'static>,
    R: Send + 'static,
{
    fn next_until(&mut self, deadline: Deadline) -> Next<Result<R, TaskError>> {
        loop {
            if let Some(due) = &mut self.due {
                if let Some(result) = due.next() {
                    return Next::There(result);
                }
                self.due = None;
            }
            match self.parcels.next() {
                Some(Parcel::One(_, value)) => return Next::There(Ok(value)),
                Some(parcel) => self.due = Some(parcel.into_iter()),
                None if !self.stream.crew.is_here() => {
                    let lost = self.stream.lost(0);
                    return lost.map_or(Next::End, |error| Next::There(Err(error)));
                }
                None => match self.stream.next_parcels(0, deadline) {
                    Next::There(parcels) => self.parcels = parcels.into_iter(),
                    Next::End => return Next::End,
                    Next::Late => return Next::Late,
                },
            }
        }
    }

    next_timeout!();
}

impl<R, I> Iterator for ThreadImapUnordered<'_, R, I>
where
    I: Iterator<Item: Send + 'static>,
    R: Send + 'static,
{
    type Item = Result<R, TaskError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.next_until(Deadline::NEVER).or_end()
    }
}

impl<R, I: Iterator> fmt::Debug for ThreadImap<'_, R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = &self.stream.under_way;
        f.debug_struct("ThreadImap").field("under_way", under_way).finish_non_exhaustive()
    }
}

impl<R, I: Iterator> fmt::Debug for ThreadImapUnordered<'_, R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = &self.stream.under_way;
        f.debug_struct("ThreadImapUnordered").field("under_way", under_way).finish_non_exhaustive()
    }
}
