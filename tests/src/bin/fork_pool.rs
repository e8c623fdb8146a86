//! Pools whose workers are copies of this program. A program of its own, because a test harness has threads and cannot be forked.
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use procession::prelude::*;
use procession_sys::prim::{AtomicBool, AtomicU32, Ordering::SeqCst};
use procession_sys::signal;
use procession_tests::{Litter, Random, Stranger, run_row, templates, wait_until};

/// The large data that the program builds first.
static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
/// What is changed after the pool was made.
static LATER: AtomicU32 = AtomicU32::new(1);

/// 64 MiB.
const WORDS: u64 = 8 << 20;

fn pool(workers: usize) -> Pool {
    let fork = Context::new(StartMethod::Fork);
    fork.pool().workers(NonZeroUsize::new(workers).unwrap()).build().unwrap()
}

/// Calls it while this process has another thread.
fn beside_a_thread<T>(f: impl FnOnce() -> T) -> T {
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let other = thread::spawn(move || ended.recv().unwrap_err());
    let value = f();
    drop(end);
    other.join().unwrap();
    value
}

fn first_template() -> u32 {
    templates().first().copied().unwrap()
}

/// What the system counts of a process's memory, in KiB.
fn memory(pid: u32, what: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn sum(_: u32) -> (u64, u32, u32) {
    let sum = TABLE.get().unwrap().iter().sum();
    (sum, LATER.load(SeqCst), std::process::id())
}

fn a_worker_is_replaced_by_a_copy_of_the_same() {
    TABLE.set((0..WORDS).collect()).unwrap();
    let pool = pool(1);
    LATER.store(2, SeqCst);
    let mut seen = Vec::new();
    beside_a_thread(|| {
        for _ in 0..5 {
            let (sum, later, pid) = pool.apply(sum, (0,)).unwrap();
            assert_eq!((sum, later), (WORDS * (WORDS - 1) / 2, 1));
            assert!(!seen.contains(&pid));
            seen.push(pid);
            let (own, shared) = (memory(pid, "Private_Dirty:"), memory(pid, "Shared_Dirty:"));
            assert!(own < 4 << 10 && shared >= 64 << 10, "{own} KiB of its own, {shared} shared");
            assert!(Stranger::new(pid).signal(signal::KILL));
            wait_until("another sits there", || {
                let pids = pool.worker_pids();
                pids.len() == 1 && pids[0] != pid
            });
        }
    });
}

fn workers_are_replaced_after_their_tasks() {
    let fork = Context::new(StartMethod::Fork);
    let pool = fork.pool().workers(NonZeroUsize::MIN).tasks_per_worker(NonZeroUsize::MIN);
    let pool = pool.build().unwrap();
    LATER.store(2, SeqCst);
    let ask = |_: u32| (std::process::id(), LATER.load(SeqCst));
    let mut answers = beside_a_thread(|| pool.map(ask, 0..20).unwrap());
    assert!(answers.iter().all(|(_, later)| *later == 1));
    answers.sort_unstable();
    answers.dedup();
    assert_eq!(answers.len(), 20, "each was run by another one");
}

fn a_pool_whose_template_is_killed_says_so_when_it_needs_it() {
    let before = steady();
    let pool = pool(1);
    let template = Stranger::new(first_template());
    assert!(template.signal(signal::KILL) && template.ends_soon());
    assert_eq!(pool.map(|x: u32| x + 1, 0..3).unwrap(), [1, 2, 3], "nobody needs it");
    let stay = pool.apply_async(
        || -> u32 {
            loop {
                thread::park();
            }
        },
        (),
    );
    let worker = pool.worker_pids()[0];
    // It has begun the task when it is blamed for it.
    loop {
        if pool.worker_pids() != [worker] {
            break;
        }
        let _was_there = Stranger::new(worker).signal(signal::KILL);
    }
    let error = stay.get().unwrap_err();
    assert!(
        matches!(error, TaskError::WorkerDied { .. } | TaskError::PoolBroken { .. }),
        "{error}"
    );
    let error = pool.apply(|| 1, ()).unwrap_err();
    let TaskError::PoolBroken { error: cause, .. } = &error else { panic!("{error}") };
    let text = format!("the template (pid {}) was killed by SIGKILL", template.pid);
    assert!(cause.to_string().contains(&text), "{error}");
    drop((pool, template));
    wait_until("nothing is left", || Litter::now() == before && templates().is_empty());
}

/// What this process has once it has had a pool.
fn steady() -> Litter {
    let pool = pool(1);
    pool.apply(|| (), ()).unwrap();
    drop(pool);
    Litter::now()
}

fn no_time_to_kill_is_a_bad_one() {
    let before = steady();
    let mut random = Random::from_environment();
    let (mut done, mut died, mut broken) = (0, 0, 0);
    for round in 0..200 {
        let pool = pool(2);
        let at = Duration::from_micros(random.below(3000) as u64);
        let (both, which) = (random.below(8) == 0, random.below(2));
        let is_over = AtomicBool::new(false);
        let results = thread::scope(|scope| {
            let killer = || {
                let deadline = std::time::Instant::now() + at;
                while std::time::Instant::now() < deadline {
                    std::hint::spin_loop();
                }
                if both {
                    let _was_there = Stranger::new(first_template()).signal(signal::KILL);
                }
                while !is_over.load(SeqCst) {
                    let Some(pid) = pool.worker_pids().get(which).copied() else { break };
                    let _was_there = Stranger::new(pid).signal(signal::KILL);
                    if !both {
                        break;
                    }
                }
            };
            scope.spawn(killer);
            let results = pool.try_map(|x: u64| (0..x % 7 * 1000).sum::<u64>(), 0..300);
            is_over.store(true, SeqCst);
            results
        });
        assert_eq!(results.len(), 300);
        for result in results {
            match result {
                Ok(_) => done += 1,
                Err(TaskError::WorkerDied { .. }) => died += 1,
                Err(TaskError::PoolBroken { .. }) if both => broken += 1,
                Err(error) => panic!("round {round}: {error}"),
            }
        }
    }
    assert!(done > 0, "{died} died, {broken} broken");
    wait_until("nothing is left", || Litter::now() == before && templates().is_empty());
}

fn main() {
    procession::init();
    run_row(&[
        ("a_worker_is_replaced_by_a_copy_of_the_same", a_worker_is_replaced_by_a_copy_of_the_same),
        ("workers_are_replaced_after_their_tasks", workers_are_replaced_after_their_tasks),
        (
            "a_pool_whose_template_is_killed_says_so_when_it_needs_it",
            a_pool_whose_template_is_killed_says_so_when_it_needs_it,
        ),
        ("no_time_to_kill_is_a_bad_one", no_time_to_kill_is_a_bad_one),
    ]);
}
