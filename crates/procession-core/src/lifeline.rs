//! A child ends when its parent is gone.
//!
//! Each process that starts children holds the one end of a pipe; each child watches the other end, with the system's
//! help and without a thread ([`procession_sys::lifeline`]). Who holds what:
//!
//! * the parent holds the writing end for as long as it lives, in a static;
//! * a child holds the reading end, armed, for as long as it lives, in a static;
//! * nobody else: both are close-on-exec. A foreign `fork` without `exec` inherits the writing end, and then the children
//!   live until that process ends as well.

use std::os::fd::OwnedFd;

use procession_sys::prim::{Mutex, lock};
use procession_sys::{fd, lifeline, process};

use crate::Result;

struct Held {
    /// Who made it: after a fork the child makes its own.
    pid: u32,
    _held: OwnedFd,
    watched: OwnedFd,
}

static HELD: Mutex<Option<Held>> = Mutex::new(None);
static ARMED: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// The end that a child of this process watches, to be sent to it.
///
/// # Errors
///
/// [`ErrorKind::Os`](crate::ErrorKind::Os) when this process may open no more descriptors.
pub fn for_child() -> Result<OwnedFd> {
    let mut held = lock(&HELD);
    let pid = process::id();
    let current = match held.take() {
        Some(current) if current.pid == pid => current,
        _ => {
            let (end, watched) = lifeline::create()?;
            Held { pid, _held: end, watched }
        }
    };
    let watched = fd::duplicate(&current.watched);
    *held = Some(current);
    Ok(watched?)
}

/// Ties this process to its parent, whose end `watched` is: it is killed once the parent is gone, at once if it is.
///
/// # Errors
///
/// [`ErrorKind::Os`](crate::ErrorKind::Os) when `/proc` is not mounted or this process may open no more descriptors.
pub fn arm(watched: OwnedFd) -> Result<()> {
    let (armed, parent_lives) = lifeline::arm(std::os::fd::AsFd::as_fd(&watched))?;
    if !parent_lives {
        process::exit_now(1);
    }
    *lock(&ARMED) = Some(armed);
    Ok(())
}
