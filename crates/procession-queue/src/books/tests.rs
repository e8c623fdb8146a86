//! Books whose holder died over them.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use super::*;
use crate::attached::{Attached, Put};
use crate::memory::{CLASSES, Traits, USED_AT};

fn queue() -> Attached {
    Attached::new(Traits::default(), Position::new(0)).unwrap()
}

fn put(queue: &Attached, len: usize) {
    assert_eq!(queue.put(&vec![7; len], len, Deadline::PAST).unwrap(), Put::Done);
}

/// All that the bits say is used.
fn used(books: &Books<'_>) -> Vec<u64> {
    let rows = (0..=u64::from(CLASSES)).map(|kind| USED_AT + kind * (CHUNKS / 8));
    rows.map(|row| books.memory.rows(row, 1).unwrap()[0].load(Relaxed)).collect()
}

#[test]
fn records_survive_their_words() {
    let records = [
        Record::Free,
        Record::Open { owner: 4095 },
        Record::Full { items: 1365 },
        Record::Single { owner: NOBODY },
    ];
    for record in records {
        assert_eq!(Record::from_bits(record.to_bits()), record);
    }
}

#[test]
fn a_retirement_is_repeated_from_wherever_it_ended() {
    for steps in 0..4 {
        let queue = queue();
        let owner = 4000;
        let span = {
            let books = queue.books_now().unwrap();
            books.take_extent(0, Record::Open { owner }).unwrap()
        };
        // A chunk of items of the span, all done.
        for position in 0..CHUNK {
            put(&queue, 1);
            let slot = (&queue.memory).slot(Position::new(position)).unwrap().unwrap();
            Payload::Span { extent: span, at: 0, len: 100 }.write(slot);
            slot[0].store(Stamp::new(Position::new(position), State::Done).to_bits(), Release);
        }
        let books = queue.books_now().unwrap();
        books.set(RETIRING, 1).unwrap();
        match steps {
            0 => {}
            // Counted, and no further.
            1 => books.release(span, 256, 0).unwrap(),
            2 => {
                books.retire_one(0).unwrap();
                books.set(LOW, 0).unwrap();
            }
            _ => books.retire_one(0).unwrap(),
        }
        books.mend().unwrap();
        assert_eq!((books.get(LOW).unwrap(), books.get(RETIRING).unwrap()), (1, 0));
        assert_eq!(books.released(span).unwrap(), 256);
        assert!(books.slots(0).unwrap().is_none());
        books.close_span(span, 256).unwrap();
        assert_eq!(books.extents().unwrap(), []);
        assert!(used(&books).iter().all(|word| *word == 0));
    }
}

#[test]
fn a_loss_is_counted_once_wherever_its_counting_ended() {
    for (steps, tally) in (0..10).map(|n| (n / 2, [Tally::LOST, Tally::EXHAUSTED][n % 2])) {
        let Tally(total) = tally;
        let queue = queue();
        put(&queue, 1);
        let at = Position::new(0);
        let books = queue.books_now().unwrap();
        let slot = (&queue.memory).slot(at).unwrap().unwrap();
        slot[0].store(Stamp::new(at, State::Taken(4000)).to_bits(), Release);
        books.set(total, 5).unwrap();
        let lose = || slot[0].store(Stamp::new(at, State::Done).to_bits(), Release);
        if steps > 0 {
            books.set(total + 2, 5).unwrap();
        }
        if steps > 1 {
            books.set(total + 1, 1).unwrap();
        }
        if steps > 2 {
            lose();
        }
        if steps > 3 {
            books.set(total, 6).unwrap();
        }
        books.mend().unwrap();
        if Stamp::from_bits(slot[0].load(Acquire)).state != State::Done {
            books.count(tally, at, lose).unwrap();
        }
        assert_eq!(
            (books.counted(tally).unwrap(), books.get(total + 1).unwrap()),
            (6, 0),
            "{steps}"
        );
        books.mend().unwrap();
        assert_eq!(books.counted(tally).unwrap(), 6);
    }
}

#[test]
fn who_dies_over_a_loss_has_written_down_which() {
    let queue = queue();
    put(&queue, 1);
    let at = Position::new(0);
    let slot = (&queue.memory).slot(at).unwrap().unwrap();
    slot[0].store(Stamp::new(at, State::Taken(4000)).to_bits(), Release);
    let books = queue.books_now().unwrap();
    let die = || {
        books.count(Tally::LOST, at, || {
            slot[0].store(Stamp::new(at, State::Done).to_bits(), Release);
            panic!("it dies here");
        })
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(die)).unwrap_err();
    assert_eq!(books.counted(Tally::LOST).unwrap(), 0);
    books.mend().unwrap();
    assert_eq!(books.counted(Tally::LOST).unwrap(), 1);
}

#[test]
fn bits_are_made_anew() {
    let queue = queue();
    for len in [1, 1000, 100_000, 1_000_000] {
        put(&queue, len);
    }
    let books = queue.books_now().unwrap();
    let before = used(&books);
    assert!(before.iter().filter(|word| **word == 1).count() == 4, "{before:?}");
    for kind in [0, 1, 2, 5] {
        let row = USED_AT + kind * (CHUNKS / 8);
        books.memory.rows(row, 1).unwrap()[0].store(0b10 | kind, Relaxed);
    }
    // As after one that died with an extent that it had not recorded.
    books.take_bit(1).unwrap();
    books.mend().unwrap();
    assert_eq!(used(&books), before);
}

#[test]
fn a_chunk_that_was_counted_and_not_named_is_attached() {
    let queue = queue();
    let books = queue.books_now().unwrap();
    books.set(NEXT, 1).unwrap();
    books.mend().unwrap();
    books.attach(Position::new(0)).unwrap();
    assert!(books.slots(0).unwrap().is_some());
    assert_eq!(books.get(NEXT).unwrap(), 1);
    drop(books);
    put(&queue, 1);
    assert_eq!(queue.len().unwrap(), 1);
}

#[test]
fn classes_are_as_small_as_can_be() {
    for (len, class) in [(1, 0), (65_536, 0), (65_537, 1), (1 << 31, 15)] {
        assert_eq!(Extent::class_for(len), Some(class));
    }
    assert_eq!(Extent::class_for((1 << 31) + 1), None);
}
