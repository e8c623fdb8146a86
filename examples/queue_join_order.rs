//! Waits for the end of a child before it gets what that has put.
//!
//! In Python this is the deadlock that the documentation warns of: `put` leaves the item to a thread of the child, which writes it
//! to a pipe. A pipe holds 64 KiB, so the thread waits for a reader, the child for its thread, and the parent for the child. There
//! `get` must come first. Here it may come whenever it suits: when `put` returns, the item is whole in memory that all processes
//! with the queue share. Nothing in the child waits for a reader, and the item is there after its putter is gone.
//!
//! ```text
//! joined
//! got 1000000 times X
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::prelude::*;

fn answer(queue: Queue<String>) -> procession::Result<()> {
    queue.put("X".repeat(1_000_000))?;
    Ok(())
}

fn main() -> procession::Result<()> {
    procession::init();

    let queue = Queue::new()?;
    let child = Process::spawn(answer, (queue.clone(),))?;
    child.join()??;
    println!("joined");
    let item = queue.get()?;
    println!("got {} times X", item.matches('X').count());
    Ok(())
}
