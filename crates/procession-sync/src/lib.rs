#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod barrier;
mod condition;
mod error;
mod event;
mod lock;
mod named;
mod owner;
mod raw;
mod rlock;
mod semaphore;
mod word;

pub use barrier::Barrier;
pub use condition::{AnyLock, Condition, GuardOf};
pub use error::{BarrierError, LockError, WaitError};
pub use event::Event;
pub use lock::{Lock, LockGuard};
pub use named::{NamedLock, NamedLockGuard, NamedOwner};
pub use owner::Owner;
pub use rlock::{RLock, RLockGuard};
pub use semaphore::{BoundedSemaphore, MAX_VALUE, Permit, Semaphore};
