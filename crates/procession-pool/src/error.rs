//! What became of a task that has no value.

use std::fmt;
use std::time::Duration;

use procession_core::{Error, ErrorKind};
use procession_process::{Death, Panic};
use serde::{Deserialize, Serialize};

/// Why a task has no value. Every other task of the same call is unaffected.
///
/// A serde value, so that a task which uses a pool of its own may return it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskError {
    /// The function panicked. Its worker lives on.
    Panicked {
        /// The task's place in the input, from zero.
        index: usize,
        /// What the panic said, and where.
        panic: Panic,
    },
    /// The worker died while it ran this task: killed by a signal (its own fault or somebody's), or by an exit. Or several
    /// workers died one after the other that were about to begin it: they had no memory for its argument, say.
    ///
    /// The function may have had any part of its effects.
    WorkerDied {
        /// The task's place in the input, from zero.
        index: usize,
        /// The worker's seat in the pool, from zero; another process sits there now.
        worker: usize,
        /// Which process it was, how it ended, and how much memory it had.
        death: Box<Death>,
        /// Why the pool itself ended it, when it was not somebody else: it had closed its socket, say.
        ended_by_pool: Option<String>,
        /// How long the task ran, at most: without a [time limit](crate::Tasks::timeout), since its chunk was begun. Nothing when it was not begun.
        ran_for: Option<Duration>,
        /// The last 4 KiB of what the worker wrote to its standard error, if that is [kept](crate::Builder::capture_stderr).
        stderr: Option<String>,
    },
    /// The task ran longer than it [may](crate::Tasks::timeout), and was ended with its worker.
    TimedOut {
        /// The task's place in the input, from zero.
        index: usize,
        /// How long it ran until it was asked to end.
        ran_for: Duration,
    },
    /// The task was [cancelled](crate::AsyncResult::cancel): never started, or ended with its worker.
    Cancelled {
        /// The task's place in the input, from zero.
        index: usize,
    },
    /// The pool was closed, terminated or dropped before the task was done.
    PoolClosed {
        /// The task's place in the input, from zero.
        index: usize,
    },
    /// The function was not called: its argument could not be encoded or decoded.
    NotCalled {
        /// The task's place in the input, from zero.
        index: usize,
        /// What is wrong with it.
        error: Error,
    },
    /// The function returned, and its value could not be encoded or decoded.
    Value {
        /// The task's place in the input, from zero.
        index: usize,
        /// What is wrong with it.
        error: Error,
    },
    /// The pool is out of order: its workers cannot be started. The function was not called.
    PoolBroken {
        /// The task's place in the input, from zero.
        index: usize,
        /// What the last attempt to start a worker brought.
        error: Error,
    },
}

impl TaskError {
    /// The task's place in the input, from zero.
    pub fn index(&self) -> usize {
        match self {
            Self::Panicked { index, .. }
            | Self::WorkerDied { index, .. }
            | Self::TimedOut { index, .. }
            | Self::Cancelled { index }
            | Self::PoolClosed { index }
            | Self::NotCalled { index, .. }
            | Self::Value { index, .. }
            | Self::PoolBroken { index, .. } => *index,
        }
    }

    /// How the worker ended that ran this task, if that is what went wrong.
    pub fn death(&self) -> Option<&Death> {
        match self {
            Self::WorkerDied { death, .. } => Some(death),
            _ => None,
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}: ", self.index())?;
        match self {
            Self::Panicked { panic, .. } => panic.fmt(f),
            Self::WorkerDied { death, ended_by_pool: None, .. } => {
                write!(f, "{death} while it ran the task")
            }
            Self::WorkerDied { death, ended_by_pool: Some(reason), .. } => {
                write!(f, "the pool ended {} (pid {}): {reason}", death.name, death.pid)
            }
            Self::TimedOut { ran_for, .. } => write!(f, "timed out after {ran_for:?}"),
            Self::Cancelled { .. } => f.write_str("it was cancelled"),
            Self::PoolClosed { .. } => f.write_str("the pool is closed"),
            Self::NotCalled { error, .. } => write!(f, "the function was not called: {error}"),
            Self::Value { error, .. } => write!(f, "the return value is lost: {error}"),
            Self::PoolBroken { error, .. } => write!(f, "the pool is out of order: {error}"),
        }
    }
}

impl std::error::Error for TaskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Panicked { .. }
            | Self::WorkerDied { .. }
            | Self::TimedOut { .. }
            | Self::Cancelled { .. }
            | Self::PoolClosed { .. } => None,
            Self::NotCalled { error, .. }
            | Self::Value { error, .. }
            | Self::PoolBroken { error, .. } => Some(error),
        }
    }
}

impl From<TaskError> for Error {
    fn from(error: TaskError) -> Self {
        let kind = match &error {
            TaskError::Panicked { .. } => ErrorKind::Panicked,
            TaskError::WorkerDied { .. } => ErrorKind::Died,
            TaskError::TimedOut { .. } => ErrorKind::TimedOut,
            TaskError::Cancelled { .. } | TaskError::PoolClosed { .. } => ErrorKind::Closed,
            TaskError::PoolBroken { .. } => ErrorKind::Broken,
            TaskError::NotCalled { error, .. } | TaskError::Value { error, .. } => error.kind(),
        };
        let this = Self::new(kind, error.to_string());
        match std::error::Error::source(&error) {
            Some(source) => this.caused_by(source),
            None => this,
        }
    }
}
