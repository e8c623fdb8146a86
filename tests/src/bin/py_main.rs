//! What CPython's `test_multiprocessing_main_handling` runs: a program that has a pool and a process of its own main module, by the
//! method that the first argument names. With `wait`, it begins when a line comes.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;

use procession::prelude::*;

fn square(x: u64) -> u64 {
    x * x
}

/// Where this is, and which file the process runs, whatever became of its name.
fn place() -> (String, u64, u64) {
    let here = format!("{} {}", module_path!(), std::any::type_name_of_val(&square));
    let file = std::fs::metadata("/proc/self/exe").unwrap();
    (here, file.dev(), file.ino())
}

fn main() {
    procession::init();
    let words: Vec<String> = std::env::args().collect();
    let context = Context::new(words[1].parse().unwrap());
    if words.get(2).is_some_and(|word| word == "wait") {
        println!("ready");
        std::io::stdin().read_line(&mut String::new()).unwrap();
    }
    let child = context.process().spawn(place, ()).unwrap();
    assert_eq!(child.join().unwrap(), place());
    let two = NonZeroUsize::new(2).unwrap();
    let pool = Pool::builder().context(context).workers(two).build().unwrap();
    println!("{:?}", pool.map(square, 0..4).unwrap());
    println!("{:?}", pool.map(|x: u64| x + square(x), 0..4).unwrap());
    println!("done");
}
