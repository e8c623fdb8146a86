//! [`SharedMemoryScope`]: blocks with names that go when a scope ends.
//!
//! A scope has a file of its own beside the blocks, `procession.<process>.<random>`, which is locked as long as the scope, or a
//! fork of its process, lives; its blocks are called the same, with a number behind. The system unlocks the file of who is killed.
//! Whoever finds it unlocked unlinks the blocks, and the file last: the process that recovers the dead one, or the next one that
//! makes a scope.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use procession_core::exit::Finalizer;
use procession_core::family::{DeadProcess, Family, register_recovery};
use procession_core::{Error, ErrorKind, Result};
use procession_sys::before_main;
use procession_sys::block;
use procession_sys::file_lock::LockFile;
use procession_sys::prim::{AtomicU32, Ordering::Relaxed};
use procession_sys::{process, random};

use crate::{Item, ShareableList, SharedMemory};

/// What the names of all scopes begin with.
const PREFIX: &str = "procession.";

/// Where names are files.
const FOLDER: &str = "/dev/shm";

/// Makes blocks with names that go when it ends: when it is dropped, also by a panic, or when its process exits or is killed.
///
/// Names are for programs that do not know each other, and outlive all processes. A scope takes its names away again. Who has a
/// block mapped goes on with it.
///
/// # Drop, kill, fork
///
/// Dropped, and at the exit of the process, it unlinks its blocks. When the process is killed, whoever in its family recovers it does, or
/// else the next process of this user that makes a scope. When a whole tree of processes is killed, the names, and the memory,
/// stay until then; the name of each begins with `procession.` and the number of its process, so that it can be told whose it
/// was. A fork of the process may use the blocks, and does not end the scope; as long as it lives, the names of a killed parent stay.
///
/// # Source
///
/// CPython `multiprocessing.managers.SharedMemoryManager`.
///
/// # Examples
///
/// ```
/// # use procession_shared as procession;
/// # fn main() -> procession_core::Result<()> {
/// use procession::{SharedMemory, SharedMemoryScope};
///
/// let scope = SharedMemoryScope::new()?;
/// let memory = scope.shared_memory(1000)?;
/// let name = memory.name().unwrap().to_owned();
/// SharedMemory::attach(&name)?.write(0, b"from another program")?;
///
/// drop(scope);
/// assert!(SharedMemory::attach(&name).is_err());
/// assert_eq!(memory.read_vec(0..4)?, b"from"); // who has it, has it
/// # Ok(())
/// # }
/// ```
#[must_use = "its blocks go when it is dropped"]
pub struct SharedMemoryScope {
    names: Arc<Names>,
    /// Takes the names away, in this process only.
    finalizer: Finalizer,
}

/// The names of a scope.
struct Names {
    base: String,
    used: AtomicU32,
    /// Locked.
    _file: LockFile,
}

impl SharedMemoryScope {
    /// Makes a scope; and takes away what scopes of killed processes have left.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when there is no `/dev/shm` to write to, or this process is out of descriptors or memory; as
    /// [`Family::me`](procession_core::family::Family::me).
    pub fn new() -> Result<Self> {
        // So that somebody recovers this process.
        Family::current()?.me()?;
        sweep(PREFIX);
        let names = Arc::new(Names::new()?);
        let base = names.base.clone();
        let finalizer = Finalizer::new(0, move || unlink_all(&base))?;
        Ok(Self { names, finalizer })
    }

    /// Makes a block of `size` bytes, all zero, under a name of its own.
    ///
    /// # Errors
    ///
    /// As [`SharedMemory::create_unique`]; [`ErrorKind::Closed`] when the process is exiting, and the scope has ended.
    #[doc(alias = "SharedMemory")]
    pub fn shared_memory(&self, size: usize) -> Result<SharedMemory> {
        let memory = SharedMemory::create_with(size, || {
            let number = self.names.used.fetch_add(1, Relaxed);
            Ok(format!("{}.{number}", self.names.base))
        })?;
        if !self.is_open() {
            // It may have come too late for the scope's end.
            drop(memory.unlink());
            return Err(Error::new(ErrorKind::Closed, "the scope of shared memory has ended"));
        }
        Ok(memory)
    }

    /// Makes a list of these items under a name of its own.
    ///
    /// # Errors
    ///
    /// As [`ShareableList::new`] and [`shared_memory`](Self::shared_memory).
    #[doc(alias = "ShareableList")]
    pub fn shareable_list(
        &self,
        items: impl IntoIterator<Item = impl Into<Item>>,
    ) -> Result<ShareableList> {
        ShareableList::make(items, |size| self.shared_memory(size))
    }

    /// What the names of its blocks begin with.
    pub fn prefix(&self) -> &str {
        &self.names.base
    }

    /// Whether it has not ended: a scope in a static does so when the process exits.
    fn is_open(&self) -> bool {
        self.finalizer.is_pending()
    }
}

impl fmt::Debug for SharedMemoryScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemoryScope")
            .field("prefix", &self.names.base)
            .finish_non_exhaustive()
    }
}

impl Names {
    fn new() -> Result<Self> {
        loop {
            let mut bytes = [0; 8];
            random::fill(&mut bytes)?;
            let base = format!("{PREFIX}{}.{:016x}", process::id(), u64::from_ne_bytes(bytes));
            let file = LockFile::open(&path_of(&base))?;
            // Somebody who sweeps may have taken it for a dead one's, before it was locked.
            if file.try_lock()? && file.about()?.is_linked {
                return Ok(Self { base, used: AtomicU32::new(0), _file: file });
            }
        }
    }
}

fn path_of(base: &str) -> PathBuf {
    PathBuf::from(format!("{FOLDER}/{base}"))
}

/// Unlinks the blocks of a scope, and its file last, by which they are found.
fn unlink_all(base: &str) {
    let blocks = block::names(&format!("{base}.")).unwrap_or_default();
    for name in blocks.iter().map(String::as_str).chain([base]) {
        // It may be gone: blocks can be unlinked one by one.
        drop(block::unlink(name));
    }
}

/// Takes away what is left of scopes whose names begin with `prefix` and that nobody has. What belongs to other users stays.
fn sweep(prefix: &str) {
    for name in block::names(prefix).unwrap_or_default() {
        // The names of blocks have a number behind.
        if name.split('.').count() != 3 {
            continue;
        }
        let Ok(file) = LockFile::open(&path_of(&name)) else { continue };
        if file.try_lock().unwrap_or(false) {
            unlink_all(&name);
        }
    }
}

before_main!(register);

fn register() {
    // There is room for a dozen.
    drop(register_recovery("shared memory scopes", recover));
}

/// Takes away what scopes of a dead process have left.
fn recover(dead: &DeadProcess) {
    if dead.pid != 0 {
        sweep(&format!("{PREFIX}{}.", dead.pid));
    }
}
