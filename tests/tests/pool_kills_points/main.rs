//! Instants of a pool's life that are hardly reached by chance: before a worker is ready, between its claim and the call, while a value is written
//! or long ones go through, when it is replaced or leaves, while the pool ends. What a task is made of kills there: its argument when it is
//! read, its value when it is written or dropped, the initializer, the input, a callback.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use procession::prelude::*;
use procession_sys::memory::SharedWords;
use procession_sys::prim::Ordering::SeqCst;
use procession_sys::prim::{AtomicUsize, Mutex, MutexGuard, OnceLock, lock};
use procession_sys::{Deadline, fd, pidfd, poll, signal};
use procession_tests::{Random, SOON, Stranger, Watchdog, children, skip, wait_until, watchdog};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod ends;

procession::test_support!();

/// What is counted belongs to the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// What tests and workers share: a counter, and what the second word is for is said where it is used.
static WORDS: OnceLock<SharedWords> = OnceLock::new();

fn some(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

/// Alone, watched, and without what another test has counted; nothing if there can be no pool.
fn begin() -> Option<(MutexGuard<'static, ()>, Watchdog)> {
    let held = (lock(&ALONE), watchdog(100));
    if procession::start_method() == StartMethod::Fork {
        skip("kill points: a process with threads cannot fork workers");
        return None;
    }
    let words = WORDS.get_or_init(|| SharedWords::create(2).unwrap());
    words.word(0).store(0, SeqCst);
    words.word(1).store(0, SeqCst);
    Some(held)
}

fn counter() -> &'static SharedWords {
    WORDS.get().unwrap()
}

fn die() -> ! {
    let own = pidfd::open(std::process::id()).unwrap();
    loop {
        drop(pidfd::signal(&own, signal::KILL));
    }
}

/// The initializer: the first `deaths` workers are killed in it.
fn enter(words: Handle<OwnedFd>, deaths: u64) {
    let words = WORDS.get_or_init(|| SharedWords::open(words.into_inner()).unwrap());
    if words.word(0).fetch_add(1, SeqCst) < deaths {
        die();
    }
}

fn builder(workers: usize, deaths: u64) -> procession::pool::Builder {
    let words = Handle(fd::duplicate(counter()).unwrap());
    Pool::builder().workers(some(workers)).initializer(enter, (words, deaths)).unwrap()
}

fn spin(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}

/// It was killed by `SIGKILL` while it ran the task of that index.
#[track_caller]
fn assert_killed<T>(result: &Result<T, TaskError>, index: usize) {
    match result {
        Err(TaskError::WorkerDied { index: at, death, .. }) => {
            assert_eq!((*at, death.status.signal()), (index, Some(signal::KILL)));
        }
        Err(other) => panic!("task {index}: {other:?}"),
        Ok(_) => panic!("task {index} has a value"),
    }
}

/// The pool is as good as new, ends, and nobody is left.
#[track_caller]
fn end(pool: Pool) {
    assert_eq!(pool.map(|x: u32| x + 1, 0..20).unwrap(), (1..21).collect::<Vec<_>>());
    drop(pool);
    wait_until("nobody is left", || children().is_empty());
}

#[test]
fn workers_that_are_killed_before_they_are_ready_cost_no_task() {
    let Some(_held) = begin() else { return };
    let pool = builder(1, 6).build().unwrap();
    assert_eq!(
        pool.map(|x: u32| x * 2, 0..50).unwrap(),
        (0..50).map(|x| x * 2).collect::<Vec<_>>()
    );
    assert_eq!(counter().word(0).load(SeqCst), 7, "six died, the seventh did it all");
    end(pool);
}

#[test]
fn a_pool_whose_workers_never_come_to_be_ready_gives_up() {
    let Some(_held) = begin() else { return };
    let pool = builder(1, u64::MAX).build().unwrap();
    let calls: Vec<_> = (0..5).map(|x: u32| pool.apply_async(|x: u32| x, (x,))).collect();
    for call in calls {
        assert!(matches!(call.get(), Err(TaskError::PoolBroken { .. })));
    }
    let starts = counter().word(0).load(SeqCst);
    assert!((10..=12).contains(&starts), "{starts} workers were started");
    assert!(
        matches!(pool.apply(|| (), ()), Err(TaskError::PoolBroken { .. })),
        "and so ever after"
    );
    drop(pool);
    wait_until("nobody is left", || children().is_empty());
}

/// Numbers of which one kills whoever reads it, at its place.
#[derive(Debug)]
struct KillsReader(Vec<u32>);

const KILLER: u32 = 0xdead;

impl Serialize for KillsReader {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for number in &self.0 {
            seq.serialize_element(&Lethal(*number))?;
        }
        seq.end()
    }
}

impl<'de> Deserialize<'de> for KillsReader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let numbers = Vec::<Lethal>::deserialize(deserializer)?;
        Ok(Self(numbers.into_iter().map(|Lethal(number)| number).collect()))
    }
}

struct Lethal(u32);

impl Serialize for Lethal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Lethal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            KILLER => die(),
            number => Ok(Self(number)),
        }
    }
}

/// The items of these places have a killer at that element of `len`.
fn lethal(places: &[usize], at: usize, len: usize) -> impl Iterator<Item = (usize, Vec<u32>)> {
    let places = places.to_vec();
    (0..12).map(move |place| {
        let mut numbers = vec![7; len];
        if places.contains(&place) {
            numbers[at] = KILLER;
        }
        (place, numbers)
    })
}

/// Those of these places were killed, the others have their values.
#[track_caller]
fn check(results: &[Result<usize, TaskError>], places: &[usize]) {
    assert_eq!(results.len(), 12);
    let mut pids = BTreeSet::new();
    for (place, result) in results.iter().enumerate() {
        if places.contains(&place) {
            assert_killed(result, place);
            let death = result.as_ref().unwrap_err().death().unwrap();
            assert!(pids.insert(death.pid), "one death is the reason for two tasks");
        } else {
            assert_eq!(result.as_ref().unwrap(), &place);
        }
    }
}

#[test]
fn killed_between_the_claim_and_the_call() {
    let Some(_held) = begin() else { return };
    let pool = builder(2, 0).build().unwrap();
    for (len, chunk) in [(1, 1), (10, 12), (100_000, 3)] {
        for (at, places) in [(0, &[0, 11][..]), (len / 2, &[5]), (len - 1, &[3, 4, 8])] {
            let tasks = pool.tasks().chunk(some(chunk));
            let items = lethal(places, at, len).map(|(place, all)| (place, KillsReader(all)));
            let results = tasks.try_map(
                |(place, all): (usize, KillsReader)| {
                    assert!(!all.0.contains(&KILLER), "it was called");
                    place
                },
                items,
            );
            check(&results, places);
        }
    }
    end(pool);
}

/// Numbers of which one kills whoever writes it, at its place.
#[derive(Debug, Deserialize)]
struct KillsWriter(Vec<u32>);

impl Serialize for KillsWriter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for number in &self.0 {
            if *number == KILLER {
                die();
            }
            seq.serialize_element(number)?;
        }
        seq.end()
    }
}

#[test]
fn killed_while_the_value_is_written() {
    let Some(_held) = begin() else { return };
    let pool = builder(2, 0).build().unwrap();
    for (len, chunk) in [(1, 1), (10, 12), (100_000, 3)] {
        for (at, places) in [(0, &[0, 11][..]), (len / 2, &[5]), (len - 1, &[3, 4, 8])] {
            let tasks = pool.tasks().chunk(some(chunk));
            let results = tasks.try_map(
                |(place, all): (usize, Vec<u32>)| (place, KillsWriter(all)),
                lethal(places, at, len),
            );
            let places_of: Vec<_> = results
                .into_iter()
                .map(|result| result.map(|(place, all)| (place, all.0.len())))
                .map(|result| result.inspect(|(_, written)| assert_eq!(*written, len)))
                .map(|result| result.map(|(place, _)| place))
                .collect();
            check(&places_of, places);
        }
    }
    end(pool);
}

/// Kills the worker that drops it.
#[derive(Debug, Serialize, Deserialize)]
struct KillsDropper(u32, usize);

impl Drop for KillsDropper {
    fn drop(&mut self) {
        if self.0 == std::process::id() {
            die();
        }
    }
}

#[test]
fn killed_when_the_value_is_written_and_may_not_have_been_sent() {
    let Some(_held) = begin() else { return };
    let pool = builder(2, 0).build().unwrap();
    for chunk in [1, 12] {
        let task = |place: usize| {
            let lethal = if place % 4 == 3 { std::process::id() } else { 0 };
            KillsDropper(lethal, place)
        };
        let results = pool.tasks().chunk(some(chunk)).try_map(task, 0..12);
        assert_eq!(results.len(), 12);
        for (place, result) in results.iter().enumerate() {
            match result {
                // Here or there; but never lost.
                Ok(value) => assert_eq!(value.1, place),
                Err(_) => {
                    assert_eq!(place % 4, 3);
                    assert_killed(result, place);
                }
            }
        }
    }
    end(pool);
}

/// What a task does that is to be found by [`worker_of_task`].
fn say_who() {
    counter().word(1).store(u64::from(std::process::id()), SeqCst);
}

/// The worker that has said who it is since the word was cleared, unless `is_over` before.
fn worker_of_task(is_over: impl Fn() -> bool) -> Option<u32> {
    let pid = || u32::try_from(counter().word(1).load(SeqCst)).unwrap();
    wait_until("the task has begun, or is over", || pid() != 0 || is_over());
    Some(pid()).filter(|pid| *pid != 0)
}

const LONG: usize = 8 << 20;

#[test]
fn killed_while_long_arguments_and_values_go_through() {
    let Some(_held) = begin() else { return };
    let pool = builder(2, 0).build().unwrap();
    let mut random = Random::from_environment();
    let bytes = vec![9u8; LONG];
    let mut died = 0;
    for round in 0..30 {
        counter().word(1).store(0, SeqCst);
        let long = pool.apply_async(
            |bytes: Vec<u8>| {
                say_who();
                bytes
            },
            (bytes.clone(),),
        );
        let short = pool.map_async(|x: u32| x, 0..50);
        // In one of two rounds while the argument is on its way, otherwise from the call on.
        let first = pool.worker_pids().first().copied();
        let victim = match round % 2 {
            0 => first,
            _ => worker_of_task(|| long.is_ready()),
        };
        let victim = victim.unwrap_or_default();
        spin(Duration::from_micros(random.below(6_000) as u64));
        Stranger::new(victim).signal(signal::KILL);
        match long.get() {
            Ok(value) => assert!(value.len() == LONG && value.iter().all(|byte| *byte == 9)),
            Err(TaskError::WorkerDied { death, .. }) => {
                assert_eq!(death.pid, victim);
                died += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
        match short.get() {
            Ok(values) => assert_eq!(values, (0..50).collect::<Vec<_>>()),
            Err(TaskError::WorkerDied { death, .. }) => assert_eq!(death.pid, victim),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(died > 0, "nobody was killed in the middle");
    end(pool);
}

#[test]
fn killed_as_soon_as_they_replace_another() {
    let Some(_held) = begin() else { return };
    let pool = builder(1, 0).build().unwrap();
    let (tx, rx) = pipe::<()>().unwrap();
    let gate = pool.apply_async(|rx: Receiver<()>| rx.recv().is_ok(), (rx,));
    let waiting = pool.map_async(|x: u32| x, 0..100);
    let mut killed = Vec::new();
    for death in 0..6 {
        let now = || pool.worker_pids().into_iter().find(|pid| !killed.contains(pid));
        wait_until("there is another", || now().is_some());
        let victim = now().unwrap();
        if death == 0 {
            // The first one is in the gate.
            wait_until("it has begun", || !gate.is_ready() && counter().word(0).load(SeqCst) > 0);
        }
        Stranger::new(victim).signal(signal::KILL);
        killed.push(victim);
    }
    drop(tx);
    // The one in the gate had begun, or it goes to another.
    match gate.get() {
        Ok(heard) => assert!(!heard),
        gate => assert_killed(&gate, 0),
    }
    let values = waiting.get();
    match values {
        Ok(values) => assert_eq!(values, (0..100).collect::<Vec<_>>()),
        // Whoever was ready before it was killed may have begun one.
        Err(TaskError::WorkerDied { death, .. }) => assert!(killed.contains(&death.pid)),
        Err(other) => panic!("{other:?}"),
    }
    end(pool);
}

#[test]
fn a_task_whose_worker_is_stopped_is_ended_when_its_time_is_over() {
    let Some(_held) = begin() else { return };
    let pool = builder(2, 0).build().unwrap();
    for grace in [0, 30] {
        counter().word(1).store(0, SeqCst);
        let tasks = pool.tasks().timeout(Duration::from_millis(50));
        let call = tasks.grace(Duration::from_millis(grace)).apply_async(
            || {
                say_who();
                loop {
                    drop(poll::wait(&mut [], Deadline::after(Duration::from_secs(1))));
                }
            },
            (),
        );
        let pid = worker_of_task(|| call.is_ready()).unwrap();
        let worker = Stranger::new(pid);
        worker.signal(signal::STOP);
        let result: Result<(), _> = call.get_timeout(SOON).unwrap();
        let Err(TaskError::TimedOut { ran_for, .. }) = result else { panic!("{result:?}") };
        assert!(ran_for >= Duration::from_millis(50));
        assert!(worker.ends_soon());
    }
    end(pool);
}

#[test]
fn killed_by_the_input_of_its_call() {
    let Some(_held) = begin() else { return };
    let pool = builder(2, 0).build().unwrap();
    for chunk in [1, 5] {
        let killed = Mutex::new(BTreeSet::new());
        let items = (0..60u32).inspect(|x| {
            // Between the assignments of those before this one.
            if x % 7 == 3
                && let Some(pid) = pool.worker_pids().first()
            {
                lock(&killed).insert(*pid);
                Stranger::new(*pid).signal(signal::KILL);
            }
        });
        let results = pool.tasks().chunk(some(chunk)).window(some(10)).try_map(|x: u32| x, items);
        let mut blamed = BTreeSet::new();
        for (place, result) in (0u32..).zip(&results) {
            match result {
                Ok(value) => assert_eq!(*value, place),
                Err(TaskError::WorkerDied { death, .. }) => {
                    assert!(lock(&killed).contains(&death.pid) && blamed.insert(death.pid));
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(results.len(), 60);
    }
    end(pool);
}

/// Kills its worker when it is read, which is in the process that has the pool.
#[derive(Debug, Serialize)]
struct KillsSender(u32, u32);

impl<'de> Deserialize<'de> for KillsSender {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (number, pid) = <(u32, u32)>::deserialize(deserializer)?;
        if number % 5 == 4 {
            Stranger::new(pid).signal(signal::KILL);
        }
        Ok(Self(number, pid))
    }
}

#[test]
fn killed_when_its_answer_is_read() {
    let Some(_held) = begin() else { return };
    let pool = builder(2, 0).build().unwrap();
    let results = pool.tasks().chunk(some(3)).imap_unordered(
        |x: u32| {
            spin(Duration::from_micros(100));
            KillsSender(x, std::process::id())
        },
        0..100,
    );
    let (mut seen, mut killed, mut blamed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for result in results {
        match result {
            Ok(KillsSender(number, pid)) => {
                assert!(seen.insert(number as usize));
                if number % 5 == 4 {
                    killed.insert(pid);
                }
            }
            Err(TaskError::WorkerDied { index, death, .. }) => {
                assert!(seen.insert(index) && blamed.insert(death.pid));
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(seen.len(), 100);
    assert!(blamed.is_subset(&killed), "{blamed:?}, {killed:?}");
    end(pool);
}

#[test]
fn killed_by_a_callback() {
    let Some(_held) = begin() else { return };
    let pool = Arc::new(builder(2, 0).build().unwrap());
    let killed: Arc<Mutex<BTreeSet<u32>>> = Arc::default();
    let called = Arc::new(AtomicUsize::new(0));
    let mut calls = Vec::new();
    for x in 0..60u32 {
        let (weak, killed, called) =
            (Arc::downgrade(&pool), Arc::clone(&killed), Arc::clone(&called));
        let call = pool.apply_async(|x: u32| x, (x,));
        calls.push(call.on_done(move |_| {
            called.fetch_add(1, SeqCst);
            let pid = weak.upgrade().and_then(|pool| pool.worker_pids().last().copied());
            if let (0, Some(pid)) = (x % 6, pid) {
                lock(&killed).insert(pid);
                Stranger::new(pid).signal(signal::KILL);
            }
        }));
    }
    let mut blamed = BTreeSet::new();
    for (x, call) in (0u32..).zip(calls) {
        match call.get() {
            Ok(value) => assert_eq!(value, x),
            Err(TaskError::WorkerDied { death, .. }) => {
                assert!(lock(&killed).contains(&death.pid) && blamed.insert(death.pid));
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    wait_until("all callbacks were called", || called.load(SeqCst) == 60);
    end(Arc::try_unwrap(pool).unwrap());
}

#[test]
fn a_task_with_handles_does_not_go_with_another_one() {
    let Some(_held) = begin() else { return };
    let pool = builder(2, 0).build().unwrap();
    for round in 0..300u64 {
        let doomed = pool.apply_async(|| -> u32 { die() }, ());
        let file = Handle(fd::duplicate(counter()).unwrap());
        let takes = |file: Handle<OwnedFd>, round: u64| {
            drop(file);
            round
        };
        let safe = pool.apply_async(takes, (file, round));
        assert_eq!(safe.get().unwrap(), round);
        assert!(matches!(doomed.get().unwrap_err(), TaskError::WorkerDied { .. }));
    }
    end(pool);
}
