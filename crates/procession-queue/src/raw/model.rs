//! What the models stand on: words on loom's atomics, on which one can sleep as on a futex.
//!
//! To compare and to fall asleep is one step for those who wake; a waker takes sleepers from the front. Whoever sleeps and is woken by
//! nobody is a deadlock, which loom reports. Loom takes SeqCst for AcqRel, so SeqCst loads are exchanges, which have one order. So are
//! stores: loom lets an exchange that has read what was there before a store come behind that.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]
#![expect(clippy::arc_with_non_send_sync, reason = "loom's threads take turns")]

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

use loom::sync::Mutex;
use loom::thread::{self, Thread};
use procession_core::Result;
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use procession_sys::prim::{Ordering, model};

use super::Word;
use super::line::{Slots, Trail};
use super::stamp::{Position, Stamp, State};

/// A word in shared memory, and who sleeps on it.
#[derive(Debug)]
pub(super) struct Shared {
    word: model::AtomicU64,
    bed: Mutex<VecDeque<Arc<Sleeper>>>,
}

#[derive(Debug)]
struct Sleeper {
    thread: Thread,
    is_awake: Cell<bool>,
}

impl Shared {
    pub(super) fn new(value: u64) -> Self {
        Self { word: model::AtomicU64::new(value), bed: Mutex::default() }
    }

    /// Sleeps while the lower half is `expected`.
    pub(super) fn sleep(&self, expected: u32) {
        let mut bed = self.bed.lock().unwrap();
        if self.word.fetch_or(0, AcqRel) & u64::from(u32::MAX) != u64::from(expected) {
            return;
        }
        let is_awake = Cell::new(false);
        let sleeper = Arc::new(Sleeper { thread: thread::current(), is_awake });
        bed.push_back(Arc::clone(&sleeper));
        drop(bed);
        while !sleeper.is_awake.get() {
            thread::park();
        }
    }
}

impl Word for Shared {
    fn load(&self, ordering: Ordering) -> u64 {
        match ordering {
            SeqCst => self.word.fetch_or(0, AcqRel),
            _ => self.word.load(ordering),
        }
    }

    fn store(&self, value: u64, _ordering: Ordering) {
        self.word.swap(value, AcqRel);
    }

    fn exchange(&self, from: u64, to: u64) -> bool {
        self.word.compare_exchange(from, to, AcqRel, Acquire).is_ok()
    }

    fn wake(&self, most: u32) -> usize {
        let mut bed = self.bed.lock().unwrap();
        let woken = bed.len().min(most as usize);
        for sleeper in bed.drain(..woken) {
            sleeper.is_awake.set(true);
            sleeper.thread.unpark();
        }
        woken
    }
}

/// A line of a few slots, each with a payload, and the bells.
#[derive(Debug)]
pub(super) struct World {
    start: Position,
    head: Shared,
    tail: Shared,
    slots: Vec<(Shared, model::AtomicU64)>,
    /// One for all, as threads have it.
    pub(super) trail: Trail,
    pub(super) getters: Shared,
    pub(super) putters: Shared,
    pub(super) joiners: Shared,
    /// Up to where all slots are done.
    pub(super) done: Shared,
    /// Whether an item may have been given back.
    pub(super) returned: Shared,
    pub(super) books: Mutex<()>,
}

impl World {
    pub(super) fn new(start: u64, slots: u64) -> Arc<Self> {
        let start = Position::new(start);
        let free = |step| Stamp::new(start.plus(step), State::Free).to_bits();
        let slots = (0..slots).map(|step| (Shared::new(free(step)), model::AtomicU64::new(0)));
        Arc::new(Self {
            start,
            head: Shared::new(start.bits()),
            tail: Shared::new(start.bits()),
            slots: slots.collect(),
            trail: Trail::at(start),
            getters: Shared::new(0),
            putters: Shared::new(0),
            joiners: Shared::new(0),
            done: Shared::new(start.bits()),
            returned: Shared::new(0),
            books: Mutex::new(()),
        })
    }

    pub(super) fn write(&self, slot: usize, payload: u64) {
        self.slots[slot].1.store(payload, Relaxed);
    }

    pub(super) fn is_returned(&self, slot: usize) -> bool {
        let bits = self.slots[slot].0.load(Acquire);
        matches!(Stamp::from_bits(bits).state, State::Returned { .. })
    }

    pub(super) fn read(&self, slot: usize) -> u64 {
        self.slots[slot].1.load(Relaxed)
    }

    /// What the death of whoever was at a slot makes of it; whether an item was lost.
    pub(super) fn settle(&self, dead: u16) -> usize {
        let mut lost = 0;
        for (word, _) in &self.slots {
            let stamp = Stamp::from_bits(word.load(Acquire));
            let is_taken = stamp.state == State::Taken(dead);
            if is_taken || stamp.state == State::Claimed(dead) {
                word.store(Stamp::new(stamp.position, State::Done).to_bits(), Ordering::Release);
            }
            lost += usize::from(is_taken);
        }
        lost
    }
}

impl Slots for &World {
    type Word = Shared;
    type Slot = usize;

    fn head(&self) -> &Shared {
        &self.head
    }

    fn tail(&self) -> &Shared {
        &self.tail
    }

    fn slot(&self, position: Position) -> Result<Option<usize>> {
        let step = usize::try_from(position.beyond(self.start)).unwrap();
        Ok((step < self.slots.len()).then_some(step))
    }

    fn word<'a>(&'a self, slot: &'a usize) -> &'a Shared {
        &self.slots[*slot].0
    }
}

/// Explores all orders with up to `preemptions` switches away from threads that could have gone on.
pub(super) fn explore(preemptions: usize, model: impl Fn() + Sync + Send + Copy + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.max(Some(preemptions));
    builder.max_branches = 20_000;
    builder.check(model);
}
