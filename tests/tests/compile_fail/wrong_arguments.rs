//! A function called with an argument of another type.

use procession::prelude::*;

fn double(x: i32) -> i32 {
    x * 2
}

fn main() {
    let _child = Process::spawn(double, ("two".to_owned(),));
}
