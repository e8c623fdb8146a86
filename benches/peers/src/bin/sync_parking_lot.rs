//! Family `sync`, for scale: parking_lot, for the threads of one process.

use std::io;
use std::sync::atomic::AtomicU64;

use parking_lot::{Condvar, Mutex, ReentrantMutex};

#[path = "../../../src/board.rs"]
mod board;
#[path = "../../../src/clock.rs"]
mod clock;
#[path = "../../../src/crew.rs"]
mod crew;
#[expect(dead_code, reason = "the loop of another family")]
#[path = "../../../src/measure.rs"]
mod measure;
#[path = "../../../src/sync.rs"]
#[expect(dead_code, reason = "parking_lot has no barrier")]
mod sync;

use board::{Board, WORDS};
use crew::Threads;
use sync::{Bench, bump, uncontended};

fn main() -> io::Result<()> {
    let words = [const { AtomicU64::new(0) }; WORDS];
    let bench = Bench { crew: Threads, board: Board::over(|index| &words[index]) };
    let mutex = Mutex::new(());
    uncontended("lock_uncontended", || drop(mutex.lock()))?;
    let reentrant = ReentrantMutex::new(());
    uncontended("rlock_uncontended", || drop(reentrant.lock()))?;
    bench.contended(|counter| {
        let guard = mutex.lock();
        bump(counter);
        drop(guard);
    })?;
    let (flag, condition) = (Mutex::new(false), Condvar::new());
    let wait = || {
        let mut guard = flag.lock();
        condition.wait_while(&mut guard, |flag| !*flag);
        *guard = false;
    };
    let wake = || {
        let mut guard = flag.lock();
        *guard = true;
        condition.notify_one();
    };
    bench.wakes("cond", wait, || (), wake)
}
