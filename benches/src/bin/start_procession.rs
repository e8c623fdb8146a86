//! Family `start`: ours, through the public face. The argument is the start method.

use std::time::Instant;

use procession::prelude::*;
use procession_benches::measure::measure_starts;

fn child(tx: Sender<u8>) -> procession::Result<()> {
    tx.send(1)
}

fn start_one() -> Result<Instant, Box<dyn std::error::Error>> {
    let (tx, rx) = pipe::<u8>()?;
    let process = Process::spawn(child, (tx,))?;
    rx.recv()?;
    let message = Instant::now();
    process.join()??;
    Ok(message)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    procession::init();
    if let Some(method) = std::env::args().nth(1) {
        procession::set_start_method(method.parse()?)?;
    }
    measure_starts(start_one)
}
