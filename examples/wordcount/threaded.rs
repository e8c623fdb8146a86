//! The work done by threads of this process, to compare with the pool.

use std::num::NonZeroUsize;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use crate::count::{Partial, count_task};
use crate::walk::{Task, Walk};

/// Tasks that a thread has at hand: one that it counts and one that waits.
const TASKS_AT_HAND: usize = 2;

/// Counts with `count` threads. The walk runs on the calling thread, which also takes the results:
/// a thread gets its next task when it has delivered one.
pub(crate) fn count(mut walk: Walk, count: NonZeroUsize, mut done_fn: impl FnMut(Partial)) {
    thread::scope(|scope| {
        let (results_in, results) = mpsc::channel();
        let mut threads: Vec<SyncSender<Task>> = Vec::new();
        for number in 0..count.get() {
            let (tasks_in, tasks) = mpsc::sync_channel(TASKS_AT_HAND);
            let results_in = results_in.clone();
            scope.spawn(move || {
                for task in tasks {
                    if results_in.send((number, count_task(task))).is_err() {
                        break;
                    }
                }
            });
            threads.push(tasks_in);
        }
        drop(results_in);
        // Without senders the threads end, and with them the results.
        let mut feed_fn = |number: usize| match (walk.next(), threads.get(number)) {
            (Some(task), Some(thread)) => {
                // Fails only if the thread has panicked, which the end of the scope passes on.
                drop(thread.send(task));
            }
            _ => threads.clear(),
        };
        for number in (0..count.get()).cycle().take(count.get() * TASKS_AT_HAND) {
            feed_fn(number);
        }
        while let Ok((number, partial)) = results.recv() {
            feed_fn(number);
            done_fn(partial);
        }
    });
}
