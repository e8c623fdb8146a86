//! CPython's `_TestQueue`, with queues of a manager.

use std::time::Instant;

use procession::{
    EventProxy, GetError, GetTimeoutError, JoinableQueueProxy, Process, PutError, PutTimeoutError,
    QueueProxy, TryGetError, TryPutError,
};

use crate::stage::{Managed, TIMEOUT};

pub(crate) const ROWS: &[(&str, fn())] = &[
    ("queue::put", put),
    ("queue::get", get),
    ("queue::fork", fork),
    ("queue::qsize", qsize),
    ("queue::task_done", task_done),
    ("queue::timeout", timeout),
    ("queue::queue_feeder_donot_stop_onexc", queue_feeder_donot_stop_onexc),
    ("queue::closed_queue", closed_queue),
];

fn put() {
    let manager = Managed::start();
    let queue = manager.bounded_queue::<u32>(6).unwrap();
    let (start, go_on) = (manager.event().unwrap(), manager.event().unwrap());
    let worker = |queue: QueueProxy<u32>, start: EventProxy, go_on: EventProxy| {
        start.wait().unwrap();
        assert!((1..=6).all(|item| queue.get().unwrap() == item));
        go_on.set().unwrap();
    };
    let child = Process::spawn(worker, (queue.clone(), start.clone(), go_on.clone())).unwrap();
    assert!(queue.is_empty().unwrap() && !queue.is_full().unwrap());
    queue.put(1).unwrap();
    queue.try_put(2).unwrap();
    (3..6).for_each(|item| queue.put_timeout(item, TIMEOUT).unwrap());
    queue.put(6).unwrap();
    assert!(queue.is_full().unwrap() && !queue.is_empty().unwrap());
    assert!(matches!(queue.try_put(7), Err(TryPutError::Full(7))));
    let before = Instant::now();
    assert!(matches!(queue.put_timeout(7, TIMEOUT), Err(PutTimeoutError::Timeout(7))));
    assert!(before.elapsed() >= TIMEOUT);
    start.set().unwrap();
    go_on.wait().unwrap();
    assert!(queue.is_empty().unwrap() && !queue.is_full().unwrap());
    child.join().unwrap();
}

fn get() {
    let manager = Managed::start();
    let queue = manager.queue::<u32>().unwrap();
    let worker = |queue: QueueProxy<u32>| (2..6).for_each(|item| queue.put(item).unwrap());
    let child = Process::spawn(worker, (queue.clone(),)).unwrap();
    assert_eq!(queue.get().unwrap(), 2);
    child.join().unwrap();
    assert_eq!(queue.get_timeout(TIMEOUT).unwrap(), 3);
    assert_eq!((queue.try_get().unwrap(), queue.get().unwrap()), (4, 5));
    assert!(matches!(queue.try_get(), Err(TryGetError::Empty)));
    let before = Instant::now();
    assert!(matches!(queue.get_timeout(TIMEOUT), Err(GetTimeoutError::Timeout)));
    assert!(before.elapsed() >= TIMEOUT);
}

fn fork() {
    let manager = Managed::start();
    let queue = manager.queue::<u32>().unwrap();
    (0..10).for_each(|item| queue.put(item).unwrap());
    let worker = |queue: QueueProxy<u32>| (10..20).for_each(|item| queue.put(item).unwrap());
    Process::spawn(worker, (queue.clone(),)).unwrap().join().unwrap();
    assert!((0..20).all(|item| queue.get().unwrap() == item));
    assert!(matches!(queue.try_get(), Err(TryGetError::Empty)));
}

fn qsize() {
    let manager = Managed::start();
    let queue = manager.queue::<u32>().unwrap();
    let len = || queue.len().unwrap();
    assert_eq!(len(), 0);
    queue.put(1).unwrap();
    assert_eq!(len(), 1);
    queue.put(5).unwrap();
    assert_eq!(len(), 2);
    queue.get().unwrap();
    assert_eq!(len(), 1);
    queue.try_get().unwrap();
    assert_eq!(len(), 0);
}

fn task_done() {
    let manager = Managed::start();
    let queue = manager.joinable_queue::<Option<u32>>(0).unwrap();
    let worker = |queue: JoinableQueueProxy<Option<u32>>| {
        while queue.get().unwrap().is_some() {
            queue.task_done().unwrap();
        }
        queue.task_done().unwrap();
    };
    let crew: Vec<_> = (0..4).map(|_| Process::spawn(worker, (queue.clone(),)).unwrap()).collect();
    (0..10).for_each(|item| queue.put(Some(item)).unwrap());
    queue.join().unwrap();
    assert_eq!(queue.unfinished().unwrap(), 0);
    crew.iter().for_each(|_| queue.put(None).unwrap());
    crew.into_iter().for_each(|member| member.join().unwrap());
}

fn timeout() {
    let manager = Managed::start();
    let queue = manager.queue::<u32>().unwrap();
    let before = Instant::now();
    assert!(matches!(queue.get_timeout(TIMEOUT * 2), Err(GetTimeoutError::Timeout)));
    assert!(before.elapsed() >= TIMEOUT * 2);
}

/// What cannot be written is an error of `put`, and takes no room.
fn queue_feeder_donot_stop_onexc() {
    #[derive(Debug)]
    struct NotSerializable(bool);
    impl serde::Serialize for NotSerializable {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                true => Err(serde::ser::Error::custom("it is not")),
                false => serializer.serialize_bool(true),
            }
        }
    }
    impl<'de> serde::Deserialize<'de> for NotSerializable {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            bool::deserialize(deserializer).map(|_| Self(false))
        }
    }
    let manager = Managed::start();
    let queue = manager.bounded_queue::<NotSerializable>(1).unwrap();
    assert!(matches!(queue.try_put(NotSerializable(true)), Err(TryPutError::Failed(_))));
    assert_eq!(queue.len().unwrap(), 0);
    queue.try_put(NotSerializable(false)).unwrap();
    assert!(!queue.get().unwrap().0);
}

/// `closed_queue_empty_exceptions`, `closed_queue_put_get_exceptions`: of processes' queues; what a closed one of a manager's does.
fn closed_queue() {
    let manager = Managed::start();
    let queue = manager.queue::<u32>().unwrap();
    queue.put(1).unwrap();
    queue.close().unwrap();
    assert!(!queue.is_empty().unwrap());
    assert!(matches!(queue.put(2), Err(PutError::Closed(2))));
    assert_eq!(queue.get().unwrap(), 1);
    assert!(queue.is_empty().unwrap() && matches!(queue.get(), Err(GetError::Closed)));
}
