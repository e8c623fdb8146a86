//! Signal numbers, names, effects and masks.

#![expect(unsafe_code, reason = "calls the C library")]

mod caught;

pub use caught::{catch, die_of, ignore_terminal_interrupt, times_caught};

use std::mem::MaybeUninit;

use rustix::io::Errno;

use super::fail;
use crate::Result;

/// Asks a process to end; it may refuse.
pub const TERMINATE: i32 = libc::SIGTERM;
/// Ends a process; it cannot refuse.
pub const KILL: i32 = libc::SIGKILL;
/// Stops a process until [`CONTINUE`].
pub const STOP: i32 = libc::SIGSTOP;
/// Lets a stopped process go on.
pub const CONTINUE: i32 = libc::SIGCONT;
/// What the C library raises in a process that gives up.
pub const ABORT: i32 = libc::SIGABRT;
/// What a process gets that touches memory it must not.
pub const SEGMENT: i32 = libc::SIGSEGV;
/// What the terminal's Ctrl-C sends.
pub const INTERRUPT: i32 = libc::SIGINT;
/// What a process gets whose terminal is gone.
pub const HANG_UP: i32 = libc::SIGHUP;
/// Tells a process that a child of it has ended or stopped.
pub const CHILD: i32 = libc::SIGCHLD;
/// Means what a program wants it to.
pub const USER_1: i32 = libc::SIGUSR1;
/// Means what a program wants it to.
pub const USER_2: i32 = libc::SIGUSR2;

/// The name of a signal, or `None` for a number without one.
///
/// # Source
///
/// `signal(7)`.
pub fn name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGSTKFLT => "SIGSTKFLT",
        libc::SIGCHLD => "SIGCHLD",
        libc::SIGCONT => "SIGCONT",
        libc::SIGSTOP => "SIGSTOP",
        libc::SIGTSTP => "SIGTSTP",
        libc::SIGTTIN => "SIGTTIN",
        libc::SIGTTOU => "SIGTTOU",
        libc::SIGURG => "SIGURG",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGVTALRM => "SIGVTALRM",
        libc::SIGPROF => "SIGPROF",
        libc::SIGWINCH => "SIGWINCH",
        libc::SIGIO => "SIGIO",
        libc::SIGPWR => "SIGPWR",
        libc::SIGSYS => "SIGSYS",
        _ => return None,
    })
}

/// A set of signals, as a number that can be sent: signal `n` is bit `n - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask(u64);

impl Mask {
    const SIGNALS: std::ops::RangeInclusive<i32> = 1..=64;

    /// The set with these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits of this set.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// This set and the signals by which a terminal stops processes.
    #[must_use]
    pub fn with_job_control(self) -> Self {
        let stops = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
        Self(stops.iter().fold(self.0, |bits, signal| bits | 1 << (signal - 1)))
    }

    pub(super) fn to_set(self) -> libc::sigset_t {
        let mut set = empty_set();
        for signal in Self::SIGNALS {
            if self.0 & (1 << (signal - 1)) != 0 {
                // SAFETY: `set` is initialised. Numbers that the C library keeps for itself are refused, harmlessly.
                unsafe { libc::sigaddset(&raw mut set, signal) };
            }
        }
        set
    }

    fn from_set(set: &libc::sigset_t) -> Self {
        let mut bits = 0;
        for signal in Self::SIGNALS {
            // SAFETY: `set` is initialised.
            if unsafe { libc::sigismember(std::ptr::from_ref(set), signal) } == 1 {
                bits |= 1 << (signal - 1);
            }
        }
        Self(bits)
    }
}

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: The pointer is valid for writing a set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: `sigemptyset` initialises the set and does not fail.
    unsafe { set.assume_init() }
}

/// What a signal does to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// What the system does by default: for most signals, the process ends.
    Default,
    /// Nothing.
    Ignored,
    /// A function of the program runs.
    Handled,
}

/// Makes this process ignore `signal`; tells whether it did before.
///
/// # Errors
///
/// [`INVALID`](crate::OsCode::INVALID) when there is no such signal, or it cannot be ignored.
///
/// # Source
///
/// `sigaction(2)`, `SIG_IGN`.
pub fn ignore(signal: i32) -> Result<bool> {
    set_disposition(signal, libc::SIG_IGN)
}

/// Gives `signal` its default effect on this process; tells whether it was ignored before.
///
/// # Errors
///
/// [`INVALID`](crate::OsCode::INVALID) when there is no such signal.
///
/// # Source
///
/// `sigaction(2)`, `SIG_DFL`.
pub fn restore_default(signal: i32) -> Result<bool> {
    set_disposition(signal, libc::SIG_DFL)
}

/// What `signal` does to this process.
///
/// # Errors
///
/// [`INVALID`](crate::OsCode::INVALID) when there is no such signal.
///
/// # Source
///
/// `sigaction(2)`.
pub fn disposition(signal: i32) -> Result<Disposition> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: Without a new action the call only writes the present one, for which there is room.
    match unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) } {
        0 => {
            // SAFETY: The call wrote it, and all of it was zero before.
            let action = unsafe { action.assume_init() };
            Ok(match action.sa_sigaction {
                libc::SIG_DFL => Disposition::Default,
                libc::SIG_IGN => Disposition::Ignored,
                _ => Disposition::Handled,
            })
        }
        _ => Err(fail("read the effect of", subject(signal), Errno::INVAL)),
    }
}

/// Whether this process ignores `signal`.
///
/// # Errors
///
/// [`INVALID`](crate::OsCode::INVALID) when there is no such signal.
///
/// # Source
///
/// `sigaction(2)`.
pub fn is_ignored(signal: i32) -> Result<bool> {
    Ok(disposition(signal)? == Disposition::Ignored)
}

fn set_disposition(signal: i32, disposition: libc::sighandler_t) -> Result<bool> {
    // SAFETY: The two dispositions are not functions: nothing of this program is called.
    match unsafe { libc::signal(signal, disposition) } {
        libc::SIG_ERR => Err(fail("change the effect of", subject(signal), Errno::INVAL)),
        before => Ok(before == libc::SIG_IGN),
    }
}

fn subject(signal: i32) -> String {
    format!("signal {signal}")
}

/// The signals that this thread blocks.
///
/// # Errors
///
/// None in practice.
///
/// # Source
///
/// `pthread_sigmask(3)`.
pub fn thread_mask() -> Result<Mask> {
    let mut set = empty_set();
    // SAFETY: Without a new set the call only reads the mask into `set`, which is valid for writing.
    let code = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut set) };
    checked(code).map(|()| Mask::from_set(&set))
}

/// Calls `f` with all signals blocked in this thread: a thread that is started meanwhile blocks them for good, so that none
/// of the host's signals is delivered to it.
///
/// # Errors
///
/// None in practice.
///
/// # Source
///
/// `pthread_sigmask(3)`; a new thread inherits the mask of its creator (`pthreads(7)`).
pub fn while_blocked<T>(f: impl FnOnce() -> T) -> Result<T> {
    let before = thread_mask()?;
    set_thread_mask(Mask::from_bits(u64::MAX))?;
    let value = f();
    set_thread_mask(before)?;
    Ok(value)
}

/// Makes `mask` the set of signals that this thread blocks.
///
/// # Errors
///
/// None in practice.
///
/// # Source
///
/// `pthread_sigmask(3)`.
pub fn set_thread_mask(mask: Mask) -> Result<()> {
    let set = mask.to_set();
    // SAFETY: `set` is initialised; no old set is asked for.
    let code =
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
    checked(code)
}

fn checked(code: i32) -> Result<()> {
    match code {
        0 => Ok(()),
        code => Err(fail("change the signal mask", String::new(), Errno::from_raw_os_error(code))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_survives_the_round_trip() {
        let before = thread_mask().unwrap();
        let wanted = Mask::from_bits(before.bits() | 1 << (libc::SIGUSR2 - 1));
        set_thread_mask(wanted).unwrap();
        assert_eq!(thread_mask().unwrap(), wanted);
        set_thread_mask(before).unwrap();
        assert_eq!(thread_mask().unwrap(), before);
    }

    #[test]
    fn the_effect_of_a_signal_is_told() {
        super::super::testing::alone(|| {
            restore_default(USER_1).unwrap();
            assert_eq!(disposition(USER_1), Ok(Disposition::Default));
            assert_eq!((ignore(USER_1), ignore(USER_1)), (Ok(false), Ok(true)));
            assert_eq!(
                (disposition(USER_1), is_ignored(USER_1)),
                (Ok(Disposition::Ignored), Ok(true))
            );
            assert_eq!(restore_default(USER_1), Ok(true));
            assert_eq!(is_ignored(USER_1), Ok(false));
            ignore_terminal_interrupt().unwrap();
            assert_eq!(disposition(INTERRUPT), Ok(Disposition::Handled));
            assert_eq!(is_ignored(INTERRUPT), Ok(false));
        });
        for signal in [-1, 0, 65] {
            assert_eq!(disposition(signal).unwrap_err().code(), crate::OsCode::INVALID);
        }
    }
}
