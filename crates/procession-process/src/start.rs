//! How processes are started: the methods, the default, and contexts that stand for one method.

use std::fmt;
use std::str::FromStr;

use procession_core::{Error, ErrorKind, Result};
use procession_sys::prim::AtomicU32;
use procession_sys::prim::Ordering::Relaxed;
use serde::{Deserialize, Serialize};

use crate::Builder;

/// How a process comes to run a function. The same program means the same under each; `docs/start-methods.md` compares
/// them.
///
/// # Source
///
/// CPython, "Contexts and start methods".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StartMethod {
    /// A small process without threads, which is this program started once more, forks when it is asked to. The fastest
    /// way, whatever the size of this process, and the default.
    ///
    /// What `main` does before [`init()`](crate::init) happens once in the server and not in its children.
    ForkServer,
    /// This program is executed anew.
    Spawn,
    /// This process is copied. The process has all memory and all descriptors of this one, and no arguments are encoded; but
    /// a process that has other threads than the calling one cannot be copied safely, and the start is refused then: see
    /// [`Builder::fork_despite_threads`].
    ///
    /// The price grows with the memory of this process.
    Fork,
    /// A thread of this process stands for a process: no isolation, no signals, and nothing to inherit. For programs that are
    /// to run where processes are not wanted, and for debugging.
    ///
    /// # Source
    ///
    /// CPython `multiprocessing.dummy`.
    Thread,
}

/// The methods of this platform by which *processes* are started, the default one first.
///
/// # Source
///
/// CPython `multiprocessing.get_all_start_methods()`.
#[doc(alias = "get_all_start_methods")]
pub fn start_methods() -> &'static [StartMethod] {
    &[StartMethod::ForkServer, StartMethod::Spawn, StartMethod::Fork]
}

/// One more than the place of the chosen method in [`ALL`]; zero when none is chosen.
static CHOSEN: AtomicU32 = AtomicU32::new(0);

const ALL: [StartMethod; 4] =
    [StartMethod::ForkServer, StartMethod::Spawn, StartMethod::Fork, StartMethod::Thread];

fn number(method: StartMethod) -> u32 {
    match method {
        StartMethod::ForkServer => 1,
        StartMethod::Spawn => 2,
        StartMethod::Fork => 3,
        StartMethod::Thread => 4,
    }
}

fn method(number: u32) -> Option<StartMethod> {
    ALL.into_iter().find(|method| self::number(*method) == number)
}

/// Chooses the method if none is chosen; tells the one that was chosen before.
fn choose(method: StartMethod) -> Option<StartMethod> {
    // ORDERING: Relaxed: the number stands for itself.
    let before = CHOSEN.compare_exchange(0, number(method), Relaxed, Relaxed);
    before.err().and_then(self::method)
}

/// Chooses the method by which processes are started that do not say otherwise, here and in the processes started from
/// here. Once, before anything is started.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] when the method has been chosen already, or the default has been used.
///
/// # Source
///
/// CPython `multiprocessing.set_start_method()`.
pub fn set_start_method(method: StartMethod) -> Result<()> {
    match choose(method) {
        None => Ok(()),
        Some(before) => {
            let text = format!("the start method has been set already, to {before}");
            Err(Error::new(ErrorKind::InvalidInput, text))
        }
    }
}

/// Chooses the method whether or not one has been chosen. What was started before is unaffected.
///
/// # Source
///
/// CPython `multiprocessing.set_start_method(method, force=True)`.
pub fn force_start_method(method: StartMethod) {
    CHOSEN.store(number(method), Relaxed);
}

/// The method by which processes are started that do not say otherwise. The answer is final: from now on
/// [`set_start_method`] refuses.
///
/// # Source
///
/// CPython `multiprocessing.get_start_method()`.
#[doc(alias = "get_start_method")]
pub fn start_method() -> StartMethod {
    let default = start_methods()[0];
    choose(default).unwrap_or(default)
}

/// The method that was chosen, if any was; nothing is final by asking.
///
/// # Source
///
/// CPython `multiprocessing.get_start_method(allow_none=True)`.
pub fn start_method_if_set() -> Option<StartMethod> {
    method(CHOSEN.load(Relaxed))
}

impl fmt::Display for StartMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ForkServer => "forkserver",
            Self::Spawn => "spawn",
            Self::Fork => "fork",
            Self::Thread => "thread",
        })
    }
}

impl FromStr for StartMethod {
    type Err = Error;

    /// Reads Python's name of a method.
    fn from_str(name: &str) -> Result<Self> {
        let known = ALL.into_iter().find(|method| method.to_string() == name);
        known.ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, format!("there is no start method `{name}` here"))
        })
    }
}

/// A start method as an object that makes others: what a library takes that must not choose the method for its user.
///
/// # Source
///
/// CPython `multiprocessing.get_context()`.
///
/// # Examples
///
/// ```
/// # use procession_process as procession;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # procession::init();
/// use procession::{Context, StartMethod};
///
/// let context = Context::new(StartMethod::Spawn);
/// let child = context.process().spawn(|x: u32| x + 1, (41,))?;
/// assert_eq!(child.join()?, 42);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "get_context")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    method: StartMethod,
    /// What stands in front of the names of its processes.
    prefix: &'static str,
}

impl Context {
    /// A context that starts processes by `method`.
    pub fn new(method: StartMethod) -> Self {
        let prefix = match method {
            StartMethod::ForkServer => "ForkServer",
            StartMethod::Spawn => "Spawn",
            StartMethod::Fork => "Fork",
            StartMethod::Thread => "Thread",
        };
        Self { method, prefix }
    }

    /// The method.
    pub fn start_method(self) -> StartMethod {
        self.method
    }

    /// Describes a process before it is started.
    pub fn process(self) -> Builder {
        Builder::default().prefix(self.prefix).start_method(self.method)
    }
}

impl Default for Context {
    /// The context of the [default method](start_method), which is final by this.
    fn default() -> Self {
        Self::new(start_method())
    }
}
