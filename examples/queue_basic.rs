//! A child puts one value into a queue, and its parent gets it.
//!
//! ```text
//! (42, None, "hello")
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::prelude::*;

/// All items of a queue are of one type: here three different things.
type Item = (i32, Option<bool>, String);

fn answer(queue: Queue<Item>) -> procession::Result<()> {
    queue.put((42, None, "hello".to_owned()))?;
    Ok(())
}

fn main() -> procession::Result<()> {
    procession::init();

    let queue = Queue::new()?;
    let child = Process::spawn(answer, (queue.clone(),))?;
    println!("{:?}", queue.get()?);
    child.join()??;
    Ok(())
}
