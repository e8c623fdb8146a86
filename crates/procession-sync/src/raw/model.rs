//! What the models of the algorithms stand on: words on loom's atomics, a futex, deadlines, and deaths.
//!
//! * [`Shared`] is a word in shared memory with those who sleep on it; [`View`] is the same word as one process sees it, which
//!   dies after so many changes ([`Life`]).
//! * [`Sleepy`] waits: it spins a little, sleeps, and perhaps has a deadline, which passes when the model says so
//!   ([`Shared::pass`]).
//! * [`Village`] knows who is dead, and who observes whom.
//! * [`explore`] and [`each_death`] run a model in all orders.
//!
//! **The futex.** As the kernel's: comparing and falling asleep is one step for those who wake; a waker takes sleepers from
//! the front of the queue; who was taken from there is awake, whatever becomes of it. Whoever sleeps and is woken by nobody
//! is a deadlock, which loom reports.
//!
//! **Deaths.** A process dies right after one of its changes of the shared memory, right after it has woken somebody, or
//! right after it was woken: a death anywhere else looks to all others like one of these. What a dying process had is
//! recovered by the same thread, later: whoever recovers it does that at any time after its death.
//!
//! **Loads.** Each model runs twice, as those of the process table do: once with loads that may be old, and once with loads
//! that are changes of nothing, because loom forgets some orders between loads. Loom takes SeqCst for AcqRel; so SeqCst
//! loads and stores are exchanges always, which have one order among them.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]
#![expect(clippy::arc_with_non_send_sync, reason = "loom's threads take turns")]

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::sync::Arc;

use loom::sync::Mutex;
use loom::thread::{self, Thread};
use procession_core::Result;
use procession_core::family::ProcessId;
use procession_core::waiting::Slept;
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use procession_sys::prim::{AtomicBool, Ordering, model};

use crate::word::{Waiter, Word, low};

/// How loom takes loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loads {
    MayBeOld,
    AreOrdered,
}

/// A word in shared memory.
#[derive(Debug)]
pub(super) struct Shared {
    word: model::AtomicU64,
    loads: Loads,
    bed: Mutex<Bed>,
}

/// Who sleeps on a word, the first who came in front.
#[derive(Debug, Default)]
struct Bed {
    sleepers: VecDeque<Arc<Sleeper>>,
    /// Whether the deadline of those that have one has passed.
    has_passed: bool,
}

#[derive(Debug)]
struct Sleeper {
    thread: Thread,
    has_deadline: bool,
    end: Cell<Option<Slept>>,
}

impl Sleeper {
    fn wake(&self, end: Slept) {
        self.end.set(Some(end));
        self.thread.unpark();
    }
}

impl Shared {
    pub(super) fn new(value: u64, loads: Loads) -> Self {
        Self { word: model::AtomicU64::new(value), loads, bed: Mutex::default() }
    }

    pub(super) fn load(&self, ordering: Ordering) -> u64 {
        match (self.loads, ordering) {
            (Loads::AreOrdered, _) | (_, SeqCst) => self.word.fetch_or(0, AcqRel),
            (Loads::MayBeOld, _) => self.word.load(ordering),
        }
    }

    /// Nothing when the word is not as expected.
    fn sleep(&self, expected: u32, has_deadline: bool) -> Option<Slept> {
        let mut bed = self.bed.lock().unwrap();
        if low(self.word.fetch_or(0, AcqRel)) != expected {
            return None;
        }
        if has_deadline && bed.has_passed {
            return Some(Slept::TimedOut);
        }
        let end = Cell::new(None);
        let sleeper = Arc::new(Sleeper { thread: thread::current(), has_deadline, end });
        bed.sleepers.push_back(Arc::clone(&sleeper));
        drop(bed);
        loop {
            thread::park();
            if let Some(end) = sleeper.end.get() {
                return Some(end);
            }
        }
    }

    fn wake(&self, most: u32) -> usize {
        let mut bed = self.bed.lock().unwrap();
        let woken = bed.sleepers.len().min(most as usize);
        bed.sleepers.drain(..woken).for_each(|sleeper| sleeper.wake(Slept::Look));
        woken
    }

    /// Lets the deadline of all pass who wait for this word until then, now or later.
    pub(super) fn pass(&self) {
        let mut bed = self.bed.lock().unwrap();
        bed.has_passed = true;
        let (late, others) =
            bed.sleepers.drain(..).partition(|sleeper: &Arc<Sleeper>| sleeper.has_deadline);
        bed.sleepers = others;
        let late: VecDeque<_> = late;
        late.iter().for_each(|sleeper| sleeper.wake(Slept::TimedOut));
    }
}

/// A word as a process sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) word: &'a Shared,
    pub(super) life: &'a Life,
}

impl Word for View<'_> {
    fn load(&self, ordering: Ordering) -> u64 {
        self.word.load(ordering)
    }

    fn store(&self, value: u64, ordering: Ordering) {
        match ordering {
            SeqCst => drop(self.word.word.swap(value, AcqRel)),
            _ => self.word.word.store(value, ordering),
        }
        self.life.spend();
    }

    fn exchange(&self, from: u64, to: u64) -> Result<(), u64> {
        self.word.word.compare_exchange(from, to, AcqRel, Acquire)?;
        self.life.spend();
        Ok(())
    }

    fn wake(&self, most: u32) -> usize {
        let woken = self.word.wake(most);
        self.life.spend();
        woken
    }
}

/// How many changes a process makes before it dies.
#[derive(Debug)]
pub(super) struct Life {
    left: Cell<u32>,
    has_ended: Option<Arc<AtomicBool>>,
}

/// What a process dies by.
struct Death;

impl Life {
    /// It does not die.
    pub(super) fn long() -> Self {
        Self::of(u32::MAX)
    }

    /// It dies after so many changes.
    pub(super) fn of(changes: u32) -> Self {
        Self { left: Cell::new(changes), has_ended: None }
    }

    /// Lives, and returns what it does; nothing if it dies over it.
    pub(super) fn live<T>(&self, doing: impl FnOnce() -> T) -> Option<T> {
        if self.left.get() == 0 {
            self.end();
            return None;
        }
        match catch_unwind(AssertUnwindSafe(doing)) {
            Ok(done) => Some(done),
            Err(death) if death.is::<Death>() => None,
            Err(failure) => resume_unwind(failure),
        }
    }

    fn spend(&self) {
        if self.left.get() == u32::MAX {
            return;
        }
        self.left.set(self.left.get() - 1);
        if self.left.get() == 0 {
            self.end();
            resume_unwind(Box::new(Death));
        }
    }

    fn end(&self) {
        if let Some(has_ended) = &self.has_ended {
            has_ended.store(true, Relaxed);
        }
    }
}

/// A process that waits.
#[derive(Debug)]
pub(super) struct Sleepy<'a> {
    spins: u32,
    has_deadline: bool,
    watch: Option<Watch<'a>>,
}

/// Whom a process observes while it sleeps, beside the owners.
#[derive(Debug)]
struct Watch<'a> {
    village: &'a Village,
    me: u16,
    neighbour: Option<u16>,
}

impl<'a> Sleepy<'a> {
    pub(super) fn new() -> Self {
        Self { spins: 0, has_deadline: false, watch: None }
    }

    pub(super) fn spinning() -> Self {
        Self { spins: 1, ..Self::new() }
    }

    pub(super) fn until_it_passes() -> Self {
        Self { has_deadline: true, ..Self::new() }
    }

    /// As the process in slot `me`, who observes those it waits for from the beginning, and `neighbour`.
    pub(super) fn armed(mut self, village: &'a Village, me: u16, neighbour: Option<u16>) -> Self {
        self.watch = Some(Watch { village, me, neighbour });
        self
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        // Who dies is buried; and a thread that loom gives up must not come back to it.
        if !thread::panicking() {
            self.village.look_at(self.me, &[]);
        }
    }
}

impl Waiter<View<'_>> for Sleepy<'_> {
    fn spin(&mut self) -> bool {
        let may = self.spins > 0;
        self.spins -= u32::from(may);
        may
    }

    fn sleep(
        &mut self,
        word: &View<'_>,
        expected: u32,
        owners: &dyn Fn() -> Vec<u16>,
    ) -> Result<Slept> {
        if let Some(watch) = &self.watch {
            let mut others = owners();
            others.extend(watch.neighbour);
            if watch.village.look_at(watch.me, &others) {
                return Ok(Slept::Look);
            }
        }
        let slept = word.word.sleep(expected, self.has_deadline);
        if slept == Some(Slept::Look) {
            word.life.spend();
        }
        Ok(slept.unwrap_or(Slept::Look))
    }

    fn is_armed(&self) -> bool {
        self.watch.is_some()
    }
}

/// Who is dead and not recovered, who observes whom; and what is done for one that is observed and dead.
pub(super) struct Village {
    known: Mutex<Known>,
    recover: Box<dyn Fn(u16)>,
}

#[derive(Debug, Default)]
struct Known {
    dead: Vec<u16>,
    observed: Vec<(u16, u16)>,
}

impl std::fmt::Debug for Village {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Village").field("known", &self.known).finish_non_exhaustive()
    }
}

impl Village {
    /// Where a death that somebody learns of is followed by `recover`.
    pub(super) fn new(recover: impl Fn(u16) + 'static) -> Self {
        Self { known: Mutex::default(), recover: Box::new(recover) }
    }

    /// The process in slot `me` is dead: that is the business of those who observe it.
    pub(super) fn bury(&self, me: u16) {
        let mut known = self.known.lock().unwrap();
        known.observed.retain(|(observer, _)| *observer != me);
        let is_observed = known.observed.iter().any(|(_, other)| *other == me);
        if !is_observed {
            known.dead.push(me);
        }
        drop(known);
        if is_observed {
            (self.recover)(me);
        }
    }

    /// Has `me` observe these and no others. Tells whether one was dead.
    fn look_at(&self, me: u16, others: &[u16]) -> bool {
        let mut known = self.known.lock().unwrap();
        known.observed.retain(|(observer, _)| *observer != me);
        known.observed.extend(others.iter().map(|other| (me, *other)));
        let dead = known.dead.iter().position(|dead| others.contains(dead));
        let dead = dead.map(|place| known.dead.swap_remove(place));
        drop(known);
        if let Some(dead) = dead {
            (self.recover)(dead);
        }
        dead.is_some()
    }
}

/// The process in `slot`.
pub(super) fn process(slot: u16) -> ProcessId {
    ProcessId { slot, generation: 0 }
}

/// Explores all orders with up to `preemptions` switches away from threads that could have gone on.
///
/// `LOOM_MAX_PREEMPTIONS` has more tried, by hand.
pub(super) fn explore(preemptions: usize, model: impl Fn(Loads) + Sync + Send + Copy + 'static) {
    for loads in [Loads::MayBeOld, Loads::AreOrdered] {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = builder.preemption_bound.max(Some(preemptions));
        builder.max_branches = 20_000;

        builder.check(move || model(loads));
    }
}

/// The longest life of a process in a model.
const LONGEST: u32 = 64;

/// As [`explore`], with a process that dies: after none of its changes, after the first, and so on until it does not any more.
pub(super) fn each_death(
    preemptions: usize,
    model: impl Fn(Loads, Life) + Sync + Send + Copy + 'static,
) {
    for changes in 0..LONGEST {
        let has_ended = Arc::new(AtomicBool::new(false));
        for loads in [Loads::MayBeOld, Loads::AreOrdered] {
            let mut builder = loom::model::Builder::new();
            builder.preemption_bound = builder.preemption_bound.max(Some(preemptions));
            builder.max_branches = 20_000;
            let has_ended = Arc::clone(&has_ended);
            builder.check(move || {
                let has_ended = Some(Arc::clone(&has_ended));
                model(loads, Life { left: Cell::new(changes), has_ended });
            });
        }
        if !has_ended.load(Relaxed) {
            return;
        }
    }
    panic_any("a process that does not come to its end");
}
