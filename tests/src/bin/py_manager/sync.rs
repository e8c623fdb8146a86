//! CPython's `_TestLock`, `_TestSemaphore`, `_TestCondition`, `_TestEvent` and `_TestBarrier`, with those of a manager.

use std::thread;
use std::time::Instant;

use procession::{
    BarrierError, BarrierProxy, ConditionProxy, Deadline, ErrorKind, EventProxy, ListProxy,
    LockError, Process, SemaphoreProxy, Target, ValueProxy, WaitError,
};
use procession_tests::wait_until;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::stage::{Managed, TIMEOUT};

pub(crate) const ROWS: &[(&str, fn())] = &[
    ("lock::lock", lock),
    ("lock::rlock", rlock),
    ("lock::lock_context", lock_context),
    ("semaphore::semaphore", semaphore),
    ("semaphore::bounded_semaphore", bounded_semaphore),
    ("semaphore::timeout", semaphore_timeout),
    ("condition::notify", notify),
    ("condition::notify_all", notify_all),
    ("condition::notify_n", notify_n),
    ("condition::timeout", condition_timeout),
    ("condition::waitfor", waitfor),
    ("condition::waitfor_timeout", waitfor_timeout),
    ("condition::wait_result", wait_result),
    ("event::event", event),
    ("event::repr", event_repr),
    ("barrier::barrier", barrier),
    ("barrier::barrier_10", barrier_10),
    ("barrier::wait_return", wait_return),
    ("barrier::action", action),
    ("barrier::abort", abort),
    ("barrier::reset", reset),
    ("barrier::abort_and_reset", abort_and_reset),
    ("barrier::timeout", barrier_timeout),
    ("barrier::default_timeout", default_timeout),
    ("barrier::single_thread", single_thread),
];

fn lock() {
    let manager = Managed::start();
    let lock = manager.lock().unwrap();
    lock.lock().unwrap().keep();
    assert!(matches!(lock.try_lock(), Err(LockError::TimedOut)));
    lock.release().unwrap();
    assert_eq!(lock.release().unwrap_err().kind(), ErrorKind::InvalidInput);
}

fn rlock() {
    let manager = Managed::start();
    let lock = manager.rlock().unwrap();
    (0..3).for_each(|_| lock.lock().unwrap().keep());
    (0..3).for_each(|_| lock.release().unwrap());
    assert_eq!(lock.release().unwrap_err().kind(), ErrorKind::InvalidInput);
}

fn lock_context() {
    let manager = Managed::start();
    let lock = manager.lock().unwrap();
    {
        let _guard = lock.lock().unwrap();
        assert!(lock.is_locked().unwrap());
    }
    drop(lock.lock().unwrap());
}

fn two_permits(semaphore: &SemaphoreProxy) {
    assert_eq!(semaphore.value().unwrap(), 2);
    semaphore.acquire_raw(Deadline::NEVER).unwrap();
    assert_eq!(semaphore.value().unwrap(), 1);
    semaphore.acquire_raw(Deadline::NEVER).unwrap();
    assert_eq!(semaphore.value().unwrap(), 0);
    assert!(matches!(semaphore.try_acquire(), Err(WaitError::TimedOut)));
    semaphore.release(1).unwrap();
    semaphore.release(1).unwrap();
    assert_eq!(semaphore.value().unwrap(), 2);
}

fn semaphore() {
    let manager = Managed::start();
    let semaphore = manager.semaphore(2).unwrap();
    two_permits(&semaphore);
    semaphore.release(1).unwrap();
    semaphore.release(1).unwrap();
    assert_eq!(semaphore.value().unwrap(), 4);
}

fn bounded_semaphore() {
    let manager = Managed::start();
    let semaphore = manager.bounded_semaphore(2).unwrap();
    semaphore.acquire_raw(Deadline::NEVER).unwrap();
    semaphore.acquire_raw(Deadline::NEVER).unwrap();
    assert!(semaphore.try_acquire().is_err() && semaphore.value().unwrap() == 0);
    semaphore.release(2).unwrap();
    // CPython leaves this out.
    assert_eq!(semaphore.release(1).unwrap_err().kind(), ErrorKind::InvalidInput);
}

fn semaphore_timeout() {
    let manager = Managed::start();
    let semaphore = manager.semaphore(0).unwrap();
    assert!(semaphore.try_acquire().is_err());
    let before = Instant::now();
    assert!(matches!(semaphore.acquire_timeout(TIMEOUT), Err(WaitError::TimedOut)));
    assert!(before.elapsed() >= TIMEOUT);
}

/// Waits for the condition, and counts itself when it has been woken; tells whether it was notified.
fn sleeper(condition: ConditionProxy, woken: SemaphoreProxy, has_timeout: bool) -> bool {
    let mut guard = condition.lock().unwrap();
    let waited = match has_timeout {
        true => condition.wait_timeout(&mut guard, TIMEOUT),
        false => condition.wait(&mut guard),
    };
    drop(guard);
    woken.release(1).unwrap();
    waited.is_ok()
}

/// Six who wait: three processes and three threads.
fn with_six(has_timeout: bool, act: impl FnOnce(&ConditionProxy, &SemaphoreProxy)) -> Vec<bool> {
    let manager = Managed::start();
    let (condition, woken) = (manager.condition().unwrap(), manager.semaphore(0).unwrap());
    let arguments = || (condition.clone(), woken.clone(), has_timeout);
    // A fork has no threads beside it.
    let processes: Vec<_> = (0..3).map(|_| Process::spawn(sleeper, arguments()).unwrap()).collect();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (condition, woken, has_timeout) = arguments();
            thread::spawn(move || sleeper(condition, woken, has_timeout))
        })
        .collect();
    if !has_timeout {
        wait_until("all wait", || condition.waiting().unwrap() == 6);
    }
    act(&condition, &woken);
    let mut ends: Vec<bool> = processes.into_iter().map(|it| it.join().unwrap()).collect();
    ends.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
    assert_eq!((woken.value().unwrap(), condition.waiting().unwrap()), (6, 0));
    ends
}

/// Wakes so many, and sees that no more have woken.
fn wake(condition: &ConditionProxy, woken: &SemaphoreProxy, count: usize, then: u32) {
    let mut guard = condition.lock().unwrap();
    condition.notify(&mut guard, count).unwrap();
    drop(guard);
    wait_until("they have woken", || woken.value().unwrap() == then);
}

fn notify() {
    let ends = with_six(false, |condition, woken| {
        (1..=6).for_each(|count| wake(condition, woken, 1, count));
    });
    assert_eq!(ends, [true; 6]);
}

fn notify_all() {
    // First they time out, and leave no trace; then six others are woken.
    assert_eq!(with_six(true, |_condition, _woken| {}), [false; 6]);
    let ends = with_six(false, |condition, _woken| {
        let mut guard = condition.lock().unwrap();
        assert_eq!(condition.notify_all(&mut guard).unwrap(), 6);
    });
    assert_eq!(ends, [true; 6]);
}

fn notify_n() {
    let ends = with_six(false, |condition, woken| {
        wake(condition, woken, 2, 2);
        wake(condition, woken, 4, 6);
        wake(condition, woken, 3, 6);
    });
    assert_eq!(ends, [true; 6]);
}

fn condition_timeout() {
    let manager = Managed::start();
    let condition = manager.condition().unwrap();
    let mut guard = condition.lock().unwrap();
    let before = Instant::now();
    let waited = condition.wait_timeout(&mut guard, TIMEOUT);
    assert!(matches!(waited, Err(WaitError::TimedOut)) && before.elapsed() >= TIMEOUT);
}

fn waitfor() {
    let manager = Managed::start();
    let (condition, state) = (manager.condition().unwrap(), manager.value(-1).unwrap());
    let worker = |condition: ConditionProxy, state: ValueProxy<i32>| {
        let mut guard = condition.lock().unwrap();
        state.set(&0).unwrap();
        condition.notify_one(&mut guard).unwrap();
        condition.wait_for(&mut guard, || state.get().unwrap() == 4).unwrap();
        drop(guard);
    };
    let child = Process::spawn(worker, (condition.clone(), state.clone())).unwrap();
    let mut guard = condition.lock().unwrap();
    condition.wait_for(&mut guard, || state.get().unwrap() == 0).unwrap();
    drop(guard);
    for _ in 0..4 {
        let mut guard = condition.lock().unwrap();
        state.fetch_add(1).unwrap();
        condition.notify_one(&mut guard).unwrap();
    }
    child.join().unwrap();
}

fn waitfor_timeout() {
    let manager = Managed::start();
    let condition = manager.condition().unwrap();
    let notifier = |condition: ConditionProxy| {
        for _ in 0..3 {
            let mut guard = condition.lock().unwrap();
            condition.notify_one(&mut guard).unwrap();
        }
    };
    let before = Instant::now();
    let mut guard = condition.lock().unwrap();
    let child = Process::spawn(notifier, (condition.clone(),)).unwrap();
    let waited = condition.wait_for_timeout(&mut guard, || false, TIMEOUT);
    // For the whole call.
    assert!(matches!(waited, Err(WaitError::TimedOut)) && before.elapsed() >= TIMEOUT);
    drop(guard);
    child.join().unwrap();
}

/// A signal does not end a wait here: who wants that waits with a timeout.
fn wait_result() {
    let manager = Managed::start();
    let condition = manager.condition().unwrap();
    let mut guard = condition.lock().unwrap();
    for timeout in [TIMEOUT / 100, TIMEOUT] {
        let waited = condition.wait_timeout(&mut guard, timeout);
        assert!(matches!(waited, Err(WaitError::TimedOut)));
    }
    let notifier =
        |condition: ConditionProxy| condition.notify_one(&mut condition.lock().unwrap()).unwrap();
    let child = Process::spawn(notifier, (condition.clone(),)).unwrap();
    condition.wait(&mut guard).unwrap();
    assert!(child.join().unwrap());
}

fn event() {
    let manager = Managed::start();
    let event = manager.event().unwrap();
    assert!(!event.is_set().unwrap());
    assert!(event.wait_timeout(std::time::Duration::ZERO).is_err());
    let before = Instant::now();
    assert!(event.wait_timeout(TIMEOUT).is_err() && before.elapsed() >= TIMEOUT);
    event.set().unwrap();
    assert!(event.is_set().unwrap() && event.wait().is_ok());
    assert!(event.wait_timeout(std::time::Duration::ZERO).is_ok());
    event.clear().unwrap();
    assert!(!event.is_set().unwrap());
    let setter = |event: EventProxy| {
        assert!(event.wait_timeout(TIMEOUT).is_err());
        event.set().unwrap();
    };
    let child = Process::spawn(setter, (event.clone(),)).unwrap();
    event.wait().unwrap();
    child.join().unwrap();
}

fn event_repr() {
    let manager = Managed::start();
    let event = manager.event().unwrap();
    assert!(format!("{event:?}").starts_with("EventProxy(object 1 at "), "{event:?}");
}

const N: usize = 5;

/// Runs `party` in four processes and in this one, with a barrier and a list for all of them; what they return, and what is in the list.
fn parties<R>(party: impl Target<(BarrierProxy, ListProxy<u64>), Output = R>) -> (Vec<R>, Vec<u64>)
where
    R: Serialize + DeserializeOwned + 'static,
{
    let manager = Managed::start();
    let barrier = manager.barrier(u32::try_from(N).unwrap()).unwrap();
    let list = manager.list().unwrap();
    let others: Vec<_> =
        (1..N).map(|_| Process::spawn(party, (barrier.clone(), list.clone())).unwrap()).collect();
    let mut results = vec![party.call((barrier.clone(), list.clone()))];
    results.extend(others.into_iter().map(|other| other.join().unwrap()));
    let items = list.to_vec().unwrap();
    drop((barrier, list));
    (results, items)
}

/// Goes through a barrier so many times: all have come before anybody goes on.
fn lock_step(barrier: &BarrierProxy, list: &ListProxy<u64>, times: usize) -> bool {
    for round in 0..times {
        list.push(&(round as u64)).unwrap();
        barrier.wait().unwrap();
        let came = list.len().unwrap();
        if came < N * (round + 1) || came > N * (round + 2) {
            return false;
        }
    }
    barrier.wait().unwrap();
    barrier.waiting().unwrap() == 0 && !barrier.is_broken().unwrap()
}

fn barrier() {
    let (ends, _) =
        parties(|barrier: BarrierProxy, list: ListProxy<u64>| lock_step(&barrier, &list, 1));
    assert_eq!(ends, [true; N]);
}

fn barrier_10() {
    let (ends, items) =
        parties(|barrier: BarrierProxy, list: ListProxy<u64>| lock_step(&barrier, &list, 10));
    assert!(ends == [true; N] && items.is_sorted());
}

fn wait_return() {
    let (mut numbers, _) =
        parties(|barrier: BarrierProxy, _list: ListProxy<u64>| barrier.wait().unwrap());
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
}

fn action() {
    let party = |barrier: BarrierProxy, list: ListProxy<u64>| {
        barrier.wait_with(|| list.push(&1), Deadline::NEVER).unwrap();
        list.len().unwrap()
    };
    let (seen, items) = parties(party);
    assert_eq!((seen, items), (vec![1; N], vec![1]));
}

fn is_broken(waited: &Result<usize, BarrierError>) -> bool {
    matches!(waited, Err(BarrierError::Broken))
}

fn abort() {
    let party = |barrier: BarrierProxy, list: ListProxy<u64>| {
        list.push(&1).unwrap();
        if list.len().unwrap() == N {
            barrier.abort().unwrap();
            return true;
        }
        is_broken(&barrier.wait()) && barrier.is_broken().unwrap()
    };
    let (ends, _) = parties(party);
    assert_eq!(ends, [true; N]);
}

/// Whoever comes last waits until all others wait, and resets.
fn reset_when_all_wait(barrier: &BarrierProxy, list: &ListProxy<u64>) -> bool {
    list.push(&1).unwrap();
    // One is the one who pushed last.
    if list.fetch_add(0, 1).unwrap() == N as u64 {
        wait_until("all others wait", || barrier.waiting().unwrap() == N - 1);
        barrier.reset().unwrap();
        return true;
    }
    is_broken(&barrier.wait())
}

fn reset() {
    let party = |barrier: BarrierProxy, list: ListProxy<u64>| {
        let broken = reset_when_all_wait(&barrier, &list);
        broken && barrier.wait().is_ok()
    };
    let (ends, _) = parties(party);
    assert_eq!(ends, [true; N]);
}

fn abort_and_reset() {
    let manager = Managed::start();
    let barrier = manager.barrier(2).unwrap();
    let party = |barrier: BarrierProxy| is_broken(&barrier.wait());
    let child = Process::spawn(party, (barrier.clone(),)).unwrap();
    wait_until("it waits", || barrier.waiting().unwrap() == 1);
    barrier.abort().unwrap();
    assert!(child.join().unwrap() && is_broken(&barrier.wait()));
    barrier.reset().unwrap();
    let party = |barrier: BarrierProxy| barrier.wait().is_ok();
    let child = Process::spawn(party, (barrier.clone(),)).unwrap();
    barrier.wait().unwrap();
    assert!(child.join().unwrap());
}

fn barrier_timeout() {
    let party = |barrier: BarrierProxy, list: ListProxy<u64>| {
        list.push(&1).unwrap();
        if list.fetch_add(0, 1).unwrap() == N as u64 {
            // Late: it comes when the others have given up.
            wait_until("it is broken", || barrier.is_broken().unwrap());
        }
        is_broken(&barrier.wait_timeout(TIMEOUT))
    };
    let (ends, _) = parties(party);
    assert_eq!(ends, [true; N]);
}

/// A barrier has no timeout of its own here: each wait has one.
fn default_timeout() {
    let manager = Managed::start();
    let barrier = manager.barrier(2).unwrap();
    let before = Instant::now();
    assert!(is_broken(&barrier.wait_deadline(Deadline::after(TIMEOUT))));
    assert!(before.elapsed() >= TIMEOUT);
}

fn single_thread() {
    let manager = Managed::start();
    let barrier = manager.barrier(1).unwrap();
    assert_eq!((barrier.wait().unwrap(), barrier.wait().unwrap()), (0, 0));
}
