//! CPython's `_TestSemaphore`, and what of semaphores it does not ask.

use std::time::Duration;

use procession::prelude::*;
use procession::sync::MAX_VALUE;
use procession::{BoundedSemaphore, Error, ErrorKind, WaitError};
use procession_tests::SOON;

use crate::stage::{Place, Row, SHORT, next, say_where, takes, value};

pub(crate) const ROWS: &[Row] = &[
    ("semaphore::semaphore", semaphore),
    ("semaphore::bounded_semaphore", bounded_semaphore),
    ("semaphore::timeout", timeout),
    ("semaphore::limits", limits),
    ("semaphore::one_process_acquires_another_releases", one_process_acquires_another_releases),
    ("semaphore::many_are_released_at_once", many_are_released_at_once),
    ("semaphore::a_forgotten_permit_stays_taken", a_forgotten_permit_stays_taken),
    ("semaphore::more_processes_than_cells", more_processes_than_cells),
    ("semaphore::text", text),
];

/// Both ways to take a permit, in a process that has the semaphore of value two for itself.
fn two(semaphore: &Semaphore) {
    assert_eq!(semaphore.value(), 2);
    let first = semaphore.acquire().unwrap();
    assert_eq!(semaphore.value(), 1);
    let second = semaphore.acquire_timeout(Duration::ZERO).unwrap();
    assert_eq!(semaphore.value(), 0);
    assert!(matches!(semaphore.try_acquire(), Err(WaitError::TimedOut)));
    assert!(matches!(semaphore.try_acquire_raw(), Err(WaitError::TimedOut)));
    drop(first);
    assert_eq!(semaphore.value(), 1);
    drop(second);
    assert_eq!(semaphore.value(), 2);
    semaphore.acquire_raw().unwrap();
    semaphore.try_acquire_raw().unwrap();
    assert_eq!(semaphore.value(), 0);
    assert!(matches!(semaphore.try_acquire(), Err(WaitError::TimedOut)));
    semaphore.release().unwrap();
    assert_eq!(semaphore.value(), 1);
    drop(semaphore.try_acquire().unwrap());
    semaphore.release().unwrap();
    assert_eq!(semaphore.value(), 2);
}

fn semaphore() {
    let semaphore = Semaphore::new(2).unwrap();
    two(&semaphore);
    value(&Process::spawn(|semaphore: Semaphore| two(&semaphore), (semaphore.clone(),)).unwrap());
    semaphore.release().unwrap();
    assert_eq!(semaphore.value(), 3);
    let add = |semaphore: Semaphore| {
        assert_eq!(semaphore.value(), 3);
        semaphore.release().unwrap();
    };
    value(&Process::spawn(add, (semaphore.clone(),)).unwrap());
    assert_eq!(semaphore.value(), 4);
}

fn bounded_semaphore() {
    let semaphore = BoundedSemaphore::new(2).unwrap();
    let alone = |semaphore: BoundedSemaphore| {
        assert_eq!(semaphore.max_value(), 2);
        two(&semaphore);
        let error = semaphore.release().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        let permit = semaphore.acquire().unwrap();
        assert_eq!(semaphore.release_many(2).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(semaphore.value(), 1, "none of them was added");
        drop(permit);
        assert_eq!(semaphore.value(), 2);
    };
    alone(semaphore.clone());
    value(&Process::spawn(alone, (semaphore.clone(),)).unwrap());
    // A permit that comes back to a semaphore that is full already is swallowed.
    let permit = semaphore.acquire().unwrap();
    semaphore.release().unwrap();
    drop(permit);
    assert_eq!(semaphore.value(), 2);
    assert!(BoundedSemaphore::new(0).unwrap().release().is_err());
}

fn timeout() {
    let semaphore = Semaphore::new(0).unwrap();
    let in_vain = |semaphore: Semaphore| {
        let is_timed_out = |result| matches!(result, Err(WaitError::TimedOut));
        assert!(is_timed_out(semaphore.try_acquire().map(drop)));
        assert!(is_timed_out(semaphore.try_acquire_raw()));
        assert!(is_timed_out(semaphore.acquire_timeout(Duration::ZERO).map(drop)));
        assert!(is_timed_out(semaphore.acquire_raw_timeout(Duration::ZERO)));
        assert!(is_timed_out(takes(SHORT, || semaphore.acquire_timeout(SHORT).map(drop))));
        assert!(is_timed_out(takes(SHORT, || semaphore.acquire_raw_timeout(SHORT))));
        let error = Error::from(semaphore.try_acquire_raw().unwrap_err());
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(semaphore.value(), 0);
    };
    in_vain(semaphore.clone());
    value(&Process::spawn(in_vain, (semaphore.clone(),)).unwrap());
    // Who waits without a deadline gets what another process adds.
    let (tx, rx) = pipe().unwrap();
    let wait = |semaphore: Semaphore, tx: Sender<Place>| {
        say_where(&tx);
        drop(semaphore.acquire().unwrap());
        semaphore.acquire_raw().unwrap();
    };
    let child = Process::spawn(wait, (semaphore.clone(), tx)).unwrap();
    next(&rx).falls_asleep();
    semaphore.release().unwrap();
    value(&child);
    assert_eq!(semaphore.value(), 0);
}

fn limits() {
    assert_eq!(MAX_VALUE, i32::MAX.cast_unsigned());
    let full = |semaphore: Semaphore| {
        assert_eq!(semaphore.value(), MAX_VALUE);
        for count in [1, 2, MAX_VALUE, u32::MAX] {
            let error = semaphore.release_many(count).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
        let permit = semaphore.acquire().unwrap();
        semaphore.acquire_raw().unwrap();
        assert_eq!(semaphore.value(), MAX_VALUE - 2);
        assert!(semaphore.release_many(3).is_err());
        semaphore.release().unwrap();
        drop(permit);
        assert_eq!(semaphore.value(), MAX_VALUE);
    };
    let semaphore = Semaphore::new(MAX_VALUE).unwrap();
    value(&Process::spawn(full, (semaphore.clone(),)).unwrap());
    full(semaphore);
    let bounded = BoundedSemaphore::new(MAX_VALUE).unwrap();
    assert_eq!(bounded.max_value(), MAX_VALUE);
    assert!(bounded.release().is_err());
    for beyond in [MAX_VALUE + 1, u32::MAX] {
        let errors = [Semaphore::new(beyond).err(), BoundedSemaphore::new(beyond).err()];
        for error in errors {
            assert_eq!(error.unwrap().kind(), ErrorKind::InvalidInput);
        }
    }
    let none = Semaphore::new(0).unwrap();
    none.release_many(0).unwrap();
    assert_eq!(none.value(), 0);
}

fn one_process_acquires_another_releases() {
    let semaphore = BoundedSemaphore::new(1).unwrap();
    let acquire = |semaphore: BoundedSemaphore| semaphore.acquire_raw().unwrap();
    value(&Process::spawn(acquire, (semaphore.clone(),)).unwrap());
    assert_eq!(semaphore.value(), 0, "whoever took it raw may end, and it stays taken");
    semaphore.release().unwrap();
    semaphore.acquire_raw().unwrap();
    let release = |semaphore: BoundedSemaphore| semaphore.release().unwrap();
    value(&Process::spawn(release, (semaphore.clone(),)).unwrap());
    assert_eq!(semaphore.value(), 1);
}

fn many_are_released_at_once() {
    const WAITERS: u32 = 5;
    let (semaphore, woken) = (Semaphore::new(0).unwrap(), Semaphore::new(0).unwrap());
    let wait = |semaphore: Semaphore, woken: Semaphore, tx: Sender<Place>| {
        say_where(&tx);
        semaphore.acquire_raw().unwrap();
        woken.release().unwrap();
    };
    let mut children = Vec::new();
    for _ in 0..WAITERS {
        let (tx, rx) = pipe().unwrap();
        let child = Process::spawn(wait, (semaphore.clone(), woken.clone(), tx)).unwrap();
        next(&rx).falls_asleep();
        children.push(child);
    }
    semaphore.release_many(WAITERS - 1).unwrap();
    for _ in 1..WAITERS {
        woken.acquire_raw_timeout(SOON).unwrap();
    }
    assert_eq!((semaphore.value(), woken.value()), (0, 0), "one has nothing");
    semaphore.release_many(1).unwrap();
    children.iter().for_each(value);
    assert_eq!(woken.value(), 1);
}

fn a_forgotten_permit_stays_taken() {
    let semaphore = Semaphore::new(2).unwrap();
    let forget = |semaphore: Semaphore| {
        let kept = semaphore.acquire().unwrap();
        semaphore.acquire().unwrap().forget();
        drop(kept);
        assert_eq!(semaphore.value(), 1);
    };
    value(&Process::spawn(forget, (semaphore.clone(),)).unwrap());
    assert_eq!(semaphore.value(), 1, "also when its process has ended");
    semaphore.release().unwrap();
    assert_eq!(semaphore.value(), 2);
}

/// As many processes as there are cells have a permit. Another one waits, although there are permits; not if it takes it raw.
fn more_processes_than_cells() {
    const CELLS: u32 = 24;
    let semaphore = Semaphore::new(1).unwrap();
    semaphore.release_many(CELLS + 5).unwrap();
    let have = |semaphore: Semaphore, tx: Sender<Place>, wait: Receiver<()>| {
        let _permits = (semaphore.acquire().unwrap(), semaphore.acquire().unwrap());
        say_where(&tx);
        wait.recv_timeout(SOON).unwrap();
    };
    let mut children = Vec::new();
    for _ in 0..CELLS / 2 {
        let ((tx, rx), (go, wait)) = (pipe().unwrap(), pipe::<()>().unwrap());
        let child = Process::spawn(have, (semaphore.clone(), tx, wait)).unwrap();
        next(&rx);
        children.push((child, go));
    }
    assert_eq!(semaphore.value(), 6);
    drop(semaphore.try_acquire().unwrap());
    let one = |semaphore: Semaphore, tx: Sender<Place>, wait: Receiver<()>| {
        let _permit = semaphore.acquire().unwrap();
        say_where(&tx);
        wait.recv_timeout(SOON).unwrap();
    };
    semaphore.release_many(CELLS).unwrap();
    for _ in CELLS / 2..CELLS {
        let ((tx, rx), (go, wait)) = (pipe().unwrap(), pipe::<()>().unwrap());
        let child = Process::spawn(one, (semaphore.clone(), tx, wait)).unwrap();
        next(&rx);
        children.push((child, go));
    }
    assert_eq!(semaphore.value(), 18);
    assert!(matches!(semaphore.try_acquire(), Err(WaitError::TimedOut)));
    assert!(matches!(semaphore.acquire_timeout(SHORT), Err(WaitError::TimedOut)));
    semaphore.try_acquire_raw().unwrap();
    semaphore.release().unwrap();
    // A process that has a cell takes as many permits as there are; and the first cell that comes back is for who waits.
    let (tx, rx) = pipe().unwrap();
    let wait = |semaphore: Semaphore, tx: Sender<Place>| {
        say_where(&tx);
        drop(semaphore.acquire().unwrap());
    };
    let waiter = Process::spawn(wait, (semaphore.clone(), tx)).unwrap();
    next(&rx).falls_asleep();
    let (first, go) = children.swap_remove(0);
    go.send(()).unwrap();
    value(&first);
    value(&waiter);
    for (child, go) in children {
        go.send(()).unwrap();
        value(&child);
    }
    assert_eq!(semaphore.value(), CELLS * 2 + 6);
}

fn text() {
    let (semaphore, bounded) = (Semaphore::new(2).unwrap(), BoundedSemaphore::new(3).unwrap());
    let _permit = bounded.acquire().unwrap();
    let show =
        |semaphore: Semaphore, bounded: BoundedSemaphore| format!("{semaphore:?} {bounded:?}");
    let child = Process::spawn(show, (semaphore.clone(), bounded.clone())).unwrap();
    let expected = "Semaphore(value=2) BoundedSemaphore(value=2, maxvalue=3)";
    assert_eq!(value(&child), expected);
    assert_eq!(show(semaphore, bounded.clone()), expected);
}
