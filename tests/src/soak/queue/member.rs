//! What the members do: putters, getters, and one that waits until all is done.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use procession::waiting::{self, Policy};
use procession::{Handle, Result};
use procession_queue::{GetError, JoinableQueue, Lease, Queue};
use procession_sys::{Deadline, fd, poll};
use serde::{Deserialize, Serialize};

use super::super::random;
use super::item::{Item, Line};
use super::ledger::{Ledger, Note, Sent, Step, small};
use crate::Random;

/// What members are told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) ledger: Sent,
    pub(super) line: Line,
    /// Which of the putters, or getters.
    pub(super) place: usize,
    pub(super) len: usize,
    pub(super) manner: Manner,
    pub(super) seed: u64,
    /// What goes with every item.
    pub(super) handle: Option<Handle<OwnedFd>>,
    pub(super) has_handles: bool,
}

/// How members wait, and how fast they are.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Manner {
    wait: u8,
    /// One of so many times they pause for up to so many microseconds.
    pub(super) pause: (usize, usize),
}

impl Manner {
    pub(super) fn draw(random: &mut Random) -> Self {
        let wait = [0, 1, 2][random.below(3)];
        let pause = [(0, 0), (0, 0), (8, 500), (1, 300), (64, 5_000)][random.below(5)];
        Self { wait, pause }
    }

    fn adopt(self) {
        waiting::set_policy(match self.wait {
            0 => Policy::Adaptive,
            1 => Policy::Sleep,
            _ => Policy::Spin,
        });
    }

    fn pause(self, random: &mut Random) {
        let (times, most) = self.pause;
        if times > 0 && random.below(times) == 0 {
            nap(Duration::from_micros(random.below(most) as u64));
        }
    }
}

pub(super) fn nap(duration: Duration) {
    // Nothing is lost when it cannot be waited.
    drop(poll::wait(&mut [], Deadline::after(duration)));
}

/// Begins where the last one in this place ended.
pub(super) fn put(part: Part) -> Result<()> {
    let Part { ledger, line, place, len, manner, seed, handle, .. } = part;
    let (ledger, mut random) = (Ledger::open(ledger)?, random(seed, place, 31));
    manner.adopt();
    ledger.say_ready();
    for number in ledger.begun(place)..ledger.items {
        if ledger.is_stopped() {
            break;
        }
        // Nobody needs that much memory.
        while number % 64 == 0 && line.len() > 2_000 && !ledger.is_stopped() {
            nap(Duration::from_micros(100));
        }
        let copy = handle.as_ref().map(fd::duplicate).transpose()?;
        let item = Item::new(place, number, len).with(copy);
        ledger.begin(place, number);
        line.put(item)?;
        ledger.was_put(place, number);
        manner.pause(&mut random);
    }
    Ok(())
}

/// What a getter has.
struct Getter {
    ledger: Ledger,
    place: usize,
    len: usize,
    has_handles: bool,
    /// What it saw last of each putter.
    last: HashMap<u64, u64>,
    held: u64,
    manner: Manner,
    random: Random,
}

pub(super) fn get(part: Part) -> Result<()> {
    let Part { ledger, line, place, len, manner, seed, has_handles, .. } = part;
    let (ledger, random) = (Ledger::open(ledger)?, random(seed, place, 32));
    manner.adopt();
    ledger.say_ready();
    let last = HashMap::new();
    let mut getter = Getter { ledger, place, len, has_handles, last, held: 0, manner, random };
    loop {
        let goes_on = match &line {
            Line::Plain(queue) => getter.get(queue)?,
            Line::Tasks(queue) => getter.work(queue)?,
            Line::Leases(queue) => getter.lease(queue)?,
        };
        if !goes_on {
            return Ok(());
        }
        let Getter { manner, random, .. } = &mut getter;
        manner.pause(random);
    }
}

impl Getter {
    fn write(&self, step: Step) {
        self.ledger.write(self.place, Note::of(step, self.held));
    }

    /// The item, which must be whole.
    fn name(&self, item: &Item) -> usize {
        item.check(self.len, self.has_handles);
        self.ledger.item(small(item.putter), small(item.number))
    }

    /// It comes behind the one that this getter got before from the same putter.
    fn check_order(&mut self, item: &Item) {
        let before = self.last.insert(item.putter, item.number);
        let is_behind = before.is_none_or(|before| before < item.number);
        assert!(is_behind, "{} behind {before:?} of {}", item.number, item.putter);
    }

    fn was_got(&mut self, item: &Item) {
        let name = self.name(item);
        self.check_order(item);
        let note = Note { item: Some(name), ..Note::of(Step::Got, self.held) };
        self.ledger.write(self.place, note);
        self.ledger.is_done(name);
        self.ledger.say_got(self.place);
    }

    /// Whether there is more to come, here and below.
    fn get(&mut self, queue: &Queue<Item>) -> Result<bool> {
        self.write(Step::Getting);
        let item = queue.get()?;
        if item.is_last() {
            self.write(Step::Idle);
            return Ok(false);
        }
        self.was_got(&item);
        self.write(Step::Idle);
        Ok(true)
    }

    /// Gets one, and calls some done.
    fn work(&mut self, queue: &JoinableQueue<Item>) -> Result<bool> {
        self.write(Step::Getting);
        let item = queue.get()?;
        self.held += 1;
        let is_last = item.is_last();
        if !is_last {
            self.was_got(&item);
        }
        self.write(Step::Idle);
        let keep = if is_last { 0 } else { self.random.below(4) as u64 };
        while self.held > keep {
            self.write(Step::Ending);
            queue.task_done()?;
            self.held -= 1;
            self.write(Step::Idle);
        }
        Ok(!is_last)
    }

    fn lease(&mut self, queue: &JoinableQueue<Item>) -> Result<bool> {
        self.write(Step::Getting);
        let lease = match queue.lease() {
            Ok(lease) => lease,
            Err(GetError::Closed) if self.ledger.is_ended() => {
                self.write(Step::Idle);
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        if lease.is_last() {
            self.write(Step::Idle);
            lease.done()?;
            return Ok(false);
        }
        let (item, attempt) = (self.name(&lease), u64::from(lease.attempt()));
        let note = |step| Note { step, held: 0, attempt, item: Some(item) };
        self.ledger.write(self.place, note(Step::Has));
        self.ledger.was_seen(item, attempt);
        if attempt == 1 {
            self.check_order(&lease);
        }
        self.ledger.say_got(self.place);
        if self.random.below(4) == 0 {
            nap(Duration::from_micros(self.random.below(300) as u64));
        }
        // Not for ever: there are 48 bits for attempts.
        if self.random.below(8) < 2 && attempt < 20 {
            self.ledger.write(self.place, note(Step::Giving));
            self.give_back(lease)?;
        } else {
            self.ledger.write(self.place, note(Step::Ending));
            lease.done()?;
            self.ledger.is_done(item);
        }
        self.write(Step::Idle);
        Ok(true)
    }

    fn give_back(&mut self, lease: Lease<Item>) -> Result<()> {
        match self.random.below(3) {
            0 => lease.give_back(),
            1 => {
                drop(lease);
                Ok(())
            }
            _ => {
                let panics = AssertUnwindSafe(|| {
                    let _lease = lease;
                    resume_unwind(Box::new(()));
                });
                catch_unwind(panics).expect_err("it panics");
                Ok(())
            }
        }
    }
}

/// Waits until all is done, again and again.
pub(super) fn join(ledger: Sent, queue: JoinableQueue<Item>) -> Result<()> {
    let ledger = Ledger::open(ledger)?;
    ledger.say_ready();
    loop {
        let is_ended = ledger.is_ended();
        queue.join()?;
        ledger.say_joined();
        if is_ended {
            return Ok(());
        }
        nap(Duration::from_micros(500));
    }
}
