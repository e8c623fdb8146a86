//! How a process waits for something in shared memory: it spins for a bounded time, then it sleeps, and when that takes long
//! it sees to it that it learns of the death of those it may be waiting for.
//!
//! A sleeper is woken by whoever changes what it waits for. A process that is killed changes nothing; so whoever has slept
//! for [`ARM_AFTER`] *arms*: it observes the owners of what it waits for, and the next [`NEIGHBOURS`] processes that have the
//! object, which may be those that should have woken it ([`Family::observe`]: a thread, and a pidfd for each). When one of them
//! dies, whoever notices first puts the object in order and wakes those who wait. What waits a short time pays for none of
//! this, and what does not wait at all makes no system call. Nor does a process that waits shortly, and often, set timers: see `alarm`.
//!
//! So that no death is missed, of a family of up to 17 processes each observes all others; in a larger one, each process that
//! waits is observed by up to 16 others that wait for the same thing. Whatever is missed beyond that (both a process and all
//! that observe it are killed, or stopped, at once) is found after [`BACKSTOP`], when a sleeper looks by itself.

mod alarm;

use std::ptr;
use std::time::Duration;

use procession_sys::futex::{self, Woken};
use procession_sys::prim::AtomicU32;
use procession_sys::prim::AtomicU64;
use procession_sys::prim::Ordering::{Acquire, Relaxed};
use procession_sys::surroundings;
use procession_sys::wipe::WipedWord;

use crate::arena::Object;
use crate::family::{Family, Observation, ProcessId};
use crate::{Deadline, Result};

/// How long a process sleeps before it arms. Deaths are answered within this and what the system takes to tell.
pub const ARM_AFTER: Duration = Duration::from_millis(20);

/// How long a process sleeps at most before it looks by itself.
pub const BACKSTOP: Duration = Duration::from_secs(2);

/// The same, while the object is in a message that nobody has read: nobody is told when that is destroyed.
pub const IN_MESSAGE: Duration = Duration::from_millis(50);

/// How many other holders of the object a sleeper observes, beside the owners.
pub const NEIGHBOURS: usize = 16;

/// How many pauses of the processor a waiter spends before it sleeps, by default: about what it costs to be woken.
const PAUSES: u32 = 2000;

/// How a process waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// It spins for as long as it would take to be woken, then sleeps. With one processor it does not spin.
    #[default]
    Adaptive,
    /// It sleeps at once.
    Sleep,
    /// It spins to the end. For measuring, or for who has a processor to burn.
    Spin,
}

static POLICY: AtomicU32 = AtomicU32::new(0);

/// Says how this process waits from now on, and its forks.
pub fn set_policy(policy: Policy) {
    // ORDERING: Relaxed: the number stands for itself.
    POLICY.store(
        match policy {
            Policy::Adaptive => 0,
            Policy::Sleep => 1,
            Policy::Spin => 2,
        },
        Relaxed,
    );
}

/// How this process waits.
pub fn policy() -> Policy {
    match POLICY.load(Relaxed) {
        0 => Policy::Adaptive,
        1 => Policy::Sleep,
        _ => Policy::Spin,
    }
}

/// Whether who waits here lets others run at once: it never spins.
pub fn yields() -> bool {
    match policy() {
        Policy::Adaptive => processors() < 2,
        Policy::Sleep => true,
        Policy::Spin => false,
    }
}

/// How many processors this process may use. Looked up once.
fn processors() -> usize {
    static KNOWN: WipedWord = WipedWord::new();
    let Ok(known) = KNOWN.get() else { return 1 };
    // ORDERING: Relaxed: the number stands for itself.
    match usize::try_from(known.load(Relaxed)) {
        Ok(0) | Err(_) => {
            let usable = surroundings::affinity().map_or(1, |processors| processors.len()).max(1);
            known.store(usable as u64, Relaxed);
            usable
        }
        Ok(number) => number,
    }
}

/// The spinning part of a wait.
#[derive(Debug)]
pub struct Spin {
    share: u32,
    times: u32,
    /// Who waits for each other.
    parties: usize,
    /// How many pauses are left; nothing before the first.
    left: Option<u32>,
    pause: u32,
    /// The most pauses between two looks.
    step: u32,
}

impl Spin {
    /// Spinning as the policy has it; `share` divides the bound, for what is waited for more shortly.
    #[inline]
    pub fn new(share: u32) -> Self {
        Self { share, times: 1, parties: 2, left: None, pause: 1, step: 32 }
    }

    /// No spinning.
    pub fn none() -> Self {
        Self { left: Some(0), ..Self::new(1) }
    }

    /// For a wait in which nobody else looks at the same word: it looks all the time.
    #[inline]
    #[must_use]
    pub fn eager(self) -> Self {
        Self { step: 2, ..self }
    }

    /// With so many pauses before the first look, for who has reason to believe that there is nothing before.
    #[inline]
    #[must_use]
    pub fn beginning_with(self, pauses: u32) -> Self {
        Self { pause: pauses.max(1), step: self.step.max(pauses), ..self }
    }

    /// Spinning for so many times as long, for who has reason to believe that it is worth it.
    #[inline]
    #[must_use]
    pub fn longer(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// For a wait in which so many parties wait for each other: they do not spin unless all can run at once.
    #[inline]
    #[must_use]
    pub fn among(self, parties: usize) -> Self {
        Self { parties, ..self }
    }

    /// Pauses, longer each time; `false` when enough was spun.
    #[inline]
    pub fn turn(&mut self) -> bool {
        let left = match self.left {
            Some(left) => left,
            None => *self.left.insert(bound(self.share, self.parties) * self.times),
        };
        if left == 0 {
            return false;
        }
        let pause = self.pause.min(left);
        for _ in 0..pause {
            std::hint::spin_loop();
        }
        self.left = Some(left - pause);
        self.pause = (self.pause * 2).min(self.step);
        true
    }
}

/// How many pauses a waiter may spend.
fn bound(share: u32, parties: usize) -> u32 {
    match policy() {
        Policy::Adaptive if processors() >= parties.max(2) => PAUSES / share,
        Policy::Adaptive | Policy::Sleep => 0,
        // Then it goes on in `Wait::sleep`, which knows of deadlines and deaths.
        Policy::Spin => PAUSES,
    }
}

/// How a sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slept {
    /// Something may have changed: look.
    Look,
    /// The deadline passed.
    TimedOut,
    /// All others that had the object are gone, by death: see [`Object::is_abandoned`].
    Abandoned,
    /// A message with the object was destroyed unread: whoever was to get it, with what it was to do, will not.
    Lost,
}

/// The sleeping part of a wait for something of an object's.
#[derive(Debug)]
pub struct Wait<'a> {
    object: &'a Object,
    deadline: Deadline,
    observed: Vec<Observation>,
    is_armed: bool,
}

impl<'a> Wait<'a> {
    /// Nothing is done before it sleeps.
    #[inline]
    pub fn new(object: &'a Object, deadline: Deadline) -> Self {
        Self { object, deadline, observed: Vec::new(), is_armed: false }
    }

    /// Whether this waiter observes those it may be waiting for.
    pub fn is_armed(&self) -> bool {
        self.is_armed
    }

    /// Sleeps while the lower half of `word` is `expected`. `owners` gives the slots of processes whose death ends the wait,
    /// where some are known; it is asked when this arms.
    ///
    /// # Errors
    ///
    /// As [`Family::me`].
    pub fn sleep(
        &mut self,
        word: &AtomicU64,
        expected: u32,
        owners: &dyn Fn() -> Vec<u16>,
    ) -> Result<Slept> {
        if self.is_armed && !self.covers(&owners()) {
            match self.arm(&owners())? {
                // Whom it observes now may have acted before it did.
                Slept::Look if low(word) == expected => {}
                other => return Ok(other),
            }
        }
        let patience = match self.is_armed {
            false => ARM_AFTER,
            true if self.object.is_in_message() => IN_MESSAGE,
            true => BACKSTOP,
        };
        let needs_no_timer = !self.is_armed && self.deadline == Deadline::NEVER;
        if needs_no_timer
            && policy() != Policy::Spin
            && let Some(woken) = self.sleep_without_timer(word, expected)?
        {
            return match woken {
                Woken::Maybe => Ok(Slept::Look),
                Woken::TimedOut => self.arm(&owners()),
            };
        }
        let until = self.deadline.min(Deadline::after(patience));
        let woken = match policy() {
            Policy::Spin => spin_until(word, expected, until),
            Policy::Adaptive | Policy::Sleep => futex::wait_low(word, expected, until)?,
        };
        if woken == Woken::Maybe {
            return Ok(Slept::Look);
        }
        if self.deadline.has_passed() {
            return Ok(Slept::TimedOut);
        }
        // At the backstop as well: others may have come since.
        self.arm(&owners())
    }

    /// Sleeps until it is woken, or has slept for [`ARM_AFTER`]; nothing if it needs a timer.
    fn sleep_without_timer(&self, word: &AtomicU64, expected: u32) -> Result<Option<Woken>> {
        // The object's words stay as long as the process, the borrow does not.
        let words = self.object.words();
        let distance = ptr::from_ref(word).addr().wrapping_sub(words.as_ptr().addr());
        let Some(word) = words.get(distance / size_of::<AtomicU64>()) else { return Ok(None) };
        let Some(place) = alarm::lie_down(word)? else { return Ok(None) };
        let slept = futex::wait_low(word, expected, Deadline::NEVER);
        let is_overdue = alarm::get_up(place)?;
        slept?;
        Ok(Some(if is_overdue { Woken::TimedOut } else { Woken::Maybe }))
    }

    fn covers(&self, owners: &[u16]) -> bool {
        let family = self.object.family();
        let lives = |observation: &Observation| family.is_listed(observation.id());
        let is_observed = |slot: &u16| {
            family.is_me(*slot) || self.observed.iter().any(|known| known.id().slot == *slot)
        };
        self.observed.iter().all(lives) && owners.iter().all(is_observed)
    }

    /// Observes whom this waits for. What has happened before is seen by whoever looks after this.
    fn arm(&mut self, owners: &[u16]) -> Result<Slept> {
        let family = self.object.family();
        let me = family.me()?;
        let owners = owners.iter().filter_map(|slot| family.in_slot(*slot));
        let mut wanted: Vec<_> = owners.filter(|owner| *owner != me).collect();
        let others: Vec<_> = self.object.others().filter(|other| !wanted.contains(other)).collect();
        wanted.extend(others.into_iter().take(NEIGHBOURS));
        self.observed.retain(|known| wanted.contains(&known.id()));
        for id in wanted {
            if !self.observed.iter().any(|known| known.id() == id) {
                self.observe(family, id);
            }
        }
        self.is_armed = true;
        self.look_again()
    }

    /// Out of descriptors or threads, this waiter does without: the backstop looks again.
    fn observe(&mut self, family: &'static Family, id: ProcessId) {
        match family.observe(id) {
            Ok(Some(observation)) => self.observed.push(observation),
            Ok(None) => {
                if family.is_alive(id).is_ok_and(|is_alive| !is_alive) {
                    drop(family.mark_dead(id));
                }
            }
            // See above.
            Err(_) => {}
        }
    }

    fn look_again(&mut self) -> Result<Slept> {
        let is_lost = self.object.notice_lost_messages()?;
        Ok(match self.object.is_abandoned() {
            true => Slept::Abandoned,
            false if is_lost => Slept::Lost,
            false => Slept::Look,
        })
    }
}

fn low(word: &AtomicU64) -> u32 {
    // ORDERING: Acquire: as the load of whoever looks at the word next.
    u32::try_from(word.load(Acquire) & u64::from(u32::MAX)).unwrap_or_default()
}

fn spin_until(word: &AtomicU64, expected: u32, until: Deadline) -> Woken {
    while low(word) == expected {
        for _ in 0..64 {
            std::hint::spin_loop();
            if low(word) != expected {
                return Woken::Maybe;
            }
        }
        if until.has_passed() {
            return Woken::TimedOut;
        }
    }
    Woken::Maybe
}
