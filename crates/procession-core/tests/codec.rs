//! What is encoded comes back, and what comes from anybody is a value or an error.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, LinkedList, VecDeque};
use std::fmt::Debug;
use std::num::{NonZeroU32, Wrapping};

use procession_core::codec::{Codec, Postcard};
use procession_core::{ErrorKind, Result};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    Postcard::encode_into(value, Vec::new()).unwrap()
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Metres(Vec<f64>);

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Nothing;

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
enum Shape {
    Unit,
    Newtype(Vec<u32>),
    Tuple(i16, String, Vec<f32>),
    Struct { id: u64, tags: Vec<String>, inner: Option<Box<Shape>> },
    Many(Vec<Shape>),
}

type Unsigned = (Vec<u8>, Vec<u16>, Vec<u32>, Vec<u64>, Vec<u128>, Vec<usize>);
type Signed = (Vec<i8>, Vec<i16>, Vec<i32>, Vec<i64>, Vec<i128>, Vec<isize>);
type Scalars = (u8, i8, u16, i16, u32, i32, (u64, i64, u128, i128, usize, isize, char, bool));

/// A vector of each number, and values in which they lie.
#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Rich {
    unsigned: Unsigned,
    signed: Signed,
    floats: (Vec<f32>, Metres),
    scalars: Scalars,
    text: String,
    flags: Vec<bool>,
    chars: Vec<char>,
    units: Vec<()>,
    nothing: (Nothing, Vec<Nothing>),
    nested: Vec<Vec<Vec<f64>>>,
    option: Option<Option<Vec<u64>>>,
    map: BTreeMap<String, Vec<i32>>,
    numbers: BTreeMap<u32, i64>,
    set: BTreeSet<i64>,
    deque: VecDeque<u32>,
    wrapped: Vec<Wrapping<i16>>,
    nonzero: Vec<NonZeroU32>,
    arrays: Vec<[u16; 3]>,
    boxed: Box<[u128]>,
    shapes: Vec<Shape>,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Unit),
        any::<Vec<u32>>().prop_map(Shape::Newtype),
        any::<(i16, String, Vec<f32>)>().prop_map(|(a, b, c)| Shape::Tuple(a, b, c)),
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        let boxed = proptest::option::of(inner.clone().prop_map(Box::new));
        prop_oneof![
            (any::<u64>(), any::<Vec<String>>(), boxed)
                .prop_map(|(id, tags, inner)| Shape::Struct { id, tags, inner }),
            vec(inner, 0..4).prop_map(Shape::Many),
        ]
    })
}

fn rich() -> impl Strategy<Value = Rich> {
    let numbers = any::<(Unsigned, Signed, (Vec<f32>, Vec<f64>), Scalars)>();
    let simple = any::<(String, Vec<bool>, Vec<char>, u8, u8)>();
    let nested = (
        vec(vec(any::<Vec<f64>>(), 0..4), 0..4),
        any::<Option<Option<Vec<u64>>>>(),
        btree_map(any::<String>(), any::<Vec<i32>>(), 0..4),
        vec(shapes(), 0..4),
    );
    let collections = any::<(BTreeMap<u32, i64>, BTreeSet<i64>, VecDeque<u32>)>();
    let elements = any::<(Vec<i16>, Vec<NonZeroU32>, Vec<[u16; 3]>, Vec<u128>)>();
    (numbers, simple, nested, collections, elements).prop_map(
        |(numbers, simple, nested, collections, elements)| {
            let (unsigned, signed, (small, floats), scalars) = numbers;
            let (text, flags, chars, units, nothing) = simple;
            let (nested, option, map, shapes) = nested;
            let (numbers, set, deque) = collections;
            let (wrapped, nonzero, arrays, boxed) = elements;
            Rich {
                unsigned,
                signed,
                floats: (small, Metres(floats)),
                scalars,
                text,
                flags,
                chars,
                units: vec![(); units.into()],
                nothing: (Nothing, vec![Nothing; nothing.into()]),
                nested,
                option,
                map,
                numbers,
                set,
                deque,
                wrapped: wrapped.into_iter().map(Wrapping).collect(),
                nonzero,
                arrays,
                boxed: boxed.into(),
                shapes,
            }
        },
    )
}

/// No integers in sequences, and no elements without bytes.
type AsPostcard = (
    (u64, i64, u128, i128, u16, i16, f32, f64, char, bool),
    (String, Vec<String>, Vec<u8>, Vec<f64>, Option<Vec<f32>>),
    (
        BTreeMap<u32, i64>,
        Vec<(u16, i32)>,
        Vec<Option<u64>>,
        [u32; 4],
        std::result::Result<u32, String>,
    ),
);

/// The most of values that lie in each other.
const MOST_DEEP: usize = 256;

#[derive(Serialize, Deserialize, Debug, PartialEq)]
enum Tree {
    Leaf,
    Node(Box<Tree>),
    Many(Vec<Tree>),
}

impl Tree {
    fn deep(levels: usize) -> Self {
        (0..levels).fold(Self::Leaf, |tree, _| Self::Node(Box::new(tree)))
    }
}

/// Decodes `bytes` as this and that. Whatever is no error is a value that comes back.
fn decode_as_anything(bytes: &[u8]) {
    fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
        match Postcard::decode::<T>(bytes) {
            Ok(value) => {
                // Not always the same bytes: a number may have had more than it needs. What they are is the same.
                let once = encode(&value);
                assert_eq!(encode(&Postcard::decode::<T>(&once).unwrap()), once);
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Decode),
        }
    }
    decode::<Rich>(bytes);
    decode::<AsPostcard>(bytes);
    decode::<Tree>(bytes);
    decode::<Vec<Vec<u128>>>(bytes);
    decode::<Vec<()>>(bytes);
    decode::<LinkedList<Nothing>>(bytes);
    decode::<BTreeMap<(), Vec<()>>>(bytes);
    decode::<Vec<[[u64; 32]; 32]>>(bytes);
    decode::<(String, Vec<char>, i128, bool)>(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_encoded_comes_back(value in rich()) {
        let bytes = encode(&value);
        prop_assert_eq!(Postcard::decode::<Rich>(&bytes).unwrap(), value);
    }

    #[test]
    fn a_part_of_an_encoding_is_an_error(value in rich(), cut in any::<prop::sample::Index>()) {
        let bytes = encode(&value);
        let part = &bytes[..cut.index(bytes.len())];
        prop_assert_eq!(Postcard::decode::<Rich>(part).unwrap_err().kind(), ErrorKind::Decode);
        let more = [&bytes[..], &[0]].concat();
        prop_assert_eq!(Postcard::decode::<Rich>(&more).unwrap_err().kind(), ErrorKind::Decode);
    }

    #[test]
    fn a_changed_encoding_is_a_value_or_an_error(
        value in rich(),
        places in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encode(&value);
        for (place, byte) in places {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        decode_as_anything(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes in any::<Vec<u8>>()) {
        decode_as_anything(&bytes);
    }

    #[test]
    fn long_numbers_and_lengths_are_a_value_or_an_error(bytes in vec(prop_oneof![Just(0xff), Just(0x80), Just(1), 0u8..5], 0..60)) {
        decode_as_anything(&bytes);
    }
}

proptest! {
    #[test]
    fn without_sequences_of_integers_the_bytes_are_those_of_postcard(value in any::<AsPostcard>()) {
        let bytes = encode(&value);
        prop_assert_eq!(&bytes, &postcard::to_allocvec(&value).unwrap());
        prop_assert_eq!(Postcard::decode::<AsPostcard>(&bytes).unwrap(), value);
    }
}

#[test]
fn each_prefix_and_each_flipped_bit_is_a_value_or_an_error() {
    let shape = Shape::Struct {
        id: u64::MAX,
        tags: vec!["ü".into()],
        inner: Some(Box::new(Shape::Newtype(vec![1, 2]))),
    };
    let value = (shape, vec![vec![1.5f64]], Some(vec![u128::MAX]), i128::MIN, vec![(); 3]);
    type Value = (Shape, Vec<Vec<f64>>, Option<Vec<u128>>, i128, Vec<()>);
    let bytes = encode(&value);
    assert_eq!(Postcard::decode::<Value>(&bytes).unwrap(), value);
    for end in 0..bytes.len() {
        assert!(Postcard::decode::<Value>(&bytes[..end]).is_err());
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[end] ^= 1 << bit;
            if let Err(error) = Postcard::decode::<Value>(&bytes) {
                assert_eq!(error.kind(), ErrorKind::Decode);
            }
        }
    }
}

#[test]
fn a_length_beyond_the_bytes_is_refused_at_once() {
    #[track_caller]
    fn refused<T: DeserializeOwned + Debug>(announced: u64) {
        let mut bytes = encode(&announced);
        bytes.extend([0; 20]);
        let error = Postcard::decode::<T>(&bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "the bytes end too early");
    }
    for announced in [21, u64::from(u32::MAX), 1 << 60, u64::MAX] {
        refused::<Vec<u8>>(announced);
        refused::<Vec<u128>>(announced);
        refused::<Vec<bool>>(announced);
        refused::<Vec<String>>(announced);
        refused::<Vec<Vec<u64>>>(announced);
        refused::<String>(announced);
        refused::<Vec<()>>(announced);
        refused::<LinkedList<()>>(announced);
        refused::<HashSet<()>>(announced);
        refused::<HashMap<(), ()>>(announced);
        refused::<BTreeMap<u8, ()>>(announced);
    }
    // As many as there are bytes, but they take sixteen each.
    refused::<Vec<u128>>(20);
}

#[test]
fn an_element_without_content_takes_a_byte_and_one_with_content_no_more() {
    assert_eq!(encode(&vec![(); 3]), [3, 0, 0, 0]);
    assert_eq!(encode(&BTreeMap::from([((), ())])), [1, 0]);
    assert_eq!(encode(&vec![((), 7u8)]), [1, 7]);
    assert_eq!(encode(&vec![Vec::<u8>::new()]), [1, 0]);
    assert_eq!(Postcard::decode::<Vec<()>>(&[3, 0, 0, 0]).unwrap().len(), 3);
    assert!(Postcard::decode::<Vec<()>>(&[3, 0, 1, 0]).is_err());
    let many = vec![(); 1_000_000];
    assert_eq!(Postcard::decode::<Vec<()>>(&encode(&many)).unwrap(), many);
}

#[test]
fn values_lie_in_each_other_so_deep_and_no_deeper_at_both_ends() {
    let deep = Tree::deep(MOST_DEEP);
    let bytes = encode(&deep);
    assert_eq!(Postcard::decode::<Tree>(&bytes).unwrap(), deep);

    let error = Postcard::encode_into(&Tree::deep(MOST_DEEP + 1), Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode);
    let deeper = [&[1], &bytes[..]].concat();
    assert_eq!(Postcard::decode::<Tree>(&deeper).unwrap_err().kind(), ErrorKind::Decode);
    for endless in [vec![1; 10_000_000], [2, 1].repeat(5_000_000)] {
        assert_eq!(Postcard::decode::<Tree>(&endless).unwrap_err().kind(), ErrorKind::Decode);
    }
}

#[test]
fn a_vector_of_numbers_is_as_deep_as_one_of_others() {
    fn deep<T: Serialize + DeserializeOwned>(levels: usize, innermost: T) -> Result<Vec<u8>> {
        #[derive(Serialize, Deserialize)]
        enum Around<T> {
            Value(T),
            Next(Box<Around<T>>),
        }
        let value =
            (1..levels).fold(Around::Value(innermost), |inner, _| Around::Next(Box::new(inner)));
        let bytes = Postcard::encode_into(&value, Vec::new())?;
        Postcard::decode::<Around<T>>(&bytes)?;
        Ok(bytes)
    }
    for levels in [MOST_DEEP - 1, MOST_DEEP] {
        let of_numbers = deep(levels, vec![1u8]).map_err(|error| error.kind());
        let of_others = deep(levels, vec![true]).map_err(|error| error.kind());
        assert_eq!(of_numbers, of_others);
        assert_eq!(of_numbers.is_ok(), levels < MOST_DEEP);
    }
}

#[test]
fn text_that_is_written_piece_by_piece_is_a_string() {
    for width in [0, 1, 127, 128, 20_000] {
        let text = format!("{:>width$}", 1);
        assert_eq!(encode(&format_args!("{:>width$}", 1)), encode(&text));
        assert_eq!(encode(&(7u8, format_args!("{:>width$}", 1), 8u8)), encode(&(7u8, &text, 8u8)));
    }
}

#[test]
fn what_a_type_objects_to_is_said() {
    #[derive(Debug)]
    struct Objects;
    impl Serialize for Objects {
        fn serialize<S: Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }
    impl<'de> Deserialize<'de> for Objects {
        fn deserialize<D: Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
            Err(serde::de::Error::custom("not today either"))
        }
    }
    let said =
        |error: procession_core::Error| std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(said(Postcard::encode_into(&vec![Objects], Vec::new()).unwrap_err()), "not today");
    assert_eq!(said(Postcard::decode::<Option<Objects>>(&[1]).unwrap_err()), "not today either");
}

#[test]
fn bytes_that_are_no_value_of_the_type_are_refused() {
    #[track_caller]
    fn refused<T: DeserializeOwned + Debug>(bytes: &[u8]) {
        assert_eq!(Postcard::decode::<T>(bytes).unwrap_err().kind(), ErrorKind::Decode);
    }
    refused::<bool>(&[2]);
    refused::<Vec<bool>>(&[1, 2]);
    refused::<Option<u8>>(&[2, 0]);
    refused::<char>(&[0]);
    refused::<char>(&[2, b'a', b'b']);
    refused::<Vec<char>>(&[1, 1, 0xff]);
    refused::<String>(&[1, 0xff]);
    refused::<Tree>(&[3]);
    refused::<NonZeroU32>(&[0]);
    refused::<Vec<NonZeroU32>>(&[1, 0, 0, 0, 0]);
    refused::<u16>(&[0xff, 0xff, 4]);
    refused::<u32>(&[0xff, 0xff, 0xff, 0xff, 0x10]);
    refused::<u64>(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]);
    refused::<u128>(&[[0xff; 18].as_slice(), &[4]].concat());
    refused::<u64>(&[0xff; 11]);
    refused::<u128>(&[0xff; 20]);
    assert_eq!(Postcard::decode::<u16>(&[0xff, 0xff, 3]).unwrap(), u16::MAX);
    assert_eq!(
        Postcard::decode::<u128>(&[[0xff; 18].as_slice(), &[3]].concat()).unwrap(),
        u128::MAX
    );
}

#[test]
fn a_sequence_of_unknown_length_is_refused() {
    struct Unknown;
    impl Serialize for Unknown {
        fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
            serializer.collect_seq([1, 2, 3].iter().filter(|&&number| number != 2))
        }
    }
    let error = Postcard::encode_into(&Unknown, Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode);
}
