//! What `procession::init()` is for.
//!
//! A process that is started runs this same program. In the program itself `init()` returns; in a process that was started
//! it runs the function, and does not return. So `main` happens once, and what stands before `init()` once in each process
//! that runs the program anew.
//!
//! ```text
//! process <main> is in front of `init`
//! process <main> is behind `init`
//! process <child> is in front of `init`
//! process <child> says: hello world
//! ```
//!
//! Whoever forgets `init()` is told so when the first process is started; nothing is started then.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::prelude::*;
use std::process;

fn greet() {
    println!("process {} says: hello world", process::id());
}

fn main() -> procession::Result<()> {
    println!("process {} is in front of `init`", process::id());
    procession::init();
    println!("process {} is behind `init`", process::id());

    // By the default method it would be the fork server that is in front of `init`, once for all children.
    let child = Context::new(StartMethod::Spawn).process().spawn(greet, ())?;
    child.join()?;
    Ok(())
}
