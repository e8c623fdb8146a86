//! A program whose `main` forgot `procession::init()`.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use procession::prelude::*;

fn main() {
    println!("main runs, arguments: {:?}", std::env::args().skip(1).collect::<Vec<_>>());
    let error = Process::spawn(|x: u32| x + 1, (1,)).unwrap_err();
    println!("{error}");
    println!("pool: {:?}", Pool::new().unwrap_err().kind());
}
