//! A worker in its seat, and how it is ended.

use std::sync::Arc;
use std::time::Duration;

use procession_core::{Courier, Deadline};
use procession_process::Panic;

use crate::outbox::Reader;
use crate::stats::Tally;
use crate::worker::WorkerProcess;

/// A worker in its seat.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(super) process: Arc<WorkerProcess>,
    pub(super) courier: Courier,
    pub(super) reader: Reader,
    /// What it has begun, as its outbox says.
    pub(super) cell: Option<u16>,
    /// Whether it is not listened to any more.
    pub(super) silent: bool,
    /// Why the pool has ended it, if it has.
    pub(super) ended_by_pool: Option<String>,
    /// The task that it is being ended for.
    pub(super) ending: Option<Ending>,
    /// Whether it was told to end.
    pub(super) is_leaving: bool,
    /// Whether it is told to end as soon as another one has taken its place.
    pub(super) is_retiring: bool,
    pub(super) tally: Tally,
    /// How many tasks it may still answer before it ends.
    pub(super) left: Option<u64>,
    /// The panic that it ended with, where panics abort.
    pub(super) last_words: Option<Panic>,
    /// The end of what it wrote to its standard error, if that was kept; when it has ended.
    pub(super) stderr: Option<String>,
}

/// A worker that is being ended for the task that it runs.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) ticket: u64,
    pub(super) place: u32,
    /// How long that ran, if it has timed out; nothing if it was cancelled.
    pub(super) ran_for: Option<Duration>,
    /// When it is asked to end, if the task has notice.
    pub(super) ask_at: Option<Deadline>,
    /// How long it may take to end when it was asked.
    pub(super) grace: Duration,
    /// When it is ended by force; nothing before it was asked, and once it was.
    pub(super) kill_at: Option<Deadline>,
}

impl Ending {
    /// When there is something to be done about it.
    pub(super) fn next(&self) -> Deadline {
        self.ask_at.or(self.kill_at).unwrap_or(Deadline::NEVER)
    }
}

impl Seat {
    pub(super) fn new(
        process: WorkerProcess,
        courier: Courier,
        reader: Reader,
        left: Option<u64>,
    ) -> Self {
        Self {
            process: Arc::new(process),
            courier,
            reader,
            cell: None,
            silent: false,
            ended_by_pool: None,
            ending: None,
            is_leaving: false,
            is_retiring: false,
            tally: Tally::new(),
            left,
            last_words: None,
            stderr: None,
        }
    }

    /// Whether it may be given something.
    pub(super) fn may_begin(&self) -> bool {
        let is_there = self.ending.is_none() && !self.is_leaving && !self.silent;
        is_there && self.cell.is_none() && self.left != Some(0)
    }

    /// Whether it stays.
    pub(super) fn stays(&self) -> bool {
        !self.is_leaving && !self.is_retiring
    }

    /// Notes that it has answered so many tasks.
    pub(super) fn count(&mut self, tasks: u32) {
        self.tally.tasks += u64::from(tasks);
        self.left = self.left.map(|left| left.saturating_sub(tasks.into()));
    }

    /// Asks one to end whose task was given notice in vain, and kills one that was asked and has taken too long.
    pub(super) fn end_by_force(&mut self) {
        let Some(ending) = &mut self.ending else { return };
        if ending.ask_at.is_some_and(Deadline::has_passed) {
            ending.ask_at = None;
            ending.kill_at = Some(Deadline::after(ending.grace));
            drop(self.process.terminate());
        }
        if ending.kill_at.is_some_and(Deadline::has_passed) {
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
}
