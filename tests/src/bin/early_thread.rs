//! Starts a thread before `procession::init()`.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use procession::prelude::*;

fn main() {
    let _early = std::thread::spawn(std::thread::park);
    procession::init();
    for method in procession::start_methods() {
        match Context::new(*method).process().spawn(|x: u32| x + 1, (41,)) {
            Ok(child) => println!("{method}: {}", child.join().unwrap()),
            Err(error) => println!("{method}: {error}"),
        }
    }
}
