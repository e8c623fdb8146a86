//! The work done by a pool of worker processes.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::mpsc;

use procession::prelude::*;

use crate::count::{Partial, count_task};
use crate::walk::{Task, Walk};

/// What became of a task.
#[derive(Debug)]
pub(crate) enum Outcome {
    Counted(Partial),
    /// Two workers died or panicked over it; the reason is that of the second.
    GivenUp(Task, String),
}

/// Counts with `workers` processes. The walk is pulled as the workers need tasks. If a worker dies,
/// say because the system ran out of memory, the files of its task get a second chance at the end,
/// each on its own.
pub(crate) fn count(
    walk: Walk,
    workers: NonZeroUsize,
    mut done_fn: impl FnMut(Outcome),
) -> procession::Result<()> {
    let pool = Pool::builder().workers(workers).build()?;
    let mut failed = Vec::new();
    // A copy of every task that the pool has pulled, until its result is in.
    let (pulled_in, pulled) = mpsc::channel();
    let mut in_flight = HashMap::new();
    let tasks = walk.inspect(move |task| {
        // Fails only if the loop below is gone, and then nobody wants the copy.
        drop(pulled_in.send(task.clone()));
    });
    for result in pool.imap_unordered(count_task, tasks) {
        in_flight.extend(pulled.try_iter().map(|task: Task| (task.id, task)));
        match result {
            Ok(partial) => {
                in_flight.remove(&partial.id);
                done_fn(Outcome::Counted(partial));
            }
            // The walk numbers its tasks as the pool does: from zero, in order.
            Err(error) => failed.extend(in_flight.remove(&error.index())),
        }
    }
    let mut again: Vec<Task> = Vec::new();
    for task in failed {
        again.extend(task.split(again.len()));
    }
    for result in pool.imap_unordered(count_task, again.clone()) {
        match result {
            Ok(partial) => done_fn(Outcome::Counted(partial)),
            Err(error) => {
                let task = again[error.index()].clone();
                // The number of the task, which the error also tells, means nothing to the user.
                let reason =
                    error.death().map_or_else(|| error.to_string(), |death| death.to_string());
                done_fn(Outcome::GivenUp(task, reason));
            }
        }
    }
    Ok(())
}
