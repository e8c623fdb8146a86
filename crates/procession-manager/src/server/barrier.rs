//! A barrier.
//!
//! It fills until all parties have come. If who came last has an action, it is told to act, and the others wait until it says that
//! it has; a party whose session ends meanwhile, or whose time is up, breaks the barrier for all until it is reset.

use std::collections::VecDeque;

use procession_core::{Error, ErrorKind, Result};

use super::context::{Caller, Context, DONE, Flow, no_such_operation};
use crate::wire::{Reader, Write, op, status};

#[derive(Debug)]
pub(super) struct Barrier {
    parties: u32,
    waiting: VecDeque<Caller>,
    /// Whose session acts.
    acting: Option<u64>,
    is_broken: bool,
}

impl Barrier {
    pub(super) fn new(parties: u32) -> Result<Self> {
        if parties == 0 {
            return Err(Error::new(ErrorKind::InvalidInput, "a barrier has one party at least"));
        }
        Ok(Self { parties, waiting: VecDeque::new(), acting: None, is_broken: false })
    }

    pub(super) fn perform(
        &mut self,
        operation: u8,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Flow> {
        match operation {
            op::WAIT => return self.wait(args, context, out),
            op::ACTED => {
                if self.acting != Some(context.caller.session) {
                    return Ok(Flow::Answered(status::BROKEN));
                }
                self.acting = None;
                match args.flag()? {
                    true => self.open(context, out),
                    false => self.shatter(context),
                }
            }
            op::ABORT => self.shatter(context),
            op::RESET => {
                self.shatter(context);
                self.is_broken = false;
            }
            op::LOOK => {
                out.put_u32(self.parties);
                out.put_u64(self.waiting.len() as u64);
                out.put_u8(self.is_broken.into());
            }
            other => return Err(no_such_operation("barrier", other)),
        }
        DONE
    }

    fn wait(
        &mut self,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Flow> {
        let (has_action, deadline) = (args.flag()?, args.deadline()?);
        if self.is_broken {
            return Ok(Flow::Answered(status::BROKEN));
        }
        if self.acting.is_some() {
            let text = format!("more than {} parties have come to a barrier", self.parties);
            return Err(Error::new(ErrorKind::InvalidInput, text));
        }
        context.effects.touched = true;
        if self.waiting.len() + 1 == self.parties as usize {
            if has_action {
                self.acting = Some(context.caller.session);
                return Ok(Flow::Answered(status::ACT));
            }
            self.open(context, out);
            return DONE;
        }
        if deadline.has_passed() {
            self.shatter(context);
            return Ok(Flow::Answered(status::BROKEN));
        }
        let flow = context.park(deadline)?;
        self.waiting.push_back(context.caller);
        Ok(flow)
    }

    /// Lets all go on: the caller is the last.
    fn open(&mut self, context: &mut Context<'_>, out: &mut Vec<u8>) {
        out.put_u64(u64::from(self.parties - 1));
        for (number, caller) in (0..).zip(std::mem::take(&mut self.waiting)) {
            context.answer(caller, status::DONE, |out| out.put_u64(number));
        }
    }

    fn shatter(&mut self, context: &mut Context<'_>) {
        self.is_broken = true;
        self.acting = None;
        for caller in std::mem::take(&mut self.waiting) {
            context.answer(caller, status::BROKEN, |_nothing| {});
        }
    }

    pub(super) fn expire(&mut self, context: &mut Context<'_>) {
        self.shatter(context);
    }

    pub(super) fn forget(&mut self, session: u64, context: &mut Context<'_>) {
        let was_waiting = self.waiting.iter().any(|caller| caller.session == session);
        if was_waiting || self.acting == Some(session) {
            self.waiting.retain(|caller| caller.session != session);
            self.shatter(context);
        }
    }

    pub(super) fn callers(&self) -> Vec<Caller> {
        self.waiting.iter().copied().collect()
    }
}
