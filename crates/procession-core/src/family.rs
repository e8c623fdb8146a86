//! The family: every process that shares objects with another, and what becomes of what a dead one held.
//!
//! | who | calls |
//! |---|---|
//! | a process that wants to know who it is | [`Family::current`], [`Family::me`] |
//! | a parent, for a child that it is about to start | [`Family::reserve`], [`Reservation::invitation`], [`Reservation::commit`] |
//! | a child, before anything else | [`Invitation::accept`], or [`Invitation::keep`] for when it needs it |
//! | whoever reaped a process, or saw its pidfd end | [`Family::mark_dead`] |
//! | whoever waits for something that a process owns | [`Family::observe`], [`Family::is_alive`] |
//! | crates with objects that processes hold | [`register_recovery`], [`Family::hold`], [`Family::holders`] |
//!
//! One segment of shared memory holds a table of slots. A process is its slot, 16 bits, and the slot's generation. A slot
//! is given to another process only when everything that its last one held was recovered; so that an object which names
//! its owner by the slot alone never names the wrong process, however often the system reuses process numbers.
//!
//! ```text
//!          reserve             arrive             go live
//!   Free ---------> Joining ----------> Arriving ---------> Live
//!    ^ \------------------------------------^ |               |
//!    |       fork that nobody announced       |               |
//!    |                   \--------------------+-- mark dead --/
//!    |                                        v
//!    +--------- Recovered <--------- Dead, claimed by its recoverer
//!     generation + 1
//! ```
//!
//! The whole protocol, with what follows when anybody dies at any step of it, is in `docs/family.md`. The files:
//! `stamp` (the state word), `table` (the transitions), `oracle` (what the system knows), `recovery` (what is done for the
//! dead), `hooks`, `watch`; nothing but `oracle`, `watch` and this file calls the system.

pub mod arena;
mod hooks;
mod oracle;
mod pidfds;
mod recovery;
mod stamp;
mod table;
mod watch;
mod words;

use std::fmt::Write as _;
use std::os::fd::OwnedFd;

use procession_sys::memory::SharedWords;
use procession_sys::prim::Ordering::Relaxed;
use procession_sys::prim::{AtomicU32, AtomicU64};
use procession_sys::wipe::{PerProcess, SetOnce, WipedWord, namespaces};
use procession_sys::{fd, process};
use serde::{Deserialize, Serialize};

pub use hooks::register_recovery;
pub use recovery::DeadProcess;
pub use stamp::ProcessId;
pub use watch::Observation;

use crate::{Error, ErrorKind, Handle, Result, exit};
use hooks::Registered;
use oracle::{Life, System, life, this_process};
use recovery::{Buried, Recoverer};
use stamp::{Stamp, State};
use table::{Entry, Marked, Origin, Size, Table};

/// Processes at a time; the memory of those that are not there costs nothing.
const SIZE: Size = Size { slots: 4096, hold_words: 4096 };

/// Objects that a process may [hold](Family::hold) are numbered from zero to below this.
pub const MAX_OBJECTS: u32 = SIZE.hold_words as u32 * 64;

/// Where the arena begins, behind the table: on a page.
const ARENA: usize = SIZE.words().next_multiple_of(512);

/// The family of this process. Forks inherit it.
static CURRENT: SetOnce<Family> = SetOnce::new();
/// This process in it: [`ProcessId::to_bits`], or zero when it has not joined.
static ME: WipedWord = WipedWord::new();
/// One thread of a process joins at a time.
static JOINING: PerProcess<()> = PerProcess::new();
/// How this process joins when it needs to. Its lock is taken before [`JOINING`].
static KEPT: PerProcess<Kept> = PerProcess::new();

/// An invitation that nobody has needed yet.
#[derive(Debug, Default)]
enum Kept {
    #[default]
    Nothing,
    Invited(Invitation),
    /// It was needed, and of no use.
    Refused(Error),
}

/// The table that the processes of a family share.
///
/// # Drop, kill, fork
///
/// It lives as long as any process of the family. A forked process joins as a new one, on its first call. Its own memory
/// is nobody's business: a process that is stopped stops nobody, except that whom it was recovering stays unrecovered.
#[derive(Debug)]
pub struct Family {
    table: Table<SharedWords>,
    /// [`ME`].
    me: &'static AtomicU64,
    /// Who this process was last; a fork inherits that, and so knows its parent.
    last: AtomicU64,
}

impl Family {
    /// The family of this process. If it has none, it founds one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when the system is out of memory or descriptors, or `/proc` is not mounted.
    pub fn current() -> Result<&'static Self> {
        if let Some(family) = Self::existing() {
            return Ok(family);
        }
        if let Some(family) = accept_kept()? {
            return Ok(family);
        }
        let _joining = JOINING.lock()?;
        if let Some(family) = Self::existing() {
            return Ok(family);
        }
        static FOUNDED: AtomicU32 = AtomicU32::new(0);
        let us = this_process()?;
        let number = FOUNDED.fetch_add(1, Relaxed);
        let root = [us.pid.into(), us.birth, number.into()];
        let words = SharedWords::create(ARENA + arena::WORDS)?;
        let table = Table::create(words, SIZE, Origin { namespaces: namespaces()?, root });
        Self::set_current(table)
    }

    /// The family of this process, if it has one.
    pub fn existing() -> Option<&'static Self> {
        CURRENT.get()
    }

    fn set_current(table: Table<SharedWords>) -> Result<&'static Self> {
        let me = ME.get()?;
        Ok(CURRENT.set(Self { table, me, last: AtomicU64::new(0) }))
    }

    /// This process. After a fork the child joins here, as a process of its own.
    ///
    /// # Errors
    ///
    /// When this process has not joined yet and cannot: [`ErrorKind::TooLarge`] when the family has no room for another
    /// process, [`ErrorKind::Unsupported`] when this one numbers processes differently, being in another pid namespace.
    #[inline]
    pub fn me(&'static self) -> Result<ProcessId> {
        match self.peek_me() {
            Some(me) => Ok(me),
            None => self.join_unasked(),
        }
    }

    /// The word that [names](ProcessId::from_bits) this process once it has joined, and is zero in a fork.
    #[inline]
    pub fn me_word(&self) -> &'static AtomicU64 {
        self.me
    }

    /// This process, if it has joined; one load.
    #[inline]
    pub fn peek_me(&self) -> Option<ProcessId> {
        // ORDERING: Relaxed: the name stands for itself.
        ProcessId::from_bits(self.me.load(Relaxed))
    }

    #[cold]
    fn join_unasked(&'static self) -> Result<ProcessId> {
        accept_kept()?;
        let _joining = JOINING.lock()?;
        if let Some(me) = self.peek_me() {
            return Ok(me);
        }
        self.check_namespaces()?;
        let us = this_process()?;
        let parent = ProcessId::from_bits(self.last.load(Relaxed));
        check_number(us.pid)?;
        let me = self.table.arrive_unasked(us.pid, parent).ok_or_else(|| self.full())?;
        self.settle(me, us)
    }

    /// The last step of joining.
    fn settle(&'static self, me: ProcessId, us: Entry) -> Result<ProcessId> {
        // A fork has its parent's handles.
        self.rejoin(me);
        exit::Finalizer::new(i32::MIN, || self.leave())?.keep();
        if !self.table.go_live(me, us) {
            return Err(Error::new(ErrorKind::Broken, "this process was taken for dead"));
        }
        self.last.store(me.to_bits(), Relaxed);
        self.me.store(me.to_bits(), Relaxed);
        Ok(me)
    }

    fn check_namespaces(&self) -> Result<()> {
        match namespaces()? == self.table.origin().namespaces {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Unsupported,
                "could not join the family: this process is in another pid or time namespace",
            )),
        }
    }

    fn full(&self) -> Error {
        let text =
            format!("the family has no room for more than {} processes", self.table.size().slots);
        Error::new(ErrorKind::TooLarge, text)
    }

    /// Takes a slot for a child that this process is about to start.
    ///
    /// # Errors
    ///
    /// As [`me`](Self::me).
    pub fn reserve(&'static self) -> Result<Reservation> {
        let parent = self.me()?;
        let id = match self.table.reserve(parent) {
            Some(id) => id,
            None => {
                // Some of them may be dead, and nobody noticed.
                self.sweep()?;
                self.table.reserve(parent).ok_or_else(|| self.full())?
            }
        };
        Ok(Reservation { family: self, id, parent, is_used: false })
    }

    /// Notes that a process has ended, and recovers what it held; tells whether this call did that. For whoever reaped it,
    /// or saw its pidfd become readable. Any number of calls do what one does.
    ///
    /// When this returns, the process is recovered, or some other process is about to have it recovered.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Broken`] when a recovery hook panicked: the process stays dead and unrecovered until somebody looks
    /// again; [`ErrorKind::InvalidInput`] when it is the caller; as [`me`](Self::me).
    pub fn mark_dead(&'static self, id: ProcessId) -> Result<bool> {
        if self.me()? == id {
            return Err(Error::new(ErrorKind::InvalidInput, "this process is not dead"));
        }
        if self.table.mark_dead(id) == Marked::Gone {
            return Ok(false);
        }
        pidfds::forget(id);
        let buried = self.recoverer()?.bury(id);
        Ok(self.finish(buried)?.contains(&id))
    }

    /// As [`mark_dead`](Self::mark_dead), for a child of this process, which has reaped it. Quick for one that never joined.
    /// `in_order` says that it has ended by itself, not by a signal.
    ///
    /// # Errors
    ///
    /// As [`mark_dead`](Self::mark_dead).
    pub fn bury_child(&'static self, id: ProcessId, in_order: bool) -> Result<()> {
        if self.table.abandon(id, self.me()?) {
            return Ok(());
        }
        if in_order && self.table.state_of(id).is_some_and(is_member) {
            // Its slot is its own until this process, or another, has recovered it.
            self.table.set_left(id.slot);
        }
        self.mark_dead(id).map(drop)
    }

    /// Looks at every process, and recovers those that ended without anybody noticing; tells which.
    ///
    /// # Errors
    ///
    /// As [`mark_dead`](Self::mark_dead); those that can be recovered are, all the same.
    pub fn sweep(&'static self) -> Result<Vec<ProcessId>> {
        let buried = self.recoverer()?.sweep();
        self.finish(buried)
    }

    fn recoverer(&'static self) -> Result<Recoverer<'static, SharedWords, System, Registered>> {
        let me = self.me()?;
        Ok(Recoverer { table: &self.table, oracle: &System, undertaker: &Registered, me })
    }

    /// Watches over the children of the dead.
    fn finish(&'static self, buried: Buried) -> Result<Vec<ProcessId>> {
        let Buried { recovered, adopted, mut failure } = buried;
        for child in adopted {
            match watch::adopt(self, child) {
                Ok(true) => {}
                // It ended since.
                Ok(false) => failure = self.mark_dead(child).err().or(failure),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(recovered), Err)
    }

    /// Whether the process lives. A child that has not arrived yet does.
    ///
    /// Nothing but this call notices what it finds; use [`mark_dead`](Self::mark_dead) to make it known.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when this process may open no more descriptors; as [`me`](Self::me).
    pub fn is_alive(&'static self, id: ProcessId) -> Result<bool> {
        self.me()?;
        if self.table.state_of(id) != Some(State::Live) {
            return Ok(!matches!(life(&self.table, &System, id)?, Life::Dead));
        }
        pidfds::is_alive(&self.table, id)
    }

    /// Whether `id` is not known to be dead; no system call is made.
    pub fn is_listed(&self, id: ProcessId) -> bool {
        self.table.state_of(id).is_some_and(is_member)
    }

    /// The process in `slot`, if it is not known to be dead.
    pub fn in_slot(&self, slot: u16) -> Option<ProcessId> {
        let stamp = self.table.stamp(slot);
        is_member(stamp.state).then_some(ProcessId { slot, generation: stamp.generation })
    }

    /// The number of the process `id`, if it is not known to be dead.
    pub fn pid_of(&self, id: ProcessId) -> Option<u32> {
        self.table.entry(id).map(|entry| entry.pid)
    }

    /// Whether this process has joined, in `slot`.
    #[inline]
    pub fn is_me(&self, slot: u16) -> bool {
        self.peek_me().is_some_and(|me| me.slot == slot)
    }

    /// Learns of the death of `id` from now on, at once, and sees to its recovery. `None` when it is dead: then see
    /// [`mark_dead`](Self::mark_dead). `None` as well while it has not arrived, because its parent answers for it.
    ///
    /// Costs a pidfd, and the first observation of a process a thread.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when this process is out of descriptors or threads; as [`me`](Self::me).
    pub fn observe(&'static self, id: ProcessId) -> Result<Option<Observation>> {
        watch::observe(self, id)
    }

    /// Notes that this process holds a reference to `object`, until it releases it or dies.
    ///
    /// One bit for each object: a process counts its own references.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when the number is not below [`MAX_OBJECTS`]; as [`me`](Self::me).
    pub fn hold(&'static self, object: u32) -> Result<()> {
        let me = self.me()?;
        self.check_object(object)?;
        self.table.hold(me, object);
        Ok(())
    }

    /// Notes that this process has no reference to `object` any more.
    ///
    /// # Errors
    ///
    /// As [`hold`](Self::hold).
    pub fn release(&'static self, object: u32) -> Result<()> {
        let me = self.me()?;
        self.check_object(object)?;
        self.table.release(me, object);
        Ok(())
    }

    /// The processes that hold `object` and are not known to be dead, at some moment during this call.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when the number is not below [`MAX_OBJECTS`].
    pub fn holders(&self, object: u32) -> Result<Vec<ProcessId>> {
        self.check_object(object)?;
        Ok(self.table.holders(object).collect())
    }

    fn check_object(&self, object: u32) -> Result<()> {
        match object < self.table.size().objects() {
            true => Ok(()),
            false => {
                Err(Error::new(ErrorKind::InvalidInput, format!("no object has number {object}")))
            }
        }
    }

    /// Says that this process ends in order: what it holds is then left, not lost. Nothing may be taken from here on.
    pub fn leave(&self) {
        if let Some(me) = self.peek_me() {
            self.table.set_left(me.slot);
        }
    }

    /// The processes that the table names and that are not known to be dead, in the order of their slots.
    pub fn members(&self) -> Vec<ProcessId> {
        self.used().filter(|(_, stamp)| is_member(stamp.state)).map(|(id, _)| id).collect()
    }

    fn used(&self) -> impl Iterator<Item = (ProcessId, Stamp)> {
        let slots = self.table.slots().map(|slot| (slot, self.table.stamp(slot)));
        slots
            .filter(|(_, stamp)| stamp.state != State::Free)
            .map(|(slot, stamp)| (ProcessId { slot, generation: stamp.generation }, stamp))
    }

    /// The table for reading: a line for each slot that is not free.
    pub fn dump(&self) -> String {
        let mut text = String::new();
        for (id, stamp) in self.used() {
            let Entry { pid, birth } = self.table.words_of(id);
            let parent = self.table.parent(id.slot).map_or("-".into(), |parent| parent.to_string());
            let (left, holds) = (self.table.has_left(id.slot), self.table.holds(id).count());
            let line = writeln!(
                text,
                "{id} {:?} pid {pid} birth {birth} parent {parent} left {left} holds {holds}",
                stamp.state
            );
            debug_assert!(line.is_ok(), "a string takes everything");
        }
        text
    }

    fn table(&self) -> &Table<SharedWords> {
        &self.table
    }
}

fn is_member(state: State) -> bool {
    matches!(state, State::Joining { .. } | State::Arriving { .. } | State::Live)
}

fn check_number(pid: u32) -> Result<()> {
    match Stamp::has_room_for(pid) {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Unsupported, "process numbers beyond 2^28")),
    }
}

/// A slot for a child that is being started. Dropped, it is given back, unless a child has taken it.
#[must_use = "the slot is given back when this is dropped"]
#[derive(Debug)]
pub struct Reservation {
    family: &'static Family,
    id: ProcessId,
    parent: ProcessId,
    is_used: bool,
}

impl Reservation {
    /// The name that the child will have.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Notes that the child will hold a reference to `object`, before it gets it: so that the object does not go while
    /// the child is on its way. Not after the child was started.
    ///
    /// # Errors
    ///
    /// As [`Family::hold`].
    pub fn hold(&mut self, object: u32) -> Result<()> {
        self.family.check_object(object)?;
        self.family.table.hold(self.id, object);
        Ok(())
    }

    /// What the child needs to join, to be sent to it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when this process may open no more descriptors.
    pub fn invitation(&self) -> Result<Invitation> {
        let segment = fd::duplicate(self.family.table.words())?;
        Ok(Invitation { segment: Some(Handle(segment)), id: self.id })
    }

    /// The same, for a child that is forked from this process, and has the family already: it holds what this process
    /// holds, from now on.
    pub fn invitation_for_fork(&self) -> Invitation {
        for object in self.family.table.holds(self.parent) {
            self.family.table.hold(self.id, object);
        }
        Invitation { segment: None, id: self.id }
    }

    /// Leaves the slot to the child, which has been started. From now on whoever reaps it calls
    /// [`mark_dead`](Family::mark_dead), whether or not it had joined.
    pub fn commit(mut self) -> ProcessId {
        self.is_used = true;
        self.id
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // In a forked child this is the copy of something that is its parent's.
        if self.is_used || self.family.peek_me() != Some(self.parent) {
            return;
        }
        let is_back = self.family.table.abandon(self.id, self.parent);
        if !is_back && self.family.table.mark_dead_if_joining(self.id) {
            // It holds something. If a hook fails, the slot stays for whoever looks next.
            drop(self.family.mark_dead(self.id));
        }
    }
}

/// A child's way into the family, to be sent in a message.
#[derive(Debug, Serialize, Deserialize)]
pub struct Invitation {
    /// None for who has the family already.
    segment: Option<Handle<OwnedFd>>,
    id: ProcessId,
}

impl Invitation {
    /// Joins the family in the slot that was reserved. Before anything else in this process calls the family.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] when the slot is not there any more, because the parent is dead or gave it back;
    /// [`ErrorKind::InvalidInput`] when this process is in a family already, as another process or in another family;
    /// [`ErrorKind::Decode`] when the invitation is none; [`ErrorKind::Unsupported`] when this process is in another pid
    /// namespace.
    pub fn accept(self) -> Result<&'static Family> {
        let _joining = JOINING.lock()?;
        let family = match (Family::existing(), self.segment) {
            (Some(family), None) => family,
            (None, None) => return Err(Error::new(ErrorKind::Decode, "not a whole invitation")),
            (existing, Some(segment)) => {
                let table = Table::open(SharedWords::open(segment.into_inner())?)
                    .filter(|table| table.size() == SIZE)
                    .filter(|table| table.words().len() >= ARENA + arena::WORDS)
                    .ok_or_else(|| Error::new(ErrorKind::Decode, "not the table of a family"))?;
                match existing {
                    // A fork has it already.
                    Some(family) if family.table.origin() == table.origin() => family,
                    Some(_) => return Err(elsewhere()),
                    None => Family::set_current(table)?,
                }
            }
        };
        if family.peek_me().is_some() {
            return Err(elsewhere());
        }
        family.check_namespaces()?;
        let us = this_process()?;
        check_number(us.pid)?;
        if !family.table.arrive(self.id, us.pid) {
            let text = format!("the place {} in the family is gone", self.id);
            return Err(Error::new(ErrorKind::Closed, text));
        }
        family.settle(self.id, us)?;
        Ok(family)
    }
}

impl Invitation {
    /// For a fork with the number `pid`, by itself before anything else and by its parent: if the parent has shared objects, the
    /// fork takes its slot, so that others can see that it is there, and when it dies. It joins later, when it needs to.
    pub fn arrive(&self, pid: u32) {
        if let (Some(family), None) = (Family::existing(), &self.segment)
            && family.table.holds(self.id).next().is_some()
        {
            // If somebody else was faster, or the parent is dead already and the slot gone, it finds out when it joins.
            family.table.arrive(self.id, pid);
            if pid == process::id() {
                self.leave_at_exit(family, pid);
            }
        }
    }

    /// Who ends in order and has never joined has left, all the same.
    fn leave_at_exit(&self, family: &'static Family, pid: u32) {
        let id = self.id;
        let leave = move || {
            if family.table.state_of(id) == Some(State::Arriving { pid }) {
                family.table.set_left(id.slot);
            }
        };
        // Without the memory for it, it is taken for dead.
        if let Ok(finalizer) = exit::Finalizer::new(i32::MIN, leave) {
            finalizer.keep();
        }
    }

    /// Keeps the invitation until something in this process needs the family: most processes never do, and joining costs
    /// more than starting them may. Until then the slot stays reserved.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when the system is out of memory.
    pub fn keep(self) -> Result<()> {
        *KEPT.lock()? = Kept::Invited(self);
        Ok(())
    }
}

/// Joins by the invitation that was kept, if one was. Other threads wait meanwhile, lest they found a family.
fn accept_kept() -> Result<Option<&'static Family>> {
    let mut kept = KEPT.lock()?;
    match std::mem::take(&mut *kept) {
        Kept::Nothing => Ok(None),
        Kept::Invited(invitation) => match invitation.accept() {
            Ok(family) => Ok(Some(family)),
            Err(error) => {
                *kept = Kept::Refused(error.clone());
                Err(error)
            }
        },
        Kept::Refused(error) => {
            *kept = Kept::Refused(error.clone());
            Err(error)
        }
    }
}

fn elsewhere() -> Error {
    Error::new(ErrorKind::InvalidInput, "this process is in a family already")
}

#[cfg(all(test, loom))]
mod loom;
#[cfg(all(test, not(loom)))]
mod tests;
