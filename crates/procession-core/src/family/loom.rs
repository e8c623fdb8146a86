//! Models of the table and of recovery: every order in which up to three processes, as threads, can take their steps.
//!
//! Run by `cargo xtask loom`. A process that dies is a thread that stops, and whose end the oracle then knows of.
//!
//! Each model runs twice, because loom remembers one access per word only: a load of one thread is forgotten when another
//! thread loads the word before it stores to it, and the order in between is never tried. So loads are loads once, which
//! may see old values ([`Loads::MayBeOld`]), and changes of nothing the other time, which loom tries in all orders
//! ([`Loads::AreOrdered`]).

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::sync::Arc;

use loom::thread;
use procession_sys::prim::Ordering::{Acquire, Relaxed, Release};
use procession_sys::prim::{AtomicUsize, Ordering, model};

use super::oracle::Oracle;
use super::recovery::{Buried, DeadProcess, Recoverer, Step, Undertaker};
use super::stamp::{ProcessId, State};
use super::table::{Claim, Entry, Origin, Size, Table};
use super::words::{TRANSITION, Word};
use crate::Result;

/// How loom takes loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loads {
    MayBeOld,
    AreOrdered,
}

#[derive(Debug)]
pub(super) struct ModelWord {
    word: model::AtomicU64,
    loads: Loads,
}

impl ModelWord {
    /// A word of zero.
    pub(super) fn new(loads: Loads) -> Self {
        Self { word: model::AtomicU64::new(0), loads }
    }
}

impl Word for ModelWord {
    fn load(&self, ordering: Ordering) -> u64 {
        match self.loads {
            Loads::MayBeOld => self.word.load(ordering),
            Loads::AreOrdered => self.word.fetch_or(0, Ordering::AcqRel),
        }
    }

    fn store(&self, value: u64, ordering: Ordering) {
        self.word.store(value, ordering);
    }

    fn fetch_or(&self, bits: u64, ordering: Ordering) -> u64 {
        self.word.fetch_or(bits, ordering)
    }

    fn fetch_and(&self, bits: u64, ordering: Ordering) -> u64 {
        self.word.fetch_and(bits, ordering)
    }

    fn exchange(&self, from: u64, to: u64) -> bool {
        self.word.compare_exchange(from, to, TRANSITION, Relaxed).is_ok()
    }
}

const SLOTS: u16 = 3;
/// A family in the model, and what the system knows of it. The process in slot `n` has the number `n + 1`.
struct World {
    table: Table<Box<[ModelWord]>>,
    ended: [model::AtomicBool; 8],
    /// How often hooks ran, by the slot of the dead. Not part of the model.
    hooks: [AtomicUsize; 8],
}

fn pid_of(slot: u16) -> u32 {
    u32::from(slot) + 1
}

fn entry_of(pid: u32) -> Entry {
    Entry { pid, birth: u64::from(pid) * 10 }
}

impl World {
    /// With living processes in the first `members` slots.
    fn new(loads: Loads, members: u16) -> Arc<Self> {
        let size = Size { slots: SLOTS, hold_words: 1 };
        let word = |_| ModelWord::new(loads);
        let words = (0..size.words()).map(word).collect();
        let origin = Origin { namespaces: 1, root: [1, 1, 1] };
        let world = Self {
            table: Table::create(words, size, origin),
            ended: std::array::from_fn(|_| model::AtomicBool::new(false)),
            hooks: std::array::from_fn(|_| AtomicUsize::new(0)),
        };
        for slot in 0..members {
            let id = world.table.arrive_unasked(pid_of(slot), None).unwrap();
            assert_eq!(id, first(slot));
            assert!(world.table.go_live(id, entry_of(pid_of(slot))));
        }
        Arc::new(world)
    }

    fn end(&self, pid: u32) {
        self.ended[pid as usize].store(true, Release);
    }

    /// Recovers `id` as the first process of `slot`, which dies at `last` if that is a step.
    fn bury(&self, slot: u16, id: ProcessId, last: Option<Step>) -> Buried {
        let undertaker = Mortal { world: self, last };
        let me = first(slot);
        let buried =
            Recoverer { table: &self.table, oracle: self, undertaker: &undertaker, me }.bury(id);
        assert!(buried.failure.is_none());
        buried
    }

    fn sweep(&self, slot: u16) {
        let undertaker = Mortal { world: self, last: None };
        let me = first(slot);
        Recoverer { table: &self.table, oracle: self, undertaker: &undertaker, me }.sweep();
    }

    fn hooks(&self, slot: u16) -> usize {
        self.hooks[usize::from(slot)].load(Relaxed)
    }

    /// Asserts that the slot was given back once and holds nothing.
    fn assert_free(&self, slot: u16) {
        let stamp = self.table.stamp(slot);
        assert_eq!((stamp.state, stamp.generation), (State::Free, 1));
        self.assert_empty(slot);
    }

    fn assert_empty(&self, slot: u16) {
        let id = ProcessId { slot, generation: self.table.stamp(slot).generation };
        assert_eq!(self.table.holds(id).count(), 0);
        assert_eq!(self.table.words_of(id), Entry { pid: 0, birth: 0 });
        assert!(!self.table.has_left(slot));
    }
}

fn first(slot: u16) -> ProcessId {
    ProcessId { slot, generation: 0 }
}

struct Mortal<'a> {
    world: &'a World,
    last: Option<Step>,
}

impl Undertaker for Mortal<'_> {
    fn run_hooks(&self, dead: &DeadProcess) -> Result<()> {
        self.world.hooks[usize::from(dead.id.slot)].fetch_add(1, Relaxed);
        Ok(())
    }

    fn survives(&self, step: Step) -> bool {
        self.last != Some(step)
    }
}

impl Oracle for World {
    type Process = u32;

    fn open(&self, pid: u32) -> Result<Option<u32>> {
        Ok(Some(pid))
    }

    fn birth(&self, _process: &u32, pid: u32) -> Result<Option<u64>> {
        Ok(Some(entry_of(pid).birth))
    }

    fn has_ended(&self, pid: &u32) -> Result<bool> {
        Ok(self.ended[*pid as usize].load(Acquire))
    }
}

/// Explores all orders with up to `preemptions` switches away from threads that could have gone on.
pub(super) fn explore(preemptions: usize, model: impl Fn(Loads) + Sync + Send + Copy + 'static) {
    for loads in [Loads::MayBeOld, Loads::AreOrdered] {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.max_branches = 20_000;
        builder.check(move || model(loads));
    }
}

#[test]
fn two_who_reserve_get_two_slots() {
    explore(3, |loads| {
        let world = World::new(loads, 1);
        let other = Arc::clone(&world);
        let there = thread::spawn(move || other.table.reserve(first(0)));
        let here = world.table.reserve(first(0));
        let there = there.join().unwrap();
        assert_ne!(here.unwrap(), there.unwrap());
        assert_eq!(world.table.reserve(first(0)), None);
    });
}

#[test]
fn a_dead_process_is_recovered_once_and_its_slot_reused_clean() {
    explore(3, |loads| {
        let world = World::new(loads, 3);
        world.table.hold(first(2), 5);
        world.table.set_left(2);
        world.end(pid_of(2));
        let recoverers = [0, 1].map(|slot| {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                // Gone, when the other one was quick.
                world.table.mark_dead(first(2));
                world.bury(slot, first(2), None).recovered.len()
            })
        });
        // Meanwhile somebody wants a slot.
        let reserved = world.table.reserve(first(0));
        if let Some(id) = reserved {
            assert_eq!(id, ProcessId { slot: 2, generation: 1 });
            world.assert_empty(2);
        }
        let recovered: usize = recoverers.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!((recovered, world.hooks(2)), (1, 1));
        match reserved {
            Some(id) => assert_eq!(world.table.state_of(id), Some(State::Joining { parent: 0 })),
            None => world.assert_free(2),
        }
    });
}

#[test]
fn marking_what_is_gone_changes_nothing() {
    explore(3, |loads| {
        let world = World::new(loads, 3);
        world.end(pid_of(2));
        let other = Arc::clone(&world);
        let recoverer = thread::spawn(move || {
            other.table.mark_dead(first(2));
            other.bury(0, first(2), None);
            // None, when the other one is not done yet.
            let next = other.table.reserve(first(0))?;
            assert!(other.table.arrive(next, 6));
            assert!(other.table.go_live(next, entry_of(6)));
            Some(next)
        });
        world.table.mark_dead(first(2));
        world.bury(1, first(2), None);
        let entry = world.table.entry(first(2));
        assert!(entry.is_none(), "{entry:?}");
        assert_eq!(world.hooks(2), 1);
        match recoverer.join().unwrap() {
            Some(next) => {
                assert_eq!(next, ProcessId { slot: 2, generation: 1 });
                assert_eq!(world.table.entry(next), Some(entry_of(6)));
            }
            None => world.assert_free(2),
        }
    });
}

#[test]
fn a_reader_never_sees_the_entry_of_a_later_process() {
    explore(3, |loads| {
        let world = World::new(loads, 3);
        world.end(pid_of(2));
        let other = Arc::clone(&world);
        let writer = thread::spawn(move || {
            // Step by step, and not by `bury`, which looks at the entry before it clears it: see `Loads`.
            other.table.mark_dead(first(2));
            assert_eq!(other.table.claim(first(2), 0), Claim::Ours);
            other.table.clear(first(2));
            assert!(other.table.set_recovered(first(2), 0));
            assert!(other.table.free(first(2)));
            let next = other.table.arrive_unasked(6, None).unwrap();
            assert!(other.table.go_live(next, entry_of(6)));
        });
        if let Some(entry) = world.table.entry(first(2)) {
            assert_eq!(entry, entry_of(pid_of(2)));
        }
        writer.join().unwrap();
    });
}

#[test]
fn a_recoverer_that_dies_after_any_step_is_replaced() {
    for last in Step::ALL {
        explore(3, move |loads| {
            let world = World::new(loads, 3);
            world.table.hold(first(2), 5);
            world.end(pid_of(2));
            let other = Arc::clone(&world);
            let mortal = thread::spawn(move || {
                other.table.mark_dead(first(2));
                other.bury(0, first(2), Some(last));
                other.end(pid_of(0));
            });
            // Whoever looks at the same time may find the mortal one at it, alive or dead.
            world.table.mark_dead(first(2));
            world.bury(1, first(2), None);
            mortal.join().unwrap();
            // The next who looks for the one finds that the other is dead over it, if it is.
            world.bury(1, first(2), None);
            world.assert_free(2);
            world.table.mark_dead(first(0));
            world.bury(1, first(0), None);
            for slot in [0, 2] {
                world.assert_free(slot);
            }
            assert_eq!(world.hooks(0), 1);
            let most = match last {
                Step::HooksRan | Step::ChildrenSeen | Step::Cleared => 2,
                _ => 1,
            };
            assert!((1..=most).contains(&world.hooks(2)), "{last:?}: {}", world.hooks(2));
        });
    }
}

#[test]
fn a_marker_that_dies_before_it_recovers_is_replaced() {
    explore(3, |loads| {
        let world = World::new(loads, 3);
        world.end(pid_of(2));
        let other = Arc::clone(&world);
        let mortal = thread::spawn(move || {
            other.table.mark_dead(first(2));
            other.end(pid_of(0));
        });
        world.sweep(1);
        mortal.join().unwrap();
        world.table.mark_dead(first(0));
        world.bury(1, first(0), None);
        for slot in [0, 2] {
            world.assert_free(slot);
            assert_eq!(world.hooks(slot), 1);
        }
    });
}

#[test]
fn a_child_arrives_before_its_dead_parent_is_recovered_or_not_at_all() {
    explore(3, |loads| {
        let world = World::new(loads, 2);
        let child = world.table.reserve(first(0)).unwrap();
        world.end(pid_of(0));
        let other = Arc::clone(&world);
        let joins = thread::spawn(move || {
            let arrived = other.table.arrive(child, 6);
            // Having arrived, nobody takes it away any more.
            assert!(!arrived || other.table.go_live(child, entry_of(6)));
            arrived
        });
        let other = Arc::clone(&world);
        let newcomer = thread::spawn(move || {
            let id = other.table.arrive_unasked(7, None)?;
            assert!(other.table.go_live(id, entry_of(7)));
            Some(id)
        });
        world.table.mark_dead(first(0));
        world.bury(1, first(0), None);
        let arrived = joins.join().unwrap();
        if let Some(id) = newcomer.join().unwrap() {
            assert_eq!(world.table.entry(id), Some(entry_of(7)));
        }
        let entry = world.table.entry(child);
        assert_eq!(entry, arrived.then_some(entry_of(6)));
        assert_eq!(world.hooks(2), usize::from(!arrived));
        // Adopted, or it had none to be adopted from.
        assert!(!arrived || world.table.parent(2) == Some(first(1)));
    });
}

#[test]
fn a_reservation_is_given_back_or_taken() {
    explore(3, |loads| {
        let world = World::new(loads, 2);
        let child = world.table.reserve(first(0)).unwrap();
        let other = Arc::clone(&world);
        let joins = thread::spawn(move || {
            let arrived = other.table.arrive(child, 6);
            assert!(!arrived || other.table.go_live(child, entry_of(6)));
            arrived
        });
        let is_back = world.table.abandon(child, first(0));
        let arrived = joins.join().unwrap();
        assert_ne!(is_back, arrived);
        match arrived {
            true => assert_eq!(world.table.entry(child), Some(entry_of(6))),
            false => world.assert_free(2),
        }
    });
}
