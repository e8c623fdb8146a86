//! Who is who: a program and its child each tell their number and that of their parent.
//!
//! The parent is the process that called `spawn`, whatever the system says: there it is the fork server, which both have
//! nothing to do with.
//!
//! ```text
//! main
//!   parent:  nobody of ours
//!   process: MainProcess, <main>
//! greet
//!   parent:  MainProcess, <main>
//!   process: Process-1, <child>
//! hello bob
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::prelude::*;
use procession::{current_process, parent_process};

fn introduce(function: &str) {
    println!("{function}");
    match parent_process() {
        Some(parent) => println!("  parent:  {}, {}", parent.name(), parent.pid()),
        None => println!("  parent:  nobody of ours"),
    }
    println!("  process: {}, {}", current_process().name(), current_process().pid());
}

fn greet(name: String) {
    introduce("greet");
    println!("hello {name}");
}

fn main() -> procession::Result<()> {
    procession::init();

    introduce("main");
    let child = Process::spawn(greet, ("bob".to_owned(),))?;
    child.join()?;
    Ok(())
}
