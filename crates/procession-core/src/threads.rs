//! Our own threads, and how they stand still while the process forks.
//!
//! A fork copies one thread; what another one was in the middle of stays so in the child for ever. So whoever forks first
//! has every thread of ours come to a point where it holds nothing, and keeps it there until the fork is done
//! ([`stand_still`]). A thread takes part by being [started](start) here and by calling [`Member::rest`] wherever it holds
//! no lock and is about to wait anyway. The child has none of them; whatever needs one there starts it anew.
//!
//! ```text
//! who forks                                  each thread of ours
//!   closes the gate
//!   rings its bell  ----------------------->   wakes, comes to `rest`, sees the gate closed
//!   waits for `resting`  <------------------   resting = 1, sleeps on the gate
//!   forks
//!   opens the gate  ----------------------->   resting = 0, looks at the gate again, goes on
//! ```

use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use procession_sys::fork::{self, Thread};
use procession_sys::prim::AtomicU32;
use procession_sys::prim::Ordering::{Relaxed, SeqCst};
use procession_sys::wipe::{PerProcess, PerProcessGuard, WipedWord};
use procession_sys::{Deadline, futex, signal};

use crate::{Error, ErrorKind, Result};

/// How long a thread of ours may take to come to rest. All of them wait in `poll` but for moments.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a thread that has ended, or was joined, may still be listed by the system.
const LINGER: Duration = Duration::from_millis(20);

/// Zero while threads may run; otherwise one more than the number of times it was closed before.
static GATE: WipedWord = WipedWord::new();
/// The threads of this process.
static MEMBERS: PerProcess<Vec<Arc<Shared>>> = PerProcess::new();

struct Shared {
    name: &'static str,
    /// The thread's number; zero until it runs.
    id: AtomicU32,
    /// One while it sleeps on the gate.
    resting: AtomicU32,
    ring: Box<dyn Fn() + Send + Sync>,
}

/// A thread of ours, as itself sees it.
#[derive(Debug)]
pub struct Member(Arc<Shared>);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Starts a thread, with all signals blocked. `ring` makes it leave whatever it waits in, and must not wait itself.
///
/// # Errors
///
/// [`ErrorKind::Os`] when the system has no room for another thread.
pub fn start(
    name: &'static str,
    ring: impl Fn() + Send + Sync + 'static,
    run: impl FnOnce(&Member) + Send + 'static,
) -> Result<JoinHandle<()>> {
    start_behind(MEMBERS.lock()?, name, ring, run)
}

/// The same, for who has the list: held until the thread is there, so that nobody forks in the middle of its start.
fn start_behind(
    mut members: PerProcessGuard<'static, Vec<Arc<Shared>>>,
    name: &'static str,
    ring: impl Fn() + Send + Sync + 'static,
    run: impl FnOnce(&Member) + Send + 'static,
) -> Result<JoinHandle<()>> {
    let (id, resting) = (AtomicU32::new(0), AtomicU32::new(0));
    let member = Member(Arc::new(Shared { name, id, resting, ring: Box::new(ring) }));
    // On the list before it runs: whoever forks meanwhile waits for it.
    let known = Arc::clone(&member.0);
    let body = move || {
        // ORDERING: Relaxed: the number stands for itself.
        member.0.id.store(fork::thread_id(), Relaxed);
        member.rest();
        run(&member);
    };
    let builder = thread::Builder::new().name(name.into());
    let thread = signal::while_blocked(|| builder.spawn(body))??;
    members.push(known);
    Ok(thread)
}

impl Member {
    /// As [`start`], for a thread of ours, which stands still meanwhile if somebody forks. To be called where this thread holds no lock.
    ///
    /// # Errors
    ///
    /// As [`start`].
    pub fn start_another(
        &self,
        name: &'static str,
        ring: impl Fn() + Send + Sync + 'static,
        run: impl FnOnce(&Self) + Send + 'static,
    ) -> Result<JoinHandle<()>> {
        // ORDERING: SeqCst: see `rest`. Until it has the lock, which whoever forks holds, this thread does nothing but wait for it.
        self.0.resting.store(1, SeqCst);
        // Cannot fail on a word of ours.
        drop(futex::wake(&self.0.resting, 1));
        let members = MEMBERS.lock();
        self.0.resting.store(0, SeqCst);
        start_behind(members?, name, ring, run)
    }

    /// Stands still while somebody forks. To be called where this thread holds no lock.
    pub fn rest(&self) {
        // Without the memory for it nobody can have closed it.
        let Ok(gate) = GATE.half() else { return };
        loop {
            // ORDERING: SeqCst: pairs with the closing of the gate and the look at `resting` behind it. Either this sees
            // the gate closed, or whoever closed it sees that this thread does not rest.
            let seen = gate.load(SeqCst);
            if seen == 0 {
                return;
            }
            self.0.resting.store(1, SeqCst);
            // Nobody looks for waiters: errors cannot happen on words of ours.
            drop(futex::wake(&self.0.resting, 1));
            while gate.load(SeqCst) == seen {
                drop(futex::wait(gate, seen, Deadline::NEVER));
            }
            self.0.resting.store(0, SeqCst);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // From here on this thread does nothing but wait for the lock, which whoever forks holds.
        self.0.resting.store(1, SeqCst);
        drop(futex::wake(&self.0.resting, 1));
        // Without the memory for the lock it was never on the list.
        if let Ok(mut members) = MEMBERS.lock() {
            members.retain(|known| !Arc::ptr_eq(known, &self.0));
        }
    }
}

/// All threads of ours stand still until this is dropped.
#[must_use = "the threads go on once this is dropped"]
#[derive(Debug)]
pub struct StandStill {
    members: PerProcessGuard<'static, Vec<Arc<Shared>>>,
}

/// Brings every thread of ours but the calling one to rest.
///
/// # Errors
///
/// [`ErrorKind::Broken`] when one of them does not come to rest: it runs code of somebody else that does not return.
pub fn stand_still() -> Result<StandStill> {
    static CLOSED: AtomicU32 = AtomicU32::new(1);
    let standing = StandStill { members: MEMBERS.lock()? };
    let gate = GATE.half()?;
    // ORDERING: SeqCst: see `rest`.
    gate.store(CLOSED.fetch_add(1, Relaxed) | 1 << 31, SeqCst);
    let own = fork::thread_id();
    let deadline = Deadline::after(PATIENCE);
    let others = || standing.members.iter().filter(|member| member.id.load(Relaxed) != own);
    for member in others() {
        (member.ring)();
    }
    for member in others() {
        while member.resting.load(SeqCst) == 0 {
            if deadline.has_passed() {
                let text = format!("the thread `{}` does not come to rest", member.name);
                return Err(Error::new(ErrorKind::Broken, text));
            }
            futex::wait(&member.resting, 0, deadline)?;
        }
    }
    Ok(standing)
}

impl StandStill {
    /// The threads of this process that are neither ours nor the calling one. What has just ended is waited for.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`] when `/proc` is not mounted.
    pub fn others(&self) -> Result<Vec<Thread>> {
        let own = fork::thread_id();
        let deadline = Deadline::after(LINGER);
        loop {
            // The count is cheaper, and mostly enough.
            let ours = self.members.iter().map(|member| member.id.load(Relaxed));
            let ours: Vec<_> = ours.chain([own]).collect();
            let mut others = Vec::new();
            if fork::thread_count()? > 1 {
                others = fork::threads()?;
                others.retain(|thread| !ours.contains(&thread.id));
            }
            if others.is_empty() || deadline.has_passed() {
                return Ok(others);
            }
            thread::yield_now();
        }
    }
}

impl Drop for StandStill {
    fn drop(&mut self) {
        let Ok(gate) = GATE.half() else { return };
        gate.store(0, SeqCst);
        // Cannot fail on a word of ours.
        drop(futex::wake(gate, u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use procession_sys::doorbell::Doorbell;
    use procession_sys::poll;
    use procession_sys::prim::{AtomicBool, AtomicU64};

    use super::*;

    /// What is counted belongs to the whole process.
    static ALONE: procession_sys::prim::Mutex<()> = procession_sys::prim::Mutex::new(());

    struct Counter {
        thread: JoinHandle<()>,
        turns: Arc<AtomicU64>,
        end: Arc<AtomicBool>,
        bell: Arc<Doorbell>,
    }

    fn counter() -> Counter {
        let bell = Arc::new(Doorbell::new().unwrap());
        let (turns, end) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let ring = {
            let bell = Arc::clone(&bell);
            move || bell.ring().unwrap()
        };
        let (own_turns, own_end, own_bell) =
            (Arc::clone(&turns), Arc::clone(&end), Arc::clone(&bell));
        let run = move |member: &Member| {
            while !own_end.load(SeqCst) {
                member.rest();
                own_turns.fetch_add(1, SeqCst);
                poll::wait_readable(&*own_bell, Deadline::NEVER).unwrap();
                own_bell.silence().unwrap();
            }
        };
        Counter { thread: start("counter", ring, run).unwrap(), turns, end, bell }
    }

    #[test]
    fn threads_of_ours_stand_still_and_go_on() {
        let _alone = procession_sys::prim::lock(&ALONE);
        let counter = counter();
        for _ in 0..300 {
            let standing = stand_still().unwrap();
            let before = counter.turns.load(SeqCst);
            counter.bell.ring().unwrap();
            let ours: Vec<_> = standing.members.iter().map(|member| member.name).collect();
            assert_eq!(ours, ["counter"]);
            let others = standing.others().unwrap();
            assert!(others.iter().all(|thread| thread.name != "counter"), "{others:?}");
            assert_eq!(counter.turns.load(SeqCst), before, "it stands still");
        }
        counter.end.store(true, SeqCst);
        counter.bell.ring().unwrap();
        counter.thread.join().unwrap();
        assert!(stand_still().unwrap().members.is_empty());
    }

    #[test]
    fn a_thread_that_ends_does_not_hold_up_a_fork() {
        let _alone = procession_sys::prim::lock(&ALONE);
        for _ in 0..200 {
            let counter = counter();
            counter.end.store(true, SeqCst);
            counter.bell.ring().unwrap();
            drop(stand_still().unwrap());
            counter.thread.join().unwrap();
        }
    }

    #[test]
    fn threads_that_start_others_do_not_hold_up_a_fork() {
        /// Starts the next one, and ends.
        fn hand_on(member: &Member, left: &Arc<AtomicU32>) {
            if left.fetch_sub(1, SeqCst) > 1 {
                let own = Arc::clone(left);
                member.start_another("next", || (), move |member| hand_on(member, &own)).unwrap();
            }
        }
        let _alone = procession_sys::prim::lock(&ALONE);
        let left = Arc::new(AtomicU32::new(300));
        let own = Arc::clone(&left);
        drop(start("first", || (), move |member| hand_on(member, &own)).unwrap());
        let mut forks = 0;
        while left.load(SeqCst) > 0 {
            drop(stand_still().unwrap());
            forks += 1;
        }
        assert!(forks > 3, "{forks}");
    }

    #[test]
    fn a_thread_that_does_not_come_to_rest_is_named() {
        let _alone = procession_sys::prim::lock(&ALONE);
        let end = Arc::new(AtomicBool::new(false));
        let own_end = Arc::clone(&end);
        let run = move |_: &Member| {
            while !own_end.load(SeqCst) {
                thread::yield_now();
            }
        };
        let thread = start("stubborn", || (), run).unwrap();
        // It rests once before it runs.
        let error = loop {
            if let Err(error) = stand_still() {
                break error;
            }
        };
        assert!(error.to_string().contains("stubborn"), "{error}");
        end.store(true, SeqCst);
        thread.join().unwrap();
    }
}
