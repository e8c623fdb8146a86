//! Signals that this process catches, and dying by one.
//!
//! A handler runs at any instruction of any thread, also while that thread holds the allocator's lock. So the handlers here
//! touch atomics in statics, and call only what `signal-safety(7)` lists.
//!
//! A handler also runs in a forked child, which shares its parent's descriptors. Each slot notes which process it is for; in
//! another one the signal has its default effect.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use super::super::doorbell::Doorbell;
use super::super::fail;
use super::super::process;
use super::subject;
use crate::Result;
use crate::prim::Ordering::{Acquire, Relaxed, Release};
use crate::prim::{AtomicU32, AtomicU64};

/// Signals are numbered from 1 to 64.
const SIGNALS: usize = 65;

/// What the handler knows about each signal.
static SLOTS: [Slot; SIGNALS] = [const { Slot::new() }; SIGNALS];

/// Who catches a signal.
struct Slot {
    /// The process in the upper half, the descriptor of its bell in the lower one; zero when nobody does.
    ///
    /// INVARIANT: the bell is never dropped.
    bell: AtomicU64,
    /// How often the signal came since.
    times: AtomicU32,
    /// How often the bell rings; the next time this process dies.
    rings: AtomicU32,
}

impl Slot {
    const fn new() -> Self {
        Self { bell: AtomicU64::new(0), times: AtomicU32::new(0), rings: AtomicU32::new(0) }
    }

    fn of(signal: i32) -> Option<&'static Self> {
        usize::try_from(signal).ok().and_then(|signal| SLOTS.get(signal))
    }

    /// The descriptor of the bell, if this process is the one that catches the signal.
    fn bell(&self) -> Option<c_int> {
        // ORDERING: Acquire: pairs with the Release in `catch`, before which the count was zeroed.
        let bell = self.bell.load(Acquire);
        let (process, descriptor) = (bell >> 32, bell & u64::from(u32::MAX));
        let descriptor = u32::try_from(descriptor).unwrap_or(u32::MAX).cast_signed();
        (process == u64::from(process::id())).then_some(descriptor)
    }
}

/// Catches `signal`: the first `rings` times that it comes, `bell` rings; the next time, this process dies by it at once, whatever
/// its threads do.
///
/// Calling it again counts anew. [`restore_default`](super::restore_default) and [`ignore`](super::ignore) end it. A forked
/// child does not catch the signal: it dies by it and leaves its parent's bell alone, but may catch it for itself. A program
/// that is executed gets the default effect. Whether the signal was ignored before is not asked: see
/// [`disposition`](super::disposition).
///
/// Calls that the signal interrupts go on, except those that never do (`signal(7)`): this crate repeats those.
///
/// # Errors
///
/// [`INVALID`](crate::OsCode::INVALID) when there is no such signal, or it cannot be caught, tells a thread of its own fault,
/// or would not end this process by default.
///
/// # Source
///
/// `sigaction(2)`, `SA_RESTART`; `signal(7)`, "Standard signals".
pub fn catch(signal: i32, bell: &'static Doorbell, rings: u32) -> Result<()> {
    let refused = || fail("catch", subject(signal), Errno::INVAL);
    let slot = Slot::of(signal).filter(|_| ends_by_default(signal)).ok_or_else(refused)?;
    let descriptor = u64::from(bell.as_fd().as_raw_fd().cast_unsigned());
    slot.times.store(0, Relaxed);
    slot.rings.store(rings, Relaxed);
    // ORDERING: Release: pairs with the Acquire in `Slot::bell`.
    slot.bell.store(u64::from(process::id()) << 32 | descriptor, Release);
    handle(signal, ring)
}

/// How often `signal` came since this process last called [`catch`] for it.
///
/// # Source
///
/// `getpid(2)`: what a forked child inherits does not count.
pub fn times_caught(signal: i32) -> u32 {
    let slot = Slot::of(signal).filter(|slot| slot.bell().is_some());
    slot.map_or(0, |slot| slot.times.load(Relaxed))
}

/// Makes this process do nothing when its terminal sends `SIGINT` (Ctrl-C), and die by it when a process sends it.
///
/// The terminal sends it to all processes of the foreground group, of which one should decide what becomes of the others. A
/// signal from a process that comes while one from the terminal waits to be delivered is lost, as the second of a kind
/// always is.
///
/// Forked children inherit this; a program that is executed gets the default effect.
///
/// # Errors
///
/// None in practice.
///
/// # Source
///
/// `sigaction(2)`: `si_code` is `SI_KERNEL` for what the terminal sends (`isig` in the kernel's `drivers/tty/n_tty.c`), and
/// no call by which a process sends a signal can say so.
pub fn ignore_terminal_interrupt() -> Result<()> {
    handle(super::INTERRUPT, pass_over_terminal)
}

/// Ends this process by `signal`, as if it were neither caught nor ignored nor blocked: no destructors, no exit handlers.
///
/// If the signal does not end it, it exits with the code `128 + signal`, as a shell would report it. So it is with signals
/// that end no process, and in the first process of a pid namespace.
///
/// # Source
///
/// `sigaction(2)`, `pthread_sigmask(3)`, `raise(3)`, `_exit(2)`: `signal-safety(7)` lists them all.
pub fn die_of(signal: i32) -> ! {
    // A step that the system refuses, for a number that is no signal, is made up for by the last one.
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: The pointer is valid for writing a set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: The set was initialised above; a number that is none is refused.
    unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    // SAFETY: `SIG_DFL` is no function: nothing of this program is called.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: The set is initialised; no old set is asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), std::ptr::null_mut()) };
    // SAFETY: The signal has its default effect, which calls nothing of this program.
    unsafe { libc::raise(signal) };
    // SAFETY: Ending the process is always sound.
    unsafe { libc::_exit(128i32.wrapping_add(signal)) }
}

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// Makes `handler` run when `signal` comes.
///
/// INVARIANT: the handlers of this module call only what `signal-safety(7)` lists, and leave `errno` as it was.
fn handle(signal: i32, handler: Handler) -> Result<()> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    let target = action.as_mut_ptr();
    // SAFETY: All bits zero are an action: no function, no flags, and on Linux an empty mask.
    let target = unsafe { &mut *target };
    target.sa_sigaction = handler as libc::sighandler_t;
    // Not on the stack that the standard library keeps for overflows: an exit unmaps that of the main thread while it runs.
    target.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    // SAFETY: The action is initialised, and its function is sound to call at any instruction (INVARIANT above).
    match unsafe { libc::sigaction(signal, target, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(fail("change the effect of", subject(signal), Errno::INVAL)),
    }
}

/// Rings the bell the first times, dies the next time, and in a process that has no bell.
extern "C" fn ring(signal: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    let slot = Slot::of(signal);
    let Some((slot, bell)) = slot.and_then(|slot| slot.bell().map(|bell| (slot, bell))) else {
        die_of(signal)
    };
    // ORDERING: Relaxed: the count alone decides; the other was written before the bell.
    if slot.times.fetch_add(1, Relaxed) >= slot.rings.load(Relaxed) {
        die_of(signal)
    }
    // SAFETY: The C library gives each thread a place for the code, which lives as long as the thread.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: The place is this thread's, and valid.
    let code = unsafe { place.read() };
    let one = 1u64.to_ne_bytes();
    // SAFETY: The buffer is valid for its length. The descriptor is that of a bell that is never dropped. The call does not
    // wait, so that no signal interrupts it, and fails only when the bell has been rung very often.
    unsafe { libc::write(bell, one.as_ptr().cast(), one.len()) };
    // SAFETY: As above.
    unsafe { place.write(code) };
}

extern "C" fn pass_over_terminal(
    signal: c_int,
    details: *mut libc::siginfo_t,
    _context: *mut c_void,
) {
    // SAFETY: The system passes a description that is valid during the call (`SA_SIGINFO`).
    let code = unsafe { (*details).si_code };
    if code != libc::SI_KERNEL {
        die_of(signal)
    }
}

/// Whether a process that does nothing about `signal` ends by it, and it is not about the instruction that a thread is at.
fn ends_by_default(signal: i32) -> bool {
    !matches!(
        signal,
        libc::SIGCHLD | libc::SIGCONT | libc::SIGURG | libc::SIGWINCH // nothing happens
            | libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU // it stops
            | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGSEGV | libc::SIGSYS | libc::SIGTRAP // faults
    )
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;
    use std::os::fd::{FromRawFd, OwnedFd};

    use super::super::super::pidfd::Ended;
    use super::super::super::poll;
    use super::super::super::testing::{Child, Talk, first_failed, pause, soon};
    use super::super::{
        CHILD, Disposition, HANG_UP, INTERRUPT, KILL, Mask, SEGMENT, STOP, TERMINATE, USER_1,
        disposition, ignore, set_thread_mask,
    };
    use super::*;
    use crate::OsCode;

    fn bell() -> &'static Doorbell {
        Box::leak(Box::new(Doorbell::new().unwrap()))
    }

    fn raise(signal: i32) {
        // SAFETY: Sending a signal is always sound.
        assert_eq!(unsafe { libc::raise(signal) }, 0);
    }

    fn died_of(signal: i32) -> Ended {
        Ended::Signaled { signal, core_dumped: false }
    }

    #[test]
    fn the_first_signal_rings_and_the_second_kills() {
        for signal in [INTERRUPT, TERMINATE, HANG_UP, USER_1, 64] {
            let (bell, talk) = (bell(), Talk::new());
            let child = Child::run(|| {
                catch(signal, bell, 1).unwrap();
                talk.tell(b"r");
                pause()
            });
            talk.listen(&mut [0]);
            child.signal(signal);
            // Parent and child share the bell.
            assert!(poll::wait_readable(bell, soon()).unwrap(), "signal {signal} rings");
            child.signal(signal);
            assert_eq!(child.ended(), died_of(signal));
        }
    }

    #[test]
    fn the_bell_rings_as_often_as_is_said() {
        let (bell, talk) = (bell(), Talk::new());
        let child = Child::run(|| {
            catch(INTERRUPT, bell, 2).unwrap();
            talk.tell(b"r");
            pause()
        });
        talk.listen(&mut [0]);
        for _ in 0..2 {
            child.signal(INTERRUPT);
            assert!(poll::wait_readable(bell, soon()).unwrap());
            bell.silence().unwrap();
        }
        child.signal(INTERRUPT);
        assert_eq!(child.ended(), died_of(INTERRUPT));
    }

    #[test]
    fn signals_are_counted_and_catching_again_begins_anew() {
        let bell = bell();
        let child = Child::run(|| {
            let before = times_caught(TERMINATE);
            catch(TERMINATE, bell, 1).unwrap();
            let is_handled = disposition(TERMINATE) == Ok(Disposition::Handled);
            let caught = times_caught(TERMINATE);
            raise(TERMINATE);
            let once = times_caught(TERMINATE);
            catch(TERMINATE, bell, 1).unwrap();
            let anew = times_caught(TERMINATE);
            raise(TERMINATE);
            let again = times_caught(TERMINATE);
            first_failed(&[before == 0, is_handled, caught == 0, once == 1, anew == 0, again == 1])
        });
        assert_eq!(child.ended(), Ended::Exited(0));
    }

    #[test]
    fn the_handler_leaves_the_error_code_alone() {
        let bell = bell();
        // The counter is as full as it gets: ringing is refused.
        rustix::io::write(bell, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        let child = Child::run(|| {
            catch(TERMINATE, bell, 1).unwrap();
            // SAFETY: The place is this thread's, as long as it lives.
            let place = unsafe { libc::__errno_location() };
            // SAFETY: As above.
            unsafe { place.write(77) };
            raise(TERMINATE);
            // SAFETY: As above.
            let code = unsafe { place.read() };
            first_failed(&[code == 77, times_caught(TERMINATE) == 1])
        });
        assert_eq!(child.ended(), Ended::Exited(0));
    }

    #[test]
    fn a_forked_child_dies_and_leaves_its_parents_bell_alone() {
        let bell = bell();
        let child = Child::run(|| {
            catch(TERMINATE, bell, 1).unwrap();
            catch(INTERRUPT, bell, 1).unwrap();
            raise(INTERRUPT);
            let rang = bell.silence() == Ok(true);
            let grandchild = Child::run_as_is(|| {
                if times_caught(INTERRUPT) != 0 {
                    return 1;
                }
                raise(TERMINATE);
                2
            });
            let died = grandchild.ended() == died_of(TERMINATE);
            let is_silent = bell.silence() == Ok(false);
            first_failed(&[rang, died, is_silent, times_caught(TERMINATE) == 0])
        });
        assert_eq!(child.ended(), Ended::Exited(0));
    }

    #[test]
    fn a_call_that_the_signal_interrupts_goes_on() {
        let (bell, talk) = (bell(), Talk::new());
        let child = Child::run(|| {
            catch(TERMINATE, bell, 1).unwrap();
            talk.tell(b"r");
            first_failed(&[talk.hear() == Ok(1)])
        });
        talk.listen(&mut [0]);
        child.wait_until_asleep();
        child.signal(TERMINATE);
        assert!(poll::wait_readable(bell, soon()).unwrap());
        talk.answer();
        assert_eq!(child.ended(), Ended::Exited(0));
    }

    #[test]
    fn what_cannot_be_caught_is_refused() {
        let bell = bell();
        for signal in [-1, 0, 33, 65, i32::MAX, KILL, STOP, CHILD, SEGMENT, libc::SIGWINCH] {
            let error = catch(signal, bell, 1).unwrap_err();
            assert_eq!(error.code(), OsCode::INVALID, "signal {signal}");
            assert_eq!(times_caught(signal), 0);
        }
    }

    #[test]
    fn nothing_saves_from_dying() {
        let bell = bell();
        let child = Child::run(|| {
            catch(TERMINATE, bell, 1).unwrap();
            die_of(TERMINATE)
        });
        assert_eq!(child.ended(), died_of(TERMINATE));
        let child = Child::run(|| {
            ignore(INTERRUPT).unwrap();
            set_thread_mask(Mask::from_bits(u64::MAX)).unwrap();
            die_of(INTERRUPT)
        });
        assert_eq!(child.ended(), died_of(INTERRUPT));
        assert_eq!(Child::run(|| die_of(KILL)).ended(), died_of(KILL));
    }

    #[test]
    fn a_signal_that_ends_nobody_ends_by_code() {
        for (signal, code) in [(libc::SIGWINCH, 156), (CHILD, 145), (0, 128), (99, 227)] {
            assert_eq!(Child::run(|| die_of(signal)).ended(), Ended::Exited(code));
        }
    }

    #[test]
    fn the_first_process_of_a_namespace_ends_by_code() {
        let child = Child::run(|| {
            // SAFETY: This process has one thread.
            if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) } != 0 {
                // Not everybody may make namespaces everywhere.
                return 143;
            }
            match Child::run_as_is(|| die_of(TERMINATE)).ended() {
                Ended::Exited(code) => code,
                _ => 1,
            }
        });
        assert_eq!(child.ended(), Ended::Exited(143));
    }

    /// A pseudo-terminal: what the user types on, and the path of what a program reads from.
    fn terminal() -> (OwnedFd, std::ffi::CString) {
        // SAFETY: The call takes flags.
        let master = unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) };
        assert!(master >= 0);
        // SAFETY: The descriptor was opened just now, and nobody else knows of it.
        let owned = unsafe { OwnedFd::from_raw_fd(master) };
        // SAFETY: The descriptor is that of a terminal.
        assert_eq!(unsafe { libc::grantpt(master) }, 0);
        // SAFETY: As above.
        assert_eq!(unsafe { libc::unlockpt(master) }, 0);
        let mut name = [0; 64];
        // SAFETY: The buffer is valid for its length.
        assert_eq!(unsafe { libc::ptsname_r(master, name.as_mut_ptr(), name.len()) }, 0);
        // SAFETY: The call wrote a string with its end.
        (owned, unsafe { CStr::from_ptr(name.as_ptr()) }.into())
    }

    /// Runs `prepare` in a child of the terminal `path`, which then reads from it and tells what it read.
    fn child_of_terminal(path: &CStr, talk: &Talk, prepare: fn()) -> Child {
        Child::run(|| {
            super::super::super::process::new_session().unwrap();
            // SAFETY: The path is a string. The first terminal that the leader of a session opens becomes that of the session.
            let slave = unsafe { libc::open(path.as_ptr(), libc::O_RDWR) };
            assert!(slave >= 0);
            prepare();
            talk.tell(b"r");
            let mut line = [0u8; 1];
            // SAFETY: The buffer is valid for its length.
            let read = unsafe { libc::read(slave, line.as_mut_ptr().cast(), 1) };
            if read == 1 {
                talk.tell(&line);
                pause();
            }
            1
        })
    }

    #[test]
    fn a_terminals_interrupt_does_nothing_and_that_of_a_process_kills() {
        let ((master, path), talk) = (terminal(), Talk::new());
        let child = child_of_terminal(&path, &talk, || ignore_terminal_interrupt().unwrap());
        talk.listen(&mut [0]);
        child.wait_until_asleep();
        // What follows Ctrl-C is read after it took effect, by the call that it interrupted.
        rustix::io::write(&master, b"\x03").unwrap();
        rustix::io::write(&master, b"x\n").unwrap();
        let mut read = [0];
        talk.listen(&mut read);
        assert_eq!(&read, b"x");
        child.signal(INTERRUPT);
        assert_eq!(child.ended(), died_of(INTERRUPT));
    }

    #[test]
    fn by_default_a_terminals_interrupt_kills() {
        let ((master, path), talk) = (terminal(), Talk::new());
        let child = child_of_terminal(&path, &talk, || {});
        talk.listen(&mut [0]);
        rustix::io::write(&master, b"\x03").unwrap();
        assert_eq!(child.ended(), died_of(INTERRUPT));
    }
}
