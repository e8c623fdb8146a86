//! Starts one child that tells what it sees, for tests that prepare what there is to see.
#![expect(clippy::print_stdout, reason = "a helper program talks to its test")]
#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

use std::io::Read;

use procession::prelude::*;

fn probe() -> (Vec<i32>, Vec<String>, Option<Vec<std::ffi::OsString>>, usize) {
    let descriptors = procession_sys::fd::open_descriptors().unwrap();
    let arguments = std::env::args().skip(1).collect();
    let read = std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    (descriptors, arguments, procession::parent_args(), read)
}

fn main() {
    println!("main");
    procession::init();
    procession_tests::choose_start_method();
    let own = procession_sys::fd::open_descriptors().unwrap();
    let (descriptors, arguments, parent, read) = Process::spawn(probe, ()).unwrap().join().unwrap();
    println!("parent sees {own:?}");
    println!("child sees {descriptors:?}");
    println!("child's arguments {arguments:?}");
    println!("parent's arguments {parent:?}");
    println!("child read {read} bytes");
}
