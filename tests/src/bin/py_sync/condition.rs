//! CPython's `_TestCondition`, and what of conditions it does not ask.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use procession::prelude::*;
use procession::{Error, ErrorKind, WaitError};
use procession_tests::{SOON, wait_until};

use crate::stage::{Board, Place, Row, SHORT, next, say_where, takes, value};

pub(crate) const ROWS: &[Row] = &[
    ("condition::notify", notify),
    ("condition::notify_all", notify_all),
    ("condition::notify_n", notify_n),
    ("condition::timeout", timeout),
    ("condition::waitfor", waitfor),
    ("condition::waitfor_timeout", waitfor_timeout),
    ("condition::wait_result", wait_result),
    ("condition::who_has_waited_longest_is_notified_first", longest_first),
    ("condition::a_wait_unlocks_all_depths_and_locks_them_again", depths),
    ("condition::conditions_share_a_lock", conditions_share_a_lock),
    ("condition::a_guard_of_another_lock_is_refused", another_lock),
    ("condition::many_threads_wait", many_threads_wait),
    ("condition::text", text),
];

/// Those who wait at a condition and count where they are.
#[derive(Clone)]
struct Sleepers {
    condition: Condition,
    /// One for each that is about to wait, and has the lock until it does.
    sleeping: Semaphore,
    woken: Semaphore,
}

impl Sleepers {
    fn new() -> Self {
        let counter = || Semaphore::new(0).unwrap();
        Self { condition: Condition::new().unwrap(), sleeping: counter(), woken: counter() }
    }

    /// What a sleeper does; whether it was notified.
    fn sleep(
        condition: &Condition,
        sleeping: &Semaphore,
        woken: &Semaphore,
        timeout: Duration,
    ) -> bool {
        let mut guard = condition.lock().unwrap();
        sleeping.release().unwrap();
        let waited = condition.wait_timeout(&mut guard, timeout);
        woken.release().unwrap();
        match waited {
            Ok(()) => true,
            Err(WaitError::TimedOut) => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn process(&self, timeout: Duration) -> Process<bool> {
        let sleep = |condition: Condition, sleeping: Semaphore, woken: Semaphore, timeout| {
            Self::sleep(&condition, &sleeping, &woken, timeout)
        };
        let Self { condition, sleeping, woken } = self.clone();
        Process::spawn(sleep, (condition, sleeping, woken, timeout)).unwrap()
    }

    fn thread(&self, timeout: Duration) -> JoinHandle<bool> {
        let Self { condition, sleeping, woken } = self.clone();
        thread::spawn(move || Self::sleep(&condition, &sleeping, &woken, timeout))
    }

    /// Three processes and three threads. The processes first: threads cannot be forked.
    fn six(&self, timeout: Duration) -> (Vec<Process<bool>>, Vec<JoinHandle<bool>>) {
        let processes = (0..3).map(|_| self.process(timeout)).collect();
        (processes, (0..3).map(|_| self.thread(timeout)).collect())
    }

    /// Waits until so many wait.
    #[track_caller]
    fn all_wait(&self, count: usize) {
        for _ in 0..count {
            self.sleeping.acquire_raw_timeout(SOON).unwrap();
        }
        // Who has the lock now has it after all of them.
        drop(self.condition.lock().unwrap());
    }

    /// Waits until so many have woken, and looks that it was no more.
    #[track_caller]
    fn wake(&self, count: u32) {
        for _ in 0..count {
            self.woken.acquire_raw_timeout(SOON).unwrap();
        }
        let _guard = self.condition.lock().unwrap();
        assert_eq!(self.woken.value(), 0);
    }

    fn waiting(&self) -> usize {
        let _guard = self.condition.lock().unwrap();
        self.condition.waiting()
    }

    fn notify(&self, count: usize) -> usize {
        self.condition.notify(&mut self.condition.lock().unwrap(), count).unwrap()
    }

    /// Nobody waits, and nobody has the lock.
    #[track_caller]
    fn is_clean(&self) {
        assert_eq!((self.sleeping.value(), self.woken.value(), self.waiting()), (0, 0, 0));
        assert!(!self.condition.as_lock().is_locked());
        assert_eq!(self.notify(1), 0);
    }
}

#[track_caller]
fn all_tell((processes, threads): (Vec<Process<bool>>, Vec<JoinHandle<bool>>), notified: bool) {
    for process in processes {
        assert_eq!(value(&process), notified);
    }
    for thread in threads {
        assert_eq!(thread.join().unwrap(), notified);
    }
}

fn notify() {
    let sleepers = Sleepers::new();
    sleepers.is_clean();
    let (process, thread) = (sleepers.process(SOON), sleepers.thread(SOON));
    sleepers.all_wait(2);
    assert_eq!(sleepers.waiting(), 2);
    for left in [1, 0] {
        sleepers.wake(0);
        sleepers.condition.notify_one(&mut sleepers.condition.lock().unwrap()).unwrap();
        sleepers.wake(1);
        assert_eq!(sleepers.waiting(), left);
    }
    all_tell((vec![process], vec![thread]), true);
    sleepers.is_clean();
}

fn notify_all() {
    let sleepers = Sleepers::new();
    let six = sleepers.six(SHORT);
    sleepers.all_wait(6);
    sleepers.wake(6);
    all_tell(six, false);
    sleepers.is_clean();
    let six = sleepers.six(SOON);
    sleepers.all_wait(6);
    sleepers.wake(0);
    let mut guard = sleepers.condition.lock().unwrap();
    assert_eq!(sleepers.condition.notify_all(&mut guard).unwrap(), 6);
    assert_eq!(sleepers.woken.value(), 0, "they go on once it is unlocked");
    drop(guard);
    sleepers.wake(6);
    all_tell(six, true);
    sleepers.is_clean();
}

fn notify_n() {
    let sleepers = Sleepers::new();
    let six = sleepers.six(SOON);
    sleepers.all_wait(6);
    sleepers.wake(0);
    assert_eq!(sleepers.notify(0), 0);
    assert_eq!(sleepers.notify(2), 2);
    sleepers.wake(2);
    assert_eq!(sleepers.waiting(), 4);
    assert_eq!(sleepers.notify(5), 4);
    sleepers.wake(4);
    assert_eq!(sleepers.notify(3), 0, "nobody waits");
    assert_eq!(sleepers.notify(usize::MAX), 0);
    sleepers.wake(0);
    all_tell(six, true);
    // Nothing of that is kept for those who come later.
    let late = sleepers.process(SHORT);
    assert!(!value(&late));
    sleepers.all_wait(1);
    sleepers.wake(1);
    sleepers.is_clean();
}

fn timeout() {
    let condition = Condition::new().unwrap();
    let in_vain = |condition: Condition| {
        let mut guard = condition.lock().unwrap();
        let waited = takes(SHORT, || condition.wait_timeout(&mut guard, SHORT));
        assert!(matches!(waited, Err(WaitError::TimedOut)));
        assert!(condition.as_lock().owner().unwrap().is_this_thread, "it is locked again");
    };
    in_vain(condition.clone());
    value(&Process::spawn(in_vain, (condition.clone(),)).unwrap());
    assert!(!condition.as_lock().is_locked());
}

/// Two processes bring a number to four by turns.
fn waitfor() {
    let (condition, board) = (Condition::new().unwrap(), Board::new(1));
    let count_down = |condition: Condition, board: Board| {
        let mut guard = condition.lock().unwrap();
        board.set(0, 1);
        condition.notify_one(&mut guard).unwrap();
        condition.wait_for_timeout(&mut guard, SOON, || board.get(0) == 5).unwrap();
        board.get(0)
    };
    let child = Process::spawn(count_down, (condition.clone(), board.clone())).unwrap();
    let mut guard = condition.lock().unwrap();
    condition.wait_for(&mut guard, || board.get(0) == 1).unwrap();
    drop(guard);
    for _ in 0..4 {
        // Each time the other one is there again.
        wait_until("it waits", || condition.waiting() == 1);
        let mut guard = condition.lock().unwrap();
        board.count(0);
        condition.notify_one(&mut guard).unwrap();
    }
    assert_eq!(value(&child), 5);
    // What holds already is not waited for.
    let mut guard = condition.lock().unwrap();
    condition.wait_for(&mut guard, || true).unwrap();
    condition.wait_for_timeout(&mut guard, Duration::ZERO, || true).unwrap();
}

/// The time is that of the whole call, however often it is notified.
fn waitfor_timeout() {
    let (condition, board) = (Condition::new().unwrap(), Board::new(1));
    let wait = |condition: Condition, board: Board| {
        let mut guard = condition.lock().unwrap();
        board.set(0, 1);
        let never = || {
            board.count(0);
            false
        };
        let waited = takes(5 * SHORT, || condition.wait_for_timeout(&mut guard, 5 * SHORT, never));
        assert!(matches!(waited, Err(WaitError::TimedOut)));
        board.get(0)
    };
    let child = Process::spawn(wait, (condition.clone(), board.clone())).unwrap();
    for time in 2..5 {
        wait_until("it has looked", || board.get(0) >= time);
        let notified = condition.notify(&mut condition.lock().unwrap(), 1).unwrap();
        assert_eq!(notified, 1, "it waits");
    }
    // Looked at in the beginning, after each notification, and at the end.
    assert!(value(&child) >= 6);
}

fn wait_result() {
    let condition = Condition::new().unwrap();
    let wait = |condition: Condition, tx: Sender<Place>| {
        let mut guard = condition.lock().unwrap();
        let waited = condition.wait_timeout(&mut guard, Duration::ZERO);
        assert!(matches!(waited, Err(WaitError::TimedOut)));
        let waited = condition.wait_timeout(&mut guard, SHORT);
        assert!(matches!(waited, Err(WaitError::TimedOut)));
        let error = Error::from(waited.unwrap_err());
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        say_where(&tx);
        condition.wait(&mut guard).unwrap();
        condition.wait_timeout(&mut guard, SOON).unwrap();
    };
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(wait, (condition.clone(), tx)).unwrap();
    next(&rx);
    for _ in 0..2 {
        let mut guard = condition.lock().unwrap();
        if condition.waiting() == 0 {
            drop(guard);
            wait_until("it waits again", || condition.waiting() == 1);
            guard = condition.lock().unwrap();
        }
        assert_eq!(condition.notify(&mut guard, 1).unwrap(), 1);
    }
    value(&child);
}

fn longest_first() {
    let (condition, board) = (Condition::new().unwrap(), Board::new(4));
    let wait = |condition: Condition, board: Board, number: usize| {
        let mut guard = condition.lock().unwrap();
        condition.wait_timeout(&mut guard, SOON).unwrap();
        board.set(number, 1);
    };
    let mut children = Vec::new();
    for number in 0..4 {
        let child = Process::spawn(wait, (condition.clone(), board.clone(), number)).unwrap();
        wait_until("it waits", || condition.waiting() == number + 1);
        children.push(child);
    }
    for (number, child) in children.iter().enumerate() {
        assert_eq!(board.get(number), 0);
        condition.notify_one(&mut condition.lock().unwrap()).unwrap();
        value(child);
    }
}

fn depths() {
    let condition = Condition::new().unwrap();
    let lock = condition.as_lock();
    let notify = |condition: Condition| {
        wait_until("it waits", || condition.waiting() == 1);
        let mut guard = condition.lock().unwrap();
        assert_eq!(condition.as_lock().depth(), 1, "it is all unlocked");
        condition.notify_one(&mut guard).unwrap();
    };
    let child = Process::spawn(notify, (condition.clone(),)).unwrap();
    let outer = (lock.lock().unwrap(), lock.lock().unwrap());
    let mut guard = condition.lock().unwrap();
    assert_eq!(lock.depth(), 3);
    condition.wait_timeout(&mut guard, SOON).unwrap();
    assert_eq!(lock.depth(), 3);
    let waited = condition.wait_timeout(&mut guard, Duration::ZERO);
    assert!(matches!(waited, Err(WaitError::TimedOut)));
    assert_eq!(lock.depth(), 3);
    drop(guard);
    assert_eq!(lock.depth(), 2);
    drop(outer);
    assert!(!lock.is_locked());
    value(&child);
}

/// A buffer for one number, with two conditions under one lock.
fn conditions_share_a_lock() {
    const NUMBERS: u64 = 500;
    let lock = Lock::new().unwrap();
    let (is_full, is_empty) =
        (Condition::with_lock(lock.clone()).unwrap(), Condition::with_lock(lock).unwrap());
    let board = Board::new(2);
    let consume = |is_full: Condition<Lock>, is_empty: Condition<Lock>, board: Board| {
        assert!(is_full.as_lock().is_same(is_empty.as_lock()), "it is one lock here as well");
        let mut sum = 0;
        for _ in 0..NUMBERS {
            let mut guard = is_full.lock().unwrap();
            is_full.wait_for_timeout(&mut guard, SOON, || board.get(0) != 0).unwrap();
            sum += board.get(0);
            board.set(0, 0);
            is_empty.notify_one(&mut guard).unwrap();
        }
        sum
    };
    let arguments = (is_full.clone(), is_empty.clone(), board.clone());
    let children = [(); 2].map(|()| Process::spawn(consume, arguments.clone()).unwrap());
    for number in 1..=2 * NUMBERS {
        let mut guard = is_empty.lock().unwrap();
        is_empty.wait_for_timeout(&mut guard, SOON, || board.get(0) == 0).unwrap();
        board.set(0, number);
        is_full.notify_one(&mut guard).unwrap();
    }
    let sum: u64 = children.iter().map(value).sum();
    assert_eq!(sum, (1..=2 * NUMBERS).sum());
}

fn another_lock() {
    let condition = Condition::new().unwrap();
    let other = Condition::new().unwrap();
    let mut guard = other.lock().unwrap();
    let errors = [
        condition.wait_timeout(&mut guard, SOON).map_err(Error::from).unwrap_err(),
        condition.notify_one(&mut guard).unwrap_err(),
        condition.notify(&mut guard, 2).unwrap_err(),
        condition.notify_all(&mut guard).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    assert!(other.as_lock().owner().unwrap().is_this_thread);
    assert_eq!((condition.waiting(), other.waiting()), (0, 0));
    // That of the same lock in another variable is no other.
    let same = Condition::with_lock(other.as_lock().clone()).unwrap();
    assert_eq!(same.notify_all(&mut guard).unwrap(), 0);
}

/// More than fit into the object itself.
fn many_threads_wait() {
    const THREADS: usize = 40;
    let condition = Condition::new().unwrap();
    let wait = |condition: Condition| {
        let wait = || {
            let mut guard = condition.lock().unwrap();
            condition.wait_timeout(&mut guard, SOON).unwrap();
        };
        thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(wait))));
    };
    let children = [(); 2].map(|()| Process::spawn(wait, (condition.clone(),)).unwrap());
    wait_until("all wait", || condition.waiting() == 2 * THREADS);
    assert_eq!(condition.notify(&mut condition.lock().unwrap(), 7).unwrap(), 7);
    assert_eq!(condition.waiting(), 2 * THREADS - 7);
    let all = condition.notify_all(&mut condition.lock().unwrap()).unwrap();
    assert_eq!(all, 2 * THREADS - 7);
    children.iter().for_each(value);
    assert_eq!(condition.waiting(), 0);
}

fn text() {
    let (condition, plain) =
        (Condition::new().unwrap(), Condition::with_lock(Lock::new().unwrap()).unwrap());
    let show = |condition: Condition, plain: Condition<Lock>| format!("{condition:?} {plain:?}");
    let expected = "Condition(RLock(nobody, 0), 0 wait) Condition(Lock(nobody), 0 wait)";
    let child = Process::spawn(show, (condition.clone(), plain.clone())).unwrap();
    assert_eq!(value(&child), expected);
    assert_eq!(show(condition.clone(), plain), expected);
    let wait = |condition: Condition| {
        let mut guard = condition.lock().unwrap();
        condition.wait_timeout(&mut guard, SOON).unwrap();
    };
    let child = Process::spawn(wait, (condition.clone(),)).unwrap();
    wait_until("it waits", || format!("{condition:?}") == "Condition(RLock(nobody, 0), 1 wait)");
    condition.notify_one(&mut condition.lock().unwrap()).unwrap();
    value(&child);
}
