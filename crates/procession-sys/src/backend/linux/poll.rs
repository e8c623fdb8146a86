//! Waiting for descriptors.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use rustix::io::Errno;

use super::fd::{above_streams, name};
use super::{call, fail};
use crate::{Deadline, Result};

/// What to wait for on a descriptor, and what became of it.
#[derive(Debug)]
pub struct Watch<'fd> {
    fd: BorrowedFd<'fd>,
    flags: PollFlags,
    seen: PollFlags,
}

impl<'fd> Watch<'fd> {
    /// Watches for data, or for the end of the other side.
    pub fn readable(fd: &'fd impl AsFd) -> Self {
        Self { fd: fd.as_fd(), flags: PollFlags::IN, seen: PollFlags::empty() }
    }

    /// Watches for room to write, or for the end of the other side.
    pub fn writable(fd: &'fd impl AsFd) -> Self {
        Self { fd: fd.as_fd(), flags: PollFlags::OUT, seen: PollFlags::empty() }
    }

    /// Watches for the end of the other side only.
    pub fn hang_up(fd: &'fd impl AsFd) -> Self {
        Self { fd: fd.as_fd(), flags: PollFlags::empty(), seen: PollFlags::empty() }
    }

    /// Whether a call on the descriptor would not wait now: it has data or room, or it has ended, or it is in error.
    pub fn is_ready(&self) -> bool {
        !self.seen.is_empty()
    }

    /// Whether the other side is gone.
    pub fn has_hung_up(&self) -> bool {
        self.seen.contains(PollFlags::HUP)
    }
}

/// Waits until one of `watches` is ready or the deadline passes; tells how many are ready.
///
/// A signal does not end the wait.
///
/// # Errors
///
/// When the system is out of memory.
///
/// # Source
///
/// `poll(2)`.
pub fn wait(watches: &mut [Watch<'_>], deadline: Deadline) -> Result<usize> {
    let mut set: Vec<PollFd<'_>> =
        watches.iter().map(|watch| PollFd::from_borrowed_fd(watch.fd, watch.flags)).collect();
    let ready = wait_set(&mut set, deadline)?;
    for (watch, polled) in watches.iter_mut().zip(&set) {
        watch.seen = polled.revents();
    }
    Ok(ready)
}

/// Waits until `fd` has data or its other side has ended; tells whether that came before the deadline.
///
/// # Errors
///
/// When the system is out of memory.
///
/// # Source
///
/// `poll(2)`.
pub fn wait_readable(fd: impl AsFd, deadline: Deadline) -> Result<bool> {
    let mut set = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    Ok(wait_set(&mut set, deadline)? > 0)
}

fn wait_set(set: &mut [PollFd<'_>], deadline: Deadline) -> Result<usize> {
    loop {
        // A duration beyond the system's range is shortened to it: the loop comes round again, in a few thousand years.
        let timeout = deadline.remaining().map(|left| {
            Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
        });
        match rustix::event::poll(set, timeout.as_ref()) {
            Ok(ready) => return Ok(ready),
            // It has looked at all of them before it said so (`do_poll` in the kernel's `fs/select.c`). To look again would be to look for
            // ever, where signals come faster than it can look at so many.
            Err(Errno::INTR) if deadline.has_passed() => return Ok(0),
            Err(Errno::INTR) => {}
            Err(code) => return Err(fail("wait for descriptors", String::new(), code)),
        }
    }
}

/// A set of descriptors that is itself a descriptor: readable while one of them is, or has hung up.
#[derive(Debug)]
pub struct Set(OwnedFd);

impl Set {
    /// Makes an empty one.
    ///
    /// # Errors
    ///
    /// When this process may open no more descriptors.
    ///
    /// # Source
    ///
    /// `epoll_create(2)`; `epoll(7)`: the descriptor of a set can be polled.
    pub fn new() -> Result<Self> {
        let set =
            call("make a set to poll", String::new, || epoll::create(epoll::CreateFlags::CLOEXEC))?;
        above_streams(set).map(Self)
    }

    /// Adds a descriptor, which leaves the set when the last copy of it is closed.
    ///
    /// # Errors
    ///
    /// When it is a member already, or the system is out of memory or of watches (`epoll_ctl(2)`, `ENOSPC`).
    ///
    /// # Source
    ///
    /// `epoll_ctl(2)`, `EPOLL_CTL_ADD` with `EPOLLIN`, level-triggered.
    pub fn add(&self, fd: impl AsFd) -> Result<()> {
        let fd = fd.as_fd();
        call(
            "poll",
            || name(fd),
            || epoll::add(&self.0, fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN),
        )
    }

    /// Takes a descriptor out.
    ///
    /// # Errors
    ///
    /// When it is no member.
    ///
    /// # Source
    ///
    /// `epoll_ctl(2)`, `EPOLL_CTL_DEL`.
    pub fn remove(&self, fd: impl AsFd) -> Result<()> {
        let fd = fd.as_fd();
        call("poll no more", || name(fd), || epoll::delete(&self.0, fd))
    }
}

impl AsFd for Set {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
