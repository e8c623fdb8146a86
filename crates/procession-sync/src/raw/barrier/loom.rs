//! Models of the barrier.

#![expect(clippy::arc_with_non_send_sync, reason = "loom's threads take turns")]

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread::{self, JoinHandle};

use super::super::model::{Life, Loads, Shared, Sleepy, View, each_death, explore};
use super::{Arrival, RawBarrier, Stopped};

struct World {
    word: Shared,
    parties: u16,
    /// What each of three parties has done before it arrives.
    done: [UnsafeCell<()>; 3],
}

/// Whether the last to arrive acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    None,
    Some,
}

impl World {
    fn new(loads: Loads, parties: u16) -> Arc<Self> {
        let done = std::array::from_fn(|_| UnsafeCell::new(()));
        Arc::new(Self { word: Shared::new(0, loads), parties, done })
    }

    fn with<T>(&self, life: &Life, with: impl FnOnce(&RawBarrier<'_, View<'_>>) -> T) -> T {
        with(&RawBarrier { word: &View { word: &self.word, life }, parties: self.parties })
    }

    /// As `Barrier::wait` does: the index, or nothing when it is broken.
    fn wait(&self, slot: u16, life: &Life, action: Action, mut waiter: Sleepy<'_>) -> Option<u16> {
        let passed = self.with(life, |barrier| {
            match barrier.arrive(slot, action == Action::Some, &mut waiter)? {
                Arrival::Passed => Ok(self.parties - 1),
                Arrival::MustAct { epoch } => {
                    self.done.iter().for_each(|done| done.with_mut(|_| ()));
                    barrier.finish(epoch).map(|()| self.parties - 1)
                }
                Arrival::Waits { index, epoch } => barrier.wait(epoch, &mut waiter).map(|()| index),
            }
        });
        match passed {
            Ok(index) => Some(index),
            Err(stopped) => {
                assert!(matches!(stopped, Stopped::Broken));
                None
            }
        }
    }

    /// What the crate's hooks do for one that is dead.
    fn recover(&self, dead: u16, life: &Life) {
        self.with(life, |barrier| {
            barrier.recover(dead, false);
            barrier.wake_all();
        });
    }

    fn is_broken(&self) -> bool {
        self.with(&Life::long(), |barrier| barrier.is_broken())
    }

    fn reset(&self) {
        self.with(&Life::long(), |barrier| barrier.reset());
    }
}

fn party(world: &Arc<World>, slot: u16, action: Action) -> JoinHandle<Option<u16>> {
    let world = Arc::clone(world);
    thread::spawn(move || world.wait(slot, &Life::long(), action, Sleepy::new()))
}

fn sorted(indices: impl IntoIterator<Item = Option<u16>>) -> Vec<u16> {
    let mut indices: Vec<_> = indices.into_iter().map(Option::unwrap).collect();
    indices.sort_unstable();
    indices
}

#[test]
fn all_leave_together_and_see_what_all_have_done() {
    for action in [Action::None, Action::Some] {
        explore(2, move |loads| {
            let world = World::new(loads, 3);
            let visit = move |world: &World, slot: u16| {
                world.done[usize::from(slot)].with_mut(|_| ());
                let index = world.wait(slot, &Life::long(), action, Sleepy::new());
                world.done.iter().for_each(|done| done.with(|_| ()));
                index
            };
            let others = [1, 2].map(|slot| {
                let world = Arc::clone(&world);
                thread::spawn(move || visit(&world, slot))
            });
            let here = visit(&world, 0);
            let indices = others.map(|other| other.join().unwrap()).into_iter().chain([here]);
            assert_eq!(sorted(indices), [0, 1, 2]);
            assert!(!world.is_broken());
        });
    }
}

#[test]
fn one_generation_follows_the_other() {
    for action in [Action::None, Action::Some] {
        explore(3, move |loads| {
            let world = World::new(loads, 2);
            let twice = move |world: &World, slot: u16| {
                [Sleepy::new, Sleepy::spinning]
                    .map(|waiter| world.wait(slot, &Life::long(), action, waiter()).unwrap())
            };
            let other = Arc::clone(&world);
            let other = thread::spawn(move || twice(&other, 1));
            let here = twice(&world, 0);
            let there = other.join().unwrap();
            assert!(here.iter().zip(&there).all(|(here, there)| here + there == 1));
        });
    }
}

#[test]
fn more_callers_than_parties_go_in_turns() {
    for action in [Action::None, Action::Some] {
        explore(1, move |loads| {
            let world = World::new(loads, 2);
            let others = [1, 2, 3].map(|slot| party(&world, slot, action));
            let here = world.wait(0, &Life::long(), action, Sleepy::new());
            let indices = others.map(|other| other.join().unwrap()).into_iter().chain([here]);
            assert_eq!(sorted(indices), [0, 0, 1, 1]);
        });
    }
}

#[test]
fn a_deadline_breaks_it_for_all_or_for_none() {
    for action in [Action::None, Action::Some] {
        explore(3, move |loads| {
            let world = World::new(loads, 2);
            let other = Arc::clone(&world);
            let late = thread::spawn(move || {
                other.wait(1, &Life::long(), action, Sleepy::until_it_passes())
            });
            let other = Arc::clone(&world);
            let clock = thread::spawn(move || other.word.pass());
            let here = world.wait(0, &Life::long(), action, Sleepy::new());
            let there = late.join().unwrap();
            assert_eq!(here.is_some(), there.is_some());
            assert_eq!(here.is_some(), !world.is_broken());
            clock.join().unwrap();
        });
    }
}

#[test]
fn it_is_broken_once_it_is_aborted() {
    for action in [Action::None, Action::Some] {
        explore(3, move |loads| {
            let world = World::new(loads, 2);
            let others = [1, 2].map(|slot| party(&world, slot, action));
            world.with(&Life::long(), |barrier| barrier.abort());
            assert!(world.is_broken());
            let [one, other] = others.map(|other| other.join().unwrap());
            assert_eq!(one.is_some(), other.is_some());
            assert!(world.is_broken());
        });
    }
}

#[test]
fn a_reset_lets_all_go_who_wait_and_begins_anew() {
    for action in [Action::None, Action::Some] {
        explore(2, move |loads| {
            let world = World::new(loads, 2);
            let others = [1, 2].map(|slot| {
                let world = Arc::clone(&world);
                thread::spawn(move || {
                    // There is one reset, so at most one wait ends by it.
                    let first = world.wait(slot, &Life::long(), action, Sleepy::new());
                    first.or_else(|| world.wait(slot, &Life::long(), action, Sleepy::new()))
                })
            });
            world.reset();
            let indices = others.map(|other| other.join().unwrap());
            assert_eq!(sorted(indices), [0, 1]);
            assert!(!world.is_broken());
        });
    }
}

#[test]
fn a_death_anywhere_breaks_it() {
    for action in [Action::None, Action::Some] {
        each_death(3, move |loads, life| {
            let world = World::new(loads, 2);
            let other = party(&world, 1, action);
            let lived = life.live(|| world.wait(0, &life, action, Sleepy::new()));
            if lived.is_none() {
                world.recover(0, &Life::long());
            }
            assert_eq!(world.is_broken(), lived.is_none());
            let there = other.join().unwrap();
            assert!(there.is_some() || lived.is_none());
            // And it is whole again when somebody says so.
            world.reset();
            let next = party(&world, 1, action);
            assert!(world.wait(2, &Life::long(), action, Sleepy::new()).is_some());
            assert!(next.join().unwrap().is_some());
        });
    }
}

#[test]
fn a_recovery_that_is_broken_off_is_done_again() {
    for action in [Action::None, Action::Some] {
        for changes in 0..=2 {
            each_death(2, move |loads, life| {
                let world = World::new(loads, 3);
                let victim = Life::of(changes);
                let others = [1, 2].map(|slot| party(&world, slot, action));
                victim.live(|| world.wait(0, &victim, action, Sleepy::new()));
                if life.live(|| world.recover(0, &life)).is_none() {
                    world.recover(0, &Life::long());
                }
                let [one, other] = others.map(|other| other.join().unwrap());
                assert_eq!(one.is_some(), other.is_some());
            });
        }
    }
}
