//! A queue as a process has it: mapped once, however many handles there are.
//!
//! `put` and `get` are what their names say, `lease` what an item is until it is done, `join` who waits for that, `patience` how one
//! waits, `watch` how one waits for other things as well, `travel` how a queue goes to other processes.

mod get;
mod join;
mod lease;
mod patience;
mod put;
mod travel;
mod watch;

pub(crate) use get::Got;
#[cfg(all(test, not(loom)))]
pub(crate) use get::Taken;
pub(crate) use join::Joined;
pub(crate) use lease::Hold;
use patience::Rhythm;
pub(crate) use put::Put;
use watch::Watch;

use std::time::Duration;

use procession_core::arena::{Kind, Object, Remains};
use procession_core::family::ProcessId;
use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_sync::Lock;
use procession_sys::before_main;
use procession_sys::prim::Ordering::{Relaxed, SeqCst};
use procession_sys::prim::{AtomicU64, OnceLock};

use crate::books::{Books, Tally};
use crate::debts;
use crate::depot::Depot;
use crate::held;
use crate::memory::{CHUNK, Memory, Traits, getters, joiners, putters};
use crate::raw::line::{Close, Ours};
use crate::raw::stamp::{OWNERS, Position, State};
use crate::spans::{self, Closing};

/// How long the books are waited for at least: a thousand times what anybody needs them for, in case he is not running.
const BOOKS: Duration = Duration::from_millis(100);

static INSTANCES: AtomicU64 = AtomicU64::new(0);

type Slot<'a> = &'a [AtomicU64];

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Attached {
    object: Object,
    lock: Lock,
    pub(crate) memory: Memory,
    depot: Depot,
    /// As whom this process has settled debts before its first claim.
    seen: AtomicU64,
    /// Whether items are taken without books, and done when they are got.
    is_plain: bool,
    watch: OnceLock<Box<Watch>>,
    rhythm: Rhythm,
    /// What names this in this process: not the queue, which may come again while the last handle to it is being dropped.
    instance: u64,
}

impl Attached {
    pub(crate) fn new(traits: Traits, start: Position) -> Result<Self> {
        let (object, memory) = Memory::create(traits, start)?;
        Books::begin(&memory, start)?;
        Ok(Self::of(object, Lock::new()?, memory, Depot::create()?))
    }

    fn of(object: Object, lock: Lock, memory: Memory, depot: Depot) -> Self {
        let is_plain = !memory.traits.is_joinable && memory.traits.bytes.is_none();
        Self {
            object,
            lock,
            memory,
            depot,
            seen: AtomicU64::new(0),
            is_plain,
            watch: OnceLock::new(),
            rhythm: Rhythm::default(),
            // ORDERING: Relaxed: each gets another number.
            instance: INSTANCES.fetch_add(1, Relaxed),
        }
    }

    /// What names the queue in this process.
    pub(crate) fn key(&self) -> u64 {
        u64::from(self.object.generation()) << 32 | u64::from(self.object.number())
    }

    pub(crate) fn traits(&self) -> Traits {
        self.memory.traits
    }

    /// The slot of this process, after the debts of the last one that had it are settled.
    #[inline(always)]
    fn me(&self) -> Result<u16> {
        // ORDERING: Relaxed: the name stands for itself.
        let me = self.object.family().me_word().load(Relaxed);
        match ProcessId::from_bits(me) {
            Some(known) if self.seen.load(Relaxed) == me => Ok(known.slot),
            _ => self.begin(),
        }
    }

    #[cold]
    fn begin(&self) -> Result<u16> {
        let me = self.object.check()?;
        self.memory.take_part()?;
        if me.slot >= OWNERS {
            return Err(Error::new(ErrorKind::TooLarge, "the family is too large for queues"));
        }
        self.settle(Deadline::NEVER)?;
        self.seen.store(me.to_bits(), Relaxed);
        Ok(me.slot)
    }

    /// Opens the books; nothing when somebody else has them until the deadline.
    fn books(&self, deadline: Deadline) -> Result<Option<Books<'_>>> {
        Books::open(&self.memory, &self.lock, deadline)
    }

    /// The same; who does not wait for items or room waits for the books all the same, shortly: whoever has them is quick, or stopped.
    fn books_for(&self, deadline: Deadline) -> Result<Option<Books<'_>>> {
        match deadline == Deadline::PAST {
            true => self.books(Deadline::after(BOOKS)),
            false => self.books(deadline),
        }
    }

    /// Opens the books, however long that takes: those who have them are quick, or stopped.
    pub(crate) fn books_now(&self) -> Result<Books<'_>> {
        let late = || Error::new(ErrorKind::TimedOut, "the books of the queue are not free");
        self.books(Deadline::NEVER)?.ok_or_else(late)
    }

    /// Settles what debts there are; whether there were any.
    fn settle(&self, deadline: Deadline) -> Result<bool> {
        if !debts::are_there(self.memory.words()) {
            return Ok(false);
        }
        let Some(books) = self.books_for(deadline)? else { return Ok(false) };
        debts::settle(&books, &self.depot)?;
        drop(books);
        // What was waited for may be there now, or never be.
        self.ring_for_all();
        Ok(true)
    }

    /// Ends the queue for all.
    pub(crate) fn close(&self) -> Result<()> {
        self.me()?;
        while let Close::NoSlot(at) = self.memory.line().close()? {
            self.books_now()?.attach(at)?;
        }
        self.ring_for_all();
        Ok(())
    }

    fn ring_for_all(&self) {
        for bell in [self.memory.getters(), self.memory.putters(), self.memory.joiners()] {
            bell.ring_for_all();
        }
    }

    /// The item in a slot of ours is done.
    #[inline(always)]
    fn done(&self, ours: Ours<Slot<'_>>) {
        self.memory.line().leave(ours, State::Done);
        if self.memory.traits.is_joinable {
            self.say_done();
        }
        if ours.position.next().bits().is_multiple_of(CHUNK) {
            self.retire();
        }
    }

    /// Takes out of the depot what it has of an item that nobody needs any more.
    fn empty_depot(&self, tag: u64) {
        // What cannot be taken out now is when somebody dies.
        drop(self.depot.remove(tag));
        // ORDERING: SeqCst: before the look at the bell.
        self.memory.depot_room().fetch_add(1, SeqCst);
        self.memory.putters().ring_for_all();
    }

    /// At the end of a chunk. What is not retired now, because somebody else has the books, is at the end of the next.
    #[cold]
    fn retire(&self) {
        if let Ok(Some(books)) = self.books(Deadline::PAST) {
            // The item is there all the same; whoever needs the books next is told.
            drop(books.retire());
        }
    }

    pub(crate) fn is_closed(&self) -> Result<bool> {
        self.me()?;
        self.memory.line().is_closed()
    }

    pub(crate) fn len(&self) -> Result<u64> {
        self.me()?;
        self.settle(Deadline::NEVER)?;
        let fresh = self.memory.line().len()?;
        match self.may_have_returned() {
            true => Ok(fresh + self.books_now()?.returned()?),
            false => Ok(fresh),
        }
    }

    /// How many items nobody gets, as this tally has it.
    pub(crate) fn counted(&self, tally: Tally) -> Result<u64> {
        self.me()?;
        self.settle(Deadline::NEVER)?;
        self.books_now()?.counted(tally)
    }

    pub(crate) fn resident(&self) -> Result<u64> {
        Ok(self.memory.file.resident()?)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.stop_watch();
        // What stays is overwritten when the queue comes again.
        drop(self.forget());
        // Nobody of this process can say any more that what it got is done.
        if let Ok(held) = held::forget(self.instance)
            && !held.is_empty()
        {
            drop(self.lose(held));
        }
        // What cannot be closed now is found when this process has ended.
        if let Ok(closing) = spans::forget(self.instance)
            && !closing.is_empty()
            && let Ok(books) = self.books_now()
        {
            drop(close_spans(&books, closing));
        }
    }
}

fn close_spans(books: &Books<'_>, closing: Vec<Closing>) -> Result<()> {
    closing.into_iter().try_for_each(|Closing { extent, items }| books.close_span(extent, items))
}

fn recover(remains: &Remains) {
    debts::note(remains.words, remains.dead.slot);
}

fn wake(remains: &Remains) {
    for bell in [getters(remains.words), putters(remains.words), joiners(remains.words)] {
        bell.ring_for_all();
    }
}

before_main!(register);

fn register() {
    // What a process has of a queue when it drops its last handle it gives back then.
    Kind::QUEUE.register(recover, wake, |_, _| false);
}
