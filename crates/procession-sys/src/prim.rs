//! The only door to atomics, mutexes and condition variables.
//!
//! Algorithms above take them from here, so that a model checker can stand in for them without an edit. `cargo xtask tidy` refuses `std::sync` elsewhere.
//!
//! What lies in statics or in mapped memory is always the real thing; algorithms that are model-checked are written over
//! [`model`], which is the same types except under `--cfg loom` (`cargo xtask loom`).

pub use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize,
    Ordering, compiler_fence, fence,
};
pub use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// The types that a model checker replaces: it explores every order in which threads can reach them.
///
/// Loom's cannot be made in a `const`, nor laid over memory that somebody else mapped.
pub mod model {
    #[cfg(loom)]
    pub use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, fence};
    #[cfg(not(loom))]
    pub use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, fence};
}

/// Locks `mutex` whether or not a thread panicked while it held it.
///
/// Our critical sections leave their data whole at every instruction that can panic, so poison carries no news.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
