//! State that knows of forks: memory that a fork zeroes in the child, and statics built on it.
//!
//! * [`WipedWord`]: an atomic word that reads zero in a process that has not written it itself, however it was forked,
//!   by us or by a library that never heard of us.
//! * [`PerProcess`]: a value behind a lock, both of which start anew in every process. A plain mutex that some other
//!   thread holds at the moment of a fork stays locked in the child for ever.
//! * [`SetOnce`]: a value that is set once and that forks inherit. Setting never waits, so that no fork can leave a
//!   child waiting for a setter that it does not have.
//! * [`namespaces`]: whether two processes mean the same by a process number.

#![expect(
    unsafe_code,
    reason = "maps memory, and shares values behind locks and pointers of its own"
)]

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr;

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use super::{call, fail, futex};
use crate::prim::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::prim::{AtomicPtr, AtomicU32, AtomicU64};
use crate::{Deadline, Result};

/// How many words there are for the statics of the whole program.
const WORDS: usize = 512;
const BYTES: usize = WORDS * size_of::<AtomicU64>();

/// The start of the wiped memory; null until somebody needs it.
///
/// INVARIANT: once it is not null it points to [`BYTES`] bytes that are never unmapped.
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
/// Which word is handed out next; the first is never, so that its number can mean "none".
static NEXT: AtomicU32 = AtomicU32::new(1);

/// A word of this process alone: zero until this process writes it, in every process, after any kind of fork.
///
/// For statics: each takes one of a few hundred words for good.
#[derive(Debug)]
pub struct WipedWord(AtomicU32);

impl WipedWord {
    /// A word that is found on first use.
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// The word.
    ///
    /// # Errors
    ///
    /// When the system is out of memory, or older than Linux 4.14.
    ///
    /// # Source
    ///
    /// `mmap(2)`, `madvise(2)` on `MADV_WIPEONFORK`.
    #[inline]
    pub fn get(&self) -> Result<&'static AtomicU64> {
        let (page, index) = (page(&PAGE)?, self.index()?);
        // SAFETY: `index` is below the number of words of the page, so the word lies inside it.
        let word = unsafe { page.add(index) };
        // SAFETY: 1. It is aligned, as the page is. 2. The page is never unmapped, and reached through atomics only
        // (INVARIANT of `PAGE`).
        Ok(unsafe { &*word })
    }

    /// The first half of the word, for futexes; use either this or [`get`](Self::get).
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    ///
    /// # Source
    ///
    /// As [`get`](Self::get).
    pub fn half(&self) -> Result<&'static AtomicU32> {
        let half: *const AtomicU32 = ptr::from_ref(self.get()?).cast();
        // SAFETY: As for the word, of which this is the first half; nobody accesses this one as a whole.
        Ok(unsafe { &*half })
    }

    #[inline]
    fn index(&self) -> Result<usize> {
        // ORDERING: Relaxed: the number stands for itself; the page is reached through `PAGE`.
        match self.0.load(Relaxed) as usize {
            index @ 1..WORDS => Ok(index),
            _ => self.find(),
        }
    }

    #[cold]
    fn find(&self) -> Result<usize> {
        let mut index = self.0.load(Relaxed);
        if index == 0 {
            let new = NEXT.fetch_add(1, Relaxed);
            // Who loses the race wastes a word.
            index =
                self.0.compare_exchange(0, new, Relaxed, Relaxed).map_or_else(|won| won, |_| new);
        }
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        (index < WORDS).then_some(index).ok_or_else(|| {
            fail("find a word that forks wipe", format!("number {index}"), Errno::NOMEM)
        })
    }
}

impl Default for WipedWord {
    fn default() -> Self {
        Self::new()
    }
}

/// Maps the memory that forks wipe, if nobody has, so that forks of this process find it mapped.
///
/// # Errors
///
/// As [`WipedWord::get`].
///
/// # Source
///
/// As [`WipedWord::get`].
pub fn prepare() -> Result<()> {
    page(&PAGE).map(drop)
}

/// Maps the page and notes it in `place` if nobody has; never waits for another thread, which a fork might have left behind.
#[inline]
fn page(place: &AtomicPtr<AtomicU64>) -> Result<*const AtomicU64> {
    // ORDERING: Acquire: pairs with the exchange in `map_page`, after which the page is mapped and advised.
    match place.load(Acquire) {
        page if page.is_null() => map_page(place),
        page => Ok(page),
    }
}

#[cold]
fn map_page(place: &AtomicPtr<AtomicU64>) -> Result<*const AtomicU64> {
    let (access, kind) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    let map = || {
        // SAFETY: A new mapping at an address of the system's choice touches no other memory.
        unsafe { mmap_anonymous(ptr::null_mut(), BYTES, access, kind) }
    };
    let mapped = call("map memory that forks wipe", String::new, map)?;
    let wipe = || {
        // SAFETY: The memory was mapped just now and nobody else knows of it.
        unsafe { madvise(mapped, BYTES, Advice::LinuxWipeOnFork) }
    };
    let advised = call("have forks wipe memory", String::new, wipe);
    // ORDERING: AcqRel: pairs with the load above, in either role.
    let installed =
        advised.map(|()| place.compare_exchange(ptr::null_mut(), mapped.cast(), AcqRel, Acquire));
    match installed {
        Ok(Ok(_null)) => Ok(mapped.cast()),
        other => {
            // SAFETY: The memory was mapped above, and was not installed, so nobody refers to it.
            let unmapped = unsafe { munmap(mapped, BYTES) };
            debug_assert_eq!(unmapped, Ok(()), "the mapping is our own");
            other.map(|lost| lost.unwrap_or_else(|winner| winner).cast_const())
        }
    }
}

const LOCKED: u32 = 1;
const WAITERS: u32 = 2;
/// The value was made by this process.
const OURS: u32 = 4;

/// A value behind a lock, for statics; every process has its own, whatever its parent was doing when it forked.
///
/// A forked child finds the lock free and the value new. What the parent's value held is neither read nor dropped there,
/// because another thread may have been in the middle of it: memory and descriptors that it owned stay with the child
/// until that ends.
pub struct PerProcess<T> {
    /// [`LOCKED`], [`WAITERS`], [`OURS`].
    state: WipedWord,
    /// INVARIANT: reached only by the holder of the lock, and initialised where `OURS` is set.
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: The lock gives the value to one thread at a time, so it must be able to change threads and needs nothing else.
unsafe impl<T: Send> Sync for PerProcess<T> {}

impl<T: Default> PerProcess<T> {
    /// A value that is made on first use.
    pub const fn new() -> Self {
        Self { state: WipedWord::new(), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Locks the value, waiting for other threads of this process.
    ///
    /// # Errors
    ///
    /// When the system has no memory that forks wipe.
    ///
    /// # Source
    ///
    /// `futex(2)`.
    pub fn lock(&self) -> Result<PerProcessGuard<'_, T>> {
        let state = self.state.half()?;
        let mut seen = state.load(Relaxed);
        loop {
            if seen & LOCKED == 0 {
                // ORDERING: Acquire: pairs with the Release in `drop`, so that this sees what the last holder did.
                match state.compare_exchange(seen, seen | LOCKED, Acquire, Relaxed) {
                    Ok(_) => break,
                    Err(now) => seen = now,
                }
                continue;
            }
            let waiting = seen | WAITERS;
            match state.compare_exchange(seen, waiting, Relaxed, Relaxed) {
                Ok(_) => futex::wait(state, waiting, Deadline::NEVER).map(drop)?,
                Err(now) => {
                    seen = now;
                    continue;
                }
            }
            seen = state.load(Relaxed);
        }
        let guard = PerProcessGuard { state, value: self.value.get() };
        if seen & OURS == 0 {
            let new = MaybeUninit::new(T::default());
            // SAFETY: We hold the lock. What is overwritten is no value, or the parent's, which is forgotten.
            unsafe { guard.value.write(new) };
            // ORDERING: Relaxed: under the lock.
            state.fetch_or(OURS, Relaxed);
        }
        Ok(guard)
    }
}

impl<T: Default> Default for PerProcess<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for PerProcess<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerProcess").finish_non_exhaustive()
    }
}

/// The value of a [`PerProcess`], locked until this is dropped.
#[must_use = "the lock is free again once this is dropped"]
#[derive(Debug)]
pub struct PerProcessGuard<'a, T> {
    state: &'a AtomicU32,
    /// INVARIANT: the value of the lock that this guard holds; a raw pointer, which also keeps the guard on its thread.
    value: *mut MaybeUninit<T>,
}

impl<T> Deref for PerProcessGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The lock is held, so nobody else refers to the value mutably.
        let value = unsafe { &*self.value };
        // SAFETY: `lock` hands out guards of initialised values only.
        unsafe { value.assume_init_ref() }
    }
}

impl<T> DerefMut for PerProcessGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: The lock is held, so nobody else refers to the value.
        let value = unsafe { &mut *self.value };
        // SAFETY: `lock` hands out guards of initialised values only.
        unsafe { value.assume_init_mut() }
    }
}

impl<T> Drop for PerProcessGuard<'_, T> {
    fn drop(&mut self) {
        // ORDERING: Release: pairs with the Acquire in `lock`.
        if self.state.fetch_and(OURS, Release) & WAITERS != 0 {
            // All of them: who comes next does not know whether there are more.
            let woken = futex::wake(self.state, u32::MAX);
            debug_assert!(woken.is_ok(), "the word is mapped and aligned");
        }
    }
}

/// A value that is set once, or replaced rarely, and lives as long as the program. Neither setting nor reading ever waits.
#[derive(Debug)]
pub struct SetOnce<T: 'static>(
    /// INVARIANT: null, or from `Box::into_raw` and never freed.
    AtomicPtr<T>,
);

impl<T: Send + Sync> SetOnce<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// The value, once it is set.
    pub fn get(&self) -> Option<&'static T> {
        // ORDERING: Acquire: pairs with the exchange in `set`, before which the value was written.
        let value = self.0.load(Acquire);
        // SAFETY: Null, or a value that is never freed nor changed (INVARIANT of the field), seen whole because of the
        // ordering. Sharing it between threads is sound because it is `Sync`.
        unsafe { value.as_ref() }
    }

    /// Sets the value and returns it, or the one that was there before.
    pub fn set(&self, value: T) -> &'static T {
        let new = Box::into_raw(Box::new(value));
        // ORDERING: AcqRel: Release pairs with the load in `get`; Acquire, with the exchange of who came first.
        let set = self.0.compare_exchange(ptr::null_mut(), new, AcqRel, Acquire);
        let winner = match set {
            Ok(_null) => new,
            Err(other) => {
                // SAFETY: `new` comes from `Box::into_raw` above and was not published.
                drop(unsafe { Box::from_raw(new) });
                other
            }
        };
        // SAFETY: Not null, and as in `get`.
        unsafe { &*winner }
    }
}

impl<T: Send + Sync> SetOnce<T> {
    /// Sets the value whether or not there was one before, which stays where it is: others may refer to it. For what
    /// changes a few times in the life of a program.
    pub fn replace(&self, value: T) -> &'static T {
        let new = Box::into_raw(Box::new(value));
        // ORDERING: Release: pairs with the load in `get`.
        self.0.store(new, Release);
        // SAFETY: It comes from `Box::into_raw` and is never freed (INVARIANT of the field).
        unsafe { &*new }
    }
}

impl<T: Send + Sync> Default for SetOnce<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The namespaces that give process numbers and start times their meaning: equal where the meaning is the same.
///
/// # Errors
///
/// When `/proc` is not mounted.
///
/// # Source
///
/// `namespaces(7)`, `pid_namespaces(7)`, `time_namespaces(7)`: `/proc/self/ns`.
pub fn namespaces() -> Result<u64> {
    // Inode numbers of these links are 32 bits wide (`proc_alloc_inum` in the kernel).
    let number = |path: &str| {
        let link = call("read", || path.into(), || rustix::fs::readlink(path, Vec::new()))?;
        let text = link.to_string_lossy();
        let digits = text.split_once('[').and_then(|(_, rest)| rest.strip_suffix(']'));
        digits
            .and_then(|digits| digits.parse::<u32>().ok())
            .ok_or_else(|| fail("read", path.into(), Errno::INVAL))
    };
    let pid = number("/proc/self/ns/pid")?;
    // Before Linux 5.6 there are no time namespaces.
    let time = number("/proc/self/ns/time").unwrap_or(0);
    Ok(u64::from(pid) << 32 | u64::from(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prim::AtomicBool;

    static WORD: WipedWord = WipedWord::new();
    static VALUE: PerProcess<Vec<u32>> = PerProcess::new();

    /// Runs `check` in a forked child; `true` when it held there.
    fn holds_in_a_fork(check: fn() -> bool) -> bool {
        // SAFETY: The child of this threaded process calls nothing but `check`, which only reads memory and takes a lock
        // that forks wipe (the point of the test), and ends without going through any destructor.
        match unsafe { libc::fork() } {
            0 => super::super::process::exit_now(u8::from(!check())),
            child => {
                let mut status = 0;
                // SAFETY: `child` is a child of ours that nobody else waits for; the pointer is to a local.
                let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
                assert_eq!(waited, child);
                libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
            }
        }
    }

    #[test]
    fn a_fork_zeroes_the_word_in_the_child_only() {
        let word = WORD.get().unwrap();
        assert_eq!(word.load(Relaxed), 0);
        word.store(7, Relaxed);
        assert!(holds_in_a_fork(|| WORD.get().is_ok_and(|word| word.load(Relaxed) == 0)));
        assert!(!holds_in_a_fork(|| WORD.get().is_ok_and(|word| word.load(Relaxed) == 7)));
        assert_eq!(word.load(Relaxed), 7);
    }

    #[test]
    fn threads_that_map_the_page_at_once_get_the_same() {
        for _ in 0..200 {
            let (place, waiting) = (AtomicPtr::default(), AtomicU32::new(2));
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        waiting.fetch_sub(1, Relaxed);
                        while waiting.load(Relaxed) > 0 {
                            std::thread::yield_now();
                        }
                        let mine = page(&place).unwrap();
                        assert!(!mine.is_null());
                        assert_eq!(mine, place.load(Relaxed).cast_const());
                    });
                }
            });
            // SAFETY: The memory was mapped above; the threads that knew it have ended.
            unsafe { munmap(place.into_inner().cast(), BYTES) }.unwrap();
        }
    }

    #[test]
    fn a_value_that_was_locked_at_the_fork_is_free_and_new_in_the_child() {
        let mut value = VALUE.lock().unwrap();
        value.push(1);
        assert!(holds_in_a_fork(|| VALUE.lock().is_ok_and(|value| value.is_empty())));
        drop(value);
        assert_eq!(*VALUE.lock().unwrap(), [1]);
    }

    #[test]
    fn one_thread_at_a_time_has_the_value() {
        static COUNT: PerProcess<u64> = PerProcess::new();
        static INSIDE: AtomicBool = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let mut count = COUNT.lock().unwrap();
                        assert!(!INSIDE.swap(true, Relaxed));
                        *count += 1;
                        INSIDE.store(false, Relaxed);
                    }
                });
            }
        });
        assert_eq!(*COUNT.lock().unwrap(), 8000);
    }

    #[test]
    fn the_first_to_set_wins() {
        static ONCE: SetOnce<String> = SetOnce::new();
        assert_eq!(ONCE.get(), None);
        assert_eq!(ONCE.set("first".into()), "first");
        assert_eq!(ONCE.set("second".into()), "first");
        assert_eq!(ONCE.get().unwrap(), "first");
    }

    #[test]
    fn namespaces_stay_the_same() {
        assert_ne!(namespaces().unwrap() >> 32, 0);
        assert_eq!(namespaces().unwrap(), namespaces().unwrap());
    }
}
