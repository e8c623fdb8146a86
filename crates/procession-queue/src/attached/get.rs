//! Getting.

use std::os::fd::OwnedFd;

use procession_core::codec::{self, BlockBuilder, block_target};
use procession_core::{Deadline, Error, ErrorKind, Message, Result};
use procession_sys::block::SharedBytes;
use procession_sys::prim::Ordering::SeqCst;
use serde::de::DeserializeOwned;

use super::patience::{Patience, Waited};
use super::{Attached, Slot};
use crate::books::own;
use crate::held;
use crate::payload::{FRONT, Payload, behind_front, len_of, read_front, read_inline, read_tag};
use crate::raw::line::{Ours, Take};
use crate::raw::stamp::{Stamp, State};

/// From so many bytes on an item that is a block of bytes is read to where it will lie.
const BLOCK: u64 = 1024;

/// An item that is ours, and copies of its handles.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    pub(crate) ours: Ours<Slot<'a>>,
    pub(super) handles: Vec<OwnedFd>,
}

/// What one does at the end of a queue while items are leased, which may come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AtEnd {
    Waits,
    Goes,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Got<T> {
    Item(T),
    /// Nothing until the deadline.
    Empty,
    Closed,
}

impl Attached {
    /// Gets the next item, as a value.
    #[inline]
    pub(crate) fn get<T: DeserializeOwned>(&self, deadline: Deadline) -> Result<Got<T>> {
        let me = self.me()?;
        if self.is_plain {
            let take = self.memory.line().take(State::Taken(me), |slot| self.prepare(slot))?;
            if let Take::Taken(ours) = take {
                self.say_room();
                return self.read(me, ours, Vec::new()).map(Got::Item);
            }
        }
        match self.take_slowly(State::Taken(me), deadline, AtEnd::Waits)? {
            Got::Item(Taken { ours, handles }) => self.read(me, ours, handles).map(Got::Item),
            Got::Empty => Ok(Got::Empty),
            Got::Closed => Ok(Got::Closed),
        }
    }

    /// The value of an item that is ours, which is done then, or held.
    #[inline(always)]
    fn read<T: DeserializeOwned>(
        &self,
        me: u16,
        ours: Ours<Slot<'_>>,
        handles: Vec<OwnedFd>,
    ) -> Result<T> {
        match Payload::read(ours.slot) {
            Payload::Inline { len } => {
                let bytes = read_inline(ours.slot, len);
                self.finish(me, ours)?;
                Message::decode_parts(&bytes[..len], handles)
            }
            payload => {
                let copied = self.copy(ours.slot, payload);
                self.finish(me, ours)?;
                copied?.into_value(handles)
            }
        }
    }

    /// Takes the next item: its slot is `taken` then.
    pub(crate) fn take(&self, taken: State, deadline: Deadline) -> Result<Got<Taken<'_>>> {
        self.take_slowly(taken, deadline, AtEnd::Waits)
    }

    #[inline(never)]
    fn take_slowly(
        &self,
        taken: State,
        deadline: Deadline,
        at_end: AtEnd,
    ) -> Result<Got<Taken<'_>>> {
        let me = taken.owner().unwrap_or_default();
        let mut patience = Patience::of_getter(self, deadline);
        loop {
            if self.memory.traits.is_joinable {
                // What the dead had leased comes back, in front of what nobody has had.
                self.settle(deadline)?;
            }
            let Some((take, handles)) = self.take_once(taken, deadline)? else {
                return Ok(Got::Empty);
            };
            let owner = match take {
                Take::Taken(ours) => {
                    self.say_room();
                    return Ok(Got::Item(Taken { ours, handles }));
                }
                Take::Empty | Take::Unprepared => None,
                Take::Busy(owner) => Some(owner),
                Take::Closed => match self.leased_elsewhere(me)? {
                    Some(owner) if at_end == AtEnd::Waits => Some(owner),
                    _ => return Ok(Got::Closed),
                },
            };
            self.say_nothing_there();
            let owners = || Vec::from_iter(owner);
            let is_waiting = || self.has_nothing(me).unwrap_or(false);
            match patience.wait(self.memory.getters(), &owners, &is_waiting)? {
                Waited::Look => {}
                Waited::TimedOut => return Ok(Got::Empty),
                Waited::Alone => return Ok(Got::Closed),
            }
        }
    }

    /// Takes what there is; nothing when that needs the books, and they were not free until the deadline.
    fn take_once(
        &self,
        taken: State,
        deadline: Deadline,
    ) -> Result<Option<(Take<Slot<'_>>, Vec<OwnedFd>)>> {
        let line = self.memory.line();
        let may_have_returned = self.may_have_returned();
        if !may_have_returned && self.memory.traits.bytes.is_none() {
            match line.take(taken, |slot| self.prepare(slot))? {
                Take::Unprepared => {}
                take => return Ok(Some((take, Vec::new()))),
            }
        }
        let Some(books) = self.books_for(deadline)? else { return Ok(None) };
        let mut handles = Vec::new();
        let returned = match may_have_returned {
            true => books.take_returned(taken, |slot| {
                handles = self.prepare_all(slot)?;
                Ok(())
            })?,
            false => None,
        };
        let take = match returned {
            Some(ours) => Take::Taken(ours),
            None => line.take(taken, |slot| {
                handles = self.prepare_all(slot)?;
                Ok(true)
            })?,
        };
        if let Take::Taken(ours) = &take {
            books.count_bytes(0, len_of(ours.slot))?;
            if let Some(tag) = read_tag(ours.slot)
                && !matches!(taken, State::Leased { .. })
            {
                self.empty_depot(tag);
            }
        }
        Ok(Some((take, handles)))
    }

    /// Maps what an item lies in, and copies its handles out of the depot, under the book lock.
    fn prepare_all(&self, slot: Slot<'_>) -> Result<Vec<OwnedFd>> {
        self.map(slot)?;
        let Some(tag) = read_tag(slot) else { return Ok(Vec::new()) };
        let missing =
            || Error::new(ErrorKind::Broken, "the handles of an item are not in the depot");
        self.depot.copy(tag)?.ok_or_else(missing)
    }

    /// Whether a getter in `me` has to wait: for an item, or at the end, where what is leased elsewhere may come back.
    pub(super) fn has_nothing(&self, me: u16) -> Result<bool> {
        let line = self.memory.line();
        if self.may_have_returned() {
            return Ok(false);
        }
        Ok(line.is_waiting()? || line.is_over()? && self.leased_elsewhere(me)?.is_some())
    }

    /// Whether an item may have been given back.
    #[inline]
    pub(super) fn may_have_returned(&self) -> bool {
        // ORDERING: SeqCst: after the announcement of who is about to sleep.
        self.memory.traits.is_joinable && self.memory.returned().load(SeqCst) != 0
    }

    /// There is room for those who wait for it.
    // The fence is the exchange by which the item was taken, or the book lock.
    #[inline(always)]
    fn say_room(&self) {
        if self.memory.traits.bytes.is_some() {
            // What is room enough for one is not for another.
            self.memory.putters().ring_for_all();
        } else if self.memory.traits.items.is_some() {
            self.memory.putters().ring();
        }
    }

    /// Maps what an item lies in, so that nothing fails once it is taken; not if it has handles, for which one needs the books.
    #[inline(always)]
    fn prepare(&self, slot: Slot<'_>) -> Result<bool> {
        if read_tag(slot).is_some() {
            return Ok(false);
        }
        self.map(slot).map(|()| true)
    }

    #[inline(always)]
    fn map(&self, slot: Slot<'_>) -> Result<()> {
        match Payload::read(slot) {
            Payload::Nothing | Payload::Inline { .. } => {}
            Payload::Span { extent, at, len } => drop(self.memory.bytes(extent, at, len)?),
            Payload::Single { extent, len } => {
                self.memory.bytes(extent, 0, behind_front(len))?;
                self.memory.record(extent)?;
            }
        }
        Ok(())
    }

    /// Copies an item that is ours.
    #[inline(never)]
    pub(super) fn copy<T: DeserializeOwned>(
        &self,
        slot: Slot<'_>,
        payload: Payload,
    ) -> Result<Copied<T>> {
        match payload {
            Payload::Nothing => {
                Err(Error::new(ErrorKind::Broken, "the queue's memory was written over"))
            }
            Payload::Inline { len } => Ok(Copied::Bytes(read_inline(slot, len)[..len].to_vec())),
            Payload::Span { extent, at, len } => {
                let rest = self.memory.bytes(extent, at, len)?;
                copy_out(&Source { front: [0; FRONT], fronts: 0, rest })
            }
            Payload::Single { extent, len } => {
                let rest = self.memory.bytes(extent, 0, behind_front(len))?;
                copy_out(&Source { front: read_front(slot), fronts: FRONT, rest })
            }
        }
    }

    /// The item was read, and is not needed any more.
    #[inline(always)]
    fn finish(&self, me: u16, ours: Ours<Slot<'_>>) -> Result<()> {
        if self.memory.traits.is_joinable {
            // Its payload goes, its slot stays until it is done: which another thread may say as soon as it is on the list.
            let freed = self.free(me, ours, || self.memory.line().leave(ours, State::Held(me)));
            held::push(self.instance, ours.position)?;
            return freed;
        }
        self.free(me, ours, || self.done(ours))
    }

    /// Does `leave`, after which nothing names the item's extent, and frees that.
    #[inline(always)]
    pub(super) fn free(&self, me: u16, ours: Ours<Slot<'_>>, leave: impl FnOnce()) -> Result<()> {
        let Payload::Single { extent, .. } = Payload::read(ours.slot) else {
            leave();
            return Ok(());
        };
        own(&self.memory, extent, me)?;
        leave();
        self.books_now()?.free_single(extent, me)
    }

    /// Takes an item away that nobody will get; whether there was one.
    pub(crate) fn discard(&self) -> Result<bool> {
        let me = self.me()?;
        match self.take_slowly(State::Taken(me), Deadline::NEVER, AtEnd::Goes)? {
            Got::Item(Taken { ours, .. }) => self.free(me, ours, || self.done(ours)).map(|()| true),
            Got::Empty | Got::Closed => Ok(false),
        }
    }

    /// Another process that works on an item which it may give back.
    fn leased_elsewhere(&self, me: u16) -> Result<Option<u16>> {
        if !self.memory.traits.is_joinable {
            return Ok(None);
        }
        self.memory.line().find_left(self.memory.done(), |state| match state {
            State::Leased { owner, .. } if owner != me => Some(owner),
            _ => None,
        })
    }

    /// How far the item in a slot of ours is.
    pub(super) fn state(&self, ours: Ours<Slot<'_>>) -> State {
        Stamp::from_bits(ours.slot[0].load(SeqCst)).state
    }
}

/// An item that was copied out of shared memory.
pub(super) enum Copied<T> {
    Bytes(Vec<u8>),
    Block(BlockBuilder<T>),
}

/// Where the bytes of an item lie.
struct Source<'a> {
    front: [u8; FRONT],
    /// How many of the front there are.
    fronts: usize,
    rest: SharedBytes<'a>,
}

impl Source<'_> {
    fn len(&self) -> usize {
        self.fronts + self.rest.len()
    }

    fn read(&self, at: usize, out: &mut [u8]) {
        let of_front = self.front[..self.fronts].get(at..).unwrap_or_default();
        let count = of_front.len().min(out.len());
        let (first, second) = out.split_at_mut(count);
        first.copy_from_slice(&of_front[..count]);
        if !second.is_empty() {
            self.rest.read(at + count - self.fronts, second);
        }
    }

    fn to_vec(&self) -> Vec<u8> {
        let mut vec = Vec::with_capacity(self.len());
        vec.extend_from_slice(&self.front[..self.fronts]);
        self.rest.append_to(&mut vec);
        vec
    }
}

fn copy_out<T: DeserializeOwned>(source: &Source<'_>) -> Result<Copied<T>> {
    const HEAD: usize = codec::Block::MOST_HEAD;
    let target = block_target::<T>().filter(|_| source.len() as u64 >= BLOCK);
    let Some(target) = target else { return Ok(Copied::Bytes(source.to_vec())) };
    let mut head = [0; HEAD];
    source.read(0, &mut head);
    let mut builder = target.begin(&head, source.len())?;
    let mut at = HEAD;
    loop {
        let rest = builder.rest()?;
        if rest.is_empty() {
            return Ok(Copied::Block(builder));
        }
        let now = rest.len();
        source.read(at, rest);
        builder.advance(now);
        at += now;
    }
}

impl<T: DeserializeOwned> Copied<T> {
    pub(super) fn into_value(self, handles: Vec<OwnedFd>) -> Result<T> {
        match self {
            Self::Bytes(bytes) => Message::decode_parts(&bytes, handles),
            Self::Block(builder) => builder.finish(),
        }
    }
}
