//! `Event`, `Condition`, `Barrier`.

use std::collections::{HashMap, VecDeque};

use procession_core::Deadline;
use procession_sys::prim::{Condvar, Mutex, MutexGuard};

use super::super::arguments::{Arguments, blocking, deadline};
use super::super::managed::{Answer, Caller, Managed, no_method, owned, raise};
use super::lock::{Lock, patience};
use super::{count, locked};
use crate::value::{Exception, Global, Value};

/// `Event`.
#[derive(Debug, Default)]
pub(super) struct Event {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Managed for Event {
    fn methods(&self) -> Vec<String> {
        owned(&["clear", "is_set", "set", "wait"])
    }

    fn call(
        &self,
        method: &str,
        arguments: Arguments,
        caller: &Caller<'_>,
    ) -> Result<Answer, Exception> {
        match method {
            "set" | "clear" => {
                arguments.none()?;
                *locked(&self.is_set) = method == "set";
                self.changed.notify_all();
                Ok(().into())
            }
            "is_set" => arguments.none().map(|()| (*locked(&self.is_set)).into()),
            "wait" => {
                let [timeout] = arguments.bind(["timeout"], 0)?;
                let until = deadline(timeout.as_ref())?;
                let ready = |is_set: &mut bool| is_set.then_some(());
                let (_guard, set) =
                    caller.wait(&self.changed, locked(&self.is_set), until, ready)?;
                Ok(set.is_some().into())
            }
            other => Err(no_method(other)),
        }
    }

    fn repr(&self) -> String {
        format!("<event, {}>", if *locked(&self.is_set) { "set" } else { "unset" })
    }
}

/// `Condition`, over an `RLock`.
#[derive(Debug)]
pub(super) struct Condition {
    lock: Lock,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// Who waits has a number in the line; who is woken is taken out of it.
#[derive(Debug, Default)]
struct Waiting {
    line: VecDeque<u64>,
    last: u64,
}

impl Default for Condition {
    fn default() -> Self {
        Self { lock: Lock::new_recursive(), waiting: Mutex::default(), changed: Condvar::new() }
    }
}

impl Condition {
    fn wait(&self, caller: &Caller<'_>, until: Deadline) -> Result<bool, Exception> {
        self.check_owner(caller, "wait on")?;
        let mut waiting = locked(&self.waiting);
        waiting.last += 1;
        let number = waiting.last;
        waiting.line.push_back(number);
        let before = self.lock.give_up();
        let ready = |waiting: &mut Waiting| (!waiting.line.contains(&number)).then_some(());
        let waited = caller.wait(&self.changed, waiting, until, ready).map(|(_, woken)| woken);
        if !matches!(waited, Ok(Some(()))) {
            // Nobody shall be woken in its place who is not there.
            locked(&self.waiting).line.retain(|other| *other != number);
        }
        let woken = waited?;
        self.lock.take_back(caller, before)?;
        Ok(woken.is_some())
    }

    fn notify(&self, caller: &Caller<'_>, some: u64) -> Result<(), Exception> {
        self.check_owner(caller, "notify on")?;
        let mut waiting = locked(&self.waiting);
        let some = usize::try_from(some).unwrap_or(usize::MAX).min(waiting.line.len());
        waiting.line.drain(..some);
        drop(waiting);
        self.changed.notify_all();
        Ok(())
    }

    fn check_owner(&self, caller: &Caller<'_>, what: &str) -> Result<(), Exception> {
        match self.lock.is_owned_by(caller) {
            true => Ok(()),
            false => Err(raise("RuntimeError", format!("cannot {what} un-acquired lock"))),
        }
    }
}

impl Managed for Condition {
    fn methods(&self) -> Vec<String> {
        owned(&["acquire", "notify", "notify_all", "release", "wait"])
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
                let until = patience(block.as_ref(), timeout.as_ref())?;
                self.lock.acquire(caller, until).map(Answer::from)
            }
            "release" => {
                arguments.none()?;
                self.lock.release(caller).map(Answer::from)
            }
            "wait" => {
                let [timeout] = arguments.bind(["timeout"], 0)?;
                self.wait(caller, deadline(timeout.as_ref())?).map(Answer::from)
            }
            "notify" => {
                let [some] = arguments.bind(["n"], 0)?;
                self.notify(caller, count(some.as_ref(), 1)?).map(Answer::from)
            }
            "notify_all" => {
                arguments.none()?;
                self.notify(caller, u64::MAX).map(Answer::from)
            }
            other => Err(no_method(other)),
        }
    }

    fn repr(&self) -> String {
        "<condition>".to_owned()
    }

    fn left(&self, caller: u64) {
        self.lock.leave(caller);
    }
}

/// `Barrier`.
#[derive(Debug)]
pub(super) struct Barrier {
    parties: u64,
    timeout: Option<Value>,
    round: Mutex<Round>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Round {
    /// Goes up when all have come, and when it is broken or reset.
    number: u64,
    waiting: u64,
    is_broken: bool,
    /// Rounds that have ended, and those who have yet to learn it: whether all had come, and how many they are.
    ended: HashMap<u64, (bool, u64)>,
}

impl Round {
    fn end(&mut self, is_full: bool, waiting: u64) {
        if waiting > 0 {
            self.ended.insert(self.number, (is_full, waiting));
        }
        self.number += 1;
        self.waiting = 0;
    }

    /// Whether a round has ended well, for one who was in it.
    fn learn(&mut self, number: u64) -> Option<bool> {
        let (is_full, left) = self.ended.get_mut(&number)?;
        let is_full = *is_full;
        *left -= 1;
        if *left == 0 {
            self.ended.remove(&number);
        }
        Some(is_full)
    }
}

impl Barrier {
    pub(super) fn new(arguments: Arguments) -> Result<Self, Exception> {
        let [parties, action, timeout] = arguments.bind(["parties", "action", "timeout"], 1)?;
        if action.is_some_and(|action| !action.is_none()) {
            let text = "a function of Python's cannot be called";
            return Err(raise("NotImplementedError", text));
        }
        let parties = count(parties.as_ref(), 1)?;
        if parties == 0 {
            return Err(raise("ValueError", "parties must be > 0"));
        }
        Ok(Self { parties, timeout, round: Mutex::default(), changed: Condvar::new() })
    }

    fn wait(&self, caller: &Caller<'_>, timeout: Option<&Value>) -> Result<Answer, Exception> {
        let timeout = timeout.filter(|timeout| !timeout.is_none());
        let until = blocking(None, timeout.or(self.timeout.as_ref()))?;
        let mut round = locked(&self.round);
        if round.is_broken {
            return Err(broken());
        }
        let (number, place) = (round.number, round.waiting);
        round.waiting += 1;
        if round.waiting == self.parties {
            round.end(true, place);
            drop(round);
            self.changed.notify_all();
            return Ok(Value::from(place).into());
        }
        let learn = |round: &mut Round| round.learn(number);
        let waited = caller.wait(&self.changed, round, until, learn).map(|(_, is_full)| is_full);
        match waited {
            Ok(Some(true)) => return Ok(Value::from(place).into()),
            Ok(Some(false)) => return Err(broken()),
            // Too late, or gone: the others would wait for it in vain.
            Ok(None) | Err(_) => {}
        }
        let mut round = locked(&self.round);
        if round.learn(number).is_none() {
            round.waiting -= 1;
            self.break_up(round);
        }
        Err(broken())
    }

    /// Those who wait learn that it is broken.
    fn break_up(&self, mut round: MutexGuard<'_, Round>) {
        round.is_broken = true;
        let waiting = round.waiting;
        round.end(false, waiting);
        drop(round);
        self.changed.notify_all();
    }

    fn abort(&self) {
        self.break_up(locked(&self.round));
    }

    fn reset(&self) {
        let mut round = locked(&self.round);
        let waiting = round.waiting;
        round.end(false, waiting);
        round.is_broken = false;
        drop(round);
        self.changed.notify_all();
    }
}

fn broken() -> Exception {
    Exception { class: Global::new("threading", "BrokenBarrierError"), args: vec![], state: None }
}

impl Managed for Barrier {
    fn methods(&self) -> Vec<String> {
        owned(&["__getattribute__", "abort", "reset", "wait"])
    }

    fn call(
        &self,
        method: &str,
        arguments: Arguments,
        caller: &Caller<'_>,
    ) -> Result<Answer, Exception> {
        match method {
            "wait" => {
                let [timeout] = arguments.bind(["timeout"], 0)?;
                self.wait(caller, timeout.as_ref())
            }
            "abort" | "reset" => {
                arguments.none()?;
                if method == "abort" {
                    self.abort()
                } else {
                    self.reset()
                }
                Ok(().into())
            }
            "__getattribute__" => {
                let name = arguments.one("name")?;
                let round = locked(&self.round);
                match name.as_str() {
                    Some("parties") => Ok(Value::from(self.parties).into()),
                    Some("n_waiting") => Ok(Value::from(round.waiting).into()),
                    Some("broken") => Ok(round.is_broken.into()),
                    _ => Err(raise("AttributeError", format!("there is no attribute {name}"))),
                }
            }
            other => Err(no_method(other)),
        }
    }

    fn repr(&self) -> String {
        format!("<barrier of {}>", self.parties)
    }
}
