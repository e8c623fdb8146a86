//! The barrier.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use procession_core::arena::{Kind, Object, Remains};
use procession_core::waiting::{Spin, Wait};
use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_sys::before_main;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::Relaxed;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::BarrierError;
use crate::raw::barrier::{Arrival, MOST, RawBarrier, Stopped};
use crate::word::Patient;

/// Of the object's words: the barrier's word, how many parties.
const WORD: usize = 0;
const PARTIES: usize = 1;

/// A point that a fixed number of parties, processes or threads, reach and leave together, again and again.
///
/// It is a handle to an object in shared memory: a clone, or what arrives when it is sent, is the same barrier. It costs 64 bytes.
///
/// # Drop, kill, fork
///
/// When a process dies that has the barrier, whether or not it has arrived, the barrier is broken: all who wait, and who arrive
/// later, get [`BarrierError::Broken`], within 100 ms. (When the last party arrives before that, they pass: the dead one has arrived.)
/// [`reset`](Self::reset) makes it whole again. A process that has dropped it, or has ended in order, is not missed.
///
/// # Source
///
/// CPython `multiprocessing.Barrier`. The action is given where it runs, at the wait, because a function in another process
/// is not a value that could lie in a barrier.
///
/// # Examples
///
/// ```
/// # use procession_sync as procession;
/// # fn main() -> procession_core::Result<()> {
/// use procession::Barrier;
///
/// let barrier = Barrier::new(2)?;
/// let other = barrier.clone();
/// let thread = std::thread::spawn(move || other.wait());
/// let index = barrier.wait()?;
/// let there = thread.join().unwrap()?;
/// assert_eq!(index + there, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Barrier {
    object: Object,
    parties: u16,
}

impl Barrier {
    /// A barrier for so many parties, up to 65,535. With none or one nobody waits.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when there are more; as [`Object::new`].
    pub fn new(parties: usize) -> Result<Self> {
        let many = || Error::new(ErrorKind::InvalidInput, format!("more than {MOST} parties"));
        let parties = u16::try_from(parties).map_err(|_too_many| many())?;
        let object = Object::new(Kind::BARRIER, 2, |words, _| {
            // ORDERING: Relaxed: nobody else has the object yet.
            words[PARTIES].store(parties.into(), Relaxed);
        })?;
        Ok(Self { object, parties })
    }

    #[inline]
    fn raw(&self) -> RawBarrier<'static, AtomicU64> {
        RawBarrier { word: &self.object.words()[WORD], parties: self.parties }
    }

    /// Waits until all parties have arrived; tells as which this one has: from zero to one less than there are parties.
    ///
    /// # Errors
    ///
    /// [`BarrierError::Broken`] when the barrier is broken, or is reset meanwhile.
    pub fn wait(&self) -> Result<usize, BarrierError> {
        self.wait_deadline(Deadline::NEVER)
    }

    /// As [`wait`](Self::wait), but breaks the barrier when not all parties have arrived after `timeout`, on the monotonic clock.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<usize, BarrierError> {
        self.wait_deadline(Deadline::after(timeout))
    }

    /// As [`wait_timeout`](Self::wait_timeout), until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_deadline(&self, deadline: Deadline) -> Result<usize, BarrierError> {
        self.wait_for_all(deadline, None::<fn() -> Result<()>>)
    }

    /// As [`wait_deadline`](Self::wait_deadline); and the last to arrive runs its `action` before any of the parties goes on. All
    /// parties give the same one, as a rule.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait); [`BarrierError::Failed`] with its error where the action fails: that breaks the barrier for the others. So
    /// does a panic, which goes on here.
    pub fn wait_with(
        &self,
        deadline: Deadline,
        action: impl FnOnce() -> Result<()>,
    ) -> Result<usize, BarrierError> {
        self.wait_for_all(deadline, Some(action))
    }

    fn wait_for_all(
        &self,
        deadline: Deadline,
        action: Option<impl FnOnce() -> Result<()>>,
    ) -> Result<usize, BarrierError> {
        let me = self.object.check()?;
        let raw = self.raw();
        let spin = Spin::new(1).among(self.parties.into());
        let mut waiter = Patient::new(spin, Wait::new(&self.object, deadline));
        let last = usize::from(self.parties.saturating_sub(1));
        match (raw.arrive(me.slot, action.is_some(), &mut waiter)?, action) {
            (Arrival::Waits { index, epoch }, _) => {
                raw.wait(epoch, &mut waiter)?;
                Ok(index.into())
            }
            (Arrival::MustAct { epoch }, Some(action)) => {
                match catch_unwind(AssertUnwindSafe(action)) {
                    Ok(Ok(())) => raw.finish(epoch)?,
                    Ok(Err(error)) => {
                        raw.break_epoch(epoch);
                        return Err(BarrierError::Failed(error));
                    }
                    Err(panic) => {
                        raw.break_epoch(epoch);
                        resume_unwind(panic);
                    }
                }
                Ok(last)
            }
            (Arrival::Passed | Arrival::MustAct { .. }, _) => Ok(last),
        }
    }

    /// Breaks it: who waits, and who arrives before a [`reset`](Self::reset), gets [`BarrierError::Broken`].
    ///
    /// # Errors
    ///
    /// As [`Object::check`].
    pub fn abort(&self) -> Result<()> {
        self.object.check()?;
        self.raw().abort();
        Ok(())
    }

    /// Makes it whole and empty. Who waits gets [`BarrierError::Broken`].
    ///
    /// # Errors
    ///
    /// As [`Object::check`].
    pub fn reset(&self) -> Result<()> {
        self.object.check()?;
        self.raw().reset();
        Ok(())
    }

    /// How many parties it is for.
    pub fn parties(&self) -> usize {
        self.parties.into()
    }

    /// How many wait; by the time that this returns it may be otherwise.
    #[doc(alias = "n_waiting")]
    pub fn waiting(&self) -> usize {
        self.raw().waiting().into()
    }

    /// Whether it is broken.
    #[doc(alias = "broken")]
    pub fn is_broken(&self) -> bool {
        self.raw().is_broken()
    }
}

fn recover(remains: &Remains) {
    let raw = RawBarrier { word: &remains.words[WORD], parties: 0 };
    raw.recover(remains.dead.slot, remains.has_left);
}

fn wake(remains: &Remains) {
    RawBarrier { word: &remains.words[WORD], parties: 0 }.wake_all();
}

before_main!(register);

fn register() {
    Kind::BARRIER.register(recover, wake, |_, _| false);
}

impl From<Stopped> for BarrierError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Broken => Self::Broken,
            Stopped::Failed(error) => Self::Failed(error),
        }
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_broken() { "broken" } else { "whole" };
        write!(f, "Barrier({} of {} wait, {state})", self.waiting(), self.parties)
    }
}

impl Serialize for Barrier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.object.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Barrier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Object::deserialize(Kind::BARRIER, deserializer)?;
        let parties = u16::try_from(object.words()[PARTIES].load(Relaxed)).unwrap_or(MOST);
        Ok(Self { object, parties })
    }
}
