//! An event.

use procession_core::Result;

use super::context::{Caller, Context, DONE, Flow, no_such_operation};
use crate::wire::{Reader, Write, op, status};

#[derive(Debug, Default)]
pub(super) struct Event {
    is_set: bool,
    waiting: Vec<Caller>,
}

impl Event {
    pub(super) fn perform(
        &mut self,
        operation: u8,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Flow> {
        match operation {
            op::LOOK => out.put_u8(self.is_set.into()),
            op::SET => {
                out.put_u8(std::mem::replace(&mut self.is_set, true).into());
                for caller in std::mem::take(&mut self.waiting) {
                    context.answer(caller, status::DONE, |_nothing| {});
                }
            }
            op::CLEAR => out.put_u8(std::mem::replace(&mut self.is_set, false).into()),
            op::WAIT => {
                let deadline = args.deadline()?;
                if self.is_set {
                    return DONE;
                }
                if deadline.has_passed() {
                    return Ok(Flow::Answered(status::TIMED_OUT));
                }
                let flow = context.park(deadline)?;
                self.waiting.push(context.caller);
                return Ok(flow);
            }
            other => return Err(no_such_operation("event", other)),
        }
        DONE
    }

    pub(super) fn expire(&mut self, caller: Caller, context: &mut Context<'_>) {
        self.waiting.retain(|waiting| *waiting != caller);
        context.answer(caller, status::TIMED_OUT, |_nothing| {});
    }

    pub(super) fn forget(&mut self, session: u64) {
        self.waiting.retain(|waiting| waiting.session != session);
    }

    pub(super) fn callers(&self) -> Vec<Caller> {
        self.waiting.clone()
    }
}
