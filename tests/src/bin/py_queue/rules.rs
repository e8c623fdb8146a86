//! What CPython's queues do otherwise, or leave open: bounds, times, the end of a process that has put.

use std::time::Duration;

use procession::{
    Deadline, ErrorKind, Event, GetTimeoutError, JoinableQueue, Process, PutTimeoutError, Queue,
    SimpleQueue, TryGetError,
};
use procession_tests::SOON;

use crate::stage::{Row, value};

pub(crate) const ROWS: &[Row] = &[
    ("rules::join_before_get", join_before_get),
    ("rules::who_puts_and_ends_at_once", who_puts_and_ends_at_once),
    ("rules::no_bound_is_zero", no_bound_is_zero),
    ("rules::times_of_all_lengths", times_of_all_lengths),
    ("rules::closing_is_for_all", closing_is_for_all),
    ("rules::dropping_is_for_one", dropping_is_for_one),
    ("rules::closing_throws_away_what_it_is_told_to", close_now),
    ("rules::each_producer_is_in_order", each_producer_is_in_order),
    ("rules::a_simple_queue_has_no_bound", a_simple_queue_has_no_bound),
];

fn put_much(queue: Queue<Vec<u8>>) {
    for number in 0..100u8 {
        queue.put(vec![number; 1 << 20]).unwrap();
    }
}

/// The child that has put is joined before anything is got: there is no feeder that waits for a reader.
fn join_before_get() {
    let queue = Queue::new().unwrap();
    value(&Process::spawn(put_much, (queue.clone(),)).unwrap());
    for number in 0..100u8 {
        assert!(queue.get().unwrap() == vec![number; 1 << 20]);
    }
}

/// There is nothing to flush: who has put can be killed, and calls no `join_thread`.
fn who_puts_and_ends_at_once() {
    let queue = Queue::new().unwrap();
    let put = |queue: Queue<Vec<u8>>| -> () {
        put_much(queue);
        std::process::abort()
    };
    for _ in 0..3 {
        let child = Process::spawn(put, (queue.clone(),)).unwrap();
        assert!(child.join_timeout(SOON).unwrap().is_err());
        assert_eq!(queue.len().unwrap(), 100);
        for number in 0..100u8 {
            assert!(queue.try_get().unwrap() == vec![number; 1 << 20]);
        }
    }
}

/// In Python zero and less are no bound, and no bound is 2147483647.
fn no_bound_is_zero() {
    let refused = Queue::<u32>::bounded(0).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    let refused = JoinableQueue::<u32>::bounded(0).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert_eq!(Queue::<u32>::new().unwrap().capacity(), None);
    for most in [2_147_483_647, 1 << 48, usize::MAX] {
        let queue = Queue::bounded(most).unwrap();
        assert_eq!(queue.capacity(), Some(most));
        assert_eq!(queue.put_many(0..1000).unwrap(), 1000);
        assert!(!queue.is_full().unwrap());
        (0..1000).for_each(|item| assert_eq!(queue.try_get().unwrap(), item));
        assert!(matches!(queue.try_get(), Err(TryGetError::Empty)));
    }
}

/// No time, a moment that has passed, and more than a clock has: an item or room that is there is had all the same.
fn times_of_all_lengths() {
    let queue = Queue::bounded(1).unwrap();
    let times = [Deadline::PAST, Deadline::after(Duration::ZERO), Deadline::after(Duration::MAX)];
    for (number, time) in (0..).zip(times) {
        queue.put_deadline(number, time).unwrap();
        if number < 2 {
            let late = queue.put_deadline(9, time);
            assert!(matches!(late, Err(PutTimeoutError::Timeout(9))));
        }
        assert_eq!(queue.get_deadline(time).unwrap(), number);
        if number < 2 {
            assert!(matches!(queue.get_deadline(time), Err(GetTimeoutError::Timeout)));
        }
    }
}

/// In Python it is for one process; here who waits elsewhere is told.
fn closing_is_for_all() {
    let (queue, here) = (Queue::<u32>::new().unwrap(), Event::new().unwrap());
    let get = |queue: Queue<u32>, here: Event| {
        here.set().unwrap();
        queue.iter().map(Result::unwrap).collect::<Vec<u32>>()
    };
    let child = Process::spawn(get, (queue.clone(), here.clone())).unwrap();
    here.wait_timeout(SOON).unwrap();
    queue.put(1).unwrap();
    queue.close().unwrap();
    assert_eq!(value(&child), [1]);
    let close = |queue: Queue<u32>| queue.close().unwrap();
    let queue = Queue::new().unwrap();
    value(&Process::spawn(close, (queue.clone(),)).unwrap());
    assert!(queue.is_closed().unwrap() && queue.put(1).is_err());
}

/// What `close` is in Python, for the process that calls it.
fn dropping_is_for_one() {
    let queue = Queue::new().unwrap();
    let drop_it = |queue: Queue<u32>| {
        queue.put(1).unwrap();
        drop(queue);
    };
    value(&Process::spawn(drop_it, (queue.clone(),)).unwrap());
    queue.put(2).unwrap();
    assert_eq!((queue.get().unwrap(), queue.get().unwrap()), (1, 2));
}

/// As `queue.Queue.shutdown(immediate=True)`, which Python's queues between processes do not have.
fn close_now() {
    let queue = Queue::new().unwrap();
    queue.put_many(0..1000).unwrap();
    assert_eq!(queue.get().unwrap(), 0);
    let close = |queue: Queue<u32>| queue.close_now().unwrap();
    assert_eq!(value(&Process::spawn(close, (queue.clone(),)).unwrap()), 999);
    assert!(matches!(queue.try_get(), Err(TryGetError::Closed)));
}

fn each_producer_is_in_order() {
    const PRODUCERS: u32 = 4;
    const ITEMS: u32 = 2000;
    let queue = Queue::bounded(64).unwrap();
    let fill = |queue: Queue<(u32, u32)>, me: u32| {
        queue.put_many((0..ITEMS).map(|item| (me, item))).unwrap();
    };
    let start = |me| Process::spawn(fill, (queue.clone(), me)).unwrap();
    let children: Vec<_> = (0..PRODUCERS).map(start).collect();
    let mut next = [0; PRODUCERS as usize];
    for _ in 0..PRODUCERS * ITEMS {
        let (from, item) = queue.get_timeout(SOON).unwrap();
        assert_eq!(item, next[from as usize]);
        next[from as usize] += 1;
    }
    children.iter().for_each(value);
    assert!(queue.is_empty().unwrap());
}

/// In Python a put waits for a reader when the pipe is full.
fn a_simple_queue_has_no_bound() {
    let queue = SimpleQueue::new().unwrap();
    for number in 0..64u8 {
        queue.put(vec![number; 1 << 20]).unwrap();
    }
    for number in 0..64u8 {
        assert!(queue.get().unwrap() == vec![number; 1 << 20]);
    }
    assert!(queue.is_empty().unwrap());
}
