//! The only door to atomics, mutexes and condition variables.
//!
//! Algorithms above take them from here, so that a model checker can stand in for them without an edit. `cargo xtask tidy` refuses `std::sync` elsewhere.

pub use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
pub use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// Locks `mutex` whether or not a thread panicked while it held it.
///
/// Our critical sections leave their data whole at every instruction that can panic, so poison carries no news.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
