//! An input without end and a consumer that is slow: the memory of the pool's process does not grow, and no more is taken than there is room for.

use std::num::NonZeroUsize;
use std::time::Duration;

use procession::{Pool, TaskError};
use procession_sys::prim::AtomicUsize;
use procession_sys::prim::Ordering::SeqCst;
use procession_sys::{pidfd, signal};
use serde::{Deserialize, Serialize};

use super::stage::Tally;
use super::work::spin;
use crate::Random;

/// How many results are taken of a short round, and of a long one.
const SHORT: usize = 250;
const LONG: usize = 100_000;

/// How much memory the process may have more at the end than after a quarter of the results: what an allocator keeps.
const MORE: usize = 8 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Parcel {
    number: usize,
    bytes: Vec<u8>,
}

/// Every hundredth one takes long, so that those behind it wait for their turn.
fn pass(parcel: Parcel) -> Parcel {
    if parcel.number.is_multiple_of(100) {
        spin(Duration::from_millis(2));
    }
    parcel
}

pub(super) fn play(is_long: bool, random: &mut Random, tally: &mut Tally) {
    let workers = 1 + random.below(3);
    let window = [1, 5, 64, 300][random.below(4)];
    let len = [0, 100, 3_000][random.below(3)];
    let (results, kills) = if is_long { (LONG, 200) } else { (SHORT, 2) };
    let some = |count| NonZeroUsize::new(count).expect("some");
    let pool = Pool::builder().workers(some(workers)).build().expect("a pool");
    let taken = AtomicUsize::new(0);
    let input = (0..).map(|number| {
        taken.fetch_add(1, SeqCst);
        Parcel { number, bytes: vec![1; len] }
    });
    let tasks = pool.tasks().window(some(window)).attempts(3).backoff(Duration::ZERO);
    let mut watch = Watch { kills, results, window, pool: &pool, taken: &taken, quarter: 0 };
    match random.below(2) {
        0 => {
            let mut stream = tasks.imap(pass, input);
            for number in 0..results {
                let got = stream.next().expect("there is no end");
                if let Some(parcel) = watch.see(number, got, random, tally) {
                    assert_eq!(parcel.number, number, "out of order");
                }
            }
        }
        _ => {
            let mut stream = tasks.imap_unordered(pass, input);
            for number in 0..results {
                let got = stream.next().expect("there is no end");
                drop(watch.see(number, got, random, tally));
            }
        }
    }
    let grown = memory().saturating_sub(watch.quarter);
    assert!(grown <= MORE, "{grown} bytes more than after a quarter of the results");
    tally.most("most KiB more", grown >> 10);
    tally.most("most ahead", watch.window);
}

struct Watch<'a> {
    kills: usize,
    results: usize,
    window: usize,
    pool: &'a Pool,
    taken: &'a AtomicUsize,
    /// How much memory there was after a quarter of the results.
    quarter: usize,
}

impl Watch<'_> {
    /// Looks at a result, the one with this number, slowly.
    fn see(
        &mut self,
        number: usize,
        got: Result<Parcel, TaskError>,
        random: &mut Random,
        tally: &mut Tally,
    ) -> Option<Parcel> {
        let ahead = self.taken.load(SeqCst) - number;
        assert!(ahead <= self.window + 1, "{ahead} are under way, for a window of {}", self.window);
        if number == self.results / 4 {
            self.quarter = memory();
        }
        if random.below(self.results) < self.kills {
            let pids = self.pool.worker_pids();
            // Nobody else reaps them, and the pool only when it has seen the end of one.
            if let Some(pid) = pids.first()
                && let Ok(worker) = pidfd::open(*pid)
                && self.pool.worker_pids().contains(pid)
            {
                drop(pidfd::signal(&worker, signal::KILL));
                tally.saw("killed", 1);
            }
        }
        spin(Duration::from_micros(random.below(40) as u64));
        match got {
            Ok(parcel) => Some(parcel),
            Err(error @ TaskError::WorkerDied { .. }) => {
                tally.saw("died", 1);
                drop(error);
                None
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// How many bytes of memory this process has of its own.
fn memory() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("/proc is mounted");
    let mut pages = text.split(' ').skip(1).map(|pages| pages.parse::<usize>().expect("a number"));
    let (resident, shared) = (pages.next().expect("two"), pages.next().expect("two"));
    (resident - shared) * 4096
}
