#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod builder;
mod context;
mod dispatch;
mod error;
mod job;
mod pool;
mod protocol;
mod stream;
mod worker;

pub use builder::Builder;
pub use context::ContextExt;
pub use error::TaskError;
pub use pool::Pool;
pub use stream::{Imap, ImapUnordered};
