//! CPython's `TestSyncManagerTypes`: every type of a manager's in a worker process.

use std::collections::HashMap;

use procession::manager::Proxy;
use procession::{
    ArrayProxy, BarrierProxy, BoundedSemaphoreProxy, ConditionProxy, Deadline, DictProxy,
    ErrorKind, EventProxy, JoinableQueueProxy, ListProxy, LockProxy, NamespaceProxy, Process,
    QueueProxy, RLockProxy, SemaphoreProxy, Target, TryGetError, TryPutError, ValueProxy,
};

use crate::stage::{Managed, TIMEOUT};

pub(crate) const ROWS: &[(&str, fn())] = &[
    ("types::event", event),
    ("types::lock", lock),
    ("types::rlock", rlock),
    ("types::semaphore", semaphore),
    ("types::bounded_semaphore", bounded_semaphore),
    ("types::condition", condition),
    ("types::barrier", barrier),
    ("types::queue", queue),
    ("types::joinable_queue", joinable_queue),
    ("types::list", list),
    ("types::dict", dict),
    ("types::value", value),
    ("types::array", array),
    ("types::namespace", namespace),
];

/// Runs `worker` with a proxy in another process.
#[track_caller]
fn run<P: Proxy + 'static>(worker: impl Target<(P,), Output = ()>, proxy: &P) {
    Process::spawn(worker, (proxy.clone(),)).unwrap().join().unwrap();
}

fn event() {
    let manager = Managed::start();
    let event = manager.event().unwrap();
    event.set().unwrap();
    let worker = |event: EventProxy| {
        assert!(event.is_set().unwrap());
        event.wait().unwrap();
        event.clear().unwrap();
        assert!(event.wait_timeout(TIMEOUT / 100).is_err());
    };
    run(worker, &event);
    assert!(!event.is_set().unwrap());
}

fn lock() {
    let manager = Managed::start();
    let lock = manager.lock().unwrap();
    run(|lock: LockProxy| lock.lock().unwrap().keep(), &lock);
    // What the worker did not give back is free when it has ended, and told; in Python nobody owns it.
    match lock.lock() {
        Err(procession::LockError::OwnerDied(mut guard)) => {
            guard.repair();
            guard.keep();
        }
        other => panic!("{other:?}"),
    }
    run(|lock: LockProxy| lock.release().unwrap(), &lock);
    assert_eq!(lock.release().unwrap_err().kind(), ErrorKind::InvalidInput);
}

fn rlock() {
    let manager = Managed::start();
    let lock = manager.rlock().unwrap();
    let worker = |lock: RLockProxy| {
        let (one, two) = (lock.lock().unwrap(), lock.lock().unwrap());
        drop((one, two));
        assert_eq!(lock.release().unwrap_err().kind(), ErrorKind::InvalidInput);
    };
    run(worker, &lock);
    assert!(!lock.is_locked().unwrap());
}

fn semaphore() {
    let manager = Managed::start();
    let semaphore = manager.semaphore(1).unwrap();
    run(|it: SemaphoreProxy| it.acquire_raw(Deadline::NEVER).unwrap(), &semaphore);
    assert!(semaphore.try_acquire().is_err());
    semaphore.release(1).unwrap();
    assert_eq!(semaphore.value().unwrap(), 1);
}

fn bounded_semaphore() {
    let manager = Managed::start();
    let semaphore = manager.bounded_semaphore(1).unwrap();
    run(|it: BoundedSemaphoreProxy| it.acquire_raw(Deadline::NEVER).unwrap(), &semaphore);
    semaphore.release(1).unwrap();
    assert_eq!(semaphore.release(1).unwrap_err().kind(), ErrorKind::InvalidInput);
}

fn condition() {
    let manager = Managed::start();
    let condition = manager.condition().unwrap();
    let worker = |condition: ConditionProxy| {
        let mut guard = condition.lock().unwrap();
        assert!(!condition.notify_one(&mut guard).unwrap());
    };
    run(worker, &condition);
    drop(condition.lock().unwrap());
}

fn barrier() {
    let manager = Managed::start();
    let barrier = manager.barrier(5).unwrap();
    let worker = |barrier: BarrierProxy| {
        assert_eq!(barrier.parties().unwrap(), 5);
        barrier.reset().unwrap();
    };
    run(worker, &barrier);
    assert!(!barrier.is_broken().unwrap());
}

fn queue() {
    let manager = Managed::start();
    let queue = manager.bounded_queue::<String>(2).unwrap();
    queue.put("foo".into()).unwrap();
    queue.put("bar".into()).unwrap();
    let worker = |queue: QueueProxy<String>| {
        assert!(queue.len().unwrap() == 2 && queue.is_full().unwrap());
        assert!(!queue.is_empty().unwrap());
        assert!(matches!(queue.try_put("no".into()), Err(TryPutError::Full(_))));
        assert_eq!((queue.get().unwrap(), queue.get().unwrap()), ("foo".into(), "bar".into()));
    };
    run(worker, &queue);
    assert!(queue.is_empty().unwrap() && matches!(queue.try_get(), Err(TryGetError::Empty)));
}

fn joinable_queue() {
    let manager = Managed::start();
    let queue = manager.joinable_queue::<String>(2).unwrap();
    queue.put("foo".into()).unwrap();
    queue.put("bar".into()).unwrap();
    let worker = |queue: JoinableQueueProxy<String>| {
        assert!(queue.len().unwrap() == 2 && queue.is_full().unwrap());
        assert_eq!((queue.get().unwrap(), queue.get().unwrap()), ("foo".into(), "bar".into()));
        queue.task_done().unwrap();
        queue.task_done().unwrap();
    };
    run(worker, &queue);
    assert!(queue.is_empty().unwrap());
    queue.join().unwrap();
}

fn list() {
    let manager = Managed::start();
    let list = manager.list_of(["a", "b", "c"].map(str::to_owned)).unwrap();
    let worker = |list: ListProxy<String>| {
        assert_eq!(list.position("a").unwrap(), Some(0));
        assert_eq!(list.count("a").unwrap(), 1);
        list.reverse().unwrap();
        list.update_all(|items| items.sort()).unwrap();
        list.reverse().unwrap();
        assert!(list.iter().map(Result::unwrap).eq(["c", "b", "a"]));
        assert_eq!(list.len().unwrap(), 3);
        let taken: Vec<String> = std::iter::from_fn(|| list.pop().unwrap()).collect();
        assert_eq!(taken, ["a", "b", "c"]);
    };
    run(worker, &list);
    assert!(list.is_empty().unwrap());
}

fn dict() {
    let manager = Managed::start();
    let dict = manager.dict_of([("foo".to_owned(), 1)]).unwrap();
    let worker = |dict: DictProxy<String, i32>| {
        assert_eq!((dict.len().unwrap(), dict.get("foo").unwrap()), (1, Some(1)));
        assert_eq!(dict.get("bar").unwrap(), None);
        assert!(dict.iter().map(Result::unwrap).eq([("foo".to_owned(), 1)]));
        assert!(dict.keys().map(Result::unwrap).eq(["foo"]));
        assert_eq!(dict.to_map().unwrap(), HashMap::from([("foo".to_owned(), 1)]));
        assert_eq!(dict.pop_last().unwrap(), Some(("foo".into(), 1)));
    };
    run(worker, &dict);
    assert!(dict.is_empty().unwrap());
}

fn value() {
    let manager = Managed::start();
    let value = manager.value(1).unwrap();
    let worker = |value: ValueProxy<i32>| {
        assert_eq!(value.get().unwrap(), 1);
        value.set(&2).unwrap();
    };
    run(worker, &value);
    assert_eq!(value.get().unwrap(), 2);
}

fn array() {
    let manager = Managed::start();
    let array = manager.array([0, 1]).unwrap();
    let worker = |array: ArrayProxy<i32>| {
        assert_eq!((array.get(0).unwrap(), array.len().unwrap()), (Some(0), 2));
        assert_eq!(array.to_vec().unwrap(), [0, 1]);
        array.set(0, &7).unwrap();
    };
    run(worker, &array);
    assert_eq!(array.get(0).unwrap(), Some(7));
}

fn namespace() {
    let manager = Managed::start();
    let space = manager.namespace().unwrap();
    space.set("x", &0).unwrap();
    space.set("y", &1).unwrap();
    let worker = |space: NamespaceProxy| {
        assert_eq!(space.get::<i32>("x").unwrap(), Some(0));
        assert_eq!(space.get::<i32>("y").unwrap(), Some(1));
    };
    run(worker, &space);
}
