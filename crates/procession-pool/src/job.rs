//! One call of a pool: tasks that wait, and what became of others and nobody has fetched yet.
//!
//! The caller puts tasks in and takes outcomes out; the desk does the reverse. Each task that was put in gives one outcome, once.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use procession_core::Error;
use procession_process::trampoline::FunctionRef;
use procession_sys::Deadline;
use procession_sys::prim::{AtomicBool, AtomicUsize, Condvar, Mutex, Ordering, PoisonError, lock};

use crate::TaskError;
use crate::dispatch::Live;
use crate::options::Options;
use crate::piece::{Encoding, Parcel, Piece};

/// What became of a task: the encoded value, or why there is none.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) index: usize,
    pub(crate) result: Result<Encoding, TaskError>,
}

/// What is done when the last task of a job is resolved. Not to be called while anything is locked.
pub(crate) type AtEnd = Box<dyn FnOnce() + Send>;

pub(crate) struct Job {
    /// Nothing for one that is resolved from the beginning.
    pub(crate) function: Option<FunctionRef>,
    pub(crate) options: Options,
    /// Whether nobody waits for each of its outcomes: somebody else has to see to it that it goes on.
    pub(crate) is_detached: bool,
    state: Mutex<State>,
    changed: Condvar,
    /// Whether whoever waits for this shall take the lead.
    is_promoted: AtomicBool,
    /// Whether it is over, for who does not want to lock it.
    is_known_over: AtomicBool,
    /// How many chunks of it are up or taken, and whether the desk lists it; the desk's.
    pub(crate) up: AtomicUsize,
    pub(crate) is_listed: AtomicBool,
}

#[derive(Default)]
struct State {
    /// How many tasks were put in and are not resolved.
    due: usize,
    /// How many more are to come, as far as that is known.
    to_come: Option<usize>,
    /// Whether no further task comes.
    is_sealed: bool,
    /// Whether the tasks that are not resolved shall not be.
    is_cancelled: bool,
    at_end: Vec<AtEnd>,
    /// Dropped at the end.
    live: Option<Live>,
    /// Those that are tried again later.
    later: Vec<(Deadline, Piece)>,
    waiting: VecDeque<Piece>,
    /// How many tasks wait.
    waiting_count: usize,
    /// How long their arguments are.
    waiting_bytes: usize,
    parcels: VecDeque<Parcel>,
    /// The outcome of a job that has but one, and whether it is such a job.
    only: Option<Parcel>,
    is_one: bool,
    /// How many threads sleep here.
    followers: usize,
    /// Nobody wants the outcomes any more.
    is_abandoned: bool,
    /// Why no task is run any more.
    refused: Option<Refused>,
    pace: Pace,
}

impl State {
    fn is_over(&self) -> bool {
        self.is_sealed && self.due == 0
    }

    /// What is to be called now, if this is the end.
    fn end(&mut self) -> Vec<AtEnd> {
        if !self.is_over() {
            return Vec::new();
        }
        self.live = None;
        std::mem::take(&mut self.at_end)
    }

    fn take_parcel(&mut self) -> Option<Parcel> {
        self.only.take().or_else(|| self.parcels.pop_front())
    }

    fn wait(&mut self, piece: Piece, is_first: bool) {
        self.waiting_count += piece.count as usize;
        self.waiting_bytes += piece.len();
        match is_first {
            true => self.waiting.push_front(piece),
            false => self.waiting.push_back(piece),
        }
    }

    /// Takes out all tasks that wait; their places.
    fn take_waiting(&mut self) -> Vec<usize> {
        self.waiting_bytes = 0;
        self.waiting_count = 0;
        let later = std::mem::take(&mut self.later).into_iter().map(|(_, piece)| piece);
        let waiting = std::mem::take(&mut self.waiting).into_iter().chain(later);
        waiting.flat_map(|piece| piece.first..piece.first + piece.count as usize).collect()
    }

    fn resolve_all(&mut self, places: Vec<usize>, outcome: impl Fn(usize) -> Outcome) {
        self.due -= places.len();
        self.parcels.extend(places.into_iter().map(|index| Parcel::One(outcome(index))));
    }
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// An outcome can be fetched.
    Outcome,
    /// All tasks are resolved, and no further one comes.
    Over,
}

impl Until {
    fn is_met(self, state: &State) -> bool {
        match self {
            Self::Outcome => !state.parcels.is_empty(),
            Self::Over => state.is_over(),
        }
    }
}

/// How long tasks take, and so how many a worker gets at once.
#[derive(Debug, Default)]
struct Pace {
    /// How many nanoseconds one takes; nothing is known when it is zero.
    nanos: u64,
    /// The most that a worker got at once.
    largest: u32,
}

/// How much work a worker gets at once, in nanoseconds, when nobody says how many tasks.
const CHUNK_NANOS: u64 = 300_000;

/// How much longer a chunk may be than any before it.
const GROWTH: u32 = 8;

/// The most tasks in a chunk when nobody says how many.
const MOST_AT_ONCE: u64 = 1 << 16;

/// How much work shall be under way for each worker, in nanoseconds.
const AHEAD_NANOS: u64 = 1_000_000;

/// How many chunks for each worker, at most.
const MOST_CHUNKS_AHEAD: usize = 256;

/// How many tasks for each worker, at least.
const LEAST_AHEAD: usize = 4;

/// How many bytes of arguments a chunk may hold before no further task joins it.
const MOST_BYTES: usize = 64 << 10;

impl Pace {
    /// Takes notice of how long a chunk took.
    fn note(&mut self, count: u32, nanos: u64) {
        let each = (nanos / u64::from(count.max(1))).max(1);
        self.nanos = match self.nanos {
            0 => each,
            // What takes longer counts at once, what takes less by and by.
            before if each > before => (before + each) / 2 + 1,
            before => (before + 3 * each) / 4,
        };
    }

    fn chunk(&self) -> u32 {
        let wanted = match self.nanos {
            0 => 1,
            nanos => (CHUNK_NANOS / nanos).clamp(1, MOST_AT_ONCE),
        };
        u32::try_from(wanted).unwrap_or(1).min(self.largest.saturating_mul(GROWTH).max(1))
    }
}

/// What a worker shall run next.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Nothing waits.
    Nothing,
    /// Enough of the job is up.
    Enough,
    /// This, and whether nothing else waits.
    Piece { piece: Piece, is_last: bool },
}

/// How much work of a job shall be up for each worker, in nanoseconds.
const UP_NANOS: u64 = 400_000;

/// How many chunks of a job are up for each worker, at least and at most.
const LEAST_UP: u64 = 2;
const MOST_UP: u64 = 256;

/// What a failure of a task brings.
#[must_use = "what is to be called is to be called when nothing is locked"]
pub(crate) enum Concluded {
    /// It is resolved.
    Now(Vec<AtEnd>),
    /// It is tried again later.
    Later,
}

/// Why a pool runs no task any more.
#[derive(Debug, Clone)]
pub(crate) enum Refused {
    Broken(Error),
    Closed,
    Cancelled,
}

impl Refused {
    pub(crate) fn error(&self, index: usize) -> TaskError {
        match self {
            Self::Broken(error) => TaskError::PoolBroken { index, error: error.clone() },
            Self::Closed => TaskError::PoolClosed { index },
            Self::Cancelled => TaskError::Cancelled { index },
        }
    }

    fn outcome(&self, index: usize) -> Outcome {
        Outcome { index, result: Err(self.error(index)) }
    }
}

impl Job {
    pub(crate) fn new(function: Option<FunctionRef>, options: Options, is_detached: bool) -> Self {
        Self::of(function, options, is_detached, State::default())
    }

    /// Of one task, which somebody waits for. It counts as submitted: it is [put back](Self::put_back) if no worker is given it at once.
    pub(crate) fn of_one(function: FunctionRef, options: Options, live: Live) -> Self {
        let state = State {
            due: 1,
            to_come: Some(0),
            is_sealed: true,
            is_one: true,
            live: Some(live),
            ..State::default()
        };
        Self::of(Some(function), options, false, state)
    }

    fn of(
        function: Option<FunctionRef>,
        options: Options,
        is_detached: bool,
        state: State,
    ) -> Self {
        Self {
            function,
            options,
            is_detached,
            state: Mutex::new(state),
            changed: Condvar::new(),
            is_promoted: AtomicBool::new(false),
            is_known_over: AtomicBool::new(false),
            up: AtomicUsize::new(0),
            is_listed: AtomicBool::new(false),
        }
    }

    /// Says what is to be dropped at the end.
    pub(crate) fn set_live(&self, live: Live) {
        lock(&self.state).live = Some(live);
    }

    /// No further task comes. When the last one is resolved, all that waits for the end is told.
    #[must_use = "to be called when nothing is locked"]
    pub(crate) fn seal(&self) -> Vec<AtEnd> {
        let mut state = lock(&self.state);
        state.is_sealed = true;
        self.tell(&mut state)
    }

    /// Whether all tasks are resolved, and no further one comes.
    pub(crate) fn is_over(&self) -> bool {
        lock(&self.state).is_over()
    }

    /// Whether an outcome can be fetched at once.
    pub(crate) fn has_outcome(&self) -> bool {
        !lock(&self.state).parcels.is_empty()
    }

    /// Has `at_end` called when this is over: by whoever resolves the last task, or by the caller of what this returns.
    #[must_use = "to be called when nothing is locked"]
    pub(crate) fn when_over(&self, at_end: impl FnOnce() + Send + 'static) -> Vec<AtEnd> {
        let mut state = lock(&self.state);
        state.at_end.push(Box::new(at_end));
        state.end()
    }

    /// Tells those who wait; what is to be called at the end, if this is it.
    fn tell(&self, state: &mut State) -> Vec<AtEnd> {
        // Whoever leads looks by itself.
        if state.followers > 0 {
            self.changed.notify_all();
        }
        if state.is_over() {
            // ORDERING: Relaxed: it stands for itself; what is to be fetched is behind the lock.
            self.is_known_over.store(true, Ordering::Relaxed);
        }
        state.end()
    }

    /// Waits until that is so, or this thread shall take the lead, or the deadline passes.
    pub(crate) fn follow(&self, until: Until, deadline: Deadline) {
        let mut state = lock(&self.state);
        state.followers += 1;
        while !until.is_met(&state) && !self.is_promoted.load(Ordering::Acquire) {
            state = match deadline.remaining() {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.followers -= 1;
    }

    /// Whether that is so.
    pub(crate) fn is(&self, until: Until) -> bool {
        until == Until::Over && self.is_known_over.load(Ordering::Relaxed)
            || until.is_met(&lock(&self.state))
    }

    /// Has whoever waits for this take the lead.
    pub(crate) fn promote(&self) {
        let _state = lock(&self.state);
        self.is_promoted.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    /// Whether it was this one's turn to take the lead.
    pub(crate) fn take_promotion(&self) -> bool {
        self.is_promoted.load(Ordering::Acquire) && self.is_promoted.swap(false, Ordering::AcqRel)
    }

    /// All outcomes there are.
    pub(crate) fn take_parcels(&self) -> VecDeque<Parcel> {
        std::mem::take(&mut lock(&self.state).parcels)
    }

    /// Some outcomes, if there are any.
    pub(crate) fn take_parcel(&self) -> Option<Parcel> {
        lock(&self.state).take_parcel()
    }

    /// The same of a job that is over, by the last who has it.
    pub(crate) fn into_parcel(self) -> Option<Parcel> {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).take_parcel()
    }

    /// Resolves what waits as cancelled; what workers have is the desk's.
    #[must_use = "to be called when nothing is locked"]
    pub(crate) fn cancel(&self) -> Vec<AtEnd> {
        let mut state = lock(&self.state);
        if state.is_over() {
            return Vec::new();
        }
        state.is_cancelled = true;
        let waiting = state.take_waiting();
        state.resolve_all(waiting, cancelled);
        self.tell(&mut state)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        lock(&self.state).is_cancelled
    }

    /// Says what became of a task that was run, or tries it again, if its argument is still here.
    pub(crate) fn conclude(
        &self,
        task: Option<Piece>,
        index: usize,
        tries: u32,
        error: TaskError,
    ) -> Concluded {
        let mut state = lock(&self.state);
        if let Some(mut piece) = task
            && !state.is_cancelled
            && !state.is_abandoned
            && state.refused.is_none()
            && let Some(pause) = self.options.retry(tries + 1, &error)
        {
            piece.tries = tries + 1;
            state.later.push((Deadline::after(pause), piece));
            return Concluded::Later;
        }
        Concluded::Now(self.add(&mut state, Parcel::One(Outcome { index, result: Err(error) })))
    }

    /// Says what became of tasks.
    #[must_use = "to be called when nothing is locked"]
    pub(crate) fn resolve(&self, parcel: Parcel) -> Vec<AtEnd> {
        self.add(&mut lock(&self.state), parcel)
    }

    /// The same of one task that was alone in its chunk, and how long it took.
    #[must_use = "to be called when nothing is locked"]
    pub(crate) fn resolve_timed(&self, parcel: Parcel, nanos: u64) -> Vec<AtEnd> {
        let mut state = lock(&self.state);
        state.pace.note(1, nanos);
        self.add(&mut state, parcel)
    }

    fn add(&self, state: &mut State, parcel: Parcel) -> Vec<AtEnd> {
        if state.is_abandoned {
            return Vec::new();
        }
        state.due -= parcel.count();
        match state.is_one {
            true => state.only = Some(parcel),
            false => state.parcels.push_back(parcel),
        }
        self.tell(state)
    }

    /// When the next task is tried again.
    pub(crate) fn next_try(&self) -> Option<Deadline> {
        lock(&self.state).later.iter().map(|(at, _)| *at).reduce(Deadline::min)
    }

    /// Has tasks wait for a worker whose time to be tried again has come.
    pub(crate) fn wake(&self) {
        let mut state = lock(&self.state);
        if state.later.is_empty() {
            return;
        }
        let due: Vec<_> = state.later.extract_if(.., |(at, _)| at.has_passed()).collect();
        for (_, piece) in due {
            state.wait(piece, false);
        }
    }

    /// How many tasks wait for a worker.
    pub(crate) fn waiting_count(&self) -> usize {
        lock(&self.state).waiting_count
    }

    /// How many bytes of arguments wait for a worker.
    pub(crate) fn waiting_bytes(&self) -> usize {
        lock(&self.state).waiting_bytes
    }

    /// Adds tasks. After `all`, no further one comes.
    #[must_use = "to be called when nothing is locked"]
    pub(crate) fn submit(&self, pieces: impl IntoIterator<Item = Piece>, all: bool) -> Vec<AtEnd> {
        let mut state = lock(&self.state);
        for piece in pieces {
            Self::submit_one(&mut state, piece);
        }
        if !all {
            return Vec::new();
        }
        (state.is_sealed, state.to_come) = (true, Some(0));
        self.tell(&mut state)
    }

    fn submit_one(state: &mut State, piece: Piece) {
        let places = piece.first..piece.first + piece.count as usize;
        if let Some(refused) = state.refused.clone() {
            state.parcels.extend(places.map(|index| Parcel::One(refused.outcome(index))));
        } else if state.is_cancelled {
            state.parcels.extend(places.map(|index| Parcel::One(cancelled(index))));
        } else {
            state.due += piece.count as usize;
            state.wait(piece, false);
        }
    }

    /// Adds a task that is resolved.
    pub(crate) fn submit_resolved(&self, outcome: Outcome) {
        lock(&self.state).parcels.push_back(Parcel::One(outcome));
    }

    /// Resolves all tasks that wait, and all to come, as impossible.
    #[must_use = "to be called when nothing is locked"]
    pub(crate) fn refuse(&self, refused: &Refused) -> Vec<AtEnd> {
        let mut state = lock(&self.state);
        let waiting = state.take_waiting();
        state.resolve_all(waiting, |index| refused.outcome(index));
        // The first reason is the reason.
        state.refused.get_or_insert_with(|| refused.clone());
        self.tell(&mut state)
    }

    /// Puts tasks back that were taken and have not been started; they are the next ones again.
    #[must_use = "to be called when nothing is locked"]
    pub(crate) fn put_back(&self, piece: Piece) -> Vec<AtEnd> {
        let mut state = lock(&self.state);
        if state.is_abandoned || piece.count == 0 {
            return Vec::new();
        }
        let places = (piece.first..piece.first + piece.count as usize).collect();
        if state.is_cancelled {
            state.resolve_all(places, cancelled);
        } else if let Some(refused) = state.refused.clone() {
            state.resolve_all(places, |index| refused.outcome(index));
        } else {
            state.wait(piece, true);
            return Vec::new();
        }
        self.tell(&mut state)
    }

    /// Says how many tasks are to come that were not put in yet, if that is known.
    pub(crate) fn set_to_come(&self, tasks: Option<usize>) {
        lock(&self.state).to_come = tasks;
    }

    /// Takes notice of how long tasks took.
    pub(crate) fn note_pace(&self, count: u32, nanos: u64) {
        lock(&self.state).pace.note(count, nanos);
    }

    /// How many tasks shall be under way: enough for about a millisecond of work.
    pub(crate) fn ahead(&self, workers: usize) -> usize {
        let state = lock(&self.state);
        let for_time = match state.pace.nanos {
            0 => LEAST_AHEAD,
            nanos => usize::try_from(AHEAD_NANOS / nanos).unwrap_or(LEAST_AHEAD),
        };
        // Not faster than chunks grow.
        let chunk = self.options.chunk.map_or(1, NonZeroUsize::get);
        let known = chunk.max(state.pace.largest as usize).saturating_mul(MOST_CHUNKS_AHEAD);
        let each = for_time.min(known).max(LEAST_AHEAD).max(chunk.saturating_mul(2));
        each.saturating_mul(workers)
    }

    /// How long a chunk takes, as far as is known, in nanoseconds.
    pub(crate) fn chunk_nanos(&self) -> Option<u64> {
        self.nanos_of_chunk(&lock(&self.state))
    }

    fn nanos_of_chunk(&self, state: &State) -> Option<u64> {
        let count = self.options.chunk.map_or(state.pace.chunk() as usize, NonZeroUsize::get);
        (state.pace.nanos > 0).then(|| state.pace.nanos.saturating_mul(count as u64))
    }

    /// Takes what one worker shall run next, with the pool having `workers`; nothing when nothing waits.
    ///
    /// As many as take a certain time, but less towards the end, so that the last ones are spread evenly, and less when the arguments are
    /// large. A task whose argument holds descriptors is alone: a worker that dies takes them along, and they shall be those of its own
    /// task. `others` is how many other jobs have tasks that wait.
    pub(crate) fn take(&self, workers: usize, others: usize) -> Taken {
        let mut state = lock(&self.state);
        if state.waiting.is_empty() {
            return Taken::Nothing;
        }
        if self.up.load(Ordering::Relaxed) >= self.limit(&state, workers, others) {
            return Taken::Enough;
        }
        let taken = self.take_some(&mut state, workers);
        let is_last = state.waiting.is_empty();
        taken.map_or(Taken::Nothing, |piece| Taken::Piece { piece, is_last })
    }

    /// How many chunks of it may be up.
    fn limit(&self, state: &State, workers: usize, others: usize) -> usize {
        let each = self.nanos_of_chunk(state).map_or(LEAST_UP, |nanos| UP_NANOS / nanos.max(1));
        let each = usize::try_from(each.clamp(LEAST_UP, MOST_UP)).unwrap_or(1);
        (each * workers).div_ceil(others + 1).max(workers + 1)
    }

    fn take_some(&self, state: &mut State, workers: usize) -> Option<Piece> {
        if let Some(chunk) = self.options.chunk {
            let chunk = u32::try_from(chunk.get()).unwrap_or(u32::MAX);
            return Self::take_chunk(state, chunk, usize::MAX);
        }
        let left = state.waiting_count + state.to_come.unwrap_or(usize::MAX / 2);
        let share = u32::try_from(left.div_ceil(2 * workers)).unwrap_or(u32::MAX).max(1);
        let chunk = state.pace.chunk().min(share);
        let taken = Self::take_chunk(state, chunk, MOST_BYTES)?;
        state.pace.largest = state.pace.largest.max(taken.count);
        Some(taken)
    }

    fn take_chunk(state: &mut State, most: u32, most_bytes: usize) -> Option<Piece> {
        let front = state.waiting.front_mut()?;
        let taken = front.split_off(most, most_bytes);
        if front.count == 0 {
            state.waiting.pop_front();
        }
        state.waiting_count -= taken.count as usize;
        state.waiting_bytes -= taken.len();
        Some(taken)
    }

    /// Forgets what waits, and every outcome to come.
    pub(crate) fn abandon(&self) {
        let mut state = lock(&self.state);
        *state = State { is_abandoned: true, is_sealed: true, ..State::default() };
    }
}

pub(crate) fn cancelled(index: usize) -> Outcome {
    Outcome { index, result: Err(TaskError::Cancelled { index }) }
}

/// Calls what is to be called at the end of jobs. Each is somebody else's code; what it says of its panic is said by the panic itself.
pub(crate) fn call_all(at_end: Vec<AtEnd>) {
    for one in at_end {
        drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(one)));
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("function", &self.function).finish_non_exhaustive()
    }
}

/// How long a caller lets results come together.
pub(crate) const LAZY_FOR: Duration = Duration::from_millis(1);
