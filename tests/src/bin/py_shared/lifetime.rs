//! How long names live.

use std::time::Duration;

use procession::prelude::*;
use procession_shared::{SharedMemory, SharedMemoryScope};
use procession_sys::doorbell::Doorbell;
use procession_sys::signal;
use procession_tests::{SOON, Stranger, wait_until};

use crate::{Name, Row, is_there, value};

pub(crate) const ROWS: &[Row] = &[
    ("lifetime::server_ignores_sigint", server_ignores_sigint),
    ("lifetime::no_warning_after_shutdown", no_warning_after_shutdown),
    ("lifetime::manager_basics", manager_basics),
    ("lifetime::cleaned_after_process_termination", cleaned_after_process_termination),
    ("lifetime::cleaned_after_kill", cleaned_after_kill),
    ("lifetime::untracking", untracking),
    ("lifetime::a_fork_does_not_end_its_parents_scope", a_fork_does_not_end_its_parents_scope),
];

/// There is no server: a scope is its process's, and serves on when that survives the signal.
fn server_ignores_sigint() {
    let bell: &'static Doorbell = Box::leak(Box::new(Doorbell::new().unwrap()));
    signal::catch(signal::INTERRUPT, bell, 1).unwrap();
    let scope = SharedMemoryScope::new().unwrap();
    let before = scope.shared_memory(10).unwrap();
    assert!(Stranger::new(std::process::id()).signal(signal::INTERRUPT));
    wait_until("it came", || signal::times_caught(signal::INTERRUPT) == 1);
    let behind = scope.shared_memory(10).unwrap();
    for memory in [&before, &behind] {
        SharedMemory::attach(memory.name().unwrap()).unwrap();
    }
}

/// A child that ends in order leaves no name, though its scope is never dropped; and nothing is printed, which the harness shows.
fn no_warning_after_shutdown() {
    let leave = || {
        let scope = SharedMemoryScope::new().unwrap();
        let memory = scope.shared_memory(10).unwrap();
        Box::leak(Box::new(scope));
        memory.name().unwrap().to_owned()
    };
    let name = value(&Process::spawn(leave, ()).unwrap());
    wait_until("its name is gone", || !is_there(&name));
}

fn manager_basics() {
    let scope = SharedMemoryScope::new().unwrap();
    let names: Vec<String> =
        (1..4).map(|size| scope.shared_memory(size).unwrap().name().unwrap().to_owned()).collect();
    for (size, name) in (1..).zip(&names) {
        assert_eq!(SharedMemory::attach(name).unwrap().size(), size);
    }
    drop(scope);
    for name in &names {
        let refused = SharedMemory::attach(name).unwrap_err();
        assert_eq!(refused.kind(), procession::ErrorKind::NotFound);
    }
}

/// Makes a block in a scope, tells its name, and waits for its end.
fn make_and_wait(tx: Sender<String>) {
    let scope = SharedMemoryScope::new().unwrap();
    let memory = scope.shared_memory(1 << 20).unwrap();
    memory.write(0, b"left").unwrap();
    tx.send(memory.name().unwrap().to_owned()).unwrap();
    loop {
        std::thread::park_timeout(Duration::from_secs(60));
    }
}

/// How often a process is killed.
const ROUNDS: usize = 8;

/// The names are gone as soon as the death is known here, because this process has recovered the dead one; but for when
/// another program that makes a scope is at it in the same moment.
fn dies_by(signal: i32) {
    let at_once = (0..ROUNDS).filter(|_| is_gone_at_once(signal)).count();
    assert!(at_once > ROUNDS / 2, "{at_once} of {ROUNDS}");
}

fn is_gone_at_once(signal: i32) -> bool {
    let (tx, rx) = pipe::<String>().unwrap();
    let child = Process::spawn(make_and_wait, (tx,)).unwrap();
    let name = rx.recv_timeout(SOON).unwrap();
    let memory = SharedMemory::attach(&name).unwrap();
    assert!(Stranger::new(child.pid()).signal(signal));
    child.join_timeout(SOON).unwrap().unwrap_err();
    let at_once = !is_there(&name);
    wait_until("its name is gone", || !is_there(&name));
    assert_eq!(memory.read_vec(0..4).unwrap(), b"left", "who has it, has it");
    at_once
}

fn cleaned_after_process_termination() {
    dies_by(signal::TERMINATE);
}

fn cleaned_after_kill() {
    dies_by(signal::KILL);
}

/// Another process that attaches and ends does not take the name away, whichever way it ends.
fn untracking() {
    let name = Name::new("untracking");
    let memory = SharedMemory::create(&name.0, 10).unwrap();
    let attach = |name: String| SharedMemory::attach(&name)?.write(0, b"seen");
    value(&Process::spawn(attach, (name.0.clone(),)).unwrap()).unwrap();
    assert!(is_there(&name.0));
    let attach_and_wait = |name: String, tx: Sender<()>| {
        let _memory = SharedMemory::attach(&name).unwrap();
        tx.send(()).unwrap();
        loop {
            std::thread::park();
        }
    };
    let (tx, rx) = pipe::<()>().unwrap();
    let child: Process<()> = Process::spawn(attach_and_wait, (name.0.clone(), tx)).unwrap();
    rx.recv_timeout(SOON).unwrap();
    child.kill().unwrap();
    child.join_timeout(SOON).unwrap().unwrap_err();
    assert!(is_there(&name.0));
    assert_eq!(memory.read_vec(0..4).unwrap(), b"seen");
}

fn a_fork_does_not_end_its_parents_scope() {
    static SCOPE: std::sync::OnceLock<SharedMemoryScope> = std::sync::OnceLock::new();
    let scope = SCOPE.get_or_init(|| SharedMemoryScope::new().unwrap());
    let memory = scope.shared_memory(10).unwrap();
    value(&Process::spawn(|| (), ()).unwrap());
    assert!(is_there(memory.name().unwrap()));
}
