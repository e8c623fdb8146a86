//! Chooses once, for the whole program, how processes are started. A child puts a value into a queue.
//!
//! ```text
//! hello
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::prelude::*;
use procession::set_start_method;

fn greet(queue: Queue<String>) -> procession::Result<()> {
    queue.put("hello".to_owned())?;
    Ok(())
}

fn main() -> procession::Result<()> {
    procession::init();
    // Behind `init`: a child must not choose for itself. Before anything is started: a second choice is an error.
    set_start_method(StartMethod::Spawn)?;

    let queue = Queue::new()?;
    let child = Process::spawn(greet, (queue.clone(),))?;
    println!("{}", queue.get()?);
    child.join()??;
    Ok(())
}
