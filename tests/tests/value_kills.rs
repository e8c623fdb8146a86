//! The writer of a value or an array is killed at random points, 200 times each: whoever locks it next is told when the lock was held, what
//! is there is whole, or of before and after, and nothing is left.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::time::{Duration, Instant};

use procession::prelude::*;
use procession::shared::pool;
use procession::{LockError, RawValue, Result};
use procession_core::family::Family;
use procession_sys::prim::{Mutex, lock};
use procession_sys::{Deadline, pidfd, poll, signal};
use procession_tests::{Random, SOON, steady, wait_until, watchdog};

procession::test_support!();

const ROUNDS: usize = 200;

/// What is counted belongs to the whole process.
static ALONE: Mutex<()> = Mutex::new(());

#[derive(Debug, Clone, Copy, PartialEq, Plain)]
struct Entry {
    serial: u64,
    label: [u8; 40],
    sum: f64,
    check: u64,
}

impl Entry {
    /// All of it says which one it is.
    fn number(serial: u64) -> Self {
        let label = [serial.to_le_bytes()[0]; 40];
        Self { serial, label, sum: serial as f64 / 2.0, check: !serial }
    }

    fn words(self) -> Vec<[u8; 8]> {
        let mut bytes = [0; Self::SIZE];
        self.store(&mut bytes);
        bytes.as_chunks().0.to_vec()
    }
}

fn write_entries(entry: Value<Entry>, begun: RawValue<u64>, tx: Sender<()>) -> Result<()> {
    tx.send(())?;
    loop {
        let guard = entry.lock()?;
        let serial = begun.fetch_add(1)? + 1;
        guard.set(Entry::number(serial))?;
    }
}

fn write_items(items: Array<u64>, begun: RawValue<u64>, tx: Sender<()>) -> Result<()> {
    tx.send(())?;
    loop {
        let guard = items.lock()?;
        let serial = begun.fetch_add(1)? + 1;
        guard.update(.., |items| items.iter_mut().for_each(|item| *item += 1))?;
        assert_eq!(guard.get(0)?, serial);
    }
}

/// Counts without a step in between that could be half done.
fn count(number: Value<u64>, begun: RawValue<u64>, tx: Sender<()>) -> Result<()> {
    tx.send(())?;
    loop {
        let guard = number.lock()?;
        begun.fetch_add(1)?;
        guard.update(|number| number + 1)?;
    }
}

/// How the rounds ended.
#[derive(Debug, Default)]
struct Tally {
    held: usize,
    free: usize,
    slowest: Duration,
}

impl Tally {
    /// Kills what `start` starts at a random point, and has `look` lock what it wrote, again and again. It tells whether
    /// that was told of the death.
    #[expect(clippy::print_stdout, reason = "figures, for whoever looks")]
    fn take(start: impl Fn(Sender<()>) -> Process<Result<()>>, mut look: impl FnMut() -> bool) {
        let _dog = watchdog(110);
        let mut random = Random::from_environment();
        let mut tally = Self::default();
        for _ in 0..ROUNDS {
            let (tx, rx) = pipe().unwrap();
            let child = start(tx);
            let end = pidfd::open(child.pid()).unwrap();
            rx.recv_timeout(SOON).unwrap();
            let pause = Duration::from_micros(random.below(2000) as u64);
            let begin = Instant::now();
            while begin.elapsed() < pause {
                std::hint::spin_loop();
            }
            pidfd::signal(&end, signal::KILL).unwrap();
            assert!(poll::wait_readable(&end, Deadline::after(SOON)).unwrap());
            let dead = Instant::now();
            match look() {
                true => tally.held += 1,
                false => tally.free += 1,
            }
            tally.slowest = tally.slowest.max(dead.elapsed());
            assert!(matches!(child.join(), Err(JoinError::Died(_))));
        }
        println!("{tally:?}");
        assert!(tally.held > 0, "some are killed while they have the lock");
    }
}

/// Runs `rounds`, and sees that they leave nothing.
fn without_litter(rounds: impl FnOnce()) {
    let before = steady();
    let family = Family::current().unwrap();
    let objects = family.objects();
    rounds();
    pool::trim().unwrap();
    wait_until("nothing is left", || {
        procession_tests::Litter::now().is_within(&before, 0)
            && family.collect().is_ok()
            && family.objects() <= objects
    });
}

#[test]
fn a_value_whose_writer_is_killed_is_whole_or_says_so() {
    let _alone = lock(&ALONE);
    without_litter(|| {
        let entry = Value::new(Entry::number(0)).unwrap();
        let begun = RawValue::new(0).unwrap();
        let start = |tx| Process::spawn(write_entries, (entry.clone(), begun.clone(), tx)).unwrap();
        Tally::take(start, || match entry.lock_timeout(SOON) {
            Ok(guard) => {
                assert_eq!(guard.get().unwrap(), Entry::number(begun.get().unwrap()));
                false
            }
            Err(LockError::OwnerDied(mut guard)) => {
                let serial = begun.get().unwrap();
                let before = Entry::number(serial.saturating_sub(1)).words();
                let after = Entry::number(serial).words();
                let found = guard.get().unwrap().words();
                for (at, word) in found.iter().enumerate() {
                    assert!(*word == before[at] || *word == after[at], "word {at} of {found:?}");
                }
                guard.set(Entry::number(serial)).unwrap();
                guard.repair();
                true
            }
            Err(error) => panic!("{error}"),
        });
    });
}

#[test]
fn an_array_whose_writer_is_killed_is_whole_or_says_so() {
    let _alone = lock(&ALONE);
    // In the arena, and in memory of its own.
    for len in [100, 5000] {
        without_litter(|| {
            let items = Array::<u64>::new(len).unwrap();
            let begun = RawValue::new(0).unwrap();
            let start =
                |tx| Process::spawn(write_items, (items.clone(), begun.clone(), tx)).unwrap();
            Tally::take(start, || match items.lock_timeout(SOON) {
                Ok(guard) => {
                    let serial = begun.get().unwrap();
                    assert!(guard.to_vec().unwrap().iter().all(|item| *item == serial));
                    false
                }
                Err(LockError::OwnerDied(mut guard)) => {
                    let serial = begun.get().unwrap();
                    let is_known = |item: &u64| *item == serial || *item + 1 == serial;
                    assert!(guard.to_vec().unwrap().iter().all(is_known));
                    guard.fill(serial).unwrap();
                    guard.repair();
                    true
                }
                Err(error) => panic!("{error}"),
            });
        });
    }
}

#[test]
fn a_number_whose_writer_is_killed_is_of_before_or_after() {
    let _alone = lock(&ALONE);
    without_litter(|| {
        let number = Value::new(0).unwrap();
        let begun = RawValue::new(0).unwrap();
        let start = |tx| Process::spawn(count, (number.clone(), begun.clone(), tx)).unwrap();
        Tally::take(start, || {
            let (mut guard, was_told) = match number.lock_timeout(SOON) {
                Ok(guard) => (guard, false),
                Err(LockError::OwnerDied(guard)) => (guard, true),
                Err(error) => panic!("{error}"),
            };
            let (found, serial) = (guard.get().unwrap(), begun.get().unwrap());
            let is_half_done = was_told && found + 1 == serial;
            assert!(found == serial || is_half_done, "{found} of {serial}, told: {was_told}");
            guard.set(serial).unwrap();
            guard.repair();
            was_told
        });
    });
}
