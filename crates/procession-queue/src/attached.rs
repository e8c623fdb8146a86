//! A queue as a process has it: mapped once, however many handles there are. Puts and gets bytes.

mod travel;

use std::time::Duration;

use procession_core::arena::{Kind, Object, Remains};
use procession_core::codec::{BlockBuilder, block_target};
use procession_core::family::ProcessId;
use procession_core::waiting::{Slept, Spin, Wait};
use procession_core::{Deadline, Error, ErrorKind, Message, Result};
use procession_sync::Lock;
use procession_sys::before_main;
use procession_sys::block::SharedBytes;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;
use serde::de::DeserializeOwned;

use crate::books::{Books, Record, own};
use crate::debts;
use crate::memory::{CHUNK, Extent, Memory, getters, putters};
use crate::payload::{INLINE, Payload, read_inline, write_inline};
use crate::raw::bell::Bell;
use crate::raw::line::{Claim, Close, Ours, Take};
use crate::raw::stamp::{OWNERS, Position};
use crate::spans::{self, Closing};

/// The longest item that goes into a span: a quarter of one, so that little is left over.
const SPAN_MOST: u64 = 16 << 10;

/// From so many bytes on an item that is a block of bytes is read to where it will lie.
const BLOCK: u64 = 1024;

/// How long the books are waited for at least: a thousand times what anybody needs them for, in case he is not running.
const BOOKS: Duration = Duration::from_millis(100);

type Slot<'a> = &'a [AtomicU64];

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Attached {
    object: Object,
    lock: Lock,
    pub(crate) memory: Memory,
    /// As whom this process has settled debts before its first claim.
    seen: AtomicU64,
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    Done,
    /// There was no room until the deadline.
    Full,
    Closed,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Got<T> {
    Item(T),
    /// Nothing until the deadline.
    Empty,
    Closed,
}

/// How a wait ended.
enum Waited {
    Look,
    TimedOut,
    /// Nobody is left who could end it.
    Alone,
}

impl Attached {
    pub(crate) fn new(limit: Option<u64>, start: Position) -> Result<Self> {
        let (object, memory) = Memory::create(limit, start)?;
        Books::begin(&memory, start)?;
        Ok(Self { object, lock: Lock::new()?, memory, seen: AtomicU64::new(0) })
    }

    /// What names the queue in this process.
    pub(crate) fn key(&self) -> u64 {
        u64::from(self.object.generation()) << 32 | u64::from(self.object.number())
    }

    pub(crate) fn limit(&self) -> Option<u64> {
        self.memory.limit()
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
        debts::settle(&books)?;
        drop(books);
        // What was waited for may be there now, or never be.
        self.memory.getters().ring_for_all();
        self.memory.putters().ring_for_all();
        Ok(true)
    }

    /// Puts bytes as one item.
    // The length is passed by itself: a slice is loaded as a whole, which waits for the byte before, whose store changed its length.
    #[inline]
    pub(crate) fn put(&self, bytes: &[u8], len: usize, deadline: Deadline) -> Result<Put> {
        match len <= INLINE {
            true => self.place(self.me()?, deadline, |slot| {
                write_inline(slot, &bytes[..len]);
                Payload::Inline { len }.write(slot);
            }),
            false => self.put_parts([bytes, &[]], deadline),
        }
    }

    /// Puts the bytes of both parts as one item that is not inline.
    #[inline(never)]
    pub(crate) fn put_parts(&self, parts: [&[u8]; 2], deadline: Deadline) -> Result<Put> {
        let me = self.me()?;
        match (parts[0].len() + parts[1].len()) as u64 {
            len @ ..=SPAN_MOST => self.put_in_span(me, parts, len, deadline),
            len => self.put_alone(me, parts, len, deadline),
        }
    }

    fn put_in_span(&self, me: u16, parts: [&[u8]; 2], len: u64, deadline: Deadline) -> Result<Put> {
        let short = u32::try_from(len).unwrap_or(u32::MAX);
        let room = loop {
            if let Some(room) = spans::reserve(self.key(), short)? {
                break room;
            }
            let Some(books) = self.books_for(deadline)? else { return Ok(Put::Full) };
            let extent = books.take_extent(0, Record::Open { owner: me })?;
            close_spans(&books, spans::renew(self.key(), extent)?)?;
        };
        let put = self.memory.bytes(room.extent, room.at, len).and_then(|bytes| {
            fill(bytes, parts);
            let payload = Payload::Span { extent: room.extent, at: room.at, len };
            self.place(me, deadline, |slot| payload.write(slot))
        });
        let was_put = matches!(put, Ok(Put::Done));
        let closing = spans::settle(self.key(), room.extent, was_put)?;
        if !closing.is_empty() {
            close_spans(&self.books_now()?, closing)?;
        }
        put
    }

    #[inline(never)]
    fn put_alone(&self, me: u16, parts: [&[u8]; 2], len: u64, deadline: Deadline) -> Result<Put> {
        let class = Extent::class_for(len).ok_or_else(|| {
            let text = format!("an item of {len} bytes, at most {}", Extent::size(15));
            Error::new(ErrorKind::TooLarge, text)
        })?;
        let Some(books) = self.books_for(deadline)? else { return Ok(Put::Full) };
        let extent = books.take_extent(class, Record::Single { owner: me })?;
        drop(books);
        let put = self.memory.bytes(extent, 0, len).and_then(|bytes| {
            fill(bytes, parts);
            let payload = Payload::Single { extent, len };
            self.place(me, deadline, |slot| payload.write(slot))
        });
        if !matches!(put, Ok(Put::Done)) {
            self.books_now()?.free_single(extent, me)?;
        }
        put
    }

    /// Claims a slot, has it written and publishes it.
    #[inline(always)]
    fn place(&self, me: u16, deadline: Deadline, write: impl FnOnce(Slot<'_>)) -> Result<Put> {
        let line = self.memory.line();
        let ours = match line.claim(me)? {
            Claim::Claimed(ours) => ours,
            other => match self.claim_slowly(me, deadline, other)? {
                Ok(ours) => ours,
                Err(put) => return Ok(put),
            },
        };
        write(ours.slot);
        line.publish(ours);
        self.memory.getters().ring();
        Ok(Put::Done)
    }

    #[inline(never)]
    fn claim_slowly<'a>(
        &'a self,
        me: u16,
        deadline: Deadline,
        mut claim: Claim<Slot<'a>>,
    ) -> Result<Result<Ours<Slot<'a>>, Put>> {
        let line = self.memory.line();
        let mut patience = Patience::new(self, deadline);
        loop {
            match claim {
                Claim::Claimed(ours) => return Ok(Ok(ours)),
                Claim::Closed => return Ok(Err(Put::Closed)),
                Claim::NoSlot(at) => match self.books_for(deadline)? {
                    Some(books) => books.attach(at)?,
                    None => return Ok(Err(Put::Full)),
                },
                Claim::Full => {
                    match patience.wait(self.memory.putters(), &Vec::new, &|| {
                        line.is_full().unwrap_or(false)
                    })? {
                        Waited::Look => {}
                        Waited::TimedOut => return Ok(Err(Put::Full)),
                        Waited::Alone => return Ok(Err(Put::Closed)),
                    }
                }
            }
            claim = line.claim(me)?;
        }
    }

    /// Gets the next item, as a value.
    #[inline]
    pub(crate) fn get<T: DeserializeOwned>(&self, deadline: Deadline) -> Result<Got<T>> {
        let me = self.me()?;
        let line = self.memory.line();
        let prepare = |slot: Slot<'_>| self.prepare(slot);
        let ours = match line.take(me, prepare)? {
            Take::Taken(ours) => ours,
            other => match self.take_slowly(me, deadline, other)? {
                Ok(ours) => ours,
                Err(Got::Closed) => return Ok(Got::Closed),
                Err(_) => return Ok(Got::Empty),
            },
        };
        match Payload::read(ours.slot) {
            Payload::Inline { len } => {
                let bytes = read_inline(ours.slot, len);
                self.finish(ours);
                Message::decode_parts(&bytes[..len], Vec::new()).map(Got::Item)
            }
            payload => self.read(me, ours, payload).map(Got::Item),
        }
    }

    #[inline(never)]
    fn take_slowly<'a>(
        &'a self,
        me: u16,
        deadline: Deadline,
        mut take: Take<Slot<'a>>,
    ) -> Result<Result<Ours<Slot<'a>>, Got<()>>> {
        let line = self.memory.line();
        let mut patience = Patience::new(self, deadline);
        loop {
            let owner = match take {
                Take::Taken(ours) => return Ok(Ok(ours)),
                Take::Closed => return Ok(Err(Got::Closed)),
                Take::Empty => None,
                Take::Busy(owner) => Some(owner),
            };
            let owners = || Vec::from_iter(owner);
            let is_waiting = || line.is_waiting().unwrap_or(false);
            match patience.wait(self.memory.getters(), &owners, &is_waiting)? {
                Waited::Look => {}
                Waited::TimedOut => return Ok(Err(Got::Empty)),
                Waited::Alone => return Ok(Err(Got::Closed)),
            }
            take = line.take(me, |slot| self.prepare(slot))?;
        }
    }

    /// Maps what an item lies in, so that nothing fails once it is taken.
    #[inline(always)]
    fn prepare(&self, slot: Slot<'_>) -> Result<()> {
        match Payload::read(slot) {
            Payload::Nothing | Payload::Inline { .. } => Ok(()),
            Payload::Span { extent, at, len } => self.memory.bytes(extent, at, len).map(drop),
            Payload::Single { extent, len } => {
                self.memory.bytes(extent, 0, len)?;
                self.memory.record(extent).map(drop)
            }
        }
    }

    /// The value of an item that was taken and is not inline.
    #[inline(never)]
    fn read<T: DeserializeOwned>(
        &self,
        me: u16,
        ours: Ours<Slot<'_>>,
        payload: Payload,
    ) -> Result<T> {
        match payload {
            Payload::Nothing | Payload::Inline { .. } => {
                self.finish(ours);
                Err(Error::new(ErrorKind::Broken, "the queue's memory was written over"))
            }
            Payload::Span { extent, at, len } => {
                let copied = self.memory.bytes(extent, at, len).and_then(copy_out);
                self.finish(ours);
                copied?.into_value()
            }
            Payload::Single { extent, len } => {
                let copied = self.memory.bytes(extent, 0, len).and_then(copy_out);
                own(&self.memory, extent, me)?;
                self.finish(ours);
                self.books_now()?.free_single(extent, me)?;
                copied?.into_value()
            }
        }
    }

    /// The item was read.
    #[inline(always)]
    fn finish(&self, ours: Ours<Slot<'_>>) {
        self.memory.line().finish(ours);
        if self.memory.limit().is_some() {
            self.memory.putters().ring();
        }
        if ours.position.next().bits().is_multiple_of(CHUNK) {
            self.retire();
        }
    }

    /// At the end of a chunk. What is not retired now, because somebody else has the books, is at the end of the next.
    #[cold]
    fn retire(&self) {
        if let Ok(Some(books)) = self.books(Deadline::PAST) {
            // The item is there all the same; whoever needs the books next is told.
            drop(books.retire());
        }
    }

    /// Ends the queue for all.
    pub(crate) fn close(&self) -> Result<()> {
        self.me()?;
        while let Close::NoSlot(at) = self.memory.line().close()? {
            self.books_now()?.attach(at)?;
        }
        self.memory.getters().ring_for_all();
        self.memory.putters().ring_for_all();
        Ok(())
    }

    /// Takes an item away that nobody will get; whether there was one.
    pub(crate) fn discard(&self) -> Result<bool> {
        let me = self.me()?;
        let ours = match self.memory.line().take(me, |slot| self.prepare(slot))? {
            Take::Taken(ours) => ours,
            other => match self.take_slowly(me, Deadline::NEVER, other)? {
                Ok(ours) => ours,
                Err(_) => return Ok(false),
            },
        };
        if let Payload::Single { extent, .. } = Payload::read(ours.slot) {
            own(&self.memory, extent, me)?;
            self.finish(ours);
            self.books_now()?.free_single(extent, me)?;
        } else {
            self.finish(ours);
        }
        Ok(true)
    }

    pub(crate) fn is_closed(&self) -> Result<bool> {
        self.me()?;
        self.memory.line().is_closed()
    }

    pub(crate) fn len(&self) -> Result<u64> {
        self.me()?;
        self.settle(Deadline::NEVER)?;
        self.memory.line().len()
    }

    pub(crate) fn lost(&self) -> Result<u64> {
        self.me()?;
        self.settle(Deadline::NEVER)?;
        self.books_now()?.lost()
    }

    pub(crate) fn resident(&self) -> Result<u64> {
        Ok(self.memory.file.resident()?)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // What cannot be closed now is found when this process has ended.
        if let Ok(closing) = spans::forget(self.key())
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

fn fill(bytes: SharedBytes<'_>, parts: [&[u8]; 2]) {
    bytes.write(0, parts[0]);
    bytes.write(parts[0].len(), parts[1]);
}

/// An item that was copied out of shared memory.
enum Copied<T> {
    Bytes(Vec<u8>),
    Block(BlockBuilder<T>),
}

fn copy_out<T: DeserializeOwned>(bytes: SharedBytes<'_>) -> Result<Copied<T>> {
    const FRONT: usize = procession_core::codec::Block::MOST_HEAD;
    let target = block_target::<T>().filter(|_| bytes.len() as u64 >= BLOCK);
    let Some(target) = target else { return Ok(Copied::Bytes(bytes.read_vec())) };
    let mut front = [0; FRONT];
    bytes.read(0, &mut front);
    let mut builder = target.begin(&front, bytes.len())?;
    let mut at = FRONT;
    loop {
        let rest = builder.rest()?;
        if rest.is_empty() {
            return Ok(Copied::Block(builder));
        }
        let now = rest.len();
        bytes.read(at, rest);
        builder.advance(now);
        at += now;
    }
}

impl<T: DeserializeOwned> Copied<T> {
    fn into_value(self) -> Result<T> {
        match self {
            Self::Bytes(bytes) => Message::decode_parts(&bytes, Vec::new()),
            Self::Block(builder) => builder.finish(),
        }
    }
}

/// One wait.
struct Patience<'a> {
    queue: &'a Attached,
    spin: Spin,
    wait: Wait<'a>,
    deadline: Deadline,
}

impl<'a> Patience<'a> {
    fn new(queue: &'a Attached, deadline: Deadline) -> Self {
        let (spin, wait) = (Spin::new(1), Wait::new(&queue.object, deadline));
        Self { queue, spin, wait, deadline }
    }

    /// Waits while it `is_waiting`, or longer than necessary, or not long enough.
    fn wait(
        &mut self,
        bell: Bell<'_, AtomicU64>,
        owners: &dyn Fn() -> Vec<u16>,
        is_waiting: &dyn Fn() -> bool,
    ) -> Result<Waited> {
        if self.queue.settle(self.deadline)? {
            return Ok(Waited::Look);
        }
        if self.deadline == Deadline::PAST {
            return Ok(Waited::TimedOut);
        }
        while self.spin.turn() {
            if !is_waiting() {
                return Ok(Waited::Look);
            }
        }
        let expected = bell.announce();
        self.queue.memory.fence_for_sleep()?;
        if !is_waiting() {
            return Ok(Waited::Look);
        }
        // Who rings for a death has noted it before: it is seen now, or it rings after the announcement.
        if self.wait.is_armed() && self.queue.object.is_abandoned() {
            return self.alone(is_waiting);
        }
        match self.wait.sleep(bell.0, expected, owners)? {
            Slept::Look | Slept::Lost => Ok(Waited::Look),
            Slept::TimedOut => Ok(Waited::TimedOut),
            Slept::Abandoned => self.alone(is_waiting),
        }
    }

    /// Nobody else has the queue any more. What the last of them did before is seen now.
    fn alone(&self, is_waiting: &dyn Fn() -> bool) -> Result<Waited> {
        self.queue.settle(self.deadline)?;
        Ok(if is_waiting() { Waited::Alone } else { Waited::Look })
    }
}

fn recover(remains: &Remains) {
    debts::note(remains.words, remains.dead.slot);
}

fn wake(remains: &Remains) {
    getters(remains.words).ring_for_all();
    putters(remains.words).ring_for_all();
}

before_main!(register);

fn register() {
    // What a process has of a queue when it drops its last handle it gives back then.
    Kind::QUEUE.register(recover, wake, |_, _| false);
}
