//! The threads of a pool, and the desk from which they take jobs.
//!
//! A job is on the list of the desk while it may have items that wait. A worker takes the first job, puts it back behind the others, and runs
//! one chunk of it; while no other job is there it stays with it. So calls share the workers, and a worker that is busy with one job comes to the
//! desk once for many chunks.
//!
//! # Locks
//!
//! The desk's lock is taken before that of a job. Nothing of the program is called while either is held: functions, callbacks, inputs and whatever
//! drops a value run outside.
//!
//! # Forks
//!
//! Workers stand still while this process forks, between two chunks: [`Member::rest`]. What nudges them is the number of rings, which a worker reads
//! *before* it rests: a ring in between finds it awake.

use std::cell::Cell;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use procession_core::threads::{self, Member};
use procession_core::{Error, ErrorKind, Result};
use procession_process::panic;
use procession_sys::prim::{
    AtomicBool, AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering::Relaxed, PoisonError,
    lock,
};
use procession_sys::signal::{self, Mask};
use procession_sys::{Deadline, process};

use super::job::Why;

/// What workers are called for who forks.
const NAME: &str = "procession-work";

/// How many initializers may panic in a row while no worker is ready.
const MOST_FAILED_STARTS: u32 = 10;

/// How long a worker waits before it tries again, after more than [`FREE_STARTS`] in a row have; twice as long each time.
const FAILED_START: Duration = Duration::from_millis(10);
const FREE_STARTS: u32 = 3;

/// What runs in each worker before its first task.
pub(crate) type Initializer = Arc<dyn Fn() + Send + Sync>;

/// What workers shall be.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) initializer: Option<Initializer>,
    /// After how many tasks a worker is replaced.
    pub(crate) tasks_per_worker: Option<NonZeroUsize>,
}

/// A job, as workers and the desk see it.
pub(crate) trait Source: Send + Sync {
    /// Runs chunks of it, until there are none that wait or the worker has something else to do.
    fn work(&self, hand: &mut Hand<'_>);

    /// How many items wait.
    fn waiting(&self) -> usize;

    /// Whether it is on the list. For the desk, behind its lock.
    fn listed(&self) -> &AtomicBool;

    /// Resolves what waits as this.
    fn refuse(&self, why: &Why);
}

/// How far a pool is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    No,
    /// What has begun is done first.
    Drain,
    Now,
}

pub(crate) struct Crew {
    /// The process that made it.
    owner: u32,
    plan: Plan,
    /// The signals that tasks run with: those that the thread blocked that made the pool.
    signal_mask: Mask,
    desk: Mutex<Desk>,
    /// Workers that find nothing sleep here.
    work: Condvar,
    /// How often workers were told to look up.
    rings: AtomicU64,
    /// How many jobs are on the list.
    crowd: AtomicUsize,
    /// How many workers there shall be.
    wanted: AtomicUsize,
}

struct Desk {
    jobs: VecDeque<Arc<dyn Source>>,
    /// How many workers there are.
    workers: usize,
    /// How many of them have been initialized.
    ready: usize,
    /// How many of them sleep.
    idle: usize,
    started: u64,
    /// How many initializers have panicked in a row.
    failed_starts: u32,
    closing: Closing,
    broken: Option<Error>,
    /// Calls that have begun and are not over.
    live: usize,
    threads: Vec<JoinHandle<()>>,
}

thread_local! {
    /// The crew that this thread works in, by its address; zero for none.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// A worker, as the job sees it that it runs chunks of.
pub(crate) struct Hand<'crew> {
    crew: &'crew Crew,
    rings: u64,
    /// How many tasks it may run before it is replaced.
    left: usize,
    /// Whether it runs what it waits for itself, and nothing else.
    helps: bool,
}

impl Hand<'_> {
    /// The most tasks to take.
    pub(crate) fn most(&self) -> usize {
        self.left
    }

    /// Whether it stays with a job of which it has just run so many tasks.
    pub(crate) fn stays(&mut self, ran: usize) -> bool {
        self.left -= ran;
        // ORDERING: Relaxed: whoever rings or lists a job sees to it that somebody wakes; a worker that is awake looks again soon.
        !self.helps
            && self.left > 0
            && self.crew.rings.load(Relaxed) == self.rings
            && self.crew.crowd.load(Relaxed) <= 1
    }
}

/// What a worker does next.
enum Next {
    Job(Arc<dyn Source>),
    /// It was told to look up.
    Rest,
    End,
}

impl Crew {
    /// Starts the workers.
    pub(crate) fn start(plan: Plan, workers: usize) -> Result<Arc<Self>> {
        let desk = Desk {
            jobs: VecDeque::new(),
            workers: 0,
            ready: 0,
            idle: 0,
            started: 0,
            failed_starts: 0,
            closing: Closing::No,
            broken: None,
            live: 0,
            threads: Vec::new(),
        };
        let crew = Arc::new(Self {
            owner: process::id(),
            plan,
            signal_mask: signal::thread_mask()?,
            desk: Mutex::new(desk),
            work: Condvar::new(),
            rings: AtomicU64::new(0),
            crowd: AtomicUsize::new(0),
            wanted: AtomicUsize::new(workers),
        });
        crew.fill().inspect_err(|_no_room| {
            crew.close(Closing::Now);
            crew.join();
        })?;
        Ok(crew)
    }

    /// How many workers there shall be.
    pub(crate) fn workers(&self) -> usize {
        self.wanted.load(Relaxed)
    }

    /// Whether this is the process that made it. If not, nothing else of it may be touched: locks may be held for ever.
    pub(crate) fn is_here(&self) -> bool {
        self.owner == process::id()
    }

    /// A pool is its process's alone.
    pub(crate) fn check_owner(&self) -> Result<()> {
        match self.is_here() {
            true => Ok(()),
            false => {
                let text = "a forked child cannot use its parent's pool";
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        }
    }

    /// Whether the calling thread is one of its workers.
    pub(crate) fn is_own_thread(&self) -> bool {
        // At the end of a thread there is nothing left of it.
        CURRENT.try_with(Cell::get).is_ok_and(|crew| crew == std::ptr::from_ref(self).addr())
    }

    /// Begins a call, or says why not.
    pub(crate) fn begin(&self) -> Result<(), Why> {
        self.check_owner().map_err(Why::NotCalled)?;
        let mut desk = lock(&self.desk);
        match desk.why_not() {
            _ if desk.closing == Closing::Drain => Err(Why::Closed),
            Some(why) => Err(why),
            None => {
                desk.live += 1;
                Ok(())
            }
        }
    }

    /// A call is over that had begun.
    pub(crate) fn end_call(&self) {
        let mut desk = lock(&self.desk);
        desk.live -= 1;
        if desk.live == 0 && desk.closing != Closing::No {
            drop(desk);
            self.work.notify_all();
        }
    }

    /// Puts a job on the list that has so many new items, and wakes who is needed.
    ///
    /// # Errors
    ///
    /// Why nobody will run them.
    pub(crate) fn list(&self, job: Arc<dyn Source>, items: usize) -> Result<(), Why> {
        let mut desk = lock(&self.desk);
        if let Some(why) = desk.why_not() {
            return Err(why);
        }
        if !job.listed().swap(true, Relaxed) {
            desk.jobs.push_back(job);
            self.crowd.store(desk.jobs.len(), Relaxed);
        }
        let idle = desk.idle;
        drop(desk);
        match items.min(idle) {
            0 => {}
            1 => self.work.notify_one(),
            _ => self.work.notify_all(),
        }
        Ok(())
    }

    /// Runs a chunk of a job in the calling thread, which is a worker that waits for it; tells whether there was any.
    pub(crate) fn help(&self, job: &dyn Source) -> bool {
        if !self.is_own_thread() || job.waiting() == 0 {
            return false;
        }
        job.work(&mut Hand { crew: self, rings: 0, left: usize::MAX, helps: true });
        true
    }

    /// Has so many workers from now on.
    pub(crate) fn resize(self: &Arc<Self>, workers: usize) -> Result<()> {
        self.check_owner()?;
        self.wanted.store(workers, Relaxed);
        // Those that are too many leave.
        self.ring();
        self.fill()
    }

    pub(crate) fn close(&self, closing: Closing) {
        let mut desk = lock(&self.desk);
        if desk.closing != Closing::Now {
            desk.closing = closing;
        }
        self.turn_away(desk, closing);
    }

    pub(crate) fn is_closing(&self) -> bool {
        lock(&self.desk).closing != Closing::No
    }

    /// Waits for the end of all workers.
    pub(crate) fn join(&self) {
        loop {
            let threads = std::mem::take(&mut lock(&self.desk).threads);
            if threads.is_empty() {
                return;
            }
            for thread in threads {
                // Whoever panicked has said so.
                drop(thread.join());
            }
        }
    }

    /// Starts workers that are missing.
    fn fill(self: &Arc<Self>) -> Result<()> {
        loop {
            {
                let mut desk = lock(&self.desk);
                if desk.workers >= self.workers() || desk.closing == Closing::Now {
                    return Ok(());
                }
                desk.workers += 1;
            }
            self.start_thread(None).inspect_err(|_no_room| lock(&self.desk).workers -= 1)?;
        }
    }

    /// Starts a worker. The one that asks for it, if one does, may be stood still for meanwhile.
    fn start_thread(self: &Arc<Self>, by: Option<&Member>) -> Result<()> {
        let number = {
            let mut desk = lock(&self.desk);
            desk.started += 1;
            desk.started
        };
        let (to_ring, own) = (Arc::downgrade(self), Arc::clone(self));
        let ring = move || {
            if let Some(crew) = to_ring.upgrade() {
                crew.ring();
            }
        };
        let run = move |member: &Member| own.run(number, member);
        // Not while the desk is locked: whoever forks has the list of threads, and waits for those that need the desk.
        let thread = match by {
            Some(member) => member.start_another(NAME, ring, run)?,
            None => threads::start(NAME, ring, run)?,
        };
        let mut desk = lock(&self.desk);
        desk.threads.retain(|thread| !thread.is_finished());
        desk.threads.push(thread);
        Ok(())
    }

    /// Has all workers look up.
    fn ring(&self) {
        // Behind the lock, so that a worker that is about to sleep sees it.
        let desk = lock(&self.desk);
        self.rings.fetch_add(1, Relaxed);
        drop(desk);
        self.work.notify_all();
    }

    /// A worker's life.
    fn run(self: &Arc<Self>, number: u64, member: &Member) {
        CURRENT.set(std::ptr::from_ref(&**self).addr());
        // For `ps` and debuggers; and what cannot be set stays as it is.
        drop(process::set_thread_name(&format!("{}Worker-{number}", self.plan.name)));
        drop(signal::set_thread_mask(self.signal_mask));
        let most = self.plan.tasks_per_worker.map_or(usize::MAX, NonZeroUsize::get);
        while self.initialize(member) {
            let mut left = most;
            while left > 0 {
                // In this order: see the top.
                let rings = self.rings.load(Relaxed);
                member.rest();
                match self.next(rings) {
                    Next::Job(job) => {
                        let mut hand = Hand { crew: self, rings, left, helps: false };
                        job.work(&mut hand);
                        left = hand.left;
                        let_go([job]);
                    }
                    Next::Rest => {}
                    Next::End => return,
                }
            }
            lock(&self.desk).ready -= 1;
            match self.start_thread(Some(member)) {
                Ok(()) => return,
                // It is its own successor then.
                Err(error) => tracing::warn!(%error, "a worker thread cannot be replaced"),
            }
        }
    }

    /// Calls the initializer until it has not panicked; tells whether to begin.
    fn initialize(&self, member: &Member) -> bool {
        loop {
            let called = match &self.plan.initializer {
                Some(initializer) => panic::catch(AssertUnwindSafe(|| initializer())),
                None => Ok(()),
            };
            let mut desk = lock(&self.desk);
            let Err(panic) = called else {
                desk.failed_starts = 0;
                desk.ready += 1;
                return true;
            };
            desk.failed_starts += 1;
            if desk.failed_starts >= MOST_FAILED_STARTS && desk.ready == 0 {
                let text = format!("{MOST_FAILED_STARTS} initializers in a row panicked");
                let cause = Error::new(ErrorKind::Panicked, panic.to_string());
                let error = Error::new(ErrorKind::Broken, text).caused_by(&cause);
                desk.broken.get_or_insert(error);
                desk.workers -= 1;
                self.turn_away(desk, Closing::Now);
                return false;
            }
            if self.leaves(&mut desk) {
                return false;
            }
            let round = desk.failed_starts.checked_sub(FREE_STARTS);
            drop(desk);
            if let Some(round) = round {
                self.pause(member, FAILED_START * 2u32.saturating_pow(round.min(8)));
            }
        }
    }

    /// Waits so long, or until this pool ends.
    fn pause(&self, member: &Member, time: Duration) {
        let deadline = Deadline::after(time);
        loop {
            let rings = self.rings.load(Relaxed);
            member.rest();
            let desk = lock(&self.desk);
            let is_over = desk.closing == Closing::Now || desk.broken.is_some();
            if is_over || deadline.has_passed() {
                return;
            }
            if self.rings.load(Relaxed) == rings {
                drop(wait_until(&self.work, desk, deadline));
            }
        }
    }

    /// What to do; sleeps while there is nothing.
    fn next(&self, rings: u64) -> Next {
        let mut desk = lock(&self.desk);
        loop {
            if self.leaves(&mut desk) {
                desk.ready -= 1;
                return Next::End;
            }
            let mut empty = Vec::new();
            let found = desk.next_job(&mut empty);
            self.crowd.store(desk.jobs.len(), Relaxed);
            if !empty.is_empty() {
                drop(desk);
                let_go(empty);
                match found {
                    Some(job) => return Next::Job(job),
                    None => desk = lock(&self.desk),
                }
                continue;
            }
            if let Some(job) = found {
                return Next::Job(job);
            }
            if self.rings.load(Relaxed) != rings {
                return Next::Rest;
            }
            desk.idle += 1;
            desk = self.work.wait(desk).unwrap_or_else(PoisonError::into_inner);
            desk.idle -= 1;
        }
    }

    /// Whether the worker that asks ends; it is not counted any more then.
    fn leaves(&self, desk: &mut Desk) -> bool {
        let is_over = match desk.closing {
            Closing::No => false,
            Closing::Drain => desk.live == 0,
            Closing::Now => true,
        };
        let leaves = is_over || desk.broken.is_some() || desk.workers > self.workers();
        if leaves {
            desk.workers -= 1;
        }
        leaves
    }

    /// Refuses what waits, if so, and wakes everybody.
    fn turn_away(&self, mut desk: MutexGuard<'_, Desk>, closing: Closing) {
        let why = desk.why_not();
        let refused = match closing {
            Closing::Now => std::mem::take(&mut desk.jobs),
            Closing::No | Closing::Drain => VecDeque::new(),
        };
        drop(desk);
        for job in refused {
            if let Some(why) = &why {
                job.refuse(why);
            }
            let_go([job]);
        }
        self.ring();
    }
}

/// Drops jobs, which may be the last to have a function of the program, and what that has captured. Dropping that may do anything, and panic; so nothing
/// is locked.
fn let_go(jobs: impl IntoIterator<Item = Arc<dyn Source>>) {
    for job in jobs {
        drop(panic::catch(AssertUnwindSafe(|| drop(job))));
    }
}

impl Desk {
    /// The first job that has items which wait. Those in front of it that have none are not on the list any more, and are `empty`'s.
    fn next_job(&mut self, empty: &mut Vec<Arc<dyn Source>>) -> Option<Arc<dyn Source>> {
        while let Some(job) = self.jobs.pop_front() {
            let waiting = job.waiting();
            if waiting > 1 {
                self.jobs.push_back(Arc::clone(&job));
                return Some(job);
            }
            job.listed().store(false, Relaxed);
            if waiting == 1 {
                // Who asks takes the last one.
                return Some(job);
            }
            empty.push(job);
        }
        None
    }

    /// Why nobody runs what comes now, if nobody does.
    fn why_not(&self) -> Option<Why> {
        match (&self.broken, self.closing) {
            (Some(error), _) => Some(Why::Broken(error.clone())),
            (None, Closing::Now) => Some(Why::Closed),
            (None, Closing::No | Closing::Drain) => None,
        }
    }
}

/// Waits until somebody notifies, or the deadline has passed, or for no reason.
pub(crate) fn wait_until<'a, T>(
    condition: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Deadline,
) -> MutexGuard<'a, T> {
    match deadline.remaining() {
        None => condition.wait(guard).unwrap_or_else(PoisonError::into_inner),
        Some(left) => condition.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0,
    }
}
