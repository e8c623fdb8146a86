//! Our own rules about what runs before a child's function: runs the row that the first argument names, under the start method
//! that the second one names.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::sync::mpsc;
use std::thread;

use procession::prelude::*;
use procession::{ErrorKind, active_children, after_fork, preload_fork_server};
use procession_sys::prim::{AtomicU32, Mutex, Ordering, lock};
use procession_sys::signal;
use procession_tests::{Stranger, children, fork_server};

/// A row, and what tells whether it holds.
type Row = (&'static str, fn(StartMethod));

const ROWS: [Row; 5] = [
    ("after_fork_hooks_run_in_forks", hooks),
    ("preload_runs_once_in_the_server", preload),
    ("a_panicking_preload_is_an_error", panicking_preload),
    ("a_preload_that_leaves_a_thread_is_an_error_that_names_it", threaded_preload),
    ("fork_refuses_other_threads_and_names_them", fork_beside_threads),
];

/// What has run in this process, or in those that it was copied from.
static RUN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes that this runs: what, and whether it is in the process `first`.
fn note(what: &str) {
    lock(&RUN).push(format!("{what} in {}", std::process::id()));
}

fn what_has_run() -> Vec<String> {
    lock(&RUN).clone()
}

/// Hooks run in forked children, once each, in the order of their registration, before the function.
fn hooks(method: StartMethod) {
    // In `main`, before `init()`, two were added; this one is for forks of this process only.
    after_fork(|| note("late"));
    assert_eq!(what_has_run(), [""; 0], "nothing has forked here");
    for _ in 0..3 {
        let child = Process::spawn(what_has_run, ()).unwrap();
        let pid = child.pid();
        let expected = match method {
            StartMethod::Spawn => vec![],
            StartMethod::Fork => vec!["first", "second", "late"],
            _ => vec!["first", "second"],
        };
        let expected: Vec<_> = expected.iter().map(|what| format!("{what} in {pid}")).collect();
        assert_eq!(child.join().unwrap(), expected);
    }
    // In each generation anew.
    let nested = || {
        let child = Process::spawn(what_has_run, ()).unwrap();
        (child.pid(), child.join().unwrap())
    };
    let (pid, theirs) = Process::spawn(nested, ()).unwrap().join().unwrap();
    let theirs = theirs.iter().filter(|text| text.ends_with(&format!(" in {pid}"))).count();
    assert_eq!(
        theirs,
        if method == StartMethod::Spawn { 0 } else { 2 + usize::from(method == StartMethod::Fork) }
    );
    assert_eq!(what_has_run(), [""; 0]);
}

/// What is prepared once, and the number of the process that did.
static TABLE: Mutex<Vec<u32>> = Mutex::new(Vec::new());
static TIMES: AtomicU32 = AtomicU32::new(0);

fn prepare() {
    TIMES.fetch_add(1, Ordering::SeqCst);
    lock(&TABLE).extend([std::process::id(), 1, 2, 3]);
}

fn look() -> (u32, Vec<u32>) {
    (TIMES.load(Ordering::SeqCst), lock(&TABLE).clone())
}

fn preload(_: StartMethod) {
    preload_fork_server(prepare).unwrap();
    // Functions are called in their order.
    preload_fork_server(|| lock(&TABLE).push(4)).unwrap();
    let seen = || Process::spawn(look, ()).unwrap().join().unwrap();
    let (first, second) = (seen(), seen());
    let server = fork_server().unwrap();
    assert_eq!(first, (1, vec![server, 1, 2, 3, 4]));
    assert_eq!(second, first, "once, in the server");
    assert_eq!(look(), (0, vec![]), "not here");
    // It is none of `spawn`'s business.
    let fresh = Context::new(StartMethod::Spawn).process().spawn(look, ()).unwrap();
    assert_eq!(fresh.join().unwrap(), (0, vec![]));
    // Another server calls it anew.
    let old = Stranger::new(server);
    assert!(old.signal(signal::KILL) && old.ends_soon());
    let third = seen();
    assert_eq!(third, (1, vec![fork_server().unwrap(), 1, 2, 3, 4]));
    assert_ne!(third, first);
}

#[track_caller]
fn starts_are_refused(kind: ErrorKind, words: &[&str]) {
    for _ in 0..3 {
        let error = Process::spawn(|| 7, ()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        for word in words {
            assert!(error.to_string().contains(word), "{word} is not in: {error}");
        }
        assert!(active_children().unwrap().is_empty() && children().is_empty());
    }
    // The others are not concerned.
    for method in [StartMethod::Spawn, StartMethod::Fork] {
        let child = Context::new(method).process().spawn(|| 7, ()).unwrap();
        assert_eq!(child.join().unwrap(), 7);
    }
}

fn panicking_preload(_: StartMethod) {
    preload_fork_server(|| panic!("the table is not there")).unwrap();
    starts_are_refused(ErrorKind::Panicked, &["the table is not there", "py_hooks.rs:"]);
}

fn threaded_preload(_: StartMethod) {
    let leave_one = || {
        let name = "left behind".to_owned();
        let (started, has_started) = mpsc::channel();
        let park = move || {
            started.send(()).unwrap();
            loop {
                thread::park();
            }
        };
        thread::Builder::new().name(name).spawn(park).unwrap();
        has_started.recv().unwrap();
    };
    preload_fork_server(leave_one).unwrap();
    starts_are_refused(ErrorKind::Unsupported, &["left behind", "preloaded function"]);
}

/// A thread of the host's that runs until the other end of the channel is dropped.
fn worker(name: &str) -> (mpsc::Sender<()>, thread::JoinHandle<()>) {
    let (end, rx) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let wait = move || {
        tell.send(()).unwrap();
        assert!(rx.recv().is_err(), "nothing is sent");
    };
    let thread = thread::Builder::new().name(name.into()).spawn(wait).unwrap();
    told.recv().unwrap();
    (end, thread)
}

fn fork_beside_threads(_: StartMethod) {
    let fork = Context::new(StartMethod::Fork);
    let workers = [worker("worker of the host"), worker("second")];
    for _ in 0..3 {
        let refused = fork.process().spawn(|| 7, ()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        // The system cuts names after 15 bytes.
        assert!(refused.to_string().contains("`worker of the h`"), "{refused}");
        assert!(refused.to_string().contains("`second`"), "{refused}");
        let closure = fork.process().spawn_closure(|| 7).unwrap_err();
        assert_eq!(closure.kind(), ErrorKind::Unsupported);
    }
    // The others do not mind.
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        let child = Context::new(method).process().spawn(|| 7, ()).unwrap();
        assert_eq!(child.join().unwrap(), 7);
    }
    assert!(active_children().unwrap().is_empty());
    for (end, thread) in workers {
        drop(end);
        thread.join().unwrap();
    }
    let captured = String::from("six");
    let child = fork.process().spawn_closure(move || captured.len()).unwrap();
    assert_eq!(child.join().unwrap(), 3);
}

fn main() {
    after_fork(|| note("first"));
    after_fork(|| note("second"));
    procession::init();
    let method = procession_tests::method();
    procession::force_start_method(method);
    procession_tests::row(&ROWS)(method);
    println!("done");
}
