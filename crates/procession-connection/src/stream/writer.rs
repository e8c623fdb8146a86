//! What goes out: a frame at a time, and the rest of one that a deadline has cut.

use std::os::fd::{AsFd, OwnedFd};

use procession_core::{Deadline, OsCode, Result};
use procession_sys::poll::{self, Watch};
use procession_sys::socket::{self, Block};

use super::{broken, give_up};
use crate::error::closed;
use crate::frame::Head;
use crate::transport::{Outgoing, Sent};

#[derive(Debug, Default)]
pub(super) struct Writer {
    /// What a message that was begun lacks; it goes before anything else.
    rest: Vec<u8>,
    /// How much of that has gone.
    gone: usize,
    /// Whether a message was begun and cannot be finished: nothing may follow it.
    is_torn: bool,
}

impl Writer {
    /// What a stream that was somewhere else had left.
    pub(super) fn with(rest: Vec<u8>, is_torn: bool) -> Self {
        Self { rest, gone: 0, is_torn }
    }

    /// What has to go yet of a message that was begun.
    pub(super) fn rest(&self) -> &[u8] {
        &self.rest[self.gone..]
    }

    pub(super) fn is_torn(&self) -> bool {
        self.is_torn
    }

    pub(super) fn send(
        &mut self,
        socket: &OwnedFd,
        message: &Outgoing<'_>,
        deadline: Deadline,
    ) -> Result<Sent> {
        let head = Head::new(message.len())?;
        if !self.flush(socket, deadline)? {
            return Ok(Sent::No);
        }
        let parts = [head.bytes(), message.parts[0], message.parts[1]];
        let len = parts.iter().map(|part| part.len()).sum();
        let riders: Vec<_> = message.handles.iter().map(AsFd::as_fd).collect();
        let mut gone = 0;
        while gone < len {
            let riders = if gone == 0 { &riders[..] } else { &[] };
            match socket::send(socket, &behind(parts, gone), riders, how(deadline)) {
                Ok(some) => gone += some,
                Err(error) if error.code() == OsCode::WOULD_BLOCK => {
                    if !wait_for_room(socket, deadline)? {
                        return Ok(self.keep(parts, gone));
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

    /// Sends the rest of a message that was begun; tells whether there is nothing left of it.
    pub(super) fn flush(&mut self, socket: &OwnedFd, deadline: Deadline) -> Result<bool> {
        if self.is_torn {
            return Err(closed());
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

    /// The deadline has passed: what is left of a message that was begun goes later.
    fn keep(&mut self, parts: [&[u8]; 3], gone: usize) -> Sent {
        if gone == 0 {
            return Sent::No;
        }
        (self.rest, self.gone) = (behind(parts, gone).concat(), 0);
        Sent::Begun
    }

    fn tear(&mut self, socket: &OwnedFd, gone: usize) {
        if gone > 0 {
            // The other side waits for the rest.
            self.is_torn = true;
            (self.rest, self.gone) = (Vec::new(), 0);
            give_up(socket);
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

/// What of `parts` lies behind the first `gone` bytes.
fn behind(parts: [&[u8]; 3], mut gone: usize) -> [&[u8]; 3] {
    parts.map(|part| {
        let rest = &part[gone.min(part.len())..];
        gone = gone.saturating_sub(part.len());
        rest
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_behind_is_what_is_left() {
        let parts: [&[u8]; 3] = [b"head", b"", b"value"];
        for gone in 0..=9 {
            assert_eq!(behind(parts, gone).concat(), &b"headvalue"[gone..]);
        }
    }
}
