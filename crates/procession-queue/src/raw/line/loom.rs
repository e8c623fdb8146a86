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

/// Says that a slot is done, and rings for who joins, unless there is something to be got.
fn say_done(world: &World, ours: Ours<usize>) {
    let line = line(world, None);
    line.leave(ours, State::Done);
    fence(SeqCst);
    if Bell(&world.joiners).may_sleep() && !line.has_item().unwrap() {
        Bell(&world.joiners).ring_for_all();
    }
}

fn join(world: &World) {
    let is_left = || {
        let (_, state) = line(world, None).first_left(&world.done).unwrap();
        state.is_some_and(|state| !matches!(state, State::Free | State::Closed))
    };
    while is_left() {
        let expected = Bell(&world.joiners).announce();
        if is_left() {
            world.joiners.sleep(expected);
        }
    }
}

fn lease(world: &World, owner: u16) -> Option<Ours<usize>> {
    let taken = State::Leased { owner, is_odd: false };
    match line(world, None).take(taken, |_| Ok(true)).unwrap() {
        Take::Taken(ours) => Some(ours),
        _ => None,
    }
}

#[test]
fn who_joins_is_woken_by_the_last_that_is_done() {
    explore(2, || {
        let world = World::new(0, 3);
        assert!(put(&world, 0, 11, None) && put(&world, 0, 22, None));
        let workers: Vec<_> = (1..3)
            .map(|me| {
                other(&world, move |world| {
                    if let Some(ours) = lease(world, me) {
                        say_done(world, ours);
                    }
                })
            })
            .collect();
        join(&world);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

#[test]
fn two_who_join_are_woken_although_items_come() {
    explore(2, || {
        let world = World::new(0, 2);
        assert!(put(&world, 0, 11, None));
        let joiner = other(&world, join);
        let worker = other(&world, |world| {
            let mut done = 0;
            while done < 2 {
                match lease(world, 1) {
                    Some(ours) => {
                        say_done(world, ours);
                        done += 1;
                    }
                    None => thread::yield_now(),
                }
            }
        });
        assert!(put(&world, 0, 22, None));
        join(&world);
        joiner.join().unwrap();
        worker.join().unwrap();
    });
}

/// Gets what was given back, or what is new; sleeps while there is nothing.
fn get_again(world: &World, me: u16) -> u64 {
    loop {
        if world.returned.load(SeqCst) != 0 {
            // The lock stands for the books.
            let _books = world.books.lock().unwrap();
            world.returned.store(0, SeqCst);
            let (mut at, end) = line(world, None).left(&world.done).unwrap();
            while end.beyond(at) > 0 {
                let ours = line(world, None).again(at).unwrap().unwrap();
                if world.is_returned(ours.slot) {
                    // There may be more, and somebody may have fallen asleep meanwhile.
                    world.returned.store(1, SeqCst);
                    Bell(&world.getters).ring();
                    line(world, None).leave(ours, State::Taken(me));
                    let item = world.read(ours.slot);
                    say_done(world, ours);
                    return item;
                }
                at = at.next();
            }
        }
        match line(world, None).take(State::Taken(me), |_| Ok(true)).unwrap() {
            Take::Taken(ours) => {
                let item = world.read(ours.slot);
                say_done(world, ours);
                return item;
            }
            _ => {
                let expected = Bell(&world.getters).announce();
                let is_waiting = line(world, None).is_waiting().unwrap();
                if is_waiting && world.returned.load(SeqCst) == 0 {
                    world.getters.sleep(expected);
                }
            }
        }
    }
}

fn give_back(world: &World, ours: Ours<usize>) {
    let books = world.books.lock().unwrap();
    line(world, None).leave(ours, State::Returned { is_odd: true });
    drop(books);
    world.returned.store(1, SeqCst);
    Bell(&world.getters).ring();
}

#[test]
fn what_is_given_back_wakes_who_sleeps() {
    explore(2, || {
        let world = World::new(0, 2);
        assert!(put(&world, 0, 11, None));
        let ours = lease(&world, 0).unwrap();
        let getter = other(&world, |world| get_again(world, 1));
        give_back(&world, ours);
        assert_eq!(getter.join().unwrap(), 11);
        join(&world);
    });
}

#[test]
fn two_that_are_given_back_go_to_two() {
    explore(1, || {
        let world = World::new(0, 2);
        assert!(put(&world, 0, 11, None) && put(&world, 0, 22, None));
        let (one, two) = (lease(&world, 0).unwrap(), lease(&world, 0).unwrap());
        let getters: Vec<_> =
            (1..3).map(|me| other(&world, move |world| get_again(world, me))).collect();
        give_back(&world, one);
        give_back(&world, two);
        let mut got: Vec<_> = getters.into_iter().map(|getter| getter.join().unwrap()).collect();
        got.sort_unstable();
        assert_eq!(got, [11, 22]);
    });
}
