//! CPython's `_TestLock`, and what of locks it does not ask.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use procession::prelude::*;
use procession::{BoundedSemaphore, Error, ErrorKind, LockError};
use procession_tests::SOON;

use crate::stage::{Board, Place, Row, SHORT, is_in_threads, next, say_where, takes, value};

pub(crate) const ROWS: &[Row] = &[
    ("lock::lock", lock),
    ("lock::rlock", rlock),
    ("lock::lock_context", lock_context),
    ("lock::counts_under_a_lock_are_exact", counts_under_a_lock_are_exact),
    ("lock::one_process_locks_another_releases", one_process_locks_another_releases),
    ("lock::a_guard_after_a_release_does_nothing", a_guard_after_a_release_does_nothing),
    ("lock::a_guard_after_a_release_stands_for_the_next_of_its_thread", stands_for_the_next),
    ("lock::a_recursive_lock_is_its_threads", a_recursive_lock_is_its_threads),
    ("lock::guards_are_dropped_in_any_order", guards_are_dropped_in_any_order),
    ("lock::guards_and_permits_go_to_other_threads", guards_and_permits_go_to_other_threads),
    ("lock::text", text),
];

/// What is so in a process that has the lock for itself.
fn alone(lock: &Lock) {
    let guard = lock.lock().unwrap();
    assert!(lock.is_locked());
    assert!(matches!(lock.try_lock(), Err(LockError::TimedOut)), "not even by this thread");
    assert!(matches!(lock.lock_timeout(Duration::ZERO), Err(LockError::TimedOut)));
    let waited = takes(SHORT, || lock.lock_timeout(SHORT).map(drop));
    assert!(matches!(waited, Err(LockError::TimedOut)));
    drop(guard);
    assert!(!lock.is_locked());
    for _ in 0..2 {
        let error = lock.release().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    drop(lock.try_lock().unwrap());
    drop(lock.lock_timeout(Duration::ZERO).unwrap());
    assert!(!lock.is_locked());
}

fn lock() {
    let lock = Lock::new().unwrap();
    alone(&lock);
    value(&Process::spawn(|lock: Lock| alone(&lock), (lock.clone(),)).unwrap());
    // Of two processes one has it.
    let guard = lock.lock().unwrap();
    let refused = |lock: Lock| {
        assert!(lock.is_locked());
        assert!(matches!(lock.try_lock(), Err(LockError::TimedOut)));
        let waited = takes(SHORT, || lock.lock_timeout(SHORT).map(drop));
        assert!(matches!(waited, Err(LockError::TimedOut)));
    };
    value(&Process::spawn(refused, (lock.clone(),)).unwrap());
    let wait = |lock: Lock, tx: Sender<Place>| {
        say_where(&tx);
        let guard = lock.lock().unwrap();
        assert!(!guard.is_after_death());
    };
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(wait, (lock.clone(), tx)).unwrap();
    next(&rx).falls_asleep();
    drop(guard);
    value(&child);
    assert!(!lock.is_locked());
    // As an error it says why.
    let _guard = lock.lock().unwrap();
    assert_eq!(Error::from(lock.try_lock().unwrap_err()).kind(), ErrorKind::TimedOut);
}

fn rlock() {
    let lock = RLock::new().unwrap();
    let alone = |lock: RLock| {
        let guards: Vec<_> = (0..3).map(|_| lock.lock().unwrap()).collect();
        assert_eq!(lock.depth(), 3);
        drop(guards);
        assert!(!lock.is_locked());
        for guard in [lock.lock(), lock.try_lock(), lock.lock_timeout(Duration::ZERO)] {
            guard.unwrap().keep();
        }
        for left in [2, 1, 0] {
            assert!(lock.is_locked());
            lock.release().unwrap();
            assert_eq!(lock.depth(), left);
        }
        let error = lock.release().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(!lock.is_locked());
    };
    alone(lock.clone());
    value(&Process::spawn(alone, (lock.clone(),)).unwrap());
    let outer = lock.lock().unwrap();
    let inner = lock.lock().unwrap();
    let refused = |lock: RLock| {
        assert_eq!(lock.depth(), 2);
        assert!(matches!(lock.try_lock(), Err(LockError::TimedOut)));
        let waited = takes(SHORT, || lock.lock_timeout(SHORT).map(drop));
        assert!(matches!(waited, Err(LockError::TimedOut)));
    };
    value(&Process::spawn(refused, (lock.clone(),)).unwrap());
    drop(inner);
    let wait = |lock: RLock, tx: Sender<Place>| {
        say_where(&tx);
        let _outer = lock.lock().unwrap();
        let _inner = lock.try_lock().unwrap();
        lock.depth()
    };
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(wait, (lock.clone(), tx)).unwrap();
    next(&rx).falls_asleep();
    assert_eq!(lock.depth(), 1);
    drop(outer);
    assert_eq!(value(&child), 2);
}

/// Locks, and leaves by an error.
fn fail_under(lock: &Lock) -> procession::Result<()> {
    let _guard = lock.lock()?;
    Err(Error::new(ErrorKind::Broken, "on purpose"))
}

fn lock_context() {
    let in_each = |lock: Lock, recursive: RLock, semaphore: Semaphore, condition: Condition| {
        {
            let _guards = (lock.lock().unwrap(), recursive.lock().unwrap());
            let _permit = semaphore.acquire().unwrap();
            let _guard = condition.lock().unwrap();
            assert!(lock.is_locked() && recursive.is_locked() && condition.as_lock().is_locked());
            assert_eq!(semaphore.value(), 0);
        }
        assert!(!lock.is_locked() && !recursive.is_locked() && !condition.as_lock().is_locked());
        assert_eq!(semaphore.value(), 1);
        assert_eq!(fail_under(&lock).unwrap_err().kind(), ErrorKind::Broken);
        assert!(!lock.is_locked());
        let panics = catch_unwind(AssertUnwindSafe(|| {
            let (_guard, _permit) = (lock.lock().unwrap(), semaphore.acquire().unwrap());
            panic!("on purpose");
        }));
        assert!(panics.is_err() && !lock.is_locked());
        assert_eq!(semaphore.value(), 1);
    };
    let things = (
        Lock::new().unwrap(),
        RLock::new().unwrap(),
        Semaphore::new(1).unwrap(),
        Condition::new().unwrap(),
    );
    let (lock, recursive, semaphore, condition) = things.clone();
    in_each(lock, recursive, semaphore, condition);
    value(&Process::spawn(in_each, things.clone()).unwrap());
    // A process that ends by a panic has unlocked.
    let panics = |lock: Lock| {
        let _guard = lock.lock().unwrap();
        panic!("on purpose");
    };
    let child = Process::<()>::spawn(panics, (things.0.clone(),)).unwrap();
    assert!(matches!(child.join_timeout(SOON), Some(Err(JoinError::Panicked(_)))));
    assert!(!things.0.lock().unwrap().is_after_death());
}

/// What processes take turns at.
type Turns = (Lock, RLock, Semaphore, BoundedSemaphore, Condition, Board);

const COUNTS: u64 = 3000;

/// Each way of having something for oneself, with a number of its own.
fn count_by_turns((lock, recursive, raw, permits, condition, board): Turns) {
    for _ in 0..COUNTS {
        {
            let _guard = lock.lock().unwrap();
            board.count_carelessly(0);
        }
        {
            let _guard = recursive.lock().unwrap();
            board.count_carelessly(1);
        }
        raw.acquire_raw().unwrap();
        board.count_carelessly(2);
        raw.release().unwrap();
        {
            let _permit = permits.acquire().unwrap();
            board.count_carelessly(3);
        }
        {
            let _guard = condition.lock().unwrap();
            board.count_carelessly(4);
        }
    }
}

fn counts_under_a_lock_are_exact() {
    const PROCESSES: u64 = 4;
    let turns = (
        Lock::new().unwrap(),
        RLock::new().unwrap(),
        Semaphore::new(1).unwrap(),
        BoundedSemaphore::new(1).unwrap(),
        Condition::new().unwrap(),
        Board::new(5),
    );
    let spawn = |_| Process::spawn(count_by_turns, (turns.clone(),)).unwrap();
    let children: Vec<_> = (0..PROCESSES).map(spawn).collect();
    children.iter().for_each(value);
    let counted: Vec<_> = (0..5).map(|at| turns.5.get(at)).collect();
    assert_eq!(counted, [COUNTS * PROCESSES; 5]);
}

fn one_process_locks_another_releases() {
    let lock = Lock::new().unwrap();
    let (tx, rx) = pipe().unwrap();
    let (go, wait) = pipe::<()>().unwrap();
    let lock_and_keep = |lock: Lock, tx: Sender<Place>, wait: Receiver<()>| {
        lock.lock().unwrap().keep();
        say_where(&tx);
        wait.recv_timeout(SOON).unwrap();
        // Once more, and it is not the other's any more.
        let guard = lock.try_lock().unwrap();
        assert!(!guard.is_after_death());
        drop(guard);
    };
    let child = Process::spawn(lock_and_keep, (lock.clone(), tx, wait)).unwrap();
    next(&rx);
    assert!(matches!(lock.try_lock(), Err(LockError::TimedOut)));
    lock.release().unwrap();
    assert!(!lock.is_locked());
    assert_eq!(lock.release().unwrap_err().kind(), ErrorKind::InvalidInput);
    go.send(()).unwrap();
    value(&child);
    // The other way round, with somebody who waits for it.
    lock.lock().unwrap().keep();
    let (tx, rx) = pipe().unwrap();
    let wait = |lock: Lock, tx: Sender<Place>| {
        say_where(&tx);
        drop(lock.lock().unwrap());
    };
    let waiter = Process::spawn(wait, (lock.clone(), tx)).unwrap();
    next(&rx).falls_asleep();
    value(&Process::spawn(|lock: Lock| lock.release().unwrap(), (lock.clone(),)).unwrap());
    value(&waiter);
    assert!(!lock.is_locked());
}

fn a_guard_after_a_release_does_nothing() {
    let lock = Lock::new().unwrap();
    let guard = lock.lock().unwrap();
    value(&Process::spawn(|lock: Lock| lock.release().unwrap(), (lock.clone(),)).unwrap());
    // Somebody else has it now.
    let (tx, rx) = pipe().unwrap();
    let (go, wait) = pipe::<()>().unwrap();
    let have = |lock: Lock, tx: Sender<Place>, wait: Receiver<()>| {
        let _guard = lock.try_lock().unwrap();
        say_where(&tx);
        wait.recv_timeout(SOON).unwrap();
        assert!(lock.is_locked());
    };
    let child = Process::spawn(have, (lock.clone(), tx, wait)).unwrap();
    next(&rx);
    drop(guard);
    assert!(lock.is_locked());
    go.send(()).unwrap();
    value(&child);
    // A condition does not wait under a guard that is none.
    let condition = Condition::with_lock(lock.clone()).unwrap();
    let mut guard = lock.lock().unwrap();
    lock.release().unwrap();
    let error = condition.wait_timeout(&mut guard, SOON).unwrap_err();
    assert_eq!(Error::from(error).kind(), ErrorKind::InvalidInput);
    assert_eq!(condition.waiting(), 0);
    drop(guard);
    assert!(!lock.is_locked());
}

/// The lock knows threads, not guards: the first of the two that is dropped unlocks it, and the other does nothing.
fn stands_for_the_next() {
    let lock = Lock::new().unwrap();
    let first = lock.lock().unwrap();
    value(&Process::spawn(|lock: Lock| lock.release().unwrap(), (lock.clone(),)).unwrap());
    let second = lock.lock().unwrap();
    drop(first);
    assert!(!lock.is_locked());
    let third = thread::scope(|scope| scope.spawn(|| lock.lock().unwrap()).join().unwrap());
    drop(second);
    assert!(lock.is_locked(), "it is another thread's now");
    drop(third);
    assert!(!lock.is_locked());
}

fn a_recursive_lock_is_its_threads() {
    let lock = RLock::new().unwrap();
    let is_refused = |lock: RLock| {
        assert!(matches!(lock.try_lock(), Err(LockError::TimedOut)));
        let error = lock.release().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(lock.is_locked());
    };
    lock.lock().unwrap().keep();
    value(&Process::spawn(is_refused, (lock.clone(),)).unwrap());
    thread::scope(|scope| scope.spawn(|| is_refused(lock.clone())).join().unwrap());
    lock.release().unwrap();
    // Nobody's is refused as well.
    let is_refused = |lock: RLock| lock.release().unwrap_err().kind();
    let refused =
        value(&Process::spawn(|lock: RLock| lock.release().is_err(), (lock.clone(),)).unwrap());
    assert!(refused);
    assert_eq!(is_refused(lock), ErrorKind::InvalidInput);
}

fn guards_are_dropped_in_any_order() {
    let lock = RLock::new().unwrap();
    let others_get_it = || {
        let is_free = |lock: RLock| lock.try_lock().is_ok();
        value(&Process::spawn(is_free, (lock.clone(),)).unwrap())
    };
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let mut guards: Vec<_> = (0..3).map(|_| Some(lock.lock().unwrap())).collect();
        for (number, at) in order.into_iter().enumerate() {
            assert_eq!(lock.depth(), 3 - u32::try_from(number).unwrap());
            drop(guards[at].take());
        }
        assert!(others_get_it());
    }
}

fn is_shared<T: Send + Sync>(_: &T) {}

fn guards_and_permits_go_to_other_threads() {
    let in_each = |lock: Lock, semaphore: Semaphore| {
        let (guard, permit) = (lock.lock().unwrap(), semaphore.acquire().unwrap());
        is_shared(&(&lock, &semaphore));
        thread::scope(|scope| {
            scope.spawn(|| assert!(matches!(lock.try_lock(), Err(LockError::TimedOut))));
        });
        thread::scope(|scope| scope.spawn(move || drop((guard, permit))).join().unwrap());
        assert!(!lock.is_locked() && semaphore.value() == 1);
        // Taken there, and given back here.
        let (guard, permit) = thread::scope(|scope| {
            let take = || (lock.lock().unwrap(), semaphore.acquire().unwrap());
            scope.spawn(take).join().unwrap()
        });
        assert!(lock.is_locked() && semaphore.value() == 0);
        drop((guard, permit));
        assert!(!lock.is_locked() && semaphore.value() == 1);
    };
    let (lock, semaphore) = (Lock::new().unwrap(), Semaphore::new(1).unwrap());
    value(&Process::spawn(in_each, (lock.clone(), semaphore.clone())).unwrap());
    in_each(lock, semaphore);
    let (recursive, condition) = (RLock::new().unwrap(), Condition::new().unwrap());
    is_shared(&(recursive, condition, Event::new().unwrap(), Barrier::new(1).unwrap()));
}

/// How locks show themselves to this thread, to another one, and to a process.
fn text() {
    let (lock, recursive) = (Lock::new().unwrap(), RLock::new().unwrap());
    let show = |lock: Lock, recursive: RLock| format!("{lock:?} {recursive:?}");
    let in_child = || value(&Process::spawn(show, (lock.clone(), recursive.clone())).unwrap());
    assert_eq!(show(lock.clone(), recursive.clone()), "Lock(nobody) RLock(nobody, 0)");
    assert_eq!(in_child(), "Lock(nobody) RLock(nobody, 0)");
    let guard = lock.lock().unwrap();
    let guards = (recursive.lock().unwrap(), recursive.lock().unwrap());
    assert_eq!(show(lock.clone(), recursive.clone()), "Lock(this thread) RLock(this thread, 2)");
    let other = "another thread of this process";
    let elsewhere = thread::scope(|scope| {
        scope.spawn(|| show(lock.clone(), recursive.clone())).join().unwrap()
    });
    assert_eq!(elsewhere, format!("Lock({other}) RLock({other}, 2)"));
    let us = if is_in_threads() { other.into() } else { format!("process {}", std::process::id()) };
    assert_eq!(in_child(), format!("Lock({us}) RLock({us}, 2)"));
    let owner = lock.owner().unwrap();
    assert!(owner.is_this_process && owner.is_this_thread && owner.pid == std::process::id());
    assert!(format!("{guard:?} {:?}", guards.0).starts_with("LockGuard"));
    drop((guard, guards));
    assert!(lock.owner().is_none() && recursive.owner().is_none());
}
