//! Members of a family are killed at any moment: their slots come back, and hooks run for each.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use procession::prelude::*;
use procession_core::family::{
    DeadProcess, Family, Invitation, MAX_OBJECTS, ProcessId, register_recovery,
};
use procession_sys::fd::duplicate;
use procession_sys::memory::SharedWords;
use procession_sys::prim::{Mutex, Ordering, lock};
use procession_sys::signal;
use procession_sys::wipe::SetOnce;
use procession_tests::{Random, Stranger, program, run, wait_until, watchdog};

procession::test_support!();

/// Under plain libtest the tests are one process, and so one member.
static ALONE: Mutex<()> = Mutex::new(());

/// For whom hooks ran, whoever ran them: how many there are, then [`ProcessId::to_bits`] of each, with [`EARLY`].
static LOG: SetOnce<SharedWords> = SetOnce::new();
const MOST: usize = 1 << 16;
/// It had not said who it is.
const EARLY: u64 = 1 << 63;

fn log(dead: &DeadProcess) {
    if dead.pid == 0 && !dead.holds.is_empty() {
        // A reservation that its parent gave back: there are thousands.
        return;
    }
    let log = LOG.get().unwrap();
    let at = log.word(0).fetch_add(1, Ordering::Relaxed);
    let early = if dead.pid == 0 { EARLY } else { 0 };
    log.word(usize::try_from(at).unwrap() + 1).store(dead.id.to_bits() | early, Ordering::Relaxed);
}

fn shared_log() -> &'static SharedWords {
    LOG.get().unwrap_or_else(|| LOG.set(SharedWords::create(MOST).unwrap()))
}

/// How often hooks ran for `id`; and whether it had not said who it is.
fn ran(id: ProcessId) -> (usize, bool) {
    let entries = (1..MOST).map(|at| shared_log().word(at).load(Ordering::Relaxed));
    let of_it = entries.filter(|entry| entry & !EARLY == id.to_bits());
    of_it.fold((0, false), |(ran, early), entry| (ran + 1, early || entry & EARLY != 0))
}

fn root() -> (&'static Family, ProcessId) {
    shared_log();
    register_recovery("log", log).unwrap();
    let family = Family::current().unwrap();
    (family, family.me().unwrap())
}

/// Joins, holds things, takes and gives back slots, and recovers whom it finds dead; until it is killed.
fn member(invitation: Invitation, shared: Handle<OwnedFd>) {
    LOG.set(SharedWords::open(shared.into_inner()).unwrap());
    register_recovery("log", log).unwrap();
    let family = invitation.accept().unwrap();
    for round in 0.. {
        let object = round * 31 % MAX_OBJECTS;
        family.hold(object).unwrap();
        let mut reservation = family.reserve().unwrap();
        reservation.hold(object).unwrap();
        drop(reservation);
        family.sweep().unwrap();
        if round % 2 == 0 {
            family.release(object).unwrap();
        }
    }
}

fn spin(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}

fn start(family: &'static Family) -> (ProcessId, Process<()>) {
    let reservation = family.reserve().unwrap();
    let shared = Handle(duplicate(shared_log()).unwrap());
    let child = Process::spawn(member, (reservation.invitation().unwrap(), shared)).unwrap();
    (reservation.commit(), child)
}

/// Kills a member, as its parent sees it.
fn end(family: &'static Family, (id, child): (ProcessId, Process<()>)) {
    assert!(Stranger::new(child.pid()).signal(signal::KILL));
    match child.join() {
        Err(JoinError::Died(death)) => assert_eq!(death.status.signal(), Some(signal::KILL)),
        other => panic!("{other:?}"),
    }
    family.mark_dead(id).unwrap();
}

#[test]
fn members_that_are_killed_anywhere_are_recovered() {
    const ROUNDS: usize = 200;
    const MEMBERS: usize = 4;
    let (_alone, _dog) = (lock(&ALONE), watchdog(120));
    let (family, me) = root();
    let mut random = Random::from_environment();
    let mut members = Vec::new();
    let mut dead = Vec::new();
    for _ in 0..ROUNDS {
        while members.len() < MEMBERS {
            members.push(start(family));
        }
        spin(Duration::from_micros(random.below(3_000) as u64));
        // Half of them while they start, the others in the middle of their work.
        let at = if random.below(2) == 0 { MEMBERS - 1 } else { random.below(MEMBERS) };
        let victim = members.swap_remove(at);
        dead.push(victim.0);
        end(family, victim);
        assert!(family.members().contains(&me));
        for (id, _) in &members {
            assert!(family.is_alive(*id).unwrap(), "{id} lives\n{}", family.dump());
        }
    }
    dead.extend(members.iter().map(|member| member.0));
    members.into_iter().for_each(|member| end(family, member));
    // What the dead had reserved or half recovered is seen to when they are recovered.
    wait_until("all slots are free", || family.dump().lines().count() == 1);
    let (ran, early): (Vec<_>, Vec<_>) = dead.iter().map(|id| ran(*id)).unzip();
    assert!(ran.iter().all(|ran| *ran > 0), "{ran:?}");
    // Members recover each other, and are killed over it.
    let again = ran.iter().filter(|ran| **ran > 1).count();
    assert!(again < ROUNDS / 2, "hooks ran again for {again} of {}", dead.len());
    let early = early.into_iter().filter(|early| *early).count();
    assert!(early > 0, "nobody was killed before it had joined");
    assert!(
        early < dead.len() - 10,
        "{early} of {} were killed before they had joined",
        dead.len()
    );
}

/// Observes nobody; starts a member of its own and waits for it.
fn parent(invitation: Invitation, shared: Handle<OwnedFd>, ready: Sender<ProcessId>) {
    LOG.set(SharedWords::open(shared.into_inner()).unwrap());
    register_recovery("log", log).unwrap();
    let family = invitation.accept().unwrap();
    let (id, child) = start(family);
    ready.send(id).unwrap();
    child.join().unwrap();
}

#[test]
fn children_of_the_dead_are_recovered_too() {
    let (_alone, _dog) = (lock(&ALONE), watchdog(120));
    let (family, _me) = root();
    for _ in 0..10 {
        let reservation = family.reserve().unwrap();
        let invitation = reservation.invitation().unwrap();
        let shared = Handle(duplicate(shared_log()).unwrap());
        let (tx, rx) = pipe().unwrap();
        let child = Process::spawn(parent, (invitation, shared, tx)).unwrap();
        let grandchild = rx.recv().unwrap();
        end(family, (reservation.commit(), child));
        // The system kills the grandchild, which nobody but the dead knew.
        wait_until("all slots are free", || family.dump().lines().count() == 1);
        assert!(ran(grandchild).0 > 0);
    }
}

#[test]
fn an_observed_process_is_recovered_when_it_ends_and_not_when_it_stops() {
    let (_alone, _dog) = (lock(&ALONE), watchdog(120));
    let (family, me) = root();
    let (id, child) = start(family);
    wait_until("it has joined", || family.dump().contains(&format!("{id} Live")));
    let observation = family.observe(id).unwrap().unwrap();
    let again = family.observe(id).unwrap().unwrap();
    drop(again);
    assert_eq!(observation.id(), id);
    let victim = Stranger::new(child.pid());
    assert!(victim.signal(signal::STOP));
    spin(Duration::from_millis(20));
    assert!(family.is_alive(id).unwrap());
    assert!(family.members().contains(&id));
    assert!(victim.signal(signal::KILL));
    // The slot that every child gets, and this one does not use, is there until the child is joined.
    wait_until("the watch has recovered it", || !family.members().contains(&id));
    assert!(family.members().contains(&me));
    wait_until("there is nobody to observe", || family.observe(id).unwrap().is_none());
    assert!(!family.mark_dead(id).unwrap(), "that was done");
    drop(observation);
    assert!(child.join().is_err());
    assert_eq!(family.members(), [me]);
    // With nobody to observe, the thread goes.
    wait_until("the watch's thread has ended", || !has_thread("procession-watch"));
}

/// The system cuts names after 15 bytes.
fn has_thread(name: &str) -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.into_iter().any(|comm| name.starts_with(comm.trim_end()))
}

/// Joins the family as any process that is started may: by what it was given at its start.
fn hold_something(ready: Sender<ProcessId>) {
    let family = Family::current().unwrap();
    family.hold(5).unwrap();
    ready.send(family.me().unwrap()).unwrap();
    loop {
        std::thread::park();
    }
}

fn hold_below(ready: Sender<ProcessId>) {
    let child = Process::spawn(hold_something, (ready,)).unwrap();
    drop(child.join());
}

#[test]
fn what_a_process_held_is_recovered_when_it_is_joined() {
    let (_alone, _dog) = (lock(&ALONE), watchdog(120));
    let (family, me) = root();
    for _ in 0..20 {
        let (tx, rx) = pipe().unwrap();
        let child = Process::spawn(hold_something, (tx,)).unwrap();
        let id = rx.recv().unwrap();
        assert_eq!(family.holders(5).unwrap(), [id]);
        child.kill().unwrap();
        assert!(child.join().is_err());
        assert!(family.holders(5).unwrap().is_empty());
        assert_eq!(family.members(), [me]);
    }
}

#[test]
fn grandchildren_are_of_the_same_family() {
    let (_alone, _dog) = (lock(&ALONE), watchdog(120));
    let (family, me) = root();
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(hold_below, (tx,)).unwrap();
    let id = rx.recv().unwrap();
    assert_eq!(family.holders(5).unwrap(), [id]);
    child.kill().unwrap();
    assert!(child.join().is_err());
    // The system kills the grandchild; the death of its parent is what makes this process see to it.
    wait_until("it is recovered", || family.holders(5).unwrap().is_empty());
    wait_until("all slots are free", || family.members() == [me]);
}

#[test]
fn forks_that_nobody_announced_join_as_processes_of_their_own() {
    let (output, stdout, stderr) = run(&mut program(env!("CARGO_BIN_EXE_family_fork")));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert_eq!(stdout, "done\n", "{stderr}");
}
