//! The stage: starts workers, kills one after the other, and checks that the others go on and that all adds up.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use procession::{Handle, Process, StartMethod};
use procession_sys::memory::SharedWords;
use procession_sys::prim::Ordering::SeqCst;
use procession_sys::{fd, pidfd, poll, signal};

use super::super::figures::{Samples, cells};
use super::super::random;
use super::patience;
use super::subject::{Board, PERMITS, Subject, WORKERS, Worker, state};
use crate::{Litter, Random, steady};

/// After so many kills all workers end, and everything is counted.
const ROUND: usize = 50;

/// What a worker answers: nothing, or why it could not go on.
type Answer = procession::Result<()>;

/// Kills so many; returns the row of figures. What is wrong is a panic.
///
/// # Panics
///
/// When anything is wrong.
pub fn play(kind: &str, method: StartMethod, kills: usize, seed: u64) -> String {
    procession::force_start_method(method);
    // A forked child holds its parent's pipes, so that nothing settles down.
    let before = (method != StartMethod::Fork).then(steady);
    let mut figures = (Samples::default(), Samples::default());
    let mut told = 0;
    for (number, first) in (0..kills).step_by(ROUND).enumerate() {
        let mut stage = Stage::new(kind, random(seed, number, 1), &mut figures);
        for _ in first..kills.min(first + ROUND) {
            stage.kill_one();
        }
        told += stage.end();
    }
    crate::wait_until("nothing is left", || {
        procession::active_children().is_ok_and(|it| it.is_empty())
    });
    if let Some(before) = before {
        let after = Litter::now();
        // The family's own table was made on the way, and the watch may keep its bell.
        assert!(after.is_within(&before, 8), "left: {before:?}, now {after:?}");
    }
    format!("{kind:<12}{}{}  | {told:>7}", cells(&figures.0), cells(&figures.1))
}

struct Stage<'a> {
    subject: Subject,
    board: Board,
    workers: Vec<Process<Answer>>,
    random: Random,
    /// Those who were killed with a permit that was nobody's; and those who may have been.
    lost: (u32, u32),
    figures: &'a mut (Samples, Samples),
}

fn work(subject: Subject, words: Handle<OwnedFd>, number: usize, seed: usize) -> Answer {
    let board = Board(SharedWords::open(words.into_inner())?);
    Worker { board, number, random: random(seed as u64, number, 2) }.run(&subject)
}

impl<'a> Stage<'a> {
    fn new(kind: &str, random: Random, figures: &'a mut (Samples, Samples)) -> Self {
        let subject = Subject::new(kind).expect("a subject");
        let board = Board(SharedWords::create(Board::WORDS).expect("memory"));
        let mut stage = Self { subject, board, workers: Vec::new(), random, lost: (0, 0), figures };
        for number in 0..WORKERS {
            let worker = stage.start(number);
            stage.workers.push(worker);
        }
        stage
    }

    fn start(&mut self, number: usize) -> Process<Answer> {
        let words = Handle(fd::duplicate(&self.board.0).expect("a descriptor"));
        let seed = self.random.below(usize::MAX);
        Process::spawn(work, (self.subject.clone(), words, number, seed)).expect("a worker")
    }

    fn kill_one(&mut self) {
        spin(Duration::from_micros(self.random.below(3_000) as u64));
        let victim = self.random.below(WORKERS);
        let child = &self.workers[victim];
        let watched = pidfd::open(child.pid()).expect("it runs");
        if matches!(self.subject, Subject::Permits(_)) {
            // It may be inside, and is counted there for ever; its permit may go to another at once.
            self.board.deaths().fetch_add(1, SeqCst);
        }
        assert!(pidfd::signal(&watched, signal::KILL).expect("a signal"), "it runs");
        assert!(poll::wait_readable(&watched, patience()).expect("a poll"), "it dies");
        let died = Instant::now();
        // Now and then its parent is the first to notice, otherwise those who wait for it are.
        let parent_first = self.random.below(4) == 0;
        if parent_first {
            self.bury(victim);
        }
        match self.subject {
            Subject::Barrier(_) => self.all_are_told(victim, died),
            _ => self.all_go_on(victim, died),
        }
        if !parent_first {
            self.bury(victim);
        }
        self.workers[victim] = self.start(victim);
        if let Subject::Barrier(barrier) = &self.subject {
            barrier.reset().expect("a reset");
            self.board.generation().fetch_add(1, SeqCst);
        }
    }

    /// Learns how the victim ended, and notes what it had.
    fn bury(&mut self, victim: usize) {
        let status = self.workers[victim].join();
        assert!(matches!(status, Err(procession::JoinError::Died(_))), "{status:?}");
        let state = self.board.state(victim).swap(state::IDLE, SeqCst);
        if let Subject::RawPermits(semaphore) = &self.subject {
            if state == state::HAS {
                // For sure; so the others need not do without it.
                semaphore.release().expect("a release");
            }
            self.lost.1 += u32::from(state == state::TAKING || state == state::GIVING);
        }
    }

    fn survivors(&self, victim: usize) -> impl Iterator<Item = usize> + Clone {
        (0..WORKERS).filter(move |worker| *worker != victim)
    }

    /// Waits until all survivors have done something since.
    fn all_go_on(&mut self, victim: usize, died: Instant) {
        let seen: Vec<_> =
            (0..WORKERS).map(|worker| self.board.done(worker).load(SeqCst)).collect();
        let has_gone_on = |worker: usize| self.board.done(worker).load(SeqCst) > seen[worker];
        if let Subject::Event(event) = &self.subject {
            event.set().expect("it is there");
        }
        let (mut some, mut all) = (None, None);
        let deadline = patience();
        while all.is_none() {
            let gone_on = self.survivors(victim).filter(|worker| has_gone_on(*worker)).count();
            if gone_on > 0 && some.is_none() {
                some = Some(died.elapsed());
            }
            if gone_on == WORKERS - 1 {
                all = Some(died.elapsed());
            }
            assert!(!deadline.has_passed(), "{gone_on} of 7 go on\n{}", self.describe());
            if let (Subject::Event(event), true) = (&self.subject, self.random.below(64) == 0) {
                // The others may all wait for an event that one of them has cleared.
                event.set().expect("it is there");
            }
            std::thread::yield_now();
        }
        self.figures.0.add(some.unwrap_or_default());
        self.figures.1.add(all.unwrap_or_default());
    }

    /// Waits until all survivors know that the barrier is broken.
    fn all_are_told(&mut self, victim: usize, died: Instant) {
        let is_told = |worker: usize| self.board.state(worker).load(SeqCst) == state::HAS;
        let mut some = None;
        let deadline = patience();
        loop {
            let told = self.survivors(victim).filter(|worker| is_told(*worker)).count();
            if told > 0 && some.is_none() {
                some = Some(died.elapsed());
            }
            if told == WORKERS - 1 {
                break;
            }
            assert!(!deadline.has_passed(), "{told} of 7 are told\n{}", self.describe());
            std::thread::yield_now();
        }
        self.figures.0.add(some.unwrap_or_default());
        self.figures.1.add(died.elapsed());
        let counts: Vec<_> =
            (0..WORKERS).map(|worker| self.board.count(worker).load(SeqCst)).collect();
        let survivors: Vec<_> = self.survivors(victim).map(|worker| counts[worker]).collect();
        assert!(
            survivors.windows(2).all(|two| two[0] == two[1]),
            "not all have passed as often: {counts:?}"
        );
        // The next one begins where the others are.
        self.board.count(victim).store(survivors[0], SeqCst);
    }

    fn describe(&self) -> String {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (done, state) = (self.board.done(worker), self.board.state(worker));
                format!("{} {}", done.load(SeqCst), state.load(SeqCst))
            })
            .collect();
        let family = procession_core::family::Family::current().map(|family| family.dump());
        format!("{:?}\n{workers:?}\n{}", self.subject, family.unwrap_or_default())
    }

    /// Has all workers end, and counts; tells how often the death of an owner was told.
    fn end(mut self) -> u64 {
        self.board.stop().store(1, SeqCst);
        let workers = std::mem::take(&mut self.workers);
        let deadline = patience();
        for worker in &workers {
            loop {
                match &self.subject {
                    Subject::Event(event) => drop(event.set().expect("it is there")),
                    Subject::Barrier(barrier) => barrier.abort().expect("it is there"),
                    _ => {}
                }
                match worker.join_timeout(Duration::from_millis(5)) {
                    Some(Ok(answer)) => break answer.expect("a worker ends well"),
                    None => {}
                    Some(Err(error)) => panic!("{error}"),
                }
                assert!(!deadline.has_passed(), "a worker does not end\n{}", self.describe());
            }
        }
        assert_eq!(self.board.wrongs().load(SeqCst), 0, "{}", self.describe());
        self.count();
        self.board.deaths().load(SeqCst)
    }

    fn count(&self) {
        match &self.subject {
            Subject::Lock(lock) => self.settle(lock.try_lock().map(drop)),
            Subject::RLock(lock) => self.settle(lock.try_lock().map(drop)),
            Subject::Condition(condition) => {
                self.settle(condition.as_lock().try_lock().map(drop));
                assert_eq!(condition.waiting(), 0, "nobody waits");
            }
            Subject::Permits(semaphore) => assert_eq!(semaphore.value(), PERMITS),
            Subject::RawPermits(semaphore) => {
                let least = PERMITS.saturating_sub(self.lost.1);
                let most = PERMITS;
                let value = semaphore.value();
                assert!((least..=most).contains(&value), "{value}, not {least} to {most}");
            }
            Subject::Event(_) | Subject::Barrier(_) => {}
        }
    }

    /// What the lock protects adds up, unless its last owner died over it.
    fn settle<G>(&self, locked: Result<(), procession::LockError<G>>) {
        match locked {
            Ok(()) => {
                assert_eq!(self.board.total().load(SeqCst), self.board.expected());
                assert_eq!(self.board.inside().load(SeqCst), 0);
            }
            Err(procession::LockError::OwnerDied(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

fn spin(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}
