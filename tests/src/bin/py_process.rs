//! The rows of CPython's `_TestProcess` about the life of a process: runs the row that the first argument names, under the
//! start method that the second one names.
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::collections::BTreeMap;
use std::io::{PipeWriter, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use procession::prelude::*;
use procession::{
    Child, Death, ErrorKind, Reason, active_children, current_process, parent_process,
};
use procession_sys::fork::thread_id;
use procession_sys::{Deadline, poll, signal};
use procession_tests::{Litter, SOON, Stranger, fork_server, wait_until};

const ROWS: [(&str, fn()); 18] = [
    ("current", current),
    ("args_argument", args_argument),
    ("daemon_argument", daemon_argument),
    ("parent_process_attributes", parent_process_attributes),
    ("parent_process", the_end_of_a_parent),
    ("process", process),
    ("process_mainthread_native_id", process_mainthread_native_id),
    ("terminate", terminate),
    ("kill", kill),
    ("cpu_count", cpu_count),
    ("active_children", fresh_active_children),
    ("recursion", recursion),
    ("sentinel", sentinel),
    ("close", close),
    ("many_processes", many_processes),
    ("wait_for_threads", wait_for_threads),
    ("forkserver_sigint", forkserver_sigint),
    ("forkserver_sigkill", forkserver_sigkill),
];

fn current() {
    let current = current_process();
    assert_eq!((current.name(), current.is_daemon()), ("MainProcess", false));
    assert_eq!(current.pid(), std::process::id());
    assert!(Stranger::new(current.pid()).is_alive());
    assert!(!current.authkey().unwrap().as_bytes().is_empty());
    assert!(active_children().unwrap().is_empty());
}

/// One argument that comes back as it is.
#[track_caller]
fn unchanged<T>(value: T)
where
    T: serde::Serialize
        + serde::de::DeserializeOwned
        + PartialEq
        + Clone
        + std::fmt::Debug
        + 'static,
{
    let child = Process::spawn(|x: T| x, (value.clone(),)).unwrap();
    assert_eq!(child.join().unwrap(), value);
}

fn args_argument() {
    unchanged(1);
    unchanged(-0.5f64);
    unchanged('ß');
    unchanged("a text".to_owned());
    unchanged(vec![1, 2, 3]);
    unchanged(vec!["a".to_owned(), String::new()]);
    unchanged((1, "two".to_owned(), [3.0, 4.0]));
    unchanged(((1, 2), (3, (4, vec![5]))));
    unchanged(vec![vec![vec![1], vec![]], vec![]]);
    unchanged(vec![(Some(1), Ok::<u8, String>(2)), (None, Err("no".into()))]);
    unchanged(BTreeMap::from([("key".to_owned(), vec![(1, 2)])]));
    // From none to eight of them, each in its place.
    Process::spawn(|| (), ()).unwrap().join().unwrap();
    let two = |a: u8, b: Vec<u8>| (a, b);
    assert_eq!(Process::spawn(two, (1, vec![2])).unwrap().join().unwrap(), (1, vec![2]));
    let eight =
        |a: u8, b: i8, c: char, d: f32, e: String, f: (u8, u8), g: Option<u8>, h: [u8; 2]| {
            format!("{a} {b} {c} {d} {e} {f:?} {g:?} {h:?}")
        };
    let child = Process::spawn(eight, (1, -2, '3', 4.5, "5".into(), (6, 7), Some(8), [9, 10]));
    assert_eq!(child.unwrap().join().unwrap(), "1 -2 3 4.5 5 (6, 7) Some(8) [9, 10]");
}

fn is_daemon() -> bool {
    current_process().is_daemon()
}

/// What children of a process are that says nothing, `true` and `false`; as they and as their parent see it.
fn daemons() -> Vec<(bool, bool)> {
    let builders =
        [Process::builder(), Process::builder().daemon(true), Process::builder().daemon(false)];
    let spawn = |builder: procession::process::Builder| builder.spawn(is_daemon, ()).unwrap();
    let children: Vec<_> = builders.into_iter().map(spawn).collect();
    children.iter().map(|child| (child.is_daemon(), child.join().unwrap())).collect()
}

fn daemon_argument() {
    assert_eq!(daemons(), [(false, false), (true, true), (false, false)]);
    let daemon = Process::builder().daemon(true).spawn(daemons, ()).unwrap();
    assert_eq!(daemon.join().unwrap(), [(true, true), (true, true), (false, false)]);
}

/// Number and name of this process's parent, as it knows it.
fn parent() -> Option<(u32, String)> {
    parent_process().map(|parent| (parent.pid(), parent.name().to_owned()))
}

fn parent_process_attributes() {
    assert_eq!(parent(), None);
    let own = (std::process::id(), current_process().name().to_owned());
    assert_eq!(Process::spawn(parent, ()).unwrap().join().unwrap(), Some(own));
    let nested = || (std::process::id(), Process::spawn(parent, ()).unwrap().join().unwrap());
    let child = Process::builder().name("Ada").spawn(nested, ()).unwrap();
    let (pid, seen) = child.join().unwrap();
    assert_eq!(seen, Some((pid, "Ada".into())));
}

fn look_at_parent(tx: Sender<(u32, bool)>) {
    let parent = parent_process().unwrap();
    let own = std::process::id();
    tx.send((own, parent.is_alive().unwrap())).unwrap();
    let has_ended = parent.join_timeout(SOON).unwrap();
    assert!(has_ended, "it was terminated");
    tx.send((own, parent.is_alive().unwrap())).unwrap();
}

fn the_end_of_a_parent() {
    let (tx, rx) = pipe().unwrap();
    let middle = |tx: Sender<(u32, bool)>| {
        Process::builder().outlive_parent().spawn(look_at_parent, (tx,)).unwrap().join().unwrap();
    };
    let parent = Process::spawn(middle, (tx,)).unwrap();
    let (grandchild, is_alive) = rx.recv_timeout(SOON).unwrap();
    let grandchild = Stranger::new(grandchild);
    assert!(is_alive);
    parent.terminate().unwrap();
    assert!(parent.join().is_err());
    assert_eq!(parent.exit_status().unwrap().unwrap().signal(), Some(signal::TERMINATE));
    assert_eq!(rx.recv_timeout(SOON).unwrap(), (grandchild.pid, false));
    assert!(grandchild.ends_soon());
}

/// Whether that child is on the list. By its name: threads that stand for processes share their number.
fn is_listed(child: &Child) -> bool {
    let listed = active_children().unwrap();
    listed.iter().any(|known| (known.pid(), known.name()) == (child.pid(), child.name()))
}

fn process() {
    type Seen = ((u32, String), String, Vec<u8>, u32, bool);
    let work = |go: Receiver<()>, a: u32, b: String| -> Seen {
        go.recv().unwrap();
        let current = current_process();
        let key = current.authkey().unwrap().as_bytes().to_vec();
        ((a, b), current.name().to_owned(), key, current.pid(), current.is_daemon())
    };
    let builder = Process::builder().name("Some process").daemon(true);
    assert!(active_children().unwrap().is_empty());
    let (tx, rx) = pipe().unwrap();
    let child = builder.spawn(work, (rx, 1, "two".into())).unwrap();
    assert!(child.is_alive().unwrap() && child.is_daemon() && is_listed(&child));
    assert_eq!(active_children().unwrap().len(), 1);
    assert_eq!(child.exit_status().unwrap(), None);
    tx.send(()).unwrap();
    let (arguments, name, key, pid, is_daemon) = child.join().unwrap();
    assert_eq!((arguments, &*name), ((1, "two".into()), "Some process"));
    assert_eq!((child.name(), child.pid(), child.is_daemon()), (&*name, pid, is_daemon));
    assert_eq!(key, current_process().authkey().unwrap().as_bytes());
    assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(0)));
    assert!(!child.is_alive().unwrap() && active_children().unwrap().is_empty());
}

fn process_mainthread_native_id() {
    let (in_child, pid) =
        Process::spawn(|| (thread_id(), std::process::id()), ()).unwrap().join().unwrap();
    assert_ne!(in_child, thread_id());
    assert_eq!(in_child, pid, "the function runs in the main thread");
}

/// Says that it is there, and never returns.
fn stay(ready: Sender<()>) {
    ready.send(()).unwrap();
    loop {
        thread::park();
    }
}

#[track_caller]
fn end_by(end: fn(&Child) -> procession::Result<()>, number: i32) {
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(stay, (tx,)).unwrap();
    rx.recv_timeout(SOON).unwrap();
    assert!(child.is_alive().unwrap() && is_listed(&child));
    assert_eq!(child.exit_status().unwrap(), None);
    assert!(child.join_timeout(Duration::ZERO).is_none());
    assert!(child.try_join().is_none());
    assert!(!child.wait(Duration::ZERO).unwrap());
    assert!(child.is_alive().unwrap());
    end(&child).unwrap();
    let expected = ExitStatus::Signaled { signal: number, core_dumped: false };
    for _ in 0..2 {
        let Err(JoinError::Died(Death { name, pid, status, reason, .. })) = child.join() else {
            panic!("it died")
        };
        assert_eq!((&*name, pid), (child.name(), child.pid()));
        assert_eq!((status, reason), (expected, Reason::Asked));
    }
    assert!(child.join_timeout(Duration::ZERO).is_some());
    assert_eq!(child.exit_status().unwrap(), Some(expected));
    assert!(!child.is_alive().unwrap() && active_children().unwrap().is_empty());
}

fn terminate() {
    end_by(Child::terminate, signal::TERMINATE);
}

fn kill() {
    end_by(Child::kill, signal::KILL);
}

fn cpu_count() {
    let count = procession::cpu_count().unwrap().get();
    let usable = procession_sys::surroundings::Surroundings::of_this_process().unwrap().processors;
    assert!(count >= 1 && count <= usable.len(), "{count} of {usable:?}");
    if procession::start_method() != StartMethod::Thread {
        let bound = Process::builder().affinity([usable[0]]);
        let count = || procession::cpu_count().unwrap().get();
        assert_eq!(bound.spawn(count, ()).unwrap().join().unwrap(), 1);
    }
}

fn fresh_active_children() {
    let before = active_children().unwrap();
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(|rx: Receiver<()>| rx.recv().unwrap(), (rx,)).unwrap();
    assert!(is_listed(&child));
    let mut list = active_children().unwrap();
    list.clear();
    assert!(is_listed(&child), "whoever asks gets a list of their own");
    assert!(before.is_empty());
    tx.send(()).unwrap();
    child.join().unwrap();
    assert!(!is_listed(&child) && active_children().unwrap().is_empty());
}

fn recurse(mut out: Handle<PipeWriter>, path: Vec<u8>) {
    writeln!(out, "{path:?}").unwrap();
    if path.len() < 2 {
        for step in 0..2 {
            let path = [path.as_slice(), &[step]].concat();
            let shared = Handle(out.try_clone().unwrap());
            Process::spawn(recurse, (shared, path)).unwrap().join().unwrap();
        }
    }
}

fn recursion() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    Process::spawn(recurse, (Handle(writer), vec![])).unwrap().join().unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "[]\n[0]\n[0, 0]\n[0, 1]\n[1]\n[1, 0]\n[1, 1]\n");
}

fn sentinel() {
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(|rx: Receiver<()>| rx.recv().unwrap(), (rx,)).unwrap();
    let is_ready = |timeout| {
        let by_name = poll::wait_readable(child.sentinel(), Deadline::after(timeout)).unwrap();
        let as_descriptor = poll::wait_readable(&child, Deadline::after(timeout)).unwrap();
        assert_eq!(by_name, as_descriptor);
        by_name
    };
    assert!(!is_ready(Duration::ZERO) && !is_ready(Duration::from_millis(50)));
    tx.send(()).unwrap();
    assert!(is_ready(SOON));
    assert!(child.wait(SOON).unwrap());
    assert!(is_ready(Duration::ZERO), "it stays ready");
    child.join().unwrap();
    assert!(is_ready(Duration::ZERO));
}

fn close() {
    // What first starts open for good.
    for _ in 0..3 {
        Process::spawn(|| (), ()).unwrap().join().unwrap();
    }
    let before = Litter::now();
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(|rx: Receiver<()>| rx.recv().unwrap(), (rx,)).unwrap();
    let listed = Arc::downgrade(&active_children().unwrap()[0]);
    assert!(listed.upgrade().is_some());
    // Closing takes the handle, so that nobody can ask it afterwards, nor close it twice; here it comes back.
    let (child, error) = child.close().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(child.is_alive().unwrap());
    tx.send(()).unwrap();
    assert!(child.wait(SOON).unwrap());
    child.close().unwrap();
    assert!(listed.upgrade().is_none(), "nothing of it is kept");
    drop(tx);
    assert_eq!(Litter::now(), before);
}

fn many_processes() {
    const MANY: usize = 100;
    let children: Vec<_> = (0..MANY).map(|_| Process::spawn(|| (), ()).unwrap()).collect();
    for child in &children {
        child.join().unwrap();
        assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(0)));
    }
    let park = || -> () {
        loop {
            thread::park();
        }
    };
    // Wherever they are by now: most have not begun.
    let children: Vec<_> = (0..MANY).map(|_| Process::spawn(park, ()).unwrap()).collect();
    for child in &children {
        child.terminate().unwrap();
    }
    let expected = ExitStatus::Signaled { signal: signal::TERMINATE, core_dumped: false };
    for child in &children {
        assert!(matches!(child.join(), Err(JoinError::Died(_))));
        assert_eq!(child.exit_status().unwrap(), Some(expected));
    }
    assert!(active_children().unwrap().is_empty());
}

/// Python waits for the threads of a child that are no daemons. Here, as in any Rust program, what `main` leaves running ends.
fn wait_for_threads() {
    let (tx, rx) = pipe().unwrap();
    let leave_one = |tx: Sender<u32>| {
        let (started, has_started) = std::sync::mpsc::channel();
        thread::spawn(move || {
            tx.send(std::process::id()).unwrap();
            started.send(()).unwrap();
            loop {
                thread::park();
            }
        });
        has_started.recv().unwrap();
        "returned".to_owned()
    };
    let child = Process::spawn(leave_one, (tx,)).unwrap();
    assert_eq!(child.join().unwrap(), "returned");
    assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(0)));
    assert_eq!(rx.recv_timeout(SOON).unwrap(), child.pid(), "the thread ran");
    // What the thread held is gone with it.
    assert_eq!(rx.recv().unwrap_err().kind(), ErrorKind::Closed);
}

/// A signal to the fork server while a child runs: see `check_forkserver_death` in CPython's tests.
fn signal_to_the_server(number: i32) -> (ExitStatus, Stranger) {
    let work = |go: Receiver<()>, done: Sender<()>| {
        go.recv().unwrap();
        done.send(()).unwrap();
    };
    let ((go, wait), (done, has_done)) = (pipe().unwrap(), pipe().unwrap());
    let child = Process::spawn(work, (wait, done)).unwrap();
    let server = Stranger::new(fork_server().unwrap());
    assert!(server.signal(number));
    if number == signal::KILL {
        assert!(server.ends_soon());
    }
    assert!(child.is_alive().unwrap());
    let second = Process::spawn(|| 7, ()).unwrap();
    assert_eq!(second.join().unwrap(), 7);
    assert_eq!(second.exit_status().unwrap(), Some(ExitStatus::Exited(0)));
    go.send(()).unwrap();
    has_done.recv_timeout(SOON).unwrap();
    child.join().unwrap();
    (child.exit_status().unwrap().unwrap(), server)
}

fn forkserver_sigint() {
    let (status, server) = signal_to_the_server(signal::INTERRUPT);
    assert_eq!(status, ExitStatus::Exited(0));
    assert!(server.is_alive() && fork_server() == Some(server.pid), "it ignores the signal");
}

fn forkserver_sigkill() {
    let (status, server) = signal_to_the_server(signal::KILL);
    assert!(matches!(status, ExitStatus::Exited(0) | ExitStatus::Unknown), "{status}");
    wait_until("there is another server", || fork_server().is_some_and(|pid| pid != server.pid));
}

fn main() {
    procession::init();
    procession_tests::run_row(&ROWS);
}
