//! Models of the event.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]
#![expect(clippy::arc_with_non_send_sync, reason = "loom's threads take turns")]

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread;
use procession_sys::prim::Ordering::Acquire;

use super::super::Halt;
use super::super::model::{Life, Loads, Shared, Sleepy, View, each_death, explore};
use super::{RawEvent, SLEEPER};
use crate::word::{Word, low};

const GENERATION: u32 = 7;

/// An event, and what was done before it was set.
struct World {
    word: Shared,
    news: UnsafeCell<()>,
}

impl World {
    fn new(loads: Loads) -> Self {
        let clear = RawEvent::<View<'_>>::clear_word(GENERATION);
        Self { word: Shared::new(clear, loads), news: UnsafeCell::new(()) }
    }

    fn with<T>(&self, life: &Life, with: impl FnOnce(&RawEvent<'_, View<'_>>) -> T) -> T {
        let word = View { word: &self.word, life };
        with(&RawEvent { word: &word, generation: GENERATION })
    }

    fn set(&self, life: &Life) -> bool {
        self.with(life, |event| event.set().unwrap())
    }

    fn wait(&self, mut waiter: Sleepy<'_>) -> Result<(), Halt> {
        self.with(&Life::long(), |event| event.wait(&mut waiter))
    }

    /// What the crate's hooks do for one that is dead.
    fn recover(&self, life: &Life) {
        self.with(life, |event| event.word.wake(u32::MAX));
    }
}

#[test]
fn all_who_wait_see_what_was_done_before_it_was_set() {
    explore(3, |loads| {
        let world = Arc::new(World::new(loads));
        let waiters: Vec<_> = [Sleepy::new, Sleepy::spinning]
            .into_iter()
            .map(|waiter| {
                let world = Arc::clone(&world);
                thread::spawn(move || {
                    world.wait(waiter()).unwrap();
                    world.news.with(|_| ());
                })
            })
            .collect();
        world.news.with_mut(|_| ());
        assert!(world.set(&Life::long()));
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

#[test]
fn setting_and_clearing_at_once_lets_go_who_waits() {
    explore(3, |loads| {
        let world = Arc::new(World::new(loads));
        let other = Arc::clone(&world);
        let waiter = thread::spawn(move || other.wait(Sleepy::new()).unwrap());
        let other = Arc::clone(&world);
        let setter = thread::spawn(move || other.set(&Life::long()));
        // Whoever sleeps has begun to wait.
        let has_begun = low(world.word.load(Acquire)) & SLEEPER != 0;
        world.set(&Life::long());
        world.with(&Life::long(), |event| event.clear().unwrap());
        setter.join().unwrap();
        if !has_begun {
            world.set(&Life::long());
        }
        waiter.join().unwrap();
    });
}

#[test]
fn a_deadline_and_a_setter_are_answered_as_they_come() {
    explore(2, |loads| {
        let world = Arc::new(World::new(loads));
        let other = Arc::clone(&world);
        let late = thread::spawn(move || other.wait(Sleepy::until_it_passes()));
        let other = Arc::clone(&world);
        let patient = thread::spawn(move || other.wait(Sleepy::new()).unwrap());
        let other = Arc::clone(&world);
        let clock = thread::spawn(move || other.word.pass());
        world.set(&Life::long());
        assert!(matches!(late.join().unwrap(), Ok(()) | Err(Halt::TimedOut)));
        patient.join().unwrap();
        clock.join().unwrap();
    });
}

#[test]
fn a_setter_that_dies_leaves_nobody_asleep() {
    each_death(3, |loads, life| {
        let world = Arc::new(World::new(loads));
        let waiters: Vec<_> = [1, 2]
            .into_iter()
            .map(|_| {
                let world = Arc::clone(&world);
                thread::spawn(move || world.wait(Sleepy::new()).unwrap())
            })
            .collect();
        if life.live(|| world.set(&life)).is_none() {
            world.recover(&Life::long());
            if !world.with(&Life::long(), |event| event.is_set().unwrap()) {
                // It died before.
                world.set(&Life::long());
            }
        }
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}
