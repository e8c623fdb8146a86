//! What follows when a process dies that others wait for: permits come back, and who is left alone is
//! told.

use std::time::Duration;

use procession::prelude::*;
use procession::{BoundedSemaphore, WaitError};
use procession_sys::signal;
use procession_tests::{SOON, wait_until};
use serde::{Deserialize, Serialize};

use crate::stage::{Board, Place, Row, SHORT, death, next, park, say_where, value, was_killed};

pub(crate) const ROWS: &[Row] = &[
    ("alone::permits_of_the_dead_come_back", permits_of_the_dead_come_back),
    ("alone::permits_of_all_threads_of_the_dead_come_back", permits_of_all_threads),
    ("alone::permits_of_the_dead_wake_those_who_wait", permits_of_the_dead_wake),
    ("alone::a_killed_waiter_takes_no_permit_with_it", a_killed_waiter_of_a_semaphore),
    ("alone::a_killed_waiter_keeps_no_event_from_the_others", a_killed_waiter_of_an_event),
    ("alone::who_sets_an_event_and_is_killed_has_set_it", who_sets_an_event_and_is_killed),
    ("alone::the_death_of_all_others_ends_the_wait", the_death_of_all_others_ends_the_wait),
    ("alone::a_blocked_child_learns_that_it_is_alone", a_blocked_child_learns_that_it_is_alone),
    ("alone::who_comes_late_and_dies_is_missed", who_comes_late_and_dies_is_missed),
    ("alone::who_died_before_it_read_its_arguments_is_dead", died_before_it_read),
    ("alone::who_ended_in_order_is_not_missed", who_ended_in_order_is_not_missed),
    ("alone::a_thread_that_waits_at_the_end_of_its_process_waits_no_more", waits_at_the_end),
    ("alone::who_dropped_it_is_not_missed", who_dropped_it_is_not_missed),
    ("alone::who_never_had_it_is_not_missed", who_never_had_it_is_not_missed),
    ("alone::who_waits_for_its_own_thread_waits_again", waits_again),
];

/// Two permits that go back, and one that is nobody's.
fn have_three(semaphore: Semaphore, tx: Sender<Place>) {
    let _permits = (semaphore.acquire().unwrap(), semaphore.acquire().unwrap());
    semaphore.acquire_raw().unwrap();
    say_where(&tx);
    park()
}

fn permits_of_the_dead_come_back() {
    let (semaphore, bounded) = (Semaphore::new(3).unwrap(), BoundedSemaphore::new(3).unwrap());
    let have_of_both = |semaphore: Semaphore, bounded: BoundedSemaphore, tx: Sender<Place>| -> () {
        let _permits = (bounded.acquire().unwrap(), bounded.acquire().unwrap());
        bounded.acquire_raw().unwrap();
        have_three(semaphore, tx);
    };
    for is_noticed in [false, true] {
        let (tx, rx) = pipe().unwrap();
        let arguments = (semaphore.clone(), bounded.clone(), tx);
        let child = Process::spawn(have_of_both, arguments).unwrap();
        let place = next(&rx);
        assert_eq!((semaphore.value(), bounded.value()), (0, 0));
        place.kill();
        if is_noticed {
            was_killed(&child);
            assert_eq!((semaphore.value(), bounded.value()), (2, 2));
        }
        for semaphore in [&semaphore, &*bounded] {
            let _permits = (
                semaphore.acquire_timeout(SOON).unwrap(),
                semaphore.acquire_timeout(SOON).unwrap(),
            );
            assert!(matches!(
                semaphore.acquire_timeout(SHORT),
                Err(WaitError::TimedOut | WaitError::Closed)
            ));
            assert_eq!(semaphore.value(), 0, "what it took raw stays taken");
            semaphore.release().unwrap();
        }
        assert_eq!((semaphore.value(), bounded.value()), (3, 3));
        assert!(bounded.release().is_err());
        if !is_noticed {
            was_killed(&child);
        }
    }
    assert_eq!((semaphore.value(), bounded.value()), (3, 3));
}

fn permits_of_all_threads() {
    const THREADS: u32 = 8;
    let semaphore = Semaphore::new(2 * THREADS).unwrap();
    let (event, met) = (Event::new().unwrap(), Barrier::new(THREADS as usize + 1).unwrap());
    let have = |semaphore: Semaphore, event: Event, met: Barrier| -> () {
        let have = || {
            event.wait().unwrap();
            let _permits = (semaphore.acquire().unwrap(), semaphore.acquire().unwrap());
            met.wait().unwrap();
            park();
        };
        std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(have))));
    };
    let arguments = (semaphore.clone(), event.clone(), met.clone());
    let child = Process::spawn(have, arguments).unwrap();
    // All at once.
    event.set().unwrap();
    met.wait_timeout(SOON).unwrap();
    assert!(matches!(semaphore.try_acquire(), Err(WaitError::TimedOut)));
    child.kill().unwrap();
    let permits: Vec<_> =
        (0..2 * THREADS).map(|_| semaphore.acquire_timeout(SOON).unwrap()).collect();
    assert_eq!(semaphore.value(), 0);
    drop(permits);
    assert_eq!(semaphore.value(), 2 * THREADS);
    was_killed(&child);
}

fn permits_of_the_dead_wake() {
    let semaphore = Semaphore::new(3).unwrap();
    let (tx, rx) = pipe().unwrap();
    let owner = Process::spawn(have_three, (semaphore.clone(), tx)).unwrap();
    let place: Place = next(&rx);
    let wait = |semaphore: Semaphore, tx: Sender<Place>| {
        say_where(&tx);
        // For good: the next waiter gets the next one.
        semaphore.acquire().unwrap().forget();
    };
    let wait_raw = |semaphore: Semaphore, tx: Sender<Place>| {
        say_where(&tx);
        semaphore.acquire_raw().unwrap();
    };
    let ((tx, rx), (tx_raw, rx_raw)) = (pipe().unwrap(), pipe().unwrap());
    let waiters = [
        Process::spawn(wait, (semaphore.clone(), tx)).unwrap(),
        Process::spawn(wait_raw, (semaphore.clone(), tx_raw)).unwrap(),
    ];
    next(&rx).falls_asleep();
    next(&rx_raw).falls_asleep();
    place.kill();
    waiters.iter().for_each(value);
    assert_eq!(semaphore.value(), 0);
    was_killed(&owner);
}

/// It is killed when it is woken: another one gets what it was woken for.
fn a_killed_waiter_of_a_semaphore() {
    let semaphore = Semaphore::new(0).unwrap();
    let wait = |semaphore: Semaphore, tx: Sender<Place>| {
        say_where(&tx);
        drop(semaphore.acquire().unwrap());
    };
    let wait_raw = |semaphore: Semaphore, tx: Sender<Place>| {
        say_where(&tx);
        semaphore.acquire_raw().unwrap();
    };
    for round in 0..20 {
        let mut waiters = Vec::new();
        for number in 0..4 {
            let (tx, rx) = pipe().unwrap();
            let arguments = (semaphore.clone(), tx);
            let child = match number {
                3 => Process::spawn(wait_raw, arguments),
                _ => Process::spawn(wait, arguments),
            };
            let place: Place = next(&rx);
            place.falls_asleep();
            waiters.push((child.unwrap(), place));
        }
        // One more in its sleep.
        waiters[0].1.kill();
        semaphore.release_many(2).unwrap();
        (0..round * 100).for_each(|_| std::hint::spin_loop());
        waiters[1].0.kill().unwrap();
        value(&waiters[2].0);
        value(&waiters[3].0);
        was_killed(&waiters[0].0);
        // It may have been faster.
        drop(waiters[1].0.join_timeout(SOON).expect("it ends"));
        assert_eq!(semaphore.value(), 1, "one took its permit for good");
        semaphore.acquire_raw().unwrap();
    }
}

/// In CPython whoever sets the event waits for ever for those that it woke to say so.
fn a_killed_waiter_of_an_event() {
    let event = Event::new().unwrap();
    let wait = |event: Event, tx: Sender<Place>| {
        say_where(&tx);
        event.wait().unwrap();
    };
    let mut waiters = Vec::new();
    for _ in 0..4 {
        let (tx, rx) = pipe().unwrap();
        let child = Process::spawn(wait, (event.clone(), tx)).unwrap();
        let place: Place = next(&rx);
        place.falls_asleep();
        waiters.push((child, place));
    }
    waiters[0].1.kill();
    waiters[1].1.stop();
    event.set().unwrap();
    waiters[1].1.kill();
    value(&waiters[2].0);
    value(&waiters[3].0);
    was_killed(&waiters[0].0);
    was_killed(&waiters[1].0);
    event.wait().unwrap();
    assert!(event.clear().unwrap());
}

fn who_sets_an_event_and_is_killed() {
    let event = Event::new().unwrap();
    let set_and_die = |event: Event, waiter: Place| {
        waiter.falls_asleep();
        event.set().unwrap();
        signal::die_of(signal::KILL);
    };
    let child = Process::<()>::spawn(set_and_die, (event.clone(), Place::here())).unwrap();
    event.wait().unwrap();
    was_killed(&child);
    assert!(event.is_set().unwrap());
}

/// What one can be alone with.
#[derive(Clone, Serialize, Deserialize)]
struct Things {
    semaphore: Semaphore,
    event: Event,
    condition: Condition,
    plain: Condition<Lock>,
}

impl Things {
    fn new() -> Self {
        Self {
            semaphore: Semaphore::new(0).unwrap(),
            event: Event::new().unwrap(),
            condition: Condition::new().unwrap(),
            plain: Condition::with_lock(Lock::new().unwrap()).unwrap(),
        }
    }

    /// Each of the waits for them ends so, after this long at most. The locks of conditions are locked again, however it is.
    #[track_caller]
    fn all_end(&self, timeout: Duration, so: fn(&WaitError) -> bool) {
        let is_so = |end: Result<(), WaitError>| {
            assert!(end.as_ref().is_err_and(so), "{end:?}");
        };
        is_so(self.semaphore.acquire_timeout(timeout).map(drop));
        is_so(self.semaphore.acquire_raw_timeout(timeout));
        is_so(self.event.wait_timeout(timeout));
        let mut guard = self.condition.lock().unwrap();
        is_so(self.condition.wait_timeout(&mut guard, timeout));
        assert!(self.condition.as_lock().owner().unwrap().is_this_thread);
        let mut guard = self.plain.lock().unwrap();
        is_so(self.plain.wait_timeout(&mut guard, timeout));
        assert!(self.plain.as_lock().owner().unwrap().is_this_thread);
        assert_eq!((self.condition.waiting(), self.plain.waiting()), (0, 0));
    }

    #[track_caller]
    fn are_closed(&self) {
        self.all_end(SOON, |error| matches!(error, WaitError::Closed));
    }

    /// Somebody may still do something, as far as one can know.
    #[track_caller]
    fn are_waited_for(&self) {
        self.all_end(SHORT / 2, |error| matches!(error, WaitError::TimedOut));
    }

    /// A child that has them, says so, and waits to be killed.
    fn with(&self) -> (Process<()>, Place) {
        let have = |_things: Self, tx: Sender<Place>| {
            say_where(&tx);
            park()
        };
        let (tx, rx) = pipe().unwrap();
        let child = Process::spawn(have, (self.clone(), tx)).unwrap();
        (child, next(&rx))
    }
}

fn the_death_of_all_others_ends_the_wait() {
    let things = Things::new();
    let children = [things.with(), things.with()];
    things.are_waited_for();
    children[0].1.kill();
    things.are_waited_for();
    was_killed(&children[0].0);
    things.are_waited_for();
    children[1].1.kill();
    things.are_closed();
    was_killed(&children[1].0);
    things.are_closed();
    // What is there is taken all the same.
    things.semaphore.release().unwrap();
    things.semaphore.acquire_raw().unwrap();
    things.event.set().unwrap();
    things.event.wait().unwrap();
    things.event.clear().unwrap();
    // Somebody new is somebody to wait for.
    let (child, place) = things.with();
    things.are_waited_for();
    place.kill();
    things.are_closed();
    was_killed(&child);
}

/// Waits for one of them; whether it was told that it is alone.
fn wait_alone(things: Things, tx: Sender<Place>, at: usize) -> bool {
    let mut guard = things.condition.lock().unwrap();
    say_where(&tx);
    let end = match at {
        0 => things.semaphore.acquire().map(drop),
        1 => things.semaphore.acquire_raw(),
        2 => things.event.wait(),
        _ => things.condition.wait(&mut guard),
    };
    matches!(end, Err(WaitError::Closed))
}

/// It is blocked when the last one dies, and its parent has nothing of it any more.
fn a_blocked_child_learns_that_it_is_alone() {
    for at in 0..4 {
        let things = Things::new();
        let (owner, place) = things.with();
        let (tx, rx) = pipe().unwrap();
        let waiter = Process::spawn(wait_alone, (things, tx, at)).unwrap();
        let waiting: Place = next(&rx);
        waiting.falls_asleep();
        place.kill();
        assert!(value(&waiter));
        was_killed(&owner);
    }
}

/// The other has slept for long when it gets them, and nobody else looks.
fn who_comes_late_and_dies_is_missed() {
    for at in 0..4 {
        let things = Things::new();
        let (tx, rx) = pipe().unwrap();
        let waiter = Process::spawn(wait_alone, (things.clone(), tx, at)).unwrap();
        let waiting: Place = next(&rx);
        waiting.falls_asleep();
        let never = Event::new().unwrap();
        assert!(matches!(never.wait_timeout(SHORT), Err(WaitError::TimedOut)));
        let (late, place) = things.with();
        drop(things);
        place.kill();
        assert!(value(&waiter));
        was_killed(&late);
    }
}

/// Killed at any instruction between its start and its first.
fn died_before_it_read() {
    for round in 0..20 {
        let event = Event::new().unwrap();
        let child = Process::spawn(|event: Event| event.wait().unwrap(), (event.clone(),)).unwrap();
        (0..round * 1000).for_each(|_| std::hint::spin_loop());
        child.kill().unwrap();
        let waited = event.wait_timeout(SOON);
        assert!(matches!(waited, Err(WaitError::Closed)), "{waited:?}");
        was_killed(&child);
    }
}

fn who_ended_in_order_is_not_missed() {
    let things = Things::new();
    value(&Process::spawn(|_: Things| (), (things.clone(),)).unwrap());
    things.are_waited_for();
    let exit = |_: Things| -> () { procession::exit(3) };
    let child = Process::spawn(exit, (things.clone(),)).unwrap();
    assert_eq!(death(&child).status, ExitStatus::Exited(3));
    things.are_waited_for();
    let panic = |_: Things| -> () { panic!("on purpose") };
    let child = Process::spawn(panic, (things.clone(),)).unwrap();
    assert!(matches!(child.join(), Err(JoinError::Panicked(_))));
    things.are_waited_for();
}

/// Its process returns while it waits.
fn waits_at_the_end() {
    let things = Things::new();
    let leave_a_thread = |things: Things| {
        let condition = things.condition.clone();
        std::thread::spawn(move || condition.wait(&mut condition.lock().unwrap()));
        wait_until("it waits", || things.condition.waiting() == 1);
        // It has unlocked by now, or this process would end over the lock.
        drop(things.condition.lock().unwrap());
        std::thread::spawn(move || drop(things.semaphore.acquire().unwrap()));
    };
    let notify = |count| {
        let mut guard = things.condition.lock().unwrap();
        things.condition.notify(&mut guard, count).unwrap()
    };
    value(&Process::spawn(leave_a_thread, (things.clone(),)).unwrap());
    assert_eq!((things.condition.waiting(), notify(2)), (0, 0));
    things.semaphore.release().unwrap();
    things.semaphore.try_acquire_raw().unwrap();
    assert_eq!(things.semaphore.value(), 0);
}

fn who_dropped_it_is_not_missed() {
    let things = Things::new();
    let forget = |things: Things, tx: Sender<Place>| -> () {
        drop(things);
        say_where(&tx);
        park()
    };
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(forget, (things.clone(), tx)).unwrap();
    let place = next(&rx);
    things.are_waited_for();
    place.kill();
    things.are_waited_for();
    was_killed(&child);
    things.are_waited_for();
}

fn who_never_had_it_is_not_missed() {
    let other = Things::new();
    let (child, place) = other.with();
    let things = Things::new();
    let process = Process::spawn(
        || {
            // In a process of its own.
            let things = Things::new();
            things.are_waited_for();
        },
        (),
    );
    place.kill();
    things.are_waited_for();
    was_killed(&child);
    things.are_waited_for();
    value(&process.unwrap());
    other.are_closed();
}

/// Threads of the process itself are not looked at.
fn waits_again() {
    let event = Event::new().unwrap();
    let board = Board::new(1);
    let die = |_: Event| -> () { signal::die_of(signal::KILL) };
    was_killed(&Process::spawn(die, (event.clone(),)).unwrap());
    let (setter, told) = (event.clone(), board.clone());
    let thread = std::thread::spawn(move || {
        wait_until("the other one was told twice", || told.get(0) == 2);
        setter.set().unwrap();
    });
    loop {
        match event.wait() {
            Ok(()) => break,
            Err(WaitError::Closed) => drop(board.count(0)),
            Err(error) => panic!("{error}"),
        }
    }
    thread.join().unwrap();
    assert!(board.get(0) >= 2);
}
