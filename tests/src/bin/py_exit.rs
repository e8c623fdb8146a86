//! Rows about the end of processes, CPython's `_TestFinalize`, `_TestAtExit` and our own: runs the row that the first argument
//! names, under the start method that the second one names.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use procession::finalize::{Finalizer, is_exiting};
use procession::prelude::*;
use procession::{OnDrop, active_children, exit_on_terminate};
use procession_sys::prim::{Mutex, OnceLock, lock};
use procession_sys::process::at_exit;
use procession_sys::signal;
use procession_tests::{SOON, Stranger, stay};
use serde::{Deserialize, Serialize};

const ROWS: [(&str, fn()); 10] = [
    ("finalize", finalize),
    ("atexit", atexit),
    ("who_is_killed_finalizes_nothing", killed),
    ("what_is_the_parents_to_finalize_stays_the_parents", foreign_finalizers),
    ("exit_on_terminate_runs_finalizers", tidy_termination),
    ("on_drop_detach", on_drop_detach),
    ("on_drop_join", on_drop_join),
    ("on_drop_terminate", on_drop_terminate),
    ("a_child_waits_for_its_children", children_of_children),
    ("a_fork_that_was_told_to_end_tells_nobody_else", told_alone),
];

/// The ways in which a process ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Way {
    Return,
    Panic,
    Exit,
    /// From another thread than that of the function.
    ExitElsewhere,
}

impl Way {
    const ALL: [Self; 4] = [Self::Return, Self::Panic, Self::Exit, Self::ExitElsewhere];

    fn go(self) {
        match self {
            Self::Return => {}
            Self::Panic => panic!("on purpose"),
            Self::Exit => procession::exit(5),
            Self::ExitElsewhere => drop(thread::spawn(|| procession::exit(5)).join()),
        }
    }

    fn status(self) -> ExitStatus {
        ExitStatus::Exited(match self {
            Self::Return => 0,
            Self::Panic => 1,
            Self::Exit | Self::ExitElsewhere => 5,
        })
    }
}

/// Starts a child that ends in this way, and returns what it says from its beginning to its end.
#[track_caller]
fn sayings(work: fn(Sender<String>, Way), way: Way) -> Vec<String> {
    let (tx, rx) = pipe().unwrap();
    let quiet = Process::builder().stderr(procession::Stream::null());
    let child = match way {
        Way::Return => Process::spawn(call, (tx, way, number_of(work))),
        _ => quiet.spawn(call, (tx, way, number_of(work))),
    }
    .unwrap();
    // It ends with the child: nobody else has the other end.
    let sayings = rx.iter().map(Result::unwrap).collect();
    match (child.join(), way) {
        (Ok(()), Way::Return) | (Err(JoinError::Panicked(_)), Way::Panic) => {}
        (Err(JoinError::Died(_)), Way::Exit | Way::ExitElsewhere) => {}
        (other, _) => panic!("{way:?}: {other:?}"),
    }
    assert_eq!(child.exit_status().unwrap(), Some(way.status()), "{way:?}");
    sayings
}

/// Pointers to functions do not travel.
const WORK: [fn(Sender<String>, Way); 2] = [add_finalizers, add_exit_handlers];

fn number_of(work: fn(Sender<String>, Way)) -> usize {
    WORK.iter().position(|known| std::ptr::fn_addr_eq(*known, work)).unwrap()
}

fn call(tx: Sender<String>, way: Way, work: usize) {
    WORK[work](tx, way);
}

fn add_finalizers(tx: Sender<String>, way: Way) {
    let tx = Arc::new(tx);
    let say = |priority, text: &'static str| {
        let tx = Arc::clone(&tx);
        Finalizer::new(priority, move || tx.send(text.into()).unwrap()).unwrap()
    };
    // When the object is dropped.
    drop(say(0, "a"));
    // When it is called, once.
    let b = say(0, "b");
    assert!(b.is_pending() && b.call() && !b.call() && !b.is_pending());
    drop(b);
    // Not at the end: it was cancelled.
    let c = say(10, "c");
    assert!(c.cancel() && !c.is_pending());
    c.keep();
    // At the end: the highest priority first, among equals the last that was added first.
    say(10, "d10").keep();
    for text in ["d01", "d02", "d03"] {
        say(0, text).keep();
    }
    say(-10, "e").keep();
    say(-100, "STOP").keep();
    Finalizer::new(5, || panic!("the others are called all the same")).unwrap().keep();
    let late = Arc::clone(&tx);
    let add_late = move || {
        assert!(is_exiting());
        Finalizer::new(1, move || late.send("late".into()).unwrap()).unwrap().keep();
    };
    Finalizer::new(3, add_late).unwrap().keep();
    assert!(!is_exiting());
    way.go();
}

fn finalize() {
    for way in Way::ALL {
        let expected = ["a", "b", "d10", "late", "d03", "d02", "d01", "e", "STOP"];
        assert_eq!(sayings(add_finalizers, way), expected, "{way:?}");
    }
}

/// What exit handlers say something through, which take nothing and know nothing.
static OUT: OnceLock<Sender<String>> = OnceLock::new();

extern "C" fn first_handler() {
    OUT.get().unwrap().send("first handler".into()).unwrap();
}

extern "C" fn second_handler() {
    OUT.get().unwrap().send("second handler".into()).unwrap();
}

fn add_exit_handlers(tx: Sender<String>, way: Way) {
    OUT.get_or_init(|| tx);
    at_exit(first_handler).unwrap();
    Finalizer::new(0, || OUT.get().unwrap().send("finalizer".into()).unwrap()).unwrap().keep();
    at_exit(second_handler).unwrap();
    way.go();
}

fn atexit() {
    for way in Way::ALL {
        let mut said = sayings(add_exit_handlers, way);
        // The order of handlers among themselves is C's; that of finalizers among handlers is nobody's promise.
        said.retain(|text| text != "finalizer");
        // A fork that has done its work ends with `_exit`, as Python's do: C cannot tell its handlers from its parent's.
        let is_fork = procession::start_method() == StartMethod::Fork;
        let expected: &[&str] = match way {
            Way::Return | Way::Panic if is_fork => &[],
            _ => &["second handler", "first handler"],
        };
        assert_eq!(said, expected, "{way:?}");
        let said = sayings(add_exit_handlers, way);
        assert!(said.iter().any(|text| text == "finalizer"), "{way:?}: {said:?}");
    }
}

/// Who is killed does nothing at its end.
fn killed() {
    let work = |tx: Sender<String>| {
        OUT.get_or_init(|| tx);
        at_exit(first_handler).unwrap();
        let say = || OUT.get().unwrap().send("finalizer".into()).unwrap();
        Finalizer::new(0, say).unwrap().keep();
        OUT.get().unwrap().send("ready".into()).unwrap();
        loop {
            thread::park();
        }
    };
    for number in [signal::TERMINATE, signal::KILL] {
        let (tx, rx) = pipe::<String>().unwrap();
        let child: Process<()> = Process::spawn(work, (tx,)).unwrap();
        assert_eq!(rx.recv_timeout(SOON).unwrap(), "ready");
        child.signal(number).unwrap();
        assert!(rx.iter().next().is_none());
        assert!(child.join().is_err());
        assert_eq!(child.exit_status().unwrap().unwrap().signal(), Some(number));
    }
}

/// What the parent has to do at its end is not done by its children, forks included.
fn foreign_finalizers() {
    static OWN: Mutex<Vec<Finalizer>> = Mutex::new(Vec::new());
    let parents = Finalizer::new(0, || println!("the parent's finalizer")).unwrap();
    lock(&OWN).push(Finalizer::new(0, || println!("the parent's finalizer")).unwrap());
    for way in Way::ALL {
        let work = |way: Way| {
            // In a fork it is here as well.
            lock(&OWN).clear();
            way.go();
        };
        let quiet = Process::builder().stderr(procession::Stream::null());
        let child = quiet.spawn(work, (way,)).unwrap();
        assert_eq!(child.join().is_ok(), way == Way::Return);
    }
    assert!(parents.cancel());
    let mut own = std::mem::take(&mut *lock(&OWN));
    assert!(own.iter().all(Finalizer::is_pending));
    assert!(own.pop().unwrap().cancel());
}

fn tidy_termination() {
    let work = |tx: Sender<String>| {
        exit_on_terminate().unwrap();
        let tx = Arc::new(tx);
        let say = |text: &'static str| {
            let tx = Arc::clone(&tx);
            Finalizer::new(0, move || tx.send(text.into()).unwrap()).unwrap()
        };
        say("first").keep();
        say("second").keep();
        // A child of its own: it ends with it.
        let (up, is_up) = pipe().unwrap();
        let stay = |up: Sender<()>| -> () {
            up.send(()).unwrap();
            loop {
                thread::park();
            }
        };
        let child = Process::spawn(stay, (up,)).unwrap();
        is_up.recv().unwrap();
        tx.send(child.pid().to_string()).unwrap();
        loop {
            thread::park();
        }
    };
    let (tx, rx) = pipe::<String>().unwrap();
    let child: Process<()> = Process::spawn(work, (tx,)).unwrap();
    let grandchild = Stranger::new(rx.recv_timeout(SOON).unwrap().parse().unwrap());
    assert!(grandchild.is_alive());
    child.terminate().unwrap();
    assert!(matches!(child.join(), Err(JoinError::Died(_))));
    assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(128 + 15)));
    assert!(rx.iter().map(Result::unwrap).eq(["second", "first"]));
    assert!(!grandchild.is_alive(), "its children have ended before it");
}

/// Says its number, waits to be let go, and says so.
fn wait_for_leave(go: Receiver<()>, tx: Sender<u32>) {
    tx.send(std::process::id()).unwrap();
    go.recv().unwrap();
    tx.send(0).unwrap();
}

fn on_drop_detach() {
    for on_drop in [None, Some(OnDrop::Detach)] {
        let ((go, wait), (tx, rx)) = (pipe().unwrap(), pipe().unwrap());
        let builder = Process::builder();
        let builder = on_drop.map_or(builder.clone(), |on_drop| builder.on_drop(on_drop));
        drop(builder.spawn(wait_for_leave, (wait, tx)).unwrap());
        let child = Stranger::new(rx.recv_timeout(SOON).unwrap());
        assert!(child.is_alive());
        assert_eq!(active_children().unwrap().len(), 1, "it is still a child");
        go.send(()).unwrap();
        assert_eq!(rx.recv_timeout(SOON).unwrap(), 0, "it went on");
        assert!(child.ends_soon());
        procession_tests::wait_until("it is reaped", || procession_tests::children().is_empty());
        assert!(active_children().unwrap().is_empty());
    }
    // Said afterwards, it counts as well.
    let ((go, wait), (tx, rx)) = (pipe().unwrap(), pipe().unwrap());
    let builder = Process::builder().on_drop(OnDrop::Join);
    builder.spawn(wait_for_leave, (wait, tx)).unwrap().detach();
    let child = Stranger::new(rx.recv_timeout(SOON).unwrap());
    assert!(child.is_alive());
    go.send(()).unwrap();
    assert!(child.ends_soon());
}

fn on_drop_join() {
    let ((go, wait), (tx, rx)) = (pipe().unwrap(), pipe().unwrap());
    let builder = Process::builder().on_drop(OnDrop::Join);
    let child = builder.spawn(wait_for_leave, (wait, tx)).unwrap();
    let stranger = Stranger::new(rx.recv_timeout(SOON).unwrap());
    let leave = Duration::from_millis(100);
    let start = Instant::now();
    let letting_go = thread::spawn(move || {
        // Nothing rings: it is the time that is waited for.
        assert!(!rx.poll(leave).unwrap());
        go.send(()).unwrap();
        rx
    });
    drop(child);
    assert!(start.elapsed() >= leave);
    assert!(!stranger.is_alive(), "it has ended when the handle is gone");
    assert!(active_children().unwrap().is_empty());
    assert!(letting_go.join().unwrap().iter().map(Result::unwrap).eq([0]));
}

fn on_drop_terminate() {
    for is_stubborn in [false, true] {
        let (tx, rx) = pipe().unwrap();
        let builder = Process::builder().on_drop(OnDrop::Terminate);
        let child = builder.spawn(stay, (is_stubborn, tx)).unwrap();
        let stranger = Stranger::new(rx.recv_timeout(SOON).unwrap());
        let known = active_children().unwrap();
        let start = Instant::now();
        drop(child);
        assert!(!stranger.is_alive(), "it has ended when the handle is gone");
        let expected = if is_stubborn { signal::KILL } else { signal::TERMINATE };
        assert_eq!(known[0].exit_status().unwrap().unwrap().signal(), Some(expected));
        assert!(!is_stubborn || start.elapsed() >= Duration::from_secs(1), "it has a second");
        assert!(active_children().unwrap().is_empty());
    }
}

/// A child waits for its children at its end as the program does: their results are there.
fn children_of_children() {
    for way in Way::ALL {
        let (tx, rx) = pipe::<String>().unwrap();
        let middle = |tx: Sender<String>, way: Way| {
            let late = |go: Receiver<()>, tx: Sender<String>| {
                go.recv().unwrap();
                tx.send("late".into()).unwrap();
            };
            let (go, wait) = pipe().unwrap();
            drop(Process::spawn(late, (wait, tx)).unwrap());
            // When the function is over, and before children are seen to.
            Finalizer::new(0, move || go.send(()).unwrap()).unwrap().keep();
            way.go();
        };
        let quiet = Process::builder().stderr(procession::Stream::null());
        let child = quiet.spawn(middle, (tx, way)).unwrap();
        assert!(rx.iter().map(Result::unwrap).eq(["late"]), "{way:?}");
        assert_eq!(child.join().is_ok(), way == Way::Return);
        assert_eq!(child.exit_status().unwrap(), Some(way.status()), "{way:?}");
    }
}

/// Processor time of this process so far, in the system's ticks of 10 ms.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    [11, 12].iter().map(|at| fields[*at].parse::<u64>().unwrap()).sum()
}

fn spin() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(500) {
        std::hint::spin_loop();
    }
}

/// Has a fork told to end, ends itself, and says how much it did while it waited for another child meanwhile.
fn end_after_a_told_fork(tx: Sender<u64>) {
    exit_on_terminate().unwrap();
    let (ready, is_ready) = pipe().unwrap();
    let wait = |ready: Sender<u32>| -> () {
        exit_on_terminate().unwrap();
        stay(false, ready)
    };
    let told = Process::spawn(wait, (ready,)).unwrap();
    is_ready.recv().unwrap();
    told.terminate().unwrap();
    assert!(told.join().is_err());
    assert_eq!(told.exit_status().unwrap(), Some(ExitStatus::Exited(143)));
    drop(Process::spawn(spin, ()).unwrap());
    let before = ticks();
    Finalizer::new(-1, move || tx.send(ticks() - before).unwrap()).unwrap().keep();
}

fn told_alone() {
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(end_after_a_told_fork, (tx,)).unwrap();
    let spent = rx.recv().unwrap();
    assert!(spent < 10, "it sleeps while it waits: {spent} ticks");
    child.join().unwrap();
}

fn main() {
    procession::init();
    procession_tests::run_row(&ROWS);
}
