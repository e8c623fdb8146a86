//! The word that says what a place in the arena is.

/// What a place is at a moment: one word, so that every transition is one compare-and-exchange.
///
/// Bits 0 and 1 are the state, 2 to 5 the size class, 6 to 11 the kind, 12 to 31 a number that depends on the state, 32 to 63
/// the generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) state: State,
    pub(super) generation: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody's.
    Free,
    /// The process in slot `owner` is making an object of it, or an end of the one that was there.
    Claimed { owner: u16 },
    /// There is an object.
    Live {
        class: u8,
        kind: u8,
        /// How often it was received, in a message; comes round.
        receipts: u32,
    },
}

const AUX: u32 = 12;
const AUX_MASK: u32 = (1 << 20) - 1;

impl Header {
    pub(super) fn to_bits(self) -> u64 {
        let low = match self.state {
            State::Free => 0,
            State::Claimed { owner } => 1 | u32::from(owner) << AUX,
            State::Live { class, kind, receipts } => {
                debug_assert!(class < 16 && kind < 64, "{self:?} fits its word");
                2 | u32::from(class) << 2 | u32::from(kind) << 6 | (receipts & AUX_MASK) << AUX
            }
        };
        u64::from(self.generation) << 32 | u64::from(low)
    }

    /// Nothing for a word that is none of ours.
    pub(super) fn from_bits(bits: u64) -> Option<Self> {
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
        let low = half(bits);
        let field = |at: u32, bits: u32| u8::try_from(low >> at & ((1 << bits) - 1)).unwrap_or(0);
        let aux = low >> AUX;
        let state = match low & 3 {
            0 => State::Free,
            1 => State::Claimed { owner: u16::try_from(aux).ok()? },
            2 => State::Live { class: field(2, 4), kind: field(6, 6), receipts: aux },
            _ => return None,
        };
        Some(Self { state, generation: half(bits >> 32) })
    }

    /// Whether these are the bits of an object of that generation.
    #[inline]
    pub(super) fn is_live(bits: u64, generation: u32) -> bool {
        bits >> 32 == u64::from(generation) && bits & 3 == 2
    }

    pub(super) fn with(self, state: State) -> Self {
        Self { state, ..self }
    }

    /// What it is when the object has gone.
    pub(super) fn freed(self) -> Self {
        Self { state: State::Free, generation: self.generation.wrapping_add(1) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_its_word() {
        let states = [
            State::Free,
            State::Claimed { owner: 0 },
            State::Claimed { owner: u16::MAX },
            State::Live { class: 0, kind: 0, receipts: 0 },
            State::Live { class: 10, kind: 63, receipts: AUX_MASK },
        ];
        for state in states {
            for generation in [0, 1, u32::MAX] {
                let header = Header { state, generation };
                assert_eq!(Header::from_bits(header.to_bits()), Some(header));
                let is_live = matches!(state, State::Live { .. });
                assert_eq!(Header::is_live(header.to_bits(), generation), is_live);
                assert!(!Header::is_live(header.to_bits(), generation ^ 1));
            }
        }
        assert_eq!(Header::from_bits(0), Some(Header { state: State::Free, generation: 0 }));
        assert_eq!(Header::from_bits(3), None);
        let last = Header { state: State::Free, generation: u32::MAX };
        assert_eq!(last.freed().generation, 0);
    }

    #[test]
    fn receipts_come_round() {
        let state = State::Live { class: 1, kind: 2, receipts: AUX_MASK + 1 };
        let header = Header { state, generation: 5 };
        let round = Header::from_bits(header.to_bits()).unwrap();
        assert_eq!(round.state, State::Live { class: 1, kind: 2, receipts: 0 });
    }
}
