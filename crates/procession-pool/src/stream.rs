//! Calls that are under way: items go in as there is room, results come out.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_process::trampoline::FunctionRef;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TaskError;
use crate::dispatch::Shared;
use crate::job::{Job, Outcome, Until, call_all};
use crate::options::Options;
use crate::piece::{Packed, Packer, Parcel, Values, decode_word};
use crate::pool::decode;
use crate::progress::Bar;

/// How many bytes of arguments may wait for a worker before no further item is taken.
const MOST_WAITING_BYTES: usize = 16 << 20;

/// How long taking items may hold up a result that is there.
const SLOW_INPUT: Duration = Duration::from_micros(200);

/// How many items are taken before they are handed on, when it is known that they are there.
const AT_ONCE: u32 = 4096;
const BYTES_AT_ONCE: usize = 64 << 10;

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
    packer: Packer,
    /// How many items were taken last without a look at the clock.
    stride: u32,
    /// Values that were taken out together.
    values: Option<Values>,
    /// How many tasks have failed.
    failures: usize,
    bar: Option<Bar>,
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
            packer: Packer::default(),
            stride: 1,
            values: None,
            failures: 0,
            bar: None,
            returns: PhantomData,
        }
    }

    /// How many items may be under way.
    fn window(&self, job: &Job) -> usize {
        self.options.window.map_or_else(|| job.ahead(self.workers), NonZeroUsize::get)
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
        let job = Arc::new(Job::new(Some(function), self.options, false));
        self.shared.begin(&job);
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
        self.items.as_ref()?;
        let window = self.window(job);
        let room = window.saturating_sub(self.under_way + kept);
        // Many at a time: a quarter of the window is let run empty first.
        if room < (window / 4).max(1)
            || self.under_way > 0 && job.waiting_bytes() > MOST_WAITING_BYTES
        {
            return None;
        }
        let failed = self.pack(job, room);
        self.hand_on(job);
        failed
    }

    /// Takes items.
    fn pack<T>(&mut self, job: &Arc<Job>, room: usize) -> Option<(usize, TaskError)>
    where
        T: Serialize,
        I: Iterator<Item = T>,
    {
        let mut haste = Haste::new(self.stride);
        let failed = self.pack_by(job, room, &mut haste);
        self.stride = haste.stride;
        failed
    }

    fn pack_by<T>(
        &mut self,
        job: &Arc<Job>,
        mut room: usize,
        haste: &mut Haste,
    ) -> Option<(usize, TaskError)>
    where
        T: Serialize,
        I: Iterator<Item = T>,
    {
        while room > 0 {
            let items = self.items.as_mut()?;
            // Those may make us wait: what was taken does not wait for them.
            let are_there = items.size_hint().0;
            let mut next = None;
            if are_there > 1 && self.packer.takes_words() {
                let left = AT_ONCE.saturating_sub(self.packer.count()).min(haste.left) as usize;
                let most = left.min(room).min(are_there);
                let before = self.next;
                let other = self.packer.add_words(&mut self.next, items, most);
                let count = self.next - before;
                room -= count;
                if count > 0 && other.is_none() {
                    if self.packer.count() < AT_ONCE && !haste.is_late(count) {
                        continue;
                    }
                    self.hand_on(job);
                    if self.is_enough(job, haste) {
                        return None;
                    }
                    continue;
                }
                haste.left =
                    haste.left.saturating_sub(u32::try_from(count).unwrap_or_default()).max(1);
                next = other;
            }
            let Some(item) = next.or_else(|| items.next()) else {
                self.items = None;
                self.hand_on(job);
                call_all(job.seal());
                return None;
            };
            let index = self.next;
            self.next += 1;
            room = room.saturating_sub(1);
            match self.packer.add(index, item) {
                Ok(Packed::Added) if are_there > 0 => {
                    let is_full =
                        self.packer.count() >= AT_ONCE || self.packer.len() >= BYTES_AT_ONCE;
                    if !is_full && !haste.is_late(1) {
                        continue;
                    }
                    self.hand_on(job);
                }
                Ok(Packed::Added) => self.hand_on(job),
                Ok(Packed::Alone(piece)) => {
                    self.hand_on(job);
                    self.under_way += 1;
                    self.shared.submit(job, [piece], false);
                }
                Err(error) => return Some((index, TaskError::NotCalled { index, error })),
            }
            if self.is_enough(job, haste) {
                return None;
            }
        }
        None
    }

    /// Whether something else is to be seen to before further items are taken.
    fn is_enough(&self, job: &Job, haste: &Haste) -> bool {
        // An input that is slow does not hold up what has been done; nor what can be waited for.
        haste.began.elapsed() > SLOW_INPUT && job.has_outcome()
            || job.waiting_bytes() > MOST_WAITING_BYTES
    }

    /// Hands on what was taken.
    fn hand_on<T>(&mut self, job: &Arc<Job>)
    where
        I: Iterator<Item = T>,
    {
        if let Some(piece) = self.packer.take() {
            self.under_way += piece.count as usize;
            let to_come = self.items.as_ref().map_or((0, Some(0)), Iterator::size_hint);
            job.set_to_come(to_come.1);
            self.shared.submit(job, [piece], false);
        }
    }

    /// Some results, as they come.
    fn next_parcel<T>(&mut self, kept: usize, deadline: Deadline) -> Next<Parcel>
    where
        T: Serialize,
        I: Iterator<Item = T>,
    {
        let failed = |index, error| Next::There(Parcel::One(Outcome { index, result: Err(error) }));
        let job = match self.job() {
            Ok(job) => job,
            Err(None) => return Next::End,
            Err(Some(error)) => return failed(0, TaskError::NotCalled { index: 0, error }),
        };
        if let Some((index, error)) = self.feed(&job, kept) {
            return failed(index, error);
        }
        if self.under_way == 0 {
            return Next::End;
        }
        if !self.shared.wait(&job, Until::Outcome, deadline) {
            return Next::Late;
        }
        let Some(parcel) = job.take_parcel() else { return Next::End };
        self.under_way -= parcel.count();
        self.see(&job, &parcel);
        Next::There(parcel)
    }

    /// Counts failures, and shows how far this is.
    fn see<T>(&mut self, job: &Arc<Job>, parcel: &Parcel)
    where
        I: Iterator<Item = T>,
    {
        if let (Some(most), Parcel::One(Outcome { result: Err(_), .. })) =
            (self.options.most_failures, parcel)
        {
            self.failures += 1;
            if self.failures == most.get() {
                self.items = None;
                call_all(job.seal());
                self.shared.cancel(job);
            }
        }
        if let Some(title) = self.options.progress {
            let to_come = self.items.as_ref().map_or((0, Some(0)), Iterator::size_hint).1;
            let total = to_come.map(|to_come| self.next + to_come);
            self.bar.get_or_insert_with(|| Bar::new(title)).advance(parcel.count(), total);
        }
    }

    fn advance<T>(&mut self, kept: usize, deadline: Deadline) -> Next<(usize, Result<R, TaskError>)>
    where
        T: Serialize,
        R: DeserializeOwned,
        I: Iterator<Item = T>,
    {
        loop {
            if let Some(values) = &mut self.values {
                if let Some(next) = values.next_value() {
                    return Next::There(next);
                }
                self.values = None;
            }
            // What was taken out and not been given counts as under way.
            let next = match self.next_parcel(kept, deadline) {
                Next::There(Parcel::Values(values)) => {
                    self.values = Some(values);
                    continue;
                }
                Next::There(Parcel::One(outcome)) => (outcome.index, decode(outcome)),
                Next::There(Parcel::Word(index, word)) => (index, decode_word(index, word)),
                Next::End => return Next::End,
                Next::Late => return Next::Late,
            };
            return Next::There(next);
        }
    }
}

/// Whether items come so slowly that those that are there should be handed on.
struct Haste {
    began: Instant,
    last: Instant,
    /// How many items are taken between two looks at the clock, and how many until the next.
    stride: u32,
    left: u32,
}

/// Items come fast when so many as were taken between two looks took less than this.
const FAST: Duration = Duration::from_micros(5);

/// .. and slowly when they took more than this.
const SLOW: Duration = Duration::from_micros(50);

/// The most items between two looks.
const MOST_STRIDE: u32 = 256;

impl Haste {
    fn new(stride: u32) -> Self {
        let now = Instant::now();
        Self { began: now, last: now, stride, left: stride }
    }

    /// To be asked when so many items have been taken, not more than were left.
    #[inline(always)]
    fn is_late(&mut self, count: usize) -> bool {
        self.left = self.left.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        self.left == 0 && self.look()
    }

    fn look(&mut self) -> bool {
        let now = Instant::now();
        let took = now.duration_since(self.last);
        self.last = now;
        if took < FAST {
            self.stride = (self.stride * 2).min(MOST_STRIDE);
        } else if took > SLOW {
            self.stride = 1;
        }
        self.left = self.stride;
        took > SLOW
    }
}

impl<T, R, I> Stream<'_, R, I>
where
    T: Serialize,
    R: DeserializeOwned,
    I: Iterator<Item = T>,
{
    /// Appends all values to `out`, in the order of the items; the first error ends it.
    pub(crate) fn append_to(mut self, out: &mut Vec<R>) -> Result<(), TaskError> {
        let start = out.len();
        out.reserve(self.size_hint().0.min(MOST_RESERVED / size_of::<R>().max(1)));
        let mut early = BTreeMap::new();
        while let Next::There(parcel) = self.next_parcel(0, Deadline::NEVER) {
            let parcel = parcel.into_result()?;
            early.insert(parcel.first(), parcel);
            while let Some(entry) = early.first_entry()
                && *entry.key() == out.len() - start
            {
                match entry.remove() {
                    Parcel::One(outcome) => out.push(decode(outcome)?),
                    Parcel::Word(index, word) => out.push(decode_word(index, word)?),
                    Parcel::Values(mut values) => values.append_to(out)?,
                }
            }
        }
        Ok(())
    }
}

/// How many bytes are reserved for results at most before there is any.
const MOST_RESERVED: usize = 256 << 20;

impl<T, R, I> Iterator for Stream<'_, R, I>
where
    T: Serialize,
    R: DeserializeOwned,
    I: Iterator<Item = T>,
{
    type Item = (usize, Result<R, TaskError>);

    fn next(&mut self) -> Option<Self::Item> {
        self.advance(0, Deadline::NEVER).or_end()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, most) = self.items.as_ref().map_or((0, Some(0)), Iterator::size_hint);
        let here = self.under_way + self.values.as_ref().map_or(0, |values| values.count as usize);
        (least.saturating_add(here), most.and_then(|most| most.checked_add(here)))
    }
}

impl<R, I> Drop for Stream<'_, R, I> {
    fn drop(&mut self) {
        if let Some(job) = &self.job {
            self.shared.abandon(job);
        }
    }
}

/// What comes next, by a deadline.
enum Next<T> {
    There(T),
    End,
    Late,
}

impl<T> Next<T> {
    /// Of somebody who waits for ever.
    fn or_end(self) -> Option<T> {
        match self {
            Self::There(next) => Some(next),
            Self::End | Self::Late => None,
        }
    }

    fn map<U>(self, change: impl FnOnce(T) -> U) -> Next<U> {
        match self {
            Self::There(next) => Next::There(change(next)),
            Self::End => Next::End,
            Self::Late => Next::Late,
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
        /// How many items may be under way at most: waiting for a worker, running, or done and not fetched. Without this,
        /// as many as keep the workers busy for a millisecond, four or two chunks for each of them at least. An input that waits for earlier results needs a window that it can fill:
        /// with a window of one, each item is taken when the result before it has been fetched.
        pub fn window(mut self, items: NonZeroUsize) -> Self {
            self.stream.options.window = Some(items);
            self
        }

        /// How many items a worker gets at once. Without this, as many as take it 0.3 ms, and fewer towards the end.
        #[doc(alias = "chunksize")]
        pub fn chunk(mut self, items: NonZeroUsize) -> Self {
            self.stream.options.chunk = Some(items);
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

impl<T, R, I> Imap<'_, R, I>
where
    T: Serialize,
    R: DeserializeOwned,
    I: Iterator<Item = T>,
{
    fn next_until(&mut self, deadline: Deadline) -> Next<Result<R, TaskError>> {
        loop {
            if let Some(result) = self.early.remove(&self.due) {
                self.due += 1;
                return Next::There(result);
            }
            // What came early counts as under way: one slow task must not make the others pile up behind it.
            let (index, result) = match self.stream.advance(self.early.len(), deadline) {
                Next::There(next) => next,
                Next::End => return Next::End,
                Next::Late => return Next::Late,
            };
            if index == self.due {
                self.due += 1;
                return Next::There(result);
            }
            self.early.insert(index, result);
        }
    }

    next_timeout!();
}

impl<T, R, I> Iterator for Imap<'_, R, I>
where
    T: Serialize,
    R: DeserializeOwned,
    I: Iterator<Item = T>,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_until(Deadline::NEVER).or_end()
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

impl<T, R, I> ImapUnordered<'_, R, I>
where
    T: Serialize,
    R: DeserializeOwned,
    I: Iterator<Item = T>,
{
    fn next_until(&mut self, deadline: Deadline) -> Next<Result<R, TaskError>> {
        self.stream.advance(0, deadline).map(|(_index, result)| result)
    }

    next_timeout!();
}

impl<T, R, I> Iterator for ImapUnordered<'_, R, I>
where
    T: Serialize,
    R: DeserializeOwned,
    I: Iterator<Item = T>,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_until(Deadline::NEVER).or_end()
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
