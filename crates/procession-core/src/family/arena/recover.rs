//! Kinds of objects, and what is done about those that a dead process had.

use std::fmt;

use procession_sys::before_main;
use procession_sys::prim::AtomicU64;
use procession_sys::wipe::SetOnce;

use super::super::hooks::register_recovery;
use super::super::recovery::DeadProcess;
use super::super::stamp::ProcessId;
use super::Family;
use super::header::{Header, State};

/// How many kinds there can be.
const MOST: u8 = 64;

static KINDS: [SetOnce<Hooks>; MOST as usize] = [const { SetOnce::new() }; MOST as usize];

/// A kind of object, by number. The numbers are given here, so that no two crates take the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(u8);

struct Hooks {
    recover: fn(&Remains),
    wake: fn(&Remains),
    owns: fn(&'static [AtomicU64], ProcessId) -> bool,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

/// An object that a dead process had.
#[derive(Debug)]
#[non_exhaustive]
pub struct Remains {
    /// Its words.
    pub words: &'static [AtomicU64],
    /// Which of the objects at its place it is.
    pub generation: u32,
    /// Who is dead.
    pub dead: ProcessId,
    /// Whether it ended in order.
    pub has_left: bool,
    /// The words of its extension; none if it has none.
    pub extension: &'static [AtomicU64],
}

impl Kind {
    /// What does not fit into an object.
    pub const EXTENSION: Self = Self(0);
    /// A lock.
    pub const LOCK: Self = Self(1);
    /// A recursive lock.
    pub const RLOCK: Self = Self(2);
    /// A semaphore.
    pub const SEMAPHORE: Self = Self(3);
    /// A condition.
    pub const CONDITION: Self = Self(4);
    /// An event.
    pub const EVENT: Self = Self(5);
    /// A barrier.
    pub const BARRIER: Self = Self(6);
    /// A block of memory of its own; the object tells who has it.
    pub const BLOCK: Self = Self(9);
    /// A value in shared memory.
    pub const VALUE: Self = Self(7);
    /// An array in shared memory.
    pub const ARRAY: Self = Self(8);
    /// A queue.
    pub const QUEUE: Self = Self(10);
    /// One for tests.
    pub const TEST: Self = Self(MOST - 1);

    /// Says what is done for objects of this kind, by whichever process recovers a dead one that had them; before `main`, so
    /// that every process of the program knows it.
    ///
    /// * `recover` puts the object in order. It may be called again for the same dead process, when its first caller died
    ///   over it, so it must be idempotent; and while living processes use the object.
    /// * `wake` wakes those who wait for what may have changed.
    /// * `owns` tells whether a living process has something of the object that it must give back, although it has no handle
    ///   any more.
    pub fn register(
        self,
        recover: fn(&Remains),
        wake: fn(&Remains),
        owns: fn(&'static [AtomicU64], ProcessId) -> bool,
    ) {
        KINDS[usize::from(self.0)].set(Hooks { recover, wake, owns });
    }

    pub(super) fn number(self) -> u8 {
        self.0
    }

    pub(super) fn of(family: &Family, number: u32) -> Option<Self> {
        match family.heap().header(number)?.state {
            State::Live { kind, .. } => Some(Self(kind)),
            _ => None,
        }
    }

    pub(super) fn owns(self, words: &'static [AtomicU64], me: ProcessId) -> bool {
        self.hooks().is_some_and(|hooks| (hooks.owns)(words, me))
    }

    fn hooks(self) -> Option<&'static Hooks> {
        KINDS.get(usize::from(self.0))?.get()
    }
}

before_main!(register);

fn register() {
    // There is room for the first.
    drop(register_recovery("arena", recover));
}

/// What the dead process had: put in order, and let go of.
fn recover(dead: &DeadProcess) {
    let Some(family) = Family::existing() else { return };
    for number in &dead.holds {
        recover_one(family, dead, *number);
    }
}

fn recover_one(family: &'static Family, dead: &DeadProcess, number: u32) {
    let heap = family.heap();
    match heap.header(number) {
        Some(Header { state: State::Claimed { owner }, generation }) if owner == dead.id.slot => {
            // It was making it.
            heap.unclaim(number, generation, owner);
        }
        Some(Header { state: State::Live { class, kind, .. }, generation }) => {
            let words = family.object_words(number, class.min(super::LARGEST));
            let extension = family.extension_words(&words[super::LINK]).unwrap_or_default();
            let (dead, has_left) = (dead.id, dead.has_left);
            let remains = Remains { words, generation, dead, has_left, extension };
            let hooks = Kind(kind).hooks();
            if let Some(hooks) = hooks {
                (hooks.recover)(&remains);
            }
            if !has_left {
                heap.note_loss(number);
            }
            // Before the hold goes: if the recoverer dies here, the next one does it all again.
            if let Some(hooks) = hooks {
                (hooks.wake)(&remains);
            }
        }
        _ => {}
    }
    family.table.release(dead.id, number);
    // If the system cannot tell, the place stays taken until somebody needs it.
    drop(family.free_if_unheld(number));
}
