//! CPython's `ProcessPoolExecutorTest`.

use std::collections::BTreeSet;

use procession::{ErrorKind, Event, Pool, Queue, RecvTimeoutError, Sender, TaskError, pipe};
use procession_sys::signal;
use procession_tests::{SOON, Stranger, children, wait_until};

use crate::stage::{Row, SHORT, fail, gate, goes_on, many, pool, sqr, squares};

pub(crate) const ROWS: &[Row] = &[
    ("process_pool::killed_child", killed_child),
    ("process_pool::map_chunksize", map_chunksize),
    ("process_pool::ressources_gced_in_workers", arguments_are_dropped),
    ("process_pool::saturation", saturation),
    ("process_pool::idle_process_reuse_one", idle_process_reuse_one),
    ("process_pool::idle_process_reuse_multiple", idle_process_reuse_multiple),
    ("process_pool::max_tasks_per_child", max_tasks_per_child),
    ("process_pool::max_tasks_early_shutdown", max_tasks_early_shutdown),
];

/// Says where it runs, and waits.
fn stay(pids: Queue<u32>, gate: Event) -> u32 {
    pids.put(std::process::id()).unwrap();
    gate.wait().unwrap();
    std::process::id()
}

fn die_at(at: i64, x: i64) -> i64 {
    if x == at {
        std::process::abort();
    }
    sqr(x)
}

/// Other than in Python, where the pool is broken by it, the one task is lost that the worker ran.
fn killed_child() {
    let (pool, gate, pids) = (pool(4), gate(), Queue::new().unwrap());
    let calls: Vec<_> =
        (0..8).map(|_| pool.apply_async(stay, (pids.clone(), gate.clone()))).collect();
    let running: Vec<u32> = (0..4).map(|_| pids.get_timeout(SOON).unwrap()).collect();
    assert!(Stranger::new(running[2]).signal(signal::KILL));
    // The next one goes on in its seat.
    assert!(!running.contains(&pids.get_timeout(SOON).unwrap()));
    gate.set().unwrap();
    let results = calls.into_iter().map(procession::AsyncResult::get);
    let errors: Vec<_> = results.filter_map(Result::err).collect();
    let [TaskError::WorkerDied { index: 0, death, ended_by_pool: None, .. }] = &errors[..] else {
        panic!("{errors:?}")
    };
    assert_eq!((death.pid, death.status.signal()), (running[2], Some(signal::KILL)));
    assert_eq!(procession::Error::from(errors[0].clone()).kind(), ErrorKind::Died);
    // Of what the worker had been given with it, the rest is done by others.
    let results = pool.tasks().chunk(many(5)).try_map(|x: i64| die_at(7, x), 0..20);
    let failed = results.iter().filter_map(|result| result.as_ref().err());
    assert!(failed.map(TaskError::index).eq([7]), "{results:?}");
    let values: Vec<i64> = results.into_iter().filter_map(Result::ok).collect();
    assert_eq!(values, squares((0..20).filter(|x| *x != 7)));
    goes_on(&pool);
}

/// A chunk that is no divisor, one that is all, one that is more. None that is nothing: that does not compile.
fn map_chunksize() {
    let pool = pool(2);
    for chunk in [6, 40, 50] {
        let chunk = many(chunk);
        assert_eq!(pool.tasks().chunk(chunk).map(sqr, 0..40).unwrap(), squares(0..40));
        let results = pool.imap(sqr, 0..40).chunk(chunk);
        assert!(results.map(Result::unwrap).eq(squares(0..40)));
    }
}

/// A worker keeps nothing of a task: neither its arguments, nor what it returned, nor what it had when it failed.
fn arguments_are_dropped() {
    let pool = pool(1);
    let is_dropped = |rx: procession::Receiver<i64>| {
        assert!(matches!(rx.recv_timeout(SOON), Err(RecvTimeoutError::Closed)));
    };
    let before = pool.worker_pids();
    let (tx, rx) = pipe::<i64>().unwrap();
    assert_eq!(pool.apply(|_: Sender<i64>| 3, (tx,)).unwrap(), 3);
    is_dropped(rx);
    let (tx, rx) = pipe::<i64>().unwrap();
    drop(pool.apply(|tx: Sender<i64>| tx, (tx,)).unwrap());
    is_dropped(rx);
    let (tx, rx) = pipe::<i64>().unwrap();
    pool.apply(|tx: Sender<i64>| (fail(1), tx).0, (tx,)).unwrap_err();
    is_dropped(rx);
    assert_eq!(pool.worker_pids(), before);
}

/// There are never more workers than the pool was made with.
fn saturation() {
    let (pool, gate, pids) = (pool(4), gate(), Queue::new().unwrap());
    let workers = pool.worker_pids();
    let calls: Vec<_> =
        (0..60).map(|_| pool.apply_async(stay, (pids.clone(), gate.clone()))).collect();
    let running: BTreeSet<u32> = (0..4).map(|_| pids.get_timeout(SOON).unwrap()).collect();
    assert!(running.iter().eq(&BTreeSet::from_iter(workers.clone())));
    // Nobody else begins, though 56 wait.
    pids.get_timeout(SHORT).unwrap_err();
    assert_eq!((children(), pool.worker_pids()), (running, workers));
    gate.set().unwrap();
    assert!(calls.into_iter().all(|call| call.get().is_ok()));
}

/// Other than in Python all workers are started at once. One call after the other starts no further one.
fn idle_process_reuse_one() {
    let pool = pool(4);
    let workers = pool.worker_pids();
    for _ in 0..20 {
        assert!(workers.contains(&pool.apply(std::process::id, ()).unwrap()));
    }
    // One that has not got its name yet is not seen.
    wait_until("all are there", || children().len() >= 4);
    assert_eq!((pool.worker_pids(), children().len()), (workers, 4));
}

fn idle_process_reuse_multiple() {
    let pool = pool(3);
    let calls: Vec<_> = (0..20).map(|_| pool.apply_async(std::process::id, ())).collect();
    let seen: BTreeSet<_> = calls.into_iter().map(|call| call.get().unwrap()).collect();
    assert!(seen.is_subset(&pool.worker_pids().into_iter().collect()), "{seen:?}");
    // One that has not got its name yet is not seen.
    wait_until("all are there", || children().len() >= 3);
    assert_eq!(children().len(), 3);
}

/// By each start method, copies as well.
fn max_tasks_per_child() {
    let pool = Pool::builder().workers(many(1)).tasks_per_worker(many(3)).build().unwrap();
    let pid = || pool.apply(std::process::id, ()).unwrap();
    let first = [pid(), pid(), pid()];
    assert_eq!(first, [first[0]; 3]);
    let fourth = pid();
    assert_ne!(fourth, first[0]);
    assert!(!Stranger::new(first[0]).is_alive(), "one at a time");
    assert_eq!(pool.worker_pids(), [fourth]);
    wait_until("the first one is gone", || children().len() == 1);
}

fn max_tasks_early_shutdown() {
    let pool = Pool::builder().workers(many(3)).tasks_per_worker(many(1)).build().unwrap();
    let calls: Vec<_> = (0..6).map(|_| pool.apply_async(std::process::id, ())).collect();
    pool.close();
    pool.join().unwrap();
    let are_there = calls.into_iter().map(|call| call.get_timeout(SHORT).unwrap().unwrap());
    assert_eq!(are_there.collect::<BTreeSet<_>>().len(), 6, "one for each");
}
