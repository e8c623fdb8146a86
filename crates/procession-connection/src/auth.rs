//! Authentication: both ends of a connection prove that they know a key, without saying it.
//!
//! # The protocol
//!
//! One *pass* is three frames between a challenger and an answerer. `K` is derived from the key that was given, of any length,
//! by BLAKE3's key derivation under a context string that nothing else uses; `MAC` is BLAKE3 keyed with `K`.
//!
//! ```text
//! challenger -> answerer   tag (16 bytes)  nonce c (32 bytes)
//! answerer -> challenger   nonce a (32)    MAC(answerer, challenger, c, a) (32)
//! challenger -> answerer   MAC(challenger, answerer, c, a) (32), or 32 zeros: refused
//! ```
//!
//! A pass proves either side to the other. [`deliver_challenge`] and [`answer_challenge`] are its two sides, as CPython's functions
//! of these names are. A [`Listener`](crate::Listener) with a key delivers a challenge and then answers one, a
//! [`Client`](crate::Client) with a key answers one and then delivers one: so either of them can be stood in for by the two calls.
//!
//! # What is prevented, and how
//!
//! - *Replay*: each side puts a fresh nonce of 256 bits into all that the other has to prove. So neither what a client has said
//!   to a listener nor what a listener has said to a client is of use a second time.
//! - *Reflection*: every MAC names who proves and to whom, so that nothing that a side has said is anything that it accepts; and the
//!   listener, which is the one that strangers can make speak, proves nothing before the other side has.
//! - *Guessing what is wrong*: a refusal is one frame of fixed content, whatever the reason, followed by the end of the connection;
//!   or that alone, where what came is longer than any frame of a handshake.
//!   MACs are compared in constant time. What has a wrong length is refused without a look at the key.
//! - *Memory and time*: each frame has one possible length, which is known before it comes; all are below 256 bytes. An accepting
//!   listener keeps a few hundred bytes for each stranger, and for a limited time.
//! - *Downgrade*: there is nothing to negotiate. The tag names the version.
//!
//! # What is not
//!
//! After the handshake bytes are neither encrypted nor authenticated: on a network that others can write to, who sits between the
//! two may let the handshake pass and then speak itself. Keys that can be guessed can be guessed offline by who gets a client to
//! connect to it, as with any challenge and response: use random ones, as [`AuthKey::current`] is.

pub(crate) mod handshake;
mod mac;

use procession_core::authkey::AuthKey;
use procession_core::{Deadline, Error, ErrorKind, Result};

use crate::connection::Connection;
use crate::stream::Stream;
use crate::transport::{Next, Outgoing, Room, Sent};
use handshake::{Handshake, LONGEST, Step, Then, failure};
pub(crate) use mac::MacKey;

/// Challenges the other side to prove that it knows `key`, and proves the same to it. That side has to [answer](answer_challenge) it.
///
/// [`Listener`](crate::Listener) and [`Client`](crate::Client) do this by themselves when they are given a key. This is for
/// connections that came another way.
///
/// # Errors
///
/// [`Authentication`](ErrorKind::Authentication) when the other side does not know the key, says something else, or goes away in the
/// middle; the other side is told that it is refused, but not why. The connection is of no use then. Others as when sending and
/// receiving bytes.
///
/// # Source
///
/// CPython `multiprocessing.connection.deliver_challenge`.
///
/// # Examples
///
/// ```
/// use procession_connection::{Client, Listener, answer_challenge, deliver_challenge};
/// use procession_core::authkey::AuthKey;
///
/// let key = AuthKey::from(&b"secret"[..]);
/// let listener = Listener::new()?;
/// let client = Client::connect(listener.address())?;
/// let server = listener.accept()?;
/// std::thread::scope(|scope| {
///     let answer = scope.spawn(|| answer_challenge(&client, &key));
///     deliver_challenge(&server, &key)?;
///     answer.join().unwrap()
/// })?;
/// # Ok::<(), procession_core::Error>(())
/// ```
pub fn deliver_challenge(connection: &Connection, key: &AuthKey) -> Result<()> {
    run_over(connection, Handshake::of_challenger(&MacKey::new(key)))
}

/// Answers a challenge of the other side, which has to [deliver](deliver_challenge) one.
///
/// # Errors
///
/// As [`deliver_challenge`]; also when the other side does not accept the answer.
///
/// # Source
///
/// CPython `multiprocessing.connection.answer_challenge`.
///
/// # Examples
///
/// By hand what a [`Client`](crate::Client) with a key does, in the same order:
///
/// ```
/// use procession_connection::{Client, Listener, answer_challenge, deliver_challenge};
/// use procession_core::authkey::AuthKey;
///
/// let key = AuthKey::from(&b"secret"[..]);
/// let listener = Listener::builder().authkey(&key).bind()?;
/// std::thread::scope(|scope| {
///     let server = scope.spawn(|| listener.accept());
///     let client = Client::connect(listener.address())?;
///     answer_challenge(&client, &key)?;
///     deliver_challenge(&client, &key)?;
///     server.join().unwrap()
/// })?;
/// # Ok::<(), procession_core::Error>(())
/// ```
pub fn answer_challenge(connection: &Connection, key: &AuthKey) -> Result<()> {
    run_over(connection, Handshake::of_answerer(&MacKey::new(key)))
}

fn run_over(connection: &Connection, handshake: Handshake) -> Result<()> {
    let receive = || connection.recv_bytes_max(LONGEST as u64);
    run(handshake, |frame| connection.send_bytes(frame), receive)
}

/// Goes through a handshake over a connection that sends and receives frames.
fn run(
    mut handshake: Handshake,
    mut send: impl FnMut(&[u8]) -> Result<()>,
    mut recv: impl FnMut() -> Result<Vec<u8>>,
) -> Result<()> {
    if let Some(frame) = handshake.begin()? {
        send(&frame).map_err(during)?;
    }
    loop {
        let Step { reply, then } = handshake.take(&recv().map_err(during)?)?;
        let sent = reply.map_or(Ok(()), |frame| send(&frame));
        match then {
            // Whether the other side is still there to be told is of no interest.
            Then::Failed(why) => return Err(failure(why)),
            Then::Passed => return sent.map_err(during),
            Then::GoOn => sent.map_err(during)?,
        }
    }
}

/// Goes through the client's side of a handshake.
pub(crate) fn greet(stream: &Stream, key: &MacKey, deadline: Deadline) -> Result<()> {
    let send = |frame: &[u8]| send_frame(stream, frame, deadline);
    run(Handshake::of_client(key), send, || recv_frame(stream, deadline))
}

fn send_frame(stream: &Stream, frame: &[u8], deadline: Deadline) -> Result<()> {
    let message = Outgoing { parts: [frame, &[]], handles: &[], announced: 0 };
    match stream.send(&message, deadline)? {
        Sent::Yes => Ok(()),
        Sent::No | Sent::Begun => Err(late()),
    }
}

fn recv_frame(stream: &Stream, deadline: Deadline) -> Result<Vec<u8>> {
    match stream.recv(Room::AtMost(LONGEST as u64), deadline)? {
        Next::Message(message) => Ok(message.body.into_vec()),
        Next::Nothing => Err(late()),
        Next::Closed => Err(crate::error::closed()),
    }
}

fn late() -> Error {
    Error::new(ErrorKind::TimedOut, "the other end did not authenticate in time")
}

/// What is said of a connection that ends, or brings nonsense, during a handshake.
fn during(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Closed | ErrorKind::Torn | ErrorKind::Decode | ErrorKind::TooLarge => {
            failure("the other side did not go through the handshake").caused_by(&error)
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests;
