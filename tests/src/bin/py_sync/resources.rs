//! What locks cost, what is left of them, and what waits for them does meanwhile: nothing.

use std::fs::{read_dir, read_to_string};
use std::time::Duration;

use procession::prelude::*;
use procession::{BoundedSemaphore, ErrorKind, LockError, StartMethod, start_method};
use procession_core::family::Family;
use procession_sys::doorbell::Doorbell;
use procession_sys::wipe::SetOnce;
use procession_sys::{Deadline, poll, signal};
use procession_tests::{Litter, SOON, steady, wait_until};
use serde::{Deserialize, Serialize};

use crate::stage::{Board, Place, Row, death, next, park, say_where, value};

pub(crate) const ROWS: &[Row] = &[
    ("resources::ten_thousand_locks", ten_thousand_locks),
    ("resources::ten_thousand_locks_in_arguments", ten_thousand_locks_in_arguments),
    ("resources::no_room_is_an_error_until_there_is_some", no_room_is_an_error),
    ("resources::those_who_wait_use_no_processor", those_who_wait_use_no_processor),
    ("resources::resource_tracker", resource_tracker),
    ("resources::preload_resources", preload_resources),
    ("resources::signals_with_a_handler_end_no_wait", signals_with_a_handler_end_no_wait),
    ("resources::sigint_ends_who_waits", sigint_ends_who_waits),
];

const MANY: usize = 10_000;
const MORE_DESCRIPTORS: usize = 8;
/// In KiB, as the system counts.
const MORE_MEMORY: u64 = 2048;

fn descriptors() -> usize {
    read_dir("/proc/self/fd").unwrap().count()
}

/// The resident memory of this process, what it shares included: the whole pages, counted anew.
fn memory() -> u64 {
    let rollup = read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap()
}

/// What is made costs at most so many descriptors and so much memory.
#[track_caller]
fn costs_little<T>(make: impl FnOnce() -> T) -> T {
    let before = (descriptors(), memory());
    let made = make();
    let after = (descriptors(), memory());
    assert!(after.0 <= before.0 + MORE_DESCRIPTORS, "{before:?}, {after:?}");
    assert!(after.1 <= before.1 + MORE_MEMORY, "{before:?}, {after:?}");
    made
}

/// What any first lock brings with it is not theirs.
fn first() {
    drop(Lock::new().unwrap().lock().unwrap());
}

fn make_many() -> Vec<Lock> {
    (0..MANY).map(|_| Lock::new().unwrap()).collect()
}

fn ten_thousand_locks() {
    let make = || {
        first();
        let locks = costs_little(make_many);
        costs_little(|| {
            let guards: Vec<_> = locks.iter().map(|lock| lock.lock().unwrap()).collect();
            assert!(locks.iter().all(Lock::is_locked));
            drop(guards);
        });
        assert!(!locks.iter().any(Lock::is_locked));
        let objects = Family::current().unwrap().objects();
        assert!(objects >= MANY);
        drop(locks);
        assert_eq!(Family::current().unwrap().objects(), objects - MANY);
    };
    make();
    value(&Process::spawn(make, ()).unwrap());
}

fn ten_thousand_locks_in_arguments() {
    let work = |locks: Vec<Lock>| {
        let guards: Vec<_> = locks.iter().map(|lock| lock.lock().unwrap()).collect();
        drop(guards);
        (locks.len(), descriptors(), memory())
    };
    first();
    let (_, descriptors, memory) =
        value(&Process::spawn(work, (vec![Lock::new().unwrap()],)).unwrap());
    let locks = make_many();
    let child = costs_little(|| Process::spawn(work, (locks,)).unwrap());
    let with = value(&child);
    assert_eq!(with.0, MANY);
    assert!(with.1 <= descriptors + MORE_DESCRIPTORS, "{descriptors}, {with:?}");
    assert!(with.2 <= memory + MORE_MEMORY, "{memory}, {with:?}");
}

/// With the largest that there are, so that it does not take long.
fn no_room_is_an_error() {
    const LARGE: u32 = 1000;
    let (tx, rx) = pipe().unwrap();
    let fill = |tx: Sender<Place>| {
        let mut semaphores = Vec::new();
        let error = loop {
            match Semaphore::new(LARGE) {
                Ok(semaphore) => semaphores.push(semaphore),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        assert!(semaphores.len() > 1000);
        // What is there works, and what goes makes room.
        drop(semaphores.last().unwrap().acquire().unwrap());
        semaphores.pop();
        semaphores.push(Semaphore::new(LARGE).unwrap());
        assert!(Semaphore::new(LARGE).is_err());
        say_where(&tx);
        park();
    };
    let child = Process::<()>::spawn(fill, (tx,)).unwrap();
    next(&rx).kill();
    assert!(death(&child).status.signal().is_some());
    drop((0..1000).map(|_| Semaphore::new(LARGE).unwrap()).collect::<Vec<_>>());
}

/// What ten can wait for, of which nobody can have anything yet.
#[derive(Clone, Serialize, Deserialize)]
struct Things {
    lock: Lock,
    recursive: RLock,
    semaphore: Semaphore,
    bounded: BoundedSemaphore,
    condition: Condition,
    event: Event,
    barrier: Barrier,
}

impl Things {
    fn taken() -> Self {
        let things = Self {
            lock: Lock::new().unwrap(),
            recursive: RLock::new().unwrap(),
            semaphore: Semaphore::new(0).unwrap(),
            bounded: BoundedSemaphore::new(1).unwrap(),
            condition: Condition::new().unwrap(),
            event: Event::new().unwrap(),
            barrier: Barrier::new(2).unwrap(),
        };
        things.lock.lock().unwrap().keep();
        things.recursive.lock().unwrap().keep();
        things.bounded.acquire_raw().unwrap();
        things
    }

    /// Lets all go who wait, and tells how many waited at the condition.
    fn give(&self) -> usize {
        self.lock.release().unwrap();
        self.recursive.release().unwrap();
        self.semaphore.release().unwrap();
        self.bounded.release().unwrap();
        self.event.set().unwrap();
        self.barrier.wait_timeout(SOON).unwrap();
        self.condition.notify_all(&mut self.condition.lock().unwrap()).unwrap()
    }
}

const WAITERS: usize = 10;

fn wait_for(things: Things, tx: Sender<Place>, at: usize) {
    let mut guard = (at % WAITERS >= 7).then(|| things.condition.lock().unwrap());
    say_where(&tx);
    match at {
        0 | 1 => drop(things.lock.lock().unwrap()),
        2 => drop(things.recursive.lock().unwrap()),
        3 => drop(things.semaphore.acquire().unwrap()),
        4 => things.bounded.acquire_raw().unwrap(),
        5 => things.event.wait().unwrap(),
        6 => drop(things.barrier.wait().unwrap()),
        _ => things.condition.wait(guard.as_mut().unwrap()).unwrap(),
    }
}

/// The processor time of all threads of a process, in nanoseconds.
fn processor_time(pid: u32) -> u64 {
    let tasks = read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let time = |task: std::fs::DirEntry| {
        let text = read_to_string(task.path().join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    tasks.map(time).sum()
}

fn those_who_wait_use_no_processor() {
    let things = Things::taken();
    let mut waiters = Vec::new();
    for at in 0..WAITERS {
        let (tx, rx) = pipe().unwrap();
        let child = Process::spawn(wait_for, (things.clone(), tx, at)).unwrap();
        let place: Place = next(&rx);
        place.falls_asleep();
        waiters.push((child, place));
    }
    wait_until("all wait", || things.condition.waiting() == 3 && things.barrier.waiting() == 1);
    let never = Event::new().unwrap();
    let pass = || never.wait_timeout(Duration::from_secs(1)).unwrap_err();
    // Until each has seen to it that it learns of deaths.
    pass();
    let time = || waiters.iter().map(|(_, place)| processor_time(place.pid)).collect::<Vec<_>>();
    let before = time();
    pass();
    let after = time();
    let used: Vec<_> = before.iter().zip(&after).map(|(before, after)| after - before).collect();
    // A hundredth of the time for all of them together; one that looked each millisecond would use more.
    assert!(used.iter().sum::<u64>() < 10_000_000, "{used:?} ns");
    assert_eq!(things.give(), 3);
    waiters.iter().for_each(|(child, _)| value(child));
}

/// There is no tracker, and nothing to track: what a process made goes with it, however it ends.
fn resource_tracker() {
    let litter = match start_method() {
        // A fork has all that its parent has, from the first one on.
        StartMethod::Fork => {
            value(&Process::spawn(first, ()).unwrap());
            Litter::now()
        }
        _ => steady(),
    };
    let family = Family::current().unwrap();
    let shared = Lock::new().unwrap();
    let make = |shared: Lock, tx: Sender<Place>| -> () {
        let locks = make_many();
        let _guards: Vec<_> = locks.iter().take(100).map(|lock| lock.lock().unwrap()).collect();
        let _guard = shared.lock().unwrap();
        let _others = [(); 10].map(|()| (Event::new().unwrap(), Barrier::new(2).unwrap()));
        say_where(&tx);
        park()
    };
    let before = family.objects();
    for number in [signal::TERMINATE, signal::KILL, signal::INTERRUPT] {
        let (tx, rx) = pipe().unwrap();
        let child = Process::spawn(make, (shared.clone(), tx)).unwrap();
        next(&rx);
        assert_eq!(family.objects(), before + MANY + 20);
        child.signal(number).unwrap();
        assert_eq!(death(&child).status.signal(), Some(number));
        assert_eq!(family.objects(), before, "what is shared is left");
        let Err(LockError::OwnerDied(mut guard)) = shared.try_lock() else {
            panic!("its owner died")
        };
        guard.repair();
    }
    wait_until("nothing else is left", || Litter::now() == litter);
}

/// A lock that a fork server makes before it serves.
static PRELOADED: SetOnce<Lock> = SetOnce::new();

/// Its children have it, and get others as ever.
fn preload_resources() {
    let make = || {
        let lock = Lock::new().unwrap();
        drop(lock.lock().unwrap());
        PRELOADED.set(lock);
    };
    procession::preload_fork_server(make).unwrap();
    let lock = Lock::new().unwrap();
    let guard = lock.lock().unwrap();
    let work = |lock: Lock| {
        assert!(matches!(lock.try_lock(), Err(LockError::TimedOut)));
        drop(PRELOADED.get().unwrap().lock().unwrap());
        drop(Lock::new().unwrap().lock().unwrap());
    };
    for _ in 0..3 {
        let child = Process::spawn(work, (lock.clone(),)).unwrap();
        assert_eq!(child.start_method(), StartMethod::ForkServer);
        value(&child);
    }
    drop(guard);
}

/// How often this process has caught the signal, for those who send it.
fn interrupt_calls(board: Board) {
    let bell: &'static Doorbell = Box::leak(Box::new(Doorbell::new().unwrap()));
    let count = move || loop {
        poll::wait_readable(bell, Deadline::NEVER).unwrap();
        bell.silence().unwrap();
        // The second one would kill: count anew.
        signal::catch(signal::USER_1, bell, 1).unwrap();
        board.count(0);
    };
    // The handler runs in the thread that waits.
    signal::while_blocked(|| std::thread::spawn(count)).unwrap();
    signal::catch(signal::USER_1, bell, 1).unwrap();
}

fn signals_with_a_handler_end_no_wait() {
    let things = Things::taken();
    let mut waiters = Vec::new();
    for at in 1..8 {
        let (tx, rx) = pipe().unwrap();
        let board = Board::new(1);
        let wait = |things: Things, tx: Sender<Place>, at: usize, board: Board| {
            interrupt_calls(board);
            wait_for(things, tx, at);
        };
        let child = Process::spawn(wait, (things.clone(), tx, at, board.clone())).unwrap();
        let place: Place = next(&rx);
        for times in 0..10 {
            place.falls_asleep();
            child.signal(signal::USER_1).unwrap();
            wait_until("it has caught the signal", || board.get(0) > times);
        }
        place.falls_asleep();
        assert!(child.is_alive().unwrap());
        waiters.push(child);
    }
    assert_eq!(things.give(), 1);
    waiters.iter().for_each(value);
}

/// As in Python, where it raises `KeyboardInterrupt` in who waits; here it ends the process, and others go on.
fn sigint_ends_who_waits() {
    let condition = Condition::new().unwrap();
    let wait = |condition: Condition, tx: Sender<Place>| {
        let mut guard = condition.lock().unwrap();
        say_where(&tx);
        condition.wait(&mut guard).unwrap();
    };
    let with_handler = |condition: Condition, tx: Sender<Place>| {
        procession::exit_on_interrupt().unwrap();
        let mut guard = condition.lock().unwrap();
        say_where(&tx);
        condition.wait(&mut guard).unwrap();
    };
    let spawn = |child: procession::Result<Process<()>>, rx: Receiver<Place>| {
        let place = next(&rx);
        wait_until("it has unlocked", || !condition.as_lock().is_locked());
        place.falls_asleep();
        child.unwrap()
    };
    let pipes = [(); 3].map(|()| pipe::<Place>().unwrap());
    let [(tx1, rx1), (tx2, rx2), (tx3, rx3)] = pipes;
    let children = [
        spawn(Process::spawn(wait, (condition.clone(), tx1)), rx1),
        spawn(Process::spawn(with_handler, (condition.clone(), tx2)), rx2),
        spawn(Process::spawn(wait, (condition.clone(), tx3)), rx3),
    ];
    assert_eq!(condition.waiting(), 3);
    children[0].interrupt().unwrap();
    assert_eq!(death(&children[0]).status.signal(), Some(signal::INTERRUPT));
    children[1].interrupt().unwrap();
    assert_eq!(death(&children[1]).status, ExitStatus::Exited(130));
    assert_eq!(condition.waiting(), 1);
    condition.notify_one(&mut condition.lock().unwrap()).unwrap();
    value(&children[2]);
}
