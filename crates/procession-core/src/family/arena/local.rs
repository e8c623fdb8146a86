//! The handles of this process, counted.
//!
//! A fork has a copy of the counts, as it has of the handles. A thread that was adding or dropping one while another forked
//! makes a count too high there: then the object stays until the fork ends.

use procession_sys::prim::AtomicU32;
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed};
use procession_sys::wipe::{PerProcess, PerProcessGuard, SetOnce};

use super::super::MAX_OBJECTS;
use super::heap::{CHUNK, LARGEST};
use crate::Result;

type Counts = Box<[AtomicU32]>;

/// How many handles to each object this process has; by chunk, because most are never used.
static COUNTS: [SetOnce<Counts>; (MAX_OBJECTS / CHUNK) as usize] =
    [const { SetOnce::new() }; (MAX_OBJECTS / CHUNK) as usize];

/// Held while a count goes from or to zero and the hold of this process with it.
static HINTS: PerProcess<Hints> = PerProcess::new();

/// Where this process found room last, by class.
#[derive(Debug, Default)]
pub(super) struct Hints([u32; LARGEST as usize + 1]);

impl Hints {
    pub(super) fn of(&mut self, class: u8) -> &mut u32 {
        &mut self.0[usize::from(class)]
    }
}

/// Keeps other threads of this process from holding and releasing objects.
pub(super) fn lock() -> Result<PerProcessGuard<'static, Hints>> {
    Ok(HINTS.lock()?)
}

/// One more handle. For who has one, or holds the [lock].
pub(super) fn add(number: u32) {
    let chunk = &COUNTS[(number / CHUNK) as usize];
    let counts =
        chunk.get().unwrap_or_else(|| chunk.set((0..CHUNK).map(|_| AtomicU32::new(0)).collect()));
    // ORDERING: Relaxed: as reference counts do; the first is counted under the lock.
    counts[(number % CHUNK) as usize].fetch_add(1, Relaxed);
}

/// One less; tells whether it was the last.
pub(super) fn remove(number: u32) -> bool {
    // ORDERING: AcqRel: what was done through other handles comes before what the last one does.
    count(number).is_some_and(|count| count.fetch_sub(1, AcqRel) == 1)
}

/// Whether there is any.
pub(super) fn has(number: u32) -> bool {
    count(number).is_some_and(|count| count.load(Acquire) != 0)
}

/// Whether there is one, and no other. For who holds the [lock]; clones need none.
pub(super) fn is_only(number: u32) -> bool {
    count(number).is_some_and(|count| count.load(Acquire) == 1)
}

/// The objects that this process has handles to.
pub(super) fn all() -> impl Iterator<Item = u32> {
    let used = (0u32..).step_by(CHUNK as usize).zip(&COUNTS);
    let used = used.filter(|(_, chunk)| chunk.get().is_some());
    used.flat_map(|(first, _)| first..first + CHUNK).filter(|number| has(*number))
}

fn count(number: u32) -> Option<&'static AtomicU32> {
    Some(&COUNTS[(number / CHUNK) as usize].get()?[(number % CHUNK) as usize])
}
