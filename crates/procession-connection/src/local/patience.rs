//! How an end waits: it spins, then sleeps on a word of the ring, then on the socket.
//!
//! Whether it is any use to spin is found out by trying ([`Habit`]). Two who answer each other and run on one processor keep each
//! other from running while they spin; they had better sleep at once. On two processors they had better spin, and when both sleep
//! one of them must spin for longer than it takes to wake the other, or they go on sleeping for ever. Who sends once in a while is
//! worth no spin at all. So an end that has spun in vain a few times stops, and tries for longer once in a while.
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

/// After so many spins in a row that were of no use an end spins no more, ..
const IN_VAIN: u32 = 4;

/// .. but for one wait in so many, twice as many each time, up to the second.
const PROBES: (u32, u32) = (8, 512);

/// That spin lasts so many times as long: who is asleep takes its time to answer.
const LONGER: u32 = 6;

/// When the spin was of use, so many waits do so as well, while the other side finds out.
const STICKY: u32 = 8;

/// What the waits of an end have been like.
#[derive(Debug, Default)]
pub(super) struct Habit {
    /// How many spins in a row were of no use.
    in_vain: u32,
    /// When it does not spin: how many waits there are before it tries again, and how many there were.
    rest: u32,
    last_rest: u32,
    /// For how many more waits it spins for longer.
    sticky: u32,
}

impl Habit {
    fn spin(&mut self) -> Spin {
        let spin = Spin::new(1).eager();
        if self.in_vain < IN_VAIN {
            return if self.sticky > 0 { spin.longer(LONGER) } else { spin };
        }
        self.rest = self.rest.saturating_sub(1);
        if self.rest > 0 { Spin::none() } else { spin.longer(LONGER) }
    }

    /// It has spun, and that was enough.
    fn has_spun(&mut self) {
        self.sticky = match self.in_vain < IN_VAIN {
            true => self.sticky.saturating_sub(1),
            false => STICKY,
        };
        (self.in_vain, self.last_rest) = (0, 0);
    }

    /// It has spun, or not at all, and has to sleep.
    fn must_sleep(&mut self) {
        if self.in_vain < IN_VAIN {
            self.in_vain += 1;
            self.sticky = self.sticky.saturating_sub(1);
        }
        if self.in_vain == IN_VAIN && self.rest == 0 {
            self.last_rest = (self.last_rest * 2).clamp(PROBES.0, PROBES.1);
            self.rest = self.last_rest;
        }
    }
}

/// One wait.
#[derive(Debug)]
pub(super) struct Patience {
    deadline: Deadline,
    /// Not known before the first wait.
    spin: Option<Spin>,
    /// Until when it sleeps on the word; known once it has begun to.
    armed: Option<Deadline>,
}

/// What a wait has to know of the other side, and of those before it.
pub(super) struct Watched<'a> {
    pub(super) peer: &'a mut Peer,
    pub(super) habit: &'a mut Habit,
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
        Self { deadline, spin: None, armed: None }
    }

    /// Whether the wait has not been a long one yet.
    pub(super) fn is_short(&self) -> bool {
        self.armed.is_none_or(|armed| !armed.has_passed())
    }

    /// Waits until `has_changed`, or longer than necessary, or not long enough.
    pub(super) fn wait(
        &mut self,
        end: &End,
        Watched { peer, habit }: Watched<'_>,
        has_changed: &dyn Fn() -> bool,
    ) -> Result<Waited> {
        let spin = self.spin.get_or_insert_with(|| habit.spin());
        // Who may not wait does not spin either.
        while !self.deadline.has_passed() && spin.turn() {
            if has_changed() {
                habit.has_spun();
                return Ok(Waited::Look);
            }
        }
        if self.deadline.has_passed() {
            return Ok(if has_changed() { Waited::Look } else { Waited::TimedOut });
        }
        if self.armed.is_none() {
            habit.must_sleep();
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
        let has_news = poll::wait_readable(end.socket.as_fd(), Deadline::PAST)?;
        Ok(if has_news { Waited::Rung } else { Waited::Look })
    }
}
