//! A number and an array in shared memory, which a child changes in place.
//!
//! ```text
//! 3.1415927
//! [0, -1, -2, -3, -4, -5, -6, -7, -8, -9]
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::prelude::*;

#[expect(clippy::approx_constant, reason = "a number that looks like it is not it")]
fn change(number: Value<f64>, numbers: Array<i32>) -> procession::Result<()> {
    number.set(3.1415927)?;
    numbers.update(.., |all| all.iter_mut().for_each(|item| *item = -*item))?;
    Ok(())
}

fn main() -> procession::Result<()> {
    procession::init();

    let number = Value::new(0.0)?;
    let numbers = Array::from_iter(0..10)?;
    let child = Process::spawn(change, (number.clone(), numbers.clone()))?;
    child.join()??;
    println!("{}", number.get()?);
    println!("{:?}", numbers.to_vec()?);
    Ok(())
}
