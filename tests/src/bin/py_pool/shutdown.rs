//! CPython's tests of how executors are shut down.

use std::sync::OnceLock;
use std::thread;

use procession::{AsyncResult, Event, Pool, Process, TaskError};
use procession_tests::{SOON, Stranger, children, wait_until};

use crate::stage::{
    Row, SHORT, gate, goes_on, hold, meet, pass, pool, sqr, squares, takes_nothing,
};

pub(crate) const ROWS: &[Row] = &[
    ("shutdown::run_after_shutdown", run_after_shutdown),
    ("shutdown::interpreter_shutdown", the_end_of_the_program),
    ("shutdown::hang_issue12364", all_is_done_before_the_end),
    ("shutdown::hang_gh83386", closed_and_left),
    ("shutdown::hang_gh94440", cancelled_before_the_end),
    ("shutdown::processes_terminate", processes_terminate),
    ("shutdown::context_manager_shutdown", context_manager_shutdown),
    ("shutdown::del_shutdown", del_shutdown),
    ("shutdown::shutdown_no_wait", shutdown_no_wait),
];

fn workers_of(pool: &Pool) -> Vec<Stranger> {
    pool.worker_pids().into_iter().map(Stranger::new).collect()
}

fn run_after_shutdown() {
    let pool = pool(2);
    pool.close();
    takes_nothing(&pool);
    pool.join().unwrap();
    takes_nothing(&pool);
}

static ENDLESS: OnceLock<Pool> = OnceLock::new();

/// Other than in Python a program that returns waits for no task: who wants that says `close` and `join`.
fn the_end_of_the_program() {
    let with_tasks = |begun: Event, waits: bool| {
        let pool = ENDLESS.get_or_init(|| pool(2));
        let long = |begun: Event| {
            begun.set().unwrap();
            loop {
                thread::park();
            }
        };
        if waits {
            let call = pool.apply_async(
                |begun: Event| {
                    pass(SHORT);
                    begun.set().unwrap();
                },
                (begun.clone(),),
            );
            drop(call);
            pool.close();
            pool.join().unwrap();
        } else {
            drop(pool.map_async::<_, _, (), _>(long, vec![begun.clone(); 20]));
            meet(&begun);
        }
        pool.worker_pids()
    };
    for waits in [false, true] {
        let begun = gate();
        let child = Process::spawn(with_tasks, (begun.clone(), waits)).unwrap();
        let workers = child.join_timeout(SOON).unwrap().unwrap();
        assert!(begun.is_set().unwrap());
        assert_eq!(workers.len(), if waits { 0 } else { 2 });
        assert!(workers.into_iter().all(|pid| Stranger::new(pid).ends_soon()));
    }
}

/// Fifty tasks wait when the pool is closed, and all are done.
fn all_is_done_before_the_end() {
    let pool = pool(4);
    let task = |x: i64| {
        pass(SHORT / 10);
        sqr(x)
    };
    let calls: Vec<_> = (0..50).map(|x| pool.apply_async(task, (x,))).collect();
    pool.close();
    pool.join().unwrap();
    let values: Vec<_> = calls.into_iter().map(|call| call.get().unwrap()).collect();
    assert_eq!(values, squares(0..50));
}

/// A pool that nobody joins does what it has, while its handle lives.
fn closed_and_left() {
    let (pool, gate) = (pool(1), gate());
    let held = pool.apply_async(hold, (1, gate.clone()));
    let waiting = pool.map_async(sqr, 0..20);
    pool.close();
    gate.set().unwrap();
    assert_eq!((held.get().unwrap(), waiting.get().unwrap()), (1, squares(0..20)));
}

/// Calls are cancelled just before the end, wherever they are.
fn cancelled_before_the_end() {
    for round in 0..20 {
        let pool = pool(2);
        let calls: Vec<_> = (0..round).map(|x| pool.apply_async(sqr, (x,))).collect();
        calls.iter().for_each(AsyncResult::cancel);
        pool.close();
        pool.join().unwrap();
        for (x, call) in (0..).zip(calls) {
            match call.get_timeout(SOON).unwrap() {
                Ok(value) => assert_eq!(value, sqr(x)),
                Err(error) => assert!(matches!(error, TaskError::Cancelled { .. }), "{error}"),
            }
        }
    }
}

/// Other than in Python all workers are started with the pool; none is left after it.
fn processes_terminate() {
    let pool = pool(4);
    let workers = workers_of(&pool);
    assert!(workers.len() == 4 && workers.iter().all(Stranger::is_alive));
    goes_on(&pool);
    // One that has not got its name yet is not seen.
    wait_until("all are there", || children().len() >= 4);
    assert_eq!(children().len(), 4);
    pool.close();
    pool.join().unwrap();
    assert!(!workers.iter().any(Stranger::is_alive) && children().is_empty());
}

/// Other than in Python the end of the scope does not wait for calls: who wants that has their results first.
fn context_manager_shutdown() {
    let workers = {
        let pool = pool(5);
        let powers = pool.imap(|x: i64| sqr(x) * x, 0..6).map(Result::unwrap);
        assert!(powers.eq([0, 1, 8, 27, 64, 125]));
        workers_of(&pool)
    };
    assert!(workers.len() == 5 && !workers.iter().any(Stranger::is_alive));
}

/// Other than in Python a pool that is dropped is terminated: what is not done is not, and says so.
fn del_shutdown() {
    let (pool, gate) = (pool(1), gate());
    let workers = workers_of(&pool);
    let done = pool.map_async(sqr, 0..10);
    done.wait();
    let held = pool.apply_async(hold, (1, gate.clone()));
    let waiting = pool.apply_async(sqr, (1,));
    drop(pool);
    assert!(!workers.iter().any(Stranger::is_alive));
    assert_eq!(done.get().unwrap(), squares(0..10));
    for call in [held, waiting] {
        let error = call.get_timeout(SOON).unwrap().unwrap_err();
        assert!(matches!(error, TaskError::PoolClosed { .. }), "{error}");
    }
}

/// `close` waits for nobody; all is done nevertheless, and then the workers end by themselves.
fn shutdown_no_wait() {
    let (pool, gate) = (pool(4), gate());
    let workers = workers_of(&pool);
    let held = pool.apply_async(hold, (1, gate.clone()));
    let waiting = pool.map_async(sqr, 0..100);
    pool.close();
    assert!(!held.is_ready());
    gate.set().unwrap();
    assert!(workers.iter().all(Stranger::ends_soon));
    assert_eq!((held.get().unwrap(), waiting.get().unwrap()), (1, squares(0..100)));
    wait_until("nobody is left", || children().is_empty() && pool.worker_pids().is_empty());
}
