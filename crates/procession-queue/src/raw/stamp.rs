//! The first word of a slot: which position it is, how far its item is, and who is at it.

/// Bits of a position; it comes round.
const BITS: u32 = 48;
/// All bits of a position.
pub(crate) const POSITIONS: u64 = (1 << BITS) - 1;
/// Owners are slots in the family's process table, of which there are so many.
pub(crate) const OWNERS: u16 = 1 << 12;

/// A position in the order of claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position(u64);

impl Position {
    #[inline(always)]
    pub(crate) fn new(bits: u64) -> Self {
        Self(bits & POSITIONS)
    }

    #[inline(always)]
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub(crate) fn next(self) -> Self {
        self.plus(1)
    }

    #[inline(always)]
    pub(crate) fn plus(self, steps: u64) -> Self {
        Self::new(self.0.wrapping_add(steps))
    }

    /// How many positions come from `earlier` on before it.
    #[inline(always)]
    pub(crate) fn since(self, earlier: Self) -> u64 {
        self.0.wrapping_sub(earlier.0) & POSITIONS
    }

    /// How far it is behind `earlier`, or zero if it is in front of that.
    #[inline(always)]
    pub(crate) fn beyond(self, earlier: Self) -> u64 {
        let distance = self.since(earlier);
        if distance > POSITIONS / 2 { 0 } else { distance }
    }
}

/// How far an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nobody has the position.
    Free,
    /// Its putter writes it.
    Claimed(u16),
    /// It is there.
    Published,
    /// Its getter reads it.
    Taken(u16),
    /// Its getter has it, and has not said that it is done.
    Held(u16),
    /// It is there, and somebody works on it. Here and below: whether it was given back an odd number of times.
    Leased { owner: u16, is_odd: bool },
    /// It is there again.
    Returned { is_odd: bool },
    /// It was got, or was never put.
    Done,
    /// The queue ends here.
    Closed,
    /// No slot of ours: the memory was never written as one.
    Unknown,
}

impl State {
    /// Whether nobody waits for it any more: head is beyond it.
    #[inline]
    pub(crate) fn is_taken(self) -> bool {
        matches!(
            self,
            Self::Taken(_)
                | Self::Held(_)
                | Self::Leased { .. }
                | Self::Returned { .. }
                | Self::Done
        )
    }

    /// Who is at it.
    pub(crate) fn owner(self) -> Option<u16> {
        match self {
            Self::Claimed(owner)
            | Self::Taken(owner)
            | Self::Held(owner)
            | Self::Leased { owner, .. } => Some(owner),
            _ => None,
        }
    }

    /// Whether its payload is there, for somebody.
    pub(crate) fn has_payload(self) -> bool {
        matches!(
            self,
            Self::Published | Self::Taken(_) | Self::Leased { .. } | Self::Returned { .. }
        )
    }
}

/// A slot at a moment; one word, so that every step is one exchange.
///
/// Bits 0 to 11 are the owner, 12 to 15 the state, 16 to 63 the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) position: Position,
    pub(crate) state: State,
}

impl Stamp {
    #[inline(always)]
    pub(crate) fn new(position: Position, state: State) -> Self {
        Self { position, state }
    }

    #[inline(always)]
    pub(crate) fn to_bits(self) -> u64 {
        let (number, owner) = match self.state {
            State::Unknown => (0, 0),
            State::Free => (1, 0),
            State::Claimed(owner) => (2, owner),
            State::Published => (3, 0),
            State::Taken(owner) => (4, owner),
            State::Done => (5, 0),
            State::Closed => (6, 0),
            State::Held(owner) => (7, owner),
            State::Leased { owner, is_odd: false } => (8, owner),
            State::Leased { owner, is_odd: true } => (9, owner),
            State::Returned { is_odd: false } => (10, 0),
            State::Returned { is_odd: true } => (11, 0),
        };
        self.position.0 << 16 | number << 12 | u64::from(owner & (OWNERS - 1))
    }

    #[inline(always)]
    pub(crate) fn from_bits(bits: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "masked")]
        let owner = (bits & u64::from(OWNERS - 1)) as u16;
        let state = match bits >> 12 & 0xf {
            1 => State::Free,
            2 => State::Claimed(owner),
            3 => State::Published,
            4 => State::Taken(owner),
            5 => State::Done,
            6 => State::Closed,
            7 => State::Held(owner),
            8 => State::Leased { owner, is_odd: false },
            9 => State::Leased { owner, is_odd: true },
            10 => State::Returned { is_odd: false },
            11 => State::Returned { is_odd: true },
            _ => State::Unknown,
        };
        Self { position: Position::new(bits >> 16), state }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_its_word() {
        let states = [
            State::Free,
            State::Claimed(0),
            State::Claimed(OWNERS - 1),
            State::Published,
            State::Taken(7),
            State::Done,
            State::Closed,
            State::Held(8),
            State::Leased { owner: 9, is_odd: false },
            State::Leased { owner: OWNERS - 1, is_odd: true },
            State::Returned { is_odd: false },
            State::Returned { is_odd: true },
        ];
        for state in states {
            for position in [0, 1, 1 << 16, 1 << 32, POSITIONS] {
                let stamp = Stamp::new(Position::new(position), state);
                assert_eq!(Stamp::from_bits(stamp.to_bits()), stamp);
            }
        }
        assert_eq!(Stamp::from_bits(0).state, State::Unknown);
        assert_eq!(Stamp::from_bits(0xf000).state, State::Unknown);
    }

    #[test]
    fn positions_come_round() {
        let last = Position::new(POSITIONS);
        assert_eq!(last.next(), Position::new(0));
        assert_eq!(Position::new(2).beyond(last), 3);
        assert_eq!(last.beyond(Position::new(2)), 0);
        assert_eq!(last.plus(10).bits(), 9);
    }
}
