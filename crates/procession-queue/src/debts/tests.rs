//! What the dead leave, step by step.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use procession_core::Deadline;
use procession_sys::prim::Ordering::Relaxed;

use super::*;
use crate::attached::{Attached, Got, Put, Taken};
use crate::memory::{CHUNK, Extent, Traits};
use crate::raw::line::{Claim, Ours, Take};

/// A process that there never was.
const DEAD: u16 = 4000;

fn queue() -> Attached {
    Attached::new(Traits::default(), Position::new(0)).unwrap()
}

fn put(queue: &Attached, len: usize) {
    assert_eq!(queue.put(&vec![7; len], len, Deadline::PAST).unwrap(), Put::Done);
}

/// How many bytes the next item has; nothing when there is none.
fn get(queue: &Attached) -> Option<usize> {
    // As a sequence of bytes.
    match queue.get::<Vec<u8>>(Deadline::PAST).unwrap() {
        Got::Item(item) => Some(item.len()),
        Got::Empty | Got::Closed => None,
    }
}

fn put_vec(queue: &Attached, len: usize) {
    let mut bytes = Vec::new();
    drop(procession_core::Message::encode_onto(&mut bytes, &vec![7u8; len]).unwrap());
    assert_eq!(queue.put(&bytes, bytes.len(), Deadline::PAST).unwrap(), Put::Done);
}

fn claim(queue: &Attached) -> Ours<&[AtomicU64]> {
    loop {
        match queue.memory.line().claim(DEAD).unwrap() {
            Claim::Claimed(ours) => return ours,
            Claim::NoSlot(at) => queue.books_now().unwrap().attach(at).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

fn take(queue: &Attached) -> Ours<&[AtomicU64]> {
    match queue.memory.line().take(State::Taken(DEAD), |_| Ok(true)).unwrap() {
        Take::Taken(ours) => ours,
        other => panic!("{other:?}"),
    }
}

fn extents(queue: &Attached) -> Vec<(Extent, Record)> {
    queue.books_now().unwrap().extents().unwrap()
}

fn die(queue: &Attached) {
    note(queue.memory.words(), DEAD);
}

#[test]
fn what_was_being_put_is_passed() {
    let queue = queue();
    let _claimed = claim(&queue);
    put_vec(&queue, 3);
    assert_eq!(get(&queue), None, "it is behind one that is being put");
    die(&queue);
    assert_eq!(get(&queue), Some(3));
    assert_eq!(
        (get(&queue), queue.len().unwrap(), queue.counted(Tally::LOST).unwrap()),
        (None, 0, 0)
    );
}

#[test]
fn what_was_being_got_is_lost_and_counted_once() {
    let queue = queue();
    for len in [3, 1000, 100_000] {
        put_vec(&queue, len);
        take(&queue);
    }
    assert_eq!(queue.counted(Tally::LOST).unwrap(), 0);
    for _ in 0..3 {
        die(&queue);
        assert_eq!((queue.counted(Tally::LOST).unwrap(), queue.len().unwrap()), (3, 0));
    }
    // The span is this process's; the extent is gone.
    assert!(matches!(extents(&queue)[..], [(_, Record::Open { .. })]));
}

#[test]
fn what_was_taken_makes_room_although_nobody_moved_head() {
    let queue =
        Attached::new(Traits { items: Some(1), ..Traits::default() }, Position::new(0)).unwrap();
    put(&queue, 1);
    assert_eq!(queue.put(&[1], 1, Deadline::PAST).unwrap(), Put::Full);
    let slot = queue.books_now().unwrap().slots(0).unwrap().unwrap();
    slot[0].store(Stamp::new(Position::new(0), State::Taken(DEAD)).to_bits(), Release);
    put(&queue, 1);
    assert_eq!(queue.put(&[1], 1, Deadline::PAST).unwrap(), Put::Full);
}

#[test]
fn extents_that_nobody_names_are_freed_and_others_stay() {
    let queue = queue();
    let books = queue.books_now().unwrap();
    let [span, lonely] =
        [0, 1].map(|_| books.take_extent(0, Record::Open { owner: DEAD }).unwrap());
    let [single, other] =
        [0, 1].map(|_| books.take_extent(2, Record::Single { owner: DEAD }).unwrap());
    drop(books);
    for payload in [
        Payload::Span { extent: span, at: 0, len: 100 },
        Payload::Span { extent: span, at: 128, len: 100 },
        Payload::Single { extent: single, len: 200_000 },
    ] {
        let ours = claim(&queue);
        payload.write(ours.slot);
        queue.memory.line().publish(ours);
    }
    for _ in 0..2 {
        die(&queue);
        assert_eq!(queue.len().unwrap(), 3);
        let left = extents(&queue);
        assert_eq!(
            left,
            [(span, Record::Full { items: 2 }), (single, Record::Single { owner: NOBODY })]
        );
        assert!(!left.iter().any(|(extent, _)| [lonely, other].contains(extent)));
    }
    // They go with their items.
    (0..3).for_each(|_| assert!(queue.discard().unwrap()));
    (3..CHUNK).for_each(|_| put(&queue, 1));
    (3..CHUNK).for_each(|_| assert!(queue.discard().unwrap()));
    assert_eq!(extents(&queue), []);
}

#[test]
fn what_a_getter_had_got_is_freed_and_not_lost() {
    let queue = queue();
    put_vec(&queue, 100_000);
    let ours = take(&queue);
    let Payload::Single { extent, .. } = Payload::read(ours.slot) else { panic!("it is large") };
    own(&queue.memory, extent, DEAD).unwrap();
    queue.memory.line().leave(ours, State::Done);
    die(&queue);
    assert_eq!((queue.counted(Tally::LOST).unwrap(), extents(&queue)), (0, vec![]));
}

#[test]
fn a_debt_that_is_noted_again_is_settled_again() {
    let queue = queue();
    die(&queue);
    assert!(are_there(queue.memory.words()));
    assert_eq!(queue.len().unwrap(), 0);
    assert!(!are_there(queue.memory.words()));
    let bits: Vec<_> = queue.memory.words()[DEBTS..DEBTS + DEBT_WORDS].iter().collect();
    assert!(bits.iter().all(|word| word.load(Relaxed) == 0));
    die(&queue);
    assert!(are_there(queue.memory.words()));
}

fn joinable(attempts: u16) -> Attached {
    let traits = Traits { is_joinable: true, attempts: Some(attempts), ..Traits::default() };
    Attached::new(traits, Position::new(0)).unwrap()
}

/// Leases the next item for the dead process, as far as he came: 0 before he wrote down how often it was given back.
fn lease(queue: &Attached, steps: usize) -> (Ours<&[AtomicU64]>, u16) {
    let taken = State::Leased { owner: DEAD, is_odd: false };
    let Got::Item(Taken { ours, .. }) = queue.take(taken, Deadline::PAST).unwrap() else {
        panic!("it is there")
    };
    let State::Leased { is_odd, .. } = Stamp::from_bits(ours.slot[0].load(Acquire)).state else {
        panic!("it is leased")
    };
    let returns = returns(ours.slot, is_odd);
    if steps > 0 {
        write_returns(ours.slot, returns);
    }
    (ours, returns)
}

#[test]
fn what_a_dead_process_had_leased_comes_back_as_often_as_it_may() {
    for len in [1, 1000, 100_000] {
        for steps in 0..2 {
            let queue = joinable(4);
            put_vec(&queue, len);
            for attempt in 0..4 {
                assert_eq!(queue.len().unwrap(), 1);
                let (ours, returns) = lease(&queue, steps);
                assert_eq!(returns, attempt, "{steps}");
                if let Payload::Single { extent, .. } = Payload::read(ours.slot)
                    && attempt % 2 == 0
                {
                    // It was about to be done.
                    own(&queue.memory, extent, DEAD).unwrap();
                }
                die(&queue);
            }
            assert_eq!(queue.len().unwrap(), 0);
            let counts = [Tally::EXHAUSTED, Tally::LOST].map(|tally| queue.counted(tally).unwrap());
            assert_eq!(counts, [1, 0]);
            assert_eq!(queue.join(Deadline::PAST).unwrap(), crate::attached::Joined::Done);
        }
    }
}

#[test]
fn a_settler_that_dies_over_a_lease_is_followed_by_another() {
    let queue = joinable(3);
    put_vec(&queue, 100_000);
    for attempt in 0..2 {
        let (ours, returns) = lease(&queue, 1);
        assert_eq!(returns, attempt);
        // He wrote the number, and no state; or the state, and not that there is something.
        let books = queue.books_now().unwrap();
        let is_odd = attempt % 2 == 1;
        if is_odd {
            give_back(&books, DEAD, ours.position, ours.slot, is_odd).unwrap();
            queue.memory.returned().store(0, Relaxed);
        } else {
            write_returns(ours.slot, returns);
        }
        drop(books);
        die(&queue);
        assert_eq!(queue.len().unwrap(), 1);
    }
    assert_eq!(lease(&queue, 1).1, 2);
}

#[test]
fn what_a_dead_process_got_and_had_not_done_is_lost_and_done() {
    let queue = joinable(3);
    put_vec(&queue, 1);
    put_vec(&queue, 1);
    for _ in 0..2 {
        let Got::Item(Taken { ours, .. }) = queue.take(State::Taken(DEAD), Deadline::PAST).unwrap()
        else {
            panic!("it is there")
        };
        queue.memory.line().leave(ours, State::Held(DEAD));
    }
    assert_eq!(queue.join(Deadline::PAST).unwrap(), crate::attached::Joined::TimedOut);
    die(&queue);
    assert_eq!(queue.join(Deadline::PAST).unwrap(), crate::attached::Joined::Done);
    assert_eq!(queue.counted(Tally::LOST).unwrap(), 2);
}

#[test]
fn bytes_are_right_after_any_death() {
    let traits = Traits { bytes: Some(10), is_joinable: true, ..Traits::default() };
    let queue = Attached::new(traits, Position::new(0)).unwrap();
    let bytes = || queue.books_now().unwrap().bytes().unwrap();
    put(&queue, 4);
    put(&queue, 5);
    assert_eq!(bytes(), 9);
    lease(&queue, 1);
    assert_eq!(bytes(), 5);
    die(&queue);
    assert_eq!(queue.len().unwrap(), 2);
    assert_eq!(bytes(), 9);
    // He died between the slot and the number.
    queue.books_now().unwrap().count_bytes(100, 0).unwrap();
    die(&queue);
    assert_eq!((queue.len().unwrap(), bytes()), (2, 9));
}

#[test]
fn the_end_is_not_there_while_another_may_give_back() {
    let queue = joinable(3);
    put_vec(&queue, 1);
    put_vec(&queue, 1);
    lease(&queue, 1);
    queue.close().unwrap();
    // Who throws away does not wait for that.
    assert!(queue.discard().unwrap());
    assert!(!queue.discard().unwrap());
    assert!(!queue.is_ready().unwrap());
    assert!(matches!(queue.get::<Vec<u8>>(Deadline::PAST).unwrap(), Got::Empty));
    die(&queue);
    assert!(queue.is_ready().unwrap());
    assert!(matches!(queue.get::<Vec<u8>>(Deadline::PAST).unwrap(), Got::Item(_)));
    assert!(queue.is_ready().unwrap());
    assert!(matches!(queue.get::<Vec<u8>>(Deadline::PAST).unwrap(), Got::Closed));
}
