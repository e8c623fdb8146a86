//! CPython's `_TestPoolWorkerLifetime`, and rows of other classes about the beginning and the end of workers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use procession::{OsCode, Pool, Process, Queue};
use procession_sys::fd::{duplicate, open_descriptors};
use procession_tests::{SOON, Stranger, children, wait_until};

use crate::stage::{Row, SHORT, goes_on, many, pass, pool, sqr, squares};

pub(crate) const ROWS: &[Row] = &[
    ("lifetime::pool_worker_lifetime", pool_worker_lifetime),
    ("lifetime::pool_worker_lifetime_early_close", early_close),
    ("lifetime::worker_finalization_via_atexit_handler_of_multiprocessing", never_closed),
    ("elsewhere::pool_initializer", pool_initializer),
    ("elsewhere::release_unused_processes", release_unused_processes),
    ("elsewhere::large_pool", large_pool),
    ("elsewhere::pool", pools_of_other_processes),
];

/// A pool whose workers run so many tasks each.
fn mortal(workers: usize, tasks: usize) -> Pool {
    Pool::builder().workers(many(workers)).tasks_per_worker(many(tasks)).build().unwrap()
}

/// Workers are replaced, exactly after their tasks, and no task is lost by it.
fn pool_worker_lifetime() {
    let pool = mortal(3, 10);
    let first = pool.worker_pids();
    assert_eq!(first.len(), 3);
    let task = |x: i64| (sqr(x), std::process::id());
    let calls: Vec<_> = (0..100).map(|x| pool.apply_async(task, (x,))).collect();
    let mut tasks = BTreeMap::new();
    for (x, call) in (0..).zip(calls) {
        let (square, pid) = call.get().unwrap();
        assert_eq!(square, sqr(x));
        *tasks.entry(pid).or_insert(0) += 1;
    }
    assert!(tasks.len() >= 10 && tasks.values().all(|tasks| *tasks <= 10), "{tasks:?}");
    wait_until("the seats are taken", || pool.worker_pids().len() == 3);
    let last = pool.worker_pids();
    assert!(first.iter().any(|pid| !last.contains(pid)), "{first:?} {last:?}");
    // Chunks count as what is in them.
    let tasks = pool.tasks().chunk(many(7)).map(|_: i64| std::process::id(), 0..100).unwrap();
    let most = tasks.iter().map(|pid| tasks.iter().filter(|other| *other == pid).count()).max();
    assert!(most <= Some(10), "{tasks:?}");
}

/// Workers that have run their one task are replaced although the pool is closed, until all is done.
fn early_close() {
    let pool = mortal(3, 1);
    let task = |x: i64| {
        pass(SHORT);
        sqr(x)
    };
    let calls: Vec<_> = (0..6).map(|x| pool.apply_async(task, (x,))).collect();
    pool.close();
    pool.join().unwrap();
    assert!(calls.iter().all(procession::AsyncResult::is_ready));
    let values: Vec<_> = calls.into_iter().map(|call| call.get().unwrap()).collect();
    assert_eq!(values, squares(0..6));
}

/// A pool that lives until its program ends.
static ENDLESS: OnceLock<Pool> = OnceLock::new();

/// A child that never closes its pool ends well, and so does this program, by the end of the row; their workers with them.
fn never_closed() {
    let start = || {
        let pool = ENDLESS.get_or_init(|| pool(2));
        goes_on(pool);
        pool.worker_pids()
    };
    let workers = Process::spawn(start, ()).unwrap().join_timeout(SOON).unwrap().unwrap();
    assert_eq!(workers.len(), 2);
    assert!(workers.into_iter().all(|pid| Stranger::new(pid).ends_soon()));
    start();
}

/// Once in each worker and before its tasks, also when the pool is closed at once, and in workers that replace others.
fn pool_initializer() {
    let begin = |queue: Queue<u32>, by: u32| queue.put(by * std::process::id()).unwrap();
    let queue = Queue::new().unwrap();
    let build = |workers| {
        let builder = Pool::builder().workers(many(workers)).tasks_per_worker(many(5));
        builder.initializer(begin, (queue.clone(), 1)).unwrap().build().unwrap()
    };
    let pool = build(3);
    let mut seen: BTreeSet<_> = pool.worker_pids().into_iter().collect();
    seen.extend(pool.map(|_: i64| std::process::id(), 0..50).unwrap());
    // One that was replaced just now may be at its beginning.
    wait_until("all are there", || pool.worker_pids().len() == 3);
    seen.extend(pool.worker_pids());
    pool.close();
    pool.join().unwrap();
    let count = queue.len().unwrap();
    let told: BTreeSet<_> = (0..count).map(|_| queue.get().unwrap()).collect();
    assert_eq!(told.len(), count, "each once");
    assert!(seen.is_subset(&told), "{seen:?} {told:?}");

    let pool = build(1);
    let [worker] = pool.worker_pids()[..] else { panic!("one worker") };
    pool.close();
    pool.join().unwrap();
    assert_eq!((queue.len().unwrap(), queue.get().unwrap()), (1, worker));
}

/// A pool of which not all workers can be started is not there, and nobody is left of those that were.
fn release_unused_processes() {
    let file = File::open("/dev/null").unwrap();
    drop(pool(5));
    wait_until("nobody is left", || children().is_empty());
    let before = open_descriptors().unwrap().len();
    let mut refusals = 0;
    for spare in 0.. {
        assert!(spare < 200, "five workers need no more than that");
        let mut held: Vec<OwnedFd> = Vec::new();
        while let Ok(fd) = duplicate(&file) {
            held.push(fd);
        }
        held.truncate(held.len() - spare);
        let built = Pool::builder().workers(many(5)).build();
        drop(held);
        let Err(error) = built else { break };
        assert_eq!(error.os_code(), Some(OsCode::TOO_MANY_OPEN), "{error:?}");
        wait_until("nobody is left", || children().is_empty());
        let is_as_before = || open_descriptors().unwrap().len() <= before + 1;
        wait_until("no descriptor is left", is_as_before);
        refusals += 1;
    }
    // Each worker needs some: so many attempts have failed at the first, the second, .. and the fifth one.
    assert!(refusals >= 10, "{refusals}");
    goes_on(&pool(5));
}

fn large_pool() {
    let pool = pool(200);
    assert_eq!(pool.worker_pids().len(), 200);
    let sum: i64 = pool.map(sqr, 0..1000).unwrap().into_iter().sum();
    assert_eq!(sum, 332_833_500);
}

/// In another process a pool is as here: in a child, and in a worker of another pool.
fn pools_of_other_processes() {
    let nested = |x: i64| {
        let pool = pool(2);
        let workers = pool.worker_pids();
        let values = pool.map(sqr, 0..x).unwrap();
        drop(pool);
        assert!(workers.into_iter().all(|pid| !Stranger::new(pid).is_alive()));
        values
    };
    let child = Process::spawn(nested, (10,)).unwrap();
    assert_eq!(child.join_timeout(SOON).unwrap().unwrap(), squares(0..10));
    let nests = pool(2).map(nested, 0..4).unwrap();
    assert_eq!(nests, (0..4).map(|x| squares(0..x)).collect::<Vec<_>>());
}
