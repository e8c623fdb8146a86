//! The codec: bytes and descriptors that nobody vouches for are a value or an error.
//!
//! What is decoded is encoded again, and from then on the bytes stay the same. Whatever happens, all descriptors are closed in
//! the end, and memory is in proportion to the bytes. Where the format is postcard's, the crate of that name says the same.
//!
//! # Input
//!
//! Cases, one after the other: a byte that chooses a type, a byte that is the number of descriptors, a byte that is the number of
//! bytes of the value, where 255 is all that are left, and those.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::io::Read;
use std::num::Wrapping;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use procession::{Address, AuthKey, Connection, ErrorKind, Handle};
use procession_core::bundle::{MOST, unbundle};
use procession_core::codec::{Block, Codec, Postcard, as_block, block_target};
use procession_core::{Message, Result};
use procession_sys::socket::{self, MAX_HANDLES, seqpacket_pair};
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::input::Input;
use super::memory;
use super::wire::{self, Witness};

#[derive(Debug, Serialize, Deserialize)]
struct Numbers {
    small: (bool, u8, i8, u16, i16),
    middle: (u32, i32, f32),
    large: (u64, i64, f64, usize, isize),
    huge: (u128, i128),
}

#[derive(Debug, Serialize, Deserialize)]
struct Texts {
    name: String,
    flag: Option<bool>,
    raw: Bytes,
    nothing: (),
    rest: Option<Option<Box<str>>>,
}

/// Bytes that serde is told to be bytes.
#[derive(Debug)]
struct Bytes(Vec<u8>);

#[derive(Debug, Serialize, Deserialize)]
enum Shape {
    Nothing,
    Newtype(u32),
    Tuple(u8, String),
    Struct { numbers: [u16; 3], is_large: bool },
    Boxed(Box<Texts>),
}

#[derive(Debug, Serialize, Deserialize)]
struct Blocks {
    bytes: Vec<u8>,
    shorts: Vec<u16>,
    signed: VecDeque<i32>,
    longs: Vec<u64>,
    huge: Vec<u128>,
    wrapped: Vec<Wrapping<i64>>,
    sizes: Box<[usize]>,
}

/// What takes no bytes in itself.
#[derive(Debug, Serialize, Deserialize)]
struct Empties {
    units: Vec<()>,
    nested: Vec<Vec<()>>,
    arrays: Vec<[u32; 0]>,
}

/// Of any depth.
#[derive(Debug, Serialize, Deserialize)]
enum Tree {
    Leaf(i32),
    Text(String),
    Letter(char),
    Numbers(Vec<u64>),
    List(Vec<Tree>),
    Map(BTreeMap<u16, Tree>),
    Maybe(Option<Box<Tree>>),
    Pair(Box<(Tree, Tree)>),
    Result(Result<(), Box<Tree>>),
    Set(BTreeSet<u32>),
    Units(BTreeMap<(), u16>),
}

#[derive(Debug, Serialize, Deserialize)]
struct Chain {
    number: u8,
    next: Option<Box<Chain>>,
}

/// A tree with descriptors.
#[derive(Debug, Serialize, Deserialize)]
enum Desk {
    Nothing,
    File(Handle<OwnedFd>),
    Drawer { label: String, files: Vec<Handle<OwnedFd>> },
    Drawers(Vec<(u32, Option<Desk>)>),
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Taker;
        impl Visitor<'_> for Taker {
            type Value = Bytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_byte_buf(Taker)
    }
}

/// More would only take time.
const MOST_CASES: usize = 32;
/// So many values may lie in each other, says the documentation of the codec.
const MOST_LEVELS: usize = 256;

/// Runs one input.
///
/// # Panics
///
/// When a property does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    for _ in 0..MOST_CASES {
        if input.is_empty() {
            break;
        }
        let (kind, count) = (input.byte(), usize::from(input.byte() % 8));
        let bytes = match input.byte() {
            255 => input.rest(),
            len => input.some(len.into()),
        };
        case(kind, count, bytes);
    }
}

fn case(kind: u8, count: usize, bytes: &[u8]) {
    // In this order: the stored inputs name their types by these numbers.
    match kind {
        0 => agrees::<Numbers>(bytes, count),
        1 => agrees::<Texts>(bytes, count),
        2 => agrees::<Shape>(bytes, count),
        3 => agrees::<Vec<(u32, Shape)>>(bytes, count),
        4 => agrees::<Vec<Option<Result<i64, Box<str>>>>>(bytes, count),
        5 => agrees::<(Vec<bool>, Vec<i8>, Vec<Option<u16>>, Vec<u8>)>(bytes, count),
        6 => agrees::<Result<Vec<f32>, Vec<String>>>(bytes, count),
        7 => returns::<Blocks>(bytes, count),
        8 => returns::<Empties>(bytes, count),
        9 => drop(settles::<Tree>(bytes, count)),
        10 => chain(bytes, count),
        11 => drop(settles::<Desk>(bytes, count)),
        12 => drop(settles::<(Handle<OwnedFd>, Tree, Option<Handle<OwnedFd>>)>(bytes, count)),
        13 => returns::<AuthKey>(bytes, count),
        // A text that is printed otherwise may be longer.
        14 => drop(is_value_or_error::<Address>(bytes, count)),
        15 => connection(bytes, count),
        16 => block::<Vec<u8>>(bytes),
        17 => block::<Vec<u16>>(bytes),
        18 => block::<Vec<f64>>(bytes),
        19 => block::<String>(bytes),
        20 => bundled(bytes),
        21 => returns::<(char, Vec<char>, Option<char>)>(bytes, count),
        _ => {}
    }
}

/// What decoding may take for so many bytes.
///
/// As many levels as there may be, each with room for as many elements of a tree as there are bytes: more cannot be announced.
fn allowed(bytes: usize) -> usize {
    (64 << 10) + bytes * MOST_LEVELS * size_of::<Tree>()
}

/// Decodes bytes, encodes what that is, and decodes it again; returns the bytes, if they were a value.
fn is_value_or_error<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    count: usize,
) -> Option<Vec<u8>> {
    let witness = Witness::new();
    let message = Message::from_parts(bytes.to_vec(), witness.copies(count));
    let (decoded, peak) = memory::peak(|| message.decode::<T>());
    assert!(peak <= allowed(bytes.len()), "{peak} bytes of memory for {}", bytes.len());
    let settled = match decoded {
        Ok(value) => Some(encode_twice(&value, count)),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Decode, "{error}");
            None
        }
    };
    witness.check();
    settled
}

fn encode_twice<T: Serialize + DeserializeOwned>(value: &T, count: usize) -> Vec<u8> {
    let once = Message::encode(value).unwrap();
    assert_eq!(once.handles().len(), count, "each descriptor was taken once");
    let settled = once.bytes().to_vec();
    let again: T = once.decode().unwrap();
    let twice = Message::encode(&again).unwrap();
    assert_eq!(twice.bytes(), settled, "what is encoded is decoded as the same");
    assert_eq!(twice.handles().len(), count);
    settled
}

/// In this workspace's own format.
fn settles<T: Serialize + DeserializeOwned>(bytes: &[u8], count: usize) -> Option<Vec<u8>> {
    let settled = is_value_or_error::<T>(bytes, count)?;
    assert!(settled.len() <= bytes.len(), "nothing is shorter than what is encoded");
    Some(settled)
}

/// Of a type that nothing is sorted in: only numbers can be written in two ways, and none without a byte that says that more
/// follow.
fn returns<T: Serialize + DeserializeOwned>(bytes: &[u8], count: usize) {
    if let Some(settled) = settles::<T>(bytes, count) {
        let has_long_numbers = bytes.iter().any(|byte| *byte >= 0x80);
        assert!(has_long_numbers || settled == bytes, "read {bytes:?}, wrote {settled:?}");
    }
}

/// Of a type that nests, so many levels and no more.
fn chain(bytes: &[u8], count: usize) {
    returns::<Chain>(bytes, count);
    if let Ok(first) = Postcard::decode::<Chain>(bytes) {
        let links = std::iter::successors(Some(&first), |link| link.next.as_deref());
        let depth = links.count() - 1;
        assert!(depth <= MOST_LEVELS, "{depth} levels were read");
    }
}

/// In the format that is postcard's as well. No type with a `char` is compared: postcard overlooks what follows the first letter.
fn agrees<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8], count: usize) {
    returns::<T>(bytes, count);
    #[cfg(fuzzing)]
    {
        let ours = Postcard::decode::<T>(bytes).ok();
        let theirs = postcard::take_from_bytes::<T>(bytes).ok();
        let theirs = theirs.filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value);
        let as_text = |value: &Option<T>| format!("{value:?}");
        assert_eq!(as_text(&ours), as_text(&theirs), "postcard reads it otherwise");
        let Some(value) = ours else { return };
        let encoded = Postcard::encode_into(&value, Vec::new()).unwrap();
        assert_eq!(encoded, postcard::to_allocvec(&value).unwrap(), "postcard writes it otherwise");
    }
}

/// A connection that has travelled, with whatever was read ahead, or half sent.
fn connection(bytes: &[u8], count: usize) {
    let witness = Witness::new();
    let message = Message::from_parts(bytes.to_vec(), witness.copies(count));
    if let Ok(connection) = message.decode::<Connection>() {
        let frame = [0, 0, 0, 2, 0, 7];
        wire::send(witness.socket(), &frame, &[]);
        wire::end(witness.socket());
        // It travels once more, unless it was never whole.
        let travelled = Message::encode(&connection).unwrap();
        let again = travelled.decode::<Connection>();
        let connection = again.unwrap_or(connection);
        connection.poll(Duration::ZERO).ok();
        connection.as_fd();
        connection.send_bytes_timeout(b"x", Duration::ZERO).ok();
        connection.try_recv::<Tree>().ok();
        let mut buffer = [0; 64];
        connection.recv_bytes_into_timeout(&mut buffer, Duration::ZERO).ok();
        // What was read ahead is no more messages than there were bytes.
        let messages = (0..=bytes.len()).take_while(|_| connection.try_recv_bytes().is_ok());
        assert!(messages.count() <= bytes.len(), "messages out of nothing");
        connection.flush(Duration::ZERO).ok();
        connection.close();
    }
    witness.check();
}

/// What can be read into where it will lie is the value that is decoded, and so is what can be sent from where it lies.
fn block<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) {
    let decoded = Postcard::decode::<T>(bytes);
    let (built, peak) = memory::peak(|| build::<T>(bytes));
    // What has not come yet is taken a MiB at a time.
    assert!(peak <= (1 << 21) + 4 * bytes.len(), "{peak} bytes of memory for {}", bytes.len());
    match (decoded, built) {
        (Ok(decoded), Ok(built)) => {
            let encode = |value| Postcard::encode_into(value, Vec::new()).unwrap();
            let settled = encode(&decoded);
            assert_eq!(settled, encode(&built));
            let block = as_block(&built).unwrap();
            assert_eq!([block.head(), block.bytes()].concat(), settled);
        }
        (Err(_), Err(error)) => assert_eq!(error.kind(), ErrorKind::Decode),
        (decoded, built) => panic!("decoded {decoded:?}, but read {built:?}"),
    }
}

fn build<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let (front, mut rest) = bytes.split_at(bytes.len().min(Block::MOST_HEAD));
    let mut builder = block_target::<T>().unwrap().begin(front, bytes.len())?;
    // In steps of odd lengths.
    for step in 1.. {
        let room = builder.rest()?;
        if room.is_empty() {
            break;
        }
        let most = room.len().min(step);
        let came = rest.read(&mut room[..most]).unwrap();
        assert!(came > 0, "more was asked for than the value has");
        builder.advance(came);
    }
    builder.finish()
}

/// More descriptors than a packet carries: as many as were announced, or an error.
fn bundled(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let announced = match input.byte() {
        0 => input.short(),
        few => MOST - 4 + usize::from(few % 16),
    };
    let witness = Witness::new();
    let (sender, receiver) = seqpacket_pair().unwrap();
    let mut sent = 0;
    let mut is_cut = false;
    while !input.is_empty() && sent < 256 {
        let some = match input.byte() {
            255 => MAX_HANDLES,
            some => usize::from(some),
        };
        let copies = witness.copies(some.min(MAX_HANDLES));
        let borrowed: Vec<_> = copies.iter().map(AsFd::as_fd).collect();
        // A packet without content looks like the end.
        let content: &[u8] = if input.byte() == 0 { b"" } else { b"H" };
        is_cut |= content.is_empty() && sent < announced;
        let went = socket::send(&sender, &[content], &borrowed, socket::Block::No);
        sent += went.map_or(0, |_| borrowed.len());
    }
    if input.byte() == 0 {
        drop(sender);
    }
    let unbundled = unbundle(vec![receiver], announced);
    match unbundled {
        Ok(handles) => assert_eq!(handles.len(), announced),
        Err(error) => {
            assert!(announced <= MOST || sent != announced || is_cut, "{error}");
        }
    }
    witness.check();
}
