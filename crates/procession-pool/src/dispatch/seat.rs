//! A worker in its seat: what it was told, and how it is ended.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use procession_core::{Courier, Deadline, Error, Result};
use procession_process::Process;

use crate::TaskError;
use crate::job::{Job, Task, cancelled};
use crate::protocol::{self, Answer, Ticket};

/// A worker in its seat.
pub(super) struct Seat {
    pub(super) process: Process<Result<()>>,
    pub(super) courier: Courier,
    pub(super) ready: bool,
    /// Whether it can say no more.
    pub(super) silent: bool,
    /// Why the pool has ended it, if it has.
    pub(super) ended_by_pool: Option<String>,
    /// The task that it is being ended for.
    pub(super) ending: Option<Ending>,
    /// How many tasks it may still be told to run.
    pub(super) left: usize,
    /// Whether it was told to end.
    pub(super) is_leaving: bool,
    /// What it was told to run and has not answered, in order.
    pub(super) assigned: VecDeque<Assigned>,
}

/// A worker that is being ended for the task that it runs.
pub(super) struct Ending {
    pub(super) ticket: Ticket,
    /// How long that ran, if it has timed out; nothing if it was cancelled.
    pub(super) ran_for: Option<Duration>,
    /// When it is ended by force; nothing once it was.
    pub(super) kill_at: Option<Deadline>,
}

pub(super) struct Assigned {
    pub(super) ticket: Ticket,
    pub(super) job: Arc<Job>,
    /// The argument is whole unless `moved`.
    pub(super) task: Task,
    /// Whether the worker has the argument's descriptors.
    pub(super) moved: bool,
}

impl Seat {
    /// Resolves the task that a worker has answered.
    pub(super) fn settle(&mut self, ticket: Ticket, answer: Answer) {
        if matches!(answer, Answer::Skipped) {
            let (skipped, rest): (VecDeque<_>, _) =
                self.assigned.drain(..).partition(|assigned| assigned.ticket <= ticket);
            self.assigned = rest;
            for Assigned { job, task, .. } in skipped {
                job.resolve(cancelled(task.index));
            }
            return;
        }
        // Workers answer in order; a task that was settled otherwise is not there any more.
        let Some(at) = self.assigned.iter().position(|assigned| assigned.ticket == ticket) else {
            return;
        };
        let Some(Assigned { job, task, moved, .. }) = self.assigned.remove(at) else { return };
        let index = task.index;
        let result = match answer {
            Answer::Value(value) => Ok(value),
            Answer::Panicked(panic) => Err(TaskError::Panicked { index, panic }),
            Answer::NotCalled(error) => Err(TaskError::NotCalled { index, error }),
            Answer::Unsendable(error) => Err(TaskError::Value { index, error }),
            Answer::Skipped => return,
        };
        job.conclude(task, !moved, result);
    }

    /// Whether it waits for something to do.
    pub(super) fn is_idle(&self) -> bool {
        self.ready && !self.is_leaving && self.assigned.is_empty()
    }

    /// Tells a worker that has nothing to do to end; whether it could be told. Hanging up would do, but for forks that have a copy
    /// of our end.
    pub(super) fn leave(&mut self) -> bool {
        self.is_leaving = true;
        // An idle one has room for the word; one that has gone needs none.
        self.courier.try_send(&protocol::farewell()).unwrap_or(true)
    }

    /// Asks a worker to end because of the task that it runs.
    pub(super) fn end(&mut self, ticket: Ticket, ran_for: Option<Duration>) {
        let of_ticket = |one: &&Assigned| one.ticket == ticket;
        if self.ending.is_some() {
            return;
        }
        let Some(task) = self.assigned.iter().find(of_ticket) else { return };
        let kill_at = Some(Deadline::after(task.job.options.grace));
        self.ending = Some(Ending { ticket, ran_for, kill_at });
        drop(self.process.terminate());
    }

    /// Kills one that was asked to end and has taken too long.
    pub(super) fn end_by_force(&mut self) {
        if let Some(ending) = &mut self.ending
            && ending.kill_at.is_some_and(Deadline::has_passed)
        {
            ending.kill_at = None;
            drop(self.process.kill());
        }
    }

    /// Ends a worker that can answer no more; it is buried when it has ended.
    pub(super) fn give_up(&mut self, reason: &str) {
        self.silent = true;
        self.ended_by_pool = Some(reason.to_owned());
        // Already ending, or not ours to signal because it became another user's.
        drop(self.process.kill());
    }

    pub(super) fn settle_oldest(&mut self, error: Error) {
        if let Some(ticket) = self.assigned.front().map(|assigned| assigned.ticket) {
            self.settle(ticket, Answer::Unsendable(error));
        }
    }
}
