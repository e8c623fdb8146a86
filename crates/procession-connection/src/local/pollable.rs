//! A descriptor to poll that tells the truth about an end of a pipe, for whoever asks.
//!
//! An epoll, which can itself be polled, over the socket (a message for a sleeping reader; hang-up), a bell that this process rings
//! as long as there is something in the ring, and the pidfd of whoever has the other end: so its death is seen although a
//! forked sibling has a copy of its socket.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use procession_core::Result;
use procession_sys::doorbell::Doorbell;
use procession_sys::poll::Set;
use procession_sys::prim::Ordering::Relaxed;
use procession_sys::prim::{AtomicBool, Mutex, lock};

#[derive(Debug)]
pub(super) struct Pollable {
    set: Set,
    bell: Doorbell,
    /// Whether the bell was rung; changed by the one whose turn it is.
    is_rung: AtomicBool,
    watched: Mutex<Option<Arc<OwnedFd>>>,
}

impl Pollable {
    pub(super) fn new(socket: impl AsFd) -> Result<Self> {
        let (set, bell) = (Set::new()?, Doorbell::new()?);
        set.add(socket)?;
        set.add(&bell)?;
        Ok(Self { set, bell, is_rung: AtomicBool::new(false), watched: Mutex::new(None) })
    }

    /// Makes it readable, or readable only when something comes.
    pub(super) fn set(&self, is_ready: bool) -> Result<()> {
        if self.is_rung.swap(is_ready, Relaxed) != is_ready {
            match is_ready {
                true => self.bell.ring()?,
                false => drop(self.bell.silence()?),
            }
        }
        Ok(())
    }

    /// Watches this process, and no other.
    pub(super) fn watch(&self, pidfd: Option<&Arc<OwnedFd>>) -> Result<()> {
        let mut watched = lock(&self.watched);
        let is_same = match (&*watched, pidfd) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            if let Some(old) = watched.take() {
                self.set.remove(&*old)?;
            }
            if let Some(new) = pidfd {
                self.set.add(&**new)?;
                *watched = Some(Arc::clone(new));
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
