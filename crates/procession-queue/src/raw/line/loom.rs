//! Models of the line: putters, getters, who closes, and who dies.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::sync::Arc;

use ::loom::thread::{self, JoinHandle};

use super::super::bell::Bell;
use super::super::model::{World, explore};
use super::super::stamp::POSITIONS;
use super::*;

fn line(world: &World, limit: Option<u64>) -> Line<'_, &World> {
    Line { slots: world, trail: &world.trail, limit, is_fenced: true }
}

/// Puts an item, sleeping while there is no room; `false` at the end.
fn put(world: &World, me: u16, item: u64, limit: Option<u64>) -> bool {
    let line = line(world, limit);
    loop {
        match line.claim(me).unwrap() {
            Claim::Claimed(ours) => {
                world.write(ours.slot, item);
                line.publish(ours);
                Bell(&world.getters).ring();
                return true;
            }
            Claim::Closed => return false,
            Claim::NoSlot(_) => panic!("more than there are slots"),
            Claim::Full => {
                let expected = Bell(&world.putters).announce();
                if line.is_full().unwrap() {
                    world.putters.sleep(expected);
                }
            }
        }
    }
}

/// Gets an item, sleeping while there is none; nothing at the end.
fn get(world: &World, me: u16, limit: Option<u64>) -> Option<u64> {
    let line = line(world, limit);
    loop {
        match line.take(State::Taken(me), |_| Ok(true)).unwrap() {
            Take::Taken(ours) => {
                let item = world.read(ours.slot);
                line.leave(ours, State::Done);
                if limit.is_some() {
                    Bell(&world.putters).ring();
                }
                return Some(item);
            }
            Take::Closed => return None,
            Take::Empty | Take::Busy(_) | Take::Unprepared => {
                let expected = Bell(&world.getters).announce();
                if line.is_waiting().unwrap() {
                    world.getters.sleep(expected);
                }
            }
        }
    }
}

fn close(world: &World) {
    assert_eq!(line(world, None).close().unwrap(), Close::Closed);
    Bell(&world.getters).ring_for_all();
    Bell(&world.putters).ring_for_all();
}

fn other<T: 'static>(
    world: &Arc<World>,
    doing: impl FnOnce(&World) -> T + 'static,
) -> JoinHandle<T> {
    let world = Arc::clone(world);
    thread::spawn(move || doing(&world))
}

#[test]
fn two_putters_and_a_getter_who_sleeps() {
    for start in [0, POSITIONS] {
        explore(2, move || {
            let world = World::new(start, 2);
            let one = other(&world, |world| put(world, 1, 11, None));
            let two = other(&world, |world| put(world, 2, 22, None));
            let mut got = [get(&world, 0, None).unwrap(), get(&world, 0, None).unwrap()];
            got.sort_unstable();
            assert_eq!(got, [11, 22]);
            assert!(one.join().unwrap() && two.join().unwrap());
            assert_eq!(line(&world, None).len().unwrap(), 0);
        });
    }
}

#[test]
fn a_putter_and_two_getters_who_sleep() {
    explore(2, || {
        let world = World::new(0, 2);
        let one = other(&world, |world| get(world, 1, None).unwrap());
        let two = other(&world, |world| get(world, 2, None).unwrap());
        assert!(put(&world, 0, 11, None) && put(&world, 0, 22, None));
        let mut got = [one.join().unwrap(), two.join().unwrap()];
        got.sort_unstable();
        assert_eq!(got, [11, 22]);
    });
}

#[test]
fn two_putters_and_two_getters() {
    explore(1, || {
        let world = World::new(0, 2);
        let putter = other(&world, |world| put(world, 1, 11, None));
        let one = other(&world, |world| get(world, 2, None).unwrap());
        let two = other(&world, |world| get(world, 3, None).unwrap());
        assert!(put(&world, 0, 22, None));
        let mut got = [one.join().unwrap(), two.join().unwrap()];
        got.sort_unstable();
        assert_eq!(got, [11, 22]);
        putter.join().unwrap();
    });
}

#[test]
fn who_waits_for_room_is_woken_and_the_bound_holds() {
    explore(1, || {
        let world = World::new(0, 2);
        let putter = other(&world, |world| {
            for item in [1, 2] {
                assert!(put(world, 1, item, Some(1)));
                assert!(line(world, Some(1)).len().unwrap() <= 1);
            }
        });
        for item in [1, 2] {
            assert_eq!(get(&world, 0, Some(1)), Some(item));
        }
        putter.join().unwrap();
    });
}

#[test]
fn two_who_wait_for_room_are_woken() {
    explore(1, || {
        let world = World::new(0, 3);
        assert!(put(&world, 0, 1, Some(1)));
        let one = other(&world, |world| put(world, 1, 2, Some(1)));
        let two = other(&world, |world| put(world, 2, 2, Some(1)));
        for item in [1, 2, 2] {
            assert_eq!(get(&world, 0, Some(1)), Some(item));
        }
        assert!(one.join().unwrap() && two.join().unwrap());
    });
}

#[test]
fn no_item_is_behind_the_end() {
    explore(2, || {
        let world = World::new(0, 3);
        let putter = other(&world, |world| put(world, 1, 11, None));
        let closer = other(&world, close);
        let mut got = 0;
        while get(&world, 0, None).is_some() {
            got += 1;
        }
        assert_eq!(putter.join().unwrap(), got == 1);
        closer.join().unwrap();
    });
}

#[test]
fn who_is_full_is_told_of_the_end() {
    explore(3, || {
        let world = World::new(0, 2);
        assert!(put(&world, 0, 1, Some(1)));
        let putter = other(&world, |world| put(world, 1, 2, Some(1)));
        close(&world);
        assert!(!putter.join().unwrap());
        assert_eq!(get(&world, 0, Some(1)), Some(1));
        assert_eq!(get(&world, 0, Some(1)), None);
    });
}

/// Rings as whoever recovers a dead process does.
fn recover(world: &World) {
    Bell(&world.getters).ring_for_all();
    Bell(&world.putters).ring_for_all();
}

#[test]
fn a_putter_that_dies_in_its_claim_keeps_nobody() {
    explore(2, || {
        let world = World::new(0, 2);
        let mortal = other(&world, |world| {
            // It claims, and is no more.
            drop(line(world, None).claim(1).unwrap());
            assert_eq!(world.settle(1), 0);
            recover(world);
        });
        let putter = other(&world, |world| put(world, 2, 22, None));
        assert_eq!(get(&world, 0, None), Some(22));
        mortal.join().unwrap();
        putter.join().unwrap();
        assert_eq!(line(&world, None).len().unwrap(), 0);
    });
}

#[test]
fn a_getter_that_dies_takes_one_item_along_and_no_wake_up() {
    explore(2, || {
        let world = World::new(0, 2);
        let mortal = other(&world, |world| {
            // It takes what is there, or was woken and does not come to it.
            let taken = line(world, None).take(State::Taken(1), |_| Ok(true)).unwrap();
            let lost = world.settle(1);
            assert_eq!(lost, usize::from(matches!(taken, Take::Taken(_))));
            recover(world);
            lost
        });
        let getter = other(&world, |world| get(world, 2, None));
        assert!(put(&world, 0, 11, None));
        if mortal.join().unwrap() == 1 {
            assert!(put(&world, 0, 22, None));
            assert_eq!(getter.join().unwrap(), Some(22));
        } else {
            assert_eq!(getter.join().unwrap(), Some(11));
        }
    });
}
