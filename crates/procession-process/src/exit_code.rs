//! Ends a process with more than a number.

use std::io::Write;

/// What a process [exits](exit) with.
///
/// # Source
///
/// CPython, "Changed in version 3.x" notes of `Process.exitcode`, and `sys.exit()`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// A code, of which the system keeps the last eight bits: 259 is 3, -1 is 255.
    Code(i32),
    /// A message for standard error, and code 1.
    Message(String),
}

/// Ends this process, from wherever in it: exit handlers and finalizers run, its children are seen to, values on the stack
/// are not dropped.
///
/// In a process that was started, whoever joins it gets [`JoinError::Died`](crate::JoinError::Died) with that code, also when it
/// is zero: its function did not return.
///
/// # Examples
///
/// ```
/// # use procession_process as procession;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # procession::init();
/// use procession::{ExitStatus, Process};
///
/// let child = Process::spawn(|| -> () { procession::exit(256 + 3) }, ())?;
/// assert!(child.join().is_err());
/// assert_eq!(child.exit_status()?, Some(ExitStatus::Exited(3)));
/// # Ok(())
/// # }
/// ```
///
/// # Source
///
/// CPython `sys.exit()`: nothing and `None` are 0, `True` is 1, a text goes to standard error and is 1.
pub fn exit(reason: impl Into<ExitReason>) -> ! {
    let code = match reason.into() {
        ExitReason::Code(code) => code,
        ExitReason::Message(text) => {
            // Nobody else can be told.
            drop(writeln!(std::io::stderr(), "{text}"));
            1
        }
    };
    crate::run::exit(code)
}

impl From<i32> for ExitReason {
    fn from(code: i32) -> Self {
        Self::Code(code)
    }
}

impl From<bool> for ExitReason {
    fn from(failed: bool) -> Self {
        Self::Code(failed.into())
    }
}

impl From<()> for ExitReason {
    fn from((): ()) -> Self {
        Self::Code(0)
    }
}

impl From<Option<i32>> for ExitReason {
    fn from(code: Option<i32>) -> Self {
        Self::Code(code.unwrap_or(0))
    }
}

impl From<&str> for ExitReason {
    fn from(text: &str) -> Self {
        Self::Message(text.into())
    }
}

impl From<String> for ExitReason {
    fn from(text: String) -> Self {
        Self::Message(text)
    }
}
