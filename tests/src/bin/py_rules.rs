//! A program whose end its test watches: does what the first argument says, under the start method that the second one names.
//! Prints what it does, and the numbers of its processes.
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::io::Write;
use std::thread;

use procession::finalize::Finalizer;
use procession::prelude::*;
use procession::{Stream, exit_on_terminate};
use procession_sys::signal::{self, Mask};

const SCENES: [(&str, fn()); 9] = [
    ("return", || end_with_children(|| {})),
    ("exit", || end_with_children(|| procession::exit(3))),
    ("panic", || end_with_children(|| panic!("on purpose"))),
    ("drop", end_with_dropped_children),
    ("daemons", end_with_daemons),
    ("family", family),
    ("outliving", end_with_outliving),
    ("death_signal", death_signal),
    ("terminate", terminated),
];

/// Whole lines at once, whatever else is printed.
fn say(text: &str) {
    let line = format!("{text}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}

/// Works for as long as nobody writes a line, and says when it is done.
fn wait_for_line(name: String) -> String {
    say_number();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    say(&format!("{name} is done"));
    name
}

fn park() {
    say_number();
    rest();
}

fn say_number() {
    say(&format!("pid {}", std::process::id()));
}

fn rest() {
    loop {
        thread::park();
    }
}

/// With three children: two of them wait for lines, and one is a daemon.
fn end_with_children(end: fn()) {
    let waiting = |name: &str| {
        let builder = Process::builder().stdin(Stream::inherit());
        builder.spawn(wait_for_line, (name.to_owned(),)).unwrap()
    };
    let _first = waiting("first");
    let _second = waiting("second");
    let _daemon = Process::builder().daemon(true).spawn(park, ()).unwrap();
    Finalizer::new(0, || say("finalizer before children")).unwrap().keep();
    Finalizer::new(-1, || say("finalizer behind children")).unwrap().keep();
    say("main ends");
    end();
}

fn end_with_dropped_children() {
    for name in ["first", "second"] {
        let builder = Process::builder().stdin(Stream::inherit());
        builder.spawn(wait_for_line, (name.to_owned(),)).unwrap().detach();
    }
    say("main ends");
}

/// A daemon that tidies up, and one that does not hear.
fn end_with_daemons() {
    let daemon = || Process::builder().daemon(true);
    let tidy = |up: Sender<()>| {
        exit_on_terminate().unwrap();
        Finalizer::new(0, || say("the daemon tidies up")).unwrap().keep();
        say_number();
        up.send(()).unwrap();
        rest();
    };
    let stubborn = |up: Sender<()>| {
        signal::set_thread_mask(Mask::from_bits(1 << (signal::TERMINATE - 1))).unwrap();
        say_number();
        up.send(()).unwrap();
        rest();
    };
    let (tx, rx) = pipe().unwrap();
    let _tidy = daemon().spawn(tidy, (tx,)).unwrap();
    rx.recv().unwrap();
    let (tx, rx) = pipe().unwrap();
    let _stubborn = daemon().spawn(stubborn, (tx,)).unwrap();
    rx.recv().unwrap();
    say("main ends");
}

/// A grandchild that lives on, and one that does not.
fn middle() {
    let _outliving = Process::builder().outlive_parent().spawn(outlive, ()).unwrap();
    let _bound = Process::spawn(park, ()).unwrap();
    park();
}

/// Lives on, and says so.
fn outlive() {
    say(&format!("outlives {}", std::process::id()));
    wait_for_the_end_of_the_parent();
}

fn wait_for_the_end_of_the_parent() {
    let parent = procession::parent_process().unwrap();
    if parent.join_timeout(procession_tests::SOON).unwrap() {
        say("is left alone");
    }
    rest();
}

/// Waits to be killed, with a family of each kind.
fn family() {
    let _children: Vec<_> = (0..3).map(|_| Process::spawn(park, ()).unwrap()).collect();
    let _daemon = Process::builder().daemon(true).spawn(park, ()).unwrap();
    let _outliving = Process::builder().outlive_parent().spawn(outlive, ()).unwrap();
    let _middle = Process::spawn(middle, ()).unwrap();
    park();
}

/// Ends, with a daemon and another child that are not seen to then.
fn end_with_outliving() {
    for is_daemon in [false, true] {
        let (tx, rx) = pipe().unwrap();
        let live = |up: Sender<()>| {
            say(&format!("outlives {}", std::process::id()));
            up.send(()).unwrap();
            wait_for_the_end_of_the_parent();
        };
        let builder = Process::builder().daemon(is_daemon).outlive_parent();
        let _child = builder.spawn(live, (tx,)).unwrap();
        rx.recv().unwrap();
    }
}

/// Waits to be killed, with a child that gets another signal then, and others that do not.
fn death_signal() {
    let tidy = || {
        exit_on_terminate().unwrap();
        Finalizer::new(0, || say("told to end")).unwrap().keep();
        park();
    };
    let builder = Process::builder().death_signal(signal::TERMINATE);
    let _child = builder.spawn(tidy, ()).unwrap();
    let _others: Vec<_> = (0..3).map(|_| Process::spawn(park, ()).unwrap()).collect();
    park();
}

/// Waits to be told to end, with a child that is no daemon.
fn terminated() {
    exit_on_terminate().unwrap();
    Finalizer::new(0, || say("finalizer")).unwrap().keep();
    let _child = Process::spawn(park, ()).unwrap();
    park();
}

fn main() {
    procession::init();
    procession::force_start_method(procession_tests::method());
    procession_tests::row(&SCENES)();
}
