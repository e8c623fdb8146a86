//! `Lock`, `RLock`, `Semaphore`, `BoundedSemaphore`.

use std::sync::Arc;

use procession_core::Deadline;
use procession_sys::prim::{Condvar, Mutex};

use super::super::arguments::{Arguments, blocking};
use super::super::managed::{Answer, Caller, Managed, no_method, owned, raise};
use super::{count, locked};
use crate::value::{Exception, Value};

/// `Lock` and `RLock`.
#[derive(Debug, Default)]
pub(super) struct Lock {
    is_recursive: bool,
    held: Mutex<Held>,
    changed: Condvar,
}

/// Who has it, and how often; zero is nobody.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Held {
    owner: u64,
    times: u64,
}

impl Lock {
    pub(super) fn plain() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub(super) fn recursive() -> Arc<Self> {
        Arc::new(Self::new_recursive())
    }

    pub(super) fn new_recursive() -> Self {
        Self { is_recursive: true, ..Self::default() }
    }

    /// Acquires; tells whether it could in time.
    pub(super) fn acquire(
        &self,
        caller: &Caller<'_>,
        deadline: Deadline,
    ) -> Result<bool, Exception> {
        let take = |held: &mut Held| {
            let is_ours = self.is_recursive && held.owner == caller.number();
            (held.times == 0 || is_ours).then(|| {
                *held = Held { owner: caller.number(), times: held.times + 1 };
            })
        };
        let (_guard, taken) = caller.wait(&self.changed, locked(&self.held), deadline, take)?;
        Ok(taken.is_some())
    }

    pub(super) fn release(&self, caller: &Caller<'_>) -> Result<(), Exception> {
        let mut held = locked(&self.held);
        if held.times == 0 {
            let text = if self.is_recursive {
                "cannot release un-acquired lock"
            } else {
                "release unlocked lock"
            };
            return Err(raise("RuntimeError", text));
        }
        // A plain one may be released by anybody.
        if self.is_recursive && held.owner != caller.number() {
            return Err(raise("RuntimeError", "cannot release un-acquired lock"));
        }
        held.times -= 1;
        drop(held);
        self.changed.notify_one();
        Ok(())
    }

    pub(super) fn is_owned_by(&self, caller: &Caller<'_>) -> bool {
        let held = locked(&self.held);
        held.times > 0 && held.owner == caller.number()
    }

    /// Gives it up, however often it is held; what [`take_back`](Self::take_back) takes.
    pub(super) fn give_up(&self) -> Held {
        let before = std::mem::take(&mut *locked(&self.held));
        self.changed.notify_one();
        before
    }

    /// Waits until it is free, and has it as before.
    pub(super) fn take_back(&self, caller: &Caller<'_>, before: Held) -> Result<(), Exception> {
        let take = |held: &mut Held| (held.times == 0).then(|| *held = before);
        caller.wait(&self.changed, locked(&self.held), Deadline::NEVER, take).map(|_taken| ())
    }

    /// Whose connection has ended has it no more. A plain one has no owner: another thread may be going to release it.
    pub(super) fn leave(&self, caller: u64) {
        let mut held = locked(&self.held);
        if self.is_recursive && held.times > 0 && held.owner == caller {
            *held = Held::default();
            drop(held);
            self.changed.notify_one();
        }
    }
}

impl Managed for Lock {
    fn methods(&self) -> Vec<String> {
        owned(&["acquire", "locked", "release"])
    }

    fn call(
        &self,
        method: &str,
        arguments: Arguments,
        caller: &Caller<'_>,
    ) -> Result<Answer, Exception> {
        match method {
            "acquire" => {
                let [block, timeout] = arguments.bind(["blocking", "timeout"], 0)?;
                self.acquire(caller, patience(block.as_ref(), timeout.as_ref())?).map(Answer::from)
            }
            "release" => {
                arguments.none()?;
                self.release(caller).map(Answer::from)
            }
            "locked" => arguments.none().map(|()| (locked(&self.held).times > 0).into()),
            other => Err(no_method(other)),
        }
    }

    fn repr(&self) -> String {
        let state = if locked(&self.held).times > 0 { "locked" } else { "unlocked" };
        format!("<{state} lock>")
    }

    fn left(&self, caller: u64) {
        self.leave(caller);
    }
}

/// As `threading` has it: minus one second is for ever.
pub(super) fn patience(
    block: Option<&Value>,
    timeout: Option<&Value>,
) -> Result<Deadline, Exception> {
    let is_for_ever = match timeout {
        Some(Value::Int(-1)) => true,
        Some(Value::Float(seconds)) => *seconds < 0.0,
        _ => false,
    };
    blocking(block, timeout.filter(|_| !is_for_ever))
}

/// `Semaphore` and `BoundedSemaphore`.
#[derive(Debug)]
pub(super) struct Semaphore {
    /// The most that there may be.
    bound: Option<u64>,
    permits: Mutex<u64>,
    changed: Condvar,
}

impl Semaphore {
    pub(super) fn new(arguments: Arguments, is_bounded: bool) -> Result<Self, Exception> {
        let [permits] = arguments.bind(["value"], 0)?;
        let permits = count(permits.as_ref(), 1)?;
        let bound = is_bounded.then_some(permits);
        Ok(Self { bound, permits: Mutex::new(permits), changed: Condvar::new() })
    }
}

impl Managed for Semaphore {
    fn methods(&self) -> Vec<String> {
        owned(&["acquire", "release"])
    }

    fn call(
        &self,
        method: &str,
        arguments: Arguments,
        caller: &Caller<'_>,
    ) -> Result<Answer, Exception> {
        match method {
            "acquire" => {
                let [block, timeout] = arguments.bind(["blocking", "timeout"], 0)?;
                let deadline = blocking(block.as_ref(), timeout.as_ref())?;
                let take = |permits: &mut u64| {
                    *permits = permits.checked_sub(1)?;
                    Some(())
                };
                let permits = locked(&self.permits);
                let (_guard, taken) = caller.wait(&self.changed, permits, deadline, take)?;
                Ok(taken.is_some().into())
            }
            "release" => {
                let [more] = arguments.bind(["n"], 0)?;
                let mut permits = locked(&self.permits);
                let more = permits.saturating_add(count(more.as_ref(), 1)?);
                if self.bound.is_some_and(|bound| more > bound) {
                    return Err(raise("ValueError", "Semaphore released too many times"));
                }
                *permits = more;
                drop(permits);
                self.changed.notify_all();
                Ok(().into())
            }
            other => Err(no_method(other)),
        }
    }

    fn repr(&self) -> String {
        format!("<semaphore, {} free>", locked(&self.permits))
    }
}
