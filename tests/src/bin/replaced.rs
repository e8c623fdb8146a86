//! Says "ready", waits until its file has been replaced, then starts a child.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use procession::prelude::*;

fn main() {
    procession::init();
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    println!("{:?}", Process::spawn(|x: u32| x + 1, (41,)).unwrap().join());
}
