//! What is done for a dead process: its holds, its children, its unfinished recoveries, its slot.
//!
//! One process at a time recovers a dead one: it claims the slot with its own number. Dying over it, it is dead itself, and
//! whoever recovers *it* finds the claim and starts again from the beginning. So every step can be repeated, and hooks must
//! allow that as well.

use super::oracle::{Life, Oracle, life};
use super::stamp::{ProcessId, State};
use super::table::{Claim, Table};
use super::words::Words;
use crate::{Error, ErrorKind, Result};

/// A dead process, for recovery hooks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadProcess {
    /// Its name in the family.
    pub id: ProcessId,
    /// Its process number; zero when it died before it had joined. Another process may have it by now.
    pub pid: u32,
    /// Its parent in the family; the process that adopted it, once its own was dead.
    pub parent: Option<ProcessId>,
    /// Whether it ended in order, by returning or calling `exit`: then what it held was not lost, only left.
    pub has_left: bool,
    /// The objects that it held, in ascending order.
    pub holds: Vec<u32>,
}

/// The points between which a recoverer may die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Claimed,
    HooksRan,
    ChildrenSeen,
    Cleared,
    Recovered,
    Freed,
}

#[cfg(test)]
impl Step {
    /// All of them, in their order.
    pub(super) const ALL: [Self; 6] = [
        Self::Claimed,
        Self::HooksRan,
        Self::ChildrenSeen,
        Self::Cleared,
        Self::Recovered,
        Self::Freed,
    ];
}

/// What the caller of a recovery adds to it.
pub(super) trait Undertaker {
    /// Runs the hooks of the crates above.
    fn run_hooks(&self, dead: &DeadProcess) -> Result<()>;

    /// Tells whether the recoverer lives on; models let it die.
    fn survives(&self, step: Step) -> bool;
}

/// What came of a recovery.
#[derive(Debug, Default)]
pub(super) struct Buried {
    /// Those that this call recovered.
    pub(super) recovered: Vec<ProcessId>,
    /// Their living children, which are the caller's to watch from now on.
    pub(super) adopted: Vec<ProcessId>,
    /// Why some were not recovered, or not looked at; the first such reason. They stay for whoever looks next.
    pub(super) failure: Option<Error>,
}

impl Buried {
    fn note(&mut self, failure: Error) {
        self.failure.get_or_insert(failure);
    }
}

/// A process of the family that recovers others.
#[derive(Debug)]
pub(super) struct Recoverer<'a, W, O, U> {
    pub(super) table: &'a Table<W>,
    pub(super) oracle: &'a O,
    pub(super) undertaker: &'a U,
    pub(super) me: ProcessId,
}

impl<W: Words, O: Oracle, U: Undertaker> Recoverer<'_, W, O, U> {
    /// Looks at every slot, and recovers whom it finds dead.
    pub(super) fn sweep(&self) -> Buried {
        let mut buried = Buried::default();
        let mut found = Vec::new();
        for slot in self.table.slots() {
            let stamp = self.table.stamp(slot);
            let id = ProcessId { slot, generation: stamp.generation };
            match stamp.state {
                State::Free | State::Unknown => {}
                State::Dead { .. } | State::Recovered => found.push(id),
                State::Joining { .. } | State::Arriving { .. } | State::Live if id == self.me => {}
                State::Joining { .. } | State::Arriving { .. } | State::Live => {
                    match self.is_dead(id) {
                        Ok(true) => {
                            self.table.mark_dead(id);
                            found.push(id);
                        }
                        Ok(false) => {}
                        Err(error) => buried.note(error),
                    }
                }
            }
        }
        self.bury_also(found, &mut buried);
        buried
    }

    /// Recovers the dead `id`, and whomever it finds dead or half recovered on the way.
    ///
    /// A hook that fails leaves its process to whoever looks next, and does not keep the others from being recovered.
    pub(super) fn bury(&self, id: ProcessId) -> Buried {
        let mut buried = Buried::default();
        self.bury_also(vec![id], &mut buried);
        buried
    }

    fn bury_also(&self, mut work: Vec<ProcessId>, buried: &mut Buried) {
        while let Some(id) = work.pop() {
            match self.table.claim(id, self.me.slot) {
                Claim::Ours => match self.recover(id, &mut work, buried) {
                    Ok(()) => buried.recovered.push(id),
                    Err(Halt::Failed(error)) => buried.note(error),
                    Err(Halt::Died) => return,
                },
                Claim::Theirs(slot) => {
                    if let Err(error) = self.look_after(id, slot, &mut work) {
                        buried.note(error);
                    }
                }
                Claim::Recovered => {
                    self.table.free(id);
                }
                Claim::Nothing => {}
            }
        }
    }

    /// Somebody else has claimed the dead `id`: the process in `slot`. Is it still at it?
    fn look_after(&self, id: ProcessId, slot: u16, work: &mut Vec<ProcessId>) -> Result<()> {
        if slot == self.me.slot {
            // Another thread of this process.
            return Ok(());
        }
        let claimant = ProcessId { slot, generation: self.table.stamp(slot).generation };
        if self.table.claimant(id) != Some(slot) {
            // Done, or given up, in the meantime; then the slot named above may be another's.
            work.push(id);
        } else if self.is_dead(claimant)? {
            self.table.mark_dead(claimant);
            // Its recovery finds `id` again.
            work.push(claimant);
        }
        Ok(())
    }

    fn recover(
        &self,
        id: ProcessId,
        work: &mut Vec<ProcessId>,
        buried: &mut Buried,
    ) -> Result<(), Halt> {
        self.reach(Step::Claimed)?;
        let dead = DeadProcess {
            id,
            pid: self.table.words_of(id).pid,
            parent: self.table.parent(id.slot),
            has_left: self.table.has_left(id.slot),
            holds: self.table.holds(id).collect(),
        };
        if let Err(error) = self.undertaker.run_hooks(&dead) {
            self.table.disclaim(id, self.me.slot);
            return Err(Halt::Failed(error));
        }
        self.reach(Step::HooksRan)?;
        if let Err(error) = self.see_to_kin(id, work, buried) {
            self.table.disclaim(id, self.me.slot);
            return Err(Halt::Failed(error));
        }
        self.reach(Step::ChildrenSeen)?;
        self.table.clear(id);
        self.reach(Step::Cleared)?;
        self.table.set_recovered(id, self.me.slot);
        self.reach(Step::Recovered)?;
        self.table.free(id);
        self.reach(Step::Freed)
    }

    /// What the dead process `id` left undone in other slots. After this no slot names its slot any more.
    fn see_to_kin(
        &self,
        id: ProcessId,
        work: &mut Vec<ProcessId>,
        buried: &mut Buried,
    ) -> Result<()> {
        for slot in self.table.slots().filter(|slot| *slot != id.slot) {
            let stamp = self.table.stamp(slot);
            let kin = ProcessId { slot, generation: stamp.generation };
            match stamp.state {
                State::Joining { parent } if parent == id.slot => {
                    // One that has not arrived cannot join any more. If it arrives this very moment, it has made it.
                    match self.table.mark_dead_if_joining(kin) {
                        true => work.push(kin),
                        false => self.adopt(kin, id, work, buried)?,
                    }
                }
                State::Dead { recoverer: Some(recoverer) } if recoverer == id.slot => {
                    self.table.disclaim(kin, recoverer);
                    work.push(kin);
                }
                // Marked by it, perhaps, and left.
                State::Dead { recoverer: None } | State::Recovered => work.push(kin),
                State::Arriving { .. } | State::Live => self.adopt(kin, id, work, buried)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn adopt(
        &self,
        child: ProcessId,
        dead: ProcessId,
        work: &mut Vec<ProcessId>,
        buried: &mut Buried,
    ) -> Result<()> {
        // A slot that was given to another process just now does not name the dead one as parent: that is over.
        if child == self.me || !self.table.adopt(child.slot, dead, self.me) {
            return Ok(());
        }
        if self.is_dead(child)? {
            self.table.mark_dead(child);
            work.push(child);
        } else {
            buried.adopted.push(child);
        }
        Ok(())
    }

    fn is_dead(&self, id: ProcessId) -> Result<bool> {
        Ok(matches!(life(self.table, self.oracle, id)?, Life::Dead))
    }

    fn reach(&self, step: Step) -> Result<(), Halt> {
        if self.undertaker.survives(step) { Ok(()) } else { Err(Halt::Died) }
    }
}

/// Why a recovery was not finished.
enum Halt {
    /// A hook failed, or the system did: the claim is given back.
    Failed(Error),
    /// Only in models: the recoverer died, and left everything as it was.
    Died,
}

/// The error for a hook that panicked.
pub(super) fn hook_panicked(name: &str) -> Error {
    Error::new(ErrorKind::Broken, format!("the recovery hook `{name}` panicked"))
}
