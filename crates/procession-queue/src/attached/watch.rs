//! A descriptor to wait for a queue with, among others.
//!
//! It is a doorbell of this process. A thread waits as getters do, rings when there is something, and goes on when somebody of this
//! process has found nothing, and silenced it. So nobody who dies can leave it silent, and putters do nothing for it. The thread has
//! the queue a second time, so that it goes when the first one is dropped.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

use procession_core::threads::{self, Member};
use procession_core::{Deadline, Result};
use procession_sys::doorbell::Doorbell;
use procession_sys::fd::duplicate;
use procession_sys::futex;
use procession_sys::prim::Ordering::{Acquire, Relaxed, SeqCst};
use procession_sys::prim::{AtomicBool, AtomicU32, OnceLock};

use super::Attached;
use super::patience::{Patience, Waited};
use crate::depot::Depot;
use crate::memory::Memory;

/// The thread looks whether there is something.
const LOOKS: u32 = 0;
/// It has rung, and waits until there is nothing.
const RANG: u32 = 1;

/// The descriptor that one process has of a queue.
#[derive(Debug)]
pub(super) struct Watch {
    /// The [word](procession_core::family::ProcessId::to_bits) of that process.
    owner: u64,
    shared: Arc<Shared>,
    /// That of a fork.
    next: OnceLock<Box<Watch>>,
}

#[derive(Debug)]
struct Shared {
    doorbell: Doorbell,
    state: AtomicU32,
    is_over: AtomicBool,
}

impl Attached {
    /// A descriptor that is readable while there is something to be got, or for a moment longer.
    pub(crate) fn readable_fd(&self) -> Result<BorrowedFd<'_>> {
        self.me()?;
        let me = self.object.family().me_word().load(Relaxed);
        let mut place = &self.watch;
        loop {
            match place.get() {
                Some(watch) if watch.owner == me => return Ok(watch.shared.doorbell.as_fd()),
                Some(watch) => place = &watch.next,
                None => {
                    let watch = Watch::start(self, me)?;
                    if let Err(second) = place.set(Box::new(watch)) {
                        second.stop(self);
                    }
                }
            }
        }
    }

    /// Whether there is something to be got, or the end.
    pub(crate) fn is_ready(&self) -> Result<bool> {
        let me = self.me()?;
        self.settle(Deadline::PAST)?;
        if !self.has_nothing(me)? {
            return Ok(true);
        }
        self.say_nothing_there();
        // It may have come while it was silenced.
        Ok(!self.has_nothing(me)?)
    }

    /// Somebody of this process has found nothing.
    #[inline]
    pub(super) fn say_nothing_there(&self) {
        if let Some(watch) = self.own_watch() {
            watch.silence();
        }
    }

    fn own_watch(&self) -> Option<&Watch> {
        let me = self.object.family().me_word().load(Relaxed);
        let mut place = &self.watch;
        loop {
            match place.get()? {
                watch if watch.owner == me => return Some(watch),
                watch => place = &watch.next,
            }
        }
    }

    pub(super) fn stop_watch(&self) {
        if let Some(watch) = self.own_watch() {
            watch.stop(self);
        }
    }

    /// The queue once more, for a thread that goes when this one is dropped.
    fn twin(&self) -> Result<Self> {
        let [left, right] = self.depot.ends();
        let memory = Memory::open(&self.object, duplicate(&self.memory.file)?)?;
        let depot = Depot::open(duplicate(left)?, duplicate(right)?)?;
        Ok(Self::of(self.object.clone(), self.lock.clone(), memory, depot))
    }
}

impl Watch {
    fn start(queue: &Attached, owner: u64) -> Result<Self> {
        let shared = Arc::new(Shared {
            doorbell: Doorbell::new()?,
            state: AtomicU32::new(LOOKS),
            is_over: AtomicBool::new(false),
        });
        let (twin, theirs, rung) = (queue.twin()?, Arc::clone(&shared), Arc::clone(&shared));
        let getters = queue.memory.getters();
        let ring = move || {
            getters.ring_for_all();
            drop(futex::wake(&rung.state, u32::MAX));
        };
        let thread = threads::start("procession-watch", ring, move |member| {
            theirs.run(&twin, member);
        })?;
        // It ends by itself.
        drop(thread);
        Ok(Self { owner, shared, next: OnceLock::new() })
    }

    fn silence(&self) {
        let Shared { doorbell, state, .. } = &*self.shared;
        if state.load(Acquire) == RANG {
            // Whatever goes wrong with a doorbell of ours, it rings once more than it should.
            drop(doorbell.silence());
            state.store(LOOKS, SeqCst);
            drop(futex::wake(state, 1));
        }
    }

    fn stop(&self, queue: &Attached) {
        self.shared.is_over.store(true, SeqCst);
        drop(futex::wake(&self.shared.state, 1));
        queue.memory.getters().ring_for_all();
    }
}

impl Shared {
    fn run(&self, queue: &Attached, member: &Member) {
        while !self.is_over.load(SeqCst) {
            member.rest();
            if !self.is_there(queue, member) {
                continue;
            }
            // It may have been rung for a getter.
            queue.memory.getters().ring();
            self.state.store(RANG, SeqCst);
            drop(self.doorbell.ring());
            while self.state.load(Acquire) == RANG && !self.is_over.load(SeqCst) {
                member.rest();
                drop(futex::wait(&self.state, RANG, Deadline::NEVER));
            }
        }
    }

    /// Waits until something is there, the end, or an error that a getter would be told of; `false` when this was interrupted.
    fn is_there(&self, queue: &Attached, member: &Member) -> bool {
        let has_nothing = || queue.me().and_then(|me| queue.has_nothing(me));
        let is_waiting = || has_nothing().unwrap_or(false) && !self.is_over.load(SeqCst);
        let mut patience = Patience::sleeping(queue);
        while is_waiting() {
            member.rest();
            match patience.wait(queue.memory.getters(), &Vec::new, &is_waiting) {
                Ok(Waited::Look | Waited::TimedOut) => {}
                Ok(Waited::Alone) | Err(_) => return true,
            }
        }
        !self.is_over.load(SeqCst)
    }
}
