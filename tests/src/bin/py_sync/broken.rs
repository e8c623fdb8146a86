//! What follows when a process dies that has a barrier, and when one leaves.

use procession::prelude::*;
use procession::{BarrierError, Error, WaitError};
use procession_sys::{Deadline, signal};
use procession_tests::{SOON, wait_until};

use crate::stage::{Place, Row, SHORT, death, next, park, say_where, value, was_killed};

pub(crate) const ROWS: &[Row] = &[
    ("broken::a_dead_party_breaks_a_barrier_until_it_is_reset", a_dead_party_breaks_a_barrier),
    ("broken::a_party_that_dies_before_it_arrives_breaks_a_barrier", dies_before_it_arrives),
    ("broken::a_party_that_comes_late_and_dies_breaks_a_barrier", comes_late_and_dies),
    ("broken::a_party_that_dies_acting_breaks_a_barrier", a_party_that_dies_acting),
    ("broken::who_leaves_a_barrier_in_order_is_not_missed", who_leaves_a_barrier_in_order),
    ("broken::who_leaves_in_order_is_not_missed_by_those_who_watch", who_leaves_while_watched),
];

/// Waits at a barrier; whether it was broken.
fn meet(barrier: Barrier, tx: Sender<Place>) -> bool {
    say_where(&tx);
    match barrier.wait() {
        Ok(_) => false,
        Err(BarrierError::Broken) => true,
        Err(error) => panic!("{error}"),
    }
}

fn party_of(barrier: &Barrier) -> (Process<bool>, Place) {
    let waiting = barrier.waiting();
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(meet, (barrier.clone(), tx)).unwrap();
    let place = next(&rx);
    wait_until("it has arrived", || barrier.waiting() == waiting + 1);
    (child, place)
}

fn a_dead_party_breaks_a_barrier() {
    let barrier = Barrier::new(4).unwrap();
    for is_noticed in [false, true] {
        let [first, second, third] = [(); 3].map(|()| party_of(&barrier));
        second.1.falls_asleep();
        second.1.kill();
        if is_noticed {
            was_killed(&second.0);
            assert!(barrier.is_broken());
        }
        assert!(value(&first.0) && value(&third.0), "those who wait are told");
        assert!(barrier.is_broken());
        let late = barrier.wait_timeout(SOON);
        assert!(matches!(late, Err(BarrierError::Broken)));
        if !is_noticed {
            was_killed(&second.0);
        }
        barrier.reset().unwrap();
        let parties = [(); 3].map(|()| party_of(&barrier));
        assert_eq!(barrier.wait_timeout(SOON).unwrap(), 3);
        assert!(!parties.iter().any(|(child, _)| value(child)));
        assert!(!barrier.is_broken());
    }
}

fn dies_before_it_arrives() {
    let barrier = Barrier::new(3).unwrap();
    let late = |_: Barrier, tx: Sender<Place>| -> () {
        say_where(&tx);
        park()
    };
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(late, (barrier.clone(), tx)).unwrap();
    let (party, place) = party_of(&barrier);
    place.falls_asleep();
    next(&rx).kill();
    // The other party waits without a deadline, and is told before this one could be.
    assert!(value(&party));
    assert!(matches!(barrier.wait(), Err(BarrierError::Broken)));
    was_killed(&child);
}

/// The other has slept for long when it gets the barrier, and nobody else looks.
fn comes_late_and_dies() {
    let barrier = Barrier::new(3).unwrap();
    let (party, place) = party_of(&barrier);
    place.falls_asleep();
    let never = Event::new().unwrap();
    assert!(matches!(never.wait_timeout(SHORT), Err(WaitError::TimedOut)));
    let late = |_: Barrier, tx: Sender<Place>| -> () {
        say_where(&tx);
        park()
    };
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(late, (barrier.clone(), tx)).unwrap();
    next(&rx).kill();
    assert!(value(&party));
    was_killed(&child);
}

fn a_party_that_dies_acting() {
    let barrier = Barrier::new(3).unwrap();
    let act = |barrier: Barrier| -> () {
        wait_until("the others wait", || barrier.waiting() == 2);
        let die = || signal::die_of(signal::KILL);
        let waited = barrier.wait_with(Deadline::NEVER, die);
        panic!("{waited:?}");
    };
    let actor = Process::spawn(act, (barrier.clone(),)).unwrap();
    let (party, _) = party_of(&barrier);
    let error = barrier.wait().unwrap_err();
    assert!(matches!(error, BarrierError::Broken), "{}", Error::from(error));
    assert!(value(&party));
    was_killed(&actor);
    // One that exits over it does not say that it is done either.
    barrier.reset().unwrap();
    let act = |barrier: Barrier| -> () {
        wait_until("the others wait", || barrier.waiting() == 2);
        drop(barrier.wait_with(Deadline::NEVER, || procession::exit(3)));
    };
    let actor = Process::spawn(act, (barrier.clone(),)).unwrap();
    let (party, _) = party_of(&barrier);
    let error = barrier.wait().unwrap_err();
    assert!(matches!(error, BarrierError::Broken), "{}", Error::from(error));
    assert!(value(&party));
    assert_eq!(death(&actor).status, ExitStatus::Exited(3));
}

fn who_leaves_a_barrier_in_order() {
    let barrier = Barrier::new(2).unwrap();
    let (party, place) = party_of(&barrier);
    value(&Process::spawn(|_: Barrier| (), (barrier.clone(),)).unwrap());
    let exit = |_: Barrier| -> () { procession::exit(3) };
    let child = Process::spawn(exit, (barrier.clone(),)).unwrap();
    assert_eq!(death(&child).status, ExitStatus::Exited(3));
    place.falls_asleep();
    assert_eq!((barrier.waiting(), barrier.is_broken()), (1, false));
    barrier.wait_timeout(SOON).unwrap();
    assert!(!value(&party));
}

/// One that waits sees the other's end, before their parent does.
fn who_leaves_while_watched() {
    let barrier = Barrier::new(2).unwrap();
    let leave = |_: Barrier, go: Receiver<()>| go.recv_timeout(SOON).unwrap();
    let exit = |_: Barrier, go: Receiver<()>| -> () {
        go.recv_timeout(SOON).unwrap();
        procession::exit(3)
    };
    let pipes = [(); 2].map(|()| pipe::<()>().unwrap());
    let [(go, wait), (exit_now, wait_too)] = pipes;
    let leaving = Process::spawn(leave, (barrier.clone(), wait)).unwrap();
    let exiting = Process::spawn(exit, (barrier.clone(), wait_too)).unwrap();
    let (party, place) = party_of(&barrier);
    place.falls_asleep();
    let event = Event::new().unwrap();
    let pass = || assert!(matches!(event.wait_timeout(SHORT), Err(WaitError::TimedOut)));
    pass();
    go.send(()).unwrap();
    exit_now.send(()).unwrap();
    pass();
    assert_eq!((barrier.waiting(), barrier.is_broken()), (1, false));
    value(&leaving);
    assert_eq!(death(&exiting).status, ExitStatus::Exited(3));
    barrier.wait_timeout(SOON).unwrap();
    assert!(!value(&party));
}
