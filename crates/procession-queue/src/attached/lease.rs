//! An item that somebody works on.

use std::sync::Arc;

use procession_core::{Deadline, Result};
use procession_sys::prim::Ordering::{Relaxed, SeqCst};
use serde::de::DeserializeOwned;

use super::get::Taken;
use super::{Attached, Got};
use crate::debts;
use crate::payload::{Payload, len_of, read_tag, returns, write_returns};
use crate::raw::stamp::{Position, State};

/// The right and the duty to say what becomes of an item. Dropping it gives the item back.
#[derive(Debug)]
pub(crate) struct Hold {
    queue: Arc<Attached>,
    position: Position,
    /// The [word](procession_core::family::ProcessId::to_bits) of the process that leased it: a fork has a copy, which is
    /// nobody's.
    owner: u64,
    /// How often it was given back before.
    returns: u16,
    is_over: bool,
}

impl Attached {
    /// Leases the next item, as a value.
    pub(crate) fn lease<T: DeserializeOwned>(
        self: &Arc<Self>,
        deadline: Deadline,
    ) -> Result<Got<(Hold, T)>> {
        let me = self.me()?;
        let taken = State::Leased { owner: me, is_odd: false };
        let Taken { ours, handles } = match self.take(taken, deadline)? {
            Got::Item(taken) => taken,
            Got::Empty => return Ok(Got::Empty),
            Got::Closed => return Ok(Got::Closed),
        };
        let is_odd = matches!(self.state(ours), State::Leased { is_odd: true, .. });
        let returns = returns(ours.slot, is_odd);
        write_returns(ours.slot, returns);
        let owner = self.object.family().me_word().load(Relaxed);
        let queue = Arc::clone(self);
        let hold = Hold { queue, position: ours.position, owner, returns, is_over: false };
        let value = self
            .copy(ours.slot, Payload::read(ours.slot))
            .and_then(|item| item.into_value(handles));
        match value {
            Ok(value) => Ok(Got::Item((hold, value))),
            Err(error) => {
                // It would not be read by anybody else either.
                hold.done()?;
                Err(error)
            }
        }
    }

    /// Tells those who wait for the last item that one is done.
    pub(super) fn say_done(&self) {
        // ORDERING: a full fence: the slot was left before. Who sleeps has announced himself before he looked at the slots.
        procession_sys::prim::fence(SeqCst);
        let line = self.memory.line();
        if self.memory.joiners().may_sleep() && !line.has_item().unwrap_or(false) {
            self.memory.joiners().ring_for_all();
        }
        // At the end of a queue one waits for what may be given back.
        if self.memory.getters().may_sleep() && line.is_over().unwrap_or(true) {
            self.memory.getters().ring_for_all();
        }
    }
}

impl Hold {
    /// How often the item was given back before.
    pub(crate) fn returns(&self) -> u16 {
        self.returns
    }

    /// The item is done.
    pub(crate) fn done(mut self) -> Result<()> {
        let Some(me) = self.end()? else { return Ok(()) };
        let queue = &self.queue;
        let Some(ours) = queue.memory.line().again(self.position)? else { return Ok(()) };
        let tag = read_tag(ours.slot);
        queue.free(me, ours, || queue.done(ours))?;
        if let Some(tag) = tag {
            let _books = queue.books_now()?;
            queue.empty_depot(tag);
        }
        Ok(())
    }

    /// The item is for somebody else, or, if it was tried as often as it may be, for nobody.
    pub(crate) fn give_back(&mut self) -> Result<()> {
        let Some(me) = self.end()? else { return Ok(()) };
        let queue = &self.queue;
        let Some(ours) = queue.memory.line().again(self.position)? else { return Ok(()) };
        let State::Leased { owner, is_odd } = queue.state(ours) else { return Ok(()) };
        let books = queue.books_now()?;
        debts::give_back(&books, owner, self.position, ours.slot, is_odd)?;
        let is_done = queue.state(ours) == State::Done;
        match (is_done, Payload::read(ours.slot)) {
            (true, Payload::Single { extent, .. }) => books.free_single(extent, me)?,
            (true, _) => {}
            (false, _) => books.count_bytes(len_of(ours.slot), 0)?,
        }
        if let Some(tag) = read_tag(ours.slot).filter(|_| is_done) {
            queue.empty_depot(tag);
        }
        drop(books);
        if is_done {
            queue.say_done();
        } else {
            queue.memory.returned().store(1, SeqCst);
            queue.memory.getters().ring();
        }
        Ok(())
    }

    /// Our slot, unless this is over, or a copy that a fork has.
    fn end(&mut self) -> Result<Option<u16>> {
        let is_over = std::mem::replace(&mut self.is_over, true);
        let me = self.queue.me()?;
        let is_ours = self.queue.object.family().me_word().load(Relaxed) == self.owner;
        Ok((!is_over && is_ours).then_some(me))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // If it fails, the item comes back when this process has ended.
        drop(self.give_back());
    }
}
