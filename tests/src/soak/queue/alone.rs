//! Scenes with one who waits, and one who is killed: kinds `alone` and `closed`, and what ends the scenes of others.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use procession::{Process, Result};
use procession_queue::{GetError, JoinableQueue, PutError, Queue, QueueJoinError};
use procession_sys::fork;

use super::super::waited::{Answer, LATE, Waited};
use super::account::Account;
use super::item::{Flavour, Item, Line, Shape, size};
use super::ledger::{Ledger, MEMBERS, Sent};
use super::member::{self, Manner, Part, nap};
use super::scene::{Member, join, kill, pause};
use super::stage::Tally;
use crate::{Random, SOON, wait_until};

/// Gets or leases an item, and keeps it.
fn hold(ledger: Sent, line: Line) -> Result<()> {
    let ledger = Ledger::open(ledger)?;
    let _lease = match &line {
        Line::Plain(queue) => {
            queue.get()?;
            None
        }
        Line::Tasks(queue) => {
            queue.get()?;
            None
        }
        Line::Leases(queue) => Some(queue.lease()?),
    };
    ledger.say_ready();
    loop {
        thread::park();
    }
}

/// Somebody who has got an item, and keeps it.
fn holder(line: &Line) -> Member {
    let ledger = Ledger::new(1);
    let builder = Process::builder().daemon(true);
    let holder = builder.spawn(hold, (ledger.send(), line.clone())).expect("a member");
    wait_until("it has got", || ledger.ready() == 1);
    holder
}

/// A thread that waits for something.
struct Waiter {
    thread: JoinHandle<Answer>,
    id: u32,
}

impl Waiter {
    fn start(wait: impl FnOnce() + Send + 'static) -> Self {
        let (tx, rx) = mpsc::channel();
        let thread = thread::spawn(move || {
            tx.send(fork::thread_id()).expect("somebody listens");
            wait();
            Answer::now()
        });
        let id = rx.recv().expect("it begins");
        Self { thread, id }
    }

    /// Kills the one for whom it waits, and sees how late it learns of that.
    fn after_death_of(self, victim: &Member, random: &mut Random, tally: &mut Tally) {
        // Before it waits, while it spins, when it sleeps, and when it has looked for itself.
        let most = [100, 3_000, 30_000][random.below(3)];
        nap(Duration::from_micros(random.below(most) as u64));
        kill(victim);
        let waited = Waited::of(self.id);
        let late = waited.between(self.thread.join().expect("it is told"));
        assert!(late <= LATE, "told {late:?} late");
        tally.late(late);
        join(victim, true);
        tally.saw("killed", 1);
    }
}

fn nothing() -> Item {
    Item::new(0, 0, 0)
}

/// The only other one is killed: who waits for an item, for room or for the end is told.
pub(super) fn play_alone(random: &mut Random, tally: &mut Tally) {
    let what = random.below(3);
    if what == 2 {
        let queue: JoinableQueue<Item> = JoinableQueue::new().expect("a queue");
        let line = Line::Tasks(queue.clone());
        line.put(nothing()).expect("room");
        let other = holder(&line);
        // Nobody has that one.
        line.put(nothing()).expect("room");
        let waiter = Waiter::start(move || {
            let joined = queue.join();
            assert!(matches!(joined, Err(QueueJoinError::Abandoned)), "{joined:?}");
        });
        waiter.after_death_of(&other, random, tally);
        assert_eq!((line.lost(), line.len()), (1, 1));
        return;
    }
    let queue: Queue<Item> = Queue::bounded(1).expect("a queue");
    let line = Line::Plain(queue.clone());
    line.put(nothing()).expect("room");
    let other = holder(&line);
    let waiter = if what == 0 {
        line.put(nothing()).expect("room");
        Waiter::start(move || {
            let put = queue.put(nothing());
            assert!(matches!(put, Err(PutError::Closed(_))), "{put:?}");
        })
    } else {
        Waiter::start(move || {
            let got = queue.get();
            assert!(matches!(got, Err(GetError::Closed)), "{got:?}");
        })
    };
    waiter.after_death_of(&other, random, tally);
    assert_eq!(line.lost(), 0);
}

/// Who waits for an item that is not done is told of the death of the one who has it: it is lost, or comes back.
pub(super) fn play_concerned(flavour: Flavour, random: &mut Random, tally: &mut Tally) {
    let is_closed = flavour == Flavour::Leases && random.below(2) == 0;
    let line = Shape { flavour, items: None, bytes: None, attempts: None }.make();
    line.put(nothing()).expect("room");
    // Somebody who only has it.
    let other = holder_of_nothing(&line);
    let victim = holder(&line);
    if is_closed {
        line.close();
    }
    let waiting = line.clone();
    let waiter = Waiter::start(move || match &waiting {
        Line::Leases(queue) => {
            let lease = queue.lease().expect("it comes back");
            assert_eq!(lease.attempt(), 2);
            lease.done().expect("it is there");
            queue.join().expect("all is done");
        }
        other => {
            let queue = other.joinable().expect("it can be joined");
            queue.join().expect("it is lost, and so nobody works on it");
        }
    });
    waiter.after_death_of(&victim, random, tally);
    assert_eq!(line.lost(), usize::from(flavour == Flavour::Tasks));
    if is_closed {
        line.take(SOON).expect_err("the end");
    }
    kill(&other);
    join(&other, true);
}

fn have(ledger: Sent, line: Line) -> Result<()> {
    Ledger::open(ledger)?.say_ready();
    loop {
        thread::park();
        // It is there until the end.
        drop(line.clone());
    }
}

fn holder_of_nothing(line: &Line) -> Member {
    let ledger = Ledger::new(1);
    let builder = Process::builder().daemon(true);
    let holder = builder.spawn(have, (ledger.send(), line.clone())).expect("a member");
    wait_until("it is there", || ledger.ready() == 1);
    holder
}

/// A queue that is closed while four work on what is in it, of whom some are killed: the others get what comes back, and then the end.
/// Plays so many kills, if it can.
pub(super) fn play_closed(mut kills: usize, random: &mut Random, tally: &mut Tally) {
    if random.below(2) == 0 {
        play_concerned(Flavour::Leases, random, tally);
        kills -= 1;
    }
    let (len, _) = size(random);
    let attempts = [None, Some(1), Some(3)][random.below(3)];
    let shape = Shape { flavour: Flavour::Leases, items: None, bytes: None, attempts };
    let (line, items) = (shape.make(), [3, 40, 300][random.below(3)]);
    let ledger = Ledger::new(items);
    let manner = Manner::draw(random);
    for number in 0..items {
        ledger.begin(0, number);
        line.put(Item::new(0, number, len)).expect("room");
        ledger.was_put(0, number);
    }
    ledger.end();
    let is_early = random.below(2) == 0;
    if is_early {
        line.close();
    }
    let workers: Vec<Member> = (0..MEMBERS)
        .map(|place| {
            let seed = random.below(usize::MAX) as u64;
            let (ledger, line) = (ledger.send(), line.clone());
            let part =
                Part { ledger, line, place, len, manner, seed, handle: None, has_handles: false };
            Process::builder().daemon(true).spawn(member::get, (part,)).expect("a member")
        })
        .collect();
    wait_until("all have begun", || ledger.ready() == MEMBERS);
    if !is_early {
        pause(Duration::from_micros(random.below(300) as u64));
        line.close();
    }
    let mut account = Account::default();
    // If all die, the queue is the stage's.
    for (place, worker) in workers.iter().enumerate().take(kills.min(MEMBERS)) {
        let most = [20, 200, 3_000][random.below(3)];
        pause(Duration::from_micros(random.below(most) as u64));
        kill(worker);
        join(worker, true);
        account.bury_getter(&ledger, place, shape.flavour);
        tally.saw("killed", 1);
    }
    for worker in workers.iter().skip(kills) {
        join(worker, false);
    }
    if kills >= MEMBERS {
        let seed = random.below(usize::MAX) as u64;
        let (sent, line) = (ledger.send(), line.clone());
        let part = Part {
            ledger: sent,
            line,
            place: 0,
            len,
            manner,
            seed,
            handle: None,
            has_handles: false,
        };
        member::get(part).expect("what is left");
    }
    assert_eq!(line.len(), 0, "nothing is left");
    line.take(SOON).expect_err("the end");
    let found = account.check(&ledger, &line, attempts);
    tally.saw("put", found.put);
    tally.saw("again", found.again);
    tally.saw("exhausted", found.exhausted);
}
