//! What a word and `futex(2)` give without anything around it: the limits of family `sync`.
//!
//! Nothing here notices that an owner dies, times out, or is fair.
#![expect(unsafe_code, reason = "futex is the contender: nothing above it")]

use std::ptr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

/// How often a taker looks at a mutex before it sleeps.
const MUTEX_PAUSES: u32 = 100;
const ALL: u32 = i32::MAX.cast_unsigned();

/// Sleeps while `word` is `value`; may return early.
fn sleep(word: &AtomicU32, value: u32) {
    let timeout = ptr::null::<libc::timespec>();
    // SAFETY: the word lives through the call, which reads it; no timeout is given.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, timeout) };
}

fn wake(word: &AtomicU32, most: u32) {
    // SAFETY: the call takes the word's address only.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, most) };
}

/// Whether `is_done` came true within so many pauses.
fn spin_until(pauses: u32, is_done: impl Fn() -> bool) -> bool {
    for _ in 0..pauses {
        if is_done() {
            return true;
        }
        std::hint::spin_loop();
    }
    false
}

/// A mutex: 0 is free, 1 taken, 2 taken and perhaps waited for.
#[derive(Debug, Default)]
pub struct Mutex(AtomicU32);

impl Mutex {
    fn try_lock(&self) -> bool {
        self.0.compare_exchange(0, 1, Acquire, Relaxed).is_ok()
    }

    /// Takes it, however long that takes.
    #[inline]
    pub fn lock(&self) {
        if !self.try_lock() {
            self.wait();
        }
    }

    #[cold]
    fn wait(&self) {
        if !spin_until(MUTEX_PAUSES, || self.0.load(Relaxed) == 0 && self.try_lock()) {
            while self.0.swap(2, Acquire) != 0 {
                sleep(&self.0, 2);
            }
        }
    }

    /// Releases it; only for who has it.
    #[inline]
    pub fn unlock(&self) {
        if self.0.swap(0, Release) == 2 {
            wake(&self.0, 1);
        }
    }
}

/// A mutex that its owner may take again. Everybody says who he is, with a number above 0.
#[derive(Debug, Default)]
pub struct ReentrantMutex {
    mutex: Mutex,
    owner: AtomicU32,
    /// Beyond the first time; the owner's affair.
    depth: AtomicU32,
}

impl ReentrantMutex {
    /// Takes it, or takes it once more.
    #[inline]
    pub fn lock(&self, me: u32) {
        if self.owner.load(Relaxed) == me {
            self.depth.store(self.depth.load(Relaxed) + 1, Relaxed);
        } else {
            self.mutex.lock();
            self.owner.store(me, Relaxed);
        }
    }

    /// Undoes one `lock`; only for who has it.
    #[inline]
    pub fn unlock(&self) {
        match self.depth.load(Relaxed) {
            0 => {
                self.owner.store(0, Relaxed);
                self.mutex.unlock();
            }
            depth => self.depth.store(depth - 1, Relaxed),
        }
    }
}

/// A semaphore, made with no permits.
#[derive(Debug, Default)]
pub struct Semaphore {
    permits: AtomicU32,
    sleepers: AtomicU32,
}

impl Semaphore {
    /// Adds a permit.
    #[inline]
    pub fn release(&self) {
        self.permits.fetch_add(1, SeqCst);
        if self.sleepers.load(SeqCst) > 0 {
            wake(&self.permits, 1);
        }
    }

    /// Takes a permit, however long that takes.
    #[inline]
    pub fn acquire(&self) {
        loop {
            match self.permits.load(Relaxed) {
                0 => self.sleep(),
                seen => {
                    let taken = self.permits.compare_exchange(seen, seen - 1, Acquire, Relaxed);
                    if taken.is_ok() {
                        return;
                    }
                }
            }
        }
    }

    #[cold]
    fn sleep(&self) {
        self.sleepers.fetch_add(1, SeqCst);
        sleep(&self.permits, 0);
        self.sleepers.fetch_sub(1, SeqCst);
    }
}

/// An event: 0 is clear, 1 set, 2 clear and perhaps waited for.
#[derive(Debug, Default)]
pub struct Event(AtomicU32);

impl Event {
    /// Lets all through, from now on.
    pub fn set(&self) {
        if self.0.swap(1, SeqCst) == 2 {
            wake(&self.0, ALL);
        }
    }

    /// Holds all back, from now on.
    pub fn clear(&self) {
        // Where it fails, the event was clear already.
        self.0.compare_exchange(1, 0, SeqCst, Relaxed).ok();
    }

    /// Waits until it is set, spinning for some pauses before it sleeps.
    pub fn wait(&self, pauses: u32) {
        let is_set = || self.0.load(Acquire) == 1;
        if is_set() || spin_until(pauses, is_set) {
            return;
        }
        while self.0.compare_exchange(0, 2, Acquire, Acquire) != Err(1) {
            sleep(&self.0, 2);
        }
    }
}

/// A condition: a number that every notification raises.
#[derive(Debug, Default)]
pub struct Condition(AtomicU32);

impl Condition {
    /// Waits for a notification, without `mutex`, which the caller has.
    pub fn wait(&self, mutex: &Mutex) {
        let seen = self.0.load(Relaxed);
        mutex.unlock();
        sleep(&self.0, seen);
        mutex.lock();
    }

    /// Wakes one that waits, if there is one.
    pub fn notify_one(&self) {
        self.0.fetch_add(1, Relaxed);
        wake(&self.0, 1);
    }
}

/// A barrier: the last to arrive begins a new round and wakes the others, asleep or not.
#[derive(Debug, Default)]
pub struct Barrier {
    arrived: AtomicU32,
    round: AtomicU32,
}

impl Barrier {
    /// Waits for as many as take part, spinning for some pauses before it sleeps.
    pub fn wait(&self, parties: u32, pauses: u32) {
        let round = self.round.load(Acquire);
        if self.arrived.fetch_add(1, AcqRel) + 1 == parties {
            self.arrived.store(0, Relaxed);
            self.round.store(round.wrapping_add(1), Release);
            wake(&self.round, ALL);
            return;
        }
        let is_over = || self.round.load(Acquire) != round;
        if !spin_until(pauses, is_over) {
            while !is_over() {
                sleep(&self.round, round);
            }
        }
    }
}
