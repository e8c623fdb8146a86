//! A descriptor that one thread rings to end another thread's wait.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use super::fd::above_streams;
use super::{call, fail};
use crate::Result;

/// A bell: [`ring`](Self::ring) makes its descriptor readable until [`silence`](Self::silence).
///
/// Ringing twice is as good as ringing once; it never waits.
#[derive(Debug)]
pub struct Doorbell(OwnedFd);

impl Doorbell {
    /// Makes a silent bell.
    ///
    /// # Errors
    ///
    /// When this process may open no more descriptors.
    ///
    /// # Source
    ///
    /// `eventfd(2)`.
    pub fn new() -> Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let bell = call("make a doorbell", String::new, || eventfd(0, flags))?;
        above_streams(bell).map(Self)
    }

    /// Makes the descriptor readable.
    ///
    /// # Errors
    ///
    /// None in practice: the call fails only for a descriptor that is no doorbell.
    ///
    /// # Source
    ///
    /// `eventfd(2)`, write: a counter that is already full is readable as well.
    pub fn ring(&self) -> Result<()> {
        match rustix::io::retry_on_intr(|| rustix::io::write(&self.0, &1u64.to_ne_bytes())) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(code) => Err(fail("ring a doorbell", String::new(), code)),
        }
    }

    /// Makes the descriptor unreadable; tells whether it had been rung.
    ///
    /// # Errors
    ///
    /// None in practice: the call fails only for a descriptor that is no doorbell.
    ///
    /// # Source
    ///
    /// `eventfd(2)`, read.
    pub fn silence(&self) -> Result<bool> {
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut [0; 8])) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(code) => Err(fail("silence a doorbell", String::new(), code)),
        }
    }
}

impl From<OwnedFd> for Doorbell {
    /// That of another process, which sent it here.
    fn from(bell: OwnedFd) -> Self {
        Self(bell)
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
