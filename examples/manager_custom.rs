//! A type of one's own behind a manager's server.
//!
//! ```text
//! 7
//! 56
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::{Manager, shared};

struct Maths;

#[shared]
impl Maths {
    fn new() -> Self {
        Maths
    }
    fn add(&self, x: i64, y: i64) -> i64 {
        x + y
    }
    fn mul(&self, x: i64, y: i64) -> i64 {
        x * y
    }
}

fn main() -> procession::Result<()> {
    procession::init();
    let manager = Manager::builder().register::<Maths>().start()?;
    let maths = MathsProxy::new(&manager)?;
    println!("{}", maths.add(4, 3)?);
    println!("{}", maths.mul(7, 8)?);
    Ok(())
}
