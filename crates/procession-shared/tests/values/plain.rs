//! What the derive says of a type is what C does with it, and what it writes is what it reads.

use std::mem::offset_of;
use std::num::Wrapping;

use procession::Plain;
use procession::plain::{Fingerprint, Layout};
use proptest::prelude::*;

#[derive(Debug, Clone, Copy, PartialEq, Plain)]
#[repr(u8)]
enum Colour {
    Red,
    Green = 7,
    Blue,
}

#[derive(Debug, Clone, Copy, PartialEq, Plain)]
#[repr(i16)]
enum Shift {
    Down = -300,
    Up = 300,
}

#[derive(Debug, Clone, Copy, PartialEq, Plain)]
#[repr(C)]
struct Mixed {
    tag: u8,
    wide: u64,
    odd: [u8; 3],
    small: i16,
    is_set: bool,
    letter: char,
    ratio: f32,
    colour: Colour,
}

#[derive(Debug, Clone, Copy, PartialEq, Plain)]
#[repr(C)]
struct Nested<T> {
    first: bool,
    inner: T,
    last: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Plain)]
#[repr(C)]
struct Tuple(u8, f64, Wrapping<u16>);

#[derive(Debug, Clone, Copy, PartialEq, Plain)]
struct Pair<A, B>(A, B)
where
    A: PartialOrd;

#[derive(Debug, Clone, Copy, PartialEq, Plain)]
#[repr(transparent)]
struct Grid<const N: usize>([[i16; N]; 2]);

fn stored<T: Plain>(value: T) -> Vec<u8> {
    let mut bytes = vec![0xEE; T::SIZE];
    value.store(&mut bytes);
    bytes
}

#[track_caller]
fn lies_as_in_c<T: Plain>() {
    assert_eq!((T::SIZE, T::ALIGN), (size_of::<T>(), align_of::<T>()));
}

#[test]
fn sizes_are_those_of_c() {
    lies_as_in_c::<Mixed>();
    lies_as_in_c::<Nested<Mixed>>();
    lies_as_in_c::<Nested<Nested<u16>>>();
    lies_as_in_c::<Nested<[Tuple; 3]>>();
    lies_as_in_c::<Tuple>();
    lies_as_in_c::<Colour>();
    lies_as_in_c::<Shift>();
    lies_as_in_c::<Grid<5>>();
    lies_as_in_c::<[Tuple; 0]>();
    lies_as_in_c::<[char; 3]>();
    // Rust would have put the wide field first.
    assert_eq!(Pair::<u8, u32>::SIZE, 8);
    assert_eq!(Layout::EMPTY.and::<u8>().and::<u64>().and::<u8>().size(), 24);
}

proptest! {
    #[test]
    fn fields_lie_where_c_has_them(
        tag: u8, wide: u64, odd: [u8; 3], small: i16, is_set: bool, letter: char, ratio: f32,
    ) {
        let value = Mixed { tag, wide, odd, small, is_set, letter, ratio, colour: Colour::Blue };
        let bytes = stored(value);
        let mut expected = vec![0; size_of::<Mixed>()];
        let mut put = |at: usize, field: &[u8]| expected[at..at + field.len()].copy_from_slice(field);
        put(offset_of!(Mixed, tag), &[tag]);
        put(offset_of!(Mixed, wide), &wide.to_ne_bytes());
        put(offset_of!(Mixed, odd), &odd);
        put(offset_of!(Mixed, small), &small.to_ne_bytes());
        put(offset_of!(Mixed, is_set), &[u8::from(is_set)]);
        put(offset_of!(Mixed, letter), &u32::from(letter).to_ne_bytes());
        put(offset_of!(Mixed, ratio), &ratio.to_ne_bytes());
        put(offset_of!(Mixed, colour), &[8]);
        prop_assert_eq!(&bytes, &expected);
        let loaded = Mixed::load(&bytes).unwrap();
        prop_assert_eq!(stored(loaded), bytes);
    }

    #[test]
    fn what_was_stored_is_loaded(inner: (u8, f64, u16), first: bool, last: u8, grid: [[i16; 5]; 2]) {
        let (a, b, c) = inner;
        let value = Nested { first, inner: [Tuple(a, b, Wrapping(c)); 3], last };
        prop_assert_eq!(stored(Plain::load(&stored(value)).map(|same: Nested<[Tuple; 3]>| same).unwrap()), stored(value));
        prop_assert_eq!(Grid::load(&stored(Grid(grid))), Some(Grid(grid)));
        prop_assert_eq!(Pair::load(&stored(Pair(a, c))), Some(Pair(a, c)));
    }

    #[test]
    fn no_bytes_are_more_than_no_value(bytes in proptest::collection::vec(any::<u8>(), size_of::<Nested<Mixed>>())) {
        // Whatever is loaded is a value, so that it can be stored.
        if let Some(value) = Nested::<Mixed>::load(&bytes) {
            prop_assert!(bytes[0] < 2);
            stored(value);
        }
    }
}

#[test]
fn bytes_between_fields_are_zero() {
    let bytes = stored(Nested { first: true, inner: u32::MAX, last: 0xFF });
    assert_eq!(bytes, [1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0]);
}

#[test]
fn what_is_no_value_is_not_loaded() {
    assert_eq!(bool::load(&[2]), None);
    assert_eq!(char::load(&0xD800u32.to_ne_bytes()), None);
    assert_eq!(char::load(&0x11_0000u32.to_ne_bytes()), None);
    assert_eq!(Colour::load(&[1]), None);
    assert_eq!(Colour::load(&[7]), Some(Colour::Green));
    assert_eq!(Colour::load(&stored(Colour::Red)), Some(Colour::Red));
    assert_eq!(Shift::load(&(-300i16).to_ne_bytes()), Some(Shift::Down));
    assert_eq!(Shift::load(&stored(Shift::Up)), Some(Shift::Up));
    assert_eq!(Shift::load(&[0, 0]), None);
    assert_eq!(<[bool; 3]>::load(&[1, 0, 2]), None);
    assert_eq!(<[bool; 3]>::load(&[1, 0, 1]), Some([true, false, true]));
    assert_eq!(<[bool; 0]>::load(&[]), Some([]));
}

#[test]
#[should_panic(expected = "range end index 8 out of range for slice of length 7")]
fn too_little_room_is_the_callers_mistake() {
    Pair(1u8, 2u32).store(&mut [0; 7]);
}

mod elsewhere {
    use super::Plain;

    #[derive(Clone, Copy, Plain)]
    pub(super) struct Tuple(pub(super) u8, pub(super) f64, pub(super) std::num::Wrapping<u16>);
}

#[test]
fn types_are_told_apart() {
    let fingerprints = [
        u32::TYPE,
        i32::TYPE,
        char::TYPE,
        <[u32; 1]>::TYPE,
        <[u32; 2]>::TYPE,
        <[[u32; 1]; 2]>::TYPE,
        Tuple::TYPE,
        elsewhere::Tuple::TYPE,
        Nested::<u8>::TYPE,
        Nested::<i8>::TYPE,
        Colour::TYPE,
        Shift::TYPE,
        Fingerprint::new("a").with("bc", u8::TYPE),
        Fingerprint::new("ab").with("c", u8::TYPE),
    ];
    for (at, one) in fingerprints.iter().enumerate() {
        assert!(!fingerprints[..at].contains(one), "{at}: {one:?}");
    }
    assert_eq!(Nested::<u8>::TYPE, Nested::<u8>::TYPE);
}
