//! A closure that captures a number.

use procession::prelude::*;

fn main() {
    let factor = 3;
    let _child = Process::spawn(move |x: i32| x * factor, (14,));
}
