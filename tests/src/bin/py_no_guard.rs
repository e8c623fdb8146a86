//! A program whose `main` does not begin with `procession::init()`: CPython's `mp_fork_bomb.py`. Starts a process by the
//! method that the argument names.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use procession::prelude::*;

fn main() {
    println!("main runs");
    let context = Context::new(std::env::args().nth(1).unwrap().parse().unwrap());
    match context.process().spawn(|| println!("123"), ()) {
        Ok(child) => println!("{:?}", child.join()),
        Err(error) => println!("{:?}: {error}", error.kind()),
    }
}
