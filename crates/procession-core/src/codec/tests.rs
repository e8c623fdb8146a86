//! What is a block goes as one, and as the same bytes as if it did not.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashSet, LinkedList, VecDeque};
use std::fmt::Debug;
use std::io::Read;
use std::num::Wrapping;
use std::rc::Rc;

use proptest::prelude::*;
use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serializer};

use super::*;

fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    Postcard::encode_into(value, Vec::new()).unwrap()
}

/// A vector that is taken element by element, both ways.
#[derive(Debug, PartialEq)]
struct ByElement<T>(Vec<T>);

impl<T: Serialize> Serialize for ByElement<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut elements = serializer.serialize_seq(Some(self.0.len()))?;
        self.0.iter().try_for_each(|element| elements.serialize_element(element))?;
        elements.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ByElement<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Backwards(Vec::new())).map(|mut elements| {
            elements.reverse();
            Self(elements)
        })
    }
}

/// A visitor that makes a vector, as serde's does, but in the opposite order.
struct Backwards<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Backwards<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<Vec<T>, A::Error> {
        while let Some(element) = elements.next_element()? {
            self.0.insert(0, element);
        }
        Ok(self.0)
    }
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Newtype<T>(T);

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Field<T> {
    before: u8,
    field: T,
    after: u64,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
enum Variant<T> {
    Newtype(T),
    Tuple(u8, T),
    Struct { field: T },
}

/// Runs a generic function for each type that is plain.
macro_rules! for_each_number {
    ($function:ident) => {
        for_each_number! { $function: u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize f32 f64 }
    };
    ($function:ident: $($number:ident)*) => {
        $( $function::<$number>(&{
            let one = $number::from(true);
            [$number::from(false), one, $number::MAX / (one + one), $number::MIN, $number::MAX]
        }); )*
    };
}

trait Number: Serialize + DeserializeOwned + Debug + PartialEq + Copy {}
impl<T: Serialize + DeserializeOwned + Debug + PartialEq + Copy> Number for T {}

#[test]
fn a_vector_of_numbers_has_the_bytes_of_its_elements_one_by_one() {
    fn check<N: Number>(numbers: &[N]) {
        for numbers in [numbers, &[]] {
            let by_element = encode(&ByElement(numbers.to_vec()));
            assert_eq!(encode(numbers), by_element);
            assert_eq!(encode(&numbers.to_vec()), by_element);
            assert_eq!(by_element.len(), 1 + size_of_val(numbers));
            assert_eq!(Postcard::decode::<Vec<N>>(&by_element).unwrap(), numbers);
            assert_eq!(Postcard::decode::<ByElement<N>>(&by_element).unwrap().0, numbers);
        }
    }
    for_each_number!(check);
}

#[test]
fn numbers_are_little_endian_and_as_wide_as_their_type() {
    assert_eq!(encode(&[0x0102u16, 3][..]), [2, 2, 1, 3, 0]);
    assert_eq!(encode(&[-2i32][..]), [1, 0xfe, 0xff, 0xff, 0xff]);
    assert_eq!(encode(&[1usize][..]), [1, 1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(encode(&[0.5f32][..]), [1, 0, 0, 0, 0x3f]);
}

#[test]
fn deeper_than_an_element_numbers_are_as_long_as_they_need() {
    assert_eq!(encode(&[(1u32, 300u32)][..]), [1, 1, 0xac, 2]);
    assert_eq!(encode(&[Some(1u32)][..]), [1, 1, 1]);
    assert_eq!(encode(&[1u32, 300]), [1, 0xac, 2], "an array has no length and is no sequence");
    assert_eq!(encode(&BTreeMap::from([(1u32, 300u32)])), [1, 1, 0xac, 2]);
    assert_eq!(encode(&[Variant::Newtype(1u32)][..]), [1, 0, 1]);
}

#[test]
fn it_makes_no_difference_what_holds_the_numbers() {
    fn check<N: Number>(numbers: &[N]) {
        let expected = encode(numbers);
        let vec = numbers.to_vec();
        let boxed: Box<[N]> = vec.clone().into();
        assert_eq!(encode(&numbers.iter().collect::<Vec<_>>()), expected, "of references");
        assert_eq!(encode(&numbers.iter().map(Box::new).collect::<Vec<_>>()), expected, "of boxes");
        assert_eq!(encode(&numbers.iter().map(|&n| Newtype(n)).collect::<Vec<_>>()), expected);
        assert_eq!(encode(&numbers.iter().map(|&n| Wrapping(n)).collect::<Vec<_>>()), expected);
        assert_eq!(encode(&numbers.iter().copied().collect::<VecDeque<_>>()), expected);
        assert_eq!(encode(&numbers.iter().copied().collect::<LinkedList<_>>()), expected);
        assert_eq!(encode(&boxed), expected);
        assert_eq!(encode(&&&vec), expected);
        assert_eq!(encode(&Rc::new(&vec[..]).as_ref()), expected);
        assert_eq!(encode(&Newtype(Newtype(&vec))), expected);
        assert_eq!(encode(&Cow::Borrowed(numbers)), expected);

        fn decode<T: DeserializeOwned>(bytes: &[u8]) -> T {
            Postcard::decode(bytes).unwrap()
        }
        assert_eq!(decode::<Box<[N]>>(&expected), boxed);
        assert_eq!(decode::<Box<Vec<N>>>(&expected).as_ref(), &vec);
        assert_eq!(decode::<Cow<'_, [N]>>(&expected), vec);
        assert_eq!(decode::<Newtype<Newtype<Vec<N>>>>(&expected), Newtype(Newtype(vec.clone())));
        assert_eq!(
            decode::<Vec<Newtype<N>>>(&expected).iter().map(|n| n.0).collect::<Vec<_>>(),
            vec
        );
        assert_eq!(
            decode::<Vec<Wrapping<N>>>(&expected).iter().map(|n| n.0).collect::<Vec<_>>(),
            vec
        );
        assert_eq!(decode::<VecDeque<N>>(&expected), vec);
    }
    for_each_number!(check);

    let sorted = [1u32, 70_000, u32::MAX];
    assert_eq!(encode(&BTreeSet::from(sorted)), encode(&sorted[..]));
    assert_eq!(encode(&HashSet::from([7u32])), encode(&vec![7u32]));
    assert_eq!(encode(&BinaryHeap::from([7u32])), encode(&vec![7u32]));
    assert_eq!(Postcard::decode::<BTreeSet<u32>>(&encode(&sorted[..])).unwrap(), sorted.into());
}

#[test]
fn a_visitor_of_somebody_else_makes_its_own_vector_of_the_numbers() {
    fn check<N: Number>(numbers: &[N]) {
        struct Reversed<N>(Vec<N>);
        impl<'de, N: Deserialize<'de>> Deserialize<'de> for Reversed<N> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_seq(Backwards(Vec::new())).map(Self)
            }
        }
        let reversed: Reversed<N> = Postcard::decode(&encode(numbers)).unwrap();
        assert!(reversed.0.iter().rev().eq(numbers));
    }
    for_each_number!(check);
}

/// So many that a vector that grows element by element has room left over.
const MANY: usize = 700_001;

#[track_caller]
fn encodes_as_a_block<T: Serialize>(value: &T) -> Vec<u8> {
    let bytes = encode(value);
    let excess = bytes.capacity() - bytes.len();
    assert!(excess < 256, "{} has room for {excess} bytes more", std::any::type_name::<T>());
    bytes
}

#[test]
fn numbers_are_copied_at_once_wherever_they_stand() {
    fn check<N: Number + Default>(_: &[N]) {
        let many = || vec![N::default(); MANY];
        #[track_caller]
        fn whole<T>(vec: &Vec<T>) {
            assert_eq!((vec.len(), vec.capacity()), (MANY, MANY));
        }
        fn there_and_back<T: Serialize + DeserializeOwned>(value: &T) -> T {
            Postcard::decode(&encodes_as_a_block(value)).unwrap()
        }
        whole(&there_and_back(&many()));
        whole(&there_and_back(&Some(many())).unwrap());
        whole(&there_and_back(&Newtype(many())).0);
        whole(&there_and_back(&Field { before: 1, field: many(), after: u64::MAX }).field);
        whole(&there_and_back(&(1u8, many())).1);
        whole(&there_and_back(&[many()])[0]);
        whole(&there_and_back(&vec![many()])[0]);
        whole(&there_and_back(&BTreeMap::from([(1u8, many())]))[&1]);
        whole(&there_and_back(&Box::new(Some(Newtype(many())))).unwrap().0);
        whole(&there_and_back(&Ok::<_, u8>(many())).unwrap());
        for value in
            [Variant::Newtype(many()), Variant::Tuple(1, many()), Variant::Struct { field: many() }]
        {
            let (Variant::Newtype(vec) | Variant::Tuple(_, vec) | Variant::Struct { field: vec }) =
                there_and_back(&value);
            whole(&vec);
        }
        let boxed = many().into_boxed_slice();
        assert_eq!(there_and_back(&boxed).len(), MANY);
    }
    for_each_number!(check);
    encodes_as_a_block(&("é".repeat(MANY), 5u8));
}

#[test]
fn a_block_is_the_encoding_in_two_parts() {
    #[track_caller]
    fn same<T: Serialize + ?Sized>(value: &T) {
        let block = as_block(value).unwrap();
        assert_eq!([block.head(), block.bytes()].concat(), encode(value));
    }
    fn check<N: Number>(numbers: &[N]) {
        for numbers in [numbers, &[]] {
            same(numbers);
            same(&numbers.to_vec());
            same(&numbers.to_vec().into_boxed_slice());
        }
        same(&numbers.repeat(10_000));
        assert!(as_block(&numbers).is_none());
        assert!(as_block(&Some(numbers.to_vec())).is_none());
        assert!(as_block(&Newtype(numbers.to_vec())).is_none());
        assert!(as_block(&numbers.iter().copied().collect::<VecDeque<_>>()).is_none());
        assert!(as_block(&numbers[0]).is_none());
    }
    for_each_number!(check);
    for text in ["", "text", &"ü".repeat(100)] {
        same(text);
        same(&text.to_owned());
        same(&Box::<str>::from(text));
    }
    assert!(as_block(&vec![true]).is_none());
    assert!(as_block(&vec!['x']).is_none());
    assert!(as_block(&vec!["x"]).is_none());
}

/// Reads `stream` as a transport does, `step` bytes at a time.
fn build<T: DeserializeOwned>(encoding: &[u8], front: usize, step: usize) -> Result<T> {
    let (front, mut stream) = encoding.split_at(front.min(encoding.len()));
    let mut builder = block_target::<T>().unwrap().begin(front, encoding.len())?;
    while builder.left_bytes() > 0 {
        let rest = builder.rest()?;
        let most = rest.len().min(step);
        let read = stream.read(&mut rest[..most]).unwrap();
        builder.advance(read);
    }
    assert!(builder.rest()?.is_empty());
    builder.finish()
}

#[test]
fn a_value_is_read_into_where_it_will_lie() {
    fn check<N: Number>(numbers: &[N]) {
        for numbers in [&[], numbers, &numbers.repeat(100), &numbers.repeat(100_000)] {
            let encoding = encode(numbers);
            for (front, step) in [(10, usize::MAX), (50, 333), (usize::MAX, 1), (10, 65_536)] {
                let built: Vec<N> = build(&encoding, front, step).unwrap();
                assert_eq!(built, numbers);
                assert_eq!(built.capacity(), built.len());
            }
        }
        assert!(block_target::<Box<[N]>>().is_none());
        assert!(block_target::<Option<Vec<N>>>().is_none());
        assert!(block_target::<N>().is_none());
    }
    for_each_number!(check);
    for text in [String::new(), "text".into(), "ü".repeat(1_000_000)] {
        assert_eq!(build::<String>(&encode(&text), 10, usize::MAX).unwrap(), text);
    }
    assert!(block_target::<Vec<bool>>().is_none());
    assert!(block_target::<Vec<char>>().is_none());
    assert!(block_target::<Vec<String>>().is_none());
}

#[track_caller]
fn refused<T: Debug>(result: Result<T>) {
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Decode);
}

#[test]
fn a_value_is_refused_whose_length_is_not_that_of_its_message() {
    let numbers = block_target::<Vec<u16>>().unwrap();
    let mut encoding = encode(&vec![7u16; 20]);
    refused(numbers.begin(&encoding, encoding.len() + 1));
    refused(numbers.begin(&encoding, encoding.len() - 1));
    refused(numbers.begin(&encoding[..10], 0));
    refused(numbers.begin(&[], 0));
    refused(numbers.begin(&[0x80; 10], 1000));
    encoding[0] += 1;
    refused(numbers.begin(&encoding, encoding.len()));
    // 2^63 + 1 times two is two.
    refused(numbers.begin(&[0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0, 0], 12));
    refused(build::<String>(&[1, 0xff], 10, 10));
}

#[test]
fn a_value_of_which_something_is_missing_is_refused() {
    let mut builder = block_target::<Vec<u64>>().unwrap().begin(&[2], 17).unwrap();
    assert_eq!(builder.rest().unwrap().len(), 16);
    builder.advance(15);
    assert_eq!(builder.left_bytes(), 1);
    refused(builder.finish());
}

#[test]
#[should_panic(expected = "17 bytes were written into 16")]
fn more_than_there_is_room_for_cannot_have_been_read() {
    let mut builder = block_target::<Vec<u64>>().unwrap().begin(&[2], 17).unwrap();
    builder.rest().unwrap().fill(1);
    builder.advance(17);
}

#[test]
fn what_is_announced_takes_no_memory_before_it_comes() {
    let announced = 1u64 << 60;
    let mut head = encode(&announced);
    let len = usize::try_from(announced).unwrap() + head.len();
    let mut builder = block_target::<Vec<u8>>().unwrap().begin(&head, len).unwrap();
    assert!(builder.rest().unwrap().len() <= 1 << 20);
    refused(builder.finish());
    head.resize(1000, 0);
    refused(Postcard::decode::<Vec<u8>>(&head));
    refused(Postcard::decode::<Vec<u64>>(&head));
    refused(Postcard::decode::<String>(&head));
}

#[test]
fn a_type_is_not_told_a_length_that_cannot_be() {
    #[derive(Debug)]
    struct Untold;
    impl<'de> Deserialize<'de> for Untold {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_seq(Self)
        }
    }
    impl<'de> Visitor<'de> for Untold {
        type Value = Self;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("nothing")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Self, A::Error> {
            panic!("there may be {:?}", elements.size_hint())
        }
    }
    refused(Postcard::decode::<Untold>(&[3, 0, 0]));
}

#[test]
fn a_buffer_with_room_is_used_as_it_is() {
    let value = Field { before: 1, field: vec![1.5f64; 10_000], after: u64::MAX };
    let bytes = encode(&value);
    let mut buffer = Vec::with_capacity(bytes.len() + 16);
    buffer.push(9);
    let start = buffer.as_ptr();
    let filled = Postcard::encode_into(&value, buffer).unwrap();
    assert_eq!(filled[1..], bytes);
    assert_eq!((filled.as_ptr(), filled.capacity()), (start, bytes.len() + 16));
}

proptest! {
    #[test]
    fn patterns_of_floats_that_are_no_numbers_arrive_as_they_are(bits in any::<Vec<u64>>()) {
        let floats: Vec<f64> = bits.iter().copied().map(f64::from_bits).collect();
        let block = encode(&floats);
        prop_assert_eq!(&block, &encode(&bits));
        let back: Vec<f64> = Postcard::decode(&block).unwrap();
        prop_assert!(back.iter().map(|float| float.to_bits()).eq(bits.iter().copied()));
    }

    #[test]
    fn numbers_alone_have_the_bytes_that_postcard_gives_them(
        unsigned: (u8, u16, u32, u64, u128),
        signed: (i8, i16, i32, i64, i128),
        cut in 0u32..128,
    ) {
        type Value = ((u8, u16, u32, u64, u128), (i8, i16, i32, i64, i128));
        // Numbers of every length are as likely.
        let (a, b, c, d, e) = unsigned;
        let unsigned = (a >> (cut / 16), b >> (cut / 8), c >> (cut / 4), d >> (cut / 2), e >> cut);
        let (a, b, c, d, e) = signed;
        let signed = (a >> (cut / 16), b >> (cut / 8), c >> (cut / 4), d >> (cut / 2), e >> cut);
        let bytes = encode(&(unsigned, signed));
        prop_assert_eq!(&bytes, &postcard::to_allocvec(&(unsigned, signed)).unwrap());
        prop_assert_eq!(Postcard::decode::<Value>(&bytes).unwrap(), (unsigned, signed));
    }
}
