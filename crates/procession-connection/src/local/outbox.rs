//! The sending end of a local pipe.

use std::os::fd::{AsFd, BorrowedFd};

use procession_core::{Deadline, Result};
use procession_sys::clock;
use procession_sys::poll::{self, Watch};
use procession_sys::prim::AtomicBool;
use procession_sys::prim::Ordering::Relaxed;
use procession_sys::socket::{self, Block};
use procession_sys::turn::{Turn, TurnGuard};
use procession_sys::{OsCode, OsError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::patience::{Habit, Patience, Waited, Watched};
use super::{Claim, End, Held, LOOK_EVERY, Peer, Travelled};
use crate::error::{closed, moved};
use crate::ring::{Producer, Rest, Side, Source, Wake};
use crate::transport::{Outgoing, Sent};

/// The sending end.
#[derive(Debug)]
pub(crate) struct Outlet {
    end: End,
    outbox: Turn<Outbox>,
    /// Whether the receiver was found dead elsewhere.
    is_suspicious: AtomicBool,
    is_closing: AtomicBool,
}

/// What whoever sends has to know.
#[derive(Debug)]
struct Outbox {
    producer: Producer,
    peer: Peer,
    habit: Habit,
    /// When it was last looked whether the receiver lives.
    looked: u64,
    claim: Claim,
    /// Whether it was closed here.
    is_closed: bool,
}

impl Outlet {
    pub(super) fn new(end: End) -> Result<Self> {
        let outbox = Outbox {
            producer: Producer::of(&end.ring)?,
            peer: Peer::default(),
            habit: Habit::default(),
            looked: clock::rough_millis(),
            claim: end.claim(),
            is_closed: false,
        };
        let [is_suspicious, is_closing] = [AtomicBool::new(false), AtomicBool::new(false)];
        Ok(Self { end, outbox: Turn::new(outbox), is_suspicious, is_closing })
    }

    /// Sends a message, waiting for room until the deadline; it goes whole or not at all.
    #[inline(always)]
    pub(crate) fn send(&self, message: &Outgoing<'_>, deadline: Deadline) -> Result<Sent> {
        let Some(mut outbox) = self.outbox.take(deadline) else { return Ok(Sent::No) };
        let outbox = &mut *outbox;
        if outbox.is_closed {
            return Err(closed());
        }
        if self.end.hold(&mut outbox.claim)? == Held::Anew {
            outbox.producer = Producer::of(&self.end.ring)?;
        }
        let now = clock::rough_millis();
        if now.wrapping_sub(outbox.looked) >= LOOK_EVERY || self.is_suspicious.load(Relaxed) {
            outbox.looked = now;
            self.look(outbox)?;
        }
        let ring = &self.end.ring;
        let source = Source::new(message.parts);
        let needed = outbox.producer.needs(ring, source.len());
        let streams = ring.streams(source.len());
        let may_begin = outbox.producer.has_room(ring, needed)
            && (!streams || outbox.producer.may_stream(ring));
        if !may_begin && !self.wait(outbox, needed, streams, deadline)? {
            return Ok(Sent::No);
        }
        if !message.handles.is_empty() && !self.send_handles(outbox, message, deadline)? {
            return Ok(Sent::No);
        }
        let (wake, mut rest) = outbox.producer.begin(ring, &source, message.announced);
        self.end.wake(wake)?;
        if wake == Wake::Gone && !outbox.producer.was_received(ring, &rest) {
            return Err(closed());
        }
        match rest.is_done() {
            true => Ok(Sent::Yes),
            false => self.stream(outbox, &source, &mut rest, deadline),
        }
    }

    /// Looks whether the receiver lives: one that is killed does not say that it is gone.
    #[cold]
    fn look(&self, outbox: &mut Outbox) -> Result<()> {
        self.is_suspicious.store(false, Relaxed);
        match self.end.has_hung_up()? || self.end.look_at_peer(&mut outbox.peer)? {
            true => Err(closed()),
            false => Ok(()),
        }
    }

    /// Has the next who sends look whether the receiver lives.
    pub(crate) fn suspect(&self) {
        self.is_suspicious.store(true, Relaxed);
    }

    /// Sends the rest of a message as there is room.
    #[inline(never)]
    fn stream(
        &self,
        outbox: &mut Outbox,
        source: &Source<'_>,
        rest: &mut Rest,
        deadline: Deadline,
    ) -> Result<Sent> {
        let ring = &self.end.ring;
        while !rest.is_done() {
            let needed = outbox.producer.needs_for(ring, rest);
            if !outbox.producer.has_room(ring, needed)
                && !self.wait(outbox, needed, false, deadline)?
            {
                self.end.wake(outbox.producer.abort(ring, rest))?;
                return Ok(Sent::No);
            }
            let wake = outbox.producer.go_on(ring, source, rest);
            self.end.wake(wake)?;
            if wake == Wake::Gone && !outbox.producer.was_received(ring, rest) {
                return Err(closed());
            }
        }
        Ok(Sent::Yes)
    }

    /// Waits for room, and until a message may stream if this one does; tells whether that came before the deadline.
    #[cold]
    fn wait(
        &self,
        outbox: &mut Outbox,
        needed: u64,
        streams: bool,
        deadline: Deadline,
    ) -> Result<bool> {
        let ring = &self.end.ring;
        let Outbox { producer, peer, habit, .. } = outbox;
        let mut patience = Patience::new(deadline);
        loop {
            if ring.is_gone(Side::Reader) || self.is_closing.load(Relaxed) {
                return Err(closed());
            }
            if producer.has_room(ring, needed) && (!streams || producer.may_stream(ring)) {
                return Ok(true);
            }
            // Not for the first word, to begin with: who waits for room is faster than the reader, and will be again.
            let wanted = match patience.is_short() {
                true => producer.worth_waking(ring, needed),
                false => needed,
            };
            producer.want(ring, wanted);
            let may_go_on = || {
                producer.sees_room(ring, wanted) && (!streams || producer.may_stream(ring))
                    || ring.is_gone(Side::Reader)
                    || self.is_closing.load(Relaxed)
            };
            match patience.wait(
                &self.end,
                Watched { peer: &mut *peer, habit: &mut *habit },
                &may_go_on,
            )? {
                Waited::Look => {}
                Waited::TimedOut => return Ok(false),
                Waited::PeerEnded => return Err(closed()),
                Waited::Rung => self.silence()?,
            }
        }
    }

    /// Takes the bells off the socket.
    fn silence(&self) -> Result<()> {
        loop {
            match socket::recv(&self.end.socket, &mut [0; 8], &mut Vec::new(), Block::No) {
                Ok(came) if came.bytes == 0 => return Err(closed()),
                Ok(_) => {}
                Err(error) if error.code() == OsCode::WOULD_BLOCK => return Ok(()),
                Err(error) => return Err(gone_or(error)),
            }
        }
    }

    /// Sends the descriptors of the next message ahead of it; tells whether they went before the deadline.
    #[cold]
    fn send_handles(
        &self,
        outbox: &Outbox,
        message: &Outgoing<'_>,
        deadline: Deadline,
    ) -> Result<bool> {
        let number = outbox.producer.sent().to_le_bytes();
        let handles: Vec<_> = message.handles.iter().map(AsFd::as_fd).collect();
        loop {
            match socket::send(&self.end.socket, &[&number], &handles, Block::No) {
                Ok(_) => return Ok(true),
                Err(error) if error.code() == OsCode::WOULD_BLOCK => {
                    let mut watches = [Watch::writable(&self.end.socket)];
                    if poll::wait(&mut watches, deadline)? == 0 {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(gone_or(error)),
            }
        }
    }

    /// How many messages were sent that nobody has received yet.
    pub(crate) fn unread(&self) -> u64 {
        let (sent, received) = self.end.ring.counts();
        sent.saturating_sub(received)
    }

    /// Closes the end: what was sent can be received, and then the receiver learns that nothing more comes. Threads that wait for room
    /// here are told.
    pub(crate) fn close(&self) {
        if let Some(mut outbox) = self.outbox.try_take() {
            return outbox.close(&self.end);
        }
        // It is this end, and no old copy: somebody uses it.
        self.is_closing.store(true, Relaxed);
        self.end.interrupt();
        // The deadline is never, and who has the turn gives it back.
        if let Some(mut outbox) = self.outbox.take(Deadline::NEVER) {
            outbox.close(&self.end);
        }
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.socket.as_fd()
    }

    fn lock(&self) -> Result<TurnGuard<'_, Outbox>> {
        // The deadline is never.
        self.outbox.take(Deadline::NEVER).ok_or_else(closed)
    }
}

impl Outbox {
    fn close(&mut self, end: &End) {
        if !std::mem::replace(&mut self.is_closed, true) {
            end.leave(&self.claim);
        }
    }
}

fn gone_or(error: OsError) -> procession_core::Error {
    match error.code() {
        OsCode::BROKEN_PIPE | OsCode::CONNECTION_RESET => closed(),
        _ => error.into(),
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.outbox.get_mut().close(&self.end);
    }
}

impl Serialize for Outlet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut outbox = self.lock().map_err(serde::ser::Error::custom)?;
        if outbox.is_closed {
            return Err(serde::ser::Error::custom(closed()));
        }
        self.end.hold(&mut outbox.claim).map_err(|_taken| serde::ser::Error::custom(moved()))?;
        let travelling = self.end.travelling().serialize(serializer)?;
        self.end.give_up(&outbox.claim);
        Ok(travelling)
    }
}

impl<'de> Deserialize<'de> for Outlet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let end = Travelled::deserialize(deserializer)?.arrive(Side::Writer);
        end.and_then(Self::new).map_err(serde::de::Error::custom)
    }
}
