//! The server's process, in the process that has started it.

use std::time::Duration;

use procession_core::Result;
use procession_process::Process;

/// A server's process, which ends with the session of who started it.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    pub(crate) process: Process<Result<()>>,
    /// How long it has to end by itself.
    pub(crate) grace: Duration,
}

/// How long a server that was told to end by a signal has for it.
const KILL_AFTER: Duration = Duration::from_secs(1);

impl ServerProcess {
    /// Whether it has taken away what was its own.
    pub(crate) fn has_ended_in_order(&self) -> bool {
        matches!(self.process.exit_status(), Ok(Some(status)) if status.is_success())
    }

    /// Waits for the end of the process, which was asked for, and brings it about after `timeout`.
    pub(crate) fn end(&self, timeout: Duration) -> Result<()> {
        if self.process.wait(timeout)? {
            return Ok(());
        }
        self.process.terminate()?;
        if !self.process.wait(KILL_AFTER)? {
            self.process.kill()?;
            self.process.wait(KILL_AFTER)?;
        }
        Ok(())
    }
}
