//! A semaphore. Who waits is served in the order of coming.

use std::collections::{HashMap, VecDeque};

use procession_core::{Error, ErrorKind, Result};

use super::context::{Caller, Context, DONE, Flow, no_such_operation};
use crate::wire::{Reader, Write, op, status};

#[derive(Debug)]
pub(super) struct Semaphore {
    value: u32,
    /// What the value must not exceed.
    most: Option<u32>,
    waiting: VecDeque<(Caller, bool)>,
    /// How many permits the sessions have that give them back by a guard.
    guarded: HashMap<u64, u32>,
}

impl Semaphore {
    pub(super) fn new(value: u32, is_bounded: bool) -> Self {
        let most = is_bounded.then_some(value);
        Self { value, most, waiting: VecDeque::new(), guarded: HashMap::new() }
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
                let (is_guarded, count) = (args.flag()?, args.u32()?);
                self.give_back(is_guarded, count, context)?;
            }
            op::LOOK => {
                out.put_u32(self.value);
                out.put_u32(self.most.unwrap_or(u32::MAX));
            }
            // The guard was told to forget its permit, which stays taken.
            op::REPAIR => self.unguard(context.caller.session)?,
            other => return Err(no_such_operation("semaphore", other)),
        }
        DONE
    }

    fn acquire(&mut self, args: &mut Reader<'_>, context: &mut Context<'_>) -> Result<Flow> {
        let (is_guarded, deadline) = (args.flag()?, args.deadline()?);
        context.effects.touched = true;
        if self.value > 0 {
            self.value -= 1;
            self.note(context.caller.session, is_guarded);
            return DONE;
        }
        if deadline.has_passed() {
            return Ok(Flow::Answered(status::TIMED_OUT));
        }
        let flow = context.park(deadline)?;
        self.waiting.push_back((context.caller, is_guarded));
        Ok(flow)
    }

    fn note(&mut self, session: u64, is_guarded: bool) {
        if is_guarded {
            *self.guarded.entry(session).or_default() += 1;
        }
    }

    fn unguard(&mut self, session: u64) -> Result<()> {
        let Some(count) = self.guarded.get_mut(&session) else {
            return Err(Error::new(ErrorKind::InvalidInput, "the session has no such permit"));
        };
        *count -= 1;
        if *count == 0 {
            self.guarded.remove(&session);
        }
        Ok(())
    }

    fn give_back(&mut self, is_guarded: bool, count: u32, context: &mut Context<'_>) -> Result<()> {
        let most = self.most.unwrap_or(u32::MAX);
        let value = self.value.checked_add(count).filter(|value| *value <= most);
        let value = value.ok_or_else(|| {
            let text = format!("a semaphore of at most {most} would be released too often");
            Error::new(ErrorKind::InvalidInput, text)
        })?;
        if is_guarded {
            self.unguard(context.caller.session)?;
        }
        self.value = value;
        self.pass_on(context);
        Ok(())
    }

    fn pass_on(&mut self, context: &mut Context<'_>) {
        while self.value > 0
            && let Some((next, is_guarded)) = self.waiting.pop_front()
        {
            self.value -= 1;
            self.note(next.session, is_guarded);
            context.answer(next, status::DONE, |_nothing| {});
        }
    }

    pub(super) fn expire(&mut self, caller: Caller, context: &mut Context<'_>) {
        self.waiting.retain(|(waiting, _)| *waiting != caller);
        context.answer(caller, status::TIMED_OUT, |_nothing| {});
    }

    pub(super) fn forget(&mut self, session: u64, context: &mut Context<'_>) {
        self.waiting.retain(|(waiting, _)| waiting.session != session);
        let permits = self.guarded.remove(&session).unwrap_or(0);
        self.value = self.value.saturating_add(permits).min(self.most.unwrap_or(u32::MAX));
        self.pass_on(context);
    }

    pub(super) fn callers(&self) -> Vec<Caller> {
        self.waiting.iter().map(|(caller, _)| *caller).collect()
    }
}
