//! The dispatcher: one thread that owns the workers.
//!
//! It waits for three things at once, and never for one of them alone: the bell that callers ring, messages from workers,
//! and ends of workers. Nothing that a worker holds can hold it up: it sends only to workers that are idle, whose socket
//! is empty, and receives only what has arrived.
//!
//! # States of a seat
//!
//! ```text
//! empty -> starting -> idle <-> busy
//!   ^         |         |        |
//!   +---------+---------+--------+   the worker ends: reaped, its tasks settled, a new one started
//! ```
//!
//! # When somebody dies
//!
//! * **A worker, running a task** (its claim names a ticket that is not answered): that task resolves as `WorkerDied`. Its
//!   other tasks, which were never started, go back to the front of their job.
//! * **A worker, between tasks or before its first:** nobody is blamed; its tasks go back. Except for a task whose argument
//!   holds descriptors: the worker was given them alone, and they are gone with it. And for a task that [`MOST_DEATHS`]
//!   workers were about to begin when they died: it is what kills them.
//! * **Workers that die before they are ready**, [`MOST_FAILED_STARTS`] in a row while no other is there: the pool is broken,
//!   and every task that waits or comes resolves as `PoolBroken`. So it is when the system refuses to start any for
//!   [`MOST_REFUSALS`] times, with growing pauses.
//! * **The dispatcher** (a panic in somebody's `tracing` subscriber): the pool is broken.
//! * **The process that the pool is in:** the workers end with it (lifeline).

mod seat;
mod shared;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use procession_core::threads::{self, Member};
use procession_core::{Courier, Error, ErrorKind, Handle, Received, Result};
use procession_process::{Context, Death, ExitStatus};
use procession_sys::memory::SharedWords;
use procession_sys::poll::{self, Watch};
use procession_sys::prim::{Ordering, lock};
use procession_sys::{Deadline, clock, fd, signal};

use crate::TaskError;
use crate::job::{Job, Outcome, Refused, Task};
use crate::protocol::{self, Ticket};
use crate::worker::{self, Initializer};

use seat::{Assigned, Seat};
pub(crate) use shared::{Closing, Shared};

/// How many workers may end in a row without having been ready once.
const MOST_FAILED_STARTS: u32 = 10;

/// How long the next attempt to start a worker waits when the system has refused one; twice as long each time, up to
/// [`START_AGAIN_MOST`].
const START_AGAIN: Duration = Duration::from_millis(100);
const START_AGAIN_MOST: Duration = Duration::from_secs(2);

/// How long the next attempt waits after workers have ended before they were ready, more than [`FREE_STARTS`] in a row;
/// twice as long each time, up to [`START_AGAIN_MOST`].
const DIED_EARLY: Duration = Duration::from_millis(10);
const FREE_STARTS: u32 = 3;

/// How many times in a row the system may refuse to start a worker while none is there: about ten seconds.
const MOST_REFUSALS: u32 = 9;

/// How many workers may die when they are about to begin a task.
const MOST_DEATHS: u8 = 3;

/// How many workers a pool may have: as many processes as a family.
pub(crate) const MOST_WORKERS: usize = 4096;

/// How many bytes of arguments an assignment may hold before no further task joins it.
const MOST_BYTES: usize = 1 << 20;

/// How long a worker that was told to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// Starts the workers, and the thread that owns them.
pub(crate) fn start(
    shared: Arc<Shared>,
    workers: usize,
    name: &str,
    context: Context,
    initializer: Option<Arc<Initializer>>,
    tasks_per_worker: Option<NonZeroUsize>,
) -> Result<JoinHandle<()>> {
    let mut dispatcher = Dispatcher {
        tasks_per_worker,
        wanted: workers,
        // Pages that no seat uses cost nothing.
        claims: SharedWords::create(worker::WORDS * MOST_WORKERS)?,
        signal_mask: signal::thread_mask()?.bits(),
        shared,
        seats: (0..workers).map(|_| None).collect(),
        context,
        initializer,
        worker_name: format!("{name}Worker"),
        started: 0,
        failed_starts: 0,
        refusals: 0,
        refused: None,
        jobs: VecDeque::new(),
        last_ticket: 0,
    };
    for seat in 0..workers {
        dispatcher.fill(seat)?;
    }
    let to_ring = Arc::clone(&dispatcher.shared);
    threads::start("procession-pool", move || to_ring.ring(), move |member| dispatcher.run(member))
}

struct Dispatcher {
    shared: Arc<Shared>,
    /// After how many tasks a worker is replaced.
    tasks_per_worker: Option<NonZeroUsize>,
    /// How many seats there shall be: those behind these are being left.
    wanted: usize,
    claims: SharedWords,
    /// What the workers' main threads block: what the thread did that made the pool.
    signal_mask: u64,
    seats: Vec<Option<Seat>>,
    context: Context,
    initializer: Option<Arc<Initializer>>,
    worker_name: String,
    started: u64,
    /// How many workers ended in a row without having been ready.
    failed_starts: u32,
    /// How many times in a row the system has refused to start one.
    refusals: u32,
    /// When to try again to start workers, after the system has refused.
    refused: Option<Deadline>,
    /// Jobs that may have waiting tasks; the first one is served next.
    jobs: VecDeque<Arc<Job>>,
    last_ticket: Ticket,
}

impl Dispatcher {
    fn run(mut self, member: &Member) {
        let served = catch_unwind(AssertUnwindSafe(|| {
            loop {
                member.rest();
                match self.turn() {
                    Ok(true) => {}
                    ended => return ended,
                }
            }
        }));
        let panicked = |_| Err(Error::new(ErrorKind::Panicked, "the pool's dispatcher panicked"));
        if let Err(error) = served.unwrap_or_else(panicked) {
            self.break_down(&error);
        }
        self.dismiss();
    }

    /// Waits for something to happen and sees to it; tells whether to go on.
    fn turn(&mut self) -> Result<bool> {
        let next = self.next_event();
        let seats = self.wait(next)?;
        // ORDERING: pairs with the swap in `Shared::ring`: what was done before a ring that found the flag set is seen
        // by the look into the inbox and the jobs below.
        self.shared.rung.swap(false, Ordering::AcqRel);
        self.shared.bell.silence()?;
        let (closing, wanted) = {
            let mut inbox = lock(&self.shared.inbox);
            self.jobs.extend(inbox.jobs.drain(..));
            (inbox.closing, inbox.wanted.take())
        };
        if closing == Closing::Now {
            return Ok(false);
        }
        if let Some(wanted) = wanted {
            self.resize(wanted)?;
        }
        for (seat, ended) in seats {
            self.listen(seat);
            if ended {
                self.bury(seat)?;
            }
        }
        // ORDERING: pairs with the store in `Shared::abandon`.
        if self.shared.abandoned.swap(false, Ordering::AcqRel) {
            self.skip_unwanted();
        }
        if self.refused.is_some_and(Deadline::has_passed) {
            self.refused = None;
            self.refill()?;
        }
        self.watch_time();
        for job in &self.jobs {
            job.wake();
        }
        self.dispatch();
        let is_idle = || self.occupied().all(|(_, worker)| worker.assigned.is_empty());
        Ok(closing == Closing::No || !is_idle() || !self.jobs.iter().all(|job| job.is_done()))
    }

    /// Makes as many seats as are wanted. Whoever sits in one that goes finishes what he was told.
    fn resize(&mut self, wanted: usize) -> Result<()> {
        self.wanted = wanted;
        if self.seats.len() < wanted {
            self.seats.resize_with(wanted, || None);
        }
        self.drop_seats();
        self.refill()
    }

    /// Takes away the last seats, if they are empty and not wanted.
    fn drop_seats(&mut self) {
        while self.seats.len() > self.wanted && self.seats.last().is_some_and(Option::is_none) {
            self.seats.pop();
        }
    }

    /// Tells workers not to begin what nobody wants any more, and ends those that run what was cancelled.
    fn skip_unwanted(&mut self) {
        for seat in 0..self.seats.len() {
            let claimed = self.claimed(seat);
            let Some(worker) = &mut self.seats[seat] else { continue };
            // An assignment is of one job, and a worker has one.
            let Some(last) = worker.assigned.back() else { continue };
            let is_cancelled = last.job.is_cancelled();
            if is_cancelled || last.job.is_abandoned() {
                self.claims.word(worker::unwanted_of(seat)).store(last.ticket, Ordering::Relaxed);
            }
            if is_cancelled && worker.assigned.iter().any(|one| one.ticket == claimed) {
                worker.end(claimed, None);
            }
        }
    }

    /// The task that the worker in a seat runs.
    fn claimed(&self, seat: usize) -> Ticket {
        // ORDERING: pairs with the Release stores in `worker::run`.
        self.claims.word(worker::claim_of(seat)).load(Ordering::Acquire)
    }

    /// Ends workers whose task has run for too long.
    fn watch_time(&mut self) {
        let now = clock::rough_millis();
        for seat in 0..self.seats.len() {
            let claimed = self.claimed(seat);
            let since = self.claims.word(worker::since_of(seat)).load(Ordering::Relaxed);
            let Some(worker) = &mut self.seats[seat] else { continue };
            worker.end_by_force();
            let running = worker.assigned.iter().find(|one| one.ticket == claimed);
            let Some(timeout) = running.and_then(|one| one.job.options.timeout) else { continue };
            let ran_for = Duration::from_millis(now.saturating_sub(since));
            if ran_for >= timeout {
                worker.end(claimed, Some(ran_for));
            }
        }
    }

    /// When something is to be done although nobody says so.
    fn next_event(&self) -> Deadline {
        let now = clock::rough_millis();
        let mut next = self.refused.unwrap_or(Deadline::NEVER);
        for job in &self.jobs {
            next = next.min(job.next_try().unwrap_or(Deadline::NEVER));
        }
        for (seat, worker) in self.occupied() {
            if let Some(ending) = &worker.ending {
                next = next.min(ending.kill_at.unwrap_or(Deadline::NEVER));
                continue;
            }
            let Some(first) = worker.assigned.front() else { continue };
            let Some(timeout) = first.job.options.timeout else { continue };
            let ran_for = match self.claimed(seat) {
                // It has not begun: not before this.
                0 => Duration::ZERO,
                _ => {
                    let since = self.claims.word(worker::since_of(seat)).load(Ordering::Relaxed);
                    Duration::from_millis(now.saturating_sub(since))
                }
            };
            // The clock is rough.
            let left = timeout.saturating_sub(ran_for).max(Duration::from_millis(1));
            next = next.min(Deadline::after(left));
        }
        next
    }

    /// Waits for the bell, or for something to happen to workers: returns their seats, and whether they have ended.
    fn wait(&self, next: Deadline) -> Result<Vec<(usize, bool)>> {
        let seats: Vec<_> = self.occupied().collect();
        let mut watches = vec![Watch::readable(&self.shared.bell)];
        for (_, worker) in &seats {
            watches.push(match worker.silent {
                false => Watch::readable(&worker.courier),
                true => Watch::readable(&worker.process),
            });
            watches.push(Watch::readable(&worker.process));
        }
        poll::wait(&mut watches, next)?;
        let of_workers =
            watches[1..].chunks(2).map(|pair| (pair[0].is_ready(), pair[1].is_ready()));
        let events = seats.iter().zip(of_workers);
        let happened = events.filter(|(_, (spoke, ended))| *spoke || *ended);
        Ok(happened.map(|((seat, _), (_, ended))| (*seat, ended)).collect())
    }

    fn occupied(&self) -> impl Iterator<Item = (usize, &Seat)> {
        self.seats.iter().enumerate().filter_map(|(seat, worker)| Some((seat, worker.as_ref()?)))
    }

    /// Receives all that a worker has said.
    fn listen(&mut self, seat: usize) {
        let Some(worker) = &mut self.seats[seat] else { return };
        loop {
            let said = match worker.courier.try_recv() {
                Ok(Received::Message(message)) => protocol::read_answer(message),
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) => return worker.give_up("it has closed its socket"),
                // This process has no room for the descriptors of a value. The answer is lost; workers answer in order.
                Err(error) if error.kind() != ErrorKind::Decode => {
                    worker.settle_oldest(error);
                    continue;
                }
                Err(error) => Err(error),
            };
            match said {
                Ok(Some((ticket, answer))) => worker.settle(ticket, answer),
                Ok(None) => {
                    worker.ready = true;
                    self.failed_starts = 0;
                }
                Err(error) => {
                    // Something else writes into its socket, or its memory is destroyed.
                    tracing::error!(%error, pid = worker.process.pid(), "a worker talks nonsense");
                    return worker.give_up("it talks nonsense");
                }
            }
        }
    }

    /// Sees to a worker that has ended, and puts another one into its seat.
    fn bury(&mut self, seat: usize) -> Result<()> {
        let Some(worker) = self.seats[seat].take() else { return Ok(()) };
        let Some(ended) = worker.process.try_join() else {
            // A debugger may make the descriptor readable before its time; or its status is not known yet.
            self.seats[seat] = Some(worker);
            return Ok(());
        };
        let status = worker.process.exit_status().ok().flatten().unwrap_or(ExitStatus::Unknown);
        let death = worker.process.death(status);
        let cause = match ended {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(error) => Some(error.into()),
        };
        match worker.is_leaving {
            true => tracing::debug!(%death, seat, "a worker of the pool has run its tasks"),
            false => tracing::warn!(%death, seat, cause = ?cause, "a worker of the pool ended"),
        }
        lock(&self.shared.inbox).pids[seat] = None;
        let was_ready = worker.ready;
        self.settle(seat, worker, &death);
        if !was_ready {
            self.failed_starts += 1;
            // Not at full speed for ever: the first few may be bad luck.
            if let Some(round) = self.failed_starts.checked_sub(FREE_STARTS) {
                let pause = DIED_EARLY * 2u32.saturating_pow(round);
                self.refused = Some(Deadline::after(pause.min(START_AGAIN_MOST)));
            }
            if self.failed_starts >= MOST_FAILED_STARTS && !self.occupied().any(|(_, w)| w.ready) {
                let text =
                    format!("{MOST_FAILED_STARTS} workers in a row ended before they were ready");
                let cause = cause.unwrap_or_else(|| Error::new(ErrorKind::Died, death.to_string()));
                return Err(Error::new(ErrorKind::Broken, text).caused_by(&cause));
            }
        }
        self.refill()
    }

    /// Settles what a worker was given that has ended and has said what it had to say.
    fn settle(&mut self, seat: usize, worker: Seat, death: &Death) {
        let claimed = self.claimed(seat);
        // Who was ended for another task is not blamed on this one.
        let is_blamed = worker.ending.is_none();
        let next = worker.assigned.front().map(|one| one.ticket).filter(|_| is_blamed);
        for assigned in worker.assigned.into_iter().rev() {
            let Assigned { ticket, job, mut task, moved } = assigned;
            let ran = ticket == claimed || moved;
            if Some(ticket) == next {
                task.deaths += 1;
            }
            if ran || task.deaths >= MOST_DEATHS {
                let (index, death) = (task.index, death.clone());
                let ended_by_pool = worker.ended_by_pool.clone();
                let ending = worker.ending.as_ref().filter(|ending| ending.ticket == ticket);
                let error = match ending.map(|ending| ending.ran_for) {
                    None => TaskError::WorkerDied { index, worker: seat, death, ended_by_pool },
                    Some(Some(ran_for)) => TaskError::TimedOut { index, ran_for },
                    Some(None) => TaskError::Cancelled { index },
                };
                // One that kills those who are about to begin it is not tried again.
                job.conclude(task, ran && !moved, Err(error));
            } else {
                self.put_back(job, task);
            }
        }
    }

    fn put_back(&mut self, job: Arc<Job>, task: Task) {
        job.put_back(task);
        if !self.jobs.iter().any(|known| Arc::ptr_eq(known, &job)) {
            self.jobs.push_front(job);
        }
    }

    /// Starts a worker for every empty seat, unless the system has refused one a moment ago.
    fn refill(&mut self) -> Result<()> {
        self.drop_seats();
        for seat in 0..self.wanted.min(self.seats.len()) {
            if self.seats[seat].is_some() || self.refused.is_some() {
                continue;
            }
            match self.fill(seat) {
                Ok(()) => self.refusals = 0,
                Err(error) => {
                    tracing::warn!(%error, seat, "a worker cannot be started for now");
                    let pause = START_AGAIN * 2u32.saturating_pow(self.refusals);
                    self.refused = Some(Deadline::after(pause.min(START_AGAIN_MOST)));
                    self.refusals += 1;
                    if self.refusals >= MOST_REFUSALS && self.occupied().next().is_none() {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Starts a worker for an empty seat.
    fn fill(&mut self, seat: usize) -> Result<()> {
        self.claims.word(worker::claim_of(seat)).store(0, Ordering::Relaxed);
        let (courier, theirs) = Courier::pair()?;
        let claims = Handle(fd::duplicate(&self.claims)?);
        self.started += 1;
        let name = format!("{}-{}", self.worker_name, self.started);
        let process = self.context.process().name(name).daemon(true).signal_mask(self.signal_mask);
        let initializer = match &self.initializer {
            Some(initializer) => Some(initializer.try_clone()?),
            None => None,
        };
        let process = process.spawn(worker::run, (theirs, claims, seat, initializer))?;
        let mut inbox = lock(&self.shared.inbox);
        if inbox.pids.len() <= seat {
            inbox.pids.resize(seat + 1, None);
        }
        inbox.pids[seat] = Some(process.pid());
        self.seats[seat] = Some(Seat {
            process,
            courier,
            ready: false,
            silent: false,
            ended_by_pool: None,
            ending: None,
            left: self.tasks_per_worker.map_or(usize::MAX, NonZeroUsize::get),
            is_leaving: false,
            assigned: VecDeque::new(),
        });
        Ok(())
    }

    /// Has idle workers leave that have run their tasks, or whose seats are not wanted any more.
    fn send_home(&mut self) {
        let wanted = self.wanted;
        for (seat, worker) in self.seats.iter_mut().enumerate() {
            if let Some(worker) = worker.as_mut().filter(|worker| worker.is_idle())
                && (worker.left == 0 || seat >= wanted)
            {
                worker.leave();
            }
        }
    }

    /// Gives tasks to idle workers, one job after the other.
    fn dispatch(&mut self) {
        self.send_home();
        for seat in 0..self.seats.len() {
            let is_idle = |worker: &&Seat| worker.is_idle() && worker.ending.is_none();
            let Some(worker) = self.seats[seat].as_ref().filter(is_idle) else { continue };
            let left = worker.left;
            let Some(job) = self.next_job() else { return };
            let tasks = job.take(self.seats.len(), left, MOST_BYTES);
            self.assign(seat, &job, tasks);
        }
    }

    /// The job whose turn it is; the ones after it come first next time.
    fn next_job(&mut self) -> Option<Arc<Job>> {
        for _ in 0..self.jobs.len() {
            let job = self.jobs.pop_front()?;
            if job.has_waiting() {
                self.jobs.push_back(Arc::clone(&job));
                return Some(job);
            }
            // Others may get further tasks, or have some that are tried again later.
            if !job.is_done() {
                self.jobs.push_back(job);
            }
        }
        None
    }

    fn assign(&mut self, seat: usize, job: &Arc<Job>, mut tasks: Vec<Task>) {
        let Some(worker) = &mut self.seats[seat] else { return };
        let first = self.last_ticket + 1;
        self.last_ticket += tasks.len() as Ticket;
        let none = || Error::new(ErrorKind::Broken, "a job of no function has tasks");
        let function = job.function.ok_or_else(none);
        let made = function.and_then(|function| protocol::assignment(function, first, &mut tasks));
        let sent = made.and_then(|mut message| {
            let moved = !message.handles().is_empty();
            match worker.courier.try_send(&message) {
                Ok(true) => return Ok(Some(moved)),
                // Its socket is full, which it is not while it is idle: something else writes into it.
                Ok(false) => worker.give_up("its socket is full while it is idle"),
                // It has just died, and is buried when the system says so.
                Err(error) if error.kind() == ErrorKind::Closed => {}
                Err(error) => return Err(error),
            }
            if let [only] = &mut tasks[..] {
                only.argument.put_handles(message.take_handles());
            }
            Ok(None)
        });
        match sent {
            Ok(Some(moved)) => {
                worker.left = worker.left.saturating_sub(tasks.len());
                let numbered = (first..).zip(tasks);
                worker.assigned.extend(numbered.map(|(ticket, task)| Assigned {
                    ticket,
                    job: Arc::clone(job),
                    task,
                    moved,
                }));
            }
            Ok(None) => tasks.into_iter().rev().for_each(|task| job.put_back(task)),
            Err(error) => {
                for Task { index, .. } in tasks {
                    let result = Err(TaskError::NotCalled { index, error: error.clone() });
                    job.resolve(Outcome { index, result });
                }
                // The next job may be luckier; nobody else would ring.
                self.shared.ring();
            }
        }
    }

    /// Makes the pool refuse everything, from now on without a dispatcher.
    fn break_down(&mut self, error: &Error) {
        tracing::error!(%error, "the pool is out of order");
        {
            let mut inbox = lock(&self.shared.inbox);
            inbox.broken = Some(error.clone());
            self.jobs.extend(inbox.jobs.drain(..));
        }
        for worker in self.seats.iter_mut().flatten() {
            worker.give_up("the pool is out of order");
        }
        let deadline = Deadline::after(GRACE);
        for seat in 0..self.seats.len() {
            let Some(worker) = &self.seats[seat] else { continue };
            // Killed: it ends at once, and then what it ran is known.
            drop(worker.process.join_timeout(deadline.remaining().unwrap_or_default()));
            self.listen(seat);
            if let Some(worker) = self.seats[seat].take() {
                let status = worker.process.exit_status().ok().flatten();
                let status = status.unwrap_or(ExitStatus::Unknown);
                let death = worker.process.death(status);
                self.settle(seat, worker, &death);
            }
        }
        lock(&self.shared.inbox).pids.clear();
        for job in &self.jobs {
            job.refuse(&Refused::Broken(error.clone()));
        }
    }

    /// Ends the workers: idle ones by hanging up, busy ones by force, as nobody wants their answers.
    fn dismiss(mut self) {
        let mut leaving = Vec::new();
        let mut unfinished = Vec::new();
        for mut worker in self.seats.iter_mut().filter_map(Option::take) {
            if !worker.assigned.is_empty() || !worker.leave() {
                drop(worker.process.kill());
            }
            leaving.push(worker.process);
            unfinished.extend(worker.assigned);
        }
        lock(&self.shared.inbox).pids.clear();
        let deadline = Deadline::after(GRACE);
        for process in leaving {
            let left = deadline.remaining().unwrap_or_default();
            if process.join_timeout(left).is_none() {
                drop(process.kill());
                drop(process.join());
            }
        }
        for Assigned { job, task, .. } in unfinished {
            let index = task.index;
            job.resolve(Outcome { index, result: Err(TaskError::PoolClosed { index }) });
        }
        self.jobs.extend(std::mem::take(&mut lock(&self.shared.inbox).jobs));
        for job in &self.jobs {
            job.refuse(&Refused::Closed);
        }
    }
}
