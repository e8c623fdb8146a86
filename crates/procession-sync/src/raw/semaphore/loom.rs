//! Models of the semaphore.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]
#![expect(clippy::arc_with_non_send_sync, reason = "loom's threads take turns")]

use std::sync::Arc;

use loom::thread::{self, JoinHandle};
use procession_sys::prim::Ordering::Acquire;

use super::super::Halt;
use super::super::model::{Life, Loads, Shared, Sleepy, View, each_death, explore};
use super::{Cell, MOST, RawSemaphore};
use crate::word::Word;

struct World {
    word: Shared,
    cells: Vec<Shared>,
    bound: u32,
}

impl World {
    fn new(loads: Loads, value: u32, cells: usize) -> Arc<Self> {
        Self::bounded(loads, value, cells, MOST)
    }

    fn bounded(loads: Loads, value: u32, cells: usize, bound: u32) -> Arc<Self> {
        let cells = (0..cells).map(|_| Shared::new(0, loads)).collect();
        Arc::new(Self { word: Shared::new(value.into(), loads), cells, bound })
    }

    fn with<T>(&self, life: &Life, with: impl FnOnce(&RawSemaphore<'_, View<'_>>) -> T) -> T {
        let word = View { word: &self.word, life };
        let cells: Vec<_> = self.cells.iter().map(|word| View { word, life }).collect();
        with(&RawSemaphore { word: &word, cells: &cells, bound: self.bound })
    }

    fn take(&self, life: &Life, mut waiter: Sleepy<'_>) -> Result<(), Halt> {
        self.with(life, |semaphore| match semaphore.try_take() {
            true => Ok(()),
            false => semaphore.take(&mut waiter),
        })
    }

    fn give(&self, life: &Life, count: u32) {
        self.with(life, |semaphore| semaphore.give(count)).unwrap();
    }

    fn acquire(&self, slot: u16, life: &Life) {
        self.with(life, |semaphore| semaphore.acquire(slot, &mut Sleepy::new())).unwrap();
    }

    fn release(&self, slot: u16, life: &Life) {
        assert!(self.with(life, |semaphore| semaphore.release(slot)));
    }

    /// A process that acquires a permit and gives it back.
    fn visit(&self, slot: u16, life: &Life) {
        self.acquire(slot, life);
        self.release(slot, life);
    }

    /// What the crate's hooks do for one that is dead.
    fn recover(&self, dead: u16, life: &Life) {
        self.with(life, |semaphore| {
            semaphore.recover(dead);
            semaphore.wake_all();
        });
    }

    /// The value, and the permits that processes have. For when all is quiet: then who has no permits has no cell.
    fn count(&self) -> (u32, u32) {
        self.with(&Life::long(), |semaphore| {
            semaphore.settled();
            let cells = semaphore.cells.iter().map(|cell| Cell::of(cell.load(Acquire)));
            let cells: Vec<_> = cells.collect();
            assert!(cells.iter().all(|cell| (cell.permits == 0) == (cell.owner == 0)));
            (semaphore.value(), cells.iter().map(|cell| cell.permits).sum())
        })
    }
}

/// Has others do these things.
fn others<const MANY: usize>(
    world: &Arc<World>,
    doings: [fn(&World); MANY],
) -> [JoinHandle<()>; MANY] {
    doings.map(|doing| {
        let world = Arc::clone(world);
        thread::spawn(move || doing(&world))
    })
}

fn join<const MANY: usize>(others: [JoinHandle<()>; MANY]) {
    for other in others {
        other.join().unwrap();
    }
}

fn taker(world: &World) {
    world.take(&Life::long(), Sleepy::new()).unwrap();
}

fn take_and_give(world: &World) {
    taker(world);
    world.give(&Life::long(), 1);
}

/// A thread of the first process.
fn try_once(world: &World) {
    if world.with(&Life::long(), |semaphore| semaphore.try_acquire(0)) {
        world.release(0, &Life::long());
    }
}

#[test]
fn each_permit_that_is_given_wakes_somebody() {
    explore(3, |loads| {
        let world = World::new(loads, 0, 1);
        let others = others(&world, [taker, taker]);
        world.give(&Life::long(), 1);
        world.give(&Life::long(), 1);
        join(others);
        assert_eq!(world.count(), (0, 0));
    });
}

#[test]
fn two_givers_wake_two() {
    explore(1, |loads| {
        let world = World::new(loads, 0, 1);
        let others = others(&world, [taker, taker, |world| world.give(&Life::long(), 1)]);
        world.give(&Life::long(), 1);
        join(others);
        assert_eq!(world.count(), (0, 0));
    });
}

#[test]
fn what_is_given_at_once_wakes_as_many() {
    explore(3, |loads| {
        let world = World::new(loads, 0, 1);
        let others = others(&world, [taker, taker]);
        world.give(&Life::long(), 3);
        // One who did not sleep comes in between.
        taker(&world);
        join(others);
        assert_eq!(world.count(), (0, 0));
    });
}

#[test]
fn a_deadline_takes_no_wake_up_from_others() {
    explore(2, |loads| {
        let world = World::new(loads, 0, 1);
        let late = |world: &World| match world.take(&Life::long(), Sleepy::until_it_passes()) {
            Ok(()) => world.give(&Life::long(), 1),
            Err(halt) => assert!(matches!(halt, Halt::TimedOut)),
        };
        let others = others(&world, [late, taker, |world| world.word.pass()]);
        world.give(&Life::long(), 1);
        join(others);
        assert_eq!(world.count(), (0, 0));
    });
}

#[test]
fn a_taker_that_dies_takes_no_wake_up_with_it() {
    each_death(2, |loads, life| {
        let world = World::new(loads, 0, 1);
        let others = others(&world, [taker]);
        let other = Arc::clone(&world);
        let mortal = thread::spawn(move || {
            if life.live(|| other.take(&life, Sleepy::new())).is_none() {
                other.recover(1, &Life::long());
            }
        });
        world.give(&Life::long(), 1);
        world.give(&Life::long(), 1);
        join(others);
        mortal.join().unwrap();
    });
}

#[test]
fn a_giver_that_dies_leaves_nobody_asleep() {
    each_death(2, |loads, life| {
        let world = World::new(loads, 0, 1);
        let others = others(&world, [taker, taker]);
        if life.live(|| world.give(&life, 2)).is_none() {
            world.recover(1, &Life::long());
            // It may have died before.
            world.give(&Life::long(), 2);
        }
        join(others);
    });
}

#[test]
fn permits_of_the_dead_go_back() {
    each_death(2, |loads, life| {
        let world = World::new(loads, 1, 2);
        let others = others(&world, [|world| world.visit(1, &Life::long())]);
        if life.live(|| world.visit(0, &life)).is_none() {
            world.recover(0, &Life::long());
        }
        join(others);
        assert_eq!(world.count(), (1, 0));
    });
}

#[test]
fn permits_of_the_dead_go_to_all_kinds_who_wait() {
    each_death(1, |loads, life| {
        let world = World::new(loads, 1, 2);
        let others = others(&world, [|world| world.visit(1, &Life::long()), take_and_give]);
        if life.live(|| world.visit(0, &life)).is_none() {
            world.recover(0, &Life::long());
        }
        join(others);
        assert_eq!(world.count(), (1, 0));
    });
}

#[test]
fn a_recovery_that_is_broken_off_is_done_again() {
    // An acquisition is a claim, a change of the word, and one of the cell.
    for changes in 1..=5 {
        each_death(2, move |loads, life| {
            let world = World::new(loads, 2, 2);
            let victim = Life::of(changes);
            victim.live(|| world.visit(0, &victim));
            let others = others(&world, [|world| world.visit(1, &Life::long())]);
            if life.live(|| world.recover(0, &life)).is_none() {
                world.recover(0, &Life::long());
            }
            join(others);
            assert_eq!(world.count(), (2, 0));
        });
    }
}

#[test]
fn two_threads_of_a_process_share_what_it_has() {
    explore(2, |loads| {
        let world = World::new(loads, 1, 2);
        let others = others(&world, [|world| world.visit(0, &Life::long())]);
        world.visit(0, &Life::long());
        join(others);
        assert_eq!(world.count(), (1, 0));
    });
}

#[test]
fn a_thread_that_goes_without_leaves_its_sibling_the_cell() {
    explore(2, |loads| {
        let world = World::new(loads, 1, 1);
        let others = others(&world, [try_once, take_and_give]);
        world.visit(0, &Life::long());
        join(others);
        assert_eq!(world.count(), (1, 0));
    });
}

#[test]
fn a_permit_that_is_forgotten_stays_taken() {
    each_death(2, |loads, life| {
        let world = World::new(loads, 2, 2);
        let others = others(&world, [|world| world.visit(1, &Life::long())]);
        let lived = life.live(|| {
            world.acquire(0, &life);
            assert!(world.with(&life, |semaphore| semaphore.forget(0)));
        });
        if lived.is_none() {
            world.recover(0, &Life::long());
        }
        join(others);
        let (value, permits) = world.count();
        assert!(permits == 0 && (value == 1 || value == 2 && lived.is_none()));
    });
}

#[test]
fn a_release_without_a_guard_does_not_go_above_the_bound() {
    explore(2, |loads| {
        let world = World::bounded(loads, 1, 2, 1);
        let others = others(
            &world,
            [
                |world| {
                    let _above_or_not = world.with(&Life::long(), |semaphore| semaphore.give(1));
                },
                |world| world.visit(1, &Life::long()),
            ],
        );
        world.visit(0, &Life::long());
        join(others);
        assert_eq!(world.count(), (1, 0));
    });
}

/// One cell, for processes that want a permit each.
#[test]
fn who_finds_all_cells_in_use_gets_the_next() {
    explore(2, |loads| {
        let world = World::new(loads, 2, 1);
        let others = others(&world, [|world| world.visit(1, &Life::long())]);
        world.visit(0, &Life::long());
        join(others);
        assert_eq!(world.count(), (2, 0));
    });
}

#[test]
fn who_waits_for_a_cell_passes_on_what_it_cannot_use() {
    explore(2, |loads| {
        let world = World::new(loads, 2, 1);
        let others = others(&world, [|world| world.visit(1, &Life::long()), take_and_give]);
        world.visit(0, &Life::long());
        join(others);
        assert_eq!(world.count(), (2, 0));
    });
}

#[test]
fn a_cell_is_free_once_its_permit_is_forgotten() {
    explore(2, |loads| {
        let world = World::new(loads, 2, 1);
        let others = others(&world, [|world| world.visit(1, &Life::long())]);
        world.acquire(0, &Life::long());
        assert!(world.with(&Life::long(), |semaphore| semaphore.forget(0)));
        join(others);
        assert_eq!(world.count(), (1, 0));
    });
}

#[test]
fn a_cell_is_free_once_whoever_claimed_it_goes_without() {
    explore(2, |loads| {
        let world = World::new(loads, 1, 1);
        let others = others(&world, [try_once, take_and_give]);
        world.visit(1, &Life::long());
        join(others);
        assert_eq!(world.count(), (1, 0));
    });
}

#[test]
fn a_cell_of_the_dead_goes_to_those_who_wait() {
    each_death(2, |loads, life| {
        let world = World::bounded(loads, 2, 1, 2);
        let others = others(&world, [|world| world.visit(1, &Life::long())]);
        if life.live(|| world.visit(0, &life)).is_none() {
            world.recover(0, &Life::long());
        }
        join(others);
        assert_eq!(world.count(), (2, 0));
    });
}

/// The process with the cell keeps it; one that needs one waits in front of one that needs none.
#[test]
fn who_needs_no_cell_waits_for_none() {
    explore(1, |loads| {
        let world = World::new(loads, 1, 1);
        world.acquire(0, &Life::long());
        let wants_a_cell = |world: &World| {
            let mut waiter = Sleepy::until_it_passes();
            let halt = world.with(&Life::long(), |semaphore| semaphore.acquire(1, &mut waiter));
            assert!(matches!(halt, Err(Halt::TimedOut)));
        };
        let others = others(&world, [wants_a_cell, taker, taker]);
        world.give(&Life::long(), 1);
        world.give(&Life::long(), 1);
        let [wants_a_cell, one, other] = others;
        join([one, other]);
        world.word.pass();
        join([wants_a_cell]);
        assert_eq!(world.count(), (0, 1));
    });
}

/// Two threads of a process, both of which found no cell of their process and took one, keep one.
#[test]
fn a_process_keeps_no_cell_that_it_does_not_use() {
    explore(3, |loads| {
        let world = World::new(loads, 3, 2);
        let others = others(&world, [|world| world.acquire(0, &Life::long())]);
        world.acquire(0, &Life::long());
        join(others);
        assert_eq!(world.count(), (1, 2));
        // Two cells, and each process needs one.
        world.acquire(1, &Life::long());
        assert_eq!(world.count(), (0, 3));
    });
}
