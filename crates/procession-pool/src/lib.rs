#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod async_result;
mod board;
mod builder;
mod context;
mod dispatch;
mod error;
mod job;
mod many;
mod memory;
mod options;
mod outbox;
mod piece;
mod pool;
mod progress;
mod spare;
mod state_pool;
mod stats;
mod stream;
mod thread_pool;
mod timeline;
mod tokens;
mod worker;

pub use async_result::AsyncResult;
pub use builder::{Builder, Pin};
pub use context::ContextExt;
pub use error::TaskError;
pub use many::{AsCompleted, ReturnWhen, as_completed, wait_for};
pub use options::Tasks;
pub use pool::Pool;
pub use state_pool::{StateBuilder, StatePool, StateTasks};
pub use stats::{Stats, TaskStats, WorkerStats};
pub use stream::{Imap, ImapUnordered};
pub use thread_pool::{
    ThreadBuilder, ThreadImap, ThreadImapUnordered, ThreadPool, ThreadResult, ThreadTarget,
    ThreadTasks,
};
pub use timeline::Timeline;
pub use worker::{Progress, TaskContext, current_task, current_worker};
