//! A closure that captures nothing.

use procession::prelude::*;

fn main() {
    procession::init();
    let child = Process::spawn(|x: i32| x * 3, (14,)).unwrap();
    assert_eq!(child.join().unwrap(), 42);
}
