//! Rings of bytes in shared memory behind which the workers of the limit of family `pool` sit, for one sender and one receiver each.
//!
//! Other than the ring of family `pipe` it has room for several messages of 1 MiB, so that one thread may feed two workers and take
//! their answers without ever waiting for one that waits for it. It notices no death.
//!
//! A message is its length, in 8 bytes, and its bytes, wherever in the ring that is. A long one is handed over in pieces.
#![expect(unsafe_code, reason = "bytes that two processes write, mmap and futex: nothing above")]

use std::io;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};

use crate::forks::share;

const CAPACITY: usize = 4 << 20;
/// A long message is handed over in pieces of this length, so that the receiver copies while the sender does.
const PIECE: usize = 64 << 10;
const HEAD: usize = 8;
const PAGE: usize = 4096;

/// Not in one cache line with anything else, nor in the next one, which processors fetch along.
#[derive(Debug, Default)]
#[repr(C, align(128))]
struct Alone<T>(T);

/// How far both ends are, and which of them sleeps.
#[derive(Debug, Default)]
#[repr(C)]
struct Control {
    written: Alone<AtomicU64>,
    read: Alone<AtomicU64>,
    receiver_sleeps: Alone<AtomicU32>,
    sender_sleeps: Alone<AtomicU32>,
}

/// A ring for this process and its forks, who share it out: one of them sends, one receives.
#[derive(Debug)]
pub struct Ring {
    control: &'static Control,
    bytes: *mut u8,
    /// How often an end looks before it sleeps.
    looks: u32,
}

// SAFETY: who may touch which bytes follows from the two positions: see `Sender` and `Receiver`.
unsafe impl Sync for Ring {}

/// The end that writes. The bytes from `written` up to `read + CAPACITY` are its own.
#[derive(Debug)]
pub struct Sender<'a> {
    ring: &'a Ring,
    at: u64,
    /// `read`, as it was seen last.
    read: u64,
}

/// The end that reads. The bytes from `read` up to `written` are its own.
#[derive(Debug)]
pub struct Receiver<'a> {
    ring: &'a Ring,
    at: u64,
    /// `written`, as it was seen last.
    written: u64,
}

impl Ring {
    /// An empty ring, whose memory is never given back.
    ///
    /// # Errors
    /// The system has no memory to map.
    pub fn new(looks: u32) -> io::Result<Self> {
        let control = share(Control::default())?;
        let (access, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: the system chooses a new place, where nothing else lies.
        let place = unsafe { libc::mmap(ptr::null_mut(), CAPACITY, access, flags, -1, 0) };
        if place == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let bytes = place.cast::<u8>();
        for page in (0..CAPACITY).step_by(PAGE) {
            // SAFETY: within the mapping.
            let place = unsafe { bytes.add(page) };
            // SAFETY: nobody else knows the place yet. Writing makes the page, so that none is new when it is needed.
            unsafe { place.write_volatile(0) };
        }
        Ok(Self { control, bytes, looks })
    }

    /// The end that sends. There must be one only, from the beginning on.
    pub fn sender(&self) -> Sender<'_> {
        Sender { ring: self, at: 0, read: 0 }
    }

    /// The end that receives. There must be one only, from the beginning on.
    pub fn receiver(&self) -> Receiver<'_> {
        Receiver { ring: self, at: 0, written: 0 }
    }

    /// Where the byte of a position is, and how many from there on lie in a row.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the capacity fits")]
    fn place(&self, position: u64) -> (*mut u8, usize) {
        let offset = (position % CAPACITY as u64) as usize;
        // SAFETY: the offset is within the mapping.
        (unsafe { self.bytes.add(offset) }, CAPACITY - offset)
    }

    #[inline]
    fn wait(&self, sleeps: &AtomicU32, is_so: impl Fn() -> bool) {
        for _ in 0..self.looks {
            if is_so() {
                return;
            }
            std::hint::spin_loop();
        }
        while !is_so() {
            sleeps.store(1, SeqCst);
            fence(SeqCst);
            if is_so() {
                sleeps.store(0, Relaxed);
                return;
            }
            let timeout = ptr::null::<libc::timespec>();
            // SAFETY: the word lives through the call, which reads it; no timeout is given.
            unsafe {
                libc::syscall(libc::SYS_futex, sleeps.as_ptr(), libc::FUTEX_WAIT, 1, timeout)
            };
        }
    }
}

/// Tells an end that there is something new, if it sleeps.
#[inline]
fn call(sleeps: &AtomicU32) {
    // Either this sees that the other sleeps, or the other sees what was written before this.
    fence(SeqCst);
    if sleeps.load(Relaxed) != 0 && sleeps.swap(0, SeqCst) != 0 {
        // SAFETY: the call takes the word's address only.
        unsafe { libc::syscall(libc::SYS_futex, sleeps.as_ptr(), libc::FUTEX_WAKE, 1) };
    }
}

impl Sender<'_> {
    /// Sends a message; waits for room.
    #[inline]
    pub fn send(&mut self, message: &[u8]) {
        self.own(HEAD + message.len().min(PIECE));
        self.put(&message.len().to_ne_bytes());
        let (first, rest) = message.split_at(message.len().min(PIECE));
        self.put(first);
        self.publish();
        for piece in rest.chunks(PIECE) {
            self.own(piece.len());
            self.put(piece);
            self.publish();
        }
    }

    /// Waits until so many bytes more are its own.
    #[inline]
    fn own(&mut self, len: usize) {
        let Control { read, sender_sleeps, .. } = self.ring.control;
        let least = (self.at + len as u64).saturating_sub(CAPACITY as u64);
        if self.read < least {
            self.ring.wait(&sender_sleeps.0, || read.0.load(Acquire) >= least);
            self.read = read.0.load(Acquire);
        }
    }

    /// Copies bytes to where the sender is; they are its own.
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let (place, straight) = self.ring.place(self.at);
        let (first, rest) = bytes.split_at(bytes.len().min(straight));
        // SAFETY: the bytes from here on are the sender's, and nobody's slice.
        unsafe { ptr::copy_nonoverlapping(first.as_ptr(), place, first.len()) };
        if !rest.is_empty() {
            // SAFETY: so are those that follow, at the beginning of the ring.
            unsafe { ptr::copy_nonoverlapping(rest.as_ptr(), self.ring.bytes, rest.len()) };
        }
        self.at += bytes.len() as u64;
    }

    #[inline]
    fn publish(&self) {
        self.ring.control.written.0.store(self.at, Release);
        call(&self.ring.control.receiver_sleeps.0);
    }
}

impl Receiver<'_> {
    /// Whether there is something to receive.
    #[inline]
    pub fn is_ready(&self) -> bool {
        self.written != self.at || self.ring.control.written.0.load(Acquire) != self.at
    }

    /// Waits for a message and copies it into the buffer, which grows to hold it; returns how long it is.
    #[inline]
    pub fn recv(&mut self, buffer: &mut Vec<u8>) -> usize {
        let mut head = [0; HEAD];
        self.own(HEAD);
        self.get(&mut head);
        let len = usize::from_ne_bytes(head);
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        let mut rest = &mut buffer[..len];
        loop {
            let (piece, after) = rest.split_at_mut(rest.len().min(PIECE));
            self.own(piece.len());
            self.get(piece);
            self.release();
            if after.is_empty() {
                return len;
            }
            rest = after;
        }
    }

    /// Waits until so many bytes more are its own.
    #[inline]
    fn own(&mut self, len: usize) {
        let Control { written, receiver_sleeps, .. } = self.ring.control;
        let least = self.at + len as u64;
        if self.written < least {
            self.ring.wait(&receiver_sleeps.0, || written.0.load(Acquire) >= least);
            self.written = written.0.load(Acquire);
        }
    }

    /// Copies bytes from where the receiver is; they are its own.
    #[inline]
    fn get(&mut self, bytes: &mut [u8]) {
        let (place, straight) = self.ring.place(self.at);
        let len = bytes.len();
        let (first, rest) = bytes.split_at_mut(len.min(straight));
        // SAFETY: the bytes from here on are the receiver's.
        unsafe { ptr::copy_nonoverlapping(place, first.as_mut_ptr(), first.len()) };
        if !rest.is_empty() {
            // SAFETY: so are those that follow, at the beginning of the ring.
            unsafe { ptr::copy_nonoverlapping(self.ring.bytes, rest.as_mut_ptr(), rest.len()) };
        }
        self.at += len as u64;
    }

    #[inline]
    fn release(&self) {
        self.ring.control.read.0.store(self.at, Release);
        call(&self.ring.control.sender_sleeps.0);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::clock::pause;

    fn message(number: usize, len: usize) -> Vec<u8> {
        (0..251).cycle().skip(number % 251).take(len).collect()
    }

    /// So that messages begin, wrap and end everywhere; the last ones are longer than the ring.
    fn messages() -> impl Iterator<Item = Vec<u8>> {
        let around = [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 1 << 20];
        let lengths = (0..100).chain((0..60).map(|step| step * 7919)).chain(around);
        let longer = [CAPACITY, CAPACITY + 1, 2 * CAPACITY + 12_345];
        lengths.chain(longer).enumerate().map(|(number, len)| message(number, len))
    }

    #[test]
    fn messages_of_any_length_arrive_whole_however_one_waits() {
        for looks in [0, 500] {
            let ring = Ring::new(looks).unwrap();
            let wrong = thread::scope(|scope| {
                let mut tx = ring.sender();
                scope.spawn(move || messages().for_each(|sent| tx.send(&sent)));
                let (mut rx, mut buffer) = (ring.receiver(), Vec::new());
                // Looked at afterwards: the sender would wait for ever for a receiver that panics.
                let is_wrong = |sent: &Vec<u8>| {
                    let len = rx.recv(&mut buffer);
                    buffer[..len] != sent[..]
                };
                messages().filter(is_wrong).count()
            });
            assert_eq!(wrong, 0, "{looks} looks");
        }
    }

    #[test]
    fn a_message_may_begin_and_end_anywhere_at_the_end_of_the_ring() {
        let mut buffer = Vec::new();
        for left in 0..24 {
            let ring = Ring::new(0).unwrap();
            let (mut tx, mut rx) = (ring.sender(), ring.receiver());
            tx.send(&vec![0; CAPACITY - HEAD - left]);
            rx.recv(&mut buffer);
            for number in 0..3 {
                let sent = message(number, 13);
                tx.send(&sent);
                let len = rx.recv(&mut buffer);
                assert_eq!(buffer[..len], sent[..], "{left} bytes before the end");
            }
        }
    }

    #[test]
    fn what_was_not_received_is_not_overwritten() {
        let ring = Ring::new(0).unwrap();
        let (mut tx, mut rx, mut buffer) = (ring.sender(), ring.receiver(), Vec::new());
        let first = message(1, CAPACITY - 2 * HEAD - 4);
        tx.send(&first);
        let len = thread::scope(|scope| {
            // One byte more than there is room for.
            scope.spawn(move || tx.send(&[9; 5]));
            // Time enough to do so all the same.
            pause(Duration::from_millis(50));
            let len = rx.recv(&mut buffer);
            let second = rx.recv(&mut Vec::new());
            assert_eq!(second, 5);
            len
        });
        assert!(buffer[..len] == first[..], "{len} bytes");
    }

    #[test]
    fn it_is_ready_as_long_as_a_message_is_there() {
        let ring = Ring::new(0).unwrap();
        let (mut tx, mut rx, mut buffer) = (ring.sender(), ring.receiver(), Vec::new());
        assert!(!rx.is_ready());
        tx.send(b"one");
        tx.send(b"");
        assert!(rx.is_ready());
        assert_eq!(rx.recv(&mut buffer), 3);
        assert!(rx.is_ready());
        assert_eq!(rx.recv(&mut buffer), 0);
        assert!(!rx.is_ready());
    }
}
