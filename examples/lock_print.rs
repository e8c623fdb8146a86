//! Ten processes print a line each, in two pieces. Under a lock no piece gets between those of another, in whatever order the lines
//! come.
//!
//! ```text
//! hello world <a>
//! hello world <b>
//! hello world <c>
//! hello world <d>
//! hello world <e>
//! hello world <f>
//! hello world <g>
//! hello world <h>
//! hello world <i>
//! hello world <j>
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::io::Write;

use procession::prelude::*;

fn greet(lock: Lock, number: u32) -> procession::Result<()> {
    // Had another one been killed with the lock in its hands, its half a line might stand there: `?` says so.
    let _guard = lock.lock()?;
    print!("hello ");
    std::io::stdout().flush()?;
    println!("world {number}");
    Ok(())
}

fn main() -> procession::Result<()> {
    procession::init();

    let lock = Lock::new()?;
    let children: Vec<_> = (0..10)
        .map(|number| Process::spawn(greet, (lock.clone(), number)))
        .collect::<Result<_, _>>()?;
    for child in &children {
        child.join()??;
    }
    Ok(())
}
