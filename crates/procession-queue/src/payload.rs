//! What a slot says of its item: how long it is, and where.
//!
//! Word 1 of a slot: the length (bits 0 to 39), how often the item was given back (40 to 54), whether the [depot](crate::depot) has
//! something of it (55), and the kind (56 to 63). Word 2: where an item that is not inline lies, the class of its
//! extent (56 to 63), which of these (32 to 55), and the first byte (0 to 31). Words 2 to 7 of an inline item are the item. Words 3 to 6 of
//! one that has an extent of its own are its first bytes, so that a megabyte with its length fits into a megabyte. Word 7 of one
//! with something in the depot is what that is called there.

use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{Relaxed, Release};

use crate::memory::Extent;

/// The longest item that lies in its slot.
pub(crate) const INLINE: usize = 48;

/// The same of an item that has something in the depot.
pub(crate) const INLINE_WITH_TAG: usize = 40;

/// So many bytes of an item that has an extent of its own lie in its slot.
pub(crate) const FRONT: usize = 32;

const LENGTH: u64 = (1 << 40) - 1;
const RETURNS_AT: u32 = 40;
const RETURNS: u64 = (1 << 15) - 1;
/// The most attempts that can be counted.
pub(crate) const MOST_ATTEMPTS: u16 = 1 << 15;
const HAS_TAG: u64 = 1 << 55;
const TAG: usize = 7;

/// Where an item lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    /// It was never put.
    Nothing,
    Inline {
        len: usize,
    },
    /// In a span, from a byte on.
    Span {
        extent: Extent,
        at: u32,
        len: u64,
    },
    /// In an extent of its own, but for the [front](FRONT).
    Single {
        extent: Extent,
        len: u64,
    },
}

impl Payload {
    /// Writes it into a claimed slot.
    // ORDERING: Relaxed, here and below: publishing and taking order what a slot holds.
    #[inline]
    pub(crate) fn write(self, slot: &[AtomicU64]) {
        let (kind, len) = match self {
            Self::Nothing => (0, 0),
            Self::Inline { len } => (1, len as u64),
            Self::Span { extent, at, len } => {
                slot[2].store(place(extent, at), Relaxed);
                (2, len)
            }
            Self::Single { extent, len } => {
                slot[2].store(place(extent, 0), Relaxed);
                (3, len)
            }
        };
        slot[1].store(kind << 56 | len & LENGTH, Relaxed);
    }

    /// What a slot says. Of one that is being written it may be anything.
    #[inline]
    pub(crate) fn read(slot: &[AtomicU64]) -> Self {
        let word = slot[1].load(Relaxed);
        let len = word & LENGTH;
        match word >> 56 {
            1 => Self::Inline { len: usize::try_from(len).unwrap_or(INLINE).min(INLINE) },
            2 => {
                let (extent, at) = placed(slot[2].load(Relaxed));
                Self::Span { extent, at, len }
            }
            3 => Self::Single { extent: placed(slot[2].load(Relaxed)).0, len },
            _ => Self::Nothing,
        }
    }
}

/// How long the item in a slot is.
pub(crate) fn len_of(slot: &[AtomicU64]) -> u64 {
    slot[1].load(Relaxed) & LENGTH
}

/// Says that the depot has something of the item in a claimed slot, whose payload was written.
pub(crate) fn write_tag(slot: &[AtomicU64], tag: u64) {
    slot[TAG].store(tag, Relaxed);
    slot[1].store(slot[1].load(Relaxed) | HAS_TAG, Relaxed);
}

/// What the depot calls what it has of the item, if anything.
#[inline]
pub(crate) fn read_tag(slot: &[AtomicU64]) -> Option<u64> {
    (slot[1].load(Relaxed) & HAS_TAG != 0).then(|| slot[TAG].load(Relaxed))
}

/// How often the item was given back, where its state says whether that is odd: whoever changes that leaves the number to the next. It
/// stays at the highest two that there is room for.
pub(crate) fn returns(slot: &[AtomicU64], is_odd: bool) -> u16 {
    let known = slot[1].load(Relaxed) >> RETURNS_AT & RETURNS;
    let now = if known % 2 == u64::from(is_odd) { known } else { known + 1 };
    let now = if now > RETURNS { now - 2 } else { now };
    u16::try_from(now).unwrap_or_default()
}

/// Writes how often it was given back.
pub(crate) fn write_returns(slot: &[AtomicU64], returns: u16) {
    let rest = slot[1].load(Relaxed) & !(RETURNS << RETURNS_AT);
    // ORDERING: Release: in the order of the program, for whoever settles our death: before the state changes.
    slot[1].store(rest | u64::from(returns) << RETURNS_AT, Release);
}

/// How many bytes of an item of `len` bytes lie in its own extent.
pub(crate) fn behind_front(len: u64) -> u64 {
    len.saturating_sub(FRONT as u64)
}

/// Writes the first bytes of an item that has an extent of its own.
pub(crate) fn write_front(slot: &[AtomicU64], front: &[u8; FRONT]) {
    let (parts, _) = front.as_chunks();
    for (word, part) in slot[3..].iter().zip(parts) {
        word.store(u64::from_le_bytes(*part), Relaxed);
    }
}

/// The first bytes of an item that has an extent of its own.
pub(crate) fn read_front(slot: &[AtomicU64]) -> [u8; FRONT] {
    let mut front = [0; FRONT];
    for (part, word) in front.chunks_exact_mut(8).zip(&slot[3..]) {
        part.copy_from_slice(&word.load(Relaxed).to_le_bytes());
    }
    front
}

/// Writes the bytes of an inline item.
#[inline]
pub(crate) fn write_inline(slot: &[AtomicU64], bytes: &[u8]) {
    for (word, part) in slot[2..].iter().zip(bytes.chunks(8)) {
        let whole = match <[u8; 8]>::try_from(part) {
            Ok(part) => u64::from_le_bytes(part),
            // Byte by byte: they were written so just now, and a copy would wait for that.
            Err(_) => part.iter().rev().fold(0, |whole, byte| whole << 8 | u64::from(*byte)),
        };
        word.store(whole, Relaxed);
    }
}

/// The words of an inline item of so many bytes.
#[inline]
pub(crate) fn read_inline(slot: &[AtomicU64], len: usize) -> [u8; INLINE] {
    let mut bytes = [0; INLINE];
    let parts = bytes.chunks_exact_mut(8).zip(&slot[2..]).take(len.div_ceil(8));
    for (part, word) in parts {
        part.copy_from_slice(&word.load(Relaxed).to_le_bytes());
    }
    bytes
}

fn place(extent: Extent, at: u32) -> u64 {
    u64::from(extent.class) << 56 | u64::from(extent.number) << 32 | u64::from(at)
}

fn placed(word: u64) -> (Extent, u32) {
    let field = |at: u32, bits: u32| u32::try_from(word >> at & ((1 << bits) - 1)).unwrap_or(0);
    let class = u8::try_from(word >> 56).unwrap_or(u8::MAX);
    (Extent { class, number: field(32, 24) }, u32::try_from(word & 0xffff_ffff).unwrap_or(0))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn slot() -> Vec<AtomicU64> {
        (0..8).map(|_| AtomicU64::new(u64::MAX)).collect()
    }

    #[test]
    fn every_payload_survives_its_words() {
        let extent = Extent { class: 15, number: (1 << 20) - 1 };
        let payloads = [
            Payload::Nothing,
            Payload::Inline { len: 0 },
            Payload::Inline { len: INLINE },
            Payload::Span { extent, at: 65_528, len: 16_384 },
            Payload::Single { extent, len: 1 << 31 },
        ];
        for payload in payloads {
            let slot = slot();
            payload.write(&slot);
            assert_eq!(Payload::read(&slot), payload);
        }
    }

    #[test]
    fn returns_are_counted_by_the_number_and_the_state() {
        let slot = slot();
        Payload::Inline { len: 7 }.write(&slot);
        for times in 0..1000 {
            let is_odd = times % 2 == 1;
            // Whoever changed the state died.
            assert_eq!(returns(&slot, is_odd), times);
            write_returns(&slot, times);
            assert_eq!(returns(&slot, is_odd), times);
        }
        write_tag(&slot, 5);
        assert_eq!((returns(&slot, true), read_tag(&slot)), (999, Some(5)));
        write_returns(&slot, 0x7fff);
        for _ in 0..3 {
            for (is_odd, times) in [(false, 0x7ffe), (true, 0x7fff)] {
                assert_eq!(returns(&slot, is_odd), times);
                write_returns(&slot, times);
            }
        }
        assert_eq!(Payload::read(&slot), Payload::Inline { len: 7 });
    }

    #[test]
    fn a_front_comes_back_beside_everything_else() {
        let (slot, extent) = (slot(), Extent { class: 3, number: 5 });
        let front = std::array::from_fn(|at| u8::try_from(at).unwrap());
        Payload::Single { extent, len: 1 << 20 }.write(&slot);
        write_front(&slot, &front);
        write_tag(&slot, 9);
        assert_eq!((read_front(&slot), read_tag(&slot)), (front, Some(9)));
        assert_eq!(Payload::read(&slot), Payload::Single { extent, len: 1 << 20 });
        assert_eq!([31, 32, 33].map(behind_front), [0, 0, 1]);
    }

    #[test]
    fn inline_bytes_come_back() {
        for len in 0..=INLINE {
            let bytes: Vec<u8> = (1..=48).take(len).collect();
            let slot = slot();
            write_inline(&slot, &bytes);
            assert_eq!(read_inline(&slot, len)[..len], bytes);
        }
    }
}
