//! Closes a descriptor that is not its own before `procession::init()`, as careless libraries do.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]
#![expect(unsafe_code, reason = "closes what it does not own")]

use std::os::fd::{FromRawFd, OwnedFd};

use procession::prelude::*;

fn main() {
    if std::env::args().len() > 1 {
        // SAFETY: None. In a process that `procession` started the number is open and used by nobody yet.
        drop(unsafe { OwnedFd::from_raw_fd(3) });
    }
    procession::init();
    println!("main goes on");
    for method in [StartMethod::Spawn, StartMethod::ForkServer] {
        let answer = Context::new(method).process().spawn(|| (), ());
        let kind = match answer {
            Ok(child) => procession::Error::from(child.join().unwrap_err()).kind(),
            Err(error) => error.kind(),
        };
        println!("{method}: {kind:?}");
    }
}
