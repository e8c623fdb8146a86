//! Clients of a manager, and its server, are killed at random. Arguments: whom (`clients`, `server`), a start method, the number of rounds,
//! a seed. Says how many rounds there were, and how long the slowest answer took.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a failure here fails the test")]

use std::time::{Duration, Instant};

use procession::manager::Batch;
use procession::{
    ConditionProxy, DictProxy, ErrorKind, EventProxy, JoinableQueueProxy, ListProxy, LockError,
    LockProxy, Manager, Process, SemaphoreProxy, Sender, WaitError, pipe,
};
use procession_tests::wait_until;

/// What the processes work on.
type Shared = (
    LockProxy,
    DictProxy<String, u64>,
    SemaphoreProxy,
    JoinableQueueProxy<Vec<u8>>,
    ConditionProxy,
    EventProxy,
    DictProxy<u64, ListProxy<u64>>,
);

/// How many objects that is.
const OBJECTS: usize = 7;
const PERMITS: u32 = 2;

/// A generator of numbers (xorshift, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }
}

fn main() {
    procession::init();
    let mut arguments = std::env::args().skip(1);
    let whom = arguments.next().unwrap();
    procession::force_start_method(arguments.next().unwrap().parse().unwrap());
    let rounds = arguments.next().unwrap().parse().unwrap();
    let random = Random(arguments.next().unwrap().parse::<u64>().unwrap() | 1);
    match &*whom {
        "clients" => kill_clients(rounds, random),
        "server" => kill_servers(rounds, random),
        other => panic!("nobody is called {other}"),
    }
    println!("done");
}

fn share(manager: &Manager) -> Shared {
    (
        manager.lock().unwrap(),
        manager.dict().unwrap(),
        manager.semaphore(PERMITS).unwrap(),
        manager.joinable_queue(20).unwrap(),
        manager.condition().unwrap(),
        manager.event().unwrap(),
        manager.dict().unwrap(),
    )
}

fn kill_clients(rounds: usize, mut random: Random) {
    let manager = Manager::builder().lease_timeout(Duration::from_millis(1)).start().unwrap();
    let shared = share(&manager);
    let (mut slowest, mut died_locked) = (Duration::ZERO, 0);
    for round in 0..rounds {
        let members: Vec<_> = (0..3)
            .map(|_| {
                let (tx, rx) = pipe().unwrap();
                let arguments = (manager.clone(), shared.clone(), random.next(), tx);
                let process = Process::spawn(member, arguments).unwrap();
                (process, rx)
            })
            .collect();
        members.iter().for_each(|(_, rx)| rx.recv().unwrap());
        // One after the other, some time apart: none at all, or a few milliseconds.
        for (process, _) in &members {
            let pause = Duration::from_micros(random.next() % 3000);
            assert!(!process.wait(pause).unwrap(), "round {round}: {:?}", process.join());
            process.kill().unwrap();
        }
        let killed = Instant::now();
        died_locked += usize::from(check(&manager, &shared, round));
        slowest = slowest.max(killed.elapsed());
    }
    println!(
        "{rounds} rounds, a lock died {died_locked} times, the slowest check took {slowest:?}"
    );
}

/// That what the dead had is free; tells whether one of them had the lock.
fn check(manager: &Manager, shared: &Shared, round: usize) -> bool {
    let (lock, counts, semaphore, queue, condition, event, lists) = shared;
    let died = match lock.lock_timeout(Duration::from_secs(5)) {
        Ok(_guard) => false,
        Err(LockError::OwnerDied(mut guard)) => {
            counts.set("two", &counts.get("one").unwrap().unwrap_or(0)).unwrap();
            guard.repair();
            true
        }
        Err(other) => panic!("round {round}: {other:?}"),
    };
    assert_eq!(counts.get("one").unwrap(), counts.get("two").unwrap(), "round {round}");
    wait_until("only this client is left", || {
        manager.debug_info().unwrap().matches("client").count() == 1
    });
    assert_eq!(semaphore.value().unwrap(), PERMITS, "round {round}");
    assert_eq!(queue.len().unwrap() as u64, queue.unfinished().unwrap(), "round {round}");
    while let Ok(item) = queue.try_lease() {
        assert!(!item.is_empty() && item.iter().all(|byte| *byte == item[0]), "round {round}");
        item.done().unwrap();
    }
    assert_eq!(condition.waiting().unwrap(), 0, "round {round}");
    drop(condition.lock().or_else(|error| {
        error.into_guard().map(|mut guard| {
            guard.repair();
            guard
        })
    }));
    event.clear().unwrap();
    lists.clear().unwrap();
    wait_until("the objects are as many as before", || manager.object_count().unwrap() == OBJECTS);
    died
}

/// Works until it is killed, or the server is.
fn member(manager: Manager, shared: Shared, seed: u64, tx: Sender<()>) -> procession::Result<()> {
    let mut random = Random(seed | 1);
    tx.send(())?;
    loop {
        work(&manager, &shared, &mut random)?;
    }
}

fn work(manager: &Manager, shared: &Shared, random: &mut Random) -> procession::Result<()> {
    let (lock, counts, semaphore, queue, condition, event, lists) = shared;
    match random.next() % 8 {
        0 => {
            let guard = match lock.lock() {
                Err(LockError::OwnerDied(mut guard)) => {
                    counts.set("two", &counts.get("one")?.unwrap_or(0))?;
                    guard.repair();
                    guard
                }
                other => other?,
            };
            counts.fetch_add("one", 1)?;
            counts.fetch_add("two", 1)?;
            drop(guard);
        }
        1 => {
            let permit = semaphore.acquire()?;
            let inside = counts.fetch_add("inside", 1)?;
            assert!(inside < u64::MAX);
            drop(permit);
        }
        2 => drop(queue.try_put(vec![7; usize::try_from(random.next() % 300).unwrap() + 1])),
        3 => {
            if let Ok(item) = queue.lease_timeout(Duration::from_millis(1)) {
                item.done()?;
            }
        }
        4 => {
            let mut guard = condition.lock().or_else(LockError::into_guard)?;
            match condition.wait_timeout(&mut guard, Duration::from_micros(300)) {
                Ok(()) | Err(WaitError::TimedOut | WaitError::OwnerDied) => {}
                Err(WaitError::Closed) => unreachable!("a manager never says so"),
                Err(WaitError::Failed(error)) => return Err(error),
            }
            guard.repair();
            condition.notify_all(&mut guard)?;
        }
        5 => {
            let list = manager.list_of([1, 2, 3])?;
            lists.set(&(random.next() % 5), &list)?;
            if let Some(other) = lists.get(&(random.next() % 5))? {
                other.push(&4)?;
            }
        }
        6 => {
            // Answers that nobody waits for, and a batch.
            let calls: Vec<_> = (0..20)
                .map(|key| lists.calls().get(&(key % 5)).send())
                .collect::<Result<_, _>>()?;
            drop(calls);
            let mut batch = Batch::new();
            let later: Vec<_> =
                (0..20).map(|key| batch.add(lists.calls().get(&(key % 5)))).collect();
            batch.run()?;
            drop(later);
        }
        _ => match event.wait_timeout(Duration::from_micros(200)) {
            Ok(()) => drop(event.clear()?),
            Err(WaitError::TimedOut) => drop(event.set()?),
            Err(error) => return Err(error.into()),
        },
    }
    Ok(())
}

fn kill_servers(rounds: usize, mut random: Random) {
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        let manager = Manager::start().unwrap();
        let shared = share(&manager);
        let waits = |event: EventProxy| Err::<(), _>(event.wait().unwrap_err().into());
        let never = manager.event().unwrap();
        let sleeper: Process<procession::Result<()>> = Process::spawn(waits, (never,)).unwrap();
        let members: Vec<_> = (0..2)
            .map(|_| {
                let (tx, rx) = pipe().unwrap();
                let arguments = (manager.clone(), shared.clone(), random.next(), tx);
                (Process::spawn(member, arguments).unwrap(), rx)
            })
            .collect();
        members.iter().for_each(|(_, rx)| rx.recv().unwrap());
        let server = manager.process().unwrap();
        let pause = Duration::from_micros(random.next() % 5000);
        assert!(!server.wait(pause).unwrap(), "round {round}: the server has ended");
        server.kill().unwrap();
        let killed = Instant::now();
        let mut ended: Vec<_> = members.into_iter().map(|(process, _)| process).collect();
        ended.push(sleeper);
        for process in ended {
            let error = process.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Closed, "round {round}: {error:?}");
        }
        slowest = slowest.max(killed.elapsed());
        assert_eq!(shared.1.len().unwrap_err().kind(), ErrorKind::Closed);
    }
    println!("{rounds} rounds, the slowest took {slowest:?} to tell all");
}
