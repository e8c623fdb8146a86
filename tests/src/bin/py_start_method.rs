//! CPython's `TestStartMethod`: runs the row that the first argument names, with the start method that the second one names as
//! the default.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use procession::prelude::*;
use procession::{
    ErrorKind, force_start_method, set_start_method, start_method, start_method_if_set,
    start_methods,
};
use procession_tests::SOON;

/// A row, and what tells whether it holds.
type Row = (&'static str, fn(StartMethod));

const ROWS: [Row; 5] = [
    ("context", context),
    ("set_get", set_get),
    ("get_all", get_all),
    ("nested_startmethod", nested_startmethod),
    ("mixed_startmethod", mixed_startmethod),
];

/// A context's children have its method as their own default, whatever that of the program is.
fn context(default: StartMethod) {
    force_start_method(default);
    let mut failures = Vec::new();
    for method in start_methods() {
        let context = Context::new(*method);
        assert_eq!(context.start_method(), *method);
        let child = context.process().spawn(start_method, ()).unwrap();
        assert_eq!(child.start_method(), *method);
        let theirs = child.join().unwrap();
        if theirs != *method {
            failures.push(format!("a child by {method} starts its own by {theirs}"));
        }
    }
    assert_eq!(start_method(), default, "contexts change nothing here");
    assert!(failures.is_empty(), "{failures:#?}");
}

fn set_get(method: StartMethod) {
    assert_eq!(start_method_if_set(), None);
    set_start_method(method).unwrap();
    assert_eq!((start_method_if_set(), start_method()), (Some(method), method));
    // Once, also to the same.
    for other in start_methods() {
        let error = set_start_method(*other).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&method.to_string()), "{error}");
    }
    for method in start_methods() {
        force_start_method(*method);
        assert_eq!((start_method(), Context::default().start_method()), (*method, *method));
        let child = Process::spawn(start_method, ()).unwrap();
        assert_eq!((child.start_method(), child.join().unwrap()), (*method, *method));
        assert!(child.name().starts_with("Process-"), "{}", child.name());
        // What names a class in Python names the children of a context here.
        let child = Context::default().process().spawn(|| (), ()).unwrap();
        let prefix = child.name().split_once("Process-").unwrap().0.to_lowercase();
        assert_eq!(prefix, method.to_string());
        child.join().unwrap();
    }
}

fn get_all(_: StartMethod) {
    assert_eq!(start_methods(), [StartMethod::ForkServer, StartMethod::Spawn, StartMethod::Fork]);
    assert_eq!(start_method(), start_methods()[0], "the first one is the default");
    for method in start_methods() {
        assert_eq!(method.to_string().parse::<StartMethod>().unwrap(), *method);
    }
    assert_eq!("thread".parse::<StartMethod>().unwrap(), StartMethod::Thread);
    let error = "frok".parse::<StartMethod>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// Sends its number, has a child send its own, and sends its number again: all through one end.
fn pass_on(tx: Sender<u32>) -> Sender<u32> {
    let send = |tx: Sender<u32>| {
        tx.send(std::process::id()).unwrap();
        tx
    };
    tx.send(std::process::id()).unwrap();
    let child = Process::spawn(send, (tx,)).unwrap();
    let tx = child.join().unwrap();
    tx.send(std::process::id()).unwrap();
    tx
}

fn nested_startmethod(method: StartMethod) {
    force_start_method(method);
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(pass_on, (tx,)).unwrap();
    let seen: Vec<_> = (0..3).map(|_| rx.recv_timeout(SOON).unwrap()).collect();
    assert_eq!((seen[0], seen[2]), (child.pid(), child.pid()));
    assert_ne!(seen[1], child.pid());
    let back = child.join().unwrap();
    back.send(std::process::id()).unwrap();
    assert_eq!(rx.recv_timeout(SOON).unwrap(), std::process::id());
}

/// What one method's process made goes through those of all others.
fn mixed_startmethod(first: StartMethod) {
    let make = || pipe::<String>().unwrap();
    let (tx, rx) = Context::new(first).process().spawn(make, ()).unwrap().join().unwrap();
    let add = |tx: Sender<String>, text: String| {
        tx.send(text).unwrap();
        tx
    };
    let mut tx = tx;
    for method in start_methods() {
        let child = Context::new(*method).process().spawn(add, (tx, method.to_string())).unwrap();
        tx = child.join().unwrap();
    }
    for method in start_methods() {
        assert_eq!(rx.recv_timeout(SOON).unwrap(), method.to_string());
    }
}

fn main() {
    procession::init();
    procession_tests::row(&ROWS)(procession_tests::method());
    println!("done");
}
