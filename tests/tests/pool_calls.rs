//! Calls of a pool that do not wait, and tasks that are ended: by their time, by their caller, with their pool.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use procession::prelude::*;
use procession::{AsyncResult, ErrorKind, ReturnWhen, as_completed, wait_for};
use procession_sys::prim::{AtomicUsize, Ordering};
use procession_sys::signal;
use procession_tests::{SOON, wait_until, watchdog};

procession::test_support!();

const SHORT: Duration = Duration::from_millis(150);

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(NonZeroUsize::new(workers).unwrap()).build().unwrap()
}

fn forever(item: u32) -> u32 {
    loop {
        std::hint::black_box(item);
    }
}

/// Waits in the worker until it is released.
fn hold(item: u32, gate: Event) -> u32 {
    gate.wait().unwrap();
    item
}

#[test]
fn calls_that_do_not_wait_resolve_in_any_order() {
    let _dog = watchdog(60);
    let pool = pool(2);
    let sum = pool.apply_async(|a: u32, b: u32| a + b, (1, 2));
    let squares = pool.map_async(|x: u64| x * x, 0..1000);
    let products = pool.starmap_async(|a: u32, b: u32| a * b, [(1, 2), (3, 4)]);
    let none = pool.map_async(|x: u8| x, []);
    assert_eq!(products.get().unwrap(), [2, 12]);
    assert_eq!(none.get().unwrap(), []);
    assert!(squares.get().unwrap().into_iter().eq((0..1000).map(|x| x * x)));
    assert_eq!(sum.get().unwrap(), 3);
    assert_eq!(pool.starmap(|a: u32, b: u32, c: u32| a + b + c, [(1, 2, 3)]).unwrap(), [6]);
}

#[test]
fn a_result_says_whether_it_is_there_and_good() {
    let _dog = watchdog(60);
    let (pool, gate) = (pool(1), Event::new().unwrap());
    let held = pool.apply_async(hold, (7, gate.clone()));
    assert!(!held.is_ready());
    assert_eq!(held.is_successful(), None);
    assert!(!held.wait_timeout(SHORT));
    let held = held.get_timeout(Duration::ZERO).unwrap_err();
    gate.set().unwrap();
    held.wait();
    assert_eq!((held.is_ready(), held.is_successful()), (true, Some(true)));
    assert_eq!(held.get().unwrap(), 7);
    let bad = pool.map_async(|x: u32| assert_ne!(x, 3), 0..10);
    bad.wait();
    assert_eq!(bad.is_successful(), Some(false));
    let error = bad.get_timeout(SHORT).unwrap().unwrap_err();
    assert!(matches!(error, TaskError::Panicked { index: 3, .. }), "{error}");
}

#[test]
fn callbacks_are_called_once_with_values_and_errors() {
    let _dog = watchdog(60);
    let pool = pool(2);
    let (told, tells) = mpsc::channel();
    let results: Vec<AsyncResult<u32>> = (0..20)
        .map(|x| {
            let told = told.clone();
            let result = pool.apply_async(
                |x: u32| {
                    assert_ne!(x, 7);
                    x * 2
                },
                (x,),
            );
            result.on_done(move |result| told.send(result.as_ref().ok().copied()).unwrap())
        })
        .collect();
    let mut values: Vec<_> = tells.iter().take(20).collect();
    values.sort_unstable();
    let expected: Vec<_> =
        std::iter::once(None).chain((0..20).filter(|x| *x != 7).map(|x| Some(x * 2))).collect();
    assert_eq!(values, expected);
    // And the results are there all the same; a late callback is called at once; one that panics harms nobody.
    for (x, result) in (0..).zip(results) {
        let (told, tells) = mpsc::channel();
        let result = result.on_done(move |_| {
            told.send(thread::current().id()).unwrap();
            panic!("a callback's own matter");
        });
        assert_eq!(tells.recv().unwrap(), thread::current().id());
        assert_eq!(result.get().ok(), (x != 7).then_some(x * 2));
    }
    assert_eq!(pool.apply(|x: u8| x, (1,)).unwrap(), 1);
}

/// Counts how often it is woken.
struct Bell(AtomicUsize, thread::Thread);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.1.unpark();
    }
}

#[test]
fn a_result_is_a_future() {
    let _dog = watchdog(60);
    let (pool, gate) = (pool(1), Event::new().unwrap());
    let mut future = pin!(pool.apply_async(hold, (9, gate.clone())));
    let bell = Arc::new(Bell(AtomicUsize::new(0), thread::current()));
    let waker = Waker::from(Arc::clone(&bell));
    let mut context = Context::from_waker(&waker);
    assert!(future.as_mut().poll(&mut context).is_pending());
    gate.set().unwrap();
    let value = loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => break value.unwrap(),
            Poll::Pending => thread::park_timeout(SOON),
        }
    };
    assert_eq!(value, 9);
    assert!(bell.0.load(Ordering::SeqCst) >= 1);
}

#[test]
fn a_task_that_runs_too_long_is_ended_alone() {
    let _dog = watchdog(60);
    let pool = pool(2);
    let before = pool.worker_pids();
    let tasks = pool.tasks().timeout(SHORT).chunk(NonZeroUsize::new(4).unwrap());
    let results = tasks.try_map(|x: u32| if x == 5 { forever(x) } else { x }, 0..20);
    for (x, result) in (0..).zip(results) {
        match result {
            Ok(value) => assert_eq!((value, x != 5), (x, true)),
            Err(TaskError::TimedOut { index, ran_for }) => {
                assert_eq!((index, x), (5, 5));
                assert!(ran_for >= SHORT, "{ran_for:?}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    let after = pool.worker_pids();
    assert_eq!(after.iter().filter(|pid| before.contains(pid)).count(), 1);
}

#[test]
fn waiting_for_a_worker_is_not_running() {
    let _dog = watchdog(60);
    let (pool, gate) = (pool(1), Event::new().unwrap());
    let first = pool.apply_async(hold, (1, gate.clone()));
    let second = pool.tasks().timeout(SHORT).apply_async(|x: u32| x, (2,));
    assert!(!second.wait_timeout(3 * SHORT));
    gate.set().unwrap();
    assert_eq!((first.get().unwrap(), second.get().unwrap()), (1, 2));
}

#[test]
fn who_does_not_end_when_he_is_asked_is_killed_after_the_grace() {
    let _dog = watchdog(60);
    // Its workers' threads block what the thread blocked that made it.
    let pool = signal::while_blocked(|| pool(1)).unwrap();
    let start = Instant::now();
    let error = pool.tasks().timeout(SHORT).grace(SHORT).apply(forever, (1,)).unwrap_err();
    assert!(matches!(error, TaskError::TimedOut { .. }), "{error}");
    assert!(start.elapsed() >= 2 * SHORT);
    assert_eq!(pool.apply(|x: u32| x, (2,)).unwrap(), 2);
}

#[test]
fn what_is_cancelled_is_not_begun_or_ended() {
    let _dog = watchdog(60);
    let pool = pool(2);
    let running = pool.map_async(forever, 0..50);
    let waiting = pool.apply_async(|x: u32| x, (1,));
    running.cancel();
    let error = running.get().unwrap_err();
    assert!(matches!(error, TaskError::Cancelled { .. }), "{error}");
    assert_eq!(waiting.get().unwrap(), 1);
    wait_until("new workers", || pool.worker_pids().len() == 2);
    // What is done cannot be cancelled any more.
    let done = pool.apply_async(|x: u32| x, (3,));
    done.wait();
    done.cancel();
    assert_eq!(done.get().unwrap(), 3);
}

#[test]
fn tasks_are_tried_again_when_their_workers_die() {
    let _dog = watchdog(60);
    let pool = pool(2);
    let tasks = pool.tasks().attempts(3).backoff(Duration::from_millis(5));
    // The handles in its argument exist once, so it is tried once.
    let event = Event::new().unwrap();
    let count = |event: Event| -> u32 {
        event.set().unwrap();
        std::process::abort()
    };
    let error = tasks.apply(count, (event.clone(),)).unwrap_err();
    assert!(matches!(error, TaskError::WorkerDied { .. }), "{error}");
    assert!(event.is_set().unwrap());
    let name = format!("procession-retries-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, "").unwrap();
    let third_time = |path: std::path::PathBuf| {
        let tries = std::fs::read_to_string(&path).unwrap() + "x";
        std::fs::write(&path, &tries).unwrap();
        match tries.len() {
            1 => std::process::abort(),
            2 => panic!("the second time"),
            len => len,
        }
    };
    let error = tasks.apply(third_time, (path.clone(),)).unwrap_err();
    assert!(matches!(error, TaskError::Panicked { .. }), "{error}");
    std::fs::write(&path, "").unwrap();
    assert_eq!(tasks.retry_panics().apply(third_time, (path.clone(),)).unwrap(), 3);
    std::fs::write(&path, "").unwrap();
    let error = tasks.retry_panics().attempts(2).apply(third_time, (path.clone(),)).unwrap_err();
    assert!(matches!(error, TaskError::Panicked { .. }), "{error}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_closed_pool_ends_what_it_began_and_begins_nothing() {
    let _dog = watchdog(60);
    let (pool, gate) = (pool(2), Event::new().unwrap());
    assert_eq!(pool.join().unwrap_err().kind(), ErrorKind::InvalidInput);
    let held = pool.apply_async(hold, (1, gate.clone()));
    let many = pool.map_async(|x: u32| x, 0..500);
    pool.close();
    let late = pool.apply_async(|x: u32| x, (2,)).get().unwrap_err();
    assert!(matches!(late, TaskError::PoolClosed { index: 0 }), "{late}");
    let late = pool.map(|x: u32| x, 0..10).unwrap_err();
    assert!(matches!(late, TaskError::PoolClosed { .. }), "{late}");
    gate.set().unwrap();
    pool.join().unwrap();
    assert_eq!((held.get().unwrap(), many.get().unwrap().len()), (1, 500));
    assert!(pool.worker_pids().is_empty());
    pool.join().unwrap();
}

#[test]
fn a_terminated_pool_resolves_everything_at_once() {
    let _dog = watchdog(60);
    let pool = pool(2);
    let running = pool.apply_async(forever, (1,));
    let waiting = pool.map_async(|x: u32| x, 0..10_000);
    pool.terminate();
    pool.join().unwrap();
    let closed = |error| matches!(error, TaskError::PoolClosed { .. });
    assert!(closed(running.get().unwrap_err()));
    // It may have been done before.
    assert!(
        waiting.get().is_ok_and(|values| values.len() == 10_000) || pool.worker_pids().is_empty()
    );
    assert!(closed(pool.apply(|x: u32| x, (1,)).unwrap_err()));
}

#[test]
fn a_pool_that_is_dropped_leaves_no_result_open() {
    let _dog = watchdog(60);
    let pool = pool(1);
    let running = pool.apply_async(forever, (1,));
    let waiting = pool.apply_async(|x: u32| x, (1,));
    drop(pool);
    for result in [running, waiting] {
        assert!(matches!(result.get().unwrap_err(), TaskError::PoolClosed { .. }));
    }
}

#[test]
fn workers_run_exactly_so_many_tasks() {
    let _dog = watchdog(60);
    let pool = Pool::builder()
        .workers(NonZeroUsize::new(2).unwrap())
        .tasks_per_worker(NonZeroUsize::new(3).unwrap())
        .build()
        .unwrap();
    let pids = pool.map(|_: u32| std::process::id(), 0..60).unwrap();
    let mut counts = std::collections::BTreeMap::new();
    for pid in pids {
        *counts.entry(pid).or_insert(0) += 1;
    }
    assert!(counts.values().all(|count| *count <= 3), "{counts:?}");
    assert!(counts.len() >= 20, "{counts:?}");
}

#[test]
fn results_are_taken_as_they_come() {
    let _dog = watchdog(60);
    let (pool, gate) = (pool(2), Event::new().unwrap());
    let calls = vec![
        pool.apply_async(hold, (0, gate.clone())),
        pool.apply_async(|x: u32| x, (1,)),
        pool.apply_async(|_: u32| -> u32 { panic!("no") }, (2,)),
    ];
    let first = wait_for(&calls, ReturnWhen::FirstCompleted, SOON);
    assert!(!first.is_empty() && !first.contains(&0), "{first:?}");
    let mut failed = wait_for(&calls, ReturnWhen::FirstError, SOON);
    failed.sort_unstable();
    assert_eq!(failed, [1, 2]);
    assert_eq!(wait_for(&calls, ReturnWhen::AllCompleted, SHORT).len(), 2);
    assert!(wait_for::<u32>(&[], ReturnWhen::FirstCompleted, SOON).is_empty());
    let mut all = as_completed(calls);
    assert_eq!(all.len(), 3);
    let mut early = [all.next().unwrap().0, all.next().unwrap().0];
    early.sort_unstable();
    assert_eq!(early, [1, 2]);
    gate.set().unwrap();
    let (place, result) = all.next().unwrap();
    assert_eq!((place, result.unwrap()), (0, 0));
    assert!(all.next().is_none());
}

#[test]
fn what_was_submitted_first_is_begun_first_whatever_it_holds() {
    let _dog = watchdog(60);
    let (pool, gate) = (pool(2), Event::new().unwrap());
    for _ in 0..2 {
        let first = pool.apply_async(|x: u32| x, (1,));
        drop(pool.apply_async(hold, (2, gate.clone())));
        assert_eq!(first.get_timeout(SOON).unwrap().unwrap(), 1);
    }
    gate.set().unwrap();
}

#[test]
fn a_result_that_is_late_can_be_asked_for_again() {
    let _dog = watchdog(60);
    let (pool, gate) = (pool(2), Event::new().unwrap());
    let late = |(x, gate): (u32, Option<Event>)| gate.map_or(x, |gate| hold(x, gate));
    let items = || (0..3).map(|x| (x, (x == 2).then(|| gate.clone())));
    let mut ordered = pool.imap(late, items());
    for expected in [0, 1] {
        assert_eq!(ordered.next_timeout(SOON).unwrap().unwrap().unwrap(), expected);
    }
    assert_eq!(ordered.next_timeout(SHORT).unwrap_err().kind(), ErrorKind::TimedOut);
    gate.set().unwrap();
    assert_eq!(ordered.next_timeout(SOON).unwrap().unwrap().unwrap(), 2);
    assert!(ordered.next_timeout(SOON).unwrap().is_none());
    let mut sum = 0;
    let mut unordered = pool.imap_unordered(late, items());
    while let Some(value) = unordered.next_timeout(SOON).unwrap() {
        sum += value.unwrap();
    }
    assert_eq!(sum, 3);
}

#[test]
fn a_pool_grows_and_shrinks() {
    let _dog = watchdog(60);
    let (pool, gate) = (pool(2), Event::new().unwrap());
    let many = |workers| pool.resize(NonZeroUsize::new(workers).unwrap());
    let held = pool.map_async(|gate: Event| gate.wait().unwrap(), vec![gate.clone(); 4]);
    many(4).unwrap();
    wait_until("four workers", || pool.worker_pids().len() == 4);
    many(1).unwrap();
    assert_eq!(pool.workers(), 1);
    gate.set().unwrap();
    assert_eq!(held.get().unwrap().len(), 4);
    wait_until("one worker", || pool.worker_pids().len() == 1);
    let seats = pool.map(|_: u32| procession::current_worker(), 0..100).unwrap();
    assert!(seats.iter().all(|seat| *seat == Some(0)));
    many(3).unwrap();
    wait_until("three workers", || pool.worker_pids().len() == 3);
    assert_eq!(pool.map(|x: u32| x, 0..100).unwrap().len(), 100);
    assert_eq!(many(4097).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(procession::current_worker(), None);
}

#[test]
fn an_iterator_that_is_dropped_when_the_pool_is_closed_does_not_hold_up_its_end() {
    let _dog = watchdog(60);
    let work = |micros: u64| {
        let end = Instant::now() + Duration::from_micros(micros);
        while Instant::now() < end {}
    };
    for round in 0..100 {
        let pool = pool(1);
        let items = std::iter::repeat_n(100, 40);
        let mut results = pool.imap_unordered(work, items).chunk(NonZeroUsize::MIN);
        results.next().unwrap().unwrap();
        pool.close();
        work(round * 7);
        drop(results);
        pool.join().unwrap();
    }
}
