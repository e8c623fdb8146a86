//! The program that children execute.

use std::path::PathBuf;
use std::time::Duration;

use procession_core::{Courier, Error, ErrorKind, Result};
use procession_sys::wipe::SetOnce;
use procession_sys::{Deadline, poll};

/// `None` inside is this program again.
static EXECUTABLE: SetOnce<Option<PathBuf>> = SetOnce::new();

/// How long a program that may know nothing of us is given to say that it does.
const PATIENCE: Duration = Duration::from_secs(10);

/// Has processes execute the file at `path` instead of this program's own, for the start methods `spawn` and `forkserver`, from
/// the next start on (`forkserver`: from the next start of the server on). `None` takes that back.
///
/// It must be the same build as this program: a copy or a link. What does not answer within ten seconds of having been
/// started is killed, and the start is an error. A relative path is looked up from the working directory at each start.
///
/// # Source
///
/// CPython `multiprocessing.set_executable()`.
pub fn set_executable(path: Option<impl Into<PathBuf>>) {
    EXECUTABLE.replace(path.map(Into::into));
}

/// The file that was [set](set_executable), if one was.
///
/// # Source
///
/// CPython `multiprocessing.spawn.get_executable()`.
pub fn executable() -> Option<PathBuf> {
    current().cloned()
}

pub(crate) fn current() -> Option<&'static PathBuf> {
    EXECUTABLE.get()?.as_ref()
}

/// Waits for the first message of a program that executes the file that was set.
pub(crate) fn wait_for_word(courier: &Courier) -> Result<()> {
    let Some(path) = current() else { return Ok(()) };
    if poll::wait_readable(courier, Deadline::after(PATIENCE))? {
        return Ok(());
    }
    let text = format!(
        "{} did not answer: `procession::init()` must be the first line of its `main`",
        path.display()
    );
    Err(Error::new(ErrorKind::NotInitialized, text))
}

/// What it means that nothing came.
pub(crate) fn said_nothing() -> Error {
    match current() {
        Some(path) => {
            let text = format!(
                "{} ended without an answer: `procession::init()` must be the first line of its `main`",
                path.display()
            );
            Error::new(ErrorKind::NotInitialized, text)
        }
        None => Error::new(ErrorKind::Broken, "the process ended before it had begun"),
    }
}
