//! The same words for threads of this process: what a program uses that is to run without processes, for a while or for good.
//!
//! ```
//! // use procession::{Process, Pool}; and so on, or:
//! use procession::dummy::{self, Pool, Queue};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let queue = Queue::new()?;
//! let put = |queue: Queue<u32>| queue.put(41).is_ok();
//! let child = dummy::process().spawn(put, (queue.clone(),))?;
//! assert_eq!(queue.get()?, 41);
//! assert!(child.join()?);
//!
//! let pool = Pool::new()?;
//! let captured = vec![1, 2, 3];
//! assert_eq!(pool.map(move |nth: usize| captured[nth] * 2, 0..3)?, [2, 4, 6]);
//! # Ok(())
//! # }
//! ```
//!
//! | CPython's `multiprocessing.dummy` | here |
//! |---|---|
//! | `Process(target=f, args=a).start()` | [`process()`]`.spawn(f, (a,))`. It ends when its function has: [`exit_status`](crate::Child::exit_status) is 0, or 1 after a panic. Signals, limits, streams are `Unsupported` |
//! | `Pool(n)`, `pool.ThreadPool` | [`Pool`], which is [`ThreadPool`] |
//! | `current_process()`, `active_children()` | the same. Both know a thread that stands for a process |
//! | `Lock`, `RLock`, `Semaphore`, `BoundedSemaphore`, `Condition`, `Event`, `Barrier` | those of this library: they work between threads as well, clones of one handle being one lock |
//! | `Queue`, `JoinableQueue` | the same; items are encoded |
//! | `Value`, `Array` | the same |
//! | `Pipe()`, `connection.Pipe`, `Listener`, `Client` | [`pipe`], [`duplex`]; [`connection`] |
//! | `Manager()`, `Namespace`, `dict`, `list` | an `Arc<Mutex<..>>` of what you like |
//! | `freeze_support()` | needless: no program is started anew |
//!
//! Arguments and values of such a process are encoded all the same, so that a program which works with threads works with processes: take
//! another [`Context`]. A [`Pool`] of threads moves them, and takes functions that capture; [`crate::Pool`] does not.

pub use crate::{
    Array, Barrier, BoundedSemaphore, Condition, Event, JoinableQueue, Lock, Process, Queue, RLock,
    Semaphore, ThreadPool, ThreadPool as Pool, Value, active_children, current_process, duplex,
    pipe,
};

use crate::process::Builder;
use crate::{Context, StartMethod};

/// CPython's `multiprocessing.dummy.connection`.
pub mod connection {
    pub use crate::{Client, Listener, duplex, pipe};
}

/// The context whose processes are threads.
pub fn context() -> Context {
    Context::new(StartMethod::Thread)
}

/// Describes a thread that stands for a process, before it is started.
pub fn process() -> Builder {
    context().process()
}
