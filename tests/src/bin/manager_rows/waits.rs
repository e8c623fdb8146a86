//! Locks and their kin, and queues: who waits, who is told, and what becomes of it when somebody dies.

use std::time::{Duration, Instant};

use procession::{
    BarrierError, BarrierProxy, ConditionProxy, Deadline, ErrorKind, EventProxy, GetError,
    GetTimeoutError, JoinableQueueProxy, ListProxy, LockError, LockProxy, Manager, Process,
    PutError, PutTimeoutError, QueueProxy, SemaphoreProxy, Sender, TryGetError, TryPutError,
    WaitError, pipe,
};
use procession_tests::wait_until;

const SHORT: Duration = Duration::from_millis(50);

pub(crate) const ROWS: &[(&str, fn())] = &[
    ("waits::a_lock_has_one_holder", a_lock_has_one_holder),
    ("waits::a_lock_of_a_dead_process_is_told", a_lock_of_a_dead_process_is_told),
    ("waits::a_recursive_lock_is_a_threads", a_recursive_lock_is_a_threads),
    ("waits::permits_come_back", permits_come_back),
    ("waits::an_event_wakes_all", an_event_wakes_all),
    ("waits::a_condition_wakes_as_many_as_it_is_told", a_condition_wakes_as_many_as_it_is_told),
    ("waits::a_barrier_lets_all_through_or_none", a_barrier_lets_all_through_or_none),
    ("waits::a_queue_is_first_in_first_out", a_queue_is_first_in_first_out),
    ("waits::leased_items_come_back", leased_items_come_back),
    ("waits::who_waits_holds_up_nobody", who_waits_holds_up_nobody),
];

/// Says that it is ready, and waits to be killed.
fn stay(tx: &Sender<()>) -> ! {
    tx.send(()).unwrap();
    loop {
        std::thread::park();
    }
}

fn a_lock_has_one_holder() {
    fn child(lock: LockProxy, list: ListProxy<u32>, number: u32) {
        for _ in 0..50 {
            let _guard = lock.lock().unwrap();
            list.push(&number).unwrap();
            list.push(&number).unwrap();
        }
    }
    let manager = Manager::start().unwrap();
    let (lock, list) = (manager.lock().unwrap(), manager.list().unwrap());
    let children: Vec<_> = (0..3)
        .map(|number| Process::spawn(child, (lock.clone(), list.clone(), number)).unwrap())
        .collect();
    children.into_iter().for_each(|child| child.join().unwrap());
    let pairs = list.to_vec().unwrap();
    assert!(pairs.len() == 300 && pairs.chunks(2).all(|pair| pair[0] == pair[1]));

    assert!(!lock.is_locked().unwrap());
    assert_eq!(lock.release().unwrap_err().kind(), ErrorKind::InvalidInput);
    let guard = lock.lock().unwrap();
    assert!(lock.is_locked().unwrap() && matches!(lock.try_lock(), Err(LockError::TimedOut)));
    let before = Instant::now();
    assert!(matches!(lock.lock_timeout(SHORT), Err(LockError::TimedOut)));
    assert!(before.elapsed() >= SHORT);
    // Another process may release what this one keeps.
    guard.keep();
    Process::spawn(|lock: LockProxy| lock.release(), (lock.clone(),))
        .unwrap()
        .join()
        .unwrap()
        .unwrap();
    drop(lock.try_lock().unwrap());
}

fn a_lock_of_a_dead_process_is_told() {
    fn child(lock: LockProxy, tx: Sender<()>) {
        let _guard = lock.lock();
        stay(&tx)
    }
    let manager = Manager::start().unwrap();
    let lock = manager.lock().unwrap();
    let (tx, rx) = pipe().unwrap();
    let process = Process::spawn(child, (lock.clone(), tx)).unwrap();
    rx.recv().unwrap();
    let waiting = lock.clone();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| match waiting.lock() {
            // Not repaired: the next is told as well.
            Err(LockError::OwnerDied(guard)) => guard.is_after_death(),
            _ => false,
        });
        process.kill().unwrap();
        assert!(waiter.join().unwrap());
    });
    let Err(LockError::OwnerDied(mut guard)) = lock.lock() else { panic!("not told") };
    guard.repair();
    drop(guard);
    drop(lock.lock().unwrap());
}

fn a_recursive_lock_is_a_threads() {
    let manager = Manager::start().unwrap();
    let lock = manager.rlock().unwrap();
    let (one, two) = (lock.lock().unwrap(), lock.lock().unwrap());
    assert_eq!(lock.depth().unwrap(), 2);
    let other = || {
        std::thread::scope(|scope| {
            let tries = || {
                let taken = lock.try_lock().map(drop).is_ok();
                (taken, lock.release().is_ok())
            };
            scope.spawn(tries).join().unwrap()
        })
    };
    assert_eq!(other(), (false, false));
    drop(one);
    assert_eq!(other(), (false, false));
    drop(two);
    assert_eq!(other(), (true, false));
    lock.lock().unwrap().keep();
    lock.release().unwrap();
    assert_eq!(lock.release().unwrap_err().kind(), ErrorKind::InvalidInput);
}

fn permits_come_back() {
    fn child(semaphore: SemaphoreProxy, tx: Sender<()>) {
        let _permits = (semaphore.acquire().unwrap(), semaphore.acquire().unwrap());
        stay(&tx)
    }
    let manager = Manager::start().unwrap();
    let semaphore = manager.semaphore(2).unwrap();
    let (tx, rx) = pipe().unwrap();
    let process = Process::spawn(child, (semaphore.clone(), tx)).unwrap();
    rx.recv().unwrap();
    assert!(matches!(semaphore.try_acquire(), Err(WaitError::TimedOut)));
    assert!(matches!(semaphore.acquire_timeout(SHORT), Err(WaitError::TimedOut)));
    process.kill().unwrap();
    let (one, two) = (semaphore.acquire().unwrap(), semaphore.acquire().unwrap());
    assert_eq!(semaphore.value().unwrap(), 0);
    one.forget().unwrap();
    drop(two);
    wait_until("the permit is back", || semaphore.value().unwrap() == 1);
    semaphore.release(5).unwrap();
    assert_eq!(semaphore.value().unwrap(), 6);
    semaphore.acquire_raw(Deadline::PAST).unwrap();
    assert_eq!(semaphore.value().unwrap(), 5);

    let bounded = manager.bounded_semaphore(1).unwrap();
    assert_eq!(bounded.release(1).unwrap_err().kind(), ErrorKind::InvalidInput);
    bounded.acquire_raw(Deadline::NEVER).unwrap();
    assert!(bounded.try_acquire().is_err());
    bounded.release(1).unwrap();
    drop(bounded.acquire().unwrap());
}

fn an_event_wakes_all() {
    let manager = Manager::start().unwrap();
    let event = manager.event().unwrap();
    assert!(!event.is_set().unwrap());
    assert!(matches!(event.wait_timeout(Duration::ZERO), Err(WaitError::TimedOut)));
    let before = Instant::now();
    assert!(matches!(event.wait_timeout(SHORT), Err(WaitError::TimedOut)));
    assert!(before.elapsed() >= SHORT);
    let children: Vec<_> = (0..3)
        .map(|_| {
            Process::spawn(|event: EventProxy| event.wait().is_ok(), (event.clone(),)).unwrap()
        })
        .collect();
    let info = || manager.debug_info().unwrap();
    wait_until("all wait", || info().matches("1 calls wait").count() == 3);
    assert!(!event.set().unwrap());
    assert!(children.into_iter().all(|child| child.join().unwrap()));
    assert!(event.is_set().unwrap() && event.set().unwrap());
    event.wait().unwrap();
    assert!(event.clear().unwrap() && !event.clear().unwrap());
}

fn a_condition_wakes_as_many_as_it_is_told() {
    fn child(condition: ConditionProxy, list: ListProxy<u32>, timeout: Option<Duration>) -> bool {
        let mut guard = condition.lock().unwrap();
        let woken = match timeout {
            None => condition.wait(&mut guard),
            Some(timeout) => condition.wait_timeout(&mut guard, timeout),
        };
        // Under the lock, whether it was notified or not.
        list.update_all(|items| items.push(1)).unwrap();
        woken.is_ok()
    }
    let manager = Manager::start().unwrap();
    let (condition, list) = (manager.condition().unwrap(), manager.list().unwrap());
    let start = |timeout| {
        let arguments = (condition.clone(), list.clone(), timeout);
        Process::spawn(child, arguments).unwrap()
    };
    let waiting = |count| wait_until("they wait", || condition.waiting().unwrap() == count);
    let children: Vec<_> = (0..4).map(|_| start(None)).collect();
    waiting(4);
    let mut guard = condition.lock().unwrap();
    assert_eq!(condition.notify(&mut guard, 2).unwrap(), 2);
    // They have to have the lock first.
    assert!(list.is_empty().unwrap());
    drop(guard);
    wait_until("two are woken", || list.len().unwrap() == 2);
    assert_eq!(condition.waiting().unwrap(), 2);
    let mut guard = condition.lock().unwrap();
    assert!(condition.notify_one(&mut guard).unwrap());
    assert_eq!(condition.notify_all(&mut guard).unwrap(), 1);
    assert!(!condition.notify_one(&mut guard).unwrap());
    drop(guard);
    assert!(children.into_iter().all(|child| child.join().unwrap()));
    // Nobody notifies, and nobody is left.
    assert!(!start(Some(SHORT)).join().unwrap());
    assert_eq!(condition.waiting().unwrap(), 0);
    let mut guard = condition.lock().unwrap();
    let before = Instant::now();
    let never = condition.wait_for_timeout(&mut guard, || false, SHORT);
    assert!(matches!(never, Err(WaitError::TimedOut)) && before.elapsed() >= SHORT);
    condition.wait_for(&mut guard, || true).unwrap();
    drop(guard);
    // One that is killed while it waits has not been there.
    let killed = start(None);
    waiting(1);
    killed.kill().unwrap();
    waiting(0);
    drop(condition.lock().unwrap());
}

fn a_barrier_lets_all_through_or_none() {
    fn child(barrier: BarrierProxy) -> Option<usize> {
        barrier.wait().ok()
    }
    let manager = Manager::start().unwrap();
    let barrier = manager.barrier(3).unwrap();
    let start = || Process::spawn(child, (barrier.clone(),)).unwrap();
    for _ in 0..3 {
        let others = [start(), start()];
        let mut numbers = vec![barrier.wait().ok()];
        numbers.extend(others.iter().map(|other| other.join().unwrap()));
        numbers.sort_unstable();
        assert_eq!(numbers, [Some(0), Some(1), Some(2)]);
    }
    assert_eq!((barrier.parties().unwrap(), barrier.waiting().unwrap()), (3, 0));
    // One that dies while it waits breaks it for all.
    let others = [start(), start()];
    wait_until("both wait", || barrier.waiting().unwrap() == 2);
    others[0].kill().unwrap();
    assert_eq!(others[1].join().unwrap(), None);
    assert!(barrier.is_broken().unwrap());
    assert!(matches!(barrier.wait(), Err(BarrierError::Broken)));
    barrier.reset().unwrap();
    assert!(matches!(barrier.wait_timeout(SHORT), Err(BarrierError::Broken)));
    barrier.reset().unwrap();
    // The action comes before the others.
    let acted = std::sync::atomic::AtomicBool::new(false);
    let act = || {
        acted.store(true, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    };
    let others = [start(), start()];
    wait_until("both wait", || barrier.waiting().unwrap() == 2);
    assert_eq!(barrier.wait_with(act, Deadline::NEVER).unwrap(), 2);
    assert!(others.iter().all(|other| other.join().unwrap().is_some()));
    assert!(acted.load(std::sync::atomic::Ordering::SeqCst));
    let others = [start(), start()];
    wait_until("both wait", || barrier.waiting().unwrap() == 2);
    let failed =
        barrier.wait_with(|| Err(procession::Error::new(ErrorKind::Other, "no")), Deadline::NEVER);
    assert!(matches!(failed, Err(BarrierError::Failed(_))));
    assert!(others.iter().all(|other| other.join().unwrap().is_none()));
    assert!(manager.barrier(0).is_err());
}

fn a_queue_is_first_in_first_out() {
    let manager = Manager::start().unwrap();
    let queue = manager.bounded_queue::<u32>(2).unwrap();
    queue.put(1).unwrap();
    queue.try_put(2).unwrap();
    assert!(queue.is_full().unwrap() && queue.capacity().unwrap() == Some(2));
    assert!(matches!(queue.try_put(3), Err(TryPutError::Full(3))));
    let before = Instant::now();
    assert!(matches!(queue.put_timeout(3, SHORT), Err(PutTimeoutError::Timeout(3))));
    assert!(before.elapsed() >= SHORT);
    let putter = Process::spawn(
        |queue: QueueProxy<u32>| (3..100).all(|item| queue.put(item).is_ok()),
        (queue.clone(),),
    );
    assert!((1..100).all(|item| queue.get().unwrap() == item));
    assert!(putter.unwrap().join().unwrap());
    assert!(matches!(queue.try_get(), Err(TryGetError::Empty)));
    let before = Instant::now();
    assert!(matches!(queue.get_timeout(SHORT), Err(GetTimeoutError::Timeout)));
    assert!(before.elapsed() >= SHORT);
    // One that is killed while it waits takes nothing along.
    let waits = Process::spawn(|queue: QueueProxy<u32>| queue.get().is_ok(), (queue.clone(),));
    let waits = waits.unwrap();
    wait_until("it waits", || manager.debug_info().unwrap().contains("1 calls wait"));
    waits.kill().unwrap();
    waits.join().unwrap_err();
    wait_until("it is gone", || !manager.debug_info().unwrap().contains("1 calls wait"));
    queue.put(7).unwrap();
    queue.close().unwrap();
    assert!(queue.is_closed().unwrap() && matches!(queue.put(8), Err(PutError::Closed(8))));
    assert_eq!((queue.get().unwrap(), queue.len().unwrap()), (7, 0));
    assert!(matches!(queue.get(), Err(GetError::Closed)));
}

fn leased_items_come_back() {
    fn child(queue: JoinableQueueProxy<String>, tx: Sender<()>) {
        let _leases = (queue.lease().unwrap(), queue.lease().unwrap());
        stay(&tx)
    }
    let manager = Manager::start().unwrap();
    let queue = manager.joinable_queue::<String>(0).unwrap();
    for item in ["a", "b", "c"] {
        queue.put(item.into()).unwrap();
    }
    let (tx, rx) = pipe().unwrap();
    let process = Process::spawn(child, (queue.clone(), tx)).unwrap();
    rx.recv().unwrap();
    assert_eq!((queue.len().unwrap(), queue.unfinished().unwrap()), (1, 3));
    process.kill().unwrap();
    wait_until("they are back", || queue.len().unwrap() == 3);
    assert_eq!(queue.lease().unwrap().done().unwrap(), "a");
    assert_eq!(*queue.lease().unwrap(), "b");
    assert_eq!(queue.lease().unwrap().done().unwrap(), "b");
    assert!(queue.join_timeout(SHORT).is_err());
    assert_eq!(queue.get().unwrap(), "c");
    queue.task_done().unwrap();
    queue.join().unwrap();
    assert_eq!(queue.task_done().unwrap_err().kind(), ErrorKind::InvalidInput);
}

fn who_waits_holds_up_nobody() {
    let manager = Manager::start().unwrap();
    let (event, list) = (manager.event().unwrap(), manager.list::<u32>().unwrap());
    std::thread::scope(|scope| {
        // Through the same session, whoever of them reads.
        let waiting: Vec<_> = (0..4).map(|_| scope.spawn(|| event.wait())).collect();
        for number in 0..500 {
            list.push(&number).unwrap();
        }
        event.set().unwrap();
        assert!(waiting.into_iter().all(|thread| thread.join().unwrap().is_ok()));
    });
    assert_eq!(list.len().unwrap(), 500);
}
