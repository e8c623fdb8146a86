//! An object, of whatever kind.

use std::sync::Arc;

use procession_core::{Error, ErrorKind, Result};

use super::barrier::Barrier;
use super::context::{Caller, Context, Flow, no_such_operation};
use super::event::Event;
use super::executor::What;
use super::list::List;
use super::lock::Lock;
use super::map::Map;
use super::queue::Queue;
use super::semaphore::Semaphore;
use crate::custom::Erased;
use crate::wire::{Reader, kind, op};

#[derive(Debug)]
pub(super) enum Thing {
    Map(Map),
    List(List),
    Lock(Box<Lock>),
    Semaphore(Box<Semaphore>),
    Event(Event),
    Barrier(Box<Barrier>),
    Queue(Box<Queue>),
    /// Of a user's type.
    Shared(Arc<dyn Erased>),
}

impl Thing {
    /// Makes one, as described.
    pub(super) fn new(
        kind: u8,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Self> {
        Ok(match kind {
            kind::MAP => {
                let mut map = Map::default();
                let start = out.len();
                map.perform(op::EXTEND, args, context, out)?;
                out.truncate(start);
                Self::Map(map)
            }
            kind::LIST => {
                let mut list = List::default();
                list.perform(op::EXTEND, args, context, out)?;
                Self::List(list)
            }
            kind::LOCK => Self::Lock(Box::new(Lock::new(args.flag()?))),
            kind::SEMAPHORE => Self::Semaphore(Box::new(Semaphore::new(args.u32()?, args.flag()?))),
            kind::EVENT => Self::Event(Event::default()),
            kind::BARRIER => Self::Barrier(Box::new(Barrier::new(args.u32()?)?)),
            kind::QUEUE => Self::Queue(Box::new(Queue::new(args.u64()?))),
            other => {
                let text = format!("there are no managed objects of kind {other}");
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
        })
    }

    pub(super) fn perform(
        &mut self,
        operation: u8,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Flow> {
        match self {
            Self::Map(map) => map.perform(operation, args, context, out),
            Self::List(list) => list.perform(operation, args, context, out),
            Self::Lock(lock) => lock.perform(operation, args, context, out),
            Self::Semaphore(semaphore) => semaphore.perform(operation, args, context, out),
            Self::Event(event) => event.perform(operation, args, context, out),
            Self::Barrier(barrier) => barrier.perform(operation, args, context, out),
            Self::Queue(queue) => queue.perform(operation, args, context, out),
            Self::Shared(value) if operation == op::CALL => {
                context.run(What::Call(Arc::clone(value)), args)
            }
            Self::Shared(_) => Err(no_such_operation("value of a user's type", operation)),
        }
    }

    /// The time of a call that waits is up.
    pub(super) fn expire(&mut self, caller: Caller, context: &mut Context<'_>) {
        match self {
            Self::Map(_) | Self::List(_) | Self::Shared(_) => {}
            Self::Lock(lock) => lock.expire(caller, context),
            Self::Semaphore(semaphore) => semaphore.expire(caller, context),
            Self::Event(event) => event.expire(caller, context),
            Self::Barrier(barrier) => barrier.expire(context),
            Self::Queue(queue) => queue.expire(caller, context),
        }
    }

    /// A session has ended: what it held is free.
    pub(super) fn forget(&mut self, session: u64, context: &mut Context<'_>) {
        match self {
            Self::Map(_) | Self::List(_) | Self::Shared(_) => {}
            Self::Lock(lock) => lock.forget(session, context),
            Self::Semaphore(semaphore) => semaphore.forget(session, context),
            Self::Event(event) => event.forget(session),
            Self::Barrier(barrier) => barrier.forget(session, context),
            Self::Queue(queue) => queue.forget(session, context),
        }
    }

    /// The calls that wait for it.
    pub(super) fn callers(&self) -> Vec<Caller> {
        match self {
            Self::Map(_) | Self::List(_) | Self::Shared(_) => Vec::new(),
            Self::Lock(lock) => lock.callers(),
            Self::Semaphore(semaphore) => semaphore.callers(),
            Self::Event(event) => event.callers(),
            Self::Barrier(barrier) => barrier.callers(),
            Self::Queue(queue) => queue.callers(),
        }
    }

    /// Lets go of all values in it.
    pub(super) fn clear(&mut self, context: &mut Context<'_>) {
        match self {
            Self::Map(map) => map.clear(context),
            Self::List(list) => list.clear(context),
            Self::Queue(queue) => queue.clear(context),
            Self::Lock(_)
            | Self::Semaphore(_)
            | Self::Event(_)
            | Self::Barrier(_)
            | Self::Shared(_) => {}
        }
    }

    /// What it is, for people.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Map(_) => "map",
            Self::List(_) => "list",
            Self::Lock(_) => "lock",
            Self::Semaphore(_) => "semaphore",
            Self::Event(_) => "event",
            Self::Barrier(_) => "barrier",
            Self::Queue(_) => "queue",
            Self::Shared(_) => "value of a user's type",
        }
    }
}
