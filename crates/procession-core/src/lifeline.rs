//! A child ends when its parent is gone.
//!
//! Each process that starts children holds the one end of a pipe; each child watches the other end, with the system's
//! help and without a thread ([`procession_sys::lifeline`]). Who holds what:
//!
//! * the parent holds the writing end for as long as it lives, in a static;
//! * a child holds the reading end for as long as it lives, in a static: armed, unless it shall outlive its parent;
//! * nobody else: both are close-on-exec, and a fork of ours lets go of its parent's ([`Forking`]). A foreign `fork` without
//!   `exec` inherits the writing end, and then the children live until that process ends as well.

use std::os::fd::{AsFd, OwnedFd};

use procession_sys::wipe::{PerProcess, PerProcessGuard, SetOnce};
use procession_sys::{fd, lifeline, process};

use crate::Result;

#[derive(Debug)]
struct Held {
    _held: OwnedFd,
    watched: OwnedFd,
}

/// The end that this process holds.
static HELD: PerProcess<Option<Held>> = PerProcess::new();
/// The end that this process watches; forks inherit it until they have one of their own.
static WATCHED: SetOnce<OwnedFd> = SetOnce::new();

/// The end that a child of this process watches, to be sent to it.
///
/// # Errors
///
/// [`ErrorKind::Os`](crate::ErrorKind::Os) when this process may open no more descriptors.
pub fn for_child() -> Result<OwnedFd> {
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

/// Ties this process to its parent, whose end `watched` is: it gets `signal` once the parent is gone, at once if it is.
/// Without a signal the tie only tells ([`parent`]).
///
/// # Errors
///
/// [`ErrorKind::Os`](crate::ErrorKind::Os) when `/proc` is not mounted or this process may open no more descriptors.
pub fn arm(watched: OwnedFd, signal: Option<i32>) -> Result<()> {
    let watched = match signal {
        None => watched,
        Some(signal) => {
            let (armed, parent_lives) = lifeline::arm_with(watched.as_fd(), signal)?;
            if !parent_lives {
                process::exit_now(1);
            }
            armed
        }
    };
    WATCHED.replace(watched);
    Ok(())
}

/// The end that this process watches: it hangs up when the parent is gone. None in a process that nobody of ours started.
pub fn parent() -> Option<&'static OwnedFd> {
    WATCHED.get()
}

/// The lifeline while this process forks: nobody else touches it.
#[derive(Debug)]
pub struct Forking {
    held: PerProcessGuard<'static, Option<Held>>,
    watched: OwnedFd,
}

impl Forking {
    /// Before the fork.
    ///
    /// # Errors
    ///
    /// As [`for_child`].
    pub fn new() -> Result<Self> {
        let watched = for_child()?;
        Ok(Self { held: HELD.lock()?, watched })
    }

    /// In the child: lets go of what is the parent's, so that its death is noticed, and ties this process to it.
    ///
    /// # Errors
    ///
    /// As [`arm`].
    pub fn arm(mut self, signal: Option<i32>) -> Result<()> {
        // The lock was ours when the process was copied, so that the value is whole.
        drop(self.held.take());
        drop(self.held);
        arm(self.watched, signal)
    }
}
