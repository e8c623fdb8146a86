//! Pools of threads. What concerns forks runs in a helper program, because a test harness has threads and cannot be forked.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use procession::pool::ThreadResult;
use procession::{ErrorKind, TaskError, ThreadPool};
use procession_sys::prim::{AtomicBool, AtomicUsize, Condvar, Mutex, Ordering::SeqCst, lock};
use procession_tests::{Random, SOON, rows, wait_until, watchdog};

fn many(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

fn pool(workers: usize) -> ThreadPool {
    ThreadPool::builder().workers(many(workers)).build().unwrap()
}

fn square(x: u64) -> u64 {
    x * x
}

fn squares(count: u64) -> Vec<u64> {
    (0..count).map(square).collect()
}

fn count(number: &AtomicUsize) {
    number.fetch_add(1, SeqCst);
}

/// A door that tasks wait at.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    changed: Condvar,
    waiting: AtomicUsize,
}

impl Gate {
    fn pass(&self) {
        self.waiting.fetch_add(1, SeqCst);
        let open = lock(&self.is_open);
        drop(self.changed.wait_while(open, |open| !*open).unwrap());
    }

    fn open(&self) {
        *lock(&self.is_open) = true;
        self.changed.notify_all();
    }

    fn wait_for(&self, tasks: usize) {
        wait_until("so many tasks run", || self.waiting.load(SeqCst) >= tasks);
    }
}

fn gate() -> (Arc<Gate>, impl Fn(u64) -> u64 + Clone + Send + Sync + 'static) {
    let gate = Arc::new(Gate::default());
    let own = Arc::clone(&gate);
    let pass = move |x| {
        own.pass();
        x
    };
    (gate, pass)
}

/// CPython's `_TestPool` and `_TestPoolWorkerErrors`, for threads.
#[path = "thread_pool/python.rs"]
mod python;

/// How calls and pools end.
#[path = "thread_pool/ends.rs"]
mod ends;

#[test]
fn functions_capture_and_values_move() {
    let (_dog, pool) = (watchdog(60), pool(2));
    // Nothing of this could be encoded.
    let (tx, rx) = channel::<Box<dyn FnOnce() -> usize + Send>>();
    let tx = Mutex::new(tx);
    let words: Arc<[&str]> = Arc::from(["one", "three"]);
    let send = move |nth: usize| {
        let words = Arc::clone(&words);
        lock(&tx).send(Box::new(move || words[nth].len())).unwrap();
    };
    pool.map(send, 0..2).unwrap();
    let mut lengths: Vec<_> = rx.iter().map(|length| length()).collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [3, 5]);
}

#[test]
fn panics_fail_their_task_alone() {
    let (_dog, pool) = (watchdog(60), pool(2));
    let odd_fails = |x: usize| {
        assert!(x.is_multiple_of(2), "odd: {x}");
        x
    };
    for chunk in [1, 7, 100] {
        let results = pool.tasks().chunk(many(chunk)).try_map(odd_fails, 0..60);
        assert_eq!(results.len(), 60);
        for (x, result) in results.into_iter().enumerate() {
            match result {
                Ok(value) => assert_eq!((value, x % 2), (x, 0)),
                Err(TaskError::Panicked { index, panic }) => {
                    assert_eq!((index, x % 2), (x, 1));
                    assert_eq!(panic.message, format!("odd: {x}"));
                }
                Err(error) => panic!("{error}"),
            }
        }
        let error = pool.tasks().chunk(many(chunk)).map(odd_fails, 0..60).unwrap_err();
        assert!(error.index() % 2 == 1, "{error}");
        let results: Vec<_> = pool.tasks().chunk(many(chunk)).imap(odd_fails, 0..6).collect();
        let indexes: Vec<_> =
            results.iter().map(|one| one.as_ref().map_err(TaskError::index)).collect();
        assert_eq!(indexes, [Ok(&0), Err(1), Ok(&2), Err(3), Ok(&4), Err(5)]);
    }
    assert_eq!(pool.map(square, 0..3).unwrap(), [0, 1, 4], "no worker is gone");
}

#[test]
fn the_first_error_ends_a_map() {
    let (_dog, pool) = (watchdog(60), pool(2));
    let calls = Arc::new(AtomicUsize::new(0));
    let own = Arc::clone(&calls);
    let fails = move |x: usize| {
        own.fetch_add(1, SeqCst);
        assert_ne!(x, 3);
    };
    let error = pool.tasks().chunk(NonZeroUsize::MIN).map(fails, 0..).unwrap_err();
    assert_eq!(error.index(), 3);
    let seen = calls.load(SeqCst);
    pool.close();
    pool.join().unwrap();
    // What was begun at that moment.
    assert!(calls.load(SeqCst) <= seen + 2, "{} after {seen}", calls.load(SeqCst));
}

#[test]
fn an_input_is_taken_as_results_are_fetched() {
    let (_dog, pool) = (watchdog(60), pool(2));
    let taken = AtomicUsize::new(0);
    let input = || {
        taken.store(0, SeqCst);
        (0..).inspect(|_| count(&taken))
    };
    let mut unordered = pool.imap_unordered(square, input()).window(many(10));
    for fetched in 1..1000 {
        unordered.next().unwrap().unwrap();
        assert!(taken.load(SeqCst) <= fetched + 9 + 1, "{} of {fetched}", taken.load(SeqCst));
    }
    drop(unordered);
    let mut one_by_one = pool.imap(square, input()).window(many(1));
    for fetched in 1..100 {
        one_by_one.next().unwrap().unwrap();
        assert_eq!(taken.load(SeqCst), fetched);
    }
    drop(one_by_one);
    // Without end, and nobody says how much.
    let mut ordered = pool.imap(square, input());
    assert_eq!(ordered.nth(100_000).unwrap().unwrap(), square(100_000));
    drop(ordered);
    assert!(taken.load(SeqCst) < 100_000 + (1 << 20));
}

#[test]
fn a_straggler_does_not_let_results_pile_up() {
    let (_dog, pool) = (watchdog(60), pool(2));
    let (gate, pass) = gate();
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let input = (0..1000).inspect(move |_| count(&counted));
    let function = move |x| if x == 0 { pass(x) } else { x };
    let tasks = pool.tasks().chunk(NonZeroUsize::MIN).window(many(16));
    let mut results = tasks.imap(function, input);
    let error = results.next_timeout(Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(taken.load(SeqCst), 16);
    gate.open();
    let all: Vec<_> = results.map(Result::unwrap).collect();
    assert_eq!(all, (0..1000).collect::<Vec<_>>());
}

#[test]
fn results_come_although_those_behind_them_take_long() {
    let (_dog, pool) = (watchdog(60), pool(2));
    let (gate, pass) = gate();
    let function = move |x| if x < 1000 { x } else { pass(x) };
    let mut results = pool.tasks().chunk(NonZeroUsize::MIN).imap_unordered(function, 0..1100);
    let mut first: Vec<_> = results.by_ref().take(1000).map(Result::unwrap).collect();
    first.sort_unstable();
    assert!(first.into_iter().eq(0..1000), "fetched while the others wait");
    gate.open();
    assert_eq!(results.count(), 100);
}

#[test]
fn an_input_that_becomes_slow_has_its_items_run_meanwhile() {
    let (_dog, pool) = (watchdog(60), pool(2));
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let input = (0..20_100).inspect(move |x| {
        count(&counted);
        let begin = Instant::now();
        while *x >= 20_000 && begin.elapsed() < Duration::from_micros(300) {
            std::hint::spin_loop();
        }
    });
    let seen = pool.map(move |_: u64| taken.load(SeqCst), input).unwrap();
    assert!(seen[20_000] < 20_100, "it was run when {} had been taken", seen[20_000]);
}

#[test]
fn a_slow_input_does_not_hold_up_what_it_gave() {
    let (_dog, pool) = (watchdog(60), pool(2));
    let (to_input, from_task): (Sender<u64>, Receiver<u64>) = channel();
    // Each item but the first is what came of the one before.
    let input = std::iter::once(0).chain(from_task).take(50);
    let to_input = Mutex::new(to_input);
    let next = move |x| {
        // The input may have had enough.
        let _sent = lock(&to_input).send(x + 1);
        x
    };
    let all = pool.tasks().window(many(1)).imap(next, input);
    assert_eq!(all.map(Result::unwrap).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
}

#[test]
fn tasks_use_the_pool_that_they_run_in() {
    let _dog = watchdog(60);
    let pool = Arc::new(pool(1));
    let own = Arc::clone(&pool);
    let nested = move |x: u64| {
        let sum: u64 = own.map(square, 0..x).unwrap().iter().sum();
        let one = own.apply(square, (x,)).unwrap();
        let later = own.apply_async(square, (x,)).get().unwrap();
        let lazily: u64 = own.imap(square, 0..x).map(Result::unwrap).sum();
        let inner = Arc::clone(&own);
        let deep = own.apply(move || inner.map(square, 0..2).unwrap().len() as u64, ()).unwrap();
        own.join().unwrap_err();
        assert_eq!((one, later, lazily, deep), (x * x, x * x, sum, 2));
        sum
    };
    let sums = pool.map(nested, 0..20).unwrap();
    let expected: Vec<u64> = (0..20).map(|x| squares(x).iter().sum()).collect();
    assert_eq!(sums, expected);
}

#[test]
fn calls_share_the_workers() {
    let (_dog, pool) = (watchdog(60), pool(1));
    let (gate, pass) = gate();
    let done = Arc::new(AtomicUsize::new(0));
    let own = Arc::clone(&done);
    let count = move |x| {
        if x == 0 {
            pass(x);
        }
        own.fetch_add(1, SeqCst)
    };
    let long = pool.tasks().chunk(NonZeroUsize::MIN).map_async(count, 0..10_000);
    gate.wait_for(1);
    let seen = Arc::clone(&done);
    let short = pool.apply_async(move || seen.load(SeqCst), ());
    gate.open();
    let seen = short.get().unwrap();
    assert!(seen < 5, "it ran after {seen} of the others");
    assert_eq!(long.get().unwrap().len(), 10_000);
}

/// So many tasks run at once, and no more.
fn run_at_once(pool: &ThreadPool, most: usize) {
    let (gate, pass) = gate();
    let call = pool.tasks().chunk(NonZeroUsize::MIN).map_async(pass, 0..most as u64 + 3);
    gate.wait_for(most);
    assert!(!call.wait_timeout(Duration::from_millis(20)));
    assert_eq!(gate.waiting.load(SeqCst), most);
    gate.open();
    call.get().unwrap();
}

#[test]
fn pools_grow_and_shrink() {
    let (_dog, pool) = (watchdog(60), pool(2));
    for most in [2, 5, 1, 3] {
        pool.resize(many(most)).unwrap();
        assert_eq!(pool.workers(), most);
        // Those that are too many leave when they wake.
        wait_until("there are so many", || own_threads_of(&pool).len() <= most);
        run_at_once(&pool, most);
    }
    assert_eq!(pool.resize(many(1 << 20)).unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// The threads that run tasks when each waits for the others.
fn own_threads_of(pool: &ThreadPool) -> HashSet<ThreadId> {
    let calls: Vec<_> = (0..100).map(|_| pool.apply_async(|| thread::current().id(), ())).collect();
    calls.into_iter().map(|call| call.get().unwrap()).collect()
}

#[test]
fn workers_run_exactly_so_many_tasks() {
    let _dog = watchdog(60);
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&begun);
    let pool = ThreadPool::builder().workers(many(2)).tasks_per_worker(many(3));
    let pool = pool.initializer(move || count(&counted)).build().unwrap();
    let threads = pool.map(|_: u64| thread::current().id(), 0..300).unwrap();
    let mut counts = BTreeMap::<String, usize>::new();
    for thread in threads {
        *counts.entry(format!("{thread:?}")).or_default() += 1;
    }
    assert!(counts.values().all(|count| *count <= 3), "{counts:?}");
    assert!(counts.len() >= 100, "{counts:?}");
    pool.close();
    pool.join().unwrap();
    assert!(begun.load(SeqCst) >= counts.len());
}

#[test]
fn an_initializer_runs_in_each_worker_before_its_tasks() {
    let _dog = watchdog(60);
    thread_local!(static READY: AtomicBool = const { AtomicBool::new(false) });
    let (gate, pass) = gate();
    let pool = ThreadPool::builder().workers(many(3));
    let pool = pool.initializer(|| READY.with(|ready| ready.store(true, SeqCst))).build().unwrap();
    let is_ready = move |x| {
        pass(x);
        READY.with(|ready| ready.load(SeqCst))
    };
    let call = pool.tasks().chunk(NonZeroUsize::MIN).map_async(is_ready, 0..3);
    gate.wait_for(3);
    gate.open();
    assert_eq!(call.get().unwrap(), [true; 3]);
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn results_are_futures() {
    let (_dog, pool) = (watchdog(60), pool(1));
    let (gate, pass) = gate();
    let mut call = pin!(pool.apply_async(pass, (5,)));
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&flag));
    let mut context = Context::from_waker(&waker);
    assert!(call.as_mut().poll(&mut context).is_pending());
    gate.open();
    wait_until("it is woken", || flag.0.load(SeqCst));
    let Poll::Ready(value) = call.as_mut().poll(&mut context) else { panic!("it is ready") };
    assert_eq!(value.unwrap(), 5);
}

#[test]
fn callbacks_may_use_the_pool_and_panic() {
    let _dog = watchdog(60);
    let pool = Arc::new(pool(1));
    let (tx, rx) = channel();
    for when in [0, 1] {
        let (own, tx) = (Arc::clone(&pool), tx.clone());
        let call = pool.apply_async(|| 2, ());
        if when == 1 {
            call.wait();
        }
        let call = call.on_done(|_| panic!("said and forgotten"));
        let call = call.on_done(move |result: &Result<u64, _>| {
            let x = *result.as_ref().unwrap();
            tx.send(own.apply(square, (x,)).unwrap()).unwrap();
        });
        assert!(call.is_successful().unwrap_or(true));
        assert_eq!(call.get().unwrap(), 2);
        assert_eq!(rx.try_recv().unwrap(), 4);
    }
}

/// Panics when it is dropped, in a thread that is not panicking.
#[derive(Debug)]
struct Bomb(Arc<AtomicUsize>);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
        assert!(thread::panicking(), "a bomb");
    }
}

#[test]
fn values_that_panic_when_they_are_dropped_harm_nobody() {
    let (_dog, pool) = (watchdog(60), pool(2));
    let dropped = Arc::new(AtomicUsize::new(0));
    let (gate, pass) = gate();
    let own = Arc::clone(&dropped);
    let bombs = move |x| {
        pass(x);
        Bomb(Arc::clone(&own))
    };
    let tasks = pool.tasks().chunk(NonZeroUsize::MIN).window(many(2));
    let mut results = tasks.imap_unordered(bombs, 0..2);
    results.next_timeout(Duration::from_millis(1)).unwrap_err();
    gate.wait_for(2);
    // Nobody wants them any more: workers drop them.
    drop(results);
    gate.open();
    wait_until("both are dropped", || dropped.load(SeqCst) == 2);
    run_at_once(&pool, 2);
}

/// Uses the pool when it is dropped, and panics.
struct Last(Weak<ThreadPool>, Arc<AtomicUsize>);

impl Drop for Last {
    fn drop(&mut self) {
        if let Some(pool) = self.0.upgrade() {
            pool.apply(|| (), ()).unwrap();
        }
        self.1.fetch_add(1, SeqCst);
        assert!(thread::panicking(), "a bomb");
    }
}

#[test]
fn functions_are_dropped_where_nothing_is_locked() {
    let _dog = watchdog(60);
    let (pool, dropped) = (Arc::new(pool(2)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..100 {
        let last = Last(Arc::downgrade(&pool), Arc::clone(&dropped));
        let look = move |_: u64| drop(last.0.upgrade());
        let call = pool.tasks().chunk(NonZeroUsize::MIN).map_async(look, 0..3);
        // Whoever is the last to have it drops the function: the pool mostly, but it may be done already.
        drop(catch_unwind(AssertUnwindSafe(|| drop(call))));
    }
    wait_until("all are dropped", || dropped.load(SeqCst) == 100);
    run_at_once(&pool, 2);
}

#[test]
fn what_is_dropped_unfetched_is_dropped_once() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let (_dog, pool) = (watchdog(60), pool(2));
    let (made, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for fetched in [0, 1, 100] {
        let (count, own) = (Arc::clone(&made), Arc::clone(&dropped));
        let input = (0..1000).map(move |_| {
            count.fetch_add(1, SeqCst);
            Counted(Arc::clone(&own))
        });
        let mut results = pool.imap_unordered(|item: Counted| item, input);
        results.by_ref().take(fetched).for_each(|one| drop(one.unwrap()));
        drop(results);
        wait_until("all are dropped", || dropped.load(SeqCst) == made.load(SeqCst));
    }
    assert!(made.load(SeqCst) >= 101);
}

#[test]
fn any_number_of_threads_use_a_pool() {
    let (_dog, pool) = (watchdog(120), pool(3));
    let random = Mutex::new(Random::from_environment());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let (what, count) = {
                        let mut random = lock(&random);
                        (random.below(6), random.below(300))
                    };
                    let workers = many(1 + count % 4);
                    let count = count as u64;
                    let expected = squares(count);
                    match what {
                        0 => assert_eq!(pool.map(square, 0..count).unwrap(), expected),
                        1 => assert_eq!(pool.map_async(square, 0..count).get().unwrap(), expected),
                        2 => assert!(pool.imap(square, 0..count).map(Result::unwrap).eq(expected)),
                        3 => {
                            let all = pool.imap_unordered(square, 0..count).map(Result::unwrap);
                            assert_eq!(
                                all.collect::<BTreeSet<_>>(),
                                expected.into_iter().collect()
                            );
                        }
                        4 => assert_eq!(pool.apply(square, (count,)).unwrap(), count * count),
                        _ => pool.resize(workers).unwrap(),
                    }
                }
            });
        }
    });
}

/// What concerns forks and names, in a program of its own.
mod elsewhere {
    use super::*;

    #[track_caller]
    fn holds(row: &str) {
        rows::holds(env!("CARGO_BIN_EXE_thread_pool"), row, &rows::FORKED);
    }

    #[test]
    fn workers_stand_still_while_the_process_forks() {
        holds("workers_stand_still_while_the_process_forks");
    }

    #[test]
    fn a_forked_child_cannot_use_it() {
        holds("a_forked_child_cannot_use_it");
    }

    #[test]
    fn a_task_that_runs_is_named_to_who_forks() {
        holds("a_task_that_runs_is_named_to_who_forks");
    }

    #[test]
    fn workers_have_names_and_the_signals_of_their_maker() {
        holds("workers_have_names_and_the_signals_of_their_maker");
    }

    #[test]
    fn a_program_ends_while_tasks_run() {
        holds("a_program_ends_while_tasks_run");
    }
}
