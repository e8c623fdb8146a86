//! Four processes write ten messages each; their parent takes them as they come, from whichever pipe has one.
//!
//! ```text
//! process 0 sent 10 messages
//! process 1 sent 10 messages
//! process 2 sent 10 messages
//! process 3 sent 10 messages
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use procession::prelude::*;
use procession::{TryRecvError, Waitable, wait};

fn write(tx: Sender<(u32, String)>) -> procession::Result<()> {
    for number in 0..10 {
        tx.send((number, procession::current_process().name().to_owned()))?;
    }
    Ok(())
}

fn main() -> procession::Result<()> {
    procession::init();

    let mut readers = Vec::new();
    for _ in 0..4 {
        let (tx, rx) = pipe()?;
        readers.push((Process::spawn(write, (tx,))?, rx));
    }
    let mut counts = [0; 4];
    let mut open: Vec<usize> = (0..4).collect();
    while !open.is_empty() {
        let objects: Vec<&dyn Waitable> = open.iter().map(|at| &readers[*at].1 as _).collect();
        let ready = wait(&objects, Duration::from_secs(60))?;
        // From the back, so that the places in front stay as they are.
        for place in ready.into_iter().rev() {
            let at = open[place];
            match readers[at].1.try_recv() {
                Ok((number, _name)) => {
                    assert_eq!(number, counts[at]);
                    counts[at] += 1;
                }
                Err(TryRecvError::Closed) => drop(open.remove(place)),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Failed(error)) => return Err(error),
            }
        }
    }
    for (number, (child, _)) in readers.iter().enumerate() {
        child.join()??;
        println!("process {number} sent {} messages", counts[number]);
    }
    Ok(())
}
