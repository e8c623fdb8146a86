//! Claims on numbers of a file that live as long as a descriptor, wherever that is: in a process, or in a message that
//! nobody has read yet.
//!
//! A *ticket* is a way of its own into a file (an open file description), and can be sent. It claims numbers, any of them
//! together with other tickets; whoever has the file can ask whether a number is claimed. When the last descriptor of a ticket
//! is closed, by whomever, because a process ended or because a socket was closed with the message in it, the system takes back
//! its claims. The content of the file is not touched, nor need it be as long as the numbers are high.

#![expect(
    unsafe_code,
    reason = "locks ranges for open file descriptions, which rustix does not offer"
)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, fstat};

use super::fd::{above_streams, name};
use super::{call, checked};
use crate::Result;

/// A new ticket for `file`, without claims.
///
/// # Errors
///
/// When `/proc` is not mounted, or this process may open no more descriptors.
///
/// # Source
///
/// `open(2)` of `/proc/self/fd`, `proc_pid_fd(5)`.
pub fn ticket(file: impl AsFd) -> Result<OwnedFd> {
    let file = file.as_fd();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    above_streams(call(
        "open anew",
        || name(file),
        || rustix::fs::open(&path, flags, Mode::empty()),
    )?)
}

/// Claims `number` for the ticket; beside its other claims, and those of other tickets.
///
/// # Errors
///
/// [`NO_LOCKS`](crate::OsCode) when the system has no room for another claim.
///
/// # Source
///
/// `fcntl(2)`, `F_OFD_SETLK` with `F_RDLCK` on one byte.
pub fn claim(ticket: impl AsFd, number: u32) -> Result<()> {
    let mut range = range(libc::F_RDLCK, number);
    fcntl("claim a number of", ticket.as_fd(), libc::F_OFD_SETLK, &mut range)
}

/// Whether any ticket claims `number`. `file` is not a ticket itself.
///
/// # Errors
///
/// None in practice.
///
/// # Source
///
/// `fcntl(2)`, `F_OFD_GETLK`.
pub fn is_claimed(file: impl AsFd, number: u32) -> Result<bool> {
    let mut range = range(libc::F_WRLCK, number);
    fcntl("look for claims on", file.as_fd(), libc::F_OFD_GETLK, &mut range)?;
    Ok(i32::from(range.l_type) != libc::F_UNLCK)
}

/// Whether two descriptors are of the same file.
///
/// # Errors
///
/// None in practice.
///
/// # Source
///
/// `fstat(2)`.
pub fn is_same_file(one: impl AsFd, other: impl AsFd) -> Result<bool> {
    let identity = |file: BorrowedFd<'_>| {
        let status = call("look at", || name(file), || fstat(file))?;
        Ok((status.st_dev, status.st_ino))
    };
    Ok(identity(one.as_fd())? == identity(other.as_fd())?)
}

fn range(kind: i32, number: u32) -> libc::flock64 {
    libc::flock64 {
        l_type: libc::c_short::try_from(kind).unwrap_or_default(),
        l_whence: libc::c_short::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: libc::off64_t::from(number),
        l_len: 1,
        // Must be zero for locks of open file descriptions.
        l_pid: 0,
    }
}

fn fcntl(
    operation: &'static str,
    file: BorrowedFd<'_>,
    command: i32,
    range: &mut libc::flock64,
) -> Result<()> {
    call(
        operation,
        || name(file),
        || {
            // SAFETY: The descriptor is open; the command reads and writes one `flock64`, which `range` is.
            checked(unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(range)) })
        },
    )
}

#[cfg(test)]
mod tests {
    use super::super::fd::duplicate;
    use super::super::memory::SharedWords;
    use super::super::socket::{Block, recv, send, seqpacket_pair};
    use super::*;

    #[test]
    fn claims_live_as_long_as_any_descriptor_of_their_ticket() {
        let file = SharedWords::create(1).unwrap();
        let (one, other) = (ticket(&file).unwrap(), ticket(&file).unwrap());
        assert!(is_same_file(&file, &one).unwrap());
        assert!(!is_same_file(&file, SharedWords::create(1).unwrap()).unwrap());
        claim(&one, 7).unwrap();
        claim(&one, 8).unwrap();
        claim(&other, 7).unwrap();
        let claimed = |number| is_claimed(&file, number).unwrap();
        assert!(claimed(7) && claimed(8) && !claimed(6) && !claimed(9));
        let copy = duplicate(&one).unwrap();
        drop(one);
        assert!(claimed(8));
        drop(copy);
        assert!(claimed(7) && !claimed(8));
        drop(other);
        assert!(!claimed(7));
    }

    #[test]
    fn a_message_that_nobody_reads_keeps_its_claims_until_it_is_gone() {
        let file = SharedWords::create(1).unwrap();
        let (sender, receiver) = seqpacket_pair().unwrap();
        for is_read in [true, false] {
            let ticket = ticket(&file).unwrap();
            claim(&ticket, u32::MAX).unwrap();
            send(&sender, &[b"x"], &[ticket.as_fd()], Block::No).unwrap();
            drop(ticket);
            assert!(is_claimed(&file, u32::MAX).unwrap());
            if is_read {
                let mut came = Vec::new();
                assert_eq!(recv(&receiver, &mut [0], &mut came, Block::No).unwrap().bytes, 1);
                assert!(is_claimed(&file, u32::MAX).unwrap());
                drop(came);
                assert!(!is_claimed(&file, u32::MAX).unwrap());
            }
        }
        drop(receiver);
        assert!(!is_claimed(&file, u32::MAX).unwrap());
    }
}
