//! A descriptor to poll that tells the truth about a stream, for whoever asks.
//!
//! A set of the socket, and of a bell that is rung as long as a message lies in the reader, where the socket does not know of it.

use std::os::fd::{AsFd, BorrowedFd};

use procession_core::Result;
use procession_sys::doorbell::Doorbell;
use procession_sys::poll::Set;
use procession_sys::prim::AtomicBool;
use procession_sys::prim::Ordering::Relaxed;

#[derive(Debug)]
pub(super) struct Pollable {
    set: Set,
    bell: Doorbell,
    /// Whether the bell was rung; changed by the one whose turn it is to receive.
    is_rung: AtomicBool,
}

impl Pollable {
    pub(super) fn new(socket: impl AsFd) -> Result<Self> {
        let (set, bell) = (Set::new()?, Doorbell::new()?);
        set.add(socket)?;
        set.add(&bell)?;
        Ok(Self { set, bell, is_rung: AtomicBool::new(false) })
    }

    /// Makes it readable, or readable only when something comes.
    pub(super) fn set(&self, is_ready: bool) -> Result<()> {
        // ORDERING: Relaxed: whose turn it is sees what the last one did.
        if self.is_rung.swap(is_ready, Relaxed) != is_ready {
            match is_ready {
                true => self.bell.ring()?,
                false => drop(self.bell.silence()?),
            }
        }
        Ok(())
    }
}

impl AsFd for Pollable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }
}
