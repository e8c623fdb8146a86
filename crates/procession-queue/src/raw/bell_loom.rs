//! Models of the bell alone: no news is slept through.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::sync::Arc;

use ::loom::thread;
use procession_sys::prim::Ordering::SeqCst;

use super::Word;
use super::bell::Bell;
use super::model::{Shared, explore};

/// A number of things that are there, and the bell.
struct World {
    news: Shared,
    bell: Shared,
}

impl World {
    fn bring(&self) {
        loop {
            let old = self.news.load(SeqCst);
            if self.news.exchange(old, old + 1) {
                return Bell(&self.bell).ring();
            }
        }
    }

    fn take(&self) {
        loop {
            let old = self.news.load(SeqCst);
            if old > 0 && self.news.exchange(old, old - 1) {
                return;
            }
            if old == 0 {
                let expected = Bell(&self.bell).announce();
                if self.news.load(SeqCst) == 0 {
                    self.bell.sleep(expected);
                }
            }
        }
    }
}

fn play(preemptions: usize, takers: usize, bringers: usize) {
    explore(preemptions, move || {
        let world = Arc::new(World { news: Shared::new(0), bell: Shared::new(0) });
        let takers: Vec<_> = (0..takers)
            .map(|_| {
                let world = Arc::clone(&world);
                thread::spawn(move || world.take())
            })
            .collect();
        let per = takers.len() / bringers;
        let others: Vec<_> = (1..bringers)
            .map(|_| {
                let world = Arc::clone(&world);
                thread::spawn(move || (0..per).for_each(|_| world.bring()))
            })
            .collect();
        (0..per).for_each(|_| world.bring());
        takers.into_iter().chain(others).for_each(|one| one.join().unwrap());
    });
}

#[test]
fn one_sleeper_is_woken() {
    play(4, 1, 1);
}

#[test]
fn two_sleepers_are_woken_by_one() {
    play(3, 2, 1);
}

#[test]
fn two_sleepers_are_woken_by_two() {
    play(2, 2, 2);
}

/// Two bring to one that comes back each time: what one of them counts does not take off him who has come again.
#[test]
fn a_sleeper_that_comes_back_is_woken() {
    explore(3, || {
        let world = Arc::new(World { news: Shared::new(0), bell: Shared::new(0) });
        let (taker, other) = (Arc::clone(&world), Arc::clone(&world));
        let taker = thread::spawn(move || (0..3).for_each(|_| taker.take()));
        let other = thread::spawn(move || other.bring());
        (0..2).for_each(|_| world.bring());
        taker.join().unwrap();
        other.join().unwrap();
    });
}
