//! Keeps a C function alive that crashes.
//!
//! The function works in a process of its own. When that dies, its death is reported, and another one goes on with the same
//! word: `iron` needs a fresh one and then succeeds. What has killed two of them is given up.
//!
//! ```text
//! copper: 6 letters
//! tin: 3 letters
//! silver: 6 letters
//! iron: attempt 1: process counter (pid <a>) was killed by SIGSEGV
//! iron: 4 letters
//! null: attempt 1: process counter (pid <b>) was killed by SIGSEGV
//! null: attempt 2: process counter (pid <c>) was killed by SIGSEGV
//! null: given up
//! abort: attempt 1: process counter (pid <d>) was killed by SIGABRT
//! abort: attempt 2: process counter (pid <e>) was killed by SIGABRT
//! abort: given up
//! exit: attempt 1: process counter (pid <f>) exited with code 3
//! exit: attempt 2: process counter (pid <g>) exited with code 3
//! exit: given up
//! gold: 4 letters
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![cfg_attr(has_c_compiler, expect(unsafe_code, reason = "calls C, which is what this is about"))]

#[cfg(has_c_compiler)]
mod letters;
#[cfg(has_c_compiler)]
mod worker;

#[cfg(has_c_compiler)]
fn main() -> procession::Result<()> {
    const WORDS: [&str; 8] = ["copper", "tin", "silver", "iron", "null", "abort", "exit", "gold"];
    const ATTEMPTS: usize = 2;

    procession::init();
    let mut worker = worker::Worker::start()?;
    for word in WORDS {
        let mut letters = None;
        for attempt in 1..=ATTEMPTS {
            match worker.count(word)? {
                Ok(count) => {
                    letters = Some(count);
                    break;
                }
                Err(death) => {
                    println!("{word}: attempt {attempt}: {death}");
                    worker = worker::Worker::start()?;
                }
            }
        }
        match letters {
            Some(count) => println!("{word}: {count} letters"),
            None => println!("{word}: given up"),
        }
    }
    worker.stop()
}

#[cfg(not(has_c_compiler))]
fn main() {
    println!("SKIPPED: there was no C compiler when this was built");
}
