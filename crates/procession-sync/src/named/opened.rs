//! One opening of the file by one process: takes the lock, signs, and gives it back.

use std::path::Path;
use std::time::Duration;

use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_sys::file_lock::{About, Changes, LockFile, Watch};
use procession_sys::poll;
use procession_sys::prim::{Mutex, lock};

use super::gate::Gate;
use super::life;
use super::record::{BLANK, Content, LEN, NamedOwner};

/// Longer files are no locks: a record takes [`LEN`] bytes, a pid file of others hardly more, and a page is what nobody writes by
/// hand. So a slip of the user's overwrites no document.
const MOST_BYTES: u64 = 4096;

/// How soon the lock is tried again after an event that did not bring it: releasing is two calls of some µs in all, and a kill
/// ends about as fast after the event that it raises. Each further time takes twice as long, up to one of the limits below.
const FIRST_PAUSE: Duration = Duration::from_micros(64);

/// How often the lock is tried although nothing happens: where events do not tell (another machine on a network file system),
/// and when whoever was about to give the lock back lost the processor in between for longer than the pauses have grown.
const WATCHED_PAUSE: Duration = Duration::from_millis(100);

/// How often the lock is tried when nothing can be watched.
const BLIND_PAUSE: Duration = Duration::from_millis(10);

/// What this process has opened.
#[derive(Debug)]
pub(super) struct Opened {
    file: LockFile,
    /// [`life::number`] of the process that opened it, and the only one to use it.
    life: u64,
    gate: Gate,
    /// Used by whoever is inside the gate, when it waits with a deadline. Kept for the next such wait, because it takes 20 ms to
    /// close.
    changes: Mutex<Option<Changes>>,
}

/// In which order the lock was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    InOrder,
    AfterDeath,
}

impl Opened {
    pub(super) fn new(path: &Path) -> Result<Self> {
        let life = life::number()?;
        let file = LockFile::open(path)?;
        let About { is_regular, len_bytes, .. } = file.about()?;
        let why_not = match (is_regular, len_bytes) {
            (false, _) => "it is not a regular file",
            (true, MOST_BYTES..) => "there is too much in it for the file of a lock",
            (true, _) => {
                return Ok(Self { file, life, gate: Gate::default(), changes: Mutex::new(None) });
            }
        };
        let text = format!("could not use {} as a lock: {why_not}", path.display());
        Err(Error::new(ErrorKind::InvalidInput, text))
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Whether this process opened it, and not one that it was forked from.
    pub(super) fn is_ours(&self) -> bool {
        life::number().is_ok_and(|life| life == self.life)
    }

    /// Takes the lock; `None` when the deadline passed first.
    pub(super) fn take(&self, deadline: Deadline) -> Result<Option<Found>> {
        if !self.gate.enter(deadline) {
            return Ok(None);
        }
        let mut entry = Entry { opened: self, is_locked: false, is_kept: false };
        entry.is_locked = match deadline {
            Deadline::NEVER => self.file.lock().map(|()| true)?,
            _ => self.lock_until(deadline)?,
        };
        if !entry.is_locked {
            return Ok(None);
        }
        let found = self.sign()?;
        entry.is_kept = true;
        self.gate.note_lock();
        Ok(Some(found))
    }

    /// Gives the lock back, to be found as told.
    pub(super) fn give_back(&self, leave: Found) {
        match leave {
            // A record that cannot be cleared stays, and the next taker looks after what the lock protects for nothing.
            Found::InOrder => drop(self.file.write(&BLANK)),
            // The record stays: whoever finds it, knows.
            Found::AfterDeath => {}
        }
        self.unlock();
    }

    /// Who has the lock, unless nobody does or it cannot be told.
    pub(super) fn owner(&self) -> Result<Option<NamedOwner>> {
        if !self.gate.has_lock() && !self.file.is_locked_elsewhere()? {
            // What is written there is left from somebody who died.
            return Ok(None);
        }
        let mut buffer = [0; LEN];
        let len = self.file.read(&mut buffer)?;
        match Content::of(&buffer[..len]) {
            Content::Owner(owner) => Ok(Some(owner)),
            Content::Blank | Content::Garbage => Ok(None),
        }
    }

    fn lock_until(&self, deadline: Deadline) -> Result<bool> {
        if self.file.try_lock()? {
            return Ok(true);
        }
        if deadline.has_passed() {
            return Ok(false);
        }
        let mut changes = lock(&self.changes);
        if changes.is_none() {
            // Without, it takes longer to see.
            *changes = Changes::new().ok();
        }
        let watch = changes.as_ref().and_then(|changes| changes.watch(&self.file).ok());
        let longest = if watch.is_some() { WATCHED_PAUSE } else { BLIND_PAUSE };
        let mut pause = FIRST_PAUSE;
        loop {
            // Also after the watch has begun: what happened before raised no event.
            if self.file.try_lock()? {
                return Ok(true);
            }
            let Some(left) = deadline.remaining().filter(|left| !left.is_zero()) else {
                return Ok(false);
            };
            pause = match sleep(watch.as_ref(), pause.min(left))? {
                true => FIRST_PAUSE,
                false => longest.min(pause * 2),
            };
        }
    }

    /// Writes down that this process has the lock; tells how it was found.
    fn sign(&self) -> Result<Found> {
        let about = self.file.about()?;
        if !about.is_linked {
            // Others make a new file at this path, and would not meet us here.
            let text =
                format!("{} was removed or replaced while it was open", self.path().display());
            return Err(Error::new(ErrorKind::Broken, text));
        }
        let mut buffer = [0; LEN];
        let len = self.file.read(&mut buffer)?;
        // Blanks with more behind them are not ours.
        let is_longer = about.len_bytes > LEN as u64;
        let found = match Content::of(&buffer[..len]) {
            Content::Blank if !is_longer => Found::InOrder,
            _ => Found::AfterDeath,
        };
        let record = life::owner()?.record();
        let written = self.file.write(&record).and_then(|()| match is_longer {
            true => self.file.cut(LEN as u64),
            false => Ok(()),
        });
        if written.is_err() && found == Found::InOrder {
            // What the disk took of the record is no death. If this is refused as well, the next taker looks after what the
            // lock protects for nothing.
            drop(self.file.write(&BLANK[..len]).and_then(|()| self.file.cut(len as u64)));
        }
        Ok(written.map(|()| found)?)
    }

    fn unlock(&self) {
        // Not refused for what has the lock; where it is all the same, the lock ends with the descriptor.
        drop(self.file.unlock());
        // Only now: a thread that comes in may have the same lock.
        self.gate.leave();
    }
}

/// Waits for an event or as long as it takes; tells whether there was an event.
fn sleep(watch: Option<&Watch<'_>>, pause: Duration) -> Result<bool> {
    let deadline = Deadline::after(pause);
    Ok(match watch {
        Some(watch) => watch.wait(deadline)?,
        None => poll::wait(&mut [], deadline)? > 0,
    })
}

/// A thread inside the gate, which leaves it again unless the lock is kept.
struct Entry<'a> {
    opened: &'a Opened,
    is_locked: bool,
    is_kept: bool,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        match (self.is_kept, self.is_locked) {
            (true, _) => {}
            (false, true) => self.opened.unlock(),
            (false, false) => self.opened.gate.leave(),
        }
    }
}
