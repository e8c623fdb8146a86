//! More descriptors than one packet carries.
//!
//! The system moves at most [`MAX_HANDLES`] descriptors at a time. A message with more puts them, packet by packet, into
//! a socket of its own and sends that one socket: so a message is one packet whatever it holds, and there is no state
//! in which half of it has gone.

use std::os::fd::{AsFd, OwnedFd};

use procession_sys::socket::{Block, MAX_HANDLES, recv, send, seqpacket_pair};

use crate::{Error, ErrorKind, OsCode, OsError, Result};

/// How many descriptors a message may hold before they are bundled; one place is kept for the message's own content.
pub const MOST: usize = MAX_HANDLES - 1;

/// Makes the socket that holds copies of all `handles`, if they do not fit one packet.
///
/// # Errors
///
/// [`ErrorKind::Os`] when the system refuses to have that many under way (`ETOOMANYREFS`, `unix(7)`).
pub fn bundle(handles: &[OwnedFd]) -> Result<Option<OwnedFd>> {
    if handles.len() <= MOST {
        return Ok(None);
    }
    let (sender, receiver) = seqpacket_pair()?;
    for some in handles.chunks(MAX_HANDLES) {
        let borrowed: Vec<_> = some.iter().map(AsFd::as_fd).collect();
        send(&sender, &[b"H"], &borrowed, Block::No)?;
    }
    Ok(Some(receiver))
}

/// Undoes [`bundle`], for a message that announced `count` descriptors.
///
/// # Errors
///
/// [`ErrorKind::Decode`] when another number of them came; [`handles_lost`] when this process may not open that many.
pub fn unbundle(mut received: Vec<OwnedFd>, count: usize) -> Result<Vec<OwnedFd>> {
    if count > MOST && received.len() == 1 {
        let socket = received.remove(0);
        while received.len() < count {
            // What is no bundle, or has less in it than was said, is somebody else's mistake.
            let Ok(came) = recv(&socket, &mut [0], &mut received, Block::No) else { break };
            if came.handles_lost {
                return Err(handles_lost());
            }
            if came.bytes == 0 {
                break;
            }
        }
    }
    if received.len() != count {
        let text = format!("a message announced {count} handles and brought {}", received.len());
        return Err(Error::new(ErrorKind::Decode, text));
    }
    Ok(received)
}

/// The error of a message whose descriptors this process could not take: [`ErrorKind::Os`], `EMFILE`.
///
/// The system says only that some were lost. The limit on open descriptors is the reason that a program can run into;
/// a full table of the whole system and a security module that refuses look the same.
pub fn handles_lost() -> Error {
    OsError::new("take the handles of", "a message", OsCode::TOO_MANY_OPEN).into()
}
