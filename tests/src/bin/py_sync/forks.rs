//! What a copy of this process has of its locks: for the start method `fork`, and forks that nobody here knows of.
#![expect(unsafe_code, reason = "forks as a foreign library does")]

use procession::prelude::*;
use procession::{Error, ErrorKind, LockError, StartMethod};
use procession_sys::fork::{Forked, fork};
use procession_sys::{Deadline, poll, process, signal};
use procession_tests::{SOON, Stranger, wait_until};

use crate::stage::{Board, Place, Row, SHORT, next, park, say_where, value, was_killed};

pub(crate) const ROWS: &[Row] = &[
    ("forks::guards_of_the_parent_do_nothing", guards_of_the_parent_do_nothing),
    ("forks::a_killed_fork_did_not_have_its_parents_locks", a_killed_fork_had_nothing),
    ("forks::a_fork_is_told_of_the_death_of_its_parent", a_fork_is_told_of_the_death_of_its_parent),
    ("forks::locks_that_were_made_before_are_used", locks_that_were_made_before_are_used),
    ("forks::a_foreign_fork_uses_its_parents_locks", a_foreign_fork_uses_its_parents_locks),
    ("forks::a_foreign_fork_learns_that_they_are_gone", a_foreign_fork_learns_that_they_are_gone),
    ("forks::a_foreign_fork_is_killed_over_a_lock", a_foreign_fork_that_is_killed),
    ("forks::a_foreign_fork_ends_over_a_lock", a_foreign_fork_that_ends),
];

fn copy() -> procession::process::Builder {
    Context::new(StartMethod::Fork).process()
}

fn guards_of_the_parent_do_nothing() {
    let (lock, recursive) = (Lock::new().unwrap(), RLock::new().unwrap());
    let semaphore = Semaphore::new(4).unwrap();
    let condition = Condition::with_lock(lock.clone()).unwrap();
    let mut guard = Some(lock.lock().unwrap());
    let mut guards = Some((recursive.lock().unwrap(), recursive.lock().unwrap()));
    let mut permits = Some((semaphore.acquire().unwrap(), semaphore.acquire().unwrap()));
    let child = copy().spawn_closure(|| {
        assert!(matches!(lock.try_lock(), Err(LockError::TimedOut)));
        assert!(matches!(recursive.try_lock(), Err(LockError::TimedOut)), "it is no other's");
        assert_eq!(recursive.release().unwrap_err().kind(), ErrorKind::InvalidInput);
        let waited = condition.wait_timeout(guard.as_mut().unwrap(), SOON);
        assert_eq!(Error::from(waited.unwrap_err()).kind(), ErrorKind::InvalidInput);
        assert_eq!(condition.waiting(), 0);
        drop((guard.take(), guards.take()));
        let (one, other) = permits.take().unwrap();
        drop(one);
        other.forget();
        assert!(lock.is_locked());
        assert_eq!((recursive.depth(), semaphore.value()), (2, 2));
        // What it takes for itself it gives back.
        drop(semaphore.acquire().unwrap());
        semaphore.value()
    });
    assert_eq!(value(&child.unwrap()), 2);
    assert!(lock.owner().unwrap().is_this_thread && recursive.owner().unwrap().is_this_thread);
    drop((guard.take(), guards.take(), permits.take()));
    assert!(!lock.is_locked() && !recursive.is_locked());
    assert_eq!(semaphore.value(), 4);
    assert!(!lock.lock().unwrap().is_after_death());
}

fn a_killed_fork_had_nothing() {
    let (lock, semaphore) = (Lock::new().unwrap(), Semaphore::new(2).unwrap());
    let guard = lock.lock().unwrap();
    let permit = semaphore.acquire().unwrap();
    let (tx, rx) = pipe().unwrap();
    let child = copy().spawn_closure(|| -> () {
        say_where(&tx);
        park()
    });
    next(&rx).kill();
    was_killed(&child.unwrap());
    assert!(lock.owner().unwrap().is_this_thread);
    assert_eq!(semaphore.value(), 1);
    drop((guard, permit));
    assert!(!lock.lock().unwrap().is_after_death());
    assert_eq!(semaphore.value(), 2);
}

/// Its copy of its parent's guard does nothing then either.
fn a_fork_is_told_of_the_death_of_its_parent() {
    let lock = Lock::new().unwrap();
    let (tx, rx) = pipe().unwrap();
    let (up, told) = pipe().unwrap();
    let parent = copy().spawn_closure(|| -> () {
        let mut guard = Some(lock.lock().unwrap());
        let child = copy().outlive_parent().spawn_closure(|| {
            say_where(&tx);
            let Err(LockError::OwnerDied(mut after)) = lock.lock() else { panic!("it died") };
            drop(guard.take());
            assert!(lock.owner().unwrap().is_this_thread);
            after.repair();
            drop(after);
            up.send(()).unwrap();
        });
        drop(child.unwrap());
        park()
    });
    let child: Place = next(&rx);
    child.falls_asleep();
    let parent = parent.unwrap();
    parent.kill().unwrap();
    next(&told);
    assert!(!lock.lock_timeout(SOON).unwrap().is_after_death());
    was_killed(&parent);
}

fn locks_that_were_made_before_are_used() {
    const COUNTS: u64 = 2000;
    let (lock, barrier, board) = (Lock::new().unwrap(), Barrier::new(4).unwrap(), Board::new(1));
    let count = || {
        barrier.wait_timeout(SOON).unwrap();
        for _ in 0..COUNTS {
            let _guard = lock.lock().unwrap();
            board.count_carelessly(0);
        }
    };
    // The last one is a copy of a copy.
    let children: Vec<_> = (0..2)
        .map(|number| {
            let nested = || {
                let grandchild = (number == 1).then(|| copy().spawn_closure(count).unwrap());
                count();
                grandchild.iter().for_each(value);
            };
            copy().spawn_closure(nested).unwrap()
        })
        .collect();
    count();
    children.iter().for_each(value);
    assert_eq!(board.get(0), 4 * COUNTS);
}

/// Forks as a foreign library does; the copy calls `work`, and ends without a word.
fn fork_without_a_word(work: impl FnOnce()) -> u32 {
    // SAFETY: No other thread has been started.
    match unsafe { fork() }.unwrap() {
        Forked::Parent { child } => child,
        Forked::Child => {
            work();
            process::exit_now(0)
        }
    }
}

fn a_foreign_fork_uses_its_parents_locks() {
    const COUNTS: u64 = 2000;
    let (lock, event, board) = (Lock::new().unwrap(), Event::new().unwrap(), Board::new(2));
    let guard = lock.lock().unwrap();
    let count = || {
        for _ in 0..COUNTS {
            let _guard = lock.lock().unwrap();
            board.count_carelessly(0);
        }
    };
    let child = fork_without_a_word(|| {
        board.set(1, 1);
        count();
        event.set().unwrap();
        park();
    });
    wait_until("it begins", || board.get(1) == 1);
    assert_eq!(board.get(0), 0, "the lock is its parent's");
    drop(guard);
    count();
    event.wait_timeout(SOON).unwrap();
    assert_eq!(board.get(0), 2 * COUNTS);
    process::kill_and_reap(child).unwrap();
    assert!(!lock.lock().unwrap().is_after_death());
}

/// Its parent drops all before the fork uses any: what is at their places then is somebody else's.
fn a_foreign_fork_learns_that_they_are_gone() {
    const DONE: u64 = 7;
    let (lock, recursive) = (Lock::new().unwrap(), RLock::new().unwrap());
    let (semaphore, event) = (Semaphore::new(1).unwrap(), Event::new().unwrap());
    let (condition, barrier) = (Condition::new().unwrap(), Barrier::new(2).unwrap());
    let board = Board::new(2);
    let child = fork_without_a_word(|| {
        wait_until("they are gone", || board.get(0) == 1);
        let kinds: [(&str, Option<Error>); 12] = [
            ("is_set", event.is_set().err()),
            ("set", event.set().err()),
            ("wait", event.wait_timeout(SHORT).err().map(Into::into)),
            ("release", semaphore.release().err()),
            ("acquire", semaphore.acquire_timeout(SHORT).err().map(Into::into)),
            ("try_acquire_raw", semaphore.try_acquire_raw().err().map(Into::into)),
            ("lock", lock.lock_timeout(SHORT).err().map(Into::into)),
            ("try_lock", lock.try_lock().err().map(Into::into)),
            ("recursive", recursive.lock_timeout(SHORT).err().map(Into::into)),
            ("condition", condition.lock().err().map(Into::into)),
            ("barrier", barrier.wait_timeout(SHORT).err().map(Into::into)),
            ("abort", barrier.abort().err()),
        ];
        for (what, error) in kinds {
            assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Closed), "{what}");
        }
        assert!(lock.release().is_err() && recursive.release().is_err());
        board.set(1, DONE);
    });
    drop((lock, recursive, semaphore, event, condition, barrier));
    let others: Vec<_> = (0..1000)
        .map(|_| {
            let lock = (Lock::new().unwrap(), RLock::new().unwrap(), Barrier::new(2).unwrap());
            (lock, Semaphore::new(1).unwrap(), Event::new().unwrap(), Condition::new().unwrap())
        })
        .collect();
    board.set(0, 1);
    let end = procession_sys::pidfd::open(child).unwrap();
    assert!(poll::wait_readable(&end, Deadline::after(SOON)).unwrap());
    assert_eq!(board.get(1), DONE);
    process::kill_and_reap(child).unwrap();
    for ((lock, recursive, barrier), semaphore, event, condition) in others {
        assert!(!lock.is_locked() && !recursive.is_locked() && !barrier.is_broken());
        assert!(semaphore.value() == 1 && !event.is_set().unwrap());
        drop(condition.lock().unwrap());
    }
}

/// It waits to be killed; or it just ends, which tells nobody either.
fn a_foreign_fork_over_a_lock(end: fn()) {
    let (lock, event, board) = (Lock::new().unwrap(), Event::new().unwrap(), Board::new(1));
    let semaphore = Semaphore::new(1).unwrap();
    let child = fork_without_a_word(|| {
        let _guards = (lock.lock().unwrap(), semaphore.acquire().unwrap());
        event.set().unwrap();
        wait_until("its parent says so", || board.get(0) == 1);
        end();
    });
    event.wait_timeout(SOON).unwrap();
    assert!(matches!(lock.try_lock(), Err(LockError::TimedOut)));
    let child_pid = Stranger::new(child);
    board.set(0, 1);
    if lock.lock_timeout(SHORT).is_err_and(|error| matches!(error, LockError::TimedOut)) {
        // It may have ended this moment.
        let _was_there = child_pid.signal(signal::KILL);
    }
    let Err(LockError::OwnerDied(mut guard)) = lock.lock_timeout(SOON) else {
        panic!("its owner died")
    };
    guard.repair();
    drop(guard);
    drop(semaphore.acquire_timeout(SOON).unwrap());
    process::kill_and_reap(child).unwrap();
    assert_eq!(semaphore.value(), 1);
    assert!(!lock.lock().unwrap().is_after_death());
}

fn a_foreign_fork_that_is_killed() {
    a_foreign_fork_over_a_lock(|| park());
}

fn a_foreign_fork_that_ends() {
    a_foreign_fork_over_a_lock(|| process::exit_now(0));
}
