//! Our own rules about what a process can be made: runs the row that the first argument names, under the start method that
//! the second one names.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use procession::prelude::*;
use procession::process::Builder;
use procession::{ErrorKind, Reason, Resource};
use procession_core::threads;
use procession_sys::prim::{AtomicBool, Ordering};
use procession_sys::signal::{self, Mask};
use procession_sys::surroundings::{Surroundings, limit};
use procession_sys::{pidfd, process};
use procession_tests::{SOON, Stranger, program, skip, stay, wait_until};

const ROWS: [(&str, fn()); 10] = [
    ("user_group_and_groups", user),
    ("nice", nice),
    ("affinity", affinity),
    ("limits", limits),
    ("process_group", process_group),
    ("signal_mask", signal_mask),
    ("arg0", arg0),
    ("terminate_tree", terminate_tree),
    ("values_arrive_while_sigchld_is_ignored", ignored_sigchld),
    ("values_arrive_while_children_are_stolen", stolen_children),
];

/// The numbers behind a word in `/proc/self/status`.
fn status(word: &str) -> Vec<u32> {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(word)).unwrap();
    line.trim_start_matches(':').split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// Real, effective, saved and file system's user and group, and the supplementary groups.
fn identity() -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    (status("Uid"), status("Gid"), status("Groups"))
}

/// Whether the system refuses to make a process so, and says so: a start or a join fails, and the function is not called.
#[track_caller]
fn is_refused(builder: Builder) {
    let error = match builder.spawn(|| println!("it was called"), ()) {
        Err(error) => error,
        Ok(child) => match child.join() {
            Err(JoinError::NotStarted(error)) => error,
            other => panic!("{other:?}"),
        },
    };
    assert_eq!(error.kind(), ErrorKind::Os, "{error:?}");
}

fn user() {
    let before = identity();
    if before.0 != [0; 4] {
        return skip("other users and groups: only the superuser can become them");
    }
    // Numbers that nobody has.
    let (user, group, others) = (51_234, 52_345, vec![53_456, 54_567]);
    let is = |builder: Builder| builder.spawn(identity, ()).unwrap().join().unwrap();
    let all = Process::builder().uid(user).gid(group).groups(others.clone());
    assert_eq!(is(all), (vec![user; 4], vec![group; 4], others.clone()));
    // Without groups that are said, none of this process's stay.
    let (users, groups, supplementary) = is(Process::builder().uid(user).gid(group));
    assert_eq!((users, groups), (vec![user; 4], vec![group; 4]));
    assert!(supplementary.iter().all(|number| *number == group), "{supplementary:?}");
    assert_eq!(is(Process::builder().gid(group)).1, vec![group; 4]);
    assert_eq!(is(Process::builder().groups(others.clone())).2, others);
    // It cannot go back, and has no right to signal this process.
    let powerless = |parent: u32| {
        let own = pidfd::open(parent).unwrap();
        let back = procession_sys::user::become_user(Some(0), None, None).is_err();
        back && pidfd::signal(&own, 0).is_err()
    };
    let child = Process::builder().uid(user).gid(group).spawn(powerless, (std::process::id(),));
    assert!(child.unwrap().join().unwrap());
    // Whoever is not the superuser is refused.
    let nested = || {
        is_refused(Process::builder().uid(0));
        Process::spawn(identity, ()).unwrap().join().unwrap().0
    };
    let child = Process::builder().uid(user).gid(group).spawn(nested, ()).unwrap();
    assert_eq!(child.join().unwrap(), [user; 4]);
    assert_eq!(identity(), before, "nothing of it happens here");
}

fn own() -> Surroundings {
    Surroundings::of_this_process().unwrap()
}

fn nice() {
    let before = own().nice;
    let child = Process::builder().nice(before + 3).spawn(|| own().nice, ()).unwrap();
    assert_eq!(child.join().unwrap(), before + 3);
    let child = Process::builder().nice(19).spawn(|| own().nice, ()).unwrap();
    assert_eq!(child.join().unwrap(), 19);
    assert_eq!(
        (own().nice, Process::spawn(|| own().nice, ()).unwrap().join().unwrap()),
        (before, before)
    );
}

fn affinity() {
    let usable = own().processors;
    for processors in [vec![usable[0]], vec![usable[usable.len() - 1]], usable.clone()] {
        let builder = Process::builder().affinity(processors.clone());
        assert_eq!(builder.spawn(|| own().processors, ()).unwrap().join().unwrap(), processors);
    }
    assert_eq!(Process::spawn(|| own().processors, ()).unwrap().join().unwrap(), usable);
    is_refused(Process::builder().affinity([]));
}

fn limits() {
    let before = limit(Resource::Descriptors);
    let builder = Process::builder().limit(Resource::Descriptors, Some(100), Some(200)).limit(
        Resource::Core,
        Some(0),
        Some(0),
    );
    let look = || (limit(Resource::Descriptors), limit(Resource::Core), limit(Resource::Stack));
    let expected = ((Some(100), Some(200)), (Some(0), Some(0)), limit(Resource::Stack));
    assert_eq!(builder.spawn(look, ()).unwrap().join().unwrap(), expected);
    // It holds.
    let open = || {
        let files: Vec<_> = (0..300).map_while(|_| std::fs::File::open("/dev/null").ok()).collect();
        files.len()
    };
    let builder = Process::builder().limit(Resource::Descriptors, Some(50), Some(50));
    let opened = builder.spawn(open, ()).unwrap().join().unwrap();
    assert!((20..50).contains(&opened), "{opened}");
    assert_eq!(limit(Resource::Descriptors), before);
    // A limit of the time on a processor ends it.
    let spin = || -> () {
        loop {
            std::hint::spin_loop();
        }
    };
    let builder = Process::builder().limit(Resource::ProcessorTime, Some(1), Some(2));
    let child = builder.spawn(spin, ()).unwrap();
    let Err(JoinError::Died(death)) = child.join() else { panic!("it died") };
    assert_eq!(death.to_string().split_once(") ").unwrap().1, "was killed by SIGXCPU");
    assert_eq!(death.reason, Reason::Unknown);
    // More than it may have.
    is_refused(Process::builder().limit(Resource::Core, Some(2), Some(1)));
}

fn process_group() {
    let group = || (process::process_group(), std::process::id());
    let (own, _) = group();
    let (theirs, _) = Process::spawn(group, ()).unwrap().join().unwrap();
    assert_eq!(theirs, own);
    let child = Process::builder().process_group(0).spawn(group, ()).unwrap();
    let (theirs, pid) = child.join().unwrap();
    assert_eq!(theirs, pid);
    // Into the group of another one.
    let (tx, rx) = pipe().unwrap();
    let leader = Process::builder().process_group(0).spawn(stay, (false, tx)).unwrap();
    rx.recv_timeout(SOON).unwrap();
    let member = Process::builder().process_group(leader.pid()).spawn(group, ()).unwrap();
    assert_eq!(member.join().unwrap().0, leader.pid());
    leader.kill().unwrap();
    assert!(leader.join().is_err());
    is_refused(Process::builder().process_group(leader.pid()));
}

fn signal_mask() {
    let look = || signal::thread_mask().unwrap().bits();
    let wanted = 1 << (signal::USER_1 - 1) | 1 << (signal::HANG_UP - 1);
    let child = Process::builder().signal_mask(wanted).spawn(look, ()).unwrap();
    assert_eq!(child.join().unwrap(), wanted);
    let own = look();
    signal::set_thread_mask(Mask::from_bits(own | wanted)).unwrap();
    assert_eq!(Process::spawn(look, ()).unwrap().join().unwrap(), own | wanted);
    signal::set_thread_mask(Mask::from_bits(own)).unwrap();
    assert_eq!(Process::spawn(look, ()).unwrap().join().unwrap(), own);
}

fn arg0() {
    let name = || {
        let line = std::fs::read("/proc/self/cmdline").unwrap();
        let shown = line.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        (std::env::args().next().unwrap(), String::from_utf8(shown).unwrap())
    };
    let own = name();
    assert_eq!(Process::spawn(name, ()).unwrap().join().unwrap(), own);
    let child = Process::builder().arg0("another name").spawn(name, ()).unwrap();
    let expected = match procession::start_method() {
        StartMethod::Spawn => ("another name".to_owned(), "another name".to_owned()),
        _ => own,
    };
    assert_eq!(child.join().unwrap(), expected);
}

/// Has children of all kinds: one of ours that does not hear, and a shell that does not either, with a child.
fn have_children(tx: Sender<Vec<u32>>) {
    let (mine, rx) = pipe().unwrap();
    // Without the tie to this process: only being found ends it.
    let stubborn = Process::builder().outlive_parent().spawn(stay, (true, mine)).unwrap();
    rx.recv().unwrap();
    let script = "trap '' TERM; sleep 1000 & echo $!; echo; wait; wait";
    let mut shell = program("/bin/sh").args(["-c", script]).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(shell.stdout.take().unwrap()));
    let sleep = lines.next().unwrap().unwrap().parse().unwrap();
    tx.send(vec![stubborn.pid(), shell.id(), sleep]).unwrap();
    shell.wait().unwrap();
    thread::park();
}

fn terminate_tree() {
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(have_children, (tx,)).unwrap();
    let mut family = rx.recv_timeout(SOON).unwrap();
    family.push(child.pid());
    let family: Vec<_> = family.into_iter().map(Stranger::new).collect();
    assert!(family.iter().all(Stranger::is_alive) && family.len() == 4);
    let (grace, start) = (Duration::from_millis(200), Instant::now());
    child.terminate_tree(grace).unwrap();
    assert!(start.elapsed() >= grace, "some do not hear");
    let left: Vec<_> = family.iter().filter(|member| member.is_alive()).collect();
    assert!(left.is_empty(), "{left:?}");
    let Err(JoinError::Died(death)) = child.join() else { panic!("it died") };
    assert_eq!((death.status.signal(), death.reason), (Some(signal::TERMINATE), Reason::Asked));
    // Of one that has ended there is nothing to end.
    child.terminate_tree(grace).unwrap();
    // Whoever hears is not waited for any longer.
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(stay, (false, tx)).unwrap();
    rx.recv_timeout(SOON).unwrap();
    child.terminate_tree(Duration::from_secs(1000)).unwrap();
    assert!(child.join().is_err());
}

/// Values arrive; how their processes ended may not be known.
fn values_arrive() {
    // Some have ended before they are looked for.
    for number in 0..100 {
        let child = Process::spawn(|x: u32| x + 1, (number,)).unwrap();
        assert_eq!(child.join().unwrap(), number + 1);
        let status = child.exit_status().unwrap().unwrap();
        assert!(matches!(status, ExitStatus::Exited(0) | ExitStatus::Unknown), "{status}");
        assert!(!child.is_alive().unwrap());
    }
    let child = Process::spawn(|| -> () { panic!("on purpose") }, ()).unwrap();
    assert!(matches!(child.join(), Err(JoinError::Panicked(_))));
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(stay, (false, tx)).unwrap();
    rx.recv_timeout(SOON).unwrap();
    child.kill().unwrap();
    let Err(JoinError::Died(death)) = child.join() else { panic!("it died") };
    assert!(matches!(death.status.signal(), Some(signal::KILL) | None), "{death}");
    assert!(death.status.signal().is_some() || death.status == ExitStatus::Unknown, "{death}");
    drop(Process::spawn(|| (), ()).unwrap());
    wait_until("nobody is left", || procession::active_children().unwrap().is_empty());
}

/// The host has the system reap its children.
fn ignored_sigchld() {
    signal::ignore(signal::CHILD).unwrap();
    values_arrive();
    signal::restore_default(signal::CHILD).unwrap();
    let child = Process::spawn(|| 7, ()).unwrap();
    assert_eq!(child.join().unwrap(), 7);
    assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(0)));
}

/// The host reaps whatever child it finds, as a loop around `waitpid(-1)` does.
fn stolen_children() {
    static DONE: AtomicBool = AtomicBool::new(false);
    static STOLEN: AtomicBool = AtomicBool::new(false);
    // A thread that stands still while this process forks, which would be refused otherwise.
    let steal = |thief: &threads::Member| {
        while !DONE.load(Ordering::Relaxed) {
            thief.rest();
            for pid in procession_tests::children() {
                let Ok(process) = pidfd::open(pid) else { continue };
                // A fork server's children are not ours to reap.
                if let Ok(Some(_)) = pidfd::try_reap(&process) {
                    STOLEN.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    let thief = threads::start("thief", || (), steal).unwrap();
    values_arrive();
    // Until it was quicker once.
    let is_possible = procession::start_method() != StartMethod::ForkServer;
    wait_until("it has stolen one", || {
        values_arrive();
        !is_possible || STOLEN.load(Ordering::Relaxed)
    });
    DONE.store(true, Ordering::Relaxed);
    thief.join().unwrap();
}

fn main() {
    procession::init();
    procession_tests::run_row(&ROWS);
}
