//! The words of files, counted on two "machines": their workers know the address of a manager, and nothing else of each other. What is to be
//! counted comes through a queue, on lease, so that what a worker does not finish another one does; the counts go into a dictionary.
//!
//! ```text
//! 12 pieces, 2 machines: 1200 times the, 600 times fox
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::connection::Family;
use procession::manager::Batch;
use procession::prelude::*;
use procession::{AuthKey, DictProxy, GetError, JoinableQueueProxy, Manager};

const KEY: &[u8] = b"only we know";

fn machine(address: String) -> procession::Result<()> {
    let workers: Vec<_> = (0..2)
        .map(|_| Process::spawn(work, (address.clone(),)))
        .collect::<procession::Result<_>>()?;
    workers.into_iter().try_for_each(|worker| worker.join()?)
}

fn work(address: String) -> procession::Result<()> {
    let manager = Manager::connect(address, &AuthKey::from(KEY))?;
    let pieces: JoinableQueueProxy<String> = manager.find("pieces")?;
    let counts: DictProxy<String, u64> = manager.find("counts")?;
    loop {
        let piece = match pieces.lease() {
            Ok(piece) => piece,
            Err(GetError::Closed) => return Ok(()),
            Err(GetError::Failed(error)) => return Err(error),
        };
        // All words of a piece count, or none: one round trip, and nobody comes in between.
        let mut batch = Batch::new();
        let added: Vec<_> = piece
            .split_whitespace()
            .map(|word| batch.add(counts.calls().fetch_add(word, 1)))
            .collect();
        batch.run()?;
        added.into_iter().try_for_each(|added| added.take().map(drop))?;
        piece.done()?;
    }
}

fn main() -> procession::Result<()> {
    procession::init();

    let key = AuthKey::from(KEY);
    let manager = Manager::builder().family(Family::Tcp4).authkey(&key).start()?;
    let pieces = manager.joinable_queue::<String>(0)?;
    let counts = manager.dict::<String, u64>()?;
    manager.publish("pieces", &pieces)?;
    manager.publish("counts", &counts)?;

    // On other machines these would be other programs.
    let address = manager.address()?.to_string();
    let machines: Vec<_> = (0..2)
        .map(|_| Process::spawn(machine, (address.clone(),)))
        .collect::<procession::Result<_>>()?;
    for _ in 0..12 {
        pieces.put("the quick fox and the lazy dog ".repeat(50))?;
    }
    pieces.close()?;
    pieces.join()?;
    machines.into_iter().try_for_each(|machine| machine.join()?)?;
    let count = |word| counts.get(word).map(Option::unwrap_or_default);
    println!("12 pieces, 2 machines: {} times the, {} times fox", count("the")?, count("fox")?);
    Ok(())
}
