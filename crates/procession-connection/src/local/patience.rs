//! How an end waits: it spins, then sleeps on a word of the ring, then on the socket.
//!
//! To sleep on a word is cheapest (`docs/pipes.md`), and tells nothing of the other side's death; so nobody does it for longer than
//! [`ARM_AFTER`]. Then it polls the socket and the pidfd of the process that has the other end.

use std::os::fd::AsFd;
use std::sync::Arc;

use procession_core::waiting::{ARM_AFTER, BACKSTOP, Policy, Spin, policy};
use procession_core::{Deadline, Result};
use procession_sys::futex;
use procession_sys::poll::{self, Watch};

use super::{End, Peer};
use crate::ring::{ON_SOCKET, ON_WORD};

/// One wait.
#[derive(Debug)]
pub(super) struct Patience {
    deadline: Deadline,
    spin: Spin,
    /// Until when it sleeps on the word; known once it has begun to.
    armed: Option<Deadline>,
}

/// How a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// Look.
    Look,
    /// The socket has something.
    Rung,
    /// The deadline passed.
    TimedOut,
    /// The process that had the other end is dead. What it did before may not have been seen yet.
    PeerEnded,
}

impl Patience {
    #[inline]
    pub(super) fn new(deadline: Deadline) -> Self {
        Self { deadline, spin: Spin::new(1).eager(), armed: None }
    }

    /// Whether the wait has not been a long one yet.
    pub(super) fn is_short(&self) -> bool {
        self.armed.is_none_or(|armed| !armed.has_passed())
    }

    /// Waits until `has_changed`, or longer than necessary, or not long enough.
    pub(super) fn wait(
        &mut self,
        end: &End,
        peer: &mut Peer,
        has_changed: &dyn Fn() -> bool,
    ) -> Result<Waited> {
        while self.spin.turn() {
            if has_changed() {
                return Ok(Waited::Look);
            }
        }
        if self.deadline.has_passed() {
            return Ok(if has_changed() { Waited::Look } else { Waited::TimedOut });
        }
        let armed = *self.armed.get_or_insert_with(|| Deadline::after(ARM_AFTER));
        let waited = match (policy(), armed.has_passed()) {
            (Policy::Spin, _) => self.spin_on(end, peer, has_changed)?,
            (_, false) => {
                end.fall_asleep(ON_WORD)?;
                if !has_changed() {
                    let until = self.deadline.min(armed);
                    futex::wait_low(
                        end.ring.sleep_word(end.side),
                        u32::try_from(ON_WORD).unwrap_or_default(),
                        until,
                    )?;
                }
                Waited::Look
            }
            (_, true) => {
                end.fall_asleep(ON_SOCKET)?;
                if has_changed() { Waited::Look } else { self.sleep(end, peer)? }
            }
        };
        end.ring.wake_up(end.side);
        Ok(waited)
    }

    /// Sleeps until the socket has something or the other side is dead.
    fn sleep(&self, end: &End, peer: &mut Peer) -> Result<Waited> {
        if end.look_at_peer(peer)? {
            return Ok(Waited::PeerEnded);
        }
        let pidfd = peer.pidfd.as_ref().map(Arc::clone);
        let mut watches = vec![Watch::readable(&end.socket)];
        watches.extend(pidfd.as_ref().map(|pidfd| Watch::readable(&**pidfd)));
        // Who woke us may have been stopped before it could, and whoever it was may have got the end since.
        poll::wait(&mut watches, self.deadline.min(Deadline::after(BACKSTOP)))?;
        Ok(match watches[0].is_ready() {
            true => Waited::Rung,
            false => Waited::Look,
        })
    }

    fn spin_on(
        &self,
        end: &End,
        peer: &mut Peer,
        has_changed: &dyn Fn() -> bool,
    ) -> Result<Waited> {
        let until = self.deadline.min(Deadline::after(ARM_AFTER));
        while !until.has_passed() {
            for _ in 0..64 {
                if has_changed() {
                    return Ok(Waited::Look);
                }
                std::hint::spin_loop();
            }
        }
        if end.look_at_peer(peer)? {
            return Ok(Waited::PeerEnded);
        }
        let has_news = poll::wait_readable(end.socket.as_fd(), Deadline::after(<_>::default()))?;
        Ok(if has_news { Waited::Rung } else { Waited::Look })
    }
}
