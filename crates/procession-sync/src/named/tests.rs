//! What one process can see of its locks. What other processes do is tested where processes are started.

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use super::*;
use record::{BLANK, LEN};

/// A path for one test, in a folder that goes with it.
struct Spot(PathBuf);

impl Spot {
    fn new(name: &str) -> Self {
        let name = format!("procession-named-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.join("lock")
    }

    fn open(&self) -> NamedLock {
        NamedLock::open(self.path()).unwrap()
    }

    fn content(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }
}

impl Drop for Spot {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// What came of taking a lock.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    InOrder,
    OwnerDied,
    TimedOut,
    Failed(ErrorKind),
}

/// What comes of it; a guard is dropped as it came.
fn outcome(taken: Result<NamedLockGuard<'_>, LockError<NamedLockGuard<'_>>>) -> Outcome {
    match taken {
        Ok(guard) => {
            assert!(!guard.is_after_death());
            Outcome::InOrder
        }
        Err(LockError::OwnerDied(guard)) => {
            assert!(guard.is_after_death());
            Outcome::OwnerDied
        }
        Err(LockError::TimedOut) => Outcome::TimedOut,
        Err(LockError::Failed(error)) => Outcome::Failed(error.kind()),
    }
}

#[test]
fn two_locks_of_one_path_exclude_each_other() {
    let spot = Spot::new("two");
    let (first, second) = (spot.open(), spot.open());
    let guard = first.lock().unwrap();
    assert_eq!(outcome(second.try_lock()), Outcome::TimedOut);
    assert_eq!(outcome(first.try_lock()), Outcome::TimedOut);
    drop(guard);
    assert_eq!(outcome(second.try_lock()), Outcome::InOrder);
    assert_eq!(outcome(first.lock()), Outcome::InOrder);
}

#[test]
fn the_file_names_the_owner_as_long_as_there_is_one() {
    let spot = Spot::new("owner");
    let (lock, other) = (spot.open(), spot.open());
    assert_eq!((lock.owner().unwrap(), spot.content()), (None, Vec::new()));
    let guard = lock.lock().unwrap();
    let me = procession_sys::process::identity(std::process::id()).unwrap();
    let owner = NamedOwner { pid: me.pid, start_ticks: Some(me.start_ticks) };
    assert_eq!((lock.owner().unwrap(), other.owner().unwrap()), (Some(owner), Some(owner)));
    let text = String::from_utf8(spot.content()).unwrap();
    assert_eq!(text.lines().next().unwrap(), me.pid.to_string());
    drop(guard);
    assert_eq!((lock.owner().unwrap(), other.owner().unwrap()), (None, None));
    assert_eq!(spot.content(), BLANK);
}

#[test]
fn what_is_left_in_the_file_is_a_death_until_somebody_repairs() {
    let spot = Spot::new("left");
    let lock = spot.open();
    let leftovers: [&[u8]; 5] = [b"4711\n", b"hello", &[0; LEN], &[b'7'; 4000], &[b' '; LEN + 1]];
    for leftover in leftovers {
        std::fs::write(spot.path(), leftover).unwrap();
        assert_eq!(lock.owner().unwrap(), None, "nobody has it");
        for _ in 0..2 {
            assert_eq!(outcome(lock.lock()), Outcome::OwnerDied, "passed on");
        }
        let mut guard = lock.lock().or_else(LockError::into_guard).unwrap();
        assert!(guard.is_after_death());
        assert_eq!(lock.owner().unwrap().map(|owner| owner.pid), Some(std::process::id()));
        guard.repair();
        assert!(!guard.is_after_death());
        drop(guard);
        assert_eq!(outcome(lock.try_lock()), Outcome::InOrder);
        assert_eq!(spot.content(), BLANK);
    }
    std::fs::write(spot.path(), b"\n").unwrap();
    assert_eq!(outcome(lock.try_lock()), Outcome::InOrder);
}

#[test]
fn a_leaked_guard_is_a_death_once_its_lock_is_gone() {
    let spot = Spot::new("leak");
    let (lock, other) = (spot.open(), spot.open());
    let guard = lock.lock().unwrap();
    #[expect(clippy::mem_forget, reason = "it is what is tested")]
    std::mem::forget(guard);
    assert_eq!(outcome(lock.try_lock()), Outcome::TimedOut);
    assert_eq!(outcome(other.try_lock()), Outcome::TimedOut);
    drop(lock);
    assert_eq!(outcome(other.try_lock()), Outcome::OwnerDied);
}

#[test]
fn a_panic_gives_the_lock_back() {
    let spot = Spot::new("panic");
    let lock = spot.open();
    let panicked = thread::scope(|scope| {
        let body = || {
            let _guard = lock.lock().unwrap();
            panic!("on purpose");
        };
        scope.spawn(body).join()
    });
    assert!(panicked.is_err());
    assert_eq!(outcome(lock.try_lock()), Outcome::InOrder);
}

#[test]
fn the_deadline_is_kept_and_not_anticipated() {
    let spot = Spot::new("deadline");
    let (lock, other) = (spot.open(), spot.open());
    let _guard = lock.lock().unwrap();
    // By the file, and by the gate.
    for waits in [&other, &lock] {
        for millis in [0, 1, 30, 250] {
            let (timeout, start) = (Duration::from_millis(millis), Instant::now());
            assert_eq!(outcome(waits.lock_timeout(timeout)), Outcome::TimedOut);
            assert!(start.elapsed() >= timeout, "{:?}", start.elapsed());
        }
    }
}

/// Has threads take turns at a counter that is not atomic, by the locks that `lock_of` gives them, and by all ways to wait.
fn count_by_turns<'a>(lock_of: impl Fn(usize) -> &'a NamedLock) {
    const THREADS: usize = 4;
    const ROUNDS: u64 = 200;
    // Relaxed loads and stores on their own add up to nothing when two threads are inside.
    let counter = AtomicU64::new(0);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (lock, counter) = (lock_of(number), &counter);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let guard = match round % 2 {
                        0 => lock.lock().unwrap(),
                        _ => lock.lock_timeout(Duration::from_secs(60)).unwrap(),
                    };
                    let seen = counter.load(Relaxed);
                    thread::yield_now();
                    counter.store(seen + 1, Relaxed);
                    drop(guard);
                }
            });
        }
    });
    assert_eq!(counter.load(Relaxed), THREADS as u64 * ROUNDS);
}

#[test]
fn threads_that_share_a_lock_exclude_each_other() {
    let spot = Spot::new("threads");
    let lock = spot.open();
    count_by_turns(|_| &lock);
}

#[test]
fn threads_with_locks_of_their_own_exclude_each_other() {
    let spot = Spot::new("locks");
    let locks = [spot.open(), spot.open(), spot.open(), spot.open()];
    count_by_turns(|number| &locks[number]);
}

#[test]
fn threads_that_share_one_of_two_locks_exclude_each_other() {
    let spot = Spot::new("shared");
    let locks = [spot.open(), spot.open()];
    count_by_turns(|number| &locks[number % 2]);
}

#[test]
fn a_guard_may_be_dropped_by_another_thread() {
    let spot = Spot::new("send");
    let lock = spot.open();
    thread::scope(|scope| {
        let (tx, rx) = mpsc::channel();
        let guard = lock.lock().unwrap();
        scope.spawn(move || drop::<NamedLockGuard<'_>>(rx.recv().unwrap()));
        tx.send(guard).unwrap();
        assert_eq!(outcome(lock.lock_timeout(Duration::from_secs(20))), Outcome::InOrder);
    });
}

#[test]
fn a_waiter_is_served_when_the_lock_is_given_back() {
    let spot = Spot::new("served");
    let (lock, other) = (spot.open(), spot.open());
    let ways: [fn(&NamedLock) -> Outcome; 2] =
        [|lock| outcome(lock.lock()), |lock| outcome(lock.lock_timeout(Duration::from_secs(20)))];
    // By the file, and by the gate.
    for waits in [&other, &lock] {
        for way in ways {
            let guard = lock.lock().unwrap();
            thread::scope(|scope| {
                let (tx, rx) = mpsc::channel();
                scope.spawn(move || tx.send(way(waits)).unwrap());
                assert!(rx.recv_timeout(Duration::from_millis(20)).is_err());
                drop(guard);
                assert_eq!(rx.recv_timeout(Duration::from_secs(20)).unwrap(), Outcome::InOrder);
            });
        }
    }
}

#[test]
fn what_is_no_file_for_a_lock_is_refused_and_left_as_it_is() {
    let spot = Spot::new("refused");
    let kind = |path: PathBuf| NamedLock::open(path).unwrap_err().kind();
    assert_eq!(kind(spot.0.clone()), ErrorKind::Os);
    assert_eq!(kind(spot.0.join("no/lock")), ErrorKind::Os);
    assert_eq!(kind("/dev/null".into()), ErrorKind::InvalidInput);
    assert_eq!(kind(PathBuf::new()), ErrorKind::InvalidInput);
    assert_eq!(kind("/tmp/a\0b".into()), ErrorKind::Os);
    let document = vec![b'x'; 4097];
    std::fs::write(spot.path(), &document).unwrap();
    assert_eq!(kind(spot.path()), ErrorKind::InvalidInput);
    assert_eq!(spot.content(), document);
    std::os::unix::fs::symlink(spot.path(), spot.0.join("link")).unwrap();
    assert_eq!(kind(spot.0.join("link")), ErrorKind::Os);
}

#[test]
fn opening_touches_nothing() {
    let spot = Spot::new("open");
    std::fs::write(spot.path(), b"4711\n").unwrap();
    let lock = spot.open();
    assert_eq!(lock.path(), spot.path());
    assert_eq!(spot.content(), b"4711\n");
}

#[test]
fn a_relative_path_is_one_from_the_root() {
    // Where the tests run there is no such folder.
    let error = NamedLock::open("no/such/lock").unwrap_err();
    let here = std::env::current_dir().unwrap();
    assert!(error.to_string().contains(&here.display().to_string()), "{error}");
}

#[test]
fn a_lock_whose_file_was_removed_says_so_and_is_not_taken() {
    let spot = Spot::new("removed");
    let lock = spot.open();
    std::fs::remove_file(spot.path()).unwrap();
    for _ in 0..2 {
        assert_eq!(outcome(lock.lock()), Outcome::Failed(ErrorKind::Broken));
        assert_eq!(outcome(lock.try_lock()), Outcome::Failed(ErrorKind::Broken));
    }
    let anew = spot.open();
    let _guard = anew.lock().unwrap();
    assert_eq!(outcome(lock.try_lock()), Outcome::Failed(ErrorKind::Broken));
}

#[test]
fn locks_and_guards_go_to_other_threads() {
    fn goes_everywhere<T: Send + Sync>() {}
    goes_everywhere::<NamedLock>();
    goes_everywhere::<NamedLockGuard<'_>>();
}
