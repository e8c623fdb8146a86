#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod attached;
mod books;
mod debts;
mod error;
mod memory;
mod payload;
mod queue;
mod raw;
mod simple;
mod spans;

pub use error::{GetError, GetTimeoutError, PutError, PutTimeoutError, TryGetError, TryPutError};
pub use queue::{Iter, Queue};
pub use simple::SimpleQueue;
