//! How processes end.

use std::fmt;

use procession_core::{Error, ErrorKind};
use procession_sys::pidfd::Ended;
use procession_sys::signal;
use serde::{Deserialize, Serialize};

/// How a process ended, as the operating system tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It called `exit` with this code; zero by convention means success.
    Exited(u8),
    /// A signal killed it.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// Whether the system wrote a core file.
        core_dumped: bool,
    },
    /// It ended, but the status is lost: this program reaps children that are not its own, or ignores `SIGCHLD`.
    Unknown,
}

impl ExitStatus {
    /// Whether it exited with code zero.
    pub fn is_success(self) -> bool {
        self == Self::Exited(0)
    }

    /// The code it exited with.
    pub fn code(self) -> Option<u8> {
        match self {
            Self::Exited(code) => Some(code),
            _ => None,
        }
    }

    /// The signal that killed it.
    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Signaled { signal, .. } => Some(signal),
            _ => None,
        }
    }
}

impl From<Ended> for ExitStatus {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Exited(code) => Self::Exited(code),
            Ended::Signaled { signal, core_dumped } => Self::Signaled { signal, core_dumped },
            Ended::Unknown => Self::Unknown,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Signaled { signal, core_dumped } => {
                match signal::name(*signal) {
                    Some(name) => write!(f, "was killed by {name}")?,
                    None => write!(f, "was killed by signal {signal}")?,
                }
                f.write_str(if *core_dumped { " (core dumped)" } else { "" })
            }
            Self::Unknown => f.write_str("ended in an unknown way"),
        }
    }
}

/// A panic that happened in another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panic {
    /// What the panic said, or a note that it said nothing that is text.
    pub message: String,
    /// Where it happened: `file:line:column`.
    pub location: String,
    /// The calls that led there; empty when the environment says `RUST_BACKTRACE=0`.
    pub backtrace: String,
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked at {}: {}", self.location, self.message)
    }
}

/// A process that ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// Its name.
    pub name: String,
    /// Its number, which another process may have by now.
    pub pid: u32,
    /// How it ended.
    pub status: ExitStatus,
    /// Why, as far as that is known.
    pub reason: Reason,
    /// How many bytes of its memory were resident at most, those of the process that it was copied from included as far as it had them; nothing when the
    /// system did not tell, or it was a thread.
    pub peak_memory: Option<u64>,
}

/// Why a process ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Reason {
    /// By itself, or by somebody else.
    Unknown,
    /// Its parent had asked it to end, by a method of its handle.
    Asked,
    /// The system killed it because memory ran out, as far as can be told: the system counted such a kill in this
    /// process's control group (`memory.events`), and nobody here had sent the signal.
    OutOfMemory,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} (pid {}) {}", self.name, self.pid, self.status)?;
        f.write_str(match self.reason {
            Reason::Unknown => "",
            Reason::Asked => " when it was asked to end",
            Reason::OutOfMemory => " for want of memory",
        })
    }
}

/// Why a process has no return value.
///
/// A serde value, so that a function which waits for processes of its own may return it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub enum JoinError {
    /// Its function panicked.
    Panicked(Panic),
    /// It ended before its function returned: killed by a signal, or by an exit of its own.
    Died(Death),
    /// It did not call the function: it runs another build, or could not decode the arguments.
    NotStarted(Error),
    /// The return value cannot be had: it could not be encoded or decoded, or it holds handles and was taken before.
    Value(Error),
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(panic) => panic.fmt(f),
            Self::Died(death) => write!(f, "{death} before its function returned"),
            Self::NotStarted(error) => write!(f, "the function was not called: {error}"),
            Self::Value(error) => write!(f, "the return value is lost: {error}"),
        }
    }
}

impl std::error::Error for JoinError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Panicked(_) | Self::Died(_) => None,
            Self::NotStarted(error) | Self::Value(error) => Some(error),
        }
    }
}

impl From<JoinError> for Error {
    fn from(error: JoinError) -> Self {
        let kind = match &error {
            JoinError::Panicked(_) => ErrorKind::Panicked,
            JoinError::Died(_) => ErrorKind::Died,
            JoinError::NotStarted(inner) | JoinError::Value(inner) => inner.kind(),
        };
        let this = Self::new(kind, error.to_string());
        match std::error::Error::source(&error) {
            Some(source) => this.caused_by(source),
            None => this,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_read_like_sentences() {
        let killed = ExitStatus::Signaled { signal: signal::KILL, core_dumped: false };
        assert_eq!(killed.to_string(), "was killed by SIGKILL");
        let odd = ExitStatus::Signaled { signal: 64, core_dumped: true };
        assert_eq!(odd.to_string(), "was killed by signal 64 (core dumped)");
        assert_eq!(ExitStatus::Exited(3).to_string(), "exited with code 3");
    }

    #[test]
    fn join_errors_become_errors_with_the_same_kind() {
        let (name, status, reason) = ("Process-1".into(), ExitStatus::Exited(3), Reason::Unknown);
        let death = Death { name, pid: 7, status, reason, peak_memory: None };
        let error = Error::from(JoinError::Died(death));
        assert_eq!(error.kind(), ErrorKind::Died);
        let text = "process Process-1 (pid 7) exited with code 3 before its function returned";
        assert_eq!(error.to_string(), text);
        let inner = Error::new(ErrorKind::BuildMismatch, "other build");
        assert_eq!(Error::from(JoinError::NotStarted(inner)).kind(), ErrorKind::BuildMismatch);
    }
}
