//! A socket that carries CPython's frames: the length as a signed 32-bit number, or -1 and the length as an unsigned 64-bit number, both
//! big-endian; then that many bytes (`Lib/multiprocessing/connection.py`).
//!
//! Nothing is read beyond a frame, as CPython has it, so that the socket is readable when, and only when, something is there. What is half here
//! or half gone lives in the wire: a deadline that passes in the middle loses nothing. A receive says how much it takes; what
//! is longer is refused when it is announced, and memory is taken as the bytes arrive.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use procession_core::{Deadline, Error, ErrorKind, OsCode, OsError, Result};
use procession_sys::net;
use procession_sys::poll::{self, Watch};
use procession_sys::prim::AtomicBool;
use procession_sys::prim::Ordering::{AcqRel, Acquire};
use procession_sys::socket::{self, Block};
use procession_sys::turn::Turn;

/// Stands for a length that does not fit into 31 bits.
const LONG: i32 = -1;
/// How much memory is taken at once for what has not come yet.
const STEP: usize = 1 << 20;

/// One end of a socket.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: OwnedFd,
    reader: Turn<Reader>,
    writer: Turn<Writer>,
    is_closed: AtomicBool,
}

/// What a receive brought.
#[derive(Debug)]
pub(crate) enum Next {
    Message(Vec<u8>),
    /// Nothing whole, until the deadline.
    Nothing,
    /// The other end is gone.
    End,
}

/// What became of a message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    Yes,
    /// Nothing has gone.
    No,
    /// A part has gone; the rest goes before whatever comes next.
    Begun,
}

/// What has come of the next frame.
#[derive(Debug, Default)]
struct Reader {
    head: [u8; 12],
    head_filled: usize,
    /// Once the head is there.
    body: Option<Body>,
    /// Nothing more can be received: what came last was no frame, or the end.
    is_over: bool,
}

#[derive(Debug)]
struct Body {
    len: usize,
    bytes: Vec<u8>,
}

/// What has to go of a frame that was begun.
#[derive(Debug, Default)]
struct Writer {
    rest: Vec<u8>,
    gone: usize,
    /// A frame was begun and cannot be finished.
    is_torn: bool,
}

impl Wire {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            reader: Turn::new(Reader::default()),
            writer: Turn::new(Writer::default()),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Receives the next message, of at most so many bytes, waiting for it until the deadline.
    ///
    /// # Errors
    ///
    /// [`Torn`](ErrorKind::Torn), [`TooLarge`](ErrorKind::TooLarge), [`Decode`](ErrorKind::Decode): it was the last one then;
    /// [`Closed`](ErrorKind::Closed) when this end was closed; [`Os`](ErrorKind::Os).
    pub(crate) fn recv(&self, most: u64, deadline: Deadline) -> Result<Next> {
        self.check_open()?;
        let Some(mut reader) = self.reader.take(deadline) else { return Ok(Next::Nothing) };
        // Without a deadline the read itself may wait, which spares two calls.
        let block = if deadline == Deadline::NEVER { Block::Yes } else { Block::No };
        loop {
            let step = reader.step(&self.socket, most, block);
            // Whoever closes this end makes reads say that the other one is gone.
            self.check_open()?;
            match step {
                Ok(Step::Whole(message)) => return Ok(Next::Message(message)),
                Ok(Step::End) => return Ok(Next::End),
                Ok(Step::More) => {}
                Ok(Step::Wait) => {
                    if deadline.has_passed() || !poll::wait_readable(&self.socket, deadline)? {
                        return Ok(Next::Nothing);
                    }
                }
                Err(error) => {
                    reader.is_over = true;
                    self.give_up();
                    return Err(error);
                }
            }
        }
    }

    /// Sends a message, waiting for room until the deadline.
    ///
    /// # Errors
    ///
    /// [`Closed`](ErrorKind::Closed) when the other end is gone, or this one was closed; [`Os`](ErrorKind::Os).
    pub(crate) fn send(&self, message: &[u8], deadline: Deadline) -> Result<Sent> {
        self.check_open()?;
        let Some(mut writer) = self.writer.take(deadline) else { return Ok(Sent::No) };
        if !writer.flush(&self.socket, deadline)? {
            return Ok(Sent::No);
        }
        let (head, len) = head(message.len());
        writer.send(&self.socket, [&head[..len], message], deadline)
    }

    /// Whether something has come, or the end has; waits for it until the deadline.
    pub(crate) fn poll(&self, deadline: Deadline) -> Result<bool> {
        self.check_open()?;
        let ready = poll::wait_readable(&self.socket, deadline)?;
        self.check_open()?;
        Ok(ready)
    }

    /// Closes both ways for all threads; who waits here, and at the other end, learns it.
    pub(crate) fn close(&self) {
        // ORDERING: AcqRel: pairs with the load in `check_open`, after a wait that this has ended.
        if !self.is_closed.swap(true, AcqRel) {
            self.give_up();
        }
    }

    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    fn give_up(&self) {
        // It is gone already, or will learn it from the next error.
        drop(socket::shut_down(&self.socket));
    }

    fn check_open(&self) -> Result<()> {
        // ORDERING: Acquire: pairs with the exchange in `close`.
        match self.is_closed.load(Acquire) {
            false => Ok(()),
            true => Err(Error::new(ErrorKind::Closed, "this end was closed")),
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What stands before a message of so many bytes, and how many bytes of that count.
fn head(message: usize) -> ([u8; 12], usize) {
    let mut head = [0; 12];
    match i32::try_from(message) {
        Ok(short) => {
            head[..4].copy_from_slice(&short.to_be_bytes());
            (head, 4)
        }
        Err(_long) => {
            head[..4].copy_from_slice(&LONG.to_be_bytes());
            head[4..].copy_from_slice(&(message as u64).to_be_bytes());
            (head, 12)
        }
    }
}

/// How far one read has come.
enum Step {
    Whole(Vec<u8>),
    More,
    Wait,
    End,
}

impl Reader {
    /// Reads once.
    fn step(&mut self, socket: &OwnedFd, most: u64, block: Block) -> Result<Step> {
        if self.is_over {
            return Ok(Step::End);
        }
        if self.body.is_none()
            && let Some(len) = self.announced()?
        {
            if len > most {
                return Err(too_long(len, most));
            }
            let len = usize::try_from(len).map_err(|_too_large| too_long(len, most))?;
            self.body = Some(Body { len, bytes: Vec::with_capacity(len.min(STEP)) });
        }
        let read = match &mut self.body {
            Some(body) if body.bytes.len() == body.len => {
                let bytes = std::mem::take(&mut body.bytes);
                (self.body, self.head_filled) = (None, 0);
                return Ok(Step::Whole(bytes));
            }
            Some(body) => body.read(socket, block),
            None => {
                let wanted = if self.head_filled < 4 { 4 } else { 12 };
                let read = net::recv_into(socket, &mut self.head[self.head_filled..wanted], block);
                self.head_filled += read.as_ref().map_or(0, |came| *came);
                read
            }
        };
        match read {
            Ok(0) => self.end(),
            Ok(_) => Ok(Step::More),
            Err(error) => match error.code() {
                OsCode::WOULD_BLOCK => Ok(Step::Wait),
                // The other end went without having read everything.
                OsCode::CONNECTION_RESET => self.end(),
                _ => Err(broken(error)),
            },
        }
    }

    /// The length that the head announces; `None` while it is not whole.
    fn announced(&self) -> Result<Option<u64>> {
        let Some(short) = self.head[..self.head_filled].first_chunk::<4>() else { return Ok(None) };
        match i32::from_be_bytes(*short) {
            LONG => {
                let long = self.head[4..self.head_filled].first_chunk::<8>();
                Ok(long.map(|long| u64::from_be_bytes(*long)))
            }
            short => u64::try_from(short).map(Some).map_err(|_negative| {
                Error::new(ErrorKind::Decode, "a message of negative length came")
            }),
        }
    }

    /// Nothing more comes.
    fn end(&mut self) -> Result<Step> {
        self.is_over = true;
        match self.head_filled {
            0 => Ok(Step::End),
            head => {
                let body = self.body.take().map_or(0, |body| body.bytes.len());
                let text = format!("the other end died {} bytes into a message", head + body);
                Err(Error::new(ErrorKind::Torn, text))
            }
        }
    }
}

impl Body {
    fn read(&mut self, socket: &OwnedFd, block: Block) -> procession_sys::Result<usize> {
        let missing = self.len - self.bytes.len();
        if self.bytes.len() == self.bytes.capacity() {
            // Doubling, so that a message takes linear time, but never beyond what was announced.
            self.bytes.reserve_exact(missing.min(self.bytes.len().max(STEP)));
        }
        net::recv_behind(socket, &mut self.bytes, missing, block)
    }
}

impl Writer {
    fn send(&mut self, socket: &OwnedFd, parts: [&[u8]; 2], deadline: Deadline) -> Result<Sent> {
        let len = parts[0].len() + parts[1].len();
        let mut gone = 0;
        while gone < len {
            let behind_head = gone.saturating_sub(parts[0].len());
            let left = [&parts[0][gone.min(parts[0].len())..], &parts[1][behind_head..]];
            match socket::send(socket, &left, &[], how(deadline)) {
                Ok(some) => gone += some,
                Err(error) if error.code() == OsCode::WOULD_BLOCK => {
                    if !wait_for_room(socket, deadline)? {
                        if gone == 0 {
                            return Ok(Sent::No);
                        }
                        (self.rest, self.gone) = (left.concat(), 0);
                        return Ok(Sent::Begun);
                    }
                }
                Err(error) => {
                    self.tear(socket, gone);
                    return Err(broken(error));
                }
            }
        }
        Ok(Sent::Yes)
    }

    /// Sends the rest of a frame that was begun; tells whether there is nothing left of it.
    fn flush(&mut self, socket: &OwnedFd, deadline: Deadline) -> Result<bool> {
        if self.is_torn {
            return Err(gone());
        }
        while self.gone < self.rest.len() {
            match socket::send(socket, &[&self.rest[self.gone..]], &[], how(deadline)) {
                Ok(some) => self.gone += some,
                Err(error) if error.code() == OsCode::WOULD_BLOCK => {
                    if !wait_for_room(socket, deadline)? {
                        return Ok(false);
                    }
                }
                Err(error) => {
                    self.tear(socket, 1);
                    return Err(broken(error));
                }
            }
        }
        (self.rest, self.gone) = (Vec::new(), 0);
        Ok(true)
    }

    fn tear(&mut self, socket: &OwnedFd, gone: usize) {
        if gone > 0 {
            // The other side waits for the rest.
            self.is_torn = true;
            (self.rest, self.gone) = (Vec::new(), 0);
            drop(socket::shut_down(socket));
        }
    }
}

/// Without a deadline the system waits, which spares a call.
fn how(deadline: Deadline) -> Block {
    if deadline == Deadline::NEVER { Block::Yes } else { Block::No }
}

fn wait_for_room(socket: &OwnedFd, deadline: Deadline) -> Result<bool> {
    Ok(poll::wait(&mut [Watch::writable(socket)], deadline)? > 0)
}

/// What is said when the other end is gone.
pub(crate) fn gone() -> Error {
    Error::new(ErrorKind::Closed, "the other end is gone")
}

fn too_long(len: u64, most: u64) -> Error {
    let text = format!("a message of {len} bytes came, at most {most} are allowed");
    Error::new(ErrorKind::TooLarge, text)
}

/// What is said of a connection that the system has given up.
fn broken(error: OsError) -> Error {
    match error.code() {
        // Of the network: it is no deadline of the caller's that has passed.
        OsCode::TIMED_OUT => gone().caused_by(&error),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    const ALL: u64 = u64::MAX;
    const LONG_TIME: Duration = Duration::from_secs(20);

    fn pair() -> (Wire, OwnedFd) {
        let (left, right) = socket::stream_pair().unwrap();
        (Wire::new(left), right)
    }

    fn put(socket: &OwnedFd, bytes: &[u8]) {
        assert_eq!(socket::send(socket, &[bytes], &[], Block::Yes).unwrap(), bytes.len());
    }

    #[track_caller]
    fn message(next: Result<Next>) -> Vec<u8> {
        match next.unwrap() {
            Next::Message(message) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn heads_are_cpythons() {
        assert_eq!(head(3), ([0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0], 4));
        assert_eq!(head(0x7fff_ffff).0[..4], [127, 255, 255, 255]);
        let long = [255, 255, 255, 255, 0, 0, 0, 0, 128, 0, 0, 0];
        assert_eq!(head(0x8000_0000), (long, 12));
    }

    #[test]
    fn a_short_message_goes_in_one_piece() {
        let (wire, other) = pair();
        assert_eq!(wire.send(&[7; 16384], Deadline::NEVER).unwrap(), Sent::Yes);
        let mut buffer = vec![0; 20_000];
        assert_eq!(net::recv_into(&other, &mut buffer, Block::No).unwrap(), 16388);
    }

    #[test]
    fn frames_that_come_byte_by_byte_are_whole_in_the_end() {
        let (wire, other) = pair();
        let long = [&[255; 4][..], &[0, 0, 0, 0, 0, 0, 0, 2], b"ab"].concat();
        for byte in [&[0, 0, 0, 3][..], b"xyz", &long, &[0, 0, 0, 0]].concat() {
            put(&other, &[byte]);
        }
        for wanted in [&b"xyz"[..], b"ab", b""] {
            let got = loop {
                match wire.recv(ALL, Deadline::PAST).unwrap() {
                    Next::Nothing => {}
                    Next::Message(message) => break message,
                    Next::End => panic!("no end"),
                }
            };
            assert_eq!(got, wanted);
        }
        assert!(matches!(wire.recv(ALL, Deadline::PAST), Ok(Next::Nothing)));
    }

    #[test]
    fn what_is_longer_than_allowed_is_refused_when_it_is_announced() {
        let (wire, other) = pair();
        put(&other, &[0, 0, 1, 1]);
        let error = wire.recv(256, Deadline::NEVER).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(matches!(wire.recv(256, Deadline::NEVER), Ok(Next::End)), "and nothing more");
        let (wire, other) = pair();
        put(&other, &[255, 255, 255, 254]);
        assert_eq!(wire.recv(ALL, Deadline::NEVER).unwrap_err().kind(), ErrorKind::Decode);
        let (wire, other) = pair();
        put(&other, &[255; 12]);
        assert_eq!(wire.recv(1 << 30, Deadline::NEVER).unwrap_err().kind(), ErrorKind::TooLarge);
        // As much as is announced is not taken before it comes.
        let (wire, other) = pair();
        put(&other, &[&[255; 4][..], &[0, 0, 1, 0, 0, 0, 0, 0]].concat());
        assert!(matches!(wire.recv(ALL, Deadline::PAST), Ok(Next::Nothing)));
    }

    #[test]
    fn an_end_inside_of_a_message_is_told_once() {
        for cut in 1..7 {
            let (wire, other) = pair();
            put(&other, &[0, 0, 0, 3, 1, 2, 3][..cut]);
            drop(other);
            assert_eq!(wire.recv(ALL, Deadline::NEVER).unwrap_err().kind(), ErrorKind::Torn);
            assert!(matches!(wire.recv(ALL, Deadline::NEVER), Ok(Next::End)));
        }
    }

    #[test]
    fn a_deadline_in_the_middle_loses_nothing() {
        let (wire, other) = pair();
        put(&other, &[0, 0, 0, 4, 1, 2]);
        assert!(matches!(
            wire.recv(ALL, Deadline::after(Duration::from_millis(1))),
            Ok(Next::Nothing)
        ));
        put(&other, &[3, 4]);
        assert_eq!(message(wire.recv(ALL, Deadline::after(LONG_TIME))), [1, 2, 3, 4]);
    }

    #[test]
    fn a_send_that_is_cut_goes_on_with_the_next() {
        let (wire, other) = pair();
        let big = vec![5; 4 << 20];
        assert_eq!(wire.send(&big, Deadline::PAST).unwrap(), Sent::Begun);
        assert_eq!(wire.send(b"no room", Deadline::PAST).unwrap(), Sent::No);
        let other = Wire::new(other);
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                [(); 2].map(|()| message(other.recv(ALL, Deadline::after(LONG_TIME))).len())
            });
            assert_eq!(wire.send(b"next", Deadline::after(LONG_TIME)).unwrap(), Sent::Yes);
            assert_eq!(reader.join().unwrap(), [big.len(), 4]);
        });
    }

    #[test]
    fn closing_wakes_who_waits() {
        let (wire, _other) = pair();
        thread::scope(|scope| {
            let waits = scope.spawn(|| wire.recv(ALL, Deadline::NEVER));
            let waits_until = scope.spawn(|| wire.poll(Deadline::after(LONG_TIME)));
            wire.close();
            assert_eq!(waits.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
            assert_eq!(waits_until.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
        });
        assert_eq!(wire.send(b"", Deadline::NEVER).unwrap_err().kind(), ErrorKind::Closed);
    }
}
