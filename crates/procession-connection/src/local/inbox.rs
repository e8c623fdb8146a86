//! The receiving end of a local pipe.

mod travel;

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_sys::prim::Ordering::{Acquire, Release, SeqCst};
use procession_sys::prim::{AtomicBool, fence};
use procession_sys::socket::{self, Block};
use procession_sys::turn::{Turn, TurnGuard};
use procession_sys::{OsCode, clock};

use super::patience::{Habit, Patience, Waited, Watched};
use super::pollable::Pollable;
use super::{Claim, End, Held, LOOK_EVERY, Peer};
use crate::error::closed;
use crate::ring::{Consumer, Head, ON_SOCKET, Side};
use crate::transport::{Body, Incoming, Next, Room, SMALL, too_long};

/// How much memory is taken at once for a message that has not come yet.
const STEP: usize = 1 << 20;

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Inlet {
    end: End,
    inbox: Turn<Inbox>,
    /// Whether the one whose turn it is sleeps.
    is_waited_for: AtomicBool,
    is_closing: AtomicBool,
}

/// What whoever receives has to know.
#[derive(Debug)]
struct Inbox {
    consumer: Consumer,
    partial: Option<Partial>,
    /// Descriptors that came ahead of their messages.
    stash: VecDeque<Arrival>,
    peer: Peer,
    habit: Habit,
    /// When it was last looked whether the sender lives.
    looked: u64,
    claim: Claim,
    state: State,
}

/// What there is to be expected of the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing more than what there is.
    Ended,
    /// Nothing: this end was closed.
    Closed,
}

/// A message of which a part has come.
#[derive(Debug)]
struct Partial {
    head: Head,
    /// Its first bytes are these, as many as were taken; what follows is room. Empty while they go into the caller's slice.
    bytes: Vec<u8>,
    is_whole: bool,
}

/// The descriptors of a message.
#[derive(Debug)]
struct Arrival {
    /// How many messages came before it.
    number: u64,
    handles: Vec<OwnedFd>,
    lost: bool,
}

impl Inlet {
    pub(super) fn new(end: End) -> Result<Self> {
        Self::with(end, None, VecDeque::new())
    }

    fn with(end: End, partial: Option<Partial>, stash: VecDeque<Arrival>) -> Result<Self> {
        let inbox = Inbox {
            consumer: Consumer::of(&end.ring)?,
            partial,
            stash,
            peer: Peer::default(),
            habit: Habit::default(),
            looked: clock::rough_millis(),
            claim: end.claim(),
            state: State::Open,
        };
        let [is_waited_for, is_closing] = [AtomicBool::new(false), AtomicBool::new(false)];
        Ok(Self { end, inbox: Turn::new(inbox), is_waited_for, is_closing })
    }

    /// Receives the next message, waiting for it until the deadline.
    #[inline(always)]
    pub(crate) fn recv(&self, room: Room<'_>, deadline: Deadline) -> Result<Next<Incoming>> {
        let Some(mut inbox) = self.turn(deadline) else { return Ok(Next::Nothing) };
        self.hold(&mut inbox)?;
        let received = self.recv_slowly(&mut inbox, room, deadline);
        self.settle(&mut inbox)?;
        received
    }

    /// Receives the next message into `bytes` if it is short, here as a whole, and comes alone; tells how long it is.
    #[inline(always)]
    pub(crate) fn recv_small(&self, bytes: &mut [u8; SMALL]) -> Result<Option<usize>> {
        let Some(mut inbox) = self.inbox.try_take() else { return Ok(None) };
        self.hold(&mut inbox)?;
        let received = inbox.small_into(&self.end, bytes)?;
        self.settle(&mut inbox)?;
        Ok(received)
    }

    #[inline(never)]
    fn recv_slowly(
        &self,
        inbox: &mut Inbox,
        mut room: Room<'_>,
        deadline: Deadline,
    ) -> Result<Next<Incoming>> {
        let mut patience = Patience::new(deadline);
        let received = loop {
            match inbox.small(&self.end, &room) {
                Ok(Some(incoming)) => break Ok(Next::Message(incoming)),
                Ok(None) => {}
                Err(error) => break Err(error),
            }
            match inbox.take(&self.end, &mut room) {
                Ok(Some(incoming)) => break Ok(Next::Message(incoming)),
                Ok(None) => {}
                Err(error) => break Err(error),
            }
            if inbox.state != State::Open {
                break inbox.end(&self.end);
            }
            match self.wait(inbox, &mut patience) {
                Ok(true) => {}
                Ok(false) => break Ok(Next::Nothing),
                Err(error) => break Err(error),
            }
        };
        inbox.keep(&room);
        received
    }

    /// Whether [`recv`](Self::recv) would return at once; waits for that until the deadline.
    pub(crate) fn poll(&self, deadline: Deadline) -> Result<bool> {
        let Some(mut inbox) = self.turn(deadline) else { return Ok(false) };
        self.hold(&mut inbox)?;
        let mut patience = Patience::new(deadline);
        let is_ready = loop {
            if inbox.is_ready(&self.end)? || inbox.state != State::Open {
                break true;
            }
            if !self.wait(&mut inbox, &mut patience)? {
                break false;
            }
        };
        self.settle(&mut inbox)?;
        Ok(is_ready)
    }

    /// Waits for more to come; tells whether there may be.
    fn wait(&self, inbox: &mut Inbox, patience: &mut Patience) -> Result<bool> {
        let ring = &self.end.ring;
        self.is_waited_for.store(true, Release);
        let Inbox { consumer, peer, habit, partial, .. } = &mut *inbox;
        let taking = partial.as_ref().map(|partial| &partial.head);
        let has_changed = || {
            consumer.sees_more(ring, taking)
                || ring.is_gone(Side::Writer)
                || self.is_closing.load(Acquire)
        };
        let waited = patience.wait(&self.end, Watched { peer, habit }, &has_changed);
        self.is_waited_for.store(false, Release);
        fence(SeqCst);
        match waited? {
            Waited::TimedOut => return inbox.look(&self.end),
            Waited::PeerEnded => inbox.state = State::Ended,
            Waited::Rung => inbox.drain(&self.end)?,
            Waited::Look => {}
        }
        if ring.is_gone(Side::Writer) {
            inbox.state = State::Ended;
        }
        if self.is_closing.load(Acquire) {
            inbox.close(&self.end);
        }
        Ok(true)
    }

    /// Waits for the other threads of this process that receive here.
    #[inline(always)]
    fn turn(&self, deadline: Deadline) -> Option<TurnGuard<'_, Inbox>> {
        self.inbox.try_take().or_else(|| self.turn_after_others(deadline))
    }

    #[cold]
    fn turn_after_others(&self, deadline: Deadline) -> Option<TurnGuard<'_, Inbox>> {
        if !deadline.has_passed() {
            return self.inbox.take(deadline);
        }
        loop {
            if let Some(inbox) = self.inbox.try_take() {
                return Some(inbox);
            }
            // Who sleeps has found nothing; who does not sleep is done soon, and may leave something.
            if self.is_waited_for.load(Acquire) {
                return None;
            }
            std::thread::yield_now();
        }
    }

    #[inline(always)]
    fn hold(&self, inbox: &mut Inbox) -> Result<()> {
        match self.end.hold(&mut inbox.claim)? {
            Held::AsBefore => Ok(()),
            Held::Anew => self.take_over(inbox),
        }
    }

    #[cold]
    fn take_over(&self, inbox: &mut Inbox) -> Result<()> {
        inbox.consumer = Consumer::of(&self.end.ring)?;
        let taken = inbox.partial.as_ref().map_or(0, |partial| partial.head.taken);
        if Consumer::taken(&self.end.ring) == taken {
            return Ok(());
        }
        let text = "another process has taken a part of a message out of the pipe";
        Err(Error::new(ErrorKind::Torn, text))
    }

    /// Sees to it that the descriptor to poll is readable if and only if there is something.
    #[inline(always)]
    fn settle(&self, inbox: &mut Inbox) -> Result<()> {
        match self.end.pollable.get() {
            None => Ok(()),
            Some(pollable) => self.settle_pollable(inbox, pollable),
        }
    }

    #[cold]
    fn settle_pollable(&self, inbox: &mut Inbox, pollable: &Pollable) -> Result<()> {
        if inbox.state == State::Open && !inbox.is_ready(&self.end)? {
            inbox.drain(&self.end)?;
            self.end.fall_asleep(ON_SOCKET)?;
            if self.end.ring.is_gone(Side::Writer) || self.end.look_at_peer(&mut inbox.peer)? {
                inbox.state = State::Ended;
            }
            pollable.watch(inbox.peer.pidfd.as_ref())?;
        }
        pollable.set(inbox.state != State::Open || inbox.is_ready(&self.end)?)
    }

    /// A descriptor that is readable while [`recv`](Self::recv) would return at once.
    pub(crate) fn as_fd(&self) -> Result<BorrowedFd<'_>> {
        if let Some(pollable) = self.end.pollable.get() {
            return Ok(pollable.as_fd());
        }
        let made = Pollable::new(&self.end.socket)?;
        let pollable = self.end.pollable.get_or_init(|| made);
        // A thread that sleeps in `recv` settles it when it leaves: either it sees the descriptor, or it is not seen sleeping.
        fence(SeqCst);
        if let Some(mut inbox) = self.turn_after_others(Deadline::PAST) {
            self.hold(&mut inbox)?;
            self.settle_pollable(&mut inbox, pollable)?;
        }
        Ok(pollable.as_fd())
    }

    /// Closes the end: what was not received is lost, and the sender learns that nobody will receive it. Threads that wait here are
    /// told.
    pub(crate) fn close(&self) {
        if let Some(mut inbox) = self.inbox.try_take() {
            return inbox.close(&self.end);
        }
        // It is this end, and no old copy: somebody uses it.
        self.is_closing.store(true, Release);
        self.end.interrupt();
        // The deadline is never, and who has the turn gives it back.
        if let Some(mut inbox) = self.inbox.take(Deadline::NEVER) {
            inbox.close(&self.end);
        }
    }

    fn lock(&self) -> Result<TurnGuard<'_, Inbox>> {
        // The deadline is never.
        self.inbox.take(Deadline::NEVER).ok_or_else(closed)
    }
}

impl Inbox {
    /// The next message, if it is short, here as a whole, and comes alone: most do.
    fn small(&mut self, end: &End, room: &Room<'_>) -> Result<Option<Incoming>> {
        if matches!(*room, Room::AtMost(most) if most < SMALL as u64) {
            return Ok(None);
        }
        let mut bytes = [0; SMALL];
        let len = self.small_into(end, &mut bytes)?;
        Ok(len.map(|len| Incoming {
            body: Body::Small { bytes, len },
            handles: Vec::new(),
            announced: 0,
            handles_lost: false,
        }))
    }

    #[inline(always)]
    fn small_into(&mut self, end: &End, bytes: &mut [u8; SMALL]) -> Result<Option<usize>> {
        if self.partial.is_some() || self.state == State::Closed {
            return Ok(None);
        }
        let available = self.consumer.available(&end.ring)?;
        if available == 0 {
            return Ok(None);
        }
        let mut head = self.consumer.head(&end.ring)?;
        let len = usize::try_from(head.len).unwrap_or(usize::MAX);
        if len > SMALL || head.handles > 0 || available <= head.len.div_ceil(8) {
            return Ok(None);
        }
        end.wake(self.consumer.take(&end.ring, &mut head, &mut bytes[..len]))?;
        self.consumer.count(&end.ring);
        Ok(Some(len))
    }

    /// Takes what has come; returns the message once it is whole.
    fn take(&mut self, end: &End, room: &mut Room<'_>) -> Result<Option<Incoming>> {
        match self.fill(end, room)? {
            true => self.finish(end, room).map(Some),
            false => Ok(None),
        }
    }

    /// Takes what has come of the first message; tells whether that is all of it.
    fn fill(&mut self, end: &End, room: &mut Room<'_>) -> Result<bool> {
        loop {
            if self.state == State::Closed {
                return Ok(false);
            }
            let available = self.consumer.available(&end.ring)?;
            let Some(partial) = &mut self.partial else {
                if available == 0 {
                    return Ok(false);
                }
                let head = self.consumer.head(&end.ring)?;
                self.partial = Some(Partial { head, bytes: Vec::new(), is_whole: false });
                continue;
            };
            if let Some(wake) = self.consumer.skip_aborted(&end.ring, &partial.head)? {
                end.wake(wake)?;
                if partial.head.handles > 0 {
                    // Its number will be that of another message.
                    drop(self.arrival(end));
                }
                self.partial = None;
                continue;
            }
            match *room {
                Room::AtMost(most) if partial.head.len > most => {
                    let error = too_long(partial.head.len, most);
                    self.close(end);
                    return Err(error);
                }
                _ => {}
            }
            let is_begun = partial.head.taken > 0 || partial.is_whole;
            if available == 0 && is_begun {
                return Ok(partial.is_whole);
            }
            if !partial.is_whole {
                let Partial { head, bytes, is_whole } = partial;
                let out = space(head, bytes, room);
                end.wake(self.consumer.take(&end.ring, head, out))?;
                *is_whole = head.taken == head.len;
            }
            if partial.is_whole {
                return Ok(true);
            }
        }
    }

    /// Looks whether the sender lives, for those who never wait for long: one that is killed does not say that it is gone. Tells
    /// whether there may be something to tell.
    fn look(&mut self, end: &End) -> Result<bool> {
        let now = clock::rough_millis();
        if self.state != State::Open || now.wrapping_sub(self.looked) < LOOK_EVERY {
            return Ok(false);
        }
        self.looked = now;
        if end.has_hung_up()? || end.look_at_peer(&mut self.peer)? {
            self.state = State::Ended;
        }
        Ok(self.state != State::Open)
    }

    /// Nothing more is taken, and the other side learns it.
    fn close(&mut self, end: &End) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.partial = None;
            self.stash.clear();
            end.leave(&self.claim);
        }
    }

    /// What there is when nothing more comes, and all that came was taken.
    fn end(&mut self, end: &End) -> Result<Next<Incoming>> {
        // Descriptors may have come ahead of a message that did not.
        drop(self.drain(end));
        self.stash.clear();
        match (self.state, self.partial.take()) {
            (State::Closed, _) => Err(Error::new(ErrorKind::Closed, "this end was closed")),
            (_, None) => Ok(Next::Closed),
            (_, Some(Partial { head, .. })) => {
                let text = format!(
                    "the other end died {} of {} bytes into a message",
                    head.taken, head.len
                );
                Err(Error::new(ErrorKind::Torn, text))
            }
        }
    }

    /// Keeps what lies in the caller's slice of a message that is not whole.
    fn keep(&mut self, room: &Room<'_>) {
        if let (Some(partial), Room::Slice(slice)) = (&mut self.partial, room)
            && partial.bytes.is_empty()
        {
            let taken = usize::try_from(partial.head.taken).unwrap_or(usize::MAX);
            partial.bytes = slice.get(..taken).unwrap_or_default().to_vec();
        }
    }

    /// Hands out the message that is whole.
    fn finish(&mut self, end: &End, room: &Room<'_>) -> Result<Incoming> {
        let Some(Partial { head, mut bytes, .. }) = self.partial.take() else {
            return Err(closed());
        };
        let len = usize::try_from(head.len).unwrap_or(usize::MAX);
        let body = match room {
            Room::Slice(slice) if slice.len() >= len && bytes.is_empty() => Body::InPlace(len),
            // A look may have taken it before there was a slice.
            _ => {
                bytes.truncate(len);
                Body::Owned(bytes)
            }
        };
        let announced = usize::from(head.handles);
        let arrival = match announced {
            0 => Ok(Arrival { number: 0, handles: Vec::new(), lost: false }),
            _ => self.arrival(end),
        };
        self.consumer.count(&end.ring);
        let Arrival { handles, lost, .. } = arrival?;
        Ok(Incoming { body, handles, announced, handles_lost: lost })
    }

    /// The descriptors of the message that is being taken, or given up.
    fn arrival(&mut self, end: &End) -> Result<Arrival> {
        let number = self.consumer.received();
        loop {
            let known = self.stash.iter().position(|arrival| arrival.number == number);
            if let Some(arrival) = known.and_then(|at| self.stash.remove(at)) {
                return Ok(arrival);
            }
            if !self.drain_one(end)? {
                let text = "a message came without its handles";
                return Err(Error::new(ErrorKind::Decode, text));
            }
        }
    }

    /// Takes everything off the socket.
    fn drain(&mut self, end: &End) -> Result<()> {
        while self.drain_one(end)? {}
        Ok(())
    }

    /// Takes one packet off the socket; tells whether there was one.
    fn drain_one(&mut self, end: &End) -> Result<bool> {
        let (mut number, mut handles) = ([0; 8], Vec::new());
        match socket::recv(&end.socket, &mut number, &mut handles, Block::No) {
            Ok(came) if came.bytes == 0 => {
                self.state = if self.state == State::Open { State::Ended } else { self.state };
                Ok(false)
            }
            Ok(came) => {
                if came.bytes == number.len() {
                    let number = u64::from_le_bytes(number);
                    self.stash.push_back(Arrival { number, handles, lost: came.handles_lost });
                }
                Ok(true)
            }
            Err(error) if error.code() == OsCode::WOULD_BLOCK => Ok(false),
            // Told once, when the other end went without having read everything.
            Err(error) if error.code() == OsCode::CONNECTION_RESET => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether there is a whole message, or an error to be told.
    fn is_ready(&mut self, end: &End) -> Result<bool> {
        if self.partial.is_none() {
            if self.consumer.available(&end.ring)? == 0 {
                return Ok(false);
            }
            if !end.ring.streams(self.consumer.head(&end.ring)?.len) {
                return Ok(true);
            }
        }
        // The rest of it comes only as this is taken.
        self.fill(end, &mut Room::AtMost(u64::MAX))
    }
}

/// Where the next bytes of a message go.
fn space<'a>(head: &Head, bytes: &'a mut Vec<u8>, room: &'a mut Room<'_>) -> &'a mut [u8] {
    let len = usize::try_from(head.len).unwrap_or(usize::MAX);
    let taken = usize::try_from(head.taken).unwrap_or(usize::MAX);
    match room {
        Room::Slice(slice) if slice.len() >= len => {
            let before = std::mem::take(bytes);
            if !before.is_empty() {
                slice[..taken].copy_from_slice(&before[..taken]);
            }
            &mut slice[taken..len]
        }
        _ => {
            if bytes.len() == taken && taken < len {
                bytes.resize(len.min((taken * 2).max(STEP)), 0);
            }
            &mut bytes[taken..]
        }
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        let inbox = self.inbox.get_mut();
        if inbox.state != State::Closed {
            self.end.leave(&inbox.claim);
        }
    }
}
