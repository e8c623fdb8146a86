//! Built with `panic = "abort"` by the test that runs it: a panic ends the process, and is a value all the same.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use procession::prelude::*;

fn divide(a: u32, b: u32) -> u32 {
    a / b
}

fn main() {
    procession::init();
    println!("abort: {}", cfg!(panic = "abort"));
    let child = Process::spawn(divide, (1, 0)).unwrap();
    println!("join: {}", child.join().unwrap_err());
    println!("status: {}", child.exit_status().unwrap().unwrap());
    let pool = Pool::new().unwrap();
    for result in pool.try_map(|x: u32| 6 / x, 0..3) {
        match result {
            Ok(value) => println!("value {value}"),
            Err(TaskError::Panicked { index, panic }) => {
                println!("task {index}: {}", panic.message)
            }
            Err(other) => println!("other: {other}"),
        }
    }
    println!("done");
}
