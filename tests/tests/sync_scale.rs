//! Many processes at once, and many objects.

use std::os::fd::OwnedFd;

use procession::{Barrier, Handle, Lock, Process, Result};
use procession_sys::memory::SharedWords;
use procession_sys::prim::Ordering::Relaxed;
use procession_sys::surroundings::{Resource, limit, set_limit};
use procession_sys::{fd, prim};
use procession_tests::watchdog;

procession::test_support!();

const THOUSAND: usize = 1000;

/// Each adds one, not atomically; so that a lock that two have shows.
fn add(barrier: Barrier, lock: Lock, words: Handle<OwnedFd>) -> Result<()> {
    let sum = SharedWords::open(words.into_inner())?;
    barrier.wait()?;
    let guard = lock.lock()?;
    bump(sum.word(0));
    drop(guard);
    barrier.wait()?;
    assert_eq!(sum.word(0).load(Relaxed), THOUSAND as u64, "all have added before any goes on");
    Ok(())
}

fn bump(word: &prim::AtomicU64) {
    let sum = word.load(Relaxed);
    std::hint::black_box(sum);
    word.store(sum + 1, Relaxed);
}

#[test]
fn a_thousand_processes_pass_one_barrier_and_share_one_lock() {
    let _dog = watchdog(110);
    // Two or three descriptors for each.
    let (_, most) = limit(Resource::Descriptors);
    set_limit(Resource::Descriptors, (Some(most.map_or(65_536, |most| most.min(65_536))), most))
        .unwrap();
    let (barrier, lock) = (Barrier::new(THOUSAND).unwrap(), Lock::new().unwrap());
    let sum = SharedWords::create(1).unwrap();
    let words = || Handle(fd::duplicate(&sum).unwrap());
    let start = |_| Process::spawn(add, (barrier.clone(), lock.clone(), words())).unwrap();
    let children: Vec<_> = (0..THOUSAND).map(start).collect();
    for child in children {
        child.join().unwrap().unwrap();
    }
    assert_eq!(sum.word(0).load(Relaxed), THOUSAND as u64);
    assert!(!barrier.is_broken() && !lock.is_locked());
}
