//! Five workers square three numbers.
//!
//! ```text
//! [1, 4, 9]
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::num::NonZeroUsize;

use procession::prelude::*;

const FIVE: NonZeroUsize = NonZeroUsize::new(5).expect("it is not zero");

fn square(x: i64) -> i64 {
    x * x
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    procession::init();

    let pool = Pool::builder().workers(FIVE).build()?;
    println!("{:?}", pool.map(square, [1, 2, 3])?);
    Ok(())
}
