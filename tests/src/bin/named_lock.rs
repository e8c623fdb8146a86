//! Takes a named lock in all the ways that its tests ask for. The first argument says which, the second is the path of the lock.

#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]
#![expect(unsafe_code, reason = "forks as a foreign library does")]

use std::fs::OpenOptions;
use std::io::{BufRead, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use procession::prelude::*;
use procession::sync::NamedLockGuard;
use procession::{LockError, NamedLock};
use procession_sys::fork::{Forked, fork};
use procession_sys::surroundings::{Resource, set_limit};
use procession_sys::{Deadline, pidfd, poll, process, user};
use procession_tests::{Litter, SOON, row};

type Taken<'a> = Result<NamedLockGuard<'a>, LockError<NamedLockGuard<'a>>>;

/// Longer than anything may take.
const AGES: Duration = Duration::from_secs(60);

fn argument(at: usize) -> String {
    std::env::args().nth(at).unwrap()
}

fn path() -> PathBuf {
    argument(2).into()
}

fn open() -> NamedLock {
    NamedLock::open(path()).unwrap()
}

fn say(text: &str) {
    println!("{text}");
    std::io::stdout().flush().unwrap();
}

/// Says what came of it, and keeps the guard.
fn told<'a>(taken: Taken<'a>) -> Option<NamedLockGuard<'a>> {
    let (text, guard) = match taken {
        Ok(guard) => ("in order".to_owned(), Some(guard)),
        Err(LockError::OwnerDied(guard)) => ("owner died".to_owned(), Some(guard)),
        Err(LockError::TimedOut) => ("timed out".to_owned(), None),
        Err(LockError::Failed(error)) => {
            (format!("failed: {:?} {:?}", error.kind(), error.os_code()), None)
        }
    };
    say(&text);
    guard
}

/// Does what it reads, line by line.
fn obey() {
    let lock = open();
    let mut guard = None;
    say("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "lock" => guard = told(lock.lock()),
            "try" => guard = told(lock.try_lock()),
            "within" => {
                let timeout = Duration::from_millis(rest.parse().unwrap());
                let start = Instant::now();
                guard = told(lock.lock_timeout(timeout));
                assert!(guard.is_some() || start.elapsed() >= timeout);
            }
            "repair" => {
                guard.as_mut().unwrap().repair();
                say("repaired");
            }
            "give" => {
                drop(guard.take().unwrap());
                say("given");
            }
            "limit" => {
                let most = rest.parse().unwrap();
                set_limit(Resource::FileSize, (Some(most), None)).unwrap();
                say("limited");
            }
            "owner" => say(&format!("{:?}", lock.owner().unwrap().map(|owner| owner.pid))),
            "end" => {
                // With the guard, if there is one.
                procession::exit(7);
            }
            other => panic!("{other}"),
        }
    }
}

/// Increments the number in a file so many times.
fn count() {
    let (lock, counter, rounds) = (open(), argument(3), argument(4).parse::<u64>().unwrap());
    for round in 0..rounds {
        let guard = match round % 2 {
            0 => lock.lock().unwrap(),
            _ => lock.lock_timeout(AGES).unwrap(),
        };
        let seen: u64 = std::fs::read_to_string(&counter).unwrap().parse().unwrap();
        std::fs::write(&counter, (seen + 1).to_string()).unwrap();
        drop(guard);
    }
}

/// Counts until it is killed, or the file `stop` is there. See the test for what it leaves.
fn hammer() {
    const WORD: u64 = 8;
    let folder = PathBuf::from(argument(3));
    let (own, slots): (u64, usize) = (argument(4).parse().unwrap(), argument(5).parse().unwrap());
    let file = |name: &str| {
        let path = folder.join(name);
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
    };
    let (data, log, lock) = (file("data"), file(&format!("log {own}")), open());
    let put = |at: u64, value: u64| data.write_all_at(&value.to_ne_bytes(), at * WORD).unwrap();
    let mut rounds = 0u64;
    while !folder.join("stop").exists() {
        let taken = match rounds % 3 {
            0 => lock.lock(),
            1 => lock.lock_timeout(AGES),
            _ => loop {
                match lock.try_lock() {
                    Err(LockError::TimedOut) => std::thread::yield_now(),
                    other => break other,
                }
            },
        };
        let mut bytes = vec![0; slots * 8];
        let mut read = || {
            data.read_exact_at(&mut bytes, 0).unwrap();
            let words = bytes.chunks_exact(8);
            words.map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect::<Vec<u64>>()
        };
        let mut words;
        let guard = match taken {
            Ok(guard) => {
                words = read();
                assert_eq!(words[0], words[2..].iter().sum::<u64>(), "half done, and in order");
                guard
            }
            Err(LockError::OwnerDied(mut guard)) => {
                words = read();
                words[0] = words[2..].iter().sum();
                put(0, words[0]);
                put(1, words[1] + 1);
                guard.repair();
                guard
            }
            Err(other) => panic!("{other}"),
        };
        let at = 2 + usize::try_from(own).unwrap();
        put(2 + own, words[at] + 1);
        put(0, words[0] + 1);
        drop(guard);
        rounds += 1;
        log.write_all_at(&rounds.to_ne_bytes(), 0).unwrap();
    }
}

/// Uses locks, contended and not, and looks whether anything stays open.
fn leave_nothing() {
    let round = || {
        let (lock, other) = (open(), open());
        let guard = lock.lock().unwrap();
        assert!(matches!(other.lock_timeout(Duration::from_millis(2)), Err(LockError::TimedOut)));
        assert!(matches!(lock.lock_timeout(Duration::from_millis(2)), Err(LockError::TimedOut)));
        drop(guard);
        drop(other.lock_timeout(SOON).unwrap());
        assert!(NamedLock::open("/dev/null").is_err());
    };
    round();
    let before = Litter::now();
    for _ in 0..20 {
        round();
    }
    assert_eq!(Litter::now(), before);
    say("done");
}

/// Tells how opening goes for somebody without privileges.
fn open_without_rights() {
    if process_is_superuser() {
        user::become_user(Some(51_234), Some(51_234), None).unwrap();
    }
    let error = NamedLock::open(path()).unwrap_err();
    say(&format!("{:?} {:?}", error.kind(), error.os_code().map(|code| code.raw())));
}

fn process_is_superuser() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let users = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    users.split_whitespace().nth(2) == Some("0")
}

/// Ends a copy of this process that panics, without what its parent would do at its end.
struct EndOnPanic;

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        process::exit_now(101);
    }
}

/// Copies this process; the number of the copy, or zero in that.
fn copy() -> u32 {
    // SAFETY: No other thread has been started.
    match unsafe { fork() }.unwrap() {
        Forked::Child => 0,
        Forked::Parent { child } => child,
    }
}

fn wait_for(child: u32) {
    let child = pidfd::open(child).unwrap();
    assert!(poll::wait_readable(&child, Deadline::after(SOON)).unwrap(), "the copy hangs");
    assert_eq!(pidfd::try_reap(&child).unwrap().unwrap().ended, pidfd::Ended::Exited(0));
}

fn is_timed_out(taken: Taken<'_>) -> bool {
    matches!(taken, Err(LockError::TimedOut))
}

fn descriptors() -> usize {
    procession_sys::fd::open_descriptors().unwrap().len()
}

/// What a copy of a process may do with the locks of that, and what not.
fn fork_with_guard() {
    let (lock, other) = (open(), open());
    let mut guard = lock.lock().unwrap();
    let owner = lock.owner().unwrap();
    let (told, tell) = std::io::pipe().unwrap();
    let child = copy();
    if child == 0 {
        let _guard = EndOnPanic;
        let before = descriptors();
        // A copy of what is the parent's: this gives nothing back.
        guard.repair();
        drop(guard);
        assert!(is_timed_out(lock.try_lock()) && is_timed_out(other.try_lock()));
        assert!(is_timed_out(lock.lock_timeout(Duration::from_millis(30))));
        assert_eq!(lock.owner().unwrap(), owner);
        (&tell).write_all(b"x").unwrap();
        drop(lock.lock().unwrap());
        drop(other.lock().unwrap());
        let own = lock.lock().unwrap();
        assert_eq!(lock.owner().unwrap().unwrap().pid, std::process::id());
        // And so on.
        let grandchild = copy();
        if grandchild == 0 {
            drop(own);
            assert!(is_timed_out(lock.try_lock()) && is_timed_out(other.try_lock()));
            process::exit_now(0);
        }
        wait_for(grandchild);
        assert!(is_timed_out(other.try_lock()));
        drop(own);
        drop(lock);
        // Its copy is closed, and what it had opened anew; that of the other one is left.
        assert_eq!(descriptors(), before - 1 + 1);
        let _own = other.lock().unwrap();
        // It dies over it.
        process::exit_now(0);
    }
    std::io::Read::read_exact(&mut &told, &mut [0]).unwrap();
    assert!(is_timed_out(other.try_lock()), "the copy has given nothing back");
    assert_eq!(other.owner().unwrap(), owner);
    drop(guard);
    wait_for(child);
    assert!(matches!(lock.lock(), Err(LockError::OwnerDied(_))));
    say("done");
}

/// Has a copy that lives on, and drops its copy of the lock when it reads a line.
fn fork_and_stay() {
    let lock = open();
    let guard = lock.lock().unwrap();
    let child = copy();
    if child == 0 {
        let _guard = EndOnPanic;
        let mut lines = std::io::stdin().lock().lines();
        assert_eq!(lines.next().unwrap().unwrap(), "drop");
        drop(guard);
        drop(lock);
        say("dropped");
        lines.next();
        process::exit_now(0);
    }
    say(&child.to_string());
    let child = pidfd::open(child).unwrap();
    poll::wait_readable(&child, Deadline::NEVER).unwrap();
}

/// A child of the start method `fork` has this as well.
static LOCK: procession_sys::wipe::SetOnce<NamedLock> = procession_sys::wipe::SetOnce::new();

fn start_by_fork() {
    let lock = LOCK.set(open());
    let _guard = lock.lock().unwrap();
    let look = |tx: Sender<bool>| {
        let lock = LOCK.get().unwrap();
        tx.send(is_timed_out(lock.try_lock())).unwrap();
        drop(lock.lock());
    };
    let (tx, rx) = pipe().unwrap();
    let child = Context::new(StartMethod::Fork).process().spawn(look, (tx,)).unwrap();
    assert!(rx.recv().unwrap());
    say(&child.pid().to_string());
    child.join().unwrap();
}

fn main() {
    procession::init();
    assert!(Path::new(&path()).is_absolute());
    row(&[
        ("obey", obey as fn()),
        ("count", count),
        ("hammer", hammer),
        ("leave nothing", leave_nothing),
        ("open without rights", open_without_rights),
        ("fork with guard", fork_with_guard),
        ("fork and stay", fork_and_stay),
        ("start by fork", start_by_fork),
    ])();
}
