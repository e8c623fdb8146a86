//! How tasks come to workers, and what became of them to callers.
//!
//! [`Shared`] is what callers, and the thread that keeps the workers, have in common: the [board](crate::board), the memory of arguments and values,
//! and the [`Desk`] behind a lock, which knows what is up and who has it. Whoever waits for an outcome takes *the lead*: it reads the outboxes for
//! all, puts up what waits, and sleeps on the board, so that its own result comes to it without another thread in between. Others that wait
//! follow: they sleep at their jobs, and one of them takes the lead when it is free. While nobody waits, the
//! [keeper](keeper) does the same for what goes on without being waited for.
//!
//! What is to be called at the end of jobs is called when nothing is locked and the lead is free: it may use the pool.

mod desk;
mod keeper;
mod plan;
mod seat;
mod tail;

use std::sync::Arc;

use procession_core::waiting::{self, Policy, Spin};
use procession_core::{Message, Result};
use procession_process::trampoline::FunctionRef;
use procession_sys::doorbell::Doorbell;
use procession_sys::prim::{AtomicBool, AtomicUsize, Mutex, Ordering, fence, lock};
use procession_sys::sparse::SparseFile;
use procession_sys::{Deadline, clock, futex, usage};

use crate::Progress;
use crate::board::{ASLEEP, AWAKE, Board, KEEPER, LAZY, STARVED};
use crate::job::{AtEnd, Job, LAZY_FOR, Refused, Until, call_all};
use crate::memory;
use crate::options::Options;
use crate::piece::Piece;
use crate::stats::Stats;
use crate::timeline::Timeline;
use crate::worker::Parting;

pub(crate) use desk::Desk;
pub(crate) use keeper::start;
pub(crate) use plan::Plan;

/// How many workers a pool may have: as many processes as a family.
pub(crate) const MOST_WORKERS: usize = 4096;

/// What callers and the keeper share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) board: Board,
    pub(crate) memory: SparseFile,
    desk: Mutex<Desk>,
    lead: Mutex<Lead>,
    /// Whether tasks wait that are not up; as the desk last saw it.
    is_waiting: AtomicBool,
    /// How many chunks of several tasks are up or taken.
    bulk: AtomicUsize,
    counts: Arc<Counts>,
}

/// What jobs leave behind when they are over.
#[derive(Debug)]
struct Counts {
    /// How many jobs are not over, and how many of these are detached.
    live: AtomicUsize,
    detached: AtomicUsize,
    /// Whether the pool takes no further jobs, and ends with the last one or is out of order.
    is_closing: AtomicBool,
    /// What wakes the keeper, and whether it was rung and not heard yet.
    bell: Doorbell,
    rung: AtomicBool,
}

impl Counts {
    /// Wakes the keeper.
    fn ring(&self) {
        // ORDERING: pairs with the swap in `Keeper::turn`: whoever finds the flag set knows that the keeper will look after this
        // call, and so will see what was done before it.
        if !self.rung.swap(true, Ordering::AcqRel) {
            // Cannot fail for a doorbell; and a keeper that missed a bell hears the next one.
            drop(self.bell.ring());
        }
    }
}

/// Dropped when its job is over.
#[derive(Debug)]
pub(crate) struct Live {
    counts: Arc<Counts>,
    is_detached: bool,
}

impl Live {
    fn new(counts: &Arc<Counts>, is_detached: bool) -> Self {
        counts.live.fetch_add(1, Ordering::SeqCst);
        if is_detached {
            counts.detached.fetch_add(1, Ordering::Relaxed);
        }
        Self { counts: Arc::clone(counts), is_detached }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.is_detached {
            self.counts.detached.fetch_sub(1, Ordering::Relaxed);
        }
        // ORDERING: SeqCst: either this sees that the pool is closing, or who closes it sees this.
        self.counts.live.fetch_sub(1, Ordering::SeqCst);
        if self.counts.is_closing.load(Ordering::SeqCst) {
            self.counts.ring();
        }
    }
}

#[derive(Debug, Default)]
struct Lead {
    is_taken: bool,
    followers: Vec<Arc<Job>>,
}

/// Whether a pool ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Closing {
    #[default]
    No,
    /// When what has begun is done.
    Drain,
    Now,
}

/// How busy workers are ended with a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Force {
    /// The busy ones are killed, the others asked.
    #[default]
    Busy,
    /// All are sent `SIGTERM`.
    Terminate,
    /// All are sent `SIGKILL`.
    Kill,
}

impl Shared {
    /// Of a pool that leaves so many [tokens](crate::tokens).
    pub(crate) fn new(tokens: u64) -> Result<Self> {
        Ok(Self {
            board: Board::create(tokens)?,
            memory: memory::create()?,
            desk: Mutex::new(Desk::new()),
            lead: Mutex::default(),
            is_waiting: AtomicBool::new(false),
            bulk: AtomicUsize::new(0),
            counts: Arc::new(Counts {
                live: AtomicUsize::new(0),
                detached: AtomicUsize::new(0),
                is_closing: AtomicBool::new(false),
                bell: Doorbell::new()?,
                rung: AtomicBool::new(false),
            }),
        })
    }

    /// Does something at the desk, and what is to be done afterwards.
    fn at_desk<T>(&self, act: impl FnOnce(&mut Desk) -> T) -> T {
        let (result, ended, _spent) = {
            let mut desk = lock(&self.desk);
            let result = act(&mut desk);
            (result, desk.take_ended(), desk.take_spent())
        };
        if !ended.is_empty() {
            call_all(ended);
        }
        result
    }

    /// Takes a job over before it has tasks.
    pub(crate) fn begin(&self, job: &Arc<Job>) {
        job.set_live(Live::new(&self.counts, job.is_detached));
        self.turn_away(job);
    }

    /// Refuses a job that is new, if the pool takes none any more.
    fn turn_away(&self, job: &Job) {
        // ORDERING: SeqCst: either this sees that the pool is closing, or who closes it sees the job.
        if !self.counts.is_closing.load(Ordering::SeqCst) {
            return;
        }
        let refused = {
            let desk = lock(&self.desk);
            match &desk.broken {
                Some(error) => Some(Refused::Broken(error.clone())),
                None => (desk.closing != Closing::No).then_some(Refused::Closed),
            }
        };
        if let Some(refused) = refused {
            call_all(job.refuse(&refused));
        }
    }

    /// Has tasks wait for workers. After `all`, nothing more comes.
    pub(crate) fn submit(
        &self,
        job: &Arc<Job>,
        pieces: impl IntoIterator<Item = Piece>,
        all: bool,
    ) -> Option<Load> {
        call_all(job.submit(pieces, all));
        let (needs_keeper, load, _spent) = {
            let mut desk = lock(&self.desk);
            if let Some(refused) = desk.refused.clone() {
                drop(desk);
                call_all(job.refuse(&refused));
                return None;
            }
            if self.board.has_news(desk.seats.len()) {
                desk.collect(self);
            }
            desk.list(job);
            desk.pump(self);
            (desk.needs_keeper() || desk.has_ended(), desk.load(job), desk.take_spent())
        };
        if needs_keeper {
            self.ring();
        }
        Some(load)
    }

    /// A job of one task, which is given to a worker at once if nothing else waits.
    pub(crate) fn submit_one(
        &self,
        function: FunctionRef,
        options: Options,
        piece: Piece,
    ) -> (Arc<Job>, Option<Load>) {
        let live = Live::new(&self.counts, false);
        let job = Arc::new(Job::of_one(function, options, live));
        let (needs_keeper, load, left, _spent) = {
            let mut desk = lock(&self.desk);
            if self.board.has_news(desk.seats.len()) {
                desk.collect(self);
            }
            // ORDERING: as in `turn_away`.
            let left = match self.counts.is_closing.load(Ordering::SeqCst) {
                true => Some(piece),
                false => desk.give_at_once(self, &job, function, piece),
            };
            let needs_keeper = desk.needs_keeper() || desk.has_ended();
            (needs_keeper, desk.load(&job), left, desk.take_spent())
        };
        if needs_keeper {
            self.ring();
        }
        let Some(piece) = left else { return (job, Some(load)) };
        self.turn_away(&job);
        call_all(job.put_back(piece));
        let load = self.submit(&job, [], false);
        (job, load)
    }

    /// Waits until that is so; whether it came before the deadline.
    pub(crate) fn wait(&self, job: &Arc<Job>, until: Until, deadline: Deadline) -> bool {
        self.wait_from(job, until, deadline, None)
    }

    /// The same, by who has just [submitted](Self::submit) something.
    pub(crate) fn wait_from(
        &self,
        job: &Arc<Job>,
        until: Until,
        deadline: Deadline,
        mut load: Option<Load>,
    ) -> bool {
        let is_there = loop {
            if load.is_none() && job.is(until) {
                break true;
            }
            if deadline.has_passed() {
                break false;
            }
            if self.take_lead(job) {
                let ended = self.lead(job, until, deadline, load.take());
                self.resign();
                if !ended.is_empty() {
                    call_all(ended);
                }
            } else {
                load = None;
                job.follow(until, deadline);
                self.follow_no_more(job);
            }
        };
        if job.take_promotion() {
            // It is somebody else's turn.
            self.resign();
        }
        is_there
    }

    /// Follows no more. Others may wait for the same job: theirs stay.
    fn follow_no_more(&self, job: &Arc<Job>) {
        let mut lead = lock(&self.lead);
        if let Some(at) = lead.followers.iter().position(|one| Arc::ptr_eq(one, job)) {
            lead.followers.swap_remove(at);
        }
    }

    /// Takes the lead, if nobody has it.
    fn take_lead(&self, job: &Arc<Job>) -> bool {
        let mut lead = lock(&self.lead);
        if lead.is_taken && !job.take_promotion() {
            lead.followers.push(Arc::clone(job));
            return false;
        }
        lead.is_taken = true;
        let parent = self.board.parent();
        // Workers look at it, and look at it faster when nobody writes to it.
        if parent.load(Ordering::SeqCst) != AWAKE {
            parent.store(AWAKE, Ordering::SeqCst);
        }
        true
    }

    /// Gives the lead to the next who waits, or leaves what goes on to the keeper.
    fn resign(&self) {
        {
            let mut lead = lock(&self.lead);
            // It stays taken for whoever is promoted.
            lead.is_taken = match lead.followers.pop() {
                Some(job) => {
                    job.promote();
                    true
                }
                None => false,
            };
        }
        self.watch();
    }

    /// Has the keeper be told of answers, if nobody leads and there is something that goes on by itself.
    pub(crate) fn watch(&self) {
        let is_closing = || self.counts.is_closing.load(Ordering::SeqCst);
        let is_waiting = || self.is_waiting.load(Ordering::Relaxed);
        if self.counts.detached.load(Ordering::Relaxed) == 0 && !is_waiting() && !is_closing() {
            return;
        }
        let lead = lock(&self.lead);
        if lead.is_taken {
            return;
        }
        let parent = self.board.parent();
        let is_alone = is_closing() || self.counts.detached.load(Ordering::Relaxed) > 0;
        // While a caller is away for a moment, there is enough to do.
        let how = if is_alone { KEEPER } else { STARVED };
        for before in [AWAKE, STARVED] {
            let _other = parent.compare_exchange(before, how, Ordering::SeqCst, Ordering::Relaxed);
        }
        // Answers are told at the end of chunks, behind a fence.
        fence(Ordering::SeqCst);
        let is_missed = self.board.has_news(MOST_WORKERS);
        if is_missed && (is_alone || !self.board.has_work()) {
            self.ring();
        }
    }

    /// Sees to all that happens, until that is so or the deadline passes, or something is to be called.
    fn lead(
        &self,
        job: &Arc<Job>,
        until: Until,
        deadline: Deadline,
        mut known: Option<Load>,
    ) -> Vec<AtEnd> {
        let mut is_lazy = true;
        let mut spin = None;
        loop {
            let load = match known.take() {
                Some(load) => load,
                None => {
                    let (ended, load) = self.look(job);
                    if !ended.is_empty() || job.is(until) || deadline.has_passed() {
                        return ended;
                    }
                    load
                }
            };
            let spin = spin.get_or_insert_with(|| Spin::new(1).eager().among(1 + load.busy));
            loop {
                if self.board.has_news(load.seats) {
                    break;
                }
                if !spin.turn() {
                    let slept = self.sleep(job, until, deadline, is_lazy && load.is_brisk);
                    is_lazy = slept != Slept::InVain && is_lazy;
                    break;
                }
            }
        }
    }

    /// Reads what workers have answered, and puts up what waits.
    fn look(&self, job: &Job) -> (Vec<AtEnd>, Load) {
        let (ended, load, _spent) = {
            let mut desk = lock(&self.desk);
            desk.collect(self);
            desk.pump(self);
            if desk.needs_keeper() {
                self.ring();
            }
            (desk.take_ended(), desk.load(job), desk.take_spent())
        };
        (ended, load)
    }

    /// Sleeps until there is news.
    fn sleep(&self, job: &Job, until: Until, deadline: Deadline, is_lazy: bool) -> Slept {
        if waiting::policy() == Policy::Spin {
            return Slept::Woken;
        }
        let parent = self.board.parent();
        let how = if is_lazy { LAZY } else { ASLEEP };
        parent.store(how, Ordering::SeqCst);
        // ORDERING: SeqCst: a chunk that is not counted here is put up later, and whoever takes it sees how this waits.
        match !is_lazy && self.bulk.load(Ordering::SeqCst) > 0 {
            // Workers look between tasks, where they make no fence.
            true => self.board.heavy_fence(),
            false => fence(Ordering::SeqCst),
        }
        // There may be more seats by now.
        if self.board.has_news(MOST_WORKERS) || job.is(until) {
            parent.store(AWAKE, Ordering::SeqCst);
            return Slept::Woken;
        }
        let wake_at = if is_lazy { deadline.min(Deadline::after(LAZY_FOR)) } else { deadline };
        // An aligned word that is mapped is always accepted.
        let woken = futex::wait_low(parent, u32::try_from(how).unwrap_or_default(), wake_at);
        let is_in_vain = parent.swap(AWAKE, Ordering::SeqCst) == how && is_lazy && woken.is_ok();
        if is_in_vain { Slept::InVain } else { Slept::Woken }
    }

    /// Wakes the keeper.
    pub(crate) fn ring(&self) {
        self.counts.ring();
    }

    /// Gives a job up: what it waits for is forgotten, what workers have of it is skipped.
    pub(crate) fn abandon(&self, job: &Arc<Job>) {
        job.abandon();
        let needs_keeper = self.at_desk(|desk| {
            desk.withdraw(self, job);
            desk.needs_keeper()
        });
        // What was taken down may have been the last that a pool waited for that is closed.
        if needs_keeper || self.counts.is_closing.load(Ordering::SeqCst) {
            self.ring();
        }
        // Somebody may have told nobody because of what was taken down.
        self.watch();
    }

    /// Cancels a job.
    pub(crate) fn cancel(&self, job: &Arc<Job>) {
        call_all(job.cancel());
        self.at_desk(|desk| desk.withdraw(self, job));
        self.board.rouse();
        // Which ends the workers that run something of it.
        self.ring();
    }

    pub(crate) fn close(&self, closing: Closing) {
        {
            let mut desk = lock(&self.desk);
            desk.closing = desk.closing.max(closing);
        }
        self.counts.is_closing.store(true, Ordering::SeqCst);
        self.ring();
    }

    /// Ends the pool so.
    pub(crate) fn close_by(&self, force: Force) {
        lock(&self.desk).force = force;
        self.close(Closing::Now);
    }

    /// Closes the pool, and cancels what has not begun.
    pub(crate) fn close_and_cancel(&self) {
        self.close(Closing::Drain);
        self.at_desk(|desk| desk.cancel_pending(self));
        self.board.rouse();
        self.ring();
    }

    /// Says how many workers there shall be.
    pub(crate) fn resize(&self, workers: usize) {
        lock(&self.desk).new_size = Some(workers);
        self.ring();
    }

    pub(crate) fn is_closing(&self) -> bool {
        lock(&self.desk).closing != Closing::No
    }

    /// What workers have left that have ended in order.
    pub(crate) fn take_partings(&self) -> Vec<Message> {
        let partings = std::mem::take(&mut lock(&self.desk).partings);
        partings.into_iter().map(Parting::into_message).collect()
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.at_desk(|desk| {
            desk.collect(self);
            desk.stats(self)
        });
        // Answers may have gone that a caller waits for.
        self.board.rouse();
        for worker in &mut stats.workers {
            // Nothing of one that has just ended, or when no file can be opened.
            let usage = usage::of(worker.pid).ok().flatten();
            worker.resident = usage.map(|usage| usage.resident);
            worker.processor_time = usage.map(|usage| usage.processor_time);
        }
        stats
    }

    /// Records from now on what workers run; anew, if it was recorded.
    pub(crate) fn record(&self) {
        lock(&self.desk).timeline = Some(Timeline::new(clock::nanos()));
    }

    /// What was recorded.
    pub(crate) fn take_timeline(&self) -> Timeline {
        let timeline = self.at_desk(|desk| {
            desk.collect(self);
            desk.timeline.take()
        });
        self.board.rouse();
        timeline.unwrap_or_default()
    }

    /// How far a task of a job is.
    pub(crate) fn progress(&self, job: &Arc<Job>) -> Option<Progress> {
        lock(&self.desk).progress(self, job)
    }

    pub(crate) fn worker_pids(&self) -> Vec<u32> {
        lock(&self.desk).pids()
    }
}

/// How a caller's sleep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slept {
    Woken,
    /// Results did not come together as fast as was expected.
    InVain,
}

/// What a caller that leads is to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// How many seats there are.
    seats: usize,
    /// How many workers have something to do.
    busy: usize,
    /// Whether results come so fast that it is worth while to let some come together.
    is_brisk: bool,
}
