//! Forked children for tests.
//!
//! A test program has threads. The C library makes allocating in a forked child sound all the same. What waits for a lock
//! that another thread may have held is for the test to avoid: the standard library takes one to start a thread.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::pidfd::{self, Ended};
use super::{fork, poll, process, signal};
use crate::Deadline;

/// Long enough for any step of a test on a machine that is busy.
pub(super) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

/// What whoever runs the tests may ignore, and tests send.
const TAMED: [i32; 4] = [signal::INTERRUPT, signal::TERMINATE, signal::HANG_UP, signal::USER_1];

/// A forked child; killed and reaped when it is dropped before it has ended.
pub(super) struct Child {
    pub(super) pid: u32,
    process: OwnedFd,
}

impl Child {
    /// Runs `work` in a forked child, with no signal blocked and those that tests send as by default; its value is the code
    /// that the child exits with.
    pub(super) fn run(work: impl FnOnce() -> u8) -> Self {
        Self::run_as_is(|| {
            for signal in TAMED {
                signal::restore_default(signal).unwrap();
            }
            signal::set_thread_mask(signal::Mask::from_bits(0)).unwrap();
            work()
        })
    }

    /// Runs `work` in a forked child, with the signals as they are.
    #[expect(unsafe_code, reason = "forks")]
    pub(super) fn run_as_is(work: impl FnOnce() -> u8) -> Self {
        // SAFETY: The C library makes its own locks free in the child; `work` takes no others.
        match unsafe { fork::fork() }.unwrap() {
            fork::Forked::Child => {
                let _guard = EndOnPanic;
                // A test that is killed leaves nobody behind.
                let killed = Some(rustix::process::Signal::KILL);
                rustix::process::set_parent_process_death_signal(killed).unwrap();
                process::exit_now(work())
            }
            fork::Forked::Parent { child: pid } => Self { pid, process: pidfd::open(pid).unwrap() },
        }
    }

    /// Waits until the child ends, and reaps it.
    #[track_caller]
    pub(super) fn ended(self) -> Ended {
        assert!(poll::wait_readable(&self.process, soon()).unwrap(), "the child hangs");
        pidfd::try_reap(&self.process).unwrap().unwrap().ended
    }

    /// Waits until the child waits for something.
    #[track_caller]
    pub(super) fn wait_until_asleep(&self) {
        let (path, deadline) = (format!("/proc/{}/stat", self.pid), soon());
        while !std::fs::read_to_string(&path).unwrap().contains(") S ") {
            assert!(!deadline.has_passed(), "the child does not wait");
            std::thread::yield_now();
        }
    }

    /// Sends the child a signal, as processes do.
    pub(super) fn signal(&self, signal: i32) {
        assert!(pidfd::signal(&self.process, signal).unwrap());
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // After `ended` there is nobody to kill, which is no news.
        drop(pidfd::signal(&self.process, signal::KILL));
        drop(poll::wait_readable(&self.process, soon()));
        drop(pidfd::try_reap(&self.process));
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }
}

/// A panic in a forked child must not run the rest of the test program a second time.
struct EndOnPanic;

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        process::exit_now(101);
    }
}

/// Runs `check` in a forked child, so that no child of another test inherits a descriptor meanwhile, and nothing that it
/// changes stays.
#[track_caller]
pub(super) fn alone(check: impl FnOnce()) {
    let child = Child::run(|| {
        check();
        0
    });
    assert_eq!(
        child.ended(),
        Ended::Exited(0),
        "the reason stands above, if output is not captured"
    );
}

/// The code of a child all of whose `checks` held, or else the number of the first one that did not, from 1 on.
pub(super) fn first_failed(checks: &[bool]) -> u8 {
    checks.iter().position(|held| !held).map_or(0, |at| u8::try_from(at + 1).unwrap())
}

/// By which parent and child tell each other how far they are: a stream in each direction.
pub(super) struct Talk {
    near: std::os::unix::net::UnixStream,
    far: std::os::unix::net::UnixStream,
}

impl Talk {
    pub(super) fn new() -> Self {
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        near.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { near, far }
    }

    /// In the child: sends bytes to the parent.
    pub(super) fn tell(&self, bytes: &[u8]) {
        (&self.far).write_all(bytes).unwrap();
    }

    /// In the child: waits for a byte of the parent, however long, in one `read` that is not repeated.
    pub(super) fn hear(&self) -> rustix::io::Result<usize> {
        rustix::io::read(&self.far, &mut [0])
    }

    /// In the parent: sends the child a byte.
    pub(super) fn answer(&self) {
        (&self.near).write_all(b"x").unwrap();
    }

    /// In the parent: waits for as many bytes of the child as `buffer` takes.
    #[track_caller]
    pub(super) fn listen(&self, buffer: &mut [u8]) {
        (&self.near).read_exact(buffer).unwrap();
    }
}

/// Waits for signals for ever.
#[expect(unsafe_code, reason = "calls the C library")]
pub(super) fn pause() -> ! {
    loop {
        // SAFETY: The call takes nothing.
        unsafe { libc::pause() };
    }
}
