//! The state word of a slot, and the name of a process.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A process of the family, for ever: its slot, and how many processes had that slot before.
///
/// The slot alone names it for as long as it holds something, because a slot is reused only after everything that its
/// process held was recovered. So an owner fits into 16 bits of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId {
    /// The slot in the family's table.
    pub slot: u16,
    /// Which of the slot's processes.
    pub generation: u32,
}

impl ProcessId {
    const SET: u64 = 1 << 48;

    /// The name as one word, never zero.
    #[inline]
    pub fn to_bits(self) -> u64 {
        Self::SET | u64::from(self.slot) << 32 | u64::from(self.generation)
    }

    /// The name in a word that [`to_bits`](Self::to_bits) made; `None` in a zero, or any other word.
    #[inline]
    pub fn from_bits(bits: u64) -> Option<Self> {
        let slot = u16::try_from((bits ^ Self::SET) >> 32).ok()?;
        Some(Self { slot, generation: low_half(bits) })
    }
}

impl fmt::Display for ProcessId {
    /// Slot and generation: `3.0` is the first process that had slot 3.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

/// What a slot is at a moment: one word, so that every transition is one compare-and-exchange.
///
/// Bits 0 to 3 are the state, 4 to 31 its agent (a slot, or a process number), 32 to 63 the generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) state: State,
    pub(super) generation: u32,
}

/// The states of a slot; `docs/family.md` has the transitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody's. Its data words and its holds are zero.
    Free,
    /// Taken by the process in slot `parent`, for a child.
    Joining { parent: u16 },
    /// The process with this number is writing down who it is.
    Arriving { pid: u32 },
    /// In use.
    Live,
    /// Its process is dead; `recoverer` is the slot of the process that cleans up.
    Dead { recoverer: Option<u16> },
    /// Nothing is left of its process.
    Recovered,
    /// No state of ours: somebody wrote over the table. Nobody touches such a slot again.
    Unknown,
}

const STATE_BITS: u32 = 4;
const AGENT_BITS: u32 = 28;
const AGENT_MASK: u32 = (1 << AGENT_BITS) - 1;
/// No slot and no process number: slots have 16 bits and process numbers 22 (`PID_MAX_LIMIT`).
const NOBODY: u32 = AGENT_MASK;

impl Stamp {
    /// The word; zero is a free slot that nobody has had.
    pub(super) fn to_bits(self) -> u64 {
        let (number, agent): (u32, u32) = match self.state {
            State::Free => (0, 0),
            State::Joining { parent } => (1, parent.into()),
            State::Arriving { pid } => (2, pid),
            State::Live => (3, 0),
            State::Dead { recoverer } => (4, recoverer.map_or(NOBODY, u32::from)),
            State::Recovered => (5, 0),
            State::Unknown => (15, 0),
        };
        debug_assert!(agent <= AGENT_MASK, "{self:?} fits its word");
        u64::from(self.generation) << 32 | u64::from(agent << STATE_BITS | number)
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        let low = low_half(bits);
        let agent = low >> STATE_BITS;
        let state = match (low & ((1 << STATE_BITS) - 1), u16::try_from(agent)) {
            (0, _) => State::Free,
            (1, Ok(parent)) => State::Joining { parent },
            (2, _) => State::Arriving { pid: agent },
            (3, _) => State::Live,
            (4, Ok(recoverer)) => State::Dead { recoverer: Some(recoverer) },
            (4, Err(_)) if agent == NOBODY => State::Dead { recoverer: None },
            (5, _) => State::Recovered,
            _ => State::Unknown,
        };
        Self { state, generation: low_half(bits >> 32) }
    }

    pub(super) fn with(self, state: State) -> Self {
        Self { state, ..self }
    }

    /// Whether a process number can stand in the word.
    pub(super) fn has_room_for(pid: u32) -> bool {
        pid < NOBODY
    }
}

fn low_half(bits: u64) -> u32 {
    u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_its_word() {
        let states = [
            State::Free,
            State::Joining { parent: 0 },
            State::Joining { parent: u16::MAX },
            State::Arriving { pid: 1 << 22 },
            State::Live,
            State::Dead { recoverer: None },
            State::Dead { recoverer: Some(u16::MAX) },
            State::Recovered,
            State::Unknown,
        ];
        for state in states {
            for generation in [0, 1, u32::MAX] {
                let stamp = Stamp { state, generation };
                assert_eq!(Stamp::from_bits(stamp.to_bits()), stamp);
            }
        }
        assert_eq!(Stamp::from_bits(0), Stamp { state: State::Free, generation: 0 });
        assert_eq!(Stamp::from_bits(0xf7).state, State::Unknown);
    }

    #[test]
    fn names_survive_their_word_and_nothing_else_is_one() {
        for (slot, generation) in [(0, 0), (u16::MAX, u32::MAX), (7, 1)] {
            let id = ProcessId { slot, generation };
            assert_eq!(ProcessId::from_bits(id.to_bits()), Some(id));
        }
        assert_eq!(ProcessId::from_bits(0), None);
        assert_eq!(ProcessId::from_bits(u64::MAX), None);
        assert_eq!(ProcessId { slot: 3, generation: 9 }.to_string(), "3.9");
    }
}
