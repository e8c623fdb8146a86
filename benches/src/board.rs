//! The words in which the processes of one measurement tell each other how far they are.
//!
//! The memory is a contender's own affair: [`WORDS`] zeroed words in a mapping that processes share,
//! or anywhere, for threads.
//!
//! The peers' workspace includes this file by path, so it stands on `std` alone.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// How many processes may go through a barrier together.
pub const SEATS: usize = 4;
/// A word has a cache line to itself, and the next one, which processors fetch along.
const STRIDE: usize = 16;
/// How many words a board takes.
pub const WORDS: usize = STRIDE * (8 + SEATS);
/// What nobody takes so long for, unless somebody has died or a wake-up was lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// The words by name.
#[derive(Debug)]
pub struct Board<'a> {
    /// How many are ready to begin.
    pub arrived: &'a AtomicU64,
    /// Zero before the measurement, [`RUNNING`](Self::RUNNING) in it, another number after it.
    pub stage: &'a AtomicU64,
    /// What is counted under the lock that is measured.
    pub counter: &'a AtomicU64,
    /// What each counted for itself, added up at the end.
    pub total: &'a AtomicU64,
    /// Processor time of all of them.
    pub cpu_ns: &'a AtomicU64,
    /// The round for which the waiter is about to wait.
    pub ready: &'a AtomicU64,
    /// When the waiter came back from its last wait.
    pub woken_at: &'a AtomicU64,
    /// How long the rounds of a barrier took.
    pub elapsed_ns: &'a AtomicU64,
    /// The round in which each of those is that go through a barrier.
    pub seats: [&'a AtomicU64; SEATS],
}

impl<'a> Board<'a> {
    /// The stage in which those who were started do what is measured.
    pub const RUNNING: u64 = 1;
    /// The stage in which they finish.
    pub const OVER: u64 = 2;

    /// Names the words that `word` gives for the indices below [`WORDS`].
    pub fn over(word: impl Fn(usize) -> &'a AtomicU64) -> Self {
        let line = |index: usize| word(index * STRIDE);
        Self {
            arrived: line(0),
            stage: line(1),
            counter: line(2),
            total: line(3),
            cpu_ns: line(4),
            ready: line(5),
            woken_at: line(6),
            elapsed_ns: line(7),
            seats: std::array::from_fn(|seat| line(8 + seat)),
        }
    }

    /// Makes ready for the next measurement. Nobody may be at work.
    pub fn clear(&self) {
        let Self { arrived, stage, counter, total, cpu_ns, ready, woken_at, elapsed_ns, seats } =
            self;
        let words = [arrived, stage, counter, total, cpu_ns, ready, woken_at, elapsed_ns];
        for word in words.into_iter().chain(seats) {
            word.store(0, SeqCst);
        }
    }
}

/// Waits for `word` to reach `value`, and lets `meanwhile` pass between two looks.
///
/// # Errors
/// It did not within half a minute: whoever should have written it is dead, or hangs.
pub fn await_value(word: &AtomicU64, value: u64, meanwhile: impl Fn()) -> io::Result<()> {
    let begin = Instant::now();
    while word.load(SeqCst) < value {
        if begin.elapsed() > PATIENCE {
            let found = word.load(SeqCst);
            let problem = format!("a word of the board is {found} instead of {value}");
            return Err(io::Error::other(problem));
        }
        meanwhile();
    }
    Ok(())
}
