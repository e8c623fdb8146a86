//! Process numbers that are used again harm nobody: a handle is about the process that was started, and about no other.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::thread;

use procession::LockError;
use procession::prelude::*;
use procession_core::family::{Family, ProcessId};
use procession_sys::signal;
use procession_tests::{Stranger, skip, wait_until, watchdog};

procession::test_support!();

/// What the system counts up for the next process number.
const LAST: &str = "/proc/sys/kernel/ns_last_pid";

fn wait_for_ever() {
    loop {
        thread::park();
    }
}

/// Starts processes until one has the number `pid`, which is free; the others end.
fn start_with(pid: u32) -> Process {
    for _ in 0..1000 {
        std::fs::write(LAST, (pid - 1).to_string()).unwrap();
        let child = Process::spawn(wait_for_ever, ()).unwrap();
        if child.pid() == pid {
            return child;
        }
        child.kill().unwrap();
        assert!(child.join().is_err());
    }
    panic!("process number {pid} was not given out again");
}

/// Whether the system lets us say which number comes next.
fn can_force() -> bool {
    let can = std::fs::File::options().write(true).open(LAST).is_ok();
    if !can {
        skip("reuse of process numbers cannot be forced here: it takes a privileged user");
    }
    can
}

#[test]
fn a_handle_of_an_ended_process_does_not_touch_the_next_one_with_its_number() {
    let _dog = watchdog(120);
    if !can_force() {
        return;
    }
    for _ in 0..5 {
        let old = Process::spawn(|| 7, ()).unwrap();
        assert_eq!(old.join().unwrap(), 7);
        let new = start_with(old.pid());
        old.kill().unwrap();
        old.signal(signal::STOP).unwrap();
        old.terminate_tree(std::time::Duration::ZERO).unwrap();
        assert!(!old.is_alive().unwrap());
        assert_eq!(old.join().unwrap(), 7);
        assert_eq!(old.exit_status().unwrap(), Some(ExitStatus::Exited(0)));
        drop(old);
        assert!(new.is_alive().unwrap(), "it is another process");
        new.kill().unwrap();
        assert!(matches!(new.join(), Err(JoinError::Died(_))));
    }
}

#[test]
fn a_handle_that_was_never_joined_keeps_its_number_from_being_used() {
    let _dog = watchdog(120);
    if !can_force() || procession::start_method() != StartMethod::Spawn {
        // The fork server reaps its children at once: only `spawn` leaves that to the handle.
        return;
    }
    let old = Process::spawn(|| (), ()).unwrap();
    assert!(Stranger::new(old.pid()).ends_soon());
    for _ in 0..20 {
        std::fs::write(LAST, (old.pid() - 1).to_string()).unwrap();
        let new = Process::spawn(|| (), ()).unwrap();
        assert_ne!(new.pid(), old.pid());
        new.join().unwrap();
    }
    old.join().unwrap();
}

fn join_family(ready: Sender<ProcessId>) {
    ready.send(Family::current().unwrap().me().unwrap()).unwrap();
    wait_for_ever();
}

#[test]
fn the_family_tells_processes_with_one_number_apart() {
    let _dog = watchdog(120);
    if !can_force() {
        return;
    }
    let family = Family::current().unwrap();
    let (tx, rx) = pipe().unwrap();
    let old = Process::spawn(join_family, (tx,)).unwrap();
    let id = rx.recv().unwrap();
    assert!(family.is_alive(id).unwrap() && family.members().contains(&id));
    let observed = family.observe(id).unwrap().unwrap();
    old.kill().unwrap();
    assert!(old.join().is_err());
    wait_until("it is recovered", || !family.members().contains(&id));
    let new = start_with(old.pid());
    assert!(!family.is_alive(id).unwrap(), "another process has its number");
    assert!(!family.mark_dead(id).unwrap());
    assert!(new.is_alive().unwrap());
    drop(observed);
    new.kill().unwrap();
    assert!(new.join().is_err());
}

fn take_and_keep(lock: Lock, ready: Sender<()>) {
    lock.lock().unwrap().keep();
    ready.send(()).unwrap();
    wait_for_ever();
}

#[test]
fn a_lock_is_not_kept_by_another_process_with_the_number_of_its_dead_owner() {
    let _dog = watchdog(120);
    if !can_force() || procession::start_method() != StartMethod::ForkServer {
        // The fork server reaps its children at once; nobody else here does, so that the number is free and nobody was told.
        return;
    }
    let lock = Lock::new().unwrap();
    let (tx, rx) = pipe().unwrap();
    let owner = Process::spawn(take_and_keep, (lock.clone(), tx)).unwrap();
    rx.recv().unwrap();
    let stranger = Stranger::new(owner.pid());
    assert!(stranger.signal(signal::KILL) && stranger.ends_soon());
    let another = start_with(owner.pid());
    assert!(lock.is_locked(), "nobody has noticed");
    assert!(matches!(lock.lock(), Err(LockError::OwnerDied(_))));
    assert!(another.is_alive().unwrap());
    another.kill().unwrap();
    assert!(another.join().is_err() && owner.join().is_err());
}
