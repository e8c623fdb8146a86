//! A lock, and the conditions that go with it.
//!
//! The lock is free, or has a holder: a thread of a session. Those who wait get it in the order in which they came. Who waits for a
//! condition has given the lock up; notified, or late, it waits for the lock, and is answered when it has it.
//!
//! When the holder's session ends, the lock is free and *after a death* until somebody says that it is repaired.

use std::collections::{BTreeMap, VecDeque};

use procession_core::{Error, ErrorKind, Result};

use super::context::{Caller, Context, DONE, Flow, no_such_operation};
use crate::wire::{Reader, Write, op, status};

#[derive(Debug)]
pub(super) struct Lock {
    is_recursive: bool,
    holder: Option<Holder>,
    is_after_death: bool,
    waiting: VecDeque<Waiter>,
    conditions: BTreeMap<u64, VecDeque<Waiter>>,
    next_condition: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holder {
    session: u64,
    thread: u64,
    depth: u32,
}

#[derive(Debug, Clone, Copy)]
struct Waiter {
    caller: Caller,
    /// What it has when it is its turn.
    becomes: Holder,
    /// What it is told then.
    status: u8,
    /// Whether it waited for a condition: then it is answered with the lock, however late it is.
    has_to_have_it: bool,
}

impl Lock {
    pub(super) fn new(is_recursive: bool) -> Self {
        Self {
            is_recursive,
            holder: None,
            is_after_death: false,
            waiting: VecDeque::new(),
            conditions: BTreeMap::new(),
            next_condition: 0,
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
            op::ACQUIRE => return self.acquire(args, context),
            op::GIVE_BACK => {
                self.give_back(args.u64()?, args.flag()?, context)?;
            }
            op::REPAIR => self.is_after_death = false,
            op::LOOK => {
                out.put_u8(self.holder.is_some().into());
                out.put_u32(self.holder.map_or(0, |holder| holder.depth));
                out.put_u8(self.is_after_death.into());
            }
            op::NEW_CONDITION => {
                self.next_condition += 1;
                out.put_u64(self.next_condition);
            }
            op::WAIT => return self.wait(args, context),
            op::NOTIFY => self.notify(args, context, out)?,
            op::LEN => {
                let condition = args.u64()?;
                let waiting = self.conditions.get(&condition).map_or(0, VecDeque::len);
                out.put_u64(waiting as u64);
            }
            other => return Err(no_such_operation("lock", other)),
        }
        DONE
    }

    fn acquire(&mut self, args: &mut Reader<'_>, context: &mut Context<'_>) -> Result<Flow> {
        let (thread, deadline) = (args.u64()?, args.deadline()?);
        let session = context.caller.session;
        let becomes = Holder { session, thread, depth: 1 };
        context.effects.touched = true;
        match &mut self.holder {
            None => {
                self.holder = Some(becomes);
                Ok(Flow::Answered(self.taken()))
            }
            Some(holder)
                if self.is_recursive && (holder.session, holder.thread) == (session, thread) =>
            {
                holder.depth = holder.depth.saturating_add(1);
                Ok(Flow::Answered(status::DONE))
            }
            Some(_) if deadline.has_passed() => Ok(Flow::Answered(status::TIMED_OUT)),
            Some(_) => {
                let flow = context.park(deadline)?;
                let caller = context.caller;
                self.waiting.push_back(Waiter {
                    caller,
                    becomes,
                    status: status::DONE,
                    has_to_have_it: false,
                });
                Ok(flow)
            }
        }
    }

    /// What who takes the lock is told.
    fn taken(&self) -> u8 {
        if self.is_after_death { status::OWNER_DIED } else { status::DONE }
    }

    /// Gives it back; `anyhow` also for somebody else.
    fn give_back(&mut self, thread: u64, anyhow: bool, context: &mut Context<'_>) -> Result<()> {
        let Some(holder) = &mut self.holder else {
            return Err(Error::new(ErrorKind::InvalidInput, "the lock is not locked"));
        };
        let is_its = (holder.session, holder.thread) == (context.caller.session, thread);
        let may = is_its || anyhow && !self.is_recursive;
        if !may {
            return Err(Error::new(ErrorKind::InvalidInput, "somebody else has the lock"));
        }
        holder.depth -= 1;
        if holder.depth == 0 {
            self.holder = None;
            self.pass_on(context);
        }
        Ok(())
    }

    /// Gives the free lock to who has waited longest.
    fn pass_on(&mut self, context: &mut Context<'_>) {
        if self.holder.is_none()
            && let Some(next) = self.waiting.pop_front()
        {
            self.holder = Some(next.becomes);
            let status = if self.is_after_death { status::OWNER_DIED } else { next.status };
            context.answer(next.caller, status, |_nothing| {});
        }
    }

    /// Waits for a condition.
    fn wait(&mut self, args: &mut Reader<'_>, context: &mut Context<'_>) -> Result<Flow> {
        let (condition, thread, deadline) = (args.u64()?, args.u64()?, args.deadline()?);
        let becomes = self.held_by(thread, context)?;
        let flow = context.park(deadline)?;
        let caller = context.caller;
        let waiter = Waiter { caller, becomes, status: status::DONE, has_to_have_it: true };
        self.conditions.entry(condition).or_default().push_back(waiter);
        self.holder = None;
        self.pass_on(context);
        Ok(flow)
    }

    fn held_by(&self, thread: u64, context: &Context<'_>) -> Result<Holder> {
        let wanted = (context.caller.session, thread);
        let holder = self.holder.filter(|holder| (holder.session, holder.thread) == wanted);
        holder.ok_or_else(|| {
            let text = "who waits for a condition, or notifies, has to have its lock";
            Error::new(ErrorKind::InvalidInput, text)
        })
    }

    fn notify(
        &mut self,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let (condition, thread, most) = (args.u64()?, args.u64()?, args.u64()?);
        self.held_by(thread, context)?;
        let mut notified = 0;
        if let Some(waiting) = self.conditions.get_mut(&condition) {
            let count = waiting.len().min(usize::try_from(most).unwrap_or(usize::MAX));
            notified = count as u64;
            // They cannot go on before the lock is free, and that it is not.
            self.waiting.extend(waiting.drain(..count));
            if waiting.is_empty() {
                self.conditions.remove(&condition);
            }
        }
        out.put_u64(notified);
        Ok(())
    }

    /// A call has waited for long enough.
    pub(super) fn expire(&mut self, caller: Caller, context: &mut Context<'_>) {
        let place = self.waiting.iter().position(|waiter| waiter.caller == caller);
        if let Some(place) = place {
            if !self.waiting[place].has_to_have_it {
                self.waiting.remove(place);
                context.answer(caller, status::TIMED_OUT, |_nothing| {});
            }
            return;
        }
        let mut late = None;
        for waiting in self.conditions.values_mut() {
            if let Some(place) = waiting.iter().position(|waiter| waiter.caller == caller) {
                late = waiting.remove(place);
            }
        }
        self.conditions.retain(|_, waiting| !waiting.is_empty());
        if let Some(late) = late {
            self.waiting.push_back(Waiter { status: status::TIMED_OUT, ..late });
            self.pass_on(context);
        }
    }

    /// A session has ended.
    pub(super) fn forget(&mut self, session: u64, context: &mut Context<'_>) {
        let lives = |waiter: &Waiter| waiter.caller.session != session;
        self.waiting.retain(lives);
        for waiting in self.conditions.values_mut() {
            waiting.retain(lives);
        }
        self.conditions.retain(|_, waiting| !waiting.is_empty());
        if self.holder.is_some_and(|holder| holder.session == session) {
            self.holder = None;
            self.is_after_death = true;
            self.pass_on(context);
        }
    }

    /// All who wait.
    pub(super) fn callers(&self) -> Vec<Caller> {
        let conditions = self.conditions.values().flatten();
        self.waiting.iter().chain(conditions).map(|waiter| waiter.caller).collect()
    }
}
