//! Calls of operations: run at once, sent ahead, or many in one round trip.

use std::fmt;
use std::marker::PhantomData;

use std::sync::Arc;

use procession_core::codec::{Codec, Postcard};
use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_sys::prim::{Mutex, lock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::{Pending, Session, read_error, request};
use crate::reference::{Core, Mentions, Reference, decode_from, encode_for};
use crate::wire::{ANSWER_HEAD, REQUEST_HEAD, Reader, Write, length, not_whole, op, status};

/// An operation of a managed object, with its arguments: to be [run](Self::run), [sent](Self::send), or added to a [`Batch`].
///
/// `dict.get(&key)` is `dict.calls().get(&key).run()`.
///
/// # Examples
///
/// ```
/// # use procession_manager as procession;
/// # fn main() -> procession_core::Result<()> {
/// # procession_process::init();
/// use procession::{Batch, Manager};
///
/// let manager = Manager::start()?;
/// let dict = manager.dict::<String, u32>()?;
/// // Both are under way before the first answer is waited for.
/// let one = dict.calls().insert("one", &1).send()?;
/// let two = dict.calls().insert("two", &2).send()?;
/// (one.wait()?, two.wait()?);
///
/// // One round trip, and nobody comes in between.
/// let mut batch = Batch::new();
/// let sum = batch.add(dict.calls().fetch_add("one", 41));
/// let len = batch.add(dict.calls().len());
/// batch.run()?;
/// assert_eq!((sum.take()?, len.take()?), (1, 2));
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing happens before a call is run or sent"]
pub struct Call<R> {
    made: Result<Made>,
    decode: Decode<R>,
}

/// A request, and where to.
struct Made {
    reference: Arc<Reference>,
    request: Vec<u8>,
    mentions: Mentions,
}

pub(crate) type Decode<R> = fn(&mut Answer<'_>) -> Result<R>;

/// What a server has answered.
pub(crate) struct Answer<'a> {
    pub(crate) session: &'a Arc<Session>,
    pub(crate) status: u8,
    pub(crate) reader: Reader<'a>,
}

/// Writes the arguments of a request.
pub(crate) struct Arguments {
    reference: Arc<Reference>,
    request: Vec<u8>,
    mentions: Mentions,
    refused: Option<Error>,
}

impl Arguments {
    /// Those of an operation on an object.
    pub(crate) fn of(core: &Core, operation: u8) -> Result<Self> {
        let reference = Arc::clone(core.reference()?);
        let request = request(reference.object, operation);
        Ok(Self { reference, request, mentions: Vec::new(), refused: None })
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.request.put_u64(number);
    }

    pub(crate) fn count(&mut self, count: usize) {
        match length(count) {
            Ok(count) => self.request.put_u32(count),
            Err(error) => self.refused = Some(error),
        }
    }

    pub(crate) fn word(&mut self, number: u32) {
        self.request.put_u32(number);
    }

    /// The bytes of a value, without more.
    pub(crate) fn bytes_of<T: Serialize + ?Sized>(&mut self, value: &T) {
        let encoded = Postcard::encode_into(value, Vec::new());
        if let Err(error) = encoded.and_then(|bytes| self.request.put_bytes(&bytes)) {
            self.refused = Some(error);
        }
    }

    pub(crate) fn text(&mut self, text: &str) {
        if let Err(error) = self.request.put_bytes(text.as_bytes()) {
            self.refused = Some(error);
        }
    }

    pub(crate) fn signed(&mut self, number: i64) {
        self.request.put_i64(number);
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.request.put_u8(byte);
    }

    pub(crate) fn flag(&mut self, flag: bool) {
        self.request.put_u8(flag.into());
    }

    pub(crate) fn deadline(&mut self, deadline: Deadline) {
        self.request.put_deadline(deadline);
    }

    /// A value.
    pub(crate) fn value<T: Serialize + ?Sized>(&mut self, value: &T) {
        let server = self.reference.session.server();
        match put_value(server, value, &mut self.request) {
            Ok(mentions) if mentions.is_empty() => {}
            Ok(mentions) => self.mentions.extend(mentions),
            Err(error) => self.refused = Some(error),
        }
    }

    pub(crate) fn maybe<T: Serialize + ?Sized>(&mut self, value: Option<&T>) {
        self.flag(value.is_some());
        if let Some(value) = value {
            self.value(value);
        }
    }

    /// Values, and in front of them how many.
    pub(crate) fn values<T: Serialize>(&mut self, values: impl IntoIterator<Item = T>) {
        let start = self.request.len();
        self.request.put_u32(0);
        let mut count = 0;
        for value in values {
            self.value(&value);
            count += 1;
        }
        self.fill_in(start, count);
    }

    /// Keys and values, and in front of them how many.
    pub(crate) fn pairs<K: Serialize, V: Serialize>(
        &mut self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) {
        let start = self.request.len();
        self.request.put_u32(0);
        let mut count = 0;
        for (key, value) in pairs {
            self.value(&key);
            self.value(&value);
            count += 1;
        }
        self.fill_in(start, count);
    }

    fn fill_in(&mut self, at: usize, count: usize) {
        match length(count) {
            Ok(count) => self.request[at..at + 4].copy_from_slice(&count.to_le_bytes()),
            Err(error) => self.refused = Some(error),
        }
    }

    fn finish(self) -> Result<Made> {
        match self.refused {
            None => {
                let Self { reference, request, mentions, .. } = self;
                Ok(Made { reference, request, mentions })
            }
            Some(error) => Err(error),
        }
    }
}

/// Writes a value of a server's as an item.
fn put_value<T: Serialize + ?Sized>(server: u64, value: &T, out: &mut Vec<u8>) -> Result<Mentions> {
    let start = out.len();
    out.put_u64(0);
    let mentions = encode_for(server, value, out)?;
    let len = length(out.len() - start - 8)?;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    let count = length(mentions.len())?;
    out[start + 4..start + 8].copy_from_slice(&count.to_le_bytes());
    mentions.iter().for_each(|mentioned| out.put_u64(mentioned.object));
    Ok(mentions)
}

impl<'a> Answer<'a> {
    fn of(session: &'a Arc<Session>, frame: &'a [u8]) -> Result<Self> {
        let mut reader = Reader(frame);
        reader.take(ANSWER_HEAD - 1)?;
        let status = reader.u8()?;
        Self { session, status, reader }.check()
    }

    fn check(self) -> Result<Self> {
        match self.status {
            status::FAILED => Err(read_error(self.reader)),
            _ => Ok(self),
        }
    }

    /// What stands behind the head, once more.
    pub(crate) fn rest(session: &'a Arc<Session>, rest: &'a [u8]) -> Self {
        Self { session, status: status::DONE, reader: Reader(rest) }
    }

    pub(crate) fn value<T: DeserializeOwned>(&mut self) -> Result<T> {
        let raw = self.reader.item()?;
        decode_from(self.session, raw.bytes, raw.mentions().collect())
    }

    /// Passes over a value, and lets go of what it mentions.
    pub(crate) fn pass_over(&mut self) -> Result<()> {
        for mentioned in self.reader.item()?.mentions() {
            self.session.release(mentioned, 1);
        }
        Ok(())
    }

    pub(crate) fn maybe<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        match self.reader.flag()? {
            true => self.value().map(Some),
            false => Ok(None),
        }
    }
}

impl<R> Call<R> {
    pub(crate) fn new(
        core: &Core,
        operation: u8,
        decode: Decode<R>,
        arguments: impl FnOnce(&mut Arguments),
    ) -> Self {
        let made = Arguments::of(core, operation).and_then(|mut written| {
            arguments(&mut written);
            written.finish()
        });
        Self { made, decode }
    }

    /// Runs it, and waits for the answer.
    ///
    /// # Errors
    ///
    /// [`Closed`](ErrorKind::Closed) when the manager is gone, or was in the meantime: whether it has done it nobody knows then;
    /// [`Encode`](ErrorKind::Encode) when an argument cannot be encoded; [`Unsupported`](ErrorKind::Unsupported) when one holds
    /// descriptors; [`TooLarge`](ErrorKind::TooLarge) when the manager has no more room; [`Decode`](ErrorKind::Decode) when what
    /// is there is of another type; and what the operation says.
    #[inline]
    pub fn run(self) -> Result<R> {
        self.run_until(Deadline::PAST)
    }

    /// Runs it, when the server may have to wait so long.
    pub(crate) fn run_until(self, wait: Deadline) -> Result<R> {
        let Made { reference, mut request, mentions: _mentions } = self.made?;
        let answer = reference.session.call(&mut request, wait)?;
        (self.decode)(&mut Answer::of(&reference.session, &answer)?)
    }
}

impl<R: 'static> Call<R> {
    /// Sends it, without waiting for the answer.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), for what is known before the answer.
    pub fn send(self) -> Result<InFlight<R>> {
        let Made { reference, mut request, mentions: _mentions } = self.made?;
        let call = reference.session.send(&mut request)?;
        Ok(InFlight { reference, call: Some(Pending(call)), decode: self.decode })
    }
}

/// A call that was sent, and whose answer was not waited for yet.
///
/// # Drop, kill, fork
///
/// When it is dropped the operation is done all the same, and its answer is thrown away. A forked child has not sent it.
#[must_use = "whether it was done is told by `wait`"]
pub struct InFlight<R: 'static> {
    reference: Arc<Reference>,
    call: Option<Pending>,
    decode: Decode<R>,
}

impl<R: 'static> InFlight<R> {
    /// Waits for the answer.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn wait(mut self) -> Result<R> {
        let Some(Pending(call)) = self.call.take() else { return Err(not_whole()) };
        if !self.reference.session.is_ours() {
            return Err(Error::new(ErrorKind::Closed, "another process has sent the call"));
        }
        let deadline = self.reference.session.patience(Deadline::PAST);
        let answer = self.reference.session.answer(call, deadline)?;
        (self.decode)(&mut Answer::of(&self.reference.session, &answer)?)
    }
}

impl<R: 'static> Drop for InFlight<R> {
    fn drop(&mut self) {
        if let Some(Pending(call)) = self.call.take()
            && self.reference.session.is_ours()
        {
            let (session, decode) = (Arc::clone(&self.reference.session), self.decode);
            let forget = move |answer: Vec<u8>| {
                // What is in it lets go of what it holds.
                drop(Answer::of(&session, &answer).and_then(|mut answer| decode(&mut answer)));
            };
            self.reference.session.abandon(call, Box::new(forget));
        }
    }
}

/// Many calls of one manager's objects in one round trip, done one after the other, with nobody's in between.
///
/// One that fails does not keep the others from being done. What may have to wait cannot be in a batch.
#[derive(Default)]
#[must_use = "nothing happens before a batch is run"]
pub struct Batch {
    calls: Vec<u8>,
    count: usize,
    /// Where it goes.
    reference: Option<Arc<Reference>>,
    mentions: Mentions,
    answers: Vec<Take>,
    refused: Option<Error>,
}

/// What takes an answer of a batch.
type Take = Box<dyn FnOnce(Result<Answer<'_>>)>;

/// What a call of a [`Batch`] has brought, once that was run.
#[must_use = "whether it was done is told by `take`"]
pub struct Later<R>(Arc<Mutex<Option<Result<R>>>>, PhantomData<R>);

impl<R> Later<R> {
    /// The result.
    ///
    /// # Errors
    ///
    /// As [`Call::run`]; [`InvalidInput`](ErrorKind::InvalidInput) when the batch was not run.
    pub fn take(self) -> Result<R> {
        let result = lock(&self.0).take();
        result.unwrap_or_else(|| {
            Err(Error::new(ErrorKind::InvalidInput, "the batch of the call was not run"))
        })
    }
}

impl Batch {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many calls there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no call.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a call. All have to be of objects of the same manager, or else [`run`](Self::run) refuses them.
    pub fn add<R: 'static>(&mut self, call: Call<R>) -> Later<R> {
        let result = Arc::new(Mutex::new(None));
        let later = Later(Arc::clone(&result), PhantomData);
        if let Err(error) = self.add_request(call.made) {
            *lock(&result) = Some(Err(error));
            return later;
        }
        let decode = call.decode;
        self.answers.push(Box::new(move |answer| {
            *lock(&result) = Some(answer.and_then(|mut answer| decode(&mut answer)));
        }));
        later
    }

    fn add_request(&mut self, made: Result<Made>) -> Result<()> {
        let Made { reference, request, mentions } = made?;
        self.mentions.extend(mentions);
        let server = reference.session.server();
        let first = self.reference.get_or_insert(reference);
        if first.session.server() != server {
            let text = "the calls of a batch are of objects of one manager";
            let error = Error::new(ErrorKind::InvalidInput, text);
            self.refused = Some(error.clone());
            return Err(error);
        }
        self.calls.extend_from_slice(&request[8..REQUEST_HEAD]);
        if let Err(error) = self.calls.put_bytes(&request[REQUEST_HEAD..]) {
            self.refused = Some(error.clone());
            return Err(error);
        }
        self.count += 1;
        Ok(())
    }

    /// Runs them, in order.
    ///
    /// # Errors
    ///
    /// As [`Call::run`], when that concerns all of them: then none was done, or, if the manager is gone, nobody knows. What concerns
    /// one says that one's [`Later`].
    pub fn run(self) -> Result<()> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        let Some(reference) = self.reference else { return Ok(()) };
        let session = &reference.session;
        let mut request = request(0, op::BATCH);
        request.put_u32(length(self.count)?);
        request.extend_from_slice(&self.calls);
        let frame = session.call(&mut request, Deadline::PAST)?;
        let mut rest = Answer::of(session, &frame)?.reader;
        for answer in self.answers {
            let status = rest.u8()?;
            let reader = Reader(rest.bytes()?);
            answer(Answer { session, status, reader }.check());
        }
        Ok(())
    }
}

impl<R> fmt::Debug for Call<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = self.made.as_ref().map(|made| made.reference.object);
        f.debug_struct("Call").field("object", &object).finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for InFlight<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = &self.reference.object;
        f.debug_struct("InFlight").field("object", object).finish_non_exhaustive()
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("calls", &self.count).finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for Later<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_there = lock(&self.0).is_some();
        f.debug_struct("Later").field("is_there", &is_there).finish()
    }
}

/// Decoders that several operations have in common.
pub(crate) mod tell {
    use super::{Answer, Arc, DeserializeOwned, Result, Session};

    pub(crate) fn nothing(_answer: &mut Answer<'_>) -> Result<()> {
        Ok(())
    }

    /// All of it, to be read later.
    pub(crate) fn all(answer: &mut Answer<'_>) -> Result<(Vec<u8>, Arc<Session>)> {
        Ok((answer.reader.0.to_vec(), Arc::clone(answer.session)))
    }

    pub(crate) fn flag(answer: &mut Answer<'_>) -> Result<bool> {
        answer.reader.flag()
    }

    pub(crate) fn number(answer: &mut Answer<'_>) -> Result<u64> {
        answer.reader.u64()
    }

    pub(crate) fn size(answer: &mut Answer<'_>) -> Result<usize> {
        Ok(usize::try_from(answer.reader.u64()?).unwrap_or(usize::MAX))
    }

    pub(crate) fn value<T: DeserializeOwned>(answer: &mut Answer<'_>) -> Result<T> {
        answer.value()
    }

    pub(crate) fn maybe<T: DeserializeOwned>(answer: &mut Answer<'_>) -> Result<Option<T>> {
        answer.maybe()
    }
}
