//! Wakes who has slept for long, so that a short sleep needs no timer of the system.
//!
//! A timer that is set and taken back costs about half a microsecond, a fifth of what it takes to sleep and be woken on one processor
//! (`docs/benchmarks.md`). A process that has slept often has a thread instead: who sleeps writes down where and since when, and the thread
//! looks every [`ARM_AFTER`] for those who have slept for so long. It sleeps itself, without a timer, when nobody has slept for
//! [`QUIET`] looks: those who sleep on have armed by then, and use timers.
//!
//! Who was written down and is not asleep yet when the thread wakes him is woken again at the next look.

use procession_sys::clock;
use procession_sys::futex;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{Acquire, Release};
use procession_sys::wipe::{PerProcess, WipedWord};

use super::ARM_AFTER;
use crate::threads::{self, Member};
use crate::{Deadline, Result};

/// How many short sleeps a process pays timers for before it gets the thread.
const MANY: u32 = 64;

/// After how many looks at which nobody slept the thread sleeps.
const QUIET: u32 = 50;

/// Empty in a fork, which has no such thread.
static BEDS: PerProcess<Beds> = PerProcess::new();

/// What the thread sleeps on: how often it was called.
static CALLED: WipedWord = WipedWord::new();

#[derive(Default)]
struct Beds {
    sleeps: u32,
    has_thread: bool,
    /// Whether the thread sleeps until it is called.
    is_quiet: bool,
    /// Those of the sleepers; nothing where nobody sleeps.
    beds: Vec<Option<Bed>>,
}

struct Bed {
    word: &'static AtomicU64,
    /// In rough milliseconds.
    since: u64,
    is_overdue: bool,
}

/// Where a sleeper was written down.
#[must_use = "it is given back by `get_up`"]
pub(super) struct Place(usize);

/// Says that somebody is about to sleep on `word`; nothing when he is to set a timer himself.
pub(super) fn lie_down(word: &'static AtomicU64) -> Result<Option<Place>> {
    let mut all = BEDS.lock()?;
    if !all.has_thread {
        all.sleeps = all.sleeps.saturating_add(1);
        // One that cannot be started is not tried again soon.
        if !all.sleeps.is_multiple_of(MANY) || start().is_err() {
            return Ok(None);
        }
        all.has_thread = true;
    }
    let bed = Some(Bed { word, since: clock::rough_millis(), is_overdue: false });
    let free = all.beds.iter().position(Option::is_none);
    let place = free.unwrap_or(all.beds.len());
    match free {
        Some(place) => all.beds[place] = bed,
        None => all.beds.push(bed),
    }
    let is_quiet = std::mem::take(&mut all.is_quiet);
    drop(all);
    if is_quiet {
        call()?;
    }
    Ok(Some(Place(place)))
}

/// He is awake; whether the thread has woken him, because he had slept for long.
pub(super) fn get_up(Place(place): Place) -> Result<bool> {
    // A fork that was asleep has no beds.
    let bed = BEDS.lock()?.beds.get_mut(place).and_then(Option::take);
    Ok(bed.is_some_and(|bed| bed.is_overdue))
}

fn start() -> Result<()> {
    let thread = threads::start(
        "procession-alarm",
        || drop(call()),
        |member| {
            // Without the memory that forks wipe nobody has got here.
            drop(run(member));
        },
    )?;
    // It stays as long as the process.
    drop(thread);
    Ok(())
}

fn call() -> Result<()> {
    let called = CALLED.half()?;
    called.fetch_add(1, Release);
    futex::wake(called, 1)?;
    Ok(())
}

fn run(member: &Member) -> Result<()> {
    let called = CALLED.half()?;
    let mut quiet = 0;
    loop {
        member.rest();
        let seen = called.load(Acquire);
        let look = look(&mut quiet)?;
        for word in look.overdue {
            futex::wake_low(word, u32::MAX)?;
        }
        let until = if look.is_quiet { Deadline::NEVER } else { Deadline::after(ARM_AFTER) };
        futex::wait(called, seen, until)?;
    }
}

struct Look {
    overdue: Vec<&'static AtomicU64>,
    is_quiet: bool,
}

fn look(quiet: &mut u32) -> Result<Look> {
    let long = u64::try_from(ARM_AFTER.as_millis()).unwrap_or(u64::MAX);
    let mut all = BEDS.lock()?;
    let now = clock::rough_millis();
    let mut overdue = Vec::new();
    let mut nobody = true;
    for bed in all.beds.iter_mut().flatten() {
        nobody = false;
        if now.saturating_sub(bed.since) >= long {
            bed.is_overdue = true;
            overdue.push(bed.word);
        }
    }
    *quiet = if nobody { *quiet + 1 } else { 0 };
    all.is_quiet = *quiet >= QUIET;
    Ok(Look { overdue, is_quiet: all.is_quiet })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lie_down_often(word: &'static AtomicU64) -> Place {
        loop {
            if let Some(place) = lie_down(word).unwrap() {
                return place;
            }
        }
    }

    #[test]
    fn who_sleeps_for_long_is_woken_whenever_he_begins() {
        let soon = Deadline::after(Duration::from_secs(20));
        let word: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(7)));
        for round in 0..3 {
            let place = lie_down_often(word);
            let start = clock::rough_millis();
            futex::wait_low(word, 7, soon).unwrap();
            assert!(get_up(place).unwrap(), "round {round}");
            assert!(clock::rough_millis() - start + 5 >= 20);
            if round == 1 {
                // The thread sleeps meanwhile.
                while !BEDS.lock().unwrap().is_quiet {
                    assert!(!soon.has_passed());
                    std::thread::yield_now();
                }
            }
        }
        // Who is woken by others is told nothing.
        let place = lie_down_often(word);
        assert!(!get_up(place).unwrap());
    }

    #[test]
    fn places_are_used_again() {
        let word: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
        for _ in 0..1000 {
            let (one, two) = (lie_down_often(word), lie_down_often(word));
            assert_ne!(one.0, two.0);
            get_up(one).unwrap();
            get_up(two).unwrap();
        }
        assert!(BEDS.lock().unwrap().beds.len() <= 4);
    }
}
