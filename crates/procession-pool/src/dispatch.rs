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

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use procession_core::threads::{self, Member};
use procession_core::{Courier, Error, ErrorKind, Handle, Received, Result};
use procession_process::{Context, Death, ExitStatus, Process};
use procession_sys::doorbell::Doorbell;
use procession_sys::memory::SharedWords;
use procession_sys::poll::{self, Watch};
use procession_sys::prim::{AtomicBool, Mutex, Ordering, lock};
use procession_sys::{Deadline, fd, signal};

use crate::TaskError;
use crate::job::{Job, Outcome, Task};
use crate::protocol::{self, Answer, Ticket};
use crate::worker::{self, Initializer};

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

/// How many bytes of arguments an assignment may hold before no further task joins it.
const MOST_BYTES: usize = 1 << 20;

/// How long a worker that was told to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// What callers and the dispatcher share.
#[derive(Debug)]
pub(crate) struct Shared {
    bell: Doorbell,
    /// Whether the bell has been rung and not been heard yet: saves ringing it for each of many tasks.
    rung: AtomicBool,
    /// Whether a job has been abandoned since the dispatcher looked.
    abandoned: AtomicBool,
    inbox: Mutex<Inbox>,
}

#[derive(Debug, Default)]
struct Inbox {
    jobs: Vec<Arc<Job>>,
    closing: bool,
    /// Why the pool is out of order, if it is: there is no dispatcher any more.
    broken: Option<Error>,
    /// The process numbers of the workers, by seat.
    pids: Vec<Option<u32>>,
}

impl Shared {
    pub(crate) fn new() -> Result<Self> {
        let inbox = Mutex::new(Inbox::default());
        let (rung, abandoned) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self { bell: Doorbell::new()?, rung, abandoned, inbox })
    }

    /// Hands over a job.
    pub(crate) fn begin(&self, job: Arc<Job>) {
        let mut inbox = lock(&self.inbox);
        match &inbox.broken {
            Some(error) => job.refuse(error),
            None => inbox.jobs.push(job),
        }
    }

    /// Makes the dispatcher look for tasks.
    pub(crate) fn ring(&self) {
        // ORDERING: pairs with the swap in `Dispatcher::turn`: whoever finds the flag set knows that the dispatcher will
        // look after this call, and so will see what was done before it.
        if !self.rung.swap(true, Ordering::AcqRel) {
            // Cannot fail for a doorbell; and a dispatcher that missed a bell hears the next one.
            drop(self.bell.ring());
        }
    }

    /// Gives a job up: what it waits for is forgotten, what workers have of it is skipped.
    pub(crate) fn abandon(&self, job: &Job) {
        job.abandon();
        // ORDERING: pairs with the swap in `Dispatcher::turn`; the ring behind it makes the dispatcher look.
        self.abandoned.store(true, Ordering::Release);
        self.ring();
    }

    pub(crate) fn close(&self) {
        lock(&self.inbox).closing = true;
        self.ring();
    }

    pub(crate) fn worker_pids(&self) -> Vec<u32> {
        lock(&self.inbox).pids.iter().copied().flatten().collect()
    }
}

/// Starts the workers, and the thread that owns them.
pub(crate) fn start(
    shared: Arc<Shared>,
    workers: usize,
    name: &str,
    context: Context,
    initializer: Option<Arc<Initializer>>,
) -> Result<JoinHandle<()>> {
    let mut dispatcher = Dispatcher {
        claims: SharedWords::create(2 * workers)?,
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

/// A worker in its seat.
struct Seat {
    process: Process<Result<()>>,
    courier: Courier,
    ready: bool,
    /// Whether it can say no more.
    silent: bool,
    /// Why the pool has ended it, if it has.
    ended_by_pool: Option<String>,
    /// What it was told to run and has not answered, in order.
    assigned: VecDeque<Assigned>,
}

struct Assigned {
    ticket: Ticket,
    job: Arc<Job>,
    /// The argument is whole unless `moved`.
    task: Task,
    /// Whether the worker has the argument's descriptors.
    moved: bool,
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
        let seats = self.wait()?;
        // ORDERING: pairs with the swap in `Shared::ring`: what was done before a ring that found the flag set is seen
        // by the look into the inbox and the jobs below.
        self.shared.rung.swap(false, Ordering::AcqRel);
        self.shared.bell.silence()?;
        {
            let mut inbox = lock(&self.shared.inbox);
            if inbox.closing {
                return Ok(false);
            }
            self.jobs.extend(inbox.jobs.drain(..));
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
        self.dispatch();
        Ok(true)
    }

    /// Tells workers not to begin what nobody wants any more.
    fn skip_unwanted(&self) {
        for (seat, worker) in self.occupied() {
            // An assignment is of one job, and a worker has one.
            if let Some(last) = worker.assigned.back().filter(|last| last.job.is_abandoned()) {
                self.claims.word(worker::unwanted_of(seat)).store(last.ticket, Ordering::Relaxed);
            }
        }
    }

    /// Waits for the bell, or for something to happen to workers: returns their seats, and whether they have ended.
    fn wait(&self) -> Result<Vec<(usize, bool)>> {
        let seats: Vec<_> = self.occupied().collect();
        let mut watches = vec![Watch::readable(&self.shared.bell)];
        for (_, worker) in &seats {
            watches.push(match worker.silent {
                false => Watch::readable(&worker.courier),
                true => Watch::readable(&worker.process),
            });
            watches.push(Watch::readable(&worker.process));
        }
        poll::wait(&mut watches, self.refused.unwrap_or(Deadline::NEVER))?;
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
        tracing::warn!(%death, seat, cause = ?cause, "a worker of the pool ended");
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
        // ORDERING: pairs with the Release stores in `worker::run`.
        let claimed = self.claims.word(worker::claim_of(seat)).load(Ordering::Acquire);
        let next = worker.assigned.front().map(|assigned| assigned.ticket);
        for assigned in worker.assigned.into_iter().rev() {
            let Assigned { ticket, job, mut task, moved } = assigned;
            let ran = ticket == claimed || moved;
            if Some(ticket) == next {
                task.deaths += 1;
            }
            if ran || task.deaths >= MOST_DEATHS {
                let (index, death) = (task.index, death.clone());
                let ended_by_pool = worker.ended_by_pool.clone();
                let died = TaskError::WorkerDied { index, worker: seat, death, ended_by_pool };
                job.resolve(Outcome { index, result: Err(died) });
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
        for seat in 0..self.seats.len() {
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
        inbox.pids.resize(self.seats.len(), None);
        inbox.pids[seat] = Some(process.pid());
        self.seats[seat] = Some(Seat {
            process,
            courier,
            ready: false,
            silent: false,
            ended_by_pool: None,
            assigned: VecDeque::new(),
        });
        Ok(())
    }

    /// Gives tasks to idle workers, one job after the other.
    fn dispatch(&mut self) {
        for seat in 0..self.seats.len() {
            let idle = |worker: &Seat| worker.ready && worker.assigned.is_empty();
            if !self.seats[seat].as_ref().is_some_and(idle) {
                continue;
            }
            let Some(job) = self.next_job() else { return };
            let tasks = job.take(self.seats.len(), MOST_BYTES);
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
            // A job that nobody else knows has ended; others may get further tasks.
            if !job.is_abandoned() && Arc::strong_count(&job) > 1 {
                self.jobs.push_back(job);
            }
        }
        None
    }

    fn assign(&mut self, seat: usize, job: &Arc<Job>, mut tasks: Vec<Task>) {
        let Some(worker) = &mut self.seats[seat] else { return };
        let first = self.last_ticket + 1;
        self.last_ticket += tasks.len() as Ticket;
        let made = protocol::assignment(job.function, first, &mut tasks);
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
            job.refuse(error);
        }
    }

    /// Ends the workers: idle ones by hanging up, busy ones by force, as nobody wants their answers.
    fn dismiss(mut self) {
        let mut leaving = Vec::new();
        for worker in self.seats.iter_mut().filter_map(Option::take) {
            // An idle one has room for the word. Hanging up would do, but for forks that have a copy of our end.
            let told = worker.assigned.is_empty()
                && worker.courier.try_send(&protocol::farewell()).unwrap_or(true);
            if !told {
                drop(worker.process.kill());
            }
            leaving.push(worker.process);
        }
        let deadline = Deadline::after(GRACE);
        for process in leaving {
            let left = deadline.remaining().unwrap_or_default();
            if process.join_timeout(left).is_none() {
                drop(process.kill());
                drop(process.join());
            }
        }
    }
}

impl Seat {
    /// Resolves the task that a worker has answered.
    fn settle(&mut self, ticket: Ticket, answer: Answer) {
        if matches!(answer, Answer::Skipped) {
            self.assigned.retain(|assigned| assigned.ticket > ticket);
            return;
        }
        // Workers answer in order; a task that was settled otherwise is not there any more.
        let Some(at) = self.assigned.iter().position(|assigned| assigned.ticket == ticket) else {
            return;
        };
        let Some(Assigned { job, task, .. }) = self.assigned.remove(at) else { return };
        let index = task.index;
        let result = match answer {
            Answer::Value(value) => Ok(value),
            Answer::Panicked(panic) => Err(TaskError::Panicked { index, panic }),
            Answer::NotCalled(error) => Err(TaskError::NotCalled { index, error }),
            Answer::Unsendable(error) => Err(TaskError::Value { index, error }),
            Answer::Skipped => return,
        };
        job.resolve(Outcome { index, result });
    }

    /// Ends a worker that can answer no more; it is buried when it has ended.
    fn give_up(&mut self, reason: &str) {
        self.silent = true;
        self.ended_by_pool = Some(reason.to_owned());
        // Already ending, or not ours to signal because it became another user's.
        drop(self.process.kill());
    }

    fn settle_oldest(&mut self, error: Error) {
        if let Some(ticket) = self.assigned.front().map(|assigned| assigned.ticket) {
            self.settle(ticket, Answer::Unsendable(error));
        }
    }
}
