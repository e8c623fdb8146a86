//! What is hammered, and what a worker does with it. Everything that a worker does is written down in shared words, so that
//! what a killed one has left undone can be told.

use std::time::Duration;

use procession::{
    Barrier, BarrierError, Condition, Event, Lock, LockError, RLock, Result, Semaphore, WaitError,
};
use procession_sys::memory::SharedWords;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{Relaxed, SeqCst};
use procession_sys::{Deadline, poll};
use serde::{Deserialize, Serialize};

use crate::Random;

/// Workers at a time.
pub(super) const WORKERS: usize = 8;
/// Permits of a semaphore.
pub(super) const PERMITS: u32 = 3;

/// One of each kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Subject {
    Lock(Lock),
    RLock(RLock),
    Permits(Semaphore),
    RawPermits(Semaphore),
    Condition(Condition),
    Event(Event),
    Barrier(Barrier),
}

impl Subject {
    pub(super) fn new(kind: &str) -> Result<Self> {
        Ok(match kind {
            "lock" => Self::Lock(Lock::new()?),
            "rlock" => Self::RLock(RLock::new()?),
            "permits" => Self::Permits(Semaphore::new(PERMITS)?),
            "raw-permits" => Self::RawPermits(Semaphore::new(PERMITS)?),
            "condition" => Self::Condition(Condition::new()?),
            "event" => Self::Event(Event::new()?),
            "barrier" => Self::Barrier(Barrier::new(WORKERS)?),
            other => panic!("no kind `{other}`"),
        })
    }
}

/// The words that workers and stage share.
#[derive(Debug)]
pub(super) struct Board(pub(super) SharedWords);

impl Board {
    pub(super) const WORDS: usize = (WORKERS + 1) * 16;

    /// Not zero once the workers shall end.
    pub(super) fn stop(&self) -> &AtomicU64 {
        self.0.word(0)
    }

    /// What the lock protects: the sum of all workers' counts, or how many items there are.
    pub(super) fn total(&self) -> &AtomicU64 {
        self.0.word(1)
    }

    /// Who is inside: a worker's number and one.
    pub(super) fn inside(&self) -> &AtomicU64 {
        self.0.word(2)
    }

    /// How often something was seen that must not be.
    pub(super) fn wrongs(&self) -> &AtomicU64 {
        self.0.word(3)
    }

    /// How often the death of an owner was told.
    pub(super) fn deaths(&self) -> &AtomicU64 {
        self.0.word(4)
    }

    /// The generation of the barrier's workers; goes up when all shall go on.
    pub(super) fn generation(&self) -> &AtomicU64 {
        self.0.word(5)
    }

    fn of(&self, worker: usize, at: usize) -> &AtomicU64 {
        self.0.word((worker + 1) * 16 + at)
    }

    /// How many operations a worker has done.
    pub(super) fn done(&self, worker: usize) -> &AtomicU64 {
        self.of(worker, 0)
    }

    /// What it has counted under the lock; how many items it has made.
    pub(super) fn count(&self, worker: usize) -> &AtomicU64 {
        self.of(worker, 1)
    }

    /// How many items it has taken.
    pub(super) fn taken(&self, worker: usize) -> &AtomicU64 {
        self.of(worker, 2)
    }

    /// What it does with a permit: see `State`.
    pub(super) fn state(&self, worker: usize) -> &AtomicU64 {
        self.of(worker, 3)
    }

    fn sum(&self, of: impl Fn(&Self, usize) -> &AtomicU64) -> u64 {
        (0..WORKERS).map(|worker| of(self, worker).load(SeqCst)).sum()
    }

    /// What [`total`](Self::total) must be.
    pub(super) fn expected(&self) -> u64 {
        self.sum(Self::count) - self.sum(Self::taken)
    }
}

/// What a worker does with a permit that is nobody's.
pub(super) mod state {
    pub(in super::super) const IDLE: u64 = 0;
    pub(in super::super) const TAKING: u64 = 1;
    pub(in super::super) const HAS: u64 = 2;
    pub(in super::super) const GIVING: u64 = 3;
}

/// A worker: what the stage starts.
pub(super) struct Worker {
    pub(super) board: Board,
    pub(super) number: usize,
    pub(super) random: Random,
}

impl Worker {
    /// Hammers until it is told to stop.
    pub(super) fn run(&mut self, subject: &Subject) -> Result<()> {
        while self.board.stop().load(Relaxed) == 0 {
            match subject {
                Subject::Lock(lock) => self.count(|| lock.lock())?,
                Subject::RLock(lock) => self.nest(lock)?,
                Subject::Permits(semaphore) => self.permit(semaphore)?,
                Subject::RawPermits(semaphore) => self.raw_permit(semaphore)?,
                Subject::Condition(condition) => self.make_and_take(condition)?,
                Subject::Event(event) => self.set_and_wait(event)?,
                Subject::Barrier(barrier) => self.meet(barrier)?,
            }
            let done = self.board.done(self.number);
            done.store(done.load(Relaxed) + 1, SeqCst);
            self.pause();
        }
        Ok(())
    }

    fn spin(&mut self, most: usize) {
        for _ in 0..self.random.below(most) {
            std::hint::spin_loop();
        }
    }

    /// Lets others run, now and then: eight processes that never do would wait for processors, not for each other.
    fn pause(&mut self) {
        match self.random.below(3) {
            0 => self.spin(400),
            1 => {}
            _ => {
                let nap = Duration::from_micros(self.random.below(1_000) as u64);
                drop(poll::wait(&mut [], Deadline::after(nap)));
            }
        }
    }

    /// Stays inside for a while, now and then for long: there it shall be killed.
    fn linger(&mut self) {
        let most = if self.random.below(4) == 0 { 20_000 } else { 50 };
        self.spin(most);
    }

    fn wrong(&self) {
        self.board.wrongs().fetch_add(1, SeqCst);
    }

    /// Enters what only one may be in.
    fn enter(&self) {
        if self.board.inside().swap(self.number as u64 + 1, SeqCst) != 0 {
            self.wrong();
        }
    }

    fn leave(&self) {
        if self.board.inside().swap(0, SeqCst) != self.number as u64 + 1 {
            self.wrong();
        }
    }

    /// Puts in order what a dead owner has left.
    fn repair(&self) {
        self.board.deaths().fetch_add(1, SeqCst);
        self.board.inside().store(0, SeqCst);
        self.board.total().store(self.board.expected(), SeqCst);
    }

    fn change(&self, of: &AtomicU64, by: i64) {
        of.store(of.load(Relaxed).wrapping_add_signed(by), SeqCst);
    }

    /// Counts twice under a lock, so that dying in between leaves a difference.
    fn count<G: Repair>(&mut self, lock: impl Fn() -> Result<G, LockError<G>>) -> Result<()> {
        let guard = self.locked(lock())?;
        self.enter();
        self.change(self.board.count(self.number), 1);
        self.linger();
        self.change(self.board.total(), 1);
        self.leave();
        drop(guard);
        Ok(())
    }

    fn locked<G: Repair>(&self, locked: Result<G, LockError<G>>) -> Result<G> {
        match locked {
            Ok(guard) => Ok(guard),
            Err(LockError::OwnerDied(mut guard)) => {
                self.repair();
                guard.repair();
                Ok(guard)
            }
            Err(other) => Err(other.into()),
        }
    }

    fn nest(&mut self, lock: &RLock) -> Result<()> {
        let outer = self.locked(lock.lock())?;
        let depth = self.random.below(3);
        let inner: Vec<_> = (0..depth).map(|_| lock.lock()).collect::<Result<_, _>>()?;
        if lock.depth() as usize != depth + 1 {
            self.wrong();
        }
        self.count(|| lock.lock())?;
        drop(outer);
        drop(inner);
        Ok(())
    }

    fn permit(&mut self, semaphore: &Semaphore) -> Result<()> {
        let permit = semaphore.acquire()?;
        let inside = self.board.inside().fetch_add(1, SeqCst) + 1;
        self.board.state(self.number).store(state::HAS, SeqCst);
        self.linger();
        self.board.state(self.number).store(state::IDLE, SeqCst);
        self.board.inside().fetch_sub(1, SeqCst);
        // Who was killed inside is still counted.
        let killed = self.board.deaths().load(SeqCst);
        if inside > u64::from(PERMITS) + killed {
            self.wrong();
        }
        if self.random.below(8) == 0 {
            permit.forget();
            semaphore.release()?;
        } else {
            drop(permit);
        }
        Ok(())
    }

    fn raw_permit(&mut self, semaphore: &Semaphore) -> Result<()> {
        self.board.state(self.number).store(state::TAKING, SeqCst);
        match semaphore.acquire_raw_timeout(Duration::from_millis(20)) {
            Ok(()) => {
                self.board.state(self.number).store(state::HAS, SeqCst);
                self.linger();
                self.board.state(self.number).store(state::GIVING, SeqCst);
                semaphore.release()?;
            }
            // Those who were killed have them all.
            Err(WaitError::TimedOut) => {}
            Err(other) => return Err(other.into()),
        }
        self.board.state(self.number).store(state::IDLE, SeqCst);
        Ok(())
    }

    /// Makes an item, then takes one: so there is always one for whoever waits.
    fn make_and_take(&mut self, condition: &Condition) -> Result<()> {
        let mut guard = self.locked(condition.lock())?;
        self.enter();
        self.change(self.board.count(self.number), 1);
        self.linger();
        self.change(self.board.total(), 1);
        self.leave();
        if self.random.below(4) == 0 {
            condition.notify_all(&mut guard)?;
        } else {
            condition.notify_one(&mut guard)?;
        }
        if self.random.below(2) == 0 {
            drop(guard);
            self.spin(100);
            guard = self.locked(condition.lock())?;
        }
        while self.board.total().load(SeqCst) == 0 {
            match condition.wait(&mut guard) {
                Ok(()) => {}
                Err(WaitError::OwnerDied) => {
                    self.repair();
                    guard.repair();
                    // It may have died with an item made and nobody notified.
                    condition.notify_all(&mut guard)?;
                }
                Err(other) => return Err(other.into()),
            }
        }
        self.enter();
        self.change(self.board.taken(self.number), 1);
        self.change(self.board.total(), -1);
        self.leave();
        // Another item may be there for another waiter whose maker died before it notified.
        condition.notify_one(&mut guard)?;
        Ok(())
    }

    fn set_and_wait(&mut self, event: &Event) -> Result<()> {
        match self.random.below(4) {
            0 => drop(event.set()?),
            1 => drop(event.clear()?),
            _ => {}
        }
        match event.wait() {
            Ok(()) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }

    /// Meets the others, until the barrier breaks; then waits for the next generation.
    fn meet(&mut self, barrier: &Barrier) -> Result<()> {
        let generation = self.board.generation().load(SeqCst);
        match barrier.wait() {
            Ok(_) => {
                self.change(self.board.count(self.number), 1);
                Ok(())
            }
            Err(BarrierError::Broken) => {
                self.board.state(self.number).store(state::HAS, SeqCst);
                while self.board.generation().load(SeqCst) == generation
                    && self.board.stop().load(Relaxed) == 0
                {
                    std::thread::yield_now();
                }
                self.board.state(self.number).store(state::IDLE, SeqCst);
                Ok(())
            }
            Err(other) => Err(other.into()),
        }
    }
}

/// A guard that can be told that all is in order again.
trait Repair {
    fn repair(&mut self);
}

impl Repair for procession::sync::LockGuard<'_> {
    fn repair(&mut self) {
        self.repair();
    }
}

impl Repair for procession::sync::RLockGuard<'_> {
    fn repair(&mut self) {
        self.repair();
    }
}
