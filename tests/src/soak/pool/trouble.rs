//! A thread that makes trouble: kills workers and the fork server, stops them, takes descriptors away, gives the pool another size, closes it.

use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use procession::Pool;
use procession_sys::prim::AtomicBool;
use procession_sys::prim::Ordering::SeqCst;
use procession_sys::{Deadline, pidfd, poll, signal};

use super::limit::{self, Limited};
use super::round::Round;
use super::work::highest_descriptor;
use crate::{Random, SOON};

/// So many workers may be killed before one has begun a task: a pool whose workers never come to be ready is broken, after ten.
const IN_A_ROW: usize = 5;

/// How long after its time a worker may go on that is stopped in a task.
const MARGIN: Duration = Duration::from_millis(30);

pub(super) struct Trouble<'a> {
    round: &'a Round,
    pool: &'a Pool,
    random: Random,
    /// The program that workers run, and nobody else.
    program: PathBuf,
    /// How many were killed since `calls` changed.
    in_a_row: usize,
    calls: u64,
    stopped: Vec<Stopped>,
    /// How many workers the pool shall have.
    wanted: usize,
}

/// A worker that is stopped.
struct Stopped {
    worker: OwnedFd,
    /// When it goes on.
    until: Instant,
    is_to_be_ended: bool,
}

enum Act {
    Kill,
    Stop,
    Server,
    Starve,
    Resize,
    Close,
}

impl<'a> Trouble<'a> {
    pub(super) fn new(round: &'a Round, pool: &'a Pool, random: Random) -> Self {
        let program = std::env::current_exe().expect("a program");
        let wanted = pool.workers();
        Self { round, pool, random, program, in_a_row: 0, calls: 0, stopped: Vec::new(), wanted }
    }

    /// Makes trouble until `is_done`; tells how many workers the pool shall have.
    pub(super) fn run(mut self, is_done: &AtomicBool) -> usize {
        let acts = self.acts();
        while !is_done.load(SeqCst) {
            self.pause(is_done);
            self.let_go_on(false);
            if acts.is_empty() || is_done.load(SeqCst) {
                continue;
            }
            match acts[self.random.below(acts.len())] {
                Act::Kill => self.kill(),
                Act::Stop => self.stop(),
                Act::Server => self.kill_server(),
                Act::Starve => self.starve(),
                Act::Resize => self.resize(),
                Act::Close => self.close(),
            }
        }
        self.let_go_on(true);
        self.wanted
    }

    fn acts(&self) -> Vec<Act> {
        let features = self.round.plan.features;
        let mut acts = Vec::new();
        if features.kills {
            acts.extend([Act::Kill, Act::Kill, Act::Kill]);
        }
        if features.stops {
            acts.extend([Act::Stop, Act::Stop]);
        }
        if features.servers {
            acts.push(Act::Server);
        }
        if features.descriptors {
            acts.push(Act::Starve);
        }
        if features.resizes {
            acts.push(Act::Resize);
        }
        if features.closes {
            acts.push(Act::Close);
        }
        acts
    }

    fn pause(&mut self, is_done: &AtomicBool) {
        let most = self.round.plan.pauses[self.random.below(3)];
        let end = Instant::now() + Duration::from_micros(self.random.below(most) as u64);
        while Instant::now() < end && !is_done.load(SeqCst) {
            let left = end.saturating_duration_since(Instant::now());
            if left > Duration::from_millis(2) {
                drop(poll::wait(&mut [], Deadline::after(Duration::from_millis(1))));
            }
        }
    }

    /// One of the workers, surely.
    fn worker(&mut self) -> Option<(u32, OwnedFd)> {
        let pids = self.pool.worker_pids();
        if pids.is_empty() {
            return None;
        }
        let pid = match self.random.below(2) {
            0 => pids[self.random.below(pids.len())],
            // It has just begun a task.
            _ => self.round.ledger.last(),
        };
        let worker = pidfd::open(pid).ok()?;
        // Its number may be another's by now, which runs another program then, or is no worker.
        let runs = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        (runs == self.program && self.pool.worker_pids().contains(&pid)).then_some((pid, worker))
    }

    fn may_kill(&mut self) -> bool {
        let calls = self.round.ledger.calls();
        if calls != self.calls {
            (self.calls, self.in_a_row) = (calls, 0);
        }
        self.in_a_row += 1;
        let most = if self.round.plan.features.starts { 1 } else { IN_A_ROW };
        self.in_a_row <= most
    }

    fn kill(&mut self) {
        if !self.may_kill() {
            return;
        }
        let Some((pid, worker)) = self.worker() else { return };
        self.round.kills(pid);
        drop(pidfd::signal(&worker, signal::KILL));
        self.round.saw("killed", 1);
        let ended = poll::wait_readable(&worker, Deadline::after(SOON)).expect("a poll");
        assert!(ended, "{pid} is killed and does not die");
        self.round.is_dead(pid);
    }

    fn stop(&mut self) {
        let most = if self.round.plan.is_long { 2 } else { 1 };
        if self.stopped.len() >= most || self.random.below(4) > 0 {
            return;
        }
        let Some((_, worker)) = self.worker() else { return };
        drop(pidfd::signal(&worker, signal::STOP));
        self.round.saw("stopped", 1);
        let is_to_be_ended = self.random.below(4) == 0;
        let timeout = self.round.plan.timeout.unwrap_or_default();
        let pause = match is_to_be_ended {
            true => timeout + Duration::from_millis(super::caller::GRACE as u64) + MARGIN,
            false => Duration::from_micros(self.random.below(4_000) as u64),
        };
        let until = Instant::now() + pause;
        self.stopped.push(Stopped { worker, until, is_to_be_ended });
    }

    fn let_go_on(&mut self, all: bool) {
        let now = Instant::now();
        for Stopped { worker, is_to_be_ended, .. } in
            self.stopped.extract_if(.., |one| all || one.until <= now)
        {
            let has_ended = poll::wait_readable(&worker, Deadline::after(Duration::ZERO));
            if is_to_be_ended && has_ended.unwrap_or(false) {
                self.round.saw("ended when stopped", 1);
            }
            drop(pidfd::signal(&worker, signal::CONTINUE));
        }
    }

    fn kill_server(&mut self) {
        // It takes long to come back.
        if self.random.below(if self.round.plan.is_long { 6 } else { 20 }) > 0 {
            return;
        }
        let Some(pid) = crate::fork_server() else { return };
        let Ok(server) = pidfd::open(pid) else { return };
        if crate::fork_server() == Some(pid) {
            drop(pidfd::signal(&server, signal::KILL));
            self.round.saw("servers", 1);
        }
    }

    /// Lets the stage have hardly more descriptors than it has, for a moment.
    fn starve(&mut self) {
        if self.random.below(4) > 0 {
            return;
        }
        let highest = highest_descriptor();
        self.round.is_starved.store(true, SeqCst);
        let more = self.random.below(8) as u64;
        let before = limit::set(Limited::Descriptors, Some(highest + 1 + more)).expect("a limit");
        super::work::spin(Duration::from_micros(self.random.below(6_000) as u64));
        limit::set(Limited::Descriptors, Some(before)).expect("the old limit");
        self.round.saw("starved", 1);
    }

    fn resize(&mut self) {
        let workers = NonZeroUsize::new(1 + self.random.below(4)).expect("some");
        self.pool.resize(workers).expect("a few workers");
        self.wanted = workers.get();
        self.round.saw("resized", 1);
    }

    fn close(&mut self) {
        if self.random.below(3) > 0 || self.round.ledger.calls() == 0 {
            return;
        }
        let ending = &self.round.ending;
        // Said before it is done: whoever has begun then and is not told is early.
        ending.closed.store(true, SeqCst);
        match self.random.below(2) {
            0 => self.pool.close(),
            _ => {
                ending.terminated.store(true, SeqCst);
                self.pool.terminate();
            }
        }
    }
}

impl Drop for Trouble<'_> {
    fn drop(&mut self) {
        // Also when something is wrong: nobody shall stay stopped.
        for Stopped { worker, .. } in self.stopped.drain(..) {
            drop(pidfd::signal(&worker, signal::CONTINUE));
        }
    }
}
