//! `Queue` and `JoinableQueue`: Python's `queue.Queue`.
//!
//! What a client waits for is not taken when it is gone by then.

use std::collections::VecDeque;

use procession_core::Deadline;
use procession_sys::prim::{Condvar, Mutex};

use super::super::arguments::{Arguments, blocking, integer};
use super::super::managed::{Answer, Caller, Managed, no_method, owned, raise};
use super::locked;
use crate::value::{Exception, Global, Value};

const METHODS: [&str; 9] =
    ["empty", "full", "get", "get_nowait", "join", "put", "put_nowait", "qsize", "task_done"];

#[derive(Debug)]
pub(super) struct Queue {
    /// `None` is any number.
    capacity: Option<usize>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Value>,
    unfinished: u64,
}

/// One of `queue`'s exceptions, where every release finds it.
fn of_queue(name: &str) -> Exception {
    Exception { class: Global::new("queue", name), args: Vec::new(), state: None }
}

impl Queue {
    pub(super) fn new(arguments: Arguments) -> Result<Self, Exception> {
        let [capacity] = arguments.bind(["maxsize"], 0)?;
        let capacity = capacity.as_ref().map(integer).transpose()?.unwrap_or(0);
        let capacity = usize::try_from(capacity).ok().filter(|capacity| *capacity > 0);
        Ok(Self { capacity, state: Mutex::default(), changed: Condvar::new() })
    }

    fn get(&self, caller: &Caller<'_>, deadline: Deadline) -> Result<Answer, Exception> {
        let pop = |state: &mut State| state.items.pop_front();
        let (guard, item) = caller.wait(&self.changed, locked(&self.state), deadline, pop)?;
        drop(guard);
        let item = item.ok_or_else(|| of_queue("Empty"))?;
        if self.capacity.is_some() {
            self.changed.notify_all();
        }
        Ok(item.into())
    }

    fn put(
        &self,
        caller: &Caller<'_>,
        item: Value,
        deadline: Deadline,
    ) -> Result<Answer, Exception> {
        let has_room = |state: &mut State| {
            self.capacity.is_none_or(|most| state.items.len() < most).then_some(())
        };
        let (mut guard, room) =
            caller.wait(&self.changed, locked(&self.state), deadline, has_room)?;
        room.ok_or_else(|| of_queue("Full"))?;
        guard.items.push_back(item);
        guard.unfinished += 1;
        drop(guard);
        self.changed.notify_all();
        Ok(().into())
    }
}

impl Managed for Queue {
    fn methods(&self) -> Vec<String> {
        owned(&METHODS)
    }

    fn has_method(&self, method: &str) -> bool {
        METHODS.contains(&method)
    }

    fn call(
        &self,
        method: &str,
        arguments: Arguments,
        caller: &Caller<'_>,
    ) -> Result<Answer, Exception> {
        match method {
            "get" => {
                let [block, timeout] = arguments.bind(["block", "timeout"], 0)?;
                self.get(caller, blocking(block.as_ref(), timeout.as_ref())?)
            }
            "get_nowait" => {
                arguments.none()?;
                self.get(caller, Deadline::PAST)
            }
            "put" => {
                let [item, block, timeout] = arguments.bind(["item", "block", "timeout"], 1)?;
                let deadline = blocking(block.as_ref(), timeout.as_ref())?;
                self.put(caller, item.unwrap_or_default(), deadline)
            }
            "put_nowait" => self.put(caller, arguments.one("item")?, Deadline::PAST),
            "qsize" => arguments.none().map(|()| locked(&self.state).items.len().into()),
            "empty" => arguments.none().map(|()| locked(&self.state).items.is_empty().into()),
            "full" => {
                arguments.none()?;
                let len = locked(&self.state).items.len();
                Ok(self.capacity.is_some_and(|most| len >= most).into())
            }
            "task_done" => {
                arguments.none()?;
                let mut state = locked(&self.state);
                let too_often = || raise("ValueError", "task_done() called too many times");
                state.unfinished = state.unfinished.checked_sub(1).ok_or_else(too_often)?;
                let is_last = state.unfinished == 0;
                drop(state);
                if is_last {
                    self.changed.notify_all();
                }
                Ok(().into())
            }
            "join" => {
                arguments.none()?;
                let is_done = |state: &mut State| (state.unfinished == 0).then_some(());
                let state = locked(&self.state);
                let waited = caller.wait(&self.changed, state, Deadline::NEVER, is_done);
                waited.map(|_done| ().into())
            }
            other => Err(no_method(other)),
        }
    }

    fn repr(&self) -> String {
        format!("<queue.Queue of {} items>", locked(&self.state).items.len())
    }
}
