//! The ledger: who has begun to put what, who has put it, who is getting, and how often each item was got.
//!
//! A block of shared memory, so that what a member wrote before it was killed is known.

use procession::Result;
use procession_shared::SharedMemory;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::SeqCst;
use serde::{Deserialize, Serialize};

/// Places for putters and getters.
pub(super) const MEMBERS: usize = 8;

/// Where things stand, in words.
const STOP: usize = 0;
const READY: usize = 1;
const BEGUN: usize = 8;
const PUT: usize = 16;
const GETTING: usize = 24;
const GOT: usize = 64;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ledger {
    memory: SharedMemory,
    /// How many items each putter puts at most.
    pub(super) items: usize,
}

/// What is known of the items when all is over.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Those that were put, by putters who knew it.
    pub(super) put: usize,
    pub(super) got: usize,
    /// Those that were put and not got.
    pub(super) missing: usize,
    /// Those whose putters died over them: they may have been put, and were not got.
    pub(super) maybe: usize,
    /// Getters that died while they got something.
    pub(super) hands: usize,
}

impl Ledger {
    pub(super) fn new(putters: usize, items: usize) -> Self {
        let memory = SharedMemory::new((GOT + putters * items) * 8).expect("memory");
        Self { memory, items }
    }

    fn with<T>(&self, word: usize, with: impl FnOnce(&AtomicU64) -> T) -> Result<T> {
        let view = self.memory.view()?;
        Ok(with(view.atomic_u64(word * 8)?))
    }

    fn set(&self, word: usize, value: usize) -> Result<()> {
        self.with(word, |word| word.store(value as u64, SeqCst))
    }

    fn get(&self, word: usize) -> Result<usize> {
        self.with(word, |word| usize::try_from(word.load(SeqCst)).unwrap_or(usize::MAX))
    }

    pub(super) fn say_ready(&self) -> Result<()> {
        self.with(READY, |word| word.fetch_add(1, SeqCst)).map(|_before| ())
    }

    pub(super) fn ready(&self) -> usize {
        self.get(READY).expect("it is there")
    }

    pub(super) fn stop(&self) {
        self.set(STOP, 1).expect("it is there");
    }

    pub(super) fn is_stopped(&self) -> Result<bool> {
        Ok(self.get(STOP)? != 0)
    }

    pub(super) fn begin(&self, putter: usize, item: usize) -> Result<()> {
        self.set(BEGUN + putter, item + 1)
    }

    pub(super) fn was_put(&self, putter: usize, item: usize) -> Result<()> {
        self.set(PUT + putter, item + 1)
    }

    /// What the getter does from now on: getting, or not.
    pub(super) fn is_getting(&self, getter: usize, is_getting: bool) -> Result<()> {
        self.set(GETTING + getter, usize::from(is_getting))
    }

    pub(super) fn was_got(&self, putter: usize, item: usize) -> Result<()> {
        self.with(GOT + putter * self.items + item, |word| word.fetch_add(1, SeqCst))
            .map(|_before| ())
    }

    /// What has become of all items, when nobody does anything any more. `dead` are the getters that were killed.
    pub(super) fn settle(&self, putters: usize, dead: &[usize]) -> Account {
        let get = |word| self.get(word).expect("it is there");
        let mut account = Account::default();
        for putter in 0..putters {
            let (begun, put) = (get(BEGUN + putter), get(PUT + putter));
            assert!(put <= begun && begun <= put + 1, "putter {putter}: {begun}, {put}");
            account.put += put;
            for item in 0..self.items {
                let got = get(GOT + putter * self.items + item);
                assert!(got <= 1, "item {item} of putter {putter} was got {got} times");
                assert!(got == 0 || item < begun, "item {item} of putter {putter} was not put");
                account.got += got;
                account.missing += usize::from(got == 0 && item < put);
                account.maybe += usize::from(got == 0 && item >= put && item < begun);
            }
        }
        account.hands = dead.iter().filter(|getter| get(GETTING + **getter) == 1).count();
        account
    }
}
