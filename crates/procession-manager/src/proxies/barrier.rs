//! A barrier.

use std::time::Duration;

use procession_core::{Deadline, Result};
use procession_sync::BarrierError;

use crate::call::{Answer, Call, tell};
use crate::wire::{op, status};

proxy! {
    /// A barrier at a manager's server: nobody passes before all parties have come.
    ///
    /// # Drop, kill, fork
    ///
    /// When a process ends while it waits, or acts, the barrier is broken, for all, until it is [reset](Self::reset). One that ends before it
    /// has come is not missed: the others wait, for as long as they said. When the server is gone every wait ends: `BarrierError::Failed`, of
    /// the kind `Closed`.
    ///
    /// # Source
    ///
    /// CPython `SyncManager.Barrier()`.
    BarrierProxy, "Barrier"
}

/// How a wait at a barrier ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passed {
    As(usize),
    Broken,
    Acts,
}

fn passed(answer: &mut Answer<'_>) -> Result<Passed> {
    match answer.status {
        status::BROKEN => Ok(Passed::Broken),
        status::ACT => Ok(Passed::Acts),
        _ => tell::size(answer).map(Passed::As),
    }
}

impl BarrierProxy {
    /// Waits until all have come; tells which one this was, of as many as there are parties.
    ///
    /// # Errors
    ///
    /// [`BarrierError::Broken`]; [`BarrierError::Failed`] when the manager is gone.
    pub fn wait(&self) -> Result<usize, BarrierError> {
        self.wait_at(None, Deadline::NEVER)
    }

    /// As [`wait`](Self::wait), at most this long: then the barrier is broken, for all.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<usize, BarrierError> {
        self.wait_at(None, Deadline::after(timeout))
    }

    /// As [`wait_timeout`](Self::wait_timeout), until a moment.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_deadline(&self, deadline: Deadline) -> Result<usize, BarrierError> {
        self.wait_at(None, deadline)
    }

    /// As [`wait_deadline`](Self::wait_deadline); if this is the last to come, `act` runs before the others go on. If it fails, the barrier is
    /// broken.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait); [`BarrierError::Failed`] with the error of `act`.
    pub fn wait_with(
        &self,
        act: impl FnOnce() -> Result<()>,
        deadline: Deadline,
    ) -> Result<usize, BarrierError> {
        self.wait_at(Some(Box::new(act)), deadline)
    }

    fn wait_at(
        &self,
        act: Option<Box<dyn FnOnce() -> Result<()> + '_>>,
        deadline: Deadline,
    ) -> Result<usize, BarrierError> {
        let call = Call::new(&self.core, op::WAIT, passed, |arguments| {
            arguments.flag(act.is_some());
            arguments.deadline(deadline);
        });
        // The others' action may take longer than anybody said.
        match (call.run_until(Deadline::NEVER)?, act) {
            (Passed::As(number), _) => Ok(number),
            (Passed::Acts, Some(act)) => self.act(act),
            (Passed::Broken | Passed::Acts, _) => Err(BarrierError::Broken),
        }
    }

    fn act(&self, act: Box<dyn FnOnce() -> Result<()> + '_>) -> Result<usize, BarrierError> {
        /// Says that the action did not end, when it panics.
        struct Unless<'a>(&'a BarrierProxy, bool);
        impl Drop for Unless<'_> {
            fn drop(&mut self) {
                if !self.1 {
                    // Who cannot tell has lost its session, which breaks the barrier as well.
                    drop(self.0.acted(false));
                }
            }
        }
        let mut ended = Unless(self, false);
        let result = act();
        ended.1 = true;
        let passed = self.acted(result.is_ok());
        result?;
        match passed? {
            Passed::As(number) => Ok(number),
            Passed::Broken | Passed::Acts => Err(BarrierError::Broken),
        }
    }

    fn acted(&self, is_well: bool) -> Result<Passed> {
        let decode = |answer: &mut Answer<'_>| match answer.reader.0.is_empty() {
            true => Ok(Passed::Broken),
            false => passed(answer),
        };
        Call::new(&self.core, op::ACTED, decode, |arguments| arguments.flag(is_well)).run()
    }

    /// Breaks the barrier: all who wait, and who come, are told, until it is [reset](Self::reset).
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn abort(&self) -> Result<()> {
        Call::new(&self.core, op::ABORT, tell::nothing, |_none| {}).run()
    }

    /// Makes the barrier as new. Who waits is told that it was broken.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn reset(&self) -> Result<()> {
        Call::new(&self.core, op::RESET, tell::nothing, |_none| {}).run()
    }

    /// How many parties there are.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    pub fn parties(&self) -> Result<usize> {
        self.look().map(|(parties, ..)| parties)
    }

    /// How many wait.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    #[doc(alias = "n_waiting")]
    pub fn waiting(&self) -> Result<usize> {
        self.look().map(|(_, waiting, _)| waiting)
    }

    /// Whether it is broken.
    ///
    /// # Errors
    ///
    /// As [`Call::run`].
    #[doc(alias = "broken")]
    pub fn is_broken(&self) -> Result<bool> {
        self.look().map(|(.., is_broken)| is_broken)
    }

    fn look(&self) -> Result<(usize, usize, bool)> {
        let decode = |answer: &mut Answer<'_>| {
            let parties = answer.reader.u32()? as usize;
            Ok((parties, tell::size(answer)?, answer.reader.flag()?))
        };
        Call::new(&self.core, op::LOOK, decode, |_none| {}).run()
    }
}
