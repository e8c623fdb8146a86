//! A process ends when the one that started it is gone.
//!
//! The system closes what a process holds when it ends, however it ends, and tells the other side: with a signal, if that
//! asks for it, without a thread and without its consent ([`procession_sys::lifeline`]). Two kinds of tie:
//!
//! * **A child** is tied by its courier, whose other end its parent holds until it has learned of the child's end. It is armed
//!   once the last message has been read: what arrives raises the signal as well.
//! * **A fork server** is tied by a pipe, because messages arrive at its courier all the time. The process that started it holds
//!   the writing end for as long as it lives, in a static.
//!
//! Nobody else holds either: all are close-on-exec, and a fork of ours lets go of its parent's ([`Forking`]). A foreign `fork`
//! without `exec` inherits the ends, and then the children live until that process ends as well.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use procession_sys::wipe::{PerProcess, PerProcessGuard, SetOnce};
use procession_sys::{fd, lifeline, process, signal};

use crate::{Courier, Result};

#[derive(Debug)]
struct Held {
    _held: OwnedFd,
    watched: OwnedFd,
}

/// The end that this process holds.
static HELD: PerProcess<Option<Held>> = PerProcess::new();
/// What ties this process to its parent; forks inherit it until they have one of their own.
static TIE: SetOnce<Arc<Courier>> = SetOnce::new();
/// What ties this server; kept open.
static ARMED: SetOnce<OwnedFd> = SetOnce::new();

/// The end that a fork server of this process watches, to be sent to it.
///
/// # Errors
///
/// [`ErrorKind::Os`](crate::ErrorKind::Os) when this process may open no more descriptors.
pub fn for_server() -> Result<OwnedFd> {
    let mut held = HELD.lock()?;
    let current = match held.take() {
        Some(current) => current,
        None => {
            let (end, watched) = lifeline::create()?;
            Held { _held: end, watched }
        }
    };
    let watched = fd::duplicate(&current.watched);
    *held = Some(current);
    Ok(watched?)
}

/// Ties this server to the process that holds the other end of `watched`: it is killed once that is gone, at once if it is.
///
/// # Errors
///
/// [`ErrorKind::Os`](crate::ErrorKind::Os) when `/proc` is not mounted or this process may open no more descriptors.
pub fn tie_server(watched: OwnedFd) -> Result<()> {
    let (armed, is_held) = lifeline::arm_with(watched.as_fd(), signal::KILL)?;
    if !is_held {
        process::exit_now(1);
    }
    ARMED.replace(armed);
    Ok(())
}

/// Ties this process to its parent, at the other end of `courier`, from which nothing more comes: it gets `signal` once the
/// parent is gone; when it is gone by now, this process ends. Without a signal the tie only [tells](parent).
///
/// # Errors
///
/// [`ErrorKind::Os`](crate::ErrorKind::Os) when there is no such signal.
pub fn tie(courier: &Arc<Courier>, signal: Option<i32>) -> Result<()> {
    if let Some(signal) = signal
        && !lifeline::arm_socket(courier.as_fd(), signal)?
    {
        process::exit_now(1);
    }
    TIE.replace(Arc::clone(courier));
    Ok(())
}

/// A descriptor that becomes readable when the parent is gone. None in a process that nobody of ours started.
pub fn parent() -> Option<BorrowedFd<'static>> {
    TIE.get().map(|tie| tie.as_fd())
}

/// The ends that this process holds, while it forks: nobody else touches them.
#[derive(Debug)]
pub struct Forking(PerProcessGuard<'static, Option<Held>>);

impl Forking {
    /// Before the fork.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`](crate::ErrorKind::Os) when the system is out of memory.
    pub fn new() -> Result<Self> {
        Ok(Self(HELD.lock()?))
    }

    /// In the child: lets go of what is the parent's, so that its death is noticed.
    pub fn let_go(mut self) {
        // The lock was ours when the process was copied, so that the value is whole.
        drop(self.0.take());
    }
}
