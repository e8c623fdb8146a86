//! CPython's `_TestQueue` and `TestSimpleQueue`: runs the row that the first argument names, under the start method that the second
//! one names.
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::time::{Duration, Instant};

use procession::{Error, ErrorKind, Event, Process, Result};
use procession_queue::{
    GetError, GetTimeoutError, PutTimeoutError, Queue, SimpleQueue, TryGetError, TryPutError,
};
use procession_tests::SOON;
use serde::Serialize;

/// A row: its name, and what it does.
type Row = (&'static str, fn());

const SHORT: Duration = Duration::from_millis(200);

fn main() {
    procession::init();
    procession_tests::run_row(&ROWS);
}

const ROWS: [Row; 11] = [
    ("queue::put", put),
    ("queue::get", get),
    ("queue::fork", fork),
    ("queue::qsize", qsize),
    ("queue::timeout", timeout),
    ("queue::queue_feeder_donot_stop_onexc", refused_items_take_no_room),
    ("queue::closed_queue_empty_exceptions", closed_queue_empty),
    ("queue::closed_queue_put_get_exceptions", closed_queue_put_get),
    ("queue::join_before_get", join_before_get),
    ("simple::empty", simple_empty),
    ("simple::close", simple_close),
];

#[track_caller]
fn join<R: serde::Serialize + for<'de> serde::Deserialize<'de> + 'static>(
    child: &Process<Result<R>>,
) -> R {
    child.join_timeout(SOON).unwrap().unwrap().unwrap()
}

fn drain(queue: Queue<u32>, may_start: Event, may_go_on: Event) -> Result<()> {
    may_start.wait()?;
    for _ in 0..6 {
        queue.get()?;
    }
    may_go_on.set()?;
    Ok(())
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
    let start = Instant::now();
    assert!(matches!(queue.put_timeout(7, SHORT), Err(PutTimeoutError::Timeout(7))));
    assert!(start.elapsed() >= SHORT);
    may_start.set().unwrap();
    may_go_on.wait().unwrap();
    assert!(queue.is_empty().unwrap() && !queue.is_full().unwrap());
    join(&child);
}

fn fill(queue: Queue<u32>, may_start: Event) -> Result<()> {
    may_start.wait()?;
    queue.put_many(2..=5)?;
    Ok(())
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
    join(&child);
    assert_eq!(queue.try_get().unwrap(), 4);
    assert_eq!(queue.try_get().unwrap(), 5);
    assert!(queue.is_empty().unwrap());
    assert!(matches!(queue.try_get(), Err(TryGetError::Empty)));
    let start = Instant::now();
    assert!(matches!(queue.get_timeout(SHORT), Err(GetTimeoutError::Timeout)));
    assert!(start.elapsed() >= SHORT);
}

fn put_ten_more(queue: Queue<u32>) -> Result<()> {
    queue.put_many(10..20)?;
    Ok(())
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
    join(&child);
}

fn qsize() {
    let queue = Queue::new().unwrap();
    let len = || queue.len().unwrap();
    assert_eq!(len(), 0);
    queue.put(1).unwrap();
    assert_eq!(len(), 1);
    queue.put(5).unwrap();
    assert_eq!(len(), 2);
    queue.get().unwrap();
    assert_eq!(len(), 1);
    queue.get().unwrap();
    assert_eq!(len(), 0);
}

fn timeout() {
    let queue = Queue::<u32>::new().unwrap();
    let start = Instant::now();
    assert!(matches!(queue.get_timeout(SHORT), Err(GetTimeoutError::Timeout)));
    assert!(start.elapsed() >= SHORT);
}

/// An item that can be encoded or not.
enum Item {
    Good,
    Bad,
}

impl Serialize for Item {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Good => serializer.serialize_bool(true),
            Self::Bad => Err(serde::ser::Error::custom("not this one")),
        }
    }
}

/// An item that cannot be encoded is an error of its put, and takes no room.
fn refused_items_take_no_room() {
    let queue = Queue::bounded(1).unwrap();
    let got: Queue<bool> = procession_core::Message::encode(&queue).unwrap().decode().unwrap();
    let refused = Error::from(queue.put(Item::Bad).unwrap_err());
    assert_eq!(refused.kind(), ErrorKind::Encode);
    assert!(queue.is_empty().unwrap());
    queue.try_put(Item::Good).map_err(Error::from).unwrap();
    assert!(got.get().unwrap());
    assert_eq!(queue.len().unwrap(), 0);
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
}

fn look_at_closed(queue: Queue<String>) -> Result<bool> {
    let is_closed = matches!(queue.get(), Err(GetError::Closed));
    Ok(is_closed && queue.put("foo".to_owned()).is_err())
}

/// Put and get say that the queue is closed, in every process.
fn closed_queue_put_get() {
    let queue = Queue::<String>::new().unwrap();
    queue.close().unwrap();
    let error = Error::from(queue.put("foo".to_owned()).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(Error::from(queue.get().unwrap_err()).kind(), ErrorKind::Closed);
    assert!(error.to_string().contains("is closed"), "{error}");
    let child = Process::spawn(look_at_closed, (queue,)).unwrap();
    assert!(join(&child));
}

fn put_much(queue: Queue<Vec<u8>>) -> Result<()> {
    for number in 0..100u8 {
        queue.put(vec![number; 1 << 20])?;
    }
    Ok(())
}

/// The child that has put is joined before anything is got: there is no feeder that waits for a reader.
fn join_before_get() {
    let queue = Queue::new().unwrap();
    let child = Process::spawn(put_much, (queue.clone(),)).unwrap();
    join(&child);
    for number in 0..100u8 {
        assert!(queue.get().unwrap() == vec![number; 1 << 20]);
    }
}

fn put_two(queue: SimpleQueue<bool>, may_start: Event, may_go_on: Event) -> Result<()> {
    may_start.wait()?;
    // It sees its own.
    queue.put(queue.is_empty()?)?;
    queue.put(queue.is_empty()?)?;
    may_go_on.set()?;
    Ok(())
}

fn simple_empty() {
    let queue = SimpleQueue::new().unwrap();
    let (may_start, may_go_on) = (Event::new().unwrap(), Event::new().unwrap());
    let args = (queue.clone(), may_start.clone(), may_go_on.clone());
    let child = Process::builder().daemon(true).spawn(put_two, args).unwrap();
    assert!(queue.is_empty().unwrap());
    may_start.set().unwrap();
    may_go_on.wait().unwrap();
    assert!(!queue.is_empty().unwrap());
    assert!(queue.get().unwrap());
    assert!(!queue.get().unwrap());
    assert!(queue.is_empty().unwrap());
    join(&child);
}

fn simple_close() {
    let queue = SimpleQueue::<u32>::new().unwrap();
    queue.close().unwrap();
    queue.close().unwrap();
    assert!(queue.is_empty().unwrap());
    assert!(matches!(queue.get(), Err(GetError::Closed)));
}
