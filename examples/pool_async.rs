//! Calls that do not wait: results that are fetched later, told of, taken as they come, or ended.
//!
//! ```text
//! 100
//! [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]
//! 0
//! 1
//! 4
//! a callback was told of 25
//! the first one that was there is call 1
//! not there after a tenth of a second
//! task 0: it was cancelled
//! task 0: timed out
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::time::Duration;

use procession::prelude::*;

const FOUR: NonZeroUsize = NonZeroUsize::new(4).expect("it is not zero");
const TENTH: Duration = Duration::from_millis(100);

fn square(x: i64) -> i64 {
    x * x
}

/// Stands for work that takes long.
fn sleep(duration: Duration) {
    std::thread::park_timeout(duration);
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    procession::init();
    let pool = Pool::builder().workers(FOUR).build()?;

    let result = pool.apply_async(square, (10,));
    println!("{}", result.get()?);
    let results = pool.map_async(square, 0..10);
    println!("{:?}", results.get()?);
    // A stream begins when it is asked, and goes no further than it is asked.
    for square in pool.imap(square, 0..).take(3) {
        println!("{}", square?);
    }

    let (told, tells) = mpsc::channel();
    let call = pool.apply_async(square, (5,)).on_done(move |result| {
        if let Ok(square) = result {
            // Who listened may have gone.
            told.send(*square).ok();
        }
    });
    call.wait();
    println!("a callback was told of {}", tells.recv()?);

    // Taken as they come, each with its place.
    let naps = [100, 1].map(|tenths| pool.apply_async(sleep, (tenths * TENTH,)));
    if let Some((place, Ok(()))) = procession::as_completed(naps).next() {
        println!("the first one that was there is call {place}");
    }

    // To wait in vain harms nobody: the call goes on, until somebody ends it.
    if let Err(again) = pool.apply_async(sleep, (100 * TENTH,)).get_timeout(TENTH) {
        println!("not there after a tenth of a second");
        again.cancel();
        if let Err(error) = again.get() {
            println!("{error}");
        }
    }
    // With a time limit it is the task that is ended.
    if let Err(TaskError::TimedOut { index, .. }) =
        pool.tasks().timeout(TENTH).apply(sleep, (100 * TENTH,))
    {
        println!("task {index}: timed out");
    }
    Ok(())
}
