//! Waiting until all items are done.

use std::collections::VecDeque;

use procession_core::{Deadline, Error, ErrorKind, Result};
use procession_sys::futex;
use procession_sys::prim::Ordering::Release;

use super::Attached;
use super::patience::{Patience, Waited};
use crate::books::Tally;
use crate::held;
use crate::raw::stamp::{Position, Stamp, State};

/// How a wait for all items ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joined {
    Done,
    TimedOut,
    /// There are items, and all others who had the queue are dead.
    Abandoned,
}

impl Attached {
    /// Waits until all items that were put are done.
    pub(crate) fn join(&self, deadline: Deadline) -> Result<Joined> {
        let me = self.me()?;
        let mut patience = Patience::new(self, deadline);
        loop {
            let Some(left) = self.left()? else { return Ok(Joined::Done) };
            let owners = || Vec::from_iter(left.owner());
            let is_waiting = || self.left().is_ok_and(|left| left.is_some());
            match patience.wait(self.memory.joiners(), &owners, &is_waiting)? {
                Waited::Look => {}
                Waited::TimedOut => return Ok(Joined::TimedOut),
                Waited::Alone => match self.left()?.map(State::owner) {
                    None => return Ok(Joined::Done),
                    // Another thread of this process has it.
                    Some(Some(owner)) if owner == me => {
                        self.sleep_for_threads(deadline)?;
                        if deadline.has_passed() && self.left()?.is_some() {
                            return Ok(Joined::TimedOut);
                        }
                    }
                    Some(_) => return Ok(Joined::Abandoned),
                },
            }
        }
    }

    fn sleep_for_threads(&self, deadline: Deadline) -> Result<()> {
        let bell = self.memory.joiners();
        let expected = bell.announce();
        self.memory.fence_for_sleep()?;
        if self.left()?.is_some() {
            futex::wait_low(bell.0, expected, deadline)?;
        }
        Ok(())
    }

    /// How far the first item is that is not done, if there is one.
    fn left(&self) -> Result<Option<State>> {
        let (_, state) = self.memory.line().first_left(self.memory.done())?;
        Ok(state.filter(|state| !matches!(state, State::Free | State::Closed)))
    }

    /// The oldest item that this process got is done.
    pub(crate) fn task_done(&self) -> Result<()> {
        self.me()?;
        let Some(position) = held::pop(self.instance)? else {
            let text = "this process has no item of the queue that is not done";
            return Err(Error::new(ErrorKind::InvalidInput, text));
        };
        if let Some(ours) = self.memory.line().again(position)? {
            self.done(ours);
        }
        Ok(())
    }

    /// Counts items as lost that this process got and will not say anything of.
    pub(super) fn lose(&self, positions: VecDeque<Position>) -> Result<()> {
        let me = self.me()?;
        let books = self.books_now()?;
        for position in positions {
            let Some(ours) = self.memory.line().again(position)? else { continue };
            if self.state(ours) == State::Held(me) {
                let done = Stamp::new(position, State::Done).to_bits();
                books.count(Tally::LOST, position, || ours.slot[0].store(done, Release))?;
            }
        }
        drop(books);
        self.say_done();
        Ok(())
    }
}
