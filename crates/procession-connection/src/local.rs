//! Pipes on one machine: a [ring](crate::ring) in shared memory, and a socket beside it.
//!
//! The socket carries what memory cannot: a byte that wakes the other side when that sleeps in `poll`, descriptors, and a hint that
//! the other side is gone. See `docs/pipes.md` for the whole protocol, with what follows when anybody dies at any step of it.
//!
//! An end is one of the two [sides](Side) of a ring, and has one holder, a process, which the ring names ([`Holder`]). An end that is sent
//! belongs to nobody until it is received. A forked process finds copies of its parent's ends; the first of the two that uses such a copy
//! has the end from then on, and the other is told so.

mod inbox;
mod outbox;
mod patience;
mod pollable;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use procession_core::holder::{self, Holder};
use procession_core::{Error, ErrorKind, Handle, Result, waiting};
use procession_sys::memory::SharedWords;
use procession_sys::poll::Watch;
use procession_sys::prim::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use procession_sys::prim::{OnceLock, fence};
use procession_sys::socket::{self, Block};
use procession_sys::{Deadline, OsCode, barrier, futex, poll};
use serde::{Deserialize, Serialize};

use crate::error::moved;
use crate::ring::{self, Ring, Side, Wake};
use pollable::Pollable;

pub(crate) use inbox::Inlet;
pub(crate) use outbox::Outlet;

/// How many words of messages a pipe holds: 256 KiB, which stay in the second-level caches.
const SIZE: usize = 256 << 10 >> 3;

/// How often it is looked whether the other side lives, at most, in milliseconds: a system call or two, while something is sent, or while
/// somebody looks for messages and finds none.
const LOOK_EVERY: u64 = 20;

/// The byte that wakes a sleeper.
const BELL: &[u8] = &[0];

/// What the two kinds of ends have in common.
#[derive(Debug)]
struct End {
    ring: Ring<SharedWords>,
    socket: OwnedFd,
    side: Side,
    /// Whether the ring names processes as this one does.
    knows_holders: bool,
    pollable: OnceLock<Pollable>,
}

/// Who was seen to have the other end, and how to learn of its death.
#[derive(Debug, Default)]
struct Peer {
    bits: u64,
    pidfd: Option<Arc<OwnedFd>>,
}

/// What an end knows about who holds it; in the memory of the process, so that a fork has it, too.
#[derive(Debug)]
struct Claim {
    holder: u64,
    /// How often the end had been under way then: of two in one process, which had it one after the other, one is old.
    epoch: u64,
}

/// What became of an end while nobody looked.
#[derive(Debug, PartialEq, Eq)]
enum Held {
    /// Nothing.
    AsBefore,
    /// It came back, or it is a fork that uses it now: what was known about the ring may be old.
    Anew,
}

/// Makes the two ends of a ring.
pub(crate) fn pair() -> Result<(Outlet, Inlet)> {
    let words = SharedWords::create(ring::words_for(SIZE))?;
    let copy = SharedWords::open(procession_sys::fd::duplicate(&words)?)?;
    let is_fenced = barrier::take_part().is_err();
    let ours = Ring::create(words, SIZE as u64, holder::namespaces()?, is_fenced);
    let count = copy.len();
    let (left, right) = socket::seqpacket_pair()?;
    let out = Outlet::new(End::of(ours, left, Side::Writer)?)?;
    Ok((out, Inlet::new(End::of(Ring::open(copy, count)?, right, Side::Reader)?)?))
}

impl End {
    /// The end becomes this process's.
    fn of(mut ring: Ring<SharedWords>, socket: OwnedFd, side: Side) -> Result<Self> {
        if !ring.is_fenced() {
            barrier::take_part()?;
        }
        let knows_holders = ring.namespaces() == holder::namespaces()?;
        let me = Holder::me()?.to_bits();
        if ring.holder_word(side).compare_exchange(0, me, AcqRel, Relaxed).is_err() {
            let text = "the end of a pipe came, and is somebody else's already";
            return Err(Error::new(ErrorKind::Taken, text));
        }
        ring.set_fences(side, waiting::yields());
        let this = Self { ring, socket, side, knows_holders, pollable: OnceLock::new() };
        this.announce()?;
        Ok(this)
    }

    /// Has the other side, if it sleeps, look who has this one now: it may be watching somebody else, or nobody.
    fn announce(&self) -> Result<()> {
        // The holder was written before, and who falls asleep looks at it behind a barrier everywhere.
        fence(SeqCst);
        self.wake(self.ring.interrupt(self.side.other()))
    }

    fn claim(&self) -> Claim {
        Claim {
            holder: self.ring.holder_word(self.side).load(Relaxed),
            epoch: self.ring.epoch_word(self.side).load(Relaxed),
        }
    }

    /// Makes sure that this end is the one that there is.
    #[inline(always)]
    fn hold(&self, claim: &mut Claim) -> Result<Held> {
        let me = Holder::me()?.to_bits();
        // ORDERING: Relaxed: while both are as they were, nobody else has touched what they protect.
        let is_ours = self.ring.holder_word(self.side).load(Relaxed) == me && claim.holder == me;
        match is_ours && self.ring.epoch_word(self.side).load(Relaxed) == claim.epoch {
            true => Ok(Held::AsBefore),
            false => self.hold_anew(claim, me),
        }
    }

    #[cold]
    fn hold_anew(&self, claim: &mut Claim, me: u64) -> Result<Held> {
        if !self.ring.is_fenced() {
            barrier::take_part()?;
        }
        let word = self.ring.holder_word(self.side);
        let mut holder = word.load(Acquire);
        // It was put into a message that did not go; or it was the parent's when this process was forked.
        let epoch = self.ring.epoch_word(self.side).load(Acquire);
        // A parent that drops what it forked this process with hands it over, or its own parent does.
        let is_inherited = |holder| {
            epoch == claim.epoch
                && me != claim.holder
                && Holder::from_bits(holder).is_some_and(Holder::is_ancestor)
        };
        while holder == 0 || is_inherited(holder) {
            match word.compare_exchange(holder, me, AcqRel, Acquire) {
                Ok(_) => {
                    let epoch = self.ring.epoch_word(self.side).load(Acquire);
                    *claim = Claim { holder: me, epoch };
                    self.announce()?;
                    return Ok(Held::Anew);
                }
                Err(other) => holder = other,
            }
        }
        Err(moved())
    }

    /// Says how this side is going to sleep. Look once more before you do.
    fn fall_asleep(&self, how: u64) -> Result<()> {
        self.ring.fall_asleep(self.side, how);
        match self.ring.makes_fences(self.side.other()) {
            true => Ok(()),
            false => Ok(barrier::everywhere()?),
        }
    }

    /// Wakes whoever of this process sleeps here, for good.
    fn interrupt(&self) {
        // Who falls asleep after this looks before it sleeps; what it looks for was written before.
        fence(SeqCst);
        if self.ring.interrupt(self.side) == Wake::OnWord {
            drop(futex::wake_low(self.ring.sleep_word(self.side), 1));
        }
        // Who polls it sees the end. The other side does as well, a little early.
        drop(socket::shut_down(&self.socket));
    }

    /// Leaves the end to whoever uses it next.
    fn give_up(&self, claim: &Claim) {
        // ORDERING: Release: who takes it sees what was done with it, and that it has been under way.
        self.ring.epoch_word(self.side).store(claim.epoch.wrapping_add(1), Release);
        self.ring.holder_word(self.side).store(0, Release);
    }

    /// Wakes the other side.
    #[inline(always)]
    fn wake(&self, wake: Wake) -> Result<()> {
        match wake {
            Wake::No => Ok(()),
            other => self.wake_slowly(other),
        }
    }

    #[cold]
    fn wake_slowly(&self, wake: Wake) -> Result<()> {
        match wake {
            Wake::No | Wake::Gone => {}
            Wake::OnWord => {
                futex::wake_low(self.ring.sleep_word(self.side.other()), 1)?;
            }
            Wake::OnSocket => match socket::send(&self.socket, &[BELL], &[], Block::No) {
                Ok(_) => {}
                // It is readable then, as it shall be; or nobody is there any more, which is found out by who waits.
                Err(error)
                    if [OsCode::WOULD_BLOCK, OsCode::BROKEN_PIPE, OsCode::CONNECTION_RESET]
                        .contains(&error.code()) => {}
                Err(error) => return Err(error.into()),
            },
        }
        Ok(())
    }

    /// Whether the process that has the other end has ended; looks it up if it is another than last time.
    fn look_at_peer(&self, peer: &mut Peer) -> Result<bool> {
        let bits = self.ring.holder_word(self.side.other()).load(Acquire);
        if bits != peer.bits || (bits != 0 && peer.pidfd.is_none()) {
            *peer = Peer { bits, pidfd: None };
            let Some(holder) = Holder::from_bits(bits).filter(|_| self.knows_holders) else {
                return Ok(false);
            };
            peer.pidfd = holder.pidfd()?;
            return Ok(peer.pidfd.is_none() && self.is_still(bits));
        }
        let Some(pidfd) = &peer.pidfd else { return Ok(false) };
        Ok(poll::wait_readable(pidfd, Deadline::PAST)? && self.is_still(bits))
    }

    /// Whether nobody has the other side's socket any more.
    fn has_hung_up(&self) -> Result<bool> {
        let mut watches = [Watch::hang_up(&self.socket)];
        poll::wait(&mut watches, Deadline::PAST)?;
        Ok(watches[0].has_hung_up())
    }

    fn is_still(&self, bits: u64) -> bool {
        self.ring.holder_word(self.side.other()).load(Acquire) == bits
    }

    /// This side is dropped: it is gone, if this is it; or it goes to [whom it was forked with](Holder::hand_over).
    fn leave(&self, claim: &Claim) {
        let Ok(me) = Holder::me().map(Holder::to_bits) else { return };
        let word = self.ring.holder_word(self.side);
        let holder = word.load(Acquire);
        let is_same = self.ring.epoch_word(self.side).load(Relaxed) == claim.epoch;
        // Ours, or a copy of our parent's, who has not handed it over yet if it ever will.
        if !is_same || !Holder::from_bits(holder).is_some_and(Holder::is_ancestor) {
            return;
        }
        if let Some(heir) = Holder::heir().map(Holder::to_bits) {
            let is_heirs = word.compare_exchange(holder, heir, SeqCst, Relaxed).is_ok();
            // The heir may have dropped it already.
            if is_heirs && self.ring.dropped_word(self.side).load(SeqCst) == heir {
                self.say_gone();
            } else if is_heirs {
                // Who cannot be woken looks by itself.
                drop(self.announce());
            }
            return;
        }
        self.ring.dropped_word(self.side).store(me, SeqCst);
        if word.load(SeqCst) == me {
            self.say_gone();
        }
    }

    fn say_gone(&self) {
        let wake = self.ring.leave(self.side);
        // Who cannot be woken looks by itself.
        drop(self.wake(wake));
    }
}

/// What of an end travels.
#[derive(Serialize, Deserialize)]
struct Travelling<H> {
    memory: H,
    socket: H,
}

type Travelled = Travelling<Handle<OwnedFd>>;

impl End {
    fn travelling(&self) -> Travelling<Handle<BorrowedFd<'_>>> {
        Travelling {
            memory: Handle(self.ring.words().as_fd()),
            socket: Handle(self.socket.as_fd()),
        }
    }
}

impl Travelled {
    /// The end that has travelled.
    fn arrive(self, side: Side) -> Result<End> {
        let socket = self.socket.into_inner();
        if !socket::is_seqpacket(&socket) {
            return Err(Error::new(ErrorKind::Decode, "not the socket of a pipe"));
        }
        let words = SharedWords::open(self.memory.into_inner())?;
        let count = words.len();
        End::of(Ring::open(words, count)?, socket, side)
    }
}
