//! CPython's `TestSimpleQueue`.

use procession::{Event, Process, SimpleQueue};
use procession_tests::SOON;

use crate::stage::{Row, is_closed, value};

pub(crate) const ROWS: &[Row] = &[
    ("simple::empty_exceptions", empty_exceptions),
    ("simple::empty", empty),
    ("simple::close", close),
];

fn ask_closed(queue: SimpleQueue<u32>) -> bool {
    is_closed(queue.get().unwrap_err());
    is_closed(queue.put(1).unwrap_err());
    queue.is_empty().unwrap()
}

/// One that is closed can be asked, in each process: here that is no error.
fn empty_exceptions() {
    let queue = SimpleQueue::<u32>::new().unwrap();
    queue.close().unwrap();
    assert!(ask_closed(queue.clone()));
    assert!(value(&Process::spawn(ask_closed, (queue,)).unwrap()));
}

fn put_two(queue: SimpleQueue<bool>, may_start: Event, may_go_on: Event) {
    may_start.wait_timeout(SOON).unwrap();
    // It sees its own.
    queue.put(queue.is_empty().unwrap()).unwrap();
    queue.put(queue.is_empty().unwrap()).unwrap();
    may_go_on.set().unwrap();
}

fn empty() {
    let queue = SimpleQueue::new().unwrap();
    let (may_start, may_go_on) = (Event::new().unwrap(), Event::new().unwrap());
    let args = (queue.clone(), may_start.clone(), may_go_on.clone());
    let child = Process::builder().daemon(true).spawn(put_two, args).unwrap();
    assert!(queue.is_empty().unwrap());
    may_start.set().unwrap();
    may_go_on.wait_timeout(SOON).unwrap();
    assert!(!queue.is_empty().unwrap());
    assert!(queue.get().unwrap());
    assert!(!queue.get().unwrap());
    assert!(queue.is_empty().unwrap());
    value(&child);
}

fn close() {
    let queue = SimpleQueue::<u32>::new().unwrap();
    queue.put(7).unwrap();
    queue.close().unwrap();
    queue.close().unwrap();
    assert_eq!(queue.get().unwrap(), 7);
    assert!(queue.is_empty().unwrap());
    is_closed(queue.get().unwrap_err());
}
