//! Family `sync`, the limits: bare `futex(2)` between forks, and atomics that never sleep.
//!
//! The argument is `plain`, `adaptive` (event and barrier spin before they sleep) or `spin`.

use std::io;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use procession_benches::forks::{Forks, share};
use procession_benches::futex::{Barrier, Condition, Event, Mutex, ReentrantMutex, Semaphore};
use procession_benches::sync::{Bench, SIZES, bump, uncontended};

/// Some 20 to 50 µs: what it costs to wake a sleeper on another processor, or twice that.
const ADAPTIVE_PAUSES: u32 = 2000;

fn main() -> io::Result<()> {
    let way = std::env::args().nth(1).unwrap_or_default();
    let bench = Bench::forked()?;
    match way.as_str() {
        "plain" => by_futex(&bench, 0),
        "adaptive" => by_futex(&bench, ADAPTIVE_PAUSES),
        "spin" => by_spinning(&bench),
        _ => Err(io::Error::other(format!("unknown way `{way}`; one of plain, adaptive, spin"))),
    }
}

fn by_futex(bench: &Bench<'_, Forks>, pauses: u32) -> io::Result<()> {
    let mutex = share(Mutex::default())?;
    uncontended("lock_uncontended", || {
        mutex.lock();
        mutex.unlock();
    })?;
    let (reentrant, me) = (share(ReentrantMutex::default())?, std::process::id());
    uncontended("rlock_uncontended", || {
        reentrant.lock(me);
        reentrant.unlock();
    })?;
    let semaphore = share(Semaphore::default())?;
    semaphore.release();
    uncontended("sem_uncontended", || {
        semaphore.acquire();
        semaphore.release();
    })?;
    bench.contended(|counter: &AtomicU64| {
        mutex.lock();
        bump(counter);
        mutex.unlock();
    })?;
    let event = share(Event::default())?;
    bench.wakes("event", || event.wait(pauses), || event.clear(), || event.set())?;
    condition(bench, mutex)?;
    for size in SIZES {
        let barrier = share(Barrier::default())?;
        let parties = u32::try_from(size).map_err(io::Error::other)?;
        bench.barrier(size, || barrier.wait(parties, pauses))?;
    }
    Ok(())
}

fn condition(bench: &Bench<'_, Forks>, mutex: &Mutex) -> io::Result<()> {
    let (condition, flag) = (share(Condition::default())?, share(AtomicBool::new(false))?);
    let wait = || {
        mutex.lock();
        while !flag.load(Relaxed) {
            condition.wait(mutex);
        }
        flag.store(false, Relaxed);
        mutex.unlock();
    };
    let wake = || {
        mutex.lock();
        flag.store(true, Relaxed);
        condition.notify_one();
        mutex.unlock();
    };
    bench.wakes("cond", wait, || (), wake)
}

/// Takes the word if it is 1, leaving 0.
fn take(word: &AtomicU32) {
    while word.compare_exchange_weak(1, 0, Acquire, Relaxed).is_err() {
        while word.load(Relaxed) == 0 {
            std::hint::spin_loop();
        }
    }
}

fn by_spinning(bench: &Bench<'_, Forks>) -> io::Result<()> {
    let lock = share(AtomicU32::new(1))?;
    uncontended("lock_uncontended", || {
        take(lock);
        lock.store(1, Release);
    })?;
    bench.contended(|counter| {
        take(lock);
        bump(counter);
        lock.store(1, Release);
    })?;
    let event = share(AtomicU32::new(0))?;
    bench.wakes("event", || take(event), || (), || event.store(1, Release))?;
    // Four would wait for each other to be taken off two processors.
    let (arrived, round) = (share(AtomicU32::new(0))?, share(AtomicU32::new(0))?);
    bench.barrier(2, || {
        let now = round.load(Acquire);
        if arrived.fetch_add(1, AcqRel) == 1 {
            arrived.store(0, Relaxed);
            round.store(now + 1, Release);
        }
        while round.load(Acquire) == now {
            std::hint::spin_loop();
        }
    })
}
