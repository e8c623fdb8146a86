//! What the workers of a pool keep, know and may use, when others take their place, and how they end.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use procession::pool::{Builder, Pin, Progress};
use procession::prelude::*;
use procession::{Error, ErrorKind, cpu_count, current_task, current_worker};
use procession_sys::surroundings;
use procession_tests::{SOON, wait_until, watchdog};

procession::test_support!();

const SHORT: Duration = Duration::from_millis(100);

fn of(workers: usize) -> Builder {
    Pool::builder().workers(NonZeroUsize::new(workers).unwrap())
}

fn pool(workers: usize) -> Pool {
    of(workers).build().unwrap()
}

fn forever(item: u32) -> u32 {
    loop {
        std::hint::black_box(item);
    }
}

fn die() {
    std::process::abort()
}

fn pid(_item: u32) -> u32 {
    std::process::id()
}

/// Waits in the worker until it is released.
fn hold(item: u32, gate: Event) -> u32 {
    gate.wait().unwrap();
    item
}

/// Is nothing that could be sent.
#[derive(Debug)]
struct Counter {
    first: u64,
    counted: std::cell::Cell<u64>,
}

fn counter(first: u64) -> Result<Counter, String> {
    match first {
        666 => Err("no such counter".into()),
        _ => Ok(Counter { first, counted: 0.into() }),
    }
}

fn count(counter: &mut Counter, by: u64) -> u64 {
    assert_ne!(by, 13, "thirteen");
    counter.counted.set(counter.counted.get() + by);
    counter.first + counter.counted.get()
}

#[test]
fn tasks_have_what_their_worker_keeps() {
    let _dog = watchdog(60);
    let pool = Pool::builder().init(counter, (100,)).unwrap().workers(NonZeroUsize::MIN);
    let pool = pool.exit(|counter: Counter| counter.counted.get()).unwrap().build().unwrap();
    assert_eq!(pool.map(count, [1, 2, 3]).unwrap(), [101, 103, 106]);
    assert_eq!(pool.apply(count, 4).unwrap(), 110);
    assert_eq!(pool.imap(count, [1, 1]).map(Result::unwrap).collect::<Vec<_>>(), [111, 112]);
    assert_eq!(pool.imap_unordered(count, [1]).next().unwrap().unwrap(), 113);
    assert_eq!(pool.apply_async(count, 1).get().unwrap(), 114);
    assert_eq!(pool.map_async(count, [1]).get().unwrap(), [115]);
    let late = pool.tasks_by(|tasks| tasks.timeout(SOON)).apply(count, 1);
    assert_eq!(late.unwrap(), 116);
    // Others do without.
    assert_eq!(pool.pool().apply(|x: u32| x + 1, (1,)).unwrap(), 2);
    assert_eq!(pool.exit_values().unwrap(), [16]);
}

#[test]
fn what_a_worker_keeps_is_made_anew_when_a_task_panics() {
    let _dog = watchdog(60);
    let pool = Pool::builder().init(counter, (0,)).unwrap().workers(NonZeroUsize::MIN);
    let pool = pool.exit(|counter: Counter| counter.counted.get()).unwrap().build().unwrap();
    let results = pool.try_map(count, [1, 2, 13, 4, 5]);
    let numbers: Vec<_> = results.iter().map(|result| result.as_ref().ok()).collect();
    assert_eq!(numbers, [Some(&1), Some(&3), None, Some(&4), Some(&9)]);
    assert!(matches!(results[2], Err(TaskError::Panicked { index: 2, .. })), "{results:?}");
    assert_eq!(pool.exit_values().unwrap(), [9]);
}

#[test]
fn each_worker_keeps_its_own_and_leaves_it_when_it_ends_in_order() {
    let _dog = watchdog(60);
    let pool = Pool::builder()
        .init(|| Ok::<_, String>(HashMap::<u32, u32>::new()), ())
        .unwrap()
        .exit(|seen| (std::process::id(), seen.len()))
        .unwrap()
        .with(|pool| pool.tasks_per_worker(NonZeroUsize::new(10).unwrap()))
        .workers(NonZeroUsize::new(2).unwrap())
        .build()
        .unwrap();
    let sizes = pool.map(
        |seen, x: u32| {
            seen.insert(x, x);
            seen.len()
        },
        0..95,
    );
    assert!(sizes.unwrap().iter().all(|size| (1..=10).contains(size)));
    let mut left = pool.exit_values().unwrap();
    assert_eq!(left.iter().map(|(_, seen)| seen).sum::<usize>(), 95);
    assert!(left.len() >= 10, "{left:?}");
    left.dedup_by_key(|(pid, _)| *pid);
    assert!(left.iter().all(|(_, seen)| *seen <= 10), "{left:?}");
}

#[test]
fn a_killed_worker_leaves_nothing_and_the_next_makes_its_own() {
    let _dog = watchdog(60);
    let pool = Pool::builder().init(counter, (0,)).unwrap().workers(NonZeroUsize::MIN);
    let pool = pool.exit(|counter: Counter| counter.counted.get()).unwrap().build().unwrap();
    assert_eq!(pool.apply(count, 5).unwrap(), 5);
    let died = pool.apply(|_: &mut Counter, (): ()| die(), ());
    assert!(matches!(died, Err(TaskError::WorkerDied { .. })), "{died:?}");
    assert_eq!(pool.apply(count, 7).unwrap(), 7);
    assert_eq!(pool.exit_values().unwrap(), [7]);
}

#[test]
fn what_cannot_be_kept_breaks_the_pool_with_its_reason() {
    let _dog = watchdog(60);
    let pool = Pool::builder().init(counter, (666,)).unwrap().workers(NonZeroUsize::MIN);
    let error = pool.build().unwrap().apply(count, 1).unwrap_err();
    assert!(matches!(error, TaskError::PoolBroken { .. }), "{error}");
    let text = format!("{:?}", Error::from(error));
    assert!(text.contains("no such counter"), "{text}");
}

#[test]
fn a_task_knows_which_one_it_is() {
    let _dog = watchdog(60);
    let pool = pool(2);
    assert!(current_task().is_none());
    let known = pool.map(|_: String| current_task().unwrap().index(), vec![String::new(); 1000]);
    assert!(known.unwrap().into_iter().eq(0..1000));
    let words = pool.map(|x: u64| current_task().unwrap().index() as u64 - x, 0..1000).unwrap();
    assert!(words.iter().all(|difference| *difference == 0));
    let is_here = pool.apply(|| current_task().map(|task| task.worker()) == current_worker(), ());
    assert!(is_here.unwrap());
    let attempts = pool.tasks().attempts(3).backoff(Duration::from_millis(1)).try_map(
        |x: u32| {
            let attempt = current_task().unwrap().attempt();
            if attempt < x {
                std::process::abort();
            }
            attempt
        },
        0..3,
    );
    let attempts: Vec<u32> = attempts.into_iter().map(Result::unwrap).collect();
    assert_eq!(attempts, [0, 1, 2]);
}

#[test]
fn a_task_that_heeds_its_notice_keeps_its_worker() {
    let _dog = watchdog(60);
    let pool = pool(1);
    let before = pool.worker_pids();
    let heed = |x: u32| {
        while !current_task().unwrap().is_cancelled() {
            std::hint::spin_loop();
        }
        x
    };
    let patient = pool.tasks().timeout(SHORT).notice(SOON);
    assert_eq!(patient.apply(heed, (7,)).unwrap(), 7, "what it returns counts");
    assert_eq!(patient.map(heed, [1, 2]).unwrap(), [1, 2]);
    let cancelled = pool.tasks().notice(SOON).apply_async(heed, (8,));
    wait_until("it runs", || pool.stats().workers[0].task.is_some());
    cancelled.cancel();
    assert_eq!(cancelled.get().unwrap(), 8);
    assert_eq!(pool.apply(pid, (0,)).unwrap(), before[0]);
    let stubborn = pool.tasks().timeout(SHORT).notice(SHORT).apply(forever, (9,));
    assert!(matches!(stubborn, Err(TaskError::TimedOut { .. })), "{stubborn:?}");
    assert_ne!(pool.apply(pid, (0,)).unwrap(), before[0]);
}

#[test]
fn a_task_says_how_far_it_is() {
    let _dog = watchdog(60);
    let (pool, gate) = (pool(1), Event::new().unwrap());
    let told = pool.apply_async(
        |gate: Event| {
            current_task().unwrap().report_progress(3, 8);
            gate.wait().unwrap();
        },
        (gate.clone(),),
    );
    wait_until("it has said so", || told.progress().is_some());
    assert_eq!(told.progress(), Some(Progress { done: 3, total: 8 }));
    let stats = pool.stats();
    assert_eq!(stats.workers[0].task.as_ref().unwrap().progress, told.progress());
    gate.set().unwrap();
    told.wait();
    assert_eq!(told.progress(), None);
}

#[test]
fn the_pool_counts_what_is_done() {
    let _dog = watchdog(60);
    let (pool, gate) = (pool(2), Event::new().unwrap());
    pool.map(|x: u64| x, 0..10_000).unwrap();
    pool.try_map(|x: String| assert_ne!(x, "3"), (0..10).map(|x| x.to_string()));
    let before = pool.stats();
    assert_eq!((before.tasks, before.started, before.died), (10_010, 2, 0));
    assert!(before.busy > Duration::ZERO && before.chunks >= 2, "{before}");
    assert!(before.bytes_in >= 80_000 && before.bytes_out >= 80_000, "{before}");
    assert!(before.workers.iter().all(|worker| worker.startup.is_some()));
    assert!(before.workers.iter().all(|worker| worker.resident > Some(0)));
    let held = pool.map_async(|x: u32| x, [1]);
    held.wait();
    let held = pool.starmap_async(hold, (0..9).map(|x| (x, gate.clone())));
    wait_until("both run", || pool.stats().workers.iter().all(|worker| worker.task.is_some()));
    let stats = pool.stats();
    assert_eq!(stats.waiting, 7, "{stats}");
    gate.set().unwrap();
    held.wait();
    assert!(pool.apply(die, ()).is_err());
    wait_until("it is counted", || pool.stats().died == 1);
    let between = pool.stats().since(&before);
    assert_eq!((between.tasks, between.died), (10, 1), "{between}");
}

#[test]
fn a_timeline_has_what_ran_and_when() {
    let _dog = watchdog(60);
    let pool = pool(2);
    pool.map(|x: u64| x, 0..100).unwrap();
    pool.record();
    pool.map(|x: u64| x + 1, 0..10_000).unwrap();
    pool.apply(|x: String| x, ("a".into(),)).unwrap();
    drop(pool.apply(|x: u32| assert_eq!(x, 0, "no"), (1,)));
    let timeline = pool.timeline();
    assert!(timeline.len() >= 4 && timeline.dropped() == 0, "{timeline:?}");
    let mut json = Vec::new();
    timeline.write(&mut json).unwrap();
    let json = String::from_utf8(json).unwrap();
    assert!(json.contains("pool_workers::a_timeline_has_what_ran_and_when::{{closure}}"), "{json}");
    pool.map(|x: u64| x, 0..100).unwrap();
    assert!(pool.timeline().is_empty(), "it is over");
}

#[test]
fn another_worker_takes_the_place_of_one_with_too_much_memory() {
    let _dog = watchdog(60);
    let pool = of(1).memory_per_worker(64 << 20).build().unwrap();
    let keep = |bytes: usize| {
        std::hint::black_box(vec![1_u8; bytes].leak());
        std::process::id()
    };
    let small = pool.apply(keep, (1 << 20,)).unwrap();
    assert_eq!(pool.apply(keep, (1 << 20,)).unwrap(), small);
    // It looks at its memory every five milliseconds.
    let start = Instant::now();
    while pool.apply(keep, (80 << 20,)).unwrap() == small {
        assert!(start.elapsed() < SOON);
    }
    assert_eq!(pool.workers(), 1);
    wait_until("the first has gone", || pool.worker_pids().len() == 1);
    assert_eq!(pool.stats().died, 0);
}

#[test]
fn another_worker_takes_the_place_of_an_old_one_without_a_gap() {
    let _dog = watchdog(60);
    let pool = of(2).age_per_worker(SHORT).build().unwrap();
    let first = pool.worker_pids();
    let start = Instant::now();
    let mut seats = 0;
    while start.elapsed() < 10 * SHORT {
        let stats = pool.stats();
        let ready = stats.workers.iter().filter(|worker| worker.startup.is_some()).count();
        assert!(ready >= 2 || start.elapsed() < SHORT, "{stats}");
        seats = seats.max(stats.workers.len());
        assert_eq!(pool.apply(|x: u32| x + 1, (1,)).unwrap(), 2);
    }
    let stats = pool.stats();
    assert!(stats.started >= 4 && stats.died == 0, "{stats}");
    assert!((3..=4).contains(&seats), "{seats}");
    assert!(pool.worker_pids().iter().all(|pid| !first.contains(pid)));
}

#[test]
fn workers_are_bound_to_processors() {
    let _dog = watchdog(60);
    let usable = surroundings::affinity().unwrap();
    let bound = |pool: &Pool| {
        let of = |_: u32| (current_worker().unwrap(), surroundings::affinity().unwrap());
        let mut seen = HashMap::new();
        while seen.len() < pool.workers() {
            seen.extend(pool.map(of, 0..100).unwrap());
        }
        seen
    };
    let spread = bound(&of(2).pin(Pin::Spread).build().unwrap());
    for (seat, processors) in spread {
        assert_eq!(processors, [usable[seat % usable.len()]]);
    }
    let last = *usable.last().unwrap();
    let sets = bound(&of(2).pin(Pin::Sets(vec![vec![last]])).build().unwrap());
    assert!(sets.values().all(|processors| *processors == [last]), "{sets:?}");
}

#[test]
fn libraries_are_told_how_many_threads_to_start() {
    let _dog = watchdog(60);
    let seen = |pool: &Pool| pool.apply(|| std::env::var("OMP_NUM_THREADS").ok(), ()).unwrap();
    let share = (cpu_count().unwrap().get() / 2).max(1).to_string();
    assert_eq!(seen(&pool(2)), Some(share));
    let three = of(1).threads_per_worker(NonZeroUsize::new(3).unwrap()).build().unwrap();
    assert_eq!(seen(&three).as_deref(), Some("3"));
}

#[test]
fn pools_in_pools_share_the_processors() {
    let _dog = watchdog(60);
    let processors = cpu_count().unwrap().get();
    let inner = |_: u32| Pool::new().unwrap().workers();
    let outer = pool(processors);
    assert_eq!(outer.apply(inner, (0,)).unwrap(), 1, "there is none left");
    let outer = pool(1);
    assert_eq!(outer.apply(inner, (0,)).unwrap(), processors, "the others are free");
    assert_eq!(outer.apply(inner, (0,)).unwrap(), processors, "and are again");
    let innermost = |_: u32| Pool::new().unwrap().apply(|| Pool::new().unwrap().workers(), ());
    assert_eq!(outer.apply(innermost, (0,)).unwrap().unwrap(), 1);
    // Those of a worker that died are free again.
    let died = outer.apply(
        |_: u32| {
            let _pool = Pool::new().unwrap();
            die();
        },
        (0,),
    );
    assert!(died.is_err());
    assert_eq!(outer.apply(inner, (0,)).unwrap(), processors);
    let said = outer.apply(|_: u32| of(3).build().unwrap().workers(), (0,));
    assert_eq!(said.unwrap(), 3, "who says how many gets them");
}

#[test]
fn what_a_worker_wrote_last_is_told_with_its_death() {
    let _dog = watchdog(60);
    let pool = of(1).capture_stderr().build().unwrap();
    let say = |text: String| {
        eprint!("{text}");
        die();
    };
    let error = |text: &str| {
        let died: Result<(), _> = pool.apply(say, (text.into(),));
        match died {
            Err(TaskError::WorkerDied { stderr, ran_for, .. }) => (stderr.unwrap(), ran_for),
            other => panic!("{other:?}"),
        }
    };
    let (stderr, ran_for) = error("out of luck\n");
    assert_eq!(stderr, "out of luck\n");
    assert!(ran_for.unwrap() < SOON);
    assert_eq!(error("").0, "", "each has its own");
    let long = "\u{e4}".repeat(40_000);
    let (stderr, _) = error(&long);
    assert_eq!(stderr, "\u{e4}".repeat(2048));
}

#[test]
fn how_much_memory_a_worker_had_is_told_with_its_death() {
    let _dog = watchdog(60);
    for method in [StartMethod::ForkServer, StartMethod::Spawn] {
        let pool = of(1).context(Context::new(method)).build().unwrap();
        let peak = |bytes: usize| {
            let died: Result<(), _> = pool.apply(
                |bytes: usize| {
                    std::hint::black_box(vec![1_u8; bytes]);
                    die();
                },
                (bytes,),
            );
            died.unwrap_err().death().unwrap().peak_memory.unwrap()
        };
        let (little, much) = (peak(1), peak(100 << 20));
        assert!(little < 50 << 20 && much >= 100 << 20, "{little} {much}");
    }
}

#[test]
fn no_further_item_is_taken_after_so_many_failures() {
    let _dog = watchdog(60);
    let pool = pool(2);
    let two = NonZeroUsize::new(2).unwrap();
    let bad = |x: u32| assert!(x % 5 != 4, "bad");
    let mut taken = 0;
    let items = (0..1_000_000).inspect(|_| taken += 1);
    let one = NonZeroUsize::MIN;
    let results = pool.tasks().chunk(one).window(two).stop_after(two).try_map(bad, items);
    assert_eq!(results.len(), taken, "each item that was taken has its result");
    assert!(taken < 1000, "{taken}");
    let panicked = results.iter().filter(|r| matches!(r, Err(TaskError::Panicked { .. }))).count();
    assert!(panicked >= 2, "{results:?}");
    let results: Vec<_> = pool.tasks().stop_after(one).imap(bad, 0..10_000).collect();
    let first = results.iter().position(Result::is_err).unwrap();
    assert!(results[..first].iter().all(Result::is_ok) && first <= 4, "{first}");
    assert!(pool.tasks().stop_after(two).try_map(|x: u32| x, 0..100).iter().all(Result::is_ok));
}

#[test]
fn what_has_not_begun_is_cancelled_when_the_pool_is_shut_down() {
    let _dog = watchdog(60);
    let (pool, gate) = (Arc::new(pool(1)), Event::new().unwrap());
    let running = pool.apply_async(hold, (1, gate.clone()));
    wait_until("it runs", || pool.stats().workers[0].task.is_some());
    let waiting = pool.apply_async(|x: u32| x, (2,));
    let many = pool.map_async(|x: u64| x, 0..1000);
    let shut = Arc::clone(&pool);
    let shutting = std::thread::spawn(move || shut.shutdown(true));
    assert!(matches!(waiting.get(), Err(TaskError::Cancelled { .. })));
    assert!(matches!(many.get(), Err(TaskError::Cancelled { .. })));
    assert!(!shutting.is_finished(), "what runs is waited for");
    gate.set().unwrap();
    assert_eq!(running.get().unwrap(), 1);
    shutting.join().unwrap();
    assert!(matches!(
        pool.apply(|x: u32| x, (1,)),
        Err(TaskError::Cancelled { .. } | TaskError::PoolClosed { .. })
    ));
    assert!(pool.worker_pids().is_empty());
}

#[test]
fn a_shut_down_without_cancelling_does_all_that_was_begun() {
    let _dog = watchdog(60);
    let pool = pool(2);
    let all = pool.map_async(|x: u64| x, 0..1000);
    pool.shutdown(false);
    assert!(all.get().unwrap().into_iter().eq(0..1000));
}

#[test]
fn all_workers_are_ended_at_once() {
    let _dog = watchdog(60);
    for end in [Pool::terminate_workers, Pool::kill_workers] {
        let pool = pool(2);
        let running = pool.map_async(forever, [1, 2, 3]);
        wait_until("both run", || pool.stats().workers.iter().all(|worker| worker.task.is_some()));
        end(&pool);
        assert!(pool.worker_pids().is_empty());
        assert!(matches!(running.get(), Err(TaskError::PoolClosed { .. })));
    }
}

#[test]
fn everybody_in_a_process_has_the_same_pool() {
    let _dog = watchdog(60);
    let (one, other) = (Pool::global().unwrap(), Pool::global().unwrap());
    assert!(Arc::ptr_eq(&one, &other));
    assert_eq!(one.workers(), cpu_count().unwrap().get());
    assert_eq!(other.map(|x: u32| x + 1, 0..3).unwrap(), [1, 2, 3]);
    one.close();
    let next = Pool::global().unwrap();
    assert!(!Arc::ptr_eq(&one, &next));
    assert_eq!(next.apply(|x: u32| x + 1, (1,)).unwrap(), 2);
    one.join().unwrap();
    let inner = next.apply(|| Pool::global().unwrap().apply(|x: u32| x + 1, (1,)), ());
    assert_eq!(inner.unwrap().unwrap(), 2);
}

#[test]
fn threads_have_a_pool_of_their_own() {
    let error = Context::new(StartMethod::Thread).pool().build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
