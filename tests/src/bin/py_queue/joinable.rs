//! What `JoinableQueue` adds, beyond the one row of CPython: `task_done` too often and elsewhere, joiners, and who dies.

use procession::{
    Death, ErrorKind, Event, JoinError, JoinableQueue, Process, QueueJoinError,
    QueueJoinTimeoutError, pipe,
};
use procession_sys::signal;
use procession_tests::SOON;

use crate::stage::{Row, SHORT, takes, value};

pub(crate) const ROWS: &[Row] = &[
    ("joinable::join_of_an_empty_queue", join_of_an_empty_queue),
    ("joinable::task_done_too_often", task_done_too_often),
    ("joinable::task_done_is_said_by_who_got", task_done_is_said_by_who_got),
    ("joinable::all_who_join_go_on", all_who_join_go_on),
    ("joinable::a_killed_worker_is_not_waited_for", a_killed_worker_is_not_waited_for),
    ("joinable::who_sleeps_in_join_learns_of_a_death", who_sleeps_in_join_learns_of_a_death),
    ("joinable::who_sleeps_gets_what_the_dead_had", who_sleeps_gets_what_the_dead_had),
    ("joinable::who_is_left_alone_joins_no_more", who_is_left_alone_joins_no_more),
    ("joinable::who_is_left_alone_with_an_item_joins_in_time", who_is_left_alone_with_an_item),
    ("joinable::who_forgets_task_done_and_ends", who_forgets_task_done_and_ends),
    ("joinable::a_lease_of_a_killed_worker_comes_back", a_lease_comes_back),
    ("joinable::an_item_that_kills_is_given_up", an_item_that_kills_is_given_up),
    ("joinable::a_fork_has_no_items_of_its_parent", a_fork_has_no_items),
];

/// Of one that was never used, and of one of which all was got and done.
fn join_of_an_empty_queue() {
    let queue = JoinableQueue::new().unwrap();
    queue.join().unwrap();
    queue.join_timeout(SHORT).unwrap();
    queue.put(1).unwrap();
    queue.get().unwrap();
    queue.task_done().unwrap();
    queue.join().unwrap();
    let join = |queue: JoinableQueue<u32>| queue.join().unwrap();
    value(&Process::spawn(join, (queue.clone(),)).unwrap());
    queue.close().unwrap();
    queue.join().unwrap();
}

/// An error, as in Python, and what is put afterwards is not done by it.
fn task_done_too_often() {
    let queue = JoinableQueue::new().unwrap();
    let is_refused = || {
        assert_eq!(queue.task_done().unwrap_err().kind(), ErrorKind::InvalidInput);
    };
    is_refused();
    queue.put(1).unwrap();
    is_refused();
    queue.get().unwrap();
    queue.task_done().unwrap();
    is_refused();
    queue.put(2).unwrap();
    let early = queue.join_timeout(SHORT);
    assert!(matches!(early, Err(QueueJoinTimeoutError::Timeout)));
}

/// Other than in Python, where anybody may: so the death of who has an item can be told from its being done.
fn task_done_is_said_by_who_got() {
    let queue = JoinableQueue::new().unwrap();
    queue.put_many([1, 2]).unwrap();
    queue.get().unwrap();
    let not_here = |queue: JoinableQueue<u32>| {
        let refused = queue.task_done().unwrap_err().kind();
        queue.get().unwrap();
        queue.task_done().unwrap();
        refused
    };
    let child = Process::spawn(not_here, (queue.clone(),)).unwrap();
    assert_eq!(value(&child), ErrorKind::InvalidInput);
    let early = queue.join_timeout(SHORT);
    assert!(matches!(early, Err(QueueJoinTimeoutError::Timeout)));
    queue.task_done().unwrap();
    queue.join().unwrap();
}

fn all_who_join_go_on() {
    let (queue, here) = (JoinableQueue::new().unwrap(), Event::new().unwrap());
    queue.put(1).unwrap();
    let join = |queue: JoinableQueue<u32>, here: Event| {
        here.set().unwrap();
        queue.join().unwrap();
        queue.is_empty().unwrap()
    };
    let children: Vec<_> = (0..4)
        .map(|_| {
            let child = Process::spawn(join, (queue.clone(), here.clone())).unwrap();
            here.wait_timeout(SOON).unwrap();
            here.clear().unwrap();
            child
        })
        .collect();
    queue.lease().unwrap().done().unwrap();
    for child in &children {
        assert!(value(child));
    }
}

/// Ends this process as a crash does.
fn die() -> ! {
    procession_sys::pidfd::open(std::process::id())
        .and_then(|me| procession_sys::pidfd::signal(&me, signal::KILL))
        .unwrap();
    loop {
        std::thread::park();
    }
}

#[track_caller]
fn was_killed<R>(child: &Process<R>)
where
    R: serde::Serialize + for<'de> serde::Deserialize<'de> + 'static,
{
    let Err(JoinError::Died(Death { status, .. })) = child.join_timeout(SOON).unwrap() else {
        panic!("it returned")
    };
    assert_eq!(status.signal(), Some(signal::KILL));
}

/// In Python who joins waits for ever then.
fn a_killed_worker_is_not_waited_for() {
    let queue = JoinableQueue::new().unwrap();
    queue.put_many(0..5).unwrap();
    let work = |queue: JoinableQueue<u32>| -> () {
        assert_eq!(queue.get().unwrap(), 0);
        queue.task_done().unwrap();
        assert_eq!((queue.get().unwrap(), queue.get().unwrap()), (1, 2));
        die()
    };
    was_killed(&Process::spawn(work, (queue.clone(),)).unwrap());
    assert_eq!((queue.lost().unwrap(), queue.len().unwrap()), (2, 2));
    let rest = |queue: JoinableQueue<u32>| {
        for item in [3, 4] {
            assert_eq!(queue.get().unwrap(), item);
            queue.task_done().unwrap();
        }
    };
    let child = Process::spawn(rest, (queue.clone(),)).unwrap();
    queue.join_timeout(SOON).unwrap();
    value(&child);
    assert_eq!(queue.lost().unwrap(), 2);
}

/// Waits until others sleep, probably, and dies.
fn die_later() -> ! {
    let (_tx, rx) = pipe::<()>().unwrap();
    rx.recv_timeout(SHORT).unwrap_err();
    die()
}

fn who_sleeps_in_join_learns_of_a_death() {
    let (queue, here) = (JoinableQueue::new().unwrap(), Event::new().unwrap());
    queue.put(1).unwrap();
    let work = |queue: JoinableQueue<u32>, here: Event| -> () {
        queue.get().unwrap();
        here.set().unwrap();
        die_later()
    };
    let child = Process::spawn(work, (queue.clone(), here.clone())).unwrap();
    here.wait_timeout(SOON).unwrap();
    queue.join_timeout(SOON).unwrap();
    assert_eq!(queue.lost().unwrap(), 1);
    was_killed(&child);
}

/// The one sleeps although the queue is closed: the item may come back.
fn who_sleeps_gets_what_the_dead_had() {
    for is_closed in [false, true] {
        let (queue, here) = (JoinableQueue::new().unwrap(), Event::new().unwrap());
        queue.put(7).unwrap();
        let work = |queue: JoinableQueue<u32>, here: Event| -> () {
            let lease = queue.lease().unwrap();
            here.set().unwrap();
            assert_eq!(*lease, 7);
            die_later()
        };
        let child = Process::spawn(work, (queue.clone(), here.clone())).unwrap();
        here.wait_timeout(SOON).unwrap();
        if is_closed {
            queue.close().unwrap();
        }
        let lease = queue.lease_timeout(SOON).unwrap();
        assert_eq!((*lease, lease.attempt()), (7, 2));
        lease.done().unwrap();
        queue.join_timeout(SOON).unwrap();
        assert_eq!(queue.lost().unwrap(), 0);
        was_killed(&child);
    }
}

/// Items that nobody has, and nobody who could: other than in Python, where one waits for ever.
fn who_is_left_alone_joins_no_more() {
    let (queue, here) = (JoinableQueue::new().unwrap(), Event::new().unwrap());
    queue.put_many([1, 2]).unwrap();
    let work = |queue: JoinableQueue<u32>, here: Event| -> () {
        assert_eq!(queue.get().unwrap(), 1);
        here.set().unwrap();
        die_later()
    };
    let child = Process::spawn(work, (queue.clone(), here.clone())).unwrap();
    here.wait_timeout(SOON).unwrap();
    let alone = queue.join_timeout(SOON);
    assert!(matches!(alone, Err(QueueJoinTimeoutError::Abandoned)), "{alone:?}");
    was_killed(&child);
    assert!(matches!(queue.join(), Err(QueueJoinError::Abandoned)));
    assert_eq!((queue.lost().unwrap(), queue.get().unwrap()), (1, 2));
    queue.task_done().unwrap();
    queue.join().unwrap();
}

/// It has the item itself, and another thread of it could say that it is done.
fn who_is_left_alone_with_an_item() {
    let queue = JoinableQueue::new().unwrap();
    queue.put_many([1, 2]).unwrap();
    let work = |queue: JoinableQueue<u32>| -> () {
        assert_eq!(queue.get().unwrap(), 1);
        die()
    };
    was_killed(&Process::spawn(work, (queue.clone(),)).unwrap());
    assert_eq!(queue.get().unwrap(), 2);
    let early = takes(SHORT, || queue.join_timeout(SHORT));
    assert!(matches!(early, Err(QueueJoinTimeoutError::Timeout)), "{early:?}");
    std::thread::scope(|scope| {
        let joiner = scope.spawn(|| queue.join_timeout(SOON));
        queue.join_timeout(SHORT).unwrap_err();
        queue.task_done().unwrap();
        joiner.join().unwrap().unwrap();
    });
}

/// What who ends in order has got, and not said of.
fn who_forgets_task_done_and_ends() {
    let queue = JoinableQueue::new().unwrap();
    queue.put_many(0..3).unwrap();
    let forget = |queue: JoinableQueue<u32>| (queue.get().unwrap(), queue.get().unwrap());
    assert_eq!(value(&Process::spawn(forget, (queue.clone(),)).unwrap()), (0, 1));
    assert_eq!(queue.get().unwrap(), 2);
    queue.task_done().unwrap();
    queue.join_timeout(SOON).unwrap();
    assert_eq!(queue.lost().unwrap(), 2);
}

fn a_lease_comes_back() {
    let queue = JoinableQueue::new().unwrap();
    queue.put_many(0..3).unwrap();
    let work = |queue: JoinableQueue<u32>| -> () {
        queue.lease().unwrap().done().unwrap();
        let lease = queue.lease().unwrap();
        assert_eq!((*lease, lease.attempt()), (1, 1));
        die()
    };
    was_killed(&Process::spawn(work, (queue.clone(),)).unwrap());
    for (item, attempt) in [(1, 2), (2, 1)] {
        let lease = queue.lease_timeout(SOON).unwrap();
        assert_eq!((*lease, lease.attempt()), (item, attempt));
        lease.done().unwrap();
    }
    queue.join().unwrap();
    assert_eq!(queue.lost().unwrap(), 0);
}

/// An item on which each process dies is tried so often, and no more.
fn an_item_that_kills_is_given_up() {
    let queue = procession::Queue::<u32>::builder().attempts(3).build_joinable().unwrap();
    queue.put_many([7, 8]).unwrap();
    let work = |queue: JoinableQueue<u32>| {
        while let Ok(lease) = queue.try_lease() {
            if *lease == 7 {
                die()
            }
            lease.done().unwrap();
        }
    };
    for _ in 0..3 {
        was_killed(&Process::spawn(work, (queue.clone(),)).unwrap());
    }
    value(&Process::spawn(work, (queue.clone(),)).unwrap());
    queue.join_timeout(SOON).unwrap();
    assert_eq!((queue.exhausted().unwrap(), queue.lost().unwrap()), (1, 0));
}

/// What its parent got or leased is its parent's: also when it ends.
fn a_fork_has_no_items() {
    let queue = JoinableQueue::new().unwrap();
    queue.put_many([1, 2]).unwrap();
    queue.get().unwrap();
    let mut lease = Some(queue.lease().unwrap());
    let child = Process::builder().spawn_closure(|| {
        drop(lease.take());
        queue.task_done().unwrap_err().kind()
    });
    assert_eq!(value(&child.unwrap()), ErrorKind::InvalidInput);
    assert_eq!((queue.len().unwrap(), queue.lost().unwrap()), (0, 0));
    let early = queue.join_timeout(SHORT);
    assert!(matches!(early, Err(QueueJoinTimeoutError::Timeout)));
    queue.task_done().unwrap();
    lease.unwrap().done().unwrap();
    queue.join().unwrap();
}
