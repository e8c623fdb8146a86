//! Family `start`: crossmist. Its join hands over the child's value, which is the first message.

use std::io;
use std::time::Instant;

#[path = "../../../src/measure.rs"]
mod measure;

#[crossmist::func]
fn child(number: u8) -> u8 {
    number + 1
}

fn start_one() -> io::Result<Instant> {
    let value = child.spawn(1)?.join().map_err(|error| io::Error::other(error.to_string()))?;
    let message = Instant::now();
    if value == 2 { Ok(message) } else { Err(io::Error::other("the child answered wrongly")) }
}

#[crossmist::main]
fn main() -> io::Result<()> {
    measure::measure_starts(start_one)
}
