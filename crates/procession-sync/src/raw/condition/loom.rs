//! Models of the condition, with its lock: a store of items, and those who wait for one.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]
#![expect(clippy::arc_with_non_send_sync, reason = "loom's threads take turns")]

use std::sync::Arc;

use loom::thread::{self, JoinHandle};
use procession_sys::prim::Ordering::{Acquire, Release};

use super::super::Halt;
use super::super::lock::{RawLock, Taken};
use super::super::model::{Life, Loads, Shared, Sleepy, View, each_death, explore, process};
use super::RawCondition;
use crate::owner::Stamp;
use crate::word::Word;

const GENERATION: u32 = 7;

struct World {
    lock: Shared,
    armed: Shared,
    ticket: Shared,
    reach: Shared,
    slots: Vec<Shared>,
    /// How many there are, and how often one was made.
    items: Shared,
}

const MADE: u64 = 1 << 32;

/// The world, as a process sees it.
struct Process<'a> {
    stamp: Stamp,
    slot: u16,
    lock: RawLock<'a, View<'a>>,
    condition: RawCondition<'a, View<'a>>,
    items: View<'a>,
}

impl World {
    fn new(loads: Loads, slots: usize) -> Arc<Self> {
        let word = |value| Shared::new(value, loads);
        let slots = (0..slots).map(|_| word(0)).collect();
        let lock = word(RawLock::<View<'_>>::free(GENERATION));
        Arc::new(Self {
            lock,
            armed: word(0),
            ticket: word(0),
            reach: word(0),
            slots,
            items: word(0),
        })
    }

    fn with<T>(&self, slot: u16, life: &Life, with: impl FnOnce(&Process<'_>) -> T) -> T {
        let view = |word| View { word, life };
        let slots: Vec<_> = self.slots.iter().map(view).collect();
        let (word, armed) = (view(&self.lock), view(&self.armed));
        let (ticket, reach) = (view(&self.ticket), view(&self.reach));
        with(&Process {
            stamp: Stamp::new(process(slot), 0),
            slot,
            lock: RawLock { word: &word, armed: &armed, generation: GENERATION },
            condition: RawCondition { ticket: &ticket, reach: &reach, slots: &slots, more: &[] },
            items: view(&self.items),
        })
    }

    /// Waits for an item, and takes it.
    fn consume(&self, slot: u16, life: &Life, waiter: Sleepy<'_>) -> Result<(), Halt> {
        self.with(slot, life, |process| process.consume(waiter))
    }

    fn produce(&self, slot: u16, life: &Life) {
        self.with(slot, life, |process| {
            process.lock();
            process.produce(1);
        });
    }

    /// What the crate's hooks do for one that is dead.
    fn recover(&self, dead: u16, life: &Life) {
        self.with(dead, life, |process| {
            process.lock.recover(dead);
            process.lock.word.wake(1);
            process.condition.recover(dead);
            process.condition.wake_all();
        });
    }

    /// Lets the deadlines of those pass who wait to be notified.
    fn pass(&self) {
        self.slots.iter().for_each(Shared::pass);
    }

    /// Has two items made in all, whatever became of who was to make them.
    fn complete(&self) {
        self.with(0, &Life::long(), |process| {
            process.lock();
            process.produce(2 - process.items.load(Acquire) / MADE);
        });
    }
}

impl Process<'_> {
    /// Whoever is told of a death has all look again, because the dead may have made an item, and notified nobody.
    fn lock(&self) {
        if !self.lock.take_free(self.stamp)
            && self.lock.take(self.stamp, &mut Sleepy::new()).unwrap() == Taken::AfterDeath
        {
            self.condition.notify_all();
            self.condition.wake_notified();
        }
    }

    fn unlock(&self) {
        let is_unlocked =
            self.lock.unlock_quiet(self.stamp) || self.lock.unlock(self.stamp, Stamp::NOBODY);
        assert!(is_unlocked);
    }

    /// As `Condition::wait_for` does.
    fn consume(&self, mut waiter: Sleepy<'_>) -> Result<(), Halt> {
        self.lock();
        while self.items.load(Acquire).is_multiple_of(MADE) {
            let place = self.condition.enter(self.slot).unwrap();
            self.unlock();
            let waited = RawCondition::wait(place, &mut waiter);
            self.lock();
            match waited {
                Ok(()) => RawCondition::leave(place),
                Err(halt) => {
                    self.unlock();
                    return Err(halt);
                }
            }
        }
        self.items.store(self.items.load(Acquire) - 1, Release);
        self.unlock();
        Ok(())
    }

    /// Makes items, notifies as many, and unlocks.
    fn produce(&self, many: u64) {
        let mut notified = Vec::new();
        for _ in 0..many {
            self.items.store(self.items.load(Acquire) + MADE + 1, Release);
            notified.extend(self.condition.notify_one());
        }
        self.unlock();
        for number in notified {
            self.condition.wake_one(number);
        }
    }
}

fn consumer(world: &Arc<World>, slot: u16, waiter: fn() -> Sleepy<'static>) -> JoinHandle<bool> {
    let world = Arc::clone(world);
    thread::spawn(move || match world.consume(slot, &Life::long(), waiter()) {
        Ok(()) => true,
        Err(halt) => {
            assert!(matches!(halt, Halt::TimedOut));
            false
        }
    })
}

#[test]
fn each_notification_is_for_one_who_waits() {
    explore(2, |loads| {
        let world = World::new(loads, 2);
        let consumers = [1, 2].map(|slot| consumer(&world, slot, Sleepy::new));
        world.produce(0, &Life::long());
        world.produce(0, &Life::long());
        for consumer in consumers {
            assert!(consumer.join().unwrap());
        }
        assert!(world.slots.iter().all(|slot| slot.load(Acquire) == 0));
    });
}

#[test]
fn all_are_notified_at_once() {
    explore(2, |loads| {
        let world = World::new(loads, 2);
        let consumers = [1, 2].map(|slot| consumer(&world, slot, Sleepy::spinning));
        world.with(0, &Life::long(), |process| {
            process.lock();
            process.items.store(2 * MADE + 2, Release);
            let waiting = process.condition.waiting();
            assert_eq!(process.condition.notify_all(), waiting);
            process.unlock();
            process.condition.wake_notified();
        });
        for consumer in consumers {
            assert!(consumer.join().unwrap());
        }
    });
}

#[test]
fn who_times_out_was_not_notified() {
    explore(2, |loads| {
        let world = World::new(loads, 2);
        let late = consumer(&world, 1, Sleepy::until_it_passes);
        let patient = consumer(&world, 2, Sleepy::new);
        let other = Arc::clone(&world);
        let clock = thread::spawn(move || other.pass());
        world.produce(0, &Life::long());
        if late.join().unwrap() {
            world.produce(0, &Life::long());
        }
        assert!(patient.join().unwrap());
        clock.join().unwrap();
    });
}

#[test]
fn a_waiter_that_dies_takes_no_notification_with_it() {
    each_death(2, |loads, life| {
        let world = World::new(loads, 2);
        let other = Arc::clone(&world);
        let mortal = thread::spawn(move || {
            if life.live(|| other.consume(1, &life, Sleepy::new())).is_none() {
                other.recover(1, &Life::long());
            }
        });
        let other = Arc::clone(&world);
        let consumer = thread::spawn(move || {
            other.consume(2, &Life::long(), Sleepy::new()).unwrap();
            // One for the mortal one.
            other.produce(2, &Life::long());
        });
        world.produce(0, &Life::long());
        mortal.join().unwrap();
        world.with(0, &Life::long(), |process| {
            process.lock();
            // Unless it has taken the item, the other gets it with no more ado.
            let is_gone = process.items.load(Acquire).is_multiple_of(MADE);
            process.produce(is_gone.into());
        });
        consumer.join().unwrap();
        assert!(world.slots.iter().all(|slot| slot.load(Acquire) == 0));
    });
}

#[test]
fn a_notifier_that_dies_leaves_nobody_asleep() {
    each_death(2, |loads, life| {
        let world = World::new(loads, 2);
        let consumers = [1, 2].map(|slot| consumer(&world, slot, Sleepy::new));
        let lived = life.live(|| {
            world.with(0, &life, |process| {
                process.lock();
                process.produce(2);
            });
        });
        if lived.is_none() {
            world.recover(0, &Life::long());
        }
        world.complete();
        for consumer in consumers {
            assert!(consumer.join().unwrap());
        }
    });
}

#[test]
fn a_recovery_that_is_broken_off_is_done_again() {
    each_death(2, move |loads, life| {
        let world = World::new(loads, 2);
        // Lock, ticket, reach, slot, unlock: then it waits.
        let victim = Life::of(5);
        assert!(victim.live(|| world.consume(1, &victim, Sleepy::new())).is_none());
        let consumer = consumer(&world, 2, Sleepy::new);
        world.produce(0, &Life::long());
        if life.live(|| world.recover(1, &life)).is_none() {
            world.recover(1, &Life::long());
        }
        assert!(consumer.join().unwrap());
        assert!(world.slots.iter().all(|slot| slot.load(Acquire) == 0));
    });
}

#[test]
fn a_notification_passes_by_all_who_are_dead() {
    explore(2, |loads| {
        let world = World::new(loads, 3);
        for slot in [1, 2] {
            // As above.
            let victim = Life::of(5);
            assert!(victim.live(|| world.consume(slot, &victim, Sleepy::new())).is_none());
        }
        let consumer = consumer(&world, 3, Sleepy::new);
        world.produce(0, &Life::long());
        let other = Arc::clone(&world);
        let recoverer = thread::spawn(move || other.recover(1, &Life::long()));
        world.recover(2, &Life::long());
        recoverer.join().unwrap();
        assert!(consumer.join().unwrap());
        assert!(world.slots.iter().all(|slot| slot.load(Acquire) == 0));
    });
}
