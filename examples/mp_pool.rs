//! Every way to call a pool, what becomes of errors, and a result that is waited for in small steps.
//!
//! ```text
//! Ordered results using `apply_async`:
//!     PoolWorker-<a> says that mul(0, 7) = 0
//!     PoolWorker-<b> says that mul(1, 7) = 7
//!     PoolWorker-<c> says that mul(2, 7) = 14
//! Ordered results using `imap`:
//!     PoolWorker-<d> says that mul(0, 7) = 0
//!     PoolWorker-<e> says that mul(1, 7) = 7
//!     PoolWorker-<f> says that mul(2, 7) = 14
//! Unordered results using `imap_unordered`: 100
//! Results using `map` and `starmap`, which wait for all: 100 and 100
//! Errors:
//!     `apply` says: attempt to divide by zero
//!     `map` says of item 5: attempt to divide by zero
//!     `imap` gives [-12, -15, -20, -30, -60], an error, [60, 30, 20, 15]
//! Results in small steps:
//!     `get_timeout` has 49 after <steps> times 20 ms
//! Closed: task 0: the pool is closed
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::num::NonZeroUsize;
use std::time::Duration;

use procession::prelude::*;

const FOUR: NonZeroUsize = NonZeroUsize::new(4).expect("it is not zero");
const STEP: Duration = Duration::from_millis(20);

fn mul(a: i64, b: i64) -> String {
    let worker = procession::current_process();
    format!("    {} says that mul({a}, {b}) = {}", worker.name(), a * b)
}

/// Panics where there is no quotient.
fn quotient(x: i64) -> i64 {
    60 / (x - 5)
}

/// Stands for work that takes a while.
fn slow_square(x: i64) -> i64 {
    std::thread::park_timeout(6 * STEP);
    x * x
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    procession::init();
    let pool = Pool::builder().workers(FOUR).build()?;

    println!("Ordered results using `apply_async`:");
    for call in [0, 1, 2].map(|a| pool.apply_async(mul, (a, 7))) {
        println!("{}", call.get()?);
    }
    println!("Ordered results using `imap`:");
    for text in pool.imap(|a| mul(a, 7), 0..3) {
        println!("{}", text?);
    }
    let unordered = pool.imap_unordered(|a| mul(a, 7), 0..100).filter(Result::is_ok).count();
    println!("Unordered results using `imap_unordered`: {unordered}");
    let (map, starmap) = (pool.map(|a| mul(a, 7), 0..100)?, pool.starmap(mul, (0..100).zip(0..))?);
    let (map, starmap) = (map.len(), starmap.len());
    println!("Results using `map` and `starmap`, which wait for all: {map} and {starmap}");

    println!("Errors:");
    if let Err(TaskError::Panicked { panic, .. }) = pool.apply(quotient, (5,)) {
        println!("    `apply` says: {}", panic.message);
    }
    if let Err(TaskError::Panicked { index, panic }) = pool.map(quotient, 0..10) {
        println!("    `map` says of item {index}: {}", panic.message);
    }
    let mut quotients = pool.imap(quotient, 0..10);
    let before: Vec<i64> = quotients.by_ref().map_while(Result::ok).collect();
    let behind: Vec<i64> = quotients.map_while(Result::ok).collect();
    println!("    `imap` gives {before:?}, an error, {behind:?}");

    println!("Results in small steps:");
    let (mut steps, mut call) = (0, pool.apply_async(slow_square, (7,)));
    let square = loop {
        match call.get_timeout(STEP) {
            Ok(square) => break square?,
            Err(again) => (steps, call) = (steps + 1, again),
        }
    };
    println!("    `get_timeout` has {square} after {steps} times 20 ms");

    // What has begun is done; nothing begins any more.
    pool.close();
    if let Err(error) = pool.apply(mul, (1, 2)) {
        println!("Closed: {error}");
    }
    pool.join()?;
    Ok(())
}
