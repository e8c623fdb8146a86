//! Nothing is left behind: no descriptor, no zombie, no name.
//!
//! These tests count what the whole process has, so each takes the lock first.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::thread;
use std::time::{Duration, Instant};

use procession::prelude::*;
use procession_sys::prim::{Mutex, lock};
use procession_sys::signal;
use procession_tests::{Litter, Random, Stranger, children, steady, wait_until, watchdog};

procession::test_support!();

fn spin(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}

fn park_unless_zero(x: u8) -> u8 {
    loop {
        if x == 0 {
            return x;
        }
        thread::park();
    }
}

static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn joined_processes_leave_nothing() {
    let (_alone, _dog) = (lock(&ALONE), watchdog(60));
    let before = steady();
    for _ in 0..20 {
        let (tx, rx) = pipe::<u8>().unwrap();
        let child = Process::spawn(|tx: Sender<u8>| tx.send(1), (tx,)).unwrap();
        rx.recv().unwrap();
        child.join().unwrap().unwrap();
        let child = Process::spawn(|| -> () { panic!("on purpose") }, ()).unwrap();
        assert!(child.join().is_err());
    }
    assert_eq!(Litter::now(), before);
}

#[test]
fn dropped_processes_run_on_and_leave_no_zombie() {
    let (_alone, _dog) = (lock(&ALONE), watchdog(60));
    let before = steady();
    let mut pipes = Vec::new();
    for _ in 0..10 {
        let (tx, rx) = duplex::<u8, u8>().unwrap();
        let echo = |end: Duplex<u8, u8>| end.recv().and_then(|got| end.send(got + 1));
        drop(Process::spawn(echo, (rx,)).unwrap());
        pipes.push(tx);
    }
    wait_until("they are there", || children().len() == 10);
    for end in &pipes {
        end.send(1).unwrap();
        assert_eq!(end.recv().unwrap(), 2, "it runs on");
    }
    drop(pipes);
    wait_until("they are reaped", || Litter::now() == before);
}

#[test]
fn a_process_that_ended_before_it_was_dropped_leaves_no_zombie() {
    let (_alone, _dog) = (lock(&ALONE), watchdog(60));
    let before = steady();
    let child = Process::spawn(|| (), ()).unwrap();
    assert!(Stranger::new(child.pid()).ends_soon());
    drop(child);
    // The fork server may be about to reap it.
    wait_until("it is reaped", || Litter::now() == before);
}

#[test]
fn a_refused_start_leaves_nothing() {
    let (_alone, _dog) = (lock(&ALONE), watchdog(60));
    let before = steady();
    let (tx, rx) = pipe::<u8>().unwrap();
    let refused = Process::builder().name("a\0b").spawn(|_: Sender<u8>| (), (tx,));
    assert!(refused.is_err());
    drop(rx);
    assert_eq!(Litter::now(), before);
}

#[test]
fn a_pool_leaves_nothing_also_when_it_is_dropped_in_the_middle() {
    let (_alone, _dog) = (lock(&ALONE), watchdog(60));
    let before = steady();
    {
        let pool = Pool::new().unwrap();
        let spin = |x: u64| {
            let start = std::time::Instant::now();
            while start.elapsed().as_micros() < 200 {}
            x
        };
        let some: Vec<_> = pool.imap(spin, 0..).take(50).collect();
        assert_eq!(some.len(), 50);
        let mut stuck = pool.imap_unordered(park_unless_zero, 0..9);
        assert_eq!(stuck.next().unwrap().unwrap(), 0);
    }
    assert_eq!(Litter::now(), before);
}

/// Kills random workers a hundred times during one `map` over 10,000 items: every item resolves once, as its value or as
/// the death of its worker; each death fails at most one; nothing hangs, and nothing is left.
#[test]
fn a_hundred_kills_during_one_map_lose_nothing() {
    const KILLS: usize = 100;
    const ITEMS: u32 = 10_000;
    let (_alone, _dog) = (lock(&ALONE), watchdog(120));
    let before = steady();
    let random = Mutex::new(Random::from_environment());
    let mut killed = BTreeSet::new();
    {
        let pool = Pool::builder().workers(NonZeroUsize::new(2).unwrap()).build().unwrap();
        let results = thread::scope(|scope| {
            let map = scope.spawn(|| {
                let work = |x: u32| {
                    spin(Duration::from_micros(250));
                    u64::from(x) * 3
                };
                pool.try_map(work, 0..ITEMS)
            });
            let mut random = lock(&random);
            while killed.len() < KILLS {
                assert!(!map.is_finished(), "only {} kills while the map ran", killed.len());
                let pids = pool.worker_pids();
                if pids.is_empty() {
                    continue;
                }
                let victim = Stranger::new(pids[random.below(pids.len())]);
                // A pause of random length: the kill comes at any point of a worker's life.
                spin(Duration::from_micros(random.below(3000) as u64));
                if pool.worker_pids().contains(&victim.pid) && victim.signal(signal::KILL) {
                    killed.insert(victim.pid);
                    // Too many in a row that never came to be ready are a pool that is broken.
                    if killed.len().is_multiple_of(5) {
                        pool.apply(|| (), ()).unwrap();
                    }
                }
            }
            map.join().unwrap()
        });
        assert_eq!(results.len(), ITEMS as usize);
        let mut blamed = BTreeSet::new();
        for (index, result) in results.into_iter().enumerate() {
            match result {
                Ok(value) => assert_eq!(value, index as u64 * 3),
                Err(TaskError::WorkerDied { index: at, death, .. }) => {
                    assert_eq!(at, index);
                    assert_eq!(death.status.signal(), Some(signal::KILL), "{death}");
                    assert!(killed.contains(&death.pid), "{death} was not killed");
                    assert!(blamed.insert(death.pid), "{death} fails two tasks");
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(!blamed.is_empty(), "some were killed while they worked");
    }
    assert_eq!(Litter::now(), before);
    assert!(children().is_empty());
}
