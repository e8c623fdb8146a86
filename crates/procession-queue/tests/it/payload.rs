//! Items of every length.

use procession_core::{Error, ErrorKind};
use procession_queue::{GetError, Queue};
use serde::{Deserialize, Serialize};

/// Lengths around each change of the place where an item lies.
const LENGTHS: [usize; 14] =
    [0, 1, 46, 47, 48, 49, 1000, 1024, 16_381, 16_382, 16_383, 65_536, 200_000, 3_000_000];

#[test]
fn items_of_every_length_arrive_whole() {
    let queue = Queue::new().unwrap();
    for round in 0..40u8 {
        for len in LENGTHS {
            queue.put(vec![round; len]).unwrap();
        }
        for len in LENGTHS {
            assert!(queue.get().unwrap() == vec![round; len], "{len}");
        }
    }
}

#[test]
fn items_that_are_no_block_arrive_whole() {
    #[derive(Debug, PartialEq, Clone, Serialize, Deserialize)]
    struct Item {
        name: String,
        numbers: Vec<Option<u32>>,
    }
    let queue = Queue::new().unwrap();
    for len in LENGTHS.into_iter().filter(|len| *len < 100_000) {
        let item = Item { name: "x".repeat(len), numbers: vec![Some(7), None] };
        queue.put(item.clone()).unwrap();
        assert_eq!(queue.get().unwrap(), item);
    }
}

#[test]
fn memory_is_given_back() {
    let queue = Queue::new().unwrap();
    let item = vec![7u8; 1 << 20];
    for _ in 0..4 {
        for _ in 0..100 {
            queue.put(item.clone()).unwrap();
        }
        assert!(queue.memory_bytes().unwrap() > 100 << 20);
        for _ in 0..100 {
            queue.get().unwrap();
        }
        // What is kept, and the books.
        assert!(queue.memory_bytes().unwrap() < 40 << 20, "{:?}", queue.memory_bytes());
    }
}

#[test]
fn memory_stays_flat_when_many_small_ones_go_through() {
    let queue = Queue::new().unwrap();
    for len in [8, 1000, 10_000] {
        let item = vec![7u8; len];
        for _ in 0..3000 {
            queue.put(item.clone()).unwrap();
            queue.get().unwrap();
        }
        assert!(queue.memory_bytes().unwrap() < 16 << 20, "{len}: {:?}", queue.memory_bytes());
    }
}

#[test]
fn what_cannot_be_encoded_is_its_putters_error() {
    struct Stubborn;
    impl Serialize for Stubborn {
        fn serialize<S: serde::Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    let queue = Queue::new().unwrap();
    let error = Error::from(queue.put(Stubborn).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Encode);
    assert_eq!(queue.len().unwrap(), 0);
}

#[test]
fn an_item_that_cannot_be_decoded_is_skipped_and_told() {
    let queue = Queue::<String>::new().unwrap();
    let other: Queue<Vec<Option<u64>>> =
        procession_core::Message::encode(&queue).unwrap().decode().unwrap();
    other.put(vec![Some(1 << 40)]).unwrap();
    queue.put("good".to_owned()).unwrap();
    let Err(GetError::Failed(error)) = queue.get() else { panic!("it is no text") };
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert_eq!(queue.get().unwrap(), "good");
}

#[test]
fn a_queue_for_no_items_is_refused() {
    assert_eq!(Queue::<u8>::bounded(0).unwrap_err().kind(), ErrorKind::InvalidInput);
}
