//! Templates, and pools whose workers are copies of one. A program of its own, because a test harness has threads and cannot be forked.
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]

use std::io::Write;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use procession::finalize::Finalizer;
use procession::prelude::*;
use procession::{ErrorKind, Template, after_fork, current_process, parent_process};
use procession_sys::prim::{AtomicU32, Ordering::SeqCst};
use procession_sys::signal;
use procession_tests::{Litter, Random, SOON, Stranger, run_row, templates, wait_until};

/// The large data that the program builds first.
static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
/// What is changed after the template was made.
static LATER: AtomicU32 = AtomicU32::new(1);
static HOOKS: AtomicU32 = AtomicU32::new(0);

/// 64 MiB.
const WORDS: u64 = 8 << 20;

fn fork() -> Context {
    Context::new(StartMethod::Fork)
}

fn build() {
    TABLE.set((0..WORDS).collect()).unwrap();
}

/// Calls it while this process has a thread that no fork could copy.
fn beside_a_thread<T>(f: impl FnOnce() -> T) -> T {
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let other = thread::spawn(move || ended.recv().unwrap_err());
    let refused = fork().process().spawn(|| (), ()).map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    let value = f();
    drop(end);
    other.join().unwrap();
    value
}

fn wait_for_ever(tx: Sender<u32>) {
    tx.send(std::process::id()).unwrap();
    loop {
        thread::park();
    }
}

#[expect(clippy::exit, reason = "what is tested")]
fn leave() {
    std::process::exit(7)
}

/// What this process has once it has done all of this before.
fn steady() -> Litter {
    fork().template().unwrap().process().spawn(|| (), ()).unwrap().join().unwrap();
    fork().process().spawn(|| (), ()).unwrap().join().unwrap();
    Litter::now()
}

/// What the system counts of a process's memory, in KiB.
fn memory(pid: u32, what: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn is_listed(pid: u32) -> bool {
    std::fs::exists(format!("/proc/{pid}")).unwrap()
}

fn copies_while_threads_run() {
    build();
    let template = fork().template().unwrap();
    assert!(template.is_alive());
    beside_a_thread(|| {
        let sum = |last: usize| TABLE.get().unwrap().iter().rev().take(last).sum::<u64>();
        let child = template.process().name("sums").spawn(sum, (2,)).unwrap();
        assert_eq!((child.name(), child.start_method()), ("sums", StartMethod::Fork));
        assert_eq!(child.join().unwrap(), 2 * WORDS - 3);
        assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(0)));
        let who = || {
            let parent = parent_process().unwrap().pid();
            (current_process().name().to_owned(), parent, procession::start_method())
        };
        let (name, parent, method) = template.process().spawn(who, ()).unwrap().join().unwrap();
        assert!(name.starts_with("ForkProcess-"), "{name}");
        assert_eq!((parent, method), (std::process::id(), StartMethod::Fork));
        let child = template.process().spawn(|a: u32, b: u32| a / b, (1, 0)).unwrap();
        assert!(matches!(child.join(), Err(JoinError::Panicked(_))));
        assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(1)));
        let child = template.process().spawn(leave, ()).unwrap();
        assert!(matches!(child.join(), Err(JoinError::Died(_))));
        assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(7)));
        let (tx, rx) = pipe::<u32>().unwrap();
        let child = template.process().spawn(wait_for_ever, (tx,)).unwrap();
        assert_eq!(rx.recv_timeout(SOON).unwrap(), child.pid());
        child.kill().unwrap();
        assert!(matches!(child.join(), Err(JoinError::Died(_))));
        assert_eq!(child.exit_status().unwrap().unwrap().signal(), Some(signal::KILL));
    });
}

fn memory_is_shared_until_it_is_written() {
    build();
    let template = fork().template().unwrap();
    let read = |tx: Sender<u64>| {
        tx.send(TABLE.get().unwrap().iter().sum()).unwrap();
        wait_for_ever(pipe().unwrap().0);
    };
    beside_a_thread(|| {
        let (tx, rx) = pipe::<u64>().unwrap();
        let child = template.process().spawn(read, (tx,)).unwrap();
        assert_eq!(rx.recv_timeout(SOON).unwrap(), WORDS * (WORDS - 1) / 2);
        for pid in [child.pid(), template.pid()] {
            let own = memory(pid, "Private_Dirty:");
            assert!(own < 4 << 10, "{own} KiB");
        }
        let shared = memory(child.pid(), "Shared_Dirty:");
        assert!(shared >= 64 << 10, "{shared} KiB");
        child.kill().unwrap();
        child.join().unwrap_err();
    });
}

fn a_copy_is_of_what_was_and_inherits_what_is() {
    let template = fork().template().unwrap();
    LATER.store(2, SeqCst);
    std::env::set_current_dir("/").unwrap();
    let look = || (LATER.load(SeqCst), std::env::current_dir().unwrap(), std::env::var("NEW").ok());
    let child = template.process().env("NEW", "yes").spawn(look, ()).unwrap();
    assert_eq!(child.join().unwrap(), (1, "/".into(), Some("yes".into())));
    let child = fork().process().spawn(look, ()).unwrap();
    assert_eq!(child.join().unwrap(), (2, "/".into(), None));
    // What a copy forks is a copy of it.
    let twice = || {
        LATER.store(3, SeqCst);
        let fork = || Process::spawn(|| LATER.load(SeqCst), ()).unwrap().join().unwrap();
        let own = Context::new(StartMethod::Fork).template().unwrap();
        (fork(), own.process().spawn(|| LATER.load(SeqCst), ()).unwrap().join().unwrap())
    };
    assert_eq!(template.process().spawn(twice, ()).unwrap().join().unwrap(), (3, 3));
}

fn sigchld_has_its_default_action_in_copies() {
    let _was_ignored = signal::ignore(signal::CHILD).unwrap();
    let template = fork().template().unwrap();
    let is_default = || signal::disposition(signal::CHILD).unwrap() == signal::Disposition::Default;
    assert!(template.process().spawn(is_default, ()).unwrap().join().unwrap());
    assert!(!is_default());
    let child = template.process().spawn(leave, ()).unwrap();
    assert!(matches!(child.join(), Err(JoinError::Died(_))));
    assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(7)), "the template reaps it");
    let pid = template.pid();
    drop((child, template));
    assert!(!is_listed(pid));
}

fn hooks_run_in_copies_and_nothing_of_the_parent_runs_twice() {
    extern "C" fn at_exit() {
        std::io::stdout().write_all(b"exit handler\n").unwrap();
    }
    procession_sys::process::at_exit(at_exit).unwrap();
    after_fork(|| {
        assert!(current_process().name().starts_with("ForkProcess-"), "it is what it shall be");
        HOOKS.fetch_add(1, SeqCst);
    });
    Finalizer::new(0, || println!("finalizer")).unwrap().keep();
    print!("once, ");
    let template = fork().template().unwrap();
    let work = || {
        print!("of the copy, ");
        Finalizer::new(0, || print!("its end, ")).unwrap().keep();
        HOOKS.load(SeqCst)
    };
    for _ in 0..2 {
        assert_eq!(template.process().spawn(work, ()).unwrap().join().unwrap(), 1);
    }
    drop(template);
    assert_eq!(HOOKS.load(SeqCst), 0);
    println!("the program");
}

fn what_cannot_be_copied_is_an_error() {
    let error = Context::new(StartMethod::Spawn).template().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = beside_a_thread(|| fork().template().unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let template = fork().template().unwrap();
    let captured = [1];
    let error = template.process().spawn_closure(move || captured.len()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    // A fork has the handle, and it is the other's; what it drops does nothing.
    let copy = template.clone();
    let elsewhere = move || {
        let error = copy.process().spawn(|| (), ()).map(drop).unwrap_err();
        let was_alive = copy.is_alive();
        drop(copy);
        (error.kind(), was_alive)
    };
    let child = fork().process().spawn_closure(elsewhere).unwrap();
    assert_eq!(child.join().unwrap(), (ErrorKind::InvalidInput, false));
    assert!(template.is_alive());
    template.process().spawn(|| (), ()).unwrap().join().unwrap();
    // Another method is another method.
    let child =
        template.process().start_method(StartMethod::Spawn).spawn(|| LATER.load(SeqCst), ());
    LATER.store(9, SeqCst);
    assert_eq!(child.unwrap().join().unwrap(), 1);
}

fn copies_outlive_a_template_that_is_killed() {
    let template = fork().template().unwrap();
    let (to_child, from_us) = pipe::<u32>().unwrap();
    let add = |rx: Receiver<u32>| rx.recv().unwrap() + 1;
    let child = template.process().spawn(add, (from_us,)).unwrap();
    let stranger = Stranger::new(template.pid());
    assert!(stranger.signal(signal::KILL) && stranger.ends_soon());
    let error = template.process().spawn(|| (), ()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Died);
    let text = format!("the template (pid {}) was killed by SIGKILL", template.pid());
    assert!(error.to_string().contains(&text), "{error}");
    assert!(!template.is_alive() && !is_listed(template.pid()), "it is no zombie");
    to_child.send(1).unwrap();
    assert_eq!(child.join().unwrap(), 2);
    // Its death is found out by the way, too.
    let template = fork().template().unwrap();
    let stranger = Stranger::new(template.pid());
    assert!(stranger.signal(signal::KILL) && stranger.ends_soon());
    assert!(is_listed(template.pid()), "a zombie");
    assert!(procession::active_children().unwrap().is_empty());
    assert!(!is_listed(template.pid()));
}

fn a_template_ends_with_the_last_who_needs_it() {
    let before = steady();
    let template = fork().template().unwrap();
    let pid = template.pid();
    let (tx, rx) = pipe::<u32>().unwrap();
    let child = template.clone().process().spawn(wait_for_ever, (tx,)).unwrap();
    rx.recv_timeout(SOON).unwrap();
    drop(template);
    assert!(is_listed(pid), "its child needs it");
    child.kill().unwrap();
    child.join().unwrap_err();
    assert_eq!(child.exit_status().unwrap().unwrap().signal(), Some(signal::KILL));
    assert!(!is_listed(pid), "nobody needs it");
    drop((child, rx));
    assert_eq!(Litter::now(), before);
}

/// Says who there is, and is killed.
fn is_killed() {
    let template = fork().template().unwrap();
    let (tx, rx) = pipe::<u32>().unwrap();
    let child = template.process().spawn(wait_for_ever, (tx,)).unwrap();
    // Nobody of these may keep the others alive.
    let bystander = fork().process().spawn(wait_for_ever, (pipe().unwrap().0,)).unwrap();
    let second = fork().template().unwrap();
    rx.recv_timeout(SOON).unwrap();
    // One that cannot find out by itself.
    assert!(Stranger::new(second.pid()).signal(signal::STOP));
    println!("{} {} {} {}", template.pid(), child.pid(), bystander.pid(), second.pid());
    loop {
        thread::park();
    }
}

fn no_time_to_kill_is_a_bad_one() {
    let before = steady();
    let mut random = Random::from_environment();
    for _ in 0..200 {
        let template = fork().template().unwrap();
        let at = Duration::from_micros(random.below(1500) as u64);
        let spare_it = random.below(3) == 0;
        thread::scope(|scope| {
            let victim = Stranger::new(template.pid());
            scope.spawn(move || {
                let deadline = std::time::Instant::now() + at;
                while std::time::Instant::now() < deadline {
                    std::hint::spin_loop();
                }
                if !spare_it {
                    assert!(victim.signal(signal::KILL));
                }
            });
            for _ in 0..2 {
                scope.spawn(|| start_some(&template));
            }
        });
    }
    wait_until("nobody is left", || procession::active_children().unwrap().is_empty());
    wait_until("nothing is left", || Litter::now() == before && templates().is_empty());
}

fn four() -> u32 {
    4
}

/// Each start has a value or an error, and nothing else.
fn start_some(template: &Template) {
    for kill in [false, true, false] {
        match template.process().spawn(four, ()) {
            Ok(child) if kill => {
                child.kill().unwrap();
                match child.join() {
                    Ok(value) => assert_eq!(value, 4),
                    Err(error) => assert!(matches!(error, JoinError::Died(_)), "{error}"),
                }
            }
            Ok(child) => assert_eq!(child.join().unwrap(), 4),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Died, "{error}"),
        }
    }
}

fn main() {
    procession::init();
    run_row(&[
        ("copies_while_threads_run", copies_while_threads_run),
        ("memory_is_shared_until_it_is_written", memory_is_shared_until_it_is_written),
        ("a_copy_is_of_what_was_and_inherits_what_is", a_copy_is_of_what_was_and_inherits_what_is),
        (
            "hooks_run_in_copies_and_nothing_of_the_parent_runs_twice",
            hooks_run_in_copies_and_nothing_of_the_parent_runs_twice,
        ),
        ("sigchld_has_its_default_action_in_copies", sigchld_has_its_default_action_in_copies),
        ("what_cannot_be_copied_is_an_error", what_cannot_be_copied_is_an_error),
        ("copies_outlive_a_template_that_is_killed", copies_outlive_a_template_that_is_killed),
        ("a_template_ends_with_the_last_who_needs_it", a_template_ends_with_the_last_who_needs_it),
        ("is_killed", is_killed),
        ("no_time_to_kill_is_a_bad_one", no_time_to_kill_is_a_bad_one),
    ]);
}
