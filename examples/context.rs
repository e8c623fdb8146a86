//! Chooses how its own processes are started, and leaves the choice for the rest of the program to others: what a library does.
//! A child puts a value into a queue.
//!
//! ```text
//! hello
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::prelude::*;

fn greet(queue: Queue<String>) -> procession::Result<()> {
    queue.put("hello".to_owned())?;
    Ok(())
}

fn main() -> procession::Result<()> {
    procession::init();

    let context = Context::new(StartMethod::Spawn);
    // A queue belongs to no context: processes of every start method can have it.
    let queue = Queue::new()?;
    let child = context.process().spawn(greet, (queue.clone(),))?;
    println!("{}", queue.get()?);
    child.join()??;
    Ok(())
}
