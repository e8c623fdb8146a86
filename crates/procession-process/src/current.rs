//! What this process is in its family, and who its parent is.

use std::cell::RefCell;
use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;
use std::time::Duration;

use procession_core::authkey::AuthKey;
use procession_core::{Deadline, Result, lifeline};
use procession_sys::prim::{AtomicU32, Ordering};
use procession_sys::wipe::SetOnce;
use procession_sys::{poll, process};
use serde::{Deserialize, Serialize};

/// Who started this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parent {
    pid: u32,
    name: String,
    /// Its command line, without its own name.
    arguments: Vec<Vec<u8>>,
}

/// A process of the family, or a thread that stands for one.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) name: String,
    path: Vec<u32>,
    is_daemon: bool,
    parent: Option<Parent>,
    children: AtomicU32,
}

static CURRENT: SetOnce<Current> = SetOnce::new();

thread_local! {
    /// In a thread that stands for a process.
    static IN_THREAD: RefCell<Option<Arc<Current>>> = const { RefCell::new(None) };
}

impl Current {
    /// Calls `f` with this process, or with the one that this thread stands for.
    pub(crate) fn with<T>(f: impl FnOnce(&Self) -> T) -> T {
        // At the end of a thread there is nothing left of it.
        let in_thread = IN_THREAD.try_with(|current| current.borrow().clone()).ok().flatten();
        match in_thread {
            Some(current) => f(&current),
            None => f(Self::of_process()),
        }
    }

    /// This process; the root of the family unless [`become_child`](Self::become_child) was called.
    fn of_process() -> &'static Self {
        CURRENT.get().unwrap_or_else(|| {
            CURRENT.set(Self {
                name: "MainProcess".into(),
                path: Vec::new(),
                is_daemon: false,
                parent: None,
                children: AtomicU32::new(0),
            })
        })
    }

    pub(crate) fn is_daemon(&self) -> bool {
        self.is_daemon
    }

    fn child(name: String, path: Vec<u32>, is_daemon: bool, parent: Parent) -> Self {
        Self { name, path, is_daemon, parent: Some(parent), children: AtomicU32::new(0) }
    }

    /// Makes this process the child that it was started as; before anybody asks.
    pub(crate) fn become_child(name: String, path: Vec<u32>, is_daemon: bool, parent: Parent) {
        CURRENT.replace(Self::child(name, path, is_daemon, parent));
    }

    /// Makes this thread stand for a process.
    pub(crate) fn become_thread(name: String, path: Vec<u32>, is_daemon: bool, parent: Parent) {
        let current = Arc::new(Self::child(name, path, is_daemon, parent));
        IN_THREAD.set(Some(current));
    }

    /// The place of the next child, and its name unless it is given one: `Process-1:2` is the second child of the first.
    /// A context's children have its name in front.
    pub(crate) fn next_child(&self, prefix: &str) -> (Vec<u32>, String) {
        let mut path = self.path.clone();
        path.push(self.children.fetch_add(1, Ordering::Relaxed) + 1);
        let steps: Vec<_> = path.iter().map(u32::to_string).collect();
        (path, format!("{prefix}Process-{}", steps.join(":")))
    }

    /// This process, as its children know it.
    pub(crate) fn as_parent(&self) -> Parent {
        let arguments = if self.parent.is_some() { Vec::new() } else { own_arguments() };
        Parent { pid: process::id(), name: self.name.clone(), arguments }
    }
}

fn own_arguments() -> Vec<Vec<u8>> {
    std::env::args_os().skip(1).map(|argument| argument.as_bytes().to_vec()).collect()
}

/// The process that calls. See [`current_process`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentProcess {
    name: String,
    is_daemon: bool,
}

/// This process, as it was started: its name, whether it is a daemon, and the key of its family.
///
/// In the program itself, which nobody started, that is `MainProcess`.
///
/// # Source
///
/// CPython `multiprocessing.current_process()`.
///
/// # Examples
///
/// ```
/// # use procession_process as procession;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # procession::init();
/// use procession::{Process, current_process};
///
/// assert_eq!(current_process().name(), "MainProcess");
/// let child = Process::builder().name("Ada").spawn(|| current_process().name().to_owned(), ())?;
/// assert_eq!(child.join()?, "Ada");
/// # Ok(())
/// # }
/// ```
pub fn current_process() -> CurrentProcess {
    Current::with(|current| CurrentProcess {
        name: current.name.clone(),
        is_daemon: current.is_daemon,
    })
}

impl CurrentProcess {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        process::id()
    }

    /// Whether its parent ends it when the parent ends.
    pub fn is_daemon(&self) -> bool {
        self.is_daemon
    }

    /// The key by which it authenticates to others of its family. See [`AuthKey::set_current`].
    ///
    /// # Errors
    ///
    /// As [`AuthKey::current`].
    pub fn authkey(&self) -> Result<AuthKey> {
        AuthKey::current().cloned()
    }
}

/// The process that started this one. See [`parent_process`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentProcess(Parent);

/// The process that started this one, whatever the operating system takes for its parent; `None` in the program itself.
///
/// # Source
///
/// CPython `multiprocessing.parent_process()`.
///
/// # Examples
///
/// ```
/// # use procession_process as procession;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # procession::init();
/// use procession::{Process, parent_process};
///
/// assert!(parent_process().is_none());
/// let child = Process::spawn(|| parent_process().map(|parent| parent.pid()), ())?;
/// assert_eq!(child.join()?, Some(std::process::id()));
/// # Ok(())
/// # }
/// ```
pub fn parent_process() -> Option<ParentProcess> {
    Current::with(|current| current.parent.clone().map(ParentProcess))
}

impl ParentProcess {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its number; once it has ended, another process may have it.
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Whether it has not ended. A process that does not [outlive its parent](crate::Builder::outlive_parent) hardly ever
    /// sees `false`: it gets its death signal at the same moment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`](procession_core::ErrorKind::Os) when the system is out of memory.
    pub fn is_alive(&self) -> Result<bool> {
        self.join_timeout(Duration::ZERO).map(|ended| !ended)
    }

    /// Waits until it has ended, at most this long; tells whether it has.
    ///
    /// # Errors
    ///
    /// As [`is_alive`](Self::is_alive).
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool> {
        match self.sentinel() {
            Some(end) => Ok(poll::wait_readable(end, Deadline::after(timeout))?),
            None => Ok(false),
        }
    }

    /// A descriptor that becomes readable when it has ended. `None` in a thread that stands for a process.
    pub fn sentinel(&self) -> Option<BorrowedFd<'static>> {
        let is_process = CURRENT.get().and_then(|current| current.parent.as_ref()) == Some(&self.0);
        lifeline::parent().filter(|_| is_process)
    }
}

/// The command line of the process that started this one, without the name of the program; `None` in a process that was
/// not started by this library.
///
/// A child's own command line holds nothing of it, so that a program which reads its arguments before `init()`, or a
/// library that does, cannot take the child for the program itself. A grandchild sees an empty one: what its parent was
/// started with is for nobody.
///
/// # Source
///
/// CPython hands `sys.argv` on (`spawn.get_preparation_data`).
pub fn parent_args() -> Option<Vec<OsString>> {
    Current::with(|current| {
        let parent = current.parent.as_ref()?;
        Some(parent.arguments.iter().cloned().map(OsString::from_vec).collect())
    })
}
