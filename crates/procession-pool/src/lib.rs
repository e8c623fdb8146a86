#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod async_result;
mod builder;
mod context;
mod dispatch;
mod error;
mod job;
mod many;
mod options;
mod pool;
mod protocol;
mod stream;
mod worker;

pub use async_result::AsyncResult;
pub use builder::Builder;
pub use context::ContextExt;
pub use error::TaskError;
pub use many::{AsCompleted, ReturnWhen, as_completed, wait_for};
pub use options::Tasks;
pub use pool::Pool;
pub use stream::{Imap, ImapUnordered};
pub use worker::current_worker;
