//! Pools: every item resolves once, as a value or as what befell it, whatever happens to workers.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::collections::BTreeSet;
use std::fs::DirEntry;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use procession::prelude::*;
use procession::{Error, ErrorKind};
use procession_sys::prim::{AtomicUsize, Ordering};
use procession_sys::signal;
use procession_tests::{SOON, Stranger, wait_until, watchdog};
use serde::{Deserialize, Serialize, Serializer, ser};

procession::test_support!();

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(NonZeroUsize::new(workers).unwrap()).build().unwrap()
}

fn spin(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}

#[test]
fn map_keeps_the_order_and_takes_any_number_of_items() {
    let _dog = watchdog(60);
    let pool = pool(3);
    for count in [0, 1, 2, 7, 5000] {
        let squares = pool.map(|x: u64| x * x, 0..count).unwrap();
        assert!(squares.into_iter().eq((0..count).map(|x| x * x)), "{count}");
    }
    let lengths = pool.map(|text| text.len(), ["a", "bcd"].map(String::from)).unwrap();
    assert_eq!(lengths, [1, 3]);
}

#[test]
fn map_ends_with_the_first_error_and_starts_nothing_more() {
    let _dog = watchdog(60);
    let pool = pool(2);
    // There is no end to the input: what is not needed is not taken.
    let error = pool.map(|x: u32| assert_ne!(x, 50), 0..).unwrap_err();
    assert_eq!(error.index(), 50);
    assert!(matches!(error, TaskError::Panicked { .. }), "{error}");
    assert_eq!(pool.map(|x: u8| x, 0..3).unwrap(), [0, 1, 2], "and the pool goes on");
}

#[test]
fn panics_cost_no_process() {
    let _dog = watchdog(60);
    let pool = pool(1);
    let results = pool.try_map(
        |x: u32| {
            assert!(!x.is_multiple_of(3), "three divides {x}");
            std::process::id()
        },
        0..9,
    );
    let workers: BTreeSet<_> = results.iter().flatten().collect();
    assert_eq!(workers.len(), 1);
    for (index, result) in results.iter().enumerate() {
        match result {
            Ok(_) => assert_ne!(index % 3, 0),
            Err(TaskError::Panicked { index: at, panic }) => {
                assert_eq!((*at, &panic.message), (index, &format!("three divides {index}")));
                assert!(panic.location.contains("pool.rs"), "{}", panic.location);
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[expect(unconditional_recursion, reason = "that is the test")]
fn overflow(depth: u64) -> u64 {
    std::hint::black_box(overflow(std::hint::black_box(depth + 1)) + 1)
}

/// Dies in the way asked for, or returns.
#[expect(clippy::exit, reason = "that is the test")]
fn die(way: &str) -> u64 {
    let raise = |number| {
        let own = procession_sys::pidfd::open(std::process::id()).unwrap();
        // More than once: the first SIGSEGV only takes Rust's handler for stack overflows away.
        loop {
            procession_sys::pidfd::signal(&own, number).unwrap();
        }
    };
    match way {
        "kill" => raise(signal::KILL),
        "terminate" => raise(signal::TERMINATE),
        "segment" => raise(signal::SEGMENT),
        "abort" => std::process::abort(),
        "exit" => std::process::exit(3),
        "exit well" => std::process::exit(0),
        "overflow" => overflow(0),
        _ => 7,
    }
}

#[test]
fn a_worker_that_dies_fails_its_task_alone_with_pid_and_signal() {
    let _dog = watchdog(120);
    let pool = pool(2);
    let signaled = |signal| ExitStatus::Signaled { signal, core_dumped: false };
    for (way, expected) in [
        ("kill", signaled(signal::KILL)),
        ("terminate", signaled(signal::TERMINATE)),
        ("segment", signaled(signal::SEGMENT)),
        ("abort", signaled(signal::ABORT)),
        ("overflow", signaled(signal::ABORT)),
        ("exit", ExitStatus::Exited(3)),
        ("exit well", ExitStatus::Exited(0)),
    ] {
        wait_until("all seats are taken", || pool.worker_pids().len() == 2);
        let before = pool.worker_pids();
        let items = (0..20).map(|i| if i == 8 { way } else { "live" }.to_owned());
        let mut results = pool.try_map(|way: String| die(&way), items);
        let error = results.remove(8).unwrap_err();
        let TaskError::WorkerDied { index: 8, ref death, .. } = error else {
            panic!("{way}: {error}")
        };
        // Whether a core is written is the machine's business.
        let status = match death.status {
            ExitStatus::Signaled { signal, .. } => signaled(signal),
            other => other,
        };
        assert_eq!(status, expected, "{way}");
        assert!(before.contains(&death.pid), "{way}: {death:?} is none of {before:?}");
        assert!(results.iter().all(|result| *result.as_ref().unwrap() == 7), "{way}");
        assert_eq!(Error::from(error).kind(), ErrorKind::Died);
    }
}

#[derive(Serialize, Deserialize)]
struct Big(Vec<u8>);

struct Unsendable;

impl Serialize for Unsendable {
    fn serialize<S: Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("not sendable"))
    }
}

impl<'de> Deserialize<'de> for Unsendable {
    fn deserialize<D: serde::Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("not readable"))
    }
}

#[test]
fn what_cannot_be_sent_fails_its_own_task() {
    let _dog = watchdog(60);
    let pool = pool(2);
    let items = [Some(Unsendable), None, Some(Unsendable), None];
    let results = pool.try_map(|item: Option<Unsendable>| item.is_none(), items);
    assert!(matches!(results[0], Err(TaskError::NotCalled { index: 0, .. })));
    assert!(matches!(results[1], Ok(true)));
    assert!(matches!(results[2], Err(TaskError::NotCalled { index: 2, .. })));
    let results = pool.try_map(|x: u8| if x == 1 { Some(Unsendable) } else { None }, 0..3);
    assert!(matches!(results[1], Err(TaskError::Value { index: 1, .. })));
    assert!(results[0].is_ok() && results[2].is_ok());
    assert!(matches!(
        pool.apply(|_: Unsendable| (), (Unsendable,)),
        Err(TaskError::NotCalled { index: 0, .. })
    ));
}

#[test]
fn large_items_and_values_pass() {
    let _dog = watchdog(60);
    let pool = pool(2);
    let items = (0..6u8).map(|i| Big(vec![i; 3 << 20]));
    for (index, Big(bytes)) in pool.map(|big: Big| big, items).unwrap().into_iter().enumerate() {
        assert!(bytes.len() == 3 << 20 && bytes.iter().all(|byte| usize::from(*byte) == index));
    }
}

#[test]
fn pipes_travel_in_items_and_values() {
    let _dog = watchdog(60);
    let pool = pool(2);
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..20).map(|_| pipe::<u32>().unwrap()).unzip();
    let numbered = senders.into_iter().zip(0u32..);
    let back = pool.map(|(tx, x): (Sender<u32>, u32)| tx.send(x).map(|()| tx), numbered).unwrap();
    for ((receiver, sender), x) in receivers.iter().zip(back).zip(0u32..) {
        assert_eq!(receiver.recv_timeout(SOON).unwrap(), x);
        sender.unwrap().send(x + 100).unwrap();
        assert_eq!(receiver.recv_timeout(SOON).unwrap(), x + 100);
        // The worker may be about to drop its copy.
        let ended = receiver.recv_timeout(SOON);
        assert!(matches!(ended, Err(procession::RecvTimeoutError::Closed)));
    }
}

#[test]
fn imap_is_lazy_ordered_and_bounded_behind_a_straggler() {
    let _dog = watchdog(60);
    let pool = pool(2);
    let taken = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&taken);
    let (tx, rx) = pipe::<()>().unwrap();
    let mut gate = Some(rx);
    let items = (0u32..).map(move |x| {
        counting.fetch_add(1, Ordering::Relaxed);
        (x, gate.take())
    });
    let slow_first = |(x, gate): (u32, Option<Receiver<()>>)| {
        if let Some(gate) = gate {
            gate.recv().unwrap();
        }
        x
    };
    let window = NonZeroUsize::new(10).unwrap();
    let mut results = pool.imap(slow_first, items).window(window);
    assert_eq!(taken.load(Ordering::Relaxed), 0, "nothing happens before it is asked for");
    thread::scope(|scope| {
        scope.spawn(|| {
            // The first item is stuck; the others run ahead of it until the window is full, and no further.
            wait_until("the window is full", || taken.load(Ordering::Relaxed) >= 10);
            tx.send(()).unwrap();
        });
        assert_eq!(results.next().unwrap().unwrap(), 0);
    });
    let ahead = taken.load(Ordering::Relaxed);
    assert!(ahead <= 11, "{ahead} items were taken for a window of 10");
    for x in 1..100 {
        assert_eq!(results.next().unwrap().unwrap(), x);
    }
    assert!(taken.load(Ordering::Relaxed) <= 111);
}

#[test]
fn streams_end_and_say_how_much_is_left() {
    let _dog = watchdog(60);
    let pool = pool(2);
    let mut results = pool.imap_unordered(|x: u32| x, 0..10);
    assert_eq!(results.size_hint(), (10, Some(10)));
    let mut got: Vec<_> = results.by_ref().map(Result::unwrap).collect();
    got.sort_unstable();
    assert!(got.into_iter().eq(0..10));
    assert_eq!(results.size_hint(), (0, Some(0)));
    assert!(results.next().is_none());
    let chunk = NonZeroUsize::new(3).unwrap();
    let chunked: Vec<_> = pool.imap(|x: u32| x, 0..10).chunk(chunk).map(Result::unwrap).collect();
    assert!(chunked.into_iter().eq(0..10));
}

#[test]
fn calls_of_several_threads_share_the_workers() {
    let _dog = watchdog(60);
    let pool = pool(2);
    let (tx, rx) = pipe::<()>().unwrap();
    thread::scope(|scope| {
        let pool = &pool;
        let endless = scope.spawn(move || {
            let stop = |x: u32| {
                spin(Duration::from_micros(100));
                x
            };
            let mut results = pool.imap_unordered(stop, 0..);
            while matches!(rx.try_recv(), Err(procession::TryRecvError::Empty)) {
                results.next().unwrap().unwrap();
            }
        });
        for x in 0..50 {
            assert_eq!(pool.apply(|x: u32| x + 1, (x,)).unwrap(), x + 1);
        }
        let maps: Vec<_> = (0..4)
            .map(|k| scope.spawn(move || pool.map(|x: u64| x + 1, k * 100..k * 100 + 100).unwrap()))
            .collect();
        for (map, k) in maps.into_iter().zip(0u64..) {
            assert!(map.join().unwrap().into_iter().eq(k * 100 + 1..k * 100 + 101));
        }
        drop(tx);
        endless.join().unwrap();
    });
}

#[test]
fn pools_nest() {
    let _dog = watchdog(60);
    fn inner(x: u32) -> Result<u32, TaskError> {
        let pool = Pool::builder().workers(NonZeroUsize::MIN).build().unwrap();
        pool.map(|y: u32| y * y, 0..x).map(|squares| squares.into_iter().sum())
    }
    let sums = pool(2).map(inner, 1..5).unwrap();
    let sums: Vec<_> = sums.into_iter().map(Result::unwrap).collect();
    assert_eq!(sums, [0, 1, 5, 14]);
}

#[test]
fn workers_that_are_killed_while_idle_are_replaced() {
    let _dog = watchdog(60);
    let pool = pool(2);
    for _ in 0..20 {
        let pids = pool.worker_pids();
        for pid in &pids {
            Stranger::new(*pid).signal(signal::KILL);
        }
        let replaced = |now: &Vec<u32>| now.len() == 2 && now.iter().all(|pid| !pids.contains(pid));
        wait_until("both are replaced", || replaced(&pool.worker_pids()));
        assert_eq!(pool.map(|x: u8| x, 0..10).unwrap().len(), 10);
    }
}

#[test]
fn an_input_that_panics_or_is_slow_holds_up_nothing() {
    let _dog = watchdog(60);
    let pool = pool(2);
    let mut results = pool.imap(|x: u32| x, (0..10).inspect(|x| assert_ne!(*x, 5, "no item")));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        results.by_ref().map(Result::unwrap).collect::<Vec<_>>()
    }));
    assert!(caught.is_err());
    // The ones before it were begun; the iterator goes on behind the one that was lost.
    let rest: Vec<_> = results.map(Result::unwrap).collect();
    assert!(rest.ends_with(&[6, 7, 8, 9]), "{rest:?}");

    let taken = AtomicUsize::new(0);
    let slow = (0u32..8).inspect(|_| {
        taken.fetch_add(1, Ordering::Relaxed);
        spin(Duration::from_millis(20));
    });
    let mut results = pool.imap(|x: u32| x, slow);
    assert_eq!(results.next().unwrap().unwrap(), 0);
    assert!(taken.load(Ordering::Relaxed) < 8, "a result waited for the whole input");
    assert_eq!(results.count(), 7);
}

#[derive(Serialize)]
struct PanicsWhenRead(u32);

impl<'de> Deserialize<'de> for PanicsWhenRead {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        assert_ne!(number, 2, "not two");
        Ok(Self(number))
    }
}

#[test]
fn a_value_that_panics_when_it_is_read_fails_its_own_task() {
    let _dog = watchdog(60);
    let results: Vec<_> = pool(2).imap(PanicsWhenRead, 0..5).collect();
    for (index, result) in results.iter().enumerate() {
        match result {
            Ok(PanicsWhenRead(number)) => assert_eq!(*number as usize, index),
            Err(TaskError::Value { index: at, error }) => {
                assert_eq!((*at, index, error.kind()), (2, 2, ErrorKind::Panicked));
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(results.len(), 5);
}

#[test]
fn options_may_change_while_results_come() {
    let _dog = watchdog(60);
    let pool = pool(2);
    let mut results = pool.imap(|x: u32| x, 0..100);
    assert_eq!(results.next().unwrap().unwrap(), 0);
    let rest = results.chunk(NonZeroUsize::new(7).unwrap()).map(Result::unwrap);
    assert!(rest.eq(1..100));
}

#[test]
fn what_nobody_wants_any_more_is_not_begun() {
    let _dog = watchdog(60);
    let pool = pool(2);
    let (tx, rx) = pipe::<u32>().unwrap();
    // Every task holds the same pipe's end, one after the other: what arrives tells who began.
    let tasks = |x: u32| {
        spin(Duration::from_millis(2));
        assert_ne!(x, 0, "the first one fails");
        x
    };
    assert!(pool.map(tasks, 0..1000).is_err());
    let start = Instant::now();
    pool.apply(|tx: Sender<u32>| tx.send(1), (tx,)).unwrap().unwrap();
    assert_eq!(rx.recv().unwrap(), 1);
    // Two batches of 64 take 128 ms on each worker; this is no claim about speed, but about what is not run.
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn the_pools_thread_takes_no_signal_of_the_host() {
    let _dog = watchdog(60);
    let pool = pool(1);
    pool.apply(|| (), ()).unwrap();
    let statuses = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let read = |task: DirEntry| std::fs::read_to_string(task.path().join("status")).ok();
        let is_its = |status: &String| status.starts_with("Name:\tprocession-pool");
        tasks.filter_map(read).filter(is_its).collect::<Vec<_>>()
    };
    // Workers may be faster than the thread.
    wait_until("the thread has its name", || !statuses().is_empty());
    let statuses = statuses();
    assert_eq!(statuses.len(), 1);
    let blocked = statuses[0].lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
    // All but SIGKILL and SIGSTOP, which nobody can block, and two that the C library keeps.
    let open = !u64::from_str_radix(blocked, 16).unwrap();
    assert_eq!(open & !(1 << 8 | 1 << 18 | 0b11 << 31), 0, "{blocked}");
    let blocked = pool.apply(|| procession_sys::signal::thread_mask().unwrap().bits(), ());
    assert_eq!(blocked.unwrap(), procession_sys::signal::thread_mask().unwrap().bits());
}

#[test]
fn an_argument_that_no_worker_has_room_for_fails_its_task() {
    let _dog = watchdog(60);
    let (output, stdout, stderr) =
        procession_tests::run(&mut procession_tests::program(env!("CARGO_BIN_EXE_too_large")));
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stdout, "large: Os\nsmall: 3\nfork: 0\n", "{stderr}");
}

#[test]
fn a_pool_with_a_good_worker_is_not_broken_by_bad_ones() {
    let _dog = watchdog(60);
    let (output, stdout, stderr) =
        procession_tests::run(&mut procession_tests::program(env!("CARGO_BIN_EXE_half_broken")));
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stdout, "long: 7\nafter: 8\n", "{stderr}");
}

static STARTED: AtomicUsize = AtomicUsize::new(0);

fn begin(file: Handle<std::fs::File>, from: usize) {
    use std::io::Write;
    // Appended whole: each worker writes one line, at once.
    (&file.0).write_all(format!("{}\n", std::process::id()).as_bytes()).unwrap();
    STARTED.fetch_add(from, Ordering::Relaxed);
}

#[test]
fn an_initializer_runs_once_in_each_worker_and_before_its_tasks() {
    let _dog = watchdog(60);
    let path = std::env::temp_dir().join(format!("procession-initializer-{}", std::process::id()));
    let file = std::fs::File::options().create(true).append(true).open(&path).unwrap();
    let builder = Pool::builder().workers(NonZeroUsize::new(3).unwrap());
    let pool = builder.initializer(begin, (Handle(file), 5)).unwrap().build().unwrap();
    let seen = |_: u32| (std::process::id(), STARTED.load(Ordering::Relaxed));
    let seen = pool.map(seen, 0..300).unwrap();
    assert!(seen.iter().all(|(_, started)| *started == 5));
    let victim = seen[0].0;
    assert!(Stranger::new(victim).signal(signal::KILL));
    wait_until("another worker runs", || {
        pool.worker_pids().len() == 3 && !pool.worker_pids().contains(&victim)
    });
    assert_eq!(pool.map(|x: u32| x, 0..9).unwrap().len(), 9);
    let pids = pool.worker_pids();
    // Also when the pool goes at once.
    drop(pool);
    let lines = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let mut initialized: Vec<u32> = lines.lines().map(|line| line.parse().unwrap()).collect();
    assert!(pids.iter().all(|pid| initialized.contains(pid)), "{pids:?} {lines}");
    let count = initialized.len();
    initialized.sort_unstable();
    initialized.dedup();
    assert_eq!((count, initialized.len()), (4, 4), "once in each: {lines}");
}

#[test]
fn an_initializer_that_fails_breaks_the_pool_and_does_not_start_workers_for_ever() {
    let _dog = watchdog(60);
    let builder = Pool::builder().workers(NonZeroUsize::new(2).unwrap());
    let fail = || panic!("on purpose");
    let pool = builder.initializer(fail, ()).unwrap().build().unwrap();
    let error = pool.map(|x: u32| x, 0..10).unwrap_err();
    assert!(matches!(error, TaskError::PoolBroken { .. }), "{error:?}");
}
