//! Models of the ring: every order in which a writer and a reader, as threads, can come and go to sleep.
//!
//! The rings are fenced: what the system's barriers everywhere do, no model here knows. Sleep is a futex as the kernel's: to compare
//! and to fall asleep is one step for those who wake. Whoever sleeps and is woken by nobody is a deadlock, which loom reports.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::sync::Arc;

use ::loom::sync::{Condvar, Mutex};
use ::loom::thread;

use super::*;

const SIZE: usize = 4;

/// A word of the model.
struct ModelWord(model::AtomicU64);

impl words::Word for ModelWord {
    fn load(&self, ordering: Ordering) -> u64 {
        self.0.load(ordering)
    }

    fn store(&self, value: u64, ordering: Ordering) {
        self.0.store(value, ordering);
    }
}

impl Word for ModelWord {
    fn exchange(&self, from: u64, to: u64) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Relaxed).is_ok()
    }
}

impl Words for Box<[ModelWord]> {
    type Word = ModelWord;

    fn row(&self, start: usize, len: usize) -> &[ModelWord] {
        &self[start..start + len]
    }
}

/// A ring, and where its two sides sleep.
struct World {
    ring: Ring<Box<[ModelWord]>>,
    beds: [(Mutex<()>, Condvar); 2],
}

impl World {
    fn new() -> Arc<Self> {
        let words = (0..words_for(SIZE)).map(|_| ModelWord(model::AtomicU64::new(0))).collect();
        let bed = || (Mutex::new(()), Condvar::new());
        Arc::new(Self { ring: Ring::create(words, SIZE as u64, 1, true), beds: [bed(), bed()] })
    }

    fn bed(&self, side: Side) -> &(Mutex<()>, Condvar) {
        &self.beds[usize::from(side == Side::Reader)]
    }

    /// Sleeps until the other side may have done something, unless it `has_changed`.
    fn sleep(&self, side: Side, has_changed: impl Fn() -> bool) {
        self.ring.fall_asleep(side, ON_WORD);
        if !has_changed() {
            let (lock, bell) = self.bed(side);
            let mut guard = lock.lock().unwrap();
            while self.ring.sleep_word(side).load(Relaxed) == ON_WORD {
                guard = bell.wait(guard).unwrap();
            }
        }
        self.ring.wake_up(side);
    }

    fn wake(&self, side: Side, wake: Wake) {
        if wake == Wake::OnWord {
            let (lock, bell) = self.bed(side);
            drop(lock.lock().unwrap());
            bell.notify_one();
        }
    }

    fn send(&self, producer: &mut Producer, bytes: &[u8]) {
        let source = Source::new([bytes, &[]]);
        self.wait_for_room(producer, producer.needs(&self.ring, source.len()));
        self.wait_until_seen(producer, source.len());
        let (wake, mut rest) = producer.begin(&self.ring, &source, 0);
        self.wake(Side::Reader, wake);
        while !rest.is_done() {
            self.wait_for_room(producer, producer.needs_for(&self.ring, &rest));
            let wake = producer.go_on(&self.ring, &source, &mut rest);
            self.wake(Side::Reader, wake);
        }
    }

    fn wait_for_room(&self, producer: &mut Producer, words: u64) {
        while !producer.has_room(&self.ring, words) {
            producer.want(&self.ring, words);
            self.sleep(Side::Writer, || producer.sees_room(&self.ring, words));
        }
    }

    fn wait_until_seen(&self, producer: &Producer, len: u64) {
        while self.ring.streams(len) && !producer.may_stream(&self.ring) {
            self.sleep(Side::Writer, || producer.may_stream(&self.ring));
        }
    }

    fn recv(&self, consumer: &mut Consumer) -> Vec<u8> {
        let mut partial: Option<(Head, Vec<u8>)> = None;
        loop {
            let available = consumer.available(&self.ring).unwrap();
            if let Some((head, _)) = &partial
                && let Some(wake) = consumer.skip_aborted(&self.ring, head).unwrap()
            {
                self.wake(Side::Writer, wake);
                partial = None;
                continue;
            }
            if available > 0 {
                let Some((head, bytes)) = &mut partial else {
                    // It may have been given up: that is looked at first.
                    let head = consumer.head(&self.ring).unwrap();
                    partial = Some((head, vec![0; head.len as usize]));
                    continue;
                };
                let taken = head.taken as usize;
                let wake = consumer.take(&self.ring, head, &mut bytes[taken..]);
                self.wake(Side::Writer, wake);
                if head.taken == head.len {
                    consumer.count(&self.ring);
                    return partial.unwrap().1;
                }
                continue;
            }
            let taking = partial.as_ref().map(|(head, _)| head);
            self.sleep(Side::Reader, || consumer.sees_more(&self.ring, taking));
        }
    }
}

fn explore(model: impl Fn() + Sync + Send + Copy + 'static) {
    let mut builder = ::loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 20_000;
    builder.check(model);
}

/// The writer in a thread of its own, the reader here.
fn with_writer(world: &Arc<World>, write: impl FnOnce(&World, Producer) + 'static) -> Consumer {
    let other = Arc::clone(world);
    let producer = Producer::of(&world.ring).unwrap();
    thread::spawn(move || write(&other, producer));
    Consumer::of(&world.ring).unwrap()
}

#[test]
fn messages_come_whole_and_in_order() {
    explore(|| {
        let world = World::new();
        let mut consumer = with_writer(&world, |world, mut producer| {
            world.send(&mut producer, &[]);
            world.send(&mut producer, b"one");
        });
        assert_eq!(world.recv(&mut consumer), []);
        assert_eq!(world.recv(&mut consumer), *b"one");
        assert_eq!(world.ring.counts(), (2, 2));
    });
}

#[test]
fn a_writer_without_room_is_woken() {
    explore(|| {
        let world = World::new();
        let mut consumer = with_writer(&world, |world, mut producer| {
            for byte in 0..3 {
                world.send(&mut producer, &[byte; 8]);
            }
        });
        for byte in 0..3 {
            assert_eq!(world.recv(&mut consumer), [byte; 8]);
        }
    });
}

#[test]
fn a_message_longer_than_the_ring_streams() {
    const LONG: [u8; 37] = *b"longer than the ring, which is 4 word";
    explore(|| {
        let world = World::new();
        let mut consumer = with_writer(&world, |world, mut producer| {
            world.send(&mut producer, &LONG);
            world.send(&mut producer, b"next");
        });
        assert_eq!(world.recv(&mut consumer), LONG);
        assert_eq!(world.recv(&mut consumer), *b"next");
    });
}

/// Begins a message, and gives it up.
fn begin_and_give_up(world: &World, producer: &mut Producer) {
    let source = Source::new([&[7; 20], &[]]);
    world.wait_for_room(producer, producer.needs(&world.ring, source.len()));
    world.wait_until_seen(producer, source.len());
    let (wake, rest) = producer.begin(&world.ring, &source, 0);
    world.wake(Side::Reader, wake);
    assert!(!rest.is_done());
    let wake = producer.abort(&world.ring, &rest);
    world.wake(Side::Reader, wake);
}

#[test]
fn nothing_is_seen_of_a_message_that_was_given_up() {
    explore(|| {
        let world = World::new();
        let mut consumer = with_writer(&world, |world, mut producer| {
            begin_and_give_up(world, &mut producer);
            // One that streams comes only behind it.
            world.send(&mut producer, &[8; 12]);
        });
        assert_eq!(world.recv(&mut consumer), [8; 12]);
    });
}

#[test]
fn nothing_is_seen_of_messages_that_were_given_up_one_after_the_other() {
    explore(|| {
        let world = World::new();
        let mut consumer = with_writer(&world, |world, mut producer| {
            begin_and_give_up(world, &mut producer);
            begin_and_give_up(world, &mut producer);
            world.send(&mut producer, b"small");
        });
        assert_eq!(world.recv(&mut consumer), *b"small");
    });
}

#[test]
fn who_leaves_is_seen_behind_what_it_sent() {
    explore(|| {
        let world = World::new();
        let mut consumer = with_writer(&world, |world, mut producer| {
            world.send(&mut producer, b"last");
            let wake = world.ring.leave(Side::Writer);
            world.wake(Side::Reader, wake);
        });
        while !world.ring.is_gone(Side::Writer) {
            world.sleep(Side::Reader, || world.ring.is_gone(Side::Writer));
        }
        assert!(consumer.available(&world.ring).unwrap() > 0);
        assert_eq!(world.recv(&mut consumer), *b"last");
    });
}
