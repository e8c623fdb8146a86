//! Whatever way a lock goes, it is the same lock there.

use std::collections::BTreeMap;

use procession::prelude::*;
use procession::{BoundedSemaphore, ErrorKind, LockError, StartMethod, WaitError, start_methods};
use procession_core::family::Family;
use procession_tests::{SOON, wait_until};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::stage::{Board, Row, SHORT, is_in_threads, next, value};

pub(crate) const ROWS: &[Row] = &[
    ("handles::in_arguments_messages_and_results", in_arguments_messages_and_results),
    ("handles::made_by_a_child_that_has_ended", made_by_a_child_that_has_ended),
    ("handles::twice_in_a_message_and_in_two", twice_in_a_message_and_in_two),
    ("handles::passed_on_to_a_grandchild", passed_on_to_a_grandchild),
    ("handles::the_senders_own_is_dropped_before_it_is_read", dropped_before_it_is_read),
    ("handles::in_a_message_that_is_never_read", never_read),
    ("handles::room_of_messages_that_are_never_read_comes_back", room_comes_back),
    ("handles::passed_around_while_others_come_and_go", passed_around_while_others_come_and_go),
    ("handles::of_children_by_all_methods_at_once", of_children_by_all_methods_at_once),
    ("handles::made_by_one_method_used_by_all", made_by_one_method_used_by_all),
    ("handles::to_the_workers_of_a_pool", to_the_workers_of_a_pool),
    ("handles::another_kind_is_refused", another_kind_is_refused),
    ("handles::nothing_is_left_of_them", nothing_is_left_of_them),
];

/// One of each kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kit {
    lock: Lock,
    recursive: RLock,
    semaphore: Semaphore,
    bounded: BoundedSemaphore,
    condition: Condition,
    plain: Condition<Lock>,
    event: Event,
    barrier: Barrier,
}

/// Deep in other values.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Nest {
    named: BTreeMap<String, Kit>,
    chosen: Option<(u8, Choice)>,
    none: Option<Lock>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Choice {
    Lock(Lock),
    Many { events: Vec<Event>, text: String },
}

impl Kit {
    /// Of the conditions one has a lock of its own.
    const OBJECTS: usize = 9;

    fn new() -> Self {
        let lock = Lock::new().unwrap();
        Self {
            plain: Condition::with_lock(lock.clone()).unwrap(),
            lock,
            recursive: RLock::new().unwrap(),
            semaphore: Semaphore::new(3).unwrap(),
            bounded: BoundedSemaphore::new(3).unwrap(),
            condition: Condition::new().unwrap(),
            event: Event::new().unwrap(),
            barrier: Barrier::new(3).unwrap(),
        }
    }

    /// Does to each what others see.
    fn mark(&self) {
        self.lock.lock().unwrap().keep();
        self.semaphore.acquire_raw().unwrap();
        self.bounded.acquire_raw().unwrap();
        self.barrier.abort().unwrap();
        // The last: somebody may wait for it.
        self.event.set().unwrap();
    }

    /// Sees what somebody did to each, and undoes it.
    #[track_caller]
    fn is_marked(&self) {
        assert!(matches!(self.lock.try_lock(), Err(LockError::TimedOut)));
        assert!(self.plain.as_lock().is_same(&self.lock), "two that share a lock still do");
        self.lock.release().unwrap();
        drop(self.recursive.lock().unwrap());
        assert_eq!((self.semaphore.value(), self.bounded.value()), (2, 2));
        self.semaphore.release().unwrap();
        self.bounded.release().unwrap();
        assert_eq!(self.bounded.max_value(), 3);
        assert!(self.event.clear().unwrap());
        assert!(self.barrier.is_broken());
        self.barrier.reset().unwrap();
        assert_eq!(self.barrier.parties(), 3);
        let mut guard = self.condition.lock().unwrap();
        assert_eq!(self.condition.notify_all(&mut guard).unwrap(), 0);
        let mut guard = self.plain.lock().unwrap();
        assert_eq!(self.plain.notify_all(&mut guard).unwrap(), 0);
    }
}

impl Nest {
    fn new() -> Self {
        let kits = ["a", "b"].map(|name| (name.to_owned(), Kit::new()));
        let events = vec![Event::new().unwrap(); 3];
        let many = Choice::Many { events, text: "text".into() };
        Self { named: kits.into(), chosen: Some((7, many)), none: None }
    }
}

fn in_arguments_messages_and_results() {
    let nest = Nest::new();
    let work = |mut nest: Nest, rx: Receiver<Nest>, tx: Sender<Nest>| {
        nest.named["a"].is_marked();
        let Some((7, Choice::Many { events, text })) = &nest.chosen else { panic!("{nest:?}") };
        assert!(events.len() == 3 && text == "text" && nest.none.is_none());
        assert!(events.iter().all(|event| event.is_set().unwrap()));
        let message = next(&rx);
        assert!(message.named["b"].lock.is_same(&nest.named["b"].lock));
        message.named["b"].is_marked();
        nest.named["b"].mark();
        tx.send(message).unwrap();
        let lock = nest.named["a"].lock.clone();
        lock.lock().unwrap().keep();
        lock.release().unwrap();
        nest.chosen = Some((8, Choice::Lock(lock)));
        nest
    };
    let ((to, theirs), (tx, rx)) = (pipe().unwrap(), pipe().unwrap());
    nest.named["a"].mark();
    let Some((_, Choice::Many { events, .. })) = &nest.chosen else { panic!("{nest:?}") };
    events[1].set().unwrap();
    let child = Process::spawn(work, (nest.clone(), theirs, tx)).unwrap();
    nest.named["b"].mark();
    to.send(nest.clone()).unwrap();
    next(&rx).named["b"].is_marked();
    let back = value(&child);
    let Some((8, Choice::Lock(lock))) = &back.chosen else { panic!("{back:?}") };
    assert!(lock.is_same(&nest.named["a"].lock));
    drop(nest);
    drop(lock.try_lock().unwrap());
}

fn made_by_a_child_that_has_ended() {
    let make = || {
        let kit = Kit::new();
        kit.semaphore.acquire_raw().unwrap();
        kit.event.set().unwrap();
        kit
    };
    let kit = value(&Process::spawn(make, ()).unwrap());
    assert!(kit.event.clear().unwrap());
    assert_eq!(kit.semaphore.value(), 2);
    kit.semaphore.release().unwrap();
    // It has ended in order, so that nobody is missed.
    assert!(matches!(kit.event.wait_timeout(SHORT), Err(WaitError::TimedOut)));
    kit.mark();
    value(&Process::spawn(|kit: Kit| kit.is_marked(), (kit.clone(),)).unwrap());
    assert!(!kit.lock.is_locked());
}

fn twice_in_a_message_and_in_two() {
    let (lock, event) = (Lock::new().unwrap(), Event::new().unwrap());
    let compare = |first: Lock, rx: Receiver<(Lock, Event, Lock)>| {
        let [(a, event, b), (c, same_event, d)] = [next(&rx), next(&rx)];
        assert!([&a, &b, &c, &d].into_iter().all(|lock| lock.is_same(&first)));
        event.set().unwrap();
        assert!(same_event.is_set().unwrap());
        drop((a, b, c, event));
        drop(d.lock().unwrap());
        d.lock().unwrap().keep();
        d.release().unwrap();
    };
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(compare, (lock.clone(), rx)).unwrap();
    for _ in 0..2 {
        tx.send((lock.clone(), event.clone(), lock.clone())).unwrap();
    }
    value(&child);
    assert!(event.is_set().unwrap() && !lock.is_locked());
}

/// The one in the middle has none any more when its child uses them.
fn passed_on_to_a_grandchild() {
    let kit = Kit::new();
    let pass_on = |kit: Kit, tx: Sender<u32>| {
        let use_it = |kit: Kit, tx: Sender<u32>| {
            kit.event.wait_timeout(SOON).unwrap();
            kit.is_marked();
            tx.send(std::process::id()).unwrap();
            kit.event.set().unwrap();
        };
        // What a fork moves stays in the copy, until that ends.
        let child = Process::spawn(use_it, (kit, tx)).unwrap();
        value(&child);
    };
    let (tx, rx) = pipe().unwrap();
    let child = Process::spawn(pass_on, (kit.clone(), tx)).unwrap();
    kit.mark();
    let grandchild = next(&rx);
    kit.event.wait_timeout(SOON).unwrap();
    value(&child);
    assert_eq!(grandchild == std::process::id(), is_in_threads());
    drop(kit.lock.try_lock().unwrap());
}

fn dropped_before_it_is_read() {
    let (tx, rx) = pipe::<Kit>().unwrap();
    let (go, wait) = pipe::<()>().unwrap();
    let read = |rx: Receiver<Kit>, wait: Receiver<()>| {
        wait.recv_timeout(SOON).unwrap();
        let kit = next(&rx);
        kit.is_marked();
        kit
    };
    let child = Process::spawn(read, (rx, wait)).unwrap();
    let kit = Kit::new();
    kit.mark();
    tx.send(kit).unwrap();
    // Nobody has them now; others do not get their places.
    let others: Vec<_> = (0..100).map(|_| Kit::new()).collect();
    go.send(()).unwrap();
    let kit = value(&child);
    assert!(others.iter().all(|other| !other.lock.is_same(&kit.lock)));
    others.iter().for_each(Kit::mark);
    assert!(!kit.lock.is_locked() && !kit.event.is_set().unwrap() && !kit.barrier.is_broken());
}

fn never_read() {
    let event = Event::new().unwrap();
    let waits = |event: &Event| event.wait_timeout(SHORT);
    // Somebody may still read it.
    let (tx, rx) = pipe().unwrap();
    tx.send(event.clone()).unwrap();
    assert!(matches!(waits(&event), Err(WaitError::TimedOut)));
    drop(rx);
    assert!(matches!(event.wait_timeout(SOON), Err(WaitError::Closed)));
    // A process had it in its hands, and ended.
    let (semaphore, condition) = (Semaphore::new(0).unwrap(), Condition::new().unwrap());
    let (tx, rx) = pipe().unwrap();
    tx.send((semaphore.clone(), condition.clone())).unwrap();
    let ignore = |_: Receiver<(Semaphore, Condition)>| ();
    let child = Process::spawn(ignore, (rx,)).unwrap();
    value(&child);
    drop(tx);
    assert!(matches!(semaphore.acquire_timeout(SOON), Err(WaitError::Closed)));
    assert!(matches!(semaphore.acquire_raw_timeout(SOON), Err(WaitError::Closed)));
    let mut guard = condition.lock().unwrap();
    assert!(matches!(condition.wait_timeout(&mut guard, SOON), Err(WaitError::Closed)));
    assert!(condition.as_lock().owner().unwrap().is_this_thread);
}

/// More than there is room for.
fn room_comes_back() {
    for _ in 0..6000 {
        let (tx, rx) = pipe().unwrap();
        tx.send(Semaphore::new(500).unwrap()).unwrap();
        drop(rx);
    }
    // The same in arguments that nobody reads.
    let (tx, rx) = pipe().unwrap();
    let semaphores: Vec<_> = (0..1000).map(|_| Semaphore::new(500).unwrap()).collect();
    tx.send(semaphores).unwrap();
    drop((tx, rx));
    for _ in 0..4 {
        drop((0..1000).map(|_| Semaphore::new(500).unwrap()).collect::<Vec<_>>());
    }
}

/// Three processes, of which one at a time has a handle, if any has.
fn passed_around_while_others_come_and_go() {
    const ROUNDS: u32 = 300;
    let pass_on = |from: Receiver<(Lock, Semaphore)>, to: Sender<(Lock, Semaphore)>| {
        for _ in 0..ROUNDS {
            let (lock, semaphore) = next(&from);
            // Somebody else's would get their places.
            let others = [(); 3].map(|()| (Lock::new().unwrap(), Semaphore::new(7).unwrap()));
            assert!(matches!(lock.try_lock(), Err(LockError::TimedOut)));
            semaphore.release().unwrap();
            to.send((lock, semaphore)).unwrap();
            for (lock, semaphore) in others {
                assert!(!lock.is_locked() && semaphore.value() == 7);
            }
        }
    };
    let [(a, from_a), (b, from_b), (c, from_c)] = [(); 3].map(|()| pipe().unwrap());
    let children = [
        Process::spawn(pass_on, (from_a, b)).unwrap(),
        Process::spawn(pass_on, (from_b, c)).unwrap(),
    ];
    let (lock, semaphore) = (Lock::new().unwrap(), Semaphore::new(0).unwrap());
    lock.lock().unwrap().keep();
    a.send((lock, semaphore)).unwrap();
    for round in 1..=ROUNDS {
        let (lock, semaphore) = next(&from_c);
        assert!(lock.is_locked());
        assert_eq!(semaphore.value(), 2 * round);
        if round < ROUNDS {
            a.send((lock, semaphore)).unwrap();
        } else {
            lock.release().unwrap();
        }
    }
    children.iter().for_each(value);
}

fn of_children_by_all_methods_at_once() {
    const COUNTS: u64 = 2000;
    let (lock, barrier, board) = (Lock::new().unwrap(), Barrier::new(5).unwrap(), Board::new(1));
    let count = |lock: Lock, barrier: Barrier, board: Board| {
        barrier.wait_timeout(SOON).unwrap();
        for _ in 0..COUNTS {
            let _guard = lock.lock().unwrap();
            board.count_carelessly(0);
        }
        barrier.wait_timeout(SOON).unwrap();
    };
    // The fork first: no fork beside threads.
    let methods =
        [StartMethod::Fork, StartMethod::ForkServer, StartMethod::Spawn, StartMethod::Thread];
    assert!(start_methods().iter().all(|method| methods.contains(method)));
    let children = methods.map(|method| {
        let arguments = (lock.clone(), barrier.clone(), board.clone());
        Context::new(method).process().spawn(count, arguments).unwrap()
    });
    count(lock.clone(), barrier, board.clone());
    children.iter().for_each(value);
    assert_eq!(board.get(0), 5 * COUNTS);
}

/// In Python what a context by `fork` made cannot go to the children of others.
fn made_by_one_method_used_by_all() {
    let kit = value(&Process::spawn(Kit::new, ()).unwrap());
    kit.mark();
    for method in start_methods() {
        let turn = |kit: Kit| {
            kit.is_marked();
            kit.mark();
            // Otherwise the next one would be told of its end.
            kit.lock.release().unwrap();
            kit.lock
        };
        let child = Context::new(*method).process().spawn(turn, (kit.clone(),)).unwrap();
        let lock = value(&child);
        assert!(lock.is_same(&kit.lock));
        lock.lock().unwrap().keep();
    }
    kit.is_marked();
}

/// In Python they go to workers only when those are made.
fn to_the_workers_of_a_pool() {
    const TASKS: u64 = 100;
    const COUNTS: u64 = 50;
    let pool = Pool::new().unwrap();
    let (lock, board, started) = (Lock::new().unwrap(), Board::new(1), Event::new().unwrap());
    let count = |(lock, board, started): (Lock, Board, Event)| {
        started.wait_timeout(SOON).unwrap();
        for _ in 0..COUNTS {
            let _guard = lock.lock().unwrap();
            board.count_carelessly(0);
        }
        lock
    };
    started.set().unwrap();
    let tasks = (0..TASKS).map(|_| (lock.clone(), board.clone(), started.clone()));
    let locks = pool.map(count, tasks).unwrap();
    assert_eq!(board.get(0), TASKS * COUNTS);
    assert!(locks.len() == 100 && locks.iter().all(|back| back.is_same(&lock)));
}

/// Written as one thing and read as another.
#[derive(Debug)]
struct Disguised<A, B>(Option<A>, Option<B>);

impl<A: Serialize, B> Serialize for Disguised<A, B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().unwrap().serialize(serializer)
    }
}

impl<'de, A, B: Deserialize<'de>> Deserialize<'de> for Disguised<A, B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        B::deserialize(deserializer).map(|read| Self(None, Some(read)))
    }
}

/// Why one thing is not read as another.
fn refusal<A, B>(written: A) -> ErrorKind
where
    A: Serialize + 'static,
    B: DeserializeOwned + 'static,
{
    let (tx, rx) = pipe::<Disguised<A, B>>().unwrap();
    tx.send(Disguised(Some(written), None)).unwrap();
    let error = rx.recv_timeout(SOON).err().expect("it is refused");
    procession::Error::from(error).kind()
}

fn another_kind_is_refused() {
    let objects = || Family::current().unwrap().objects();
    let kit = Kit::new();
    let before = objects();
    assert_eq!(refusal::<Lock, RLock>(kit.lock.clone()), ErrorKind::Decode);
    assert_eq!(refusal::<Lock, Event>(kit.lock.clone()), ErrorKind::Decode);
    assert_eq!(refusal::<RLock, Lock>(kit.recursive.clone()), ErrorKind::Decode);
    assert_eq!(refusal::<Event, Semaphore>(kit.event.clone()), ErrorKind::Decode);
    assert_eq!(refusal::<Barrier, Event>(kit.barrier.clone()), ErrorKind::Decode);
    assert_eq!(refusal::<Semaphore, Barrier>(kit.semaphore.clone()), ErrorKind::Decode);
    let condition = kit.condition.clone();
    assert_eq!(refusal::<Condition, Condition<Lock>>(condition), ErrorKind::Decode);
    assert_eq!(objects(), before);
    kit.mark();
    kit.is_marked();
}

fn nothing_is_left_of_them() {
    let family = Family::current().unwrap();
    drop(Kit::new());
    value(&Process::spawn(|kit: Kit| drop(kit), (Kit::new(),)).unwrap());
    let before = family.objects();
    let kits: Vec<_> = (0..10).map(|_| Kit::new()).collect();
    assert_eq!(family.objects(), before + 10 * Kit::OBJECTS);
    let child = Process::spawn(|kits: Vec<Kit>| kits.into_iter().last().unwrap(), (kits,)).unwrap();
    let last = value(&child);
    wait_until("the last one is left", || family.objects() == before + Kit::OBJECTS);
    drop(last);
    assert_eq!(family.objects(), before);
}
