//! Models of the lock.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]
#![expect(clippy::arc_with_non_send_sync, reason = "loom's threads take turns")]

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread;
use procession_sys::prim::Ordering::Acquire;

use super::super::model::{
    Life, Loads, Shared, Sleepy, View, Village, each_death, explore, process,
};
use super::{RawLock, Refused, Taken};
use crate::owner::Stamp;
use crate::word::low;

const GENERATION: u32 = 7;

/// A lock, and what it protects.
struct World {
    word: Shared,
    armed: Shared,
    inside: UnsafeCell<()>,
}

impl World {
    fn new(loads: Loads) -> Self {
        let free = RawLock::<View<'_>>::free(GENERATION);
        Self {
            word: Shared::new(free, loads),
            armed: Shared::new(0, loads),
            inside: UnsafeCell::new(()),
        }
    }

    /// Calls `with` with the lock as a process sees it.
    fn with<T>(&self, life: &Life, with: impl FnOnce(&RawLock<'_, View<'_>>) -> T) -> T {
        let (word, armed) = (View { word: &self.word, life }, View { word: &self.armed, life });
        with(&RawLock { word: &word, armed: &armed, generation: GENERATION })
    }

    /// Takes the lock as [`Lock::lock`](crate::Lock::lock) does.
    fn take(&self, slot: u16, life: &Life, waiter: &mut Sleepy<'_>) -> Result<Taken, Refused> {
        self.with(life, |lock| match lock.take_free(stamp(slot)) {
            true => Ok(Taken::Clean),
            false => lock.take(stamp(slot), waiter),
        })
    }

    /// Unlocks it as a guard does that was not told of a death, or has repaired what it was told of.
    fn unlock(&self, slot: u16, life: &Life) -> bool {
        self.with(life, |lock| {
            lock.unlock_quiet(stamp(slot)) || lock.unlock(stamp(slot), Stamp::NOBODY)
        })
    }

    /// What is done when nobody else is in.
    fn touch(&self) {
        self.inside.with_mut(|_| ());
    }

    /// A process that takes the lock and gives it back.
    fn visit(&self, slot: u16, life: &Life, mut waiter: Sleepy<'_>) -> Taken {
        let taken = self.take(slot, life, &mut waiter).unwrap();
        self.touch();
        assert!(self.unlock(slot, life));
        taken
    }

    /// What the crate's hooks do for one that is dead. Tells whether it had the lock.
    fn recover(&self, dead: u16, life: &Life) -> bool {
        self.with(life, |lock| {
            let had_it = lock.owner() == stamp(dead);
            lock.recover(dead);
            crate::word::Word::wake(lock.word, 1);
            had_it
        })
    }

    fn owner(&self) -> Stamp {
        Stamp::from_bits(low(self.word.load(Acquire)))
    }
}

fn stamp(slot: u16) -> Stamp {
    Stamp::new(process(slot), 0)
}

#[test]
fn one_at_a_time_has_it_and_all_get_it() {
    explore(3, |loads| {
        let world = Arc::new(World::new(loads));
        let others: Vec<_> = [1, 2]
            .into_iter()
            .map(|slot| {
                let world = Arc::clone(&world);
                thread::spawn(move || world.visit(slot, &Life::long(), Sleepy::new()))
            })
            .collect();
        assert_eq!(world.visit(0, &Life::long(), Sleepy::spinning()), Taken::Clean);
        for other in others {
            assert_eq!(other.join().unwrap(), Taken::Clean);
        }
        assert_eq!(world.owner(), Stamp::NOBODY);
    });
}

#[test]
fn whoever_dies_wherever_the_others_get_it() {
    each_death(2, |loads, life| {
        let world = Arc::new(World::new(loads));
        let other = Arc::clone(&world);
        let mortal = thread::spawn(move || {
            let lived = life.live(|| other.visit(0, &life, Sleepy::new()));
            lived.is_none() && other.recover(0, &Life::long())
        });
        let other = Arc::clone(&world);
        let there = thread::spawn(move || other.visit(1, &Life::long(), Sleepy::new()));
        let here = world.visit(2, &Life::long(), Sleepy::new());
        let takings = [here, there.join().unwrap()];
        let told = takings.iter().filter(|taken| **taken == Taken::AfterDeath).count();
        let had_it = mortal.join().unwrap();
        let is_dead = world.owner() == Stamp::DEAD;
        assert_eq!(told + usize::from(is_dead), usize::from(had_it));
        assert!(is_dead || world.owner() == Stamp::NOBODY);
    });
}

#[test]
fn a_recovery_that_is_broken_off_is_done_again() {
    // The first of its changes is the taking, the second the giving back.
    for changes in 1..=3 {
        each_death(2, move |loads, life| {
            let world = Arc::new(World::new(loads));
            let victim = Life::of(changes);
            let ended = victim.live(|| {
                world.take(0, &victim, &mut Sleepy::new()).unwrap();
            });
            let others: Vec<_> = [1, 2]
                .into_iter()
                .map(|slot| {
                    let world = Arc::clone(&world);
                    thread::spawn(move || world.visit(slot, &Life::long(), Sleepy::new()))
                })
                .collect();
            if ended.is_some() {
                let ended = victim.live(|| world.unlock(0, &victim));
                assert!(changes > 2 || ended.is_none());
            }
            if life.live(|| world.recover(0, &life)).is_none() {
                world.recover(0, &Life::long());
            }
            for other in others {
                other.join().unwrap();
            }
        });
    }
}

#[test]
fn a_deadline_takes_no_wake_up_from_others() {
    explore(3, |loads| {
        let world = Arc::new(World::new(loads));
        world.take(0, &Life::long(), &mut Sleepy::new()).unwrap();
        let other = Arc::clone(&world);
        let late = thread::spawn(move || {
            let mut waiter = Sleepy::until_it_passes();
            match other.take(1, &Life::long(), &mut waiter) {
                Ok(_) => assert!(other.unlock(1, &Life::long())),
                Err(refused) => assert!(matches!(refused, Refused::TimedOut)),
            }
        });
        let other = Arc::clone(&world);
        let patient = thread::spawn(move || other.visit(2, &Life::long(), Sleepy::new()));
        let other = Arc::clone(&world);
        let clock = thread::spawn(move || other.word.pass());
        assert!(world.unlock(0, &Life::long()));
        for thread in [late, clock] {
            thread.join().unwrap();
        }
        patient.join().unwrap();
    });
}

#[test]
fn what_one_took_another_gives_back() {
    explore(3, |loads| {
        let world = Arc::new(World::new(loads));
        world.take(0, &Life::long(), &mut Sleepy::new()).unwrap();
        let others: Vec<_> = [1, 2]
            .into_iter()
            .map(|slot| {
                let world = Arc::clone(&world);
                thread::spawn(move || world.visit(slot, &Life::long(), Sleepy::new()))
            })
            .collect();
        assert!(world.with(&Life::long(), |lock| lock.release()));
        // Its own guard does nothing any more.
        assert!(!world.unlock(0, &Life::long()));
        for other in others {
            other.join().unwrap();
        }
    });
}

#[test]
fn who_was_told_and_repairs_nothing_leaves_it_dead() {
    explore(3, |loads| {
        let world = Arc::new(World::new(loads));
        world.take(0, &Life::long(), &mut Sleepy::new()).unwrap();
        let others: Vec<_> = [1, 2]
            .into_iter()
            .map(|slot| {
                let world = Arc::clone(&world);
                thread::spawn(move || {
                    let life = Life::long();
                    let taken = world.take(slot, &life, &mut Sleepy::new()).unwrap();
                    world.touch();
                    assert_eq!(taken, Taken::AfterDeath);
                    assert!(world.with(&life, |lock| lock.unlock(stamp(slot), Stamp::DEAD)));
                })
            })
            .collect();
        world.recover(0, &Life::long());
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(world.owner(), Stamp::DEAD);
    });
}

/// Two who sleep observe the first owner; the second, the first sleeper as well. The owner unlocks, another takes the lock by the
/// fast path, and dies over it; before that, the deadline of those that have one passes.
fn watched(loads: Loads, waiters: [fn() -> Sleepy<'static>; 2], first_life: Life) {
    let world = Arc::new(World::new(loads));
    let other = Arc::clone(&world);
    let village = Arc::new(Village::new(move |dead| {
        other.recover(dead, &Life::long());
    }));
    world.take(0, &Life::long(), &mut Sleepy::new()).unwrap();
    let sleepers = [(1, None, first_life), (2, Some(1), Life::long())];
    let others: Vec<_> = sleepers
        .into_iter()
        .zip(waiters)
        .map(|((slot, neighbour, life), waiter)| {
            let (world, village) = (Arc::clone(&world), Arc::clone(&village));
            thread::spawn(move || {
                let lived = life.live(|| {
                    let mut waiter = waiter().armed(&village, slot, neighbour);
                    let taken = world.take(slot, &life, &mut waiter);
                    drop(waiter);
                    match taken {
                        Ok(_) => assert!(world.unlock(slot, &life)),
                        Err(refused) => assert!(matches!(refused, Refused::TimedOut)),
                    }
                });
                if lived.is_none() {
                    village.bury(slot);
                }
            })
        })
        .collect();
    assert!(world.unlock(0, &Life::long()));
    let is_taken = world.with(&Life::long(), |lock| lock.take_free(stamp(3)));
    world.word.pass();
    if is_taken {
        village.bury(3);
    }
    for other in others {
        other.join().unwrap();
    }
}

#[test]
fn the_owner_is_observed_as_long_as_an_observer_sleeps() {
    explore(2, |loads| watched(loads, [Sleepy::new, Sleepy::new], Life::long()));
}

#[test]
fn an_observer_that_goes_hands_on_its_watch() {
    explore(2, |loads| {
        watched(loads, [Sleepy::until_it_passes, Sleepy::new], Life::long());
    });
}

#[test]
fn an_observer_that_dies_is_observed_by_the_next() {
    each_death(2, |loads, life| watched(loads, [Sleepy::new, Sleepy::new], life));
}
