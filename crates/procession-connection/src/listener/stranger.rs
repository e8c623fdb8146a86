//! Who has connected and has not proved yet that it knows the key.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use procession_core::{Deadline, OsCode, Result};
use procession_sys::net;
use procession_sys::socket::Block;

use crate::address::Address;
use crate::auth::handshake::{Frame, Handshake, LONGEST, Step, Then};
use crate::frame::Head;

/// How many bytes stand before a frame of a handshake.
const HEAD: usize = 4;

/// A connection in its handshake.
///
/// It is read frame by frame and not beyond, so that what stands behind the handshake, with its descriptors, is left to the
/// connection; and without taking any descriptors.
#[derive(Debug)]
pub(super) struct Stranger {
    socket: OwnedFd,
    peer: Option<Address>,
    handshake: Handshake,
    /// What has come of the next frame.
    bytes: [u8; HEAD + LONGEST],
    filled: usize,
    until: Instant,
}

/// How far a stranger is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It has to say more.
    Waits,
    /// It knows the key.
    Passed,
    /// It does not; why.
    Failed(&'static str),
}

const GONE: Progress = Progress::Failed("the other side went away in the middle of the handshake");

impl Stranger {
    /// Begins the handshake; `None` when the other side is gone already.
    pub(super) fn meet(
        socket: OwnedFd,
        peer: Option<Address>,
        mut handshake: Handshake,
        until: Instant,
    ) -> Result<Option<Self>> {
        let first = handshake.begin()?;
        let bytes = [0; HEAD + LONGEST];
        let this = Self { socket, peer, handshake, bytes, filled: 0, until };
        let said = first.is_none_or(|frame| this.say(&frame));
        Ok(said.then_some(this))
    }

    /// Takes what has come, and answers.
    pub(super) fn go_on(&mut self) -> Result<Progress> {
        loop {
            if let Some(progress) = self.read() {
                return Ok(progress);
            }
            // Of another length: it is refused without a look at what it says.
            let frame = if self.is_head_right() { &self.bytes[HEAD..self.filled] } else { &[] };
            let Step { reply, then } = self.handshake.take(frame)?;
            self.filled = 0;
            let said = reply.is_none_or(|frame| self.say(&frame));
            match then {
                Then::Failed(why) => return Ok(Progress::Failed(why)),
                Then::Passed if said => return Ok(Progress::Passed),
                Then::GoOn if said => {}
                _ => return Ok(GONE),
            }
        }
    }

    /// Reads until the frame is whole, or cannot be a right one; what there is to say when it is neither.
    fn read(&mut self) -> Option<Progress> {
        let len = HEAD + self.handshake.expects();
        loop {
            let is_wrong = self.filled >= HEAD && !self.is_head_right();
            if is_wrong || self.filled == len {
                return None;
            }
            let wanted = if self.filled < HEAD { HEAD } else { len };
            match net::recv_into(&self.socket, &mut self.bytes[self.filled..wanted], Block::No) {
                Ok(0) => return Some(GONE),
                Ok(came) => self.filled += came,
                Err(error) if error.code() == OsCode::WOULD_BLOCK => return Some(Progress::Waits),
                Err(_broken) => return Some(GONE),
            }
        }
    }

    /// Whether the head is that of a frame of the length that must come.
    fn is_head_right(&self) -> bool {
        let right = Head::new(self.handshake.expects());
        right.is_ok_and(|right| right.bytes() == &self.bytes[..HEAD])
    }

    /// When its time is over.
    pub(super) fn deadline(&self) -> Deadline {
        Deadline::at(self.until)
    }

    /// Gives it more time.
    pub(super) fn wait_longer(&mut self, more: Duration) {
        self.until = self.until.checked_add(more).unwrap_or(self.until);
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Who it is, as far as the system tells.
    pub(super) fn peer(&self) -> Option<&Address> {
        self.peer.as_ref()
    }

    pub(super) fn into_parts(self) -> (OwnedFd, Option<Address>) {
        (self.socket, self.peer)
    }

    /// Sends a frame; tells whether it went. There is room for all that is said before the other side has said its part.
    fn say(&self, frame: &Frame) -> bool {
        let Ok(head) = Head::new(frame.len()) else { return false };
        let bytes = [head.bytes(), frame].concat();
        net::send_at_once(&self.socket, &bytes).unwrap_or(false)
    }
}
