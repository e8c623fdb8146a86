//! A reference to an object of a server: what a proxy is made of.
//!
//! Within a process all clones of a proxy are one reference, and the server counts it once. A proxy that travels is written as where its server
//! is and which object it means, and what is there when it arrives depends on the way:
//!
//! - in a message of anybody's, a pipe or the arguments of a process: while it is under way the sender's session has a lease for it, which who
//!   receives it gives back. A message that nobody receives costs that lease until the sender's session ends.
//! - in a value that the same server keeps: the server counts the value, for as long as it keeps it; and whom it tells the value, once
//!   more for each telling.
//!
//! A forked child has copies of its parent's proxies, which hold nothing. The first use of one takes up a reference of its own.

use std::cell::RefCell;
use std::fmt;
use std::mem;
use std::sync::Arc;

use procession_connection::Address;
use procession_core::{Deadline, Error, ErrorKind, Result, refuse};
use procession_sys::prim::OnceLock;
use procession_sys::random;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::client::{Session, request, session_at};
use crate::wire::{ANSWER_HEAD, Reader, Write, op, status};

thread_local! {
    /// The values for servers that this thread is encoding: which server, and the objects that were mentioned so far.
    static ENCODING: RefCell<Vec<(u64, Mentions)>> = const { RefCell::new(Vec::new()) };
    /// The values of servers that this thread is decoding: the session, and the objects that nobody has taken up yet.
    static DECODING: RefCell<Vec<(Arc<Session>, Vec<u64>)>> = const { RefCell::new(Vec::new()) };
}

/// The server itself, as the object of requests; nobody counts it.
pub(crate) const SERVER: u64 = 0;

/// The objects that a value mentions. They are kept until the value has gone to the server: what was encoded may be dropped before.
pub(crate) type Mentions = Vec<Arc<Reference>>;

/// One count of an object, of this process's session.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) session: Arc<Session>,
    pub(crate) object: u64,
}

impl Drop for Reference {
    fn drop(&mut self) {
        if self.object != SERVER && self.session.is_ours() {
            self.session.release(self.object, 1);
        }
    }
}

/// An object of a server, for any number of users in this process.
#[derive(Clone)]
pub struct Core {
    first: Arc<Reference>,
    fingerprint: u64,
    /// What a forked child has instead of the first.
    in_fork: Arc<OnceLock<Core>>,
}

/// What travels.
#[derive(Serialize, Deserialize)]
struct Travelling {
    address: Address,
    server: u64,
    object: u64,
    fingerprint: u64,
    lease: Lease,
}

/// What holds the object while the proxy is under way.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Lease {
    /// The value of the server that it is in.
    Kept,
    /// A session, under a number.
    Lent { session: u64, ticket: u64 },
}

impl Core {
    /// Of a reference that the session has already.
    pub(crate) fn adopt(session: Arc<Session>, object: u64, fingerprint: u64) -> Self {
        let first = Arc::new(Reference { session, object });
        Self { first, fingerprint, in_fork: Arc::new(OnceLock::new()) }
    }

    /// Of a reference that others have as well.
    pub(crate) fn adopt_shared(reference: &Arc<Reference>) -> Self {
        let first = Arc::clone(reference);
        Self { first, fingerprint: 0, in_fork: Arc::new(OnceLock::new()) }
    }

    /// The reference of this process.
    #[inline]
    pub(crate) fn reference(&self) -> Result<&Arc<Reference>> {
        if self.first.session.is_ours() {
            return Ok(&self.first);
        }
        self.after_fork()
    }

    #[cold]
    fn after_fork(&self) -> Result<&Arc<Reference>> {
        if self.in_fork.get().is_none() {
            let first = &self.first.session;
            let session = session_at(first.server(), first.address())?;
            claim(&session, self.first.object, (0, 0), self.fingerprint)?;
            let new = Self::adopt(session, self.first.object, self.fingerprint);
            drop(self.in_fork.set(new));
        }
        match self.in_fork.get() {
            Some(core) => core.reference(),
            None => Err(Error::new(ErrorKind::Closed, "a proxy was lost in a fork")),
        }
    }

    pub(crate) fn object(&self) -> u64 {
        self.first.object
    }

    /// Whether both are the same object.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let [one, other] = [self, other].map(|core| (core.first.session.server(), core.object()));
        one == other
    }

    fn travel(&self) -> Result<Travelling> {
        let reference = self.reference()?;
        let session = &reference.session;
        let (server, object) = (session.server(), reference.object);
        let lease = match object == SERVER || mention(reference) {
            true => Lease::Kept,
            false => lend(reference)?,
        };
        let address = session.address().clone();
        Ok(Travelling { address, server, object, fingerprint: self.fingerprint, lease })
    }

    pub(crate) fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.travel().map_err(ser::Error::custom)?.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
        fingerprint: u64,
    ) -> Result<Self, D::Error> {
        let travelled = Travelling::deserialize(deserializer)?;
        travelled.arrive(fingerprint).map_err(|error| de::Error::custom(refuse(error)))
    }
}

impl Travelling {
    fn arrive(self, fingerprint: u64) -> Result<Core> {
        let session = taken_up(self.server, self.object);
        if fingerprint != self.fingerprint {
            if let Some(session) = session {
                session.release(self.object, 1);
            }
            let text = "a proxy has come where one of another type was expected";
            return Err(Error::new(ErrorKind::Decode, text));
        }
        let session = match session {
            Some(session) => session,
            None => {
                let session = session_at(self.server, &self.address)?;
                let lender = match self.lease {
                    Lease::Kept => (0, 0),
                    Lease::Lent { session, ticket } => (ticket, session),
                };
                claim(&session, self.object, lender, fingerprint)?;
                session
            }
        };
        Ok(Core::adopt(session, self.object, fingerprint))
    }
}

/// Notes that the value which this thread is encoding for a server mentions an object of that server; `false` when it is encoding none.
fn mention(reference: &Arc<Reference>) -> bool {
    let server = reference.session.server();
    let noted = ENCODING.try_with(|stack| {
        let mut stack = stack.borrow_mut();
        match stack.last_mut() {
            Some((of, mentions)) if *of == server => {
                mentions.push(Arc::clone(reference));
                true
            }
            _ => false,
        }
    });
    noted.unwrap_or(false)
}

/// Takes up the reference that a server has counted for a value which this thread is decoding.
fn taken_up(server: u64, object: u64) -> Option<Arc<Session>> {
    let taken = DECODING.try_with(|stack| {
        let mut stack = stack.borrow_mut();
        let (session, counted) =
            stack.last_mut().filter(|(session, _)| session.server() == server)?;
        let place = counted.iter().position(|it| *it == object)?;
        counted.swap_remove(place);
        Some(Arc::clone(session))
    });
    taken.ok().flatten()
}

/// Encodes a value for a server, behind what is in `out`; the objects of that server that it mentions.
pub(crate) fn encode_for<T: Serialize + ?Sized>(
    server: u64,
    value: &T,
    out: &mut Vec<u8>,
) -> Result<Mentions> {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            drop(ENCODING.with_borrow_mut(Vec::pop));
        }
    }
    ENCODING.with_borrow_mut(|stack| stack.push((server, Vec::new())));
    let leave = Leave;
    let handles = procession_core::Message::encode_onto(out, value);
    let mentions = ENCODING.with_borrow_mut(|stack| stack.last_mut().map(|(_, it)| mem::take(it)));
    drop(leave);
    match handles?.is_empty() {
        true => Ok(mentions.unwrap_or_default()),
        false => {
            let text =
                "a value with handles cannot be kept by a manager: those exist in processes only";
            Err(Error::new(ErrorKind::Unsupported, text))
        }
    }
}

/// Decodes a value that a server has told, with the objects that it counted for that.
pub(crate) fn decode_from<T: de::DeserializeOwned>(
    session: &Arc<Session>,
    bytes: &[u8],
    counted: Vec<u64>,
) -> Result<T> {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            let left = DECODING.with_borrow_mut(Vec::pop);
            // What was counted and not taken up: the value was not decoded to its end.
            if let Some((session, counted)) = left {
                for object in counted {
                    session.release(object, 1);
                }
            }
        }
    }
    if counted.is_empty() {
        return procession_core::Message::decode_parts(bytes, Vec::new());
    }
    DECODING.with_borrow_mut(|stack| stack.push((Arc::clone(session), counted)));
    let _leave = Leave;
    procession_core::Message::decode_parts(bytes, Vec::new())
}

/// Has the server hold an object until somebody claims it, or the session ends.
fn lend(reference: &Reference) -> Result<Lease> {
    let mut bytes = [0; 8];
    random::fill(&mut bytes)?;
    let ticket = u64::from_le_bytes(bytes);
    let mut request = request(reference.object, op::LEASE);
    request.put_u64(ticket);
    done(&reference.session.call(&mut request, Deadline::PAST)?)?;
    Ok(Lease::Lent { session: reference.session.number(), ticket })
}

fn claim(
    session: &Arc<Session>,
    object: u64,
    (ticket, lender): (u64, u64),
    fingerprint: u64,
) -> Result<()> {
    if object == SERVER {
        return Ok(());
    }
    let mut request = request(object, op::CLAIM);
    request.put_u64(ticket);
    request.put_u64(lender);
    request.put_u64(fingerprint);
    done(&session.call(&mut request, Deadline::PAST)?)
}

/// That an answer says no error.
fn done(answer: &[u8]) -> Result<()> {
    let mut reader = Reader(answer);
    reader.take(ANSWER_HEAD - 1)?;
    match reader.u8()? {
        status::FAILED => Err(crate::client::read_error(reader)),
        _ => Ok(()),
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (object, address) = (self.first.object, self.first.session.address());
        write!(f, "object {object} at {address}")
    }
}
