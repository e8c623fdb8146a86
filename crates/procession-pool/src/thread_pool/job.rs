//! One call: items that wait, and results that nobody has fetched.
//!
//! A worker takes as many items at once as take it [`CHUNK`], from what those before took; fewer towards the end. What it has done and what it takes
//! next are one turn behind the job's lock. Whoever waits for results says how many he wants to be woken for.

use std::collections::VecDeque;
use std::mem;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use procession_core::{Deadline, Error};
use procession_process::panic;
use procession_sys::prim::{AtomicBool, Condvar, Mutex, MutexGuard, lock};

use crate::TaskError;

use super::crew::{Crew, Hand, Source, wait_until};

/// How long a chunk takes: a hundred times what it costs to take one.
const CHUNK: Duration = Duration::from_micros(200);

/// A chunk has at most so many items, and so many bytes of them, so that they are still in the cache when they are run.
const MOST_ITEMS: usize = 1 << 15;
const MOST_BYTES: usize = 256 << 10;

/// How many times more items a chunk may have than any before.
const GROWTH: usize = 8;

/// How many items of this type a chunk has at most.
pub(crate) const fn most_items<T>() -> usize {
    let size = if size_of::<T>() == 0 { 1 } else { size_of::<T>() };
    let most = MOST_BYTES / size;
    match most {
        0 => 1,
        MOST_ITEMS.. => MOST_ITEMS,
        _ => most,
    }
}

/// Why items are not run.
#[derive(Debug, Clone)]
pub(crate) enum Why {
    Closed,
    Cancelled,
    Broken(Error),
    NotCalled(Error),
}

impl Why {
    fn of(&self, index: usize) -> TaskError {
        match self {
            Self::Closed => TaskError::PoolClosed { index },
            Self::Cancelled => TaskError::Cancelled { index },
            Self::Broken(error) => TaskError::PoolBroken { index, error: error.clone() },
            Self::NotCalled(error) => TaskError::NotCalled { index, error: error.clone() },
        }
    }
}

/// Results of items that stand behind each other.
pub(crate) enum Parcel<R> {
    One(usize, R),
    Many(usize, Vec<R>),
    Failed(Box<TaskError>),
    /// So many, from the first on.
    Refused(usize, usize, Why),
}

impl<R> Parcel<R> {
    /// The place of the first one.
    pub(crate) fn first(&self) -> usize {
        match self {
            Self::One(first, _) | Self::Many(first, _) | Self::Refused(first, ..) => *first,
            Self::Failed(error) => error.index(),
        }
    }

    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Refused(..))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(..) | Self::Failed(_) => 1,
            Self::Many(_, values) => values.len(),
            Self::Refused(_, count, _) => *count,
        }
    }

    /// Appends the values; the first error ends it.
    pub(crate) fn append_to(self, all: &mut Vec<R>) -> Result<(), TaskError> {
        match self {
            Self::One(_, value) => all.push(value),
            // The first one is often all there is.
            Self::Many(_, values) if all.capacity() == 0 => *all = values,
            Self::Many(_, mut values) => all.append(&mut values),
            Self::Failed(error) => return Err(*error),
            Self::Refused(first, _, why) => return Err(why.of(first)),
        }
        Ok(())
    }
}

impl<R> IntoIterator for Parcel<R> {
    type Item = Result<R, TaskError>;
    type IntoIter = Parts<R>;

    fn into_iter(self) -> Parts<R> {
        match self {
            Self::One(_, value) => Parts::One(Some(Ok(value))),
            Self::Many(_, values) => Parts::Many(values.into_iter()),
            Self::Failed(error) => Parts::One(Some(Err(*error))),
            Self::Refused(first, count, why) => Parts::Refused(first, count, why),
        }
    }
}

/// The results of a parcel, one by one.
pub(crate) enum Parts<R> {
    One(Option<Result<R, TaskError>>),
    Many(std::vec::IntoIter<R>),
    Refused(usize, usize, Why),
}

impl<R> Iterator for Parts<R> {
    type Item = Result<R, TaskError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::One(result) => result.take(),
            Self::Many(values) => values.next().map(Ok),
            Self::Refused(first, count, why) => {
                *count = count.checked_sub(1)?;
                *first += 1;
                Some(Err(why.of(*first - 1)))
            }
        }
    }
}

/// Items that one worker runs.
pub(crate) enum Chunk<T> {
    One(usize, T),
    Many(usize, Vec<T>),
}

/// Runs a chunk: pushes its parcels.
type Run<T, R> = Box<dyn Fn(Chunk<T>, &mut Vec<Parcel<R>>) + Send + Sync>;

/// Gets all results, in the order in which they came.
type Finish<R> = Box<dyn FnOnce(Vec<Parcel<R>>) + Send>;

pub(crate) struct Job<T, R> {
    crew: Arc<Crew>,
    run: Run<T, R>,
    /// How many items are taken at once, if somebody has said so.
    chunk: Option<NonZeroUsize>,
    listed: AtomicBool,
    state: Mutex<State<T, R>>,
    arrived: Condvar,
}

struct State<T, R> {
    waiting: VecDeque<T>,
    /// The place of the first one that waits.
    next: usize,
    /// How many items workers have.
    running: usize,
    done: Vec<Parcel<R>>,
    /// How many results these are.
    count: usize,
    /// No more items come.
    is_sealed: bool,
    /// Nobody wants the results.
    is_dropped: bool,
    is_over: bool,
    /// Whether the crew counts it among those that have begun.
    is_counted: bool,
    /// Why nothing of it is run.
    refused: Option<Why>,
    /// For how many results whoever sleeps wants to be woken; zero when nobody sleeps.
    wanted: usize,
    finish: Option<Finish<R>>,
    pace: Pace,
}

/// How long items take.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Of one item, in nanoseconds; zero when nothing is known.
    nanos: u64,
    /// The most items that were taken at once.
    most: usize,
    /// Chunks that were not measured, since one was.
    unmeasured: u32,
}

/// Chunks of one item are measured every so often once it is known that they are short: looking at the clock would be most of it.
const MEASURED: u32 = 16;
const SHORT: u64 = 5000;

impl Pace {
    fn is_measured(&mut self) -> bool {
        if self.nanos == 0 || self.nanos > SHORT || self.unmeasured >= MEASURED {
            self.unmeasured = 0;
            return true;
        }
        self.unmeasured += 1;
        false
    }

    fn note(&mut self, items: usize, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) / items.max(1) as u64;
        let nanos = nanos.max(1);
        self.nanos = match self.nanos {
            0 => nanos,
            before => (before * 3).saturating_add(nanos) / 4,
        };
        self.most = self.most.max(items);
    }

    /// How many items take so long.
    fn items_in(&self, time: Duration) -> usize {
        match self.nanos {
            0 => 1,
            nanos => usize::try_from(time.as_nanos() / u128::from(nanos)).unwrap_or(usize::MAX),
        }
    }
}

/// What results whoever waits for them gets.
pub(crate) enum Wait<R> {
    Here(Vec<Parcel<R>>),
    /// Nothing is under way.
    Nothing,
    Late,
}

impl<T: Send + 'static, R: Send + 'static> Job<T, R> {
    /// A call in which `function` is called with each item.
    pub(crate) fn new(
        crew: Arc<Crew>,
        function: impl Fn(T) -> R + Send + Sync + 'static,
        chunk: Option<NonZeroUsize>,
    ) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            next: 0,
            running: 0,
            done: Vec::new(),
            count: 0,
            is_sealed: false,
            is_dropped: false,
            is_over: false,
            is_counted: false,
            refused: None,
            wanted: 0,
            finish: None,
            pace: Pace { nanos: 0, most: 0, unmeasured: 0 },
        };
        Self {
            crew,
            run: Box::new(move |chunk, parcels| run(&function, chunk, parcels)),
            chunk,
            listed: AtomicBool::new(false),
            state: Mutex::new(state),
            arrived: Condvar::new(),
        }
    }

    /// Begins; if it may not, all its items are refused.
    pub(crate) fn begin(&self) {
        let begun = self.crew.begin();
        let mut state = lock(&self.state);
        state.is_counted = begun.is_ok();
        state.refused = begun.err();
    }

    /// All items at once, whose results are nobody's to wait for: when all are there, `finish` gets them.
    pub(crate) fn submit(
        self: &Arc<Self>,
        items: VecDeque<T>,
        finish: impl FnOnce(Vec<Parcel<R>>) + Send + 'static,
    ) {
        let count = items.len();
        {
            let mut state = lock(&self.state);
            state.waiting = items;
            state.is_sealed = true;
            state.finish = Some(Box::new(finish));
            self.settle(state);
        }
        self.list(count);
    }

    /// Adds items, of which it takes the memory back.
    pub(crate) fn add(self: &Arc<Self>, items: &mut Vec<T>) {
        let count = items.len();
        lock(&self.state).waiting.extend(items.drain(..));
        self.list(count);
    }

    fn list(self: &Arc<Self>, count: usize) {
        if count == 0 {
            return;
        }
        let refused = lock(&self.state).refused.clone();
        let job: Arc<dyn Source> = Arc::<Self>::clone(self);
        let listed = refused.map_or_else(|| self.crew.list(job, count), Err);
        if let Err(why) = listed {
            self.refuse(&why);
        }
    }

    /// How many items of this call take so long, as far as is known.
    pub(crate) fn items_in(&self, time: Duration) -> usize {
        lock(&self.state).pace.items_in(time)
    }

    /// The results that are there, once there are so many, or all that are under way, or some for a millisecond.
    pub(crate) fn wait(&self, wanted: usize, deadline: Deadline) -> Wait<R> {
        let mut is_patient = true;
        let mut state = lock(&self.state);
        loop {
            let is_all = state.waiting.is_empty() && state.running == 0;
            if state.count > 0 && (is_all || state.count >= wanted || !is_patient) {
                state.count = 0;
                return Wait::Here(mem::take(&mut state.done));
            }
            if is_all {
                return Wait::Nothing;
            }
            if deadline.has_passed() {
                return Wait::Late;
            }
            if !state.waiting.is_empty() && self.crew.is_own_thread() {
                drop(state);
                self.crew.help(self);
                state = lock(&self.state);
                continue;
            }
            let until = match wanted {
                0 | 1 => deadline,
                _ => deadline.min(Deadline::after(PATIENCE)),
            };
            state.wanted = wanted.max(1);
            state = wait_until(&self.arrived, state, until);
            state.wanted = 0;
            is_patient = wanted <= 1 || !until.has_passed();
        }
    }

    /// Takes items, if there are any and the worker may.
    fn take(&self, state: &mut State<T, R>, most: usize) -> Option<Chunk<T>> {
        let here = state.waiting.len();
        if here == 0 {
            return None;
        }
        let items = match self.chunk {
            Some(chunk) => chunk.get(),
            None => {
                let share = match state.is_sealed {
                    true => here / (2 * self.crew.workers().max(1)),
                    false => here,
                };
                let growth = (state.pace.most * GROWTH).max(1);
                state.pace.items_in(CHUNK).min(growth).min(share).min(most_items::<T>())
            }
        };
        let items = items.min(most).min(here).max(1);
        let first = state.next;
        state.next += items;
        state.running += items;
        if items == 1 {
            return state.waiting.pop_front().map(|item| Chunk::One(first, item));
        }
        Some(Chunk::Many(first, state.waiting.drain(..items).collect()))
    }
}

impl<T, R> Job<T, R> {
    /// No more items come.
    pub(crate) fn seal(&self) {
        let mut state = lock(&self.state);
        state.is_sealed = true;
        self.settle(state);
    }

    /// Nobody wants what is not done, or what is.
    pub(crate) fn abandon(&self) {
        let mut state = lock(&self.state);
        let waiting = mem::take(&mut state.waiting);
        let done = mem::take(&mut state.done);
        (state.is_sealed, state.is_dropped, state.count) = (true, true, 0);
        self.settle(state);
        drop((waiting, done));
    }

    /// Sees whether it is over, and wakes whom it may concern; gives the lock back.
    fn settle(&self, mut state: MutexGuard<'_, State<T, R>>) {
        let is_all = state.waiting.is_empty() && state.running == 0;
        let wakes = state.wanted > 0 && (is_all || state.count >= state.wanted);
        if wakes {
            state.wanted = 0;
        }
        let ends = is_all && state.is_sealed && !state.is_over;
        let (mut finish, is_counted) = (None, state.is_counted);
        if ends {
            state.is_over = true;
            finish = state.finish.take().map(|finish| (finish, mem::take(&mut state.done)));
        }
        drop(state);
        if wakes {
            self.arrived.notify_all();
        }
        if let Some((finish, done)) = finish {
            finish(done);
        }
        if ends && is_counted {
            self.crew.end_call();
        }
    }
}

/// How long results wait for others before whoever waits gets them.
const PATIENCE: Duration = Duration::from_millis(1);

impl<T: Send + 'static, R: Send + 'static> Source for Job<T, R> {
    fn work(&self, hand: &mut Hand<'_>) {
        let mut parcels = Vec::new();
        let mut state = lock(&self.state);
        let mut taken = self.take(&mut state, hand.most());
        let mut is_measured = state.pace.is_measured();
        drop(state);
        while let Some(chunk) = taken {
            let items = match &chunk {
                Chunk::One(..) => 1,
                Chunk::Many(_, items) => items.len(),
            };
            let begin = is_measured.then(Instant::now);
            (self.run)(chunk, &mut parcels);
            let took = begin.map(|begin| begin.elapsed());
            let mut state = lock(&self.state);
            state.running -= items;
            if let Some(took) = took {
                state.pace.note(items, took);
            }
            if state.is_dropped {
                self.settle(state);
                // Dropping a value may panic.
                drop(panic::catch(AssertUnwindSafe(|| parcels.clear())));
                return;
            }
            state.count += items;
            state.done.append(&mut parcels);
            taken = match hand.stays(items) {
                true => self.take(&mut state, hand.most()),
                false => None,
            };
            is_measured = state.pace.is_measured();
            self.settle(state);
        }
    }

    fn waiting(&self) -> usize {
        lock(&self.state).waiting.len()
    }

    fn listed(&self) -> &AtomicBool {
        &self.listed
    }

    fn refuse(&self, why: &Why) {
        let mut state = lock(&self.state);
        let waiting = mem::take(&mut state.waiting);
        if !waiting.is_empty() {
            let parcel = Parcel::Refused(state.next, waiting.len(), why.clone());
            state.next += waiting.len();
            state.count += waiting.len();
            state.done.push(parcel);
        }
        self.settle(state);
        // Dropping an item may panic.
        drop(panic::catch(AssertUnwindSafe(|| drop(waiting))));
    }
}

/// Calls the function with each item; a panic fails its item alone.
fn run<T, R>(function: &impl Fn(T) -> R, chunk: Chunk<T>, parcels: &mut Vec<Parcel<R>>) {
    let (mut first, items) = match chunk {
        Chunk::One(index, item) => {
            parcels.push(match panic::catch(AssertUnwindSafe(|| function(item))) {
                Ok(value) => Parcel::One(index, value),
                Err(panic) => Parcel::Failed(Box::new(TaskError::Panicked { index, panic })),
            });
            return;
        }
        Chunk::Many(first, items) => (first, items),
    };
    let mut items = items.into_iter();
    loop {
        let mut values = Vec::with_capacity(items.len());
        let call = || values.extend(items.by_ref().map(function));
        let called = panic::catch(AssertUnwindSafe(call));
        let index = first + values.len();
        if !values.is_empty() {
            parcels.push(Parcel::Many(first, values));
        }
        let Err(panic) = called else { return };
        parcels.push(Parcel::Failed(Box::new(TaskError::Panicked { index, panic })));
        first = index + 1;
    }
}
