//! Putting.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};

use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_sys::block::SharedBytes;
use procession_sys::prim::Ordering::SeqCst;

use super::patience::{Patience, Waited};
use super::{Attached, Slot, close_spans};
use crate::books::{self, Books, Record};
use crate::memory::Extent;
use crate::payload::{
    FRONT, INLINE, INLINE_WITH_TAG, Payload, behind_front, write_front, write_inline, write_tag,
};
use crate::raw::line::{Claim, Ours};
use crate::spans;

/// The longest item that goes into a span: a quarter of one, so that little is left over.
const SPAN_MOST: u64 = 16 << 10;

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    Done,
    /// There was no room until the deadline.
    Full,
    Closed,
}

/// An item on its way into the queue.
#[derive(Clone, Copy)]
struct Going<'a> {
    /// The process that puts it.
    me: u16,
    len: u64,
    handles: &'a [OwnedFd],
    deadline: Deadline,
}

/// What became of an item that was to be placed at once.
enum Placed {
    Done,
    Full,
    DepotFull,
    Closed,
}

impl Attached {
    /// Puts bytes as one item.
    // The length is passed by itself: a slice is loaded as a whole, which waits for the byte before, whose store changed its length.
    #[inline(always)]
    pub(crate) fn put(&self, bytes: &[u8], len: usize, deadline: Deadline) -> Result<Put> {
        match len <= INLINE {
            true => self.place(self.going(len, &[], deadline)?, |slot| {
                write_inline(slot, &bytes[..len]);
                Payload::Inline { len }.write(slot);
            }),
            false => self.put_parts([bytes, &[]], &[], deadline),
        }
    }

    /// Puts bytes and handles as one item.
    #[cold]
    pub(crate) fn put_with(
        &self,
        bytes: &[u8],
        handles: &[OwnedFd],
        deadline: Deadline,
    ) -> Result<Put> {
        let len = bytes.len();
        match len <= INLINE_WITH_TAG {
            true => self.place(self.going(len, handles, deadline)?, |slot| {
                write_inline(slot, bytes);
                Payload::Inline { len }.write(slot);
            }),
            false => self.put_parts([bytes, &[]], handles, deadline),
        }
    }

    /// Puts the bytes of both parts as one item that is not inline.
    #[inline(never)]
    pub(crate) fn put_parts(
        &self,
        parts: [&[u8]; 2],
        handles: &[OwnedFd],
        deadline: Deadline,
    ) -> Result<Put> {
        let going = self.going(parts[0].len() + parts[1].len(), handles, deadline)?;
        match going.len <= SPAN_MOST {
            true => self.put_in_span(going, parts),
            false => self.put_alone(going, parts),
        }
    }

    #[inline(always)]
    fn going<'a>(
        &self,
        len: usize,
        handles: &'a [OwnedFd],
        deadline: Deadline,
    ) -> Result<Going<'a>> {
        Ok(Going { me: self.me()?, len: len as u64, handles, deadline })
    }

    fn put_in_span(&self, going: Going<'_>, parts: [&[u8]; 2]) -> Result<Put> {
        let Going { me, len, deadline, .. } = going;
        let short = u32::try_from(len).unwrap_or(u32::MAX);
        let room = loop {
            if let Some(room) = spans::reserve(self.instance, short)? {
                break room;
            }
            let Some(books) = self.books_for(deadline)? else { return Ok(Put::Full) };
            let extent = books.take_extent(0, Record::Open { owner: me })?;
            close_spans(&books, spans::renew(self.instance, extent)?)?;
        };
        let put = self.memory.bytes(room.extent, room.at, len).and_then(|bytes| {
            fill(bytes, parts);
            let payload = Payload::Span { extent: room.extent, at: room.at, len };
            self.place(going, |slot| payload.write(slot))
        });
        let was_put = matches!(put, Ok(Put::Done));
        let closing = spans::settle(self.instance, room.extent, was_put)?;
        if !closing.is_empty() {
            close_spans(&self.books_now()?, closing)?;
        }
        put
    }

    #[inline(never)]
    fn put_alone(&self, going: Going<'_>, parts: [&[u8]; 2]) -> Result<Put> {
        let Going { me, len, deadline, .. } = going;
        let class = Extent::class_for(behind_front(len)).ok_or_else(|| {
            let text = format!("an item of {len} bytes, at most {}", Extent::size(15));
            Error::new(ErrorKind::TooLarge, text)
        })?;
        let front: [u8; FRONT] = std::array::from_fn(|at| {
            let [first, second] = parts;
            *first.get(at).unwrap_or_else(|| &second[at - first.len()])
        });
        let Some(books) = self.books_for(deadline)? else { return Ok(Put::Full) };
        let extent = books.take_extent(class, Record::Single { owner: me })?;
        drop(books);
        let put = self.memory.bytes(extent, 0, behind_front(len)).and_then(|bytes| {
            let [first, second] = parts;
            let of_second = FRONT.saturating_sub(first.len());
            fill(bytes, [first.get(FRONT..).unwrap_or_default(), &second[of_second..]]);
            let payload = Payload::Single { extent, len };
            self.place(going, |slot| {
                write_front(slot, &front);
                payload.write(slot);
            })
        });
        if !matches!(put, Ok(Put::Done)) {
            self.books_now()?.free_single(extent, me)?;
        }
        put
    }

    /// Claims a slot, has it written and publishes it.
    #[inline(always)]
    fn place(&self, going: Going<'_>, write: impl Fn(Slot<'_>)) -> Result<Put> {
        let Going { me, deadline, .. } = going;
        if !going.handles.is_empty() || self.memory.traits.bytes.is_some() {
            return self.place_by_the_books(going, &write);
        }
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
                    let is_full = || line.is_full().unwrap_or(false);
                    if let Some(put) = self.wait_for_room(&mut patience, &is_full)? {
                        return Ok(Err(put));
                    }
                }
            }
            claim = line.claim(me)?;
        }
    }

    /// The same under the book lock, for a queue with a bound in bytes, and for an item with handles.
    #[inline(never)]
    fn place_by_the_books(&self, going: Going<'_>, write: &dyn Fn(Slot<'_>)) -> Result<Put> {
        let Going { len, deadline, .. } = going;
        let line = self.memory.line();
        // How often the depot had got room when it had none for this item.
        let depot_was_full = Cell::new(None);
        let is_full = || {
            line.is_full().unwrap_or(false)
                || books::bytes(&self.memory).is_ok_and(|bytes| !self.fits(bytes, len))
                || depot_was_full.get() == Some(self.memory.depot_room().load(SeqCst))
        };
        let mut patience = Patience::new(self, deadline);
        loop {
            let Some(books) = self.books_for(deadline)? else { return Ok(Put::Full) };
            depot_was_full.set(None);
            let room = self.memory.depot_room().load(SeqCst);
            match self.place_now(&books, going, write)? {
                Placed::Done => {
                    drop(books);
                    self.memory.getters().ring();
                    return Ok(Put::Done);
                }
                Placed::Closed => return Ok(Put::Closed),
                Placed::Full => {}
                Placed::DepotFull => depot_was_full.set(Some(room)),
            }
            drop(books);
            if line.is_closed()? {
                return Ok(Put::Closed);
            }
            if let Some(put) = self.wait_for_room(&mut patience, &is_full)? {
                return Ok(put);
            }
        }
    }

    fn place_now(
        &self,
        books: &Books<'_>,
        going: Going<'_>,
        write: &dyn Fn(Slot<'_>),
    ) -> Result<Placed> {
        let Going { me, len, handles, .. } = going;
        let line = self.memory.line();
        if !self.fits(books.bytes()?, len) || line.is_full()? {
            return Ok(Placed::Full);
        }
        let tag = match handles {
            [] => None,
            handles => match self.store(books, handles)? {
                Some(tag) => Some(tag),
                None => return Ok(Placed::DepotFull),
            },
        };
        let claim = self.claim_by_the_books(books, me);
        let Ok(Claim::Claimed(ours)) = claim else {
            if let Some(tag) = tag {
                self.empty_depot(tag);
            }
            return claim.map(|claim| match claim {
                Claim::Closed => Placed::Closed,
                _ => Placed::Full,
            });
        };
        write(ours.slot);
        if let Some(tag) = tag {
            write_tag(ours.slot, tag);
        }
        line.publish(ours);
        books.count_bytes(len, 0)?;
        Ok(Placed::Done)
    }

    /// Puts handles into the depot, if there is room: under which tag.
    fn store(&self, books: &Books<'_>, handles: &[OwnedFd]) -> Result<Option<u64>> {
        let tag = books.next_tag()?;
        let handles: Vec<_> = handles.iter().map(AsFd::as_fd).collect();
        match self.depot.store(tag, &handles) {
            Ok(true) => Ok(Some(tag)),
            Ok(false) if self.depot.is_empty()? => {
                let text = format!("an item of {} handles", handles.len());
                Err(Error::new(ErrorKind::TooLarge, text))
            }
            Ok(false) => Ok(None),
            Err(error) => {
                self.empty_depot(tag);
                Err(error)
            }
        }
    }

    fn claim_by_the_books<'a>(&'a self, books: &Books<'_>, me: u16) -> Result<Claim<Slot<'a>>> {
        loop {
            match self.memory.line().claim(me)? {
                Claim::NoSlot(at) => books.attach(at)?,
                other => return Ok(other),
            }
        }
    }

    /// Whether there is room for so many bytes more: an item that is longer than the bound goes alone.
    fn fits(&self, bytes: u64, len: u64) -> bool {
        bytes == 0 || self.memory.traits.bytes.is_none_or(|most| bytes.saturating_add(len) <= most)
    }

    /// Waits while `is_full`; how it ended, if there is no more to be tried.
    fn wait_for_room(
        &self,
        patience: &mut Patience<'_>,
        is_full: &dyn Fn() -> bool,
    ) -> Result<Option<Put>> {
        Ok(match patience.wait(self.memory.putters(), &Vec::new, is_full)? {
            Waited::Look => None,
            Waited::TimedOut => Some(Put::Full),
            Waited::Alone => Some(Put::Closed),
        })
    }
}

fn fill(bytes: SharedBytes<'_>, parts: [&[u8]; 2]) {
    bytes.write(0, parts[0]);
    bytes.write(parts[0].len(), parts[1]);
}
