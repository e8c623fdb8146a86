//! The client's side: a session, which is this process's one connection to a server.
//!
//! Any number of threads call through it. Each call has a number, by which its answer is known; answers come in any order. One of those who
//! wait reads for all of them: whoever finds nobody reading does, until its own answer has come, and then wakes another one to go on. So
//! a call of one thread alone goes out and comes back without another thread.
//!
//! A session that has lost its server, in whatever way, is lost: all calls that wait, and all to come, answer with the same error.

mod calls;
mod server_process;
mod sessions;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use procession_connection::{
    Address, Client, Connection, Listener, RecvIntoError, RecvTimeoutError, SendTimeoutError,
};
use procession_core::authkey::AuthKey;
use procession_core::holder::Holder;
use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_process::current_process;
use procession_sys::prim::Ordering::Relaxed;
use procession_sys::prim::{AtomicU64, Mutex, OnceLock, lock};

pub(crate) use calls::Pending;
use calls::{Calls, Role};
pub(crate) use server_process::ServerProcess;
pub(crate) use sessions::{know_key, session_at};

use crate::reference::SERVER;
use crate::wire::{MAGIC, REQUEST_HEAD, Reader, Write, op, status};

/// How long a server may take for an answer that need not wait for anybody, and beyond the time that a call gave it. A server that takes
/// longer is as good as gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a client may take to reach a server, unless it is told.
pub(crate) const CONNECT: Duration = Duration::from_secs(20);

/// Answers up to here are received without memory of their own first.
const USUAL: usize = 1 << 10;

/// This process's connection to a server.
pub(crate) struct Session {
    connection: Connection,
    address: Address,
    /// Which server.
    server: u64,
    /// Its own number there.
    number: u64,
    /// Whether the server is on this machine.
    is_local: bool,
    /// How long the server may take for an answer, beyond the time that the call gave it.
    limit: Duration,
    /// Whose it is: a forked child has but a copy.
    owner: Holder,
    calls: Mutex<Calls>,
    next: AtomicU64,
    /// Why it is lost.
    lost: OnceLock<Error>,
    /// The server's process, if this one has started it.
    server_process: OnceLock<ServerProcess>,
}

impl Session {
    /// Connects to a server.
    pub(crate) fn connect(
        address: &Address,
        key: Option<&AuthKey>,
        timeout: Duration,
    ) -> Result<Arc<Self>> {
        let mut client = Client::builder(address).timeout(timeout);
        let current = AuthKey::current()?;
        client = client.authkey(key.unwrap_or(current));
        let limit = if timeout == CONNECT { PATIENCE } else { timeout };
        Self::greet(client.connect()?, address.clone(), is_local(address), (timeout, limit))
    }

    /// A session over a connection that is in memory already.
    pub(crate) fn begin(connection: Connection, address: Address) -> Result<Arc<Self>> {
        Self::greet(connection, address, false, (CONNECT, PATIENCE))
    }

    fn greet(
        connection: Connection,
        address: Address,
        wants_memory: bool,
        (timeout, limit): (Duration, Duration),
    ) -> Result<Arc<Self>> {
        let deadline = Deadline::after(timeout);
        let mut hello = MAGIC.to_vec();
        hello.put_u8(wants_memory.into());
        let process = current_process();
        hello
            .put_bytes(format!("{}, process {}", process.name(), std::process::id()).as_bytes())?;
        connection.send_bytes_deadline(&hello, deadline).map_err(Error::from)?;
        let greeting = connection.recv_bytes_deadline(deadline).map_err(no_greeting)?;
        let mut reader = Reader(&greeting);
        if reader.u8()? != status::DONE {
            return Err(read_error(reader));
        }
        let (server, number, follows) = (reader.u64()?, reader.u64()?, reader.flag()?);
        let connection = match follows {
            true => connection.recv_deadline(deadline).map_err(no_greeting)?,
            false => connection,
        };
        Ok(Arc::new(Self {
            connection,
            is_local: is_local(&address),
            limit,
            address,
            server,
            number,
            owner: Holder::me()?,
            calls: Mutex::new(Calls::default()),
            next: AtomicU64::new(0),
            lost: OnceLock::new(),
            server_process: OnceLock::new(),
        }))
    }

    /// Makes this the session that the server's process ends with.
    pub(crate) fn keep(&self, server: ServerProcess) {
        // Once, by who has started it.
        drop(self.server_process.set(server));
    }

    pub(crate) fn server_process(&self) -> Option<&ServerProcess> {
        self.server_process.get()
    }

    pub(crate) fn server(&self) -> u64 {
        self.server
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Whether it is this process's, and not that of one that this was forked from.
    pub(crate) fn is_ours(&self) -> bool {
        Holder::me().is_ok_and(|me| me == self.owner)
    }

    /// Until when to wait for the answer of a call that the server may have to let wait. A server of this machine that is stopped is
    /// waited for, as everything is that is stopped; of its end one learns. Of another machine's one may not.
    pub(crate) fn patience(&self, wait: Deadline) -> Deadline {
        match wait.remaining() {
            Some(left) if !self.is_local || !left.is_zero() => {
                Deadline::after(left.saturating_add(self.limit))
            }
            _ => Deadline::NEVER,
        }
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    /// Sends a request, whose call number is put in, and returns its answer. `wait` is how long the server may have to wait before it
    /// answers.
    pub(crate) fn call(&self, request: &mut [u8], wait: Deadline) -> Result<Vec<u8>> {
        self.check_usable()?;
        let call = self.number_call(request);
        let deadline = self.patience(wait);
        if !lock(&self.calls).lead_or_begin(call) {
            self.push_or_end(call, request)?;
            return self.answer(call, deadline);
        }
        // Nobody else has a call under way: this one is noted nowhere.
        let mut leader = Leader::of(self);
        let answered =
            self.push(request, Some(&mut leader)).and_then(|()| leader.read_for(call, deadline));
        drop(leader);
        self.settle(answered)
    }

    /// Sends a request, and returns the number of the call.
    pub(crate) fn send(&self, request: &mut [u8]) -> Result<u64> {
        self.check_usable()?;
        let call = self.number_call(request);
        lock(&self.calls).begin(call);
        self.push_or_end(call, request)?;
        Ok(call)
    }

    fn push_or_end(&self, call: u64, request: &[u8]) -> Result<()> {
        self.push(request, None).map_err(|error| {
            lock(&self.calls).end(call);
            self.lose(&error);
            self.why_lost()
        })
    }

    /// Sends a request that has no answer. When the server is gone, nothing is to be done either.
    pub(crate) fn tell(&self, request: &[u8]) {
        if !self.is_lost()
            && let Err(error) = self.push(request, None)
        {
            self.lose(&error);
        }
    }

    fn number_call(&self, request: &mut [u8]) -> u64 {
        let call = self.next.fetch_add(1, Relaxed) + 1;
        request[..8].copy_from_slice(&call.to_le_bytes());
        call
    }

    /// Sends a frame. While the server does not take it because it has answers to give first, these are read, by `leader` if this thread
    /// is that.
    fn push(&self, request: &[u8], mut leader: Option<&mut Leader<'_>>) -> Result<()> {
        let mut sent = self.connection.send_bytes_timeout(request, Duration::ZERO);
        if sent.is_ok() {
            return Ok(());
        }
        let deadline = Deadline::after(self.limit);
        // One that is not gone by then begins anew, and would never end if it had as long again.
        let mut look = LOOK + Duration::from_nanos(10).saturating_mul(length_of(request));
        loop {
            let begun = match sent {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Failed(error)) => return Err(error),
                Err(SendTimeoutError::Unfinished) => true,
                Err(SendTimeoutError::Timeout(())) => false,
            };
            if deadline.has_passed() {
                return Err(no_answer());
            }
            match &mut leader {
                Some(leader) => leader.read_what_is_there()?,
                None if lock(&self.calls).try_lead() => Leader::of(self).read_what_is_there()?,
                None => {}
            }
            sent = match begun {
                true if self.connection.flush(look)? => Ok(()),
                true => Err(SendTimeoutError::Unfinished),
                false => self.connection.send_bytes_timeout(request, look),
            };
            look = look.saturating_mul(2);
        }
    }

    /// Waits for the answer of a call that was sent.
    pub(crate) fn answer(&self, call: u64, deadline: Deadline) -> Result<Vec<u8>> {
        loop {
            let role = lock(&self.calls).role(call);
            match role {
                Role::Answered(answer) => return Ok(answer),
                Role::Lost => return Err(self.why_lost()),
                Role::Leads => {
                    let answered = Leader::of(self).read_for(call, deadline);
                    lock(&self.calls).end(call);
                    return self.settle(answered);
                }
                Role::Waits => {
                    if !calls::park(deadline) {
                        lock(&self.calls).end(call);
                        self.lose(&no_answer());
                    }
                }
            }
        }
    }

    /// The answer of a call, if there is one; otherwise the session is lost.
    fn settle(&self, answered: Result<Option<Vec<u8>>>) -> Result<Vec<u8>> {
        let error = match answered {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => no_answer(),
            Err(error) => error,
        };
        self.lose(&error);
        Err(self.why_lost())
    }

    fn read(&self, deadline: Deadline) -> Result<Option<Vec<u8>>> {
        let mut buffer = [0; USUAL];
        match self.connection.recv_bytes_into_deadline(&mut buffer, deadline) {
            Ok(len) => Ok(Some(buffer[..len].to_vec())),
            Err(RecvIntoError::TooShort(answer)) => Ok(Some(answer)),
            Err(RecvIntoError::Timeout) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Has the answer of a call thrown away by `forget` when it comes.
    pub(crate) fn abandon(&self, call: u64, forget: calls::Forget) {
        let answer = lock(&self.calls).abandon(call, forget);
        if let Some((forget, answer)) = answer {
            forget(answer);
        }
    }

    /// The session is lost: everybody who waits is told, and the server learns it, too.
    fn lose(&self, error: &Error) {
        let lost = || {
            let text = format!("the manager at {} is gone, or out of reach", self.address);
            Error::new(ErrorKind::Closed, text).caused_by(error)
        };
        let _first = self.lost.get_or_init(lost);
        self.connection.close();
        lock(&self.calls).lose();
    }

    fn check_usable(&self) -> Result<()> {
        if !self.is_ours() {
            let text = "a call was made by a process, and run by one that was forked from it";
            return Err(Error::new(ErrorKind::Taken, text));
        }
        self.lost.get().cloned().map_or(Ok(()), Err)
    }

    fn why_lost(&self) -> Error {
        self.lost.get().cloned().unwrap_or_else(no_answer)
    }

    /// Lets go of an object, so many times.
    pub(crate) fn release(&self, object: u64, times: u64) {
        let mut request = request(object, op::RELEASE);
        request.put_u64(times);
        self.tell(&request);
    }
}

/// The thread that reads for all, as long as it does.
struct Leader<'a> {
    session: &'a Session,
    /// Answers that nobody waits for any more. What they hold is let go of when another thread may read: that may run anybody's code.
    unwanted: Vec<(calls::Forget, Vec<u8>)>,
}

impl<'a> Leader<'a> {
    /// Of one that was told to read.
    fn of(session: &'a Session) -> Self {
        Self { session, unwanted: Vec::new() }
    }

    /// Reads until the answer of this call has come, or the deadline has passed.
    fn read_for(&mut self, call: u64, deadline: Deadline) -> Result<Option<Vec<u8>>> {
        loop {
            let Some(answer) = self.session.read(deadline)? else { return Ok(None) };
            if number_of(&answer)? == call {
                return Ok(Some(answer));
            }
            self.hand_out(answer)?;
        }
    }

    fn read_what_is_there(&mut self) -> Result<()> {
        while let Some(answer) = self.session.read(Deadline::PAST)? {
            self.hand_out(answer)?;
        }
        Ok(())
    }

    fn hand_out(&mut self, answer: Vec<u8>) -> Result<()> {
        let call = number_of(&answer)?;
        self.unwanted.extend(lock(&self.session.calls).hand_out(call, answer));
        Ok(())
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        lock(&self.session.calls).stop_leading();
        for (forget, answer) in self.unwanted.drain(..) {
            forget(answer);
        }
    }
}

/// How long one that waits for room to send waits before it looks whether there is something to read.
const LOOK: Duration = Duration::from_millis(1);

fn length_of(request: &[u8]) -> u32 {
    u32::try_from(request.len()).unwrap_or(u32::MAX)
}

/// The head of a request, without the number of its call.
pub(crate) fn request(object: u64, operation: u8) -> Vec<u8> {
    let mut request = Vec::with_capacity(REQUEST_HEAD + 64);
    request.put_u64(0);
    request.put_u64(object);
    request.put_u8(operation);
    request
}

/// What an error answer says.
#[cold]
pub(crate) fn read_error(reader: Reader<'_>) -> Error {
    use procession_core::codec::{Codec, Postcard};
    Postcard::decode(reader.0).unwrap_or_else(|error| error)
}

fn number_of(answer: &[u8]) -> Result<u64> {
    Reader(answer).u64()
}

#[cold]
fn no_answer() -> Error {
    Error::new(ErrorKind::TimedOut, "the manager does not answer")
}

#[cold]
fn no_greeting(error: RecvTimeoutError) -> Error {
    Error::new(ErrorKind::Closed, "the manager does not greet").caused_by(&Error::from(error))
}

/// Whether a server there is on this machine.
fn is_local(address: &Address) -> bool {
    matches!(address, Address::Path(_) | Address::Abstract(_))
}

impl Drop for Session {
    fn drop(&mut self) {
        // A forked child's copy is nobody's.
        if let Some(server) = self.server_process.get()
            && self.is_ours()
        {
            self.tell(&request(SERVER, op::SHUT_DOWN));
            // What cannot be waited for is ended when this process ends.
            drop(server.end(server.grace));
            if !server.has_ended_in_order() {
                Listener::sweep();
            }
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("address", &self.address).finish_non_exhaustive()
    }
}
