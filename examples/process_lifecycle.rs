//! The life of a process: described, started, told to end, ended.
//!
//! ```text
//! described: 0 children
//! started:   1 child, alive: true, status: None
//! told to end
//! ended:     process sleeper (pid <sleeper>) was killed by SIGTERM when it was asked to end
//! at last:   0 children, alive: false, signal: Some(15)
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::active_children;
use procession::prelude::*;

fn sleep_for_ever() {
    loop {
        std::thread::park();
    }
}

fn main() -> procession::Result<()> {
    procession::init();

    let described = Process::builder().name("sleeper");
    println!("described: {} children", active_children()?.len());

    let child = described.spawn(sleep_for_ever, ())?;
    let (count, alive) = (active_children()?.len(), child.is_alive()?);
    println!("started:   {count} child, alive: {alive}, status: {:?}", child.exit_status()?);

    child.terminate()?;
    println!("told to end");

    // The value of the function, or why there is none.
    match child.join() {
        Ok(()) => println!("ended:     the function returned"),
        Err(JoinError::Died(death)) => println!("ended:     {death}"),
        Err(other) => return Err(other.into()),
    }
    let (count, alive) = (active_children()?.len(), child.is_alive()?);
    let signal = child.exit_status()?.and_then(ExitStatus::signal);
    println!("at last:   {count} children, alive: {alive}, signal: {signal:?}");
    Ok(())
}
