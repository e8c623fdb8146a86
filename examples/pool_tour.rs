//! What a pool can do: all results at once, each as soon as it is there, one that is fetched later, and one that is waited for in vain.
//!
//! ```text
//! [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]
//! the same in any order: 285 in all
//! 400
//! process <worker> has worked
//! processes <a>, <b>, <c>, <d> have worked
//! no result after a second
//! for the moment, the pool remains available for more work: 9
//! now it is gone, and what it was working on with it
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::num::NonZeroUsize;
use std::time::Duration;

use procession::prelude::*;

const FOUR: NonZeroUsize = NonZeroUsize::new(4).expect("it is not zero");
const SECOND: Duration = Duration::from_secs(1);

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
    println!("{:?}", pool.map(square, 0..10)?);
    let sum = pool.imap_unordered(square, 0..10).sum::<Result<i64, _>>()?;
    println!("the same in any order: {sum} in all");

    // In the background.
    let later = pool.apply_async(square, (20,));
    println!("{}", later.get()?);
    println!("process {} has worked", pool.apply(std::process::id, ())?);
    // These may be four processes, or fewer: who is idle takes the next call.
    let several: Vec<_> = (0..4).map(|_| pool.apply_async(std::process::id, ())).collect();
    let pids: Result<Vec<_>, _> = several.into_iter().map(|one| one.get()).collect();
    let pids: Vec<_> = pids?.iter().map(u32::to_string).collect();
    println!("processes {} have worked", pids.join(", "));

    // A result that is not there in time is not lost: one can wait for it again, or `cancel` it.
    let slow = pool.apply_async(sleep, (10 * SECOND,));
    match slow.get_timeout(SECOND) {
        Ok(result) => println!("{:?}", result?),
        Err(_slow) => println!("no result after a second"),
    }
    println!(
        "for the moment, the pool remains available for more work: {}",
        pool.apply(square, (3,))?
    );
    drop(pool);
    println!("now it is gone, and what it was working on with it");
    Ok(())
}
