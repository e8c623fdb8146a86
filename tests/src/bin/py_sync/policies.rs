//! However a process waits, it is the same that it waits for.

use std::time::Duration;

use procession::prelude::*;
use procession::waiting::{Policy, policy, set_policy};
use procession::{LockError, WaitError};
use procession_core::waiting::ARM_AFTER;
use procession_sys::Deadline;
use procession_tests::SOON;
use serde::{Deserialize, Serialize};

use crate::stage::{Place, Row, SHORT, next, park, say_where, takes, value, was_killed};

pub(crate) const ROWS: &[Row] = &[
    ("policies::by_spinning", || waits_by(Policy::Spin)),
    ("policies::by_sleeping", || waits_by(Policy::Sleep)),
    ("policies::by_both", || waits_by(Policy::Adaptive)),
    ("policies::who_is_woken_need_not_look_by_itself", who_is_woken_need_not_look_by_itself),
];

/// A turn that another process answers.
fn answer(ping: Semaphore, pong: Semaphore, number: u32) {
    set_policy(number_to_policy(number));
    for _ in 0..TURNS {
        ping.acquire_raw_timeout(SOON).unwrap();
        pong.release().unwrap();
    }
}

const TURNS: u32 = 200;

/// A policy is no value that goes to others.
fn number_to_policy(number: u32) -> Policy {
    [Policy::Adaptive, Policy::Sleep, Policy::Spin][number as usize]
}

fn waits_by(how: Policy) {
    assert_eq!(policy(), Policy::Adaptive);
    set_policy(how);
    assert_eq!(policy(), how);
    for number in 0..3 {
        let (ping, pong) = (Semaphore::new(0).unwrap(), Semaphore::new(0).unwrap());
        let child = Process::spawn(answer, (ping.clone(), pong.clone(), number)).unwrap();
        for _ in 0..TURNS {
            ping.release().unwrap();
            pong.acquire_raw_timeout(SOON).unwrap();
        }
        value(&child);
        set_policy(how);
    }
    let event = Event::new().unwrap();
    let set = |event: Event, waiter: Place| {
        waiter.falls_asleep();
        event.set().unwrap();
    };
    if how != Policy::Spin {
        // For ever, in other words.
        let child = Process::spawn(set, (event.clone(), Place::here())).unwrap();
        event.wait_timeout(Duration::MAX).unwrap();
        assert!(event.clear().unwrap());
        value(&child);
    }
    let waited = takes(SHORT, || event.wait_timeout(SHORT));
    assert!(matches!(waited, Err(WaitError::TimedOut)));
    let lock = Lock::new().unwrap();
    let have = |lock: Lock, _: Event, tx: Sender<Place>| -> () {
        let _guard = lock.lock().unwrap();
        say_where(&tx);
        park()
    };
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(have, (lock.clone(), event.clone(), tx)).unwrap();
    let place: Place = next(&rx);
    let waited = takes(SHORT, || lock.lock_timeout(SHORT).map(drop));
    assert!(matches!(waited, Err(LockError::TimedOut)));
    place.kill();
    assert!(matches!(lock.lock_timeout(SOON), Err(LockError::OwnerDied(_))));
    assert!(matches!(event.wait_timeout(SOON), Err(WaitError::Closed)));
    was_killed(&child);
}

/// What three wait for together.
#[derive(Clone, Serialize, Deserialize)]
struct Things {
    lock: Lock,
    recursive: RLock,
    semaphore: Semaphore,
    event: Event,
    condition: Condition,
    barrier: Barrier,
}

const SLEEPERS: u32 = 3;
const KINDS: usize = 8;
/// A sleeper looks by itself after two seconds: as often as that, it does not come in time.
const ROUNDS: u32 = 12;

fn wait_for(things: &Things, kind: usize, deadline: Deadline, tx: &Sender<Place>) {
    let mut guard = (kind > 5).then(|| things.condition.lock().unwrap());
    say_where(tx);
    match kind {
        0 => drop(things.lock.lock_deadline(deadline).unwrap()),
        1 => drop(things.recursive.lock_deadline(deadline).unwrap()),
        2 => things.semaphore.acquire_raw_deadline(deadline).unwrap(),
        3 => things.semaphore.acquire_deadline(deadline).unwrap().forget(),
        4 => things.event.wait_deadline(deadline).unwrap(),
        5 => drop(things.barrier.wait_deadline(deadline).unwrap()),
        _ => things.condition.wait_deadline(guard.as_mut().unwrap(), deadline).unwrap(),
    }
}

fn sleep_and_be_woken(things: Things, kind: usize, tx: Sender<Place>, go: Receiver<()>) {
    let deadline = Deadline::after(SOON);
    for () in go.iter().map(Result::unwrap).take(ROUNDS as usize) {
        wait_for(&things, kind, deadline, &tx);
        // It is through.
        say_where(&tx);
    }
}

/// Lets all go who wait.
fn wake(things: &Things, kind: usize) {
    match kind {
        0 => things.lock.release().unwrap(),
        1 => things.recursive.release().unwrap(),
        2 => things.semaphore.release_many(SLEEPERS).unwrap(),
        3 => (0..SLEEPERS).for_each(|_| things.semaphore.release().unwrap()),
        4 => drop(things.event.set().unwrap()),
        5 => drop(things.barrier.wait_timeout(SOON).unwrap()),
        6 => drop(things.condition.notify_all(&mut things.condition.lock().unwrap()).unwrap()),
        _ => {
            let mut guard = things.condition.lock().unwrap();
            (0..SLEEPERS).for_each(|_| things.condition.notify_one(&mut guard).unwrap());
        }
    }
}

/// They have slept for long enough to look every two seconds only.
fn who_is_woken_need_not_look_by_itself() {
    let things = Things {
        lock: Lock::new().unwrap(),
        recursive: RLock::new().unwrap(),
        semaphore: Semaphore::new(0).unwrap(),
        event: Event::new().unwrap(),
        condition: Condition::new().unwrap(),
        barrier: Barrier::new(SLEEPERS as usize + 1).unwrap(),
    };
    let never = Event::new().unwrap();
    for kind in 0..KINDS {
        let spawn = |_| {
            let ((tx, rx), (go, wait)) = (pipe().unwrap(), pipe().unwrap());
            let arguments = (things.clone(), kind, tx, wait);
            (Process::spawn(sleep_and_be_woken, arguments).unwrap(), rx, go)
        };
        let sleepers: Vec<_> = (0..SLEEPERS).map(spawn).collect();
        for _ in 0..ROUNDS {
            match kind {
                0 => things.lock.lock().unwrap().keep(),
                1 => things.recursive.lock().unwrap().keep(),
                _ => drop(things.event.clear().unwrap()),
            }
            for (_, rx, go) in &sleepers {
                go.send(()).unwrap();
                next(rx).falls_asleep();
            }
            assert!(matches!(never.wait_timeout(ARM_AFTER * 5 / 4), Err(WaitError::TimedOut)));
            wake(&things, kind);
            for (_, rx, _) in &sleepers {
                next(rx);
            }
        }
        sleepers.iter().for_each(|(child, ..)| value(child));
    }
}
