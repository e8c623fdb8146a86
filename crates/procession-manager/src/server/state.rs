//! All that a server knows: its objects, who holds them, and which calls wait.
//!
//! An object has a count: how often sessions hold it, how many names it has, and how often values mention it that are kept. When that is
//! zero it is gone, and what its values mentioned loses a holder in turn. What a session holds goes when it ends; so do its calls that
//! wait, and what it has of locks, semaphores, barriers and leased items.
//!
//! One mutex holds all of this ([`Shared`](super::Shared)). Nothing in here waits, runs anybody else's code, or speaks with anybody: answers are
//! handed out, to be sent when the mutex is free again.

mod office;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use procession_core::codec::{Codec, Postcard};
use procession_core::{Error, ErrorKind, Result};

use super::context::{
    Budget, Caller, Context, Count, DONE, Effects, Flow, begin_answer, no_such_object,
};
use super::executor::Job;
use super::limits::Limits;
use super::thing::Thing;
use crate::custom::{Erased, Table};
use crate::numbered::Numbered;
use crate::wire::{ANSWER_HEAD, Reader, Write, length, op, status};

/// What a server knows.
#[derive(Debug)]
pub(super) struct State {
    limits: Limits,
    /// The session by which the server is a client of itself.
    own: Option<u64>,
    /// The types of users' that it knows.
    table: Table,
    budget: Budget,
    things: Numbered<Thing>,
    counts: Numbered<Count>,
    next_object: u64,
    sessions: Numbered<Session>,
    next_session: u64,
    names: BTreeMap<String, u64>,
    /// When the waits of calls end: the moment, the session, the call; and leases of sessions that have ended: of those the ticket.
    timers: BinaryHeap<Reverse<(Instant, Timed, u64, u64)>>,
    /// Objects in messages whose senders have ended, by session and ticket.
    orphans: HashMap<(u64, u64), u64>,
    /// With how many it is time to forget some.
    timers_most: usize,
}

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timed {
    Call,
    Lease,
}

/// So many timers are never worth going through.
const FEW_TIMERS: usize = 1024;

/// What a client has.
#[derive(Debug, Default)]
struct Session {
    /// Who it says it is.
    name: String,
    /// The objects that it holds, and how often.
    holds: Numbered<u64>,
    /// Objects in messages that it has sent, by the numbers of their tickets.
    leases: HashMap<u64, u64>,
    /// Its calls that wait, and what for.
    parked: HashMap<u64, u64>,
    /// Objects that have to know when it ends.
    touched: HashSet<u64>,
}

/// What is to be sent, and what to do then.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Answers to calls of others, or of the caller's that have waited: session and frame.
    pub(super) others: Vec<(u64, Vec<u8>)>,
    /// There is a timer that ends before those that there were.
    pub(super) sooner: bool,
    /// Methods of users' types that are to be run.
    pub(super) jobs: Vec<Job>,
    /// Values of users' types that are gone: their own code runs when they are dropped.
    pub(super) dead: Vec<Arc<dyn Erased>>,
    /// The server is to end.
    pub(super) shut_down: bool,
}

impl Outcome {
    /// Whether anything follows for others.
    pub(super) fn has_more(&self) -> bool {
        !(self.others.is_empty() && self.dead.is_empty() && self.jobs.is_empty())
    }
}

impl State {
    pub(super) fn new(limits: Limits, table: Table) -> Self {
        Self {
            limits,
            own: None,
            table,
            budget: Budget { used: 0, most: limits.bytes },
            things: Numbered::default(),
            counts: Numbered::default(),
            next_object: 0,
            sessions: Numbered::default(),
            next_session: 0,
            names: BTreeMap::new(),
            timers: BinaryHeap::new(),
            orphans: HashMap::new(),
            timers_most: FEW_TIMERS,
        }
    }

    /// Says which session is the server's own.
    pub(super) fn set_own(&mut self, session: u64) {
        self.own = Some(session);
    }

    /// A client has come; the number of its session.
    pub(super) fn begin_session(&mut self, name: String) -> u64 {
        self.next_session += 1;
        self.sessions.insert(self.next_session, Session { name, ..Session::default() });
        self.next_session
    }

    /// A client is gone.
    pub(super) fn end_session(&mut self, session: u64) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(ended) = self.sessions.remove(&session) else { return outcome };
        for object in ended.touched {
            let caller = Caller { session, call: 0 };
            self.with_thing(object, caller, &mut outcome, |thing, context| {
                thing.forget(session, context);
            });
        }
        for (ticket, object) in ended.leases {
            self.orphans.insert((session, ticket), object);
            if let Some(until) = Instant::now().checked_add(self.limits.lease) {
                self.set_timer((until, Timed::Lease, session, ticket), &mut outcome);
            }
        }
        for (object, times) in ended.holds {
            self.drop_holders(object, times, &mut outcome);
        }
        outcome
    }

    /// Does what a frame of a session's asks for, and writes the answer to `out`, unless there is none, or not yet.
    pub(super) fn handle(&mut self, session: u64, frame: &[u8], out: &mut Vec<u8>) -> Outcome {
        let mut outcome = Outcome::default();
        let mut reader = Reader(frame);
        let (call, object, operation) = head(&mut reader).unwrap_or_default();
        let caller = Caller { session, call };
        begin_answer(out, call, status::DONE);
        let flow = match operation {
            op::BATCH => self.batch(caller, &mut reader, out, &mut outcome),
            _ => self.perform(caller, object, operation, &mut reader, out, &mut outcome, true),
        };
        match flow {
            Ok(Flow::Answered(status)) => out[ANSWER_HEAD - 1] = status,
            Ok(Flow::Parked) => out.clear(),
            Err(error) => {
                out.truncate(ANSWER_HEAD);
                out[ANSWER_HEAD - 1] = status::FAILED;
                put_error(&error, out);
            }
        }
        if call == 0 {
            out.clear();
        }
        outcome
    }

    /// Many operations in one frame, one after the other, with nobody's in between.
    fn batch(
        &mut self,
        caller: Caller,
        reader: &mut Reader<'_>,
        out: &mut Vec<u8>,
        outcome: &mut Outcome,
    ) -> Result<Flow> {
        for _ in 0..reader.u32()? {
            let (object, operation) = (reader.u64()?, reader.u8()?);
            let mut args = Reader(reader.bytes()?);
            let start = out.len();
            out.put_u8(status::DONE);
            out.put_u32(0);
            let flow = match operation {
                op::BATCH => Err(Error::new(ErrorKind::Unsupported, "a batch in a batch")),
                _ => self.perform(caller, object, operation, &mut args, out, outcome, false),
            };
            match flow {
                Ok(Flow::Answered(status)) => out[start] = status,
                Ok(Flow::Parked) => {}
                Err(error) => {
                    out.truncate(start + 5);
                    out[start] = status::FAILED;
                    put_error(&error, out);
                }
            }
            let len = length(out.len() - start - 5)?;
            out[start + 1..start + 5].copy_from_slice(&len.to_le_bytes());
        }
        DONE
    }

    #[expect(clippy::too_many_arguments, reason = "what an operation needs, and where it writes")]
    fn perform(
        &mut self,
        caller: Caller,
        object: u64,
        operation: u8,
        args: &mut Reader<'_>,
        out: &mut Vec<u8>,
        outcome: &mut Outcome,
        may_park: bool,
    ) -> Result<Flow> {
        if operation < op::LEN {
            return self.administer(caller, object, operation, args, out, outcome);
        }
        let start = out.len();
        let Some(thing) = self.things.get_mut(&object) else { return Err(no_such_object(object)) };
        let mut context = Context {
            caller,
            counts: &self.counts,
            budget: &mut self.budget,
            effects: Effects::default(),
            may_park,
        };
        let flow = thing.perform(operation, args, &mut context, out);
        let mut effects = context.effects;
        if flow.is_err() {
            // What was written is not told.
            out.truncate(start);
            effects.granted.clear();
            effects.park = None;
        }
        self.apply(caller, object, effects, outcome);
        flow
    }

    /// Runs `act` on an object, with what follows.
    fn with_thing(
        &mut self,
        object: u64,
        caller: Caller,
        outcome: &mut Outcome,
        act: impl FnOnce(&mut Thing, &mut Context<'_>),
    ) {
        let Some(thing) = self.things.get_mut(&object) else { return };
        let mut context = Context {
            caller,
            counts: &self.counts,
            budget: &mut self.budget,
            effects: Effects::default(),
            may_park: false,
        };
        act(thing, &mut context);
        let effects = context.effects;
        self.apply(caller, object, effects, outcome);
    }

    /// Does what follows from what was done with an object.
    fn apply(&mut self, caller: Caller, object: u64, effects: Effects, outcome: &mut Outcome) {
        for kept in effects.kept {
            self.add_holder(kept);
        }
        if let Some(mut job) = effects.job {
            job.caller = caller;
            for mentioned in &job.mentions {
                self.hold_own(*mentioned);
            }
            outcome.jobs.push(job);
        }
        for (session, granted) in effects.granted {
            if let Some(session) = self.sessions.get_mut(&session) {
                *session.holds.entry(granted).or_default() += 1;
                self.add_holder(granted);
            }
        }
        for (answered, frame) in effects.answers {
            if let Some(session) = self.sessions.get_mut(&answered.session) {
                session.parked.remove(&answered.call);
                outcome.others.push((answered.session, frame));
            }
        }
        if (effects.touched || effects.park.is_some())
            && let Some(session) = self.sessions.get_mut(&caller.session)
        {
            session.touched.insert(object);
            if let Some(until) = effects.park {
                session.parked.insert(caller.call, object);
                if let Some(until) = until {
                    self.set_timer((until, Timed::Call, caller.session, caller.call), outcome);
                }
            }
        }
        for dropped in effects.dropped {
            self.drop_holders(dropped, 1, outcome);
        }
    }

    fn set_timer(&mut self, timer: (Instant, Timed, u64, u64), outcome: &mut Outcome) {
        let first = self.timers.peek().map(|Reverse((first, ..))| *first);
        outcome.sooner |= first.is_none_or(|first| timer.0 < first);
        self.timers.push(Reverse(timer));
        self.forget_timers();
    }

    /// Forgets the timers of calls that were answered, once there are many more timers than there were after the last time.
    fn forget_timers(&mut self) {
        if self.timers.len() > self.timers_most {
            let (sessions, orphans) = (&self.sessions, &self.orphans);
            self.timers.retain(|Reverse((_, what, session, number))| match what {
                Timed::Lease => orphans.contains_key(&(*session, *number)),
                Timed::Call => {
                    sessions.get(session).is_some_and(|it| it.parked.contains_key(number))
                }
            });
            self.timers_most = (2 * self.timers.len()).max(FEW_TIMERS);
        }
    }

    /// The server's own session has an object once more.
    fn hold_own(&mut self, object: u64) {
        if let Some(own) = self.own {
            self.hold(own, object);
        }
    }

    fn add_holder(&mut self, object: u64) {
        if let Some(count) = self.counts.get_mut(&object) {
            count.holders += 1;
        }
    }

    /// Takes so many holders from an object, and the object away with the last.
    fn drop_holders(&mut self, object: u64, times: u64, outcome: &mut Outcome) {
        let mut pending = vec![(object, times)];
        while let Some((object, times)) = pending.pop() {
            let Some(count) = self.counts.get_mut(&object) else { continue };
            count.holders = count.holders.saturating_sub(times);
            if count.holders > 0 {
                continue;
            }
            self.counts.remove(&object);
            let Some(mut thing) = self.things.remove(&object) else { continue };
            let mut context = Context {
                caller: Caller { session: 0, call: 0 },
                counts: &self.counts,
                budget: &mut self.budget,
                effects: Effects::default(),
                may_park: false,
            };
            // Nobody waits for what nobody has, unless it lets go of it in the middle of a call.
            for caller in thing.callers() {
                context
                    .answer(caller, status::FAILED, |out| put_error(&no_such_object(object), out));
            }
            thing.clear(&mut context);
            let effects = context.effects;
            for (answered, frame) in effects.answers {
                if let Some(session) = self.sessions.get_mut(&answered.session) {
                    session.parked.remove(&answered.call);
                    outcome.others.push((answered.session, frame));
                }
            }
            pending.extend(effects.dropped.into_iter().map(|dropped| (dropped, 1)));
            if let Thing::Shared(value) = thing {
                outcome.dead.push(value);
            }
        }
    }

    /// Ends the waits whose time is up, and tells when the next one ends.
    pub(super) fn expire(&mut self, now: Instant) -> (Outcome, Option<Instant>) {
        let mut outcome = Outcome::default();
        while let Some(Reverse((until, what, session, number))) = self.timers.peek().copied() {
            if until > now {
                return (outcome, Some(until));
            }
            self.timers.pop();
            if what == Timed::Lease {
                if let Some(object) = self.orphans.remove(&(session, number)) {
                    self.drop_holders(object, 1, &mut outcome);
                }
                continue;
            }
            let parked = self.sessions.get(&session).and_then(|it| it.parked.get(&number));
            if let Some(object) = parked.copied() {
                let caller = Caller { session, call: number };
                self.with_thing(object, caller, &mut outcome, |thing, context| {
                    thing.expire(caller, context);
                });
            }
        }
        (outcome, None)
    }
}

#[cfg(test)]
impl State {
    pub(super) fn timer_count(&self) -> usize {
        self.timers.len()
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.budget.used
    }

    /// Takes all names away.
    pub(super) fn forget_names(&mut self) {
        let mut outcome = Outcome::default();
        for object in std::mem::take(&mut self.names).into_values() {
            self.drop_holders(object, 1, &mut outcome);
        }
    }
}

/// Which call it is, of which object, and what it asks for.
fn head(reader: &mut Reader<'_>) -> Result<(u64, u64, u8)> {
    Ok((reader.u64()?, reader.u64()?, reader.u8()?))
}

/// Writes an error, as much of it as can be written.
pub(super) fn put_error(error: &Error, out: &mut Vec<u8>) {
    let start = out.len();
    if Postcard::append(error, out).is_err() {
        out.truncate(start);
    }
}
