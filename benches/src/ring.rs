//! A ring of bytes in shared memory, for one sender and one receiver: the limit of family `pipe`.
//!
//! There is nothing around it: it does not notice that the other end dies, has no timeouts, and is used by one thread at each end.
//! The sender says how far it has written, the receiver how far it has read; each reads the other's position again only when
//! the one that it remembers is not enough.
//!
//! A record is a length of 8 bytes and a message. It begins at a multiple of 8; a message that does not fit into the rest of its
//! cache line begins with the next one.
#![expect(unsafe_code, reason = "bytes that two processes write, and futex: nothing above them")]

use std::cell::UnsafeCell;
use std::io;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};

use crate::forks::share;
use crate::line::{Line, Way};

/// It fits into the second level cache of a core, and holds several of the pieces that long messages are moved in.
const CAPACITY: usize = 256 << 10;
/// A long message is handed over in pieces of this length, so that the receiver copies while the sender does.
const PIECE: usize = 64 << 10;
const HEAD: u64 = 8;
const LINE: u64 = 64;

/// How an end waits for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Looks so many times, then sleeps.
    Sleep {
        /// How many times.
        pauses: u32,
    },
    /// Looks until it is over.
    Spin,
}

/// Not in one cache line with anything else, nor in the next one, which processors fetch along.
#[derive(Debug, Default)]
#[repr(C, align(128))]
struct Alone<T>(T);

#[derive(Debug)]
#[repr(C, align(4096))]
struct Bytes(UnsafeCell<[u8; CAPACITY]>);

// SAFETY: who may touch which bytes follows from the two positions: see `Sender` and `Receiver`.
unsafe impl Sync for Bytes {}

/// What both processes see.
#[derive(Debug)]
#[repr(C)]
struct Shared {
    /// How far the sender has written, since the beginning.
    written: Alone<AtomicU64>,
    /// How far the receiver has read.
    read: Alone<AtomicU64>,
    /// Whether the receiver sleeps, or is about to.
    receiver_sleeps: Alone<AtomicU32>,
    /// Whether the sender does.
    sender_sleeps: Alone<AtomicU32>,
    bytes: Bytes,
}

/// The end that writes. The bytes from `written` up to `read + CAPACITY` are its own.
#[derive(Debug)]
struct Sender {
    shared: &'static Shared,
    wait: Wait,
    /// Where the next record begins: `written`, between two messages.
    at: u64,
    /// `read`, as it was seen last.
    read: u64,
}

/// The end that reads. The bytes from `read` up to `written` are its own.
#[derive(Debug)]
struct Receiver {
    shared: &'static Shared,
    wait: Wait,
    at: u64,
    /// `written`, as it was seen last.
    written: u64,
}

/// One end of two rings, one for each way.
#[derive(Debug)]
pub struct Ring {
    tx: Sender,
    rx: Receiver,
}

impl Ring {
    /// Both ends, for this process and a fork.
    ///
    /// # Errors
    /// The system has no memory to map.
    pub fn pair(wait: Wait) -> io::Result<(Self, Self)> {
        let (there, back) = (one_way(wait)?, one_way(wait)?);
        Ok((Self { tx: there.0, rx: back.1 }, Self { tx: back.0, rx: there.1 }))
    }
}

fn one_way(wait: Wait) -> io::Result<(Sender, Receiver)> {
    // Writing the zeros makes the pages, so that none is new when it is needed.
    let shared = share(Shared {
        written: Alone::default(),
        read: Alone::default(),
        receiver_sleeps: Alone::default(),
        sender_sleeps: Alone::default(),
        bytes: Bytes(UnsafeCell::new([0; CAPACITY])),
    })?;
    Ok((Sender { shared, wait, at: 0, read: 0 }, Receiver { shared, wait, at: 0, written: 0 }))
}

/// Where in the array a position is.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the capacity fits")]
fn offset(position: u64) -> usize {
    (position % CAPACITY as u64) as usize
}

/// Where a message of so many bytes begins, if its length ends at `position`.
#[inline]
fn body(position: u64, len: u64) -> u64 {
    if position % LINE + len <= LINE { position } else { position.next_multiple_of(LINE) }
}

impl Wait {
    #[inline]
    fn until(self, sleeps: &AtomicU32, is_so: impl Fn() -> bool) {
        match self {
            Self::Spin => {
                while !is_so() {
                    std::hint::spin_loop();
                }
            }
            Self::Sleep { pauses } => {
                for _ in 0..pauses {
                    if is_so() {
                        return;
                    }
                    std::hint::spin_loop();
                }
                sleep_until(sleeps, is_so);
            }
        }
    }

    /// Tells the other end that there is something new, if it sleeps.
    #[inline]
    fn call(self, sleeps: &AtomicU32) {
        if self != Self::Spin {
            // Either this sees that the other sleeps, or the other sees what was written before this.
            fence(SeqCst);
            if sleeps.load(Relaxed) != 0 {
                wake(sleeps);
            }
        }
    }
}

#[cold]
fn sleep_until(sleeps: &AtomicU32, is_so: impl Fn() -> bool) {
    while !is_so() {
        sleeps.store(1, SeqCst);
        fence(SeqCst);
        if is_so() {
            sleeps.store(0, Relaxed);
            return;
        }
        let timeout = ptr::null::<libc::timespec>();
        // SAFETY: the word lives through the call, which reads it; no timeout is given.
        unsafe { libc::syscall(libc::SYS_futex, sleeps.as_ptr(), libc::FUTEX_WAIT, 1, timeout) };
    }
}

#[cold]
fn wake(sleeps: &AtomicU32) {
    if sleeps.swap(0, SeqCst) != 0 {
        // SAFETY: the call takes the word's address only.
        unsafe { libc::syscall(libc::SYS_futex, sleeps.as_ptr(), libc::FUTEX_WAKE, 1) };
    }
}

impl Shared {
    /// The byte at a position.
    #[inline]
    fn place(&self, position: u64) -> *mut u8 {
        // SAFETY: the offset is within the array.
        unsafe { self.bytes.0.get().cast::<u8>().add(offset(position)) }
    }

    /// How many bytes lie between a position and the end of the array, at most `len`.
    #[inline]
    fn straight(position: u64, len: usize) -> usize {
        len.min(CAPACITY - offset(position))
    }
}

impl Sender {
    /// Waits until the bytes up to `end` are its own.
    #[inline]
    fn own(&mut self, end: u64) {
        let shared = self.shared;
        if end - self.read > CAPACITY as u64 {
            let is_free = || end - shared.read.0.load(Acquire) <= CAPACITY as u64;
            self.wait.until(&shared.sender_sleeps.0, is_free);
            self.read = shared.read.0.load(Acquire);
        }
    }

    /// Hands over what lies before `end`.
    #[inline]
    fn publish(&mut self, end: u64) {
        self.at = end;
        self.shared.written.0.store(end, Release);
        self.wait.call(&self.shared.receiver_sleeps.0);
    }

    /// Writes a number, which lies within one cache line.
    #[inline]
    fn put_word(&self, position: u64, word: u64) {
        // SAFETY: the place is aligned to 8 and its 8 bytes are the sender's.
        unsafe { self.shared.place(position).cast::<[u8; 8]>().write(word.to_ne_bytes()) };
    }

    #[inline]
    fn put(&self, position: u64, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(Shared::straight(position, bytes.len()));
        let place = self.shared.place(position);
        // SAFETY: the bytes from the position on are the sender's, and nobody's slice.
        unsafe { ptr::copy_nonoverlapping(first.as_ptr(), place, first.len()) };
        if !rest.is_empty() {
            let place = self.shared.place(position + first.len() as u64);
            // SAFETY: so are those that follow, at the beginning of the array.
            unsafe { ptr::copy_nonoverlapping(rest.as_ptr(), place, rest.len()) };
        }
    }

    #[inline]
    fn send_word(&mut self, word: u64) {
        // As `send` does, for a message that always fits behind its length, or into the next line.
        let body = body(self.at + HEAD, 8);
        self.own(body + 8);
        self.put_word(self.at, 8);
        self.put_word(body, word);
        self.publish(body + 8);
    }

    fn send(&mut self, message: &[u8]) {
        let len = message.len() as u64;
        let body = body(self.at + HEAD, len);
        let (first, rest) = message.split_at(message.len().min(PIECE));
        let end = (body + first.len() as u64).next_multiple_of(8);
        self.own(end);
        self.put_word(self.at, len);
        self.put(body, first);
        self.publish(end);
        for piece in rest.chunks(PIECE) {
            let (begin, end) = (self.at, (self.at + piece.len() as u64).next_multiple_of(8));
            self.own(end);
            self.put(begin, piece);
            self.publish(end);
        }
    }
}

impl Receiver {
    /// Waits until the bytes up to `end` are its own.
    #[inline]
    fn own(&mut self, end: u64) {
        let shared = self.shared;
        if self.written < end {
            let is_there = || shared.written.0.load(Acquire) >= end;
            self.wait.until(&shared.receiver_sleeps.0, is_there);
            self.written = shared.written.0.load(Acquire);
        }
    }

    /// Gives back what lies before `end`.
    #[inline]
    fn release(&mut self, end: u64) {
        self.at = end;
        self.shared.read.0.store(end, Release);
        self.wait.call(&self.shared.sender_sleeps.0);
    }

    #[inline]
    fn word(&self, position: u64) -> u64 {
        // SAFETY: the place is aligned to 8 and its 8 bytes are the receiver's.
        u64::from_ne_bytes(unsafe { self.shared.place(position).cast::<[u8; 8]>().read() })
    }

    /// Copies to `room`, which has space for that.
    ///
    /// # Safety
    /// `len` bytes from `room` on may be written.
    #[inline]
    unsafe fn get(&self, position: u64, room: *mut u8, len: usize) {
        let first = Shared::straight(position, len);
        let place = self.shared.place(position);
        // SAFETY: the bytes from the position on are the receiver's; the caller vouches for the room.
        unsafe { ptr::copy_nonoverlapping(place, room, first) };
        if first < len {
            let place = self.shared.place(position + first as u64);
            // SAFETY: within the room.
            let room = unsafe { room.add(first) };
            // SAFETY: so are those that follow, at the beginning of the array.
            unsafe { ptr::copy_nonoverlapping(place, room, len - first) };
        }
    }

    /// The length of the next message.
    #[inline]
    fn len(&mut self) -> u64 {
        self.own(self.at + HEAD);
        self.word(self.at)
    }

    #[inline]
    fn recv_word(&mut self) -> io::Result<u64> {
        let len = self.len();
        if len != 8 {
            return Err(unfit(len));
        }
        let body = body(self.at + HEAD, 8);
        self.own(body + 8);
        let word = self.word(body);
        self.release(body + 8);
        Ok(word)
    }

    /// Copies the next message, of `len` bytes, to `room`.
    ///
    /// # Safety
    /// `len` bytes from `room` on may be written.
    unsafe fn recv(&mut self, room: *mut u8, len: usize) {
        let mut from = body(self.at + HEAD, len as u64);
        let mut done = 0;
        while done < len {
            // What comes next, at least up to the end of a piece.
            let piece = (len - done).min(PIECE);
            self.own((from + piece as u64).next_multiple_of(8));
            // SAFETY: less than `len` bytes from the room on.
            let room = unsafe { room.add(done) };
            // SAFETY: what the caller vouches for, less what is done.
            unsafe { self.get(from, room, piece) };
            done += piece;
            from = (from + piece as u64).next_multiple_of(8);
            self.release(from);
        }
        if len == 0 {
            self.release(from);
        }
    }
}

#[cold]
fn unfit(len: u64) -> io::Error {
    io::Error::other(format!("a message of {len} bytes has no room"))
}

impl Line for Ring {
    const WAYS: &'static [Way] = &[Way::Into, Way::Fresh, Way::Owned];

    #[inline]
    fn send_word(&mut self, word: u64) -> io::Result<()> {
        self.tx.send_word(word);
        Ok(())
    }

    #[inline]
    fn recv_word(&mut self) -> io::Result<u64> {
        self.rx.recv_word()
    }

    #[inline]
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.tx.send(message);
        Ok(())
    }

    #[inline]
    fn recv_into(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.rx.len();
        match usize::try_from(len) {
            Ok(len) if len <= buffer.len() => {
                // SAFETY: the buffer is that long.
                unsafe { self.rx.recv(buffer.as_mut_ptr(), len) };
                Ok(len)
            }
            _ => Err(unfit(len)),
        }
    }

    fn recv_vec(&mut self) -> io::Result<Vec<u8>> {
        let len = usize::try_from(self.rx.len()).map_err(io::Error::other)?;
        let mut message = Vec::with_capacity(len);
        // SAFETY: the vector has that capacity.
        unsafe { self.rx.recv(message.as_mut_ptr(), len) };
        // SAFETY: so many bytes have been written.
        unsafe { message.set_len(len) };
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// So that messages begin, wrap and end everywhere, and fit into the ring by themselves.
    fn lengths() -> impl Iterator<Item = usize> {
        let long = (1..24).map(|step| step * 7919);
        (0..200).chain(long).chain([PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
    }

    fn message(number: usize, len: usize) -> Vec<u8> {
        (0..251).cycle().skip(number % 251).take(len).collect()
    }

    #[test]
    fn messages_of_any_length_arrive_whole() {
        let (mut left, mut right) = Ring::pair(Wait::Spin).unwrap();
        let mut buffer = vec![0; CAPACITY];
        for (number, len) in lengths().chain(lengths()).enumerate() {
            let sent = message(number, len);
            left.send(&sent).unwrap();
            left.send_word(number as u64).unwrap();
            if number % 2 == 0 {
                assert_eq!(right.recv_vec().unwrap(), sent);
            } else {
                let got = right.recv_into(&mut buffer).unwrap();
                assert_eq!(buffer[..got], sent);
            }
            assert_eq!(right.recv_word().unwrap(), number as u64);
        }
    }

    #[test]
    fn messages_longer_than_the_ring_arrive_whole_however_one_waits() {
        for wait in [Wait::Sleep { pauses: 0 }, Wait::Sleep { pauses: 50 }] {
            let (mut left, mut right) = Ring::pair(wait).unwrap();
            let messages = || (0..20).map(|number| message(number, 2 * CAPACITY + number * 999));
            let wrong = thread::scope(|scope| {
                scope.spawn(move || messages().for_each(|sent| left.send(&sent).unwrap()));
                // Looked at afterwards: the sender would wait for ever for a receiver that panics.
                messages().filter(|sent| right.recv_vec().unwrap() != *sent).count()
            });
            assert_eq!(wrong, 0, "{wait:?}");
        }
    }

    #[test]
    fn a_message_that_is_longer_than_its_buffer_is_refused() {
        let (mut left, mut right) = Ring::pair(Wait::Spin).unwrap();
        left.send(&[1; 9]).unwrap();
        assert!(right.recv_into(&mut [0; 8]).is_err());
        assert!(right.recv_word().is_err());
    }
}
