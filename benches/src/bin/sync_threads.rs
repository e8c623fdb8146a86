//! Family `sync`, for scale: what `std` has for the threads of one process.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Barrier, Condvar, Mutex, MutexGuard, PoisonError};

use procession_benches::board::{Board, WORDS};
use procession_benches::crew::Threads;
use procession_benches::sync::{Bench, SIZES, bump, uncontended};

/// Nobody panics over these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn main() -> io::Result<()> {
    let words = [const { AtomicU64::new(0) }; WORDS];
    let bench = Bench { crew: Threads, board: Board::over(|index| &words[index]) };
    let mutex = Mutex::new(());
    uncontended("lock_uncontended", || drop(lock(&mutex)))?;
    bench.contended(|counter| {
        let guard = lock(&mutex);
        bump(counter);
        drop(guard);
    })?;
    let (flag, condition) = (Mutex::new(false), Condvar::new());
    let wait = || {
        let guard = condition.wait_while(lock(&flag), |flag| !*flag);
        *guard.unwrap_or_else(PoisonError::into_inner) = false;
    };
    let wake = || {
        let mut guard = lock(&flag);
        *guard = true;
        condition.notify_one();
    };
    bench.wakes("cond", wait, || (), wake)?;
    for size in SIZES {
        let barrier = Barrier::new(size);
        bench.barrier(size, || {
            barrier.wait();
        })?;
    }
    Ok(())
}
