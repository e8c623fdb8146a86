//! The calls of a session that have no answer yet, and who reads for them.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::thread::{self, Thread};

use procession_core::Deadline;

use crate::numbered::Numbered;

/// What throws an answer away that nobody wants any more.
pub(crate) type Forget = Box<dyn FnOnce(Vec<u8>) + Send>;

/// The calls under way.
#[derive(Debug, Default)]
pub(super) struct Calls {
    under_way: Numbered<Call>,
    /// Who sleeps, by what it waits for.
    sleeping: BTreeMap<u64, Thread>,
    /// Whether somebody reads.
    is_led: bool,
    is_lost: bool,
}

/// A call that was sent, and not waited for yet.
#[derive(Debug)]
pub(crate) struct Pending(pub(crate) u64);

/// What there is of a call.
enum Call {
    Sent,
    Answered(Vec<u8>),
    /// Nobody will wait for it.
    Abandoned(Forget),
}

/// What one who waits does next.
pub(super) enum Role {
    Answered(Vec<u8>),
    /// It reads, for all.
    Leads,
    /// It sleeps until it is woken.
    Waits,
    Lost,
}

impl Calls {
    pub(super) fn begin(&mut self, call: u64) {
        self.under_way.insert(call, Call::Sent);
    }

    pub(super) fn end(&mut self, call: u64) {
        self.under_way.remove(&call);
        self.sleeping.remove(&call);
    }

    /// A call that is the only one leads at once; another one is noted. Tells whether it leads.
    pub(super) fn lead_or_begin(&mut self, call: u64) -> bool {
        if self.under_way.is_empty() && self.try_lead() {
            return true;
        }
        self.begin(call);
        false
    }

    pub(super) fn try_lead(&mut self) -> bool {
        !mem::replace(&mut self.is_led, true)
    }

    /// Somebody else shall read, if anybody waits.
    pub(super) fn stop_leading(&mut self) {
        self.is_led = false;
        if let Some((_, next)) = self.sleeping.first_key_value() {
            next.unpark();
        }
    }

    pub(super) fn role(&mut self, call: u64) -> Role {
        self.sleeping.remove(&call);
        let Some(state) = self.under_way.get_mut(&call) else { return Role::Lost };
        if let Call::Answered(answer) = state {
            let answer = mem::take(answer);
            self.under_way.remove(&call);
            // Who was woken to read, and had been answered meanwhile, leaves that to another.
            if !self.is_led {
                self.stop_leading();
            }
            return Role::Answered(answer);
        }
        if self.is_lost {
            self.under_way.remove(&call);
            return Role::Lost;
        }
        if self.try_lead() {
            return Role::Leads;
        }
        self.sleeping.insert(call, thread::current());
        Role::Waits
    }

    /// Notes an answer; gives it back when it is to be thrown away.
    pub(super) fn hand_out(&mut self, call: u64, answer: Vec<u8>) -> Option<(Forget, Vec<u8>)> {
        let state = self.under_way.get_mut(&call)?;
        match mem::replace(state, Call::Answered(answer)) {
            Call::Sent | Call::Answered(_) => {
                if let Some(thread) = self.sleeping.remove(&call) {
                    thread.unpark();
                }
            }
            Call::Abandoned(forget) => {
                if let Some(Call::Answered(answer)) = self.under_way.remove(&call) {
                    return Some((forget, answer));
                }
            }
        }
        None
    }

    /// Nobody will wait for a call; its answer, if it is here.
    pub(super) fn abandon(&mut self, call: u64, forget: Forget) -> Option<(Forget, Vec<u8>)> {
        let state = self.under_way.get_mut(&call)?;
        if let Call::Answered(answer) = state {
            let answer = mem::take(answer);
            self.under_way.remove(&call);
            return Some((forget, answer));
        }
        *state = Call::Abandoned(forget);
        None
    }

    pub(super) fn lose(&mut self) {
        self.is_lost = true;
        self.under_way.retain(|_, call| !matches!(call, Call::Abandoned(_)));
        self.sleeping.values().for_each(Thread::unpark);
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sent => "Sent",
            Self::Answered(_) => "Answered",
            Self::Abandoned(_) => "Abandoned",
        })
    }
}

/// Sleeps until somebody wakes this thread; `false` once the deadline has passed.
pub(super) fn park(deadline: Deadline) -> bool {
    match deadline.remaining() {
        None => thread::park(),
        Some(left) if left.is_zero() => return false,
        Some(left) => thread::park_timeout(left),
    }
    true
}
