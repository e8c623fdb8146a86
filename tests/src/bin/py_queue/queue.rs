//! CPython's `_TestQueue`.

use std::error::Error as _;

use procession::{
    Error, ErrorKind, Event, GetError, GetTimeoutError, JoinableQueue, Process, PutTimeoutError,
    Queue, QueueJoinTimeoutError, TryGetError, TryPutError,
};
use procession_core::Message;
use procession_tests::SOON;
use serde::{Serialize, Serializer};

use crate::stage::{Row, SHORT, is_closed, takes, value};

pub(crate) const ROWS: &[Row] = &[
    ("queue::put", put),
    ("queue::get", get),
    ("queue::fork", fork),
    ("queue::qsize", qsize),
    ("queue::task_done", task_done),
    ("queue::timeout", timeout),
    ("queue::queue_feeder_donot_stop_onexc", refused_items_take_no_room),
    ("queue::queue_feeder_on_queue_feeder_error", who_puts_is_told),
    ("queue::closed_queue_empty_exceptions", closed_queue_empty),
    ("queue::closed_queue_put_get_exceptions", closed_queue_put_get),
];

fn drain(queue: Queue<u32>, may_start: Event, may_go_on: Event) {
    may_start.wait_timeout(SOON).unwrap();
    for _ in 0..6 {
        queue.get().unwrap();
    }
    may_go_on.set().unwrap();
}

/// Six find room, the seventh does not, at once or after its time; another process makes room.
fn put() {
    let queue = Queue::bounded(6).unwrap();
    let (may_start, may_go_on) = (Event::new().unwrap(), Event::new().unwrap());
    let args = (queue.clone(), may_start.clone(), may_go_on.clone());
    let child = Process::builder().daemon(true).spawn(drain, args).unwrap();
    assert!(queue.is_empty().unwrap() && !queue.is_full().unwrap());
    queue.put(1).unwrap();
    queue.put_timeout(2, SHORT).unwrap();
    queue.try_put(3).unwrap();
    assert_eq!(queue.put_many(4..=6).unwrap(), 3);
    assert!(!queue.is_empty().unwrap() && queue.is_full().unwrap());
    assert!(matches!(queue.try_put(7), Err(TryPutError::Full(7))));
    let late = takes(SHORT, || queue.put_timeout(7, SHORT));
    assert!(matches!(late, Err(PutTimeoutError::Timeout(7))));
    may_start.set().unwrap();
    may_go_on.wait_timeout(SOON).unwrap();
    assert!(queue.is_empty().unwrap() && !queue.is_full().unwrap());
    value(&child);
}

fn fill(queue: Queue<u32>, may_start: Event) {
    may_start.wait_timeout(SOON).unwrap();
    queue.put_many(2..=5).unwrap();
}

/// What another process puts comes in its order; then there is nothing, at once or after its time.
fn get() {
    let queue = Queue::new().unwrap();
    let may_start = Event::new().unwrap();
    let args = (queue.clone(), may_start.clone());
    let child = Process::builder().daemon(true).spawn(fill, args).unwrap();
    assert!(queue.is_empty().unwrap());
    may_start.set().unwrap();
    assert_eq!(queue.get().unwrap(), 2);
    assert_eq!(queue.get_timeout(SOON).unwrap(), 3);
    value(&child);
    assert_eq!(queue.try_get().unwrap(), 4);
    assert_eq!(queue.try_get().unwrap(), 5);
    assert!(queue.is_empty().unwrap());
    assert!(matches!(queue.try_get(), Err(TryGetError::Empty)));
    let late = takes(SHORT, || queue.get_timeout(SHORT));
    assert!(matches!(late, Err(GetTimeoutError::Timeout)));
}

fn put_ten_more(queue: Queue<u32>) {
    assert_eq!(queue.put_many(10..20).unwrap(), 10);
}

/// A queue that was used before works in a child that is started then.
fn fork() {
    let queue = Queue::new().unwrap();
    queue.put_many(0..10).unwrap();
    let child = Process::spawn(put_ten_more, (queue.clone(),)).unwrap();
    for item in 0..20 {
        assert_eq!(queue.get_timeout(SOON).unwrap(), item);
    }
    assert!(matches!(queue.try_get(), Err(TryGetError::Empty)));
    value(&child);
}

fn qsize() {
    let (queue, joinable) = (Queue::new().unwrap(), JoinableQueue::new().unwrap());
    let is = |len| {
        assert_eq!((queue.len().unwrap(), joinable.len().unwrap()), (len, len));
    };
    let put = |item: u32| {
        queue.put(item).unwrap();
        joinable.put(item).unwrap();
    };
    let get = || assert_eq!(queue.get().unwrap(), joinable.get().unwrap());
    is(0);
    put(1);
    is(1);
    put(5);
    is(2);
    get();
    is(1);
    get();
    is(0);
}

/// What the workers have said is done, and how far they may go.
type Job = (JoinableQueue<Option<u32>>, Queue<u32>, Event);

fn work((queue, done, may_end): Job) -> u32 {
    let mut count = 0;
    while let Some(item) = queue.get().unwrap() {
        if item == 9 {
            may_end.wait_timeout(SOON).unwrap();
        }
        done.put(item).unwrap();
        queue.task_done().unwrap();
        count += 1;
    }
    queue.task_done().unwrap();
    count
}

/// Who joins goes on when four workers have said of ten items that they are done, and not before.
fn task_done() {
    let job: Job = (JoinableQueue::new().unwrap(), Queue::new().unwrap(), Event::new().unwrap());
    let (queue, done, may_end) = &job;
    let start = |_| Process::builder().daemon(true).spawn(work, (job.clone(),)).unwrap();
    let workers: Vec<_> = (0..4).map(start).collect();
    assert_eq!(queue.put_many((0..10).map(Some)).unwrap(), 10);
    let early = takes(SHORT, || queue.join_timeout(SHORT));
    assert!(matches!(early, Err(QueueJoinTimeoutError::Timeout)));
    may_end.set().unwrap();
    queue.join().unwrap();
    assert_eq!(done.len().unwrap(), 10);
    queue.put_many([None; 4]).unwrap();
    assert_eq!(workers.iter().map(value).sum::<u32>(), 10);
    queue.join().unwrap();
    assert_eq!((queue.len().unwrap(), queue.lost().unwrap()), (0, 0));
    queue.close().unwrap();
}

fn timeout() {
    let queue = Queue::<u32>::new().unwrap();
    let late = takes(SHORT, || queue.get_timeout(SHORT));
    assert!(matches!(late, Err(GetTimeoutError::Timeout)));
}

/// An item that can be encoded or not.
#[derive(Debug, PartialEq, Eq)]
enum Item {
    Good,
    Bad,
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Good => serializer.serialize_bool(true),
            Self::Bad => Err(serde::ser::Error::custom("not this one")),
        }
    }
}

/// The queue of those items, and what they are read as.
fn of_items() -> (Queue<Item>, Queue<bool>) {
    let queue = Queue::bounded(1).unwrap();
    let got = Message::encode(&queue).unwrap().decode().unwrap();
    (queue, got)
}

/// An item that cannot be encoded is an error of its put, and takes no room.
fn refused_items_take_no_room() {
    let (queue, got) = of_items();
    let refused = Error::from(queue.put(Item::Bad).unwrap_err());
    assert_eq!(refused.kind(), ErrorKind::Encode);
    assert!(queue.is_empty().unwrap() && !queue.is_full().unwrap());
    queue.try_put(Item::Good).map_err(Error::from).unwrap();
    assert!(got.get().unwrap());
    assert_eq!(queue.len().unwrap(), 0);
}

/// There is no hook to be told of that, because each call is told; it says what the item said, and the queue goes on.
fn who_puts_is_told() {
    let (queue, got) = of_items();
    let refusals = [
        Error::from(queue.put(Item::Bad).unwrap_err()),
        queue.try_put(Item::Bad).unwrap_err().into(),
        queue.put_timeout(Item::Bad, SOON).unwrap_err().into(),
        queue.put_many([Item::Good, Item::Bad, Item::Good]).unwrap_err().into(),
    ];
    for refused in refusals {
        assert_eq!(refused.kind(), ErrorKind::Encode);
        assert_eq!(refused.source().unwrap().to_string(), "not this one");
    }
    // The good one in front of the bad one.
    assert!(got.get().unwrap() && queue.is_empty().unwrap());
    queue.put(Item::Good).unwrap();
    assert!(got.get().unwrap());
}

/// A closed queue can be asked, used or not: here that is no error.
fn closed_queue_empty() {
    let queue = Queue::<u32>::new().unwrap();
    queue.close().unwrap();
    assert!(queue.is_empty().unwrap() && queue.is_closed().unwrap());
    let queue = Queue::new().unwrap();
    queue.put("foo".to_owned()).unwrap();
    queue.close().unwrap();
    assert!(!queue.is_empty().unwrap());
    assert_eq!(queue.get().unwrap(), "foo");
    assert!(queue.is_empty().unwrap());

    let queue = JoinableQueue::<u32>::new().unwrap();
    queue.close().unwrap();
    assert!(queue.is_empty().unwrap() && queue.is_closed().unwrap());
    let queue = JoinableQueue::new().unwrap();
    queue.put("foo".to_owned()).unwrap();
    queue.close().unwrap();
    assert_eq!(queue.get().unwrap(), "foo");
    assert!(queue.is_empty().unwrap());
    queue.task_done().unwrap();
    queue.join().unwrap();
    assert!(queue.is_empty().unwrap());
}

fn look_at_closed(queue: Queue<String>, joinable: JoinableQueue<String>) {
    is_closed(queue.get().unwrap_err());
    is_closed(queue.put("foo".to_owned()).unwrap_err());
    is_closed(joinable.get().unwrap_err());
    is_closed(joinable.lease().unwrap_err());
    is_closed(joinable.put("foo".to_owned()).unwrap_err());
}

/// Put and get say that the queue is closed, in every process; all forms of them do, and the item comes back.
fn closed_queue_put_get() {
    let (queue, joinable) = (Queue::new().unwrap(), JoinableQueue::new().unwrap());
    queue.close().unwrap();
    joinable.close().unwrap();
    look_at_closed(queue.clone(), joinable.clone());
    let text = || "foo".to_owned();
    assert_eq!(queue.put(text()).unwrap_err().into_item(), Some(text()));
    assert!(matches!(queue.try_put(text()), Err(TryPutError::Closed(item)) if item == text()));
    let late = queue.put_timeout(text(), SOON);
    assert!(matches!(late, Err(PutTimeoutError::Closed(item)) if item == text()));
    assert!(matches!(queue.get(), Err(GetError::Closed)));
    assert!(matches!(queue.try_get(), Err(TryGetError::Closed)));
    assert!(matches!(queue.get_timeout(SOON), Err(GetTimeoutError::Closed)));
    value(&Process::spawn(look_at_closed, (queue, joinable)).unwrap());
}
