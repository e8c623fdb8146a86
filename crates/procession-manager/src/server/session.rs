//! The thread of a client: it greets it, and does what it asks for until it is gone.
//!
//! The first frame of a client says which protocol it speaks, whether it wants memory, and who it is: `magic [u8; 8], u8, text`. The answer is
//! `status u8`, and then either an error, or `server u64, session u64, u8`: whether memory follows. If so, the next message is a value: the
//! other end of a connection through shared memory, and all that follows goes through that.

use std::sync::Arc;
use std::time::Duration;

use procession_connection::{Connection, RecvIntoError};
use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_sys::prim::lock;

use super::peer::Peer;
use super::state::put_error;
use super::{Handled, Shared};
use crate::wire::{MAGIC, Reader, Write, status};

/// How long a client that has proven its key may take to say the rest.
const GREETING: Duration = Duration::from_secs(10);
/// Most requests are shorter.
const USUAL: usize = 4 << 10;
/// A buffer that grew beyond this for one answer is given back.
const KEEP: usize = 1 << 20;

/// Serves a client until it is gone, or the server ends.
pub(super) fn serve(shared: &Arc<Shared>, client: Connection) {
    let greeted = greet(shared, client);
    let (session, peer) = match greeted {
        Ok(Some(greeted)) => greeted,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(%error, "a manager has refused a client");
            return;
        }
    };
    let ended = {
        let _ended = Ended(shared, session);
        converse(shared, session, &peer)
    };
    match ended {
        Ok(Handled::AndOn) => {}
        Ok(Handled::Last) => shared.shut_down(),
        Err(error) if error.kind() == ErrorKind::Closed => {}
        Err(error) => tracing::warn!(%error, "a manager has lost a client"),
    }
}

/// Ends a session, also when the thread that serves it panics.
struct Ended<'a>(&'a Arc<Shared>, u64);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.end_session(self.1);
    }
}

/// Greets a client; its session, unless it went.
fn greet(shared: &Arc<Shared>, client: Connection) -> Result<Option<(u64, Arc<Peer>)>> {
    let mut buffer = vec![0; USUAL];
    let deadline = Deadline::after(GREETING);
    let hello = match client.recv_bytes_into_deadline(&mut buffer, deadline) {
        Ok(len) => &buffer[..len],
        Err(RecvIntoError::Closed) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (wants_memory, name) = match read_hello(hello).and_then(|hello| room(shared, hello)) {
        Ok(hello) => hello,
        Err(error) => {
            let mut out = vec![status::FAILED];
            put_error(&error, &mut out);
            client.send_bytes_deadline(&out, deadline)?;
            return Err(error);
        }
    };
    let memory = if wants_memory && shared.limits.memory { Connection::pair().ok() } else { None };
    let session = shared.begin_session(name);
    let greeted = say_hello(shared, session, client, memory, deadline).map(|peer| (session, peer));
    if greeted.is_err() || shared.is_over() {
        shared.end_session(session);
        return greeted.map(|_| None);
    }
    greeted.map(Some)
}

fn say_hello(
    shared: &Arc<Shared>,
    session: u64,
    client: Connection,
    memory: Option<(Connection, Connection)>,
    deadline: Deadline,
) -> Result<Arc<Peer>> {
    let mut out = vec![status::DONE];
    out.put_u64(shared.id);
    out.put_u64(session);
    out.put_u8(memory.is_some().into());
    client.send_bytes_deadline(&out, deadline)?;
    let connection = match memory {
        Some((ours, theirs)) => {
            client.send_deadline(theirs, deadline)?;
            ours
        }
        None => client,
    };
    let peer = Arc::new(Peer::new(connection));
    lock(&shared.peers).insert(session, Arc::clone(&peer));
    Ok(peer)
}

fn read_hello(hello: &[u8]) -> Result<(bool, String)> {
    let mut reader = Reader(hello);
    if reader.take(MAGIC.len())? != MAGIC {
        let text = "the client speaks another protocol than this manager, or is of another version";
        return Err(Error::new(ErrorKind::BuildMismatch, text));
    }
    let wants_memory = reader.flag()?;
    let name = reader.text()?.chars().take(100).collect();
    reader.end()?;
    Ok((wants_memory, name))
}

fn room<T>(shared: &Shared, hello: T) -> Result<T> {
    match shared.is_full() {
        false => Ok(hello),
        true => {
            let text = format!("the manager serves at most {} clients", shared.limits.connections);
            Err(Error::new(ErrorKind::TooLarge, text))
        }
    }
}

/// Does what the client asks for.
fn converse(shared: &Arc<Shared>, session: u64, peer: &Arc<Peer>) -> Result<Handled> {
    let mut buffer = vec![0; USUAL];
    let mut answer = Vec::new();
    let connection = peer.connection();
    loop {
        answer.clear();
        let handled = match connection.recv_bytes_into(&mut buffer) {
            Ok(len) => shared.handle(session, &buffer[..len], &mut answer),
            Err(RecvIntoError::TooShort(frame)) => shared.handle(session, &frame, &mut answer),
            Err(RecvIntoError::Closed) => return Ok(Handled::AndOn),
            Err(error) => return Err(error.into()),
        };
        if !answer.is_empty() {
            connection.send_bytes(&answer)?;
        }
        if handled == Handled::Last {
            return Ok(handled);
        }
        if answer.capacity() > KEEP {
            answer = Vec::new();
        }
    }
}
