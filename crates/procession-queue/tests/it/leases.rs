//! Items that are done, and those that come back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use procession_core::{ErrorKind, Message};
use procession_queue::{
    GetError, JoinableQueue, Queue, QueueJoinError, QueueJoinTimeoutError, TryGetError,
};

const SHORT: Duration = Duration::from_millis(20);

#[test]
fn who_joins_waits_until_all_items_are_done() {
    let queue = JoinableQueue::new().unwrap();
    queue.join().unwrap();
    queue.put_many(0..1000).unwrap();
    assert!(matches!(queue.join_timeout(SHORT), Err(QueueJoinTimeoutError::Timeout)));
    let workers: Vec<_> = (0..4)
        .map(|number| {
            let queue = queue.clone();
            thread::spawn(move || {
                for lease in queue.leases() {
                    let lease = lease.unwrap();
                    match (number + *lease) % 3 {
                        0 if lease.attempt() < 4 => drop(lease),
                        _ => lease.done().unwrap(),
                    }
                }
            })
        })
        .collect();
    queue.join().unwrap();
    assert!(queue.is_empty().unwrap());
    queue.close().unwrap();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    queue.join().unwrap();
    assert_eq!((queue.lost().unwrap(), queue.exhausted().unwrap()), (0, 0));
}

#[test]
fn tasks_are_said_to_be_done_once_each() {
    let queue = JoinableQueue::bounded(10).unwrap();
    assert_eq!(queue.task_done().unwrap_err().kind(), ErrorKind::InvalidInput);
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    assert_eq!(queue.task_done().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!((queue.get().unwrap(), queue.try_get().unwrap()), (1, 2));
    assert!(matches!(queue.try_get(), Err(TryGetError::Empty)));
    queue.task_done().unwrap();
    assert!(matches!(queue.join_timeout(SHORT), Err(QueueJoinTimeoutError::Timeout)));
    let (told, tells) = mpsc::channel();
    let waiter = {
        let queue = queue.clone();
        thread::spawn(move || {
            queue.join().unwrap();
            told.send(()).unwrap();
        })
    };
    assert!(tells.recv_timeout(SHORT).is_err());
    queue.task_done().unwrap();
    tells.recv().unwrap();
    waiter.join().unwrap();
    assert_eq!(queue.task_done().unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn what_is_given_back_is_in_front_and_knows_how_often() {
    let queue = JoinableQueue::new().unwrap();
    queue.put_many(["a", "b", "c"].map(String::from)).unwrap();
    let (a, b) = (queue.lease().unwrap(), queue.lease().unwrap());
    assert_eq!((a.as_str(), a.attempt(), b.as_str()), ("a", 1, "b"));
    assert_eq!(queue.len().unwrap(), 1);
    b.give_back().unwrap();
    drop(a);
    assert_eq!(queue.len().unwrap(), 3);
    for attempt in 2..300 {
        let a = queue.try_lease().unwrap();
        assert_eq!((a.as_str(), a.attempt()), ("a", attempt));
    }
    let rest: Vec<_> = (0..3).map(|_| queue.lease().unwrap().into_done().unwrap()).collect();
    assert_eq!(rest, ["a", "b", "c"]);
    assert!(matches!(queue.try_lease(), Err(TryGetError::Empty)));
    queue.join().unwrap();
}

#[test]
fn an_item_is_tried_as_often_as_it_may_be() {
    for len in [1, 1000, 100_000] {
        let queue = Queue::<()>::builder().attempts(3).build_joinable::<Vec<u8>>().unwrap();
        assert_eq!(queue.attempts(), Some(3));
        let memory = |queue: &JoinableQueue<_>| queue.memory_bytes().unwrap();
        for round in 1..=400_u64 {
            let byte = (round % 256).to_le_bytes()[0];
            queue.put(vec![byte; len]).unwrap();
            for attempt in 1..=3 {
                let lease = queue.lease().unwrap();
                assert_eq!((lease.attempt(), lease.len()), (attempt, len));
                assert!(lease.iter().all(|it| *it == byte));
            }
            assert!(matches!(queue.try_lease(), Err(TryGetError::Empty)));
            assert_eq!(queue.exhausted().unwrap(), round);
        }
        queue.join().unwrap();
        assert!(memory(&queue) < 4 << 20, "{}", memory(&queue));
    }
}

#[test]
fn a_worker_that_panics_gives_its_item_back() {
    let queue = JoinableQueue::new().unwrap();
    queue.put(7).unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let lease = queue.lease().unwrap();
        assert_eq!(*lease, 8, "as it shall be");
    }));
    assert!(panic.is_err());
    let again = queue.lease().unwrap();
    assert_eq!((*again, again.attempt()), (7, 2));
    again.done().unwrap();
}

#[test]
fn a_closed_queue_has_its_end_behind_what_comes_back() {
    let queue = JoinableQueue::new().unwrap();
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    queue.close().unwrap();
    drop(queue.lease().unwrap());
    let all: Vec<i32> = queue.leases().map(|lease| lease.unwrap().into_done().unwrap()).collect();
    assert_eq!(all, [1, 2]);
    assert!(matches!(queue.lease(), Err(GetError::Closed)));
    queue.join().unwrap();
}

#[test]
fn what_is_thrown_away_is_done() {
    let queue = JoinableQueue::new().unwrap();
    queue.put_many(0..10).unwrap();
    drop(queue.lease().unwrap());
    let lease = queue.lease().unwrap();
    assert_eq!(queue.close_now().unwrap(), 9);
    assert!(matches!(queue.join_timeout(SHORT), Err(QueueJoinTimeoutError::Timeout)));
    lease.done().unwrap();
    queue.join().unwrap();
}

#[test]
fn an_item_that_is_not_one_is_done() {
    let queue = JoinableQueue::new().unwrap();
    let other: JoinableQueue<String> = Message::encode(&queue).unwrap().decode().unwrap();
    queue.put(300_u64).unwrap();
    let Err(GetError::Failed(error)) = other.lease() else { panic!("it is no text") };
    assert_eq!(error.kind(), ErrorKind::Decode);
    queue.join().unwrap();
}

#[test]
fn the_two_sorts_of_queue_are_told_apart() {
    let (plain, joinable) = (Queue::<u8>::new().unwrap(), JoinableQueue::<u8>::new().unwrap());
    let plain = Message::encode(&plain).unwrap();
    assert_eq!(plain.decode::<JoinableQueue<u8>>().unwrap_err().kind(), ErrorKind::Decode);
    let copy: JoinableQueue<u8> = Message::encode(&joinable).unwrap().decode().unwrap();
    assert!(copy.is_same(&joinable));
    let joinable = Message::encode(&joinable).unwrap();
    assert_eq!(joinable.decode::<Queue<u8>>().unwrap_err().kind(), ErrorKind::Decode);
}

#[test]
fn memory_of_what_is_done_in_any_order_is_given_back() {
    let queue = JoinableQueue::<Vec<u8>>::new().unwrap();
    let mut peak = 0;
    for round in 0..200 {
        queue.put_many((0..100).map(|item| vec![item; 3000])).unwrap();
        let mut leases: Vec<_> = (0..100).map(|_| queue.lease().unwrap()).collect();
        leases.reverse();
        leases.into_iter().for_each(|lease| lease.done().unwrap());
        let memory = queue.memory_bytes().unwrap();
        assert!(round < 10 || memory <= peak + (1 << 20), "{memory} after {peak}");
        peak = peak.max(memory);
    }
}

#[test]
fn errors_say_what_happened() {
    let abandoned: procession_core::Error = QueueJoinError::Abandoned.into();
    assert_eq!(abandoned.kind(), ErrorKind::Died);
    let late: procession_core::Error = QueueJoinTimeoutError::Timeout.into();
    assert_eq!(late.kind(), ErrorKind::TimedOut);
}

#[test]
fn who_waits_alone_for_his_own_item_is_told_in_time() {
    let queue = JoinableQueue::new().unwrap();
    queue.put(1).unwrap();
    let lease = queue.lease().unwrap();
    assert!(matches!(queue.join_timeout(SHORT), Err(QueueJoinTimeoutError::Timeout)));
    lease.done().unwrap();
    queue.join_timeout(SHORT).unwrap();
}

#[test]
fn threads_say_that_items_of_one_another_are_done() {
    let queue = JoinableQueue::new().unwrap();
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let queue = queue.clone();
            thread::spawn(move || {
                while queue.get().is_ok() {
                    queue.task_done().unwrap();
                }
            })
        })
        .collect();
    for round in 0..10_000 {
        queue.put_many(0..4).unwrap();
        let joined = queue.join_timeout(Duration::from_secs(20));
        assert!(joined.is_ok(), "round {round}: {joined:?}");
    }
    queue.close().unwrap();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert_eq!(queue.lost().unwrap(), 0);
}
