//! What an object of the server works with while it does what it is asked for, and what follows from that for others.

use std::time::Instant;

use procession_core::{Deadline, Error, ErrorKind, Result};

use super::executor::{Job, What};
use crate::numbered::Numbered;
use crate::wire::{ANSWER_HEAD, RawItem, Reader, Write, status};

/// What an item costs beside its bytes, about: its places in the tables.
const OVERHEAD: u64 = 64;

/// A value that the server keeps: as bytes, and with the objects that it mentions and so keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Item {
    pub(super) bytes: Box<[u8]>,
    pub(super) mentions: Box<[u64]>,
}

impl Item {
    pub(super) fn put(&self, out: &mut Vec<u8>) -> Result<()> {
        out.put_item(&self.bytes, &self.mentions)
    }

    fn cost(&self) -> u64 {
        cost(self.bytes.len(), self.mentions.len())
    }
}

fn cost(bytes: usize, mentions: usize) -> u64 {
    OVERHEAD + bytes as u64 + 8 * mentions as u64
}

/// How much the values of all objects may take, and take.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) used: u64,
    pub(super) most: u64,
}

/// A call that waits for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    /// Its session.
    pub(super) session: u64,
    /// Its number there.
    pub(super) call: u64,
}

/// How many hold an object: sessions, each as often as it does, values that mention it, and names.
#[derive(Debug)]
pub(super) struct Count {
    pub(super) holders: u64,
    pub(super) fingerprint: u64,
}

/// What follows from what was done, for others than the object itself.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Objects that a value mentions which is kept now.
    pub(super) kept: Vec<u64>,
    /// Objects that a value mentioned which is gone.
    pub(super) dropped: Vec<u64>,
    /// Objects that a session has once more: they are mentioned in what it is told.
    pub(super) granted: Vec<(u64, u64)>,
    /// Answers to calls that have waited.
    pub(super) answers: Vec<(Caller, Vec<u8>)>,
    /// The call waits, until then at most.
    pub(super) park: Option<Option<Instant>>,
    /// A method of a user's type is to be run, and answers the call.
    pub(super) job: Option<Job>,
    /// The object has to know when the caller's session ends.
    pub(super) touched: bool,
}

/// What an object works with.
pub(super) struct Context<'a> {
    pub(super) caller: Caller,
    pub(super) counts: &'a Numbered<Count>,
    pub(super) budget: &'a mut Budget,
    pub(super) effects: Effects,
    /// Whether the call may wait: not one of a batch.
    pub(super) may_park: bool,
}

/// Whether an answer is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// It was written.
    Answered(u8),
    /// It comes later.
    Parked,
}

pub(super) const DONE: Result<Flow> = Ok(Flow::Answered(status::DONE));

impl Context<'_> {
    /// Keeps a value that has come.
    pub(super) fn keep(&mut self, raw: RawItem<'_>) -> Result<Item> {
        for mentioned in raw.mentions() {
            if !self.counts.contains_key(&mentioned) {
                return Err(no_such_object(mentioned));
            }
        }
        self.charge(cost(raw.bytes.len(), raw.mentions().len()))?;
        let item = Item { bytes: raw.bytes.into(), mentions: raw.mentions().collect() };
        self.effects.kept.extend_from_slice(&item.mentions);
        Ok(item)
    }

    /// Keeps as many as are announced, or none.
    pub(super) fn keep_many(&mut self, args: &mut Reader<'_>) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for _ in 0..args.u32()? {
            match args.item().and_then(|raw| self.keep(raw)) {
                Ok(item) => items.push(item),
                Err(refused) => {
                    items.iter().for_each(|item| self.let_go(item));
                    return Err(refused);
                }
            }
        }
        Ok(items)
    }

    /// Lets a value go.
    pub(super) fn let_go(&mut self, item: &Item) {
        self.budget.used = self.budget.used.saturating_sub(item.cost());
        self.effects.dropped.extend_from_slice(&item.mentions);
    }

    /// Writes a value that stays here.
    pub(super) fn show(&mut self, item: &Item, out: &mut Vec<u8>) -> Result<()> {
        let session = self.caller.session;
        self.effects.granted.extend(item.mentions.iter().map(|object| (session, *object)));
        item.put(out)
    }

    /// Writes whether there is a value, and it.
    pub(super) fn show_maybe(&mut self, item: Option<&Item>, out: &mut Vec<u8>) -> Result<()> {
        out.put_u8(item.is_some().into());
        item.map_or(Ok(()), |item| self.show(item, out))
    }

    /// Writes a value that leaves.
    pub(super) fn hand_out(&mut self, item: &Item, out: &mut Vec<u8>) -> Result<()> {
        self.show(item, out)?;
        self.let_go(item);
        Ok(())
    }

    /// Takes a key, which mentions nothing: it would have to be compared by what that is.
    pub(super) fn key<'k>(&self, args: &mut Reader<'k>) -> Result<&'k [u8]> {
        let raw = args.item()?;
        match raw.mentions().len() {
            0 => Ok(raw.bytes),
            _ => Err(Error::new(ErrorKind::Unsupported, "a proxy cannot be in a key")),
        }
    }

    pub(super) fn charge(&mut self, cost: u64) -> Result<()> {
        let used = self.budget.used.saturating_add(cost);
        if used > self.budget.most {
            let text = format!("the manager keeps at most {} bytes of values", self.budget.most);
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        self.budget.used = used;
        Ok(())
    }

    /// Has the call wait until somebody answers it, at most until the deadline.
    pub(super) fn park(&mut self, deadline: Deadline) -> Result<Flow> {
        if !self.may_park || self.caller.call == 0 {
            let text = "a call that may have to wait cannot be one of a batch";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        self.effects.park =
            Some(deadline.remaining().and_then(|left| Instant::now().checked_add(left)));
        self.effects.touched = true;
        Ok(Flow::Parked)
    }

    /// Has a function of a user's type run with what follows: its name, the number of its types, its arguments.
    pub(super) fn run(&mut self, what: What, args: &mut Reader<'_>) -> Result<Flow> {
        let (function, signature) = (args.text()?.to_owned(), args.u64()?);
        let raw = args.item()?;
        let mentions: Vec<u64> = raw.mentions().collect();
        if let Some(missing) = mentions.iter().find(|it| !self.counts.contains_key(it)) {
            return Err(no_such_object(*missing));
        }
        let flow = self.park(Deadline::NEVER)?;
        self.effects.touched = false;
        let (caller, bytes) = (self.caller, raw.bytes.to_vec());
        self.effects.job = Some(Job { caller, what, function, signature, bytes, mentions });
        Ok(flow)
    }

    /// Answers a call that has waited.
    pub(super) fn answer(&mut self, caller: Caller, status: u8, tell: impl FnOnce(&mut Vec<u8>)) {
        let mut answer = Vec::with_capacity(ANSWER_HEAD);
        begin_answer(&mut answer, caller.call, status);
        tell(&mut answer);
        self.effects.answers.push((caller, answer));
    }

    /// Answers a call that has waited with a value that leaves.
    pub(super) fn answer_with_item(&mut self, caller: Caller, item: &Item, lease: Option<u64>) {
        let mut answer = Vec::with_capacity(ANSWER_HEAD + 16 + item.bytes.len());
        begin_answer(&mut answer, caller.call, status::DONE);
        if let Some(lease) = lease {
            answer.put_u64(lease);
        }
        self.effects.granted.extend(item.mentions.iter().map(|object| (caller.session, *object)));
        // Its length was a length when it came.
        if item.put(&mut answer).is_ok() {
            self.effects.answers.push((caller, answer));
        }
    }
}

pub(super) fn begin_answer(out: &mut Vec<u8>, call: u64, status: u8) {
    out.put_u64(call);
    out.put_u8(status);
}

#[cold]
pub(super) fn no_such_object(object: u64) -> Error {
    let text = format!("there is no object {object} at this server, or not any more");
    Error::new(ErrorKind::NotFound, text)
}

#[cold]
pub(super) fn no_such_operation(what: &str, op: u8) -> Error {
    Error::new(ErrorKind::Unsupported, format!("a managed {what} has no operation {op}"))
}
