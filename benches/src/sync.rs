//! Family `sync`: the loops that measure locks, semaphores, events, conditions and barriers.
//!
//! Each measurement has a role for those who were started (`hammer`, `await_wakes`, `circle`), a
//! part for the one that started them (`lead_hammers`, `lead_wakes`) and a report. [`Bench`] puts
//! them together for forks and threads; a contender that starts processes in its own way calls the
//! parts itself.
//!
//! The peers' workspace includes this file by path, so it stands on `std` alone.

use std::hint::black_box;
use std::io;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::board::{Board, await_value};
use crate::clock::{now_ns, pause, spin, thread_cpu_ns};
use crate::crew::Crew;
use crate::measure::{number_from_env, print_figure, quantile_us};

/// How many take part where several contend or meet.
pub const SIZES: [usize; 2] = [2, 4];

/// Rounds of an uncontended loop, in batches of which the middle one counts.
const BATCHES: usize = 20;
const BATCH: u32 = 100_000;
/// How long a lock is contended for.
const CONTEST: Duration = Duration::from_millis(400);
/// How often a lock is taken between two looks at whether the contest is over.
const BURST: u32 = 16;
const WAKES: u32 = 300;
/// Wakes that are not counted: the first ones touch fresh pages.
const EARLY_WAKES: u32 = 10;
/// By then, whoever meant to sleep is asleep.
const ASLEEP_AFTER: Duration = Duration::from_micros(300);
/// By then, whoever waits has begun to, and whoever spins before it sleeps still spins.
const SPINNING_AFTER: Duration = Duration::from_micros(3);
const MEETINGS: u32 = 4000;
/// How often, in the rounds that are timed, everybody looks where the others are. A look takes the
/// others' cache lines away, as long as a round of the fastest barrier; so few of them cost nothing.
const LOOK_EVERY: u32 = 64;
/// How long to leave the processor before looking again whether another process is ready.
const NAP: Duration = Duration::from_micros(20);

/// How the waiter of a wake is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Surely asleep.
    Asleep,
    /// Just begun to wait.
    Spinning,
}

/// A contender whose processes or threads are a [`Crew`].
#[derive(Debug)]
pub struct Bench<'a, C> {
    /// How the others are started.
    pub crew: C,
    /// Words that they share.
    pub board: Board<'a>,
}

impl<C: Crew> Bench<'_, C> {
    /// Measures a lock under contention. `one` takes it, [bumps](bump) the counter, and releases it.
    ///
    /// # Errors
    /// A process failed, the count is wrong, or standard output cannot be written to.
    pub fn contended(&self, one: impl Fn(&AtomicU64) + Sync) -> io::Result<()> {
        let Self { crew, board } = self;
        for size in SIZES {
            board.clear();
            let role = |_seat| hammer(board, &one);
            let length = crew.run(size, role, || lead_hammers(board, size))?;
            report_contended(board, size, length)?;
        }
        Ok(())
    }

    /// Measures how long a wake takes. The waiter waits and then resets, the leader wakes.
    ///
    /// # Errors
    /// A process failed, a wait was over too early, or standard output cannot be written to.
    pub fn wakes(
        &self,
        name: &str,
        wait: impl Fn() + Sync,
        reset: impl Fn() + Sync,
        wake: impl Fn(),
    ) -> io::Result<()> {
        let Self { crew, board } = self;
        for &pace in Pace::all() {
            board.clear();
            let role = |_seat| await_wakes(board, &wait, &reset);
            let latencies = crew.run(1, role, || lead_wakes(board, pace, &wake))?;
            report_wakes(name, pace, latencies)?;
        }
        Ok(())
    }

    /// Measures a barrier that was made for `parties`.
    ///
    /// # Errors
    /// A process failed, somebody was a round ahead, or standard output cannot be written to.
    pub fn barrier(&self, parties: usize, wait: impl Fn() + Sync) -> io::Result<()> {
        let Self { crew, board } = self;
        board.clear();
        let role = |seat| circle(board, seat, parties, &wait);
        crew.run(parties, role, || Ok(()))?;
        report_barrier(board, parties)
    }
}

impl Pace {
    /// The paces that say something here: on one processor nobody is met spinning.
    pub fn all() -> &'static [Self] {
        match thread::available_parallelism().map_or(1, NonZero::get) {
            1 => &[Self::Asleep],
            _ => &[Self::Asleep, Self::Spinning],
        }
    }

    /// Waits until the waiter is about to begin `round`.
    fn await_ready(self, board: &Board<'_>, round: u32) -> io::Result<()> {
        await_value(board.ready, round.into(), || match self {
            Self::Asleep => pause(NAP),
            Self::Spinning => std::hint::spin_loop(),
        })
    }

    fn let_it_wait(self) {
        match self {
            Self::Asleep => pause(ASLEEP_AFTER),
            Self::Spinning => spin(SPINNING_AFTER),
        }
    }
}

/// Times `one`, again and again, in this process alone.
///
/// # Errors
/// Standard output cannot be written to.
pub fn uncontended(metric: &str, mut one: impl FnMut()) -> io::Result<()> {
    let rounds = divided(BATCH);
    let mut batch = || {
        let begin = Instant::now();
        for _ in 0..rounds {
            one();
        }
        begin.elapsed()
    };
    // The first one warms up.
    batch();
    let mut lengths: Vec<Duration> = (0..BATCHES).map(|_| batch()).collect();
    let middle_ns = quantile_us(&mut lengths, 50) * 1e3;
    print_figure(metric, middle_ns / f64::from(rounds), "ns")
}

/// Adds one in two steps, so that whoever comes in between is found out.
#[inline]
pub fn bump(counter: &AtomicU64) {
    // Without the box it is one instruction, which nobody on the same processor can come between.
    counter.store(black_box(counter.load(Relaxed)) + 1, Relaxed);
}

/// Role: takes and releases a lock until the contest is over.
pub fn hammer(board: &Board<'_>, one: impl Fn(&AtomicU64)) {
    let &Board { stage, counter, .. } = board;
    board.arrived.fetch_add(1, SeqCst);
    while stage.load(SeqCst) < Board::RUNNING {
        pause(NAP);
    }
    let cpu_before = thread_cpu_ns();
    let mut done = 0;
    while stage.load(Relaxed) == Board::RUNNING {
        for _ in 0..BURST {
            one(counter);
        }
        done += u64::from(BURST);
    }
    board.cpu_ns.fetch_add(thread_cpu_ns() - cpu_before, SeqCst);
    board.total.fetch_add(done, SeqCst);
}

/// Opens the contest once all have arrived, ends it, and tells how long it was.
///
/// # Errors
/// Not all arrived.
pub fn lead_hammers(board: &Board<'_>, size: usize) -> io::Result<Duration> {
    await_value(board.arrived, size as u64, || pause(NAP))?;
    let begin = Instant::now();
    board.stage.store(Board::RUNNING, SeqCst);
    pause(CONTEST / divisor());
    let length = begin.elapsed();
    board.stage.store(Board::OVER, SeqCst);
    Ok(length)
}

/// Prints what a contest gave, once everybody has left it.
///
/// # Errors
/// Two held the lock at once; standard output cannot be written to.
pub fn report_contended(board: &Board<'_>, size: usize, length: Duration) -> io::Result<()> {
    let [total, counted, cpu_ns] =
        [board.total, board.counter, board.cpu_ns].map(|word| word.load(SeqCst));
    if total != counted || total == 0 {
        let problem = format!("no mutual exclusion: {counted} counted in {total} turns");
        return Err(io::Error::other(problem));
    }
    let seconds = length.as_secs_f64();
    print_figure(&format!("lock_contended_{size}p"), total as f64 / seconds, "ops/s")?;
    let cpu_seconds = Duration::from_nanos(cpu_ns).as_secs_f64();
    print_figure(&format!("cpu_contended_{size}p"), cpu_seconds / seconds, "s/s")
}

/// Role: says that it waits, waits, notes when it came back, resets; again and again.
pub fn await_wakes(board: &Board<'_>, wait: impl Fn(), reset: impl Fn()) {
    let rounds = wakes();
    for round in 1..=rounds {
        board.ready.store(round.into(), SeqCst);
        wait();
        let woken_at = now_ns();
        board.woken_at.store(woken_at, SeqCst);
        reset();
    }
    board.ready.store(u64::from(rounds) + 1, SeqCst);
}

/// Wakes the waiter again and again, and tells how long each wake took.
///
/// # Errors
/// The waiter failed, or came back before it was woken.
pub fn lead_wakes(board: &Board<'_>, pace: Pace, wake: impl Fn()) -> io::Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    for round in 1..=wakes() {
        pace.await_ready(board, round)?;
        pace.let_it_wait();
        if board.ready.load(SeqCst) != u64::from(round) {
            return Err(io::Error::other("the waiter did not wait"));
        }
        let begin = now_ns();
        wake();
        pace.await_ready(board, round + 1)?;
        let woken_at = board.woken_at.load(SeqCst);
        if round > EARLY_WAKES {
            latencies.push(Duration::from_nanos(woken_at.saturating_sub(begin)));
        }
    }
    Ok(latencies)
}

/// Prints the quantiles of some wakes.
///
/// # Errors
/// Standard output cannot be written to.
pub fn report_wakes(name: &str, pace: Pace, mut latencies: Vec<Duration>) -> io::Result<()> {
    let (way, quantiles) = match pace {
        Pace::Asleep => ("wake", &[50, 99][..]),
        Pace::Spinning => ("spin", &[50][..]),
    };
    for &percent in quantiles {
        let value = quantile_us(&mut latencies, percent);
        print_figure(&format!("{name}_{way}_p{percent}"), value, "us")?;
    }
    Ok(())
}

/// Role: goes through a barrier again and again. Number 0 takes the time.
///
/// # Panics
/// The barrier let somebody through too early.
pub fn circle(board: &Board<'_>, seat: usize, parties: usize, wait: impl Fn()) {
    let (early, timed) = (divided(MEETINGS) / 8, divided(MEETINGS));
    rounds(board, seat, parties, 1..=early, 1, &wait);
    let begin = Instant::now();
    rounds(board, seat, parties, early + 1..=early + timed, LOOK_EVERY, &wait);
    if seat == 0 {
        let elapsed = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        board.elapsed_ns.store(elapsed, SeqCst);
    }
}

fn rounds(
    board: &Board<'_>,
    seat: usize,
    parties: usize,
    which: RangeInclusive<u32>,
    look_every: u32,
    wait: impl Fn(),
) {
    let (mine, all) = (board.seats[seat], &board.seats[..parties]);
    for round in which {
        mine.store(round.into(), Release);
        wait();
        if round % look_every == 0 {
            let now = u64::from(round);
            for (other, word) in all.iter().enumerate() {
                // Whoever is through may be on the way to the next meeting, and no further.
                let there = word.load(Acquire);
                assert!(
                    there == now || there == now + 1,
                    "number {seat} is through round {now}, number {other} in round {there}"
                );
            }
        }
    }
}

/// Prints what a barrier gave, once everybody has left it.
///
/// # Errors
/// Standard output cannot be written to.
pub fn report_barrier(board: &Board<'_>, parties: usize) -> io::Result<()> {
    let seconds = Duration::from_nanos(board.elapsed_ns.load(SeqCst)).as_secs_f64();
    let rate = f64::from(divided(MEETINGS)) / seconds;
    print_figure(&format!("barrier_{parties}p"), rate, "rounds/s")
}

fn divisor() -> u32 {
    number_from_env("PEERS_DIV").and_then(|number| number.try_into().ok()).unwrap_or(1).max(1)
}

fn divided(wanted: u32) -> u32 {
    (wanted / divisor()).max(1)
}

fn wakes() -> u32 {
    EARLY_WAKES + divided(WAKES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::WORDS;
    use crate::crew::Threads;

    fn with_bench<T>(measure: impl FnOnce(&Bench<'_, Threads>) -> T) -> T {
        let words = [const { AtomicU64::new(0) }; WORDS];
        measure(&Bench { crew: Threads, board: Board::over(|index| &words[index]) })
    }

    #[test]
    fn a_lock_that_excludes_nobody_gives_no_figure() {
        let error = with_bench(|bench| bench.contended(bump)).unwrap_err();
        assert!(error.to_string().starts_with("no mutual exclusion"), "{error}");
    }

    #[test]
    fn a_barrier_that_holds_nobody_back_gives_no_figure() {
        let error = with_bench(|bench| bench.barrier(2, || ())).unwrap_err();
        assert_eq!(error.to_string(), "a thread panicked");
    }

    #[test]
    fn a_wait_that_does_not_wait_gives_no_figure() {
        let error = with_bench(|bench| bench.wakes("event", || (), || (), || ())).unwrap_err();
        assert_eq!(error.to_string(), "the waiter did not wait");
    }
}
