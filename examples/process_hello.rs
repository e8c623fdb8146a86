//! Starts a process that greets, and waits for it.
//!
//! ```text
//! hello bob
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::prelude::*;

fn greet(name: String) {
    println!("hello {name}");
}

fn main() -> procession::Result<()> {
    procession::init();

    let child = Process::spawn(greet, ("bob".to_owned(),))?;
    child.join()?;
    Ok(())
}
