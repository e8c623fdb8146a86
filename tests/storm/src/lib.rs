//! A storm of signals for a program that knows nothing of it: `LD_PRELOAD` this, and each thread is interrupted every 100 µs.
//!
//! Each thread has a timer of its own, from its first instruction in the program's code until its destructors have run: the main
//! thread by a constructor, all others because this stands before the C library's `pthread_create`. The handler counts, and calls
//! that it interrupts fail with `EINTR`. Where the variable `PROCESSION_STORM_COUNT` names a file, a process that exits
//! appends a line with its count.
//!
//! A timer does not survive a `fork`: the thread that a child begins with is left in peace, those that the child creates are not. A
//! program that is executed with the same environment has a storm of its own. A process that is killed, or ends by `_exit`, writes no line.
//!
//! The signal is one that nobody else uses, because the suites have tests that block or handle `SIGALRM` themselves. A thread that blocks
//! all signals is not interrupted.

#![expect(unsafe_code, reason = "timers of threads are not to be had otherwise")]

use std::ffi::{c_int, c_void};
use std::io::{Error, Write as _};
use std::mem::MaybeUninit;
use std::ptr;

use procession_sys::prim::Ordering::Relaxed;
use procession_sys::prim::{AtomicU64, OnceLock};

/// How long a thread is left in peace, in nanoseconds.
const INTERVAL_NANOS: i64 = 100_000;

/// Names the file to which the count is appended.
const COUNT_FILE: &str = "PROCESSION_STORM_COUNT";

/// What a thread begins with. It may end by unwinding: `pthread_exit` does.
type Start = extern "C-unwind" fn(*mut c_void) -> *mut c_void;

/// The C library's `pthread_create`.
type Create = unsafe extern "C" fn(
    *mut libc::pthread_t,
    *const libc::pthread_attr_t,
    Start,
    *mut c_void,
) -> c_int;

static COUNT: AtomicU64 = AtomicU64::new(0);

static STORM: OnceLock<Storm> = OnceLock::new();

/// What all timers of a program have in common.
struct Storm {
    /// The process that was begun with; a forked child has the count of its parent.
    process: u32,
    /// A slot in each thread for its timer, which goes with the thread.
    timers: libc::pthread_key_t,
}

/// Async-signal-safe: touches an atomic and nothing else.
extern "C" fn count(_signal: c_int) {
    COUNT.fetch_add(1, Relaxed);
}

fn signal() -> c_int {
    libc::SIGRTMAX() - 1
}

fn begin() {
    let mut timers = 0;
    // SAFETY: Writes a number to where the pointer says, a local; the destructor is called with values that are set below.
    must(unsafe { libc::pthread_key_create(&raw mut timers, Some(still)) }, "pthread_key_create");
    let storm = STORM.get_or_init(|| Storm { process: std::process::id(), timers });
    storm.interrupt_this_thread();
}

procession_sys::before_main!(begin);

impl Storm {
    fn interrupt_this_thread(&self) {
        // Each time: a child may have set all signals back to what they do by default.
        set_handler();
        let timer = timer();
        // One is added because a slot with zero is an empty one.
        let value = timer.wrapping_byte_add(1);
        // SAFETY: The key has been created and is never deleted.
        must(unsafe { libc::pthread_setspecific(self.timers, value) }, "pthread_setspecific");
        let interval = libc::timespec { tv_sec: 0, tv_nsec: INTERVAL_NANOS };
        let every = libc::itimerspec { it_interval: interval, it_value: interval };
        // SAFETY: The timer is there, the pointer is to a local, and the old time is not asked for.
        let set = unsafe { libc::timer_settime(timer, 0, &raw const every, ptr::null_mut()) };
        must(set, "timer_settime");
    }
}

/// The destructor of a thread's slot.
extern "C" fn still(value: *mut c_void) {
    // SAFETY: The value is that of a timer of this thread. In a forked child there is none of that number, or it is another thread's,
    // which then is left in peace.
    unsafe { libc::timer_delete(value.wrapping_byte_sub(1)) };
}

fn set_handler() {
    // SAFETY: All zeros are an action: the default one, without flags and so without `SA_RESTART`.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = count as extern "C" fn(c_int) as libc::sighandler_t;
    // A thread with a small stack may have another one for signals.
    action.sa_flags = libc::SA_ONSTACK;
    // SAFETY: The handler takes a number and is async-signal-safe; the pointer is to a local; the old action is not asked for.
    must(unsafe { libc::sigaction(signal(), &raw const action, ptr::null_mut()) }, "sigaction");
}

/// A timer that interrupts this thread, not yet set.
fn timer() -> libc::timer_t {
    // SAFETY: All zeros are an event.
    let mut event: libc::sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_signo = signal();
    // SAFETY: Cannot fail.
    event.sigev_notify_thread_id = unsafe { libc::gettid() };
    let mut timer = ptr::null_mut();
    // SAFETY: The pointers are to locals, of which the second is written.
    let created =
        unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
    must(created, "timer_create");
    timer
}

/// What a thread is to do.
struct Work {
    start: Start,
    argument: *mut c_void,
}

/// Stands before the function of this name in the C library, and calls that.
///
/// # Safety
///
/// As `pthread_create(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    start: Start,
    argument: *mut c_void,
) -> c_int {
    let work = Box::into_raw(Box::new(Work { start, argument }));
    // SAFETY: The name is a C string.
    let next = unsafe { libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr()) };
    assert!(!next.is_null(), "no library has `pthread_create`");
    #[expect(clippy::disallowed_methods, reason = "`dlsym` gives functions as data")]
    // SAFETY: The function of that name has that type.
    let next = unsafe { std::mem::transmute::<*mut c_void, Create>(next) };
    // SAFETY: The caller vouches for the first two; the other two fit each other.
    let created = unsafe { next(thread, attributes, run, work.cast()) };
    if created != 0 {
        // SAFETY: No thread has begun that could have taken it.
        drop(unsafe { Box::from_raw(work) });
    }
    created
}

/// What each thread begins with instead.
extern "C-unwind" fn run(work: *mut c_void) -> *mut c_void {
    // SAFETY: It was made by `pthread_create` above for this thread alone.
    let work = unsafe { Box::from_raw(work.cast::<Work>()) };
    // What it holds may unwind without being dropped.
    let Work { start, argument } = *work;
    if let Some(storm) = STORM.get() {
        storm.interrupt_this_thread();
    }
    start(argument)
}

extern "C" fn report() {
    let is_ours = STORM.get().is_some_and(|storm| storm.process == std::process::id());
    let Some(path) = std::env::var_os(COUNT_FILE).filter(|_| is_ours) else { return };
    let line = format!("{}\n", COUNT.load(Relaxed));
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    written.expect("the file that PROCESSION_STORM_COUNT names takes a line");
}

/// When the program exits.
#[used]
#[unsafe(link_section = ".fini_array")]
static AFTER_MAIN: extern "C" fn() = report;

/// A storm that fails to come must not pass for one: the program dies.
fn must(result: c_int, call: &str) {
    let error = match result {
        0 => return,
        -1 => Error::last_os_error(),
        // Functions of threads return what is wrong.
        code => Error::from_raw_os_error(code),
    };
    panic!("{call} fails: {error}");
}
