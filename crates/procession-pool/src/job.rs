//! One call of a pool: tasks that wait, and outcomes that nobody has fetched yet.
//!
//! The caller puts tasks in and takes outcomes out; the dispatcher does the reverse. Each task that was put in gives one
//! outcome, once.

use std::collections::VecDeque;
use std::num::NonZeroUsize;

use procession_core::{Error, Message};
use procession_process::trampoline::FunctionRef;
use procession_sys::prim::{Condvar, Mutex, PoisonError, lock};

use crate::TaskError;

/// One argument on its way.
#[derive(Debug)]
pub(crate) struct Task {
    /// Its place in the input.
    pub(crate) index: usize,
    pub(crate) argument: Message,
    /// How many workers have died that were about to begin it.
    pub(crate) deaths: u8,
}

impl Task {
    pub(crate) fn new(index: usize, argument: Message) -> Self {
        Self { index, argument, deaths: 0 }
    }
}

/// What became of a task: the encoded value, or why there is none.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) index: usize,
    pub(crate) result: Result<Message, TaskError>,
}

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) function: FunctionRef,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How many tasks a worker gets at once; adapts when absent.
    chunk: Option<NonZeroUsize>,
    waiting: VecDeque<Task>,
    /// How long their arguments are.
    waiting_bytes: usize,
    outcomes: VecDeque<Outcome>,
    /// Nobody wants the outcomes any more.
    abandoned: bool,
    /// Why no task is run any more.
    refused: Option<Error>,
}

/// The most tasks that a worker gets at once when nobody says how many.
const MOST_AT_ONCE: usize = 64;

impl Job {
    pub(crate) fn new(function: FunctionRef) -> Self {
        Self { function, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Says how many tasks a worker gets at once.
    pub(crate) fn set_chunk(&self, chunk: NonZeroUsize) {
        lock(&self.state).chunk = Some(chunk);
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
        match state.refused.clone() {
            Some(error) => state.outcomes.push_back(refused(task, error)),
            None => {
                state.waiting_bytes += task.argument.bytes().len();
                state.waiting.push_back(task);
            }
        }
    }

    /// Resolves all tasks that wait, and all to come, as impossible.
    pub(crate) fn refuse(&self, error: &Error) {
        let mut state = lock(&self.state);
        let waiting = std::mem::take(&mut state.waiting);
        state.waiting_bytes = 0;
        state.outcomes.extend(waiting.into_iter().map(|task| refused(task, error.clone())));
        state.refused = Some(error.clone());
        self.changed.notify_all();
    }

    /// Puts back a task that was taken and has not been started; it is the next one again.
    pub(crate) fn put_back(&self, task: Task) {
        let mut state = lock(&self.state);
        if !state.abandoned {
            state.waiting_bytes += task.argument.bytes().len();
            state.waiting.push_front(task);
        }
    }

    /// Takes what one worker shall run next, with its pool having `workers`.
    ///
    /// Half of a fair share, so that the last tasks are spread evenly; less when the arguments are large. A task whose
    /// argument holds descriptors is alone: a worker that dies takes them along, and they shall be those of its own task.
    pub(crate) fn take(&self, workers: usize, most_bytes: usize) -> Vec<Task> {
        let mut state = lock(&self.state);
        let share = (state.waiting.len() / (2 * workers)).clamp(1, MOST_AT_ONCE);
        let count = state.chunk.map_or(share, NonZeroUsize::get);
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

    /// Says what became of a task.
    pub(crate) fn resolve(&self, outcome: Outcome) {
        let mut state = lock(&self.state);
        if !state.abandoned {
            state.outcomes.push_back(outcome);
            self.changed.notify_one();
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
        *state = State { abandoned: true, ..State::default() };
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        lock(&self.state).abandoned
    }
}

fn refused(task: Task, error: Error) -> Outcome {
    let index = task.index;
    Outcome { index, result: Err(TaskError::PoolBroken { index, error }) }
}
