//! The keeper: one thread that owns the workers.
//!
//! It starts them, ends them, and sees to what becomes of their tasks when they die; it sees to time limits and to tasks that are tried
//! again; and while nobody waits for results, to those. It waits for the bell and the ends of workers, never for one of them alone, and for nothing
//! that a worker holds.
//!
//! # States of a seat
//!
//! ```text
//! empty -> starting -> ready -> ended
//!   ^                             |  its outbox is read, what it had is settled, a new one is started
//!   +-----------------------------+
//! ```
//!
//! # When somebody dies
//!
//! * **A worker, running a task** (its words name one that is not answered): that task resolves as `WorkerDied`. Those of the same chunk that it
//!   had not begun wait again, in front.
//! * **A worker, between tasks or before its first:** nobody is blamed; its tasks wait again. Except for a task whose argument
//!   holds descriptors: the worker was given them alone, and they are gone with it. And for a task that three
//!   workers were about to begin when they died: it is what kills them.
//! * **Workers that die before they are ready**, [`MOST_FAILED_STARTS`] in a row while no other is there: the pool is broken,
//!   and every task that waits or comes resolves as `PoolBroken`. So it is when the system refuses to start any for
//!   [`MOST_REFUSALS`] times, with growing pauses.
//! * **The keeper** (a panic in somebody's `tracing` subscriber): the pool is broken.
//! * **The process that the pool is in:** the workers end with it (lifeline).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use procession_core::threads::{self, Member};
use procession_core::{Courier, Error, ErrorKind, Handle, Received, Result};
use procession_process::{Death, ExitStatus};
use procession_sys::poll::{self, Watch};
use procession_sys::prim::{Ordering, lock};
use procession_sys::{Deadline, clock, fd, signal};

use crate::job::Refused;
use crate::outbox::Reader;
use crate::worker::{self, Ties, WorkerProcess};

use super::plan::Plan;
use super::seat::{Ending, Seat};
use super::tail::Tail;
use super::{Closing, Desk, Force, MOST_WORKERS, Shared};

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

/// How long memory is kept for what may come.
const IDLE: Duration = Duration::from_millis(100);

/// How long a worker that was told to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// Starts the workers, and the thread that owns them.
pub(crate) fn start(shared: Arc<Shared>, plan: Plan) -> Result<JoinHandle<()>> {
    let workers = plan.workers;
    let mut keeper = Keeper {
        signal_mask: signal::thread_mask()?.bits(),
        worker_name: format!("{}Worker", plan.name),
        shared,
        plan,
        workers: Vec::new(),
        tails: Vec::new(),
        started: 0,
        failed_starts: 0,
        refusals: 0,
        refused: None,
        cools: None,
    };
    lock(&keeper.shared.desk).wanted = workers;
    for seat in 0..workers {
        keeper.add_seat();
        if let Err(error) = keeper.fill(seat) {
            keeper.dismiss();
            return Err(error);
        }
    }
    let to_ring = Arc::clone(&keeper.shared);
    threads::start("procession-pool", move || to_ring.ring(), move |member| keeper.run(member))
}

struct Keeper {
    shared: Arc<Shared>,
    plan: Plan,
    /// What the workers' main threads block: what the thread did that made the pool.
    signal_mask: u64,
    worker_name: String,
    /// By seat; as at the desk.
    workers: Vec<Option<Arc<WorkerProcess>>>,
    /// What they write to their standard error, if that is kept; by seat.
    tails: Vec<Option<Tail>>,
    started: u64,
    /// How many workers ended in a row without having been ready.
    failed_starts: u32,
    /// How many times in a row the system has refused to start one.
    refusals: u32,
    /// When to try again to start workers, after the system has refused.
    refused: Option<Deadline>,
    /// When to give memory back.
    cools: Option<Deadline>,
}

impl Keeper {
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
        let panicked = |_| Err(Error::new(ErrorKind::Panicked, "the pool's keeper panicked"));
        if let Err(error) = served.unwrap_or_else(panicked) {
            self.break_down(&error);
        }
        self.dismiss();
    }

    /// Waits for something to happen and sees to it; tells whether to go on.
    fn turn(&mut self) -> Result<bool> {
        let next = self.next_event();
        let ended = self.wait(next)?;
        // In this order: the other way round, a ring in between would be silenced, and the flag say that it was not heard.
        self.shared.counts.bell.silence()?;
        // ORDERING: pairs with the swap in `Counts::ring`: what was done before a ring that found the flag set is seen
        // by the look below.
        self.shared.counts.rung.swap(false, Ordering::AcqRel);
        let shared = Arc::clone(&self.shared);
        let (closing, new_size) = shared.at_desk(|desk| (desk.closing, desk.new_size.take()));
        if closing == Closing::Now {
            return Ok(false);
        }
        if let Some(wanted) = new_size {
            self.resize(wanted)?;
        }
        for seat in ended {
            self.bury(seat)?;
        }
        if self.refused.is_some_and(Deadline::has_passed) {
            self.refused = None;
            self.refill()?;
        }
        if shared.at_desk(|desk| self.retire(desk)) {
            self.refill()?;
        }
        let is_idle = shared.at_desk(|desk| {
            self.see_to_time(desk);
            desk.collect(&shared);
            for job in std::mem::take(&mut desk.retrying) {
                job.wake();
                desk.list(&job);
                if job.next_try().is_some() {
                    desk.retrying.push(job);
                }
            }
            desk.pump(&shared);
            desk.needs_keeper();
            if self.cools.is_some_and(Deadline::has_passed) {
                self.cools = None;
                desk.cool(&shared);
            } else if desk.is_warm() {
                self.cools.get_or_insert_with(|| Deadline::after(IDLE));
            }
            desk.is_idle()
        });
        shared.board.rouse();
        shared.watch();
        let is_over = || is_idle && shared.counts.live.load(Ordering::SeqCst) == 0;
        Ok(closing == Closing::No || !is_over())
    }

    /// Has as many workers as are wanted. Those that are too many finish what they run.
    fn resize(&mut self, wanted: usize) -> Result<()> {
        {
            let mut desk = lock(&self.shared.desk);
            desk.wanted = wanted;
            let staying = desk.staying();
            let (board, seats) = (&self.shared.board, desk.seats.iter_mut().enumerate());
            let stay = seats.rev().filter_map(|(seat, worker)| Some((seat, worker.as_mut()?)));
            for (seat, worker) in
                stay.filter(|(_, worker)| worker.stays()).take(staying.saturating_sub(wanted))
            {
                worker.is_leaving = true;
                board.dismiss(seat);
            }
        }
        self.refill()
    }

    fn add_seat(&mut self) {
        lock(&self.shared.desk).seats.push(None);
        self.workers.push(None);
        self.tails.push(None);
    }

    /// Takes away the last seats, if they are empty and not wanted.
    fn drop_seats(&mut self) {
        let mut desk = lock(&self.shared.desk);
        while desk.seats.len() > desk.wanted && desk.seats.last().is_some_and(Option::is_none) {
            desk.seats.pop();
            self.workers.pop();
            self.tails.pop();
        }
    }

    /// Finds workers in whose place there shall be another, and lets those go for whom there is one; whether one is to be started.
    fn retire(&self, desk: &mut Desk) -> bool {
        let board = &self.shared.board;
        let is_old =
            |worker: &Seat| self.plan.age_per_worker.is_some_and(|age| worker.tally.age() >= age);
        let mut is_one_missing = false;
        for (seat, worker) in desk.seats.iter_mut().enumerate() {
            let Some(worker) = worker else { continue };
            if worker.stays() && board.is_ready(seat) && (board.is_full(seat) || is_old(worker)) {
                worker.is_retiring = true;
                is_one_missing = true;
            }
        }
        let is_there = |(seat, worker): &(usize, &Option<Seat>)| {
            worker.as_ref().is_some_and(Seat::stays) && board.is_ready(*seat)
        };
        let there = desk.seats.iter().enumerate().filter(is_there).count();
        // One that has come takes the place of one.
        let mut too_many = (there + desk.retiring()).saturating_sub(desk.wanted);
        for (seat, worker) in desk.seats.iter_mut().enumerate() {
            let Some(worker) = worker.as_mut().filter(|worker| worker.is_retiring) else {
                continue;
            };
            if too_many > 0 && !worker.is_leaving {
                too_many -= 1;
                worker.is_leaving = true;
                board.dismiss(seat);
            }
        }
        is_one_missing
    }

    /// Ends workers whose task has run for too long, or was cancelled.
    fn see_to_time(&self, desk: &mut Desk) {
        let now = clock::nanos();
        for seat in 0..desk.seats.len() {
            if self.see_to_end(desk, seat) {
                continue;
            }
            let Some((chunk, place, since)) = desk.running(&self.shared, seat) else { continue };
            let options = chunk.job.options;
            let ran_for = Duration::from_nanos(now.saturating_sub(since));
            let is_late = options.timeout.is_some_and(|timeout| ran_for >= timeout);
            if !is_late && !chunk.job.is_cancelled() {
                continue;
            }
            let ticket = chunk.ticket;
            self.shared.board.hold(seat);
            // It begins nothing else from now on; is it still at it?
            let is_same = |(chunk, at, _): (&super::desk::Chunk, u32, u64)| {
                chunk.ticket == ticket && at == place
            };
            if !desk.running(&self.shared, seat).is_some_and(is_same) {
                self.shared.board.let_go(seat);
                continue;
            }
            let Some(worker) = &mut desk.seats[seat] else { continue };
            let ran_for = is_late.then_some(ran_for);
            self.shared.board.give_notice(seat, ticket, place);
            let ask_at = Some(Deadline::after(options.notice.unwrap_or_default()));
            let grace = options.grace;
            worker.ending = Some(Ending { ticket, place, ran_for, ask_at, grace, kill_at: None });
            worker.end_by_force();
        }
    }

    /// Goes on with ending a worker; whether it is being ended, or there is none.
    fn see_to_end(&self, desk: &mut Desk, seat: usize) -> bool {
        let running = desk.running(&self.shared, seat).map(|(chunk, at, _)| (chunk.ticket, at));
        let Some(worker) = &mut desk.seats[seat] else { return true };
        let Some(ending) = &worker.ending else { return false };
        if ending.ask_at.is_some() && running != Some((ending.ticket, ending.place)) {
            // The task has heeded the notice.
            worker.ending = None;
            self.shared.board.let_go(seat);
            return false;
        }
        worker.end_by_force();
        true
    }

    /// When something is to be done although nobody says so.
    fn next_event(&self) -> Deadline {
        let mut next = self.refused.unwrap_or(Deadline::NEVER);
        next = next.min(self.cools.unwrap_or(Deadline::NEVER));
        let desk = lock(&self.shared.desk);
        for job in &desk.retrying {
            next = next.min(job.next_try().unwrap_or(Deadline::NEVER));
        }
        let now = clock::nanos();
        for (seat, worker) in desk.seats.iter().enumerate() {
            let Some(worker) = worker else { continue };
            if let Some(ending) = &worker.ending {
                next = next.min(ending.next());
                continue;
            }
            if let Some(age) = self.plan.age_per_worker.filter(|_| worker.stays()) {
                next = next.min(Deadline::after(age.saturating_sub(worker.tally.age())));
            }
            if desk.timed == 0 {
                continue;
            }
            if let Some((chunk, _, since)) = desk.running(&self.shared, seat)
                && let Some(timeout) = chunk.job.options.timeout
            {
                let ran_for = Duration::from_nanos(now.saturating_sub(since));
                next = next.min(Deadline::after(timeout.saturating_sub(ran_for)));
            }
        }
        // What begins now is not late before this.
        match desk.timed {
            0 => next,
            _ => next.min(Deadline::after(desk.shortest_timeout())),
        }
    }

    /// Waits for the bell, or for workers to end: returns their seats.
    ///
    /// Meanwhile passes on what they write to their standard error, if that is kept.
    fn wait(&mut self, next: Deadline) -> Result<Vec<usize>> {
        let seats: Vec<_> =
            (0..).zip(&self.workers).filter_map(|(n, w)| Some((n, w.as_ref()?))).collect();
        let mut tails: Vec<_> =
            self.tails.iter_mut().flatten().filter(|tail| !tail.is_over()).collect();
        let mut watches = vec![Watch::readable(&self.shared.counts.bell)];
        watches.extend(seats.iter().map(|(_, process)| Watch::readable(&***process)));
        watches.extend(tails.iter().map(|tail| Watch::readable(tail.pipe())));
        poll::wait(&mut watches, next)?;
        let is_ready: Vec<bool> = watches[1..].iter().map(Watch::is_ready).collect();
        drop(watches);
        let (ended, written) = is_ready.split_at(seats.len());
        for (tail, _) in tails.iter_mut().zip(written).filter(|(_, is_ready)| **is_ready) {
            tail.pass_on();
        }
        let ended = seats.iter().zip(ended).filter(|(_, ended)| **ended);
        Ok(ended.map(|((seat, _), _)| *seat).collect())
    }

    /// Sees to a worker that has ended, and puts another one into its seat.
    fn bury(&mut self, seat: usize) -> Result<()> {
        let Some(process) = self.workers[seat].clone() else { return Ok(()) };
        // A debugger may make the descriptor readable before its time; or its status is not known yet.
        let Some(ended) = process.try_join() else { return Ok(()) };
        self.workers[seat] = None;
        let status = process.exit_status().ok().flatten().unwrap_or(ExitStatus::Unknown);
        let death = process.death(status);
        let cause = match ended {
            Ok(Ok(parting)) => {
                self.shared.at_desk(|desk| desk.partings.extend(parting));
                None
            }
            Ok(Err(error)) => Some(error),
            Err(error) => Some(error.into()),
        };
        let is_in_order = cause.is_none();
        match is_in_order {
            true => tracing::debug!(%death, seat, "a worker of the pool has run its tasks"),
            false => tracing::warn!(%death, seat, cause = ?cause, "a worker of the pool ended"),
        }
        let shared = Arc::clone(&self.shared);
        let was_ready = shared.board.is_ready(seat);
        let stderr = self.tails[seat].take().map(Tail::into_text);
        shared.at_desk(|desk| {
            desk.died += u64::from(!is_in_order);
            settle(&shared, desk, seat, &death, stderr);
        });
        if was_ready {
            self.failed_starts = 0;
        } else {
            self.failed_starts += 1;
            // Not at full speed for ever: the first few may be bad luck.
            if let Some(round) = self.failed_starts.checked_sub(FREE_STARTS) {
                let pause = DIED_EARLY * 2u32.saturating_pow(round);
                self.refused = Some(Deadline::after(pause.min(START_AGAIN_MOST)));
            }
            let is_anybody_ready =
                || (0..).zip(&self.workers).any(|(n, w)| w.is_some() && shared.board.is_ready(n));
            if self.failed_starts >= MOST_FAILED_STARTS && !is_anybody_ready() {
                let text =
                    format!("{MOST_FAILED_STARTS} workers in a row ended before they were ready");
                let cause = cause.unwrap_or_else(|| Error::new(ErrorKind::Died, death.to_string()));
                return Err(Error::new(ErrorKind::Broken, text).caused_by(&cause));
            }
        }
        self.refill()
    }

    /// Starts as many workers as are missing, unless the system has refused one a moment ago.
    fn refill(&mut self) -> Result<()> {
        self.drop_seats();
        loop {
            let (wanted, staying) = {
                let desk = lock(&self.shared.desk);
                (desk.wanted, desk.staying())
            };
            if staying >= wanted || self.refused.is_some() {
                return Ok(());
            }
            let empty = self.workers.iter().position(Option::is_none);
            let seat = match empty {
                Some(seat) => seat,
                None if self.workers.len() >= MOST_WORKERS => return Ok(()),
                None => {
                    self.add_seat();
                    self.workers.len() - 1
                }
            };
            match self.fill(seat) {
                Ok(()) => self.refusals = 0,
                Err(error) => {
                    tracing::warn!(%error, seat, "a worker cannot be started for now");
                    let pause = START_AGAIN * 2u32.saturating_pow(self.refusals);
                    self.refused = Some(Deadline::after(pause.min(START_AGAIN_MOST)));
                    self.refusals += 1;
                    // Nothing brings back a template.
                    let is_final = self.plan.template.as_ref().is_some_and(|one| !one.is_alive());
                    let is_final = is_final || self.refusals >= MOST_REFUSALS;
                    if is_final && self.workers.iter().all(Option::is_none) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Starts a worker for an empty seat.
    fn fill(&mut self, seat: usize) -> Result<()> {
        self.shared.board.clear_seat(seat);
        let (courier, theirs) = Courier::pair()?;
        self.started += 1;
        let name = format!("{}-{}", self.worker_name, self.started);
        let process = self.plan.process(seat)?.name(name).signal_mask(self.signal_mask);
        let initializer = match &self.plan.initializer {
            Some(initializer) => Some(initializer.try_clone()?),
            None => None,
        };
        let tasks = self.plan.tasks_per_worker.map(|tasks| tasks.get() as u64);
        let ties = Ties {
            seat,
            board: Handle(fd::duplicate(self.shared.board.file())?),
            memory: Handle(fd::duplicate(&self.shared.memory)?),
            bell: Handle(fd::duplicate(&self.shared.counts.bell)?),
            tasks,
            initializer,
            exit: self.plan.exit,
            memory_limit: self.plan.memory_per_worker,
            is_awaited: lock(&self.shared.desk).retiring() > 0,
        };
        let reader = Reader::new(&self.shared.memory, seat)?;
        let process = process.spawn(worker::run, (theirs, ties))?;
        self.tails[seat] = process.take_stderr().map(Tail::new);
        let worker = Seat::new(process, courier, reader, tasks);
        self.workers[seat] = Some(Arc::clone(&worker.process));
        let shared = Arc::clone(&self.shared);
        shared.at_desk(|desk| {
            desk.seats[seat] = Some(worker);
            desk.started += 1;
            // It may have answered already, when nobody sat there.
            desk.listen(&shared, seat);
        });
        shared.board.rouse();
        Ok(())
    }

    /// Makes the pool refuse everything, from now on without a keeper.
    fn break_down(&mut self, error: &Error) {
        tracing::error!(%error, "the pool is out of order");
        let shared = Arc::clone(&self.shared);
        shared.counts.is_closing.store(true, Ordering::SeqCst);
        shared.at_desk(|desk| {
            desk.broken = Some(error.clone());
            for worker in desk.seats.iter_mut().flatten() {
                drop(worker.process.kill());
                worker.ended_by_pool = Some("the pool is out of order".into());
            }
        });
        let deadline = Deadline::after(GRACE);
        for seat in 0..self.workers.len() {
            let Some(process) = self.workers[seat].take() else { continue };
            // Killed: it ends at once, and then what it ran is known.
            drop(process.join_timeout(deadline.remaining().unwrap_or_default()));
            let status = process.exit_status().ok().flatten().unwrap_or(ExitStatus::Unknown);
            let death = process.death(status);
            let stderr = self.tails[seat].take().map(Tail::into_text);
            shared.at_desk(|desk| settle(&shared, desk, seat, &death, stderr));
        }
        let refused = Refused::Broken(error.clone());
        shared.at_desk(|desk| desk.refuse_all(&shared, &refused));
        shared.board.rouse();
    }

    /// Ends the workers: idle ones by asking, busy ones by force, as nobody wants their answers.
    fn dismiss(mut self) {
        let shared = Arc::clone(&self.shared);
        shared.at_desk(|desk| {
            desk.collect(&shared);
            // What it was is refused with the rest.
            desk.take_down(&shared);
            for (seat, worker) in desk.seats.iter().enumerate() {
                let Some(worker) = worker else { continue };
                drop(match desk.force {
                    Force::Busy if !desk.is_busy(seat) => Ok(()),
                    Force::Busy | Force::Kill => worker.process.kill(),
                    Force::Terminate => worker.process.terminate(),
                });
            }
        });
        shared.board.close();
        let deadline = Deadline::after(GRACE);
        let mut partings = Vec::new();
        while self.workers.iter().any(Option::is_some) && !deadline.has_passed() {
            // A worker may wait for somebody to read what it writes.
            let Ok(ended) = self.wait(deadline) else { break };
            drop(shared.counts.bell.silence());
            for seat in ended {
                let ended = self.workers[seat].as_ref().and_then(|process| process.try_join());
                if let Some(ended) = ended {
                    self.workers[seat] = None;
                    partings.extend(ended.ok().and_then(Result::ok).flatten());
                }
            }
        }
        for process in self.workers.iter_mut().filter_map(Option::take) {
            drop(process.kill());
            drop(process.join());
        }
        self.tails.iter_mut().flatten().for_each(Tail::drain);
        shared.at_desk(|desk| {
            desk.partings.extend(partings);
            desk.closing = Closing::Now;
            desk.collect(&shared);
            desk.seats.clear();
            desk.refuse_all(&shared, &Refused::Closed);
        });
        shared.board.rouse();
    }
}

/// Settles what a worker had that has ended, and has said what it had to say.
fn settle(shared: &Shared, desk: &mut Desk, seat: usize, death: &Death, stderr: Option<String>) {
    desk.listen(shared, seat);
    let Some(mut worker) = desk.seats.get_mut(seat).and_then(Option::take) else { return };
    worker.stderr = stderr;
    desk.past.add(&worker.tally);
    // Where panics abort, the last message is the panic.
    while let Ok(Received::Message(message)) = worker.courier.try_recv() {
        worker.last_words = message.decode().ok();
    }
    desk.bury(shared, seat, worker, death);
    shared.board.replace(seat);
    desk.pump(shared);
}
