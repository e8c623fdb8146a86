//! What is asked of the server itself: objects are made, held, let go of, named and counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use procession_core::{Error, ErrorKind, Result};

use super::{Outcome, State, put_error};
use crate::custom::Erased;
use crate::server::context::{
    Caller, Context, Count, DONE, Effects, Flow, begin_answer, no_such_object,
};
use crate::server::executor::{Ran, What};
use crate::server::thing::Thing;
use crate::wire::{ANSWER_HEAD, Reader, Write, kind, op, status};

impl State {
    /// What is asked of the server itself.
    pub(super) fn administer(
        &mut self,
        caller: Caller,
        object: u64,
        operation: u8,
        args: &mut Reader<'_>,
        out: &mut Vec<u8>,
        outcome: &mut Outcome,
    ) -> Result<Flow> {
        match operation {
            op::CREATE if args.0.first() == Some(&kind::SHARED) => {
                return self.create_shared(caller, args, outcome);
            }
            op::CREATE => out_put(out, self.create(caller, args, outcome)?),
            op::RELEASE => self.release(caller, object, args.u64()?, outcome),
            op::LEASE => self.lease(caller, object, args.u64()?)?,
            op::CLAIM => self.claim(caller, object, args, outcome)?,
            op::PUBLISH => self.publish(object, args.text()?, outcome)?,
            op::FIND => out_put(out, self.find(caller, args)?),
            op::COUNT => out_put(out, self.things.len() as u64),
            op::INFO => out.extend_from_slice(self.describe().as_bytes()),
            op::SHUT_DOWN => outcome.shut_down = true,
            other => {
                let text = format!("a manager has no operation {other}");
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
        }
        DONE
    }

    fn check_room(&self) -> Result<()> {
        match self.things.len() < self.limits.objects {
            true => Ok(()),
            false => {
                let text = format!("the manager keeps at most {} objects", self.limits.objects);
                Err(Error::new(ErrorKind::TooLarge, text))
            }
        }
    }

    fn add(&mut self, thing: Thing, fingerprint: u64, session: u64) -> u64 {
        self.next_object += 1;
        self.things.insert(self.next_object, thing);
        self.counts.insert(self.next_object, Count { holders: 0, fingerprint });
        self.hold(session, self.next_object);
        self.next_object
    }

    /// Has a value of a user's type made, which is then [added](Self::finish).
    fn create_shared(
        &mut self,
        caller: Caller,
        args: &mut Reader<'_>,
        outcome: &mut Outcome,
    ) -> Result<Flow> {
        let (_kind, fingerprint) = (args.u8()?, args.u64()?);
        self.check_room()?;
        let maker = self.table.maker(args.text()?)?;
        let mut context = Context {
            caller,
            counts: &self.counts,
            budget: &mut self.budget,
            effects: Effects::default(),
            may_park: caller.call != 0,
        };
        let flow = context.run(What::Make(maker, fingerprint), args);
        let effects = context.effects;
        self.apply(caller, 0, effects, outcome);
        flow
    }

    /// Adds a value of a user's type, for a session.
    pub(in crate::server) fn put(
        &mut self,
        value: Arc<dyn Erased>,
        fingerprint: u64,
        session: u64,
    ) -> Result<u64> {
        self.check_room()?;
        Ok(self.add(Thing::Shared(value), fingerprint, session))
    }

    /// A method has run, or a value was made: its caller is told.
    pub(in crate::server) fn finish(&mut self, caller: Caller, ran: Result<Ran>) -> Outcome {
        let mut outcome = Outcome::default();
        let is_awaited =
            self.sessions.get_mut(&caller.session).map(|it| it.parked.remove(&caller.call));
        if is_awaited.flatten().is_none() {
            if let Ok(Ran::Made(value, _)) = ran {
                outcome.dead.push(value);
            }
            return outcome;
        }
        let mut frame = Vec::new();
        begin_answer(&mut frame, caller.call, status::DONE);
        let told = ran.and_then(|ran| match ran {
            Ran::Made(value, fingerprint) => {
                let object = self.put(value, fingerprint, caller.session)?;
                frame.put_u64(object);
                Ok(())
            }
            Ran::Told(told) => {
                let mentions: Vec<u64> = told.mentions.iter().map(|it| it.object).collect();
                frame.put_item(&told.bytes, &mentions)?;
                for mentioned in mentions {
                    self.hold(caller.session, mentioned);
                }
                Ok(())
            }
        });
        if let Err(error) = told {
            frame.truncate(ANSWER_HEAD);
            frame[ANSWER_HEAD - 1] = status::FAILED;
            put_error(&error, &mut frame);
        }
        outcome.others.push((caller.session, frame));
        outcome
    }

    fn create(
        &mut self,
        caller: Caller,
        args: &mut Reader<'_>,
        outcome: &mut Outcome,
    ) -> Result<u64> {
        let (kind, fingerprint) = (args.u8()?, args.u64()?);
        self.check_room()?;
        let mut context = Context {
            caller,
            counts: &self.counts,
            budget: &mut self.budget,
            effects: Effects::default(),
            may_park: false,
        };
        let made = Thing::new(kind, args, &mut context, &mut Vec::new());
        let effects = context.effects;
        let object = made.map(|thing| self.add(thing, fingerprint, caller.session));
        self.apply(caller, *object.as_ref().unwrap_or(&0), effects, outcome);
        object
    }

    pub(super) fn hold(&mut self, session: u64, object: u64) {
        if let Some(session) = self.sessions.get_mut(&session) {
            *session.holds.entry(object).or_default() += 1;
            self.add_holder(object);
        }
    }

    fn release(&mut self, caller: Caller, object: u64, times: u64, outcome: &mut Outcome) {
        let Some(session) = self.sessions.get_mut(&caller.session) else { return };
        let Some(held) = session.holds.get_mut(&object) else { return };
        let times = times.min(*held);
        *held -= times;
        if *held == 0 {
            session.holds.remove(&object);
        }
        self.drop_holders(object, times, outcome);
    }

    /// A proxy is put into a message.
    fn lease(&mut self, caller: Caller, object: u64, ticket: u64) -> Result<()> {
        let count = self.counts.get_mut(&object).ok_or_else(|| no_such_object(object))?;
        if let Some(session) = self.sessions.get_mut(&caller.session)
            && session.leases.insert(ticket, object).is_none()
        {
            count.holders += 1;
        }
        Ok(())
    }

    /// A proxy has come in a message of a session's.
    fn claim(
        &mut self,
        caller: Caller,
        object: u64,
        args: &mut Reader<'_>,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let (ticket, lender, fingerprint) = (args.u64()?, args.u64()?, args.u64()?);
        let count = self.counts.get(&object).ok_or_else(|| no_such_object(object))?;
        check(count, fingerprint)?;
        self.hold(caller.session, object);
        // Of several copies of the message the first gives the lease back.
        let lent = match self.sessions.get_mut(&lender) {
            Some(session) => session.leases.remove(&ticket),
            None => self.orphans.remove(&(lender, ticket)),
        };
        if let Some(lent) = lent {
            self.drop_holders(lent, 1, outcome);
        }
        Ok(())
    }

    /// Gives an object a name; zero takes the name away.
    fn publish(&mut self, object: u64, name: &str, outcome: &mut Outcome) -> Result<()> {
        let old = match object {
            0 => self.names.remove(name),
            _ if !self.counts.contains_key(&object) => return Err(no_such_object(object)),
            _ => {
                self.add_holder(object);
                self.names.insert(name.to_owned(), object)
            }
        };
        if let Some(old) = old {
            self.drop_holders(old, 1, outcome);
        }
        Ok(())
    }

    fn find(&mut self, caller: Caller, args: &mut Reader<'_>) -> Result<u64> {
        let name = args.text()?;
        let object = *self.names.get(name).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("the manager has nothing called `{name}`"))
        })?;
        let count = self.counts.get(&object).ok_or_else(|| no_such_object(object))?;
        check(count, args.u64()?)?;
        self.hold(caller.session, object);
        Ok(object)
    }

    fn describe(&self) -> String {
        let mut lines = Vec::new();
        for (number, session) in self.sessions.iter().collect::<BTreeMap<_, _>>() {
            let (held, waiting) = (session.holds.len(), session.parked.len());
            let name = &session.name;
            lines.push(format!(
                "client {number} ({name}): has {held} objects, {waiting} calls wait"
            ));
        }
        for (number, thing) in self.things.iter().collect::<BTreeMap<_, _>>() {
            let holders = self.counts.get(number).map_or(0, |count| count.holders);
            lines.push(format!("object {number}: a {}, {holders} holders", thing.name()));
        }
        for (name, object) in &self.names {
            lines.push(format!("name `{name}`: object {object}"));
        }
        lines.join("\n")
    }
}

fn check(count: &Count, fingerprint: u64) -> Result<()> {
    match count.fingerprint == fingerprint {
        true => Ok(()),
        false => {
            let text = "the object at the manager is of another type than it is asked for as";
            Err(Error::new(ErrorKind::Decode, text))
        }
    }
}

fn out_put(out: &mut Vec<u8>, number: u64) {
    out.put_u64(number);
}
