//! Ends a process when another one is gone, without a thread and without its consent.
//!
//! The parent holds the writing end of a pipe into which nobody ever writes; the system closes it when the parent ends,
//! however it ends. The child has its own open file for the reading end and asks the system to send it a signal, `SIGKILL`
//! unless it wants another one, as soon as something happens there. With `SIGKILL` that works while the child spins, blocks all signals, or never calls us again.

#![expect(unsafe_code, reason = "calls fcntl with commands that rustix does not offer")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, fchmod};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::fd::{above_streams, name};
use super::{call, fail, poll, signal};
use crate::{Deadline, Result};

/// `F_SETSIG` of `include/uapi/asm-generic/fcntl.h`; the same number on every Linux platform that we support.
const F_SETSIG: i32 = 10;

/// Makes a lifeline: the end whose last holder's death is watched, and the end to watch it with.
///
/// # Errors
///
/// When this process may open no more descriptors.
///
/// # Source
///
/// `pipe(2)`.
pub fn create() -> Result<(OwnedFd, OwnedFd)> {
    let (watched, held) = call("make a lifeline", String::new, || pipe_with(PipeFlags::CLOEXEC))?;
    let (watched, held) = (above_streams(watched)?, above_streams(held)?);
    // Whoever has the descriptor may open it anew, also after this process has become another user's.
    call("make a lifeline", String::new, || fchmod(&watched, Mode::from_raw_mode(0o444)))?;
    Ok((held, watched))
}

/// Arms the lifeline: this process is killed by `SIGKILL` once the last holder of the other end is gone.
///
/// Tells whether the holder is still there; when it is not, this process should end by itself. Keep the returned
/// descriptor: closing it disarms.
///
/// # Errors
///
/// When `/proc` is not mounted, or this process may open no more descriptors.
///
/// # Source
///
/// `fcntl(2)`: `F_SETOWN`, `F_SETSIG`, `O_ASYNC`. They belong to the open file, not to the descriptor, and several
/// children watch one pipe: so each opens it anew through `/proc/self/fd`.
pub fn arm(watched: BorrowedFd<'_>) -> Result<(OwnedFd, bool)> {
    arm_with(watched, signal::KILL)
}

/// Arms the lifeline as [`arm`] does, with `signal` instead of `SIGKILL`: the process may block, ignore or catch it.
///
/// A child that is forked afterwards gets no signal, because the lifeline names the process that armed it.
///
/// # Errors
///
/// [`INVALID`](crate::OsCode::INVALID) when there is no such signal; otherwise as [`arm`].
///
/// # Source
///
/// `fcntl(2)`: `F_SETOWN`, `F_SETSIG`, `O_ASYNC`.
pub fn arm_with(watched: BorrowedFd<'_>, signal: i32) -> Result<(OwnedFd, bool)> {
    // The system takes zero for `SIGIO`.
    if signal == 0 {
        return Err(fail("arm a lifeline on", name(watched), Errno::INVAL));
    }
    let path = format!("/proc/self/fd/{}", watched.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let own = call("open", || path.clone(), || rustix::fs::open(&path, flags, Mode::empty()))?;
    let own = above_streams(own)?;
    let is_held = signal_on(own.as_fd(), signal, libc::O_NONBLOCK)?;
    Ok((own, is_held))
}

/// Arms one end of a pair of sockets as a lifeline: this process gets `signal` once the last holder of the other end is gone.
/// It would get it as well when something arrives: for ends into which nobody writes any more.
///
/// Tells whether the holder is still there. An end belongs to one process: there is nothing to open anew, which takes
/// ten times as long.
///
/// # Errors
///
/// [`INVALID`](crate::OsCode::INVALID) when there is no such signal.
///
/// # Source
///
/// `fcntl(2)`: `F_SETOWN`, `F_SETSIG`, `O_ASYNC`; `unix_release_sock` of the kernel raises `POLL_HUP`.
pub fn arm_socket(end: BorrowedFd<'_>, signal: i32) -> Result<bool> {
    // The system takes zero for `SIGIO`.
    if signal == 0 {
        return Err(fail("arm a lifeline on", name(end), Errno::INVAL));
    }
    signal_on(end, signal, 0)
}

/// Has `signal` sent to this process when something happens to `end`; tells whether nothing has.
fn signal_on(end: BorrowedFd<'_>, signal: i32, flags: i32) -> Result<bool> {
    control(end, libc::F_SETOWN, super::process::id().cast_signed())?;
    control(end, F_SETSIG, signal)?;
    control(end, libc::F_SETFL, libc::O_ASYNC | flags)?;
    // What happened before the line above raised no signal: look once.
    Ok(!poll::wait_readable(end, Deadline::PAST)?)
}

/// Whether somebody holds the other end of the lifeline whose end `end` is.
///
/// # Errors
///
/// When the system is out of memory.
///
/// # Source
///
/// `poll(2)`: `POLLHUP` on the reading end of a pipe, `POLLERR` on the writing end.
pub fn is_held(end: BorrowedFd<'_>) -> Result<bool> {
    let mut watches = [poll::Watch::hang_up(&end)];
    Ok(poll::wait(&mut watches, Deadline::PAST)? == 0)
}

fn control(fd: BorrowedFd<'_>, command: i32, argument: i32) -> Result<()> {
    // SAFETY: The descriptor is open, and the three commands take a number.
    match unsafe { libc::fcntl(fd.as_raw_fd(), command, argument) } {
        -1 => {
            let code = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
            let code = Errno::from_raw_os_error(code);
            Err(fail("arm a lifeline on", name(fd), code))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_the_watched_end_may_open_it_anew() {
        let (_held, watched) = create().unwrap();
        let mode = rustix::fs::fstat(&watched).unwrap().st_mode;
        assert_eq!(mode & 0o777, 0o444, "a child of another user must be able to");
    }

    #[test]
    fn a_socket_is_a_lifeline() {
        use super::super::socket::seqpacket_pair;
        for signal in [signal::KILL, signal::TERMINATE] {
            let (held, watched) = seqpacket_pair().unwrap();
            let ready = Doorbell::new().unwrap();
            let child = Child::run(|| {
                // The copy that every fork has.
                close_copy(&held);
                assert!(arm_socket(watched.as_fd(), signal).unwrap());
                ready.ring().unwrap();
                loop {
                    std::hint::spin_loop();
                }
            });
            assert!(poll::wait_readable(&ready, soon()).unwrap());
            drop(held);
            let Ended::Signaled { signal: got, .. } = child.ended() else { panic!("it ended") };
            assert_eq!(got, signal);
        }
        let (held, watched) = seqpacket_pair().unwrap();
        drop(held);
        assert!(!alone_is_held(&watched));
    }

    /// Closes this process's copy of a descriptor that it got by a fork.
    fn close_copy(fd: &OwnedFd) {
        // SAFETY: The forked child never drops what it shares the number with.
        unsafe { libc::close(fd.as_raw_fd()) };
    }

    /// Arms in a child, for which the end of the other side is news that comes too late.
    fn alone_is_held(watched: &OwnedFd) -> bool {
        let child =
            Child::run(|| u8::from(arm_socket(watched.as_fd(), signal::TERMINATE).unwrap()));
        child.ended() != Ended::Exited(0)
    }

    use super::super::doorbell::Doorbell;
    use super::super::pidfd::Ended;
    use super::super::signal;
    use super::super::testing::{Child, Talk, alone, first_failed, pause, soon};
    use crate::OsCode;

    #[test]
    fn an_end_tells_whether_the_other_one_is_held() {
        alone(|| {
            let (held, watched) = create().unwrap();
            assert!(is_held(watched.as_fd()).unwrap() && is_held(held.as_fd()).unwrap());
            let second = super::super::fd::duplicate(&held).unwrap();
            drop(held);
            assert!(is_held(watched.as_fd()).unwrap());
            drop(second);
            assert!(!is_held(watched.as_fd()).unwrap());
            let (held, watched) = create().unwrap();
            drop(watched);
            assert!(!is_held(held.as_fd()).unwrap());
        });
    }

    /// Runs `prepare` in a child whose lifeline sends `signal`; returns how it ended when the lifeline was let go.
    fn let_go(signal: i32, prepare: impl Fn() -> Option<&'static Doorbell>) -> Ended {
        let (held, watched) = create().unwrap();
        let mut held = Some(held);
        let talk = Talk::new();
        let child = Child::run(|| {
            held.take();
            let bell = prepare();
            let (_armed, is_held) = arm_with(watched.as_fd(), signal).unwrap();
            assert!(is_held);
            talk.tell(b"r");
            match bell {
                Some(bell) => first_failed(&[poll::wait_readable(bell, soon()).unwrap()]),
                None => pause(),
            }
        });
        talk.listen(&mut [0]);
        drop(held);
        child.ended()
    }

    fn died_of(signal: i32) -> Ended {
        Ended::Signaled { signal, core_dumped: false }
    }

    #[test]
    fn a_lifeline_sends_the_signal_that_it_was_armed_with() {
        alone(|| {
            for signal in [signal::KILL, signal::TERMINATE, signal::USER_1] {
                assert_eq!(let_go(signal, || None), died_of(signal));
            }
        });
    }

    #[test]
    fn a_lifeline_is_no_terminal() {
        alone(|| {
            let prepare = || {
                signal::ignore_terminal_interrupt().unwrap();
                None
            };
            assert_eq!(let_go(signal::INTERRUPT, prepare), died_of(signal::INTERRUPT));
        });
    }

    #[test]
    fn the_signal_of_a_lifeline_can_be_caught() {
        alone(|| {
            let bell: &Doorbell = Box::leak(Box::new(Doorbell::new().unwrap()));
            let prepare = || {
                signal::catch(signal::TERMINATE, bell, 1).unwrap();
                Some(bell)
            };
            assert_eq!(let_go(signal::TERMINATE, prepare), Ended::Exited(0));
        });
    }

    #[test]
    fn a_lifeline_that_nobody_holds_is_told() {
        alone(|| {
            let (held, watched) = create().unwrap();
            drop(held);
            // The lifeline is armed in a process that does not block the signal: it has come already, or never will.
            let (_armed, is_held) = arm_with(watched.as_fd(), signal::TERMINATE).unwrap();
            assert!(!is_held);
        });
    }

    #[test]
    fn a_lifeline_takes_signals_only() {
        let (_held, watched) = create().unwrap();
        for signal in [-1, 0, 65] {
            let error = arm_with(watched.as_fd(), signal).unwrap_err();
            assert_eq!(error.code(), OsCode::INVALID, "signal {signal}");
        }
    }
}
