//! What happens to who reads memory that is not there any more.
//!
//! A file with a name can be cut off by whoever may open it, and the system kills who then touches the rest of a mapping
//! (`SIGBUS`). Here the signal is caught. If the address lies in a mapping that is registered, zeros that belong to this process
//! alone take the place of the rest of it, the mapping is marked as torn, and the access goes on. Any other address is left to
//! whoever handled the signal before.
//!
//! The handler runs in the middle of anything, so it touches atomics in memory that is never freed, and makes system calls, and
//! nothing else. Entries are never freed, but used again; one that is being changed is odd, and is skipped, as it has no mapping
//! that anybody touches.
//!
//! A forked child inherits handler, entries and mappings; a new program has none of them.

#![expect(unsafe_code, reason = "handles a signal and replaces mappings")]

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::null_mut;

use rustix::io::Errno;

use super::super::wipe::SetOnce;
use super::super::{checked, fail};
use crate::Result;
use crate::prim::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::prim::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, fence};

/// A handler that is told about the signal.
type Informed = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// The entries, linked; only ever extended.
static ENTRIES: AtomicPtr<Entry> = AtomicPtr::new(null_mut());

/// Whether the signal is handled here.
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Who handled the signal before.
static BEFORE: SetOnce<libc::sigaction> = SetOnce::new();

/// A mapping, or none.
#[derive(Debug)]
struct Entry {
    /// Odd while the entry is nobody's or is being changed.
    version: AtomicU64,
    start: AtomicUsize,
    len: AtomicUsize,
    is_torn: AtomicBool,
    is_used: AtomicBool,
    /// INVARIANT: null, or an entry that is never freed; written before the entry is linked, and never again.
    next: AtomicPtr<Entry>,
}

impl Entry {
    /// The mapping, unless it is being changed.
    fn range(&self) -> Option<std::ops::Range<usize>> {
        // ORDERING: Acquire: pairs with the Release in `watch`, before which the range was written.
        let version = self.version.load(Acquire);
        let (start, len) = (self.start.load(Relaxed), self.len.load(Relaxed));
        // ORDERING: Acquire: the version after the range; who changes the range makes the version odd first.
        fence(Acquire);
        let is_whole = version.is_multiple_of(2) && self.version.load(Relaxed) == version;
        is_whole.then(|| start..start.saturating_add(len))
    }

    fn all() -> impl Iterator<Item = &'static Self> {
        let follow = |place: &AtomicPtr<Self>| {
            // ORDERING: Acquire: pairs with the exchange in `Entry::take`.
            let entry = place.load(Acquire);
            // SAFETY: Entries that are linked are never freed.
            unsafe { entry.as_ref() }
        };
        std::iter::successors(follow(&ENTRIES), move |entry| follow(&entry.next))
    }

    /// An entry that nobody uses: an old one, or a new one.
    fn take() -> &'static Self {
        let free =
            |entry: &&Self| entry.is_used.compare_exchange(false, true, AcqRel, Relaxed).is_ok();
        Self::all().find(free).unwrap_or_else(Self::add)
    }

    #[cold]
    fn add() -> &'static Self {
        let entry: &Self = Box::leak(Box::new(Self {
            version: AtomicU64::new(1),
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            is_torn: AtomicBool::new(false),
            is_used: AtomicBool::new(true),
            next: AtomicPtr::new(null_mut()),
        }));
        let place = std::ptr::from_ref(entry).cast_mut();
        let mut first = ENTRIES.load(Acquire);
        loop {
            entry.next.store(first, Relaxed);
            // ORDERING: Release: whoever finds the entry finds what is in it.
            match ENTRIES.compare_exchange_weak(first, place, AcqRel, Acquire) {
                Ok(_) => return entry,
                Err(other) => first = other,
            }
        }
    }
}

/// Keeps this process alive when it touches what is cut off of one mapping. Dropped before that is unmapped.
#[derive(Debug)]
pub(super) struct Guard(&'static Entry);

impl Guard {
    /// Guards the mapping, which nobody has touched yet.
    pub(super) fn watch(start: usize, len: usize) -> Result<Self> {
        install()?;
        let entry = Entry::take();
        entry.start.store(start, Relaxed);
        entry.len.store(len, Relaxed);
        entry.is_torn.store(false, Relaxed);
        // ORDERING: Release: pairs with the Acquire in `range`.
        entry.version.fetch_add(1, Release);
        Ok(Self(entry))
    }

    /// Whether something was cut off and touched since.
    #[inline]
    pub(super) fn is_torn(&self) -> bool {
        // ORDERING: Relaxed: set by a signal of a thread that touched the mapping; that thread sees it.
        self.0.is_torn.load(Relaxed)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.version.fetch_add(1, AcqRel);
        // ORDERING: Release: whoever takes the entry comes after this.
        self.0.is_used.store(false, Release);
    }
}

/// Handles the signal from now on, if this process does not yet.
fn install() -> Result<()> {
    // ORDERING: Acquire: pairs with the Release below, before which the handler was set.
    if INSTALLED.load(Acquire) {
        return Ok(());
    }
    let handler: Informed = handle;
    let handler = handler as libc::sighandler_t;
    let before = exchange(None)?;
    // Known before the handler can run. Of two threads, the second may find the handler of the first.
    if before.sa_sigaction != handler {
        BEFORE.replace(before);
    }
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    let action = action.as_mut_ptr();
    // SAFETY: The action is memory of ours for one.
    let action = unsafe { &mut *action };
    action.sa_sigaction = handler;
    // On the thread's stack for signals, if it has one: the fault may be anywhere.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    exchange(Some(action))?;
    INSTALLED.store(true, Release);
    Ok(())
}

/// Sets what is done about the signal, if something is given, and tells what was done before.
fn exchange(action: Option<&libc::sigaction>) -> Result<libc::sigaction> {
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    let new = action.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: The new action, if any, is whole; there is room for the old one. The handler is made to run at any time.
    let answer = unsafe { libc::sigaction(libc::SIGBUS, new, before.as_mut_ptr()) };
    checked(answer).map_err(|code: Errno| fail("handle", "SIGBUS".to_owned(), code))?;
    // SAFETY: The call wrote it, and all of it was zero before, which is an action as well.
    Ok(unsafe { before.assume_init() })
}

extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: The system gives a handler of this form the signal's information.
    let about = unsafe { &*info };
    // SAFETY: For this signal, when it tells of a fault, the information has an address; otherwise it is a number as well, which
    // is no more than compared.
    let address = unsafe { about.si_addr() }.addr();
    // Those that processes send have no fault: their codes are not above zero.
    let is_fault = about.si_code > 0;
    if is_fault && Entry::all().any(|entry| entry.is_used.load(Relaxed) && mend(entry, address)) {
        return;
    }
    pass_on(signal, info, context);
}

/// Replaces what is gone of the entry's mapping, if the address is in it.
fn mend(entry: &Entry, address: usize) -> bool {
    let Some(range) = entry.range().filter(|range| range.contains(&address)) else { return false };
    // SAFETY: The call has no conditions.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let start = address & !(page - 1);
    let (protection, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
    );
    // Marked first: another thread that reads the zeros shall know.
    entry.is_torn.store(true, Relaxed);
    // SAFETY: The place is that of the interrupted code.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: As above.
    let code = unsafe { *errno };
    let place = std::ptr::with_exposed_provenance_mut(start);
    // SAFETY: The range is the rest of a mapping that is registered, so nothing else lies there; it is seen through atomics and
    // copies only, which zeros suit as well as any bytes.
    let mapped = unsafe { libc::mmap(place, range.end - start, protection, flags, -1, 0) }
        != libc::MAP_FAILED;
    // SAFETY: As above.
    unsafe { *errno = code };
    mapped
}

/// Leaves the signal to who handled it before.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let before = BEFORE.get();
    match before.map_or(libc::SIG_DFL, |before| before.sa_sigaction) {
        libc::SIG_DFL | libc::SIG_IGN => {
            // The signal comes again when this returns, and then has its default effect: the fault, or the one that is sent.
            // SAFETY: The disposition is no function.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
            // SAFETY: Sending a signal is always sound.
            unsafe { libc::raise(signal) };
        }
        handler if before.is_some_and(|before| before.sa_flags & libc::SA_SIGINFO != 0) => {
            let handler = std::ptr::with_exposed_provenance::<c_void>(handler);
            // SAFETY: Whoever set the action said that its handler is of this form.
            let handler = unsafe { std::mem::transmute_copy::<_, Informed>(&handler) };
            handler(signal, info, context);
        }
        handler => {
            let handler = std::ptr::with_exposed_provenance::<c_void>(handler);
            // SAFETY: As above, of the other form.
            let handler = unsafe { std::mem::transmute_copy::<_, extern "C" fn(c_int)>(&handler) };
            handler(signal);
        }
    }
}

/// For tests of who handled the signal before: the next block finds that out anew.
#[cfg(test)]
pub(super) fn forget() {
    INSTALLED.store(false, Release);
}
