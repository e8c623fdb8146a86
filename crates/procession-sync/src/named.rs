//! Locks by name: of programs that know of each other only by a path.
//!
//! # Protocol
//!
//! The lock is the system's, on the whole file, and belongs to one opening of it (`F_OFD_SETLK`). The system gives it up when the
//! process that opened it ends, however it ends. That it *ended* over the lock is told by the file: whoever has the lock signs
//! there, and blanks that out before it gives the lock back. So the states of a lock are those of two things:
//!
//! | locked | file | state |
//! |---|---|---|
//! | no | blank or empty | free |
//! | yes | blank or empty | being taken or given back; nobody is inside |
//! | yes | record | held |
//! | no | anything else | its owner died, or passed on that somebody did |
//!
//! Taking it is: lock, look that the file still has a name, read, write the record. Giving it back is: write blanks, unlock. Each
//! of these is one call into the system, which a kill finds done or not begun; and the file is looked at only by whoever
//! has the lock.
//!
//! | the owner is killed | the file holds | the next taker |
//! |---|---|---|
//! | while it waits for the lock | what it held before | as if it had not come |
//! | after it has locked, before its record is written | what it held before | as if it had not come: in order, or after the death before, which nobody was told of yet |
//! | inside the call that writes the record, if that can be | a part of one | `OwnerDied`, though nothing was touched |
//! | after that, before the call that took the lock returns | its record | `OwnerDied`, though nothing was touched |
//! | while it has the guard, before or after `repair` | its record | `OwnerDied` |
//! | while the guard is dropped, before the blanks are written | its record | `OwnerDied`, though all was done |
//! | inside the call that writes the blanks, if that can be | a part of a record | `OwnerDied`, though all was done |
//! | between blanks and unlocking | blanks | in order |
//! | after unlocking | what the next one makes of it | in order |
//! | when it passes a death on, before or after unlocking | its record | `OwnerDied` |
//!
//! So a death is told of whenever the guard was out; and when nobody has died, only if the file system refused to take the
//! blanks. The system unlocks when the last thread of the process is gone: nothing of the dead owner runs any more when the next
//! one is inside.
//!
//! A crash of the machine is a death as well, as far as the disk had the record: nothing here waits for a disk.
//!
//! # Threads
//!
//! An opening is the unit of the system's lock, so the threads that share one take turns at a gate first. Lock order:
//! gate, file; given back in the opposite order. Two openings in one process exclude each other by the file.
//!
//! # Forks
//!
//! A fork shares the openings of its parent, and with them the locks: it could unlock them, and lock what is locked. So what was
//! opened by another process is not touched here: a guard that came with a fork does nothing, and a lock that came with it is
//! opened anew on first use ([`REOPENED`]).
//!
//! # Waiting
//!
//! Without a deadline the system queues us. Its queue knows no deadlines, though, and only a signal takes a thread out of it. So
//! with a deadline we watch the file by inotify: blanks raise an event, and so does the closing of a descriptor by a death. Both
//! come just before the system unlocks, so after each we try a few times, at growing distances; and ten times a second for what
//! raises no event.
//!
//! *Considered:*
//!
//! - *a signal of our own that ends the call:* exact; but a library that takes a signal for itself meets another that has taken
//!   the same one;
//! - *a thread that waits in the queue:* cannot be called back. A process that shares our descriptors could, by a kill; it takes
//!   a hundred times as long to make, and is a child that the program knows nothing of;
//! - *a pidfd of the owner that the record names:* comes after the system has unlocked; but knows nothing of the orderly way, of
//!   owners in other containers, and of forks that keep the lock;
//! - *a robust futex in the file, mapped:* whoever cuts the file off kills all who look at it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;
use procession_sys::wipe::PerProcess;

use crate::LockError;
use opened::{Found, Opened};
pub use record::NamedOwner;

mod gate;
mod life;
mod opened;
mod record;
#[cfg(test)]
mod tests;

/// What this process has opened anew of the locks that it was forked with, by their [numbers](NamedLock::number).
static REOPENED: PerProcess<BTreeMap<u64, Arc<Opened>>> = PerProcess::new();

/// A lock that unrelated programs share by the path of a file: for what `flock` and pid files are used for.
///
/// It excludes processes, the threads of one, and two `NamedLock`s of one path in the same process from each other. It is
/// advisory: it stops nobody who does not ask for it. A thread that asks for it twice waits for itself.
///
/// # The file
///
/// While somebody has the lock, the first line of the file is its process number, and the second says when it started; while
/// nobody does, the file is empty or blank. Anything else in it while nobody has the lock, be it a pid file that another program
/// has left, means that somebody died, and is overwritten by the next taker.
///
/// The file stays where it is, for ever. **Do not remove it** while programs may use it: those that have opened it would not meet
/// those that make it anew. Who takes a lock whose file has lost its name is told
/// ([`Broken`](ErrorKind::Broken)); who has it already is not.
///
/// The lock ends with the process and outlives nothing, so a folder that is emptied at boot is a good place for it: `/run`, or
/// the one that `XDG_RUNTIME_DIR` names. Only a file on a disk tells of a crash of the machine, though, if the disk had got the
/// record. In a folder that everybody may write to, others can make the file first and keep the lock.
///
/// # Drop, kill, fork
///
/// Dropping the `NamedLock` closes the file; if it has ever waited with a deadline, that takes the system up to 20 ms.
///
/// **A process that ends while it has the lock has died over it**, be it by `SIGKILL`, by an abort, by a crash of the machine, or
/// in order: by [`exit`](std::process::exit), with a guard that was leaked, or because it executes another program. The system
/// gives the lock to the next taker, who gets [`LockError::OwnerDied`] with the guard in it. A process that is killed while it
/// waits changes nothing. One that is stopped (`SIGSTOP`) is alive, and keeps the lock.
///
/// **In a forked child** a guard of the parent does nothing, and dropping it neither. The `NamedLock` may be used there; it opens
/// the file anew at the path of old, and has to wait for the parent as everybody else. The child's copy of the parent's
/// descriptor keeps the parent's lock alive, though: if the parent dies over the lock while a child that was forked without
/// `exec` lives, the next taker waits until that child has ended as well, or has dropped its copy of the `NamedLock`, or has
/// executed another program. Children of the start method `fork` end with their parent unless they were told to outlive it. A
/// daemon that forks into the background takes its lock afterwards.
///
/// # Network file systems
///
/// The lock is what `fcntl` gives. Over NFS these are locks of byte ranges: the server keeps them, and takes them from a dead
/// machine when it learns of its end, which takes minutes, or until that machine is up again; a mount with `nolock` or
/// `local_lock` excludes processes of one machine only. Waits with a deadline see what other machines do within 100 ms. A process
/// number says nothing about which machine it is on.
///
/// # Source
///
/// `fcntl(2)`, "Open file description locks"; `flock(2)`, which excludes nobody who uses this one. CPython has no such thing:
/// `multiprocessing` has no locks by name, and `fcntl.flock` tells nobody of a death.
///
/// # Examples
///
/// ```
/// use procession_sync as procession;
/// use procession::{LockError, NamedLock};
/// use std::time::Duration;
///
/// # let path = std::env::temp_dir().join(format!("procession-doc-{}", std::process::id()));
/// let lock = NamedLock::open(&path)?;
/// let guard = match lock.lock_timeout(Duration::from_secs(10)) {
///     Ok(guard) => guard,
///     // Whoever had it was killed: what it was at may be half done.
///     Err(LockError::OwnerDied(mut guard)) => {
///         println!("putting things in order");
///         guard.repair();
///         guard
///     }
///     Err(LockError::TimedOut) => panic!("{:?} has it", lock.owner()?),
///     Err(LockError::Failed(error)) => return Err(error),
/// };
/// assert_eq!(lock.owner()?.map(|owner| owner.pid), Some(std::process::id()));
/// drop(guard);
/// assert_eq!(lock.owner()?, None);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), procession_core::Error>(())
/// ```
pub struct NamedLock {
    home: Opened,
    /// Another one for each lock of this process, and those of the processes that it was forked from.
    number: u64,
}

impl NamedLock {
    /// Opens the lock at `path`, and makes the file if there is none, in a folder that exists. Takes nothing.
    ///
    /// A new file may be used by its owner only (mode 0600). For a lock of several users, make it beforehand with the mode that
    /// it shall have: whoever is to take the lock must be allowed to read and write it.
    ///
    /// # Errors
    ///
    /// [`Os`](ErrorKind::Os) with the system's code when there is a folder at `path` (`EISDIR`), a symbolic link, which
    /// could lead to somebody else's file (`ELOOP`), no such folder (`ENOENT`), or a file that this process may not
    /// read and write (`EACCES`, `EROFS`), and when this process may open no more descriptors (`EMFILE`);
    /// [`InvalidInput`](ErrorKind::InvalidInput) for what is not a regular file, or holds more than 4096 bytes and so
    /// is somebody's document.
    ///
    /// # Source
    ///
    /// `open(2)`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let path = path.as_ref();
        let absolute = std::path::absolute(path).map_err(|error| {
            let text = format!("could not tell where {} is", path.display());
            Error::new(ErrorKind::InvalidInput, text).caused_by(&error)
        })?;
        let home = Opened::new(&absolute)?;
        // ORDERING: Relaxed: the number stands for itself.
        Ok(Self { home, number: COUNTER.fetch_add(1, Relaxed) })
    }

    /// The path, from the root.
    pub fn path(&self) -> &Path {
        self.home.path()
    }

    /// Takes the lock, and waits for that however long it takes: the system queues whoever waits, and nothing is polled.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`] with the guard when whoever had it before died over it; [`LockError::Failed`] when the
    /// file system has no locks ([`Os`](ErrorKind::Os), `ENOLCK`), is full or fails, and when the file has lost its
    /// name ([`Broken`](ErrorKind::Broken)).
    ///
    /// # Source
    ///
    /// `fcntl(2)`, `F_OFD_SETLKW`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use procession_sync as procession;
    /// # let path = std::env::temp_dir().join(format!("procession-doc-lock-{}", std::process::id()));
    /// let lock = procession::NamedLock::open(&path)?;
    /// let guard = lock.lock()?;
    /// // Nobody else is in here.
    /// drop(guard);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), procession_core::Error>(())
    /// ```
    pub fn lock(&self) -> Result<NamedLockGuard<'_>, LockError<NamedLockGuard<'_>>> {
        self.lock_deadline(Deadline::NEVER)
    }

    /// Takes the lock if nobody has it. A thread of this process that waits for it by this very `NamedLock` counts as if it had
    /// it.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`] when somebody has it; otherwise as [`lock`](Self::lock).
    ///
    /// # Source
    ///
    /// `fcntl(2)`, `F_OFD_SETLK`.
    pub fn try_lock(&self) -> Result<NamedLockGuard<'_>, LockError<NamedLockGuard<'_>>> {
        self.lock_timeout(Duration::ZERO)
    }

    /// Takes the lock, and waits for that at most this long.
    ///
    /// # Errors
    ///
    /// As [`lock_deadline`](Self::lock_deadline).
    ///
    /// # Source
    ///
    /// As [`lock_deadline`](Self::lock_deadline).
    pub fn lock_timeout(
        &self,
        timeout: Duration,
    ) -> Result<NamedLockGuard<'_>, LockError<NamedLockGuard<'_>>> {
        self.lock_deadline(Deadline::after(timeout))
    }

    /// Takes the lock, and waits for that until the deadline; tries once in any case.
    ///
    /// It waits for events of the file. What raises none it sees within 100 ms; and within 10 ms where there are no events
    /// because the user of this process has as many watchers as the system allows (128, commonly, of which each `NamedLock` that
    /// has ever waited so keeps one), or because `/proc` is not mounted. Whoever waits without a deadline is served first.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`] when somebody else had it until the deadline; otherwise as [`lock`](Self::lock).
    ///
    /// # Source
    ///
    /// `fcntl(2)`, `F_OFD_SETLK`; `inotify(7)`.
    pub fn lock_deadline(
        &self,
        deadline: Deadline,
    ) -> Result<NamedLockGuard<'_>, LockError<NamedLockGuard<'_>>> {
        let place = self.place()?;
        let Some(found) = place.take(deadline)? else { return Err(LockError::TimedOut) };
        let guard = NamedLockGuard { place, leave: found };
        match found {
            Found::InOrder => Ok(guard),
            Found::AfterDeath => Err(LockError::OwnerDied(guard)),
        }
    }

    /// Who has the lock at this moment, for people to read: it may be over by the time that this returns.
    ///
    /// `None` when nobody has it, or when it cannot be told who: one that is just taking it or giving it back, and a program that
    /// locks the file in its own way.
    ///
    /// # Errors
    ///
    /// [`Os`](ErrorKind::Os) when the file system has no locks, or fails.
    ///
    /// # Source
    ///
    /// `fcntl(2)`, `F_OFD_GETLK`.
    pub fn owner(&self) -> Result<Option<NamedOwner>> {
        self.place()?.owner()
    }

    /// Where this process has the file open.
    fn place(&self) -> Result<Place<'_>> {
        if self.home.is_ours() {
            return Ok(Place::Home(&self.home));
        }
        let mut reopened = REOPENED.lock()?;
        if let Some(opened) = reopened.get(&self.number) {
            return Ok(Place::Fork(Arc::clone(opened)));
        }
        let opened = Arc::new(Opened::new(self.path())?);
        reopened.insert(self.number, Arc::clone(&opened));
        Ok(Place::Fork(opened))
    }
}

impl Drop for NamedLock {
    fn drop(&mut self) {
        if !self.home.is_ours() {
            // Without such memory, nothing was opened either.
            drop(REOPENED.lock().map(|mut reopened| reopened.remove(&self.number)));
        }
    }
}

impl fmt::Debug for NamedLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedLock").field("path", &self.path()).finish_non_exhaustive()
    }
}

/// Where a lock is open: in the process that opened it, or in a fork of that, which opened it anew.
enum Place<'a> {
    Home(&'a Opened),
    Fork(Arc<Opened>),
}

impl Deref for Place<'_> {
    type Target = Opened;

    fn deref(&self) -> &Opened {
        match self {
            Self::Home(opened) => opened,
            Self::Fork(opened) => opened,
        }
    }
}

/// As long as this lives, the lock of a [`NamedLock`] is held. Any thread may drop it.
///
/// # Drop, kill, fork
///
/// Dropping it gives the lock back, in a panic as well: who must know of panics, writes that down where it belongs. A guard that
/// came in [`LockError::OwnerDied`] and is dropped without [`repair`](Self::repair) passes the death on: the next taker gets
/// `OwnerDied`, too.
///
/// A process that ends while it has a guard has died over it, however it ends. With a guard that is leaked, the lock is held
/// until the process ends, or its `NamedLock` is dropped. In a forked child, a guard of the parent does nothing.
#[must_use = "the lock is given back once this is dropped"]
pub struct NamedLockGuard<'a> {
    place: Place<'a>,
    /// How the next taker shall find the lock.
    leave: Found,
}

impl NamedLockGuard<'_> {
    /// Says that what the lock protects is in order again, after a death: the next taker is not told of it any more.
    ///
    /// Who is killed between this and the drop of the guard has died over the lock in turn.
    pub fn repair(&mut self) {
        self.leave = Found::InOrder;
    }

    /// Whether whoever had the lock before died over it, and [`repair`](Self::repair) has not been called since: the next taker
    /// would be told.
    pub fn is_after_death(&self) -> bool {
        self.leave == Found::AfterDeath
    }
}

impl Drop for NamedLockGuard<'_> {
    fn drop(&mut self) {
        if self.place.is_ours() {
            self.place.give_back(self.leave);
        }
    }
}

impl fmt::Debug for NamedLockGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedLockGuard")
            .field("path", &self.place.path())
            .field("is_after_death", &self.is_after_death())
            .finish()
    }
}
