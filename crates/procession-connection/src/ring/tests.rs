//! The ring by itself, in plain memory.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use proptest::prelude::*;

use super::*;

impl Words for Box<[AtomicU64]> {
    type Word = AtomicU64;

    fn row(&self, start: usize, len: usize) -> &[AtomicU64] {
        &self[start..start + len]
    }
}

type Plain = Ring<Box<[AtomicU64]>>;

fn ring(size: usize) -> Plain {
    let words: Box<[_]> = (0..words_for(size)).map(|_| AtomicU64::new(0)).collect();
    Ring::create(words, size as u64, 1, true)
}

/// Sends in one go what there is room for.
fn send(ring: &Plain, producer: &mut Producer, parts: [&[u8]; 2]) -> bool {
    let source = Source::new(parts);
    if !producer.has_room(ring, producer.needs(ring, source.len())) {
        return false;
    }
    let (wake, rest) = producer.begin(ring, &source, 0);
    assert_eq!(wake, Wake::No);
    assert!(rest.is_done(), "it is no longer than a quarter");
    true
}

fn recv(ring: &Plain, consumer: &mut Consumer, most: usize) -> Option<Vec<u8>> {
    if consumer.available(ring).unwrap() == 0 {
        return None;
    }
    let mut head = consumer.head(ring).unwrap();
    let mut bytes = vec![0; usize::try_from(head.len).unwrap()];
    loop {
        let taken = usize::try_from(head.taken).unwrap();
        let end = bytes.len().min(taken + most);
        assert_eq!(consumer.take(ring, &mut head, &mut bytes[taken..end]), Wake::No);
        if head.taken == head.len {
            consumer.count(ring);
            return Some(bytes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever goes in comes out, wherever it wraps around, however it is cut.
    #[test]
    fn bytes_come_out_as_they_went_in(
        messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..256), 0usize..11), 1..60),
        most in 8usize..300,
        size in prop::sample::select(vec![128usize, 256]),
    ) {
        let ring = ring(size);
        let mut producer = Producer::of(&ring).unwrap();
        let mut consumer = Consumer::of(&ring).unwrap();
        let mut sent = std::collections::VecDeque::new();
        for (bytes, cut) in messages {
            let (head, body) = bytes.split_at(cut.min(bytes.len()));
            while !send(&ring, &mut producer, [head, body]) {
                let expected = sent.pop_front();
                prop_assert_eq!(recv(&ring, &mut consumer, most), expected);
            }
            sent.push_back(bytes);
        }
        for expected in sent {
            prop_assert_eq!(recv(&ring, &mut consumer, most), Some(expected));
        }
        prop_assert_eq!(recv(&ring, &mut consumer, most), None);
        let (sent, received) = ring.counts();
        prop_assert_eq!(sent, received);
    }

    /// A ring whose words are anything is an error or has messages in it, and nothing else happens.
    #[test]
    fn nonsense_is_an_error(words in prop::collection::vec((0..DATA + 8, any::<u64>()), 1..8)) {
        let ring = ring(8);
        for (at, value) in words {
            ring.words()[at].store(value, Relaxed);
        }
        let count = ring.words().len();
        if let Ok(reopened) = Ring::open(ring.words, count) {
            if let Ok(mut consumer) = Consumer::of(&reopened)
                && consumer.available(&reopened).is_ok_and(|some| some > 0)
                && let Ok(mut head) = consumer.head(&reopened)
            {
                let _wake = consumer.take(&reopened, &mut head, &mut [0; 64]);
            }
            if let Ok(mut producer) = Producer::of(&reopened)
                && producer.has_room(&reopened, 2)
            {
                let _wake = producer.begin(&reopened, &Source::new([b"x", &[]]), 0);
            }
        }
    }
}

#[test]
fn a_writer_that_writes_over_what_was_not_read_is_found_out() {
    let ring = ring(8);
    let mut consumer = Consumer::of(&ring).unwrap();
    ring.at(TAIL).store(9, Release);
    assert_eq!(consumer.available(&ring).unwrap_err().kind(), ErrorKind::Decode);
    ring.at(TAIL).store(1, Release);
    ring.at(DATA).store(u64::MAX, Release);
    assert!(consumer.available(&ring).unwrap() > 0);
    assert_eq!(consumer.head(&ring).unwrap_err().kind(), ErrorKind::Decode);
}

#[test]
fn a_reader_that_was_ahead_of_the_writer_gives_it_no_room() {
    let ring = ring(8);
    let mut producer = Producer::of(&ring).unwrap();
    for _ in 0..4 {
        assert!(send(&ring, &mut producer, [b"x", &[]]));
    }
    ring.at(HEAD).store(1 << 40, Release);
    assert!(!send(&ring, &mut producer, [b"x", &[]]));
}
