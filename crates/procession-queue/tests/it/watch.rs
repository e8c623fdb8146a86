//! Waiting for a queue among other things.

use std::os::fd::AsFd as _;
use std::thread;
use std::time::Duration;

use procession_connection::{Waitable, pipe, wait, wait_deadline};
use procession_core::Deadline;
use procession_queue::{JoinableQueue, Queue, TryGetError};
use procession_sys::poll;

const SOON: Duration = Duration::from_secs(20);

fn is_readable(queue: &Queue<u32>, deadline: Deadline) -> bool {
    poll::wait_readable(queue.as_fd(), deadline).expect("a poll")
}

#[test]
fn one_of_several_queues_and_pipes_has_something() {
    let (first, second) = (Queue::new().unwrap(), JoinableQueue::new().unwrap());
    let (tx, rx) = pipe::<u32>().unwrap();
    let all: [&dyn Waitable; 3] = [&first, &second, &rx];
    assert!(wait(&all, Duration::ZERO).unwrap().is_empty());
    for round in 0..300 {
        match round % 3 {
            0 => first.put(round).unwrap(),
            1 => second.put(round).unwrap(),
            _ => tx.send(round).unwrap(),
        }
        let ready = wait_deadline(&all, Deadline::after(SOON)).unwrap();
        assert_eq!(ready, [round as usize % 3]);
        let got = match ready[0] {
            0 => first.get().unwrap(),
            1 => second.lease().unwrap().into_done().unwrap(),
            _ => rx.recv().unwrap(),
        };
        assert_eq!(got, round);
        assert!(wait(&all, Duration::ZERO).unwrap().is_empty());
    }
}

#[test]
fn it_is_readable_while_there_is_something_and_at_the_end() {
    let queue = Queue::<u32>::new().unwrap();
    assert!(!is_readable(&queue, Deadline::PAST));
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    for item in [1, 2] {
        assert!(is_readable(&queue, Deadline::after(SOON)));
        assert_eq!(queue.try_get().unwrap(), item);
    }
    assert!(matches!(queue.try_get(), Err(TryGetError::Empty)));
    assert!(!is_readable(&queue, Deadline::PAST));
    queue.close().unwrap();
    assert!(is_readable(&queue, Deadline::after(SOON)));
}

#[test]
fn what_is_given_back_is_noticed() {
    let queue = JoinableQueue::<u32>::new().unwrap();
    queue.put(1).unwrap();
    let lease = queue.lease().unwrap();
    assert!(wait(&[&queue], Duration::ZERO).unwrap().is_empty());
    let waiter = {
        let queue = queue.clone();
        thread::spawn(move || wait(&[&queue], SOON).unwrap())
    };
    drop(lease);
    assert_eq!(waiter.join().unwrap(), [0]);
}

#[test]
fn who_gets_is_woken_although_somebody_watches() {
    let queue = Queue::<u32>::bounded(1).unwrap();
    let _fd = queue.as_fd();
    let getters: Vec<_> = (0..3)
        .map(|_| {
            let queue = queue.clone();
            thread::spawn(move || queue.iter().map(|item| item.unwrap()).sum::<u32>())
        })
        .collect();
    (0..1000).for_each(|_| queue.put(1).unwrap());
    queue.close().unwrap();
    let sum: u32 = getters.into_iter().map(|getter| getter.join().unwrap()).sum();
    assert_eq!(sum, 1000);
}

#[test]
fn the_thread_goes_with_the_queue() {
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    for _ in 0..20 {
        let queue = Queue::<u32>::new().unwrap();
        assert!(!is_readable(&queue, Deadline::PAST));
    }
    let deadline = Deadline::after(SOON);
    while threads() > before + 2 {
        assert!(!deadline.has_passed(), "{} threads", threads());
        thread::yield_now();
    }
}
