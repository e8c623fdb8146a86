//! Rows of other classes of CPython's tests that are about queues.

use std::collections::BTreeMap;

use procession::{
    Context, JoinableQueue, Process, Queue, StartMethod, TryGetError, start_method, start_methods,
};
use procession_tests::SOON;
use serde::{Deserialize, Serialize};

use crate::stage::{Row, value};

pub(crate) const ROWS: &[Row] = &[
    ("elsewhere::nested_queue", nested_queue),
    ("elsewhere::remote", remote),
    ("elsewhere::queue_in_process", queue_in_process),
    ("elsewhere::mixed_startmethod", mixed_startmethod),
    ("elsewhere::nested_startmethod", nested_startmethod),
    ("elsewhere::queue", queue),
    ("elsewhere::joinable_queue", joinable_queue),
];

/// Queues in lists and maps, which go to another process and come back.
type Nest = (Vec<Queue<u32>>, BTreeMap<String, Queue<u32>>);

fn nested_queue() {
    let (first, second) = (Queue::new().unwrap(), Queue::new().unwrap());
    first.put(42).unwrap();
    let turn = |nest: Nest| {
        let (list, map) = &nest;
        assert_eq!(list[0].get_timeout(SOON).unwrap(), 42);
        assert!(list[1].is_same(&map["b"]) && !list[0].is_same(&list[1]));
        map["b"].put(43).unwrap();
        nest
    };
    let nest: Nest = (vec![first.clone(), second.clone()], [("b".into(), second.clone())].into());
    let (list, map) = value(&Process::spawn(turn, (nest,)).unwrap());
    assert!(list[0].is_same(&first) && map["b"].is_same(&second));
    assert_eq!(list[1].get_timeout(SOON).unwrap(), 43);
    assert!(matches!(second.try_get(), Err(TryGetError::Empty)));
}

/// What Python's values are here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Any {
    None,
    Bool(bool),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Self>),
}

fn values() -> [Any; 6] {
    let list = vec![Any::Float(1.0), Any::Text("two".into()), Any::None];
    [
        Any::Text("hall\u{e5} v\u{e4}rlden".into()),
        Any::None,
        Any::Bool(true),
        Any::Float(2.25),
        Any::Bytes((0..=255).collect()),
        Any::List(list),
    ]
}

/// Values of all sorts through a queue that another process fills. From another machine: with managers.
fn remote() {
    let queue = Queue::new().unwrap();
    let fill = |queue: Queue<Any>| queue.put_many(values()).unwrap();
    let child = Process::spawn(fill, (queue.clone(),)).unwrap();
    for wanted in values() {
        assert_eq!(queue.get_timeout(SOON).unwrap(), wanted);
    }
    assert_eq!(value(&child), 6);
}

/// A child makes a queue, and a daemon that fills it.
fn queue_in_process() {
    let nested = || {
        let queue = Queue::new().unwrap();
        let fill = |queue: Queue<String>| queue.put("hello".into()).unwrap();
        let child = Process::builder().daemon(true).spawn(fill, (queue.clone(),)).unwrap();
        let text = queue.get_timeout(SOON).unwrap();
        value(&child);
        text
    };
    assert_eq!(value(&Process::spawn(nested, ()).unwrap()), "hello");
}

/// What one method's process made is used by those of all.
fn mixed_startmethod() {
    let make = || (Queue::new().unwrap(), JoinableQueue::new().unwrap());
    let (plain, joinable): (Queue<String>, JoinableQueue<String>) =
        value(&Process::spawn(make, ()).unwrap());
    let add = |plain: Queue<String>, joinable: JoinableQueue<String>, name: String| {
        plain.put(name.clone()).unwrap();
        joinable.put(name).unwrap();
    };
    // The copy first: no fork beside threads.
    let mut methods = vec![StartMethod::Fork, StartMethod::ForkServer, StartMethod::Spawn];
    assert!(start_methods().iter().all(|method| methods.contains(method)));
    if start_method() == StartMethod::Thread {
        methods = vec![StartMethod::Thread];
    }
    for method in &methods {
        let args = (plain.clone(), joinable.clone(), method.to_string());
        value(&Context::new(*method).process().spawn(add, args).unwrap());
    }
    for method in &methods {
        assert_eq!(plain.get_timeout(SOON).unwrap(), method.to_string());
        let lease = joinable.lease_timeout(SOON).unwrap();
        assert_eq!(*lease, method.to_string());
        lease.done().unwrap();
    }
    joinable.join().unwrap();
}

/// A child passes a queue on that it was given.
fn nested_startmethod() {
    let queue = Queue::new().unwrap();
    let pass_on = |queue: Queue<u32>| {
        let put = |queue: Queue<u32>, number: u32| queue.put(number).unwrap();
        queue.put(1).unwrap();
        value(&Process::spawn(put, (queue.clone(), 2)).unwrap());
        queue.put(3).unwrap();
    };
    value(&Process::spawn(pass_on, (queue.clone(),)).unwrap());
    for number in 1..=3 {
        assert_eq!(queue.get_timeout(SOON).unwrap(), number);
    }
    assert!(queue.is_empty().unwrap());
}

/// What a worker sees of a queue for two that is full.
fn queue() {
    let queue = Queue::bounded(2).unwrap();
    assert_eq!(queue.put_many([5, 6]).unwrap(), 2);
    let look = |queue: Queue<u32>| {
        assert_eq!((queue.capacity(), queue.len().unwrap()), (Some(2), 2));
        assert!(queue.is_full().unwrap() && !queue.is_empty().unwrap());
        assert_eq!((queue.get().unwrap(), queue.get().unwrap()), (5, 6));
        assert!(queue.is_empty().unwrap() && !queue.is_full().unwrap());
    };
    value(&Process::spawn(look, (queue.clone(),)).unwrap());
    assert!(queue.is_empty().unwrap() && !queue.is_full().unwrap());
}

fn joinable_queue() {
    let queue = JoinableQueue::bounded(2).unwrap();
    assert_eq!(queue.put_many([5, 6]).unwrap(), 2);
    let look = |queue: JoinableQueue<u32>| {
        assert_eq!((queue.capacity(), queue.len().unwrap()), (Some(2), 2));
        assert!(queue.is_full().unwrap() && !queue.is_empty().unwrap());
        for item in [5, 6] {
            assert_eq!(queue.get().unwrap(), item);
            queue.task_done().unwrap();
        }
        assert!(queue.is_empty().unwrap() && !queue.is_full().unwrap());
    };
    value(&Process::spawn(look, (queue.clone(),)).unwrap());
    assert!(queue.is_empty().unwrap());
    queue.join_timeout(SOON).unwrap();
}
