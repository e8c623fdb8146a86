//! The public types, used by the threads of one process.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use procession_sync::{
    Barrier, BarrierError, BoundedSemaphore, Condition, Event, Lock, LockError, RLock, Semaphore,
    WaitError,
};
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed, Release};
use procession_sys::prim::{AtomicBool, AtomicU64};

const THREADS: usize = 4;
/// For waits that no one is to end.
const SHORT: Duration = Duration::from_millis(50);

/// Ends the program when a test takes longer than a minute, so that a lost wake-up is a failure and not a silence.
struct Watchdog(#[expect(dead_code, reason = "its end is what counts")] mpsc::Sender<()>);

#[expect(clippy::print_stderr, reason = "the harness prints nothing when the program ends here")]
fn watchdog() -> Watchdog {
    let (sender, receiver) = mpsc::channel();
    let test = thread::current().name().unwrap_or("a test").to_owned();
    thread::spawn(move || {
        if receiver.recv_timeout(Duration::from_mins(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{test} takes longer than a minute");
            std::process::abort();
        }
    });
    Watchdog(sender)
}

/// Runs `doing` in so many threads, and returns what they return.
fn in_threads<T: Send>(count: usize, doing: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|at| {
                scope.spawn({
                    let doing = &doing;
                    move || doing(at)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// A number that is wrong when two change it at once.
#[derive(Default)]
struct Counter(AtomicU64);

impl Counter {
    fn increment(&self) {
        self.0.store(self.0.load(Relaxed) + 1, Relaxed);
    }
}

#[test]
fn counts_under_a_lock_are_exact() {
    let _watchdog = watchdog();
    const ROUNDS: u64 = 20_000;
    let (lock, recursive) = (Lock::new().unwrap(), RLock::new().unwrap());
    let counters: [Counter; 2] = Default::default();
    in_threads(THREADS, |_| {
        let (lock, recursive) = (lock.clone(), recursive.clone());
        for round in 0..ROUNDS {
            let guard = if round % 7 == 0 { lock.lock_timeout(Duration::MAX) } else { lock.lock() };
            counters[0].increment();
            drop(guard.unwrap());
            let _outer = recursive.lock().unwrap();
            let _inner = recursive.try_lock().unwrap();
            counters[1].increment();
        }
    });
    for counter in counters {
        assert_eq!(counter.0.into_inner(), ROUNDS * THREADS as u64);
    }
    assert!(!lock.is_locked() && !recursive.is_locked());
}

#[test]
fn a_recursive_lock_is_free_once_all_its_guards_are_gone_in_any_order() {
    let _watchdog = watchdog();
    let lock = RLock::new().unwrap();
    let is_free = || {
        let other = lock.clone();
        thread::spawn(move || other.try_lock().is_ok()).join().unwrap()
    };
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1]] {
        let mut guards: Vec<_> = (0..3).map(|_| Some(lock.lock().unwrap())).collect();
        for (dropped, at) in (0..).zip(order) {
            assert_eq!(lock.depth(), 3 - dropped);
            assert!(!is_free());
            guards[at] = None;
        }
        assert!(!lock.is_locked() && is_free());
    }
}

/// A condition for those who wait, and one for who counts them, with one lock.
struct Counted {
    condition: Condition,
    seen: Condition,
    begun: AtomicU64,
    woken: AtomicU64,
}

impl Counted {
    fn new() -> Arc<Self> {
        let condition = Condition::new().unwrap();
        let seen = Condition::with_lock(condition.as_lock().clone()).unwrap();
        Arc::new(Self { condition, seen, begun: AtomicU64::new(0), woken: AtomicU64::new(0) })
    }

    fn wait(&self) {
        let mut guard = self.condition.lock().unwrap();
        self.begun.fetch_add(1, Relaxed);
        self.seen.notify_all(&mut guard).unwrap();
        self.condition.wait(&mut guard).unwrap();
        self.woken.fetch_add(1, Relaxed);
        self.seen.notify_all(&mut guard).unwrap();
    }

    /// Notifies so many, and waits until as many have been woken in all.
    fn notify(&self, count: usize, notified: usize, woken: u64) {
        let mut guard = self.condition.lock().unwrap();
        assert_eq!(self.condition.notify(&mut guard, count).unwrap(), notified);
        self.seen.wait_for(&mut guard, || self.woken.load(Relaxed) >= woken).unwrap();
        // One too many would be waiting for the lock.
        let extra = || self.woken.load(Relaxed) > woken;
        let waited = self.seen.wait_for_timeout(&mut guard, SHORT, extra);
        assert!(matches!(waited, Err(WaitError::TimedOut)));
        assert_eq!(self.condition.waiting() as u64, 6 - woken);
    }
}

#[test]
fn each_notification_wakes_one_and_none_is_kept() {
    let _watchdog = watchdog();
    let counted = Counted::new();
    let waiters: Vec<_> = (0..6)
        .map(|_| {
            let counted = Arc::clone(&counted);
            thread::spawn(move || counted.wait())
        })
        .collect();
    let mut guard = counted.condition.lock().unwrap();
    counted.seen.wait_for(&mut guard, || counted.begun.load(Relaxed) == 6).unwrap();
    assert_eq!(counted.condition.waiting(), 6);
    drop(guard);
    counted.notify(1, 1, 1);
    counted.notify(2, 2, 3);
    counted.notify(100, 3, 6);
    counted.notify(1, 0, 6);
    for waiter in waiters {
        waiter.join().unwrap();
    }
    let mut guard = counted.condition.lock().unwrap();
    let waited = counted.condition.wait_timeout(&mut guard, SHORT);
    assert!(matches!(waited, Err(WaitError::TimedOut)));
}

#[test]
fn what_a_condition_hands_over_arrives_once() {
    let _watchdog = watchdog();
    const EACH: u64 = 5000;
    let condition = Condition::with_lock(Lock::new().unwrap()).unwrap();
    let (stock, taken) = (Counter::default(), AtomicU64::new(0));
    in_threads(THREADS, |at| {
        for _ in 0..EACH {
            let mut guard = condition.lock().unwrap();
            if at % 2 == 0 {
                stock.increment();
                condition.notify_one(&mut guard).unwrap();
            } else {
                condition.wait_for(&mut guard, || stock.0.load(Relaxed) > 0).unwrap();
                stock.0.store(stock.0.load(Relaxed) - 1, Relaxed);
                taken.fetch_add(1, Relaxed);
            }
        }
    });
    assert_eq!((stock.0.into_inner(), taken.into_inner()), (0, EACH * THREADS as u64 / 2));
    assert_eq!(condition.waiting(), 0);
}

#[test]
fn five_meet_a_thousand_times_in_step() {
    let _watchdog = watchdog();
    const PARTIES: usize = 5;
    let barrier = Barrier::new(PARTIES).unwrap();
    let steps: [AtomicU64; PARTIES] = Default::default();
    let actions = AtomicU64::new(0);
    let sums = in_threads(PARTIES, |at| {
        let mut sum = 0;
        for step in 1..=1000 {
            steps[at].store(step, Relaxed);
            let act = || {
                assert!(steps.iter().all(|other| other.load(Relaxed) == step));
                actions.fetch_add(1, Relaxed);
                Ok(())
            };
            let index = match step % 2 {
                0 => barrier.wait(),
                _ => barrier.wait_with(procession_core::Deadline::NEVER, act),
            };
            sum += index.unwrap();
            // Nobody is behind, and nobody more than one step ahead.
            assert!(steps.iter().all(|other| (step..=step + 1).contains(&other.load(Relaxed))));
        }
        sum
    });
    assert_eq!(actions.into_inner(), 500);
    assert_eq!(sums.iter().sum::<usize>(), 1000 * (0..PARTIES).sum::<usize>());
    assert!(barrier.waiting() == 0 && !barrier.is_broken());
}

#[test]
fn no_more_have_permits_than_there_are() {
    let _watchdog = watchdog();
    const PERMITS: u64 = 3;
    let semaphore = BoundedSemaphore::new(3).unwrap();
    let inside = AtomicU64::new(0);
    in_threads(2 * THREADS, |at| {
        for round in 0..2000 {
            let permit = ((at + round) % 2 == 0).then(|| semaphore.acquire().unwrap());
            if permit.is_none() {
                semaphore.acquire_raw().unwrap();
            }
            assert!(inside.fetch_add(1, AcqRel) < PERMITS);
            inside.fetch_sub(1, AcqRel);
            if permit.is_none() {
                semaphore.release().unwrap();
            }
        }
    });
    assert_eq!(semaphore.value(), 3);
    assert!(semaphore.release().is_err());
}

#[test]
fn what_is_released_is_acquired_as_often() {
    let _watchdog = watchdog();
    const EACH: u32 = 3000;
    let semaphore = Semaphore::new(0).unwrap();
    in_threads(2 * THREADS, |at| {
        for round in 0..EACH {
            match at % 4 {
                0 => semaphore.acquire().unwrap().forget(),
                1 => semaphore.acquire_raw().unwrap(),
                // Two at once every other time.
                2 if round % 2 == 0 => semaphore.release_many(2).unwrap(),
                2 => {}
                _ => semaphore.release().unwrap(),
            }
        }
    });
    assert_eq!(semaphore.value(), 0);
}

#[test]
fn an_event_lets_all_go_who_wait_although_it_is_cleared_at_once() {
    let _watchdog = watchdog();
    const ROUNDS: u64 = 500;
    let (event, ready) = (Event::new().unwrap(), Semaphore::new(0).unwrap());
    let passed: [AtomicU64; THREADS] = Default::default();
    in_threads(THREADS + 1, |at| {
        for round in 1..=ROUNDS {
            if at > 0 {
                ready.release().unwrap();
                event.wait().unwrap();
                passed[at - 1].store(round, Release);
            } else {
                (0..THREADS).for_each(|_| ready.acquire_raw().unwrap());
                // Who has not begun to wait yet does with the next one. Each is counted by itself: a quick one may pass several
                // rounds here, and must not stand for a slow one.
                while passed.iter().any(|passed| passed.load(Acquire) < round) {
                    event.set().unwrap();
                    event.clear().unwrap();
                    thread::yield_now();
                }
            }
        }
    });
    assert!(!event.is_set().unwrap());
}

#[test]
fn no_deadline_passes_too_early() {
    let _watchdog = watchdog();
    let lasts = |wait: &dyn Fn()| {
        let begin = Instant::now();
        wait();
        assert!(begin.elapsed() >= SHORT);
    };
    let (lock, recursive) = (Lock::new().unwrap(), RLock::new().unwrap());
    let (_one, _other) = (lock.lock().unwrap(), recursive.lock().unwrap());
    lasts(&|| assert!(matches!(lock.lock_timeout(SHORT), Err(LockError::TimedOut))));
    in_threads(1, |_| {
        lasts(&|| assert!(matches!(recursive.lock_timeout(SHORT), Err(LockError::TimedOut))));
    });
    let semaphore = Semaphore::new(0).unwrap();
    lasts(&|| assert!(matches!(semaphore.acquire_timeout(SHORT), Err(WaitError::TimedOut))));
    lasts(&|| assert!(matches!(semaphore.acquire_raw_timeout(SHORT), Err(WaitError::TimedOut))));
    let event = Event::new().unwrap();
    lasts(&|| assert!(matches!(event.wait_timeout(SHORT), Err(WaitError::TimedOut))));
    let condition = Condition::new().unwrap();
    lasts(&|| {
        let mut guard = condition.lock().unwrap();
        let waited = condition.wait_timeout(&mut guard, SHORT);
        assert!(matches!(waited, Err(WaitError::TimedOut)));
    });
    let barrier = Barrier::new(2).unwrap();
    lasts(&|| assert!(matches!(barrier.wait_timeout(SHORT), Err(BarrierError::Broken))));
    assert!(barrier.is_broken());
}

#[test]
fn an_abort_and_a_reset_are_told_to_all_who_wait() {
    let _watchdog = watchdog();
    const ROUNDS: usize = 500;
    let barrier = Barrier::new(THREADS + 1).unwrap();
    let (go, done) = (Semaphore::new(0).unwrap(), Semaphore::new(0).unwrap());
    let begin = || (0..THREADS).for_each(|_| go.release().unwrap());
    let is_over = AtomicBool::new(false);
    in_threads(THREADS + 1, |at| {
        if at > 0 {
            // Who is quick may have more turns than others.
            while go.acquire_raw().is_ok() && !is_over.load(Acquire) {
                assert!(matches!(barrier.wait(), Err(BarrierError::Broken)));
                done.release().unwrap();
            }
            return;
        }
        for round in 0..ROUNDS {
            begin();
            if round % 2 == 0 {
                barrier.abort().unwrap();
                assert!(barrier.is_broken());
            } else {
                // Who has not begun to wait yet would begin after the reset.
                while barrier.waiting() < THREADS {
                    thread::yield_now();
                }
                barrier.reset().unwrap();
            }
            (0..THREADS).for_each(|_| done.acquire_raw().unwrap());
            barrier.reset().unwrap();
        }
        is_over.store(true, Release);
        begin();
    });
    assert!(!barrier.is_broken());
}

#[test]
fn what_runs_under_a_recursive_lock_has_it_for_itself() {
    let lock = RLock::new().unwrap();
    let count = std::cell::Cell::new(0);
    let result = lock.run(|| {
        assert!(lock.is_locked() && lock.owner().unwrap().is_this_thread);
        assert_eq!(lock.depth(), 1);
        // Again, in each way.
        let inner = lock.lock().unwrap();
        assert_eq!(lock.depth(), 2);
        lock.run(|| assert_eq!(lock.depth(), 3)).unwrap();
        drop(inner);
        assert_eq!(lock.depth(), 1);
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(matches!(lock.try_lock(), Err(LockError::TimedOut))));
        });
        count.set(count.get() + 1);
        7
    });
    assert_eq!((result.unwrap(), count.get()), (7, 1));
    assert!(!lock.is_locked() && lock.depth() == 0);
    let outer = lock.lock().unwrap();
    lock.run(|| assert_eq!(lock.depth(), 2)).unwrap();
    assert_eq!(lock.depth(), 1);
    drop(outer);
    assert!(!lock.is_locked());
}

#[test]
fn a_panic_under_a_recursive_lock_unlocks_it() {
    let lock = RLock::new().unwrap();
    let run = || lock.run(|| panic!("on purpose")).map(drop);
    let run_again = || {
        lock.run(|| {
            let _inner = lock.lock().unwrap();
            panic!("on purpose")
        })
        .map(drop)
    };
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
    assert!(!lock.is_locked());
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run_again)).is_err());
    assert!(!lock.is_locked());
    assert!(!lock.lock().unwrap().is_after_death());
}

#[test]
fn a_guard_that_is_kept_while_something_runs_goes_on() {
    let lock = RLock::new().unwrap();
    lock.run(|| lock.lock().unwrap().keep()).unwrap();
    assert_eq!(lock.depth(), 1);
    lock.release().unwrap();
    assert!(!lock.is_locked());
}

#[test]
fn threads_that_run_under_a_recursive_lock_take_turns() {
    let lock = RLock::new().unwrap();
    let count = std::sync::atomic::AtomicU32::new(0);
    let add = || {
        for _ in 0..500 {
            let slowly = || {
                let before = count.load(std::sync::atomic::Ordering::Relaxed);
                std::thread::yield_now();
                count.store(before + 1, std::sync::atomic::Ordering::Relaxed);
            };
            lock.run(slowly).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(add);
        scope.spawn(add);
    });
    assert_eq!(count.into_inner(), 1000);
}
