//! CPython's `_TestEvent`, and what of events it does not ask.

use std::time::Duration;

use procession::prelude::*;
use procession::{Error, ErrorKind, WaitError};
use procession_tests::SOON;

use crate::stage::{Board, Place, Row, SHORT, next, say_where, takes, value};

pub(crate) const ROWS: &[Row] = &[
    ("event::event", event),
    ("event::repr", repr),
    ("event::who_waited_goes_on_though_it_is_cleared", who_waited_goes_on_though_it_is_cleared),
    ("event::who_sees_it_set_sees_what_was_done_before", sees_what_was_done_before),
];

/// What is so of an event that nobody has set yet; it is left clear.
fn alone(event: &Event) {
    assert!(!event.is_set().unwrap());
    assert!(!event.clear().unwrap(), "it was clear");
    let waited = event.wait_timeout(Duration::ZERO);
    assert!(matches!(waited, Err(WaitError::TimedOut)));
    let waited = takes(SHORT, || event.wait_timeout(SHORT));
    assert!(matches!(waited, Err(WaitError::TimedOut)));
    assert_eq!(Error::from(waited.unwrap_err()).kind(), ErrorKind::TimedOut);
    assert!(event.set().unwrap());
    assert!(!event.set().unwrap(), "it was set");
    for _ in 0..2 {
        assert!(event.is_set().unwrap());
        event.wait().unwrap();
        event.wait_timeout(Duration::ZERO).unwrap();
        event.wait_timeout(SOON).unwrap();
    }
    assert!(event.clear().unwrap());
    assert!(!event.is_set().unwrap());
}

fn event() {
    let event = Event::new().unwrap();
    alone(&event);
    value(&Process::spawn(|event: Event| alone(&event), (event.clone(),)).unwrap());
    // Another process sets it once this one sleeps.
    let set = |event: Event, waiter: Place| {
        waiter.falls_asleep();
        event.set().unwrap();
    };
    let child = Process::spawn(set, (event.clone(), Place::here())).unwrap();
    event.wait().unwrap();
    assert!(event.is_set().unwrap());
    value(&child);
    // It lets all go.
    event.clear().unwrap();
    let wait = |event: Event, tx: Sender<Place>| {
        say_where(&tx);
        event.wait().unwrap();
    };
    let mut children = Vec::new();
    for _ in 0..3 {
        let (tx, rx) = pipe().unwrap();
        children.push(Process::spawn(wait, (event.clone(), tx)).unwrap());
        next(&rx).falls_asleep();
    }
    event.set().unwrap();
    children.iter().for_each(value);
}

fn repr() {
    let event = Event::new().unwrap();
    let show = |event: Event| format!("{event:?}");
    let in_child = || value(&Process::spawn(show, (event.clone(),)).unwrap());
    assert_eq!((&*show(event.clone()), &*in_child()), ("Event(unset)", "Event(unset)"));
    event.set().unwrap();
    assert_eq!((&*show(event.clone()), &*in_child()), ("Event(set)", "Event(set)"));
    event.clear().unwrap();
    assert_eq!((&*show(event.clone()), &*in_child()), ("Event(unset)", "Event(unset)"));
}

/// In CPython a waiter that has not run by then waits on, or returns that it is not set.
fn who_waited_goes_on_though_it_is_cleared() {
    let event = Event::new().unwrap();
    let wait = |event: Event, tx: Sender<Place>, go: Receiver<()>| {
        for () in go.iter().map(Result::unwrap).take(5) {
            say_where(&tx);
            event.wait_timeout(SOON).unwrap();
        }
    };
    let mut children = Vec::new();
    for _ in 0..3 {
        let ((tx, rx), (go, wait_for_it)) = (pipe().unwrap(), pipe().unwrap());
        let child = Process::spawn(wait, (event.clone(), tx, wait_for_it)).unwrap();
        children.push((child, rx, go));
    }
    for _ in 0..5 {
        for (_, rx, go) in &children {
            go.send(()).unwrap();
            next(rx).falls_asleep();
        }
        assert!(event.set().unwrap());
        assert!(event.clear().unwrap());
    }
    for (child, ..) in &children {
        value(child);
    }
    assert!(!event.is_set().unwrap());
}

fn sees_what_was_done_before() {
    const TURNS: u64 = 500;
    let (ping, pong, board) = (Event::new().unwrap(), Event::new().unwrap(), Board::new(1));
    let answer = |ping: Event, pong: Event, board: Board| {
        for _ in 0..TURNS {
            ping.wait_timeout(SOON).unwrap();
            ping.clear().unwrap();
            board.count_carelessly(0);
            pong.set().unwrap();
        }
    };
    let child = Process::spawn(answer, (ping.clone(), pong.clone(), board.clone())).unwrap();
    for turn in 0..TURNS {
        board.count_carelessly(0);
        ping.set().unwrap();
        pong.wait_timeout(SOON).unwrap();
        pong.clear().unwrap();
        assert_eq!(board.get(0), 2 * (turn + 1));
    }
    value(&child);
}
