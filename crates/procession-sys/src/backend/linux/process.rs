//! This process and its kin.

#![expect(unsafe_code, reason = "calls the C library")]

use rustix::io::Errno;
use rustix::process::{Pid, getpid, getppid};

use super::{call, fail, stat};
use crate::Result;

/// A process for ever: its number together with the moment when it started, because numbers are reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The process number.
    pub pid: u32,
    /// When it started, in clock ticks since the machine booted.
    pub start_ticks: u64,
}

/// The number of this process.
///
/// # Source
///
/// `getpid(2)`.
pub fn id() -> u32 {
    getpid().as_raw_nonzero().get().cast_unsigned()
}

/// The number of this process's parent, as the system sees it: zero when it is in another pid namespace.
///
/// # Source
///
/// `getppid(2)`.
pub fn parent_id() -> u32 {
    Pid::as_raw(getppid()).cast_unsigned()
}

/// Looks up the identity of the process `pid`.
///
/// # Errors
///
/// [`NO_PROCESS`](crate::OsCode::NO_PROCESS) when there is no such process (a zombie still is one); other codes when this
/// process may open no more descriptors.
///
/// # Source
///
/// `proc(5)`, `/proc/[pid]/stat`, field 22.
pub fn identity(pid: u32) -> Result<Identity> {
    match stat::read(pid)? {
        Some(stat) => Ok(Identity { pid, start_ticks: stat.start_ticks }),
        None => Err(fail("identify", format!("process {pid}"), Errno::SRCH)),
    }
}

/// Ends this process at once: no destructors, no exit handlers, nothing flushed.
///
/// # Source
///
/// `_exit(2)`.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: Ending the process is always sound.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Has `handler` called when this process exits: when `main` returns, or by `exit`. The last one that was given is called
/// first.
///
/// It is not called when a signal ends the process, nor by [`exit_now`]. A forked child inherits it, and calls it when it
/// exits. Other threads may still run meanwhile. A panic in it aborts the process.
///
/// # Errors
///
/// When the system is out of memory.
///
/// # Source
///
/// `atexit(3)`.
pub fn at_exit(handler: extern "C" fn()) -> Result<()> {
    // SAFETY: The function takes nothing and is there for as long as the program: it is not that of a library which could
    // be unloaded, as the C library calls those of a library when it is.
    match unsafe { libc::atexit(handler) } {
        0 => Ok(()),
        _ => Err(fail("note a function to call at exit", String::new(), Errno::NOMEM)),
    }
}

/// The process group of this process: what its terminal signals as one.
///
/// # Source
///
/// `getpgrp(2)`.
pub fn process_group() -> u32 {
    rustix::process::getpgrp().as_raw_nonzero().get().cast_unsigned()
}

/// Moves this process into the process group `group` of its session; zero makes a new one, of which it is the leader.
///
/// Its children inherit it. A terminal sends its signals to the foreground group only, which a new one is not.
///
/// # Errors
///
/// [`NOT_PERMITTED`](crate::OsCode::NOT_PERMITTED) when this process leads a session, or its session has no such group.
///
/// # Source
///
/// `setpgid(2)`.
pub fn set_process_group(group: u32) -> Result<()> {
    let subject = || format!("group {group}");
    let Ok(raw) = i32::try_from(group) else {
        return Err(fail("join", subject(), Errno::PERM));
    };
    call("join", subject, || rustix::process::setpgid(None, Pid::from_raw(raw)))
}

/// Makes a new session, which this process leads, in a new process group and without a terminal.
///
/// # Errors
///
/// [`NOT_PERMITTED`](crate::OsCode::NOT_PERMITTED) when this process leads a process group already.
///
/// # Source
///
/// `setsid(2)`.
pub fn new_session() -> Result<()> {
    call("make a session", String::new, || rustix::process::setsid().map(drop))
}

/// Kills the child `pid`, which nobody has waited for yet, and reaps it.
///
/// # Errors
///
/// [`NO_CHILD`](crate::OsCode::NO_CHILD) when somebody else reaped it first.
///
/// # Source
///
/// `kill(2)`, `waitid(2)`.
pub fn kill_and_reap(pid: u32) -> Result<()> {
    let subject = || format!("process {pid}");
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Err(fail("kill", subject(), Errno::SRCH));
    };
    call("kill", subject, || rustix::process::kill_process(raw, rustix::process::Signal::KILL))?;
    let options = rustix::process::WaitIdOptions::EXITED;
    call("wait for", subject, || {
        rustix::process::waitid(rustix::process::WaitId::Pid(raw), options).map(drop)
    })
}

/// Whether the child `pid`, which nobody has waited for yet, has ended; it stays to be waited for. One that somebody else reaped has.
///
/// # Source
///
/// `waitid(2)`, `WNOWAIT`.
pub fn has_ended(pid: u32) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return true };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match call("look at", || format!("process {pid}"), || waitid(WaitId::Pid(raw), options)) {
        Ok(ended) => ended.is_some(),
        Err(error) => error.code() == crate::OsCode::NO_CHILD,
    }
}

/// Names this thread for `ps`, `top` and debuggers; on the main thread that is the name of the process.
///
/// Longer names are cut after 15 bytes.
///
/// # Errors
///
/// [`INVALID`](crate::OsCode::INVALID) when the name holds a zero byte.
///
/// # Source
///
/// `prctl(2)`, `PR_SET_NAME`.
pub fn set_thread_name(name: &str) -> Result<()> {
    let failed = |code| fail("name a thread", name.into(), code);
    let name = std::ffi::CString::new(name).map_err(|_zero_byte| failed(Errno::INVAL))?;
    call("name a thread", String::new, || rustix::thread::set_name(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_of_this_process_is_stable() {
        let first = identity(id()).unwrap();
        assert_eq!(first.pid, std::process::id());
        assert!(first.start_ticks > 0);
        assert_eq!(identity(id()).unwrap(), first);
    }

    #[test]
    fn no_process_has_no_identity() {
        let error = identity(u32::MAX).unwrap_err();
        assert_eq!(error.code(), crate::OsCode::NO_PROCESS);
    }

    use super::super::pidfd::Ended;
    use super::super::testing::{Child, Talk, alone, first_failed, pause};
    use crate::OsCode;
    use crate::prim::{AtomicPtr, Ordering};

    #[test]
    fn a_process_has_an_identity_whatever_its_name() {
        let talk = Talk::new();
        let child = Child::run(|| {
            let name = std::ffi::CString::from_vec_with_nul(b"\xff) Z 7 (\0".to_vec()).unwrap();
            rustix::thread::set_name(&name).unwrap();
            talk.tell(b"r");
            pause()
        });
        talk.listen(&mut [0]);
        let found = identity(child.pid).unwrap();
        assert!(found.start_ticks >= identity(id()).unwrap().start_ticks);
    }

    /// What the handlers at exit talk through.
    static TALK: AtomicPtr<Talk> = AtomicPtr::new(std::ptr::null_mut());

    fn tell_at_exit(bytes: &[u8]) {
        let talk = TALK.load(Ordering::Relaxed);
        // SAFETY: Null, or a value that is never dropped.
        if let Some(talk) = unsafe { talk.as_ref() } {
            talk.tell(bytes);
        }
    }

    extern "C" fn first() {
        tell_at_exit(b"1");
    }

    extern "C" fn second() {
        tell_at_exit(b"2");
    }

    #[test]
    fn the_handler_that_came_last_is_called_first_and_only_at_exit() {
        let talk = Box::leak(Box::new(Talk::new()));
        let child = |end: fn()| {
            Child::run(|| {
                TALK.store(std::ptr::from_ref(talk).cast_mut(), Ordering::Relaxed);
                at_exit(first).unwrap();
                at_exit(second).unwrap();
                end();
                0
            })
        };
        let by_exit = child(|| {
            // SAFETY: This process has one thread; the handlers of the test program are its own.
            unsafe { libc::exit(3) }
        });
        assert_eq!(by_exit.ended(), Ended::Exited(3));
        assert_eq!(child(|| exit_now(4)).ended(), Ended::Exited(4));
        talk.tell(b"end");
        let mut told = [0; 5];
        talk.listen(&mut told);
        assert_eq!(&told, b"21end");
    }

    #[test]
    fn a_process_makes_a_group_and_another_one_joins_it() {
        let talk = Talk::new();
        let leader = Child::run(|| {
            set_process_group(0).unwrap();
            talk.tell(&[first_failed(&[process_group() == id()])]);
            pause()
        });
        let mut failed = [9];
        talk.listen(&mut failed);
        assert_eq!(failed, [0]);
        assert_ne!(process_group(), leader.pid);
        let group = leader.pid;
        let member = Child::run(|| {
            set_process_group(group).unwrap();
            first_failed(&[process_group() == group, id() != group])
        });
        assert_eq!(member.ended(), Ended::Exited(0));
    }

    #[test]
    fn a_group_that_is_not_there_cannot_be_joined() {
        for group in [u32::MAX, i32::MAX.cast_unsigned()] {
            let error = set_process_group(group).unwrap_err();
            assert_eq!(error.code(), OsCode::NOT_PERMITTED, "{error}");
        }
    }

    #[test]
    fn a_session_is_made_once() {
        alone(|| {
            new_session().unwrap();
            assert_eq!(process_group(), id());
            assert_eq!(new_session().unwrap_err().code(), OsCode::NOT_PERMITTED);
            assert_eq!(set_process_group(0).unwrap_err().code(), OsCode::NOT_PERMITTED);
        });
    }
}
