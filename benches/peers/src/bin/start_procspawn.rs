//! Family `start`: procspawn. Its join hands over the child's value, which is the first message.

use std::io;
use std::time::Instant;

#[path = "../../../src/measure.rs"]
mod measure;

fn child(number: u8) -> u8 {
    number + 1
}

fn start_one() -> io::Result<Instant> {
    let value = procspawn::spawn(1, child).join().map_err(io::Error::other)?;
    let message = Instant::now();
    if value == 2 { Ok(message) } else { Err(io::Error::other("the child answered wrongly")) }
}

fn main() -> io::Result<()> {
    procspawn::init();
    measure::measure_starts(start_one)
}
