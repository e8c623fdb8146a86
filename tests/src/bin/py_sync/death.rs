//! What follows when a process dies over a lock: its next taker is told.

use std::mem::ManuallyDrop;

use procession::prelude::*;
use procession::{Error, ErrorKind, LockError, WaitError};
use procession_sys::{process, signal};
use procession_tests::{SOON, wait_until};

use crate::stage::{
    Board, Place, Row, SHORT, death, next, park, say_where, takes, value, was_killed,
};

pub(crate) const ROWS: &[Row] = &[
    ("death::a_killed_owner_hands_over_the_lock", a_killed_owner_hands_over_the_lock),
    ("death::a_killed_owner_hands_over_the_recursive_lock", hands_over_the_recursive_lock),
    ("death::those_who_wait_for_the_lock_are_told_until_one_repairs", told_until_one_repairs),
    ("death::who_was_told_and_dies_passes_it_on", who_was_told_and_dies_passes_it_on),
    ("death::a_killed_waiter_takes_no_wake_up_of_a_lock_with_it", a_killed_waiter_of_a_lock),
    ("death::a_stopped_owner_is_alive", a_stopped_owner_is_alive),
    ("death::an_exit_over_a_lock_is_a_death_over_it", an_exit_over_a_lock),
    ("death::what_is_kept_until_the_end_is_died_over", what_is_kept_until_the_end),
    ("death::a_killed_parent_is_a_death_for_those_that_outlive_it", a_killed_parent),
    ("death::a_killed_grandchild_is_a_death_although_its_parent_is_stopped", a_killed_grandchild),
    ("death::a_stopped_waiter_keeps_nothing_from_others", a_stopped_waiter),
    ("death::a_condition_whose_notifier_dies_over_the_lock_goes_on", a_notifier_dies),
    ("death::a_killed_waiter_takes_no_notification_with_it", a_killed_waiter_of_a_condition),
    (
        "death::those_who_wait_are_told_of_a_death_that_nobody_repaired",
        an_owner_dies_while_others_wait,
    ),
    ("death::an_error_says_what_happened", an_error_says_what_happened),
];

/// Locks, says so, and waits to be killed.
fn have(lock: Lock, tx: Sender<Place>) {
    let _guard = lock.lock().unwrap();
    say_where(&tx);
    park()
}

/// A child that has the lock.
fn owner_of(lock: &Lock) -> (Process<()>, Place) {
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(have, (lock.clone(), tx)).unwrap();
    (child, next(&rx))
}

/// Takes a lock whose owner died over it.
#[track_caller]
fn after_death<G>(locked: Result<G, LockError<G>>) -> G {
    match locked {
        Err(LockError::OwnerDied(guard)) => guard,
        Ok(_) => panic!("it tells of no death"),
        Err(error) => panic!("{error}"),
    }
}

fn a_killed_owner_hands_over_the_lock() {
    let lock = Lock::new().unwrap();
    for is_noticed in [false, true] {
        let (child, place) = owner_of(&lock);
        assert_eq!(lock.owner().unwrap().pid, place.pid);
        place.kill();
        if is_noticed {
            was_killed(&child);
        }
        // Whoever has it unrepaired passes it on as it is.
        for _ in 0..2 {
            let guard = after_death(lock.lock_timeout(SOON));
            assert!(guard.is_after_death() && lock.owner().unwrap().is_this_thread);
        }
        drop(after_death(lock.try_lock()));
        let mut guard = after_death(lock.lock());
        guard.repair();
        assert!(!guard.is_after_death());
        drop(guard);
        assert!(!lock.lock().unwrap().is_after_death());
        if !is_noticed {
            was_killed(&child);
        }
        assert!(!lock.try_lock().unwrap().is_after_death());
    }
}

fn hands_over_the_recursive_lock() {
    let lock = RLock::new().unwrap();
    let have = |lock: RLock, tx: Sender<Place>| -> () {
        let _guards = (lock.lock().unwrap(), lock.lock().unwrap(), lock.lock().unwrap());
        say_where(&tx);
        park()
    };
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(have, (lock.clone(), tx)).unwrap();
    let place = next(&rx);
    assert_eq!(lock.depth(), 3);
    assert_eq!(lock.release().unwrap_err().kind(), ErrorKind::InvalidInput);
    place.kill();
    let outer = after_death(lock.lock_timeout(SOON));
    let inner = lock.lock().unwrap();
    assert_eq!(lock.depth(), 2);
    assert!(outer.is_after_death() && inner.is_after_death());
    drop(inner);
    assert!(outer.is_after_death());
    drop(outer);
    let mut outer = after_death(lock.lock());
    let mut inner = lock.try_lock().unwrap();
    inner.repair();
    assert!(!outer.is_after_death(), "it is of the lock, not of the guard");
    outer.repair();
    drop((outer, inner));
    let _guard = lock.lock().unwrap();
    was_killed(&child);
}

/// Three who wait when the owner is killed.
fn told_until_one_repairs() {
    let lock = Lock::new().unwrap();
    let board = Board::new(2);
    let (child, owner) = owner_of(&lock);
    let wait = |lock: Lock, tx: Sender<Place>, board: Board| {
        say_where(&tx);
        match lock.lock() {
            Ok(guard) => {
                assert!(!guard.is_after_death());
                board.count(1);
            }
            Err(LockError::OwnerDied(mut guard)) => {
                // The second one who is told sees to it.
                if board.count(0) == 1 {
                    guard.repair();
                }
            }
            Err(error) => panic!("{error}"),
        }
    };
    let mut waiters = Vec::new();
    for _ in 0..3 {
        let (tx, rx) = pipe().unwrap();
        waiters.push(Process::spawn(wait, (lock.clone(), tx, board.clone())).unwrap());
        next(&rx).falls_asleep();
    }
    // Nobody but they themselves notices.
    owner.kill();
    waiters.iter().for_each(value);
    assert_eq!((board.get(0), board.get(1)), (2, 1));
    assert!(!lock.lock().unwrap().is_after_death());
    was_killed(&child);
}

fn who_was_told_and_dies_passes_it_on() {
    let lock = Lock::new().unwrap();
    let (first, place) = owner_of(&lock);
    place.kill();
    let take_over = |lock: Lock, tx: Sender<Place>| -> () {
        let _guard = after_death(lock.lock_timeout(SOON));
        say_where(&tx);
        park()
    };
    let (tx, rx) = pipe().unwrap();
    let second = Process::spawn(take_over, (lock.clone(), tx)).unwrap();
    let place = next(&rx);
    let repair = |lock: Lock, tx: Sender<Place>| -> () {
        let mut guard = after_death(lock.lock_timeout(SOON));
        guard.repair();
        say_where(&tx);
        park()
    };
    place.kill();
    // Its repair does not count: it dies over the lock as well.
    let (tx, rx) = pipe().unwrap();
    let third = Process::spawn(repair, (lock.clone(), tx)).unwrap();
    next(&rx).kill();
    after_death(lock.lock_timeout(SOON)).repair();
    for child in [first, second, third] {
        was_killed(&child);
    }
}

/// It is killed when it is woken: another one gets what it was woken for, or is told that it had it.
fn a_killed_waiter_of_a_lock() {
    let lock = Lock::new().unwrap();
    let wait = |lock: Lock, tx: Sender<Place>| {
        say_where(&tx);
        lock.lock().is_ok()
    };
    for round in 0..20 {
        let mut guard = lock.lock().or_else(LockError::into_guard).unwrap();
        guard.repair();
        let mut waiters = Vec::new();
        for _ in 0..3 {
            let (tx, rx) = pipe().unwrap();
            let child = Process::spawn(wait, (lock.clone(), tx)).unwrap();
            let place: Place = next(&rx);
            place.falls_asleep();
            waiters.push((child, place));
        }
        // One more in its sleep.
        waiters[2].1.kill();
        drop(guard);
        (0..round * 100).for_each(|_| std::hint::spin_loop());
        waiters[0].0.kill().unwrap();
        let is_clean = value(&waiters[1].0);
        was_killed(&waiters[2].0);
        // It may have been faster.
        let end = waiters[0].0.join_timeout(SOON).expect("it ends");
        assert!(is_clean || end.is_err(), "nobody died over it");
    }
}

fn a_stopped_owner_is_alive() {
    let (lock, event) = (Lock::new().unwrap(), Event::new().unwrap());
    let (semaphore, barrier) = (Semaphore::new(1).unwrap(), Barrier::new(2).unwrap());
    let have = |lock: Lock, semaphore: Semaphore, event: Event, barrier: Barrier, tx| {
        let guards = (lock.lock().unwrap(), semaphore.acquire().unwrap());
        say_where(&tx);
        event.wait_timeout(SOON).unwrap();
        drop(guards);
        barrier.wait_timeout(SOON).unwrap();
    };
    let (tx, rx) = pipe().unwrap();
    let arguments = (lock.clone(), semaphore.clone(), event.clone(), barrier.clone(), tx);
    let child = Process::spawn(have, arguments).unwrap();
    let place: Place = next(&rx);
    place.stop();
    event.set().unwrap();
    let long = 5 * SHORT;
    let waited = takes(long, || lock.lock_timeout(long).map(drop));
    assert!(matches!(waited, Err(LockError::TimedOut)));
    let waited = takes(SHORT, || semaphore.acquire_timeout(SHORT).map(drop));
    assert!(matches!(waited, Err(WaitError::TimedOut)));
    event.clear().unwrap();
    assert!(matches!(event.wait_timeout(SHORT), Err(WaitError::TimedOut)));
    assert!(!barrier.is_broken());
    event.set().unwrap();
    place.go_on();
    assert!(!lock.lock_timeout(SOON).unwrap().is_after_death());
    drop(semaphore.acquire_timeout(SOON).unwrap());
    barrier.wait_timeout(SOON).unwrap();
    value(&child);
}

/// Ways to end with a lock in one's hands, and what others see of that.
const EXITS: [(fn(), ExitStatus); 5] = [
    (|| std::process::exit(0), ExitStatus::Exited(0)),
    (|| procession::exit(7), ExitStatus::Exited(7)),
    (|| process::exit_now(9), ExitStatus::Exited(9)),
    (|| signal::die_of(signal::TERMINATE), SIGNALED_BY_TERMINATE),
    (exit_in_a_thread, ExitStatus::Exited(3)),
];

const SIGNALED_BY_TERMINATE: ExitStatus =
    ExitStatus::Signaled { signal: signal::TERMINATE, core_dumped: false };

fn exit_in_a_thread() {
    drop(std::thread::spawn(|| procession::exit(3)));
    park()
}

fn an_exit_over_a_lock() {
    let (lock, recursive) = (Lock::new().unwrap(), RLock::new().unwrap());
    let semaphore = Semaphore::new(1).unwrap();
    let exit =
        |lock: Lock, recursive: RLock, semaphore: Semaphore, tx: Sender<Place>, way: usize| {
            let _guards = (lock.lock().unwrap(), recursive.lock().unwrap());
            let _permit = semaphore.acquire().unwrap();
            say_where(&tx);
            EXITS[way].0();
        };
    for (way, (_, status)) in EXITS.into_iter().enumerate() {
        let (tx, rx) = pipe().unwrap();
        let arguments = (lock.clone(), recursive.clone(), semaphore.clone(), tx, way);
        let child = Process::spawn(exit, arguments).unwrap();
        next(&rx);
        after_death(lock.lock_timeout(SOON)).repair();
        after_death(recursive.lock_timeout(SOON)).repair();
        drop(semaphore.acquire_timeout(SOON).unwrap());
        assert_eq!(death(&child).status, status);
        assert!(!lock.lock().unwrap().is_after_death());
        assert!(!recursive.lock().unwrap().is_after_death());
        assert_eq!(semaphore.value(), 1);
    }
}

fn what_is_kept_until_the_end() {
    let (lock, recursive) = (Lock::new().unwrap(), RLock::new().unwrap());
    let semaphore = Semaphore::new(2).unwrap();
    let keep = |lock: Lock, recursive: RLock, semaphore: Semaphore| {
        lock.lock().unwrap().keep();
        recursive.lock().unwrap().keep();
        // That one is nobody's.
        semaphore.acquire().unwrap().forget();
        let _leaked = ManuallyDrop::new(semaphore.acquire().unwrap());
        // Without a handle to it, it still has it.
        drop((lock, recursive));
    };
    let arguments = (lock.clone(), recursive.clone(), semaphore.clone());
    value(&Process::spawn(keep, arguments).unwrap());
    after_death(lock.lock_timeout(SOON)).repair();
    after_death(recursive.lock_timeout(SOON)).repair();
    drop(semaphore.acquire_timeout(SOON).unwrap());
    assert_eq!(semaphore.value(), 1);
    // A thread that ends is no death: what it kept is its process's.
    let in_thread = recursive.clone();
    std::thread::spawn(move || in_thread.lock().unwrap().keep()).join().unwrap();
    assert!(matches!(recursive.lock_timeout(SHORT), Err(LockError::TimedOut)));
    for _ in 0..100 {
        // None of them is taken for the one that ended.
        let in_thread = recursive.clone();
        let is_refused = move || in_thread.try_lock().is_err() && in_thread.release().is_err();
        assert!(std::thread::spawn(is_refused).join().unwrap());
    }
    assert!(recursive.owner().unwrap().is_this_process);
}

fn a_killed_parent() {
    let lock = Lock::new().unwrap();
    let family = |lock: Lock, tx: Sender<Place>, told: Sender<bool>| -> () {
        let _guard = lock.lock().unwrap();
        let wait = |lock: Lock, ready: Event, tx: Sender<Place>, told: Sender<bool>| {
            say_where(&tx);
            ready.set().unwrap();
            let mut guard = after_death(lock.lock());
            guard.repair();
            drop(guard);
            told.send(procession::parent_process().unwrap().is_alive().unwrap()).unwrap();
        };
        let ready = Event::new().unwrap();
        let arguments = (lock.clone(), ready.clone(), tx, told);
        let _child = Process::builder().outlive_parent().spawn(wait, arguments).unwrap();
        ready.wait_timeout(SOON).unwrap();
        park()
    };
    let ((tx, rx), (told, hear)) = (pipe().unwrap(), pipe().unwrap());
    let child = Process::spawn(family, (lock.clone(), tx, told)).unwrap();
    let orphan: Place = next(&rx);
    orphan.falls_asleep();
    child.kill().unwrap();
    assert!(!next(&hear));
    assert!(!lock.lock_timeout(SOON).unwrap().is_after_death());
    was_killed(&child);
}

/// Whose parent cannot notice: it is stopped.
fn a_killed_grandchild() {
    let lock = Lock::new().unwrap();
    let sleep = |lock: Lock, tx: Sender<Place>, up: Sender<Place>| -> () {
        let _child = Process::spawn(have, (lock, tx)).unwrap();
        say_where(&up);
        park()
    };
    let ((tx, rx), (up, started)) = (pipe().unwrap(), pipe().unwrap());
    let child = Process::spawn(sleep, (lock.clone(), tx, up)).unwrap();
    let (grandchild, parent): (Place, Place) = (next(&rx), next(&started));
    assert_ne!(grandchild.pid, parent.pid);
    parent.stop();
    grandchild.kill();
    after_death(lock.lock_timeout(SOON)).repair();
    drop(lock.lock().unwrap());
    child.kill().unwrap();
    was_killed(&child);
}

/// What it cannot take others take.
fn a_stopped_waiter() {
    let (lock, semaphore) = (Lock::new().unwrap(), Semaphore::new(0).unwrap());
    let guard = lock.lock().unwrap();
    let wait = |lock: Lock, tx: Sender<Place>| {
        say_where(&tx);
        drop(lock.lock().unwrap());
    };
    let wait_too = |semaphore: Semaphore, tx: Sender<Place>| {
        say_where(&tx);
        semaphore.acquire_raw().unwrap();
    };
    let pipes = [(); 4].map(|()| pipe::<Place>().unwrap());
    let [(tx, rx), (tx2, rx2), (tx3, rx3), (tx4, rx4)] = pipes;
    let spawned = |child: procession::Result<Process<()>>, rx: &Receiver<Place>| {
        let place: Place = next(rx);
        place.falls_asleep();
        (child.unwrap(), place)
    };
    let children = [
        spawned(Process::spawn(wait, (lock.clone(), tx)), &rx),
        spawned(Process::spawn(wait, (lock.clone(), tx2)), &rx2),
        spawned(Process::spawn(wait_too, (semaphore.clone(), tx3)), &rx3),
        spawned(Process::spawn(wait_too, (semaphore.clone(), tx4)), &rx4),
    ];
    children[0].1.stop();
    children[2].1.stop();
    drop(guard);
    semaphore.release().unwrap();
    value(&children[1].0);
    value(&children[3].0);
    semaphore.release().unwrap();
    children[0].1.go_on();
    children[2].1.go_on();
    value(&children[0].0);
    value(&children[2].0);
}

/// Notifies, and dies before it has unlocked.
fn notify_and_die<L>(condition: &Condition<L>)
where
    L: procession::sync::AnyLock,
{
    wait_until("somebody waits", || condition.waiting() == 1);
    let mut guard = condition.lock().unwrap();
    assert_eq!(condition.notify(&mut guard, 1).unwrap(), 1);
    signal::die_of(signal::KILL);
}

fn a_notifier_dies() {
    let condition = Condition::new().unwrap();
    let plain = Condition::with_lock(Lock::new().unwrap()).unwrap();
    let die = |condition: Condition| notify_and_die(&condition);
    let die_plain = |condition: Condition<Lock>| notify_and_die(&condition);
    let notify = |condition: Condition, plain: Condition<Lock>| {
        wait_until("somebody waits", || condition.waiting() == 1);
        condition.notify_one(&mut condition.lock().unwrap()).unwrap();
        wait_until("somebody waits", || plain.waiting() == 1);
        plain.notify_one(&mut plain.lock().unwrap()).unwrap();
    };
    let children = (
        Process::spawn(die, (condition.clone(),)).unwrap(),
        Process::spawn(die_plain, (plain.clone(),)).unwrap(),
    );
    let outer = condition.as_lock().lock().unwrap();
    let mut guard = condition.lock().unwrap();
    let waited = condition.wait(&mut guard);
    assert!(matches!(waited, Err(WaitError::OwnerDied)), "{waited:?}");
    assert!(guard.is_after_death() && condition.as_lock().owner().unwrap().is_this_thread);
    assert_eq!((condition.as_lock().depth(), condition.waiting()), (2, 0));
    guard.repair();
    let mut plain_guard = plain.lock().unwrap();
    let waited = plain.wait_timeout(&mut plain_guard, SOON);
    assert!(matches!(waited, Err(WaitError::OwnerDied)), "{waited:?}");
    assert!(plain_guard.is_after_death() && plain.as_lock().owner().unwrap().is_this_thread);
    plain_guard.repair();
    // And now as if nothing had been.
    let child = Process::spawn(notify, (condition.clone(), plain.clone())).unwrap();
    condition.wait_timeout(&mut guard, SOON).unwrap();
    plain.wait_timeout(&mut plain_guard, SOON).unwrap();
    assert!(!guard.is_after_death() && !plain_guard.is_after_death());
    drop((guard, outer, plain_guard));
    value(&child);
    was_killed(&children.0);
    was_killed(&children.1);
}

/// Waits at a condition, and tells whether it was told of a death.
fn wait_at(condition: Condition, tx: Sender<Place>) -> bool {
    let mut guard = condition.lock().unwrap();
    say_where(&tx);
    match condition.wait(&mut guard) {
        Ok(()) => false,
        Err(WaitError::OwnerDied) => true,
        Err(error) => panic!("{error}"),
    }
}

fn waiter_at(condition: &Condition) -> (Process<bool>, Place) {
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(wait_at, (condition.clone(), tx)).unwrap();
    let place: Place = next(&rx);
    // Who has the lock now has it after it.
    drop(condition.lock().unwrap());
    place.falls_asleep();
    (child, place)
}

fn a_killed_waiter_of_a_condition() {
    let condition = Condition::new().unwrap();
    let waiters: Vec<_> = (0..4).map(|_| waiter_at(&condition)).collect();
    assert_eq!(condition.waiting(), 4);
    // The two that have waited longest are notified, cannot run, and are killed.
    for (_, place) in &waiters[..2] {
        place.stop();
    }
    assert_eq!(condition.notify(&mut condition.lock().unwrap(), 2).unwrap(), 2);
    assert_eq!(condition.waiting(), 2);
    waiters[0].1.kill();
    assert!(!value(&waiters[2].0), "the next one has waited longest");
    waiters[1].1.kill();
    assert!(!value(&waiters[3].0));
    was_killed(&waiters[0].0);
    was_killed(&waiters[1].0);
    assert_eq!(condition.waiting(), 0);
    // One that was not notified takes nothing with it, and does not count any more.
    let [first, second] = [waiter_at(&condition), waiter_at(&condition)];
    first.1.kill();
    was_killed(&first.0);
    assert_eq!(condition.waiting(), 1);
    assert_eq!(condition.notify_all(&mut condition.lock().unwrap()).unwrap(), 1);
    assert!(!value(&second.0));
}

/// Who has the lock dies while others wait. They are told if nobody has repaired by the time that they are notified.
fn an_owner_dies_while_others_wait() {
    let condition = Condition::new().unwrap();
    let [first, second] = [waiter_at(&condition), waiter_at(&condition)];
    let have = |condition: Condition, tx: Sender<Place>| -> () {
        let _guard = condition.lock().unwrap();
        say_where(&tx);
        park()
    };
    let (tx, rx) = pipe().unwrap();
    let owner = Process::spawn(have, (condition.clone(), tx)).unwrap();
    next(&rx).kill();
    let mut guard = after_death(condition.lock());
    assert_eq!(condition.waiting(), 2, "nobody was notified");
    condition.notify_one(&mut guard).unwrap();
    drop(guard);
    assert!(value(&first.0), "nobody has repaired");
    let mut guard = after_death(condition.lock());
    guard.repair();
    condition.notify_one(&mut guard).unwrap();
    drop(guard);
    assert!(!value(&second.0));
    was_killed(&owner);
}

fn an_error_says_what_happened() {
    let lock = Lock::new().unwrap();
    let (child, place) = owner_of(&lock);
    place.kill();
    let error = lock.lock_timeout(SOON).unwrap_err();
    let text = (error.to_string(), format!("{error:?}"));
    assert_eq!((&*text.0, &*text.1), ("the owner of the lock died", "OwnerDied(..)"));
    assert_eq!(Error::from(error).kind(), ErrorKind::OwnerDied, "the guard went with it");
    // For what cannot be left half done.
    let guard = lock.lock().or_else(LockError::into_guard).unwrap();
    assert!(guard.is_after_death());
    let refused = lock.try_lock().or_else(LockError::into_guard).unwrap_err();
    assert!(matches!(refused, LockError::TimedOut));
    drop(guard);
    after_death(lock.lock()).repair();
    was_killed(&child);
    let kinds = [WaitError::Closed, WaitError::OwnerDied, WaitError::TimedOut]
        .map(|error| Error::from(error).kind());
    assert_eq!(kinds, [ErrorKind::Closed, ErrorKind::OwnerDied, ErrorKind::TimedOut]);
}
