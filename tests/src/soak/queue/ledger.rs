//! The ledger: shared words in which everybody writes what he is about to do, and what came of it.
//!
//! What a member wrote before it was killed is known. Each has one word, its *note*, which says how far it is with one item, and changes by
//! one store; so a death is between two notes, and leaves at most one item of which nobody knows:
//!
//! | note of a dead getter | what became of its item |
//! |---|---|
//! | idle | it had none |
//! | getting | nothing; or it was in the getter's hand: got, and not written down; or it is lost. If [`lost`](procession_queue::Queue::lost) counts it, it was not in the hand |
//! | got | it was got; in a queue whose getters say when an item is done it is lost, with all others of this getter |
//! | leasing | nothing; or an attempt that nobody wrote down |
//! | has, giving | it came back, once |
//! | ending | it is done, or came back; in a queue without leases it is done, or lost |
//!
//! The [`account`](super::account) says what follows for all of them together.

use std::os::fd::OwnedFd;

use procession::{Handle, Result};
use procession_sys::fd;
use procession_sys::memory::SharedWords;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::SeqCst;
use serde::{Deserialize, Serialize};

/// Places for putters, and for getters.
pub(super) const MEMBERS: usize = 4;

/// Where things stand, in words.
const STOP: usize = 0;
const READY: usize = 1;
const JOINED: usize = 2;
const FINAL: usize = 3;
const BEGUN: usize = 8;
const PUT: usize = 16;
const NOTES: usize = 24;
const GOT: usize = 32;
const ITEMS: usize = 64;

/// An item's word: in which attempts it was seen (bits 0 to 47), and how often it was got or done (48 to 63).
const ONCE: u64 = 1 << 48;

/// How far a getter is with an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Idle,
    Getting,
    /// It has it for good.
    Got,
    /// It has a lease.
    Has,
    Giving,
    /// It says that the item is done.
    Ending,
}

/// What a getter wrote last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) step: Step,
    /// How many items it has got and not called done.
    pub(super) held: u64,
    /// Of the lease.
    pub(super) attempt: u64,
    pub(super) item: Option<usize>,
}

impl Note {
    pub(super) fn of(step: Step, held: u64) -> Self {
        Self { step, held, attempt: 0, item: None }
    }

    fn to_bits(self) -> u64 {
        let item = self.item.map_or(0, |item| item as u64 + 1);
        (self.step as u64) << 60 | self.held << 52 | self.attempt << 36 | item
    }

    fn from_bits(bits: u64) -> Self {
        let step = match bits >> 60 {
            0 => Step::Idle,
            1 => Step::Getting,
            2 => Step::Got,
            3 => Step::Has,
            4 => Step::Giving,
            _ => Step::Ending,
        };
        let item = small(bits & ((1 << 36) - 1)).checked_sub(1);
        Self { step, held: bits >> 52 & 0xff, attempt: bits >> 36 & 0xffff, item }
    }
}

#[derive(Debug)]
pub(super) struct Ledger {
    words: SharedWords,
    /// How many items each putter puts at most.
    pub(super) items: usize,
}

/// The same, on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sent(Handle<OwnedFd>, usize);

pub(super) fn small(number: u64) -> usize {
    usize::try_from(number).expect("a small number")
}

impl Ledger {
    pub(super) fn new(items: usize) -> Self {
        let words = SharedWords::create(ITEMS + MEMBERS * items).expect("memory");
        Self { words, items }
    }

    pub(super) fn send(&self) -> Sent {
        Sent(Handle(fd::duplicate(&self.words).expect("a descriptor")), self.items)
    }

    pub(super) fn open(Sent(words, items): Sent) -> Result<Self> {
        Ok(Self { words: SharedWords::open(words.into_inner())?, items })
    }

    fn get(&self, word: usize) -> usize {
        small(self.words.word(word).load(SeqCst))
    }

    fn set(&self, word: usize, value: usize) {
        self.words.word(word).store(value as u64, SeqCst);
    }

    fn add(&self, word: usize) {
        self.words.word(word).fetch_add(1, SeqCst);
    }

    pub(super) fn say_ready(&self) {
        self.add(READY);
    }

    pub(super) fn ready(&self) -> usize {
        self.get(READY)
    }

    /// Putters put no more.
    pub(super) fn stop(&self) {
        self.set(STOP, 1);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.get(STOP) != 0
    }

    /// Whoever waits for all items waits once more.
    pub(super) fn end(&self) {
        self.set(FINAL, 1);
    }

    pub(super) fn is_ended(&self) -> bool {
        self.get(FINAL) != 0
    }

    pub(super) fn say_joined(&self) {
        self.add(JOINED);
    }

    pub(super) fn joined(&self) -> usize {
        self.get(JOINED)
    }

    /// What names an item of a putter.
    pub(super) fn item(&self, putter: usize, number: usize) -> usize {
        assert!(putter < MEMBERS && number < self.items, "there is no item {number} of {putter}");
        putter * self.items + number
    }

    pub(super) fn begin(&self, putter: usize, number: usize) {
        self.set(BEGUN + putter, number + 1);
    }

    /// How many items a putter has begun to put.
    pub(super) fn begun(&self, putter: usize) -> usize {
        self.get(BEGUN + putter)
    }

    pub(super) fn was_put(&self, putter: usize, number: usize) {
        self.set(PUT + putter, number + 1);
    }

    /// How many items a putter has put, and knew it.
    pub(super) fn put(&self, putter: usize) -> usize {
        self.get(PUT + putter)
    }

    pub(super) fn write(&self, getter: usize, note: Note) {
        self.words.word(NOTES + getter).store(note.to_bits(), SeqCst);
    }

    pub(super) fn note(&self, getter: usize) -> Note {
        Note::from_bits(self.words.word(NOTES + getter).load(SeqCst))
    }

    /// A getter has got something.
    pub(super) fn say_got(&self, getter: usize) {
        self.add(GOT + getter);
    }

    /// How much a getter has got.
    pub(super) fn got(&self, getter: usize) -> usize {
        self.get(GOT + getter)
    }

    fn word(&self, item: usize) -> &AtomicU64 {
        self.words.word(ITEMS + item)
    }

    /// An item was got, or is done.
    pub(super) fn is_done(&self, item: usize) {
        let before = self.word(item).fetch_add(ONCE, SeqCst);
        assert!(before < ONCE, "item {item} once more: {before:x}");
    }

    /// The same, of a getter that may have died before it did that, or after.
    pub(super) fn was_done(&self, item: usize) {
        let before = self.word(item).fetch_or(ONCE, SeqCst);
        assert!(before < 2 * ONCE, "item {item} once more: {before:x}");
    }

    /// An item was leased: no attempt comes twice, and none after a later one.
    pub(super) fn was_seen(&self, item: usize, attempt: u64) {
        assert!((1..=48).contains(&attempt), "attempt {attempt} at item {item}");
        let before = self.word(item).fetch_or(1 << (attempt - 1), SeqCst);
        let is_next = before >> (attempt - 1) == 0;
        assert!(is_next, "attempt {attempt} at item {item} after {before:b}, or when it was done");
    }

    /// The same, of a getter that may have died before it did that, or after.
    pub(super) fn may_have_seen(&self, item: usize, attempt: u64) {
        self.word(item).fetch_or(1 << (attempt - 1), SeqCst);
    }

    /// In which attempts an item was seen, and how often it was got, or done.
    pub(super) fn fate(&self, item: usize) -> (u64, u64) {
        let word = self.word(item).load(SeqCst);
        (word & (ONCE - 1), word / ONCE)
    }
}
