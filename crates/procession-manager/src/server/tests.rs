//! What a server knows, without anybody to tell it to.

use std::time::{Duration, Instant};

use super::limits::Limits;
use super::state::{Outcome, State};
use crate::custom::Table;
use crate::wire::{ANSWER_HEAD, Reader, Write, kind, op, status};

fn frame(call: u64, object: u64, operation: u8, arguments: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_u64(call);
    frame.put_u64(object);
    frame.put_u8(operation);
    frame.extend_from_slice(arguments);
    frame
}

/// Asks for something, and returns the status and what is told.
fn ask(
    state: &mut State,
    session: u64,
    object: u64,
    operation: u8,
    arguments: &[u8],
) -> (u8, Vec<u8>) {
    let mut out = Vec::new();
    let outcome = state.handle(session, &frame(1, object, operation, arguments), &mut out);
    assert!(outcome.others.is_empty() && out.len() >= ANSWER_HEAD, "{outcome:?} {out:?}");
    (out[ANSWER_HEAD - 1], out.split_off(ANSWER_HEAD))
}

fn create(state: &mut State, session: u64, kind: u8, arguments: &[u8]) -> u64 {
    let arguments = [&[kind][..], &7u64.to_le_bytes(), arguments].concat();
    let (status, told) = ask(state, session, 0, op::CREATE, &arguments);
    assert_eq!(status, status::DONE);
    Reader(&told).u64().unwrap()
}

fn count(state: &mut State, session: u64) -> u64 {
    Reader(&ask(state, session, 0, op::COUNT, &[]).1).u64().unwrap()
}

fn item(bytes: &[u8], mentions: &[u64]) -> Vec<u8> {
    let mut item = Vec::new();
    item.put_item(bytes, mentions).unwrap();
    item
}

#[test]
fn what_a_session_held_goes_when_it_ends() {
    let mut state = State::new(Limits::default(), Table::default());
    let (one, two) = (state.begin_session("one".into()), state.begin_session("two".into()));
    let list = create(&mut state, one, kind::LIST, &[0; 4]);
    let inner = create(&mut state, one, kind::EVENT, &[]);
    assert_eq!(ask(&mut state, one, list, op::PUSH, &item(b"x", &[inner])).0, status::DONE);
    let claim = [[0; 16], [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    assert_eq!(ask(&mut state, two, list, op::CLAIM, &claim).0, status::DONE);
    drop(state.end_session(one));
    // The list is two's, and has the event.
    assert_eq!(count(&mut state, two), 2);
    drop(state.end_session(two));
    let three = state.begin_session("three".into());
    assert_eq!(count(&mut state, three), 0);
}

#[test]
fn a_lock_goes_to_who_waits_when_its_session_ends() {
    let mut state = State::new(Limits::default(), Table::default());
    let (one, two) = (state.begin_session("one".into()), state.begin_session("two".into()));
    let lock = create(&mut state, one, kind::LOCK, &[0]);
    let mut acquire = 0u64.to_le_bytes().to_vec();
    acquire.put_u64(u64::MAX);
    assert_eq!(ask(&mut state, one, lock, op::ACQUIRE, &acquire).0, status::DONE);
    let mut out = Vec::new();
    let publish = [4u32.to_le_bytes(), *b"lock"].concat();
    assert_eq!(ask(&mut state, one, lock, op::PUBLISH, &publish).0, status::DONE);
    drop(state.handle(two, &frame(9, lock, op::ACQUIRE, &acquire), &mut out));
    assert!(out.is_empty());
    let Outcome { others, .. } = state.end_session(one);
    let answer = [&9u64.to_le_bytes()[..], &[status::OWNER_DIED]].concat();
    assert_eq!(others, [(two, answer)]);
}

#[test]
fn a_wait_ends_when_its_time_is_up_and_its_timer_is_forgotten() {
    let mut state = State::new(Limits::default(), Table::default());
    let one = state.begin_session("one".into());
    let event = create(&mut state, one, kind::EVENT, &[]);
    let hour = u64::try_from(Duration::from_secs(3600).as_nanos()).unwrap().to_le_bytes();
    let mut out = Vec::new();
    let outcome = state.handle(one, &frame(5, event, op::WAIT, &hour), &mut out);
    assert!(outcome.sooner && out.is_empty());
    let (outcome, next) = state.expire(Instant::now());
    assert!(outcome.others.is_empty() && next.is_some());
    let (outcome, next) = state.expire(Instant::now() + Duration::from_secs(3601));
    assert_eq!((outcome.others.len(), next), (1, None));
    assert_eq!(outcome.others[0].1[ANSWER_HEAD - 1], status::TIMED_OUT);

    // Waits that were answered leave no timers behind.
    for call in 10..5000 {
        out.clear();
        drop(state.handle(one, &frame(call, event, op::WAIT, &hour), &mut out));
        drop(state.handle(one, &frame(0, event, op::SET, &[]), &mut out));
        drop(state.handle(one, &frame(0, event, op::CLEAR, &[]), &mut out));
    }
    assert!(state.timer_count() < 2000, "{}", state.timer_count());
}

/// A generator of numbers, the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.next(256)).unwrap()
    }
}

#[test]
fn anything_at_all_is_answered_and_leaves_nothing() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let limits = Limits { objects: 50, bytes: 100_000, ..Limits::default() };
    for _ in 0..200 {
        let mut state = State::new(limits, Table::default());
        let sessions = [state.begin_session("one".into()), state.begin_session("two".into())];
        for session in sessions {
            for kind in kind::MAP..=kind::QUEUE {
                let arguments: &[u8] = match kind {
                    kind::BARRIER => &[2, 0, 0, 0],
                    kind::SEMAPHORE => &[1, 0, 0, 0, 0],
                    kind::MAP | kind::LIST => &[0; 4],
                    _ => &[0; 8],
                };
                create(&mut state, session, kind, arguments);
            }
        }
        for call in 1..300 {
            let session = sessions[usize::try_from(numbers.next(2)).unwrap()];
            let object = numbers.next(20);
            let operation = u8::try_from(numbers.next(110)).unwrap();
            // Small numbers, mostly: they are lengths, counts and flags.
            let arguments: Vec<u8> = (0..numbers.next(60))
                .map(|_| if numbers.next(3) == 0 { numbers.byte() } else { 0 })
                .collect();
            let mut out = Vec::new();
            let outcome =
                state.handle(session, &frame(call, object, operation, &arguments), &mut out);
            assert!(out.is_empty() || out[..8] == call.to_le_bytes());
            for (_, frame) in outcome.others {
                assert!(frame.len() >= ANSWER_HEAD);
            }
        }
        let (_, _) = state.expire(Instant::now() + Duration::from_secs(100_000_000));
        for session in sessions {
            drop(state.end_session(session));
        }
        let (_, _) = state.expire(Instant::now() + Duration::from_secs(100_000_000));
        let last = state.begin_session("last".into());
        state.forget_names();
        assert_eq!((count(&mut state, last), state.used_bytes()), (0, 0));
    }
}

#[test]
fn what_is_cut_short_is_an_error() {
    let mut state = State::new(Limits::default(), Table::default());
    let one = state.begin_session("one".into());
    let map = create(&mut state, one, kind::MAP, &[0; 4]);
    let whole = [item(b"key", &[]), item(b"value", &[])].concat();
    for len in 0..whole.len() {
        assert_eq!(ask(&mut state, one, map, op::INSERT, &whole[..len]).0, status::FAILED, "{len}");
    }
    assert_eq!(ask(&mut state, one, map, op::INSERT, &whole).0, status::DONE);
    let missing = [item(b"key", &[]), item(b"value", &[99])].concat();
    assert_eq!(ask(&mut state, one, map, op::INSERT, &missing).0, status::FAILED);
    let mut out = Vec::new();
    drop(state.handle(one, &[1, 2, 3], &mut out));
    assert!(out.is_empty());
}
