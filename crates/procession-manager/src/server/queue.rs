//! A queue, which may also be joined.
//!
//! Who waits, to put or to get, is served in the order of coming. An item that is leased belongs to a session until that says that it is
//! done or gives it back; when the session ends it comes back, in front.

use std::collections::{BTreeMap, VecDeque};

use procession_core::{Error, ErrorKind, Result};

use super::context::{Caller, Context, DONE, Flow, Item, no_such_operation};
use crate::wire::{Reader, Write, op, status};

#[derive(Debug)]
pub(super) struct Queue {
    /// Zero is none.
    capacity: u64,
    items: VecDeque<(Item, u32)>,
    is_closed: bool,
    getters: VecDeque<(Caller, Hold)>,
    putters: VecDeque<(Caller, Item)>,
    /// Items that were put and are not done.
    unfinished: u64,
    joiners: Vec<Caller>,
    leased: BTreeMap<u64, Leased>,
    next_lease: u64,
}

/// Whether who gets an item has it on lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Keep,
    Lease,
}

#[derive(Debug)]
struct Leased {
    session: u64,
    item: Item,
    attempt: u32,
}

impl Queue {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            capacity,
            items: VecDeque::new(),
            is_closed: false,
            getters: VecDeque::new(),
            putters: VecDeque::new(),
            unfinished: 0,
            joiners: Vec::new(),
            leased: BTreeMap::new(),
            next_lease: 0,
        }
    }

    pub(super) fn perform(
        &mut self,
        operation: u8,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Flow> {
        match operation {
            op::PUT => return self.put(args, context),
            op::EXTEND => return self.put_many(args, context, out),
            op::TAKE => return self.take(Hold::Keep, args, context, out),
            op::LEASE_ITEM => return self.take(Hold::Lease, args, context, out),
            op::ITEM_DONE => {
                let leased = self.end_lease(args.u64()?, context)?;
                context.let_go(&leased.item);
                self.finish(context)?;
            }
            op::ITEM_BACK => {
                let leased = self.end_lease(args.u64()?, context)?;
                self.items.push_front((leased.item, leased.attempt));
                self.pass_on(context);
            }
            op::TASK_DONE => self.finish(context)?,
            op::JOIN => {
                let deadline = args.deadline()?;
                if self.unfinished > 0 {
                    if deadline.has_passed() {
                        return Ok(Flow::Answered(status::TIMED_OUT));
                    }
                    let flow = context.park(deadline)?;
                    self.joiners.push(context.caller);
                    return Ok(flow);
                }
            }
            op::CLOSE => self.close(context),
            op::LOOK => {
                out.put_u64(self.items.len() as u64);
                out.put_u64(self.capacity);
                out.put_u8(self.is_closed.into());
                out.put_u64(self.unfinished);
            }
            other => return Err(no_such_operation("queue", other)),
        }
        DONE
    }

    fn is_full(&self) -> bool {
        self.capacity > 0 && self.items.len() as u64 >= self.capacity
    }

    fn put(&mut self, args: &mut Reader<'_>, context: &mut Context<'_>) -> Result<Flow> {
        let deadline = args.deadline()?;
        let raw = args.item()?;
        if self.is_closed {
            return Ok(Flow::Answered(status::CLOSED));
        }
        if !self.is_full() {
            let item = context.keep(raw)?;
            self.add(item, context);
            return DONE;
        }
        if deadline.has_passed() {
            return Ok(Flow::Answered(status::TIMED_OUT));
        }
        let item = context.keep(raw)?;
        let flow = context.park(deadline).inspect_err(|_refused| context.let_go(&item));
        if flow.is_ok() {
            self.putters.push_back((context.caller, item));
        }
        flow
    }

    /// Puts as many as there is room for at once, and tells how many.
    fn put_many(
        &mut self,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Flow> {
        if self.is_closed {
            return Ok(Flow::Answered(status::CLOSED));
        }
        let items = context.keep_many(args)?;
        let mut put = 0;
        for item in items {
            if self.is_full() {
                context.let_go(&item);
            } else {
                self.add(item, context);
                put += 1;
            }
        }
        out.put_u64(put);
        DONE
    }

    fn add(&mut self, item: Item, context: &mut Context<'_>) {
        self.unfinished += 1;
        self.items.push_back((item, 0));
        self.pass_on(context);
    }

    /// Gives items to those who wait for them, and room to those who wait for that.
    fn pass_on(&mut self, context: &mut Context<'_>) {
        while let Some((item, attempt)) = self.items.pop_front() {
            let Some((caller, hold)) = self.getters.pop_front() else {
                self.items.push_front((item, attempt));
                break;
            };
            let lease = self.begin_lease(hold, caller.session, &item, attempt + 1);
            context.answer_with_item(caller, &item, lease);
            if lease.is_none() {
                context.let_go(&item);
            }
        }
        while !self.is_full()
            && let Some((caller, item)) = self.putters.pop_front()
        {
            self.unfinished += 1;
            self.items.push_back((item, 0));
            context.answer(caller, status::DONE, |_nothing| {});
        }
    }

    fn begin_lease(&mut self, hold: Hold, session: u64, item: &Item, attempt: u32) -> Option<u64> {
        if hold == Hold::Keep {
            return None;
        }
        self.next_lease += 1;
        let leased = Leased { session, item: item.clone(), attempt };
        self.leased.insert(self.next_lease, leased);
        Some(self.next_lease)
    }

    fn take(
        &mut self,
        hold: Hold,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Flow> {
        let deadline = args.deadline()?;
        let Some((item, attempt)) = self.items.pop_front() else {
            if self.is_closed {
                return Ok(Flow::Answered(status::CLOSED));
            }
            if deadline.has_passed() {
                return Ok(Flow::Answered(status::TIMED_OUT));
            }
            let flow = context.park(deadline)?;
            self.getters.push_back((context.caller, hold));
            return Ok(flow);
        };
        match self.begin_lease(hold, context.caller.session, &item, attempt + 1) {
            Some(lease) => {
                context.effects.touched = true;
                out.put_u64(lease);
                context.show(&item, out)?;
            }
            None => context.hand_out(&item, out)?,
        }
        self.pass_on(context);
        DONE
    }

    fn end_lease(&mut self, lease: u64, context: &Context<'_>) -> Result<Leased> {
        let session = context.caller.session;
        let is_its = self.leased.get(&lease).is_some_and(|leased| leased.session == session);
        let ended = is_its.then(|| self.leased.remove(&lease)).flatten();
        ended.ok_or_else(|| Error::new(ErrorKind::NotFound, "the lease has ended already"))
    }

    fn finish(&mut self, context: &mut Context<'_>) -> Result<()> {
        self.unfinished = self.unfinished.checked_sub(1).ok_or_else(|| {
            let text = "more items were said to be done than were put";
            Error::new(ErrorKind::InvalidInput, text)
        })?;
        if self.unfinished == 0 {
            for caller in std::mem::take(&mut self.joiners) {
                context.answer(caller, status::DONE, |_nothing| {});
            }
        }
        Ok(())
    }

    /// Nothing more is put; what is there is still got.
    fn close(&mut self, context: &mut Context<'_>) {
        self.is_closed = true;
        for (caller, _) in std::mem::take(&mut self.getters) {
            context.answer(caller, status::CLOSED, |_nothing| {});
        }
        for (caller, item) in std::mem::take(&mut self.putters) {
            context.let_go(&item);
            context.answer(caller, status::CLOSED, |_nothing| {});
        }
    }

    pub(super) fn expire(&mut self, caller: Caller, context: &mut Context<'_>) {
        self.remove_waiting(|waiting| waiting == caller, context);
        context.answer(caller, status::TIMED_OUT, |_nothing| {});
    }

    fn remove_waiting(&mut self, is_it: impl Fn(Caller) -> bool, context: &mut Context<'_>) {
        self.getters.retain(|(caller, _)| !is_it(*caller));
        self.joiners.retain(|caller| !is_it(*caller));
        self.putters.retain(|(caller, item)| {
            let stays = !is_it(*caller);
            if !stays {
                context.let_go(item);
            }
            stays
        });
    }

    pub(super) fn forget(&mut self, session: u64, context: &mut Context<'_>) {
        self.remove_waiting(|caller| caller.session == session, context);
        // The one that was leased last goes in front first, so that they come in the order in which they were put.
        let theirs: Vec<u64> = self
            .leased
            .iter()
            .filter(|(_, leased)| leased.session == session)
            .map(|(lease, _)| *lease)
            .collect();
        for lease in theirs.into_iter().rev() {
            if let Some(leased) = self.leased.remove(&lease) {
                self.items.push_front((leased.item, leased.attempt));
            }
        }
        self.pass_on(context);
    }

    pub(super) fn callers(&self) -> Vec<Caller> {
        let getters = self.getters.iter().map(|(caller, _)| *caller);
        let putters = self.putters.iter().map(|(caller, _)| *caller);
        getters.chain(putters).chain(self.joiners.iter().copied()).collect()
    }

    pub(super) fn clear(&mut self, context: &mut Context<'_>) {
        for (item, _) in std::mem::take(&mut self.items) {
            context.let_go(&item);
        }
        for (_, item) in std::mem::take(&mut self.putters) {
            context.let_go(&item);
        }
        for leased in std::mem::take(&mut self.leased).into_values() {
            context.let_go(&leased.item);
        }
    }
}
