#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod attached;
mod books;
mod builder;
mod debts;
mod depot;
mod error;
mod held;
mod joinable;
mod memory;
mod payload;
mod queue;
mod raw;
mod simple;
mod spans;

pub use builder::QueueBuilder;
pub use error::{
    GetError, GetTimeoutError, PutError, PutTimeoutError, QueueJoinError, QueueJoinTimeoutError,
    TryGetError, TryPutError,
};
pub use joinable::{JoinableQueue, Lease, Leases};
pub use queue::{Iter, Queue};
pub use simple::SimpleQueue;
