//! Whatever way a queue goes, it is the same queue there: runs the row that the first argument names, under the start method that
//! the second one names.
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]
#![expect(clippy::print_stderr, reason = "tells what is not tested")]

use std::os::fd::AsFd as _;
use std::time::Duration;

use procession::prelude::*;
use procession::{
    Deadline, JoinableQueue, SimpleQueue, TryGetError, Waitable, wait, wait_deadline,
};
use procession_core::family::Family;
use procession_sys::fd::open_descriptors;
use procession_sys::poll;
use procession_sys::surroundings::{Resource, limit, set_limit};
use procession_tests::{SOON, wait_until};
use serde::{Deserialize, Serialize};

fn main() {
    procession::init();
    procession_tests::run_row(&ROWS);
}

const ROWS: [(&str, fn()); 17] = [
    ("sharing::in_arguments_and_results", in_arguments_and_results),
    ("sharing::in_a_pipe", in_a_pipe),
    ("sharing::in_another_queue", in_another_queue),
    ("sharing::in_itself", in_itself),
    ("sharing::of_one_in_itself_nothing_is_left", of_one_in_itself_nothing_is_left),
    ("sharing::to_one_who_comes_late", to_one_who_comes_late),
    ("sharing::to_a_grandchild", to_a_grandchild),
    ("sharing::a_hundred_in_a_message", a_hundred_in_a_message),
    ("sharing::made_by_a_process_that_has_ended", made_by_a_process_that_has_ended),
    ("sharing::made_by_a_process_that_was_killed", made_by_a_process_that_was_killed),
    ("sharing::to_the_workers_of_a_pool", to_the_workers_of_a_pool),
    ("sharing::another_process_waits_for_several", another_process_waits_for_several),
    ("sharing::a_fork_beside_a_thread_that_watches", a_fork_beside_a_thread_that_watches),
    ("sharing::a_fork_outlives_its_parent_and_its_thread", a_fork_outlives_its_parent),
    ("sharing::sending_them_leaves_nothing", sending_them_leaves_nothing),
    ("sharing::received_by_threads_at_once", received_by_threads_at_once),
    ("sharing::ten_thousand_in_one_process", ten_thousand_in_one_process),
];

/// What a child returned.
#[track_caller]
fn value<R: Serialize + for<'de> Deserialize<'de> + 'static>(child: &Process<R>) -> R {
    child.join_timeout(SOON).unwrap().unwrap()
}

/// The next message.
#[track_caller]
fn next<T: Serialize + for<'de> Deserialize<'de> + 'static>(rx: &Receiver<T>) -> T {
    rx.recv_timeout(SOON).unwrap()
}

/// The next item.
#[track_caller]
fn item<T: for<'de> Deserialize<'de>>(queue: &Queue<T>) -> T {
    queue.get_timeout(SOON).unwrap()
}

/// One of each kind.
type Kit = (Queue<u32>, JoinableQueue<u32>, SimpleQueue<u32>);

fn kit() -> Kit {
    (Queue::bounded(3).unwrap(), JoinableQueue::new().unwrap(), SimpleQueue::new().unwrap())
}

fn put(kit: &Kit, number: u32) {
    kit.0.put(number).unwrap();
    kit.1.put(number).unwrap();
    kit.2.put(number).unwrap();
}

#[track_caller]
fn get(kit: &Kit, number: u32) {
    let lease = kit.1.lease_timeout(SOON).unwrap();
    assert_eq!((item(&kit.0), *lease, kit.2.get().unwrap()), (number, number, number));
    lease.done().unwrap();
}

fn in_arguments_and_results() {
    let ours = kit();
    put(&ours, 1);
    let turn = |kit: Kit| {
        get(&kit, 1);
        put(&kit, 2);
        assert_eq!(kit.0.capacity(), Some(3));
        kit
    };
    let back = value(&Process::spawn(turn, (ours.clone(),)).unwrap());
    assert!(back.0.is_same(&ours.0) && back.1.is_same(&ours.1));
    get(&ours, 2);
    put(&back, 3);
    get(&ours, 3);
    ours.1.join_timeout(SOON).unwrap();
}

/// There and back, while the sender has no handle of its own any more.
fn in_a_pipe() {
    let ((tx, theirs), (back, rx)) = (pipe().unwrap(), pipe().unwrap());
    let turn = |from: Receiver<Kit>, to: Sender<Kit>| {
        for number in 0..50 {
            let kit = next(&from);
            get(&kit, number);
            put(&kit, number + 1);
            to.send(kit).unwrap();
        }
    };
    let child = Process::spawn(turn, (theirs, back)).unwrap();
    for number in 0..50 {
        let kit = kit();
        put(&kit, number);
        tx.send(kit).unwrap();
        get(&next(&rx), number + 1);
    }
    value(&child);
}

fn in_another_queue() {
    let carrier = Queue::new().unwrap();
    let serve = |carrier: Queue<(Queue<u32>, Queue<u32>)>| {
        for pair in &carrier {
            let (from, to) = pair.unwrap();
            for number in &from {
                to.put(number.unwrap() + 1).unwrap();
            }
            to.close().unwrap();
        }
    };
    let child = Process::spawn(serve, (carrier.clone(),)).unwrap();
    for round in 0..20 {
        let (from, to) = (Queue::new().unwrap(), Queue::new().unwrap());
        from.put_many(round..round + 10).unwrap();
        from.close().unwrap();
        carrier.put((from, to.clone())).unwrap();
        let all: Vec<u32> = to.iter().map(Result::unwrap).collect();
        assert!(all.into_iter().eq(round + 1..round + 11));
    }
    carrier.close().unwrap();
    value(&child);
}

/// An item with a queue of such items.
#[derive(Debug, Serialize, Deserialize)]
struct Letter {
    number: u32,
    to: Option<Queue<Letter>>,
}

fn in_itself() {
    let queue = Queue::new().unwrap();
    let to = Some(queue.clone());
    queue.put(Letter { number: 1, to }).unwrap();
    let answer = |queue: Queue<Letter>| {
        let Letter { number, to } = item(&queue);
        let to = to.unwrap();
        assert!(to.is_same(&queue));
        drop(queue);
        to.put(Letter { number: number + 1, to: Some(to.clone()) }).unwrap();
    };
    value(&Process::spawn(answer, (queue.clone(),)).unwrap());
    let Letter { number, to } = item(&queue);
    assert_eq!(number, 2);
    assert!(to.unwrap().is_same(&queue) && queue.is_empty().unwrap());
}

/// Nobody can ever get what is in it.
fn of_one_in_itself_nothing_is_left() {
    let family = Family::current().unwrap();
    let make = || {
        let queue = Queue::new().unwrap();
        queue.put(Letter { number: 1, to: Some(queue.clone()) }).unwrap();
    };
    make();
    let (objects, files) = (family.objects(), open_descriptors().unwrap().len());
    (0..100).for_each(|_| make());
    assert_eq!(open_descriptors().unwrap().len(), files);
    // The kernel finds such sockets in its own time; then it is as with every message that nobody read.
    wait_until("the objects are gone", || {
        family.collect().unwrap();
        family.objects() <= objects
    });
}

/// It sees what was put and not got, before it was started.
fn to_one_who_comes_late() {
    let queue = Queue::new().unwrap();
    assert_eq!(queue.put_many((0..1100).map(|item| (item, vec![7; item]))).unwrap(), 1100);
    (0..100).for_each(|number| assert_eq!(item(&queue).0, number));
    let (tx, theirs) = pipe().unwrap();
    let read = |rx: Receiver<Queue<(usize, Vec<u8>)>>| {
        let queue = next(&rx);
        assert_eq!(queue.len().unwrap(), 1000);
        for number in 100..1100 {
            let (item, bytes) = queue.try_get().unwrap();
            assert_eq!(item, number);
            assert!(bytes == vec![7; number]);
        }
        queue.is_empty().unwrap()
    };
    let child = Process::spawn(read, (theirs,)).unwrap();
    tx.send(queue.clone()).unwrap();
    assert!(value(&child));
    assert!(matches!(queue.try_get(), Err(TryGetError::Empty)));
}

/// The one in the middle gives its own away.
fn to_a_grandchild() {
    let ours = kit();
    put(&ours, 1);
    let pass_on = |kit: Kit| {
        let turn = |kit: Kit| {
            get(&kit, 1);
            put(&kit, 2);
        };
        value(&Process::spawn(turn, (kit,)).unwrap());
    };
    value(&Process::spawn(pass_on, (ours.clone(),)).unwrap());
    get(&ours, 2);
}

/// In arguments, in a pipe, in a queue: more descriptors than a packet carries.
fn a_hundred_in_a_message() {
    let ours: Vec<Queue<u32>> = (0..100).map(|_| Queue::new().unwrap()).collect();
    let (tx, rx) = pipe().unwrap();
    let carrier = Queue::new().unwrap();
    let add = |queues: Vec<Queue<u32>>| {
        for (number, queue) in (0..).zip(&queues) {
            let sum = item(queue);
            assert_eq!(sum % 1000, number);
            queue.put(sum + 1000).unwrap();
        }
    };
    let work = move |first: Vec<Queue<u32>>,
                     rx: Receiver<Vec<Queue<u32>>>,
                     last: Queue<Vec<Queue<u32>>>| {
        add(first);
        add(next(&rx));
        let queues = item(&last);
        add(queues.clone());
        queues
    };
    for (number, queue) in (0..).zip(&ours) {
        queue.put(number).unwrap();
    }
    let child = Process::spawn(work, (ours.clone(), rx, carrier.clone())).unwrap();
    tx.send(ours.clone()).unwrap();
    carrier.put(ours.clone()).unwrap();
    let back = value(&child);
    for (number, (queue, ours)) in (3000..).zip(back.iter().zip(&ours)) {
        assert!(queue.is_same(ours));
        assert_eq!(queue.try_get().unwrap(), number);
    }
}

fn made_by_a_process_that_has_ended() {
    let make = || {
        let kit = kit();
        put(&kit, 1);
        kit
    };
    let kit = value(&Process::spawn(make, ()).unwrap());
    put(&kit, 2);
    get(&kit, 1);
    let turn = |kit: Kit| {
        get(&kit, 2);
        put(&kit, 3);
    };
    value(&Process::spawn(turn, (kit.clone(),)).unwrap());
    get(&kit, 3);
    assert_eq!((kit.0.lost().unwrap(), kit.1.lost().unwrap()), (0, 0));
}

/// What it has put is there; its death is no end, while others have the queue.
fn made_by_a_process_that_was_killed() {
    let (tx, rx) = pipe::<Kit>().unwrap();
    let make = |tx: Sender<Kit>| -> () {
        let kit = kit();
        put(&kit, 1);
        tx.send(kit.clone()).unwrap();
        loop {
            std::thread::park();
        }
    };
    let maker = Process::spawn(make, (tx,)).unwrap();
    let kit = next(&rx);
    let turn = |kit: Kit| {
        get(&kit, 1);
        put(&kit, 2);
    };
    maker.kill().unwrap();
    assert!(maker.join_timeout(SOON).unwrap().is_err());
    value(&Process::spawn(turn, (kit.clone(),)).unwrap());
    get(&kit, 2);
    assert_eq!((kit.0.lost().unwrap(), kit.1.lost().unwrap()), (0, 0));
}

fn to_the_workers_of_a_pool() {
    let pool = Pool::new().unwrap();
    let queue = Queue::new().unwrap();
    let square = |(queue, number): (Queue<u64>, u64)| queue.put(number * number).unwrap();
    pool.map(square, (0..200).map(|number| (queue.clone(), number))).unwrap();
    let mut all: Vec<u64> = (0..200).map(|_| queue.try_get().unwrap()).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq((0..200).map(|number| number * number)));
    assert!(queue.is_empty().unwrap());
}

/// Tells which has something, until all are at their end.
fn select(queues: Vec<Queue<u32>>, rx: Receiver<u32>, tx: Sender<(usize, u32)>) -> usize {
    let mut places: Vec<usize> = (0..queues.len()).collect();
    loop {
        let mut all: Vec<&dyn Waitable> = vec![&rx];
        all.extend(places.iter().map(|place| &queues[*place] as &dyn Waitable));
        let ready = wait_deadline(&all, Deadline::after(SOON)).unwrap();
        assert!(!ready.is_empty(), "in time");
        match ready.last() {
            Some(0) => tx.send((queues.len(), next(&rx))).unwrap(),
            Some(at) => match queues[places[at - 1]].try_get() {
                Ok(number) => tx.send((places[at - 1], number)).unwrap(),
                Err(TryGetError::Closed) => drop(places.remove(at - 1)),
                Err(error) => panic!("{error}"),
            },
            None => {}
        }
        if places.is_empty() {
            return queues.len();
        }
    }
}

fn another_process_waits_for_several() {
    let queues: Vec<Queue<u32>> = (0..5).map(|_| Queue::new().unwrap()).collect();
    let ((to, theirs), (tx, rx)) = (pipe().unwrap(), pipe().unwrap());
    let child = Process::spawn(select, (queues.clone(), theirs, tx)).unwrap();
    for number in 0..300 {
        let place = number as usize * 7 % 6;
        match queues.get(place) {
            Some(queue) => queue.put(number).unwrap(),
            None => to.send(number).unwrap(),
        }
        assert_eq!(next(&rx), (place, number));
    }
    for queue in &queues {
        queue.close().unwrap();
    }
    assert_eq!(value(&child), 5);
}

/// Two processes wait for one queue, each by a thread of its own: each item wakes one that gets it.
fn a_fork_beside_a_thread_that_watches() {
    let is_there = |queue: &Queue<u32>| poll::wait_readable(queue.as_fd(), Deadline::after(SOON));
    let (queue, back) = (Queue::new().unwrap(), Queue::new().unwrap());
    // The thread is there, once with something to say.
    assert!(wait(&[&queue, &back], Duration::ZERO).unwrap().is_empty());
    back.put(0).unwrap();
    assert!(is_there(&back).unwrap());
    assert_eq!(item(&back), 0);
    let child = Process::builder().spawn_closure(|| {
        assert_eq!(wait(&[&back], Duration::ZERO).unwrap(), [0; 0]);
        let mut sum = 0;
        loop {
            assert_eq!(wait(&[&queue], SOON).unwrap(), [0]);
            match queue.try_get() {
                Ok(number) => {
                    sum += number;
                    back.put(number).unwrap();
                }
                Err(TryGetError::Closed) => return sum,
                Err(error) => panic!("{error}"),
            }
        }
    });
    for number in 1..=100 {
        queue.put(number).unwrap();
        assert_eq!(wait(&[&back], SOON).unwrap(), [0]);
        assert_eq!(back.try_get().unwrap(), number);
    }
    queue.close().unwrap();
    assert_eq!(value(&child.unwrap()), 5050);
    // And once more from here.
    back.put(1).unwrap();
    assert!(is_there(&back).unwrap());
}

/// It has no more of the thread of its parent than that there was one.
fn a_fork_outlives_its_parent() {
    let (queue, back) = (Queue::new().unwrap(), Queue::new().unwrap());
    let (tx, rx) = pipe().unwrap();
    let parent = Process::builder().spawn_closure(|| -> () {
        assert!(wait(&[&queue], Duration::ZERO).unwrap().is_empty());
        let child = Process::builder().outlive_parent().spawn_closure(|| {
            assert!(wait(&[&queue], Duration::ZERO).unwrap().is_empty());
            for _ in 0..10 {
                assert_eq!(wait(&[&queue], SOON).unwrap(), [0]);
                let number = queue.try_get().unwrap();
                assert!(matches!(queue.try_get(), Err(TryGetError::Empty)));
                back.put(number + 1).unwrap();
            }
        });
        drop(child.unwrap());
        tx.send(()).unwrap();
        loop {
            std::thread::park();
        }
    });
    next(&rx);
    let parent = parent.unwrap();
    parent.kill().unwrap();
    assert!(parent.join_timeout(SOON).unwrap().is_err());
    for number in 0..10 {
        queue.put(number).unwrap();
        assert_eq!(item(&back), number + 1);
    }
}

/// In bytes.
fn memory() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib = line.trim().strip_suffix(" kB").unwrap();
    kib.parse::<usize>().unwrap() << 10
}

fn sending_them_leaves_nothing() {
    let family = Family::current().unwrap();
    let (tx, rx) = pipe().unwrap();
    let other = |rx: Receiver<Queue<u32>>| {
        let mut last = None;
        while let Ok(queue) = rx.recv() {
            queue.put(1).unwrap();
            last = Some(memory());
        }
        last
    };
    let child = Process::spawn(other, (rx,)).unwrap();
    let send = || {
        for _ in 0..500 {
            let queue = Queue::new().unwrap();
            tx.send(queue.clone()).unwrap();
            assert_eq!(item(&queue), 1);
        }
    };
    send();
    let state = || (family.objects(), open_descriptors().unwrap().len());
    let (before, bytes) = (state(), memory());
    (0..8).for_each(|_| send());
    wait_until("the last one is gone", || state() <= before);
    let more = memory().saturating_sub(bytes);
    assert!(more < 1 << 20, "{more} bytes");
    drop(tx);
    let theirs = value(&child).unwrap();
    assert!(theirs < bytes + (8 << 20), "{theirs} bytes");
}

/// One queue that comes in many messages at once is one queue.
fn received_by_threads_at_once() {
    const THREADS: usize = 4;
    const ROUNDS: u32 = 300;
    let pipes: Vec<_> = (0..THREADS).map(|_| pipe().unwrap()).collect();
    let (txs, rxs): (Vec<_>, Vec<_>) = pipes.into_iter().unzip();
    let work = |rxs: Vec<Receiver<JoinableQueue<u32>>>| {
        for _ in 0..ROUNDS {
            // Got before the others have gone: what is got is this process's, by whatever handle.
            let queues: Vec<_> = std::thread::scope(|scope| {
                let get = |rx| {
                    let queue: JoinableQueue<u32> = next(rx);
                    assert_eq!(queue.get().unwrap(), 7);
                    queue
                };
                let threads: Vec<_> = rxs.iter().map(|rx| scope.spawn(move || get(rx))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let mut queues = queues.into_iter();
            let last = queues.next_back().unwrap();
            queues.for_each(drop);
            (0..THREADS).for_each(|_| last.task_done().unwrap());
        }
    };
    let child = Process::spawn(work, (rxs,)).unwrap();
    for _ in 0..ROUNDS {
        let queue = JoinableQueue::new().unwrap();
        queue.put_many([7; THREADS]).unwrap();
        for tx in &txs {
            tx.send(queue.clone()).unwrap();
        }
        queue.join_timeout(SOON).unwrap();
        assert_eq!(queue.lost().unwrap(), 0);
    }
    value(&child);
}

/// As many as the limit of descriptors allows, if that is less.
fn ten_thousand_in_one_process() {
    const WANTED: usize = 10_000;
    const EACH: usize = 3;
    // For pipes, libraries and the other process.
    const OTHERS: usize = 200;
    let (_, most) = limit(Resource::Descriptors);
    let room = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap());
    let needed = WANTED * EACH + OTHERS;
    set_limit(Resource::Descriptors, (Some(room.min(needed) as u64), most)).unwrap();
    let count = WANTED.min(room.saturating_sub(OTHERS) / EACH);
    if count < WANTED {
        eprintln!(
            "SKIPPED: {WANTED} queues in one process: {room} descriptors are allowed, not {needed}; {count} instead"
        );
    }
    let before = open_descriptors().unwrap().len();
    let queues: Vec<Queue<usize>> = (0..count).map(|_| Queue::new().unwrap()).collect();
    let files = open_descriptors().unwrap().len() - before;
    assert!(files <= EACH * count + 8, "{files} descriptors");
    for (number, queue) in queues.iter().enumerate() {
        queue.put(number).unwrap();
    }
    let add = |queues: Vec<Queue<usize>>| {
        for queue in queues {
            let number = item(&queue);
            queue.put(number + 1).unwrap();
        }
    };
    value(&Process::spawn(add, (queues.iter().step_by(count / 50).cloned().collect(),)).unwrap());
    for (number, queue) in queues.iter().enumerate() {
        let added = usize::from(number % (count / 50) == 0);
        assert_eq!(queue.try_get().unwrap(), number + added);
        assert!(queue.is_empty().unwrap());
    }
    drop(queues);
    let left = open_descriptors().unwrap().len();
    assert!(left <= before + 8, "{left} descriptors, {before} before");
}
