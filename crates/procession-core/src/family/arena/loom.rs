//! Models of the arena: every order in which processes, as threads, can receive, drop and make objects.
//!
//! As in `family/loom.rs`. The ticket of a message is a word that is one until it is closed, which is the last thing that a receiver
//! does, or a death.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::sync::Arc;

use loom::thread;
use procession_sys::prim::Ordering::{Acquire, Release};
use procession_sys::prim::model;

use super::super::loom::{Loads, ModelWord, explore};
use super::super::stamp::ProcessId;
use super::super::table::{Entry, Origin, Size, Table};
use super::super::words::{Word, Words};
use super::header::{Header, State};
use super::heap::{Extent, Heap, Hold, LINK};

const SIZE: Size = Size { slots: 3, hold_words: 1 };
const EXTENT: Extent = Extent { chunks: 1, chunk: 2 };
const KIND: u8 = 5;

/// A family of three with an arena of two places.
struct World {
    table: Table<Box<[ModelWord]>>,
    ticket: model::AtomicU64,
}

fn process(slot: u16) -> ProcessId {
    ProcessId { slot, generation: 0 }
}

impl World {
    fn new(loads: Loads) -> Self {
        let words = (0..SIZE.words() + EXTENT.words()).map(|_| ModelWord::new(loads)).collect();
        let origin = Origin { namespaces: 1, root: [1, 1, 1] };
        let world =
            Self { table: Table::create(words, SIZE, origin), ticket: model::AtomicU64::new(0) };
        for slot in 0..SIZE.slots {
            let pid = u32::from(slot) + 1;
            let id = world.table.arrive_unasked(pid, None).unwrap();
            assert!(world.table.go_live(id, Entry { pid, birth: 7 }));
        }
        world
    }

    fn heap(&self) -> Heap<'_, Box<[ModelWord]>> {
        Heap { table: &self.table, base: SIZE.words(), extent: EXTENT }
    }

    /// Makes an object, as `me`.
    fn make(&self, me: ProcessId) -> (u32, u32) {
        self.try_make(me).unwrap()
    }

    fn try_make(&self, me: ProcessId) -> Option<(u32, u32)> {
        let (number, generation) = self.heap().claim(me, 0, &mut 0, |_| true)?;
        self.heap().clear(number, 0);
        self.heap().publish(number, generation, me.slot, 0, KIND);
        Some((number, generation))
    }

    /// Makes an object and its extension, as `me`, who has no handle to that any more.
    fn make_extended(&self, me: ProcessId) -> [(u32, u32); 2] {
        let [parent, extension] = [self.make(me), self.make(me)];
        let link = self.table.words().at(self.heap().first_word(parent.0) + LINK);
        link.store(u64::from(extension.0) + 1, Release);
        self.table.release(me, extension.0);
        [parent, extension]
    }

    /// Puts the object into the one message that there is. Claimed first, so that whoever finds the note finds the claim as well.
    fn send(&self, number: u32) {
        self.ticket.store(1, Release);
        self.heap().note_sent(number);
    }

    /// As `Object::notice_lost_messages`.
    fn notice_lost_messages(&self, number: u32) -> bool {
        let notes = self.heap().notes(number);
        notes.is_out() && self.ticket.load(Acquire) == 0 && self.heap().note_gone(number, notes)
    }

    /// What is done when the last handle of `me` is dropped; tells whether the object went.
    fn drop_last(&self, me: ProcessId, number: u32) -> bool {
        self.table.release(me, number);
        self.free_if_unheld(number)
    }

    fn free_if_unheld(&self, number: u32) -> bool {
        match self.heap().look(number) {
            Hold::Held => false,
            Hold::Out(_) if self.ticket.load(Acquire) == 1 => false,
            Hold::Out(seen) | Hold::Unheld(seen) => self.heap().free(number, seen),
        }
    }

    /// As [`free_if_unheld`](Self::free_if_unheld), for what belongs to a parent as long as that is there.
    fn free_extension_if_unheld(&self, parent: (u32, u32), number: u32) {
        if let Hold::Unheld(seen) = self.heap().look(number)
            && !self.is_live(parent.0, parent.1)
        {
            self.heap().free(number, seen);
        }
    }

    fn is_live(&self, number: u32, generation: u32) -> bool {
        let header = self.heap().header(number).unwrap();
        matches!(header.state, State::Live { .. }) && header.generation == generation
    }
}

#[test]
fn who_receives_has_it_whenever_the_sender_drops_it() {
    explore(3, |loads| {
        let world = Arc::new(World::new(loads));
        let (number, generation) = world.make(process(0));
        world.send(number);
        let there = Arc::clone(&world);
        let receiver = thread::spawn(move || {
            assert!(there.heap().receive(process(1), number, generation));
            // Decoded: the ticket is closed.
            there.ticket.store(0, Release);
        });
        let has_gone = world.drop_last(process(0), number);
        receiver.join().unwrap();
        assert!(!has_gone && world.is_live(number, generation));
        assert!(world.drop_last(process(1), number), "the last handle takes it along");
    });
}

#[test]
fn one_of_two_who_drop_the_last_handles_frees_it() {
    explore(3, |loads| {
        let world = Arc::new(World::new(loads));
        let (number, generation) = world.make(process(0));
        assert!(world.heap().receive(process(1), number, generation));
        let there = Arc::clone(&world);
        // It was never sent, so that there is no ticket to ask for.
        world.heap().note_sent(number);
        let other = thread::spawn(move || there.drop_last(process(1), number));
        let here = world.drop_last(process(0), number);
        let there = other.join().unwrap();
        assert!(here ^ there, "{here} {there}");
        let free = Header { state: State::Free, generation: generation + 1 };
        assert_eq!(world.heap().header(number), Some(free));
    });
}

#[test]
fn a_message_that_is_destroyed_while_the_sender_drops_leaves_nothing_for_long() {
    explore(3, |loads| {
        let world = Arc::new(World::new(loads));
        let (number, generation) = world.make(process(0));
        world.send(number);
        let there = Arc::clone(&world);
        let system = thread::spawn(move || there.ticket.store(0, Release));
        let has_gone = world.drop_last(process(0), number);
        system.join().unwrap();
        assert!(has_gone || world.is_live(number, generation));
        // Who needs room looks again.
        assert_ne!(has_gone, world.free_if_unheld(number));
    });
}

#[test]
fn two_who_claim_get_two_places() {
    explore(3, |loads| {
        let world = Arc::new(World::new(loads));
        let there = Arc::clone(&world);
        let other = thread::spawn(move || there.make(process(1)));
        let here = world.make(process(0));
        let there = other.join().unwrap();
        assert_ne!(here.0, there.0);
        assert!(
            world.table.is_held_by(process(0), here.0)
                && !world.table.is_held_by(process(0), there.0)
        );
        assert!(world.heap().claim(process(2), 0, &mut 0, |_| true).is_none());
    });
}

#[test]
fn what_a_dead_process_had_claimed_is_another_s() {
    explore(3, |loads| {
        let world = Arc::new(World::new(loads));
        let there = Arc::clone(&world);
        // It dies over it; its recoverer is told by the system.
        let maker = thread::spawn(move || there.heap().claim(process(1), 0, &mut 0, |_| true));
        let (here, _) = world.make(process(0));
        let (number, generation) = maker.join().unwrap().unwrap();
        assert_ne!(here, number);
        assert!(world.heap().unclaim(number, generation, 1));
        world.table.release(process(1), number);
        assert_eq!(world.make(process(2)), (number, generation + 1));
    });
}

#[test]
fn a_place_that_is_used_again_is_not_what_it_was() {
    explore(3, |loads| {
        let world = Arc::new(World::new(loads));
        let (number, generation) = world.make(process(0));
        let there = Arc::clone(&world);
        // Nothing protects this one: a message of a hostile process.
        let hostile = thread::spawn(move || there.heap().receive(process(1), number, generation));
        let has_gone = world.drop_last(process(0), number);
        let has_received = hostile.join().unwrap();
        assert_ne!(has_gone, has_received, "either it was there, or it was not");
        assert_eq!(world.table.is_held_by(process(1), number), has_received);
    });
}

#[test]
fn an_extension_goes_with_its_parent_and_nothing_else_does() {
    explore(3, |loads| {
        let world = Arc::new(World::new(loads));
        let [parent, extension] = world.make_extended(process(0));
        let there = Arc::clone(&world);
        let other = thread::spawn(move || assert!(there.drop_last(process(0), parent.0)));
        // Meanwhile somebody collects what belongs to nobody, and makes what it has room for.
        world.free_extension_if_unheld(parent, extension.0);
        let made: Vec<_> = (0..2).filter_map(|_| world.try_make(process(1))).collect();
        other.join().unwrap();
        assert!(made.iter().all(|(number, generation)| world.is_live(*number, *generation)));
        assert!(!world.is_live(extension.0, extension.1));
    });
}

#[test]
fn an_extension_stays_as_long_as_a_dead_process_holds_it() {
    explore(3, |loads| {
        let world = Arc::new(World::new(loads));
        let [parent, extension] = world.make_extended(process(0));
        // It died between the link and the drop, over a handle of its own.
        world.table.hold(process(2), extension.0);
        let there = Arc::clone(&world);
        let other = thread::spawn(move || assert!(there.drop_last(process(0), parent.0)));
        let made = world.try_make(process(1));
        assert!(made.is_none_or(|(number, _)| !world.table.is_held_by(process(2), number)));
        // Its recoverer: what belongs to no parent goes.
        world.table.release(process(2), extension.0);
        world.free_extension_if_unheld(parent, extension.0);
        other.join().unwrap();
        assert!(!world.is_live(extension.0, extension.1));
    });
}

#[test]
fn who_loses_a_place_to_another_keeps_it_from_nothing() {
    explore(3, |loads| {
        let world = Arc::new(World::new(loads));
        let there = Arc::clone(&world);
        let other = thread::spawn(move || there.make(process(1)));
        let (number, generation) = world.make(process(0));
        world.drop_last(process(0), number);
        let theirs = other.join().unwrap();
        assert!(!world.is_live(number, generation));
        assert!(world.is_live(theirs.0, theirs.1));
    });
}

#[test]
fn a_message_that_is_on_its_way_is_not_taken_for_lost() {
    explore(3, |loads| {
        let world = Arc::new(World::new(loads));
        let (number, generation) = world.make(process(0));
        world.table.hold(process(1), number);
        let there = Arc::clone(&world);
        let waiter = thread::spawn(move || {
            assert!(!there.notice_lost_messages(number));
            there.drop_last(process(1), number);
        });
        world.send(number);
        world.drop_last(process(0), number);
        waiter.join().unwrap();
        assert!(world.heap().receive(process(2), number, generation));
    });
}

#[test]
fn a_message_that_is_lost_is_noticed_once() {
    explore(3, |loads| {
        let world = Arc::new(World::new(loads));
        let (number, generation) = world.make(process(0));
        world.send(number);
        let there = Arc::clone(&world);
        let other = thread::spawn(move || there.notice_lost_messages(number));
        world.ticket.store(0, Release);
        let here = world.notice_lost_messages(number);
        let there = other.join().unwrap();
        assert!(here ^ there);
        assert!(world.heap().notes(number).was_lost && world.is_live(number, generation));
    });
}
