//! Family `sharedmem`, of blocks: copies in and out, and a block of 256 MiB that a running worker gets to see.
//!
//! The peers' workspace includes this file by path, so it stands on `std` alone.

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use crate::measure::{number_from_env, print_figure, quantile_us};

/// The block that is shared.
pub const BIG: usize = 256 << 20;
/// What it is filled with.
pub const BYTE: u8 = 7;
const PAGE: usize = 4096;

/// Somebody with a worker, to whom blocks are shown.
///
/// For each time that it is shown one the worker acknowledges three things: that it sees the last byte, that it has read a byte of
/// every page, and that it has given the block up.
pub trait Stage {
    /// Makes a block of these bytes, and shows it to the worker.
    ///
    /// # Errors
    /// The system has no memory, or the worker is gone.
    fn show(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Shows the same block once more.
    ///
    /// # Errors
    /// The worker is gone.
    fn show_again(&mut self) -> io::Result<()>;

    /// Waits for one acknowledgement.
    ///
    /// # Errors
    /// The worker is gone.
    fn wait(&mut self) -> io::Result<()>;

    /// Gives the block up.
    ///
    /// # Errors
    /// The system refuses.
    fn give_up(&mut self) -> io::Result<()>;
}

/// Measures how long it takes until the worker sees a block: a new one of private bytes, and one that is filled already.
///
/// # Errors
/// What the stage returns, and a failure to print.
pub fn measure_sharing(stage: &mut impl Stage) -> io::Result<()> {
    let source = vec![BYTE; BIG];
    let (mut filled, mut seen, mut touched) = (Vec::new(), Vec::new(), Vec::new());
    // The first block is always a new one.
    for round in 0..=rounds() {
        let begin = Instant::now();
        stage.show(&source)?;
        stage.wait()?;
        let took = begin.elapsed();
        if round > 0 {
            filled.push(took);
        }
        stage.wait()?;
        stage.wait()?;
        let begin = Instant::now();
        stage.show_again()?;
        stage.wait()?;
        seen.push(begin.elapsed());
        stage.wait()?;
        touched.push(begin.elapsed());
        stage.wait()?;
        stage.give_up()?;
    }
    print_ms("copyin[256MiB]", &mut filled)?;
    print_ms("handle[256MiB]", &mut seen)?;
    print_ms("touch[256MiB]", &mut touched)
}

/// Measures how long it takes to make and fill a block, when one as large was given up before.
///
/// # Errors
/// What `fill` returns, and a failure to print.
pub fn measure_filling<B>(mut fill: impl FnMut(&[u8]) -> io::Result<B>) -> io::Result<()> {
    let source = vec![BYTE; BIG];
    drop(fill(&source)?);
    let mut times = Vec::new();
    for _ in 0..rounds() {
        let begin = Instant::now();
        let block = fill(&source)?;
        times.push(begin.elapsed());
        drop(block);
    }
    print_ms("refill[256MiB]", &mut times)
}

/// Measures how fast `copy` copies so many bytes.
///
/// # Errors
/// What `copy` returns, and a failure to print.
pub fn measure_copies(
    what: &str,
    len: usize,
    mut copy: impl FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let length = Duration::from_millis(150) / divisor();
    // The best of several spells: what disturbs a copy makes it slower only.
    let mut best = 0.0_f64;
    for _ in 0..5 {
        let (begin, mut copies) = (Instant::now(), 0_u32);
        while begin.elapsed() < length / 5 || copies < 2 {
            copy()?;
            copies += 1;
        }
        let gigabytes = f64::from(copies) * len as f64 / 1e9;
        best = best.max(gigabytes / begin.elapsed().as_secs_f64());
    }
    let name = if len >= 1 << 20 { "64MiB" } else { "64KiB" };
    print_figure(&format!("{what}[{name}]"), best, "GB/s")
}

/// The lengths of copies.
pub const LENGTHS: [usize; 2] = [64 << 10, 64 << 20];

/// Reads a byte of every page, by `byte`, which is told the place.
pub fn touch(byte: impl Fn(usize) -> u8) {
    for at in (0..BIG).step_by(PAGE) {
        black_box(byte(at));
    }
}

fn rounds() -> usize {
    (7 / number_from_env("PEERS_DIV").unwrap_or(1).max(1)).max(3)
}

fn divisor() -> u32 {
    number_from_env("PEERS_DIV").and_then(|number| number.try_into().ok()).unwrap_or(1).max(1)
}

fn print_ms(metric: &str, times: &mut [Duration]) -> io::Result<()> {
    print_figure(metric, quantile_us(times, 50) / 1e3, "ms")
}
