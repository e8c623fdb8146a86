//! One call of a pool: tasks that wait, and outcomes that nobody has fetched yet.
//!
//! The caller puts tasks in and takes outcomes out; the dispatcher does the reverse. Each task that was put in gives one
//! outcome, once.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use procession_core::{Error, Message};
use procession_process::trampoline::FunctionRef;
use procession_sys::Deadline;
use procession_sys::prim::{Condvar, Mutex, MutexGuard, PoisonError, lock};

use crate::TaskError;
use crate::options::Options;

/// One argument on its way.
#[derive(Debug)]
pub(crate) struct Task {
    /// Its place in the input.
    pub(crate) index: usize,
    pub(crate) argument: Message,
    /// How many workers have died that were about to begin it.
    pub(crate) deaths: u8,
    /// How often it was tried before.
    pub(crate) tries: u32,
}

impl Task {
    pub(crate) fn new(index: usize, argument: Message) -> Self {
        Self { index, argument, deaths: 0, tries: 0 }
    }
}

/// What became of a task: the encoded value, or why there is none.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) index: usize,
    pub(crate) result: Result<Message, TaskError>,
}

/// What is done when the last task of a job is resolved.
type AtEnd = Box<dyn FnOnce() + Send>;

pub(crate) struct Job {
    /// Nothing for one that is resolved from the beginning.
    pub(crate) function: Option<FunctionRef>,
    pub(crate) options: Options,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How many tasks a worker gets at once; adapts when absent.
    chunk: Option<NonZeroUsize>,
    /// How many tasks were put in and are not resolved.
    due: usize,
    /// Whether no further task comes.
    is_sealed: bool,
    /// Whether the tasks that are not resolved shall not be.
    is_cancelled: bool,
    at_end: Vec<AtEnd>,
    /// Those that are tried again later.
    later: Vec<(Deadline, Task)>,
    waiting: VecDeque<Task>,
    /// How long their arguments are.
    waiting_bytes: usize,
    outcomes: VecDeque<Outcome>,
    /// Nobody wants the outcomes any more.
    abandoned: bool,
    /// Why no task is run any more.
    refused: Option<Refused>,
}

impl State {
    fn is_over(&self) -> bool {
        self.is_sealed && self.due == 0
    }
}

/// Why a pool runs no task any more.
#[derive(Debug, Clone)]
pub(crate) enum Refused {
    Broken(Error),
    Closed,
}

impl Refused {
    fn outcome(&self, index: usize) -> Outcome {
        let error = match self {
            Self::Broken(error) => TaskError::PoolBroken { index, error: error.clone() },
            Self::Closed => TaskError::PoolClosed { index },
        };
        Outcome { index, result: Err(error) }
    }
}

/// The most tasks that a worker gets at once when nobody says how many.
const MOST_AT_ONCE: usize = 64;

impl Job {
    pub(crate) fn new(function: Option<FunctionRef>, options: Options) -> Self {
        let state = State { chunk: options.chunk, ..State::default() };
        Self { function, options, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Says how many tasks a worker gets at once.
    pub(crate) fn set_chunk(&self, chunk: NonZeroUsize) {
        lock(&self.state).chunk = Some(chunk);
    }

    /// No further task comes. When the last one is resolved, all that waits for the end is told.
    pub(crate) fn seal(&self) {
        let mut state = lock(&self.state);
        state.is_sealed = true;
        self.end(state);
    }

    /// Whether all tasks are resolved, and no further one comes.
    pub(crate) fn is_over(&self) -> bool {
        lock(&self.state).is_over()
    }

    /// Has `at_end` called when this is over: by whoever resolves the last task, or at once.
    pub(crate) fn when_over(&self, at_end: impl FnOnce() + Send + 'static) {
        let mut state = lock(&self.state);
        state.at_end.push(Box::new(at_end));
        self.end(state);
    }

    /// Tells those who wait for the end, if this is it.
    fn end(&self, mut state: MutexGuard<'_, State>) {
        if !state.is_over() {
            return;
        }
        let at_end = std::mem::take(&mut state.at_end);
        drop(state);
        self.changed.notify_all();
        for one in at_end {
            // Somebody else's code. What it says of its panic is said by the panic itself.
            drop(catch_unwind(AssertUnwindSafe(one)));
        }
    }

    /// Waits for the end; whether it came before the deadline.
    pub(crate) fn wait_until(&self, deadline: Deadline) -> bool {
        let mut state = lock(&self.state);
        while !state.is_over() {
            state = match deadline.remaining() {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return false,
                Some(left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        true
    }

    /// All outcomes there are.
    pub(crate) fn take_outcomes(&self) -> VecDeque<Outcome> {
        std::mem::take(&mut lock(&self.state).outcomes)
    }

    /// Resolves what waits as cancelled; what runs is the dispatcher's.
    pub(crate) fn cancel(&self) {
        let mut state = lock(&self.state);
        if state.is_over() {
            return;
        }
        state.is_cancelled = true;
        state.waiting_bytes = 0;
        let waiting = std::mem::take(&mut state.waiting);
        let later = std::mem::take(&mut state.later).into_iter().map(|(_, task)| task);
        let cancelled: Vec<_> =
            waiting.into_iter().chain(later).map(|task| cancelled(task.index)).collect();
        state.due -= cancelled.len();
        state.outcomes.extend(cancelled);
        self.end(state);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        lock(&self.state).is_cancelled
    }

    /// Says what became of a task that was run, or tries it again, if its argument is still here.
    pub(crate) fn conclude(
        &self,
        mut task: Task,
        is_whole: bool,
        result: Result<Message, TaskError>,
    ) {
        let index = task.index;
        task.tries += 1;
        if let Err(error) = &result
            && is_whole
            && let Some(pause) = self.options.retry(task.tries, error)
        {
            let mut state = lock(&self.state);
            if !state.is_cancelled && !state.abandoned && state.refused.is_none() {
                return state.later.push((Deadline::after(pause), task));
            }
        }
        self.resolve(Outcome { index, result });
    }

    /// When the next task is tried again.
    pub(crate) fn next_try(&self) -> Option<Deadline> {
        lock(&self.state).later.iter().map(|(at, _)| *at).reduce(Deadline::min)
    }

    /// Has tasks wait for a worker whose time to be tried again has come.
    pub(crate) fn wake(&self) {
        let mut state = lock(&self.state);
        let State { later, waiting, waiting_bytes, .. } = &mut *state;
        for (_, task) in later.extract_if(.., |(at, _)| at.has_passed()) {
            *waiting_bytes += task.argument.bytes().len();
            waiting.push_back(task);
        }
    }

    /// How many bytes of arguments wait for a worker.
    pub(crate) fn waiting_bytes(&self) -> usize {
        lock(&self.state).waiting_bytes
    }

    /// Whether an outcome can be fetched at once.
    pub(crate) fn has_outcome(&self) -> bool {
        !lock(&self.state).outcomes.is_empty()
    }

    /// Adds a task.
    pub(crate) fn submit(&self, task: Task) {
        let mut state = lock(&self.state);
        let outcome = match &state.refused {
            Some(refused) => refused.outcome(task.index),
            None if state.is_cancelled => cancelled(task.index),
            None => {
                state.due += 1;
                state.waiting_bytes += task.argument.bytes().len();
                return state.waiting.push_back(task);
            }
        };
        state.outcomes.push_back(outcome);
    }

    /// Adds a task that is resolved.
    pub(crate) fn submit_resolved(&self, outcome: Outcome) {
        lock(&self.state).outcomes.push_back(outcome);
    }

    /// Resolves all tasks that wait, and all to come, as impossible.
    pub(crate) fn refuse(&self, refused: &Refused) {
        let mut state = lock(&self.state);
        let waiting = std::mem::take(&mut state.waiting);
        let later = std::mem::take(&mut state.later).into_iter().map(|(_, task)| task);
        state.waiting_bytes = 0;
        let outcomes: Vec<_> =
            waiting.into_iter().chain(later).map(|task| refused.outcome(task.index)).collect();
        state.due -= outcomes.len();
        state.outcomes.extend(outcomes);
        // The first reason is the reason.
        state.refused.get_or_insert_with(|| refused.clone());
        self.changed.notify_all();
        self.end(state);
    }

    /// Puts back a task that was taken and has not been started; it is the next one again.
    pub(crate) fn put_back(&self, task: Task) {
        let mut state = lock(&self.state);
        if state.is_cancelled {
            drop(state);
            self.resolve(cancelled(task.index));
        } else if !state.abandoned {
            state.waiting_bytes += task.argument.bytes().len();
            state.waiting.push_front(task);
        }
    }

    /// Takes what one worker shall run next, `most` tasks, with its pool having `workers`.
    ///
    /// Half of a fair share, so that the last tasks are spread evenly; less when the arguments are large. A task whose
    /// argument holds descriptors is alone: a worker that dies takes them along, and they shall be those of its own task.
    pub(crate) fn take(&self, workers: usize, most: usize, most_bytes: usize) -> Vec<Task> {
        let mut state = lock(&self.state);
        let share = (state.waiting.len() / (2 * workers)).clamp(1, MOST_AT_ONCE);
        let count = state.chunk.map_or(share, NonZeroUsize::get).min(most);
        let mut taken = Vec::new();
        let mut bytes = 0;
        while taken.len() < count && (taken.is_empty() || bytes < most_bytes) {
            let Some(task) = state.waiting.front() else { break };
            let has_handles = !task.argument.handles().is_empty();
            if has_handles && !taken.is_empty() {
                break;
            }
            bytes += task.argument.bytes().len();
            taken.extend(state.waiting.pop_front());
            if has_handles {
                break;
            }
        }
        state.waiting_bytes -= bytes;
        taken
    }

    /// Whether tasks wait.
    pub(crate) fn has_waiting(&self) -> bool {
        !lock(&self.state).waiting.is_empty()
    }

    /// Whether nobody can have any use of it: no task is left, and none comes.
    pub(crate) fn is_done(&self) -> bool {
        let state = lock(&self.state);
        state.abandoned || state.is_over()
    }

    /// Says what became of a task.
    pub(crate) fn resolve(&self, outcome: Outcome) {
        let mut state = lock(&self.state);
        if !state.abandoned {
            state.outcomes.push_back(outcome);
            state.due -= 1;
            self.changed.notify_one();
            self.end(state);
        }
    }

    /// Fetches an outcome, waiting for one. The caller knows that one is due.
    pub(crate) fn next_outcome(&self) -> Outcome {
        let mut state = lock(&self.state);
        loop {
            if let Some(outcome) = state.outcomes.pop_front() {
                return outcome;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Forgets what waits, and every outcome to come.
    pub(crate) fn abandon(&self) {
        let mut state = lock(&self.state);
        *state = State { abandoned: true, is_sealed: true, ..State::default() };
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        lock(&self.state).abandoned
    }
}

pub(crate) fn cancelled(index: usize) -> Outcome {
    Outcome { index, result: Err(TaskError::Cancelled { index }) }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("function", &self.function).finish_non_exhaustive()
    }
}
